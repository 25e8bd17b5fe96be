//! The ways to delete an entry (`on_delete`).

use std::collections::BTreeMap;

use ldap_directory::change::Change;
use ldap_directory::dn::{Dn, DnError, DnKey, split, split_first};
use ldap_directory::oid;
use ldap_directory::protocol::result_code;
use ldap_directory::{DirectoryError, Scope, SearchRequest, WriteControl};

use super::applier::{ATTEMPTS, Applier};
use super::outcome::{Attempt, AttemptContext, WriteOutcome};
use super::removal::HeldRemoval;
use super::upsert::Upsert;
use crate::map::wanted::WantedAccount;
use crate::map::wanted::{Wanted, WantedEntry};
use crate::map::{DeleteAction, WritePolicy};
use crate::rules::rule::Operations;
use crate::write::claims::{DeleteDenied, DeletePermit};
use crate::write::ldap_result::LdapResult;

/// The most entries with one RDN that are moved to one place.
const NAMESAKES: u32 = 1_000;

fn counted(entries: usize) -> u64 {
    u64::try_from(entries).unwrap_or(u64::MAX - 1)
}

/// Returns an RDN with a number after its first value: `cn=John Smith 2`.
fn numbered(rdn: &str, number: u32) -> Result<String, DnError> {
    let mut name = Dn::parse(rdn)?;
    if let Some(ava) = name.rdns.first_mut().and_then(|rdn| rdn.avas.first_mut()) {
        ava.value.extend_from_slice(format!(" {number}").as_bytes());
    }
    Ok(name.to_string())
}

/// A move of an entry that may be made.
#[derive(Debug)]
pub(super) struct Move {
    rdn: String,
    destination: String,
    /// The number of entries below it.
    pub(super) below: u64,
}

fn refused(dn: &str, code: u32, text: String) -> DirectoryError {
    DirectoryError::Operation { operation: "rename", dn: dn.to_owned(), code, matched: String::new(), text }
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
        DeleteAction::Delete | DeleteAction::Tree | DeleteAction::Expire => {
            Change::Delete { dn: dn.to_owned() }
        }
        DeleteAction::MoveTo(_) | DeleteAction::Set(_) | DeleteAction::SetAside(_) => {
            match action.move_to() {
                Some(parent) => moving(dn, split_first(dn).unwrap_or_default().0, parent),
                None => Change::Modify { dn: dn.to_owned(), changes: Vec::new() },
            }
        }
    })
}

impl Applier {
    /// Does what `on_delete` says. A missing entry is not an error. `named`: the DN that the record gives its entry.
    pub(super) async fn remove(
        &self,
        permit: &DeletePermit,
        named: Option<&str>,
        action: &DeleteAction,
    ) -> Result<Attempt, DirectoryError> {
        match action {
            DeleteAction::Nothing => Ok(WriteOutcome::Ignored.into()),
            DeleteAction::Delete => match self.delete(permit).await {
                // Later records may delete the children.
                Err(e) if e.code() == Some(result_code::NOT_ALLOWED_ON_NON_LEAF) => {
                    Ok(WriteOutcome::TooEarly(LdapResult::of(&e).unwrap_or_default()).into())
                }
                result => result.map(Into::into),
            },
            DeleteAction::Tree => self.delete_tree(permit).await,
            DeleteAction::MoveTo(parent) => self.move_to(permit, named, parent).await,
            DeleteAction::Set(attributes) => self.set(permit, attributes).await.map(Into::into),
            DeleteAction::SetAside(aside) => Box::pin(self.set_aside(permit, named, aside)).await,
            DeleteAction::Expire => match self.delete(permit).await {
                Err(e) if e.code() == Some(result_code::NOT_ALLOWED_ON_NON_LEAF) => {
                    let dn = permit.dn();
                    Ok(WriteOutcome::Kept(format!(
                        "`{dn}` was set aside, its days are over, and it stays, for there are entries below it: delete or move them"
                    ))
                    .into())
                }
                result => result.map(Into::into),
            },
        }
    }

    /// Deletes an entry, if the limits of the run and the condition of its permit allow it.
    pub(super) async fn delete(&self, permit: &DeletePermit) -> Result<WriteOutcome, DirectoryError> {
        match self.hold(permit.dn(), 0, 1).await {
            Ok(mut held) => self.delete_held(permit, &mut held).await,
            Err(limit) => Ok(WriteOutcome::LimitReached(limit)),
        }
    }

