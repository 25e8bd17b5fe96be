//! A password to bind with.

use std::fmt;

use zeroize::Zeroizing;

use super::Secret;

/// A password that can be sent in a simple bind: it is neither empty nor does it contain a NUL. It prints as `***`, and its memory is
/// wiped when it is dropped.
///
/// A bind with a DN and an empty password is anonymous, and many servers report success (RFC 4513 section 5.1.2). Servers that keep
/// passwords as C strings ignore what follows a NUL: 389 DS and Samba accept the right password with a NUL and anything behind it, and a
/// password that begins with a NUL is empty there.
///
/// The octets are sent as they are. RFC 4513 section 5.1.3 asks for UTF-8.
///
/// ```
/// use ldap_directory::secret::NonEmptyPassword;
///
/// let password = NonEmptyPassword::new("Grüße");
/// assert_eq!(password.map(|p| p.octets().len()), Some(7));
/// assert!(NonEmptyPassword::new("").is_none());
/// assert!(NonEmptyPassword::new("right\0wrong").is_none());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct NonEmptyPassword(Zeroizing<Vec<u8>>);

impl NonEmptyPassword {
    /// Returns the password, or `None` if it is empty or contains a NUL.
    pub fn new(octets: impl Into<Vec<u8>>) -> Option<Self> {
        let octets = Zeroizing::new(octets.into());
        (!octets.is_empty() && !octets.contains(&0)).then_some(Self(octets))
    }

    /// Returns the octets. This is the only access to them.
    pub fn octets(&self) -> &[u8] {
        &self.0
    }
}

/// The error of a conversion: the secret is empty, or contains a NUL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a password must not be empty or contain a NUL")]
pub struct UnusablePassword;

impl TryFrom<&Secret> for NonEmptyPassword {
    type Error = UnusablePassword;

    fn try_from(secret: &Secret) -> Result<Self, UnusablePassword> {
        Self::new(secret.reveal()).ok_or(UnusablePassword)
    }
}

impl fmt::Debug for NonEmptyPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for NonEmptyPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trap_01_an_empty_password_cannot_be_made() {
        for octets in [&b""[..], b"\0", b"\0right", b"right\0", b"right\0wrong"] {
            assert_eq!(NonEmptyPassword::new(octets), None, "{octets:?}");
        }
        assert_eq!(NonEmptyPassword::try_from(&Secret::new("")), Err(UnusablePassword));
        let password = NonEmptyPassword::try_from(&Secret::new("x")).unwrap();
        assert_eq!(
            (password.octets(), format!("{password:?} {password}")),
            (&b"x"[..], "*** ***".to_owned())
        );
    }

    #[test]
    fn trap_25_octets_are_kept_as_they_are() {
        // Not UTF-8, decomposed, with spaces at the ends.
        for octets in [&b"\xe9\xff"[..], "e\u{301} ".as_bytes(), b" \t", "日本語🔑".as_bytes()] {
            assert_eq!(NonEmptyPassword::new(octets).unwrap().octets(), octets);
        }
    }
}
