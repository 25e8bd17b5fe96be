//! Partial LDIF dumps, and errors about a file.

use std::path::Path;

use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::scratch;
use serde_json::{Value, json};

const TREE: &str = "dn: dc=x\nobjectClass: domain\ndc: x\n\ndn: ou=p,dc=x\nobjectClass: organizationalUnit\nou: p\n\n\
                    dn: uid=a,ou=p,dc=x\nobjectClass: account\nuid: a\n\ndn: uid=b,ou=p,dc=x\nobjectClass: account\nuid: b\n";

fn config(file: &Path) -> Value {
    json!({"server_url": format!("ldif:{}", file.display()),
        "schemas": [{"name": "all", "base_dn": "dc=x"}]})
}

fn read(bytes: impl AsRef<[u8]>) -> Output {
    let dir = scratch();
    let file = dir.path().join("dump.ldif");
    std::fs::write(&file, bytes).unwrap();
    Run::tap(&config(&file)).run()
}

fn activates(output: &Output) -> bool {
    !output.of_type("ACTIVATE_VERSION").is_empty()
}

/// The lines of the log that say why something may be missing.
fn doubts(output: &Output) -> Vec<Value> {
    let lines = output.stderr.entries().iter().cloned();
    lines
        .filter(|line| line["level"] == "warning" && (line["stream"] == "all" || line["shortfalls"].is_u64()))
        .collect()
}

#[test]
fn a_dump_that_says_it_is_incomplete_activates_nothing() {
    let header =
        "# extended LDIF\n#\n# LDAPv3\n# base <dc=x> with scope subtree\n# filter: (objectClass=*)\n#\n\n";
    let end = "\n# search result\nsearch: 2\nresult: 0 Success\n";
    for (what, text) in [
        ("size limit", format!("{TREE}\n# search result\nsearch: 2\nresult: 4 Size limit exceeded\n")),
        ("no comments", format!("{TREE}\nsearch: 2\nresult: 4 Size limit exceeded\n\n")),
        ("time limit", format!("{TREE}\nsearch: 2\nresult: 3 Time limit exceeded\ntext: slow\n")),
        ("another limit", format!("{TREE}\nsearch: 2\nresult: 11 Administrative limit exceeded\n")),
        ("a referral", format!("{TREE}\nsearch: 2\nresult: 10 Referral\nref: ldap://other/dc=x??sub\n")),
        ("unavailable", format!("{TREE}\nsearch: 2\nresult: 52 Server is unavailable\n")),
        (
            "a part that failed, in the middle",
            format!("search: 2\nresult: 4 Size limit exceeded\n\n{TREE}{end}"),
        ),
        ("fewer entries", format!("{TREE}{end}\n# numResponses: 6\n# numEntries: 5\n")),
        ("more entries", format!("{TREE}{end}\n# numResponses: 3\n# numEntries: 2\n")),
        ("ldbsearch", format!("{TREE}\n# returned 5 records\n# 5 entries\n# 0 referrals\n")),
        ("a header without its end", format!("{header}{TREE}")),
        (
            "a page that never came",
            format!(
                "{TREE}{end}control: 1.2.840.113556.1.4.319 false MA0CAQAECAIAAAAAAAAA\npagedresults: cookie=AgAAAAAAAAA=\n"
            ),
        ),
        ("the same with -LL", format!("{TREE}\n# pagedresults: cookie=AgAAAAAAAAA=\n")),
        ("an entry that ends after its name", format!("{TREE}\ndn: uid=c,ou=p,dc=x\n")),
        ("a reference", format!("{TREE}\n# search reference\nref: ldap://other/ou=q,dc=x??sub\n")),
        ("a reference with -LLL", format!("{TREE}\n# refldap://other/ou=q,dc=x??sub\n")),
        ("a value that is cut", TREE.trim_end().to_owned()),
        ("a comment that is cut", format!("{TREE}\n# the next ent")),
        ("CR alone ends lines", TREE.trim_end().replace('\n', "\r")),
        ("CRLF ends lines", TREE.trim_end().replace('\n', "\r\n")),
        ("references that were taken out", format!("{TREE}{end}\n# numEntries: 4\n# numReferences: 1\n")),
        (
            "UnboundID, PingDirectory",
            format!("{TREE}\n# Result Code:  4 (size limit exceeded)\n# Number of Entries Returned:  4\n"),
        ),
        ("UnboundID, other entries", format!("{TREE}\n# Number of Entries Returned:  5\n")),
        ("a name and a number", format!("{TREE}\n# Size limit exceeded (4)\n")),
        ("the same of a program", format!("{TREE}\n# ldapsearch: Administrative limit exceeded (11)\n")),
        ("ForgeRock", format!("{TREE}\n# The LDAP search request failed: 4 (Size Limit Exceeded)\n")),
        ("ForgeRock, in other words", format!("{TREE}\n# The LDAP search request failed: 3 (zu langsam)\n")),
        ("389 DS, another entry", format!("# entry-id: 1\n{TREE}\n# entry-id: 5\n")),
        ("ldbsearch, another entry", format!("# record 1\n{TREE}\n# record 5\n")),
        ("phpLDAPadmin", format!("# Total Entries: 5\n\n# Entry 1: dc=x\n{TREE}")),
    ] {
        let output = read(text).succeeds();
        assert!(!activates(&output), "{what}: {}", output.stderr);
        assert_eq!(doubts(&output).len(), 1, "{what}: {}", output.stderr);
        assert!(output.records(None).len() >= 4, "{what}: what is there is read");
    }
    for (what, text) in [
        ("nothing is said", TREE.to_owned()),
        (
            "UnboundID, whole",
            format!("{TREE}\n# Result Code:  0 (success)\n# Number of Entries Returned:  4\n"),
        ),
        ("389 DS, whole", format!("# entry-id: 1\n{TREE}")),
        ("phpLDAPadmin, whole", format!("# Total Entries: 4\n\n# Entry 1: dc=x\n{TREE}")),
        (
            "other comments",
            format!("{TREE}\n# the import failed: 3 tries\n# alice (4)\n# limit (4), people\n"),
        ),
        ("all is well", format!("{header}{TREE}{end}\n# numResponses: 5\n# numEntries: 4\n")),
        (
            "the last page",
            format!("{TREE}{end}pagedresults: cookie=AgAAAAAAAAA=\n{header}\n{end}pagedresults: cookie=\n"),
        ),
        ("ldbsearch", format!("{TREE}\n# returned 4 records\n# 4 entries\n# 0 referrals\n")),
        ("CR alone ends lines", TREE.replace('\n', "\r")),
        ("CRLF ends lines", TREE.replace('\n', "\r\n")),
        ("an empty line at the end", format!("{TREE}\n")),
    ] {
        let output = read(text).succeeds();
        assert!(activates(&output), "{what}: {}", output.stderr);
        assert_eq!((doubts(&output).len(), output.records(None).len()), (0, 4), "{what}: {}", output.stderr);
    }
}

