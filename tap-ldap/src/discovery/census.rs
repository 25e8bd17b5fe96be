//! One pass over the DNs below the base: how many entries each container's stream has, and how to read them so that none is
//! missed.
//!
//! A container without nested containers is read as one subtree, which returns all of its entries. One with nested containers is
//! read level by level, which only finds entries with visible parents. If a parent is not visible, or missing in a file, the
//! container is also read as one subtree, and the entries of other containers are dropped.

use std::collections::{BTreeMap, HashSet};

use ldap_directory::dn::{Above, DnKey};
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, Scope, SearchItem, SearchRequest, Vendor};

use crate::discovery::containers::Containers;
use crate::discovery::dn;
use crate::discovery::gaps::Gaps;
use crate::discovery::non_leaf::{self, NonLeafEntries};
use crate::discovery::tally::{Tally, hash};
use ldap_directory::MATCH_ALL;

/// The most hashes of entries that are kept to check whether a parent was seen.
const MOST_SEEN: usize = 500_000;

/// How the entries of a container are read.
#[derive(Debug)]
pub enum ReadStrategy {
    /// Level by level, starting at the container; these entries have subordinates.
    Levels(NonLeafEntries),
    /// As one subtree; entries of nested containers are dropped.
    Subtree,
}

/// The entries of a container.
#[derive(Debug)]
struct Part {
    key: DnKey,
    held: Tally,
    is_nested: bool,
    /// The parents of its entries, except for itself.
    parents: Option<BTreeMap<DnKey, String>>,
    way: ReadStrategy,
    /// Its entries with DNs that are not UTF-8.
    unreadable: u64,
}

/// The result of a pass over the DNs.
#[derive(Debug)]
pub struct Census {
    parts: Vec<Part>,
    by_key: BTreeMap<DnKey, usize>,
    /// The containers themselves.
    containers: Tally,
    /// Entries at and below the base.
    pub held: u64,
    /// Entries below no container.
    pub in_no_stream: u64,
    /// The DN of the first of them.
    pub first_in_no_stream: Option<String>,
    /// Parents that are not visible themselves.
    pub unseen_parents: u64,
    /// What was skipped and may belong to any container.
    gaps: Gaps,
}

impl Census {
    fn new(containers: &Containers) -> Census {
        let keys: Vec<DnKey> = containers.keys().cloned().collect();
        let empty = Tally::one_of(keys.len() + 1);
        let part = |key: &DnKey| Part {
            key: key.clone(),
            held: empty.clone(),
            is_nested: containers.has_nested(key),
            parents: Some(BTreeMap::new()),
            way: ReadStrategy::Subtree,
            unreadable: 0,
        };
        Census {
            parts: keys.iter().map(part).collect(),
            by_key: keys.into_iter().enumerate().map(|(n, key)| (key, n)).collect(),
            containers: empty,
            held: 0,
            in_no_stream: 0,
            first_in_no_stream: None,
            unseen_parents: 0,
            gaps: Gaps::default(),
        }
    }

