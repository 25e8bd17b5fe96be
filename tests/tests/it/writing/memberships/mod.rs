//! `membership`: rows of groups and members, from random ones against a model to a group of 50,000.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::Output;
use ldap_tests::samba::Samba;
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{set, state, target_config, unit, values, with};

mod large;
mod model;
mod periods;
mod round_trip;
mod rows;
mod servers;
mod versions;

/// What differs between the servers.
#[derive(Clone, Copy)]
struct Kind {
    /// The attribute that names people.
    naming: &'static str,
    person: &'static str,
    group: &'static str,
}

const RFC: Kind = Kind { naming: "uid", person: "inetOrgPerson", group: "groupOfNames" };
const AD: Kind = Kind { naming: "cn", person: "user", group: "group" };

/// A server with people `p0` and on, who are never all in a group, and groups `g0` and on that have `keeper`.
struct Place<'s> {
    server: &'s Server,
    kind: Kind,
    base: String,
}

impl Place<'_> {
    fn person(&self, name: &str) -> String {
        format!("{}={name},ou=people,{}", self.kind.naming, self.base)
    }

    fn group(&self, name: &str) -> String {
        format!("cn={name},ou=groups,{}", self.base)
    }

    fn config(&self, rules: &Value) -> Value {
        with(&target_config(self.server), &json!({"mapping_rules": rules, "default_base_dn": null}))
    }

    fn members(&self, group: &str) -> BTreeSet<String> {
        values(self.server, &self.group(group), "member")
    }

    fn seed(&self, people: usize, groups: usize) -> String {
        let Kind { naming, person, group } = self.kind;
        let is_ad = person == "user";
        let mut ldif = format!("dn: {}\nobjectClass: organizationalUnit\nou: m\n\n", self.base);
        ldif += &unit(&format!("ou=people,{}", self.base));
        ldif += &unit(&format!("ou=groups,{}", self.base));
        let names = (0..people).map(|n| format!("p{n}")).chain(["keeper".to_owned()]);
        for name in names {
            let dn = self.person(&name);
            let more = if is_ad { format!("sAMAccountName: {name}\n") } else { format!("cn: {name}\n") };
            let _ = write!(
                ldif,
                "dn: {dn}\nobjectClass: {person}\n{naming}: {name}\nsn: x\n{more}employeeNumber: {name}\n\n"
            );
        }
        for n in 0..groups {
            let _ = write!(
                ldif,
                "dn: {}\nobjectClass: {group}\ncn: g{n}\nmember: {}\n\n",
                self.group(&format!("g{n}")),
                self.person("keeper")
            );
        }
        ldif
    }
}

fn slapd(people: usize, groups: usize) -> Slapd {
    let slapd = Slapd::start(SlapdOptions::default());
    slapd.ldapadd(place(&slapd, RFC).seed(people, groups));
    slapd
}

fn ds389(people: usize, groups: usize) -> Ds389 {
    let server = Ds389::start(&Ds389Options::default());
    server.ldapadd(place(&server, RFC).seed(people, groups));
    server
}

fn samba(people: usize, groups: usize) -> Samba {
    let samba = Samba::start("");
    samba.ldapadd(place(&samba, AD).seed(people, groups));
    samba
}

fn place(server: &Server, kind: Kind) -> Place<'_> {
    Place { server, kind, base: format!("ou=m,{}", server.suffix()) }
}

fn schema() -> Value {
    let text = json!({"type": ["null", "string"]});
    json!({"type": "SCHEMA", "stream": "m", "key_properties": ["group", "user"], "schema": {"type": "object",
        "properties": {"group": text, "user": text, "kind": text, "_sdc_deleted_at": text}}})
}

fn row(group: &str, user: &str) -> Value {
    json!({"type": "RECORD", "stream": "m", "record": {"group": group, "user": user}})
}

fn gone(group: &str, user: &str) -> Value {
    let mut row = row(group, user);
    row["record"]["_sdc_deleted_at"] = json!("2026-11-30T00:00:00Z");
    row
}

fn by_filter() -> Value {
    json!({"membership": {"group": "(cn={group})", "member": "(employeeNumber={user})", "attribute": "member"}})
}

fn run(config: &Value, rows: &[Value]) -> Output {
    super::run(vec![schema()], config, rows)
}
