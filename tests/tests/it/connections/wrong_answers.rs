//! Servers that answer another question than the one asked, or never finish an answer.

use std::time::Duration;

use ldap_tests::fake::provider::info;
use ldap_tests::fake::{Fake, Operation, Request, Role, Scope, entry, message, result};
use ldap_tests::memory::watch_peak;
use ldap_tests::run::{Log, Run};
use serde_json::{Value, json};

use crate::support::{lines, no_panic};

const BASE: &str = "dc=example,dc=test";
const ALICE: &str = "uid=alice,dc=example,dc=test";
const SYNC_REQUEST: &str = "1.3.6.1.4.1.4203.1.9.1.1";

/// What the server does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manner {
    /// Each range of a list is followed by another one.
    EndlessRanges,
    /// The same without values.
    EmptyRanges,
    /// A base search is answered with this entry.
    Instead(&'static str),
    /// A synchronisation is answered with cookies.
    Cookies,
    /// The same with sets of no entries.
    EmptySets,
    /// A search is answered with intermediate messages of an extension.
    Intermediate,
}

struct Server(Manner);

fn texts(pairs: &[(&str, &str)]) -> Vec<(String, Vec<Vec<u8>>)> {
    pairs.iter().map(|(n, v)| ((*n).to_owned(), vec![v.as_bytes().to_vec()])).collect()
}

impl Server {
    fn entry(&self, dn: &str, wanted: &[String]) -> Vec<u8> {
        if dn.is_empty() {
            let root = [("namingContexts", BASE), ("supportedControl", SYNC_REQUEST)];
            return entry("", &texts(&root));
        }
        let classes = if dn == BASE {
            [("objectClass", "domain"), ("dc", "example")]
        } else {
            [("objectClass", "account"), ("uid", "alice")]
        };
        let mut attributes = texts(&classes);
        attributes.extend(texts(&[("entryUUID", "00000000-0000-0000-0000-000000000001")]));
        let from = wanted
            .iter()
            .find_map(|name| name.strip_prefix("member;range=")?.strip_suffix("-*")?.parse().ok());
        let from: u64 = from.unwrap_or(0);
        match self.0 {
            Manner::EndlessRanges if dn != BASE => {
                attributes.push((format!("member;range={from}-{from}"), vec![vec![b'm'; 8 << 20]]));
            }
            Manner::EmptyRanges if dn != BASE => {
                let values = if from == 0 { vec![b"m".to_vec()] } else { vec![] };
                attributes.push((format!("member;range={from}-{from}"), values));
            }
            _ => {}
        }
        entry(dn, &attributes)
    }
}

impl Role for Server {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        let id = request.id;
        let done = |application| message(id, result(application, 0, ""), &[]);
        let found = |dn: &str, search: &ldap_tests::fake::Search| {
            message(id, self.entry(dn, &search.attributes), &[])
        };
        match &request.operation {
            Operation::Search(search) => {
                let mut answer = match (search.base.as_str(), search.scope, self.0) {
                    (ALICE, Scope::Base, Manner::Instead(other)) => vec![found(other, search)],
                    ("" | BASE | ALICE, Scope::Base, _) => vec![found(&search.base, search)],
                    (_, Scope::Base, _) => vec![],
                    _ => vec![found(BASE, search), found(ALICE, search)],
                };
                answer.push(done(5));
                Some(answer)
            }
            Operation::Bind => Some(vec![done(1)]),
            Operation::Unbind => None,
            // Modify, add, delete: their answers have the next number.
            Operation::Other(number, _) => Some(vec![done(number + 1)]),
        }
    }

    fn endless(&self, request: &Request) -> Option<Vec<u8>> {
        let Operation::Search(search) = &request.operation else { return None };
        match self.0 {
            Manner::Cookies if request.control(SYNC_REQUEST).is_some() => {
                Some(info(request.id, 0, &[b"csn=1".to_vec()]))
            }
            Manner::EmptySets if request.control(SYNC_REQUEST).is_some() => {
                Some(ldap_tests::fake::provider::id_set(request.id, true, &[]))
            }
            Manner::Intermediate if search.scope != Scope::Base => {
                Some(info(request.id, 0, &[b"csn=1".to_vec()]))
            }
            _ => None,
        }
    }
}

