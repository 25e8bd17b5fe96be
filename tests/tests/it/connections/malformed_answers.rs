//! Malformed answers: no panic, no hang, a message that names the problem, and the right exit code.

use ldap_tests::fake::active_directory::{ActiveDirectory, SUFFIX, object};
use ldap_tests::fake::ber::{Tag, integer, octets, sequence, tagged};
use ldap_tests::fake::{Fake, Operation, Request, Role, Scope, entry, message, reference, result};
use ldap_tests::run::Run;
use serde_json::{Value, json};

use super::one_write;
use crate::support::{no_panic, with};

const PAGED: &str = "1.2.840.113556.1.4.319";
type Octets = fn(&Request) -> Vec<u8>;

/// A domain controller that answers some requests in a way of its own.
struct Odd<F> {
    inner: ActiveDirectory,
    answer: F,
}

impl<F: Fn(&Request) -> Option<Vec<u8>> + Send + Sync + 'static> Role for Odd<F> {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        match (self.answer)(request) {
            Some(octets) => Some(vec![octets]),
            None => self.inner.answer(request),
        }
    }
}

fn odd(answer: impl Fn(&Request) -> Option<Vec<u8>> + Send + Sync + 'static) -> Fake {
    let contact = object(&format!("CN=c,{SUFFIX}"), "contact", 9, &[("cn", vec![b"c".to_vec()])]);
    Fake::start(Odd { inner: ActiveDirectory::new(vec![contact]), answer })
}

fn config(server: &Fake) -> Value {
    json!({
        "server_url": server.uri(), "bind_dn": "CN=etl,CN=Users,DC=ad,DC=example,DC=test", "bind_password": "secret",
        "retry_attempts": 0, "operation_timeout_seconds": 3, "connect_timeout_seconds": 3,
    })
}

/// The search of the stream: whole, and below the base.
fn is_whole(request: &Request) -> bool {
    matches!(&request.operation, Operation::Search(s) if s.scope == Scope::Sub && s.size_limit == 0 && s.base == SUFFIX)
}

fn is_write(request: &Request) -> bool {
    matches!(request.operation, Operation::Other(6 | 8 | 10 | 12, _))
}

fn good(id: i64, name: &str) -> Vec<u8> {
    let attributes = [("cn".to_owned(), vec![name.as_bytes().to_vec()])];
    message(id, entry(&format!("CN={name},{SUFFIX}"), &attributes), &[])
}

fn page_end(id: i64, cookie: &[u8]) -> Vec<u8> {
    message(id, result(5, 0, ""), &[(PAGED, sequence(&[integer(0), octets(cookie)]))])
}

fn operation(id: i64, number: u8, content: &[u8]) -> Vec<u8> {
    sequence(&[integer(id), tagged(Tag::application(number).constructed(), content)])
}

/// A Notice of Disconnection (RFC 4511 section 4.4.1).
fn goodbye(_: &Request) -> Vec<u8> {
    let name = tagged(Tag::context(10), b"1.3.6.1.4.1.1466.20036");
    let parts = [tagged(Tag::ENUMERATED, &[52]), octets(b""), octets(b"maintenance"), name].concat();
    message(0, tagged(Tag::application(24).constructed(), &parts), &[])
}

fn reading(pool: usize) -> Value {
    json!({"schemas": [{"name": "s", "key_properties": ["dn"]}], "discovery_sample_size": 10, "connection_pool_size": pool})
}

#[test]
fn references_are_taken_wherever_they_come() {
    let url = "ldap://192.0.2.1/DC=other";
    for pool in [1, 4] {
        let server = odd(move |request| {
            is_whole(request).then(|| {
                let id = request.id;
                let referring = |url: &str| message(id, reference(url), &[]);
                let without_urls = operation(id, 19, b"");
                let first = request
                    .control(PAGED)
                    .is_none_or(|c| c.value.as_deref().is_some_and(|v| v.ends_with(&[4, 0])));
                // Before the first entry, between two, without a URL, and alone in a page.
                if first {
                    [
                        referring(url),
                        good(id, "a"),
                        referring(url),
                        without_urls,
                        good(id, "b"),
                        page_end(id, b"x"),
                    ]
                    .concat()
                } else {
                    [referring(url), page_end(id, b"")].concat()
                }
            })
        });
        let output = Run::tap(&with(&config(&server), &reading(pool))).run();
        no_panic(&output);
        let output = output.exits(0).reports(&json!({"stream": "s"}));
        assert_eq!(output.records(None).len(), 2, "pool {pool}");
        assert!(output.of_type("ACTIVATE_VERSION").is_empty());
    }
}

