//! Verifies whole reads: compares what was emitted with what the directory holds.
//!
//! The names are looked at before a stream is read, so that an entry that is added meanwhile is not missed. An entry that
//! was held and not emitted may have been deleted or renamed meanwhile: a second look at the names tells. What is still
//! there is read by itself.

use std::collections::{BTreeSet, HashSet};
use std::io::Write;

use singer_common::directory::{DirectoryError, Paging, Scope, SearchItem, SearchRequest, Vendor};
use singer_common::entry::EntryView as _;
use singer_common::observe::{self, Books};
use singer_common::summary::{self, Count};

use super::StreamRun;
use super::completeness::{Completeness, Doubt};
use crate::config::Verify;
use crate::discovery::classes::HiddenEntries;
use crate::discovery::context::DirectoryContext;
use crate::discovery::dn;
use crate::discovery::source::Source;
use crate::discovery::tally::{Difference, Tally, hash};
use crate::output::Output;
use crate::stream::entries::{Entries, ReadOutcome};
use singer_common::directory::MATCH_ALL;

/// The most entries that are read one by one.
const MOST_SINGLE: usize = 1_000;

/// What a whole read is expected to give.
#[derive(Debug)]
pub(crate) struct Expected {
    /// The entries of the stream; `None` where nobody looks.
    held: Option<Tally>,
    /// How many entries lie within reach of the stream's search, whether they pass its filter or not; `None` where nobody
    /// counts them.
    in_scope: Option<u64>,
}

/// Looks at the names of a stream that is going to be read whole, where that is wanted. `is_divided`: it is read in parts.
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
                // What one search gives is whole, as the server says itself. Of others, the read knows what it may miss.
                (None, _) if context.verify == Verify::Always && context.is_one_search(source)? => {
                    Some(names(context, source, &Tally::one_of(1)).await?)
                }
                (None, _) => None,
            };
        }
        Source::Class { .. } | Source::Search(_) if is_wanted(false) => {
            if is_file || context.verify == Verify::Always {
                expected.in_scope = match count_in_scope(context, source).await {
                    // The filter may let through what the limit allows.
                    Err(e) if e.is_limit() => {
                        tracing::warn!(
                            "books_left_out does not count what a stream's filter leaves out: {e}"
                        );
                        None
                    }
                    count => Some(count?),
                };
            }
            // A file is not asked twice by the same filter: it would give the same answer.
            let is_everything = matches!(source, Source::Search(s) if s.filter == MATCH_ALL);
            if !is_file || is_everything {
                expected.held = Some(names(context, source, &Tally::one_of(1)).await?);
            }
        }
        _ => {}
    }
    Ok(expected)
}

impl Expected {
    /// A sum of the kind that the parts of the read have to keep, where books are kept.
    pub(crate) fn sum(&self) -> Option<Tally> {
        self.held.as_ref().map(Tally::empty_like)
    }

    /// Lets the read keep a sum of that kind.
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
        _ => (context.base.as_str(), Scope::Sub),
    };
    let mut search = context.directory.search(SearchRequest::new(base, scope, MATCH_ALL, &["1.1"])).await?;
    let mut count = 0;
    while let Some(item) = search.next().await? {
        count += u64::from(matches!(item, SearchItem::Entry(_)));
    }
    Ok(count)
}

/// The sum of the names that the stream's own way of reading gives.
async fn names(context: &DirectoryContext, source: &Source, like: &Tally) -> Result<Tally, DirectoryError> {
    let mut entries = Entries::open(context, source, &["1.1".to_owned()], Paging::Configured).await?;
    entries.count_emitted(like);
    while entries.advance().await? {}
    entries.discard_count();
    Ok(entries.outcome().emitted.unwrap_or_else(|| like.empty_like()))
}

