//! One stream under way: what it is read from, what its records are made of, how many there were.

use std::collections::BTreeSet;
use std::io::Write;
use std::ops::Range;

use serde_json::{Value, json};
use singer_common::catalog::CatalogEntry;
use singer_common::directory::{DirectoryError, Scope};
use singer_common::dn::DnKey;
use singer_common::entry::{Entry, EntryView};
use singer_common::schema::Schema;
use singer_common::schema::syntax::{Clock, now};

use super::completeness::Rules;
use super::known::KnownIds;
use super::same_key::{self, SameKeys};
use super::witness::{self, Witness};
use singer_common::deletion::DELETED_AT;

use super::{Method, stream_base};
use crate::config::{StreamConfig, TapConfig};
use crate::discovery::containers;
use crate::discovery::context::DirectoryContext;
use crate::discovery::dn;
use crate::discovery::replication_keys;
use crate::discovery::source::Source;
use crate::key_index::SharedIndex;
use crate::output::Output;
use crate::stream::convert::{Converter, MissingKey};
use crate::stream::key_order::KeyOrder;

mod held;

/// The operational attribute that names who changed an entry last (RFC 4512 section 3.4.2).
const MODIFIERS_NAME: &str = "modifiersName";

/// Deletions taken from the index at once.
const GONE_AT_ONCE: usize = 1_000;

