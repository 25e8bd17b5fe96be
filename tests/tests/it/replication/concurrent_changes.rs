//! Changes during a read.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::time::Duration;

use ldap_tests::run::output;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::json;

use super::repeated_runs::{Method, Mirror};
use super::server_kind::{Directory, Kind};
use super::warehouse_table::key_of;
use crate::support::rng::{self, Rng};

const SUFFIX: &str = "dc=example,dc=test";
/// So many, and so large, that most of them wait in the server while nobody reads what the tap prints.
const PEOPLE: usize = 3_000;
const PADDING: usize = 8_000;

fn person(n: usize) -> String {
    format!(
        "objectClass: inetOrgPerson\ncn: person{n}\nsn: before\nemployeeType: active\ndescription: {n} {}\n\n",
        "x".repeat(PADDING)
    )
}

/// A first read, in the middle of which entries are changed, added and deleted; then what that left to be told.
fn loses_nothing(method: Method, own_seed: u64) {
    let seed = rng::seed(own_seed);
    let mut rng = Rng::new(seed);
    let mut seed_ldif = String::new();
    for n in 0..PEOPLE {
        write!(seed_ldif, "dn: cn=person{n},{SUFFIX}\n{}", person(n)).unwrap();
    }
    let directory = Directory::OpenLdap(Slapd::start(SlapdOptions::default().seed(seed_ldif)));
    let mut mirror =
        Mirror::new(&directory, SUFFIX, method).configured(&json!({"state_interval_records": 500}));
    let before = keys(&mirror, &directory);

    let mut running = mirror.next_run().spawn();
    running.close_stdin_with(&[]);
    let mut stdout = BufReader::new(running.take_stdout());
    let mut text = Vec::new();
    for _ in 0..100 {
        stdout.read_until(b'\n', &mut text).unwrap();
    }
    let mut ldif = String::new();
    for n in 0..400 {
        let person = rng.below(PEOPLE / 20) * 20;
        write!(ldif, "dn: cn=person{person},{SUFFIX}\nchangetype: modify\nreplace: sn\nsn: {n}\n\n").unwrap();
    }
    for n in 0..20 {
        write!(ldif, "dn: cn=person{},{SUFFIX}\nchangetype: delete\n\n", n * 140 + 7).unwrap();
        write!(ldif, "dn: cn=person{},{SUFFIX}\nchangetype: add\n{}", PEOPLE + n, self::person(PEOPLE + n))
            .unwrap();
    }
    directory.ldapmodify(ldif);
    stdout.read_to_end(&mut text).unwrap();
    let (code, stderr, took) = running.wait(Duration::from_secs(60));
    let first = output(code, text, stderr, took).succeeds();
    mirror.take_in(&first);

    // Who was there all the time is in the table, however often it was changed meanwhile.
    let after = keys(&mirror, &directory);
    let stayed: BTreeSet<&String> = before.intersection(&after).collect();
    let in_table = mirror.table.keys();
    let lost = stayed.iter().filter(|key| !in_table.contains(**key)).count();
    assert_eq!(lost, 0, "MODEL_SEED={seed}: of {} that stayed; {}", stayed.len(), first.stderr);

    let second = mirror.run();
    mirror.assert_equal(&directory, &second);
    // A second with a bulk load in it may be told once more, but once.
    let told = second.of_type("RECORD").len();
    assert!(told < PEOPLE + 1_000, "{told} records");
}

fn keys(mirror: &Mirror, directory: &Directory) -> BTreeSet<String> {
    mirror.expected(directory).iter().map(|(dn, entry)| key_of(Kind::OpenLdap, dn, entry)).collect()
}

#[test]
fn in_a_full_read_of_log_based() {
    loses_nothing(Method::Log, 141);
}

#[test]
fn in_a_first_read_by_entry_csn() {
    loses_nothing(Method::By("entryCSN"), 142);
}

#[test]
fn in_a_first_read_by_modify_timestamp_with_deletions() {
    loses_nothing(Method::Tracked("modifyTimestamp"), 143);
}
