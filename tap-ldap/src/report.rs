//! `--report`: one HTML page about the containers, classes and attributes of a directory.
//!
//! It has names and counts only, never a value. What the directory and its schema contain is untrusted input; `page`
//! escapes all of it.

use std::collections::{BTreeMap, HashMap};

use ldap_directory::dn::{Dn, DnKey, Rdn};
use ldap_directory::schema::{ClassKind, Schema};
use serde_json::Value;
use singer_common::singer::catalog::CatalogEntry;

use crate::discovery::doubles::Doubles;
use crate::discovery::sample::Sample;

mod cells;
mod index;
mod page;
mod quality;
mod syntaxes;
mod tree;

/// Deeper levels are drawn flat. Chromium flattens at 512 levels; a reader is lost long before.
const MAX_DEPTH: usize = 24;

/// The head of the page.
#[derive(Debug, Clone)]
pub struct PageHead<'a> {
    /// The server's URL, or the file. Without credentials: [`ldap_directory::Directory::location`] has none.
    pub server: &'a str,
    /// The kind of server, and its version if known.
    pub vendor: &'a str,
    /// The base DN.
    pub base: &'a str,
    /// When the directory was read.
    pub date: &'a str,
    /// As whom it was read; `None` for a file.
    pub reader: Option<&'a str>,
    /// The result of comparing the streams with the directory.
    pub books: &'a str,
    /// Values that should be unique, and are not.
    pub doubles: &'a Doubles,
}

/// Returns the page: the streams with their samples, in the order of the catalog.
pub fn render(head: &PageHead, streams: &[(&CatalogEntry, &Sample)], schema: &Schema) -> String {
    let streams = arrange(streams, schema);
    let overview = overview(&streams);
    let findings = quality::findings(&streams, schema);
    page::page(head, &streams, &overview, &findings).into_string()
}

/// A stream on the page.
#[derive(Debug)]
struct Stream<'a> {
    entry: &'a CatalogEntry,
    sample: &'a Sample,
    /// The number of containers above it; 0 for a stream that is not a container.
    depth: usize,
    label: Label,
    /// The entries read in all containers below, and whether these are all.
    below: Option<(u64, bool)>,
    /// The structural classes that are not a superclass of another one here: what a reader would call the entries. With the
    /// number of entries that have no subclass of it.
    kinds: Vec<(&'a str, u64)>,
    /// Attributes that occur, most frequent first.
    seen: Vec<Attribute<'a>>,
    /// Attributes that the classes allow and no entry has.
    unseen: Vec<Attribute<'a>>,
}

/// A stream's name in the tree.
#[derive(Debug, PartialEq, Eq)]
enum Label {
    /// The stream is not a container, or a container below no other one.
    Whole(String),
    /// The RDN's type and value, and the RDNs between it and the container above.
    Relative { kind: String, value: String, between: String },
}

/// An attribute of a stream.
#[derive(Debug, Clone)]
struct Attribute<'a> {
    name: &'a str,
    json_type: String,
    syntax: Option<&'a str>,
    description: Option<&'a str>,
    entries: u64,
    several: u64,
    key: bool,
    by_default: bool,
}

/// An attribute in all streams together.
#[derive(Debug)]
struct Overall<'a> {
    /// As in the first stream with it.
    attribute: Attribute<'a>,
    /// Its types; one, unless it is single-valued only in some streams.
    json_types: Vec<String>,
    /// The streams in which it occurs, by their place on the page, and the number of entries with it.
    streams: Vec<(usize, u64)>,
}

