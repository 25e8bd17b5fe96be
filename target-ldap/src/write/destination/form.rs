//! The form of a change: its controls, its times, and what it removes.

use std::borrow::Cow;
use std::collections::BTreeSet;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::entry::Attribute;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{Vendor, WriteControl};

use super::Destination;
use crate::write::inverse::are_apart;
use crate::write::undo::change_note::is_list_of_entries;

/// Returns controls with a condition in addition: a server accepts one assertion (RFC 4528).
pub(super) fn asserting(controls: &[WriteControl], condition: Filter) -> Vec<WriteControl> {
    let mut all = vec![condition];
    let mut others = Vec::new();
    for control in controls {
        match control {
            WriteControl::Assertion(filter) => all.push(filter.clone()),
            WriteControl::RelaxRules => others.push(control.clone()),
        }
    }
    let filter = match <[Filter; 1]>::try_from(all) {
        Ok([only]) => only,
        Err(all) => Filter::And(all),
    };
    others.push(WriteControl::Assertion(filter));
    others
}

/// Returns the values that a change removes, if it only adds and removes single values of lists of entries.
pub(super) fn values_removed(change: &Change, schema: &Schema) -> Option<Vec<Attribute>> {
    let Change::Modify { changes, .. } = change else { return None };
    let is_single = |step: &Modification| {
        let by_value = matches!(step.kind, ModificationKind::Add | ModificationKind::Delete);
        by_value && !step.values.is_empty() && is_list_of_entries(&step.description, schema)
    };
    let all: Vec<&Modification> = changes.iter().collect();
    let names: BTreeSet<String> =
        changes.iter().map(|step| schema.normal_description(&step.description)).collect();
    let is_apart = |name: &String| {
        let of: Vec<&Modification> =
            all.iter().copied().filter(|step| schema.same_description(&step.description, name)).collect();
        are_apart(&of, schema)
    };
    if !changes.iter().all(is_single) || !names.iter().all(is_apart) {
        return None;
    }
    let removed = names.into_iter().map(|name| {
        let of = |step: &&Modification| {
            step.kind == ModificationKind::Delete && schema.same_description(&step.description, &name)
        };
        let values = changes.iter().filter(of).flat_map(|step| step.values.iter().cloned()).collect();
        Attribute::new(name.clone(), values)
    });
    Some(removed.collect())
}

impl Destination {
    /// Returns a change with its times as Active Directory writes them, with a fraction (`20300101100000.0Z`): Samba accepts no other
    /// form ([MS-ADTS] 3.1.1.2.2.2.11 has it as well).
    pub(super) fn in_the_servers_form<'c>(&self, change: &'c Change) -> Cow<'c, Change> {
        if self.directory.root_dse().vendor != Vendor::ActiveDirectory {
            return Cow::Borrowed(change);
        }
        let schema = self.directory.schema();
        let is_time = |name: &str| ValueKind::of(schema, name) == ValueKind::GeneralizedTime;
        let has_times = match change {
            Change::Add(entry) => entry.attributes.iter().map(|a| &*a.description).any(is_time),
            Change::Modify { changes, .. } => changes.iter().any(|m| is_time(&m.description)),
            Change::Delete { .. } | Change::Rename { .. } => false,
        };
        if !has_times {
            return Cow::Borrowed(change);
        }
        let with_fraction = |values: &mut Vec<Vec<u8>>| {
            for value in values {
                if let Some(seconds) = value.strip_suffix(b"Z")
                    && seconds.len() == 14
                    && seconds.iter().all(u8::is_ascii_digit)
                {
                    *value = [seconds, b".0Z"].concat();
                }
            }
        };
        let mut change = change.clone();
        match &mut change {
            Change::Add(entry) => {
                for attribute in entry.attributes.iter_mut().filter(|a| is_time(&a.description)) {
                    with_fraction(&mut attribute.values);
                }
            }
            Change::Modify { changes, .. } => {
                for modification in changes.iter_mut().filter(|m| is_time(&m.description)) {
                    with_fraction(&mut modification.values);
                }
            }
            Change::Delete { .. } | Change::Rename { .. } => {}
        }
        Cow::Owned(change)
    }
}
