//! Tests of the LDIF reader.

use super::*;
use crate::change::{Modification, ModificationKind};
use crate::entry::Attribute;
use proptest::prelude::*;

fn read(text: impl AsRef<[u8]>) -> Vec<Result<Record, LdifError>> {
    LdifReader::new(text.as_ref()).collect()
}

fn entry(dn: &str, attributes: &[(&str, &[&str])]) -> Record {
    Record::Entry(Entry {
        dn: dn.into(),
        attributes: attributes
            .iter()
            .map(|(d, vs)| Attribute::new(*d, vs.iter().map(|v| v.as_bytes().to_vec()).collect()))
            .collect(),
    })
}

fn ok(text: impl AsRef<[u8]>) -> Vec<Record> {
    read(text).into_iter().map(Result::unwrap).collect()
}

/// The one error in `text`, as the user sees it.
fn error(text: impl AsRef<[u8]>) -> String {
    let mut errors: Vec<_> = read(text).into_iter().filter_map(Result::err).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors.remove(0).to_string()
}

#[test]
fn content() {
    let text = "version: 1\n# a comment\n that is folded\n\n\ndn: cn=A,dc=x\nobjectClass: top\nCN: A\n\
                # in between\nobjectclass: person\ncn:  spaces lead and trail  \ncn;lang-de:: w6Q=\n\
                description:\n\n\n\ndn:: Y249w6Q=\ncn: fold\n ed \n  twice";
    let expected = vec![
        entry(
            "cn=A,dc=x",
            &[
                ("objectClass", &["top", "person"]),
                ("CN", &["A", "spaces lead and trail  "]),
                ("cn;lang-de", &["ä"]),
                ("description", &[""]),
            ],
        ),
        entry("cn=ä", &[("cn", &["folded  twice"])]),
    ];
    assert_eq!(ok(text), expected);
    assert_eq!(ok(text.replace('\n', "\r\n")), expected);
    assert_eq!(ok(format!("\u{feff}{text}\n\n\n")), expected);
}

#[test]
fn line_numbers() {
    let mut reader = LdifReader::new(&b"version: 1\n\n# c\ndn: a=1\na: 1\n\nbad\n\ndn: a=2\n"[..]);
    assert!(reader.next().unwrap().is_ok());
    assert_eq!(reader.record_line(), 4);
    assert_eq!(reader.next().unwrap().unwrap_err().line, 7);
    assert!(reader.next().unwrap().is_ok());
    assert_eq!(reader.record_line(), 9);
    assert!(reader.next().is_none());
}

#[test]
fn changes() {
    let text = "dn: a=1\nchangetype: add\na: 1\n\ndn: a=1\ncontrol: 1.2.840.113556.1.4.805 false\n\
                changetype: delete\n\ndn: a=1\nchangetype: modify\nadd: b\nb: 1\nB:: Mg==\n-\ndelete: c\n-\n\
                replace: d;x-1\n-\nincrement: n\nn: -1\n\ndn: a=1\nchangetype: modrdn\nnewrdn: a=2\n\
                deleteoldrdn: 1\n\ndn: a=1\nchangeType: ModDN\nnewrdn:: YT0y\ndeleteoldrdn: 0\n\
                newsuperior: dc=x\n";
    let dn = || "a=1".to_owned();
    let Record::Entry(added) = entry("a=1", &[("a", &["1"])]) else { unreachable!() };
    let expected = [
        Change::Add(added),
        Change::Delete { dn: dn() },
        Change::Modify {
            dn: dn(),
            changes: vec![
                Modification::new(ModificationKind::Add, "b", vec![b"1".into(), b"2".into()]),
                Modification::new(ModificationKind::Delete, "c", vec![]),
                Modification::new(ModificationKind::Replace, "d;x-1", vec![]),
                Modification::new(ModificationKind::Increment, "n", vec![b"-1".into()]),
            ],
        },
        Change::Rename { dn: dn(), new_rdn: "a=2".into(), delete_old_rdn: true, new_superior: None },
        Change::Rename {
            dn: dn(),
            new_rdn: "a=2".into(),
            delete_old_rdn: false,
            new_superior: Some("dc=x".into()),
        },
    ];
    assert_eq!(ok(text), expected.map(Record::Change));
}

#[test]
fn what_ldapsearch_prints() {
    let text = "# extended LDIF\n#\n# LDAPv3\n# base <dc=x> (default) with scope subtree\n\n# x\n\
                dn: dc=x\ncontrol: 1.3.6.1.4.1.4203.1.9.1.2 false MBgK\ndc: x\n\n# search reference\n\
                ref: ldap://other/dc=y??sub\n\n# refldap://other/dc=y??sub\n\n# search result\nsearch: 2\n\
                result: 4 Size limit exceeded\nmatchedDN: dc=x\ntext: more\n  of it\n\
                control: 1.2.840.113556.1.4.319 false MAUCAQAEAA==\npagedresults: cookie=\n\n\
                # numResponses: 8\n# numEntries: 7\n";
    assert_eq!(ok(text), [entry("dc=x", &[("dc", &["x"])])]);
    assert!(error("search: 2\nuid: a\n").contains("`dn: …` is missing"));
}

