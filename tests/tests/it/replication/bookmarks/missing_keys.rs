//! Entries without the replication key, or with a value that has no order.

use std::collections::BTreeSet;

use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Base, Slapd, SlapdOptions};
use serde_json::json;

use super::{SUFFIX, change, device, domain, file, of_file, run, uids};
use crate::replication::repeated_runs::resyncs;
use crate::support::{discover, no_panic, people, reader_config, stream, unit, with};

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
        let output = Run::tap(&config(5, method)).run().exits(1).says(hidden);
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
    let output = Run::tap(&by_hidden).run().exits(2).reports_setting("replication_key").says(BASE);
    assert!(output.of_type("RECORD").is_empty());
}

/// The warnings about values of the replication key that have no place in its order.
fn odd(output: &Output) -> Vec<String> {
    let messages = output.stderr.warnings().into_iter().map(|line| line["message"].as_str().unwrap());
    messages.filter(|text| text.contains("no place in its order")).map(str::to_owned).collect()
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
