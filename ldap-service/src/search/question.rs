//! What a request asks for, and whether it may.

use ldap_directory::dn::DnKey;
use ldap_directory::entry::base_type;
use ldap_directory::filter::{Filter, FilterError};
use ldap_directory::nearest::nearest;
use ldap_directory::schema::Schema;
use ldap_directory::secret::SecretAttributes;
use ldap_directory::{Directory, KnownNames, Paging, Scope, SearchRequest, UnknownName};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use singer_common::plugin::settings::SHARED;
use utoipa::ToSchema;

use super::page::Warning;
use crate::config::{Config, Limits};
use crate::error::ApiError;

/// The members of a body.
const MEMBERS: [&str; 5] = ["base_dn", "filter", "attributes", "count", "cursor"];
/// Names by which programs choose a server or a bind, beside the names of the settings.
const OF_SERVER: &[&str] = &[
    "url",
    "uri",
    "server",
    "servers",
    "ldapurl",
    "ldapuri",
    "ldapserver",
    "hostname",
    "address",
    "binduser",
    "bindpw",
    "bindcredentials",
    "user",
    "userdn",
    "username",
    "password",
    "credentials",
    "ssl",
    "tls",
    "usetls",
    "starttls",
    "auth",
    "authentication",
    "cafile",
    "certificate",
    "timeout",
];
/// The deepest nesting of a filter.
const MOST_DEPTH: usize = 32;
/// The most attributes that a request names.
const MOST_ATTRIBUTES: usize = 256;

/// The body of a search.
#[derive(Debug, Clone, Default, PartialEq, Eq, ToSchema)]
#[schema(example = json!({"filter": "(mail=*@example.com)", "attributes": ["uid", "cn", "mail"], "count": 100}))]
pub struct SearchBody {
    /// The DN below which entries are looked for, at or below `users.base_dn`. Default: `users.base_dn`.
    #[schema(min_length = 1)]
    pub base_dn: Option<String>,
    /// A filter (RFC 4515), in addition to `users.filter`. Default: all users.
    #[schema(min_length = 1)]
    pub filter: Option<String>,
    /// The attributes: names, `*` for all user attributes, `+` for operational ones, `1.1` for none. Default: `*`. Never secret ones.
    #[schema(min_items = 1, max_items = 256)]
    pub attributes: Option<Vec<String>>,
    /// The most entries of a page. Default and bound: `limits.count`.
    #[schema(minimum = 1)]
    pub count: Option<u32>,
    /// `next_cursor` of the page before. Other members may be left out then; if present, they must be the same as in the first request.
    #[schema(min_length = 1)]
    pub cursor: Option<String>,
}

/// Returns a name without case and separators.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Whether a member would choose a server or a bind.
fn is_of_server(member: &str) -> bool {
    let member = plain(member);
    let is = |name: &str| plain(name) == member;
    OF_SERVER.contains(&member.as_str())
        || SHARED.iter().any(|setting| is(setting.name) || setting.aliases.iter().any(|alias| is(alias)))
}

impl SearchBody {
    /// Parses a body.
    ///
    /// # Errors
    /// 400 for a member that is not known or of another type, and for one that would choose the server.
    pub fn of(mut object: Map<String, Value>) -> Result<Self, ApiError> {
        let is_unknown = |name: &&String| !MEMBERS.contains(&name.as_str());
        if let Some(name) = object.keys().find(|name| is_unknown(name) && is_of_server(name)) {
            let detail =
                format!("`{name}`: server, bind and TLS are settings of the service, never of a request");
            return Err(
                ApiError::bad_request("server_is_configured", detail).with("member", name.as_str().into())
            );
        }
        if let Some(name) = object.keys().find(is_unknown) {
            let near = nearest(name, MEMBERS.into_iter());
            let hint = near.map_or_else(|| MEMBERS.join(", "), |near| format!("did you mean `{near}`?"));
            let detail = format!("the member `{name}` is not known: {hint}");
            return Err(ApiError::bad_request("unknown_member", detail)
                .with("member", name.as_str().into())
                .with("near", near.into()));
        }
        let body = Self {
            base_dn: member(&mut object, "base_dn", "a DN as text")?,
            filter: member(&mut object, "filter", "a filter as text (RFC 4515)")?,
            attributes: member(&mut object, "attributes", "a list of names of attributes")?,
            count: member(&mut object, "count", "a whole number of at least 1")?,
            cursor: member(&mut object, "cursor", "the text of `next_cursor`")?,
        };
        if body.count == Some(0) {
            return Err(invalid_member("count", "a whole number of at least 1"));
        }
        let attributes = body.attributes.as_ref().map_or(1, Vec::len);
        if attributes == 0 || attributes > MOST_ATTRIBUTES {
            let expected = "a list of 1 to 256 names; leave it out for all user attributes";
            return Err(invalid_member("attributes", expected));
        }
        Ok(body)
    }
}

