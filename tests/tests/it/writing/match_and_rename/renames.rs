//! Entries that `match` finds are renamed and moved.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::{Tree, assert_same};
use ldap_tests::run::Run;
use ldap_tests::samba::Samba;
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use super::{BASE, at, config, gone, messages, people, person, rule, run, schema, slapd, state};
use crate::support::{assert_untouched, done, target_config, unit, with};

/// The same people, under these names.
fn assert_renamed(
    before: &BTreeMap<String, (String, Vec<u8>)>,
    after: &BTreeMap<String, (String, Vec<u8>)>,
    names: &[(&str, &str)],
) {
    for (number, dn) in names {
        assert_eq!(after[*number].0, *dn, "{after:?}");
        assert_eq!(after[*number].1, before[*number].1, "{number} is the same entry");
    }
    assert_eq!(after.len(), before.len(), "nobody is there twice: {after:?}");
}

#[test]
fn a_person_who_changes_name_department_and_mail_is_moved_in_one_run() {
    let slapd = slapd(&[("1", "anna"), ("2", "bert")]);
    let config = config(&slapd, &json!({}));
    let ids = people(&slapd, "entryUUID");
    let before = slapd.dump();
    let records = [person("1", "anna.neu", "b"), person("2", "bert", "a")];
    // The plan, given to ldapmodify, is the run; and the run can be taken back.
    let other = Slapd::start(SlapdOptions::default().seed([unit(&at("ou=a")), unit(&at("ou=b"))].concat()));
    done(run(
        &with(&config, &json!({"server_url": other.ldap_uri()})),
        &[person("1", "anna", "a"), person("2", "bert", "a")],
    ));
    let plan = Run::target(&with(&config, &json!({"server_url": other.ldap_uri()})))
        .messages(&messages(&records))
        .arg("--dry-run")
        .run()
        .succeeds();
    other.ldapmodify(&plan.stdout);
    let dir = scratch();
    let undo = dir.path().join("undo.ldif");
    done(run(&with(&config, &json!({"undo_file": undo})), &records)).counts(&[
        ("added", 0),
        ("modified", 0),
        ("renamed", 1),
        ("deleted", 0),
        ("unchanged", 1),
    ]);
    assert_renamed(
        &ids,
        &people(&slapd, "entryUUID"),
        &[("1", &at("uid=anna.neu,ou=b")), ("2", &at("uid=bert,ou=a"))],
    );
    let entry = &slapd.dump()[&at("uid=anna.neu,ou=b")];
    assert_eq!(entry["uid"].len(), 1, "the old name went");
    assert!(entry["mail"].contains(b"anna.neu@x.test".as_slice()) && entry["mail"].len() == 1);
    assert_same("the plan", &other.dump(), "the run", &slapd.dump());
    let marks = slapd.change_marks();
    done(run(&config, &records)).counts(&[("unchanged", 2)]);
    assert_untouched(&slapd, &marks);
    slapd.ldapmodify(std::fs::read(&undo).unwrap());
    assert_same("before", &before, "taken back", &slapd.dump());
}

#[test]
fn people_who_swap_names_each_get_the_others() {
    for in_flight in [1, 32] {
        let slapd = slapd(&[("1", "anna"), ("2", "bert"), ("3", "carl"), ("4", "dora"), ("5", "emil")]);
        let config = with(&config(&slapd, &json!({})), &json!({"max_in_flight": in_flight}));
        let ids = people(&slapd, "entryUUID");
        let before = slapd.dump();
        let dir = scratch();
        let undo = dir.path().join("undo.ldif");
        // Two who swap, and a ring of three over two units.
        let records = [
            person("1", "bert", "a"),
            person("2", "anna", "a"),
            person("3", "dora", "a"),
            person("4", "emil", "a"),
            person("5", "carl", "a"),
        ];
        done(run(&with(&config, &json!({"undo_file": undo})), &records)).counts(&[("renamed", 5)]);
        let names: Vec<String> =
            ["bert", "anna", "dora", "emil", "carl"].iter().map(|n| at(&format!("uid={n},ou=a"))).collect();
        let expected: Vec<(&str, &str)> =
            ["1", "2", "3", "4", "5"].into_iter().zip(names.iter().map(String::as_str)).collect();
        assert_renamed(&ids, &people(&slapd, "entryUUID"), &expected);
        assert_eq!(slapd.dump().len(), before.len());
        let marks = slapd.change_marks();
        done(run(&config, &records)).counts(&[("unchanged", 5)]);
        assert_untouched(&slapd, &marks);
        slapd.ldapmodify(std::fs::read(&undo).unwrap());
        assert_same("before", &before, "taken back", &slapd.dump());
        let plan = Run::target(&config).messages(&messages(&records)).arg("--dry-run").run().succeeds();
        slapd.ldapmodify(&plan.stdout);
        assert_renamed(&ids, &people(&slapd, "entryUUID"), &expected);
    }
}

