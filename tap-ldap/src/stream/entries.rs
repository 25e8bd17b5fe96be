//! Where the entries of a stream come from: one iterator for every kind of stream.

use std::collections::VecDeque;
use std::sync::Arc;

use singer_common::directory::{
    Directory, DirectoryError, EntryRef, Found, Paging, Scope, SearchControl, SearchRequest, SearchStream,
    Vendor,
};
use singer_common::dn::DnKey;
use singer_common::entry::{Entry, EntryView};
use singer_common::schema::syntax::ValueKind;
use singer_common::summary::{self, Count};
use tokio::sync::{Mutex, OnceCell};

use crate::config::{StreamConfig, TapConfig, Verify};
use crate::discovery::census::{Census, Way};
use crate::discovery::classes::{self, ClassStream, Missed};
use crate::discovery::container::{self, Containers};
use crate::discovery::non_leaf::{self, Inner};
use crate::discovery::sample::IdentityAttributes;
use crate::discovery::tally::{Tally, hash};

mod base_only;
mod entry_scope;

use entry_scope::Keep;

/// The filter that every entry passes, in whatever words the server is asked.
pub const EVERYTHING: &str = singer_common::directory::MATCH_ALL;

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
    /// Whether whole reads are verified.
    pub verify: Verify,
    /// Whether the server tells if an entry has entries below it.
    tells_subordinates: bool,
    /// The entries that have, once somebody had to know; `None` when they are too many.
    inner: OnceCell<Option<Inner>>,
    /// What a pass over the names found, once a stream was read whole.
    census: Mutex<Names>,
    /// The entries that no class stream has, once one was read whole.
    missed: OnceCell<Missed>,
}

/// What is known of the names below the base.
#[derive(Debug, Clone, Default)]
enum Names {
    /// Nobody had to know yet.
    #[default]
    Unread,
    /// A pass over them was made.
    Counted(Arc<Census>),
    /// The server refused one by a limit, and would do so again.
    Refused,
}

