//! Change notification ([MS-ADTS] 3.1.1.3.4.1.9): Active Directory tells that something changed, as it happens.

use super::LdapDirectory;
use crate::client::connection::Connection;
use crate::directory::Scope;
use crate::error::DirectoryError;
use crate::filter::Filter;
use crate::oid;
use crate::protocol::message::{Answer, Control};

/// A connection on which the server tells of changes.
#[derive(Debug)]
pub struct ChangeNotices {
    connection: Connection,
    id: i64,
    base: String,
}

impl LdapDirectory {
    /// Asks to be told of every change at and below an entry, from now on.
    pub async fn change_notices(&self, base: &str) -> Result<ChangeNotices, DirectoryError> {
        let mut connection = self.open_connection().await?;
        let control = |oid: &str| Control { oid: oid.into(), critical: true, value: None };
        // Without the second one a deletion would be no change of anything that is there.
        let controls = [control(oid::NOTIFICATION), control(oid::SHOW_DELETED)];
        // The one filter that the control goes with.
        let filter = Filter::Present("objectClass".into());
        let attributes = ["1.1".to_owned()];
        let id = connection.search(base, Scope::Subtree, &filter, &attributes, 0, &controls).await?;
        Ok(ChangeNotices { connection, id, base: base.to_owned() })
    }
}

impl ChangeNotices {
    /// Waits until something changed. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<(), DirectoryError> {
        loop {
            let message = self.connection.receive().await?;
            if message.id != self.id {
                continue;
            }
            match message.answer {
                Answer::Entry(_) | Answer::Unreadable(_) => return Ok(()),
                Answer::Done(end) | Answer::Extended { result: end, .. } => {
                    return Err(DirectoryError::Operation {
                        operation: "change notification",
                        dn: self.base.clone(),
                        code: end.code,
                        matched: end.matched,
                        text: end.text,
                    });
                }
                _ => {}
            }
        }
    }

    /// Passes over what has arrived already.
    pub async fn skip_ready(&mut self) -> Result<(), DirectoryError> {
        while self.connection.has_message() {
            self.next().await?;
        }
        Ok(())
    }
}
