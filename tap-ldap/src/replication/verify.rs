//! Verifies whole reads: compares the emitted entries with those that the directory holds.
//!
//! The DNs are read before the stream, so that an entry that is added meanwhile is not reported as missing. An entry that was
//! held and not emitted may have been deleted or renamed meanwhile: a second pass over the DNs decides. Entries that still
//! exist are read one by one.

use std::collections::{BTreeSet, HashSet};
use std::io::Write;

use ldap_directory::entry::EntryView as _;
use ldap_directory::{DirectoryError, Paging, Scope, SearchItem, SearchRequest, Vendor};
use singer_common::operations::observe::{self, Books};
use singer_common::operations::summary::{self, Count};

use crate::config::Verify;
use crate::discovery::classes::HiddenEntries;
use crate::discovery::context::DirectoryContext;
use crate::discovery::dn;
use crate::discovery::source::Source;
use crate::discovery::tally::{Difference, Tally, hash};
use crate::output::Output;
use crate::replication::completeness::{Completeness, IncompleteReason};
use crate::replication::stream_run::StreamRun;
use crate::replication::undecided;
use crate::stream::entries::{Entries, ReadOutcome};
use ldap_directory::MATCH_ALL;

/// The most entries that are read one by one.
const MAX_ONE_BY_ONE: usize = 1_000;

/// The expected result of a whole read.
#[derive(Debug)]
pub(crate) struct Expected {
    /// The entries of the stream; `None` if they are not verified.
    held: Option<Tally>,
    /// The number of entries in the scope of the stream's search, whether they match its filter or not; `None` if they are not
    /// counted.
    in_scope: Option<u64>,
}

/// Reads the DNs of a stream before a whole read, if `verify` asks for it. `is_divided`: the stream is read in partitions.
pub(crate) async fn expect(
    context: &DirectoryContext,
    source: &Source,
    is_divided: bool,
) -> Result<Expected, DirectoryError> {
    let is_file = context.directory.root_dse().vendor == Vendor::Ldif;
    let is_wanted = |auto: bool| match context.verify {
        Verify::Auto => auto || is_file || is_divided,
        Verify::Always => true,
        Verify::Never => false,
    };
    let mut expected = Expected { held: None, in_scope: None };
    match source {
        Source::Containers | Source::Container { .. }
            if is_wanted(context.containers.iter().nth(1).is_some()) =>
        {
            expected.held = match (context.census().await?, source) {
                (Some(census), Source::Container { dn }) => {
                    census.of_container(&dn::key(dn, context.directory.schema())?).cloned()
                }
                (Some(census), _) => Some(census.of_containers().clone()),
                // The server itself says whether one search is complete. With several searches, the read knows what it may miss.
                (None, _) if context.verify == Verify::Always && context.is_one_search(source)? => {
                    Some(dn_tally(context, source, &Tally::one_of(1)).await?)
                }
                (None, _) => None,
            };
        }
        Source::Class { .. } | Source::Search(_) if is_wanted(false) => {
            if is_file || context.verify == Verify::Always {
                expected.in_scope = match count_in_scope(context, source).await {
                    // The entries that match the filter may be within the limit.
                    Err(e) if e.is_limit() => {
                        tracing::warn!(
                            "books_left_out does not count what a stream's filter leaves out: {e}"
                        );
                        None
                    }
                    count => Some(count?),
                };
            }
            // A second search of a file with the same filter would return the same entries.
            let is_unfiltered = matches!(source, Source::Search(s) if s.filter == MATCH_ALL);
            if !is_file || is_unfiltered {
                expected.held = Some(dn_tally(context, source, &Tally::one_of(1)).await?);
            }
        }
        _ => {}
    }
    Ok(expected)
}

impl Expected {
    /// Returns an empty tally of the size that the parts of the read must use, if the read is verified.
    pub(crate) fn empty_tally(&self) -> Option<Tally> {
        self.held.as_ref().map(Tally::empty_like)
    }

    /// Makes a read count its entries in such a tally.
    pub(crate) fn begin(&self, entries: &mut Entries<'_>) {
        if let Some(held) = &self.held {
            entries.count_emitted(held);
        }
    }
}

