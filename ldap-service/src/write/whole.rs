//! A write is made as a whole, or taken back: what a rule refuses beforehand, and what remains of a write that failed half-way.

use ldap_directory::change::Change;
use ldap_directory::dn::{first_rdn, split_first};
use ldap_directory::entry::Entry;
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
use super::disabled::LockCheck;
use super::fence::Fence;
use super::rules::ACTIVE;
use super::{EntryId, ResourceKind, WriteError, WriteErrorKind, Writer, refusal};
use crate::lookup::find;
use crate::unseen;

/// What the text of an error says at its end, unless something could not be taken back.
const NOTHING: [&str; 3] = ["; nothing was written", "; nothing was changed", "; nothing was deleted"];

/// Entries that a failed write left changed, with the reasons.
pub(super) type Left = Vec<(String, String)>;

/// Whether a task is a deletion that keeps the entry.
pub(super) fn keeps(task: &Task) -> bool {
    let Task::Delete { action, .. } = task else { return false };
    matches!(**action, DeleteAction::MoveTo(_) | DeleteAction::Set(_) | DeleteAction::SetAside(_))
}

/// Returns the entry below which a deletion moves an entry.
pub(crate) fn place_of(task: &Task) -> Option<&str> {
    let Task::Delete { action, .. } = task else { return None };
    action.move_to()
}

/// Whether a task is a deletion that does nothing.
pub(super) fn is_ignored(task: &Task) -> bool {
    matches!(task, Task::Delete { action, .. } if **action == DeleteAction::Nothing)
}

/// Returns the error of a deletion by a rule with `on_delete: ignore`.
pub(super) fn not_deleted(kind: ResourceKind) -> WriteError {
    let detail = format!("the service's rule does not delete ({}: ignore)", kind.rule_setting("on_delete"));
    WriteError::new(WriteErrorKind::NotAllowed, detail)
}

pub(super) fn forbidden(kind: ResourceKind, operation: &str, error: WriteErrorKind) -> WriteError {
    let setting = kind.rule_setting("operations");
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
    let Some(place) = place_of(task) else { return Ok(()) };
    let there = directory.read(place, &["1.1"]).await;
    if there.map_err(|e| refusal::of_directory(&e, directory.schema()))?.is_some() {
        return Ok(());
    }
    let setting = kind.rule_setting("on_delete");
    let detail = format!("{setting}.move_to: `{place}` is not there, or the service's user may not see it");
    tracing::error!(setting, "{detail}; nothing was deleted");
    Err(WriteError::new(WriteErrorKind::Misconfigured, detail))
}

/// Checks an entry that was written, by one read: it is one of its kind (`filter`), the account is disabled or enabled as the record says
/// (`asked`), and the service's user may read what the answer depends on. Returns it with these attributes (`more`); `None` if it is not there,
/// which nothing depends on.
///
/// # Errors
/// It is not so, or the service's user may not see it.
pub(super) async fn check_written(
    directory: &Directory,
    (kind, dn): (ResourceKind, &str),
    filter: Option<&Filter>,
    asked: Option<bool>,
    must_show: &[String],
    more: &[&str],
) -> Result<Option<Entry>, WriteError> {
    // What logins see, which is what the server shows.
    let directory = &directory.as_shown();
    let lock = AccountLock::of(directory.root_dse().vendor, directory.schema());
    let asked = lock.and_then(|lock| Some((lock, asked?)));
    let of_lock = asked.iter().flat_map(|(lock, _)| [lock.attribute(), PWD_LAST_SET]);
    let shown: Vec<&str> = must_show.iter().map(String::as_str).collect();
    let all = of_lock.chain(shown.iter().copied()).chain(more.iter().copied());
    let mut names: Vec<&str> = Vec::new();
    for name in all {
        if !names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            names.push(name);
        }
    }
    let wanted = filter.cloned().unwrap_or_else(|| Filter::Present("objectClass".to_owned()));
    let failed = |e: DirectoryError| refusal::of_directory(&e, directory.schema());
    let mut found = find(directory, dn, Scope::Base, wanted, &names, 1).await.map_err(failed)?;
    let Some(mut entry) = found.pop() else {
        return match filter {
            Some(filter) => Err(not_listed(directory, (kind, dn), filter).await?),
            None if must_show.is_empty() => Ok(None),
            None => Err(unseen_entry(dn, "the service's user may not see it")),
        };
    };
    if let Some((lock, is_asked_for)) = asked {
        check_active(directory, &entry, lock, is_asked_for).await?;
    }
    if let Some(hidden) = unseen::hidden(directory, &entry, &shown).await.map_err(failed)? {
        return Err(unseen_entry(dn, &unseen::problem(&hidden)));
    }
    directory.complete_ranges(&mut entry).await.map_err(failed)?;
    Ok(Some(entry))
}

/// Returns the error of an entry that no list would have, and a request for which would be 404: the filter of its kind does not match it, or
/// the service's user may not see it.
async fn not_listed(
    directory: &Directory,
    (kind, dn): (ResourceKind, &str),
    filter: &Filter,
) -> Result<WriteError, WriteError> {
    let failed = |e: DirectoryError| refusal::of_directory(&e, directory.schema());
    if directory.read(dn, &["1.1"]).await.map_err(failed)?.is_none() {
        return Ok(unseen_entry(dn, "the service's user may not see it"));
    }
    let (place, any) = ((dn, Scope::Base), Filter::Present("objectClass".to_owned()));
    let names = filter.attributes();
    if let Some(hidden) = unseen::unsearchable(directory, place, &any, &names, 1).await.map_err(failed)? {
        return Ok(unseen_entry(dn, &unseen::problem(&hidden)));
    }
    let setting = format!("{}.filter", kind.stream());
    let detail = format!("{setting} does not match the entry as it would be: no list would have it");
    tracing::warn!(setting, dn, "a write is taken back: {detail}");
    Ok(WriteError::new(WriteErrorKind::Invalid, detail))
}

