//! `max_shrink`: a result that is empty, or much smaller than the last one, deletes nothing.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use crate::support::{assert_records_fit, resumed, tap_config, unit, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";

fn run(config: &Value, state: Option<&Value>) -> Output {
    resumed(config, None, state).run()
}

fn state(output: &Output) -> Value {
    output.of_type("STATE").last().unwrap()["value"].clone()
}

fn activated(output: &Output) -> BTreeSet<String> {
    output.of_type("ACTIVATE_VERSION").iter().map(|m| m["stream"].as_str().unwrap().to_owned()).collect()
}

fn deletions(output: &Output) -> Vec<&Value> {
    output.records(None).into_iter().filter(|r| r["_sdc_deleted_at"].is_string()).collect()
}

fn lines(output: &Output) -> Vec<Value> {
    output.stderr.entries().to_vec()
}

/// Warnings about a stream.
fn warnings(output: &Output, stream: &str) -> usize {
    lines(output).iter().filter(|l| l["level"] == "warning" && l["stream"] == stream).count()
}

fn accounts(file: &Path, count: usize) {
    let mut text =
        "dn: dc=x\nobjectClass: domain\ndc: x\n\ndn: ou=p,dc=x\nobjectClass: organizationalUnit\nou: p\n"
            .to_owned();
    for n in 0..count {
        write!(text, "\ndn: uid={n},ou=p,dc=x\nobjectClass: account\nuid: {n}\n").unwrap();
    }
    std::fs::write(file, text).unwrap();
}

fn from_file(file: &Path, more: &Value) -> Value {
    let config = json!({"server_url": format!("ldif:{}", file.display()), "base_dn": "dc=x",
        "schemas": [{"name": "users", "filter": "(objectClass=account)"}]});
    with(&config, more)
}

#[test]
fn a_typo_in_a_filter_deletes_nothing() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let config = |filter: &str, more: &Value| {
        let stream = json!({"name": "users", "base_dn": PEOPLE, "filter": filter});
        with(&with(&tap_config(&slapd), &json!({"schemas": [stream]})), more)
    };
    let good = run(&config("(objectClass=person)", &json!({})), None).succeeds();
    assert_eq!(activated(&good), BTreeSet::from(["users".to_owned()]));
    let empty = run(&config("(objectClass=persn)", &json!({})), Some(&state(&good))).succeeds();
    assert_eq!((activated(&empty).len(), empty.records(None).len()), (0, 0));
    assert_eq!(warnings(&empty, "users"), 1, "{}", empty.stderr);
    assert_eq!(lines(&empty).last().unwrap()["incomplete_streams"], 1, "{}", empty.stderr);
    let wanted = run(&config("(objectClass=persn)", &json!({"allow_empty_streams": true})), None).succeeds();
    assert_eq!(activated(&wanted).len(), 1);
    assert_eq!(
        (warnings(&wanted, "users"), &lines(&wanted).last().unwrap()["incomplete_streams"]),
        (0, &Value::Null)
    );
}

#[test]
fn a_typo_within_a_filter_that_finds_something_deletes_nothing() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let config = |filter: &str, more: &Value| {
        let stream = json!({"name": "users", "base_dn": PEOPLE, "filter": filter});
        with(&with(&tap_config(&slapd), &json!({"schemas": [stream]})), more)
    };
    let typo = "(|(employeType=staff)(objectClass=person))";
    let read = run(&config(typo, &json!({})), None).succeeds();
    assert!(!read.records(None).is_empty());
    assert_eq!((activated(&read).len(), warnings(&read, "users")), (0, 1), "{}", read.stderr);
    assert_eq!(lines(&read).last().unwrap()["incomplete_streams"], 1);
    // Asked for; and no typo.
    for (filter, more) in [
        (typo, json!({"allow_empty_streams": true})),
        ("(|(employeeType=staff)(objectClass=person))", json!({})),
    ] {
        assert_eq!(activated(&run(&config(filter, &more), None).succeeds()).len(), 1, "{filter}");
    }
}

