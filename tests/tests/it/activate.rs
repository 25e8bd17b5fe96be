//! `process_activate_version`: what a stream's whole version no longer contains goes.

use std::fmt::Write as _;
use std::time::Duration;

use ldap_tests::run::{Output, Run, pipe, pipe_runs, spawn_pipe};
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use crate::support::{
    assert_untouched, done, lines, no_panic, people, states, tap_config, target_config, unit, with,
};

const BASE: &str = "dc=example,dc=test";
const USERS: &str = "ou=users,dc=example,dc=test";

/// People a to f and somebody's printer below ou=users, one of them in a unit, and a person elsewhere.
fn slapd() -> Slapd {
    let mut ldif = [unit(USERS), unit(&format!("ou=in,{USERS}")), unit(&format!("ou=else,{BASE}"))].concat();
    let places = ["a", "b", "c", "d", "e"].map(|id| (id, USERS.to_owned()));
    let places =
        places.into_iter().chain([("f", format!("ou=in,{USERS}")), ("g", format!("ou=else,{BASE}"))]);
    for (id, place) in places {
        write!(ldif, "dn: uid={id},{place}\nobjectClass: inetOrgPerson\nuid: {id}\ncn: {id}\nsn: {id}\n\n")
            .unwrap();
    }
    write!(ldif, "dn: cn=printer,{USERS}\nobjectClass: device\ncn: printer\n\n").unwrap();
    Slapd::start(SlapdOptions::default().seed(ldif))
}

fn config(slapd: &Slapd, more: &Value) -> Value {
    let rule = with(
        &json!({"dn_template": format!("uid={{uid}},{USERS}"), "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": "uid", "name": ["cn", "sn"]}, "scope_base": USERS}),
        more,
    );
    with(&target_config(slapd), &json!({"process_activate_version": true, "mapping_rules": {"users": rule}}))
}

fn schema() -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object",
        "properties": {"id": text, "name": text, "_sdc_deleted_at": text}}})
}

fn record(id: &str) -> Value {
    json!({"type": "RECORD", "stream": "users", "version": 7, "record": {"id": id, "name": id}})
}

fn activate() -> Value {
    json!({"type": "ACTIVATE_VERSION", "stream": "users", "version": 7})
}

fn state() -> Value {
    json!({"type": "STATE", "value": {"n": 1}})
}

fn whole(ids: &[&str]) -> Vec<Value> {
    let mut messages = vec![schema()];
    messages.extend(ids.iter().map(|id| record(id)));
    messages.extend([activate(), state()]);
    messages
}

fn run(config: &Value, messages: &[Value]) -> Output {
    let output = Run::target(config).messages(messages).run();
    no_panic(&output);
    output
}

/// The configuration with a stream `other` that writes to the same place and has no scope.
fn with_other(config: &Value) -> Value {
    let mut config = config.clone();
    config["mapping_rules"]["other"] = with(&config["mapping_rules"]["users"], &json!({"scope_base": null}));
    config
}

/// The first names of what is there.
fn left(slapd: &Slapd) -> String {
    let mut names: Vec<String> =
        slapd.dump().keys().map(|dn| dn.split(',').next().unwrap().to_owned()).collect();
    names.sort();
    names.join(" ")
}

const ALL: &str =
    "cn=printer dc=example ou=else ou=in ou=users uid=a uid=b uid=c uid=d uid=e uid=f uid=g uid=x";

#[test]
fn what_did_not_come_with_the_version_goes_and_nothing_else() {
    let slapd = slapd();
    let config = config(&slapd, &json!({}));
    done(run(&config, &whole(&["a", "new", "c"])))
        .says("1 added, 0 modified, 0 renamed, 4 deleted, 2 unchanged");
    assert_eq!(
        left(&slapd),
        "cn=printer dc=example ou=else ou=in ou=users uid=a uid=c uid=g uid=new",
        "other classes and other places are not the stream's"
    );
    let before = slapd.change_marks();
    done(run(&config, &whole(&["a", "new", "c"])));
    assert_untouched(&slapd, &before);
}

