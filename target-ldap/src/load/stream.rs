//! A stream whose SCHEMA is known: from its records to tasks.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use ldap_directory::dn::{Above, DnKey};
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::number_text;
use serde_json::Value;
use singer_common::operations::facts::Warning;
use singer_common::singer::deletion::is_marked;
use singer_common::singer::record::Record;

use super::LoadError;
use super::in_file::InFile;
use super::reject_history::FromReject;
use super::rejects::RejectSchema;
use crate::map::generated::Generated;
use crate::map::validate::{RecordValidator, guarded};
use crate::map::{Mapping, Task};
use crate::rules::error::MappingError;
use crate::rules::names::ENTRY_IDS;
use crate::write::claims::KeyKind;

/// A record with its task.
pub(super) struct MappedRecord {
    pub(super) stream: Arc<StreamDefinition>,
    /// The line of the RECORD, or of the BATCH.
    pub(super) line: u64,
    pub(super) in_file: Option<InFile>,
    pub(super) version: Option<i64>,
    /// Its key, for messages: `id=7`.
    pub(super) about: String,
    /// The record, if it may be rejected.
    pub(super) record: Option<Value>,
    /// The task, and the key of its entry's DN; that of the root if the record does not name it.
    pub(super) outcome: Result<(Task, DnKey), LoadError>,
    /// The values that are chosen when the entry is made.
    pub(super) generated: Option<Generated>,
    /// For the log.
    pub(super) warnings: Vec<Warning>,
    /// For a record that is rejected at once: a [`Task::Find`] for its entry, if that is known.
    pub(super) identity: Option<(Task, DnKey)>,
    /// Of what reject it is, if it comes from a reject file.
    pub(super) reject: Option<FromReject>,
}

/// A stream whose SCHEMA is known.
pub(super) struct StreamDefinition {
    pub(super) name: Arc<str>,
    pub(super) mapping: Arc<Mapping>,
    pub(super) reject_schema: Arc<RejectSchema>,
    pub(super) validator: Option<RecordValidator>,
    pub(super) key_properties: Vec<String>,
    /// The properties that make the DN or the match filter.
    pub(super) naming_properties: BTreeSet<String>,
    pub(super) is_mirror_without_key: bool,
    pub(super) schema: Arc<Schema>,
    pub(super) above: Mutex<Above>,
    pub(super) keeps_records: bool,
    pub(super) key_kind: KeyKind,
    /// The properties of the key that are secret.
    pub(super) secret_keys: BTreeSet<String>,
    /// Whether its SCHEMA has `_sdc_deleted_at`.
    pub(super) has_deletion_marker: bool,
}

impl StreamDefinition {
    /// Maps a record.
    pub(super) fn plan(
        self: &Arc<Self>,
        line: u64,
        record: Record,
        version: Option<i64>,
        in_file: Option<InFile>,
    ) -> MappedRecord {
        let outcome = guarded(|| self.task(line, &record))
            .unwrap_or_else(|reason| Err(LoadError::record(line, &self.name, reason)));
        self.planned(line, record, version, in_file, outcome)
    }

    /// Returns a record with its outcome.
    pub(super) fn planned(
        self: &Arc<Self>,
        line: u64,
        record: Record,
        version: Option<i64>,
        in_file: Option<InFile>,
        outcome: Result<(Task, DnKey), LoadError>,
    ) -> MappedRecord {
        let is_secret = |name: &str| self.secret_keys.contains(name);
        let about = about(&self.key_properties, self.is_mirror_without_key, &record, is_secret);
        let outcome = outcome.map_err(|error| error.of_key(&about));
        let identity = if outcome.is_err() && self.keeps_records {
            guarded(|| self.identity(&record)).ok().flatten()
        } else {
            None
        };
        let is_upsert = matches!(&outcome, Ok((Task::Upsert { .. }, _)));
        let generated = is_upsert.then(|| Generated::of(&self.mapping, &record, &self.schema)).flatten();
        let record = (self.keeps_records || outcome.is_err()).then(|| record.into_value());
        MappedRecord {
            stream: self.clone(),
            line,
            in_file,
            version,
            about,
            record,
            outcome,
            generated,
            warnings: Vec::new(),
            identity,
            reject: None,
        }
    }

