//! The LDIF reader: content and change records (RFC 2849), one at a time, with their line numbers.
//!
//! It also accepts what servers and tools write in practice: raw UTF-8 values, lines that end in CR, `ldapsearch` without `-LLL` (its closing
//! `search:`/`result:` record is skipped), `slapcat`, `ldifde`. It is strict where guessing would change data: base64, names,
//! the order of a change record.
//!
//! A file that was cut is not always invalid: `sn: Lovel` at its end may have been `sn: Lovelace`. [`LdifReader::dump`] tells what shows it.
//!
//! Not checked: the schema, and the syntax of a DN beyond UTF-8. Critical controls are an error, others are ignored.

use std::io::{self, BufRead};

use crate::change::Change;
use crate::entry::Entry;

pub use self::dump::{Dump, Shortfall};
use self::lines::Lines;
use self::parse::{Parsed, Parser};
pub use self::stated::{Stated, StatedSearch};

mod dump;
mod lines;
mod parse;
mod stated;

/// The default maximum size of a record: 256 MiB.
pub const DEFAULT_MAX_RECORD_BYTES: usize = 256 * 1024 * 1024;

/// The cost of a line in addition to its octets, which bounds records of many tiny lines.
const LINE_OVERHEAD: usize = 64;

/// A record buffer larger than this is freed after its record.
const KEEP_BUFFER: usize = 1024 * 1024;

/// One LDIF record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An entry: a content record.
    Entry(Entry),
    /// A change record.
    Change(Change),
}

impl Record {
    /// Returns the DN of the record.
    pub fn dn(&self) -> &str {
        match self {
            Self::Entry(entry) => &entry.dn,
            Self::Change(change) => change.dn(),
        }
    }
}

/// Why a record could not be read. Its text has the line and the DN, never a value.
#[derive(Debug, thiserror::Error)]
#[error("LDIF line {line}{}: {kind}", .dn.as_ref().map(|dn| format!(" (entry {dn:?})")).unwrap_or_default())]
pub struct LdifError {
    /// The line in the file, from 1.
    pub line: u64,
    /// The DN, if it was read.
    pub dn: Option<String>,
    /// What is wrong.
    pub kind: LdifErrorKind,
}

impl LdifError {
    /// Returns whether the input cannot be read any further. Otherwise, the next record can be.
    pub fn is_fatal(&self) -> bool {
        matches!(self.kind, LdifErrorKind::Io(_) | LdifErrorKind::Encoding | LdifErrorKind::Version)
    }
}

/// What is wrong with a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LdifErrorKind {
    /// The input failed.
    #[error("could not read: {0}")]
    Io(#[source] io::Error),
    /// The file is not in UTF-8.
    #[error("this is UTF-16, and LDIF is UTF-8 (RFC 2849): convert the file, for instance with iconv")]
    Encoding,
    /// The file is of a version that is not known: what its records mean is not either.
    #[error("the only version of LDIF is 1: `version: 1`")]
    Version,
    /// The record is larger than the reader allows.
    #[error(
        "the record is larger than {limit} octets, each line counted with {LINE_OVERHEAD} more: \
         raise the limit if that is meant, or look for a missing empty line between records"
    )]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The record does not follow RFC 2849.
    #[error("{0}")]
    Syntax(String),
    /// A value refers to a URL, which the reader does not allow.
    #[error(
        "the value of `{attribute}` is to be read from a URL (`:<`), which is refused: a file would decide which files of \
         this machine are read. Put the value here in base64 (`{attribute}:: …`)"
    )]
    UrlRefused {
        /// The attribute.
        attribute: String,
    },
    /// A value's URL could not be read.
    #[error("the URL of `{attribute}` {reason}")]
    Url {
        /// The attribute.
        attribute: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A change has a critical control, which must not be ignored.
    #[error(
        "the control {oid} is marked critical and is not supported: take the control line out, or say `false`"
    )]
    CriticalControl {
        /// The control.
        oid: String,
    },
}

/// Returns whether LDIF can represent this attribute description: the characters of RFC 2849, and those that servers add (`_`,
/// and `=` in Active Directory's `member;range=0-1499`).
pub(crate) fn is_description(name: &str) -> bool {
    name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b';' | b'_' | b'='))
}