/// Counts the entries in the scope of a stream's search.
async fn count_in_scope(context: &DirectoryContext, source: &Source) -> Result<u64, DirectoryError> {
    let (base, scope) = match source {
        Source::Search(search) => (search.base_dn.as_deref().unwrap_or(&context.base), search.scope),
        _ => (context.base.as_str(), Scope::Subtree),
    };
    let mut search = context.directory.search(SearchRequest::new(base, scope, MATCH_ALL, &["1.1"])).await?;
    let mut count = 0;
    while let Some(item) = search.next().await? {
        count += u64::from(matches!(item, SearchItem::Entry(_)));
    }
    Ok(count)
}

/// Returns the tally of the DNs that reading the stream returns.
async fn dn_tally(
    context: &DirectoryContext,
    source: &Source,
    like: &Tally,
) -> Result<Tally, DirectoryError> {
    let mut entries = Entries::open(context, source, &["1.1".to_owned()], Paging::Configured).await?;
    entries.count_emitted(like);
    while entries.advance().await? {}
    entries.discard_count();
    Ok(entries.outcome().emitted.unwrap_or_else(|| like.empty_like()))
}

/// Compares a whole read with the expected result. Missing entries that still exist are read and emitted now.
pub(crate) async fn verify<W: Write>(
    run: &mut StreamRun<'_>,
    expected: Expected,
    outcome: ReadOutcome,
    output: &mut Output<'_, W>,
) -> anyhow::Result<Completeness> {
    let (context, source, stream) = (run.context, run.source, run.stream.stream.as_str());
    let mut completeness = Completeness::of(outcome.gaps);
    if outcome.is_unverified {
        completeness.add(IncompleteReason::Unverified);
    }
    // An entry of the stream may be among them.
    if matches!(source, Source::Class { .. }) && output.or_stop(context.hidden_entries()).await??.count > 0 {
        completeness.add(IncompleteReason::HiddenClasses);
    }
    if let Some(reason) = output.or_stop(Box::pin(undecided::reason(run))).await?? {
        completeness.add(reason);
    }
    let mut totals = Books { held: 0, emitted: run.records - run.deletions, left_out: 0, differ: 0 };
    let (Some(held), Some(emitted)) = (&expected.held, outcome.emitted) else {
        if let Some(in_scope) = expected.in_scope {
            totals.held = in_scope;
            totals.left_out = in_scope.saturating_sub(totals.emitted);
            add_totals(stream, totals);
        }
        return Ok(completeness);
    };
    totals.emitted = emitted.count();
    totals.held = held.count().max(expected.in_scope.unwrap_or_default());
    totals.left_out = totals.held - held.count();
    let emitted = if outcome.is_repeated { dn_tally(context, source, held).await? } else { emitted };
    let missing = match held.difference(&emitted) {
        Difference::Known { missing, .. } => Some(missing),
        // During a long read the directory may change a lot: a comparison with the current DNs may differ less.
        Difference::Unknown => match expect(context, source, true).await?.held {
            Some(now) if matches!(source, Source::Class { .. } | Source::Search(_)) => {
                match now.difference(&emitted) {
                    Difference::Known { missing, .. } => Some(missing),
                    Difference::Unknown => None,
                }
            }
            _ => None,
        },
    };
    let Some(missing) = missing else {
        totals.differ = held.count().abs_diff(emitted.count()).max(1);
        completeness.add(IncompleteReason::Missing { count: totals.differ, first: None });
        add_totals(stream, totals);
        return Ok(completeness);
    };
    if !missing.is_empty() {
        let missing: HashSet<u64> = missing.into_iter().collect();
        let mut there = output.or_stop(find_existing(context, source, &missing)).await??;
        let mut single = 0;
        if there.len() <= MAX_ONE_BY_ONE {
            single = read_one_by_one(run, &mut there, output).await?;
            if !there.is_empty() {
                let rest: HashSet<u64> = there.iter().map(|dn| hash(dn.as_bytes())).collect();
                there = output.or_stop(find_existing(context, source, &rest)).await??;
            }
        }
        if single > 0 {
            tracing::warn!(
                stream,
                "{stream}: {single} entries that the search did not give were read one by one"
            );
        }
        totals.emitted += single;
        // Deleted meanwhile.
        let gone = u64::try_from(missing.len()).unwrap_or(u64::MAX).saturating_sub(single);
        totals.differ = u64::try_from(there.len()).unwrap_or(u64::MAX);
        totals.held -= gone.saturating_sub(totals.differ).min(totals.held);
        if let Some(first) = there.first() {
            completeness.add(IncompleteReason::Missing { count: totals.differ, first: Some(first.clone()) });
        }
    }
    add_totals(stream, totals);
    Ok(completeness)
}

