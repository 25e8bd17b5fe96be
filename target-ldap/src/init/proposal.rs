//! A mapping rule for a stream, proposed from its SCHEMA and the schema of the directory; pure.

use std::collections::BTreeSet;

use ldap_directory::nearest::nearest_of_many;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use serde_json::{Map, Value, json};
use singer_common::singer::message::SchemaMessage;

use super::words::{GROUP, PERSON, Row, STREAMS_OF_GROUPS, STREAMS_OF_PEOPLE, reason};

/// The content of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Entries of a directory, with `dn` and `objectClass`: they need no rule.
    Entries,
    /// People.
    People,
    /// Groups.
    Groups,
    /// Neither is recognizable.
    Unknown,
}

/// A property and its attribute.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) property: String,
    pub(super) attribute: String,
    /// The name is only similar.
    pub(super) is_guess: bool,
}

/// A proposed rule.
#[derive(Debug)]
pub(super) struct Proposal {
    /// The rule, as an element of `mapping_rules`.
    pub(super) rule: Value,
    /// The properties with an attribute.
    pub(super) mapped: Vec<Mapped>,
    /// The properties without one, each with the reason.
    pub(super) unmapped: Vec<(String, String)>,
    /// What the rule still lacks.
    pub(super) notes: Vec<String>,
}

/// The place and the kind of the new entries.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) schema: &'a Schema,
    pub(super) is_active_directory: bool,
    /// The DN above the entries.
    pub(super) below: &'a str,
}

/// Returns a name in lower case, without separators.
fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn properties(stream: &SchemaMessage) -> impl Iterator<Item = (&String, &Value)> {
    stream.schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// Returns the content of a stream, by its name and the names of its properties.
pub(super) fn content(stream: &SchemaMessage) -> Content {
    let names: BTreeSet<String> = properties(stream).map(|(name, _)| plain(name)).collect();
    if names.contains("dn") && names.contains("objectclass") {
        return Content::Entries;
    }
    let has = |rows: &[Row], attributes: &[&str]| {
        rows.iter()
            .filter(|row| attributes.contains(&row.attribute(false)))
            .any(|row| names.iter().any(|name| row.means(name)))
    };
    let name = stream.stream.to_lowercase();
    let is_called = |parts: &[&str]| parts.iter().any(|part| name.contains(part));
    if has(PERSON, &["givenName", "sn"]) {
        Content::People
    } else if is_called(STREAMS_OF_GROUPS) || has(GROUP, &["member"]) {
        Content::Groups
    } else if is_called(STREAMS_OF_PEOPLE) || has(PERSON, &["uid", "mail", "employeeNumber"]) {
        Content::People
    } else {
        Content::Unknown
    }
}

/// Returns the rule for a stream of people or groups.
pub(super) fn propose(stream: &SchemaMessage, content: Content, place: Place<'_>) -> Proposal {
    let is_groups = content == Content::Groups;
    let classes: &[&str] = match (is_groups, place.is_active_directory) {
        (false, false) => &["person", "organizationalPerson", "inetOrgPerson"],
        (false, true) => &["top", "person", "organizationalPerson", "user"],
        (true, false) => &["groupOfNames"],
        (true, true) => &["top", "group"],
    };
    let mut mapping = Mapping::new(if is_groups { GROUP } else { PERSON }, classes, place);
    mapping.add_all(stream);
    let mut notes = Vec::new();
    let mut values = Map::new();
    let key = match stream.key_properties.as_slice() {
        [key] if usable(key) => Some(key.as_str()),
        [] => {
            notes.push(
                "the stream has no key: give the rule a `match`, or a changed name makes a second entry"
                    .to_owned(),
            );
            None
        }
        keys => {
            notes.push(format!(
                "the key has several parts ({}): check `dn_template`, and give the rule a `match`",
                keys.join(", ")
            ));
            None
        }
    };
    for mapped in &mapping.mapped {
        if ValueKind::of(place.schema, &mapped.attribute) == ValueKind::DistinguishedName {
            notes.push(format!("the values of `{}` must be DNs", mapped.property));
        }
    }
    let naming = if is_groups { mapping.name_group(key) } else { mapping.name_person(key, &mut values) };
    if naming.is_none() {
        notes.push("no property can name an entry: write `dn_template` by hand".to_owned());
    }
    let mut rule = Map::new();
    if let Some((rdn, matched)) = naming {
        rule.insert("dn_template".into(), format!("{rdn},{}", place.below).into());
        if let Some(filter) = matched {
            rule.insert("match".into(), filter.into());
        } else if key.is_some() && is_groups {
            notes.push("no attribute keeps the key: a group with a new name is a new group".to_owned());
        }
    }
    rule.insert("object_classes".into(), json!(classes));
    rule.insert("attribute_mapping".into(), mapping.to_json());
    let missing = mapping.missing(&values, rule.get("dn_template"));
    if !missing.is_empty() {
        notes.push(format!(
            "the classes need `{}`, and no property has it: use `values` or `defaults`, or the server refuses the entries",
            missing.join("`, `")
        ));
    }
    if !values.is_empty() {
        rule.insert("values".into(), Value::Object(values));
    }
    // Nothing is deleted until somebody decides so.
    rule.insert("on_delete".into(), "ignore".into());
    let Mapping { mapped, unmapped, .. } = mapping;
    Proposal { rule: Value::Object(rule), mapped, unmapped, notes }
}

/// Whether a property's name can stand in a template.
fn usable(property: &str) -> bool {
    !property.is_empty() && !property.contains(['{', '}', '|', ':', '"'])
}

/// The properties assigned so far.
struct Mapping<'a> {
    rows: &'static [Row],
    place: Place<'a>,
    /// The attributes that entries of the classes must and may have.
    must: Vec<&'a str>,
    allowed: Vec<&'a str>,
    mapped: Vec<Mapped>,
    unmapped: Vec<(String, String)>,
}