#[test]
fn a_name_is_taken_over_from_one_who_leaves_it_later_in_the_run() {
    let slapd = slapd(&[("1", "anna"), ("2", "bert"), ("3", "carl")]);
    let ids = people(&slapd, "entryUUID");
    // 1 takes 2's name, 2 takes 3's, and 3 is deleted; 4 is new, and takes 1's.
    let records = [person("4", "anna", "a"), person("1", "bert", "a"), person("2", "carl", "a"), gone("3")];
    done(run(&config(&slapd, &json!({})), &records)).counts(&[
        ("added", 1),
        ("modified", 0),
        ("renamed", 2),
        ("deleted", 1),
    ]);
    let after = people(&slapd, "entryUUID");
    assert_renamed(&ids, &after, &[("1", &at("uid=bert,ou=a")), ("2", &at("uid=carl,ou=a"))]);
    assert_eq!(after["4"].0, at("uid=anna,ou=a"));
    assert!(!after.contains_key("3"));
}

#[test]
fn a_deletion_needs_no_more_than_what_the_entry_is_found_by() {
    let slapd = slapd(&[("1", "anna"), ("2", "bert")]);
    done(run(&config(&slapd, &json!({})), &[gone("2"), gone("3")]))
        .counts(&[("deleted", 1), ("unchanged", 1)]);
    assert_eq!(people(&slapd, "entryUUID").keys().collect::<Vec<_>>(), ["1"]);
    // Renamed, gone and back, in one run: the entry stays the same one.
    let before = people(&slapd, "entryUUID")["1"].1.clone();
    let records = [person("1", "neu", "b"), gone("1"), person("1", "wieder", "a")];
    done(run(&config(&slapd, &json!({})), &records)).counts(&[
        ("added", 0),
        ("modified", 0),
        ("renamed", 2),
        ("deleted", 0),
    ]);
    assert_eq!(people(&slapd, "entryUUID")["1"], (at("uid=wieder,ou=a"), before));
}

#[test]
fn with_renaming_switched_off_the_rest_is_written_where_the_entry_is() {
    let slapd = slapd(&[("1", "anna")]);
    let config = config(&slapd, &json!({"operations": {"rename": false}}));
    done(run(&config, &[person("1", "neu", "b")])).counts(&[("modified", 1), ("renamed", 0)]);
    let tree = slapd.dump();
    let entry = &tree[&at("uid=anna,ou=a")];
    assert!(entry["mail"].contains(b"neu@x.test".as_slice()) && entry["uid"].len() == 1, "{entry:?}");
    let marks = slapd.change_marks();
    done(run(&config, &[person("1", "neu", "b")])).counts(&[("unchanged", 1)]);
    assert_untouched(&slapd, &marks);
}

