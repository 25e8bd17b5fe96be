//! The rule of SPEC 5: records that are no directory entries become some, and nothing escapes.

use std::collections::BTreeSet;

use ldap_tests::ldif::{Attributes, Tree, normalize_dn};
use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, lines, no_panic, states, target_config, with};

const SUFFIX: &str = "dc=company,dc=com";
const USERS: &str = "ou=users,dc=company,dc=com";

fn company() -> Slapd {
    Slapd::start(SlapdOptions::default().suffix(SUFFIX))
}

/// The rule of SPEC 5, without what later issues build.
fn rule() -> Value {
    json!({
        "dn_template": "uid={uid},ou=users,dc=company,dc=com",
        "object_classes": ["person", "organizationalPerson", "inetOrgPerson"],
        "attribute_mapping": {
            "user_id": "uid", "full_name": "cn", "last_name": "sn", "email": "mail", "phone": "telephoneNumber",
        },
        "values": {"displayName": "{first_name} {last_name}"},
        "defaults": {"sn": "unknown"},
    })
}

fn config(slapd: &Slapd) -> Value {
    with(&target_config(slapd), &json!({"mapping_rules": {"users": rule()}}))
}

fn schema() -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": "users", "key_properties": ["user_id"], "schema": {"type": "object", "properties": {
        "user_id": text, "full_name": text, "first_name": text, "last_name": text,
        "email": {"type": ["string", "null"], "format": "email"},
        "phone": {"type": ["array", "null"], "items": {"type": "string"}},
    }}})
}

fn record(user_id: &str) -> Value {
    json!({"type": "RECORD", "stream": "users", "record": {
        "user_id": user_id, "full_name": format!("Name of {user_id}"), "first_name": "First", "last_name": "Last",
        "email": "someone@company.com",
    }})
}

fn state(n: u32) -> Value {
    json!({"type": "STATE", "value": {"bookmarks": {"users": {"position": n}}}})
}

fn values(texts: &[&str]) -> BTreeSet<Vec<u8>> {
    texts.iter().map(|t| t.as_bytes().to_vec()).collect()
}

#[track_caller]
fn user<'a>(tree: &'a Tree, uid: &str) -> &'a Attributes {
    let mut found = tree.values().filter(|e| e.get("uid").is_some_and(|v| v.contains(uid.as_bytes())));
    let entry =
        found.next().unwrap_or_else(|| panic!("no entry has the uid {uid:?} among {:?}", tree.keys()));
    assert!(found.next().is_none(), "two entries have the uid {uid:?}");
    entry
}

/// Values that want to be syntax: of a DN, a filter, a template, LDIF, JSON or a shell.
const HOSTILE: [&str; 35] = [
    "comma,inc",
    "plus+sign",
    "quote\"mark",
    "back\\slash",
    "ends in a backslash\\",
    "semi;colon",
    "less<than",
    "greater>than",
    "equals=sign",
    "#hash",
    " leading",
    "trailing ",
    "  both  sides  ",
    "admin,ou=admins,dc=company,dc=com",
    "x,uid=y",
    "x+cn=y",
    "x\\,ou=admins",
    "\\2c",
    "*",
    "x)(uid=*",
    "(|(uid=*))",
    "new\nline",
    "cr\r\nlf",
    "nul\0byte",
    "tab\tbed",
    "{user_id}",
    "{{double}}",
    "{uid|upper}",
    "%2c%00",
    "$(reboot)",
    "../../etc/passwd",
    "NULL",
    "Zoë",
    "東京 太郎",
    "👩‍💻",
];

#[test]
fn each_hostile_user_id_lands_as_itself_and_none_escapes() {
    let slapd = company();
    let mut messages = vec![schema()];
    messages.extend(HOSTILE.iter().map(|id| record(id)));
    messages.push(state(1));
    let output = Run::target(&config(&slapd)).messages(&messages).run().succeeds();
    assert_eq!(states(&output), [state(1)["value"].clone()]);

    let tree = slapd.dump();
    for id in HOSTILE {
        let entry = user(&tree, id);
        assert_eq!(entry["uid"], values(&[id]), "exactly the value, and alone");
        assert_eq!(entry["cn"], values(&[&format!("Name of {id}")]));
        let dn = tree.iter().find(|(_, e)| *e == entry).unwrap().0;
        assert_eq!(ldap_tests::ldif::parent(dn), USERS, "{id:?} is where the template says");
        assert_eq!(ldap_tests::ldif::rdn_values(dn).len(), 1, "{dn}");
    }
    assert_eq!(tree.len(), HOSTILE.len() + 2, "the suffix, ou=users, and one entry each: {:?}", tree.keys());
    assert!(tree.contains_key(USERS), "the missing parent was created");
    assert_eq!(tree[USERS]["objectclass"], values(&["organizationalUnit"]));

    let before = slapd.change_marks();
    let output = Run::target(&config(&slapd)).messages(&messages).run().succeeds();
    assert_eq!(states(&output), [state(1)["value"].clone()], "an unchanged rerun prints the same STATE");
    assert_untouched(&slapd, &before);
}

