//! JSON strings, written straight into a buffer. Most values of a directory are short ASCII without a character that JSON
//! escapes: that is found out eight octets at a time, and then they are copied as they are.

/// The same octet eight times.
const fn eight(octet: u8) -> u64 {
    u64::from_ne_bytes([octet; 8])
}

const HIGH_BITS: u64 = eight(0x80);

/// Marks octets of `word` that are zero; others above one of them may be marked, too.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(eight(1)) & !word & HIGH_BITS
}

/// Not zero when one of the octets is escaped in JSON (RFC 8259 section 7): controls, quotation mark, backslash.
const fn escaped(word: u64) -> u64 {
    let controls = word.wrapping_sub(eight(0x20)) & !word & HIGH_BITS;
    controls | zeros(word ^ eight(b'"')) | zeros(word ^ eight(b'\\'))
}

/// Whether `is_bad` is zero for all octets, looked at in words; what fills the last word is a blank.
fn all(octets: &[u8], is_bad: impl Fn(u64) -> u64) -> bool {
    let (words, rest) = octets.as_chunks::<8>();
    let mut bad = words.iter().fold(0, |bad, word| bad | is_bad(u64::from_ne_bytes(*word)));
    if !rest.is_empty() {
        let last = octets.last_chunk::<8>().copied().unwrap_or_else(|| {
            let mut padded = [b' '; 8];
            for (to, from) in padded.iter_mut().zip(rest) {
                *to = *from;
            }
            padded
        });
        bad |= is_bad(u64::from_ne_bytes(last));
    }
    bad == 0
}

/// Octets that are not UTF-8, and so no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotText;

/// Appends a JSON string. Nothing is appended when the octets are not UTF-8.
pub fn write_octets(octets: &[u8], out: &mut Vec<u8>) -> Result<(), NotText> {
    if all(octets, |word| escaped(word) | (word & HIGH_BITS)) {
        quoted(octets, out);
    } else {
        write_text(std::str::from_utf8(octets).map_err(|_| NotText)?, out);
    }
    Ok(())
}

/// Appends a JSON string.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    if all(text.as_bytes(), escaped) {
        quoted(text.as_bytes(), out);
    } else {
        // Writing into a Vec cannot fail, and a str is always serialisable.
        let _ = serde_json::to_writer(out, text);
    }
}

fn quoted(octets: &[u8], out: &mut Vec<u8>) {
    out.reserve(octets.len() + 2);
    out.push(b'"');
    out.extend_from_slice(octets);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_octet_at_every_place_is_written_as_serde_has_it() {
        for length in 1..20 {
            for at in 0..length {
                for octet in 0..=255_u8 {
                    let mut octets = vec![b'x'; length];
                    octets[at] = octet;
                    let mut out = Vec::new();
                    let written = write_octets(&octets, &mut out);
                    let text = std::str::from_utf8(&octets);
                    assert_eq!(written.is_ok(), text.is_ok());
                    let expected = text.map(|t| serde_json::to_vec(t).unwrap()).unwrap_or_default();
                    assert_eq!(out, expected, "{octet} at {at} of {length}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_text_is_written_as_serde_has_it(text in "[\\PC\u{0}-\u{7f}äß\"\\\\]{0,80}") {
            let mut out = Vec::new();
            write_text(&text, &mut out);
            prop_assert_eq!(&out, &serde_json::to_vec(&text).unwrap());
            let mut again = Vec::new();
            prop_assert_eq!(write_octets(text.as_bytes(), &mut again), Ok(()));
            prop_assert_eq!(out, again);
        }
    }
}
