//! The writer on a file, which behaves like a server with the standard schema.

use std::path::Path;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::filter::Filter;
use ldap_directory::{Access, Directory, DirectoryConfig, ServerUrl};
use serde_json::{Map, Value, json};

use super::*;
use crate::config::Config;

const CONTENT: &str = "dn: dc=x
objectClass: domain
dc: x

dn: ou=people,dc=x
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=x
objectClass: organizationalUnit
ou: groups

dn: uid=ada,ou=people,dc=x
objectClass: inetOrgPerson
uid: ada
cn: Ada
sn: Lovelace
mail: ada@x
entryUUID: 11111111-1111-1111-1111-111111111111

dn: uid=eve,ou=people,dc=x
objectClass: inetOrgPerson
uid: eve
cn: Eve
sn: Other
entryUUID: 22222222-2222-2222-2222-222222222222

dn: cn=staff,ou=groups,dc=x
objectClass: groupOfNames
cn: staff
member: uid=ada,ou=people,dc=x
entryUUID: 33333333-3333-3333-3333-333333333333

";

struct Trial {
    folder: tempfile::TempDir,
    directory: Directory,
    writer: Writer,
}

impl Trial {
    async fn new(write: Value) -> Trial {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("d.ldif");
        std::fs::write(&file, CONTENT).unwrap();
        let connection = DirectoryConfig::new([ServerUrl::Ldif(file.clone())]);
        let directory = Directory::open(&connection, Access::WRITE).await.unwrap();
        let resolved = crate::settings::TABLE.resolve(&[], &std::collections::BTreeMap::new()).unwrap();
        let mut values = resolved.values;
        let mut settings = write.as_object().unwrap().clone();
        settings.insert("undo_dir".into(), folder.path().join("undo").to_str().unwrap().into());
        values.insert("server_url".into(), format!("ldif:{}", file.display()).into());
        values.insert(
            "users".into(),
            json!({"base_dn": "ou=people,dc=x", "filter": "(&(objectClass=person)(!(employeeType=gone)))", "scim": {"userName": "uid", "emails": "mail"}}),
        );
        values.insert("groups".into(), json!({"base_dn": "ou=groups,dc=x"}));
        values.insert("write".into(), settings.into());
        let config = Config::from_settings(&values, &mut Vec::new()).unwrap();
        let writer = Writer::new(&config, std::sync::Arc::default()).unwrap();
        Trial { folder, directory, writer }
    }

    async fn upsert(&self, record: Value, subject: Subject) -> Result<WriteOutcome, WriteError> {
        self.with(record, subject, WriteOptions::default()).await
    }

    async fn with(
        &self,
        record: Value,
        subject: Subject,
        options: WriteOptions,
    ) -> Result<WriteOutcome, WriteError> {
        let record: Map<String, Value> = record.as_object().unwrap().clone();
        self.writer.upsert(&self.directory, ResourceKind::Users, record, subject, options).await
    }

    async fn values(&self, dn: &str, name: &str) -> Vec<String> {
        let entry = self.directory.read(dn, &[name]).await.unwrap();
        let values = entry.map(|entry| entry.values(name).to_vec()).unwrap_or_default();
        values.into_iter().map(|v| String::from_utf8(v).unwrap()).collect()
    }

    async fn exists(&self, dn: &str) -> bool {
        self.directory.read(dn, &["1.1"]).await.unwrap().is_some()
    }

    fn undo_files(&self) -> usize {
        fn count(folder: &Path) -> usize {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries
                .map(|e| {
                    if e.path().is_dir() {
                        count(&e.path())
                    } else {
                        usize::from(e.path().extension().is_some_and(|x| x == "ldif"))
                    }
                })
                .sum()
        }
        count(&self.folder.path().join("undo"))
    }
}

fn existing(dn: &str, number: u8) -> Subject {
    let value = format!("{0}-{1}-{1}-{1}-{2}", digits(number, 8), digits(number, 4), digits(number, 12));
    Subject::Existing(EntryRef {
        dn: dn.into(),
        id: EntryId { attribute: "entryUUID".into(), value: value.into_bytes() },
    })
}

fn digits(number: u8, count: usize) -> String {
    number.to_string().repeat(count)
}

const ADA: &str = "uid=ada,ou=people,dc=x";

