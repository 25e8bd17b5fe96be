//! The log on stderr: lines, levels, and the summary of a run.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use ldap_tests::meltano::Project;
use ldap_tests::run::{Output, Program, Run};
use ldap_tests::server::{scratch, tool};
use serde_json::{Value, json};

use crate::support::{people, unit};

/// A directory in a file: a unit with this many people.
fn directory(count: usize) -> (tempfile::TempDir, Value) {
    let dir = scratch();
    let path = dir.path().join("directory.ldif");
    let top = "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n".to_owned();
    let people_dn = "ou=people,dc=example,dc=test";
    std::fs::write(&path, top + &unit(people_dn) + &people(count, people_dn)).unwrap();
    let config = json!({"server_url": format!("ldif:{}", path.display())});
    (dir, config)
}

fn copy(dir: &tempfile::TempDir) -> Value {
    json!({"server_url": format!("ldif:{}", dir.path().join("copy.ldif").display())})
}

/// The tap's messages, for the target.
fn messages(config: &Value) -> Vec<u8> {
    Run::tap(config).run().succeeds().stdout
}

/// Lines of JSON as Python reads them, one a line, as a list.
fn parsed_by_python(stderr: &str) -> Vec<Value> {
    let script = "import json, sys; print(json.dumps([json.loads(line) for line in sys.stdin]))";
    let mut child = Command::new(tool("python3"))
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stderr.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "Python cannot read:\n{stderr}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A run that is well says neither word: `meltano config test` takes either for a failure.
#[track_caller]
fn is_calm(output: &Output) {
    let text = output.stderr.to_lowercase();
    assert!(!text.contains("error") && !text.contains("exception"), "{}", output.stderr);
}

#[test]
fn a_run_says_what_it_was_and_what_it_added_up_to() {
    let (dir, config) = directory(7);
    let tap = Run::tap(&config).text_log().run().succeeds();
    is_calm(&tap);
    let lines: Vec<&str> = tap.stderr.lines().collect();
    let (first, last) = (lines[0], lines[lines.len() - 1]);
    let id = first.split("| run ").nth(1).unwrap().split(' ').next().unwrap();
    assert!(id.len() == 16 && first.contains(" begins: tap-ldap 0."), "{first}");
    assert!(last.contains(&format!("| run {id} done after ")), "{last}");
    assert!(last.contains(": 9 records (") && last.contains(" entries read"), "{last}");

    // Add, then the same again, then one modified and one deleted, as it would be.
    let target = Run::target(&copy(&dir)).text_log().stdin(&tap.stdout).run().succeeds();
    is_calm(&target);
    let last = target.stderr.lines().last().unwrap();
    assert!(last.contains(": 9 records (") && last.ends_with(", 9 added"), "{last}");
    let text = String::from_utf8(tap.stdout.clone()).unwrap().replace("\"Person 3\"", "\"Person Three\"");
    let dry = Run::target(&copy(&dir)).text_log().arg("--dry-run").stdin(&text).run().succeeds();
    is_calm(&dry);
    let last = dry.stderr.lines().last().unwrap();
    assert!(
        last.contains("(nothing was written)") && last.contains("1 modified") && last.contains("8 unchanged"),
        "{last}"
    );
    // What is no run has neither line.
    let about = Run::tap(&config).arg("--discover").run().succeeds();
    assert!(!about.stderr.contains("| run "), "{}", about.stderr);
}

#[test]
fn a_run_that_fails_is_summed_up_after_what_failed() {
    let (dir, config) = directory(3);
    let bad = "{\"type\": \"RECORD\", \"stream\": \"nobody_said\", \"record\": {}}\n";
    let mut input = messages(&config);
    input.extend_from_slice(bad.as_bytes());
    let output = Run::target(&copy(&dir)).arg("--log-format").arg("json").stdin(&input).run().exits(1);
    let lines = parsed_by_python(&output.stderr);
    let [.., failure, last] = lines.as_slice() else { panic!("{lines:?}") };
    assert!(failure["message"].as_str().unwrap().contains("nobody_said"), "{failure}");
    assert_eq!((&failure["level"], &last["level"]), (&json!("error"), &json!("error")));
    assert_eq!(
        (&last["status"], &last["exit_code"], &last["added"]),
        (&json!("failed"), &json!(1), &json!(5))
    );

    let nowhere = json!({"server_url": "ldap://127.0.0.1:1", "retry_attempts": 0});
    for program in [Run::tap(&nowhere), Run::target(&nowhere)] {
        let output = program.text_log().run().exits(3);
        let last = output.stderr.lines().last().unwrap();
        assert!(last.contains("failed (exit code 3) after "), "{last}");
    }
}

#[test]
fn json_lines_have_what_machines_look_for() {
    let (dir, config) = directory(3);
    let tap = Run::tap(&config).arg("--log-format").arg("json").run().succeeds();
    let target = Run::target(&copy(&dir)).arg("--log-format=json").stdin(&tap.stdout).run().succeeds();
    let mut ids = BTreeSet::new();
    for (output, name) in [(tap, "tap-ldap"), (target, "target-ldap")] {
        is_calm(&output);
        let lines = parsed_by_python(&output.stderr);
        let of_run: BTreeSet<&str> = lines.iter().map(|l| l["run_id"].as_str().unwrap()).collect();
        assert_eq!(of_run.len(), 1);
        ids.extend(of_run.into_iter().map(str::to_owned));
        for line in &lines {
            assert_eq!((&line["logger"], &line["level"]), (&json!(name), &json!("info")), "{line}");
            assert!(line["timestamp"].as_str().unwrap().ends_with('Z') && line["module"].is_string());
        }
        let last = lines.last().unwrap();
        assert_eq!((&last["status"], &last["records"]), (&json!("succeeded"), &json!(5)), "{last}");
        assert!(last["duration_seconds"].as_f64().unwrap() > 0.0 && last["records_per_second"].is_number());
        // The names of the SDK.
        let metric =
            |name: &str| lines.iter().filter(|l| l["metric_info"]["metric"] == name).collect::<Vec<_>>();
        let duration = if name == "tap-ldap" { "sync_duration" } else { "batch_processing_time" };
        for (metric, kind, tag) in
            [(metric("record_count"), "counter", "stream"), (metric(duration), "timer", "status")]
        {
            assert_eq!(metric.len(), 3, "one for each stream: {lines:?}");
            let point = &metric[0]["metric_info"];
            assert!(
                point["type"] == kind && point["value"].is_number() && point["tags"][tag].is_string(),
                "{point}"
            );
            assert_eq!(metric[0]["stream"], point["tags"]["stream"]);
        }
        assert_eq!(metric("job_duration")[0]["metric_info"]["tags"]["status"], "succeeded");
    }
    assert_eq!(ids.len(), 2, "each run has an id of its own");
}

#[test]
fn levels_go_by_module_and_those_that_nobody_knows_are_refused() {
    let (_dir, config) = directory(1);
    let run = |levels: &str| Run::tap(&config).text_log().arg("--log-level").arg(levels).run();
    let has_debug = |output: &Output, module: &str| {
        output.stderr.contains(&format!("| DEBUG    | tap-ldap | {module}: "))
    };
    // The second name is of before the modules moved.
    for levels in ["warn,tap_ldap::stream=debug", "warn,tap_ldap::source=debug"] {
        let output = run(levels).succeeds();
        let is_there = has_debug(&output, "tap_ldap::stream::entries::advance");
        assert!(is_there && !output.stderr.contains("METRIC"), "{}", output.stderr);
        assert!(output.stderr.lines().all(|l| l.contains("tap_ldap::stream::")), "{}", output.stderr);
    }
    for levels in ["info,singer_common::metrics=off", "info,singer_common::singer::metrics=off"] {
        assert!(run(levels).succeeds().stderr.lines().count() < 4);
    }
    run("loud").exits(2).says("--log-level loud").says("`loud` is no level");
    run("tap_ldap::snyc=debug").exits(2).says("`tap_ldap` has no module `snyc`").says("`tap_ldap::sync`");
    run("rustls=trace").exits(2).says("`rustls` is no module of tap-ldap");
    // The variables of the Singer SDK; the flag is stronger.
    let by_env = Run::tap(&config).env("TAP_LDAP_LOGLEVEL", "WARNING");
    assert_eq!(by_env.run().succeeds().stderr, "");
    let by_flag = Run::tap(&config).env("TAP_LDAP_LOGLEVEL", "WARNING").arg("--log-level=info");
    assert!(by_flag.run().succeeds().stderr.contains("METRIC"));
    Run::bare(Program::Target).env("LOGLEVEL", "loud").run().exits(2).says("LOGLEVEL=loud");
}

/// Meltano asks for lines that it takes apart, and shows them at their levels, with what is in them.
#[test]
fn meltano_takes_the_lines_apart() {
    let (dir, config) = directory(3);
    let project = Project::pipeline(&config, &copy(&dir));
    let (succeeded, said) = project.meltano_says(&["--log-format", "json", "run", "tap-ldap", "target-ldap"]);
    assert!(succeeded, "{said}");
    let events = parsed_by_python(&said);
    for name in ["tap-ldap", "target-ldap"] {
        let own: Vec<&Value> = events.iter().filter(|e| e["plugin_logger"] == name).collect();
        assert!(own.iter().all(|e| e["level"] == "info"), "{own:?}");
        assert!(
            own.iter().any(|e| e["metric_info"]["metric"] == "record_count" && e["stream_name"] == "people")
        );
        let done = own.iter().find(|e| e["event"].as_str().unwrap().contains(" done after ")).unwrap();
        assert_eq!((&done["status"], &done["records"]), (&json!("succeeded"), &json!(5)));
        assert_ne!(done["ldap_run_id"], done["run_id"], "Meltano's own id stays its own");
        // Nothing of ours came as a text that Meltano could not take apart.
        let raw = |e: &&Value| e["event"].as_str().is_some_and(|t| t.contains("\"logger_name\""));
        assert!(!events.iter().any(|e| raw(&e)), "{said}");
    }
    // Its level is ours.
    let (succeeded, said) =
        project.meltano_says(&["--log-level", "warning", "run", "tap-ldap", "target-ldap"]);
    assert!(succeeded && !said.contains("METRIC") && !said.contains("begins"), "{said}");
    // A warning comes as one.
    let mut config = config;
    config["no_such_setting"] = json!(1);
    let project = Project::pipeline(&config, &copy(&dir));
    let (_, said) = project.meltano_says(&["--log-format", "json", "run", "tap-ldap", "target-ldap"]);
    let events = parsed_by_python(&said);
    let warning = events.iter().find(|e| e["event"].as_str().is_some_and(|t| t.contains("no_such_setting")));
    assert_eq!(warning.map(|e| &e["level"]), Some(&json!("warning")), "{said}");
}
