//! A user as applications see it.

use ldap_directory::Directory;
use ldap_directory::dn::Dn;
use ldap_directory::entry::Entry;
use ldap_directory::secret::SecretAttributes;
use serde::Serialize;
use utoipa::ToSchema;

use super::account::PASSWORD_TIMES;
use super::find;
use super::roles::Membership;
use crate::config::{Scope, UsersConfig};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct User {
    /// The immutable id of the entry, the same as in SCIM. Never empty: it is the key of applications.
    pub id: String,
    /// The login name as the entry spells it, whatever was typed.
    pub username: String,
    /// `displayName`, else `cn`; without those that are secret.
    pub display_name: Option<String>,
    /// The first `mail`, if it is not secret.
    pub email: Option<String>,
    /// The DN of the entry.
    pub dn: String,
    /// The DNs of the groups, sorted.
    pub groups: Vec<String>,
    /// The roles, sorted.
    pub roles: Vec<String>,
    /// The scopes of the roles, for callers with a token.
    #[serde(skip)]
    pub scopes: Vec<Scope>,
    /// When the password was changed, if the directory shows it: a session ends with the password that began it.
    #[serde(skip)]
    pub password_time: Option<String>,
}

impl User {
    pub(super) fn of(
        id: String,
        username: String,
        entry: &Entry,
        membership: Membership,
        secrets: &SecretAttributes,
    ) -> Self {
        let text = |name: &str| entry.first_text(name).map(str::to_owned);
        let shown = |name: &str| text(name).filter(|_| !secrets.contains(name));
        let Membership { groups, roles, scopes } = membership;
        Self {
            id,
            username,
            display_name: shown("displayName").or_else(|| shown("cn")),
            email: shown("mail"),
            dn: entry.dn.clone(),
            groups,
            roles,
            scopes,
            password_time: PASSWORD_TIMES.iter().find_map(|name| text(name)),
        }
    }
}

/// Returns the entry's own login name: of the first login attribute; of several values the one in its RDN, else the first in their order,
/// so that an application always sees the same one (trap 11). `None` without the attribute: a value of another one may be somebody else's
/// name.
pub(super) fn username(users: &UsersConfig, directory: &Directory, entry: &Entry) -> Option<String> {
    let schema = directory.schema();
    let attribute = find::login_attributes(users, directory.root_dse().vendor).into_iter().next()?;
    let mut values: Vec<&str> = schema
        .values_of(entry, &attribute)
        .iter()
        .filter_map(|value| std::str::from_utf8(value).ok())
        .collect();
    values.sort_unstable();
    let in_rdn = Dn::parse(&entry.dn).ok().and_then(|dn| dn.rdns.into_iter().next()).and_then(|rdn| {
        let ava = rdn.avas.into_iter().find(|ava| schema.same_description(&ava.attribute, &attribute))?;
        values.iter().find(|value| schema.values_match(&attribute, value.as_bytes(), &ava.value)).copied()
    });
    in_rdn.or_else(|| values.first().copied()).map(str::to_owned)
}
