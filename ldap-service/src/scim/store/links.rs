//! DNs as ids, and ids as DNs.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::{Scope, SearchRequest};

use super::{AT_ONCE, Kind, Store};
use crate::error::ApiError;
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
    /// Returns the resources with these DNs, in their order. DNs of other entries, or of none, are left out.
    pub(super) async fn links(
        &self,
        dns: &[Vec<u8>],
        with_display: bool,
        links: &Links,
    ) -> Result<Vec<Link>, ApiError> {
        // 389 DS and others keep the spelling of the client: DNs compare by the schema.
        let key = |dn: &Vec<u8>| {
            let text = std::str::from_utf8(dn).ok()?;
            Some((DnKey::parse(text, self.schema()).ok()?, text.to_owned()))
        };
        let keys: Vec<(DnKey, String)> = dns.iter().filter_map(key).collect();
        let unknown: Vec<&(DnKey, String)> = keys
            .iter()
            .filter(|(key, _)| match links.get(key) {
                None => true,
                Some(Known::Resource(link)) => with_display && link.display.is_none(),
                Some(Known::Other) => false,
            })
            .collect();
        if unknown.len() > FEW {
            self.read_all(&unknown, with_display, links).await?;
        } else {
            let mut reads = Vec::with_capacity(unknown.len());
            for (key, dn) in unknown {
                reads.push(self.learn(key, dn, with_display, links).boxed());
            }
            futures_util::stream::iter(reads).buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        }
        Ok(keys.iter().filter_map(|(key, _)| links.resource(key)).collect())
    }

    /// Returns DNs with the ids that [`Self::links`] has found.
    pub(super) fn with_ids(&self, dns: &[Vec<u8>], links: &Links) -> Vec<(String, Option<String>)> {
        let one = |dn: &Vec<u8>| {
            let text = String::from_utf8_lossy(dn).into_owned();
            let key = DnKey::parse(&text, self.schema()).ok();
            (text, key.and_then(|key| links.resource(&key)).map(|link| link.id))
        };
        dns.iter().map(one).collect()
    }

    fn kinds(&self) -> impl Iterator<Item = &Kind> {
        std::iter::once(&self.users).chain(&self.groups)
    }

    fn link_attributes(kind: &Kind, with_display: bool) -> Vec<String> {
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

    fn link_of(&self, kind: &Kind, entry: &Entry, with_display: bool) -> Option<Link> {
        let id = &kind.mapping.id;
        let id = id.to_text(self.schema().values_of(entry, &id.attribute).first()?)?;
        let names = Self::link_attributes(kind, with_display);
        let display = names.iter().skip(1).find_map(|name| {
            let value = self.schema().values_of(entry, name).first()?;
            String::from_utf8(value.clone()).ok()
        });
        Some(Link { resource: kind.mapping.resource, id, display })
    }

    async fn learn(&self, key: &DnKey, dn: &str, with_display: bool, links: &Links) -> Result<(), ApiError> {
        let link = self.link(key, dn, with_display).await?;
        links.put(key.clone(), link);
        Ok(())
    }

    async fn link(&self, key: &DnKey, dn: &str, with_display: bool) -> Result<Option<Link>, ApiError> {
        for kind in self.kinds().filter(|kind| key.is_within(&kind.base)) {
            let names = Self::link_attributes(kind, with_display);
            let found = self.search(dn, Scope::Base, kind.filter.clone(), &names, Some(1)).await?;
            if let Some(link) = found.first().and_then(|entry| self.link_of(kind, entry, with_display)) {
                return Ok(Some(link));
            }
        }
        Ok(None)
    }

    /// Reads all users and groups once, and keeps those that are wanted.
    async fn read_all(
        &self,
        wanted: &[&(DnKey, String)],
        with_display: bool,
        links: &Links,
    ) -> Result<(), ApiError> {
        let mut missing: HashSet<&DnKey> = wanted.iter().map(|(key, _)| key).collect();
        for kind in self.kinds() {
            if missing.is_empty() {
                break;
            }
            let names = Self::link_attributes(kind, with_display);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let request =
                SearchRequest::new(kind.base_dn.as_str(), Scope::Subtree, kind.filter.clone(), &names);
            let mut stream = self.directory.search(request.repeating()).await?;
            while let Some(entry) = stream.next_entry().await? {
                let Ok(key) = DnKey::parse(&entry.dn, self.schema()) else { continue };
                if missing.remove(&key) {
                    links.put(key, self.link_of(kind, &entry, with_display));
                }
            }
        }
        for key in missing {
            links.put(key.clone(), None);
        }
        Ok(())
    }

    /// Returns the DNs of users and groups by id. Ids of no entry are not in it.
    pub(super) async fn dns_of(&self, ids: &[String]) -> Result<HashMap<String, String>, ApiError> {
        let mut found = HashMap::new();
        for kind in self.kinds() {
            let open: Vec<&String> = ids.iter().filter(|id| !found.contains_key(*id)).collect();
            for some in open.chunks(IDS_AT_ONCE) {
                self.dns_of_kind(kind, some, &mut found).await?;
            }
        }
        Ok(found)
    }

    async fn dns_of_kind(
        &self,
        kind: &Kind,
        ids: &[&String],
        found: &mut HashMap<String, String>,
    ) -> Result<(), ApiError> {
        let id = &kind.mapping.id;
        let by_value: HashMap<Vec<u8>, &String> =
            ids.iter().filter_map(|text| Some((id.to_value(text)?, *text))).collect();
        if by_value.is_empty() {
            return Ok(());
        }
        let one = |value: &Vec<u8>| Filter::equality(id.attribute.as_str(), value.clone());
        let any = Filter::Or(by_value.keys().map(one).collect());
        let filter = Filter::And(vec![kind.filter.clone(), any]);
        let names = [id.attribute.clone()];
        for entry in self.search(&kind.base_dn, Scope::Subtree, filter, &names, None).await? {
            let Some(value) = self.schema().values_of(&entry, &id.attribute).first() else { continue };
            let same = |known: &&Vec<u8>| self.schema().values_match(&id.attribute, known, value);
            let asked = by_value.get(value).or_else(|| by_value.get(by_value.keys().find(same)?));
            if let Some(asked) = asked {
                found.insert((*asked).clone(), entry.dn);
            }
        }
        Ok(())
    }

    /// Returns the groups that have an entry as a direct member.
    pub(super) async fn groups_of(&self, dn: &str) -> Result<Vec<Link>, ApiError> {
        let Some(kind) = &self.groups else { return Ok(Vec::new()) };
        let Some(members) = &kind.mapping.members else { return Ok(Vec::new()) };
        let is_member = Filter::equality(members.as_str(), dn.as_bytes());
        let filter = Filter::And(vec![kind.filter.clone(), is_member]);
        let names = Self::link_attributes(kind, true);
        let entries = self.search(&kind.base_dn, Scope::Subtree, filter, &names, None).await?;
        let mut found: Vec<Link> =
            entries.iter().filter_map(|entry| self.link_of(kind, entry, true)).collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }
}