#[test]
fn a_stream_of_which_no_record_came_never_deletes_anything() {
    let slapd = slapd();
    let config = config(&slapd, &json!({}));
    let before = slapd.change_marks();
    let mut earlier = record("a");
    earlier["version"] = json!(6);
    let mut gone = record("never");
    gone["record"]["_sdc_deleted_at"] = json!("2026-01-01T00:00:00Z");
    let mut other = [schema(), record("a")];
    for message in &mut other {
        message["stream"] = json!("other");
    }
    let both = with_other(&config);
    let [other_schema, other_record] = other;
    for messages in [
        whole(&[]),
        // Singer taps announce a version before its first record, too.
        vec![schema(), activate(), record("a"), state()],
        vec![schema(), earlier, activate(), state()],
        vec![schema(), gone, activate(), state()],
        vec![schema(), other_schema, other_record, activate(), state()],
        // The source broke off.
        vec![schema(), record("a"), state()],
    ] {
        done(run(&both, &messages));
        assert_untouched(&slapd, &before);
    }
    done(run(&config, &whole(&[]))).says("no record of the stream came");
}

#[test]
fn a_version_of_a_stream_that_no_schema_names_and_one_ahead_of_its_records_are_said() {
    let slapd = slapd();
    let config = config(&slapd, &json!({}));
    let before = slapd.change_marks();
    let said = |output: &Output| -> Vec<String> {
        let is_one = |l: &&str| l.contains("WARN") && l.contains("ACTIVATE_VERSION deletes nothing");
        output.stderr.lines().filter(is_one).map(str::to_owned).collect()
    };
    let mut misspelt = activate();
    misspelt["stream"] = json!("Users_");
    let mut foreign = activate();
    foreign["stream"] = json!("something else");
    for (messages, texts) in [
        (
            vec![schema(), record("a"), misspelt.clone(), misspelt, state()],
            ["no SCHEMA names", "did you mean `users`"],
        ),
        (vec![schema(), record("a"), foreign, state()], ["no SCHEMA names", "the input has `users`"]),
        (vec![schema(), activate(), record("a"), state()], ["`users`", "before the first record"]),
    ] {
        let output = done(run(&config, &messages));
        let warnings = said(&output);
        assert_eq!(warnings.len(), 1, "{}", output.stderr);
        assert!(texts.iter().all(|text| warnings[0].contains(text)), "{texts:?}: {}", warnings[0]);
        assert_untouched(&slapd, &before);
    }
}

/// A file of changes does not hold the directory that they are for.
#[test]
fn a_file_of_changes_says_that_it_has_no_deletions_of_what_it_does_not_know() {
    let dir = scratch();
    let file = dir.path().join("changes.ldif");
    let slapd = slapd();
    let config = with(
        &config(&slapd, &json!({})),
        &json!({"server_url": format!("ldif:{}", file.display()), "bind_dn": null, "bind_password": null,
            "ldif_format": "changes"}),
    );
    let mut gone = record("b");
    gone["record"]["_sdc_deleted_at"] = json!("2026-01-01T00:00:00Z");
    let messages = [schema(), record("a"), gone, activate(), activate(), state()];
    let output = Run::target(&config).arg("--log-format").arg("json").messages(&messages).run();
    let output = done(output);
    let logged: Vec<Value> = output.stderr.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let warnings: Vec<&Value> =
        logged.iter().filter(|l| l["level"] == "warning" && l["setting"] == "ldif_format").collect();
    assert_eq!(warnings.len(), 2, "{}", output.stderr);
    assert!(warnings.iter().all(|w| w["stream"] == "users"), "{warnings:?}");
    assert!(
        warnings.iter().any(|w| w["message"].as_str().unwrap().contains("ACTIVATE_VERSION")),
        "{warnings:?}"
    );
    assert!(warnings.iter().any(|w| w["deletions"] == 1), "{warnings:?}");
    assert!(!output.stderr.contains("1 deleted"), "{}", output.stderr);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("changetype: delete"));
}

