//! Untrusted text on a terminal. Values of a directory, records, file names and messages of a server may contain escape sequences
//! and characters that change the direction of text. Everything that people may read is escaped here: logs, plans, reports,
//! questions and progress bars.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns whether a character controls a terminal or a reader instead of being visible: controls (U+0000 to U+001F, U+007F to
/// U+009F), line and paragraph separators, directional formatting (Unicode Standard Annex 9, section 2), and characters without
/// width that hide in a name: soft hyphens, zero-width spaces, fillers, variation selectors, tags (Unicode, general category Cf and
/// property Default_Ignorable_Code_Point), the blank pattern of Braille, and noncharacters.
///
/// The joiners U+200C and U+200D are not among them: words of several scripts and emoji contain them.
pub fn is_steering(c: char) -> bool {
    c.is_control()
        || u32::from(c) & 0xfffe == 0xfffe
        || matches!(
            c,
            '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{2800}' | '\u{3164}'
                | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{ffa0}' | '\u{13430}'..='\u{1343f}' | '\u{e0080}'..='\u{e0fff}'
        )
        || matches!(
            c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// Escapes steering characters, in the spelling of JSON (RFC 8259 section 7): `\n`, `\u001b`, `\udb40\udc41`.
///
/// Other backslashes are unchanged: the result is for people, and not reversible.
///
/// ```
/// assert_eq!(ldap_directory::text::printable("caf\u{e9}\u{1b}[31m"), "café\\u001b[31m");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_steering)
}

/// Returns the same for one line of running text: line breaks and tabs become spaces.
pub fn printable_line(text: &str) -> Cow<'_, str> {
    if !text.contains(['\n', '\r', '\t']) {
        return printable(text);
    }
    Cow::Owned(printable(&text.replace(['\n', '\r', '\t'], " ")).into_owned())
}

/// Returns the same for text of several lines, whose line breaks are kept. JSON, compact or indented, remains the same JSON: a serializer
/// escapes the characters below U+0020 itself, and the others occur only in strings.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_steering(c))
}

fn escaped(text: &str, is_odd: impl Fn(char) -> bool) -> Cow<'_, str> {
    // Nearly all text is ASCII without controls.
    if text.bytes().all(|b| matches!(b, b' '..=b'~')) || !text.contains(&is_odd) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            _ if !is_odd(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn steering_characters_are_escapes_and_others_stay() {
        for (text, expected) in [
            ("plain ~ text", "plain ~ text"),
            ("ad\u{115f}min\u{fe0f}\u{e0100}", "ad\\u115fmin\\ufe0f\\udb40\\udd00"),
            ("Zoë \u{1f600} 山田", "Zoë \u{1f600} 山田"),
            ("a\u{1b}[2Jb\u{7f}\u{9b}1m", "a\\u001b[2Jb\\u007f\\u009b1m"),
            ("a\nb\tc\0", "a\\nb\\tc\\u0000"),
            ("\u{202e}evil\u{202c}\u{2066}x\u{2069}", "\\u202eevil\\u202c\\u2066x\\u2069"),
            ("\u{200e}\u{200f}\u{61c}\u{2028}", "\\u200e\\u200f\\u061c\\u2028"),
            ("a\u{ad}b\u{200b}c\u{2060}d\u{e0041}", "a\\u00adb\\u200bc\\u2060d\\udb40\\udc41"),
            // Joiners are part of words and of emoji.
            ("\u{200d}", "\u{200d}"),
        ] {
            assert_eq!(printable(text), expected);
        }
        assert_eq!(printable_line("a\nb\tc\u{1b}"), "a b c\\u001b");
        assert_eq!(printable_lines("a\nb\u{1b}"), "a\nb\\u001b");
    }

    proptest! {
        #[test]
        fn nothing_steering_is_left(text in "(\\PC|[\\x00-\\x1f\\x7f-\\u{9f}]|[\\u{200b}-\\u{206f}\\u{61c}\\u{ad}\\u{e0000}-\\u{e007f}]){0,30}") {
            prop_assert!(!printable(&text).contains(is_steering));
            prop_assert!(!printable_line(&text).contains(is_steering));
            // The result is the same JSON.
            let value = serde_json::json!({ text.as_str(): [text.as_str()] });
            for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let shown = printable_lines(&json);
                prop_assert!(!shown.contains(|c| c != '\n' && is_steering(c)));
                let again: serde_json::Value = serde_json::from_str(&shown).unwrap();
                prop_assert_eq!(again, value.clone());
            }
        }
    }
}
