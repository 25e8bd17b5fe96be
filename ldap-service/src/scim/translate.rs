//! A SCIM filter as a search filter (RFC 4511 section 4.5.1.7), value by value. What cannot be translated exactly is an error.
//!
//! Comparisons follow the rules of the LDAP attribute (RFC 4517): whether case counts, whether there is an order, whether there are
//! substrings. `ne` is the negation of `eq`, and true for a resource without the attribute.

mod element;
mod leaf;

use chrono::Utc;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{Directory, Vendor};
use serde_json::Value;

use super::definitions;
use super::error::ScimError;
use super::filter::{AttrPath, Expr, Operator};
use super::mapping::{Active, Attribute, Field, Mapping, Source};
use crate::error::ApiError;
use crate::filter::SafeFilter;
use crate::login;
use crate::members::{MEMBER_UID, primary};

/// A filter after what is known without the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    /// Every resource matches.
    Always,
    /// No resource matches: the directory need not be asked.
    Never,
    /// Entries that match this filter.
    Filter(Filter),
}

impl Truth {
    fn of(known: bool) -> Self {
        if known { Self::Always } else { Self::Never }
    }

    fn negated(self) -> Self {
        match self {
            Self::Always => Self::Never,
            Self::Never => Self::Always,
            Self::Filter(Filter::Not(inner)) => Self::Filter(*inner),
            Self::Filter(filter) => Self::Filter(Filter::Not(Box::new(filter))),
        }
    }

    fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut filters = Vec::new();
        for part in parts {
            match part {
                Self::Always => {}
                Self::Never => return Self::Never,
                Self::Filter(filter) => filters.push(filter),
            }
        }
        Self::joined(filters, Filter::And, Self::Always)
    }

    fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut filters = Vec::new();
        for part in parts {
            match part {
                Self::Never => {}
                Self::Always => return Self::Always,
                Self::Filter(filter) => filters.push(filter),
            }
        }
        Self::joined(filters, Filter::Or, Self::Never)
    }

    fn joined(mut filters: Vec<Filter>, join: fn(Vec<Filter>) -> Filter, empty: Self) -> Self {
        match filters.pop() {
            None => empty,
            Some(only) if filters.is_empty() => Self::Filter(only),
            Some(last) => {
                filters.push(last);
                Self::Filter(join(filters))
            }
        }
    }
}

/// What a translation needs.
#[derive(Clone, Copy)]
pub struct Translator<'t> {
    /// The mapping of the resource type.
    pub mapping: &'t Mapping,
    /// The server's schema.
    pub schema: &'t Schema,
    /// The kind of server.
    pub vendor: Vendor,
    /// Returns the DN of the entry with an `id`; `None` if there is none. It is asked for what [`references`] returns.
    pub dn_of: &'t dyn Fn(&str) -> Option<String>,
    /// Returns the user names of the user with an `id`, by which groups may name it.
    pub uids_of: &'t dyn Fn(&str) -> Vec<Vec<u8>>,
    /// Returns the SIDs of the primary group of the user with an `id`, and of the entry itself.
    pub sids_of: &'t dyn Fn(&str) -> Sids,
    /// Is told each comparison of a field, and whether its resource shows one value alone. Returns what is known of it: `None` leaves it to
    /// the search.
    pub shown: &'t dyn Fn(&Field, bool, &Filter) -> Option<bool>,
}

/// The SID of the primary group of a user, and the SID of an entry itself.
type Sids = (Option<Vec<u8>>, Option<Vec<u8>>);

type Translated = Result<Truth, ScimError>;

/// Returns the ids that a filter compares references with, whose DNs a [`Translator`] needs.
pub fn references(mapping: &Mapping, expr: &Expr) -> Vec<String> {
    let is_reference = |path: &AttrPath| {
        let Some(attribute) = mapping.attribute(path) else { return false };
        let is_value = path.sub.as_deref().is_none_or(|sub| sub.eq_ignore_ascii_case("value"));
        let refers = match attribute.source {
            Source::Members | Source::Groups => true,
            _ => mapping.fields_of(attribute).any(|f| f.is_user),
        };
        is_value && refers
    };
    let mut ids = expr.texts_of(&is_reference);
    ids.sort_unstable();
    ids.dedup();
    ids
}