#[test]
fn the_rule_of_the_seed_as_it_stands() {
    let slapd = company();
    let config = with(
        &target_config(&slapd),
        &json!({"default_base_dn": "ou=imported,dc=company,dc=com", "mapping_rules": {"users": {
            "dn_template": "uid={uid},ou=users,dc=company,dc=com",
            "object_classes": ["person", "organizationalPerson", "inetOrgPerson"],
            "attribute_mapping": {"user_id": "uid", "full_name": "cn", "last_name": "sn", "email": "mail"},
        }}}),
    );
    Run::target(&config).messages(&[schema(), record("jdoe"), state(1)]).run().succeeds();
    let tree = slapd.dump();
    let entry = &tree[&format!("uid=jdoe,{USERS}")];
    assert_eq!(entry["objectclass"], values(&["person", "organizationalPerson", "inetOrgPerson"]));
    let expected = ["cn", "mail", "objectclass", "sn", "uid"];
    assert_eq!(entry.keys().map(String::as_str).collect::<Vec<_>>(), expected, "nothing that is not mapped");
    assert_eq!(entry["cn"], values(&["Name of jdoe"]));
    assert_eq!(entry["sn"], values(&["Last"]));
    assert_eq!(entry["mail"], values(&["someone@company.com"]));
}

#[test]
fn template_values_defaults_and_a_template_named_after_the_record() {
    let slapd = company();
    let mut rule = rule();
    rule["dn_template"] = json!("uid={user_id|lower},ou=users,dc=company,dc=com");
    rule["values"] = json!({
        "displayName": "{first_name} {last_name}",
        "mail": "{user_id|lower}@company.com",
        "description": "{{{full_name|upper}}}",
        "title": "{nickname|default:none}",
    });
    rule["attribute_mapping"] =
        json!({"user_id": "uid", "full_name": ["cn", "givenName"], "last_name": "sn"});
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"users": rule}}));
    let mut nameless = record("JDoe");
    nameless["record"].as_object_mut().unwrap().shift_remove("last_name");
    nameless["record"]["first_name"] = json!("Jane");
    Run::target(&config).messages(&[schema(), record("Full"), nameless]).run().succeeds();

    let tree = slapd.dump();
    let full = &tree[&format!("uid=full,{USERS}")];
    assert_eq!(full["displayname"], values(&["First Last"]));
    assert_eq!(full["mail"], values(&["full@company.com"]));
    assert_eq!(full["description"], values(&["{NAME OF FULL}"]));
    assert_eq!(full["title"], values(&["none"]));
    assert_eq!(full["cn"], values(&["Name of Full"]));
    assert_eq!(full["givenname"], values(&["Name of Full"]));
    let nameless = &tree[&format!("uid=jdoe,{USERS}")];
    assert_eq!(nameless["sn"], values(&["unknown"]), "the default, where the record has none");
    assert_eq!(full["sn"], values(&["Last"]), "and only there");
}

#[test]
fn null_and_the_empty_array_remove_and_absence_leaves_alone() {
    let slapd = company();
    let with_phone = |id: &str| {
        let mut record = record(id);
        record["record"]["phone"] = json!(["+1 555 1", "+1 555 2"]);
        record
    };
    let run = |messages: &[Value]| {
        Run::target(&config(&slapd)).messages(messages).run().succeeds();
    };
    run(&[schema(), with_phone("null"), with_phone("empty"), with_phone("absent")]);
    let mut null = record("null");
    null["record"]["phone"] = Value::Null;
    let mut empty = record("empty");
    empty["record"]["phone"] = json!([]);
    let absent = record("absent");
    run(&[schema(), null, empty, absent]);

    let tree = slapd.dump();
    assert!(!user(&tree, "null").contains_key("telephonenumber"));
    assert!(!user(&tree, "empty").contains_key("telephonenumber"));
    assert_eq!(user(&tree, "absent")["telephonenumber"], values(&["+1 555 1", "+1 555 2"]));
}

