//! Entries added, modified, renamed: the fewest changes, their conditions and their order.

mod accounts;
mod assert_unchanged;
mod deferred_records;
mod dn_references;
mod exchanged_values;
mod generalized_time;
mod kill_target;
mod match_and_rename;
mod max_in_flight;
mod minimal_modifications;
mod oversized_records;
mod passwords;
mod people_before_units;
mod policies;
mod prefetch;
mod preserve_uuid;
mod protected;
mod schema_differences;
mod second_run;
mod server_habits;
mod unique_values;
mod unreadable;
mod write_connections;
