//! The answer to a search, item by item, from every kind of directory.

use std::sync::Arc;

use super::{ExcludedSubtrees, PreviewSearch};
use crate::client as ldap;
use crate::entry::{Entry, EntryView as _};
use crate::error::DirectoryError;
use crate::ldif;

/// One item of a search's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchItem {
    /// An entry.
    Entry(Entry),
    /// A search result reference: URLs where the answer continues (RFC 4511 section 4.5.3).
    Reference(Vec<String>),
    /// An entry that is left out because its DN is not UTF-8: the DN, with the invalid octets escaped. A warning was logged.
    Unreadable(String),
}

/// One item of a search's answer, for callers that only inspect entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// An entry in the receive buffer: [`SearchStream::in_place`] returns it until the search advances.
    InPlace,
    /// An owned entry.
    Entry(Entry),
    /// A search result reference, as [`SearchItem::Reference`].
    Reference(Vec<String>),
    /// An entry that is left out, as [`SearchItem::Unreadable`].
    Unreadable(String),
}

/// The answer to a search, item by item. Nothing is read before an item is requested.
///
/// [`next`](Self::next), [`next_entry`](Self::next_entry) and [`advance`](Self::advance) are cancel safe: if the future is dropped, no item
/// is lost, and the next call continues. A search that is dropped before its end is abandoned.
///
/// ```
/// use ldap_directory::{Access, Directory, DirectoryConfig, Scope, SearchItem, SearchRequest, ServerUrl};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let file = tempfile::NamedTempFile::new()?;
/// std::fs::write(&file, "dn: dc=x\nobjectClass: domain\ndc: x\n")?;
/// let config = DirectoryConfig::new([ServerUrl::Ldif(file.path().to_owned())]);
/// let directory = Directory::open(&config, Access::Read).await?;
/// let mut answer = directory.search(SearchRequest::new("dc=x", Scope::Subtree, "(dc=*)", &["dc"])).await?;
/// while let Some(item) = answer.next().await? {
///     match item {
///         SearchItem::Entry(entry) => assert_eq!(entry.dn, "dc=x"),
///         SearchItem::Reference(urls) => println!("continued at {urls:?}"),
///         SearchItem::Unreadable(dn) => println!("left out: {dn}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct SearchStream {
    answer: Answer,
    /// The subtrees whose entries are dropped.
    excluded: Option<Arc<ExcludedSubtrees>>,
}

/// The answer of one kind of directory.
#[derive(Debug)]
pub(crate) enum Answer {
    /// From a server.
    Ldap(Box<ldap::LdapSearch>),
    /// From a file.
    Ldif(Box<ldif::LdifSearch>),
    /// From a preview.
    Preview(Box<PreviewSearch>),
}

impl Answer {
    pub(crate) async fn next(&mut self) -> Result<Option<SearchItem>, DirectoryError> {
        match self {
            Answer::Ldap(search) => search.next().await,
            Answer::Ldif(search) => Ok(search.advance()),
            Answer::Preview(search) => search.next().await,
        }
    }

    async fn advance(&mut self) -> Result<Option<Found>, DirectoryError> {
        if let Answer::Ldap(search) = self {
            return search.advance().await;
        }
        Ok(self.next().await?.map(|item| match item {
            SearchItem::Entry(entry) => Found::Entry(entry),
            SearchItem::Reference(urls) => Found::Reference(urls),
            SearchItem::Unreadable(dn) => Found::Unreadable(dn),
        }))
    }
}

impl SearchStream {
    pub(super) fn new(answer: Answer, excluded: Option<Arc<ExcludedSubtrees>>) -> Self {
        Self { answer, excluded }
    }

    /// Returns whether an entry is dropped.
    fn excludes(&self, dn: &str) -> bool {
        self.excluded.as_ref().is_some_and(|excluded| excluded.has_dn(dn))
    }

    /// Returns whether what was found is dropped.
    fn is_excluded(&self, found: &Found) -> bool {
        match found {
            Found::InPlace if self.excluded.is_none() => false,
            Found::InPlace => self.in_place().is_some_and(|entry| self.excludes(entry.dn())),
            Found::Entry(Entry { dn, .. }) | Found::Unreadable(dn) => self.excludes(dn),
            // Another server's entries: what lies there, it does not say.
            Found::Reference(_) => false,
        }
    }

