//! Where the entries of a stream come from: one iterator for every kind of stream.

use std::collections::VecDeque;

use singer_common::directory::{
    Directory, DirectoryError, EntryRef, Found, Paging, Scope, SearchControl, SearchRequest, SearchStream,
    Vendor,
};
use singer_common::dn::DnKey;
use singer_common::entry::{Entry, EntryView};
use singer_common::schema::syntax::ValueKind;
use singer_common::summary::{self, Count};
use tokio::sync::OnceCell;

use crate::classes::{self, ClassStream};
use crate::config::{StreamConfig, TapConfig};
use crate::container::{self, Containers};
use crate::inner::{self, Inner};
use crate::sample::IdentityAttributes;

mod keep;

use keep::Keep;

/// The filter that every entry passes.
pub const EVERYTHING: &str = "(objectClass=*)";

/// The operational attribute that tells whether entries lie below (X.501; OpenLDAP and 389 DS have it, Active Directory
/// has not).
const HAS_SUBORDINATES: &str = "hasSubordinates";

/// The operational attributes that count them (389 DS; [MS-ADA2] 2.450).
const SUBORDINATES: &[&str] = &["numSubordinates", "msDS-Approx-Immed-Subordinates"];

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
    /// What names entries, and tells what changed.
    pub ids: IdentityAttributes,
    /// Whether the server tells if an entry has entries below it.
    tells_subordinates: bool,
    /// The entries that have, once somebody had to know; `None` when they are too many.
    inner: OnceCell<Option<Inner>>,
}

impl Tree {
    /// Looks up what the streams are made of.
    pub async fn find(config: &TapConfig, directory: &Directory, base: &str) -> Result<Tree, DirectoryError> {
        let discovers = config.schemas.is_empty();
        let ids = IdentityAttributes::find(config, directory, base).await?;
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
            ids,
            tells_subordinates,
            inner: OnceCell::new(),
        })
    }

    /// How many entries a source has, as far as one entry tells: 389 DS counts what lies directly below it, and so does
    /// Active Directory, roughly. `None` where nobody does, or where a filter leaves out who knows how many.
    pub async fn expected(&self, source: &Source) -> Option<u64> {
        let dn = match source {
            Source::Container { dn } => dn,
            Source::Search(s) if s.scope == Scope::One && s.filter == EVERYTHING => {
                s.base_dn.as_ref().unwrap_or(&self.base)
            }
            _ => return None,
        };
        let entry = self.directory.read(dn, SUBORDINATES).await.ok()??;
        SUBORDINATES.iter().find_map(|name| entry.first_text(name)?.parse().ok())
    }

    /// What tells this server from others that hold the same directory: what it counts, it counts alone.
    pub async fn local_identity(&self) -> Result<String, DirectoryError> {
        if self.directory.root_dse().vendor != Vendor::ActiveDirectory {
            return Ok(self.directory.location().to_owned());
        }
        // [MS-ADTS] 3.1.1.1.9: the invocation id of its database, which a restored one changes.
        let root = self.directory.read("", &["dsServiceName"]).await?.unwrap_or_default();
        let service = root.first_text("dsServiceName").unwrap_or_default().to_owned();
        let settings = match self.directory.read(&service, &["invocationId"]).await {
            Ok(entry) => entry.unwrap_or_default(),
            // Not everybody may read it: then the server's name has to do.
            Err(e) if e.code().is_some() => return Ok(service),
            Err(e) => return Err(e),
        };
        let mut id = Vec::new();
        let written = settings.values("invocationId").first().map(|v| ValueKind::Guid.write_json(v, &mut id));
        Ok(if matches!(written, Some(Ok(()))) { String::from_utf8_lossy(&id).into_owned() } else { service })
    }

    /// The entries below containers that are none themselves and have entries below them. Looked up once in a run;
    /// `None` when they are too many to keep in mind.
    pub async fn inner(&self) -> Result<Option<&Inner>, DirectoryError> {
        let find = || Inner::find(&self.directory, &self.base, &self.containers, inner::MOST);
        Ok(self.inner.get_or_try_init(find).await?.as_ref())
    }

    /// Of these, those whose nearest container this is, which has others nested in it: with searches of one level, the
    /// container's own and one for each of them, all of its entries are seen and no others. `None` when they are too
    /// many.
    pub async fn inner_below(&self, container: &DnKey) -> Result<Option<Vec<&str>>, DirectoryError> {
        Ok(self.inner().await?.map(|inner| inner.below(container, &self.containers)))
    }
}

