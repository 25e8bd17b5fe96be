//! What 389 Directory Server computes, by classes of service and roles, is no value of the entry: neither in a mirror nor for a record.

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::{Run, pipe};
use ldap_tests::server::Server;
use serde_json::{Value, json};

use crate::support::{tap_config, target_config, with};

const SUFFIX: &str = "dc=example,dc=test";

/// A person, and a class of service that gives everybody a title.
fn company(qualifier: &str) -> String {
    format!(
        "dn: uid=eve,{SUFFIX}\nobjectClass: inetOrgPerson\nuid: eve\ncn: eve\nsn: eve\n\n\
         dn: cn=template,{SUFFIX}\nobjectClass: extensibleObject\nobjectClass: cosTemplate\nobjectClass: ldapSubEntry\ncn: template\ntitle: Company Title\n\n\
         dn: cn=cos,{SUFFIX}\nobjectClass: ldapSubEntry\nobjectClass: cosSuperDefinition\nobjectClass: cosPointerDefinition\ncn: cos\n\
         cosTemplateDn: cn=template,{SUFFIX}\ncosAttribute: title {qualifier}\n\n"
    )
}

fn title(server: &Server) -> Option<String> {
    let tree = server.dump_below(&format!("uid=eve,{SUFFIX}"), &["title"]);
    let values = tree.values().next()?.get("title")?;
    values.iter().next().map(|value| String::from_utf8(value.clone()).unwrap())
}

#[test]
fn a_mirror_of_own_values_has_none_that_is_computed() {
    let source = Ds389::start(&Ds389Options::default().seed(company("default")));
    let mirror = Ds389::start(&Ds389Options::default());
    assert_eq!(title(&source).as_deref(), Some("Company Title"));
    let own = json!({"own_values": true, "select_by_default": "allowed"});
    let copy = || {
        let (tap, target) = pipe(&with(&tap_config(&source), &own), &target_config(&mirror));
        tap.succeeds();
        target.succeeds();
    };
    copy();
    assert_eq!(title(&mirror), None);
    // A value of its own is another matter.
    let eve = format!("dn: uid=eve,{SUFFIX}\nchangetype: modify\n");
    source.ldapmodify(format!("{eve}replace: title\ntitle: Own\n"));
    copy();
    assert_eq!(title(&mirror).as_deref(), Some("Own"));
    source.ldapmodify(format!("{eve}delete: title\n"));
    copy();
    assert_eq!(title(&mirror), None);
}

#[test]
fn a_record_is_compared_with_what_the_entry_has() {
    let server = Ds389::start(&Ds389Options::default().seed(company("override")));
    let rule = json!({"dn_template": format!("uid={{uid}},{SUFFIX}"), "object_classes": ["inetOrgPerson"]});
    let config = with(&target_config(&server), &json!({"mapping_rules": {"users": rule}}));
    let schema = json!({"type": "SCHEMA", "stream": "users", "key_properties": ["uid"],
                        "schema": {"type": "object", "properties": {"uid": {"type": "string"}, "title": {}}}});
    let run = |title: Value| {
        let record = json!({"uid": "eve", "title": title});
        let record = json!({"type": "RECORD", "stream": "users", "record": record});
        Run::target(&config).messages(&[schema.clone(), record]).run().succeeds()
    };
    // There is nothing to remove.
    run(Value::Null).counts(&[("unchanged", 1)]);
    let shown = json!({"dn": format!("uid=eve,{SUFFIX}"), "attribute": "title"});
    run(json!("Boss")).counts(&[("modified", 1)]).reports(&shown);
    // Written once, and not kept quiet about.
    run(json!("Boss")).counts(&[("unchanged", 1)]).reports(&shown);
    run(Value::Null).counts(&[("modified", 1)]);
    run(Value::Null).counts(&[("unchanged", 1)]);
}
