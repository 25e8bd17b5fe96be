//! The entries of a stream, one by one: one iterator for every kind of [`Source`].
//!
//! A stream is read by a queue of `ReadStep`s. Most streams are one search; a container with nested containers is read level
//! by level, where each level adds the searches of the next one.

use std::collections::VecDeque;
use std::sync::Arc;

use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::{DirectoryError, MATCH_ALL, Paging, Scope, SearchControl, SearchRequest, SearchStream};
use singer_common::operations::summary::{self, Count};

use crate::discovery::census::{Census, ReadStrategy};
use crate::discovery::context::{DirectoryContext, HAS_SUBORDINATES};
use crate::discovery::gaps::Gaps;
use crate::discovery::non_leaf::NonLeafEntries;
use crate::discovery::source::Source;
use crate::discovery::tally::Tally;
use crate::discovery::{containers, dn};

mod advance;
mod base_only;
mod entry_scope;

pub(crate) use base_only::is_base_only;
use entry_scope::ScopeFilter;

/// The entries of a stream, one by one.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about the read")]
#[derive(Debug)]
pub struct Entries<'a> {
    context: &'a DirectoryContext,
    filter: String,
    controls: Vec<SearchControl>,
    attributes: Vec<String>,
    /// Attributes that are read by a base search for each entry.
    base_only: Vec<String>,
    paging: Paging,
    steps: VecDeque<ReadStep>,
    running: Option<Box<RunningSearch>>,
    /// The current entry, unless it is in the buffer of the running search.
    held: Option<Entry>,
    /// Whether the current entry still needs requests: for ranges of its attributes, or for [`Self::base_only`].
    is_incomplete: bool,
    /// Whether [`HAS_SUBORDINATES`] was added to the attributes here, and is not of the stream.
    asked_subordinates: bool,
    /// The census, if it says which entries have subordinates.
    census: Option<Arc<Census>>,
    /// Entries received, including those that are not in the stream.
    received: u64,
    /// The entries of the stream so far, if they are counted.
    emitted: Option<Tally>,
    /// Whether a restarted search added entries to [`Self::emitted`] twice.
    is_repeated: bool,
    /// Whether entries below invisible parents would be missed, because there is no census.
    is_unverified: bool,
    /// Searches started.
    searches: u64,
    /// What was skipped.
    pub gaps: Gaps,
}

/// One step of reading a stream.
#[derive(Debug)]
enum ReadStep {
    /// Entries that were already read: containers, which are few and must be sorted.
    Ready(VecDeque<Entry>),
    /// A search that is not started yet.
    Search(PlannedSearch),
}

/// A search, and which of its entries belong to the stream.
#[derive(Debug)]
struct PlannedSearch {
    request: SearchRequest,
    scope: ScopeFilter,
    /// Whether the base was an entry earlier in this run, so that it may be deleted by now.
    base_may_be_gone: bool,
}

/// The search that is being read.
#[derive(Debug)]
struct RunningSearch {
    search: SearchStream,
    base: String,
    scope: ScopeFilter,
    base_may_be_gone: bool,
    /// The length of the queue before this search added steps.
    steps_before: usize,
    /// How often the search was started, with its restarts.
    beginnings: u32,
}

/// The result of a whole read of a stream, or of one partition.
#[derive(Debug)]
pub(crate) struct ReadOutcome {
    /// What was skipped.
    pub(crate) gaps: Gaps,
    /// The entries of the stream, if they were counted.
    pub(crate) emitted: Option<Tally>,
    /// Whether some of them were counted twice.
    pub(crate) is_repeated: bool,
    /// Whether entries below invisible parents would be missed.
    pub(crate) is_unverified: bool,
}

impl ReadOutcome {
    /// Adds another partition of the same stream. The gaps of both are those of the whole stream.
    pub(crate) fn add(&mut self, other: ReadOutcome) {
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
    /// Starts reading a stream. `attributes` are requested from the server; `paging` is [`Paging::AtMost`] for samples.
    ///
    /// # Errors
    /// Fails if the server does not answer, or a DN is not valid.
    pub async fn open(
        context: &'a DirectoryContext,
        source: &Source,
        attributes: &[String],
        paging: Paging,
    ) -> Result<Entries<'a>, DirectoryError> {
        Self::open_filtered(context, source, attributes, paging, MATCH_ALL, Vec::new()).await
    }

