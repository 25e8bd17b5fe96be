//! A target killed or stopped at any moment, run again from its last STATE, produces the same directory as an undisturbed run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::thread::sleep;
use std::time::Duration;

use ldap_tests::ldif::{Attributes, Tree, assert_same};
use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::rng::{Rng, seed};
use crate::support::{states, target_config, unit, with};

const RECORDS: usize = 5_000;
/// A STATE after so many.
const INTERVAL: usize = 100;
/// How often each run is killed.
const KILLS: usize = 5;
/// Where the records say that everything is; each run puts it elsewhere.
const PLACE: &str = "ou=all,dc=example,dc=test";

fn place(run: u64) -> String {
    format!("ou=run{run},dc=example,dc=test")
}

/// Half of the people are there.
fn there(place: &str) -> String {
    let mut text = unit(place);
    for n in 0..1_000 {
        write!(
            text,
            "dn: uid=p{n},{place}\nobjectClass: inetOrgPerson\nuid: p{n}\ncn: Person {n}\nsn: {n}\n\
             description: old\ndescription: older\ntitle: T\n\n"
        )
        .unwrap();
    }
    text
}

/// Additions, modifications and deletions, several of them on the same entries.
fn records(rng: &mut Rng) -> Vec<Value> {
    let record = |rng: &mut Rng| {
        let n = rng.below(2_000);
        let dn = format!("uid=p{n},{PLACE}");
        if rng.chance(25) {
            return json!({"dn": dn, "_sdc_deleted_at": "2026-01-01T00:00:00Z"});
        }
        let mut record = json!({"dn": dn, "objectClass": ["inetOrgPerson"], "uid": [format!("p{n}")],
            "cn": [format!("Person {n}")], "sn": [n.to_string()]});
        if rng.chance(70) {
            let texts: Vec<String> =
                (0..rng.below(4)).map(|i| format!("d{}", i + rng.below(2) * 10)).collect();
            record["description"] = json!(texts);
        }
        if rng.chance(50) {
            record["title"] =
                if rng.chance(30) { json!(null) } else { json!([format!("t{}", rng.below(9))]) };
        }
        record
    };
    (0..RECORDS).map(|_| json!({"type": "RECORD", "stream": "all", "record": record(rng)})).collect()
}

/// The input from a record on, as a tap gives it that was started with the STATE before it.
fn input(records: &[Value], from: usize) -> String {
    let texts = json!({"type": ["null", "array"], "items": {"type": "string"}});
    let text = json!({"type": ["null", "string"]});
    let schema = json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"], "schema": {"properties": {
        "dn": text, "_sdc_deleted_at": text, "objectClass": texts, "uid": texts, "cn": texts, "sn": texts,
        "description": texts, "title": texts}}});
    let mut all = format!("{schema}\n");
    for (n, record) in records.iter().enumerate().skip(from) {
        writeln!(all, "{record}").unwrap();
        if (n + 1) % INTERVAL == 0 {
            writeln!(all, "{}", json!({"type": "STATE", "value": {"records": n + 1}})).unwrap();
        }
    }
    all
}

/// What lies below a place, by the names there.
fn outcome(slapd: &Slapd, place: &str) -> BTreeMap<String, Attributes> {
    let below = |dn: String| dn.strip_suffix(place).map(str::to_owned).unwrap();
    let mut tree: Tree = slapd.dump_below(place, &["*"]).into_iter().map(|(dn, a)| (below(dn), a)).collect();
    tree.remove("");
    tree
}

/// When a run is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// As soon as so many STATE lines are read.
    States(usize),
    /// After a while.
    After(Duration),
}

/// Runs and kills. The last STATE printed in whole, and whether the run had ended before.
fn killed(run: &Run, input: &str, moment: Moment, by: (Signal, i32)) -> (Option<usize>, bool) {
    let mut running = run.spawn();
    running.close_stdin_with(input.as_bytes());
    let mut stdout = BufReader::new(running.take_stdout());
    let mut text = String::new();
    match moment {
        Moment::States(count) => {
            for _ in 0..count {
                stdout.read_line(&mut text).unwrap();
            }
        }
        Moment::After(pause) => sleep(pause),
    }
    running.signal(by.0);
    // What it had printed before.
    std::io::Read::read_to_string(&mut stdout, &mut text).unwrap();
    let (code, stderr, _) = running.wait(Duration::from_secs(30));
    assert!([0, by.1].contains(&code), "{code}: {stderr}");
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let last = whole.lines().last().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let state = last.map(|state| usize::try_from(state["records"].as_u64().unwrap()).unwrap());
    (state, code == 0)
}

#[test]
fn a_run_goes_on_after_kill_9() {
    // Twenty kills.
    goes_on(4, (Signal::KILL, 137), 81);
}

#[test]
fn a_run_goes_on_after_it_was_told_to_stop() {
    goes_on(2, (Signal::TERM, 143), 82);
    goes_on(2, (Signal::INT, 130), 83);
}

fn goes_on(runs: u64, by: (Signal, i32), default_seed: u64) {
    let seed = seed(default_seed);
    let rng = &mut Rng::new(seed);
    let records = records(rng);
    let trees = (0..=runs).map(|run| there(&place(run))).collect::<String>();
    let slapd = Slapd::start(SlapdOptions::default().seed(trees));
    let config = with(&target_config(&slapd), &json!({"validate_records": false}));
    let run = |n: u64| {
        let connections = if n.is_multiple_of(2) { 4 } else { 1 };
        let rewrite = json!([{"from": PLACE, "to": place(n)}]);
        Run::target(&with(&config, &json!({"dn_rewrite": rewrite, "write_connections": connections})))
    };

    let undisturbed = run(runs).stdin(input(&records, 0)).run().succeeds();
    assert_eq!(states(&undisturbed).last(), Some(&json!({"records": RECORDS})));
    let wanted = outcome(&slapd, &place(runs));
    // Each kill comes within a fifth of a run: most of them find it running.
    let printed = states(&undisturbed).len() / KILLS;
    let took = usize::try_from(undisturbed.took.as_millis()).unwrap() / KILLS;

    let (mut kills, mut from_a_state) = (0_u64, 0_u64);
    for n in 0..runs {
        let (mut state, mut moments) = (0, Vec::new());
        for kill in 0..KILLS {
            let moment = if kill % 2 == 0 {
                Moment::States(1 + rng.below(printed.max(1)))
            } else {
                Moment::After(Duration::from_millis(rng.below(took.max(1)).try_into().unwrap()))
            };
            let (last, ended) = killed(&run(n), &input(&records, state), moment, by);
            kills += u64::from(!ended);
            from_a_state += u64::from(!ended && last.is_some());
            state = last.unwrap_or(state);
            moments.push((moment, state));
        }
        let again = run(n).stdin(input(&records, state)).run().succeeds();
        if state < RECORDS {
            assert_eq!(states(&again).last(), Some(&json!({"records": RECORDS})));
        }
        let killed = format!("MODEL_SEED={seed}, run {n}, killed at {moments:?}");
        assert_same("undisturbed", &wanted, &killed, &outcome(&slapd, &place(n)));
    }
    assert!(
        kills * 4 >= runs * 15 && from_a_state * 4 >= runs * 8,
        "{kills} kills, {from_a_state} of them after a STATE"
    );
}
