//! Entries as resources (RFC 7643 section 3), and their versions (RFC 7644 section 3.14).

use chrono::Utc;
use ldap_directory::dn::first_rdn;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::definitions::Type;
use super::mapping::{Active, Attribute, Field, Mapping, ResourceType, Source};
use super::values::{field_to_json, to_json};
use crate::{login, members};

/// The stamps of which each change of an entry makes another value. The others have a precision of a second.
const EXACT_STAMPS: &[&str] = &["entryCSN", "entryusn", "uSNChanged"];

/// A resource that another one refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its type.
    pub resource: ResourceType,
    /// Its id.
    pub id: String,
    /// Its name, if it was read.
    pub display: Option<String>,
}

/// What a resource has beyond its entry.
#[derive(Debug, Clone, Default)]
pub struct Related {
    /// The groups that have the user as a direct member, if they were read.
    pub groups: Option<Vec<Link>>,
    /// The members of the group, if they were read.
    pub members: Option<Vec<Link>>,
}

/// Makes resources of entries.
#[derive(Clone, Copy)]
pub struct Renderer<'r> {
    /// The mapping.
    pub mapping: &'r Mapping,
    /// The server's schema.
    pub schema: &'r Schema,
    /// The base of all URIs: `https://scim.example.com/scim/v2`.
    pub base: &'r str,
    /// Returns the id of the user with a DN; `None` if there is none.
    pub user_of: &'r dyn Fn(&str) -> Option<String>,
}

