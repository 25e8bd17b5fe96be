//! The form of journals and undo files: LDIF, with comments that say what each change left.
//!
//! A file begins with a line that names its kind and version. Each change is a frame: a line
//! `# change NUMBER SUM LENGTH NOTE`, then LENGTH octets of LDIF that take it back. SUM is over note and LDIF, so that a frame
//! that was cut, or changed by hand, is known for it. A journal has its changes in their order, and behind them, as soon as it
//! is known, `# made NUMBER` or `# void NUMBER`; an undo file has them in the other order, and only what was made. A change of
//! which that is not known has its LDIF in its note: `ldapmodify` passes it over.
//!
//! `# made NUMBER NAME DIGEST` says of an added entry which id its server gave it (without it: not known). Behind the last line,
//! `target-ldap undo` notes `# again OLD NEW` of each entry that it added again, which has another id since: the files of
//! earlier runs know it by the old one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write};
use std::path::Path;

use ldap_directory::change::Change;
use ldap_directory::ldif::reader::{LdifReader, Record};
use ldap_directory::ldif::writer::{LdifWriteError, LdifWriter};
use ldap_directory::oid::RELAX_RULES;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::change_note::{ChangeNote, IDS};

/// The version of both forms. Files of a later one are refused.
const VERSION: u32 = 1;
const JOURNAL: &str = "# target-ldap undo journal ";
const UNDO: &str = "# target-ldap undo file ";
const CHANGE: &str = "# change ";
const MADE: &str = "# made ";
const VOID: &str = "# void ";
const COMMITTED: &str = "# committed";
/// Behind the end of an undo file: the id of an entry that the run deleted, and the one that it got when it was added again.
const AGAIN: &str = "# again ";
/// The last line of an undo file, with the number of its changes.
const END: &str = "# end ";

/// What stands in the first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    version: u32,
    /// The run's id.
    pub run: String,
    /// Where the changes were made.
    pub server: String,
    /// When the run began: RFC 3339, by this machine's clock.
    pub started: String,
    /// Whether nothing is made until all of it is: a file that is replaced as a whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub atomic: bool,
    /// Whether the run was killed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub killed: bool,
    /// Whether the journal that it was made of was damaged: changes of the run are missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
}

impl Header {
    /// Of a run that begins now.
    pub fn new(run: &str, server: &str, atomic: bool) -> Header {
        let now = chrono::Utc::now();
        Header {
            version: VERSION,
            run: format!("{run}-{}", now.timestamp_micros()),
            server: server.to_owned(),
            started: now.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
            atomic,
            killed: false,
            damaged: false,
        }
    }

    /// The first line of a journal.
    pub fn journal_line(&self) -> String {
        format!("{JOURNAL}{}\n", ascii(self))
    }
}