#[test]
fn records_of_one_entry_are_applied_in_their_order() {
    let slapd = company();
    let mut messages = vec![schema()];
    for round in 0..20 {
        for id in 0..20 {
            let mut record = record(&format!("u{id}"));
            record["record"]["full_name"] = json!(format!("round {round}"));
            messages.push(record);
        }
    }
    messages.push(state(1));
    Run::target(&config(&slapd)).messages(&messages).run().succeeds();
    let tree = slapd.dump();
    for id in 0..20 {
        assert_eq!(user(&tree, &format!("u{id}"))["cn"], values(&["round 19"]));
    }
}

#[test]
fn values_follow_the_syntax_of_the_destination() {
    let slapd = company();
    let rule = json!({
        "dn_template": "cn={id},ou=things,dc=company,dc=com",
        "object_classes": ["device", "testThing"],
        "attribute_mapping": {
            "id": "cn", "flag": "testFlag", "count": "testCount", "counts": "testCounts", "at": "testWhen",
            "uuid": "testUuid", "blob": "testBlob", "boss": "testPointer",
        },
    });
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"things": rule}}));
    let schema = json!({"type": "SCHEMA", "stream": "things", "key_properties": ["id"], "schema": {"properties": {
        "id": {"type": "integer"}, "flag": {"type": "boolean"}, "count": {"type": "integer"},
        "counts": {"type": "array", "items": {"type": "integer"}}, "at": {"type": "string", "format": "date-time"},
        "uuid": {"type": "string", "format": "uuid"}, "blob": {"type": "string", "contentEncoding": "base64"},
        "boss": {"type": "string"},
    }}});
    // The big number is written by hand: no JSON library's idea of a number may stand between.
    let record = r#"{"type":"RECORD","stream":"things","record":{"id":7,"flag":true,
        "count":123456789012345678901234567890,"counts":[1,-2],"at":"2024-02-29T13:00:00.250+01:00",
        "uuid":"597ae2f6-16a6-1027-98f4-d28b5365dc14","blob":"AP9hYg==","boss":"CN=7 , ou=things,dc=company,dc=com"}}"#
        .replace('\n', "");
    let input = format!("{schema}\n{record}\n");
    Run::target(&config).stdin(&input).run().succeeds();
    let tree = slapd.dump();
    let entry = &tree["cn=7,ou=things,dc=company,dc=com"];
    assert_eq!(entry["testflag"], values(&["TRUE"]));
    assert_eq!(entry["testcount"], values(&["123456789012345678901234567890"]));
    assert_eq!(entry["testcounts"], values(&["1", "-2"]));
    let when = entry["testwhen"].first().unwrap();
    assert!(
        ["20240229120000.25Z", "20240229120000.250Z"].contains(&std::str::from_utf8(when).unwrap()),
        "{when:?}"
    );
    assert_eq!(entry["testuuid"], values(&["597ae2f6-16a6-1027-98f4-d28b5365dc14"]));
    assert_eq!(entry["testblob"], BTreeSet::from([vec![0, 0xff, b'a', b'b']]));
    let boss = String::from_utf8(entry["testpointer"].first().unwrap().clone()).unwrap();
    assert_eq!(normalize_dn(&boss), "cn=7,ou=things,dc=company,dc=com");

    let before = slapd.change_marks();
    Run::target(&config).stdin(&input).run().succeeds();
    assert_untouched(&slapd, &before);
}

