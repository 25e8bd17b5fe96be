//! The interface to a directory: a server (LDAP), a file (LDIF), or a preview of changes to one of them.

use std::sync::Arc;

use crate::change::Change;
use crate::dn::DnKey;
use crate::entry::{CompactEntry, Entry};
use crate::schema::Schema;
use crate::secret::{Secret, SecretAttributes};

mod capabilities;
mod entry_ref;
mod excluded;
mod known_names;
mod nearest_entry;
mod of_server;
mod own_values;
mod preview;
pub(crate) mod range_retrieval;
mod reader;
mod search_stream;
mod undefined;

pub use entry_ref::EntryRef;
pub use excluded::ExcludedSubtrees;
pub use known_names::{KnownNames, UnknownName};
pub use preview::{MaintainedReferences, PreviewDirectory, PreviewSearch};
pub(crate) use search_stream::Answer;
pub use search_stream::{Found, SearchItem, SearchStream};
pub use undefined::Undefined;

pub use crate::search_request::{Paging, Scope, SearchFilter, SearchRequest};

use crate::client as ldap;
use crate::config::{DirectoryConfig, Referrals, ServerUrl};
use crate::error::DirectoryError;
use crate::ldif;
use crate::root_dse::RootDse;
use crate::write_control::WriteControl;

/// An open directory. Cheap to clone: clones share the connection or the file.
///
/// ```
/// use ldap_directory::change::Change;
/// use ldap_directory::entry::{Attribute, Entry};
/// use ldap_directory::{Access, Directory, DirectoryConfig, Scope, SearchRequest, ServerUrl};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let path = folder.path().join("people.ldif");
/// let config = DirectoryConfig::new([ServerUrl::Ldif(path.clone())]);
/// let directory = Directory::open(&config, Access::WRITE).await?;
/// let entry = Entry { dn: "dc=x".into(), attributes: vec![Attribute::new("dc", vec![b"x".to_vec()])] };
/// directory.apply(&Change::Add(entry)).await?;
///
/// let request = SearchRequest::new("", Scope::Subtree, "(dc=X)", &["dc"]);
/// assert_eq!(directory.search(request).await?.next_entry().await?.map(|e| e.dn), Some("dc=x".into()));
///
/// directory.commit()?;
/// assert_eq!(std::fs::read_to_string(path)?, "dn: dc=x\ndc: x\n\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub enum Directory {
    /// A server.
    Ldap(ldap::LdapDirectory),
    /// A file.
    Ldif(ldif::LdifDirectory),
    /// A server or a file with changes that exist in memory only.
    Preview(PreviewDirectory),
}

/// The access that a directory is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading. A file must exist, and every change is an error ([`DirectoryError::ReadOnly`]).
    Read,
    /// Reading and writing. A missing file is an empty directory, and is written in this format, which does not matter for a server.
    Write(ldif::LdifFormat),
}

impl Access {
    /// Reading and writing: a server, or a file of entries.
    pub const WRITE: Access = Access::Write(ldif::LdifFormat::Content);

    /// Returns an error if it does not include writing.
    pub(crate) fn may_change(self, operation: &'static str, dn: &str) -> Result<(), DirectoryError> {
        match self {
            Access::Read => Err(DirectoryError::ReadOnly { operation, dn: dn.to_owned() }),
            Access::Write(_) => Ok(()),
        }
    }
}

