use super::*;

fn read(index: &mut KeyIndex, keys: &[&str]) -> Mark {
    for key in keys {
        index.seen((*key).to_owned(), &format!("cn={key}")).unwrap();
    }
    index.complete().unwrap()
}

fn gone(index: &KeyIndex) -> Vec<String> {
    index.gone_after(None, 100, false).unwrap().into_iter().map(|(key, _)| key).collect()
}

#[test]
fn what_was_not_seen_is_gone_until_a_later_bookmark_says_that_it_was_told() {
    let folder = tempfile::tempdir().unwrap();
    let open = || KeyIndex::open(folder.path(), "ou=people,dc=example,dc=test").unwrap();
    let mut index = open();
    let first = read(&mut index, &["a", "b", "c"]);
    assert!(gone(&index).is_empty());
    drop(index);

    let mut index = open();
    assert!(index.confirm(&first).unwrap());
    let second = read(&mut index, &["a", "c"]);
    assert_eq!(gone(&index), ["b"]);
    assert_eq!(index.gone_after(None, 1, false).unwrap(), [("b".to_owned(), "cn=b".to_owned())]);
    drop(index);

    // The STATE of the second run was lost: it is told again.
    let mut index = open();
    assert!(index.confirm(&first).unwrap());
    read(&mut index, &["a"]);
    assert_eq!(gone(&index), ["b", "c"]);
    drop(index);

    let mut index = open();
    assert!(index.confirm(&second).unwrap());
    assert_eq!(gone(&index), ["c"]);
    // It is back.
    read(&mut index, &["a", "c"]);
    assert!(gone(&index).is_empty());
}

#[test]
fn records_before_their_keys_leave_a_note_until_the_log_was_gone_through() {
    let folder = tempfile::tempdir().unwrap();
    let open = || KeyIndex::open(folder.path(), "s").unwrap();
    let mut index = open();
    assert!(!index.is_unsettled());
    index.unsettle().unwrap();
    index.seen("a".to_owned(), "cn=a").unwrap();
    // Killed.
    drop(index);
    let mut index = open();
    assert!(index.is_unsettled());
    index.save().unwrap();
    drop(index);
    // A STATE in the middle does not settle it.
    let mut index = open();
    assert!(index.is_unsettled());
    index.settle().unwrap();
    index.save().unwrap();
    drop(index);
    assert!(!open().is_unsettled());
}

#[test]
fn a_pass_that_was_not_completed_concludes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let open = || KeyIndex::open(folder.path(), "s").unwrap();
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
    let open = || KeyIndex::open(folder.path(), "s").unwrap();
    let mut index = open();
    let first = read(&mut index, &["a", "b"]);
    assert_eq!(index.name_of("a").unwrap().as_deref(), Some("cn=a"));
    index.renamed("a".into(), "cn=a").unwrap();
    index.seen("a".into(), "cn=z").unwrap();
    index.forget("b".into(), "cn=b").unwrap();
    assert_eq!(index.name_of("a").unwrap().as_deref(), Some("cn=z"), "before it is in the file");
    assert_eq!(index.name_of("b").unwrap(), None);
    let second = index.save().unwrap();
    assert_ne!(first, second);
    assert_eq!(index.save().unwrap(), second, "nothing new");
    drop(index);

    let mut index = open();
    assert_eq!(index.name_of("a").unwrap().as_deref(), Some("cn=z"));
    let told_again = |index: &KeyIndex| index.gone_after(None, 100, true).unwrap();
    assert!(index.confirm(&first).unwrap());
    assert_eq!(told_again(&index), [("a".into(), "cn=a".into()), ("b".into(), "cn=b".into())]);
    assert_eq!(gone(&index), ["b"]);
    assert!(index.confirm(&second).unwrap());
    assert!(told_again(&index).is_empty());
}

#[test]
fn another_file_is_noticed() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mark = read(&mut KeyIndex::open(one.path(), "s").unwrap(), &["a"]);
    assert!(!KeyIndex::open(two.path(), "s").unwrap().confirm(&mark).unwrap());
}

#[test]
fn what_was_printed_and_is_gone_before_the_pass_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = KeyIndex::open(folder.path(), "s").unwrap();
    index.printed("short".into(), "cn=short").unwrap();
    index.printed("long".into(), "cn=long").unwrap();
    index.seen("long".into(), "cn=long").unwrap();
    index.complete().unwrap();
    assert_eq!(gone(&index), ["short"]);
}

#[test]
fn more_keys_than_a_batch() {
    let folder = tempfile::tempdir().unwrap();
    let mut index = KeyIndex::open(folder.path(), "s").unwrap();
    for n in 0..BATCH * 2 + 7 {
        index.seen(n.to_string(), "cn=x").unwrap();
    }
    index.complete().unwrap();
    assert!(gone(&index).is_empty());
}
