//! What a record of the run brought, matched or was rejected for is never deleted by the run, whatever key, stream or version
//! says so.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ldap_tests::ldif::{Tree, parse_file};
use ldap_tests::run::{Output, Run};
use ldap_tests::server::scratch;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{lines, no_panic, unit, with};

const BASE: &str = "dc=example,dc=test";

/// A file with people of `(unit, uid, employeeNumber)`.
struct File {
    dir: TempDir,
    path: PathBuf,
}

impl File {
    fn new(people: &[(&str, &str, &str)]) -> File {
        let mut text = format!("dn: {BASE}\nobjectClass: domain\ndc: example\n\n");
        for ou in ["a", "b"] {
            text.push_str(&unit(&format!("ou={ou},{BASE}")));
        }
        for (ou, uid, number) in people {
            let _ = write!(
                text,
                "dn: uid={uid},ou={ou},{BASE}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid}\nsn: {uid}\nemployeeNumber: {number}\ntitle: first\n\n"
            );
        }
        let dir = scratch();
        let path = dir.path().join("d.ldif");
        std::fs::write(&path, text).unwrap();
        File { dir, path }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self, more: &Value) -> Value {
        with(&json!({"server_url": format!("ldif:{}", self.path.display())}), more)
    }

    fn skip(&self, more: &Value) -> Value {
        with(&self.config(more), &json!({"on_error": "skip", "reject_file": self.path("rejects.jsonl")}))
    }

    fn tree(&self) -> Tree {
        parse_file(&self.path)
    }

    /// The people that are there.
    fn uids(&self) -> BTreeSet<String> {
        uids(&self.path)
    }
}

fn uids(path: &Path) -> BTreeSet<String> {
    let names = parse_file(path).into_keys();
    names.filter_map(|dn| dn.strip_prefix("uid=")?.split(',').next().map(str::to_owned)).collect()
}

fn set(uids: &[&str]) -> BTreeSet<String> {
    uids.iter().map(ToString::to_string).collect()
}

fn rule(ou: &str, more: &Value) -> Value {
    with(
        &json!({"dn_template": format!("uid={{uid}},ou={ou},{BASE}"), "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "employeeNumber", "uid": "uid", "name": ["cn", "sn"]}}),
        more,
    )
}

fn schema(stream: &str) -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": stream, "key_properties": ["id"], "schema": {"type": "object",
        "properties": {"id": text, "uid": text, "name": text, "_sdc_deleted_at": text}}})
}

fn record(stream: &str, id: &str, uid: &str) -> Value {
    json!({"type": "RECORD", "stream": stream, "version": 5, "record": {"id": id, "uid": uid, "name": uid}})
}

fn gone(stream: &str, id: &str, uid: &str) -> Value {
    json!({"type": "RECORD", "stream": stream, "record": {"id": id, "uid": uid, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}})
}

fn activate(stream: &str) -> Value {
    json!({"type": "ACTIVATE_VERSION", "stream": stream, "version": 5})
}

fn state(n: u32) -> Value {
    json!({"type": "STATE", "value": {"n": n}})
}

fn run(config: &Value, messages: &[Value]) -> Output {
    let output = Run::target(config).stdin(lines(messages)).run();
    no_panic(&output);
    output
}

fn rejects(file: &File) -> Vec<Value> {
    let text = std::fs::read_to_string(file.path("rejects.jsonl")).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["type"] == "REJECT").collect()
}

/// T1.
#[test]
fn a_record_that_fits_several_entries_protects_all_of_them() {
    for late in [false, true] {
        let file = File::new(&[("a", "x", "7"), ("a", "y", "7"), ("a", "z", "8"), ("a", "old", "9")]);
        let rules = json!({"p": rule("a", &json!({"match": "(employeeNumber={id})", "scope_base": format!("ou=a,{BASE}")}))});
        let config = file.skip(&json!({"process_activate_version": true, "mapping_rules": rules}));
        let mut messages = vec![schema("p"), record("p", "7", "x2"), record("p", "8", "z"), activate("p")];
        if late {
            messages.swap(1, 2);
        }
        run(&config, &messages).exits(4);
        assert_eq!(file.uids(), set(&["x", "y", "z"]));
    }
}

