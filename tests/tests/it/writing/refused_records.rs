//! A refused record changes nothing: neither one modification of two, nor the name of its entry, nor its account.

use ldap_tests::bind::binds;
use ldap_tests::run::Output;
use ldap_tests::samba::Samba;
use ldap_tests::server::{Server, scratch};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{assert_untouched, done, target_config, unit, with};

const BASE: &str = "dc=example,dc=test";
/// What a record may change.
const SHOWN: [&str; 9] = [
    "objectClass",
    "cn",
    "title",
    "sn",
    "member",
    "manager",
    "userAccountControl",
    "sAMAccountName",
    "employeeNumber",
];

fn schemas() -> Vec<Value> {
    let any = json!({});
    let schema = |stream: &str, key: &str| {
        json!({"type": "SCHEMA", "stream": stream, "key_properties": [key], "schema": {"type": "object", "properties": {
            "id": {"type": "string"}, "name": {"type": "string"}, "title": any, "boss": any, "employed": any, "members": any,
            "pw": any, "_sdc_deleted_at": any}}})
    };
    vec![schema("people", "id"), schema("teams", "name")]
}

fn run(config: &Value, records: &[Value]) -> Output {
    super::run(schemas(), config, records)
}

fn record(stream: &str, record: &Value) -> Value {
    json!({"type": "RECORD", "stream": stream, "record": record})
}

fn units(base: &str) -> String {
    ["p", "g"].map(|name| unit(&format!("ou={name},{base}"))).concat()
}

/// People by their number, who are renamed, and groups by their name.
fn rules(server: &Server, classes: [&str; 2], more: &Value) -> Value {
    let base = server.suffix();
    let people = json!({
        "match": "(employeeNumber={id})", "dn_template": format!("CN={{name}},ou=p,{base}"), "object_classes": [classes[0]],
        "attribute_mapping": {"id": "employeeNumber", "name": ["cn", "sn"], "title": "title", "boss": "manager"}});
    let teams = json!({
        "dn_template": format!("CN={{name}},ou=g,{base}"), "object_classes": [classes[1]],
        "attribute_mapping": {"name": "cn", "members": "member"}});
    let people = with(&people, more);
    with(&target_config(server), &json!({"mapping_rules": {"people": people, "teams": teams}}))
}

fn skipping(config: &Value, file: &std::path::Path) -> Value {
    with(config, &json!({"on_error": "skip", "reject_file": file}))
}

fn values(server: &Server, dn: &str, attribute: &str) -> Vec<String> {
    let tree = server.dump_below(dn, &[attribute]);
    let entry = tree.get(&ldap_tests::ldif::normalize_dn(dn)).cloned().unwrap_or_default();
    let texts = entry.get(&attribute.to_lowercase()).into_iter().flatten();
    texts.map(|v| String::from_utf8_lossy(v).to_lowercase()).collect()
}

