//! A directory server: updates, small reads and extended operations are multiplexed over one connection; long answers have connections
//! of their own.

use crate::oid;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use self::authenticate::BindConnections;
use self::connect::ActiveServer;
use self::large::Sizes;
use self::pool::Pool;
use self::probe::Step;
use self::search::KnownLimits;
use self::shared_connection::SharedConnection;
use self::write_connections::WriteConnections;
use crate::change::Change;
use crate::config::{DirectoryConfig, Referrals, ServerUrl};
use crate::directory::{Access, ExcludedSubtrees, Scope, SearchFilter, SearchItem, SearchRequest};
use crate::entry::Entry;
use crate::error::DirectoryError;
use crate::filter::{Filter, FilterError};
use crate::protocol::message::{Control, LdapResult};
use crate::protocol::{request, result_code};
use crate::root_dse::{MATCH_ALL, RootDse, Vendor};
use crate::schema::Schema;
use crate::secret::{Secret, SecretAttributes};
use crate::write_control::{self, WriteControl};

mod addresses;
mod asked;
mod authenticate;
pub mod change_notices;
mod connect;
mod connection;
pub mod content_sync;
#[doc(hidden)]
pub mod fuzzing;
mod large;
mod own_password;
mod own_values;
mod pool;
pub mod probe;
mod referral;
mod refused_binds;
mod retry;
mod rights;
mod schema;
mod search;
mod shared_connection;
#[cfg(test)]
mod tests;
pub mod tls;
mod usability;
mod write_connections;

pub use crate::protocol::entry::WireEntry;
pub use authenticate::{Authentication, PasswordState, Refusal};
pub use own_password::{OwnPassword, PasswordReport};
pub use refused_binds::RefusedBinds;
pub use retry::Attempts;
pub use search::LdapSearch;

/// How often a tree deletion is repeated that stopped at the server's limit (16,384 entries on Active Directory): enough for a
/// billion entries, and an end for a server that always reports the limit.
const TREE_DELETE_PARTS: u32 = 65_536;

/// The name of the operation in messages.
pub const PASSWORD_MODIFY: &str = "password modify";

/// Returns whether a change is a modify in which existing or missing values may be ignored. Not for `userAccountControl`: its old
/// value is deleted to detect concurrent changes of other bits.
fn is_unconditional(change: &Change) -> bool {
    let Change::Modify { changes, .. } = change else { return false };
    !changes.iter().any(|m| m.description.eq_ignore_ascii_case("userAccountControl"))
}

/// The maximum number of distinct entries whose DNs are not UTF-8.
const MOST_UNREADABLE: usize = 100_000;
/// The maximum number of them that are logged by name; the others are only counted.
const NAMED_UNREADABLE: usize = 10;

/// A connected, bound server. Clones share the connection; operations are multiplexed on it.
///
/// Most programs use it through [`Directory`](crate::Directory). It has operations that a file does not:
/// [`authenticate`](Self::authenticate), [`sync_connection`](Self::sync_connection), [`change_notices`](Self::change_notices),
/// [`who_am_i`](Self::who_am_i).
///
/// ```no_run
/// use ldap_directory::client::LdapDirectory;
/// use ldap_directory::{Access, DirectoryConfig, ServerUrl};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let config = DirectoryConfig::new([ServerUrl::parse("ldap://localhost")?]);
/// let server = LdapDirectory::open(&config, Access::Read).await?;
/// println!("bound as {:?}", server.who_am_i().await?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct LdapDirectory {
    shared: Arc<Shared>,
    /// What this clone may do.
    access: Access,
    /// What this clone leaves out, as a [`Directory`](crate::Directory).
    pub(crate) excluded: Option<Arc<ExcludedSubtrees>>,
    /// Whether it reads own values only (`own_values`).
    reads_own: bool,
}

struct Shared {
    /// Replaced when the connection is lost and reopened.
    link: RwLock<Arc<ActiveServer>>,
    /// Connections for streaming searches.
    pool: Pool,
    /// Further connections for changes.
    writes: WriteConnections,
    /// Connections for binds of users.
    binds: Arc<BindConnections>,
    config: DirectoryConfig,
    /// With [`Access::Read`], nothing is changed. Then change numbers may be compared between runs, so that not every server may take over.
    access: Access,
    /// Held while a connection is opened: one at a time.
    replacing: tokio::sync::Mutex<()>,
    /// The directories that referrals lead to, by URL.
    others: tokio::sync::Mutex<HashMap<String, LdapDirectory>>,
    /// The number of the connection whose loss was logged.
    told: AtomicU64,
    location: String,
    /// Whether root DSE and schema were read.
    is_known: bool,
    root_dse: RootDse,
    schema: Arc<Schema>,
    secrets: SecretAttributes,
    limits: KnownLimits,
    /// The DNs that are not UTF-8, escaped.
    unreadable: Mutex<BTreeSet<String>>,
    sizes: Sizes,
    /// Whether an assertion failed for an entry that was as asserted.
    misjudges_assertions: AtomicBool,
}

