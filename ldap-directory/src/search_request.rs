//! Search requests: base, scope, filter, attributes, paging, controls.

use std::fmt;

use crate::filter::{Filter, FilterError};
use crate::protocol::controls::SearchControl;

/// The filter of a search: a [`Filter`], or a text that is parsed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchFilter(Result<Filter, Invalid>);

/// A text, or the text of a built filter, that is not a valid filter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Invalid {
    text: String,
    error: FilterError,
}

impl SearchFilter {
    /// Returns the filter.
    ///
    /// # Errors
    /// Fails if it was made of a text that is not a filter (RFC 4515), or of a filter that is not valid ([`Filter::check`]).
    pub fn get(&self) -> Result<&Filter, &FilterError> {
        self.0.as_ref().map_err(|invalid| &invalid.error)
    }
}

impl From<Filter> for SearchFilter {
    fn from(filter: Filter) -> Self {
        Self(match filter.check() {
            Ok(()) => Ok(filter),
            Err(error) => Err(Invalid { text: filter.to_string(), error }),
        })
    }
}

impl From<&str> for SearchFilter {
    fn from(text: &str) -> Self {
        Self(Filter::parse(text).map_err(|error| Invalid { text: text.to_owned(), error }))
    }
}

impl From<&String> for SearchFilter {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for SearchFilter {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl fmt::Display for SearchFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(filter) => filter.fmt(f),
            Err(invalid) => f.write_str(&invalid.text),
        }
    }
}

/// The scope of a search (RFC 4511 section 4.5.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
pub enum Scope {
    /// The base entry.
    #[serde(rename = "base")]
    Base,
    /// The children of the base.
    #[serde(rename = "one")]
    OneLevel,
    /// The base and all its descendants.
    #[default]
    #[serde(rename = "sub")]
    Subtree,
}

/// How many entries the server returns at a time (RFC 2696).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Paging {
    /// Pages of [`page_size`](crate::DirectoryConfig::page_size) entries.
    #[default]
    Configured,
    /// For samples: the caller probably reads at most this many entries. Further entries follow in pages.
    AtMost(u32),
    /// No pages: for answers that are known to be small, while a paged search is in progress.
    Off,
    /// No pages, and at most this many entries, then the end without an error. For lookups that only distinguish no, one and
    /// several entries. 0 returns nothing, and asks nothing. A file and a preview return all entries.
    Limited(u32),
    /// Pages of this many entries, for a caller that stops between them. The answer pauses at the end of each page
    /// ([`SearchStream::is_paused`](crate::SearchStream::is_paused)), and the next page is not requested before the caller continues: meanwhile
    /// nothing waits in the server or on the way. A file and a preview do not pause.
    Stepwise(u32),
}

/// A search (RFC 4511 section 4.5.1). Aliases are never dereferenced: they are entries like others.
///
/// [`Directory::search`](crate::Directory::search) sends it.
///
/// ```
/// use ldap_directory::{Paging, Scope, SearchRequest};
///
/// let mut request =
///     SearchRequest::new("ou=people,dc=example,dc=com", Scope::Subtree, "(uid=a*)", &["cn", "mail"]);
/// request.paging = Paging::Limited(10);
/// assert_eq!(request.filter.to_string(), "(uid=a*)");
/// ```
#[derive(Debug, Clone)]
pub struct SearchRequest {
    /// The DN of the base entry.
    pub base: String,
    /// The scope.
    pub scope: Scope,
    /// The filter.
    pub filter: SearchFilter,
    /// The requested attributes: descriptions, `*` for all user attributes, `+` for all operational ones, `1.1` for none.
    /// Empty means all user attributes.
    pub attributes: Vec<String>,
    /// How many entries the server returns at a time.
    pub paging: Paging,
    /// Controls; a file ignores them.
    pub controls: Vec<SearchControl>,
    /// Whether an entry may be returned twice. If so, the search begins again after a lost connection, even if it had returned
    /// entries. Otherwise, it does so only if it had returned nothing.
    pub may_repeat: bool,
}

impl SearchRequest {
    /// Returns a search. The filter is a [`Filter`] or its text, which is parsed here; if it is not valid, the search fails, and nothing is
    /// sent.
    /// The base is sent unchanged: a DN that a server returned need not be a valid one.
    pub fn new(
        base: impl Into<String>,
        scope: Scope,
        filter: impl Into<SearchFilter>,
        attributes: &[&str],
    ) -> Self {
        Self {
            base: base.into(),
            scope,
            filter: filter.into(),
            attributes: attributes.iter().map(|a| (*a).to_owned()).collect(),
            paging: Paging::default(),
            controls: Vec::new(),
            may_repeat: false,
        }
    }

    /// Sets [`may_repeat`](Self::may_repeat): the caller accepts repeated entries.
    #[must_use]
    pub fn repeating(self) -> Self {
        Self { may_repeat: true, ..self }
    }
}
