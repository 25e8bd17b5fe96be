//! Sessions that were logged out: in memory, and with `login.session_key_file` in a file beside the key, so that a restart and other instances
//! with the same key know them, too.
//!
//! The file has a line with its version, then a line for each session: its end in seconds since 1970, and its number. Lines are only
//! appended, under a lock; sessions that are over are left out when the file is made anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use chrono::Utc;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use singer_common::plugin::settings::SettingsError;

use super::Session;

/// The most sessions that are remembered as logged out.
const MOST: usize = 100_000;
/// The octets from which the file is made anew.
const LONG: u64 = 8 * 1024 * 1024;
/// The first line of the file.
const HEAD: &str = "ldap-service ended sessions 1\n";
/// How often a file is opened that another process replaces meanwhile.
const ATTEMPTS: u32 = 8;
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
}

/// How much of which file was read.
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
    /// The file is there, and not of this form. One that cannot be written is a warning.
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
        let file = path.map(|path| Shared { path, read: Mutex::default() });
        let this = Self(Arc::new(Inner { numbers, time, file }));
        if let Some(file) = &this.0.file {
            match file.renew(false).and_then(|()| this.refresh(file)) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    let problem = format!("{}: {e}", file.path.display());
                    return Err(SettingsError::value(SETTING, problem, "a file of this version, or none"));
                }
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
            tracing::debug!("`{}`: {e}", file.path.display());
        }
        self.0.numbers.contains_key(&session.number)
    }

    /// Notes that a session was logged out.
    pub(super) fn add(&self, session: &Session) {
        self.0.numbers.insert(session.number.clone(), ());
        let Some(file) = &self.0.file else { return };
        let added = file.append(&format!("{} {}\n", session.end, session.number));
        if let Err(e) = added {
            tracing::error!(
                setting = SETTING,
                "a logout is forgotten at a restart, and other instances do not know it: `{}`: {e}",
                file.path.display()
            );
        }
    }

    /// Reads what was appended since the last time.
    fn refresh(&self, shared: &Shared) -> io::Result<()> {
        let about = std::fs::metadata(&shared.path)?;
        let mut seen = shared.read.lock().unwrap_or_else(PoisonError::into_inner);
        let (made, identity) = (about.created().ok(), identity(&about));
        let is_same = seen.made == made && seen.identity == identity && seen.length <= about.len();
        if is_same && seen.length == about.len() {
            return Ok(());
        }
        let mut file = File::open(&shared.path)?;
        let from = if is_same { seen.length } else { 0 };
        file.seek(SeekFrom::Start(from))?;
        let mut text = String::new();
        file.take(4 * LONG).read_to_string(&mut text)?;
        // A line may be written right now.
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        let now = Utc::now().timestamp();
        for (end, number) in text.get(..whole).unwrap_or_default().lines().filter_map(line) {
            if end > now {
                self.0.numbers.insert(number.to_owned(), ());
            }
        }
        *seen = Seen { made, identity, length: from + u64::try_from(whole).unwrap_or(0) };
        Ok(())
    }
}

fn line(line: &str) -> Option<(i64, &str)> {
    let (end, number) = line.split_once(' ')?;
    Some((end.parse().ok()?, number))
}

impl Shared {
    /// Opens the file with its lock; it is made if it is not there.
    fn locked(&self) -> io::Result<File> {
        for _ in 0..ATTEMPTS {
            let mut options = OpenOptions::new();
            options.read(true).append(true).create(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.open(&self.path)?;
            if !file.metadata()?.is_file() {
                return Err(io::Error::other("not a regular file"));
            }
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

    fn append(&self, line: &str) -> io::Result<()> {
        let mut file = self.locked()?;
        let text = if file.metadata()?.len() == 0 { format!("{HEAD}{line}") } else { line.to_owned() };
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        let is_long = file.metadata()?.len() > LONG;
        drop(file);
        if is_long { self.renew(true) } else { Ok(()) }
    }

    /// Makes the file if it is not there, and leaves out what is over if it is long, or at a start.
    fn renew(&self, is_long: bool) -> io::Result<()> {
        let mut file = self.locked()?;
        let mut text = String::new();
        (&mut file).take(4 * LONG).read_to_string(&mut text)?;
        if text.is_empty() {
            return file.write_all(HEAD.as_bytes());
        }
        if !text.starts_with(HEAD) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a list of ended sessions, version 1",
            ));
        }
        let now = Utc::now().timestamp();
        let lines: Vec<(i64, &str)> = text.lines().filter_map(line).collect();
        let mut kept: Vec<&(i64, &str)> = lines.iter().filter(|(end, _)| *end > now).collect();
        if kept.len() == lines.len() && !is_long {
            return Ok(());
        }
        // The latest ones, half of the room at most: not each logout makes the file anew.
        let first = kept.len().saturating_sub(MOST / 2);
        kept.drain(..first);
        let text = kept.iter().fold(HEAD.to_owned(), |text, (end, number)| format!("{text}{end} {number}\n"));
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let mut new = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
        new.write_all(text.as_bytes())?;
        new.as_file().sync_data()?;
        new.persist(&self.path)?;
        Ok(())
    }
}
