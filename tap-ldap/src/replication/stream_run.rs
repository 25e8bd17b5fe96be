//! One stream in a run: where its entries come from, its records and deletions so far, and what is known of its entries.

use std::collections::BTreeSet;
use std::io::Write;

use ldap_directory::DirectoryError;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::{Entry, EntryView};
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::{Clock, now};
use serde_json::Value;
use singer_common::singer::catalog::CatalogEntry;

use crate::replication::completeness::CompletenessRules;
use crate::replication::duplicate_keys::DuplicateKeys;
use crate::replication::known_ids::KnownIds;
use crate::replication::origin::{Origin, Origins};
use crate::replication::witness::{self, Witness};

use crate::config::{SelectByDefault, StreamConfig, TapConfig};
use crate::discovery::containers;
use crate::discovery::context::DirectoryContext;
use crate::discovery::dn;
use crate::discovery::replication_keys;
use crate::discovery::source::Source;
use crate::key_index::EntryKey;
use crate::key_index::shared::SharedIndex;
use crate::output::Output;
use crate::replication::method::Method;
use crate::stream::convert::{Converter, MissingKey};
use crate::stream::key_order::KeyOrder;

mod former_names;
mod grown_schema;
mod known_entries;

/// The operational attribute with the DN of an entry's last modifier (RFC 4512 section 3.4.2).
const MODIFIERS_NAME: &str = "modifiersName";

/// Deletions read from the index at once.
const DELETIONS_AT_ONCE: usize = 1_000;

/// A stream that is being read.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about the stream")]
pub(crate) struct StreamRun<'a> {
    pub context: &'a DirectoryContext,
    pub stream: &'a CatalogEntry,
    pub source: &'a Source,
    pub converter: Converter<'a>,
    /// The version of its records; `None` if no version is activated.
    pub version: Option<i64>,
    /// Records emitted, including deletions.
    pub records: u64,
    /// Deletions emitted.
    pub deletions: u64,
    /// The modifiers whose changes are ignored (`ignore_modifiers`).
    ignored: BTreeSet<DnKey>,
    /// Changes that were ignored.
    pub ignored_changes: u64,
    /// The rules for concluding deletions from a whole read.
    pub rules: CompletenessRules,
    /// With a log and without an index: the ids of the stream's entries; `None` if they are not known.
    known: Option<KnownIds>,
    /// Whether a warning said that they are not known.
    warned_unknown: bool,
    /// Whether a warning said that the server refuses to look up moved entries.
    pub warned_not_found: bool,
    /// Whether a warning named an entry of which it is not known whether it belongs to the stream.
    pub warned_undecided: bool,
    /// Whether records of unknown entries may be downstream: those that a killed run emitted before it could print a STATE.
    unsettled: bool,
    /// Whether the last STATE says that there may be such records.
    is_unsettled_noted: bool,
    /// Whether all changes up to the log's position were emitted.
    caught_up: bool,
    /// Whether the whole read before the position was complete. After an incomplete one no position is kept: the missing
    /// entries would never be read.
    pub has_read_all: bool,
    /// The index of keys (`track_deletions`).
    pub index: Option<SharedIndex>,
    /// Whether the method is `LOG_BASED`: the index then serves for DNs, because a log does not always have the DN of a
    /// deleted entry.
    is_log_based: bool,
    clock: Clock,
    /// The keys of a whole read, if they may not be unique.
    pub duplicate_keys: Option<DuplicateKeys>,
    /// The last changes before a log's position, and the orders of the change marks.
    pub witness: Witness,
    marks: Vec<KeyOrder<'static>>,
    /// The number of connections for a whole read.
    pub partitions: usize,
    /// Whether a container with nested containers has deeper entries than a read by levels finds: below invisible parents, or
    /// below too many. Its changes are then searched in the whole subtree.
    pub reads_subtree: bool,
    /// Whether the bound user may not read the members of some groups of a membership stream.
    pub hides_members: bool,
    /// Whether later runs continue from a position after a whole read.
    pub keeps_position: bool,
    /// The DNs whose deletions this run emitted, if other entries with one of them may be older than the position.
    left_dns: Option<Vec<String>>,
    /// Whether a value under an option that the catalog does not have extends the SCHEMA (`select_by_default`: `allowed`).
    grows: bool,
    /// The properties that were added to the SCHEMA, each with the one of its attribute without options.
    grown: Vec<(String, String)>,
    bookmark_properties: Vec<String>,
    /// Where the stream is read from; `None` if nothing is concluded from the absence of entries.
    pub origin: Option<Origin>,
    /// Where the last runs read it from.
    pub origins: Origins,
}

