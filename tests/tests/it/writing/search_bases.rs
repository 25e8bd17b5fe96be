//! Where entries and values are looked for if no setting says it: the whole of a file, and the naming context of a server.

use std::collections::BTreeSet;

use ldap_tests::run::{Output, read_text};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, done, target_config, unit, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";

fn schema() -> Value {
    let any = json!({});
    json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"properties": {
        "id": any, "login": any, "last": any, "boss": any}}})
}

fn person(id: &str, login: &str, boss: Option<&str>) -> Value {
    json!({"type": "RECORD", "stream": "p", "record": {"id": id, "login": login, "last": "Smith", "boss": boss}})
}

fn rule(more: &Value) -> Value {
    let rule = json!({"dn_template": format!("uid={{login}},{PEOPLE}"), "match": "(employeeNumber={id})",
        "object_classes": ["inetOrgPerson", "posixAccount"],
        "attribute_mapping": {"id": "employeeNumber", "login": "uid", "last": ["sn", "cn"]},
        "values": {"homeDirectory": "/"}, "defaults": {"gidNumber": "1", "uidNumber": "1"}});
    with(&rule, more)
}

fn run(config: &Value, records: &[Value]) -> Output {
    super::run(vec![schema()], config, records)
}

/// A file whose entries have no common one above them.
#[test]
fn a_file_is_searched_as_a_whole() {
    let folder = scratch();
    let file = folder.path().join("people.ldif");
    let config = |more: &Value| json!({"server_url": format!("ldif:{}", file.display()), "mapping_rules": {"p": rule(more)}});
    let values = |name: &str| -> Vec<String> {
        let text = read_text(&file);
        let lines = text.lines().filter_map(|line| line.strip_prefix(&format!("{name}: ")));
        lines.map(str::to_owned).collect()
    };
    // Chosen values of namesakes, in one run and in the next.
    let chosen = config(&json!({
        "attribute_mapping": {"id": "employeeNumber", "last": "sn"}, "defaults": {"gidNumber": "1"},
        "dn_template": format!("cn={{cn}},{PEOPLE}"),
        "unique": {"cn": ["{last}", "{last} {n}"], "uid": ["{last|lower}", "{last|lower}{n}"]},
        "next": {"uidNumber": {"min": 100, "max": 200}}}));
    for id in ["1", "2", "3"] {
        done(run(&chosen, &[person(id, "", None)])).counts(&[("added", 1)]);
    }
    for name in ["uid", "uidNumber", "cn"] {
        let values = values(name);
        assert_eq!(
            (values.len(), values.iter().collect::<BTreeSet<_>>().len()),
            (3, 3),
            "{name}: {values:?}"
        );
    }
    // Managers, and people who exchange their names.
    std::fs::remove_file(&file).unwrap();
    let found = config(&json!({"references": {"manager": {"find": "(employeeNumber={boss})"}}}));
    let both = [person("7", "ada", None), person("8", "gus", Some("7"))];
    done(run(&found, &both)).counts(&[("added", 2)]);
    done(run(&found, &both)).counts(&[("unchanged", 2)]);
    // A base above all entries.
    let find = json!({"find": "(employeeNumber={boss})", "base": "dc=test"});
    done(run(&config(&json!({"references": {"manager": find}})), &both)).counts(&[("unchanged", 2)]);
    let swapped = [person("7", "gus", None), person("8", "ada", Some("7"))];
    done(run(&found, &swapped)).counts(&[("added", 0), ("renamed", 2)]);
    assert_eq!(values("manager"), [format!("uid=gus,{PEOPLE}")]);
    assert_eq!(values("employeeNumber").len(), 2);
}

/// A root DSE that does not say what the server holds: nobody would be found, and everybody be made anew.
#[test]
fn a_server_that_shows_no_naming_context_is_not_searched_nowhere() {
    let slapd = Slapd::start(SlapdOptions {
        global_conf:
            "access to dn.base=\"\" attrs=namingContexts by * none\naccess to dn.base=\"\" by * read".into(),
        ..SlapdOptions::default().seed(unit(PEOPLE))
    });
    let config = |rule: Value| with(&target_config(&slapd), &json!({"mapping_rules": {"p": rule}}));
    let marks = slapd.change_marks();
    let member = json!({"membership": {"group": format!("cn=g,{PEOPLE}"), "member": "(uid={login})"}});
    for (rule, setting) in [
        (rule(&json!({})), "scope_base"),
        (
            rule(
                &json!({"match": null, "attribute_mapping": {"id": "employeeNumber", "last": ["sn", "cn"]}, "unique": {"uid": ["{login}", "{login}{n}"]},
            "dn_template": format!("cn={{last}},{PEOPLE}")}),
            ),
            "unique.uid.base",
        ),
        (
            rule(&json!({"match": null, "references": {"manager": {"find": "(uid={boss})"}}})),
            "references.manager.base",
        ),
        (member, "membership.member"),
    ] {
        run(&config(rule), &[person("1", "ada", None)])
            .exits(2)
            .reports_setting(&format!("mapping_rules.p.{setting}"));
        assert_untouched(&slapd, &marks);
    }
    let scoped = config(rule(&json!({"scope_base": PEOPLE})));
    done(run(&scoped, &[person("1", "ada", None)])).counts(&[("added", 1)]);
    done(run(&scoped, &[person("1", "ada", None)])).counts(&[("unchanged", 1)]);
}
