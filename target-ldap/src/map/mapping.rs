//! A stream's mapping, and the questions that other modules ask of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ldap_directory::Directory;
use ldap_directory::dn::SuffixRewrite;
use ldap_directory::schema::Schema;
use ldap_directory::time::Zone;
use singer_common::operations::facts::Warning;
use singer_common::operations::secret::is_secret_attribute;
use singer_common::plugin::settings::SettingsError;

use super::account::AccountMapping;
use super::column::{Column, Target};
use super::filters;
use super::membership::MembershipMapping;
use super::naming::Naming;
use super::references::ReferenceColumn;
use super::task::{DeleteAction, Extent, GracePolicy, WritePolicy};
use super::wanted::Wanted;
use crate::rules::encoding::Encoding;
use crate::rules::membership::MembershipRule;
use crate::rules::policy::Compare;
use crate::rules::rule::Rule;
use crate::rules::template::{FilterTemplate, Path, ValueTemplate};

/// The mapping of a stream, built once per SCHEMA.
#[derive(Debug)]
pub struct Mapping {
    pub(super) naming: Naming,
    pub(super) columns: Vec<Column>,
    pub(super) rule: Rule,
    /// The paths of templates by their keys, each with its property.
    pub(super) paths: BTreeMap<String, (String, Path)>,
    pub(super) values: Vec<(ValueTemplate, Target)>,
    /// The attributes whose values are found by filters.
    pub(super) references: Vec<ReferenceColumn>,
    /// The properties whose texts are encoded.
    pub(super) encoded: BTreeMap<String, Encoding>,
    pub(super) defaults: Vec<Wanted>,
    pub(super) write_policy: Arc<WritePolicy>,
    pub(super) action: Arc<DeleteAction>,
    pub(super) extent: Option<Extent>,
    pub(super) rewrites: Vec<SuffixRewrite>,
    pub(super) account: AccountMapping,
    /// With `membership`: each record is a member of a group, and no entry.
    pub(super) membership: Option<MembershipMapping>,
    /// Whether the rule has templates, which need a record's values by attribute.
    pub(super) has_templates: bool,
    /// Whether no two properties are written to one attribute.
    pub(super) is_distinct: bool,
    /// Whether the DN depends on a value that is chosen.
    pub(super) names_by_choice: bool,
    /// The zone of times that do not name one.
    pub(super) zone: Zone,
}

/// A search for all entries of a stream.
#[derive(Debug)]
pub struct StreamQuery {
    /// The attributes, each with the comparison of its values.
    pub attributes: Vec<(String, Compare)>,
    /// The attribute that `match` compares.
    pub matched_by: Option<String>,
    /// The filter that matches all of them (RFC 4515).
    pub filter: String,
    /// Whether values under other options are removed.
    pub removes_options: bool,
}

impl Mapping {
    /// Whether the DN of an entry is the `dn` of its record.
    pub fn is_mirror(&self) -> bool {
        matches!(self.naming, Naming::Record)
    }

    /// Whether each record is a member of a group, and no entry.
    pub fn has_memberships(&self) -> bool {
        self.membership.is_some()
    }

    /// Removes empty values. For a mapped source an empty text is a missing value; a mirrored directory may have empty values.
    pub(super) fn leave_out_empty(&self, wanted: &mut Wanted) {
        if !(self.is_mirror() && self.rule.attribute_mapping.is_none()) {
            wanted.values.retain(|value| !value.is_empty());
        }
    }

    /// Returns where the stream's entries are; `None` without `scope_base`.
    pub fn extent(&self) -> Option<&Extent> {
        self.extent.as_ref()
    }

    /// Returns for how long entries that were set aside are kept, if not for ever.
    pub fn grace(&self) -> Option<&GracePolicy> {
        self.write_policy.grace.as_deref()
    }

    /// Whether the rule may delete entries.
    pub fn may_delete(&self) -> bool {
        self.rule.operations.delete
    }

    /// Returns what a deletion does.
    pub fn action(&self) -> &Arc<DeleteAction> {
        &self.action
    }

    /// Returns how entries are located and changed.
    pub fn write_policy(&self) -> &Arc<WritePolicy> {
        &self.write_policy
    }

    /// Whether entries are located by a filter (`match`).
    pub fn finds_by_filter(&self) -> bool {
        self.rule.matching.is_some()
    }

    /// Checks the names in the rule's filters. A misspelt name matches nothing, which is not an error to any server.
    ///
    /// # Errors
    /// A name is not in the server's schema; for a file, the rule does not write it either.
    pub fn check_filters(
        &self,
        stream: &str,
        directory: &Directory,
        warnings: &mut Vec<Warning>,
    ) -> Result<(), SettingsError> {
        filters::check(stream, self, directory, warnings)
    }

