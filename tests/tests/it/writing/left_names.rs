//! A server without referential integrity: groups that still name a renamed or deleted entry are named at the end of the run.

use std::io::{BufRead as _, BufReader};
use std::time::{Duration, Instant};

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::Run;
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{done, lines, target_config, unit, with};

const PLACE: &str = "ou=p,dc=example,dc=test";

/// How many entries still name others, as the warning of each run says; 0 without one.
fn still_naming(server: &Server) -> Vec<u64> {
    let person = |name: &str, id: u32| {
        format!(
            "dn: uid={name},{PLACE}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\nemployeeNumber: {id}\n\n"
        )
    };
    let groups = ["g", "h"].map(|name| {
        format!(
            "dn: cn={name},{PLACE}\nobjectClass: groupOfNames\ncn: {name}\nmember: uid=eve,{PLACE}\nmember: uid=max,{PLACE}\n\n"
        )
    });
    server.ldapadd(format!(
        "{}{}{}{}",
        person("eve", 1),
        person("max", 2),
        person("bob", 3),
        groups.concat()
    ));
    let rules = json!({"people": {"dn_template": format!("uid={{name}},{PLACE}"), "object_classes": ["inetOrgPerson"],
        "match": "(employeeNumber={id})", "scope_base": PLACE,
        "attribute_mapping": {"id": "employeeNumber", "name": ["uid", "cn", "sn"]}}});
    let config = with(
        &target_config(server),
        &json!({"default_base_dn": null, "max_deletes": null, "mapping_rules": rules}),
    );
    let text = json!({"type": ["null", "string"]});
    let schema = json!({"type": "SCHEMA", "stream": "people", "key_properties": ["id"],
        "schema": {"type": "object", "properties": {"id": text, "name": text, "_sdc_deleted_at": text}}});
    let run = |record: &Value| {
        let record = json!({"type": "RECORD", "stream": "people", "record": record});
        let output = done(
            Run::target(&config)
                .messages(&[schema.clone(), record, json!({"type": "STATE", "value": {"n": 1}})])
                .run(),
        );
        let warnings = output.stderr.warnings();
        warnings.iter().filter_map(|line| line["still_naming"].as_u64()).sum()
    };
    let deleted = json!({"id": "2", "name": "max", "_sdc_deleted_at": "2026-01-01T00:00:00Z"});
    [
        json!({"id": "1", "name": "eva"}),
        deleted,
        json!({"id": "3", "name": "rob"}),
        json!({"id": "4", "name": "max"}),
    ]
    .iter()
    .map(run)
    .collect()
}

#[test]
fn groups_that_name_a_renamed_or_deleted_entry_are_named() {
    let slapd = |memberof| {
        let options = SlapdOptions { memberof, ..SlapdOptions::default() };
        still_naming(&Slapd::start(options.seed(unit(PLACE))))
    };
    assert_eq!(slapd(false), [2, 2, 0, 0]);
    assert_eq!(slapd(true), [0, 0, 0, 0]);
}

#[test]
fn groups_that_name_a_renamed_or_deleted_entry_are_named_on_389() {
    let ds389 = |memberof| {
        let options = Ds389Options { memberof, ..Ds389Options::default() };
        still_naming(&Ds389::start(&options.seed(unit(PLACE))))
    };
    assert_eq!(ds389(false), [2, 2, 0, 0]);
    assert_eq!(ds389(true), [0, 0, 0, 0]);
}

