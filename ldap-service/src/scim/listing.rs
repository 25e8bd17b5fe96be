//! Lists (RFC 7644 section 3.4.2): parameters, order, pages by index and by cursor (RFC 9865).
//!
//! Every page is taken from all entries that match now, ordered by the sort key and then by the immutable identifier: nothing is
//! twice or missing in pages by cursor, whatever is added or deleted in between, and totals are exact.

use std::cmp::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ldap_directory::schema::{Equality, Schema};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::error::{ScimError, ScimType};
use super::filter::AttrPath;
use super::mapping::{Mapping, Source};
use super::projection::Projection;
use super::record::get;

/// The schema of the answer.
pub const LIST_RESPONSE: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
/// The schema of a search by POST.
pub const SEARCH_REQUEST: &str = "urn:ietf:params:scim:api:messages:2.0:SearchRequest";
/// The number of resources without `count`.
pub const DEFAULT_COUNT: u32 = 100;
/// The most resources before the end of a page by index: each is held until the end of the search.
const MOST_BEFORE: usize = 100_000;

/// The parameters of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListQuery {
    /// `filter`
    pub filter: Option<String>,
    /// `sortBy`
    pub sort_by: Option<String>,
    /// Whether `sortOrder` is `descending`.
    pub descending: bool,
    /// `startIndex`, from 1.
    pub start_index: Option<usize>,
    /// `count`
    pub count: Option<usize>,
    /// `cursor`; empty for the first page.
    pub cursor: Option<String>,
    /// `attributes` and `excludedAttributes`.
    pub projection: Projection,
}

/// The parameters: what is not understood would select everybody, where a client asks for one.
const PARAMETERS: [&str; 8] =
    ["filter", "sortBy", "sortOrder", "startIndex", "count", "cursor", "attributes", "excludedAttributes"];

fn unknown(name: &str) -> ScimError {
    let known = PARAMETERS.join(", ");
    ScimError::value(format!("{}: not a parameter of this service, which has {known}", name.escape_debug()))
}

