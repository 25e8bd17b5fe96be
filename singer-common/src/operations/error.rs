//! Classes of errors. Every error of both executables belongs to one class, and a class determines the exit code.

use ldap_directory::protocol::result_code;
use ldap_directory::{ConnectErrorKind, DirectoryError};

use crate::operations::facts::Facts;

/// The class of an error. It determines the exit code (docs/reference/exit-codes.md) and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Usage or configuration: the next run fails, too, unless the caller changes something.
    Config,
    /// The server was not reachable, or the bind failed.
    Connection,
    /// Failure during the run: server, network or stream. Emitted STATE is safe to resume from.
    Run,
    /// The reader of stdout has closed it. Ends the run without a message.
    OutputClosed,
}

impl Class {
    /// Returns the exit code of the class.
    pub fn exit_code(self) -> u8 {
        match self {
            Class::Run | Class::OutputClosed => 1,
            Class::Config => 2,
            Class::Connection => 3,
        }
    }
}

/// An error with a class.
pub trait Classified: std::error::Error {
    /// Returns the class of this error.
    fn class(&self) -> Class;

    /// Returns the fields of this error's log line; empty by default.
    fn facts(&self) -> Facts {
        Facts::default()
    }
}

/// Returns the message of an error with those of its causes, each once.
///
/// The message of a [`DirectoryError`] explains its cause already, so the causes end there. `#[error(transparent)]` and `{0}`
/// (thiserror) repeat their cause.
pub fn full_text(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut error = error;
    while let Some(cause) = error.source().filter(|_| !error.is::<DirectoryError>()) {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        error = cause;
    }
    text
}

/// Returns the setting to look at first after a failure of a directory: the library does not know what its settings are called.
fn setting_of(error: &DirectoryError) -> Option<&'static str> {
    match error {
        DirectoryError::File { unreachable: true, .. } => Some("server_url"),
        DirectoryError::Operation {
            operation: "search",
            code: result_code::SIZE_LIMIT_EXCEEDED | result_code::ADMIN_LIMIT_EXCEEDED,
            ..
        } => Some("page_size"),
        DirectoryError::Timeout { .. } => Some("operation_timeout_seconds"),
        DirectoryError::PoolExhausted { .. } => Some("connection_pool_size"),
        DirectoryError::Referral { .. } => Some("follow_referrals"),
        DirectoryError::Connect { kind, .. } => match kind {
            ConnectErrorKind::Resolve | ConnectErrorKind::Refused => Some("server_url"),
            ConnectErrorKind::Timeout => Some("connect_timeout_seconds"),
            ConnectErrorKind::Certificate => Some("tls_ca_file"),
            ConnectErrorKind::StartTls => Some("start_tls"),
            ConnectErrorKind::Bind => Some("auth_method"),
            _ => None,
        },
        // authMethodNotSupported, strongerAuthRequired, confidentialityRequired, inappropriateAuthentication.
        DirectoryError::Bind { code: 7 | 8 | 13 | 48, .. } => Some("auth_method"),
        DirectoryError::Bind { code: result_code::INVALID_CREDENTIALS, .. } => Some("bind_dn"),
        _ => None,
    }
}

impl Classified for DirectoryError {
    fn class(&self) -> Class {
        match self {
            DirectoryError::Connect { .. } | DirectoryError::Bind { .. } => Class::Connection,
            // The path of the file is a setting.
            DirectoryError::File { unreachable: true, .. } | DirectoryError::Config(_) => Class::Config,
            _ => Class::Run,
        }
    }

    fn facts(&self) -> Facts {
        let (server, dn) = match self {
            DirectoryError::Connect { server, .. } | DirectoryError::Bind { server, .. } => {
                (Some(server), None)
            }
            DirectoryError::Config(_) => (None, None),
            DirectoryError::File { path, .. } | DirectoryError::Ldif { path, .. } => (Some(path), None),
            DirectoryError::Operation { dn, .. }
            | DirectoryError::Lost { dn, .. }
            | DirectoryError::Timeout { dn, .. }
            | DirectoryError::Protocol { dn, .. }
            | DirectoryError::PoolExhausted { dn, .. }
            | DirectoryError::ReadOnly { dn, .. }
            | DirectoryError::Forbidden { dn, .. }
            | DirectoryError::Referral { dn, .. }
            | DirectoryError::TooLarge { dn, .. } => (None, Some(dn)),
        };
        let setting = match self {
            DirectoryError::Forbidden { setting, .. } => Some(setting.clone()),
            other => setting_of(other).map(str::to_owned),
        };
        let line = match self {
            DirectoryError::Ldif { line, .. } => *line,
            _ => None,
        };
        Facts {
            setting,
            line,
            server: server.cloned(),
            dn: dn.cloned(),
            code: self.code(),
            ..Facts::default()
        }
    }
}
