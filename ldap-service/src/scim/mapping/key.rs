//! The keys of the settings `users.scim` and `groups.scim`: `userName`, `name.familyName`, `emails[work]`,
//! `addresses[work].locality`, `urn:…:User:department`.

use super::ResourceType;
use crate::scim::definitions::{self, ENTERPRISE, Type};
use crate::scim::filter::AttrPath;

/// Where a value is in a resource. Names are in their canonical spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldKey {
    /// The URI of the schema.
    pub schema: String,
    /// The attribute.
    pub name: String,
    /// The `type` of the value of a multi-valued attribute.
    pub element: Option<String>,
    /// The sub-attribute.
    pub sub: Option<String>,
}

impl FieldKey {
    /// Returns the path of the value, for messages: `name.familyName`.
    pub fn path(&self) -> String {
        match &self.sub {
            Some(sub) => format!("{}.{sub}", self.name),
            None => self.name.clone(),
        }
    }

    /// Parses a key. The enterprise extension's attributes need no URI.
    pub(super) fn parse(resource: ResourceType, text: &str) -> Result<Self, String> {
        let (before, element, after) = split(text)?;
        let path = AttrPath::from_token(before).ok_or("not the name of an attribute")?;
        let sub = match (after, &path.sub) {
            (Some(sub), None) => Some(sub.to_owned()),
            (None, sub) => sub.clone(),
            (Some(_), Some(_)) => return Err("more than one sub-attribute".to_owned()),
        };
        let core = resource.schema();
        let mut uris = vec![core];
        if resource == ResourceType::User {
            uris.push(ENTERPRISE);
        }
        let known = match &path.schema {
            None => uris.iter().find_map(|uri| Some((*uri, definitions::find(uri, &path.name)?))),
            Some(given) => uris
                .iter()
                .filter(|uri| uri.eq_ignore_ascii_case(given))
                .find_map(|uri| Some((*uri, definitions::find(uri, &path.name)?))),
        };
        let Some((schema, definition)) = known else {
            return Self::of_another_schema(path, element, sub.as_deref(), &uris);
        };
        let name = definition.name.to_owned();
        if element.is_some() && !definition.multi_valued {
            return Err(format!("`{name}` is single-valued"));
        }
        let sub = match (sub, definition.kind) {
            (None, Type::Complex) if name == "members" => None,
            (None, Type::Complex) => {
                Some(definition.sub("value").map(|d| d.name.to_owned()).ok_or_else(|| {
                    let names: Vec<&str> = definition.subs.iter().map(|d| d.name).collect();
                    format!("a sub-attribute is required: one of {}", names.join(", "))
                })?)
            }
            (Some(sub), Type::Complex) if name != "members" => {
                let found = definition.sub(&sub).filter(|d| !matches!(d.name, "type" | "$ref"));
                Some(
                    found
                        .ok_or_else(|| format!("`{name}` has no sub-attribute `{sub}` to map"))?
                        .name
                        .to_owned(),
                )
            }
            (Some(_), _) => return Err(format!("`{name}` has no sub-attributes to map")),
            (None, _) => None,
        };
        Ok(Self { schema: schema.to_owned(), name, element: element.map(str::to_owned), sub })
    }

    /// An attribute of a schema of one's own: simple.
    fn of_another_schema(
        path: AttrPath,
        element: Option<&str>,
        sub: Option<&str>,
        core: &[&str],
    ) -> Result<Self, String> {
        match path.schema {
            None => Err("SCIM has no such attribute that can be mapped".to_owned()),
            Some(uri) if core.iter().any(|core| core.eq_ignore_ascii_case(&uri)) => {
                Err(format!("`{uri}` has no such attribute that can be mapped"))
            }
            Some(_) if element.is_some() || sub.is_some() => {
                Err("an attribute of another schema has no sub-attributes".to_owned())
            }
            Some(schema) => Ok(Self { schema, name: path.name, element: None, sub: None }),
        }
    }
}

type Parts<'t> = (&'t str, Option<&'t str>, Option<&'t str>);

/// Splits `before[element].after`.
fn split(text: &str) -> Result<Parts<'_>, String> {
    let Some((before, rest)) = text.split_once('[') else { return Ok((text, None, None)) };
    let (element, after) = rest.split_once(']').ok_or("`]` is missing")?;
    if element.is_empty() || element.contains(['"', '\\']) {
        return Err("the type in brackets is not a name".to_owned());
    }
    match after {
        "" => Ok((before, Some(element), None)),
        _ => Ok((before, Some(element), Some(after.strip_prefix('.').ok_or("`.` expected after `]`")?))),
    }
}
