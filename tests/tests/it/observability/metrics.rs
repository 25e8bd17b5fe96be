//! Metrics, read by Prometheus's own tools: `promtool`, and a scrape during a run.

#![allow(clippy::float_cmp, reason = "what is compared are counts, which a float holds exactly")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ldap_tests::run::{Run, read_text};
use ldap_tests::server::{free_port, scratch, succeed};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{people, reader_config, tap_config, target_config, with};

/// The samples of a file of metrics by their names and labels, as `promtool` has found them to be right.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is there: scripts/install-servers.sh");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "promtool: {said}\n{text}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(k, v)| (k.to_owned(), v.parse().unwrap()))
        .collect()
}

fn file(path: &Path) -> BTreeMap<String, f64> {
    samples(&read_text(path))
}

/// The sum of a metric's samples that have all of these labels.
fn sum(samples: &BTreeMap<String, f64>, name: &str, labels: &[&str]) -> f64 {
    let mut found = samples.iter().filter(|(key, _)| {
        key.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'))
            && labels.iter().all(|l| key.contains(l))
    });
    let first = found.next().unwrap_or_else(|| panic!("no {name}{labels:?} among {samples:#?}"));
    first.1 + found.map(|(_, value)| value).sum::<f64>()
}

fn get(port: u16, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn server(count: usize) -> Slapd {
    let options = SlapdOptions::with_users();
    let parent = format!("ou=people,{}", options.suffix);
    Slapd::start(options.seed(people(count, &parent)))
}

#[test]
fn a_run_of_the_tap_leaves_what_it_did_in_a_file() {
    let slapd = server(400);
    let dir = scratch();
    let path = dir.path().join("tap.prom");
    let config = with(
        &reader_config(&slapd),
        &json!({"metrics_file": path, "page_size": 100, "metrics_labels": {"pipeline": "hr \"1\""}}),
    );
    let output = Run::tap(&config).run().succeeds();
    let m = file(&path);
    assert!(!read_text(&path).contains("reader-pw"));
    let people = output.records(Some("people")).len();
    assert_eq!(people, 404);
    #[allow(clippy::cast_precision_loss)]
    let people = people as f64;
    assert_eq!(sum(&m, "flext_ldap_records_total", &["stream=\"people\"", r#"pipeline="hr \"1\"""#]), people);
    let here = format!("server=\"{}\"", slapd.ldap_uri());
    assert!(
        sum(&m, "flext_ldap_pages_total", &[&here]) >= 8.0,
        "discovery and sync: four pages each at least"
    );
    assert!(sum(&m, "flext_ldap_entries_read_total", &[&here]) >= 2.0 * people);
    assert!(sum(&m, "flext_ldap_received_bytes_total", &[&here]) > 2.0 * people * 100.0);
    assert_eq!(sum(&m, "ldap_connections_total", &[]), 2.0);
    assert_eq!(sum(&m, "flext_ldap_active_connections", &[&here]), 0.0);
    assert_eq!(sum(&m, "flext_ldap_in_flight_operations", &[]), 0.0);
    for operation in ["bind", "search"] {
        let of = format!("operation=\"{operation}\"");
        let counted = sum(&m, "flext_ldap_operations_total", &[&of, &here, "status=\"success\""]);
        assert!(counted >= 2.0);
        assert_eq!(sum(&m, "flext_ldap_response_time_seconds_count", &[&of, &here]), counted);
        assert!(sum(&m, "flext_ldap_response_time_seconds_sum", &[&of, &here]) > 0.0);
    }
    let took = sum(&m, "flext_ldap_last_run_duration_seconds", &[]);
    let waited = sum(&m, "flext_ldap_server_wait_seconds_total", &[]);
    assert!(0.0 < waited && waited < took, "{waited} of {took}");
    assert!(sum(&m, "process_cpu_seconds_total", &[]) > 0.0);
    assert_eq!(sum(&m, "flext_ldap_last_run_exit_code", &["program=\"tap-ldap\""]), 0.0);
    assert_eq!(sum(&m, "flext_ldap_run_in_progress", &[]), 0.0);
    let succeeded = sum(&m, "flext_ldap_last_success_timestamp_seconds", &[]);
    assert_eq!(succeeded, sum(&m, "flext_ldap_last_run_timestamp_seconds", &[]));
    // For the collector, who is another user.
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);

    // A run that fails says so, and does not forget when the last one succeeded.
    let wrong = with(&config, &json!({"bind_password": "wrong"}));
    Run::tap(&wrong).run().exits(3);
    let m = file(&path);
    assert_eq!(sum(&m, "flext_ldap_last_run_exit_code", &[]), 3.0);
    assert_eq!(sum(&m, "flext_ldap_last_run_success", &[]), 0.0);
    assert_eq!(sum(&m, "flext_ldap_last_success_timestamp_seconds", &[]), succeeded);
    assert_eq!(sum(&m, "ldap_errors_total", &["operation=\"bind\"", "code=\"49\""]), 1.0);
    // So does one whose settings are wrong.
    Run::tap(&with(&config, &json!({"base_dn": "nonsense"}))).run().exits(2);
    assert_eq!(sum(&file(&path), "flext_ldap_last_run_exit_code", &[]), 2.0);
    // What only asks is no run.
    Run::tap(&config).arg("--test").run().succeeds();
    assert_eq!(sum(&file(&path), "flext_ldap_last_run_exit_code", &[]), 2.0);
}

/// A person for the target, and one without the name that the DN needs.
fn input() -> Vec<Value> {
    let schema = json!({"type": "object", "properties": {"uid": {"type": ["string", "null"]}, "sn": {"type": "string"}}});
    let record = |uid: Value| json!({"type": "RECORD", "stream": "users", "record": {"uid": uid, "sn": "S"}});
    vec![
        json!({"type": "SCHEMA", "stream": "users", "key_properties": ["uid"], "schema": schema}),
        record(json!("new1")),
        record(json!("new2")),
        record(json!(null)),
        json!({"type": "STATE", "value": {"n": 1}}),
    ]
}

fn target(slapd: &Slapd, dir: &Path) -> Value {
    let rule = json!({
        "dn_template": format!("uid={{uid}},ou=people,{}", slapd.suffix()),
        "object_classes": ["inetOrgPerson"],
        "values": {"cn": "{uid}"},
    });
    with(
        &target_config(slapd),
        &json!({
            "mapping_rules": {"users": rule},
            "on_error": "skip",
            "reject_file": dir.join("rejects.jsonl"),
            "metrics_file": dir.join("target.prom"),
        }),
    )
}

#[test]
fn a_run_of_the_target_counts_changes_and_rejects() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let dir = scratch();
    let config = target(&slapd, dir.path());
    Run::target(&config).messages(&input()).run().exits(4);
    let m = file(&dir.path().join("target.prom"));
    let change = |m: &BTreeMap<String, f64>, kind: &str| {
        sum(m, "flext_ldap_changes_total", &["stream=\"users\"", &format!("change=\"{kind}\"")])
    };
    // Every record of the input counts, what is rejected before it could be written, too.
    assert_eq!(sum(&m, "flext_ldap_records_total", &["stream=\"users\""]), 3.0);
    assert_eq!(change(&m, "added"), 2.0);
    assert_eq!(sum(&m, "flext_ldap_rejects_total", &["stream=\"users\""]), 1.0);
    assert_eq!(sum(&m, "flext_ldap_operations_total", &["operation=\"add\"", "status=\"success\""]), 2.0);
    assert_eq!(sum(&m, "flext_ldap_response_time_seconds_count", &["operation=\"add\""]), 2.0);
    assert_eq!(sum(&m, "flext_ldap_last_run_exit_code", &["program=\"target-ldap\""]), 4.0);
    assert_eq!(sum(&m, "flext_ldap_last_success_timestamp_seconds", &[]), 0.0);
    // A second run finds nothing to do; a rehearsal leaves the file alone.
    Run::target(&config).messages(&input()).run().exits(4);
    let m = file(&dir.path().join("target.prom"));
    assert_eq!((change(&m, "added"), change(&m, "unchanged")), (0.0, 2.0));
    let before = read_text(&dir.path().join("target.prom"));
    Run::target(&config).arg("--dry-run").messages(&input()).run();
    assert_eq!(read_text(&dir.path().join("target.prom")), before);
}

#[test]
fn a_run_can_be_scraped_while_it_goes_on() {
    let slapd = server(3_000);
    let port = free_port();
    let config =
        with(&tap_config(&slapd), &json!({"metrics_listen": format!("127.0.0.1:{port}"), "page_size": 200}));
    // Nobody reads what it prints: it goes on for as long as that.
    let mut running = Run::tap(&config).spawn();
    let mut stdout = running.take_stdout();
    let deadline = Instant::now() + Duration::from_secs(60);
    let m = loop {
        assert!(Instant::now() < deadline, "{:?}", running.end());
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            let (head, body) = get(port, "/metrics");
            assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
            let m = samples(&body);
            if m.iter().any(|(k, v)| k.contains("records_total") && k.contains("\"people\"") && *v > 0.0) {
                break m;
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(sum(&m, "flext_ldap_run_in_progress", &[]), 1.0);
    assert_eq!(sum(&m, "flext_ldap_active_connections", &[]), 2.0);
    let (head, body) = get(port, "/health");
    let health: Value = serde_json::from_str(&body).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!((&health["status"], &health["connections"]), (&json!("healthy"), &json!(2)), "{health}");
    assert!(get(port, "/").0.starts_with("HTTP/1.1 404"));
    // Whoever sends nonsense, or nothing, is in nobody's way.
    let _silent: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    let mut rude = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let _ = rude.write_all(&vec![b'x'; 100_000]);
    assert!(get(port, "/metrics").0.starts_with("HTTP/1.1 200"));
    let mut all = Vec::new();
    stdout.read_to_end(&mut all).unwrap();
    let (code, stderr, _) = running.wait(Duration::from_secs(60));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains(&format!("http://127.0.0.1:{port}/metrics")), "{stderr}");
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "it listens no longer than it runs");
}

#[test]
fn metrics_that_cannot_be_written_or_served_are_one_warning() {
    let ldif = json!({"server_url": format!("ldif:{}", demo().display())});
    let dir = scratch();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    // A folder that does not exist, and a file in place of one.
    for file in [dir.path().join("no/such/folder/tap.prom"), demo().join("below a file.prom")] {
        Run::tap(&with(&ldif, &json!({"metrics_file": file}))).run().exits(2).reports_setting("metrics_file");
    }
    let output = Run::tap(&with(&ldif, &json!({"metrics_listen": address}))).run().succeeds();
    let is_it = |line: &&&Value| line["message"].as_str().unwrap().contains("metrics_listen");
    let warnings = output.stderr.warnings().iter().filter(is_it).count();
    assert!((1..=2).contains(&warnings), "{}", output.stderr);
    // Switched off: neither looked at nor written.
    let path = dir.path().join("tap.prom");
    let output = Run::tap(&with(&ldif, &json!({"metrics_file": path, "metrics_listen": address})))
        .env("FLEXT_LDAP_ENABLE_METRICS", "false")
        .run()
        .succeeds();
    assert!(!path.exists() && !output.stderr.contains("metrics") && !output.stderr.contains("METRIC"));
    for (key, value) in [
        ("metrics_listen", json!("9330")),
        ("metrics_labels", json!({"stream": "x"})),
        ("metrics_labels", json!({"a": 1})),
        ("otlp_endpoint", json!("localhost:4317")),
    ] {
        Run::tap(&with(&ldif, &json!({key: value}))).run().exits(2).says(key);
    }
}

#[test]
fn a_full_disk_costs_the_metrics_and_nothing_else() {
    let dir = scratch();
    let full = dir.path().join("full");
    fs::create_dir(&full).unwrap();
    let config =
        json!({"server_url": format!("ldif:{}", demo().display()), "metrics_file": full.join("tap.prom")});
    let run = Run::tap(&config);
    let command = run.command();
    // A disk of one page, in a name space of the command's own.
    let script = format!("mount -t tmpfs -o size=4k none '{}' && exec \"$0\" \"$@\"", full.display());
    let mut unshared = Command::new("unshare");
    unshared.args(["-Urm", "sh", "-c", &script]).arg(command.get_program()).args(command.get_args());
    let output = unshared.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if stderr.contains("unshare failed") || stderr.contains("permission denied") {
        return eprintln!("left out, this machine gives no name spaces: {stderr}");
    }
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("No space left on device") && stderr.contains("the run goes on"), "{stderr}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"type\":\"STATE\""));
}

