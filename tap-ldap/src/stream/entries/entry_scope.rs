//! Which entries of a search belong to a stream.

use ldap_directory::dn::DnKey;
use ldap_directory::entry::EntryView as _;
use ldap_directory::{Directory, DirectoryError, Scope, SearchRequest};

use super::{Entries, ReadStep};
use crate::discovery::census::ReadStrategy;
use crate::discovery::context::HAS_SUBORDINATES;
use crate::discovery::{dn, non_leaf};

/// Which entries of a search belong to the stream.
#[derive(Debug, Clone)]
pub(super) enum ScopeFilter {
    /// All of them.
    All,
    /// All except the base of the search, as the server spells it. Most streams are read so; comparing texts saves a key for
    /// every entry.
    Below(String),
    /// Immediate subordinates of the base that are not containers. Their subordinates are read next.
    Children {
        /// The container that they belong to.
        container: DnKey,
    },
    /// Entries at this depth or deeper that have this container as their nearest.
    Nearest { container: DnKey, depth: usize },
}

impl ScopeFilter {
    /// Returns the filter for a search of which all entries belong to the stream. The root DSE is not an entry.
    pub(super) fn of(directory: &Directory, request: &SearchRequest) -> ScopeFilter {
        let may_have_root_dse = request.scope == Scope::Subtree && dn::is_root_dse(directory, &request.base);
        if may_have_root_dse { ScopeFilter::Below(String::new()) } else { ScopeFilter::All }
    }
}

/// The result of [`Entries::match_scope`].
pub(super) struct ScopeMatch {
    /// Whether the entry is in the stream.
    pub(super) is_in_stream: bool,
    /// If its subordinates must be read: its DN and key, and the container that they belong to.
    pub(super) below: Option<(String, DnKey, DnKey)>,
}

impl From<bool> for ScopeMatch {
    fn from(is_in_stream: bool) -> Self {
        Self { is_in_stream, below: None }
    }
}

impl Entries<'_> {
    /// Compares the current entry with the scope of the running search.
    pub(super) fn match_scope(&self) -> Result<ScopeMatch, DirectoryError> {
        let Some(running) = &self.running else { return Ok(ScopeMatch::from(false)) };
        let entry = self.entry();
        match &running.scope {
            ScopeFilter::All => return Ok(ScopeMatch::from(true)),
            ScopeFilter::Below(base) => return Ok(ScopeMatch::from(entry.dn_octets() != base.as_bytes())),
            ScopeFilter::Children { .. } | ScopeFilter::Nearest { .. } => {}
        }
        let containers = &self.context.containers;
        let key = dn::key(entry.dn(), self.context.directory.schema())?;
        if containers.contains(&key) {
            return Ok(ScopeMatch::from(false));
        }
        match &running.scope {
            ScopeFilter::All | ScopeFilter::Below(_) => Ok(ScopeMatch::from(true)),
            ScopeFilter::Nearest { container, depth } => Ok(ScopeMatch::from(
                key.depth() >= *depth && containers.nearest(&key).as_ref() == Some(container),
            )),
            // Servers with several naming contexts differ in what they return as immediate subordinates of the root.
            ScopeFilter::Children { container } if containers.nearest(&key).as_ref() != Some(container) => {
                Ok(ScopeMatch::from(false))
            }
            ScopeFilter::Children { container } => {
                let reported = entry.first_text_of(HAS_SUBORDINATES);
                let has_below = match self.census.as_ref().map(|census| census.strategy(container)) {
                    // Others may have been added below it since the census.
                    Some(ReadStrategy::Levels(non_leaf)) => {
                        reported == Some("TRUE") || non_leaf.contains(&key)
                    }
                    // A user who may not see the attribute may still see the subordinates.
                    _ => reported != Some("FALSE"),
                };
                let below = has_below.then(|| (entry.dn().to_owned(), key, container.clone()));
                Ok(ScopeMatch { is_in_stream: true, below })
            }
        }
    }

    /// Queues a search for the subordinates of an entry. If there are too many such entries below the base of the running
    /// search, one search of its whole subtree replaces theirs. Nested containers are read elsewhere.
    pub(super) fn read_below(&mut self, dn: &str, key: &DnKey, container: DnKey) {
        let Some(running) = &self.running else { return };
        let (added, base) = (self.steps.len().saturating_sub(running.steps_before), running.base.clone());
        let is_whole_subtree = |step: &ReadStep| matches!(step, ReadStep::Search(s) if s.request.base == base && s.request.scope == Scope::Subtree);
        // Once the whole subtree is queued, there is nothing to add.
        if added == 1 && self.steps.back().is_some_and(is_whole_subtree) {
            return;
        }
        let (mut step, was_seen) = if added >= non_leaf::MOST {
            let was_seen = running.base_may_be_gone;
            self.steps.truncate(running.steps_before);
            let scope = ScopeFilter::Nearest { container, depth: key.depth() + 1 };
            (self.search_step(&base, Scope::Subtree, scope), was_seen)
        } else if self.context.containers.has_below(key) {
            (self.search_step(dn, Scope::OneLevel, ScopeFilter::Children { container }), true)
        } else {
            (self.search_step(dn, Scope::Subtree, ScopeFilter::Below(dn.to_owned())), true)
        };
        if let ReadStep::Search(search) = &mut step {
            search.base_may_be_gone = was_seen;
        }
        self.steps.push_back(step);
    }
}
