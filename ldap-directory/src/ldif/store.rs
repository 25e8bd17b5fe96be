//! The entries of a file in memory, and the update operations of RFC 4511 on them.

use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;

use super::LdifRules;
use crate::change::{Change, Modification, ModificationKind};
use crate::dn::{self, Dn, DnKey, Parents, Rdn, join, split};
use crate::entry::{Attribute, CompactEntry, Entry, base_type};
use crate::error::DirectoryError;
use crate::filter::Filter;
use crate::protocol::result_code;
use crate::schema::Schema;

/// The entries by their keys: parents before children.
#[derive(Debug, Default)]
pub(crate) struct Store {
    entries: BTreeMap<DnKey, CompactEntry>,
    /// Entries that exist for sure: children were added below them, and nothing was deleted since.
    parents: Parents,
    /// Every change since the directory was empty, including entries of content; kept only if changes are written.
    log: Option<Vec<Change>>,
    changed: bool,
    rules: LdifRules,
}

/// Returns the error that a server would answer with.
pub(crate) fn failure(operation: &'static str, dn: &str, code: u32, text: &str) -> DirectoryError {
    DirectoryError::Operation {
        operation,
        dn: dn.to_owned(),
        code,
        matched: String::new(),
        text: text.to_owned(),
    }
}

impl Store {
    /// Returns an empty store, which records its changes if `keeps_log`.
    pub(crate) fn new(keeps_log: bool) -> Self {
        Self { log: keeps_log.then(Vec::new), ..Self::default() }
    }

    pub(crate) fn rules(&self) -> LdifRules {
        self.rules
    }

