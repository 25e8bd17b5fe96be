//! Filters over attributes that the bound user may not search, of all entries or of some: what a stream lacks for that is not gone.

use ldap_tests::ds389::{Ds389, Ds389Options, READER_PASSWORD};
use ldap_tests::run::{Output, Run, pipe};
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{field, json_log};
use crate::support::{reader_config, tap_config, target_config, unit, with};

const STAFF: &str = "ou=staff,dc=example,dc=test";
const READER: &str = "uid=reader,ou=people,dc=example,dc=test";

fn staff(n: u32) -> String {
    format!("uid=s{n},{STAFF}")
}

/// People of whom all but the last are active.
fn seed() -> String {
    let mut text = unit(STAFF);
    for n in 0..30 {
        let kind = if n == 29 { "former" } else { "active" };
        let person = format!(
            "dn: {}\nobjectClass: inetOrgPerson\nuid: s{n}\ncn: s{n}\nsn: s{n}\nemployeeType: {kind}\n\n",
            staff(n)
        );
        text.push_str(&person);
    }
    text
}

/// `access`: rights of uid=reader, who reads everything else.
fn slapd(access: &str) -> Slapd {
    let access = format!("{access}access to * by dn.exact=\"{READER}\" read by * break\n");
    Slapd::start(SlapdOptions { access, ..SlapdOptions::with_users().seed(seed()) })
}

fn hidden(what: &str) -> String {
    format!("access to {what} by dn.exact=\"{READER}\" none by * break\n")
}

fn stream(filter: &str, more: &Value) -> Value {
    let of_stream = with(&json!({"name": "active", "base_dn": STAFF, "filter": filter}), more);
    json!({"schemas": [of_stream], "operational_attributes": null})
}

fn activates(output: &Output) -> bool {
    !output.of_type("ACTIVATE_VERSION").is_empty()
}

fn deletions(output: &Output) -> usize {
    output.records(None).into_iter().filter(|r| r["_sdc_deleted_at"].is_string()).count()
}

fn last_state(output: &Output) -> Value {
    output.of_type("STATE").last().unwrap()["value"].clone()
}

/// The attribute is hidden of entries with this description: rights that are tightened between two runs.
const TIGHTENED: &str = "filter=(description=hidden) attrs=employeeType";

fn modify(n: u32, what: &str) -> String {
    format!("dn: {}\nchangetype: modify\n{what}\n\n", staff(n))
}

fn tighten(server: &Server, all: &[u32]) {
    let changes = all.iter().map(|n| modify(*n, "replace: description\ndescription: hidden"));
    server.ldapmodify(changes.collect::<String>());
}

#[test]
fn slapd_a_hidden_attribute_of_a_filter_ends_nobody() {
    let active = "(employeeType=active)";
    let inactive = "(!(employeeType=former))";
    let both = "(&(objectClass=person)(|(employeeType=active)(uid=s0)))";
    for (filter, what, dn) in [
        (active, "attrs=employeeType".to_owned(), None),
        (inactive, "attrs=employeeType".to_owned(), None),
        (active, format!("dn.exact=\"{}\" attrs=employeeType", staff(7)), Some(staff(7))),
        (inactive, format!("dn.exact=\"{}\" attrs=employeeType", staff(7)), Some(staff(7))),
        (both, format!("dn.exact=\"{}\" attrs=employeeType", staff(7)), Some(staff(7))),
    ] {
        for whole in ["auto", "never"] {
            let slapd = slapd(&hidden(&what));
            let config = with(&reader_config(&slapd), &stream(filter, &json!({})));
            let config = with(&config, &json!({"allow_empty_streams": true, "verify": whole}));
            let output = json_log(&config).run().succeeds();
            assert!(!activates(&output), "{filter} {what}");
            let mut fields = json!({"stream": "active", "setting": "bind_dn", "attribute": "employeeType"});
            if let Some(dn) = &dn {
                fields["dn"] = json!(dn);
            }
            output.stderr.reports(&fields);
            assert_eq!(field(&output, "incomplete_streams"), 1, "{filter} {what}");
        }
    }
}

/// Where the rest of the filter decides, or the entries are left out, nothing is missing.
#[test]
fn slapd_what_is_hidden_and_does_not_matter_is_no_gap() {
    let one = hidden(&format!("dn.exact=\"{}\" attrs=employeeType", staff(7)));
    for (filter, access, more) in [
        ("(employeeType=active)", hidden("attrs=title"), json!({})),
        ("(&(!(uid=s7))(employeeType=active))", one.clone(), json!({})),
        ("(|(uid=s7)(employeeType=active))", one.clone(), json!({})),
        ("(employeeType=active)", one, json!({"exclude_base_dns": [staff(7)]})),
    ] {
        let slapd = slapd(&access);
        let config = with(&reader_config(&slapd), &stream(filter, &json!({})));
        let output = json_log(&with(&config, &more)).run().succeeds();
        assert!(activates(&output), "{filter} {more}");
        assert!(field(&output, "incomplete_streams").is_null());
    }
}

