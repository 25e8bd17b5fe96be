//! A mapped property that the SCHEMA does not have: an error only if another one was most likely meant.

use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use serde_json::{Value, json};

use crate::support::with;

fn exit_code(mapping: &Value, properties: &[&str], more: &Value) -> i32 {
    let dir = scratch();
    let text = json!({"type": ["null", "string"]});
    let properties: serde_json::Map<String, Value> =
        properties.iter().map(|name| ((*name).to_owned(), text.clone())).collect();
    let rule = with(
        &json!({"dn_template": "uid={id},dc=example,dc=test", "object_classes": ["inetOrgPerson"],
            "attribute_mapping": with(&json!({"id": "uid"}), mapping)}),
        more,
    );
    let config = json!({"server_url": format!("ldif:{}", dir.path().join("d.ldif").display()), "mapping_rules": {"p": rule}});
    let messages = [
        json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"type": "object", "properties": properties}}),
        json!({"type": "RECORD", "stream": "p", "record": {"id": "1"}}),
    ];
    Run::target(&config).messages(&messages).run().code
}

#[test]
fn short_or_numbered_or_used_names_are_not_taken_for_misspelled_ones() {
    for (mapping, properties) in [
        (json!({"cn": "cn"}), &["id", "dn"][..]),
        (json!({"phone2": "telephoneNumber"}), &["id", "phone1"]),
        (json!({"title": "title"}), &["id", "tittle"]),
    ] {
        let used = json!({"values": {"description": "{tittle|default:x}"}});
        assert_eq!(exit_code(&mapping, properties, &used), 0, "{mapping}");
    }
    assert_eq!(exit_code(&json!({"fullname": "cn"}), &["id", "fulname"], &json!({})), 2);
}
