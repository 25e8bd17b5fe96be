//! Where the entries of a stream come from: one iterator for every kind of stream.

use std::collections::VecDeque;

use singer_common::directory::{
    Directory, DirectoryError, Paging, Scope, SearchItem, SearchRequest, SearchStream,
};
use singer_common::dn::DnKey;
use singer_common::entry::Entry;

use crate::classes::{self, ClassStream};
use crate::config::{StreamConfig, TapConfig};
use crate::container::{self, Containers};

/// The operational attribute that tells whether entries lie below (X.501; OpenLDAP and 389 DS have it).
const HAS_SUBORDINATES: &str = "hasSubordinates";

/// Entries of a container with others below them, up to which these are searched one by one.
const SEARCHES_BELOW: usize = 32;

/// What a stream is made of.
#[derive(Debug, Clone)]
pub enum Source {
    /// The container entries.
    Containers,
    /// The entries whose nearest container this is.
    Container {
        /// The container.
        dn: String,
    },
    /// The entries of a structural class.
    Class {
        /// The filter that only they pass.
        filter: String,
    },
    /// A search the user wrote.
    Search(Box<StreamConfig>),
    /// The members of the groups of another source.
    Members(Box<Source>),
}

/// What all sources of a run have in common.
#[derive(Debug)]
pub struct Tree {
    /// The directory.
    pub directory: Directory,
    /// Where it begins.
    pub base: String,
    /// Its containers; none when they are no streams.
    pub containers: Containers,
    /// Its structural classes; none when they are no streams.
    pub classes: Vec<ClassStream>,
    /// Whether the server tells if an entry has entries below it.
    tells_subordinates: bool,
}

impl Tree {
    /// Looks up what the streams are made of.
    pub async fn find(config: &TapConfig, directory: &Directory, base: &str) -> Result<Tree, DirectoryError> {
        let discovers = config.schemas.is_empty();
        let (containers, tells_subordinates) = if discovers && config.discover_by.containers() {
            let base_entry = directory.read(base, &[HAS_SUBORDINATES]).await?;
            let tells = base_entry.is_some_and(|e| e.attribute(HAS_SUBORDINATES).is_some());
            (Containers::find(directory, base).await?, tells)
        } else {
            (Containers::default(), false)
        };
        let classes = if discovers && config.discover_by.classes() {
            classes::find(directory, base).await?
        } else {
            Vec::new()
        };
        Ok(Tree {
            directory: directory.clone(),
            base: base.to_owned(),
            containers,
            classes,
            tells_subordinates,
        })
    }
}

/// The entries of a stream, one by one.
#[derive(Debug)]
pub struct Entries<'a> {
    tree: &'a Tree,
    /// The container that is read, empty where it is none.
    container: String,
    filter: &'static str,
    attributes: Vec<String>,
    paging: Paging,
    steps: VecDeque<Step>,
    current: Option<(SearchStream, Keep)>,
    /// Whether the base of the search in hand was seen in this very run, and may be gone by now.
    base_may_be_gone: bool,
    /// Whether [`HAS_SUBORDINATES`] is asked for here only, not by the stream.
    asked_subordinates: bool,
    /// Continuation references that were left out.
    pub references: u64,
}

#[derive(Debug)]
enum Step {
    /// Entries read at once: containers, which are few and have to be sorted.
    Ready(VecDeque<Entry>),
    /// A search, and which of its entries to keep.
    Search(SearchRequest, Keep),
}

/// Which entries of a search belong to the stream.
#[derive(Debug, Clone)]
enum Keep {
    /// All of them.
    All,
    /// All but the base of the search, given as the server spells it: most streams are read so, and comparing texts
    /// spares them a key for every entry.
    Below(String),
    /// Those right below a container that are no containers. What lies below them is read next.
    Children,
    /// Those whose nearest container this is, and that lie at least so deep.
    Nearest { container: DnKey, depth: usize },
}

