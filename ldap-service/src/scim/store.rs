//! Resources in the directory: found by id, read, listed.

mod links;
mod list;
mod write;

use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchRequest};
use serde_json::Value;

use super::filter::FilterLimits;
use super::mapping::{Context, Mapping, NONE, ResourceType};
use super::projection::Projection;
use super::resource::{Related, Renderer};
use crate::error::ApiError;
use crate::service::Service;
use crate::write::{EntryId, EntryRef, ResourceKind};

use links::Links;
pub use write::Written;

/// The searches of one request that are in progress at once.
const AT_ONCE: usize = 8;

/// The entries of a resource type.
#[derive(Debug)]
struct Kind {
    mapping: Mapping,
    base_dn: String,
    base: DnKey,
    filter: Filter,
}

/// The directory as SCIM sees it, for one request.
#[derive(Debug)]
pub struct Store<'s> {
    service: &'s Service,
    directory: Directory,
    /// The base of all URIs.
    base: String,
    users: Kind,
    groups: Option<Kind>,
}

/// An entry that was read, with its resource.
#[derive(Debug)]
pub struct Found {
    /// The entry.
    pub entry: Entry,
    /// The whole resource, as far as it was read.
    pub resource: Value,
    /// The members of a group that were read: the DN, and the id of a user or group.
    members: Vec<(String, Option<String>)>,
}

impl Found {
    /// Returns `meta.version`.
    pub fn version(&self) -> Option<&str> {
        self.resource.get("meta")?.get("version")?.as_str()
    }

    /// Returns `meta.location`.
    pub fn location(&self) -> Option<&str> {
        self.resource.get("meta")?.get("location")?.as_str()
    }
}

fn misconfigured(errors: &[String]) -> ApiError {
    tracing::error!(setting = "scim", "{}", errors.join("; "));
    let detail = format!("the service's SCIM settings do not fit the directory: {}", errors.join("; "));
    ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "misconfigured", detail)
}

impl<'s> Store<'s> {
    /// Returns the store of a request. `base`: of all URIs.
    ///
    /// # Errors
    /// The directory is not open, or the mapping does not fit it.
    pub fn open(service: &'s Service, base: String) -> Result<Self, ApiError> {
        let directory = service.directory.get()?;
        let config = &service.config;
        let users = &config.users;
        let users =
            kind(service, &directory, ResourceType::User, &users.base_dn, &users.filter, &users.scim)?;
        let groups = match &config.groups {
            Some(g) => Some(kind(service, &directory, ResourceType::Group, &g.base_dn, &g.filter, &g.scim)?),
            None => None,
        };
        Ok(Self { service, directory, base, users, groups })
    }

    fn kind(&self, resource: ResourceType) -> Result<&Kind, ApiError> {
        match resource {
            ResourceType::User => Ok(&self.users),
            ResourceType::Group => {
                self.groups.as_ref().ok_or_else(|| ApiError::not_found("the service has no setting `groups`"))
            }
        }
    }

    /// Returns the mapping of a resource type.
    ///
    /// # Errors
    /// 404 if groups are not configured.
    pub fn mapping(&self, resource: ResourceType) -> Result<&Mapping, ApiError> {
        self.kind(resource).map(|kind| &kind.mapping)
    }

    /// Returns the mappings of all resource types.
    pub fn mappings(&self) -> Vec<&Mapping> {
        std::iter::once(&self.users).chain(&self.groups).map(|kind| &kind.mapping).collect()
    }

    /// Returns the base of all URIs.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Returns the bounds of filters and paths.
    pub fn filter_limits(&self) -> FilterLimits {
        FilterLimits::terms(self.service.config.limits.filter_terms)
    }

    fn schema(&self) -> &Schema {
        self.directory.schema()
    }

    /// Returns the LDAP attributes to read.
    fn attributes(kind: &Kind, with_members: bool) -> Vec<String> {
        let mut names: Vec<String> = kind.mapping.own_attributes().into_iter().map(str::to_owned).collect();
        names.extend(kind.mapping.fields.iter().map(|f| f.attribute.clone()));
        names.extend(kind.mapping.members.clone().filter(|_| with_members));
        names.sort_unstable_by_key(|name| name.to_ascii_lowercase());
        names.dedup_by(|a, b| a.eq_ignore_ascii_case(b));
        names
    }

    /// Finds the entry with an id, with these attributes.
    async fn entry_of(
        &self,
        kind: &Kind,
        id: &str,
        attributes: &[String],
    ) -> Result<Option<Entry>, ApiError> {
        let Some(value) = kind.mapping.id.to_value(id) else { return Ok(None) };
        let by_id = Filter::equality(kind.mapping.id.attribute.as_str(), value);
        let filter = Filter::And(vec![kind.filter.clone(), by_id]);
        let mut found = self.search(&kind.base_dn, Scope::Subtree, filter, attributes, Some(2)).await?;
        match (found.pop(), found.pop()) {
            (Some(_), Some(_)) => {
                tracing::error!(id, "two entries have the identifier `{}`", id.escape_debug());
                let detail = "two entries have this identifier";
                Err(ApiError::new(http::StatusCode::CONFLICT, "ambiguous", detail))
            }
            (found, _) => Ok(found),
        }
    }

