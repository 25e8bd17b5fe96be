//! The streams of a directory.

use std::collections::BTreeSet;

use crate::config::{MEMBERSHIP_SUFFIX, TapConfig};
use crate::discovery::containers::{CONTAINERS_STREAM, snake_case};
use crate::discovery::context::DirectoryContext;
use crate::discovery::source::Source;

/// A stream before its schema is known.
#[derive(Debug, Clone)]
pub struct StreamSource {
    /// `tap_stream_id`.
    pub id: String,
    /// The stream name in its messages.
    pub name: String,
    /// The source of its entries.
    pub source: Source,
}

/// Returns the streams of a directory in sync order: containers first, parents before children, membership streams last.
pub fn sources(config: &TapConfig, context: &DirectoryContext) -> Vec<StreamSource> {
    let mut streams = entry_sources(config, context);
    if config.membership_streams {
        let members = membership_sources(&streams);
        streams.extend(members);
    }
    streams
}

/// Returns one membership stream for each stream. Their names differ from all other stream names, for example from that of a
/// container called `people_members`.
pub(crate) fn membership_sources(streams: &[StreamSource]) -> Vec<StreamSource> {
    let mut taken: BTreeSet<String> = streams.iter().map(|s| s.name.clone()).collect();
    let member = |s: &StreamSource| {
        let mut name = format!("{}{MEMBERSHIP_SUFFIX}", s.name);
        while !taken.insert(name.clone()) {
            name.push_str(MEMBERSHIP_SUFFIX);
        }
        let id = format!("{}{MEMBERSHIP_SUFFIX}", s.id);
        StreamSource { id, name, source: Source::Members(Box::new(s.source.clone())) }
    };
    streams.iter().map(member).collect()
}

/// Returns the streams of entries: those of the setting `schemas`, or else the containers and classes that were found.
pub(crate) fn entry_sources(config: &TapConfig, context: &DirectoryContext) -> Vec<StreamSource> {
    if !config.schemas.is_empty() {
        return config
            .schemas
            .iter()
            .map(|s| StreamSource {
                id: s.name.clone(),
                name: s.name.clone(),
                source: Source::Search(Box::new(s.clone())),
            })
            .collect();
    }
    let mut streams = Vec::new();
    if config.discover_by.containers() {
        streams.extend(container_sources(context));
    }
    for class in &context.classes {
        let mut name = snake_case(&class.class);
        if streams.iter().any(|s: &StreamSource| s.name == name) {
            name.push_str("_class");
        }
        streams.push(StreamSource {
            id: class.class.clone(),
            name,
            source: Source::Class { filter: class.filter.clone() },
        });
    }
    streams
}

fn container_sources(context: &DirectoryContext) -> impl Iterator<Item = StreamSource> + '_ {
    let containers = StreamSource {
        id: CONTAINERS_STREAM.to_owned(),
        name: CONTAINERS_STREAM.to_owned(),
        source: Source::Containers,
    };
    let each = context.containers.iter().map(|c| StreamSource {
        id: c.dn.clone(),
        name: c.stream.clone(),
        source: Source::Container { dn: c.dn.clone() },
    });
    std::iter::once(containers).chain(each)
}
