//! Sessions that were logged out: in memory, and with `login.session_key_file` in a file beside the key, so that a restart and other instances
//! with the same key know them, too.
//!
//! The file has a line with its version, [`WHOLE`], its mark ([`SINCE`]), a line for each session (its end in seconds since 1970, and its
//! number), and a last line with how many there are. So a file that was cut off is known by it: the sessions that it lost would be valid again.
//! Each logout replaces the whole file, under a lock, and leaves out what is over. Earlier versions append lines, and pass over those with `#`.
//!
//! A file that is removed is made again from memory. If nobody is there who knows what was in it, the new one has another mark, and sessions
//! of the mark before, among which are those that were logged out, do not count any more.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::Utc;
use singer_common::plugin::settings::SettingsError;

use super::Session;

mod list;

#[cfg(test)]
use list::{END, HEAD};
use list::{Seen, Shared, WHOLE, identity, mark, new_mark, not_a_file, sessions, text};

/// The most sessions that are remembered as logged out.
const MOST: usize = 100_000;
/// How often a file is opened that another process replaces meanwhile.
const ATTEMPTS: u32 = 256;
const SETTING: &str = "login.session_key_file";

/// The sessions that were logged out. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Ended(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    memory: Mutex<Memory>,
    file: Option<Shared>,
}

/// What the process knows, whatever happens to the file.
#[derive(Debug, Default)]
struct Memory {
    /// The ends of the sessions, by their numbers.
    ends: HashMap<String, i64>,
    /// The mark of the file; `None`: it was not read yet. Without a file it is empty.
    since: Option<String>,
    /// Whether it was said that there are too many.
    is_told: bool,
}

impl Memory {
    /// Adds a session. Of more than [`MOST`], those that end first are forgotten.
    fn add(&mut self, number: &str, end: i64) {
        if let Some(known) = self.ends.get_mut(number) {
            *known = end;
            return;
        }
        self.cut(MOST - 1);
        self.ends.insert(number.to_owned(), end);
    }

    /// Adds the sessions of a file.
    fn extend(&mut self, sessions: &[(i64, &str)], now: i64) {
        let live = sessions.iter().filter(|(end, _)| *end > now);
        self.ends.extend(live.map(|(end, number)| ((*number).to_owned(), *end)));
        self.cut(MOST);
    }

    /// Forgets what is over if there are more than `most`, and then those that end first.
    fn cut(&mut self, most: usize) {
        if self.ends.len() <= most {
            return;
        }
        let now = Utc::now().timestamp();
        self.ends.retain(|_, end| *end > now);
        let surplus = self.ends.len().saturating_sub(most);
        let mut ends: Vec<i64> = self.ends.values().copied().collect();
        let Some(last) = surplus.checked_sub(1) else { return };
        let (before, last, _) = ends.select_nth_unstable(last);
        let last = *last;
        // Several may end at the same time as the last one that is forgotten.
        let mut with_it = surplus - before.iter().filter(|end| **end < last).count();
        self.ends.retain(|_, end| {
            let is_one = *end == last && with_it > 0;
            with_it -= usize::from(is_one);
            *end >= last && !is_one
        });
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(
                setting = SETTING,
                "more than {MOST} sessions were logged out before their end: those that end first are valid again; a shorter login.session_minutes avoids it; further ones are not told"
            );
        }
    }
}

/// Returns the path of the file beside a key file.
fn beside(key_file: &Path) -> PathBuf {
    let mut name = key_file.as_os_str().to_owned();
    name.push(".ended");
    PathBuf::from(name)
}

impl Ended {
    /// Returns those of a key file. `earlier` ones go on.
    ///
    /// # Errors
    /// The file is there, and not of this form, or not whole. One that cannot be written is a warning.
    pub(super) fn new(key_file: Option<&Path>, earlier: Option<&Ended>) -> Result<Self, SettingsError> {
        let path = key_file.map(beside);
        let same = earlier.filter(|earlier| earlier.0.file.as_ref().map(|file| &file.path) == path.as_ref());
        if let Some(earlier) = same {
            if let Some(file) = &earlier.0.file {
                file.check().map_err(|problem| file.refused(&problem))?;
                earlier.learn(file);
            }
            return Ok(earlier.clone());
        }
        let mut memory = Memory::default();
        if let Some(earlier) = earlier {
            memory.ends.clone_from(&earlier.0.memory().ends);
        }
        let this = Self(Arc::new(Inner { memory: Mutex::new(memory), file: path.map(Shared::new) }));
        if let Some(file) = &this.0.file {
            file.check().map_err(|problem| file.refused(&problem))?;
            file.warn_unless(this.0.renew(file).and_then(|()| this.0.refresh(file)));
        }
        Ok(this)
    }

