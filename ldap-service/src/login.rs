//! Logins: the user is found, exactly one bind checks the password, and the answer tells nothing to strangers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use http::StatusCode;
use ldap_directory::client::{Authentication, PasswordState, Refusal};
use ldap_directory::dn::{Dn, DnKey, Rdn};
use ldap_directory::entry::Entry;
use ldap_directory::secret::NonEmptyPassword;
use ldap_directory::text::printable_line;
use ldap_directory::{Directory, DirectoryError};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::config::{Config, JwtConfig, LoginConfig};
use crate::directory::DirectoryHandle;
use crate::error::{AnswerAt, ApiError};
use crate::unseen;
use crate::write::Writer;

mod account;
mod answers;
mod find;
mod left_out;
mod mark;
mod only_grace;
mod pace;
mod roles;
mod throttle;
mod user;

pub use account::Unusable;
pub(crate) use account::{days, deciding, out_of_days, out_of_days_filter};
pub use find::{id, login_attributes};
pub(crate) use mark::{OFF, is_off};
pub(crate) use roles::{hidden as hidden_of_groups, limited, role_name, unsearchable};
pub use user::User;

use answers::{check_server, not_usable, outage, refused, throttled, unusable};
use find::Fitting;
use left_out::LeftOut;
use only_grace::OnlyGrace;
use pace::Pace;
use throttle::{Attempt, Throttle};

/// Why an account without a name of its own cannot be used.
const NO_NAME: &str = "it has no login name that is its own alone";
/// The window of the limit for each address.
const MINUTE: Duration = Duration::from_secs(60);

/// The SHA-256 of a name: what is remembered of it has one size, whatever strangers type.
type NameDigest = [u8; 32];

fn digest(name: &[u8]) -> NameDigest {
    Sha256::digest(name).into()
}

/// What logins remember.
#[derive(Debug, Clone)]
pub struct Login {
    /// Failures of login names in their canonical form.
    names: Throttle<NameDigest>,
    /// Failures of entries, whatever name was typed.
    entries: Throttle<NameDigest>,
    addresses: Throttle<IpAddr>,
    pace: Arc<Pace>,
    left_out: LeftOut,
    only_grace: OnlyGrace,
    /// The RDN of an entry that cannot exist.
    decoy: Rdn,
}

/// A successful login.
#[derive(Debug, Clone)]
pub struct LoggedIn {
    /// The user.
    pub user: User,
    /// What the directory reports about the password.
    pub password: PasswordState,
}

/// What a client sent to log in.
#[derive(Debug)]
pub struct Credentials {
    /// The login name.
    pub name: String,
    /// The password, if it is not empty.
    pub password: Option<NonEmptyPassword>,
    /// The client's address, if logins from there are limited.
    pub address: Option<IpAddr>,
}

impl Login {
    /// Returns the memory of logins. That of an `earlier` generation goes on.
    pub fn new(config: &LoginConfig, earlier: Option<&Login>) -> Self {
        let window = config.window();
        if let Some(earlier) = earlier.filter(|earlier| earlier.names.window() == window) {
            return earlier.clone();
        }
        Self {
            names: Throttle::new(window),
            entries: Throttle::new(window),
            addresses: Throttle::new(MINUTE),
            pace: Arc::default(),
            left_out: LeftOut::new(),
            only_grace: OnlyGrace::new(),
            decoy: Rdn::single("cn", uuid::Uuid::new_v4().hyphenated().to_string()),
        }
    }

    /// Checks a name and a password by exactly one bind, and looks up groups and roles.
    ///
    /// # Errors
    /// 401 with one text and one time for an unknown name, one that fits several entries, a wrong password and a locked account; 403 if the
    /// password is right and the account cannot be used; 429 after too many failures; 503 if the directory cannot tell.
    pub async fn check(
        &self,
        config: &Config,
        handle: &DirectoryHandle,
        writer: &Writer,
        credentials: Credentials,
    ) -> Result<LoggedIn, ApiError> {
        let began = Instant::now();
        let directory = handle.get()?;
        check_server(&directory)?;
        // Nothing is sent: it would bind anonymously, and succeed (trap 1).
        let Some(password) = &credentials.password else { return Err(refused()) };
        // It fits nobody, and nothing of it is kept.
        if credentials.name.len() > find::LONGEST_NAME {
            return Err(refused());
        }
        let most = config.login.per_address_per_minute;
        let from = match credentials.address {
            Some(address) => self.addresses.begin(network(address), most).await.map_err(throttled)?,
            None => Attempt::uncounted(),
        };
        let name = digest(&find::canonical_name(&config.users, &directory, &credentials.name));
        let named = self.names.begin(name, config.login.max_failures).await.map_err(throttled)?;
        let checked = self.bind(config, handle, writer, &credentials.name, password).await;
        match checked {
            Ok(Checked::Refused { took_a_hash }) => {
                named.failed();
                from.failed();
                if took_a_hash {
                    self.pace.note(began.elapsed());
                }
                // The caller gives its permit back before it waits: wrong passwords must not keep others out.
                Err(ApiError { answer_at: Some(AnswerAt(self.pace.end(began))), ..refused() })
            }
            Ok(Checked::Proven(entry, outcome)) => {
                named.succeeded();
                drop(from);
                let password = outcome.map_err(not_usable)?;
                mark::check(&config.users, directory.schema(), &entry, Utc::now()).map_err(|why| {
                    tracing::info!(dn = entry.dn, "login refused: {why:?}");
                    not_usable(why.into())
                })?;
                let found_by = FoundBy::Login(&credentials.name);
                let user = Box::pin(describe(config, handle, &entry, &found_by)).await?;
                Ok(LoggedIn { user, password })
            }
            Err(error) => Err(error),
        }
    }