impl<'a> StreamRun<'a> {
    pub(crate) fn new<W: Write>(
        output: &mut Output<'_, W>,
        config: &TapConfig,
        context: &'a DirectoryContext,
        stream: &'a CatalogEntry,
        source: &'a Source,
        method: &Method,
    ) -> anyhow::Result<Self> {
        let schema = context.directory.schema();
        let mut converter = Converter::new(stream, schema);
        let is_tracked = is_tracked(source);
        let tracked = config.track_deletions.as_deref().filter(|_| is_tracked);
        let index = tracked
            .map(|folder| output.indexes.open(folder, &stream.tap_stream_id, &stream.key_properties))
            .transpose()?;
        if has_deletions(config, source, method) {
            converter.mark_deletions();
        }
        let listed = |s: &StreamConfig| !s.attributes.is_empty() && !s.attributes.iter().any(|a| a == "*");
        match source {
            Source::Members(_) => {}
            // With listed attributes, no class needs others.
            Source::Search(search) if listed(search) => {}
            Source::Search(search) => converter.watch_classes(stream, &search.exclude_attributes),
            _ => converter.watch_classes(stream, &[]),
        }
        let of_stream = if let Source::Search(search) = source { search.partitions } else { None };
        let partitions = of_stream.unwrap_or(config.partitions);
        let ignored = config.ignore_modifiers.iter().filter_map(|dn| DnKey::parse(dn, schema).ok()).collect();
        let vendor = context.directory.root_dse().vendor;
        let is_log = matches!(method, Method::LogBased(_));
        let marks = if is_log { witness::orders(schema, vendor) } else { Vec::new() };
        Ok(Self {
            context,
            stream,
            source,
            converter,
            version: None,
            records: 0,
            deletions: 0,
            ignored,
            ignored_changes: 0,
            rules: CompletenessRules::new(config),
            known: None,
            warned_unknown: false,
            warned_not_found: false,
            warned_undecided: false,
            unsettled: false,
            is_unsettled_noted: false,
            caught_up: false,
            has_read_all: true,
            index,
            is_log_based: is_log,
            clock: Clock::default(),
            duplicate_keys: DuplicateKeys::of(context, source, stream),
            witness: Witness::default(),
            marks,
            partitions: usize::try_from(partitions).unwrap_or(1),
            reads_subtree: false,
            hides_members: false,
            keeps_position: *method != Method::FullTable,
            left_dns: None,
            grows: config.select_by_default == SelectByDefault::Allowed && is_tracked,
            grown: Vec::new(),
            bookmark_properties: Vec::new(),
            origin: None,
            origins: Origins::default(),
        })
    }

