//! `max_deletes`, `max_changes` and `limits`: a run that would exceed them writes nothing.
//!
//! The input is kept in a temporary file, and the run is rehearsed on a preview of the directory. If it stays within the
//! limits, it is made from the file. So nothing is written before everything is known, and memory holds the changes, not the
//! input. The files of BATCH messages are not copied: they are read twice.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher as _, BuildHasherDefault};
use std::io::{BufRead, BufReader, Seek as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ldap_directory::change::Change;
use ldap_directory::dn::{DnKey, topmost};
use ldap_directory::{Directory, DirectoryError, Scope, SearchRequest};
use rustc_hash::FxHasher;
use singer_common::operations::error::{Class, Classified};
use singer_common::operations::facts::Facts;
use singer_common::plugin::settings::SettingsError;

use crate::config::held::FIRST_RUN;
use crate::config::limits::{Guards, Limit, LimitKind};
use crate::write::change_label::CHANGE_LABEL;

mod first_run;
mod streams;

pub use first_run::used_by_first_runs;
pub use streams::used_by_streams;

/// A run that would have exceeded a limit.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{setting}: the run would {what} {count}, more than {limit}; nothing was written. Look at what it would do with --dry-run; if that is what is meant, {}",
    advice(.setting)
)]
pub struct GuardError {
    setting: String,
    what: &'static str,
    count: u64,
    limit: String,
    stream: Option<String>,
}

/// Returns what to do if the run is meant.
fn advice(setting: &str) -> String {
    if setting == FIRST_RUN {
        return format!("carry out its plan (plan_file) by target-ldap apply, or set {FIRST_RUN} to `apply`");
    }
    format!("raise {setting}")
}

impl Classified for GuardError {
    fn class(&self) -> Class {
        Class::Run
    }

    fn facts(&self) -> Facts {
        Facts { stream: self.stream.clone(), ..Facts::of_setting(&self.setting) }
    }
}

/// The changes of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamTally {
    /// Entries added.
    pub add: u64,
    /// Modifications, other than by `on_delete`.
    pub modify: u64,
    /// Renames and moves, other than by `on_delete`.
    pub rename: u64,
    /// Entries removed by `on_delete`, and members taken from groups by rules with `membership`.
    pub delete: u64,
    /// Entries that were added under the DN of one that was deleted before.
    pub anew: u64,
    /// Changes of any kind.
    pub change: u64,
    /// Those of the changes that removed entries.
    removing: u64,
}

impl StreamTally {
    /// Returns the number of changes that removed nothing. A removal by `on_delete` is one change, with its subtree.
    pub(super) fn other_changes(&self) -> u64 {
        self.change.saturating_sub(self.removing)
    }

    fn of(&self, kind: LimitKind) -> u64 {
        match kind {
            LimitKind::Add => self.add,
            LimitKind::Modify => self.modify,
            LimitKind::Rename => self.rename,
            LimitKind::Delete => self.delete,
            LimitKind::Change => self.change,
        }
    }
}

/// The changes of a rehearsal.
#[derive(Debug, Default)]
pub struct Tally {
    /// By the streams of the records that they are made for; `None`: for no record, as an undo.
    streams: Mutex<BTreeMap<Option<Arc<str>>, StreamTally>>,
    /// The DNs of deleted entries, as hashes.
    deleted: Mutex<HashSet<u64>>,
}

/// Whether most deleted entries of a stream are made anew: more than one, and more than half.
pub fn are_made_anew(anew: u64, deleted: u64) -> bool {
    anew > 1 && anew > deleted / 2
}

impl Tally {
    /// Counts a change.
    pub fn count(&self, change: &Change) {
        let is_anew = self.is_anew(change);
        self.tally(|of, is_leaving| {
            of.change += 1;
            of.anew += u64::from(is_anew);
            match change {
                Change::Add(_) => of.add += 1,
                Change::Delete { .. } => (of.delete, of.removing) = (of.delete + 1, of.removing + 1),
                // What `on_delete` does to its entry is counted as a removal. It may move others out of the way.
                Change::Modify { .. } if !is_leaving => of.modify += 1,
                Change::Rename { .. } if !is_leaving => of.rename += 1,
                Change::Modify { .. } | Change::Rename { .. } => {}
            }
        });
    }