#[test]
fn errors_say_where_and_what() {
    for (text, line, part) in [
        ("dn: a=1\na:: Zg\n", "line 2 (entry \"a=1\")", "not base64"),
        ("dn: a=1\na:: Zg==x\n", "line 2", "not base64"),
        ("dn: a=1\na:: Zg== \n", "line 2", "not base64"),
        ("dn: a=1\na:: Zh==\n", "line 2", "not base64"),
        ("a: 1\n", "line 1", "`dn: …` is missing"),
        ("-\n", "line 1", "`dn: …` is missing"),
        ("dn: a=1\nb: 1\nsecret\n", "line 3", "without a colon"),
        ("dn: a=1\nb c: 1\n", "line 2", "before the colon"),
        ("dn: a=1\n: 1\n", "line 2", "before the colon"),
        ("\n continued\n", "line 2", "continues the line before"),
        ("dn:: /w==\n", "line 1", "not UTF-8"),
        ("dn:< file:///etc/passwd\n", "line 1", "URL"),
        ("version: 2\n\ndn: a=1\n", "line 1", "`version: 1`"),
        ("dn: a=1\na: 1\ndn: a=2\n", "line 3", "empty line"),
        ("dn: a=1\na:< file:///etc/passwd\n", "line 2", "which is refused"),
        ("dn: a=1\ncontrol: 1.2.3 true\nchangetype: delete\n", "line 2", "1.2.3 is marked critical"),
        ("dn: a=1\ncontrol: tree\nchangetype: delete\n", "line 2", "control: OID"),
        ("dn: a=1\nchangetype: replace\n", "line 2", "`modrdn`"),
        ("dn: a=1\nchangetype: delete\na: 1\n", "line 3", "ends its record"),
        ("dn: a=1\nchangetype: modify\nb: 1\n", "line 3", "begins with"),
        ("dn: a=1\nchangetype: modify\nadd: b\nb: 1\nreplace: c\n", "line 5", "`-` on a line of its own"),
        ("dn: a=1\nchangetype: modify\nadd: b\n-\n", "line 3", "at least one value"),
        ("dn: a=1\nchangetype: modify\nincrement: b\n", "line 3", "exactly one"),
        ("dn: a=1\nchangetype: modrdn\nnewrdn: a=2\n", "line 3", "deleteoldrdn"),
        ("dn: a=1\nchangetype: modrdn\nnewrdn: a=2\nnewrdn: a=3\ndeleteoldrdn: 1\n", "line 4", "once"),
    ] {
        let message = error(text);
        assert!(message.contains(line) && message.contains(part), "{text:?}: {message}");
        assert!(!message.contains("secret"), "{message}");
    }
    assert!(error(b"dn: a=\xff\n").contains("not UTF-8"));
    assert!(error(b"\xff\xfed\0n\0:\0").contains("UTF-16"));
}

#[test]
fn a_bad_record_does_not_cost_the_next() {
    let records = read("dn: a=1\nbad\n\n lost\nmore\n\ndn: a=2\n");
    assert_eq!(records.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn records_are_bounded() {
    let text = format!("dn: a=1\na: {}\n bbb\n\n# {0}\ndn: a=2\n", "x".repeat(5000));
    let records: Vec<_> = LdifReader::new(text.as_bytes()).max_record_bytes(1000).collect();
    assert_eq!(records.len(), 2);
    let message = records.first().unwrap().as_ref().unwrap_err().to_string();
    assert!(message.contains("line 2") && message.contains("1000 octets"), "{message}");
    assert_eq!(records.get(1).unwrap().as_ref().unwrap().dn(), "a=2");
    let tiny = "a:\n".repeat(1000);
    assert!(LdifReader::new(tiny.as_bytes()).max_record_bytes(10_000).next().unwrap().is_err());
}

#[test]
fn urls_where_allowed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a b");
    std::fs::write(&path, b"\0\xff").unwrap();
    let url = format!("file://{}", path.display()).replace(' ', "%20");
    let one = |url: &str, limit| {
        let text = format!("dn: a=1\njpegPhoto:< {url}\n");
        LdifReader::new(text.as_bytes()).allow_urls(true).max_record_bytes(limit).next().unwrap()
    };
    let Record::Entry(read) = one(&url, 1000).unwrap() else { unreachable!() };
    assert_eq!(read.values("jpegPhoto"), [vec![0, 0xff]]);
    std::fs::write(&path, vec![0; 1000]).unwrap();
    assert!(matches!(one(&url, 1000).unwrap_err().kind, LdifErrorKind::TooLarge { .. }));
    for bad in ["http://x/", "file:relative", "file://host/x", "file:///", "file:///nowhere/at/all"] {
        assert!(matches!(one(bad, 1000).unwrap_err().kind, LdifErrorKind::Url { .. }), "{bad}");
    }
}

#[test]
fn a_large_group_is_linear() {
    use std::fmt::Write as _;
    let mut text = String::from("dn: cn=all\n");
    for i in 0..100_000 {
        writeln!(text, "member: uid={i}\nattribute-{i}: x").unwrap();
    }
    let records = ok(&text);
    let Some(Record::Entry(entry)) = records.first() else { unreachable!() };
    assert_eq!((entry.values("member").len(), entry.attributes.len()), (100_000, 100_001));
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for record in LdifReader::new(bytes.as_slice()).max_record_bytes(100) {
            let _ = record.map_err(|e| e.to_string());
        }
    }

    #[test]
    fn arbitrary_lines_never_panic(lines in proptest::collection::vec(
        "(dn|version|control|changetype|add|newrdn|a|search|#| |)(:|::|:<|: |)(modify|a|1|true|Zg==|)", 0..20,
    )) {
        for record in LdifReader::new(lines.join("\n").as_bytes()) {
            let _ = record.map_err(|e| e.to_string());
        }
    }
}

#[test]
fn a_name_with_a_line_feed_in_ldapsearchs_comment_is_passed_over() {
    let text = "# new\nline, hostile, example.test\ndn: cn=x\ncn: x\n";
    let records: Vec<Record> = LdifReader::new(text.as_bytes()).map(Result::unwrap).collect();
    assert_eq!(records.len(), 1);
    // Anywhere else it is a mistake.
    let text = "dn: cn=x\n# comment\ncn x\n";
    assert!(LdifReader::new(text.as_bytes()).next().unwrap().is_err());
}
