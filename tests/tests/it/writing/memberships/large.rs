//! A group of 50,000: single values in few requests; a run that is killed; a source that stays open.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ldap_tests::client::Client;
use ldap_tests::relay::{MODIFY, Relay};
use ldap_tests::run::Run;
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use super::{Place, RFC, by_filter, gone, place, row, run, schema, set, slapd, state};
use crate::support::{assert_untouched, done, lines, searches, with};

const MEMBERS: usize = 50_000;

/// The changes of groups that slapd has made, in order.
fn modifications(slapd: &Slapd) -> Vec<BTreeSet<String>> {
    let mut log = Client::admin(slapd);
    let found = log.search("cn=accesslog", "(objectClass=auditModify)", &["reqMod"]).unwrap();
    let text = |value: &Vec<u8>| String::from_utf8_lossy(value).into_owned();
    let mods = found.into_iter().flat_map(|entry| entry.attributes.into_values());
    mods.map(|values| values.iter().map(text).filter(|m| m.starts_with("member")).collect()).collect()
}

#[test]
fn three_rows_of_a_group_of_50_000_are_three_values() {
    let base = "ou=m,dc=example,dc=test";
    let name = |n: usize| format!("uid=n{n},ou=people,{base}");
    let dn = format!("cn=all,ou=groups,{base}");
    let mut ldif = format!("dn: {dn}\nobjectClass: groupOfNames\ncn: all\n");
    for n in 0..MEMBERS {
        ldif.extend(["member: ", &name(n), "\n"]);
    }
    let slapd = Slapd::start(SlapdOptions { accesslog: true, ..SlapdOptions::default() });
    let place = place(&slapd, RFC);
    slapd.ldapadd(place.seed(3, 0));
    slapd.ldapadd(ldif);
    let config = place.config(&json!({"m": {"membership": {"group": "(cn={group})", "member": "{user}"}}}));
    let rows = [
        row("all", &place.person("p0")),
        row("all", &place.person("p1")),
        gone("all", &name(7)),
        row("all", &name(8)),
    ];
    let before = modifications(&slapd).len();
    let began = Instant::now();
    done(run(&config, &rows)).counts(&[("added", 2), ("deleted", 1), ("unchanged", 1)]);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let made = modifications(&slapd).split_off(before);
    let expected: BTreeSet<String> = [
        format!("member:+ {}", place.person("p0")),
        format!("member:+ {}", place.person("p1")),
        format!("member:- {}", name(7)),
    ]
    .into();
    assert_eq!(made, [expected]);
    let marks = slapd.change_marks();
    done(run(&config, &rows)).counts(&[("unchanged", 4)]);
    assert_untouched(&slapd, &marks);
    // A whole version of it, of which one is new and one is gone.
    let mut all: Vec<Value> =
        (0..MEMBERS).filter(|n| ![7, 9].contains(n)).map(|n| row("all", &name(n))).collect();
    all.extend((0..3).map(|n| row("all", &place.person(&format!("p{n}")))));
    for row in &mut all {
        row["version"] = json!(1);
    }
    all.push(json!({"type": "ACTIVATE_VERSION", "stream": "m", "version": 1}));
    let scoped = with(&config, &json!({"process_activate_version": true}));
    let before = modifications(&slapd).len();
    let unchanged = u64::try_from(MEMBERS).unwrap();
    done(run(&scoped, &all)).counts(&[("added", 1), ("deleted", 1), ("unchanged", unchanged)]);
    let made: Vec<BTreeSet<String>> = modifications(&slapd).split_off(before);
    assert_eq!(
        made,
        [
            BTreeSet::from([format!("member:+ {}", place.person("p2"))]),
            BTreeSet::from([format!("member:- {}", name(9))]),
        ]
    );
}

/// Rows of many groups and people by filters: many at once, and not one search for each.
#[test]
fn filters_are_searched_many_at_once() {
    let slapd = slapd(300, 40);
    let place = place(&slapd, RFC);
    let rows: Vec<Value> =
        (0..40).flat_map(|g| (0..300).map(move |p| row(&format!("g{g}"), &format!("p{p}")))).collect();
    let dir = scratch();
    let metrics = dir.path().join("m.prom");
    let config = with(&place.config(&json!({"m": by_filter()})), &json!({"metrics_file": metrics}));
    done(run(&config, &rows)).counts(&[("added", 12_000)]);
    for group in ["g0", "g39"] {
        assert_eq!(place.members(group).len(), 301);
    }
    // One for each group, and a few for the filters of all: none for each member.
    let used = searches(&metrics);
    assert!(used < 100, "{used} searches");
}

