//! Errors of directories.
//!
//! [`DirectoryError::kind`] classifies an error, [`DirectoryError::is_transient`] says whether the same operation may succeed
//! later, [`DirectoryError::is_outcome_unknown`] whether a change may have been made nevertheless. The texts are for people, and are not part of the interface. They contain the text of the cause, if there is one;
//! [`source`](std::error::Error::source) returns the cause itself, such as an [`io::Error`](std::io::Error), when a connection or a file
//! cannot be opened. A lost connection, a refused or interrupted bind, and a file of certificates that cannot be used have a text only.
//!
//! A text may quote what a server, a file or the caller gave, such as a DN with control characters. For a terminal or a log, pass it
//! through [`text::printable`](crate::text::printable).

use std::error::Error;
use std::time::Duration;

use crate::config::InvalidConfig;
use crate::filter::FilterError;
use crate::protocol::result_code;

/// What failed while connecting to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// The host name could not be resolved, or has no address.
    Resolve,
    /// Nothing listens at the address.
    Refused,
    /// No answer within [`connect_timeout`](crate::DirectoryConfig::connect_timeout).
    Timeout,
    /// The network failed, or the server closed the connection, or sent what is not LDAP.
    Network,
    /// The server\'s certificate is not accepted, or a file of certificates cannot be used.
    Certificate,
    /// The TLS handshake failed for another reason.
    Tls,
    /// The server refused StartTLS, or its answer violates RFC 4511 section 4.14.
    StartTls,
    /// The server's answer to the bind is not a bind response, or a SASL mechanism failed on the client.
    Bind,
    /// Another server answered than before, and change numbers of one server are not valid on another.
    OtherServer,
    /// This build of the library does not support it.
    Unsupported,
}

/// The kind of a [`DirectoryError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration cannot work ([`DirectoryConfig::check`](crate::DirectoryConfig::check)).
    Config,
    /// No connection could be opened.
    Connect(ConnectErrorKind),
    /// The server refused the bind with a result code (RFC 4511 section 4.1.9).
    Bind(u32),
    /// The server answered an operation with a result code.
    Operation(u32),
    /// The server refers to another one, and [`Referrals::Fail`](crate::Referrals::Fail) makes that an error.
    Referral,
    /// The connection was lost.
    Lost,
    /// No answer in time.
    Timeout,
    /// All connections are taken by searches that are still open.
    PoolExhausted,
    /// A change of a directory that was opened for reading.
    ReadOnly,
    /// A change that a rule of the program forbids.
    Forbidden,
    /// An answer or a request is not valid.
    Protocol,
    /// A request is larger than the server accepts.
    TooLarge,
    /// An LDIF file is not valid.
    Ldif,
    /// A file cannot be read or written.
    File,
}

