//! The rules of `write.mapping_rules` for the records of an import: `operations`, and `on_delete` of what a record deletes.
//!
//! The rule of a record is that of the kind whose base is the nearest above its entry. If users and groups have one base, the filters tell
//! them apart; an entry that neither matches must be allowed by both.

use ldap_directory::change::Change;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::{Directory, DirectoryError, Scope};
use serde_json::Map;
use target_ldap::map::Task;
use target_ldap::rules::rule::Operations;

use super::whole::{self, check_place, forbidden, keeps};
use super::{ResourceKind, Territory, WriteError, WriteErrorKind, Writer, refusal};
use crate::lookup::find;

/// The rule of a kind.
#[derive(Debug, Clone)]
pub(crate) struct ImportRule {
    pub(crate) kind: ResourceKind,
    filter: Filter,
    operations: Operations,
    /// What a deletion is, of no entry yet.
    deletion: Task,
    /// Protected attributes that the rule itself writes.
    pub(crate) own: Vec<String>,
}

/// What an import does in place of a deletion.
#[derive(Debug, Clone)]
pub(crate) struct KeptDeletion {
    /// The task that does it.
    pub(crate) task: Task,
    pub(crate) rule: ImportRule,
}

/// The rules of all kinds.
#[derive(Debug, Clone, Default)]
pub(crate) struct ImportRules(Vec<ImportRule>);

impl ImportRules {
    /// Returns those of a configuration.
    ///
    /// # Errors
    /// A rule does not fit the directory.
    pub(crate) fn of(writer: &Writer, directory: &Directory) -> Result<ImportRules, WriteError> {
        let mut rules = Vec::new();
        for kind in [ResourceKind::Users, ResourceKind::Groups] {
            let Some(filter) = writer.filter(kind, directory).cloned() else { continue };
            let rule = writer.rule(kind, directory)?;
            let mapping = rule.mapping(&Map::new(), directory).map_err(|e| refusal::of_settings(&e))?;
            let deletion = mapping.deletion(None, None);
            let (operations, own) = (rule.rule.operations, rule.own_attributes(directory));
            rules.push(ImportRule { kind, filter, operations, deletion, own });
        }
        Ok(ImportRules(rules))
    }

    /// Returns the rules that an entry has to keep. `added`: the entry as it would be, if it is new.
    async fn of_entry(
        &self,
        directory: &Directory,
        territory: &Territory,
        (key, dn): (&DnKey, &str),
        added: Option<&Entry>,
    ) -> Result<Vec<&ImportRule>, WriteError> {
        let kinds = territory.kinds_of(key);
        let all: Vec<&ImportRule> = self.0.iter().filter(|rule| kinds.contains(&rule.kind)).collect();
        if all.len() < 2 {
            return Ok(all);
        }
        let mut own = Vec::new();
        for rule in &all {
            let is_one = if let Some(entry) = added {
                // Undefined: the server may find it by a rule of its own, or by what it adds itself.
                rule.filter.matches(entry, directory.schema()) != Some(false)
            } else {
                let found = find(directory, dn, Scope::Base, rule.filter.clone(), &["1.1"], 1).await;
                !found.map_err(|e| refusal::of_directory(&e, directory.schema()))?.is_empty()
            };
            own.extend(is_one.then_some(*rule));
        }
        Ok(if own.is_empty() { all } else { own })
    }

    /// Checks that the rules allow a change of an entry that is there.
    ///
    /// # Errors
    /// They do not: [`WriteErrorKind::NotAllowed`].
    pub(crate) async fn check_change(
        &self,
        directory: &Directory,
        territory: &Territory,
        change: &Change,
    ) -> Result<(), WriteError> {
        let key = territory.key(change.dn())?;
        for rule in self.of_entry(directory, territory, (&key, change.dn()), None).await? {
            let (is_allowed, operation) = match change {
                Change::Rename { .. } => (rule.operations.rename, "rename"),
                _ => (rule.operations.update, "update"),
            };
            if !is_allowed {
                return Err(forbidden(rule.kind, operation, WriteErrorKind::NotAllowed));
            }
        }
        Ok(())
    }

    /// Checks that the rules allow an entry to be added. Returns the error of one that is there, and must not be changed.
    ///
    /// # Errors
    /// It is not there, and they do not: [`WriteErrorKind::NotAllowed`].
    pub(crate) async fn check_entry(
        &self,
        directory: &Directory,
        territory: &Territory,
        entry: &Entry,
    ) -> Result<Option<WriteError>, WriteError> {
        let failed = |e: DirectoryError| refusal::of_directory(&e, directory.schema());
        let key = territory.key(&entry.dn)?;
        if self.0.iter().all(|rule| rule.operations.create && rule.operations.update) {
            return Ok(None);
        }
        let is_there = directory.read(&entry.dn, &["1.1"]).await.map_err(failed)?.is_some();
        let added = Some(entry).filter(|_| !is_there);
        for rule in self.of_entry(directory, territory, (&key, &entry.dn), added).await? {
            if !is_there && !rule.operations.create {
                return Err(forbidden(rule.kind, "create", WriteErrorKind::NotAllowed));
            }
            if is_there && !rule.operations.update {
                return Ok(Some(forbidden(rule.kind, "update", WriteErrorKind::NotAllowed)));
            }
        }
        Ok(None)
    }

    /// Returns what is done in place of a deletion; `None`: the entry is deleted.
    ///
    /// # Errors
    /// The rules do not allow it: [`WriteErrorKind::NotAllowed`]; or `on_delete` names an entry that is not there.
    pub(crate) async fn deletion(
        &self,
        directory: &Directory,
        territory: &Territory,
        dn: &str,
    ) -> Result<Option<KeptDeletion>, WriteError> {
        let key = territory.key(dn)?;
        let rules = self.of_entry(directory, territory, (&key, dn), None).await?;
        for rule in &rules {
            if !rule.operations.delete {
                return Err(forbidden(rule.kind, "delete", WriteErrorKind::NotAllowed));
            }
            if whole::is_ignored(&rule.deletion) {
                return Err(whole::not_deleted(rule.kind));
            }
        }
        let kept = rules.into_iter().find(|rule| keeps(&rule.deletion));
        let Some(rule) = kept.cloned() else { return Ok(None) };
        let mut task = rule.deletion.clone();
        if let Task::Delete { dn: of, .. } = &mut task {
            *of = Some(dn.to_owned());
        }
        check_place(directory, rule.kind, &task).await?;
        Ok(Some(KeptDeletion { task, rule }))
    }
}