/// JSON of ASCII alone: what is printed to a terminal has no control character, nor any that is not what it looks like.
fn ascii(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut out = String::with_capacity(text.len());
    let mut units = [0; 2];
    for c in text.chars() {
        if matches!(c, ' '..='~') {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

/// A header, of which only the version is known to be there.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

fn sum(note: &str, ldif: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(note.as_bytes());
    hash.update(b"\n");
    hash.update(ldif);
    let mut hex = String::with_capacity(16);
    for octet in hash.finalize().iter().take(8) {
        let _ = write!(hex, "{octet:02x}");
    }
    hex
}

/// A frame, as it is written.
fn frame(number: u64, note: &ChangeNote, ldif: &[u8]) -> Vec<u8> {
    let note = ascii(note);
    let mut out = format!("{CHANGE}{number} {} {} {note}\n", sum(&note, ldif), ldif.len()).into_bytes();
    out.extend_from_slice(ldif);
    out
}

/// The frame of a change that is about to be made. `back` is in the order in which it is to be made.
pub fn announcement(number: u64, note: &ChangeNote, back: &[Change]) -> Result<Vec<u8>, LdifWriteError> {
    let mut writer = LdifWriter::new(Vec::new());
    for change in back {
        if note.relaxed && matches!(change, Change::Add(_)) {
            writer.critical_control(RELAX_RULES);
        }
        writer.change(change)?;
    }
    Ok(frame(number, note, &writer.into_inner()))
}

/// The id of an entry, as a journal keeps it in memory: few octets for each of a million entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id {
    /// Its place in [`IDS`].
    name: u8,
    /// The digest's text.
    digest: [u8; 16],
}

impl Id {
    /// Of an attribute's name, one of [`IDS`], and a value's digest.
    pub fn of(name: &str, digest: &str) -> Option<Id> {
        let name = IDS.iter().position(|n| *n == name).and_then(|n| u8::try_from(n).ok())?;
        Some(Id { name, digest: digest.as_bytes().try_into().ok()? })
    }

    fn pair(self) -> Option<(String, String)> {
        let name = IDS.get(usize::from(self.name))?;
        Some(((*name).to_owned(), std::str::from_utf8(&self.digest).ok()?.to_owned()))
    }
}

/// That a change was made, and the id of the entry where it was added.
pub fn made(number: u64, id: Option<Id>) -> String {
    match id.and_then(Id::pair) {
        Some((name, digest)) => format!("{MADE}{number} {name} {digest}\n"),
        None => format!("{MADE}{number}\n"),
    }
}

/// That an entry, which the run deleted, was added again: the digests of its ids.
pub fn again(old: &str, new: &str) -> String {
    format!("{AGAIN}{old} {new}\n")
}

/// The entries that were added again when a file was taken back: from old ids to new ones.
pub fn ids_again(path: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    let mut file = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    while file.read_until(b'\n', &mut line)? > 0 {
        // Values of LDIF never begin a line like this.
        let text = std::str::from_utf8(&line).ok().and_then(|l| l.strip_prefix(AGAIN));
        if let Some((old, new)) = text.and_then(|t| t.trim_end().split_once(' ')) {
            all.insert(old.to_owned(), new.to_owned());
        }
        line.clear();
    }
    Ok(all)
}

/// That a change was not made.
pub fn void(number: u64) -> String {
    format!("{VOID}{number}\n")
}

/// That all changes were made at once.
pub fn committed() -> &'static str {
    "# committed\n"
}

/// What is known of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It was announced, and nothing else.
    Unknown,
    /// It was made.
    Made,
    /// It was not made.
    Void,
}

/// Where a change stands in the file.
#[derive(Debug, Clone, Copy)]
pub struct FrameEntry {
    /// Of its frame.
    pub start: u64,
    /// Of its frame, in octets.
    pub length: u64,
    /// What is known of it.
    pub status: Status,
    /// The id of the entry that it added, where that is not in its note.
    pub id: Option<Id>,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system's words.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not a file of this form: of an earlier version, or another program.
    #[error("it has no record of what a run left: an earlier version wrote it, or another program")]
    Foreign,
    /// It is of a later version.
    #[error("it is of version {0}, and this program knows versions up to {VERSION}")]
    Version(u32),
    /// A frame of an undo file that is not as it was written.
    #[error("line {0} was changed since the file was written, or what follows it")]
    Changed(u64),
    /// An undo file without its last line, or without all that the line counts.
    #[error(
        "it is not whole: it holds {0} change(s), and its last line, which counts them, is not there or says otherwise"
    )]
    Cut(usize),
}

/// A journal or an undo file, open.
#[derive(Debug)]
pub struct JournalReader {
    file: BufReader<File>,
    /// Its first line.
    pub header: Header,
    /// Whether it is a journal.
    pub is_journal: bool,
    /// Its changes by number: in the order in which they were made.
    pub places: BTreeMap<u64, FrameEntry>,
    /// Whether all its changes were made at once, where [`Header::atomic`].
    pub committed: bool,
}

impl JournalReader {
    /// Of a journal that is being written.
    pub fn of(
        file: File,
        header: Header,
        places: BTreeMap<u64, FrameEntry>,
        committed: bool,
    ) -> JournalReader {
        JournalReader { file: BufReader::new(file), header, is_journal: true, places, committed }
    }

    /// Whether a file is an undo file of this form.
    pub fn is_one(path: &Path) -> bool {
        let mut start = [0; UNDO.len()];
        File::open(path).and_then(|mut f| f.read_exact(&mut start)).is_ok() && start == *UNDO.as_bytes()
    }

    /// The same, or the journal of a run that was killed.
    pub fn is_one_or_journal(path: &Path) -> bool {
        let mut start = [0; JOURNAL.len()];
        let is_journal = |mut f: File| f.read_exact(&mut start).map(|()| start == *JOURNAL.as_bytes());
        Self::is_one(path) || File::open(path).and_then(is_journal).unwrap_or(false)
    }

