//! `on_delete` in all its forms.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ldap_tests::bind::bind_code;
use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::{Output, Run};
use ldap_tests::samba::{SUFFIX, Samba};
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use crate::support::{assert_untouched, done, no_panic, state, target_config, unit, with};

const BASE: &str = "dc=example,dc=test";
const GONE: &str = "ou=gone,ou=archive,dc=example,dc=test";

fn schema() -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": "s", "key_properties": ["dn"],
        "schema": {"properties": {"dn": text, "objectClass": {"type": ["array", "null"]}, "_sdc_deleted_at": text}}})
}

fn deletion(dn: &str) -> Value {
    json!({"type": "RECORD", "stream": "s", "record": {"dn": dn, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}})
}

fn config(server: &Server, on_delete: &Value) -> Value {
    with(&target_config(server), &json!({"mapping_rules": {"s": {"on_delete": on_delete}}}))
}

/// A run with deletions of these entries, and a STATE.
fn run(config: &Value, dns: &[&str]) -> Output {
    let mut messages = vec![schema()];
    messages.extend(dns.iter().map(|dn| deletion(dn)));
    messages.push(state());
    let output = Run::target(config).messages(&messages).run();
    no_panic(&output);
    output
}

fn person(dn: &str) -> String {
    let name = dn.split(',').next().unwrap().split_once('=').unwrap().1;
    format!("dn: {dn}\nobjectClass: inetOrgPerson\nuid: {name}\ncn: {name}\nsn: {name}\ndescription: old\n\n")
}

fn values(texts: &[&str]) -> BTreeSet<Vec<u8>> {
    texts.iter().map(|t| t.as_bytes().to_vec()).collect()
}

#[test]
fn set_writes_values_by_the_destinations_syntax_and_leaves_the_rest() {
    let (a, b) = (format!("uid=a,ou=p,{BASE}"), format!("uid=b,ou=p,{BASE}"));
    let seed = [unit(&format!("ou=p,{BASE}")), person(&a), person(&b)].concat();
    let slapd = Slapd::start(SlapdOptions::default().seed(seed));
    let config = config(
        &slapd,
        &json!({"set": {"objectClass": "testThing", "testFlag": true, "testWhen": "2026-01-31T09:00:00+01:00",
                        "testCounts": [1, 2], "DESCRIPTION": null}}),
    );
    let never = format!("uid=never,ou=none,{BASE}");
    done(run(&config, &[&a, &never])).counts(&[
        ("modified", 1),
        ("renamed", 0),
        ("deleted", 0),
        ("unchanged", 1),
    ]);
    let tree = slapd.dump();
    let entry = &tree[&a];
    assert_eq!(entry["testflag"], values(&["TRUE"]));
    assert_eq!(entry["testwhen"], values(&["20260131080000Z"]));
    assert_eq!(entry["testcounts"], values(&["1", "2"]));
    assert!(!entry.contains_key("description"));
    assert_eq!(entry["objectclass"], values(&["inetOrgPerson", "testThing"]));
    assert_eq!(entry["cn"], values(&["a"]));
    assert_eq!(tree[&b].len(), 5, "no other entry: {:?}", tree[&b]);
    assert!(!tree.keys().any(|dn| dn.contains("none")), "nothing is made for what is not there");

    let before = slapd.change_marks();
    done(run(&config, &[&a, &never]));
    assert_untouched(&slapd, &before);
}

#[test]
fn move_to_moves_an_entry_with_all_it_has_and_makes_the_parent() {
    let a = format!("uid=a,ou=p,{BASE}");
    let escaped = format!("cn=Last\\, First+sn=Last,ou=p,{BASE}");
    let seed = [
        unit(&format!("ou=p,{BASE}")),
        person(&a),
        person(&format!("uid=below,{a}")),
        format!("dn: {escaped}\nobjectClass: person\ncn: Last, First\nsn: Last\n\n"),
    ]
    .concat();
    let slapd = Slapd::start(SlapdOptions::default().seed(seed));
    let config = config(&slapd, &json!({"move_to": GONE}));
    let before = slapd.dump();
    done(run(&config, &[&a, &format!("uid=never,ou=p,{BASE}"), &escaped])).counts(&[
        ("deleted", 0),
        ("unchanged", 1),
        ("moved", 3),
    ]);
    let tree = slapd.dump();
    assert_eq!(tree[&format!("uid=a,{GONE}")], before[&a]);
    assert_eq!(tree[&format!("uid=below,uid=a,{GONE}")], before[&format!("uid=below,{a}")]);
    let names: Vec<&String> = tree.keys().filter(|dn| dn.ends_with(&format!(",{GONE}"))).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let moved = tree.iter().find(|(dn, _)| dn.starts_with("cn=")).unwrap();
    assert_eq!(moved.1["cn"], values(&["Last, First"]));
    assert!(!tree.keys().any(|dn| dn.ends_with(&format!(",ou=p,{BASE}"))), "{:?}", tree.keys());

    // Where it is now is where it belongs, whatever name a record has for it.
    let before = slapd.change_marks();
    let there = format!("uid=a,{GONE}");
    let output = done(run(&config, &[&a, &escaped, &there, GONE]));
    assert_untouched(&slapd, &before);
    // These records have their entries there, so that no deletion moves them.
    for dn in [&there, GONE] {
        output.stderr.reports(&json!({"setting": "mapping_rules.s.on_delete", "dn": dn, "level": "warning"}));
    }
}

