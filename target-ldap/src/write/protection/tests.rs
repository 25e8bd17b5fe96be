use ldap_directory::change::{Modification, ModificationKind};
use ldap_directory::entry::Entry;
use ldap_directory::{Access, DirectoryConfig, ServerUrl};
use serde_json::{Value, json};

use super::*;
use crate::config::protection::ProtectionSettings;

const CONTENT: &str = "dn: dc=x
objectClass: domain
dc: x

dn: ou=people,dc=x
objectClass: organizationalUnit
ou: people

dn: ou=crew,ou=people,dc=x
objectClass: organizationalUnit
ou: crew

dn: uid=boss,ou=crew,ou=people,dc=x
objectClass: account
uid: boss
description: fixed

dn: uid=ada,ou=people,dc=x
objectClass: account
uid: ada

dn: ou=frozen,ou=people,dc=x
objectClass: organizationalUnit
ou: frozen
";

struct Place {
    directory: Directory,
    _folder: tempfile::TempDir,
}

async fn place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("d.ldif");
    std::fs::write(&path, CONTENT).unwrap();
    let config = DirectoryConfig::new([ServerUrl::Ldif(path)]);
    Place { directory: Directory::open(&config, Access::WRITE).await.unwrap(), _folder: folder }
}

async fn protection(place: &Place, settings: Value, bases: &[(&str, &str)]) -> Arc<Protection> {
    let settings = ProtectionSettings::parse(settings.as_object().unwrap(), "").unwrap();
    let bases: Vec<_> = bases.iter().map(|(s, d)| ((*s).to_owned(), (*d).to_owned())).collect();
    let auth = ldap_directory::AuthMethod::Anonymous;
    Protection::load(&place.directory, &auth, &settings, &bases).await.unwrap()
}

fn add(dn: &str) -> Change {
    Change::Add(Entry { dn: dn.into(), attributes: Vec::new() })
}

fn modify(dn: &str) -> Change {
    let step = Modification::new(ModificationKind::Replace, "description", vec![b"x".to_vec()]);
    Change::Modify { dn: dn.into(), changes: vec![step] }
}

fn delete(dn: &str) -> Change {
    Change::Delete { dn: dn.into() }
}

fn rename(dn: &str, new_rdn: &str, parent: Option<&str>) -> Change {
    let (new_rdn, new_superior) = (new_rdn.to_owned(), parent.map(str::to_owned));
    Change::Rename { dn: dn.into(), new_rdn, delete_old_rdn: true, new_superior }
}

/// Returns the setting that forbids a change; an empty text: the DN is not valid.
async fn forbidden(place: &Place, protection: &Protection, change: &Change) -> Option<String> {
    match protection.check(&place.directory, change, &OwnEntries::default()).await {
        Ok(_) => None,
        Err(DirectoryError::Forbidden { setting, dn, .. }) => {
            assert_eq!(dn, change.dn());
            Some(setting)
        }
        Err(DirectoryError::Operation { code: result_code::INVALID_DN_SYNTAX, .. }) => Some(String::new()),
        Err(e) => panic!("{e}"),
    }
}

async fn check(place: &Place, protection: &Protection, cases: &[(Change, Option<&str>)]) {
    for (change, expected) in cases {
        let found = forbidden(place, protection, change).await;
        assert_eq!(found.as_deref(), *expected, "{change:?}");
        if let Change::Add(entry) = change
            && let Ok(key) = DnKey::parse(&entry.dn, place.directory.schema())
        {
            assert_eq!(protection.check_addition(&key).is_none(), expected.is_some(), "{change:?}");
        }
    }
}

#[tokio::test]
async fn no_change_leaves_the_bases_however_its_dns_are_spelled() {
    let place = place().await;
    let protection = protection(&place, json!({"write_base": ["OU = People, dc=X"]}), &[]).await;
    let outside = Some("write_base");
    check(
        &place,
        &protection,
        &[
            (add("uid=a,OU=PEOPLE,DC=x"), None),
            (add("uid=a,2.5.4.11=people,dc=x"), None),
            (modify("ou=people,dc=x"), None),
            (rename("uid=ada,ou=people,dc=x", "uid=ida", None), None),
            (rename("uid=ada,ou=people,dc=x", "uid=ada", Some("ou=crew,ou=people,dc=x")), None),
            (add("uid=a,dc=x"), outside),
            (add("ou=people,dc=x,dc=y"), outside),
            (add("uid=a,ou=people\\,dc=x"), outside),
            (add("uid=a,ou=people2,dc=x"), outside),
            (modify("dc=x"), outside),
            (modify(""), outside),
            (delete("dc=x"), outside),
            (delete("uid=ada,ou=peopl,dc=x"), outside),
            // The base itself is neither renamed nor deleted.
            (delete("ou=people,dc=x"), outside),
            (rename("ou=people,dc=x", "ou=staff", None), outside),
            (rename("uid=ada,ou=people,dc=x", "uid=ada", Some("dc=x")), outside),
            (rename("uid=z,dc=x", "uid=z", Some("ou=people,dc=x")), outside),
            (rename("uid=ada,ou=people,dc=x", "uid=ada", Some("")), outside),
            // What is no DN for this program may be one for the server.
            (modify("<GUID=0c0f>"), Some("")),
            (rename("uid=ada,ou=people,dc=x", "uid=ada", Some("<WKGUID=a,dc=x>")), Some("")),
        ],
    )
    .await;
}