    /// Reads what there is to know but for the changes themselves. What a crash left of the end of a journal is passed over:
    /// it had not reached the disk, so its change was not sent.
    pub fn open(path: &Path) -> Result<JournalReader, ReadError> {
        let mut file = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        file.by_ref().take(1 << 16).read_until(b'\n', &mut line)?;
        let text = std::str::from_utf8(&line).map_err(|_| ReadError::Foreign)?;
        let of = |kind: &str| text.strip_prefix(kind).map(str::trim_end);
        let (is_journal, json) = match (of(JOURNAL), of(UNDO)) {
            (Some(json), _) => (true, json),
            (None, Some(json)) => (false, json),
            (None, None) => return Err(ReadError::Foreign),
        };
        let version: Version = serde_json::from_str(json).map_err(|_| ReadError::Foreign)?;
        if version.version > VERSION {
            return Err(ReadError::Version(version.version));
        }
        let header: Header = serde_json::from_str(json).map_err(|_| ReadError::Foreign)?;
        let mut reading =
            JournalReader { file, header, is_journal, places: BTreeMap::new(), committed: false };
        reading.scan(line.len() as u64)?;
        Ok(reading)
    }

    fn scan(&mut self, mut at: u64) -> Result<(), ReadError> {
        let size = self.file.get_ref().metadata()?.len();
        let mut line = Vec::new();
        let mut number_of_line = 1;
        let mut counted = None;
        loop {
            line.clear();
            let read = self.file.read_until(b'\n', &mut line)? as u64;
            if read == 0 || line.last() != Some(&b'\n') {
                break;
            }
            number_of_line += 1;
            let start = at;
            at += read;
            if !line.starts_with(b"# ") {
                // Outside of frames there is nothing but comments: what stands there has lost its first line.
                if !self.is_journal && line != b"\n" && line != b"\r\n" {
                    return Err(ReadError::Changed(number_of_line));
                }
                continue;
            }
            let Ok(text) = std::str::from_utf8(&line) else { continue };
            let text = text.trim_end_matches('\n');
            let number = |mark: &str| text.strip_prefix(mark).and_then(|n| n.parse::<u64>().ok());
            let made = text.strip_prefix(MADE).map(|t| t.split(' ')).and_then(|mut words| {
                let number = words.next()?.parse::<u64>().ok()?;
                let id = words.next().zip(words.next()).and_then(|(name, digest)| Id::of(name, digest));
                Some((number, id))
            });
            if let Some(rest) = text.strip_prefix(CHANGE) {
                let begun = number_of_line;
                match parse_frame(rest).filter(|f| f.length <= size.saturating_sub(at)) {
                    Some(parsed) => {
                        let mut ldif = vec![0; usize::try_from(parsed.length).unwrap_or(usize::MAX)];
                        self.file.read_exact(&mut ldif)?;
                        if sum(parsed.note, &ldif) == parsed.sum {
                            at += parsed.length;
                            number_of_line += ldif.split(|octet| *octet == b'\n').skip(1).count() as u64;
                            let note: ChangeNote =
                                serde_json::from_str(parsed.note).map_err(|_| ReadError::Changed(begun))?;
                            let status = match (self.is_journal, note.back.is_some()) {
                                (true, _) | (false, true) => Status::Unknown,
                                (false, false) => Status::Made,
                            };
                            self.places.insert(
                                parsed.number,
                                FrameEntry { start, length: at - start, status, id: None },
                            );
                            continue;
                        }
                        // A part of a frame, with what was written behind it later.
                        self.file.seek(SeekFrom::Start(at))?;
                    }
                    None if !self.is_journal => return Err(ReadError::Changed(begun)),
                    None => continue,
                }
                if !self.is_journal {
                    return Err(ReadError::Changed(begun));
                }
            } else if let Some((number, id)) = made {
                self.mark(number, Status::Made, id);
            } else if let Some(number) = number(VOID) {
                self.mark(number, Status::Void, None);
            } else if let Some(number) = number(END) {
                counted = Some(number);
            } else if text == COMMITTED {
                self.committed = true;
            }
        }
        let held = self.places.len();
        if self.is_journal {
            // Its changes are numbered from 0 without a gap. What a crash cut off is at the end.
            let last = self.places.last_key_value().map(|(number, _)| *number);
            self.header.damaged |= last.is_some_and(|last| last.saturating_add(1) != held as u64);
        } else if counted != Some(held as u64) {
            return Err(ReadError::Cut(held));
        }
        Ok(())
    }

