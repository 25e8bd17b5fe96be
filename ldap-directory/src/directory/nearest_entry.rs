//! The entry that a DN without an entry most likely stands for.

use super::{Directory, Paging, Scope, SearchItem, SearchRequest};
use crate::dn::{DnKey, split};
use crate::nearest::{nearest, nearest_of_many};

/// The maximum number of siblings that are compared; among more, any may be the nearest.
const MOST: u32 = 1_000;

impl Directory {
    /// Returns the DN of an existing entry that is similar to a missing one: a sibling, below its nearest existing ancestor; or a
    /// similar naming context, if no ancestor exists. `None` if none is similar, or nothing can be read.
    pub async fn nearest_name(&self, dn: &str) -> Option<String> {
        let parts = split(dn).ok()?;
        for at in 1..parts.len() {
            let above = parts.get(at..)?.join(",");
            if !self.begins_at(&above).await.ok()? {
                continue;
            }
            let missing = parts.get(at - 1)?;
            let beside = self.children(&above).await?;
            let names = beside.iter().filter_map(|name| split(name).ok()?.first().copied());
            let near = nearest_of_many(missing, names).first().map(|near| (*near).to_owned())?;
            return Some(format!("{near},{above}"));
        }
        self.nearest_context(dn).map(str::to_owned)
    }

    /// Returns the naming context that is similar to a DN outside of all of them, or the only one; `None` for a DN inside of one.
    pub fn nearest_context(&self, dn: &str) -> Option<&str> {
        let contexts = &self.root_dse().naming_contexts;
        let key = DnKey::parse(dn, self.schema()).ok()?;
        if !self.root_dse().is_outside(&key, self.schema()) {
            return None;
        }
        // The end of the DN, as long as the context.
        let parts = split(dn).ok()?;
        let near = contexts.iter().find(|context| {
            let length = split(context).map_or(0, |parts| parts.len());
            let end = parts.get(parts.len().saturating_sub(length)..).unwrap_or_default().join(",");
            nearest(&end, std::iter::once(context.as_str())).is_some()
        });
        near.or_else(|| contexts.first().filter(|_| contexts.len() == 1)).map(String::as_str)
    }

    async fn children(&self, dn: &str) -> Option<Vec<String>> {
        let mut request = SearchRequest::new(dn, Scope::OneLevel, "(objectClass=*)", &["1.1"]);
        request.paging = Paging::Limited(MOST);
        let mut search = self.search(request).await.ok()?;
        let mut names = Vec::new();
        // The entries before a limit may include it.
        while let Ok(Some(item)) = search.next().await {
            if let SearchItem::Entry(entry) = item {
                names.push(entry.dn);
            }
        }
        Some(names)
    }
}