/// By an index of keys.
#[test]
fn slapd_rights_that_are_tightened_delete_nothing_downstream() {
    for all in [(0..30).collect::<Vec<u32>>(), vec![7]] {
        for method in ["FULL_TABLE", "INCREMENTAL"] {
            let slapd = slapd(&hidden(TIGHTENED));
            let dir = tempfile::tempdir().unwrap();
            let stream = stream("(employeeType=active)", &json!({"replication_method": method}));
            let more = json!({"track_deletions": true, "state_dir": dir.path(), "allow_empty_streams": true});
            let config = with(&with(&reader_config(&slapd), &stream), &more);
            let first = json_log(&config).run().succeeds();
            assert_eq!(first.records(None).len(), 29);
            tighten(&slapd, &all);
            let second = json_log(&config).file("--state", &last_state(&first)).run().succeeds();
            assert_eq!(deletions(&second), 0, "{method} {all:?}: {}", second.stdout_text());
            assert!(!activates(&second));
            second
                .stderr
                .reports(&json!({"stream": "active", "setting": "bind_dn", "attribute": "employeeType"}));
        }
    }
}

#[test]
fn slapd_a_mirror_of_a_filter_keeps_who_is_hidden() {
    let source = slapd(&hidden(&format!("dn.exact=\"{}\" attrs=employeeType", staff(7))));
    let mirror = Slapd::start(SlapdOptions::default());
    let target = with(
        &target_config(&mirror),
        &json!({"process_activate_version": true, "mapping_rules": {"active": {"scope_base": STAFF}}}),
    );
    let of = |config: Value| with(&config, &stream("(employeeType=active)", &json!({})));
    let (tap, first) = pipe(&of(tap_config(&source)), &target);
    tap.succeeds();
    first.succeeds();
    let before = mirror.dump();
    let output = json_log(&of(reader_config(&source))).run().succeeds();
    Run::target(&target).stdin(&output.stdout).run().succeeds();
    assert_eq!(mirror.dump(), before);
}

/// A log reports an entry as gone that the filter no longer matches because its attribute may not be searched any more.
#[test]
fn slapd_a_log_ends_nobody_whose_attribute_is_hidden() {
    let slapd = slapd(&hidden(TIGHTENED));
    let more = stream("(employeeType=active)", &json!({"replication_method": "LOG_BASED"}));
    let config = with(&reader_config(&slapd), &more);
    let first = json_log(&config).run().succeeds();
    assert_eq!(first.records(None).len(), 29);
    tighten(&slapd, &[7]);
    slapd.ldapmodify(modify(8, "replace: employeeType\nemployeeType: former"));
    slapd.ldapmodify(format!("dn: {}\nchangetype: delete\n", staff(9)));
    let second = json_log(&config).file("--state", &last_state(&first)).run().succeeds();
    assert_eq!(deletions(&second), 2, "{}", second.stdout_text());
    second.stderr.reports(
        &json!({"stream": "active", "setting": "bind_dn", "attribute": "employeeType", "dn": staff(7)}),
    );
    // The changes of who is hidden are in no log: the next run reads everything.
    assert!(last_state(&second)["bookmarks"].get("active").is_none());
}

#[test]
fn ds389_a_hidden_attribute_of_a_filter_ends_nobody() {
    let reader = "uid=reader,dc=example,dc=test";
    for method in ["FULL_TABLE", "LOG_BASED"] {
        let server = Ds389::start(&Ds389Options::default().seed(seed()));
        let more = stream("(employeeType=active)", &json!({"replication_method": method}));
        let as_reader = with(&more, &json!({"bind_dn": reader, "bind_password": READER_PASSWORD}));
        let config = with(&tap_config(&server), &as_reader);
        let first = json_log(&config).run().succeeds();
        assert_eq!((first.records(None).len(), activates(&first)), (29, true));
        server.ldapmodify(format!(
            "dn: {}\nchangetype: modify\nadd: aci\n\
             aci: (targetattr=\"employeeType\")(version 3.0; acl \"h\"; deny (read,search) userdn=\"ldap:///{reader}\";)\n",
            staff(7)
        ));
        server.ldapmodify(modify(8, "replace: employeeType\nemployeeType: former"));
        let second = json_log(&config).file("--state", &last_state(&first)).run().succeeds();
        assert!(!activates(&second), "{method}");
        assert_eq!(deletions(&second), usize::from(method == "LOG_BASED"), "{}", second.stdout_text());
        second.stderr.reports(
            &json!({"stream": "active", "setting": "bind_dn", "attribute": "employeeType", "dn": staff(7)}),
        );
    }
}