/// How many groups have more than `keeper`.
fn written(place: &Place, groups: usize) -> usize {
    (0..groups).filter(|g| place.members(&format!("g{g}")).len() > 1).count()
}

/// Kills a run once so many of its modifications have come; neither the last of them nor a later one gets to the server.
fn killed_at(modification: usize, server: &Server, config: &Value, input: &str) {
    let (reached, comes) = std::sync::mpsc::channel();
    let relay = Relay::ahead_of(server.ldap_port(), MODIFY, move |number| {
        if number == modification {
            reached.send(()).unwrap();
            loop {
                std::thread::park();
            }
        }
    });
    let mut running = Run::target(&with(config, &json!({"server_url": relay.uri()}))).spawn();
    running.close_stdin_with(input.as_bytes());
    comes.recv_timeout(Duration::from_secs(30)).expect("so many modifications");
    running.signal(rustix::process::Signal::KILL);
    let (code, log) = running.end();
    assert_eq!(code, 137, "{log}");
}

#[test]
fn a_run_that_is_killed_is_made_up_for_by_the_next() {
    let slapd = slapd(60, 30);
    let place = place(&slapd, RFC);
    let config = place.config(&json!({"m": by_filter()}));
    let rows: Vec<Value> =
        (0..30).flat_map(|g| (0..60).map(move |p| row(&format!("g{g}"), &format!("p{p}")))).collect();
    let text = lines(&[vec![schema()], rows.clone(), vec![state()]].concat());
    // A group gets its members by one modification or two.
    for modification in [2, 5, 9] {
        let before = written(&place, 30);
        killed_at(modification, &slapd, &config, &text);
        let began = Instant::now();
        while written(&place, 30) == before {
            assert!(began.elapsed() < Duration::from_secs(15), "nothing was written before {modification}");
            std::thread::sleep(Duration::from_millis(50));
        }
        let now = written(&place, 30);
        assert!(before < now && now < 30, "{now} groups, and {before} before");
    }
    done(run(&config, &rows)).counts(&[("rejected", 0)]);
    let all: Vec<String> =
        (0..60).map(|n| place.person(&format!("p{n}"))).chain([place.person("keeper")]).collect();
    for g in 0..30 {
        assert_eq!(place.members(&format!("g{g}")), set(&all));
    }
    let marks = slapd.change_marks();
    done(run(&config, &rows)).counts(&[("added", 0)]);
    assert_untouched(&slapd, &marks);
}

/// The rows of a source that stays open are written when it is quiet, and its STATE comes then.
#[test]
fn an_open_source_is_written_when_it_is_quiet() {
    let slapd = slapd(3, 1);
    let place = place(&slapd, RFC);
    let config = with(
        &place.config(&json!({"m": by_filter()})),
        &json!({"activate_when_quiet_seconds": 1, "process_activate_version": true}),
    );
    let mut running = Run::target(&config).spawn();
    running.write_stdin(lines(&[schema(), row("g0", "p0"), row("g0", "late"), state()]).as_bytes());
    let began = Instant::now();
    while place.members("g0").len() < 2 {
        assert!(began.elapsed() < Duration::from_secs(15));
        std::thread::sleep(Duration::from_millis(200));
    }
    // Somebody else adds the other one.
    slapd.ldapadd(format!(
        "dn: uid=late,ou=people,{}\nobjectClass: inetOrgPerson\nuid: late\ncn: x\nsn: x\nemployeeNumber: late\n",
        place.base
    ));
    running.write_stdin(lines(&[row("g0", "p1")]).as_bytes());
    while place.members("g0").len() < 4 {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", place.members("g0"));
        std::thread::sleep(Duration::from_millis(200));
    }
    running.close_stdin_with(b"");
    let (code, log, _) = running.wait(Duration::from_secs(20));
    assert_eq!(code, 0, "{log}");
}
