//! `tap-ldap | target-ldap` with `follow`: a second directory that follows the first.

use std::io::Write as _;
use std::path::Path;
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use ldap_tests::ldif::differences;
use ldap_tests::run::{Run, Running, output, spawn_pipe};
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::random_company::{Habits, World};
use super::server_kind::Kind;
use super::server_resets::log_that_stays;
use crate::support::rng;
use crate::support::{no_panic, states, tap_config, target_config, with};

const OPERATIONS: usize = 1_000;
/// 100 a second.
const PACE: Duration = Duration::from_millis(10);
/// How far behind the copy may be.
const LAG: Duration = Duration::from_secs(2);

/// Two servers, the one with people, the other with nothing but its suffix; and the pair between them.
struct Live {
    source: Slapd,
    copy: Slapd,
    world: World,
    /// Of the tap: the names that the server does not tell.
    state_dir: TempDir,
    tap: Running,
    target: Running,
    seed: u64,
}

/// A mirror of all that the model makes, but for renamed units.
fn live(options: SlapdOptions, own_seed: u64) -> Live {
    let seed = rng::seed(own_seed);
    let source = Slapd::start(options);
    let copy = Slapd::start(SlapdOptions::default());
    let mut world = World::new(Kind::OpenLdap, source.suffix(), Habits::PeopleMove, seed);
    source.ldapmodify(world.populate(30));
    let state_dir = scratch();
    let (tap, target) = pair(&source, &copy, state_dir.path(), None);
    let mut live = Live { source, copy, world, state_dir, tap, target, seed };
    let deadline = Instant::now() + Duration::from_secs(20);
    while !differences("source", &live.source.dump(), "copy", &live.copy.dump()).is_empty() {
        let ended = live.tap.child().try_wait().unwrap().is_some();
        assert!(!ended && Instant::now() < deadline, "the first copy is not made: {:?}", live.tap.end());
        sleep(Duration::from_millis(50));
    }
    live
}

fn pair(source: &Slapd, copy: &Slapd, state_dir: &Path, state: Option<&Value>) -> (Running, Running) {
    let follow = json!({
        "schemas": [{"name": "all", "base_dn": source.suffix(), "replication_method": "LOG_BASED"}],
        "follow": true,
        "track_deletions": true,
        "state_dir": state_dir,
        "retry_max_wait_seconds": 1,
    });
    let mut tap = Run::tap(&with(&tap_config(source), &follow));
    if let Some(state) = state {
        tap = tap.file("--state", state);
    }
    spawn_pipe(&tap, &Run::target(&target_config(copy)))
}

impl Live {
    /// Operations, one at a time, in the pace above.
    fn change(&mut self, operations: usize) {
        let mut writer = self.source.ldapmodify_session();
        let mut stdin = writer.stdin.take().unwrap();
        let start = Instant::now();
        for n in 1..=operations {
            let ldif = self.world.operations(1);
            if stdin.write_all(ldif.as_bytes()).and_then(|()| stdin.flush()).is_err() {
                ends_well(writer);
                panic!("MODEL_SEED={}: it ended before\n{ldif}", self.seed);
            }
            sleep((PACE * u32::try_from(n).unwrap()).saturating_sub(start.elapsed()));
        }
        drop(stdin);
        ends_well(writer);
    }

    #[track_caller]
    fn assert_equal_in_time(&mut self) {
        sleep(LAG);
        let lines = differences("source", &self.source.dump(), "copy", &self.copy.dump());
        if lines.is_empty() {
            return;
        }
        sleep(LAG * 4);
        let later = differences("source", &self.source.dump(), "copy", &self.copy.dump());
        panic!(
            "MODEL_SEED={}: {} differences after {LAG:?}, {} some seconds later; the first of them:\n{}\ntap: {:?}\ntarget: {:?}",
            self.seed,
            lines.len(),
            later.len(),
            lines.iter().take(10).cloned().collect::<Vec<_>>().join("\n"),
            self.tap.end(),
            self.target.end(),
        );
    }
}

fn ends_well(writer: Child) {
    let output = writer.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What the target printed, once it has ended.
#[track_caller]
fn ended(mut target: Running, code: i32) -> Vec<Value> {
    let stdout = std::io::read_to_string(target.take_stdout()).unwrap();
    let (ended_with, stderr, took) = target.wait(Duration::from_secs(20));
    let output = output(ended_with, stdout.into_bytes(), stderr, took).exits(code);
    no_panic(&output);
    states(&output)
}

#[test]
fn a_live_mirror_is_two_seconds_behind_at_most() {
    let mut live = live(SlapdOptions::default(), 131);
    live.change(rng::operations(OPERATIONS));
    live.assert_equal_in_time();
    live.tap.signal(Signal::TERM);
    live.target.signal(Signal::TERM);
    let (code, stderr, _) = live.tap.wait(Duration::from_secs(10));
    // 1 where the target was faster, and the tap's last STATE had no reader.
    assert!([143, 1].contains(&code), "{code}: {stderr}");
    assert_eq!(stderr.to_lowercase().matches("resync").count(), 0, "{stderr}");
    let printed = ended(live.target, 143);
    let state = printed.last().expect("a live mirror prints STATE").clone();

    // While nobody followed, there was a change; the next pair goes on from the STATE of the last.
    live.source.ldapmodify(live.world.growth(15));
    let before = live.copy.change_marks();
    (live.tap, live.target) = pair(&live.source, &live.copy, live.state_dir.path(), Some(&state));
    live.assert_equal_in_time();
    let written = crate::support::written(&before, &live.copy.change_marks());
    assert!(written.len() < 35, "only what changed is written: {written:?}");
    // When the tap ends, the target has all there is.
    live.tap.signal(Signal::TERM);
    let (code, stderr, _) = live.tap.wait(Duration::from_secs(10));
    assert_eq!(code, 143, "{stderr}");
    ended(live.target, 0);
}

#[test]
fn a_mirror_that_was_away_hears_of_deletions() {
    let mut live = live(log_that_stays(), 133);
    live.tap.signal(Signal::TERM);
    assert_eq!(live.tap.wait(Duration::from_secs(10)).0, 143);
    let state = ended(live.target, 0).pop().unwrap();
    // The server names what was deleted by its id alone; a target needs more than that.
    live.source.ldapmodify(live.world.operations(60));
    (live.tap, live.target) = pair(&live.source, &live.copy, live.state_dir.path(), Some(&state));
    live.assert_equal_in_time();
}

#[test]
fn a_live_mirror_goes_on_when_its_source_was_restarted() {
    let mut live = live(log_that_stays(), 132);
    for _ in 0..2 {
        live.change(150);
        live.source.restart();
        live.change(150);
        live.assert_equal_in_time();
    }
    live.tap.signal(Signal::TERM);
    let (code, stderr, _) = live.tap.wait(Duration::from_secs(10));
    assert_eq!(code, 143, "{stderr}");
    ended(live.target, 0);
}
