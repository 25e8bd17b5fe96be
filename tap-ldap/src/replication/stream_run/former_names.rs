//! Entries that have another DN than the one they were emitted with, by the index of keys. The former DN is emitted as deleted, and the
//! record follows: a target whose entries are known by their DNs would keep both.

use std::collections::HashSet;
use std::io::Write;

use ldap_directory::Vendor;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::{Entry, EntryView};
use serde_json::Value;

use super::StreamRun;
use crate::key_index::{EntryKey, RenamedKey};
use crate::output::Output;

impl StreamRun<'_> {
    /// Returns the key of an entry, if there is an index.
    pub(crate) fn index_key(&self, entry: &impl EntryView) -> Option<EntryKey> {
        self.index.as_ref()?;
        Some(EntryKey::of(self.key_of(entry)))
    }

    /// Returns whether no two entries ever have the same key. Other keys of a renamed entry may also be those of two entries.
    fn has_unique_keys(&self) -> bool {
        let id = self.context.ids.key.as_ref();
        self.context.directory.root_dse().vendor != Vendor::Ldif
            && matches!(self.stream.key_properties.as_slice(), [only] if Some(only) == id)
    }

    /// Returns whether an entry was emitted with another DN, as far as the index knows.
    pub(crate) fn has_other_dn(&self, entry: &impl EntryView) -> anyhow::Result<bool> {
        let Some((index, key)) = self.index.as_ref().zip(self.index_key(entry)) else { return Ok(false) };
        if self.is_log_based {
            return Ok(index.get().dn_of(&key.text)?.is_some_and(|dn| dn != entry.dn()));
        }
        Ok(!self.former_dns(Some(&key), entry)?.is_empty())
    }

    /// Returns the DNs that an entry had, whose deletions are emitted right before its record. With keys that may not be unique there is
    /// none: that is found at the end ([`Self::settle_renames`]).
    pub(crate) fn former_dns(
        &self,
        key: Option<&EntryKey>,
        entry: &impl EntryView,
    ) -> anyhow::Result<Vec<String>> {
        let found = self.index.as_ref().zip(key).filter(|_| self.has_unique_keys());
        let Some((index, key)) = found else { return Ok(Vec::new()) };
        Ok(index.get().former_dns(&key.text, entry.dn())?)
    }

    /// Emits the deletions of the DNs that an entry had.
    pub(crate) fn leave_dns<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        key: Option<&EntryKey>,
        former: &[String],
    ) -> anyhow::Result<()> {
        let Some(key) = key else { return Ok(()) };
        former.iter().try_for_each(|old| self.leave_dn(output, &key.text, &key.values, old))
    }

    /// Notes in the index that an entry with this key exists (`track_deletions`).
    pub(super) fn seen(&mut self, key: Option<EntryKey>, entry: &impl EntryView) -> anyhow::Result<()> {
        if let Some((index, key)) = self.index.as_ref().zip(key) {
            index.get().seen(key.text, entry.dn())?;
        }
        Ok(())
    }

    fn leave_dn<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        text: &str,
        key: &[Value],
        old: &str,
    ) -> anyhow::Result<()> {
        if let Some(index) = &self.index {
            index.get().settle(text, old)?;
        }
        self.note_left(old);
        self.write_deletion(output, key, Some(old))
    }

    /// Remembers the DNs whose deletions are emitted from now on, for [`Self::emit_holders`].
    pub(crate) fn note_left_dns(&mut self) {
        self.left_dns = self.index.is_some().then(Vec::new);
    }

    pub(super) fn note_left(&mut self, dn: &str) {
        if let Some(left) = &mut self.left_dns {
            left.push(dn.to_owned());
        }
    }

    /// Emits the deletions of former DNs that no record of this run was preceded by, each with the record of the entry: of entries that
    /// changed nothing but their DNs, and of those that an earlier run emitted whose output may be lost. `is_complete`: whether the
    /// stream was listed whole.
    pub(crate) async fn settle_renames<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        attributes: &[String],
        is_complete: bool,
    ) -> anyhow::Result<()> {
        let Some(index) = self.index.clone().filter(|_| !self.is_log_based) else { return Ok(()) };
        let unique = self.has_unique_keys();
        if !unique && !is_complete {
            return Ok(());
        }
        let renamed = index.get().unsettled_renames()?;
        for RenamedKey { key: text, old, new } in renamed {
            // Two entries with one key are listed in turn: none was renamed.
            if !unique && self.read_with_key(output, &old, &text, attributes).await?.is_some() {
                continue;
            }
            let key: Vec<Value> = serde_json::from_str(&text).unwrap_or_default();
            self.leave_dn(output, &text, &key, &old)?;
            if let Some(entry) = self.read_with_key(output, &new, &text, attributes).await? {
                self.emit(output, &entry)?;
            }
        }
        Ok(())
    }

    /// Emits the records of entries whose DNs are among the deletions of this run: they have the names of entries that are gone. Their
    /// own records may be older than the position, and a target that knows entries by their DNs would delete them.
    pub(crate) async fn emit_holders<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        attributes: &[String],
    ) -> anyhow::Result<()> {
        let left = self.left_dns.take().unwrap_or_default();
        let Some(index) = self.index.clone().filter(|_| !left.is_empty()) else { return Ok(()) };
        let schema = self.schema();
        let left: HashSet<DnKey> = left.iter().filter_map(|dn| DnKey::parse(dn, schema).ok()).collect();
        let is_left = |dn: &str| DnKey::parse(dn, schema).is_ok_and(|key| left.contains(&key));
        let holders = index.get().with_dn(is_left)?;
        for (text, dn) in holders {
            if let Some(entry) = self.read_with_key(output, &dn, &text, attributes).await? {
                self.emit(output, &entry)?;
            }
        }
        Ok(())
    }

    /// Reads an entry, if it has this DN and this key.
    async fn read_with_key<W: Write>(
        &self,
        output: &mut Output<'_, W>,
        dn: &str,
        key: &str,
        attributes: &[String],
    ) -> anyhow::Result<Option<Entry>> {
        let directory = &self.context.directory;
        let names: Vec<&str> = attributes.iter().map(String::as_str).collect();
        let entry = output.or_stop(Box::pin(directory.read_whole(dn, &names))).await??;
        Ok(entry.filter(|entry| self.index_key(entry).is_some_and(|found| found.text == key)))
    }
}