impl Translator<'_> {
    /// Translates a filter.
    ///
    /// # Errors
    /// `invalidFilter`: an attribute is unknown, not mapped or secret; a value has the wrong type; the server cannot compare
    /// the attribute so; or the comparison has no exact equivalent.
    pub fn translate(&self, expr: &Expr) -> Translated {
        match expr {
            Expr::And(parts) => {
                Ok(Truth::all(parts.iter().map(|p| self.translate(p)).collect::<Result<Vec<_>, _>>()?))
            }
            Expr::Or(parts) => {
                Ok(Truth::any(parts.iter().map(|p| self.translate(p)).collect::<Result<Vec<_>, _>>()?))
            }
            Expr::Not(inner) => Ok(self.translate(inner)?.negated()),
            Expr::Present(path) => self.present(path),
            Expr::Compare { path, operator: Operator::Ne, value } => {
                Ok(self.compare(path, Operator::Eq, value)?.negated())
            }
            Expr::Compare { path, operator, value } => self.compare(path, *operator, value),
            Expr::Element { path, filter } => self.element(path, filter),
        }
    }

    fn present(&self, path: &AttrPath) -> Translated {
        if let Some(common) = self.common(path) {
            return match (common, path.sub.as_deref()) {
                (Common::Id | Common::Schemas, _) | (Common::Meta, None) => Ok(Truth::Always),
                (Common::Meta, Some(sub)) => match self.time_attribute(sub) {
                    Some(attribute) => Ok(Truth::Filter(Filter::Present(attribute.to_owned()))),
                    None => Err(refused(path, "`pr` has no equivalent")),
                },
            };
        }
        let attribute = self.attribute(path)?;
        match attribute.source {
            Source::Active => Ok(Truth::Always),
            Source::Fields => {
                let fields = match path.sub.as_deref() {
                    Some(sub) if !sub.eq_ignore_ascii_case("type") => self.fields(attribute, path)?,
                    _ => self.mapping.fields_of(attribute).collect(),
                };
                Ok(any_present(fields.into_iter()))
            }
            Source::Groups | Source::Members | Source::Password => {
                Err(refused(path, "`pr` has no exact equivalent"))
            }
        }
    }

    fn compare(&self, path: &AttrPath, operator: Operator, value: &Value) -> Translated {
        if let Some(common) = self.common(path) {
            return self.compare_common(common, path, operator, value);
        }
        let attribute = self.attribute(path)?;
        match attribute.source {
            Source::Fields => self.compare_fields(attribute, path, operator, value),
            Source::Active => self.compare_active(path, operator, value),
            Source::Members => {
                let names = self.mapping.member_names.iter();
                let by_dn = names.map(|name| self.reference(path, operator, value, name));
                let by_dn = by_dn.collect::<Result<Vec<_>, _>>()?;
                let uids = match value {
                    Value::String(id) if self.mapping.has_user_names => (self.uids_of)(id),
                    _ => Vec::new(),
                };
                let by_uid = uids.into_iter().map(|uid| Truth::Filter(Filter::equality(MEMBER_UID, uid)));
                let primary = value.as_str().and_then(|id| (self.sids_of)(id).0);
                let as_primary = primary.map(|sid| Truth::Filter(primary::by_sid(&sid)));
                Ok(Truth::any(by_dn.into_iter().chain(by_uid).chain(as_primary)))
            }
            Source::Groups if self.vendor == Vendor::ActiveDirectory => {
                let direct = self.reference(path, operator, value, "memberOf")?;
                let sid = value.as_str().and_then(|id| (self.sids_of)(id).1);
                let by_primary = sid.and_then(|sid| primary::accounts_of(&sid)).map(Truth::Filter);
                Ok(Truth::any(std::iter::once(direct).chain(by_primary)))
            }
            Source::Groups => Err(refused(
                path,
                "the directory does not hold the groups of a user: filter /Groups by `members.value` instead",
            )),
            Source::Password => Err(refused(path, "it is never compared")),
        }
    }

    fn compare_fields(
        &self,
        attribute: &Attribute,
        path: &AttrPath,
        operator: Operator,
        value: &Value,
    ) -> Translated {
        if path.sub.as_deref().is_some_and(|sub| sub.eq_ignore_ascii_case("type")) {
            let fits = |f: &&Field| leaf::text_matches(f.key.element.as_deref(), operator, value);
            return Ok(any_present(self.mapping.fields_of(attribute).filter(fits)));
        }
        let fields = self.fields(attribute, path)?;
        let parts = fields.into_iter().map(|field| {
            let truth = self.leaf(path, field, operator, value)?;
            Ok(self.as_shown(attribute, field, truth))
        });
        Ok(Truth::any(parts.collect::<Result<Vec<_>, _>>()?))
    }

    /// Returns what is known of a comparison, else the comparison: a search compares every value, be it under an option or a subtype, and the
    /// resource shows fewer.
    fn as_shown(&self, attribute: &Attribute, field: &Field, truth: Truth) -> Truth {
        let Truth::Filter(filter) = truth else { return truth };
        if field.is_user {
            return Truth::Filter(filter);
        }
        let in_object = || {
            let elements = self.mapping.elements_of(attribute);
            elements.iter().any(|(_, fields)| fields.len() > 1 && fields.iter().any(|f| f.key == field.key))
        };
        let is_one = !attribute.multi_valued || in_object();
        (self.shown)(field, is_one, &filter).map_or(Truth::Filter(filter), Truth::of)
    }

    /// Returns the fields that a path compares: of its sub-attribute, or of `value`.
    fn fields<'m>(&'m self, attribute: &'m Attribute, path: &AttrPath) -> Result<Vec<&'m Field>, ScimError> {
        let of = |sub: Option<&str>| -> Vec<&Field> {
            let same = |f: &&Field| match (f.key.sub.as_deref(), sub) {
                (Some(a), Some(b)) => a.eq_ignore_ascii_case(b),
                (None, None) => true,
                _ => false,
            };
            self.mapping.fields_of(attribute).filter(same).collect()
        };
        let sub = path.sub.as_deref();
        let found = match (of(sub), sub) {
            (found, None) if found.is_empty() => of(Some("value")),
            (found, _) => found,
        };
        if found.is_empty() {
            let known = attribute.subs.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
            let reason = match sub {
                None => format!("it is complex: compare one of its sub-attributes ({known})"),
                Some("$ref") => "references are compared by `value`".to_owned(),
                Some(_) => format!("this sub-attribute is not mapped; these are: {known}"),
            };
            return Err(refused(path, &reason));
        }
        Ok(found)
    }

    fn compare_active(&self, path: &AttrPath, operator: Operator, value: &Value) -> Translated {
        let wanted = super::values::typed(definitions::Type::Boolean, &path.to_string(), value)
            .map_err(|e| ScimError::untranslatable(e.detail))?;
        let Value::Bool(wanted) = wanted else {
            return Err(refused(path, "true or false expected"));
        };
        if operator != Operator::Eq {
            return Err(refused(path, "a boolean has `eq`, `ne` and `pr` only"));
        }
        let disabled = match self.mapping.active {
            Some(Active::Lock(lock)) => {
                let out_of_days = login::out_of_days_filter(lock, self.schema, Utc::now());
                out_of_days
                    .into_iter()
                    .fold(leaf::disabled(lock), |disabled, other| Filter::Or(vec![disabled, other]))
            }
            Some(Active::Field(at)) => {
                let field = self.mapping.fields.get(at).ok_or_else(|| refused(path, "it is not mapped"))?;
                if !self.schema.has_equality(&field.attribute) {
                    return Err(refused(path, "the server cannot compare its values"));
                }
                leaf::off(field)
            }
            None => return Err(refused(path, "it is not mapped")),
        };
        let truth = Truth::Filter(disabled);
        Ok(if wanted { truth.negated() } else { truth })
    }

    fn compare_common(
        &self,
        common: Common,
        path: &AttrPath,
        operator: Operator,
        value: &Value,
    ) -> Translated {
        match (common, path.sub.as_deref(), value) {
            (Common::Id, None, Value::String(id)) if operator == Operator::Eq => {
                let id_attribute = &self.mapping.id;
                Ok(id_attribute.to_value(id).map_or(Truth::Never, |value| {
                    Truth::Filter(Filter::equality(id_attribute.attribute.as_str(), value))
                }))
            }
            (Common::Id, None, _) => Err(refused(path, "an id has `eq`, `ne` and `pr` only")),
            (Common::Schemas, None, Value::String(uri)) if operator == Operator::Eq => {
                if uri.eq_ignore_ascii_case(self.mapping.resource.schema()) {
                    return Ok(Truth::Always);
                }
                let is_extension = self.mapping.extensions().iter().any(|e| e.eq_ignore_ascii_case(uri));
                if is_extension {
                    return Err(refused(path, "compare the attributes of the extension instead"));
                }
                Ok(Truth::Never)
            }
            (Common::Meta, Some(sub), _) if sub.eq_ignore_ascii_case("resourceType") => {
                Ok(Truth::of(leaf::text_matches(Some(self.mapping.resource.name()), operator, value)))
            }
            (Common::Meta, Some(sub), _) => {
                let Some(attribute) = self.time_attribute(sub) else {
                    return Err(refused(path, "it is not stored in the directory"));
                };
                let at = |value: &Value| ValueKind::GeneralizedTime.parse_json(value).ok().flatten();
                let Some(time) = Some(value).filter(|v| v.is_string()).and_then(at) else {
                    return Err(refused(path, "a time expected (RFC 3339)"));
                };
                self.ordered(path, attribute, true, operator, time)
            }
            _ => Err(refused(path, "this comparison has no equivalent")),
        }
    }

    fn time_attribute(&self, sub: &str) -> Option<&'static str> {
        match sub.to_ascii_lowercase().as_str() {
            "created" => Some(self.mapping.created),
            "lastmodified" => Some(self.mapping.modified),
            _ => None,
        }
    }

    /// Returns a common attribute (RFC 7643 section 3.1).
    fn common(&self, path: &AttrPath) -> Option<Common> {
        let is_core =
            path.schema.as_ref().is_none_or(|uri| uri.eq_ignore_ascii_case(self.mapping.resource.schema()));
        match path.name.to_ascii_lowercase().as_str() {
            _ if !is_core => None,
            "id" => Some(Common::Id),
            "schemas" => Some(Common::Schemas),
            "meta" => Some(Common::Meta),
            _ => None,
        }
    }

    fn attribute(&self, path: &AttrPath) -> Result<&Attribute, ScimError> {
        self.mapping.attribute(path).ok_or_else(|| {
            let schema = path.schema.as_deref().unwrap_or(self.mapping.resource.schema());
            let is_known = definitions::find(schema, &path.name).is_some();
            refused(
                path,
                if is_known { "it is not mapped to an LDAP attribute" } else { "unknown attribute" },
            )
        })
    }

    fn reference(&self, path: &AttrPath, operator: Operator, value: &Value, attribute: &str) -> Translated {
        let is_value = path.sub.as_deref().is_none_or(|sub| sub.eq_ignore_ascii_case("value"));
        let (true, Operator::Eq, Value::String(id)) = (is_value, operator, value) else {
            return Err(refused(path, "a reference is compared by `eq` with an id only"));
        };
        Ok((self.dn_of)(id)
            .map_or(Truth::Never, |dn| Truth::Filter(Filter::equality(attribute, dn.into_bytes()))))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Common {
    Id,
    Schemas,
    Meta,
}

fn any_present<'f>(fields: impl Iterator<Item = &'f Field>) -> Truth {
    let mut names: Vec<&str> = Vec::new();
    for field in fields {
        if !names.contains(&field.attribute.as_str()) {
            names.push(&field.attribute);
        }
    }
    Truth::any(names.into_iter().map(|name| Truth::Filter(Filter::Present(name.to_owned()))))
}

fn refused(path: &AttrPath, reason: &str) -> ScimError {
    ScimError::untranslatable(format!("filter: `{path}`: {reason}"))
}

/// Returns the filter of a resource type's entries that also match a translated filter; `None` if none can.
///
/// # Errors
/// It asks about a secret.
pub fn within(entries: &Filter, truth: Truth, directory: &Directory) -> Result<Option<SafeFilter>, ApiError> {
    Ok(match truth {
        Truth::Never => None,
        Truth::Always => Some(SafeFilter::within(entries, None)),
        Truth::Filter(filter) => Some(SafeFilter::within(entries, Some(SafeFilter::of(filter, directory)?))),
    })
}

#[cfg(test)]
mod exactness;
#[cfg(test)]
pub(super) mod tests;
