//! Hostile Singer lines through a target made with the Meltano SDK and through ours: `tests/sdk/lines.py` has the lines and the
//! reason for each difference. The results of both are in `tests/golden/sdk-lines.txt`; the differences are in
//! docs/reference/conformance.md.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::BufRead as _;
use std::process::Command;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ldap_tests::meltano::{root, said};
use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use serde_json::{Value, json};

use crate::singer::sdk::sdk;
use crate::support::golden::{assert_golden_text, assert_text_in};

/// What a target did with the lines.
#[derive(Debug, Clone, Default, PartialEq)]
struct Outcome {
    /// The exception's class, or the exit code.
    refused: Option<String>,
    /// `value` of each record that was written.
    values: Vec<Option<String>>,
    states: Vec<String>,
    warns: bool,
}

impl Outcome {
    /// Of the SDK's, as `lines.py` prints it.
    fn of_the_sdk(said: &Value) -> Outcome {
        let texts = |name: &str| {
            said[name].as_array().unwrap().iter().map(|v| v.as_str().map(str::to_owned)).collect()
        };
        let states: Vec<Option<String>> = texts("states");
        Outcome {
            refused: said["error"].as_str().map(str::to_owned),
            values: texts("values"),
            states: states.into_iter().flatten().collect(),
            warns: false,
        }
    }

    fn of_ours(input: &[u8]) -> Outcome {
        let dir = scratch();
        let file = dir.path().join("out.ldif");
        let rule = json!({"dn_template": "cn={id},dc=test", "object_classes": ["device"],
            "attribute_mapping": {"id": "cn", "value": "description"}});
        let mut of_s = rule.clone();
        of_s["scope_base"] = "dc=test".into();
        of_s["scope_filter"] = "(objectClass=device)".into();
        let config = json!({"server_url": format!("ldif:{}", file.display()), "process_activate_version": true,
            "mapping_rules": {"s": of_s, "*": rule}});
        let run = Run::target(&config).arg("--log-format").arg("json").stdin(input).run();
        assert!(matches!(run.code, 0 | 1), "{}: {}", run.code, run.stderr);
        Outcome {
            refused: (run.code != 0).then(|| format!("exit code {}", run.code)),
            values: descriptions(&fs::read_to_string(&file).unwrap_or_default()),
            states: run.stdout_text().lines().map(str::to_owned).collect(),
            // Most inputs have no ACTIVATE_VERSION, which is not what they are about.
            warns: run.stderr.lines().any(|line| {
                line.contains(r#""level":"warning""#)
                    && !line.contains(r#""setting":"process_activate_version""#)
            }),
        }
    }

    /// Whether both end the same way: the wording of a refusal is each one's own.
    fn is_that_of(&self, other: &Outcome) -> bool {
        // The SDK prints STATE anew, with blanks.
        let states = |outcome: &Outcome| -> Vec<String> {
            outcome.states.iter().map(|state| state.replace(": ", ":").replace(", ", ",")).collect()
        };
        self.refused.is_some() == other.refused.is_some()
            && self.values == other.values
            && states(self) == states(other)
    }

    fn text(&self) -> String {
        let mut out = match &self.refused {
            Some(why) => format!("refused ({why})"),
            None => "taken".to_owned(),
        };
        if !self.values.is_empty() {
            let values: Vec<String> =
                self.values.iter().map(|value| value.as_deref().map_or("none".into(), short)).collect();
            let _ = write!(out, "; written: {}", values.join(", "));
        }
        match self.states.as_slice() {
            [] => out.push_str("; no STATE"),
            states => {
                let _ = write!(out, "; STATE {}", short(&states.join(" ")));
            }
        }
        if self.warns {
            out.push_str("; with a warning");
        }
        out
    }
}

/// A text in one line of a table.
fn short(text: &str) -> String {
    let begin: String = text.chars().take(40).flat_map(char::escape_default).collect();
    let rest = text.chars().count().saturating_sub(40);
    let begin = begin.replace("\\\"", "\"").replace('|', "\\|").replace(['<', '`'], "?");
    if rest > 0 { format!("`{begin}…` ({} characters)", rest + 40) } else { format!("`{begin}`") }
}

/// `description` of each entry below the base, in their order.
fn descriptions(ldif: &str) -> Vec<Option<String>> {
    let unfolded = ldif.replace("\n ", "");
    let entries = unfolded.split("\n\n").filter(|entry| entry.starts_with("dn: cn="));
    let value = |line: &str| {
        let value = line.strip_prefix("description:")?;
        Some(match value.strip_prefix(": ") {
            Some(encoded) => String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap(),
            None => value.trim_start().to_owned(),
        })
    };
    entries.map(|entry| entry.lines().find_map(value)).collect()
}

fn output_lines(stdout: &[u8]) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

/// Our outcome of each case, a few at a time.
fn all_of_ours(cases: &[Value]) -> Vec<Outcome> {
    let of = |case: &Value| Outcome::of_ours(&STANDARD.decode(case["input"].as_str().unwrap()).unwrap());
    thread::scope(|scope| {
        let parts = cases.chunks(cases.len().div_ceil(4));
        let parts: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter().map(of).collect::<Vec<_>>())).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

#[test]
fn hostile_lines_do_what_they_do_with_the_sdk_or_it_is_said_why_not() {
    let lines = Command::new(sdk().join("bin/python"))
        .arg("-X")
        .arg("utf8")
        .arg(root().join("tests/sdk/lines.py"))
        .output()
        .unwrap();
    assert!(lines.status.success(), "{}", said(&lines));
    let mut table = String::new();
    let mut differences = String::new();
    let (mut all, mut same, mut wrong) = (0, 0, Vec::new());
    let mut names = BTreeSet::new();
    let cases: Vec<Value> = output_lines(&lines.stdout);
    for (case, ours) in cases.iter().zip(all_of_ours(&cases)) {
        let (name, why) = (case["name"].as_str().unwrap(), case["why"].as_str().unwrap());
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        let theirs = Outcome::of_the_sdk(&case["sdk"]);
        let is_same = ours.is_that_of(&theirs);
        all += 1;
        same += usize::from(is_same);
        if is_same != why.is_empty() {
            wrong.push(format!(
                "{name}: the SDK: {}; ours: {}; the reason: {why:?}",
                theirs.text(),
                ours.text()
            ));
        }
        // What is refused after some of it was written, or not printed in a STATE, comes again.
        if ours.refused.is_some() && !ours.states.is_empty() {
            wrong.push(format!("{name}: a STATE of what was refused: {}", ours.text()));
        }
        let (theirs, ours) = (theirs.text(), ours.text());
        let _ = write!(table, "{name}\n  SDK:  {theirs}\n  ours: {ours}\n");
        if !why.is_empty() {
            let _ = writeln!(table, "  why:  {why}");
            let _ = writeln!(differences, "| {name} | {theirs} | {ours} | {why} |");
        }
    }
    assert!(
        wrong.is_empty(),
        "a difference needs a reason in lines.py, and nothing else does:\n{}",
        wrong.join("\n")
    );
    assert!(all >= 60, "{all}");
    assert_golden_text("sdk-lines.txt", &table);
    let section = format!(
        "Of {all} inputs {same} end the same way: taken with the same records and the same STATE, or refused. The others:\n\n\
         | input | the SDK's target | `target-ldap` | why |\n|---|---|---|---|\n{differences}"
    );
    assert_text_in("docs/reference/conformance.md", "hostile lines", &section);
}
