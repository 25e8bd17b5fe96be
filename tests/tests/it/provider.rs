//! Content synchronisation with a server that says what the RFC allows and no server here ever says, or what no server may
//! say at all.

use ldap_tests::fake::ber::{Tag, octets, tagged};
use ldap_tests::fake::provider::{
    Answer, Provider, SUFFIX, boolean, changed, done, id_set, info, sync_done, uuid,
};
use ldap_tests::fake::{Fake, message, reference, result};
use ldap_tests::run::{Output, Run};
use serde_json::{Value, json};

use crate::support::no_panic;

/// A first read of two entries.
fn first() -> Answer {
    Box::new(|id| vec![changed(id, 1, 1, "one"), changed(id, 1, 2, "two"), sync_done(id, "c1", false)])
}

fn config(fake: &Fake) -> Value {
    json!({
        "server_url": fake.uri(), "base_dn": SUFFIX, "retry_attempts": 0, "operation_timeout_seconds": 5,
        "schemas": [{"name": "all", "replication_method": "LOG_BASED", "attributes": ["uid"]}],
    })
}

/// Reads once with a first answer, then with the others.
fn then(answers: Vec<Answer>) -> (Fake, Output) {
    let mut all = vec![first()];
    all.extend(answers);
    let fake = Fake::start(Provider::new(all));
    // Discovery reads a sample in pages, and is not of interest.
    let catalog = json!({"streams": [{
        "tap_stream_id": "all", "stream": "all", "key_properties": ["entryUUID"], "replication_method": "LOG_BASED",
        "schema": {"type": "object", "properties": {"dn": {"type": ["null", "string"]},
            "entryUUID": {"type": ["null", "string"]}, "uid": {"type": ["null", "array"]}}},
        "metadata": [{"breadcrumb": [], "metadata": {"selected": true}}],
    }]});
    let run = || Run::tap(&config(&fake)).file("--catalog", &catalog);
    let before = run().run().succeeds();
    assert_eq!(before.records(None).len(), 2);
    assert_eq!(before.of_type("ACTIVATE_VERSION").len(), 1);
    let state = before.of_type("STATE").last().unwrap()["value"].clone();
    let output = run().file("--state", &state).run();
    no_panic(&output);
    (fake, output)
}

fn deleted(output: &Output) -> Vec<&str> {
    let records = output.records(None).into_iter();
    records.filter(|r| r["_sdc_deleted_at"].is_string()).map(|r| r["entryUUID"].as_str().unwrap()).collect()
}

#[test]
fn deletions_come_in_every_form() {
    let (_fake, output) = then(vec![Box::new(|id| {
        vec![
            info(id, 0, &[b"c2".to_vec()]),
            changed(id, 3, 1, "one"),
            changed(id, 2, 3, "three"),
            id_set(id, true, &[2, 4]),
            info(id, 1, &[octets(b"c3"), boolean(true)]),
            sync_done(id, "", true),
        ]
    })]);
    let output = output.succeeds();
    assert_eq!(deleted(&output), [uuid(1).1, uuid(2).1, uuid(4).1]);
    let one = output.records(None)[0];
    assert_eq!(one["dn"], format!("uid=one,{SUFFIX}"), "known from the entry, not from a set");
    assert!(output.records(None)[2].get("dn").is_none());
    assert!(output.of_type("ACTIVATE_VERSION").is_empty());
    // The last cookie that was given, with the end giving none.
    let state = output.of_type("STATE").last().unwrap()["value"]["bookmarks"]["all"]["cookie"].clone();
    assert_eq!(state, "YzM=");
}

#[test]
fn what_only_says_who_is_still_there_is_a_resync() {
    let present: [fn(i64) -> Vec<Vec<u8>>; 4] = [
        |id| vec![id_set(id, false, &[1]), sync_done(id, "c2", false)],
        |id| vec![changed(id, 0, 1, "one"), sync_done(id, "c2", false)],
        |id| vec![info(id, 2, &[octets(b"c2"), boolean(false)]), info(id, 1, &[]), sync_done(id, "c2", true)],
        // Nobody is there any more.
        |id| vec![sync_done(id, "c2", false)],
    ];
    for answer in present {
        let whole: Answer = Box::new(|id| vec![changed(id, 1, 2, "two"), sync_done(id, "c3", false)]);
        let (_fake, output) = then(vec![Box::new(answer), whole]);
        let output = output.succeeds().says("resync");
        assert_eq!(output.stderr.matches("resync").count(), 1, "{}", output.stderr);
        assert_eq!(output.of_type("ACTIVATE_VERSION").len(), 1);
        assert!(deleted(&output).is_empty(), "nothing is guessed");
        assert_eq!(output.records(None).last().unwrap()["uid"], json!(["two"]));
    }
}

