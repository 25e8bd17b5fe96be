//! What a record asks for, compared with what its entry would have, and with what it has: a rule may leave out, complete or replace values
//! (`policies`, `values`, `defaults`, `attribute_mapping`, `empty_group`), and a server as well. A write is done as asked, or an error.

use std::collections::HashSet;

use ldap_directory::Directory;
use ldap_directory::dn::first_rdn;
use ldap_directory::entry::Entry;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use serde_json::{Map, Value};
use target_ldap::map::wanted::WantedEntry;
use target_ldap::rules::password::PasswordPolicy;
use target_ldap::rules::policy::Policy;
use target_ldap::rules::rule::EmptyGroup;

use super::rules::{ACTIVE, KindRule, PASSWORD};
use super::{WriteError, WriteErrorKind, refusal};
use crate::members;
use crate::unseen;

/// The attributes that a record asks for, each with all of its values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asked(Vec<(String, Vec<Vec<u8>>)>);

/// How an attribute differs from what was asked for.
#[derive(Debug)]
struct Difference<'a> {
    attribute: &'a str,
    is_emptied: bool,
}

impl Asked {
    /// Returns what a record asks for. `for_name_only`: its properties that are not written.
    pub(super) fn of(record: &Map<String, Value>, for_name_only: &[String], schema: &Schema) -> Asked {
        let is_left_out = |name: &str| {
            [PASSWORD, ACTIVE].contains(&name)
                || for_name_only.iter().any(|own| schema.same_description(own, name))
                // A property of the rule's own.
                || schema.attribute_type(name).is_none()
        };
        let values_of = |(name, value): (&String, &Value)| {
            let list = match value {
                Value::Null => &[],
                Value::Array(values) => values.as_slice(),
                single => std::slice::from_ref(single),
            };
            let kind = ValueKind::of(schema, name);
            let values = list.iter().map(|value| kind.parse_json(value).ok());
            let values: Option<Vec<Option<Vec<u8>>>> = values.collect();
            Some((name.clone(), values?.into_iter().flatten().collect()))
        };
        Asked(record.iter().filter(|(name, _)| !is_left_out(name)).filter_map(values_of).collect())
    }

    /// Whether an entry has all values that are asked for of an attribute, whatever others it has.
    fn is_shown(&self, name: &str, entry: &Entry, schema: &Schema) -> bool {
        let there = schema.values_of(entry, name);
        let has = |value: &Vec<u8>| there.iter().any(|other| schema.values_match(name, other, value));
        self.0.iter().filter(|(asked, _)| asked == name).all(|(_, values)| values.iter().all(has))
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Returns the first attribute that an entry has otherwise. The other values of a name stay, and a placeholder is no member.
    fn difference(
        &self,
        entry: &Entry,
        rule: &KindRule,
        schema: &Schema,
        is_compared: impl Fn(&str) -> bool,
    ) -> Option<Difference<'_>> {
        let rdn = first_rdn(&entry.dn).ok().flatten();
        let placeholder = rule.placeholder();
        self.0.iter().filter(|(name, _)| is_compared(name)).find_map(|(name, values)| {
            let there = schema.values_of(entry, name);
            let of_rule = schema.equality(name);
            let normal = |value: &Vec<u8>| of_rule.normalize(value, schema).into_owned();
            let wanted: HashSet<Vec<u8>> = values.iter().map(normal).collect();
            let present: HashSet<Vec<u8>> = there.iter().map(normal).collect();
            let lacks = wanted.iter().any(|value| !present.contains(value));
            let names_it = || {
                let mut avas = rdn.iter().flat_map(|rdn| &rdn.avas);
                avas.any(|ava| schema.same_description(&ava.attribute, name))
            };
            let kind = ValueKind::of(schema, name);
            let is_nothing = |value: &Vec<u8>| {
                let is_placeholder = |dn: &String| schema.values_match(name, value, dn.as_bytes());
                kind.is_no_time(value)
                    || values.is_empty() && placeholder.as_ref().is_some_and(is_placeholder)
            };
            let mut surplus = there.iter().filter(|value| !wanted.contains(&normal(value)));
            let differs = lacks || !names_it() && surplus.any(|value| !is_nothing(value));
            differs.then_some(Difference { attribute: name, is_emptied: values.is_empty() })
        })
    }

