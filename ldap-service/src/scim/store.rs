//! Resources in the directory: found by id, read, listed.

mod links;
mod list;
mod members;
mod moved;
mod primary;
mod renames;
mod seen;
mod shown;
mod state;
mod write;

use std::sync::Mutex;

use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchItem, SearchRequest, SearchStream};
use serde_json::Value;

use super::filter::FilterLimits;
use super::mapping::{Context, Mapping, NONE, ResourceType};
use super::projection::Projection;
use super::resource::{Related, Renderer};
use crate::error::ApiError;
use crate::login;
use crate::service::Service;
use crate::unseen;
use crate::write::{EntryId, EntryRef, ResourceKind};

use links::Links;
use members::Member;
use moved::Named;
pub use write::Written;

/// The searches of one request that are in progress at once.
const AT_ONCE: usize = 8;
/// The entries that are looked at to find out what the service's user may search.
const SAMPLE: u32 = 20;

/// The entries of a resource type.
#[derive(Debug)]
struct Kind {
    mapping: Mapping,
    base_dn: String,
    base: DnKey,
    filter: Filter,
}

impl Kind {
    /// Returns the search of the entries that match a filter.
    fn request(&self, filter: Filter, names: &[&str]) -> SearchRequest {
        SearchRequest::new(self.base_dn.as_str(), Scope::Subtree, filter, names)
    }

    /// Returns the error of a search below the base. A client would conclude from 404 or an empty list that everybody is gone.
    fn fault(&self, error: DirectoryError) -> ApiError {
        if error.is_no_such_object() { self.unseen() } else { error.into() }
    }

    /// Returns the error of a base that is not there.
    fn unseen(&self) -> ApiError {
        let setting = self.mapping.resource.base_setting();
        misconfigured(&[format!("{setting}: the entry is not there, or the service's user may not see it")])
    }

    /// Returns the error of an entry whose identifier cannot be read. It is never left out, for the same reason.
    fn without_id(&self, dn: &str) -> ApiError {
        tracing::error!(dn, "the service's user may not read `{}`", self.mapping.id.attribute);
        misconfigured(&[format!(
            "bind_dn: the service's user may not read `{}` of all entries below {}",
            self.mapping.id.attribute,
            self.mapping.resource.base_setting()
        )])
    }
}

/// The entries of a kind that a search finds.
struct Entries<'k> {
    kind: &'k Kind,
    stream: SearchStream,
}

impl Entries<'_> {
    async fn next(&mut self) -> Result<Option<Entry>, ApiError> {
        loop {
            match self.stream.next().await.map_err(|e| self.kind.fault(e))? {
                Some(SearchItem::Entry(entry)) => return Ok(Some(entry)),
                Some(SearchItem::Unreadable(dn)) => {
                    tracing::warn!(dn, "an entry is left out: its DN is not UTF-8");
                }
                Some(SearchItem::Reference(_)) => {}
                None => return Ok(None),
            }
        }
    }
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
    /// The names that this request gives to a group.
    named: Mutex<Vec<Named>>,
}

/// An entry that was read, with its resource.
#[derive(Debug)]
pub struct Found {
    /// The entry.
    pub entry: Entry,
    /// The whole resource, as far as it was read.
    pub resource: Value,
    /// The members of a group that were read.
    members: Vec<Member>,
}

impl Found {
    /// Returns `meta.version`.
    pub fn version(&self) -> Option<&str> {
        self.resource.get("meta")?.get("version")?.as_str()
    }

