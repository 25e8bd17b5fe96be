//! Searches for few entries.

use crate::directory::{Directory, Paging, Scope, SearchRequest};
use crate::entry::Entry;
use crate::error::DirectoryError;
use crate::filter::Filter;

/// Returns at most `most` entries that a filter matches, with these attributes, which may be none: in a request, an empty list stands for all
/// (RFC 4511 section 4.5.1.8). A base that is not there has none.
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
    let request = SearchRequest {
        paging: Paging::Limited(most),
        ..SearchRequest::new(base, scope, filter, alone(names))
    };
    read(directory, request, most, false).await
}

/// Returns some of the entries that a filter matches, at most `most`, as [`find`] does: fewer if the server has a limit.
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
    let request =
        SearchRequest { paging, ..SearchRequest::new(base, scope, filter, alone(names)).repeating() };
    read(directory, request, most, true).await
}

/// Returns the list of a request for these attributes alone.
fn alone<'a, 'n>(names: &'a [&'n str]) -> &'a [&'n str] {
    if names.is_empty() { &["1.1"] } else { names }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DirectoryConfig, ServerUrl};
    use crate::directory::Access;

    #[tokio::test]
    async fn no_attributes_are_none_and_not_all() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "dn: dc=x\nobjectClass: domain\ndc: x\n").unwrap();
        let config = DirectoryConfig::new([ServerUrl::Ldif(file.path().to_owned())]);
        let directory = Directory::open(&config, Access::Read).await.unwrap();
        for (names, expected) in [(&[] as &[&str], 0), (&["dc"], 1), (&["*"], 2)] {
            let any = || Filter::Present("dc".to_owned());
            let found = find(&directory, "dc=x", Scope::Base, any(), names, 1).await;
            let sampled = sample(&directory, ("dc=x", Scope::Base), any(), names, 1).await;
            for found in [found.unwrap(), sampled.unwrap()] {
                assert_eq!(found[0].attributes.len(), expected, "{names:?}");
            }
        }
    }
}
