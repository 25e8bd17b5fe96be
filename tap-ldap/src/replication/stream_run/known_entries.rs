//! What is known of a stream's entries: the ids in its bookmark, the index of keys, and the last changes.

use std::io::Write;

use ldap_directory::entry::{Entry, EntryView};
use serde_json::Value;

use super::{DELETIONS_AT_ONCE, StreamRun};
use crate::key_index::{IndexError, IndexPosition, KeyIndex};
use crate::output::Output;
use crate::replication::bookmark::{INDEX_INCOMPLETE, OTHER_INDEX};
use crate::replication::completeness::MAX_COUNT_BOOKMARKS;
use crate::replication::known_ids::{KnownIds, MOST};
use crate::replication::log_bookmark::UNSETTLED;
use crate::replication::origin::Origins;
use crate::replication::witness::Witness;

impl StreamRun<'_> {
    /// Notes the DN of an entry in the index. If the entry had another DN before, emits the deletion of that one.
    pub(super) fn note_dn<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        entry: &impl EntryView,
    ) -> anyhow::Result<()> {
        let key = self.key_of(entry);
        let text = Value::Array(key.clone()).to_string();
        let Some(index) = self.index.clone() else { return Ok(()) };
        let old = index.get().dn_of(&text)?;
        if let Some(old) = old.filter(|old| *old != entry.dn()) {
            index.get().renamed(text.clone(), &old)?;
            self.write_deletion(output, &key, Some(&old))?;
        }
        index.get().seen(text, entry.dn())?;
        Ok(())
    }

    /// Emits the RECORD of a deletion: with the key, the last DN if known, and the time. An entry that never was in the stream is
    /// skipped, if that is known. Returns whether the entry may have been in the stream.
    pub(crate) fn emit_deletion<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        key: &[Value],
        dn: Option<&str>,
    ) -> anyhow::Result<bool> {
        let had = self.emit_known_deletion(output, key, dn)?;
        if self.is_log_based
            && let Some(Value::String(id)) = key.first()
        {
            self.witness.note_deleted(id, had);
        }
        Ok(had)
    }

    fn emit_known_deletion<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        key: &[Value],
        dn: Option<&str>,
    ) -> anyhow::Result<bool> {
        let Some(index) = self.index.as_ref().filter(|_| self.is_log_based) else {
            let had = self.may_have(key);
            if had {
                self.write_deletion(output, key, dn)?;
            }
            return Ok(had);
        };
        let text = Value::Array(key.to_vec()).to_string();
        let name = index.get().dn_of(&text)?;
        // The index has all emitted entries; a DN that is not in it was deleted before.
        let Some(name) = name else { return Ok(false) };
        index.get().forget(text, &name)?;
        self.write_deletion(output, key, Some(&name))?;
        Ok(true)
    }

    /// Returns whether an entry is known to be in the stream: by the index, or by the ids of the bookmark.
    pub(crate) fn is_known(&self, key: &[Value]) -> anyhow::Result<bool> {
        let text = Value::from(key).to_string();
        Ok(match (&self.index, &self.known) {
            (Some(index), _) => index.get().dn_of(&text)?.is_some(),
            (None, Some(known)) => known.contains(&text),
            (None, None) => false,
        })
    }

    /// Starts a whole read: the known entries are collected again.
    pub(crate) fn begin_ids(&mut self) -> anyhow::Result<()> {
        self.known = (self.is_log_based && self.index.is_none()).then(KnownIds::default);
        self.witness = Witness::default();
        if let Some(index) = self.index.as_ref().filter(|_| self.is_log_based) {
            index.get().read_whole()?;
        }
        Ok(())
    }

    /// Discards the ids after an incomplete whole read: unknown records of earlier versions stay downstream.
    pub(crate) fn forget_ids(&mut self) {
        if self.live() > 0 {
            self.known = None;
        }
    }

    /// Takes the ids of a bookmark. `unsettled`: whether the bookmark says that they may not be all.
    pub(crate) fn resume_ids(&mut self, text: Option<&str>, unsettled: bool) {
        self.known = text.filter(|_| self.index.is_none()).and_then(KnownIds::from_text);
        self.unsettled = self.index.as_ref().map_or(unsettled, |index| index.get().is_unsettled());
    }

    /// Notes, before a record is emitted, that a run from an earlier STATE may find records of unknown entries. The index has
    /// them before they are printed.
    pub(super) fn note_unsettled<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        if let Some(index) = &self.index {
            return Ok(index.get().follow()?);
        }
        if !std::mem::replace(&mut self.is_unsettled_noted, true) && self.known.is_some() {
            output.flag_bookmark(&self.stream.tap_stream_id, UNSETTLED)?;
        }
        Ok(())
    }

    /// Notes that all changes up to the log's position were emitted: the ids and the index are complete.
    pub(crate) fn caught_up(&mut self) -> anyhow::Result<()> {
        self.caught_up = true;
        self.unsettled = false;
        if let Some(index) = &self.index {
            index.get().finish()?;
        }
        Ok(())
    }

    /// Returns whether records of unknown entries may be downstream.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// Returns whether all changes up to the log's position were emitted.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.caught_up
    }

    /// Notes that the log is read again.
    pub(crate) fn falls_behind(&mut self) {
        self.caught_up = false;
    }

    /// Returns what the next bookmark says about records of unknown entries. A bookmark that denies them is the last one
    /// before the next record.
    pub(crate) fn is_bookmark_unsettled(&mut self) -> bool {
        if self.caught_up {
            self.is_unsettled_noted = false;
        }
        self.known.is_some() && !self.caught_up
    }

    /// Returns the ids for a bookmark.
    pub(crate) fn ids(&self) -> Option<String> {
        self.known.as_ref().map(KnownIds::to_text)
    }

    /// Notes an entry of the stream.
    pub(super) fn note_present(&mut self, entry: &impl EntryView) {
        if self.is_log_based
            && !self.witness.is_older(entry, &self.marks)
            && let Some(Value::String(id)) = self.key_of(entry).first()
        {
            self.witness.note_present(id, entry, &self.marks, self.context.directory.schema());
        }
        if self.known.is_none() {
            return;
        }
        let key = Value::Array(self.key_of(entry)).to_string();
        if self.known.as_mut().is_some_and(|known| !known.insert(&key)) {
            self.known = None;
        }
    }

    /// Returns whether the stream may have had an entry that a log reported as deleted.
    fn may_have(&mut self, key: &[Value]) -> bool {
        if let Some(known) = &mut self.known {
            return known.remove(&Value::Array(key.to_vec()).to_string()) || self.unsettled;
        }
        if self.is_log_based && !std::mem::replace(&mut self.warned_unknown, true) {
            let stream = self.stream.stream.as_str();
            tracing::warn!(
                stream,
                "{stream}: the bookmark does not say which entries the stream has (more than {MOST} of them, or a STATE of an earlier version): deletions may name entries that it never had; track_deletions with state_dir avoids that"
            );
        }
        true
    }

    /// Notes an entry in a pass over the keys. If it was never emitted, or with another DN, [`Self::take_unread`] returns it.
    pub(crate) fn listed(&mut self, entry: &impl EntryView) -> anyhow::Result<()> {
        self.index_entry(entry, KeyIndex::listed)
    }

    /// Returns whether entries of such a pass must be read and emitted.
    pub(crate) fn has_unread(&self) -> bool {
        self.index.as_ref().is_some_and(|index| index.get().has_unread())
    }

    /// Returns the keys and DNs of the entries to be read and emitted. The index has them durably: if one is deleted before it is
    /// emitted, or the run is killed, a later run finds it.
    pub(crate) fn take_unread(&self) -> anyhow::Result<Vec<(String, String)>> {
        let Some(index) = &self.index else { return Ok(Vec::new()) };
        index.get().commit()?;
        Ok(index.get().take_unread())
    }

    /// Returns whether the index has no deletion to emit.
    pub(crate) fn has_no_deletions(&self) -> anyhow::Result<bool> {
        let Some(index) = &self.index else { return Ok(false) };
        let mut index = index.get();
        index.commit()?;
        Ok(index.deletions_after(None, 1, false)?.is_empty() && index.unsettled_renames()?.is_empty())
    }

    /// Notes that an entry of the pass was deleted before it was read.
    pub(crate) fn forget_unread(&self, key: String, dn: &str) -> anyhow::Result<()> {
        if let Some(index) = &self.index {
            index.get().forget(key, dn)?;
        }
        Ok(())
    }

    /// Notes in the index that an entry was emitted; it may be deleted before the pass over the keys (`track_deletions`).
    pub(crate) fn emitted(&mut self, entry: &Entry) -> anyhow::Result<()> {
        // With a log, emitting it did this.
        if self.is_log_based { Ok(()) } else { self.index_entry(entry, KeyIndex::emitted) }
    }

    fn index_entry(
        &mut self,
        entry: &impl EntryView,
        put: fn(&mut KeyIndex, String, &str) -> Result<(), IndexError>,
    ) -> anyhow::Result<()> {
        let Some(index) = &self.index else { return Ok(()) };
        let key = Value::Array(self.key_of(entry)).to_string();
        put(&mut index.get(), key, entry.dn())?;
        Ok(())
    }

    /// Emits deletions of the entries that a complete read did not show. Returns the position of the index for the bookmark.
    pub(crate) fn emit_deletions<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<Option<IndexPosition>> {
        let Some(index) = &self.index else { return Ok(None) };
        let mark = index.get().complete()?;
        self.write_deletions(output, false)?;
        Ok(Some(mark))
    }

    /// Compares the index with the bookmark's position in it. Returns a reason if they do not match, so that deletions since the
    /// bookmark are unknown.
    pub(crate) fn resume_index(&mut self, mark: Option<&IndexPosition>) -> anyhow::Result<Option<String>> {
        let Some(index) = &self.index else { return Ok(None) };
        let mut index = index.get();
        let is_the_bookmarks = mark.map(|mark| index.confirm(mark)).transpose()?.unwrap_or_default();
        Ok(if let Some(other) = index.other_key() {
            Some(other_key(&self.stream.key_properties, other))
        } else if !is_the_bookmarks {
            Some(OTHER_INDEX.to_owned())
        } else if self.is_log_based && index.lacks_printed() {
            Some(INDEX_INCOMPLETE.to_owned())
        } else {
            None
        })
    }

    /// Returns whether the absence of an entry may be taken for its deletion: by an index, a log, or ACTIVATE_VERSION.
    pub(crate) fn concludes(&self) -> bool {
        self.index.is_some() || self.is_log_based || self.rules.activates && !self.keeps_position
    }

    /// Puts into the index where the stream was read from. Without one, the bookmark has it.
    pub(crate) fn keep_origins(&self) -> anyhow::Result<()> {
        if let Some(index) = &self.index {
            index.get().keep_origin(&serde_json::to_string(&self.origins)?)?;
        }
        Ok(())
    }

    /// Returns where the stream was read from, for a bookmark that has nothing else; `None` if it is not needed. `bookmarks`: the number of
    /// bookmarks in the STATE.
    pub(crate) fn origins_alone(&self, bookmarks: usize) -> Option<Origins> {
        let is_needed = self.index.is_none() && self.origins != Origins::default();
        (is_needed && bookmarks < MAX_COUNT_BOOKMARKS).then(|| self.origins.clone())
    }

    /// Returns whether the index was of another key.
    pub(crate) fn has_other_key(&self) -> bool {
        self.index.as_ref().is_some_and(|index| index.get().other_key().is_some())
    }

    /// Returns a reason if a bookmark is of records with other key properties. Bookmarks of earlier versions do not have them.
    pub(crate) fn is_of_other_key(&self, key: Option<&[String]>) -> Option<String> {
        let now = &self.stream.key_properties;
        let other = key.filter(|key| key != now)?;
        Some(other_key(now, &Value::from(other).to_string()))
    }

    /// Emits deletions again that may not have arrived. The log then repeats what exists.
    pub(crate) fn repeat_deletions<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        self.write_deletions(output, true)
    }

    /// Makes the index durable, before what it has is printed.
    pub(crate) fn persist_index(&self) -> anyhow::Result<()> {
        if let Some(index) = &self.index {
            index.get().commit()?;
        }
        Ok(())
    }

    /// Makes the index durable and returns its position for a bookmark within the stream; deletions after `emitted` may be
    /// repeated.
    pub(crate) fn commit_index(
        &self,
        emitted: Option<&IndexPosition>,
    ) -> anyhow::Result<Option<IndexPosition>> {
        let Some((index, emitted)) = self.index.as_ref().zip(emitted) else { return Ok(None) };
        Ok(Some(emitted.at(index.get().commit()?)))
    }

    /// Makes the index durable and returns its position, with all deletions emitted so far.
    pub(crate) fn save_index(&mut self) -> anyhow::Result<Option<IndexPosition>> {
        Ok(self.index.as_ref().map(|index| index.get().save()).transpose()?)
    }

    fn write_deletions<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        with_renamed: bool,
    ) -> anyhow::Result<()> {
        let mut last = None;
        loop {
            let Some(index) = &self.index else { return Ok(()) };
            let gone = index.get().deletions_after(last.as_ref(), DELETIONS_AT_ONCE, with_renamed)?;
            let Some(end) = gone.last().cloned() else { return Ok(()) };
            last = Some(end);
            for (key, dn) in gone {
                let key: Vec<Value> = serde_json::from_str(&key).unwrap_or_default();
                self.note_left(&dn);
                self.write_deletion(output, &key, Some(&dn))?;
            }
        }
    }
}

/// Returns the reason for a position or an index of another key: its keys do not identify existing entries.
fn other_key(now: &[String], before: &str) -> String {
    format!(
        "key_properties is {} now, and was {before}: rows of the other key are another version's",
        Value::from(now)
    )
}
