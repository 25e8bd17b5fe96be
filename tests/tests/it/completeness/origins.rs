//! Who reads, and from which server: what another account may not see, or another server does not have yet, is not deleted.

use ldap_tests::run::{Output, Run};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::json_log;
use crate::support::{people, reader_config, tap_config, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";
const READER: &str = "uid=reader,ou=people,dc=example,dc=test";
const METHODS: [&str; 3] = ["FULL_TABLE", "INCREMENTAL", "LOG_BASED"];

fn deleted(output: &Output) -> Vec<&str> {
    let records = output.records(None).into_iter();
    records.filter(|r| r["_sdc_deleted_at"].is_string()).map(|r| r["dn"].as_str().unwrap_or("?")).collect()
}

/// Runs, each from the STATE of the one before.
struct Runs {
    more: Value,
    state: Option<Value>,
}

impl Runs {
    fn new(method: &str, more: &Value) -> Runs {
        let all = json!({"schemas": [{"name": "all", "replication_method": method}], "retry_attempts": 1});
        Runs { more: with(&all, more), state: None }
    }

    fn run(&mut self, config: &Value) -> Output {
        let mut run = json_log(&with(config, &self.more));
        if let Some(state) = &self.state {
            run = run.file("--state", state);
        }
        let output = run.run();
        if let Some(state) = output.of_type("STATE").last() {
            self.state = Some(state["value"].clone());
        }
        output
    }

    fn next(&mut self, config: &Value) -> Output {
        self.run(config).succeeds()
    }
}

fn activates(output: &Output) -> bool {
    !output.of_type("ACTIVATE_VERSION").is_empty()
}

#[test]
fn slapd_what_another_account_may_not_see_is_not_deleted() {
    let slapd = Slapd::start(SlapdOptions {
        access: format!("access to filter=(uid=person2) by dn.exact=\"{READER}\" none by * break\n"),
        ..SlapdOptions::with_users().seed(people(5, PEOPLE))
    });
    let (all, fewer) = (tap_config(&slapd), reader_config(&slapd));
    for method in METHODS {
        let dir = scratch();
        let mut runs = Runs::new(method, &json!({"track_deletions": true, "state_dir": dir.path()}));
        runs.next(&all);
        let weaker = runs.next(&fewer);
        assert!(deleted(&weaker).is_empty() && !activates(&weaker), "{method}: {:?}", deleted(&weaker));
        assert_eq!(
            weaker.stderr.about(&json!({"setting": "bind_dn", "level": "warning"})).len(),
            1,
            "{method}"
        );
        let back = runs.next(&all);
        assert!(deleted(&back).is_empty(), "{method}");
        // A spelling is not another account.
        let upper = all["bind_dn"].as_str().unwrap().to_uppercase().replace(',', ", ");
        let spelled = runs.next(&with(&all, &json!({"bind_dn": upper})));
        assert!(spelled.stderr.about(&json!({"setting": "bind_dn"})).is_empty(), "{method}");
        if method != "LOG_BASED" {
            assert!(deleted(&runs.next(&fewer)).is_empty());
            assert_eq!(deleted(&runs.next(&fewer)).len(), 1, "{method}: the second run in a row");
        }
    }
}

#[test]
fn slapd_another_account_activates_no_version() {
    let slapd = Slapd::start(SlapdOptions::with_users().seed(people(5, PEOPLE)));
    let mut runs = Runs::new("FULL_TABLE", &json!({}));
    assert!(activates(&runs.next(&tap_config(&slapd))) && activates(&runs.next(&tap_config(&slapd))));
    assert!(!activates(&runs.next(&reader_config(&slapd))));
    assert!(activates(&runs.next(&reader_config(&slapd))), "the second run in a row");
    assert!(!activates(
        &runs.next(&with(&tap_config(&slapd), &json!({"bind_dn": null, "bind_password": null})))
    ));
}

/// Two servers of one directory, the second of which lacks the newest entry.
fn two(syncprov: bool) -> (Slapd, Slapd) {
    let options = |options: SlapdOptions| SlapdOptions {
        syncprov: if syncprov { options.syncprov.clone() } else { String::new() },
        ..options
    };
    let mut first = Slapd::start(options(SlapdOptions::with_users().seed(people(5, PEOPLE))));
    let mut second = Slapd::start(options(SlapdOptions::empty()));
    // slapd writes its contextCSN at a checkpoint, or when it stops.
    first.ldapmodify(format!("dn: {READER}\nchangetype: modify\nreplace: description\ndescription: d\n"));
    first.restart();
    second.reload(&first.slapcat());
    let newest = format!("uid=newest,{PEOPLE}");
    first.ldapmodify(format!(
        "dn: {newest}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: newest\ncn: n\nsn: n\n"
    ));
    (first, second)
}

#[test]
fn slapd_what_another_server_does_not_have_yet_is_not_deleted() {
    for method in METHODS {
        for has_csn in [true, false] {
            if method == "LOG_BASED" && !has_csn {
                continue;
            }
            let (mut first, mut second) = two(has_csn);
            let dir = scratch();
            let mut runs = Runs::new(method, &json!({"track_deletions": true, "state_dir": dir.path()}));
            let at = |server: &Slapd| with(&tap_config(server), &json!({"server_url": [server.ldap_uri()]}));
            assert!(deleted(&runs.next(&at(&first))).is_empty());
            let lagging = runs.run(&at(&second));
            assert!(deleted(&lagging).is_empty() && !activates(&lagging), "{method} {has_csn}");
            if method == "LOG_BASED" {
                let lagging = lagging.exits(1);
                assert!(lagging.of_type("RECORD").is_empty(), "{method}: it says itself that it lags behind");
            } else {
                let warnings = lagging.succeeds().stderr;
                let warnings = warnings.about(&json!({"setting": "server_url", "level": "warning"}));
                assert_eq!(warnings.len(), 1, "{method} {has_csn}");
                let text = warnings[0]["message"].as_str().unwrap();
                assert!(text.contains(&first.ldap_uri()) && text.contains(&second.ldap_uri()), "{text}");
            }
            if has_csn {
                assert!(
                    deleted(&runs.run(&at(&second))).is_empty(),
                    "{method}: for as long as it lags behind"
                );
            }
            let back = runs.next(&at(&first));
            assert!(deleted(&back).is_empty(), "{method}");
            // Replicated meanwhile: what is deleted there is gone.
            first.ldapmodify(format!("dn: uid=person1,{PEOPLE}\nchangetype: delete\n"));
            first.restart();
            second.reload(&first.slapcat());
            if has_csn {
                let as_far = runs.next(&at(&second));
                assert_eq!(deleted(&as_far).len(), 1, "{method}: {:?}", deleted(&as_far));
                assert!(
                    as_far.stderr.about(&json!({"setting": "server_url", "level": "warning"})).is_empty()
                );
            }
        }
    }
}

#[test]
fn a_password_without_a_name_is_not_an_anonymous_run() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    for name in [json!({"bind_dn": null}), json!({"bind_dn": ""}), json!({"bind_dn": " "})] {
        let config = with(&tap_config(&slapd), &name);
        Run::tap(&config).run().exits(2).reports_setting("bind_dn");
        let anonymous = with(&config, &json!({"auth_method": "anonymous"}));
        let output = json_log(&anonymous).arg("--discover").run().succeeds();
        assert_eq!(output.stderr.about(&json!({"setting": "bind_password", "level": "warning"})).len(), 1);
    }
}
