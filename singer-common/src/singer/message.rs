//! Singer messages as a target reads them: SCHEMA, RECORD and STATE of the Singer specification,
//! and the later ACTIVATE_VERSION and BATCH.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::operations::facts::did_you_mean;
use crate::singer::record::Record;
use ldap_directory::nearest::nearest;

/// One message.
#[derive(Debug)]
pub enum Message {
    /// The schema of a stream.
    Schema(SchemaMessage),
    /// One record.
    Record(RecordMessage),
    /// The tap's state, to be emitted once all messages before it are committed. Kept in its original spelling.
    State(Box<RawValue>),
    /// All records of the stream as of this version were emitted.
    ActivateVersion {
        /// The stream.
        stream: String,
        /// The version, by convention milliseconds since 1970.
        version: i64,
    },
    /// Records in separate files.
    Batch(BatchMessage),
}

/// A SCHEMA message.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SchemaMessage {
    /// The stream.
    pub stream: String,
    /// The JSON schema of its records.
    pub schema: Value,
    /// The properties that identify a record. May be empty, which some taps write as null.
    #[serde(default, deserialize_with = "or_default")]
    pub key_properties: Vec<String>,
}

fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(
    value: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or_default())
}

/// A RECORD message.
#[derive(Debug, Deserialize)]
pub struct RecordMessage {
    /// The stream.
    pub stream: String,
    /// The record.
    pub record: Record,
    /// The version of the stream that the record belongs to.
    #[serde(default)]
    pub version: Option<i64>,
}

impl RecordMessage {
    /// Parses a typical RECORD line. `None`: another message, or an invalid one.
    fn in_one_pass(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(borrow)]
            r#type: std::borrow::Cow<'a, str>,
            stream: String,
            record: Record,
            #[serde(default)]
            version: Option<i64>,
        }
        let Line { r#type, stream, record, version } =
            // Checked once for the line, and not for each text in it.
            serde_json::from_str(std::str::from_utf8(line).ok()?).ok()?;
        (r#type == "RECORD").then_some(Self { stream, record, version })
    }
}

/// A BATCH message, as in the Meltano SDK (https://sdk.meltano.com/en/latest/batch.html).
#[derive(Debug, Deserialize)]
pub struct BatchMessage {
    /// The stream.
    pub stream: String,
    /// The format of the files.
    pub encoding: BatchEncoding,
    /// URLs of the files, in the order of their records.
    pub manifest: Vec<String>,
    /// The version of the stream that the records belong to. Not part of the SDK's message.
    #[serde(default)]
    pub version: Option<i64>,
}

/// The format of a BATCH's files.
#[derive(Debug, Deserialize)]
pub struct BatchEncoding {
    /// `jsonl`; others are not supported.
    pub format: String,
    /// `gzip`, `none`, or missing.
    #[serde(default)]
    pub compression: Option<String>,
}

/// The reason why a line is not a message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// The line is not JSON, or not an object.
    #[error(
        "not a JSON object: {0}; a message is a JSON object with a `type`, as taps print them: pipe a tap's output here (for a table, of a tap that reads tables)"
    )]
    NotJson(String),
    /// The object has no `type`.
    #[error("the message has no `type`; expected SCHEMA, RECORD, STATE, ACTIVATE_VERSION or BATCH")]
    NoType,
    /// The `type` is unknown.
    #[error("unknown message type `{0}`{hint}; expected SCHEMA, RECORD, STATE, ACTIVATE_VERSION or BATCH", hint = did_you_mean(nearest_type(.0)))]
    UnknownType(String),
    /// A message of a known type is invalid.
    #[error("not a {kind} message: {reason}")]
    Malformed {
        /// The message's type.
        kind: String,
        /// serde's message.
        reason: String,
    },
    /// The line is empty.
    #[error("the line is empty")]
    Blank,
}

/// The known types of messages.
const TYPES: [&str; 5] = ["SCHEMA", "RECORD", "STATE", "ACTIVATE_VERSION", "BATCH"];

/// Returns the reason why JSON is not valid. A message is one line, so only the column is named: the number of the input's line is
/// another one.
pub fn json_reason(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

fn nearest_type(kind: &str) -> Option<&'static str> {
    nearest(kind, TYPES.into_iter())
}

impl MessageError {
    /// Returns the known type nearest to an unknown one.
    pub fn nearest(&self) -> Option<&'static str> {
        match self {
            MessageError::UnknownType(kind) => nearest_type(kind),
            _ => None,
        }
    }
}

