//! The attributes that a request names: known ones, and no secrets.

use ldap_directory::entry::base_type;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::secret::SecretAttributes;
use ldap_directory::{Directory, KnownNames, UnknownName};

use super::page::Warning;
use crate::error::ApiError;
use crate::filter::SafeFilter;

/// Checks that the directory can compare all that a filter of a caller names: else nothing matches, and that looks like an answer.
///
/// # Errors
/// 400 for an attribute or a class that the schema does not have, and for a comparison that no entry matches.
pub(crate) fn check_filter(filter: &SafeFilter, directory: &Directory) -> Result<(), ApiError> {
    let checks = Checks::new(directory);
    checks.filter(filter)?;
    checks.undefined(filter).pop().map_or(Ok(()), |undefined| {
        let detail = format!("`filter`: {}", undefined.detail);
        Err(ApiError::bad_request("invalid_filter", detail).with("member", "filter".into()))
    })
}

/// The checks of names.
pub(super) struct Checks<'a> {
    names: KnownNames<'a>,
    schema: &'a Schema,
    secrets: &'a SecretAttributes,
}

impl<'a> Checks<'a> {
    pub(super) fn new(directory: &'a Directory) -> Self {
        let (schema, secrets) = (directory.schema(), directory.secret_attributes());
        Self { names: KnownNames::new(directory), schema, secrets }
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

    pub(super) fn filter(&self, filter: &Filter) -> Result<(), ApiError> {
        for name in filter.attributes() {
            if base_type(name).eq_ignore_ascii_case("dn") {
                let detail = "`filter`: the DN is not an attribute; narrow `base_dn`, or use an attribute such as entryDN";
                return Err(ApiError::bad_request("unknown_attribute", detail)
                    .with("member", "filter".into())
                    .with("attribute", name.into()));
            }
            self.unknown("filter", name)?;
        }
        self.names.unknown_in(filter).first().map_or(Ok(()), |unknown| Err(not_known("filter", unknown)))
    }

    pub(super) fn undefined(&self, filter: &Filter) -> Vec<Warning> {
        let warning = |undefined: ldap_directory::Undefined| Warning {
            code: "undefined_comparison",
            about: undefined.comparison.into(),
            count: 1,
            detail: format!("no entry matches: {}; expected: {}", undefined.problem, undefined.expected),
        };
        self.names.undefined_in(filter).into_iter().map(warning).collect()
    }

    /// Returns the attributes to request, and those that every entry of the answer has.
    pub(super) fn attributes(
        &self,
        asked: Option<&[String]>,
    ) -> Result<(Vec<String>, Vec<String>), ApiError> {
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
