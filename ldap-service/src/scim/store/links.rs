//! DNs as ids, and ids as DNs.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use ldap_directory::Scope;
use ldap_directory::dn::{DnKey, first_rdn};
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;

use super::{AT_ONCE, Kind, Store, ambiguous};
use crate::error::ApiError;
use crate::filter::names_in;
use crate::lookup::find;
use crate::members::{MEMBER_UID, UID, primary};
use crate::scim::mapping::ResourceType;
use crate::scim::resource::Link;

/// Up to so many DNs are read one by one; for more, the users and groups are read once.
const FEW: usize = 200;
/// So many ids are looked up by one search.
const IDS_AT_ONCE: usize = 50;

/// The DNs that are known in a request.
#[derive(Debug, Default)]
pub(super) struct Links {
    known: Mutex<HashMap<DnKey, Known>>,
}

/// What a DN is known to be.
#[derive(Debug, Clone)]
enum Known {
    Resource(Link),
    Other,
}

/// A user or group that a request refers to by its id.
#[derive(Debug, Clone)]
pub(super) struct Reference {
    /// Its DN.
    pub(super) dn: String,
    /// The user names of a user, by which groups may name it; that of the RDN is the first.
    pub(super) uids: Vec<Vec<u8>>,
    /// The SID of the user's primary group.
    pub(super) primary: Option<Vec<u8>>,
    /// Its own SID, where there are primary groups.
    pub(super) sid: Option<Vec<u8>>,
}

/// Returns the user names of an entry, that of its RDN first.
fn own_uids(entry: &Entry, schema: &Schema) -> Vec<Vec<u8>> {
    let mut uids = schema.values_of(entry, UID).to_vec();
    let rdn = first_rdn(&entry.dn).ok().flatten();
    let named = rdn.iter().flat_map(|rdn| &rdn.avas).find(|ava| schema.same_description(&ava.attribute, UID));
    if let Some(at) =
        named.and_then(|ava| uids.iter().position(|uid| schema.values_match(UID, uid, &ava.value)))
    {
        uids.swap(0, at);
    }
    uids
}

impl Links {
    fn get(&self, key: &DnKey) -> Option<Known> {
        self.known.lock().ok()?.get(key).cloned()
    }

    /// Returns the resource with a DN, if it is known to be one.
    fn resource(&self, key: &DnKey) -> Option<Link> {
        match self.get(key)? {
            Known::Resource(link) => Some(link),
            Known::Other => None,
        }
    }

    fn put(&self, key: DnKey, link: Option<Link>) {
        if let Ok(mut known) = self.known.lock() {
            known.insert(key, link.map_or(Known::Other, Known::Resource));
        }
    }

    /// Returns the id of the user with a DN, if it is known.
    pub(super) fn user(&self, dn: &str, schema: &Schema) -> Option<String> {
        let link = self.resource(&DnKey::parse(dn, schema).ok()?)?;
        (link.resource == ResourceType::User).then_some(link.id)
    }
}

