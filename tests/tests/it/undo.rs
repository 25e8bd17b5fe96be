//! What takes a run back: the undo file, what a killed run leaves, and `target-ldap undo`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::{Tree, assert_same};
use ldap_tests::run::{Output, Program, Run, Running, read_text};
use ldap_tests::samba::Samba;
use ldap_tests::server::{Server, scratch, tool};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::replication::rng::{Rng, seed};
use crate::support::{assert_untouched, lines, target_config, unit, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";

fn schema() -> Value {
    let texts = json!({"type": ["null", "array"], "items": {"type": "string"}});
    let text = json!({"type": ["null", "string"]});
    json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"], "schema": {"properties": {
        "dn": text, "_sdc_deleted_at": text, "objectClass": texts, "uid": texts, "cn": texts, "sn": texts,
        "description": texts, "title": texts, "mail": texts}}})
}

fn record(dn: &str, more: Value) -> Value {
    let mut record = more;
    record["dn"] = json!(dn);
    json!({"type": "RECORD", "stream": "all", "record": record})
}

fn person(n: usize, more: &Value) -> Value {
    let all = json!({"objectClass": ["inetOrgPerson"], "uid": [format!("p{n}")], "cn": [format!("P {n}")],
        "sn": [n.to_string()]});
    record(&format!("uid=p{n},{PEOPLE}"), with(&all, more))
}

fn gone(dn: &str) -> Value {
    record(dn, json!({"_sdc_deleted_at": "2026-01-01T00:00:00Z"}))
}

/// People 0 to 9.
fn people() -> String {
    let mut text = unit(PEOPLE);
    for n in 0..10 {
        let _ = write!(
            text,
            "dn: uid=p{n},{PEOPLE}\nobjectClass: inetOrgPerson\nuid: p{n}\ncn: P {n}\nsn: {n}\n\
             description: old\ndescription: older\ntitle: T\nmail: p{n}@x.test\n\n"
        );
    }
    text
}

/// One of each: changes, an addition below a parent that is made, deletions.
fn messages() -> Vec<Value> {
    vec![
        schema(),
        person(0, &json!({"description": ["new"], "mail": null})),
        person(1, &json!({"title": ["Boss"]})),
        record(
            "uid=n1,ou=team,dc=example,dc=test",
            json!({"objectClass": ["inetOrgPerson"], "uid": ["n1"], "cn": ["N"], "sn": ["N"]}),
        ),
        gone(&format!("uid=p2,{PEOPLE}")),
        gone(&format!("uid=p3,{PEOPLE}")),
        json!({"type": "STATE", "value": {"done": true}}),
    ]
}

fn slapd() -> Slapd {
    Slapd::start(SlapdOptions::default().seed(people()))
}

fn undo(config: &Value, file: &Path, flags: &[&str]) -> Output {
    let mut run = Run::bare(Program::Target).arg("undo").arg(file.to_str().unwrap());
    for flag in flags {
        run = run.arg(*flag);
    }
    run.file("--config", config).run()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_run_is_taken_back_and_what_is_taken_back_already_is_fine() {
    let slapd = slapd();
    let before = slapd.dump();
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&target_config(&slapd), &json!({"undo_file": file}));
    Run::target(&config).stdin(lines(&messages())).run().succeeds();
    let marks = slapd.change_marks();
    let planned = undo(&config, &file, &["--dry-run"]).succeeds().stdout_text();
    assert_untouched(&slapd, &marks);
    assert_eq!(planned.matches("\nchangetype: ").count(), 6, "{planned}");
    for _ in 0..2 {
        let output = undo(&config, &file, &[]).succeeds();
        assert!(output.stdout.is_empty());
        assert_same("before", &before, "taken back", &slapd.dump());
    }
    assert_eq!(files(dir.path()), ["undo.ldif"]);
}

#[test]
fn an_entry_that_was_changed_since_is_left_alone_and_named() {
    let slapd = slapd();
    let before = slapd.dump();
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&target_config(&slapd), &json!({"undo_file": file}));
    Run::target(&config).stdin(lines(&messages())).run().succeeds();
    // Changed by hand: what the run changed, what it added, and what it deleted.
    slapd.ldapmodify(format!(
        "dn: uid=p0,{PEOPLE}\nchangetype: modify\nreplace: description\ndescription: by hand\n\n\
         dn: uid=n1,ou=team,dc=example,dc=test\nchangetype: modify\nadd: title\ntitle: by hand\n\n\
         dn: uid=p2,{PEOPLE}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: p2\ncn: another\nsn: another\n"
    ));
    let by_hand = slapd.dump();
    let output = undo(&config, &file, &[]).exits(4);
    let left = [
        format!("uid=p0,{PEOPLE}"),
        format!("uid=p2,{PEOPLE}"),
        "uid=n1,ou=team,dc=example,dc=test".into(),
        // Something is below it.
        "ou=team,dc=example,dc=test".into(),
    ];
    let mut wanted = before.clone();
    for dn in &left {
        assert!(output.stderr.contains(dn), "{dn}: {}", output.stderr);
        wanted.insert(dn.clone(), by_hand[dn].clone());
    }
    assert_same("wanted", &wanted, "taken back", &slapd.dump());
}

