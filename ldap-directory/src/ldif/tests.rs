//! Tests of a file as a directory.

use super::*;
use crate::entry::Attribute;

const ADA: &str = "dn: cn=ada,dc=x\nobjectClass: person\ncn: ada\nsn: L\n";

#[test]
fn the_cause_of_an_error_of_a_file_is_its_source() {
    let missing = tempfile::tempdir().unwrap().path().join("none.ldif");
    let error = LdifDirectory::open(&missing, Access::Read).unwrap_err();
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    assert_eq!(cause.map(std::io::Error::kind), Some(std::io::ErrorKind::NotFound));
}

#[test]
fn what_another_program_wrote_meanwhile_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("d.ldif");
    for there in [Some(ADA), None] {
        let _ = there.map_or_else(|| std::fs::remove_file(&path), |text| std::fs::write(&path, text));
        let directory = LdifDirectory::open(&path, Access::Write(LdifFormat::Content)).unwrap();
        let add = Change::Add(Entry {
            dn: "dc=y".into(),
            attributes: vec![Attribute::new("dc", vec![b"y".to_vec()])],
        });
        directory.apply(&add).unwrap();
        let theirs = format!("{ADA}description: by hand\n");
        std::fs::write(&path, &theirs).unwrap();
        assert!(matches!(directory.commit(), Err(DirectoryError::File { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), theirs);
    }
    // Its own commit is not a change by another program.
    let directory = LdifDirectory::open(&path, Access::Write(LdifFormat::Content)).unwrap();
    for dn in ["dc=y", "dc=z"] {
        let value = dn.as_bytes().get(3..).unwrap().to_vec();
        let add = Change::Add(Entry { dn: dn.into(), attributes: vec![Attribute::new("dc", vec![value])] });
        directory.apply(&add).unwrap();
        directory.commit().unwrap();
    }
}

#[test]
fn what_was_opened_for_reading_is_not_changed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ldif");
    std::fs::write(&path, ADA).unwrap();
    let directory = LdifDirectory::open(&path, Access::Read).unwrap();
    let entry = Entry { dn: "cn=b,dc=x".into(), attributes: vec![Attribute::new("cn", vec![b"b".to_vec()])] };
    let key = DnKey::parse(&entry.dn, directory.schema()).unwrap();
    for error in [
        directory.apply(&Change::Delete { dn: "cn=ada,dc=x".into() }).unwrap_err(),
        directory.add(CompactEntry::from(&entry), key).unwrap_err(),
        directory.commit().unwrap_err(),
    ] {
        assert_eq!(error.kind(), crate::ErrorKind::ReadOnly, "{error}");
    }
    assert!(directory.read("cn=ada,dc=x", &[]).unwrap().is_some());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), ADA);
}

#[test]
fn a_cut_file_says_so_however_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ldif");
    for (text, is_cut) in [(ADA, false), (ADA.trim_end(), true)] {
        std::fs::write(&path, text).unwrap();
        for access in [Access::Read, Access::WRITE, Access::Write(LdifFormat::Changes)] {
            let directory = LdifDirectory::open(&path, access).unwrap();
            let is_unended = matches!(directory.shortfalls(), [Shortfall::Unended { line: 4 }]);
            assert_eq!(is_unended, is_cut, "{access:?} {:?}", directory.shortfalls());
            assert_eq!(directory.shortfalls().is_empty(), !is_cut);
        }
    }
}

#[test]
fn an_export_of_the_service_says_how_many_entries_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ldif");
    let head = "# ldap-service export\n\n";
    for (end, shortfall) in [
        ("\n# end: 1 entries\n", None),
        ("\n# end: 120 entries\n", Some(Shortfall::Count { line: 8, said: 120, held: 1 })),
        ("", Some(Shortfall::NoEnd { line: 1 })),
    ] {
        std::fs::write(&path, format!("{head}{ADA}{end}")).unwrap();
        let directory = LdifDirectory::open(&path, Access::Read).unwrap();
        assert_eq!(directory.shortfalls(), shortfall.as_slice(), "{end}");
    }
}

#[test]
fn a_file_that_could_not_be_written_is_not_opened_for_writing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none").join("a.ldif");
    let error = LdifDirectory::open(&path, Access::WRITE).unwrap_err();
    assert!(matches!(error, DirectoryError::File { unreachable: true, .. }), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_failure_while_reading_is_one_of_the_file_and_has_its_cause() {
    // Its first page is not mapped.
    let error = LdifDirectory::open(Path::new("/proc/self/mem"), Access::Read).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::File, "{error}");
    assert!(std::error::Error::source(&error).is_some_and(<dyn std::error::Error>::is::<std::io::Error>));
}
