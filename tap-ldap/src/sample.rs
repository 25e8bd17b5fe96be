//! What occurs in a stream: classes and attributes of the entries read at discovery.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use singer_common::directory::{Directory, DirectoryError, Paging};
use singer_common::entry::Entry;
use singer_common::schema::Schema;

use crate::config::TapConfig;
use crate::source::{Entries, Source, Tree};

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
    /// Looks at what the base entry shows: those are the attributes that this server keeps and this user may read.
    pub async fn find(config: &TapConfig, directory: &Directory, base: &str) -> Result<Self, DirectoryError> {
        let vendor = directory.root_dse().vendor;
        let schema = directory.schema();
        let wanted: Vec<&str> = vendor.immutable_ids().iter().chain(vendor.change_keys()).copied().collect();
        let base_entry = directory.read(base, &wanted).await?.unwrap_or_default();
        let there = |name: &&str| base_entry.attribute(name).is_some();
        // Active Directory spells it `modifyTimeStamp`.
        let spelled = |name: &str| schema.canonical_name(name).to_owned();
        let key = vendor.immutable_ids().iter().copied().find(there).map(spelled);
        let change_keys: Vec<String> =
            vendor.change_keys().iter().copied().filter(there).map(spelled).collect();
        let operational = match &config.operational_attributes {
            Some(names) => names.iter().map(|n| schema.canonical_name(n).to_owned()).collect(),
            None => key.iter().cloned().chain(change_keys.iter().cloned()).collect(),
        };
        let id = key.as_ref().and_then(|k| base_entry.values(k).first());
        let base = id.map(|v| BASE64.encode(v)).unwrap_or_default();
        Ok(Self { key, operational, change_keys, base })
    }
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
    /// Whether an entry came without the immutable id.
    pub lacks_key: bool,
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
        let limit = config.sample_size.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let paging = limit.map_or(Paging::Configured, Paging::AtMost);
        let mut entries = Entries::open(tree, source, &attributes, paging).await?;
        while config.sample_size.is_none_or(|n| sample.entries < n) {
            let Some(entry) = entries.next().await? else {
                sample.complete = true;
                break;
            };
            sample.take(&entry, ids, tree.directory.schema());
        }
        entries.close().await?;
        Ok(sample)
    }

    fn take(&mut self, entry: &Entry, ids: &IdentityAttributes, schema: &Schema) {
        self.entries += 1;
        self.lacks_key |= ids.key.as_ref().is_some_and(|k| entry.attribute(k).is_none());
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
