//! Following referrals (RFC 4511 section 4.1.10) and continuation references (section 4.5.3) to hosts on the configured list, with the
//! same credentials, which no other host receives.

use super::{LdapDirectory, result_code, success};
use crate::change::Change;
use crate::config::{DirectoryConfig, Referrals, ServerUrl};
use crate::directory::{Scope, SearchFilter, SearchRequest};
use crate::error::DirectoryError;
use crate::protocol::message::{Control, LdapResult};

/// The maximum length of a chain of referrals.
const MOST_HOPS: usize = 10;

/// An LDAP URL (RFC 4516), as far as a referral needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    server: ServerUrl,
    dn: Option<String>,
    scope: Option<Scope>,
    filter: Option<SearchFilter>,
}

impl Target {
    /// Parses a URL. `None` for other schemes, or with a critical extension.
    fn parse(url: &str) -> Option<Target> {
        let (scheme, rest) = url.split_once("://")?;
        let (authority, rest) = rest.split_once('/').unwrap_or((rest, ""));
        if !scheme.eq_ignore_ascii_case("ldap") && !scheme.eq_ignore_ascii_case("ldaps") {
            return None;
        }
        let server = ServerUrl::parse(&format!("{scheme}://{authority}")).ok()?;
        let mut parts = rest.split('?').map(|part| {
            let decoded = percent_encoding::percent_decode_str(part).decode_utf8();
            decoded.ok().map(std::borrow::Cow::into_owned)
        });
        let mut part = || match parts.next() {
            None => Some(None),
            Some(decoded) => decoded.map(|text| Some(text).filter(|t| !t.is_empty())),
        };
        let dn = part()?;
        // The attributes are those of the search.
        part()?;
        let scope = match part()?.map(|s| s.to_ascii_lowercase()).as_deref() {
            None => None,
            Some("base") => Some(Scope::Base),
            Some("one") => Some(Scope::OneLevel),
            Some("sub") => Some(Scope::Subtree),
            Some(_) => return None,
        };
        let filter = part()?.map(SearchFilter::from);
        let is_critical = part()?.is_some_and(|extensions| extensions.split(',').any(|e| e.starts_with('!')));
        (!is_critical).then_some(Target { server, dn, scope, filter })
    }

    /// Returns the identity of a step in a chain.
    fn step(&self, request: &SearchRequest) -> String {
        let dn = self.dn.as_deref().unwrap_or(&request.base).to_lowercase();
        format!("{} {dn} {:?}", self.server.to_text(), self.scope.unwrap_or(request.scope))
    }

    /// Returns the same search at the target of a reference. Without a scope in the URL, a one-level search continues as a base search
    /// (RFC 4511 section 4.5.3).
    pub(crate) fn request(&self, of: &SearchRequest, is_continued: bool) -> SearchRequest {
        let continued = if of.scope == Scope::OneLevel && is_continued { Scope::Base } else { of.scope };
        SearchRequest {
            base: self.dn.clone().unwrap_or_else(|| of.base.clone()),
            scope: self.scope.unwrap_or(continued),
            filter: self.filter.clone().unwrap_or_else(|| of.filter.clone()),
            ..of.clone()
        }
    }
}

impl LdapDirectory {
    /// Returns the first of these URLs that may be followed, with the extended chain; `None` if none may be.
    pub(crate) fn followed(
        &self,
        urls: &[String],
        request: &SearchRequest,
        chain: &[String],
    ) -> Option<(Target, Vec<String>)> {
        if self.config().referrals != Referrals::Follow {
            return None;
        }
        urls.iter().filter_map(|url| Target::parse(url)).find_map(|target| {
            let step = target.step(request);
            if !self.may_ask(&target.server) || chain.contains(&step) || chain.len() >= MOST_HOPS {
                tracing::warn!("a referral to {} is not followed", target.server.to_text());
                return None;
            }
            let chain = chain.iter().cloned().chain([step]).collect();
            Some((target, chain))
        })
    }

    /// Returns whether a host may receive the credentials, with at least the same protection.
    fn may_ask(&self, server: &ServerUrl) -> bool {
        let ServerUrl::Ldap { host, port, .. } = server else { return false };
        let with_port = format!("{host}:{port}");
        let config = self.config();
        let is_listed = config
            .referral_hosts
            .iter()
            .any(|listed| listed.eq_ignore_ascii_case(host) || listed.eq_ignore_ascii_case(&with_port));
        let there = DirectoryConfig { servers: vec![server.clone()], ..config.clone() };
        let here = DirectoryConfig { servers: vec![self.link().server.clone()], ..config.clone() };
        let goes_clear = |c: &DirectoryConfig| c.unencrypted_servers().any(ServerUrl::leaves_this_machine);
        is_listed && (!goes_clear(&there) || goes_clear(&here))
    }

