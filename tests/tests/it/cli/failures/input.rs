//! The target: rules, records and messages.

use serde_json::{Value, json};

use super::{Failure, target};
use crate::support::with;

fn schema() -> Value {
    json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": {"type": "integer"}, "name": {"type": ["null", "string"]}, "mail": {"type": ["null", "string"]},
        "active": {"type": ["null", "string", "boolean"]}}}})
}

fn record(record: &Value) -> Value {
    json!({"type": "RECORD", "stream": "users", "record": record})
}

fn rule() -> Value {
    json!({"dn_template": "uid={id},ou=people,dc=example,dc=test", "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": "uid", "name": ["cn", "sn"], "mail": "mail"}})
}

/// The rule with other parts; null takes one away.
fn rules(changes: &Value) -> Value {
    json!({"mapping_rules": {"users": with(&rule(), changes)}})
}

pub(super) fn failures() -> Vec<Failure> {
    let mut all = rule_parts();
    all.extend(settings());
    all.extend(messages());
    all
}

fn rule_parts() -> Vec<Failure> {
    let ann = || record(&json!({"id": 7, "name": "Ann", "mail": "a@x.test"}));
    let plain = |what, settings| target(what, settings).messages(&[schema(), ann()]);
    vec![
        plain("no rule for a stream", json!({"mapping_rules": {"userss": rule()}}))
            .setting("mapping_rules.users")
            .near("userss"),
        plain(
            "a misspelt property in a name",
            rules(&json!({"dn_template": "uid={idd},dc=example,dc=test"})),
        )
        .setting("mapping_rules.users.dn_template")
        .near("id"),
        plain("a misspelt property", rules(&json!({"attribute_mapping": {"id": "uid", "nmae": "cn"}})))
            .setting("mapping_rules.users.attribute_mapping")
            .near("name"),
        plain("a misspelt property in a value", rules(&json!({"values": {"displayName": "{nmae}"}})))
            .exits(0)
            .setting("mapping_rules.users.values.displayName")
            .near("name"),
        plain("a misspelt part of a rule", rules(&json!({"dn_tempate": "x"})))
            .setting("mapping_rules.users.dn_tempate")
            .near("dn_template"),
        plain("a template that is none", rules(&json!({"dn_template": "uid={id,dc=x"})))
            .setting("mapping_rules.users.dn_template"),
        plain("an unknown filter of a template", rules(&json!({"dn_template": "uid={id|uper},dc=x"})))
            .setting("mapping_rules.users.dn_template")
            .near("upper"),
        plain("a rule without a name", rules(&json!({"dn_template": null})))
            .setting("mapping_rules.users.dn_template"),
        plain("an unknown policy", rules(&json!({"policies": {"mail": "merg"}})))
            .setting("mapping_rules.users.policies.mail")
            .near("merge"),
        plain("a policy of what nothing writes", rules(&json!({"policies": {"maill": "merge"}})))
            .exits(0)
            .setting("mapping_rules.users.policies")
            .near("mail"),
        plain("an unknown way to leave", rules(&json!({"on_delete": "remove"})))
            .setting("mapping_rules.users.on_delete"),
        plain("a place to leave for that is no DN", rules(&json!({"on_delete": {"move_to": "gone"}})))
            .setting("mapping_rules.users.on_delete"),
        plain("a match that is no filter", rules(&json!({"match": "(uid={id}"})))
            .setting("mapping_rules.users.match"),
        plain("a misspelt property in a match", rules(&json!({"match": "(uid={idd})"})))
            .setting("mapping_rules.users.match")
            .near("id"),
        plain("a misspelt attribute in a match", rules(&json!({"match": "(employeeNumbr={id})"})))
            .on_server()
            .setting("mapping_rules.users.match")
            .near("employeeNumber"),
        plain(
            "an expression that a record has nothing for",
            with(&rules(&json!({})), &json!({"stream_maps": {"users": {"first": "mail.split()[3]"}}})),
        )
        .exits(1)
        .setting("stream_maps.users.first")
        .record("users", "id=7"),
        plain("a misspelt class", rules(&json!({"object_classes": ["inetOrgPersn"]})))
            .on_server()
            .setting("mapping_rules.users.object_classes")
            .near("inetOrgPerson"),
        plain(
            "a misspelt attribute",
            rules(&json!({"attribute_mapping": {"id": "uid", "name": ["cn", "sn"], "mail": "maill"}})),
        )
        .on_server()
        .args(&["--dry-run"])
        .exits(1)
        .record("users", "id=7")
        .field("code", 17),
        plain(
            "a scope that is not there",
            with(
                &rules(&json!({"scope_base": "ou=peeple,dc=example,dc=test"})),
                &json!({"process_activate_version": true}),
            ),
        )
        .exits(0)
        .setting("mapping_rules.users.scope_base")
        .near("dc=example,dc=test")
        .on_server()
        .messages(&[json!({"type": "ACTIVATE_VERSION", "stream": "users", "version": 1})]),
        plain("a rule that nothing used", json!({"mapping_rules": {"users": rule(), "grups": rule()}}))
            .exits(0)
            .setting("mapping_rules.grups"),
    ]
}