impl ListQuery {
    /// Parses the parameters of a URL.
    ///
    /// # Errors
    /// A parameter has a value that is not valid, or is given twice.
    pub fn from_url(query: &str) -> Result<Self, ScimError> {
        let mut parameters: Vec<(String, Value)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let name = name.to_ascii_lowercase();
            // Microsoft Entra's flags, which it tells to append to the URL.
            if name.starts_with("aadopt") {
                continue;
            }
            if !PARAMETERS.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                return Err(unknown(&name));
            }
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(ScimError::value(format!("{}: given twice", name.escape_debug())));
            }
            let value = match name.as_str() {
                "attributes" | "excludedattributes" => {
                    Projection::names(&value).into_iter().map(Value::String).collect()
                }
                _ => Value::String(value.into_owned()),
            };
            parameters.push((name, value));
        }
        Self::of(&|name| parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v))
    }

    /// Parses the body of a search by POST (RFC 7644 section 3.4.3).
    ///
    /// # Errors
    /// It is not a SearchRequest message, or a member has a value that is not valid.
    pub fn from_body(body: &Value) -> Result<Self, ScimError> {
        let Value::Object(object) = body else {
            return Err(ScimError::new(ScimType::InvalidSyntax, "the body is not a JSON object"));
        };
        let schemas = get(object, "schemas").and_then(Value::as_array);
        let is_search = |list: &Vec<Value>| {
            list.iter().filter_map(Value::as_str).any(|uri| uri.eq_ignore_ascii_case(SEARCH_REQUEST))
        };
        if !schemas.is_some_and(is_search) {
            let detail = format!("schemas: an array with `{SEARCH_REQUEST}` is required");
            return Err(ScimError::new(ScimType::InvalidSyntax, detail));
        }
        let is_known = |name: &String| {
            let known = PARAMETERS.iter().chain(&["schemas"]);
            known.into_iter().any(|known| known.eq_ignore_ascii_case(name))
        };
        if let Some(name) = object.keys().find(|name| !is_known(name)) {
            return Err(unknown(name));
        }
        Self::of(&|name| get(object, name).filter(|v| !v.is_null()))
    }

    fn of<'v>(parameter: &dyn Fn(&str) -> Option<&'v Value>) -> Result<Self, ScimError> {
        let text = |name: &str| match parameter(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(ScimError::value(format!("{name}: a text expected"))),
        };
        let cursor = text("cursor")?;
        let number = |name: &str, fault: ScimType, least: i64| -> Result<Option<usize>, ScimError> {
            let expected = || ScimError::new(fault, format!("{name}: a whole number expected"));
            let number: i64 = match parameter(name) {
                None => return Ok(None),
                Some(Value::String(text)) => text.trim().parse().map_err(|_| expected())?,
                Some(Value::Number(number)) => number.as_i64().ok_or_else(expected)?,
                Some(_) => return Err(expected()),
            };
            // Below the least, it is the least (RFC 7644 section 3.4.2.4).
            Ok(Some(usize::try_from(number.max(least)).unwrap_or(usize::MAX)))
        };
        let fault = if cursor.is_some() { ScimType::InvalidCount } else { ScimType::InvalidValue };
        let names = |name: &str| match parameter(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(Projection::names(text))),
            Some(Value::Array(list)) => {
                let name_of = |v: &Value| v.as_str().map(str::to_owned);
                let all: Option<Vec<String>> = list.iter().map(name_of).collect();
                all.map(Some).ok_or_else(|| ScimError::value(format!("{name}: names expected")))
            }
            Some(_) => Err(ScimError::value(format!("{name}: names expected"))),
        };
        let descending = match text("sortOrder")?.map(|order| order.to_ascii_lowercase()).as_deref() {
            None | Some("ascending") => false,
            Some("descending") => true,
            Some(_) => return Err(ScimError::value("sortOrder: ascending or descending expected")),
        };
        let (included, excluded) = (names("attributes")?, names("excludedAttributes")?);
        let filter = text("filter")?;
        if filter.as_ref().is_some_and(|filter| filter.trim().is_empty()) {
            // Everybody would match what a client has computed to nothing.
            return Err(ScimError::untranslatable("filter: empty; leave it out to list everything"));
        }
        let query = Self {
            filter,
            sort_by: text("sortBy")?.filter(|s| !s.trim().is_empty()),
            descending,
            start_index: number("startIndex", ScimType::InvalidValue, 1)?,
            count: number("count", fault, 0)?,
            cursor,
            projection: Projection::new(included.as_deref(), excluded.as_deref())?,
        };
        if query.cursor.is_some() && query.start_index.is_some() {
            return Err(ScimError::new(ScimType::InvalidCursor, "cursor and startIndex exclude each other"));
        }
        Ok(query)
    }

    /// Returns the most resources of the answer; `most`: `limits.count`.
    pub fn page_size(&self, most: u32) -> usize {
        let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        self.count.unwrap_or(size(DEFAULT_COUNT)).min(size(most))
    }

    /// Returns a digest of what a cursor belongs to.
    fn digest(&self, endpoint: &str) -> [u8; 8] {
        let mut digest = Sha256::new();
        let order = if self.descending { "d" } else { "a" };
        for part in
            [endpoint, self.filter.as_deref().unwrap_or(""), self.sort_by.as_deref().unwrap_or(""), order]
        {
            digest.update(part.len().to_be_bytes());
            digest.update(part.as_bytes());
        }
        let mut first = [0; 8];
        first.iter_mut().zip(digest.finalize()).for_each(|(to, from)| *to = from);
        first
    }
}

/// What a list is sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortKey {
    /// The LDAP attribute.
    pub attribute: String,
    rule: Equality,
}

