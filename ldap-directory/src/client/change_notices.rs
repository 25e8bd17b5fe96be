//! Change notification ([MS-ADTS] 3.1.1.3.4.1.9): Active Directory reports changes as they happen.

use super::LdapDirectory;
use crate::client::connection::Connection;
use crate::directory::Scope;
use crate::error::DirectoryError;
use crate::filter::Filter;
use crate::oid;
use crate::protocol::message::{Answer, Control, SEARCH_REQUEST};

/// A connection on which the server reports changes.
#[derive(Debug)]
pub struct ChangeNotices {
    connection: Connection,
    id: i64,
    base: String,
}

impl LdapDirectory {
    /// Requests a notification of every change at and below an entry, from now on.
    ///
    /// # Errors
    /// Fails if the connection cannot be opened or is lost.
    pub async fn change_notices(&self, base: &str) -> Result<ChangeNotices, DirectoryError> {
        let mut connection = self.open_connection().await?;
        let control = |oid: &str| Control { oid: oid.into(), critical: true, value: None };
        // The second control includes deletions.
        let controls = [control(oid::NOTIFICATION), control(oid::SHOW_DELETED)];
        // The only filter that the control accepts.
        let filter = Filter::Present("objectClass".into());
        let attributes = ["1.1".to_owned()];
        let id = connection.search(base, Scope::Subtree, &filter, &attributes, 0, &controls).await?;
        Ok(ChangeNotices { connection, id, base: base.to_owned() })
    }
}

impl ChangeNotices {
    /// Waits for the next change. Cancel safe.
    ///
    /// # Errors
    /// Fails if the connection is lost, or if the server ends the search.
    pub async fn next(&mut self) -> Result<(), DirectoryError> {
        loop {
            let message = self.connection.receive().await?;
            if message.id != self.id {
                return Err(self.connection.foreign(message.id));
            }
            if matches!(message.answer, Answer::Entry(_) | Answer::Unreadable(_)) {
                return Ok(());
            }
            if let Some((end, _)) = message.answer.into_end(SEARCH_REQUEST) {
                return Err(DirectoryError::Operation {
                    operation: "change notification",
                    dn: self.base.clone(),
                    code: end.code,
                    matched: end.matched,
                    text: end.text,
                });
            }
        }
    }

    /// Skips the notifications that have already arrived.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub async fn skip_ready(&mut self) -> Result<(), DirectoryError> {
        while self.connection.has_message() {
            self.next().await?;
        }
        Ok(())
    }
}
