//! Warnings of versions that delete nothing, or that did not arrive.

use std::io::Write;

use ldap_directory::DirectoryError;
use ldap_directory::filter::Filter;
use ldap_directory::nearest::nearest;
use ldap_directory::unseen::Hidden;
use singer_common::operations::facts::Facts;

use super::Load;
use crate::load::stream::StreamDefinition;
use crate::map::DeleteAction;
use crate::write::{Applier, guard};

/// Warns of entries that are deleted so that a record can have their DN, if these are most of the deletions. `anew`: their DNs.
pub(super) fn warn_of_entries_made_anew(stream: &str, deletions: usize, anew: &[&str]) {
    let Some(first) = anew.first() else { return };
    if !guard::are_made_anew(anew.len() as u64, deletions as u64) {
        return tracing::info!(
            stream,
            "{stream}: `{first}` is deleted, and a record of another entry gets its DN"
        );
    }
    let count = anew.len();
    let setting = format!("mapping_rules.{stream}.match");
    let facts = Facts {
        stream: Some(stream.to_owned()),
        dn: Some((*first).to_owned()),
        ..Facts::of_setting(&setting)
    };
    facts.warn(&format!(
        "{stream}: {count} of {deletions} entries that did not come with the version have the DN of a record (the first is `{first}`): they are deleted and made anew, without their passwords, identifiers and names in groups. Has the form of what `match` compares changed, such as 00001 in place of 1?"
    ));
}

/// Warns of entries that may be in the scope of a stream, and that its filter does not find because the bound user may not search what
/// it compares: they stay, whatever the version has.
///
/// # Errors
/// A search fails.
pub(in super::super) async fn warn_of_hidden(
    applier: &Applier,
    stream: &str,
    base: &str,
    filter: &Filter,
) -> Result<(), DirectoryError> {
    let Some(Hidden { dn, attribute }) = applier.undecided_below(base, filter).await? else {
        return Ok(());
    };
    let text = format!(
        "{stream}: the bound user may not search `{attribute}`, for example of `{dn}`, so whether such an entry is in the scope, {filter}, is not known: it is not deleted, whether the version has it or not; let the user search `{attribute}`, or leave the entry out of the scope (mapping_rules.{stream}.scope_base)"
    );
    let stream = Some(stream.to_owned());
    let (dn, attribute) = (Some(dn), Some(attribute));
    Facts { stream, dn, attribute, ..Facts::of_setting("bind_dn") }.warn(&text);
    Ok(())
}

impl<W: Write> Load<'_, W> {
    /// Warns at the end of streams whose absent entries should be deleted, and for which the input announced no deletion in
    /// any form: neither a version nor the property `_sdc_deleted_at`. Otherwise leavers would stay without a word.
    pub(in super::super) fn warn_of_missing_versions(&self) {
        if !self.config.process_activate_version {
            return;
        }
        let deletes = |stream: &StreamDefinition| {
            stream.mapping.extent().is_some_and(|extent| *extent.action != DeleteAction::Nothing)
        };
        for (name, stream) in &self.input.streams {
            let definition = &stream.definition;
            if deletes(definition)
                && !definition.has_deletion_marker
                && !self.activations.announced_streams.contains(&**name)
            {
                tracing::warn!(
                    stream = &**name,
                    setting = "process_activate_version",
                    "stream `{name}`: no ACTIVATE_VERSION arrived, so entries that the stream no longer has are not deleted; let the tap read the stream as a whole and send ACTIVATE_VERSION after its records, or set process_activate_version to false"
                );
            }
        }
    }

    /// Warns of a version of a stream without SCHEMA: most likely a misspelt name.
    pub(super) fn warn_of_unknown_stream(&self, stream: &str, line: u64) {
        let mut known: Vec<&str> = self.input.streams.keys().map(|name| &**name).collect();
        known.sort_unstable();
        let near = nearest(stream, known.iter().copied());
        let hint = match near {
            Some(near) => format!("; did you mean `{near}`?"),
            None if known.is_empty() => String::new(),
            None => format!("; the input has `{}`", known.join("`, `")),
        };
        tracing::warn!(
            stream,
            nearest = near,
            "line {line}, stream `{stream}`: ACTIVATE_VERSION deletes nothing: no SCHEMA names such a stream{hint}"
        );
    }

    /// Warns once for each stream: a file of changes does not contain the directory, so the absent entries are not known.
    pub(super) fn check_format(&mut self, stream: &str, line: u64) {
        if self.config.writes_changes() && self.activations.format_warned.insert(stream.to_owned()) {
            tracing::warn!(
                stream,
                setting = "ldif_format",
                "line {line}, stream `{stream}`: ACTIVATE_VERSION deletes no entry that the file's own changes did not make: ldif_format is `changes`, and the file does not hold the directory; for these deletions write to the directory itself, or to an LDIF file of its entries (ldif_format `content`)"
            );
        }
    }
}