fn config(fake: &Fake) -> Value {
    json!({"server_url": fake.uri(), "base_dn": BASE, "retry_attempts": 0, "operation_timeout_seconds": 3,
        "schemas": [{"name": "all", "attributes": ["uid", "member"]}]})
}

/// Runs to its failure, within a minute and 900 MiB.
fn fails(run: &Run, input: &[u8]) -> Log {
    let mut running = run.spawn();
    let id = running.child().id();
    running.close_stdin_with(input);
    let watch = watch_peak(id);
    let (code, stderr, _) = running.wait(Duration::from_secs(60));
    assert_eq!(code, 1, "{stderr}");
    let peak = watch.join().unwrap();
    assert!(peak < 900 << 10, "{peak} KiB: {stderr}");
    stderr
}

#[test]
fn ranges_that_have_no_end_end_at_a_bound_and_without_values_at_once() {
    for manner in [Manner::EndlessRanges, Manner::EmptyRanges] {
        let fake = Fake::start(Server(manner));
        let catalog = json!({"streams": [{"tap_stream_id": "all", "stream": "all", "key_properties": ["dn"],
            "schema": {"properties": {"dn": {"type": "string"}, "member": {"type": "array"}}},
            "metadata": [{"breadcrumb": [], "metadata": {"selected": true}}]}]});
        let stderr = fails(&Run::tap(&config(&fake)).file("--catalog", &catalog), b"");
        stderr.reports(&json!({"level": "error", "dn": ALICE}));
        let asked =
            fake.searches().iter().filter(|s| s.attributes.iter().any(|a| a.contains("range="))).count();
        // Once for the sample of the stream, and once for its record.
        assert!(asked < 80, "{manner:?}: {asked}");
    }
}

#[test]
fn an_entry_of_another_name_is_not_the_one_that_was_asked_for() {
    let texts = json!({"type": "array"});
    let schema = json!({"type": "SCHEMA", "stream": "all", "key_properties": ["dn"], "schema": {"properties": {
        "dn": {"type": "string"}, "objectClass": texts, "uid": texts, "description": texts}}});
    let record = json!({"type": "RECORD", "stream": "all", "record": {"dn": ALICE, "objectClass": ["account"],
        "uid": ["alice"], "description": ["new"]}});
    let modified = |other| {
        let fake = Fake::start(Server(Manner::Instead(other)));
        let target = json!({"server_url": fake.uri(), "retry_attempts": 0, "operation_timeout_seconds": 3});
        let output = Run::target(&target).stdin(lines(&[schema.clone(), record.clone()])).run();
        no_panic(&output);
        let is_modify = |r: &Request| matches!(r.operation, Operation::Other(6, _));
        (output, fake.requests().iter().any(is_modify))
    };
    for other in ["uid=bob,dc=example,dc=test", BASE] {
        let (output, is_modified) = modified(other);
        let output = output.exits(1);
        let output = output.reports(&json!({"dn": ALICE, "line": 2})).says(other);
        assert!(output.stdout.is_empty());
        assert!(!is_modified, "{other}");
    }
    // Spelled otherwise, it is the same.
    let (output, is_modified) = modified("UID=Alice, DC=example,dc=TEST");
    assert!(is_modified, "{}", output.succeeds().stderr);
}

#[test]
fn messages_that_lead_nowhere_put_nothing_off() {
    for manner in [Manner::Cookies, Manner::EmptySets, Manner::Intermediate] {
        let fake = Fake::start(Server(manner));
        let mut config = config(&fake);
        if manner != Manner::Intermediate {
            config["schemas"][0]["replication_method"] = json!("LOG_BASED");
        }
        let catalog = json!({"streams": [{"tap_stream_id": "all", "stream": "all", "key_properties": ["entryUUID"],
            "schema": {"properties": {"dn": {"type": "string"}, "entryUUID": {"type": "string"}}},
            "metadata": [{"breadcrumb": [], "metadata": {"selected": true}}]}]});
        let stderr = fails(&Run::tap(&config).file("--catalog", &catalog), b"");
        assert!(stderr.contains("operation_timeout_seconds"), "{manner:?}: {stderr}");
    }
}

