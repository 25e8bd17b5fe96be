//! Secrets: everything that a run produces is searched for each secret, at each log level and form, and for each way a run ends.

mod search;
mod secret_attributes;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use ldap_tests::run::{Program, Run};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{lines, no_panic, unit, with};
use search::{found, watch};

const VAULT: &str = "ou=vault,dc=example,dc=test";
const KEEPER: &str = "uid=keeper,ou=people,dc=example,dc=test";

/// The part of each secret that is searched for: whatever is done to the rest of it, this stays.
const BIND: &str = "KwBind4711";
const WRONG: &str = "KwWrong4712";
const STORED: &str = "KwStored4713";
const RECORD: &str = "KwRecord4714";
const ALL: [&str; 4] = [BIND, WRONG, STORED, RECORD];

/// A secret that looks different in JSON, in a DN, in a filter and in LDIF.
fn nasty(token: &str) -> String {
    format!(" \"{token}\\é,+*)\t")
}

fn slapd() -> Slapd {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    Slapd::start(SlapdOptions {
        access: format!("access to * by dn.exact=\"{KEEPER}\" manage by * break"),
        ..SlapdOptions::with_users().seed(unit(VAULT)).seed(format!(
            "dn: {KEEPER}\nobjectClass: inetOrgPerson\nuid: keeper\ncn: k\nsn: k\nuserPassword:: {}\n\n\
             dn: uid=old,{VAULT}\nobjectClass: inetOrgPerson\nuid: old\ncn: o\nsn: o\nuserPassword:: {}\n",
            encode(&nasty(BIND)),
            encode(&nasty(STORED)),
        ))
    })
}

/// A kind of run.
struct Scenario<'a> {
    name: String,
    /// The n-th run of it: each has to find something to do.
    run: Box<dyn Fn(usize) -> Run + 'a>,
    code: i32,
    /// Where a secret belongs: the name of the place, and the secret.
    belongs: Vec<(&'static str, &'static str)>,
    /// Where one may be.
    may_be: Vec<(&'static str, &'static str)>,
}

impl<'a> Scenario<'a> {
    fn new(name: &str, code: i32, run: impl Fn(usize) -> Run + 'a) -> Self {
        Scenario { name: name.to_owned(), run: Box::new(run), code, belongs: Vec::new(), may_be: Vec::new() }
    }

    fn belongs(mut self, place: &'static str, token: &'static str) -> Self {
        self.belongs.push((place, token));
        self
    }

    fn may_be(mut self, place: &'static str, token: &'static str) -> Self {
        self.may_be.push((place, token));
        self
    }
}

const LOGS: [(&str, &str); 7] = [
    ("trace", "text"),
    ("trace", "json"),
    ("debug", "text"),
    ("info", "text"),
    ("info", "json"),
    ("warn", "text"),
    ("error", "text"),
];

