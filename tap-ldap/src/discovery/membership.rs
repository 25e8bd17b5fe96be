//! Membership streams (`membership_streams`): which attributes hold members, and the catalog entry.

use ldap_directory::Vendor;
use serde_json::{Map, json};
use singer_common::singer::catalog::{CatalogEntry, MetadataEntry, Places};

use crate::config::method::FULL_TABLE;
use crate::discovery::catalog::stream_metadata;
use crate::discovery::sample::Sample;

/// The attributes that hold members: DNs, DNs with a unique id (RFC 4517 section 3.3.21), and user ids (RFC 2307).
pub(crate) const ATTRIBUTES: [&str; 3] = ["member", "uniqueMember", "memberUid"];

const KEYS: [&str; 3] = ["group_key", "attribute", "member"];
/// The properties of a membership record, with their descriptions.
pub(crate) const PROPERTIES: [(&str, &str); 6] = [
    ("group_key", "The group's key: what identifies it in its own stream"),
    ("group_dn", "The group's DN"),
    ("attribute", "The attribute that says so: member, uniqueMember, memberUid or primaryGroupID"),
    ("member", "The value of that attribute; for primaryGroupID the member's DN"),
    ("member_dn", "The member's DN, where it is known"),
    (
        "member_key",
        "The member's key: what identifies it in its own stream; null where it is in another directory or gone",
    ),
];

/// Returns whether a stream has groups.
pub fn has_groups(sample: &Sample, vendor: Vendor) -> bool {
    ATTRIBUTES.iter().any(|a| sample.occurrence(a).is_some())
        || vendor == Vendor::ActiveDirectory
            && sample.classes.iter().any(|(c, _)| c.eq_ignore_ascii_case("group"))
}

/// Returns the catalog entry of a membership stream.
pub fn describe(id: &str, name: &str, selected: bool) -> CatalogEntry {
    let mut properties = Map::new();
    let mut own = stream_metadata(&KEYS.map(str::to_owned), selected);
    // Membership records are not entries: no replication key and no log reports single ones.
    own.metadata.insert("forced-replication-method".into(), FULL_TABLE.into());
    let mut metadata = vec![own];
    for (property, description) in PROPERTIES {
        properties.insert(property.into(), json!({"type": ["null", "string"], "description": description}));
        let inclusion = if KEYS.contains(&property) { "automatic" } else { "available" };
        metadata.push(MetadataEntry {
            breadcrumb: vec!["properties".into(), property.into()],
            metadata: Map::from_iter([
                ("inclusion".to_owned(), inclusion.into()),
                ("selected-by-default".to_owned(), true.into()),
            ]),
        });
    }
    CatalogEntry {
        places: Places::default(),
        tap_stream_id: id.to_owned(),
        stream: name.to_owned(),
        key_properties: KEYS.map(str::to_owned).to_vec(),
        schema: json!({"type": "object", "properties": properties}),
        metadata,
        replication_method: Some(FULL_TABLE.to_owned()),
        replication_key: None,
    }
}
