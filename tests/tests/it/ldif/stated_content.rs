//! What a file says in its head and at its end: attributes that are not in it, and the search that it was made by.

use std::path::Path;

use ldap_tests::run::{Output, Run};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{discover, people, tap_config, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";

fn slapd() -> Slapd {
    let password = "userPassword: secret\nemployeeNumber: 7\n";
    let person = format!(
        "dn: uid=ada,{PEOPLE}\nobjectClass: inetOrgPerson\nuid: ada\ncn: A\nsn: A\nmail: a@x.y\n{password}\n"
    );
    Slapd::start(SlapdOptions::with_users().seed(person + &people(3, PEOPLE)))
}

/// What `ldapsearch` prints, with its head and its end.
fn ldapsearch(slapd: &Slapd, args: &[&str]) -> String {
    let config = tap_config(slapd);
    let text = |name: &str| config[name].as_str().unwrap().to_owned();
    let output = std::process::Command::new("ldapsearch")
        .args(["-x", "-o", "ldif-wrap=no", "-H", &slapd.ldap_uri(), "-D", &text("bind_dn")])
        .args(["-w", &text("bind_password"), "-b", slapd.suffix()])
        .args(args)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn read(dir: &Path, text: &str, more: &Value, catalog: Option<&Value>) -> Output {
    let file = dir.join("p.ldif");
    std::fs::write(&file, text).unwrap();
    let config = json!({"server_url": format!("ldif:{}", file.display()), "operational_attributes": ["userPassword"],
        "discover_by": "object_class", "select_by_default": "allowed"});
    let run = Run::tap(&with(&config, more)).arg("--log-format").arg("json");
    match catalog {
        Some(catalog) => run.file("--catalog", catalog).run().succeeds(),
        None => run.run().succeeds(),
    }
}

fn of<'o>(output: &'o Output, rdn: &str) -> &'o Value {
    let is_it = |record: &&Value| record["dn"].as_str().is_some_and(|dn| dn.starts_with(rdn));
    output.records(None).into_iter().find(is_it).unwrap()
}

fn warnings(output: &Output) -> usize {
    output.stderr.about(&json!({"setting": "server_url", "level": "warning"})).len()
}

fn deleted(output: &Output) -> usize {
    output.records(None).iter().filter(|record| record["_sdc_deleted_at"].is_string()).count()
}

#[test]
fn attributes_that_were_not_requested_are_left_out_and_not_null() {
    let (slapd, dir) = (slapd(), scratch());
    let all = ["objectClass", "uid", "cn", "sn", "member", "dc", "o", "ou"];
    let catalog = discover(&with(
        &tap_config(&slapd),
        &json!({"operational_attributes": ["userPassword", "createTimestamp"], "discover_by": "object_class",
            "select_by_default": "allowed"}),
    ));
    for args in [&["-L"][..], &[]] {
        let text = ldapsearch(&slapd, &[args, &["(objectClass=*)"], &all].concat());
        for catalog in [None, Some(&catalog)] {
            let output = read(dir.path(), &text, &json!({}), catalog);
            for name in ["mail", "userPassword", "employeeNumber", "createTimestamp"] {
                assert!(of(&output, "uid=ada").get(name).is_none(), "{name}: {}", of(&output, "uid=ada"));
            }
            assert_eq!(warnings(&output), 1, "{:?}", output.stderr.entries());
        }
    }
    // All user attributes: what an entry does not show, it does not have; of operational ones nothing is known.
    let output = read(dir.path(), &ldapsearch(&slapd, &[]), &json!({}), Some(&catalog));
    let person = of(&output, "uid=person1,");
    assert!(person.get("title").is_some_and(Value::is_null), "{person}");
    assert!(
        person.get("userPassword").is_some_and(Value::is_null) && person.get("createTimestamp").is_none()
    );
    assert!(of(&output, "uid=ada")["userPassword"].is_array());
}

