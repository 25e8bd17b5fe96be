//! The controls of searches other than paging and ManageDsaIT, and their responses.

use super::ber::{INTEGER, OCTET_STRING, Reader, SEQUENCE, Writer};
use crate::oid;

/// The size after which a DirSync answer should end, in octets. The server sends at least one entry.
const DIRSYNC_MAX_BYTES: i64 = 1024 * 1024;

/// A control of a search. All are critical: each changes the meaning of the answer.
///
/// ```
/// use ldap_directory::{Scope, SearchControl, SearchRequest};
///
/// let mut request = SearchRequest::new("dc=example", Scope::Subtree, "(uid=*)", &["uid"]);
/// request.controls = vec![SearchControl::Sort("uid".into())];
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchControl {
    /// Returns entries in ascending order of this attribute, by its ordering rule (RFC 2891).
    Sort(String),
    /// Returns tombstones too (Active Directory).
    ShowDeleted,
    /// Returns changes since the cookie; all entries if it is empty (Active Directory).
    DirSync {
        /// The cookie of an earlier answer.
        cookie: Vec<u8>,
    },
    /// Returns the rights of a user on the entry (389 DS).
    EffectiveRights {
        /// An authzId (RFC 4513 section 5.2.1.8).
        who: String,
    },
}

/// The end of the answer to [`SearchControl::DirSync`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirSyncEnd {
    /// Whether more is available at once, with this cookie.
    pub more: bool,
    /// The cookie of the next request.
    pub cookie: Vec<u8>,
}

impl SearchControl {
    /// Returns the control's OID.
    pub fn oid(&self) -> &'static str {
        match self {
            SearchControl::Sort(_) => oid::SERVER_SORT,
            SearchControl::ShowDeleted => oid::SHOW_DELETED,
            SearchControl::DirSync { .. } => oid::DIRSYNC,
            SearchControl::EffectiveRights { .. } => oid::EFFECTIVE_RIGHTS,
        }
    }

    /// Returns the control's value.
    pub(crate) fn value(&self) -> Option<Vec<u8>> {
        match self {
            SearchControl::Sort(attribute) => Some(Writer::build(|w| {
                w.constructed(SEQUENCE, |w| w.constructed(SEQUENCE, |w| w.octets(attribute)));
            })),
            SearchControl::ShowDeleted => None,
            SearchControl::EffectiveRights { who } => Some(who.clone().into_bytes()),
            SearchControl::DirSync { cookie } => Some(Writer::build(|w| {
                w.constructed(SEQUENCE, |w| {
                    // No flags: whole values, and the server checks the right to replicate.
                    w.integer(INTEGER, 0);
                    w.integer(INTEGER, DIRSYNC_MAX_BYTES);
                    w.octets(cookie);
                });
            })),
        }
    }
}

/// Parses the value of DirSync's response control.
pub(crate) fn dirsync_end(value: &[u8]) -> Option<DirSyncEnd> {
    let mut parts = Reader::new(value).constructed(SEQUENCE)?;
    let more = parts.integer(INTEGER)? != 0;
    // Unused.
    parts.integer(INTEGER)?;
    Some(DirSyncEnd { more, cookie: parts.take(OCTET_STRING)?.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_as_their_documents_have_them() {
        let sort = SearchControl::Sort("cn".into()).value();
        assert_eq!(sort.as_deref(), Some(&[0x30, 6, 0x30, 4, 4, 2, b'c', b'n'][..]));
        let dirsync = SearchControl::DirSync { cookie: vec![9] }.value();
        assert_eq!(dirsync.as_deref(), Some(&[0x30, 11, 2, 1, 0, 2, 3, 0x10, 0, 0, 4, 1, 9][..]));
        let end = dirsync_end(&[0x30, 9, 2, 1, 1, 2, 1, 0, 4, 1, 7]);
        assert_eq!(end, Some(DirSyncEnd { more: true, cookie: vec![7] }));
        assert_eq!(dirsync_end(&[0x30, 3, 2, 1, 1]), None);
    }
}
