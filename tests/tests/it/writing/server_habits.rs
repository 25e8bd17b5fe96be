//! What one kind of server does with values, and a run has to know before.

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::Run;
use ldap_tests::samba::{SUFFIX, Samba};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, done, state, target_config, unit, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";

fn schema() -> Value {
    let texts = json!({"type": ["null", "array", "string", "integer"]});
    json!({"type": "SCHEMA", "stream": "s", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": texts, "fax": texts, "title": texts, "a": texts, "b": texts}}})
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

/// Active Directory refuses to delete these: they get the value of a new account, or the plan says that it is refused.
#[test]
fn what_active_directory_never_deletes_is_reset_or_refused_in_the_plan_too() {
    let samba = Samba::start("");
    let dn = format!("CN=a,CN=Users,{SUFFIX}");
    samba.ldapadd(format!(
        "dn: {dn}\nobjectClass: user\nsAMAccountName: a\ncountryCode: 276\ncodePage: 1252\n"
    ));
    let dir = scratch();
    let config = |a: &str, b: &str| {
        let rule = json!({"dn_template": format!("CN={{id}},CN=Users,{SUFFIX}"), "attribute_mapping": {"id": "cn", "a": a, "b": b}});
        with(
            &target_config(&samba),
            &json!({"default_base_dn": null, "mapping_rules": {"s": rule}, "on_error": "skip",
                "reject_file": dir.path().join("r.jsonl")}),
        )
    };
    let messages = [schema(), record(&json!({"id": "a", "a": null, "b": null})), state()];
    let both = config("countryCode", "codePage");
    let plan = Run::target(&both).arg("--dry-run").messages(&messages).run().succeeds();
    plan.counts(&[("modified", 1)]);
    done(Run::target(&both).messages(&messages).run()).counts(&[("modified", 1)]);
    let entry = samba.dump_below(&dn, &["countryCode", "codePage"]).into_values().next().unwrap();
    for name in ["countrycode", "codepage"] {
        assert_eq!(entry[name].iter().next().unwrap(), b"0", "{name}");
    }
    done(Run::target(&both).messages(&messages).run()).counts(&[("unchanged", 1)]);
    for name in ["sAMAccountName", "primaryGroupID"] {
        let config = config(name, "title");
        let plan = Run::target(&config).arg("--dry-run").messages(&messages).run();
        plan.exits(4).counts(&[("rejected", 1)]).reports_code(53);
        Run::target(&config).messages(&messages).run().exits(4).counts(&[("rejected", 1)]).reports_code(53);
    }
}

/// 389 Directory Server stores another name, without an error.
#[test]
fn a_name_that_ds389_would_change_is_refused_before() {
    let server = Ds389::start(&Ds389Options { seed: vec![unit(PEOPLE)], ..Ds389Options::default() });
    let dir = scratch();
    let file = dir.path().join("r.jsonl");
    let rule = json!({"dn_template": format!("uid={{id}},{PEOPLE}"), "object_classes": ["account"], "attribute_mapping": {"id": "uid"}});
    let config = with(
        &target_config(&server),
        &json!({"mapping_rules": {"s": rule}, "on_error": "skip", "reject_file": file}),
    );
    let messages = [schema(), record(&json!({"id": "x\u{0}y"})), record(&json!({"id": "good"})), state()];
    for (args, good) in [(vec!["--dry-run"], "added"), (vec![], "added"), (vec![], "unchanged")] {
        let run = args.into_iter().fold(Run::target(&config), Run::arg);
        run.messages(&messages).run().exits(4).counts(&[("rejected", 1), (good, 1)]);
    }
    let tree = server.dump_below(PEOPLE, &["uid"]);
    assert_eq!(tree.len(), 2, "{tree:?}");
}
