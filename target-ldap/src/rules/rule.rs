//! A mapping rule: how the records of a stream are written.

use ldap_directory::dn::DnKey;
use ldap_directory::filter;
use ldap_directory::schema::Schema;
use serde::Deserialize;
use serde_json::Value;
use singer_common::operations::secret::is_secret_attribute;
use singer_common::plugin::settings::SettingsError;

use crate::rules::accounts::AccountsRule;
use crate::rules::generated::GeneratedRule;
use crate::rules::membership::MembershipRule;
use crate::rules::password::PasswordRule;
use crate::rules::policy::{Compare, OtherOptions, Policy};
use crate::rules::references::ReferenceRule;
use crate::rules::rule_settings;
use crate::rules::set_aside::SetAsideRule;
use crate::rules::template::{DnTemplate, FilterTemplate, Template};

/// What a record with `_sdc_deleted_at` does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OnDelete {
    /// Deletes its entry.
    #[default]
    Delete,
    /// Nothing.
    Ignore,
    /// Deletes its entry with the subtree.
    Tree,
    /// Moves its entry below this one.
    MoveTo(String),
    /// Sets these values; null removes an attribute.
    Set(Vec<(String, Value)>),
    /// Sets values and moves its entry, or keeps it for some days only.
    SetAside(SetAsideRule),
}

/// What a rule may do to entries. If an operation is not allowed, the entry is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "they are the setting, as it is")]
pub struct Operations {
    /// Add an entry.
    pub create: bool,
    /// Change the attributes of an existing entry.
    pub update: bool,
    /// Rename an entry.
    pub rename: bool,
    /// Do what `on_delete` says.
    pub delete: bool,
}

impl Default for Operations {
    fn default() -> Self {
        Self { create: true, update: true, rename: true, delete: true }
    }
}

/// What happens to a group that would have no member, which its class forbids (RFC 4519 section 3.5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum EmptyGroup {
    /// The default: `fail` if a server would refuse it, or if a file is checked; else the group is written as it is.
    #[default]
    NotSaid,
    /// The record fails.
    Fail,
    /// The existing members stay.
    KeepLast,
    /// This entry becomes a member, until there is another.
    Placeholder(String),
    /// The group is deleted, or not added.
    Delete,
}

/// A mapping rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The DN of a record's entry.
    pub dn_template: Option<DnTemplate>,
    /// The object classes that every entry gets and keeps.
    pub object_classes: Vec<String>,
    /// The attributes by record property; `None`: properties that are attributes pass through.
    pub attribute_mapping: Option<Vec<(String, Vec<String>)>>,
    /// Attributes made by templates.
    pub values: Vec<(String, Template)>,
    /// Attributes whose values are chosen when an entry is made (`unique`, `next`).
    pub generated: Vec<GeneratedRule>,
    /// Values for attributes that neither the record nor the entry has.
    pub defaults: Vec<(String, Value)>,
    /// How the values of an attribute are combined with existing ones; `force` by default.
    pub policies: Vec<(String, Policy)>,
    /// How the values of an attribute are compared with existing ones; [`Compare::usual`] by default.
    pub compare: Vec<(String, Compare)>,
    /// What happens to values under options that the record does not have; `None`: they are removed if the stream is mirrored as it is.
    pub other_options: Option<OtherOptions>,
    /// The filter that locates an entry; `None`: its DN does.
    pub matching: Option<FilterTemplate>,
    /// Whether a rename removes the values of the old RDN.
    pub delete_old_rdn: bool,
    /// What happens to a group that would have no member.
    pub empty_group: EmptyGroup,
    /// The allowed operations.
    pub operations: Operations,
    /// What a deletion does.
    pub on_delete: OnDelete,
    /// A record is one member of a group.
    pub membership: Option<MembershipRule>,
    /// The source of a password, and how it is set.
    pub password: Option<PasswordRule>,
    /// Whether accounts are enabled.
    pub accounts: Option<AccountsRule>,
    /// The attributes whose values are looked up.
    pub references: Vec<ReferenceRule>,
    /// The entry that the stream's entries are below, for ACTIVATE_VERSION and `match`.
    pub scope_base: Option<String>,
    /// The filter that the stream's entries match.
    pub scope_filter: Option<String>,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            dn_template: None,
            object_classes: Vec::new(),
            attribute_mapping: None,
            values: Vec::new(),
            generated: Vec::new(),
            defaults: Vec::new(),
            policies: Vec::new(),
            compare: Vec::new(),
            other_options: None,
            matching: None,
            delete_old_rdn: true,
            empty_group: EmptyGroup::default(),
            operations: Operations::default(),
            on_delete: OnDelete::default(),
            membership: None,
            password: None,
            accounts: None,
            references: Vec::new(),
            scope_base: None,
            scope_filter: None,
        }
    }
}

