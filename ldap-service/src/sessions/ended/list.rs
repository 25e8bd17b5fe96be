//! The file of ended sessions: its form, and how it is replaced.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use singer_common::operations::file;
use singer_common::plugin::settings::SettingsError;

use super::SETTING;

/// The most octets of the file.
const LONGEST: u64 = 32 * 1024 * 1024;
/// The first line of the file.
pub(super) const HEAD: &str = "ldap-service ended sessions 1\n";
/// The second line of a file whose last line has the number of sessions.
pub(super) const WHOLE: &str = "# the last line has the number of sessions";
/// The beginning of the line with the mark of the file. Files of earlier versions have none.
const SINCE: &str = "# since: ";
/// The beginning of the last line.
pub(super) const END: &str = "# end: ";

/// The file.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) path: PathBuf,
    pub(super) read: Mutex<Seen>,
    pub(super) write: Mutex<()>,
    /// Whether it was said that it is not there.
    pub(super) is_missed: AtomicBool,
    /// Whether it was said that sessions of another mark do not count.
    pub(super) is_told: AtomicBool,
}

/// Which file was read, and how long it was.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
pub(super) struct Seen {
    pub(super) made: Option<SystemTime>,
    pub(super) identity: u64,
    pub(super) length: u64,
}

pub(super) fn identity(file: &std::fs::Metadata) -> u64 {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        file.ino()
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        0
    }
}

/// Returns a mark that no other file has.
pub(super) fn new_mark() -> io::Result<String> {
    let mut octets = [0; 9];
    getrandom::fill(&mut octets).map_err(|e| io::Error::other(format!("no random numbers: {e}")))?;
    Ok(BASE64.encode(octets))
}

/// Returns the mark of the text of a file; empty if it is of an earlier version.
pub(super) fn mark(text: &str) -> &str {
    text.lines().find_map(|line| line.strip_prefix(SINCE)).unwrap_or_default()
}

pub(super) fn text(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn damaged(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem.to_owned())
}

fn line(line: &str) -> Option<(i64, &str)> {
    let (end, number) = line.split_once(' ')?;
    Some((end.parse().ok()?, number)).filter(|(_, number)| !number.is_empty())
}

/// Returns the sessions of the text of a file.
///
/// # Errors
/// It is not of this form, or was cut off.
pub(super) fn sessions(text: &str) -> io::Result<Vec<(i64, &str)>> {
    if text.is_empty() {
        return Err(damaged("it is empty, and never was: it was cut off"));
    }
    let lines = text.strip_prefix(HEAD).ok_or_else(|| damaged("not a list of ended sessions, version 1"))?;
    if !text.ends_with('\n') {
        return Err(damaged("its last line does not end: it was cut off"));
    }
    let mut sessions = Vec::new();
    let (mut has_end, mut counted) = (false, None);
    for text in lines.lines() {
        if let Some(count) = text.strip_prefix(END) {
            counted = Some(count == sessions.len().to_string());
        } else if text.starts_with('#') {
            has_end |= text == WHOLE;
        } else {
            sessions.push(line(text).ok_or_else(|| damaged("a line is no session"))?);
        }
    }
    match counted {
        Some(false) => Err(damaged("it has another number of sessions than its last line says")),
        None if has_end => Err(damaged("its last line is missing: it was cut off")),
        _ => Ok(sessions),
    }
}

pub(super) fn not_a_file() -> io::Error {
    io::Error::other("not a regular file")
}

impl Shared {
    pub(super) fn new(path: PathBuf) -> Self {
        Shared {
            path,
            read: Mutex::default(),
            write: Mutex::default(),
            is_missed: AtomicBool::new(false),
            is_told: AtomicBool::new(false),
        }
    }

    /// Checks that the file, if it is there, is of this form, and whole.
    pub(super) fn check(&self) -> io::Result<()> {
        let is_file = std::fs::metadata(&self.path).is_ok_and(|about| about.is_file());
        let Some(file) = File::open(&self.path).ok().filter(|_| is_file) else { return Ok(()) };
        let text = text(file)?;
        sessions(&text).map(drop)
    }

    pub(super) fn refused(&self, problem: &io::Error) -> SettingsError {
        let problem = format!("{}: {problem}", self.path.display());
        let expected = "the whole file, or none: without it, all sessions end";
        SettingsError::value(SETTING, problem, expected)
    }

    pub(super) fn folder(&self) -> &Path {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new("."))
    }

    /// Checks that the folder takes another file, which has no name there.
    pub(super) fn check_folder(&self) -> io::Result<()> {
        tempfile::tempfile_in(self.folder()).map(drop)
    }

    /// Checks that the file can be read, if it is there, and replaced.
    pub(super) fn check_replaceable(&self) -> io::Result<()> {
        match std::fs::metadata(&self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
            Ok(about) if about.is_file() => drop(File::open(&self.path)?),
            Ok(_) => return Err(not_a_file()),
        }
        self.check_folder()
    }

    /// Warns if it cannot be written.
    pub(super) fn warn_unless(&self, written: io::Result<()>) {
        if let Err(e) = written {
            tracing::warn!(
                setting = SETTING,
                "logouts are forgotten at a restart, and other instances do not know them: `{}`: {e}; put the key into a folder that the service may write to",
                self.path.display()
            );
        }
    }

    /// Puts a whole file in the place of the present one, or of none.
    pub(super) fn replace(&self, since: &str, sessions: &[(i64, &str)], is_there: bool) -> io::Result<()> {
        let mut text = format!("{HEAD}{WHOLE}\n").into_bytes();
        if !since.is_empty() {
            writeln!(text, "{SINCE}{since}")?;
        }
        for (end, number) in sessions {
            writeln!(text, "{end} {number}")?;
        }
        writeln!(text, "{END}{}", sessions.len())?;
        let folder = self.folder();
        let mut new = tempfile::NamedTempFile::new_in(folder)?;
        new.write_all(&text)?;
        new.as_file().sync_all()?;
        if is_there {
            new.persist(&self.path)?;
        } else if let Err(e) = new.persist_noclobber(&self.path)
            && e.error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(e.error);
        }
        file::sync_folder(folder)
    }
}
