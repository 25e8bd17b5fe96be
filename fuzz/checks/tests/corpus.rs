//! What the fuzzers began with and what they found, fed to the same checks.

// A panic here is a failed test.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use fuzz_checks::CHECKS;

fn files(below: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(below)
        .unwrap_or_else(|e| panic!("{}: {e}", below.display()))
        .map(|f| f.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_input_that_is_kept_holds() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for kind in ["corpus", "regressions"] {
        // Where the fuzzers found nothing there is none.
        let below = fuzz.join(kind);
        for folder in if below.is_dir() { files(&below) } else { Vec::new() } {
            let name = folder.file_name().unwrap().to_str().unwrap();
            let known = CHECKS.iter().find(|(known, _)| *known == name);
            let (_, check) = known.unwrap_or_else(|| panic!("{} belongs to no check", folder.display()));
            let inputs = files(&folder);
            assert!(!inputs.is_empty(), "{} is empty", folder.display());
            for input in inputs {
                println!("{}", input.display());
                check(&std::fs::read(&input).unwrap());
            }
        }
    }
    for (name, _) in CHECKS {
        assert!(fuzz.join("corpus").join(name).is_dir(), "no corpus for {name}");
        assert!(fuzz.join("fuzz_targets").join(name).with_extension("rs").is_file(), "no fuzz target {name}");
    }
}