/// A person as LDIF that adds it.
fn person_anew(uid: &str, place: &str, more: &str) -> String {
    format!("dn: uid={uid},{place}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: {uid}\n{more}\n")
}

/// Entries that somebody deleted and made anew since the run: as they were before it, as it left them, or with more.
fn leaves_alone_what_was_made_anew(server: &Server) {
    let before = server.dump_below(PEOPLE, &["*"]);
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&target_config(server), &json!({"undo_file": file}));
    Run::target(&config).stdin(lines(&messages())).run().succeeds();
    let team = "ou=team,dc=example,dc=test";
    let old = "description: old\ndescription: older\n";
    let gone = |dn: &str| format!("dn: {dn}\nchangetype: delete\n\n");
    server.ldapmodify(
        [
            gone(&format!("uid=p0,{PEOPLE}")),
            person_anew("p0", PEOPLE, &format!("cn: P 0\nsn: 0\n{old}title: T\nmail: p0@x.test\n")),
            gone(&format!("uid=p1,{PEOPLE}")),
            person_anew("p1", PEOPLE, &format!("cn: P 1\nsn: 1\n{old}title: Boss\nmail: p1@x.test\n")),
            gone(&format!("uid=n1,{team}")),
            person_anew("n1", team, "cn: N\nsn: N\n"),
            // The run deleted it. All that it had is there, and something else.
            person_anew(
                "p2",
                PEOPLE,
                &format!("cn: P 2\nsn: 2\n{old}title: T\nmail: p2@x.test\nmobile: 1\n"),
            ),
        ]
        .concat(),
    );
    let by_hand = (server.dump_below(PEOPLE, &["*"]), server.dump_below(team, &["*"]));
    let left = ["p0", "p1", "p2"].map(|uid| format!("uid={uid},{PEOPLE}"));
    let left = left.into_iter().chain([format!("uid=n1,{team}"), team.to_owned()]);
    for _ in 0..2 {
        let output = undo(&config, &file, &[]).exits(4).says("5 entries left alone");
        for dn in left.clone() {
            assert!(output.stderr.contains(&format!("`{dn}` is left alone")), "{dn}: {}", output.stderr);
        }
        let mut wanted = by_hand.0.clone();
        let p3 = format!("uid=p3,{PEOPLE}");
        wanted.insert(p3.clone(), before[&p3].clone());
        assert_same("wanted", &wanted, "taken back", &server.dump_below(PEOPLE, &["*"]));
        assert_same("by hand", &by_hand.1, "taken back", &server.dump_below(team, &["*"]));
    }
}

#[test]
fn an_entry_that_somebody_made_anew_is_left_alone_whatever_it_has() {
    leaves_alone_what_was_made_anew(&slapd());
    leaves_alone_what_was_made_anew(&Ds389::start(&Ds389Options::default().seed(people())));
}

/// Active Directory fills in dozens of attributes by itself: there only the id tells.
#[test]
fn an_account_that_somebody_made_anew_is_left_alone() {
    let samba = Samba::start("");
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&target_config(&samba), &json!({"undo_file": file}));
    let dn = |name: &str| format!("CN={name},CN=Users,{}", samba.suffix());
    let account = |name: &str| {
        format!(
            "dn: {}\nchangetype: add\nobjectClass: user\ncn: {name}\nsAMAccountName: {name}\n\n",
            dn(name)
        )
    };
    let gone_by_hand = |name: &str| format!("dn: {}\nchangetype: delete\n\n", dn(name));
    samba.ldapmodify(["changed", "deleted", "same"].map(account).concat());
    let texts = json!({"type": ["null", "array"], "items": {"type": "string"}});
    let mut schema = schema();
    schema["schema"]["properties"]["sAMAccountName"] = texts;
    let user = |name: &str| {
        let more =
            json!({"objectClass": ["user"], "cn": [name], "sAMAccountName": [name], "description": ["run"]});
        record(&dn(name), more)
    };
    let messages = [schema, user("added"), user("changed"), user("same"), gone(&dn("deleted"))];
    Run::target(&config).stdin(lines(&messages)).run().succeeds();
    samba.ldapmodify(
        [
            gone_by_hand("added"),
            account("added"),
            gone_by_hand("changed"),
            account("changed"),
            account("deleted"),
        ]
        .concat(),
    );
    let output = undo(&config, &file, &[]).exits(4).says("3 entries left alone");
    for name in ["added", "changed", "deleted"] {
        assert!(
            output.stderr.contains(&format!("`{}` is left alone", dn(name))),
            "{name}: {}",
            output.stderr
        );
    }
    let tree = samba.dump_below(&format!("CN=Users,{}", samba.suffix()), &["description"]);
    let there = |name: &str| tree.iter().find(|(n, _)| n.eq_ignore_ascii_case(&dn(name))).unwrap().1.clone();
    assert!(!there("same").contains_key("description"), "{tree:?}");
    for name in ["added", "changed", "deleted"] {
        there(name);
    }
}