impl Directory {
    /// Connects and binds to the first server that accepts, or reads a file, and loads the schema.
    ///
    /// A file that was cut is not always invalid LDIF: see [`Self::is_complete`].
    ///
    /// # Errors
    /// Fails if the configuration cannot work ([`DirectoryConfig::check`]); if no server can be reached or accepts the bind, after the
    /// configured retries; if the file cannot be read or is not valid LDIF; or if a file refers to other servers and referrals are [`Referrals::Fail`].
    ///
    /// ```no_run
    /// use ldap_directory::{Access, AuthMethod, Directory, DirectoryConfig, ServerUrl};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let servers = [ServerUrl::parse("ldaps://ldap1.example.com")?, ServerUrl::parse("ldaps://ldap2.example.com")?];
    /// let config = DirectoryConfig::new(servers).auth(AuthMethod::simple("cn=reader,dc=example", "secret"));
    /// let directory = Directory::open(&config, Access::Read).await?;
    /// println!("{}: {}", directory.location(), directory.root_dse().vendor.name());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(config: &DirectoryConfig, access: Access) -> Result<Directory, DirectoryError> {
        config.check()?;
        match config.servers.first() {
            Some(ServerUrl::Ldif(path)) => {
                let file = ldif::LdifDirectory::open_interruptibly(path, access).await?;
                if config.referrals == Referrals::Fail && file.references() > 0 {
                    return Err(DirectoryError::Referral {
                        operation: "read",
                        dn: path.display().to_string(),
                        to: format!("other servers ({} time(s))", file.references()),
                    });
                }
                Ok(Directory::Ldif(file.with_secret_attributes(&config.secret_attributes)))
            }
            _ => ldap::LdapDirectory::open(config, access).await.map(Directory::Ldap),
        }
    }

    /// Returns the attributes whose values must not be shown, by name, by the configuration and by the schema.
    pub fn secret_attributes(&self) -> &SecretAttributes {
        match self {
            Directory::Ldap(d) => d.secret_attributes(),
            Directory::Ldif(d) => d.secret_attributes(),
            Directory::Preview(d) => d.below().secret_attributes(),
        }
    }

    /// Returns a preview: changes are made in memory, and the directory is not modified.
    ///
    /// ```
    /// use ldap_directory::change::Change;
    /// use ldap_directory::{Access, Directory, DirectoryConfig, ServerUrl};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let file = tempfile::NamedTempFile::new()?;
    /// # std::fs::write(&file, "dn: dc=x\nobjectClass: domain\ndc: x\n")?;
    /// let config = DirectoryConfig::new([ServerUrl::Ldif(file.path().to_owned())]);
    /// let directory = Directory::open(&config, Access::Read).await?;
    /// let preview = directory.clone().preview();
    /// preview.apply(&Change::Delete { dn: "dc=x".into() }).await?;
    /// assert!(preview.read("dc=x", &["1.1"]).await?.is_none());
    /// assert!(directory.read("dc=x", &["1.1"]).await?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn preview(self) -> Directory {
        Directory::Preview(PreviewDirectory::new(self))
    }

    /// Returns a preview that refuses what the server would refuse by its schema
    /// (see [`conformance`](crate::schema::conformance)).
    #[must_use]
    pub fn checked_preview(self) -> Directory {
        Directory::Preview(PreviewDirectory::new(self).with_schema_check())
    }

    /// Returns the server's root DSE; for a file, one derived from its entries.
    pub fn root_dse(&self) -> &RootDse {
        match self {
            Directory::Ldap(d) => d.root_dse(),
            Directory::Ldif(d) => d.root_dse(),
            Directory::Preview(d) => d.below().root_dse(),
        }
    }

    /// Returns the server's schema; for a file, the built-in schema completed by its entries.
    pub fn schema(&self) -> &Arc<Schema> {
        match self {
            Directory::Ldap(d) => d.schema(),
            Directory::Ldif(d) => d.schema(),
            Directory::Preview(d) => d.below().schema(),
        }
    }

    /// Returns why a file may be incomplete, according to its own content: a result code, a missing page, a last line without a line
    /// end, which may be cut. Empty for a server.
    ///
    /// A file that is opened for writing has them, too; [`Self::commit`] writes what was read, so that a value that was cut remains cut.
    pub fn shortfalls(&self) -> &[ldif::Shortfall] {
        match self {
            Directory::Ldap(_) => &[],
            Directory::Ldif(d) => d.shortfalls(),
            Directory::Preview(d) => d.below().shortfalls(),
        }
    }

    /// Returns whether nothing in a file shows that it is incomplete: there are no [`shortfalls`](Self::shortfalls). `true` for a server.
    ///
    /// ```
    /// use ldap_directory::{Access, Directory, DirectoryConfig, ServerUrl};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let file = tempfile::NamedTempFile::new()?;
    /// // A disk was full, or a download ended early.
    /// std::fs::write(&file, "dn: cn=ada,dc=x\nobjectClass: person\ncn: ada\nsn: Lovel")?;
    /// let config = DirectoryConfig::new([ServerUrl::Ldif(file.path().to_owned())]);
    /// let directory = Directory::open(&config, Access::WRITE).await?;
    /// assert!(!directory.is_complete());
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_complete(&self) -> bool {
        self.shortfalls().is_empty()
    }

    /// Returns the names that occur in a file, which has no schema of its own; `None` for a server.
    pub fn names_in_use(&self) -> Option<ldif::NamesInUse> {
        match self {
            Directory::Ldap(_) => None,
            Directory::Ldif(d) => Some(d.names_in_use()),
            Directory::Preview(d) => d.below().names_in_use(),
        }
    }

    /// Returns the URL in use, for messages.
    pub fn location(&self) -> &str {
        match self {
            Directory::Ldap(d) => d.location(),
            Directory::Ldif(d) => d.location(),
            Directory::Preview(d) => d.below().location(),
        }
    }

    /// Logs and counts an entry that is left out because its DN is not UTF-8, once for each DN.
    pub fn note_unreadable(&self, dn: &str) {
        match self {
            Directory::Ldap(d) => d.note_unreadable(dn),
            Directory::Ldif(_) => {}
            Directory::Preview(d) => d.below().note_unreadable(dn),
        }
    }

    /// Begins a search. Nothing is sent to a server before the first item is requested.
    ///
    /// As long as it is open, it has a connection to itself, and further searches may have to wait
    /// ([`pool_size`](DirectoryConfig::pool_size)): read it to its end, or drop it. On Active Directory, attributes with many values are
    /// incomplete: see [`Self::complete_ranges`].
    ///
    /// # Errors
    /// On a file or a preview, fails if the base is not a DN or does not exist, or if the filter is not valid. On a server, these
    /// errors come from the [`SearchStream`].
    ///
    /// ```no_run
    /// # async fn example(directory: &ldap_directory::Directory) -> Result<(), Box<dyn std::error::Error>> {
    /// use ldap_directory::filter::Filter;
    /// use ldap_directory::{Scope, SearchRequest};
    ///
    /// let filter = Filter::equality("uid", "ada");
    /// let request = SearchRequest::new("dc=example", Scope::Subtree, filter, &["mail"]);
    /// let mut answer = directory.search(request).await?;
    /// while let Some(entry) = answer.next_entry().await? {
    ///     println!("{}", entry.dn);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn search(&self, request: SearchRequest) -> Result<SearchStream, DirectoryError> {
        let mut request = request;
        if let (Some(_), Paging::Limited(most)) = (self.excluded(), request.paging) {
            // Those that are dropped would count, too.
            request.paging = Paging::AtMost(most);
        }
        let answer = match self {
            Directory::Ldap(d) => Answer::Ldap(Box::new(d.search(request))),
            Directory::Ldif(d) => Answer::Ldif(Box::new(d.search(&request)?)),
            Directory::Preview(d) => d.search(request).await?,
        };
        Ok(SearchStream::new(answer, self.excluded().cloned()))
    }

    /// Reads one entry, or returns `None` if it does not exist. Cancel safe: the search is abandoned.
    ///
    /// On Active Directory, attributes with many values are incomplete: see [`Self::complete_ranges`].
    ///
    /// # Errors
    /// Fails like a search of the entry. A missing entry is not an error.
    ///
    /// ```no_run
    /// # async fn example(directory: &ldap_directory::Directory) -> Result<(), ldap_directory::DirectoryError> {
    /// match directory.read("uid=ada,dc=example", &["mail"]).await? {
    ///     Some(entry) => println!("{:?}", entry.first_text("mail")),
    ///     None => println!("no such entry"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn read(&self, dn: &str, attributes: &[&str]) -> Result<Option<Entry>, DirectoryError> {
        let entry = self.read_anywhere(dn, attributes).await?;
        // The server may know the entry by another name, such as `<GUID=…>`.
        Ok(entry.filter(|entry| !self.excluded().is_some_and(|excluded| excluded.has_dn(&entry.dn))))
    }

    async fn read_anywhere(&self, dn: &str, attributes: &[&str]) -> Result<Option<Entry>, DirectoryError> {
        match self {
            // In a box, as changes are: what waits for a server is large, and would be moved with every future that may call this.
            Directory::Ldap(d) => Box::pin(d.read(dn, attributes)).await,
            Directory::Ldif(d) => d.read(dn, attributes),
            Directory::Preview(d) => Box::pin(d.read(dn, attributes)).await,
        }
    }

    /// Returns whether a DN can be the base of a search. On a server, it must be an entry that the bound user can read. A file
    /// need not contain the parents of its entries.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn begins_at(&self, dn: &str) -> Result<bool, DirectoryError> {
        if self.excluded().is_some_and(|excluded| excluded.has_dn(dn)) {
            return Ok(false);
        }
        match self {
            Directory::Ldif(d) => Ok(d.begins_at(dn)),
            Directory::Preview(d) if matches!(d.below(), Directory::Ldif(file) if file.begins_at(dn)) => {
                Ok(true)
            }
            Directory::Ldap(_) | Directory::Preview(_) => Ok(self.read(dn, &["1.1"]).await?.is_some()),
        }
    }

    /// Applies one change. On a server, it is durable when this returns; in a file, after [`Self::commit`].
    ///
    /// If the answer is lost, the entry is read to find out whether the change was made, and only a change that was not made is
    /// sent again.
    ///
    /// Not cancel safe: a change whose future is dropped may have been sent, and is then left to the server; nothing tells whether it was
    /// made. Let it run in a task of its own, or read the entry afterwards.
    ///
    /// # Errors
    /// Fails if the directory was opened with [`Access::Read`] ([`DirectoryError::ReadOnly`]), if the server refuses the change, if the
    /// connection is lost and cannot be restored, or if it remains unknown whether the change was made
    /// ([`DirectoryError::is_outcome_unknown`]). A file fails with the result codes of a server.
    ///
    /// ```no_run
    /// # async fn example(directory: &ldap_directory::Directory) -> Result<(), ldap_directory::DirectoryError> {
    /// use ldap_directory::change::Change;
    ///
    /// let rename = Change::Rename {
    ///     dn: "uid=ada,ou=people,dc=example".into(),
    ///     new_rdn: "uid=alovelace".into(),
    ///     delete_old_rdn: true,
    ///     new_superior: Some("ou=staff,dc=example".into()),
    /// };
    /// if let Err(error) = directory.apply(&rename).await {
    ///     println!("result code {:?}: {error}", error.code());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn apply(&self, change: &Change) -> Result<(), DirectoryError> {
        self.apply_with(change, &[]).await
    }

    /// Applies one change with controls, which are sent as critical.
    ///
    /// # Errors
    /// As [`Self::apply`]; also if the server does not support a control, or an assertion does not hold.
    ///
    /// ```no_run
    /// # async fn example(directory: &ldap_directory::Directory) -> Result<(), Box<dyn std::error::Error>> {
    /// use ldap_directory::WriteControl;
    /// use ldap_directory::change::Change;
    /// use ldap_directory::filter::Filter;
    ///
    /// let unchanged = WriteControl::Assertion(Filter::parse("(description=temporary)")?);
    /// directory.apply_with(&Change::Delete { dn: "cn=x,dc=example".into() }, &[unchanged]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn apply_with(&self, change: &Change, controls: &[WriteControl]) -> Result<(), DirectoryError> {
        match self {
            Directory::Ldap(d) => Box::pin(d.apply_with(change, controls)).await,
            Directory::Ldif(d) => d.apply_with(change, controls),
            Directory::Preview(d) => Box::pin(d.apply_with(change, controls)).await,
        }
    }

    /// Adds an entry to a file of entries, in memory. `key` is the key of its DN. Returns `None` for a server or a preview, which
    /// need [`Self::apply`].
    ///
    /// # Errors
    /// The inner result is an error if the entry exists, lacks a parent, or violates the [rules](ldif::LdifRules), or if the
    /// directory was opened with [`Access::Read`].
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

    /// Returns whether an entry exists, if that is known without asking a server.
    pub fn holds_in_memory(&self, key: &DnKey) -> Option<bool> {
        match self {
            Directory::Ldif(d) => Some(d.holds(key)),
            Directory::Ldap(_) | Directory::Preview(_) => None,
        }
    }

    /// Sets an entry's password by the Password Modify operation (RFC 3062): the server hashes it and applies its policy.
    ///
    /// # Errors
    /// Fails if the server refuses it, and always on a file.
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

    /// Deletes an entry with its subtree, if the server supports that. Returns `false` if it does not: the subtree must be
    /// deleted first.
    ///
    /// # Errors
    /// Fails if the server refuses the deletion.
    pub async fn delete_tree(&self, dn: &str) -> Result<bool, DirectoryError> {
        match self {
            Directory::Ldap(d) => d.delete_tree(dn).await,
            Directory::Ldif(_) | Directory::Preview(_) => Ok(false),
        }
    }

    /// Makes applied changes durable: replaces the file in one rename. Does nothing on a server, where they already are, and on a
    /// preview, whose changes are never made.
    ///
    /// A file whose last entry was deleted is empty then. [`Access::Read`] refuses an empty file, which may be one that was lost.
    ///
    /// # Errors
    /// Fails if the directory was opened with [`Access::Read`], if the file cannot be written, or if another program changed it since it was read. The file is then unchanged.
    pub fn commit(&self) -> Result<(), DirectoryError> {
        match self {
            Directory::Ldap(d) => d.commit(),
            Directory::Ldif(d) => d.commit(),
            Directory::Preview(_) => Ok(()),
        }
    }

    /// Unbinds and closes all connections. Without it, servers only notice that the connections are closed.
    ///
    /// Clones share the connections: theirs are closed as well, and their next operation opens new ones.
    ///
    /// This is for the end of a process: the memory of a file's entries is not freed. Drop the directory instead to free it.
    pub async fn close(self) {
        match self {
            Directory::Ldap(d) => d.close().await,
            // Freeing a million entries one by one takes time, and the process ends anyway.
            Directory::Ldif(d) => std::mem::forget(d),
            Directory::Preview(d) => Box::pin(d.below().clone().close()).await,
        }
    }
}
