use std::borrow::Cow;
use std::fmt::Write as _;

use ldap_directory::text;
use singer_common::operations::page;

/// What a terminal, a log or a page gets of any text holds nothing that steers it, and all that can be seen; and what went through
/// once goes through again unchanged.
pub fn printable(data: &[u8]) {
    let input = String::from_utf8_lossy(data);
    let escaped = text::printable(&input);
    assert_shows(&input, &escaped, |_| None);
    stays(&escaped, text::printable);
    let line = text::printable_line(&input);
    assert_shows(&input, &line, |c| matches!(c, '\n' | '\r' | '\t').then_some(' '));
    stays(&line, text::printable_line);
    let lines = text::printable_lines(&input);
    assert_shows(&input, &lines, |c| (c == '\n').then_some('\n'));
    stays(&lines, text::printable_lines);
    // A page has one character for one.
    let seen = page::visible(&input);
    assert_eq!(seen.chars().count(), input.chars().count());
    for (was, is) in input.chars().zip(seen.chars()) {
        assert!(!steers(is), "U+{:04X} is left", u32::from(is));
        assert!(steers(was) || was == is, "U+{:04X} became U+{:04X}", u32::from(was), u32::from(is));
    }
    stays(&seen, page::visible);
    // And in HTML nothing of it is markup.
    let html = page::breakable(&input).into_string();
    let without = html.replace("<wbr>", "");
    assert!(!without.contains(['<', '>', '"']), "{without}");
    let plain = ["&lt;", "&gt;", "&quot;", "&amp;"].iter().zip(["<", ">", "\"", "&"]);
    assert_eq!(plain.fold(without, |text, (entity, c)| text.replace(entity, c)), seen);
}

fn stays(text: &str, again: fn(&str) -> Cow<'_, str>) {
    assert_eq!(again(text), text);
}

/// Each character is there, or an escape that says which one was.
fn assert_shows(text: &str, shown: &str, instead: impl Fn(char) -> Option<char>) {
    let mut rest = shown;
    for c in text.chars() {
        let mut expected = String::new();
        match instead(c).or_else(|| (!steers(c)).then_some(c)) {
            Some(seen) => expected.push(seen),
            None => match c {
                '\n' => expected.push_str("\\n"),
                '\r' => expected.push_str("\\r"),
                '\t' => expected.push_str("\\t"),
                _ => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(expected, "\\u{unit:04x}");
                    }
                }
            },
        }
        let next = rest.strip_prefix(expected.as_str());
        assert!(next.is_some(), "U+{:04X}: {expected:?} is not next in {rest:?}", u32::from(c));
        rest = next.unwrap_or_default();
    }
    assert_eq!(rest, "", "more than there was");
}

/// What must not come through, by Unicode's own lists (`UnicodeData.txt`: Cc, Zl, Zp, and Cf but for what is seen or joins;
/// `PropList.txt`: `Bidi_Control`; `DerivedCoreProperties.txt`: `Default_Ignorable_Code_Point`, but for the joiners; noncharacters; the
/// blank pattern of Braille). A list of its own: the code is checked against it.
fn steers(c: char) -> bool {
    const RANGES: [(u32, u32); 29] = [
        (0x0, 0x1f),
        (0x7f, 0x9f),
        (0xad, 0xad),
        (0x61c, 0x61c),
        (0x180e, 0x180e),
        (0x200b, 0x200b),
        (0x200e, 0x200f),
        (0x2028, 0x2029),
        (0x202a, 0x202e),
        (0x2060, 0x2065),
        (0x2066, 0x206f),
        (0xfeff, 0xfeff),
        (0xfff9, 0xfffb),
        (0x1_bca0, 0x1_bca3),
        (0x1_d173, 0x1_d17a),
        (0xe_0000, 0xe_007f),
        (0x34f, 0x34f),
        (0x115f, 0x1160),
        (0x17b4, 0x17b5),
        (0x180b, 0x180d),
        (0x180f, 0x180f),
        (0x2800, 0x2800),
        (0x3164, 0x3164),
        (0xfdd0, 0xfdef),
        (0xfe00, 0xfe0f),
        (0xffa0, 0xffa0),
        (0xfffe, 0xffff),
        (0x1_3430, 0x1_343f),
        (0xe_0080, 0xe_0fff),
    ];
    let n = u32::from(c);
    n & 0xfffe == 0xfffe || RANGES.iter().any(|(first, last)| (*first..=*last).contains(&n))
}
