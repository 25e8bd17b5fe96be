//! The one interface to a directory, and its two kinds: a server (LDAP) and a file (LDIF).

use crate::oid;
use std::sync::Arc;

use crate::change::Change;
use crate::dn::DnKey;
use crate::entry::{CompactEntry, Entry};
use crate::ldif::LdifRules;
use crate::schema::Schema;
use crate::secret::{Secret, SecretAttributes};

mod entry_ref;
mod known_names;
mod nearest_entry;
mod preview;
pub(crate) mod range_retrieval;
mod search_stream;
mod undefined;

pub use entry_ref::EntryRef;
pub use known_names::{KnownNames, UnknownName};
pub use preview::{PreviewDirectory, PreviewSearch};
pub use search_stream::{Found, SearchItem, SearchStream};
pub use undefined::Undefined;

pub use crate::search_request::{Paging, Scope, SearchFilter, SearchRequest};

use crate::client as ldap;
use crate::config::{DirectoryConfig, Referrals, ServerUrl};
use crate::error::DirectoryError;
use crate::ldif;
use crate::root_dse::{RootDse, Vendor};
use crate::write_control::WriteControl;

/// A directory, opened. Cheap to clone: clones share the connection or the file.
#[derive(Debug, Clone)]
pub enum Directory {
    /// A server.
    Ldap(ldap::LdapDirectory),
    /// A file.
    Ldif(ldif::LdifDirectory),
    /// Another one as it would be after changes that are made in memory only.
    Preview(PreviewDirectory),
}

/// What a directory is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading. A file has to be there.
    Read,
    /// Writing too. A file that is not there begins empty, and is written in this format.
    Write(ldif::LdifFormat),
}

impl Directory {
    /// Connects and binds (a server), or reads (a file), and loads the schema.
    pub async fn open(config: &DirectoryConfig, access: Access) -> Result<Directory, DirectoryError> {
        match config.servers.first() {
            Some(ServerUrl::Ldif(path)) => {
                let file = ldif::LdifDirectory::open(path, access)?;
                if config.referrals == Referrals::Fail && file.references() > 0 {
                    return Err(DirectoryError::File {
                        path: path.display().to_string(),
                        reason: format!(
                            "it has {} reference(s) to other servers, and follow_referrals is `fail`",
                            file.references()
                        ),
                        unreachable: false,
                    });
                }
                Ok(Directory::Ldif(file.with_secret_attributes(&config.secret_attributes)))
            }
            _ => ldap::LdapDirectory::open(config, access).await.map(Directory::Ldap),
        }
    }

    /// The attributes whose values must not be shown, by name, by the configuration and by the schema.
    pub fn secret_attributes(&self) -> &SecretAttributes {
        match self {
            Directory::Ldap(d) => d.secret_attributes(),
            Directory::Ldif(d) => d.secret_attributes(),
            Directory::Preview(d) => d.below().secret_attributes(),
        }
    }

    /// The directory as changes would make it: they are made in memory, and it stays as it is.
    #[must_use]
    pub fn preview(self) -> Directory {
        Directory::Preview(PreviewDirectory::new(self))
    }

    /// The same, and what the server would refuse by its schema is refused
    /// (see [`conformance`](crate::schema::conformance)).
    #[must_use]
    pub fn checked_preview(self) -> Directory {
        Directory::Preview(PreviewDirectory::new(self).with_schema_check())
    }

    /// What the server says of itself; for a file, what follows from its entries.
    pub fn root_dse(&self) -> &RootDse {
        match self {
            Directory::Ldap(d) => d.root_dse(),
            Directory::Ldif(d) => d.root_dse(),
            Directory::Preview(d) => d.below().root_dse(),
        }
    }

    /// The schema in force.
    pub fn schema(&self) -> &Arc<Schema> {
        match self {
            Directory::Ldap(d) => d.schema(),
            Directory::Ldif(d) => d.schema(),
            Directory::Preview(d) => d.below().schema(),
        }
    }

    /// Returns why a file is not all of what it was made from, as far as it says so itself.
    pub fn shortfalls(&self) -> &[ldif::Shortfall] {
        match self {
            Directory::Ldap(_) => &[],
            Directory::Ldif(d) => d.shortfalls(),
            Directory::Preview(d) => d.below().shortfalls(),
        }
    }