#[test]
fn the_old_name_stays_as_a_value_where_it_is_to() {
    let slapd = slapd(&[("1", "anna")]);
    let config = config(&slapd, &json!({"delete_old_rdn": false}));
    done(run(&config, &[person("1", "neu", "a")])).counts(&[("renamed", 1)]);
    let values = |tree: &Tree| {
        tree[&at("uid=neu,ou=a")]["uid"]
            .iter()
            .map(|v| String::from_utf8_lossy(v).into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(values(&slapd.dump()), ["anna", "neu"]);
    let marks = slapd.change_marks();
    done(run(&config, &[person("1", "neu", "a")])).counts(&[("unchanged", 1)]);
    assert_untouched(&slapd, &marks);
}

#[test]
fn a_department_is_renamed_above_a_thousand_people() {
    let mut seed = String::new();
    write!(seed, "dn: ou=sales,{BASE}\nobjectClass: organizationalUnit\nou: sales\npostalCode: 77\n\n")
        .unwrap();
    for n in 0..1000 {
        write!(
            seed,
            "dn: uid=u{n},ou=sales,{BASE}\nobjectClass: inetOrgPerson\nuid: u{n}\ncn: Name {n}\nsn: Name {n}\nmail: u{n}@x.test\nemployeeNumber: {n}\n\n"
        )
        .unwrap();
    }
    let slapd = Slapd::start(SlapdOptions::default().seed(seed));
    let units = json!({
        "dn_template": format!("ou={{name}},{BASE}"),
        "object_classes": ["organizationalUnit"],
        "attribute_mapping": {"id": "postalCode", "name": "ou"},
        "match": "(&(objectClass=organizationalUnit)(postalCode={id}))",
    });
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"p": rule(BASE), "d": units}}));
    let ids = people(&slapd, "entryUUID");
    let mut messages = vec![schema("d"), schema("p")];
    messages.push(json!({"type": "RECORD", "stream": "d", "record": {"id": "77", "name": "vertrieb"}}));
    for n in 0..1000 {
        let ou = if n == 500 { "neu" } else { "vertrieb" };
        messages.push(person(&n.to_string(), &format!("u{n}"), ou));
    }
    messages.push(state());
    let output = Run::target(&config).messages(&messages).run().succeeds();
    let output = output.stream_counts(
        "d",
        &[("added", 0), ("modified", 0), ("renamed", 1), ("deleted", 0), ("unchanged", 0)],
    );
    output.stream_counts(
        "p",
        &[("added", 0), ("modified", 0), ("renamed", 1), ("deleted", 0), ("unchanged", 999)],
    );
    let after = people(&slapd, "entryUUID");
    assert_eq!(after.len(), 1000);
    for (number, (dn, id)) in &after {
        let ou = if number == "500" { "neu" } else { "vertrieb" };
        assert_eq!(*dn, at(&format!("uid=u{number},ou={ou}")));
        assert_eq!(*id, ids[number].1);
    }
    assert!(!slapd.dump().contains_key(&at("ou=sales")));
}

#[test]
fn who_is_renamed_with_a_version_is_not_gone_with_it() {
    let slapd = slapd(&[("1", "anna"), ("2", "bert"), ("3", "carl")]);
    let ids = people(&slapd, "entryUUID");
    let version = |records: &[Value]| {
        let mut messages = vec![schema("p")];
        for record in records {
            let mut record = record.clone();
            record["version"] = json!(5);
            messages.push(record);
        }
        messages.push(json!({"type": "ACTIVATE_VERSION", "stream": "p", "version": 5}));
        messages.push(state());
        messages
    };
    let scoped =
        with(&config(&slapd, &json!({"scope_base": BASE})), &json!({"process_activate_version": true}));
    let messages = version(&[person("1", "bert", "a"), person("2", "neu", "b")]);
    done(Run::target(&scoped).messages(&messages).run()).counts(&[("renamed", 2), ("deleted", 1)]);
    let after = people(&slapd, "entryUUID");
    assert_eq!(after["1"], (at("uid=bert,ou=a"), ids["1"].1.clone()));
    assert_eq!(after["2"], (at("uid=neu,ou=b"), ids["2"].1.clone()));
    assert!(!after.contains_key("3"));
    // Where it may not be renamed, it has come all the same.
    let mut fixed = scoped.clone();
    fixed["mapping_rules"]["p"]["operations"] = json!({"rename": false});
    done(
        Run::target(&fixed).messages(&version(&[person("1", "anders", "a"), person("2", "neu", "b")])).run(),
    )
    .counts(&[("deleted", 0)]);
    assert_eq!(people(&slapd, "entryUUID").len(), 2);
}

#[test]
fn the_same_name_in_another_case_is_the_same_name() {
    let slapd = slapd(&[("1", "anna")]);
    let marks = slapd.change_marks();
    let mut record = person("1", "ANNA", "A");
    record["record"]["mail"] = json!("anna@x.test");
    done(run(&config(&slapd, &json!({})), &[record])).counts(&[("unchanged", 1)]);
    assert_untouched(&slapd, &marks);
}

#[test]
fn a_match_that_is_none_is_refused_before_anything_else() {
    let slapd = slapd(&[]);
    for wrong in ["(employeeNumber=7)", "employeeNumber", "({x}=7)", "(a={b}", ""] {
        run(&config(&slapd, &json!({"match": wrong})), &[]).exits(2).reports_setting("mapping_rules.p.match");
    }
}

