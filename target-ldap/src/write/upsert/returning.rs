//! Brings an entry back that was set aside (`on_delete.then`).

use ldap_directory::DirectoryError;
use ldap_directory::dn::split_first;
use ldap_directory::entry::Entry;

use super::super::account::ModifyPlan;
use super::super::locate::Located;
use super::super::set_aside::{Return, doubtful, warn_of_stray};
use super::Upsert;
use crate::map::wanted::WantedEntry;
use crate::plan::standing::{Aside, Standing};
use crate::rules::names::to_ask;

impl Upsert<'_> {
    /// Notes that the entry was set aside, and reads what is to come back. The error: that is not known, or nothing in the entry proves that
    /// it is this record's. `is_found_by_filter`: whether `match` has found it.
    pub(super) async fn note_return(
        &mut self,
        located: &mut Located,
        is_found_by_filter: bool,
    ) -> Result<Result<(), String>, DirectoryError> {
        self.back = None;
        let (Located::Named(entry) | Located::Elsewhere(entry)) = located else { return Ok(Ok(())) };
        let Some(grace) = &self.write_policy.grace else { return Ok(Ok(())) };
        let schema = self.applier.directory.schema();
        if !grace.is_marked(entry, schema) {
            return Ok(Ok(()));
        }
        let names = to_ask(self.names_to_read(), grace.attributes());
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if let Some(again) = self.applier.directory.read(&entry.dn, &names).await? {
            *entry = again;
        }
        match self.applier.standing(grace, entry) {
            Standing::InUse => {}
            Standing::Stray(reason) => warn_of_stray(&entry.dn, &grace.marker, &reason),
            Standing::Doubtful(reason) => return Ok(Err(doubtful(&entry.dn, &grace.marker, &reason))),
            Standing::Aside(_) if !is_found_by_filter => {
                return Ok(Err(format!(
                    "`{}` was set aside by on_delete, and `match` does not find it: nothing says that it is this record's entry; rename or delete it, or give the record another DN",
                    entry.dn
                )));
            }
            Standing::Aside(aside) => self.back = Some(aside),
        }
        Ok(Ok(()))
    }

    /// Whether an entry that was set aside got another RDN there, with a number.
    pub(super) fn has_number(&self, now: &str) -> bool {
        let rdn = |dn: &str| split_first(dn).map(|(rdn, _)| rdn.to_owned()).ok();
        self.back.as_deref().is_some_and(|aside| rdn(&aside.marker.dn) != rdn(now))
    }

    /// Returns the modifications that bring an entry back that was set aside, with those of its record; `None`: it was not.
    pub(super) async fn plan_return(
        &self,
        dn: &str,
        wanted: &WantedEntry,
        current: &Entry,
    ) -> Result<Option<ModifyPlan>, DirectoryError> {
        let (Some(aside), Some(grace)) = (&self.back, &self.write_policy.grace) else { return Ok(None) };
        let Aside { marker, foreign, .. } = &**aside;
        let Return { mut steps, entry, changed } =
            self.applier.returning(marker, &grace.marker, current, wanted).await?;
        if !changed.is_empty() {
            tracing::warn!(
                dn,
                "`{dn}` comes back, and `{}` stays as it is: somebody has changed it since the entry was set aside",
                changed.join("`, `")
            );
        }
        if !foreign.is_empty() {
            tracing::warn!(
                dn,
                attribute = foreign.join(","),
                "`{dn}` comes back, and `{}` stays as it is: its marker has values of it, and on_delete.set does not name it",
                foreign.join("`, `")
            );
        }
        tracing::info!(dn, "`{dn}` comes back: it was set aside on {}", marker.deleted.date_naive());
        if !self.write_policy.operations.update {
            return Ok(Some(ModifyPlan { changes: steps, ..ModifyPlan::default() }));
        }
        let mut planned = self.applier.planned(wanted, &entry).await?;
        steps.append(&mut planned.changes);
        Ok(Some(ModifyPlan { changes: steps, ..planned }))
    }
}