impl Message {
    /// Parses one line.
    pub fn parse(line: &[u8]) -> Result<Message, MessageError> {
        #[derive(Deserialize)]
        struct Envelope {
            r#type: Option<String>,
        }
        #[derive(Deserialize)]
        struct StateMessage {
            value: Box<RawValue>,
        }
        #[derive(Deserialize)]
        struct Named {
            stream: String,
            #[serde(default)]
            version: Option<i64>,
        }
        fn typed<'a, T: Deserialize<'a>>(kind: &str, line: &'a [u8]) -> Result<T, MessageError> {
            serde_json::from_slice(line)
                .map_err(|e| MessageError::Malformed { kind: kind.to_owned(), reason: json_reason(&e) })
        }

        if let Some(record) = RecordMessage::in_one_pass(line) {
            return Ok(Message::Record(record));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            return Err(MessageError::Blank);
        }
        // serde reads a list as an object without names.
        if line.trim_ascii_start().starts_with(b"[") {
            return Err(MessageError::NotJson("it is a list".to_owned()));
        }
        let envelope: Envelope =
            serde_json::from_slice(line).map_err(|e| MessageError::NotJson(json_reason(&e)))?;
        let kind = envelope.r#type.ok_or(MessageError::NoType)?;
        match kind.as_str() {
            "SCHEMA" => typed(&kind, line).map(Message::Schema),
            "RECORD" => typed(&kind, line).map(Message::Record).map_err(|error| {
                if has_object(line) {
                    return error;
                }
                // serde's message would contain the value.
                MessageError::Malformed { kind, reason: "`record` is not an object".into() }
            }),
            "STATE" => typed::<StateMessage>(&kind, line).map(|m| Message::State(m.value)),
            "ACTIVATE_VERSION" => {
                let Named { stream, version } = typed(&kind, line)?;
                let version = version.ok_or_else(|| MessageError::Malformed {
                    kind: kind.clone(),
                    reason: "missing field `version`".into(),
                })?;
                Ok(Message::ActivateVersion { stream, version })
            }
            "BATCH" => typed(&kind, line).map(Message::Batch),
            _ => Err(MessageError::UnknownType(kind)),
        }
    }
}

/// A flaw in lines of other programs that makes them invalid JSON (RFC 8259).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// `NaN`, `Infinity` or `-Infinity`, as Python writes them.
    NoNumber,
    /// An escaped surrogate without its pair (`\ud83d`).
    HalfCharacter,
    /// Octets that are not UTF-8.
    NotUtf8,
}

impl Flaw {
    /// Returns the description of the flaw.
    pub fn text(self) -> &'static str {
        match self {
            Flaw::NoNumber => "NaN or Infinity is no JSON: it is taken as null",
            Flaw::HalfCharacter => {
                "a text has half of a character (a surrogate without the other one, such as \\ud83d); its source cut the text in two"
            }
            Flaw::NotUtf8 => "a text is not UTF-8; its source has to write UTF-8",
        }
    }
}

/// Repairs a line with these flaws: null replaces values that are not numbers, U+FFFD replaces invalid characters.
/// Returns the line and the worst of its flaws; `None` if it has none.
pub fn repaired(line: &[u8]) -> Option<(Vec<u8>, Flaw)> {
    let text = String::from_utf8_lossy(line);
    let flaw = matches!(text, std::borrow::Cow::Owned(_)).then_some(Flaw::NotUtf8);
    let (text, worst) = repair(&text, |_| "\\ufffd".to_owned());
    worst.max(flaw).map(|flaw| (text.into_bytes(), flaw))
}

/// The marks before and after the code unit of half of a character: noncharacters, which texts do not have.
const MARKS: [char; 2] = ['\u{fdd0}', '\u{fdd1}'];

/// Repairs a line as [`repaired`] does, but keeps what is invalid: the code unit of half of a character between marks, and an invalid
/// octet as Python's `surrogateescape` writes it (`\udcff`). [`unmarked`] returns the JSON with escapes in their place.
pub fn marked(line: &[u8]) -> Vec<u8> {
    let mut text = String::with_capacity(line.len());
    for chunk in line.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|octet| format!("\\udc{octet:02x}")));
    }
    let (text, _) = repair(&text, |unit| format!("{}{unit:04x}{}", MARKS[0], MARKS[1]));
    text.into_bytes()
}

/// Returns JSON with the escapes of half characters in place of the marks of [`marked`].
pub fn unmarked(json: String) -> String {
    let [before, after] = MARKS;
    if !json.contains(before) {
        return json;
    }
    let mut out = String::with_capacity(json.len());
    let mut rest = json.as_str();
    while let Some((head, tail)) = rest.split_once(before) {
        out.push_str(head);
        match tail.split_once(after) {
            Some((unit, after)) if unit.len() == 4 && unit.bytes().all(|b| b.is_ascii_hexdigit()) => {
                out.push_str("\\u");
                out.push_str(unit);
                rest = after;
            }
            _ => {
                out.push(before);
                rest = tail;
            }
        }
    }
    out.push_str(rest);
    out
}

