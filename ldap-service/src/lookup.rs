//! Searches for few entries.

use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchRequest};

/// Returns the entries that a filter matches, at most `most`, with these attributes. A base that is not there has none.
///
/// # Errors
/// The search fails.
pub(crate) async fn find(
    directory: &Directory,
    base: &str,
    scope: Scope,
    filter: Filter,
    names: &[&str],
    most: u32,
) -> Result<Vec<Entry>, DirectoryError> {
    let request =
        SearchRequest { paging: Paging::Limited(most), ..SearchRequest::new(base, scope, filter, names) };
    let mut found = Vec::new();
    let mut search = match directory.search(request).await {
        Err(e) if e.is_no_such_object() => return Ok(found),
        search => search?,
    };
    loop {
        match search.next_entry().await {
            Ok(Some(entry)) => found.push(entry),
            Ok(None) => return Ok(found),
            Err(e) if e.is_no_such_object() => return Ok(found),
            Err(e) => return Err(e),
        }
        if found.len() >= usize::try_from(most).unwrap_or(usize::MAX) {
            search.abandon().await?;
            return Ok(found);
        }
    }
}