/// The entries of a stream, one by one.
#[derive(Debug)]
pub struct Entries<'a> {
    tree: &'a Tree,
    filter: String,
    controls: Vec<SearchControl>,
    attributes: Vec<String>,
    paging: Paging,
    steps: VecDeque<Step>,
    current: Option<Box<Current>>,
    /// The entry in hand, where it is not in place in the search.
    held: Option<Entry>,
    /// Whether ranges of that one's attributes are still to be asked for.
    is_incomplete: bool,
    /// Whether [`HAS_SUBORDINATES`] is asked for here only, not by the stream.
    asked_subordinates: bool,
    /// Where the server does not tell: the entries with others below them.
    inner: Option<&'a Inner>,
    /// Entries that searches gave, those that are not of the stream included.
    received: u64,
    /// Continuation references that were left out.
    pub references: u64,
}

#[derive(Debug)]
enum Step {
    /// Entries read at once: containers, which are few and have to be sorted.
    Ready(VecDeque<Entry>),
    /// A search.
    Search(Search),
}

/// A search, and which of its entries to keep.
#[derive(Debug)]
struct Search {
    request: SearchRequest,
    keep: Keep,
    /// Whether the base was seen in this very run, and may be gone by now.
    base_may_be_gone: bool,
}

/// The search in hand.
#[derive(Debug)]
struct Current {
    search: SearchStream,
    base: String,
    keep: Keep,
    base_may_be_gone: bool,
    /// The steps there were before this one added its own.
    steps_before: usize,
}

