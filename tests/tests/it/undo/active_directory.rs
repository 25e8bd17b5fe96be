//! Deleted accounts of Active Directory.

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::assert_same;
use ldap_tests::run::Run;
use ldap_tests::samba::Samba;
use ldap_tests::server::scratch;
use serde_json::json;

use super::{gone, schema, undo};
use crate::support::{lines, target_config, with};

#[test]
fn entries_of_active_directory_that_were_deleted_are_made_again() {
    let samba = Samba::start("");
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&target_config(&samba), &json!({"undo_file": file}));
    let users = format!("CN=Users,{}", samba.suffix());
    let entries = [
        ("contact", format!("CN=contact,{users}"), "cn: contact\nmail: c@example.test\n"),
        ("group", format!("CN=group,{users}"), "cn: group\nsAMAccountName: group\ndescription: staff\n"),
        ("organizationalUnit", format!("OU=unit,{}", samba.suffix()), "ou: unit\ndescription: place\n"),
        ("computer", format!("CN=pc,{users}"), "cn: pc\nsAMAccountName: pc$\n"),
        ("user", format!("CN=user,{users}"), "cn: user\nsAMAccountName: user\nmail: u@example.test\n"),
    ];
    samba.ldapmodify(
        entries
            .iter()
            .map(|(class, dn, more)| format!("dn: {dn}\nchangetype: add\nobjectClass: {class}\n{more}\n"))
            .collect::<Vec<_>>()
            .concat(),
    );
    let names = [
        "objectClass",
        "cn",
        "ou",
        "sAMAccountName",
        "mail",
        "description",
        "userAccountControl",
        "groupType",
    ];
    let before = samba.dump_below(samba.suffix(), &names);
    let mut messages = vec![schema()];
    messages.extend(entries.iter().map(|(_, dn, _)| gone(dn)));
    Run::target(&config).stdin(lines(&messages)).run().succeeds();
    assert_eq!(samba.dump_below(samba.suffix(), &names).len(), before.len() - entries.len());
    undo(&config, &file, &[]).succeeds();
    assert_same("before", &before, "taken back", &samba.dump_below(samba.suffix(), &names));
}

#[test]
fn a_locked_account_that_was_deleted_is_locked_again() {
    let server = Ds389::start(&Ds389Options::default());
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&target_config(&server), &json!({"undo_file": file}));
    let suffix = server.suffix().to_owned();
    let (unit, person) = (format!("ou=locked,{suffix}"), format!("uid=p,ou=locked,{suffix}"));
    let aci = "(targetattr=\"*\")(version 3.0; acl \"nobody\"; deny (all) userdn=\"ldap:///anyone\";)";
    server.ldapmodify(format!(
        "dn: {unit}\nchangetype: add\nobjectClass: organizationalUnit\nou: locked\naci: {aci}\n\n\
         dn: {person}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: p\ncn: p\nsn: p\nnsAccountLock: TRUE\n\n"
    ));
    let names = ["*", "aci", "nsAccountLock"];
    let before = server.dump_below(&unit, &names);
    assert!(before.values().any(|e| e.contains_key("aci")), "{before:?}");
    assert!(before.values().any(|e| e.contains_key("nsaccountlock")), "{before:?}");
    Run::target(&config).stdin(lines(&[schema(), gone(&unit), gone(&person)])).run().succeeds();
    undo(&config, &file, &[]).succeeds();
    assert_same("before", &before, "taken back", &server.dump_below(&unit, &names));
}
