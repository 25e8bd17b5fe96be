//! Sessions that were logged out: in memory, and with `login.session_key_file` in a file beside the key, so that a restart and other instances
//! with the same key know them, too.
//!
//! The file has a line with its version, [`WHOLE`], a line for each session (its end in seconds since 1970, and its number), and a last line
//! with how many there are. So a file that was cut off is known by it: the sessions that it lost would be valid again. Each logout replaces
//! the whole file, under a lock, and leaves out what is over. Earlier versions append lines, and pass over those with `#`.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::Utc;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use singer_common::operations::file;
use singer_common::plugin::settings::SettingsError;

use super::Session;

/// The most sessions that are remembered as logged out.
const MOST: usize = 100_000;
/// The most octets of the file.
const LONGEST: u64 = 32 * 1024 * 1024;
/// The first line of the file.
const HEAD: &str = "ldap-service ended sessions 1\n";
/// The second line of a file whose last line has the number of sessions.
const WHOLE: &str = "# the last line has the number of sessions";
/// The beginning of the last line.
const END: &str = "# end: ";
/// How often a file is opened that another process replaces meanwhile.
const ATTEMPTS: u32 = 256;
const SETTING: &str = "login.session_key_file";

/// The sessions that were logged out. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Ended(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    numbers: Cache<String, ()>,
    time: Duration,
    file: Option<Shared>,
}

/// The file.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    read: Mutex<Seen>,
    write: Mutex<()>,
}

/// Which file was read, and how long it was.
#[derive(Debug, Default, PartialEq, Eq, Clone, Copy)]
struct Seen {
    made: Option<SystemTime>,
    identity: u64,
    length: u64,
}

fn identity(file: &std::fs::Metadata) -> u64 {
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

impl Ended {
    /// Returns those of a key file, as long as sessions last (`time`). `earlier` ones go on.
    ///
    /// # Errors
    /// The file is there, and not of this form, or not whole. One that cannot be written is a warning.
    pub(super) fn new(
        key_file: Option<&Path>,
        time: Duration,
        earlier: Option<&Ended>,
    ) -> Result<Self, SettingsError> {
        let path = key_file.map(|key| {
            let mut name = key.as_os_str().to_owned();
            name.push(".ended");
            PathBuf::from(name)
        });
        if let Some(earlier) = earlier {
            let same_file = earlier.0.file.as_ref().map(|file| &file.path) == path.as_ref();
            if same_file && earlier.0.time == time {
                if let Some(file) = &earlier.0.file {
                    file.check().map_err(|problem| file.refused(&problem))?;
                }
                return Ok(earlier.clone());
            }
        }
        let numbers = Cache::builder()
            .max_capacity(u64::try_from(MOST).unwrap_or(u64::MAX))
            .eviction_policy(EvictionPolicy::lru())
            // A session that was logged out is remembered as long as it could last.
            .time_to_live(time.max(Duration::from_secs(1)))
            .build();
        if let Some(earlier) = earlier {
            earlier.0.numbers.iter().for_each(|(number, ())| numbers.insert((*number).clone(), ()));
        }
        let file = path.map(|path| Shared { path, read: Mutex::default(), write: Mutex::default() });
        let this = Self(Arc::new(Inner { numbers, time, file }));
        if let Some(file) = &this.0.file {
            file.check().map_err(|problem| file.refused(&problem))?;
            match file.renew(None).and_then(|()| this.refresh(file)) {
                Ok(()) => {}
                Err(e) => tracing::warn!(
                    setting = SETTING,
                    "logouts are forgotten at a restart, and other instances do not know them: `{}`: {e}; put the key into a folder that the service may write to",
                    file.path.display()
                ),
            }
        }
        Ok(this)
    }

    /// Whether a session was logged out, here or by another process.
    pub(super) fn contains(&self, session: &Session) -> bool {
        if self.0.numbers.contains_key(&session.number) {
            return true;
        }
        let Some(file) = &self.0.file else { return false };
        if let Err(e) = self.refresh(file) {
            tracing::error!(
                setting = SETTING,
                "logouts of other instances are not known any more: `{}`: {e}",
                file.path.display()
            );
        }
        self.0.numbers.contains_key(&session.number)
    }

    /// Notes that a session was logged out.
    pub(super) fn add(&self, session: &Session) {
        self.0.numbers.insert(session.number.clone(), ());
        let Some(file) = &self.0.file else { return };
        if let Err(e) = file.renew(Some((session.end, &session.number))) {
            tracing::error!(
                setting = SETTING,
                "a logout is forgotten at a restart, and other instances do not know it: `{}`: {e}",
                file.path.display()
            );
        }
    }

    /// Reads the file, if it is another one than the last time. One that is not whole is told once.
    fn refresh(&self, shared: &Shared) -> io::Result<()> {
        let Ok(about) = std::fs::metadata(&shared.path) else { return Ok(()) };
        let now = Seen { made: about.modified().ok(), identity: identity(&about), length: about.len() };
        let mut seen = shared.read.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return Ok(());
        }
        let text = text(File::open(&shared.path)?)?;
        *seen = now;
        let sessions = sessions(&text)?;
        let now = Utc::now().timestamp();
        for (_, number) in sessions.into_iter().filter(|(end, _)| *end > now) {
            self.0.numbers.insert(number.to_owned(), ());
        }
        Ok(())
    }
}