#[test]
fn an_entry_that_an_undo_made_anew_is_known_to_the_undo_of_earlier_runs() {
    let slapd = slapd();
    let before = slapd.dump();
    let dir = scratch();
    let config = with(&target_config(&slapd), &json!({"undo_file": dir.path().join("undo-{run_id}.ldif")}));
    for messages in [
        vec![schema(), person(0, &json!({"title": ["first"]}))],
        vec![schema(), person(0, &json!({"title": ["second"]})), gone(&format!("uid=p1,{PEOPLE}"))],
        vec![schema(), gone(&format!("uid=p0,{PEOPLE}"))],
    ] {
        Run::target(&config).stdin(lines(&messages)).run().succeeds();
        // By the second.
        sleep(Duration::from_millis(1_100));
    }
    let names = files(dir.path());
    assert_eq!(names.len(), 3, "{names:?}");
    for name in names.iter().rev() {
        undo(&config, &dir.path().join(name), &[]).succeeds().says("0 entries left alone");
    }
    assert_same("before", &before, "taken back", &slapd.dump());
}

#[test]
fn a_run_is_not_taken_back_on_another_server_unless_that_is_said() {
    let (slapd, replica) = (slapd(), slapd());
    let before = slapd.dump();
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&target_config(&slapd), &json!({"undo_file": file}));
    Run::target(&config).stdin(lines(&messages())).run().succeeds();
    let there = target_config(&replica);
    Run::target(&there).stdin(lines(&messages())).run().succeeds();
    let marks = replica.change_marks();
    for flags in [&[][..], &["--dry-run"]] {
        let output = undo(&there, &file, flags).exits(2);
        for said in [slapd.ldap_uri(), replica.ldap_uri(), "--another-server".to_owned()] {
            assert!(output.stderr.contains(&said), "{said}: {}", output.stderr);
        }
        assert_untouched(&replica, &marks);
    }
    // Ids are each server's own here: so this is no replica, and only what has none is taken back.
    let plan = undo(&there, &file, &["--another-server", "--dry-run"]).exits(4).stdout_text();
    assert!(plan.contains("changetype: add"), "{plan}");
    assert_untouched(&replica, &marks);
    // Servers that stand for one another are one place.
    let either = with(&config, &json!({"server_url": ["ldap://127.0.0.1:1", slapd.ldap_uri()]}));
    undo(&either, &file, &["--dry-run"]).succeeds();
    let elsewhere =
        Slapd::start(SlapdOptions { suffix: "dc=other,dc=test".into(), ..SlapdOptions::default() });
    let marks = elsewhere.change_marks();
    let output = undo(&target_config(&elsewhere), &file, &["--another-server"]).exits(2);
    assert!(
        output.stderr.contains("dc=other,dc=test") && output.stderr.contains(PEOPLE),
        "{}",
        output.stderr
    );
    assert_untouched(&elsewhere, &marks);
    undo(&config, &file, &[]).succeeds();
    assert_same("before", &before, "taken back", &slapd.dump());
}

#[test]
fn a_file_that_was_moved_is_another_place_and_a_link_to_it_is_not() {
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    std::fs::write(
        at("d.ldif"),
        format!("dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n{}", people()),
    )
    .unwrap();
    let before = ldap_tests::ldif::parse_file(&at("d.ldif"));
    let config = |name: &str| json!({"server_url": format!("ldif:{}", at(name).display()), "undo_file": at("undo.ldif")});
    Run::target(&config("d.ldif")).stdin(lines(&messages())).run().succeeds();
    std::os::unix::fs::symlink(at("d.ldif"), at("link.ldif")).unwrap();
    undo(&config("link.ldif"), &at("undo.ldif"), &["--dry-run"]).succeeds();
    std::fs::rename(at("d.ldif"), at("moved.ldif")).unwrap();
    undo(&config("moved.ldif"), &at("undo.ldif"), &[]).exits(2).says("moved.ldif").says("d.ldif");
    undo(&config("moved.ldif"), &at("undo.ldif"), &["--another-server"]).succeeds();
    assert_same("before", &before, "taken back", &ldap_tests::ldif::parse_file(&at("moved.ldif")));
}

