//! What a stream has, as far as it is known: by the ids of its bookmark, by the index of keys, and by what changed last.

use std::io::Write;

use serde_json::Value;
use singer_common::entry::{Entry, EntryView};

use super::{GONE_AT_ONCE, StreamRun};
use crate::key_index::{IndexError, KeyIndex, Mark};
use crate::output::Output;
use crate::replication::known::{KnownIds, MOST};
use crate::replication::log_bookmark::UNSETTLED;
use crate::replication::witness::Witness;
use crate::replication::{LACKS_PRINTED, OTHER_INDEX};

impl StreamRun<'_> {
    /// Takes note of an entry's name. Of one that had another before, that is gone.
    pub(super) fn name<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        entry: &impl EntryView,
    ) -> anyhow::Result<()> {
        let key = self.key_of(entry);
        let text = Value::Array(key.clone()).to_string();
        let Some(index) = self.index.clone() else { return Ok(()) };
        let old = index.get().name_of(&text)?;
        if let Some(old) = old.filter(|old| *old != entry.dn()) {
            index.get().renamed(text.clone(), &old)?;
            self.write_deletion(output, &key, Some(&old))?;
        }
        index.get().seen(text, entry.dn())?;
        Ok(())
    }

    /// Emits the RECORD of a deletion: the key, the name where it is known, and when it was noticed. An entry that never
    /// was in the stream is not told of, where the index of keys knows. Returns whether it may have been.
    pub(crate) fn emit_deletion<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        key: &[Value],
        dn: Option<&str>,
    ) -> anyhow::Result<bool> {
        let had = self.tell_gone(output, key, dn)?;
        if self.names
            && let Some(Value::String(id)) = key.first()
        {
            self.witness.is_gone(id, had);
        }
        Ok(had)
    }

    fn tell_gone<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        key: &[Value],
        dn: Option<&str>,
    ) -> anyhow::Result<bool> {
        let Some(index) = self.index.as_ref().filter(|_| self.names) else {
            let had = self.had(key);
            if had {
                self.write_deletion(output, key, dn)?;
            }
            return Ok(had);
        };
        let text = Value::Array(key.to_vec()).to_string();
        let name = index.get().name_of(&text)?;
        // All that was ever told is in there, or was told as gone by its name.
        let Some(name) = name else { return Ok(false) };
        index.get().forget(text, &name)?;
        self.write_deletion(output, key, Some(&name))?;
        Ok(true)
    }

    /// Whether the stream is known to have an entry: by the index, or by the ids of its bookmark.
    pub(crate) fn is_known(&self, key: &[Value]) -> anyhow::Result<bool> {
        let text = Value::from(key).to_string();
        Ok(match (&self.index, &self.known) {
            (Some(index), _) => index.get().name_of(&text)?.is_some(),
            (None, Some(known)) => known.contains(&text),
            (None, None) => false,
        })
    }

    /// Begins to take note of what the stream has: it is read whole.
    pub(crate) fn begin_ids(&mut self) -> anyhow::Result<()> {
        self.known = (self.names && self.index.is_none()).then(KnownIds::default);
        self.witness = Witness::default();
        if let Some(index) = self.index.as_ref().filter(|_| self.names) {
            index.get().read_whole()?;
        }
        Ok(())
    }

    /// After a whole read of which nothing was concluded: rows of earlier versions stay downstream, and nobody knows which.
    pub(crate) fn forget_ids(&mut self) {
        if self.live() > 0 {
            self.known = None;
        }
    }

    /// Takes up the ids of a bookmark, and whether they are all.
    pub(crate) fn resume_ids(&mut self, text: Option<&str>, unsettled: bool) {
        self.known = text.filter(|_| self.index.is_none()).and_then(KnownIds::from_text);
        self.unsettled = self.index.as_ref().map_or(unsettled, |index| index.get().is_unsettled());
    }

    /// Before a record: whoever goes on from an earlier STATE is told that there may be rows of which the ids do not know.
    /// The index knows of them from now on before they are printed.
    pub(super) fn note_unsettled<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        if let Some(index) = &self.index {
            return Ok(index.get().follow()?);
        }
        if !std::mem::replace(&mut self.is_unsettled_noted, true) && self.known.is_some() {
            output.change_bookmark(&self.stream.tap_stream_id, UNSETTLED)?;
        }
        Ok(())
    }

    /// Everything that the log holds was told: what the ids and the index know is all there is.
    pub(crate) fn caught_up(&mut self) -> anyhow::Result<()> {
        self.caught_up = true;
        self.unsettled = false;
        if let Some(index) = &self.index {
            index.get().settle()?;
        }
        Ok(())
    }

    /// Whether rows may be downstream that neither the ids nor the index have.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.unsettled
    }

    /// Whether everything that the log holds up to now was told.
    pub(crate) fn has_caught_up(&self) -> bool {
        self.caught_up
    }

    /// The log is to be gone through again.
    pub(crate) fn falls_behind(&mut self) {
        self.caught_up = false;
    }

    /// What a bookmark of now says of rows that the ids do not have. One that says that there are none is the last to be
    /// printed before the next record.
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

    /// The stream has this entry.
    pub(super) fn has(&mut self, entry: &impl EntryView) {
        if self.names
            && !self.witness.is_older(entry, &self.marks)
            && let Some(Value::String(id)) = self.key_of(entry).first()
        {
            self.witness.saw(id, entry, &self.marks, self.context.directory.schema());
        }
        if self.known.is_none() {
            return;
        }
        let key = Value::Array(self.key_of(entry)).to_string();
        if self.known.as_mut().is_some_and(|known| !known.insert(&key)) {
            self.known = None;
        }
    }

    /// Whether the stream may have had an entry that a log names.
    fn had(&mut self, key: &[Value]) -> bool {
        if let Some(known) = &mut self.known {
            return known.remove(&Value::Array(key.to_vec()).to_string()) || self.unsettled;
        }
        if self.names && !std::mem::replace(&mut self.said_unknown, true) {
            let stream = self.stream.stream.as_str();
            tracing::warn!(
                stream,
                "{stream}: the bookmark does not say which entries the stream has (more than {MOST} of them, or a STATE of an earlier version): deletions may name entries that it never had; track_deletions with state_dir avoids that"
            );
        }
        true
    }

    /// Takes note of an entry that is there (`track_deletions`).
    pub(crate) fn seen(&mut self, entry: &impl EntryView) -> anyhow::Result<()> {
        self.index_entry(entry, KeyIndex::seen)
    }

    /// The same in a pass over the keys alone. The name of an entry that was never printed, or not under that name, comes with
    /// [`Self::unread`].
    pub(crate) fn met(&mut self, entry: &impl EntryView) -> anyhow::Result<()> {
        self.index_entry(entry, KeyIndex::met)
    }

    /// Whether names of entries wait that are to be read and printed.
    pub(crate) fn has_unread(&self) -> bool {
        self.index.as_ref().is_some_and(|index| index.get().has_unread())
    }

    /// Takes the names of the entries that are to be read and printed. The index knows of them, durably: what is printed and
    /// then gone is told as well, and what is not printed any more is read again.
    pub(crate) fn unread(&self) -> anyhow::Result<Vec<(String, String)>> {
        let Some(index) = &self.index else { return Ok(Vec::new()) };
        index.get().commit()?;
        Ok(index.get().take_unread())
    }

    /// Whether the index knows of nothing that is still to be told as gone.
    pub(crate) fn nothing_is_gone(&self) -> anyhow::Result<bool> {
        let Some(index) = &self.index else { return Ok(false) };
        let mut index = index.get();
        index.commit()?;
        Ok(index.gone_after(None, 1, true)?.is_empty())
    }

    /// An entry that was met is gone before it was read.
    pub(crate) fn vanished(&self, key: String, dn: &str) -> anyhow::Result<()> {
        if let Some(index) = &self.index {
            index.get().forget(key, dn)?;
        }
        Ok(())
    }

    /// Takes note of an entry that was printed, and may be gone before everything is looked at (`track_deletions`).
    pub(crate) fn printed(&mut self, entry: &Entry) -> anyhow::Result<()> {
        // With a log, printing has done it.
        if self.names { Ok(()) } else { self.index_entry(entry, KeyIndex::printed) }
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

    /// After a complete read: prints the deletions of what was not seen in it. Gives what the bookmark has to say.
    pub(crate) fn emit_gone<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<Option<Mark>> {
        let Some(index) = &self.index else { return Ok(None) };
        let mark = index.get().complete()?;
        self.write_gone(output, false)?;
        Ok(Some(mark))
    }

    /// Takes up the index of keys where a bookmark left it. Why it is not the bookmark's, if it is not: then what was deleted
    /// meanwhile nobody knows.
    pub(crate) fn resume_index(&mut self, mark: Option<&Mark>) -> anyhow::Result<Option<String>> {
        let Some(index) = &self.index else { return Ok(None) };
        let mut index = index.get();
        let is_the_bookmarks = mark.map(|mark| index.confirm(mark)).transpose()?.unwrap_or_default();
        Ok(if let Some(other) = index.other_key() {
            Some(other_key(&self.stream.key_properties, other))
        } else if !is_the_bookmarks {
            Some(OTHER_INDEX.to_owned())
        } else if self.names && index.lacks_printed() {
            Some(LACKS_PRINTED.to_owned())
        } else {
            None
        })
    }

    /// Whether the index was of another key.
    pub(crate) fn has_other_key(&self) -> bool {
        self.index.as_ref().is_some_and(|index| index.get().other_key().is_some())
    }

    /// Why a bookmark of records with other key properties is of no use. Those of earlier versions do not say which they had.
    pub(crate) fn is_of_other_key(&self, key: Option<&[String]>) -> Option<String> {
        let now = &self.stream.key_properties;
        let other = key.filter(|key| key != now)?;
        Some(other_key(now, &Value::from(other).to_string()))
    }

    /// Prints again what was told of a log but may not have arrived. The log tells again, after it, of what is there.
    pub(crate) fn tell_again<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        self.write_gone(output, true)
    }

    /// Makes what the index knows last, before what it knows of is printed.
    pub(crate) fn make_index_last(&self) -> anyhow::Result<()> {
        if let Some(index) = &self.index {
            index.get().commit()?;
        }
        Ok(())
    }

    /// What a bookmark in mid-stream has to say of the index: no more was told than `told` says, and all that was printed
    /// is in it, durably.
    pub(crate) fn commit_index(&self, told: Option<&Mark>) -> anyhow::Result<Option<Mark>> {
        let Some((index, told)) = self.index.as_ref().zip(told) else { return Ok(None) };
        Ok(Some(told.at(index.get().commit()?)))
    }

    /// What the bookmark has to say of the index, with all that was told so far.
    pub(crate) fn save_index(&mut self) -> anyhow::Result<Option<Mark>> {
        Ok(self.index.as_ref().map(|index| index.get().save()).transpose()?)
    }

    fn write_gone<W: Write>(&mut self, output: &mut Output<'_, W>, renamed: bool) -> anyhow::Result<()> {
        let mut last = None;
        loop {
            let Some(index) = &self.index else { return Ok(()) };
            let gone = index.get().gone_after(last.as_ref(), GONE_AT_ONCE, renamed)?;
            let Some(end) = gone.last().cloned() else { return Ok(()) };
            last = Some(end);
            for (key, dn) in gone {
                let key: Vec<Value> = serde_json::from_str(&key).unwrap_or_default();
                self.write_deletion(output, &key, Some(&dn))?;
            }
        }
    }
}

/// What is to be said of a position or an index of another key: by its keys nothing that is there would be known.
fn other_key(now: &[String], before: &str) -> String {
    format!(
        "key_properties is {} now, and was {before}: rows of the other key are another version's",
        Value::from(now)
    )
}
