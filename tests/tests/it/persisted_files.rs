//! Files of versions before are read: STATE with an index of keys, an undo file, the journal of a run that was killed, a held plan, and a
//! reject file. `tests/fixtures/kept/` has them as those versions wrote them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ldap_tests::run::Program;
use serde_json::Value;

const KEPT: &str = "fixtures/kept/0.1.0-before-ldap-directory";

/// Plans and rejects without the identity of what they name, and of their runs.
const NAMELESS: &str = "fixtures/kept/0.1.0-before-identity";

/// A folder with copies of the kept files, named as the runs named them, and what a file is called besides.
fn folder(copies: &[(&str, &str)]) -> tempfile::TempDir {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(KEPT);
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("index")).unwrap();
    for index in std::fs::read_dir(kept.join("index")).unwrap() {
        let index = index.unwrap();
        std::fs::copy(index.path(), folder.path().join("index").join(index.file_name())).unwrap();
    }
    for (from, to) in copies {
        std::fs::copy(kept.join(from), folder.path().join(to)).unwrap();
    }
    folder
}

fn run(program: &PathBuf, folder: &Path, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

fn records(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let messages = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    messages.filter(|message| message["type"] == "RECORD").collect()
}

#[test]
fn state_and_index_of_the_version_before_are_read() {
    let folder =
        folder(&[("directory.ldif", "people.ldif"), ("tap.json", "tap.json"), ("state.json", "state.json")]);
    let tap = Program::Tap.path();
    let args = ["--config", "tap.json", "--state", "state.json"];
    assert!(records(&run(&tap, folder.path(), &args)).is_empty(), "nothing changed since");
    // The STATE and the index are as they were: the first run printed no record.
    let people = folder.path().join("people.ldif");
    let text = std::fs::read_to_string(&people).unwrap();
    let without: Vec<&str> = text.split("\n\n").filter(|entry| !entry.starts_with("dn: cn=Grace")).collect();
    std::fs::write(&people, without.join("\n\n")).unwrap();
    let deleted = records(&run(&tap, folder.path(), &args));
    assert_eq!(deleted.len(), 1, "{deleted:?}");
    assert_eq!(deleted[0]["record"]["entryUUID"], "00000000-0000-4000-8000-000000000003");
    assert!(deleted[0]["record"]["_sdc_deleted_at"].is_string());
}

#[test]
fn an_undo_file_of_the_version_before_is_carried_out() {
    let folder =
        folder(&[("after.ldif", "target.ldif"), ("target.json", "target.json"), ("undo.ldif", "undo.ldif")]);
    run(&Program::Target.path(), folder.path(), &["undo", "undo.ldif", "--config", "target.json"]);
    let text = std::fs::read_to_string(folder.path().join("target.ldif")).unwrap();
    for (part, is_there) in [("sn: Lovelace", true), ("cn: Grace", true), ("Edsger", false), ("mail:", false)]
    {
        assert_eq!(text.contains(part), is_there, "{part} in\n{text}");
    }
}

#[test]
fn a_journal_of_the_version_before_is_read() {
    let folder = folder(&[
        ("directory.ldif", "target.ldif"),
        ("target.json", "target.json"),
        ("undo.ldif.journal", "undo.ldif.journal"),
    ]);
    run(&Program::Target.path(), folder.path(), &["--config", "target.json"]);
    assert!(
        !folder.path().join("undo.ldif.journal").exists(),
        "the killed run wrote nothing: there is nothing to take back"
    );
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(KEPT).join("directory.ldif");
    let text = std::fs::read_to_string(folder.path().join("target.ldif")).unwrap();
    assert_eq!(text, std::fs::read_to_string(kept).unwrap());
}

/// A folder with these files of [`NAMELESS`], and the directory.
fn nameless(files: &[&str]) -> tempfile::TempDir {
    let folder = folder(&[("directory.ldif", "target.ldif")]);
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join(NAMELESS);
    for file in files {
        std::fs::copy(kept.join(file), folder.path().join(file)).unwrap();
    }
    folder
}

#[test]
fn a_held_plan_of_the_version_before_is_carried_out() {
    let folder = nameless(&["plan.ldif", "target.json"]);
    run(&Program::Target.path(), folder.path(), &["apply", "plan.ldif", "--config", "target.json"]);
    let text = std::fs::read_to_string(folder.path().join("target.ldif")).unwrap();
    assert!(text.contains("dn: cn=Edsger,") && text.contains("manager: cn=Ada,"), "{text}");
}

#[test]
fn a_reject_file_of_the_version_before_is_tried_again() {
    let folder = nameless(&["rejects.jsonl", "retry.json"]);
    let args = ["--config", "retry.json", "--input", "rejects.jsonl", "--retry-rejects"];
    run(&Program::Target.path(), folder.path(), &args);
    let text = std::fs::read_to_string(folder.path().join("target.ldif")).unwrap();
    assert!(text.contains("dn: uid=ada,") && text.contains("dn: uid=bob,"), "{text}");
}
