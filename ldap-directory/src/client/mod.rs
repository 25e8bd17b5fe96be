//! A directory server: changes, small reads and extended operations over one connection, many at a time; long answers over
//! connections of their own.

use crate::oid;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use self::connect::ActiveServer;
use self::large::Sizes;
use self::pool::Pool;
use self::probe::Step;

use self::shared_connection::SharedConnection;
use crate::change::Change;
use crate::config::{DirectoryConfig, Referrals, ServerUrl};
use crate::directory::{Access, Scope, SearchFilter, SearchItem, SearchRequest};
use crate::entry::Entry;
use crate::error::DirectoryError;
use crate::filter::{Filter, FilterError};
use crate::protocol::controls::SearchControl;
use crate::protocol::message::{Control, LdapResult};
use crate::protocol::{request, result_code};
use crate::root_dse::{MATCH_ALL, RootDse, Vendor};
use crate::schema::{Coverage, Schema};
use crate::secret::{Secret, SecretAttributes};
use crate::write_control::WriteControl;

mod addresses;
pub mod change_notices;
mod connect;
mod connection;
pub mod content_sync;
#[doc(hidden)]
pub mod fuzzing;
mod large;
mod pool;
pub mod probe;
mod referral;
mod retry;
mod search;
mod shared_connection;
pub mod tls;

pub use crate::protocol::entry::WireEntry;
pub use retry::Attempts;
pub use search::LdapSearch;

/// How often a tree deletion is sent again that stopped at the server's limit for one (16,384 entries on Active
/// Directory): enough for a billion entries, and an end for a server that says so for ever.
const TREE_DELETE_PARTS: u32 = 65_536;

/// The name of the operation in messages.
pub const PASSWORD_MODIFY: &str = "password modify";

/// Whether a change is a modify that may pass over values that are there or gone already. Of `userAccountControl` the old value
/// is deleted to be sure that it is still there: its other bits are somebody else's.
fn is_unconditional(change: &Change) -> bool {
    let Change::Modify { changes, .. } = change else { return false };
    !changes.iter().any(|m| m.description.eq_ignore_ascii_case("userAccountControl"))
}

/// So many entries whose names are not UTF-8 are told apart.
const MOST_UNREADABLE: usize = 100_000;
/// So many of them are named in the log; the others are only counted.
const NAMED_UNREADABLE: usize = 10;

/// A connected, bound server. Clones share the connection; operations are multiplexed on it.
#[derive(Clone)]
pub struct LdapDirectory {
    shared: Arc<Shared>,
}

struct Shared {
    /// Replaced when the connection was lost and opened anew.
    link: RwLock<Arc<ActiveServer>>,
    /// Connections for streamed searches.
    pool: Pool,
    config: DirectoryConfig,
    /// Whether what servers count is compared from run to run, so that not every one may take over.
    keeps_positions: bool,
    /// One new connection at a time.
    replacing: tokio::sync::Mutex<()>,
    /// What referrals lead to, by URL.
    others: tokio::sync::Mutex<HashMap<String, LdapDirectory>>,
    /// The connection whose loss was told of.
    told: AtomicU64,
    location: String,
    /// Whether root DSE and schema are read.
    is_known: bool,
    root_dse: RootDse,
    schema: Arc<Schema>,
    secrets: SecretAttributes,
    /// Entries that the server is known to give without pages.
    size_limit: AtomicU32,
    /// The names met that are not UTF-8, escaped.
    unreadable: Mutex<BTreeSet<String>>,
    sizes: Sizes,
}

impl std::fmt::Debug for LdapDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LdapDirectory").field("location", &self.shared.location).finish_non_exhaustive()
    }
}

impl LdapDirectory {
    /// Connects, binds, and reads root DSE and subschema.
    pub async fn open(config: &DirectoryConfig, access: Access) -> Result<Self, DirectoryError> {
        let servers: Vec<connect::Candidate> = config.servers.iter().map(|s| (s.clone(), None)).collect();
        // Who it is is found out below.
        let link = Box::pin(connect::connect(config, &servers, 0, None)).await?;
        Self::over(config, access, link).await
    }

