//! Decoders of server octets, for the fuzz targets (`fuzz/checks`) only.

use std::ops::Range;

use super::content_sync::{self, SyncItem};
use super::search::paged_cookie;
use crate::entry::{Entry, EntryView as _};
use crate::protocol::ber::{OCTET_STRING, SEQUENCE, SET, Writer};
use crate::protocol::controls::dirsync_end;
use crate::protocol::entry::EntryPlaces;
use crate::protocol::message;
use crate::protocol::message::Answer;

/// A decoded LDAPMessage.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    /// `messageID`.
    pub id: i64,
    /// The entry, if it is one.
    pub entry: Option<Entry>,
    /// The cookies of paging and DirSync, if any.
    pub cookies: Vec<Vec<u8>>,
    /// Its meaning in content synchronization.
    pub sync: Option<Vec<SyncItem>>,
}

/// Returns the position of the content of the first message.
pub fn frame(octets: &[u8]) -> Option<Range<usize>> {
    message::frame(octets).ok()
}

/// Decodes the content of a message.
pub fn message(content: &[u8]) -> Option<Read> {
    let message = message::parse(content)?;
    let values = message.controls.iter().filter_map(|c| c.value.as_deref());
    let mut cookies: Vec<Vec<u8>> = values.filter_map(|v| Some(dirsync_end(v)?.cookie)).collect();
    cookies.extend(paged_cookie(&message.controls));
    let entry = match &message.answer {
        Answer::Entry(entry) => Some(entry.clone()),
        _ => None,
    };
    Some(Read { id: message.id, entry, cookies, sync: content_sync::items(message) })
}

/// Decodes an entry in place: its message id, and the entry.
pub fn entry_in_place(content: &[u8]) -> Option<(i64, Entry)> {
    let head = message::head(content).filter(|h| h.tag == message::SEARCH_ENTRY)?;
    let operation = content.get(head.operation)?;
    let mut places = EntryPlaces::default();
    places.find(operation).ok()?;
    Some((head.id, places.entry(operation).to_entry()))
}

/// Encodes an entry as a whole message of a server.
pub fn write(id: i32, entry: &Entry) -> Vec<u8> {
    let operation = Writer::build(|w| {
        w.constructed(message::SEARCH_ENTRY, |w| {
            w.primitive(OCTET_STRING, entry.dn.as_bytes());
            w.constructed(SEQUENCE, |w| {
                for attribute in &entry.attributes {
                    w.constructed(SEQUENCE, |w| {
                        w.octets(&attribute.description);
                        w.constructed(SET, |w| attribute.values.iter().for_each(|v| w.octets(v)));
                    });
                }
            });
        });
    });
    message::envelope(id, &operation, &[])
}
