//! STATE that does not match: of another server, of another configuration, older, or damaged.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::go_on;
use super::random_changes::{Model, is_active};
use super::random_company::{Habits, World};
use super::repeated_runs::{Method, Mirror, STREAM, resyncs};
use super::server_kind::{Directory, Kind};
use crate::support::{no_panic, tap_config, with};

/// A mirror that has seen a directory, and changes it has not seen yet.
fn seen(kind: Kind, method: Method, own_seed: u64) -> Model {
    let mut model = Model::start(kind, method, Habits::UnitsMove, own_seed);
    model.look();
    model.change(20);
    model
}

/// The bookmark of the one stream.
fn bookmark(mirror: &mut Mirror) -> &mut Value {
    &mut mirror.state.as_mut().unwrap()["bookmarks"][STREAM]
}

/// The next run reads everything anew and says so, once; the one after it does not.
#[track_caller]
fn is_read_anew(model: &mut Model) {
    let output = model.look();
    assert_eq!(resyncs(&output), 1, "{}", output.stderr);
    assert_eq!(output.of_type("ACTIVATE_VERSION").len(), 1);
    model.change(10);
    let output = model.look();
    assert_eq!(resyncs(&output), 0, "{}", output.stderr);
    assert!(output.of_type("ACTIVATE_VERSION").is_empty());
}

#[test]
fn a_bookmark_has_what_it_needs_and_no_more() {
    let mut model = seen(Kind::OpenLdap, Method::Log, 101);
    let it = bookmark(&mut model.mirror).clone();
    assert!(it["cookie"].is_string() && it["fingerprint"].is_string(), "{it}");
    let by_key = seen(Kind::OpenLdap, Method::By("modifyTimestamp"), 102);
    let state = by_key.mirror.state.unwrap();
    let it = &state["bookmarks"][STREAM];
    assert_eq!(it["replication_key"], "modifyTimestamp");
    assert!(it["replication_key_value"].as_str().unwrap().starts_with("20"), "{it}");
    assert!(state["currently_syncing"].is_null());
    for state in [state, model.mirror.state.unwrap()] {
        for secret in ["secret", "cn=admin"] {
            assert!(!state.to_string().contains(secret), "{state}");
        }
    }
}

#[test]
fn the_state_of_another_server() {
    // Two domain controllers here are copies of one, ids and all: see `active_directory_restored_from_an_older_backup`.
    for kind in [Kind::OpenLdap, Kind::Ds389] {
        let mut model = seen(kind, Method::Log, 103);
        let other = Directory::start(kind);
        let mut world = World::new(kind, other.suffix(), Habits::UnitsMove, 104);
        other.ldapmodify(world.populate(20));
        model.mirror.reconfigure(&json!({"server_url": other.ldap_uri()}));
        model.directory = other;
        model.world = world;
        is_read_anew(&mut model);
    }
}

#[test]
fn the_state_of_another_filter() {
    for kind in [Kind::OpenLdap, Kind::Ds389, Kind::ActiveDirectory] {
        let mut model = seen(kind, Method::Log, 105);
        model.mirror.set_stream("filter", json!("(employeeType=active)"));
        model.mirror.want(is_active);
        is_read_anew(&mut model);
    }
}

#[test]
fn the_state_of_another_base() {
    // `people` stays where it is: no unit is renamed here.
    let mut model = Model::start(Kind::OpenLdap, Method::Log, Habits::PeopleMove, 106);
    model.look();
    model.change(20);
    model.mirror.set_stream("base_dn", json!("ou=people,dc=example,dc=test"));
    model.mirror.want(|dn, _| dn.ends_with("ou=people,dc=example,dc=test"));
    is_read_anew(&mut model);
    model.mirror.set_stream("scope", json!("base"));
    model.mirror.want(|dn, _| dn == "ou=people,dc=example,dc=test");
    let output = model.look();
    assert_eq!(resyncs(&output), 1, "{}", output.stderr);
}

#[test]
fn the_state_of_other_attributes() {
    let mut model = seen(Kind::OpenLdap, Method::Log, 107);
    let mut attributes = Kind::OpenLdap.compared();
    attributes.push("employeeNumber");
    model.mirror.set_stream("attributes", json!(attributes));
    is_read_anew(&mut model);
}