    /// Returns the property that is written to an attribute.
    pub fn property_of(&self, attribute: &str, schema: &Schema) -> Option<&str> {
        let is_it = |target: &Target| schema.same_description(&target.description, attribute);
        self.columns.iter().find(|c| c.attributes.iter().any(is_it)).map(|c| c.property.as_str())
    }

    /// Returns the search for all entries of the stream. `None`: it cannot be derived from `match`.
    pub fn stream_query(&self, schema: &Schema) -> Option<StreamQuery> {
        let (filter, matched_by) = match &self.rule.matching {
            None => (self.rule.scope_filter(), None),
            Some(template) => template.of_all().map(|(filter, matched_by)| (filter, Some(matched_by)))?,
        };
        let made = self.values.iter().map(|(_, target)| target);
        let mapped = self.columns.iter().flat_map(|c| &c.attributes).chain(made);
        let mapped = mapped.chain(self.references.iter().map(|reference| &reference.target));
        let mapped = mapped.map(|t| (t.description.clone(), t.compare));
        let defaulted = self.defaults.iter().map(|d| (d.description.clone(), d.compare));
        let naming = self.naming_attributes().into_iter().chain(self.chosen_attributes(schema));
        let naming = naming.map(|name| (name, Compare::Schema));
        let mut names: Vec<(String, Compare)> = Vec::new();
        for (name, compare) in mapped.chain(defaulted).chain(naming) {
            if name != "objectClass" && !names.iter().any(|(there, _)| *there == name) {
                names.push((name, compare));
            }
        }
        // What was set aside differs from its record in more than the attributes of that.
        let filter = match self.grace() {
            Some(grace) => format!("(&{filter}(!({}=*)))", grace.marker),
            None => filter,
        };
        let removes_options = self.write_policy.known_options.is_some();
        Some(StreamQuery { attributes: names, matched_by, filter, removes_options })
    }

    /// Returns the properties that make the DN or the match filter: all that a deletion needs.
    pub fn naming_properties(&self) -> BTreeSet<String> {
        let mut names: BTreeSet<String> = match &self.naming {
            Naming::Template(template) => template.names().map(str::to_owned).collect(),
            Naming::Record => BTreeSet::from(["dn".to_owned()]),
            Naming::Key { property, .. } => BTreeSet::from([property.clone()]),
            Naming::Membership => {
                let needs = self.rule.membership.iter().flat_map(MembershipRule::needs);
                needs.map(|(_, (name, _))| name.to_owned()).collect()
            }
        };
        names.extend(self.rule.matching.iter().flat_map(FilterTemplate::names).map(str::to_owned));
        // A placeholder names an attribute or a property.
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

    /// Returns the properties that the rule uses.
    pub fn used_properties(&self) -> BTreeSet<String> {
        let mut names = self.naming_properties();
        names.extend(self.columns.iter().map(|column| column.property.clone()));
        names.extend(self.rule.used_names().into_iter().map(str::to_owned));
        names
    }

    /// Returns the properties that are written to `mail` as they are: the values whose `format` matters. Other attributes accept any
    /// text, and a template may use a part of it.
    pub fn mail_properties(&self, schema: &Schema) -> BTreeSet<&str> {
        let is_mail = |target: &Target| schema.same_description(&target.description, "mail");
        let mapped = self.columns.iter().filter(|column| column.attributes.iter().any(is_mail));
        mapped.map(|column| column.property.as_str()).collect()
    }

    /// Returns the properties that are written to secret attributes, directly or by a template.
    pub fn secret_properties(&self) -> BTreeSet<String> {
        let is_secret = |target: &Target| is_secret_attribute(&target.description);
        let mapped = self.columns.iter().filter(|c| c.attributes.iter().any(is_secret));
        let mut names: BTreeSet<String> = mapped.map(|c| c.property.clone()).collect();
        let made = self.rule.made().filter(|(_, attribute, _)| is_secret_attribute(attribute));
        for name in made.flat_map(|(_, _, template)| template.names()) {
            // A placeholder names an attribute or a property.
            let becomes = |c: &&Column| c.attributes.iter().any(|t| t.description.eq_ignore_ascii_case(name));
            names.extend(self.columns.iter().filter(becomes).map(|c| c.property.clone()));
            names.insert(name.to_owned());
        }
        names.extend(self.rule.password.as_ref().and_then(|p| p.from.clone()));
        names
    }
}
