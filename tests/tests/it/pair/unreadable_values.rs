//! A value that the tap cannot read is not one that the entry does not have: a mirror keeps what it has.

use ldap_tests::run::{Run, pipe};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, discover, no_panic, target_config};

const BASE: &str = "dc=example,dc=test";

fn source(text: &str) -> (tempfile::TempDir, Value) {
    let dir = scratch();
    let file = dir.path().join("s.ldif");
    std::fs::write(
        &file,
        format!(
            "dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n\n{text}"
        ),
    )
    .unwrap();
    let config = json!({"server_url": format!("ldif:{}", file.display()), "base_dn": BASE});
    (dir, config)
}

/// A list has a null in its place, a single value no property.
#[test]
fn a_mirror_keeps_the_values_that_the_tap_could_not_read() {
    // The text is Latin-1; 1.5 is no integer.
    let person = |description: &str, number: &str, name: &str| {
        format!(
            "dn: uid=a,{BASE}\nobjectClass: inetOrgPerson\nobjectClass: posixAccount\nuid: a\ncn: a\nsn: a\n{description}\
             {number}gidNumber: 7\nhomeDirectory: /a\n{name}\n\n"
        )
    };
    let (_dir, config) = source(&person(
        "description:: TfxsbGVy\ndescription: new\n",
        "uidNumber: 1.5\n",
        "displayName:: TfxsbGVy",
    ));
    let seed = person("description: old\n", "uidNumber: 5\n", "displayName: Old");
    let copy = Slapd::start(SlapdOptions::default().seed(seed));
    let catalog = discover(&config);
    let records = Run::tap(&config).file("--catalog", &catalog).run().succeeds();
    let mut found = records.records(None).into_iter().filter(|r| r["uid"] == json!(["a"]));
    let record = found.next().unwrap();
    assert_eq!(record["description"].as_array().unwrap().len(), 2, "{record}");
    assert!(record["description"].as_array().unwrap().contains(&Value::Null), "{record}");
    for absent in ["uidNumber", "displayName"] {
        assert!(!record.as_object().unwrap().contains_key(absent), "{absent}: {record}");
    }

    let (tap, target) = pipe(&config, &target_config(&copy));
    let (tap, target) = (tap.succeeds(), target.succeeds());
    no_panic(&tap);
    target.logs(&json!({"level": "warning", "property": "description"}));
    let entry = copy.dump()[&format!("uid=a,{BASE}")].clone();
    assert_eq!(entry["description"], [b"old".to_vec(), b"new".to_vec()].into());
    assert_eq!(entry["uidnumber"], [b"5".to_vec()].into());
    assert_eq!(entry["displayname"], [b"Old".to_vec()].into());
    let before = copy.change_marks();
    let (_, target) = pipe(&config, &target_config(&copy));
    target.succeeds();
    assert_untouched(&copy, &before);
}
