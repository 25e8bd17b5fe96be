//! Locates an entry by a filter (`match`).

use ldap_directory::dn::{Dn, DnKey};
use ldap_directory::entry::Entry;
use ldap_directory::protocol::result_code;
use ldap_directory::{DirectoryError, Paging, Scope, SearchRequest};

use super::generate::base_of;
use super::outcome::InAnotherScope;
use super::readable::Unreadable;
use super::{Applier, AttemptContext};
use crate::map::WritePolicy;
use crate::write::claims::{Claimant, DeleteDenied, DeletePermit, KeyKind};
use crate::write::plan_output::shown;

/// The most entries that a message names.
pub(super) const SHOWN: usize = 5;
/// The most matching entries that are protected by DN from deletions of the run.
pub(super) const PROTECTED: usize = 200;
/// The most records matching several entries that are kept until the first deletion; for more, the entries are read at once.
const MOST_UNREAD: usize = 10_000;

/// The DNs of entries that a filter matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MatchedNames {
    /// The DNs, as many as are needed.
    pub names: Vec<String>,
    /// Whether these are all.
    pub is_whole: bool,
}

impl MatchedNames {
    /// Returns a complete list.
    pub(super) fn whole(names: Vec<String>) -> Self {
        Self { names, is_whole: true }
    }
}

/// A record whose filter matches several entries, of which only a few were read.
#[derive(Debug)]
pub(super) struct UnreadMatch {
    stream: String,
    key: String,
    kind: KeyKind,
    base: String,
    filter: String,
}

/// Where an entry is.
#[derive(Debug)]
pub(super) enum Located {
    /// It does not exist ([`Applier::locate`]: and its DN is free).
    Nowhere,
    /// At the DN that it is to have.
    Named(Entry),
    /// At another DN, which is locked for this task.
    Elsewhere(Entry),
    /// At another DN, which is not locked: other tasks may change it at the same time.
    NotLocked(String),
    /// It does not exist, and its DN belongs to another entry. The value that `match` would compare of that one:
    /// `employeeNumber=7`.
    Taken(String),
    /// There are several.
    Several(MatchedNames),
    /// It may exist, and the bound user may not find it.
    Hidden(Unreadable),
}

/// Returns what identifies an entry that a filter is to find below a base, whatever its DN is. A DN has no NUL.
pub(crate) fn identity(base: &str, filter: &str) -> String {
    format!("{base}\0{filter}")
}

impl Applier {
    /// Locates the entry that a filter matches. Else an entry at the wanted DN (`dn`) that no other record matches is taken
    /// over. Not for deletions: see [`Self::locate_match`]. Also returns whether the filter matched it.
    pub(super) async fn locate(
        &self,
        dn: Option<&str>,
        filter: &str,
        write_policy: &WritePolicy,
        context: &AttemptContext,
        names: &[String],
    ) -> Result<(Located, bool), DirectoryError> {
        let place = self.locate_match(dn, filter, write_policy, context, names).await?;
        if !matches!(place, Located::Nowhere) {
            return Ok((place, true));
        }
        if let Some(place) = Box::pin(self.locate_aside(dn, filter, write_policy, context, names)).await? {
            return Ok((place, true));
        }
        Ok(match (Box::pin(self.hidden_from_match(dn, filter, write_policy)).await?, dn) {
            (Some(unreadable), _) => (Located::Hidden(unreadable), false),
            (None, Some(dn)) => (self.locate_by_dn(dn, write_policy, names).await?, false),
            (None, None) => (Located::Nowhere, false),
        })
    }

