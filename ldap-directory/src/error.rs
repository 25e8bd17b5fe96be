//! What can go wrong with a directory.

use crate::protocol::result_code;

/// What failed on the way to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// The host name has no address, or none that could be found out.
    Resolve,
    /// Nothing listens at the address.
    Refused,
    /// There was no answer within [`connect_timeout`](crate::DirectoryConfig::connect_timeout).
    Timeout,
    /// The network failed, or the server closed the connection.
    Network,
    /// TLS: the server's certificate, the client's, or the handshake.
    Tls,
    /// The server refused StartTLS, or did not answer it as RFC 4511 section 4.14 has it.
    StartTls,
    /// The server answered the bind with something that is no answer to it, or a SASL mechanism failed on this side.
    Bind,
    /// Another server answered than before, and what one of them counts means nothing to another.
    OtherServer,
    /// This library, or this build of it, cannot do that.
    Unsupported,
}

/// What kind of failure a [`DirectoryError`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no connection.
    Connect(ConnectErrorKind),
    /// The server refused the bind with a result code (RFC 4511 section 4.1.9).
    Bind(u32),
    /// The server answered an operation with a result code.
    Operation(u32),
    /// The connection was lost.
    Lost,
    /// There was no answer in time.
    Timeout,
    /// An answer is not valid.
    Protocol,
    /// A request is larger than the server accepts.
    TooLarge,
    /// An LDIF file is not valid.
    Ldif,
    /// A file cannot be read or written.
    File,
}

/// A failure of a directory. Messages carry LDAP's number and name, the server's text, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// No connection: name lookup, TCP or TLS.
    #[error("could not connect to {server}: {reason}")]
    Connect {
        /// The URL.
        server: String,
        /// What failed.
        kind: ConnectErrorKind,
        /// The same for people, with what to do.
        reason: String,
        /// Whether it stays so until somebody mends it, such as an expired certificate.
        lasting: bool,
    },
    /// The server did not accept the bind.
    #[error("{server} refused the {method} bind{}: {}", who(.identity), result_code::describe(*.code, .text))]
    Bind {
        /// The URL.
        server: String,
        /// The bind's method.
        method: &'static str,
        /// The bind DN, empty when there is none.
        identity: String,
        /// LDAP's result code.
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
        /// LDAP's result code.
        code: u32,
        /// The server's matchedDN.
        matched: String,
        /// The server's diagnostic message.
        text: String,
    },
    /// The connection broke, or what came over it was not LDAP.
    #[error("{operation} `{dn}`: the connection to the server was lost ({reason})")]
    Lost {
        /// The operation that was under way.
        operation: &'static str,
        /// The entry or the base.
        dn: String,
        /// What the network or the decoder says.
        reason: String,
    },
    /// No answer in time.
    #[error("{operation} `{dn}`: no answer within {seconds} s (operation_timeout_seconds)")]
    Timeout {
        /// The operation that was under way.
        operation: &'static str,
        /// The entry or the base.
        dn: String,
        /// The limit.
        seconds: u64,
    },
    /// An answer that makes no sense.
    #[error("{operation} `{dn}`: {reason}")]
    Protocol {
        /// The operation that was under way.
        operation: &'static str,
        /// The entry or the base.
        dn: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// A change that is larger than the server takes.
    #[error(
        "{operation} `{dn}`: the request has {octets} octets{largest}, and the server closes the connection when one so large begins; its limit is {limit}: raise that, or leave the value out"
    )]
    TooLarge {
        /// `add`, `modify`, …
        operation: &'static str,
        /// The entry.
        dn: String,
        /// How large the request is.
        octets: usize,
        /// Which attribute takes up most of it; empty, or with a comma ahead.
        largest: String,
        /// The server's setting, and its default.
        limit: String,
    },
    /// A file that is there holds what is no directory.
    #[error("{path}: {reason}")]
    Ldif {
        /// The file.
        path: String,
        /// Where, from 1; of what is not in one place nothing.
        line: Option<u64>,
        /// What is wrong; the line is in it.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("{}{path}: {reason}", if *.unreachable { "setting `server_url`: ldif:" } else { "" })]
    File {
        /// The file.
        path: String,
        /// What is wrong; for a bad record with its line.
        reason: String,
        /// Whether the file could not even be opened.
        unreachable: bool,
    },
}

fn who(identity: &str) -> String {
    if identity.is_empty() { String::new() } else { format!(" of `{identity}`") }
}

fn matched_text(matched: &str) -> String {
    if matched.is_empty() { String::new() } else { format!(" (the entry that exists: `{matched}`)") }
}

impl DirectoryError {
    /// Returns what kind of failure this is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            DirectoryError::Connect { kind, .. } => ErrorKind::Connect(*kind),
            DirectoryError::Bind { code, .. } => ErrorKind::Bind(*code),
            DirectoryError::Operation { code, .. } => ErrorKind::Operation(*code),
            DirectoryError::Lost { .. } => ErrorKind::Lost,
            DirectoryError::Timeout { .. } => ErrorKind::Timeout,
            DirectoryError::Protocol { .. } => ErrorKind::Protocol,
            DirectoryError::TooLarge { .. } => ErrorKind::TooLarge,
            DirectoryError::Ldif { .. } => ErrorKind::Ldif,
            DirectoryError::File { .. } => ErrorKind::File,
        }
    }

    /// LDAP's result code, when the server gave one.
    pub fn code(&self) -> Option<u32> {
        match self {
            DirectoryError::Operation { code, .. } | DirectoryError::Bind { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether there is no connection, or no longer.
    pub fn is_connection(&self) -> bool {
        matches!(
            self,
            DirectoryError::Connect { .. } | DirectoryError::Lost { .. } | DirectoryError::Timeout { .. }
        )
    }

    /// Whether the server refused an operation for what it would cost: a limit of entries, time or work (RFC 4511 appendix A),
    /// or, on 389 DS and others, that no index serves it (`unwillingToPerform`). A smaller one may be served.
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

    /// Whether the entry named in the operation, or one above it, is not there.
    pub fn is_no_such_object(&self) -> bool {
        self.code() == Some(result_code::NO_SUCH_OBJECT)
    }
}
