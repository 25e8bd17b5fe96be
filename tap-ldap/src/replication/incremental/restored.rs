//! Whether the directory was restored from a backup, imported, or its counter was reset, since a bookmark. Later changes then
//! have values before the bookmark, and would never be read.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ldap_directory::entry::{Entry, base_type};
use ldap_directory::filter::escape_value;
use ldap_directory::{DirectoryError, Paging, Scope, SearchRequest, Vendor};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::key_cursor::Newest;
use crate::discovery::replication_keys::{self, Growth};
use crate::replication::dirsync::highest_usn;
use crate::replication::reads_from::context_csns;
use crate::replication::stream_run::StreamRun;
use crate::stream::key_order::{KeyOrder, OrderKey};

/// 389 DS: the counter of each database (Administration Guide, "USN").
const LAST_USN: &str = "lastusn";
/// 389 DS's own change log is also a database, but has none of the entries.
const CHANGE_LOG: &str = "changelog";

/// What a server reports about how recent its data is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct ServerPosition {
    /// A hash of the server's identity: the marks of different servers are not comparable.
    server: String,
    /// OpenLDAP's change sequence numbers by server, Active Directory's update sequence number, or that of 389 DS if it is the
    /// replication key.
    marks: BTreeMap<String, String>,
}

impl ServerPosition {
    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Reads it from the server.
    pub(super) async fn read(run: &StreamRun<'_>, order: &KeyOrder<'_>) -> anyhow::Result<ServerPosition> {
        let directory = &run.context.directory;
        let (server, marks) = match directory.root_dse().vendor {
            Vendor::OpenLdap => (directory.serving(), context_csns(run).await?),
            Vendor::ActiveDirectory => {
                let usn = highest_usn(directory).await?.to_string();
                (run.context.local_identity().await?, BTreeMap::from([("usn".to_owned(), usn)]))
            }
            Vendor::Ds389 if order.name.eq_ignore_ascii_case("entryusn") => {
                let root = directory.read("", &[LAST_USN]).await?.unwrap_or_default();
                let Some(usn) = last_usn(&root) else { return Ok(ServerPosition::default()) };
                (
                    run.context.local_identity().await?,
                    BTreeMap::from([(LAST_USN.to_owned(), usn.to_string())]),
                )
            }
            Vendor::Ds389 | Vendor::Ldif | Vendor::Other => return Ok(ServerPosition::default()),
        };
        let server = BASE64.encode(Sha256::digest(server).get(..6).unwrap_or_default());
        Ok(ServerPosition { server, marks })
    }

    /// Returns the number of servers whose changes are counted.
    pub(super) fn server_count(&self) -> usize {
        self.marks.len()
    }

    /// Returns whether this is earlier than what the same server reported before.
    fn is_behind(&self, before: &ServerPosition) -> bool {
        self.server == before.server
            && before.marks.iter().any(|(name, was)| {
                self.marks.get(name).is_none_or(|is| match (is.parse::<i64>(), was.parse::<i64>()) {
                    (Ok(is), Ok(was)) => is < was,
                    // Those of one server sort as text: they start with the time.
                    _ => is < was,
                })
            })
    }
}

/// Why a bookmark of 389 DS's own numbers cannot be used.
const TAKEN_BACK: &str = "the server counts its changes (lastusn) from below the bookmark: additions were refused, or its database was imported";

/// Returns why the bookmark cannot be used, if the directory was restored to a time before it.
pub(super) async fn check(
    run: &StreamRun<'_>,
    order: &KeyOrder<'_>,
    largest: &[u8],
    before: &ServerPosition,
    now: &ServerPosition,
    newest: &[Newest],
) -> anyhow::Result<Option<&'static str>> {
    let counted = now.marks.get(LAST_USN).and_then(|usn| usn.parse().ok());
    if now.is_behind(before) {
        return Ok(Some(if counted.is_some() {
            TAKEN_BACK
        } else {
            "the server's data is older than the bookmark: it was restored from an older copy"
        }));
    }
    let vendor = run.context.directory.root_dse().vendor;
    let number = std::str::from_utf8(largest).ok().and_then(|t| t.parse::<u64>().ok());
    let behind = |counted: i64| number.is_some_and(|n| i64::try_from(n).unwrap_or(i64::MAX) > counted);
    // A bookmark with the server's counter was taken although its entries had larger numbers: from then on the second key finds
    // changes with reused numbers.
    if !(before.server == now.server && before.marks.contains_key(LAST_USN)) && counted.is_some_and(behind) {
        return Ok(Some(TAKEN_BACK));
    }
    if vendor == Vendor::ActiveDirectory
        && order.name.eq_ignore_ascii_case("uSNChanged")
        && now.marks.values().any(|usn| usn.parse().is_ok_and(behind))
    {
        return Ok(Some("the domain controller was restored from an older copy of its database"));
    }
    if replication_keys::growth(order.name) == Growth::Changed && any_decreased(run, order, newest).await? {
        return Ok(Some(
            "entries have older values of the replication key than the bookmark: the directory was restored or imported",
        ));
    }
    Ok(None)
}

/// Returns the highest counter of a 389 DS, over all its databases.
fn last_usn(root: &Entry) -> Option<i64> {
    let is_it = |description: &str| {
        base_type(description).eq_ignore_ascii_case(LAST_USN)
            && !description.to_ascii_lowercase().ends_with(CHANGE_LOG)
    };
    let counted = root.attributes.iter().filter(|a| is_it(&a.description));
    counted
        .flat_map(|a| &a.values)
        .filter_map(|v| Some(signed(std::str::from_utf8(v).ok()?.parse().ok()?)))
        .max()
}

