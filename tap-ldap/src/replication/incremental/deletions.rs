//! `track_deletions`: a pass over the keys of all entries finds those that no longer exist.

use std::io::Write;

use ldap_directory::entry::EntryView as _;

use super::read::{IncrementalRead, Window};
use crate::output::Output;
use crate::replication::conclude::conclude;
use crate::replication::stream_run::StreamRun;
use crate::replication::verify::{expect, verify};

impl IncrementalRead<'_> {
    /// Reads the keys of all entries, and emits deletions of those that no longer exist.
    pub(super) async fn find_deletions<W: Write>(
        &mut self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        if run.index.is_none() {
            return Ok(());
        }
        let mut keys = run.stream.key_properties.clone();
        keys.retain(|k| k != "dn");
        if keys.is_empty() {
            keys.push("1.1".to_owned());
        }
        let expected = output.or_stop(expect(run.context, run.source, false)).await??;
        let mut entries = self.open(run, &self.filter(Window::default()), &keys, vec![]).await?;
        expected.begin(&mut entries);
        let mut records = 0;
        while let Some(entry) = output.next_of(&mut entries).await?? {
            run.listed(&entry)?;
            records += 1;
            if run.has_unread() {
                self.read_listed(run, output).await?;
            }
        }
        self.read_listed(run, output).await?;
        let attributes = self.attributes.clone();
        let outcome = entries.outcome();
        drop(entries);
        let mut completeness = Box::pin(verify(run, expected, outcome, output)).await?;
        completeness.records(records);
        // The version of an earlier read is already activated.
        let version = if self.is_incomplete { run.version } else { None };
        let is_complete = Box::pin(conclude(run, version, &completeness, output)).await?;
        run.settle_renames(output, &attributes, is_complete).await?;
        if is_complete {
            self.is_incomplete = false;
            self.index = run.emit_deletions(output)?;
        } else if run.has_no_deletions()? {
            // The entries of the pass were emitted, and there is nothing else to emit.
            self.index = run.save_index()?;
        }
        run.emit_holders(output, &attributes).await
    }

    /// Reads and emits listed entries that no position shows: those that are visible or exist again with an older key value, and
    /// those with another DN and no newer value.
    async fn read_listed<W: Write>(
        &self,
        run: &mut StreamRun<'_>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let directory = &run.context.directory;
        let wanted: Vec<&str> = self.attributes.iter().map(String::as_str).collect();
        for (key, dn) in run.take_unread()? {
            let Some(mut entry) = output.or_stop(directory.read(&dn, &wanted)).await?? else {
                run.forget_unread(key, &dn)?;
                continue;
            };
            if entry.has_values_in_options() {
                output.or_stop(directory.complete_ranges(&mut entry)).await??;
            }
            if !(self.is_delta && run.is_ignored(&entry) && !run.has_other_dn(&entry)?) {
                run.emit(output, &entry)?;
            }
        }
        Ok(())
    }
}