    /// Starts reading the entries of a stream that match a filter, with controls for each search.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn open_filtered(
        context: &'a DirectoryContext,
        source: &Source,
        attributes: &[String],
        paging: Paging,
        filter: &str,
        controls: Vec<SearchControl>,
    ) -> Result<Entries<'a>, DirectoryError> {
        let source = match source {
            Source::Members(of) => of,
            other => other,
        };
        let mut entries = Entries::new(context, attributes, paging);
        filter.clone_into(&mut entries.filter);
        entries.controls = controls;
        let step = match source {
            Source::Containers | Source::Members(_) => entries.container_entries().await?,
            Source::Container { dn } => entries.container_search(dn).await?,
            Source::Class { filter } => entries.filtered_search(&context.base, Scope::Subtree, filter),
            Source::Search(stream) => {
                let base = stream.base_dn.as_deref().unwrap_or(&context.base);
                entries.filtered_search(base, stream.scope, &stream.filter)
            }
        };
        entries.steps.push_back(step);
        Ok(entries)
    }

    /// Starts reading the one entry of a stream that has a DN, if the stream's filter and another one match it.
    pub(crate) fn one_of(
        context: &'a DirectoryContext,
        source: &Source,
        attributes: &[String],
        (dn, filter): (&str, &str),
    ) -> Entries<'a> {
        let mut entries = Entries::new(context, attributes, Paging::Configured);
        let own = match source {
            Source::Search(stream) => &stream.filter,
            Source::Class { filter } => filter,
            Source::Containers | Source::Container { .. } | Source::Members(_) => MATCH_ALL,
        };
        entries.filter = both(own, filter);
        let mut step = entries.search_step(dn, Scope::Base, ScopeFilter::All);
        if let ReadStep::Search(search) = &mut step {
            search.base_may_be_gone = true;
        }
        entries.steps.push_back(step);
        entries
    }

    /// Starts reading the entries of a stream that are below an entry.
    ///
    /// # Errors
    /// Fails if a DN is not valid.
    pub fn open_below(
        context: &'a DirectoryContext,
        source: &Source,
        attributes: &[String],
        dn: &str,
    ) -> Result<Entries<'a>, DirectoryError> {
        // In pages, even if another search is running: the answer may exceed the server's size limit. Each search has its own
        // connection.
        let mut entries = Entries::new(context, attributes, Paging::Configured);
        let mut scope = ScopeFilter::Below(dn.to_owned());
        match source {
            // Deeper entries are not in the stream.
            Source::Search(stream) if stream.scope != Scope::Subtree => return Ok(entries),
            Source::Search(stream) => entries.filter.clone_from(&stream.filter),
            Source::Class { filter } => entries.filter.clone_from(filter),
            Source::Containers => entries.filter = containers::filter(context.directory.root_dse().vendor),
            Source::Container { dn: container } => {
                let schema = context.directory.schema();
                let depth = dn::key(dn, schema)?.depth() + 1;
                scope = ScopeFilter::Nearest { container: dn::key(container, schema)?, depth };
            }
            Source::Members(_) => return Ok(entries),
        }
        let step = entries.search_step(dn, Scope::Subtree, scope);
        entries.steps.push_back(step);
        Ok(entries)
    }

    fn new(context: &'a DirectoryContext, attributes: &[String], paging: Paging) -> Entries<'a> {
        let mut attributes = attributes.to_vec();
        let base_only = base_only::extract(&context.directory, &mut attributes);
        Entries {
            context,
            filter: MATCH_ALL.to_owned(),
            controls: Vec::new(),
            attributes,
            base_only,
            paging,
            steps: VecDeque::new(),
            running: None,
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

    /// Reads all container entries at once.
    async fn container_entries(&mut self) -> Result<ReadStep, DirectoryError> {
        let context = self.context;
        let names: Vec<&str> = self.attributes.iter().map(String::as_str).collect();
        let found = containers::read_entries(&context.directory, &context.base, &names, &self.filter).await?;
        self.gaps = found.gaps;
        Ok(ReadStep::Ready(found.entries.into_iter().map(|(_, entry)| entry).collect()))
    }

    /// Returns the first search for the entries of a container.
    async fn container_search(&mut self, dn: &str) -> Result<ReadStep, DirectoryError> {
        let context = self.context;
        // Entries of a container that was skipped may be missing here, or be taken for this container's.
        self.gaps.references = context.containers.gaps.references;
        let key = dn::key(dn, context.directory.schema())?;
        if !context.containers.has_nested(&key) {
            return Ok(self.search_step(dn, Scope::Subtree, ScopeFilter::Below(dn.to_owned())));
        }
        if self.filter != MATCH_ALL {
            // Entries that do not match may have subordinates that do: the whole subtree must be searched.
            return Ok(self.nearest_search(dn, key));
        }
        self.container_with_nested(dn, key).await
    }

    /// Returns the first search for the entries of a container with nested containers: one level, or the whole subtree.
    async fn container_with_nested(&mut self, dn: &str, key: DnKey) -> Result<ReadStep, DirectoryError> {
        let context = self.context;
        let is_sample = matches!(self.paging, Paging::AtMost(_));
        // Also for a sample: the entries below an invisible entry may be the only ones of a class.
        let census = match context.census().await {
            // A server that refuses to list all DNs may still return some entries; a whole read fails.
            Err(e) if e.code().is_some() && is_sample && context.reports_subordinates() => None,
            census => census?,
        };
        self.is_unverified = census.is_none();
        self.gaps = self.gaps.or(census.as_ref().map_or(Gaps::default(), |census| census.gaps(&key)));
        let levels = ReadStrategy::Levels(NonLeafEntries::default());
        match census.as_ref().map_or(&levels, |census| census.strategy(&key)) {
            ReadStrategy::Levels(_) => {
                if context.reports_subordinates() {
                    self.ask_subordinates();
                }
                self.census = census;
                Ok(self.search_step(dn, Scope::OneLevel, ScopeFilter::Children { container: key }))
            }
            ReadStrategy::Subtree => Ok(self.nearest_search(dn, key)),
        }
    }

    /// Returns a search of a container's subtree that drops the entries of nested containers.
    fn nearest_search(&self, dn: &str, key: DnKey) -> ReadStep {
        self.search_step(dn, Scope::Subtree, ScopeFilter::Nearest { depth: key.depth() + 1, container: key })
    }

    /// Returns a search with the filter of a stream and that of this read.
    fn filtered_search(&self, base: &str, scope: Scope, filter: &str) -> ReadStep {
        let mut request = self.request(base, scope);
        request.filter = both(filter, &request.filter.to_string()).into();
        let scope = ScopeFilter::of(&self.context.directory, &request);
        ReadStep::Search(PlannedSearch { request, scope, base_may_be_gone: false })
    }

    fn request(&self, base: &str, scope: Scope) -> SearchRequest {
        SearchRequest {
            base: base.to_owned(),
            scope,
            filter: self.filter.as_str().into(),
            attributes: self.attributes.clone(),
            paging: self.paging,
            controls: self.controls.clone(),
            // Of two records with the same key, the last one counts. A sorted search resumes where it was.
            may_repeat: self.controls.is_empty() && self.paging == Paging::Configured,
        }
    }

    fn search_step(&self, base: &str, scope: Scope, filter: ScopeFilter) -> ReadStep {
        let mut request = self.request(base, scope);
        // The base is returned too: without room for it a sample would need a second page for its last entry.
        if let (ScopeFilter::Below(_), Paging::AtMost(limit)) = (&filter, &mut request.paging) {
            *limit = limit.saturating_add(1);
        }
        ReadStep::Search(PlannedSearch { request, scope: filter, base_may_be_gone: false })
    }

    /// Requests [`HAS_SUBORDINATES`], unless the stream already does.
    fn ask_subordinates(&mut self) {
        if !self.attributes.iter().any(|a| a.eq_ignore_ascii_case(HAS_SUBORDINATES)) {
            // `1.1` would exclude every other attribute.
            self.attributes.retain(|a| a != "1.1");
            self.attributes.push(HAS_SUBORDINATES.to_owned());
            self.asked_subordinates = true;
        }
    }

    /// Counts the emitted entries from now on, in a tally of the same size as `like`.
    pub(crate) fn count_emitted(&mut self, like: &Tally) {
        self.emitted = Some(like.empty_like());
    }

    /// Does not count the entries of this read in the summary: only their DNs were compared.
    pub(crate) fn discard_count(&mut self) {
        self.received = 0;
    }

    /// Returns the result of the read, at its end.
    pub(crate) fn outcome(&mut self) -> ReadOutcome {
        ReadOutcome {
            gaps: self.gaps,
            emitted: self.emitted.take(),
            is_repeated: self.is_repeated,
            is_unverified: self.is_unverified,
        }
    }

    /// Returns whether all entries are returned by one search, which a server can sort.
    pub fn is_one_search(&self) -> bool {
        self.running.is_none()
            && self.steps.len() == 1
            && matches!(self.steps.front(), Some(ReadStep::Search(..)))
    }

    /// Returns the number of entries received, including those that are not in the stream.
    pub fn received(&self) -> u64 {
        self.received
    }
}

impl Drop for Entries<'_> {
    fn drop(&mut self) {
        summary::add(Count::Entries, self.received);
    }
}

/// Returns the conjunction of a stream's filter and another one. The stream's filter is unchanged if nothing is added.
fn both(own: &str, other: &str) -> String {
    match (own, other) {
        (_, MATCH_ALL) => own.to_owned(),
        // In a conjunction it would ask for classes that the bound user may not see.
        (MATCH_ALL, _) => other.to_owned(),
        _ => format!("(&{own}{other})"),
    }
}