#[test]
fn attributes_that_an_export_left_out_are_not_null() {
    let dir = scratch();
    let entry = |uid: &str, more: &str| {
        format!("dn: uid={uid},dc=x\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: c\nsn: s\n{more}\n")
    };
    let text = format!(
        "# ldap-service export\n# base: dc=x\n# filter: (objectClass=*)\n\n{}{}# left out: userPassword of 2 entries\n\
         # left out: mail of 1 entries (may not be read)\n# end: 2 entries\n",
        entry("ada", "mail: a@x.y\n"),
        entry("bob", "")
    );
    let output = read(dir.path(), &text, &json!({}), None);
    for (uid, mail) in [("uid=ada", true), ("uid=bob", false)] {
        let record = of(&output, uid);
        assert!(record.get("userPassword").is_none() && record.get("mail").is_some() == mail, "{record}");
        assert!(record.get("title").is_some_and(Value::is_null), "{record}");
    }
    assert_eq!(warnings(&output), 1);
    output.stderr.has(&json!({"setting": "server_url", "attribute": "userPassword", "line": 18}));
}

#[test]
fn memberships_that_an_export_left_out_are_not_gone() {
    let dir = scratch();
    let group =
        |cn: &str, more: &str| format!("dn: cn={cn},dc=x\nobjectClass: groupOfNames\ncn: {cn}\n{more}\n");
    let text = |end: &str| {
        format!(
            "# ldap-service export\n# base: dc=x\n\n{}{}{end}# end: 2 entries\n",
            group("a", "member: cn=m,dc=x\n"),
            group("b", "")
        )
    };
    let run = |text: &str, more: &Value| {
        read(dir.path(), text, &with(&json!({"membership_streams": true}), more), None)
    };
    let activates = |end: &str| {
        let output = run(&text(end), &json!({}));
        let of_members =
            |m: &&&Value| m["stream"].as_str().is_some_and(|stream| stream.ends_with("_members"));
        output.of_type("ACTIVATE_VERSION").iter().filter(of_members).count()
    };
    assert_eq!(activates(""), 1);
    let left_out = "# left out: member of 1 entries (may not be read)\n";
    assert_eq!(activates(left_out), 0);
    // Two reasons, each with a warning of its own that names its line; the entries have the attribute's as well.
    let part = text(left_out).replace("# base: dc=x\n", "# base: dc=x\n# filter: (cn=*)\n");
    let output = run(&part, &json!({"operational_attributes": ["userPassword"]}));
    let lines = |output: &Output| -> Vec<u64> {
        let found = output.stderr.about(&json!({"setting": "server_url", "level": "warning"}));
        found.iter().filter(|line| line["attribute"].is_null()).map(|w| w["line"].as_u64().unwrap()).collect()
    };
    let last = u64::try_from(part.lines().count()).unwrap() - 1;
    assert_eq!(lines(&output), [3, last], "{:?}", output.stderr.entries());
}

/// A file that does not say by which search it was made has no line that does.
#[test]
fn a_file_without_a_head_has_no_line_that_says_so() {
    let (slapd, dir, state_dir) = (slapd(), scratch(), scratch());
    let tracked = json!({"track_deletions": true, "state_dir": state_dir.path()});
    read(dir.path(), &ldapsearch(&slapd, &[]), &tracked, None);
    let output = read(dir.path(), &ldapsearch(&slapd, &["-LLL"]), &tracked, None);
    let found = output.stderr.about(&json!({"setting": "server_url", "level": "warning"}));
    assert_eq!(found.len(), 1);
    assert!(found[0]["line"].is_null(), "{}", found[0]);
}

/// Only a head says what was searched; a comment on the first line is none.
#[test]
fn a_comment_on_the_first_line_is_not_a_head() {
    let dir = scratch();
    let text = "# filter: (uid=x*)\n# requesting: uid\ndn: uid=ada,dc=x\nobjectClass: inetOrgPerson\nuid: ada\ncn: c\nsn: s\n\n";
    let output = read(dir.path(), text, &json!({}), None);
    assert!(!output.of_type("ACTIVATE_VERSION").is_empty());
    assert_eq!(warnings(&output), 0);
    assert!(of(&output, "uid=ada").get("mail").is_some_and(Value::is_null));
}

