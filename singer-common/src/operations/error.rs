//! How a failure ends a run: every error of the pair belongs to one class, and a class is an exit code.

use ldap_directory::DirectoryError;

use crate::operations::facts::Facts;

/// What kind of failure an error is. Decides the exit code (the table in the README) and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Usage or configuration: the caller has to change something before the next run can succeed.
    Config,
    /// The server could not be reached, or did not accept who we are.
    Connection,
    /// Failed while running: server, network or stream. Printed STATE is safe to resume from.
    Run,
    /// Nobody reads stdout any more. Ends the run without a message.
    OutputClosed,
}

impl Class {
    /// The process exit code of the class.
    pub fn exit_code(self) -> u8 {
        match self {
            Class::Run | Class::OutputClosed => 1,
            Class::Config => 2,
            Class::Connection => 3,
        }
    }
}

/// An error that knows its class.
pub trait Classified: std::error::Error {
    /// The class of this error.
    fn class(&self) -> Class;

    /// What it is about, as far as it knows; nothing, if an error does not say.
    fn facts(&self) -> Facts {
        Facts::default()
    }
}

impl Classified for DirectoryError {
    fn class(&self) -> Class {
        match self {
            DirectoryError::Connect { .. } | DirectoryError::Bind { .. } => Class::Connection,
            // Which file it is, is a setting.
            DirectoryError::File { unreachable: true, .. } => Class::Config,
            _ => Class::Run,
        }
    }

    fn facts(&self) -> Facts {
        let (server, dn) = match self {
            DirectoryError::Connect { server, .. } | DirectoryError::Bind { server, .. } => {
                (Some(server), None)
            }
            DirectoryError::File { path, .. } | DirectoryError::Ldif { path, .. } => (Some(path), None),
            DirectoryError::Operation { dn, .. }
            | DirectoryError::Lost { dn, .. }
            | DirectoryError::Timeout { dn, .. }
            | DirectoryError::Protocol { dn, .. }
            | DirectoryError::TooLarge { dn, .. } => (None, Some(dn)),
        };
        let is_setting = matches!(self, DirectoryError::File { unreachable: true, .. });
        let setting = is_setting.then(|| "server_url".to_owned());
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
