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

/// Texts of which much steers, made by a generator of numbers (Numerical Recipes, 7.1) from the same seed each time.
#[test]
fn texts_made_at_random_are_printable() {
    let mut state: u64 = 1;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..next(24) {
            let number = match next(6) {
                0 => next(0x100),
                1 => 0x2000 + next(0x80),
                2 => 0xe_0000 + next(0x90),
                3 => 0xfe00 + next(0x200),
                4 => u64::from(b"<>&\"'\\nrtu,/._"[usize::try_from(next(14)).unwrap()]),
                _ => next(0x11_0000),
            };
            text.extend(u32::try_from(number).ok().and_then(char::from_u32));
        }
        fuzz_checks::printable(text.as_bytes());
    }
}