    /// Finds the entry, and binds once: with its DN, or with one that does not exist, which costs about the same.
    async fn bind(
        &self,
        config: &Config,
        handle: &DirectoryHandle,
        writer: &Writer,
        name: &str,
        password: &NonEmptyPassword,
    ) -> Result<Checked, ApiError> {
        let directory = &handle.get()?;
        let attributes = login_attributes(&config.users, directory.root_dse().vendor);
        let fitting = find::by_name(&config.users, directory, &attributes, name);
        let entry = match fitting.await.map_err(outage)? {
            Fitting::One(entry) => entry,
            Fitting::None => {
                check_searchable(config, handle, directory).await?;
                self.left_out.look(&config.users, directory, name);
                return self.bind_in_vain(config, directory, password).await;
            }
            Fitting::Several(dns) => {
                let names = quoted(&dns);
                tracing::warn!(
                    ?dns,
                    "a login name fits more than one entry, and nobody can log in with it: {names}; make the values of login_attributes unique"
                );
                return self.bind_in_vain(config, directory, password).await;
            }
            Fitting::Referral => return Err(ApiError::directory_unavailable()),
        };
        // Wrong passwords would lock it, and with it the whole service.
        if writer.is_bound_as(directory, &entry).await? {
            tracing::warn!(
                dn = entry.dn,
                "login refused: the entry is the one that the service binds as, and nobody can log in with it"
            );
            return self.bind_in_vain(config, directory, password).await;
        }
        let key = DnKey::parse(&entry.dn, directory.schema());
        let key = key.map_or_else(|_| digest(entry.dn.as_bytes()), |key| digest(key.as_octets()));
        // Failures by another of its names. 429 would tell that both are one.
        let Ok(counted) = self.entries.begin(key, config.login.max_failures).await else {
            tracing::warn!(
                dn = entry.dn,
                "login refused: too many failures of this entry by its other names"
            );
            return self.bind_in_vain(config, directory, password).await;
        };
        let refused = |counted: Attempt, took_a_hash| {
            counted.failed();
            Ok(Checked::Refused { took_a_hash })
        };
        match authenticate(directory, &entry.dn, password).await.map_err(outage)? {
            Authentication::Accepted(state) => {
                counted.succeeded();
                let outcome = if state.must_change { Err(Refusal::MustChange) } else { Ok(state) };
                Ok(Checked::Proven(entry, outcome))
            }
            Authentication::Refused(why) => {
                counted.succeeded();
                tracing::info!(
                    dn = entry.dn,
                    "login refused by the directory after the right password: {why:?}"
                );
                Ok(Checked::Proven(entry, Err(why)))
            }
            Authentication::WrongCredentials => {
                tracing::info!(dn = entry.dn, "login refused: wrong password");
                refused(counted, true)
            }
            Authentication::Locked => {
                tracing::info!(
                    dn = entry.dn,
                    "login refused: the account is locked or disabled in the directory"
                );
                refused(counted, false)
            }
            Authentication::Referral(urls) => {
                tracing::warn!(
                    dn = entry.dn,
                    ?urls,
                    "login refused: the entry is on another server (never followed)"
                );
                Err(ApiError::directory_unavailable())
            }
            Authentication::Unavailable { code, text } => {
                tracing::warn!(code, "a login could not be checked: {text}");
                Err(ApiError::directory_unavailable())
            }
            _ => Err(ApiError::directory_unavailable()),
        }
    }

