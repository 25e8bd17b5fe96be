//! The streaming search beside the buffered one (over the first connection) and OpenLDAP's client; and malformed answers to it.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ldap_tests::fake::active_directory::{ActiveDirectory, SUFFIX, object};
use ldap_tests::fake::ber::{Tag, integer, octets, sequence, tagged};
use ldap_tests::fake::{Fake, Operation, Request, Role, Scope, entry, message, result};
use ldap_tests::hostile;
use ldap_tests::ldif::records;
use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{ADMIN_PASSWORD, Slapd, tool};
use serde_json::{Value, json};

use crate::support::{discover, no_panic, tap_config, with};

/// What the log says when a long answer comes over the first connection.
const OVER_FIRST: &str = "no further connection (";
const PAGED: &str = "1.2.840.113556.1.4.319";

/// One stream of everything.
fn all(slapd: &Slapd, more: &Value) -> Value {
    with(&with(&tap_config(slapd), &json!({"schemas": [{"name": "all"}]})), more)
}

/// The lines of a run without what differs from run to run: times and versions.
fn lines(output: &Output) -> Vec<String> {
    let without = |line: &Value| {
        let mut line = line.clone();
        line.as_object_mut().unwrap().retain(|k, _| k != "time_extracted" && k != "version");
        // The address by which the server was read.
        for bookmark in
            line["value"]["bookmarks"].as_object_mut().into_iter().flat_map(|all| all.values_mut())
        {
            bookmark.as_object_mut().unwrap().remove("origin");
        }
        line.to_string()
    };
    output.lines().iter().map(without).collect()
}

/// The entries as ldapsearch shows them: name, and attributes with their values, all in the server's order.
fn ldapsearch(slapd: &Slapd) -> Vec<Vec<(String, Vec<u8>)>> {
    let output = Command::new(tool("ldapsearch"))
        .args(["-x", "-LLL", "-o", "ldif-wrap=no", "-M", "-E", "pr=400/noprompt"])
        .args(["-H", &slapd.ldap_uri(), "-D", &slapd.admin_dn(), "-w", ADMIN_PASSWORD, "-b", slapd.suffix()])
        .args(["(objectClass=*)", "*", "ref"])
        .output()
        .unwrap();
    assert!(output.status.success());
    records(&output.stdout)
}

/// The octets of a value of a record; `None` where its text in JSON is another one on purpose.
fn value(schema: &Value, value: &Value) -> Option<Vec<u8>> {
    if schema.get("format").is_some() {
        return None;
    }
    Some(match value {
        Value::String(text) if schema.get("contentEncoding").is_some() => BASE64.decode(text).unwrap(),
        Value::String(text) => text.clone().into_bytes(),
        Value::Bool(yes) => yes.to_string().to_uppercase().into_bytes(),
        Value::Number(number) => number.to_string().into_bytes(),
        _ => return None,
    })
}

