//! `doctor` and `--test`: their reports about healthy servers and about faulty ones.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ldap_tests::ds389::{Ds389, Ds389Options, READER_PASSWORD};
use ldap_tests::fake::Fake;
use ldap_tests::fake::plain::{Plain, PlainEntry, plain};
use ldap_tests::run::{Output, Program, Run};
use ldap_tests::samba::Samba;
use ldap_tests::server::{free_port, scratch, terminate};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{people, reader_config, tap_config, target_config, with};

fn doctor(program: Program, config: &Value) -> Run {
    Run::bare(program).arg("doctor").file("--config", config)
}

/// What a check came to, and its texts.
#[track_caller]
fn check(report: &Value, name: &str) -> (String, String) {
    let found = report["checks"].as_array().unwrap().iter().find(|c| c["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no {name} in {report:#}"));
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    (text("result"), text("detail") + " -> " + &text("advice"))
}

#[track_caller]
fn says(report: &Value, name: &str, result: &str, words: &[&str]) {
    let (found, text) = check(report, name);
    assert_eq!(found, result, "{name}: {text}");
    assert!(words.iter().all(|w| text.contains(w)), "{name}: {text} lacks one of {words:?}");
}

fn json_of(program: Program, config: &Value, code: i32) -> Value {
    doctor(program, config).arg("--format").arg("json").run().exits(code).json()
}

fn works(report: &Value) -> String {
    report["works"].to_string()
}

fn no_secret(output: &Output, secret: &str) {
    assert!(!output.stdout_text().contains(secret) && !output.stderr.contains(secret));
}

#[test]
fn openldap_is_described_and_what_is_missing_is_asked_for() {
    let mut options = SlapdOptions::with_users();
    options.database_conf.push_str("limits dn.exact=\"uid=reader,ou=people,dc=example,dc=test\" size.soft=50 size.hard=50 size.prtotal=unlimited\n");
    let parent = format!("ou=people,{}", options.suffix);
    let slapd = Slapd::start(options.seed(people(120, &parent)));
    let config = reader_config(&slapd);
    let report = json_of(Program::Tap, &config, 0);
    assert_eq!((&report["status"], &report["vendor"]), (&json!("healthy"), &json!("OpenLDAP")));
    for name in ["resolve", "connect", "tls", "bind", "rootDSE", "subschema", "base", "paging", "id"] {
        says(&report, name, "ok", &[]);
    }
    says(&report, "identity", "ok", &["uid=reader,ou=people,dc=example,dc=test"]);
    // The seed and the four users, the unit and the suffix; more than the limit lets through without pages.
    says(&report, "paging", "ok", &["126 names"]);
    says(&report, "size limit", "ok", &["50 entries", "ask the administrator"]);
    says(&report, "change tracking", "ok", &["RFC 4533"]);
    assert!(works(&report).contains("INCREMENTAL by `entryCSN`") && works(&report).contains("LOG_BASED"));
    // An ordinary user sees no settings.
    says(&report, "indexes", "unknown", &["entryCSN and entryUUID"]);
    says(&report, "limits", "unknown", &[]);

    let rule = json!({"mapping_rules": {"users": {"dn_template": "uid={uid},ou=people,dc=example,dc=test", "match": "(employeeNumber={id})"}}});
    let report = json_of(Program::Target, &with(&target_config(&slapd), &rule), 0);
    says(&report, "passwords", "ok", &["exop"]);
    assert!(check(&report, "indexes").1.contains("employeeNumber"));
    assert!(!works(&report).contains("LOG_BASED"));
    // For people: the same, and on stdout, too.
    let output = doctor(Program::Tap, &config).run().succeeds();
    no_secret(&output, "reader-pw");
    let text = output.stdout_text();
    assert!(text.starts_with(&format!("tap-ldap doctor: {} (OpenLDAP)\n", slapd.ldap_uri())), "{text}");
    assert!(text.contains("\nFor the administrator:\n") && text.contains("What will work:"), "{text}");
}

