//! The format of journals and undo files: LDIF with comments about what each change left.
//!
//! The first line has the kind and version of the file. Each change is a frame: a line `# change NUMBER SUM LENGTH NOTE`, then
//! LENGTH octets of LDIF that undo it. SUM covers the note and the LDIF, so that a frame that was cut or edited is detected. A
//! journal has its changes in order, followed by `# made NUMBER` or `# void NUMBER` as soon as that is known. An undo file has
//! them in reverse order, without void ones. A change that may or may not have been made has its LDIF in its note, so that
//! `ldapmodify` ignores it.
//!
//! After `# locked NUMBER`, the lock of a disabled account that a change may have taken away is owed no more; `# finished` says that the
//! run's undo file was made, and that its journal is there for such a lock alone ([`super::owed`]).
//!
//! `# made NUMBER NAME DIGEST` has the ID that the server assigned to an added entry. After the last line, `target-ldap undo`
//! adds `# again OLD NEW` for each entry that it added again with another ID: the files of earlier runs know the old one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write};
use std::path::Path;

use ldap_directory::change::Change;
use ldap_directory::ldif::writer::{LdifWriteError, LdifWriter};
use ldap_directory::oid::RELAX_RULES;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::change_note::ChangeNote;
use crate::rules::names::ENTRY_IDS;

mod frame;

pub(super) use frame::{FINISHED, Later, locked};
pub(crate) use frame::{changes, parse_frame};

/// The version of both formats. Files of a later one are refused.
const VERSION: u32 = 1;
const JOURNAL: &str = "# target-ldap undo journal ";
const UNDO: &str = "# target-ldap undo file ";
pub(crate) const CHANGE: &str = "# change ";
const MADE: &str = "# made ";
const VOID: &str = "# void ";
const COMMITTED: &str = "# committed";
/// After the end of an undo file: the ID of an entry that the run deleted, and its new ID after it was added again.
const AGAIN: &str = "# again ";
/// The last line of an undo file, with the number of its changes.
pub(crate) const END: &str = "# end ";

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "they are the first line of a file, each with a name of its own"
)]
pub struct Header {
    version: u32,
    /// The ID of the run.
    pub run: String,
    /// The directory of the changes.
    pub server: String,
    /// When the run began: RFC 3339, by this machine's clock.
    pub started: String,
    /// Whether all changes are committed at once: a file that is replaced as a whole.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub atomic: bool,
    /// Whether the run was killed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub killed: bool,
    /// Whether its journal was damaged: changes of the run are missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub damaged: bool,
    /// Whether the undo takes the names that it frees out of groups: the program gave no entry a name that a group had.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clears_names: bool,
}

impl Header {
    /// Returns when the run began, in microseconds since 1970.
    pub(super) fn began(&self) -> Option<i64> {
        self.run.rsplit_once('-').and_then(|(_, micros)| micros.parse().ok())
    }

    /// Returns the header of a run that begins now.
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
            clears_names: false,
        }
    }

    /// Returns the first line of a journal.
    pub fn journal_line(&self) -> String {
        format!("{JOURNAL}{}\n", ascii(self))
    }
}

/// Returns JSON in ASCII only, so that a terminal shows it without control characters or lookalikes.
pub(crate) fn ascii(value: &impl Serialize) -> String {
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

/// A header of which only the version is known.
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

/// Returns a frame.
fn frame(number: u64, note: &ChangeNote, ldif: &[u8]) -> Vec<u8> {
    let note = ascii(note);
    let mut out = format!("{CHANGE}{number} {} {} {note}\n", sum(&note, ldif), ldif.len()).into_bytes();
    out.extend_from_slice(ldif);
    out
}

/// Returns the frame of a change that is about to be made. `back`: the changes that undo it, in their order.
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

/// The ID of an entry in compact form, for a million entries in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryId {
    /// Its index in [`ENTRY_IDS`].
    name: u8,
    /// The text of the digest.
    digest: [u8; 16],
}

impl EntryId {
    /// Builds it from an attribute of [`ENTRY_IDS`] and a value's digest.
    pub fn of(name: &str, digest: &str) -> Option<EntryId> {
        let name = ENTRY_IDS.iter().position(|n| *n == name).and_then(|n| u8::try_from(n).ok())?;
        Some(EntryId { name, digest: digest.as_bytes().try_into().ok()? })
    }

