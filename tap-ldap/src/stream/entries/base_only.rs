//! Attributes that a server returns only for base searches: they are read entry by entry.

use ldap_directory::entry::{Entry, base_type};
use ldap_directory::{Directory, DirectoryError, Vendor};

/// Attributes that Active Directory computes for one object at a time ([MS-ADTS] 3.1.1.4.5). A subtree search for one of them
/// fails with operationsError.
const OF_ACTIVE_DIRECTORY: [&str; 10] = [
    "tokenGroups",
    "tokenGroupsNoGCAcceptable",
    "tokenGroupsGlobalAndUniversal",
    "msds-tokenGroupNames",
    "msds-tokenGroupNamesNoGCAcceptable",
    "msds-tokenGroupNamesGlobalAndUniversal",
    "msds-memberOfTransitive",
    "msds-memberTransitive",
    "msDS-isUserCachableAtRodc",
    "msDS-ReplValueMetaDataExt",
];

/// Returns whether a domain controller computes an attribute for base searches only.
pub(crate) fn is_base_only(description: &str) -> bool {
    OF_ACTIVE_DIRECTORY.iter().any(|known| known.eq_ignore_ascii_case(base_type(description)))
}

/// Removes such attributes from a list of requested ones, and returns them.
pub(super) fn extract(directory: &Directory, attributes: &mut Vec<String>) -> Vec<String> {
    if directory.root_dse().vendor != Vendor::ActiveDirectory {
        return Vec::new();
    }
    let extracted: Vec<String> = attributes.extract_if(.., |name| is_base_only(name)).collect();
    if attributes.is_empty() && !extracted.is_empty() {
        // RFC 4511 section 4.5.1.8: an empty list would mean all attributes.
        attributes.push("1.1".to_owned());
    }
    extracted
}

/// Reads such attributes of an entry. If the entry was deleted meanwhile, it stays without them.
pub(super) async fn complete(
    directory: &Directory,
    entry: &mut Entry,
    attributes: &[String],
) -> Result<(), DirectoryError> {
    if attributes.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = attributes.iter().map(String::as_str).collect();
    if let Some(mut read) = directory.read_whole(&entry.dn, &names).await? {
        entry.attributes.append(&mut read.attributes);
    }
    Ok(())
}