    /// Returns the names that occur in a file, which has no schema of its own; `None` for a server.
    pub fn names_in_use(&self) -> Option<ldif::NamesInUse> {
        match self {
            Directory::Ldap(_) => None,
            Directory::Ldif(d) => Some(d.names_in_use()),
            Directory::Preview(d) => d.below().names_in_use(),
        }
    }

    /// Where this directory is, for messages: the URL in use.
    pub fn location(&self) -> &str {
        match self {
            Directory::Ldap(d) => d.location(),
            Directory::Ldif(d) => d.location(),
            Directory::Preview(d) => d.below().location(),
        }
    }

    /// Whether attributes that the schema does not know can be stored all the same: in a file they can.
    pub fn takes_unknown_attributes(&self) -> bool {
        match self {
            Directory::Ldap(_) => false,
            Directory::Ldif(_) => true,
            Directory::Preview(d) => d.below().takes_unknown_attributes(),
        }
    }

    /// Warns of an entry that is left out because its name is not UTF-8, once for each, and counts it.
    pub fn note_unreadable(&self, dn: &str) {
        match self {
            Directory::Ldap(d) => d.note_unreadable(dn),
            Directory::Ldif(_) => {}
            Directory::Preview(d) => d.below().note_unreadable(dn),
        }
    }

    /// Begins a search.
    pub async fn search(&self, request: SearchRequest) -> Result<SearchStream, DirectoryError> {
        match self {
            Directory::Ldap(d) => Ok(SearchStream::Ldap(Box::new(d.search(request)))),
            Directory::Ldif(d) => d.search(&request).map(|s| SearchStream::Ldif(Box::new(s))),
            Directory::Preview(d) => d.search(request).await,
        }
    }

    /// Reads one entry; `None` when there is none of that name.
    pub async fn read(&self, dn: &str, attributes: &[&str]) -> Result<Option<Entry>, DirectoryError> {
        match self {
            Directory::Ldap(d) => d.read(dn, attributes).await,
            Directory::Ldif(d) => d.read(dn, attributes),
            Directory::Preview(d) => d.read(dn, attributes).await,
        }
    }

    /// Whether a search may begin at a name. On a server it must be an entry that the bound user may see; a file need not
    /// hold the parents of its entries.
    pub async fn begins_at(&self, dn: &str) -> Result<bool, DirectoryError> {
        match self {
            Directory::Ldif(d) => Ok(d.begins_at(dn)),
            Directory::Preview(d) if matches!(d.below(), Directory::Ldif(file) if file.begins_at(dn)) => {
                Ok(true)
            }
            Directory::Ldap(_) | Directory::Preview(_) => Ok(self.read(dn, &["1.1"]).await?.is_some()),
        }
    }

    /// Carries out one change.
    pub async fn apply(&self, change: &Change) -> Result<(), DirectoryError> {
        self.apply_with(change, &[]).await
    }

    /// Carries out one change under controls.
    pub async fn apply_with(&self, change: &Change, controls: &[WriteControl]) -> Result<(), DirectoryError> {
        match self {
            Directory::Ldap(d) => d.apply_with(change, controls).await,
            Directory::Ldif(d) => d.apply_with(change, controls),
            Directory::Preview(d) => d.apply_with(change, controls).await,
        }
    }

    /// Adds an entry to a file of entries in memory. `None` elsewhere: it is for [`Self::apply`]. `key` is its name's.
    pub fn add_in_memory(
        &self,
        key: &DnKey,
        entry: impl FnOnce() -> CompactEntry,
    ) -> Option<Result<(), DirectoryError>> {
        match self {
            Directory::Ldif(d) => Some(d.add(entry(), key.clone())),
            Directory::Ldap(_) | Directory::Preview(_) => None,
        }
    }

    /// Whether there is an entry of this name, where nobody has to be asked.
    pub fn holds_in_memory(&self, key: &DnKey) -> Option<bool> {
        match self {
            Directory::Ldif(d) => Some(d.holds(key)),
            Directory::Ldap(_) | Directory::Preview(_) => None,
        }
    }

    /// Whether changes can be made on condition (RFC 4528).
    pub fn takes_assertions(&self) -> bool {
        match self {
            Directory::Ldap(d) => d.root_dse().supports_control(oid::ASSERTION),
            Directory::Ldif(_) => true,
            Directory::Preview(d) => d.below().takes_assertions(),
        }
    }

