//! `track_deletions`: the index of keys covers what STATE says was printed. A run killed at any moment, or a damaged file, loses
//! no deletion.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ldap_tests::run::{Output, Run, output};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::go_on;
use super::repeated_runs::resyncs;
use super::warehouse_table::Table;
use crate::support::rng::{Rng, seed};
use crate::support::{no_panic, people, resumed, tap_config, unit, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";
/// So many that a first read is divided, and STATE is printed in the middle of it.
const COUNT: usize = 1_500;
/// How often the tap is killed, of each method, unless the environment says otherwise: 200 take some minutes.
const KILLS: usize = 12;
const KILLS_VARIABLE: &str = "DELETION_KILLS";

/// A reader of the tap's output, and the index that goes with its STATE.
struct Reader {
    config: Value,
    state: Option<Value>,
    table: Table,
    _state_dir: TempDir,
}

impl Reader {
    fn new(slapd: &Slapd, method: &str) -> Reader {
        let state_dir = scratch();
        let config = with(
            &tap_config(slapd),
            &json!({
                "schemas": [{"name": "people", "base_dn": PEOPLE, "filter": "(uid=*)", "attributes": ["uid", "sn"],
                    "replication_method": method}],
                "track_deletions": true,
                "state_dir": state_dir.path(),
                "state_interval_records": 100,
                "page_size": 200,
            }),
        );
        Reader { config, state: None, table: Table::default(), _state_dir: state_dir }
    }

    fn next_run(&self) -> Run {
        resumed(&self.config, None, self.state.as_ref())
    }

    /// Takes in what a run printed, whole lines only. `upto_state`: what came after the last STATE was lost.
    fn take_in(&mut self, output: &Output, upto_state: bool) {
        no_panic(output);
        assert_eq!(resyncs(output), 0, "nothing happened to the server: {}", output.stderr);
        let text = output.stdout_text();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let mut messages: Vec<Value> =
            whole.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        if upto_state {
            let last = messages.iter().rposition(|m| m["type"] == "STATE").map_or(0, |n| n + 1);
            messages.truncate(last);
        }
        for message in messages {
            if message["type"] == "STATE" {
                self.state = Some(message["value"].clone());
            } else {
                self.table.apply(&message);
            }
        }
    }

    /// Runs the tap to its end.
    fn run(&mut self) {
        let output = self.next_run().run().succeeds();
        self.take_in(&output, false);
    }

    /// Ends a run at a random moment. Whether it was still running.
    fn kill(&mut self, rng: &mut Rng) -> bool {
        let signal = *rng.pick(&[Signal::KILL, Signal::TERM]);
        let mut running = self.next_run().spawn();
        running.close_stdin_with(&[]);
        let mut reader = BufReader::new(running.take_stdout());
        let mut stdout = Vec::new();
        match rng.below(3) {
            // The moment at which its reader believes that all up to here is safe.
            0 => {
                let mut line = Vec::new();
                while reader.read_until(b'\n', &mut line).unwrap() > 0 {
                    stdout.extend_from_slice(&line);
                    if line.starts_with(b"{\"type\":\"STATE\"") {
                        break;
                    }
                    line.clear();
                }
            }
            1 => {
                let lines = 1 + rng.below(COUNT);
                let mut read = 0;
                while read < lines && reader.read_until(b'\n', &mut stdout).unwrap() > 0 {
                    read += 1;
                }
            }
            _ => std::thread::sleep(Duration::from_millis(u64::try_from(rng.below(900)).unwrap())),
        }
        let was_running = running.child().try_wait().unwrap().is_none();
        if was_running {
            running.signal(signal);
        }
        // What it still says on its way out is read by some, and by others not.
        if rng.chance(50) {
            std::io::Read::read_to_end(&mut reader, &mut stdout).unwrap();
        }
        drop(reader);
        let (code, stderr, took) = running.wait(Duration::from_secs(60));
        self.take_in(&output(code, stdout, stderr, took), rng.chance(50));
        was_running
    }
}

/// One person more.
fn add(there: &mut BTreeMap<String, usize>, next: &mut usize, ldif: &mut String) {
    *next += 1;
    let uid = format!("new{next}");
    write!(
        ldif,
        "dn: uid={uid},{PEOPLE}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: x\nsn: x\n\n"
    )
    .unwrap();
    there.insert(uid, *next);
}

/// Some people go, some come, some change.
fn change(slapd: &Slapd, there: &mut BTreeMap<String, usize>, next: &mut usize, rng: &mut Rng) {
    let mut ldif = String::new();
    for _ in 0..10 + rng.below(30) {
        let names: Vec<String> = there.keys().cloned().collect();
        let uid = rng.pick(&names).clone();
        there.remove(&uid);
        write!(ldif, "dn: uid={uid},{PEOPLE}\nchangetype: delete\n\n").unwrap();
    }
    for _ in 0..rng.below(15) {
        add(there, next, &mut ldif);
    }
    let names: Vec<String> = there.keys().cloned().collect();
    for _ in 0..rng.below(10) {
        *next += 1;
        let uid = rng.pick(&names);
        write!(ldif, "dn: uid={uid},{PEOPLE}\nchangetype: modify\nreplace: sn\nsn: s{next}\n\n").unwrap();
    }
    slapd.ldapmodify(ldif);
}

/// Kills of a tap in its first read and in later ones, with deletions between, each told in the end.
fn every_deletion_is_told(method: &str, own_seed: u64) {
    let wanted: usize = std::env::var(KILLS_VARIABLE).map_or(KILLS, |text| text.parse().unwrap());
    let mut rng = Rng::new(seed(own_seed));
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(PEOPLE)).seed(people(COUNT, PEOPLE)));
    let mut there: BTreeMap<String, usize> = (0..COUNT).map(|n| (format!("person{n}"), n)).collect();
    let (mut next, mut kills, mut escapes, mut lost) = (0, 0, 0, 0);
    while kills < wanted {
        // As many as ever, so that each first read is divided.
        let mut more = String::new();
        while there.len() < COUNT {
            add(&mut there, &mut next, &mut more);
        }
        if !more.is_empty() {
            slapd.ldapmodify(more);
        }
        let mut reader = Reader::new(&slapd, method);
        for _ in 0..2 + rng.below(4) {
            if reader.kill(&mut rng) {
                kills += 1;
            } else {
                escapes += 1;
            }
            change(&slapd, &mut there, &mut next, &mut rng);
        }
        reader.run();
        reader.run();
        let names = ["entryUUID", "uid"];
        let keys: Vec<String> = slapd
            .dump_below(PEOPLE, &names)
            .into_values()
            .filter(|entry| entry.contains_key("uid"))
            .map(|entry| String::from_utf8(entry["entryuuid"].first().unwrap().clone()).unwrap())
            .collect();
        let told = reader.table.keys();
        lost += told.iter().filter(|key| !keys.contains(key)).count();
        assert!(keys.iter().all(|key| told.contains(key)), "an entry is missing");
        assert_eq!(lost, 0, "{lost} deletions were never told, after {kills} kills");
    }
    // What whoever asks for many kills wants to know.
    #[allow(clippy::print_stdout)]
    {
        println!("{method}: {kills} kills, {escapes} runs that had ended before, {lost} deletions lost");
    }
}