#[tokio::test(flavor = "multi_thread")]
async fn a_new_entry_is_added_once_and_completed() {
    let trial = Trial::new(json!({})).await;
    let record = json!({"uid": "grace", "mail": ["g@x", "h@x"]});
    let planned = trial
        .with(record.clone(), Subject::New, WriteOptions { dry_run: true, ..Default::default() })
        .await
        .unwrap();
    assert_eq!((planned.effect, planned.undo_file), (Effect::Added, None));
    assert!(planned.plan.contains("changetype: add") && !trial.exists("uid=grace,ou=people,dc=x").await);
    let made = trial.upsert(record.clone(), Subject::New).await.unwrap();
    assert_eq!((made.effect, made.dn.as_str()), (Effect::Added, "uid=grace,ou=people,dc=x"));
    assert_eq!(trial.values(&made.dn, "sn").await, ["grace"], "its class requires it");
    let undo = trial.folder.path().join("undo").join(made.undo_file.unwrap());
    assert!(std::fs::read_to_string(undo).unwrap().contains("changetype: delete"));
    let error = trial.upsert(record, Subject::New).await.unwrap_err();
    assert_eq!((error.kind.status(), error.kind.scim_type()), (409, Some("uniqueness")));
    // The same name in another entry.
    let error = trial.upsert(json!({"uid": "ADA"}), existing("uid=eve,ou=people,dc=x", 2)).await.unwrap_err();
    assert_eq!((error.kind, error.attribute.as_deref()), (WriteErrorKind::Taken, Some("uid")));
    assert_eq!(trial.undo_files(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_entry_is_changed_renamed_and_never_made_again() {
    let trial = Trial::new(json!({})).await;
    let outcome = trial.upsert(json!({"uid": "ada", "mail": "ada@x"}), existing(ADA, 1)).await.unwrap();
    assert_eq!((outcome.effect, outcome.undo_file), (Effect::Unchanged, None));
    let outcome =
        trial.upsert(json!({"uid": "ada", "mail": null, "cn": "A"}), existing(ADA, 1)).await.unwrap();
    assert_eq!((outcome.effect, outcome.changes.len()), (Effect::Modified, 1));
    assert_eq!(
        (trial.values(ADA, "mail").await.len(), trial.values(ADA, "cn").await),
        (0, vec!["A".to_owned()])
    );
    let outcome = trial.upsert(json!({"uid": "lovelace"}), existing(ADA, 1)).await.unwrap();
    assert_eq!((outcome.effect, outcome.dn.as_str()), (Effect::Renamed, "uid=lovelace,ou=people,dc=x"));
    // By its identifier, though the DN is an old one.
    let outcome = trial.upsert(json!({"uid": "lovelace", "cn": "B"}), existing(ADA, 1)).await.unwrap();
    assert_eq!((outcome.effect, outcome.dn.as_str()), (Effect::Modified, "uid=lovelace,ou=people,dc=x"));
    let error = trial.upsert(json!({"uid": "ada"}), existing(ADA, 9)).await.unwrap_err();
    assert_eq!(error.kind, WriteErrorKind::NotFound);
    assert!(!trial.exists(ADA).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_for_callers_is_refused_with_its_attribute() {
    let trial = Trial::new(json!({})).await;
    for (record, kind, attribute) in [
        (json!({"uid": "a", "userPassword": "x"}), WriteErrorKind::Mutability, Some("userPassword")),
        (json!({"uid": "a", "entryUUID": "x"}), WriteErrorKind::Mutability, Some("entryUUID")),
        (json!({"uid": "a", "objectClass": "device"}), WriteErrorKind::Mutability, Some("objectClass")),
        (json!({"uid": "a", "memberOf": "cn=staff"}), WriteErrorKind::Mutability, Some("memberOf")),
        (json!({"uid": "a", "active": false}), WriteErrorKind::Mutability, Some("active")),
        (json!({"uid": "a", "mail": {"x": 1}}), WriteErrorKind::Invalid, Some("mail")),
        (json!({"cn": "a"}), WriteErrorKind::Invalid, None),
        (json!({"uid": ""}), WriteErrorKind::Invalid, None),
    ] {
        let error = trial.upsert(record.clone(), Subject::New).await.unwrap_err();
        assert_eq!((error.kind, error.attribute.as_deref()), (kind, attribute), "{record} {error}");
    }
    assert_eq!(trial.undo_files(), 0);
    // An enabled account is nothing special where accounts cannot be locked.
    assert!(trial.upsert(json!({"uid": "a", "active": true}), Subject::New).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_set_and_shown_nowhere() {
    let trial = Trial::new(json!({})).await;
    let made = trial.upsert(json!({"uid": "a", "password": "Geheim-1234"}), Subject::New).await.unwrap();
    let stored = trial.values(&made.dn, "userPassword").await;
    assert!(stored[0].starts_with("{SSHA512}"));
    let shown = format!("{made:?}");
    assert!(!shown.contains("Geheim") && !shown.contains("SSHA512"), "{shown}");
    let undo = trial.folder.path().join("undo").join(made.undo_file.unwrap());
    assert!(!std::fs::read_to_string(undo).unwrap().contains("SSHA512"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_does_not_hold_lets_nothing_be_written() {
    let trial = Trial::new(json!({})).await;
    let options =
        |value: &str| WriteOptions { condition: Some(Filter::equality("mail", value)), ..Default::default() };
    let error = trial.with(json!({"uid": "ada", "cn": "B"}), existing(ADA, 1), options("other@x")).await;
    assert_eq!(error.unwrap_err().kind.status(), 412);
    assert_eq!(trial.values(ADA, "cn").await, ["Ada"]);
    // It is about the first change: the second one comes after a rename.
    let record = json!({"uid": "al", "mail": "new@x"});
    let outcome = trial.with(record, existing(ADA, 1), options("ada@x")).await.unwrap();
    // The third is that of the group with the old name.
    assert_eq!(outcome.changes.len(), 3);
    assert_eq!(trial.values(&outcome.dn, "mail").await, ["new@x"]);
    assert_eq!(trial.values("cn=staff,ou=groups,dc=x", "member").await, [outcome.dn.as_str()]);
}

async fn delete(trial: &Trial, kind: ResourceKind, subject: Subject) -> Result<WriteOutcome, WriteError> {
    let Subject::Existing(entry) = subject else { panic!() };
    trial.writer.delete(&trial.directory, kind, entry, WriteOptions::default()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_follow_the_rule_and_the_guard() {
    let trial = Trial::new(json!({"max_deletes": 1})).await;
    let outcome = delete(&trial, ResourceKind::Users, existing(ADA, 1)).await.unwrap();
    assert_eq!((outcome.effect, outcome.id), (Effect::Deleted, None));
    let eve = existing("uid=eve,ou=people,dc=x", 2);
    let error = delete(&trial, ResourceKind::Users, eve.clone()).await.unwrap_err();
    assert_eq!((error.kind.status(), error.kind.code()), (429, "max_deletes"));
    assert!(trial.exists("uid=eve,ou=people,dc=x").await);
    let error = delete(&trial, ResourceKind::Users, existing(ADA, 1)).await.unwrap_err();
    assert_eq!(error.kind, WriteErrorKind::NotFound);

    let rules = json!({"users": {"on_delete": {"set": {"title": "gone"}}}});
    let trial = Trial::new(json!({"mapping_rules": rules})).await;
    let error = delete(&trial, ResourceKind::Users, eve.clone()).await.unwrap_err();
    assert_eq!(error.kind, WriteErrorKind::Misconfigured, "she would still be a user");
    assert!(trial.values("uid=eve,ou=people,dc=x", "title").await.is_empty());

    let rules = json!({"users": {"on_delete": {"set": {"employeeType": "gone"}}}});
    let trial = Trial::new(json!({"max_deletes": 1, "mapping_rules": rules})).await;
    let outcome = delete(&trial, ResourceKind::Users, eve.clone()).await.unwrap();
    assert_eq!(outcome.effect, Effect::Modified);
    assert_eq!(trial.values("uid=eve,ou=people,dc=x", "employeeType").await, ["gone"]);
    let error = delete(&trial, ResourceKind::Users, existing(ADA, 1)).await.unwrap_err();
    assert_eq!(error.kind.status(), 429, "it counts like a deletion");

    let rules = json!({"users": {"on_delete": {"move_to": "ou=elsewhere,dc=x"}}});
    let trial = Trial::new(json!({"mapping_rules": rules})).await;
    assert!(delete(&trial, ResourceKind::Users, eve.clone()).await.is_err());
    let rules = json!({"users": {"operations": {"delete": false}}});
    let trial = Trial::new(json!({"mapping_rules": rules})).await;
    assert_eq!(delete(&trial, ResourceKind::Users, eve).await.unwrap_err().kind, WriteErrorKind::NotAllowed);
}

async fn members(trial: &Trial, kind: ModificationKind, names: &[&str]) -> Result<WriteOutcome, WriteError> {
    let values = names.iter().map(|name| format!("uid={name},ou=people,dc=x").into_bytes()).collect();
    let dn = "cn=staff,ou=groups,dc=x";
    let Subject::Existing(entry) = existing(dn, 3) else { panic!() };
    let changes =
        vec![Change::Modify { dn: dn.into(), changes: vec![Modification::new(kind, "member", values)] }];
    let options = WriteOptions::default();
    trial.writer.apply(&trial.directory, ResourceKind::Groups, entry, changes, options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn single_members_are_added_and_removed() {
    let trial = Trial::new(json!({})).await;
    let group = "cn=staff,ou=groups,dc=x";
    let outcome = members(&trial, ModificationKind::Add, &["ada", "eve", "EVE"]).await.unwrap();
    assert_eq!(outcome.effect, Effect::Modified);
    let Change::Modify { changes, .. } = &outcome.changes[0] else { panic!() };
    assert_eq!(changes[0].values, [b"uid=eve,ou=people,dc=x".to_vec()], "what is there already is left out");
    let outcome = members(&trial, ModificationKind::Add, &["eve"]).await.unwrap();
    assert_eq!((outcome.effect, outcome.undo_file), (Effect::Unchanged, None));
    assert_eq!(members(&trial, ModificationKind::Delete, &["none"]).await.unwrap().effect, Effect::Unchanged);
    members(&trial, ModificationKind::Delete, &["ada"]).await.unwrap();
    assert_eq!(trial.values(group, "member").await, ["uid=eve,ou=people,dc=x"]);
    let error = members(&trial, ModificationKind::Delete, &[]).await.unwrap_err();
    assert_eq!(error.kind.status(), 400, "a removal without values would empty the group");
    let Subject::Existing(entry) = existing(group, 3) else { panic!() };
    for name in ["cn", "objectClass", "userPassword", "entryUUID"] {
        let step = Modification::new(ModificationKind::Add, name, vec![b"x".to_vec()]);
        let change = Change::Modify { dn: group.into(), changes: vec![step] };
        let options = WriteOptions::default();
        let error = trial
            .writer
            .apply(&trial.directory, ResourceKind::Groups, entry.clone(), vec![change], options)
            .await
            .unwrap_err();
        assert_eq!((error.kind, error.attribute.as_deref()), (WriteErrorKind::Mutability, Some(name)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_undo_nothing_is_written() {
    let trial = Trial::new(json!({})).await;
    let folder = trial.folder.path().join("undo");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "a file where the folder was").unwrap();
    let error = trial.upsert(json!({"uid": "a"}), Subject::New).await.unwrap_err();
    assert_eq!((error.kind.status(), error.kind.code()), (507, "undo_unavailable"));
    assert!(!trial.exists("uid=a,ou=people,dc=x").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_at_once_are_all_made() {
    let trial = std::sync::Arc::new(Trial::new(json!({})).await);
    let tasks: Vec<_> = (0..20)
        .map(|n| {
            let trial = trial.clone();
            tokio::spawn(async move {
                trial.upsert(json!({"uid": "ada", "title": format!("t{n}")}), existing(ADA, 1)).await.unwrap()
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().effect, Effect::Modified);
    }
    assert_eq!((trial.values(ADA, "title").await.len(), trial.undo_files()), (1, 20));
}

#[test]
fn an_error_does_not_claim_that_nothing_was_changed_if_something_was() {
    let left = vec![("cn=a,dc=x".to_owned(), "no".to_owned())];
    for claim in ["written", "changed", "deleted"] {
        let error =
            || WriteError::new(WriteErrorKind::LastMember, format!("it is refused; nothing was {claim}"));
        assert_eq!(whole::with_left(error(), &Vec::new(), "dc=x", None), error());
        let with_left = whole::with_left(error(), &left, "dc=x", None);
        assert_eq!(with_left.kind, WriteErrorKind::Internal);
        assert!(with_left.detail.starts_with("it is refused; `cn=a,dc=x`"), "{}", with_left.detail);
    }
}