    /// Locates the entry that a filter matches, and no other: what it does not match is never deleted, whatever its DN. `dn` is
    /// the wanted DN.
    pub(super) async fn locate_match(
        &self,
        dn: Option<&str>,
        filter: &str,
        write_policy: &WritePolicy,
        context: &AttemptContext,
        names: &[String],
    ) -> Result<Located, DirectoryError> {
        let schema = self.directory.schema();
        let key = |dn: &str| DnKey::parse(dn, schema).unwrap_or_default();
        let is_at = |entry: &Entry, name: Option<&str>| name.is_some_and(|n| key(n) == key(&entry.dn));
        if let Some(found) = &context.found
            && let [entry] = self.matching(found, Scope::Base, filter, names, SHOWN).await?.0.as_mut_slice()
        {
            let entry = std::mem::take(entry);
            return Ok(if is_at(&entry, dn) { Located::Named(entry) } else { Located::Elsewhere(entry) });
        }
        let base = self.search_base(dn, write_policy);
        let (mut found, is_whole) =
            self.matching(&base, Scope::Subtree, filter, names, self.most_named()).await?;
        let Some(entry) = found.pop() else { return Ok(Located::Nowhere) };
        if !found.is_empty() {
            found.push(entry);
            let names = found.into_iter().map(|e| e.dn).collect();
            return Ok(Located::Several(MatchedNames { names, is_whole }));
        }
        Ok(if is_at(&entry, dn) {
            Located::Named(entry)
        } else if is_at(&entry, context.found.as_deref()) {
            Located::Elsewhere(entry)
        } else {
            Located::NotLocked(entry.dn)
        })
    }

    /// Reads the entry at the wanted DN, which the filter does not match. It is free for the record unless it has values that
    /// `match` compares.
    async fn locate_by_dn(
        &self,
        dn: &str,
        write_policy: &WritePolicy,
        names: &[String],
    ) -> Result<Located, DirectoryError> {
        let schema = self.directory.schema();
        let mut names: Vec<&str> = names.iter().map(String::as_str).filter(|n| *n != "1.1").collect();
        names.extend(write_policy.match_attributes.iter().map(String::as_str));
        let Some(entry) = self.directory.read(dn, &names).await? else { return Ok(Located::Nowhere) };
        let claimed = write_policy
            .match_attributes
            .iter()
            .find_map(|name| Some((name, schema.values_of(&entry, name).first()?)));
        Ok(match claimed {
            Some((name, value)) => Located::Taken(format!("{name}={}", shown(name, value))),
            None => match Box::pin(self.hidden_in_namesake(&entry, write_policy)).await? {
                Some(unreadable) => Located::Hidden(unreadable),
                None => Located::Named(entry),
            },
        })
    }

    /// Returns the entry in the scope of another rule that a record's filter fits, if there is exactly one and none in its own scope.
    pub(super) async fn in_another_scope(
        &self,
        filter: &str,
        write_policy: &WritePolicy,
    ) -> Result<Option<InAnotherScope>, DirectoryError> {
        let names = ["1.1".to_owned()];
        for base in &write_policy.other_scopes {
            let (mut found, _) = self.matching(base, Scope::Subtree, filter, &names, 1).await?;
            if let (Some(entry), true) = (found.pop(), found.is_empty()) {
                let (filter, identity) = (filter.to_owned(), identity(base, filter));
                return Ok(Some(InAnotherScope { dn: entry.dn, filter, identity }));
            }
        }
        Ok(None)
    }

    /// Returns the search base: the rule's scope, else the naming context of the wanted DN.
    pub(crate) fn search_base(&self, dn: Option<&str>, write_policy: &WritePolicy) -> String {
        if let Some(base) = &write_policy.base {
            return base.clone();
        }
        base_of(&self.directory, dn.unwrap_or_default(), None)
    }

    /// Returns the nearest existing ancestor of a scope that does not exist; an empty text if there is none. `None`: the scope
    /// exists.
    pub(crate) async fn missing_scope(&self, base: &str) -> Result<Option<String>, DirectoryError> {
        if self.directory.begins_at(base).await? {
            return Ok(None);
        }
        let mut above = Dn::parse(base).ok().and_then(|dn| dn.parent());
        while let Some(dn) = above {
            let name = dn.to_string();
            if name.is_empty() || self.directory.begins_at(&name).await? {
                return Ok(Some(name));
            }
            above = dn.parent();
        }
        Ok(Some(String::new()))
    }

    /// Returns how many matching entries are read: those that a message names, or, with ACTIVATE_VERSION, those that must be
    /// protected.
    fn most_named(&self) -> usize {
        if self.deletes_by_version { PROTECTED } else { SHOWN }
    }