#[test]
fn pages_that_never_end_are_an_error() {
    for pool in [1, 4] {
        // The same page for ever, and pages with nothing in them.
        for (entries, says) in [(true, "the same page again and again"), (false, "empty pages")] {
            let server = odd(move |request| {
                is_whole(request).then(|| {
                    let id = request.id;
                    let page = if entries { [good(id, "a"), good(id, "b")].concat() } else { Vec::new() };
                    [page, page_end(id, b"again")].concat()
                })
            });
            let output = Run::tap(&with(&config(&server), &reading(pool))).run();
            no_panic(&output);
            let output = output.exits(1).says(says);
            assert!(output.of_type("ACTIVATE_VERSION").is_empty());
        }
    }
}

#[test]
fn an_entry_of_64_mib_is_read_and_one_beyond_the_limit_is_an_error_that_names_it() {
    let server = odd(|request| {
        is_whole(request).then(|| {
            let id = request.id;
            let large =
                entry(&format!("CN=large,{SUFFIX}"), &[("cn".to_owned(), vec![vec![b'x'; 64 << 20]])]);
            [message(id, large, &[]), page_end(id, b"")].concat()
        })
    });
    let tap = with(&config(&server), &reading(4));
    let tap = with(&tap, &json!({"operation_timeout_seconds": 60}));
    let output = Run::tap(&tap).run();
    assert!(output.code == 0, "{}: {}", output.code, output.stderr);
    assert!(output.stdout.len() > 64 << 20);
    for pool in [1, 4] {
        let server = odd(|r| is_whole(r).then(|| vec![0x30, 0x84, 0x10, 0, 0, 1, 2, 1]));
        let output = Run::tap(&with(&config(&server), &reading(pool))).run();
        output.exits(1).says("octets is too large: at most 256 MiB are taken");
    }
}

#[test]
fn attributes_without_values_and_notices_of_other_things_do_no_harm() {
    // An unsolicited notification (RFC 4511 section 4.4), and a message of an extension (section 4.13).
    fn notice(name: &[u8]) -> Vec<u8> {
        let name = tagged(Tag::context(10), name);
        let parts = [tagged(Tag::ENUMERATED, &[0]), octets(b""), octets(b""), name].concat();
        message(0, tagged(Tag::application(24).constructed(), &parts), &[])
    }
    for pool in [1, 4] {
        let server = odd(|request| {
            is_whole(request).then(|| {
                let id = request.id;
                let bare = [("cn".to_owned(), Vec::new()), ("mail".to_owned(), vec![Vec::new()])];
                [
                    notice(b"192.0.2.1"),
                    operation(id, 25, b""),
                    message(id, entry(&format!("CN=bare,{SUFFIX}"), &bare), &[]),
                    page_end(id, b""),
                ]
                .concat()
            })
        });
        let output = Run::tap(&with(&config(&server), &reading(pool))).run();
        no_panic(&output);
        let output = output.exits(0);
        assert_eq!(output.records(None).len(), 1, "pool {pool}: {}", output.stdout_text());
    }
}

#[test]
fn what_is_no_answer_to_a_search_ends_the_run() {
    let cases: [(&str, Octets); 16] = [
        ("maintenance", goodbye),
        ("no operation in progress", |r| [good(r.id + 1_000, "a"), page_end(r.id, b"")].concat()),
        ("no operation in progress", |r| [good(r.id - 1, "a"), page_end(r.id, b"")].concat()),
        ("no operation in progress", |r| [good(0, "a"), page_end(r.id, b"")].concat()),
        ("no operation in progress", |r| [good(-1, "a"), page_end(r.id, b"")].concat()),
        ("no operation in progress", |r| [message(r.id + 7, result(5, 0, ""), &[])].concat()),
        ("no operation in progress", |_| message(2_000_000_000, result(1, 49, ""), &[])),
        ("", |r| [good(r.id, "a"), message(r.id, result(24, 0, ""), &[])].concat()),
        ("", |r| [good(r.id, "a"), message(r.id, result(24, 32, ""), &[])].concat()),
        ("not LDAP", |_| b"220 smtp.example ESMTP\r\n".to_vec()),
        ("unavailableCriticalExtension (12)", |r| message(r.id, result(24, 12, "unknown control"), &[])),
        ("", |r| message(r.id, result(9, 0, ""), &[])),
        ("", |r| message(r.id, result(1, 0, ""), &[])),
        ("", |r| operation(r.id, 30, b"")),
        // Its length goes beyond what comes: silence.
        ("no answer within 3 s", |r| good(r.id, "cut")[..12].to_vec()),
        ("", |r| operation(r.id, 4, b"\x04\x7fx\x30\x00")),
    ];
    for pool in [1, 4] {
        for (n, (says, octets_of)) in cases.iter().enumerate() {
            let octets_of = *octets_of;
            let server = odd(move |r| is_whole(r).then(|| octets_of(r)));
            let output = Run::tap(&with(&config(&server), &reading(pool))).run();
            no_panic(&output);
            let output = output.exits(1).says(says);
            assert!(output.of_type("ACTIVATE_VERSION").is_empty(), "case {n}, pool {pool}");
        }
    }
}

