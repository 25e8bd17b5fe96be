//! Two entries with the same key.

use ldap_tests::run::Output;
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use super::{field, file, json_log, person, warnings};
use crate::support::{people, tap_config, unit, with};

/// The warnings about keys that several entries have: how many entries would be lost downstream, and what is said.
fn same_keys(output: &Output) -> Vec<(u64, String)> {
    let of = |line: Value| Some((line["same_key"].as_u64()?, line["message"].as_str()?.to_owned()));
    warnings(output).into_iter().filter_map(of).collect()
}

#[test]
fn two_entries_with_one_key_are_told() {
    let dir = scratch();
    let id = |n: u32| format!("entryUUID: {n:08x}-0000-4000-8000-000000000000\n\n");
    let account = |dn: &str, n: u32| person(dn).trim_end().to_owned() + "\n" + &id(n);
    let text = unit("ou=a,dc=x").trim_end().to_owned()
        + "\n"
        + &id(1)
        + &account("uid=ada,ou=a,dc=x", 2)
        + &account("uid=bob,ou=a,dc=x", 3)
        + &account("uid=ada,cn=b,ou=a,dc=x", 4)
        // A copy.
        + &account("uid=eve,ou=a,dc=x", 3);
    let config = file(dir.path(), &text);
    let of = |key: &str| json!({"schemas": [{"name": "all", "filter": "(uid=*)", "key_properties": [key]}]});
    for (key, value, first, second) in [
        ("uid", "ada", "uid=ada,ou=a,dc=x", "uid=ada,cn=b,ou=a,dc=x"),
        ("entryUUID", "00000003", "uid=bob,ou=a,dc=x", "uid=eve,ou=a,dc=x"),
    ] {
        for more in [json!({}), json!({"replication_method": "FULL_TABLE"})] {
            let mut config = with(&config, &of(key));
            config["schemas"][0] = with(&config["schemas"][0], &more);
            let output = json_log(&config).run().succeeds();
            let told = same_keys(&output);
            assert_eq!(told.len(), 1, "{}", output.stderr);
            assert_eq!(told[0].0, 1);
            for part in [key, value, first, second] {
                assert!(told[0].1.contains(part), "{part} in {}", told[0].1);
            }
            assert_eq!((output.records(None).len(), field(&output, "books_same_key")), (4, json!(1)));
        }
    }
    for key in ["dn", "mail"] {
        let output = json_log(&with(&config, &of(key))).run();
        assert_eq!(same_keys(&output), []);
    }
    // Discovery's own key.
    let output = json_log(&config).run().succeeds();
    assert_eq!(same_keys(&output).len(), 1, "{}", output.stderr);
}

#[test]
fn slapd_two_entries_with_one_key_are_told() {
    let seed = (0..3)
        .map(|n| format!("ou=u{n},dc=example,dc=test"))
        .fold(String::new(), |text, base| text + &unit(&base) + &people(400, &base));
    let slapd = Slapd::start(SlapdOptions::with_users().seed(seed));
    let stream = json!({"name": "all", "filter": "(uid=*)", "key_properties": ["uid"]});
    for method in ["FULL_TABLE", "INCREMENTAL"] {
        let mut config = with(&tap_config(&slapd), &json!({"schemas": [stream]}));
        config["schemas"][0]["replication_method"] = json!(method);
        let output = json_log(&config).run().succeeds();
        let told = same_keys(&output);
        assert_eq!(told.len(), 1, "{}", output.stderr);
        assert_eq!(told[0].0, 800, "{}", told[0].1);
        assert!(told[0].1.contains("ou=u0,") && told[0].1.contains("ou=u1,"), "{}", told[0].1);
    }
    // The server's own id.
    let output =
        json_log(&with(&tap_config(&slapd), &json!({"schemas": [{"name": "all"}]}))).run().succeeds();
    assert_eq!((same_keys(&output), field(&output, "books_same_key")), (vec![], Value::Null));
}