/// A stream that is read.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about the stream")]
pub(crate) struct StreamRun<'a> {
    pub context: &'a DirectoryContext,
    pub stream: &'a CatalogEntry,
    pub source: &'a Source,
    pub converter: Converter<'a>,
    /// The version its records carry; none where no version is ever activated.
    pub version: Option<i64>,
    /// Records printed.
    pub records: u64,
    /// Deletions among them.
    pub deletions: u64,
    /// Whose changes are left out (`ignore_modifiers`).
    ignored: BTreeSet<DnKey>,
    /// How many were.
    pub left_out: u64,
    /// When deletions may be concluded from a whole read.
    pub rules: Rules,
    /// The ids that the stream has, where a log names others and there is no index; `None` where nobody knows.
    known: Option<KnownIds>,
    /// Whether it was said that nobody does.
    said_unknown: bool,
    /// Whether it was said that the server does not let one look where entries went.
    pub said_not_found: bool,
    /// Whether rows may be downstream that neither the ids nor the index have: those of a run that was killed after it printed
    /// them and before it printed a STATE.
    unsettled: bool,
    /// Whether a later run that goes on from the last STATE is told that there may be such rows.
    is_unsettled_noted: bool,
    /// Whether everything that the log holds up to its position was told.
    caught_up: bool,
    /// Whether the read that a position is of was whole. Of one that was not no position is kept: what is missing would never be
    /// read.
    pub has_read_all: bool,
    /// The keys of the stream (`track_deletions`).
    pub index: Option<SharedIndex>,
    /// Whether the index is for names: a log tells what is gone, but not always what it was called.
    names: bool,
    clock: Clock,
    /// The keys of a whole read, where several entries may have the same.
    pub same_keys: Option<SameKeys>,
    /// What tells whether the directory went back behind a log's position, and how its values sort.
    pub witness: Witness,
    marks: Vec<KeyOrder<'static>>,
    /// Over how many connections it is to be read whole.
    pub partitions: usize,
    /// Whether entries of a container with others nested in it lie deeper than level by level they are found: below parents
    /// that are not seen, or below too many. Its changes are then looked for in all of its subtree.
    pub reads_subtree: bool,
    /// Whether later runs go on from a position that a whole read leaves.
    pub keeps_position: bool,
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
        // The rows of a group are no entries.
        let is_tracked = !matches!(source, Source::Members(_));
        let tracked = config.track_deletions.as_deref().filter(|_| is_tracked);
        let index = tracked
            .map(|folder| output.indexes.open(folder, &stream.tap_stream_id, &stream.key_properties))
            .transpose()?;
        if index.is_some() || matches!(method, Method::LogBased(_)) {
            converter.mark_deletions();
        }
        let listed = |s: &StreamConfig| !s.attributes.is_empty() && !s.attributes.iter().any(|a| a == "*");
        match source {
            Source::Members(_) => {}
            // Who lists the attributes has said which.
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
            left_out: 0,
            rules: Rules::new(config),
            known: None,
            said_unknown: false,
            said_not_found: false,
            unsettled: false,
            is_unsettled_noted: false,
            caught_up: false,
            has_read_all: true,
            index,
            names: is_log,
            clock: Clock::default(),
            same_keys: SameKeys::of(context, source, stream),
            witness: Witness::default(),
            marks,
            partitions: usize::try_from(partitions).unwrap_or(1),
            reads_subtree: false,
            keeps_position: *method != Method::FullTable,
        })
    }

    pub(crate) fn schema(&self) -> &'a Schema {
        self.context.directory.schema()
    }

    /// The attributes to ask for: those of the records, and the others that reading needs.
    pub(crate) fn attributes(&self, more: &[&str]) -> Vec<String> {
        let mut names = self.converter.attributes();
        names.retain(|n| n != "1.1");
        let modifiers = (!self.ignored.is_empty()).then_some(MODIFIERS_NAME);
        // What the containers are told by.
        let class = matches!(self.source, Source::Containers).then_some(containers::CLASS);
        for name in more.iter().copied().chain(modifiers).chain(class) {
            if !names.iter().any(|n| n.eq_ignore_ascii_case(name)) {
                names.push(name.to_owned());
            }
        }
        // RFC 4511 section 4.5.1.8: an empty list would mean all attributes.
        if names.is_empty() { vec!["1.1".to_owned()] } else { names }
    }

    /// What entries are asked for besides, where a log is followed.
    pub(crate) fn marks(&self) -> &'static [&'static str] {
        if self.names { replication_keys::marks(self.context.directory.root_dse().vendor) } else { &[] }
    }

    /// How their values sort.
    pub(crate) fn mark_orders(&self) -> &[KeyOrder<'static>] {
        &self.marks
    }

    /// Prints SCHEMA. A stream whose deletions are told has a property for them.
    pub(crate) fn start<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        bookmark_properties: &[String],
    ) -> anyhow::Result<()> {
        self.rules.resume(output.state.bookmarks.get(&self.stream.tap_stream_id));
        if let Some(index) = &self.index {
            self.rules.resume_index(index.get().count()?);
        }
        let mut schema = self.stream.selected_schema();
        // As in the records, whatever the order in the catalog.
        if let Some(Value::Object(properties)) = schema.get_mut("properties")
            && let Some(dn) = properties.shift_remove("dn")
        {
            properties.shift_insert(0, "dn".to_owned(), dn);
        }
        if self.converter.marks_deletions()
            && let Some(Value::Object(properties)) = schema.get_mut("properties")
        {
            properties.shift_remove(DELETED_AT);
            properties.insert(
                DELETED_AT.into(),
                json!({"type": ["null", "string"], "format": "date-time", "description": "When the entry was found to be deleted"}),
            );
        }
        let keys = &self.stream.key_properties;
        Ok(output.writer.schema(&self.stream.stream, &schema, keys, bookmark_properties)?)
    }

    /// Appends an entry's RECORD line of now. Gives where in it the record itself is.
    ///
    /// # Errors
    /// Fails if the entry has no value of the key.
    pub(crate) fn write(
        &mut self,
        entry: &impl EntryView,
        out: &mut Vec<u8>,
    ) -> Result<Range<usize>, MissingKey> {
        let record = self.converter.write(entry, self.version, self.clock.now(), out)?;
        if let Some(keys) = &mut self.same_keys {
            keys.add(entry);
        }
        Ok(record)
    }

    /// Warns once of entries that have the same key.
    pub(crate) async fn warn_of_same_keys(&mut self) -> Result<(), DirectoryError> {
        same_key::warn(self).await
    }

    /// Prints an entry's RECORD.
    pub(crate) fn emit<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        entry: &impl EntryView,
    ) -> anyhow::Result<()> {
        if self.names {
            self.note_unsettled(output)?;
            if self.index.is_some() {
                self.name(output, entry)?;
            }
        }
        self.has(entry);
        self.write(entry, output.writer.record_buffer())?;
        self.records += 1;
        output.record_done(&self.stream.stream, self.records)?;
        Ok(())
    }

    /// The same, of an entry that is taken note of as being there.
    pub(crate) fn take<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        entry: &impl EntryView,
    ) -> anyhow::Result<()> {
        self.emit(output, entry)?;
        self.seen(entry)
    }

    /// Prints the RECORD of an entry that changed, unless it was changed by whom nobody wants to hear of. Whether it was printed.
    pub(crate) fn emit_change<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
        entry: &Entry,
    ) -> anyhow::Result<bool> {
        if self.is_ignored(entry) {
            self.has(entry);
            self.left_out += 1;
            return Ok(false);
        }
        self.emit(output, entry)?;
        Ok(true)
    }

    /// Whether the last change of an entry was made by one of `ignore_modifiers`.
    pub(crate) fn is_ignored(&self, entry: &Entry) -> bool {
        !self.ignored.is_empty()
            && entry
                .first_text(MODIFIERS_NAME)
                .and_then(|dn| DnKey::parse(dn, self.schema()).ok())
                .is_some_and(|dn| self.ignored.contains(&dn))
    }

    /// Entries printed so far that are there.
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
        output.record_done(&self.stream.stream, self.records)?;
        Ok(())
    }

    /// An entry's key as its records have it: a value for each of the key properties.
    pub(crate) fn key_of(&self, entry: &impl EntryView) -> Vec<Value> {
        let value = |name: &String| match name.as_str() {
            "dn" => Value::String(entry.dn().to_owned()),
            name => self.converter.value_of(entry, name),
        };
        self.stream.key_properties.iter().map(value).collect()
    }

    /// Whether an entry that a search of the whole scope gave belongs to this stream.
    pub(crate) fn keeps(&self, entry: &Entry) -> anyhow::Result<bool> {
        let context = self.context;
        match self.source {
            Source::Container { dn } => {
                let (key, own) = (dn::key(&entry.dn, self.schema())?, dn::key(dn, self.schema())?);
                Ok(!context.containers.contains(&key) && context.containers.nearest(&key) == Some(own))
            }
            Source::Containers => Ok(containers::is_container(context.directory.root_dse().vendor, entry)
                || dn::key(&entry.dn, self.schema())? == dn::key(&context.base, self.schema())?),
            _ => Ok(true),
        }
    }

    /// Whether an entry of this name is where the stream is.
    pub(crate) fn is_in_scope(&self, dn: &str) -> anyhow::Result<bool> {
        let (context, schema) = (self.context, self.schema());
        let key = dn::key(dn, schema)?;
        let below = |base: &str, scope: Scope| -> anyhow::Result<bool> {
            let base = dn::key(base, schema)?;
            Ok(match scope {
                Scope::Base => key == base,
                Scope::One => key.parent().as_ref() == Some(&base),
                Scope::Sub => key.is_within(&base),
            })
        };
        match self.source {
            Source::Search(s) => below(s.base_dn.as_deref().unwrap_or(&context.base), s.scope),
            Source::Container { .. } => self.keeps(&Entry { dn: dn.to_owned(), attributes: Vec::new() }),
            Source::Class { .. } | Source::Containers | Source::Members(_) => {
                below(&context.base, Scope::Sub)
            }
        }
    }

    /// The naming context that holds the stream, the deepest one.
    pub(crate) fn naming_context(&self) -> anyhow::Result<Option<String>> {
        let key = dn::key(stream_base(self), self.schema())?;
        let contexts = self.context.directory.root_dse().naming_contexts.iter();
        let above = contexts.filter_map(|dn| Some((DnKey::parse(dn, self.schema()).ok()?, dn)));
        let deepest = above
            .filter(|(naming_context, _)| key.is_within(naming_context))
            .max_by_key(|(naming_context, _)| naming_context.depth());
        Ok(deepest.map(|(_, dn)| dn.clone()))
    }

    /// Whether the server that a position was taken from is the one that everything was read from. Another one may not have
    /// had all that lies before the position, and would never be asked for it.
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
        })
    }

    /// What the user should know at the end of the stream.
    pub(crate) fn warn(&self) {
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
        if self.left_out > 0 {
            tracing::info!(stream, "{stream}: {} changes left out (ignore_modifiers)", self.left_out);
        }
    }
}

/// Whether a part of a key says nothing.
fn is_null(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(|values| values.iter().all(Value::is_null))
}

/// Milliseconds since 1970: what taps take for a version, and larger than the one before, whatever the clock does.
pub(crate) fn new_version(last: Option<i64>) -> i64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .ok()
        .and_then(|d| i64::try_from(d.as_millis()).ok())
        .unwrap_or_default();
    last.map_or(now, |last| now.max(last.saturating_add(1)))
}
