//! Runs of random changes that are undone: from the end, from the middle, twice, and after a kill.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::ldif::{LdifDirectory, LdifRules};
use ldap_directory::{Access, Directory};
use proptest::prelude::*;
use singer_common::operations::file::{JOURNAL, with_suffix};

use super::change_note::ChangeNote;
use super::entities::Entities;
use super::journal::JournalReader;
use super::revert::{Report, RevertOutcome, Reverter, rehearse};
use super::{Undo, recovery};
use crate::config::undo_file::UndoFile;
use crate::testing::{Tree, tree};
use crate::write::destination::Destination;
use crate::write::protection::Protection;

const TREE: &str = "dn: dc=x\nobjectClass: domain\ndc: x\n\n\
    dn: ou=a,dc=x\nobjectClass: organizationalUnit\nou: a\n\n\
    dn: ou=b,dc=x\nobjectClass: organizationalUnit\nou: b\n\n\
    dn: cn=one,ou=a,dc=x\nobjectClass: device\ncn: one\ncn: uno\ndescription: D\nserialNumber: 1\n\n\
    dn: cn=three,ou=a,dc=x\nobjectClass: device\ncn: three\ndescription: E\nserialNumber: 3\nseeAlso: cn=q\n\n";

fn octets(values: &[&str]) -> Vec<Vec<u8>> {
    values.iter().map(|v| v.as_bytes().to_vec()).collect()
}

fn change() -> impl Strategy<Value = Change> {
    let dn = || {
        proptest::sample::select(vec![
            "cn=one,ou=a,dc=x",
            "cn=two,ou=b,dc=x",
            "cn=three,ou=a,dc=x",
            "cn=three,ou=c,dc=x",
            "cn=one,ou=c,dc=x",
            "ou=a,dc=x",
            "ou=c,dc=x",
            "cn=uno,ou=b,dc=x",
            "cn=two,ou=a,dc=x",
        ])
    };
    let kind = proptest::sample::select(ModificationKind::ALL[..3].to_vec());
    let values = proptest::sample::subsequence(vec!["cn=D", "cn=E", "cn=F"], 0..=3);
    let name = proptest::sample::select(vec!["description", "seeAlso"]);
    let one = (kind, name, values)
        .prop_filter("an addition has values", |(k, _, v)| *k != ModificationKind::Add || !v.is_empty())
        .prop_map(|(kind, name, values)| Modification::new(kind, name, octets(&values)));
    let add = |dn: &str| {
        let attributes = vec![Attribute::new("objectClass", octets(&["device"]))];
        Change::Add(Entry { dn: dn.into(), attributes })
    };
    prop_oneof![
        (dn(), proptest::collection::vec(one, 1..3))
            .prop_map(|(dn, changes)| Change::Modify { dn: dn.into(), changes }),
        dn().prop_map(|dn| Change::Delete { dn: dn.into() }),
        dn().prop_map(add),
        (
            dn(),
            proptest::sample::select(vec!["cn=two", "cn=uno", "cn=one", "ou=c", "ou=a"]),
            any::<bool>(),
            proptest::option::of(proptest::sample::select(vec!["ou=a,dc=x", "ou=b,dc=x"])),
        )
            .prop_filter("units are called ou", |(dn, rdn, ..)| dn.starts_with("ou") == rdn.starts_with("ou"))
            .prop_map(|(dn, rdn, delete, above)| Change::Rename {
                dn: dn.into(),
                new_rdn: rdn.into(),
                delete_old_rdn: delete,
                new_superior: above.map(str::to_owned),
            }),
    ]
}

struct Trial {
    folder: tempfile::TempDir,
    directory: Directory,
    first: Tree,
}

impl Trial {
    async fn new() -> Trial {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("d.ldif");
        std::fs::write(&file, TREE).unwrap();
        let directory = Directory::Ldif(LdifDirectory::open(&file, Access::WRITE).unwrap());
        let first = tree(&directory).await;
        Trial { folder, directory, first }
    }