/// T1: rejected before it is tried, by what is wrong with a value; its entry is elsewhere than where it is to be.
#[test]
fn a_record_that_is_rejected_at_once_protects_the_entry_that_it_would_find() {
    let file = File::new(&[("b", "x", "7"), ("a", "old", "9")]);
    let rules = json!({"p": rule("a", &json!({"match": "(employeeNumber={id})", "scope_base": BASE}))});
    let config = file.skip(&json!({"process_activate_version": true, "mapping_rules": rules}));
    let mut bad = record("p", "7", "x");
    bad["record"]["name"] = json!(["not", "a", "text"]);
    run(&config, &[schema("p"), record("p", "8", "z"), bad, activate("p")]).exits(4);
    assert_eq!(file.uids(), set(&["x", "z"]));
}

/// T2.
#[test]
fn deletions_by_version_are_decided_once_at_the_end() {
    let file = File::new(&[("a", "ada", "1"), ("a", "bob", "2"), ("a", "cy", "3"), ("a", "old", "4")]);
    let rules = json!({"p": rule("a", &json!({"scope_base": format!("ou=a,{BASE}")}))});
    let config = file.config(&json!({"process_activate_version": true, "mapping_rules": rules}));
    let messages = [
        schema("p"),
        activate("p"),
        record("p", "1", "ada"),
        record("p", "2", "bob"),
        activate("p"),
        state(1),
        record("p", "3", "cy"),
        activate("p"),
        state(2),
    ];
    let output = run(&config, &messages).succeeds();
    assert_eq!(output.stdout_text(), "{\"n\":2}\n");
    assert_eq!(file.uids(), set(&["ada", "bob", "cy"]));
    assert!(file.tree()[&format!("uid=cy,ou=a,{BASE}")].contains_key("title"), "the same entry as before");
}

/// T2: a later record that fails keeps all.
#[test]
fn a_run_that_fails_after_an_announcement_deletes_nothing_and_prints_no_state_behind_it() {
    let file = File::new(&[("a", "ada", "1"), ("a", "old", "4")]);
    let rules = json!({"p": rule("a", &json!({"scope_base": format!("ou=a,{BASE}")}))});
    let config = file.config(&json!({"process_activate_version": true, "mapping_rules": rules}));
    let bad = record("p", "", " ");
    let messages = [
        schema("p"),
        state(1),
        record("p", "1", "ada"),
        activate("p"),
        state(2),
        bad,
        activate("p"),
        state(3),
    ];
    let output = run(&config, &messages).exits(1);
    assert_eq!(output.stdout_text(), "{\"n\":1}\n");
    assert_eq!(file.uids(), set(&["ada", "old"]));
}

/// T3.
#[test]
fn a_deletion_of_another_stream_does_not_take_what_moved() {
    for key_only in [false, true] {
        let file = File::new(&[("a", "ada", "1"), ("a", "bob", "2")]);
        let found = json!({"match": "(employeeNumber={id})"});
        let rules = json!({"p": rule("a", &found), "q": rule("b", &found)});
        let config = file.config(&json!({"mapping_rules": rules}));
        let mut deletion = gone("p", "1", "ada");
        if key_only {
            deletion["record"].as_object_mut().unwrap().remove("uid");
        }
        let messages =
            [schema("p"), schema("q"), record("q", "1", "ada"), deletion, gone("p", "2", "bob"), state(1)];
        let output = run(&config, &messages).succeeds();
        assert_eq!(output.stdout_text(), "{\"n\":1}\n");
        let tree = file.tree();
        let ada = &tree[&format!("uid=ada,ou=b,{BASE}")];
        assert!(ada.contains_key("title"), "the same entry as before");
        assert_eq!(file.uids(), set(&["ada"]), "what only one stream knows goes");
        output.says("id=1").says("1 of the unchanged not deleted");
    }
}

/// T6.
#[test]
fn two_keys_for_one_name_are_an_error_that_names_both() {
    let file = File::new(&[("a", "jsmith", "1")]);
    let rules = json!({"mapping_rules": {"p": rule("a", &json!({}))}});
    for messages in [
        vec![schema("p"), record("p", "k1", "jsmith"), record("p", "k2", "jsmith")],
        // Nothing would have to be changed.
        vec![schema("p"), record("p", "k1", "jsmith"), record("p", "k2", "JSmith")],
        vec![schema("p"), record("p", "k2", "jsmith"), gone("p", "k1", "jsmith")],
    ] {
        let before = file.tree();
        run(&file.config(&rules), &messages).exits(1).says("id=k1").says("id=k2");
        assert!(file.uids().contains("jsmith"));
        std::fs::remove_file(file.path("rejects.jsonl")).ok();
        run(&file.skip(&rules), &messages).exits(4);
        assert_eq!(rejects(&file).len(), 1);
        let [was, is] =
            [before, file.tree()].map(|t| t[&format!("uid=jsmith,ou=a,{BASE}")].get("title").cloned());
        assert_eq!(was, is);
    }
}