/// Adds the counts of a stream to the summary and the metrics.
fn add_totals(stream: &str, totals: Books) {
    summary::add(Count::BooksHeld, totals.held);
    summary::add(Count::BooksEmitted, totals.emitted);
    summary::add(Count::BooksLeftOut, totals.left_out);
    summary::add(Count::BooksDiffer, totals.differ);
    observe::books(stream, totals);
    tracing::debug!(stream, "{stream}: {totals:?}");
}

/// Returns the DNs of the existing entries of a stream that have one of these hashes, sorted.
async fn find_existing(
    context: &DirectoryContext,
    source: &Source,
    hashes: &HashSet<u64>,
) -> Result<Vec<String>, DirectoryError> {
    let schema = context.directory.schema();
    let mut found = BTreeSet::new();
    let container = match source {
        Source::Container { dn } => Some(dn::key(dn, schema)?),
        Source::Containers => None,
        _ => {
            let mut entries = Entries::open(context, source, &["1.1".to_owned()], Paging::Configured).await?;
            while entries.advance().await? {
                let entry = entries.entry();
                if hashes.contains(&hash(entry.dn_octets())) {
                    found.insert(entry.dn().to_owned());
                }
            }
            entries.discard_count();
            return Ok(found.into_iter().collect());
        }
    };
    let base = if let Source::Container { dn } = source { dn } else { &context.base };
    let request = SearchRequest::new(base.as_str(), Scope::Subtree, MATCH_ALL, &["1.1"]).repeating();
    let mut search = context.directory.search(request).await?;
    while let Some(entry) = search.next_entry().await? {
        if !hashes.contains(&hash(entry.dn.as_bytes())) {
            continue;
        }
        let key = dn::key(&entry.dn, schema)?;
        let is_container = context.containers.contains(&key);
        let is_of_stream = match &container {
            Some(container) => !is_container && context.containers.nearest(&key).as_ref() == Some(container),
            None => is_container,
        };
        if is_of_stream {
            found.insert(entry.dn);
        }
    }
    Ok(found.into_iter().collect())
}

/// Reads entries one by one and emits them. DNs without an entry stay in the list.
async fn read_one_by_one<W: Write>(
    run: &mut StreamRun<'_>,
    dns: &mut Vec<String>,
    output: &mut Output<'_, W>,
) -> anyhow::Result<u64> {
    let attributes = run.attributes(&[]);
    let names: Vec<&str> = attributes.iter().map(String::as_str).collect();
    let mut read = 0;
    let mut left = Vec::new();
    for dn in std::mem::take(dns) {
        match output.or_stop(run.context.directory.read(&dn, &names)).await?? {
            Some(entry) => {
                run.emit_present(output, &entry)?;
                read += 1;
            }
            None => left.push(dn),
        }
    }
    *dns = left;
    Ok(read)
}

/// The result of comparing the streams with the directory, without emitting records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reconciliation {
    /// Entries that the directory holds in the scope of the streams.
    pub held: u64,
    /// Entries that reading the streams returns.
    pub read: u64,
    /// Entries that are held and in no stream, or not returned by reading their stream.
    pub differ: u64,
    /// The DN of one of these, if known.
    pub first: Option<String>,
    /// Whether the server refused to list all DNs, so that nothing was compared.
    pub refused: bool,
}

impl Reconciliation {
    /// Returns the result as text.
    pub fn to_text(&self) -> String {
        let Reconciliation { held, read, differ, first, refused } = self;
        if *refused {
            return format!("{read} entries read, and not compared: the server refuses to list all names");
        }
        if *differ == 0 {
            return format!("{held} entries held, each in exactly one stream");
        }
        let first = first.as_ref().map(|dn| format!(" (the first is `{dn}`)")).unwrap_or_default();
        format!("{held} entries held, {read} read, {differ} missing{first}")
    }
}