/// Returns the error of an entry that the service's user has written, and may not see.
fn unseen_entry(dn: &str, problem: &str) -> WriteError {
    tracing::error!(setting = "bind_dn", dn, "a write is taken back: `{dn}`: {problem}");
    WriteError::new(WriteErrorKind::Misconfigured, format!("bind_dn: `{dn}`: {problem}{}", NOTHING[0]))
}

/// Checks that a new entry has an identifier that the service's user may read.
///
/// # Errors
/// It has none: no client could name it ever again.
pub(super) fn check_id(directory: &Directory, dn: &str, entry: Option<&Entry>) -> Result<(), WriteError> {
    if entry.is_some_and(|entry| EntryId::of(entry, directory).is_some()) {
        return Ok(());
    }
    let names = EntryId::attributes(directory).join(", ");
    Err(unseen_entry(dn, &format!("the service's user may not read its {names}")))
}

/// Checks what a deletion has kept (`on_delete`): its lock counts (`lock`, with the entry's DN by now), and none of the entries that
/// `listed` matches at `place` is one of its kind any more, or it is an account that cannot be used.
///
/// # Errors
/// The server ignores the lock; or the kind's filter finds it, and it may log in: the setting is at fault, not the request.
pub(crate) async fn check_kept(
    (writer, directory): (&Writer, &Directory),
    kind: ResourceKind,
    lock: Option<(&LockCheck, &str)>,
    (place, listed): ((&str, Scope), Filter),
) -> Result<(), WriteError> {
    if let Some((lock, dn)) = lock {
        Box::pin(lock.check(directory, dn)).await?;
    }
    let Some(filter) = writer.filter(kind, directory) else { return Ok(()) };
    let (listed, own_mark) = (Filter::And(vec![filter.clone(), listed]), writer.own_mark(kind));
    let lock = AccountLock::of(directory.root_dse().vendor, directory.schema());
    let lock = lock.filter(|_| kind == ResourceKind::Users);
    let names: Vec<&str> =
        lock.map(AccountLock::attribute).into_iter().chain(own_mark).chain(["1.1"]).collect();
    let found = find(directory, place.0, place.1, listed, &names, 1).await;
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
    let setting = kind.rule_setting("on_delete");
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
async fn check_active(
    directory: &Directory,
    entry: &Entry,
    lock: AccountLock,
    is_asked_for: bool,
) -> Result<(), WriteError> {
    let is_enabled = lock.is_enabled(entry);
    if is_enabled == Some(is_asked_for) || is_asked_for && lock.lacks_password(entry) {
        return Ok(());
    }
    let (asked, shown) = if is_asked_for { ("enabled", "disabled") } else { ("disabled", "enabled") };
    let name = lock.attribute();
    let own = if directory.tells_own_values() {
        let own = directory.own_values().read(&entry.dn, &[name]).await;
        own.map_err(|e| refusal::of_directory(&e, directory.schema()))?
    } else {
        None
    };
    let why = if own.is_some_and(|own| lock.is_enabled(&own) == Some(is_asked_for)) {
        format!("a role or a class of service computes `{name}`, and is changed itself{}", NOTHING[1])
    } else {
        format!("another client or the server itself has changed `{name}`")
    };
    let detail = format!("the account was to be {asked}, and the directory shows it as {shown}: {why}");
    tracing::warn!(dn = entry.dn, "a write is taken back: {detail}");
    Err(WriteError::new(WriteErrorKind::Refused, detail).of_attribute(ACTIVE))
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
    match destination.apply_unasked(&Change::Delete { dn: dn.to_owned() }, &[]).await {
        Ok(()) => {
            change_set.undo().forget();
            Vec::new()
        }
        // Also "not there", for the server has said that it was added.
        Err(error) => vec![(dn.to_owned(), error.to_string())],
    }
}

/// Returns the text of an error without its claim that nothing was written.
pub(crate) fn without_nothing(detail: &str) -> &str {
    NOTHING.iter().find_map(|claim| detail.strip_suffix(claim)).unwrap_or(detail)
}

/// Returns the error of a write that failed, with what could not be taken back; the log names it, too. Then it is no fault of the request,
/// after which nothing would have been done.
pub(super) fn with_left(error: WriteError, left: &Left, dn: &str, undo_file: Option<&str>) -> WriteError {
    if left.is_empty() {
        return error;
    }
    let undo = undo_file.map_or_else(
        || "no undo file has it".to_owned(),
        |file| format!("target-ldap undo {file} does it, once the reason is gone"),
    );
    let mut detail = without_nothing(&error.detail).to_owned();
    for (of, reason) in left {
        let dn = if of.is_empty() { dn } else { of };
        let what = format!("`{dn}` is changed in part, and that could not be taken back ({reason}): {undo}");
        tracing::error!(dn, undo_file, "{what}");
        detail = format!("{detail}; {what}");
    }
    let kind = if error.kind.status() < 500 { WriteErrorKind::Internal } else { error.kind };
    WriteError { kind, detail, ..error }
}
