//! Objects that Active Directory reports as changed.

use ldap_directory::dn::split;
use ldap_directory::entry::Entry;
use ldap_directory::schema::syntax::ValueKind;
use serde_json::Value;

/// The immutable id.
pub(super) const GUID: &str = "objectGUID";

/// A changed object.
#[derive(Debug)]
pub(super) struct ChangedObject {
    pub(super) guid: Vec<u8>,
    pub(super) dn: String,
    pub(super) action: DirSyncAction,
}

#[derive(Debug)]
pub(super) enum DirSyncAction {
    /// The object exists; its DN may have changed, or did not.
    Present { may_have_moved: bool },
    /// The object was deleted; its last DN, if known.
    Deleted { last_dn: Option<String> },
}

/// Returns the key for a GUID.
pub(super) fn key(guid: &[u8]) -> Value {
    let mut value = Vec::new();
    match ValueKind::Guid.write_json(guid, &mut value) {
        Ok(()) => serde_json::from_slice(&value).unwrap_or_default(),
        Err(_) => Value::Null,
    }
}

/// Returns the changed object of a search result; `None` without an id.
pub(super) fn changed_object(entry: &Entry, may_have_moved: bool) -> Option<ChangedObject> {
    let guid = entry.values(GUID).first()?.clone();
    let action = match entry.first_text("isDeleted") {
        Some("TRUE") => DirSyncAction::Deleted { last_dn: last_dn(entry) },
        _ => DirSyncAction::Present { may_have_moved },
    };
    Some(ChangedObject { guid, dn: plain_dn(&entry.dn).to_owned(), action })
}

/// Returns the last DN of a deleted object: its RDN without the suffix added by deletion ("\0ADEL:" and its GUID, [MS-ADTS]
/// 3.1.1.5.5), below its last parent.
fn last_dn(entry: &Entry) -> Option<String> {
    let parent = plain_dn(entry.first_text("lastKnownParent")?);
    let rdn = split(plain_dn(&entry.dn)).ok()?.first().copied()?;
    let own = rdn.split_once("\\0ADEL:").map_or(rdn, |(own, _)| own);
    Some(format!("{own},{parent}"))
}

/// Returns a DN without the prefix `<GUID=…>;<SID=…>;` that DirSync adds.
fn plain_dn(dn: &str) -> &str {
    if dn.starts_with('<') { dn.rsplit_once(">;").map_or(dn, |(_, name)| name) } else { dn }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ldap_directory::entry::Attribute;

    #[test]
    fn a_tombstone_tells_what_the_object_was_called() {
        let entry = Entry {
            dn: "<GUID=1>;CN=Doe\\, Jane\\0ADEL:0f2b,CN=Deleted Objects,DC=x".into(),
            attributes: vec![Attribute::new("lastKnownParent", vec![b"<GUID=2>;<SID=3>;OU=a,DC=x".to_vec()])],
        };
        assert_eq!(last_dn(&entry).as_deref(), Some("CN=Doe\\, Jane,OU=a,DC=x"));
    }
}
