//! A stderr that cannot be written to: only the log is lost.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ldap_tests::run::Run;
use ldap_tests::server::{scratch, tool};
use serde_json::{Value, json};

use super::{people, schema};
use crate::support::lines;

/// A file that holds nothing but the base.
fn directory(folder: &Path) -> Value {
    let file = folder.join("tree.ldif");
    std::fs::write(
        &file,
        "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n\
         dn: ou=all,dc=example,dc=test\nobjectClass: organizationalUnit\nou: all\n\n",
    )
    .unwrap();
    json!({"server_url": format!("ldif:{}", file.display())})
}

/// Runs it with this stderr and this input: the exit code and stdout.
fn run(run: &Run, stderr: Stdio, input: &[u8]) -> (Option<i32>, String) {
    let mut command = run.command();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A program that reads no input does not have to.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

fn full() -> Stdio {
    Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap())
}

/// A pipe that nobody reads any more.
fn broken() -> Stdio {
    let mut child = Command::new(tool("true")).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    child.wait().unwrap();
    Stdio::from(std::os::fd::OwnedFd::from(stdin))
}

#[test]
fn a_log_that_cannot_be_written_ends_no_run() {
    for (name, stderr) in [("full", full as fn() -> Stdio), ("broken", broken)] {
        for more in [&["--log-level", "trace"][..], &["--log-format", "json"], &["--progress", "always"]] {
            let folder = scratch();
            let config = directory(folder.path());
            let rejects = folder.path().join("rejects.jsonl");
            let skipping = with_skip(&config, &rejects);
            let with_args = |run: Run| more.iter().fold(run, |run, arg| run.arg(*arg));
            let what = format!("{name}, {more:?}");

            let tap = with_args(Run::tap(&config));
            let (code, stdout) = run(&tap, stderr(), &[]);
            assert_eq!(code, Some(0), "the tap, {what}");
            assert_eq!(stdout.matches("\"RECORD\"").count(), 2, "{what}");

            // One record of three cannot be added.
            let mut messages = people(0, 2);
            messages.push(json!({"type": "RECORD", "stream": "all", "record":
                {"dn": "nowhere", "objectClass": ["person"], "cn": ["x"], "sn": ["x"]}}));
            messages.push(json!({"type": "STATE", "value": {"n": 3}}));
            let target = with_args(Run::target(&skipping));
            let (code, stdout) = run(&target, stderr(), lines(&messages).as_bytes());
            assert_eq!(code, Some(4), "the target, {what}");
            assert_eq!(stdout.lines().last(), Some("{\"n\":3}"), "{what}");
            let written = std::fs::read_to_string(folder.path().join("tree.ldif")).unwrap();
            assert!(written.contains("cn=p0,") && written.contains("cn=p1,"), "{what}");

            // What fails, fails as it would.
            let target = with_args(Run::target(&config));
            let (code, _) = run(&target, stderr(), b"nonsense\n");
            assert_eq!(code, Some(1), "{what}");
        }
    }
}

fn with_skip(config: &Value, rejects: &Path) -> Value {
    crate::support::with(
        config,
        &json!({"on_error": "skip", "reject_file": rejects, "create_parents": false}),
    )
}

/// Runs a command with its stderr on a terminal that is closed once something was drawn there, then gives it its input.
const CLOSED_TERMINAL: &str = r#"
import os, pty, subprocess, sys
master, slave = pty.openpty()
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=slave)
os.close(slave)
lines = open(sys.argv[1], "rb").read().splitlines(keepends=True)
child.stdin.write(lines[0]); child.stdin.flush()
os.read(master, 1)
os.close(master)
out, _ = child.communicate(b"".join(lines[1:]))
sys.stdout.buffer.write(out)
sys.exit(child.returncode % 256)
"#;

#[test]
fn a_terminal_that_is_closed_ends_no_run() {
    let folder = scratch();
    let config = directory(folder.path());
    let input = folder.path().join("input");
    let messages: Vec<Value> = people(0, 40);
    assert_eq!(messages[0], schema());
    std::fs::write(&input, lines(&messages)).unwrap();
    let target = Run::target(&config).arg("--progress").arg("always").arg("--log-level").arg("trace");
    let command = target.command();
    let output = Command::new(tool("python3"))
        .args(["-c", CLOSED_TERMINAL])
        .arg(&input)
        .arg(command.get_program())
        .args(command.get_args())
        .stderr(File::create(folder.path().join("stderr")).unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8(output.stdout).unwrap().ends_with("{\"n\":40}\n"));
}
