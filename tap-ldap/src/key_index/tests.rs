use super::tables::{OF, UNSETTLED};
use super::*;

fn of(key: &str) -> Vec<String> {
    vec![key.to_owned()]
}

fn read(index: &mut KeyIndex, keys: &[&str]) -> IndexPosition {
    for key in keys {
        index.seen((*key).to_owned(), &format!("cn={key}")).unwrap();
    }
    index.complete().unwrap()
}

fn gone(index: &KeyIndex) -> Vec<String> {
    index.deletions_after(None, 100, false).unwrap().into_iter().map(|(key, _)| key).collect()
}

#[test]
fn what_was_not_seen_is_gone_until_a_later_bookmark_says_that_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let open = || KeyIndex::open(folder.path(), "ou=people,dc=example,dc=test", &of("entryUUID")).unwrap();
    let mut index = open();
    let first = read(&mut index, &["a", "b", "c"]);
    assert!(gone(&index).is_empty());
    drop(index);

    let mut index = open();
    assert!(index.confirm(&first).unwrap());
    let second = read(&mut index, &["a", "c"]);
    assert_eq!(gone(&index), ["b"]);
    assert_eq!(index.deletions_after(None, 1, false).unwrap(), [("b".to_owned(), "cn=b".to_owned())]);
    drop(index);

    // The STATE of the second run was lost: the deletion is emitted again.
    let mut index = open();
    assert!(index.confirm(&first).unwrap());
    read(&mut index, &["a"]);
    assert_eq!(gone(&index), ["b", "c"]);
    drop(index);

    let mut index = open();
    assert!(index.confirm(&second).unwrap());
    assert_eq!(gone(&index), ["c"]);
    // It exists again.
    read(&mut index, &["a", "c"]);
    assert!(gone(&index).is_empty());
}

#[test]
fn what_a_run_had_begun_is_known_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let open = || KeyIndex::open(folder.path(), "s", &of("entryUUID")).unwrap();
    let mut index = open();
    assert!(!index.is_unsettled());
    index.follow().unwrap();
    index.seen("a".to_owned(), "cn=a").unwrap();
    index.commit_ahead().unwrap();
    // Killed after it was printed.
    drop(index);
    let mut index = open();
    assert!(index.is_unsettled() && !index.lacks_printed());
    assert_eq!(index.dn_of("a").unwrap().as_deref(), Some("cn=a"));
    // A STATE within the run does not end it.
    index.save().unwrap();
    drop(index);
    let mut index = open();
    assert!(index.is_unsettled());
    index.finish().unwrap();
    index.save().unwrap();
    drop(index);
    let mut index = open();
    assert!(!index.is_unsettled());
    index.read_whole().unwrap();
    index.seen("b".to_owned(), "cn=b").unwrap();
    index.commit_ahead().unwrap();
    drop(index);
    let index = open();
    assert!(index.lacks_printed());
    assert_eq!(index.dn_of("b").unwrap(), None);
}

