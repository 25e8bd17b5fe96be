//! `exclude_base_dns`: subtrees that are in no stream, by discovery, by every kind of stream, and in files.

use std::collections::BTreeSet;

use ldap_tests::ldif::normalize_dn;
use ldap_tests::run::{Output, Run};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{discover, people, tap_config, unit, with};

const SUFFIX: &str = "dc=example,dc=test";

/// `ou=a` with people and the unit `ou=old`, which has more people than there are elsewhere; a group in `ou=b` that names all of them.
fn seed() -> String {
    let units: String =
        ["ou=a", "ou=old,ou=a", "ou=b"].map(|name| unit(&format!("{name},{SUFFIX}"))).concat();
    let old = people(9, &format!("ou=old,ou=a,{SUFFIX}"))
        .replace("uid=person", "uid=old")
        .replace("uid: person", "uid: old");
    let group = format!(
        "dn: cn=all,ou=b,{SUFFIX}\nobjectClass: groupOfNames\ncn: all\nmember: uid=person0,ou=a,{SUFFIX}\nmember: uid=old1,ou=old,ou=a,{SUFFIX}\n"
    );
    units + &old + &people(2, &format!("ou=a,{SUFFIX}")) + &group
}

fn slapd() -> Slapd {
    Slapd::start(SlapdOptions::default().seed(seed()))
}

/// The DNs of the records, without the suffix.
fn dns(output: &Output) -> BTreeSet<String> {
    let dn =
        |record: &&Value| normalize_dn(record["dn"].as_str().unwrap()).replace(&format!(",{SUFFIX}"), "");
    output.records(None).iter().filter(|record| record["member_dn"].is_null()).map(dn).collect()
}

fn kept() -> BTreeSet<String> {
    [SUFFIX, "ou=a", "ou=b", "uid=person0,ou=a", "uid=person1,ou=a", "cn=all,ou=b"].map(str::to_owned).into()
}

#[test]
fn what_lies_in_them_is_in_no_stream() {
    let slapd = slapd();
    let config = with(&tap_config(&slapd), &json!({"exclude_base_dns": [format!("OU=Old, ou=a,{SUFFIX}")]}));
    for ways in [
        json!({}),
        json!({"discover_by": "object_class"}),
        // The classes occur there first, and a sample of one entry would be one of those.
        json!({"discover_by": "object_class", "discovery_sample_size": 1}),
        json!({"verify": "always"}),
        json!({"page_size": 3}),
        json!({"schemas": [{"name": "all"}]}),
        json!({"schemas": [{"name": "all", "partitions": 2}], "connection_pool_size": 3}),
    ] {
        let config = with(&config, &ways);
        let output = Run::tap(&config).run().succeeds();
        assert_eq!(dns(&output), kept(), "{ways}");
        output.stderr.does_not_report(&json!({"level": "warning"}));
        let ids = discover(&config).to_string().to_lowercase();
        assert!(!ids.contains("ou=old"), "{ways}: {ids}");
    }
}

#[test]
fn members_that_lie_in_them_stay_values() {
    let slapd = slapd();
    let excluded = json!({"exclude_base_dns": [format!("ou=old,ou=a,{SUFFIX}")], "membership_streams": true});
    let output = Run::tap(&with(&tap_config(&slapd), &excluded)).run().succeeds();
    let rows: Vec<&Value> = output.records(Some("b_members"));
    let members: BTreeSet<&str> = rows.iter().filter_map(|row| row["member_dn"].as_str()).collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(members.contains(&*format!("uid=old1,ou=old,ou=a,{SUFFIX}")), "{members:?}");
}

#[test]
fn a_file_is_read_without_them() {
    let folder = scratch();
    let file = folder.path().join("all.ldif");
    let base = format!("dn: {SUFFIX}\nobjectClass: domain\ndc: example\n\n");
    std::fs::write(&file, base + &seed()).unwrap();
    let config = json!({
        "server_url": format!("ldif:{}", file.display()), "base_dn": SUFFIX,
        "exclude_base_dns": [format!("ou=old,ou=a,{SUFFIX}")],
    });
    assert_eq!(dns(&Run::tap(&config).run().succeeds()), kept());
}

#[test]
fn one_that_leaves_no_entry_or_none_out_is_named() {
    let slapd = slapd();
    let with_excluded = |dn: &str, more: Value| {
        Run::tap(&with(&with(&tap_config(&slapd), &json!({"exclude_base_dns": [dn]})), &more)).run()
    };
    let setting = json!({"setting": "exclude_base_dns"});
    with_excluded(SUFFIX, json!({})).exits(2).reports(&setting);
    with_excluded("dc=test", json!({})).exits(2).reports(&setting);
    let stream = json!({"schemas": [{"name": "old", "base_dn": format!("ou=old,ou=a,{SUFFIX}")}]});
    with_excluded(&format!("ou=a,{SUFFIX}"), stream).exits(2).reports(&setting);
    with_excluded("old", json!({})).exits(2).reports(&json!({"setting": "exclude_base_dns[0]"}));
    let output = with_excluded(&format!("ou=odl,ou=a,{SUFFIX}"), json!({})).succeeds();
    output.stderr.has(&json!({
        "level": "warning", "setting": "exclude_base_dns", "nearest": format!("ou=old,ou=a,{SUFFIX}"),
    }));
    let output = with_excluded("ou=a,dc=other", json!({})).succeeds();
    output.stderr.has(&json!({"level": "warning", "setting": "exclude_base_dns"}));
}

#[test]
fn a_catalog_that_selects_one_is_2() {
    let slapd = slapd();
    let catalog = discover(&tap_config(&slapd));
    let config = with(&tap_config(&slapd), &json!({"exclude_base_dns": [format!("ou=old,ou=a,{SUFFIX}")]}));
    Run::tap(&config).file("--catalog", &catalog).run().exits(2).reports(&json!({"setting": "--catalog"}));
}

/// What the setting left out was never read; what it leaves out now was.
#[test]
fn with_another_list_everything_is_read_again() {
    let slapd = slapd();
    let excluded = json!({"exclude_base_dns": [format!("ou=old,ou=a,{SUFFIX}")]});
    for method in ["LOG_BASED", "INCREMENTAL"] {
        let all = json!({"schemas": [{"name": "all", "replication_method": method}]});
        let whole = with(&tap_config(&slapd), &all);
        let part = with(&whole, &excluded);
        let state = |output: &Output| output.of_type("STATE").last().unwrap()["value"].clone();
        let first = Run::tap(&part).run().succeeds();
        let again = Run::tap(&part).file("--state", &state(&first)).run().succeeds();
        assert_eq!(dns(&again).len(), 0, "{method}");
        let more = Run::tap(&whole).file("--state", &state(&first)).run().succeeds();
        assert_eq!(dns(&more).len(), kept().len() + 10, "{method}");
        let less = Run::tap(&part).file("--state", &state(&more)).run().succeeds();
        assert_eq!(dns(&less), kept(), "{method}");
    }
}
