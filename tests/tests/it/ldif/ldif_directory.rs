//! LDIF files in place of servers, as source and as destination.

use std::path::Path;
use std::process::Command;

use ldap_tests::hostile;
use ldap_tests::ldif::{assert_same, normalize_dn, parse_file, records};
use ldap_tests::run::{Program, Run, pipe};
use ldap_tests::slapd::{ADMIN_PASSWORD, Slapd, SlapdOptions, fixture, scratch, tool};
use serde_json::{Value, json};

use crate::support::{tap_config, target_config, with};

fn from_file(path: &std::path::Path) -> Value {
    // Secrets are left out unless they are named.
    json!({"server_url": format!("ldif:{}", path.display()), "base_dn": "dc=example,dc=test",
        "discovery_sample_size": 0, "operational_attributes": ["userPassword"]})
}

#[test]
fn ldap_to_ldif_to_ldap_comes_back_equal() {
    let source = hostile::start();
    let dir = scratch();
    let file = dir.path().join("export.ldif");
    let target = json!({"server_url": format!("ldif:{}", file.display())});
    let (tap, written) = pipe(&tap_config(&source), &target);
    tap.succeeds();
    written.succeeds();
    let expected = source.dump();
    assert_same("source", &expected, "the file", &parse_file(&file));

    // A second run has nothing to do.
    let bytes = std::fs::read(&file).unwrap();
    let (tap, again) = pipe(&tap_config(&source), &target);
    tap.succeeds();
    again.succeeds();
    assert!(bytes == std::fs::read(&file).unwrap(), "the file changed in a run without changes");

    // Back into a server, by the pair.
    let copy = Slapd::start(SlapdOptions::empty());
    let (tap, target) = pipe(&from_file(&file), &target_config(&copy));
    tap.succeeds();
    target.succeeds();
    assert_same("source", &expected, "copy", &copy.dump());

    // Nothing but the file is left where it was written.
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["export.ldif"]);
}

#[test]
fn ldapadd_accepts_the_file_we_write() {
    let source = hostile::start();
    let dir = scratch();
    let file = dir.path().join("export.ldif");
    let (tap, written) =
        pipe(&tap_config(&source), &json!({"server_url": format!("ldif:{}", file.display())}));
    tap.succeeds();
    written.succeeds();
    let bytes = std::fs::read(&file).unwrap();

    // RFC 2849, note 10 and what every reader expects: parents before children, lines of at most 76, ASCII alone.
    let mut seen = std::collections::BTreeSet::new();
    for record in records(&bytes) {
        let dn = std::str::from_utf8(&record.first().unwrap().1).unwrap().to_owned();
        let parent = normalize_dn(&ldap_tests::ldif::parent(&dn));
        let is_base = normalize_dn(&dn) == "dc=example,dc=test";
        assert!(is_base || seen.contains(&parent), "{dn} comes before its parent");
        seen.insert(normalize_dn(&dn));
    }
    assert!(bytes.is_ascii(), "values that are not safe strings are in base64");

    let copy = Slapd::start(SlapdOptions::empty());
    copy.ldapadd(&bytes);
    assert_same("source", &source.dump(), "copy", &copy.dump());
}

