//! What the note of a change has of the entries that it means ([`identity`](crate::write::identity)).

use std::sync::Arc;

use ldap_directory::DirectoryError;
use ldap_directory::change::Change;
use ldap_directory::entry::Entry;

use super::Destination;
use crate::config::TargetConfig;
use crate::write::change_label::CHANGE_LABEL;
use crate::write::identity::{StreamMatches, identified, names_of};
use crate::write::undo::change_note::ChangeNote;

impl Destination {
    /// Sets how the streams of the run find their entries: what adds one later adds no second one.
    #[must_use]
    pub fn with_matches(mut self, config: &TargetConfig) -> Self {
        self.matches = Some(Arc::new(StreamMatches::of(config)));
        self
    }

    /// Notes whom changes mean that are made later: the planned one, given the entry `before` it; or those that undo this one. What these
    /// take away is what the run brought.
    pub(super) async fn identify(
        &self,
        note: &mut ChangeNote,
        later: &[Change],
        before: Option<&Entry>,
        is_undo: bool,
    ) -> Result<(), DirectoryError> {
        let names = later.iter().flat_map(|change| names_of(change, before, self.directory.schema()));
        let names: Vec<_> = names.filter(|name| !(is_undo && name.is_taken)).collect();
        if !names.is_empty() {
            note.named = Box::pin(identified(&self.directory, names)).await?;
        }
        let Some(matches) = &self.matches else { return Ok(()) };
        let stream = CHANGE_LABEL.try_with(|label| label.stream.clone()).ok();
        note.matched = later.iter().find_map(|change| match change {
            Change::Add(entry) => matches.of_entry(stream.as_deref()?, entry, &self.directory),
            _ => None,
        });
        Ok(())
    }
}
