//! The Singer messages on a target's stdin.

use serde_json::json;
use singer_common::singer::message::Message;
use singer_common::singer::reader::LineReader;

/// The lines are the input, no more and no less, and a message that was read and is written again is read as itself.
pub fn lines(data: &[u8]) {
    let mut reader = LineReader::new(data);
    let mut all = Vec::new();
    let mut expected = 0;
    while let Some((number, line)) = reader.next_line().expect("no disk can fail") {
        expected += 1;
        assert_eq!(number, expected);
        message(line);
        all.extend_from_slice(line);
        all.push(b'\n');
    }
    if data.last().is_some_and(|b| *b != b'\n') {
        all.pop();
    }
    assert_eq!(all, data);
}

fn message(line: &[u8]) {
    let Ok(message) = Message::parse(line) else { return };
    let text = text(&message);
    let again = Message::parse(text.as_bytes()).expect("what was written is a message");
    assert_eq!(self::text(&again), text);
    if let Message::State(state) = &message {
        // It is printed on a line of its own.
        assert!(!state.get().contains('\n'));
    }
}

fn text(message: &Message) -> String {
    match message {
        Message::Schema(m) => json!({
            "type": "SCHEMA", "stream": m.stream, "schema": m.schema, "key_properties": m.key_properties,
        })
        .to_string(),
        Message::Record(m) => {
            json!({ "type": "RECORD", "stream": m.stream, "record": m.record, "version": m.version })
                .to_string()
        }
        // It is kept as it came, however deep it nests.
        Message::State(state) => format!(r#"{{"type":"STATE","value":{state}}}"#),
        Message::ActivateVersion { stream, version } => {
            json!({ "type": "ACTIVATE_VERSION", "stream": stream, "version": version }).to_string()
        }
        Message::Batch(m) => json!({
            "type": "BATCH", "stream": m.stream, "manifest": m.manifest, "version": m.version,
            "encoding": { "format": m.encoding.format, "compression": m.encoding.compression },
        })
        .to_string(),
    }
}
