//! Whether an account can be used, as the server itself counts it: Sun's Account Usability control.

use super::LdapDirectory;
use crate::directory::Scope;
use crate::error::DirectoryError;
use crate::filter::Filter;
use crate::oid;
use crate::protocol::ber::Reader;
use crate::protocol::message::{self, Control};
use crate::protocol::result_code;

/// The tag of `is_available`, the seconds until the password expires.
const AVAILABLE: u8 = 0x80;
/// The tag of `is_not_available`, the reasons.
const NOT_AVAILABLE: u8 = 0xa1;

/// Decodes an `ACCOUNT_USABLE_RESPONSE`.
fn is_usable(value: &[u8]) -> Option<bool> {
    match Reader::new(value).element()?.0 {
        AVAILABLE => Some(true),
        NOT_AVAILABLE => Some(false),
        _ => None,
    }
}

impl LdapDirectory {
    /// Returns whether the server offers [`Self::account_usability`].
    pub fn shows_usability(&self) -> bool {
        self.root_dse().supports_control(oid::ACCOUNT_USABILITY)
    }

    /// Returns whether an account could be used to bind with the right password. `None` if the server does not say: it does not support
    /// the control, the entry is not there or has no password, no password policy is in force for it, or the bound user may not compare
    /// its password.
    ///
    /// # Errors
    /// Fails if the server refuses the search.
    pub async fn account_usability(&self, dn: &str) -> Result<Option<bool>, DirectoryError> {
        if !self.shows_usability() {
            return Ok(None);
        }
        let control = Control { oid: oid::ACCOUNT_USABILITY.to_owned(), critical: true, value: None };
        let filter = Filter::Present("objectClass".to_owned());
        let octets = || message::search(dn, Scope::Base, &filter, &["1.1".to_owned()], 1);
        let reply = self.ask("search", dn, octets, &[control]).await?;
        let is_end = [result_code::SUCCESS, result_code::SIZE_LIMIT_EXCEEDED, result_code::NO_SUCH_OBJECT];
        if !is_end.contains(&reply.result.code) {
            return super::success("search", dn, reply.result).map(|()| None);
        }
        let response = reply.of_entries.iter().find(|control| control.oid == oid::ACCOUNT_USABILITY);
        Ok(response.and_then(|control| is_usable(control.value.as_deref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_slapd_are_read() {
        assert_eq!(is_usable(b"\x80\x01\xff"), Some(true));
        assert_eq!(is_usable(b"\x80\x02\x0e\x10"), Some(true));
        let reasons = b"\xa1\x0f\x80\x01\0\x81\x01\0\x82\x01\0\x83\x01\xff\x84\x01\xff";
        assert_eq!(is_usable(reasons), Some(false));
        assert_eq!(is_usable(b""), None);
        assert_eq!(is_usable(b"\x30\0"), None);
        assert_eq!(is_usable(b"\xa1\x7f"), None, "cut off");
    }
}
