//! The ways to delete an entry (`on_delete`).

use std::collections::BTreeMap;

use ldap_directory::change::Change;
use ldap_directory::dn::{Dn, DnError, DnKey, split, split_first};
use ldap_directory::protocol::result_code;
use ldap_directory::{DirectoryError, Scope, SearchRequest};

use super::applier::{ATTEMPTS, Applier};
use super::outcome::{AttemptContext, WriteOutcome};
use super::upsert::Upsert;
use crate::map::wanted::WantedAccount;
use crate::map::wanted::{Wanted, WantedEntry};
use crate::map::{DeleteAction, WritePolicy};
use crate::rules::rule::Operations;
use crate::write::claims::{DeleteDenied, DeletePermit};
use crate::write::ldap_result::LdapResult;

/// The most entries with one RDN that are moved to one place.
const NAMESAKES: u32 = 1_000;

/// Returns an RDN with a number after its first value: `cn=John Smith 2`.
fn numbered(rdn: &str, number: u32) -> Result<String, DnError> {
    let mut name = Dn::parse(rdn)?;
    if let Some(ava) = name.rdns.first_mut().and_then(|rdn| rdn.avas.first_mut()) {
        ava.value.extend_from_slice(format!(" {number}").as_bytes());
    }
    Ok(name.to_string())
}

/// Returns the change that moves an entry.
fn moving(dn: &str, new_rdn: &str, parent: &str) -> Change {
    Change::Rename {
        dn: dn.to_owned(),
        new_rdn: new_rdn.to_owned(),
        delete_old_rdn: true,
        new_superior: Some(parent.to_owned()),
    }
}

/// Returns the first change that `on_delete` would make to an entry; `None`: it makes none.
pub(crate) fn first_change(dn: &str, action: &DeleteAction) -> Option<Change> {
    Some(match action {
        DeleteAction::Nothing => return None,
        DeleteAction::Delete | DeleteAction::Tree => Change::Delete { dn: dn.to_owned() },
        DeleteAction::MoveTo(parent) => moving(dn, split_first(dn).unwrap_or_default().0, parent),
        DeleteAction::Set(_) => Change::Modify { dn: dn.to_owned(), changes: Vec::new() },
    })
}

impl Applier {
    /// Does what `on_delete` says. A missing entry is not an error.
    pub(super) async fn remove(
        &self,
        permit: &DeletePermit,
        action: &DeleteAction,
    ) -> Result<WriteOutcome, DirectoryError> {
        match action {
            DeleteAction::Nothing => Ok(WriteOutcome::Ignored),
            DeleteAction::Delete => match self.delete(permit).await {
                // Later records may delete the children.
                Err(e) if e.code() == Some(result_code::NOT_ALLOWED_ON_NON_LEAF) => {
                    Ok(WriteOutcome::TooEarly(LdapResult::of(&e).unwrap_or_default()))
                }
                result => result,
            },
            DeleteAction::Tree => self.delete_tree(permit).await,
            DeleteAction::MoveTo(parent) => self.move_to(permit, parent).await,
            DeleteAction::Set(attributes) => self.set(permit, attributes).await,
        }
    }

    async fn delete(&self, permit: &DeletePermit) -> Result<WriteOutcome, DirectoryError> {
        match self.directory.delete(permit).await {
            Ok(()) => Ok(WriteOutcome::Deleted),
            Err(e) if e.is_no_such_object() => Ok(WriteOutcome::Unchanged),
            Err(e) => Err(e),
        }
    }

    async fn set(
        &self,
        permit: &DeletePermit,
        attributes: &[Wanted],
    ) -> Result<WriteOutcome, DirectoryError> {
        let dn = permit.dn();
        let account = WantedAccount::default();
        let wanted = WantedEntry { dn: dn.to_owned(), attributes: attributes.to_vec(), account };
        let operations = Operations { create: false, ..Operations::default() };
        let write_policy = WritePolicy { operations, ..WritePolicy::default() };
        let context = AttemptContext { is_last_try: true, ..AttemptContext::default() };
        let key = self.key(dn).unwrap_or_default();
        match Box::pin(Upsert::new(self, None, &wanted, &key, None, &write_policy, &context, false).run())
            .await?
            .outcome
        {
            WriteOutcome::LeftAlone => Ok(WriteOutcome::Unchanged),
            outcome => {
                if matches!(outcome, WriteOutcome::Modified | WriteOutcome::Renamed) {
                    self.directory.removed(1);
                }
                Ok(outcome)
            }
        }
    }