/// Compares the DNs that reading the streams returns with those that the directory holds.
pub async fn reconcile(
    context: &DirectoryContext,
    sources: impl Iterator<Item = &Source>,
) -> Result<Reconciliation, DirectoryError> {
    let mut found = Reconciliation::default();
    for source in sources.filter(|source| !matches!(source, Source::Members(_))) {
        let expected = expect(context, source, true).await?;
        let Some(held) = expected.held else {
            let tally = dn_tally(context, source, &Tally::one_of(usize::MAX)).await?;
            found.held += tally.count();
            found.read += tally.count();
            continue;
        };
        let read = dn_tally(context, source, &held).await?;
        found.held += held.count();
        found.read += read.count();
        match held.difference(&read) {
            Difference::Known { missing, .. } if missing.is_empty() => {}
            Difference::Known { missing, .. } => {
                let there = find_existing(context, source, &missing.into_iter().collect()).await?;
                found.differ += u64::try_from(there.len()).unwrap_or(u64::MAX);
                found.first = found.first.or_else(|| there.into_iter().next());
            }
            Difference::Unknown => found.differ += held.count().abs_diff(read.count()).max(1),
        }
    }
    found.refused = context.is_census_refused().await;
    let census = context.known_census().await;
    let of_containers = census.map(|c| (c.in_no_stream, c.first_in_no_stream.clone()));
    let in_containers = context.containers.iter().next().is_some();
    let missed =
        if in_containers { HiddenEntries::default() } else { context.hidden_entries().await?.clone() };
    let of_classes = [without_class(context).await?, (missed.count, missed.first)];
    for (count, first) in [of_containers.unwrap_or_default()].into_iter().chain(of_classes) {
        found.held += count;
        found.differ += count;
        found.first = found.first.or(first);
    }
    Ok(found)
}

/// Counts what the directory holds beside the streams that were read, at the end of a run. `is_selected`: whether the stream with
/// this id was read.
pub(crate) async fn reconcile_unselected(
    context: &DirectoryContext,
    is_selected: impl Fn(&str) -> bool,
) -> Result<(), DirectoryError> {
    if let Some(census) = context.known_census().await {
        for (key, container) in context.containers.iter_keyed() {
            if !is_selected(&container.dn) {
                let held = census.of_container(key).map(Tally::count).unwrap_or_default();
                summary::add(Count::BooksHeld, held);
                summary::add(Count::BooksLeftOut, held);
            }
        }
        in_no_stream(census.in_no_stream, census.first_in_no_stream.as_deref());
    }
    for class in context.classes.iter().filter(|class| !is_selected(&class.class)) {
        if context.verify == Verify::Always {
            let source = Source::Class { filter: class.filter.clone() };
            let held = dn_tally(context, &source, &Tally::one_of(usize::MAX)).await?.count();
            summary::add(Count::BooksHeld, held);
            summary::add(Count::BooksLeftOut, held);
        }
    }
    let is_file = context.directory.root_dse().vendor == Vendor::Ldif;
    // These were reported before. If containers are streams too, the entries are in one of those.
    if let Some(missed) =
        context.known_hidden_entries().filter(|_| context.containers.iter().next().is_none())
    {
        summary::add(Count::BooksHeld, missed.count);
        summary::add(Count::BooksDiffer, missed.count);
    }
    if context.verify == Verify::Always || is_file && context.verify == Verify::Auto {
        let (count, first) = without_class(context).await?;
        in_no_stream(count, first.as_deref());
    }
    Ok(())
}

fn in_no_stream(count: u64, first: Option<&str>) {
    if count > 0 {
        summary::add(Count::BooksHeld, count);
        summary::add(Count::BooksDiffer, count);
        tracing::warn!(
            books_differ = count,
            "{count} entries below the base are in no stream (the first is `{}`): please report this",
            first.unwrap_or_default()
        );
    }
}

/// Counts the entries that match the filter of no class stream.
async fn without_class(context: &DirectoryContext) -> Result<(u64, Option<String>), DirectoryError> {
    if context.classes.is_empty() {
        return Ok((0, None));
    }
    let any: String = context.classes.iter().map(|class| class.filter.as_str()).collect();
    let filter = format!("(!(|{any}))");
    let request = SearchRequest::new(context.base.as_str(), Scope::Subtree, filter, &["1.1"]);
    let mut search = context.directory.search(request).await?;
    let (mut count, mut first) = (0, None);
    while let Some(entry) = search.next_entry().await? {
        if !dn::is_root_dse(&context.directory, &entry.dn) {
            count += 1;
            first.get_or_insert(entry.dn);
        }
    }
    Ok((count, first))
}