#[test]
fn a_source_that_breaks_off_at_any_octet_deletes_nothing() {
    let slapd = slapd();
    let config = config(&slapd, &json!({}));
    // Nothing but deletions is left to do.
    done(run(&config, &whole(&["a", "b", "c", "d", "e", "f"]))).says("1 added");
    let before = slapd.change_marks();
    let messages = whole(&["a", "b", "c"]);
    let text = lines(&messages);
    let activation = text.find("ACTIVATE_VERSION").unwrap() - "{\"type\":\"".len();
    let end = activation + activate().to_string().len();
    let limited = with(&config, &json!({"max_deletes": 10}));
    // No input at all; in the SCHEMA; in a record and between two; in the very announcement, up to its last octet.
    let second = text.find("RECORD").unwrap();
    for (n, cut) in
        [0, 1, 20, second, second + 30, activation, activation + 1, activation + 20, end - 2, end - 1]
            .into_iter()
            .enumerate()
    {
        let config = if n % 2 == 0 { &config } else { &limited };
        let output = Run::target(config).stdin(text.get(..cut).unwrap()).run();
        no_panic(&output);
        let between = cut == 0 || text.get(..cut).unwrap().ends_with('\n');
        let output = output.exits(i32::from(!between));
        assert!(output.stdout.is_empty(), "cut at {cut}: no STATE");
        assert_untouched(&slapd, &before);
        let plan = Run::target(&config.clone()).stdin(text.get(..cut).unwrap()).arg("--dry-run").run();
        assert_eq!(plan.stdout_text(), "", "cut at {cut}");
    }
    // And whole, without a line feed at its end, it counts.
    done(Run::target(&config).stdin(text.trim_end()).run()).says("3 deleted");
}

#[test]
fn a_tap_that_is_killed_deletes_nothing() {
    let source = Slapd::start(SlapdOptions::default().seed(unit(USERS) + &people(1_000, USERS)));
    let only_here = format!("uid=only,{USERS}");
    let seed = format!("dn: {only_here}\nobjectClass: inetOrgPerson\nuid: only\ncn: x\nsn: x\n\n");
    let mirror = Slapd::start(SlapdOptions::default().seed(unit(USERS) + &people(1_000, USERS) + &seed));
    let tap = Run::tap(&with(&tap_config(&source), &json!({"page_size": 50})));
    let target = Run::target(&with(
        &target_config(&mirror),
        &json!({"process_activate_version": true, "mapping_rules": {"users": {"scope_base": USERS}}}),
    ));
    let mut cut_off = 0;
    for pause in [5, 20, 60, 120, 200] {
        let (mut first, mut second) = spawn_pipe(&tap, &target);
        std::thread::sleep(Duration::from_millis(pause));
        first.signal(rustix::process::Signal::KILL);
        let (tap_code, _, _) = first.wait(Duration::from_secs(10));
        let mut stdout = second.take_stdout();
        let read = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        let (_, stderr, _) = second.wait(Duration::from_secs(60));
        read.join().unwrap().unwrap();
        assert!(!stderr.contains("panicked"), "{stderr}");
        if tap_code == 137 {
            cut_off += 1;
            assert!(mirror.dump().contains_key(&only_here), "killed after {pause} ms: {stderr}");
        } else {
            break;
        }
    }
    assert!(cut_off > 0, "no tap was killed in time");
    let (first, second) = pipe_runs(&tap, &target);
    first.succeeds();
    second.succeeds();
    assert!(!mirror.dump().contains_key(&only_here), "a whole answer counts");
}

#[test]
fn without_the_setting_or_without_a_scope_nothing_goes() {
    let slapd = slapd();
    let before = slapd.change_marks();
    done(run(&config(&slapd, &json!({"scope_base": null})), &whole(&["a"]))).says("scope_base");
    done(run(&config(&slapd, &json!({"on_delete": "ignore"})), &whole(&["a"])));
    let off = with(&config(&slapd, &json!({})), &json!({"process_activate_version": null}));
    done(run(&off, &whole(&["a"]))).says("mapping_rules.users").says("process_activate_version");
    let nowhere = config(&slapd, &json!({"scope_base": format!("ou=nowhere,{BASE}")}));
    done(run(&nowhere, &whole(&["a"])));
    let kept = config(&slapd, &json!({"operations": {"delete": false}}));
    done(run(&kept, &whole(&["a"]))).says("5 left as they are");
    assert_untouched(&slapd, &before);
}