/// T6: the entry that a filter finds is another key's.
#[test]
fn an_entry_that_another_key_brought_is_not_renamed() {
    let file = File::new(&[("a", "x", "7")]);
    let found = json!({"attribute_mapping": {"uid": "uid", "name": ["cn", "sn"], "number": "employeeNumber"},
        "match": "(employeeNumber={number})"});
    let mut schema = schema("p");
    schema["schema"]["properties"]["number"] = json!({"type": "string"});
    let record = |id: &str, uid: &str| json!({"type": "RECORD", "stream": "p", "record": {"id": id, "uid": uid, "name": uid, "number": "7"}});
    let config = file.config(&json!({"mapping_rules": {"p": rule("a", &found)}}));
    run(&config, &[schema, record("k1", "x"), record("k2", "y")]).exits(1).says("id=k1").says("id=k2");
    assert_eq!(file.uids(), set(&["x"]));
}

#[test]
fn a_name_goes_to_another_key_once_its_own_has_left() {
    let found = json!({"match": "(employeeNumber={id})"});
    for (rule_of, messages) in [
        // Deleted, and taken.
        (json!({}), vec![record("p", "1", "x"), gone("p", "1", "x"), record("p", "2", "x")]),
        // Renamed away, and taken: before and after.
        (found.clone(), vec![record("p", "1", "x"), record("p", "1", "y"), record("p", "2", "x")]),
        (found.clone(), vec![record("p", "1", "x"), gone("p", "1", "x"), record("p", "2", "x")]),
        (found, vec![record("p", "2", "x"), record("p", "1", "y")]),
    ] {
        let file = File::new(&[("a", "x", "1")]);
        let config = file.config(&json!({"mapping_rules": {"p": rule("a", &rule_of)}}));
        let mut all = vec![schema("p")];
        all.extend(messages.clone());
        run(&config, &all).succeeds();
        let tree = file.tree();
        assert!(
            tree[&format!("uid=x,ou=a,{BASE}")]["employeenumber"].contains(b"2".as_slice()),
            "{messages:?}"
        );
    }
}

/// Without `match` the entry of the former name stays, with all that its own record gave it: nobody else's record takes it over,
/// whether it is tried at the same time or later.
#[test]
fn a_name_that_a_record_no_longer_asks_for_is_still_its_own() {
    for in_flight in [1, 32] {
        let file = File::new(&[]);
        let rules = json!({"max_in_flight": in_flight, "mapping_rules": {"p": rule("a", &json!({}))}});
        let all = [schema("p"), record("p", "1", "x"), record("p", "1", "y"), record("p", "2", "x")];
        run(&file.config(&rules), &all).exits(1).says("id=1").says("id=2");
        run(&file.skip(&rules), &all).exits(4);
        assert_eq!(rejects(&file).len(), 1);
        let tree = file.tree();
        assert!(tree[&format!("uid=x,ou=a,{BASE}")]["employeenumber"].contains(b"1".as_slice()));
    }
}

#[test]
fn two_streams_may_write_one_entry_and_none_deletes_what_the_other_brings() {
    let file = File::new(&[("a", "x", "1")]);
    let extra = rule("a", &json!({"attribute_mapping": {"uid": "uid", "name": "title"}}));
    let config =
        file.config(&json!({"mapping_rules": {"users": rule("a", &json!({})), "users_extra": extra}}));
    let both =
        [schema("users"), schema("users_extra"), record("users", "1", "x"), record("users_extra", "1", "x")];
    run(&config, &both).succeeds();
    for stream in ["users", "users_extra"] {
        let mut messages = both.to_vec();
        messages.extend([gone(stream, "1", "x"), state(1)]);
        run(&config, &messages).succeeds();
        assert_eq!(file.uids(), set(&["x"]));
    }
}

