//! Replication: changes and deletions, from every kind of server, by every method it offers.

use ldap_tests::run::{Output, Run};
use serde_json::Value;

use crate::support::no_panic;

mod bookmarks;
mod concurrent_changes;
mod content_sync;
mod follow;
mod follow_into_target;
mod ignore_modifiers;
mod index_keys;
mod kill_tap;
mod mismatched_state;
mod no_changes;
mod random_changes;
pub(crate) mod random_company;
mod renamed_parents;
mod repeated_runs;
mod restored_backup;
pub(crate) mod server_kind;
mod server_resets;
mod track_deletions;
mod track_renames;
mod unsupported_methods;
mod warehouse_table;

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