    /// Returns how to find the entry of a record that cannot be mapped, as for a deletion.
    ///
    /// `None`: unknown. A key that the SCHEMA forbids (`true` instead of a text), or that occurs twice, could stand for any
    /// entry.
    fn identity(&self, record: &Record) -> Option<(Task, DnKey)> {
        if record.twice().is_some() {
            return None;
        }
        if self.validator.as_ref().is_some_and(|v| v.check_keys(record, &self.key_properties).is_err()) {
            return None;
        }
        let task = self.mapping.map(record, true, &self.schema).ok()?;
        let Task::Delete { dn, filter, write_policy, .. } = task else { return None };
        let key = dn.as_deref().map(|dn| DnKey::parse(dn, &self.schema)).transpose().ok()?;
        Some((Task::Find { dn, filter, write_policy }, key.unwrap_or_default()))
    }

    fn task(&self, line: u64, record: &Record) -> Result<(Task, DnKey), LoadError> {
        let bad = |reason| LoadError::record(line, &self.name, reason);
        if let Some(property) = record.twice() {
            return Err(bad(duplicate_property(property)));
        }
        let is_deletion = is_marked(record.iter()).map_err(|e| bad(e.to_string()))?;
        // A deletion needs only what locates its entry.
        if let Some(key) = self.key_properties.iter().find(|k| !is_deletion && record.get(k).is_none()) {
            return Err(bad(format!("the record lacks its key property `{key}`")));
        }
        match &self.validator {
            Some(validator) if is_deletion => {
                let names = |name: &str| {
                    self.naming_properties.contains(name) || self.key_properties.iter().any(|key| key == name)
                };
                validator.check_deletion(record, names).map_err(bad)?;
            }
            Some(validator) => validator.check(record).map_err(bad)?,
            None => {}
        }
        let map_error =
            |error| LoadError::Map { line, stream: self.name.to_string(), key: String::new(), error };
        let task = self.mapping.map(record, is_deletion, &self.schema).map_err(map_error)?;
        let mut above = self.above.lock().unwrap_or_else(PoisonError::into_inner);
        let key = task.dn().map(|dn| {
            let key = above.key(dn, &self.schema);
            key.map_err(|e| map_error(MappingError::Name(format!("`{dn}` is no DN: {e}"))))
        });
        Ok((task, key.transpose()?.unwrap_or_default()))
    }
}

/// Returns the problem of a record with a property twice: one of the two values would be lost.
pub(super) fn duplicate_property(property: &str) -> String {
    format!("property `{property}` is in the record twice, with values that differ; it must be there once")
}

/// Returns a record's key, for messages: `id=7`. For a mirror without a key, its DN as it is spelled. Secret values are masked.
fn about(
    key_properties: &[String],
    is_mirror_without_key: bool,
    record: &Record,
    is_secret: impl Fn(&str) -> bool,
) -> String {
    let mut about = String::new();
    let name = is_mirror_without_key.then_some("dn");
    for name in key_properties.iter().map(String::as_str).chain(name) {
        if !about.is_empty() {
            about.push_str(", ");
        }
        about.push_str(name);
        about.push('=');
        match record.get(name) {
            Some(_) if is_secret(name) => about.push_str("***"),
            Some(Value::String(text)) => about.push_str(text),
            Some(Value::Number(number)) => about.push_str(&number_text(number)),
            Some(other) => about.push_str(&other.to_string()),
            None => {}
        }
    }
    about
}

pub(super) fn key_kind(key_properties: &[String], is_mirror: bool, rewrites: usize) -> KeyKind {
    match key_properties {
        [] => KeyKind::Name,
        [only] if is_mirror && only.eq_ignore_ascii_case("dn") => KeyKind::Name,
        // Several rewrites can map two entries of the source to one DN.
        [only] if is_mirror && rewrites < 2 && ENTRY_IDS.iter().any(|id| only.eq_ignore_ascii_case(id)) => {
            KeyKind::Id
        }
        _ => KeyKind::Key,
    }
}