impl std::fmt::Debug for LdapDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LdapDirectory").field("location", &self.shared.location).finish_non_exhaustive()
    }
}

impl LdapDirectory {
    /// Connects, binds, and reads root DSE and subschema.
    ///
    /// # Errors
    /// Fails if no server can be reached or accepts the bind, after the configured retries, or if the connection is lost.
    pub async fn open(config: &DirectoryConfig, access: Access) -> Result<Self, DirectoryError> {
        config.check()?;
        let servers: Vec<connect::Candidate> = config.servers.iter().map(|s| (s.clone(), None)).collect();
        // The server's identity is read below.
        let link = Box::pin(connect::connect(config, &servers, 0, None)).await?;
        Self::over(config, access, link).await
    }

    /// Opens one server step by step, without retry. Returns each step with its result.
    ///
    /// ```no_run
    /// use ldap_directory::client::LdapDirectory;
    /// use ldap_directory::{Access, DirectoryConfig, ServerUrl};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = ServerUrl::parse("ldaps://ldap.example.com")?;
    /// let config = DirectoryConfig::new([server.clone()]);
    /// let (steps, opened) = LdapDirectory::open_by_steps(&config, Access::Read, &server).await;
    /// for step in steps {
    ///     println!("{}: {} {}", step.name, step.grade.word(), step.text);
    /// }
    /// opened?.close().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open_by_steps(
        config: &DirectoryConfig,
        access: Access,
        server: &ServerUrl,
    ) -> (Vec<Step>, Result<Self, DirectoryError>) {
        if let Err(error) = config.check() {
            return (Vec::new(), Err(error.into()));
        }
        let (steps, connection) = probe::probe(config, server).await;
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => return (steps, Err(error)),
        };
        let link = ActiveServer {
            address: connection.peer(),
            session: SharedConnection::start(connection, config),
            server: server.clone(),
            number: 0,
            server_id: Vec::new(),
        };
        (steps, Self::over(config, access, link).await)
    }

    /// Reads root DSE and subschema over a connection.
    async fn over(
        config: &DirectoryConfig,
        access: Access,
        link: ActiveServer,
    ) -> Result<Self, DirectoryError> {
        let bare = |link: &ActiveServer, is_known, root_dse, schema: Arc<Schema>| Self {
            shared: Arc::new(Shared {
                link: RwLock::new(Arc::new(link.clone())),
                pool: Pool::default(),
                writes: WriteConnections::default(),
                binds: BindConnections::new(config),
                config: config.clone(),
                access,
                replacing: tokio::sync::Mutex::default(),
                others: tokio::sync::Mutex::default(),
                told: AtomicU64::new(u64::MAX),
                location: link.server.to_text(),
                is_known,
                root_dse,
                secrets: SecretAttributes::of(&config.secret_attributes, &schema),
                schema,
                limits: KnownLimits::default(),
                unreadable: Mutex::default(),
                sizes: Sizes::default(),
                misjudges_assertions: AtomicBool::new(false),
            }),
            access,
            excluded: None,
            reads_own: false,
        };
        // A directory without schema, to read root DSE and schema.
        let blank = bare(&link, false, RootDse::default(), Arc::new(Schema::default()));
        let mut root_dse = match blank.read("", RootDse::ATTRIBUTES).await {
            Ok(entry) => entry.as_ref().map(RootDse::from_entry).unwrap_or_default(),
            Err(e) if e.code().is_some() => {
                tracing::warn!("the root DSE cannot be read ({e}); the server's features are not known");
                RootDse::default()
            }
            Err(e) => return Err(e),
        };
        let schema = blank.load_schema(&root_dse).await?;
        root_dse.recognize(&schema);
        // The connection may have been replaced meanwhile.
        let link =
            ActiveServer { server_id: root_dse.server_id.clone(), ..ActiveServer::clone(&blank.link()) };
        let directory = bare(&link, true, root_dse, schema);
        tracing::debug!("connected to {} ({})", directory.location(), directory.root_dse().vendor.name());
        Ok(directory)
    }

    pub(crate) fn misjudges_assertions(&self) -> bool {
        self.shared.misjudges_assertions.load(Ordering::Relaxed)
    }

    pub(crate) fn note_misjudged_assertion(&self) -> bool {
        !self.shared.misjudges_assertions.swap(true, Ordering::Relaxed)
    }

    /// Opens another connection to the server in use.
    async fn open_connection(&self) -> Result<connection::Connection, DirectoryError> {
        let link = self.link();
        let opened = connection::Connection::open(self.config(), &link.server, link.address).await;
        opened.map_err(|failure| match failure.error {
            // There was a connection before: this one is lost, not refused.
            DirectoryError::Connect { server, reason, .. } => DirectoryError::lost("connect", server, reason),
            other => other,
        })
    }

    fn link(&self) -> Arc<ActiveServer> {
        self.shared.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn pool(&self) -> &Pool {
        &self.shared.pool
    }

    /// Returns the server's root DSE.
    pub fn root_dse(&self) -> &RootDse {
        &self.shared.root_dse
    }

    /// Returns the server's schema.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.shared.schema
    }

    /// Logs and counts an entry that is left out because its DN is not UTF-8, once for each DN.
    pub fn note_unreadable(&self, dn: &str) {
        let mut known = self.shared.unreadable.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_UNREADABLE || !known.insert(dn.to_owned()) {
            return;
        }
        self.config().observer.unreadable(dn);
        if known.len() <= NAMED_UNREADABLE {
            tracing::warn!(
                dn,
                "the name of the entry `{dn}` is not UTF-8 (RFC 4514): the entry is left out; rename it. \\XX stands for an octet that is no text"
            );
        }
    }

    /// Returns the URL in use.
    pub fn location(&self) -> &str {
        &self.shared.location
    }

    /// Returns what the server reported about the password of the own bind: that it expires, or has expired.
    pub fn own_password(&self) -> Option<PasswordReport> {
        self.config().own_password.report()
    }

    /// Returns the attributes whose values must not be shown, by name, by the configuration and by the schema.
    pub fn secret_attributes(&self) -> &SecretAttributes {
        &self.shared.secrets
    }

    fn config(&self) -> &DirectoryConfig {
        &self.shared.config
    }

    /// Returns the maximum size limit of an unpaged search, as far as known.
    fn limits(&self) -> &KnownLimits {
        &self.shared.limits
    }

    fn manages_dsa_it(&self) -> bool {
        self.config().referrals == Referrals::Ignore && self.root_dse().supports_control(oid::MANAGE_DSA_IT)
    }

    /// Returns whether to search only this naming context: if references are ignored, and the server can omit them.
    fn stays_in_domain(&self) -> bool {
        self.config().referrals == Referrals::Ignore && self.root_dse().supports_control(oid::DOMAIN_SCOPE)
    }

    /// Returns whether adding existing values and deleting missing ones are not errors. Only used on Active Directory, where rereading a
    /// list of thousands takes many requests. OpenLDAP supports it too, but there the error is more useful: the entry is read again with
    /// all its changes. (Samba supports it, but not for linked attributes such as `member`.)
    fn is_permissive(&self) -> bool {
        self.root_dse().vendor == Vendor::ActiveDirectory
            && self.root_dse().supports_control(oid::PERMISSIVE_MODIFY)
    }

    /// Returns the shared connection, for everything but long answers.
    fn session(&self) -> SharedConnection {
        self.link().session.clone()
    }

    /// Parses a filter for this server: [`MATCH_ALL`] is replaced by [`RootDse::match_all`].
    ///
    /// # Errors
    /// Fails if the text is not a filter (RFC 4515).
    pub fn filter(&self, text: &str) -> Result<Filter, FilterError> {
        let filter = SearchFilter::from(text);
        self.wire_filter(&filter).map(Cow::into_owned)
    }

    /// Returns the filter of a request, with the same replacement.
    fn wire_filter<'f>(&self, filter: &'f SearchFilter) -> Result<Cow<'f, Filter>, FilterError> {
        let filter = filter.get().map_err(Clone::clone)?;
        if filter.is_match_all() && self.root_dse().finds_without_class() {
            return Filter::parse(self.root_dse().match_all()).map(Cow::Owned);
        }
        Ok(Cow::Borrowed(filter))
    }

    /// Begins a search. Nothing is sent before an item is requested.
    pub fn search(&self, request: SearchRequest) -> LdapSearch {
        LdapSearch::new(self.clone(), request)
    }

    /// Reads one entry, or returns `None` if it does not exist.
    ///
    /// # Errors
    /// Fails like a search of the entry. A missing entry is not an error.
    pub async fn read(&self, dn: &str, attributes: &[&str]) -> Result<Option<Entry>, DirectoryError> {
        let mut search = self.search(SearchRequest::new(dn, Scope::Base, MATCH_ALL, attributes));
        let mut found = None;
        loop {
            match search.next().await {
                Ok(Some(SearchItem::Entry(entry))) => found = Some(entry),
                Ok(Some(SearchItem::Reference(_) | SearchItem::Unreadable(_))) => {}
                Ok(None) => return Ok(found),
                Err(e) if e.is_no_such_object() => return Ok(None),
                Err(e) => return Err(e),
            }
        }
    }

    /// Applies one change with controls.
    ///
    /// # Errors
    /// Fails if the server refuses the change, if the connection is lost and cannot be restored, or if it remains unknown whether the
    /// change was made.
    pub async fn apply_with(&self, change: &Change, asked: &[WriteControl]) -> Result<(), DirectoryError> {
        self.access.may_change(change.operation(), change.dn())?;
        write_control::check(change, asked)?;
        let mut controls: Vec<Control> = asked.iter().map(request::control).collect();
        if self.manages_dsa_it() {
            controls.push(Control { oid: oid::MANAGE_DSA_IT.to_owned(), critical: false, value: None });
        }
        if is_unconditional(change) && self.is_permissive() {
            controls.push(Control { oid: oid::PERMISSIVE_MODIFY.to_owned(), critical: false, value: None });
        }
        self.make(change, &controls).await
    }

    /// Deletes an entry with its subtree by the server's control. Returns `false` if the server does not support it, or does not
    /// come to an end: what is left has to be deleted entry by entry.
    ///
    /// # Errors
    /// Fails if the server refuses the deletion.
    pub async fn delete_tree(&self, dn: &str) -> Result<bool, DirectoryError> {
        self.access.may_change("delete", dn)?;
        if !self.root_dse().supports_control(oid::TREE_DELETE) {
            return Ok(false);
        }
        for _ in 0..TREE_DELETE_PARTS {
            let controls = [Control { oid: oid::TREE_DELETE.to_owned(), critical: true, value: None }];
            // A deletion can be repeated.
            let result = self.change(&Change::Delete { dn: dn.to_owned() }, &controls).await?;
            match result.code {
                // A part was deleted: continue ([MS-ADTS] 3.1.1.5.5.7.3).
                result_code::ADMIN_LIMIT_EXCEEDED => {}
                result_code::UNAVAILABLE_CRITICAL_EXTENSION => return Ok(false),
                _ => return success("delete", dn, result).map(|()| true),
            }
        }
        Ok(false)
    }

    /// Sets a password by the Password Modify operation (RFC 3062). The bound user needs the right to.
    ///
    /// # Errors
    /// Fails if the server refuses it.
    pub async fn set_password(&self, dn: &str, password: &Secret) -> Result<(), DirectoryError> {
        self.access.may_change(PASSWORD_MODIFY, dn)?;
        // Not repeated: a password history would refuse it the second time.
        let request = || {
            let value = request::password_modify(dn, password.reveal().as_bytes());
            request::extended(oid::PASSWORD_MODIFY, Some(&value))
        };
        let reply = self.ask_once(PASSWORD_MODIFY, dn, request).await?;
        success(PASSWORD_MODIFY, dn, reply.result)
    }

    /// Returns the number of entries at which the server limited an unpaged search; `None` if no limit was reached.
    pub fn known_size_limit(&self) -> Option<u32> {
        let limit = self.limits().unpaged();
        (limit < u32::MAX).then_some(limit)
    }

    /// Checks the access only: changes are durable already.
    pub(crate) fn commit(&self) -> Result<(), DirectoryError> {
        self.access.may_change("commit", self.location())
    }

    /// Unbinds and closes all connections.
    pub async fn close(self) {
        self.pool().close().await;
        self.shared.writes.close().await;
        self.shared.binds.close().await;
        self.session().close().await;
    }
}

fn success(operation: &'static str, dn: &str, result: LdapResult) -> Result<(), DirectoryError> {
    let LdapResult { code, matched, text, .. } = result;
    if code == result_code::SUCCESS {
        return Ok(());
    }
    Err(DirectoryError::Operation { operation, dn: dn.to_owned(), code, matched, text })
}
