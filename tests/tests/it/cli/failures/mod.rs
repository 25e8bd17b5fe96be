//! Every mistake that users make, one row each: the exit code, and the fields of the log line that reports it. The wording may
//! change. docs/reference/failures.md is generated from these rows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use ldap_tests::run::{Output, Program, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Map, Value, json};

use crate::support::golden::assert_golden_text;
use crate::support::{tap_config, target_config, with};

mod input;
mod server;
mod settings;
mod streams;

const TREE: &str = "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n\
                    dn: ou=people,dc=example,dc=test\nobjectClass: organizationalUnit\nou: people\n\n\
                    dn: uid=ann,ou=people,dc=example,dc=test\nobjectClass: inetOrgPerson\nuid: ann\ncn: Ann\nsn: Lee\nmail: ann@example.test\n\n";

/// A mistake, and what is said of it.
struct Failure {
    /// What was wrong, for the page.
    what: &'static str,
    program: Program,
    /// Whether it is on a server, and not on a file.
    on_server: bool,
    /// Settings beside those that say where the directory is; null takes one of these away.
    settings: Value,
    args: Vec<&'static str>,
    /// What else is in the folder.
    files: Vec<(&'static str, &'static str)>,
    stdin: String,
    code: i32,
    /// Fields of one line of the log.
    fields: Map<String, Value>,
}

fn failure(program: Program, what: &'static str, settings: Value) -> Failure {
    Failure {
        what,
        program,
        on_server: false,
        settings,
        args: Vec::new(),
        files: Vec::new(),
        stdin: String::new(),
        code: 2,
        fields: Map::new(),
    }
}

/// Of the tap, on a file.
fn tap(what: &'static str, settings: Value) -> Failure {
    failure(Program::Tap, what, settings)
}

/// Of the target, on a file.
fn target(what: &'static str, settings: Value) -> Failure {
    failure(Program::Target, what, settings)
}

impl Failure {
    fn on_server(mut self) -> Self {
        self.on_server = true;
        self
    }

