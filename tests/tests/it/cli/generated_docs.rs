//! The generated documents in the repository are up to date.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use ldap_tests::run::{Program, Run};
use ldap_tests::server::{scratch, tool};
use serde_json::Value;

#[test]
fn the_tables_of_settings_are_up_to_date() {
    for program in Program::ALL {
        let about = Run::bare(program).arg("--about").arg("--format").arg("markdown").run().succeeds();
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../docs/reference")
            .join(program.name())
            .with_extension("md");
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == about.stdout_text(),
            "docs/reference/{0}.md is not what `{0} --about --format markdown` prints: run `make docs`",
            program.name()
        );
    }
}

/// Messages refer to these anchors.
#[test]
fn every_setting_has_a_group_and_an_anchor_of_its_own() {
    for program in Program::ALL {
        let about = |format: &str| {
            Run::bare(program).arg("--about").arg("--format").arg(format).run().succeeds().stdout_text()
        };
        let page = about("markdown");
        let (_, settings) = page.split_once("\n## Settings\n").unwrap();
        let mut anchors = Vec::new();
        let mut groups = Vec::new();
        for line in settings.lines() {
            if let Some(title) = line.strip_prefix("### ") {
                // As GitHub and MkDocs name the anchor of a heading.
                groups.push(title.to_lowercase().replace(' ', "-").replace(',', ""));
            } else if let Some((anchor, rest)) =
                line.strip_prefix("| <a id=\"").and_then(|rest| rest.split_once("\"></a>"))
            {
                assert!(rest.starts_with(&format!("`{anchor}`")), "{line}");
                assert!(!groups.is_empty(), "{anchor} stands below no heading");
                anchors.push(anchor.to_owned());
            }
        }
        let about: Value = serde_json::from_str(&about("json")).unwrap();
        let known: BTreeSet<String> =
            about["settings"]["properties"].as_object().unwrap().keys().cloned().collect();
        assert!(groups.len() > 8 && known.len() > 40, "{groups:?}");
        assert_eq!(anchors.iter().cloned().collect::<BTreeSet<_>>(), known, "{}", program.name());
        anchors.extend(groups);
        let count = anchors.len();
        anchors.sort();
        anchors.dedup();
        assert_eq!(anchors.len(), count, "two places have one anchor: {anchors:?}");
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The files below a folder, by their path in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap_or_else(|e| panic!("{}: {e}", next.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), text);
            }
        }
    }
    found
}

/// What the wheels install below their prefix.
#[test]
fn manual_pages_and_completions_are_up_to_date() {
    for program in Program::ALL {
        let name = program.name();
        let dir = scratch();
        let script = repository().join("scripts/write-pages.sh");
        let status = Command::new(script).arg(program.path()).arg(dir.path()).status().unwrap();
        assert!(status.success());
        let (new, there) = (files(dir.path()), files(&repository().join(name).join("wheel/data")));
        let names = |files: &BTreeMap<PathBuf, String>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&new), names(&there), "{name}: run `make docs`");
        for (path, text) in new {
            assert!(
                there[&path] == text,
                "{name}/wheel/data/{} is out of date: run `make docs`",
                path.display()
            );
        }
    }
}

/// What a shell makes of the completions, and `man` of the pages.
#[test]
fn bash_completes_and_man_shows() {
    for program in Program::ALL {
        let name = program.name();
        let share = repository().join(name).join("wheel/data/share");
        // As bash itself calls it: COMP_WORDS, COMP_CWORD, and the command, the word and the one before as arguments.
        let script = "source \"$1\"; COMP_WORDS=(\"$2\" --log-); COMP_CWORD=1; _${2//-/__} \"$2\" --log- \"$2\"; echo \"${COMPREPLY[@]}\"";
        let file = share.join("bash-completion/completions").join(name);
        let output = Command::new("bash").args(["-c", script, "bash"]).arg(file).arg(name).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.trim(), "--log-level --log-format", "{}", String::from_utf8_lossy(&output.stderr));

        let page = share.join("man/man1").join(format!("{name}.1"));
        let output = Command::new(tool("groff"))
            .args(["-man", "-Tutf8", "-ww", "-P-cbou"])
            .arg(page)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "groff complains");
        for section in ["SYNOPSIS", "OPTIONS", "EXAMPLES", "EXIT STATUS"] {
            assert!(text.contains(section), "{section}:\n{text}");
        }
    }
}

/// `--help` as it is, to be looked at when it changes.
#[test]
fn the_help_is_as_expected() {
    for program in Program::ALL {
        for (form, extension) in [("--help", "long"), ("-h", "short")] {
            let output = Run::bare(program).arg(form).run().succeeds();
            let name = format!("help/{}.{extension}.txt", program.name());
            crate::support::golden::assert_golden_text(&name, &output.stdout_text());
        }
    }
}