/// Runs each scenario at every level, and searches.
#[track_caller]
fn search(scenarios: &[Scenario<'_>], out: &Path) {
    for Scenario { name, run, code, belongs, may_be } in scenarios {
        for (n, (level, format)) in LOGS.iter().enumerate() {
            let what = format!("{name}, {level}, {format}");
            let run = run(n).arg("--log-level").arg(*level).arg("--log-format").arg(*format);
            let (output, places) = watch(run, out);
            no_panic(&output);
            assert_eq!(output.code, *code, "{what}:\n{}", output.stderr);
            if *level == "trace" && *code != 0 && output.stdout.is_empty() {
                assert!(
                    !output.stderr.is_empty(),
                    "{what}: a failed run says something, or this shows nothing"
                );
            }
            for place in &places {
                let is_fine = |token: &str| {
                    belongs.iter().chain(may_be).any(|fine| *fine == (place.name.as_str(), token))
                };
                for token in ALL.iter().filter(|token| !is_fine(token)) {
                    if let Some(form) = found(token, &place.octets) {
                        let text = String::from_utf8_lossy(&place.octets);
                        panic!("{what}: {token} is in {}, {form}:\n{text}", place.name);
                    }
                }
            }
            // Where it belongs it is, or nothing here is ever found.
            for (place, token) in belongs {
                let there = places.iter().any(|p| p.name == *place && found(token, &p.octets).is_some());
                assert!(there, "{what}: {token} is not in {place}");
            }
            std::fs::remove_dir_all(out).unwrap();
            std::fs::create_dir(out).unwrap();
        }
    }
}

fn config(slapd: &Slapd) -> Value {
    json!({"server_url": slapd.ldap_uri(), "bind_dn": KEEPER, "bind_password": nasty(BIND), "retry_attempts": 0})
}

#[test]
fn the_tap_shows_no_secret() {
    let slapd = slapd();
    let dir = scratch();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, format!("{}\n", nasty(BIND))).unwrap();
    let base = with(&config(&slapd), &json!({"base_dn": VAULT, "operational_attributes": ["userPassword"]}));
    let tap = |changes: &Value| Run::tap(&with(&base, changes));
    let broken = format!("{{\"server_url\": \"ldap://127.0.0.1\", \"bind_password\": \"{BIND}");
    let of_env = |password: &str| {
        Run::bare(Program::Tap)
            .arg("--config=ENV")
            .env("TAP_LDAP_SERVER_URL", &slapd.ldap_uri())
            .env("TAP_LDAP_BIND_DN", KEEPER)
            .env("TAP_LDAP_BIND_PASSWORD", password)
            .env("TAP_LDAP_BASE_DN", VAULT)
    };
    let url = |text: String| tap(&json!({"server_url": text, "connect_timeout_seconds": 2}));
    let indexed = json!({"state_dir": out.join("state"), "track_deletions": true});
    search(
        &[
            Scenario::new("sync", 0, |_| tap(&json!({}))).belongs("stdout", STORED),
            Scenario::new("sync that keeps its keys", 0, |_| tap(&indexed)).belongs("stdout", STORED),
            Scenario::new("discovery", 0, |_| tap(&json!({})).arg("--discover")),
            Scenario::new("report", 0, |_| {
                tap(&json!({}))
                    .arg("--discover")
                    .arg("--report")
                    .arg(out.join("report.html").to_str().unwrap())
            }),
            Scenario::new("test", 0, |_| tap(&json!({})).arg("--test")),
            Scenario::new("about", 0, |_| tap(&json!({})).arg("--about")),
            Scenario::new("about in JSON", 0, |_| of_env(BIND).arg("--about").arg("--format").arg("json")),
            Scenario::new("wrong password", 3, |_| tap(&json!({"bind_password": nasty(WRONG)}))),
            Scenario::new("wrong password, test", 3, |_| {
                tap(&json!({"bind_password": nasty(WRONG)})).arg("--test")
            }),
            Scenario::new("password in a file", 0, |_| {
                tap(&json!({"bind_password": null, "bind_password_file": file})).arg("--discover")
            }),
            Scenario::new("environment", 0, |_| of_env(&nasty(BIND)).arg("--discover")),
            Scenario::new("environment, wrong password", 3, |_| of_env(&nasty(WRONG))),
            Scenario::new("password that is no text", 2, |_| tap(&json!({"bind_password": [BIND]}))),
            Scenario::new("password under another name", 2, |_| {
                tap(&json!({"bind_password": null, "bind_pasword": BIND}))
            }),
            Scenario::new("configuration that is cut", 2, |_| {
                Run::bare(Program::Tap).raw_file("--config", broken.as_bytes())
            }),
            Scenario::new("configuration that is another", 2, |_| {
                Run::bare(Program::Tap).raw_file("--config", format!("[\"{BIND}\"]").as_bytes())
            }),
            Scenario::new("password in the URL", 2, |_| url(format!("ldap://cn=x:{BIND}@127.0.0.1"))),
            Scenario::new("password in the URL of the host", 2, |_| {
                tap(&json!({"server_url": null, "host": format!("cn=x:{BIND}@127.0.0.1")}))
            }),
            Scenario::new("password and nobody to give it to", 3, |_| url("ldap://127.0.0.1:1".into())),
        ],
        &out,
    );
}

