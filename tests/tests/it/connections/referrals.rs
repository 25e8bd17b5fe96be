//! `follow_referrals: follow`: two servers that refer to each other.

use ldap_tests::run::Run;
use ldap_tests::slapd::{Base, Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{people, tap_config, target_config, unit, with};

const REMOTE: &str = "ou=remote,dc=example,dc=test";

fn referral(dn: &str, url: &str) -> String {
    let name = dn.split([',', '=']).nth(1).unwrap();
    format!("dn: {dn}\nobjectClass: referral\nobjectClass: extensibleObject\nou: {name}\nref: {url}\n\n")
}

/// A server with 30 people, and one that refers to it for them.
fn two() -> (Slapd, Slapd) {
    let second = Slapd::start(SlapdOptions::default().seed(unit(REMOTE) + &people(30, REMOTE)));
    let local = unit("ou=local,dc=example,dc=test");
    let first = Slapd::start(
        SlapdOptions::default().seed(local + &referral(REMOTE, &format!("{}/{REMOTE}", second.ldap_uri()))),
    );
    (first, second)
}

fn following(config: &Value, hosts: &[String]) -> Value {
    with(config, &json!({"follow_referrals": "follow", "referral_hosts": hosts, "retry_attempts": 0}))
}

fn host(slapd: &Slapd) -> String {
    format!("127.0.0.1:{}", slapd.ldap_port())
}

#[test]
fn a_search_goes_on_at_the_servers_that_are_listed_and_at_no_other() {
    let (first, second) = two();
    for more in [json!({}), json!({"connection_pool_size": 1}), json!({"page_size": 7})] {
        let tap = with(&with(&tap_config(&first), &json!({"schemas": [{"name": "s"}]})), &more);
        let output =
            Run::tap(&following(&tap, &[host(&second)])).run().succeeds().says("a referral leads to");
        // The suffix, ou=local, ou=remote and the people.
        assert_eq!(output.records(None).len(), 33, "{more}");
        assert_eq!(output.of_type("ACTIVATE_VERSION").len(), 1);
    }
    let tap = with(&tap_config(&first), &json!({"schemas": [{"name": "s"}]}));
    let output = Run::tap(&following(&tap, &["elsewhere.example".to_owned()])).run().succeeds();
    let output = output.says("is not followed").reports(&json!({"stream": "s"}));
    assert_eq!(output.records(None).len(), 2);
    assert!(output.of_type("ACTIVATE_VERSION").is_empty());
    // A base that is kept elsewhere.
    let below = json!({"schemas": [{"name": "s", "base_dn": REMOTE, "scope": "one"}]});
    let output = Run::tap(&following(&with(&tap, &below), &["127.0.0.1".to_owned()])).run().succeeds();
    assert_eq!(output.records(None).len(), 30);
    Run::tap(&with(&tap, &json!({"follow_referrals": "follow"})))
        .run()
        .exits(2)
        .reports_setting("referral_hosts");
}

#[test]
fn a_listed_server_that_is_gone_is_a_failure_and_no_gap() {
    let (first, mut second) = two();
    second.kill();
    let tap = with(&tap_config(&first), &json!({"schemas": [{"name": "s"}]}));
    let output = Run::tap(&following(&tap, &[host(&second)]))
        .run()
        .exits(1)
        .reports(&json!({"dn": REMOTE}))
        .says(&second.ldap_uri());
    assert!(output.of_type("ACTIVATE_VERSION").is_empty());
}

#[test]
fn servers_that_refer_to_each_other_for_ever_come_to_an_end() {
    let mut first = Slapd::start(SlapdOptions::default());
    let second = Slapd::start(
        SlapdOptions::default().seed(referral(REMOTE, &format!("{}/{REMOTE}??sub", first.ldap_uri()))),
    );
    let there = referral(REMOTE, &format!("{}/{REMOTE}??sub", second.ldap_uri()));
    let before = String::from_utf8(first.slapcat()).unwrap();
    first.reload((before + "\n" + &there).as_bytes());
    let tap = with(&tap_config(&first), &json!({"schemas": [{"name": "s"}]}));
    let output = Run::tap(&following(&tap, &["127.0.0.1".to_owned()])).run();
    assert!(output.took.as_secs() < 60 && !output.stderr.contains("panicked"), "{}", output.stderr);
    let output = output.says("is not followed");
    assert!(output.of_type("ACTIVATE_VERSION").is_empty());
}

#[test]
fn a_change_goes_where_its_entry_is_kept() {
    let second = Slapd::start(
        SlapdOptions { base: Base::Suffix, ..SlapdOptions::default() }
            .seed(unit(REMOTE) + &people(3, REMOTE)),
    );
    let first = Slapd::start(
        SlapdOptions::default().seed(referral(REMOTE, &format!("{}/{REMOTE}", second.ldap_uri()))),
    );
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let record = |record: Value| json!({"type": "RECORD", "stream": "s", "record": record});
    let person = |name: &str, sn: &str| json!({"dn": format!("uid={name},{REMOTE}"), "objectClass": ["inetOrgPerson"], "uid": [name], "cn": ["x"], "sn": [sn]});
    let messages = [
        json!({"type": "SCHEMA", "stream": "s", "key_properties": ["dn"], "schema": {"properties": {
            "dn": {"type": "string"}, "_sdc_deleted_at": {"type": ["null", "string"]}, "objectClass": texts, "uid": texts,
            "cn": texts, "sn": texts}}}),
        record(person("new", "New")),
        record(person("person1", "Changed")),
        record(json!({"dn": format!("uid=person2,{REMOTE}"), "_sdc_deleted_at": "2026-01-01T00:00:00Z"})),
    ];
    let target = following(&target_config(&first), &[host(&second)]);
    Run::target(&target).messages(&messages).run().succeeds();
    let there = second.dump_below(REMOTE, &["sn"]);
    let sn = |name: &str| {
        there.get(&format!("uid={name},{REMOTE}")).map(|a| a["sn"].iter().next().unwrap().clone())
    };
    assert_eq!(sn("new").as_deref(), Some(b"New".as_slice()));
    assert_eq!(sn("person1").as_deref(), Some(b"Changed".as_slice()));
    assert_eq!(sn("person2"), None);
    // To a server that is not listed nothing is sent.
    let target = following(&target_config(&first), &["elsewhere.example".to_owned()]);
    Run::target(&target).messages(&messages).run().exits(1).reports_code(10);
}