    /// Binds as an entry that does not exist.
    async fn bind_in_vain(
        &self,
        config: &Config,
        directory: &Directory,
        password: &NonEmptyPassword,
    ) -> Result<Checked, ApiError> {
        let base = Dn::parse(&config.users.base_dn).unwrap_or_default();
        let dn = base.child(self.decoy.clone()).to_string();
        match authenticate(directory, &dn, password).await {
            // A server that refuses the DN in another way has answered nevertheless.
            Err(error) if error.is_connection() || error.is_outcome_unknown() => Err(outage(error)),
            Ok(Authentication::Unavailable { .. }) => Err(ApiError::directory_unavailable()),
            Ok(Authentication::Accepted(_)) => {
                tracing::error!(
                    dn,
                    "the directory accepts a bind of an entry that does not exist: no login can be trusted"
                );
                Err(ApiError::directory_unavailable())
            }
            Ok(_) | Err(_) => Ok(Checked::Refused { took_a_hash: false }),
        }
    }

    /// Returns the user of a name that a token proves: its entry is looked up, and must be enabled. The name is compared with the one
    /// attribute of the setting (`jwt.username_attribute`), so that nobody takes it from its owner by another attribute.
    ///
    /// # Errors
    /// 401 if the name fits no entry, or several; 403 if the account cannot be used; 503 if the directory cannot tell.
    pub async fn user_of_token(
        config: &Config,
        jwt: &JwtConfig,
        handle: &DirectoryHandle,
        name: &str,
    ) -> Result<User, ApiError> {
        let directory = handle.get()?;
        let login = login_attributes(&config.users, directory.root_dse().vendor);
        let attribute = jwt.attribute_of_name(&login).to_owned();
        let compared = std::slice::from_ref(&attribute);
        let fitting = find::by_name(&config.users, &directory, compared, name).await.map_err(outage)?;
        if matches!(fitting, Fitting::None) {
            tracing::info!(
                attribute,
                "a token is refused: no user has the name in it as a value of `{attribute}` (jwt.username_attribute)"
            );
        }
        enabled(config, handle, fitting, &FoundBy::Token { name, attribute: &attribute }).await
    }

    /// As [`Self::user_of_token`], by the immutable id.
    ///
    /// # Errors
    /// As [`Self::user_of_token`].
    pub async fn user_of_id(config: &Config, handle: &DirectoryHandle, id: &str) -> Result<User, ApiError> {
        let directory = handle.get()?;
        let fitting = find::by_id(&config.users, &directory, id).await.map_err(outage)?;
        enabled(config, handle, fitting, &FoundBy::Id).await
    }
}

/// What the entry of a user was found by.
enum FoundBy<'n> {
    /// A login name: no login attribute of another user has it.
    Login(&'n str),
    /// The name in a token: this attribute of no other user has it.
    Token { name: &'n str, attribute: &'n str },
    /// The immutable id.
    Id,
}

impl FoundBy<'_> {
    /// Returns the attributes in which nobody else may have the user's own name, of all login attributes. For a token it is the one that
    /// the name is of: whoever writes it into another attribute must not lock its owner out.
    fn own_in<'a>(&self, login: &'a [String]) -> &'a [String] {
        match self {
            FoundBy::Login(_) | FoundBy::Id => login,
            FoundBy::Token { .. } => login.get(..1).unwrap_or(login),
        }
    }

    /// Whether the search for the entry has shown already that nobody else has a name in these attributes.
    fn proves(&self, own: &str, attributes: &[String]) -> bool {
        match self {
            // In another spelling, the directory may have compared it with other attributes, or not at all: `ſ` is an `s` for some of them.
            FoundBy::Login(name) => *name == own,
            FoundBy::Token { name, attribute } => {
                *name == own && attributes.iter().all(|compared| compared.eq_ignore_ascii_case(attribute))
            }
            FoundBy::Id => false,
        }
    }
}

/// The outcome of the one bind.
enum Checked {
    /// Nothing shows that the password is right.
    Refused {
        /// Whether the server compared the password.
        took_a_hash: bool,
    },
    /// The password is right.
    Proven(Box<Entry>, Result<PasswordState, Refusal>),
}

/// Checks a password on a server. Errors are an outage: nothing is known about the password.
async fn authenticate(
    directory: &Directory,
    dn: &str,
    password: &NonEmptyPassword,
) -> Result<Authentication, DirectoryError> {
    match directory {
        Directory::Ldap(server) => server.authenticate(dn, password).await,
        Directory::Ldif(_) | Directory::Preview(_) => Err(DirectoryError::Protocol {
            operation: "bind",
            dn: dn.to_owned(),
            reason: "a file checks no password: logins need a server (`server_url`)".to_owned(),
            outcome_unknown: false,
        }),
    }
}