    /// Checks the file of a key file as [`Self::new`] does, without making or changing it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn check(key_file: &Path) -> Result<(), SettingsError> {
        let file = Shared::new(beside(key_file));
        file.check().map_err(|problem| file.refused(&problem))?;
        file.warn_unless(file.check_replaceable());
        Ok(())
    }

    /// Returns the mark of sessions that begin now.
    pub(super) fn since(&self) -> String {
        if let Some(file) = &self.0.file {
            self.learn(file);
        }
        self.0.memory().since.clone().unwrap_or_default()
    }

    /// Whether a session was logged out, here or by another process, or is of a mark of which that is not known any more.
    pub(super) fn contains(&self, session: &Session) -> bool {
        if self.0.memory().ends.contains_key(&session.number) {
            return true;
        }
        let Some(file) = &self.0.file else { return false };
        self.learn(file);
        let memory = self.0.memory();
        let is_other = memory.since.as_deref().unwrap_or_default() != session.since;
        if is_other && !file.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                setting = SETTING,
                "a session began before `{}` was made: whether it was logged out is not known, so it does not count; further ones are not told",
                file.path.display()
            );
        }
        is_other || memory.ends.contains_key(&session.number)
    }

    /// Learns what other processes have written.
    fn learn(&self, file: &Shared) {
        if let Err(e) = self.0.refresh(file) {
            tracing::error!(
                setting = SETTING,
                "logouts of other instances are not known any more: `{}`: {e}",
                file.path.display()
            );
        }
    }

    /// Notes that a session was logged out.
    pub(super) fn add(&self, session: &Session) {
        self.0.memory().add(&session.number, session.end);
        let Some(file) = &self.0.file else { return };
        if let Err(e) = self.0.renew(file) {
            tracing::error!(
                setting = SETTING,
                "a logout is forgotten at a restart, and other instances do not know it: `{}`: {e}",
                file.path.display()
            );
        }
    }
}

