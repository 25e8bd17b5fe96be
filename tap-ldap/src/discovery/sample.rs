//! What occurs in a stream: classes and attributes of the entries read at discovery.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use singer_common::directory::ldap::result_code;
use singer_common::directory::{Directory, DirectoryError, Paging, Scope, SearchRequest, Vendor};
use singer_common::entry::Entry;
use singer_common::schema::Schema;
use singer_common::schema::syntax::ValueKind;
use singer_common::secret::is_secret_attribute;

use crate::config::TapConfig;
use crate::discovery::replication_keys::{self, Growth};
use crate::stream::entries::{EVERYTHING, Entries, Source, Tree};

/// So many entries are looked at to find out which attributes the server keeps.
const LOOKED_AT: u32 = 100;

/// The operational attributes that every stream gets.
#[derive(Debug)]
pub struct IdentityAttributes {
    /// The immutable id, where the server has one.
    pub key: Option<String>,
    /// All of them, the id first.
    pub operational: Vec<String>,
    /// Those that tell what changed, the server's own first.
    pub change_keys: Vec<String>,
    /// The base entry's id, as text: another directory has another one.
    pub base: String,
}

impl IdentityAttributes {
    /// Looks at what entries show: those are the attributes that this server keeps and this user may read. The base entry
    /// alone says nothing: it may be out of sight, or be older than what the server keeps now.
    ///
    /// # Errors
    /// Fails if the server does not answer.
    pub async fn find(config: &TapConfig, directory: &Directory, base: &str) -> Result<Self, DirectoryError> {
        let vendor = directory.root_dse().vendor;
        let schema = directory.schema();
        let wanted: Vec<&str> = vendor.immutable_ids().iter().chain(vendor.change_keys()).copied().collect();
        let base_entry = match directory.read(base, &wanted).await {
            // The empty name is the server's own entry (RFC 4512 section 5.1), and none of the directory's.
            Ok(_) if base.is_empty() => Entry::default(),
            Ok(entry) => entry.unwrap_or_default(),
            Err(e) if e.code() == Some(result_code::INSUFFICIENT_ACCESS_RIGHTS) => Entry::default(),
            Err(e) => return Err(e),
        };
        let mut seen: Vec<&str> =
            wanted.iter().copied().filter(|name| base_entry.attribute(name).is_some()).collect();
        if !is_settled(vendor, &seen) {
            for base in bases(config, base) {
                look_below(directory, base, &wanted, &mut seen).await?;
            }
        }
        let has = |name: &str| seen.iter().any(|s| s.eq_ignore_ascii_case(name));
        // Active Directory spells it `modifyTimeStamp`.
        let spelled = |name: &str| schema.canonical_name(name).to_owned();
        let key = vendor.immutable_ids().iter().copied().find(|name| has(name)).map(spelled);
        let change_keys: Vec<String> =
            replication_keys::there(vendor, vendor.change_keys(), has).into_iter().map(spelled).collect();
        let usual = || key.iter().cloned().chain(change_keys.iter().cloned());
        let operational = match &config.operational_attributes {
            None => usual().collect(),
            Some(names) => {
                let names: Vec<String> = names.iter().map(|n| schema.canonical_name(n).to_owned()).collect();
                // A name of a secret attribute is the leave to read it, where it occurs.
                let (secrets, others): (Vec<String>, Vec<String>) =
                    names.into_iter().partition(|n| is_secret_attribute(n));
                let only_leave = others.is_empty() && !secrets.is_empty();
                // A server gives an operational one only to who asks for it (RFC 4511 section 4.5.1.8).
                let asked = secrets.into_iter().filter(|n| schema.is_operational(n));
                if only_leave {
                    usual().chain(asked).collect()
                } else {
                    others.into_iter().chain(asked).collect()
                }
            }
        };
        let id = key.as_ref().and_then(|k| base_entry.values(k).first());
        let base = id.map(|v| BASE64.encode(v)).unwrap_or_default();
        Ok(Self { key, operational, change_keys, base })
    }
}

/// Whether more entries would show nothing else.
fn is_settled(vendor: Vendor, seen: &[&str]) -> bool {
    vendor.immutable_ids().first().is_some_and(|id| seen.contains(id))
        && vendor.change_keys().iter().all(|key| seen.contains(key))
}

/// Where the entries of all streams lie.
fn bases<'c>(config: &'c TapConfig, base: &'c str) -> Vec<&'c str> {
    let own = config.schemas.iter().map(|stream| stream.base_dn.as_deref().unwrap_or(base));
    let mut bases: Vec<&str> = if config.schemas.is_empty() { vec![base] } else { own.collect() };
    bases.sort_unstable();
    bases.dedup();
    bases
}

/// Looks at some entries below a base, and notes what they have.
async fn look_below<'w>(
    directory: &Directory,
    base: &str,
    wanted: &[&'w str],
    seen: &mut Vec<&'w str>,
) -> Result<(), DirectoryError> {
    let vendor = directory.root_dse().vendor;
    let mut request = SearchRequest::new(base, Scope::Sub, EVERYTHING, wanted);
    request.paging = Paging::AtMost(LOOKED_AT);
    let mut search = directory.search(request).await?;
    let mut read = 0;
    while read < LOOKED_AT && !is_settled(vendor, seen) {
        let entry = match search.next_entry().await {
            // What is wrong with a base is said where its entries are read.
            Err(e) if e.code().is_some() => return Ok(()),
            entry => entry?,
        };
        let Some(entry) = entry else { return Ok(()) };
        for name in wanted {
            if !seen.contains(name) && entry.attribute(name).is_some() {
                seen.push(name);
            }
        }
        read += 1;
    }
    search.abandon().await
}

