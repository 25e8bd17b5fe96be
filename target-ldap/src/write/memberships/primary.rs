//! Primary groups of Active Directory: the group has no value for these members, and the user names the group by its RID
//! (`primaryGroupID`; [MS-ADTS] 3.1.1.4.5.11, [MS-SAMR] 3.1.1.8.2).

use ldap_directory::DirectoryError;
use ldap_directory::entry::Entry;
use ldap_directory::lookup;
use ldap_directory::{Scope, filter::Filter};

use super::super::applier::Applier;
use super::{MemberError, MemberOutcome, Writing};
use crate::map::PRIMARY_GROUP;

/// The most members of a group that are looked at.
const MOST: u32 = 1_000;

/// Returns the RID of a group: the last part of its SID ([MS-DTYP] 2.4.2.2).
pub(in crate::write) fn rid(group: &Entry) -> Option<u32> {
    let sid = group.values("objectSid").first()?;
    let last: [u8; 4] = sid.get(sid.len().checked_sub(4)?..)?.try_into().ok()?;
    Some(u32::from_le_bytes(last))
}

impl Writing<'_> {
    /// Whether rows are about primary groups.
    pub(super) fn is_primary_group(&self) -> bool {
        self.is_on_ad() && self.wanted.attribute.eq_ignore_ascii_case(PRIMARY_GROUP)
    }

    /// Compares the rows with the primary groups of their users. A row cannot change these.
    pub(super) async fn check_primary_group(&mut self) -> Result<(), DirectoryError> {
        let dn = &self.wanted.dn;
        let Some(group) = self.applier.directory.read(dn, &["objectSid"]).await? else {
            for at in self.open() {
                let is_member = self.wanted.members.get(at).is_some_and(|m| m.is_member);
                let missing = MemberOutcome::Missing(format!("there is no group `{dn}`"));
                self.set(at, if is_member { missing } else { MemberOutcome::Unchanged });
            }
            return Ok(());
        };
        for at in self.open() {
            let Some(member) = self.wanted.members.get(at) else { continue };
            let has = self.is_primary_member(&group, &member.value).await?;
            let outcome = if has == member.is_member {
                MemberOutcome::Unchanged
            } else {
                let name = String::from_utf8_lossy(&member.value);
                let problem = if has { "is" } else { "is not" };
                MemberOutcome::Failed(MemberError::Refused(format!(
                    "`{dn}` {problem} the primary group of `{name}`: that is {PRIMARY_GROUP} of the user, which no membership changes; write it by a rule for users"
                )))
            };
            self.set(at, outcome);
        }
        Ok(())
    }

    /// Whether an entry has the group as its primary one.
    pub(super) async fn is_primary_member(
        &self,
        group: &Entry,
        member: &[u8],
    ) -> Result<bool, DirectoryError> {
        let (Some(rid), Ok(name)) = (rid(group), std::str::from_utf8(member)) else { return Ok(false) };
        match self.applier.directory.read(name, &[PRIMARY_GROUP]).await {
            Ok(entry) => {
                let entry = entry.unwrap_or_default();
                Ok(entry.values(PRIMARY_GROUP).iter().any(|value| value == rid.to_string().as_bytes()))
            }
            Err(e) if e.code().is_some() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Returns the outcome of a member that is to be taken away, and for which the group has no value.
    pub(super) async fn not_there(
        &self,
        group: &Entry,
        member: &[u8],
    ) -> Result<MemberOutcome, DirectoryError> {
        if !self.is_on_ad() || !self.is_primary_member(group, member).await? {
            return Ok(MemberOutcome::Unchanged);
        }
        let (dn, name) = (&self.wanted.dn, String::from_utf8_lossy(member));
        Ok(MemberOutcome::Failed(MemberError::Refused(format!(
            "`{name}` cannot be taken out of `{dn}`: it is the user's primary group ({PRIMARY_GROUP}); give the user another one first"
        ))))
    }
}

impl Applier {
    /// Returns users that have a group as their primary one, at most a thousand.
    ///
    /// # Errors
    /// They cannot be searched.
    pub(crate) async fn primary_members(&self, dn: &str) -> Result<Vec<String>, DirectoryError> {
        let Some(group) = self.directory.read(dn, &["objectSid"]).await? else { return Ok(Vec::new()) };
        let (Some(rid), Some(base)) = (rid(&group), self.directory.root_dse().default_base()) else {
            return Ok(Vec::new());
        };
        let filter = Filter::equality(PRIMARY_GROUP, rid.to_string().as_bytes());
        let found = lookup::sample(&self.directory, (base, Scope::Subtree), filter, &["1.1"], MOST).await?;
        Ok(found.into_iter().map(|entry| entry.dn).collect())
    }
}

#[cfg(test)]
mod tests {
    use ldap_directory::entry::Attribute;

    use super::*;

    #[test]
    fn the_rid_is_the_last_part_of_the_sid() {
        let sid = [1, 5, 0, 0, 0, 0, 0, 5, 21, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1, 2, 0, 0];
        let group = |sid: &[u8]| Entry {
            dn: "cn=g".into(),
            attributes: vec![Attribute::new("objectSid", vec![sid.to_vec()])],
        };
        assert_eq!(rid(&group(&sid)), Some(513));
        assert_eq!(rid(&group(&[1, 2])), None);
    }
}