#[test]
fn the_bulk_reader_the_session_and_ldapsearch_show_the_same_hostile_entries() {
    let slapd = hostile::start_offline();
    let catalog = discover(&all(&slapd, &json!({})));
    let read = |more: &Value| {
        Run::tap(&all(&slapd, more))
            .file("--catalog", &catalog)
            .arg("--log-level")
            .arg("debug")
            .run()
            .succeeds()
    };
    let over_first = read(&json!({"connection_pool_size": 1})).says(OVER_FIRST);
    let expected = lines(&over_first);
    let tls = json!({"tls_ca_file": slapd.certificates().ca.to_str().unwrap()});
    for settings in [
        json!({}),
        json!({"page_size": 1}),
        json!({"page_size": 7}),
        json!({"page_size": 0}),
        with(&tls, &json!({"server_url": slapd.ldaps_uri()})),
        with(&tls, &json!({"start_tls": true, "page_size": 50})),
        json!({"server_url": slapd.ldapi_uri()}),
    ] {
        let output = read(&settings);
        assert!(!output.stderr.contains(OVER_FIRST), "{settings}: {}", output.stderr);
        let lines = lines(&output);
        let first = lines.iter().zip(&expected).find(|(is, should)| is != should);
        assert!(first.is_none() && lines.len() == expected.len(), "{settings}: {first:?}");
        no_panic(&output);
    }

    let properties = &over_first.of_type("SCHEMA")[0]["schema"]["properties"];
    let shown = ldapsearch(&slapd);
    let read = over_first.records(Some("all"));
    assert_eq!(read.len(), shown.len());
    let mut compared = 0;
    for (record, shown) in read.iter().zip(&shown) {
        let (_, dn) = &shown[0];
        assert_eq!(record["dn"].as_str().unwrap().as_bytes(), dn);
        for (name, values) in record.as_object().unwrap().iter().filter(|(name, _)| *name != "dn") {
            let name_shown = name.to_lowercase();
            let expected: Vec<&[u8]> =
                shown[1..].iter().filter(|(n, _)| *n == name_shown).map(|(_, v)| v.as_slice()).collect();
            let schema = &properties[name];
            let values: Option<Vec<Vec<u8>>> = match values {
                Value::Array(values) => values.iter().map(|v| value(&schema["items"], v)).collect(),
                Value::Null => Some(Vec::new()),
                one => value(schema, one).map(|v| vec![v]),
            };
            let Some(values) = values.filter(|v| !v.is_empty()) else { continue };
            // Operational attributes were not asked for there.
            if !expected.is_empty() {
                assert_eq!(values, expected, "{name} of {}", record["dn"]);
                compared += values.len();
            }
        }
    }
    assert!(compared > hostile::MEMBERS + 1_000, "{compared} values were compared");
}

/// A domain controller that answers whole searches for `cn=hostile` its own way, the `n`th time.
struct Hostile<F> {
    inner: ActiveDirectory,
    answer: F,
    asked: AtomicUsize,
}

impl<F: Fn(&Request, usize) -> Option<Vec<Vec<u8>>> + Send + Sync + 'static> Role for Hostile<F> {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        let is_whole = matches!(&request.operation,
            Operation::Search(s) if s.scope == Scope::Sub && s.size_limit == 0 && s.base == SUFFIX);
        if is_whole {
            let n = self.asked.fetch_add(1, Ordering::Relaxed);
            return (self.answer)(request, n);
        }
        self.inner.answer(request)
    }
}

fn hostile<F>(answer: F) -> Fake
where
    F: Fn(&Request, usize) -> Option<Vec<Vec<u8>>> + Send + Sync + 'static,
{
    let contact = object(&format!("CN=hostile,{SUFFIX}"), "contact", 9, &[("cn", vec![b"hostile".to_vec()])]);
    Fake::start(Hostile { inner: ActiveDirectory::new(vec![contact]), answer, asked: AtomicUsize::new(0) })
}

fn config(server: &Fake) -> Value {
    json!({
        "server_url": server.uri(), "bind_dn": "CN=etl,CN=Users,DC=ad,DC=example,DC=test", "bind_password": "secret",
        "schemas": [{"name": "s", "key_properties": ["dn"]}], "discovery_sample_size": 10, "operation_timeout_seconds": 2, "retry_attempts": 0,
    })
}

fn good(id: i64, name: &str) -> Vec<u8> {
    let attributes = [("cn".to_owned(), vec![name.as_bytes().to_vec()])];
    message(id, entry(&format!("CN={name},{SUFFIX}"), &attributes), &[])
}

fn done(id: i64, code: u8, cookie: &[u8]) -> Vec<u8> {
    let value = sequence(&[integer(0), octets(cookie)]);
    message(id, result(5, code, ""), &[(PAGED, value)])
}

/// An operation in an LDAPMessage, whatever it holds.
fn operation(id: i64, number: u8, content: &[u8]) -> Vec<u8> {
    sequence(&[integer(id), tagged(Tag::application(number).constructed(), content)])
}