    /// Whether an entry can be added with attributes that the server keeps itself. Whether the bound user may do so is
    /// known only when it is tried.
    pub fn takes_relaxed_rules(&self) -> bool {
        match self {
            // OpenLDAP has the control, and does not say so in its root DSE.
            Directory::Ldap(d) => {
                d.root_dse().vendor == Vendor::OpenLdap || d.root_dse().supports_control(oid::RELAX_RULES)
            }
            Directory::Ldif(_) => true,
            Directory::Preview(d) => d.below().takes_relaxed_rules(),
        }
    }

    /// Has the server set an entry's password (RFC 3062): it hashes it, and applies its policy.
    pub async fn set_password(&self, dn: &str, password: &Secret) -> Result<(), DirectoryError> {
        match self {
            Directory::Ldap(d) => d.set_password(dn, password).await,
            Directory::Ldif(_) => Err(DirectoryError::Operation {
                operation: ldap::PASSWORD_MODIFY,
                dn: dn.to_owned(),
                code: crate::protocol::result_code::UNWILLING_TO_PERFORM,
                matched: String::new(),
                text: "a file sets no passwords by itself".to_owned(),
            }),
            Directory::Preview(d) => d.set_password(dn, password).await,
        }
    }

    /// Deletes an entry with all that lies below it, where the server does that by itself. `false`: it does not, and
    /// what lies below has to be deleted first.
    pub async fn delete_tree(&self, dn: &str) -> Result<bool, DirectoryError> {
        match self {
            Directory::Ldap(d) => d.delete_tree(dn).await,
            Directory::Ldif(_) | Directory::Preview(_) => Ok(false),
        }
    }

    /// Makes what was applied last: writes the file in one rename. A server's writes are there already.
    pub fn commit(&self) -> Result<(), DirectoryError> {
        match self {
            Directory::Ldap(_) | Directory::Preview(_) => Ok(()),
            Directory::Ldif(d) => d.commit(),
        }
    }

    /// Whether a change stays once [`Self::apply`] has returned; otherwise it does after [`Self::commit`].
    pub fn applies_at_once(&self) -> bool {
        !matches!(self, Directory::Ldif(_))
    }

    /// What is asked of the entries of a file; `None` for a server, which asks what it likes.
    pub fn ldif_rules(&self) -> Option<LdifRules> {
        match self {
            Directory::Ldap(_) => None,
            Directory::Ldif(d) => Some(d.rules()),
            Directory::Preview(d) => d.ldif_rules(),
        }
    }

    /// Asks this of the entries of a file from now on. Nothing for a server.
    pub fn set_ldif_rules(&self, rules: LdifRules) {
        match self {
            Directory::Ldap(_) => {}
            Directory::Ldif(d) => d.set_rules(rules),
            Directory::Preview(d) => d.set_ldif_rules(rules),
        }
    }

    /// Whether nobody sees a state in between: a file of entries is there as a whole, or not at all.
    pub fn is_written_at_once(&self) -> bool {
        match self {
            Directory::Ldap(_) => false,
            Directory::Ldif(d) => d.holds_entries(),
            Directory::Preview(d) => d.below().is_written_at_once(),
        }
    }

    /// The bound user's rights on an entry, as letters, where the server tells them.
    pub async fn effective_rights(&self, dn: &str) -> Result<Option<String>, DirectoryError> {
        match self {
            Directory::Ldap(d) => d.effective_rights(dn).await,
            Directory::Ldif(_) | Directory::Preview(_) => Ok(None),
        }
    }

    /// After an error that may pass: waits, and sees to a connection. Gives the error back where it cannot pass, and when the
    /// attempts are used up. Begins with `attempts` `None`, which is filled in.
    pub async fn recover(
        &self,
        error: DirectoryError,
        attempts: &mut Option<ldap::Attempts>,
    ) -> Result<(), DirectoryError> {
        match self {
            Directory::Ldap(d) => d.recover(error, attempts.get_or_insert_with(|| d.attempts())).await,
            Directory::Ldif(_) | Directory::Preview(_) => Err(error),
        }
    }

    /// The server in use and where exactly: it may be another one than at the beginning.
    pub fn serving(&self) -> String {
        match self {
            Directory::Ldap(d) => d.serving(),
            Directory::Ldif(_) | Directory::Preview(_) => self.location().to_owned(),
        }
    }

    /// Says goodbye, at the end of the process. A server would notice anyway.
    pub async fn close(self) {
        match self {
            Directory::Ldap(d) => d.close().await,
            // A million entries need not be given back one by one.
            Directory::Ldif(d) => std::mem::forget(d),
            Directory::Preview(d) => Box::pin(d.below().clone().close()).await,
        }
    }
}
