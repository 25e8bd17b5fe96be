//! What one kind of server does with values, and a run has to know before.

use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, done, target_config, unit, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";

fn schema() -> Value {
    let texts = json!({"type": ["null", "array", "string", "integer"]});
    json!({"type": "SCHEMA", "stream": "s", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": texts, "fax": texts, "title": texts, "a": texts, "b": texts}}})
}

fn state() -> Value {
    json!({"type": "STATE", "value": {"n": 1}})
}

fn record(record: &Value) -> Value {
    json!({"type": "RECORD", "stream": "s", "record": record})
}

/// An attribute without EQUALITY: values cannot be added to those that are there.
#[test]
fn an_attribute_without_equality_is_merged_by_its_union() {
    let person = format!("uid=a,{PEOPLE}");
    let seed = format!(
        "{}dn: {person}\nobjectClass: inetOrgPerson\nuid: a\ncn: a\nsn: a\nfacsimileTelephoneNumber: 1\nfacsimileTelephoneNumber: 2\n\n",
        unit(PEOPLE)
    );
    let slapd = Slapd::start(SlapdOptions::default().seed(seed));
    let rule = json!({"dn_template": format!("uid={{id}},{PEOPLE}"),
        "attribute_mapping": {"id": "uid", "fax": "facsimileTelephoneNumber", "title": "title"},
        "policies": {"facsimileTelephoneNumber": "merge"}});
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"s": rule}}));
    let messages = [schema(), record(&json!({"id": "a", "fax": ["2", "3"], "title": "t"})), state()];
    let plan = Run::target(&config).arg("--dry-run").messages(&messages).run().succeeds();
    plan.counts(&[("modified", 1)]);
    done(Run::target(&config).messages(&messages).run()).counts(&[("modified", 1)]);
    let entry = slapd.dump()[&person].clone();
    let values: Vec<&[u8]> = entry["facsimiletelephonenumber"].iter().map(Vec::as_slice).collect();
    assert_eq!((values, entry["title"].len()), (vec![&b"1"[..], b"2", b"3"], 1));
    let before = slapd.change_marks();
    done(Run::target(&config).messages(&messages).run()).counts(&[("unchanged", 1)]);
    assert_untouched(&slapd, &before);
}