/// What was cut off may be older than all that is there, and would lie before the position.
#[test]
fn a_dump_that_says_it_is_incomplete_gives_incremental_no_position() {
    let dir = scratch();
    let file = dir.path().join("dump.ldif");
    let mut config = config(&file);
    config["schemas"][0]["replication_method"] = json!("INCREMENTAL");
    config["schemas"][0]["replication_key"] = json!("modifyTimestamp");
    let of = |n: u32| {
        format!("dn: uid={n},dc=x\nobjectClass: account\nuid: {n}\nmodifyTimestamp: 2026010{n}000000Z\n\n")
    };
    let position = |text: String| {
        std::fs::write(&file, text).unwrap();
        let output = Run::tap(&config).run().succeeds();
        output.of_type("STATE").last().unwrap()["value"]["bookmarks"]["all"]["replication_key_value"].clone()
    };
    assert_eq!(position(format!("{}{}", of(1), of(3))), "2026-01-03T00:00:00Z");
    assert_eq!(position(format!("{}search: 2\nresult: 4 Size limit exceeded\n", of(3))), Value::Null);
}

#[test]
fn references_in_a_file_end_the_run_where_they_are_not_allowed() {
    let dir = scratch();
    let file = dir.path().join("dump.ldif");
    std::fs::write(&file, format!("{TREE}\nref: ldap://other/ou=q,dc=x\n")).unwrap();
    let mut config = config(&file);
    config["follow_referrals"] = json!("fail");
    let output = Run::tap(&config).run().exits(1).reports_setting("follow_referrals");
    assert!(output.of_type("RECORD").is_empty());
}

