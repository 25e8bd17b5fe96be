//! Progress: bars on a terminal, lines elsewhere if requested, and never on stdout.

use ldap_tests::pty::run_on_terminal;
use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::json;

use crate::support::{people, tap_config, target_config, unit, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";

/// The lines that are left on a terminal, after what is drawn over is gone: all that was written since the last line feed
/// or carriage return, without what steers the terminal.
fn lines(seen: &str) -> Vec<String> {
    let mut out = Vec::new();
    for line in seen.split('\n') {
        let mut text = String::new();
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                '\u{1b}' => {
                    // A control sequence: ESC [ … letter. One that clears the line takes away what was there.
                    let sequence: Vec<char> =
                        chars.by_ref().take_while(|c| !c.is_ascii_alphabetic()).collect();
                    if sequence == ['[', '2'] {
                        text.clear();
                    }
                }
                '\r' => {}
                c => text.push(c),
            }
        }
        out.push(text.trim_end().to_owned());
    }
    out
}

#[test]
fn bars_are_drawn_on_a_terminal_and_break_no_line() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    slapd.ldapadd(people(3_000, PEOPLE));
    let dir = scratch();
    let out = dir.path().join("out.singer");
    let config = with(&tap_config(&slapd), &json!({"discovery_sample_size": 10}));
    let tap = run_on_terminal(&Run::tap(&config), out.to_str(), &[]).exits(0);
    assert!(tap.stderr.contains("all streams") && tap.stderr.contains("people"), "{}", tap.stderr);
    assert!(tap.stderr.contains("records, stream 1 of "), "{}", tap.stderr);
    // Every log line is whole, and the last thing to be seen.
    let log: Vec<String> = lines(&tap.stderr).into_iter().filter(|l| l.contains(" | ")).collect();
    assert!(
        log.len() >= 2 && log.iter().all(|l| l.starts_with("20") && l.contains(" | tap-ldap | ")),
        "{log:#?}"
    );
    assert!(log.last().unwrap().contains(" done after "), "{log:#?}");
    // stdout has messages alone.
    let text = std::fs::read_to_string(&out).unwrap();
    assert!(text.lines().all(|l| l.starts_with("{\"type\":")) && text.lines().count() > 3_000);

    // The target: what of the file is read, and of each stream what was taken in and what is done.
    let other = Slapd::start(SlapdOptions::default());
    let load = Run::target(&target_config(&other)).arg("--input").arg(out.to_str().unwrap());
    let states = dir.path().join("state");
    let target = run_on_terminal(&load, states.to_str(), &[]).exits(0);
    assert!(
        target.stderr.contains("read of the file") && target.stderr.contains("left"),
        "{}",
        target.stderr
    );
    assert!(lines(&target.stderr).iter().any(|l| l.contains("added")), "{}", target.stderr);
    // Nothing where nobody looks.
    let quiet =
        Run::target(&target_config(&other)).arg("--input").arg(out.to_str().unwrap()).run().succeeds();
    assert!(!quiet.stderr.contains('\u{1b}') && !quiet.stderr.contains("so far"), "{}", quiet.stderr);
    let never = run_on_terminal(&Run::tap(&config).arg("--progress=never"), out.to_str(), &[]).exits(0);
    assert!(!never.stderr.contains("all streams"), "{}", never.stderr);
    // Printing to the terminal itself leaves no room for bars.
    let both = run_on_terminal(&Run::tap(&config).arg("--log-level=off"), None, &[]).exits(0);
    assert!(both.stderr.lines().all(|l| l.starts_with('{')), "something between the messages");
}

#[test]
fn without_a_terminal_lines_come_only_when_they_are_asked_for() {
    let dir = scratch();
    let path = dir.path().join("directory.ldif");
    let top = "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n".to_owned();
    std::fs::write(&path, top + &unit(PEOPLE) + &people(10_050, PEOPLE)).unwrap();
    let config = json!({"server_url": format!("ldif:{}", path.display())});
    let always = Run::tap(&config).arg("--progress=always").text_log().run().succeeds();
    assert!(always.stderr.contains("people: 10000 records so far") && !always.stderr.contains('\u{1b}'));
    assert!(!Run::tap(&config).run().succeeds().stderr.contains("so far"));
}
