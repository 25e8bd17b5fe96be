//! LDIF (RFC 2849).

use ldap_directory::change::Change;
use ldap_directory::entry::Entry;
use ldap_directory::ldif::reader::{LdifReader, Record};
use ldap_directory::ldif::writer::LdifWriter;

/// What a record may take: small, so that the fuzzer meets the limit.
const LIMIT: usize = 2048;

/// A record that was read and is written again is read as itself; records hold no more than the file does; and the input as
/// DN, value or comment makes no second record.
pub fn ldif(data: &[u8]) {
    value_stays_in_its_place(data);
    let mut held = 0;
    for record in LdifReader::new(data).max_record_bytes(LIMIT) {
        let record = match record {
            Ok(record) => record,
            // Each has a line of its own: there is an end to them.
            Err(error) => {
                held += 1;
                assert!(error.line >= 1);
                continue;
            }
        };
        held += size(&record);
        let Some(text) = written(&record) else { continue };
        let again: Vec<_> =
            LdifReader::new(&text[..]).collect::<Result<_, _>>().expect("what was written is LDIF");
        assert_eq!(again, [record], "{}", String::from_utf8_lossy(&text));
        assert!(text.split(|b| *b == b'\n').all(|line| line.len() <= 76));
    }
    assert!(held <= data.len() + 1, "{held} octets of {}", data.len());
}

fn written(record: &Record) -> Option<Vec<u8>> {
    let mut writer = LdifWriter::new(Vec::new());
    match record {
        Record::Entry(entry) => writer.entry(entry),
        Record::Change(change) => writer.change(change),
    }
    .ok()?;
    Some(writer.into_inner())
}

fn size(record: &Record) -> usize {
    let of_entry = |entry: &Entry| {
        let values = entry.attributes.iter().flat_map(|a| &a.values).map(Vec::len);
        entry.dn.len() + values.sum::<usize>()
    };
    match record {
        Record::Entry(entry) | Record::Change(Change::Add(entry)) => of_entry(entry),
        Record::Change(change) => change.dn().len(),
    }
}

fn value_stays_in_its_place(data: &[u8]) {
    let entry = Entry {
        dn: String::from_utf8_lossy(data).into_owned(),
        attributes: vec![ldap_directory::entry::Attribute::new(
            "description",
            vec![data.to_vec(), data.to_vec()],
        )],
    };
    let mut writer = LdifWriter::new(Vec::new());
    writer.comment(&entry.dn).and_then(|()| writer.entry(&entry)).expect("there is no disk to fill");
    let text = writer.into_inner();
    let read: Vec<_> =
        LdifReader::new(&text[..]).collect::<Result<_, _>>().expect("what was written is LDIF");
    assert_eq!(read, [Record::Entry(entry)]);
}
