//! A write is made as a whole, or taken back: what a rule refuses beforehand, and what remains of a write that failed half-way.

use ldap_directory::change::Change;
use ldap_directory::dn::{first_rdn, split_first};
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::truth;
use ldap_directory::{Directory, DirectoryError, Scope};
use target_ldap::map::wanted::WantedEntry;
use target_ldap::map::{DeleteAction, Task};
use target_ldap::rules::accounts::{AccountLock, PWD_LAST_SET};
use target_ldap::rules::policy::Policy;
use target_ldap::rules::rule::Operations;
use target_ldap::write::destination::Destination;

use super::change_set::ChangeSet;
use super::fence::Fence;
use super::rules::ACTIVE;
use super::{ResourceKind, WriteError, WriteErrorKind, refusal};
use crate::lookup::find;
use crate::unseen;

/// Entries that a failed write left changed, with the reasons.
pub(super) type Left = Vec<(String, String)>;

fn forbidden(kind: ResourceKind, operation: &str, error: WriteErrorKind) -> WriteError {
    let setting = format!("write.mapping_rules.{}.operations", kind.stream());
    WriteError::new(error, format!("the service's rule does not allow this: {setting}.{operation} is false"))
}

/// Checks the rule's `operations` before anything is changed: what they forbid is neither left out silently nor done by half.
///
/// # Errors
/// The rule does not create entries, or not rename, or not change them.
pub(super) fn check_operations(
    operations: Operations,
    kind: ResourceKind,
    wanted: &WantedEntry,
    // The entry, and whether it is to get the DN of the rule.
    current: Option<(&str, bool)>,
    schema: &Schema,
) -> Result<(), WriteError> {
    let Some((current, is_placed)) = current else {
        return if operations.create {
            Ok(())
        } else {
            Err(forbidden(kind, "create", WriteErrorKind::NotAllowed))
        };
    };
    let rdn = |dn: &str| split_first(dn).map(|(rdn, _)| rdn.to_owned()).unwrap_or_default();
    let is_renamed = is_placed && rdn(current) != rdn(&wanted.dn);
    if !is_renamed {
        return Ok(());
    }
    let avas = first_rdn(&wanted.dn).ok().flatten().map(|rdn| rdn.avas).unwrap_or_default();
    if !operations.rename {
        let error = forbidden(kind, "rename", WriteErrorKind::Mutability);
        return Err(match avas.into_iter().next() {
            Some(ava) => error.of_attribute(ava.attribute),
            None => error,
        });
    }
    let is_named = |name: &str| avas.iter().any(|ava| schema.same_description(&ava.attribute, name));
    let has_more =
        wanted.attributes.iter().any(|a| a.policy != Policy::CreateOnly && !is_named(&a.description))
            || !wanted.account.is_empty();
    if !operations.update && has_more {
        return Err(forbidden(kind, "update", WriteErrorKind::NotAllowed));
    }
    Ok(())
}

/// Checks that the entry below which `on_delete` moves others is there.
///
/// # Errors
/// It is not: the setting is at fault, not the request.
pub(super) async fn check_place(
    directory: &Directory,
    kind: ResourceKind,
    task: &Task,
) -> Result<(), WriteError> {
    let Task::Delete { action, .. } = task else { return Ok(()) };
    let DeleteAction::MoveTo(place) = &**action else { return Ok(()) };
    let there = directory.read(place, &["1.1"]).await;
    if there.map_err(|e| refusal::of_directory(&e, directory.schema()))?.is_some() {
        return Ok(());
    }
    let setting = format!("write.mapping_rules.{}.on_delete", kind.stream());
    let detail = format!("{setting}.move_to: `{place}` is not there, or the service's user may not see it");
    tracing::error!(setting, "{detail}; nothing was deleted");
    Err(WriteError::new(WriteErrorKind::Misconfigured, detail))
}

/// Checks that an entry that was written is one of its kind.
///
/// # Errors
/// The filter does not match it: no list would have it, and a request for it would be 404.
pub(super) async fn check_listed(
    directory: &Directory,
    kind: ResourceKind,
    dn: &str,
    filter: &Filter,
) -> Result<(), WriteError> {
    let found = find(directory, dn, Scope::Base, filter.clone(), &["1.1"], 1).await;
    if !found.map_err(|e| refusal::of_directory(&e, directory.schema()))?.is_empty() {
        return Ok(());
    }
    let setting = format!("{}.filter", kind.stream());
    let detail = format!("{setting} does not match the entry as it would be: no list would have it");
    tracing::warn!(setting, dn, "a write is taken back: {detail}");
    Err(WriteError::new(WriteErrorKind::Invalid, detail))
}

