//! `follow: true`: which failures are retried, and which end the run.

use std::io::{BufRead as _, BufReader};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ldap_tests::fake::ber::octets;
use ldap_tests::fake::provider::{
    Answer, Provider, SUFFIX, SYNC_REQUEST, boolean, changed, done, info, sync_done,
};
use ldap_tests::fake::{Fake, Operation, Request, Role, Scope, entry, message};
use ldap_tests::run::Run;
use rustix::process::Signal;
use serde_json::{Value, json};

pub(super) const ENTRIES: &[(u8, &str)] = &[(1, "one"), (2, "two")];

fn follower(fake: &Fake) -> Run {
    let config = json!({"server_url": fake.uri(), "base_dn": SUFFIX, "retry_attempts": 0, "operation_timeout_seconds": 5,
        "retry_max_wait_seconds": 1, "follow": true,
        "schemas": [{"name": "all", "replication_method": "LOG_BASED", "attributes": ["uid"]}]});
    let catalog = json!({"streams": [{
        "tap_stream_id": "all", "stream": "all", "key_properties": ["entryUUID"], "replication_method": "LOG_BASED",
        "schema": {"type": "object", "properties": {"dn": {"type": ["null", "string"]},
            "entryUUID": {"type": ["null", "string"]}, "uid": {"type": ["null", "array"]}}},
        "metadata": [{"breadcrumb": [], "metadata": {"selected": true}}],
    }]});
    Run::tap(&config).file("--catalog", &catalog)
}

/// The position before the first read.
pub(super) fn first() -> Answer {
    Box::new(|id| vec![sync_done(id, "csn=1", false)])
}

/// The end of the refresh, and a new entry after it.
pub(super) fn goes_on() -> Answer {
    Box::new(|id| {
        let refreshed = info(id, 1, &[octets(b"csn=2"), boolean(true)]);
        vec![refreshed, changed(id, 2, 3, "three")]
    })
}

/// Follows a server until the new entry arrives.
pub(super) fn follow_to_the_new_entry(fake: &Fake, code: u8) {
    let mut running = follower(fake).spawn();
    let lines = BufReader::new(running.take_stdout()).lines().map_while(Result::ok);
    let mut records = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
    let found = records.find(|m| m["record"]["uid"] == json!(["three"]));
    assert!(found.is_some(), "{code}: {:?}", running.end());
    running.signal(Signal::TERM);
    let (ended, stderr, _) = running.wait(Duration::from_secs(20));
    assert_eq!(ended, 143, "{code}: {stderr}");
}

#[test]
fn a_server_that_cannot_now_is_waited_out() {
    for code in [51, 52] {
        let refusal = move || -> Answer { Box::new(move |id| vec![done(id, code)]) };
        let answers = vec![first(), refusal(), refusal(), goes_on()];
        follow_to_the_new_entry(&Fake::start(Provider::new(ENTRIES, answers)), code);
    }
}

/// A provider that goes down while it is followed. Another directory is in its place when it is back.
struct Replaced {
    provider: Provider,
    synchronisations: AtomicUsize,
}

impl Role for Replaced {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        if request.control(SYNC_REQUEST).is_some() && self.synchronisations.fetch_add(1, Ordering::SeqCst) > 0
        {
            return None;
        }
        match &request.operation {
            Operation::Search(search)
                if search.scope == Scope::Base
                    && search.base.is_empty()
                    && self.synchronisations.load(Ordering::SeqCst) > 1 =>
            {
                let texts = |name: &str, value: &str| (name.to_owned(), vec![value.as_bytes().to_vec()]);
                let other = [texts("objectClass", "OpenLDAProotDSE"), texts("namingContexts", "dc=other")];
                Some(vec![message(request.id, entry("", &other), &[]), done(request.id, 0)])
            }
            _ => self.provider.answer(request),
        }
    }
}

#[test]
fn another_directory_in_the_place_of_the_server_ends_it() {
    let provider = Provider::new(ENTRIES, vec![first()]);
    let fake = Fake::start(Replaced { provider, synchronisations: AtomicUsize::new(0) });
    let output = follower(&fake).timeout(Duration::from_secs(30)).run();
    assert_eq!(output.records(None).len(), 2);
    output.exits(3).says("holds another directory");
}

/// Content synchronization is not paged: the error must not advise pages.
#[test]
fn a_size_limit_is_an_error_with_the_advice_that_helps() {
    for follow in [true, false] {
        let refused: Answer = Box::new(|id| vec![done(id, 4)]);
        let answers = if follow { vec![first(), refused] } else { vec![refused] };
        let fake = Fake::start(Provider::new(ENTRIES, answers));
        let config = json!({"server_url": fake.uri(), "base_dn": SUFFIX, "retry_attempts": 0, "follow": follow,
            "operation_timeout_seconds": 5, "schemas": [{"name": "all", "replication_method": "LOG_BASED"}]});
        let output = Run::tap(&config).timeout(Duration::from_secs(30)).run().exits(1).reports_code(4);
        let errors = output.stderr.about(&json!({"level": "error", "code": 4}));
        let text = errors[0]["message"].as_str().unwrap();
        assert!(text.contains("track_deletions") && !text.contains("the pages must"), "{text}");
    }
}
