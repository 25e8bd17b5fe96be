//! Entries that a scan misses: below hidden parents, of classes added after discovery, or restored with a timestamp before the
//! bookmark. Each is emitted whole.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use ldap_tests::run::{Output, Run};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{resumed, tap_config, with};

fn person(rdn: &str, above: &str) -> String {
    format!(
        "dn: uid={rdn},{above}\nobjectClass: inetOrgPerson\nuid: {rdn}\ncn: C {rdn}\nsn: S\nmail: {rdn}@example.test\n\n"
    )
}

fn from_file(path: &Path) -> Value {
    json!({"server_url": format!("ldif:{}", path.display())})
}

fn record<'o>(output: &'o Output, stream: &str, dn: &str) -> Option<&'o Value> {
    output.records(Some(stream)).into_iter().find(|r| r["dn"] == dn)
}

fn unforeseen(output: &Output) -> Vec<Value> {
    let lines = output.stderr.entries().iter().cloned();
    lines.filter(|l| l["unforeseen_classes"].is_string()).collect()
}

#[test]
fn entries_below_a_parent_that_a_file_lacks_come_with_all_their_values() {
    let folder = scratch();
    let file = folder.path().join("s.ldif");
    let units = "dn: dc=ex,dc=com\nobjectClass: domain\ndc: ex\n\n\
                 dn: ou=users,dc=ex,dc=com\nobjectClass: organizationalUnit\nou: users\n\n";
    let users = person("a", "ou=users,dc=ex,dc=com");
    fs::write(&file, format!("{units}{users}{}", person("b", "ou=gone,dc=ex,dc=com"))).unwrap();
    for more in [json!({}), json!({"discovery_sample_size": 1})] {
        let output = Run::tap(&with(&from_file(&file), &more)).run().succeeds();
        let b = record(&output, "ex", "uid=b,ou=gone,dc=ex,dc=com").unwrap();
        assert_eq!((&b["mail"], &b["sn"]), (&json!(["b@example.test"]), &json!(["S"])), "{more}");
    }
}

#[test]
fn entries_below_a_parent_that_is_not_seen_come_with_all_their_values() {
    let suffix = "dc=example,dc=test";
    let hidden = format!("cn=hidden,{suffix}");
    let seed = format!("dn: {hidden}\nobjectClass: device\ncn: hidden\n\n{}", person("below", &hidden));
    let access = format!("access to dn.base=\"{hidden}\" by * none\n");
    let slapd = Slapd::start(SlapdOptions { access, ..SlapdOptions::with_users() }.seed(seed));
    let config = with(
        &tap_config(&slapd),
        &json!({"bind_dn": format!("uid=alice,ou=people,{suffix}"), "bind_password": "alice-pw",
            "discovery_sample_size": null, "operational_attributes": null}),
    );
    let output = Run::tap(&config).run().succeeds();
    let below = record(&output, "example", &format!("uid=below,{hidden}")).unwrap();
    assert_eq!(below["mail"], json!(["below@example.test"]));
}

#[test]
fn a_class_that_the_catalog_has_no_attributes_for_is_one_warning() {
    let folder = scratch();
    let file = folder.path().join("s.ldif");
    let device = "dn: cn=d,dc=ex,dc=com\nobjectClass: device\ncn: d\n\n";
    let base = "dn: dc=ex,dc=com\nobjectClass: domain\ndc: ex\n\n";
    fs::write(&file, format!("{base}{device}")).unwrap();
    let run = || Run::tap(&from_file(&file));
    let catalog = run().arg("--discover").run().succeeds().json();
    let sync = || run().file("--catalog", &catalog).run().succeeds();
    assert_eq!(unforeseen(&sync()), Vec::<Value>::new());
    let people = person("a", "dc=ex,dc=com") + &person("b", "dc=ex,dc=com");
    fs::write(&file, format!("{base}{device}{people}")).unwrap();
    let warnings = unforeseen(&sync());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(
        (&warnings[0]["unforeseen_classes"], &warnings[0]["stream"]),
        (&json!("inetOrgPerson"), &json!("ex"))
    );
    assert_eq!(unforeseen(&run().run().succeeds()), Vec::<Value>::new(), "discovered anew");
}

/// A reader that keeps STATE.
struct Reader {
    config: Value,
    state: Option<Value>,
}

impl Reader {
    /// The DNs of the records of the next run, and those of the deletions.
    fn next(&mut self) -> (Vec<String>, Vec<String>) {
        let output = resumed(&self.config, None, self.state.as_ref()).run().succeeds();
        self.state = output.of_type("STATE").last().map(|m| m["value"].clone()).or(self.state.take());
        let dns = |deleted: bool| {
            let records = output.records(None).into_iter();
            let records = records.filter(|r| r["_sdc_deleted_at"].is_string() == deleted);
            records.map(|r| r["dn"].as_str().unwrap().split(',').next().unwrap().to_owned()).collect()
        };
        (dns(false), dns(true))
    }
}

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

