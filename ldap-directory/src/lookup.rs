//! Searches for few entries.

use crate::directory::{Directory, Paging, Scope, SearchRequest};
use crate::entry::Entry;
use crate::error::DirectoryError;
use crate::filter::Filter;

/// Returns at most `most` entries that a filter matches, with these attributes. A base that is not there has none.
///
/// # Errors
/// The search fails, also by a limit of the server.
pub async fn find(
    directory: &Directory,
    base: &str,
    scope: Scope,
    filter: Filter,
    names: &[&str],
    most: u32,
) -> Result<Vec<Entry>, DirectoryError> {
    let request =
        SearchRequest { paging: Paging::Limited(most), ..SearchRequest::new(base, scope, filter, names) };
    read(directory, request, most, false).await
}

/// Returns some of the entries that a filter matches, at most `most`: fewer if the server has a limit. A base that is not there has none.
///
/// # Errors
/// The search fails for another reason than a limit.
pub async fn sample(
    directory: &Directory,
    (base, scope): (&str, Scope),
    filter: Filter,
    names: &[&str],
    most: u32,
) -> Result<Vec<Entry>, DirectoryError> {
    let paging = Paging::AtMost(most);
    let request = SearchRequest { paging, ..SearchRequest::new(base, scope, filter, names).repeating() };
    read(directory, request, most, true).await
}

async fn read(
    directory: &Directory,
    request: SearchRequest,
    most: u32,
    may_be_limited: bool,
) -> Result<Vec<Entry>, DirectoryError> {
    let is_end = |e: &DirectoryError| e.is_no_such_object() || may_be_limited && e.is_limit();
    let mut found = Vec::new();
    let mut search = match directory.search(request).await {
        Err(e) if is_end(&e) => return Ok(found),
        search => search?,
    };
    loop {
        match search.next_entry().await {
            Ok(Some(entry)) => found.push(entry),
            Ok(None) => return Ok(found),
            Err(e) if is_end(&e) => return Ok(found),
            Err(e) => return Err(e),
        }
        if found.len() >= usize::try_from(most).unwrap_or(usize::MAX) {
            search.abandon().await?;
            return Ok(found);
        }
    }
}
