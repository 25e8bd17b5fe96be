//! Change counters that servers take back or restore.

use std::collections::BTreeSet;

use ldap_tests::apacheds::{self, ApacheDs};
use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::Run;
use ldap_tests::server::{Server, scratch, tool};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{SUFFIX, change, run, uids};
use crate::replication::repeated_runs::resyncs;
use crate::support::{no_panic, people, tap_config, unit, with};

/// One stream of people by INCREMENTAL, with the key that the tap chooses or this one.
fn by_key(server: &Server, base: &str, key: Option<&str>) -> Value {
    let mut stream = json!({"name": "all", "base_dn": base, "filter": "(uid=*)", "attributes": ["uid", "sn"],
        "replication_method": "INCREMENTAL"});
    if let Some(key) = key {
        stream["replication_key"] = json!(key);
    }
    with(&tap_config(server), &json!({"base_dn": base, "schemas": [stream]}))
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
    let output = Run::tap(&log).run().exits(2).reports_setting("replication_method").says("INCREMENTAL");
    no_panic(&output);
    assert!(output.of_type("RECORD").is_empty());
}