    /// Notes a deletion, and returns whether an addition has the DN of a deleted entry.
    fn is_anew(&self, change: &Change) -> bool {
        let number = |dn: &str| BuildHasherDefault::<FxHasher>::default().hash_one(dn.to_lowercase());
        let mut deleted = self.deleted.lock().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Add(entry) => deleted.remove(&number(&entry.dn)),
            Change::Delete { dn, .. } => {
                deleted.insert(number(dn));
                false
            }
            Change::Modify { .. } | Change::Rename { .. } => false,
        }
    }

    /// Applies a function to the numbers of the current stream, with whether `on_delete` removes the entry of the current record.
    fn tally(&self, count: impl FnOnce(&mut StreamTally, bool)) {
        let label = CHANGE_LABEL.try_with(|label| (label.stream.clone(), label.is_leaving)).ok();
        let (stream, is_leaving) = label.map_or((None, false), |(stream, leaving)| (Some(stream), leaving));
        count(self.lock().entry(stream).or_default(), is_leaving);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Option<Arc<str>>, StreamTally>> {
        // A panic elsewhere ends the run.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the changes by stream.
    pub fn by_stream(&self) -> BTreeMap<Arc<str>, StreamTally> {
        self.lock().iter().filter_map(|(stream, tally)| Some((stream.clone()?, *tally))).collect()
    }

    /// Returns the changes of all streams, and those of none.
    pub fn total(&self) -> StreamTally {
        let mut total = StreamTally::default();
        for StreamTally { add, modify, rename, delete, anew, change, removing } in self.lock().values() {
            total.add += add;
            total.modify += modify;
            total.rename += rename;
            total.delete += delete;
            total.anew += anew;
            total.change += change;
            total.removing += removing;
        }
        total
    }

    /// Counts entries that were removed by one change other than a deletion (`on_delete`: `move_to`, `set`).
    pub fn removed(&self, entries: u64) {
        self.tally(|of, _| (of.delete, of.removing) = (of.delete + entries, of.removing + 1));
    }

    /// Counts members that were taken from a group by one modification, which is counted as such.
    pub fn members_removed(&self, members: u64) {
        self.tally(|of, _| of.delete += members);
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
        let StreamTally { delete: deletes, change: changes, .. } = tally.total();
        let shares =
            [self.max_deletes, self.max_changes].iter().flatten().any(|l| matches!(l, Limit::Percent(_)));
        let entries = if shares { count_all(directory, bases).await? } else { 0 };
        let of_all = |setting, kind, used, limit: Option<Limit>| {
            let allowed = limit.map(|limit| (limit.of(entries), limit.text(entries)));
            LimitUse { setting: Cow::Borrowed(setting), kind, stream: None, used, allowed }
        };
        Ok([
            of_all(DELETES, LimitKind::Delete, deletes, self.max_deletes),
            of_all(CHANGES, LimitKind::Change, changes, self.max_changes),
        ])
    }
}

const DELETES: &str = "max_deletes";
const CHANGES: &str = "max_changes";

/// How much of a limit a rehearsal used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitUse {
    /// The setting.
    pub setting: Cow<'static, str>,
    /// What it counts.
    pub kind: LimitKind,
    /// The stream whose changes it counts; `None`: those of all.
    pub stream: Option<Arc<str>>,
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
        self.kind.name()
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
        let (setting, what, count) = (limit.setting.to_string(), limit.verb(), limit.used);
        let stream = limit.stream.as_deref().map(str::to_owned);
        Err(GuardError { setting, what, count, limit: limit.allowed_text().to_owned(), stream })
    })
}

/// Returns the number of entries below the bases, or below the server's own base, including the bases.
async fn count_all(directory: &Directory, bases: &[&str]) -> anyhow::Result<u64> {
    let own = directory.root_dse().default_base().filter(|_| bases.is_empty());
    let all = bases.iter().copied().chain(own);
    // A base below another one is counted with it.
    let bases = topmost(all.filter_map(|dn| Some((DnKey::parse(dn, directory.schema()).ok()?, dn))));
    if bases.is_empty() {
        return Err(SettingsError::value(
            "default_base_dn",
            "not set, and the server does not say which base max_deletes and max_changes are a share of",
            "the base, or numbers in place of percentages",
        )
        .into());
    }
    let mut entries = 0;
    for (_, dn) in bases {
        entries += count(directory, dn, "(objectClass=*)").await?;
    }
    Ok(entries)
}

/// Returns the number of entries below the base that match the filter, including the base.
async fn count(directory: &Directory, base: &str, filter: &str) -> anyhow::Result<u64> {
    let request = SearchRequest::new(base, Scope::Subtree, filter, &["1.1"]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::change_label::ChangeLabel;

    #[tokio::test]
    async fn what_is_of_no_stream_counts_in_the_total_alone() {
        let tally = Tally::default();
        let delete = Change::Delete { dn: "uid=a,dc=x".into() };
        let label = |is_leaving| ChangeLabel {
            number: 1,
            stream: "people".into(),
            line: 1,
            record: "id=1".into(),
            is_leaving,
        };
        let modify = Change::Modify { dn: "uid=a,dc=x".into(), changes: Vec::new() };
        tally.count(&delete);
        CHANGE_LABEL.scope(label(false), async { tally.count(&modify) }).await;
        CHANGE_LABEL
            .scope(label(true), async {
                tally.count(&modify);
                tally.removed(3);
            })
            .await;
        let streams = tally.by_stream();
        assert_eq!(streams.keys().map(|stream| &**stream).collect::<Vec<_>>(), ["people"]);
        let people = StreamTally { modify: 1, delete: 3, change: 2, removing: 1, ..StreamTally::default() };
        assert_eq!(streams["people"], people);
        assert_eq!(tally.total(), StreamTally { delete: 4, change: 3, removing: 2, ..people });
        assert_eq!(tally.total().other_changes(), 1);
    }
}