#[test]
fn a_leaver_whose_name_is_taken_there_gets_a_number() {
    let (a, b) = (format!("uid=a,ou=p,{BASE}"), format!("uid=b,ou=p,{BASE}"));
    let seed = [
        unit(&format!("ou=p,{BASE}")),
        unit(&format!("ou=archive,{BASE}")),
        unit(GONE),
        person(&a),
        person(&b),
        person(&format!("uid=a,{GONE}")),
        person(&format!("uid=A 2,{GONE}")),
    ]
    .concat();
    let slapd = Slapd::start(SlapdOptions::default().seed(seed));
    let config = config(&slapd, &json!({"move_to": GONE}));
    run(&config, &[&a, &b]).succeeds().counts(&[("moved", 2)]);
    let tree = slapd.dump();
    assert!(!tree.contains_key(&a) && !tree.contains_key(&b), "{:?}", tree.keys());
    for name in ["uid=a", "uid=a 2", "uid=a 3", "uid=b"] {
        assert!(tree.contains_key(&format!("{name},{GONE}")), "{:?}", tree.keys());
    }
}

#[test]
fn a_parent_that_cannot_be_made_is_an_error_of_the_record() {
    let a = format!("uid=a,ou=p,{BASE}");
    let seed = [unit(&format!("ou=p,{BASE}")), person(&a)].concat();
    let slapd = Slapd::start(SlapdOptions::default().seed(seed));
    let before = slapd.change_marks();
    let nameless = config(&slapd, &json!({"move_to": format!("cn=gone,{BASE}")}));
    run(&nameless, &[&a])
        .exits(1)
        .reports(&json!({"code": 32, "record": format!("dn={a}")}))
        .says(&format!("cn=gone,{BASE}"));
    let careful = with(&config(&slapd, &json!({"move_to": GONE})), &json!({"create_parents": false}));
    run(&careful, &[&a]).exits(1).says(GONE).says("create_parents");
    assert_untouched(&slapd, &before);
}

/// Units two deep with people in them, and an entry next to them.
fn forest(roots: usize) -> String {
    let mut ldif = person(&format!("uid=stays,{BASE}"));
    for root in 0..roots {
        let root_dn = format!("ou=r{root},{BASE}");
        ldif.push_str(&unit(&root_dn));
        for inner in 0..3 {
            let inner_dn = format!("ou=i{inner},{root_dn}");
            ldif.push_str(&unit(&inner_dn));
            for n in 0..5 {
                ldif.push_str(&person(&format!("uid=p{n},{inner_dn}")));
            }
        }
    }
    ldif
}

#[test]
fn tree_deletes_what_lies_below_children_first_and_page_by_page() {
    let slapd = Slapd::start(SlapdOptions::default().seed(forest(6)));
    let roots: Vec<String> = (0..6).map(|n| format!("ou=r{n},{BASE}")).collect();
    let plain = config(&slapd, &json!("delete"));
    let before = slapd.change_marks();
    run(&plain, &[&roots[0]]).exits(1).reports(&json!({"line": 2, "record": format!("dn={}", roots[0])}));
    assert_untouched(&slapd, &before);

    // Several at once, on one connection.
    let config = with(&config(&slapd, &json!("tree")), &json!({"page_size": 2}));
    let mut names: Vec<&str> = roots.iter().take(5).map(String::as_str).collect();
    names.extend(["ou=never,dc=example,dc=test", "uid=p1,ou=i0,ou=r0,dc=example,dc=test"]);
    done(run(&config, &names)).counts(&[("deleted", 5 * 19), ("unchanged", 2)]).says("18 entries below it");
    let left: Vec<String> = slapd.dump().into_keys().collect();
    assert_eq!(left.iter().filter(|dn| dn.ends_with(&roots[5])).count(), 19, "{left:?}");
    assert_eq!(left.len(), 19 + 2, "{left:?}");
    // An entry without any below it.
    done(run(&config, &[&format!("uid=stays,{BASE}")])).counts(&[("deleted", 1)]);
    let before = slapd.change_marks();
    done(run(&config, &names));
    assert_untouched(&slapd, &before);
}

