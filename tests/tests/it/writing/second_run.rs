//! A second run with the same input writes nothing, and the plan says what the run does: groups whose members exchange their names, on
//! servers that rename an entry in its groups as well.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::{Output, Run};
use ldap_tests::samba::Samba;
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::rng::Rng;
use crate::support::{assert_untouched, done, state, target_config, unit, with};

/// A directory with people and groups.
struct Place<'s> {
    server: &'s Server,
    base: String,
    naming: &'static str,
    person: &'static str,
    group: &'static str,
}

impl Place<'_> {
    fn dn(&self, name: &str) -> String {
        format!("{}={name},{}", self.naming, self.base)
    }

    fn group_dn(&self, name: &str) -> String {
        format!("cn={name},{}", self.base)
    }

    /// Adds people by number and name, and groups with the names of their members.
    fn add(&self, people: &[(String, String)], groups: &[(String, Vec<String>)]) {
        let mut ldif = String::new();
        for (id, name) in people {
            let more =
                if self.person == "user" { String::new() } else { format!("cn: {name}\nsn: {name}\n") };
            let (dn, class, naming) = (self.dn(name), self.person, self.naming);
            write!(ldif, "dn: {dn}\nobjectClass: {class}\n{naming}: {name}\n{more}employeeNumber: {id}\n\n")
                .unwrap();
        }
        for (name, members) in groups {
            writeln!(ldif, "dn: {}\nobjectClass: {}\ncn: {name}", self.group_dn(name), self.group).unwrap();
            for member in members {
                writeln!(ldif, "member: {}", self.dn(member)).unwrap();
            }
            ldif.push('\n');
        }
        self.server.ldapadd(ldif);
    }

    fn config(&self, more: &Value) -> Value {
        let mapping = if self.person == "user" {
            json!({"id": "employeeNumber", "name": "cn"})
        } else {
            json!({"id": "employeeNumber", "name": ["uid", "cn", "sn"]})
        };
        let rules = json!({
            "people": {"dn_template": self.dn("{name}"), "object_classes": [self.person], "match": "(employeeNumber={id})",
                "scope_base": self.base, "attribute_mapping": mapping},
            "groups": {"dn_template": self.group_dn("{cn}"), "object_classes": [self.group],
                "attribute_mapping": {"cn": "cn", "members": "member"}}});
        with(
            &target_config(self.server),
            &with(&json!({"default_base_dn": null, "mapping_rules": rules}), more),
        )
    }

    fn person(&self, id: &str, name: &str) -> Value {
        let _ = self;
        json!({"type": "RECORD", "stream": "people", "record": {"id": id, "name": name}})
    }

    fn group(&self, name: &str, members: &[String]) -> Value {
        let members: Vec<String> = members.iter().map(|m| self.dn(m)).collect();
        json!({"type": "RECORD", "stream": "groups", "record": {"cn": name, "members": members}})
    }

    fn members(&self, name: &str) -> BTreeSet<String> {
        let tree = self.server.dump_below(&self.group_dn(name), &["member"]);
        let values = tree.values().next().and_then(|e| e.get("member").cloned()).unwrap_or_default();
        values.iter().map(|v| String::from_utf8(v.clone()).unwrap().to_lowercase()).collect()
    }

    /// The outcomes of the groups that a run counts.
    fn counts(output: &Output) -> Vec<Value> {
        let is_it = |line: &&Value| line["stream"] == "groups" && line["unchanged"].is_u64();
        let line = output.stderr.entries().iter().rfind(is_it).expect("a line sums up the groups");
        ["added", "modified", "unchanged", "rejected"].iter().map(|name| line[*name].clone()).collect()
    }

    /// Plans, runs, and runs again. The members of each group have to be as its record says.
    fn settles(&self, records: &[Value], more: &Value) {
        let text = json!({"type": ["null", "string"]});
        let list = json!({"type": ["null", "array"], "items": {"type": "string"}});
        let mut messages = vec![
            json!({"type": "SCHEMA", "stream": "people", "key_properties": ["id"],
                "schema": {"type": "object", "properties": {"id": text, "name": text}}}),
            json!({"type": "SCHEMA", "stream": "groups", "key_properties": ["cn"],
                "schema": {"type": "object", "properties": {"cn": text, "members": list}}}),
        ];
        messages.extend(records.iter().cloned());
        messages.push(state());
        let config = self.config(more);
        let before = self.server.change_marks();
        let plan = Run::target(&config).arg("--dry-run").messages(&messages).run().succeeds();
        assert_untouched(self.server, &before);
        let first = done(Run::target(&config).messages(&messages).run());
        assert_eq!(Self::counts(&plan), Self::counts(&first), "the plan says what the run does");
        for record in records.iter().filter(|r| r["stream"] == "groups") {
            let members = record["record"]["members"].as_array().unwrap();
            let wanted: BTreeSet<String> =
                members.iter().map(|m| m.as_str().unwrap().to_lowercase()).collect();
            assert_eq!(self.members(record["record"]["cn"].as_str().unwrap()), wanted, "{record}");
        }
        let before = self.server.change_marks();
        let count = records.len().try_into().unwrap();
        done(Run::target(&config).messages(&messages).run()).counts(&[("unchanged", count)]);
        assert_untouched(self.server, &before);
    }
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|&text| text.to_owned()).collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