    /// Whether one of these entity tags is that of the resource, in the weak comparison (RFC 9110 section 8.8.3.2); quotes may be missing.
    pub fn is_any_of(&self, tags: &[String]) -> bool {
        let opaque = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"').to_owned();
        let version = self.version().map(opaque);
        tags.iter().any(|tag| tag == "*" || Some(opaque(tag)) == version)
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
        let vendor = directory.root_dse().vendor;
        let filter = users.filter.on(vendor);
        let users = kind(service, &directory, ResourceType::User, &users.base_dn, filter, &users.scim)?;
        let groups = match &config.groups {
            Some(g) => {
                let filter = g.filter.on(vendor);
                Some(kind(service, &directory, ResourceType::Group, &g.base_dn, filter, &g.scim)?)
            }
            None => None,
        };
        Ok(Self { service, directory, base, users, groups, named: Mutex::default() })
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

    /// Returns all kinds: users, then groups.
    fn kinds(&self) -> impl Iterator<Item = &Kind> {
        std::iter::once(&self.users).chain(&self.groups)
    }

    /// Returns the mappings of all resource types.
    pub fn mappings(&self) -> Vec<&Mapping> {
        self.kinds().map(|kind| &kind.mapping).collect()
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
        let members = kind.mapping.member_attributes().into_iter().filter(|_| with_members);
        names.extend(members.map(str::to_owned));
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
        let mut found = self.by_id(kind, by_id, attributes, Some(2)).await?;
        match (found.pop(), found.pop()) {
            (Some(one), Some(other)) => Err(ambiguous(id, &one.dn, &other.dn)),
            (found, _) => Ok(found),
        }
    }

    /// Begins a search below the base of a kind.
    async fn begin<'k>(&self, kind: &'k Kind, request: SearchRequest) -> Result<Entries<'k>, ApiError> {
        let stream = self.directory.search(request).await.map_err(|e| kind.fault(e))?;
        Ok(Entries { kind, stream })
    }

    /// Returns all entries of a kind that match a filter, if they are known to be few.
    async fn search(
        &self,
        kind: &Kind,
        filter: Filter,
        attributes: &[String],
        most: Option<u32>,
    ) -> Result<Vec<Entry>, ApiError> {
        let names: Vec<&str> = attributes.iter().map(String::as_str).collect();
        let mut request = kind.request(filter, &names);
        if let Some(most) = most {
            request.paging = Paging::Limited(most);
        }
        let mut entries = self.begin(kind, request).await?;
        let mut found = Vec::new();
        while let Some(entry) = entries.next().await? {
            found.push(entry);
        }
        Ok(found)
    }

    /// Returns the entries of a kind that match a filter of identifiers.
    async fn by_id(
        &self,
        kind: &Kind,
        ids: Filter,
        attributes: &[String],
        most: Option<u32>,
    ) -> Result<Vec<Entry>, ApiError> {
        let filter = Filter::And(vec![kind.filter.clone(), ids.clone()]);
        let found = self.search(kind, filter, attributes, most).await?;
        if found.is_empty() {
            self.check_ids(kind).await?;
            self.check_one_decided(kind, ids).await?;
        }
        Ok(found)
    }

    /// Checks that the service's user may see the identifiers of a kind: if not, a search by one finds nothing, whoever is there.
    async fn check_ids(&self, kind: &Kind) -> Result<(), ApiError> {
        let names = [kind.mapping.id.attribute.clone()];
        let found = self.search(kind, kind.filter.clone(), &names, Some(1)).await?;
        if found.is_empty() {
            return self.check_filter(kind).await;
        }
        for entry in found {
            self.id_of(kind, &entry)?;
        }
        Ok(())
    }

    /// Checks that the service's user may search what the filter of a kind compares: if not, there seem to be no entries.
    async fn check_filter(&self, kind: &Kind) -> Result<(), ApiError> {
        let key = format!("all {}", kind.mapping.resource.name());
        let find_out = unseen::unsearchable_below(&self.directory, &kind.base_dn, &kind.filter, &[]);
        let hidden = self.service.directory.rights.get(key, find_out).await?;
        hidden.map_or(Ok(()), |hidden| Err(hidden.into()))
    }

    /// Checks that the base of a kind is there.
    async fn check_base(&self, kind: &Kind) -> Result<(), ApiError> {
        self.directory.read(&kind.base_dn, &["1.1"]).await?.map(drop).ok_or_else(|| kind.unseen())
    }

    /// Returns the octets of the identifier of an entry that was read.
    fn id_of<'e>(&self, kind: &Kind, entry: &'e Entry) -> Result<&'e [u8], ApiError> {
        let value = self.schema().values_of(entry, &kind.mapping.id.attribute).first();
        value.map(Vec::as_slice).ok_or_else(|| kind.without_id(&entry.dn))
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
        self.found(kind, entry, projection, &Links::default()).await
    }

    /// Returns the resource of an entry that was read.
    async fn rendered(
        &self,
        kind: &Kind,
        mut entry: Entry,
        projection: &Projection,
        links: &Links,
    ) -> Result<Found, ApiError> {
        self.directory.complete_ranges(&mut entry).await?;
        let mapping = &kind.mapping;
        let core = mapping.resource.schema();
        let mut related = Related::default();
        let mut members = Vec::new();
        if mapping.resource == ResourceType::User && projection.wants(mapping, core, "groups") {
            let (config, handle) = (&self.service.config, &self.service.directory);
            if let Some(hidden) = login::hidden_of_groups(config, handle, &self.directory).await? {
                return Err(hidden.into());
            }
            related.groups = Some(self.groups_of(&entry).await?);
        }
        if mapping.members.is_some() && projection.wants(mapping, core, "members") {
            let with_display = projection.requests(mapping, "members", "display");
            let found = self.members_of(mapping, &entry, with_display, links).await?;
            related.members = Some(found.links);
            members = found.values;
        }
        for field in mapping.fields.iter().filter(|f| f.is_user) {
            let values = self.schema().values_of(&entry, &field.attribute).to_vec();
            self.links(&values, false, links).await?;
        }
        let user_of = |dn: &str| links.user(dn, self.schema());
        let renderer = Renderer { mapping, schema: self.schema(), base: &self.base, user_of: &user_of };
        let resource = renderer.render(&entry, &related).ok_or_else(|| kind.without_id(&entry.dn))?;
        Ok(Found { entry, resource, members })
    }

    /// Returns the filter that holds as long as an entry is unchanged.
    fn unchanged(&self, kind: &Kind, entry: &Entry) -> Option<Filter> {
        let renderer =
            Renderer { mapping: &kind.mapping, schema: self.schema(), base: &self.base, user_of: &|_| None };
        renderer.unchanged(entry)
    }

    /// Returns a reference to an entry for the writer.
    fn entry_ref(&self, kind: &Kind, found: &Found) -> Result<EntryRef, ApiError> {
        let value = self.id_of(kind, &found.entry)?.to_vec();
        let id = EntryId { attribute: kind.mapping.id.attribute.clone(), value };
        Ok(EntryRef { dn: found.entry.dn.clone(), id })
    }
}

/// Returns the error of an id that does not say whom it means.
fn ambiguous(id: &str, one: &str, other: &str) -> ApiError {
    let id = id.escape_debug().to_string();
    tracing::error!(id, dn = one, "two entries have the identifier `{id}`: `{one}` and `{other}`");
    let detail = format!("two entries have the identifier `{id}`");
    ApiError::new(http::StatusCode::CONFLICT, "ambiguous", detail)
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
    let setting = resource.base_setting();
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