#[test]
fn a_tree_goes_when_its_turn_comes_among_the_records() {
    // What records of the run itself brought would stay.
    let before = (0..40).map(|n| unit(&format!("ou=before{n},ou=r,{BASE}")));
    let seed = unit(&format!("ou=r,{BASE}")) + &before.collect::<Vec<_>>().concat();
    let slapd = Slapd::start(SlapdOptions::default().seed(seed));
    let config = with(&config(&slapd, &json!("tree")), &json!({"max_in_flight": 32}));
    let record = |dn: &str| json!({"type": "RECORD", "stream": "s", "record": {"dn": dn, "objectClass": ["organizationalUnit"]}});
    let mut messages = vec![schema()];
    messages.push(deletion(&format!("ou=r,{BASE}")));
    messages.push(record(&format!("ou=after,ou=r,{BASE}")));
    messages.push(state());
    done(Run::target(&config).messages(&messages).run());
    let left: Vec<String> = slapd.dump().into_keys().collect();
    assert_eq!(left, [BASE.to_owned(), format!("ou=after,ou=r,{BASE}"), format!("ou=r,{BASE}")]);
}

#[test]
fn a_tree_that_the_bound_user_may_not_delete_is_an_error_of_the_record() {
    let slapd = Slapd::start(SlapdOptions::with_users().seed(forest(1)));
    let before = slapd.change_marks();
    let config = with(
        &config(&slapd, &json!("tree")),
        &json!({"bind_dn": slapd.reader_dn(), "bind_password": "reader-pw"}),
    );
    run(&config, &[&format!("ou=r0,{BASE}")]).exits(1).reports_code(50);
    assert_untouched(&slapd, &before);
}

#[test]
fn with_delete_switched_off_no_form_does_anything() {
    let slapd = Slapd::start(SlapdOptions::default().seed(forest(1)));
    let before = slapd.change_marks();
    let root = format!("ou=r0,{BASE}");
    for form in
        [json!("delete"), json!("tree"), json!({"move_to": GONE}), json!({"set": {"description": "x"}})]
    {
        let mut config = config(&slapd, &form);
        config["mapping_rules"]["s"]["operations"] = json!({"delete": false});
        done(run(&config, &[&root])).counts(&[("ignored", 1)]);
    }
    done(run(&config(&slapd, &json!("ignore")), &[&root]));
    assert_untouched(&slapd, &before);
}

#[test]
fn every_form_works_on_a_file() {
    let (a, b) = (format!("uid=a,{BASE}"), format!("uid=b,{BASE}"));
    for (form, names) in [
        (json!("tree"), vec![BASE]),
        (json!({"move_to": format!("ou=gone,{BASE}")}), vec![&a, &b]),
        (json!({"set": {"description": "gone"}}), vec![&a]),
    ] {
        let dir = scratch();
        let file = dir.path().join("d.ldif");
        let suffix = format!("dn: {BASE}\nobjectClass: domain\ndc: example\n\n");
        std::fs::write(&file, [suffix, person(&a), person(&b)].concat()).unwrap();
        let config = json!({"server_url": format!("ldif:{}", file.display()), "mapping_rules": {"s": {"on_delete": form}}});
        done(run(&config, &names));
        let tree = ldap_tests::ldif::parse_file(&file);
        match form.as_str() {
            Some(_) => assert!(tree.is_empty(), "{tree:?}"),
            None if form.get("set").is_some() => {
                assert_eq!(tree[&a]["description"], values(&["gone"]));
                assert_eq!(tree[&b]["description"], values(&["old"]));
            }
            None => {
                assert!(tree.contains_key(&format!("uid=a,ou=gone,{BASE}")), "{:?}", tree.keys());
                assert!(!tree.contains_key(&a));
            }
        }
    }
}

#[test]
fn on_ds389_accounts_are_locked_moved_and_deleted_with_what_lies_below() {
    let server = Ds389::start(&Ds389Options::default().seed(forest(1)));
    let stays = format!("uid=stays,{BASE}");
    let lock = config(&server, &json!({"set": {"nsAccountLock": "TRUE"}}));
    done(run(&lock, &[&stays])).counts(&[("modified", 1)]);
    let locked = server.dump_attributes(&["nsAccountLock"]);
    assert_eq!(locked[&stays]["nsaccountlock"], values(&["TRUE"]));
    done(run(&lock, &[&stays])).counts(&[("unchanged", 1)]);

    let inner = format!("ou=i0,ou=r0,{BASE}");
    let moving = config(&server, &json!({"move_to": GONE}));
    done(run(&moving, &[&stays, &inner])).counts(&[("moved", 2 + 5)]);
    assert!(server.dump().contains_key(&format!("uid=p4,ou=i0,{GONE}")));
    done(run(&moving, &[&stays, &inner])).counts(&[("unchanged", 2)]);

    let tree = with(&config(&server, &json!("tree")), &json!({"page_size": 2}));
    done(run(&tree, &[&format!("ou=r0,{BASE}"), &format!("ou=archive,{BASE}")]))
        .counts(&[("deleted", 13 + 9)]);
    let left: Vec<String> = server.dump().into_keys().collect();
    assert_eq!(left, [BASE.to_owned(), format!("uid=reader,{BASE}")], "{left:?}");
}

