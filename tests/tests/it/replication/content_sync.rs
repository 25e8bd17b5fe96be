//! Content synchronization (RFC 4533) with a scripted provider: answers that the RFC allows and no server here gives, and
//! answers that it forbids.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ldap_tests::fake::ber::{Tag, octets, sequence, tagged};
use ldap_tests::fake::provider::{
    Answer, Provider, SUFFIX, SYNC_STATE, boolean, changed, done, id_set, info, sync_done, uuid,
};
use ldap_tests::fake::{Fake, entry_of, message, result};
use ldap_tests::run::{Output, Run};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::repeated_runs::resyncs;
use crate::support::{discover, no_panic, people, tap_config, unit, with};

type Script = fn(i64) -> Vec<Vec<u8>>;
type Octets = fn(i64) -> Vec<u8>;

const ENTRIES: &[(u8, &str)] = &[(1, "one"), (2, "two")];

/// The position before a first read.
fn first() -> Answer {
    Box::new(|id| vec![sync_done(id, "csn=1", false)])
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
    let fake = Fake::start(Provider::new(ENTRIES, all));
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
fn an_entry_whose_name_is_no_text_is_left_out_and_deletes_nothing() {
    let (_fake, output) = then(vec![Box::new(|id| {
        let state = sequence(&[tagged(Tag::ENUMERATED, &[2]), octets(&uuid(1).0)]);
        let renamed = entry_of(b"uid=on\xe9,dc=example,dc=test", &[("uid".into(), vec![b"one".to_vec()])]);
        vec![
            message(id, renamed, &[(SYNC_STATE, state)]),
            changed(id, 2, 2, "two"),
            sync_done(id, "csn=2", true),
        ]
    })]);
    let output = output.succeeds().says("uid=on\\E9,dc=example,dc=test");
    assert_eq!(deleted(&output), [] as [&str; 0]);
    assert_eq!(output.records(None).len(), 1, "{}", output.stdout_text());
    assert_eq!(output.records(None)[0]["entryUUID"], uuid(2).1);
}

#[test]
fn deletions_come_in_every_form() {
    let (_fake, output) = then(vec![Box::new(|id| {
        vec![
            info(id, 0, &[b"csn=2".to_vec()]),
            changed(id, 3, 1, "one"),
            changed(id, 2, 3, "three"),
            id_set(id, true, &[2, 4]),
            info(id, 1, &[octets(b"csn=3"), boolean(true)]),
            sync_done(id, "", true),
        ]
    })]);
    let output = output.succeeds();
    assert_eq!(deleted(&output), [uuid(1).1, uuid(2).1], "the stream never had the fourth");
    let one = output.records(None)[0];
    assert_eq!(one["dn"], format!("uid=one,{SUFFIX}"), "known from the entry, not from a set");
    assert!(output.records(None)[2]["dn"].is_null());
    assert!(output.of_type("ACTIVATE_VERSION").is_empty());
    // The last cookie that was given, with the end giving none.
    let state = output.of_type("STATE").last().unwrap()["value"]["bookmarks"]["all"]["cookie"].clone();
    assert_eq!(state, "Y3NuPTM=");
}

#[test]
fn what_only_says_who_is_still_there_is_a_resync() {
    let present: [Script; 4] = [
        |id| vec![id_set(id, false, &[1]), sync_done(id, "csn=2", false)],
        |id| vec![changed(id, 0, 1, "one"), sync_done(id, "csn=2", false)],
        |id| {
            vec![
                info(id, 2, &[octets(b"csn=2"), boolean(false)]),
                info(id, 1, &[]),
                sync_done(id, "csn=2", true),
            ]
        },
        // Nobody is there any more.
        |id| vec![sync_done(id, "csn=2", false)],
    ];
    for answer in present {
        let (_fake, output) =
            then(vec![Box::new(answer), Box::new(|id| vec![sync_done(id, "csn=3", false)])]);
        let output = output.succeeds();
        assert_eq!(resyncs(&output), 1, "{}", output.stderr);
        assert_eq!(output.of_type("ACTIVATE_VERSION").len(), 1);
        assert!(deleted(&output).is_empty(), "nothing is guessed");
        assert_eq!(output.records(None).last().unwrap()["uid"], json!(["two"]));
    }
}

#[test]
fn a_server_that_always_asks_for_a_refresh_is_a_failure_and_no_loop() {
    // e-syncRefreshRequired is 4096: an ENUMERATED of two octets.
    let required: Script = |id| {
        let parts = [tagged(Tag::ENUMERATED, &[0x10, 0]), octets(b""), octets(b"again")].concat();
        vec![message(id, tagged(Tag::application(5).constructed(), &parts), &[])]
    };
    let (fake, output) = then(vec![Box::new(required)]);
    assert!(resyncs(&output) > 0, "{}", output.stderr);
    output.exits(1).reports_code(4096);
    let asked = fake.requests().iter().filter(|r| !r.controls.is_empty()).count();
    assert!(asked < 10, "{asked}");
}

#[test]
fn a_reference_leaves_the_read_incomplete() {
    let provider = Provider::new(ENTRIES, vec![first()]).referring("ldap://elsewhere.example/dc=x");
    let fake = Fake::start(provider);
    let output = Run::tap(&config(&fake)).run().succeeds().reports(&json!({"stream": "all"}));
    assert!(output.of_type("ACTIVATE_VERSION").is_empty());
}

#[test]
fn what_is_no_ldap_ends_the_run_with_what_came_before_and_the_old_position() {
    let goodbye = |_: i64| {
        let name = tagged(Tag::context(10), b"1.3.6.1.4.1.1466.20036");
        let parts = [tagged(Tag::ENUMERATED, &[52]), octets(b""), octets(b"maintenance"), name].concat();
        message(0, tagged(Tag::application(24).constructed(), &parts), &[])
    };
    let cases: [(&str, Octets); 6] = [
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
            vec![changed(id, 2, 3, "three"), octets_of(id), sync_done(id, "csn=2", true)]
        })]);
        let output = output.exits(1).says(says);
        assert_eq!(output.records(None).len(), 1, "{says}: what was read is right");
        for state in output.of_type("STATE") {
            assert_eq!(
                state["value"]["bookmarks"]["all"]["cookie"], "Y3NuPTE=",
                "{says}: the position is the one before"
            );
        }
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
            message(id, tagged(Tag::application(25).constructed(), &other_info), &[]),
            changed(id, 2, 3, "three"),
            sync_done(id, "csn=2", true),
        ]
    })]);
    assert_eq!(output.succeeds().records(None).len(), 1);
}