#[test]
fn a_tree_with_what_the_run_brought_stays_and_so_does_what_moves_with_it() {
    for on_delete in [json!("tree"), json!({"move_to": format!("ou=gone,{BASE}")})] {
        let file = File::new(&[("a", "x", "1"), ("b", "y", "2")]);
        let units = json!({"dn_template": format!("ou={{uid}},{BASE}"), "object_classes": ["organizationalUnit"],
            "attribute_mapping": {"uid": "ou"}, "on_delete": on_delete});
        let config = file.config(&json!({"mapping_rules": {"p": rule("a", &json!({})), "u": units}}));
        let messages = [
            schema("p"),
            schema("u"),
            record("p", "1", "x"),
            gone("u", "77", "a"),
            gone("u", "78", "b"),
            state(1),
        ];
        run(&config, &messages).succeeds();
        let tree = file.tree();
        assert!(tree.contains_key(&format!("uid=x,ou=a,{BASE}")));
        assert!(!tree.contains_key(&format!("ou=b,{BASE}")));
    }
}

/// People first, then their unit is renamed: they have come, under its new name.
#[test]
fn what_came_before_its_unit_was_renamed_stays() {
    let file = File::new(&[("a", "x", "1"), ("a", "old", "2")]);
    let text = std::fs::read_to_string(&file.path).unwrap();
    std::fs::write(&file.path, text.replace("ou: a\n", "ou: a\npostalCode: 77\n")).unwrap();
    let units = json!({"dn_template": format!("ou={{uid}},{BASE}"), "object_classes": ["organizationalUnit"],
        "attribute_mapping": {"uid": "ou", "id": "postalCode"}, "match": "(postalCode={id})"});
    let config = file.config(&json!({"process_activate_version": true, "mapping_rules": {
        "p": rule("a", &json!({"scope_base": BASE})), "u": units}}));
    let messages =
        [schema("p"), schema("u"), record("p", "1", "x"), record("u", "77", "c"), activate("p"), state(1)];
    run(&config, &messages).succeeds();
    let tree = file.tree();
    assert!(tree.contains_key(&format!("uid=x,ou=c,{BASE}")), "{:?}", tree.keys());
    assert_eq!(file.uids(), set(&["x"]));
}

/// A20.
#[test]
fn a_state_that_is_no_object_is_printed_as_it_is() {
    let file = File::new(&[]);
    for value in ["1", "\"x\"", "[1,2]"] {
        let input = format!("{{\"type\": \"STATE\", \"value\": {value}}}\n");
        let output = Run::target(&file.config(&json!({}))).stdin(input).run().succeeds();
        assert_eq!(output.stdout_text(), format!("{value}\n"));
    }
}

/// Each record ends as exactly one thing.
#[test]
fn the_numbers_of_a_run_add_up() {
    let file = File::new(&[("a", "same", "1"), ("a", "old", "2"), ("a", "gone", "3")]);
    let rules = json!({"p": rule("a", &json!({"scope_base": format!("ou=a,{BASE}")})), "q": rule("b", &json!({"on_delete": "ignore"}))});
    let config = file.skip(&json!({"process_activate_version": true, "mapping_rules": rules}));
    let mut bad = record("p", "9", "x");
    bad["record"]["name"] = json!(5);
    let messages = [
        schema("p"),
        schema("q"),
        record("p", "1", "same"),
        record("p", "7", "new"),
        bad,
        record("p", "8", "new"),
        gone("p", "3", "gone"),
        gone("q", "1", "ignored"),
        record("q", "1", "more"),
        activate("p"),
        state(1),
    ];
    let output = Run::target(&config).stdin(lines(&messages)).arg("--log-format").arg("json").run().exits(4);
    let summary = output
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|line| line.get("records_per_second").is_some())
        .unwrap();
    let get = |name: &str| summary[name].as_u64().unwrap();
    assert_eq!(get("records"), 7);
    assert_eq!(get("rejected"), 2);
    assert_eq!(get("ignored"), 1);
    // One by its record, one by the version.
    assert_eq!(get("deleted"), 2);
    let outcomes = ["added", "modified", "renamed", "moved", "deleted", "unchanged", "ignored", "rejected"];
    assert_eq!(outcomes.into_iter().map(get).sum::<u64>(), 7 + 1);
    assert_eq!(file.uids(), set(&["same", "new", "more"]));
}

fn deleted(record: &Value) -> Value {
    json!({"type": "RECORD", "stream": "p", "record": with(record, &json!({"_sdc_deleted_at": "2026-01-01T00:00:00Z"}))})
}

/// The warnings of a run, as fields.
fn warned(output: &Output) -> Vec<Value> {
    let lines = output.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["level"] == "WARN" || line["level"] == "warning").collect()
}

