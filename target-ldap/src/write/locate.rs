//! Where an entry is that is not found by its name (`match`).

use ldap_directory::dn::{Dn, DnKey};
use ldap_directory::entry::Entry;
use ldap_directory::protocol::result_code;
use ldap_directory::{DirectoryError, Paging, Scope, SearchRequest};

use super::{Applier, AttemptContext};
use crate::map::WritePolicy;
use crate::write::claims::{Claimant, DeleteDenied, DeletePermit, KeyKind};
use crate::write::plan_output::shown;

/// How many of several entries are named.
pub(super) const SHOWN: usize = 5;
/// So many entries that a filter fits are known by name, where something of the run may delete: nothing of it deletes them.
pub(super) const PROTECTED: usize = 200;
/// So many records whose filter fits several entries are kept until the first deletion; of more the entries are read at once.
const MOST_UNREAD: usize = 10_000;

/// The names of entries that a filter fits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MatchedNames {
    /// Up to so many as are worth knowing.
    pub names: Vec<String>,
    /// Whether these are all.
    pub is_whole: bool,
}

impl MatchedNames {
    /// All there are.
    pub(super) fn whole(names: Vec<String>) -> Self {
        Self { names, is_whole: true }
    }
}

/// A record whose filter fits several entries, of which only a few are known by name.
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
    /// Nowhere (of [`Applier::locate`]: and its name is free).
    Nowhere,
    /// Under the name it is to have.
    Named(Entry),
    /// Under another name, and nothing else is done to it.
    Elsewhere(Entry),
    /// Under another name, and something else may be done to it at the same time.
    NotLocked(String),
    /// Nowhere, and its name is another entry's. What the filter would know that one by: `employeeNumber=7`.
    Taken(String),
    /// In several places.
    Several(MatchedNames),
}

impl Applier {
    /// Looks for the entry that a filter fits, or that nobody has so far: one at the name that it is to have (`dn`) is taken
    /// over. Not for deletions: see [`Self::fitting`]. Returns whether the filter found it, too.
    pub(super) async fn locate(
        &self,
        dn: Option<&str>,
        filter: &str,
        write_policy: &WritePolicy,
        context: &AttemptContext,
        names: &[String],
    ) -> Result<(Located, bool), DirectoryError> {
        match (self.fitting(dn, filter, write_policy, context, names).await?, dn) {
            (Located::Nowhere, Some(dn)) => Ok((self.at_its_name(dn, write_policy, names).await?, false)),
            (place, _) => {
                let is_found = !matches!(place, Located::Nowhere);
                Ok((place, is_found))
            }
        }
    }

    /// Looks for the entry that a filter fits, and no other: what it does not fit is never deleted, whatever its name is.
    /// `dn` is the name that it is to have.
    pub(super) async fn fitting(
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
            self.matching(&base, Scope::Sub, filter, names, self.most_named()).await?;
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

    /// An entry that has the name and that the filter does not fit: nobody's so far, and so the record's, or somebody
    /// else's.
    async fn at_its_name(
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
            None => Located::Named(entry),
        })
    }

    /// Where to look: the rule's scope, else the part of the directory that the entry is to be in.
    pub(crate) fn search_base(&self, dn: Option<&str>, write_policy: &WritePolicy) -> String {
        if let Some(base) = &write_policy.base {
            return base.clone();
        }
        let schema = self.directory.schema();
        let root_dse = self.directory.root_dse();
        let key = |dn: &str| DnKey::parse(dn, schema).unwrap_or_default();
        let above = |context: &&String| dn.is_some_and(|dn| key(dn).is_within(&key(context)));
        let contexts = root_dse.naming_contexts.iter().filter(above);
        let nearest = contexts.max_by_key(|context| key(context).depth()).map(String::as_str);
        nearest.or(root_dse.default_base()).unwrap_or_default().to_owned()
    }

    /// The nearest name above a scope that is not there, which is; the root's, an empty text, where none is. `None`: the scope
    /// is there.
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

    /// How many entries that one filter fits are worth reading at once: those that a message names; where a version deletes what
    /// no record is about, those that it must not.
    fn most_named(&self) -> usize {
        if self.deletes_by_version { PROTECTED } else { SHOWN }
    }

    /// Nothing of the run deletes the entries that a record's filter fits where these are several. Where not all of them are known
    /// by name, they are read before the first deletion, and never where there is none.
    pub(super) async fn remember_several(
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

    /// The leave to delete an entry ([`EntryClaims::permit`](crate::write::claims::EntryClaims::permit)), once it is known which ones are protected.
    pub(super) async fn permit(
        &self,
        claimant: Option<&Claimant<'_>>,
        dn: &str,
        key: &DnKey,
        with_subtree: bool,
    ) -> Result<Result<DeletePermit, DeleteDenied>, DirectoryError> {
        drop(self.looking.write().await);
        // DeferredReference while they are read: no other deletion overtakes them.
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
        let (found, _) = self.matching(&unread.base, Scope::Sub, &unread.filter, &names, PROTECTED).await?;
        let claimant = Claimant { stream: &unread.stream, key: &unread.key, kind: unread.kind };
        for key in found.iter().filter_map(|entry| self.key(&entry.dn).ok()) {
            self.claims.protect(&claimant, &key);
        }
        Ok(())
    }

    /// The entries that a filter fits; no more than `most`, which are to be named or protected, and no more are asked for: a filter
    /// that fits everything must not have everything read, for each record. Unpaged: OpenLDAP keeps one paging state per connection.
    async fn matching(
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
                        // Of several only the names count.
                        entry.attributes.clear();
                    }
                    found.push(entry);
                }
                Ok(None) => return Ok((found, true)),
                Err(e) if e.is_no_such_object() => return Ok((found, true)),
                // The server's own limit is lower; that there are several is all that has to be known.
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
