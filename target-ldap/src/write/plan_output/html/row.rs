//! A row of the page: one entry, with all that happens to it.

use std::ops::Range;
use std::sync::Arc;

use ldap_directory::dn::split_first;
use maud::{Markup, html};
use singer_common::operations::page::{breakable, count, visible};

use crate::write::counts::RecordOutcome;

/// The outcomes that the page shows, in its order, with the words of the log. What leaves comes first.
pub(super) const OUTCOMES: [(RecordOutcome, &str); 6] = [
    (RecordOutcome::Deleted, "deleted"),
    (RecordOutcome::Moved, "moved"),
    (RecordOutcome::Rejected, "rejected"),
    (RecordOutcome::Renamed, "renamed"),
    (RecordOutcome::Modified, "modified"),
    (RecordOutcome::Added, "added"),
];
/// The kind of rows that no record is counted for.
pub(super) const ALSO: &str = "also";
/// The most attributes of a row that are not folded.
pub(super) const MOST_LINES: usize = 6;

/// What happens to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Added,
    Deleted,
    Name,
    Parent,
    Values,
    Password,
}

/// The section of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Leaving,
    Rejected,
    Renamed,
    Modified,
    Added,
    Also,
}

/// The sections, in the order of the page, with their identifiers and headings.
pub(super) const SECTIONS: [(Section, &str, &str); 6] = [
    (Section::Leaving, "leaving", "Leaving"),
    (Section::Rejected, "rejected", "Rejected"),
    (Section::Renamed, "renamed", "Renamed"),
    (Section::Modified, "modified", "Modified"),
    (Section::Added, "added", "Added"),
    (Section::Also, "also", "Also changed"),
];

/// A part of the spooled HTML.
pub(super) type Piece = Range<u64>;

/// An entry, or a record that is rejected.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// Its name before the run; empty for a record without an entry.
    pub(super) dn: String,
    pub(super) stream: Arc<str>,
    /// The line and key of the first record that changes it.
    pub(super) record: Option<(u64, Arc<str>)>,
    /// The number of the last task that changed it, and how many did.
    pub(super) task: Option<u64>,
    pub(super) tasks: usize,
    pub(super) parts: Vec<Part>,
    pub(super) is_leaving: bool,
    /// The outcomes of its records, as they are counted.
    pub(super) outcomes: Vec<RecordOutcome>,
    /// Why its record is rejected.
    pub(super) reason: Option<String>,
    /// Attributes before and after, each as a row of a table.
    pub(super) lines: Vec<Piece>,
    /// What else is shown.
    pub(super) blocks: Vec<Piece>,
}

impl Row {
    pub(super) fn has(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    pub(super) fn note(&mut self, part: Part) {
        if !self.has(part) {
            self.parts.push(part);
        }
    }

    /// Returns the outcome of a change that no record is counted for: that of an undo.
    pub(super) fn derived(&self) -> RecordOutcome {
        if self.has(Part::Deleted) {
            RecordOutcome::Deleted
        } else if self.has(Part::Added) {
            RecordOutcome::Added
        } else if self.has(Part::Name) || self.has(Part::Parent) {
            RecordOutcome::Renamed
        } else {
            RecordOutcome::Modified
        }
    }

    pub(super) fn section(&self) -> Section {
        let is = |outcome| self.outcomes.contains(&outcome);
        if self.is_leaving || self.has(Part::Deleted) {
            Section::Leaving
        } else if is(RecordOutcome::Rejected) {
            Section::Rejected
        } else if is(RecordOutcome::Renamed) {
            Section::Renamed
        } else if is(RecordOutcome::Modified) {
            Section::Modified
        } else if is(RecordOutcome::Added) {
            Section::Added
        } else {
            Section::Also
        }
    }

    /// Returns the words of its outcomes, for the filter.
    pub(super) fn kinds(&self) -> Vec<&'static str> {
        let words = OUTCOMES.iter().filter(|(outcome, _)| self.outcomes.contains(outcome));
        let words: Vec<&str> = words.map(|(_, word)| *word).collect();
        if words.is_empty() { vec![ALSO] } else { words }
    }

    /// Returns what happens to it beside its outcomes.
    fn further(&self) -> Vec<&'static str> {
        let is = |outcome| self.outcomes.contains(&outcome);
        let mut words = Vec::new();
        for part in &self.parts {
            let word = match part {
                Part::Added if !is(RecordOutcome::Added) => "new entry",
                Part::Deleted if !is(RecordOutcome::Deleted) => "deleted",
                Part::Name if !is(RecordOutcome::Renamed) && !is(RecordOutcome::Moved) => "new name",
                Part::Parent if !is(RecordOutcome::Moved) => "new parent",
                Part::Values if !is(RecordOutcome::Modified) && !self.has(Part::Added) => "values",
                Part::Password if !self.has(Part::Added) => "password",
                _ => continue,
            };
            words.push(word);
        }
        if self.is_leaving && !is(RecordOutcome::Deleted) && !is(RecordOutcome::Moved) {
            words.push("leaves");
        }
        words
    }

    /// Returns the part of the row before what changes. `stream`: its number, if there are several.
    pub(super) fn head(&self, stream: Option<usize>) -> Markup {
        let kinds = self.kinds();
        let class = |kind: &str| match kind {
            "deleted" | "moved" | "rejected" => "chip gone",
            "added" => "chip new",
            ALSO => "chip also",
            _ => "chip",
        };
        html! {
            div.chips {
                @for kind in &kinds { span class=(class(kind)) { (if *kind == ALSO { "also changed" } else { kind }) } " " }
                @for word in self.further() { span.chip.also { (word) } " " }
            }
            div.who {
                @match &self.record {
                    // A record without an entry is named by its key.
                    Some((_, key)) if self.dn.is_empty() => p.dn { strong { bdi { (breakable(key)) } } },
                    _ => p.dn { (name(&self.dn)) },
                }
                (self.reference(stream.is_some()))
            }
        }
    }

    /// Returns the records that change the entry.
    fn reference(&self, with_stream: bool) -> Markup {
        // If the key is the DN, it is shown once.
        let record = self
            .record
            .as_ref()
            .map(|(line, key)| (line, key, !self.dn.is_empty() && !key.contains(&self.dn)));
        html! {
            @if record.is_some() || with_stream {
                p.ref {
                    @if with_stream { bdi { (visible(&self.stream)) } " · " }
                    @if let Some((line, key, is_shown)) = record {
                        "line " (line)
                        @if is_shown && !key.is_empty() { " · " bdi { (breakable(key)) } }
                        @if self.tasks > 1 { " · and " (count(self.tasks - 1)) " more" }
                    }
                }
            }
        }
    }
}

/// Returns a DN with its first part set off.
fn name(dn: &str) -> Markup {
    let (rdn, above) = match split_first(dn) {
        Ok((rdn, above)) if !above.is_empty() => (rdn, format!(",{above}")),
        _ => (dn, String::new()),
    };
    html! {
        strong { bdi { (visible(rdn)) } }
        @if !above.is_empty() { span.above { bdi { (breakable(&above)) } } }
    }
}