impl Tree {
    /// Looks up what the streams are made of.
    pub async fn find(config: &TapConfig, directory: &Directory, base: &str) -> Result<Tree, DirectoryError> {
        let discovers = config.schemas.is_empty();
        let ids = IdentityAttributes::find(config, directory, base).await.map_err(container::absent_base)?;
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
            verify: config.verify,
            tells_subordinates,
            inner: OnceCell::new(),
            census: Mutex::default(),
            missed: OnceCell::new(),
        })
    }

    /// The entries that no class stream has, for the bound user may not see their classes. Looked up once in a run, with one
    /// warning; none where nobody verifies, and where no such entry could be seen.
    pub async fn missed(&self) -> Result<&Missed, DirectoryError> {
        let find = || async {
            if self.classes.is_empty()
                || self.verify == Verify::Never
                || !self.directory.root_dse().finds_without_class()
            {
                return Ok(Missed::default());
            }
            let missed = match classes::missed(&self.directory, &self.base, &self.classes).await {
                // Each class may still be within the limit.
                Err(e) if e.is_limit() => {
                    tracing::warn!(
                        "the server refuses to list the names of all entries ({e}): whether there are some whose objectClass the bound user may not see, and which are in no stream, is not known"
                    );
                    Missed::default()
                }
                missed => missed?,
            };
            if missed.count > 0 {
                tracing::warn!(
                    books_differ = missed.count,
                    "{} entries are in no stream of a class (the first is `{}`): the bound user may not see their objectClass. Let it search and read objectClass, or read by containers (discover_by)",
                    missed.count,
                    missed.first.as_deref().unwrap_or_default()
                );
            }
            Ok(missed)
        };
        self.missed.get_or_try_init(find).await
    }

    /// The same, if it was looked up.
    pub fn missed_so_far(&self) -> Option<&Missed> {
        self.missed.get()
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
        let find = || Inner::find(&self.directory, &self.base, &self.containers, non_leaf::MOST);
        Ok(self.inner.get_or_try_init(find).await?.as_ref())
    }

    /// The names below the base, by container. Looked up once in a run, before the first stream is read whole that needs it.
    /// `None` where the server refuses to list all of them by a limit, which is one warning: each container may still be
    /// within it.
    pub async fn census(&self) -> Result<Option<Arc<Census>>, DirectoryError> {
        let mut slot = self.census.lock().await;
        match &*slot {
            Names::Counted(census) => return Ok(Some(census.clone())),
            Names::Refused => return Ok(None),
            Names::Unread => {}
        }
        match Census::take(&self.directory, &self.base, &self.containers).await {
            Ok(census) => {
                let census = Arc::new(census);
                *slot = Names::Counted(census.clone());
                Ok(Some(census))
            }
            Err(e) if e.is_limit() => {
                tracing::warn!(
                    "the server refuses to list the names of all entries ({e}): containers with others nested in them are read level by level, where an entry below a parent that the bound user may not see is missed. So their streams are not complete: no ACTIVATE_VERSION is sent for them and nothing is deleted downstream. Let the bound user list all names: by pages (page_size above 0), or by a higher limit",
                );
                *slot = Names::Refused;
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// The census, if it was taken.
    pub async fn census_taken(&self) -> Option<Arc<Census>> {
        match &*self.census.lock().await {
            Names::Counted(census) => Some(census.clone()),
            Names::Unread | Names::Refused => None,
        }
    }

    /// Whether the server refused to list all names.
    pub async fn is_census_refused(&self) -> bool {
        matches!(*self.census.lock().await, Names::Refused)
    }

    /// Whether a stream is read by one search, which gives all of it or fails.
    pub fn is_one_search(&self, source: &Source) -> Result<bool, DirectoryError> {
        Ok(match source {
            Source::Container { dn } => {
                !self.containers.has_nested(&container::key(dn, self.directory.schema())?)
            }
            Source::Members(of) => self.is_one_search(of)?,
            Source::Containers | Source::Class { .. } | Source::Search(_) => true,
        })
    }

    /// Before a stream is read whole whose later reads go on from a position taken now: an entry that came below another
    /// one since the names were looked at would never be read. Where the server tells at each entry whether others lie
    /// below it, nothing has to be looked at anew.
    pub async fn prepare_for_position(&self, source: &Source) -> Result<(), DirectoryError> {
        if !self.tells_subordinates && !self.is_one_search(source)? {
            let mut names = self.census.lock().await;
            if matches!(*names, Names::Counted(_)) {
                *names = Names::Unread;
            }
        }
        Ok(())
    }

    /// Whether a container with others nested in it was read as one subtree, and not level by level.
    pub async fn reads_subtree(&self, source: &Source) -> Result<bool, DirectoryError> {
        let (Source::Container { dn }, Some(census)) = (source, self.census_taken().await) else {
            return Ok(false);
        };
        let key = container::key(dn, self.directory.schema())?;
        Ok(self.containers.has_nested(&key) && matches!(census.way(&key), Way::Subtree))
    }

    /// Whether all entries of a container that has others nested in it lie right below it, so that a search of one level
    /// gives all of them and no others.
    pub async fn is_flat(&self, container: &DnKey) -> Result<bool, DirectoryError> {
        if let Some(census) = self.census_taken().await {
            return Ok(matches!(census.way(container), Way::Levels(inner) if inner.is_empty()));
        }
        if self.is_census_refused().await {
            return Ok(false);
        }
        match self.inner().await {
            // All of the subtree is asked for then.
            Err(e) if e.is_limit() => Ok(false),
            inner => Ok(inner?.is_some_and(|inner| inner.below(container, &self.containers).is_empty())),
        }
    }
}

impl Tree {
    /// Keeps all entries of a search, but for the root DSE, which is none.
    fn keep_all(&self, request: &SearchRequest) -> Keep {
        let may_have_root_dse =
            request.scope == Scope::Sub && container::is_root_dse(&self.directory, &request.base);
        if may_have_root_dse { Keep::Below(String::new()) } else { Keep::All }
    }
}

/// The entries of a stream, one by one.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about the read")]
#[derive(Debug)]
pub struct Entries<'a> {
    tree: &'a Tree,
    filter: String,
    controls: Vec<SearchControl>,
    attributes: Vec<String>,
    /// What is asked for entry by entry.
    singly: Vec<String>,
    paging: Paging,
    steps: VecDeque<Step>,
    current: Option<Box<Current>>,
    /// The entry in hand, where it is not in place in the search.
    held: Option<Entry>,
    /// Whether something of that one is still to be asked for: ranges of its attributes, or what is read entry by entry.
    is_incomplete: bool,
    /// Whether [`HAS_SUBORDINATES`] is asked for here only, not by the stream.
    asked_subordinates: bool,
    /// The entries with others below them, where they were looked up.
    census: Option<Arc<Census>>,
    /// Entries that searches gave, those that are not of the stream included.
    received: u64,
    /// The entries of the stream so far, where books are kept.
    emitted: Option<Tally>,
    /// Whether a search began again and its entries are in that sum twice.
    is_repeated: bool,
    /// Whether entries below parents that are not seen would be missed: the names were not looked at.
    is_unverified: bool,
    /// Searches begun.
    searches: u64,
    /// What was left out.
    pub gaps: Gaps,
}

/// What an answer had that is not read: where there is any, absence proves nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Continuation references to other servers.
    pub references: u64,
    /// Entries whose names are not UTF-8.
    pub unreadable: u64,
}