#[test]
fn active_directory_keeps_members_and_managers_whose_record_names_nobody() {
    let samba = Samba::start("");
    let base = samba.suffix().to_owned();
    samba.ldapadd(units(&base));
    let accounts = json!({"accounts": {"enabled": "employed"}, "attribute_mapping": {
        "id": "employeeNumber", "name": "sn", "title": "title", "boss": "manager"}});
    let config = rules(&samba, ["user", "group"], &accounts);
    let tls = json!({"server_url": samba.ldaps_uri(), "tls_ca_file": samba.certificates().ca});
    let config = with(&config, &tls);
    let dn = |name: &str| format!("CN={name},ou=p,{base}");
    let person = |id: &str, name: &str, more: &Value| {
        record("people", &with(&json!({"id": id, "name": name, "employed": false}), more))
    };
    let team = |members: &[&str]| {
        let members: Vec<String> = members.iter().map(|name| dn(name)).collect();
        record("teams", &json!({"name": "t2", "members": members}))
    };
    let first = [
        person("1", "Cy", &json!({"title": "one"})),
        person("2", "Zed", &json!({"title": "two", "boss": dn("Cy"), "employed": true})),
        team(&["Cy", "Zed"]),
    ];
    done(run(&config, &first)).counts(&[("added", 3)]);
    let folder = scratch();
    let rejects = folder.path().join("rejects.jsonl");
    let skip = skipping(&config, &rejects);
    let before = samba.dump_below(&base, &SHOWN);
    let same =
        |what: &str| ldap_tests::ldif::assert_same("before", &before, what, &samba.dump_below(&base, &SHOWN));
    for members in [vec!["Ghost"], vec!["Cy", "Ghost"], vec!["Ghost", "Zed", "Phantom"]] {
        run(&config, &[team(&members)]).exits(1).reports(&json!({"stream": "teams", "code": 32}));
        same("a run that ends");
        run(&skip, &[team(&members)]).exits(4).counts(&[("rejected", 1), ("modified", 0)]);
        same("a run that goes on");
    }
    // Renamed, disabled, of another title, and with a manager who is not there; and a new one with such a manager.
    let worst = person("2", "Zeebra", &json!({"title": "new", "employed": false, "boss": dn("Ghost")}));
    let new = person("3", "New", &json!({"boss": dn("Ghost")}));
    for one in [&worst, &new] {
        run(&config, std::slice::from_ref(one)).exits(1).reports(&json!({"stream": "people"}));
        same("a run that ends");
        run(&skip, std::slice::from_ref(one)).exits(4).counts(&[
            ("rejected", 1),
            ("modified", 0),
            ("renamed", 0),
            ("added", 0),
        ]);
        same("a run that goes on");
    }
    // The same among others, which are written: one names the new name of a refused one.
    let fine = person("1", "Cy", &json!({"title": "other"}));
    run(&skip, &[worst, team(&["Cy", "Zed"]), fine]).exits(4).counts(&[
        ("rejected", 1),
        ("modified", 1),
        ("unchanged", 1),
        ("renamed", 0),
    ]);
    assert_eq!(values(&samba, &dn("Zed"), "title"), ["two"]);
    assert_eq!(values(&samba, &dn("Cy"), "title"), ["other"]);
}

#[test]
fn active_directory_takes_rings_of_new_names() {
    let samba = Samba::start("");
    let base = samba.suffix().to_owned();
    samba.ldapadd(units(&base));
    let mapping = json!({"attribute_mapping": {"id": "employeeNumber", "name": "sn", "title": "title", "boss": "manager"}});
    let config = rules(&samba, ["user", "group"], &mapping);
    let dn = |name: &str| format!("CN={name},ou=p,{base}");
    let person = |id: &str, name: &str, boss: &str| {
        record("people", &json!({"id": id, "name": name, "title": name, "boss": dn(boss)}))
    };
    let team = |members: &[&str]| {
        let members: Vec<String> = members.iter().map(|name| dn(name)).collect();
        record("teams", &json!({"name": "t", "members": members}))
    };
    done(run(&config, &[person("1", "A", "B"), person("2", "B", "A"), team(&["A", "B"])]))
        .counts(&[("added", 3)]);
    // Both get new names, and name each other by them; a third is new, and the group is first.
    let ring =
        [team(&["A2", "B2", "C"]), person("1", "A2", "B2"), person("2", "B2", "C"), person("3", "C", "A2")];
    done(run(&config, &ring)).counts(&[("added", 1), ("renamed", 2), ("rejected", 0)]);
    for (name, boss) in [("A2", "B2"), ("B2", "C"), ("C", "A2")] {
        assert_eq!(values(&samba, &dn(name), "manager"), [dn(boss).to_lowercase()], "{name}");
        assert_eq!(values(&samba, &dn(name), "title"), [name.to_lowercase()]);
    }
    let mut members = values(&samba, &format!("CN=t,ou=g,{base}"), "member");
    members.sort();
    assert_eq!(members, ["A2", "B2", "C"].map(|name| dn(name).to_lowercase()));
    let marks = samba.change_marks();
    done(run(&config, &ring)).counts(&[("unchanged", 4)]);
    assert_untouched(&samba, &marks);
}

