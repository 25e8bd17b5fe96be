//! Entries whose record did not come with the version are deleted.

use std::fmt::Write as _;

use ldap_tests::run::{Run, pipe};
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::json;

use super::{BASE, USERS, activate, config, left, record, run, schema, slapd, state, whole};
use crate::support::{assert_untouched, done, people, tap_config, target_config, unit, with};

const ALL: &str =
    "cn=printer dc=example ou=else ou=in ou=users uid=a uid=b uid=c uid=d uid=e uid=f uid=g uid=x";

#[test]
fn what_did_not_come_with_the_version_goes_and_nothing_else() {
    let slapd = slapd();
    let config = config(&slapd, &json!({}));
    done(run(&config, &whole(&["a", "new", "c"]))).counts(&[
        ("added", 1),
        ("modified", 0),
        ("renamed", 0),
        ("deleted", 4),
        ("unchanged", 2),
    ]);
    assert_eq!(
        left(&slapd),
        "cn=printer dc=example ou=else ou=in ou=users uid=a uid=c uid=g uid=new",
        "other classes and other places are not the stream's"
    );
    let before = slapd.change_marks();
    done(run(&config, &whole(&["a", "new", "c"])));
    assert_untouched(&slapd, &before);
}

/// A file of changes does not hold the directory that they are for.
#[test]
fn a_file_of_changes_says_that_it_has_no_deletions_of_what_it_does_not_know() {
    let dir = scratch();
    let file = dir.path().join("changes.ldif");
    let slapd = slapd();
    let config = with(
        &config(&slapd, &json!({})),
        &json!({"server_url": format!("ldif:{}", file.display()), "bind_dn": null, "bind_password": null,
            "ldif_format": "changes"}),
    );
    let mut gone = record("b");
    gone["record"]["_sdc_deleted_at"] = json!("2026-01-01T00:00:00Z");
    let messages = [schema(), record("a"), gone, activate(), activate(), state()];
    let output = done(Run::target(&config).messages(&messages).run());
    let warnings = output.stderr.about(&json!({"setting": "ldif_format", "stream": "users"}));
    assert_eq!(warnings.len(), 2, "{}", output.stderr);
    // One is of the record, the other one of the version.
    assert_eq!(warnings.iter().filter(|w| w["deletions"] == 1).count(), 1, "{warnings:?}");
    assert_eq!(warnings.iter().filter(|w| w["deletions"].is_null()).count(), 1, "{warnings:?}");
    output.counts(&[("deleted", 0)]);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("changetype: delete"));
}

#[test]
fn each_form_of_on_delete_is_for_what_is_gone_too() {
    let slapd = slapd();
    let gone = format!("ou=gone,{USERS}");
    slapd.ldapadd(format!("dn: uid=x,uid=e,{USERS}\nobjectClass: inetOrgPerson\nuid: x\ncn: x\nsn: x\n"));
    let set = config(&slapd, &json!({"on_delete": {"set": {"title": "gone"}}}));
    done(run(&set, &whole(&["a", "b", "c", "d"]))).counts(&[("modified", 3), ("renamed", 0), ("deleted", 0)]);
    assert_eq!(left(&slapd), ALL);
    let moving = config(&slapd, &json!({"on_delete": {"move_to": gone}}));
    done(run(&moving, &whole(&["a", "b", "c", "d"]))).counts(&[("moved", 3)]);
    let tree = slapd.dump();
    for id in ["e", "f"] {
        let entry = &tree[&format!("uid={id},{gone}")];
        assert_eq!(entry["title"].first().unwrap(), b"gone");
    }
    assert!(tree.contains_key(&format!("uid=x,uid=e,{gone}")), "with what lies below: {:?}", tree.keys());
    // What is there already lies in the scope, and stays.
    let before = slapd.change_marks();
    done(run(&moving, &whole(&["a", "b", "c", "d"]))).counts(&[("unchanged", 6)]);
    assert_untouched(&slapd, &before);
    let tree = config(&slapd, &json!({"on_delete": "tree", "scope_filter": "(objectClass=*)"}));
    done(run(&tree, &whole(&["a"])));
    assert_eq!(
        left(&slapd),
        "dc=example ou=else ou=users uid=a uid=g",
        "units with nobody left in them, too"
    );
}

#[test]
fn a_file_follows_a_version_too() {
    let dir = scratch();
    let file = dir.path().join("d.ldif");
    let slapd = slapd();
    std::fs::write(&file, slapd.slapcat()).unwrap();
    let config = with(
        &config(&slapd, &json!({})),
        &json!({"server_url": format!("ldif:{}", file.display()), "bind_dn": null, "bind_password": null}),
    );
    done(run(&config, &whole(&["a", "c"]))).counts(&[("deleted", 4)]);
    let names: Vec<String> = ldap_tests::ldif::parse_file(&file).into_keys().collect();
    let uids = names.iter().filter(|dn| dn.starts_with("uid=")).count();
    assert_eq!((uids, names.len()), (3, 8), "{names:?}");
}

#[test]
fn the_pair_mirrors_what_was_deleted_at_the_source() {
    let inner = format!("ou=inner,{USERS}");
    let empty = format!("ou=empty,{USERS}");
    let seed = [unit(USERS), unit(&empty), people(50, USERS), unit(&inner), people(20, &inner)].concat();
    let source = Slapd::start(SlapdOptions::default().seed(seed));
    let mirror = Slapd::start(SlapdOptions::default());
    let tap = tap_config(&source);
    let target = with(
        &target_config(&mirror),
        &json!({"process_activate_version": true, "mapping_rules": {
            // The tap's streams are one for each unit, and one for the units, which comes first.
            "users": {"scope_base": USERS}, "inner": {"scope_base": format!("ou=inner,{USERS}")},
            "organizational_units": {"scope_base": BASE, "scope_filter": "(objectClass=organizationalUnit)"},
        }}),
    );
    let run = || {
        let (tap, target) = pipe(&tap, &target);
        tap.succeeds();
        target.succeeds();
        ldap_tests::ldif::assert_same("source", &source.dump(), "mirror", &mirror.dump());
    };
    run();
    let mut changes = String::new();
    for n in (0..50).step_by(3) {
        write!(changes, "dn: uid=person{n},{USERS}\nchangetype: delete\n\n").unwrap();
    }
    write!(changes, "dn: {empty}\nchangetype: delete\n\n").unwrap();
    write!(changes, "dn: uid=person7,{inner}\nchangetype: delete\n\n").unwrap();
    source.ldapmodify(changes);
    run();
    let before = mirror.change_marks();
    run();
    assert_untouched(&mirror, &before);
}