/// A filter with a misspelt name finds nothing: what is at the DN would be deleted, and everybody be made again.
#[test]
fn a_name_in_a_filter_that_the_file_does_not_know_is_a_wrong_setting() {
    let base = format!("ou=a,{BASE}");
    for (wrong, near) in [
        (json!({"match": "(employeNumber={id})"}), Some("employeeNumber")),
        (json!({"match": "(&(employeeNumber={id})(objectClass=inetOrgPersn))"}), Some("inetOrgPerson")),
        (json!({"match": "(|(employeeNumber={id})(!(zzqqxx=1)))"}), None),
        (json!({"scope_base": base, "scope_filter": "(objectClass=inetOrgPersn)"}), Some("inetOrgPerson")),
        (json!({"scope_base": base, "scope_filter": "(&(uid=*)(employeTyp=x))"}), Some("employeeType")),
    ] {
        let file = File::new(&[("a", "b", "5")]);
        let before = file.tree();
        let config = file.config(&json!({"mapping_rules": {"p": rule("a", &wrong)}}));
        let messages = [schema("p"), record("p", "5", "c"), gone("p", "77", "b")];
        let output = run(&config, &messages).exits(2).says("mapping_rules.p.");
        if let Some(near) = near {
            output.says(near);
        }
        assert_eq!(file.tree(), before);
    }
}

#[test]
fn a_name_in_a_filter_may_be_one_of_the_data_or_one_that_the_rule_writes() {
    let file = File::new(&[("a", "b", "5")]);
    let text = std::fs::read_to_string(&file.path).unwrap();
    std::fs::write(&file.path, text.replace("employeeNumber: 5\n", "exampleBadge: 5\n")).unwrap();
    let of_data = json!({"match": "(exampleBadge={id})"});
    let config = file.config(&json!({"mapping_rules": {"p": rule("a", &of_data)}}));
    run(&config, &[schema("p"), record("p", "5", "c")]).succeeds();
    assert_eq!(file.uids(), set(&["c"]));
    let written = json!({"match": "(exampleOther={id})",
        "attribute_mapping": {"id": "exampleOther", "uid": "uid", "name": ["cn", "sn"]}});
    let config = file.config(&json!({"mapping_rules": {"p": rule("a", &written)}}));
    run(&config, &[schema("p"), record("p", "6", "d")]).succeeds();
    run(&config, &[schema("p"), record("p", "6", "e")]).succeeds();
    assert_eq!(file.uids(), set(&["c", "e"]));
}

/// An entry that nobody has is taken over by an upsert; it is not deleted.
#[test]
fn a_deletion_with_a_filter_removes_only_what_the_filter_fits() {
    for on_delete in [json!("delete"), json!("tree"), json!({"set": {"title": "gone"}})] {
        let file = File::new(&[("a", "svc", "0"), ("a", "x", "7")]);
        let text = std::fs::read_to_string(&file.path).unwrap();
        std::fs::write(&file.path, text.replace("employeeNumber: 0\n", "")).unwrap();
        let before = file.tree();
        let found = json!({"match": "(employeeNumber={id})", "on_delete": on_delete});
        let config = file.config(&json!({"mapping_rules": {"p": rule("a", &found)}}));
        run(&config, &[schema("p"), gone("p", "77", "svc"), state(1)]).succeeds().says("1 unchanged");
        assert_eq!(file.tree(), before);
        run(&config, &[schema("p"), record("p", "77", "svc"), state(1)]).succeeds().says("1 modified");
        run(&config, &[schema("p"), gone("p", "77", "svc"), state(1)]).succeeds().says("0 unchanged");
        assert_ne!(
            file.tree().get(&format!("uid=svc,ou=a,{BASE}")),
            before.get(&format!("uid=svc,ou=a,{BASE}"))
        );
    }
}

#[test]
fn a_scope_that_is_not_there_is_said() {
    for (more, messages) in [
        (json!({}), vec![record("p", "1", "ada"), activate("p")]),
        (json!({"match": "(employeeNumber={id})"}), vec![record("p", "1", "ada")]),
        (json!({"match": "(employeeNumber={id})"}), vec![record("p", "1", "ada"), activate("p")]),
    ] {
        for (scope, nearest) in [
            (format!("ou=aa,ou=x,{BASE}"), Some(BASE)),
            ("ou=a,dc=other".to_owned(), Some("")),
            (format!("ou=a,{BASE}"), None),
        ] {
            let file = File::new(&[("a", "old", "4")]);
            let rules = json!({"p": rule("a", &with(&more, &json!({"scope_base": scope})))});
            let config = file.config(&json!({"process_activate_version": true, "mapping_rules": rules}));
            let mut all = vec![schema("p")];
            all.extend(messages.clone());
            let output =
                Run::target(&config).stdin(lines(&all)).arg("--log-format").arg("json").run().succeeds();
            let said: Vec<Value> = warned(&output)
                .into_iter()
                .filter(|line| line["setting"] == "mapping_rules.p.scope_base")
                .collect();
            assert_eq!(said.len(), usize::from(nearest.is_some()), "{}", output.stderr);
            if let (Some(nearest), [said]) = (nearest, said.as_slice()) {
                assert_eq!((&said["dn"], &said["nearest"]), (&json!(scope), &json!(nearest)));
            }
        }
    }
}