#[test]
fn an_empty_answer_is_no_deletion_with_an_index_of_keys() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    for method in ["FULL_TABLE", "INCREMENTAL"] {
        let folder = scratch();
        let config = |filter: &str, more: &Value| {
            let stream =
                json!({"name": "users", "base_dn": PEOPLE, "filter": filter, "replication_method": method});
            let tracked = json!({"schemas": [stream], "track_deletions": true, "state_dir": folder.path()});
            with(&with(&tap_config(&slapd), &tracked), more)
        };
        let good = run(&config("(objectClass=person)", &json!({})), None).succeeds();
        assert_eq!((activated(&good).len(), deletions(&good).len()), (1, 0));
        let state = state(&good);
        let empty = run(&config("(uid=nobody)", &json!({})), Some(&state)).succeeds();
        assert_eq!((activated(&empty).len(), deletions(&empty).len()), (0, 0), "{method}");
        assert!(warnings(&empty, "users") >= 1, "{method}: {}", empty.stderr);
        let wanted =
            run(&config("(uid=nobody)", &json!({"allow_empty_streams": true})), Some(&state)).succeeds();
        assert_eq!(
            (activated(&wanted).len(), deletions(&wanted).len()),
            (1, 4),
            "{method}: {}",
            wanted.stderr
        );
    }
}

#[test]
fn a_container_that_has_become_empty_deletes_nothing_and_all_of_them_are_one_warning() {
    let dir = scratch();
    let file = dir.path().join("x.ldif");
    accounts(&file, 2);
    let config = json!({"server_url": format!("ldif:{}", file.display()), "base_dn": "dc=x"});
    let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(activated(&run(&config, None).succeeds()), names(&["organizational_units", "p"]));
    let emptied = std::fs::read_to_string(&file).unwrap();
    let emptied = emptied.split("\ndn: uid=0").next().unwrap();
    std::fs::write(&file, format!("{emptied}\n{}", unit("ou=q,dc=x"))).unwrap();
    let output = run(&config, None).succeeds();
    assert_eq!(activated(&output), names(&["organizational_units"]));
    let said: Vec<Value> =
        lines(&output).iter().filter_map(|l| l["empty_streams"].as_u64()).map(Value::from).collect();
    assert_eq!(said, [json!(2)], "the base holds containers alone by its nature: {}", output.stderr);
    let output = run(&with(&config, &json!({"allow_empty_streams": true})), None).succeeds();
    assert_eq!(activated(&output).len(), 4);
}

