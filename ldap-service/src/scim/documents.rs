//! The discovery documents (RFC 7643 sections 5 to 7): true to what is mapped.

use serde_json::{Map, Value, json};

use super::definitions::Type;
use super::mapping::{Attribute, Mapping, ResourceType, Sub};

const CONFIG: &str = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";
const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Schema";
const RESOURCE_TYPE: &str = "urn:ietf:params:scim:schemas:core:2.0:ResourceType";

/// What the service can do.
#[derive(Debug, Clone, Copy)]
pub struct Abilities {
    /// Whether resources can be changed.
    pub writes: bool,
    /// Whether passwords can be set.
    pub passwords: bool,
    /// The most resources in an answer.
    pub count: u32,
    /// How many there are without `count`.
    pub default_count: u32,
}

/// Returns the ServiceProviderConfig (RFC 7643 section 5, RFC 9865 section 4).
pub fn service_provider_config(base: &str, abilities: Abilities) -> Value {
    json!({
        "schemas": [CONFIG],
        "patch": {"supported": abilities.writes},
        "bulk": {"supported": false, "maxOperations": 0, "maxPayloadSize": 0},
        "filter": {"supported": true, "maxResults": abilities.count},
        "changePassword": {"supported": abilities.writes && abilities.passwords},
        "sort": {"supported": true},
        "etag": {"supported": true},
        "pagination": {
            "cursor": true,
            "index": true,
            "defaultPaginationMethod": "index",
            "defaultPageSize": abilities.default_count,
            "maxPageSize": abilities.count,
        },
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "Bearer token",
            "description": "An API token of the service, or a JWT of its identity provider (RFC 6750)",
            "specUri": "https://www.rfc-editor.org/rfc/rfc6750",
            "primary": true,
        }],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": format!("{base}/ServiceProviderConfig"),
        },
    })
}

/// Returns the resource types (RFC 7643 section 6).
pub fn resource_types(base: &str, mappings: &[&Mapping]) -> Vec<Value> {
    mappings.iter().map(|mapping| resource_type(base, mapping)).collect()
}

fn resource_type(base: &str, mapping: &Mapping) -> Value {
    let resource = mapping.resource;
    let extensions: Vec<Value> = mapping
        .extensions()
        .into_iter()
        .map(|uri| {
            let required = mapping.attributes.iter().any(|a| a.schema == uri && a.required);
            json!({"schema": uri, "required": required})
        })
        .collect();
    let mut document = json!({
        "schemas": [RESOURCE_TYPE],
        "id": resource.name(),
        "name": resource.name(),
        "endpoint": format!("/{}", resource.endpoint()),
        "description": description(resource),
        "schema": resource.schema(),
        "meta": {
            "resourceType": "ResourceType",
            "location": format!("{base}/ResourceTypes/{}", resource.name()),
        },
    });
    if let (false, Some(document)) = (extensions.is_empty(), document.as_object_mut()) {
        document.insert("schemaExtensions".to_owned(), extensions.into());
    }
    document
}

fn description(resource: ResourceType) -> &'static str {
    match resource {
        ResourceType::User => "A user of the directory",
        ResourceType::Group => "A group of the directory",
    }
}

/// Returns the schemas (RFC 7643 section 7). The common attributes (`id`, `externalId`, `meta`) are in none of them.
pub fn schemas(base: &str, mappings: &[&Mapping]) -> Vec<Value> {
    let mut documents: Vec<Value> = Vec::new();
    for mapping in mappings {
        let core = mapping.resource.schema();
        for uri in std::iter::once(core).chain(mapping.extensions()) {
            let attributes: Vec<Value> = mapping
                .attributes
                .iter()
                .filter(|a| a.schema == uri && a.name != "externalId")
                .map(attribute)
                .collect();
            let (name, about) = match uri {
                _ if uri == core => (mapping.resource.name(), description(mapping.resource)),
                super::definitions::ENTERPRISE => ("EnterpriseUser", "A user of an organization"),
                _ => (uri.rsplit(':').next().unwrap_or(uri), "Attributes of this directory"),
            };
            documents.push(json!({
                "schemas": [SCHEMA],
                "id": uri,
                "name": name,
                "description": about,
                "attributes": attributes,
                "meta": {"resourceType": "Schema", "location": format!("{base}/Schemas/{uri}")},
            }));
        }
    }
    documents
}

fn attribute(attribute: &Attribute) -> Value {
    let mut document = json!({
        "name": attribute.name,
        "type": attribute.kind.keyword(),
        "multiValued": attribute.multi_valued,
        "description": attribute.description,
        "required": attribute.required,
        "mutability": attribute.mutability.keyword(),
        "returned": attribute.returned.keyword(),
    });
    let Some(object) = document.as_object_mut() else { return document };
    of_type(object, attribute.kind, attribute.case_exact);
    if attribute.kind == Type::String {
        let uniqueness = if attribute.is_unique { "server" } else { "none" };
        object.insert("uniqueness".to_owned(), uniqueness.into());
    }
    if attribute.kind == Type::Complex {
        object.insert("subAttributes".to_owned(), attribute.subs.iter().map(sub).collect());
    }
    if attribute.kind == Type::Reference {
        object.insert("referenceTypes".to_owned(), json!(["external"]));
    }
    document
}

fn sub(sub: &Sub) -> Value {
    let mut document = json!({
        "name": sub.name,
        "type": sub.kind.keyword(),
        "multiValued": false,
        "description": sub.description,
        "required": sub.required,
        "mutability": sub.mutability.keyword(),
        "returned": sub.returned.keyword(),
    });
    let Some(object) = document.as_object_mut() else { return document };
    of_type(object, sub.kind, sub.case_exact);
    if sub.kind == Type::String {
        object.insert("uniqueness".to_owned(), "none".into());
    }
    if !sub.canonical.is_empty() {
        object.insert("canonicalValues".to_owned(), sub.canonical.clone().into());
    }
    if !sub.reference_types.is_empty() {
        object.insert("referenceTypes".to_owned(), sub.reference_types.into());
    }
    document
}

fn of_type(object: &mut Map<String, Value>, kind: Type, case_exact: bool) {
    match kind {
        Type::String => object.insert("caseExact".to_owned(), case_exact.into()),
        // A URI, and base64.
        Type::Reference | Type::Binary => object.insert("caseExact".to_owned(), true.into()),
        _ => None,
    };
}
