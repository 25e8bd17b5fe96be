//! Filters of callers. None of them asks about a secret: what it finds would tell the value.
//!
//! A [`SafeFilter`] is made here only, and what searches for a caller takes nothing else.

use std::ops::Deref;

use ldap_directory::Directory;
use ldap_directory::dn::first_rdn;
use ldap_directory::entry::base_type;
use ldap_directory::filter::{Filter, FilterError};
use ldap_directory::schema::{AttributeType, Schema};
use ldap_directory::secret::SecretAttributes;

use crate::config::Limits;
use crate::error::ApiError;

/// The deepest nesting of a filter.
const MOST_DEPTH: usize = 32;

/// Active Directory compares it with a set of attributes of its own choice ([MS-ADTS] 3.1.1.3.1.3.4), which may be secret here.
const ANR: [&str; 3] = ["anr", "1.2.840.113556.1.4.1208", "oid.1.2.840.113556.1.4.1208"];

/// A filter that compares no secret, except for what the configuration itself asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafeFilter(Filter);

impl Deref for SafeFilter {
    type Target = Filter;

    fn deref(&self) -> &Filter {
        &self.0
    }
}

impl From<SafeFilter> for Filter {
    fn from(filter: SafeFilter) -> Self {
        filter.0
    }
}

impl SafeFilter {
    /// Parses a caller's filter (RFC 4515), and checks its size and its attributes.
    ///
    /// # Errors
    /// 400 `invalid_filter`, `filter_too_large`, or `secret_attribute`.
    pub fn parse(text: &str, limits: &Limits, directory: &Directory) -> Result<Self, ApiError> {
        Self::of(parsed(text, limits)?, directory)
    }

    /// Checks a caller's filter.
    ///
    /// # Errors
    /// 400 `secret_attribute`: it compares a secret attribute by any of its names, one that has it among its subtypes, or all
    /// attributes.
    pub fn of(filter: Filter, directory: &Directory) -> Result<Self, ApiError> {
        check(&filter, directory.schema(), directory.secret_attributes())?;
        Ok(Self(filter))
    }

    /// Returns the filter of entries that match the configuration's own filter and that of a caller.
    pub fn within(own: &Filter, asked: Option<SafeFilter>) -> Self {
        Self(match asked {
            None => own.clone(),
            Some(asked) => Filter::And(vec![own.clone(), asked.0]),
        })
    }

    /// Returns the filter that every entry matches.
    pub fn every_entry() -> Self {
        Self(Filter::Present("objectClass".to_owned()))
    }
}