    fn names(&self) -> UndoFile {
        UndoFile::parse(&self.folder.path().join("undo.ldif"), None, &mut Vec::new()).unwrap()
    }

    /// Makes changes as a run does.
    async fn make(&self, undo: Undo, changes: &[Change]) -> std::sync::Arc<Undo> {
        let undo = std::sync::Arc::new(undo);
        let destination =
            Destination::new(self.directory.clone(), Protection::none()).with_undo(Some(undo.clone()));
        for change in changes {
            let _ = destination.apply_unasked(change, &[]).await;
        }
        undo
    }

    async fn take_back(&self, path: &Path) -> Report {
        let mut reading = JournalReader::open(path).unwrap();
        let entities = Entities::of(&mut reading, self.directory.schema()).unwrap();
        let (rehearsed, _) = rehearse(
            &mut reading,
            &entities,
            (&self.directory, &Protection::none()),
            &BTreeSet::new(),
            &BTreeMap::new(),
            None,
        )
        .await
        .unwrap();
        let skip: BTreeSet<usize> = rehearsed.refused.keys().copied().collect();
        let destination = Destination::new(self.directory.clone(), Protection::none());
        let again = BTreeMap::new();
        let mut undoing = Reverter {
            reading: &mut reading,
            entities: &entities,
            directory: &destination,
            skip: &skip,
            again: &again,
            noted_in: None,
            names: None,
        };
        let mut report = undoing.run().await.unwrap();
        assert!(report.refused.is_empty(), "what was rehearsed happens: {report:?}");
        report.refused = rehearsed.refused;
        report
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("UNDO_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(500)
    ))]

    /// A run is undone, a repeated undo changes nothing, and an undo that was killed anywhere is continued.
    #[test]
    fn a_run_is_taken_back_from_wherever_an_undo_was_killed(
        changes in proptest::collection::vec(change(), 1..12), cut in any::<proptest::sample::Index>(),
    ) {
        block_on(async {
            let trial = Trial::new().await;
            let path = trial.names().path();
            let undo = Undo::create(&path, &trial.directory, false).unwrap();
            let undo = trial.make(undo, &changes).await;
            undo.committed().unwrap();
            undo.finish(&trial.names(), &trial.directory).await.unwrap();
            if !path.exists() {
                prop_assert_eq!(&tree(&trial.directory).await, &trial.first);
                return Ok(());
            }
            let mut reading = JournalReader::open(&path).unwrap();
            let numbers: Vec<u64> = reading.places.keys().rev().copied().collect();
            for number in &numbers[..cut.index(numbers.len() + 1)] {
                for change in reading.load(*number).unwrap().1 {
                    trial.directory.apply(&change).await.unwrap();
                }
            }
            let is_begun = cut.index(numbers.len() + 1) > 0;
            for round in 0..2 {
                let report = trial.take_back(&path).await;
                prop_assert_eq!(&tree(&trial.directory).await, &trial.first);
                // If a run used a DN twice, a second undo may report an unchanged entry: it does nothing to it.
                prop_assert!(is_begun || round > 0 || report.refused.is_empty(), "{:?}", report);
            }
            Ok(())
        })?;
    }

    /// The last change was only announced: the directory shows whether it was made.
    #[test]
    fn a_killed_run_is_taken_back_whether_its_last_change_was_made_or_not(
        changes in proptest::collection::vec(change(), 1..8), last in change(),
    ) {
        block_on(async {
            let trial = Trial::new().await;
            let path = trial.names().path();
            let undo = Undo::create(&path, &trial.directory, false).unwrap();
            let undo = trial.make(undo, &changes).await;
            undo.committed().unwrap();
            let before = tree(&trial.directory).await;
            let journal = with_suffix(&path, JOURNAL);
            let undo = std::sync::Arc::into_inner(undo).unwrap();
            drop(trial.make(undo, std::slice::from_ref(&last)).await);
            let all = String::from_utf8(std::fs::read(&journal).unwrap()).unwrap();
            let lines = all.trim_end().rsplit_once('\n').map_or("", |(rest, _)| rest);
            let mark = all.lines().last().unwrap_or_default();
            prop_assert!(mark.starts_with("# made") || mark.starts_with("# void"), "{mark}");
            let was_made = mark.starts_with("# made");
            std::fs::write(&journal, format!("{lines}\n")).unwrap();
            prop_assert!(was_made || tree(&trial.directory).await == before);
            recovery::recover(&trial.names(), &path, &trial.directory, &[]).await.unwrap();
            prop_assert!(!journal.exists());
            let file = with_suffix(&path, ".killed");
            if file.exists() {
                trial.take_back(&file).await;
            }
            prop_assert_eq!(&tree(&trial.directory).await, &trial.first);
            Ok(())
        })?;
    }
}