#[test]
fn an_entry_of_a_file_that_comes_late_or_comes_back_or_is_renamed_is_read_whatever_its_time() {
    let (folder, keys) = (scratch(), scratch());
    let file = folder.path().join("s.ldif");
    let write = |people: &[(&str, u32)]| {
        let mut text =
            "dn: dc=ex,dc=com\nobjectClass: domain\ndc: ex\nmodifyTimestamp: 20260101000000Z\n\n".to_owned();
        for (name, id) in people {
            let entry = person(name, "dc=ex,dc=com");
            let time = if *id == 1 { "20260401000000Z" } else { "20250101000000Z" };
            let uuid = format!("00000000-0000-4000-8000-{id:012}");
            write!(text, "{}\nmodifyTimestamp: {time}\nentryUUID: {uuid}\n\n", entry.trim_end()).unwrap();
        }
        fs::write(&file, text).unwrap();
    };
    for key in ["dn", "entryUUID"] {
        let stream = json!({"name": "people", "base_dn": "dc=ex,dc=com", "filter": "(uid=*)", "key_properties": [key],
            "replication_method": "INCREMENTAL", "replication_key": "modifyTimestamp"});
        let more = json!({"schemas": [stream], "track_deletions": true, "state_dir": keys.path().join(key)});
        fs::create_dir(keys.path().join(key)).unwrap();
        let mut reader = Reader { config: with(&from_file(&file), &more), state: None };
        write(&[("a", 1)]);
        assert_eq!(reader.next(), (texts(&["uid=a"]), vec![]), "{key}");
        assert_eq!(reader.next(), (vec![], vec![]), "{key}");
        write(&[("a", 1), ("b", 2)]);
        let before = reader.state.clone();
        assert_eq!(reader.next(), (texts(&["uid=b"]), vec![]), "{key}: late");
        // Its output was lost, and so was the STATE.
        reader.state = before;
        assert_eq!(reader.next(), (texts(&["uid=b"]), vec![]), "{key}: lost");
        assert_eq!(reader.next(), (vec![], vec![]), "{key}: once");
        write(&[("a", 1)]);
        assert_eq!(reader.next(), (vec![], texts(&["uid=b"])), "{key}: gone");
        write(&[("a", 1), ("b", 2)]);
        assert_eq!(reader.next(), (texts(&["uid=b"]), vec![]), "{key}: back");
        write(&[("a", 1), ("c", 2)]);
        // A file may have an id twice: an entry counts as renamed only once all are read, and is emitted behind the deletion.
        let records = if key == "dn" { texts(&["uid=c"]) } else { texts(&["uid=c", "uid=c"]) };
        assert_eq!(reader.next(), (records, texts(&["uid=b"])), "{key}: renamed");
        assert_eq!(reader.next(), (vec![], vec![]), "{key}: quiet");
    }
}

#[test]
fn an_entry_that_was_out_of_sight_for_a_while_is_read_again() {
    let suffix = "dc=example,dc=test";
    let (alice, bob) = (format!("uid=alice,ou=people,{suffix}"), format!("uid=bob,ou=people,{suffix}"));
    let group = format!("cn=viewers,{suffix}");
    // Who may see bob is changed without a change of bob.
    let access = format!("access to dn.base=\"{bob}\" by group.exact=\"{group}\" read by * none\n");
    let seed =
        format!("dn: {group}\nobjectClass: groupOfNames\ncn: viewers\nmember: {suffix}\nmember: {alice}\n");
    let slapd = Slapd::start(SlapdOptions { access, ..SlapdOptions::with_users() }.seed(seed));
    let keys = scratch();
    let stream = json!({"name": "people", "base_dn": format!("ou=people,{suffix}"), "filter": "(uid=*)",
        "attributes": ["uid"], "replication_method": "INCREMENTAL"});
    let more = json!({"bind_dn": alice, "bind_password": "alice-pw", "operational_attributes": null,
        "schemas": [stream], "track_deletions": true, "state_dir": keys.path()});
    let mut reader = Reader { config: with(&tap_config(&slapd), &more), state: None };
    let member = |how: &str| {
        slapd.ldapmodify(format!("dn: {group}\nchangetype: modify\n{how}: member\nmember: {alice}\n"));
        // What changed in this second is read again in any case.
        slapd.ldapmodify(format!(
            "dn: uid=replica,ou=people,{suffix}\nchangetype: modify\nreplace: description\ndescription: {how}\n"
        ));
    };
    assert!(reader.next().0.contains(&"uid=bob".to_owned()));
    member("delete");
    assert_eq!(reader.next().1, texts(&["uid=bob"]));
    std::thread::sleep(std::time::Duration::from_millis(2_100));
    member("add");
    let (records, deletions) = reader.next();
    assert!(records.contains(&"uid=bob".to_owned()), "{records:?}");
    assert_eq!(deletions, texts(&[]));
    assert!(!reader.next().0.contains(&"uid=bob".to_owned()));
}