fn openldap() -> (Slapd, Value) {
    let slapd = Slapd::start(SlapdOptions::default().seed(units(BASE)));
    let config = rules(&slapd, ["inetOrgPerson", "groupOfNames"], &json!({}));
    (slapd, config)
}

fn dn(name: &str) -> String {
    format!("CN={name},ou=p,{BASE}")
}

fn person(id: &str, name: &str, more: &Value) -> Value {
    record("people", &with(&json!({"id": id, "name": name}), more))
}

fn team(members: &[&str]) -> Value {
    let members: Vec<String> = members.iter().map(|name| dn(name)).collect();
    record("teams", &json!({"name": "t", "members": members}))
}

#[test]
fn a_group_loses_nobody_while_its_new_member_has_not_come() {
    let (slapd, config) = openldap();
    done(run(&config, &[person("1", "h1", &json!({})), person("2", "h2", &json!({})), team(&["h1", "h2"])]));
    let marks = slapd.change_marks();
    let wrong = person("4", "h4", &json!({"boss": "no DN"}));
    run(&config, &[team(&["h1", "h4"]), wrong]).exits(1);
    assert_untouched(&slapd, &marks);
    // The record of the member is in order: the group is changed at once.
    done(run(&config, &[team(&["h1", "h4"]), person("4", "h4", &json!({}))]))
        .counts(&[("added", 1), ("modified", 1)]);
    let mut members = values(&slapd, &format!("cn=t,ou=g,{BASE}"), "member");
    members.sort();
    assert_eq!(members, [dn("h1").to_lowercase(), dn("h4").to_lowercase()]);
}

#[test]
fn a_later_record_has_the_last_word_about_an_entry_that_waits() {
    let (slapd, config) = openldap();
    done(run(&config, &[person("1", "a", &json!({"title": "none"})), person("2", "b", &json!({}))]));
    // The first waits for z. The second has another name and title, and says nothing of the manager.
    let second = record("people", &json!({"id": "1", "name": "a3", "title": "two"}));
    let records =
        [person("1", "a2", &json!({"title": "one", "boss": dn("z")})), second, person("9", "z", &json!({}))];
    done(run(&config, &records));
    assert_eq!(values(&slapd, &dn("a3"), "title"), ["two"]);
    assert_eq!(values(&slapd, &dn("a3"), "manager"), [dn("z").to_lowercase()]);
    assert_eq!(values(&slapd, &dn("a3"), "sn"), ["a3"]);
    // A deletion is a last word, too.
    let gone = record("people", &json!({"id": "2", "name": "b", "_sdc_deleted_at": "2026-01-01T00:00:00Z"}));
    done(run(&config, &[person("2", "b", &json!({"boss": dn("y")})), gone, person("8", "y", &json!({}))]));
    assert!(values(&slapd, &dn("b"), "cn").is_empty());
}

#[test]
fn what_waits_of_a_deleted_entry_is_not_written_to_the_next_of_its_name() {
    let (slapd, config) = openldap();
    let mut config = config;
    config["mapping_rules"]["teams"]["policies"] = json!({"member": "merge"});
    config["mapping_rules"]["teams"]["attribute_mapping"]["boss"] = json!("owner");
    let people: Vec<Value> = (1..=3).map(|n| person(&n.to_string(), &format!("h{n}"), &json!({}))).collect();
    done(run(&config, &people)).counts(&[("added", 3)]);
    done(run(&config, &[team(&["h1"])])).counts(&[("added", 1)]);
    let of = |more: &Value| record("teams", &with(&json!({"name": "t"}), more));
    // The second waits for z, until the third says of the owner what counts. Then it is the turn of the deletion, and of the next group.
    let records = [
        team(&["h1"]),
        of(&json!({"members": [dn("h2")], "boss": dn("z")})),
        of(&json!({"boss": dn("h1")})),
        of(&json!({"_sdc_deleted_at": "2026-01-01T00:00:00Z"})),
        team(&["h3"]),
    ];
    done(run(&config, &records)).counts(&[("rejected", 0)]);
    assert_eq!(values(&slapd, &format!("cn=t,ou=g,{BASE}"), "member"), [dn("h3").to_lowercase()]);
    assert!(values(&slapd, &format!("cn=t,ou=g,{BASE}"), "owner").is_empty());
}

