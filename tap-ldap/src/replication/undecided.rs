//! Entries that the bound user may not search by the filter of their stream: the server returns them neither for the filter nor for its
//! negation (RFC 4511 section 4.5.1.7). They may belong to the stream, so their absence is no deletion.

use std::collections::HashSet;
use std::io::Write;

use ldap_directory::filter::Filter;
use ldap_directory::unseen::{self, Hidden, Judgement};
use ldap_directory::{Directory, DirectoryError, MATCH_ALL, Scope, lookup};
use singer_common::operations::facts::Facts;
use uuid::Uuid;

use crate::config::Verify;
use crate::discovery::source::Source;
use crate::output::Output;
use crate::replication::completeness::IncompleteReason;
use crate::replication::stream_run::StreamRun;

/// With `verify: never`, and where a read has as many records as the last one: the entries that are looked at.
const SAMPLED: usize = 200;
/// The entries of one search.
const AT_ONCE: usize = 200;
/// The attribute with the id of an entry in content synchronization (RFC 4530).
const ID: &str = "entryUUID";

/// Returns the base, scope and filter of a stream's search, if a server evaluates it and the settings give it. The classes in the filters of
/// other streams are looked at by themselves ([`IncompleteReason::HiddenClasses`]).
fn search<'r>(run: &'r StreamRun<'_>) -> Option<(&'r str, Scope, Filter)> {
    let source = if let Source::Members(of) = run.source { of } else { run.source };
    let Source::Search(search) = source else { return None };
    if !matches!(run.context.directory, Directory::Ldap(_)) {
        return None;
    }
    let base = search.base_dn.as_deref().unwrap_or(&run.context.base);
    Some((base, search.scope, Filter::parse(&search.filter).ok()?))
}

/// Returns why a whole read of a stream is incomplete, if something is concluded from what it lacks.
///
/// # Errors
/// A search fails.
pub(crate) async fn reason(run: &StreamRun<'_>) -> Result<Option<IncompleteReason>, DirectoryError> {
    let Some((base, scope, filter)) = search(run).filter(|_| run.concludes()) else { return Ok(None) };
    // As many as the last time: at most as many are hidden as are new.
    let records = run.records.saturating_sub(run.deletions);
    let is_sampled = match run.context.verify {
        Verify::Never => true,
        Verify::Always => false,
        Verify::Auto => run.rules.last.is_some_and(|last| records >= last),
    };
    let most = is_sampled.then_some(SAMPLED);
    let place = (base, scope);
    let hidden = unseen::undecided_below(&run.context.directory, place, &filter, most).await?;
    Ok(hidden.map(|Hidden { dn, attribute }| {
        let filter = filter.to_string();
        IncompleteReason::HiddenFilter { attribute, dn, filter }
    }))
}

/// Whether an entry belongs to a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It does, or does not.
    Of(bool),
    /// It is there, and that is not known. Its record stays downstream; the position is not kept, so that the next run reads everything.
    Held,
}

/// Returns whether the entry with a DN matches the filter of its stream, as the server evaluates it.
///
/// # Errors
/// A search fails, or a signal requested a stop.
pub(crate) async fn judge<W: Write>(
    run: &mut StreamRun<'_>,
    output: &mut Output<'_, W>,
    dn: &str,
    filter: &Filter,
) -> anyhow::Result<Judged> {
    let judging = Box::pin(unseen::judge(&run.context.directory, dn, filter));
    let hidden = match output.or_stop(judging).await?? {
        Judgement::Undefined(hidden) => hidden,
        judgement => return Ok(Judged::Of(judgement == Judgement::Matches)),
    };
    // A filter with an unknown name or a comparison without a rule has been warned of.
    if hidden.is_none() && run.context.doubtful_filters.contains(&run.stream.tap_stream_id) {
        return Ok(Judged::Of(false));
    }
    run.has_read_all = false;
    if std::mem::replace(&mut run.warned_undecided, true) {
        return Ok(Judged::Held);
    }
    let stream = run.stream.stream.as_str();
    let attribute = hidden.map(|hidden| hidden.attribute);
    let what = attribute.as_ref().map_or_else(|| "what it compares".to_owned(), |name| format!("`{name}`"));
    let facts = Facts {
        stream: Some(stream.to_owned()),
        attribute,
        dn: Some(dn.to_owned()),
        ..Facts::of_setting("bind_dn")
    };
    facts.warn(&format!(
        "{stream}: the bound user may not search {what} of `{dn}`, so whether the stream's filter, {filter}, matches it is not known: the record of such an entry stays downstream as it is, and the next run reads the whole stream (let the user search it, or leave the entries out with exclude_base_dns)"
    ));
    Ok(Judged::Held)
}

/// Returns which of these entries, which a log reports as gone, are there, and may belong to the stream.
///
/// # Errors
/// A search fails, or a signal requested a stop.
pub(crate) async fn held<W: Write>(
    run: &mut StreamRun<'_>,
    output: &mut Output<'_, W>,
    (base, scope): (&str, Scope),
    uuids: &[Uuid],
) -> anyhow::Result<HashSet<Uuid>> {
    let mut held = HashSet::new();
    let Some((_, _, filter)) = search(run).filter(|(_, _, filter)| !is_of_all(filter)) else {
        return Ok(held);
    };
    for some in uuids.chunks(AT_ONCE) {
        let ids = some.iter().map(|uuid| Filter::equality(ID, uuid.hyphenated().to_string())).collect();
        let most = u32::try_from(AT_ONCE).unwrap_or(u32::MAX);
        let directory = run.context.directory.clone();
        let finding = lookup::find(&directory, base, scope, Filter::Or(ids), &[ID], most);
        for entry in output.or_stop(finding).await?? {
            let id = entry.first_text(ID).and_then(|text| Uuid::parse_str(text).ok());
            if let Some(id) = id.filter(|id| some.contains(id))
                && judge(run, output, &entry.dn, &filter).await? == Judged::Held
            {
                held.insert(id);
            }
        }
    }
    Ok(held)
}

/// Returns the entry that the server has at a DN of Active Directory (`<GUID=…>`), if it is in the scope of a stream and whether the filter
/// matches it is not known.
///
/// # Errors
/// A search fails, or a signal requested a stop.
pub(crate) async fn is_held<W: Write>(
    run: &mut StreamRun<'_>,
    output: &mut Output<'_, W>,
    dn: &str,
) -> anyhow::Result<bool> {
    let Some((_, _, filter)) = search(run).filter(|(_, _, filter)| !is_of_all(filter)) else {
        return Ok(false);
    };
    let found = output.or_stop(run.context.directory.read(dn, &["1.1"])).await??;
    let Some(found) = found else { return Ok(false) };
    Ok(run.is_in_scope(&found.dn)? && judge(run, output, &found.dn, &filter).await? == Judged::Held)
}

/// Whether a filter compares no attribute of which an entry may show nothing.
fn is_of_all(filter: &Filter) -> bool {
    filter.attributes().is_empty() || filter.to_string() == MATCH_ALL
}
