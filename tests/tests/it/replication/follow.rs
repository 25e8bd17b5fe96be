//! `follow`: the tap keeps running and emits changes as they happen.

use std::io::{BufRead as _, BufReader};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use ldap_tests::run::{Output, Running, output};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::random_changes::Model;
use super::random_company::Habits;
use super::repeated_runs::{Method, Mirror, resyncs};
use super::server_kind::{Directory, Kind};
use super::server_resets::log_that_stays;
use crate::support::no_panic;

/// How long a change may take to arrive, on a machine that has other tests to run.
const SOON: Duration = Duration::from_secs(10);

/// A tap that runs.
struct Follower {
    running: Running,
    reader: JoinHandle<()>,
    printed: Printed,
}

/// What it has printed so far.
struct Printed {
    lines: Arc<Mutex<Vec<String>>>,
    /// How many of them the mirror has.
    taken: usize,
    schemas: String,
}

impl Printed {
    /// Takes into the mirror what came since the last time.
    fn take(&mut self, mirror: &mut Mirror) -> Vec<Value> {
        self.take_to(mirror, |_| false)
    }

    /// The same, to the first message that is wanted, if it is there.
    fn take_to(&mut self, mirror: &mut Mirror, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut fresh: Vec<String> = self.lines.lock().unwrap().iter().skip(self.taken).cloned().collect();
        if let Some(at) = fresh.iter().position(|line| wanted(&serde_json::from_str(line).unwrap())) {
            fresh.truncate(at + 1);
        }
        self.taken += fresh.len();
        // Records are checked against the SCHEMA, which came long ago.
        let mut text = self.schemas.clone();
        for line in &fresh {
            text += line;
            text.push('\n');
            if line.contains("\"type\":\"SCHEMA\"") {
                self.schemas += line;
                self.schemas.push('\n');
            }
        }
        mirror.take_in(&output(0, text.into_bytes(), String::new(), Duration::ZERO));
        fresh.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Follower {
    fn start(mirror: &Mirror) -> Follower {
        let mut running = mirror.next_run().spawn();
        running.close_stdin_with(&[]);
        let stdout = BufReader::new(running.take_stdout());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            for line in stdout.lines() {
                theirs.lock().unwrap().push(line.unwrap());
            }
        });
        Follower { running, reader, printed: Printed { lines, taken: 0, schemas: String::new() } }
    }

    fn take(&mut self, mirror: &mut Mirror) -> Vec<Value> {
        self.printed.take(mirror)
    }

    fn has_ended(&mut self) -> bool {
        self.running.child().try_wait().unwrap().is_some()
    }

    /// How it ended, or is made to end here.
    fn said(&mut self) -> String {
        let (code, stderr) = self.running.end();
        format!("exit code {code}, stderr:\n{stderr}")
    }