#[test]
fn on_active_directory_a_tree_goes_in_one_request() {
    let mut ldif = String::new();
    for dn in [format!("OU=r,{SUFFIX}"), format!("OU=i,OU=r,{SUFFIX}")] {
        ldif.push_str(&unit(&dn));
    }
    for n in 0..3 {
        write!(ldif, "dn: CN=p{n},OU=i,OU=r,{SUFFIX}\nobjectClass: contact\ncn: p{n}\n\n").unwrap();
    }
    let server = Samba::start(&ldif);
    let moving = config(&server, &json!({"move_to": format!("OU=gone,{SUFFIX}")}));
    done(run(&moving, &[&format!("CN=p0,OU=i,OU=r,{SUFFIX}")])).counts(&[("moved", 1)]);
    let config = config(&server, &json!("tree"));
    let output = done(run(&config, &[&format!("OU=r,{SUFFIX}")])).counts(&[("deleted", 1)]);
    assert!(!output.stderr.contains("entries below it"), "by the server itself: {}", output.stderr);
    let below = |name: &str| {
        let tree = server.dump();
        tree.keys().filter(|dn| dn.to_lowercase().contains(name)).count()
    };
    assert_eq!((below("ou=r,"), below("cn=p0,ou=gone,")), (0, 1));
    done(run(&config, &[&format!("OU=r,{SUFFIX}")])).counts(&[("unchanged", 1)]);
}

#[test]
fn faults_in_on_delete_are_2_and_named() {
    let slapd = Slapd::start(SlapdOptions::default());
    for (form, word) in [
        (json!("remove"), "remove"),
        (json!(5), "got 5"),
        (json!(true), "move_to"),
        (json!({}), "nothing is said"),
        (json!({"move_to": ""}), "empty"),
        (json!({"move_to": "gone"}), "move_to: DN"),
        (json!({"move_to": 5}), "move_to"),
        (json!({"move_to": GONE, "set": {}}), "set"),
        (json!({"set": {}}), "set"),
        (json!({"set": {"no name": "x"}}), "on_delete.set.no name"),
        (json!({"set": {"testFlag": "maybe"}}), "on_delete.set.testFlag"),
        (json!({"set": {"description": "{login}"}}), "{login}"),
        (json!({"set": {"userPassword": "bG9ja2Vk"}}), "on_delete.set.userPassword"),
    ] {
        let output = Run::target(&config(&slapd, &form)).messages(&[schema()]).run().exits(2);
        no_panic(&output);
        output.says("mapping_rules.s.on_delete").says(word);
    }
    Run::target(&config(&slapd, &json!({"set": {"userPassword": null}})))
        .messages(&[schema()])
        .run()
        .succeeds();
}

/// docs/guides/hr-to-openldap.md: the lock that never ends as the mark of a leaver, which `accounts` removes.
#[test]
fn set_locks_for_ever_and_accounts_unlocks() {
    let ada = format!("uid=ada,ou=p,{BASE}");
    let policy = format!(
        "dn: cn=policy,{BASE}\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\npwdAttribute: userPassword\n\
         pwdLockout: TRUE\n\n"
    );
    let password = person(&ada).replace("\n\n", "\nuserPassword: ada-first-pw1\n\n");
    let slapd = Slapd::start(SlapdOptions {
        database_conf: format!("overlay ppolicy\nppolicy_default cn=policy,{BASE}"),
        ..SlapdOptions::default().seed(policy + &unit(&format!("ou=p,{BASE}")) + &password)
    });
    let rule = json!({"on_delete": {"set": {"pwdAccountLockedTime": "000001010000Z"}}, "accounts": {"enabled": "employed"}});
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"s": rule}}));
    assert_eq!(bind_code(&slapd, &ada, "ada-first-pw1"), 0);
    done(run(&config, &[&ada])).counts(&[("modified", 1)]);
    assert_eq!(bind_code(&slapd, &ada, "ada-first-pw1"), 49);
    done(run(&config, &[&ada])).counts(&[("modified", 0)]);
    let back = json!({"type": "RECORD", "stream": "s", "record": {"dn": ada, "employed": true}});
    let mut schema = schema();
    schema["schema"]["properties"]["employed"] = json!({"type": ["boolean", "null"]});
    done(Run::target(&config).messages(&[schema, back, state()]).run()).counts(&[("modified", 1)]);
    assert_eq!(bind_code(&slapd, &ada, "ada-first-pw1"), 0);
}