    /// Deletes an entry that is counted already.
    async fn delete_held(
        &self,
        permit: &DeletePermit,
        held: &mut HeldRemoval,
    ) -> Result<WriteOutcome, DirectoryError> {
        match self.directory.delete(permit).await {
            Ok(()) => {
                held.made_one();
                Ok(WriteOutcome::Deleted)
            }
            Err(e) if e.is_no_such_object() => Ok(WriteOutcome::Unchanged),
            Err(e) if permit.condition().is_some() && e.code() == Some(result_code::ASSERTION_FAILED) => {
                self.outcome_of_departed(permit).await
            }
            Err(e) => {
                if e.is_outcome_unknown() {
                    held.made_one();
                }
                Err(e)
            }
        }
    }

    async fn set(
        &self,
        permit: &DeletePermit,
        attributes: &[Wanted],
    ) -> Result<WriteOutcome, DirectoryError> {
        let dn = permit.dn();
        if let Some(outcome) = self.departed(permit).await? {
            return Ok(outcome);
        }
        let held = match self.hold(dn, 0, 1).await {
            Ok(held) => held,
            Err(limit) => return Ok(WriteOutcome::LimitReached(limit)),
        };
        let account = WantedAccount::default();
        let wanted = WantedEntry {
            dn: dn.to_owned(),
            attributes: attributes.to_vec(),
            references: Vec::new(),
            account,
        };
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
                    held.made_all();
                    self.directory.removed(1);
                }
                Ok(outcome)
            }
        }
    }

    /// Moves an entry and its subtree under its own RDN.
    async fn move_to(
        &self,
        permit: &DeletePermit,
        named: Option<&str>,
        parent: &str,
    ) -> Result<Attempt, DirectoryError> {
        let may = match self.may_move(permit, named, parent).await? {
            Ok(may) => may,
            Err(attempt) => return Ok(attempt),
        };
        let below = may.below;
        let held = match self.hold(permit.dn(), below, 1).await {
            Ok(held) => held,
            Err(limit) => return Ok(WriteOutcome::LimitReached(limit).into()),
        };
        let moved = self.make_move(permit, parent, &may, true, held).await?;
        Ok(moved.map_or_else(|attempt| attempt, |_| Attempt { below, ..WriteOutcome::Moved.into() }))
    }

    /// Returns the move of an entry, or the outcome if it stays. An entry that is already below the new parent stays. If its record says
    /// that it belongs there, no earlier deletion moved it: then nobody would notice that it never leaves.
    pub(super) async fn may_move(
        &self,
        permit: &DeletePermit,
        named: Option<&str>,
        parent: &str,
    ) -> Result<Result<Move, Attempt>, DirectoryError> {
        let dn = permit.dn();
        let stays = |outcome: WriteOutcome| Ok(Err(outcome.into()));
        let invalid = |e: DnError| refused(dn, result_code::INVALID_DN_SYNTAX, e.to_string());
        let schema = self.directory.schema();
        let parent_key = DnKey::parse(parent, schema).map_err(invalid)?;
        let key = DnKey::parse(dn, schema).map_err(invalid)?;
        if self.directory.read(dn, &["1.1"]).await?.is_none() {
            return stays(WriteOutcome::Unchanged);
        }
        let is_there = |dn: &str| DnKey::parse(dn, schema).is_ok_and(|key| key.is_within(&parent_key));
        if key == parent_key {
            let reason = format!("on_delete: `{dn}` stays: it is the entry that move_to names");
            return stays(WriteOutcome::NotMoved(reason));
        }
        if parent_key.is_within(&key) {
            let reason = format!("on_delete: move_to is `{parent}`, which is below `{dn}` itself");
            return stays(WriteOutcome::Refused(reason));
        }
        if key.is_within(&parent_key) {
            let Some(named) = named.filter(|named| is_there(named)) else {
                return stays(WriteOutcome::Unchanged);
            };
            let reason = format!(
                "on_delete: `{dn}` stays: it is below move_to (`{parent}`) already, and so is the place that its record has for it (`{named}`)"
            );
            return stays(WriteOutcome::NotMoved(reason));
        }
        if let Some(outcome) = self.departed(permit).await? {
            return stays(outcome);
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
            return Err(refused(dn, result_code::NO_SUCH_OBJECT, text));
        }
        let below = counted(self.below(dn, "(objectClass=*)", |_| true).await?.len());
        Ok(Ok(Move { rdn, destination, below }))
    }

    /// Moves an entry, and returns its new DN; or the outcome if it stays. `is_first`: it is the first change that the permit allows, and no
    /// other has counted the entry as removed.
    pub(super) async fn make_move(
        &self,
        permit: &DeletePermit,
        parent: &str,
        may: &Move,
        is_first: bool,
        held: HeldRemoval,
    ) -> Result<Result<String, Attempt>, DirectoryError> {
        let dn = permit.dn();
        let Move { rdn, destination, below } = may;
        let condition = permit.condition().filter(|_| is_first);
        let condition = condition.map(|filter| WriteControl::Assertion(filter.clone()));
        for number in 1..=NAMESAKES {
            // The RDN stays, so that no value is lost; Active Directory requires that ([MS-ADTS] 3.1.1.5.4.1.1). If the name is
            // taken, a number is added.
            let new_rdn = if number == 1 {
                rdn.clone()
            } else {
                numbered(rdn, number)
                    .map_err(|e| refused(dn, result_code::INVALID_DN_SYNTAX, e.to_string()))?
            };
            let change = moving(dn, &new_rdn, parent);
            match self.directory.apply_with(&change, condition.as_slice()).await {
                Ok(()) => {
                    let now = format!("{new_rdn},{parent}");
                    if number > 1 {
                        tracing::info!("on_delete: `{destination}` is taken; `{dn}` is `{now}` now");
                    }
                    held.made_all();
                    self.directory.removed(u64::from(is_first) + below);
                    return Ok(Ok(now));
                }
                Err(e) if e.code() == Some(result_code::ENTRY_ALREADY_EXISTS) => {}
                Err(e) if condition.is_some() && e.code() == Some(result_code::ASSERTION_FAILED) => {
                    return self.outcome_of_departed(permit).await.map(|outcome| Err(outcome.into()));
                }
                Err(e) => {
                    if e.is_outcome_unknown() {
                        held.made_all();
                    }
                    return Err(e);
                }
            }
        }
        let text = format!("on_delete: `{destination}` is taken, and so are {NAMESAKES} names like it");
        Err(refused(dn, result_code::ENTRY_ALREADY_EXISTS, text))
    }

    /// Deletes an entry and its subtree: in one operation if the server offers it, else one by one, children first.
    async fn delete_tree(&self, permit: &DeletePermit) -> Result<Attempt, DirectoryError> {
        let dn = permit.dn();
        // What a server deletes in one operation cannot be counted before.
        if self.limits.is_none() && self.directory.root_dse().supports_control(oid::TREE_DELETE) {
            if let Some(outcome) = self.departed(permit).await? {
                return Ok(outcome.into());
            }
            match self.directory.delete_tree(permit).await {
                Ok(true) => return Ok(WriteOutcome::Deleted.into()),
                Ok(false) => {}
                Err(e) if e.is_no_such_object() => return Ok(WriteOutcome::Unchanged.into()),
                Err(e) => return Err(e),
            }
        }
        let (mut attempt, mut gone) = (1, 0);
        let mut listed: BTreeMap<DnKey, String> = BTreeMap::new();
        loop {
            let mut held = match self.hold(dn, counted(listed.len()), counted(listed.len() + 1)).await {
                Ok(held) => held,
                Err(limit) => return Ok(Attempt { below: gone, ..WriteOutcome::LimitReached(limit).into() }),
            };
            if !listed.is_empty() {
                tracing::info!("on_delete: `{dn}` goes with {} entries below it", listed.len());
            }
            // Parents sort before their children.
            for (key, name) in listed.iter().rev() {
                let outcome = match self.claims.permit(None, name, key, false) {
                    Ok(permit) => self.delete_held(&permit, &mut held).await?,
                    Err(DeleteDenied::Error(reason) | DeleteDenied::Kept(reason)) => {
                        return Ok(Attempt { below: gone, ..WriteOutcome::Kept(reason).into() });
                    }
                };
                gone += u64::from(outcome == WriteOutcome::Deleted);
            }
            match self.delete_held(permit, &mut held).await {
                // Most entries have no children and need no search. Another client may add one meanwhile.
                Err(e) if e.code() == Some(result_code::NOT_ALLOWED_ON_NON_LEAF) && attempt <= ATTEMPTS => {
                    attempt += 1;
                }
                result => return Ok(Attempt { below: gone, ..result?.into() }),
            }
            drop(held);
            listed = self.below(dn, "(objectClass=*)", |_| true).await?;
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