#[test]
fn a_server_without_a_log_of_changes_is_said_to_have_none() {
    let mut options = SlapdOptions::with_users();
    options.syncprov.clear();
    let slapd = Slapd::start(options);
    let report = json_of(Program::Tap, &tap_config(&slapd), 0);
    says(&report, "change tracking", "warning", &["LOG_BASED does not work", "syncprov"]);
    assert!(!works(&report).contains("LOG_BASED"));
    let report = json_of(
        Program::Tap,
        &with(&tap_config(&slapd), &json!({"base_dn": "ou=nowhere,dc=example,dc=test"})),
        1,
    );
    says(&report, "base", "failed", &["ou=nowhere", "base_dn"]);
    // What can be known besides is known.
    says(&report, "change tracking", "warning", &[]);
}

#[test]
fn directory_server_389_is_described_settings_and_rights_included() {
    let server = Ds389::start(&Ds389Options::default());
    let report = json_of(Program::Tap, &tap_config(&server), 0);
    assert_eq!(report["vendor"], "389 Directory Server");
    says(&report, "limits", "ok", &["nsslapd-sizelimit"]);
    says(&report, "indexes", "ok", &["entryusn"]);
    says(&report, "clock", "ok", &[]);
    let base = with(&target_config(&server), &json!({"default_base_dn": server.suffix()}));
    let report = json_of(Program::Target, &base, 0);
    says(&report, "write access", "ok", &["vadn"]);
    says(&report, "password policy", "ok", &["passwordMinLength"]);
    let reader = json!({"bind_dn": server.reader_dn(), "bind_password": READER_PASSWORD});
    let report = json_of(Program::Target, &with(&base, &reader), 0);
    assert_ne!(check(&report, "write access").0, "ok", "the reader may write nothing");
}

#[test]
fn active_directory_is_described_with_its_right_to_replicate() {
    let samba = Samba::start("");
    let config = with(
        &tap_config(&samba),
        &json!({"server_url": samba.ldaps_uri(), "tls_ca_file": samba.certificates().ca}),
    );
    let report = json_of(Program::Tap, &config, 0);
    assert_eq!(report["vendor"], "Active Directory");
    says(&report, "tls", "ok", &["TLS 1.", "expires in"]);
    says(&report, "change tracking", "ok", &["DirSync"]);
    says(&report, "limits", "ok", &["MaxPageSize=1000"]);
    says(&report, "indexes", "ok", &["indexed"]);
    says(&report, "clock", "ok", &[]);
    let target = with(
        &config,
        &json!({"base_dn": null, "discovery_sample_size": null, "default_base_dn": samba.suffix()}),
    );
    let report = json_of(Program::Target, &target, 0);
    says(&report, "write access", "ok", &["may create"]);
    says(&report, "passwords", "ok", &["unicode_pwd"]);
    says(&report, "password policy", "ok", &["minPwdLength"]);
}

#[test]
fn a_file_is_a_directory_too() {
    let dir = scratch();
    let path = dir.path().join("a.ldif");
    fs::write(&path, "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n").unwrap();
    let report = json_of(Program::Tap, &json!({"server_url": format!("ldif:{}", path.display())}), 0);
    says(&report, "file", "ok", &["a.ldif"]);
    says(&report, "base", "ok", &["dc=example,dc=test"]);
    let missing = json!({"server_url": format!("ldif:{}", dir.path().join("none.ldif").display())});
    says(&json_of(Program::Tap, &missing, 2), "file", "failed", &["none.ldif"]);
}

/// A TLS server that speaks no LDAP, with a certificate that expired in 2021.
struct Expired {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Expired {
    fn start() -> Expired {
        let dir = scratch();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        let certificate = params.self_signed(&key).unwrap();
        fs::write(dir.path().join("cert.pem"), certificate.pem()).unwrap();
        fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
        let port = free_port();
        let child = Command::new("openssl")
            .args([
                "s_server",
                "-quiet",
                "-accept",
                &port.to_string(),
                "-cert",
                "cert.pem",
                "-key",
                "key.pem",
            ])
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "openssl s_server starts");
            std::thread::sleep(Duration::from_millis(50));
        }
        Expired { child, port, dir }
    }
}

