//! Brings an entry back that was set aside (`on_delete.then`).

use ldap_directory::DirectoryError;
use ldap_directory::dn::split_first;
use ldap_directory::entry::Entry;

use super::super::account::ModifyPlan;
use super::super::locate::Located;
use super::super::set_aside::{Return, not_understood};
use super::Upsert;
use crate::map::wanted::WantedEntry;
use crate::plan::marker::Marked;
use crate::rules::names::to_ask;

impl Upsert<'_> {
    /// Notes that the entry was set aside, and reads what is to come back. The error: its marker is not understood.
    pub(super) async fn note_return(
        &mut self,
        located: &mut Located,
    ) -> Result<Result<(), String>, DirectoryError> {
        self.back = None;
        let (Located::Named(entry) | Located::Elsewhere(entry)) = located else { return Ok(Ok(())) };
        let Some(grace) = &self.write_policy.grace else { return Ok(Ok(())) };
        let schema = self.applier.directory.schema();
        let mut found = Marked::of_entry(entry, &grace.marker, schema);
        if let Marked::Since(marker, _) = &found {
            let names = to_ask(self.names_to_read(), marker.set.iter().map(|set| set.description.as_str()));
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            if let Some(again) = self.applier.directory.read(&entry.dn, &names).await? {
                found = Marked::of_entry(&again, &grace.marker, schema);
                *entry = again;
            }
        }
        match found {
            Marked::Not => {}
            Marked::Unknown(reason) => return Ok(Err(not_understood(&entry.dn, &grace.marker, reason))),
            Marked::Since(marker, _) => self.back = Some(marker),
        }
        Ok(Ok(()))
    }

    /// Whether an entry that was set aside got another RDN there, with a number.
    pub(super) fn has_number(&self, now: &str) -> bool {
        let rdn = |dn: &str| split_first(dn).map(|(rdn, _)| rdn.to_owned()).ok();
        self.back.as_deref().is_some_and(|marker| rdn(&marker.dn) != rdn(now))
    }

    /// Returns the modifications that bring an entry back that was set aside, with those of its record; `None`: it was not.
    pub(super) async fn plan_return(
        &self,
        dn: &str,
        wanted: &WantedEntry,
        current: &Entry,
    ) -> Result<Option<ModifyPlan>, DirectoryError> {
        let (Some(marker), Some(grace)) = (&self.back, &self.write_policy.grace) else { return Ok(None) };
        let Return { mut steps, entry, changed } =
            self.applier.returning(marker, &grace.marker, current, wanted).await?;
        if !changed.is_empty() {
            tracing::warn!(
                dn,
                "`{dn}` comes back, and `{}` stays as it is: somebody has changed it since the entry was set aside",
                changed.join("`, `")
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