/// The group's record comes last and first, has the same text as the group before, and another one; names pass on, and are exchanged.
fn groups_have_who_their_records_name(place: &Place<'_>) {
    for (n, more) in [json!({}), json!({"max_in_flight": 1})].iter().enumerate() {
        let name = |letter: &str| format!("{letter}{n}");
        let id = |k: usize| format!("{n}{k}");
        let people: Vec<(String, String)> =
            ["a", "b", "c", "d", "e"].iter().enumerate().map(|(k, letter)| (id(k), name(letter))).collect();
        let before = |group: &str, members: &[&str]| {
            (name(group), members.iter().map(|m| name(m)).collect::<Vec<_>>())
        };
        place.add(&people, &[before("g", &["a"]), before("h", &["c", "d"]), before("i", &["e"])]);
        place.settles(
            &[
                place.group(&name("i"), &[name("c")]),
                // The first leaves his name to the second.
                place.person(&id(0), &name("f")),
                place.person(&id(1), &name("a")),
                // These two exchange theirs, and the third has another one.
                place.person(&id(2), &name("d")),
                place.person(&id(3), &name("c")),
                place.person(&id(4), &name("b")),
                place.group(&name("g"), &[name("a")]),
                place.group(&name("h"), &[name("c")]),
            ],
            more,
        );
    }
}

fn of_openldap(server: &Server) -> Place<'_> {
    Place {
        server,
        base: "ou=p,dc=example,dc=test".to_owned(),
        naming: "uid",
        person: "inetOrgPerson",
        group: "groupOfNames",
    }
}

fn slapd(memberof: bool) -> Slapd {
    let options = SlapdOptions { memberof, ..SlapdOptions::default() };
    Slapd::start(options.seed(unit("ou=p,dc=example,dc=test")))
}

#[test]
fn groups_have_who_their_records_name_with_the_overlay_refint() {
    let server = slapd(true);
    groups_have_who_their_records_name(&of_openldap(&server));
}

#[test]
fn groups_have_who_their_records_name_without_the_overlay() {
    let server = slapd(false);
    groups_have_who_their_records_name(&of_openldap(&server));
}

#[test]
fn groups_have_who_their_records_name_on_ds389() {
    let options = Ds389Options { memberof: true, ..Ds389Options::default() };
    let server = Ds389::start(&options.seed(unit("ou=p,dc=example,dc=test")));
    groups_have_who_their_records_name(&of_openldap(&server));
}