    /// Returns all entries of a search that is known to be small. A missing base is an empty answer.
    async fn search(
        &self,
        base: &str,
        scope: Scope,
        filter: Filter,
        attributes: &[String],
        most: Option<u32>,
    ) -> Result<Vec<Entry>, DirectoryError> {
        let names: Vec<&str> = attributes.iter().map(String::as_str).collect();
        let mut request = SearchRequest::new(base, scope, filter, &names);
        if let Some(most) = most {
            request.paging = Paging::Limited(most);
        }
        let mut entries = Vec::new();
        let mut stream = match self.directory.search(request).await {
            Err(e) if e.is_no_such_object() => return Ok(entries),
            stream => stream?,
        };
        loop {
            match stream.next_entry().await {
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => return Ok(entries),
                Err(e) if e.is_no_such_object() => return Ok(entries),
                Err(e) => return Err(e),
            }
        }
    }

    /// Returns the resource with an id, as far as a projection needs it.
    ///
    /// # Errors
    /// 404 if there is none.
    pub async fn get(
        &self,
        resource: ResourceType,
        id: &str,
        projection: &Projection,
    ) -> Result<Found, ApiError> {
        let kind = self.kind(resource)?;
        let wants_members = projection.wants(&kind.mapping, resource.schema(), "members");
        let entry = self.entry_of(kind, id, &Self::attributes(kind, wants_members)).await?;
        let entry = entry.ok_or_else(|| not_found(resource, id))?;
        self.found(kind, entry, projection, &Links::default()).await?.ok_or_else(|| not_found(resource, id))
    }

    /// Returns the resource of an entry that was read; `None` if it has no readable identifier.
    async fn found(
        &self,
        kind: &Kind,
        mut entry: Entry,
        projection: &Projection,
        links: &Links,
    ) -> Result<Option<Found>, ApiError> {
        self.directory.complete_ranges(&mut entry).await?;
        let mapping = &kind.mapping;
        let core = mapping.resource.schema();
        let mut related = Related::default();
        let mut members = Vec::new();
        if mapping.resource == ResourceType::User && projection.wants(mapping, core, "groups") {
            related.groups = Some(self.groups_of(&entry.dn).await?);
        }
        if let Some(attribute) = &mapping.members
            && projection.wants(mapping, core, "members")
        {
            let values = self.schema().values_of(&entry, attribute).to_vec();
            let with_display = projection.requests(mapping, "members", "display");
            related.members = Some(self.links(&values, with_display, links).await?);
            members = self.with_ids(&values, links);
        }
        for field in mapping.fields.iter().filter(|f| f.is_user) {
            let values = self.schema().values_of(&entry, &field.attribute).to_vec();
            self.links(&values, false, links).await?;
        }
        let user_of = |dn: &str| links.user(dn, self.schema());
        let renderer = Renderer { mapping, schema: self.schema(), base: &self.base, user_of: &user_of };
        Ok(renderer.render(&entry, &related).map(|resource| Found { entry, resource, members }))
    }

    /// Returns the filter that holds as long as an entry is unchanged.
    fn unchanged(&self, kind: &Kind, entry: &Entry) -> Option<Filter> {
        let renderer =
            Renderer { mapping: &kind.mapping, schema: self.schema(), base: &self.base, user_of: &|_| None };
        renderer.unchanged(entry)
    }

    /// Returns a reference to an entry for the writer.
    fn reference(&self, kind: &Kind, entry: &Entry) -> Option<EntryRef> {
        let attribute = kind.mapping.id.attribute.clone();
        let value = self.schema().values_of(entry, &attribute).first()?.clone();
        Some(EntryRef { dn: entry.dn.clone(), id: EntryId { attribute, value } })
    }
}

fn not_found(resource: ResourceType, id: &str) -> ApiError {
    ApiError::not_found(format!("there is no {} with the id `{}`", resource.name(), id.escape_debug()))
}

fn writer_kind(resource: ResourceType) -> ResourceKind {
    match resource {
        ResourceType::User => ResourceKind::Users,
        ResourceType::Group => ResourceKind::Groups,
    }
}

fn kind(
    service: &Service,
    directory: &Directory,
    resource: ResourceType,
    base_dn: &str,
    filter: &Filter,
    given: &[(String, String)],
) -> Result<Kind, ApiError> {
    let setting = if resource == ResourceType::User { "users.base_dn" } else { "groups.base_dn" };
    let base = DnKey::parse(base_dn, directory.schema());
    let base = base.map_err(|e| misconfigured(&[format!("{setting}: {e}")]))?;
    let rule = service.writer.rule(writer_kind(resource), directory).ok().map(|rule| rule.rule);
    let mut given = given.to_vec();
    if let (ResourceType::User, Some(rule)) = (resource, &rule) {
        // What the rule does not write is not offered.
        for (name, is_written) in [("password", rule.password.is_some()), ("active", rule.accounts.is_some())]
        {
            if !is_written && !given.iter().any(|(key, _)| key == name) {
                given.push((name.to_owned(), NONE.to_owned()));
            }
        }
    }
    let classes = rule.map(|rule| rule.object_classes).unwrap_or_default();
    let context = Context {
        vendor: directory.root_dse().vendor,
        schema: directory.schema(),
        secrets: directory.secret_attributes(),
        object_classes: &classes,
    };
    let mapping = Mapping::new(resource, &given, &context).map_err(|errors| misconfigured(&errors))?;
    Ok(Kind { mapping, base_dn: base_dn.to_owned(), base, filter: filter.clone() })
}