#[test]
fn the_tap_reads_what_ldapsearch_and_slapcat_write() {
    let source = hostile::start();
    let dir = scratch();
    let search = |args: &[&str]| {
        let output = Command::new(tool("ldapsearch"))
            .args(["-x", "-M", "-H", &source.ldap_uri(), "-D", &source.admin_dn(), "-w", ADMIN_PASSWORD])
            .args(["-b", source.suffix()])
            .args(args)
            .args(["(objectClass=*)", "*", "ref"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let sources = [
        ("ldapsearch", search(&[])),
        ("ldapsearch -LLL", search(&["-LLL"])),
        ("ldapsearch -L -o ldif-wrap=no", search(&["-L", "-o", "ldif-wrap=no"])),
        ("slapcat", source.slapcat()),
    ];
    for (name, bytes) in sources {
        let file = dir.path().join("dump.ldif");
        std::fs::write(&file, &bytes).unwrap();
        let copy = Slapd::start(SlapdOptions::empty());
        let (tap, target) = pipe(&from_file(&file), &target_config(&copy));
        tap.succeeds();
        target.succeeds();
        assert_same(name, &source.dump(), "copy", &copy.dump());
    }
}

#[test]
fn the_tap_reads_a_file_with_other_spellings_of_attributes() {
    let source = Slapd::start(SlapdOptions::empty());
    source.ldapadd(hostile::ldif().as_bytes());
    let copy = Slapd::start(SlapdOptions::empty());
    let (tap, target) = pipe(&from_file(&fixture("hostile.ldif")), &target_config(&copy));
    tap.succeeds();
    target.succeeds();
    assert_same("ldapadd", &source.dump(), "copy", &copy.dump());
}

#[test]
fn crlf_and_a_last_line_without_its_end_are_read() {
    let dir = scratch();
    let file = dir.path().join("crlf.ldif");
    std::fs::write(
        &file,
        "version: 1\r\ndn: dc=example,dc=test\r\nobjectClass: domain\r\ndc: exa\r\n mple\r\n\r\n\r\n# the end\r\n\
         dn:: b3U9w7x4LGRjPWV4YW1wbGUsZGM9dGVzdA==\r\nobjectClass: organizationalUnit\r\nou:: w7x4",
    )
    .unwrap();
    let copy = Slapd::start(SlapdOptions::empty());
    let (tap, target) = pipe(&from_file(&file), &target_config(&copy));
    tap.succeeds();
    target.succeeds();
    assert_same("the file", &parse_file(&file), "copy", &copy.dump());
}

/// Files of several systems that were concatenated.
#[test]
fn every_line_end_of_a_file_is_one() {
    let dir = scratch();
    let file = dir.path().join("mixed.ldif");
    let config = json!({"server_url": format!("ldif:{}", file.display())});
    let classic = "dn: dc=x\robjectClass: domain\rdc: x\rdescription: fold\r ed\r\rdn: cn=a,dc=x\robjectClass: device\rcn: a\r\r";
    let unix = "dn: cn=b,dc=x\nobjectClass: device\ncn: b\n\n";
    let windows = unix.replace('\n', "\r\n").replace("cn=b", "cn=c").replace("cn: b", "cn: c");
    let twice = unix.replace('\n', "\r\r\n").replace("cn=b", "cn=d").replace("cn: b", "cn: d");
    for (parts, count) in [
        (vec![classic], 2),
        (vec![classic, unix], 3),
        (vec![unix, classic], 3),
        (vec![classic, &windows], 3),
        (vec![&windows, classic], 3),
        (vec![unix, classic, &windows, &twice], 5),
        (vec![&twice, classic], 3),
    ] {
        let text = parts.concat();
        for text in
            [text.clone(), text.replace("dn: dc=x\r", &format!("# {}\rdn: dc=x\r", "-".repeat(70_000)))]
        {
            std::fs::write(&file, text).unwrap();
            let output = Run::tap(&config).run().succeeds();
            assert_eq!(output.records(None).len(), count, "{parts:?}: {}", output.stderr);
            let domain = output.records(None).into_iter().find(|r| r["dn"] == "dc=x").unwrap();
            assert_eq!(domain["description"].to_string().trim_matches(['[', ']']), "\"folded\"");
        }
    }
    std::fs::write(&file, classic.to_owned() + "dn: cn=e,dc=x\robjectClass: device\rcn e\r").unwrap();
    Run::tap(&config).run().reports_line(13);
}

#[test]
fn a_file_url_in_a_file_is_refused_and_never_read() {
    let dir = scratch();
    let secret = dir.path().join("secret.txt");
    std::fs::write(&secret, "contents-of-a-private-file").unwrap();
    let file = dir.path().join("url.ldif");
    std::fs::write(
        &file,
        format!(
            "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\ndescription:< file://{}\n",
            secret.display()
        ),
    )
    .unwrap();
    let output = Run::tap(&from_file(&file)).run();
    assert!(output.code == 1 || output.code == 2, "code {}: {}", output.code, output.stderr);
    output.stderr.reports(&json!({"line": 4}));
    let all = output.stdout_text() + &output.stderr;
    assert!(!all.contains("contents-of-a-private-file") && !all.contains("Y29udGVudHMtb2Y"), "{all}");
}

#[test]
fn a_broken_file_is_an_error_with_its_line() {
    let dir = scratch();
    let file = dir.path().join("broken.ldif");
    for broken in [
        "dn: dc=example,dc=test\nobjectClass: domain\ndc example\n",
        "dn: dc=example,dc=test\nobjectClass: domain\ndc:: not*base64\n",
    ] {
        std::fs::write(&file, broken).unwrap();
        let output = Run::tap(&from_file(&file)).run();
        assert!(output.code == 1 || output.code == 2, "code {}: {}", output.code, output.stderr);
        output.stderr.reports(&json!({"line": 3}));
        assert!(output.of_type("ACTIVATE_VERSION").is_empty());
    }
}

/// The messages that make a suffix with some units, and a STATE.
fn units(names: &[&str]) -> Vec<Value> {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let mut messages = vec![
        json!({"type": "SCHEMA", "stream": "units", "key_properties": ["dn"], "schema": {"properties": {
        "dn": {"type": "string"}, "objectClass": texts, "description": texts}}}),
        json!({"type": "RECORD", "stream": "units",
            "record": {"dn": "dc=example,dc=test", "objectClass": ["domain"]}}),
    ];
    for name in names {
        messages.push(json!({"type": "RECORD", "stream": "units", "record": {
            "dn": format!("ou={name},dc=example,dc=test"), "objectClass": ["organizationalUnit"],
            "description": [format!("the unit {name}")]}}));
    }
    messages.push(json!({"type": "STATE", "value": {"bookmarks": {"units": {"position": names.len()}}}}));
    messages
}

#[test]
fn the_file_is_replaced_in_one_rename() {
    let dir = scratch();
    let file = dir.path().join("export.ldif");
    let config = json!({"server_url": format!("ldif:{}", file.display())});
    Run::target(&config).messages(&units(&["a"])).run().succeeds();
    // Who has the old file open keeps it whole: another name for it does, too.
    let (before, other_name) = (std::fs::read(&file).unwrap(), dir.path().join("old.ldif"));
    std::fs::hard_link(&file, &other_name).unwrap();
    Run::target(&config).messages(&units(&["a", "b"])).run().succeeds();
    assert!(std::fs::read(&other_name).unwrap() == before, "the old file was written into");
    assert_eq!(parse_file(&file).len(), 3);
}

#[test]
fn a_file_in_a_folder_that_is_not_there_is_2_and_no_state_is_printed() {
    let dir = scratch();
    let config = json!({"server_url": format!("ldif:{}", dir.path().join("none/export.ldif").display())});
    let output = Run::target(&config).messages(&units(&["a"])).run().exits(2).reports_setting("server_url");
    crate::support::no_panic(&output);
    assert!(output.stdout.is_empty(), "nothing is written, so no STATE is safe: {}", output.stdout_text());
}

#[test]
fn state_of_a_file_comes_when_the_file_is_there_also_after_a_signal() {
    for signal in
        [None, Some((rustix::process::Signal::TERM, 143)), Some((rustix::process::Signal::INT, 130))]
    {
        let dir = scratch();
        let file = dir.path().join("export.ldif");
        let run = Run::target(&json!({"server_url": format!("ldif:{}", file.display())}));
        let mut running = run.spawn();
        let mut stdout = std::io::BufReader::new(running.take_stdout());
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            while std::io::BufRead::read_line(&mut stdout, &mut line).is_ok_and(|n| n > 0) {
                let _ = sender.send(std::mem::take(&mut line));
            }
        });
        let messages = units(&["a", "b"]);
        running.write_stdin(crate::support::lines(&messages).as_bytes());
        let early = receiver.recv_timeout(std::time::Duration::from_secs(2));
        assert!(early.is_err(), "STATE came before the file: {early:?}");
        assert!(!file.exists());
        let expected = if let Some((signal, code)) = signal {
            running.signal(signal);
            code
        } else {
            running.close_stdin_with(&[]);
            0
        };
        let (code, stderr, _) = running.wait(std::time::Duration::from_secs(30));
        assert_eq!(code, expected, "{stderr}");
        let line = receiver.recv_timeout(std::time::Duration::from_secs(5)).expect("the last safe STATE");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), messages.last().unwrap()["value"]);
        assert_eq!(parse_file(&file).len(), 3, "what STATE says is in the file");
    }
}