/// Arranges streams: those that are not containers first, then the containers, each parent before its children.
fn arrange<'a>(streams: &[(&'a CatalogEntry, &'a Sample)], schema: &Schema) -> Vec<Stream<'a>> {
    let mut named: Vec<_> = streams
        .iter()
        .map(|(entry, sample)| {
            let dn = Dn::parse(&entry.tap_stream_id).ok();
            (dn.map(|dn| (dn.key(schema), dn)), *entry, *sample)
        })
        .collect();
    // Stable: streams that are not containers stay in the order of the catalog.
    named.sort_by(|(a, ..), (b, ..)| a.as_ref().map(|(key, _)| key).cmp(&b.as_ref().map(|(key, _)| key)));
    let mut above: Vec<DnKey> = Vec::new();
    let mut arranged = Vec::with_capacity(named.len());
    for (dn, entry, sample) in named {
        let (depth, label) = match dn {
            None => (0, Label::Whole(entry.tap_stream_id.clone())),
            Some((key, dn)) => {
                while above.last().is_some_and(|parent| !parent.is_ancestor_of(&key)) {
                    above.pop();
                }
                let depth = above.len();
                let label = Label::of(&dn, above.last(), &entry.tap_stream_id);
                above.push(key);
                (depth.min(MAX_DEPTH), label)
            }
        };
        let (seen, unseen) = attributes(entry, sample);
        let kinds = kinds(sample, schema);
        arranged.push(Stream { entry, sample, depth, label, below: None, kinds, seen, unseen });
    }
    for (at, below) in below(&arranged).into_iter().enumerate() {
        if let Some(stream) = arranged.get_mut(at) {
            stream.below = below;
        }
    }
    arranged
}

/// Returns the content of each stream's subtree: the following streams that are deeper.
fn below(streams: &[Stream]) -> Vec<Option<(u64, bool)>> {
    let subtree = |at: usize, depth: usize| streams.iter().skip(at + 1).take_while(move |s| s.depth > depth);
    let add = |sum: Option<(u64, bool)>, s: &Stream| {
        let (entries, complete) = sum.unwrap_or((0, true));
        Some((entries + s.sample.entries, complete && s.sample.complete))
    };
    streams.iter().enumerate().map(|(at, s)| subtree(at, s.depth).fold(None, add)).collect()
}

impl Label {
    fn of(dn: &Dn, parent: Option<&DnKey>, text: &str) -> Label {
        let own = parent.and_then(|parent| dn.rdns.get(..dn.depth().checked_sub(parent.depth())?));
        match own.and_then(<[Rdn]>::split_first) {
            None if dn.is_empty() => Label::Whole("(the root)".to_owned()),
            None => Label::Whole(text.to_owned()),
            Some((rdn, between)) => {
                let join = |parts: Vec<String>, by: &str| parts.join(by);
                let value = |ava: &ldap_directory::dn::Ava| String::from_utf8_lossy(&ava.value).into_owned();
                Label::Relative {
                    kind: join(rdn.avas.iter().map(|a| a.attribute.clone()).collect(), "+"),
                    value: join(rdn.avas.iter().map(value).collect(), " + "),
                    between: join(between.iter().map(ToString::to_string).collect(), ","),
                }
            }
        }
    }
}

fn kinds<'a>(sample: &'a Sample, schema: &Schema) -> Vec<(&'a str, u64)> {
    let names = || sample.classes.iter().map(|(name, _)| name.as_str());
    let mut kinds: Vec<(&str, u64)> = sample
        .classes
        .iter()
        .filter(|(name, _)| schema.object_class(name).is_none_or(|c| c.kind == ClassKind::Structural))
        .filter_map(|(name, count)| {
            // A superclass is only named if there are entries that have no subclass of it.
            let derived = names().filter(|other| {
                !other.eq_ignore_ascii_case(name)
                    && schema.class_closure([*other]).iter().any(|c| c.name().eq_ignore_ascii_case(name))
            });
            let most = derived.filter_map(|d| sample.classes.iter().find(|(n, _)| n == d)).map(|(_, n)| *n);
            let own = count.checked_sub(most.max().unwrap_or_default()).filter(|own| *own > 0)?;
            Some((name.as_str(), own))
        })
        .collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    kinds
}