#[test]
fn a_file_is_taken_back_as_a_directory_is() {
    let dir = scratch();
    let (file, back) = (dir.path().join("people.ldif"), dir.path().join("undo.ldif"));
    std::fs::write(
        &file,
        format!("dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n{}", people()),
    )
    .unwrap();
    let before = ldap_tests::ldif::parse_file(&file);
    let config = json!({"server_url": format!("ldif:{}", file.display()), "undo_file": back});
    Run::target(&config).stdin(lines(&messages())).run().succeeds();
    assert!(ldap_tests::ldif::parse_file(&file) != before);
    let after = std::fs::read(&file).unwrap();
    let plan = undo(&config, &back, &["--dry-run"]).succeeds().stdout_text();
    assert!(plan.contains("changetype: delete") && std::fs::read(&file).unwrap() == after);
    for _ in 0..2 {
        undo(&config, &back, &[]).succeeds();
        assert_same("before", &before, "taken back", &ldap_tests::ldif::parse_file(&file));
    }
}

#[test]
fn files_of_others_are_refused_and_those_of_earlier_versions_only_taken_as_they_are() {
    let slapd = slapd();
    let before = slapd.change_marks();
    let config = target_config(&slapd);
    let dir = scratch();
    let file = dir.path().join("some.ldif");
    let old = format!("dn: uid=p0,{PEOPLE}\nchangetype: modify\nreplace: title\ntitle: before\n-\n\n");
    let later = "# target-ldap undo file {\"version\":99}\n";
    let content = format!("dn: uid=p0,{PEOPLE}\nuid: p0\n");
    for (text, flags) in [
        ("hello\n", &[][..]),
        ("hello\n", &["--unchecked"]),
        (&content, &["--unchecked"]),
        ("", &["--unchecked"]),
        (&old, &[]),
        (later, &["--unchecked"]),
        (later, &[]),
    ] {
        std::fs::write(&file, text).unwrap();
        undo(&config, &file, flags).exits(2).says("some.ldif");
    }
    undo(&config, &dir.path().join("nothing.ldif"), &[]).exits(2).says("nothing.ldif");
    assert_untouched(&slapd, &before);
    std::fs::write(&file, &old).unwrap();
    undo(&config, &file, &["--unchecked"]).succeeds();
    assert_eq!(slapd.dump()[&format!("uid=p0,{PEOPLE}")]["title"], [b"before".to_vec()].into());
}

#[test]
fn a_dry_run_leaves_the_undo_file_and_the_reject_file_as_they_are() {
    let slapd = slapd();
    let dir = scratch();
    let [file, rejects] = ["undo.ldif", "rejects.jsonl"].map(|n| dir.path().join(n));
    let config =
        with(&target_config(&slapd), &json!({"undo_file": file, "on_error": "skip", "reject_file": rejects}));
    Run::target(&config).stdin(lines(&messages())).arg("--dry-run").run().succeeds();
    assert_eq!(files(dir.path()), [""; 0]);
    std::fs::write(&file, "the last run's").unwrap();
    Run::target(&config).stdin(lines(&messages())).arg("--dry-run").run().succeeds();
    assert_eq!(read_text(&file), "the last run's");
}

#[test]
fn each_run_may_have_a_file_of_its_own_and_the_newest_are_kept() {
    let slapd = slapd();
    let before = slapd.dump();
    let dir = scratch();
    std::fs::write(dir.path().join("undo-mine.ldif"), "mine").unwrap();
    let name = dir.path().join("undo-{run_id}.ldif");
    let config = with(&target_config(&slapd), &json!({"undo_file": name, "undo_keep": 2}));
    for n in 0..4 {
        let all = [schema(), person(0, &json!({"title": [format!("t{n}")]}))];
        Run::target(&config).stdin(lines(&all)).run().succeeds();
        // By the second.
        sleep(Duration::from_millis(1_100));
    }
    let kept: Vec<String> = files(dir.path()).into_iter().filter(|n| n != "undo-mine.ldif").collect();
    assert_eq!(kept.len(), 2, "{kept:?}");
    assert_eq!(read_text(&dir.path().join("undo-mine.ldif")), "mine");
    for name in kept.iter().rev() {
        undo(&config, &dir.path().join(name), &[]).succeeds();
    }
    let title = &slapd.dump()[&format!("uid=p0,{PEOPLE}")]["title"];
    assert_eq!(title, &[b"t1".to_vec()].into());
    assert!(before != slapd.dump());
    for bad in ["undo-{run}.ldif", "{run_id}/undo.ldif"] {
        let config = with(&config, &json!({"undo_file": dir.path().join(bad)}));
        Run::target(&config).stdin(lines(&messages())).run().exits(2).says("undo_file");
    }
}

