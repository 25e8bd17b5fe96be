//! The tables of an index. Their names, keys and values are persisted.

use redb::{AccessGuard, Database, ReadableTable as _, ReadableTableMetadata as _, Table, TableDefinition};
use serde_json::Value;
use singer_common::operations::signals;
use uuid::Uuid;

/// By key in JSON: the pass over the directory that saw it last, and the entry's DN then.
pub(super) const KEYS: TableDefinition<'_, &str, (u128, &str)> = TableDefinition::new("keys");
/// By key in JSON and a DN that its entry had: the run that found it deleted.
pub(super) const GONE: TableDefinition<'_, (&str, &str), u64> = TableDefinition::new("gone");
/// By key in JSON: the run in which a pass over the keys found an entry that had to be read. Kept until a run starts from a STATE
/// printed after it: until then its record may not have arrived.
pub(super) const RETURNED: TableDefinition<'_, &str, u64> = TableDefinition::new("returned");
/// The number of the last run that found deletions.
pub(super) const RUN: TableDefinition<'_, (), u64> = TableDefinition::new("run");
/// The identity of this file; a new file has another one.
pub(super) const ID: TableDefinition<'_, (), u128> = TableDefinition::new("id");
/// The number of durable commits that changed the content. If it is less than in a bookmark, the file is an older copy.
pub(super) const COMMITS: TableDefinition<'_, (), u64> = TableDefinition::new("commits");

/// The stream's key properties as a JSON list: the properties of the keys in this file. Files of earlier versions have none.
pub(super) const OF: TableDefinition<'_, (), &str> = TableDefinition::new("of");
/// The mark of earlier versions for records of a log that are printed, while the file does not have all keys.
pub(super) const UNSETTLED: TableDefinition<'_, (), bool> = TableDefinition::new("unsettled");
/// What the last run with a log started and did not end: a number of [`LogPhase`].
pub(super) const PHASE: TableDefinition<'_, (), u64> = TableDefinition::new("stage");

/// Where the stream was read from (JSON): who read, at which server. Files of earlier versions have none.
pub(super) const ORIGIN: TableDefinition<'_, (), &str> = TableDefinition::new("origin");

/// What a run with a log has started and not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LogPhase {
    /// Nothing.
    Ended,
    /// It emitted changes. The file has each of them before it leaves the process.
    Following,
    /// It read the whole stream. The file may not have what it emitted.
    ReadingWhole,
}

impl LogPhase {
    pub(super) fn number(self) -> u64 {
        match self {
            LogPhase::Ended => 0,
            LogPhase::Following => 1,
            LogPhase::ReadingWhole => 2,
        }
    }

    pub(super) fn of(number: u64) -> LogPhase {
        match number {
            0 => LogPhase::Ended,
            1 => LogPhase::Following,
            _ => LogPhase::ReadingWhole,
        }
    }
}

/// The content of a file when it is opened.
pub(super) struct OpenedIndex {
    pub(super) id: Uuid,
    pub(super) run: u64,
    pub(super) commits: u64,
    pub(super) phase: LogPhase,
    pub(super) other_key: Option<String>,
    pub(super) has_keys: bool,
    pub(super) has_gone: bool,
}

/// What the file had of an entry before an update.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DnBefore {
    /// Nothing.
    None,
    /// The same DN.
    Same,
    /// This DN.
    Other(String),
}

impl DnBefore {
    /// Takes the row that an update replaced.
    pub(super) fn of(row: Option<AccessGuard<'_, (u128, &'static str)>>, now: &str) -> DnBefore {
        match row {
            None => DnBefore::None,
            Some(row) if row.value().1 == now => DnBefore::Same,
            Some(row) => DnBefore::Other(row.value().1.to_owned()),
        }
    }

    /// Keeps another DN as a deletion. Returns whether there was one.
    pub(super) fn keep(
        self,
        key: &str,
        run: u64,
        gone: &mut Table<'_, (&'static str, &'static str), u64>,
    ) -> Result<bool, redb::Error> {
        let DnBefore::Other(dn) = self else { return Ok(false) };
        gone.insert((key, dn.as_str()), run)?;
        Ok(true)
    }
}

