//! `tap-ldap | target-ldap` without a rule: a directory copied into another.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ldap_tests::hostile;
use ldap_tests::ldif::{assert_same, parse};
use ldap_tests::run::{Run, pipe};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::json;

use crate::support::{
    assert_untouched, no_panic, normalized, people, rewritten, states, tap_config, target_config, unit, with,
    written,
};

#[test]
fn a_hostile_directory_is_copied_value_by_value_and_a_rerun_writes_nothing() {
    let source = hostile::start();
    let copy = Slapd::start(SlapdOptions::empty());
    let untouched = source.change_marks();

    let (tap, target) = pipe(&tap_config(&source), &target_config(&copy));
    let (tap, target) = (tap.succeeds(), target.succeeds());
    no_panic(&tap);
    no_panic(&target);
    assert_same("source", &source.dump(), "copy", &copy.dump());
    assert!(!states(&target).is_empty(), "the target prints STATE");

    let before = copy.change_marks();
    let (tap, target) = pipe(&tap_config(&source), &target_config(&copy));
    tap.succeeds();
    target.succeeds();
    assert_untouched(&copy, &before);
    assert_untouched(&source, &untouched);
}

#[test]
fn one_write_at_a_time_gives_the_same_copy() {
    let source = hostile::start();
    let copy = Slapd::start(SlapdOptions::empty());
    let (tap, target) = pipe(
        &with(&tap_config(&source), &json!({"page_size": 7})),
        &with(&target_config(&copy), &json!({"max_in_flight": 1})),
    );
    tap.succeeds();
    target.succeeds();
    assert_same("source", &source.dump(), "copy", &copy.dump());
}

#[test]
fn dn_rewrite_moves_the_directory_under_another_suffix() {
    let source = hostile::start();
    let copy = Slapd::start(SlapdOptions::empty().suffix("dc=copy,dc=test"));
    let target = with(
        &target_config(&copy),
        &json!({"dn_rewrite": [{"from": "DC=Example, DC=Test", "to": "dc=copy,dc=test"}]}),
    );
    let (first, second) = pipe(&tap_config(&source), &target);
    first.succeeds();
    second.succeeds();
    let expected = rewritten(&source.dump(), "dc=example,dc=test", "dc=copy,dc=test");
    assert_same("source, rewritten", &expected, "copy", &normalized(&copy.dump()));

    let before = copy.change_marks();
    let (first, second) = pipe(&tap_config(&source), &target);
    first.succeeds();
    second.succeeds();
    assert_untouched(&copy, &before);
}

#[test]
fn dn_rewrite_of_a_branch_changes_its_naming_value() {
    let source = hostile::start();
    let copy = Slapd::start(SlapdOptions::empty());
    let rule = json!({"dn_rewrite": [{"from": "ou=people,dc=example,dc=test", "to": "ou=staff,dc=example,dc=test"}]});
    let (tap, target) = pipe(&tap_config(&source), &with(&target_config(&copy), &rule));
    tap.succeeds();
    target.succeeds();
    let expected = rewritten(&source.dump(), "ou=people,dc=example,dc=test", "ou=staff,dc=example,dc=test");
    assert_same("source, rewritten", &expected, "copy", &normalized(&copy.dump()));
}

