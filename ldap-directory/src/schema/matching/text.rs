//! String preparation (RFC 4518), with the departures that the parent module describes.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// Returns text with trimmed ends, single spaces and compatibility forms resolved (NFKC), and in lower case if requested.
pub(super) fn prepared(text: &str, fold_case: bool) -> Cow<'_, [u8]> {
    let mut was_space = true;
    let is_normal = |octet: u8| {
        let is_double = octet == b' ' && was_space;
        was_space = octet == b' ';
        octet.is_ascii() && !(fold_case && octet.is_ascii_uppercase()) && !is_double
    };
    if text.bytes().all(is_normal) && !text.ends_with(' ') {
        return Cow::Borrowed(text.as_bytes());
    }
    if text.is_ascii() {
        return Cow::Owned(prepared_ascii(text.trim_matches(' '), fold_case));
    }
    Cow::Owned(collapsed(&folded(text, fold_case), true, true).into_bytes())
}

/// Does the same for ASCII without spaces at its ends, in one pass: it is its own compatibility form.
fn prepared_ascii(text: &str, fold_case: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut was_space = false;
    for octet in text.bytes() {
        if octet != b' ' || !was_space {
            out.push(if fold_case { octet.to_ascii_lowercase() } else { octet });
        }
        was_space = octet == b' ';
    }
    out
}

/// Prepares postal addresses, each line by itself (RFC 4517 section 4.2.12). Lines remain separated by `$`; a dollar sign that only
/// folding produces (`＄`) is escaped as one inside a line is (RFC 4517 section 3.3.28).
pub(super) fn list(text: &str) -> String {
    let line = |l| collapsed(&folded(l, true), true, true).replace('$', "\\24");
    text.split('$').map(line).collect::<Vec<_>>().join("$")
}

/// Returns text in lower case, without ignored characters.
pub(super) fn without(text: &str, ignored: impl Fn(char) -> bool) -> String {
    if text.is_ascii() {
        let mut out = String::with_capacity(text.len());
        out.extend(text.chars().filter(|c| !ignored(*c)).map(|c| c.to_ascii_lowercase()));
        return out;
    }
    let kept: String = folded(text, true).chars().filter(|c| !ignored(*c)).collect();
    folded(&kept, true).chars().filter(|c| !ignored(*c)).collect()
}

/// Spaces and hyphens (RFC 4518 section 2.6.3).
pub(super) fn is_space_or_hyphen(c: char) -> bool {
    matches!(c, ' ' | '-' | '\u{58a}' | '\u{2010}' | '\u{2011}' | '\u{2212}' | '\u{fe63}' | '\u{ff0d}')
}

/// Prepares a part of a substring assertion: spaces at its ends are significant, unless they are at an end of the value.
pub(super) fn part(text: &str, fold_case: bool, at_start: bool, at_end: bool) -> Vec<u8> {
    collapsed(&folded(text, fold_case), at_start, at_end).into_bytes()
}

fn folded(text: &str, fold_case: bool) -> String {
    if text.is_ascii() {
        return if fold_case { text.to_ascii_lowercase() } else { text.to_owned() };
    }
    // NFKC first: some compatibility forms (`ℌ`) stand for capitals.
    if fold_case { text.nfkc().flat_map(char::to_lowercase).nfkc().collect() } else { text.nfkc().collect() }
}

/// Collapses each run of spaces into one (NFKC has converted other kinds of space).
fn collapsed(text: &str, trim_start: bool, trim_end: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let double = c == ' ' && (out.ends_with(' ') || (trim_start && out.is_empty()));
        if !double {
            out.push(c);
        }
    }
    if trim_end && out.ends_with(' ') {
        out.pop();
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// ASCII has a short way. It is the long one.
        #[test]
        fn the_short_way_is_the_long_way(text in "[ -~\t]{0,12}|( |a|B|-){0,8}", fold_case: bool) {
            let long = collapsed(&folded(&text, fold_case), true, true);
            let short = prepared(&text, fold_case);
            prop_assert_eq!(&*short, long.as_bytes());
            let lower = folded(&text, true);
            let long: String = lower.chars().filter(|c| !is_space_or_hyphen(*c)).collect();
            prop_assert_eq!(without(&text, is_space_or_hyphen), long);
        }
    }
}