impl<'a> Entries<'a> {
    /// Begins to read a stream. `attributes` are those to ask the server for; `paging` is for short samples.
    pub async fn open(
        tree: &'a Tree,
        source: &Source,
        attributes: &[String],
        paging: Paging,
    ) -> Result<Entries<'a>, DirectoryError> {
        Self::open_filtered(tree, source, attributes, paging, EVERYTHING, Vec::new()).await
    }

    /// The same for the entries that pass a filter, with more controls.
    pub async fn open_filtered(
        tree: &'a Tree,
        source: &Source,
        attributes: &[String],
        paging: Paging,
        filter: &str,
        controls: Vec<SearchControl>,
    ) -> Result<Entries<'a>, DirectoryError> {
        let schema = tree.directory.schema();
        let source = match source {
            Source::Members(of) => of,
            other => other,
        };
        let mut entries = Entries::new(tree, attributes, paging);
        filter.clone_into(&mut entries.filter);
        entries.controls = controls;
        let step = match source {
            Source::Containers | Source::Members(_) => {
                let names: Vec<&str> = attributes.iter().map(String::as_str).collect();
                let found = container::read_entries(&tree.directory, &tree.base, &names, filter).await?;
                entries.references = found.references;
                Step::Ready(found.entries.into_iter().map(|(_, entry)| entry).collect())
            }
            Source::Container { dn } => {
                // What was not seen of the containers may be missing here, or be here in their place.
                entries.references = tree.containers.references;
                let key = container::key(dn, schema)?;
                if !tree.containers.has_nested(&key) {
                    entries.step(dn, Scope::Sub, Keep::Below(dn.clone()))
                } else if filter != EVERYTHING {
                    // Entries that do not pass may have entries below them that do: no way but down to the bottom.
                    entries.step(dn, Scope::Sub, Keep::Nearest { depth: key.depth() + 1, container: key })
                } else if tree.tells_subordinates {
                    if !entries.attributes.iter().any(|a| a.eq_ignore_ascii_case(HAS_SUBORDINATES)) {
                        entries.attributes.push(HAS_SUBORDINATES.to_owned());
                        entries.asked_subordinates = true;
                    }
                    entries.step(dn, Scope::One, Keep::Children { container: key })
                } else if let Some(inner) = tree.inner().await? {
                    entries.inner = Some(inner);
                    entries.references += inner.references;
                    entries.step(dn, Scope::One, Keep::Children { container: key })
                } else {
                    // This server does not say where to look, and there is too much to keep in mind: read all that
                    // lies below, keep ours.
                    entries.step(dn, Scope::Sub, Keep::Nearest { depth: key.depth() + 1, container: key })
                }
            }
            Source::Class { filter } => {
                let mut request = entries.request(&tree.base, Scope::Sub);
                request.filter = both(filter, &request.filter);
                Step::Search(Search { request, keep: Keep::All, base_may_be_gone: false })
            }
            Source::Search(stream) => {
                let base = stream.base_dn.as_deref().unwrap_or(&tree.base);
                let mut request = entries.request(base, stream.scope);
                request.filter = both(&stream.filter, &request.filter);
                Step::Search(Search { request, keep: Keep::All, base_may_be_gone: false })
            }
        };
        entries.steps.push_back(step);
        Ok(entries)
    }

    fn new(tree: &'a Tree, attributes: &[String], paging: Paging) -> Entries<'a> {
        Entries {
            tree,
            filter: EVERYTHING.to_owned(),
            controls: Vec::new(),
            attributes: attributes.to_vec(),
            paging,
            steps: VecDeque::new(),
            current: None,
            held: None,
            is_incomplete: false,
            asked_subordinates: false,
            inner: None,
            received: 0,
            references: 0,
        }
    }

    /// Begins to read what a stream has below an entry.
    pub fn open_below(
        tree: &'a Tree,
        source: &Source,
        attributes: &[String],
        dn: &str,
    ) -> Result<Entries<'a>, DirectoryError> {
        // In pages, whatever else is being read: there may be more than the server gives at once. Each search has a connection
        // of its own.
        let mut entries = Entries::new(tree, attributes, Paging::Configured);
        let mut keep = Keep::Below(dn.to_owned());
        match source {
            // What lies deeper is not in the stream.
            Source::Search(stream) if stream.scope != Scope::Sub => return Ok(entries),
            Source::Search(stream) => entries.filter.clone_from(&stream.filter),
            Source::Class { filter } => entries.filter.clone_from(filter),
            Source::Containers => entries.filter = container::filter(tree.directory.root_dse().vendor),
            Source::Container { dn: container } => {
                let schema = tree.directory.schema();
                let depth = container::key(dn, schema)?.depth() + 1;
                keep = Keep::Nearest { container: container::key(container, schema)?, depth };
            }
            Source::Members(_) => return Ok(entries),
        }
        let step = entries.step(dn, Scope::Sub, keep);
        entries.steps.push_back(step);
        Ok(entries)
    }

    /// Whether all entries come from one search, which a server can sort.
    pub fn is_one_search(&self) -> bool {
        self.current.is_none()
            && self.steps.len() == 1
            && matches!(self.steps.front(), Some(Step::Search(..)))
    }

    fn request(&self, base: &str, scope: Scope) -> SearchRequest {
        SearchRequest {
            base: base.to_owned(),
            scope,
            filter: self.filter.clone(),
            attributes: self.attributes.clone(),
            paging: self.paging,
            controls: self.controls.clone(),
            // In a record's stream the last one counts. What is sorted goes on where it was.
            may_repeat: self.controls.is_empty() && self.paging == Paging::Configured,
        }
    }

    fn step(&self, base: &str, scope: Scope, keep: Keep) -> Step {
        let mut request = self.request(base, scope);
        // The base comes too: without room for it a sample would need a second page for its last entry.
        if let (Keep::Below(_), Paging::AtMost(limit)) = (&keep, &mut request.paging) {
            *limit = limit.saturating_add(1);
        }
        Step::Search(Search { request, keep, base_may_be_gone: false })
    }

    /// The next entry; `None` once the answer is complete.
    pub async fn next(&mut self) -> Result<Option<Entry>, DirectoryError> {
        if !self.advance_at_once()? && !self.advance().await? {
            return Ok(None);
        }
        let mut entry = match self.held.take() {
            Some(entry) => entry,
            None => self.entry().to_entry(),
        };
        if self.asked_subordinates {
            entry.attributes.retain(|a| !a.description.eq_ignore_ascii_case(HAS_SUBORDINATES));
        }
        Ok(Some(entry))
    }

    /// The entry in hand, as the server gave it: it may have attributes that only reading needed.
    pub fn entry(&self) -> EntryRef<'_> {
        static NONE: Entry = Entry { dn: String::new(), attributes: Vec::new() };
        let in_place = || self.current.as_ref().and_then(|c| c.search.in_place()).map(EntryRef::Wire);
        self.held.as_ref().map(EntryRef::Whole).or_else(in_place).unwrap_or(EntryRef::Whole(&NONE))
    }

    /// Goes on to the next entry: `false` once the answer is complete.
    pub async fn advance(&mut self) -> Result<bool, DirectoryError> {
        loop {
            if let Some(entry) = self.held.as_mut().filter(|_| self.is_incomplete) {
                self.tree.directory.complete_ranges(entry).await?;
                self.is_incomplete = false;
                return Ok(true);
            }
            self.held = None;
            let Some(current) = &mut self.current else {
                if self.begin_step().await? {
                    if self.held.is_some() {
                        return Ok(true);
                    }
                    continue;
                }
                tracing::debug!("{} entries were received", self.received);
                return Ok(false);
            };
            let next = match current.search.advance().await {
                Err(e) if current.base_may_be_gone && e.is_no_such_object() => None,
                next => next?,
            };
            match next {
                None => self.current = None,
                Some(found) => {
                    if self.take(found)? && !self.is_incomplete {
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// The same where nothing has to be waited for. `false` says that [`Self::advance`] is to be asked.
    pub fn advance_at_once(&mut self) -> Result<bool, DirectoryError> {
        if self.is_incomplete {
            return Ok(false);
        }
        self.held = None;
        while let Some(current) = &mut self.current {
            let found = match current.search.advance_at_once() {
                Err(e) if current.base_may_be_gone && e.is_no_such_object() => {
                    self.current = None;
                    return Ok(false);
                }
                found => found?,
            };
            let Some(found) = found else { return Ok(false) };
            if self.take(found)? {
                return Ok(!self.is_incomplete);
            }
        }
        Ok(false)
    }

    /// Begins the next step, or takes the next entry of one that is read already. `false`: there is none.
    async fn begin_step(&mut self) -> Result<bool, DirectoryError> {
        let Some(step) = self.steps.pop_front() else { return Ok(false) };
        match step {
            Step::Ready(mut ready) => {
                if let Some(entry) = ready.pop_front() {
                    self.received += 1;
                    self.held = Some(entry);
                    self.steps.push_front(Step::Ready(ready));
                }
            }
            Step::Search(Search { request, keep, base_may_be_gone }) => {
                let base = request.base.clone();
                let search = self.tree.directory.search(request).await?;
                let steps_before = self.steps.len();
                self.current = Some(Box::new(Current { search, base, keep, base_may_be_gone, steps_before }));
            }
        }
        Ok(true)
    }

    /// Looks at what a search gave. Whether it is an entry of the stream.
    fn take(&mut self, found: Found) -> Result<bool, DirectoryError> {
        match found {
            Found::Reference(_) => {
                self.references += 1;
                return Ok(false);
            }
            Found::Entry(entry) => self.held = Some(entry),
            Found::InPlace => {}
        }
        self.received += 1;
        let kept = self.keeps()?;
        if let Some((dn, key, container)) = kept.below {
            self.read_below(&dn, &key, container);
        }
        if !kept.is_kept {
            self.held = None;
            return Ok(false);
        }
        let entry = self.entry();
        if entry.has_values_in_options() {
            self.held = Some(entry.to_entry());
            self.is_incomplete = true;
        }
        Ok(true)
    }

    /// Reads more of the page under way, and leaves it where it is. Whether there is more to read; may be dropped while it
    /// waits.
    pub async fn absorb(&mut self) -> Result<bool, DirectoryError> {
        match &mut self.current {
            Some(current) => current.search.absorb().await,
            None => Ok(false),
        }
    }

    /// Entries that searches gave so far, those that are not of the stream included.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Ends reading before its end.
    pub async fn close(mut self) -> Result<(), DirectoryError> {
        match self.current.take() {
            Some(current) => current.search.abandon().await,
            None => Ok(()),
        }
    }
}

impl Drop for Entries<'_> {
    fn drop(&mut self) {
        summary::add(Count::Entries, self.received);
    }
}

/// A stream's own filter and another one. The user's filter stays as it is where nothing is added.
fn both(own: &str, other: &str) -> String {
    if other == EVERYTHING { own.to_owned() } else { format!("(&{own}{other})") }
}
