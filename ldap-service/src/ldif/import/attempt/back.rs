//! What is changed before a record's own change, and is taken back if that is refused.

use ldap_directory::change::Change;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use target_ldap::write::claims::EntryClaims;
use target_ldap::write::destination::Destination;

use super::super::records::Action;
use super::{Attempt, Outcome};
use crate::write::{Watch, WriteError, emptied_by, take_back, without_nothing};

/// Takes back what was changed for a deletion, unless that was made. `before`: its entry.
pub(super) async fn taken_back(
    outcome: Outcome,
    changes: &[Change],
    before: &Entry,
    destination: &Destination,
) -> Outcome {
    match outcome {
        Outcome::Done(_) | Outcome::Left(_) => return outcome,
        Outcome::Again(_) | Outcome::Rejected(_) | Outcome::Failed(_) => {}
    }
    let left = take_back(changes, before, destination).await;
    if left.is_empty() {
        return outcome;
    }
    let with_left = |error: WriteError| {
        let detail = format!("{}; {}", without_nothing(&error.detail), left.join("; "));
        WriteError { detail, ..error }
    };
    match outcome {
        Outcome::Rejected(error) => Outcome::Rejected(with_left(error)),
        Outcome::Failed(error) => Outcome::Failed(with_left(error)),
        other => other,
    }
}

impl Attempt {
    /// Returns the changes that give the placeholder to the groups whose last member is to be deleted.
    pub(super) async fn emptied(&self, action: &Action, watch: &Watch) -> Result<Vec<Change>, WriteError> {
        if self.is_plan || !matches!(action, Action::Delete(_)) || watch.placeholder().is_none() {
            return Ok(Vec::new());
        }
        let preview = self.directory.clone().checked_preview();
        let preview = Destination::new(preview, self.territory.protection.clone());
        let followed = Box::pin(self.memberships.follow(watch, &preview, false)).await.whole()?;
        Ok(emptied_by(&followed, watch.placeholder()))
    }

    /// Deletes an entry that an earlier try of the record has added, now that the rest of it is refused.
    pub(super) async fn remove_added(&self, dn: &str, key: &DnKey) {
        let removed = match EntryClaims::default().permit(None, dn, key, false) {
            Ok(permit) => {
                self.destination.clone().with_gate(None).delete(&permit).await.map_err(|e| e.to_string())
            }
            Err(_) => Err("internal error: a deletion without permission".to_owned()),
        };
        match removed {
            Ok(()) => tracing::info!(dn, "import: `{dn}` is removed again: its record is refused"),
            Err(reason) => tracing::warn!(
                dn,
                "import: `{dn}` stays without the values that its record is refused for: {reason}"
            ),
        }
    }
}