#[test]
fn what_belongs_to_no_search_or_lies_outside_of_it_ends_the_read() {
    // A message of a search that nobody has begun, and an entry that is not below the base.
    let foreign: [fn(i64) -> Vec<u8>; 2] = [
        |id| changed(id + 100, 2, 9, "of another search"),
        |id| {
            let mut octets = changed(id, 2, 9, "nine");
            let at = octets.windows(7).position(|part| part == b"example").unwrap();
            octets[at..at + 7].copy_from_slice(b"another");
            octets
        },
    ];
    for octets in foreign {
        let (_fake, output) = then(vec![Box::new(move |id| {
            vec![octets(id), changed(id, 2, 3, "three"), sync_done(id, "csn=2", true)]
        })]);
        let output = output.exits(1);
        assert!(output.of_type("STATE").is_empty() && output.of_type("ACTIVATE_VERSION").is_empty());
        assert!(output.records(None).iter().all(|record| !record.to_string().contains("dc=another")));
    }
}

#[test]
fn a_server_that_falls_silent_is_not_waited_for_for_ever() {
    let fake = Fake::start(Provider::new(ENTRIES, vec![Box::new(|id| vec![changed(id, 1, 1, "one")])]));
    let config = with(&config(&fake), &json!({"operation_timeout_seconds": 1}));
    let output = Run::tap(&config).run().exits(1).reports_setting("operation_timeout_seconds");
    assert!(output.of_type("ACTIVATE_VERSION").is_empty() && output.of_type("STATE").is_empty());
}

#[test]
fn an_error_at_the_end_of_a_first_read_concludes_nothing() {
    // timeLimitExceeded, sizeLimitExceeded, busy.
    for code in [3, 4, 51] {
        let answer: Answer = Box::new(move |id| vec![changed(id, 1, 1, "one"), done(id, code)]);
        let fake = Fake::start(Provider::new(ENTRIES, vec![answer]));
        let output = Run::tap(&config(&fake)).run().exits(1).says("as scripted");
        assert!(output.of_type("ACTIVATE_VERSION").is_empty());
        assert!(output.of_type("STATE").is_empty());
    }
}

