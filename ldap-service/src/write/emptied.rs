//! Groups that a deletion would empty: they get the placeholder before the entry goes, for a server may refuse a member that is not there
//! (slapo-memberof(5), `memberof-dangling`), and an entry that was deleted does not come back.

use ldap_directory::change::{Change, ModificationKind};
use ldap_directory::protocol::result_code;
use target_ldap::write::destination::Destination;

use super::{WriteError, WriteErrorKind, refusal};

/// Returns those of the planned changes of groups that put the placeholder in the place of the last member.
pub(super) fn of(followed: &[Change], placeholder: Option<&str>) -> Vec<Change> {
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
pub(super) async fn change_first(changes: &[Change], destination: &Destination) -> Result<(), WriteError> {
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
        let detail = format!(
            "the entry is the last member of `{group}`, and the server refuses the placeholder in its place (write.mapping_rules.groups.empty_group): {}; nothing was deleted",
            refused.detail
        );
        tracing::warn!(setting = "write.mapping_rules.groups.empty_group", dn = group, "{detail}");
        return Err(WriteError { kind: WriteErrorKind::LastMember, detail, groups: vec![group], ..refused });
    }
    Ok(())
}