    /// Reads all DNs.
    pub async fn read(
        directory: &Directory,
        base: &str,
        containers: &Containers,
    ) -> Result<Census, DirectoryError> {
        let schema = directory.schema();
        let is_file = directory.root_dse().vendor == Vendor::Ldif;
        let mut census = Census::new(containers);
        let mut seen = HashSet::new();
        let mut above = Above::default();
        let mut last: Option<(DnKey, Option<usize>)> = None;
        let request = SearchRequest::new(base, Scope::Subtree, MATCH_ALL, &["1.1"]).repeating();
        let mut search = directory.search(request).await?;
        let mut beginnings = 0;
        while let Some(item) = search.next().await? {
            if search.beginnings() != beginnings {
                beginnings = search.beginnings();
                census = Census::new(containers);
                seen.clear();
            }
            let entry = match item {
                SearchItem::Entry(entry) => entry,
                SearchItem::Reference(_) => {
                    census.gaps.references += 1;
                    continue;
                }
                SearchItem::Unreadable(dn) => {
                    census.note_unreadable(&dn, schema);
                    continue;
                }
            };
            // The root DSE is not an entry of the directory (RFC 4512 section 5.1).
            if entry.dn.is_empty() && !is_file {
                continue;
            }
            census.held += 1;
            let key = above.key(&entry.dn, schema).map_err(|e| dn::not_a_dn(&entry.dn, &e))?;
            if containers.contains(&key) {
                census.containers.add(hash(entry.dn.as_bytes()));
                continue;
            }
            let Some(parent) = key.parent() else { continue };
            let index = match &last {
                Some((known, index)) if *known == parent => *index,
                _ => census.at_or_above(&parent),
            };
            if let Some(part) = index.and_then(|n| census.parts.get_mut(n)) {
                part.held.add(hash(entry.dn.as_bytes()));
                if part.is_nested {
                    if seen.len() <= MOST_SEEN {
                        seen.insert(hash(key.as_octets()));
                    }
                    part.add_parent(&parent, &entry.dn);
                }
            } else {
                census.in_no_stream += 1;
                census.first_in_no_stream.get_or_insert(entry.dn);
            }
            last = Some((parent, index));
        }
        for part in &mut census.parts {
            let Some(parents) = part.parents.take().filter(|_| part.is_nested) else { continue };
            let mut unseen = 0;
            for (key, dn) in &parents {
                if seen.contains(&hash(key.as_octets())) {
                    continue;
                }
                // There may have been too many to keep.
                let is_there = seen.len() > MOST_SEEN && directory.read(dn, &["1.1"]).await?.is_some();
                unseen += u64::from(!is_there);
            }
            census.unseen_parents += unseen;
            if unseen > 0 {
                tracing::info!(
                    "{unseen} parent(s) of entries below `{}` are not visible: it is read as one subtree",
                    containers.dn_of(&part.key).unwrap_or_default()
                );
            } else {
                part.way = ReadStrategy::Levels(NonLeafEntries::of(parents));
            }
        }
        Ok(census)
    }

    /// Counts an entry with a DN that is not UTF-8. Escaped, it is a valid DN (RFC 4514 section 2.4).
    fn note_unreadable(&mut self, dn: &str, schema: &Schema) {
        let parent = DnKey::parse(dn, schema).ok().and_then(|key| key.parent());
        let index = parent.and_then(|parent| self.at_or_above(&parent));
        match index.and_then(|n| self.parts.get_mut(n)) {
            Some(part) => part.unreadable += 1,
            None => self.gaps.unreadable += 1,
        }
    }

    /// Returns what was skipped and may belong to a container.
    pub fn gaps(&self, container: &DnKey) -> Gaps {
        let own = self.part(container).map_or(0, |part| part.unreadable);
        Gaps { unreadable: self.gaps.unreadable + own, ..self.gaps }
    }

    /// Returns the container at a DN or nearest above it.
    fn at_or_above(&self, key: &DnKey) -> Option<usize> {
        let mut next = Some(key.clone());
        while let Some(key) = next {
            if let Some(index) = self.by_key.get(&key) {
                return Some(*index);
            }
            next = key.parent();
        }
        None
    }

    fn part(&self, container: &DnKey) -> Option<&Part> {
        self.parts.get(*self.by_key.get(container)?)
    }

    /// Returns how to read the entries of a container.
    pub fn strategy(&self, container: &DnKey) -> &ReadStrategy {
        self.part(container).map_or(&ReadStrategy::Subtree, |part| &part.way)
    }

    /// Returns the entries of a container's stream.
    pub(crate) fn of_container(&self, container: &DnKey) -> Option<&Tally> {
        self.part(container).map(|part| &part.held)
    }

    /// Returns the containers themselves.
    pub(crate) fn of_containers(&self) -> &Tally {
        &self.containers
    }
}

impl Part {
    fn add_parent(&mut self, parent: &DnKey, dn: &str) {
        if *parent == self.key {
            return;
        }
        if let Some(parents) = &mut self.parents
            && !parents.contains_key(parent)
        {
            parents.insert(parent.clone(), ldap_directory::dn::parent(dn));
            if parents.len() > non_leaf::MOST {
                self.parents = None;
            }
        }
    }
}