/// A run that waits for more input.
fn waiting(config: &Value, input: &[Value]) -> Running {
    let mut running = Run::target(config).spawn();
    let mut stdout = BufReader::new(running.take_stdout());
    running.write_stdin(lines(input).as_bytes());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert!(line.contains("done"), "{line}");
    std::mem::forget(stdout);
    running
}

#[test]
fn two_runs_do_not_share_what_they_write() {
    let slapd = slapd();
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    std::os::unix::fs::symlink(at("undo.ldif"), at("link.ldif")).unwrap();
    let settings = json!({"undo_file": at("undo.ldif"), "on_error": "skip", "reject_file": at("r.jsonl")});
    let config = with(&target_config(&slapd), &settings);
    let mut first = waiting(&config, &messages());
    let pid = first.child().id().to_string();
    let before = slapd.change_marks();
    for (setting, more) in [
        ("undo_file", json!({"undo_file": at("undo.ldif")})),
        ("undo_file", json!({"undo_file": at("link.ldif")})),
        ("reject_file", json!({"on_error": "skip", "reject_file": dir.path().join("./r.jsonl")})),
        // What is to be read there is written here.
        ("reject_file", json!({"on_error": "skip", "reject_file": at("undo.ldif")})),
        // What the first makes of its file's name.
        ("undo_file", json!({"undo_file": at("undo.ldif.journal")})),
        ("undo_file", json!({"undo_file": at("undo.ldif.lock")})),
    ] {
        let second = Run::target(&with(&target_config(&slapd), &more)).stdin(lines(&messages())).run();
        second.exits(2).says(setting).says(dir.path().to_str().unwrap());
    }
    undo(&config, &at("undo.ldif"), &[]).exits(2).says(&pid);
    undo(&config, &at("undo.ldif.journal"), &[]).exits(2).says(&pid);
    let same = json!({"undo_file": at("x"), "on_error": "skip", "reject_file": at("x")});
    Run::target(&with(&target_config(&slapd), &same)).stdin(lines(&messages())).run().exits(2);
    assert_untouched(&slapd, &before);
    // A dry run is welcome.
    Run::target(&config).stdin(lines(&messages())).arg("--dry-run").run().succeeds();
    first.close_stdin_with(b"");
    assert_eq!(first.wait(Duration::from_secs(30)).0, 0);
    assert!(!files(dir.path()).iter().any(|n| n.contains("lock")), "{:?}", files(dir.path()));
    // A killed one holds nothing.
    let mut killed = waiting(&config, &messages());
    killed.signal(Signal::KILL);
    killed.wait(Duration::from_secs(30));
    Run::target(&config).stdin(lines(&messages())).run().succeeds();
}

#[test]
fn a_file_under_two_names_is_one_file() {
    let slapd = slapd();
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    for name in ["r.jsonl", "undo.ldif", "d.ldif"] {
        std::fs::write(at(name), "").unwrap();
        std::fs::create_dir_all(at("other")).unwrap();
        std::fs::hard_link(at(name), at(&format!("other/{name}"))).unwrap();
    }
    let settings = json!({"undo_file": at("undo.ldif"), "on_error": "skip", "reject_file": at("r.jsonl")});
    let mut first = waiting(&with(&target_config(&slapd), &settings), &messages());
    let pid = first.child().id().to_string();
    let before = slapd.change_marks();
    // The journal has been made since.
    std::fs::hard_link(at("undo.ldif.journal"), at("other/journal")).unwrap();
    for (setting, more) in [
        ("undo_file", json!({"undo_file": at("other/journal")})),
        ("reject_file", json!({"on_error": "skip", "reject_file": at("other/journal")})),
        ("undo_file", json!({"undo_file": at("other/undo.ldif")})),
        ("reject_file", json!({"on_error": "skip", "reject_file": at("other/r.jsonl")})),
        ("reject_file", json!({"on_error": "skip", "reject_file": at("other/undo.ldif")})),
    ] {
        let second = Run::target(&with(&target_config(&slapd), &more)).stdin(lines(&messages())).run();
        second.exits(2).says(setting).says(&pid).says(at("other").to_str().unwrap());
    }
    assert_untouched(&slapd, &before);
    first.close_stdin_with(b"");
    assert_eq!(first.wait(Duration::from_secs(30)).0, 0);
    // Within one run, too.
    let url = |name: &str| format!("ldif:{}", at(name).display());
    for settings in [
        json!({"undo_file": at("d.ldif"), "server_url": url("other/d.ldif")}),
        json!({"on_error": "skip", "reject_file": at("other/d.ldif"), "server_url": url("d.ldif")}),
    ] {
        Run::target(&settings).stdin(lines(&messages())).run().exits(2).says("`server_url`");
    }
    assert_eq!(read_text(&at("d.ldif")), "");
}

