//! One comparison with one LDAP attribute.

use ldap_directory::Vendor;
use ldap_directory::filter::Filter;
use ldap_directory::oid;
use ldap_directory::schema::syntax::ValueKind;
use serde_json::Value;
use target_ldap::rules::accounts::{AccountLock, LOCKED_FOR_EVER};

use super::{Translated, Translator, Truth, refused};
use crate::login;
use crate::scim::definitions::Type;
use crate::scim::error::ScimError;
use crate::scim::filter::{AttrPath, Operator};
use crate::scim::mapping::Field;
use crate::scim::values;

/// Returns the filter of disabled accounts.
pub(super) fn disabled(lock: AccountLock) -> Filter {
    match lock {
        AccountLock::UserAccountControl => Filter::Extensible {
            rule: Some(oid::BIT_AND_MATCH.to_owned()),
            attribute: Some(lock.attribute().to_owned()),
            dn: false,
            value: b"2".to_vec(),
        },
        AccountLock::NsAccountLock => Filter::equality(lock.attribute(), "true"),
        AccountLock::PwdAccountLockedTime => Filter::equality(lock.attribute(), LOCKED_FOR_EVER),
    }
}

/// Returns the filter of entries whose own mark of a disabled account is set: as a login reads it.
pub(super) fn off(field: &Field) -> Filter {
    let equal = |text: String| Filter::equality(field.attribute.as_str(), text);
    if field.values == ValueKind::Boolean {
        return equal("FALSE".to_owned());
    }
    let mut texts: Vec<String> = Vec::new();
    for text in login::OFF {
        let (lower, upper) = (text.to_lowercase(), text.to_uppercase());
        let title: String = upper.chars().take(1).chain(lower.chars().skip(1)).collect();
        let spellings = if field.case_exact { vec![lower, upper, title] } else { vec![lower] };
        for spelling in spellings {
            if !texts.contains(&spelling) {
                texts.push(spelling);
            }
        }
    }
    Filter::Or(texts.into_iter().map(equal).collect())
}

/// Compares a constant text, ignoring case. `None` is a missing value.
pub(super) fn text_matches(text: Option<&str>, operator: Operator, value: &Value) -> bool {
    let Some(text) = text.map(str::to_lowercase) else { return value.is_null() && operator == Operator::Eq };
    let Value::String(wanted) = value else { return false };
    operator.holds(&text, &wanted.to_lowercase())
}

