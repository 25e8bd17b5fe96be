//! Concludes a whole read. Only this module decides about ACTIVATE_VERSION, and about deletions found by `track_deletions`.

use std::io::Write;

use ldap_directory::dn::DnKey;
use singer_common::operations::facts::Facts;
use singer_common::operations::summary::{self, Count};
use singer_common::singer::writer::Emptied;

use crate::discovery::membership::ATTRIBUTES;
use crate::discovery::source::Source;
use crate::output::Output;
use crate::replication::completeness::{Completeness, IncompleteReason};
use crate::replication::reads_from;
use crate::replication::stream_run::StreamRun;

/// Finishes a whole read: activates the version of a complete one, if there is one, and warns of an incomplete one. Returns
/// whether deletions may be concluded from it.
pub(crate) async fn conclude<W: Write>(
    run: &mut StreamRun<'_>,
    version: Option<i64>,
    completeness: &Completeness,
    output: &mut Output<'_, W>,
) -> anyhow::Result<bool> {
    let stream = run.stream.stream.as_str();
    let mut completeness = completeness.clone();
    if !run.context.directory.shortfalls().is_empty() {
        completeness.add(IncompleteReason::File);
    }
    if let Some(line) = missing_members(run) {
        completeness.add(IncompleteReason::Members { line });
    }
    for reason in Box::pin(reads_from::judge(run)).await? {
        completeness.add(reason);
    }
    completeness.apply(&run.rules);
    let is_doubtful = run.context.doubtful_filters.contains(&run.stream.tap_stream_id);
    if is_doubtful && !run.rules.allow_empty && completeness.is_complete() {
        completeness.add(IncompleteReason::Filter);
    }
    let conclusion =
        "the stream is not complete, so no ACTIVATE_VERSION is sent and nothing is deleted downstream";
    for reason in &completeness.reasons {
        if let Some(setting) = reason.setting() {
            let line = reason.line();
            let facts = Facts { stream: Some(stream.to_owned()), line, ..Facts::of_setting(setting) };
            let text = format!("{stream}: {}: {conclusion}", reason.message());
            // It is the same for all streams.
            if output.warned.insert(reason.name()) {
                facts.warn(&text);
            } else {
                facts.info(&text);
            }
            continue;
        }
        if let IncompleteReason::HiddenFilter { attribute, dn, .. } = reason {
            let facts = Facts {
                stream: Some(stream.to_owned()),
                attribute: Some(attribute.clone()),
                dn: Some(dn.clone()),
                ..Facts::of_setting("bind_dn")
            };
            facts.warn(&format!("{stream}: {}: {conclusion}", reason.message()));
            continue;
        }
        // One warning for the whole run was already logged for these.
        if matches!(
            reason,
            IncompleteReason::File | IncompleteReason::Unverified | IncompleteReason::HiddenClasses
        ) {
            continue;
        }
        // Many containers have no entries of their own, and are listed together at the end. A container with nested containers is
        // expected to be empty.
        if *reason == IncompleteReason::Empty && is_container(run) {
            if has_nested(run) {
                tracing::info!(
                    stream,
                    "{stream}: no entry lies right below the container; no ACTIVATE_VERSION is sent"
                );
            } else {
                output.empty.push(stream.to_owned());
            }
            continue;
        }
        let differ = if let IncompleteReason::Missing { count, .. } = reason { Some(*count) } else { None };
        tracing::warn!(stream, books_differ = differ, "{stream}: {}: {conclusion}", reason.message());
    }
    if !completeness.is_complete() {
        if completeness.reasons != [IncompleteReason::Empty] || !has_nested(run) {
            summary::add(Count::Incomplete, 1);
        }
        return Ok(false);
    }
    if let Some((now, before)) = completeness.records.and_then(|now| Some((now, run.rules.halved_from(now)?)))
        && run.rules.activates
    {
        tracing::warn!(
            stream,
            before,
            now,
            "{stream}: {now} records after {before} the last time: all that is missing is deleted downstream, as if it were gone (max_shrink would hold that back)"
        );
    }
    run.rules.last = completeness.records;
    if let Some(version) = version.filter(|_| run.rules.activates) {
        let emptied = if run.rules.allow_empty { Vec::new() } else { output.writer.emptied(stream) };
        for Emptied { name, setting, left_out } in &emptied {
            summary::add(Count::Incomplete, 1);
            let facts = Facts { stream: Some(name.clone()), ..Facts::of_setting(setting) };
            facts.warn(&format!(
                "{name}: the filter `{setting}` left out all of {left_out} records: no ACTIVATE_VERSION is sent, and nothing is deleted downstream (allow_empty_streams: true sends it)"
            ));
        }
        output.writer.activate_version(stream, version, &emptied)?;
    }
    Ok(true)
}

/// Returns the line of a file that says that members of its groups are not in it, if the stream is one of memberships.
fn missing_members(run: &StreamRun<'_>) -> Option<u64> {
    let stated = run.context.directory.stated().filter(|_| matches!(run.source, Source::Members(_)))?;
    ATTRIBUTES.iter().find_map(|name| stated.missing(name, run.schema()))
}

/// Returns whether the stream is that of a container with nested containers.
fn has_nested(run: &StreamRun<'_>) -> bool {
    let Source::Container { dn } = run.source else { return false };
    let schema = run.context.directory.schema();
    DnKey::parse(dn, schema).is_ok_and(|key| run.context.containers.has_nested(&key))
}

/// Returns whether the stream is one of a container, found by discovery.
fn is_container(run: &StreamRun<'_>) -> bool {
    let source = if let Source::Members(of) = run.source { of } else { run.source };
    matches!(source, Source::Container { .. } | Source::Containers)
        || matches!(run.source, Source::Members(_))
}