impl SortKey {
    /// Returns the sort key of `sortBy`; `None` for `id`, by which lists are ordered anyway.
    ///
    /// # Errors
    /// The attribute is unknown, is not mapped, or has no order.
    pub fn of(mapping: &Mapping, schema: &Schema, sort_by: &str) -> Result<Option<Self>, ScimError> {
        let refused =
            |reason: &str| Err(ScimError::value(format!("sortBy: `{}`: {reason}", sort_by.escape_debug())));
        let Some(path) = AttrPath::from_token(sort_by.trim()) else {
            return refused("not the name of an attribute");
        };
        let name = path.name.to_ascii_lowercase();
        let sub = path.sub.as_deref().map(str::to_ascii_lowercase);
        let attribute = match (name.as_str(), sub.as_deref()) {
            ("id", None) => return Ok(None),
            ("meta", Some("created")) => mapping.created,
            ("meta", Some("lastmodified")) => mapping.modified,
            _ => {
                let Some(attribute) = mapping.attribute(&path).filter(|a| a.source == Source::Fields) else {
                    return refused("it is unknown, not mapped, or has no order");
                };
                let wanted = sub.as_deref().or((!attribute.subs.is_empty()).then_some("value"));
                let field = mapping
                    .fields_of(attribute)
                    .find(|f| f.key.sub.as_deref().map(str::to_ascii_lowercase).as_deref() == wanted);
                match field {
                    Some(field) => field.attribute.as_str(),
                    None => return refused("name one of its sub-attributes that are mapped"),
                }
            }
        };
        let rule = schema.ordering(attribute);
        if !rule.has_order() && !matches!(rule, Equality::Telephone | Equality::CaseIgnoreList) {
            return refused("its values have no order");
        }
        Ok(Some(Self { attribute: attribute.to_owned(), rule }))
    }

    /// Returns octets that sort as a value does; of several values, the least. `None` without a value.
    pub fn key(&self, values: &[Vec<u8>], schema: &Schema) -> Option<Vec<u8>> {
        values.iter().map(|value| self.one(value, schema)).min()
    }

    fn one(&self, value: &[u8], schema: &Schema) -> Vec<u8> {
        let normal = self.rule.normalize(value, schema);
        match self.rule {
            Equality::Integer => integer_key(&normal),
            // Without the Z, a time with a fraction follows the one without.
            Equality::GeneralizedTime | Equality::UtcTime => {
                normal.strip_suffix(b"Z").unwrap_or(&normal).to_vec()
            }
            _ => normal.into_owned(),
        }
    }
}

/// Returns octets that sort as whole numbers of any length do.
fn integer_key(normal: &[u8]) -> Vec<u8> {
    let (is_negative, digits) = match normal.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, normal),
    };
    let length = u32::try_from(digits.len()).unwrap_or(u32::MAX).to_be_bytes();
    let magnitude = length.into_iter().chain(digits.iter().copied());
    let sign = u8::from(!is_negative);
    std::iter::once(sign).chain(magnitude.map(|b| if is_negative { !b } else { b })).collect()
}

/// The place of an entry in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The sort key; `None` sorts last.
    pub key: Option<Vec<u8>>,
    /// The identifier's octets.
    pub id: Vec<u8>,
}

impl Position {
    fn order(&self, other: &Self, descending: bool) -> Ordering {
        let missing = (self.key.is_none()).cmp(&other.key.is_none());
        let ascending = missing.then_with(|| self.key.cmp(&other.key)).then_with(|| self.id.cmp(&other.id));
        if descending { ascending.reverse() } else { ascending }
    }

    fn to_cursor(&self, digest: [u8; 8]) -> String {
        let mut octets = digest.to_vec();
        let length = self.key.as_ref().map_or(u32::MAX, |k| u32::try_from(k.len()).unwrap_or(u32::MAX - 1));
        octets.extend(length.to_be_bytes());
        octets.extend(self.key.iter().flatten());
        octets.extend(&self.id);
        URL_SAFE_NO_PAD.encode(octets)
    }

