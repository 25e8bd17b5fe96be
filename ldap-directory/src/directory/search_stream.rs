//! The answer to a search, item by item, from any kind of directory.

use super::PreviewSearch;
use crate::client as ldap;
use crate::entry::Entry;
use crate::error::DirectoryError;
use crate::ldif;

/// One item of a search's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchItem {
    /// An entry.
    Entry(Entry),
    /// Continuation references: URLs where the answer goes on (RFC 4511 section 4.5.3).
    Reference(Vec<String>),
    /// An entry that is left out because its name is not UTF-8: the name, with the octets that are no text escaped. It was
    /// warned of.
    Unreadable(String),
}

/// One item of a search's answer, for who only looks at entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// An entry that stays where it came in: [`SearchStream::in_place`] shows it, until the search goes on.
    InPlace,
    /// An entry taken apart.
    Entry(Entry),
    /// Continuation references.
    Reference(Vec<String>),
    /// An entry that is left out, as [`SearchItem::Unreadable`].
    Unreadable(String),
}

/// The answer to a search, item by item.
#[derive(Debug)]
pub enum SearchStream {
    /// From a server.
    Ldap(Box<ldap::LdapSearch>),
    /// From a file.
    Ldif(Box<ldif::LdifSearch>),
    /// From a directory as it would be.
    Preview(Box<PreviewSearch>),
}

impl SearchStream {
    /// The next item; `None` once the answer is complete. After an error the answer is *not* complete.
    pub async fn next(&mut self) -> Result<Option<SearchItem>, DirectoryError> {
        match self {
            SearchStream::Ldap(search) => search.next().await,
            SearchStream::Ldif(search) => Ok(search.advance()),
            SearchStream::Preview(search) => search.next().await,
        }
    }

    /// Goes on to the next item, as [`Self::next`] does, and takes no entry apart that can be shown where it is.
    pub async fn advance(&mut self) -> Result<Option<Found>, DirectoryError> {
        if let SearchStream::Ldap(search) = self {
            return search.advance().await;
        }
        Ok(self.next().await?.map(|item| match item {
            SearchItem::Entry(entry) => Found::Entry(entry),
            SearchItem::Reference(urls) => Found::Reference(urls),
            SearchItem::Unreadable(dn) => Found::Unreadable(dn),
        }))
    }

    /// The same where nothing has to be waited for: `None` says that [`Self::advance`] is to be asked.
    pub fn advance_at_once(&mut self) -> Result<Option<Found>, DirectoryError> {
        match self {
            SearchStream::Ldap(search) => search.advance_at_once(),
            SearchStream::Ldif(_) | SearchStream::Preview(_) => Ok(None),
        }
    }

    /// Reads more of the page under way, and leaves it where it is, for who cannot take it now but does not want the server to
    /// wait. The entry in place is lost. Whether there is more to read; may be dropped while it waits.
    pub async fn absorb(&mut self) -> Result<bool, DirectoryError> {
        match self {
            SearchStream::Ldap(search) => search.absorb().await,
            SearchStream::Ldif(_) | SearchStream::Preview(_) => Ok(false),
        }
    }

    /// How often the answer began again after entries had come (`may_repeat`): what came before comes once more.
    pub fn beginnings(&self) -> u32 {
        match self {
            SearchStream::Ldap(search) => search.beginnings(),
            SearchStream::Ldif(_) | SearchStream::Preview(_) => 0,
        }
    }

    /// The entry in place, after [`Found::InPlace`].
    pub fn in_place(&self) -> Option<ldap::WireEntry<'_>> {
        match self {
            SearchStream::Ldap(search) => search.in_place(),
            SearchStream::Ldif(_) | SearchStream::Preview(_) => None,
        }
    }

    /// Ends a search before its end, in a way that another search can follow at once.
    pub async fn abandon(self) -> Result<(), DirectoryError> {
        match self {
            SearchStream::Ldap(search) => search.abandon().await,
            SearchStream::Ldif(_) => Ok(()),
            SearchStream::Preview(search) => search.abandon().await,
        }
    }

    /// The next entry, references and entries that cannot be read left out.
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