#[test]
fn incremental_tells_every_deletion_after_kills() {
    every_deletion_is_told("INCREMENTAL", 501);
}

#[test]
fn log_based_tells_every_deletion_after_kills() {
    every_deletion_is_told("LOG_BASED", 502);
}

#[test]
fn a_first_read_that_was_stopped_knows_what_it_printed() {
    // The shortest form of it: one STATE in the middle, deletions of what came before it, runs to the end.
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(PEOPLE)).seed(people(COUNT, PEOPLE)));
    let mut reader = Reader::new(&slapd, "INCREMENTAL");
    let mut running = reader.next_run().spawn();
    running.close_stdin_with(&[]);
    let mut stdout = Vec::new();
    let mut lines = BufReader::new(running.take_stdout());
    while lines.read_until(b'\n', &mut stdout).unwrap() > 0 {
        if stdout.split(|b| *b == b'\n').any(|line| line.starts_with(b"{\"type\":\"STATE\"")) {
            break;
        }
    }
    running.signal(Signal::KILL);
    drop(lines);
    let (code, stderr, took) = running.wait(Duration::from_secs(60));
    reader.take_in(&output(code, stdout, stderr, took), false);
    let printed = reader.table.keys();
    assert!(printed.len() < COUNT, "it was over already");
    let mut ldif = String::new();
    let mut gone = 0;
    for (dn, entry) in slapd.dump_below(PEOPLE, &["entryUUID", "uid"]) {
        let key = String::from_utf8(entry["entryuuid"].first().unwrap().clone()).unwrap();
        if printed.contains(&key) && gone < 50 {
            gone += 1;
            write!(ldif, "dn: {dn}\nchangetype: delete\n\n").unwrap();
        }
    }
    assert_eq!(gone, 50);
    slapd.ldapmodify(ldif);
    reader.run();
    reader.run();
    assert_eq!(reader.table.keys().len(), COUNT - 50);
}

