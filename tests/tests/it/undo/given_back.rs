//! Names that the server takes out of other entries with a deleted one: an undo gives them back.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::assert_same;
use ldap_tests::run::Run;
use ldap_tests::samba::Samba;
use ldap_tests::server::{Server, scratch};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{PEOPLE, gone, people, schema, undo};
use crate::support::{lines, target_config, with};

/// Groups with several members and with one, and who is responsible for whom.
fn named() -> String {
    let dn = |n: usize| format!("uid=p{n},{PEOPLE}");
    let group = |name: &str, members: &[usize]| {
        let members = members.iter().map(|n| format!("member: {}\n", dn(*n))).collect::<Vec<_>>().concat();
        format!(
            "dn: cn={name},{PEOPLE}\nobjectClass: groupOfNames\ncn: {name}\n{members}owner: {}\n\n",
            dn(2)
        )
    };
    format!("{}{}{}", people(), group("many", &[1, 2, 3, 4]), group("one", &[2]))
}

fn slapd() -> Slapd {
    let slapd = Slapd::start(SlapdOptions { memberof: true, ..SlapdOptions::default() }.seed(named()));
    slapd.ldapmodify(format!(
        "dn: uid=p5,{PEOPLE}\nchangetype: modify\nadd: manager\nmanager: uid=p2,{PEOPLE}\n\n"
    ));
    slapd
}

/// The names in the lists of all entries.
fn names(server: &Server, below: &str) -> BTreeSet<(String, String, String)> {
    let mut all = BTreeSet::new();
    for (dn, entry) in server.dump_below(below, &["member", "owner", "manager"]) {
        for (attribute, values) in entry {
            for value in values {
                let value = String::from_utf8_lossy(&value).to_lowercase();
                all.insert((dn.to_lowercase(), attribute.clone(), value));
            }
        }
    }
    all
}

/// Waits until no list has a name: OpenLDAP's `refint` does its work after the answer.
fn wait_until_gone(server: &Server, below: &str, gone: &[String]) {
    let begun = Instant::now();
    let is_gone = |name: &str| !gone.iter().any(|gone| gone.eq_ignore_ascii_case(name));
    while !names(server, below).iter().all(|(.., name)| is_gone(name)) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", names(server, below));
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn delete(config: &Value, server: &Server, below: &str, gone_dns: &[String]) {
    let mut messages = vec![schema()];
    messages.extend(gone_dns.iter().map(|dn| gone(dn)));
    Run::target(config).stdin(lines(&messages)).run().succeeds();
    wait_until_gone(server, below, gone_dns);
}

fn config(server: &Server, file: &Path) -> Value {
    with(&target_config(server), &json!({"undo_file": file}))
}

#[test]
fn what_refint_takes_out_with_a_deleted_entry_comes_back_with_it() {
    let slapd = slapd();
    let (before, before_names) = (slapd.dump(), names(&slapd, PEOPLE));
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = config(&slapd, &file);
    delete(&config, &slapd, PEOPLE, &[format!("uid=p2,{PEOPLE}"), format!("uid=p3,{PEOPLE}")]);
    assert_ne!(names(&slapd, PEOPLE), before_names);
    for _ in 0..2 {
        undo(&config, &file, &[]).succeeds();
        assert_eq!(names(&slapd, PEOPLE), before_names);
        assert_same("before", &before, "taken back", &slapd.dump());
    }
}

#[test]
fn what_the_plugins_of_389_take_out_comes_back() {
    let options = Ds389Options { memberof: true, ..Ds389Options::default() };
    let server = Ds389::start(&options.seed(named()));
    let before = names(&server, PEOPLE);
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = config(&server, &file);
    delete(&config, &server, PEOPLE, &[format!("uid=p2,{PEOPLE}"), format!("uid=p3,{PEOPLE}")]);
    assert_ne!(names(&server, PEOPLE), before);
    for _ in 0..2 {
        undo(&config, &file, &[]).succeeds();
        assert_eq!(names(&server, PEOPLE), before);
    }
}

#[test]
fn a_tree_comes_back_with_the_names_in_it_and_outside() {
    const SUFFIX: &str = "dc=example,dc=test";
    let slapd = slapd();
    slapd.ldapadd(format!(
        "dn: cn=outside,{SUFFIX}\nobjectClass: groupOfNames\ncn: outside\nmember: uid=p1,{PEOPLE}\nmember: uid=p2,{PEOPLE}\nmember: cn=many,{PEOPLE}\n\n"
    ));
    let before = names(&slapd, SUFFIX);
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&config(&slapd, &file), &json!({"mapping_rules": {"all": {"on_delete": "tree"}}}));
    let all: Vec<String> = (0..10).map(|n| format!("uid=p{n},{PEOPLE}")).collect();
    Run::target(&config).stdin(lines(&[schema(), gone(PEOPLE)])).run().succeeds();
    wait_until_gone(&slapd, SUFFIX, &all);
    for _ in 0..2 {
        undo(&config, &file, &[]).succeeds();
        assert_eq!(names(&slapd, SUFFIX), before);
    }
}