fn member<T: DeserializeOwned>(
    object: &mut Map<String, Value>,
    name: &str,
    expected: &str,
) -> Result<Option<T>, ApiError> {
    let value = object.remove(name).unwrap_or_default();
    serde_json::from_value(value).map_err(|_| invalid_member(name, expected))
}

fn invalid_member(name: &str, expected: &str) -> ApiError {
    ApiError::bad_request("invalid_member", format!("`{name}` must be {expected}"))
        .with("member", name.into())
}

/// A question that was checked.
#[derive(Debug)]
pub(super) struct Question {
    base_dn: String,
    base: DnKey,
    /// As asked, without the filter of the configuration.
    asked: Option<Filter>,
    filter: Filter,
    /// The requested attributes.
    attributes: Vec<String>,
    /// The attributes that every entry of the answer has.
    pub(super) named: Vec<String>,
    /// The most entries of a page.
    pub(super) count: u32,
    /// Comparisons that no entry matches.
    pub(super) warnings: Vec<Warning>,
}

impl Question {
    /// Checks a question.
    pub(super) fn new(body: &SearchBody, config: &Config, directory: &Directory) -> Result<Self, ApiError> {
        let schema = directory.schema();
        let base_dn = body.base_dn.clone().unwrap_or_else(|| config.users.base_dn.clone());
        let base = base_within(&base_dn, &config.users.base_dn, schema)?;
        let asked = body.filter.as_deref().map(|text| parsed(text, &config.limits)).transpose()?;
        let checks =
            Checks { names: KnownNames::new(directory), schema, secrets: directory.secret_attributes() };
        let mut warnings = Vec::new();
        if let Some(filter) = &asked {
            checks.filter(filter)?;
            warnings = checks.undefined(filter);
        }
        let (attributes, named) = checks.attributes(body.attributes.as_deref())?;
        let own = config.users.filter.clone();
        let filter = match &asked {
            Some(asked) => Filter::And(vec![own, asked.clone()]),
            None => own,
        };
        let count = body.count.unwrap_or(config.limits.count).min(config.limits.count);
        Ok(Self { base_dn, base, asked, filter, attributes, named, count, warnings })
    }

    /// Returns the search.
    pub(super) fn request(&self) -> SearchRequest {
        let mut request = SearchRequest::new(&self.base_dn, Scope::Subtree, self.filter.clone(), &[]);
        request.attributes.clone_from(&self.attributes);
        request.paging = Paging::Stepwise(self.count);
        request
    }

    /// Checks that a request with a cursor asks the same.
    pub(super) fn check_same(&self, body: &SearchBody) -> Result<(), ApiError> {
        let differs = |member: &str| {
            let detail =
                format!("`{member}` is not that of the request that the cursor comes from: leave it out");
            Err(ApiError::bad_request("cursor_mismatch", detail).with("member", member.into()))
        };
        if let Some(base) = &body.base_dn
            && DnKey::parse(base, Schema::standard()).ok()
                != DnKey::parse(&self.base_dn, Schema::standard()).ok()
        {
            return differs("base_dn");
        }
        if let Some(filter) = &body.filter
            && Filter::parse(filter).ok() != self.asked
        {
            return differs("filter");
        }
        if let Some(attributes) = &body.attributes
            && !same_names(attributes, &self.attributes)
        {
            return differs("attributes");
        }
        if body.count.is_some_and(|count| count != self.count) {
            return differs("count");
        }
        Ok(())
    }

