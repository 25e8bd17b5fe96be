//! Entries that left a stream because something above them was moved out of it: no log tells of them.
//!
//! A log tells of the moved entry alone. It is looked up by its immutable id, wherever it is now, and what lies below it there
//! and was the stream's is gone.

use std::io::Write;

use singer_common::directory::{DirectoryError, Scope, SearchRequest};
use singer_common::filter::escape_value;

use super::StreamRun;
use crate::output::Output;
use singer_common::directory::MATCH_ALL;

/// So many ids are looked up by one search.
const AT_ONCE: usize = 200;

/// Prints the deletions of what lies below entries that left the stream. `ids`: the immutable ids of entries that a log calls
/// deleted; most of them are.
pub(crate) async fn emit_below_ids<W: Write>(
    run: &mut StreamRun<'_>,
    output: &mut Output<'_, W>,
    ids: &[String],
) -> anyhow::Result<()> {
    let Some(key) = run.context.ids.key.clone() else { return Ok(()) };
    let naming_context = run.naming_context()?.unwrap_or_else(|| run.context.base.clone());
    for ids in ids.chunks(AT_ONCE) {
        let parts = ids.iter().map(|id| format!("({key}={})", escape_value(id.as_bytes())));
        let filter = format!("(|{})", parts.collect::<String>());
        let request = SearchRequest::new(naming_context.as_str(), Scope::Sub, filter, &["1.1"]);
        for dn in names(run, request, output).await? {
            emit_below(run, output, &dn).await?;
        }
    }
    Ok(())
}

/// Prints the deletions of what lies below an entry that left the stream and is there under this name.
pub(crate) async fn emit_below<W: Write>(
    run: &mut StreamRun<'_>,
    output: &mut Output<'_, W>,
    dn: &str,
) -> anyhow::Result<()> {
    if run.is_in_scope(dn)? {
        return Ok(());
    }
    let keys: Vec<String> = run.stream.key_properties.clone();
    let attributes: Vec<&str> = keys.iter().map(String::as_str).collect();
    let request = SearchRequest::new(dn, Scope::Sub, MATCH_ALL, &attributes);
    let directory = run.context.directory.clone();
    let mut search = directory.search(request).await?;
    loop {
        match output.or_stop(search.next_entry()).await? {
            Ok(Some(entry)) if entry.dn == dn || run.is_in_scope(&entry.dn)? => {}
            Ok(Some(entry)) => {
                let key = run.key_of(&entry);
                run.emit_deletion(output, &key, None)?;
            }
            Ok(None) => return Ok(()),
            Err(error) => return put_up_with(run, error),
        }
    }
}

/// The names that a search finds.
async fn names<W: Write>(
    run: &mut StreamRun<'_>,
    request: SearchRequest,
    output: &mut Output<'_, W>,
) -> anyhow::Result<Vec<String>> {
    let directory = run.context.directory.clone();
    let mut search = directory.search(request).await?;
    let mut found = Vec::new();
    loop {
        match output.or_stop(search.next_entry()).await? {
            Ok(Some(entry)) => found.push(entry.dn),
            Ok(None) => return Ok(found),
            Err(error) => {
                put_up_with(run, error)?;
                return Ok(found);
            }
        }
    }
}

/// What a server refuses to say ends no run: the deletions that the log names are told. It is said once.
fn put_up_with(run: &mut StreamRun<'_>, error: DirectoryError) -> anyhow::Result<()> {
    if error.is_no_such_object() {
        return Ok(());
    }
    if error.code().is_none() {
        return Err(error.into());
    }
    if !std::mem::replace(&mut run.said_not_found, true) {
        let stream = run.stream.stream.as_str();
        tracing::warn!(
            stream,
            "{stream}: where entries are now that left the stream cannot be looked up ({error}): what was moved out of it below one of them stays downstream until a full read"
        );
    }
    Ok(())
}
