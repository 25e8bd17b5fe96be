//! What the service's user may see of what an answer depends on.

use ldap_directory::Scope;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::lookup::find;

use super::links::Links;
use super::{Found, Kind, SAMPLE, Store};
use crate::error::ApiError;
use crate::members::{UID, primary};
use crate::scim::mapping::{Active, ResourceType};
use crate::scim::projection::Projection;
use crate::unseen::{Judgement, MANY};
use crate::{login, unseen};

impl Store<'_> {
    /// Returns the LDAP attributes that a projection of a resource depends on.
    pub(super) fn deciding<'k>(kind: &'k Kind, projection: &Projection) -> Vec<&'k str> {
        let mapping = &kind.mapping;
        let (core, fields) = (mapping.resource.schema(), mapping.fields.iter());
        let wanted = fields.filter(|f| projection.wants(mapping, &f.key.schema, &f.key.name));
        let mut names: Vec<&str> = wanted.map(|f| f.attribute.as_str()).collect();
        if let Some(Active::Lock(lock)) = mapping.active
            && projection.wants(mapping, core, "active")
        {
            names.push(lock.attribute());
            names.extend(login::days(lock));
        }
        if mapping.members.is_some() && projection.wants(mapping, core, "members") {
            names.extend(mapping.member_attributes());
            names.extend(mapping.has_primary_groups.then_some(primary::SID));
        }
        if mapping.resource == ResourceType::User && projection.wants(mapping, core, "groups") {
            names.extend(mapping.has_user_names.then_some(UID));
            let of_primary_groups = mapping.has_primary_groups.then_some([primary::PRIMARY, primary::SID]);
            names.extend(of_primary_groups.into_iter().flatten());
        }
        names
    }

    /// Whether an answer shows other things than its own entry: the version does not change with them.
    pub fn shows_others(&self, resource: ResourceType, projection: &Projection) -> Result<bool, ApiError> {
        let mapping = &self.kind(resource)?.mapping;
        let core = mapping.resource.schema();
        let mut users = mapping.fields.iter().filter(|f| f.is_user);
        Ok(users.any(|f| projection.wants(mapping, &f.key.schema, &f.key.name))
            || resource == ResourceType::User
                && self.groups.is_some()
                && projection.wants(mapping, core, "groups")
            // The days of an account begin and end without a change of it.
            || matches!(mapping.active, Some(Active::Lock(_))) && projection.wants(mapping, core, "active")
            || mapping.members.is_some() && projection.wants(mapping, core, "members"))
    }

    /// Returns the resource of an entry that was read, all of which the service's user may see.
    ///
    /// # Errors
    /// It may not: 500, for an attribute that it may not read looks like one that is not there.
    pub(super) async fn found(
        &self,
        kind: &Kind,
        entry: Entry,
        projection: &Projection,
        links: &Links,
    ) -> Result<Found, ApiError> {
        let hidden = unseen::hidden(&self.directory, &entry, &Self::deciding(kind, projection)).await?;
        if let Some(hidden) = hidden {
            return Err(hidden.into());
        }
        self.rendered(kind, entry, projection, links).await
    }

    /// The same for many entries, which are rendered already.
    pub(super) async fn check_seen(
        &self,
        kind: &Kind,
        entries: &[&Entry],
        projection: &Projection,
    ) -> Result<(), ApiError> {
        let (names, id) = (Self::deciding(kind, projection), kind.mapping.id.attribute.as_str());
        let hidden = unseen::hidden_of_many(&self.directory, &kind.base_dn, entries, id, &names).await?;
        hidden.map_or(Ok(()), |hidden| Err(hidden.into()))
    }

    /// Checks that the service's user may search attributes of a kind: if not, a filter finds nothing, whoever is there.
    pub(super) async fn check_searchable(&self, kind: &Kind, names: &[&str]) -> Result<(), ApiError> {
        let mut names = names.to_vec();
        names.sort_unstable();
        let key = format!("{} {}", kind.mapping.resource.name(), names.join(" "));
        let place = (kind.base_dn.as_str(), Scope::Subtree);
        let find_out = unseen::unsearchable(&self.directory, place, &kind.filter, &names, SAMPLE);
        let rights = &self.service.directory.rights;
        if let Some(hidden) = rights.get(key.clone(), find_out).await? {
            return Err(hidden.into());
        }
        // Rights may differ by entries.
        let find_out = unseen::unsearchable_among(&self.directory, &kind.base_dn, &kind.filter, &names, MANY);
        let hidden = self.service.directory.rights_of_many.get_of_many(key, find_out).await?;
        hidden.map_or(Ok(()), |hidden| Err(hidden.into()))
    }

    /// Checks that the filter of a kind is true or false for the entries below its base: where the service's user may not search what it
    /// compares, a list lacks entries as if they were gone.
    pub(super) async fn check_decided(&self, kind: &Kind) -> Result<(), ApiError> {
        let most = usize::try_from(MANY).ok();
        let place = (kind.base_dn.as_str(), Scope::Subtree);
        let find_out = unseen::undecided_below(&self.directory, place, &kind.filter, most);
        let key = format!("decided {}", kind.mapping.resource.name());
        let hidden = self.service.directory.rights_of_many.get_of_many(key, find_out).await?;
        hidden.map_or(Ok(()), |hidden| Err(hidden.into()))
    }

    /// Checks that an entry that was not found by its identifier is not one of which it cannot be known whether the filter of its kind
    /// matches it: 404 would say that it is gone.
    pub(super) async fn check_one_decided(&self, kind: &Kind, ids: Filter) -> Result<(), ApiError> {
        let found = find(&self.directory, &kind.base_dn, Scope::Subtree, ids, &[], SAMPLE).await?;
        for entry in found {
            if let Judgement::Undefined(Some(hidden)) =
                unseen::judge(&self.directory, &entry.dn, &kind.filter).await?
            {
                return Err(hidden.into());
            }
        }
        Ok(())
    }
}
