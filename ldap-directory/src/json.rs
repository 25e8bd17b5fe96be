//! JSON strings, written directly into a buffer. Most values of a directory are short ASCII without a character that JSON escapes:
//! this is checked eight octets at a time, and then they are copied.

/// Returns the same octet eight times.
const fn eight(octet: u8) -> u64 {
    u64::from_ne_bytes([octet; 8])
}

/// Returns nonzero if one of the eight octets is not ASCII.
pub(crate) const fn high_bits(word: u64) -> u64 {
    word & eight(0x80)
}

/// Returns nonzero if one of the eight octets is this one, which must be ASCII.
pub(crate) const fn equal_to(word: u64, octet: u8) -> u64 {
    // Subtracting 1 from a zero borrows. An octet above a zero that is not ASCII may be a false positive, but never alone.
    let word = word ^ eight(octet);
    high_bits(word.wrapping_sub(eight(1)) & !word)
}

/// Returns nonzero if JSON escapes one of the eight octets (RFC 8259 section 7): controls, quotation mark, backslash.
const fn escaped(word: u64) -> u64 {
    let controls = high_bits(word.wrapping_sub(eight(0x20)) & !word);
    controls | equal_to(word, b'"') | equal_to(word, b'\\')
}

/// Returns whether a test of eight octets at a time finds something. The last word is filled with blanks, or with octets that were
/// tested before.
#[inline]
pub(crate) fn any(octets: &[u8], find: impl Fn(u64) -> u64) -> bool {
    let (words, rest) = octets.as_chunks::<8>();
    let found = words.iter().fold(0, |found, word| found | find(u64::from_ne_bytes(*word)));
    let last = match (rest, octets.last_chunk::<8>()) {
        ([], _) => return found != 0,
        (_, Some(last)) => u64::from_ne_bytes(*last),
        (rest, None) => short(rest),
    };
    found | find(last) != 0
}

/// Returns fewer than eight octets as a word.
fn short(octets: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (octets.first_chunk::<4>(), octets.last_chunk::<4>()) {
        return u64::from(u32::from_ne_bytes(*first)) << 32 | u64::from(u32::from_ne_bytes(*last));
    }
    octets.iter().fold(eight(b' '), |word, octet| word << 8 | u64::from(*octet))
}

/// Octets that are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotText;

/// Appends a JSON string.
///
/// # Errors
/// Fails if the octets are not UTF-8. Nothing is appended then.
///
/// ```
/// let mut json = Vec::new();
/// ldap_directory::json::write_octets(br#"say "hi""#, &mut json).unwrap();
/// assert_eq!(json, br#""say \"hi\"""#);
/// assert!(ldap_directory::json::write_octets(b"\xff", &mut json).is_err());
/// ```
pub fn write_octets(octets: &[u8], out: &mut Vec<u8>) -> Result<(), NotText> {
    if any(octets, |word| escaped(word) | high_bits(word)) {
        write_text(std::str::from_utf8(octets).map_err(|_| NotText)?, out);
    } else {
        quoted(octets, out);
    }
    Ok(())
}

/// Appends a JSON string.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    if any(text.as_bytes(), escaped) {
        // Writing into a Vec cannot fail, and a str is always serializable.
        let _ = serde_json::to_writer(out, text);
    } else {
        quoted(text.as_bytes(), out);
    }
}

fn quoted(octets: &[u8], out: &mut Vec<u8>) {
    out.reserve(octets.len() + 2);
    out.push(b'"');
    out.extend_from_slice(octets);
    out.push(b'"');
}

/// Returns a value's type for messages, never the value, which may be a secret.
pub fn type_name(value: &serde_json::Value) -> &'static str {
    use serde_json::Value;
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Returns the path of a name that occurs twice in an object (`rules.users.match`): one of the two values is lost (RFC 8259
/// section 4). `None` if there is none, or the text is not JSON.
pub fn twice(text: &str) -> Option<String> {
    let mut path = Vec::new();
    let mut read = serde_json::Deserializer::from_str(text);
    serde::de::DeserializeSeed::deserialize(Once(&mut path), &mut read).is_err().then_some(())?;
    (!path.is_empty()).then(|| {
        path.iter().rev().fold(String::new(), |all, part| {
            let dot = if all.is_empty() || part.starts_with('[') { "" } else { "." };
            format!("{all}{dot}{part}")
        })
    })
}

/// A value in which every object has every name once. If not, the error has the path, from the inside out.
struct Once<'p>(&'p mut Vec<String>);

impl<'de> serde::de::DeserializeSeed<'de> for Once<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Once<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut number = 0_usize;
        loop {
            match items.next_element_seed(Once(self.0)) {
                Ok(Some(())) => number += 1,
                Ok(None) => return Ok(()),
                Err(e) => {
                    // Reports duplicates only.
                    if !self.0.is_empty() {
                        self.0.push(format!("[{number}]"));
                    }
                    return Err(e);
                }
            }
        }
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut names = std::collections::HashSet::new();
        while let Some(name) = object.next_key::<String>()? {
            if names.contains(&name) {
                self.0.push(name);
                return Err(serde::de::Error::custom("a name that is there twice"));
            }
            if let Err(e) = object.next_value_seed(Once(self.0)) {
                if !self.0.is_empty() {
                    self.0.push(name);
                }
                return Err(e);
            }
            names.insert(name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_is_there_twice_is_told_with_its_path() {
        for (text, expected) in [
            (r#"{"a": {"b": 1, "c": [{"d": 1.5e3, "e": null}, {"d": 2, "d": true}]}}"#, Some("a.c[1].d")),
            (r#"{"a": 1, "b": {}, "a": 1}"#, Some("a")),
            (r#"{"a": {"x": 1}, "b": {"x": 1}, "c": 12345678901234567890123}"#, None),
            (r#"{"a": "#, None),
            ("[[1, 2], \"a\"]", None),
        ] {
            assert_eq!(twice(text).as_deref(), expected, "{text}");
        }
    }

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