/// An iterator over LDIF [`Record`]s. It holds one record in memory.
///
/// After an error that is not [fatal](LdifError::is_fatal), it continues with the next record.
///
/// ```
/// use ldap_directory::change::Change;
/// use ldap_directory::ldif::reader::{LdifReader, Record};
///
/// let text = "dn: dc=x\nobjectClass: domain\ndc: x\n\ndn: cn=old,dc=x\nchangetype: delete\n";
/// let records = LdifReader::new(text.as_bytes()).collect::<Result<Vec<_>, _>>()?;
/// assert!(matches!(&records[0], Record::Entry(entry) if entry.first_text("dc") == Some("x")));
/// assert!(matches!(&records[1], Record::Change(Change::Delete { dn }) if dn == "cn=old,dc=x"));
/// # Ok::<(), ldap_directory::ldif::reader::LdifError>(())
/// ```
#[derive(Debug)]
pub struct LdifReader<R> {
    lines: Lines<R>,
    allow_urls: bool,
    max_record_bytes: usize,
    done: bool,
    raw: RawRecord,
    dump: Dump,
}

impl<R: BufRead> LdifReader<R> {
    /// Returns a reader that refuses URLs, with the default limit.
    pub fn new(input: R) -> Self {
        Self {
            lines: Lines::new(input),
            allow_urls: false,
            max_record_bytes: DEFAULT_MAX_RECORD_BYTES,
            done: false,
            raw: RawRecord::default(),
            dump: Dump::default(),
        }
    }

    /// Returns what the file reveals about its origin; complete once the last record was read.
    pub fn dump(&self) -> &Dump {
        &self.dump
    }

    /// Sets whether `attribute:< file:///…` reads that file. Default: `false`, because otherwise the LDIF file decides which local
    /// files are read into the directory.
    #[must_use]
    pub fn allow_urls(mut self, allow: bool) -> Self {
        self.allow_urls = allow;
        self
    }

    /// Sets the maximum size of a record, in octets. A line counts 64 octets more, and a file read by URL counts its size.
    #[must_use]
    pub fn max_record_bytes(mut self, limit: usize) -> Self {
        self.max_record_bytes = limit;
        self
    }

    /// Returns the first line of the last record or error; 0 before the first.
    pub fn record_line(&self) -> u64 {
        self.raw.lines.first().map_or(self.lines.number, |l| l.number)
    }

    /// Reads the lines of the next record, unfolded, without comments. Returns `false` at the end of the input.
    fn gather(&mut self) -> Result<bool, LdifError> {
        self.raw.clear();
        let mut in_comment = false;
        let mut refused: Option<LdifError> = None;
        loop {
            let room = match refused {
                Some(_) => 0,
                None => self.max_record_bytes.saturating_sub(self.raw.cost()),
            };
            match self.lines.next(room) {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    return Err(LdifError {
                        line: self.lines.number + 1,
                        dn: None,
                        kind: LdifErrorKind::Io(error),
                    });
                }
            }
            let mut text = self.lines.text.as_slice();
            if self.lines.number == 1 {
                if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
                    return Err(LdifError { line: 1, dn: None, kind: LdifErrorKind::Encoding });
                }
                text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
            }
            let (starts, text) = match text.split_first() {
                None if self.raw.lines.is_empty() && refused.is_none() => {
                    in_comment = false;
                    continue;
                }
                None => break,
                Some((b'#', comment)) => {
                    in_comment = true;
                    let in_entry = self.raw.begins_entry();
                    self.dump.comment(self.lines.number, comment, in_entry);
                    continue;
                }
                Some((b' ', _)) if in_comment => continue,
                // OpenLDAP's ldapsearch writes each entry's DN unescaped into a comment above it, with line feeds.
                Some(_) if in_comment && self.raw.lines.is_empty() && !text.contains(&b':') => continue,
                Some((b' ', rest)) => (false, rest),
                Some((b'\t', rest))
                    if refused.is_none() && rest.iter().all(|o| matches!(o, b' ' | b'\t')) =>
                {
                    refused = Some(blank_line((self.lines.number, 1)));
                    continue;
                }
                Some(_) => (true, text),
            };
            in_comment = false;
            if refused.is_some() {
                continue;
            }
            if starts {
                // Every program writes a value that ends in blanks in base64.
                let is_name = text.get(..3).is_some_and(|name| name.eq_ignore_ascii_case(b"dn:"));
                refused = self.raw.blanks.take().filter(|(_, kept)| *kept > 0 || is_name).map(blank_line);
                if refused.is_some() {
                    self.raw.text.clear();
                    self.raw.lines.truncate(1);
                    continue;
                }
            }
            let kind = if text.len() > room {
                LdifErrorKind::TooLarge { limit: self.max_record_bytes }
            } else if starts {
                self.raw.start(self.lines.number, text);
                continue;
            } else if self.raw.lines.is_empty() {
                LdifErrorKind::Syntax(
                    "a line that begins with a space continues the line before, and there is none: \
                     take the space away, or the empty line before it"
                        .into(),
                )
            } else {
                let kept = self.raw.blanks.take().map_or(0, |(_, kept)| kept);
                if text.iter().all(|octet| matches!(octet, b' ' | b'\t')) {
                    self.raw.blanks = Some((self.lines.number, kept + text.len()));
                }
                self.raw.text.extend_from_slice(text);
                continue;
            };
            refused = Some(LdifError { line: self.lines.number, dn: None, kind });
            self.raw.text.clear();
            self.raw.lines.truncate(1);
        }
        if refused.is_none() {
            refused = self.raw.blanks.take().filter(|(_, kept)| *kept > 0).map(blank_line);
        }
        match refused {
            Some(error) => Err(error),
            None => Ok(!self.raw.lines.is_empty()),
        }
    }
}