/// SCHEMA and records of a stream: good ones, ones that the target refuses, and ones that the server does.
fn messages(n: usize) -> Vec<Value> {
    let texts = json!({"type": ["null", "array", "string"], "items": {"type": "string"}});
    let record = |id: &str, more: Value| {
        let record = with(&json!({"id": id, "name": "Name", "note": format!("run {n}")}), &more);
        json!({"type": "RECORD", "stream": "users", "record": record})
    };
    let secret = format!("{}{n}", nasty(RECORD));
    vec![
        json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object", "properties": {
            "id": texts, "name": texts, "note": texts, "pw": texts}}}),
        record("new", json!({"pw": secret})),
        record("old", json!({"pw": secret})),
        record("refused", json!({"pw": secret, "name": ""})),
        record("invalid", json!({"pw": {"deep": [secret]}})),
        record("two", json!({"pw": [secret, "another"]})),
        json!({"type": "STATE", "value": {"n": n}}),
    ]
}

#[test]
fn the_target_shows_no_secret() {
    let slapd = slapd();
    let dir = scratch();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let files = json!({"undo_file": out.join("undo.ldif"), "reject_file": out.join("rejects.jsonl"), "on_error": "skip"});
    let rule = |password: &Value| {
        json!({"mapping_rules": {"users": {
            "dn_template": format!("uid={{uid}},{VAULT}"), "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "uid", "name": ["cn", "sn"], "note": "description"}, "password": password}}})
    };
    let target = |mode: &str, changes: &Value| {
        let base = with(&config(&slapd), &rule(&json!({"from": "pw", "mode": mode, "policy": "force"})));
        Run::target(&with(&with(&base, &files), changes))
    };
    let mirror = |n: usize| {
        let mut all = vec![
            json!({"type": "SCHEMA", "stream": "vault", "key_properties": ["dn"], "schema": {"type": "object", "properties": {
            "dn": {"type": "string"}, "objectClass": {"type": "array"}, "uid": {"type": "array"}, "cn": {"type": "array"},
            "userPassword": {"type": ["null", "array"], "items": {"type": "string", "contentEncoding": "base64"}}}}}),
        ];
        let encoded = {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(format!("{RECORD}{n}"))
        };
        for (uid, classes) in
            [("mirrored", "inetOrgPerson"), ("worse", "noSuchClass"), ("bad", "inetOrgPerson")]
        {
            let mut record = json!({"dn": format!("uid={uid}{n},{VAULT}"), "objectClass": [classes], "uid": [format!("{uid}{n}")],
                "cn": ["x"], "sn": ["x"], "userPassword": [encoded]});
            if uid == "bad" {
                record["userPassword"] = json!([format!("%{RECORD}%")]);
            }
            all.push(json!({"type": "RECORD", "stream": "vault", "record": record}));
        }
        all
    };
    let plain = |changes: &Value| Run::target(&with(&with(&config(&slapd), &files), changes));
    let strict = json!({"on_error": "fail", "reject_file": null});
    let cut = |what: &str| {
        format!("{}{{\"type\":\"RECORD\",\"stream\":\"users\",\"record\":{what}\n", lines(&messages(0)[..1]))
    };
    let target = &target;
    let mut scenarios = Vec::new();
    for mode in ["hash:ssha512", "exop", "as_is"] {
        let run = move |n| target(mode, &json!({})).messages(&messages(n));
        // Old values that can be read are what an undo file is for.
        scenarios.push(Scenario::new(mode, 4, run).may_be("undo.ldif", STORED));
        for plan in ["ldif", "diff", "json"] {
            let run = move || target(mode, &json!({})).plan(plan);
            let scenario =
                Scenario::new(&format!("{mode}, plan as {plan}"), 4, move |n| run().messages(&messages(n)));
            scenarios.push(scenario.may_be("undo.ldif", STORED));
        }
    }
    scenarios.extend([
        Scenario::new("mirror", 4, |n| plain(&json!({})).messages(&mirror(n))),
        Scenario::new("mirror, guarded", 4, |n| plain(&json!({"max_deletes": 5})).messages(&mirror(n + 10))),
        Scenario::new("first failure", 1, |n| target("exop", &strict).messages(&messages(n)[3..])),
        Scenario::new("failure of the schema", 1, |n| {
            let all = messages(n);
            target("exop", &strict).messages(&[all[0].clone(), all[4].clone()])
        }),
        Scenario::new("failure of the mirror", 1, |n| plain(&strict).messages(&mirror(n + 20)[..3])),
        Scenario::new("line that is cut", 1, |_| {
            target("exop", &json!({})).stdin(cut(&format!("{{\"pw\": \"{RECORD}")))
        }),
        Scenario::new("record that is none", 1, |_| {
            target("exop", &json!({})).stdin(cut(&format!("\"{RECORD}\"}}")))
        }),
        Scenario::new("type that is none", 1, |_| {
            target("exop", &json!({})).stdin(format!("{{\"type\":{{\"pw\":\"{RECORD}\"}}}}\n"))
        }),
        Scenario::new("password for a connection that is not encrypted", 2, |n| {
            target("unicode_pwd", &json!({})).messages(&messages(n))
        }),
        Scenario::new("wrong password", 3, |n| {
            target("exop", &json!({"bind_password": nasty(WRONG)})).messages(&messages(n))
        }),
        Scenario::new("test", 0, |_| target("exop", &json!({})).arg("--test")),
        Scenario::new("about", 0, |_| {
            target("exop", &json!({})).arg("--about").arg("--format").arg("markdown")
        }),
        Scenario::new("password that is no text", 2, |_| {
            target("exop", &json!({"bind_password": {"is": BIND}}))
        }),
        Scenario::new("password in place of a rule", 2, |_| plain(&rule(&json!(BIND)))),
    ]);
    search(&scenarios, &out);
}

#[test]
fn an_undo_file_has_the_old_password_and_never_the_new_one() {
    let slapd = slapd();
    let dir = scratch();
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let record = json!({"dn": format!("uid=old,{VAULT}"), "objectClass": ["inetOrgPerson"],
        "_sdc_deleted_at": "2026-01-01T00:00:00Z"});
    let schema = json!({"type": "SCHEMA", "stream": "vault", "key_properties": ["dn"], "schema": {"type": "object", "properties": {
        "dn": {"type": "string"}, "objectClass": {"type": "array"}, "_sdc_deleted_at": {"type": ["null", "string"]}}}});
    let run = Run::target(&with(&config(&slapd), &json!({"undo_file": out.join("undo.ldif")})))
        .messages(&[schema, json!({"type": "RECORD", "stream": "vault", "record": record})]);
    let (output, places) = watch(run.arg("--log-level").arg("trace"), &out);
    output.succeeds();
    let with_it: Vec<&str> =
        places.iter().filter(|p| found(STORED, &p.octets).is_some()).map(|p| p.name.as_str()).collect();
    assert_eq!(with_it, ["undo.ldif"]);
}

#[test]
fn a_file_with_a_password_that_others_may_read_is_named() {
    let slapd = slapd();
    let dir = scratch();
    let file = dir.path().join("the-password");
    std::fs::write(&file, format!("{}\n", nasty(BIND))).unwrap();
    let config = with(&config(&slapd), &json!({"bind_password": null, "bind_password_file": file}));
    for (mode, is_warned) in [(0o600, false), (0o440, false), (0o644, true), (0o622, true)] {
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let runs = [Run::tap(&config).arg("--discover"), Run::target(&config).arg("--test")];
        for output in runs.map(Run::run) {
            let said =
                output.stderr.contains("bind_password_file: ") && output.stderr.contains("the-password");
            assert_eq!(said, is_warned, "{mode:o}: {}", output.stderr);
            output.succeeds();
        }
    }
}