#[test]
fn a_position_in_the_changes_of_several_providers_is_kept_as_it_is() {
    let entry = |n: u8| {
        format!(
            "dn: ou=of{n},dc=example,dc=test\nobjectClass: organizationalUnit\nou: of{n}\n\
             entryCSN: 2026010100000{n}.000000Z#000000#00{n}#000000\n\n"
        )
    };
    let slapd = Slapd::start(SlapdOptions::default().seed(entry(1) + &entry(2)));
    let streams = json!({"schemas": [{"name": "all", "replication_method": "LOG_BASED", "attributes": ["ou", "description"]}]});
    let run = || Run::tap(&with(&tap_config(&slapd), &streams));
    let first = run().run().succeeds();
    let state = first.of_type("STATE").last().unwrap()["value"].clone();
    let cookie = |state: &Value| {
        let text = state["bookmarks"]["all"]["cookie"].as_str().unwrap();
        String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
    };
    assert!(cookie(&state).contains("#001#") && cookie(&state).contains("#002#"), "{}", cookie(&state));
    slapd.ldapmodify("dn: ou=of1,dc=example,dc=test\nchangetype: modify\nadd: description\ndescription: x\n");
    let second = run().file("--state", &state).run().succeeds();
    assert_eq!(second.records(None).len(), 1);
    let state = second.of_type("STATE").last().unwrap()["value"].clone();
    assert!(cookie(&state).contains("#002#"), "the other provider's part stays: {}", cookie(&state));
    assert!(run().file("--state", &state).run().succeeds().records(None).is_empty());
    let by_key = json!({"schemas": [{"name": "all", "replication_method": "INCREMENTAL"}]});
    Run::tap(&with(&tap_config(&slapd), &by_key)).run().succeeds().says("replicates from 3 providers");
}

#[test]
fn with_an_index_of_keys_a_container_tells_of_its_own_deletions_only() {
    let unit = |name: &str| unit(&format!("ou={name},dc=example,dc=test"));
    let of = |name: &str| {
        people(2, &format!("ou={name},dc=example,dc=test"))
            .replace("uid=person", &format!("uid={name}"))
            .replace("uid: person", &format!("uid: {name}"))
    };
    let slapd = Slapd::start(SlapdOptions::default().seed(unit("a") + &unit("b") + &of("a") + &of("b")));
    let mut catalog = discover(&tap_config(&slapd));
    for stream in catalog["streams"].as_array_mut().unwrap() {
        stream["metadata"][0]["metadata"]["replication-method"] = json!("LOG_BASED");
    }
    let state_dir = scratch();
    let settings = json!({"track_deletions": true, "state_dir": state_dir.path()});
    let run = || Run::tap(&with(&tap_config(&slapd), &settings)).file("--catalog", &catalog);
    let first = run().run().succeeds();
    let state = first.of_type("STATE").last().unwrap()["value"].clone();
    slapd.ldapmodify(
        "dn: uid=a0,ou=a,dc=example,dc=test\nchangetype: delete\n\n\
         dn: uid=b0,ou=b,dc=example,dc=test\nchangetype: modify\nreplace: sn\nsn: other\n\n\
         dn: uid=b1,ou=b,dc=example,dc=test\nchangetype: modrdn\nnewrdn: uid=b1\ndeleteoldrdn: 1\n\
         newsuperior: ou=a,dc=example,dc=test\n",
    );
    let second = run().file("--state", &state).run().succeeds();
    let told: BTreeSet<String> = second
        .of_type("RECORD")
        .iter()
        .map(|m| {
            let gone = if m["record"]["_sdc_deleted_at"].is_null() { "" } else { "-" };
            format!("{} {gone}{}", m["stream"].as_str().unwrap(), m["record"]["dn"].as_str().unwrap())
        })
        .collect();
    let expected = [
        "a -uid=a0,ou=a,dc=example,dc=test",
        "a uid=b1,ou=a,dc=example,dc=test",
        "b -uid=b1,ou=b,dc=example,dc=test",
        "b uid=b0,ou=b,dc=example,dc=test",
    ];
    assert_eq!(told, expected.map(str::to_owned).into());
}
