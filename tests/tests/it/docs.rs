//! What is generated from the code is what is in the repository.

use std::path::Path;

use ldap_tests::run::{Program, Run};

#[test]
fn the_tables_of_settings_are_up_to_date() {
    for program in [Program::Tap, Program::Target] {
        let about = Run::bare(program).arg("--about").arg("--format").arg("markdown").run().succeeds();
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(program.name()).with_extension("md");
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == about.stdout_text(),
            "docs/{0}.md is not what `{0} --about --format markdown` prints: run `make docs`",
            program.name()
        );
    }
}