#[test]
fn an_answer_that_shrank_too_much_deletes_nothing_until_the_limit_is_raised() {
    let (dir, folder) = (scratch(), scratch());
    let file = dir.path().join("x.ldif");
    for more in [json!({}), json!({"track_deletions": true, "state_dir": folder.path()})] {
        let config = |shrink: Value| from_file(&file, &with(&more, &json!({"max_shrink": shrink})));
        accounts(&file, 10);
        let first = run(&config(json!("50%")), None).succeeds();
        let mut state = state(&first);
        assert_eq!((activated(&first).len(), &state["bookmarks"]["users"]["count"]), (1, &json!(10)));
        accounts(&file, 4);
        // As often as it is tried, the last complete answer is what counts.
        for limit in [json!("50%"), json!(5), json!("59.9%")] {
            let output = run(&config(limit.clone()), Some(&state)).succeeds();
            let output = output.says("users: 4 records after 10 ");
            assert_eq!((activated(&output).len(), deletions(&output).len()), (0, 0), "{limit}");
            assert_eq!(warnings(&output, "users"), 1, "{}", output.stderr);
            state = self::state(&output);
            assert_eq!(state["bookmarks"]["users"]["count"], 10);
        }
        let output = run(&config(json!("60%")), Some(&state)).succeeds();
        assert_eq!(activated(&output).len(), 1, "{}", output.stderr);
        assert_eq!(deletions(&output).len(), if more.get("state_dir").is_some() { 6 } else { 0 });
        assert_eq!(self::state(&output)["bookmarks"]["users"]["count"], 4);
        // Without the setting there is no limit, and no count.
        accounts(&file, 1);
        let output = run(&config(Value::Null), Some(&state)).succeeds();
        assert_eq!(activated(&output).len(), 1);
        assert_eq!(self::state(&output)["bookmarks"]["users"]["count"], Value::Null);
    }
    let output =
        run(&from_file(&file, &json!({"max_shrink": "half"})), None).exits(2).reports_setting("max_shrink");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_read_that_brings_much_less_is_said_where_nothing_holds_it_back() {
    let (dir, folder) = (scratch(), scratch());
    let file = dir.path().join("x.ldif");
    let said = |output: &Output| {
        let lines = lines(output);
        lines
            .iter()
            .filter(|l| l["before"].is_u64())
            .map(|l| json!([l["before"], l["now"]]))
            .collect::<Vec<_>>()
    };
    for more in [json!({}), json!({"track_deletions": true, "state_dir": folder.path()})] {
        let config = from_file(&file, &more);
        accounts(&file, 100);
        let first = run(&config, None).succeeds();
        assert!(said(&first).is_empty());
        // Half of them may go without a word.
        accounts(&file, 50);
        let second = run(&config, Some(&state(&first))).succeeds();
        assert!(said(&second).is_empty(), "{}", second.stderr);
        accounts(&file, 7);
        let third = run(&config, Some(&state(&second))).succeeds();
        assert_eq!(said(&third), [json!([50, 7])], "{}", third.stderr);
        assert_eq!(activated(&third).len(), 1);
        // Few are not worth it.
        accounts(&file, 1);
        let fourth = run(&config, Some(&state(&third))).succeeds();
        assert!(said(&fourth).is_empty(), "{}", fourth.stderr);
    }
    // A count is no position: a STATE that has nothing else is none of another directory's.
    accounts(&file, 100);
    let first = run(&from_file(&file, &json!({})), None).succeeds();
    let stream = json!([{"name": "others", "filter": "(objectClass=account)"}]);
    run(&from_file(&file, &json!({"schemas": stream})), Some(&state(&first))).succeeds();
}

#[test]
fn a_state_that_is_none_is_said() {
    let dir = scratch();
    let file = dir.path().join("x.ldif");
    accounts(&file, 3);
    let config = from_file(&file, &json!({}));
    let tap = |text: &[u8]| Run::tap(&config).raw_file("--state", text).run();
    for empty in ["", " \n"] {
        let output = tap(empty.as_bytes()).succeeds();
        assert_eq!(lines(&output).iter().filter(|l| l["state"].is_string()).count(), 1, "{}", output.stderr);
    }
    for none in ["{}", "{\"bookmarks\": {}}", "{\"currently_syncing\": null}"] {
        let output = tap(none.as_bytes()).succeeds();
        assert_eq!(lines(&output).iter().filter(|l| l["level"] == "warning").count(), 0, "{}", output.stderr);
    }
    for other in ["{\"a\": 1}", "{\"singer_state\": {\"bookmarks\": {}}}"] {
        assert!(tap(other.as_bytes()).exits(2).reports_setting("--state").stdout.is_empty());
    }
}

#[test]
fn a_resync_of_log_based_deletes_nothing_by_an_empty_or_shrunken_answer() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let config = |filter: &str, more: &Value| {
        let stream =
            json!({"name": "users", "base_dn": PEOPLE, "filter": filter, "replication_method": "LOG_BASED"});
        with(&with(&tap_config(&slapd), &json!({"schemas": [stream], "max_shrink": "50%"})), more)
    };
    let first = run(&config("(objectClass=person)", &json!({})), None).succeeds();
    let state = state(&first);
    assert_eq!((activated(&first).len(), &state["bookmarks"]["users"]["count"]), (1, &json!(4)));
    for (filter, more, expected) in [
        ("(uid=alice)", json!({}), 0),
        ("(uid=nobody)", json!({"max_shrink": null}), 0),
        ("(uid=nobody)", json!({"allow_empty_streams": true}), 0),
        ("(uid=nobody)", json!({"allow_empty_streams": true, "max_shrink": null}), 1),
        ("(|(uid=alice)(uid=bob))", json!({}), 1),
    ] {
        let output = run(&config(filter, &more), Some(&state)).succeeds().says("resync");
        assert_eq!(activated(&output).len(), expected, "{filter} {more}: {}", output.stderr);
    }
}