#[test]
fn a_file_of_another_key_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let open = |key: &str| KeyIndex::open(folder.path(), "s", &of(key)).unwrap();
    let mut index = open("entryUUID");
    let first = read(&mut index, &["a", "b"]);
    drop(index);
    let mut index = open("dn");
    assert_eq!(index.other_key(), Some(r#"["entryUUID"]"#));
    assert!(!index.confirm(&first).unwrap());
    read(&mut index, &["cn=a"]);
    assert!(gone(&index).is_empty());
    drop(index);
    assert_eq!(open("dn").other_key(), None);
}

#[test]
fn a_file_of_yesterday_does_not_say_of_which_key_it_is() {
    let made = |rows: &[(&str, &str)]| {
        let folder = tempfile::tempdir().unwrap();
        let mut index = KeyIndex::open(folder.path(), "s", &of("entryUUID")).unwrap();
        for (key, dn) in rows {
            index.seen((*key).to_owned(), dn).unwrap();
        }
        let mark = index.complete().unwrap();
        index
            .change(Durability::Immediate, |change| {
                change.open_table(OF)?.remove(())?;
                change.open_table(PHASE)?.remove(())?;
                change.open_table(UNSETTLED)?.insert((), true)?;
                Ok(())
            })
            .unwrap();
        (folder, mark)
    };
    let (folder, mark) = made(&[(r#"["1"]"#, "cn=a"), (r#"["2"]"#, "cn=b")]);
    let mut index = KeyIndex::open(folder.path(), "s", &of("entryUUID")).unwrap();
    assert!(index.other_key().is_none() && index.confirm(&mark).unwrap() && index.lacks_printed());
    for (rows, key) in [([(r#"["1"]"#, "cn=a")], "dn"), ([(r#"["cn=a"]"#, "cn=a")], "entryUUID")] {
        let (folder, mark) = made(&rows);
        let mut index = KeyIndex::open(folder.path(), "s", &of(key)).unwrap();
        assert!(index.other_key().is_some() && !index.confirm(&mark).unwrap(), "{key}");
    }
}

#[test]
fn a_pass_that_was_not_completed_concludes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let open = || KeyIndex::open(folder.path(), "s", &of("entryUUID")).unwrap();
    let mut index = open();
    read(&mut index, &["a", "b"]);
    drop(index);
    let mut index = open();
    index.seen("a".to_owned(), "cn=a").unwrap();
    index.commit().unwrap();
    assert!(gone(&index).is_empty());
    drop(index);
    // What the broken pass saw does not count as seen in the next.
    let mut index = open();
    read(&mut index, &["b"]);
    assert_eq!(gone(&index), ["a"]);
}

#[test]
fn names_that_a_log_does_not_tell_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let open = || KeyIndex::open(folder.path(), "s", &of("entryUUID")).unwrap();
    let mut index = open();
    let first = read(&mut index, &["a", "b"]);
    assert_eq!(index.dn_of("a").unwrap().as_deref(), Some("cn=a"));
    index.renamed("a".into(), "cn=a").unwrap();
    index.seen("a".into(), "cn=z").unwrap();
    index.forget("b".into(), "cn=b").unwrap();
    assert_eq!(index.dn_of("a").unwrap().as_deref(), Some("cn=z"), "before it is in the file");
    assert_eq!(index.dn_of("b").unwrap(), None);
    let second = index.save().unwrap();
    assert_ne!(first, second);
    assert_eq!(index.save().unwrap(), second, "nothing new");
    drop(index);

    let mut index = open();
    assert_eq!(index.dn_of("a").unwrap().as_deref(), Some("cn=z"));
    let told_again = |index: &KeyIndex| index.deletions_after(None, 100, true).unwrap();
    assert!(index.confirm(&first).unwrap());
    assert_eq!(told_again(&index), [("a".into(), "cn=a".into()), ("b".into(), "cn=b".into())]);
    assert_eq!(gone(&index), ["b"]);
    assert!(index.confirm(&second).unwrap());
    assert!(told_again(&index).is_empty());
}

#[test]
fn another_file_is_noticed() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mark = read(&mut KeyIndex::open(one.path(), "s", &of("entryUUID")).unwrap(), &["a"]);
    assert!(!KeyIndex::open(two.path(), "s", &of("entryUUID")).unwrap().confirm(&mark).unwrap());
}

#[test]
fn what_was_printed_and_is_gone_before_the_pass_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = KeyIndex::open(folder.path(), "s", &of("entryUUID")).unwrap();
    index.emitted("short".into(), "cn=short").unwrap();
    index.emitted("long".into(), "cn=long").unwrap();
    index.seen("long".into(), "cn=long").unwrap();
    index.complete().unwrap();
    assert_eq!(gone(&index), ["short"]);
}

#[test]
fn more_keys_than_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = KeyIndex::open(folder.path(), "s", &of("entryUUID")).unwrap();
    for n in 0..WRITTEN_AT_ONCE * 2 + 7 {
        index.seen(n.to_string(), "cn=x").unwrap();
    }
    index.complete().unwrap();
    assert!(gone(&index).is_empty());
}

#[test]
fn a_new_file_knows_the_names_of_its_own_run() {
    let folder = tempfile::tempdir().unwrap();
    let open = || KeyIndex::open(folder.path(), "s", &of("entryUUID")).unwrap();
    let mut index = open();
    assert!(index.began_empty && !index.may_have_gone);
    index.seen("a".to_owned(), "cn=a").unwrap();
    assert_eq!(index.former_dns("a", "cn=b").unwrap(), ["cn=a"]);
    index.commit().unwrap();
    // Found at the end of the run.
    index.seen("a".to_owned(), "cn=b").unwrap();
    let renamed = index.unsettled_renames().unwrap();
    assert_eq!(renamed.len(), 1);
    assert_eq!((renamed[0].old.as_str(), renamed[0].new.as_str()), ("cn=a", "cn=b"));
    assert_eq!(index.former_dns("a", "cn=b").unwrap(), ["cn=a"], "a name was found");
    index.complete().unwrap();
    drop(index);
    let mut index = open();
    assert!(!index.began_empty && index.may_have_gone);
    assert_eq!(index.former_dns("a", "cn=c").unwrap(), ["cn=a", "cn=b"]);
}