fn settings() -> Vec<Failure> {
    let ann = || record(&json!({"id": 7, "name": "Ann", "mail": "a@x.test"}));
    let plain = |what, settings| target(what, settings).messages(&[schema(), ann()]);
    vec![
        plain(
            "an undo file in no folder",
            with(&rules(&json!({})), &json!({"undo_file": "{dir}/none/u.ldif"})),
        )
        .setting("undo_file"),
        plain(
            "a reject file in no folder",
            with(&rules(&json!({})), &json!({"on_error": "skip", "reject_file": "{dir}/none/r.jsonl"})),
        )
        .setting("reject_file"),
        plain("an unknown way with errors", with(&rules(&json!({})), &json!({"on_error": "skipp"})))
            .setting("on_error")
            .near("skip"),
        plain("rejects without a file", with(&rules(&json!({})), &json!({"on_error": "skip"})))
            .setting("reject_file"),
        plain(
            "a reject file that is not used",
            with(&rules(&json!({})), &json!({"reject_file": "{dir}/r.jsonl"})),
        )
        .exits(0)
        .setting("on_error"),
        plain("a limit that is none", with(&rules(&json!({})), &json!({"max_deletes": "a few"})))
            .setting("max_deletes"),
        plain("a form of a plan without a plan", rules(&json!({})))
            .args(&["--plan-format", "html"])
            .setting("--plan-format"),
        plain("a base that is no DN", with(&rules(&json!({})), &json!({"default_base_dn": "people"})))
            .setting("default_base_dn"),
        plain(
            "a misspelt part of a rewrite",
            with(&rules(&json!({})), &json!({"dn_rewrite": [{"from": "dc=a", "too": "dc=b"}]})),
        )
        .setting("dn_rewrite[0].too")
        .near("to"),
        plain("an unknown form of LDIF", with(&rules(&json!({})), &json!({"ldif_format": "change"})))
            .setting("ldif_format")
            .near("changes"),
        plain("an unknown mode of passwords", rules(&json!({"password": {"from": "name", "mode": "hash"}})))
            .setting("mapping_rules.users.password.mode"),
        plain("passwords from no property", rules(&json!({"password": {"from": "secret", "mode": "as_is"}})))
            .exits(0)
            .setting("mapping_rules.users.password.from"),
    ]
}