    /// Waits for a message, taking in all that come before it.
    #[track_caller]
    fn wait_for(&mut self, mirror: &mut Mirror, what: &str, wanted: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + SOON;
        while !self.printed.take_to(mirror, &wanted).iter().any(&wanted) {
            assert!(Instant::now() < deadline && !self.has_ended(), "{what} did not come; {}", self.said());
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the table is what the directory is.
    #[track_caller]
    fn wait_until_equal(&mut self, model: &mut Model) {
        let deadline = Instant::now() + SOON;
        loop {
            self.take(&mut model.mirror);
            if model.mirror.differences(&model.directory).is_empty() {
                return;
            }
            if Instant::now() > deadline || self.has_ended() {
                let said = self.said();
                model.compare(&output(0, Vec::new(), said, Duration::ZERO));
                panic!("it ended");
            }
            sleep(Duration::from_millis(100));
        }
    }

    /// SIGTERM, and all it said.
    #[track_caller]
    fn stop(self, mirror: &mut Mirror) -> Output {
        let Follower { mut running, reader, mut printed } = self;
        running.signal(Signal::TERM);
        let (code, stderr, took) = running.wait(SOON);
        reader.join().unwrap();
        printed.take(mirror);
        let text = printed.lines.lock().unwrap().join("\n");
        let output = output(code, text.into_bytes(), stderr, took).exits(143);
        no_panic(&output);
        let last = output.messages.last().unwrap();
        assert_eq!(last["type"], "STATE", "the last line is a STATE: {last}");
        output
    }
}

fn is_state(message: &Value) -> bool {
    message["type"] == "STATE"
}

fn follower_of(kind: Kind, own_seed: u64) -> (Model, Follower) {
    let mut model = Model::start(kind, Method::Log, Habits::UnitsMove, own_seed);
    model.mirror.reconfigure(&json!({"follow": true}));
    let follower = Follower::start(&model.mirror);
    (model, follower)
}

/// Changes arrive while it runs; what it leaves behind is where an ordinary run goes on.
fn follows(kind: Kind, own_seed: u64) {
    let (mut model, mut follower) = follower_of(kind, own_seed);
    follower.wait_for(&mut model.mirror, "the first version", |m| m["type"] == "ACTIVATE_VERSION");
    follower.wait_until_equal(&mut model);
    for _ in 0..8 {
        let operations = 1 + model.world.rng().below(15);
        model.change(operations);
        follower.wait_until_equal(&mut model);
        follower.take(&mut model.mirror);
    }
    let deletion = model.world.deletion();
    model.directory.ldapmodify(&deletion);
    let changed = Instant::now();
    follower.wait_for(&mut model.mirror, "the deletion", |m| m["record"]["_sdc_deleted_at"].is_string());
    // STATE comes within a second; the rest is patience with a busy machine.
    follower.wait_for(&mut model.mirror, "its STATE", is_state);
    assert!(changed.elapsed() < Duration::from_secs(5), "{:?}", changed.elapsed());
    let said = follower.stop(&mut model.mirror);
    assert_eq!(resyncs(&said), 0, "{}", said.stderr);
    assert_eq!(said.of_type("ACTIVATE_VERSION").len(), 1, "deltas have no version of their own");

    model.mirror.reconfigure(&json!({"follow": false}));
    let output = model.look();
    assert!(output.of_type("RECORD").is_empty(), "all was seen: {}", output.stdout_text());
    model.change(10);
    model.look();
    // And a follower begins where an ordinary run ended.
    model.mirror.reconfigure(&json!({"follow": true}));
    let mut follower = Follower::start(&model.mirror);
    model.change(5);
    follower.wait_until_equal(&mut model);
    let said = follower.stop(&mut model.mirror);
    assert!(said.of_type("ACTIVATE_VERSION").is_empty(), "{}", said.stderr);
}

#[test]
fn openldap_is_followed() {
    follows(Kind::OpenLdap, 121);
}

#[test]
fn ds389_is_followed() {
    follows(Kind::Ds389, 122);
}

#[test]
fn active_directory_is_followed() {
    follows(Kind::ActiveDirectory, 123);
}

/// The server goes away and comes back; the tap does not.
fn outlives_restarts(mut model: Model) -> Output {
    model.mirror.reconfigure(&json!({"follow": true, "retry_max_wait_seconds": 1, "retry_attempts": 20}));
    let mut follower = Follower::start(&model.mirror);
    follower.wait_until_equal(&mut model);
    for _ in 0..3 {
        model.change(10);
        model.directory.restart();
        model.change(10);
        follower.wait_until_equal(&mut model);
    }
    follower.stop(&mut model.mirror)
}

#[test]
fn openldap_is_followed_through_restarts() {
    let directory = Directory::OpenLdap(ldap_tests::slapd::Slapd::start(log_that_stays()));
    let said = outlives_restarts(Model::on(directory, Method::Log, Habits::UnitsMove, 124));
    assert_eq!(resyncs(&said), 0, "its log survives: {}", said.stderr);
}

#[test]
fn openldap_is_followed_through_restarts_that_lose_its_log() {
    outlives_restarts(Model::start(Kind::OpenLdap, Method::Log, Habits::UnitsMove, 125));
}

#[test]
fn ds389_is_followed_through_restarts() {
    let said = outlives_restarts(Model::start(Kind::Ds389, Method::Log, Habits::UnitsMove, 126));
    assert_eq!(resyncs(&said), 0, "{}", said.stderr);
}

#[test]
fn a_quiet_directory_is_followed_quietly() {
    let (mut model, mut follower) = follower_of(Kind::OpenLdap, 127);
    follower.wait_until_equal(&mut model);
    sleep(Duration::from_millis(1_500));
    follower.take(&mut model.mirror);
    sleep(Duration::from_secs(3));
    let news = follower.take(&mut model.mirror);
    assert!(news.is_empty(), "nothing changed, nothing is said: {news:?}");
    follower.stop(&mut model.mirror);
}

/// Changes arrive while the follower begins: a server may tell of none of those that it made between looking at its position and
/// listening.
fn is_followed_from_the_first_change_on(kind: Kind, own_seed: u64) {
    let mut model = Model::start(kind, Method::Log, Habits::UnitsMove, own_seed);
    model.look();
    model.mirror.reconfigure(&json!({"follow": true}));
    let suffix = model.directory.suffix().to_owned();
    for round in 0..4 {
        let people: Vec<String> = (0..80)
            .map(|n| {
                format!("dn: cn=At once {round} {n},{suffix}\nchangetype: add\nobjectClass: inetOrgPerson\nsn: {n}\n\n")
            })
            .collect();
        let mut follower = Follower::start(&model.mirror);
        model.directory.ldapmodify(people.concat());
        follower.wait_until_equal(&mut model);
        follower.stop(&mut model.mirror);
    }
}

/// A container is renamed twice, and an entry below it is changed in between, before the follower comes to read of any of it: the
/// log has the entry's second name, what lies below the container is read under the third.
fn late_names_are_not_emitted(kind: Kind, own_seed: u64) {
    let (mut model, mut follower) = follower_of(kind, own_seed);
    let suffix = model.directory.suffix().to_owned();
    model.directory.ldapmodify(format!(
        "dn: ou=first,{suffix}\nchangetype: add\nobjectClass: organizationalUnit\n\n\
         dn: cn=Late,ou=first,{suffix}\nchangetype: add\nobjectClass: inetOrgPerson\nsn: x\n\n"
    ));
    follower.wait_until_equal(&mut model);
    follower.running.signal(Signal::STOP);
    let rename = |from: &str, to: &str| {
        format!("dn: ou={from},{suffix}\nchangetype: modrdn\nnewrdn: ou={to}\ndeleteoldrdn: 1\n\n")
    };
    let change = |below: &str| {
        format!("dn: cn=Late,ou={below},{suffix}\nchangetype: modify\nreplace: sn\nsn: {below}\n\n")
    };
    let changes =
        change("first") + &rename("first", "second") + &change("second") + &rename("second", "third");
    model.directory.ldapmodify(changes);
    follower.running.signal(Signal::CONT);
    follower.wait_until_equal(&mut model);
    follower.stop(&mut model.mirror);
}

#[test]
fn names_that_openldap_tells_late_are_not_emitted() {
    late_names_are_not_emitted(Kind::OpenLdap, 131);
}

#[test]
fn names_that_ds389_tells_late_are_not_emitted() {
    late_names_are_not_emitted(Kind::Ds389, 132);
}

#[test]
fn names_that_active_directory_tells_late_are_not_emitted() {
    late_names_are_not_emitted(Kind::ActiveDirectory, 133);
}

/// It forgets them.
#[test]
fn ds389_is_followed_from_the_first_change_on() {
    is_followed_from_the_first_change_on(Kind::Ds389, 128);
}

#[test]
fn openldap_is_followed_from_the_first_change_on() {
    is_followed_from_the_first_change_on(Kind::OpenLdap, 129);
}

#[test]
fn active_directory_is_followed_from_the_first_change_on() {
    is_followed_from_the_first_change_on(Kind::ActiveDirectory, 130);
}