#[test]
fn change_records_lead_to_the_same_directory() {
    let dir = scratch();
    let file = dir.path().join("changes.ldif");
    let config = json!({"server_url": format!("ldif:{}", file.display()), "ldif_format": "changes"});
    Run::target(&config).messages(&units(&["a", "b"])).run().succeeds();
    let mut changed = units(&["a", "b"]);
    changed[2]["record"]["description"] = json!(["another"]);
    changed[3]["record"]["_sdc_deleted_at"] = json!("2026-01-31T08:00:00Z");
    Run::target(&config).messages(&changed).run().succeeds();
    let text = std::fs::read_to_string(&file).unwrap();
    let kinds: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("changetype: ")).collect();
    assert_eq!(kinds, ["add", "add", "add", "modify", "delete"], "a run's changes are appended:\n{text}");

    let copy = Slapd::start(SlapdOptions::empty());
    copy.ldapmodify(&text);
    let tree = copy.dump();
    assert_eq!(tree.keys().collect::<Vec<_>>(), ["dc=example,dc=test", "ou=a,dc=example,dc=test"]);
    assert!(tree["ou=a,dc=example,dc=test"]["description"].contains(b"another".as_slice()));
}

#[test]
fn without_a_server_the_environment_says_which_file() {
    let dir = scratch();
    let file = dir.path().join("export.ldif");
    let run = |run: Run| {
        run.env("FLEXT_LDIF_EXPORT_PATH", file.to_str().unwrap()).messages(&units(&["a"])).run().succeeds()
    };
    run(Run::bare(Program::Target));
    assert_eq!(parse_file(&file).len(), 2);
    std::fs::remove_file(&file).unwrap();
    // A server that is given wins, and that is said.
    let copy = Slapd::start(SlapdOptions::empty());
    run(Run::target(&target_config(&copy))).reports_setting("ldif_export_path");
    assert!(!file.exists());
    assert_eq!(copy.dump().len(), 2);
}

