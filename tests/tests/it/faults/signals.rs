//! SIGTERM and SIGINT in each phase of a run. Random moments of a target's run: `kill_target`.

use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ldap_tests::fake::{Operation, Request};
use ldap_tests::relay::{ADD, Relay};
use ldap_tests::run::{Log, Run, Running};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{BASE, config, people};
use crate::support::{lines, states, tap_config, unit, with};

const SIGNALS: [(Signal, i32); 2] = [(Signal::TERM, 143), (Signal::INT, 130)];
const PATIENCE: Duration = Duration::from_secs(40);

/// Reads what a program prints to its end, and its exit code.
fn ended(mut running: Running) -> (i32, String, Log) {
    let mut stdout = running.take_stdout();
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    let (code, stderr, _) = running.wait(PATIENCE);
    (code, text, stderr)
}

#[test]
fn while_a_server_does_not_answer() {
    // It takes connections, and says nothing: to the TCP connection, the bind, or anything else.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("ldap://{}", listener.local_addr().unwrap());
    let config =
        json!({"server_url": uri, "bind_dn": "cn=x", "bind_password": "x", "connect_timeout_seconds": 60});
    for (signal, expected) in SIGNALS {
        for run in [Run::tap(&with(&config, &json!({"base_dn": "dc=x"}))), Run::target(&config)] {
            let mut running = run.spawn();
            let _connection = listener.accept().unwrap();
            let started = Instant::now();
            running.signal(signal);
            let (code, stdout, stderr) = ended(running);
            assert_eq!((code, stdout.as_str()), (expected, ""), "{stderr}");
            assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        }
    }
}

