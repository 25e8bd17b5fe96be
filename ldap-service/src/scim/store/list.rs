//! Lists of resources.

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use serde_json::{Map, Value, json};

use super::links::Links;
use super::shown::{Asked, Looked};
use super::{AT_ONCE, Found, Kind, Store};
use crate::error::ApiError;
use crate::filter::SafeFilter;
use crate::scim::error::ScimError;
use crate::scim::listing::{Collector, LIST_RESPONSE, ListQuery, Page, Position, Row, SortKey};
use crate::scim::mapping::ResourceType;

/// The resources of a page.
struct Listed {
    page: Page,
    resources: Vec<Value>,
}

impl Store<'_> {
    /// Returns the ListResponse of a query of one resource type.
    ///
    /// # Errors
    /// The filter, the order or the cursor is not valid; or the directory has a limit below the answer.
    pub async fn list(&self, resource: ResourceType, query: &ListQuery) -> Result<Value, ApiError> {
        let kind = self.kind(resource)?;
        let most = self.service.config.limits.count;
        let collector = Collector::new(query, resource.endpoint(), most)?;
        let listed = self.page(kind, query, collector).await?;
        Ok(response(&listed.page, listed.resources))
    }

    /// Returns the ListResponse of a query of all resource types: users, then groups, by index.
    ///
    /// # Errors
    /// As [`Self::list`]. A filter or an order that one of the types does not have, or a cursor, is refused.
    pub async fn list_all(&self, query: &ListQuery) -> Result<Value, ApiError> {
        if query.cursor.is_some() || query.sort_by.is_some() {
            let detail =
                "a search of all resource types has no cursor and no sortBy: search /Users or /Groups";
            return Err(ScimError::value(detail).into());
        }
        let most = self.service.config.limits.count;
        let start = query.start_index.unwrap_or(1);
        let mut rest = ListQuery { start_index: Some(start), ..query.clone() };
        let (mut total, mut resources) = (0, Vec::new());
        for kind in self.kinds() {
            let collector = Collector::new(&rest, "", most)?;
            let listed = self.page(kind, &rest, collector).await?;
            total += listed.page.total;
            resources.extend(listed.resources);
            // What is left of the page begins with the next type.
            rest.count = Some(query.page_size(most).saturating_sub(resources.len()));
            rest.start_index = Some(start.saturating_sub(total).max(1));
        }
        let page = Page { rows: Vec::new(), total, start_index: Some(start), next_cursor: None };
        Ok(response(&page, resources))
    }

    async fn page(
        &self,
        kind: &Kind,
        query: &ListQuery,
        mut collector: Collector,
    ) -> Result<Listed, ApiError> {
        let sort = match &query.sort_by {
            Some(name) => SortKey::of(&kind.mapping, self.schema(), name)?,
            None => None,
        };
        let asked = match &query.filter {
            Some(text) => Some(self.asked(kind, text).await?),
            None => None,
        };
        match asked {
            None => self.collect(kind, None, sort.as_ref(), &mut collector).await?,
            Some(Some(asked)) => self.collect(kind, Some(&asked), sort.as_ref(), &mut collector).await?,
            // Nothing can match.
            Some(None) => {}
        }
        let mut page = collector.finish();
        let links = Links::default();
        let mut reads = Vec::with_capacity(page.rows.len());
        for row in &page.rows {
            reads.push(self.read(kind, row, query, &links).boxed());
        }
        let found: Vec<Option<Found>> =
            futures_util::stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
        let entries: Vec<&Entry> = found.iter().flatten().map(|found| &found.entry).collect();
        self.check_seen(kind, &entries, &query.projection).await?;
        // Deleted since it was found.
        page.total -= found.iter().filter(|f| f.is_none()).count().min(page.total);
        let resources = found.into_iter().flatten().map(|mut found| {
            query.projection.apply(&kind.mapping, &mut found.resource);
            found.resource
        });
        Ok(Listed { resources: resources.collect(), page })
    }

    /// Finds all entries that match, with no more of each than its place, and what the filter compares.
    async fn collect(
        &self,
        kind: &Kind,
        asked: Option<&Asked>,
        sort: Option<&SortKey>,
        collector: &mut Collector,
    ) -> Result<(), ApiError> {
        let filter = asked.map_or_else(|| SafeFilter::within(&kind.filter, None), |a| a.filter.clone());
        let id = kind.mapping.id.attribute.as_str();
        let mut names = vec![id];
        names.extend(sort.map(|sort| sort.attribute.as_str()));
        names.extend(asked.iter().flat_map(|asked| asked.attributes(self.schema())));
        names.sort_unstable();
        names.dedup();
        let compared: Vec<&str> =
            filter.attributes().into_iter().filter(|name| !name.eq_ignore_ascii_case(id)).collect();
        self.check_searchable(kind, &compared).await?;
        self.check_decided(kind).await?;
        let compares_id = filter.attributes().iter().any(|name| name.eq_ignore_ascii_case(id));
        let mut entries = self.begin(kind, kind.request(Filter::from(filter), &names)).await?;
        let (mut is_empty, mut odd, mut looked) = (true, Vec::new(), Looked::new());
        while let Some(entry) = entries.next().await? {
            is_empty = false;
            if asked.is_some_and(|asked| self.is_odd(asked, &entry)) {
                looked.insert(self.id_of(kind, &entry)?.to_vec());
                odd.push(entry);
            } else {
                collector.push(self.row(kind, entry, sort)?);
            }
        }
        if is_empty {
            self.check_filter(kind).await?;
        }
        if is_empty && compares_id {
            self.check_ids(kind).await?;
        }
        let Some(asked) = asked else { return Ok(()) };
        if let Some(others) = self.left_out(kind, asked)? {
            let mut entries = self.begin(kind, kind.request(Filter::from(others), &names)).await?;
            while let Some(entry) = entries.next().await? {
                if self.is_odd(asked, &entry) && looked.insert(self.id_of(kind, &entry)?.to_vec()) {
                    odd.push(entry);
                }
            }
        }
        for entry in odd {
            if self.matches(kind, asked, &entry).await? {
                collector.push(self.row(kind, entry, sort)?);
            }
        }
        Ok(())
    }

    fn row(&self, kind: &Kind, entry: Entry, sort: Option<&SortKey>) -> Result<Row, ApiError> {
        let id = self.id_of(kind, &entry)?.to_vec();
        let key = sort.and_then(|s| s.key(self.schema().values_of(&entry, &s.attribute), self.schema()));
        Ok(Row { position: Position { key, id }, dn: entry.dn })
    }

    async fn read(
        &self,
        kind: &Kind,
        row: &Row,
        query: &ListQuery,
        links: &Links,
    ) -> Result<Option<Found>, ApiError> {
        let core = kind.mapping.resource.schema();
        let with_members = query.projection.wants(&kind.mapping, core, "members");
        let attributes = Self::attributes(kind, with_members);
        let names: Vec<&str> = attributes.iter().map(String::as_str).collect();
        let id = &kind.mapping.id.attribute;
        let is_it = |entry: &Entry| self.schema().values_of(entry, id).first() == Some(&row.position.id);
        let entry = match self.directory.read(&row.dn, &names).await?.filter(is_it) {
            Some(entry) => Some(entry),
            // It has another name by now.
            None => match kind.mapping.id.to_text(&row.position.id) {
                Some(id) => self.entry_of(kind, &id, &attributes).await?,
                None => None,
            },
        };
        match entry {
            Some(entry) => self.rendered(kind, entry, &query.projection, links).await.map(Some),
            None => Ok(None),
        }
    }
}

fn response(page: &Page, resources: Vec<Value>) -> Value {
    let mut object = Map::new();
    object.insert("schemas".to_owned(), json!([LIST_RESPONSE]));
    object.insert("totalResults".to_owned(), page.total.into());
    if let Some(start) = page.start_index {
        object.insert("startIndex".to_owned(), start.into());
    }
    object.insert("itemsPerPage".to_owned(), resources.len().into());
    if let Some(cursor) = &page.next_cursor {
        object.insert("nextCursor".to_owned(), cursor.as_str().into());
    }
    object.insert("Resources".to_owned(), resources.into());
    Value::Object(object)
}
