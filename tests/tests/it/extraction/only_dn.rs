//! `--only-dn`: one entry alone, as a whole run prints it, and nothing else.

use ldap_tests::run::{Output, Run, pipe_runs};
use ldap_tests::samba::{SUFFIX as AD, Samba};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{people, tap_config, target_config, unit, with};

const SUFFIX: &str = "dc=example,dc=test";
const PERSON: &str = "uid=person1,ou=a,dc=example,dc=test";
const GROUP: &str = "cn=all,ou=b,dc=example,dc=test";

fn seed() -> String {
    let group = format!(
        "dn: {GROUP}\nobjectClass: groupOfNames\ncn: all\nmember: uid=person0,ou=a,{SUFFIX}\nmember: {PERSON}\n"
    );
    let units: String =
        ["ou=a", "ou=inner,ou=a", "ou=b"].map(|name| unit(&format!("{name},{SUFFIX}"))).concat();
    units + &people(3, &format!("ou=a,{SUFFIX}")) + &group
}

fn slapd() -> Slapd {
    Slapd::start(SlapdOptions::default().seed(seed()))
}

/// What is compared of the messages about one entry: without times and versions.
fn messages(output: &Output, kind: &str, dn: &str) -> Vec<Value> {
    let is_about = |message: &&&Value| {
        kind != "RECORD"
            || [&message["record"]["dn"], &message["record"]["group_dn"]].iter().any(|of| **of == dn)
    };
    let bare = |message: &&Value| {
        let mut bare = (*message).clone();
        for key in ["time_extracted", "version"] {
            bare.as_object_mut().unwrap().remove(key);
        }
        bare
    };
    output.of_type(kind).iter().filter(is_about).map(bare).collect()
}

/// Runs whole and with `--only-dn`, and compares. Returns the names of the streams that have the entry.
#[track_caller]
fn compare(config: &Value, dn: &str) -> Vec<String> {
    let folder = scratch();
    let state_dir = folder.path().join("state");
    let config = with(config, &json!({"state_dir": state_dir, "track_deletions": true}));
    let only = Run::tap(&config).arg("--only-dn").arg(dn).run().succeeds();
    assert!(!state_dir.exists(), "an index");
    let whole = Run::tap(&config).run().succeeds();
    let records = messages(&only, "RECORD", dn);
    assert_eq!(records, messages(&whole, "RECORD", dn));
    assert_eq!(only.records(None).len(), records.len(), "{:?}", only.records(None));
    for kind in ["STATE", "ACTIVATE_VERSION"] {
        assert_eq!(only.of_type(kind).len(), 0, "{kind}");
    }
    assert!(only.of_type("RECORD").iter().all(|record| record.get("version").is_none()));
    let schemas = messages(&only, "SCHEMA", dn);
    let of_whole = messages(&whole, "SCHEMA", dn);
    assert!(schemas.iter().all(|schema| of_whole.contains(schema)), "{schemas:?}");
    let names: Vec<String> =
        schemas.iter().map(|schema| schema["stream"].as_str().unwrap().to_owned()).collect();
    assert!(records.iter().all(|record| names.iter().any(|name| record["stream"] == **name)));
    names
}

#[test]
fn an_entry_is_printed_as_in_a_whole_run_and_nothing_else() {
    let slapd = slapd();
    let config = tap_config(&slapd);
    assert_eq!(compare(&config, PERSON), ["a"]);
    assert_eq!(compare(&with(&config, &json!({"discover_by": "object_class"})), PERSON), ["inet_org_person"]);
    assert_eq!(compare(&config, &format!("ou=inner,ou=a,{SUFFIX}")).len(), 1);
    assert_eq!(compare(&with(&config, &json!({"membership_streams": true})), GROUP), ["b", "b_members"]);
    let streams = json!({"schemas": [
        {"name": "all"}, {"name": "others", "filter": "(uid=person0)"}, {"name": "below", "base_dn": format!("ou=b,{SUFFIX}")},
        {"name": "log", "replication_method": "LOG_BASED"}, {"name": "new", "replication_method": "INCREMENTAL"},
        {"name": "one", "base_dn": format!("ou=a,{SUFFIX}"), "scope": "one"}, {"name": "base", "scope": "base"}]});
    assert_eq!(compare(&with(&config, &streams), PERSON), ["all", "log", "new", "one"]);
}

#[test]
fn on_active_directory_and_in_a_file_it_is_the_same() {
    let samba = Samba::start("");
    let stream = json!({"schemas": [{"name": "users", "base_dn": format!("CN=Users,{AD}"), "replication_method": "LOG_BASED"}]});
    assert_eq!(
        compare(&with(&tap_config(&samba), &stream), &format!("CN=Administrator,CN=Users,{AD}")),
        ["users"]
    );
    let folder = scratch();
    let file = folder.path().join("all.ldif");
    std::fs::write(&file, format!("dn: {SUFFIX}\nobjectClass: domain\ndc: example\n\n{}", seed())).unwrap();
    let config = json!({"server_url": format!("ldif:{}", file.display()), "base_dn": SUFFIX});
    assert_eq!(compare(&config, PERSON), ["a"]);
}

#[test]
fn what_is_not_there_or_in_no_stream_is_named() {
    let slapd = slapd();
    let config = tap_config(&slapd);
    let only = |changes: Value, dn: &str| {
        let output = Run::tap(&with(&config, &changes)).arg("--only-dn").arg(dn).run().exits(2);
        assert_eq!(output.records(None).len(), 0);
        output.reports(&json!({"setting": "--only-dn"}))
    };
    only(json!({}), &format!("uid=persn1,ou=a,{SUFFIX}")).reports(&json!({"nearest": PERSON}));
    only(json!({}), "person1");
    only(json!({}), "");
    only(json!({"exclude_base_dns": [format!("ou=a,{SUFFIX}")]}), PERSON);
    only(json!({"schemas": [{"name": "others", "filter": "(uid=person0)"}]}), PERSON);
    only(json!({"schemas": [{"name": "others", "base_dn": format!("ou=b,{SUFFIX}")}]}), PERSON);
}

/// One person is tried, and what the target has of the others stays.
#[test]
fn a_mirror_keeps_what_was_not_read() {
    let slapd = slapd();
    let mirror = Slapd::start(SlapdOptions::default());
    let source = with(
        &tap_config(&slapd),
        &json!({"schemas": [{"name": "all", "base_dn": format!("ou=a,{SUFFIX}")}]}),
    );
    let target = with(
        &target_config(&mirror),
        &json!({"mapping_rules": {"all": {"scope_base": format!("ou=a,{SUFFIX}")}}}),
    );
    let (tap, loaded) = pipe_runs(&Run::tap(&source), &Run::target(&target));
    tap.succeeds();
    loaded.succeeds();
    slapd.ldapmodify(format!("dn: {PERSON}\nchangetype: modify\nreplace: title\ntitle: tried\n"));
    let (tap, loaded) = pipe_runs(&Run::tap(&source).arg("--only-dn").arg(PERSON), &Run::target(&target));
    tap.succeeds();
    loaded.succeeds().counts(&[("modified", 1), ("deleted", 0)]);
    let below = format!("ou=a,{SUFFIX}");
    assert_eq!(mirror.dump_below(&below, &["title"]), slapd.dump_below(&below, &["title"]));
}
