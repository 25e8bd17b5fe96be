//! What a person sees on a terminal, and a program in a pipe does not: colors, indentation, no METRIC lines.

use ldap_tests::pty::run_on_terminal;
use ldap_tests::run::{Program, Run};
use ldap_tests::server::scratch;
use serde_json::{Value, json};

const ESCAPE: char = '\u{1b}';

/// A directory in a file, and its configuration.
fn directory() -> (tempfile::TempDir, Value) {
    let dir = scratch();
    let path = dir.path().join("tree.ldif");
    let tree = "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n\
                dn: ou=people,dc=example,dc=test\nobjectClass: organizationalUnit\nou: people\n\n";
    std::fs::write(&path, tree).unwrap();
    let config = json!({"server_url": format!("ldif:{}", path.display())});
    (dir, config)
}

fn both(config: &Value) -> [Run; 2] {
    [Run::tap(config), Run::target(config)]
}

#[test]
fn a_health_report_is_indented_on_a_terminal_and_one_line_elsewhere() {
    let (_dir, config) = directory();
    for run in both(&config) {
        let run = run.arg("--test");
        let seen = run_on_terminal(&run, None, &[]).exits(0).stderr.replace('\r', "");
        let report = seen.split_at(seen.find('{').unwrap()).1;
        assert!(report.starts_with("{\n  \"status\": \"healthy\","), "{seen}");
        let report: Value = serde_json::from_str(report).unwrap_or_else(|e| panic!("{e}: {seen}"));
        assert_eq!(report["status"], "healthy");
        let piped = run.run().succeeds();
        assert_eq!(piped.stdout_text().lines().count(), 1);
        assert_eq!(piped.json()["status"], "healthy");
    }
}

#[test]
fn doctor_has_colors_on_a_terminal_alone() {
    let (dir, config) = directory();
    for run in both(&config) {
        let run = run.arg("doctor");
        let seen = run_on_terminal(&run, None, &[]).exits(0);
        assert!(seen.stderr.contains("\u{1b}[32mok"), "{:?}", seen.stderr);
        let plain = run_on_terminal(&run.env("NO_COLOR", "1"), None, &[]).exits(0);
        assert!(!plain.stderr.contains(ESCAPE) && plain.stderr.contains("ok"), "{:?}", plain.stderr);
    }
    for run in both(&config) {
        let run = run.arg("doctor");
        // The terminal is stderr alone.
        let file = dir.path().join("report");
        run_on_terminal(&run, file.to_str(), &[]).exits(0);
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("ok") && !text.contains(ESCAPE), "{text:?}");
        assert!(!run.run().succeeds().stdout_text().contains(ESCAPE));
    }
    let forced = Run::tap(&config).arg("doctor").env("CLICOLOR_FORCE", "1").run().succeeds();
    assert!(forced.stdout_text().contains("\u{1b}[32mok"));
    let json = Run::tap(&config).arg("doctor").arg("--format=json").env("CLICOLOR_FORCE", "1").run();
    assert_eq!(json.succeeds().json()["status"], "healthy");
}

#[test]
fn help_has_colors_on_a_terminal_alone() {
    for program in Program::ALL {
        for words in [&["--help"][..], &["doctor", "--help"]] {
            let run = || words.iter().fold(Run::bare(program), |run, word| run.arg(*word));
            let seen = run_on_terminal(&run(), None, &[]).exits(0);
            // Green headings, not only clap's bold ones.
            assert!(seen.stderr.contains("\u{1b}[32mOptions:"), "{:?}", seen.stderr);
            let plain = run_on_terminal(&run().env("NO_COLOR", "1"), None, &[]).exits(0);
            assert!(!plain.stderr.contains(ESCAPE), "{:?}", plain.stderr);
            assert!(!run().run().succeeds().stdout_text().contains(ESCAPE));
        }
    }
}

/// METRIC lines are for programs: a person reads the last line.
#[test]
fn metric_lines_are_left_out_for_a_person_alone() {
    let (dir, config) = directory();
    let out = dir.path().join("out.singer");
    let on_terminal = |run: Run| run_on_terminal(&run, out.to_str(), &[]).exits(0).stderr.to_string();
    let seen = on_terminal(Run::tap(&config));
    assert!(seen.contains(" done after ") && !seen.contains("METRIC"), "{seen}");
    let seen = on_terminal(Run::tap(&config).arg("--log-format=json"));
    assert!(seen.contains("METRIC") && seen.contains("\"metric_info\""), "{seen}");
    let piped = Run::tap(&config).text_log().run().succeeds();
    assert!(piped.stderr.contains("METRIC: {"), "{}", piped.stderr);
    let copy = json!({"server_url": format!("ldif:{}", dir.path().join("copy.ldif").display())});
    let seen = on_terminal(Run::target(&copy).arg("--input").arg(out.to_str().unwrap()));
    assert!(seen.contains(" done after ") && !seen.contains("METRIC"), "{seen}");
}

#[test]
fn the_last_line_has_no_zeros_and_its_fields_have_them() {
    let (dir, config) = directory();
    let messages = Run::tap(&config).run().succeeds().stdout;
    let copy = json!({"server_url": format!("ldif:{}", dir.path().join("copy.ldif").display())});
    let last = |run: Run| {
        let output = run.run().succeeds();
        let last = output.stderr.lines().last().unwrap().to_owned();
        last.split_once(" done after ").unwrap_or_else(|| panic!("{last}")).1.to_owned()
    };
    let has_zero = |line: &str| line.split([' ', '(']).any(|word| word == "0");
    let line = last(Run::target(&copy).text_log().stdin(&messages));
    assert!(line.contains("2 added") && !has_zero(&line), "{line}");
    let line = last(Run::target(&copy).text_log().stdin(&messages));
    assert!(line.contains("2 unchanged") && !line.contains("added") && !has_zero(&line), "{line}");
    assert!(last(Run::target(&copy).text_log()).ends_with(": no records"));
    let output = Run::target(&copy).stdin(&messages).run().succeeds();
    for (name, number) in [("added", 0), ("modified", 0), ("deleted", 0), ("rejected", 0), ("unchanged", 2)] {
        assert_eq!(output.stderr.summary()[name], number, "{name}: {}", output.stderr.summary());
    }
}
