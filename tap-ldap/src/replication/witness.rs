//! What tells whether the directory went back behind a log's position: it was restored from a backup or imported anew. A log
//! then goes on from its position without a word, once it has passed it, and what lies in between is never told.
//!
//! A bookmark keeps what the entries that changed last looked like, and which were told as gone last. At the next run they
//! are still so, or the log says why not.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use singer_common::directory::{DirectoryError, Paging, Scope, SearchRequest, Vendor};
use singer_common::entry::{Entry, EntryView};
use singer_common::filter::escape_value;
use singer_common::schema::Schema;
use singer_common::schema::syntax::ValueKind;

use super::{StreamRun, stream_base};
use crate::discovery::replication_keys;
use crate::discovery::source::Source;
use crate::stream::key_order::{KeyOrder, OrderKey};
use singer_common::directory::MATCH_ALL;

/// So many entries are kept of either kind.
const MOST: usize = 3;

/// What a bookmark keeps of the entries that it was taken after.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Witness {
    /// Those that changed last, the last one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    newest: Vec<Newest>,
    /// The ids of those that were told as gone last, the last one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    gone: Vec<String>,
    /// The ids of those that are not as they were, and of which the log did not tell yet.
    #[serde(skip)]
    doubtful: BTreeSet<String>,
}

/// An entry, and when it changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Newest {
    /// Its immutable id, as the stream's key has it.
    id: String,
    /// What its server says of when it changed, by attribute.
    marks: BTreeMap<String, String>,
    /// The same, sortable, once they were looked at.
    #[serde(skip)]
    order: Vec<Option<OrderKey>>,
}

impl Witness {
    pub(crate) fn is_empty(&self) -> bool {
        self.newest.is_empty() && self.gone.is_empty()
    }

    /// Whether an entry need not be looked at: it changed before those that are kept, and nothing is asked of it. Values of one
    /// length sort as they are: times, change sequence numbers, and numbers.
    pub(crate) fn is_older(&self, entry: &impl EntryView, orders: &[KeyOrder<'_>]) -> bool {
        let is_full = self.newest.len() == MOST && self.gone.is_empty() && self.doubtful.is_empty();
        let (true, Some(last), Some(first)) = (is_full, self.newest.last(), orders.first()) else {
            return false;
        };
        let value = entry.position(first.name).and_then(|at| entry.values_at(at).next());
        let kept = last.marks.get(first.name).map(String::as_bytes);
        value.zip(kept).is_some_and(|(value, kept)| value.len() == kept.len() && value < kept)
    }

    /// The stream has an entry, as a read or the log tells. `orders`: those of the marks.
    pub(crate) fn saw(&mut self, id: &str, entry: &impl EntryView, orders: &[KeyOrder<'_>], schema: &Schema) {
        self.doubtful.remove(id);
        self.gone.retain(|gone| gone != id);
        let value = |order: &KeyOrder<'_>| {
            let at = entry.position(order.name)?;
            let value = std::str::from_utf8(entry.values_at(at).next()?).ok()?;
            Some((order.sortable(value.as_bytes(), schema)?, value.to_owned()))
        };
        let values: Vec<_> = orders.iter().map(value).collect();
        // Where it was not asked for them, it is as new as it was.
        if values.iter().all(Option::is_none) {
            return;
        }
        for newest in &mut self.newest {
            newest.parse(orders, schema);
        }
        let order: Vec<_> = values.iter().map(|value| value.as_ref().map(|(key, _)| key.clone())).collect();
        self.newest.retain(|newest| newest.id != id);
        let place = self.newest.iter().position(|newest| newest.order < order).unwrap_or(self.newest.len());
        if place < MOST {
            let texts = values.into_iter().map(|value| value.map(|(_, text)| text));
            let marks = orders.iter().map(|o| o.name.to_owned()).zip(texts);
            let marks = marks.filter_map(|(name, text)| Some((name, text?))).collect();
            self.newest.insert(place, Newest { id: id.to_owned(), marks, order });
            self.newest.truncate(MOST);
        }
    }

    /// The stream has it no more, as the log tells. `had`: whether it had it.
    pub(crate) fn is_gone(&mut self, id: &str, had: bool) {
        self.doubtful.remove(id);
        self.newest.retain(|newest| newest.id != id);
        if had {
            self.gone.retain(|gone| gone != id);
            self.gone.insert(0, id.to_owned());
            self.gone.truncate(MOST);
        }
    }

    /// Why the position is of no use, where the log was gone through and did not tell why an entry is not as it was.
    pub(crate) fn unexplained(&self) -> Option<String> {
        let id = self.doubtful.first()?;
        let now = if self.gone.contains(id) { "there again" } else { "not there any more" };
        Some(went_back(&format!("the entry `{id}` is {now}, and the log does not say so")))
    }
}

impl Newest {
    fn parse(&mut self, orders: &[KeyOrder<'_>], schema: &Schema) {
        if self.order.is_empty() {
            let key = |order: &KeyOrder<'_>| order.sortable(self.marks.get(order.name)?.as_bytes(), schema);
            self.order = orders.iter().map(key).collect();
        }
    }

    /// The first mark that says that an entry is older than it was.
    fn fell<'o>(&self, entry: &Entry, orders: &[KeyOrder<'o>], schema: &Schema) -> Option<&'o str> {
        let is_less = |(order, was): &(&KeyOrder<'_>, &Option<OrderKey>)| {
            let is = entry.values(order.name).first().and_then(|value| order.sortable(value, schema));
            is.as_ref().zip(was.as_ref()).is_some_and(|(is, was)| is < was)
        };
        orders.iter().zip(&self.order).find(is_less).map(|(order, _)| order.name)
    }
}

