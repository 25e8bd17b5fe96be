//! What a rehearsal notes for the plan of a held run: each change, and what it depends on.

use ldap_directory::DirectoryError;
use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::entry::Entry;
use ldap_directory::schema::Schema;

use super::{Destination, unwritable};
use crate::plan::marker::is_marker;
use crate::rules::names::{ENTRY_IDS, to_ask};
use crate::write::change_label::CHANGE_LABEL;
use crate::write::held_plan::recorder::WithoutSecrets;
use crate::write::inverse::{OPERATIONAL, needs};
use crate::write::undo::change_note::{self, ChangeKind, ChangeNote, Trace};

/// A change that is about to be made, and what it depends on.
pub(super) struct Seen {
    planned: WithoutSecrets,
    note: ChangeNote,
}

impl Destination {
    /// Returns what a change depends on, if it is recorded. Before it is made.
    pub(super) async fn seen(&self, change: &Change, relaxed: bool) -> Result<Option<Seen>, DirectoryError> {
        let Some(recorder) = &self.recorder else { return Ok(None) };
        let planned = WithoutSecrets::of(change);
        let schema = self.directory.schema();
        let matched = recorder.matched();
        let names = match change {
            Change::Delete { .. } => {
                let all = ["*"].iter().chain(&OPERATIONAL).map(|&name| name.to_owned()).collect();
                Some(to_ask(all, ENTRY_IDS))
            }
            _ => needs(change)
                .map(|names| to_ask(to_ask(names, ENTRY_IDS), matched.iter().map(String::as_str))),
        };
        let before = self.before(change, names).await?;
        let mut note = match &planned.change {
            Some(change) => ChangeNote::new(change, before.as_ref(), &[], schema),
            None => ChangeNote {
                of: ChangeKind::Modify,
                id: before.as_ref().and_then(|before| change_note::id(before, schema)),
                ..ChangeNote::plain(change.dn())
            },
        };
        note.relaxed = relaxed;
        self.identify(&mut note, planned.change.as_slice(), before.as_ref(), false).await?;
        if let Some(before) = &before {
            match planned.change.as_ref() {
                Some(Change::Delete { .. }) => note.attributes = change_note::seen_whole(before, schema),
                Some(Change::Modify { changes, .. }) => {
                    note_spellings(&mut note, changes, before, schema);
                    note_matched(&mut note, matched, before, schema);
                }
                _ => note_matched(&mut note, matched, before, schema),
            }
            note_times(&mut note, before, schema);
        }
        Ok(Some(Seen { planned, note }))
    }

    /// Records a change that was made.
    pub(super) fn record(&self, seen: Option<Seen>) -> Result<(), DirectoryError> {
        let (Some(recorder), Some(Seen { planned, note })) = (&self.recorder, seen) else { return Ok(()) };
        let label = CHANGE_LABEL.try_with(Clone::clone).ok();
        recorder.change(&planned, note, label.as_ref()).map_err(unwritable)
    }

    /// Records that a password was set by an operation of its own.
    pub(super) fn record_password(&self, dn: &str) -> Result<(), DirectoryError> {
        let Some(recorder) = &self.recorder else { return Ok(()) };
        let label = CHANGE_LABEL.try_with(Clone::clone).ok();
        let note = ChangeNote { of: ChangeKind::Modify, ..ChangeNote::plain(dn) };
        recorder.password(note, label.as_ref()).map_err(unwritable)
    }
}

/// Notes what the plan saw of attributes with a marker (`on_delete.then`), with its time: another time is another leave.
fn note_times(note: &mut ChangeNote, before: &Entry, schema: &Schema) {
    for (name, trace) in &mut note.attributes {
        let values = schema.values_of(before, name);
        if trace.was.is_some() && values.iter().any(|value| is_marker(value)) {
            trace.was = Some(change_note::digest(name, values, schema));
        }
    }
}

/// Notes the octets of attributes whose values are the same after the change, but spelled otherwise.
fn note_spellings(note: &mut ChangeNote, changes: &[Modification], before: &Entry, schema: &Schema) {
    for (name, trace) in &mut note.attributes {
        if trace.was.is_none() || trace.was != trace.is {
            continue;
        }
        let mut values = schema.values_of(before, name).to_vec();
        for step in changes.iter().filter(|step| schema.same_description(&step.description, name)) {
            let is_given =
                |value: &Vec<u8>| step.values.iter().any(|given| schema.values_match(name, given, value));
            match step.kind {
                ModificationKind::Add => values.extend(step.values.iter().cloned()),
                ModificationKind::Delete if step.values.is_empty() => values.clear(),
                ModificationKind::Delete => values.retain(|value| !is_given(value)),
                ModificationKind::Replace => values.clone_from(&step.values),
                ModificationKind::Increment => {}
            }
        }
        trace.spelled = Some(change_note::octets_digest(&values));
    }
}

/// Notes the attributes by which the entry was found, so that its change is not made to what is another's entry by then.
fn note_matched(note: &mut ChangeNote, matched: &[String], before: &Entry, schema: &Schema) {
    let naming = note.naming(schema);
    for name in matched {
        let values = schema.values_of(before, name);
        let name = schema.normal_description(name);
        if values.is_empty() || naming.contains(&name) || note.attributes.contains_key(&name) {
            continue;
        }
        let digest = Some(change_note::digest(&name, values, schema));
        note.attributes.insert(name, Trace { was: digest.clone(), is: digest, ..Trace::default() });
    }
}