#[test]
fn a_range_may_stand_before_other_options_and_an_oid_may_be_written_as_rfc_1779_has_it() {
    let dir = scratch();
    let file = dir.path().join("d.ldif");
    std::fs::write(
        &file,
        "dn: dc=x\nobjectClass: domain\ndc: x\n\n\
         dn: cn=g,dc=x\nobjectClass: groupOfNames\ncn: g\nOID.2.5.4.3: also\noid.1.2.3.4: other\n1.2.3.4: more\n\
         member;range=0-0;lang-de: cn=a\nmember;range=1-*;lang-de: cn=b\n",
    )
    .unwrap();
    let config = json!({"server_url": format!("ldif:{}", file.display()),
        "schemas": [{"name": "s", "base_dn": "dc=x", "filter": "(OID.2.5.4.3=also)"}]});
    let output = Run::tap(&config).run().succeeds();
    let records = output.records(None);
    assert_eq!(records.len(), 1, "{}", output.stderr);
    assert_eq!(records[0]["cn"], json!(["g", "also"]));
    assert_eq!(records[0]["member;lang-de"], json!(["cn=a", "cn=b"]));
    assert_eq!(records[0]["1.2.3.4"], json!(["other", "more"]), "{}", records[0]);
    assert_eq!(output.of_type("ACTIVATE_VERSION").len(), 1, "{}", output.stderr);
}

/// Records of entries, for a file.
fn entries(entries: &[Value]) -> Vec<Value> {
    let text = json!({"type": ["string", "array", "null"]});
    let properties =
        json!({"dn": text, "objectClass": text, "uid": text, "cn": text, "sn": text, "member": text});
    let mut messages = vec![json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"],
        "schema": {"properties": properties}})];
    messages.extend(entries.iter().map(|entry| json!({"type": "RECORD", "stream": "all", "record": entry})));
    messages
}

/// The DNs of a file, in their order.
fn names(file: &Path) -> Vec<String> {
    let text = ldap_tests::run::read_text(file);
    text.lines().filter_map(|line| line.strip_prefix("dn: ")).map(str::to_owned).collect()
}

#[test]
fn a_file_takes_entries_whose_parents_are_not_there() {
    let folder = scratch();
    let path = folder.path().join("people.ldif");
    let person = |dn: &str| json!({"dn": dn, "objectClass": ["account"], "uid": "a"});
    let unit = json!({"dn": "ou=users,dc=x", "objectClass": ["organizationalUnit"]});
    let (cn, ou) = (person("uid=a,cn=users,dc=x"), person("uid=a,ou=users,dc=x"));
    let config = json!({"server_url": format!("ldif:{}", path.display())});
    let load = |config: &Value, records: &[Value]| {
        let _ = std::fs::remove_file(&path);
        Run::target(config).messages(&entries(records)).run().succeeds();
        names(&path)
    };
    assert_eq!(load(&config, &[cn.clone(), ou.clone()]), ["uid=a,ou=users,dc=x", "uid=a,cn=users,dc=x"]);
    let made = with(&config, &json!({"create_parents": true}));
    assert_eq!(load(&made, std::slice::from_ref(&ou)), ["dc=x", "ou=users,dc=x", "uid=a,ou=users,dc=x"]);
    // What cannot be made from its name is not there.
    assert_eq!(load(&made, std::slice::from_ref(&cn)), ["uid=a,cn=users,dc=x"]);
    // Parents come first all the same: who carries the changes out needs them.
    let changes = with(&config, &json!({"ldif_format": "changes"}));
    let late = [ou.clone(), unit, cn];
    assert_eq!(load(&changes, &late), ["ou=users,dc=x", "uid=a,ou=users,dc=x", "uid=a,cn=users,dc=x"]);
    assert_eq!(load(&config, &late), ["ou=users,dc=x", "uid=a,ou=users,dc=x", "uid=a,cn=users,dc=x"]);
    // Nothing differs when it comes again; and a plan says the same as the run.
    let again = Run::target(&config).messages(&entries(&late)).run().succeeds();
    again.counts(&[("unchanged", 3)]);
    let _ = std::fs::remove_file(&path);
    let plan = Run::target(&config).arg("--dry-run").messages(&entries(&[ou])).run().succeeds();
    assert!(plan.stdout_text().contains("dn: uid=a,ou=users,dc=x"));
    assert!(!plan.stdout_text().contains("dn: ou=users,dc=x"), "{}", plan.stdout_text());
}