#[test]
fn a_name_that_cannot_come_back_is_reported() {
    let slapd = slapd();
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = config(&slapd, &file);
    let (one, many) = (format!("cn=one,{PEOPLE}"), format!("cn=many,{PEOPLE}"));
    delete(&config, &slapd, PEOPLE, &[format!("uid=p2,{PEOPLE}"), format!("uid=p4,{PEOPLE}")]);
    // One group is gone, and one person was made by somebody else, with other values.
    slapd.ldapmodify(format!("dn: {one}\nchangetype: delete\n\n"));
    slapd.ldapadd(format!(
        "dn: uid=p4,{PEOPLE}\nobjectClass: inetOrgPerson\nuid: p4\ncn: another\nsn: another\n\n"
    ));
    let output = undo(&config, &file, &[]).exits(4);
    for dn in [&one, &many] {
        output.stderr.reports(&json!({"dn": dn}));
    }
    let names = names(&slapd, PEOPLE);
    let has = |group: &str, attribute: &str, n: usize| {
        names.contains(&(group.to_owned(), attribute.to_owned(), format!("uid=p{n},{PEOPLE}")))
    };
    assert!(
        has(&many, "member", 2) && has(&many, "owner", 2) && has(&format!("uid=p5,{PEOPLE}"), "manager", 2)
    );
    assert!(!has(&many, "member", 4), "{names:?}");
}

#[test]
fn a_deletion_that_the_server_refuses_gives_nothing_back() {
    let slapd = slapd();
    slapd.ldapadd(format!("dn: cn=below,uid=p2,{PEOPLE}\nobjectClass: device\ncn: below\n\n"));
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let rejects = dir.path().join("rejects.jsonl");
    let config = with(&config(&slapd, &file), &json!({"on_error": "skip", "reject_file": rejects}));
    let messages = [schema(), gone(&format!("uid=p2,{PEOPLE}")), gone(&format!("uid=p9,{PEOPLE}"))];
    Run::target(&config).stdin(lines(&messages)).run();
    slapd.ldapmodify(format!(
        "dn: cn=many,{PEOPLE}\nchangetype: modify\ndelete: member\nmember: uid=p2,{PEOPLE}\n\n"
    ));
    let before = names(&slapd, PEOPLE);
    undo(&config, &file, &[]).succeeds().logs(&json!({"taken_back": 1, "left_alone": 0}));
    assert_eq!(names(&slapd, PEOPLE), before);
}

#[test]
fn memberships_of_active_directory_come_back_and_accounts_without_a_password_are_named() {
    let samba = Samba::start("");
    let users = format!("CN=Users,{}", samba.suffix());
    let dn = |name: &str| format!("CN={name},{users}");
    let user = |name: &str| {
        format!("dn: {}\nchangetype: add\nobjectClass: user\nsAMAccountName: {name}\n\n", dn(name))
    };
    samba.ldapmodify(format!(
        "{}{}dn: {group}\nchangetype: add\nobjectClass: group\nsAMAccountName: crew\nmember: {ada}\nmember: {bob}\n\n\
         dn: {bob}\nchangetype: modify\nadd: manager\nmanager: {ada}\n\n",
        user("ada"),
        user("bob"),
        group = dn("crew"),
        ada = dn("ada"),
        bob = dn("bob"),
    ));
    let before = names(&samba, &users);
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = config(&samba, &file);
    delete(&config, &samba, &users, &[dn("ada")]);
    assert_ne!(names(&samba, &users), before);
    let output = undo(&config, &file, &[]).succeeds();
    output.stderr.reports(&json!({"dn": dn("ada"), "attribute": "unicodePwd"}));
    assert_eq!(names(&samba, &users), before);
    undo(&config, &file, &[]).succeeds();
    assert_eq!(names(&samba, &users), before);
}
