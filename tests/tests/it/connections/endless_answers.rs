//! Endless answers: an answer that is buffered whole is read up to a limit.

use std::time::Duration;

use ldap_tests::fake::{Fake, Operation, Request, Role, Scope, entry, message, result};
use ldap_tests::memory::watch_peak;
use ldap_tests::run::Run;
use serde_json::json;

use crate::support::no_panic;

/// Which search is answered for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Flood {
    RootDse,
    Schema,
    Base,
    None,
}

struct Server {
    flood: Flood,
    /// Whether a base search ends with sizeLimitExceeded (4) after its entry.
    limits: bool,
}

const BASE: &str = "dc=example,dc=test";
const SUBSCHEMA: &str = "cn=subschema";

impl Server {
    fn entry(base: &str) -> Vec<u8> {
        let texts = |pairs: &[(&str, &str)]| -> Vec<(String, Vec<Vec<u8>>)> {
            pairs.iter().map(|(n, v)| ((*n).to_owned(), vec![v.as_bytes().to_vec()])).collect()
        };
        entry(
            base,
            &match base {
                "" => texts(&[("namingContexts", BASE), ("subschemaSubentry", SUBSCHEMA)]),
                SUBSCHEMA => {
                    texts(&[("attributeTypes", "( 2.5.4.3 NAME 'cn' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )")])
                }
                _ => texts(&[("objectClass", "domain"), ("dc", "example")]),
            },
        )
    }
}

impl Role for Server {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        let Operation::Search(search) = &request.operation else {
            return Some(vec![message(request.id, result(1, 0, ""), &[])]);
        };
        let limited = self.limits && search.scope == Scope::Base && search.size_limit == 1;
        Some(vec![
            message(request.id, Self::entry(&search.base), &[]),
            message(request.id, result(5, if limited { 4 } else { 0 }, ""), &[]),
        ])
    }

    fn endless(&self, request: &Request) -> Option<Vec<u8>> {
        let Operation::Search(search) = &request.operation else { return None };
        let flood = match search.base.as_str() {
            _ if search.scope != Scope::Base => Flood::None,
            "" => Flood::RootDse,
            SUBSCHEMA => Flood::Schema,
            _ => Flood::Base,
        };
        let is_it = flood == self.flood && flood != Flood::None;
        is_it.then(|| message(request.id, Self::entry(&search.base), &[]))
    }
}

fn config(fake: &Fake) -> serde_json::Value {
    json!({"server_url": fake.uri(), "base_dn": BASE, "retry_attempts": 0, "page_size": 0})
}

#[test]
fn an_endless_answer_to_a_small_read_is_an_error_that_names_the_search() {
    for (flood, named) in [(Flood::RootDse, ""), (Flood::Schema, SUBSCHEMA), (Flood::Base, BASE)] {
        let fake = Fake::start(Server { flood, limits: false });
        let mut running = Run::tap(&config(&fake)).spawn();
        let id = running.child().id();
        running.close_stdin_with(&[]);
        let watch = watch_peak(id);
        let (code, stderr, took) = running.wait(Duration::from_secs(60));
        assert_eq!(code, 1, "{flood:?}: {stderr}");
        stderr.reports(&json!({"level": "error", "dn": named}));
        assert!(took < Duration::from_secs(30), "{flood:?}: {took:?}");
        let peak = watch.join().unwrap();
        assert!(peak < 400 << 10, "{flood:?}: {peak} KiB");
    }
}

#[test]
fn a_server_that_says_that_the_one_entry_was_the_limit_is_read() {
    let fake = Fake::start(Server { flood: Flood::None, limits: true });
    let output = Run::tap(&config(&fake)).arg("--discover").run().succeeds();
    no_panic(&output);
    let searches = fake.searches();
    let small: Vec<_> = searches.iter().filter(|s| s.scope == Scope::Base).collect();
    assert!(small.len() > 1 && small.iter().all(|s| s.size_limit == 1), "{small:?}");
}