#[test]
fn a_filter_of_ones_own_says_what_is_the_streams() {
    let slapd = slapd();
    let config =
        config(&slapd, &json!({"scope_base": BASE, "scope_filter": "(|(uid=b)(cn=printer)(uid=g))"}));
    done(run(&config, &whole(&["b"])));
    assert_eq!(left(&slapd), "dc=example ou=else ou=in ou=users uid=a uid=b uid=c uid=d uid=e uid=f");
}

#[test]
fn each_form_of_on_delete_is_for_what_is_gone_too() {
    let slapd = slapd();
    let gone = format!("ou=gone,{USERS}");
    slapd.ldapadd(format!("dn: uid=x,uid=e,{USERS}\nobjectClass: inetOrgPerson\nuid: x\ncn: x\nsn: x\n"));
    let set = config(&slapd, &json!({"on_delete": {"set": {"title": "gone"}}}));
    done(run(&set, &whole(&["a", "b", "c", "d"]))).says("3 modified, 0 renamed, 0 deleted");
    assert_eq!(left(&slapd), ALL);
    let moving = config(&slapd, &json!({"on_delete": {"move_to": gone}}));
    done(run(&moving, &whole(&["a", "b", "c", "d"]))).says("2 moved");
    let tree = slapd.dump();
    for id in ["e", "f"] {
        let entry = &tree[&format!("uid={id},{gone}")];
        assert_eq!(entry["title"].first().unwrap(), b"gone");
    }
    assert!(tree.contains_key(&format!("uid=x,uid=e,{gone}")), "with what lies below: {:?}", tree.keys());
    // What is there already lies in the scope, and stays.
    let before = slapd.change_marks();
    done(run(&moving, &whole(&["a", "b", "c", "d"]))).says("6 unchanged");
    assert_untouched(&slapd, &before);
    let tree = config(&slapd, &json!({"on_delete": "tree", "scope_filter": "(objectClass=*)"}));
    done(run(&tree, &whole(&["a"])));
    assert_eq!(
        left(&slapd),
        "dc=example ou=else ou=users uid=a uid=g",
        "units with nobody left in them, too"
    );
}

#[test]
fn children_go_before_their_parents_and_what_lies_above_somebody_stays() {
    let slapd = slapd();
    let deep = format!("uid=x,uid=f,ou=in,{USERS}");
    slapd.ldapadd(format!("dn: {deep}\nobjectClass: inetOrgPerson\nuid: x\ncn: x\nsn: x\n"));
    let everything = config(&slapd, &json!({"scope_filter": "(objectClass=*)"}));
    let mut unit_of = everything.clone();
    unit_of["mapping_rules"]["users"]["dn_template"] = json!(format!("uid={{uid}},ou=in,{USERS}"));
    done(run(&unit_of, &whole(&["f"])));
    assert_eq!(left(&slapd), "dc=example ou=else ou=in ou=users uid=f uid=g");
    done(run(&everything, &whole(&["a"])));
    assert_eq!(left(&slapd), "dc=example ou=else ou=users uid=a uid=g");
}

#[test]
fn what_is_in_the_scope_of_a_rule_further_down_is_that_streams() {
    let slapd = slapd();
    let mut config =
        config(&slapd, &json!({"scope_base": BASE, "scope_filter": "(objectClass=*)", "on_delete": "tree"}));
    config["mapping_rules"]["inner"] = json!({"scope_base": format!("ou=in,{USERS}")});
    done(run(&config, &whole(&["a"])));
    assert_eq!(left(&slapd), "dc=example ou=in ou=users uid=a uid=f");
    // All that is there lies above that scope, or in it.
    let mut elsewhere = config.clone();
    elsewhere["mapping_rules"]["users"]["dn_template"] = json!(format!("uid={{uid}},ou=new,{BASE}"));
    done(run(&elsewhere, &whole(&["z"])));
    assert_eq!(left(&slapd), "dc=example ou=in ou=new ou=users uid=f uid=z");
}

