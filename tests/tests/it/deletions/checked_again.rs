//! What a plan or a list said of an entry is checked again right before the entry is deleted or moved away.

use std::fmt::Write as _;
use std::ops::Deref;
use std::sync::Arc;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::relay::{MODIFY, Relay};
use ldap_tests::run::{Output, Run};
use ldap_tests::samba::{SUFFIX, Samba};
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{done, no_panic, state, target_config, unit, with};

const BASE: &str = "dc=example,dc=test";
const USERS: &str = "ou=users,dc=example,dc=test";
const GONE: &str = "ou=gone,dc=example,dc=test";
/// The number of DelRequest's tag (RFC 4511 section 4.8).
const DELETE: u8 = 10;
/// The number of ModifyDNRequest's tag (RFC 4511 section 4.9).
const RENAME: u8 = 12;

fn person(dn: &str, more: &str) -> String {
    let name = dn.split(',').next().unwrap().split_once('=').unwrap().1;
    format!("dn: {dn}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\n{more}\n")
}

fn persons(count: usize, above: &str) -> String {
    (0..count).fold(String::new(), |mut ldif, n| {
        write!(ldif, "{}", person(&format!("uid=p{n},{above}"), "")).unwrap();
        ldif
    })
}

/// A server with the units and two users, and a relay that does something ahead of the first request of a tag.
fn behind(tag: u8, first: impl Fn(&Server) + Send + Sync + 'static) -> (Arc<Slapd>, Relay) {
    let seed = [
        unit(USERS),
        unit(GONE),
        person(&format!("uid=u1,{USERS}"), ""),
        person(&format!("uid=u2,{USERS}"), ""),
    ]
    .concat();
    let slapd = Arc::new(Slapd::start(SlapdOptions::default().seed(seed)));
    let relay = ahead_of_the_first(&slapd, tag, first);
    (slapd, relay)
}

fn ahead_of_the_first<S>(server: &Arc<S>, tag: u8, first: impl Fn(&Server) + Send + Sync + 'static) -> Relay
where
    S: Deref<Target = Server> + Send + Sync + 'static,
{
    // The relay's thread outlives the test: it must not keep the server.
    let server_behind = Arc::downgrade(server);
    Relay::ahead_of(server.ldap_port(), tag, move |number| {
        if number == 1 {
            first(&server_behind.upgrade().unwrap());
        }
    })
}

fn schema() -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object",
        "properties": {"id": text, "name": text, "number": text, "_sdc_deleted_at": text}}})
}

fn record(id: &str, name: &str) -> Value {
    json!({"type": "RECORD", "stream": "users", "version": 7, "record": {"id": id, "name": name, "number": id}})
}

fn deletion(id: &str) -> Value {
    json!({"type": "RECORD", "stream": "users", "record": {"id": id, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}})
}

fn version() -> Value {
    json!({"type": "ACTIVATE_VERSION", "stream": "users", "version": 7})
}