    fn pair(self) -> Option<(String, String)> {
        let name = ENTRY_IDS.get(usize::from(self.name))?;
        Some(((*name).to_owned(), std::str::from_utf8(&self.digest).ok()?.to_owned()))
    }
}

/// Returns the line for a change that was made, with the ID of an added entry.
pub fn made(number: u64, id: Option<EntryId>) -> String {
    match id.and_then(EntryId::pair) {
        Some((name, digest)) => format!("{MADE}{number} {name} {digest}\n"),
        None => format!("{MADE}{number}\n"),
    }
}

/// Returns the line for an entry that was added again: the digests of its IDs.
pub fn again(old: &str, new: &str) -> String {
    format!("{AGAIN}{old} {new}\n")
}

/// Returns the entries that were added again by an undo of a file: new IDs by old ones.
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

/// Returns the line for a change that was not made.
pub fn void(number: u64) -> String {
    format!("{VOID}{number}\n")
}

/// Returns the line for the commit of all changes.
pub fn committed() -> &'static str {
    "# committed\n"
}

/// What is known of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeStatus {
    /// It was announced only.
    Unknown,
    /// It was made.
    Made,
    /// It was not made.
    Void,
}

/// The position of a change in the file.
#[derive(Debug, Clone, Copy)]
pub struct FrameEntry {
    /// The start of its frame.
    pub start: u64,
    /// The length of its frame, in octets.
    pub length: u64,
    /// What is known of it.
    pub status: ChangeStatus,
    /// The ID of the entry that it added, if it is not in its note.
    pub id: Option<EntryId>,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system's error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A file in another format: of an earlier version, or another program.
    #[error("it has no record of what a run left: an earlier version wrote it, or another program")]
    Foreign,
    /// A file of a later version.
    #[error("it is of version {0}, and this program knows versions up to {VERSION}")]
    Version(u32),
    /// A frame of an undo file that was edited.
    #[error("line {0} was changed since the file was written, or what follows it")]
    Changed(u64),
    /// An undo file that was cut.
    #[error(
        "it is not whole: it holds {0} change(s), and its last line, which counts them, is not there or says otherwise"
    )]
    Cut(usize),
}

/// An open journal or undo file.
#[derive(Debug)]
pub struct JournalReader {
    file: BufReader<File>,
    /// Its first line.
    pub header: Header,
    /// Whether it is a journal.
    pub is_journal: bool,
    /// Its changes by number: in the order in which they were made.
    pub places: BTreeMap<u64, FrameEntry>,
    /// Whether all its changes were committed, with [`Header::atomic`].
    pub committed: bool,
    /// What was noted after its run.
    pub(super) later: Later,
}

impl JournalReader {
    /// Returns the reader of a journal that is being written.
    pub fn of(
        file: File,
        header: Header,
        places: BTreeMap<u64, FrameEntry>,
        committed: bool,
    ) -> JournalReader {
        let (file, later) = (BufReader::new(file), Later::default());
        JournalReader { file, header, is_journal: true, places, committed, later }
    }

    /// Whether a file is an undo file in this format.
    pub fn is_one(path: &Path) -> bool {
        let mut start = [0; UNDO.len()];
        File::open(path).and_then(|mut f| f.read_exact(&mut start)).is_ok() && start == *UNDO.as_bytes()
    }

    /// The same, or the journal of a killed run.
    pub fn is_one_or_journal(path: &Path) -> bool {
        let mut start = [0; JOURNAL.len()];
        let is_journal = |mut f: File| f.read_exact(&mut start).map(|()| start == *JOURNAL.as_bytes());
        Self::is_one(path) || File::open(path).and_then(is_journal).unwrap_or(false)
    }