    /// The same for one server, without trying again, step by step: each step that was made, and how it went.
    pub async fn open_by_steps(
        config: &DirectoryConfig,
        access: Access,
        server: &ServerUrl,
    ) -> (Vec<Step>, Result<Self, DirectoryError>) {
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
                config: config.clone(),
                keeps_positions: access == Access::Read,
                replacing: tokio::sync::Mutex::default(),
                others: tokio::sync::Mutex::default(),
                told: AtomicU64::new(u64::MAX),
                location: link.server.to_text(),
                is_known,
                root_dse,
                secrets: SecretAttributes::of(&config.secret_attributes, &schema),
                schema,
                size_limit: AtomicU32::new(u32::MAX),
                unreadable: Mutex::default(),
                sizes: Sizes::default(),
            }),
        };
        // A directory that knows nothing yet, to read what it has to know.
        let blank = bare(&link, false, RootDse::default(), Arc::new(Schema::default()));
        let root_dse = match blank.read("", RootDse::ATTRIBUTES).await {
            Ok(entry) => entry.as_ref().map(RootDse::from_entry).unwrap_or_default(),
            Err(e) if e.code().is_some() => {
                tracing::warn!("the root DSE cannot be read ({e}); the server's features are not known");
                RootDse::default()
            }
            Err(e) => return Err(e),
        };
        let schema = blank.load_schema(&root_dse).await?;
        // It may have been another connection than the first by then.
        let link =
            ActiveServer { server_id: root_dse.server_id.clone(), ..ActiveServer::clone(&blank.link()) };
        let directory = bare(&link, true, root_dse, schema);
        tracing::debug!("connected to {} ({})", directory.location(), directory.root_dse().vendor.name());
        Ok(directory)
    }

    /// Opens a connection of our own to the server in use.
    async fn open_connection(&self) -> Result<connection::Connection, DirectoryError> {
        let link = self.link();
        let opened = connection::Connection::open(self.config(), &link.server, link.address).await;
        opened.map_err(|failure| match failure.error {
            // In the middle of a run: there was one before.
            DirectoryError::Connect { server, reason, .. } => {
                DirectoryError::Lost { operation: "connect", dn: server, reason }
            }
            other => other,
        })
    }

    fn link(&self) -> Arc<ActiveServer> {
        self.shared.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn pool(&self) -> &Pool {
        &self.shared.pool
    }

    async fn load_schema(&self, root_dse: &RootDse) -> Result<Arc<Schema>, DirectoryError> {
        let dn = root_dse.subschema.as_deref().unwrap_or("cn=subschema");
        let wanted = ["attributeTypes", "objectClasses", "dITContentRules", "matchingRules", "ldapSyntaxes"];
        let entry = match self.read(dn, &wanted).await {
            Ok(entry) => entry,
            Err(e) if e.code().is_some() => None,
            Err(e) => return Err(e),
        };
        let Some(entry) = entry.filter(|e| !e.values("attributeTypes").is_empty()) else {
            tracing::warn!(
                "the server's schema (`{dn}`) cannot be read; types come from the built-in standard schema. Let the bound user read it to have the server's own"
            );
            return Ok(Arc::new(Schema::standard().clone().assumed()));
        };
        let texts = |name| entry.values(name).iter().filter_map(|v| std::str::from_utf8(v).ok());
        let (mut schema, mut errors) = Schema::parse(texts("attributeTypes"), texts("objectClasses"));
        errors.extend(schema.add_content_rules(texts("dITContentRules")));
        for error in schema.add_matching_rules(texts("matchingRules")) {
            tracing::debug!("a matching rule of the schema is left out: {error}");
        }
        schema.add_syntaxes(texts("ldapSyntaxes"));
        let coverage = if errors.is_empty() { Coverage::Whole } else { Coverage::Part };
        if let Some(first) = errors.first() {
            tracing::warn!(
                definitions = errors.len(),
                "{} definition(s) of the server's schema cannot be read and are left out, the first of them: {first}",
                errors.len()
            );
        }
        for error in errors.iter().skip(1) {
            tracing::debug!("a definition of the schema is left out: {error}");
        }
        Ok(Arc::new(schema.with_coverage(coverage)))
    }

    /// What the server says of itself.
    pub fn root_dse(&self) -> &RootDse {
        &self.shared.root_dse
    }

    /// The server's schema.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.shared.schema
    }

    /// Warns of an entry that is left out because its name is not UTF-8, once, and counts it.
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

    /// The URL in use.
    pub fn location(&self) -> &str {
        &self.shared.location
    }

    /// The attributes whose values must not be shown, by name, by the configuration and by the schema.
    pub fn secret_attributes(&self) -> &SecretAttributes {
        &self.shared.secrets
    }

    fn config(&self) -> &DirectoryConfig {
        &self.shared.config
    }

    /// The most entries that an unpaged search may ask for, as far as is known.
    fn size_limit(&self) -> &AtomicU32 {
        &self.shared.size_limit
    }

    fn manages_dsa_it(&self) -> bool {
        self.config().referrals == Referrals::Ignore && self.root_dse().supports_control(oid::MANAGE_DSA_IT)
    }

    /// Whether to ask for this naming context only: where references would be ignored, and the server can leave them
    /// out.
    fn stays_in_domain(&self) -> bool {
        self.config().referrals == Referrals::Ignore && self.root_dse().supports_control(oid::DOMAIN_SCOPE)
    }

    /// Whether values that came or went since they were read are no error. Asked for on Active Directory alone, where to
    /// read a list of thousands anew takes many requests. OpenLDAP offers it, too; there the refusal is worth more, for the
    /// entry is read again with all that changed. (Samba heeds it, but not for linked attributes such as `member`.)
    fn is_permissive(&self) -> bool {
        self.root_dse().vendor == Vendor::ActiveDirectory
            && self.root_dse().supports_control(oid::PERMISSIVE_MODIFY)
    }

    /// The connection for all but long answers.
    fn session(&self) -> SharedConnection {
        self.link().session.clone()
    }

    /// The filter that the server is asked, for its text: the one place where everything is asked for by [`RootDse::match_all`].
    ///
    /// # Errors
    /// Fails if the text is no filter (RFC 4515).
    pub fn filter(&self, text: &str) -> Result<Filter, FilterError> {
        Filter::parse(if text == MATCH_ALL { self.root_dse().match_all() } else { text })
    }

    /// The same for the filter of a request.
    fn wire_filter(&self, filter: &SearchFilter) -> Result<Filter, FilterError> {
        let filter = filter.get().map_err(Clone::clone)?;
        if filter.is_match_all() { Filter::parse(self.root_dse().match_all()) } else { Ok(filter.clone()) }
    }

    /// Begins a search. Nothing is sent before somebody asks for an answer.
    pub fn search(&self, request: SearchRequest) -> LdapSearch {
        LdapSearch::new(self.clone(), request)
    }

    /// Reads one entry; `None` when there is none of that name.
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

    /// Carries out one change.
    pub async fn apply_with(&self, change: &Change, asked: &[WriteControl]) -> Result<(), DirectoryError> {
        let mut controls: Vec<Control> = asked.iter().map(request::control).collect();
        if self.manages_dsa_it() {
            controls.push(Control { oid: oid::MANAGE_DSA_IT.to_owned(), critical: false, value: None });
        }
        if is_unconditional(change) && self.is_permissive() {
            controls.push(Control { oid: oid::PERMISSIVE_MODIFY.to_owned(), critical: false, value: None });
        }
        self.make(change, &controls).await
    }

    /// Deletes an entry with all that lies below it, in the server. `false`: the server cannot do that, and nothing was
    /// done.
    pub async fn delete_tree(&self, dn: &str) -> Result<bool, DirectoryError> {
        if !self.root_dse().supports_control(oid::TREE_DELETE) {
            return Ok(false);
        }
        for _ in 0..TREE_DELETE_PARTS {
            let controls = [Control { oid: oid::TREE_DELETE.to_owned(), critical: true, value: None }];
            // What was deleted is gone, however often it is deleted.
            let result = self.change(&Change::Delete { dn: dn.to_owned() }, &controls).await?;
            match result.code {
                // A part is done: go on ([MS-ADTS] 3.1.1.5.5.7.3).
                result_code::ADMIN_LIMIT_EXCEEDED => {}
                result_code::UNAVAILABLE_CRITICAL_EXTENSION => return Ok(false),
                _ => return success("delete", dn, result).map(|()| true),
            }
        }
        Ok(false)
    }

    /// The Password Modify operation (RFC 3062), as the bound user, who needs the right to.
    pub async fn set_password(&self, dn: &str, password: &Secret) -> Result<(), DirectoryError> {
        // A password history would refuse it the second time.
        let request = || {
            let value = request::password_modify(dn, password.reveal().as_bytes());
            request::extended(oid::PASSWORD_MODIFY, Some(&value))
        };
        let reply = self.ask_once(PASSWORD_MODIFY, dn, request).await?;
        success(PASSWORD_MODIFY, dn, reply.result)
    }

    /// Whom the server takes us for (RFC 4532): an authzId, empty for nobody. `None`: it does not say.
    pub async fn who_am_i(&self) -> Result<Option<String>, DirectoryError> {
        let reply =
            self.session().ask("who am i", "", request::extended(oid::WHO_AM_I, None), Vec::new()).await?;
        if reply.result.code != result_code::SUCCESS {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&reply.value.unwrap_or_default()).into_owned()))
    }

    /// The bound user's rights on an entry, as letters (`entryLevelRights`), where the server tells them.
    pub async fn effective_rights(&self, dn: &str) -> Result<Option<String>, DirectoryError> {
        if !self.root_dse().supports_control(oid::EFFECTIVE_RIGHTS) {
            return Ok(None);
        }
        // An authzId, in the octets of the control: the bound user asks about itself.
        let who = self.who_am_i().await?.unwrap_or_default();
        let mut request = SearchRequest::new(dn, Scope::Base, "(objectClass=*)", &["entryLevelRights"]);
        request.controls = vec![SearchControl::EffectiveRights { who }];
        let mut search = self.search(request);
        let mut rights = None;
        while let Some(item) = search.next().await? {
            if let SearchItem::Entry(entry) = item {
                rights = entry.first_text("entryLevelRights").map(str::to_owned);
            }
        }
        Ok(rights)
    }

    /// The most entries that the server gave to an unpaged search that asked for more; `None` where no limit was met.
    pub fn known_size_limit(&self) -> Option<u32> {
        let limit = self.size_limit().load(std::sync::atomic::Ordering::Relaxed);
        (limit < u32::MAX).then_some(limit)
    }

    /// Unbinds.
    pub async fn close(self) {
        self.pool().close().await;
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
