//! Changes that would name an entry that is left as it is: nobody would be there by that name, and the next entry of that name would
//! inherit what a group grants.

use std::collections::{BTreeMap, BTreeSet};

use ldap_directory::change::{Change, ModificationKind};
use ldap_directory::dn::DnKey;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;

use super::carrier::Objection;
use super::reader::{PlanError, PlanReader};
use crate::write::undo::entities::Entities;

/// Returns the entries whose changes give a name that an entry would only have got by the plan, and does not get.
pub(super) fn of_refused(
    plan: &mut PlanReader,
    entities: &Entities,
    refused: &BTreeMap<usize, Objection>,
    schema: &Schema,
) -> Result<BTreeMap<usize, Objection>, PlanError> {
    let key = |dn: &str| DnKey::parse(dn, schema).ok();
    let mut missing = BTreeSet::new();
    for step in entities.steps.iter().filter(|step| refused.contains_key(&step.entity)) {
        let (planned, change) = plan.load(step.number)?;
        let adds = matches!(change, Some(Change::Add(_))) || planned.plan.is_left;
        let name = if adds { Some(step.dn.as_str()) } else { step.to.as_deref() };
        missing.extend(name.and_then(key));
    }
    let mut found = BTreeMap::new();
    if missing.is_empty() {
        return Ok(found);
    }
    for step in entities.steps.iter().filter(|step| !refused.contains_key(&step.entity)) {
        let (planned, Some(change)) = plan.load(step.number)? else { continue };
        let Some((attribute, value)) =
            given(&change, schema, &|dn| key(dn).is_some_and(|key| missing.contains(&key)))
        else {
            continue;
        };
        let reason = format!("`{attribute}` would name `{value}`, which is left as it is");
        let stream = planned.plan.record.as_ref().map(|record| record.stream.clone());
        let objection = Objection { dn: step.dn.clone(), stream, attribute: Some(attribute), reason };
        found.entry(step.entity).or_insert(objection);
    }
    Ok(found)
}

/// Returns the first name of these that a change gives to an entry, with its attribute.
fn given(change: &Change, schema: &Schema, is_meant: &dyn Fn(&str) -> bool) -> Option<(String, String)> {
    let values: Vec<(&String, &Vec<Vec<u8>>)> = match change {
        Change::Add(entry) => entry.attributes.iter().map(|a| (&a.description, &a.values)).collect(),
        Change::Modify { changes, .. } => {
            let given = changes.iter().filter(|step| step.kind != ModificationKind::Delete);
            given.map(|step| (&step.description, &step.values)).collect()
        }
        Change::Delete { .. } | Change::Rename { .. } => Vec::new(),
    };
    let references = values.into_iter().filter(|(name, _)| ValueKind::of(schema, name).is_name());
    let mut names = references.flat_map(|(name, values)| {
        values.iter().filter_map(move |value| Some((name, std::str::from_utf8(value).ok()?)))
    });
    names.find(|(_, dn)| is_meant(dn)).map(|(name, dn)| (name.clone(), dn.to_owned()))
}