    /// Protects several entries that a record's filter matches from every deletion of the run. If not all of them were read,
    /// they are read before the first deletion, and only if there is one.
    pub(super) async fn protect_matches(
        &self,
        claimant: Option<&Claimant<'_>>,
        dn: Option<&str>,
        filter: &str,
        write_policy: &WritePolicy,
        place: &Located,
    ) -> Result<(), DirectoryError> {
        let (Some(claimant), Located::Several(found)) = (claimant, place) else { return Ok(()) };
        for key in found.names.iter().filter_map(|name| self.key(name).ok()) {
            self.claims.protect(claimant, &key);
        }
        if found.is_whole || self.deletes_by_version {
            return Ok(());
        }
        let unread = UnreadMatch {
            stream: claimant.stream.to_owned(),
            key: claimant.key.to_owned(),
            kind: claimant.kind,
            base: self.search_base(dn, write_policy),
            filter: filter.to_owned(),
        };
        let mut all = self.unread.lock().await;
        if all.len() < MOST_UNREAD {
            all.push(unread);
            return Ok(());
        }
        self.read_protected(&unread).await
    }

    /// Returns the permission to delete an entry ([`EntryClaims::permit`](crate::write::claims::EntryClaims::permit)), once all
    /// protected entries are known.
    pub(super) async fn permit(
        &self,
        claimant: Option<&Claimant<'_>>,
        dn: &str,
        key: &DnKey,
        with_subtree: bool,
    ) -> Result<Result<DeletePermit, DeleteDenied>, DirectoryError> {
        drop(self.match_lock.write().await);
        // Locked while they are read: no other deletion overtakes them.
        let mut all = self.unread.lock().await;
        while let Some(unread) = all.last() {
            self.read_protected(unread).await?;
            all.pop();
        }
        drop(all);
        Ok(self.claims.permit(claimant, dn, key, with_subtree))
    }

    async fn read_protected(&self, unread: &UnreadMatch) -> Result<(), DirectoryError> {
        let names = ["1.1".to_owned()];
        let (found, _) =
            self.matching(&unread.base, Scope::Subtree, &unread.filter, &names, PROTECTED).await?;
        let claimant = Claimant { stream: &unread.stream, key: &unread.key, kind: unread.kind };
        for key in found.iter().filter_map(|entry| self.key(&entry.dn).ok()) {
            self.claims.protect(&claimant, &key);
        }
        Ok(())
    }

    /// Returns the entries that a filter matches, at most `most`, and whether these are all. No more are requested: a filter
    /// that matches everything must not read everything for each record. Unpaged: OpenLDAP keeps one paging state per
    /// connection.
    pub(super) async fn matching(
        &self,
        base: &str,
        scope: Scope,
        filter: &str,
        names: &[String],
        most: usize,
    ) -> Result<(Vec<Entry>, bool), DirectoryError> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let paging = Paging::Limited(u32::try_from(most + 1).unwrap_or(u32::MAX));
        let request = SearchRequest { paging, ..SearchRequest::new(base, scope, filter, &names) };
        let mut found = Vec::new();
        let mut search = match self.directory.search(request).await {
            Err(e) if e.is_no_such_object() => return Ok((found, true)),
            search => search?,
        };
        loop {
            match search.next_entry().await {
                Ok(Some(mut entry)) => {
                    if !found.is_empty() {
                        // Of several entries only the DNs matter.
                        entry.attributes.clear();
                    }
                    found.push(entry);
                }
                Ok(None) => return Ok((found, true)),
                Err(e) if e.is_no_such_object() => return Ok((found, true)),
                // The server's own size limit is lower; it is enough to know that there are several.
                Err(e) if e.code() == Some(result_code::SIZE_LIMIT_EXCEEDED) && found.len() > 1 => {
                    return Ok((found, false));
                }
                Err(e) => return Err(e),
            }
            if found.len() > most {
                search.abandon().await?;
                return Ok((found, false));
            }
        }
    }
}
