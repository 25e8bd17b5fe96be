//! A run that is killed leaves a journal, from which it can be taken back.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use ldap_tests::ldif::{Tree, assert_same};
use ldap_tests::run::{Run, read_text};
use ldap_tests::server::{scratch, tool};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{PEOPLE, gone, left, person, record, schema, slapd, undo};
use crate::support::rng::{Rng, seed};
use crate::support::{lines, target_config, with};

/// A load of additions, changes, deletions, and records that the server refuses: 65, and 68 for names that it hides.
fn load(rng: &mut Rng, records: usize) -> Vec<Value> {
    let mut all = vec![schema()];
    let mut seen = BTreeSet::new();
    for n in 0..records {
        let at = rng.below(records);
        let dn = format!("uid=p{at},{PEOPLE}");
        if n % 20 == 19 {
            all.push(json!({"type": "STATE", "value": {"n": n}}));
        }
        if rng.chance(20) {
            all.push(gone(&dn));
        } else if rng.chance(15) {
            // Refused: there is no such class.
            all.push(record(
                &format!("uid=bad{n},{PEOPLE}"),
                json!({"objectClass": ["nothing"], "uid": ["x"]}),
            ));
        } else if rng.chance(15) && seen.insert(at) {
            // Refused: the value is none of its syntax.
            all.push(person(at, &json!({"mail": ["ümlaut@x.test"]})));
        } else {
            let texts: Vec<String> = (0..rng.below(3)).map(|i| format!("d{i}{n}")).collect();
            all.push(person(at, &json!({"description": texts, "title": [format!("t{}", rng.below(5))]})));
        }
    }
    all
}

#[test]
fn what_a_killed_run_leaves_takes_back_what_it_made_and_nothing_else() {
    let kills: u64 = std::env::var("UNDO_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let seed = seed(170);
    let rng = &mut Rng::new(seed);
    let slapd = slapd();
    let before: Tree = slapd.dump();
    let (mut found_running, mut taken_by_ldapmodify, mut composed) = (0, 0, 0);
    let mut took = Duration::from_millis(400);
    for kill in 0..kills {
        let dir = scratch();
        let config = with(
            &target_config(&slapd),
            &json!({"undo_file": dir.path().join("undo.ldif"), "on_error": "skip",
                "reject_file": dir.path().join("rejects.jsonl"), "max_in_flight": 1 + rng.below(16),
                "write_connections": if kill % 2 == 0 { 4 } else { 1 }}),
        );
        // Sometimes the next run is killed, too.
        let runs = if rng.chance(30) { 2 } else { 1 };
        composed += u64::from(runs == 2);
        for _ in 0..runs {
            let mut running = Run::target(&config).spawn();
            running.close_stdin_with(lines(&load(rng, 300)).as_bytes());
            drop(std::thread::spawn({
                let stdout = running.take_stdout();
                move || BufReader::new(stdout).lines().count()
            }));
            let most = usize::try_from(took.as_millis()).unwrap().max(20);
            sleep(Duration::from_millis(10 + u64::try_from(rng.below(most)).unwrap()));
            running.signal(Signal::KILL);
            let (code, stderr, lasted) = running.wait(Duration::from_secs(30));
            assert!([0, 4, 137].contains(&code), "{code}: {stderr}");
            found_running += u64::from(code == 137);
            if code != 137 {
                took = (took + lasted) / 2;
            }
        }
        let by_hand = kill % 4 == 3;
        if by_hand {
            // The next run makes a file of the journal, which ldapmodify takes from its beginning to its end.
            Run::target(&config).stdin(lines(&[schema()])).run().succeeds();
        }
        for file in left(dir.path()) {
            if by_hand {
                let output = Command::new(tool("ldapmodify"))
                    .args(["-x", "-H", &slapd.ldap_uri(), "-D", &slapd.admin_dn()])
                    .args(["-w", slapd.admin_password(), "-f"])
                    .arg(&file)
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(
                    output.status.success(),
                    "MODEL_SEED={seed}, kill {kill}: {said}\n{}",
                    read_text(&file)
                );
                taken_by_ldapmodify += 1;
            } else {
                let output = undo(&config, &file, &[]);
                assert_eq!(output.code, 0, "MODEL_SEED={seed}, kill {kill}: {}", output.stderr);
            }
        }
        let said = format!("MODEL_SEED={seed}, kill {kill}");
        assert_same("before", &before, &said, &slapd.dump());
    }
    println!(
        "{kills} trials: {found_running} runs killed, {composed} with two, {taken_by_ldapmodify} by ldapmodify"
    );
    assert!(found_running * 2 >= kills, "{found_running} of {kills} were running");
}
