//! `--only-dn DN`: one entry alone through the whole path, to try a configuration on one person.
//!
//! Each selected stream that the entry belongs to prints its SCHEMA and the RECORD. No version is activated, nothing is deleted, no index is
//! read or written, and no STATE is printed: it would cover what was not read.

use std::io::Write;

use ldap_directory::MATCH_ALL;
use ldap_directory::schema::syntax::now;
use singer_common::operations::observe::StreamSpan;
use singer_common::plugin::settings::SettingsError;
use singer_common::singer::catalog::CatalogEntry;

use crate::config::TapConfig;
use crate::discovery::context::DirectoryContext;
use crate::discovery::exclusions;
use crate::discovery::source::Source;
use crate::output::Output;
use crate::replication::hidden_attributes;
use crate::replication::method::Method;
use crate::replication::stream_run::{StreamRun, has_deletions};
use crate::stream::entries::Entries;
use crate::stream::members::Memberships;

/// The flag.
pub(crate) const FLAG: &str = "--only-dn";

/// The most streams without the entry that a message names.
const NAMED: usize = 3;

/// Whether a stream has the entry.
enum Found {
    /// This many records.
    Records(u64),
    /// It lies elsewhere.
    Outside,
    /// It is there, and the stream's filter does not match it.
    Filtered,
}

/// Emits the records of one entry in all selected streams that have it.
///
/// # Errors
/// There is no such entry, no stream has it, or the server does not answer.
pub(crate) async fn run<W: Write>(
    (config, context): (&TapConfig, &DirectoryContext),
    dn: &str,
    streams: &[(&CatalogEntry, &Source, &Method)],
    output: &mut Output<'_, W>,
) -> anyhow::Result<()> {
    let dn = &*output.or_stop(entry_name(context, dn)).await??;
    // Without an index: it is neither read nor written.
    let plain = TapConfig { track_deletions: None, ..config.clone() };
    let mut count = 0;
    let mut lacking = Vec::new();
    for (stream, source, method) in streams {
        let span = StreamSpan::begin(&stream.stream);
        output.count_stream(&stream.stream);
        let mut run = StreamRun::new(output, &plain, context, stream, source, &Method::FullTable)?;
        if has_deletions(config, source, method) {
            // As in the SCHEMA of a whole run.
            run.converter.mark_deletions();
        }
        let found = of_stream(&mut run, method, dn, output).await?;
        output.count();
        run.log_warnings();
        match found {
            Found::Records(records) => {
                span.done(records, true);
                count += records;
            }
            Found::Outside => lacking.push(format!("`{}` (it lies elsewhere)", stream.stream)),
            Found::Filtered => lacking.push(format!("`{}` (the filter does not match it)", stream.stream)),
        }
    }
    output.flush()?;
    if lacking.len() == streams.len() {
        let more = if lacking.len() > NAMED { ", …" } else { "" };
        lacking.truncate(NAMED);
        let problem = format!("`{dn}` is in no selected stream: {}{more}", lacking.join(", "));
        return Err(SettingsError::value(FLAG, problem, "the DN of an entry of a selected stream").into());
    }
    tracing::info!(
        setting = FLAG,
        records = count,
        "{FLAG}: {count} record(s) of `{dn}`; nothing else is read, no version is activated, and no STATE is printed"
    );
    Ok(())
}

/// Returns the DN as the server spells it.
async fn entry_name(context: &DirectoryContext, dn: &str) -> anyhow::Result<String> {
    let wrong = |problem: String| SettingsError::value(FLAG, problem, "the DN of an entry");
    let directory = &context.whole;
    if dn.trim().is_empty() {
        return Err(wrong("empty".to_owned()).into());
    }
    crate::discovery::dn::key(dn, directory.schema()).map_err(|e| wrong(e.to_string()))?;
    if context.is_excluded(dn) {
        let problem = format!("`{dn}` is in a subtree that {} leaves out", exclusions::SETTING);
        return Err(wrong(problem).into());
    }
    if let Some(entry) = directory.read(dn, &["1.1"]).await? {
        return Ok(entry.dn);
    }
    let near = directory.nearest_name(dn).await;
    let problem = format!("`{dn}` is not there, or the bound user may not see it");
    Err(wrong(problem).near(near.as_deref()).into())
}

async fn of_stream<W: Write>(
    run: &mut StreamRun<'_>,
    method: &Method,
    dn: &str,
    output: &mut Output<'_, W>,
) -> anyhow::Result<Found> {
    let (context, source) = (run.context, run.source);
    let of = if let Source::Members(of) = source { of } else { source };
    if !context.is_in_scope(of, dn)? {
        return Ok(Found::Outside);
    }
    hidden_attributes::leave_out(run, output).await?;
    let keys: &[String] =
        if let Method::Incremental { key } = method { std::slice::from_ref(key) } else { &[] };
    if let Source::Members(of) = source {
        return members(run, (of, dn), output).await;
    }
    let mut entries = Entries::one_of(context, source, &run.attributes(&[]), (dn, MATCH_ALL));
    let mut records = 0;
    while let Some(entry) = output.next_of(&mut entries).await?? {
        if context.has_entry(source, &entry)? {
            if records == 0 {
                run.start(output, keys)?;
            }
            run.emit(output, &entry)?;
            records += 1;
        }
    }
    Ok(if records == 0 { Found::Filtered } else { Found::Records(records) })
}

/// The rows of a group, if the entry is one.
async fn members<W: Write>(
    run: &mut StreamRun<'_>,
    (of, dn): (&Source, &str),
    output: &mut Output<'_, W>,
) -> anyhow::Result<Found> {
    let key = run.context.ids.key.clone();
    let mut members = Memberships::open(run.context, of, run.stream, key, Some(dn)).await?;
    let time = now();
    let mut lines = Vec::new();
    let mut records = 0;
    while output.or_stop(members.write_next(None, &time, &mut lines)).await?? {
        if records == 0 {
            run.start(output, &[])?;
        }
        output.writer.record_buffer().append(&mut lines);
        records += 1;
        output.record_written(&run.stream.stream, records)?;
    }
    Ok(if records == 0 { Found::Filtered } else { Found::Records(records) })
}
