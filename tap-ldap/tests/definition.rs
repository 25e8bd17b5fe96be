//! Meltano's definitions in the repository are those that the table of settings gives.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::path::Path;

use singer_common::plugin::definition::files;
use tap_ldap::settings::{ABOUT, PLUGIN};

/// Set to write the files instead of comparing with them; `make docs` does.
const UPDATE: &str = "UPDATE_DEFINITIONS";

#[test]
fn meltanos_files_are_up_to_date() {
    for (path, expected) in files(&ABOUT, &PLUGIN, "make docs") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../meltano").join(path);
        if std::env::var_os(UPDATE).is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, expected).unwrap();
            continue;
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == expected,
            "{} is not what the table of settings gives: run `make docs`",
            path.display()
        );
    }
}