fn went_back(what: &str) -> String {
    format!(
        "the directory went back behind the bookmark (it was restored from an older copy, or imported): {what}"
    )
}

/// The orders of what entries are asked for.
pub(crate) fn orders(schema: &Schema, vendor: Vendor) -> Vec<KeyOrder<'static>> {
    replication_keys::marks(vendor).iter().map(|name| KeyOrder::new(name, schema, vendor)).collect()
}

/// Looks at the entries that a bookmark was taken after, before the log is gone through. Gives why the position is of no use,
/// where that is certain.
pub(crate) async fn look(run: &mut StreamRun<'_>) -> Result<Option<String>, DirectoryError> {
    run.witness.doubtful.clear();
    let Some(id) = run.context.ids.key.clone() else { return Ok(None) };
    if run.witness.is_empty() {
        return Ok(None);
    }
    let (orders, schema) = (run.mark_orders().to_vec(), run.schema());
    let mut newest = run.witness.newest.clone();
    for newest in &mut newest {
        newest.parse(&orders, schema);
    }
    // Wherever they are now.
    let naming_context = run.naming_context().ok().flatten().unwrap_or_else(|| stream_base(run).to_owned());
    let names: Vec<&str> = std::iter::once(id.as_str()).chain(orders.iter().map(|o| o.name)).collect();
    let ids: Vec<&String> = newest.iter().map(|newest| &newest.id).collect();
    let Some(found) = search(run, &naming_context, Scope::Sub, MATCH_ALL, &id, &ids, &names).await? else {
        return Ok(None);
    };
    for newest in &newest {
        match found.iter().find(|(id, _)| *id == newest.id) {
            None => drop(run.witness.doubtful.insert(newest.id.clone())),
            Some((id, entry)) => {
                if let Some(mark) = newest.fell(entry, &orders, schema) {
                    let what = format!("the entry `{id}` has an older `{mark}` than it had");
                    return Ok(Some(went_back(&what)));
                }
            }
        }
    }
    let gone = run.witness.gone.clone();
    let (scope, filter) = match run.source {
        Source::Search(search) => (search.scope, search.filter.clone()),
        Source::Class { filter } => (Scope::Sub, filter.clone()),
        Source::Containers | Source::Container { .. } | Source::Members(_) => {
            (Scope::Sub, MATCH_ALL.to_owned())
        }
    };
    let mut names = vec![id.as_str()];
    names.push(crate::discovery::containers::CLASS);
    let (base, ids) = (stream_base(run).to_owned(), gone.iter().collect::<Vec<_>>());
    for (id, entry) in search(run, &base, scope, &filter, &id, &ids, &names).await?.unwrap_or_default() {
        if run.keeps(&entry).unwrap_or_default() {
            run.witness.doubtful.insert(id);
        }
    }
    Ok(None)
}