    /// Returns the next item, or `None` once the answer is complete. After an error, the answer is *not* complete.
    ///
    /// # Errors
    /// Fails if the server refuses the search, if the connection is lost and the search cannot begin again, or if there is no
    /// message within `operation_timeout`.
    pub async fn next(&mut self) -> Result<Option<SearchItem>, DirectoryError> {
        loop {
            let Some(item) = self.answer.next().await? else { return Ok(None) };
            let is_excluded = match &item {
                SearchItem::Entry(Entry { dn, .. }) | SearchItem::Unreadable(dn) => self.excludes(dn),
                SearchItem::Reference(_) => false,
            };
            if !is_excluded {
                return Ok(Some(item));
            }
        }
    }

    /// Advances to the next item, like [`Self::next`], but leaves an entry in the receive buffer if possible.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn advance(&mut self) -> Result<Option<Found>, DirectoryError> {
        loop {
            match self.answer.advance().await? {
                Some(found) if self.is_excluded(&found) => {}
                found => return Ok(found),
            }
        }
    }

    /// Advances if the next item has already arrived; `None` means that [`Self::advance`] must be called.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn advance_at_once(&mut self) -> Result<Option<Found>, DirectoryError> {
        loop {
            let Answer::Ldap(search) = &mut self.answer else { return Ok(None) };
            match search.advance_at_once()? {
                Some(found) if self.is_excluded(&found) => {}
                found => return Ok(found),
            }
        }
    }

    /// Reads more of the current page into the buffer, for a caller that is busy but does not want the server to wait. The entry
    /// in place is lost. Returns whether there is more to read. Cancel safe.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn absorb(&mut self) -> Result<bool, DirectoryError> {
        match &mut self.answer {
            Answer::Ldap(search) => search.absorb().await,
            Answer::Ldif(_) | Answer::Preview(_) => Ok(false),
        }
    }

    /// Returns how often the answer began again after it had returned entries (`may_repeat`): those are returned once more.
    pub fn beginnings(&self) -> u32 {
        match &self.answer {
            Answer::Ldap(search) => search.beginnings(),
            Answer::Ldif(_) | Answer::Preview(_) => 0,
        }
    }

    /// Returns whether the last `None` was the end of a page, after which the answer continues ([`Paging::Stepwise`](super::Paging::Stepwise)):
    /// the next call requests another page. `false` after a `None` at the end of the answer.
    pub fn is_paused(&self) -> bool {
        match &self.answer {
            Answer::Ldap(search) => search.is_paused(),
            Answer::Ldif(_) | Answer::Preview(_) => false,
        }
    }

    /// Returns the entry in the receive buffer, after [`Found::InPlace`].
    pub fn in_place(&self) -> Option<ldap::WireEntry<'_>> {
        match &self.answer {
            Answer::Ldap(search) => search.in_place(),
            Answer::Ldif(_) | Answer::Preview(_) => None,
        }
    }

    /// Returns the search of a server, which knows more about its end.
    pub fn of_server(&self) -> Option<&ldap::LdapSearch> {
        match &self.answer {
            Answer::Ldap(search) => Some(search),
            Answer::Ldif(_) | Answer::Preview(_) => None,
        }
    }

    /// Abandons a search, so that another search can follow at once.
    ///
    /// # Errors
    /// Fails if the rest of the current page cannot be read.
    pub async fn abandon(self) -> Result<(), DirectoryError> {
        match self.answer {
            Answer::Ldap(search) => search.abandon().await,
            Answer::Ldif(_) => Ok(()),
            Answer::Preview(search) => search.abandon().await,
        }
    }

    /// Returns the next entry. References and unreadable entries are skipped.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn next_entry(&mut self) -> Result<Option<Entry>, DirectoryError> {
        loop {
            match self.next().await? {
                Some(SearchItem::Entry(entry)) => return Ok(Some(entry)),
                Some(SearchItem::Reference(_) | SearchItem::Unreadable(_)) => {}
                None => return Ok(None),
            }
        }
    }
}