impl<'a> Mapping<'a> {
    fn new(rows: &'static [Row], classes: &[&str], place: Place<'a>) -> Self {
        let (must, may) = place.schema.must_may(classes.iter().copied());
        let allowed = must.iter().chain(&may).copied().collect();
        Self { rows, place, must, allowed, mapped: Vec::new(), unmapped: Vec::new() }
    }

    /// Assigns every property: exact names first, so that a similar name does not take their attributes.
    fn add_all(&mut self, stream: &SchemaMessage) {
        let mut rest = Vec::new();
        for (property, schema) in properties(stream).filter(|(name, _)| !name.starts_with("_sdc_")) {
            match self.exact(property) {
                Some(attribute) => self.add(property, schema, attribute, false),
                None => rest.push((property, schema)),
            }
        }
        for (property, schema) in rest {
            if let Some(attribute) = self.similar(property) {
                self.add(property, schema, attribute, true);
            } else {
                let why = reason(&plain(property)).unwrap_or("the classes have no attribute of such a name");
                self.leave(property, why);
            }
        }
    }

    /// Returns the attribute that a name means, or that has it.
    fn exact(&self, property: &str) -> Option<&'a str> {
        let plain_name = plain(property);
        if reason(&plain_name).is_some() {
            return None;
        }
        let by_word = self.rows.iter().filter(|row| row.means(&plain_name)).find_map(|row| self.known(row));
        // What the server maintains, and what makes the entry, is not data.
        let is_data =
            |name: &str| !name.eq_ignore_ascii_case("objectClass") && !self.place.schema.is_operational(name);
        by_word
            .or_else(|| self.allowed.iter().copied().find(|name| plain(name) == plain_name && is_data(name)))
    }

    /// Returns the attribute whose usual name is similar and begins with the same letter.
    fn similar(&self, property: &str) -> Option<&'a str> {
        const SHORTEST: usize = 5;
        let plain_name = plain(property);
        if plain_name.len() < SHORTEST || reason(&plain_name).is_some() {
            return None;
        }
        let words = self.rows.iter().flat_map(|row| row.words).copied().filter(|w| w.len() >= SHORTEST);
        let near =
            nearest_of_many(&plain_name, words.filter(|w| w.chars().next() == plain_name.chars().next()));
        let near = *near.first()?;
        let attribute = self.rows.iter().filter(|row| row.means(near)).find_map(|row| self.known(row))?;
        (!self.has(attribute)).then_some(attribute)
    }

    /// Returns the attribute of a row as the schema spells it, if the classes allow it.
    fn known(&self, row: &Row) -> Option<&'a str> {
        let name = row.attribute(self.place.is_active_directory);
        self.allowed.iter().copied().find(|allowed| allowed.eq_ignore_ascii_case(name))
    }

    fn add(&mut self, property: &str, schema: &Value, attribute: &str, is_guess: bool) {
        let has_type = |kind: &str| match schema.get("type") {
            Some(Value::String(only)) => only == kind,
            Some(Value::Array(kinds)) => kinds.iter().any(|k| k == kind),
            _ => false,
        };
        let taken = self.mapped.iter().find(|m| m.attribute.eq_ignore_ascii_case(attribute));
        if let Some(taken) = taken {
            let why = format!("`{attribute}` is already that of `{}`", taken.property);
            self.leave(property, &why);
        } else if !usable(property) {
            self.leave(property, "its name cannot stand in a template");
        } else if has_type("object") {
            self.leave(property, "an object; flattening_enabled makes properties of its parts");
        } else if has_type("boolean") && ValueKind::of(self.place.schema, attribute) != ValueKind::Boolean {
            self.leave(property, &format!("a boolean, and `{attribute}` is not"));
        } else if has_type("array") && self.place.schema.is_single_valued(attribute) {
            self.leave(property, &format!("a list, and `{attribute}` has one value"));
        } else {
            self.mapped.push(Mapped {
                property: property.to_owned(),
                attribute: attribute.to_owned(),
                is_guess,
            });
        }
    }

    fn leave(&mut self, property: &str, why: &str) {
        self.unmapped.push((property.to_owned(), why.to_owned()));
    }

    fn has(&self, attribute: &str) -> bool {
        self.property(attribute).is_some()
    }

    /// Returns the property of an attribute.
    fn property(&self, attribute: &str) -> Option<&str> {
        let found = self.mapped.iter().find(|m| m.attribute.eq_ignore_ascii_case(attribute));
        found.map(|m| m.property.as_str())
    }

    /// Assigns a property that is not assigned yet.
    fn assign(&mut self, property: &str, attribute: &str) {
        if self.mapped.iter().any(|m| m.property == property) || self.has(attribute) {
            return;
        }
        self.unmapped.retain(|(name, _)| name != property);
        self.mapped.push(Mapped {
            property: property.to_owned(),
            attribute: attribute.to_owned(),
            is_guess: false,
        });
    }

    /// Returns the RDN and the `match` of people; adds the values that their classes need.
    fn name_person(
        &mut self,
        key: Option<&str>,
        values: &mut Map<String, Value>,
    ) -> Option<(String, Option<String>)> {
        let is_ad = self.place.is_active_directory;
        let (login, number) =
            if is_ad { ("sAMAccountName", "employeeID") } else { ("uid", "employeeNumber") };
        if let Some(key) = key {
            // Without a user name, the key is one.
            let attribute = if is_ad || self.has(login) { number } else { login };
            self.assign(key, attribute);
        }
        let both = self.property("givenName").zip(self.property("sn"));
        let both = both.map(|(first, last)| format!("{{{first}}} {{{last}}}"));
        let one = |attribute: &str| self.property(attribute).map(|property| format!("{{{property}}}"));
        let name = both.or_else(|| one("cn")).or_else(|| one("displayName"));
        if let Some(name) = &name {
            let wanted = if is_ad { "displayName" } else { "cn" };
            if !self.has(wanted) {
                values.insert(wanted.into(), name.clone().into());
            }
            if !is_ad && !self.has("sn") {
                values.insert("sn".into(), name.clone().into());
            }
        }
        let of_key = key.and_then(|key| self.mapped.iter().find(|m| m.property == key));
        let matched = of_key.map(|m| format!("({}={{{}}})", m.attribute, m.property));
        let login = self.property(login);
        let rdn = if is_ad {
            let name = name.or_else(|| login.map(|login| format!("{{{login}}}")))?;
            // Two people may have one name.
            let number = key.filter(|key| !name.contains(&format!("{{{key}}}")));
            format!("CN={name}{}", number.map(|key| format!(" ({{{key}}})")).unwrap_or_default())
        } else {
            format!("uid={{{}}}", login.or(key)?)
        };
        Some((rdn, matched))
    }

    /// Returns the RDN of groups, and the `match` if an attribute has the key.
    fn name_group(&self, key: Option<&str>) -> Option<(String, Option<String>)> {
        let name = self.property("cn").or(key)?;
        let of_key = key.and_then(|key| self.mapped.iter().find(|m| m.property == key));
        let matched = of_key.map(|m| format!("({}={{{}}})", m.attribute, m.property));
        Some((format!("cn={{{name}}}"), matched))
    }

    fn to_json(&self) -> Value {
        self.mapped
            .iter()
            .map(|m| (m.property.clone(), Value::from(m.attribute.clone())))
            .collect::<Map<_, _>>()
            .into()
    }

    /// Returns the required attributes that neither a property, nor a value, nor the RDN has.
    fn missing(&self, values: &Map<String, Value>, dn_template: Option<&Value>) -> Vec<&'a str> {
        let rdn = dn_template.and_then(Value::as_str).unwrap_or_default();
        let is_given = |name: &str| {
            self.has(name)
                || values.keys().any(|key| key.eq_ignore_ascii_case(name))
                || rdn.split_once('=').is_some_and(|(rdn, _)| rdn.eq_ignore_ascii_case(name))
        };
        // Active Directory itself makes the required attributes of its users and groups.
        let needed = self.must.iter().copied().filter(|_| !self.place.is_active_directory);
        needed.filter(|name| !name.eq_ignore_ascii_case("objectClass") && !is_given(name)).collect()
    }
}

#[cfg(test)]
mod tests;
