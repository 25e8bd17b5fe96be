//! Meltano's definitions in the repository are those that the table of settings gives.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};

use singer_common::plugin::definition::{lock, short_yaml, yaml};
use target_ldap::settings::{ABOUT, PLUGIN};

/// Set to write the files instead of comparing with them; `make docs` does.
const UPDATE: &str = "UPDATE_DEFINITIONS";

fn check(path: PathBuf, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../meltano").join(path);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, expected).unwrap();
        return;
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == expected, "{} is not what the table of settings gives: run `make docs`", path.display());
}

#[test]
fn the_hubs_definition_is_up_to_date() {
    let file = format!("{}.yml", PLUGIN.variant);
    check(Path::new(PLUGIN.kind).join(ABOUT.name).join(file), &yaml(&ABOUT, &PLUGIN, "make docs"));
}

#[test]
fn the_short_definition_is_up_to_date() {
    let full = format!("{}.yml", PLUGIN.variant);
    let text = short_yaml(&ABOUT, &PLUGIN, &full, "make docs");
    check(Path::new(PLUGIN.kind).join(ABOUT.name).join("short.yml"), &text);
}

#[test]
fn the_lock_of_the_sample_project_is_up_to_date() {
    let file = format!("{}--{}.lock", ABOUT.name, PLUGIN.variant);
    check(Path::new("project/plugins").join(PLUGIN.kind).join(file), &lock(&ABOUT, &PLUGIN));
}