/// Returns the error of a line of blanks in the place of an empty one.
fn blank_line((line, _): (u64, usize)) -> LdifError {
    let what = "this line holds nothing but blanks, and so it continues the line before (RFC 2849): between two records \
                has to be an empty line; take the blanks away";
    LdifError { line, dn: None, kind: LdifErrorKind::Syntax(what.into()) }
}

impl<R: BufRead> Iterator for LdifReader<R> {
    type Item = Result<Record, LdifError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            let result = match self.gather() {
                Ok(true) => Parser::new(&self.raw, self.allow_urls, self.max_record_bytes).record(),
                Ok(false) => {
                    self.done = true;
                    self.dump.end(Some(self.lines.number).filter(|_| self.lines.is_unended));
                    return None;
                }
                Err(error) => Err(error),
            };
            match result {
                Ok(Parsed::Nothing) => {}
                Ok(Parsed::Trailer(trailer)) => self.dump.trailer(self.record_line(), trailer),
                Ok(Parsed::Record(record)) => {
                    if let Record::Entry(entry) = &record {
                        self.dump
                            .entry(self.raw.lines.first().map_or(self.lines.number, |l| l.number), entry);
                    }
                    return Some(Ok(record));
                }
                Err(error) => {
                    self.done = error.is_fatal();
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

/// The unfolded lines of one record, consecutive in one buffer.
#[derive(Debug, Default)]
struct RawRecord {
    text: Vec<u8>,
    lines: Vec<RawLine>,
    /// The last line, if it continues the one before only by blanks, and the number of blanks that it and such lines before it
    /// add.
    blanks: Option<(u64, usize)>,
}

#[derive(Debug)]
struct RawLine {
    number: u64,
    start: usize,
}

impl RawRecord {
    fn clear(&mut self) {
        self.text.clear();
        self.lines.clear();
        self.blanks = None;
        if self.text.capacity() > KEEP_BUFFER {
            *self = Self::default();
        }
    }

    fn cost(&self) -> usize {
        self.text.len().saturating_add(self.lines.len().saturating_mul(LINE_OVERHEAD))
    }

    /// Returns whether the lines begin with a DN.
    fn begins_entry(&self) -> bool {
        self.text.get(..3).is_some_and(|name| name.eq_ignore_ascii_case(b"dn:"))
    }

    fn start(&mut self, number: u64, text: &[u8]) {
        self.lines.push(RawLine { number, start: self.text.len() });
        self.text.extend_from_slice(text);
    }

    fn line(&self, index: usize) -> Option<(u64, &[u8])> {
        let line = self.lines.get(index)?;
        let end = self.lines.get(index + 1).map_or(self.text.len(), |next| next.start);
        Some((line.number, self.text.get(line.start..end)?))
    }
}

#[cfg(test)]
mod tests;
