//! Messages from a server (RFC 4511).

use ldap_directory::client::content_sync::SyncItem;
use ldap_directory::client::fuzzing::{self, Read};
use ldap_directory::entry::Entry;

/// Reads the messages in the input one after another: both readers of entries have the same, an entry that was read and is
/// written again is read as itself, and nothing is kept that was not sent.
pub fn ber(data: &[u8]) {
    let mut rest = data;
    while let Some(place) = fuzzing::frame(rest) {
        let Some(content) = rest.get(place.clone()) else { break };
        message(content);
        rest = rest.get(place.end..).unwrap_or_default();
    }
    // As a message's content, too: the fuzzer need not find the lengths around it.
    message(data);
}

fn message(content: &[u8]) {
    let read = fuzzing::message(content);
    let in_place = fuzzing::entry_in_place(content);
    if let Some(Read { id, entry: Some(entry), .. }) = &read {
        assert_eq!(in_place.as_ref(), Some(&(*id, entry.clone())));
    }
    // The one reader looks at no controls, which may be what the other one dislikes.
    let Some((id, entry)) = in_place else { return kept(read, content.len()) };
    assert!(size(&entry) <= content.len());
    if let Ok(id) = i32::try_from(id) {
        let again = fuzzing::write(id, &entry);
        let place = fuzzing::frame(&again).expect("what was written has a frame");
        assert_eq!(place.end, again.len());
        let content = again.get(place).unwrap_or_default();
        assert_eq!(fuzzing::message(content).and_then(|m| m.entry), Some(entry));
    }
    kept(read, content.len());
}

fn kept(read: Option<Read>, sent: usize) {
    let Some(Read { cookies, sync, .. }) = read else { return };
    // Each control may be both.
    assert!(cookies.iter().map(Vec::len).sum::<usize>() <= 2 * sent);
    for item in sync.into_iter().flatten() {
        match item {
            SyncItem::Cookie(cookie) => assert!(!cookie.is_empty() && cookie.len() <= sent),
            SyncItem::Set { uuids, .. } => assert!(uuids.len() * 16 <= sent),
            _ => {}
        }
    }
}

fn size(entry: &Entry) -> usize {
    let attributes = entry.attributes.iter();
    let values = attributes.map(|a| a.description.len() + a.values.iter().map(Vec::len).sum::<usize>());
    entry.dn.len() + values.sum::<usize>()
}