/// An error of a directory. Its text has the name and number of the result code, the server's diagnostic message, and advice.
///
/// ```
/// use ldap_directory::protocol::result_code;
/// use ldap_directory::{DirectoryError, ErrorKind};
///
/// let busy = DirectoryError::Operation {
///     operation: "modify",
///     dn: "dc=example".into(),
///     code: result_code::BUSY,
///     matched: String::new(),
///     text: String::new(),
/// };
/// assert_eq!(busy.kind(), ErrorKind::Operation(51));
/// assert!(busy.is_transient() && !busy.is_no_such_object());
/// ```
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The configuration cannot work ([`DirectoryConfig::check`](crate::DirectoryConfig::check)). Nothing was opened.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// No connection could be opened: name lookup, TCP or TLS failed.
    #[error("could not connect to {server}: {reason}")]
    Connect {
        /// The server's URL.
        server: String,
        /// What failed.
        kind: ConnectErrorKind,
        /// The reason as text, with advice.
        reason: String,
        /// Whether it persists until someone fixes it, such as an expired certificate.
        lasting: bool,
        /// The error of the resolver, the network or TLS, if there is one.
        #[source]
        cause: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The server refused the bind.
    #[error("{server} refused the {method} bind{}: {}", who(.identity), result_code::describe(*.code, .text))]
    Bind {
        /// The server's URL.
        server: String,
        /// The bind method.
        method: &'static str,
        /// The bind DN; empty if there is none.
        identity: String,
        /// The result code.
        code: u32,
        /// The server's diagnostic message.
        text: String,
    },
    /// The server answered an operation with an error.
    #[error("{operation} `{dn}`: {}{}", result_code::describe(*.code, .text), matched_text(.matched))]
    Operation {
        /// `search`, `add`, `modify`, …
        operation: &'static str,
        /// The entry or the base.
        dn: String,
        /// The result code.
        code: u32,
        /// The server's matchedDN.
        matched: String,
        /// The server's diagnostic message.
        text: String,
    },
    /// The server refers to another one ([`Referrals::Fail`](crate::Referrals::Fail)).
    #[error("{operation} `{dn}`: the server refers to {to}, and referrals are errors here")]
    Referral {
        /// The operation.
        operation: &'static str,
        /// The entry or the base.
        dn: String,
        /// The URLs of the referral (RFC 4511 section 4.1.10), with commas.
        to: String,
    },
    /// The connection was lost, or the octets received are not LDAP.
    #[error("{operation} `{dn}`: the connection to the server was lost ({reason}){}", unknown(*.outcome_unknown))]
    Lost {
        /// The operation in progress.
        operation: &'static str,
        /// The entry or the base.
        dn: String,
        /// The text of the network or decoder error.
        reason: String,
        /// Whether it was a change that may have been made ([`DirectoryError::is_outcome_unknown`]).
        outcome_unknown: bool,
    },
    /// No answer in time.
    #[error("{operation} `{dn}`: no answer within {} (operation timeout){}", in_words(*.limit), unknown(*.outcome_unknown))]
    Timeout {
        /// The operation in progress.
        operation: &'static str,
        /// The entry or the base.
        dn: String,
        /// The limit.
        limit: Duration,
        /// Whether it was a change that may have been made ([`DirectoryError::is_outcome_unknown`]).
        outcome_unknown: bool,
    },
    /// A paged search waited for a connection in vain.
    #[error("{operation} `{dn}`: for {} all {pool_size} connection(s) were taken by searches that are still open: end or drop those, or allow more connections (`pool_size`)", in_words(*.limit))]
    PoolExhausted {
        /// The operation.
        operation: &'static str,
        /// The base.
        dn: String,
        /// The maximum number of connections ([`pool_size`](crate::DirectoryConfig::pool_size)).
        pool_size: usize,
        /// How long it waited.
        limit: Duration,
    },
    /// A change of a directory that was opened with [`Access::Read`](crate::Access::Read). Nothing was sent or changed.
    #[error("{operation} `{dn}`: the directory was opened for reading only")]
    ReadOnly {
        /// `add`, `modify`, …
        operation: &'static str,
        /// The entry, or the file.
        dn: String,
    },
    /// A change that a rule of the program itself forbids. Nothing was sent or changed. This library has no such rules: it is for
    /// programs that use it, so that such a refusal is not taken for the server's.
    #[error("{operation} `{dn}`: not allowed by {setting}: {reason}; nothing was sent")]
    Forbidden {
        /// `add`, `modify`, …
        operation: &'static str,
        /// The entry.
        dn: String,
        /// The program's setting with the rule.
        setting: String,
        /// Why the rule applies.
        reason: String,
    },
    /// An answer or a request is not valid.
    #[error("{operation} `{dn}`: {reason}{}", unknown(*.outcome_unknown))]
    Protocol {
        /// The operation in progress.
        operation: &'static str,
        /// The entry or the base.
        dn: String,
        /// Why it is not valid.
        reason: String,
        /// Whether it was a change that may have been made ([`DirectoryError::is_outcome_unknown`]).
        outcome_unknown: bool,
    },
    /// A change is larger than the server accepts.
    #[error(
        "{operation} `{dn}`: the request has {octets} octets{largest}, and the server closes the connection when one so large begins; its limit is {limit}: raise that, or leave the value out"
    )]
    TooLarge {
        /// `add`, `modify`, …
        operation: &'static str,
        /// The entry.
        dn: String,
        /// The size of the request.
        octets: usize,
        /// The largest attribute, with a leading comma; may be empty.
        largest: String,
        /// The server's setting, and its default.
        limit: String,
    },
    /// The content of a file is not a valid directory.
    #[error("{path}: {reason}")]
    Ldif {
        /// The file.
        path: String,
        /// The line, from 1; `None` if the problem is not in one place.
        line: Option<u64>,
        /// What is wrong, with the line.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}{path}: {reason}", if *.unreachable { "ldif:" } else { "" })]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
        /// Whether the file could not be opened.
        unreachable: bool,
        /// The error of the file system, if there is one.
        #[source]
        cause: Option<Box<dyn Error + Send + Sync>>,
    },
}

fn unknown(is_unknown: bool) -> &'static str {
    if is_unknown { "; whether it was done is not known" } else { "" }
}

/// Returns a period as text, such as `2 s` or `700 ms`.
pub(crate) fn in_words(period: Duration) -> String {
    if period.subsec_millis() == 0 {
        format!("{} s", period.as_secs())
    } else {
        format!("{} ms", period.as_millis())
    }
}

fn who(identity: &str) -> String {
    if identity.is_empty() { String::new() } else { format!(" of `{identity}`") }
}

fn matched_text(matched: &str) -> String {
    if matched.is_empty() { String::new() } else { format!(" (the entry that exists: `{matched}`)") }
}