#[test]
fn a_server_that_always_asks_for_a_refresh_is_a_failure_and_no_loop() {
    // e-syncRefreshRequired is 4096: an ENUMERATED of two octets.
    let required: fn(i64) -> Vec<Vec<u8>> = |id| {
        let parts = [tagged(Tag::ENUMERATED, &[0x10, 0]), octets(b""), octets(b"again")].concat();
        vec![message(id, tagged(Tag::application(5).constructed(), &parts), &[])]
    };
    let (fake, output) = then(vec![Box::new(required)]);
    output.exits(1).says("resync").says("e-syncRefreshRequired (4096)");
    let asked = fake.requests().iter().filter(|r| !r.controls.is_empty()).count();
    assert!(asked < 10, "{asked}");
}

#[test]
fn a_reference_leaves_the_read_incomplete() {
    let fake = Fake::start(Provider::new(vec![Box::new(|id| {
        let elsewhere = message(id, reference("ldap://elsewhere.example/dc=x"), &[]);
        vec![changed(id, 1, 1, "one"), elsewhere, sync_done(id, "c1", false)]
    })]));
    let output = Run::tap(&config(&fake)).run().succeeds().says("referral");
    assert!(output.of_type("ACTIVATE_VERSION").is_empty());
}

#[test]
fn what_is_no_ldap_ends_the_run_with_what_came_before_and_the_old_position() {
    let goodbye = |_: i64| {
        let name = tagged(Tag::context(10), b"1.3.6.1.4.1.1466.20036");
        let parts = [tagged(Tag::ENUMERATED, &[52]), octets(b""), octets(b"maintenance"), name].concat();
        message(0, tagged(Tag::application(24).constructed(), &parts), &[])
    };
    let cases: [(&str, fn(i64) -> Vec<u8>); 6] = [
        ("maintenance", goodbye),
        ("not LDAP", |_| b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        // An indefinite length, a length of almost 4 GiB, and a message that ends within itself.
        ("not LDAP", |_| vec![0x30, 0x80, 2, 1, 1]),
        ("too large", |_| vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xf0, 2, 1, 2]),
        ("not LDAP", |_| vec![0x30, 0x05, 2, 1, 2, 0x64, 0x7f]),
        ("RFC 4533", |id| message(id, result(1, 0, ""), &[])),
    ];
    for (says, octets_of) in cases {
        let (_fake, output) = then(vec![Box::new(move |id| {
            vec![changed(id, 2, 3, "three"), octets_of(id), sync_done(id, "c2", true)]
        })]);
        let output = output.exits(1).says(says);
        assert_eq!(output.records(None).len(), 1, "{says}: what was read is right");
        assert!(output.of_type("STATE").is_empty(), "{says}: the position is the one before");
        assert!(deleted(&output).is_empty());
    }
    // Nested as deep as a message may be long.
    let (_fake, output) = then(vec![Box::new(|id| {
        let deep = [0x30, 0x80].repeat(100_000);
        vec![message(id, tagged(Tag::application(4).constructed(), &deep), &[])]
    })]);
    output.exits(1).says("not LDAP");
}

#[test]
fn what_nobody_asked_for_is_passed_over() {
    let (_fake, output) = then(vec![Box::new(|id| {
        let notice =
            [tagged(Tag::ENUMERATED, &[0]), octets(b""), octets(b""), tagged(Tag::context(10), b"1.2.3")];
        let other_info = [tagged(Tag::context(0), b"1.2.3.4"), tagged(Tag::context(1), b"?")].concat();
        vec![
            message(0, tagged(Tag::application(24).constructed(), &notice.concat()), &[]),
            changed(id + 100, 2, 9, "of another search"),
            message(id, tagged(Tag::application(25).constructed(), &other_info), &[]),
            changed(id, 2, 3, "three"),
            sync_done(id, "c2", true),
        ]
    })]);
    assert_eq!(output.succeeds().records(None).len(), 1);
}

#[test]
fn an_error_at_the_end_of_a_first_read_concludes_nothing() {
    // timeLimitExceeded, sizeLimitExceeded, busy.
    for code in [3, 4, 51] {
        let fake = Fake::start(Provider::new(vec![Box::new(move |id| {
            vec![changed(id, 1, 1, "one"), done(id, code)]
        })]));
        let output = Run::tap(&config(&fake)).run().exits(1).says("as scripted");
        assert!(output.of_type("ACTIVATE_VERSION").is_empty());
        assert!(output.of_type("STATE").is_empty());
    }
}