/// A file of people, and a configuration with an index.
struct Small {
    dir: TempDir,
    config: Value,
}

impl Small {
    fn new(method: &str) -> Small {
        let dir = scratch();
        let config = json!({
            "server_url": format!("ldif:{}", dir.path().join("people.ldif").display()),
            "base_dn": "dc=example,dc=test",
            "schemas": [{"name": "people", "filter": "(cn=*)", "attributes": ["cn"], "replication_method": method}],
            "track_deletions": true,
            "state_dir": dir.path().join("state"),
        });
        Small { dir, config }
    }

    fn write(&self, names: &[&str]) {
        let mut text = "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\
            entryUUID: 00000000-0000-4000-8000-000000000000\ncreateTimestamp: 20260101000000Z\n\
            modifyTimestamp: 20260101000000Z\n\n"
            .to_owned();
        for name in names {
            let id = u32::from(name.as_bytes()[0]);
            write!(
                text,
                "dn: cn={name},dc=example,dc=test\nobjectClass: device\ncn: {name}\n\
                 entryUUID: {id:08x}-0000-4000-8000-000000000000\ncreateTimestamp: 20260102000000Z\n\
                 modifyTimestamp: 20260102000000Z\n\n"
            )
            .unwrap();
        }
        std::fs::write(self.dir.path().join("people.ldif"), text).unwrap();
    }

    fn run(&self, state: Option<&Value>) -> (Output, Value) {
        go_on(Run::tap(&self.config), state)
    }

    fn index(&self) -> PathBuf {
        let files = std::fs::read_dir(self.dir.path().join("state")).unwrap();
        let mut keys =
            files.map(|f| f.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "keys"));
        let file = keys.next().unwrap();
        assert!(keys.next().is_none());
        file
    }
}

type Damage = fn(&Path);

