//! Tests against directories in files.

use super::*;
use ldap_directory::entry::Attribute;
use ldap_directory::{Access, DirectoryConfig, ServerUrl};
use std::fmt::Write as _;

const MEMBER: &str = r"cn=Smith\, Jane,ou=people,dc=x";

fn groups(nested: Nested) -> GroupsConfig {
    GroupsConfig {
        base_dn: "ou=groups,dc=x".into(),
        filter: Filter::parse("(|(objectClass=groupOfNames)(objectClass=posixGroup))").unwrap().into(),
        nested,
        scim: Vec::new(),
        unknown_members: crate::config::UnknownMembers::default(),
    }
}

fn rule(role: &str, groups: &[&str]) -> RoleRule {
    let groups = groups.iter().map(|dn| (*dn).to_owned()).collect();
    RoleRule { role: RoleName::Groups { role: role.into(), groups }, scopes: vec![Scope::Search] }
}

fn below(dn: &str) -> RoleRule {
    let role = RoleName::Below { attribute: "cn".into(), below: dn.into() };
    RoleRule { role, scopes: Vec::new() }
}

/// A directory of groups (DN, members), in a file.
async fn directory(groups: &[(&str, &[&str])]) -> (Directory, tempfile::NamedTempFile) {
    let mut ldif = String::new();
    for dn in ["dc=x", "ou=people,dc=x", "ou=groups,dc=x", "ou=roles,dc=x"] {
        write!(ldif, "dn: {dn}\nobjectClass: extensibleObject\n\n").unwrap();
    }
    for (dn, members) in groups {
        let cn = Dn::parse(dn).unwrap().rdns[0].avas[0].value.clone();
        let cn = String::from_utf8(cn).unwrap();
        write!(ldif, "dn: {dn}\nobjectClass: groupOfNames\nobjectClass: posixGroup\ncn: {cn}\n").unwrap();
        for member in *members {
            let name = if member.contains('=') { "member" } else { "memberUid" };
            writeln!(ldif, "{name}: {member}").unwrap();
        }
        ldif.push('\n');
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, ldif).unwrap();
    let config = DirectoryConfig::new([ServerUrl::Ldif(file.path().to_owned())]);
    (Directory::open(&config, Access::Read).await.unwrap(), file)
}

fn user(dn: &str) -> Entry {
    Entry { dn: dn.into(), attributes: vec![Attribute::new("uid", vec![b"jane".to_vec()])] }
}

async fn found(all: &[(&str, &[&str])], nested: Nested, user_dn: &str) -> Vec<String> {
    let (directory, _file) = directory(all).await;
    let groups = groups(nested);
    let bases = bases(&groups, &[below("ou=roles,dc=x")], directory.schema());
    let search = GroupSearch { directory: &directory, groups: &groups, bases, attributes: vec!["cn"] };
    search.of_user(&user(user_dn)).await.unwrap().into_values().map(|group| group.dn).collect()
}

#[tokio::test]
async fn trap_03_hard_dns_are_members() {
    for dn in [
        MEMBER,
        "cn=Bob (ext),ou=people,dc=x",
        r"cn=Back\\slash *,ou=people,dc=x",
        r"cn=Plus \+ One+employeeNumber=17,ou=people,dc=x",
        r"cn=\#hash\;\<x\>=\22y\22,ou=people,dc=x",
        "cn=Émile 東京,ou=people,dc=x",
    ] {
        let all: &[(&str, &[&str])] =
            &[("cn=a,ou=groups,dc=x", &[dn]), ("cn=b,ou=groups,dc=x", &["cn=other,dc=x"])];
        assert_eq!(found(all, Nested::Auto, dn).await, ["cn=a,ou=groups,dc=x"], "{dn}");
    }
    // Spelled otherwise, and by uid.
    let spelled: &[(&str, &[&str])] = &[
        ("cn=a,ou=groups,dc=x", &[r"CN=Smith\2c Jane , OU=People,DC=X"]),
        ("cn=b,ou=groups,dc=x", &["jane"]),
        ("cn=c,ou=groups,dc=x", &["janet"]),
    ];
    assert_eq!(found(spelled, Nested::Auto, MEMBER).await, ["cn=a,ou=groups,dc=x", "cn=b,ou=groups,dc=x"]);
}

