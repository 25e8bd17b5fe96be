//! A mapping rule: what becomes of a stream's records.

use serde::Deserialize;
use serde_json::Value;
use singer_common::filter;

use crate::rules::accounts::AccountsRule;
use crate::rules::password::PasswordRule;
use crate::rules::policy::{Compare, Policy};
use crate::rules::template::{DnTemplate, FilterTemplate, Template};

/// What a record with `_sdc_deleted_at` does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum OnDelete {
    /// Its entry is deleted.
    #[default]
    Delete,
    /// Nothing.
    Ignore,
    /// Its entry is deleted with all that lies below it.
    Tree,
    /// Its entry is moved below this one.
    MoveTo(String),
    /// Its entry is given these values; null takes an attribute away.
    Set(Vec<(String, Value)>),
}

/// What a rule may do to entries. What it may not leaves the entry as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(clippy::struct_excessive_bools, reason = "they are the setting, as it is")]
pub struct Operations {
    /// Add an entry that is not there.
    pub create: bool,
    /// Change the attributes of one that is.
    pub update: bool,
    /// Give it another name.
    pub rename: bool,
    /// Do to it what `on_delete` says.
    pub delete: bool,
}

impl Default for Operations {
    fn default() -> Self {
        Self { create: true, update: true, rename: true, delete: true }
    }
}

/// What becomes of a group that would be left without a member, which its class forbids (RFC 4519 section 3.5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum EmptyGroup {
    /// Nobody said: as `fail` where a server would refuse it, and where a file is to be checked; else it is written as it is.
    #[default]
    NotSaid,
    /// It is an error of the record.
    Fail,
    /// The members it has stay.
    KeepLast,
    /// This entry becomes its member, until there is another.
    Placeholder(String),
    /// It goes, or is not made.
    Delete,
}

/// A mapping rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The DN of a record's entry.
    pub dn_template: Option<DnTemplate>,
    /// The classes an entry is given, and keeps.
    pub object_classes: Vec<String>,
    /// From record property to attributes; `None`: properties that are attributes pass through.
    pub attribute_mapping: Option<Vec<(String, Vec<String>)>>,
    /// Attributes made by template.
    pub values: Vec<(String, Template)>,
    /// Values of attributes that neither the record nor the entry has.
    pub defaults: Vec<(String, Value)>,
    /// How an attribute's wanted values go together with those that are there; `force` where nothing is said.
    pub policies: Vec<(String, Policy)>,
    /// How an attribute's values are told from those that are there; by its EQUALITY rule where nothing is said, but for
    /// [`Compare::usual`].
    pub compare: Vec<(String, Compare)>,
    /// What finds an entry, whatever it is called; `None`: its DN.
    pub matching: Option<FilterTemplate>,
    /// Whether the values of its old name leave an entry that is renamed.
    pub delete_old_rdn: bool,
    /// What becomes of a group that would be left without a member.
    pub empty_group: EmptyGroup,
    /// What may be done.
    pub operations: Operations,
    /// What a deletion does.
    pub on_delete: OnDelete,
    /// Where a password comes from, and how it is set.
    pub password: Option<PasswordRule>,
    /// Whether accounts may be used.
    pub accounts: Option<AccountsRule>,
    /// Where the stream's entries are, for ACTIVATE_VERSION and `match`: below this one.
    pub scope_base: Option<String>,
    /// Which of those there they are.
    pub scope_filter: Option<String>,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            dn_template: None,
            object_classes: Vec::new(),
            attribute_mapping: None,
            values: Vec::new(),
            defaults: Vec::new(),
            policies: Vec::new(),
            compare: Vec::new(),
            matching: None,
            delete_old_rdn: true,
            empty_group: EmptyGroup::default(),
            operations: Operations::default(),
            on_delete: OnDelete::default(),
            password: None,
            accounts: None,
            scope_base: None,
            scope_filter: None,
        }
    }
}

impl Rule {
    /// Whether it finds entries that others may lie below (units and their like), and gives them other names.
    pub fn renames_parents(&self) -> bool {
        const CONTAINERS: [&str; 6] = ["ou", "o", "l", "c", "st", "dc"];
        let names = self.dn_template.iter().flat_map(DnTemplate::naming_attributes);
        self.matching.is_some()
            && self.operations.rename
            && names.into_iter().any(|name| CONTAINERS.iter().any(|c| name.eq_ignore_ascii_case(c)))
    }

    /// Which entries in the scope are the stream's. Without a filter they are those that have the rule's classes: what
    /// others put there, and the units they are in, are not.
    pub fn scope_filter(&self) -> String {
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

/// Whether a text can be an attribute description at all.
pub fn is_attribute_description(text: &str) -> bool {
    let mut parts = text.split(';');
    let name = parts.next().unwrap_or_default();
    let word = |w: &str| {
        !w.is_empty() && w.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '='))
    };
    let oid = name.split('.').all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    (oid || word(name) && name.starts_with(|c: char| c.is_ascii_alphabetic())) && parts.all(word)
}
