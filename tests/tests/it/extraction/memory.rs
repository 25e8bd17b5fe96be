//! Memory stays bounded for any size of directory and any speed of stdout's reader.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::Duration;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::memory::read_slowly;
use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{discover, people, tap_config, unit, with};

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

#[test]
fn a_reader_that_sleeps_longer_than_389_waits_for_its_client_gets_everything() {
    // nsslapd-ioblocktimeout is 10 s unless somebody changes it: a client that takes nothing for so long is cut off.
    // Pages of 6 MB and of 2 MB: more than what the system holds on its way.
    const COUNT: usize = 300;
    let padded = (0..COUNT).map(|n| {
        format!(
            "dn: uid=p{n},{PEOPLE}\nobjectClass: inetOrgPerson\nuid: p{n}\ncn: p\nsn: p\ndescription: {}\n\n",
            "x".repeat(20_000)
        )
    });
    let server = Ds389::start(&Ds389Options::default().seed(unit(PEOPLE) + &padded.collect::<String>()));
    let catalog = discover(&with(&tap_config(&server), &json!({"schemas": [{"name": "all"}]})));
    for settings in [json!({}), json!({"page_size": 100})] {
        let config = with(&with(&tap_config(&server), &json!({"schemas": [{"name": "all"}]})), &settings);
        let mut running = Run::tap(&config).file("--catalog", &catalog).spawn();
        running.close_stdin_with(&[]);
        let mut stdout = running.take_stdout();
        let mut first = vec![0; 100_000];
        stdout.read_exact(&mut first).unwrap();
        std::thread::sleep(Duration::from_secs(15));
        let mut rest = Vec::new();
        stdout.read_to_end(&mut rest).unwrap();
        let (code, stderr, _) = running.wait(Duration::from_secs(60));
        assert_eq!(code, 0, "{settings}: {stderr}");
        first.extend(rest);
        let records = first.split(|b| *b == b'\n').filter(|l| l.starts_with(b"{\"type\":\"RECORD\"")).count();
        assert!(records > COUNT, "{records}");
    }
}
