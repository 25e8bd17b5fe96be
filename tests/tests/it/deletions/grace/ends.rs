//! When an entry that was set aside is deleted for good, and when not.

use super::*;
use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::slapd::scratch;

/// Everybody has left, so many days ago.
fn all_left(people: &[(&str, &str)], days: i64) -> (Slapd, Value) {
    let seed: Vec<String> = people.iter().map(|(id, uid)| person(id, uid, PEOPLE)).collect();
    let slapd = start(&seed.concat());
    let config = config(&slapd, &json!({}));
    for (id, uid) in people {
        left(&config, id, uid);
    }
    assert_eq!(age(&slapd, MARKER, &slapd.dump(), days), people.len());
    (slapd, config)
}

fn numbers(server: &Server) -> Vec<String> {
    by_number(&server.dump()).into_keys().collect()
}

#[test]
fn an_entry_is_deleted_once_its_days_are_over_and_not_before() {
    let (slapd, config) = all_left(&[("1", "ada"), ("2", "bob")], 29);
    done(run(&config, &[])).counts(&[("deleted", 0)]);
    assert_eq!(numbers(&slapd), ["1", "2"]);
    age(&slapd, MARKER, &slapd.dump(), 30);
    // Who comes back on that very day has the entry.
    done(run(&config, &[joins("2", "bob")])).counts(&[("deleted", 1), ("renamed", 1)]);
    assert_eq!(by_number(&slapd.dump()), BTreeMap::from([("2".to_owned(), format!("uid=bob,{PEOPLE}"))]));
}

#[test]
fn an_account_that_stays_locked_is_deleted_and_one_that_is_unlocked_is_not_on_389() {
    let seed = [("1", "ada"), ("2", "bob")].map(|(id, uid)| person(id, uid, PEOPLE)).concat();
    let ds = Ds389::start(&Ds389Options::default().seed(unit(PEOPLE) + &seed));
    let locks = json!({"set": {"nsAccountLock": "TRUE", "l": null}, "then": on_delete()["then"]});
    for changes in
        [json!({"on_delete": with(&locks, &json!({"move_to": GONE}))}), json!({"on_delete": locks})]
    {
        let config = config(&ds, &changes);
        done(run(&config, &[leaves("1", "ada"), leaves("2", "bob")]));
        age(&ds, MARKER, &ds.dump(), 40);
        let bob = by_number(&ds.dump())["2"].clone();
        ds.ldapmodify(format!("dn: {bob}\nchangetype: modify\ndelete: nsAccountLock\n-\n\n"));
        let output = done(run(&config, &[])).counts(&[("deleted", 1)]);
        output.stderr.reports(&json!({"dn": bob, "level": "warning"}));
        assert_eq!(numbers(&ds), ["2"]);
        ds.ldapadd(person("1", "ada", PEOPLE));
        if bob.ends_with(GONE) {
            done(run(&config, &[joins("2", "bob")])).counts(&[("renamed", 1)]);
        }
    }
}

#[test]
fn what_is_not_this_tools_or_not_understood_or_yet_to_come_stays() {
    let (slapd, config) = all_left(&[("1", "ada"), ("2", "bob"), ("3", "cy"), ("4", "di"), ("5", "ed")], 40);
    let replace = |uid: &str, change: &dyn Fn(&str) -> String| {
        let dn = format!("uid={uid},{GONE}");
        let value = marker(&slapd.dump(), &dn).0.unwrap();
        let new = change(&value);
        slapd.ldapmodify(format!(
            "dn: {dn}\nchangetype: modify\nreplace: description\ndescription: {new}\n-\n\n"
        ));
    };
    replace("ada", &|_| "set aside by hand 20200101".into());
    replace("bob", &|value| value.replacen("ldap-target:1", "ldap-target:9", 1));
    replace("cy", &|value| value.replacen("deleted=20", "deleted=21", 1));
    replace("di", &|value| value.replacen("\"people\"", "\"others\"", 1));
    slapd.ldapadd(format!("dn: cn=device,uid=ed,{GONE}\nobjectClass: device\ncn: device\n\n"));
    let before = slapd.dump();
    let output = done(run(&config, &[])).counts(&[("deleted", 0)]);
    assert_eq!(slapd.dump(), before);
    for uid in ["bob", "cy", "di", "ed"] {
        output.stderr.reports(&json!({"dn": format!("uid={uid},{GONE}"), "level": "warning"}));
    }
}

