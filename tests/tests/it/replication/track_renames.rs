//! `track_deletions`: an entry that is renamed is emitted as the deletion of its old DN, and a record with the new one, by every method.

use ldap_tests::run::{Output, Run};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::go_on;
use crate::support::{people, tap_config, unit, with};

const SUFFIX: &str = "dc=example,dc=test";
const METHODS: [(&str, Option<&str>); 3] =
    [("INCREMENTAL", Some("entryCSN")), ("INCREMENTAL", Some("modifyTimestamp")), ("FULL_TABLE", None)];

fn slapd() -> Slapd {
    let unit = unit(&format!("ou=a,{SUFFIX}"));
    Slapd::start(SlapdOptions::default().seed(unit + &people(3, &format!("ou=a,{SUFFIX}"))))
}

fn config(slapd: &Slapd, method: (&str, Option<&str>), state_dir: &std::path::Path) -> Value {
    let mut stream = json!({"name": "all", "attributes": ["uid", "cn"], "replication_method": method.0});
    if let Some(key) = method.1 {
        stream["replication_key"] = json!(key);
    }
    with(&tap_config(slapd), &json!({"schemas": [stream], "track_deletions": true, "state_dir": state_dir}))
}

/// The DNs of the records in their order, those of deletions with a minus.
fn emitted(output: &Output) -> Vec<String> {
    let dn = |record: &&Value| {
        let dn = record["dn"].as_str().unwrap().replace(&format!(",{SUFFIX}"), "");
        if record["_sdc_deleted_at"].is_string() { format!("-{dn}") } else { dn }
    };
    output.records(None).iter().map(dn).collect()
}

/// Whether there is a deletion, and the record with the other DN right behind it.
fn has_both(records: &[String], old: &str, new: &str) -> bool {
    records.windows(2).any(|pair| pair[0] == format!("-{old}") && pair[1] == new)
}

fn rename(slapd: &Slapd, old: &str, new: &str) {
    slapd.ldapmodify(format!("dn: {old},{SUFFIX}\nchangetype: modrdn\nnewrdn: {new}\ndeleteoldrdn: 1\n\n"));
}

#[test]
fn a_renamed_entry_is_a_deletion_and_a_record() {
    for method in METHODS {
        let (slapd, state_dir) = (slapd(), scratch());
        let config = config(&slapd, method, state_dir.path());
        let (_, state) = go_on(Run::tap(&config), None);
        rename(&slapd, "uid=person1,ou=a", "uid=new");
        let (output, state) = go_on(Run::tap(&config), Some(&state));
        let records = emitted(&output);
        assert!(has_both(&records, "uid=person1,ou=a", "uid=new,ou=a"), "{method:?}: {records:?}");
        assert_eq!(records.iter().filter(|r| r.starts_with('-')).count(), 1, "{method:?}: {records:?}");
        slapd.ldapmodify(format!("dn: uid=new,ou=a,{SUFFIX}\nchangetype: delete\n\n"));
        let (output, state) = go_on(Run::tap(&config), Some(&state));
        let deletions: Vec<String> = emitted(&output).into_iter().filter(|r| r.starts_with('-')).collect();
        assert_eq!(deletions, ["-uid=new,ou=a"], "{method:?}");
        let (output, _) = go_on(Run::tap(&config), Some(&state));
        assert!(!emitted(&output).iter().any(|r| r.starts_with('-')), "{method:?}: once");
    }
}

/// Nothing but their DNs changed, and no timestamp says so.
#[test]
fn what_lies_below_a_renamed_container_is_deleted_under_its_old_name() {
    for method in METHODS {
        let (slapd, state_dir) = (slapd(), scratch());
        let config = config(&slapd, method, state_dir.path());
        let (_, state) = go_on(Run::tap(&config), None);
        rename(&slapd, "ou=a", "ou=b");
        let (output, _) = go_on(Run::tap(&config), Some(&state));
        let records = emitted(&output);
        assert!(has_both(&records, "ou=a", "ou=b"), "{method:?}: {records:?}");
        for n in 0..3 {
            let (old, new) = (format!("uid=person{n},ou=a"), format!("uid=person{n},ou=b"));
            assert!(has_both(&records, &old, &new), "{method:?}: {records:?}");
        }
    }
}

