//! What the templates of a rule make of a record.

use std::collections::BTreeMap;

use ldap_directory::schema::Schema;
use serde_json::Value;
use singer_common::singer::record::Record;

use super::attributes::Attributes;
use super::column::{Column, display_texts, is_password};
use super::mapping::Mapping;
use crate::rules::encoding::Encoding;
use crate::rules::error::MappingError;
use crate::rules::policy::Policy;
use crate::rules::template::{Lookup, RenderedValues};

/// What all templates of one attribute make of a record.
#[derive(Default)]
struct Made {
    texts: Vec<String>,
    /// Whether a template needs a property that the record lacks.
    lacks_some: bool,
}

impl Made {
    fn take(&mut self, rendered: RenderedValues) {
        match rendered {
            RenderedValues::Texts(texts) => self.texts.extend(texts),
            RenderedValues::Nothing => {}
            RenderedValues::Unknown => self.lacks_some = true,
        }
    }
}

impl Mapping {
    /// Adds the attributes that templates make, and returns their texts by attribute. A deletion only needs those of its name.
    pub(super) fn made(
        &self,
        lookup: Lookup<'_>,
        deleted: bool,
        schema: &Schema,
        attributes: &mut Attributes<'_>,
    ) -> Result<BTreeMap<String, Vec<String>>, MappingError> {
        let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut rest = self.rule.values.iter().zip(&self.values).peekable();
        while let Some(((name, _), (template, target))) = rest.next() {
            let mut made = Made::default();
            let mut template = template;
            loop {
                match template.render_values(lookup) {
                    Ok(rendered) => made.take(rendered),
                    // The DN may not need this value, and a deletion needs nothing else.
                    Err(_) if deleted => {}
                    Err(error) => {
                        return Err(MappingError::Template { part: format!("values.{name}"), error });
                    }
                }
                // Several templates of one attribute follow each other.
                match rest.next_if(|((next, _), _)| next == name) {
                    Some((_, (next, _))) => template = next,
                    None => break,
                }
            }
            if !deleted {
                if !made.texts.is_empty() {
                    let column = Column {
                        property: format!("values.{name}"),
                        encoding: Encoding::Unsaid,
                        attributes: vec![],
                    };
                    let value = Value::from(made.texts.clone());
                    let mut wanted = target.wanted(&value, &column, &self.rewrites, schema)?;
                    self.leave_out_empty(&mut wanted);
                    let is_whole = schema.is_single_valued(&target.description);
                    if made.lacks_some && wanted.policy == Policy::Force && !is_whole {
                        // The values of the other templates are not known.
                        wanted.policy = Policy::Merge;
                    }
                    attributes.force(wanted);
                } else if !made.lacks_some && !is_password(&target.description) {
                    // As for a null of a mapped property: the value written for an earlier record is removed. A missing value never
                    // removes a password.
                    attributes.force(target.none());
                }
            }
            if !made.texts.is_empty() {
                texts.insert(target.description.to_ascii_lowercase(), made.texts);
            }
        }
        Ok(texts)
    }

    /// Returns the texts of the paths in templates, by their keys; `None` if the record lacks the property. A deletion may have others.
    pub(super) fn path_texts(
        &self,
        record: &Record,
        deleted: bool,
    ) -> Result<BTreeMap<&str, Option<Vec<String>>>, MappingError> {
        let mut found = BTreeMap::new();
        for key in self.paths.keys() {
            let Some(texts) = self.path_text(record, key) else { continue };
            let texts = match texts {
                Ok(texts) => texts,
                Err(_) if deleted => None,
                Err(reason) => {
                    let path = key.trim_start_matches('\0').to_owned();
                    return Err(MappingError::Path { path, reason: reason.to_owned() });
                }
            };
            found.insert(key.as_str(), texts);
        }
        Ok(found)
    }

    /// Returns the texts of one path by its key; the inner `None` if the record lacks the property. `None` if it is not the key of a path.
    pub(super) fn path_text(
        &self,
        record: &Record,
        key: &str,
    ) -> Option<Result<Option<Vec<String>>, &'static str>> {
        let (property, path) = self.paths.get(key)?;
        let encoding = self.encoded.get(property).copied().unwrap_or_default();
        let texts = |values: Vec<&Value>| {
            values.into_iter().flat_map(|value| display_texts(value, encoding)).collect()
        };
        let values = record.get(property).map(|value| path.values(value)).transpose();
        Some(values.map(|values| values.map(texts)))
    }
}
