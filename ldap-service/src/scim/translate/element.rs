//! `attribute[filter]`: one value of a multi-valued attribute matches the whole filter.

use ldap_directory::filter::Filter;

use super::{Translated, Translator, Truth, any_present, leaf, refused};
use crate::scim::error::ScimError;
use crate::scim::filter::{AttrPath, Expr, Operator};
use crate::scim::mapping::{Attribute, Field, Source};

impl Translator<'_> {
    pub(super) fn element(&self, path: &AttrPath, inner: &Expr) -> Translated {
        let attribute = self.attribute(path)?;
        if !attribute.multi_valued || attribute.subs.is_empty() {
            return Err(refused(path, "brackets need an attribute with several complex values"));
        }
        if matches!(attribute.source, Source::Members | Source::Groups) {
            return self.members(path, inner);
        }
        let mut parts = Vec::new();
        for (kind, fields) in self.mapping.elements_of(attribute) {
            let of = Element { path, attribute, kind, fields: &fields };
            let truth = self.inner(&of, inner)?;
            parts.push(match truth {
                Truth::Never => Truth::Never,
                // Any value of this type.
                Truth::Always => any_present(fields.iter().copied()),
                Truth::Filter(filter) => Truth::Filter(of.exact(filter)?),
            });
        }
        Ok(Truth::any(parts))
    }

    /// `members[value eq "…"]`, also several joined by `or`: each compares another value.
    fn members(&self, path: &AttrPath, inner: &Expr) -> Translated {
        match inner {
            Expr::Or(parts) => {
                let parts = parts.iter().map(|p| self.members(path, p));
                Ok(Truth::any(parts.collect::<Result<Vec<_>, _>>()?))
            }
            Expr::Compare { path: sub, operator, value } if sub.schema.is_none() && sub.sub.is_none() => {
                let full = AttrPath { sub: Some(sub.name.clone()), ..path.clone() };
                if *operator == Operator::Ne {
                    return Err(refused(path, "`ne` in brackets has no exact equivalent"));
                }
                self.compare(&full, *operator, value)
            }
            _ => Err(refused(
                path,
                "only `value eq \"…\"` in brackets, joined by `or`, has an exact equivalent",
            )),
        }
    }

    fn inner(&self, of: &Element<'_>, expr: &Expr) -> Translated {
        match expr {
            Expr::And(parts) => {
                Ok(Truth::all(parts.iter().map(|p| self.inner(of, p)).collect::<Result<Vec<_>, _>>()?))
            }
            Expr::Or(parts) => {
                Ok(Truth::any(parts.iter().map(|p| self.inner(of, p)).collect::<Result<Vec<_>, _>>()?))
            }
            Expr::Not(inner) => Ok(self.inner(of, inner)?.negated()),
            Expr::Element { .. } => Err(refused(of.path, "brackets cannot be nested")),
            Expr::Present(sub) => match of.field(sub)? {
                None => Ok(Truth::of(of.kind.is_some())),
                Some(field) => Ok(any_present(std::iter::once(field))),
            },
            Expr::Compare { path: sub, operator, value } => match of.field(sub)? {
                None => Ok(Truth::of(leaf::text_matches(of.kind, *operator, value))),
                Some(field) => {
                    let full = AttrPath { sub: Some(sub.name.clone()), ..of.path.clone() };
                    let truth = self.leaf(&full, field, *operator, value)?;
                    let truth = self.as_shown(of.attribute, field, truth);
                    Ok(if *operator == Operator::Ne { truth.negated() } else { truth })
                }
            },
        }
    }
}

/// The values with one `type`.
struct Element<'e> {
    path: &'e AttrPath,
    attribute: &'e Attribute,
    kind: Option<&'e str>,
    fields: &'e [&'e Field],
}

impl<'e> Element<'e> {
    /// Returns the field of a sub-attribute; `None` for `type`, which is known.
    fn field(&self, sub: &AttrPath) -> Result<Option<&'e Field>, ScimError> {
        let fault = |reason: &str| refused(self.path, &format!("`{sub}` in brackets: {reason}"));
        if sub.schema.is_some() || sub.sub.is_some() {
            return Err(fault("the name of a sub-attribute expected"));
        }
        if sub.name.eq_ignore_ascii_case("type") {
            return Ok(None);
        }
        let same = |f: &&&Field| f.key.sub.as_deref().is_some_and(|s| s.eq_ignore_ascii_case(&sub.name));
        self.fields.iter().find(same).map(|f| Some(*f)).ok_or_else(|| {
            let known = self.attribute.subs.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
            fault(&format!(
                "it is not mapped for the type {}; mapped are: {known}",
                self.kind.unwrap_or("(none)")
            ))
        })
    }

    /// Returns a filter that holds if one value matches all of `filter`. An LDAP filter compares each part with any value, so
    /// that parts joined by `and` or negated are exact for single values only.
    fn exact(&self, filter: Filter) -> Result<Filter, ScimError> {
        if is_one_comparison(&filter) {
            return Ok(filter);
        }
        if let Some(several) = self.fields.iter().find(|f| !f.single_valued) {
            let reason = format!(
                "the LDAP attribute {} may have several values, and no search filter compares the same one twice",
                several.attribute
            );
            return Err(refused(self.path, &reason));
        }
        match any_present(self.fields.iter().copied()) {
            Truth::Filter(present) => Ok(Filter::And(vec![present, filter])),
            Truth::Always | Truth::Never => Ok(filter),
        }
    }
}

fn is_one_comparison(filter: &Filter) -> bool {
    match filter {
        Filter::Or(parts) => parts.iter().all(is_one_comparison),
        Filter::And(_) | Filter::Not(_) => false,
        _ => true,
    }
}