/// Compares what a whole read gave with what was expected. What is missing and still there is read and emitted now.
pub(crate) async fn verify<W: Write>(
    run: &mut StreamRun<'_>,
    expected: Expected,
    account: ReadOutcome,
    output: &mut Output<'_, W>,
) -> anyhow::Result<Completeness> {
    let (context, source, stream) = (run.context, run.source, run.stream.stream.as_str());
    let mut completeness = Completeness::of(account.gaps);
    if account.is_unverified {
        completeness.doubt(Doubt::Unverified);
    }
    // One that the stream had may be among them.
    if matches!(source, Source::Class { .. }) && output.or_stop(context.hidden_entries()).await??.count > 0 {
        completeness.doubt(Doubt::HiddenClasses);
    }
    let mut books = Books { held: 0, emitted: run.records - run.deletions, left_out: 0, differ: 0 };
    let (Some(held), Some(emitted)) = (&expected.held, account.emitted) else {
        if let Some(in_scope) = expected.in_scope {
            books.held = in_scope;
            books.left_out = in_scope.saturating_sub(books.emitted);
            tell(stream, books);
        }
        return Ok(completeness);
    };
    books.emitted = emitted.count();
    books.held = held.count().max(expected.in_scope.unwrap_or_default());
    books.left_out = books.held - held.count();
    let emitted = if account.is_repeated { names(context, source, held).await? } else { emitted };
    let missing = match held.difference(&emitted) {
        Difference::Known { missing, .. } => Some(missing),
        // A long read of a busy directory: compared with what is held now, there may be fewer.
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
        books.differ = held.count().abs_diff(emitted.count()).max(1);
        completeness.doubt(Doubt::Books { count: books.differ, first: None });
        tell(stream, books);
        return Ok(completeness);
    };
    if !missing.is_empty() {
        let missing: HashSet<u64> = missing.into_iter().collect();
        let mut there = output.or_stop(still_there(context, source, &missing)).await??;
        let mut single = 0;
        if there.len() <= MOST_SINGLE {
            single = read_singly(run, &mut there, output).await?;
            if !there.is_empty() {
                let rest: HashSet<u64> = there.iter().map(|dn| hash(dn.as_bytes())).collect();
                there = output.or_stop(still_there(context, source, &rest)).await??;
            }
        }
        if single > 0 {
            tracing::warn!(
                stream,
                "{stream}: {single} entries that the search did not give were read one by one"
            );
        }
        books.emitted += single;
        // Gone in the meantime.
        let gone = u64::try_from(missing.len()).unwrap_or(u64::MAX).saturating_sub(single);
        books.differ = u64::try_from(there.len()).unwrap_or(u64::MAX);
        books.held -= gone.saturating_sub(books.differ).min(books.held);
        if let Some(first) = there.first() {
            completeness.doubt(Doubt::Books { count: books.differ, first: Some(first.clone()) });
        }
    }
    tell(stream, books);
    Ok(completeness)
}

/// Puts the books of a stream into the summary and the metrics.
fn tell(stream: &str, books: Books) {
    summary::add(Count::BooksHeld, books.held);
    summary::add(Count::BooksEmitted, books.emitted);
    summary::add(Count::BooksLeftOut, books.left_out);
    summary::add(Count::BooksDiffer, books.differ);
    observe::books(stream, books);
    tracing::debug!(stream, "{stream}: {books:?}");
}

/// The DNs of the entries of a stream that have one of these hashes and are there now, in the order of their names.
async fn still_there(
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
    let request = SearchRequest::new(base.as_str(), Scope::Sub, MATCH_ALL, &["1.1"]).repeating();
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

/// Reads entries one by one and emits them. Those that nobody gives stay in the list.
async fn read_singly<W: Write>(
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
                run.take(output, &entry)?;
                read += 1;
            }
            None => left.push(dn),
        }
    }
    *dns = left;
    Ok(read)
}

/// What the books of a directory look like, without a record being read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    /// Entries that the streams have.
    pub held: u64,
    /// Entries that reading the streams gives.
    pub read: u64,
    /// Entries that are held and in no stream, or that reading their stream does not give.
    pub differ: u64,
    /// The DN of one of these, where it is known.
    pub first: Option<String>,
    /// Whether the server refused to list all names, so that nothing was compared with them.
    pub refused: bool,
}

impl Look {
    /// The result in words.
    pub fn to_text(&self) -> String {
        let Look { held, read, differ, first, refused } = self;
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

/// Looks at the names that reading some streams gives, and at those that the directory holds.
pub async fn look(
    context: &DirectoryContext,
    sources: impl Iterator<Item = &Source>,
) -> Result<Look, DirectoryError> {
    let mut found = Look::default();
    for source in sources.filter(|source| !matches!(source, Source::Members(_))) {
        let expected = expect(context, source, true).await?;
        let Some(held) = expected.held else {
            let tally = names(context, source, &Tally::one_of(usize::MAX)).await?;
            found.held += tally.count();
            found.read += tally.count();
            continue;
        };
        let read = names(context, source, &held).await?;
        found.held += held.count();
        found.read += read.count();
        match held.difference(&read) {
            Difference::Known { missing, .. } if missing.is_empty() => {}
            Difference::Known { missing, .. } => {
                let there = still_there(context, source, &missing.into_iter().collect()).await?;
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

/// Ends the books of a run: what the directory holds beside the streams that were read. `is_selected`: whether a stream, by
/// its id, was read.
pub(crate) async fn close_books(
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
            let held = names(context, &source, &Tally::one_of(usize::MAX)).await?.count();
            summary::add(Count::BooksHeld, held);
            summary::add(Count::BooksLeftOut, held);
        }
    }
    let is_file = context.directory.root_dse().vendor == Vendor::Ldif;
    // Those were told of. Where containers are streams, too, they are in one.
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

/// The entries that pass the filter of no class stream, where those are the streams.
async fn without_class(context: &DirectoryContext) -> Result<(u64, Option<String>), DirectoryError> {
    if context.classes.is_empty() {
        return Ok((0, None));
    }
    let any: String = context.classes.iter().map(|class| class.filter.as_str()).collect();
    let filter = format!("(!(|{any}))");
    let request = SearchRequest::new(context.base.as_str(), Scope::Sub, filter, &["1.1"]);
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