    /// Returns the key of the base, for the log.
    pub(super) fn base(&self) -> &DnKey {
        &self.base
    }
}

fn same_names(a: &[String], b: &[String]) -> bool {
    let normal = |names: &[String]| {
        let mut names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        names.retain(|name| name != "dn");
        names.sort_unstable();
        names.dedup();
        names
    };
    normal(a) == normal(b)
}

/// Checks that a base is at or below the configured one.
fn base_within(base: &str, configured: &str, schema: &Schema) -> Result<DnKey, ApiError> {
    let key = DnKey::parse(base, schema).map_err(|e| {
        ApiError::bad_request("invalid_dn", format!("`base_dn` is not a DN: {e}"))
            .with("member", "base_dn".into())
    })?;
    let outside = || {
        let detail = "`base_dn` is not at or below users.base_dn of the service";
        ApiError::bad_request("base_dn_outside", detail).with("member", "base_dn".into())
    };
    let within = DnKey::parse(configured, schema).map_err(|_| outside())?;
    if key.is_within(&within) { Ok(key) } else { Err(outside()) }
}

/// Parses a filter and checks its size.
fn parsed(text: &str, limits: &Limits) -> Result<Filter, ApiError> {
    let filter = Filter::parse(text).map_err(|e| {
        let error = ApiError::bad_request("invalid_filter", format!("`filter`: {e}"));
        match position(&e) {
            Some(at) => error.with("position", at.into()),
            None => error,
        }
    })?;
    let (terms, depth) = size(&filter);
    if terms > limits.filter_terms {
        let detail = format!(
            "`filter` has {terms} comparisons, more than {} (limits.filter_terms)",
            limits.filter_terms
        );
        return Err(
            ApiError::bad_request("filter_too_large", detail).with("limit", limits.filter_terms.into())
        );
    }
    if depth > MOST_DEPTH {
        let detail = format!("`filter` is nested {depth} deep, more than {MOST_DEPTH}");
        return Err(ApiError::bad_request("filter_too_large", detail).with("limit", MOST_DEPTH.into()));
    }
    Ok(filter)
}

/// Returns where a filter is not valid, in octets from 0.
fn position(error: &FilterError) -> Option<usize> {
    match error {
        FilterError::Expected { at, .. } | FilterError::Unescaped { at, .. } => Some(*at),
        FilterError::BadAttribute(at) | FilterError::BadEscape(at) | FilterError::TooDeep(at) => Some(*at),
        FilterError::BuiltTooDeep | FilterError::BuiltOfNoAttribute(_) => None,
    }
}

/// Returns the number of comparisons and the depth of a filter. An empty set counts as one.
fn size(filter: &Filter) -> (usize, usize) {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => {
            let (terms, depth) =
                parts.iter().map(size).fold((0, 0), |(terms, depth), (t, d)| (terms + t, depth.max(d)));
            (terms.max(1), depth + 1)
        }
        Filter::Not(inner) => {
            let (terms, depth) = size(inner);
            (terms, depth + 1)
        }
        Filter::Substring { any, .. } => (1 + any.len(), 1),
        _ => (1, 1),
    }
}

/// The checks of names.
struct Checks<'a> {
    names: KnownNames<'a>,
    schema: &'a Schema,
    secrets: &'a SecretAttributes,
}