impl Renderer<'_> {
    /// Returns the URI of a resource.
    pub fn location(&self, resource: ResourceType, id: &str) -> String {
        location(self.base, resource, id)
    }

    /// Returns the `id` of an entry; `None` if the service cannot read it.
    pub fn id(&self, entry: &Entry) -> Option<String> {
        let id = &self.mapping.id;
        id.to_text(self.schema.values_of(entry, &id.attribute).first()?)
    }

    /// Returns the whole resource; `None` if the entry has no readable `id`.
    pub fn render(&self, entry: &Entry, related: &Related) -> Option<Value> {
        let id = self.id(entry)?;
        let mut resource = Map::new();
        let mut schemas = vec![self.mapping.resource.schema()];
        resource.insert("schemas".to_owned(), Value::Null);
        resource.insert("id".to_owned(), id.as_str().into());
        for attribute in &self.mapping.attributes {
            let Some(value) = self.attribute(attribute, entry, related) else { continue };
            if attribute.schema == self.mapping.resource.schema() {
                resource.insert(attribute.name.clone(), value);
                continue;
            }
            if !schemas.contains(&attribute.schema.as_str()) {
                schemas.push(&attribute.schema);
            }
            let extension = resource.entry(attribute.schema.clone()).or_insert_with(|| json!({}));
            if let Some(extension) = extension.as_object_mut() {
                extension.insert(attribute.name.clone(), value);
            }
        }
        resource.insert("schemas".to_owned(), schemas.into());
        let is_whole = self.mapping.members.is_none() || related.members.is_some();
        resource.insert("meta".to_owned(), self.meta(entry, &id, is_whole));
        Some(Value::Object(resource))
    }

    fn meta(&self, entry: &Entry, id: &str, is_whole: bool) -> Value {
        let resource = self.mapping.resource;
        let mut meta = Map::new();
        meta.insert("resourceType".to_owned(), resource.name().into());
        for (name, attribute) in [("created", self.mapping.created), ("lastModified", self.mapping.modified)]
        {
            let value = self.schema.values_of(entry, attribute).first();
            if let Some(time) = value.and_then(|v| to_json(ValueKind::GeneralizedTime, v)) {
                meta.insert(name.to_owned(), time);
            }
        }
        meta.insert("location".to_owned(), self.location(resource, id).into());
        if let Some(version) = self.version(entry, is_whole) {
            meta.insert("version".to_owned(), version.into());
        }
        Value::Object(meta)
    }

    fn attribute(&self, attribute: &Attribute, entry: &Entry, related: &Related) -> Option<Value> {
        match attribute.source {
            Source::Password => None,
            Source::Groups => self.links(related.groups.as_deref()?, Some("direct")),
            Source::Members => self.links(related.members.as_deref()?, None),
            Source::Active => self.active(entry).map(Value::Bool),
            Source::Fields if attribute.kind == Type::Complex => self.complex(attribute, entry),
            Source::Fields => {
                let field = self.mapping.fields_of(attribute).next()?;
                if !attribute.multi_valued {
                    return self.first(field, entry);
                }
                let all: Vec<Value> = self.all(field, entry).collect();
                (!all.is_empty()).then_some(Value::Array(all))
            }
        }
    }

    fn links(&self, links: &[Link], kind: Option<&str>) -> Option<Value> {
        let one = |link: &Link| {
            let mut value = json!({
                "value": link.id,
                "$ref": self.location(link.resource, &link.id),
                "type": kind.unwrap_or_else(|| link.resource.name()),
            });
            if let (Some(display), Some(value)) = (&link.display, value.as_object_mut()) {
                value.insert("display".to_owned(), display.as_str().into());
            }
            value
        };
        (!links.is_empty()).then(|| links.iter().map(one).collect())
    }

    fn active(&self, entry: &Entry) -> Option<bool> {
        match self.mapping.active? {
            Active::Lock(lock) => {
                Some(lock.is_enabled(entry)? && login::out_of_days(entry, Utc::now()).is_none())
            }
            // As a login reads it.
            Active::Field(at) => {
                let field = self.mapping.fields.get(at)?;
                Some(!login::is_off(self.schema.values_of(entry, &field.attribute)))
            }
        }
    }

    fn complex(&self, attribute: &Attribute, entry: &Entry) -> Option<Value> {
        if !attribute.multi_valued {
            let object = self.object(self.mapping.fields_of(attribute), entry)?;
            return Some(Value::Object(object));
        }
        let mut found = Vec::new();
        for (element, fields) in self.mapping.elements_of(attribute) {
            let objects: Vec<Map<String, Value>> = match fields.as_slice() {
                [field] => {
                    let name = field.key.sub.clone().unwrap_or_else(|| "value".to_owned());
                    self.all(field, entry).map(|v| Map::from_iter([(name.clone(), v)])).collect()
                }
                several => self.object(several.iter().copied(), entry).into_iter().collect(),
            };
            found.extend(objects.into_iter().map(|mut object| {
                if let Some(kind) = element {
                    object.insert("type".to_owned(), kind.into());
                }
                Value::Object(object)
            }));
        }
        (!found.is_empty()).then_some(Value::Array(found))
    }

    fn object<'f>(
        &self,
        fields: impl Iterator<Item = &'f Field>,
        entry: &Entry,
    ) -> Option<Map<String, Value>> {
        let mut object = Map::new();
        for field in fields {
            let Some(value) = self.first(field, entry) else { continue };
            let name = field.key.sub.clone().unwrap_or_else(|| "value".to_owned());
            if let (true, Value::String(id)) = (field.is_user, &value) {
                let uri = self.location(ResourceType::User, id);
                object.insert(name, value);
                object.insert("$ref".to_owned(), uri.into());
            } else {
                object.insert(name, value);
            }
        }
        (!object.is_empty()).then_some(object)
    }

    fn all<'e>(&self, field: &'e Field, entry: &'e Entry) -> impl Iterator<Item = Value> {
        let values = self.schema.values_of(entry, &field.attribute);
        values.iter().filter_map(move |value| self.value(field, value))
    }

    fn value(&self, field: &Field, value: &[u8]) -> Option<Value> {
        if field.is_user {
            return (self.user_of)(std::str::from_utf8(value).ok()?).map(Value::String);
        }
        field_to_json(field, value)
    }

    fn first(&self, field: &Field, entry: &Entry) -> Option<Value> {
        let value = one_of(self.schema, field, entry, &|value| self.value(field, value).is_some())?;
        self.value(field, value)
    }

    /// Returns the weak ETag of an entry: a digest of its change stamp; on a server without an exact one, of its values too.
    /// `None` if it has neither, or if no stamp replaces what was not read (`is_whole` is false: the members of a group).
    pub fn version(&self, entry: &Entry, is_whole: bool) -> Option<String> {
        let mut digest = Sha256::new();
        let mut add = |name: &str| {
            let values = self.schema.values_of(entry, name);
            let mut values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            values.sort_unstable();
            for part in std::iter::once(name.as_bytes()).chain(values.iter().copied()) {
                digest.update(part.len().to_be_bytes());
                digest.update(part);
            }
            !values.is_empty()
        };
        let is_exact =
            self.mapping.stamps.iter().find(|name| EXACT_STAMPS.contains(name)).is_some_and(|name| add(name));
        if !is_exact {
            if !add(self.mapping.modified) || !is_whole {
                return None;
            }
            let names = self.mapping.member_attributes();
            for name in &names {
                add(name);
            }
            // With options, and subtypes.
            for attribute in members::attributes(entry, &names, self.schema) {
                if !names.iter().any(|name| self.schema.same_description(name, &attribute.description)) {
                    add(&attribute.description);
                }
            }
            for field in &self.mapping.fields {
                add(&field.attribute);
            }
            if let Some(Active::Lock(lock)) = self.mapping.active {
                add(lock.attribute());
                for name in login::days(lock) {
                    add(name);
                }
            }
        }
        let octets = digest.finalize();
        let hex = octets.iter().take(12).fold(String::new(), |hex, b| format!("{hex}{b:02x}"));
        Some(format!("W/\"{hex}\""))
    }

    /// Returns a filter that matches the entry as long as it does not change: an equality of its change stamp.
    pub fn unchanged(&self, entry: &Entry) -> Option<Filter> {
        let stamp = |name: &&str| {
            let value = self.schema.values_of(entry, name).first()?;
            Some(Filter::equality(*name, value.clone()))
        };
        self.mapping.stamps.iter().find_map(stamp)
    }
}