async fn enabled(
    config: &Config,
    handle: &DirectoryHandle,
    fitting: Fitting,
    found_by: &FoundBy<'_>,
) -> Result<User, ApiError> {
    let entry = match fitting {
        Fitting::One(entry) => entry,
        Fitting::None => {
            check_searchable(config, handle, &handle.get()?).await?;
            return Err(ApiError::unauthorized());
        }
        Fitting::Several(dns) => {
            tracing::warn!(?dns, "a name fits more than one entry: {}", quoted(&dns));
            return Err(ApiError::unauthorized());
        }
        Fitting::Referral => return Err(ApiError::directory_unavailable()),
    };
    let usable = mark::check(&config.users, handle.get()?.schema(), &entry, Utc::now());
    usable.map_err(|why| not_usable(why.into()))?;
    Box::pin(describe(config, handle, &entry, found_by)).await
}

/// Checks that users can be found at all: what the service's user may not search fits nobody, whoever is there.
async fn check_searchable(
    config: &Config,
    handle: &DirectoryHandle,
    directory: &Directory,
) -> Result<(), ApiError> {
    let (users, vendor) = (&config.users, directory.root_dse().vendor);
    let logins = login_attributes(users, vendor);
    let names: Vec<&str> =
        logins.iter().map(String::as_str).chain(vendor.immutable_ids().iter().copied()).collect();
    let find_out = unseen::unsearchable_below(directory, &users.base_dn, users.filter.on(vendor), &names);
    let hidden = handle.rights.get("users".to_owned(), find_out).await.map_err(outage)?;
    hidden.map_or(Ok(()), |hidden| Err(hidden.into()))
}

/// Returns the user of an entry.
///
/// What applications know a user by belongs to the entry alone: the id, and the name as a login name.
async fn describe(
    config: &Config,
    handle: &DirectoryHandle,
    entry: &Entry,
    found_by: &FoundBy<'_>,
) -> Result<User, ApiError> {
    let (users, directory) = (&config.users, &handle.get()?);
    let Some(id) = find::id(directory, entry).filter(|id| !id.is_empty()) else {
        let detail =
            "the service's user may not see the immutable id of users (entryUUID, nsUniqueId or objectGUID)";
        tracing::error!(dn = entry.dn, "{detail}: applications could not tell users apart");
        return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "misconfigured", detail));
    };
    if !matches!(found_by, FoundBy::Id) {
        find::check_id((users, directory), entry, &id).await?;
    }
    let Some(username) = user::username(users, directory, entry) else {
        tracing::warn!(
            dn = entry.dn,
            "login refused: the entry has no value of the first of login_attributes"
        );
        return Err(unusable(NO_NAME));
    };
    let login = login_attributes(users, directory.root_dse().vendor);
    let attributes = found_by.own_in(&login);
    let is_own = async {
        if found_by.proves(&username, attributes) {
            return Ok(true);
        }
        Ok(match find::by_name(users, directory, attributes, &username).await? {
            Fitting::One(found) => is_same_dn(directory, &found.dn, &entry.dn),
            Fitting::None | Fitting::Referral => false,
            Fitting::Several(dns) => {
                tracing::warn!(?dns, "the name of a user fits more than one entry: {}", quoted(&dns));
                false
            }
        })
    };
    let state = account::hidden(config, directory, entry);
    let groups = roles::hidden(config, handle, directory);
    let all = futures_util::try_join!(roles::of(config, directory, entry), is_own, state, groups);
    let (membership, is_own, state, groups) = all.map_err(outage)?;
    if let Some(hidden) = state.or(groups) {
        return Err(hidden.into());
    }
    if !is_own {
        tracing::warn!(
            dn = entry.dn,
            "login refused: `{username}`, the name of the entry, is not its own alone"
        );
        return Err(unusable(NO_NAME));
    }
    Ok(User::of(id, username, entry, membership, directory.secret_attributes()))
}

fn is_same_dn(directory: &Directory, a: &str, b: &str) -> bool {
    let key = |dn: &str| DnKey::parse(dn, directory.schema()).ok();
    a == b || key(a).is_some_and(|of_a| key(b) == Some(of_a))
}

/// Returns the DNs that a name fits, for the text of a line in the log.
fn quoted(dns: &[String]) -> String {
    dns.iter().map(|dn| format!("`{}`", printable_line(dn))).collect::<Vec<_>>().join(", ")
}

/// Returns the addresses that count as one: an IPv6 client usually has a network of 64 bits.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

#[cfg(test)]
mod tests;