#[test]
fn a_file_has_one_writer_and_a_state_dir_one_tap() {
    let dir = scratch();
    let file = dir.path().join("d.ldif");
    let content = format!("dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n{}", people());
    std::fs::write(&file, content).unwrap();
    let config = json!({"server_url": format!("ldif:{}", file.display())});
    // It prints STATE only once it is at its end: so wait for the lock.
    let mut first = Run::target(&config).spawn();
    first.write_stdin(lines(&messages()).as_bytes());
    while !dir.path().join("d.ldif.lock").exists() {
        sleep(Duration::from_millis(10));
    }
    let pid = first.child().id().to_string();
    Run::target(&config).stdin(lines(&messages())).run().exits(2).says("server_url").says(&pid);
    // Reading is free to all.
    let tap = json!({"server_url": format!("ldif:{}", file.display()), "state_dir": dir.path().join("state"),
        "track_deletions": true});
    Run::tap(&tap).run().succeeds();
    first.close_stdin_with(b"");
    assert_eq!(first.wait(Duration::from_secs(30)).0, 0);

    // A tap that nobody reads from does not end.
    let slapd =
        Slapd::start(SlapdOptions::default().seed(unit(PEOPLE)).seed(crate::support::people(3_000, PEOPLE)));
    let tap = with(
        &crate::support::tap_config(&slapd),
        &json!({"state_dir": dir.path().join("keys"), "track_deletions": true}),
    );
    let mut first = Run::tap(&tap).spawn();
    let stdout = first.take_stdout();
    while !dir.path().join("keys/.lock").exists() {
        sleep(Duration::from_millis(10));
    }
    let pid = first.child().id().to_string();
    Run::tap(&tap).run().exits(2).says("state_dir").says(&pid);
    drop(stdout);
    first.wait(Duration::from_secs(30));
    Run::tap(&tap).run().succeeds();
}

#[test]
fn the_runs_own_failure_comes_first_and_that_of_the_undo_file_is_said_too() {
    let slapd = slapd();
    let dir = scratch();
    let folder = dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let config = with(&target_config(&slapd), &json!({"undo_file": folder.join("undo.ldif")}));
    let mut running = waiting(&config, &messages());
    std::fs::remove_dir_all(&folder).unwrap();
    running.close_stdin_with(b"{ this is no message\n");
    let (code, stderr, _) = running.wait(Duration::from_secs(30));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("line 8") && stderr.contains("undo_file"), "{stderr}");
    let at = |text: &str| stderr.lines().position(|l| l.contains("ERROR") && l.contains(text));
    assert!(at("undo_file") < at("line 8"), "what the run ends with is its own failure: {stderr}");
}

/// A load of additions, changes, deletions, and records that the server refuses: 65, and 68 for names that it hides.
fn load(rng: &mut Rng, records: usize) -> Vec<Value> {
    let mut all = vec![schema()];
    let mut seen = BTreeSet::new();
    for n in 0..records {
        let at = rng.below(records);
        let dn = format!("uid=p{at},{PEOPLE}");
        if n % 20 == 19 {
            all.push(json!({"type": "STATE", "value": {"n": n}}));
        }
        if rng.chance(20) {
            all.push(gone(&dn));
        } else if rng.chance(15) {
            // Refused: there is no such class.
            all.push(record(
                &format!("uid=bad{n},{PEOPLE}"),
                json!({"objectClass": ["nothing"], "uid": ["x"]}),
            ));
        } else if rng.chance(15) && seen.insert(at) {
            // Refused: the value is none of its syntax.
            all.push(person(at, &json!({"mail": ["ümlaut@x.test"]})));
        } else {
            let texts: Vec<String> = (0..rng.below(3)).map(|i| format!("d{i}{n}")).collect();
            all.push(person(at, &json!({"description": texts, "title": [format!("t{}", rng.below(5))]})));
        }
    }
    all
}

fn left(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = files(folder)
        .into_iter()
        .filter(|n| n.starts_with("undo.ldif") && Path::new(n).extension().is_none_or(|e| e != "lock"))
        .map(|n| folder.join(n))
        .collect();
    // The newest first.
    found.sort_by_key(|p| std::cmp::Reverse(std::fs::metadata(p).unwrap().modified().unwrap()));
    found
}

