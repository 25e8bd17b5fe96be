//! Traces, received by an independent OTLP receiver.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use ldap_tests::otlp::Otlp;
use ldap_tests::run::Run;
use ldap_tests::server::free_port;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{people, reader_config, target_config, with};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn slapd(count: usize) -> Slapd {
    let options = SlapdOptions::with_users();
    let parent = format!("ou=people,{}", options.suffix);
    Slapd::start(options.seed(people(count, &parent)))
}

/// A span's attribute.
fn attribute<'a>(span: &'a Value, key: &str) -> &'a Value {
    let attributes = span["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|a| a["key"] == key);
    let value = &found.unwrap_or_else(|| panic!("no {key} in {span}"))["value"];
    value.as_object().unwrap().values().next().unwrap()
}

/// Protobuf's JSON form has 64-bit numbers as texts.
fn number(span: &Value, key: &str) -> i64 {
    attribute(span, key).as_str().unwrap().parse().unwrap()
}

fn named<'a>(spans: &'a [Value], name: &str) -> Vec<&'a Value> {
    spans.iter().filter(|s| s["name"] == name).collect()
}

fn id(span: &Value) -> &str {
    span["spanId"].as_str().unwrap()
}

#[test]
fn a_run_of_the_tap_is_a_trace_of_streams_connections_and_searches() {
    let slapd = slapd(250);
    let otlp = Otlp::start();
    let config = with(&reader_config(&slapd), &json!({"otlp_endpoint": otlp.endpoint(), "page_size": 100}));
    let run = Run::tap(&config).env("TRACEPARENT", &format!("00-{TRACE}-{PARENT}-01"));
    run.env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test").run().succeeds();
    let spans = otlp.spans_until(|s| s["name"] == "tap-ldap");
    let text = json!(spans).to_string();
    assert!(!text.contains("reader-pw"), "{text}");
    let root = named(&spans, "tap-ldap")[0];
    assert_eq!((&root["traceId"], &root["parentSpanId"]), (&json!(TRACE), &json!(PARENT)));
    assert_eq!(number(root, "process.exit.code"), 0);
    assert!(spans.iter().all(|s| s["traceId"] == TRACE));

    let connections = named(&spans, "ldap_connection");
    assert_eq!(connections.len(), 2);
    for connection in connections {
        assert_eq!(attribute(connection, "ldap.server"), &json!(slapd.ldap_uri()));
        assert_eq!(attribute(connection, "ldap.operation"), "bind");
        assert_eq!(attribute(connection, "ldap.success"), true);
        assert!(attribute(connection, "ldap.connection_time_ms").as_f64().unwrap() > 0.0);
    }
    let stream = named(&spans, "stream people")[0];
    assert_eq!(id(root), stream["parentSpanId"]);
    assert_eq!(number(stream, "singer.records"), 254);
    let searches = named(&spans, "ldap_search");
    let of_stream: Vec<_> = searches.iter().filter(|s| s["parentSpanId"] == stream["spanId"]).collect();
    // Before it, a sample shows what the reader may not see.
    let search = of_stream.last().unwrap_or_else(|| panic!("{searches:#?}"));
    assert_eq!(attribute(search, "ldap.base_dn"), &json!(format!("ou=people,{}", slapd.suffix())));
    assert!(number(search, "ldap.results_count") >= 254);
    assert_eq!(number(search, "ldap.pages"), 3);
    assert_eq!(attribute(search, "ldap.success"), true);
    assert!(attribute(search, "ldap.search_time_ms").as_f64().unwrap() > 0.0);
    // An entry that is read by its name is no span.
    assert!(spans.len() < 40, "{} spans", spans.len());
}

fn users(count: usize) -> Vec<Value> {
    let schema = json!({"type": "object", "properties": {"uid": {"type": "string"}}});
    let mut messages =
        vec![json!({"type": "SCHEMA", "stream": "users", "key_properties": ["uid"], "schema": schema})];
    messages.extend(
        (0..count).map(|n| json!({"type": "RECORD", "stream": "users", "record": {"uid": format!("n{n}")}})),
    );
    messages
}

fn target(slapd: &Slapd, endpoint: &str) -> Value {
    let rule = json!({
        "dn_template": format!("uid={{uid}},ou=people,{}", slapd.suffix()),
        "object_classes": ["inetOrgPerson"],
        "values": {"cn": "{uid}", "sn": "{uid}"},
    });
    let more = json!({"mapping_rules": {"users": rule}, "otlp_endpoint": endpoint, "default_base_dn": slapd.suffix()});
    with(&target_config(slapd), &more)
}

#[test]
fn writes_are_spans_by_the_batch() {
    let slapd = slapd(1);
    let otlp = Otlp::start();
    let config = target(&slapd, &otlp.endpoint());
    Run::target(&config).messages(&users(1_500)).run().succeeds();
    let spans = otlp.spans_until(|s| s["name"] == "target-ldap");
    let stream = named(&spans, "stream users")[0];
    let writes = named(&spans, "ldap_write");
    assert_eq!(writes.iter().map(|w| number(w, "ldap.results_count")).sum::<i64>(), 1_500);
    assert!((2..200).contains(&writes.len()), "{}", writes.len());
    for write in &writes {
        assert_eq!(write["parentSpanId"], stream["spanId"]);
        assert_eq!(attribute(write, "ldap.server"), &json!(slapd.ldap_uri()));
        assert_eq!(attribute(write, "ldap.base_dn"), &json!(slapd.suffix()));
        assert_eq!(attribute(write, "ldap.success"), true);
    }
    assert!(spans.len() < writes.len() + 20, "{} spans", spans.len());
}

#[test]
fn a_refused_bind_is_a_failed_span_that_holds_no_password() {
    let slapd = slapd(1);
    let otlp = Otlp::start();
    let wrong = json!({"otlp_endpoint": otlp.endpoint(), "bind_password": "hunter2-is-wrong"});
    Run::tap(&with(&reader_config(&slapd), &wrong)).run().exits(3);
    let spans = otlp.spans_until(|s| s["name"] == "tap-ldap");
    let connection = named(&spans, "ldap_connection")[0];
    assert_eq!(attribute(connection, "ldap.success"), false);
    assert_eq!(attribute(connection, "error.type"), "invalidCredentials (49)");
    let root = named(&spans, "tap-ldap")[0];
    assert_eq!(number(root, "process.exit.code"), 3);
    assert_eq!(root["status"]["code"], 2);
    assert!(!json!(spans).to_string().contains("hunter2"));
}

#[test]
fn a_collector_that_is_down_or_silent_costs_one_warning_and_a_few_seconds() {
    let slapd = slapd(100);
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoints = BTreeMap::from([("down", free_port()), ("silent", silent.local_addr().unwrap().port())]);
    for (kind, port) in endpoints {
        let endpoint = json!({"otlp_endpoint": format!("http://127.0.0.1:{port}")});
        let started = Instant::now();
        let output = Run::tap(&with(&reader_config(&slapd), &endpoint)).run().succeeds();
        assert!(started.elapsed() < Duration::from_secs(20), "{kind}: {:?}", started.elapsed());
        assert_eq!(output.stderr.warnings().len(), 1, "{kind}: {}", output.stderr);
        assert_eq!(output.records(Some("people")).len(), 104);
        // Switched off, nothing is sent.
        let output = Run::tap(&with(&reader_config(&slapd), &endpoint))
            .env("FLEXT_LDAP_ENABLE_TRACING", "false")
            .run();
        assert!(output.succeeds().stderr.warnings().is_empty());
    }
}
