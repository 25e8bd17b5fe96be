use super::*;

fn entry(dn: &str, attributes: &[(&str, &[&str])]) -> Entry {
    let attributes = attributes
        .iter()
        .map(|(n, vs)| Attribute::new(*n, vs.iter().map(|v| v.as_bytes().to_vec()).collect()))
        .collect();
    Entry { dn: dn.into(), attributes }
}

fn store() -> Store {
    let mut store = Store::default();
    for e in [
        entry("dc=x,dc=test", &[("dc", &["x"])]),
        entry("ou=a,dc=x,dc=test", &[("ou", &["a"])]),
        entry("cn=One\\, Two,ou=a,dc=x,dc=test", &[("cn", &["One, Two"]), ("sn", &["S"])]),
        entry("ou=b,dc=x,dc=test", &[("ou", &["b"])]),
    ] {
        store.apply(&Change::Add(e), Schema::standard()).unwrap();
    }
    store
}

fn code(result: Result<(), DirectoryError>) -> Option<u32> {
    result.err().and_then(|e| e.code())
}

#[test]
fn a_tree_is_kept_whole() {
    let schema = Schema::standard();
    let mut s = store();
    assert_eq!(code(s.apply(&Change::Add(entry("OU=A,dc=x,dc=test", &[])), schema)), Some(68));
    assert_eq!(code(s.apply(&Change::Add(entry("cn=y,ou=none,dc=x,dc=test", &[])), schema)), Some(32));
    assert_eq!(code(s.apply(&Change::Delete { dn: "ou=a,dc=x,dc=test".into() }, schema)), Some(66));
    assert_eq!(s.naming_contexts(), ["dc=x,dc=test"]);
}

#[test]
fn a_rename_takes_the_subtree_and_its_spelling_along() {
    let schema = Schema::standard();
    let mut s = store();
    let rename = Change::Rename {
        dn: "ou=a,dc=x,dc=test".into(),
        new_rdn: "ou=c".into(),
        delete_old_rdn: true,
        new_superior: Some("ou=b,dc=x,dc=test".into()),
    };
    s.apply(&rename, schema).unwrap();
    let dns: Vec<&str> = s.entries().map(CompactEntry::dn).collect();
    assert_eq!(
        dns,
        [
            "dc=x,dc=test",
            "ou=b,dc=x,dc=test",
            "ou=c,ou=b,dc=x,dc=test",
            "cn=One\\, Two,ou=c,ou=b,dc=x,dc=test"
        ]
    );
    let moved = s.entries().find(|e| e.dn().starts_with("ou=c")).unwrap().to_entry();
    assert_eq!(moved.values("ou"), [b"c".to_vec()]);
}

#[test]
fn modifications_compare_by_equality_and_change_all_or_nothing() {
    let schema = Schema::standard();
    let mut s = store();
    let dn = "cn=one\\2c two,ou=A,dc=x,dc=test".to_owned();
    let modify = |changes| Change::Modify { dn: dn.clone(), changes };
    let m = |kind, name: &str, values: &[&str]| {
        Modification::new(kind, name, values.iter().map(|v| v.as_bytes().to_vec()).collect())
    };
    let twice = modify(vec![
        m(ModificationKind::Add, "description", &["d"]),
        m(ModificationKind::Add, "surname", &["  s "]),
    ]);
    assert_eq!(code(s.apply(&twice, schema)), Some(20));
    assert!(s.entries().all(|e| e.to_entry().attribute("description").is_none()));
    s.apply(&modify(vec![m(ModificationKind::Delete, "SN", &["s"])]), schema).unwrap();
    assert!(s.entries().all(|e| e.to_entry().attribute("sn").is_none()));
    assert_eq!(code(s.apply(&modify(vec![m(ModificationKind::Delete, "sn", &[])]), schema)), Some(16));
}