#[test]
fn a_log_that_names_what_the_stream_never_had_makes_no_deletion() {
    let others = "ou=others,dc=example,dc=test";
    let account =
        |name: &str, parent: &str| format!("dn: uid={name},{parent}\nobjectClass: account\nuid: {name}\n\n");
    let slapd = Slapd::start(
        SlapdOptions::with_users().seed(unit(others)).seed(account("x", others)).seed(account("y", PEOPLE)),
    );
    let stream = json!({"name": "users", "base_dn": PEOPLE, "filter": "(objectClass=person)",
        "attributes": ["uid", "description"], "replication_method": "LOG_BASED"});
    let config = with(&tap_config(&slapd), &json!({"schemas": [stream]}));
    let first = run(&config, None).succeeds();
    assert_eq!(first.records(None).len(), 4);
    let before = state(&first);
    assert!(before["bookmarks"]["users"]["ids"].as_str().unwrap().starts_with("1:"));
    // Nothing of this is about the stream's entries but the last.
    slapd.ldapmodify(format!(
        "dn: uid=y,{PEOPLE}\nchangetype: modify\nreplace: description\ndescription: d\n\n\
         dn: uid=x,{others}\nchangetype: delete\n\n\
         dn: uid=y,{PEOPLE}\nchangetype: delete\n\n\
         dn: uid=alice,{PEOPLE}\nchangetype: delete\n\n"
    ));
    let second = run(&config, Some(&before)).succeeds();
    let gone = deletions(&second);
    assert_eq!(gone.len(), 1, "{gone:?}");
    let alice = first.records(None).into_iter().find(|r| r["uid"] == json!(["alice"])).unwrap().clone();
    assert_eq!(gone[0]["entryUUID"], alice["entryUUID"]);
    // It has every property of the SCHEMA, in the order of the other records.
    let schema = second.of_type("SCHEMA")[0]["schema"]["properties"].as_object().unwrap().clone();
    let names = |record: &Value| record.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(gone[0]), schema.keys().cloned().collect::<Vec<_>>());
    assert_eq!(names(gone[0]), names(&alice));
    assert_eq!((&gone[0]["uid"], &gone[0]["description"]), (&Value::Null, &Value::Null));
    assert_records_fit(&second);
    // Told again from the STATE before, and not from the one after.
    assert_eq!(deletions(&run(&config, Some(&before)).succeeds()).len(), 1);
    assert_eq!(run(&config, Some(&state(&second))).succeeds().records(None).len(), 0);
    // An entry that no longer passes is gone from the stream; one that came meanwhile is known.
    slapd.ldapmodify(format!(
        "dn: uid=bob,{PEOPLE}\nchangetype: delete\n\n\
         dn: uid=carol,{PEOPLE}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: carol\ncn: c\nsn: s\n\n"
    ));
    let third = run(&config, Some(&state(&second))).succeeds();
    assert_eq!((third.records(None).len(), deletions(&third).len()), (2, 1));
    slapd.ldapmodify(format!("dn: uid=carol,{PEOPLE}\nchangetype: delete\n\n"));
    assert_eq!(deletions(&run(&config, Some(&state(&third))).succeeds()).len(), 1);
    // A STATE of an earlier version has no ids: what the log names is told, with one warning.
    let mut earlier = before;
    earlier["bookmarks"]["users"].as_object_mut().unwrap().shift_remove("ids");
    let output = run(&config, Some(&earlier)).succeeds();
    assert!(deletions(&output).len() >= 2, "{}", output.stderr);
    assert_eq!(warnings(&output, "users"), 1, "{}", output.stderr);
}
