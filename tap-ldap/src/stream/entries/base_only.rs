//! Attributes that a server gives to base searches only: they are read entry by entry.

use singer_common::directory::{Directory, DirectoryError, Vendor};
use singer_common::entry::{Entry, base_type};

/// What Active Directory works out when it is asked, for one object at a time ([MS-ADTS] 3.1.1.4.5): a search of a subtree that asks
/// for one of them fails with operationsError.
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

/// Takes those attributes out of a list of what is to be asked for.
pub(super) fn take_out(directory: &Directory, attributes: &mut Vec<String>) -> Vec<String> {
    if directory.root_dse().vendor != Vendor::ActiveDirectory {
        return Vec::new();
    }
    let is_one =
        |name: &String| OF_ACTIVE_DIRECTORY.iter().any(|known| known.eq_ignore_ascii_case(base_type(name)));
    let singly: Vec<String> = attributes.extract_if(.., |name| is_one(name)).collect();
    if attributes.is_empty() && !singly.is_empty() {
        // RFC 4511 section 4.5.1.8: an empty list would mean all attributes.
        attributes.push("1.1".to_owned());
    }
    singly
}

/// Reads them for an entry. One that is gone by now has none.
pub(super) async fn complete(
    directory: &Directory,
    entry: &mut Entry,
    singly: &[String],
) -> Result<(), DirectoryError> {
    if singly.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = singly.iter().map(String::as_str).collect();
    if let Some(mut read) = directory.read(&entry.dn, &names).await? {
        directory.complete_ranges(&mut read).await?;
        entry.attributes.append(&mut read.attributes);
    }
    Ok(())
}
