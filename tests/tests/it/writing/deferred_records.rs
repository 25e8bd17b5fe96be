//! The cost of records that wait for others.

use std::time::Duration;

use ldap_tests::memory::watch_peak;
use ldap_tests::run::{Run, output, read_text};
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use crate::support::{lines, no_panic, target_config, with};

/// What the run may cost, in KiB: the bounds of load/spill.rs, and what the allocator keeps (126 to 156 MiB were seen). What waits is
/// 300 MB: as values, and as records that may be rejected.
const ALLOWED_KIB: u64 = 192 * 1024;
const OCTETS: usize = 600_000;
const COUNT: usize = 125;

/// A text that is like no other.
fn text(n: usize) -> String {
    format!("{n} {}", "x".repeat(OCTETS))
}

fn person(n: usize, unit: &str) -> Value {
    let name = format!("p{n}");
    json!({"type": "RECORD", "stream": "people", "record": {
        "dn": format!("uid={name},{unit}"), "objectClass": ["inetOrgPerson"], "uid": name, "cn": name, "sn": name,
        "description": text(n)}})
}

#[test]
fn records_that_wait_are_kept_on_the_disk_when_there_are_many_octets_of_them() {
    let slapd = Slapd::start(SlapdOptions::default());
    let (dc, folder) = (slapd.suffix().to_owned(), scratch());
    let reject_file = folder.path().join("rejects.jsonl");
    let config = with(
        &target_config(&slapd),
        &json!({"on_error": "skip", "reject_file": reject_file, "create_parents": false}),
    );
    let string = json!({"type": "string"});
    let strings = json!({"type": "array", "items": string});
    let unit = |dn: &str| json!({"type": "RECORD", "stream": "units", "record": {"dn": format!("{dn},{dc}"), "objectClass": ["organizationalUnit"]}});
    let mut messages = vec![
        json!({"type": "SCHEMA", "stream": "units", "key_properties": ["dn"], "schema": {"properties": {"dn": string, "objectClass": strings}}}),
        json!({"type": "SCHEMA", "stream": "people", "key_properties": ["dn"],
            "schema": {"properties": {"dn": string, "objectClass": strings,
                "uid": string, "cn": string, "sn": string, "description": string}}}),
        // It waits for its own parent, and the people below it behind it.
        unit("ou=a,ou=late"),
    ];
    messages.extend((0..COUNT).map(|n| person(n, &format!("ou=a,ou=late,{dc}"))));
    messages.extend((COUNT..2 * COUNT).map(|n| person(n, &format!("ou=never,{dc}"))));
    messages.push(unit("ou=late"));
    let mut running = Run::target(&config).timeout(Duration::from_secs(300)).spawn();
    let peak = watch_peak(running.child().id());
    running.close_stdin_with(lines(&messages).as_bytes());
    let (code, stderr, took) = running.wait(Duration::from_secs(300));
    let peak = peak.join().unwrap();
    println!("peak {peak} KiB, {took:?}");
    let output = output(code, Vec::new(), stderr, took).exits(4);
    no_panic(&output);
    assert!(peak < ALLOWED_KIB, "{peak} KiB");
    let tree = slapd.dump();
    for n in 0..COUNT {
        let entry = tree.get(&format!("uid=p{n},ou=a,ou=late,{dc}")).unwrap_or_else(|| panic!("p{n}"));
        assert!(entry["description"].iter().eq([text(n).as_bytes()]), "p{n}");
    }
    let rejects = read_text(&reject_file);
    let rejects: Vec<Value> = rejects.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let rejects: Vec<&Value> = rejects.iter().filter(|l| l["type"] == "REJECT").collect();
    assert_eq!(rejects.len(), COUNT);
    for (n, reject) in (COUNT..).zip(rejects) {
        assert_eq!(reject["record"], person(n, &format!("ou=never,{dc}"))["record"]);
    }
}
