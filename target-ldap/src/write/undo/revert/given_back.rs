//! What the server took out of other entries with an entry that it deleted, and what nobody gives back: passwords of accounts.

use ldap_directory::change::{Change, ModificationKind};
use ldap_directory::filter::Filter;
use ldap_directory::{DirectoryError, Vendor};

use super::{Report, RevertOutcome, Reverter, is_refusal};

/// The password of Active Directory, which nobody can read.
pub(in crate::write) const PASSWORD: &str = "unicodePwd";
/// What only accounts have.
const ACCOUNT: &str = "userAccountControl";

impl Reverter<'_> {
    /// Gives names back that the server took out with the deletion of an entry, unless they are there. What cannot be given back is
    /// reported, and the entry's other changes are undone all the same.
    pub(super) async fn give_back(
        &self,
        back: &[Change],
        report: &mut Report,
    ) -> Result<RevertOutcome, DirectoryError> {
        let mut outcome = RevertOutcome::NotInEffect;
        for change in back {
            match self.give(change, report).await {
                Ok(None) => {}
                Ok(Some(given)) => outcome = given,
                Err(e) if is_refusal(&e) => {
                    let why =
                        format!("the names that the server took out with a deleted entry are not back: {e}");
                    report.withheld.entry(change.dn().to_owned()).or_default().insert(why);
                    outcome = RevertOutcome::Refused;
                }
                Err(e) => return Err(e),
            }
        }
        Ok(outcome)
    }

    /// `None`: they are there.
    async fn give(
        &self,
        change: &Change,
        report: &mut Report,
    ) -> Result<Option<RevertOutcome>, DirectoryError> {
        let Change::Modify { dn, changes } = change else { return Ok(None) };
        let schema = self.directory.schema();
        let (mut missing, mut is_given) = (Vec::new(), false);
        for step in changes {
            let [value] = &*step.values else { continue };
            let is_added = step.kind == ModificationKind::Add;
            // The deletion was not made.
            if is_added && self.names.is_some_and(|names| !names.has(value, schema)) {
                return Ok(None);
            }
            let filter = Filter::equality(&step.description, value.clone());
            if self.directory.is_as(dn, &filter).await? == is_added {
                continue;
            }
            let refused = |owner: &usize| report.refused.contains_key(owner);
            let gift = (&*step.description, &**value);
            let names = self.names.filter(|_| is_added);
            if let Some(why) = names.and_then(|names| names.objection_to_gift(gift, refused, schema)) {
                report.withheld.entry(dn.clone()).or_default().insert(why);
                return Ok(Some(RevertOutcome::Refused));
            }
            is_given |= is_added;
            missing.push(step.clone());
        }
        if !is_given {
            return Ok(None);
        }
        let change = Change::Modify { dn: dn.clone(), changes: missing };
        self.directory.apply_unasked(&change, &[]).await?;
        Ok(Some(RevertOutcome::TakenBack))
    }

    /// Notes accounts of Active Directory that were added again: nobody has their passwords.
    pub(super) fn note_password(&self, back: &[Change], report: &mut Report) {
        if self.directory.root_dse().vendor != Vendor::ActiveDirectory {
            return;
        }
        for change in back {
            if let Change::Add(entry) = change
                && !entry.values(ACCOUNT).is_empty()
            {
                report.without_password.insert(entry.dn.clone());
            }
        }
    }
}