/// Checks that an entry which a deletion keeps (`on_delete`) is none of its kind any more, or an account that cannot be used.
///
/// # Errors
/// The filter finds it, and it may log in: the setting is at fault, not the request.
pub(super) async fn check_gone(
    directory: &Directory,
    kind: ResourceKind,
    base: &str,
    listed: Filter,
    own_mark: Option<&str>,
) -> Result<(), WriteError> {
    let lock = AccountLock::of(directory.root_dse().vendor, directory.schema());
    let lock = lock.filter(|_| kind == ResourceKind::Users);
    let names: Vec<&str> =
        lock.map(AccountLock::attribute).into_iter().chain(own_mark).chain(["1.1"]).collect();
    let found = find(directory, base, Scope::Subtree, listed, &names, 1).await;
    let found = found.map_err(|e| refusal::of_directory(&e, directory.schema()))?;
    let Some(entry) = found.first() else { return Ok(()) };
    let is_false = |value: &Vec<u8>| std::str::from_utf8(value).is_ok_and(|text| truth(text) == Some(false));
    let values = own_mark.map(|name| directory.schema().values_of(entry, name)).unwrap_or_default();
    // Also a lock from a time on, which only the policy ends.
    let is_locked = |lock: AccountLock| {
        lock == AccountLock::PwdAccountLockedTime && !entry.values(lock.attribute()).is_empty()
            || lock.is_enabled(entry) == Some(false)
    };
    if lock.is_some_and(is_locked) || values.iter().any(is_false) {
        return Ok(());
    }
    let setting = format!("write.mapping_rules.{}.on_delete", kind.stream());
    let of = kind.stream();
    let detail = format!(
        "{setting}: `{}` would still be one of the {of}: move it out of {of}.base_dn, lock it, or set what {of}.filter leaves out; nothing was deleted",
        entry.dn
    );
    tracing::error!(setting, dn = entry.dn, "{detail}");
    Err(WriteError::new(WriteErrorKind::Misconfigured, detail))
}

/// Checks that an account is disabled or enabled, as a record asked: another client may have changed it at the same time, or the server.
/// Active Directory does not enable one without a password.
///
/// # Errors
/// It is not.
pub(super) async fn check_active(
    directory: &Directory,
    dn: &str,
    is_asked_for: bool,
) -> Result<(), WriteError> {
    let Some(lock) = AccountLock::of(directory.root_dse().vendor, directory.schema()) else { return Ok(()) };
    let entry = directory.read(dn, &[lock.attribute(), PWD_LAST_SET]).await;
    let Some(entry) = entry.map_err(|e| refusal::of_directory(&e, directory.schema()))? else {
        return Ok(());
    };
    let is_enabled = lock.is_enabled(&entry);
    if is_enabled == Some(is_asked_for) || is_asked_for && lock.lacks_password(&entry) {
        return Ok(());
    }
    let (asked, shown) = if is_asked_for { ("enabled", "disabled") } else { ("disabled", "enabled") };
    let detail = format!(
        "the account was to be {asked}, and the directory shows it as {shown}: another client or the server itself has changed `{}`",
        lock.attribute()
    );
    tracing::warn!(dn, "a write is taken back: {detail}");
    Err(WriteError::new(WriteErrorKind::Refused, detail).of_attribute(ACTIVE))
}

/// Checks that the service's user may read these attributes of an entry that was written.
///
/// # Errors
/// It may not: the answer could not be given.
pub(super) async fn check_readable(
    directory: &Directory,
    dn: &str,
    names: &[String],
) -> Result<(), WriteError> {
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let failed = |e: DirectoryError| refusal::of_directory(&e, directory.schema());
    let problem = match directory.read(dn, &names).await.map_err(failed)? {
        None => "the service's user may not read what it writes".to_owned(),
        Some(entry) => match unseen::hidden(directory, &entry, &names).await.map_err(failed)? {
            None => return Ok(()),
            Some(hidden) => unseen::problem(&hidden),
        },
    };
    tracing::error!(setting = "bind_dn", dn, "a write is taken back: {problem}");
    Err(WriteError::new(WriteErrorKind::Misconfigured, format!("bind_dn: {problem}; nothing was written")))
}

/// Takes back the changes of a write that failed. `is_new`: its entry was to be added. Returns what could not be taken back.
pub(super) async fn take_back(
    change_set: &ChangeSet,
    directory: &Directory,
    fence: &Fence,
    is_new: bool,
) -> Left {
    let made = fence.changes();
    // It would come back with another identifier, and without what cannot be read.
    if made.iter().any(|change| matches!(change, Change::Delete { .. })) {
        return Vec::new();
    }
    let left = change_set.take_back(directory, fence.protection()).await;
    let added = made.iter().find_map(|change| match change {
        Change::Add(entry) if is_new && !left.is_empty() => Some(entry.dn.as_str()),
        _ => None,
    });
    // The server may have completed it, so that it is not quite as it was added.
    let Some(dn) = added else { return left };
    let destination =
        Destination::new(directory.clone(), fence.protection()).taking_back(std::iter::once(dn));
    match destination.take_back(&Change::Delete { dn: dn.to_owned() }, &[]).await {
        Ok(()) => {
            change_set.undo().forget();
            Vec::new()
        }
        Err(error) if error.is_no_such_object() => Vec::new(),
        Err(error) => vec![(dn.to_owned(), error.to_string())],
    }
}

/// Returns the error of a write that failed, with what could not be taken back; the log names it, too.
pub(super) fn with_left(error: WriteError, left: &Left, dn: &str, undo_file: Option<&str>) -> WriteError {
    if left.is_empty() {
        return error;
    }
    let undo = undo_file.map_or_else(
        || "no undo file has it".to_owned(),
        |file| format!("target-ldap undo {file} does it, once the reason is gone"),
    );
    let mut detail = error.detail.clone();
    for (of, reason) in left {
        let dn = if of.is_empty() { dn } else { of };
        let what = format!("`{dn}` is changed in part, and that could not be taken back ({reason}): {undo}");
        tracing::error!(dn, undo_file, "{what}");
        detail = format!("{detail}; {what}");
    }
    WriteError { detail, ..error }
}