#[test]
fn entries_of_other_streams_in_the_same_place_stay() {
    let slapd = slapd();
    let config = with_other(&config(&slapd, &json!({})));
    let as_other = |mut message: Value| {
        message["stream"] = json!("other");
        message
    };
    let messages = [
        as_other(schema()),
        as_other(record("b")),
        schema(),
        record("a"),
        activate(),
        as_other(activate()),
        state(),
    ];
    done(run(&config, &messages));
    assert_eq!(left(&slapd), "cn=printer dc=example ou=else ou=in ou=users uid=a uid=b uid=g");
}

#[test]
fn a_rejected_records_entry_stays_and_one_that_is_not_known_stops_all_deletion() {
    let slapd = slapd();
    let dir = scratch();
    let config = with(
        &config(&slapd, &json!({})),
        &json!({"on_error": "skip", "reject_file": dir.path().join("rejects.jsonl")}),
    );
    let mut nameless = record("b");
    nameless["record"]["id"] = json!(" ");
    let before = slapd.change_marks();
    run(&config, &[schema(), record("a"), nameless, activate(), state()]).exits(4).says("entry is not known");
    assert_untouched(&slapd, &before);
    // The server refuses it: no sn.
    let mut refused = record("b");
    refused["record"]["name"] = json!(null);
    run(&config, &[schema(), record("a"), refused, activate(), state()]).exits(4).says("4 deleted");
    assert_eq!(left(&slapd), "cn=printer dc=example ou=else ou=in ou=users uid=a uid=b uid=g");
}

#[test]
fn state_waits_for_what_is_gone_and_a_rejected_deletion_is_kept() {
    let slapd = slapd();
    slapd.ldapadd(format!("dn: cn=phone,uid=b,{USERS}\nobjectClass: device\ncn: phone\n"));
    // One at a time: not all of what is gone is taken up at once.
    let plain = with(&config(&slapd, &json!({})), &json!({"max_in_flight": 1}));
    let mut messages = whole(&["a"]);
    messages.insert(1, json!({"type": "STATE", "value": {"n": 0}}));
    let output = run(&plain, &messages).exits(1).says(&format!("uid=b,{USERS}")).says("line 4");
    assert_eq!(states(&output), [json!({"n": 0})]);
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let skip = with(&plain, &json!({"on_error": "skip", "reject_file": file}));
    let output = run(&skip, &messages).exits(4);
    assert_eq!(states(&output).last(), Some(&json!({"n": 1})));
    assert_eq!(left(&slapd), "cn=phone cn=printer dc=example ou=else ou=in ou=users uid=a uid=b uid=g");
    let text = ldap_tests::run::read_text(&file);
    let reject: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&reject["code"], &reject["record"]), (&json!(66), &json!(null)), "{reject:#}");
    let again = with(&skip, &json!({"reject_file": dir.path().join("again.jsonl")}));
    Run::target(&again)
        .raw_file("--input", text.as_bytes())
        .arg("--retry-rejects")
        .run()
        .succeeds()
        .says("passed over");
}

#[test]
fn a_search_that_does_not_end_well_deletes_nothing() {
    // A hundred people are more than this user is shown, and the answer unpaged: sizeLimitExceeded.
    let mut options = SlapdOptions::with_users().seed(unit(USERS)).seed(people(100, USERS));
    options.database_conf = "limits users size=50\n".into();
    let slapd = Slapd::start(options);
    let alice = json!({"bind_dn": "uid=alice,ou=people,dc=example,dc=test", "bind_password": "alice-pw", "page_size": 0});
    let mut config = with(&config(&slapd, &json!({})), &alice);
    config["mapping_rules"]["users"]["dn_template"] = json!("uid={id},ou=people,dc=example,dc=test");
    let before = slapd.dump();
    let output = run(&config, &whole(&["alice"])).exits(1).says("sizeLimitExceeded (4)");
    assert!(states(&output).is_empty());
    assert_eq!(slapd.dump().len(), before.len());
}

