//! The frames of a journal: a line with number, checksum, length and note, then the change records.

use ldap_directory::change::Change;
use ldap_directory::ldif::reader::{LdifReader, Record};
use ldap_directory::oid::RELAX_RULES;

/// The line before the change records of a frame.
pub(super) struct Parsed<'a> {
    pub(super) number: u64,
    pub(super) sum: &'a str,
    pub(super) length: u64,
    pub(super) note: &'a str,
}

/// Parses that line.
pub(super) fn parse_frame(text: &str) -> Option<Parsed<'_>> {
    let mut words = text.splitn(4, ' ');
    let (number, sum, length, note) = (words.next()?, words.next()?, words.next()?, words.next()?);
    Some(Parsed { number: number.parse().ok()?, sum, length: length.parse().ok()?, note })
}

/// Parses the change records of a frame.
pub(super) fn changes(ldif: &[u8]) -> Result<Vec<Change>, ()> {
    // The note says so as well, and the reader refuses controls that it does not apply.
    let line = format!("control: {RELAX_RULES} true\n");
    let text = String::from_utf8_lossy(ldif).replace(&line, "");
    LdifReader::new(text.as_bytes())
        .map(|record| match record {
            Ok(Record::Change(change)) => Ok(change),
            _ => Err(()),
        })
        .collect()
}