#[test]
fn only_what_changed_at_the_source_is_written() {
    let suffix = "dc=example,dc=test";
    let parent = format!("ou=people,{suffix}");
    let mut group = format!("dn: cn=all,{suffix}\nobjectClass: groupOfNames\ncn: all\n");
    for i in 0..300 {
        writeln!(group, "member: uid=person{i},{parent}").unwrap();
    }
    let seed = format!("{}{}{group}", unit(&parent), people(300, &parent));
    let source = Slapd::start(SlapdOptions::default().seed(seed.clone()));
    let mut options = SlapdOptions::default().seed(seed);
    options.accesslog = true;
    let copy = Slapd::start(options);

    source.ldapmodify(format!(
        "dn: cn=all,{suffix}\nchangetype: modify\ndelete: member\nmember: uid=person7,{parent}\n-\nadd: member\nmember: uid=new,{parent}\n\n\
         dn: uid=person3,{parent}\nchangetype: modify\nreplace: mail\nmail: person3@example.test\nmail: third@example.test\n-\n\
         replace: jpegPhoto\njpegPhoto: picture\n\n\
         dn: uid=person4,{parent}\nchangetype: modify\ndelete: givenName\n\n\
         dn: uid=new,{parent}\nchangetype: add\nobjectClass: inetOrgPerson\nuid: new\ncn: new\nsn: new\n",
    ));
    let before = copy.change_marks();
    let (tap, target) = pipe(&tap_config(&source), &target_config(&copy));
    tap.succeeds();
    target.succeeds();
    assert_same("source", &source.dump(), "copy", &copy.dump());

    let mut touched = written(&before, &copy.change_marks());
    touched.remove(suffix); // contextCSN is kept there
    let expected = [
        format!("cn=all,{suffix}"),
        format!("uid=person3,{parent}"),
        format!("uid=person4,{parent}"),
        format!("uid=new,{parent}"),
    ];
    assert_eq!(touched, BTreeSet::from(expected));

    let log = copy.dump_below("cn=accesslog", &["reqDN", "reqMod", "reqType"]);
    let mut changes = BTreeSet::new();
    for entry in log.values().filter(|e| e.get("reqtype").is_some_and(|t| t.contains(&b"modify".to_vec()))) {
        for change in &entry["reqmod"] {
            let text = String::from_utf8_lossy(change).into_owned();
            // The server's own bookkeeping is in the log as well.
            if !["entryCSN:", "modifiersName:", "modifyTimestamp:"].iter().any(|own| text.starts_with(own)) {
                changes.insert(text);
            }
        }
    }
    assert!(changes.contains(&format!("member:- uid=person7,{parent}")), "{changes:?}");
    assert!(changes.contains(&format!("member:+ uid=new,{parent}")), "{changes:?}");
    let values = changes.iter().filter(|c| c.starts_with("member:")).count();
    assert_eq!(values, 2, "two members of 300 changed: {changes:?}");
    assert_eq!(changes.iter().filter(|c| c.starts_with("mail:")).count(), 1, "one mail is new: {changes:?}");
}

#[test]
fn values_that_are_equal_by_their_matching_rule_are_not_written() {
    let entry = |cn: &str, member: &str, description: &str, when: &str| {
        format!(
            "dn: cn=g,dc=example,dc=test\nobjectClass: groupOfNames\nobjectClass: testThing\ncn: {cn}\n\
             member: {member}\ndescription: {description}\ntestWhen: {when}\n"
        )
    };
    let source = Slapd::start(SlapdOptions::default().seed(entry(
        "g",
        "cn=a\\2Cb,dc=x",
        "some text",
        "20240101120000Z",
    )));
    let copy = Slapd::start(SlapdOptions::default().seed(entry(
        "G",
        "CN=A\\,B, DC=X",
        "Some  TEXT",
        "20240101133000+0130",
    )));
    let before = copy.change_marks();
    let (tap, target) = pipe(&tap_config(&source), &target_config(&copy));
    tap.succeeds();
    target.succeeds();
    assert_untouched(&copy, &before);
}

#[test]
fn values_in_an_unusual_spelling_arrive_equal_and_settle() {
    let source = Slapd::start(SlapdOptions::default().seed(
        "dn: cn=odd,dc=example,dc=test\nobjectClass: device\nobjectClass: testThing\ncn: odd\n\
         testWhen: 202401011200Z\ntestUuid: 597AE2F6-16A6-1027-98F4-D28B5365DC14\n\n\
         dn: cn=zone,dc=example,dc=test\nobjectClass: device\nobjectClass: testThing\ncn: zone\n\
         testWhen: 20240101120000.5-0230\n",
    ));
    let copy = Slapd::start(SlapdOptions::empty());
    let (tap, target) = pipe(&tap_config(&source), &target_config(&copy));
    tap.succeeds();
    target.succeeds();
    let copied = copy.dump();
    let when = |cn: &str| copied[&format!("cn={cn},dc=example,dc=test")]["testwhen"].clone();
    assert_eq!(when("odd"), BTreeSet::from([b"20240101120000Z".to_vec()]));
    assert_eq!(when("zone"), BTreeSet::from([b"20240101143000.5Z".to_vec()]));
    let before = copy.change_marks();
    let (tap, target) = pipe(&tap_config(&source), &target_config(&copy));
    tap.succeeds();
    target.succeeds();
    assert_untouched(&copy, &before);
}

