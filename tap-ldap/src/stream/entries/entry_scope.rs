//! Which entries of a search belong to a stream.

use singer_common::directory::{DirectoryError, Scope};
use singer_common::dn::DnKey;
use singer_common::entry::EntryView as _;

use super::{Entries, HAS_SUBORDINATES, Step};
use crate::discovery::census::Way;
use crate::discovery::{container, non_leaf};

/// Which entries of a search belong to the stream.
#[derive(Debug, Clone)]
pub(super) enum Keep {
    /// All of them.
    All,
    /// All but the base of the search, given as the server spells it: most streams are read so, and comparing texts
    /// spares them a key for every entry.
    Below(String),
    /// Those right below the base that are no containers. What lies below them is read next.
    Children {
        /// The container they belong to.
        container: DnKey,
    },
    /// Those whose nearest container this is, and that lie at least so deep.
    Nearest { container: DnKey, depth: usize },
}

/// What becomes of an entry.
pub(super) struct Kept {
    /// Whether it is one of the stream.
    pub(super) is_kept: bool,
    /// Where entries lie below it that are to be read: its name, and the container they belong to.
    pub(super) below: Option<(String, DnKey, DnKey)>,
}

impl From<bool> for Kept {
    fn from(is_kept: bool) -> Self {
        Self { is_kept, below: None }
    }
}

impl Entries<'_> {
    /// Whether the entry in hand is one of the stream.
    pub(super) fn keeps(&self) -> Result<Kept, DirectoryError> {
        let Some(current) = &self.current else { return Ok(Kept::from(false)) };
        let entry = self.entry();
        match &current.keep {
            Keep::All => return Ok(Kept::from(true)),
            Keep::Below(base) => return Ok(Kept::from(entry.dn_octets() != base.as_bytes())),
            Keep::Children { .. } | Keep::Nearest { .. } => {}
        }
        let containers = &self.tree.containers;
        let key = container::key(entry.dn(), self.tree.directory.schema())?;
        if containers.contains(&key) {
            return Ok(Kept::from(false));
        }
        match &current.keep {
            Keep::All | Keep::Below(_) => Ok(Kept::from(true)),
            Keep::Nearest { container, depth } => {
                Ok(Kept::from(key.depth() >= *depth && containers.nearest(&key).as_ref() == Some(container)))
            }
            // Servers with several naming contexts do not all agree on what lies right below the root.
            Keep::Children { container } if containers.nearest(&key).as_ref() != Some(container) => {
                Ok(Kept::from(false))
            }
            Keep::Children { container } => {
                let told = entry.first_text_of(HAS_SUBORDINATES);
                let has_below = match self.census.as_ref().map(|census| census.way(container)) {
                    // Others may have come below it since the names were looked at.
                    Some(Way::Levels(inner)) => told == Some("TRUE") || inner.contains(&key),
                    // Who may not see it may all the same see what lies below.
                    _ => told != Some("FALSE"),
                };
                let below = has_below.then(|| (entry.dn().to_owned(), key, container.clone()));
                Ok(Kept { is_kept: true, below })
            }
        }
    }

    /// Reads what lies below an entry of the search in hand, later: in a search of its own, or in one for all entries
    /// below the base of that search when they are many. Containers nested in it are read elsewhere.
    pub(super) fn read_below(&mut self, dn: &str, key: &DnKey, container: DnKey) {
        let Some(current) = &self.current else { return };
        let (added, base) = (self.steps.len().saturating_sub(current.steps_before), current.base.clone());
        let is_read_whole = |step: &Step| matches!(step, Step::Search(s) if s.request.base == base && s.request.scope == Scope::Sub);
        // Once all is going to be read, there is nothing to add.
        if added == 1 && self.steps.back().is_some_and(is_read_whole) {
            return;
        }
        let (mut step, was_seen) = if added >= non_leaf::MOST {
            let was_seen = current.base_may_be_gone;
            self.steps.truncate(current.steps_before);
            let keep = Keep::Nearest { container, depth: key.depth() + 1 };
            (self.step(&base, Scope::Sub, keep), was_seen)
        } else if self.tree.containers.has_below(key) {
            (self.step(dn, Scope::One, Keep::Children { container }), true)
        } else {
            (self.step(dn, Scope::Sub, Keep::Below(dn.to_owned())), true)
        };
        if let Step::Search(search) = &mut step {
            search.base_may_be_gone = was_seen;
        }
        self.steps.push_back(step);
    }
}
