//! The filters of users and groups, whose defaults depend on the server.

use std::sync::LazyLock;

use ldap_directory::Vendor;
use ldap_directory::filter::Filter;

/// The users of servers other than Active Directory.
const PEOPLE: &str = "(objectClass=person)";
/// Those of Active Directory, where computers and managed service accounts are a kind of `user`, and so are accounts of trusts
/// (`INTERDOMAIN_TRUST_ACCOUNT` of `userAccountControl`, [MS-ADTS] 2.2.16).
const ACCOUNTS: &str =
    "(&(objectClass=user)(!(objectClass=computer))(!(userAccountControl:1.2.840.113556.1.4.803:=2048)))";
/// The groups.
const GROUPS: &str = "(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=group)(objectClass=posixGroup))";

/// The setting `users.filter` or `groups.filter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFilter {
    usual: Filter,
    /// The default of Active Directory, if it is another one.
    active_directory: Option<Filter>,
    is_default: bool,
}

/// Returns a filter of this program.
fn parsed(text: &str) -> Filter {
    // One that cannot be parsed would match everything: a test parses them.
    Filter::parse(text).unwrap_or_else(|_| Filter::Or(Vec::new()))
}

static USERS: LazyLock<OwnFilter> = LazyLock::new(|| OwnFilter {
    usual: parsed(PEOPLE),
    active_directory: Some(parsed(ACCOUNTS)),
    is_default: true,
});

static OF_GROUPS: LazyLock<OwnFilter> =
    LazyLock::new(|| OwnFilter { usual: parsed(GROUPS), active_directory: None, is_default: true });

impl OwnFilter {
    /// Returns the default of users.
    pub(super) fn users() -> Self {
        USERS.clone()
    }

    /// Returns the default of groups.
    pub(super) fn groups() -> Self {
        OF_GROUPS.clone()
    }

    /// Returns the filter on a kind of server.
    pub fn on(&self, vendor: Vendor) -> &Filter {
        match (&self.active_directory, vendor) {
            (Some(filter), Vendor::ActiveDirectory) => filter,
            _ => &self.usual,
        }
    }

    /// Returns the filter on other servers than Active Directory: what a setting says, is this.
    pub fn usual(&self) -> &Filter {
        &self.usual
    }

    /// Whether it is the default: that names classes of several servers, of which no server has all.
    pub fn is_default(&self) -> bool {
        self.is_default
    }
}

impl From<Filter> for OwnFilter {
    fn from(filter: Filter) -> Self {
        Self { usual: filter, active_directory: None, is_default: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_of_users_depends_on_the_server() {
        let users = OwnFilter::users();
        assert_eq!(users.on(Vendor::OpenLdap).to_string(), PEOPLE);
        assert_eq!(users.on(Vendor::ActiveDirectory).to_string(), ACCOUNTS);
        assert_eq!(OwnFilter::groups().on(Vendor::ActiveDirectory).to_string(), GROUPS);
        let given = OwnFilter::from(parsed("(uid=*)"));
        assert_eq!(given.on(Vendor::ActiveDirectory).to_string(), "(uid=*)");
        assert!(users.is_default() && !given.is_default());
    }
}