    fn args(mut self, args: &[&'static str]) -> Self {
        self.args.extend(args);
        self
    }

    fn with_file(mut self, name: &'static str, content: &'static str) -> Self {
        self.files.push((name, content));
        self
    }

    fn messages(mut self, messages: &[Value]) -> Self {
        for message in messages {
            writeln!(self.stdin, "{message}").unwrap();
        }
        self
    }

    fn input(mut self, text: &str) -> Self {
        self.stdin.push_str(text);
        self
    }

    fn exits(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    fn setting(self, setting: &str) -> Self {
        self.field("setting", setting)
    }

    fn near(self, name: &str) -> Self {
        self.field("nearest", name)
    }

    fn record(self, stream: &str, record: &str) -> Self {
        self.field("stream", stream).field("record", record)
    }

    fn run(&self, dir: &Path, base: &Value) -> Output {
        let text = with(base, &self.settings).to_string().replace("{dir}", dir.to_str().unwrap());
        let config = dir.join("config.json");
        std::fs::write(&config, text).unwrap();
        std::fs::write(dir.join("tree.ldif"), TREE).unwrap();
        for (name, content) in &self.files {
            std::fs::write(dir.join(name), content.replace("{dir}", dir.to_str().unwrap())).unwrap();
        }
        let mut run = Run::bare(self.program).arg("--log-format").arg("json");
        if !self.args.contains(&"--config") {
            run = run.arg("--config").arg(config.to_str().unwrap());
        }
        for arg in &self.args {
            run = run.arg(arg.replace("{dir}", dir.to_str().unwrap()));
        }
        run.stdin(self.stdin.replace("{dir}", dir.to_str().unwrap())).run()
    }

    /// The line of the log that says it.
    fn line(&self, output: &Output, dir: &Path, server: &str) -> Result<Value, String> {
        if output.code != self.code {
            return Err(format!("exit code {}, not {}", output.code, self.code));
        }
        let lines = output.stderr.entries().iter().cloned();
        let mut grave: Vec<Value> = lines
            // The last line sums up, and says nothing of what was wrong.
            .filter(|line| line["status"].is_null())
            .filter(|line| ["warning", "error"].contains(&line["level"].as_str().unwrap_or_default()))
            .collect();
        // What ends the run comes last.
        grave.reverse();
        let of_dir = |value: &Value| match value {
            Value::String(text) => {
                Value::from(text.replace("{dir}", dir.to_str().unwrap()).replace("{server}", server))
            }
            other => other.clone(),
        };
        let fits =
            |line: &&Value| self.fields.iter().all(|(name, value)| line[name.as_str()] == of_dir(value));
        grave.iter().find(fits).cloned().ok_or_else(|| format!("no line has {:?}", self.fields))
    }
}

fn all() -> Vec<Failure> {
    let mut all = settings::failures();
    all.extend(streams::failures());
    all.extend(input::failures());
    all.extend(server::failures());
    all
}

#[test]
fn each_mistake_is_named_with_a_way_out() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let all = all();
    assert!(all.len() >= 120, "{}", all.len());
    let mut wrong = String::new();
    let mut page: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let only = std::env::var("FAILURE").unwrap_or_default();
    for failure in all.iter().filter(|f| f.what.contains(&only)) {
        assert!(!failure.fields.is_empty(), "{}: nothing of what is said is checked", failure.what);
        let dir = scratch();
        let base = match (failure.on_server, failure.program) {
            (false, _) => json!({"server_url": "ldif:{dir}/tree.ldif"}),
            (true, Program::Tap) => tap_config(&slapd),
            (true, Program::Target | Program::Service) => target_config(&slapd),
        };
        let output = failure.run(dir.path(), &base);
        assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
        match failure.line(&output, dir.path(), &slapd.ldap_uri()) {
            Ok(line) => {
                let message = line["message"].as_str().unwrap_or_default();
                let reference = line["reference"].as_str().unwrap_or_default();
                check_reference(failure, &line);
                let message = message
                    .strip_suffix(&format!(" ({reference})"))
                    .unwrap_or(message)
                    .replace(dir.path().to_str().unwrap(), "/DIR")
                    .replace(&slapd.ldap_uri(), "ldap://SERVER");
                let about = ["setting", "stream", "record", "code", "nearest"]
                    .iter()
                    .filter(|name| !line[**name].is_null())
                    .map(|name| {
                        let value = format!("`{}`", line[*name].to_string().trim_matches('"'));
                        match reference.strip_prefix("docs/reference/").filter(|_| *name == "setting") {
                            Some(place) => format!("{name} [{value}]({place})"),
                            None => format!("{name} {value}"),
                        }
                    })
                    .collect::<Vec<_>>()
                    .join(", ")
                    .replace(dir.path().to_str().unwrap(), "/DIR");
                let row = format!(
                    "| {} | {} | {} | {} |",
                    failure.what,
                    failure.code,
                    about.replace('|', "\\|"),
                    message.replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
                );
                page.entry(failure.program.name()).or_default().push(row);
            }
            Err(problem) => write!(wrong, "\n{}: {problem}\n{}", failure.what, output.stderr).unwrap(),
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    if only.is_empty() {
        assert_golden_text("../../../docs/reference/failures.md", &document(&page));
    }
}

/// Checks that a message refers to the description of its setting, once, and at its end if it ends the run.
#[track_caller]
fn check_reference(failure: &Failure, line: &Value) {
    let about = ldap_tests::meltano::about(failure.program);
    let setting = line["setting"].as_str().unwrap_or_default();
    let top = setting.split(['.', '[']).next().unwrap();
    // The other name of `schemas`.
    let top = if top == "streams" { "schemas" } else { top };
    let message = line["message"].as_str().unwrap_or_default();
    let mentions = message.matches("docs/reference/").count();
    let is_known = |name: &str| about["settings"]["properties"].get(name).is_some();
    let expected =
        [top, line["nearest"].as_str().unwrap_or_default()].into_iter().find(|name| is_known(name));
    match expected {
        Some(name) => {
            let place = format!("docs/reference/{}.md#{name}", failure.program.name());
            assert_eq!(line["reference"], place, "{}: {line}", failure.what);
            if failure.code == 2 {
                assert!(
                    message.ends_with(&format!("({place})")) && mentions == 1,
                    "{}: {message}",
                    failure.what
                );
            }
        }
        None => assert!(line["reference"].is_null() && mentions == 0, "{}: {line}", failure.what),
    }
}

fn document(page: &BTreeMap<&str, Vec<String>>) -> String {
    let mut text = String::from(
        "# Mistakes, and what is said of them\n\n\
         Written by a test that makes each of these mistakes. The exit code, and what the message is about, are checked: with \
         `--log-format json` each part is a field of its own (`setting`, `stream`, `record`, `code`, `nearest`), for programs to read. \
         `reference` is the place of the setting's description, with which the message of an error also ends. \
         The wording may change from one version to the next.\n\n\
         What each answer of a server means: [messages.md](messages.md).\n",
    );
    for (program, rows) in page {
        write!(text, "\n## {program}\n\n| mistake | exit code | about | message |\n|---|---|---|---|\n")
            .unwrap();
        for row in rows {
            writeln!(text, "{row}").unwrap();
        }
    }
    text
}