/// The key of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EntryKey {
    /// One value for each key property.
    pub(crate) values: Vec<Value>,
    /// These in JSON, as the index has them.
    pub(crate) text: String,
}

impl EntryKey {
    /// Returns the key with these values.
    pub(crate) fn of(values: Vec<Value>) -> Self {
        let array = Value::Array(values);
        let text = array.to_string();
        let values = if let Value::Array(values) = array { values } else { Vec::new() };
        Self { values, text }
    }
}

/// An entry that has another DN than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RenamedKey {
    /// Its key in JSON.
    pub(crate) key: String,
    /// The DN that it had.
    pub(crate) old: String,
    /// The DN that it has.
    pub(crate) new: String,
}

/// Creates missing tables, and empties those of another key.
pub(super) fn prepare(database: &Database, key: &[String]) -> Result<OpenedIndex, redb::Error> {
    let key = Value::from(key).to_string();
    let _uninterrupted = signals::uninterrupted();
    let change = database.begin_write()?;
    let before = change.open_table(OF)?.get(())?.map(|of| of.value().to_owned());
    let other_key = match before {
        Some(before) => (before != key).then_some(before),
        None => is_of_another_key(&change, &key)?.then(|| "another key".to_owned()),
    };
    if other_key.is_some() {
        change.delete_table(KEYS)?;
        change.delete_table(GONE)?;
        change.delete_table(RETURNED)?;
        change.delete_table(ID)?;
        change.delete_table(RUN)?;
        change.delete_table(COMMITS)?;
        change.delete_table(UNSETTLED)?;
        change.delete_table(PHASE)?;
        change.delete_table(ORIGIN)?;
    }
    let found = {
        change.open_table(OF)?.insert((), key.as_str())?;
        let has_keys = !change.open_table(KEYS)?.is_empty()?;
        change.open_table(ORIGIN)?;
        let has_gone = !change.open_table(GONE)?.is_empty()?;
        change.open_table(RETURNED)?;
        let mut ids = change.open_table(ID)?;
        let known = ids.get(())?.map(|id| id.value());
        let id = known.unwrap_or_else(|| Uuid::new_v4().as_u128());
        ids.insert((), id)?;
        let run = change.open_table(RUN)?.get(())?.map_or(0, |run| run.value());
        let commits = change.open_table(COMMITS)?.get(())?.map_or(0, |commits| commits.value());
        let unsettled = change.open_table(UNSETTLED)?.remove(())?.is_some_and(|row| row.value());
        let mut phases = change.open_table(PHASE)?;
        let phase = phases.get(())?.map(|phase| LogPhase::of(phase.value()));
        // Earlier versions also printed changes before the file had them.
        let phase = phase.unwrap_or(if unsettled { LogPhase::ReadingWhole } else { LogPhase::Ended });
        phases.insert((), phase.number())?;
        OpenedIndex { id: Uuid::from_u128(id), run, commits, phase, other_key, has_keys, has_gone }
    };
    change.commit()?;
    Ok(found)
}

/// Returns whether the keys of a file without key properties cannot be of these, judged by one of them.
fn is_of_another_key(change: &redb::WriteTransaction, key: &str) -> Result<bool, redb::Error> {
    let keys = change.open_table(KEYS)?;
    let Some((row, seen)) = keys.first()? else { return Ok(false) };
    let names: Vec<String> = serde_json::from_str(key).unwrap_or_default();
    let values: Vec<Value> = serde_json::from_str(row.value()).unwrap_or_default();
    let dn = seen.value().1;
    let differs = |(name, value): (&String, &Value)| {
        let is_name = value.as_str() == Some(dn);
        // `entryDN` and `distinguishedName` have the same value.
        let may_be_name = name.to_ascii_lowercase().ends_with("dn") || name == "distinguishedName";
        if name == "dn" { !is_name } else { is_name && !may_be_name }
    };
    Ok(names.len() != values.len() || names.iter().zip(&values).any(differs))
}