#[test]
fn a_cookie_that_is_none() {
    // Nothing in particular, nothing at all, and the shape of OpenLDAP's own with a time that never was.
    let cookies = ["garbage", "", "rid=000,csn=99990101000000.000000Z#000000#000#000000"];
    for (kind, cookies) in
        [(Kind::OpenLdap, &cookies[..]), (Kind::Ds389, &cookies[..2]), (Kind::ActiveDirectory, &cookies[..2])]
    {
        let mut model = seen(kind, Method::Log, 108);
        for cookie in cookies {
            println!("{kind:?}: cookie {cookie:?}");
            bookmark(&mut model.mirror)["cookie"] = json!(STANDARD.encode(cookie));
            is_read_anew(&mut model);
        }
    }
}

#[test]
fn a_state_of_an_older_version_or_of_another_method() {
    let mut model = seen(Kind::OpenLdap, Method::Log, 109);
    for bookmark in [
        json!({"version": 1}),
        json!({}),
        json!({"replication_key": "modifyTimestamp", "replication_key_value": "2020-01-01T00:00:00Z"}),
    ] {
        model.mirror.state = Some(json!({"bookmarks": {STREAM: bookmark}}));
        let output = model.look();
        assert_eq!(output.of_type("ACTIVATE_VERSION").len(), 1, "{bookmark}: a complete read");
        model.change(10);
        assert!(model.look().of_type("ACTIVATE_VERSION").is_empty(), "{bookmark}");
    }
    for state in
        [json!({}), json!({"bookmarks": {}}), json!({"bookmarks": {"gone": {"version": 7}, STREAM: {}}})]
    {
        model.mirror.state = Some(state);
        assert_eq!(model.look().of_type("ACTIVATE_VERSION").len(), 1);
    }
}

#[test]
fn singers_own_bookmark_is_enough_for_a_key() {
    let mut model = seen(Kind::OpenLdap, Method::By("modifyTimestamp"), 110);
    let all = model.mirror.records;
    let value = bookmark(&mut model.mirror)["replication_key_value"].clone();
    std::thread::sleep(std::time::Duration::from_millis(1_100));
    model.look();
    model.change(5);
    for bookmark in [
        json!({"replication_key": "modifyTimestamp", "replication_key_value": value}),
        json!({"replication_key_value": value}),
    ] {
        model.mirror.state = Some(json!({"bookmarks": {STREAM: bookmark}}));
        model.mirror.records = 0;
        model.look();
        assert!(model.mirror.records > 0);
    }
    // A LOG_BASED bookmark says nothing about a key: everything is read.
    model.mirror.state = Some(json!({"bookmarks": {STREAM: {"cookie": "rid=000", "fingerprint": "x"}}}));
    model.mirror.records = 0;
    model.look();
    assert!(model.mirror.records >= all / 2, "{} of {all}", model.mirror.records);
}

#[test]
fn another_key_is_another_question() {
    let mut model = seen(Kind::OpenLdap, Method::By("modifyTimestamp"), 111);
    model.mirror.set_stream("replication_key", json!("entryCSN"));
    model.look();
    let bookmark = bookmark(&mut model.mirror).clone();
    assert_eq!(bookmark["replication_key"], "entryCSN");
    assert!(bookmark["replication_key_value"].as_str().unwrap().contains('#'), "{bookmark}");
}