    /// Checks an entry as it would be, by the plan.
    ///
    /// # Errors
    /// The rule leaves out what was asked for: the error has the attribute and the key of the rule.
    pub(super) async fn check_planned(
        &self,
        preview: &Directory,
        dn: &str,
        rule: &KindRule,
        is_new: bool,
    ) -> Result<(), WriteError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let schema = preview.schema();
        let Some(entry) = read(preview, dn, &self.names()).await? else {
            return Err(emptied(rule, dn, is_new));
        };
        match self.difference(&entry, rule, schema, |_| true) {
            None => Ok(()),
            Some(difference) => Err(left_out(&difference, dn, rule, is_new, schema)),
        }
    }

    /// Returns the attributes that are compared once an entry is written. Its members are not: they are looked up one by one.
    pub(super) fn made_names(&self, directory: &Directory, rule: &KindRule) -> Vec<&str> {
        let schema = directory.schema();
        let vendor = directory.root_dse().vendor;
        let mut members = members::by_dn(Some(&rule.members), vendor, schema);
        members.push(members::MEMBER_UID.to_owned());
        let is_member = |name: &str| members.iter().any(|own| members::is_of(name, own, schema));
        self.names().into_iter().filter(|name| !is_member(name)).collect()
    }

    /// Checks an entry that was written, as it was read with [`Self::made_names`].
    ///
    /// # Errors
    /// The directory shows other values than were written.
    pub(super) async fn check_made(
        &self,
        directory: &Directory,
        entry: &Entry,
        rule: &KindRule,
    ) -> Result<(), WriteError> {
        let schema = directory.schema();
        let names = self.made_names(directory, rule);
        if names.is_empty() || self.difference(entry, rule, schema, |name| names.contains(&name)).is_none() {
            return Ok(());
        }
        let own = if directory.tells_own_values() {
            read(&directory.own_values(), &entry.dn, &names).await?
        } else {
            None
        };
        // What is computed is no value of the entry: a removal is done, and so is the addition of a value that is shown among others.
        let fits = |name: &str| {
            own.as_ref().is_some_and(|own| self.difference(own, rule, schema, |n| n == name).is_none())
        };
        let is_done = |name: &str| fits(name) && self.is_shown(name, entry, schema);
        let is_compared = |name: &str| names.contains(&name) && !is_done(name);
        let is_shown_so = |name: &str| self.difference(entry, rule, schema, |n| n == name).is_none();
        for name in names.iter().filter(|name| is_done(name) && !is_shown_so(name)) {
            tracing::info!(
                dn = entry.dn,
                attribute = name,
                "`{}`: the other values of `{name}` are computed",
                entry.dn
            );
        }
        let Some(found) = self.difference(entry, rule, schema, is_compared) else { return Ok(()) };
        if fits(found.attribute) {
            return Err(refusal::computed(&entry.dn, found.attribute));
        }
        let hidden = unseen::hidden(&directory.as_shown(), entry, &[found.attribute]).await;
        if hidden.map_err(|e| refusal::of_directory(&e, schema))?.is_some() {
            return Ok(());
        }
        let detail = format!(
            "`{}`: the directory shows other values than were written: another client or the server itself has changed them",
            found.attribute
        );
        tracing::warn!(dn = entry.dn, "a write is taken back: {detail}");
        Err(WriteError::new(WriteErrorKind::Refused, detail).of_attribute(found.attribute))
    }
}

async fn read(directory: &Directory, dn: &str, names: &[&str]) -> Result<Option<Entry>, WriteError> {
    directory.read_whole(dn, names).await.map_err(|e| refusal::of_directory(&e, directory.schema()))
}

/// Returns the error of a group that would be deleted, or not made, for it has no member.
fn emptied(rule: &KindRule, dn: &str, is_new: bool) -> WriteError {
    let setting = rule.kind.rule_setting("empty_group");
    let (kind, what) = if is_new {
        (WriteErrorKind::Invalid, "begin without a member")
    } else {
        (WriteErrorKind::LastMember, "lose its last member, and be deleted by that; delete the group itself")
    };
    let detail = format!("{setting}: `{dn}` would {what}; nothing was changed");
    let groups = if is_new { Vec::new() } else { vec![dn.to_owned()] };
    WriteError { groups, setting: Some(setting), ..WriteError::new(kind, detail) }
        .of_attribute(rule.members.as_str())
}

/// Returns the error of an attribute that would not become what was asked for.
fn left_out(
    difference: &Difference<'_>,
    dn: &str,
    rule: &KindRule,
    is_new: bool,
    schema: &Schema,
) -> WriteError {
    let name = difference.attribute;
    let is_it = |other: &str| schema.same_description(other, name);
    let policy = rule.rule.policies.iter().find(|(other, _)| is_it(other)).map(|(_, policy)| *policy);
    let keeps_last = matches!(rule.rule.empty_group, EmptyGroup::KeepLast | EmptyGroup::Delete);
    if policy.is_none_or(|policy| policy == Policy::Force) && difference.is_emptied && keeps_last && !is_new {
        let setting = rule.kind.rule_setting("empty_group");
        let detail =
            format!("{setting}: `{dn}` would keep a member that was to be removed; nothing was changed");
        let error = WriteError::new(WriteErrorKind::LastMember, detail).of_attribute(name);
        return WriteError { groups: vec![dn.to_owned()], setting: Some(setting), ..error };
    }
    let key = match policy {
        Some(policy) if policy != Policy::Force => format!("policies.{name}"),
        _ if rule.rule.values.iter().any(|(other, _)| is_it(other)) => format!("values.{name}"),
        _ if rule.rule.defaults.iter().any(|(other, _)| is_it(other)) => format!("defaults.{name}"),
        _ if rule.rule.attribute_mapping.is_some() => "attribute_mapping".to_owned(),
        _ => {
            let detail =
                format!("`{name}`: the entry would not have what was asked for; nothing was changed");
            return WriteError::new(WriteErrorKind::Mutability, detail).of_attribute(name);
        }
    };
    let setting = rule.kind.rule_setting(&key);
    let detail =
        format!("`{name}`: by {setting}, the entry would not have what was asked for; nothing was changed");
    let error = WriteError::new(WriteErrorKind::Mutability, detail).of_attribute(name);
    WriteError { setting: Some(setting), ..error }
}

/// Checks that the password of an existing entry would be set.
///
/// # Errors
/// The rule sets passwords of new entries alone, or of entries without one: the old one would stay.
pub(super) fn check_password(wanted: &WantedEntry, rule: &KindRule, is_new: bool) -> Result<(), WriteError> {
    let is_kept =
        wanted.account.password.as_ref().is_some_and(|password| password.when != PasswordPolicy::Force);
    if is_new || !is_kept {
        return Ok(());
    }
    let setting = rule.kind.rule_setting("password.policy");
    let detail =
        format!("`{PASSWORD}`: by {setting}, it is not changed once the entry is there; nothing was changed");
    let error = WriteError::new(WriteErrorKind::Mutability, detail).of_attribute(PASSWORD);
    Err(WriteError { setting: Some(setting), ..error })
}