impl Rule {
    /// Parses a rule from the value of its setting. `path` is the name of the setting in messages. `default_base` is the DN that a
    /// `dn_template` of one RDN is relative to.
    ///
    /// # Errors
    /// A key that is not known, or a value that is not valid.
    pub fn parse(path: &str, value: Value, default_base: Option<&str>) -> Result<Rule, SettingsError> {
        rule_settings::parse(path, value, default_base)
    }

    /// Returns all templates of the rule, to prepare them.
    pub(crate) fn templates_mut(&mut self) -> impl Iterator<Item = &mut Template> {
        let values = self.values.iter_mut().map(|(_, template)| template);
        let names = self.dn_template.iter_mut().map(DnTemplate::template_mut);
        let filters = self.matching.iter_mut().chain(self.references.iter_mut().map(|one| &mut one.find));
        values
            .chain(self.accounts.iter_mut().flat_map(AccountsRule::templates_mut))
            .chain(names)
            .chain(filters.map(FilterTemplate::template_mut))
            .chain(self.generated.iter_mut().flat_map(GeneratedRule::templates_mut))
            .chain(self.membership.iter_mut().flat_map(MembershipRule::templates_mut))
    }

    /// Whether the rule may rename entries that can have children (organizational units and similar).
    pub fn renames_parents(&self) -> bool {
        const CONTAINERS: [&str; 6] = ["ou", "o", "l", "c", "st", "dc"];
        let names = self.dn_template.iter().flat_map(DnTemplate::naming_attributes);
        self.matching.is_some()
            && self.operations.rename
            && names.into_iter().any(|name| CONTAINERS.iter().any(|c| name.eq_ignore_ascii_case(c)))
    }

    /// Checks that the entries are not where `on_delete` would move them: a deletion would change nothing. `dn`: the entry that they are
    /// below, by what `part` of the rule says. `path` is the name of the rule's setting in messages.
    ///
    /// # Errors
    /// They are.
    pub fn check_move_to(
        &self,
        path: &str,
        part: &str,
        dn: &str,
        schema: &Schema,
    ) -> Result<(), SettingsError> {
        let Some(place) = self.on_delete.move_to() else { return Ok(()) };
        let (Ok(entries), Ok(to)) = (DnKey::parse(dn, schema), DnKey::parse(place, schema)) else {
            return Ok(());
        };
        if !self.operations.delete || !entries.is_within(&to) {
            return Ok(());
        }
        let problem = format!(
            "move_to is `{place}`, and all entries of the rule are there already ({part}: `{dn}`): a deletion would change nothing"
        );
        Err(SettingsError::value(
            format!("{path}.on_delete"),
            problem,
            format!("a place that is not `{dn}` and not above it, for example ou=gone,{place}"),
        ))
    }

    /// Whether the rule may set a password or another secret attribute.
    pub fn may_set_secrets(&self) -> bool {
        let mut mapped = self.attribute_mapping.iter().flatten().flat_map(|(_, attributes)| attributes);
        self.password.is_some()
            || self.attribute_mapping.is_none()
            || mapped.any(|name| is_secret_attribute(name))
            || self.values.iter().any(|(name, _)| is_secret_attribute(name))
            || self.defaults.iter().any(|(name, _)| is_secret_attribute(name))
    }

    /// Returns the filter of the stream's entries within the scope. By default they are those with the rule's object classes and,
    /// with `match`, with a value of the attribute that it compares: the stream did not bring the others, which may be service
    /// accounts beside people.
    pub fn scope_filter(&self) -> String {
        let of_match = self.matching.as_ref().and_then(FilterTemplate::of_all);
        match of_match.filter(|_| self.scope_filter.is_none()) {
            Some((presence, _)) => format!("(&{}{presence})", self.class_filter()),
            None => self.class_filter(),
        }
    }

    /// Returns `scope_filter`, or the filter of the rule's object classes.
    pub fn class_filter(&self) -> String {
        if let Some(filter) = &self.scope_filter {
            return filter.clone();
        }
        if self.object_classes.is_empty() {
            return "(objectClass=*)".to_owned();
        }
        let mut all = "(&".to_owned();
        for class in &self.object_classes {
            all.push_str("(objectClass=");
            all.push_str(&filter::escape_value(class.as_bytes()));
            all.push(')');
        }
        all.push(')');
        all
    }
}

/// Whether a text is a valid attribute description (RFC 4512 section 2.5).
pub fn is_attribute_description(text: &str) -> bool {
    let mut parts = text.split(';');
    let name = parts.next().unwrap_or_default();
    let word = |w: &str| {
        !w.is_empty() && w.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '='))
    };
    let oid = name.split('.').all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    (oid || word(name) && name.starts_with(|c: char| c.is_ascii_alphabetic())) && parts.all(word)
}