    /// Returns the directory of a reference. Opened once.
    pub(crate) async fn other(&self, target: &Target) -> Result<LdapDirectory, DirectoryError> {
        let url = target.server.to_text();
        let mut others = self.shared.others.lock().await;
        if let Some(other) = others.get(&url) {
            return Ok(other.reading_own(self.reads_own));
        }
        let own = self.config();
        let refused_binds = own.refused_binds.of_other(&own.servers, &target.server);
        let servers = vec![target.server.clone()];
        let config = DirectoryConfig { servers, refused_binds, ..own.clone() };
        // Boxed: opening reads, and reading may call this, as far as the compiler knows.
        let opened = Box::pin(LdapDirectory::open(&config, self.shared.access)).await;
        let other = opened.map_err(|e| DirectoryError::Protocol {
            operation: "search",
            dn: target.dn.clone().unwrap_or_default(),
            reason: format!("the server refers to {url}, which cannot be asked: {e}"),
            outcome_unknown: false,
        })?;
        tracing::info!("a referral leads to {url}");
        others.insert(url, other.clone());
        Ok(other.reading_own(self.reads_own))
    }

    /// Applies one change at the target of a referral.
    pub(crate) async fn make(&self, change: &Change, controls: &[Control]) -> Result<(), DirectoryError> {
        let result = self.change(change, controls).await?;
        if result.code != result_code::REFERRAL {
            return success(change.operation(), change.dn(), result);
        }
        let mut chain = Vec::new();
        let mut directory = self.clone();
        let mut change = change.clone();
        let mut last: LdapResult = result;
        // A change is identified like a base search for its entry.
        while last.code == result_code::REFERRAL {
            let as_search = SearchRequest::new(change.dn(), Scope::Base, "(objectClass=*)", &[]);
            let Some((target, next)) = self.followed(&last.referral, &as_search, &chain) else { break };
            chain = next;
            directory = directory.other(&target).await?;
            if let Some(dn) = target.dn {
                change = named(change, dn);
            }
            last = directory.change(&change, controls).await?;
        }
        success(change.operation(), change.dn(), last)
    }
}

fn named(change: Change, to: String) -> Change {
    match change {
        Change::Add(entry) => Change::Add(crate::entry::Entry { dn: to, ..entry }),
        Change::Delete { .. } => Change::Delete { dn: to },
        Change::Modify { changes, .. } => Change::Modify { dn: to, changes },
        Change::Rename { new_rdn, delete_old_rdn, new_superior, .. } => {
            Change::Rename { dn: to, new_rdn, delete_old_rdn, new_superior }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_rfc_4516_has_them() {
        let target = Target::parse("ldap://b.example:1389/ou=a%20b,dc=x??one?(cn=*)").unwrap();
        assert_eq!(target.server.to_text(), "ldap://b.example:1389");
        assert_eq!(target.dn.as_deref(), Some("ou=a b,dc=x"));
        assert_eq!((target.scope, target.filter), (Some(Scope::OneLevel), Some("(cn=*)".into())));
        let bare = Target::parse("LDAPS://b.example").unwrap();
        assert_eq!((bare.dn, bare.scope, bare.filter), (None, None, None));
        assert!(Target::parse("ldap://b/??sub??x-a=b").is_some());
        for url in
            ["http://b/", "ldap://u:p@b/", "ldap://b/dc=x??odd", "ldap://b/????!x", "ldap:///dc=x", "x"]
        {
            assert_eq!(Target::parse(url), None, "{url}");
        }
    }

    #[test]
    fn a_reference_below_one_level_is_asked_for_by_itself() {
        let request = SearchRequest::new("dc=x", Scope::OneLevel, "(cn=a)", &["cn"]);
        let target = Target::parse("ldap://b/ou=y,dc=x").unwrap();
        assert_eq!(target.request(&request, true).scope, Scope::Base);
        assert_eq!(target.request(&request, false).scope, Scope::OneLevel);
        let target = Target::parse("ldap://b/ou=y,dc=x??sub").unwrap();
        let followed = target.request(&request, true);
        assert_eq!((followed.base.as_str(), followed.scope), ("ou=y,dc=x", Scope::Subtree));
        assert_eq!((followed.filter, followed.attributes), (request.filter, request.attributes));
    }
}