#[test]
fn ranges_in_a_file_are_joined_and_a_list_without_its_end_is_said_to_be() {
    let group =
        |lines: &str| format!("{TREE}\ndn: cn=g,ou=p,dc=x\nobjectClass: groupOfNames\ncn: g\n{lines}");
    let members = |output: &Output| {
        output.records(None).iter().find(|r| r["dn"] == "cn=g,ou=p,dc=x").unwrap()["member"].clone()
    };
    for lines in [
        "member;range=0-1: cn=a\nmember;range=0-1: cn=b\nmember;range=2-*: cn=c\n",
        "member;range=2-*: cn=c\nmember;Range=0-1: cn=a\nmember;range=0-1: cn=b\n",
    ] {
        let output = read(group(lines)).succeeds();
        assert_eq!(members(&output), json!(["cn=a", "cn=b", "cn=c"]));
        assert!(activates(&output) && doubts(&output).is_empty(), "{}", output.stderr);
    }
    for lines in [
        "member;range=0-1: cn=a\nmember;range=0-1: cn=b\n",
        "member;range=0-1: cn=a\nmember;range=0-1: cn=b\nmember;range=2-3: cn=c\nmember;range=2-3: cn=d\n",
        "member;range=1500-*: cn=z\n",
    ] {
        let output = read(group(lines)).succeeds();
        // A target would take the others out of the group, or everybody for null.
        let records = output.records(None);
        let group = records.iter().find(|r| r["dn"] == "cn=g,ou=p,dc=x").unwrap();
        assert!(group.get("member").is_none() && group["cn"] == json!(["g"]), "{group}");
        let schemas = output.of_type("SCHEMA");
        assert!(schemas.iter().any(|s| !s["schema"]["properties"]["member"].is_null()));
        assert!(!activates(&output), "{}", output.stderr);
        assert_eq!(doubts(&output).len(), 1, "{}", output.stderr);
    }
}

/// A null would remove what the directory has, and half a value of an answer would replace the whole.
#[test]
fn what_is_not_known_of_the_entry_at_the_cut_is_no_property() {
    let person = |n: u32, lines: &str| {
        format!("dn: uid={n},dc=x\nobjectClass: inetOrgPerson\nuid: {n}\nsn: {n}\ncn: {n}\n{lines}")
    };
    let whole = person(1, "mail: a@x\ntelephoneNumber: 1\n");
    let head = "# extended LDIF\n#\n# LDAPv3\n#\n\n";
    let root = "dn: dc=x\nobjectClass: domain\ndc: x\n";
    for (text, expected) in [
        // Perhaps somebody has written it by hand: the value is there.
        (format!("{root}\n{whole}\n{}", person(2, "telephoneNumber: 12")), Some(json!(["12"]))),
        (format!("{head}{root}\n{whole}\n{}", person(2, "telephoneNumber: 12\n")), None),
        (format!("{head}{root}\n{whole}\n{}", person(2, "telephoneNumber: 12")), None),
    ] {
        let output = read(&text).succeeds();
        let records = output.records(None);
        let at_the_cut = records.iter().find(|r| r["dn"] == "uid=2,dc=x").unwrap();
        assert_eq!(at_the_cut.get("telephoneNumber"), expected.as_ref(), "{text}");
        assert!(at_the_cut.get("mail").is_none() && at_the_cut["sn"] == json!(["2"]), "{at_the_cut}");
        let before = records.iter().find(|r| r["dn"] == "uid=1,dc=x").unwrap();
        assert_eq!(before["mail"], json!(["a@x"]));
        assert!(!activates(&output));
    }
    // Its name may be another one.
    let output = read(format!("{root}\n{whole}\ndn: uid=2,d")).succeeds();
    assert!(output.records(None).iter().all(|r| r["dn"] != "uid=2,d") && !activates(&output));
}

#[test]
fn one_attribute_under_several_names_has_all_its_values() {
    let output = read(format!(
        "{TREE}\ndn: cn=A,ou=p,dc=x\nobjectClass: person\n2.5.4.0: uidObject\ncn: A\ncommonName: B\n2.5.4.3: C\nSN: s\nsurname: t\n"
    ))
    .succeeds();
    let record = output.records(None).into_iter().find(|r| r["dn"] == "cn=A,ou=p,dc=x").unwrap().clone();
    assert_eq!((&record["cn"], &record["sn"]), (&json!(["A", "B", "C"]), &json!(["s", "t"])));
    assert_eq!(record["objectClass"], json!(["person", "uidObject"]));
    // A filter sees them all, too.
    let dir = scratch();
    let file = dir.path().join("dump.ldif");
    std::fs::write(&file, "dn: dc=x\nobjectClass: domain\ncn: A\ncommonName: B\n").unwrap();
    let mut config = config(&file);
    config["schemas"][0]["filter"] = json!("(cn=B)");
    assert_eq!(Run::tap(&config).run().succeeds().records(None).len(), 1);
}

