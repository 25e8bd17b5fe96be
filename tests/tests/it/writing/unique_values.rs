//! Values that the server accepts once: records that nobody frees a value for are refused, and the run ends. On every kind of
//! server that has unique values.

use std::fmt::Write as _;
use std::time::Duration;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::{Output, Run};
use ldap_tests::samba::Samba;
use ldap_tests::server::{Server, scratch};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::exchanged_values::{BASE, activate, gone, of_number};
use crate::support::{lines, no_panic, state, target_config, with};

/// Each person: the number, `mail`, `telephoneNumber`.
type Person<'a> = (&'a str, &'a str, &'a str);

fn people(people: &[Person<'_>]) -> String {
    let mut text = String::new();
    for (number, mail, tel) in people {
        let _ = write!(
            text,
            "dn: uid={number},{BASE}\nobjectClass: inetOrgPerson\nuid: {number}\ncn: {number}\nsn: {number}\n\
             employeeNumber: {number}\nmail: {mail}@example.test\ntelephoneNumber: {tel}\n\n"
        );
    }
    text
}

fn slapd(entries: &[Person<'_>]) -> Slapd {
    let options = SlapdOptions {
        database_conf:
            "overlay unique\nunique_uri ldap:///?mail?sub?\nunique_uri ldap:///?telephoneNumber?sub?\n"
                .to_owned(),
        global_conf: "moduleload unique\n".to_owned(),
        ..SlapdOptions::default()
    };
    Slapd::start(options.seed(people(entries)))
}

fn ds389(entries: &[Person<'_>]) -> Ds389 {
    let mut server = Ds389::start(&Ds389Options::default().seed(people(entries)));
    for attribute in ["mail", "telephoneNumber"] {
        server.ldapadd(format!(
            "dn: cn={attribute} once,cn=plugins,cn=config\nobjectClass: top\nobjectClass: nsSlapdPlugin\nobjectClass: extensibleObject\n\
             cn: {attribute} once\nnsslapd-pluginPath: libattr-unique-plugin\nnsslapd-pluginInitfunc: NSUniqueAttr_Init\n\
             nsslapd-pluginType: betxnpreoperation\nnsslapd-pluginEnabled: on\nuniqueness-attribute-name: {attribute}\n\
             uniqueness-subtrees: {BASE}\nnsslapd-plugin-depends-on-type: database\nnsslapd-pluginId: NSUniqueAttr\n\
             nsslapd-pluginVersion: 1\nnsslapd-pluginVendor: test\nnsslapd-pluginDescription: test\n"
        ));
    }
    server.restart();
    server
}

fn rule(more: &Value) -> Value {
    with(
        &json!({"dn_template": format!("uid={{id}},{BASE}"), "object_classes": ["inetOrgPerson"], "match": "(employeeNumber={id})",
            "attribute_mapping": {"id": ["employeeNumber", "uid"], "name": ["cn", "sn"], "mail": "mail", "tel": "telephoneNumber"},
            "scope_base": BASE, "scope_filter": "(employeeNumber=*)"}),
        more,
    )
}

fn schema() -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": text, "name": text, "mail": text, "tel": text, "_sdc_deleted_at": text}}})
}

fn person(id: &str, mail: &str) -> Value {
    json!({"type": "RECORD", "stream": "p", "version": 5, "record": {"id": id, "name": id, "mail": format!("{mail}@example.test")}})
}

fn person_with_tel(id: &str, mail: &str, tel: &str) -> Value {
    let mut message = person(id, mail);
    message["record"]["tel"] = json!(tel);
    message
}

fn run(config: &Value, messages: &[Value]) -> Output {
    let mut all = vec![schema()];
    all.extend_from_slice(messages);
    all.push(state());
    let output = Run::target(config).stdin(lines(&all)).timeout(Duration::from_secs(60)).run();
    no_panic(&output);
    output
}

#[track_caller]
fn has(server: &Server, number: &str, mail: &str) {
    let tree = server.dump_below(BASE, &["employeeNumber", "mail"]);
    assert_eq!(
        of_number(&tree, number).1["mail"],
        [format!("{mail}@example.test").into_bytes()].into(),
        "{number}"
    );
}

/// Values that nothing frees, and values that leavers free: for two joiners at once, and beside an exchange.
fn values_that_are_not_freed(server: &Server) {
    let dir = scratch();
    let rejects = dir.path().join("r.jsonl");
    let fails = with(&target_config(server), &json!({"mapping_rules": {"p": rule(&json!({}))}}));
    let skips = with(&fails, &json!({"on_error": "skip", "reject_file": rejects}));
    for messages in [
        vec![person("9", "a"), person("8", "a")],
        vec![person("9", "a"), person("2", "a")],
        vec![person("2", "a"), person("9", "a"), person("8", "b")],
        vec![person("2", "a"), person("3", "a")],
    ] {
        run(&fails, &messages).exits(1);
        run(&skips, &messages).exits(4);
        has(server, "1", "a");
        has(server, "2", "b");
        has(server, "3", "c");
    }
    let rejected = std::fs::read_to_string(&rejects).unwrap();
    let rejected: Vec<Value> = rejected.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let codes: Vec<&Value> = rejected.iter().filter(|l| l["type"] == "REJECT").map(|l| &l["code"]).collect();
    assert_eq!(codes, vec![&json!(19); 9]);
    // Without `match`: entries are located by their DNs.
    let no_match =
        with(&target_config(server), &json!({"mapping_rules": {"p": rule(&json!({"match": null}))}}));
    run(&no_match, &[person("9", "a"), person("8", "a")]).exits(1);
}

fn values_of_leavers(server: &Server) {
    let versions = with(
        &target_config(server),
        &json!({"mapping_rules": {"p": rule(&json!({}))}, "process_activate_version": true, "max_deletes": 10}),
    );
    // 1 and 3 leave; two joiners take their addresses, and one who stays takes part in nothing.
    run(&versions, &[person("9", "c"), person("8", "a"), person("2", "b"), activate("p")]).succeeds();
    has(server, "9", "c");
    has(server, "8", "a");
    // 2 leaves; a joiner takes the address, and two exchange theirs.
    run(&versions, &[person("7", "b"), person("9", "a"), person("8", "c"), activate("p")]).succeeds();
    has(server, "7", "b");
    has(server, "9", "a");
    has(server, "8", "c");
    // By deletions that are records.
    run(&versions, &[person("6", "b"), person("5", "a"), gone("p", "7"), gone("p", "9")]).succeeds();
    has(server, "6", "b");
    has(server, "5", "a");
}

/// Both unique values of two people are exchanged, and a swap is taken back in the same run.
fn several_values(server: &Server) {
    let config = with(&target_config(server), &json!({"mapping_rules": {"p": rule(&json!({}))}}));
    run(&config, &[person_with_tel("1", "b", "22"), person_with_tel("2", "a", "11")]).succeeds();
    let tree = server.dump_below(BASE, &["employeeNumber", "mail", "telephoneNumber"]);
    assert_eq!(of_number(&tree, "1").1["telephonenumber"], [b"22".to_vec()].into());
    assert_eq!(of_number(&tree, "2").1["telephonenumber"], [b"11".to_vec()].into());
    has(server, "1", "b");
    has(server, "2", "a");
    run(&config, &[person("1", "a"), person("2", "b"), person("1", "b"), person("2", "a")]).succeeds();
    has(server, "1", "b");
    has(server, "2", "a");
    // Three in a ring, with the telephone numbers the other way round.
    let ring =
        [person_with_tel("1", "a", "33"), person_with_tel("2", "c", "22"), person_with_tel("3", "b", "11")];
    run(&config, &ring).succeeds();
    for (number, mail) in [("1", "a"), ("2", "c"), ("3", "b")] {
        has(server, number, mail);
    }
}

const THREE: [Person<'_>; 3] = [("1", "a", "11"), ("2", "b", "22"), ("3", "c", "33")];

#[test]
fn values_that_nothing_frees_are_refused_by_slapd_and_the_run_ends() {
    values_that_are_not_freed(&slapd(&THREE));
}

#[test]
fn values_of_leavers_pass_to_several_joiners_on_slapd() {
    values_of_leavers(&slapd(&THREE));
}

#[test]
fn several_unique_values_are_exchanged_on_slapd() {
    several_values(&slapd(&THREE));
}

#[test]
fn unique_values_on_389_are_refused_or_pass_on() {
    let server = ds389(&THREE);
    values_that_are_not_freed(&server);
    several_values(&server);
}

#[test]
fn values_of_leavers_pass_to_several_joiners_on_389() {
    values_of_leavers(&ds389(&THREE));
}

#[test]
fn logon_names_that_nothing_frees_are_refused_by_active_directory_and_the_run_ends() {
    let server = Samba::start("");
    let base = format!("CN=Users,{}", server.suffix());
    for (name, number) in [("xa", 1), ("xb", 2), ("xc", 3)] {
        server.ldapadd(format!(
            "dn: CN={number},{base}\nobjectClass: user\nsAMAccountName: {name}\nemployeeNumber: {number}\n"
        ));
    }
    let rule = json!({"dn_template": format!("CN={{id}},{base}"), "object_classes": ["user"], "match": "(employeeNumber={id})",
        "attribute_mapping": {"id": "employeeNumber", "mail": "sAMAccountName"}, "scope_base": base,
        "scope_filter": "(employeeNumber=*)"});
    let config = with(
        &target_config(&server),
        &json!({"default_base_dn": null, "mapping_rules": {"p": rule}, "process_activate_version": true}),
    );
    let user = |id: &str, name: &str| json!({"type": "RECORD", "stream": "p", "version": 5, "record": {"id": id, "mail": name}});
    run(&config, &[user("9", "Domain Users"), user("8", "Domain Admins")]).exits(1);
    run(&config, &[user("9", "xc"), user("8", "xa"), user("2", "xb"), activate("p")]).succeeds();
    let tree = server.dump_below(&base, &["employeeNumber", "sAMAccountName"]);
    for (number, name) in [("9", "xc"), ("8", "xa"), ("2", "xb")] {
        assert_eq!(of_number(&tree, number).1["samaccountname"], [name.as_bytes().to_vec()].into());
    }
}
