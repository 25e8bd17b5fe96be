//! Replication: what changed and what is gone, from every kind of server, by every method it offers.

use ldap_tests::run::{Output, Run};
use serde_json::Value;

use crate::support::no_panic;

mod busy;
mod durable;
mod follow;
mod keys;
mod kill;
mod kind;
mod live;
mod loops;
mod mirror;
mod model;
mod names;
mod positions;
mod quiet;
mod refused;
mod restored;
pub(crate) mod rng;
mod states;
mod table;
mod upsets;
mod world;

/// Runs the tap to its end, from a STATE. What it printed, and the STATE to go on from.
#[track_caller]
fn go_on(mut run: Run, state: Option<&Value>) -> (Output, Value) {
    if let Some(state) = state {
        run = run.file("--state", state);
    }
    let output = run.run().succeeds();
    no_panic(&output);
    let state = output.of_type("STATE").last().unwrap()["value"].clone();
    (output, state)
}
