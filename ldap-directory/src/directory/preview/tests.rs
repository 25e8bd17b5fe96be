use std::io::Write as _;

use super::*;
use crate::directory::Access;
use crate::entry::Attribute;

const TREE: &str = "dn: dc=x\nobjectClass: domain\ndc: x\n\n\
    dn: ou=a,dc=x\nobjectClass: organizationalUnit\nou: a\n\n\
    dn: cn=one,ou=a,dc=x\nobjectClass: device\ncn: one\n\n\
    dn: cn=two,ou=a,dc=x\nobjectClass: device\ncn: two\n";

async fn names(directory: &Directory, base: &str, scope: Scope) -> Vec<String> {
    let mut search = directory.search(SearchRequest::new(base, scope, EVERYTHING, &["1.1"])).await.unwrap();
    let mut found = Vec::new();
    while let Some(entry) = search.next_entry().await.unwrap() {
        found.push(entry.dn);
    }
    found.sort();
    found
}

fn device(dn: &str) -> Change {
    let class = Attribute::new("objectClass", vec![b"device".to_vec()]);
    Change::Add(Entry { dn: dn.into(), attributes: vec![class] })
}

#[tokio::test]
async fn what_would_be_is_seen_and_what_is_stays() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(TREE.as_bytes()).unwrap();
    let below = Directory::Ldif(LdifDirectory::open(file.path(), Access::Read).unwrap());
    let before = names(&below, "dc=x", Scope::Subtree).await;
    let preview = Directory::preview(below.clone());
    assert_eq!(names(&preview, "dc=x", Scope::Subtree).await, before);
    // A refused change copies entries into memory, which are still found.
    assert!(preview.apply(&device("cn=two,ou=a,dc=x")).await.is_err());
    assert_eq!(names(&preview, "dc=x", Scope::Subtree).await, before);

    let modify = |values: &[&[u8]]| Change::Modify {
        dn: "cn=one,ou=a,dc=x".into(),
        changes: vec![Modification::new(
            ModificationKind::Add,
            "description",
            values.iter().map(|v| v.to_vec()).collect(),
        )],
    };
    preview.apply(&modify(&[b"x"])).await.unwrap();
    let one = preview.read("CN=one,ou=a,dc=x", &["description"]).await.unwrap().unwrap();
    assert_eq!(one.first_text("description"), Some("x"));
    assert_eq!(
        preview.apply(&modify(&[b"x"])).await.unwrap_err().code(),
        Some(20),
        "a second change sees the first"
    );

    let code = |result: Result<(), DirectoryError>| result.unwrap_err().code().unwrap();
    assert_eq!(code(preview.apply(&device("cn=two,ou=a,dc=x")).await), 68);
    assert_eq!(code(preview.apply(&device("cn=x,ou=none,dc=x")).await), 32);
    assert_eq!(code(preview.apply(&Change::Delete { dn: "ou=a,dc=x".into() }).await), 66);
    for name in ["cn=one", "cn=two"] {
        preview.apply(&Change::Delete { dn: format!("{name},ou=a,dc=x") }).await.unwrap();
    }
    assert_eq!(code(preview.apply(&Change::Delete { dn: "cn=one,ou=a,dc=x".into() }).await), 32);
    assert_eq!(names(&preview, "ou=a,dc=x", Scope::OneLevel).await, [""; 0]);
    preview.apply(&device("cn=three,ou=a,dc=x")).await.unwrap();
    preview
        .apply(&Change::Rename {
            dn: "ou=a,dc=x".into(),
            new_rdn: "ou=b".into(),
            delete_old_rdn: true,
            new_superior: None,
        })
        .await
        .unwrap();
    assert_eq!(names(&preview, "dc=x", Scope::Subtree).await, ["cn=three,ou=b,dc=x", "dc=x", "ou=b,dc=x"]);
    assert_eq!(names(&preview, "ou=b,dc=x", Scope::OneLevel).await, ["cn=three,ou=b,dc=x"]);
    assert!(preview.read("ou=a,dc=x", &["1.1"]).await.unwrap().is_none());
    assert!(preview.search(SearchRequest::new("ou=a,dc=x", Scope::Subtree, EVERYTHING, &[])).await.is_err());
    assert_eq!(names(&below, "dc=x", Scope::Subtree).await, before, "nothing was written");
}