impl Translator<'_> {
    /// Compares a field. [`Operator::Ne`] is negated by the caller.
    pub(super) fn leaf(
        &self,
        path: &AttrPath,
        field: &Field,
        operator: Operator,
        value: &Value,
    ) -> Translated {
        let attribute = field.attribute.as_str();
        if value.is_null() {
            let present = Truth::Filter(Filter::Present(attribute.to_owned()));
            return match operator {
                Operator::Eq | Operator::Ne => Ok(present.negated()),
                _ => Err(refused(path, "null is compared by `eq` and `ne` only")),
            };
        }
        if field.is_user {
            return self.reference(path, operator, value, attribute);
        }
        if value.as_str().is_some_and(|text| self.is_no_value(attribute, text)) {
            return Ok(Truth::Never);
        }
        match operator {
            Operator::Eq | Operator::Ne => self.equal(path, field, value),
            Operator::Co | Operator::Sw | Operator::Ew => self.substring(path, field, operator, value),
            Operator::Gt | Operator::Ge | Operator::Lt | Operator::Le => {
                if matches!(field.kind, Type::Boolean | Type::Binary) {
                    return Err(refused(path, "a boolean or binary value has no order"));
                }
                let Some(octets) = octets(path, field, value)? else {
                    return Err(refused(path, "an empty value has no order"));
                };
                self.ordered(path, attribute, field.single_valued, operator, octets)
            }
        }
    }

    /// Whether no value of an attribute has, or contains, a text. OpenLDAP checks values by their syntax, and compares nothing with a text
    /// that violates it: the comparison is undefined, and so is its negation, which is true in SCIM.
    fn is_no_value(&self, attribute: &str, text: &str) -> bool {
        if self.vendor != Vendor::OpenLdap {
            return false;
        }
        let is_printable = |c: char| c.is_ascii_alphanumeric() || " '()+,-./:?=".contains(c);
        match self.schema.syntax(attribute).and_then(|oid| oid.strip_prefix("1.3.6.1.4.1.1466.115.121.1.")) {
            // IA5String
            Some("26") => !text.is_ascii(),
            // Country String, Printable String
            Some("11" | "44") => !text.chars().all(is_printable),
            // Telephone Number: blanks and hyphens do not count.
            Some("50") => {
                !text.chars().all(is_printable) || !text.is_empty() && text.chars().all(|c| " -".contains(c))
            }
            // Numeric String
            Some("36") => !text.chars().all(|c| c.is_ascii_digit() || c == ' '),
            _ => false,
        }
    }

    fn equal(&self, path: &AttrPath, field: &Field, value: &Value) -> Translated {
        if !self.schema.has_equality(&field.attribute) {
            return Err(refused(path, &format!("the server cannot compare values of {}", field.attribute)));
        }
        // No value is empty.
        Ok(octets(path, field, value)?
            .map_or(Truth::Never, |octets| Truth::Filter(Filter::equality(field.attribute.as_str(), octets))))
    }

    fn substring(&self, path: &AttrPath, field: &Field, operator: Operator, value: &Value) -> Translated {
        let name = &field.attribute;
        let is_text = matches!(field.values, ValueKind::Text | ValueKind::PossiblyEmptyText);
        let rule = self.schema.equality(name);
        if !is_text || !self.schema.has_substring(name) || !rule.has_substrings() {
            return Err(refused(path, &format!("the server has no substrings of {name}")));
        }
        let Value::String(text) = value else { return Err(refused(path, "a text expected")) };
        if text.is_empty() {
            return Ok(Truth::Filter(Filter::Present(name.clone())));
        }
        let part = || Some(text.clone().into_bytes());
        let (mut initial, mut any, mut last) = (None, Vec::new(), None);
        match operator {
            Operator::Sw => initial = part(),
            Operator::Ew => last = part(),
            _ => any.extend(part()),
        }
        Ok(Truth::Filter(Filter::Substring { attribute: name.clone(), initial, any, last }))
    }

    /// Compares by the attribute's order. `gt` of several values has no equivalent: one value may be equal, and another greater.
    pub(super) fn ordered(
        &self,
        path: &AttrPath,
        attribute: &str,
        is_single: bool,
        operator: Operator,
        value: Vec<u8>,
    ) -> Translated {
        let is_equality = operator == Operator::Eq;
        let has_order = self.schema.has_ordering(attribute) && self.schema.ordering(attribute).has_order();
        if !is_equality && !has_order {
            return Err(refused(path, &format!("the server cannot order values of {attribute}")));
        }
        let name = || attribute.to_owned();
        let equal = Filter::equality(attribute, value.clone());
        let strictly = |filter: Filter, equal: Filter| {
            if is_single {
                Ok(Filter::And(vec![filter, Filter::Not(Box::new(equal))]))
            } else {
                Err(refused(path, "`gt` and `lt` are not exact for several values: use `ge` or `le`"))
            }
        };
        Ok(Truth::Filter(match operator {
            Operator::Ge => Filter::GreaterOrEqual { attribute: name(), value },
            Operator::Le => Filter::LessOrEqual { attribute: name(), value },
            Operator::Gt => strictly(Filter::GreaterOrEqual { attribute: name(), value }, equal)?,
            Operator::Lt => strictly(Filter::LessOrEqual { attribute: name(), value }, equal)?,
            Operator::Eq => equal,
            _ => return Err(refused(path, "a time has no substrings")),
        }))
    }
}

/// Returns the octets of a value; `None` for an empty text.
fn octets(path: &AttrPath, field: &Field, value: &Value) -> Result<Option<Vec<u8>>, ScimError> {
    values::field_to_value(field, &format!("filter: `{path}`"), value)
        .map_err(|e| ScimError::untranslatable(e.detail))
}
