//! What a configuration cannot be.

use super::{AuthMethod, DirectoryConfig, ServerUrl};

/// Why a configuration cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct InvalidConfig {
    /// What is wrong.
    pub problem: &'static str,
}

impl DirectoryConfig {
    /// Checks what no server would have to say about: [`Directory::open`](crate::Directory::open) does it first.
    ///
    /// # Errors
    /// Fails if there is no server, if a file is not the only one, if a timeout or the number of connections is zero, or if a simple bind
    /// has a DN and no password: many servers would accept it as anonymous, whoever asks (RFC 4513 section 5.1.2).
    ///
    /// ```
    /// use ldap_directory::{AuthMethod, DirectoryConfig, ServerUrl};
    ///
    /// let config = DirectoryConfig::new([ServerUrl::parse("ldap://localhost")?]);
    /// assert!(config.check().is_ok());
    /// assert!(config.clone().pool_size(0).check().is_err());
    /// assert!(config.auth(AuthMethod::simple("cn=reader,dc=example", "")).check().is_err());
    /// # Ok::<(), ldap_directory::config::InvalidUrl>(())
    /// ```
    pub fn check(&self) -> Result<(), InvalidConfig> {
        let is_file = |server: &ServerUrl| matches!(server, ServerUrl::Ldif(_));
        let problem = if self.servers.is_empty() {
            "there is no server to connect to"
        } else if self.servers.len() > 1 && self.servers.iter().any(is_file) {
            "a file is a directory by itself, and not one of several servers"
        } else if self.pool_size == 0 {
            "`pool_size` is 0: there is at least one connection"
        } else if self.write_connections == 0 {
            "`write_connections` is 0: there is at least one connection"
        } else if self.bind_connections == 0 {
            "`bind_connections` is 0: there is at least one connection"
        } else if self.connect_timeout.is_zero() {
            "`connect_timeout` is 0: no connection can be opened in no time"
        } else if self.operation_timeout.is_zero() {
            "`operation_timeout` is 0: no answer comes in no time"
        } else if matches!(&self.auth, AuthMethod::Simple { dn, password } if !dn.is_empty() && password.reveal().is_empty())
        {
            "a simple bind with a DN and an empty password would be anonymous (RFC 4513 section 5.1.2): give the password, or bind anonymously"
        } else {
            return Ok(());
        };
        Err(InvalidConfig { problem })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_cannot_work_is_refused_before_anything_is_opened() {
        let server = |text| ServerUrl::parse(text).unwrap();
        let config = || DirectoryConfig::new([server("ldap://h")]);
        assert_eq!(config().check(), Ok(()));
        assert_eq!(DirectoryConfig::new([server("ldif:a")]).check(), Ok(()));
        assert_eq!(config().auth(AuthMethod::simple("", "")).check(), Ok(()), "anonymous");
        for config in [
            DirectoryConfig::new([]),
            DirectoryConfig::new([server("ldif:a"), server("ldap://h")]),
            DirectoryConfig::new([server("ldap://h"), server("ldif:a")]),
            config().pool_size(0),
            config().write_connections(0),
            config().user_binds(0, Duration::from_secs(10)),
            config().connect_timeout(Duration::ZERO),
            config().operation_timeout(Duration::ZERO),
            config().auth(AuthMethod::simple("cn=x", "")),
        ] {
            assert!(config.check().is_err(), "{config:?}");
        }
        for text in ["ldap://h\0x", "ldap://\u{1b}[31m", "ldapi://%2Fa%00b"] {
            assert!(ServerUrl::parse(text).is_err(), "{text:?}");
        }
    }
}