    /// Moves an entry and its subtree under its own RDN. An entry that is already below the new parent stays.
    async fn move_to(&self, permit: &DeletePermit, parent: &str) -> Result<WriteOutcome, DirectoryError> {
        let dn = permit.dn();
        let fail = |code, text: String| DirectoryError::Operation {
            operation: "rename",
            dn: dn.to_owned(),
            code,
            matched: String::new(),
            text,
        };
        let invalid = |e: DnError| fail(result_code::INVALID_DN_SYNTAX, e.to_string());
        let schema = self.directory.schema();
        let parent_key = DnKey::parse(parent, schema).map_err(invalid)?;
        if DnKey::parse(dn, schema).map_err(invalid)?.is_within(&parent_key)
            || self.directory.read(dn, &["1.1"]).await?.is_none()
        {
            return Ok(WriteOutcome::Unchanged);
        }
        let rdn = split(dn).map_err(invalid)?.first().copied().unwrap_or_default().to_owned();
        let destination = format!("{rdn},{parent}");
        // Before a parent is made for it.
        self.directory.check(&moving(dn, &rdn, parent)).await?;
        // Before the rename, not after a refusal: slapd refuses with `other`, and does not say that the parent is missing. The
        // rule names the parent: no record is expected to add it.
        let context = AttemptContext { is_last_try: true, ..AttemptContext::default() };
        if !self.can_be_placed_at(&destination, &context).await? {
            let text = format!(
                "on_delete: `{parent}` is not there, and cannot be made from its name alone (create_parents)"
            );
            return Err(fail(result_code::NO_SUCH_OBJECT, text));
        }
        let with_it = if self.directory.counts_removals() {
            self.below(dn, "(objectClass=*)", |_| true).await?.len()
        } else {
            0
        };
        for number in 1..=NAMESAKES {
            // The RDN stays, so that no value is lost; Active Directory requires that ([MS-ADTS] 3.1.1.5.4.1.1). If the name is
            // taken, a number is added.
            let new_rdn = if number == 1 { rdn.clone() } else { numbered(&rdn, number).map_err(invalid)? };
            let change = moving(dn, &new_rdn, parent);
            match self.directory.apply(&change).await {
                Ok(()) => {
                    if number > 1 {
                        tracing::info!(
                            "on_delete: `{destination}` is taken; `{dn}` is `{new_rdn},{parent}` now"
                        );
                    }
                    self.directory.removed(1 + u64::try_from(with_it).unwrap_or(u64::MAX - 1));
                    return Ok(WriteOutcome::Moved);
                }
                Err(e) if e.code() == Some(result_code::ENTRY_ALREADY_EXISTS) => {}
                Err(e) => return Err(e),
            }
        }
        let text = format!("on_delete: `{destination}` is taken, and so are {NAMESAKES} names like it");
        Err(fail(result_code::ENTRY_ALREADY_EXISTS, text))
    }

    /// Deletes an entry and its subtree: in one operation if the server offers it, else one by one, children first.
    async fn delete_tree(&self, permit: &DeletePermit) -> Result<WriteOutcome, DirectoryError> {
        let dn = permit.dn();
        match self.directory.delete_tree(permit).await {
            Ok(true) => return Ok(WriteOutcome::Deleted),
            Ok(false) => {}
            Err(e) if e.is_no_such_object() => return Ok(WriteOutcome::Unchanged),
            Err(e) => return Err(e),
        }
        let mut attempt = 1;
        loop {
            match self.delete(permit).await {
                // Most entries have no children and need no search. Another client may add one meanwhile.
                Err(e) if e.code() == Some(result_code::NOT_ALLOWED_ON_NON_LEAF) && attempt <= ATTEMPTS => {
                    attempt += 1;
                }
                result => return result,
            }
            let below = self.below(dn, "(objectClass=*)", |_| true).await?;
            tracing::info!("on_delete: `{dn}` goes with {} entries below it", below.len());
            // Parents sort before their children.
            for (key, name) in below.iter().rev() {
                match self.claims.permit(None, name, key, false) {
                    Ok(permit) => self.delete(&permit).await?,
                    Err(DeleteDenied::Error(reason) | DeleteDenied::Kept(reason)) => {
                        return Ok(WriteOutcome::Kept(reason));
                    }
                };
            }
        }
    }

    /// Returns the DNs below an entry that pass a filter and a test; none if the entry does not exist. The search is paged, and
    /// only these DNs are kept.
    ///
    /// # Errors
    /// The search failed: an incomplete result is not returned.
    pub(crate) async fn below(
        &self,
        dn: &str,
        filter: &str,
        test: impl Fn(&DnKey) -> bool,
    ) -> Result<BTreeMap<DnKey, String>, DirectoryError> {
        let _one_at_a_time = self.trees.lock().await;
        let schema = self.directory.schema();
        let request = SearchRequest::new(dn, Scope::Subtree, filter, &["1.1"]).repeating();
        let mut names = BTreeMap::new();
        let mut search = match self.directory.search(request).await {
            Err(e) if e.is_no_such_object() => return Ok(names),
            search => search?,
        };
        let base = DnKey::parse(dn, schema).unwrap_or_default();
        loop {
            let entry = match search.next_entry().await {
                Err(e) if e.is_no_such_object() && names.is_empty() => return Ok(names),
                entry => entry?,
            };
            let Some(entry) = entry else { return Ok(names) };
            match DnKey::parse(&entry.dn, schema) {
                Ok(key) if key != base && test(&key) => {
                    names.insert(key, entry.dn);
                }
                _ => {}
            }
        }
    }
}
