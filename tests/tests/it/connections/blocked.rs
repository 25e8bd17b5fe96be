//! What blocks outside of this program: a resolver that does not answer, and a pipe without a writer. Neither delays the end of a run.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use ldap_tests::run::Run;
use ldap_tests::server::{scratch, succeed, tool};
use rustix::process::Signal;
use serde_json::json;

/// A name lookup that takes half a minute, in place of the C library's.
const SILENT: &str = "#include <unistd.h>
int getaddrinfo(const char *n, const char *s, const void *h, void **r) { sleep(30); return -3; }
";

#[test]
fn a_resolver_that_does_not_answer_does_not_delay_the_end() {
    let dir = scratch();
    let (source, library) = (dir.path().join("silent.c"), dir.path().join("silent.so"));
    fs::write(&source, SILENT).unwrap();
    succeed(Command::new(tool("cc")).args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source));
    let config =
        json!({"server_url": "ldap://ldap.example.test", "connect_timeout_seconds": 1, "retry_attempts": 0});
    let run = Run::tap(&config).env("LD_PRELOAD", library.to_str().unwrap());
    // Builds the executables before the time counts.
    Run::tap(&config).arg("--version").run();
    let output = run.run().exits(3);
    assert!(output.took < Duration::from_secs(10), "{:?}", output.took);
}

#[test]
fn a_pipe_without_a_writer_does_not_delay_the_end() {
    let dir = scratch();
    let pipe = dir.path().join("pipe.ldif");
    succeed(Command::new(tool("mkfifo")).arg(&pipe));
    let mut running = Run::tap(&json!({"server_url": format!("ldif:{}", pipe.display())})).spawn();
    std::thread::sleep(Duration::from_secs(1));
    let began = Instant::now();
    running.signal(Signal::TERM);
    let (code, stderr, _) = running.wait(Duration::from_secs(20));
    assert_eq!(code, 143, "{stderr}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
