//! LDIF files as a source of INCREMENTAL streams.

use std::collections::BTreeSet;

use ldap_tests::run::Run;
use serde_json::json;

use super::{device, domain, file, of_file, run};
use crate::replication::repeated_runs::resyncs;
use crate::support::no_panic;

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
        let output = again.run().exits(2).says("cn=d,dc=example,dc=test").reports_setting("replication_key");
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
