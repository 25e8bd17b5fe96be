//! A server that answers `busy` a number of times.

use std::sync::Mutex;

use ldap_tests::fake::active_directory::{ActiveDirectory, SUFFIX, object};
use ldap_tests::fake::{Fake, Operation, Request, Role, Scope, message, result};
use ldap_tests::run::Run;
use serde_json::{Value, json};

use super::one_write;
use crate::support::with;

/// A domain controller that answers requests of a kind with this code and text, so many times.
struct Refusing {
    inner: ActiveDirectory,
    is_met: fn(&Request) -> bool,
    code: u8,
    text: &'static str,
    left: Mutex<usize>,
}

impl Role for Refusing {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        let mut left = self.left.lock().unwrap();
        if *left > 0 && (self.is_met)(request) {
            *left -= 1;
            let application = match &request.operation {
                Operation::Bind => 1,
                Operation::Search(_) => 5,
                Operation::Other(tag, _) => tag + 1,
                Operation::Unbind => return None,
            };
            return Some(vec![message(request.id, result(application, self.code, self.text), &[])]);
        }
        match &request.operation {
            // Whatever is written, succeeds.
            Operation::Other(tag @ (6 | 8 | 10 | 12), _) => {
                let tag = if *tag == 10 { 11 } else { tag + 1 };
                Some(vec![message(request.id, result(tag, 0, ""), &[])])
            }
            _ => self.inner.answer(request),
        }
    }
}

fn server(is_met: fn(&Request) -> bool, code: u8, text: &'static str, left: usize) -> Fake {
    let contact = |n: u32| {
        object(&format!("CN=c{n},{SUFFIX}"), "contact", n, &[("cn", vec![format!("c{n}").into_bytes()])])
    };
    let inner = ActiveDirectory::new((1..5).map(contact).collect());
    Fake::start(Refusing { inner, is_met, code, text, left: Mutex::new(left) })
}

fn config(server: &Fake) -> Value {
    json!({
        "server_url": server.uri(), "bind_dn": "CN=etl,CN=Users,DC=ad,DC=example,DC=test", "bind_password": "secret",
        "retry_max_wait_seconds": 1, "operation_timeout_seconds": 5,
    })
}

fn is_bind(request: &Request) -> bool {
    matches!(request.operation, Operation::Bind)
}

fn is_sub(request: &Request) -> bool {
    matches!(&request.operation, Operation::Search(s) if s.scope == Scope::Sub)
}

fn is_base(request: &Request) -> bool {
    matches!(&request.operation, Operation::Search(s) if s.scope == Scope::Base)
}

fn is_write(request: &Request) -> bool {
    matches!(request.operation, Operation::Other(6 | 8 | 10 | 12, _))
}

const AD_BUSY: &str = "0000200E: SvcErr: DSID-0315201E, problem 5001 (BUSY), data 0\n";

#[test]
fn a_read_that_a_busy_server_refuses_is_asked_again() {
    for (is_met, code, text) in [
        (is_bind as fn(&Request) -> bool, 51, ""),
        (is_base, 51, "later"),
        (is_sub, 52, "later"),
        (is_sub, 80, AD_BUSY),
    ] {
        let server = server(is_met, code, text, 2);
        let tap = with(&config(&server), &json!({"schemas": [{"name": "s", "key_properties": ["dn"]}]}));
        let output = Run::tap(&tap).run().succeeds();
        assert_eq!(output.records(Some("s")).len(), 5, "{code} {text}");
        assert_eq!(output.of_type("ACTIVATE_VERSION").len(), 1);
    }
}

#[test]
fn what_no_attempt_cures_is_not_tried_again_and_too_many_are_an_error() {
    // other, with no more to it; timeLimitExceeded; and busy for ever.
    for (code, text, says, asked) in
        [(80, "", "other (80)", 1), (3, "", "timeLimitExceeded (3)", 1), (51, "", "busy (51)", 3)]
    {
        let server = server(is_sub, code, text, 1_000);
        let tap = json!({"schemas": [{"name": "s", "key_properties": ["dn"]}], "retry_attempts": 2, "page_size": 0, "discovery_sample_size": 0});
        let output = Run::tap(&with(&config(&server), &tap)).run().exits(1).says(says);
        assert!(output.of_type("ACTIVATE_VERSION").is_empty());
        let whole = server.searches().iter().filter(|s| s.scope == Scope::Sub).count();
        // The look at some entries, for their keys, is a search of its own.
        assert!(whole == asked || whole == 2 * asked, "{says}: {whole}");
    }
}

#[test]
fn a_write_that_a_busy_server_refuses_is_sent_again_and_once_too_often_is_an_error() {
    let messages = one_write(SUFFIX);
    for (code, text) in [(51, ""), (52, ""), (80, AD_BUSY)] {
        let server = server(is_write, code, text, 3);
        let output = Run::target(&config(&server)).messages(&messages).run().succeeds();
        assert_eq!(output.lines(), [json!({"n": 1})]);
        assert_eq!(server.requests().iter().filter(|r| is_write(r)).count(), 4);
    }
    let server = server(is_write, 51, "", 4);
    let output = Run::target(&config(&server)).messages(&messages).run().exits(1).reports_code(51);
    assert!(output.stdout.is_empty());
    // Not even under `on_error: skip`: nothing is wrong with the record.
    let rejects = ldap_tests::server::scratch();
    let skip =
        json!({"on_error": "skip", "reject_file": rejects.path().join("rejects.jsonl"), "retry_attempts": 0});
    let server = self::server(is_write, 51, "", 4);
    Run::target(&with(&config(&server), &skip)).messages(&messages).run().exits(1).reports_code(51);
}
