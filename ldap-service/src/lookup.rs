//! Searches for few entries.

use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::protocol::result_code;
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

/// Returns some of the entries that a filter matches, at most `most`: fewer where the server returns no more at a time.
///
/// # Errors
/// The search fails for another reason than a size limit (RFC 4511 section 4.5.1.4), or the limit is zero.
pub(crate) async fn sample(
    directory: &Directory,
    base: &str,
    scope: Scope,
    filter: Filter,
    names: &[&str],
    most: u32,
) -> Result<Vec<Entry>, DirectoryError> {
    let mut most = most;
    loop {
        match find(directory, base, scope, filter.clone(), names, most).await {
            Err(e) if e.code() == Some(result_code::SIZE_LIMIT_EXCEEDED) && most > 1 => most /= 2,
            found => return found,
        }
    }
}
