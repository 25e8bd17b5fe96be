//! The controls by which a server reports the state of a password with the answer to a bind.

use super::ber::{ENUMERATED, Reader, SEQUENCE};
use super::message::Control;
use crate::oid;

/// The error of a password policy response (draft-behera-ldap-password-policy-11 section 6.2), as far as a bind has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PolicyError {
    PasswordExpired,
    AccountLocked,
    ChangeAfterReset,
    /// An error of a change of the password, or one of a later version.
    Other,
}

/// What the controls of an answer to a bind report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PolicyResponse {
    /// `timeBeforeExpiration`, in seconds; also the value of 389 DS's "password expiring".
    pub(crate) expires_in: Option<u64>,
    /// `graceAuthNsRemaining`.
    pub(crate) grace_logins: Option<u32>,
    /// `error`.
    pub(crate) error: Option<PolicyError>,
    /// Whether there is a password policy response that is well-formed.
    pub(crate) has_policy: bool,
    /// Whether 389 DS's "password expired" is there: after a refusal, the password has expired; after a success, it must be changed.
    pub(crate) has_expired: bool,
}

impl PolicyResponse {
    /// Decodes the controls of an answer. Those that are not well-formed are ignored, as unknown ones are.
    pub(crate) fn of(controls: &[Control]) -> Self {
        let mut response = Self::default();
        for control in controls {
            let value = control.value.as_deref().unwrap_or_default();
            match control.oid.as_str() {
                oid::PASSWORD_POLICY => {
                    let read = response.read_policy(value);
                    tracing::debug!(is_well_formed = read.is_some(), "password policy response");
                }
                oid::PASSWORD_EXPIRED => response.has_expired = true,
                oid::PASSWORD_EXPIRING => {
                    let seconds = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok());
                    response.expires_in = response.expires_in.or(seconds);
                }
                _ => {}
            }
        }
        response
    }

    /// Decodes a PasswordPolicyResponseValue.
    fn read_policy(&mut self, value: &[u8]) -> Option<()> {
        let mut parts = Reader::new(value).constructed(SEQUENCE)?;
        if let Some(mut warning) = parts.constructed(0xa0) {
            match warning.peek()? {
                0x80 => self.expires_in = Some(u64::try_from(warning.integer(0x80)?).unwrap_or(0)),
                0x81 => self.grace_logins = Some(u32::try_from(warning.integer(0x81)?).unwrap_or(0)),
                _ => return None,
            }
        }
        // Implicit tagging; some servers keep the universal tag.
        if let Some(error) = parts.integer(0x81).or_else(|| parts.integer(ENUMERATED)) {
            self.error = Some(match error {
                0 => PolicyError::PasswordExpired,
                1 => PolicyError::AccountLocked,
                2 => PolicyError::ChangeAfterReset,
                _ => PolicyError::Other,
            });
        }
        self.has_policy = true;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(oid: &str, value: &[u8]) -> Control {
        Control { oid: oid.to_owned(), critical: false, value: Some(value.to_vec()) }
    }

    fn policy(value: &[u8]) -> PolicyResponse {
        PolicyResponse::of(&[control(oid::PASSWORD_POLICY, value)])
    }

    #[test]
    fn values_of_slapd_and_389_ds_are_read() {
        let nothing = PolicyResponse { has_policy: true, ..PolicyResponse::default() };
        // slapd: nothing to report, grace, expiring, expired, locked, reset.
        assert_eq!(policy(b"\x30\0"), nothing);
        let grace = PolicyResponse { grace_logins: Some(1), ..nothing };
        assert_eq!(policy(b"\x30\x05\xa0\x03\x81\x01\x01"), grace);
        let expiring = PolicyResponse { expires_in: Some(3597), ..nothing };
        assert_eq!(policy(b"\x30\x06\xa0\x04\x80\x02\x0e\x0d"), expiring);
        for (code, error) in [
            (0, PolicyError::PasswordExpired),
            (1, PolicyError::AccountLocked),
            (2, PolicyError::ChangeAfterReset),
            (8, PolicyError::Other),
        ] {
            let read = policy(&[0x30, 3, 0x81, 1, code]);
            assert_eq!(read, PolicyResponse { error: Some(error), ..nothing });
        }
        // 389 DS writes lengths in four octets, and warning and error together.
        let both = policy(b"\x30\x84\0\0\0\x0e\xa0\x84\0\0\0\x05\x80\x03\x01\x51\x80\x81\x01\x02");
        let expected =
            PolicyResponse { expires_in: Some(86400), error: Some(PolicyError::ChangeAfterReset), ..nothing };
        assert_eq!(both, expected);
        let own = PolicyResponse::of(&[
            control(oid::PASSWORD_EXPIRED, b"0"),
            control(oid::PASSWORD_EXPIRING, b"86400"),
        ]);
        assert!(own.has_expired && own.expires_in == Some(86400) && !own.has_policy);
    }

    #[test]
    fn a_value_that_is_not_well_formed_is_ignored() {
        for value in [&b""[..], b"\x30", b"\x30\x02\xa0\x00", b"\x30\x05\xa0\x03\x85\x01\x01", b"\x04\x00"] {
            assert_eq!(policy(value), PolicyResponse::default(), "{value:02x?}");
        }
        assert_eq!(PolicyResponse::of(&[control("1.2.3", b"\x30\0")]), PolicyResponse::default());
    }
}