#[test]
fn the_last_state_does_not_wait_for_the_look_at_groups() {
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(PLACE)));
    slapd.ldapadd(format!(
        "dn: uid=eve,{PLACE}\nobjectClass: inetOrgPerson\nuid: eve\ncn: eve\nsn: eve\nemployeeNumber: 1\n\n\
         dn: cn=g,{PLACE}\nobjectClass: groupOfNames\ncn: g\nmember: uid=eve,{PLACE}\n\n"
    ));
    let rules = json!({"people": {"dn_template": format!("uid={{name}},{PLACE}"), "object_classes": ["inetOrgPerson"],
        "match": "(employeeNumber={id})", "attribute_mapping": {"id": "employeeNumber", "name": ["uid", "cn", "sn"]}}});
    let config = with(&target_config(&slapd), &json!({"mapping_rules": rules}));
    let messages = [
        json!({"type": "SCHEMA", "stream": "people", "key_properties": ["id"],
            "schema": {"type": "object", "properties": {"id": {"type": "string"}, "name": {"type": "string"}}}}),
        json!({"type": "RECORD", "stream": "people", "record": {"id": "1", "name": "eva"}}),
        json!({"type": "STATE", "value": {"n": 1}}),
    ];
    let mut running = Run::target(&config).spawn();
    let mut stdout = BufReader::new(running.take_stdout());
    running.close_stdin_with(lines(&messages).as_bytes());
    let mut state = String::new();
    stdout.read_line(&mut state).unwrap();
    let printed = Instant::now();
    assert_eq!(serde_json::from_str::<Value>(&state).unwrap(), json!({"n": 1}));
    let (code, log, _) = running.wait(Duration::from_secs(60));
    assert_eq!(code, 0);
    log.has(&json!({"still_naming": 1}));
    // For so long an overlay may take.
    assert!(printed.elapsed() > Duration::from_secs(1), "{:?}", printed.elapsed());
}

#[test]
fn groups_that_name_a_renamed_or_deleted_user_by_uid_are_named_also_in_a_plan() {
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(PLACE)));
    let person = |name: &str, id: u32, above: &str| {
        format!(
            "dn: uid={name},{above}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\nemployeeNumber: {id}\n\n"
        )
    };
    let group = |name: &str, number: u32, uids: &[&str]| {
        let members: Vec<String> = uids.iter().map(|uid| format!("memberUid: {uid}\n")).collect();
        let members = members.concat();
        format!(
            "dn: cn={name},{PLACE}\nobjectClass: posixGroup\ncn: {name}\ngidNumber: {number}\n{members}\n"
        )
    };
    slapd.ldapadd(format!(
        "{}{}{}{}{}{}",
        person("eve", 1, PLACE),
        person("max", 2, PLACE),
        person("bob", 3, PLACE),
        group("g", 100, &["eve", "max"]),
        group("h", 101, &["max"]),
        group("i", 102, &["bob"]),
    ));
    // Another one has the name, too.
    slapd.ldapadd(format!(
        "dn: ou=q,{PLACE}\nobjectClass: organizationalUnit\nou: q\n\n{}",
        person("max", 9, &format!("ou=q,{PLACE}"))
    ));
    let rules = json!({"people": {"dn_template": format!("uid={{name}},{PLACE}"), "object_classes": ["inetOrgPerson"],
        "match": "(employeeNumber={id})", "attribute_mapping": {"id": "employeeNumber", "name": ["uid", "cn", "sn"]}}});
    let config = with(&target_config(&slapd), &json!({"max_deletes": null, "mapping_rules": rules}));
    let text = json!({"type": ["null", "string"]});
    let schema = json!({"type": "SCHEMA", "stream": "people", "key_properties": ["id"],
        "schema": {"type": "object", "properties": {"id": text, "name": text, "_sdc_deleted_at": text}}});
    let run = |record: &Value, is_dry: bool| {
        let record = json!({"type": "RECORD", "stream": "people", "record": record});
        let config = with(&config, &json!({"dry_run": is_dry}));
        let messages = [schema.clone(), record, json!({"type": "STATE", "value": {"n": 1}})];
        let output = Run::target(&config).messages(&messages).run();
        let output = if is_dry { output.succeeds() } else { done(output) };
        let name = if is_dry { "would_name" } else { "still_naming" };
        output.stderr.warnings().iter().filter_map(|line| line[name].as_u64()).sum::<u64>()
    };
    let renamed = json!({"id": "1", "name": "eva"});
    let deleted =
        |id: &str, name: &str| json!({"id": id, "name": name, "_sdc_deleted_at": "2026-01-01T00:00:00Z"});
    for (record, count) in [(renamed, 1), (deleted("2", "max"), 0), (deleted("3", "bob"), 1)] {
        assert_eq!((run(&record, true), run(&record, false)), (count, count), "{record}");
    }
}
