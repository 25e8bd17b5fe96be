//! The request controls of searches, beyond paging and ManageDsaIT, and what their answers say.

use super::ber::{INTEGER, OCTET_STRING, Reader, SEQUENCE, Writer};
use crate::oid;

/// Octets of entries after which a DirSync answer is to end. The server sends at least one entry.
const DIRSYNC_MAX_BYTES: i64 = 1024 * 1024;

/// A control of a search. All are sent critical: each changes what the answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SearchControl {
    /// Entries come in ascending order of this attribute, by its own ordering rule.
    Sort(String),
    /// Tombstones come, too.
    ShowDeleted,
    /// What changed since the cookie; an empty one begins with everything.
    DirSync {
        /// Where an earlier answer ended.
        cookie: Vec<u8>,
    },
    /// What somebody may do with the entry (389 DS).
    EffectiveRights {
        /// An authzId (RFC 4513 section 5.2.1.8).
        who: String,
    },
}

/// What the answer to [`SearchControl::DirSync`] says at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirSyncEnd {
    /// Whether more is to be asked for with this cookie at once.
    pub more: bool,
    /// Where to go on.
    pub cookie: Vec<u8>,
}

impl SearchControl {
    /// The control's OID.
    pub fn oid(&self) -> &'static str {
        match self {
            SearchControl::Sort(_) => oid::SERVER_SORT,
            SearchControl::ShowDeleted => oid::SHOW_DELETED,
            SearchControl::DirSync { .. } => oid::DIRSYNC,
            SearchControl::EffectiveRights { .. } => oid::EFFECTIVE_RIGHTS,
        }
    }

    /// The control's value.
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

/// Reads the value of DirSync's response control.
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
