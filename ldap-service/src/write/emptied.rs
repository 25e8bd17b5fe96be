//! Groups that a deletion would empty: they get the placeholder before the entry goes, for a server may refuse a member that is not there
//! (slapo-memberof(5), `memberof-dangling`), and an entry that was deleted does not come back.

use ldap_directory::change::{Change, ModificationKind};
use ldap_directory::entry::Entry;
use ldap_directory::protocol::result_code;
use target_ldap::write::destination::Destination;
use target_ldap::write::inverse::inverse;

use super::{ResourceKind, WriteError, WriteErrorKind, refusal};

/// Returns those of the planned changes of groups that put the placeholder in the place of the last member.
pub(crate) fn of(followed: &[Change], placeholder: Option<&str>) -> Vec<Change> {
    let is_one = |change: &&Change| {
        let Change::Modify { changes, .. } = change else { return false };
        let added = changes.iter().filter(|step| step.kind == ModificationKind::Add);
        added
            .flat_map(|step| &step.values)
            .any(|value| Some(value.as_slice()) == placeholder.map(str::as_bytes))
    };
    followed.iter().filter(is_one).cloned().collect()
}

/// Makes these changes.
///
/// # Errors
/// The server refuses one: [`WriteErrorKind::LastMember`] with the group.
pub(crate) async fn change_first(changes: &[Change], destination: &Destination) -> Result<(), WriteError> {
    let destination = destination.clone().with_gate(None).noting_values(true);
    for change in changes {
        let Err(error) = destination.apply(change).await else { continue };
        // It is another client's, or gone.
        if error.code() == Some(result_code::NO_SUCH_ATTRIBUTE) || error.is_no_such_object() {
            continue;
        }
        let refused = refusal::of_directory(&error, destination.schema());
        if matches!(
            refused.kind,
            WriteErrorKind::Unavailable | WriteErrorKind::OutcomeUnknown | WriteErrorKind::Undo
        ) {
            return Err(refused);
        }
        let group = change.dn().to_owned();
        let setting = ResourceKind::Groups.rule_setting("empty_group");
        let detail = format!(
            "the entry is the last member of `{group}`, and the server refuses the placeholder in its place ({setting}): {}; nothing was deleted",
            refused.detail
        );
        tracing::warn!(setting, dn = group, "{detail}");
        return Err(WriteError { kind: WriteErrorKind::LastMember, detail, groups: vec![group], ..refused });
    }
    Ok(())
}

/// Takes changes back that belong to a deletion which is not made, the last one first. `before`: the entry before it; groups are changed by
/// values, and need none. What was not made needs nothing. Returns what stays changed.
pub(crate) async fn take_back(changes: &[Change], before: &Entry, destination: &Destination) -> Vec<String> {
    let destination = destination.clone().with_gate(None).noting_values(true);
    let (mut left, mut is_over) = (Vec::new(), false);
    let schema = destination.schema();
    for change in changes.iter().rev().flat_map(|change| inverse(change, Some(before), schema)) {
        let why = if is_over {
            "it was not tried".to_owned()
        } else {
            match destination.apply_unasked(&change, &[]).await {
                Ok(()) => continue,
                Err(e) if e.is_no_such_object() || e.code().is_some_and(is_so_already) => continue,
                Err(e) => {
                    is_over = e.is_connection();
                    refusal::of_directory(&e, schema).detail
                }
            }
        };
        let dn = change.dn();
        let what =
            format!("`{dn}` stays changed, though the deletion that it was changed for is refused: {why}");
        tracing::error!(dn, "{what}");
        left.push(what);
    }
    left
}

/// Whether a server refuses with this code to take back what was not made.
fn is_so_already(code: u32) -> bool {
    matches!(code, result_code::NO_SUCH_ATTRIBUTE | result_code::ATTRIBUTE_OR_VALUE_EXISTS)
}