#[test]
fn groups_have_who_their_records_name_on_active_directory() {
    let server = Samba::start("");
    let base = format!("CN=Users,{}", server.suffix());
    groups_have_who_their_records_name(&Place {
        server: &server,
        base,
        naming: "cn",
        person: "user",
        group: "group",
    });
}

/// A manager is a reference like a member, and a unit's new name is one of all in it.
#[test]
fn people_have_the_managers_of_their_records_after_renames() {
    let server = slapd(true);
    let base = "ou=p,dc=example,dc=test";
    let place = of_openldap(&server);
    place.add(&pairs(&[("1", "x"), ("2", "y"), ("3", "z")]), &[]);
    server.ldapmodify(format!("dn: uid=z,{base}\nchangetype: modify\nadd: manager\nmanager: uid=x,{base}\n"));
    let rule = json!({"dn_template": format!("uid={{name}},{base}"), "object_classes": ["inetOrgPerson"],
        "match": "(employeeNumber={id})",
        "attribute_mapping": {"id": "employeeNumber", "name": ["uid", "cn", "sn"], "boss": "manager"}});
    let config = with(&target_config(&server), &json!({"mapping_rules": {"people": rule}}));
    let text = json!({"type": ["null", "string"]});
    let schema = json!({"type": "SCHEMA", "stream": "people", "key_properties": ["id"],
        "schema": {"type": "object", "properties": {"id": text, "name": text, "boss": text}}});
    let person = |id: &str, name: &str, boss: Option<&str>| {
        let mut record = json!({"id": id, "name": name});
        if let Some(boss) = boss {
            record["boss"] = json!(format!("uid={boss},{base}"));
        }
        json!({"type": "RECORD", "stream": "people", "record": record})
    };
    let messages =
        [schema, person("3", "z", Some("x")), person("1", "y", None), person("2", "x", None), state()];
    let plan = Run::target(&config).arg("--dry-run").messages(&messages).run().succeeds();
    let first = done(Run::target(&config).messages(&messages).run());
    for output in [plan, first] {
        output.counts(&[("modified", 1), ("renamed", 2)]);
    }
    let tree = server.dump();
    let bosses: Vec<String> = tree[&format!("uid=z,{base}")]["manager"]
        .iter()
        .map(|v| String::from_utf8(v.clone()).unwrap())
        .collect();
    assert_eq!(bosses, [format!("uid=x,{base}")]);
    done(Run::target(&config).messages(&messages).run()).counts(&[("unchanged", 3)]);
}

/// Random permutations of names and random groups, in a random order of records.
#[test]
fn random_exchanges_settle_in_one_run() {
    let server = slapd(true);
    let place = of_openldap(&server);
    for seed in 1..=6_u64 {
        let mut rng = Rng::new(seed);
        let names: Vec<String> = (0..12).map(|k| format!("s{seed}p{k}")).collect();
        let people: Vec<(String, String)> =
            names.iter().enumerate().map(|(k, name)| (format!("{seed}-{k}"), name.clone())).collect();
        let some = |rng: &mut Rng| -> Vec<String> {
            let mut all: Vec<String> = names.iter().filter(|_| rng.below(3) == 0).cloned().collect();
            if all.is_empty() {
                all = texts(&[&names[0]]);
            }
            all
        };
        let groups: Vec<(String, Vec<String>)> =
            (0..5).map(|k| (format!("s{seed}g{k}"), some(&mut rng))).collect();
        place.add(&people, &groups);
        let mut given = names.clone();
        rng.shuffle(&mut given);
        let mut records: Vec<Value> =
            people.iter().zip(&given).map(|((id, _), name)| place.person(id, name)).collect();
        records.extend(groups.iter().map(|(name, before)| {
            let members = if rng.below(2) == 0 { before.clone() } else { some(&mut rng) };
            place.group(name, &members)
        }));
        rng.shuffle(&mut records);
        place.settles(&records, &json!({}));
    }
}