fn text(file: File) -> io::Result<String> {
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
fn sessions(text: &str) -> io::Result<Vec<(i64, &str)>> {
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

impl Shared {
    /// Checks that the file, if it is there, is of this form, and whole.
    fn check(&self) -> io::Result<()> {
        let is_file = std::fs::metadata(&self.path).is_ok_and(|about| about.is_file());
        let Some(file) = File::open(&self.path).ok().filter(|_| is_file) else { return Ok(()) };
        let text = text(file)?;
        sessions(&text).map(drop)
    }

    fn refused(&self, problem: &io::Error) -> SettingsError {
        let problem = format!("{}: {problem}", self.path.display());
        let expected = "the whole file, or none: without it, all sessions that were logged out are valid until they end (a new key ends them)";
        SettingsError::value(SETTING, problem, expected)
    }

    fn folder(&self) -> &Path {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder.unwrap_or(Path::new("."))
    }

    /// Opens the file with its lock; it is made if it is not there.
    fn locked(&self) -> io::Result<File> {
        for _ in 0..ATTEMPTS {
            match std::fs::metadata(&self.path) {
                Ok(about) if !about.is_file() => return Err(io::Error::other("not a regular file")),
                Err(e) if e.kind() == io::ErrorKind::NotFound => self.replace(&[], false)?,
                about => {
                    about?;
                }
            }
            let file = File::open(&self.path)?;
            file.lock()?;
            // It may have been replaced before it was locked.
            if std::fs::metadata(&self.path)
                .is_ok_and(|now| file.metadata().is_ok_and(|own| identity(&now) == identity(&own)))
            {
                return Ok(file);
            }
        }
        Err(io::Error::other("it is replaced all the time"))
    }

    /// Makes the file anew: with one more session, and without those that are over.
    fn renew(&self, more: Option<(i64, &str)>) -> io::Result<()> {
        let _one_at_a_time = self.write.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.locked()?;
        let text = text(file.try_clone()?)?;
        let all = sessions(&text)?;
        let now = Utc::now().timestamp();
        let mut kept: Vec<(i64, &str)> = all.iter().copied().filter(|(end, _)| *end > now).collect();
        if kept.len() == all.len() && more.is_none() && text.contains(WHOLE) {
            // Whether it can be replaced later.
            return tempfile::tempfile_in(self.folder()).map(drop);
        }
        kept.extend(more);
        // The latest ones.
        let first = kept.len().saturating_sub(MOST);
        self.replace(kept.get(first..).unwrap_or_default(), true)
    }

    /// Puts a whole file in the place of the present one, or of none.
    fn replace(&self, sessions: &[(i64, &str)], is_there: bool) -> io::Result<()> {
        let mut text = format!("{HEAD}{WHOLE}\n").into_bytes();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_cut_off_anywhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let path = folder.path().join("key.ended");
        let ended = Ended::new(Some(&key), Duration::from_secs(60), None).unwrap();
        let end = Utc::now().timestamp() + 60;
        for number in ["a", "b"] {
            ended.0.file.as_ref().unwrap().renew(Some((end, number))).unwrap();
        }
        let whole = std::fs::read_to_string(&path).unwrap();
        assert_eq!(sessions(&whole).unwrap(), [(end, "a"), (end, "b")]);
        for length in (0..whole.len()).filter(|length| *length != HEAD.len()) {
            std::fs::write(&path, whole.get(..length).unwrap()).unwrap();
            assert!(Ended::new(Some(&key), Duration::from_secs(60), None).is_err(), "{length}");
            assert!(Ended::new(Some(&key), Duration::from_secs(60), Some(&ended)).is_err(), "{length}");
        }
        let without = whole.replace(&format!("{end} a\n"), "");
        for text in [without.as_str(), "rubbish\n", "\u{1}", "ldap-service ended sessions 2\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(Ended::new(Some(&key), Duration::from_secs(60), None).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read_and_made_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (key, path) = (folder.path().join("key"), folder.path().join("key.ended"));
        let end = Utc::now().timestamp() + 60;
        std::fs::write(&path, format!("{HEAD}{end} a\n7 over\n")).unwrap();
        let ended = Ended::new(Some(&key), Duration::from_secs(60), None).unwrap();
        assert!(ended.0.numbers.contains_key("a") && !ended.0.numbers.contains_key("over"));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{HEAD}{WHOLE}\n{end} a\n{END}1\n"));
        // An instance of such a version appends to it.
        std::fs::write(&path, format!("{text}{end} b\n")).unwrap();
        assert_eq!(sessions(&std::fs::read_to_string(&path).unwrap()).unwrap().len(), 2);
        ended.0.file.as_ref().unwrap().renew(None).unwrap();
        ended.0.file.as_ref().unwrap().renew(Some((end, "c"))).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().ends_with(&format!("{END}3\n")));
    }
}
