//! The encoding of a property's texts, by the SCHEMA (`contentEncoding`, RFC 2045 section 6, RFC 4648).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);
const BASE64URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, ANY_PADDING);

/// The encoding of a property's texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// Not specified: the attribute's syntax decides.
    #[default]
    Unsaid,
    /// Base64 of the octets (RFC 4648 section 4), with or without line breaks.
    Base64,
    /// Base64 in the URL alphabet (section 5), with or without padding.
    Base64Url,
    /// Hex digits (section 8), in either case.
    Base16,
    /// The octets themselves (`7bit`, `8bit`, `binary`).
    Plain,
}

impl Encoding {
    /// Returns the encoding with a name; `None` if it is unknown.
    pub fn of(name: &str) -> Option<Encoding> {
        Some(match name.to_ascii_lowercase().as_str() {
            "base64" => Encoding::Base64,
            "base64url" => Encoding::Base64Url,
            "base16" | "hex" => Encoding::Base16,
            "7bit" | "8bit" | "binary" | "identity" => Encoding::Plain,
            _ => return None,
        })
    }

    /// Whether a text must be decoded.
    pub fn is_encoded(self) -> bool {
        matches!(self, Encoding::Base64 | Encoding::Base64Url | Encoding::Base16)
    }

    /// Returns the name of the encoding.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Base64 => "base64",
            Encoding::Base64Url => "base64url",
            Encoding::Base16 => "base16",
            Encoding::Unsaid | Encoding::Plain => "a text",
        }
    }

    /// Decodes a text; `None` if it is not in this encoding.
    pub fn decode(self, text: &str) -> Option<Vec<u8>> {
        let base64 = |engine: &GeneralPurpose| {
            // In lines (RFC 2045 section 6.8), characters outside the alphabet are ignored; here only those of line breaks are.
            if text.bytes().any(|b| b.is_ascii_whitespace()) {
                let joined: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
                return engine.decode(joined).ok();
            }
            engine.decode(text).ok()
        };
        match self {
            Encoding::Unsaid | Encoding::Plain => Some(text.as_bytes().to_vec()),
            Encoding::Base64 => base64(&BASE64),
            Encoding::Base64Url => base64(&BASE64URL),
            Encoding::Base16 => hex(text),
        }
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|b| !b.is_ascii_whitespace())
        .map(|b| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_decoded_as_the_schema_names_their_encoding() {
        for (name, text, expected) in [
            ("base64", "AP9hYg==", Some(&b"\0\xffab"[..])),
            ("BASE64", "AP9h\r\nYg==\r\n", Some(b"\0\xffab")),
            ("base64", "AP9hYg", Some(b"\0\xffab")),
            ("base64", "not base64!", None),
            ("base64url", "_-8", Some(b"\xff\xef")),
            ("base64", "_-8=", None),
            ("base16", "00fF61", Some(b"\0\xffa")),
            ("base16", "0", None),
            ("base16", "xx", None),
            ("8bit", "a=", Some(b"a=")),
        ] {
            let encoding = Encoding::of(name).unwrap();
            assert_eq!(encoding.decode(text).as_deref(), expected, "{name} {text:?}");
        }
        assert_eq!(Encoding::of("rot13"), None);
    }
}
