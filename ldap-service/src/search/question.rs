//! What a request asks for, and whether it may.

use ldap_directory::dn::DnKey;
use ldap_directory::filter::Filter;
use ldap_directory::nearest::nearest;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, Paging, Scope, SearchRequest};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use singer_common::plugin::settings::SHARED;
use utoipa::ToSchema;

use super::names::Checks;
use super::page::Warning;
use crate::config::Config;
use crate::error::ApiError;
use crate::filter::SafeFilter;
use crate::unseen::Unread;

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
    filter: SafeFilter,
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
        let asked = body.filter.as_deref();
        let asked = asked.map(|text| SafeFilter::parse(text, &config.limits, directory)).transpose()?;
        let checks = Checks::new(directory);
        let mut warnings = Vec::new();
        if let Some(filter) = &asked {
            checks.filter(filter)?;
            warnings = checks.undefined(filter);
        }
        let (attributes, named) = checks.attributes(body.attributes.as_deref())?;
        let filter = SafeFilter::within(config.users.filter.on(directory.root_dse().vendor), asked.clone());
        let asked = asked.map(Filter::from);
        let count = body.count.unwrap_or(config.limits.count).min(config.limits.count);
        Ok(Self { base_dn, base, asked, filter, attributes, named, count, warnings })
    }

    /// Returns the search, with an attribute that is not asked for.
    pub(super) fn request(&self, more: Option<&str>) -> SearchRequest {
        let mut request =
            SearchRequest::new(&self.base_dn, Scope::Subtree, Filter::from(self.filter.clone()), &[]);
        request.attributes.clone_from(&self.attributes);
        request.attributes.extend(more.map(str::to_owned));
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

    /// Returns what finds out which of the attributes may not be read.
    pub(super) fn unread(&self, directory: &Directory) -> Unread {
        Unread::of(directory, &self.attributes)
    }

    /// Returns the DN of the base.
    pub(super) fn base_dn(&self) -> &str {
        &self.base_dn
    }

    /// Returns the base, in the form in which DNs compare.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(value: &Value) -> Result<SearchBody, ApiError> {
        SearchBody::of(value.as_object().unwrap().clone())
    }

    #[test]
    fn trap_09_no_member_chooses_a_server() {
        for name in SHARED.iter().flat_map(|s| s.aliases.iter().chain([&s.name])) {
            assert_eq!(body(&json!({*name: "x"})).unwrap_err().code, "server_is_configured", "{name}");
        }
        for name in ["host", "Host", "bindDN", "server-url", "useSSL", "password", "LDAP_URL", "userDn"] {
            assert_eq!(body(&json!({name: null})).unwrap_err().code, "server_is_configured", "{name}");
        }
        for (name, near) in
            [("base", "base_dn"), ("fliter", "filter"), ("Attributes", "attributes"), ("zzzzzzzzzz", "")]
        {
            let error = body(&json!({name: "x"})).unwrap_err();
            assert_eq!(error.code, "unknown_member");
            assert_eq!(error.fields["near"].as_str().unwrap_or_default(), near);
        }
    }

    #[test]
    fn a_base_is_within_by_its_key() {
        let within = |base: &str| base_within(base, "ou=people,dc=x", Schema::standard());
        for base in ["ou=people,dc=x", "OU=People , DC=X", "2.5.4.11=people,dc=x", "uid=a,ou=people,dc=x"] {
            assert!(within(base).is_ok(), "{base}");
        }
        for base in [
            "dc=x",
            "",
            "ou=people,dc=x,dc=y",
            "xou=people,dc=x",
            r"cn=ou\3dpeople\2cdc\3dx",
            "ou=people2,dc=x",
        ] {
            assert_eq!(within(base).unwrap_err().code, "base_dn_outside", "{base}");
        }
        assert_eq!(within("people").unwrap_err().code, "invalid_dn");
    }
}