fn demo() -> std::path::PathBuf {
    root().join("catalogs/demo/company.ldif")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

#[test]
fn alerts_are_what_prometheus_takes_and_fire_when_they_should() {
    let folder = root().join("docs/monitoring");
    succeed(Command::new("promtool").args(["check", "rules", "alerts.yml"]).current_dir(&folder));
    succeed(Command::new("promtool").args(["test", "rules", "alerts.test.yml"]).current_dir(&folder));
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|w| ["flext_ldap_", "ldap_", "process_"].iter().any(|p| w.starts_with(p)))
        .map(|w| w.strip_suffix("_bucket").unwrap_or(w).to_owned())
        .collect()
}

#[test]
fn dashboard_alerts_and_documentation_name_the_metrics_that_there_are() {
    let slapd = server(10);
    let dir = scratch();
    let mut there = BTreeSet::new();
    let mut add = |path: &Path| {
        for line in read_text(path).lines().filter(|l| l.starts_with("# TYPE ")) {
            there.insert(line.split(' ').nth(2).unwrap().to_owned());
        }
    };
    let path = dir.path().join("tap.prom");
    Run::tap(&with(&tap_config(&slapd), &json!({"metrics_file": path}))).run().succeeds();
    add(&path);
    let down = json!({"server_url": format!("ldap://127.0.0.1:{}", free_port()), "retry_attempts": 1});
    Run::tap(&with(&tap_config(&slapd), &with(&down, &json!({"metrics_file": path})))).run().exits(3);
    add(&path);
    Run::target(&target(&slapd, dir.path())).messages(&input()).run().exits(4);
    add(&dir.path().join("target.prom"));

    let dashboard: Value =
        serde_json::from_str(&read_text(&root().join("docs/monitoring/dashboard.json"))).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            queries.push(target["expr"].as_str().unwrap().to_owned());
        }
    }
    // Grafana fills its own variable in; what is left has to be PromQL, which promtool knows.
    let rules: Vec<Value> = queries
        .iter()
        .enumerate()
        .map(|(n, q)| json!({"record": format!("q{n}"), "expr": q.replace("$__rate_interval", "5m")}))
        .collect();
    let file = dir.path().join("queries.yml");
    fs::write(&file, json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string()).unwrap();
    succeed(Command::new("promtool").args(["check", "rules"]).arg(&file));

    let shown = names(&queries.join(" "));
    let unknown: Vec<_> = shown.difference(&there).collect();
    assert!(unknown.is_empty(), "the dashboard names {unknown:?}, of {there:?}");
    let alerts = read_text(&root().join("docs/monitoring/alerts.yml"));
    let exprs: String =
        alerts.lines().filter(|l| !l.contains("description:") && !l.contains("alert:")).collect();
    let unknown: Vec<String> = names(&exprs).difference(&there).cloned().collect();
    assert!(unknown.is_empty(), "the alerts name {unknown:?}");
    let documented = names(&read_text(&root().join("docs/guides/monitoring.md")));
    let missing: Vec<_> = there.difference(&documented).collect();
    assert!(missing.is_empty(), "docs/guides/monitoring.md leaves out {missing:?}");
}
