//! The groups of a user, with groups in groups, and the roles that they give.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures_util::future::try_join_all;
use ldap_directory::dn::{Dn, DnKey};
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, Paging, SearchRequest, Vendor, oid};

use crate::config::{Config, GroupsConfig, Nested, RoleName, RoleRule, Scope};
use crate::directory::DirectoryHandle;
use crate::lookup;
use crate::members::{self, primary};
use crate::unseen::{self, Hidden};

/// The most levels of groups in groups.
const MOST_LEVELS: usize = 16;
/// The most groups of a user.
const MOST_GROUPS: usize = 10_000;
/// The most groups that are read without pages.
const FEW: u32 = 100;
/// The most names in one filter.
const NAMES_AT_ONCE: usize = 50;

/// The groups and roles of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Membership {
    /// The DNs of the groups, sorted.
    pub(super) groups: Vec<String>,
    /// The roles, sorted.
    pub(super) roles: Vec<String>,
    /// The scopes of the roles.
    pub(super) scopes: Vec<Scope>,
}

/// Returns the groups and roles of a user.
///
/// # Errors
/// A search fails.
pub(super) async fn of(
    config: &Config,
    directory: &Directory,
    user: &Entry,
) -> Result<Membership, DirectoryError> {
    let Some(groups) = &config.groups else { return Ok(Membership::default()) };
    let search = GroupSearch {
        directory,
        groups,
        bases: bases(groups, &config.roles, directory.schema()),
        attributes: role_attributes(&config.roles),
    };
    let found = search.of_user(user).await?;
    let (roles, scopes) = roles(&config.roles, &found, directory.schema());
    let groups: BTreeSet<String> = found.into_values().map(|group| group.dn).collect();
    Ok(Membership { groups: groups.into_iter().collect(), roles, scopes })
}

