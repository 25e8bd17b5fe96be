//! Names that the server takes out of other entries with a deleted one: an undo gives them back.

use std::collections::BTreeMap;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchRequest, lookup};

use super::{Destination, not_made};
use crate::rules::names::ENTRY_IDS;
use crate::write::undo::change_note::{self, ChangeKind, ChangeNote, Trace, value_digest};
use crate::write::undo::{Announced, Undo};

/// A name that the server takes out.
struct Named<'a> {
    dn: &'a str,
    attribute: &'a str,
    /// What the server writes instead of the last value.
    placeholder: Option<&'a str>,
}

impl Named<'_> {
    fn is(&self, value: &str) -> Filter {
        Filter::equality(self.attribute, value)
    }
}

impl Destination {
    /// Announces what the server takes out of other entries with a deletion, before that: the undo, which goes backwards, adds the entry
    /// first. Nothing of it is kept in memory.
    ///
    /// # Errors
    /// A search fails, or the journal: the deletion must not be made.
    pub(super) async fn note_taken_out(
        &self,
        undo: &Undo,
        change: &Change,
    ) -> Result<Vec<Announced>, DirectoryError> {
        let mut announced = Vec::new();
        if let (Change::Delete { dn }, Directory::Ldap(_)) = (change, &self.directory) {
            let noted = Box::pin(self.note_names(undo, dn, &mut announced)).await;
            noted.inspect_err(|_| announced.iter().for_each(|one| undo.void(*one)))?;
        }
        Ok(announced)
    }

    async fn note_names(
        &self,
        undo: &Undo,
        dn: &str,
        announced: &mut Vec<Announced>,
    ) -> Result<(), DirectoryError> {
        let Some(taken) = undo.taken_with_entries(&self.directory).await? else { return Ok(()) };
        let schema = self.directory.schema();
        let known = taken.attributes.iter().filter(|name| schema.attribute_type(name).is_some());
        let placeholder = taken.placeholder.as_deref();
        let names: Vec<Named<'_>> = known.map(|attribute| Named { dn, attribute, placeholder }).collect();
        let any = Filter::Or(names.iter().map(|name| name.is(dn)).collect());
        for base in self.directory.root_dse().data_bases() {
            // Most entries are in no group, or in few.
            let place = (base, Scope::Subtree);
            match lookup::sample(&self.directory, place, any.clone(), &["1.1"], 1).await {
                Err(e) if e.is_no_such_object() => continue,
                found if found.as_ref().is_ok_and(Vec::is_empty) => continue,
                found => found?,
            };
            for name in &names {
                self.note_name(undo, base, name, announced).await?;
            }
        }
        Ok(())
    }

    async fn note_name(
        &self,
        undo: &Undo,
        base: &str,
        name: &Named<'_>,
        announced: &mut Vec<Announced>,
    ) -> Result<(), DirectoryError> {
        let schema = self.directory.schema();
        let own = DnKey::parse(name.dn, schema).ok();
        let request = SearchRequest {
            paging: Paging::Configured,
            // Without the values: a group may have many.
            ..SearchRequest::new(base, Scope::Subtree, name.is(name.dn), &ENTRY_IDS)
        };
        let mut search = self.directory.search(request.repeating()).await?;
        while let Some(holder) = search.next_entry().await? {
            // The entry itself comes back with what it has.
            if DnKey::parse(&holder.dn, schema).ok() != own {
                announced.push(self.note_holder(undo, &holder, name).await?);
            }
        }
        Ok(())
    }

    async fn note_holder(
        &self,
        undo: &Undo,
        holder: &Entry,
        name: &Named<'_>,
    ) -> Result<Announced, DirectoryError> {
        let schema = self.directory.schema();
        let digest = |value: &str| value_digest(name.attribute, value.as_bytes(), schema);
        let step = |kind, value: &str| Modification::new(kind, name.attribute, vec![value.into()]);
        let mut trace = Trace { went: vec![digest(name.dn)], ..Trace::default() };
        let mut changes = Vec::new();
        if let Some(placeholder) = name.placeholder
            && !self.is_as(&holder.dn, &name.is(placeholder)).await?
        {
            trace.came.push(digest(placeholder));
            changes.push(step(ModificationKind::Delete, placeholder));
        }
        changes.push(step(ModificationKind::Add, name.dn));
        let note = ChangeNote {
            of: ChangeKind::Modify,
            id: change_note::id(holder, schema),
            attributes: BTreeMap::from([(schema.normal_description(name.attribute), trace)]),
            by_server: true,
            ..ChangeNote::plain(&holder.dn)
        };
        let back = [Change::Modify { dn: holder.dn.clone(), changes }];
        undo.announce(&note, &back).map_err(not_made)
    }
}
