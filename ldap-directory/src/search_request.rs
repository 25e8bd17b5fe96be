//! What is asked for by a search.

use std::fmt;

use crate::filter::{Filter, FilterError};
use crate::protocol::controls::SearchControl;

/// The filter of a search, read once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchFilter(Result<Filter, Invalid>);

/// A text that is not a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Invalid {
    text: String,
    error: FilterError,
}

impl SearchFilter {
    /// Returns the filter.
    ///
    /// # Errors
    /// It was made of a text that is not a filter (RFC 4515).
    pub fn get(&self) -> Result<&Filter, &FilterError> {
        self.0.as_ref().map_err(|invalid| &invalid.error)
    }
}

impl From<Filter> for SearchFilter {
    fn from(filter: Filter) -> Self {
        Self(Ok(filter))
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
    /// The base entry only.
    #[serde(rename = "base")]
    Base,
    /// The entries right below the base.
    #[serde(rename = "one")]
    OneLevel,
    /// The base and all below it.
    #[default]
    #[serde(rename = "sub")]
    Subtree,
}

/// How many entries of an answer come at a time (RFC 2696).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Paging {
    /// `page_size`, as configured.
    #[default]
    Configured,
    /// So many entries may be all that is wanted: for samples. Others follow, by pages, where they are asked for.
    AtMost(u32),
    /// All at once: for answers known to be small, while a paged search is under way.
    Off,
    /// All at once, and never more than so many: a look-up that only has to see whether there are several must not have the
    /// server send everything for a filter that fits everything. The answer ends there without an error.
    Limited(u32),
}

/// A search (RFC 4511 section 4.5.1). Aliases are never dereferenced: they are entries like others.
///
/// ```
/// use ldap_directory::{Paging, Scope, SearchRequest};
///
/// let mut request = SearchRequest::new("ou=people,dc=example,dc=com", Scope::Sub, "(uid=a*)", &["cn", "mail"]);
/// request.paging = Paging::Limited(10);
/// assert_eq!(request.filter.to_string(), "(uid=a*)");
/// ```
#[derive(Debug, Clone)]
pub struct SearchRequest {
    /// Where to begin.
    pub base: String,
    /// How far to go.
    pub scope: Scope,
    /// Which entries.
    pub filter: SearchFilter,
    /// The attributes wanted: names, `*` for all user attributes, `1.1` for none.
    pub attributes: Vec<String>,
    /// How many entries come at a time.
    pub paging: Paging,
    /// What a server is asked for besides; a file knows none of it.
    pub controls: Vec<SearchControl>,
    /// Whether an entry may come twice: then a search whose connection is lost begins again over another one, whatever came
    /// before. Others do so only as long as nothing came.
    pub may_repeat: bool,
}

impl SearchRequest {
    /// Returns a search. The filter is a [`Filter`], or its text, which is read once, here: one that is not valid is an error of
    /// the search. The base is sent as it is written, for a DN that a server returned need not be a valid one.
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

    /// The same search by somebody to whom it does not matter whether an entry comes twice.
    #[must_use]
    pub fn repeating(self) -> Self {
        Self { may_repeat: true, ..self }
    }
}
