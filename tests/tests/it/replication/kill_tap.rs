//! A tap killed at any moment continues from the last STATE it printed, and loses nothing.

use serde_json::json;

use super::random_changes::Model;
use super::random_company::Habits;
use super::repeated_runs::Method;
use super::server_kind::Kind;

const KILLS: usize = 20;
/// Runs that came to their end before they were killed, at most.
const ESCAPES: usize = 100;

/// Kills at every kind of moment: in the first read, in the middle of a delta, between two messages of one entry.
fn survives_kills(kind: Kind, method: Method, own_seed: u64) {
    let mut model = Model::start(kind, method, Habits::UnitsMove, own_seed);
    // Pages and STATE as often as can be: the more places there are to go on from, the more can be wrong.
    model.mirror.reconfigure(&json!({"page_size": 5, "state_interval_records": 3}));
    let (mut kills, mut escapes) = (0, 0);
    while kills < KILLS {
        // The first of them in the first read, before there is any complete answer.
        let longest = if kills < 5 { 45 } else { 15 };
        let lines = 1 + model.world.rng().below(longest);
        if model.mirror.run_killed_after(lines) == lines {
            kills += 1;
        } else {
            escapes += 1;
            assert!(escapes < ESCAPES, "{kills} kills, and {escapes} runs had ended before");
        }
        // A run that ended was not long enough to be killed: the next one gets more to tell.
        if kills >= 3 || escapes > 0 {
            let operations = 1 + model.world.rng().below(30);
            model.change(operations);
        }
        if model.world.rng().chance(15) {
            model.look();
        }
    }
    model.look();
    model.change(10);
    model.look();
}

#[test]
fn log_based_goes_on_after_kill_9() {
    survives_kills(Kind::OpenLdap, Method::Log, 51);
}

#[test]
fn ds389s_log_goes_on_after_kill_9() {
    // Its last cookie comes ahead of the entries that it covers.
    survives_kills(Kind::Ds389, Method::Log, 56);
}

#[test]
fn by_entry_csn_goes_on_after_kill_9() {
    survives_kills(Kind::OpenLdap, Method::By("entryCSN"), 52);
}

#[test]
fn by_modify_timestamp_goes_on_after_kill_9() {
    survives_kills(Kind::OpenLdap, Method::By("modifyTimestamp"), 53);
}

#[test]
fn log_based_with_an_index_goes_on_after_kill_9() {
    survives_kills(Kind::OpenLdap, Method::TrackedLog, 55);
}

#[test]
fn the_index_of_keys_goes_on_after_kill_9() {
    // What the index knows and what the reader of stdout knows are two things, and a kill comes between them.
    survives_kills(Kind::OpenLdap, Method::Tracked("entryCSN"), 54);
}