impl Inner {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the file, if it is another one than the last time, and makes it again if it was removed. One that is not whole is told once.
    fn refresh(&self, shared: &Shared) -> io::Result<()> {
        let about = match std::fs::metadata(&shared.path) {
            Ok(about) => about,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // Without a mark it never was there.
                if self.memory().since.is_none() {
                    return Ok(());
                }
                match self.renew(shared) {
                    Err(_) if shared.is_missed.load(Ordering::Relaxed) => return Ok(()),
                    Err(e) => {
                        shared.is_missed.store(true, Ordering::Relaxed);
                        return Err(io::Error::new(
                            e.kind(),
                            format!("it was removed, and cannot be made again: {e}"),
                        ));
                    }
                    Ok(()) => std::fs::metadata(&shared.path)?,
                }
            }
            Err(_) => return Ok(()),
        };
        let now = Seen { made: about.modified().ok(), identity: identity(&about), length: about.len() };
        let mut seen = shared.read.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return Ok(());
        }
        let text = text(File::open(&shared.path)?)?;
        *seen = now;
        let sessions = sessions(&text)?;
        self.adopt(shared, mark(&text));
        let now = Utc::now().timestamp();
        let known: HashSet<&str> = sessions.iter().map(|(_, number)| *number).collect();
        let mut memory = self.memory();
        memory.extend(&sessions, now);
        // Another process may have made it again, or somebody has put an earlier one there.
        let is_whole = memory.ends.iter().all(|(number, end)| *end <= now || known.contains(&**number));
        drop(memory);
        // Not before: requests meanwhile would not know what it says.
        drop(seen);
        if is_whole || known.len() >= MOST { Ok(()) } else { self.renew(shared) }
    }

    /// Takes over the mark of the file. If it is another one, the sessions until now do not count any more.
    fn adopt(&self, shared: &Shared, mark: &str) {
        let mut memory = self.memory();
        if memory.since.as_deref().is_some_and(|since| since != mark) {
            tracing::error!(
                setting = SETTING,
                "`{}` was removed and made again: which sessions were logged out is not known any more, so all that began before do not count",
                shared.path.display()
            );
        }
        memory.since = Some(mark.to_owned());
    }

    /// Makes the file anew: with all that is known, and without what is over.
    fn renew(&self, shared: &Shared) -> io::Result<()> {
        let _one_at_a_time = shared.write.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.locked(shared)?;
        let text = text(file.try_clone()?)?;
        let all = sessions(&text)?;
        self.adopt(shared, mark(&text));
        let now = Utc::now().timestamp();
        let live = self.live(now);
        let mut kept: BTreeMap<&str, i64> =
            live.iter().map(|(number, end)| (number.as_str(), *end)).collect();
        kept.extend(all.iter().filter(|(end, _)| *end > now).map(|(end, number)| (*number, *end)));
        let mut kept: Vec<(i64, &str)> = kept.into_iter().map(|(number, end)| (end, number)).collect();
        // Those that end last.
        kept.sort_unstable();
        kept.drain(..kept.len().saturating_sub(MOST));
        let mut known = all;
        known.sort_unstable();
        known.dedup();
        // Their number does not say it: one may be over, and another one new.
        if kept == known && text.contains(WHOLE) {
            return shared.check_folder();
        }
        shared.replace(mark(&text), &kept, true)
    }

    /// Returns the sessions that are not over, by number, and forgets the others. They are owned: memory is asked for each request, and must
    /// not wait for a disk.
    fn live(&self, now: i64) -> Vec<(String, i64)> {
        let mut memory = self.memory();
        memory.ends.retain(|_, end| *end > now);
        memory.ends.iter().map(|(number, end)| (number.clone(), *end)).collect()
    }

    /// Opens the file with its lock; it is made from memory if it is not there.
    fn locked(&self, shared: &Shared) -> io::Result<File> {
        for _ in 0..ATTEMPTS {
            match std::fs::metadata(&shared.path) {
                Ok(about) if !about.is_file() => return Err(not_a_file()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => self.make(shared)?,
                about => {
                    about?;
                }
            }
            let file = File::open(&shared.path)?;
            file.lock()?;
            // It may have been replaced before it was locked.
            if std::fs::metadata(&shared.path)
                .is_ok_and(|now| file.metadata().is_ok_and(|own| identity(&now) == identity(&own)))
            {
                return Ok(file);
            }
        }
        Err(io::Error::other("it is replaced all the time"))
    }

    /// Makes the file that is not there: with all that is known, or a new mark.
    fn make(&self, shared: &Shared) -> io::Result<()> {
        let since = self.memory().since.clone();
        let Some(since) = since else {
            return shared.replace(&new_mark()?, &[], false);
        };
        let live = self.live(Utc::now().timestamp());
        let sessions: Vec<(i64, &str)> = live.iter().map(|(number, end)| (*end, number.as_str())).collect();
        shared.replace(&since, &sessions, false)?;
        shared.is_missed.store(false, Ordering::Relaxed);
        tracing::error!(
            setting = SETTING,
            sessions = sessions.len(),
            "`{}` was there, and was removed by somebody: it is made again with the {} sessions that were logged out; without it, they would be valid again after a restart",
            shared.path.display(),
            sessions.len()
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(ended: &Ended, number: &str, end: i64) {
        ended.0.memory().add(number, end);
        ended.0.renew(ended.0.file.as_ref().unwrap()).unwrap();
    }

    fn knows(ended: &Ended, number: &str) -> bool {
        ended.0.memory().ends.contains_key(number)
    }

    #[test]
    fn a_file_that_was_cut_off_anywhere_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        let path = folder.path().join("key.ended");
        let ended = Ended::new(Some(&key), None).unwrap();
        let end = Utc::now().timestamp() + 60;
        for number in ["a", "b"] {
            add(&ended, number, end);
        }
        let whole = std::fs::read_to_string(&path).unwrap();
        assert_eq!(sessions(&whole).unwrap(), [(end, "a"), (end, "b")]);
        for length in (0..whole.len()).filter(|length| *length != HEAD.len()) {
            std::fs::write(&path, whole.get(..length).unwrap()).unwrap();
            assert!(Ended::new(Some(&key), None).is_err(), "{length}");
            assert!(Ended::new(Some(&key), Some(&ended)).is_err(), "{length}");
        }
        let without = whole.replace(&format!("{end} a\n"), "");
        for text in [without.as_str(), "rubbish\n", "\u{1}", "ldap-service ended sessions 2\n"] {
            std::fs::write(&path, text).unwrap();
            assert!(Ended::new(Some(&key), None).is_err(), "{text}");
        }
    }

    #[test]
    fn a_file_of_an_earlier_version_is_read_and_made_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (key, path) = (folder.path().join("key"), folder.path().join("key.ended"));
        let end = Utc::now().timestamp() + 60;
        std::fs::write(&path, format!("{HEAD}{end} a\n7 over\n")).unwrap();
        let ended = Ended::new(Some(&key), None).unwrap();
        assert!(knows(&ended, "a") && !knows(&ended, "over") && ended.since().is_empty());
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{HEAD}{WHOLE}\n{end} a\n{END}1\n"));
        // An instance of such a version appends to it.
        std::fs::write(&path, format!("{text}{end} b\n")).unwrap();
        assert_eq!(sessions(&std::fs::read_to_string(&path).unwrap()).unwrap().len(), 2);
        add(&ended, "c", end);
        assert!(std::fs::read_to_string(&path).unwrap().ends_with(&format!("{END}3\n")));
    }

    #[test]
    fn a_file_that_is_removed_is_made_again_from_memory_or_gets_another_mark() {
        let folder = tempfile::tempdir().unwrap();
        let (key, path) = (folder.path().join("key"), folder.path().join("key.ended"));
        let end = Utc::now().timestamp() + 60;
        let (one, other) = (Ended::new(Some(&key), None).unwrap(), Ended::new(Some(&key), None).unwrap());
        let since = one.since();
        assert!(!since.is_empty() && other.since() == since);
        add(&one, "a", end);
        let early = std::fs::read_to_string(&path).unwrap();
        add(&other, "b", end);
        std::fs::remove_file(&path).unwrap();
        // It does not know of the other one's logout, which the other adds.
        assert_eq!((one.since(), other.since()), (since.clone(), since.clone()));
        assert_eq!(sessions(&std::fs::read_to_string(&path).unwrap()).unwrap().len(), 2);
        std::fs::write(&path, early).unwrap();
        assert_eq!(Ended::new(Some(&key), Some(&other)).unwrap().since(), since);
        assert!(knows(&Ended::new(Some(&key), None).unwrap(), "b"));
        std::fs::remove_file(&path).unwrap();
        let new = Ended::new(Some(&key), None).unwrap().since();
        assert!(new != since && !new.is_empty());
        assert_eq!(one.since(), new);
    }

    #[test]
    fn a_logout_is_written_though_another_session_is_over_meanwhile() {
        let folder = tempfile::tempdir().unwrap();
        let (key, path) = (folder.path().join("key"), folder.path().join("key.ended"));
        let end = Utc::now().timestamp() + 60;
        // As many lines as sessions: what is over is left out, what is new is added.
        for (n, over) in ["7 over\n", "7 over\n8 over too\n", "7 new\n"].into_iter().enumerate() {
            let ended = Ended::new(Some(&key), None).unwrap();
            let text = format!("{HEAD}{WHOLE}\n# since: x\n{over}{END}{}\n", over.lines().count());
            std::fs::write(&path, text).unwrap();
            let new =
                ["new", "newer"].map(|name| if n == 2 { name.to_owned() } else { format!("{name}{n}") });
            for number in new.iter().take(over.lines().count()) {
                ended.0.memory().add(number, end);
            }
            ended.0.renew(ended.0.file.as_ref().unwrap()).unwrap();
            for number in new.iter().take(over.lines().count()) {
                assert!(knows(&Ended::new(Some(&key), None).unwrap(), number), "{over} {number}");
            }
        }
    }

    #[test]
    fn a_session_that_is_known_takes_no_room_of_another() {
        let end = Utc::now().timestamp() + 60;
        let mut memory = Memory::default();
        for n in 0..MOST {
            memory.add(&n.to_string(), end + i64::try_from(n).unwrap() / 4);
        }
        for known in ["3", "0", "99999"] {
            memory.add(known, end + 7);
            assert_eq!(memory.ends.len(), MOST, "{known}");
        }
        memory.extend(&[(end + 7, "3"), (end - 120, "over")], end - 60);
        assert!(memory.ends.len() == MOST && memory.ends.contains_key("1"));
        // A new one takes the place of one of those that end first.
        memory.add("new", end);
        let left = (0..4).filter(|n| memory.ends.contains_key(&n.to_string())).count();
        assert_eq!((memory.ends.len(), left), (MOST, 3));
        let late: Vec<(i64, String)> = (0..5).map(|n| (end + 1_000_000, format!("late {n}"))).collect();
        let late: Vec<(i64, &str)> = late.iter().map(|(end, number)| (*end, number.as_str())).collect();
        memory.extend(&late, end - 60);
        assert_eq!(memory.ends.len(), MOST);
        assert!(late.iter().all(|(_, number)| memory.ends.contains_key(*number)));
        assert!(["1", "2", "new"].iter().all(|number| !memory.ends.contains_key(*number)));
    }
}