fn replace(dn: &str, name: &str, value: &str) -> Change {
    let changes = vec![Modification::new(ModificationKind::Replace, name, octets(&[value]))];
    Change::Modify { dn: dn.into(), changes }
}

#[test]
fn nothing_is_done_to_an_entry_that_was_changed_since_and_all_is_to_the_others() {
    block_on(async {
        let trial = Trial::new().await;
        let path = trial.names().path();
        let undo = Undo::create(&path, &trial.directory, false).unwrap();
        let new = |dn: &str| {
            Change::Add(Entry {
                dn: dn.into(),
                attributes: vec![Attribute::new("objectClass", octets(&["device"]))],
            })
        };
        let (one, three) = ("cn=one,ou=a,dc=x", "cn=three,ou=a,dc=x");
        let undo = trial
            .make(
                undo,
                &[
                    replace(one, "description", "new"),
                    replace(one, "serialNumber", "9"),
                    Change::Delete { dn: three.into() },
                    new("cn=mine,ou=b,dc=x"),
                    new("cn=yours,ou=b,dc=x"),
                ],
            )
            .await;
        undo.committed().unwrap();
        undo.finish(&trial.names(), &trial.directory).await.unwrap();
        // The attribute of the first of two changes, and an attribute that the run did not write.
        trial.directory.apply(&replace(one, "description", "by hand")).await.unwrap();
        trial.directory.apply(&replace("cn=yours,ou=b,dc=x", "l", "there")).await.unwrap();
        let before = tree(&trial.directory).await;
        let report = trial.take_back(&path).await;
        let names: BTreeSet<&str> = report.refused.values().map(|(dn, _)| dn.as_str()).collect();
        assert_eq!(names, BTreeSet::from([one, "cn=yours,ou=b,dc=x"]));
        let after = tree(&trial.directory).await;
        assert_eq!(
            (&after[one], &after["cn=yours,ou=b,dc=x"]),
            (&before[one], &before["cn=yours,ou=b,dc=x"])
        );
        assert_eq!(after[three], trial.first[three]);
        assert!(!after.contains_key("cn=mine,ou=b,dc=x"));
        assert_eq!(report.outcomes.values().filter(|f| **f == RevertOutcome::TakenBack).count(), 2);
    });
}

