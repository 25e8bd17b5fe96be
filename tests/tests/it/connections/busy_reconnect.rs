//! A server that answers `busy` or `unavailable` when a lost connection is restored, as it does while it starts.

use std::sync::Mutex;
use std::time::Duration;

use ldap_tests::fake::provider::{Provider, SUFFIX, SYNC_REQUEST, done};
use ldap_tests::fake::{Fake, Operation, Request, Role, Scope};
use ldap_tests::run::{Output, Run};
use serde_json::json;

use super::follow_reconnects::{ENTRIES, first, follow_to_the_new_entry, goes_on};

/// A provider that closes the connection at one request, and then answers the root DSE so many times with a code.
struct Restarting {
    provider: Provider,
    /// The requests to let through, of those that are counted.
    before: Mutex<usize>,
    is_counted: fn(&Request) -> bool,
    code: u8,
    times: Mutex<Option<usize>>,
    left: usize,
}

impl Restarting {
    fn start(
        provider: Provider,
        (before, is_counted): (usize, fn(&Request) -> bool),
        (code, left): (u8, usize),
    ) -> Fake {
        let (before, times) = (Mutex::new(before), Mutex::new(None));
        Fake::start(Restarting { provider, before, is_counted, code, times, left })
    }
}

impl Role for Restarting {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        let mut times = self.times.lock().unwrap();
        if times.is_none() && (self.is_counted)(request) {
            let mut before = self.before.lock().unwrap();
            if *before == 0 {
                *times = Some(self.left);
                return None;
            }
            *before -= 1;
        }
        let is_root =
            matches!(&request.operation, Operation::Search(s) if s.base.is_empty() && s.scope == Scope::Base);
        match times.as_mut() {
            Some(left) if is_root && *left > 0 => {
                *left -= 1;
                Some(vec![done(request.id, self.code)])
            }
            _ => self.provider.answer(request),
        }
    }
}

fn is_synchronization(request: &Request) -> bool {
    request.control(SYNC_REQUEST).is_some()
}

fn is_sub(request: &Request) -> bool {
    !is_synchronization(request)
        && matches!(&request.operation, Operation::Search(s) if s.scope == Scope::Sub)
}

#[test]
fn a_follower_waits_until_the_root_dse_can_be_read_again() {
    for code in [51, 52] {
        let provider = Provider::new(ENTRIES, vec![first(), goes_on()]);
        follow_to_the_new_entry(&Restarting::start(provider, (1, is_synchronization), (code, 3)), code);
    }
}

fn full_read(code: u8, times: usize) -> Output {
    let fake = Restarting::start(Provider::new(ENTRIES, vec![]), (1, is_sub), (code, times));
    let config = json!({"server_url": fake.uri(), "base_dn": SUFFIX, "connection_pool_size": 1, "retry_attempts": 4,
        "retry_max_wait_seconds": 1, "operation_timeout_seconds": 5, "schemas": [{"name": "all"}]});
    Run::tap(&config).timeout(Duration::from_secs(40)).run()
}

#[test]
fn a_full_read_over_one_connection_waits_until_the_root_dse_can_be_read_again() {
    for code in [51, 52] {
        assert_eq!(full_read(code, 3).succeeds().records(None).len(), 2, "{code}");
    }
    // Another refusal is that error, and does not mean that another directory is there.
    full_read(53, 100).exits(1).reports_code(53);
}