/// Returns the first of these users whose groups the directory does not show completely, for a limit of its own, with its answer.
///
/// # Errors
/// The directory cannot be asked.
pub(crate) async fn limited(
    config: &Config,
    directory: &Directory,
    users: &[Entry],
) -> Result<Option<(String, DirectoryError)>, DirectoryError> {
    for user in users {
        match of(config, directory, user).await {
            Err(error) if error.is_connection() => return Err(error),
            Err(error) if error.is_limit() => return Ok(Some((user.dn.clone(), error))),
            // Another check tells what is wrong.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(None)
}

/// The groups of each base that are looked at.
const SAMPLE: u32 = 20;

/// Returns an attribute of members that the service's user may not search in a group: nobody would have the group.
///
/// # Errors
/// A search fails.
pub(crate) async fn unsearchable(
    config: &Config,
    directory: &Directory,
) -> Result<Option<Hidden>, DirectoryError> {
    let Some(groups) = &config.groups else { return Ok(None) };
    let (vendor, schema) = (directory.root_dse().vendor, directory.schema());
    let mut names = members::by_dn(None, vendor, schema);
    names.extend(members::has_user_names(vendor, schema).then(|| members::MEMBER_UID.to_owned()));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for base in bases(groups, &config.roles, schema) {
        let place = (base.dn.as_str(), base.scope);
        let filter = groups.filter.on(vendor);
        let found = unseen::unsearchable(directory, place, filter, &names, SAMPLE).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The same, as it was found out within the last seconds.
///
/// # Errors
/// A search fails.
pub(crate) async fn hidden(
    config: &Config,
    handle: &DirectoryHandle,
    directory: &Directory,
) -> Result<Option<Hidden>, DirectoryError> {
    handle.rights.get("groups".to_owned(), unsearchable(config, directory)).await
}

/// Where groups are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Base {
    dn: String,
    scope: ldap_directory::Scope,
}

/// Returns where to search: the base of the groups, and what rules for roles name outside of it.
fn bases(groups: &GroupsConfig, rules: &[RoleRule], schema: &Schema) -> Vec<Base> {
    use ldap_directory::Scope::{Base as Entry, Subtree};
    let key = |dn: &str| DnKey::parse(dn, schema).unwrap_or_default();
    let mut bases = vec![Base { dn: groups.base_dn.clone(), scope: Subtree }];
    let mut covered = vec![key(&groups.base_dn)];
    let belows = rules.iter().filter_map(|rule| match &rule.role {
        RoleName::Below { below, .. } => Some(below),
        RoleName::Groups { .. } => None,
    });
    for below in belows {
        let own = key(below);
        if !covered.iter().any(|base| own.is_within(base)) {
            bases.push(Base { dn: below.clone(), scope: Subtree });
            covered.push(own);
        }
    }
    let named = rules.iter().flat_map(|rule| match &rule.role {
        RoleName::Groups { groups, .. } => groups.as_slice(),
        RoleName::Below { .. } => &[],
    });
    for dn in named {
        let own = key(dn);
        if !covered.iter().any(|base| own.is_within(base)) {
            bases.push(Base { dn: dn.clone(), scope: Entry });
            covered.push(own);
        }
    }
    bases
}

/// Returns the attributes of groups that rules name.
fn role_attributes(rules: &[RoleRule]) -> Vec<&str> {
    let names = rules.iter().filter_map(|rule| match &rule.role {
        RoleName::Below { attribute, .. } => Some(attribute.as_str()),
        RoleName::Groups { .. } => None,
    });
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() { vec!["1.1"] } else { names }
}

struct GroupSearch<'a> {
    directory: &'a Directory,
    groups: &'a GroupsConfig,
    bases: Vec<Base>,
    attributes: Vec<&'a str>,
}

type Groups = BTreeMap<DnKey, Entry>;

impl GroupSearch<'_> {
    /// Returns all groups of a user.
    async fn of_user(&self, user: &Entry) -> Result<Groups, DirectoryError> {
        if self.groups.nested == Nested::Auto && self.directory.root_dse().vendor == Vendor::ActiveDirectory {
            return match self.tokens(user).await? {
                Some(sids) => self.by_sids(&sids).await,
                None => self.by_chain(user).await,
            };
        }
        self.by_levels(user).await
    }

    /// Returns the SIDs of all groups of a user, which Active Directory computes (`tokenGroups`, [MS-ADTS] 3.1.1.4.5.19). `None` if it
    /// does not show them.
    async fn tokens(&self, user: &Entry) -> Result<Option<Vec<Vec<u8>>>, DirectoryError> {
        let read = self.directory.read(&user.dn, &["tokenGroups"]).await?;
        Ok(read.map(|entry| entry.values("tokenGroups").to_vec()).filter(|sids| !sids.is_empty()))
    }

    async fn by_sids(&self, sids: &[Vec<u8>]) -> Result<Groups, DirectoryError> {
        let mut found = Groups::new();
        for some in sids.chunks(NAMES_AT_ONCE) {
            let matches = some.iter().map(|sid| Filter::equality("objectSid", sid.clone())).collect();
            self.search(Filter::Or(matches), &mut found).await?;
        }
        Ok(found)
    }

    /// Finds all groups by Active Directory's rule for chains of members.
    async fn by_chain(&self, user: &Entry) -> Result<Groups, DirectoryError> {
        let mut found = Groups::new();
        let chain = |dn: &str| Filter::Extensible {
            rule: Some(oid::CHAIN_MATCH.to_owned()),
            attribute: Some("member".to_owned()),
            dn: false,
            value: dn.as_bytes().to_vec(),
        };
        let mut any = vec![chain(&user.dn)];
        // The rule follows `member` alone.
        if let Some(sid) = primary::group_of(user) {
            let by_sid = primary::by_sid(&sid);
            let domain = self.directory.root_dse().default_naming_context.as_deref().unwrap_or_default();
            let subtree = ldap_directory::Scope::Subtree;
            let group = lookup::find(self.directory, domain, subtree, by_sid.clone(), &["1.1"], 1).await?;
            any.extend(group.iter().map(|group| chain(&group.dn)));
            any.push(by_sid);
        }
        self.search(Filter::Or(any), &mut found).await?;
        Ok(found)
    }

    /// Finds the groups level by level: those that have the user as a member, then those that have these, and so on.
    async fn by_levels(&self, user: &Entry) -> Result<Groups, DirectoryError> {
        let (schema, vendor) = (self.directory.schema(), self.directory.root_dse().vendor);
        let levels = if self.groups.nested == Nested::Auto { MOST_LEVELS } else { 1 };
        let mut found = Groups::new();
        let mut visited: HashSet<DnKey> = HashSet::new();
        let mut filters = vec![self.direct(user)];
        for level in 1.. {
            let mut next = Groups::new();
            for filter in std::mem::take(&mut filters) {
                self.search(filter, &mut next).await?;
            }
            next.retain(|key, _| visited.insert(key.clone()));
            let dns: Vec<String> = next.values().map(|group| group.dn.clone()).collect();
            found.append(&mut next);
            if dns.is_empty() || self.groups.nested == Nested::Off {
                break;
            }
            if level >= levels || found.len() >= MOST_GROUPS {
                tracing::warn!(
                    dn = user.dn,
                    levels = level,
                    groups = found.len(),
                    "the groups of `{}` are nested deeper than {MOST_LEVELS} levels, or more than {MOST_GROUPS}: further ones are left out",
                    user.dn
                );
                break;
            }
            filters = dns.chunks(NAMES_AT_ONCE).map(|some| named(vendor, schema, some)).collect();
        }
        Ok(found)
    }

    /// Returns the filter of the groups that have a user as a member: by DN, by `uid` in classes of RFC 2307, or as the primary group.
    fn direct(&self, user: &Entry) -> Filter {
        let (schema, vendor) = (self.directory.schema(), self.directory.root_dse().vendor);
        let Filter::Or(mut any) = named(vendor, schema, std::slice::from_ref(&user.dn)) else {
            return Filter::Or(Vec::new());
        };
        if members::has_user_names(vendor, schema) {
            let uids = schema.values_of(user, members::UID).iter();
            any.extend(uids.map(|uid| Filter::equality(members::MEMBER_UID, uid.clone())));
        }
        if primary::exist(vendor) {
            any.extend(primary::group_of(user).map(|sid| primary::by_sid(&sid)));
        }
        Filter::Or(any)
    }

    /// Adds the groups that match. A base that is not there has none.
    async fn search(&self, filter: Filter, found: &mut Groups) -> Result<(), DirectoryError> {
        let own = self.groups.filter.on(self.directory.root_dse().vendor).clone();
        let filter = Filter::And(vec![own, filter]);
        let searches = self.bases.iter().map(|base| self.search_below(base, filter.clone()));
        for group in try_join_all(searches).await?.into_iter().flatten() {
            match DnKey::parse(&group.dn, self.directory.schema()) {
                Ok(key) => {
                    found.insert(key, group);
                }
                Err(error) => tracing::warn!(dn = group.dn, "a group is left out: {error}"),
            }
        }
        Ok(())
    }

    /// Returns the groups of a base. Few of them come over the connection that all searches share.
    async fn search_below(&self, base: &Base, filter: Filter) -> Result<Vec<Entry>, DirectoryError> {
        let few = self.read(base, filter.clone(), Paging::Limited(FEW + 1)).await?;
        if few.len() <= usize::try_from(FEW).unwrap_or(usize::MAX) {
            return Ok(few);
        }
        self.read(base, filter, Paging::Configured).await
    }

    async fn read(&self, base: &Base, filter: Filter, paging: Paging) -> Result<Vec<Entry>, DirectoryError> {
        let request = SearchRequest::new(&base.dn, base.scope, filter, &self.attributes);
        let request = SearchRequest { paging, ..request.repeating() };
        let mut groups = Vec::new();
        let mut stream = match self.directory.search(request).await {
            Ok(stream) => stream,
            Err(error) => return self.absent(base, error).map(|()| groups),
        };
        loop {
            match stream.next_entry().await {
                Ok(Some(group)) => groups.push(group),
                Ok(None) => return Ok(groups),
                Err(error) => return self.absent(base, error).map(|()| groups),
            }
        }
    }

    /// Logs that a place of `roles` is not there. Another error is returned, and that `groups.base_dn` is not there: nobody would have
    /// groups.
    fn absent(&self, base: &Base, error: DirectoryError) -> Result<(), DirectoryError> {
        if !error.is_no_such_object() || base.dn == self.groups.base_dn {
            return Err(error);
        }
        tracing::warn!(dn = base.dn, "there is no entry `{}`, so no groups are found there", base.dn);
        Ok(())
    }
}

/// Returns the filter of the groups that have one of these DNs as a member. The DNs are values, whatever they contain (trap 3).
fn named(vendor: Vendor, schema: &Schema, dns: &[String]) -> Filter {
    let names = members::by_dn(None, vendor, schema);
    let of = |name: &String| dns.iter().map(|dn| Filter::equality(name.as_str(), dn.as_bytes())).collect();
    Filter::Or(names.iter().flat_map(|name| -> Vec<Filter> { of(name) }).collect())
}

/// Returns the roles of groups, and their scopes. Groups compare by DN, exactly (trap 13).
fn roles(rules: &[RoleRule], groups: &Groups, schema: &Schema) -> (Vec<String>, Vec<Scope>) {
    let (mut names, mut scopes) = (BTreeSet::new(), BTreeSet::new());
    let fixed = Fixed::of(rules, schema);
    for rule in rules {
        let given: Vec<String> = match &rule.role {
            RoleName::Groups { role, groups: dns } => {
                let has = |dn: &String| DnKey::parse(dn, schema).is_ok_and(|key| groups.contains_key(&key));
                if dns.iter().any(has) { vec![role.clone()] } else { Vec::new() }
            }
            RoleName::Below { attribute, below } => {
                let below = DnKey::parse(below, schema).unwrap_or_default();
                groups
                    .iter()
                    .filter(|(key, _)| below.is_ancestor_of(key))
                    .filter_map(|(key, group)| Some((key, group, role_name(attribute, group, schema)?)))
                    .filter(|(key, group, role)| fixed.allow(key, group, role))
                    .map(|(_, _, role)| role)
                    .collect()
            }
        };
        if !given.is_empty() {
            scopes.extend(&rule.scopes);
        }
        names.extend(given);
    }
    (names.into_iter().collect(), scopes.into_iter().collect())
}

/// The roles of groups that rules name, in small letters, with these groups.
struct Fixed<'r>(BTreeMap<String, (&'r str, BTreeSet<DnKey>)>);