impl Drop for Expired {
    fn drop(&mut self) {
        terminate(&mut self.child, Duration::from_secs(1));
    }
}

#[test]
fn what_is_down_expired_or_wrong_is_named_and_how_far_it_went() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let config = reader_config(&slapd);
    let expired = Expired::start();
    let down = json!({"server_url": format!("ldap://127.0.0.1:{}", free_port())});
    let nowhere = json!({"server_url": "ldap://no-such-host.invalid"});
    let old = json!({
        "server_url": format!("ldaps://localhost:{}", expired.port),
        "tls_ca_file": expired.dir.path().join("cert.pem"),
    });
    let wrong = json!({"bind_password": "hunter2"});
    for (change, steps, words) in [
        (nowhere, vec!["resolve"], vec!["no-such-host.invalid", "in the URL"]),
        (down, vec!["resolve", "connect"], vec!["refused", "firewall"]),
        (
            old,
            vec!["resolve", "connect", "tls"],
            vec!["expired on 2021-01-01", "localhost", "ask the administrator"],
        ),
        (wrong, vec!["resolve", "connect", "tls", "bind"], vec!["invalidCredentials (49)"]),
    ] {
        for program in Program::ALL {
            let mut changed = with(&config, &change);
            if program != Program::Tap {
                changed = with(&changed, &json!({"base_dn": null, "discovery_sample_size": null}));
            }
            if program == Program::Service {
                changed = with(&changed, &json!({"users": {"base_dn": slapd.suffix()}}));
            }
            let output = doctor(program, &changed).arg("--format=json").run().exits(3);
            no_secret(&output, "hunter2");
            let report = output.json();
            let names: Vec<&str> =
                report["checks"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
            assert_eq!(names, steps, "{report:#}");
            says(&report, steps.last().unwrap(), "failed", &words);

            // The probe says the same in one line, with the same code, and does not try again.
            let started = Instant::now();
            let run = match program {
                Program::Tap => Run::tap(&changed),
                Program::Target => Run::target(&changed),
                Program::Service => Run::bare(program).file("--config", &changed),
            };
            let output = run.arg("--test").run().exits(3);
            assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
            assert_eq!(output.stdout_text().lines().count(), 1);
            let health = output.json();
            assert_eq!(health["status"], "unhealthy");
            let last = health["checks"].as_array().unwrap().last().unwrap();
            assert_eq!(
                (last["name"].as_str(), last["ok"].as_bool()),
                (steps.last().copied(), Some(false)),
                "{health}"
            );
        }
    }
}

#[test]
fn the_probe_names_its_checks_when_all_is_well() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let names = |run: Run| -> Vec<String> {
        let health = run.arg("--test").run().succeeds().json();
        health["checks"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_owned()).collect()
    };
    let tap = names(Run::tap(&reader_config(&slapd)));
    let expected = [
        "resolve",
        "connect",
        "tls",
        "bind",
        "rootDSE",
        "base",
        "streams",
        "records of organizational_units",
    ];
    assert_eq!(tap[..8], expected, "{tap:?}");
    let target = names(Run::target(&target_config(&slapd)));
    assert_eq!(target, ["resolve", "connect", "tls", "bind", "rootDSE", "base"]);
}

/// A base entry may be made by another program than its entries, or be the root DSE.
#[test]
fn the_doctor_looks_at_entries_and_not_at_the_base_alone() {
    let operational = vec![
        ("entryUUID", &["00000000-0000-0000-0000-000000000001"][..]),
        ("modifyTimestamp", &["20260101000000Z"]),
    ];
    let entry = plain(b"cn=one,dc=x", &[("objectClass", &["device"]), ("cn", &["one"])]);
    let server = Fake::start(Plain::new(vec![PlainEntry { operational, ..entry }]));
    let config = json!({"server_url": server.uri(), "base_dn": "dc=x"});
    let report = doctor(Program::Tap, &config).arg("--format").arg("json").run().json();
    says(&report, "id", "ok", &["entryUUID"]);
    says(&report, "change key", "ok", &["modifyTimestamp"]);
}