#[test]
fn a_file_follows_a_version_too() {
    let dir = scratch();
    let file = dir.path().join("d.ldif");
    let slapd = slapd();
    std::fs::write(&file, slapd.slapcat()).unwrap();
    let config = with(
        &config(&slapd, &json!({})),
        &json!({"server_url": format!("ldif:{}", file.display()), "bind_dn": null, "bind_password": null}),
    );
    done(run(&config, &whole(&["a", "c"]))).says("4 deleted");
    let names: Vec<String> = ldap_tests::ldif::parse_file(&file).into_keys().collect();
    let uids = names.iter().filter(|dn| dn.starts_with("uid=")).count();
    assert_eq!((uids, names.len()), (3, 8), "{names:?}");
}

#[test]
fn the_pair_mirrors_what_was_deleted_at_the_source() {
    let inner = format!("ou=inner,{USERS}");
    let empty = format!("ou=empty,{USERS}");
    let seed = [unit(USERS), unit(&empty), people(50, USERS), unit(&inner), people(20, &inner)].concat();
    let source = Slapd::start(SlapdOptions::default().seed(seed));
    let mirror = Slapd::start(SlapdOptions::default());
    let tap = tap_config(&source);
    let target = with(
        &target_config(&mirror),
        &json!({"process_activate_version": true, "mapping_rules": {
            // The tap's streams are one for each unit, and one for the units, which comes first.
            "users": {"scope_base": USERS}, "inner": {"scope_base": format!("ou=inner,{USERS}")},
            "organizational_units": {"scope_base": BASE, "scope_filter": "(objectClass=organizationalUnit)"},
        }}),
    );
    let run = || {
        let (tap, target) = pipe(&tap, &target);
        tap.succeeds();
        target.succeeds();
        ldap_tests::ldif::assert_same("source", &source.dump(), "mirror", &mirror.dump());
    };
    run();
    let mut changes = String::new();
    for n in (0..50).step_by(3) {
        write!(changes, "dn: uid=person{n},{USERS}\nchangetype: delete\n\n").unwrap();
    }
    write!(changes, "dn: {empty}\nchangetype: delete\n\n").unwrap();
    write!(changes, "dn: uid=person7,{inner}\nchangetype: delete\n\n").unwrap();
    source.ldapmodify(changes);
    run();
    let before = mirror.change_marks();
    run();
    assert_untouched(&mirror, &before);
}

#[test]
fn faults_in_a_scope_are_2_and_named() {
    let slapd = slapd();
    for (rule, setting) in [
        (json!({"scope_base": ""}), "mapping_rules.users.scope_base"),
        (json!({"scope_base": "users"}), "mapping_rules.users.scope_base"),
        (json!({"scope_filter": "(uid=*"}), "mapping_rules.users.scope_filter"),
        (json!({"scope_base": null, "scope_filter": "(uid=*)"}), "scope_base is not set"),
    ] {
        let output = run(&config(&slapd, &rule), &[schema()]).exits(2);
        output.says(setting);
    }
    let scope = config(&slapd, &json!({}))["mapping_rules"]["users"].clone();
    for (rules, setting) in [
        (json!({"*": scope}), "mapping_rules.*.scope_base"),
        (json!({"a": scope, "users": scope}), "mapping_rules.users.scope_base"),
    ] {
        let rules = with(&config(&slapd, &json!({})), &json!({"mapping_rules": rules}));
        run(&rules, &[schema()]).exits(2).says(setting);
    }
    run(&with(&config(&slapd, &json!({})), &json!({"process_activate_version": "yes"})), &[schema()])
        .exits(2)
        .says("process_activate_version");
}

#[test]
fn a_rejected_record_whose_key_is_of_another_type_may_be_any_entry() {
    let dir = scratch();
    for key in [json!(true), json!(5), json!(["a", "b"])] {
        let slapd = slapd();
        let rejects = dir.path().join("rejects.jsonl");
        let config = with(&config(&slapd, &json!({})), &json!({"on_error": "skip", "reject_file": rejects}));
        let marks = left(&slapd);
        let mut bad = record("a");
        bad["record"]["id"] = key;
        run(&config, &[schema(), record("a"), bad, activate(), state()]).exits(4);
        assert_eq!(left(&slapd), marks, "b to f may be what it was about");
    }
}