#[tokio::test]
async fn trap_14_groups_in_groups_are_followed_and_circles_end() {
    let all: &[(&str, &[&str])] = &[
        ("cn=a,ou=groups,dc=x", &[MEMBER, "cn=c,ou=groups,dc=x"]),
        ("cn=b,ou=groups,dc=x", &["cn=a,ou=groups,dc=x"]),
        ("cn=c,ou=groups,dc=x", &["cn=b,ou=groups,dc=x"]),
        ("cn=role,ou=roles,dc=x", &["CN=C,ou=groups,dc=x"]),
        ("cn=none,ou=groups,dc=x", &["cn=x"]),
    ];
    assert_eq!(
        found(all, Nested::Auto, MEMBER).await,
        ["cn=a,ou=groups,dc=x", "cn=b,ou=groups,dc=x", "cn=c,ou=groups,dc=x", "cn=role,ou=roles,dc=x"]
    );
    assert_eq!(found(all, Nested::Off, MEMBER).await, ["cn=a,ou=groups,dc=x"]);
}

#[tokio::test]
async fn trap_14_the_depth_is_bounded() {
    let dn = |n: usize| format!("cn=g{n:02},ou=groups,dc=x");
    let owned: Vec<(String, String)> =
        (0..40).map(|n| (dn(n), if n == 0 { MEMBER.to_owned() } else { dn(n - 1) })).collect();
    let members: Vec<[&str; 1]> = owned.iter().map(|(_, member)| [member.as_str()]).collect();
    let all: Vec<(&str, &[&str])> =
        owned.iter().zip(&members).map(|((dn, _), member)| (dn.as_str(), member.as_slice())).collect();
    assert_eq!(found(&all, Nested::Auto, MEMBER).await.len(), MOST_LEVELS);
}

fn of(rules: &[RoleRule], dns: &[&str]) -> Vec<String> {
    let schema = Schema::standard();
    let group = |dn: &&str| {
        let cn = Dn::parse(dn).unwrap().rdns[0].avas[0].value.clone();
        let attributes = vec![Attribute::new("cn", vec![b"zzz".to_vec(), cn])];
        (DnKey::parse(dn, schema).unwrap(), Entry { dn: (*dn).to_owned(), attributes })
    };
    roles(rules, &dns.iter().map(group).collect(), schema).0
}

#[test]
fn trap_13_a_role_is_given_by_the_dn_exactly() {
    let admin = rule("admin", &["cn=admins,ou=groups,dc=x"]);
    let has = |dn: &str| !of(std::slice::from_ref(&admin), &[dn]).is_empty();
    assert!(has("CN=Admins , ou=GROUPS,dc=x"));
    for dn in [
        "cn=admins,ou=other,dc=x",
        "cn=not-admins,ou=groups,dc=x",
        "cn=admins,ou=groups,dc=x,dc=y",
        r"cn=cn\=admins\,ou\=groups\,dc\=x,dc=x",
        "cn=a,cn=admins,ou=groups,dc=x",
    ] {
        assert!(!has(dn), "{dn}");
    }
    let rules = [below("ou=roles,dc=x")];
    let given = of(
        &rules,
        &["cn=Auditor,ou=roles,dc=x", "cn=deep,cn=a,OU=Roles,dc=x", "ou=roles,dc=x", "cn=x,ou=noroles,dc=x"],
    );
    // The second value of cn gives nothing.
    assert_eq!(given, ["Auditor", "deep"]);
}

#[test]
fn a_role_of_named_groups_is_not_given_by_the_name_of_another_one() {
    let rules = [
        below("ou=roles,dc=x"),
        rule("admin", &["cn=staff,ou=groups,dc=x", "cn=admin,ou=core,ou=roles,dc=x"]),
    ];
    for (dns, expected) in [
        (&["cn=admin,ou=roles,dc=x"][..], &[][..]),
        (&["cn=ADMIN,ou=roles,dc=x"], &[]),
        (&["cn=admin,ou=roles,dc=x", "cn=auditor,ou=roles,dc=x"], &["auditor"]),
        (&["cn=admin,ou=core,ou=roles,dc=x"], &["admin"]),
        (&["cn=staff,ou=groups,dc=x"], &["admin"]),
        (&["cn=administrator,ou=roles,dc=x"], &["administrator"]),
    ] {
        assert_eq!(of(&rules, dns), expected, "{dns:?}");
    }
}

#[test]
fn roles_outside_the_base_of_the_groups_are_searched_for() {
    use ldap_directory::Scope::{Base as Entry, Subtree};
    let rules = [
        below("ou=roles,dc=x"),
        below("ou=sub,OU=Roles,dc=x"),
        rule("a", &["cn=a,ou=groups,dc=x", "cn=b,ou=elsewhere,dc=x", "cn=c,ou=roles,dc=x"]),
    ];
    let found = bases(&groups(Nested::Auto), &rules, Schema::standard());
    let expected =
        [("ou=groups,dc=x", Subtree), ("ou=roles,dc=x", Subtree), ("cn=b,ou=elsewhere,dc=x", Entry)];
    assert_eq!(found, expected.map(|(dn, scope)| Base { dn: dn.to_owned(), scope }));
}