    fn from_cursor(cursor: &str, digest: [u8; 8]) -> Option<Self> {
        let octets = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let rest = octets.strip_prefix(&digest)?;
        let (length, rest) = rest.split_at_checked(4)?;
        let length = u32::from_be_bytes(length.try_into().ok()?);
        let (key, id) = match length {
            u32::MAX => (None, rest),
            length => {
                let (key, id) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                (Some(key.to_vec()), id)
            }
        };
        (!id.is_empty()).then(|| Self { key, id: id.to_vec() })
    }
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its place.
    pub position: Position,
    /// Its DN when it was found.
    pub dn: String,
}

/// Collects one page of all entries that match, in any order.
#[derive(Debug)]
pub struct Collector {
    descending: bool,
    digest: [u8; 8],
    /// The entries before the page, in a page by index.
    skip: usize,
    count: usize,
    by_cursor: bool,
    after: Option<Position>,
    rows: Vec<Row>,
    total: usize,
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its entries, in order.
    pub rows: Vec<Row>,
    /// The number of all entries that match.
    pub total: usize,
    /// `startIndex`, in a page by index.
    pub start_index: Option<usize>,
    /// The cursor of the next page, if there is one.
    pub next_cursor: Option<String>,
}

impl Collector {
    /// Returns a collector for the page that a query asks for, of at most `most` entries.
    ///
    /// # Errors
    /// The cursor belongs to another query, or is none; or the page is too far from the start.
    pub fn new(query: &ListQuery, endpoint: &str, most: u32) -> Result<Self, ScimError> {
        let count = query.page_size(most);
        let digest = query.digest(endpoint);
        let after = match query.cursor.as_deref() {
            None | Some("") => None,
            Some(cursor) => Some(Position::from_cursor(cursor, digest).ok_or_else(|| {
                let detail = "cursor: not one of this server for the same filter and order";
                ScimError::new(ScimType::InvalidCursor, detail)
            })?),
        };
        let by_cursor = query.cursor.is_some();
        if by_cursor && count == 0 {
            return Err(ScimError::new(ScimType::InvalidCount, "count: at least 1 with a cursor"));
        }
        let skip = query.start_index.map_or(0, |start| start.saturating_sub(1));
        if skip.saturating_add(count) > MOST_BEFORE {
            let detail =
                format!("startIndex: at most {MOST_BEFORE} resources by index; use a cursor (RFC 9865)");
            return Err(ScimError::new(ScimType::TooMany, detail));
        }
        let descending = query.descending;
        Ok(Self { descending, digest, skip, count, by_cursor, after, rows: Vec::new(), total: 0 })
    }

    /// Returns how many of the first entries are kept: those up to the end of the page, and one more.
    fn kept(&self) -> usize {
        self.skip.saturating_add(self.count).saturating_add(1)
    }

    /// Adds an entry.
    pub fn push(&mut self, row: Row) {
        self.total += 1;
        let is_before = |after: &Position| row.position.order(after, self.descending) != Ordering::Greater;
        if self.after.as_ref().is_some_and(is_before) {
            return;
        }
        self.rows.push(row);
        if self.rows.len() >= self.kept().saturating_mul(2).saturating_add(64) {
            self.reduce();
        }
    }

    fn reduce(&mut self) {
        let descending = self.descending;
        self.rows.sort_by(|a, b| a.position.order(&b.position, descending));
        self.rows.truncate(self.kept());
    }

    /// Returns the page.
    pub fn finish(mut self) -> Page {
        self.reduce();
        let mut rows = self.rows.split_off(self.skip.min(self.rows.len()));
        let has_more = rows.len() > self.count;
        rows.truncate(self.count);
        let last = rows.last().filter(|_| self.by_cursor && has_more);
        Page {
            next_cursor: last.map(|row| row.position.to_cursor(self.digest)),
            start_index: (!self.by_cursor).then_some(self.skip + 1),
            total: self.total,
            rows,
        }
    }
}

#[cfg(test)]
mod tests;