/// A tap says that the row of the old spelling is gone.
#[test]
fn a_deletion_of_a_name_in_another_spelling_does_not_take_what_came() {
    let text = json!({"type": ["string", "null"]});
    for keys in [json!(["dn"]), json!([])] {
        let schema = json!({"type": "SCHEMA", "stream": "p", "key_properties": keys, "schema": {"type": "object",
            "properties": {"dn": text, "objectClass": {"type": "array", "items": text}, "sn": text, "cn": text, "_sdc_deleted_at": text}}});
        let upsert = |dn: &str| json!({"type": "RECORD", "stream": "p", "record": {"dn": dn, "objectClass": ["inetOrgPerson"], "sn": "x", "cn": "x"}});
        let (big, small) = (format!("uid=A,ou=a,{BASE}"), format!("uid=a,ou=a,{BASE}"));
        let gone = |dn: &str| deleted(&json!({"dn": dn}));
        for (messages, stays, kept) in [
            (vec![upsert(&big), gone(&small)], true, 1),
            (vec![upsert(&big), upsert(&small), gone(&big)], true, 1),
            (vec![upsert(&big), gone(&big)], false, 0),
            (vec![upsert(&big), gone(&small), gone(&big)], false, 1),
            // Nothing of the run brought it.
            (vec![gone(&small)], false, 0),
        ] {
            let file = File::new(&[("a", "A", "1")]);
            let mut all = vec![schema.clone()];
            all.extend(messages.clone());
            let config = file.config(&json!({"mapping_rules": {}}));
            let output =
                Run::target(&config).stdin(lines(&all)).arg("--log-format").arg("json").run().succeeds();
            assert_eq!(file.tree().contains_key(&small), stays, "{messages:?}: {:?}", file.tree().keys());
            let said = warned(&output).len();
            assert_eq!(said, kept, "{messages:?}: {}", output.stderr);
        }
    }
}

/// Who disables everybody, or moves them away, is held up as who deletes everybody.
#[test]
fn entries_that_are_set_or_moved_away_count_as_deleted() {
    let people = [("a", "x", "1"), ("a", "y", "2"), ("a", "z", "3")];
    let gone_unit = format!("ou=gone,{BASE}");
    let of_people =
        |on_delete: &Value| rule("a", &json!({"on_delete": on_delete, "scope_base": format!("ou=a,{BASE}")}));
    let units = json!({"dn_template": format!("ou={{uid}},{BASE}"), "object_classes": ["organizationalUnit"],
        "attribute_mapping": {"uid": "ou"}, "on_delete": {"move_to": gone_unit}});
    let records = [gone("p", "1", "x"), gone("p", "2", "y"), gone("p", "3", "z")];
    let by_version = [record("p", "3", "z"), activate("p")];
    for (rule, messages, count) in [
        (of_people(&json!({"set": {"title": "gone"}})), records.to_vec(), 3),
        (of_people(&json!({"move_to": gone_unit})), records.to_vec(), 3),
        (of_people(&json!({"set": {"title": "gone"}})), by_version.to_vec(), 2),
        (of_people(&json!({"move_to": gone_unit})), by_version.to_vec(), 2),
        // What lies below goes with it.
        (units, vec![gone("p", "1", "a")], 4),
    ] {
        let file = File::new(&people);
        let before = file.tree();
        let settings = |most: u64| {
            file.config(
                &json!({"process_activate_version": true, "max_deletes": most, "mapping_rules": {"p": rule}}),
            )
        };
        let mut all = vec![schema("p")];
        all.extend(messages.clone());
        run(&settings(count - 1), &all).exits(1).says("max_deletes");
        assert_eq!(file.tree(), before, "{messages:?}");
        run(&settings(count), &all).succeeds();
        assert_ne!(file.tree(), before);
    }
}