#[test]
fn what_a_killed_run_leaves_takes_back_what_it_made_and_nothing_else() {
    let kills: u64 = std::env::var("UNDO_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let seed = seed(170);
    let rng = &mut Rng::new(seed);
    let slapd = slapd();
    let before: Tree = slapd.dump();
    let (mut found_running, mut taken_by_ldapmodify, mut composed) = (0, 0, 0);
    let mut took = Duration::from_millis(400);
    for kill in 0..kills {
        let dir = scratch();
        let config = with(
            &target_config(&slapd),
            &json!({"undo_file": dir.path().join("undo.ldif"), "on_error": "skip",
                "reject_file": dir.path().join("rejects.jsonl"), "max_in_flight": 1 + rng.below(16)}),
        );
        // Sometimes the next run is killed, too.
        let runs = if rng.chance(30) { 2 } else { 1 };
        composed += u64::from(runs == 2);
        for _ in 0..runs {
            let mut running = Run::target(&config).spawn();
            running.close_stdin_with(lines(&load(rng, 300)).as_bytes());
            drop(std::thread::spawn({
                let stdout = running.take_stdout();
                move || BufReader::new(stdout).lines().count()
            }));
            let most = usize::try_from(took.as_millis()).unwrap().max(20);
            sleep(Duration::from_millis(10 + u64::try_from(rng.below(most)).unwrap()));
            running.signal(Signal::KILL);
            let (code, stderr, lasted) = running.wait(Duration::from_secs(30));
            assert!([0, 4, 137].contains(&code), "{code}: {stderr}");
            found_running += u64::from(code == 137);
            if code != 137 {
                took = (took + lasted) / 2;
            }
        }
        let by_hand = kill % 4 == 3;
        if by_hand {
            // The next run makes a file of the journal, which ldapmodify takes from its beginning to its end.
            Run::target(&config).stdin(lines(&[schema()])).run().succeeds();
        }
        for file in left(dir.path()) {
            if by_hand {
                let output = Command::new(tool("ldapmodify"))
                    .args(["-x", "-H", &slapd.ldap_uri(), "-D", &slapd.admin_dn()])
                    .args(["-w", slapd.admin_password(), "-f"])
                    .arg(&file)
                    .output()
                    .unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(
                    output.status.success(),
                    "MODEL_SEED={seed}, kill {kill}: {said}\n{}",
                    read_text(&file)
                );
                taken_by_ldapmodify += 1;
            } else {
                let output = undo(&config, &file, &[]);
                assert_eq!(output.code, 0, "MODEL_SEED={seed}, kill {kill}: {}", output.stderr);
            }
        }
        let said = format!("MODEL_SEED={seed}, kill {kill}");
        assert_same("before", &before, &said, &slapd.dump());
    }
    println!(
        "{kills} trials: {found_running} runs killed, {composed} with two, {taken_by_ldapmodify} by ldapmodify"
    );
    assert!(found_running * 2 >= kills, "{found_running} of {kills} were running");
}

#[test]
fn entries_of_active_directory_that_were_deleted_are_made_again() {
    let samba = Samba::start("");
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&target_config(&samba), &json!({"undo_file": file}));
    let users = format!("CN=Users,{}", samba.suffix());
    let entries = [
        ("contact", format!("CN=contact,{users}"), "cn: contact\nmail: c@example.test\n"),
        ("group", format!("CN=group,{users}"), "cn: group\nsAMAccountName: group\ndescription: staff\n"),
        ("organizationalUnit", format!("OU=unit,{}", samba.suffix()), "ou: unit\ndescription: place\n"),
        ("computer", format!("CN=pc,{users}"), "cn: pc\nsAMAccountName: pc$\n"),
        ("user", format!("CN=user,{users}"), "cn: user\nsAMAccountName: user\nmail: u@example.test\n"),
    ];
    samba.ldapmodify(
        entries
            .iter()
            .map(|(class, dn, more)| format!("dn: {dn}\nchangetype: add\nobjectClass: {class}\n{more}\n"))
            .collect::<Vec<_>>()
            .concat(),
    );
    let names = [
        "objectClass",
        "cn",
        "ou",
        "sAMAccountName",
        "mail",
        "description",
        "userAccountControl",
        "groupType",
    ];
    let before = samba.dump_below(samba.suffix(), &names);
    let mut messages = vec![schema()];
    messages.extend(entries.iter().map(|(_, dn, _)| gone(dn)));
    Run::target(&config).stdin(lines(&messages)).run().succeeds();
    assert_eq!(samba.dump_below(samba.suffix(), &names).len(), before.len() - entries.len());
    undo(&config, &file, &[]).succeeds();
    assert_same("before", &before, "taken back", &samba.dump_below(samba.suffix(), &names));
}

