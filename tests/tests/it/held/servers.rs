//! The same on 389 Directory Server and Active Directory: held, changed by others, carried out, and taken back.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::assert_same;
use ldap_tests::run::{Program, Run};
use ldap_tests::samba::Samba;
use ldap_tests::server::{Server, scratch};
use serde_json::{Value, json};

use super::apply;
use crate::support::{target_config, with};

/// What differs between the servers.
struct Kind {
    naming: &'static str,
    class: &'static str,
    group: &'static str,
    names: &'static [&'static str],
}

/// 60 people, of whom 20 are renamed, 20 change their title and 15 leave; 10 are new; a group follows. Then 20 foreign changes.
fn held_changed_and_carried_out(server: &Server, kind: &Kind) {
    let base = format!("ou=held,{}", server.suffix());
    let Kind { naming, class, group, names } = kind;
    let dn = |name: &str| format!("{naming}={name},{base}");
    let is_ad = *class == "user";
    let mut seed = format!("dn: {base}\nchangetype: add\nobjectClass: organizationalUnit\nou: held\n\n");
    for n in 0..60 {
        let name = format!("h{n}");
        let _ = write!(
            seed,
            "dn: {}\nchangetype: add\nobjectClass: {class}\n{naming}: {name}\nsn: x\n{}employeeNumber: {n}\ntitle: old\n\n",
            dn(&name),
            if is_ad { format!("sAMAccountName: {name}\n") } else { "cn: x\n".to_owned() },
        );
    }
    let members: String =
        (0..30).fold(String::new(), |text, n| format!("{text}member: {}\n", dn(&format!("h{n}"))));
    let _ = write!(seed, "dn: cn=team,{base}\nchangetype: add\nobjectClass: {group}\ncn: team\n{members}\n");
    server.ldapmodify(seed);
    let dir = scratch();
    let (plan, back) = (dir.path().join("plan.ldif"), dir.path().join("undo.ldif"));
    let mut mapping = json!({"id": "employeeNumber", "login": naming, "title": "title"});
    if is_ad {
        mapping["login"] = json!(["cn", "sAMAccountName"]);
    }
    let rules = json!({
        "people": {"dn_template": format!("{naming}={{login}},{base}"), "match": "(employeeNumber={id})",
            "object_classes": [class], "scope_base": base, "attribute_mapping": mapping, "defaults": {"sn": "x", "cn": "x"}},
        "teams": {"dn_template": format!("cn={{name}},{base}"), "object_classes": [group],
            "attribute_mapping": {"name": "cn", "members": "member"}}});
    let config = with(
        &target_config(server),
        &json!({"mapping_rules": rules, "limits": {"people": {"rename": "20%", "delete": "10%"}}, "plan_file": plan,
            "undo_file": back}),
    );
    let text = json!({"type": ["null", "string"]});
    let mut input = vec![
        json!({"type": "SCHEMA", "stream": "people", "key_properties": ["id"], "schema": {"properties": {
            "id": text, "login": text, "title": text, "_sdc_deleted_at": text}}}),
        json!({"type": "SCHEMA", "stream": "teams", "key_properties": ["name"], "schema": {"properties": {
            "name": text, "members": {"type": "array", "items": {"type": "string"}}}}}),
    ];
    let row = |id: usize, more: Value| json!({"type": "RECORD", "stream": "people", "record": with(&json!({"id": id.to_string()}), &more)});
    for n in 0..20 {
        input.push(row(n, json!({"login": format!("new{n}")})));
    }
    for n in 20..40 {
        input.push(row(n, json!({"login": format!("h{n}"), "title": "new"})));
    }
    for n in 45..60 {
        input.push(row(n, json!({"login": format!("h{n}"), "_sdc_deleted_at": "2026-11-30T00:00:00Z"})));
    }
    for n in 60..70 {
        input.push(row(n, json!({"login": format!("h{n}"), "title": "first"})));
    }
    let members: Vec<String> =
        (0..28).map(|n| dn(&if n < 20 { format!("new{n}") } else { format!("h{n}") })).collect();
    input.push(json!({"type": "RECORD", "stream": "teams", "record": {"name": "team", "members": members}}));
    let look = || server.dump_below(&base, names);
    let untouched = look();
    Run::target(&config).messages(&input).run().exits(5);
    assert_same("before", &untouched, "held", &look());
    // Ten that do not matter, and ten that do.
    let mut foreign = String::new();
    for n in 20..30 {
        let _ = write!(
            foreign,
            "dn: {}\nchangetype: modify\nreplace: description\ndescription: theirs\n-\n\n",
            dn(&format!("h{n}"))
        );
    }
    for n in (30..35).chain(45..50) {
        let _ = write!(
            foreign,
            "dn: {}\nchangetype: modify\nreplace: title\ntitle: theirs\n-\n\n",
            dn(&format!("h{n}"))
        );
    }
    server.ldapmodify(foreign);
    let before = look();
    let output = apply(&config, &plan, &[]).exits(4);
    let about = json!({"level": "warning", "attribute": "title", "stream": "people"});
    let left: BTreeSet<String> = output
        .stderr
        .about(&about)
        .into_iter()
        .map(|line| line["dn"].as_str().unwrap().to_lowercase())
        .collect();
    let expected = (30..35).chain(45..50).map(|n| dn(&format!("h{n}")).to_lowercase());
    assert_eq!(left, expected.collect());
    output.stderr.has(&json!({"left_alone": 10, "already": 0}));
    let after = look();
    let there = |name: &str| after.keys().any(|other| other.eq_ignore_ascii_case(&dn(name)));
    assert!(there("new0") && there("new19") && !there("h0") && there("h45") && !there("h50") && there("h69"));
    let team = after.iter().find(|(dn, _)| dn.to_lowercase().starts_with("cn=team")).unwrap().1;
    assert_eq!(team["member"].len(), 28, "{team:?}");
    // Once more: what is done counts as done.
    apply(&config, &plan, &[]).exits(4).logs(&json!({"made": 0, "left_alone": 10}));
    assert_same("applied", &after, "applied again", &look());
    let undo = Run::bare(Program::Target).arg("undo").arg(back.to_str().unwrap());
    undo.file("--config", &config).run().succeeds();
    assert_same("before the apply", &before, "undone", &look());
}

#[test]
fn a_plan_is_held_and_carried_out_on_389() {
    let server = Ds389::start(&Ds389Options::default());
    let kind = Kind { naming: "uid", class: "inetOrgPerson", group: "groupOfNames", names: &["*"] };
    held_changed_and_carried_out(&server, &kind);
}

#[test]
fn a_plan_is_held_and_carried_out_on_active_directory() {
    let samba = Samba::start("");
    let names =
        &["objectClass", "cn", "sn", "title", "employeeNumber", "member", "sAMAccountName", "description"];
    held_changed_and_carried_out(&samba, &Kind { naming: "cn", class: "user", group: "group", names });
}