/// Finds entries by their ids; `None` where the server refuses to say.
async fn search(
    run: &StreamRun<'_>,
    base: &str,
    scope: Scope,
    filter: &str,
    id: &str,
    ids: &[&String],
    names: &[&str],
) -> Result<Option<Vec<(String, Entry)>>, DirectoryError> {
    let kind = ValueKind::of(run.schema(), id);
    let octets = |text: &&String| kind.parse_json(&Value::String((*text).clone())).ok().flatten();
    let terms: Vec<String> =
        ids.iter().filter_map(octets).map(|octets| format!("({id}={})", escape_value(&octets))).collect();
    if terms.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let filter = format!("(&(|{}){filter})", terms.concat());
    let mut request = SearchRequest::new(base, scope, filter, names);
    request.paging = Paging::Configured;
    let mut search = match run.context.directory.search(request).await {
        Err(e) if e.code().is_some() => return Ok(None),
        search => search?,
    };
    let mut found = Vec::new();
    loop {
        let entry = match search.next_entry().await {
            // The base is gone.
            Err(e) if e.is_no_such_object() => return Ok(Some(found)),
            Err(e) if e.code().is_some() && !e.may_pass() => {
                tracing::debug!("entries cannot be looked up by `{id}`: {e}");
                return Ok(None);
            }
            entry => entry?,
        };
        let Some(entry) = entry else { return Ok(Some(found)) };
        if let Some(id) = run.key_of(&entry).first().and_then(Value::as_str) {
            found.push((id.to_owned(), entry));
        }
    }
}

#[cfg(test)]
mod tests {
    use singer_common::entry::Attribute;

    use super::*;

    fn entry(csn: &str) -> Entry {
        let csn = format!("2026010100000{csn}.000000Z#000000#000#000000");
        Entry { dn: "cn=x".into(), attributes: vec![Attribute::new("entryCSN", vec![csn.into_bytes()])] }
    }

    #[test]
    fn the_last_changes_and_deletions_are_kept() {
        let schema = Schema::standard();
        let orders = [KeyOrder::new("entryCSN", schema, Vendor::OpenLdap)];
        let mut witness = Witness::default();
        for (id, csn) in [("a", "1"), ("b", "3"), ("c", "2"), ("d", "4"), ("e", "0")] {
            witness.saw(id, &entry(csn), &orders, schema);
        }
        let ids = |w: &Witness| w.newest.iter().map(|n| n.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&witness), ["d", "b", "c"]);
        assert!(witness.is_older(&entry("1"), &orders) && !witness.is_older(&entry("2"), &orders));
        let text = serde_json::to_string(&witness).unwrap();
        let mut witness: Witness = serde_json::from_str(&text).unwrap();
        witness.saw("c", &entry("6"), &orders, schema);
        assert_eq!(ids(&witness), ["c", "d", "b"], "also after it came back from a bookmark");
        witness.is_gone("d", true);
        assert_eq!((ids(&witness).len(), witness.gone.as_slice()), (2, &["d".to_owned()][..]));
        for newest in &mut witness.newest {
            newest.parse(&orders, schema);
        }
        assert_eq!(witness.newest[0].fell(&entry("5"), &orders, schema), Some("entryCSN"));
        assert_eq!(witness.newest[0].fell(&entry("6"), &orders, schema), None);
        witness.doubtful.insert("b".into());
        assert!(witness.unexplained().is_some());
        witness.is_gone("b", false);
        assert_eq!(witness.unexplained(), None);
        witness.doubtful.insert("b".into());
        witness.saw("b", &entry("7"), &orders, schema);
        assert_eq!((witness.unexplained(), witness.gone.as_slice()), (None, &["d".to_owned()][..]));
    }
}