#[test]
fn a_locked_account_that_was_deleted_is_locked_again() {
    let server = Ds389::start(&Ds389Options::default());
    let dir = scratch();
    let file = dir.path().join("undo.ldif");
    let config = with(&target_config(&server), &json!({"undo_file": file}));
    let suffix = server.suffix().to_owned();
    let (unit, person) = (format!("ou=locked,{suffix}"), format!("uid=p,ou=locked,{suffix}"));
    let aci = "(targetattr=\"*\")(version 3.0; acl \"nobody\"; deny (all) userdn=\"ldap:///anyone\";)";
    server.ldapmodify(format!(
        "dn: {unit}\nchangetype: add\nobjectClass: organizationalUnit\nou: locked\naci: {aci}\n\n\
         dn: {person}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: p\ncn: p\nsn: p\nnsAccountLock: TRUE\n\n"
    ));
    let names = ["*", "aci", "nsAccountLock"];
    let before = server.dump_below(&unit, &names);
    assert!(before.values().any(|e| e.contains_key("aci")), "{before:?}");
    assert!(before.values().any(|e| e.contains_key("nsaccountlock")), "{before:?}");
    Run::target(&config).stdin(lines(&[schema(), gone(&unit), gone(&person)])).run().succeeds();
    undo(&config, &file, &[]).succeeds();
    assert_same("before", &before, "taken back", &server.dump_below(&unit, &names));
}

#[test]
fn files_of_a_run_are_no_other_file_of_it() {
    let dir = scratch();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("input"), lines(&messages())).unwrap();
    std::fs::write(path("directory.ldif"), "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n")
        .unwrap();
    let config = json!({"server_url": format!("ldif:{}", path("directory.ldif").display())});
    let before = std::fs::read(path("input")).unwrap();
    let today = Command::new("date").args(["-u", "+u-%F"]).output().unwrap().stdout;
    let today = String::from_utf8(today).unwrap().trim().to_owned();
    std::os::unix::fs::symlink(path("u.journal"), path("linked")).unwrap();
    std::fs::create_dir(path("folder")).unwrap();
    for more in [
        json!({"undo_file": path("a.prom"), "metrics_file": path("./a.prom")}),
        json!({"undo_file": path("input")}),
        json!({"undo_file": path("directory.ldif")}),
        json!({"metrics_file": path("directory.ldif")}),
        // Names that the program makes of another one.
        json!({"undo_file": path("u"), "on_error": "skip", "reject_file": path("u.journal")}),
        json!({"undo_file": path("r.lock"), "on_error": "skip", "reject_file": path("r")}),
        json!({"undo_file": path("u"), "on_error": "skip", "reject_file": path("u.killed.2")}),
        json!({"undo_file": path("u.killed")}),
        json!({"undo_file": path("linked")}),
        json!({"undo_file": path("u-{date}"), "on_error": "skip", "reject_file": path(&today)}),
        // Folders that are not there, and what is no folder.
        json!({"undo_file": path("nowhere/u")}),
        json!({"undo_file": path("input/u")}),
        json!({"on_error": "skip", "reject_file": path("nowhere/r")}),
        json!({"on_error": "skip", "reject_file": path("folder")}),
    ] {
        let run = Run::target(&with(&config, &more)).arg("--input").arg(path("input").to_str().unwrap());
        let output = run.run().exits(2);
        assert!(output.stdout.is_empty(), "{more}");
        assert_eq!(std::fs::read(path("input")).unwrap(), before);
    }
    // The page about a directory does not take its place.
    let page = path("directory.ldif");
    let run = Run::tap(&config).arg("--discover").arg("--report").arg(page.to_str().unwrap());
    run.run().exits(2).says("--report");
    assert!(std::fs::read_to_string(&page).unwrap().starts_with("dn: "));
    let run = Run::tap(&config).arg("--discover").arg("--report").arg(path("nowhere/page").to_str().unwrap());
    run.run().exits(2).says("--report");
    let below_a_file = json!({"track_deletions": true, "state_dir": path("input/keys")});
    Run::tap(&with(&config, &below_a_file)).run().exits(2).says("state_dir");
    // What is not a journal of ours is not removed as one.
    std::fs::write(path("u.journal"), lines(&messages())).unwrap();
    let run = Run::target(&with(&config, &json!({"undo_file": path("u")}))).stdin(lines(&messages()));
    run.run().exits(1).says("u.journal");
    assert_eq!(read_text(&path("u.journal")), lines(&messages()));
}