impl Checks<'_> {
    /// Whether an attribute, one of its other names, or a subtype is secret: `(name=…)` compares with all subtypes of `name`.
    fn compares_secret(&self, name: &str) -> bool {
        let is_type = |t: &&ldap_directory::schema::AttributeType| {
            t.names.iter().any(|name| self.secrets.contains(name)) || self.secrets.contains(&t.oid)
        };
        self.is_secret(name)
            || self
                .schema
                .attribute_types()
                .iter()
                .filter(is_type)
                .any(|t| self.schema.is_subtype(&t.oid, name))
    }

    fn is_secret(&self, name: &str) -> bool {
        self.secrets.contains(name) || self.secrets.contains(self.schema.canonical_name(name))
    }

    fn refuse_secret(member: &str, name: &str) -> Result<(), ApiError> {
        let detail = format!("`{member}`: `{}` is secret: it is neither shown nor compared", base_type(name));
        Err(ApiError::bad_request("secret_attribute", detail)
            .with("member", member.into())
            .with("attribute", base_type(name).into()))
    }

    fn unknown(&self, member: &str, name: &str) -> Result<(), ApiError> {
        let found = self.names.attribute(name).err();
        match found {
            Some(unknown) => Err(not_known(member, &unknown)),
            None if self.names.is_unknown_oid(base_type(name)) => {
                let near = Vec::new();
                Err(not_known(member, &UnknownName { what: "attribute", name: name.to_owned(), near }))
            }
            None => Ok(()),
        }
    }

    fn filter(&self, filter: &Filter) -> Result<(), ApiError> {
        for name in filter.attributes() {
            if base_type(name).eq_ignore_ascii_case("dn") {
                let detail = "`filter`: the DN is not an attribute; narrow `base_dn`, or use an attribute such as entryDN";
                return Err(ApiError::bad_request("unknown_attribute", detail)
                    .with("member", "filter".into())
                    .with("attribute", name.into()));
            }
            if self.compares_secret(name) {
                return Self::refuse_secret("filter", name);
            }
            self.unknown("filter", name)?;
        }
        if compares_all(filter) {
            let detail =
                "`filter`: a comparison without an attribute compares secrets, too; name an attribute";
            return Err(ApiError::bad_request("secret_attribute", detail).with("member", "filter".into()));
        }
        self.names.unknown_in(filter).first().map_or(Ok(()), |unknown| Err(not_known("filter", unknown)))
    }

    fn undefined(&self, filter: &Filter) -> Vec<Warning> {
        let warning = |undefined: ldap_directory::Undefined| Warning {
            code: "undefined_comparison",
            about: undefined.comparison.into(),
            count: 1,
            detail: format!("no entry matches: {}; expected: {}", undefined.problem, undefined.expected),
        };
        self.names.undefined_in(filter).into_iter().map(warning).collect()
    }

    /// Returns the attributes to request, and those that every entry of the answer has.
    fn attributes(&self, asked: Option<&[String]>) -> Result<(Vec<String>, Vec<String>), ApiError> {
        let Some(asked) = asked else { return Ok((vec!["*".to_owned()], Vec::new())) };
        let (mut requested, mut named) = (Vec::new(), Vec::new());
        for name in asked {
            match name.as_str() {
                "*" | "+" | "1.1" => requested.push(name.clone()),
                // Every entry of the answer has it.
                dn if dn.eq_ignore_ascii_case("dn") => {}
                _ => {
                    if Filter::Present(name.clone()).check().is_err() {
                        let detail =
                            format!("`attributes`: `{name}` is not an attribute description (RFC 4512)");
                        return Err(ApiError::bad_request("invalid_attribute", detail)
                            .with("member", "attributes".into())
                            .with("attribute", name.as_str().into()));
                    }
                    // Of a supertype's subtypes, the secret ones are left out of the answer.
                    if self.is_secret(name) {
                        Self::refuse_secret("attributes", name)?;
                    }
                    self.unknown("attributes", name)?;
                    requested.push(name.clone());
                    named.push(self.schema.spell(name));
                }
            }
        }
        if requested.is_empty() {
            requested.push("1.1".to_owned());
        }
        Ok((requested, named))
    }
}

fn not_known(member: &str, unknown: &UnknownName) -> ApiError {
    let code = if unknown.what == "attribute" { "unknown_attribute" } else { "unknown_object_class" };
    let hint = unknown.either().map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    let detail = format!("`{member}`: the directory has no {} `{}`{hint}", unknown.what, unknown.name);
    ApiError::bad_request(code, detail)
        .with("member", member.into())
        .with("attribute", unknown.name.as_str().into())
        .with("near", unknown.near.first().cloned().into())
}

/// Whether a filter has a comparison with every attribute (RFC 4511 section 4.5.1.7.7).
fn compares_all(filter: &Filter) -> bool {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().any(compares_all),
        Filter::Not(inner) => compares_all(inner),
        Filter::Extensible { attribute, .. } => attribute.is_none(),
        _ => false,
    }
}