/// One task at a time, in the order of the input.
fn config(server: &Server, uri: &str, rule: &Value, more: &Value) -> Value {
    let rule = with(
        &json!({"dn_template": format!("uid={{uid}},{USERS}"), "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "uid", "name": ["cn", "sn"]}}),
        rule,
    );
    let settings = json!({"server_url": uri, "max_in_flight": 1, "mapping_rules": {"users": rule}});
    with(&with(&target_config(server), &settings), more)
}

fn run(config: &Value, messages: &[Value]) -> Output {
    let output = Run::target(config).messages(messages).run();
    no_panic(&output);
    output
}

/// How many entries there are below a DN.
fn below(server: &Server, dn: &str) -> usize {
    server.dump().keys().filter(|name| name.ends_with(&format!(",{dn}"))).count()
}

#[test]
fn a_subtree_that_grew_after_the_plan_counts_before_anything_of_it_goes() {
    let u2 = format!("uid=u2,{USERS}");
    for (on_delete, limit, most) in [
        (json!("tree"), "max_deletes", 1),
        (json!("tree"), "max_changes", 2),
        (json!({"move_to": GONE}), "max_deletes", 1),
    ] {
        // While the run changes another entry.
        let (slapd, relay) = behind(MODIFY, |server| server.ldapadd(persons(30, &format!("uid=u2,{USERS}"))));
        let config = config(&slapd, &relay.uri(), &json!({"on_delete": on_delete}), &json!({limit: most}));
        let output = run(&config, &[schema(), record("u1", "new"), deletion("u2"), state()]).exits(1);
        output.reports(&json!({"setting": limit, "dn": u2, "record": "id=u2"})).counts(&[
            ("modified", 1),
            ("deleted", 0),
            ("moved", 0),
        ]);
        assert_eq!(below(&slapd, &u2), 30, "{on_delete}");
        assert_eq!(below(&slapd, GONE), 0);
    }
}

#[test]
fn a_scope_that_grew_after_the_plan_counts_before_anything_of_it_goes() {
    let (slapd, relay) = behind(MODIFY, |server| server.ldapadd(persons(10, USERS)));
    let rule = json!({"scope_base": USERS});
    let more = json!({"process_activate_version": true, "max_deletes": 1});
    let output = run(
        &config(&slapd, &relay.uri(), &rule, &more),
        &[schema(), record("u1", "new"), version(), state()],
    )
    .exits(1);
    output.reports(&json!({"setting": "max_deletes", "dn": USERS})).counts(&[("deleted", 0)]);
    assert_eq!(below(&slapd, USERS), 12);
}

#[test]
fn deletions_of_what_is_gone_already_use_up_no_limit() {
    let (slapd, relay) = behind(DELETE, |_| {});
    let mut messages = vec![schema()];
    messages.extend((0..60).map(|n| deletion(&format!("never{n}"))));
    messages.extend([deletion("u1"), deletion("u2"), state()]);
    for on_delete in [json!("tree"), json!({"set": {"description": "gone"}}), json!("delete")] {
        let more = json!({"max_deletes": 2, "max_changes": 2, "max_in_flight": 8});
        let config = config(&slapd, &relay.uri(), &json!({"on_delete": on_delete}), &more);
        done(run(&config, &messages)).counts(&[("unchanged", 60)]);
        slapd.ldapmodify(if on_delete == "tree" {
            format!("{}{}", person(&format!("uid=u1,{USERS}"), ""), person(&format!("uid=u2,{USERS}"), ""))
                .replace("objectClass", "changetype: add\nobjectClass")
        } else {
            String::new()
        });
    }
    assert_eq!(below(&slapd, USERS), 0);
}

#[test]
fn entries_that_go_with_another_are_counted() {
    for (on_delete, word) in [(json!("tree"), "deleted"), (json!({"move_to": GONE}), "moved")] {
        let (slapd, relay) = behind(MODIFY, |_| {});
        slapd.ldapadd(persons(30, &format!("uid=u2,{USERS}")));
        for more in [json!({}), json!({"max_deletes": 31})] {
            let config = config(&slapd, &relay.uri(), &json!({"on_delete": on_delete}), &more);
            let dry = Run::target(&config).arg("--dry-run").messages(&[schema(), deletion("u2"), state()]);
            dry.run().succeeds().counts(&[(word, 31)]);
        }
        let config =
            config(&slapd, &relay.uri(), &json!({"on_delete": on_delete}), &json!({"max_deletes": 31}));
        done(run(&config, &[schema(), deletion("u2"), state()])).counts(&[(word, 31)]);
        assert_eq!(below(&slapd, &format!("uid=u2,{USERS}")), 0);
    }
}

/// The rule of numbered people, of whom `on_delete` takes those without a record.
fn numbered(on_delete: &Value) -> Value {
    json!({"scope_base": USERS, "match": "(employeeNumber={number})", "on_delete": on_delete,
        "attribute_mapping": {"id": "uid", "name": ["cn", "sn"], "number": "employeeNumber"}})
}

/// Takes their numbers away, except for the one that is being removed.
fn without_numbers(server: &Server, on_the_way: &str) {
    let all = server.dump();
    let left = all.keys().filter(|dn| dn.starts_with("uid=") && !dn.starts_with(on_the_way));
    let mut ldif = String::new();
    for dn in left.filter(|dn| all[*dn].contains_key("employeenumber")) {
        write!(ldif, "dn: {dn}\nchangetype: modify\ndelete: employeeNumber\n\n").unwrap();
    }
    server.ldapmodify(ldif);
}

fn seed_of_numbered() -> String {
    let mut ldif = [unit(USERS), unit(GONE)].concat();
    for n in 1..=4 {
        ldif.push_str(&person(&format!("uid=u{n},{USERS}"), &format!("employeeNumber: {n}\n")));
    }
    ldif
}

#[test]
fn an_entry_that_left_the_scope_after_it_was_read_stays() {
    for (on_delete, tag, word) in [
        (json!("delete"), DELETE, "deleted"),
        (json!("tree"), DELETE, "deleted"),
        (json!({"move_to": GONE}), RENAME, "moved"),
        (json!({"set": {"description": "gone"}}), MODIFY, "modified"),
    ] {
        let slapd = Arc::new(Slapd::start(SlapdOptions::default().seed(seed_of_numbered())));
        // With a subtree the first ones go first.
        let first =
            if on_delete == "tree" || on_delete.get("move_to").is_some() { "uid=u1" } else { "uid=u4" };
        let relay = ahead_of_the_first(&slapd, tag, move |server| without_numbers(server, first));
        let more = json!({"process_activate_version": true});
        let config = config(&slapd, &relay.uri(), &numbered(&on_delete), &more);
        let new = json!({"type": "RECORD", "stream": "users", "version": 7, "record": {"id": "n", "name": "n", "number": "99"}});
        let output = done(run(&config, &[schema(), new, version(), state()]));
        output
            .stderr
            .reports(&json!({"stream": "users", "dn": format!("uid=u2,{USERS}"), "level": "warning"}));
        output.counts(&[("added", 1), (word, 1), ("unchanged", 3)]).stream_counts("users", &[("kept", 3)]);
        let tree = slapd.dump();
        assert!(tree.contains_key(&format!("uid=u2,{USERS}")), "{on_delete}");
        assert!(tree.values().filter(|entry| entry.contains_key("description")).count() < 2);
        assert_eq!(below(&slapd, USERS) + below(&slapd, GONE), if word == "deleted" { 4 } else { 5 });
    }
}

#[test]
fn an_entry_that_left_the_scope_stays_on_ds389_too() {
    let server = Arc::new(Ds389::start(&Ds389Options::default().seed(seed_of_numbered())));
    let relay = ahead_of_the_first(&server, DELETE, |server| without_numbers(server, "uid=u4"));
    let more = json!({"process_activate_version": true});
    let config = config(&server, &relay.uri(), &numbered(&json!("delete")), &more);
    let new = json!({"type": "RECORD", "stream": "users", "version": 7, "record": {"id": "n", "name": "n", "number": "99"}});
    done(run(&config, &[schema(), new, version(), state()])).counts(&[("deleted", 1), ("unchanged", 3)]);
    assert_eq!(below(&server, USERS), 4);
}

#[test]
fn an_entry_that_left_the_scope_stays_on_active_directory_too() {
    let users = format!("OU=people,{SUFFIX}");
    let mut ldif = unit(&users);
    for n in 1..=4 {
        write!(ldif, "dn: CN=u{n},{users}\nobjectClass: contact\ncn: u{n}\npager: {n}\n\n").unwrap();
    }
    let server = Arc::new(Samba::start(&ldif));
    let theirs = users.clone();
    let relay = ahead_of_the_first(&server, DELETE, move |server| {
        let mut ldif = String::new();
        for n in 1..=3 {
            write!(ldif, "dn: CN=u{n},{theirs}\nchangetype: modify\ndelete: pager\n\n").unwrap();
        }
        server.ldapmodify(ldif);
    });
    let rule = json!({"dn_template": format!("CN={{cn}},{users}"), "object_classes": ["contact"], "scope_base": users,
        "match": "(pager={number})", "attribute_mapping": {"id": "cn", "number": "pager"}});
    let more = json!({"server_url": relay.uri(), "max_in_flight": 1, "process_activate_version": true,
        "mapping_rules": {"users": rule}});
    let new =
        json!({"type": "RECORD", "stream": "users", "version": 7, "record": {"id": "n", "number": "99"}});
    let output = run(&with(&target_config(&server), &more), &[schema(), new, version(), state()]);
    done(output).counts(&[("added", 1), ("deleted", 1), ("unchanged", 3)]);
}

#[test]
fn a_place_where_all_entries_are_is_2() {
    let (slapd, relay) = behind(MODIFY, |_| {});
    let at = format!("uid={{uid}},{USERS}");
    for (rule, more) in [
        (json!({"on_delete": {"move_to": USERS}}), json!({})),
        (json!({"on_delete": {"move_to": USERS.to_uppercase()}}), json!({})),
        (json!({"on_delete": {"move_to": BASE}}), json!({})),
        (
            json!({"dn_template": "uid={uid},ou={name},ou=users,dc=example,dc=test", "on_delete": {"move_to": USERS}}),
            json!({}),
        ),
        (
            json!({"dn_template": "uid={uid}", "on_delete": {"move_to": USERS}}),
            json!({"default_base_dn": USERS}),
        ),
        (json!({"dn_template": null, "on_delete": {"move_to": USERS}}), json!({"default_base_dn": USERS})),
        (
            json!({"dn_template": "uid={uid},ou=a,dc=source", "on_delete": {"move_to": USERS}}),
            json!({"dn_rewrite": [{"from": "ou=a,dc=source", "to": USERS}]}),
        ),
        (
            json!({"dn_template": at, "scope_base": GONE, "match": "(uid={id})", "on_delete": {"move_to": GONE}}),
            json!({}),
        ),
        (json!({"on_delete": {"move_to": "ou={name},dc=example,dc=test"}}), json!({})),
    ] {
        let output = run(&config(&slapd, &relay.uri(), &rule, &more), &[schema(), deletion("u2"), state()]);
        output.exits(2).reports_setting("mapping_rules.users.on_delete");
    }
    for (rule, setting) in [
        (
            json!({"on_delete": {"set": {"description": "{login}"}}}),
            "mapping_rules.users.on_delete.set.description",
        ),
        (
            json!({"on_delete": {"set": {"description": ["x", "was {id|upper}"]}}}),
            "mapping_rules.users.on_delete.set.description",
        ),
        (json!({"defaults": {"description": "of {name}"}}), "mapping_rules.users.defaults.description"),
    ] {
        run(&config(&slapd, &relay.uri(), &rule, &json!({})), &[schema()]).exits(2).reports_setting(setting);
    }
    assert_eq!(below(&slapd, USERS), 2);
    // These are values.
    let braces = json!({"on_delete": {"set": {"description": ["{}", "{\"a\": 1}", "{31B2F340-016D-11D2-945F-00C04FB984F9}"]}}});
    done(run(&config(&slapd, &relay.uri(), &braces, &json!({})), &[schema(), deletion("u2"), state()]))
        .counts(&[("modified", 1)]);
    // One unit has its place there, the others have not.
    let elsewhere =
        json!({"dn_template": "uid={uid},ou={name},dc=example,dc=test", "on_delete": {"move_to": GONE}});
    done(run(&config(&slapd, &relay.uri(), &elsewhere, &json!({})), &[schema(), state()]));
}

#[test]
fn a_deletion_whose_entry_never_leaves_is_said() {
    let (slapd, relay) = behind(MODIFY, |_| {});
    slapd.ldapadd(persons(1, GONE));
    let rule =
        json!({"dn_template": "uid={uid},ou={name},dc=example,dc=test", "on_delete": {"move_to": GONE}});
    let config = |rule: &Value| config(&slapd, &relay.uri(), rule, &json!({}));
    let leaver = |id: &str, unit: &str| {
        with(&deletion(id), &json!({"record": {"id": id, "name": unit, "_sdc_deleted_at": "2026-01-01"}}))
    };
    let setting = "mapping_rules.users.on_delete";
    // Its record has it where leavers go.
    done(run(&config(&rule), &[schema(), leaver("p0", "gone"), leaver("never", "gone"), state()]))
        .reports(&json!({"setting": setting, "record": "id=p0", "dn": format!("uid=p0,{GONE}"), "level": "warning"}))
        .counts(&[("unchanged", 2)])
        .stream_counts("users", &[("kept", 1)]);
    // An earlier run moved it: nothing to say.
    for (word, kept) in [("moved", 0), ("unchanged", 0)] {
        let matched = with(&rule, &json!({"match": "(uid={id})"}));
        let output = done(run(&config(&matched), &[schema(), leaver("u1", "users"), state()]));
        assert!(output.stderr.warnings().is_empty(), "{:?}", output.stderr.warnings());
        output.counts(&[(word, 1)]).stream_counts("users", &[("kept", kept)]);
    }
    // The place itself, and one below.
    let u2 = format!("uid=u2,{USERS}");
    let itself = with(&rule, &json!({"on_delete": {"move_to": u2}}));
    done(run(&config(&itself), &[schema(), leaver("u2", "users"), state()]))
        .reports(&json!({"setting": setting, "record": "id=u2", "dn": u2, "level": "warning"}));
    let within = with(&rule, &json!({"on_delete": {"move_to": format!("ou=gone,{u2}")}}));
    run(&config(&within), &[schema(), leaver("u2", "users"), state()])
        .exits(1)
        .reports(&json!({"record": "id=u2"}));
    assert_eq!((below(&slapd, USERS), below(&slapd, &u2), below(&slapd, GONE)), (1, 0, 2));
}
