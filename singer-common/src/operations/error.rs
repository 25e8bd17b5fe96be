//! Classes of errors. Every error of both executables belongs to one class, and a class determines the exit code.

use ldap_directory::DirectoryError;

use crate::operations::facts::Facts;

/// The class of an error. It determines the exit code (the table in the README) and nothing else.
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

impl Classified for DirectoryError {
    fn class(&self) -> Class {
        match self {
            DirectoryError::Connect { .. } | DirectoryError::Bind { .. } => Class::Connection,
            // The path of the file is a setting.
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
