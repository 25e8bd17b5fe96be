//! Members of Active Directory's primary groups, which no value of the group names.

use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;

use super::Store;
use crate::error::ApiError;
use crate::members::primary::{self, PRIMARY, SID};
use crate::scim::mapping::Mapping;
use crate::scim::resource::Link;

/// So many are read over the connection that all searches share.
const FEW: u32 = 100;

impl Store<'_> {
    /// Returns the users whose primary group an entry is, with their DNs: all of them, or at most `most`.
    pub(super) async fn primary_members(
        &self,
        mapping: &Mapping,
        group: &Entry,
        with_display: bool,
        most: Option<usize>,
    ) -> Result<Vec<(String, Link)>, ApiError> {
        let has_members = mapping.has_primary_groups && mapping.members.is_some();
        let Some(sid) = primary::sid(group).filter(|_| has_members) else { return Ok(Vec::new()) };
        let Some(accounts) = primary::accounts_of(sid) else { return Ok(Vec::new()) };
        let kind = &self.users;
        // What it may not search looks like nobody.
        self.check_searchable(kind, &[PRIMARY]).await?;
        let filter = Filter::And(vec![kind.filter.clone(), accounts]);
        let mut names = Self::link_attributes(kind, with_display);
        names.extend([PRIMARY, SID].map(str::to_owned));
        let most = most.map(|most| u32::try_from(most).unwrap_or(u32::MAX));
        let few = Some(most.unwrap_or(u32::MAX).min(FEW + 1));
        let mut found = self.search(kind, filter.clone(), &names, few).await?;
        if found.len() > FEW as usize && most.is_none_or(|most| most > FEW + 1) {
            found = self.search(kind, filter, &names, most).await?;
        }
        let own = found.iter().filter(|account| primary::group_of(account).as_deref() == Some(sid));
        own.map(|account| Ok((account.dn.clone(), self.link_of(kind, account, with_display)?))).collect()
    }
}