/// Replaces what is not JSON. `half`: what replaces half of a character, by its code unit.
fn repair(text: &str, half: impl Fn(u16) -> String) -> (String, Option<Flaw>) {
    let mut worst = None;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_text = false;
    let unit =
        |text: &str| -> Option<u16> { u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok() };
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        let mut put = std::borrow::Cow::Borrowed(rest.get(..length).unwrap_or_default());
        if in_text && c == '\\' {
            length = rest.chars().nth(1).map_or(1, |next| 1 + next.len_utf8());
            put = rest.get(..length).unwrap_or_default().into();
            if let Some(first) = unit(rest) {
                let second = rest.get(6..).and_then(unit);
                let is_pair = matches!(first, 0xd800..0xdc00) && matches!(second, Some(0xdc00..0xe000));
                length = if is_pair { 12 } else { 6 };
                put = rest.get(..length).unwrap_or_default().into();
                if !is_pair && matches!(first, 0xd800..0xe000) {
                    put = half(first).into();
                    worst = worst.max(Some(Flaw::HalfCharacter));
                }
            }
        } else if c == '"' {
            in_text = !in_text;
        } else if !in_text
            && let Some(word) = ["NaN", "-Infinity", "Infinity"].iter().find(|word| rest.starts_with(**word))
        {
            (length, put) = (word.len(), "null".into());
            worst = worst.max(Some(Flaw::NoNumber));
        }
        out.push_str(&put);
        rest = rest.get(length..).unwrap_or_default();
    }
    (out, worst)
}

/// Whether a line's `record` is an object or missing.
fn has_object(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        record: Option<&'a RawValue>,
    }
    serde_json::from_slice(line).is_ok_and(|Line { record }| record.is_none_or(|r| r.get().starts_with('{')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_flaws_of_other_programs_are_repaired() {
        let made =
            |line: &str| repaired(line.as_bytes()).map(|(l, flaw)| (String::from_utf8(l).unwrap(), flaw));
        assert_eq!(made(r#"{"a": [1, "NaN \" Infinity", "\ud83d\ude00 \\ud83d"]}"#), None);
        assert_eq!(
            made(r#"{"a": NaN, "b": [-Infinity, Infinity]}"#),
            Some((r#"{"a": null, "b": [null, null]}"#.into(), Flaw::NoNumber))
        );
        let half = |text: &str| made(&format!(r#"{{"a": "{text}"}}"#)).map(|(line, flaw)| (line.len(), flaw));
        for text in ["\\ud83d", "\\ude00", "\\uD83D\\n", "\\ud83d\\ud83d", "x\\ud83d"] {
            let length = text.len() + 9;
            assert_eq!(half(text), Some((length, Flaw::HalfCharacter)), "{text}");
            assert!(
                serde_json::from_str::<Value>(&made(&format!(r#"{{"a": "{text}"}}"#)).unwrap().0).is_ok()
            );
        }
        assert_eq!(repaired(b"{\"a\": \"\xff\"}").unwrap().1, Flaw::NotUtf8);
        for (line, kept) in [
            (&br#"{"a": "x\ud83d", "n": NaN}"#[..], r#"{"a":"x\ud83d","n":null}"#),
            (b"{\"a\": \"\xffy\"}", r#"{"a":"\udcffy"}"#),
        ] {
            let marked: Value = serde_json::from_slice(&marked(line)).unwrap();
            let again = unmarked(marked.to_string());
            assert_eq!(again, kept);
            assert!(serde_json::from_str::<Value>(&again).is_err(), "it is as invalid as it was");
        }
    }

    #[test]
    fn message_state_keeps_its_spelling() {
        let Message::State(raw) = Message::parse(br#"{"type":"STATE","value":{"b": 1.50,"a":[ ]}}"#).unwrap()
        else {
            panic!("not a state")
        };
        assert_eq!(raw.get(), r#"{"b": 1.50,"a":[ ]}"#);
    }

    #[test]
    fn message_errors_give_the_reason() {
        for (line, expected) in [
            ("", "empty"),
            ("{", "not a JSON object"),
            ("[1]", "not a JSON object"),
            ("{}", "no `type`"),
            (r#"{"type":"NONSENSE"}"#, "unknown message type `NONSENSE`"),
            (r#"{"type":"RECORD","record":{}}"#, "missing field `stream`"),
            (
                r#"{"type":"RECORD","stream":"s","record":3}"#,
                "not a RECORD message: `record` is not an object",
            ),
            (
                r#"{"type":"RECORD","stream":"s","record":"secret"}"#,
                "not a RECORD message: `record` is not an object",
            ),
            (r#"{"type":"ACTIVATE_VERSION","stream":"s"}"#, "version"),
            (r#"{"type":"BATCH","stream":"s","encoding":{"format":"jsonl"}}"#, "manifest"),
            (r#"{"type":"BATCH","stream":"s","manifest":[]}"#, "encoding"),
        ] {
            let error = Message::parse(line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{line}: {error}");
        }
    }

    #[test]
    fn message_numbers_keep_all_digits() {
        let line = br#"{"type":"RECORD","stream":"s","record":{"n":123456789012345678901234567890}}"#;
        let Message::Record(record) = Message::parse(line).unwrap() else { panic!("not a record") };
        assert_eq!(record.record.get("n").unwrap().to_string(), "123456789012345678901234567890");
    }
}