/// A membership is one record, be it listed under an option as well.
#[test]
fn a_member_with_and_without_an_option_is_one_record() {
    let dir = scratch();
    let member = |option: &str, name: &str| format!("member{option}: cn={name},dc=x\n");
    for order in [["", ";lang-en"], [";lang-en", ""], [";lang-de", ";lang-en"]] {
        let members = [member(order[0], "m"), member(order[1], "m"), member("", "n")].concat();
        let text = format!("dn: cn=a,dc=x\nobjectClass: groupOfNames\ncn: a\n{members}\n");
        let output = read(dir.path(), &text, &json!({"membership_streams": true}), None);
        let mut found: Vec<&str> =
            output.records(None).iter().filter_map(|r| r.get("member")?.as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, ["cn=m,dc=x", "cn=n,dc=x"], "{order:?}");
    }
}

#[test]
fn the_answer_to_another_search_deletes_nothing() {
    let (slapd, dir) = (slapd(), scratch());
    let state_dir = scratch();
    let tracked = json!({"track_deletions": true, "state_dir": state_dir.path()});
    let read = |text: &str| read(dir.path(), text, &tracked, None);
    let whole = ldapsearch(&slapd, &[]);
    let counts =
        |output: &Output| (deleted(output), !output.of_type("ACTIVATE_VERSION").is_empty(), warnings(output));
    assert_eq!(counts(&read(&whole)), (0, true, 0));
    let bob = format!("uid=bob,{PEOPLE}");
    for args in [
        &["(uid=person*)"][..],
        &["(!(uid=bob))"],
        &["-s", "one"],
        &["-s", "base"],
        &["-b", PEOPLE],
        &["-b", &bob],
    ] {
        let part = ldapsearch(&slapd, args);
        assert_eq!(counts(&read(&part)), (0, false, 1), "{args:?}");
        // A head as of an export of the service.
        assert_eq!(counts(&read(&whole)), (0, true, 0), "after {args:?}");
    }
    // Without a head, nothing is known.
    assert_eq!(counts(&read(&ldapsearch(&slapd, &["-LLL", "(!(uid=bob))"]))), (0, false, 1));
    // Who always exports by the same filter has one whole.
    let part = ldapsearch(&slapd, &["(!(uid=bob))"]);
    assert_eq!(counts(&read(&part)), (0, false, 1));
    assert_eq!(counts(&read(&part)), (1, true, 0), "bob left this whole");
    slapd.ldapmodify(format!("dn: uid=person1,{PEOPLE}\nchangetype: delete\n"));
    assert_eq!(
        counts(&read(&ldapsearch(&slapd, &["(!(uid=bob))"]))),
        (2, true, 0),
        "person1, and bob again without a STATE"
    );
}

/// Without an index, the bookmark has it.
#[test]
fn the_first_answer_to_a_filter_activates_nothing() {
    let (slapd, dir) = (slapd(), scratch());
    let text = ldapsearch(&slapd, &["(!(uid=bob))"]);
    let file = dir.path().join("p.ldif");
    std::fs::write(&file, text).unwrap();
    let config = json!({"server_url": format!("ldif:{}", file.display()), "schemas": [{"name": "all", "base_dn": "dc=example,dc=test"}]});
    let first = Run::tap(&config).run().succeeds();
    assert!(first.of_type("ACTIVATE_VERSION").is_empty());
    let state = first.of_type("STATE").last().unwrap()["value"].clone();
    let second = Run::tap(&config).file("--state", &state).run().succeeds();
    assert_eq!(second.of_type("ACTIVATE_VERSION").len(), 1, "the same search as the last time");
}