/// The key that a stream is best followed by, by some of its own entries.
///
/// # Errors
/// Fails if the server does not answer.
pub async fn change_key(tree: &Tree, source: &Source) -> Result<Option<String>, DirectoryError> {
    let ids = &tree.ids;
    let mut sample = Sample::default();
    let mut entries = Entries::open(tree, source, &ids.change_keys, Paging::AtMost(LOOKED_AT)).await?;
    while sample.entries < u64::from(LOOKED_AT) {
        let Some(entry) = entries.next().await? else { break };
        sample.take(&entry, ids, tree.directory.schema());
    }
    entries.close().await?;
    Ok(sample.change_key(tree.directory.root_dse().vendor, ids).cloned())
}

/// Whether an entry came without the immutable id, or with one that its syntax does not allow, which is none.
fn lacks(ids: &IdentityAttributes, entry: &Entry, schema: &Schema) -> bool {
    let is_id =
        |name: &str, value: &[u8]| ValueKind::of(schema, name).write_json(value, &mut Vec::new()).is_ok();
    ids.key.as_ref().is_some_and(|key| !entry.values(key).first().is_some_and(|value| is_id(key, value)))
}

/// An attribute as it occurs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// The description as the schema spells its type, options included.
    pub description: String,
    /// Entries that have it.
    pub entries: u64,
    /// Entries that have more than one value of it.
    pub several: u64,
}

/// What occurs in the entries read.
#[derive(Debug, Default)]
pub struct Sample {
    /// Entries read.
    pub entries: u64,
    /// Whether these are all entries of the stream.
    pub complete: bool,
    /// Object classes and how many entries have them, in the order they were met.
    pub classes: Vec<(String, u64)>,
    /// Attributes, in the order they were met.
    pub attributes: Vec<Occurrence>,
    /// Entries that came without the immutable id.
    pub without_id: u64,
    /// The DN of the first of them.
    pub first_without_id: Option<String>,
    class_index: HashMap<String, usize>,
    attribute_index: HashMap<String, usize>,
}

impl Sample {
    /// Reads as many entries as the configuration allows.
    pub async fn read(
        config: &TapConfig,
        tree: &Tree,
        source: &Source,
        ids: &IdentityAttributes,
    ) -> Result<Self, DirectoryError> {
        let mut attributes = vec!["objectClass".to_owned()];
        match source {
            Source::Search(stream) if !stream.attributes.is_empty() => {
                attributes.extend(stream.attributes.clone());
            }
            // `ref` is operational on OpenLDAP, and what referral entries are about (RFC 3296).
            _ => attributes.extend(["*".to_owned(), "ref".to_owned()]),
        }
        attributes.extend(ids.operational.iter().cloned());
        let mut sample = Sample::default();
        // A file is in memory: all of it is looked at, and what occurs is known for certain.
        let is_file = tree.directory.root_dse().vendor == Vendor::Ldif;
        let most = config.sample_size.filter(|_| !is_file);
        let limit = most.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let paging = limit.map_or(Paging::Configured, Paging::AtMost);
        let mut entries = Entries::open(tree, source, &attributes, paging).await?;
        while most.is_none_or(|n| sample.entries < n) {
            let Some(entry) = entries.next().await? else {
                sample.complete = true;
                break;
            };
            sample.take(&entry, ids, tree.directory.schema());
        }
        entries.close().await?;
        Ok(sample)
    }

    /// The key that the stream is best followed by: one that tells every change, and that every entry seen has.
    pub fn change_key<'i>(&self, vendor: Vendor, ids: &'i IdentityAttributes) -> Option<&'i String> {
        let entries = |key: &str| self.occurrence(key).map_or(0, |o| o.entries);
        let is_everywhere = |key: &&String| {
            let others = [replication_keys::stands_in(vendor, key), replication_keys::besides(vendor, key)];
            let mut names = std::iter::once(key.as_str()).chain(others.into_iter().flatten());
            names.any(|name| entries(name) == self.entries)
        };
        let mut changes =
            ids.change_keys.iter().filter(|key| replication_keys::growth(key) == Growth::Changed);
        changes.clone().find(is_everywhere).or_else(|| changes.next())
    }

    fn take(&mut self, entry: &Entry, ids: &IdentityAttributes, schema: &Schema) {
        self.entries += 1;
        if lacks(ids, entry, schema) {
            self.without_id += 1;
            self.first_without_id.get_or_insert_with(|| entry.dn.clone());
        }
        for class in entry.values("objectClass") {
            let class = String::from_utf8_lossy(class);
            let next = self.classes.len();
            let at = *self.class_index.entry(class.to_ascii_lowercase()).or_insert(next);
            if at == next {
                let name = schema.object_class(&class).map_or(&*class, |c| c.name());
                self.classes.push((name.to_owned(), 0));
            }
            if let Some((_, count)) = self.classes.get_mut(at) {
                *count += 1;
            }
        }
        for attribute in &entry.attributes {
            let description = schema.spell(&attribute.description);
            let next = self.attributes.len();
            let at = *self.attribute_index.entry(description.to_ascii_lowercase()).or_insert(next);
            if at == next {
                self.attributes.push(Occurrence { description, entries: 0, several: 0 });
            }
            if let Some(occurrence) = self.attributes.get_mut(at) {
                occurrence.entries += 1;
                occurrence.several += u64::from(attribute.values.len() > 1);
            }
        }
    }

    /// How often an attribute occurs.
    pub fn occurrence(&self, description: &str) -> Option<&Occurrence> {
        self.attributes.get(*self.attribute_index.get(&description.to_ascii_lowercase())?)
    }
}