#[test]
fn a_target_that_lost_its_server_finishes_in_the_next_run() {
    let parent = "ou=people,dc=example,dc=test";
    let source = Slapd::start(SlapdOptions::default().seed(unit(parent) + &people(3_000, parent)));
    let mut copy = Slapd::start(SlapdOptions::empty());
    let messages = Run::tap(&tap_config(&source)).run().succeeds().stdout;

    // The server goes away in the middle of the records.
    let config = with(&target_config(&copy), &json!({"retry_attempts": 0}));
    let run = Run::target(&config);
    let mut running = run.spawn();
    let half = messages.len() / 2;
    let (first, second) = messages.split_at(half);
    running.write_stdin(first);
    copy.kill();
    let stdout = running.take_stdout();
    let reader = std::thread::spawn(move || std::io::read_to_string(stdout).unwrap_or_default());
    running.close_stdin_with(second);
    let (code, stderr, _) = running.wait(std::time::Duration::from_secs(60));
    let printed = reader.join().unwrap();
    assert!(code == 1 || code == 3, "code {code}: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let last = messages.split(|b| *b == b'\n').rfind(|l| l.starts_with(b"{\"type\":\"STATE\"")).unwrap();
    let last: serde_json::Value = serde_json::from_slice(last).unwrap();
    assert!(!printed.contains(&last["value"].to_string()), "no STATE past what is written: {printed}");

    copy.restart();
    Run::target(&target_config(&copy)).stdin(&messages).run().succeeds();
    assert_same("source", &source.dump(), "copy", &copy.dump());
}

#[test]
fn a_referral_that_cannot_be_followed_is_still_copied() {
    // The smallest directory that shows it, for whoever debugs the hostile one.
    let source = Slapd::start(SlapdOptions::default().seed(
        "dn: cn=referral,dc=example,dc=test\nobjectClass: referral\nobjectClass: extensibleObject\ncn: referral\n\
         ref: ldap://127.0.0.1:1/dc=nowhere\n",
    ));
    let copy = Slapd::start(SlapdOptions::empty());
    let (tap, target) = pipe(&tap_config(&source), &target_config(&copy));
    tap.succeeds();
    target.succeeds();
    assert_same("source", &source.dump(), "copy", &copy.dump());
    assert!(copy.dump()["cn=referral,dc=example,dc=test"].contains_key("ref"));
    assert_eq!(parse(&copy.slapcat()).len(), 2);
}

/// An attribute whose last value went at the source goes at the copy, too, without a catalog of an earlier run.
#[test]
fn an_attribute_that_no_entry_has_any_more_is_removed_from_the_copy() {
    let source = Slapd::start(SlapdOptions::with_users());
    source.ldapmodify("dn: uid=reader,ou=people,dc=example,dc=test\nchangetype: modify\nadd: roomNumber\nroomNumber: 1\n-\n");
    let copy = Slapd::start(SlapdOptions::empty());
    let from = with(&tap_config(&source), &json!({"select_by_default": "allowed"}));
    for _ in 0..2 {
        let (tap, target) = pipe(&from, &target_config(&copy));
        tap.succeeds();
        target.succeeds();
        assert_same("source", &source.dump(), "copy", &copy.dump());
        source.ldapmodify(
            "dn: uid=reader,ou=people,dc=example,dc=test\nchangetype: modify\nreplace: roomNumber\n-\n",
        );
    }
}
