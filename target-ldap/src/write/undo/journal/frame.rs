//! The frames of a journal: a line with number, checksum, length and note, then the change records.

use std::collections::BTreeSet;

use ldap_directory::change::Change;
use ldap_directory::ldif::reader::{LdifReader, Record};
use ldap_directory::oid::RELAX_RULES;

const LOCKED: &str = "# locked ";
/// The line after which the undo file of the run exists.
pub(crate) const FINISHED: &str = "# finished";

/// Returns the line for a change after which the account is disabled again, or enabled on purpose.
pub(crate) fn locked(number: u64) -> String {
    format!("{LOCKED}{number}\n")
}

/// What lines after the frames say of the run.
#[derive(Debug, Default)]
pub(crate) struct Later {
    /// The changes whose locks are owed no more.
    pub(crate) locked: BTreeSet<u64>,
    /// Whether its undo file was made.
    pub(crate) is_finished: bool,
}

impl Later {
    pub(super) fn read(&mut self, line: &str) {
        self.locked.extend(line.strip_prefix(LOCKED).and_then(|number| number.parse::<u64>().ok()));
        self.is_finished |= line == FINISHED;
    }
}

/// The line before the change records of a frame.
pub(crate) struct Parsed<'a> {
    pub(crate) number: u64,
    pub(crate) sum: &'a str,
    pub(crate) length: u64,
    pub(crate) note: &'a str,
}

/// Parses that line.
pub(crate) fn parse_frame(text: &str) -> Option<Parsed<'_>> {
    let mut words = text.splitn(4, ' ');
    let (number, sum, length, note) = (words.next()?, words.next()?, words.next()?, words.next()?);
    Some(Parsed { number: number.parse().ok()?, sum, length: length.parse().ok()?, note })
}

/// Parses the change records of a frame.
pub(crate) fn changes(ldif: &[u8]) -> Result<Vec<Change>, ()> {
    if ldif.is_empty() {
        return Ok(Vec::new());
    }
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
