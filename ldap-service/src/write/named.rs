//! Under which descriptions a group has a name: `member`, `member;lang-en`, or a subtype. A filter of `member` matches all of them, and so
//! does a login. A change names one of them.

use std::collections::HashSet;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, Scope};

use super::{TakenOut, WriteError, WriteErrorKind, refusal};
use crate::lookup;
use crate::members;

/// The names in one filter.
const AT_ONCE: usize = 200;

/// A name with the attribute of members that was searched for it.
pub(super) type Name = (String, Vec<u8>);

/// Returns the descriptions under which a group shows a name, of those that a filter of `attribute` matches. Reads all of its members.
///
/// # Errors
/// The directory fails.
pub(super) async fn descriptions(
    directory: &Directory,
    group: &str,
    (attribute, name): (&str, &[u8]),
) -> Result<Vec<String>, DirectoryError> {
    let schema = directory.schema();
    let asked = members::with_subtypes(attribute, schema);
    let Some(entry) = directory.read_whole(group, &asked).await? else { return Ok(Vec::new()) };
    let has = |value: &Vec<u8>| schema.values_match(attribute, value, name);
    let found = members::attributes(&entry, &[attribute], schema).into_iter();
    Ok(found.filter(|a| a.values.iter().any(has)).map(|a| a.description.clone()).collect())
}

/// Returns those of some names that a group still has, as a login finds it by them.
///
/// # Errors
/// The directory fails.
pub(super) async fn still(
    directory: &Directory,
    group: &str,
    names: &[Name],
) -> Result<Vec<Name>, DirectoryError> {
    let mut found = Vec::new();
    for some in names.chunks(AT_ONCE) {
        let equal = |(attribute, name): &Name| Filter::equality(attribute.as_str(), name.clone());
        let any = Filter::Or(some.iter().map(equal).collect());
        if lookup::find(directory, group, Scope::Base, any, &["1.1"], 1).await?.is_empty() {
            continue;
        }
        for one in some {
            if !lookup::find(directory, group, Scope::Base, equal(one), &["1.1"], 1).await?.is_empty() {
                found.push(one.clone());
            }
        }
    }
    Ok(found)
}

/// Returns where a group has a name, for people.
pub(super) async fn place(directory: &Directory, group: &str, (attribute, name): (&str, &[u8])) -> String {
    let found = descriptions(directory, group, (attribute, name)).await.unwrap_or_default();
    if found.is_empty() {
        return format!("a form of `{attribute}` that the service's user may not read");
    }
    let found: Vec<String> = found.iter().map(|description| format!("`{description}`")).collect();
    found.join(", ")
}

/// Returns the error of a group that has names which a write was to take out of it.
pub(super) async fn kept(directory: &Directory, group: &str, names: &[Name]) -> WriteError {
    let Some((attribute, name)) = names.first() else {
        return WriteError::new(WriteErrorKind::Internal, "internal error: no name");
    };
    let place = place(directory, group, (attribute, name)).await;
    let more = if names.len() > 1 { format!(", and {} more names", names.len() - 1) } else { String::new() };
    let name = String::from_utf8_lossy(name);
    let detail = format!(
        "the group `{group}` still has the name `{name}` in {place}{more}: the directory does not remove it there"
    );
    tracing::error!(dn = group, "{detail}");
    let error = WriteError::new(WriteErrorKind::Refused, detail).of_attribute(attribute.as_str());
    WriteError { groups: vec![group.to_owned()], ..error }
}

/// Checks that a group has none of the members any more that a write has taken out of it. `attributes`: in which groups name members.
///
/// # Errors
/// It has one, under a description that the write did not change.
pub(super) async fn check_taken_out(
    directory: &Directory,
    group: &str,
    attributes: &[String],
    changes: &[Change],
    taken_out: &[TakenOut],
) -> Result<(), WriteError> {
    let schema = directory.schema();
    let made = Removals::of(changes, schema);
    let mut names: Vec<Name> = Vec::new();
    // A rule may keep one (`empty_group: keep_last`).
    for TakenOut { description, value } in taken_out.iter().filter(|one| made.have(one, schema)) {
        let is_user_name = members::is_of(description, members::MEMBER_UID, schema);
        let user_name = is_user_name.then(|| members::MEMBER_UID.to_owned());
        let of_dn = attributes.iter().filter(|_| !is_user_name).cloned();
        names.extend(of_dn.chain(user_name).map(|attribute| (attribute, value.clone())));
    }
    let failed = |e: DirectoryError| refusal::of_directory(&e, schema);
    let left = still(directory, group, &names).await.map_err(failed)?;
    if left.is_empty() { Ok(()) } else { Err(kept(directory, group, &left).await) }
}

/// What changes remove from attributes.
struct Removals<'c>(Vec<(&'c Modification, HashSet<Vec<u8>>)>);

impl<'c> Removals<'c> {
    fn of(changes: &'c [Change], schema: &Schema) -> Removals<'c> {
        let steps = changes.iter().filter_map(|change| match change {
            Change::Modify { changes, .. } => Some(changes),
            _ => None,
        });
        let with_normal = |step: &'c Modification| {
            let rule = schema.equality(&step.description);
            (step, step.values.iter().map(|value| rule.normalize(value, schema).into_owned()).collect())
        };
        Removals(steps.flatten().map(with_normal).collect())
    }

    /// Whether they take a member out of its group.
    fn have(&self, TakenOut { description, value }: &TakenOut, schema: &Schema) -> bool {
        let value = schema.equality(description).normalize(value, schema);
        let of = self.0.iter().filter(|(step, _)| schema.same_description(&step.description, description));
        of.into_iter().any(|(step, values)| match step.kind {
            ModificationKind::Delete => values.is_empty() || values.contains(&*value),
            ModificationKind::Replace => !values.contains(&*value),
            ModificationKind::Add | ModificationKind::Increment => false,
        })
    }
}