#[test]
fn a_damaged_state_is_2_and_says_what_to_do() {
    let log = seen(Kind::OpenLdap, Method::Log, 112);
    let whole = log.mirror.state.clone().unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut state = whole.clone();
        change(&mut state["bookmarks"][STREAM]);
        state
    };
    let states = [
        json!({"bookmarks": []}),
        json!({"bookmarks": {STREAM: "text"}}),
        json!({"bookmarks": {STREAM: [1]}}),
        json!({"bookmarks": {"of-another-tap": {"version": 7}}}),
        with(&|b| b["cookie"] = json!("not base64")),
        with(&|b| b["cookie"] = json!(17)),
        with(&|b| b["cookie"] = json!({"a": 1})),
        with(&|b| b["fingerprint"] = json!(3)),
    ];
    for state in states {
        let mut mirror = Mirror::new(&log.directory, "dc=example,dc=test", Method::Log);
        mirror.state = Some(state.clone());
        let output = mirror.next_run().run().exits(2).reports_setting("--state");
        no_panic(&output);
        assert!(output.of_type("RECORD").is_empty() && output.of_type("STATE").is_empty(), "{state}");
    }
    // A value of the CSN's syntax is not one of a time, nor the other way round.
    let csn = json!("20200101000000.000000Z#000000#000#000000");
    let time = json!("2020-01-01T00:00:00Z");
    let none = [json!("yesterday"), json!(5), json!([time]), json!({}), json!(null), json!(""), json!(true)];
    for (key, other) in [("modifyTimestamp", csn), ("entryCSN", time.clone())] {
        for value in none.iter().chain([&other]) {
            let mut mirror = Mirror::new(&log.directory, "dc=example,dc=test", Method::By(key));
            mirror.state = Some(
                json!({"bookmarks": {STREAM: {"replication_key": key, "replication_key_value": value}}}),
            );
            let output =
                mirror.next_run().run().exits(2).says("replication_key_value").reports_setting("--state");
            assert!(output.stderr.contains(&value.to_string()), "{value}: {}", output.stderr);
            no_panic(&output);
            assert!(output.of_type("RECORD").is_empty() && output.of_type("STATE").is_empty(), "{value}");
        }
    }
}

/// A bookmark written by hand or by another tap, whose value is valid: nothing would be found from it on, run after run.
#[test]
fn a_bookmark_beyond_all_entries_or_of_another_key_or_method_is_read_anew_with_a_warning() {
    let person = |n: u32| {
        format!(
            "dn: uid=p{n},dc=example,dc=test\nobjectClass: account\nobjectClass: posixAccount\nuid: p{n}\ncn: p\n\
             uidNumber: {n}\ngidNumber: 1\nhomeDirectory: /\n\n"
        )
    };
    let slapd = Slapd::start(SlapdOptions::default().seed((1..=3).map(person).collect::<String>()));
    let config = |key: &str| {
        let stream = json!({"name": STREAM, "base_dn": "dc=example,dc=test", "filter": "(uidNumber=*)",
            "replication_method": "INCREMENTAL", "replication_key": key, "attributes": ["uid"]});
        with(&tap_config(&slapd), &json!({"schemas": [stream]}))
    };
    let beyond = |key: &str, value: Value| json!({"replication_key": key, "replication_key_value": value});
    let time = json!("2020-01-01T00:00:00Z");
    for (key, bookmark, resynced) in [
        ("uidNumber", beyond("uidNumber", json!(1_000_000)), 1),
        ("uidNumber", beyond("modifyTimestamp", time.clone()), 1),
        ("modifyTimestamp", beyond("modifyTimestamp", json!("9999-01-01T00:00:00Z")), 1),
        ("modifyTimestamp", beyond("modifyTimestamp", time), 0),
        ("uidNumber", beyond("uidNumber", json!(2)), 0),
        ("uidNumber", json!({"cookie": "cmlkPTAwMA==", "fingerprint": "x", "version": 1}), 1),
    ] {
        let state = json!({"bookmarks": {STREAM: bookmark}});
        let (output, state) = go_on(Run::tap(&config(key)), Some(&state));
        assert_eq!(resyncs(&output), resynced, "{bookmark}: {}", output.stderr);
        let expected = if bookmark["replication_key_value"] == 2 { 2 } else { 3 };
        assert_eq!(output.records(None).len(), expected, "{bookmark}");
        let (output, _) = go_on(Run::tap(&config(key)), Some(&state));
        assert_eq!(resyncs(&output), 0, "{bookmark}: {}", output.stderr);
    }
    // And of a key, for the log.
    let mut model = seen(Kind::OpenLdap, Method::Log, 114);
    model.mirror.state =
        Some(json!({"bookmarks": {STREAM: beyond("modifyTimestamp", json!("2020-01-01T00:00:00Z"))}}));
    is_read_anew(&mut model);
}