#[test]
fn answers_that_no_server_should_give_end_the_run_and_delete_nothing() {
    type Case = (&'static str, fn(i64) -> Vec<u8>, &'static str);
    let cases: [Case; 11] = [
        ("no LDAP at all", |_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "not LDAP"),
        ("an indefinite length", |_| vec![0x30, 0x80, 0, 0], "not LDAP"),
        ("a length of 4 GiB", |_| vec![0x30, 0x84, 0xff, 0xff, 0xff, 0xff, 0x02], "too large"),
        ("a message without an operation", |id| sequence(&[integer(id)]), "not LDAP"),
        ("a nested length beyond its end", |id| operation(id, 4, b"\x04\x7fx\x30\x00"), "not well-formed"),
        (
            "a value beyond its set",
            |id| operation(id, 4, b"\x04\x01x\x30\x0c\x30\x0a\x04\x02cn\x31\x04\x04\x7fabc"),
            "not well-formed",
        ),
        (
            "an attribute that is no text",
            |id| operation(id, 4, b"\x04\x01x\x30\x07\x30\x05\x04\x01\xff\x31\x00"),
            "not well-formed",
        ),
        (
            "lists in lists without end",
            |id| {
                let mut nested = Vec::new();
                for _ in 0..20_000 {
                    nested = tagged(Tag::SEQUENCE, &nested);
                }
                operation(id, 4, &[octets(b"x"), nested].concat())
            },
            "not well-formed",
        ),
        (
            "the answer to another operation",
            |id| operation(id, 1, b"\x0a\x01\x00\x04\x00\x04\x00"),
            "not well-formed",
        ),
        (
            "goodbye",
            |_| {
                let name = tagged(Tag::context(10), b"1.3.6.1.4.1.1466.20036");
                operation(0, 24, &[&b"\x0a\x01\x34\x04\x00\x04\x04tea!"[..], &name].concat())
            },
            "unavailable (52): tea!",
        ),
        ("a cookie that is none", |id| message(id, result(5, 0, ""), &[(PAGED, vec![1, 2, 3])]), "RFC 2696"),
    ];
    for (name, bad, says) in cases {
        let server = hostile(move |request, _| {
            let id = request.id;
            Some(vec![good(id, "a"), good(id, "b"), bad(id)])
        });
        let output = Run::tap(&config(&server)).run().exits(1).says(says);
        no_panic(&output);
        assert!(output.of_type("ACTIVATE_VERSION").is_empty(), "{name}");
        assert_eq!(output.records(None).len(), 2, "{name}: what came before it is printed");
        assert!(!output.stderr.contains(OVER_FIRST), "{name}: {}", output.stderr);
    }
}

#[test]
fn a_connection_that_ends_or_falls_silent_within_an_entry_is_an_error() {
    let cut = |id| {
        let mut entry = good(id, "b");
        entry.truncate(entry.len() - 3);
        vec![good(id, "a"), entry]
    };
    let server = hostile(move |request, _| Some(cut(request.id)));
    let output = Run::tap(&config(&server)).run().exits(1).says("no answer within 2 s");
    assert_eq!(output.records(None).len(), 1);
    assert!(output.of_type("ACTIVATE_VERSION").is_empty());

    // The second page is never answered.
    let server = hostile(move |request, n| {
        (n == 0).then(|| vec![good(request.id, "a"), good(request.id, "b"), done(request.id, 0, b"more")])
    });
    let output = Run::tap(&config(&server)).run().exits(1).says("the connection to the server was lost");
    assert_eq!(output.records(None).len(), 2);
    assert!(output.of_type("ACTIVATE_VERSION").is_empty());
}