#[tokio::test]
async fn references_follow_renames_in_their_order() {
    let tree = "dn: dc=x\nobjectClass: domain\ndc: x\n\n\
        dn: ou=a,dc=x\nobjectClass: organizationalUnit\nou: a\n\n\
        dn: cn=one,ou=a,dc=x\nobjectClass: device\ncn: one\n\n\
        dn: cn=two,ou=a,dc=x\nobjectClass: device\ncn: two\n\n\
        dn: cn=g,dc=x\nobjectClass: groupOfNames\ncn: g\nmember: cn=one,ou=a,dc=x\nowner: cn=two,ou=a,dc=x\n\n\
        dn: cn=h,dc=x\nobjectClass: groupOfNames\ncn: h\nmember: cn=two,ou=a,dc=x\n";
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(tree.as_bytes()).unwrap();
    let below = Directory::Ldif(LdifDirectory::open(file.path(), Access::Read).unwrap());
    let rename = |dn: &str, new_rdn: &str| Change::Rename {
        dn: dn.into(),
        new_rdn: new_rdn.into(),
        delete_old_rdn: true,
        new_superior: None,
    };
    let values = async |preview: &Directory, dn: &str, name: &str| {
        let entry = preview.read(dn, &[name]).await.unwrap().unwrap();
        entry.values(name).iter().map(|v| String::from_utf8(v.clone()).unwrap()).collect::<Vec<_>>()
    };
    for (which, owner) in [
        (Some(MaintainedReferences::All), "cn=one,ou=b,dc=x"),
        (Some(MaintainedReferences::Named(vec!["member".into()])), "cn=two,ou=a,dc=x"),
    ] {
        let preview = Directory::Preview(PreviewDirectory::new(below.clone()).with_references(which));
        // An exchange of names, by way of a third one.
        preview.apply(&rename("cn=one,ou=a,dc=x", "cn=three")).await.unwrap();
        assert_eq!(values(&preview, "cn=g,dc=x", "member").await, ["cn=three,ou=a,dc=x"]);
        preview.apply(&rename("cn=two,ou=a,dc=x", "cn=one")).await.unwrap();
        // A value that is written now is what it says, also after the renames before it.
        let change = Change::Modify {
            dn: "cn=h,dc=x".into(),
            changes: vec![
                Modification::new(ModificationKind::Delete, "member", vec![b"cn=one,ou=a,dc=x".to_vec()]),
                Modification::new(ModificationKind::Add, "member", vec![b"cn=two,ou=a,dc=x".to_vec()]),
            ],
        };
        preview.apply(&change).await.unwrap();
        preview.apply(&rename("cn=three,ou=a,dc=x", "cn=two")).await.unwrap();
        assert_eq!(values(&preview, "cn=h,dc=x", "member").await, ["cn=two,ou=a,dc=x"]);
        preview.apply(&rename("ou=a,dc=x", "ou=b")).await.unwrap();
        assert_eq!(values(&preview, "cn=g,dc=x", "member").await, ["cn=two,ou=b,dc=x"]);
        assert_eq!(values(&preview, "cn=g,dc=x", "owner").await, [owner]);
        assert_eq!(values(&preview, "cn=h,dc=x", "member").await, ["cn=two,ou=b,dc=x"]);
    }
    let preview = Directory::preview(below);
    preview.apply(&rename("cn=one,ou=a,dc=x", "cn=three")).await.unwrap();
    assert_eq!(values(&preview, "cn=g,dc=x", "member").await, ["cn=one,ou=a,dc=x"]);
}
