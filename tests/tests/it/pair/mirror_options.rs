//! What a mirror has of an attribute under options (`mail;lang-en`), once the source has it no more.

use ldap_tests::run::{Output, Run, pipe};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{tap_config, target_config, with};

const SUFFIX: &str = "dc=example,dc=test";

fn slapds() -> (Slapd, Slapd) {
    let entries = format!(
        "dn: uid=max,{SUFFIX}\nobjectClass: inetOrgPerson\nuid: max\ncn: max\nsn: max\nmail: m@x\nmail;lang-en: e@x\n\
         description: only\n\ndn: cn=g,{SUFFIX}\nobjectClass: groupOfNames\ncn: g\nmember: uid=max,{SUFFIX}\n\
         member;lang-en: uid=bob,{SUFFIX}\n\n"
    );
    (Slapd::start(SlapdOptions::default().seed(entries)), Slapd::start(SlapdOptions::default()))
}

fn guide(source: &Slapd) -> Value {
    with(&tap_config(source), &json!({"select_by_default": "allowed"}))
}

#[track_caller]
fn copy(tap: &Value, target: &Value) -> Output {
    let (tap, target) = pipe(tap, target);
    tap.succeeds();
    target.succeeds()
}

/// The last value in the whole directory: no stream has a property for it any more.
#[test]
fn the_last_value_under_an_option_goes_with_that_of_the_source() {
    let (source, mirror) = slapds();
    let target = target_config(&mirror);
    copy(&guide(&source), &target);
    assert_eq!(mirror.dump(), source.dump());
    source.ldapmodify(format!(
        "dn: uid=max,{SUFFIX}\nchangetype: modify\ndelete: mail;lang-en\n-\ndelete: description\n\n\
         dn: cn=g,{SUFFIX}\nchangetype: modify\ndelete: member;lang-en\n\n"
    ));
    let plan = Run::target(&target).arg("--dry-run");
    let plan = plan.stdin(Run::tap(&guide(&source)).run().succeeds().stdout).run().succeeds();
    plan.counts(&[("modified", 2)]);
    copy(&guide(&source), &target).counts(&[("modified", 2)]);
    assert_eq!(mirror.dump(), source.dump());
}

/// Many entries, which the target reads at once.
#[test]
fn entries_that_are_read_in_advance_lose_it_as_well() {
    let (source, mirror) = slapds();
    source.ldapadd(crate::support::people(600, SUFFIX));
    let target = target_config(&mirror);
    copy(&guide(&source), &target);
    mirror.ldapmodify(format!(
        "dn: uid=person599,{SUFFIX}\nchangetype: modify\nadd: sn;lang-fr\nsn;lang-fr: more\n\n"
    ));
    copy(&guide(&source), &target).counts(&[("modified", 1)]);
    assert_eq!(mirror.dump(), source.dump());
}

/// A rule that maps properties leaves what others wrote, unless it says something else.
#[test]
fn a_rule_keeps_the_options_of_others() {
    let (_, directory) = slapds();
    directory.ldapadd(format!(
        "dn: uid=eve,{SUFFIX}\nobjectClass: inetOrgPerson\nuid: eve\ncn: eve\nsn: eve\nmail: m@x\nmail;lang-en: e@x\n\n"
    ));
    let schema = json!({"type": "SCHEMA", "stream": "hr", "key_properties": ["id"],
        "schema": {"properties": {"id": {"type": "string"}, "mail": {"type": ["null", "string"]}}}});
    let record = json!({"type": "RECORD", "stream": "hr", "record": {"id": "eve", "mail": null}});
    let rule = |more: Value| {
        let rule =
            json!({"dn_template": format!("uid={{id}},{SUFFIX}"), "attribute_mapping": {"mail": "mail"}});
        with(&target_config(&directory), &json!({"mapping_rules": {"hr": with(&rule, &more)}}))
    };
    let run = |config: &Value| Run::target(config).messages(&[schema.clone(), record.clone()]).run();
    run(&rule(json!({}))).succeeds();
    let eve = || directory.dump().remove(&format!("uid=eve,{SUFFIX}")).unwrap();
    assert!(eve().contains_key("mail;lang-en") && !eve().contains_key("mail"));
    run(&rule(json!({"other_options": "remove"}))).succeeds();
    assert!(!eve().contains_key("mail;lang-en"));
    run(&rule(json!({"other_options": "drop"}))).exits(2).reports_setting("mapping_rules.hr.other_options");
}

/// What the tap may not read says nothing about options either.
#[test]
fn options_of_a_hidden_attribute_stay() {
    let (_, mirror) = slapds();
    mirror.ldapadd(format!(
        "dn: uid=eve,{SUFFIX}\nobjectClass: inetOrgPerson\nuid: eve\ncn: eve\nsn: eve\nmail: m@x\nmail;lang-en: e@x\n\n"
    ));
    let property = json!({"type": ["null", "array"], "items": {"type": "string"}});
    let schema = json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"],
        "schema": {"properties": {"dn": {"type": "string"}, "objectClass": property, "mail": property, "sn": property}}});
    let record = json!({"type": "RECORD", "stream": "all", "record": {"dn": format!("uid=eve,{SUFFIX}"),
        "objectClass": ["inetOrgPerson"], "sn": ["Eve"]}});
    let before = mirror.dump();
    Run::target(&target_config(&mirror)).messages(&[schema, record]).run().succeeds();
    assert_eq!(mirror.dump(), before);
}