fn vendor(server: &Server, ou_base: &str, id: &str) {
    let rule = with(&rule(ou_base), &json!({"scope_base": ou_base}));
    let config = with(&target_config(server), &json!({"mapping_rules": {"p": rule}}));
    let first = [person("1", "anna", "a"), person("2", "bert", "a"), person("3", "carl", "a")];
    done(run(&config, &first)).counts(&[("added", 3)]);
    let ids = people(server, id);
    let records = [person("1", "bert", "a"), person("2", "anna", "a"), person("3", "carl2", "b")];
    done(run(&config, &records)).counts(&[("renamed", 3)]);
    let at = |rdn: &str| format!("{rdn},{}", ou_base.to_lowercase());
    assert_renamed(
        &ids,
        &people(server, id),
        &[("1", &at("uid=bert,ou=a")), ("2", &at("uid=anna,ou=a")), ("3", &at("uid=carl2,ou=b"))],
    );
    done(run(&config, &records)).counts(&[("unchanged", 3)]);
    done(run(&config, &[gone("1")])).counts(&[("deleted", 1)]);
}

#[test]
fn people_move_on_389() {
    let server = Ds389::start(&Ds389Options::default());
    let suffix = server.suffix().to_owned();
    vendor(&server, &suffix, "nsUniqueId");
}

#[test]
fn people_move_on_active_directory() {
    let server = Samba::start("");
    let base = format!("ou=hr,{}", server.suffix());
    let rule = with(
        &rule(&base),
        &json!({
            "dn_template": format!("cn={{uid}},ou={{ou}},{base}"),
            "object_classes": ["user"],
            "attribute_mapping": {"id": "employeeNumber", "uid": "sAMAccountName", "name": "sn", "mail": "mail"},
            "match": "(&(objectClass=user)(employeeNumber={id}))",
        }),
    );
    let config = with(&target_config(&server), &json!({"mapping_rules": {"p": rule}}));
    let first = [person("1", "anna", "a"), person("2", "bert", "a"), person("3", "carl", "a")];
    done(run(&config, &first)).counts(&[("added", 3)]);
    let ids = people(&server, "objectGUID");
    let records = [person("2", "bert", "b"), person("3", "carla", "a"), person("1", "anna", "a")];
    done(run(&config, &records)).counts(&[("renamed", 2)]).counts(&[("unchanged", 1)]);
    let at = |rdn: &str| format!("{rdn},{}", base.to_lowercase());
    assert_renamed(
        &ids,
        &people(&server, "objectGUID"),
        &[("1", &at("cn=anna,ou=a")), ("2", &at("cn=bert,ou=b")), ("3", &at("cn=carla,ou=a"))],
    );
    done(run(&config, &records)).counts(&[("unchanged", 3)]);
}

#[test]
fn people_move_in_a_file() {
    let dir = scratch();
    let file = dir.path().join("d.ldif");
    std::fs::write(
        &file,
        [format!("dn: {BASE}\nobjectClass: domain\ndc: example\n\n"), unit(&at("ou=a"))].concat(),
    )
    .unwrap();
    let before = std::fs::read(&file).unwrap();
    let config =
        json!({"server_url": format!("ldif:{}", file.display()), "mapping_rules": {"p": rule(BASE)}});
    // The unit they move to is not in the file: it need not be, and is made where that is asked for.
    for (settings, is_made) in [
        (json!({}), false),
        (json!({"create_parents": true}), true),
        (json!({"undo_file": dir.path().join("undo.ldif")}), false),
    ] {
        std::fs::write(&file, &before).unwrap();
        let config = with(&config, &settings);
        done(run(&config, &[person("1", "anna", "a"), person("2", "bert", "a")])).counts(&[("added", 2)]);
        done(run(&config, &[person("1", "bert", "a"), person("2", "anna", "b")])).counts(&[("renamed", 2)]);
        let tree = ldap_tests::ldif::parse_file(&file);
        assert!(tree[&at("uid=bert,ou=a")]["employeenumber"].contains(b"1".as_slice()));
        assert!(tree[&at("uid=anna,ou=b")]["employeenumber"].contains(b"2".as_slice()));
        assert_eq!(tree.contains_key(&at("ou=b")), is_made, "{settings}");
    }
}