impl Gaps {
    /// What was left out by reading twice: some of it is the same.
    pub(crate) fn or(self, other: Gaps) -> Gaps {
        Gaps {
            references: self.references.max(other.references),
            unreadable: self.unreadable.max(other.unreadable),
        }
    }
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
    /// How often its answer began again.
    beginnings: u32,
}

/// What a whole read of a stream, or a part of one, gave.
#[derive(Debug)]
pub(crate) struct Account {
    /// What was left out.
    pub(crate) gaps: Gaps,
    /// The entries of the stream, where books are kept.
    pub(crate) emitted: Option<Tally>,
    /// Whether some of them came twice.
    pub(crate) is_repeated: bool,
    /// Whether entries below parents that are not seen would be missed.
    pub(crate) is_unverified: bool,
}

impl Account {
    /// Adds another part of the same stream. Both have seen what is left out of all of it.
    pub(crate) fn add(&mut self, other: Account) {
        self.gaps = self.gaps.or(other.gaps);
        self.is_repeated |= other.is_repeated;
        self.is_unverified |= other.is_unverified;
        match (&mut self.emitted, other.emitted) {
            (Some(own), Some(more)) => own.add_all(&more),
            (own, _) => *own = None,
        }
    }
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
        let is_sample = matches!(paging, Paging::AtMost(_));
        let mut entries = Entries::new(tree, attributes, paging);
        filter.clone_into(&mut entries.filter);
        entries.controls = controls;
        let step = match source {
            Source::Containers | Source::Members(_) => {
                let names: Vec<&str> = entries.attributes.iter().map(String::as_str).collect();
                let found = container::read_entries(&tree.directory, &tree.base, &names, filter).await?;
                entries.gaps = found.gaps;
                Step::Ready(found.entries.into_iter().map(|(_, entry)| entry).collect())
            }
            Source::Container { dn } => {
                // What was not seen of the containers may be missing here, or be here in their place.
                entries.gaps.references = tree.containers.gaps.references;
                let key = container::key(dn, schema)?;
                if !tree.containers.has_nested(&key) {
                    entries.step(dn, Scope::Sub, Keep::Below(dn.clone()))
                } else if filter != EVERYTHING {
                    // Entries that do not pass may have entries below them that do: no way but down to the bottom.
                    entries.step(dn, Scope::Sub, Keep::Nearest { depth: key.depth() + 1, container: key })
                } else {
                    // A sample, too: what lies below an entry that is not seen may be all there is of a class.
                    let census = match tree.census().await {
                        // A server that does not give all names gives some entries all the same; a whole read fails.
                        Err(e) if e.code().is_some() && is_sample && tree.tells_subordinates => None,
                        census => census?,
                    };
                    entries.is_unverified = census.is_none();
                    entries.gaps =
                        entries.gaps.or(census.as_ref().map_or(Gaps::default(), |census| census.gaps(&key)));
                    match census.as_ref().map_or(&Way::Levels(Inner::default()), |census| census.way(&key)) {
                        Way::Levels(_) => {
                            if tree.tells_subordinates {
                                entries.ask_subordinates();
                            }
                            entries.census = census;
                            entries.step(dn, Scope::One, Keep::Children { container: key })
                        }
                        // Read all that lies below, keep ours.
                        Way::Subtree => entries.step(
                            dn,
                            Scope::Sub,
                            Keep::Nearest { depth: key.depth() + 1, container: key },
                        ),
                    }
                }
            }
            Source::Class { filter } => {
                let mut request = entries.request(&tree.base, Scope::Sub);
                request.filter = both(filter, &request.filter);
                let keep = tree.keep_all(&request);
                Step::Search(Search { request, keep, base_may_be_gone: false })
            }
            Source::Search(stream) => {
                let base = stream.base_dn.as_deref().unwrap_or(&tree.base);
                let mut request = entries.request(base, stream.scope);
                request.filter = both(&stream.filter, &request.filter);
                let keep = tree.keep_all(&request);
                Step::Search(Search { request, keep, base_may_be_gone: false })
            }
        };
        entries.steps.push_back(step);
        Ok(entries)
    }

    fn new(tree: &'a Tree, attributes: &[String], paging: Paging) -> Entries<'a> {
        let mut attributes = attributes.to_vec();
        let singly = base_only::take_out(&tree.directory, &mut attributes);
        Entries {
            tree,
            filter: EVERYTHING.to_owned(),
            controls: Vec::new(),
            attributes,
            singly,
            paging,
            steps: VecDeque::new(),
            current: None,
            held: None,
            is_incomplete: false,
            asked_subordinates: false,
            census: None,
            received: 0,
            emitted: None,
            is_repeated: false,
            is_unverified: false,
            searches: 0,
            gaps: Gaps::default(),
        }
    }

    /// Asks for what tells whether others lie below an entry, unless the stream does.
    fn ask_subordinates(&mut self) {
        if !self.attributes.iter().any(|a| a.eq_ignore_ascii_case(HAS_SUBORDINATES)) {
            // With `1.1` alone, nothing else would come.
            self.attributes.retain(|a| a != "1.1");
            self.attributes.push(HAS_SUBORDINATES.to_owned());
            self.asked_subordinates = true;
        }
    }

    /// What this gave is not counted among the entries read: their names were compared, and nothing else.
    pub(crate) fn uncounted(&mut self) {
        self.received = 0;
    }

    /// Keeps books from now on, in a sum like this one.
    pub(crate) fn keep_books(&mut self, like: &Tally) {
        self.emitted = Some(like.empty_like());
    }

    /// What the read gave, at its end.
    pub(crate) fn account(&mut self) -> Account {
        Account {
            gaps: self.gaps,
            emitted: self.emitted.take(),
            is_repeated: self.is_repeated,
            is_unverified: self.is_unverified,
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
                // Boxed: few entries need it.
                Box::pin(self.tree.directory.complete_ranges(entry)).await?;
                Box::pin(base_only::complete(&self.tree.directory, entry, &self.singly)).await?;
                self.is_incomplete = false;
                return Ok(true);
            }
            self.held = None;
            let Some(current) = &mut self.current else {
                if self.begin_step().await? {
                    if self.held.is_some() && !self.is_incomplete {
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
                    if let Some(emitted) = &mut self.emitted {
                        emitted.add(hash(entry.dn.as_bytes()));
                    }
                    self.held = Some(entry);
                    self.is_incomplete = !self.singly.is_empty();
                    self.steps.push_front(Step::Ready(ready));
                }
            }
            Step::Search(Search { request, keep, base_may_be_gone }) => {
                let base = request.base.clone();
                let search = self.tree.directory.search(request).await?;
                let steps_before = self.steps.len();
                self.searches += 1;
                let beginnings = 0;
                self.current = Some(Box::new(Current {
                    search,
                    base,
                    keep,
                    base_may_be_gone,
                    steps_before,
                    beginnings,
                }));
            }
        }
        Ok(true)
    }

    /// Looks at what a search gave. Whether it is an entry of the stream.
    fn take(&mut self, found: Found) -> Result<bool, DirectoryError> {
        match found {
            Found::Reference(_) => {
                self.gaps.references += 1;
                return Ok(false);
            }
            Found::Unreadable(_) => {
                self.gaps.unreadable += 1;
                return Ok(false);
            }
            Found::Entry(entry) => self.held = Some(entry),
            Found::InPlace => {}
        }
        self.received += 1;
        if self.emitted.is_some() {
            self.look_for_beginnings();
        }
        let kept = self.keeps()?;
        if let Some((dn, key, container)) = kept.below {
            self.read_below(&dn, &key, container);
        }
        if !kept.is_kept {
            self.held = None;
            return Ok(false);
        }
        let hash = self.emitted.is_some().then(|| hash(self.entry().dn_octets()));
        if let (Some(emitted), Some(hash)) = (&mut self.emitted, hash) {
            emitted.add(hash);
        }
        let entry = self.entry();
        if entry.has_values_in_options() || !self.singly.is_empty() {
            self.held = Some(entry.to_entry());
            self.is_incomplete = true;
        }
        Ok(true)
    }

    /// Whether the search in hand began again: what it gave before comes once more.
    fn look_for_beginnings(&mut self) {
        let Some(current) = &mut self.current else { return };
        let beginnings = current.search.beginnings();
        if beginnings == current.beginnings {
            return;
        }
        current.beginnings = beginnings;
        if self.searches == 1 {
            self.emitted = self.emitted.take().map(|emitted| emitted.empty_like());
        } else {
            self.is_repeated = true;
        }
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
    match (own, other) {
        (_, EVERYTHING) => own.to_owned(),
        // In a conjunction it would ask for classes that the bound user may not see.
        (EVERYTHING, _) => other.to_owned(),
        _ => format!("(&{own}{other})"),
    }
}
