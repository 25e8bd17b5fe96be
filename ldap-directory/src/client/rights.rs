//! Who the bound user is, and what it may do.

use super::LdapDirectory;
use crate::directory::{Scope, SearchItem, SearchRequest};
use crate::error::DirectoryError;
use crate::oid;
use crate::protocol::controls::SearchControl;
use crate::protocol::{request, result_code};

impl LdapDirectory {
    /// Sends "Who am I?" (RFC 4532). Returns the authzId, which is empty for anonymous, or `None` if the server refuses.
    ///
    /// # Errors
    /// Fails if the connection is lost or the answer does not arrive in time.
    pub async fn who_am_i(&self) -> Result<Option<String>, DirectoryError> {
        let reply =
            self.session().ask("who am i", "", request::extended(oid::WHO_AM_I, None), Vec::new()).await?;
        if reply.result.code != result_code::SUCCESS {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&reply.value.unwrap_or_default()).into_owned()))
    }

    /// Returns the bound user's rights on an entry, as letters (`entryLevelRights`), if the server publishes them.
    ///
    /// # Errors
    /// Fails if the server refuses the search.
    pub async fn effective_rights(&self, dn: &str) -> Result<Option<String>, DirectoryError> {
        if !self.root_dse().supports_control(oid::EFFECTIVE_RIGHTS) {
            return Ok(None);
        }
        // The value of the control is an authzId: the bound user asks about itself.
        let who = self.who_am_i().await?.unwrap_or_default();
        let mut request = SearchRequest::new(dn, Scope::Base, "(objectClass=*)", &["entryLevelRights"]);
        request.controls = vec![SearchControl::EffectiveRights { who }];
        let mut search = self.search(request);
        let mut rights = None;
        while let Some(item) = search.next().await? {
            if let SearchItem::Entry(entry) = item {
                rights = entry.first_text("entryLevelRights").map(str::to_owned);
            }
        }
        Ok(rights)
    }
}
