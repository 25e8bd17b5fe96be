//! Compares the entries that a bookmark keeps with the directory.

use ldap_directory::entry::Entry;
use ldap_directory::filter::escape_value;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{DirectoryError, MATCH_ALL, Paging, Scope, SearchRequest};
use serde_json::Value;

use super::restored_since;
use crate::discovery::source::Source;
use crate::replication::stream_run::StreamRun;

/// Compares the entries that a bookmark keeps with the directory, before the log is read. Returns why the position cannot be
/// used, if that is certain.
pub(crate) async fn check(run: &mut StreamRun<'_>) -> Result<Option<String>, DirectoryError> {
    run.witness.unexplained.clear();
    let Some(id) = run.context.ids.key.clone() else { return Ok(None) };
    if run.witness.is_empty() {
        return Ok(None);
    }
    let (orders, schema) = (run.mark_orders().to_vec(), run.schema());
    let mut newest = run.witness.newest.clone();
    for newest in &mut newest {
        newest.parse(&orders, schema);
    }
    // Wherever they are now.
    let naming_context = run.naming_context().ok().flatten().unwrap_or_else(|| run.base().to_owned());
    let names: Vec<&str> = std::iter::once(id.as_str()).chain(orders.iter().map(|o| o.name)).collect();
    let ids: Vec<&String> = newest.iter().map(|newest| &newest.id).collect();
    let Some(found) = search(run, &naming_context, Scope::Subtree, MATCH_ALL, &id, &ids, &names).await?
    else {
        return Ok(None);
    };
    for newest in &newest {
        match found.iter().find(|(id, _)| *id == newest.id) {
            None => drop(run.witness.unexplained.insert(newest.id.clone())),
            Some((id, entry)) => {
                if let Some(mark) = newest.regressed(entry, &orders, schema) {
                    let what = format!("the entry `{id}` has an older `{mark}` than it had");
                    return Ok(Some(restored_since(&what)));
                }
            }
        }
    }
    let gone = run.witness.gone.clone();
    let (scope, filter) = match run.source {
        Source::Search(search) => (search.scope, search.filter.clone()),
        Source::Class { filter } => (Scope::Subtree, filter.clone()),
        Source::Containers | Source::Container { .. } | Source::Members(_) => {
            (Scope::Subtree, MATCH_ALL.to_owned())
        }
    };
    let mut names = vec![id.as_str()];
    names.push(crate::discovery::containers::CLASS);
    let (base, ids) = (run.base().to_owned(), gone.iter().collect::<Vec<_>>());
    for (id, entry) in search(run, &base, scope, &filter, &id, &ids, &names).await?.unwrap_or_default() {
        if run.contains(&entry).unwrap_or_default() {
            run.witness.unexplained.insert(id);
        }
    }
    Ok(None)
}

/// Finds entries by their ids; `None` if the server refuses the search.
async fn search(
    run: &StreamRun<'_>,
    base: &str,
    scope: Scope,
    filter: &str,
    id: &str,
    ids: &[&String],
    names: &[&str],
) -> Result<Option<Vec<(String, Entry)>>, DirectoryError> {
    let kind = ValueKind::emitted(run.schema(), id);
    let octets = |text: &&String| kind.parse_json(&Value::String((*text).clone())).ok().flatten();
    let terms: Vec<String> =
        ids.iter().filter_map(octets).map(|octets| format!("({id}={})", escape_value(&octets))).collect();
    if terms.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let filter = format!("(&(|{}){filter})", terms.concat());
    let mut request = SearchRequest::new(base, scope, filter, names);
    request.paging = Paging::Configured;
    let mut search = match run.context.directory.search(request).await {
        Err(e) if e.code().is_some() => return Ok(None),
        search => search?,
    };
    let mut found = Vec::new();
    loop {
        let entry = match search.next_entry().await {
            // The base was deleted.
            Err(e) if e.is_no_such_object() => return Ok(Some(found)),
            Err(e) if e.code().is_some() && !e.is_transient() => {
                tracing::debug!("entries cannot be looked up by `{id}`: {e}");
                return Ok(None);
            }
            entry => entry?,
        };
        let Some(entry) = entry else { return Ok(Some(found)) };
        if let Some(id) = run.key_of(&entry).first().and_then(Value::as_str) {
            found.push((id.to_owned(), entry));
        }
    }
}