#[test]
fn a_page_that_is_too_large_is_asked_for_again_smaller() {
    let server = hostile(|request, _| {
        let id = request.id;
        let control = request.control(PAGED)?;
        // SEQUENCE, INTEGER of the size, OCTET STRING of the cookie.
        let value = control.value.clone()?;
        let size = value[4..4 + usize::from(value[3])].iter().fold(0, |n, o| n << 8 | usize::from(*o));
        let cookie = value[4 + usize::from(value[3]) + 2..].to_vec();
        assert!(control.critical);
        Some(match (size, cookie.as_slice()) {
            (300.., _) => vec![done(id, 11, b"")],
            (_, b"") => vec![good(id, "a"), done(id, 0, b"1")],
            (_, b"1") => vec![done(id, 0, b"2")],
            _ => vec![good(id, "b"), done(id, 0, b"")],
        })
    });
    let output = Run::tap(&config(&server)).run().succeeds();
    assert_eq!(output.records(None).len(), 2);
    assert_eq!(output.of_type("ACTIVATE_VERSION").len(), 1);
    let sizes = server.requests().iter().filter(|r| r.control(PAGED).is_some()).count();
    assert_eq!(sizes, 5, "1000, 500, 250, and two pages more");
}

#[test]
fn a_server_without_pages_is_read_without() {
    let server = hostile(|request, _| {
        let id = request.id;
        let refused = message(id, result(5, 12, ""), &[]);
        let all = vec![good(id, "a"), message(id, result(5, 0, ""), &[])];
        Some(if request.control(PAGED).is_some() { vec![refused] } else { all })
    });
    let output = Run::tap(&config(&server)).run().succeeds().says("no paged results (RFC 2696)");
    assert_eq!(output.records(None).len(), 1);
}

#[test]
fn a_connection_that_was_closed_while_nobody_used_it_is_opened_anew() {
    let server = hostile(|request, n| {
        // The second search goes over the connection of the first, which is closed by now.
        (n != 1).then(|| vec![good(request.id, "a"), done(request.id, 0, b"")])
    });
    let keyed = |name: &str| json!({"name": name, "key_properties": ["dn"]});
    let streams = json!({"schemas": [keyed("one"), keyed("two")]});
    let output = Run::tap(&with(&config(&server), &streams)).run().succeeds();
    assert_eq!(output.of_type("ACTIVATE_VERSION").len(), 2);
    assert_eq!((output.records(Some("one")).len(), output.records(Some("two")).len()), (1, 1));
    assert!(!output.stderr.contains(OVER_FIRST), "{}", output.stderr);
    // The first connection, and two others.
    let binds = server.requests().iter().filter(|r| r.operation == Operation::Bind).count();
    assert_eq!(binds, 3);
}

/// A name that stands for two domain controllers, which take turns.
struct Two {
    inner: ActiveDirectory,
    asked: AtomicUsize,
}

impl Role for Two {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        if let Operation::Search(search) = &request.operation
            && search.scope == Scope::Base
            && search.base.is_empty()
        {
            let n = self.asked.fetch_add(1, Ordering::Relaxed);
            let name = format!("CN=NTDS Settings,CN=DC{n}");
            let root = [
                ("dsServiceName", name.as_str()),
                ("namingContexts", SUFFIX),
                ("supportedCapabilities", "1.2.840.113556.1.4.800"),
                ("supportedControl", PAGED),
            ];
            let root: Vec<(String, Vec<Vec<u8>>)> =
                root.iter().map(|(n, v)| ((*n).to_owned(), vec![v.as_bytes().to_vec()])).collect();
            let root = entry("", &root);
            return Some(vec![message(request.id, root, &[]), message(request.id, result(5, 0, ""), &[])]);
        }
        self.inner.answer(request)
    }
}

#[test]
fn another_server_behind_the_same_address_is_not_read() {
    let contact = object(&format!("CN=c,{SUFFIX}"), "contact", 9, &[("cn", vec![b"c".to_vec()])]);
    let server = Fake::start(Two { inner: ActiveDirectory::new(vec![contact]), asked: AtomicUsize::new(0) });
    let output = Run::tap(&config(&server)).run().succeeds().says(OVER_FIRST).says("another server");
    assert_eq!(output.records(None).len(), 2);
}
