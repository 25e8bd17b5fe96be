//! The parameters `attributes` and `excludedAttributes` (RFC 7644 section 3.9).

use serde_json::{Map, Value};

use super::error::{ScimError, ScimType};
use super::filter::AttrPath;
use super::mapping::{Mapping, Returned};

/// Which attributes a response has. `id` and `schemas` are always there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Projection {
    included: Option<Vec<AttrPath>>,
    excluded: Vec<AttrPath>,
}

/// What remains of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Whole,
    Nothing,
    Only(Vec<String>),
    Without(Vec<String>),
}

impl Projection {
    /// Returns the projection of the two parameters. Names that the resource does not have select nothing.
    ///
    /// # Errors
    /// Both are given, or one has something other than names.
    pub fn new(included: Option<&[String]>, excluded: Option<&[String]>) -> Result<Self, ScimError> {
        let paths = |parameter: &str, names: &[String]| -> Result<Vec<AttrPath>, ScimError> {
            let path = |name: &String| {
                AttrPath::from_token(name.trim()).ok_or_else(|| {
                    let detail =
                        format!("{parameter}: `{}` is not the name of an attribute", name.escape_debug());
                    ScimError::new(ScimType::InvalidValue, detail)
                })
            };
            names.iter().filter(|name| !name.trim().is_empty()).map(path).collect()
        };
        let included =
            included.map(|names| paths("attributes", names)).transpose()?.filter(|p| !p.is_empty());
        let excluded =
            excluded.map(|names| paths("excludedAttributes", names)).transpose()?.unwrap_or_default();
        if included.is_some() && !excluded.is_empty() {
            let detail = "attributes and excludedAttributes exclude each other";
            return Err(ScimError::value(detail));
        }
        Ok(Self { included, excluded })
    }

    /// Splits a parameter of a URL at its commas.
    pub fn names(parameter: &str) -> Vec<String> {
        parameter.split(',').map(str::to_owned).collect()
    }

    /// Returns whether a response has an attribute, or a part of it.
    pub fn wants(&self, mapping: &Mapping, schema: &str, name: &str) -> bool {
        self.part(mapping, schema, name) != Part::Nothing
    }

    /// Returns whether a sub-attribute of the core schema is requested by name, as one that is returned only then must be.
    pub fn requests(&self, mapping: &Mapping, name: &str, sub: &str) -> bool {
        let same = |path: &AttrPath| {
            is_in(path, mapping, mapping.resource.schema())
                && path.name.eq_ignore_ascii_case(name)
                && path.sub.as_deref().is_some_and(|s| s.eq_ignore_ascii_case(sub))
        };
        self.included.as_ref().is_some_and(|paths| paths.iter().any(same))
    }

    /// Returns whether an attribute of the core schema is requested by name.
    pub fn names_it(&self, mapping: &Mapping, name: &str) -> bool {
        let core = mapping.resource.schema();
        let same = |path: &AttrPath| is_in(path, mapping, core) && path.name.eq_ignore_ascii_case(name);
        self.included.as_ref().is_some_and(|paths| paths.iter().any(same))
    }

    fn part(&self, mapping: &Mapping, schema: &str, name: &str) -> Part {
        let of = |paths: &[AttrPath]| -> Part {
            let mut subs = Vec::new();
            for path in paths {
                if path.is_schema(schema) {
                    return Part::Whole;
                }
                if !is_in(path, mapping, schema) || !path.name.eq_ignore_ascii_case(name) {
                    continue;
                }
                match &path.sub {
                    None => return Part::Whole,
                    Some(sub) => subs.push(sub.clone()),
                }
            }
            if subs.is_empty() { Part::Nothing } else { Part::Only(subs) }
        };
        match &self.included {
            Some(paths) => of(paths),
            None => match of(&self.excluded) {
                Part::Whole => Part::Nothing,
                Part::Only(subs) => Part::Without(subs),
                Part::Nothing | Part::Without(_) => Part::Whole,
            },
        }
    }

    /// Leaves out of a resource what was not requested.
    pub fn apply(&self, mapping: &Mapping, resource: &mut Value) {
        let Some(object) = resource.as_object_mut() else { return };
        let core = mapping.resource.schema();
        let names: Vec<String> = object.keys().cloned().collect();
        for name in names {
            if name == "id" || name == "schemas" {
                continue;
            }
            if mapping.extensions().contains(&name.as_str()) {
                let Some(extension) = object.get_mut(&name).and_then(Value::as_object_mut) else { continue };
                for inner in extension.keys().cloned().collect::<Vec<_>>() {
                    self.reduce(mapping, &name, &inner, extension);
                }
                if extension.is_empty() {
                    object.shift_remove(&name);
                }
            } else {
                self.reduce(mapping, core, &name, object);
            }
        }
        // The schemas of what is there.
        let there: Vec<Value> = std::iter::once(core)
            .chain(mapping.extensions())
            .filter(|uri| *uri == core || object.contains_key(*uri))
            .map(Value::from)
            .collect();
        object.insert("schemas".to_owned(), there.into());
    }

    fn reduce(&self, mapping: &Mapping, schema: &str, name: &str, within: &mut Map<String, Value>) {
        let on_request: Vec<String> = mapping
            .attribute(&AttrPath { schema: Some(schema.to_owned()), ..AttrPath::of(name) })
            .map(|a| {
                a.subs.iter().filter(|s| s.returned == Returned::Request).map(|s| s.name.clone()).collect()
            })
            .unwrap_or_default();
        let has = |subs: &[String], sub: &str| subs.iter().any(|s| s.eq_ignore_ascii_case(sub));
        match self.part(mapping, schema, name) {
            Part::Nothing => {
                within.shift_remove(name);
            }
            Part::Whole => keep(within, name, &|sub| !has(&on_request, sub)),
            Part::Only(subs) => keep(within, name, &|sub| has(&subs, sub)),
            Part::Without(subs) => keep(within, name, &|sub| !has(&subs, sub) && !has(&on_request, sub)),
        }
    }
}

fn is_in(path: &AttrPath, mapping: &Mapping, schema: &str) -> bool {
    match &path.schema {
        Some(uri) => uri.eq_ignore_ascii_case(schema),
        None => schema == mapping.resource.schema(),
    }
}

/// Keeps the sub-attributes that are wanted; an attribute of which none remains is removed.
fn keep(within: &mut Map<String, Value>, name: &str, wanted: &dyn Fn(&str) -> bool) {
    let reduce = |value: &mut Value| match value {
        Value::Object(object) => {
            object.retain(|sub, _| wanted(sub));
            !object.is_empty()
        }
        _ => true,
    };
    let remains = match within.get_mut(name) {
        Some(Value::Array(elements)) => {
            elements.retain_mut(reduce);
            !elements.is_empty()
        }
        Some(value) => reduce(value),
        None => true,
    };
    if !remains {
        within.shift_remove(name);
    }
}
