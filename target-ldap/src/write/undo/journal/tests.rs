//! Unit tests.

use ldap_directory::ldif::reader::{LdifReader, Record};

use super::*;

fn note(dn: &str) -> ChangeNote {
    ChangeNote::plain(dn)
}

fn back(dn: &str) -> Vec<Change> {
    vec![Change::Delete { dn: dn.into() }]
}

/// Three changes: made, void, and unknown.
fn journal() -> Vec<u8> {
    let mut all = Header::new("r", "ldap://x", false).journal_line().into_bytes();
    for n in 0..3 {
        all.extend(announcement(n, &note(&format!("cn=ä{n}")), &back(&format!("cn=ä{n}"))).unwrap());
    }
    all.extend(made(0, None).bytes());
    all.extend(void(1).bytes());
    all
}

fn open(octets: &[u8]) -> Result<JournalReader, ReadError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), octets).unwrap();
    JournalReader::open(file.path())
}

#[test]
fn a_journal_cut_anywhere_says_no_more_than_was_known() {
    let whole = journal();
    assert!(whole.is_ascii());
    for end in 0..=whole.len() {
        let Ok(reading) = open(&whole[..end]) else { continue };
        assert!(reading.places.len() <= 3);
        if reading.status(1) == ChangeStatus::Void && reading.places.contains_key(&1) {
            assert_eq!(end, whole.len());
        }
        // What a file system may leave of data that was not on disk.
        let mut holes = whole.clone();
        holes[end..].fill(0);
        if let Ok(reading) = open(&holes) {
            assert!(reading.places.len() <= 3);
        }
    }
    let reading = open(&whole).unwrap();
    let all: Vec<ChangeStatus> = (0..3).map(|n| reading.status(n)).collect();
    assert_eq!(all, [ChangeStatus::Made, ChangeStatus::Void, ChangeStatus::Unknown]);
}

#[test]
fn a_part_of_a_frame_hides_nothing_behind_it() {
    let mut octets = Header::new("r", "s", false).journal_line().into_bytes();
    let first = announcement(0, &note("cn=a"), &back("cn=a")).unwrap();
    octets.extend(&first[..first.len() - 5]);
    octets.push(b'\n');
    octets.extend(announcement(1, &note("cn=b"), &back("cn=b")).unwrap());
    let reading = open(&octets).unwrap();
    assert_eq!(reading.places.keys().copied().collect::<Vec<_>>(), [1]);
    assert!(reading.header.damaged, "a change is missing before one that is there");
}

#[test]
fn an_undo_file_that_was_cut_or_damaged_is_refused() {
    let mut out = Vec::new();
    open(&journal()).unwrap().write(false, &mut out).unwrap();
    let whole = String::from_utf8(out).unwrap();
    assert!(open(whole.as_bytes()).is_ok_and(|r| r.places.len() == 2 && !r.header.damaged));
    let begin = whole.find('\n').unwrap() + 1;
    for end in begin..whole.len() {
        assert!(open(&whole.as_bytes()[..end]).is_err(), "cut at {end}");
    }
    for (n, line) in whole.lines().enumerate().skip(2) {
        let without = whole.replacen(&format!("{line}\n"), "", 1);
        assert!(open(without.as_bytes()).is_err() || line.is_empty(), "without line {n}: {line}");
        let flipped = whole.replacen(line, &line.replacen("ch", "cx", 1), 1);
        assert!(flipped == whole || open(flipped.as_bytes()).is_err(), "line {n} changed: {line}");
    }
}

#[test]
fn an_undo_file_has_what_was_made_and_names_what_may_have_been() {
    let mut reading = open(&journal()).unwrap();
    let mut out = Vec::new();
    reading.write(true, &mut out).unwrap();
    // `ldapmodify` sees only the first change.
    let records: Vec<_> = LdifReader::new(&*out).map(Result::unwrap).collect();
    assert_eq!(records, [Record::Change(back("cn=ä0").remove(0))]);
    let mut again = open(&out).unwrap();
    assert!(again.header.killed && !again.is_journal);
    let all: Vec<ChangeStatus> = (0..3).map(|n| again.status(n)).collect();
    assert_eq!(all, [ChangeStatus::Made, ChangeStatus::Void, ChangeStatus::Unknown]);
    assert_eq!(again.load(2).unwrap().1, back("cn=ä2"));
    let text = String::from_utf8(out).unwrap().replace("dn:: ", "dn:: AAAA");
    assert!(matches!(open(text.as_bytes()), Err(ReadError::Changed(3 | 4))));
}

#[test]
fn the_id_of_an_added_entry_and_of_one_that_is_added_again_is_kept() {
    let digest = "0123456789abcdef";
    let id = EntryId::of("objectGUID", digest).unwrap();
    assert!(EntryId::of("uid", digest).is_none() && EntryId::of("objectGUID", "short").is_none());
    let mut octets = Header::new("r", "ldap://x", false).journal_line().into_bytes();
    for n in 0..2 {
        octets.extend(announcement(n, &note("cn=a"), &back("cn=a")).unwrap());
    }
    octets.extend(made(0, Some(id)).bytes());
    // As earlier versions wrote it.
    octets.extend(made(1, None).bytes());
    let mut out = Vec::new();
    open(&octets).unwrap().write(false, &mut out).unwrap();
    out.extend(again("old", "new").bytes());
    out.extend(again("new", "newer").bytes());
    let mut reading = open(&out).unwrap();
    let ids = [0, 1].map(|n| reading.load(n).unwrap().0.id);
    assert_eq!(ids, [Some(("objectGUID".to_owned(), digest.to_owned())), None]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &out).unwrap();
    let again = ids_again(file.path()).unwrap();
    assert_eq!(again, [("new", "newer"), ("old", "new")].map(|(a, b)| (a.into(), b.into())).into());
}

#[test]
fn files_of_others_are_known_for_it() {
    assert!(matches!(open(b"dn: cn=x\nchangetype: delete\n"), Err(ReadError::Foreign)));
    assert!(matches!(open(b"\xff\xfe"), Err(ReadError::Foreign)));
    assert!(matches!(open(b""), Err(ReadError::Foreign)));
    let later = "# target-ldap undo file {\"version\":2,\"much\":\"else\"}\n";
    assert!(matches!(open(later.as_bytes()), Err(ReadError::Version(2))));
}

#[test]
fn in_a_file_that_was_never_replaced_nothing_is_known_to_be_made() {
    let text = String::from_utf8(journal()).unwrap();
    let atomic = text.replacen(",\"started\"", ",\"atomic\":true,\"started\"", 1);
    assert_eq!(open(atomic.as_bytes()).unwrap().status(0), ChangeStatus::Unknown);
    let done = atomic + committed();
    assert_eq!(open(done.as_bytes()).unwrap().status(0), ChangeStatus::Made);
}
