//! Entries that left a stream because an entry above them was moved out of it. No log reports them.
//!
//! A log reports only the moved entry. It is found by its immutable id at its new place; the entries below it there that were in
//! the stream are deleted.

use std::io::Write;

use ldap_directory::filter::escape_value;
use ldap_directory::{DirectoryError, Scope, SearchRequest};

use crate::output::Output;
use crate::replication::stream_run::StreamRun;
use ldap_directory::MATCH_ALL;

/// Ids per search.
const IDS_PER_SEARCH: usize = 200;

/// Emits deletions of the entries below entries that left the stream. `ids`: the immutable ids of entries that a log reported as
/// deleted, which most of them are.
pub(crate) async fn emit_below_ids<W: Write>(
    run: &mut StreamRun<'_>,
    output: &mut Output<'_, W>,
    ids: &[String],
) -> anyhow::Result<()> {
    let Some(key) = run.context.ids.key.clone() else { return Ok(()) };
    let naming_context = run.naming_context()?.unwrap_or_else(|| run.context.base.clone());
    for ids in ids.chunks(IDS_PER_SEARCH) {
        let parts = ids.iter().map(|id| format!("({key}={})", escape_value(id.as_bytes())));
        let filter = format!("(|{})", parts.collect::<String>());
        let request = SearchRequest::new(naming_context.as_str(), Scope::Subtree, filter, &["1.1"]);
        for dn in dns(run, request, output).await? {
            emit_below(run, output, &dn).await?;
        }
    }
    Ok(())
}

/// Emits deletions of the entries below an entry that left the stream and has this DN now.
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
    let request = SearchRequest::new(dn, Scope::Subtree, MATCH_ALL, &attributes);
    let directory = run.context.whole.clone();
    let mut search = directory.search(request).await?;
    loop {
        match output.or_stop(search.next_entry()).await? {
            Ok(Some(entry)) if entry.dn == dn || run.is_in_scope(&entry.dn)? => {}
            Ok(Some(entry)) => {
                let key = run.key_of(&entry);
                run.emit_deletion(output, &key, None)?;
            }
            Ok(None) => return Ok(()),
            Err(error) => return tolerate(run, error),
        }
    }
}

/// Returns the DNs of the search results.
async fn dns<W: Write>(
    run: &mut StreamRun<'_>,
    request: SearchRequest,
    output: &mut Output<'_, W>,
) -> anyhow::Result<Vec<String>> {
    let directory = run.context.whole.clone();
    let mut search = directory.search(request).await?;
    let mut found = Vec::new();
    loop {
        match output.or_stop(search.next_entry()).await? {
            Ok(Some(entry)) => found.push(entry.dn),
            Ok(None) => return Ok(found),
            Err(error) => {
                tolerate(run, error)?;
                return Ok(found);
            }
        }
    }
}

/// Ignores a refused search, with one warning: the deletions that the log names are still emitted.
fn tolerate(run: &mut StreamRun<'_>, error: DirectoryError) -> anyhow::Result<()> {
    if error.is_no_such_object() {
        return Ok(());
    }
    if error.code().is_none() {
        return Err(error.into());
    }
    if !std::mem::replace(&mut run.warned_not_found, true) {
        let stream = run.stream.stream.as_str();
        tracing::warn!(
            stream,
            "{stream}: where entries are now that left the stream cannot be looked up ({error}): what was moved out of it below one of them stays downstream until a full read"
        );
    }
    Ok(())
}
