//! `max_deletes` and `max_changes`: a run that would exceed them writes nothing.
//!
//! The input is kept in a temporary file, and the run is rehearsed on a preview of the directory. If it stays within the
//! limits, it is made from the file. So nothing is written before everything is known, and memory holds the changes, not the
//! input. The files of BATCH messages are not copied: they are read twice.

use std::io::{BufRead, BufReader, Seek as _};
use std::sync::atomic::{AtomicU64, Ordering};

use ldap_directory::change::Change;
use ldap_directory::dn::DnKey;
use ldap_directory::{Directory, DirectoryError, Scope, SearchRequest};
use singer_common::operations::error::{Class, Classified};
use singer_common::operations::facts::Facts;
use singer_common::plugin::settings::SettingsError;

use crate::config::limits::{Guards, Limit};

/// A run that would have exceeded a limit.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{setting}: the run would {what} {count}, more than {limit}; nothing was written. Look at what it would do with --dry-run; if that is what is meant, raise {setting}"
)]
pub struct GuardError {
    setting: &'static str,
    what: &'static str,
    count: u64,
    limit: String,
}

impl Classified for GuardError {
    fn class(&self) -> Class {
        Class::Run
    }

    fn facts(&self) -> Facts {
        Facts::of_setting(self.setting)
    }
}

/// The changes of a rehearsal.
#[derive(Debug, Default)]
pub struct Tally {
    deletes: AtomicU64,
    changes: AtomicU64,
    /// Those of the changes that removed entries.
    removing: AtomicU64,
}

impl Tally {
    /// Counts a change.
    pub fn count(&self, change: &Change) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        if matches!(change, Change::Delete { .. }) {
            self.deletes.fetch_add(1, Ordering::Relaxed);
            self.removing.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts entries that were removed by one change other than a deletion (`on_delete`: `move_to`, `set`).
    pub fn removed(&self, entries: u64) {
        self.deletes.fetch_add(entries, Ordering::Relaxed);
        self.removing.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of changes that removed nothing.
    pub(super) fn other_changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed).saturating_sub(self.removing.load(Ordering::Relaxed))
    }
}

impl Guards {
    /// Returns how much of the limits a rehearsal used.
    ///
    /// # Errors
    /// The entries that a percentage refers to could not be counted.
    pub async fn used(
        self,
        tally: &Tally,
        directory: &Directory,
        bases: &[&str],
    ) -> anyhow::Result<[LimitUse; 2]> {
        let deletes = tally.deletes.load(Ordering::Relaxed);
        let changes = tally.changes.load(Ordering::Relaxed);
        let shares =
            [self.max_deletes, self.max_changes].iter().flatten().any(|l| matches!(l, Limit::Percent(_)));
        let entries = if shares { count_all(directory, bases).await? } else { 0 };
        let allowed = |limit: Option<Limit>| limit.map(|limit| (limit.of(entries), limit.text(entries)));
        Ok([
            LimitUse { setting: DELETES, used: deletes, allowed: allowed(self.max_deletes) },
            LimitUse { setting: CHANGES, used: changes, allowed: allowed(self.max_changes) },
        ])
    }
}

const DELETES: &str = "max_deletes";
const CHANGES: &str = "max_changes";

/// How much of a limit a rehearsal used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitUse {
    /// The setting.
    pub setting: &'static str,
    /// The number of deletions or changes.
    pub used: u64,
    /// The most that is allowed, and its text for messages; `None`: no limit is set.
    pub allowed: Option<(u64, String)>,
}

impl LimitUse {
    /// Whether the run is held back.
    pub fn is_exceeded(&self) -> bool {
        self.allowed.as_ref().is_some_and(|(most, _)| self.used > *most)
    }

    /// Returns what the limit is about: `delete`, `change`.
    pub fn verb(&self) -> &'static str {
        if self.setting == DELETES { "delete" } else { "change" }
    }

    /// Returns the limit for messages.
    pub fn allowed_text(&self) -> &str {
        self.allowed.as_ref().map_or("", |(_, text)| text)
    }
}

/// Checks whether a rehearsal stayed within the limits.
///
/// # Errors
/// It did not.
pub fn check(limits: &[LimitUse]) -> Result<(), GuardError> {
    let exceeded = limits.iter().find(|limit| limit.is_exceeded());
    exceeded.map_or(Ok(()), |limit| {
        let (setting, what, count) = (limit.setting, limit.verb(), limit.used);
        Err(GuardError { setting, what, count, limit: limit.allowed_text().to_owned() })
    })
}

/// Returns the number of entries below the bases, or below the server's own base, including the bases.
async fn count_all(directory: &Directory, bases: &[&str]) -> anyhow::Result<u64> {
    let own = directory.root_dse().default_base().filter(|_| bases.is_empty());
    let mut keys: Vec<(DnKey, &str)> = Vec::new();
    for dn in bases.iter().copied().chain(own) {
        keys.extend(DnKey::parse(dn, directory.schema()).ok().map(|key| (key, dn)));
    }
    if keys.is_empty() {
        return Err(SettingsError::value(
            "default_base_dn",
            "not set, and the server does not say which base max_deletes and max_changes are a share of",
            "the base, or numbers in place of percentages",
        )
        .into());
    }
    // A base below another one is counted with it.
    let is_topmost = |key: &DnKey, at: usize| {
        !keys.iter().enumerate().any(|(n, (other, _))| other.is_ancestor_of(key) || n < at && other == key)
    };
    let mut entries = 0;
    for (at, (key, dn)) in keys.iter().enumerate() {
        if is_topmost(key, at) {
            entries += count(directory, dn).await?;
        }
    }
    Ok(entries)
}

/// Returns the number of entries below the base, including the base.
async fn count(directory: &Directory, base: &str) -> anyhow::Result<u64> {
    let request = SearchRequest::new(base, Scope::Subtree, "(objectClass=*)", &["1.1"]);
    let mut attempts = None;
    loop {
        let result = async {
            let mut search = directory.search(request.clone()).await?;
            let mut entries = 0;
            while search.next_entry().await?.is_some() {
                entries += 1;
            }
            Ok::<_, DirectoryError>(entries)
        };
        match result.await {
            Ok(entries) => return Ok(entries),
            Err(e) if e.is_no_such_object() => return Ok(0),
            // Counting starts again, so that each entry counts once.
            Err(e) => directory.recover(e, &mut attempts).await?,
        }
    }
}

/// Copies the input to a temporary file, which is removed with the process.
pub async fn spool(mut input: Box<dyn BufRead + Send>) -> std::io::Result<std::fs::File> {
    let copied = tokio::task::spawn_blocking(move || {
        let mut file = tempfile::tempfile()?;
        std::io::copy(&mut input, &mut file)?;
        Ok(file)
    });
    copied.await.map_err(std::io::Error::other)?
}

/// Returns the copied input from its beginning.
pub fn replay(file: &std::fs::File) -> std::io::Result<Box<dyn BufRead + Send>> {
    let mut file = file.try_clone()?;
    file.rewind()?;
    Ok(Box::new(BufReader::new(file)))
}
