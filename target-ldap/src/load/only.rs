//! `--only KEY`: one record alone through the whole path, to try a rule on one person.
//!
//! The other records are passed over and counted. They still own the entries that they name, so that a deletion of the one record does not
//! take what another one brings. No version is carried out, no entry that was set aside is deleted for good, and no STATE is printed: it
//! would cover the records that were passed over.

use std::io::Write;

use ldap_directory::nearest::nearest;

use super::stream::MappedRecord;
use super::{Load, LoadError};
use crate::map::Task;
use crate::write::claims::Claimant;
use crate::write::counts::RecordOutcome;

/// The one record that is wanted, and what came in its place.
#[derive(Debug)]
pub(super) struct Only {
    key: String,
    found: u64,
    skipped: u64,
    nearest: Option<String>,
}

/// Returns a key without the blanks after its commas.
fn compact(key: &str) -> String {
    key.replace(", ", ",")
}

impl Only {
    pub(super) fn new(key: &str) -> Self {
        Self { key: compact(key.trim()), found: 0, skipped: 0, nearest: None }
    }

    /// Whether this is the record: its key, as messages show it (`id=7`), is the wanted one, or the value of its only property.
    fn takes(&mut self, about: &str) -> bool {
        let about = compact(about);
        let value = about.split_once('=').map_or("", |(_, value)| value);
        if about == self.key || value == self.key {
            self.found += 1;
            return true;
        }
        self.skipped += 1;
        if self.nearest.is_none() {
            let known = [value, about.as_str()];
            self.nearest = nearest(&self.key, known.into_iter()).map(str::to_owned);
        }
        false
    }

    /// Reports what was passed over.
    ///
    /// # Errors
    /// No record has the key.
    pub(super) fn conclude(&self) -> Result<(), LoadError> {
        let Only { key, found, skipped, nearest } = self;
        if *found == 0 {
            return Err(LoadError::NoSuchKey {
                key: key.clone(),
                skipped: *skipped,
                nearest: nearest.clone(),
            });
        }
        tracing::info!(
            setting = "--only",
            found,
            skipped,
            "--only: {found} record(s) with the key `{key}`; {skipped} other record(s) were passed over, and no STATE is printed"
        );
        Ok(())
    }
}

impl<W: Write> Load<'_, W> {
    /// Passes a record over that is not the wanted one. Returns the others.
    pub(super) fn wanted_alone(&mut self, planned: MappedRecord) -> Option<MappedRecord> {
        let Some(only) = &mut self.only else { return Some(planned) };
        if only.takes(&planned.about) {
            return Some(planned);
        }
        let MappedRecord { stream, about, outcome, .. } = planned;
        let counts = self.counters.by_stream.entry(stream.name.clone()).or_default();
        counts.records += 1;
        counts.count(RecordOutcome::Ignored, None);
        if let Ok((Task::Upsert { .. }, key)) = outcome
            && !key.is_root()
        {
            let claimant = Claimant { stream: &stream.name, key: &about, kind: stream.key_kind };
            self.applier.claims().protect(&claimant, &key);
        }
        None
    }
}