#[test]
fn the_star_rule_is_for_streams_without_one_of_their_own() {
    let slapd = company();
    let config = with(
        &target_config(&slapd),
        &json!({
            "default_base_dn": "ou=imported,dc=company,dc=com",
            "mapping_rules": {
                "users": rule(),
                "*": {"dn_template": "cn={id},ou=imported,dc=company,dc=com", "object_classes": ["device"],
                      "attribute_mapping": {"id": "cn", "name": "description"}},
            },
        }),
    );
    // What `meltano config test target-ldap` sends.
    let meltano = [
        json!({"type": "SCHEMA", "stream": "meltano_test_stream", "key_properties": ["id"], "schema": {"properties": {
            "id": {"type": "integer"}, "name": {"type": "string"},
            "created_at": {"type": "string", "format": "date-time"}}}}),
        json!({"type": "RECORD", "stream": "meltano_test_stream",
               "record": {"id": 1, "name": "Test", "created_at": "2026-11-22T20:27:39.148863+00:00"}}),
    ];
    let mut messages = meltano.to_vec();
    messages.extend([schema(), record("own"), state(3)]);
    let output = Run::target(&config).messages(&messages).run().succeeds();
    for word in ["error", "exception"] {
        assert!(
            !(output.stderr.to_lowercase() + &output.stdout_text().to_lowercase()).contains(word),
            "{}",
            output.stderr
        );
    }
    let tree = slapd.dump();
    assert_eq!(tree["cn=1,ou=imported,dc=company,dc=com"]["description"], values(&["Test"]));
    assert!(tree.contains_key(&format!("uid=own,{USERS}")));
}

#[test]
fn a_stream_without_rule_and_dn_is_a_configuration_fault() {
    let slapd = company();
    let before = slapd.change_marks();
    let output = Run::target(&target_config(&slapd))
        .messages(&[schema(), record("jdoe"), state(1)])
        .run()
        .exits(2)
        .says("users");
    no_panic(&output);
    assert!(
        output.stderr.contains("mapping_rules"),
        "it names the setting that is missing: {}",
        output.stderr
    );
    assert!(output.stdout.is_empty(), "{}", output.stdout_text());
    assert_untouched(&slapd, &before);
}

/// Good record, STATE, something bad on line 4, good record, STATE: what must happen whatever the bad is.
#[track_caller]
fn stops_at_line_4(bad: &str) -> Output {
    let slapd = company();
    let input = format!(
        "{}\n{}\n{}\n{bad}\n{}\n{}\n",
        schema(),
        record("before"),
        state(1),
        record("after"),
        state(2)
    );
    let output = Run::target(&config(&slapd)).stdin(input).run();
    assert!(output.code == 1 || output.code == 2, "code {} for {bad}: {}", output.code, output.stderr);
    no_panic(&output);
    let naming: Vec<&str> = output.stderr.lines().filter(|l| l.contains("line 4")).collect();
    assert_eq!(naming.len(), 1, "one message with the line number for {bad}:\n{}", output.stderr);
    let tree = slapd.dump();
    user(&tree, "before");
    let beyond = format!("uid=after,{USERS}");
    assert!(
        tree.len() == 3 || (tree.len() == 4 && tree.contains_key(&beyond)),
        "only what is meant: {:?}",
        tree.keys()
    );
    assert_eq!(
        states(&output),
        [state(1)["value"].clone()],
        "the STATE before it, and none past it, for {bad}"
    );
    output
}