#[test]
fn a_file_that_holds_nothing_or_is_no_ldif_is_an_error_that_says_what_it_is() {
    for (bytes, word) in [
        (&b""[..], "empty"),
        (b"\n\n", "no entry"),
        (b"# a comment\n\n# another\n", "no entry"),
        (b"# a comment\nand then no LDIF\n", "no entry"),
        (b"version: 1\n", "no entry"),
        (b"# search result\nsearch: 2\nresult: 0 Success\n", "without an entry"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0\x03", "gzip"),
        (b"PK\x03\x04zip", "ZIP"),
        (b"{\"type\": \"RECORD\"}\n", "JSON"),
        (b"<?xml version=\"1.0\"?>\n", "XML"),
        (b"uid,mail\na,b\n", "not LDIF"),
        (b"\0\x01\x02\x03", "binary"),
    ] {
        let dir = scratch();
        let file = dir.path().join("dump.ldif");
        std::fs::write(&file, bytes).unwrap();
        for base in [json!("dc=x"), json!(""), Value::Null] {
            let mut config = config(&file);
            config["base_dn"] = base;
            let output = Run::tap(&config).run().exits(1).reports(&json!({"server": file})).says(word);
            assert!(output.stdout.is_empty(), "{}", output.stdout_text());
        }
    }
}

/// What is wrong with a file is said of the file: which line, and what would be right.
#[test]
fn messages_about_a_file_say_which_line_and_what_would_be_right() {
    let dir = scratch();
    let path = dir.path().join("data.ldif");
    let base = "dn: dc=x\nobjectClass: domain\ndc: x\n\n";
    let thing = "dn: cn=a,dc=x\nobjectClass: device\ncn: a\n";
    let twice = format!("{base}{thing}\n{}", thing.replace("cn=a,dc=x", "CN=A, DC=x"));
    let latin = [base.as_bytes(), b"dn: cn=caf\xe9,dc=x\nobjectClass: device\ncn: x\n"].concat();
    let url = format!("{base}{thing}description:< file:///etc/passwd\n");
    for (content, says) in [
        (twice.into_bytes(), &["line 9", "twice", "on line 5"][..]),
        (
            b"dn: dc=x\nchangetype: modify\nreplace: dc\ndc: x\n".to_vec(),
            &["line 1", "modify `dc=x`", "ldapmodify"],
        ),
        (b"dn: dc=x\nchangetype: delete\n".to_vec(), &["line 1", "delete `dc=x`"]),
        (format!("{base}include: file:///tmp/other.ldif\n\n{thing}").into_bytes(), &["line 5", "`include:`"]),
        (
            format!("{}  \n{thing}", base.trim_end_matches('\n').to_owned() + "\n").into_bytes(),
            &["line 4", "blanks"],
        ),
        (
            format!("{}\t\n \n{thing}", base.trim_end_matches('\n').to_owned() + "\n ").into_bytes(),
            &["line 5", "blanks"],
        ),
        (latin, &["line 5", "column 11", "E9", "iconv"]),
        (b"dn:: Y249Y2Fm6SxkYz14\nobjectClass: device\ncn: x\n".to_vec(), &["line 1", "octet 7", "E9"]),
        (url.into_bytes(), &["line 8", "`description`", "base64"]),
    ] {
        std::fs::write(&path, &content).unwrap();
        let config = json!({"server_url": format!("ldif:{}", path.display())});
        let mut output = Run::tap(&config).run();
        for text in says {
            output = output.says(text);
        }
        for text in ["bound user", "by default", "ask the administrator"] {
            assert!(!output.stderr.contains(text), "{text}: {}", output.stderr);
        }
        assert!(output.of_type("RECORD").is_empty());
        assert_ne!(output.code, 0);
    }
    // A long value may well be folded among blanks.
    let folded = format!("{base}{thing}description: a\n  \n   b\n");
    std::fs::write(&path, folded).unwrap();
    let config = json!({"server_url": format!("ldif:{}", path.display()), "base_dn": "dc=x", "schemas": [{"name": "all"}]});
    let output = Run::tap(&config).run().succeeds();
    let records = output.records(None);
    assert!(records.iter().any(|r| r["description"] == json!(["a   b"])), "{records:?}");
}

#[test]
fn a_destination_that_is_cut_is_said_before_it_is_written_anew() {
    let record = json!({"type": "RECORD", "stream": "all", "record": {"dn": "uid=c,ou=p,dc=x", "uid": "c"}});
    let schema = json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"],
        "schema": {"properties": {"dn": {"type": "string"}, "uid": {"type": "string"}}}});
    for (cut, warnings) in [(TREE.trim_end(), 1), (TREE, 0)] {
        let dir = scratch();
        let file = dir.path().join("dump.ldif");
        std::fs::write(&file, cut).unwrap();
        let config = json!({"server_url": format!("ldif:{}", file.display()),
            "mapping_rules": {"all": {"object_classes": ["account"]}}});
        let output = Run::target(&config).messages(&[schema.clone(), record.clone()]).run().exits(0);
        let found = output.stderr.about(&json!({"setting": "server_url", "shortfalls": 1}));
        assert_eq!(found.len(), warnings, "{}", output.stderr);
    }
}
