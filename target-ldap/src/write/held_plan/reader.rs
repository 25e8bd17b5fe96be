//! Reads and checks a plan.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use ldap_directory::change::Change;
use serde::Deserialize;

use super::{PLAN, PlanHead, PlannedNote, VERSION, seal};
use crate::write::undo::journal::{
    CHANGE, ChangeStatus, END, FrameEntry, Header, JournalReader, ReadError, changes, parse_frame,
};

/// The longest first line.
const LONGEST: u64 = 1 << 24;

/// Why a plan is refused.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The system's error.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Another file.
    #[error("it is not a plan that a held run has left (plan_file)")]
    Foreign,
    /// A plan of a later version.
    #[error("it is of version {0}, and this program knows versions up to {VERSION}")]
    Version(u32),
    /// Something was edited.
    #[error(
        "line {0} was changed since the plan was made, or what follows it; whole changes may be taken out, and nothing else edited"
    )]
    Changed(u64),
    /// The end is missing.
    #[error("it is not whole: its last line, which counts its changes, is missing")]
    Cut,
}

impl From<ReadError> for PlanError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(e) => PlanError::Io(e),
            // It was checked when it was opened.
            _ => PlanError::Changed(0),
        }
    }
}

/// The version alone: a later one may have other parts.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// An open plan, every frame of which is as it was written.
#[derive(Debug)]
pub struct PlanReader {
    /// Its first line.
    pub head: PlanHead,
    /// Its frames.
    pub frames: JournalReader,
    /// The number of changes that were taken out.
    pub taken_out: u64,
}

impl PlanReader {
    /// Opens a plan, and checks all of it. Memory holds the places of its changes.
    ///
    /// # Errors
    /// It cannot be read, is not a plan, or was cut or edited.
    pub fn open(path: &Path) -> Result<PlanReader, PlanError> {
        let mut file = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        file.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
        let text = std::str::from_utf8(&line).map_err(|_| PlanError::Foreign)?;
        let json = text.strip_prefix(PLAN).map(str::trim_end).ok_or(PlanError::Foreign)?.to_owned();
        let version: Version = serde_json::from_str(&json).map_err(|_| PlanError::Changed(1))?;
        if version.version > VERSION {
            return Err(PlanError::Version(version.version));
        }
        let head: PlanHead = serde_json::from_str(&json).map_err(|_| PlanError::Changed(1))?;
        let (places, count) = scan(&mut file, line.len() as u64, &json, &head)?;
        let taken_out = count.saturating_sub(places.len() as u64);
        let mut header = Header::new(&head.run, &head.server, false);
        header.started.clone_from(&head.made);
        let frames = JournalReader::of(File::open(path)?, header, places, true);
        Ok(PlanReader { head, frames, taken_out })
    }

    /// Returns the note of a change and the change itself; `None`: it is left to a later run.
    ///
    /// # Errors
    /// The file is no longer as it was opened.
    pub fn load(&mut self, number: u64) -> Result<(PlannedNote, Option<Change>), PlanError> {
        let (note, ldif) = self.frames.frame(number)?;
        let note = serde_json::from_str(&note).map_err(|_| PlanError::Changed(0))?;
        let change = changes(&ldif).map_err(|()| PlanError::Changed(0))?.pop();
        Ok((note, change))
    }
}

/// Returns the frames by number, and how many were written.
fn scan(
    file: &mut BufReader<File>,
    mut at: u64,
    json: &str,
    head: &PlanHead,
) -> Result<(BTreeMap<u64, FrameEntry>, u64), PlanError> {
    let size = file.get_ref().metadata()?.len();
    let mut places = BTreeMap::new();
    let mut count = None;
    let mut line = Vec::new();
    let mut number_of_line = 1;
    loop {
        line.clear();
        let read = file.read_until(b'\n', &mut line)? as u64;
        if read == 0 {
            break;
        }
        number_of_line += 1;
        let changed = PlanError::Changed(number_of_line);
        let start = at;
        at += read;
        if line == b"\n" || line == b"\r\n" {
            continue;
        }
        // Outside of frames there are only comments: other lines have lost the first line of their frame.
        let Some(text) = std::str::from_utf8(&line).ok().filter(|text| text.starts_with('#')) else {
            return Err(changed);
        };
        if let Some(rest) = text.strip_prefix(CHANGE) {
            let Some(frame) = rest.strip_suffix('\n').and_then(parse_frame) else { return Err(changed) };
            let length = frame.length;
            if length > size.saturating_sub(at) || places.contains_key(&frame.number) {
                return Err(changed);
            }
            let mut ldif = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
            file.read_exact(&mut ldif)?;
            if seal(&[head.run.as_bytes(), frame.note.as_bytes(), &ldif]) != frame.sum
                || serde_json::from_str::<PlannedNote>(frame.note).is_err()
            {
                return Err(changed);
            }
            at += length;
            number_of_line += ldif.split(|octet| *octet == b'\n').skip(1).count() as u64;
            let place = FrameEntry { start, length: at - start, status: ChangeStatus::Made, id: None };
            places.insert(frame.number, place);
        } else if let Some(rest) = text.strip_prefix(END) {
            let (number, sum) = rest.trim_end().split_once(' ').unwrap_or_default();
            if sum != seal(&[json.as_bytes(), number.as_bytes()]) {
                return Err(changed);
            }
            count = number.parse().ok();
        }
    }
    let count: u64 = count.ok_or(PlanError::Cut)?;
    if places.last_key_value().is_some_and(|(last, _)| *last >= count) {
        return Err(PlanError::Changed(number_of_line));
    }
    Ok((places, count))
}
