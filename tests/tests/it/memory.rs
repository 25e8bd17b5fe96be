//! Memory stays bounded whatever the directory's size, and whatever stdout's reader does.

use std::time::Duration;

use ldap_tests::memory::{Measured, read_slowly};
use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};

use crate::support::{people, tap_config, unit};

const PEOPLE: &str = "ou=people,dc=example,dc=test";
/// What 90,000 entries more may cost.
const ALLOWED_KIB: u64 = 20 * 1024;

fn measure(entries: usize) -> Measured {
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(PEOPLE) + &people(entries, PEOPLE)));
    let mut config = tap_config(&slapd);
    config.as_object_mut().unwrap().shift_remove("discovery_sample_size");
    let measured =
        read_slowly(&Run::tap(&config), 256 * 1024, Duration::from_millis(2), Duration::from_secs(180));
    assert_eq!(measured.output.code, 0, "{}", measured.output.stderr);
    assert!(measured.stdout_lines > entries as u64, "all entries came: {measured:?}");
    measured
}

#[test]
fn a_hundred_thousand_entries_need_what_ten_thousand_need() {
    let small = measure(10_000);
    let large = measure(100_000);
    assert!(
        large.peak_kib <= small.peak_kib + ALLOWED_KIB,
        "peak {} KiB on 10,000 entries, {} KiB on 100,000",
        small.peak_kib,
        large.peak_kib
    );
}
