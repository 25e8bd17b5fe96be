//! Memory stays bounded whatever the directory's size, and whatever stdout's reader does.

use std::collections::BTreeMap;
use std::time::Duration;

use ldap_tests::memory::read_slowly;
use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{people, tap_config, unit, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";
/// What 90,000 entries more may cost.
const ALLOWED_KIB: u64 = 20 * 1024;

/// Ways to read everything: by container, by a log that is not paged, and by a key with windows and an index of keys.
fn ways(state_dir: &str) -> [(&'static str, Value); 3] {
    let stream = |method: &str| json!([{"name": "all", "replication_method": method}]);
    [
        ("FULL_TABLE", json!({"discovery_sample_size": null})),
        ("LOG_BASED", json!({"discovery_sample_size": null, "schemas": stream("LOG_BASED")})),
        (
            "INCREMENTAL",
            json!({"discovery_sample_size": null, "schemas": stream("INCREMENTAL"), "track_deletions": true,
                "state_dir": state_dir}),
        ),
    ]
}

/// The peak of each way, in KiB, while stdout is read slowly.
fn measure(entries: usize) -> BTreeMap<&'static str, u64> {
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(PEOPLE) + &people(entries, PEOPLE)));
    let state_dir = scratch();
    let ways = ways(state_dir.path().to_str().unwrap());
    let measured = ways.map(|(name, settings)| {
        let run = Run::tap(&with(&tap_config(&slapd), &settings));
        let measured = read_slowly(&run, 256 * 1024, Duration::from_millis(2), Duration::from_secs(180));
        assert_eq!(measured.output.code, 0, "{name}: {}", measured.output.stderr);
        assert!(measured.stdout_lines > entries as u64, "{name}: all entries came: {measured:?}");
        (name, measured.peak_kib)
    });
    measured.into()
}

#[test]
fn a_hundred_thousand_entries_need_what_ten_thousand_need() {
    let small = measure(10_000);
    let large = measure(100_000);
    for (name, peak) in &large {
        let before = small[name];
        assert!(
            *peak <= before + ALLOWED_KIB,
            "{name}: peak {before} KiB on 10,000 entries, {peak} KiB on 100,000"
        );
    }
    println!("peaks in KiB: {small:?}, {large:?}");
}
