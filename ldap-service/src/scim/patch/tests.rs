#![allow(clippy::needless_pass_by_value, reason = "literals are passed")]

use serde_json::{Map, json};

use super::*;
use crate::scim::mapping::{Mapping, ResourceType};
use crate::scim::record::Canonical;
use ldap_directory::Vendor;

const LIMITS: FilterLimits = FilterLimits::terms(64);
const ENTERPRISE: &str = crate::scim::definitions::ENTERPRISE;

fn users() -> Mapping {
    crate::scim::translate::tests::mapping(
        ResourceType::User,
        Vendor::Ds389,
        &[("emails[home]", "rfc822Mailbox")],
    )
}

fn operations(operations: Value) -> Result<Vec<Operation>, ScimError> {
    parse(&json!({"schemas": [PATCH_OP], "Operations": operations}), LIMITS)
}

fn ada() -> Canonical {
    let value = json!({
        "userName": "ada",
        "name": {"formatted": "Ada Lovelace", "familyName": "Lovelace", "givenName": "Ada"},
        "active": true,
        "emails": [{"value": "ada@example.com", "type": "work"}, {"value": "ada@home.example", "type": "home"}],
        ENTERPRISE: {"department": "Engines"},
    });
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

fn patched(list: Value) -> Result<Applied, ScimError> {
    apply(&users(), &ada(), &operations(list)?, LIMITS)
}

fn at(list: Value, pointer: &str) -> Value {
    let applied = patched(list.clone()).unwrap_or_else(|e| panic!("{list}: {e}"));
    Value::Object(applied.resource).pointer(pointer).cloned().unwrap_or(Value::Null)
}

fn fault(list: Value) -> ScimType {
    patched(list.clone()).expect_err(&list.to_string()).scim_type
}

#[test]
fn trap_23_the_dialects_of_entra_and_okta() {
    let extension = format!("/{ENTERPRISE}");
    for (list, pointer, expected) in [
        // Entra: capital letters, booleans as text.
        (json!([{"op": "Replace", "path": "active", "value": "False"}]), "/active", json!(false)),
        (json!([{"op": "Add", "path": "title", "value": "Countess"}]), "/title", json!("Countess")),
        (
            json!([{"op": "Add", "path": "emails[type eq \"work\"].value", "value": "new@example.com"}]),
            "/emails/0/value",
            json!("new@example.com"),
        ),
        // The number does not exist yet.
        (
            json!([{"op": "Add", "path": "phoneNumbers[type eq \"mobile\"].value", "value": "1"}]),
            "/phoneNumbers",
            json!([{"type": "mobile", "value": "1"}]),
        ),
        (
            json!([{"op": "Replace", "value": {
                "active": "True",
                "name.familyName": "King",
                "emails[type eq \"home\"].value": "x@home.example",
                format!("{ENTERPRISE}:department"): "Poetry"
            }}]),
            "/name/familyName",
            json!("King"),
        ),
        (
            json!([{"op": "Replace", "value": {format!("{ENTERPRISE}:department"): "Poetry"}}]),
            extension.as_str(),
            json!({"department": "Poetry"}),
        ),
        (
            json!([{"op": "add", "path": format!("{ENTERPRISE}:manager"), "value": "id1"}]),
            extension.as_str(),
            json!({"department": "Engines", "manager": {"value": "id1"}}),
        ),
        // Okta.
        (json!([{"op": "replace", "value": {"active": false}}]), "/active", json!(false)),
        (json!([{"op": "replace", "value": {"id": "5", "title": "X"}}]), "/title", json!("X")),
        // RFC 7644.
        (
            json!([{"op": "add", "value": {"title": "X", "emails": [{"value": "a", "type": "home"}]}}]),
            "/emails/2/value",
            json!("a"),
        ),
        (
            json!([{"op": "add", "path": "emails", "value": {"value": "ada@example.com", "type": "work"}}]),
            "/emails/2",
            Value::Null,
        ),
        (
            json!([{"op": "replace", "path": "emails", "value": [{"value": "b", "type": "work"}]}]),
            "/emails",
            json!([{"value": "b", "type": "work"}]),
        ),
        (
            json!([{"op": "replace", "path": "name", "value": {"givenName": "A"}}]),
            "/name/familyName",
            json!("Lovelace"),
        ),
        (
            json!([{"op": "remove", "path": "emails[type eq \"work\"]"}]),
            "/emails",
            json!([{"value": "ada@home.example", "type": "home"}]),
        ),
        (
            json!([{"op": "remove", "path": "emails", "value": [{"value": "ada@example.com"}]}]),
            "/emails/0/type",
            json!("home"),
        ),
        (json!([{"op": "remove", "path": "emails"}]), "/emails", Value::Null),
        (json!([{"op": "replace", "path": "emails", "value": null}]), "/emails", Value::Null),
        (
            json!([{"op": "remove", "path": "name.givenName"}]),
            "/name",
            json!({"formatted": "Ada Lovelace", "familyName": "Lovelace"}),
        ),
        (
            json!([{"op": "remove", "path": "emails[type eq \"work\"].value"}]),
            "/emails/0/type",
            json!("home"),
        ),
        (json!([{"op": "remove", "path": ENTERPRISE}]), extension.as_str(), Value::Null),
        (
            json!([{"op": "add", "path": ENTERPRISE, "value": {"DEPARTMENT": "D"}}]),
            extension.as_str(),
            json!({"department": "D"}),
        ),
    ] {
        assert_eq!(at(list.clone(), pointer), expected, "{list}");
    }
}

/// Null is "not assigned", wherever it is (RFC 7643 section 2.5).
#[test]
fn null_within_a_value_removes() {
    for (list, pointer, expected) in [
        (
            json!([{"op": "replace", "path": "name", "value": {"givenName": null}}]),
            "/name",
            json!({"formatted": "Ada Lovelace", "familyName": "Lovelace"}),
        ),
        (
            json!([{"op": "replace", "value": {"name": {"GivenName": null, "formatted": "Lovelace"}}}]),
            "/name",
            json!({"formatted": "Lovelace", "familyName": "Lovelace"}),
        ),
        (
            json!([{"op": "replace", "path": "emails[type eq \"work\"]", "value": {"value": null}}]),
            "/emails",
            json!([{"value": "ada@home.example", "type": "home"}]),
        ),
    ] {
        assert_eq!(at(list.clone(), pointer), expected, "{list}");
    }
}

/// No LDAP attribute says which value is primary: the only one is meant, of those that the rest of the filter matches.
#[test]
fn primary_is_the_only_value() {
    for (list, expected) in [
        (
            json!([{"op": "Replace", "path": "emails[type eq \"work\" and primary eq true].value", "value": "b"}]),
            json!([{"value": "b", "type": "work"}, {"value": "ada@home.example", "type": "home"}]),
        ),
        (
            json!([
                {"op": "remove", "path": "emails[type eq \"home\"]"},
                {"op": "replace", "path": "emails[primary eq \"True\"].value", "value": "b"},
            ]),
            json!([{"value": "b", "type": "work"}]),
        ),
        (
            json!([
                {"op": "remove", "path": "emails"},
                {"op": "replace", "path": "emails[primary eq true].value", "value": "b"},
            ]),
            json!([{"value": "b"}]),
        ),
        (
            json!([
                {"op": "remove", "path": "emails[type eq \"home\"]"},
                {"op": "remove", "path": "emails[primary eq true]"},
            ]),
            Value::Null,
        ),
    ] {
        assert_eq!(at(list.clone(), "/emails"), expected, "{list}");
    }
}

#[test]
fn what_cannot_be_applied() {
    use ScimType::{InvalidPath, InvalidSyntax, InvalidValue, Mutability, NoTarget};
    for (list, expected) in [
        (json!([]), InvalidSyntax),
        (json!([{"op": "move", "path": "title"}]), InvalidSyntax),
        (json!([{"path": "title", "value": "x"}]), InvalidSyntax),
        (json!(["add"]), InvalidSyntax),
        (json!([{"op": "remove"}]), NoTarget),
        (json!([{"op": "remove", "value": [{"value": "x"}]}]), NoTarget),
        (json!([{"op": "add", "path": "title"}]), InvalidValue),
        (json!([{"op": "add", "value": "x"}]), InvalidValue),
        (json!([{"op": "add", "path": "tit le", "value": "x"}]), InvalidPath),
        (json!([{"op": "add", "path": 5, "value": "x"}]), InvalidPath),
        (json!([{"op": "add", "path": "nickName", "value": "x"}]), InvalidPath),
        (json!([{"op": "add", "path": "name.nope", "value": "x"}]), InvalidPath),
        (json!([{"op": "replace", "path": "title[value eq \"x\"]", "value": "x"}]), InvalidPath),
        (json!([{"op": "replace", "path": "id", "value": "x"}]), Mutability),
        (json!([{"op": "replace", "path": "meta.created", "value": "x"}]), Mutability),
        (json!([{"op": "add", "path": "groups", "value": [{"value": "g"}]}]), Mutability),
        (json!([{"op": "replace", "path": "emails[value sw \"zz\"].value", "value": "x"}]), NoTarget),
        (json!([{"op": "add", "path": "phoneNumbers.value", "value": "1"}]), NoTarget),
        (json!([{"op": "replace", "path": "emails[primary eq true].value", "value": "x"}]), NoTarget),
        (json!([{"op": "remove", "path": "emails[primary eq true]"}]), NoTarget),
        (json!([{"op": "replace", "path": "emails[primary eq false].value", "value": "x"}]), InvalidPath),
        (json!([{"op": "remove", "path": "emails[display eq \"x\"]"}]), InvalidPath),
        (
            json!([{"op": "add", "path": "emails[type eq \"work\" or primary eq true].value", "value": "x"}]),
            InvalidPath,
        ),
        (json!([{"op": "replace", "path": "active", "value": "perhaps"}]), InvalidValue),
        (json!([{"op": "replace", "path": "title", "value": ["a"]}]), InvalidValue),
        (json!([{"op": "replace", "path": "emails", "value": 5}]), InvalidValue),
        (json!([{"op": "remove", "path": "userName"}]), InvalidValue),
        (json!([{"op": "remove", "path": "active"}]), InvalidValue),
        (json!([{"op": "replace", "path": "active", "value": null}]), InvalidValue),
        (json!([{"op": "replace", "path": "active", "value": ""}]), InvalidValue),
        (json!([{"op": "add", "value": {"active": " "}}]), InvalidValue),
        (json!([{"op": "replace", "path": "userName", "value": ""}]), InvalidValue),
        (json!([{"op": "remove", "path": "emails", "value": []}]), InvalidValue),
        (json!([{"op": "remove", "path": "emails", "value": [{}]}]), InvalidValue),
        (json!([{"op": "remove", "path": "password"}]), InvalidValue),
        (json!([{"op": "replace", "path": "password", "value": null}]), InvalidValue),
        (json!([{"op": "replace", "path": "password", "value": ""}]), InvalidValue),
        (json!([{"op": "add", "value": {"password": null}}]), InvalidValue),
        (json!([{"op": "replace", "value": {"password": null}}]), InvalidValue),
        (json!([{"op": "replace", "path": "emails[value eq \"nope\"].value", "value": "x"}]), NoTarget),
        (json!([{"op": "replace", "path": "emails[value eq \"nope\"]", "value": {"value": "x"}}]), NoTarget),
        (json!([{"op": "replace", "path": "emails[value eq \"nope\"].type", "value": "home"}]), NoTarget),
        (
            json!([{"op": "add", "path": "emails[type eq \"work\" and value eq \"nope\"].value", "value": "x"}]),
            NoTarget,
        ),
        (json!([{"op": "replace", "path": "name", "value": {"familyName": null}}]), InvalidValue),
    ] {
        assert_eq!(fault(list.clone()), expected, "{list}");
    }
    let no_schemas = parse(&json!({"Operations": [{"op": "remove", "path": "title"}]}), LIMITS);
    assert_eq!(no_schemas.map_err(|e| e.scim_type), Err(InvalidSyntax));
    let slapd_without_policy = crate::scim::translate::tests::mapping(ResourceType::User, Vendor::Other, &[]);
    let off = operations(json!([{"op": "replace", "value": {"active": "False"}}])).unwrap();
    let refused = apply(&slapd_without_policy, &ada(), &off, LIMITS);
    assert_eq!(refused.map_err(|e| e.scim_type), Err(InvalidValue), "nobody believes that it was disabled");
}

/// A client must not believe that something is stored which is not.
#[test]
fn names_without_a_place_are_refused() {
    for (list, expected) in [
        (json!([{"op": "add", "value": {"nickName": "x"}}]), ScimType::InvalidPath),
        (json!([{"op": "replace", "value": {"actve": false}}]), ScimType::InvalidPath),
        (json!([{"op": "replace", "value": {ENTERPRISE: {"active": false}}}]), ScimType::InvalidPath),
        (json!([{"op": "replace", "path": ENTERPRISE, "value": {"active": false}}]), ScimType::InvalidPath),
        (json!([{"op": "replace", "value": {"urn:x:y:Z": {"active": false}}}]), ScimType::InvalidPath),
        (json!([{"op": "replace", "value": {"name": {"family": "x"}}}]), ScimType::InvalidPath),
        (json!([{"op": "replace", "value": {"emails": [{"vlaue": "x"}]}}]), ScimType::InvalidPath),
        (json!([{"op": "replace", "value": {"active": true, "ACTIVE": false}}]), ScimType::InvalidValue),
    ] {
        assert_eq!(fault(list.clone()), expected, "{list}");
    }
    let list = json!([{"op": "add", "value": {"emails": [{"value": "a", "primary": true, "display": "A"}], "groups": [], "id": "5"}}]);
    assert_eq!(patched(list).unwrap().ignored, [""; 0]);
    let unmapped = patched(json!([{"op": "add", "value": {"name": {"honorificPrefix": "Dr"}}}])).unwrap();
    assert_eq!(unmapped.ignored, ["name.honorificPrefix"]);
}

/// The URI of the core schema as a container, as a path, and before a name: the same attribute.
#[test]
fn the_core_schema_is_no_extension() {
    let core = ResourceType::User.schema();
    let off = |list: Value| {
        let all = unwrapped(core, operations(list).unwrap()).unwrap();
        apply(&users(), &ada(), &all, LIMITS).unwrap().resource.get("active").cloned()
    };
    for list in [
        json!([{"op": "replace", "value": {core: {"active": false}}}]),
        json!([{"op": "replace", "value": {core.to_uppercase(): {"Active": "False"}}}]),
        json!([{"op": "replace", "path": core, "value": {"active": false}}]),
        json!([{"op": "replace", "value": {format!("{core}:active"): false}}]),
    ] {
        assert_eq!(off(list.clone()), Some(json!(false)), "{list}");
    }
    for list in [json!([{"op": "remove", "path": core}]), json!([{"op": "replace", "value": {core: false}}])]
    {
        assert!(unwrapped(core, operations(list.clone()).unwrap()).is_err(), "{list}");
    }
    let twice = json!([{"op": "replace", "value": {"active": true, core: {"active": false}}}]);
    let all = unwrapped(core, operations(twice).unwrap()).unwrap();
    assert_eq!(apply(&users(), &ada(), &all, LIMITS).map_err(|e| e.scim_type), Err(ScimType::InvalidValue));
}

fn members(list: Value) -> Result<MemberChanges, ScimError> {
    let groups = crate::scim::translate::tests::mapping(ResourceType::Group, Vendor::OpenLdap, &[]);
    split_members(&groups, operations(list)?, LIMITS)
}

#[test]
fn trap_23_members_are_changed_one_by_one() {
    use MemberChange::{Add, Remove, RemoveAll, Replace};
    let ids = |list: &[&str]| list.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    for (list, expected) in [
        (
            json!([{"op": "Add", "path": "members", "value": [{"value": "a", "$ref": null}]}]),
            vec![Add(ids(&["a"]))],
        ),
        (json!([{"op": "add", "path": "members", "value": {"value": "a"}}]), vec![Add(ids(&["a"]))]),
        (
            json!([{"op": "add", "value": {"members": [{"value": "a"}, {"VALUE": "b"}]}}]),
            vec![Add(ids(&["a", "b"]))],
        ),
        (
            json!([{"op": "Remove", "path": "members", "value": [{"value": "a"}, {"value": "b"}]}]),
            vec![Remove(ids(&["a", "b"]))],
        ),
        (json!([{"op": "remove", "path": "members[value eq \"a\"]"}]), vec![Remove(ids(&["a"]))]),
        (
            json!([{"op": "remove", "path": "members[value eq \"a\" or value eq \"b\"]"}]),
            vec![Remove(ids(&["a", "b"]))],
        ),
        (
            json!([{"op": "replace", "path": "members", "value": [{"value": "a"}]}]),
            vec![Replace(ids(&["a"]))],
        ),
        (json!([{"op": "replace", "path": "members", "value": []}]), vec![Replace(vec![])]),
        (json!([{"op": "remove", "path": "members"}]), vec![RemoveAll]),
    ] {
        let found = members(list.clone()).unwrap_or_else(|e| panic!("{list}: {e}"));
        assert_eq!((found.members, found.others), (expected, vec![]), "{list}");
    }
    let both = members(json!([
        {"op": "replace", "value": {"displayName": "x", "members": [{"value": "a"}]}},
        {"op": "add", "path": "members", "value": [{"value": "b"}]},
    ]))
    .unwrap();
    assert_eq!(both.members, [Replace(ids(&["a"])), Add(ids(&["b"]))]);
    assert_eq!(both.others.len(), 1);
    for (list, expected) in [
        (json!([{"op": "remove", "path": "members", "value": []}]), ScimType::InvalidValue),
        (json!([{"op": "remove", "path": "members", "value": null}]), ScimType::InvalidValue),
        (json!([{"op": "remove", "path": "members", "value": [{}]}]), ScimType::InvalidValue),
        (json!([{"op": "remove", "path": "members", "value": [{"value": ""}]}]), ScimType::InvalidValue),
        (json!([{"op": "add", "path": "members", "value": [{"display": "x"}]}]), ScimType::InvalidValue),
        (json!([{"op": "remove", "path": "members[display eq \"x\"]"}]), ScimType::InvalidPath),
        (json!([{"op": "remove", "path": "members[value ne \"x\"]"}]), ScimType::InvalidPath),
        (
            json!([{"op": "replace", "path": "members[value eq \"a\"].value", "value": "b"}]),
            ScimType::Mutability,
        ),
        (json!([{"op": "replace", "path": "members.display", "value": "b"}]), ScimType::Mutability),
        (json!([{"op": "remove", "value": {"members": [{"value": "a"}]}}]), ScimType::NoTarget),
    ] {
        assert_eq!(members(list.clone()).map_err(|e| e.scim_type), Err(expected), "{list}");
    }
}