#[test]
fn nothing_is_deleted_by_an_input_that_may_lack_records() {
    let (slapd, base) = all_left(&[("1", "ada")], 40);
    let before = slapd.dump();
    let told = json!({"setting": "mapping_rules.people.on_delete.then", "level": "warning"});
    let syncing = json!({"type": "STATE", "value": {"currently_syncing": "people"}});
    let mut plain = schema();
    plain["schema"]["properties"].as_object_mut().unwrap().shift_remove("_sdc_deleted_at");
    let inputs: [Vec<Value>; 4] = [
        vec![schema()],
        vec![schema(), state(), joins("2", "bob")],
        vec![schema(), joins("2", "bob"), syncing],
        // No deletions at all.
        vec![plain.clone(), joins("2", "bob"), state()],
    ];
    for messages in &inputs {
        let output = Run::target(&base).messages(messages).run().succeeds().counts(&[("deleted", 0)]);
        no_panic(&output);
        output.stderr.reports(&told);
    }
    // A record whose entry is not known may be of anybody.
    let folder = scratch();
    let skip = with(&base, &json!({"on_error": "skip", "reject_file": folder.path().join("r.jsonl")}));
    let nobody = json!({"type": "RECORD", "stream": "people", "record": {"id": null, "uid": "x"}});
    let output = run(&skip, &[nobody]).exits(4);
    output.stderr.reports(&told);
    // A record that is refused keeps its entry.
    let wrong =
        json!({"type": "RECORD", "stream": "people", "record": {"id": "1", "uid": "ada", "name": ""}});
    run(&skip, &[wrong]).exits(4).counts(&[("rejected", 1), ("deleted", 0)]);
    let ada = format!("uid=ada,{GONE}");
    assert_eq!(slapd.dump()[&ada], before[&ada]);

    // A version is complete once it is carried out.
    let versions = with(&base, &json!({"process_activate_version": true}));
    let record = json!({"type": "RECORD", "stream": "people", "version": 1, "record": {"id": "2", "uid": "bob", "name": "bob"}});
    let activate = json!({"type": "ACTIVATE_VERSION", "stream": "people", "version": 1});
    age(&slapd, MARKER, &slapd.dump(), 40);
    done(Run::target(&versions).messages(&[plain, record, activate, state()]).run());
    assert_eq!(numbers(&slapd), ["2"]);
}

#[test]
fn the_last_deletion_counts_and_is_planned_and_can_be_undone() {
    let (slapd, base) = all_left(&[("1", "ada"), ("2", "bob")], 40);
    let before = slapd.dump();
    let dry = Run::target(&base).arg("--dry-run").messages(&input(&[])).run().succeeds();
    assert_eq!(dry.stdout_text().matches("changetype: delete").count(), 2);
    let held = with(&base, &json!({"max_deletes": 1}));
    run(&held, &[]).exits(1).reports_setting("max_deletes");
    let limits = with(&base, &json!({"limits": {"people": {"delete": 1}}}));
    run(&limits, &[]).exits(1);
    assert_eq!(slapd.dump(), before);
    let protected = with(&base, &json!({"protect": {"dns": [format!("uid=ada,{GONE}")]}}));
    done(run(&protected, &[])).counts(&[("deleted", 1)]);
    assert_eq!(numbers(&slapd), ["1"]);
    let folder = scratch();
    let undo = folder.path().join("undo.ldif");
    done(run(&with(&base, &json!({"undo_file": undo})), &[])).counts(&[("deleted", 1)]);
    assert!(numbers(&slapd).is_empty());
    Run::target(&base).arg("undo").arg(undo.display().to_string()).run().exits(0);
    assert_eq!(numbers(&slapd), ["1"]);
    // The days of what an undo gives back begin anew.
    done(run(&base, &[])).counts(&[("deleted", 0)]);
    age(&slapd, MARKER, &slapd.dump(), 40);
    // A plan that was held back is carried out as it stands.
    let plan = folder.path().join("plan.ldif");
    let plans = with(&base, &json!({"max_deletes": 0, "plan_file": plan, "first_run": "apply"}));
    run(&plans, &[]).exits(5);
    assert_eq!(numbers(&slapd), ["1"]);
    Run::target(&plans).arg("apply").arg(plan.display().to_string()).run().exits(0);
    assert!(numbers(&slapd).is_empty());
}
