//! Adds the entry of a record.

use ldap_directory::change::Change;
use ldap_directory::dn::DnKey;
use ldap_directory::{DirectoryError, WriteControl};

use crate::map::ENTRY_UUID;
use crate::map::wanted::{Wanted, WantedEntry};
use crate::rules::policy::Policy;
use crate::write::applier::Applier;
use crate::write::ldap_result::LdapResult;
use crate::write::outcome::{AttemptContext, WriteOutcome};

impl Applier {
    pub(super) async fn add(
        &self,
        wanted: &WantedEntry,
        key: &DnKey,
        context: &AttemptContext,
    ) -> Result<WriteOutcome, DirectoryError> {
        // Only `preserve_uuid` sets it.
        let has_uuid =
            |a: &Wanted| a.policy == Policy::CreateOnly && a.description.eq_ignore_ascii_case(ENTRY_UUID);
        let controls: &[WriteControl] =
            if wanted.attributes.iter().any(has_uuid) { &[WriteControl::RelaxRules] } else { &[] };
        let add = async || {
            // A password may have to be hashed first, for example.
            if wanted.account.is_empty()
                && controls.is_empty()
                && let Some(added) = self.directory.add_in_memory(key, || wanted.to_packed())
            {
                return added;
            }
            self.directory.apply_with(&Change::Add(self.new_entry(wanted).await?), controls).await
        };
        // What an answer refused is known not to be there.
        let refused = |error: &DirectoryError| matches!(error, DirectoryError::Operation { .. });
        let password = wanted.account.password.as_ref();
        match add().await {
            Ok(()) => {}
            Err(e) if e.is_no_such_object() => {
                Box::pin(self.withdraw(&wanted.dn, password)).await;
                if !self.can_be_placed_at(&wanted.dn, context).await? {
                    let mut answer = LdapResult::of(&e).unwrap_or_default();
                    if context.is_last_try {
                        answer.nearest = self.nearest.above(&self.directory, &wanted.dn).await;
                    }
                    return Ok(WriteOutcome::TooEarly(answer));
                }
                if let Err(e) = add().await {
                    if refused(&e) {
                        Box::pin(self.withdraw(&wanted.dn, password)).await;
                    }
                    return Err(e);
                }
            }
            Err(e) => {
                if refused(&e) {
                    Box::pin(self.withdraw(&wanted.dn, password)).await;
                }
                return Err(e);
            }
        }
        self.after_add(wanted).await?;
        Ok(WriteOutcome::Added)
    }
}