#[test]
fn a_broken_line_stops_with_its_number() {
    stops_at_line_4(r#"{"type":"RECORD","stream":"users","record":{"user_id""#);
    stops_at_line_4("not JSON at all");
    stops_at_line_4("[1,2]");
}

#[test]
fn an_unknown_message_type_stops_with_its_number() {
    stops_at_line_4(r#"{"type":"FROBNICATE","stream":"users"}"#).says("FROBNICATE");
    stops_at_line_4(r#"{"stream":"users","record":{}}"#).says("type");
}

#[test]
fn a_record_before_its_schema_stops_with_its_number() {
    stops_at_line_4(r#"{"type":"RECORD","stream":"unheard","record":{"user_id":"x"}}"#).says("unheard");
}

#[test]
fn a_record_of_a_wrong_type_stops_with_its_number() {
    stops_at_line_4(r#"{"type":"RECORD","stream":"users","record":{"user_id":5,"full_name":"x"}}"#)
        .says("user_id");
    stops_at_line_4(r#"{"type":"RECORD","stream":"users","record":"text"}"#);
    stops_at_line_4(r#"{"type":"RECORD","stream":"users"}"#);
    stops_at_line_4(
        r#"{"type":"RECORD","stream":"users","record":{"user_id":"x","full_name":"x","email":"no address"}}"#,
    )
    .says("email");
}

#[test]
fn an_empty_naming_value_stops_with_its_number() {
    for value in ["\"\"", "null"] {
        stops_at_line_4(&format!(
            r#"{{"type":"RECORD","stream":"users","record":{{"user_id":{value},"full_name":"x","last_name":"x"}}}}"#
        ))
        .says("uid");
    }
    stops_at_line_4(r#"{"type":"RECORD","stream":"users","record":{"full_name":"x","last_name":"x"}}"#);
}

#[test]
fn what_the_server_refuses_stops_with_its_line_dn_and_reason() {
    // inetOrgPerson wants a cn, and nothing gives it one.
    let output = stops_at_line_4(
        r#"{"type":"RECORD","stream":"users","record":{"user_id":"nameless","last_name":"x"}}"#,
    );
    output.says("objectClassViolation (65)").says("uid=nameless");
}

#[test]
fn a_wrong_first_line_leaves_stdout_empty() {
    let slapd = company();
    let before = slapd.change_marks();
    let output = Run::target(&config(&slapd)).messages(&[record("x"), state(1)]).run();
    assert!(output.code == 1 || output.code == 2, "code {}: {}", output.code, output.stderr);
    assert!(output.stderr.contains("line 1"), "{}", output.stderr);
    assert!(output.stdout.is_empty(), "{}", output.stdout_text());
    assert_untouched(&slapd, &before);
}

#[test]
fn the_newest_state_is_printed_and_never_an_empty_one() {
    let slapd = company();
    let empty = json!({"type": "STATE", "value": {}});
    let output = Run::target(&config(&slapd)).messages(&[schema(), empty.clone()]).run().succeeds();
    assert!(output.stdout.is_empty(), "{}", output.stdout_text());

    let mut messages = vec![schema(), state(1)];
    for n in 0..200 {
        messages.push(record(&format!("u{n}")));
        messages.push(state(n + 2));
    }
    messages.push(empty);
    let output = Run::target(&config(&slapd)).messages(&messages).run().succeeds();
    let printed = states(&output);
    assert_eq!(printed.last(), Some(&state(201)["value"]));
    let positions: Vec<i64> =
        printed.iter().map(|s| s["bookmarks"]["users"]["position"].as_i64().unwrap()).collect();
    assert!(positions.is_sorted_by(|a, b| a < b), "newer and newer: {positions:?}");
}

#[test]
fn state_is_printed_without_records_and_while_the_input_stays_open() {
    let slapd = company();
    let output = Run::target(&config(&slapd)).messages(&[state(9)]).run().succeeds();
    assert_eq!(states(&output), [state(9)["value"].clone()]);

    let run = Run::target(&config(&slapd));
    let mut running = run.spawn();
    let stdout = running.take_stdout();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::BufRead::lines(std::io::BufReader::new(stdout)) {
            let _ = sender.send(line.unwrap_or_default());
        }
    });
    running.write_stdin(format!("{}\n{}\n{}\n", schema(), record("early"), state(1)).as_bytes());
    let line = receiver
        .recv_timeout(std::time::Duration::from_secs(10))
        .expect("STATE comes as soon as it is safe, not at the end of the input");
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), state(1)["value"]);
    user(&slapd.dump(), "early");
    running.close_stdin_with(&[]);
    let (code, stderr, _) = running.wait(std::time::Duration::from_secs(20));
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn input_from_a_file_and_a_schema_that_changes() {
    let slapd = company();
    let mut wider = schema();
    wider["schema"]["properties"]["title"] = json!({"type": "string"});
    let mut mapped = rule();
    mapped["attribute_mapping"]["title"] = json!("title");
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"users": mapped}}));
    let mut titled = record("two");
    titled["record"]["title"] = json!("Dr.");
    let text = lines(&[schema(), record("one"), wider, titled, state(1)]);
    let output = Run::target(&config).raw_file("--input", text.as_bytes()).run().succeeds();
    assert_eq!(states(&output).len(), 1);
    let tree = slapd.dump();
    user(&tree, "one");
    assert_eq!(user(&tree, "two")["title"], values(&["Dr."]));
}

fn deleted(user_id: &str, at: &Value) -> Value {
    json!({"type": "RECORD", "stream": "users", "record": {"user_id": user_id, "_sdc_deleted_at": at}})
}

#[test]
fn a_record_marked_as_deleted_deletes_its_entry_and_no_other() {
    let slapd = company();
    Run::target(&config(&slapd)).messages(&[schema(), record("gone"), record("kept")]).run().succeeds();
    let mut kept = record("kept");
    kept["record"]["_sdc_deleted_at"] = Value::Null;
    let at = json!("2026-01-31T08:00:00Z");
    let messages = [schema(), deleted("gone", &at), deleted("never was", &at), kept, state(1)];
    let output = Run::target(&config(&slapd)).messages(&messages).run().succeeds();
    assert_eq!(states(&output), [state(1)["value"].clone()], "what is gone already is no fault");
    let tree = slapd.dump();
    let names: Vec<&String> = tree.keys().collect();
    assert_eq!(names, [SUFFIX, USERS, &format!("uid=kept,{USERS}")], "and nothing was made either");

    let before = slapd.change_marks();
    Run::target(&config(&slapd)).messages(&messages).run().succeeds();
    assert_untouched(&slapd, &before);
}

#[test]
fn a_deletion_and_a_return_of_one_entry_are_applied_in_their_order() {
    let slapd = company();
    let at = json!("2026-01-31T08:00:00Z");
    let mut messages = vec![schema()];
    for round in 0..10 {
        messages.extend([record("back"), deleted("back", &at), record("back"), record("gone")]);
        messages.push(deleted("gone", &at));
        messages.push(state(round));
    }
    Run::target(&config(&slapd)).messages(&messages).run().succeeds();
    let tree = slapd.dump();
    assert!(tree.contains_key(&format!("uid=back,{USERS}")));
    assert!(!tree.contains_key(&format!("uid=gone,{USERS}")));
}

#[test]
fn on_delete_ignore_leaves_the_entry_alone() {
    let slapd = company();
    let mut rule = rule();
    rule["on_delete"] = json!("ignore");
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"users": rule}}));
    Run::target(&config).messages(&[schema(), record("stays")]).run().succeeds();
    let before = slapd.change_marks();
    let messages = [schema(), deleted("stays", &json!("2026-01-31T08:00:00Z")), state(1)];
    let output = Run::target(&config).messages(&messages).run().succeeds();
    assert_eq!(
        states(&output),
        [state(1)["value"].clone()],
        "a deletion left out by policy holds no STATE back"
    );
    assert_untouched(&slapd, &before);
}

