//! The chosen values of a plan (`unique`, `next`): another entry may have got one since the plan was made.

use ldap_directory::DirectoryError;
use ldap_directory::change::{Change, ModificationKind};
use ldap_directory::dn::{Dn, DnKey};

use super::PlannedNote;
use crate::write::destination::Destination;
use crate::write::generate::{base_of, other_holder};

/// Returns the values that a change gives to its entry.
pub(super) fn given(change: &Change) -> Vec<(String, Vec<u8>)> {
    let naming = |dn: &str| {
        let rdn = Dn::parse(dn).ok().and_then(|dn| dn.rdn().cloned());
        rdn.into_iter().flat_map(|rdn| rdn.avas).map(|ava| (ava.attribute, ava.value)).collect::<Vec<_>>()
    };
    match change {
        Change::Add(entry) => {
            let all = entry.attributes.iter();
            all.flat_map(|a| a.values.iter().map(|value| (a.description.clone(), value.clone()))).collect()
        }
        Change::Modify { changes, .. } => {
            let steps = changes.iter().filter(|step| step.kind != ModificationKind::Delete);
            steps.flat_map(|s| s.values.iter().map(|value| (s.description.clone(), value.clone()))).collect()
        }
        Change::Rename { .. } => change.new_dn().map(|dn| naming(&dn)).unwrap_or_default(),
        Change::Delete { .. } => Vec::new(),
    }
}

/// Returns the attribute of a planned change whose value another entry has by now, and that entry.
pub(super) async fn taken_since(
    directory: &Destination,
    planned: &PlannedNote,
    change: &Change,
) -> Result<Option<(String, String)>, DirectoryError> {
    let schema = directory.schema();
    if planned.plan.unique.is_empty() {
        return Ok(None);
    }
    let key = |dn: &str| DnKey::parse(dn, schema).unwrap_or_default();
    let own = key(change.dn());
    for (description, value) in given(change) {
        let is_it = |attribute: &str| schema.same_description(attribute, &description);
        let Some(unique) = planned.plan.unique.iter().find(|unique| is_it(&unique.attribute)) else {
            continue;
        };
        let counter = unique.counter.as_deref().map(key);
        // Its value is the next number, which any entry may have.
        if counter.as_ref() == Some(&own) {
            continue;
        }
        let except: Vec<DnKey> = counter.into_iter().chain([own.clone()]).collect();
        let base = base_of(directory, change.dn(), unique.base.as_deref());
        if let Some((other, _)) = other_holder(directory, &base, (&description, &value), &except).await? {
            return Ok(Some((unique.attribute.clone(), other)));
        }
    }
    Ok(None)
}