impl<'r> Fixed<'r> {
    fn of(rules: &'r [RoleRule], schema: &Schema) -> Fixed<'r> {
        let mut fixed: BTreeMap<String, (&str, BTreeSet<DnKey>)> = BTreeMap::new();
        for rule in rules {
            if let RoleName::Groups { role, groups } = &rule.role {
                let (_, keys) = fixed.entry(role.to_lowercase()).or_insert_with(|| (role, BTreeSet::new()));
                keys.extend(groups.iter().filter_map(|dn| DnKey::parse(dn, schema).ok()));
            }
        }
        Fixed(fixed)
    }

    /// Whether a group may give a role by its own name: not one that a rule has for groups which it names. Whoever may create a group could
    /// take it.
    fn allow(&self, key: &DnKey, group: &Entry, role: &str) -> bool {
        let Some((fixed, keys)) = self.0.get(&role.to_lowercase()) else { return true };
        if keys.contains(key) && *fixed == role {
            return true;
        }
        tracing::warn!(
            dn = group.dn,
            setting = "roles",
            "the group `{}` does not give the role `{role}`: a rule with `groups` names the groups of `{fixed}`",
            group.dn
        );
        false
    }
}

/// Returns the role that a group's attribute names: its value in the RDN, else its only value. A second value does not give another role:
/// whoever may write the attribute could take any.
pub(crate) fn role_name(attribute: &str, group: &Entry, schema: &Schema) -> Option<String> {
    let in_rdn = Dn::parse(&group.dn).ok().and_then(|dn| {
        let rdn = dn.rdns.into_iter().next()?;
        rdn.avas.into_iter().find(|ava| schema.same_description(&ava.attribute, attribute))
    });
    let values = schema.values_of(group, attribute);
    let value = match (&in_rdn, values) {
        // As the attribute spells it.
        (Some(ava), _) => values
            .iter()
            .find(|value| schema.values_match(attribute, value, &ava.value))
            .unwrap_or(&ava.value),
        (None, [only]) => only,
        (None, _) => {
            tracing::warn!(
                dn = group.dn,
                "the group `{}` gives no role: it has not exactly one `{attribute}`",
                group.dn
            );
            return None;
        }
    };
    String::from_utf8(value.clone()).ok().filter(|role| !role.trim().is_empty())
}

#[cfg(test)]
mod tests;