/// Returns a stream's attributes: those that occur, and those that do not.
fn attributes<'a>(entry: &'a CatalogEntry, sample: &Sample) -> (Vec<Attribute<'a>>, Vec<Attribute<'a>>) {
    let counts: HashMap<String, (u64, u64)> = sample
        .attributes
        .iter()
        .map(|o| (o.description.to_ascii_lowercase(), (o.entries, o.several)))
        .collect();
    let metadata: HashMap<&str, &serde_json::Map<String, Value>> =
        entry.metadata.iter().filter_map(|m| Some((m.breadcrumb.get(1)?.as_str(), &m.metadata))).collect();
    let (mut seen, mut unseen): (Vec<_>, Vec<_>) = entry
        .properties()
        .map(|(name, property)| {
            // Every entry has a DN, which is not among its attributes (RFC 4511 section 4.5.2).
            let always = || (name == "dn").then_some((sample.entries, 0));
            let (entries, several) =
                counts.get(&name.to_ascii_lowercase()).copied().or_else(always).unwrap_or_default();
            let metadata = metadata.get(name.as_str());
            let flag = |key: &str| metadata.and_then(|m| m.get(key)).and_then(Value::as_bool);
            let automatic = metadata.and_then(|m| m.get("inclusion")).is_some_and(|i| i == "automatic");
            Attribute {
                name,
                json_type: json_type(property),
                syntax: match name.as_str() {
                    "dn" => Some(syntaxes::DN),
                    _ => metadata.and_then(|m| m.get("ldap.syntax")).and_then(Value::as_str),
                },
                description: property.get("description").and_then(Value::as_str),
                entries,
                several,
                key: entry.key_properties.contains(name),
                by_default: automatic || flag("selected-by-default").unwrap_or(false),
            }
        })
        .partition(|a| a.entries > 0);
    // Stable: equally frequent attributes stay in the order of the catalog.
    seen.sort_by_key(|a| std::cmp::Reverse(a.entries));
    unseen.sort_by_cached_key(|a| a.name.to_ascii_lowercase());
    (seen, unseen)
}

/// Returns a property's type in words: `string`, `array of string (date-time)`.
fn json_type(property: &Value) -> String {
    let types = |value: &Value| -> Option<String> {
        match value.get("type")? {
            Value::Array(names) => {
                let names: Vec<&str> =
                    names.iter().filter_map(Value::as_str).filter(|n| *n != "null").collect();
                Some(names.join(" or "))
            }
            other => other.as_str().map(str::to_owned),
        }
    };
    let kind = types(property).unwrap_or_else(|| "anything".to_owned());
    let (prefix, item) = match (kind.as_str(), property.get("items")) {
        ("array", Some(item)) => ("array of ", item),
        _ => ("", property),
    };
    let kind = types(item).unwrap_or(kind);
    let format = item.get("format").and_then(Value::as_str);
    let encoding = item.get("contentEncoding").and_then(Value::as_str).filter(|e| *e != "8bit");
    match format.or(encoding) {
        Some(form) => format!("{prefix}{kind} ({form})"),
        None => format!("{prefix}{kind}"),
    }
}

/// Returns every attribute once, sorted by name.
fn overview<'a>(streams: &[Stream<'a>]) -> Vec<Overall<'a>> {
    let mut all: BTreeMap<String, Overall<'a>> = BTreeMap::new();
    for (at, stream) in streams.iter().enumerate() {
        for attribute in stream.seen.iter().chain(&stream.unseen) {
            let overall = all.entry(attribute.name.to_ascii_lowercase()).or_insert_with(|| Overall {
                attribute: Attribute { entries: 0, several: 0, ..attribute.clone() },
                json_types: Vec::new(),
                streams: Vec::new(),
            });
            overall.attribute.entries += attribute.entries;
            overall.attribute.several += attribute.several;
            if !overall.json_types.contains(&attribute.json_type) {
                overall.json_types.push(attribute.json_type.clone());
            }
            if attribute.entries > 0 {
                overall.streams.push((at, attribute.entries));
            }
        }
    }
    let mut all: Vec<Overall<'a>> = all.into_values().collect();
    for overall in &mut all {
        overall.streams.sort_by_key(|(_, entries)| std::cmp::Reverse(*entries));
    }
    all
}

#[cfg(test)]
mod tests;