#[test]
fn without_create_parents_a_missing_parent_is_a_fault_and_nothing_is_made() {
    let slapd = company();
    let config = with(&config(&slapd), &json!({"create_parents": false}));
    let before = slapd.change_marks();
    let messages = [schema(), record("jdoe"), state(1)];
    let output = Run::target(&config).messages(&messages).run().exits(1);
    no_panic(&output);
    let output = output.says("line 2").says("create_parents").says(&format!("uid=jdoe,{USERS}"));
    assert!(output.stdout.is_empty(), "{}", output.stdout_text());
    assert_untouched(&slapd, &before);

    slapd.ldapadd(crate::support::unit(USERS).as_bytes());
    let output = Run::target(&config).messages(&messages).run().succeeds();
    assert_eq!(states(&output), [state(1)["value"].clone()]);
    user(&slapd.dump(), "jdoe");
}

/// SCHEMA and RECORDs of a mirror: a person, or a unit, for each name.
fn mirrored(names: &[&str]) -> Vec<Value> {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let mut messages =
        vec![json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"], "schema": {"properties": {
        "dn": {"type": "string"}, "objectClass": texts, "sn": texts, "cn": texts}}})];
    for name in names {
        let person = json!({"dn": name, "objectClass": ["inetOrgPerson"], "sn": ["x"], "cn": ["x"]});
        let unit = json!({"dn": name, "objectClass": ["organizationalUnit"]});
        let record = if name.starts_with("ou=") { unit } else { person };
        messages.push(json!({"type": "RECORD", "stream": "all", "record": record}));
    }
    messages
}

#[test]
fn a_child_that_comes_before_its_parent_waits_and_holds_state_back() {
    let slapd = company();
    let config = target_config(&slapd);
    let (child, parent) = (format!("uid=child,uid=parent,{SUFFIX}"), format!("uid=parent,{SUFFIX}"));
    let mut messages = mirrored(&[&child]);
    messages.push(state(1));
    let output = Run::target(&config).messages(&messages).run().exits(1).says("line 2").says(&child);
    no_panic(&output);
    assert!(output.stdout.is_empty(), "a record that waits is not written: {}", output.stdout_text());

    messages.push(mirrored(&[&parent]).remove(1));
    messages.push(state(2));
    let output = Run::target(&config).messages(&messages).run().succeeds();
    assert_eq!(states(&output), [state(2)["value"].clone()]);
    assert!(slapd.dump().contains_key(&child) && slapd.dump().contains_key(&parent));
}

