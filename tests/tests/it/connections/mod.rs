//! Lost connections, busy servers, failover, referrals, TLS and Kerberos.

use std::collections::BTreeMap;

use ldap_tests::run::Output;
use serde_json::{Value, json};

mod blocked;
mod busy_reconnect;
mod busy_server;
mod cut_connections;
mod endless_answers;
mod failover;
mod follow_reconnects;
#[cfg(feature = "gssapi")]
mod kerberos;
mod malformed_answers;
mod referrals;
mod server_restarts;
mod tls;
mod wrong_answers;

pub(crate) const PEOPLE: &str = "ou=people,dc=example,dc=test";

/// What a reader of the messages holds at the end: the last record of each name. What was deleted is not there.
pub(crate) fn held(outputs: &[&Output], stream: &str) -> BTreeMap<String, Value> {
    let mut held = BTreeMap::new();
    for output in outputs {
        for record in output.records(Some(stream)) {
            let key = record["entryUUID"].as_str().unwrap().to_owned();
            if record["_sdc_deleted_at"].is_string() {
                held.remove(&key);
            } else {
                held.insert(key, record.clone());
            }
        }
    }
    held
}

/// The version that is activated is the one of the last records, once, and after all of them.
#[track_caller]
pub(crate) fn activates_once_and_last(output: &Output, stream: &str) {
    let of_stream: Vec<&Value> = output
        .messages
        .iter()
        .filter(|m| {
            m["stream"] == stream && ["RECORD", "ACTIVATE_VERSION"].contains(&m["type"].as_str().unwrap())
        })
        .collect();
    let activations: Vec<usize> =
        (0..of_stream.len()).filter(|n| of_stream[*n]["type"] == "ACTIVATE_VERSION").collect();
    assert_eq!(activations, [of_stream.len() - 1], "one, behind all records");
    let version = &of_stream[of_stream.len() - 1]["version"];
    assert!(of_stream.iter().all(|m| m["version"] == *version), "records of another version");
}

/// One stream of everything, by this method.
pub(crate) fn one_stream(method: &str, key: &str) -> Value {
    let mut stream = json!({"name": "all", "base_dn": PEOPLE, "replication_method": method});
    if !key.is_empty() {
        stream["replication_key"] = json!(key);
    }
    json!({"schemas": [stream], "retry_max_wait_seconds": 1, "operation_timeout_seconds": 20})
}

/// The messages of a contact that is new, below this suffix, and a STATE.
pub(crate) fn one_write(suffix: &str) -> [Value; 3] {
    let texts = json!({"type": "array", "items": {"type": "string"}});
    [
        json!({"type": "SCHEMA", "stream": "s", "key_properties": ["dn"], "schema": {"properties": {
            "dn": {"type": "string"}, "objectClass": texts, "cn": texts}}}),
        json!({"type": "RECORD", "stream": "s", "record":
            {"dn": format!("CN=new,{suffix}"), "objectClass": ["contact"], "cn": ["new"]}}),
        json!({"type": "STATE", "value": {"n": 1}}),
    ]
}