#[test]
fn entries_that_were_added_before_their_parents_are_taken_back() {
    let folder = scratch();
    let (path, undo) = (folder.path().join("people.ldif"), folder.path().join("undo.ldif"));
    let before = "dn: dc=y\nobjectClass: domain\ndc: y\n\n";
    std::fs::write(&path, before).unwrap();
    let config = json!({"server_url": format!("ldif:{}", path.display()), "undo_file": undo});
    let records = [
        json!({"dn": "uid=a,ou=users,dc=x", "objectClass": ["account"], "uid": "a"}),
        json!({"dn": "ou=users,dc=x", "objectClass": ["organizationalUnit"]}),
    ];
    Run::target(&config).messages(&entries(&records)).run().succeeds();
    assert_eq!(names(&path).len(), 3);
    Run::bare(Program::Target)
        .arg("undo")
        .arg(undo.display().to_string())
        .file("--config", &config)
        .run()
        .succeeds();
    assert_eq!(names(&path), ["dc=y"]);
}

#[test]
fn a_file_has_no_schema_check_unless_it_is_asked_for() {
    let folder = scratch();
    let path = folder.path().join("all.ldif");
    let config = json!({"server_url": format!("ldif:{}", path.display()), "on_error": "skip",
        "reject_file": folder.path().join("rejects.jsonl")});
    let records = [
        json!({"dn": "cn=empty,dc=x", "objectClass": ["groupOfNames"], "cn": "empty", "member": []}),
        json!({"dn": "cn=full,dc=x", "objectClass": ["groupOfNames"], "cn": "full", "member": ["cn=a"]}),
        json!({"dn": "cn=bare,dc=x", "objectClass": ["person"], "cn": "bare"}),
        json!({"dn": "cn=odd,dc=x", "objectClass": ["person"], "cn": "odd", "sn": "o", "uid": "o"}),
        json!({"dn": "cn=whole,dc=x", "objectClass": ["person"], "cn": "whole", "sn": "w"}),
        json!({"dn": "cn=strange,dc=x", "objectClass": ["noSuchClass"], "cn": "strange"}),
    ];
    Run::target(&config).messages(&entries(&records)).run().succeeds();
    assert_eq!(names(&path).len(), records.len());
    std::fs::remove_file(&path).unwrap();
    let checked = with(&config, &json!({"ldif_check": true}));
    let plan = Run::target(&checked).arg("--dry-run").messages(&entries(&records)).run().exits(4);
    Run::target(&checked).messages(&entries(&records)).run().exits(4);
    assert_eq!(names(&path), ["cn=full,dc=x", "cn=whole,dc=x"]);
    assert_eq!(plan.stdout_text().matches("dn: ").count(), 2);
    let text = ldap_tests::run::read_text(&folder.path().join("rejects.jsonl"));
    let rejects: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let rejects = rejects.iter().filter(|l| l["type"] == "REJECT");
    let said: Vec<(&str, Value, Value)> = rejects
        .map(|r| (r["record"]["cn"].as_str().unwrap(), r["code"].clone(), r["attribute"].clone()))
        .collect();
    let expected = [
        ("empty", Value::Null, Value::Null),
        ("bare", json!(65), json!("sn")),
        ("odd", json!(65), json!("uid")),
        ("strange", json!(65), Value::Null),
    ];
    assert_eq!(said, expected);
    // A rule's own word on groups is kept to.
    let _ = std::fs::remove_file(&path);
    let rule = json!({"mapping_rules": {"all": {"empty_group": "fail"}}});
    Run::target(&with(&config, &rule)).messages(&entries(&records[..2])).run().exits(4);
    assert_eq!(names(&path), ["cn=full,dc=x"]);
}