#[cfg(unix)]
#[test]
fn what_killed_runs_left_is_kept_and_private_and_nothing_is_made_of_nothing() {
    use std::os::unix::fs::PermissionsExt as _;
    block_on(async {
        let trial = Trial::new().await;
        let path = trial.names().path();
        let files = || {
            let mut names: Vec<String> = std::fs::read_dir(trial.folder.path())
                .unwrap()
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .filter(|n| n.starts_with("undo"))
                .collect();
            names.sort();
            names
        };
        for n in 0..3_u32 {
            let undo = Undo::create(&path, &trial.directory, false).unwrap();
            let changes = [replace("cn=one,ou=a,dc=x", "description", &n.to_string())];
            let undo = trial.make(undo, if n == 1 { &[] } else { &changes }).await;
            undo.committed().unwrap();
            drop(undo);
            recovery::recover(&trial.names(), &path, &trial.directory, &[]).await.unwrap();
        }
        assert_eq!(files(), ["undo.ldif.killed", "undo.ldif.killed.2"], "none of an empty journal");
        for name in files() {
            let mode = std::fs::metadata(trial.folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        // The newest first.
        for name in [".killed.2", ".killed"] {
            let report = trial.take_back(&with_suffix(&path, name)).await;
            assert!(report.refused.is_empty());
        }
        assert_eq!(tree(&trial.directory).await, trial.first);
    });
}

#[test]
fn in_a_journal_a_change_that_was_refused_is_void() {
    block_on(async {
        let trial = Trial::new().await;
        let path = trial.names().path();
        let undo = Undo::create(&path, &trial.directory, false).unwrap();
        let there = Change::Add(Entry {
            dn: "cn=one,ou=a,dc=x".into(),
            attributes: vec![Attribute::new("objectClass", octets(&["device"]))],
        });
        let undo = trial.make(undo, &[replace("ou=b,dc=x", "description", "new"), there]).await;
        undo.committed().unwrap();
        drop(undo);
        recovery::recover(&trial.names(), &path, &trial.directory, &[]).await.unwrap();
        let text = std::fs::read_to_string(with_suffix(&path, ".killed")).unwrap();
        assert_eq!(text.matches("\nchangetype: ").count(), 1);
        assert!(!text.contains("changetype: delete") && !text.contains("cn=one"), "{text}");
    });
}

/// Two records made the same parent at once: what is below it was announced before the parent that was made.
#[test]
fn a_parent_that_the_journal_has_behind_its_children_goes_after_them() {
    block_on(async {
        let trial = Trial::new().await;
        trial.directory.set_ldif_rules(LdifRules { takes_orphans: true, ..LdifRules::default() });
        let path = trial.names().path();
        let undo = Undo::create(&path, &trial.directory, false).unwrap();
        let add = |dn: &str, class: &str, name: &str, value: &str| {
            let attributes =
                vec![Attribute::new("objectClass", octets(&[class])), Attribute::new(name, octets(&[value]))];
            Change::Add(Entry { dn: dn.into(), attributes })
        };
        let changes = [
            add("cn=below,ou=n,ou=m,dc=x", "device", "cn", "below"),
            add("ou=n,ou=m,dc=x", "organizationalUnit", "ou", "n"),
            add("ou=m,dc=x", "organizationalUnit", "ou", "m"),
        ];
        let undo = trial.make(undo, &changes).await;
        undo.committed().unwrap();
        undo.finish(&trial.names(), &trial.directory).await.unwrap();
        let report = trial.take_back(&path).await;
        assert!(report.refused.is_empty(), "{report:?}");
        assert_eq!(tree(&trial.directory).await, trial.first);
    });
}

#[test]
fn only_accounts_that_are_not_known_to_be_disabled_again_are_looked_at() {
    let trial = block_on(Trial::new());
    let undo = Undo::create(&trial.names().path(), &trial.directory, false).unwrap();
    let announce = |dn: &str| {
        let lock = Some(("nsAccountLock".to_owned(), "true".to_owned()));
        undo.announce(&ChangeNote { lock, ..ChangeNote::plain(dn) }, &[]).unwrap()
    };
    let left = || undo.unlocked().keys().copied().collect::<Vec<u64>>();
    // The first has another name by the time of the third.
    let first = announce("uid=a,dc=x");
    announce("uid=b,dc=x");
    announce("uid=a,dc=x");
    undo.announce(&ChangeNote::plain("uid=c,dc=x"), &[]).unwrap();
    assert_eq!(left(), [0, 1, 2]);
    undo.is_locked_again("uid=a,dc=x");
    assert_eq!(left(), [0, 1]);
    undo.is_locked_again("uid=b,dc=x");
    undo.is_locked_again("uid=b,dc=x");
    assert_eq!(left(), [0]);
    undo.void(first);
    assert!(left().is_empty());
}