/// Returns the DNs that a filter compares something with: `(memberOf=cn=staff,…)`.
pub(crate) fn names_in(filter: &Filter) -> Vec<String> {
    match filter {
        Filter::And(parts) | Filter::Or(parts) => parts.iter().flat_map(names_in).collect(),
        Filter::Not(inner) => names_in(inner),
        Filter::Equality { value, .. } | Filter::Approx { value, .. } | Filter::Extensible { value, .. } => {
            let text = std::str::from_utf8(value).ok();
            let is_name = |text: &&str| first_rdn(text).is_ok_and(|rdn| rdn.is_some());
            text.filter(is_name).map(str::to_owned).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn check(filter: &Filter, schema: &Schema, secrets: &SecretAttributes) -> Result<(), ApiError> {
    let refused = |detail: String| {
        Err(ApiError::bad_request("secret_attribute", detail).with("member", "filter".into()))
    };
    if compares_all(filter) {
        return refused(
            "`filter`: a comparison without an attribute compares secrets, too; name an attribute".to_owned(),
        );
    }
    match filter.attributes().into_iter().find(|name| compares_secret(name, schema, secrets)) {
        None => Ok(()),
        Some(name) => {
            let name = base_type(name);
            let detail = format!("`filter`: `{name}` is secret: it is neither shown nor compared");
            refused(detail).map_err(|error| error.with("attribute", name.into()))
        }
    }
}

/// Whether an attribute, one of its other names, or a subtype is secret: `(name=…)` compares with all subtypes of `name`.
fn compares_secret(name: &str, schema: &Schema, secrets: &SecretAttributes) -> bool {
    let is_secret = |t: &&AttributeType| t.names.iter().chain([&t.oid]).any(|name| secrets.contains(name));
    ANR.iter().any(|anr| base_type(name).eq_ignore_ascii_case(anr))
        || secrets.contains(name)
        || secrets.contains(schema.canonical_name(name))
        || schema.attribute_types().iter().filter(is_secret).any(|t| schema.is_subtype(&t.oid, name))
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
        FilterError::Expected { at, .. }
        | FilterError::Unescaped { at, .. }
        | FilterError::BadAttribute(at)
        | FilterError::BadEscape(at)
        | FilterError::TooDeep(at) => Some(*at),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn no_form_of_a_comparison_with_a_secret_passes() {
        let mut schema = Schema::standard().clone();
        let definitions = [
            "( 1.2.3.1 NAME ( 'badge' 'badgeNumber' ) EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )",
            "( 1.2.3.2 NAME 'oldBadge' SUP badge )",
            "( 1.2.3.3 NAME 'tag' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )",
            "( 1.2.3.4 NAME 'hiddenTag' SUP tag )",
        ];
        schema.add_attribute_types(definitions.map(|d| AttributeType::parse(d).unwrap()));
        let secrets = SecretAttributes::of(&["badge".to_owned(), "hiddenTag".to_owned()], &schema);
        let (bare, inner) = ("(uid=ada)", ["(&(uid=a){})", "(|(!{})(uid=a))", "{}"]);
        let found =
            |text: &str| check(&Filter::parse(text).unwrap(), &schema, &secrets).err().map(|e| e.code);
        assert_eq!(found(bare), None);
        assert_eq!(found("(cn:dn:caseIgnoreMatch:=x)"), None);
        for leaf in [
            "(userPassword=a*)",
            "(USERPASSWORD;x-a>=b)",
            "(2.5.4.35=x)",
            "(userPassword=*)",
            "(userPassword:2.5.13.17:=x)",
            "(userPassword:dn:=x)",
            "(badgeNumber~=1)",
            "(1.2.3.1<=1)",
            "(oldBadge=1)",
            "(1.2.3.2=1)",
            "(tag=1)",
            "(ANR=TOP)",
            "(:2.5.13.17:=ada-pw)",
            "(:dn:caseIgnoreMatch:=x)",
            "(:caseIgnoreMatch:=x)",
        ] {
            for outer in inner {
                let text = outer.replace("{}", leaf);
                assert_eq!(found(&text), Some("secret_attribute"), "{text}");
            }
        }
    }

    fn filters() -> impl Strategy<Value = Filter> {
        let leaf = prop_oneof![
            ("[a-z]{1,4}", "[ -~]{0,4}").prop_map(|(a, v)| Filter::equality(a, v)),
            "[a-z]{1,4}".prop_map(Filter::Present),
            (proptest::option::of("[a-z]{1,4}"), any::<bool>()).prop_map(|(attribute, dn)| {
                Filter::Extensible { rule: Some("2.5.13.2".into()), attribute, dn, value: b"x".to_vec() }
            }),
        ];
        leaf.prop_recursive(5, 40, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Filter::And),
                proptest::collection::vec(inner.clone(), 0..5).prop_map(Filter::Or),
                inner.prop_map(|f| Filter::Not(Box::new(f))),
            ]
        })
    }

    /// Returns the comparisons of a filter.
    fn leaves(filter: &Filter) -> Vec<&Filter> {
        match filter {
            Filter::And(parts) | Filter::Or(parts) => parts.iter().flat_map(leaves).collect(),
            Filter::Not(inner) => leaves(inner),
            leaf => vec![leaf],
        }
    }

    proptest! {
        #[test]
        fn a_filter_is_bounded_by_its_comparisons(filter in filters(), most in 1..50usize) {
            let limits = Limits { filter_terms: most, ..Limits::default() };
            let parsed = parsed(&filter.to_string(), &limits);
            let count = leaves(&filter).len();
            if count > most {
                prop_assert_eq!(parsed.unwrap_err().code, "filter_too_large");
            } else if let Err(error) = parsed {
                // Empty sets count, too.
                prop_assert_eq!(error.code, "filter_too_large");
                prop_assert!(size(&filter).0 > most);
            }
        }

        #[test]
        fn no_text_panics(text in prop_oneof![any::<String>(), "[()&|!a=*:<>~\\\\ \u{e9}1]{0,40}"]) {
            match parsed(&text, &Limits::default()) {
                Ok(filter) => prop_assert!(size(&filter).0 <= Limits::default().filter_terms),
                Err(error) => {
                    let at = error.fields.get("position").and_then(Value::as_u64).unwrap_or_default();
                    prop_assert!(at <= text.len() as u64);
                }
            }
        }
    }
}
