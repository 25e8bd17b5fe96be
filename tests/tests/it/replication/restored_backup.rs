//! `LOG_BASED` after a restored backup: the server goes on counting, and its log does not have what was lost.

use std::fmt::Write as _;
use std::thread::sleep;
use std::time::Duration;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::{Output, Run};
use ldap_tests::samba::{self, Samba};
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::go_on;
use super::repeated_runs::resyncs;
use crate::support::{people, tap_config, unit, with};

const BASE: &str = "ou=people,dc=example,dc=test";

/// What happened last before the position was taken, and is not so any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lost {
    Change,
    Addition,
    Deletion,
}

const ALL: [Lost; 3] = [Lost::Change, Lost::Addition, Lost::Deletion];

#[track_caller]
fn run(config: &Value, state: Option<&Value>) -> (Output, Value) {
    go_on(Run::tap(config), state)
}

fn dn(n: usize) -> String {
    format!("uid=person{n},{BASE}")
}

fn change(n: usize, to: &str) -> String {
    format!("dn: {}\nchangetype: modify\nreplace: sn\nsn: {to}\n\n", dn(n))
}

fn by_log(server: &Server) -> Value {
    let stream = json!({"name": "all", "base_dn": BASE, "filter": "(&(uid=*)(!(title=out)))",
        "attributes": ["uid", "sn"], "replication_method": "LOG_BASED"});
    with(&tap_config(server), &json!({"base_dn": BASE, "schemas": [stream]}))
}

/// Takes a position after something that the backup does not have.
fn position(server: &Server, config: &Value, lost: Lost) -> Value {
    match lost {
        Lost::Change => server.ldapmodify(change(3, "new")),
        Lost::Addition => server.ldapadd(people(21, BASE).split_once("dn: uid=person20").map(last).unwrap()),
        Lost::Deletion => {}
    }
    let (_, state) = run(config, None);
    if lost != Lost::Deletion {
        return state;
    }
    server.ldapmodify(format!("dn: {}\nchangetype: delete\n\n", dn(4)));
    let (output, state) = run(config, Some(&state));
    assert_eq!(output.records(None).len(), 1);
    state
}

fn last((_, rest): (&str, &str)) -> String {
    format!("dn: uid=person20{rest}")
}

/// Once, and then no more.
#[track_caller]
fn is_read_anew(config: &Value, state: &Value, what: &str) {
    let (output, state) = run(config, Some(state));
    assert_eq!(resyncs(&output), 1, "{what}: {}", output.stderr);
    assert!(output.records(None).len() >= 20, "{what}: all are read");
    let (output, _) = run(config, Some(&state));
    assert_eq!((resyncs(&output), output.records(None).len()), (0, 0), "{what}: {}", output.stderr);
}

#[test]
fn a_slapd_whose_log_has_passed_the_position_is_noticed() {
    for lost in ALL {
        let mut slapd = Slapd::start(SlapdOptions::default().seed(unit(BASE)).seed(people(20, BASE)));
        let config = by_log(&slapd);
        slapd.ldapmodify(change(3, "old"));
        let backup = slapd.slapcat();
        sleep(Duration::from_millis(1_100));
        let state = position(&slapd, &config, lost);
        slapd.reload(&backup);
        sleep(Duration::from_millis(1_100));
        for n in 5..9 {
            slapd.ldapmodify(change(n, "later"));
        }
        is_read_anew(&config, &state, &format!("{lost:?}"));
    }
}

#[test]
fn a_389_that_was_imported_is_noticed() {
    for lost in ALL {
        for changes in [0, 4] {
            let mut server = Ds389::start(&Ds389Options::default().seed(unit(BASE)).seed(people(20, BASE)));
            let config = by_log(&server);
            server.ldapmodify(change(3, "old"));
            let backup = server.export();
            sleep(Duration::from_millis(1_100));
            let state = position(&server, &config, lost);
            server.import(&backup);
            for n in 5..5 + changes {
                server.ldapmodify(change(n, "later"));
            }
            is_read_anew(&config, &state, &format!("{lost:?} {changes}"));
        }
    }
}

#[test]
fn a_domain_controller_that_counted_on_is_noticed() {
    let unit = format!("OU=R,{}", samba::SUFFIX);
    let contact = |n: usize| format!("dn: CN=c{n},{unit}\nchangetype: add\nobjectClass: contact\n\n");
    let title = |n: usize, to: &str| {
        format!("dn: CN=c{n},{unit}\nchangetype: modify\nreplace: title\ntitle: {to}\n\n")
    };
    let mut seed = format!("dn: {unit}\nobjectClass: organizationalUnit\n\n");
    for n in 0..20 {
        write!(seed, "dn: CN=c{n},{unit}\nobjectClass: contact\n\n").unwrap();
    }
    let mut samba = Samba::start(&seed);
    samba.backup();
    let stream = json!({"name": "all", "base_dn": unit, "filter": "(objectClass=contact)",
        "attributes": ["cn", "title"], "replication_method": "LOG_BASED"});
    let config = with(&tap_config(&samba), &json!({"base_dn": samba::SUFFIX, "schemas": [stream]}));
    for lost in ALL {
        match lost {
            Lost::Change => samba.ldapmodify(title(3, "new")),
            Lost::Addition => samba.ldapmodify(contact(20)),
            Lost::Deletion => {}
        }
        let (_, mut state) = run(&config, None);
        if lost == Lost::Deletion {
            samba.ldapmodify(format!("dn: CN=c4,{unit}\nchangetype: delete\n\n"));
            state = run(&config, Some(&state)).1;
        }
        samba.restore();
        for n in 0..12 {
            samba.ldapmodify(title(7, &n.to_string()));
        }
        is_read_anew(&config, &state, &format!("{lost:?}"));
    }
}

#[test]
fn what_the_log_tells_of_the_last_changes_is_no_restore() {
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(BASE)).seed(people(20, BASE)));
    let ds389 = Ds389::start(&Ds389Options::default().seed(unit(BASE)).seed(people(20, BASE)));
    let servers: [&Server; 2] = [&slapd, &ds389];
    for server in servers {
        let config = by_log(server);
        server.ldapmodify(change(3, "a") + &change(4, "a") + &change(5, "a"));
        let (_, mut state) = run(&config, None);
        let out = |n: usize| format!("dn: {}\nchangetype: modify\nreplace: title\ntitle: out\n\n", dn(n));
        let back = |n: usize| format!("dn: {}\nchangetype: modify\ndelete: title\n\n", dn(n));
        let delete = |n: usize| format!("dn: {}\nchangetype: delete\n\n", dn(n));
        let rename = format!("dn: {}\nchangetype: modrdn\nnewrdn: uid=other\ndeleteoldrdn: 1\n\n", dn(5));
        for (changes, records) in [
            (out(3) + &delete(4) + &rename, 3),
            (back(3), 1),
            (change(6, "b") + &delete(6), 1),
            (out(3) + &back(3), 1),
            (String::new(), 0),
        ] {
            if !changes.is_empty() {
                server.ldapmodify(&changes);
            }
            let (output, next) = run(&config, Some(&state));
            let found = (resyncs(&output), output.records(None).len());
            assert_eq!(found, (0, records), "{changes}: {}", output.stderr);
            state = next;
        }
        // A bookmark of yesterday has nothing to compare with.
        state["bookmarks"]["all"].as_object_mut().unwrap().remove("witness").unwrap();
        assert_eq!(resyncs(&run(&config, Some(&state)).0), 0);
    }
}
