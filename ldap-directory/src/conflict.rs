//! Entries that replication leaves in conflict: two servers added entries of one name, and one of the two got another name. It looks like an
//! entry of its own, with the values of the other one.
//!
//! Active Directory adds `CNF:` with an identifier to the name ([MS-ADTS] 3.1.1.5.1.2). 389 Directory Server names it by its `nsUniqueId`, too,
//! marks it (`nsds5ReplConflict`), and hides it from most searches; in an LDIF file it is an entry like others.

use crate::directory::Directory;
use crate::filter::Filter;
use crate::root_dse::Vendor;

/// The mark of 389 Directory Server.
const MARK: &str = "nsds5ReplConflict";
/// What Active Directory adds to a name, after a line feed.
const ADDED: &[u8] = b"\nCNF:";
/// The same in the text of a DN.
const IN_DN: &[u8] = b"\\0ACNF:";

/// Whether a DN is the name of an entry in conflict on Active Directory, or of one below it.
///
/// ```
/// use ldap_directory::conflict::is_name;
///
/// assert!(is_name(b"CN=Foo Bar\\0ACNF:5f5f0b0a-0a0b,CN=Users,DC=x"));
/// assert!(!is_name(b"CN=Foo Bar,CN=Users,DC=x"));
/// ```
pub fn is_name(dn: &[u8]) -> bool {
    dn.contains(&b'\\') && dn.windows(IN_DN.len()).any(|part| part.eq_ignore_ascii_case(IN_DN))
}

/// Returns the filter of entries in conflict; `None`: the directory has none.
///
/// ```
/// use ldap_directory::{Access, Directory, DirectoryConfig, ServerUrl, conflict};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let file = tempfile::NamedTempFile::new()?;
/// # std::fs::write(&file, "dn: dc=x\nobjectClass: domain\ndc: x\n")?;
/// let config = DirectoryConfig::new([ServerUrl::Ldif(file.path().to_owned())]);
/// let directory = Directory::open(&config, Access::Read).await?;
/// let filter = conflict::filter(&directory).unwrap();
/// assert_eq!(filter.to_string(), "(|(nsds5ReplConflict=*)(cn=*\\0ACNF:*)(ou=*\\0ACNF:*))");
/// # Ok(())
/// # }
/// ```
pub fn filter(directory: &Directory) -> Option<Filter> {
    let by = |attribute: &str| Filter::Substring {
        attribute: attribute.to_owned(),
        initial: None,
        any: vec![ADDED.to_vec()],
        last: None,
    };
    let names = [by("cn"), by("ou")];
    match (directory.root_dse().vendor, marked(directory)) {
        (Vendor::ActiveDirectory, _) => Some(Filter::Or(names.into())),
        (Vendor::Ldif, Some(marked)) => Some(Filter::Or(std::iter::once(marked).chain(names).collect())),
        (_, marked) => marked,
    }
}

/// Returns the filter of entries that are marked as in conflict, whatever their names are; `None`: the directory marks none.
pub fn marked(directory: &Directory) -> Option<Filter> {
    let may_have = matches!(directory.root_dse().vendor, Vendor::Ds389 | Vendor::Ldif);
    may_have.then(|| Filter::Present(MARK.to_owned()))
}
