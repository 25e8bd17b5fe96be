//! A stream's mapping, and what other parts ask of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use singer_common::directory::Directory;
use singer_common::dn::SuffixRewrite;
use singer_common::facts::Warning;
use singer_common::schema::Schema;
use singer_common::secret::is_secret_attribute;
use singer_common::settings::SettingsError;

use super::account::AccountMapping;
use super::column::{Column, Target};
use super::filters;
use super::naming::Naming;
use super::task::{DeleteAction, Extent, WritePolicy};
use super::wanted::Wanted;
use crate::rules::encoding::Encoding;
use crate::rules::policy::Compare;
use crate::rules::rule::Rule;
use crate::rules::template::{FilterTemplate, ValueTemplate};

/// A stream's mapping, planned once per SCHEMA.
#[derive(Debug)]
pub struct Mapping {
    pub(super) naming: Naming,
    pub(super) columns: Vec<Column>,
    pub(super) rule: Rule,
    pub(super) values: Vec<(ValueTemplate, Target)>,
    /// The properties whose texts are encoded.
    pub(super) encoded: BTreeMap<String, Encoding>,
    pub(super) defaults: Vec<Wanted>,
    pub(super) write_policy: Arc<WritePolicy>,
    pub(super) action: Arc<DeleteAction>,
    pub(super) extent: Option<Extent>,
    pub(super) rewrites: Vec<SuffixRewrite>,
    pub(super) account: AccountMapping,
    /// Whether no two properties go to one attribute.
    pub(super) is_distinct: bool,
}

/// How to read the entries of a stream all at once.
#[derive(Debug)]
pub struct StreamQuery {
    /// The attributes, and how the values of each are told apart.
    pub attributes: Vec<(String, Compare)>,
    /// The attribute that `match` finds entries by.
    pub matched_by: Option<String>,
    /// The filter that all of them fit (RFC 4515).
    pub filter: String,
}

impl Mapping {
    /// Whether entries are named by the `dn` of their records.
    pub fn is_mirror(&self) -> bool {
        matches!(self.naming, Naming::Record)
    }

    /// An empty text is no value: a mapping's source has it where it has nothing. What is mirrored as it is comes from a directory,
    /// where an empty value is one.
    pub(super) fn leave_out_empty(&self, wanted: &mut Wanted) {
        if !(self.is_mirror() && self.rule.attribute_mapping.is_none()) {
            wanted.values.retain(|value| !value.is_empty());
        }
    }

    /// Where the stream's entries are; `None` where nobody said so.
    pub fn extent(&self) -> Option<&Extent> {
        self.extent.as_ref()
    }

    /// Whether entries are found by a filter (`match`).
    pub fn finds_by_filter(&self) -> bool {
        self.rule.matching.is_some()
    }

    /// Checks the names in the rule's filters against what the directory knows: a misspelt one finds nothing, which is no error
    /// to any server, and then nothing is where it seems to be.
    ///
    /// # Errors
    /// A name that a server's schema does not have; in a file, one that the rule does not write either.
    pub fn check_filters(
        &self,
        stream: &str,
        directory: &Directory,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), SettingsError> {
        filters::check(stream, self, directory, warnings)
    }

    /// The property that becomes an attribute.
    pub fn property_of(&self, attribute: &str, schema: &Schema) -> Option<&str> {
        let is_it = |target: &Target| schema.same_description(&target.description, attribute);
        self.columns.iter().find(|c| c.attributes.iter().any(is_it)).map(|c| c.property.as_str())
    }

    /// How to read the stream's entries all at once: the attributes, the filter, and the attribute that `match` finds them
    /// by. `None`: what `match` finds cannot be told from the entries.
    pub fn stream_query(&self) -> Option<StreamQuery> {
        let (filter, matched_by) = match &self.rule.matching {
            None => (self.rule.scope_filter(), None),
            Some(template) => template.of_all().map(|(filter, matched_by)| (filter, Some(matched_by)))?,
        };
        let made = self.values.iter().map(|(_, target)| target);
        let mapped = self.columns.iter().flat_map(|c| &c.attributes).chain(made);
        let mapped = mapped.map(|t| (t.description.clone(), t.compare));
        let defaulted = self.defaults.iter().map(|d| (d.description.clone(), d.compare));
        let naming = self.naming_attributes().into_iter().map(|name| (name, Compare::Schema));
        let mut names: Vec<(String, Compare)> = Vec::new();
        for (name, compare) in mapped.chain(defaulted).chain(naming) {
            if name != "objectClass" && !names.iter().any(|(there, _)| *there == name) {
                names.push((name, compare));
            }
        }
        Some(StreamQuery { attributes: names, matched_by, filter })
    }

    /// The properties that an entry's name is made of, and what finds it: all that a deletion needs.
    pub fn naming_properties(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = match &self.naming {
            Naming::Template(template) => template.names().map(str::to_owned).collect(),
            Naming::Record => BTreeSet::from(["dn".to_owned()]),
            Naming::Key { property, .. } => BTreeSet::from([property.clone()]),
        };
        names.extend(self.rule.matching.iter().flat_map(FilterTemplate::names).map(str::to_owned));
        // A name is an attribute's or a property's.
        for ((made, template), (_, target)) in self.rule.values.iter().zip(&self.values) {
            if [made, &target.description].iter().any(|name| names.contains(*name)) {
                names.extend(template.names().map(str::to_owned));
            }
        }
        let is_named =
            |target: &Target| names.iter().any(|name| name.eq_ignore_ascii_case(&target.description));
        let mapped = self.columns.iter().filter(|c| c.attributes.iter().any(is_named));
        let mapped: Vec<String> = mapped.map(|c| c.property.clone()).collect();
        names.extend(mapped);
        names
    }

    /// The properties that the rule uses.
    pub fn used_properties(&self) -> BTreeSet<String> {
        let mut names = self.naming_properties();
        names.extend(self.columns.iter().map(|column| column.property.clone()));
        names.extend(self.rule.values.iter().flat_map(|(_, template)| template.names()).map(str::to_owned));
        names.extend(self.rule.taken_properties().into_iter().map(str::to_owned));
        names
    }

    /// The properties whose values become those of secret attributes, directly or by a template.
    pub fn secret_properties(&self) -> BTreeSet<String> {
        let is_secret = |target: &Target| is_secret_attribute(&target.description);
        let mapped = self.columns.iter().filter(|c| c.attributes.iter().any(is_secret));
        let mut names: BTreeSet<String> = mapped.map(|c| c.property.clone()).collect();
        let made = self.rule.values.iter().filter(|(name, _)| is_secret_attribute(name));
        for name in made.flat_map(|(_, template)| template.names()) {
            // A template's name is an attribute's or a property's.
            let becomes = |c: &&Column| c.attributes.iter().any(|t| t.description.eq_ignore_ascii_case(name));
            names.extend(self.columns.iter().filter(becomes).map(|c| c.property.clone()));
            names.insert(name.to_owned());
        }
        names.extend(self.rule.password.as_ref().map(|p| p.from.clone()));
        names
    }
}