fn messages() -> Vec<Failure> {
    let ann = || record(&json!({"id": 7, "name": "Ann", "mail": "a@x.test"}));
    vec![
        target("no such input", rules(&json!({}))).args(&["--input", "{dir}/none.singer"]).setting("--input"),
        target("a table for an input", rules(&json!({}))).input("id,name\n1,Ann\n").exits(1).field("line", 1),
        target("a message without a type", rules(&json!({}))).input("{\"stream\": \"users\"}\n").exits(1).field("line", 1),
        target("a misspelt message", rules(&json!({}))).input("{\"type\": \"RECROD\"}\n").exits(1).field("line", 1).near("RECORD"),
        target("a line that is cut off", rules(&json!({}))).messages(&[schema()]).input("{\"type\": \"RECORD\", \"str").exits(1).field("line", 2),
        target("a record before its schema", rules(&json!({}))).messages(&[ann()]).exits(1).field("stream", "users").field("line", 1),
        target("a schema without properties", rules(&json!({})))
            .messages(&[json!({"type": "SCHEMA", "stream": "users", "key_properties": [], "schema": {}})])
            .exits(1)
            .field("stream", "users"),
        target("a record without its key", rules(&json!({}))).messages(&[schema(), record(&json!({"name": "Ann"}))]).exits(1).field("stream", "users").field("line", 2),
        target("a text where a number goes", rules(&json!({}))).messages(&[schema(), record(&json!({"id": "seven"}))]).exits(1).record("users", "id=seven"),
        target("an empty part of a name", rules(&json!({"dn_template": "uid={mail},dc=example,dc=test"})))
            .messages(&[schema(), record(&json!({"id": 7, "mail": ""}))])
            .exits(1)
            .record("users", "id=7"),
        target("what is no boolean", rules(&json!({"attribute_mapping": {"id": "uid", "name": ["cn", "sn"], "active": "pwdReset"}})))
            .messages(&[schema(), record(&json!({"id": 7, "name": "Ann", "active": "maybe"}))])
            .on_server()
            .args(&["--dry-run"])
            .exits(1)
            .record("users", "id=7"),
        target("a mark of deletion that is none", rules(&json!({})))
            .messages(&[schema(), record(&json!({"id": 7, "_sdc_deleted_at": 5}))])
            .exits(1)
            .record("users", "id=7"),
        target("two records of one name", rules(&json!({"dn_template": "cn={name},dc=example,dc=test"})))
            .messages(&[schema(), ann(), record(&json!({"id": 8, "name": "Ann"}))])
            .exits(1)
            .record("users", "id=8"),
        target("a version of no stream", with(&rules(&json!({})), &json!({"process_activate_version": true})))
            .messages(&[schema(), ann(), json!({"type": "ACTIVATE_VERSION", "stream": "user", "version": 1})])
            .exits(0)
            .field("stream", "user")
            .near("users"),
        target("a batch in an unknown format", rules(&json!({})))
            .messages(&[schema(), json!({"type": "BATCH", "stream": "users", "encoding": {"format": "parquet"}, "manifest": []})])
            .exits(1)
            .field("stream", "users"),
        target("a batch whose file is not there", rules(&json!({})))
            .messages(&[schema(), json!({"type": "BATCH", "stream": "users", "encoding": {"format": "jsonl"}, "manifest": ["file://{dir}/none.jsonl"]})])
            .exits(1)
            .field("stream", "users"),
        target("a batch that lies elsewhere", rules(&json!({})))
            .messages(&[schema(), json!({"type": "BATCH", "stream": "users", "encoding": {"format": "jsonl"}, "manifest": ["s3://bucket/a.jsonl"]})])
            .exits(1)
            .field("stream", "users"),
        target("one reject too many", with(&rules(&json!({})), &json!({"on_error": "skip", "reject_file": "{dir}/r.jsonl", "max_rejects": 1})))
            .messages(&[schema(), record(&json!({"id": "a"})), record(&json!({"id": "b"}))])
            .exits(1)
            .record("users", "id=b"),
        target("a record that is left out", with(&rules(&json!({})), &json!({"on_error": "skip", "reject_file": "{dir}/r.jsonl"})))
            .messages(&[schema(), record(&json!({"id": "a"}))])
            .exits(4)
            .record("users", "id=a"),
        target("an undo file that is not there", json!({})).args(&["undo", "{dir}/none.ldif"]).setting("FILE"),
    ]
}