#[test]
fn what_is_no_answer_to_a_change_is_not_taken_for_one() {
    let messages = one_write(SUFFIX);
    let cases: [(&str, Octets); 13] = [
        ("maintenance", goodbye),
        // An AddResponse is due: those of a modification, a deletion and a renaming, and what says that an entry is there.
        ("the answer of another operation", |r| message(r.id, result(7, 0, ""), &[])),
        ("the answer of another operation", |r| message(r.id, result(11, 0, ""), &[])),
        ("the answer of another operation", |r| message(r.id, result(13, 0, ""), &[])),
        ("the answer of another operation", |r| message(r.id, result(24, 68, ""), &[])),
        ("the answer of another operation", |r| message(r.id, result(5, 68, ""), &[])),
        ("not LDAP", |_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        // Success, of another operation.
        ("the answer of another operation", |r| message(r.id, result(5, 0, ""), &[])),
        ("the answer of another operation", |r| message(r.id, result(24, 0, ""), &[])),
        ("the answer of another operation", |r| message(r.id, result(1, 0, ""), &[])),
        ("the answer of another operation", |r| good(r.id, "x")),
        // Samba's way to refuse a critical control.
        ("unavailableCriticalExtension (12)", |r| message(r.id, result(24, 12, ""), &[])),
        ("no operation in progress", |r| message(r.id + 1_000, result(9, 0, ""), &[])),
    ];
    for (says, octets_of) in cases {
        let server = odd(move |r| is_write(r).then(|| octets_of(r)));
        let output = Run::target(&config(&server)).messages(&messages).run();
        no_panic(&output);
        let output = output.exits(1).says(says);
        assert!(output.stdout.is_empty(), "no STATE: {says}");
    }
}

#[test]
fn what_is_no_answer_to_a_bind_is_3() {
    let cases: [(&str, Octets); 6] = [
        ("maintenance", goodbye),
        ("no operation in progress", |r| message(r.id + 1, result(1, 0, ""), &[])),
        ("not LDAP", |_| b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        ("something else", |r| message(r.id, result(5, 0, ""), &[])),
        ("too large", |_| vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 2]),
        ("no answer within 3 s", |_| vec![0x30]),
    ];
    for (says, octets_of) in cases {
        let server = odd(move |r| (r.operation == Operation::Bind).then(|| octets_of(r)));
        let output = Run::tap(&config(&server)).arg("--discover").run();
        no_panic(&output);
        output.exits(3).says(says);
    }
}

#[test]
fn an_entry_outside_of_what_was_asked_for_is_an_error_that_names_it() {
    fn classes() -> Vec<(String, Vec<Vec<u8>>)> {
        vec![("cn".to_owned(), vec![b"b".to_vec()])]
    }
    for dn in
        ["CN=b,DC=other,DC=test", "DC=example,DC=test", "CN=b\\,DC=ad,DC=example,DC=test", "", "nonsense"]
    {
        for pool in [1, 4] {
            let server = odd(move |r| {
                is_whole(r).then(|| {
                    let foreign = message(r.id, entry(dn, &classes()), &[]);
                    [good(r.id, "a"), foreign, page_end(r.id, b"")].concat()
                })
            });
            let output = Run::tap(&with(&config(&server), &reading(pool))).run();
            no_panic(&output);
            let output =
                output.exits(1).says(&format!("`{dn}`")).reports(&json!({"level": "error", "dn": SUFFIX}));
            assert!(output.of_type("ACTIVATE_VERSION").is_empty(), "{dn}, pool {pool}");
            let records = output.records(None);
            assert!(records.iter().all(|record| record["dn"] != dn), "{dn}: {records:?}");
        }
    }
    // Spelled otherwise, it is inside.
    let server = odd(move |r| {
        is_whole(r).then(|| {
            let name = "cn=b, dc=AD, 0.9.2342.19200300.100.1.25=example, DC=test";
            [good(r.id, "a"), message(r.id, entry(name, &classes()), &[]), page_end(r.id, b"")].concat()
        })
    });
    let output = Run::tap(&with(&config(&server), &reading(1))).run();
    assert_eq!(output.exits(0).records(None).len(), 2);
}