impl DirectoryError {
    /// Returns the kind of the error, to match on.
    ///
    /// ```
    /// use ldap_directory::{ConnectErrorKind, DirectoryError, ErrorKind};
    ///
    /// fn advice(error: &DirectoryError) -> &'static str {
    ///     match error.kind() {
    ///         ErrorKind::Connect(ConnectErrorKind::Resolve) => "check the host name",
    ///         ErrorKind::Connect(ConnectErrorKind::Certificate) => "check the certificate",
    ///         ErrorKind::Bind(49) => "check the password",
    ///         _ if error.is_outcome_unknown() => "read whether the change was made",
    ///         _ if error.is_transient() => "try again later",
    ///         _ => "see the error's text",
    ///     }
    /// }
    /// ```
    pub fn kind(&self) -> ErrorKind {
        match self {
            DirectoryError::Config(_) => ErrorKind::Config,
            DirectoryError::Connect { kind, .. } => ErrorKind::Connect(*kind),
            DirectoryError::Bind { code, .. } => ErrorKind::Bind(*code),
            DirectoryError::Operation { code, .. } => ErrorKind::Operation(*code),
            DirectoryError::Referral { .. } => ErrorKind::Referral,
            DirectoryError::Lost { .. } => ErrorKind::Lost,
            DirectoryError::Timeout { .. } => ErrorKind::Timeout,
            DirectoryError::PoolExhausted { .. } => ErrorKind::PoolExhausted,
            DirectoryError::ReadOnly { .. } => ErrorKind::ReadOnly,
            DirectoryError::Forbidden { .. } => ErrorKind::Forbidden,
            DirectoryError::Protocol { .. } => ErrorKind::Protocol,
            DirectoryError::TooLarge { .. } => ErrorKind::TooLarge,
            DirectoryError::Ldif { .. } => ErrorKind::Ldif,
            DirectoryError::File { .. } => ErrorKind::File,
        }
    }

    /// Returns the server's result code, if it answered with one.
    pub fn code(&self) -> Option<u32> {
        match self {
            DirectoryError::Operation { code, .. } | DirectoryError::Bind { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Returns whether it is not known if a change was made: it was sent, no answer came, and reading the entry did not tell. Sending it
    /// again may make it twice, or fail because it was made; read the entry first.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(
            self,
            DirectoryError::Lost { outcome_unknown: true, .. }
                | DirectoryError::Timeout { outcome_unknown: true, .. }
                | DirectoryError::Protocol { outcome_unknown: true, .. }
        )
    }

    /// Returns a lost connection.
    pub(crate) fn lost(operation: &'static str, dn: impl Into<String>, reason: impl Into<String>) -> Self {
        DirectoryError::Lost { operation, dn: dn.into(), reason: reason.into(), outcome_unknown: false }
    }

    /// Returns the error of a filter that is not valid.
    pub(crate) fn invalid_filter(
        operation: &'static str,
        dn: &str,
        filter: &dyn std::fmt::Display,
        error: &FilterError,
    ) -> Self {
        let reason = format!("`{filter}` is not a search filter (RFC 4515): {error}");
        DirectoryError::Protocol { operation, dn: dn.to_owned(), reason, outcome_unknown: false }
    }

    /// Returns an answer that did not come in time.
    pub(crate) fn timeout(operation: &'static str, dn: impl Into<String>, limit: Duration) -> Self {
        DirectoryError::Timeout { operation, dn: dn.into(), limit, outcome_unknown: false }
    }

    /// Returns the error of a change that was sent and has no answer, about this change.
    pub(crate) fn of_sent_change(self, operation: &'static str, dn: &str) -> Self {
        let (dn, outcome_unknown) = (dn.to_owned(), true);
        match self {
            DirectoryError::Lost { reason, .. } => {
                DirectoryError::Lost { operation, dn, reason, outcome_unknown }
            }
            DirectoryError::Timeout { limit, .. } => {
                DirectoryError::Timeout { operation, dn, limit, outcome_unknown }
            }
            DirectoryError::Protocol { reason, .. } => {
                DirectoryError::Protocol { operation, dn, reason, outcome_unknown }
            }
            other => DirectoryError::Lost { operation, dn, reason: other.to_string(), outcome_unknown },
        }
    }

    /// Returns whether there is no connection, or no longer one.
    pub fn is_connection(&self) -> bool {
        matches!(
            self,
            DirectoryError::Connect { .. } | DirectoryError::Lost { .. } | DirectoryError::Timeout { .. }
        )
    }

    /// Returns whether the server refused an operation for its cost: a size, time or administrative limit (RFC 4511 appendix A),
    /// or, on 389 DS and others, a missing index (`unwillingToPerform`). A smaller operation may succeed.
    pub fn is_limit(&self) -> bool {
        matches!(
            self.code(),
            Some(
                result_code::TIME_LIMIT_EXCEEDED
                    | result_code::SIZE_LIMIT_EXCEEDED
                    | result_code::ADMIN_LIMIT_EXCEEDED
                    | result_code::BUSY
                    | result_code::UNWILLING_TO_PERFORM
            )
        )
    }

    /// Returns whether a rule of the program forbids the change ([`DirectoryError::Forbidden`]): nothing was sent.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, DirectoryError::Forbidden { .. })
    }

    /// Returns whether the entry of the operation, or one of its ancestors, does not exist.
    pub fn is_no_such_object(&self) -> bool {
        self.code() == Some(result_code::NO_SUCH_OBJECT)
    }
}