/// A relay that holds back the first request of a kind until it is told otherwise, and says when it came.
fn holding(
    slapd: &Slapd,
    is_it: impl Fn(&Request) -> bool + Send + Sync + 'static,
) -> (Relay, mpsc::Receiver<()>, Arc<AtomicBool>) {
    let (came, comes) = mpsc::channel();
    let came = Mutex::new(came);
    let go_on = Arc::new(AtomicBool::new(false));
    let gate = go_on.clone();
    let relay = Relay::start(slapd.ldap_port(), move |request| {
        if !gate.load(Ordering::Relaxed) && is_it(request) {
            let _ = came.lock().unwrap().send(());
            let until = Instant::now() + PATIENCE;
            while !gate.load(Ordering::Relaxed) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    });
    (relay, comes, go_on)
}

#[test]
fn while_a_search_is_under_way() {
    let slapd = Slapd::start(SlapdOptions::default().seed(unit(BASE)).seed(crate::support::people(50, BASE)));
    let stream = json!([{"name": "people", "base_dn": BASE, "filter": "(uid=*)", "attributes": ["uid"]}]);
    for (signal, expected) in SIGNALS {
        let (relay, comes, go_on) = holding(&slapd, |request| {
            // What discovery reads is another filter, or limited.
            matches!(&request.operation, Operation::Search(s) if s.base.eq_ignore_ascii_case(BASE) && s.size_limit == 0)
        });
        let config = with(&tap_config(&slapd), &json!({"server_url": relay.uri(), "schemas": stream}));
        let mut running = Run::tap(&config).spawn();
        running.close_stdin_with(&[]);
        comes.recv_timeout(PATIENCE).unwrap();
        let started = Instant::now();
        running.signal(signal);
        let (code, stdout, stderr) = ended(running);
        go_on.store(true, Ordering::Relaxed);
        assert_eq!(code, expected, "{stderr}");
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
        let messages: Vec<Value> = stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert!(
            messages.iter().all(|m| m["type"] != "RECORD" && m["type"] != "ACTIVATE_VERSION"),
            "{stdout}"
        );
        let position =
            messages.iter().rev().find(|m| m["type"] == "STATE").map_or(json!({}), |m| m["value"].clone());
        // Nothing is missing from the next run.
        let again = Run::tap(&with(&config, &json!({"server_url": slapd.ldap_uri()})))
            .file("--state", &position)
            .run();
        assert_eq!(again.succeeds().records(None).len(), 50);
    }
}

#[test]
fn while_a_write_is_under_way() {
    for (signal, expected) in SIGNALS {
        let slapd = Slapd::start(SlapdOptions::default().seed(unit(BASE)));
        let third = std::sync::atomic::AtomicUsize::new(0);
        let (relay, comes, go_on) = holding(&slapd, move |request| {
            matches!(request.operation, Operation::Other(ADD, _))
                && third.fetch_add(1, Ordering::Relaxed) == 2
        });
        let config = config(&slapd, &json!({"server_url": relay.uri()}));
        let run = Run::target(&config);
        let mut running = run.spawn();
        // Its input stays open: only the signal ends it.
        running.write_stdin(lines(&people(0, 10)).as_bytes());
        comes.recv_timeout(PATIENCE).unwrap();
        running.signal(signal);
        std::thread::sleep(Duration::from_millis(300));
        assert!(running.child().try_wait().unwrap().is_none(), "it waits for what is in flight");
        go_on.store(true, Ordering::Relaxed);
        let (code, stdout, stderr) = ended(running);
        assert_eq!(code, expected, "{stderr}");
        let last: Value = serde_json::from_str(stdout.lines().last().unwrap()).unwrap();
        let safe = usize::try_from(last["n"].as_u64().unwrap()).unwrap();
        let written = slapd.dump_below(BASE, &["1.1"]).len() - 1;
        assert!(safe >= 3 && written >= safe, "STATE {safe}, {written} are there");
        let again =
            Run::target(&with(&config, &json!({"server_url": slapd.ldap_uri()}))).messages(&people(safe, 10));
        assert_eq!(states(&again.run().succeeds()).last(), Some(&json!({"n": 10})));
        assert_eq!(slapd.dump_below(BASE, &["1.1"]).len(), 11);
    }
}

#[test]
fn while_a_file_is_put_in_its_place() {
    let folder = ldap_tests::slapd::scratch();
    let path = folder.path().join("people.ldif");
    let base = "dc=example,dc=test";
    let before =
        format!("dn: {base}\nobjectClass: domain\ndc: example\n\n{}", crate::support::people(60_000, base));
    let names = || -> Vec<String> {
        let all = std::fs::read_dir(folder.path()).unwrap();
        all.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    };
    for (signal, expected) in SIGNALS {
        std::fs::write(&path, &before).unwrap();
        let record = json!({"dn": format!("uid=new,{base}"), "objectClass": ["account"], "uid": "new"});
        let text = json!({"type": ["string", "array"]});
        let messages = [
            json!({"type": "SCHEMA", "stream": "people", "key_properties": ["dn"],
                "schema": {"properties": {"dn": text, "objectClass": text, "uid": text}}}),
            json!({"type": "RECORD", "stream": "people", "record": record}),
        ];
        let mut running = Run::target(&json!({"server_url": format!("ldif:{}", path.display())})).spawn();
        running.close_stdin_with(lines(&messages).as_bytes());
        let until = Instant::now() + PATIENCE;
        while !names().iter().any(|name| name.starts_with(".singer-ldap-")) {
            assert!(
                Instant::now() < until && running.child().try_wait().unwrap().is_none(),
                "it was not seen"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        // The second one ends what the first one did not.
        running.signal(signal);
        std::thread::sleep(Duration::from_millis(5));
        running.signal(signal);
        let (code, _, stderr) = ended(running);
        // All may be done before it ends.
        assert!([0, expected].contains(&code), "{code}: {stderr}");
        let after = std::fs::read_to_string(&path).unwrap();
        assert!(after.len() > before.len() && after.contains("uid=new"), "{}", after.len());
        assert!(!names().iter().any(|name| name.starts_with(".singer-ldap-")), "{:?}", names());
    }
}