    pub(crate) fn set_rules(&mut self, rules: LdifRules) {
        self.rules = rules;
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &CompactEntry> {
        self.entries.values()
    }

    pub(crate) fn log(&self) -> &[Change] {
        self.log.as_deref().unwrap_or_default()
    }

    pub(crate) fn changed(&self) -> bool {
        self.changed
    }

    pub(crate) fn mark_changed(&mut self) {
        self.changed = true;
    }

    pub(crate) fn committed(&mut self) {
        self.changed = false;
    }

    /// Ends loading: loaded entries are not changes. (A file that does not exist yet is one.)
    pub(crate) fn loaded(&mut self) {
        self.changed &= self.entries.is_empty();
    }

    pub(crate) fn contains(&self, key: &DnKey) -> bool {
        self.entries.contains_key(key)
    }

    pub(crate) fn first_from(&self, from: &Bound<DnKey>) -> Option<(&DnKey, &CompactEntry)> {
        self.entries.range((from.as_ref(), Bound::Unbounded)).next()
    }

    pub(crate) fn has_children(&self, key: &DnKey) -> bool {
        self.first_from(&Bound::Excluded(key.clone())).is_some_and(|(next, _)| key.is_ancestor_of(next))
    }

    /// Returns the DNs of the entries without an ancestor.
    pub(crate) fn naming_contexts(&self) -> Vec<String> {
        let mut contexts: Vec<(&DnKey, &CompactEntry)> = Vec::new();
        for (key, entry) in &self.entries {
            if !contexts.last().is_some_and(|(context, _)| context.is_ancestor_of(key)) {
                contexts.push((key, entry));
            }
        }
        contexts.into_iter().map(|(_, entry)| entry.dn().to_owned()).collect()
    }

    /// Returns the longest DN that is an ancestor of all entries or one of them, in the spelling of the file, whether it is an entry
    /// or not. It is the root (empty) if they have nothing in common; `None` for a file without entries.
    pub(crate) fn common_base(&self) -> Option<String> {
        let (first_key, first) = self.entries.first_key_value()?;
        let (last_key, _) = self.entries.last_key_value()?;
        // Keys sort by their RDNs from the root on: what the first and the last have in common, all have.
        let mut base = first_key.clone();
        while !last_key.is_within(&base) {
            base = base.parent()?;
        }
        let parts = split(first.dn()).unwrap_or_default();
        Some(parts.get(parts.len().saturating_sub(base.depth())..).unwrap_or_default().join(","))
    }

    /// Inserts an entry of a file without checks of the tree: files may begin anywhere, with entries in any order.
    pub(crate) fn load(&mut self, entry: Entry) -> Result<(), DirectoryError> {
        let key = key("add", &entry.dn, Schema::standard())?;
        if self.contains(&key) {
            return Err(failure(
                "add",
                &entry.dn,
                result_code::ENTRY_ALREADY_EXISTS,
                "the entry is in the file twice",
            ));
        }
        self.entries.insert(key, CompactEntry::from(&entry));
        if let Some(log) = &mut self.log {
            log.push(Change::Add(entry));
        }
        Ok(())
    }

    /// Applies a change, or fails and changes nothing.
    pub(crate) fn apply(&mut self, change: &Change, schema: &Schema) -> Result<(), DirectoryError> {
        match change {
            Change::Add(entry) => {
                return self.add_new(CompactEntry::from(entry), key("add", &entry.dn, schema)?, schema);
            }
            Change::Delete { dn } => self.delete(dn, schema)?,
            Change::Modify { dn, changes } => self.modify(dn, changes, schema)?,
            Change::Rename { dn, new_rdn, delete_old_rdn, new_superior } => {
                self.rename(dn, new_rdn, *delete_old_rdn, new_superior.as_deref(), schema)?;
            }
        }
        if let Some(log) = &mut self.log {
            log.push(change.clone());
        }
        self.changed = true;
        Ok(())
    }

    /// Checks that the entry of a change matches a filter (RFC 4528 section 3).
    pub(crate) fn assert(
        &self,
        change: &Change,
        filter: &Filter,
        schema: &Schema,
    ) -> Result<(), DirectoryError> {
        let (_, entry) = self.existing("modify", change.dn(), schema)?;
        match filter.matches(&entry, schema) {
            Some(true) => Ok(()),
            _ => Err(failure("modify", change.dn(), result_code::ASSERTION_FAILED, "")),
        }
    }

    fn existing(
        &self,
        operation: &'static str,
        dn: &str,
        schema: &Schema,
    ) -> Result<(DnKey, Entry), DirectoryError> {
        let key = key(operation, dn, schema)?;
        let entry = self.entries.get(&key).ok_or_else(|| super::no_such_object(operation, dn))?;
        Ok((key, entry.to_entry()))
    }

    /// Applies an add.
    pub(crate) fn add_new(
        &mut self,
        entry: CompactEntry,
        key: DnKey,
        schema: &Schema,
    ) -> Result<(), DirectoryError> {
        self.check("add", || entry.to_entry(), schema)?;
        if !self.rules.takes_orphans
            && !self.has_parent(&key)
            && !self.contains(&key)
            && !self.may_begin_a_tree(entry.dn(), &key)
        {
            return Err(super::no_such_object("add", entry.dn()));
        }
        match self.entries.entry(key) {
            Slot::Occupied(_) => Err(failure("add", entry.dn(), result_code::ENTRY_ALREADY_EXISTS, "")),
            Slot::Vacant(slot) => {
                if let Some(log) = &mut self.log {
                    log.push(Change::Add(entry.to_entry()));
                }
                slot.insert(entry);
                self.changed = true;
                Ok(())
            }
        }
    }

    fn has_parent(&mut self, key: &DnKey) -> bool {
        if self.parents.have(key) {
            return true;
        }
        let parent = key.parent().filter(|p| self.contains(p));
        parent.map(|p| self.parents.insert(p)).is_some()
    }

    /// Returns whether an entry can be added without a parent. A file has no configured suffix: a tree may begin at the root's
    /// children, at a DNS-style DN (`dc=…,dc=…`), and, in an empty file, at an organization or a place.
    fn may_begin_a_tree(&self, dn: &str, key: &DnKey) -> bool {
        if key.depth() == 1 {
            return true;
        }
        let Ok(name) = Dn::parse(dn) else { return false };
        let is = |rdn: &Rdn, types: &[&str]| {
            rdn.avas.iter().any(|a| types.iter().any(|t| a.attribute.eq_ignore_ascii_case(t)))
        };
        let below_a_tree = self.entries.keys().any(|k| k.is_ancestor_of(key));
        let dns_style = name.rdns.iter().all(|r| is(r, &["dc"]));
        let top = name.rdn().is_some_and(|r| is(r, &["o", "c", "l", "st"]));
        !below_a_tree && (dns_style || self.entries.is_empty() && top)
    }

    fn delete(&mut self, dn: &str, schema: &Schema) -> Result<(), DirectoryError> {
        let (key, _) = self.existing("delete", dn, schema)?;
        if self.has_children(&key) {
            return Err(failure("delete", dn, result_code::NOT_ALLOWED_ON_NON_LEAF, ""));
        }
        self.entries.remove(&key);
        self.parents.clear();
        Ok(())
    }

    fn modify(&mut self, dn: &str, changes: &[Modification], schema: &Schema) -> Result<(), DirectoryError> {
        let (key, mut entry) = self.existing("modify", dn, schema)?;
        for change in changes {
            modify(&mut entry, change, schema).map_err(|(code, text)| failure("modify", dn, code, &text))?;
        }
        self.check("modify", || entry.clone(), schema)?;
        self.entries.insert(key, CompactEntry::from(&entry));
        Ok(())
    }

    /// Checks that an entry conforms to the schema (RFC 4512 section 2.4), if the rules require it.
    fn check(
        &self,
        operation: &'static str,
        entry: impl FnOnce() -> Entry,
        schema: &Schema,
    ) -> Result<(), DirectoryError> {
        if !self.rules.checks_schema {
            return Ok(());
        }
        let entry = entry();
        let wrong = |code, text: String| Err(failure(operation, &entry.dn, code, &text));
        let violated = result_code::OBJECT_CLASS_VIOLATION;
        let values = schema.values_of(&entry, "objectClass").iter();
        let classes: Vec<&str> = values.filter_map(|v| std::str::from_utf8(v).ok()).collect();
        if classes.is_empty() {
            return wrong(violated, "missing attribute 'objectClass'".to_owned());
        }
        if let Some(class) = classes.iter().find(|class| schema.class_closure([**class]).is_empty()) {
            return wrong(violated, format!("the object class '{class}' is not known"));
        }
        let (must, may) = schema.must_may(classes.iter().copied());
        if let Some(name) = must.iter().find(|name| schema.values_of(&entry, name).is_empty()) {
            return wrong(violated, format!("missing attribute '{name}', which its object classes demand"));
        }
        let takes_all = schema
            .class_closure(classes.iter().copied())
            .iter()
            .any(|class| class.names.iter().any(|name| name.eq_ignore_ascii_case("extensibleObject")));
        for attribute in &entry.attributes {
            let name = base_type(&attribute.description);
            if schema.attribute_type(name).is_none() {
                return wrong(
                    result_code::UNDEFINED_ATTRIBUTE_TYPE,
                    format!("attribute '{name}' is not known"),
                );
            }
            let is_allowed = |allowed: &&str| schema.same_description(allowed, name);
            if !takes_all && !schema.is_operational(name) && !must.iter().chain(&may).any(is_allowed) {
                return wrong(violated, format!("attribute '{name}' is not allowed by its object classes"));
            }
        }
        Ok(())
    }

    fn rename(
        &mut self,
        dn: &str,
        new_rdn: &str,
        delete_old_rdn: bool,
        new_superior: Option<&str>,
        schema: &Schema,
    ) -> Result<(), DirectoryError> {
        let (old_key, mut renamed) = self.existing("rename", dn, schema)?;
        let old_name = parse("rename", dn)?;
        let name = parse("rename", new_rdn)?;
        let invalid = || failure("rename", dn, result_code::NAMING_VIOLATION, "the new RDN is not one RDN");
        let (Some(rdn), 1) = (name.rdn(), name.depth()) else { return Err(invalid()) };
        let parent = match new_superior {
            Some(superior) => {
                if !self.rules.takes_orphans {
                    self.existing("rename", superior, schema)?;
                }
                superior.to_owned()
            }
            None => dn::parent(dn),
        };
        let destination = join(new_rdn, &parent);
        let new_key = key("rename", &destination, schema)?;
        if new_key != old_key && self.contains(&new_key) {
            return Err(failure("rename", dn, result_code::ENTRY_ALREADY_EXISTS, "the new name is taken"));
        }
        if old_key.is_ancestor_of(&new_key) {
            return Err(failure(
                "rename",
                dn,
                result_code::NAMING_VIOLATION,
                "an entry cannot move below itself",
            ));
        }
        rename_values(&mut renamed, old_name.rdn(), rdn, delete_old_rdn, schema);
        let depth = old_name.depth();
        let mut moved = Vec::new();
        for (key, below) in self.entries.range(old_key.subtree()) {
            if *key == old_key {
                renamed.dn.clone_from(&destination);
                moved.push((key.clone(), CompactEntry::from(&renamed)));
                continue;
            }
            let mut below = below.to_entry();
            let names = parts("rename", &below.dn)?;
            let kept = names.get(..names.len().saturating_sub(depth)).unwrap_or_default().join(",");
            below.dn = join(&kept, &destination);
            moved.push((key.clone(), CompactEntry::from(&below)));
        }
        self.parents.clear();
        for (key, _) in &moved {
            self.entries.remove(key);
        }
        for (_, entry) in moved {
            self.entries.insert(key("rename", entry.dn(), schema)?, entry);
        }
        Ok(())
    }
}

fn invalid_dn(operation: &'static str, dn: &str, reason: &str) -> DirectoryError {
    failure(operation, dn, result_code::INVALID_DN_SYNTAX, reason)
}

fn key(operation: &'static str, dn: &str, schema: &Schema) -> Result<DnKey, DirectoryError> {
    DnKey::parse(dn, schema).map_err(|e| invalid_dn(operation, dn, &e.to_string()))
}

fn parse(operation: &'static str, dn: &str) -> Result<Dn, DirectoryError> {
    Dn::parse(dn).map_err(|e| invalid_dn(operation, dn, &e.to_string()))
}

fn parts<'a>(operation: &'static str, dn: &'a str) -> Result<Vec<&'a str>, DirectoryError> {
    split(dn).map_err(|e| invalid_dn(operation, dn, &e.to_string()))
}

/// Updates the naming values after a rename (RFC 4511 section 4.9).
fn rename_values(entry: &mut Entry, old: Option<&Rdn>, new: &Rdn, delete_old: bool, schema: &Schema) {
    let is_new = |attribute: &str, value: &[u8]| {
        new.avas.iter().any(|n| {
            schema.canonical_name(&n.attribute).eq_ignore_ascii_case(schema.canonical_name(attribute))
                && schema.values_match(attribute, &n.value, value)
        })
    };
    if delete_old {
        for ava in old.into_iter().flat_map(|r| &r.avas).filter(|a| !is_new(&a.attribute, &a.value)) {
            let modification =
                Modification::new(ModificationKind::Delete, ava.attribute.clone(), vec![ava.value.clone()]);
            // A file made by hand may lack the value: then there is nothing to delete.
            let _ = modify(entry, &modification, schema);
        }
    }
    for ava in &new.avas {
        let modification =
            Modification::new(ModificationKind::Add, ava.attribute.clone(), vec![ava.value.clone()]);
        // The value may exist already.
        let _ = modify(entry, &modification, schema);
    }
}

/// Applies one modification (RFC 4511 section 4.6). Values compare by the attribute's EQUALITY rule.
fn modify(entry: &mut Entry, change: &Modification, schema: &Schema) -> Result<(), (u32, String)> {
    let name = &change.description;
    let rule = schema.equality(name);
    let normal = |value: &[u8]| rule.normalize(value, schema).into_owned();
    let same_name = |a: &Attribute| schema.same_description(&a.description, name);
    let position = entry.attributes.iter().position(same_name);
    let present: HashSet<Vec<u8>> = position
        .and_then(|p| entry.attributes.get(p))
        .map(|a| a.values.iter().map(|v| normal(v)).collect())
        .unwrap_or_default();
    let missing = || (result_code::NO_SUCH_ATTRIBUTE, format!("`{name}` has no such value"));
    match change.kind {
        ModificationKind::Add => {
            if change.values.iter().any(|v| present.contains(&normal(v))) {
                return Err((
                    result_code::ATTRIBUTE_OR_VALUE_EXISTS,
                    format!("`{name}` has the value already"),
                ));
            }
            match position.and_then(|p| entry.attributes.get_mut(p)) {
                Some(attribute) => attribute.values.extend(change.values.iter().cloned()),
                None => entry.attributes.push(Attribute::new(name.clone(), change.values.clone())),
            }
        }
        ModificationKind::Delete => {
            let gone: HashSet<Vec<u8>> = change.values.iter().map(|v| normal(v)).collect();
            if present.is_empty() || !gone.is_subset(&present) {
                return Err(missing());
            }
            if let Some(attribute) = position.and_then(|p| entry.attributes.get_mut(p)) {
                attribute.values.retain(|v| !gone.is_empty() && !gone.contains(&normal(v)));
            }
        }
        ModificationKind::Replace => match position.and_then(|p| entry.attributes.get_mut(p)) {
            Some(attribute) => attribute.values.clone_from(&change.values),
            None if change.values.is_empty() => {}
            None => entry.attributes.push(Attribute::new(name.clone(), change.values.clone())),
        },
        ModificationKind::Increment => {
            let number = |v: &[u8]| std::str::from_utf8(v).ok()?.parse::<i128>().ok();
            let step = change.values.first().and_then(|v| number(v));
            let attribute = position.and_then(|p| entry.attributes.get_mut(p)).ok_or_else(missing)?;
            for value in &mut attribute.values {
                let sum = step.zip(number(value)).and_then(|(s, n)| n.checked_add(s));
                // RFC 4525 section 3: a value that is not a number is a constraint violation.
                *value =
                    sum.ok_or_else(|| (19, format!("`{name}` is not a number")))?.to_string().into_bytes();
            }
        }
    }
    entry.attributes.retain(|a| !a.values.is_empty());
    Ok(())
}

#[cfg(test)]
mod tests;