#[test]
fn a_damaged_index_is_an_announced_resync_and_no_end() {
    let damages: [(&str, Damage); 6] = [
        ("empty", |path| std::fs::write(path, "").unwrap()),
        ("a few octets", |path| std::fs::write(path, "redb").unwrap()),
        ("something else", |path| std::fs::write(path, vec![b'x'; 100_000]).unwrap()),
        ("half", |path| {
            let all = std::fs::read(path).unwrap();
            std::fs::write(path, &all[..all.len() / 2]).unwrap();
        }),
        ("the head alone", |path| {
            let all = std::fs::read(path).unwrap();
            std::fs::write(path, &all[..512]).unwrap();
        }),
        ("overwritten", |path| {
            let mut all = std::fs::read(path).unwrap();
            all[1_000..].fill(0x5a);
            std::fs::write(path, all).unwrap();
        }),
    ];
    for (name, damage) in damages {
        let small = Small::new("INCREMENTAL");
        small.write(&["a", "b", "c"]);
        let (_, state) = small.run(None);
        small.write(&["a", "c"]);
        damage(&small.index());
        let (output, state) = small.run(Some(&state));
        assert_eq!(resyncs(&output), 1, "{name}: {}", output.stderr);
        assert_eq!(output.of_type("ACTIVATE_VERSION").len(), 1, "{name}");
        assert_eq!(output.records(None).len(), 2, "{name}");
        small.write(&["a"]);
        let (output, _) = small.run(Some(&state));
        assert_eq!(resyncs(&output), 0, "{name}: {}", output.stderr);
        let told = output.records(None);
        assert_eq!(told.len(), 1, "{name}: {told:?}");
        assert!(told[0]["_sdc_deleted_at"].is_string());
    }
}

/// The disk that it leads to may not be there: a new one would have forgotten what the old one knows.
#[test]
fn an_index_that_is_a_link_to_nothing_is_an_error() {
    let small = Small::new("INCREMENTAL");
    small.write(&["a", "b"]);
    let (_, state) = small.run(None);
    let index = small.index();
    let elsewhere = small.dir.path().join("elsewhere.keys");
    std::fs::rename(&index, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &index).unwrap();
    // A link to one that is there is followed.
    small.write(&["a"]);
    let (output, state) = small.run(Some(&state));
    assert_eq!((resyncs(&output), output.records(None).len()), (0, 1), "{}", output.stderr);
    std::fs::rename(&elsewhere, small.dir.path().join("away")).unwrap();
    let output = Run::tap(&small.config).file("--state", &state).run().exits(1);
    assert!(
        output.stderr.contains("elsewhere.keys") && output.stderr.contains("state_dir"),
        "{}",
        output.stderr
    );
    assert!(output.of_type("RECORD").is_empty() && !elsewhere.exists() && index.is_symlink());
}

#[test]
fn an_older_copy_of_the_index_is_noticed() {
    let small = Small::new("INCREMENTAL");
    small.write(&["a"]);
    let (_, state) = small.run(None);
    let copy = std::fs::read(small.index()).unwrap();
    // Nothing is gone, so that only the number of commits tells the two apart.
    small.write(&["a", "b"]);
    let text = std::fs::read_to_string(small.dir.path().join("people.ldif")).unwrap();
    std::fs::write(
        small.dir.path().join("people.ldif"),
        text.replace("cn: b\n", "cn: b\ndescription: later\n"),
    )
    .unwrap();
    let (_, state) = small.run(Some(&state));
    std::fs::write(small.index(), copy).unwrap();
    small.write(&["a"]);
    let (output, _) = small.run(Some(&state));
    assert_eq!(resyncs(&output), 1, "{}", output.stderr);
}

#[cfg(unix)]
#[test]
fn the_folder_of_the_index_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let small = Small::new("FULL_TABLE");
    small.write(&["a"]);
    small.run(None);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&small.dir.path().join("state")), 0o700);
    assert_eq!(mode(&small.index()), 0o600);
}

#[test]
fn a_file_that_was_never_finished_is_made_anew() {
    let small = Small::new("INCREMENTAL");
    small.write(&["a"]);
    small.run(None);
    let index = small.index();
    std::fs::remove_file(&index).unwrap();
    std::fs::write(index.with_extension("keys.new"), b"half of it").unwrap();
    let (output, _) = small.run(None);
    assert_eq!(output.records(None).len(), 1);
    assert!(!index.with_extension("keys.new").exists());
}
