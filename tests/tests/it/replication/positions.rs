//! A position is only as good as what it was taken from: keys that go back, entries without the key, states of yesterday.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ldap_tests::apacheds::{self, ApacheDs};
use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::{Output, Run};
use ldap_tests::server::{Server, scratch, tool};
use ldap_tests::slapd::{Base, Slapd, SlapdOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::go_on;
use super::mirror::resyncs;
use crate::support::{discover, no_panic, people, reader_config, stream, tap_config, unit, with};

const SUFFIX: &str = "dc=example,dc=test";

/// Runs the tap to its end. What it printed, and the STATE to go on from.
#[track_caller]
fn run(config: &Value, state: Option<&Value>) -> (Output, Value) {
    go_on(Run::tap(config), state)
}

/// A folder with an LDIF file of this content.
fn file(text: &str) -> (TempDir, String) {
    let dir = scratch();
    let path = dir.path().join("directory.ldif");
    std::fs::write(&path, text).unwrap();
    let url = format!("ldif:{}", path.display());
    (dir, url)
}

#[test]
fn the_fingerprints_of_yesterday_are_known() {
    let (_dir, url) = file(
        "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\
         entryUUID: 11111111-1111-4111-8111-111111111111\n\
         createTimestamp: 20260101000000Z\nmodifyTimestamp: 20260101000000Z\n\n\
         dn: cn=a,dc=example,dc=test\nobjectClass: device\ncn: a\n\
         entryUUID: 22222222-2222-4222-8222-222222222222\n\
         createTimestamp: 20260102000000Z\nmodifyTimestamp: 20260103000000Z\n\n",
    );
    // As the version before printed them, letter by letter.
    let first = r#"{"bookmarks":{"all":{"format":1,"replication_method":"INCREMENTAL","replication_key":"modifyTimestamp","replication_key_value":"2026-01-01T00:00:00Z","fingerprint":"SG-gGhmEQZu6nxdG","boundary":{"2026-01-01T00:00:00":{"count":1,"sum":"Y9JEdngMfb7joXMRSu6sgQ","hashes":["Y9JEdngMfb7joXMRSu6sgQ"]}}}}}"#;
    let second = r#"{"bookmarks":{"all":{"format":1,"replication_method":"INCREMENTAL","replication_key":"modifyTimestamp","replication_key_value":"2026-01-03T00:00:00Z","fingerprint":"hIh2ylmaXbOLDQeQ","boundary":{"2026-01-03T00:00:00":{"count":1,"sum":"Z2ssPilGEhP0sLXiyGPMfA","hashes":["Z2ssPilGEhP0sLXiyGPMfA"]}}}}}"#;
    let third = r#"{"bookmarks":{"all":{"format":1,"replication_method":"INCREMENTAL","replication_key":"modifyTimestamp","replication_key_value":"2026-01-03T00:00:00Z","fingerprint":"RvJ_We8kjophJ7nd","boundary":{"2026-01-03T00:00:00":{"count":1,"sum":"Z2ssPilGEhP0sLXiyGPMfA","hashes":["Z2ssPilGEhP0sLXiyGPMfA"]}},"containers":{"11111111-1111-4111-8111-111111111111":"G0Gbuecb"}}}}"#;
    for (scope, old) in [("base", first), ("one", second), ("sub", third)] {
        let stream = |scope: &str| {
            json!([{"name": "all", "base_dn": SUFFIX, "filter": "(objectClass=*)", "scope": scope, "attributes": ["cn"],
                "replication_method": "INCREMENTAL", "replication_key": "modifyTimestamp"}])
        };
        let config = json!({"server_url": url, "base_dn": SUFFIX, "schemas": stream(scope)});
        let old: Value = serde_json::from_str(old).unwrap();
        let (output, state) = run(&config, Some(&old));
        assert_eq!(resyncs(&output), 0, "{scope}: {}", output.stderr);
        assert!(output.records(None).is_empty(), "{scope}: nothing changed");
        // And those of today say how they were made, and are known as well.
        let print = state["bookmarks"]["all"]["fingerprint"].as_str().unwrap();
        let hash = print.strip_prefix("1:").expect(print);
        assert_eq!(old["bookmarks"]["all"]["fingerprint"], hash);
        let (output, _) = run(&config, Some(&state));
        assert_eq!(resyncs(&output), 0, "{scope}: {}", output.stderr);
        let other = if scope == "sub" { "one" } else { "sub" };
        let (output, _) = run(&with(&config, &json!({"schemas": stream(other)})), Some(&state));
        assert_eq!(resyncs(&output), 1, "{scope}: another scope is another question");
    }
}

#[test]
fn a_renamed_container_may_hold_more_than_the_reader_gets_at_once() {
    let mut seed = unit("ou=old,dc=example,dc=test");
    for n in 0..700 {
        write!(
            seed,
            "dn: uid=m{n},ou=old,{SUFFIX}\nobjectClass: account\nobjectClass: simpleSecurityObject\nuid: m{n}\nuserPassword: x\n\n"
        )
        .unwrap();
    }
    let options = SlapdOptions { base: Base::Users, ..SlapdOptions::default() };
    let slapd = Slapd::start(options.seed(seed));
    for method in ["INCREMENTAL", "LOG_BASED"] {
        let stream = json!([{"name": "all", "base_dn": SUFFIX, "filter": "(uid=m*)", "attributes": ["uid"],
            "replication_method": method}]);
        let config = with(&reader_config(&slapd), &json!({"schemas": stream}));
        let (output, state) = run(&config, None);
        assert_eq!(output.records(None).len(), 700);
        let (old, new) = if method == "INCREMENTAL" { ("old", "new") } else { ("new", "newest") };
        slapd.ldapmodify(format!(
            "dn: ou={old},{SUFFIX}\nchangetype: modrdn\nnewrdn: ou={new}\ndeleteoldrdn: 1\n\n"
        ));
        let (output, state) = run(&config, Some(&state));
        // The log tells of the unit as well, which the filter leaves out.
        let moved: BTreeSet<&str> = output
            .records(None)
            .iter()
            .filter(|record| record["_sdc_deleted_at"].is_null())
            .map(|record| record["dn"].as_str().unwrap())
            .collect();
        assert_eq!(moved.len(), 700, "{method}");
        let suffix = format!(",ou={new},{SUFFIX}");
        assert!(moved.iter().all(|dn| dn.ends_with(&suffix)));
        assert!(run(&config, Some(&state)).0.records(None).is_empty());
    }
}

/// One stream of people by INCREMENTAL, with the key that the tap chooses or this one.
fn by_key(server: &Server, base: &str, key: Option<&str>) -> Value {
    let mut stream = json!({"name": "all", "base_dn": base, "filter": "(uid=*)", "attributes": ["uid", "sn"],
        "replication_method": "INCREMENTAL"});
    if let Some(key) = key {
        stream["replication_key"] = json!(key);
    }
    with(&tap_config(server), &json!({"base_dn": base, "schemas": [stream]}))
}

fn change(dn: &str, n: usize) -> String {
    format!("dn: {dn}\nchangetype: modify\nreplace: sn\nsn: changed {n}\n\n")
}

/// The names in the records of a run.
fn uids(output: &Output) -> BTreeSet<String> {
    let uid = |record: &&Value| record["uid"].as_array().and_then(|v| v[0].as_str()).unwrap().to_owned();
    output.records(None).iter().map(uid).collect()
}

/// Additions that the server refuses, because the entry is there.
fn refused_additions(server: &Server, dn: &str, count: usize) {
    let file = scratch();
    let ldif = format!("dn: {dn}\nobjectClass: inetOrgPerson\nuid: person0\ncn: x\nsn: x\n\n").repeat(count);
    let path = file.path().join("refused.ldif");
    std::fs::write(&path, ldif).unwrap();
    let output = std::process::Command::new(tool("ldapmodify"))
        .args(["-x", "-c", "-a", "-H", &server.ldap_uri(), "-D", &server.admin_dn()])
        .args(["-w", server.admin_password(), "-f"])
        .arg(path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(68), "entryAlreadyExists");
}

#[test]
fn a_counter_that_389_takes_back_loses_no_change() {
    const BASE: &str = "ou=people,dc=example,dc=test";
    let server = Ds389::start(&Ds389Options::default().seed(unit(BASE)).seed(people(20, BASE)));
    let dn = |n: usize| format!("uid=person{n},{BASE}");
    for key in [None, Some("entryusn"), Some("modifyTimestamp")] {
        let config = by_key(&server, SUFFIX, key);
        let (output, state) = run(&config, None);
        assert!(uids(&output).len() >= 20);
        // The change is numbered below the bookmark, and the counter is still there.
        refused_additions(&server, &dn(0), 5);
        server.ldapmodify(change(&dn(7), 1));
        let (output, state) = run(&config, Some(&state));
        assert!(uids(&output).contains("person7"), "{key:?}: {}", output.stderr);
        // The same, and the counter has passed the bookmark again.
        refused_additions(&server, &dn(0), 5);
        server.ldapmodify(change(&dn(8), 2));
        for n in 0..12 {
            server.ldapmodify(change(&dn(9), n));
        }
        let (output, state) = run(&config, Some(&state));
        assert!(uids(&output).is_superset(&["person8", "person9"].map(str::to_owned).into()), "{key:?}");
        assert_eq!(resyncs(&output), 0, "{key:?}: {}", output.stderr);
        // What did not change does not come again.
        let (output, _) = run(&config, Some(&state));
        assert!(output.records(None).is_empty(), "{key:?}: {:?}", uids(&output));
    }
}

#[test]
fn a_counter_of_389_that_stands_below_its_entries_is_one_resync() {
    const BASE: &str = "ou=people,dc=example,dc=test";
    let mut server = Ds389::start(&Ds389Options::default().seed(unit(BASE)).seed(people(20, BASE)));
    let dn = |n: usize| format!("uid=person{n},{BASE}");
    // An import begins the counter anew, and refused additions take it below zero, which 389 writes as a very large number.
    let backup = server.export();
    server.import(&backup);
    refused_additions(&server, &dn(0), 6);
    let config = by_key(&server, BASE, Some("entryusn"));
    let (_, mut state) = run(&config, None);
    for n in 0..4 {
        if n == 2 {
            // Further down: what was counted twice nobody knows.
            refused_additions(&server, &dn(0), 5);
            let (output, next) = run(&config, Some(&state));
            assert_eq!(resyncs(&output), 1, "{}", output.stderr);
            state = next;
        }
        server.ldapmodify(change(&dn(n), n));
        let (output, next) = run(&config, Some(&state));
        assert_eq!(resyncs(&output), 0, "{n}: {}", output.stderr);
        assert_eq!(uids(&output), BTreeSet::from([format!("person{n}")]));
        state = next;
    }
    assert!(run(&config, Some(&state)).0.records(None).is_empty());
}

#[test]
fn a_389_that_was_imported_anew_is_noticed() {
    const BASE: &str = "ou=people,dc=example,dc=test";
    let mut server = Ds389::start(&Ds389Options::default().seed(unit(BASE)).seed(people(20, BASE)));
    let dn = |n: usize| format!("uid=person{n},{BASE}");
    let backup = server.export();
    for key in [None, Some("modifyTimestamp")] {
        for changes in [1, 60] {
            for n in 0..20 {
                server.ldapmodify(change(&dn(n), 3));
            }
            let config = by_key(&server, SUFFIX, key);
            let (_, state) = run(&config, None);
            server.import(&backup);
            // Few changes, and so many that the counter has passed the bookmark.
            for n in 0..changes {
                server.ldapmodify(change(&dn(5), n));
            }
            server.ldapadd(format!(
                "dn: uid=new,{BASE}\nobjectClass: inetOrgPerson\nuid: new\ncn: x\nsn: x\n\n"
            ));
            let (output, state) = run(&config, Some(&state));
            assert_eq!(resyncs(&output), 1, "{key:?} {changes}: {}", output.stderr);
            assert!(uids(&output).len() >= 21, "{key:?} {changes}: all are read");
            let (output, _) = run(&config, Some(&state));
            assert_eq!((resyncs(&output), output.records(None).len()), (0, 0), "{key:?} {changes}");
        }
    }
}

#[test]
fn a_slapd_that_was_restored_is_noticed() {
    const BASE: &str = "ou=people,dc=example,dc=test";
    for key in ["entryCSN", "modifyTimestamp", "createTimestamp"] {
        for syncprov in [true, false] {
            // Without it there is no contextCSN to tell.
            let mut options = SlapdOptions::default().seed(unit(BASE)).seed(people(20, BASE));
            if !syncprov {
                options.syncprov.clear();
            }
            if !syncprov && key == "createTimestamp" {
                continue;
            }
            let mut slapd = Slapd::start(options);
            let dn = |n: usize| format!("uid=person{n},{BASE}");
            let backup = slapd.slapcat();
            std::thread::sleep(std::time::Duration::from_millis(1_100));
            slapd.ldapmodify(change(&dn(3), 1));
            let config = by_key(&slapd, BASE, Some(key));
            let (_, state) = run(&config, None);
            slapd.reload(&backup);
            let (output, state) = run(&config, Some(&state));
            assert_eq!(resyncs(&output), 1, "{key} {syncprov}: {}", output.stderr);
            assert_eq!(uids(&output).len(), 20);
            let (output, _) = run(&config, Some(&state));
            assert_eq!(resyncs(&output), 0, "{key} {syncprov}: {}", output.stderr);
        }
    }
}

#[test]
fn apacheds_stamps_a_modification_alone_and_additions_are_read_all_the_same() {
    let server = ApacheDs::shared();
    let base = format!("ou=positions,{}", apacheds::SUFFIX);
    server.ldapadd(unit(&base) + &people(5, &base));
    let config = by_key(&server, &base, None);
    let (output, state) = run(&config, None);
    assert_eq!(output.records(None).len(), 5);
    assert_eq!(state["bookmarks"]["all"]["replication_key"], "modifyTimestamp");
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    server.ldapadd(format!("dn: uid=new,{base}\nobjectClass: inetOrgPerson\nuid: new\ncn: x\nsn: x\n\n"));
    let (output, state) = run(&config, Some(&state));
    assert_eq!(uids(&output), BTreeSet::from(["new".to_owned()]), "{}", output.stderr);
    server.ldapmodify(change(&format!("uid=person2,{base}"), 1));
    let (output, state) = run(&config, Some(&state));
    assert_eq!(uids(&output), BTreeSet::from(["person2".to_owned()]));
    let (output, _) = run(&config, Some(&state));
    assert!(output.records(None).is_empty());
    // Its content synchronization leaves out modifications: it is not offered, and what is, is said.
    let mut log = config;
    log["schemas"][0]["replication_method"] = json!("LOG_BASED");
    let output = Run::tap(&log).run().exits(2).says("LOG_BASED").says("INCREMENTAL");
    no_panic(&output);
    assert!(output.of_type("RECORD").is_empty());
}

/// An entry of a file, with these lines of its own.
fn device(name: &str, lines: &str) -> String {
    format!("dn: cn={name},{SUFFIX}\nobjectClass: device\ncn: {name}\n{lines}\n")
}

fn domain(lines: &str) -> String {
    format!("dn: {SUFFIX}\nobjectClass: domain\ndc: example\n{lines}\n")
}

fn of_file(url: &str, changes: &Value) -> Value {
    let mut stream = json!({"name": "all", "filter": "(cn=*)", "attributes": ["cn", "serialNumber"]});
    for (key, value) in changes.as_object().unwrap() {
        stream[key] = value.clone();
    }
    json!({"server_url": url, "base_dn": SUFFIX, "discovery_sample_size": 2, "schemas": [stream]})
}

#[test]
fn a_file_whose_entries_were_never_modified_is_followed() {
    let created = |day: u32| format!("createTimestamp: 202601{day:02}000000Z\n");
    let text = domain(&created(1)) + &device("a", &created(2)) + &device("b", &created(3));
    let (dir, url) = file(&text);
    let config = of_file(&url, &json!({"replication_method": "INCREMENTAL"}));
    let (output, state) = run(&config, None);
    assert_eq!(output.records(None).len(), 2);
    assert_eq!(state["bookmarks"]["all"]["replication_key"], "modifyTimestamp");
    let path = dir.path().join("directory.ldif");
    let modified = format!("{}modifyTimestamp: 20260105000000Z\n", created(2));
    let text =
        domain(&created(1)) + &device("a", &modified) + &device("b", &created(3)) + &device("c", &created(4));
    std::fs::write(&path, &text).unwrap();
    let (output, state) = run(&config, Some(&state));
    let names: BTreeSet<&str> = output.records(None).iter().map(|r| r["dn"].as_str().unwrap()).collect();
    assert_eq!(names, BTreeSet::from(["cn=a,dc=example,dc=test", "cn=c,dc=example,dc=test"]));
    // One without either is in no delta: that is said, with its name.
    std::fs::write(&path, text + &device("d", "")).unwrap();
    let mut again = Run::tap(&config).file("--state", &state);
    for _ in 0..2 {
        let output = again.run().exits(2).says("cn=d,dc=example,dc=test").says("replication_key");
        no_panic(&output);
        assert!(output.of_type("RECORD").is_empty() && output.of_type("STATE").is_empty());
        // In a first read, too.
        again = Run::tap(&config);
    }
}

#[test]
fn a_directory_that_went_back_in_a_file_is_noticed() {
    let entry = |name: &str, n: u32, day: u32| {
        device(
            name,
            &format!(
                "entryUUID: {n:08x}-0000-4000-8000-000000000000\ncreateTimestamp: 20260101000000Z\nmodifyTimestamp: 202601{day:02}000000Z\n"
            ),
        )
    };
    let base = domain("entryUUID: 00000000-0000-4000-8000-000000000000\nmodifyTimestamp: 20260101000000Z\n");
    let (dir, url) = file(&(base.clone() + &entry("a", 1, 2) + &entry("b", 2, 20)));
    let config = of_file(&url, &json!({"replication_method": "INCREMENTAL"}));
    let (_, state) = run(&config, None);
    // An older export in its place: `b` as it was before, and `a` with a change that lies before the bookmark.
    std::fs::write(dir.path().join("directory.ldif"), base + &entry("a", 1, 12) + &entry("b", 2, 3)).unwrap();
    let (output, state) = run(&config, Some(&state));
    assert_eq!(resyncs(&output), 1, "{}", output.stderr);
    assert_eq!(output.records(None).len(), 2);
    assert_eq!(resyncs(&run(&config, Some(&state)).0), 0);
}

#[test]
fn no_record_of_a_file_has_a_null_key() {
    let id = |n: u32| format!("entryUUID: {n:08x}-0000-4000-8000-000000000000\nserialNumber: s{n}\n");
    let text = domain(&id(0))
        + &device("a", &id(1))
        + &device("b", &id(2))
        + &device("c", &id(3))
        + &device("d", "");
    let (_dir, url) = file(&text);
    // Discovery looks at all entries, however few it takes for its sample.
    let output = Run::tap(&of_file(&url, &json!({}))).run().succeeds();
    assert_eq!(output.of_type("SCHEMA")[0]["key_properties"], json!(["dn"]));
    assert_eq!(output.records(None).len(), 4);
    // One that is no UUID is none.
    let (_dir_of_invalid, invalid) = file(&text.replace(&id(3), "entryUUID: INVALID\nserialNumber: s3\n"));
    let output = Run::tap(&of_file(&invalid, &json!({}))).run().succeeds();
    assert_eq!(output.of_type("SCHEMA")[0]["key_properties"], json!(["dn"]));
    assert_eq!(output.records(None).len(), 4);
    // A key of the user's own, of one part or of several.
    for keys in [json!(["entryUUID"]), json!(["serialNumber"]), json!(["dn", "serialNumber"])] {
        let output = Run::tap(&of_file(&url, &json!({"key_properties": keys})))
            .run()
            .exits(1)
            .says("cn=d,dc=example,dc=test")
            .says(keys.as_array().unwrap().last().unwrap().as_str().unwrap());
        no_panic(&output);
        for record in output.records(None) {
            assert!(keys.as_array().unwrap().iter().all(|k| !record[k.as_str().unwrap()].is_null()));
        }
        assert!(output.of_type("ACTIVATE_VERSION").is_empty() && output.of_type("STATE").is_empty());
    }
}

#[test]
fn no_record_has_a_null_key_where_the_id_is_hidden() {
    let (open, hidden) = ("ou=a,dc=example,dc=test", "ou=z,dc=example,dc=test");
    let access = format!(
        "access to dn.subtree=\"{hidden}\" attrs=entryUUID by dn.exact=\"cn=admin,{SUFFIX}\" write by * none\n"
    );
    let options = SlapdOptions { base: Base::Users, access, ..SlapdOptions::default() };
    let slapd =
        Slapd::start(options.seed(unit(open)).seed(people(20, open)).seed(unit(hidden)).seed(
            people(3, hidden).replace("uid=person", "uid=hidden").replace("uid: person", "uid: hidden"),
        ));
    let config = |sample: u32, method: &str| {
        let stream = json!([{"name": "all", "filter": "(employeeNumber=*)", "attributes": ["uid"], "replication_method": method}]);
        with(&reader_config(&slapd), &json!({"schemas": stream, "discovery_sample_size": sample}))
    };
    for method in ["FULL_TABLE", "INCREMENTAL", "LOG_BASED"] {
        let output = Run::tap(&config(5, method)).run().exits(1).says(hidden).says("entryUUID");
        no_panic(&output);
        assert!(output.records(None).iter().all(|record| record["entryUUID"].is_string()), "{method}");
        assert!(output.of_type("ACTIVATE_VERSION").is_empty(), "{method}");
    }
    // Who looks at all entries takes another key.
    let output = Run::tap(&config(0, "FULL_TABLE")).run().succeeds();
    assert_eq!(output.of_type("SCHEMA")[0]["key_properties"], json!(["dn"]));
    assert_eq!(output.records(None).len(), 23);
}

#[test]
fn a_base_that_is_out_of_sight_decides_nothing() {
    const BASE: &str = "ou=people,dc=example,dc=test";
    let access = format!(
        "access to dn.base=\"{SUFFIX}\" by dn.exact=\"cn=admin,{SUFFIX}\" write by users search by * auth\n"
    );
    let options = SlapdOptions { base: Base::Users, access, ..SlapdOptions::default() };
    let slapd = Slapd::start(options.seed(people(5, BASE)));
    let config = |method: &str| {
        let stream = json!([{"name": "all", "filter": "(employeeNumber=*)", "attributes": ["uid", "sn"], "replication_method": method}]);
        with(&reader_config(&slapd), &json!({"schemas": stream}))
    };
    let catalog = discover(&config("INCREMENTAL"));
    let found = stream(&catalog, "all");
    assert_eq!(found["key_properties"], json!(["entryUUID"]));
    assert_eq!(found["replication_key"], "entryCSN");
    for method in ["INCREMENTAL", "LOG_BASED"] {
        let (output, state) = run(&config(method), None);
        assert_eq!(output.records(None).len(), 5, "{method}: {}", output.stderr);
        slapd.ldapmodify(change(&format!("uid=person1,{BASE}"), method.len()));
        let (output, _) = run(&config(method), Some(&state));
        assert_eq!(uids(&output), BTreeSet::from(["person1".to_owned()]), "{method}: {}", output.stderr);
    }
}

#[test]
fn the_key_is_chosen_by_the_streams_own_entries() {
    const BASE: &str = "ou=people,dc=example,dc=test";
    // The server's own key is hidden in the stream, and to be seen at the base.
    let access = format!(
        "access to dn.subtree=\"{BASE}\" attrs=entryCSN by dn.exact=\"cn=admin,{SUFFIX}\" write by * none\n"
    );
    let options = SlapdOptions { base: Base::Users, access, ..SlapdOptions::default() };
    let slapd = Slapd::start(options.seed(people(5, BASE)));
    let stream = json!([{"name": "all", "base_dn": BASE, "filter": "(employeeNumber=*)", "attributes": ["uid", "sn"],
        "replication_method": "INCREMENTAL"}]);
    let config = with(&reader_config(&slapd), &json!({"schemas": stream}));
    let (output, state) = run(&config, None);
    assert_eq!(output.records(None).len(), 5);
    assert_eq!(state["bookmarks"]["all"]["replication_key"], "modifyTimestamp");
    // Who asks for the hidden one is told of the entries.
    let mut by_hidden = config;
    by_hidden["schemas"][0]["replication_key"] = json!("entryCSN");
    let output = Run::tap(&by_hidden).run().exits(2).says("replication_key").says(BASE);
    assert!(output.of_type("RECORD").is_empty());
}

/// The warnings about values of the replication key that have no place in its order.
fn odd(output: &Output) -> Vec<String> {
    output
        .stderr
        .lines()
        .filter(|l| l.contains("WARN") && l.contains("no place in its order"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_stamp_that_no_order_has_is_told_and_moves_no_position() {
    let of = |day: u32| format!("createTimestamp: 20260101000000Z\nmodifyTimestamp: 202601{day:02}000000Z\n");
    let base = domain(&of(1)) + &device("a", &of(2)) + &device("b", &of(3));
    for (stamp, key) in [
        ("createTimestamp: 20260101000000Z\nmodifyTimestamp: garbage\n", "modifyTimestamp"),
        ("modifyTimestamp: garbage\n", "modifyTimestamp"),
        ("modifyTimestamp: 20990101000000Z\n", "modifyTimestamp"),
        ("modifyTimestamp: 20260102000000Z\nmodifyTimestamp: 20990101000000Z\n", "modifyTimestamp"),
        ("modifyTimestamp: 20260102000000Z\nentryCSN: garbage\n", "entryCSN"),
        (
            "modifyTimestamp: 20260102000000Z\nentryCSN: 20990101000000.000000Z#000000#000#000000\n",
            "entryCSN",
        ),
    ] {
        let value = stamp.trim_end().rsplit_once(": ").unwrap().1;
        let all = |text: &str| {
            let csn = |day: u32| {
                format!(
                    "modifyTimestamp: 202601{day:02}000000Z\nentryCSN: 202601{day:02}000000.000000Z#000000#000#000000\n"
                )
            };
            (1..30).fold(text.to_owned(), |text, day| {
                text.replace(&format!("modifyTimestamp: 202601{day:02}000000Z\n\n"), &(csn(day) + "\n"))
            })
        };
        let (dir, url) = file(&all(&base));
        let path = dir.path().join("directory.ldif");
        let config = of_file(&url, &json!({"replication_method": "INCREMENTAL", "replication_key": key}));
        let (output, state) = run(&config, None);
        assert_eq!((output.records(None).len(), odd(&output).len()), (2, 0), "{stamp}");
        // After a good run: it is emitted, and told by its name.
        std::fs::write(&path, all(&(base.clone() + &device("odd", stamp)))).unwrap();
        let (output, state) = run(&config, Some(&state));
        assert_eq!(uids_of(&output), BTreeSet::from(["odd"]), "{stamp}");
        assert_eq!(odd(&output).len(), 1, "{stamp}: {}", output.stderr);
        assert!(odd(&output)[0].contains("cn=odd,") && odd(&output)[0].contains(value), "{}", output.stderr);
        // What really changes afterwards is found.
        let changed = base.replace("20260103", "20260105");
        std::fs::write(&path, all(&(changed.clone() + &device("odd", stamp)))).unwrap();
        let (output, state) = run(&config, Some(&state));
        assert_eq!(uids_of(&output), BTreeSet::from(["b"]), "{stamp}");
        assert_eq!(odd(&output).len(), 1, "{stamp}: {}", output.stderr);
        // And so is a change of the odd one.
        let odd_changed = device("odd", &format!("serialNumber: 1\n{stamp}"));
        std::fs::write(&path, all(&(changed + &odd_changed))).unwrap();
        let (output, _) = run(&config, Some(&state));
        assert_eq!(uids_of(&output), BTreeSet::from(["odd"]), "{stamp}");
        // A first read, too, emits it and keeps a position.
        let (output, state) = run(&config, None);
        assert_eq!((output.records(None).len(), odd(&output).len()), (3, 1), "{stamp}: {}", output.stderr);
        let kept = state["bookmarks"]["all"]["replication_key_value"].as_str().unwrap().to_owned();
        assert!(kept.starts_with("2026-01-05") || kept.starts_with("20260105"), "{stamp}: {kept}");
    }
}

/// One that an earlier version left, or a clock that was wrong: nothing would ever be found behind it.
#[test]
fn a_position_in_the_future_is_a_resync() {
    let of = |day: u32| format!("modifyTimestamp: 202601{day:02}000000Z\n");
    let (_dir, url) = file(&(domain(&of(1)) + &device("a", &of(2)) + &device("b", &of(3))));
    let config = of_file(&url, &json!({"replication_method": "INCREMENTAL"}));
    let (_, mut state) = run(&config, None);
    state["bookmarks"]["all"]["replication_key_value"] = json!("2099-01-01T00:00:00Z");
    let (output, state) = run(&config, Some(&state));
    assert_eq!((resyncs(&output), output.records(None).len()), (1, 2), "{}", output.stderr);
    assert_eq!(resyncs(&run(&config, Some(&state)).0), 0);
}

fn uids_of(output: &Output) -> BTreeSet<&str> {
    let dns = output.records(None).into_iter().map(|r| r["dn"].as_str().unwrap());
    dns.map(|dn| dn.split([',', '=']).nth(1).unwrap()).collect()
}
