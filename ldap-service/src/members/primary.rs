//! Primary groups of Active Directory: an account is a member of the group whose RID is its `primaryGroupID` ([MS-ADTS] 3.1.1.4.5.17 has
//! it in `tokenGroups`), and no value of `member` says so. It counts at a login, so every place that shows, adds or removes members takes it
//! from here. `gidNumber` of POSIX accounts is another thing, and counts nowhere.

use ldap_directory::Vendor;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;

/// The attribute of an account with the RID of its primary group.
pub(crate) const PRIMARY: &str = "primaryGroupID";
/// The attribute with the SID of an account or group ([MS-DTYP] 2.4.2.2): the last four octets are the RID, the others those of its domain.
pub(crate) const SID: &str = "objectSid";

/// The octets of a SID before its sub-authorities, and of a sub-authority.
const HEAD: usize = 8;
const RID: usize = 4;

/// Whether a server has primary groups.
pub(crate) fn exist(vendor: Vendor) -> bool {
    vendor == Vendor::ActiveDirectory
}

/// Returns the domain of a SID, and its RID.
fn split(sid: &[u8]) -> Option<(&[u8], u32)> {
    let at = sid.len().checked_sub(RID).filter(|at| *at >= HEAD)?;
    let (domain, rid) = sid.split_at(at);
    Some((domain, u32::from_le_bytes(rid.try_into().ok()?)))
}

/// Returns the SID of an entry; `None`: it is no account or group.
pub(crate) fn sid(entry: &Entry) -> Option<&[u8]> {
    entry.values(SID).first().map(Vec::as_slice)
}

/// Returns the SID of the primary group of an account, which was read with [`PRIMARY`] and [`SID`].
pub(crate) fn group_of(account: &Entry) -> Option<Vec<u8>> {
    let (domain, _) = split(sid(account)?)?;
    let rid: u32 = account.first_text(PRIMARY)?.trim().parse().ok()?;
    Some([domain, &rid.to_le_bytes()].concat())
}

/// Returns the filter of the accounts whose primary group has a SID; one of another domain, which a global catalog has, may match as well.
pub(crate) fn accounts_of(group: &[u8]) -> Option<Filter> {
    let (_, rid) = split(group)?;
    Some(Filter::equality(PRIMARY, rid.to_string()))
}

/// Returns the filter of the group with a SID.
pub(crate) fn by_sid(group: &[u8]) -> Filter {
    Filter::equality(SID, group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ldap_directory::entry::Attribute;

    #[test]
    fn a_primary_group_is_of_the_account_s_domain() {
        let domain = [1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0];
        let of = |rid: u32| [&domain[..], &rid.to_le_bytes()].concat();
        let account = |primary: Option<&str>, sid: Vec<u8>| {
            let mut attributes = vec![Attribute::new("objectsid", vec![sid])];
            attributes.extend(primary.map(|rid| Attribute::new("PrimaryGroupId", vec![rid.into()])));
            Entry { dn: "cn=x".into(), attributes }
        };
        assert_eq!(group_of(&account(Some("513"), of(1104))), Some(of(513)));
        assert_eq!(group_of(&account(None, of(1104))), None);
        assert_eq!(group_of(&account(Some("x"), of(1104))), None);
        assert_eq!(group_of(&account(Some("513"), vec![1, 2, 3, 4, 5])), None);
        assert_eq!(accounts_of(&of(513)).unwrap().to_string(), "(primaryGroupID=513)");
        assert!(exist(Vendor::ActiveDirectory) && !exist(Vendor::Ds389) && !exist(Vendor::OpenLdap));
    }
}