#[test]
fn a_later_record_that_writes_no_value_drops_none_that_waits() {
    for (policy, first, expected) in [
        // Only a new entry has it: the second record says nothing of it.
        ("create_only", vec!["z"], vec!["z"]),
        ("create_only", vec!["h1", "z"], vec!["h1", "z"]),
        ("keep", vec!["h1", "z"], vec!["h1", "z"]),
        // There was none when the second was written.
        ("keep", vec!["z"], vec!["h2"]),
        ("force", vec!["h1", "z"], vec!["h2"]),
    ] {
        let (slapd, config) = openldap();
        let mut config = config;
        config["mapping_rules"]["people"]["policies"] = json!({"manager": policy});
        // One after the other: z comes last.
        config["max_in_flight"] = json!(1);
        let there = [person("1", "h1", &json!({})), person("2", "h2", &json!({}))];
        done(run(&config, &there)).counts(&[("added", 2)]);
        let bosses = |names: &[&str]| names.iter().map(|name| dn(name)).collect::<Vec<_>>();
        let records = [
            person("5", "n", &json!({"boss": bosses(&first)})),
            person("5", "n", &json!({"title": "two", "boss": bosses(&["h2"])})),
            person("9", "z", &json!({})),
        ];
        done(run(&config, &records)).counts(&[("added", 2), ("rejected", 0)]);
        let mut found = values(&slapd, &dn("n"), "manager");
        found.sort();
        let expected: Vec<String> = expected.iter().map(|name| dn(name).to_lowercase()).collect();
        assert_eq!(found, expected, "{policy} {first:?}");
        assert_eq!(values(&slapd, &dn("n"), "title"), ["two"]);
    }
}

#[test]
fn a_refused_password_leaves_the_rest_of_its_entry_alone() {
    let policy = format!(
        "dn: cn=policy,{BASE}\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\npwdAttribute: userPassword\n\
         pwdMinLength: 8\npwdCheckQuality: 1\n\n"
    );
    // The policy does not count for the administrator.
    let deputy = format!("uid=replica,ou=people,{BASE}");
    let slapd = Slapd::start(SlapdOptions {
        access: format!("access to * by dn.exact=\"{deputy}\" write by * break"),
        database_conf: format!("overlay ppolicy\nppolicy_default cn=policy,{BASE}"),
        ..SlapdOptions::with_users().seed(policy + &units(BASE))
    });
    let password = json!({"password": {"from": "pw", "mode": "exop", "policy": "force"}});
    let config = rules(&slapd, ["inetOrgPerson", "groupOfNames"], &password);
    let config = with(&config, &json!({"bind_dn": deputy, "bind_password": "replica-pw"}));
    let of =
        |name: &str, title: &str, password: &str| person("1", name, &json!({"title": title, "pw": password}));
    done(run(&config, &[of("a", "one", "first-password")])).counts(&[("added", 1)]);
    run(&config, &[of("a2", "two", "short")]).exits(1).reports(&json!({"stream": "people"}));
    assert_eq!(values(&slapd, &dn("a"), "title"), ["one"]);
    assert_eq!(values(&slapd, &dn("a"), "sn"), ["a"]);
    assert!(values(&slapd, &dn("a2"), "cn").is_empty());
    assert!(binds(&slapd, &dn("a"), "first-password"));
}
