//! Where a run reads a stream from, and how far that is: see [`origin`](crate::replication::origin).

use std::collections::BTreeMap;
use std::io::Write;

use ldap_directory::oid;
use ldap_directory::text::printable_line;
use ldap_directory::{DirectoryError, Vendor};

use crate::discovery::context::ServerMarks;
use crate::output::{Interrupted, Output};
use crate::replication::completeness::IncompleteReason;
use crate::replication::origin::{ORIGIN, Origin, Origins, hash};
use crate::replication::stream_run::StreamRun;

/// OpenLDAP: the last change of each server of the directory (draft-ietf-ldup-model; slapd's syncprov).
const CONTEXT_CSN: &str = "contextCSN";

/// How recent the marks of a server must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marks {
    /// Those of the end of the stream before are enough: what the server had then, it has.
    Known,
    /// Those of now.
    Read,
}

/// Returns the origin of what is read now.
async fn now(run: &StreamRun<'_>, marks: Marks) -> Result<Origin, DirectoryError> {
    let directory = &run.context.directory;
    let mut origin = Origin { account: run.context.account.clone(), ..Origin::default() };
    let Some(stated) = directory.stated() else {
        origin.server = directory.serving();
        let root = directory.root_dse();
        if root.vendor == Vendor::ActiveDirectory && !root.server_id.is_empty() {
            origin.server_id = hash(&root.server_id.join("\n"));
        }
        if !run.context.ids.base.is_empty() {
            origin.directory = hash(&run.context.ids.base);
        }
        if directory.root_dse().vendor == Vendor::OpenLdap {
            origin.marks = marks_of_server(run, marks, &origin.server).await?;
            origin.has_old_marks = !directory.root_dse().supports_control(oid::SYNC_REQUEST);
        }
        return Ok(origin);
    };
    let searches = stated.searches();
    let mut texts: Vec<&str> = searches.iter().map(|search| search.text.as_str()).collect();
    texts.sort_unstable();
    texts.dedup();
    origin.is_part = searches.iter().any(|search| search.is_part);
    if !texts.is_empty() {
        origin.part = hash(&texts.join("\n").to_lowercase());
    }
    let said = searches.iter().find(|search| search.is_part).or(searches.first());
    origin.said = said.map(|search| (search.line, printable_line(&search.text).into_owned()));
    Ok(origin)
}

/// Reads the origins of the last runs, and where the stream is read from now.
///
/// # Errors
/// A signal requested a stop, or the server does not answer.
pub(crate) async fn begin<W: Write>(
    run: &mut StreamRun<'_>,
    output: &mut Output<'_, W>,
) -> anyhow::Result<()> {
    if !run.concludes() {
        return Ok(());
    }
    let bookmark = output.state.bookmarks.get(&run.stream.tap_stream_id).and_then(|b| b.get(ORIGIN));
    run.origins = match &run.index {
        Some(index) => Origins::of(index.get().origin()?.and_then(|text| text.parse().ok()).as_ref()),
        None => Origins::of(bookmark),
    };
    let begin: Result<_, Interrupted> = output.or_stop(Box::pin(now(run, Marks::Known))).await;
    run.origin = Some(begin??);
    Ok(())
}

/// Notes at the end of a whole read where it came from. Returns why nothing may be concluded from what it did not show.
///
/// # Errors
/// The server does not answer, or the index cannot be written.
pub(crate) async fn judge(run: &mut StreamRun<'_>) -> anyhow::Result<Vec<IncompleteReason>> {
    let Some(begin) = run.origin.take() else { return Ok(Vec::new()) };
    // Entries that were changed meanwhile were read, too.
    let mut end = Box::pin(now(run, Marks::Read)).await?;
    let mut reasons = Vec::new();
    if begin.server == end.server {
        // What it had when the read began is certainly there; what came meanwhile may be missing elsewhere.
        let late = if end.has_old_marks { BTreeMap::new() } else { std::mem::take(&mut end.marks) };
        end.marks.clone_from(&begin.marks);
        reasons.extend(run.origins.judge(end));
        if let Some(whole) = &mut run.origins.whole {
            whole.add_marks(&late);
        }
    } else {
        // A part of it came from each of them.
        reasons.extend(run.origins.clone().judge(begin.clone()));
        let marks = if begin.has_old_marks { BTreeMap::new() } else { begin.marks.clone() };
        for reason in run.origins.judge(end) {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        if let Some(whole) = &mut run.origins.whole {
            whole.add_marks(&marks);
        }
    }
    run.origin = Some(begin);
    run.keep_origins()?;
    Ok(reasons)
}

/// Notes how far the log was read: OpenLDAP's cookie says it.
///
/// # Errors
/// The index cannot be written.
pub(crate) fn follow(run: &mut StreamRun<'_>, cookie: &[u8]) -> anyhow::Result<()> {
    if run.origin.is_none() {
        return Ok(());
    }
    let csns = std::str::from_utf8(cookie).unwrap_or_default();
    let csns = csns.split(',').find_map(|part| part.strip_prefix("csn=")).unwrap_or_default();
    let server = run.context.directory.serving();
    run.origins.follow(server, &by_server(csns.split(';')));
    run.keep_origins()
}

/// Returns change sequence numbers by their servers: time, count, server, modification.
fn by_server<'c>(csns: impl Iterator<Item = &'c str>) -> BTreeMap<String, String> {
    csns.filter_map(|csn| Some((csn.split('#').nth(2)?.to_owned(), csn.to_owned()))).collect()
}

/// Returns how far the server is, and keeps it for the next stream.
async fn marks_of_server(
    run: &StreamRun<'_>,
    marks: Marks,
    server: &str,
) -> Result<BTreeMap<String, String>, DirectoryError> {
    let naming_context = run.naming_context().ok().flatten().unwrap_or_default();
    let mut last = run.context.marks.lock().await;
    if marks == Marks::Known
        && let Some(known) = &*last
        && known.server == server
        && known.naming_context == naming_context
    {
        return Ok(known.marks.clone());
    }
    let marks = context_csns(run).await?;
    *last = Some(ServerMarks { server: server.to_owned(), naming_context, marks: marks.clone() });
    Ok(marks)
}

/// Returns how far an OpenLDAP server is: the last change of each server of the directory. Empty if it does not say that.
///
/// # Errors
/// The server does not answer.
pub(crate) async fn context_csns(run: &StreamRun<'_>) -> Result<BTreeMap<String, String>, DirectoryError> {
    // The suffix entry has it, wherever the stream's base is below it.
    let Some(naming_context) = run.naming_context().ok().flatten().filter(|dn| !dn.is_empty()) else {
        return Ok(BTreeMap::new());
    };
    let entry = match run.context.directory.read(&naming_context, &[CONTEXT_CSN]).await {
        Ok(entry) => entry.unwrap_or_default(),
        // The bound user may lack the right to read it.
        Err(e) if e.code().is_some() => return Ok(BTreeMap::new()),
        Err(e) => return Err(e),
    };
    let values = entry.values(CONTEXT_CSN).iter();
    Ok(by_server(values.filter_map(|v| std::str::from_utf8(v).ok())))
}