/// A server that permits nobody to read without a bind.
struct Refusing(u8);

impl Role for Refusing {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        let id = request.id;
        Some(match &request.operation {
            Operation::Search(search) if search.base.is_empty() && search.scope == Scope::Base => {
                vec![
                    message(id, entry("", &texts(&[("namingContexts", BASE)])), &[]),
                    message(id, result(5, 0, ""), &[]),
                ]
            }
            Operation::Search(_) => vec![message(id, result(5, self.0, ""), &[])],
            _ => vec![message(id, result(1, 0, ""), &[])],
        })
    }
}

#[test]
fn what_an_anonymous_user_may_not_read_is_a_matter_of_bind_dn() {
    // noSuchObject, insufficientAccessRights (389 DS, ApacheDS), inappropriateAuthentication.
    for code in [32, 50, 48] {
        let fake = Fake::start(Refusing(code));
        for more in [json!({}), json!({"schemas": [{"name": "all"}]}), json!({"discover_by": "object_class"})]
        {
            let config = json!({"server_url": fake.uri(), "retry_attempts": 0});
            Run::tap(&crate::support::with(&config, &more)).run().exits(2).reports_setting("bind_dn");
        }
        // Whoever is bound needs the right, and not another setting.
        let bound =
            json!({"server_url": fake.uri(), "retry_attempts": 0, "bind_dn": "cn=x", "bind_password": "y"});
        assert_eq!(Run::tap(&bound).run().code, 1, "{code}");
    }
}

/// A server of one entry with an attribute whose name is not UTF-8, and with definitions that cannot be read.
struct Latin1;

impl Role for Latin1 {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        let id = request.id;
        let done = message(id, result(5, 0, ""), &[]);
        Some(match &request.operation {
            Operation::Search(search) => match (search.base.as_str(), search.scope) {
                ("", Scope::Base) => {
                    let root = [("namingContexts", BASE), ("subschemaSubentry", "cn=schema")];
                    vec![message(id, entry("", &texts(&root)), &[]), done]
                }
                ("cn=schema", _) => {
                    let types = ["( 2.5.4.3 NAME 'cn' )", "( 1.2.3.1 NAME 'a", "( 1.2.3.2 NAME )", "1.2.3.3"];
                    let types = types.iter().map(|text| text.as_bytes().to_vec()).collect();
                    vec![message(id, entry("cn=schema", &[("attributeTypes".to_owned(), types)]), &[]), done]
                }
                (BASE, Scope::Base) => {
                    vec![
                        message(
                            id,
                            entry(BASE, &texts(&[("objectClass", "domain"), ("dc", "example")])),
                            &[],
                        ),
                        done,
                    ]
                }
                _ => {
                    let attributes = texts(&[("objectClass", "account"), ("uid", "alice"), ("name-X", "x")]);
                    let mut octets = message(id, entry(ALICE, &attributes), &[]);
                    let at = octets.windows(6).position(|six| six == b"name-X").unwrap();
                    octets[at + 5] = 0xff;
                    vec![octets, done]
                }
            },
            _ => vec![message(id, result(1, 0, ""), &[])],
        })
    }
}

#[test]
fn an_attribute_name_that_is_not_utf_8_is_named_with_its_entry() {
    let fake = Fake::start(Latin1);
    let config = json!({"server_url": fake.uri(), "retry_attempts": 0, "discovery_sample_size": 0, "page_size": 0,
        "schemas": [{"name": "all"}]});
    let output = Run::tap(&config).run().exits(1).reports(&json!({"level": "error", "dn": ALICE}));
    assert!(output.stderr.contains("name-\\FF"), "{}", output.stderr);
}

#[test]
fn every_definition_that_cannot_be_read_is_named() {
    let fake = Fake::start(Latin1);
    let output = Run::tap(&json!({"server_url": fake.uri(), "retry_attempts": 0})).arg("--discover").run();
    let warning =
        output.stderr.warnings().into_iter().find(|line| line["definitions"] == 3).unwrap().to_string();
    for oid in ["1.2.3.1", "1.2.3.2", "1.2.3.3"] {
        assert!(warning.contains(oid), "{oid}: {warning}");
    }
}