    fn mark(&mut self, number: u64, status: Status, id: Option<Id>) {
        if let Some(place) = self.places.get_mut(&number).filter(|_| self.is_journal) {
            place.status = status;
            place.id = id;
        }
    }

    /// What is known of a change, given how the run ended.
    pub fn status(&self, number: u64) -> Status {
        let status = self.places.get(&number).map_or(Status::Void, |p| p.status);
        // In a file that is replaced as a whole, what was made in memory was not made before the file was replaced.
        match status {
            Status::Made if self.is_journal && self.header.atomic && !self.committed => Status::Unknown,
            status => status,
        }
    }

    /// A change: what is known of it, and what takes it back, in its order.
    pub fn load(&mut self, number: u64) -> Result<(ChangeNote, Vec<Change>), ReadError> {
        let (note, ldif) = self.raw(number)?;
        let text = note.back.as_deref().map_or(&*ldif, str::as_bytes);
        Ok((note.clone(), changes(text).map_err(|()| ReadError::Changed(0))?))
    }

    fn raw(&mut self, number: u64) -> Result<(ChangeNote, Vec<u8>), ReadError> {
        let place = *self.places.get(&number).ok_or(ReadError::Changed(0))?;
        self.file.seek(SeekFrom::Start(place.start))?;
        let mut line = Vec::new();
        let read = self.file.read_until(b'\n', &mut line)? as u64;
        let mut ldif = vec![0; usize::try_from(place.length.saturating_sub(read)).unwrap_or(0)];
        self.file.read_exact(&mut ldif)?;
        let text = std::str::from_utf8(&line).map_err(|_| ReadError::Changed(0))?;
        let parsed = text
            .strip_prefix(CHANGE)
            .and_then(|rest| parse_frame(rest.trim_end_matches('\n')))
            .ok_or(ReadError::Changed(0))?;
        let mut note: ChangeNote = serde_json::from_str(parsed.note).map_err(|_| ReadError::Changed(0))?;
        if let Some(id) = place.id.and_then(Id::pair) {
            note.id = Some(id);
        }
        Ok((note, ldif))
    }

    /// Writes an undo file: the last change first.
    pub fn write(&mut self, killed: bool, out: &mut dyn Write) -> Result<(), LdifWriteError> {
        let header = Header { killed, atomic: false, ..self.header.clone() };
        let written: Vec<u64> =
            self.places.keys().rev().copied().filter(|n| self.status(*n) != Status::Void).collect();
        writeln!(out, "{UNDO}{}", ascii(&header))?;
        writeln!(
            out,
            "# target-ldap undo takes this back, entry by entry; ldapmodify does so without looking."
        )?;
        let count = written.len();
        for number in written {
            let status = self.status(number);
            let (note, ldif) = self.raw(number).map_err(io::Error::other)?;
            let octets = if status == Status::Unknown && note.back.is_none() {
                let back = String::from_utf8_lossy(&ldif).into_owned();
                frame(number, &ChangeNote { back: Some(back), ..note }, b"")
            } else {
                frame(number, &note, &ldif)
            };
            out.write_all(&octets)?;
        }
        writeln!(out, "{END}{count}")?;
        Ok(())
    }

    /// Whether there is anything that was made, or may have been.
    pub fn is_empty(&self) -> bool {
        self.places.keys().all(|n| self.status(*n) == Status::Void)
    }
}

struct Parsed<'a> {
    number: u64,
    sum: &'a str,
    length: u64,
    note: &'a str,
}

fn parse_frame(text: &str) -> Option<Parsed<'_>> {
    let mut words = text.splitn(4, ' ');
    let (number, sum, length, note) = (words.next()?, words.next()?, words.next()?, words.next()?);
    Some(Parsed { number: number.parse().ok()?, sum, length: length.parse().ok()?, note })
}

/// Change records of a frame.
fn changes(ldif: &[u8]) -> Result<Vec<Change>, ()> {
    // A note says so, too, and the reader refuses what it does not carry out.
    let line = format!("control: {RELAX_RULES} true\n");
    let text = String::from_utf8_lossy(ldif).replace(&line, "");
    LdifReader::new(text.as_bytes())
        .map(|record| match record {
            Ok(Record::Change(change)) => Ok(change),
            _ => Err(()),
        })
        .collect()
}

#[cfg(test)]
mod tests;