    /// Reads everything except the changes themselves. The damaged end of a journal after a crash is ignored: it was not on
    /// disk, so its change was not sent.
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
        let (places, later) = (BTreeMap::new(), Later::default());
        let mut reading = JournalReader { file, header, is_journal, places, committed: false, later };
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
                // Outside of frames there are only comments: other lines have lost the first line of their frame.
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
                let id = words.next().zip(words.next()).and_then(|(name, digest)| EntryId::of(name, digest));
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
                                (true, _) | (false, true) => ChangeStatus::Unknown,
                                (false, false) => ChangeStatus::Made,
                            };
                            self.places.insert(
                                parsed.number,
                                FrameEntry { start, length: at - start, status, id: None },
                            );
                            continue;
                        }
                        // A part of a frame, followed by later lines.
                        self.file.seek(SeekFrom::Start(at))?;
                    }
                    None if !self.is_journal => return Err(ReadError::Changed(begun)),
                    None => continue,
                }
                if !self.is_journal {
                    return Err(ReadError::Changed(begun));
                }
            } else if let Some((number, id)) = made {
                self.mark(number, ChangeStatus::Made, id);
            } else if let Some(number) = number(VOID) {
                self.mark(number, ChangeStatus::Void, None);
            } else if let Some(number) = number(END) {
                counted = Some(number);
            } else if text == COMMITTED {
                self.committed = true;
            } else {
                self.later.read(text);
            }
        }
        let held = self.places.len();
        if self.is_journal {
            // Its changes are numbered from 0 without gaps. A crash cuts off the end.
            let last = self.places.last_key_value().map(|(number, _)| *number);
            self.header.damaged |= last.is_some_and(|last| last.saturating_add(1) != held as u64);
        } else if counted != Some(held as u64) {
            return Err(ReadError::Cut(held));
        }
        Ok(())
    }

    fn mark(&mut self, number: u64, status: ChangeStatus, id: Option<EntryId>) {
        if let Some(place) = self.places.get_mut(&number).filter(|_| self.is_journal) {
            place.status = status;
            place.id = id;
        }
    }

    /// Returns the status of a change, given how the run ended.
    pub fn status(&self, number: u64) -> ChangeStatus {
        let status = self.places.get(&number).map_or(ChangeStatus::Void, |p| p.status);
        // In a file that is replaced as a whole, changes in memory count only once the file is replaced.
        match status {
            ChangeStatus::Made if self.is_journal && self.header.atomic && !self.committed => {
                ChangeStatus::Unknown
            }
            status => status,
        }
    }

    /// Returns the note of a change, and the changes that undo it, in their order.
    pub fn load(&mut self, number: u64) -> Result<(ChangeNote, Vec<Change>), ReadError> {
        let (note, ldif) = self.raw(number)?;
        let text = note.back.as_deref().map_or(&*ldif, str::as_bytes);
        Ok((note.clone(), changes(text).map_err(|()| ReadError::Changed(0))?))
    }

    fn raw(&mut self, number: u64) -> Result<(ChangeNote, Vec<u8>), ReadError> {
        let (note, ldif) = self.frame(number)?;
        let mut note: ChangeNote = serde_json::from_str(&note).map_err(|_| ReadError::Changed(0))?;
        if let Some(id) = self.places.get(&number).and_then(|place| place.id).and_then(EntryId::pair) {
            note.id = Some(id);
        }
        Ok((note, ldif))
    }

    /// Returns the text of a note, and the change records after it.
    pub(crate) fn frame(&mut self, number: u64) -> Result<(String, Vec<u8>), ReadError> {
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
        Ok((parsed.note.to_owned(), ldif))
    }

    /// Writes an undo file: the last change first.
    pub fn write(&mut self, killed: bool, out: &mut dyn Write) -> Result<(), LdifWriteError> {
        let header = Header { killed, atomic: false, ..self.header.clone() };
        let written: Vec<u64> =
            self.places.keys().rev().copied().filter(|n| self.status(*n) != ChangeStatus::Void).collect();
        writeln!(out, "{UNDO}{}", ascii(&header))?;
        writeln!(
            out,
            "# target-ldap undo takes this back, entry by entry; ldapmodify does so without looking."
        )?;
        let count = written.len();
        for number in written {
            let status = self.status(number);
            let (note, ldif) = self.raw(number).map_err(io::Error::other)?;
            let octets = if status == ChangeStatus::Unknown && note.back.is_none() {
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

    /// Whether no change was, or may have been, made.
    pub fn is_empty(&self) -> bool {
        self.places.keys().all(|n| self.status(*n) == ChangeStatus::Void)
    }
}

#[cfg(test)]
mod tests;