/// Returns a counter of 389 DS, which writes negative ones as very large ones: 64-bit unsigned, or 32-bit.
fn signed(number: u64) -> i64 {
    const NEARLY: u64 = 1_000;
    let small = u64::from(u32::MAX);
    match i64::try_from(number) {
        Ok(n) if (small - NEARLY..=small).contains(&number) => n - i64::from(u32::MAX) - 1,
        Ok(n) => n,
        Err(_) => number.cast_signed(),
    }
}

/// Returns whether any of the entries with the largest values has a smaller one now. The value of one entry never decreases.
async fn any_decreased(
    run: &StreamRun<'_>,
    order: &KeyOrder<'_>,
    newest: &[Newest],
) -> Result<bool, DirectoryError> {
    let mut decreased = false;
    let mut wanted: Vec<&str> = order.attributes().collect();
    for newest in newest {
        let Some(dn) = newest.dn() else { continue };
        let entry = match run.context.directory.read(dn, &wanted).await {
            // It was deleted, or is not visible.
            Err(e) if e.code().is_some() && !e.is_transient() => None,
            entry => entry?,
        };
        decreased |= entry.is_some_and(|entry| has_decreased(run, order, newest, &entry));
    }
    let Some(id) = &run.context.ids.key else { return Ok(decreased) };
    let ids: Vec<Vec<u8>> = newest.iter().filter_map(Newest::id).collect();
    if ids.is_empty() {
        return Ok(decreased);
    }
    let terms: Vec<String> = ids.iter().map(|value| format!("({id}={})", escape_value(value))).collect();
    let terms = terms.concat();
    wanted.push(id.as_str());
    let mut request = SearchRequest::new(run.base(), Scope::Subtree, format!("(|{terms})"), &wanted);
    request.paging = Paging::Configured;
    let mut search = run.context.directory.search(request).await?;
    loop {
        let entry = match search.next_entry().await {
            // The base was deleted, or is not visible.
            Err(e) if e.is_no_such_object() => break,
            entry => entry?,
        };
        let Some(entry) = entry else { break };
        let was = newest.iter().find(|n| n.id().as_ref() == entry.values(id).first());
        decreased |= was.is_some_and(|was| has_decreased(run, order, was, &entry));
    }
    Ok(decreased)
}

/// Returns whether an entry has a smaller value than before.
fn has_decreased(run: &StreamRun<'_>, order: &KeyOrder<'_>, newest: &Newest, entry: &Entry) -> bool {
    let was: Option<OrderKey> = order.sortable(newest.value.as_bytes(), run.schema());
    let is = order.of(entry, run.schema()).map(|(key, _)| key);
    // An invalid value says nothing about the others.
    let is_unusable = order.unusable_value(entry, run.schema(), None).is_some();
    !is_unusable && is.is_some() && is < was
}

#[cfg(test)]
mod tests {
    use super::*;
    use ldap_directory::entry::Attribute;

    fn reached(server: &str, marks: &[(&str, &str)]) -> ServerPosition {
        let marks = marks.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        ServerPosition { server: server.to_owned(), marks }
    }

    #[test]
    fn a_server_is_behind_what_it_said_itself() {
        let csn = |time: &str, sid: &str| format!("{time}.000000Z#000000#{sid}#000000");
        let (old, new) = (csn("20260101000000", "001"), csn("20260102000000", "001"));
        let of_two = reached("a", &[("001", &old), ("002", &csn("20260101000000", "002"))]);
        assert!(!reached("a", &[("001", &new)]).is_behind(&reached("a", &[("001", &old)])));
        assert!(reached("a", &[("001", &old)]).is_behind(&reached("a", &[("001", &new)])));
        assert!(!reached("b", &[("001", &old)]).is_behind(&reached("a", &[("001", &new)])), "another server");
        assert!(reached("a", &[("001", &new)]).is_behind(&of_two), "one of those it had heard of is missing");
        assert!(!of_two.is_behind(&reached("a", &[("001", &old)])));
        assert!(reached("a", &[("usn", "999")]).is_behind(&reached("a", &[("usn", "1000")])));
        assert!(!reached("a", &[("usn", "1000")]).is_behind(&reached("a", &[("usn", "999")])));
        assert!(reached("a", &[("lastusn", "-6")]).is_behind(&reached("a", &[("lastusn", "2")])));
        assert!(!reached("a", &[("lastusn", "-4")]).is_behind(&reached("a", &[("lastusn", "-6")])));
        assert!(!ServerPosition::default().is_behind(&ServerPosition::default()));
    }

    #[test]
    fn numbers_below_zero_are_told_from_large_ones() {
        let root = |values: &[(&str, &str)]| Entry {
            dn: String::new(),
            attributes: values.iter().map(|(n, v)| Attribute::new(*n, vec![v.as_bytes().to_vec()])).collect(),
        };
        assert_eq!(last_usn(&root(&[("lastusn;userroot", "22"), ("lastusn;changelog", "99")])), Some(22));
        assert_eq!(last_usn(&root(&[("lastusn;userroot", "18446744073709551614")])), Some(-2));
        assert_eq!(last_usn(&root(&[("lastUSN", "4294967294")])), Some(-2));
        assert_eq!(last_usn(&root(&[("lastusn;userroot", "5000000000")])), Some(5_000_000_000));
        assert_eq!(last_usn(&root(&[])), None);
    }
}