    pub(crate) fn schema(&self) -> &'a Schema {
        self.context.directory.schema()
    }

    /// Returns the attributes to request: those of the records, and others that reading needs.
    pub(crate) fn attributes(&self, more: &[&str]) -> Vec<String> {
        let mut names = self.converter.attributes();
        names.retain(|n| n != "1.1");
        let modifiers = (!self.ignored.is_empty()).then_some(MODIFIERS_NAME);
        // Containers are identified by it.
        let class = matches!(self.source, Source::Containers).then_some(containers::CLASS);
        for name in more.iter().copied().chain(modifiers).chain(class) {
            if !names.iter().any(|n| n.eq_ignore_ascii_case(name)) {
                names.push(name.to_owned());
            }
        }
        // RFC 4511 section 4.5.1.8: an empty list would mean all attributes.
        if names.is_empty() { vec!["1.1".to_owned()] } else { names }
    }

    /// Returns the change marks to request, if the method is `LOG_BASED`.
    pub(crate) fn marks(&self) -> &'static [&'static str] {
        if self.is_log_based {
            replication_keys::marks(self.context.directory.root_dse().vendor)
        } else {
            &[]
        }
    }

    /// Returns the orders of the change marks.
    pub(crate) fn mark_orders(&self) -> &[KeyOrder<'static>] {
        &self.marks
    }

    /// Prints the SCHEMA message. A stream with deletions has a property for them.
    pub(crate) fn start<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        bookmark_properties: &[String],
    ) -> anyhow::Result<()> {
        self.rules.resume(output.state.bookmarks.get(&self.stream.tap_stream_id));
        if let Some(index) = &self.index {
            self.rules.resume_index(index.get().count()?);
        }
        bookmark_properties.clone_into(&mut self.bookmark_properties);
        self.write_schema(output)
    }

    /// Warns once of entries that have the same key.
    pub(crate) async fn warn_of_duplicate_keys(&mut self) -> Result<(), DirectoryError> {
        let Some(keys) = self.duplicate_keys.take() else { return Ok(()) };
        keys.warn(self.context, self.source, &self.stream.stream, &|entry| self.key_of(entry)).await
    }

    /// Emits the RECORD of an entry.
    pub(crate) fn emit<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        entry: &impl EntryView,
    ) -> anyhow::Result<()> {
        let key = if self.is_log_based { None } else { self.index_key(entry) };
        self.emit_with_key(output, entry, key.as_ref())
    }

    /// The same. `key`: that of the entry in the index, if the method is not `LOG_BASED`.
    fn emit_with_key<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        entry: &impl EntryView,
        key: Option<&EntryKey>,
    ) -> anyhow::Result<()> {
        if self.is_log_based {
            self.note_unsettled(output)?;
            if self.index.is_some() {
                self.note_dn(output, entry)?;
            }
        } else {
            let former = self.former_dns(key, entry)?;
            self.leave_dns(output, key, &former)?;
        }
        self.note_present(entry);
        self.write_record(output, entry)?;
        self.records += 1;
        output.record_written(&self.stream.stream, self.records)?;
        Ok(())
    }

    /// Emits the RECORD of an entry, and notes in the index that it exists.
    pub(crate) fn emit_present<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        entry: &impl EntryView,
    ) -> anyhow::Result<()> {
        // With a log, emitting it does this.
        let key = if self.is_log_based { None } else { self.index_key(entry) };
        self.emit_with_key(output, entry, key.as_ref())?;
        self.seen(key, entry)
    }

    /// Emits the RECORD of a changed entry, unless its modifier is listed in `ignore_modifiers`. Returns whether it was emitted.
    pub(crate) fn emit_change<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        entry: &Entry,
    ) -> anyhow::Result<bool> {
        if self.is_ignored(entry) && !self.has_other_dn(entry)? {
            self.note_present(entry);
            self.ignored_changes += 1;
            return Ok(false);
        }
        self.emit(output, entry)?;
        Ok(true)
    }

    /// Returns whether the last modifier of an entry is listed in `ignore_modifiers`.
    pub(crate) fn is_ignored(&self, entry: &Entry) -> bool {
        !self.ignored.is_empty()
            && entry
                .first_text(MODIFIERS_NAME)
                .and_then(|dn| DnKey::parse(dn, self.schema()).ok())
                .is_some_and(|dn| self.ignored.contains(&dn))
    }

    /// Returns the number of emitted entries that exist.
    pub(crate) fn live(&self) -> u64 {
        self.records.saturating_sub(self.deletions)
    }

    fn write_deletion<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        key: &[Value],
        dn: Option<&str>,
    ) -> anyhow::Result<()> {
        if let Some((property, _)) = self.stream.key_properties.iter().zip(key).find(|(_, v)| is_null(v)) {
            return Err(MissingKey {
                dn: dn.unwrap_or_default().to_owned(),
                property: property.clone(),
                stream: self.stream.tap_stream_id.clone(),
            }
            .into());
        }
        let keys: Vec<(&str, &Value)> =
            self.stream.key_properties.iter().map(String::as_str).zip(key).collect();
        self.converter.write_deletion(dn, &keys, self.version, &now(), output.writer.record_buffer());
        self.records += 1;
        self.deletions += 1;
        output.record_written(&self.stream.stream, self.records)?;
        Ok(())
    }

    /// Returns the key of an entry as in its record: one value for each key property.
    pub(crate) fn key_of(&self, entry: &impl EntryView) -> Vec<Value> {
        let value = |name: &String| match name.as_str() {
            "dn" => Value::String(entry.dn().to_owned()),
            name => self.converter.value_of(entry, name),
        };
        self.stream.key_properties.iter().map(value).collect()
    }

    /// Returns whether an entry in the scope of the stream's search belongs to the stream.
    pub(crate) fn contains(&self, entry: &Entry) -> anyhow::Result<bool> {
        Ok(self.context.has_entry(self.source, entry)?)
    }

    /// Returns whether a DN is in the scope of the stream.
    pub(crate) fn is_in_scope(&self, dn: &str) -> anyhow::Result<bool> {
        Ok(self.context.is_in_scope(self.source, dn)?)
    }

    /// Returns the base DN of the stream.
    pub(crate) fn base(&self) -> &str {
        match self.source {
            Source::Search(s) => s.base_dn.as_deref().unwrap_or(&self.context.base),
            Source::Container { dn } => dn,
            Source::Class { .. } | Source::Containers | Source::Members(_) => &self.context.base,
        }
    }

    /// Returns the deepest naming context that contains the stream.
    pub(crate) fn naming_context(&self) -> anyhow::Result<Option<String>> {
        let key = dn::key(self.base(), self.schema())?;
        let contexts = self.context.directory.root_dse().naming_contexts.iter();
        let above = contexts.filter_map(|dn| Some((DnKey::parse(dn, self.schema()).ok()?, dn)));
        let deepest = above
            .filter(|(naming_context, _)| key.is_within(naming_context))
            .max_by_key(|(naming_context, _)| naming_context.depth());
        Ok(deepest.map(|(_, dn)| dn.clone()))
    }

    /// Checks that the server of the position is the one that everything was read from. Another one may lack changes before the
    /// position, which would never be requested.
    pub(crate) fn check_server(&self, server: &str) -> Result<(), DirectoryError> {
        let now = self.context.directory.serving();
        if now == server {
            return Ok(());
        }
        Err(DirectoryError::Protocol {
            operation: "search",
            dn: self.stream.tap_stream_id.clone(),
            reason: format!(
                "{now} took over from {server} in the middle of a first read, and may not have all that is in the position taken there; run again"
            ),
            outcome_unknown: false,
        })
    }

    /// Logs the warnings at the end of the stream.
    pub(crate) fn log_warnings(&self) {
        let stream = self.stream.stream.as_str();
        for warning in self.converter.warnings() {
            tracing::warn!(stream, "{stream}: {warning}");
        }
        let classes = self.converter.unforeseen_classes();
        if !classes.is_empty() {
            let classes = classes.join(", ");
            tracing::warn!(
                stream,
                unforeseen_classes = classes,
                "{stream}: entries of {classes} came, which has attributes that the catalog does not have: these are not read; run --discover again (discovery_sample_size: 0 reads every entry)"
            );
        }
        if self.ignored_changes > 0 {
            tracing::info!(stream, "{stream}: {} changes left out (ignore_modifiers)", self.ignored_changes);
        }
    }
}

/// Whether the keys of a source's records are kept with `track_deletions`. Membership records are not entries.
fn is_tracked(source: &Source) -> bool {
    !matches!(source, Source::Members(_))
}

/// Whether the SCHEMA has the property of deletions.
pub(crate) fn has_deletions(config: &TapConfig, source: &Source, method: &Method) -> bool {
    config.track_deletions.is_some() && is_tracked(source) || matches!(method, Method::LogBased(_))
}

/// Returns whether a part of a key is null.
fn is_null(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(|values| values.iter().all(Value::is_null))
}

/// Returns a version in milliseconds since 1970, as taps usually do; always larger than the last one.
pub(crate) fn new_version(last: Option<i64>) -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|d| i64::try_from(d.as_millis()).ok())
        .unwrap_or_default();
    last.map_or(now, |last| now.max(last.saturating_add(1)))
}