/// The output of a run did not arrive, and its STATE neither.
#[test]
fn a_lost_rename_is_emitted_again() {
    for method in METHODS {
        let (slapd, state_dir) = (slapd(), scratch());
        let config = config(&slapd, method, state_dir.path());
        let (_, state) = go_on(Run::tap(&config), None);
        rename(&slapd, "uid=person1,ou=a", "uid=new");
        rename(&slapd, "ou=a", "ou=b");
        go_on(Run::tap(&config), Some(&state));
        let (output, _) = go_on(Run::tap(&config), Some(&state));
        let records = emitted(&output);
        assert!(has_both(&records, "uid=person1,ou=a", "uid=new,ou=b"), "{method:?}: {records:?}");
        assert!(has_both(&records, "uid=person2,ou=a", "uid=person2,ou=b"), "{method:?}: {records:?}");
    }
}

/// The deletion is repeated, and the name is another entry's: a target that goes by names must not lose that one.
#[test]
fn a_deletion_of_a_name_in_use_is_followed_by_its_holder() {
    for method in &METHODS[..2] {
        let (slapd, state_dir) = (slapd(), scratch());
        let config = config(&slapd, *method, state_dir.path());
        let (_, state) = go_on(Run::tap(&config), None);
        std::thread::sleep(std::time::Duration::from_millis(2_100));
        slapd.ldapmodify(format!("dn: uid=person1,ou=a,{SUFFIX}\nchangetype: delete\n\n"));
        rename(&slapd, "uid=person2,ou=a", "uid=person1");
        let (output, _) = go_on(Run::tap(&config), Some(&state));
        let records = emitted(&output);
        let at =
            |what: &str| records.iter().rposition(|r| r == what).unwrap_or_else(|| panic!("{records:?}"));
        assert!(at("uid=person1,ou=a") > at("-uid=person1,ou=a"), "{method:?}: {records:?}");
    }
}

/// None of them was renamed.
#[test]
fn two_entries_with_one_key_are_not_deleted() {
    for method in METHODS {
        let (slapd, state_dir) = (slapd(), scratch());
        slapd.ldapadd(unit(&format!("ou=b,{SUFFIX}")) + &people(3, &format!("ou=b,{SUFFIX}")));
        let mut config = config(&slapd, method, state_dir.path());
        config["schemas"][0]["filter"] = json!("(objectClass=person)");
        config["schemas"][0]["key_properties"] = json!(["uid"]);
        let (_, mut state) = go_on(Run::tap(&config), None);
        for n in 0..3 {
            slapd.ldapmodify(format!(
                "dn: uid=person0,ou=a,{SUFFIX}\nchangetype: modify\nreplace: description\ndescription: {n}\n\n"
            ));
            let (output, next) = go_on(Run::tap(&config), Some(&state));
            let records = emitted(&output);
            assert!(!records.iter().any(|r| r.starts_with('-')), "{method:?}: {records:?}");
            state = next;
        }
        // One of the others is.
        slapd.ldapadd(
            people(5, &format!("ou=b,{SUFFIX}"))
                .split_once("dn: uid=person4")
                .map(|(_, last)| format!("dn: uid=person4{last}"))
                .unwrap(),
        );
        let (_, state) = go_on(Run::tap(&config), Some(&state));
        slapd.ldapmodify(format!(
            "dn: uid=person4,ou=b,{SUFFIX}\nchangetype: modrdn\nnewrdn: uid=person4\ndeleteoldrdn: 1\nnewsuperior: ou=a,{SUFFIX}\n\n"
        ));
        let (output, _) = go_on(Run::tap(&config), Some(&state));
        let records = emitted(&output);
        assert!(has_both(&records, "uid=person4,ou=b", "uid=person4,ou=a"), "{method:?}: {records:?}");
    }
}