impl Store<'_> {
    /// Returns these DNs with the resources that have them; `None` for other entries, and where there is none.
    pub(super) async fn links(
        &self,
        dns: &[Vec<u8>],
        with_display: bool,
        links: &Links,
    ) -> Result<Vec<(String, Option<Link>)>, ApiError> {
        // 389 DS and others keep the spelling of the client: DNs compare by the schema.
        let keyed = |dn: &Vec<u8>| {
            let text = String::from_utf8_lossy(dn).into_owned();
            (DnKey::parse(&text, self.schema()).ok(), text)
        };
        let keyed: Vec<(Option<DnKey>, String)> = dns.iter().map(keyed).collect();
        let unknown: Vec<(&DnKey, &str)> = keyed
            .iter()
            .filter_map(|(key, dn)| Some((key.as_ref()?, dn.as_str())))
            .filter(|(key, _)| match links.get(key) {
                None => true,
                Some(Known::Resource(link)) => with_display && link.display.is_none(),
                Some(Known::Other) => false,
            })
            .collect();
        let asked: Vec<&DnKey> = unknown.iter().map(|(key, _)| *key).collect();
        if unknown.len() > FEW {
            self.read_all(&asked, with_display, links).await?;
        } else {
            let mut reads = Vec::with_capacity(unknown.len());
            for (key, dn) in unknown {
                reads.push(self.learn(key, dn, with_display, links).boxed());
            }
            futures_util::stream::iter(reads).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
            self.check_bases(&asked, links).await?;
        }
        let known = |key: Option<DnKey>| links.resource(&key?);
        Ok(keyed.into_iter().map(|(key, dn)| (dn, known(key))).collect())
    }

    /// Checks that the bases are there of DNs that no entry was found for.
    async fn check_bases(&self, asked: &[&DnKey], links: &Links) -> Result<(), ApiError> {
        for kind in self.kinds() {
            if asked.iter().any(|key| key.is_within(&kind.base) && links.resource(key).is_none()) {
                self.check_base(kind).await?;
            }
        }
        Ok(())
    }

    pub(super) fn link_attributes(kind: &Kind, with_display: bool) -> Vec<String> {
        let mut names = vec![kind.mapping.id.attribute.clone()];
        if with_display {
            let is_name = |name: &&str| kind.mapping.fields.iter().any(|f| f.key.name == **name);
            let display = ["displayName", "userName"].iter().find(|name| is_name(name));
            let fields = kind.mapping.fields.iter();
            names.extend(
                fields.filter(|f| display.is_some_and(|d| f.key.name == *d)).map(|f| f.attribute.clone()),
            );
        }
        names
    }

    pub(super) fn link_of(&self, kind: &Kind, entry: &Entry, with_display: bool) -> Result<Link, ApiError> {
        let id =
            kind.mapping.id.to_text(self.id_of(kind, entry)?).ok_or_else(|| kind.without_id(&entry.dn))?;
        let names = Self::link_attributes(kind, with_display);
        let display = names.iter().skip(1).find_map(|name| {
            let value = self.schema().values_of(entry, name).first()?;
            String::from_utf8(value.clone()).ok()
        });
        Ok(Link { resource: kind.mapping.resource, id, display })
    }

    async fn learn(&self, key: &DnKey, dn: &str, with_display: bool, links: &Links) -> Result<(), ApiError> {
        let link = self.link(key, dn, with_display).await?;
        links.put(key.clone(), link);
        Ok(())
    }

    async fn link(&self, key: &DnKey, dn: &str, with_display: bool) -> Result<Option<Link>, ApiError> {
        for kind in self.kinds().filter(|kind| key.is_within(&kind.base)) {
            let names = Self::link_attributes(kind, with_display);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            // A missing entry is none of the kind.
            let found = find(&self.directory, dn, Scope::Base, kind.filter.clone(), &names, 1).await?;
            if let Some(entry) = found.first() {
                return self.link_of(kind, entry, with_display).map(Some);
            }
        }
        Ok(None)
    }

    /// Reads all users and groups once, and keeps those that are wanted.
    async fn read_all(&self, wanted: &[&DnKey], with_display: bool, links: &Links) -> Result<(), ApiError> {
        let mut missing: HashSet<&DnKey> = wanted.iter().copied().collect();
        for kind in self.kinds() {
            if missing.is_empty() {
                break;
            }
            let names = Self::link_attributes(kind, with_display);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let request = kind.request(kind.filter.clone(), &names).repeating();
            let mut entries = self.begin(kind, request).await?;
            while let Some(entry) = entries.next().await? {
                let Ok(key) = DnKey::parse(&entry.dn, self.schema()) else { continue };
                if missing.remove(&key) {
                    links.put(key, Some(self.link_of(kind, &entry, with_display)?));
                }
            }
        }
        for key in missing {
            links.put(key.clone(), None);
        }
        Ok(())
    }

    /// Returns the users that have one of these user names, with the name.
    pub(super) async fn links_of_names(
        &self,
        names: &[Vec<u8>],
        with_display: bool,
    ) -> Result<Vec<(usize, Link)>, ApiError> {
        let kind = &self.users;
        let mut attributes = Self::link_attributes(kind, with_display);
        attributes.push(UID.to_owned());
        let mut found = Vec::new();
        for (chunk, some) in names.chunks(IDS_AT_ONCE).enumerate() {
            let any = some.iter().map(|name| Filter::equality(UID, name.clone())).collect();
            let filter = Filter::And(vec![kind.filter.clone(), Filter::Or(any)]);
            for entry in self.search(kind, filter, &attributes, None).await? {
                let link = self.link_of(kind, &entry, with_display)?;
                for (at, name) in some.iter().enumerate() {
                    // As a login compares them: names in groups distinguish case.
                    let is_it = |uid: &Vec<u8>| self.schema().values_match(MEMBER_UID, uid, name);
                    if self.schema().values_of(&entry, UID).iter().any(is_it) {
                        found.push((chunk * IDS_AT_ONCE + at, link.clone()));
                    }
                }
            }
        }
        Ok(found)
    }

    /// Returns the users and groups with these ids. Ids of no entry are not in it.
    pub(super) async fn references(&self, ids: &[String]) -> Result<HashMap<String, Reference>, ApiError> {
        let mut found = HashMap::new();
        for kind in self.kinds() {
            self.references_of_kind(kind, ids, true, &mut found).await?;
        }
        Ok(found)
    }

    /// Returns the same for members of a group. If `users.filter` names the group, a user may be one by the membership alone: it is found
    /// without the filter.
    pub(super) async fn references_of_members(
        &self,
        ids: &[String],
        group: Option<&str>,
    ) -> Result<HashMap<String, Reference>, ApiError> {
        let mut found = self.references(ids).await?;
        let key = |dn: &str| DnKey::parse(dn, self.schema()).ok();
        let own = group.and_then(key);
        let makes_users = || names_in(&self.users.filter).iter().any(|dn| own.is_some() && key(dn) == own);
        if ids.iter().any(|id| !found.contains_key(id)) && makes_users() {
            self.references_of_kind(&self.users, ids, false, &mut found).await?;
        }
        Ok(found)
    }

    async fn references_of_kind(
        &self,
        kind: &Kind,
        ids: &[String],
        is_listed: bool,
        found: &mut HashMap<String, Reference>,
    ) -> Result<(), ApiError> {
        let open: Vec<&String> = ids.iter().filter(|id| !found.contains_key(*id)).collect();
        for some in open.chunks(IDS_AT_ONCE) {
            self.some_references(kind, some, is_listed, found).await?;
        }
        Ok(())
    }

    async fn some_references(
        &self,
        kind: &Kind,
        ids: &[&String],
        is_listed: bool,
        found: &mut HashMap<String, Reference>,
    ) -> Result<(), ApiError> {
        let id = &kind.mapping.id;
        let rule = self.schema().equality(&id.attribute);
        let normal = |value: &[u8]| rule.normalize(value, self.schema()).into_owned();
        // One id may be spelled in two ways.
        let mut by_value: HashMap<Vec<u8>, Vec<&String>> = HashMap::new();
        let mut any = Vec::new();
        for (text, value) in ids.iter().filter_map(|text| Some((*text, id.to_value(text)?))) {
            let spellings = by_value.entry(normal(&value)).or_default();
            if spellings.is_empty() {
                any.push(Filter::equality(id.attribute.as_str(), value));
            }
            spellings.push(text);
        }
        if by_value.is_empty() {
            return Ok(());
        }
        let any = Filter::Or(any);
        let mut names = vec![id.attribute.clone()];
        let has_uids = kind.mapping.resource == ResourceType::User && kind.mapping.has_user_names;
        names.extend(has_uids.then(|| UID.to_owned()));
        if kind.mapping.has_primary_groups {
            names.extend([primary::PRIMARY, primary::SID].map(str::to_owned));
        }
        let entries = if is_listed {
            self.by_id(kind, any, &names, None).await?
        } else {
            self.search(kind, any, &names, None).await?
        };
        for entry in entries {
            let value = self.id_of(kind, &entry)?;
            for asked in by_value.get(&normal(value)).into_iter().flatten() {
                let uids = if has_uids { own_uids(&entry, self.schema()) } else { Vec::new() };
                let (primary, sid) = (primary::group_of(&entry), primary::sid(&entry).map(<[u8]>::to_vec));
                let reference = Reference { dn: entry.dn.clone(), uids, primary, sid };
                let known = found.insert((*asked).clone(), reference);
                if let Some(known) = known.filter(|known| known.dn != entry.dn) {
                    return Err(ambiguous(asked, &known.dn, &entry.dn));
                }
            }
        }
        Ok(())
    }

    /// Returns the groups that have an entry as a direct member.
    pub(super) async fn groups_of(&self, user: &Entry) -> Result<Vec<Link>, ApiError> {
        let Some(kind) = &self.groups else { return Ok(Vec::new()) };
        if kind.mapping.members.is_none() {
            return Ok(Vec::new());
        }
        let by_dn = kind.mapping.member_names.iter();
        let mut any: Vec<Filter> =
            by_dn.map(|name| Filter::equality(name.as_str(), user.dn.as_bytes())).collect();
        if kind.mapping.has_user_names {
            let uids = self.schema().values_of(user, UID).iter();
            any.extend(uids.map(|uid| Filter::equality(MEMBER_UID, uid.clone())));
        }
        if kind.mapping.has_primary_groups {
            any.extend(primary::group_of(user).map(|sid| primary::by_sid(&sid)));
        }
        let filter = Filter::And(vec![kind.filter.clone(), Filter::Or(any)]);
        let names = Self::link_attributes(kind, true);
        let entries = self.search(kind, filter, &names, None).await?;
        let links = entries.iter().map(|entry| self.link_of(kind, entry, true));
        let mut found = links.collect::<Result<Vec<Link>, ApiError>>()?;
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }
}