#[test]
fn a_parent_that_can_be_made_once_the_one_above_it_has_come_is_made() {
    let slapd = company();
    let top = format!("uid=top,{SUFFIX}");
    let deep = format!("uid=deep,ou=made,ou=made too,{top}");
    let mut messages = mirrored(&[&deep, &top]);
    messages.push(state(1));
    let output = Run::target(&target_config(&slapd)).messages(&messages).run().succeeds();
    assert_eq!(states(&output), [state(1)["value"].clone()]);
    assert!(slapd.dump().contains_key(&deep));
}

#[test]
fn defaults_are_for_what_neither_the_record_nor_the_entry_has() {
    let slapd = company();
    let mut silent = record("jdoe");
    silent["record"].as_object_mut().unwrap().shift_remove("last_name");
    Run::target(&config(&slapd)).messages(&[schema(), record("jdoe")]).run().succeeds();
    let before = slapd.change_marks();
    Run::target(&config(&slapd)).messages(&[schema(), silent]).run().succeeds();
    assert_untouched(&slapd, &before);

    let mut null = record("jdoe");
    null["record"]["last_name"] = Value::Null;
    Run::target(&config(&slapd)).messages(&[schema(), null]).run().succeeds();
    assert_eq!(user(&slapd.dump(), "jdoe")["sn"], values(&["unknown"]), "null takes the old value away");
}

#[test]
fn classes_that_others_gave_an_entry_stay() {
    let slapd =
        Slapd::start(SlapdOptions::default().suffix(SUFFIX).seed(crate::support::unit(USERS)).seed(format!(
            "dn: uid=jdoe,{USERS}\nobjectClass: account\nobjectClass: testThing\nuid: jdoe\ntestFlag: TRUE\n"
        )));
    let rule = json!({"dn_template": "uid={user_id},ou=users,dc=company,dc=com",
        "object_classes": ["account", "extensibleObject"], "attribute_mapping": {"user_id": "uid"}});
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"users": rule}}));
    Run::target(&config).messages(&[schema(), record("jdoe")]).run().succeeds();
    let tree = slapd.dump();
    let entry = user(&tree, "jdoe");
    assert_eq!(entry["objectclass"], values(&["account", "testThing", "extensibleObject"]));
    assert_eq!(entry["testflag"], values(&["TRUE"]), "what is not mapped is left alone");
}

#[test]
fn a_record_without_its_key_is_refused_even_when_its_name_does_not_need_it() {
    let slapd = company();
    let mut keyed = schema();
    keyed["key_properties"] = json!(["badge"]);
    let before = slapd.change_marks();
    let output = Run::target(&config(&slapd)).messages(&[keyed, record("jdoe"), state(1)]).run().exits(1);
    no_panic(&output);
    let output = output.says("line 2").says("badge");
    assert!(output.stdout.is_empty(), "{}", output.stdout_text());
    assert_untouched(&slapd, &before);
}

#[test]
fn validate_records_false_takes_what_the_schema_forbids() {
    let slapd = company();
    let mut odd = record("odd");
    odd["record"]["email"] = json!("no address");
    let messages = [schema(), odd, state(1)];
    Run::target(&config(&slapd)).messages(&messages).run().exits(1).says("email");
    let careless = with(&config(&slapd), &json!({"validate_records": false}));
    Run::target(&careless).messages(&messages).run().succeeds();
    assert_eq!(user(&slapd.dump(), "odd")["mail"], values(&["no address"]));
}

#[test]
fn a_misspelt_key_inside_a_rule_is_refused_with_the_nearest_name() {
    let slapd = company();
    let before = slapd.change_marks();
    let mut rule = rule();
    rule["deafults"] = json!({"title": "x"});
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"users": rule}}));
    Run::target(&config)
        .messages(&[schema(), record("jdoe")])
        .run()
        .exits(2)
        .says("mapping_rules.users.deafults")
        .says("`defaults`");
    assert_untouched(&slapd, &before);
}