#[tokio::test]
async fn protected_entries_stay_and_so_do_those_above_them() {
    let place = place().await;
    let settings = json!({"protect": {"filter": "(description=FIXED)", "dns": "UID=Ada, ou=people,dc=x",
        "below": ["ou=frozen,ou=people,dc=x"]}});
    let protection = protection(&place, settings, &[("default_base_dn", "dc=x")]).await;
    let (filter, dns, below, base) =
        (Some("protect.filter"), Some("protect.dns"), Some("protect.below"), Some("default_base_dn"));
    let boss = "uid=boss,ou=crew,ou=people,dc=x";
    // More than are asked one by one.
    for _ in 0..20 {
        check(
            &place,
            &protection,
            &[
                (modify(boss), filter),
                (delete(boss), filter),
                (rename(boss, "uid=b", None), filter),
                (modify("ou=crew,ou=people,dc=x"), None),
                (delete("ou=crew,ou=people,dc=x"), filter),
                (rename("ou=crew,ou=people,dc=x", "ou=gang", None), filter),
                (add("uid=new,ou=crew,ou=people,dc=x"), None),
                (modify("uid=ada,ou=people,dc=x"), dns),
                (rename("uid=new,ou=people,dc=x", "uid=ada", None), dns),
                (add("uid=ADA,ou=people,dc=x"), dns),
                (modify("ou=people,dc=x"), None),
                (delete("ou=people,dc=x"), base.and(dns)),
                (add("uid=a,ou=b,ou=frozen,ou=people,dc=x"), below),
                (modify("ou=frozen,ou=people,dc=x"), below),
                (rename("uid=new,ou=people,dc=x", "uid=new", Some("ou=frozen,ou=people,dc=x")), below),
                (modify("dc=x"), base),
                (delete("dc=x"), base),
                (add("dc=x"), None),
            ],
        )
        .await;
    }
}

#[tokio::test]
async fn a_base_that_was_made_here_may_be_completed() {
    let place = place().await;
    let protection = protection(&place, json!({}), &[("default_base_dn", "ou=new,dc=x")]).await;
    let made = OwnEntries::default();
    let change = modify("OU=New,dc=x");
    assert!(protection.check(&place.directory, &change, &made).await.is_err());
    for dn in ["uid=a,dc=x", "ou=new,dc=x"] {
        protection.note_made(&add(dn), &place.directory, &made);
    }
    assert!(protection.check(&place.directory, &change, &made).await.is_ok());
    assert_eq!(made.lock().bases.len(), 1);
}

#[tokio::test]
async fn an_unknown_name_in_the_filter_is_an_error() {
    let place = place().await;
    let settings = json!({"protect": {"filter": "(employeTyp=x)"}});
    let settings = ProtectionSettings::parse(settings.as_object().unwrap(), "").unwrap();
    let auth = ldap_directory::AuthMethod::Anonymous;
    let error = Protection::load(&place.directory, &auth, &settings, &[]).await.unwrap_err();
    let error = error.downcast::<singer_common::plugin::settings::SettingsError>().unwrap().to_string();
    assert!(error.contains("protect.filter") && error.contains("employeTyp"), "{error}");
}

#[tokio::test]
async fn an_entry_that_the_run_itself_makes_match_may_be_completed() {
    let place = place().await;
    let protection = protection(&place, json!({"protect": {"filter": "(description=x)"}}), &[]).await;
    let (ada, boss) = ("uid=ada,ou=people,dc=x", "uid=boss,ou=crew,ou=people,dc=x");
    for change in [modify(ada), modify(boss)] {
        place.directory.apply(&change).await.unwrap();
    }
    // More than are asked one by one.
    for _ in 0..20 {
        let own = OwnEntries::default();
        protection.note_made(&modify(ada), &place.directory, &own);
        let check = async |change: &Change| protection.check(&place.directory, change, &own).await.is_ok();
        assert!(check(&modify(ada)).await && check(&rename(ada, "uid=ida", None)).await);
        assert!(!check(&modify(boss)).await, "another client made it so");
        assert!(!check(&delete("ou=people,dc=x")).await, "one below is not its own");
        protection.note_made(&rename(ada, "uid=ida", None), &place.directory, &own);
        assert!(own.is_matching(&DnKey::parse("uid=ida,ou=people,dc=x", place.directory.schema()).unwrap()));
    }
}
