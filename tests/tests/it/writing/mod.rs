//! Entries added, modified, renamed: the fewest changes, their conditions and their order.

use crate::support::run;

mod accounts;
mod assert_unchanged;
mod chosen_values;
mod deferred_records;
mod dn_references;
mod exchanged_values;
mod generalized_time;
mod generated_passwords;
mod hidden_root_dse;
mod kill_target;
mod left_names;
mod lookups;
mod match_and_rename;
mod max_in_flight;
mod memberships;
mod minimal_modifications;
mod missing_bases;
mod oversized_records;
mod passwords;
mod people_before_units;
mod policies;
mod prefetch;
mod preserve_uuid;
mod protected;
mod refused_records;
mod schema_differences;
mod search_bases;
mod second_run;
mod server_habits;
mod template_sources;
mod unique_values;
mod unreadable;
mod write_connections;
