//! The command line: exit codes, messages, settings that are wrong, and the subcommands `init` and `doctor`.

mod doctor;
mod exit_codes;
mod failures;
mod generated_docs;
mod init;
mod misspelled_and_duplicate_keys;
mod stop;
mod terminal;
mod terminal_escapes;
mod unknown_names;