impl<'a> Entries<'a> {
    /// Begins to read a stream. `attributes` are those to ask the server for; `paging` is for short samples.
    pub async fn open(
        tree: &'a Tree,
        source: &Source,
        attributes: &[String],
        paging: Paging,
    ) -> Result<Entries<'a>, DirectoryError> {
        Self::open_filtered(tree, source, attributes, paging, "(objectClass=*)").await
    }

    /// The same, but only entries that pass a filter are needed: others may come all the same.
    pub async fn open_filtered(
        tree: &'a Tree,
        source: &Source,
        attributes: &[String],
        paging: Paging,
        filter: &'static str,
    ) -> Result<Entries<'a>, DirectoryError> {
        let schema = tree.directory.schema();
        let source = match source {
            Source::Members(of) => of,
            other => other,
        };
        let mut entries = Entries {
            tree,
            container: String::new(),
            filter,
            attributes: attributes.to_vec(),
            paging,
            steps: VecDeque::new(),
            current: None,
            base_may_be_gone: false,
            asked_subordinates: false,
            references: 0,
        };
        let step = match source {
            Source::Containers | Source::Members(_) => {
                let names: Vec<&str> = attributes.iter().map(String::as_str).collect();
                let (found, references) =
                    container::read_entries(&tree.directory, &tree.base, &names).await?;
                entries.references = references;
                Step::Ready(found.into())
            }
            Source::Container { dn } => {
                entries.container.clone_from(dn);
                let key = container::key(dn, schema)?;
                if !tree.containers.has_nested(&key) {
                    entries.step(dn, Scope::Sub, Keep::Below(dn.clone()))
                } else if tree.tells_subordinates {
                    if !entries.attributes.iter().any(|a| a.eq_ignore_ascii_case(HAS_SUBORDINATES)) {
                        entries.attributes.push(HAS_SUBORDINATES.to_owned());
                        entries.asked_subordinates = true;
                    }
                    entries.step(dn, Scope::One, Keep::Children)
                } else {
                    // This server does not say where to look: read all, keep ours.
                    entries.step(dn, Scope::Sub, Keep::Nearest { depth: key.depth() + 1, container: key })
                }
            }
            Source::Class { filter } => {
                let mut request = entries.request(&tree.base, Scope::Sub);
                request.filter = both(filter, &request.filter);
                Step::Search(request, Keep::All)
            }
            Source::Search(stream) => {
                let base = stream.base_dn.as_deref().unwrap_or(&tree.base);
                let mut request = entries.request(base, stream.scope);
                request.filter = both(&stream.filter, &request.filter);
                Step::Search(request, Keep::All)
            }
        };
        entries.steps.push_back(step);
        Ok(entries)
    }

    fn request(&self, base: &str, scope: Scope) -> SearchRequest {
        SearchRequest {
            base: base.to_owned(),
            scope,
            filter: self.filter.to_owned(),
            attributes: self.attributes.clone(),
            paging: self.paging,
        }
    }

    fn step(&self, base: &str, scope: Scope, keep: Keep) -> Step {
        let mut request = self.request(base, scope);
        // Entries that would not pass may have entries below them that do.
        if matches!(keep, Keep::Children) {
            "(objectClass=*)".clone_into(&mut request.filter);
        }
        Step::Search(request, keep)
    }

    /// The next entry; `None` once the answer is complete.
    pub async fn next(&mut self) -> Result<Option<Entry>, DirectoryError> {
        loop {
            let Some((search, keep)) = &mut self.current else {
                match self.steps.front_mut() {
                    None => return Ok(None),
                    Some(Step::Ready(ready)) => {
                        if let Some(entry) = ready.pop_front() {
                            return Ok(Some(entry));
                        }
                        self.steps.pop_front();
                    }
                    Some(Step::Search(..)) => {
                        if let Some(Step::Search(request, keep)) = self.steps.pop_front() {
                            self.base_may_be_gone =
                                matches!(&keep, Keep::Nearest { .. }) && request.base != self.container;
                            self.current = Some((self.tree.directory.search(request).await?, keep));
                        }
                    }
                }
                continue;
            };
            let next = match search.next().await {
                Err(e) if self.base_may_be_gone && e.is_no_such_object() => None,
                next => next?,
            };
            match next {
                None => self.current = None,
                Some(SearchItem::Reference(_)) => self.references += 1,
                Some(SearchItem::Entry(mut entry)) => {
                    let keep = keep.clone();
                    if self.keeps(&keep, &entry)? {
                        if self.asked_subordinates {
                            entry
                                .attributes
                                .retain(|a| !a.description.eq_ignore_ascii_case(HAS_SUBORDINATES));
                        }
                        self.tree.directory.complete_ranges(&mut entry).await?;
                        return Ok(Some(entry));
                    }
                }
            }
        }
    }

    /// Ends reading before its end.
    pub async fn close(self) -> Result<(), DirectoryError> {
        match self.current {
            Some((search, _)) => search.abandon().await,
            None => Ok(()),
        }
    }

    /// Reads what lies below an entry that is no container: a search each, or one for all when they are many.
    fn read_below(&mut self, dn: &str, key: &DnKey) {
        let Some(container) = self.tree.containers.nearest(key) else { return };
        // Once the whole container is going to be read for it, there is nothing to add.
        if self.steps.iter().any(|step| matches!(step, Step::Search(r, _) if r.base == self.container)) {
            return;
        }
        let (base, depth) = if self.steps.len() < SEARCHES_BELOW {
            (dn.to_owned(), key.depth() + 1)
        } else {
            self.steps.clear();
            (self.container.clone(), container.depth() + 2)
        };
        self.steps.push_back(self.step(&base, Scope::Sub, Keep::Nearest { container, depth }));
    }

    fn keeps(&mut self, keep: &Keep, entry: &Entry) -> Result<bool, DirectoryError> {
        match keep {
            Keep::All => return Ok(true),
            Keep::Below(base) => return Ok(entry.dn != *base),
            Keep::Children | Keep::Nearest { .. } => {}
        }
        let containers = &self.tree.containers;
        let key = container::key(&entry.dn, self.tree.directory.schema())?;
        match keep {
            Keep::All | Keep::Below(_) => Ok(true),
            Keep::Nearest { container, depth } => Ok(key.depth() >= *depth
                && !containers.contains(&key)
                && containers.nearest(&key).as_ref() == Some(container)),
            Keep::Children => {
                if containers.contains(&key) {
                    return Ok(false);
                }
                if entry.first_text(HAS_SUBORDINATES) != Some("FALSE") {
                    self.read_below(&entry.dn, &key);
                }
                Ok(true)
            }
        }
    }
}

/// A stream's own filter and another one. The user's filter stays as it is where nothing is added.
fn both(own: &str, other: &str) -> String {
    if other == "(objectClass=*)" { own.to_owned() } else { format!("(&{own}{other})") }
}