/// Returns the value that a resource shows of several: that of the RDN, if it names the entry; else the first in the server's order.
fn one_of<'e>(
    schema: &Schema,
    field: &Field,
    entry: &'e Entry,
    is_shown: &dyn Fn(&[u8]) -> bool,
) -> Option<&'e Vec<u8>> {
    let values = schema.values_of(entry, &field.attribute);
    let rdn = first_rdn(&entry.dn).ok().flatten().filter(|_| values.len() > 1);
    let mut named = rdn.iter().flat_map(|rdn| &rdn.avas);
    let named = named.find(|ava| schema.same_description(&ava.attribute, &field.attribute));
    let of_rdn = named.and_then(|named| {
        values.iter().find(|value| schema.values_match(&field.attribute, value, &named.value))
    });
    of_rdn.or_else(|| values.iter().find(|value| is_shown(value)))
}

/// Returns the values of a field that the resource of an entry shows. `is_one`: it shows one of them.
pub fn shown<'e>(schema: &Schema, field: &Field, is_one: bool, entry: &'e Entry) -> Vec<&'e Vec<u8>> {
    let is_shown = |value: &[u8]| field_to_json(field, value).is_some();
    if is_one {
        return one_of(schema, field, entry, &is_shown).into_iter().collect();
    }
    schema.values_of(entry, &field.attribute).iter().filter(|value| is_shown(value)).collect()
}

/// Whether a comparison with a field holds for the values that the resource of an entry shows.
pub fn holds(leaf: &Filter, field: &Field, is_one: bool, entry: &Entry, schema: &Schema) -> bool {
    let values: Vec<Vec<u8>> = shown(schema, field, is_one, entry).into_iter().cloned().collect();
    let attributes = vec![ldap_directory::entry::Attribute::new(field.attribute.as_str(), values)];
    let seen = Entry { dn: entry.dn.clone(), attributes };
    leaf.matches(&seen, schema) == Some(true)
}

/// Returns the URI of a resource.
pub fn location(base: &str, resource: ResourceType, id: &str) -> String {
    format!("{base}/{}/{id}", resource.endpoint())
}
