//! Errors of a server, and of the connection to it.

use serde_json::{Value, json};

use super::{Failure, tap, target};
use crate::support::with;

fn schema() -> Value {
    json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": {"type": "integer"}, "name": {"type": ["null", "string", "array"]}, "boss": {"type": ["null", "string"]}}}})
}

fn people(changes: &Value) -> Value {
    let rule = json!({"dn_template": "uid=p{id},ou=people,dc=example,dc=test", "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"name": ["cn", "sn"]}});
    json!({"mapping_rules": {"users": with(&rule, changes)}})
}

fn one(record: &Value) -> [Value; 2] {
    [schema(), json!({"type": "RECORD", "stream": "users", "record": record})]
}

pub(super) fn failures() -> Vec<Failure> {
    vec![
        tap("a server that is not there", json!({"server_url": "ldap://127.0.0.1:1", "connect_timeout_seconds": 1})).exits(3).field("server", "ldap://127.0.0.1:1"),
        tap("a host that is not there", json!({"server_url": "ldap://no.such.host.invalid", "connect_timeout_seconds": 1})).exits(3).field("server", "ldap://no.such.host.invalid:389"),
        target("a server that is not there", json!({"server_url": "ldap://127.0.0.1:1", "connect_timeout_seconds": 1})).messages(&[schema()]).exits(3).field("server", "ldap://127.0.0.1:1"),
        tap("a wrong password", json!({"bind_password": "wrong"})).on_server().exits(3).field("code", 49),
        tap("a user that is not there", json!({"bind_dn": "cn=nobody,dc=example,dc=test"})).on_server().exits(3).field("code", 49),
        target("a wrong password", json!({"bind_password": "wrong"})).on_server().exits(3).field("code", 49),
        tap("TLS that the server does not speak", json!({"start_tls": true})).on_server().exits(3).field("server", "{server}"),
        target("a name in no naming context", people(&json!({"dn_template": "uid=p{id},dc=exmaple,dc=test"})))
            .on_server()
            .messages(&one(&json!({"id": 1, "name": "Ann"})))
            .exits(1)
            .record("users", "id=1")
            .near("dc=example,dc=test"),
        target("an entry above that is not there", with(&people(&json!({"dn_template": "uid=p{id},ou=peeple,dc=example,dc=test"})), &json!({"create_parents": false})))
            .on_server()
            .messages(&one(&json!({"id": 2, "name": "Ann"})))
            .exits(1)
            .record("users", "id=2")
            .near("ou=people,dc=example,dc=test"),
        target("two of one name", people(&json!({"dn_template": "cn={name},ou=people,dc=example,dc=test", "match": "(employeeNumber={id})",
            "attribute_mapping": {"name": "sn", "id": "employeeNumber"}})))
            .on_server()
            .messages(&[schema(), json!({"type": "RECORD", "stream": "users", "record": {"id": 81, "name": "Ann"}}),
                json!({"type": "RECORD", "stream": "users", "record": {"id": 82, "name": "Ann"}})])
            .exits(1)
            .record("users", "id=82"),
        target("a class that lacks an attribute, planned", people(&json!({"attribute_mapping": {"name": "cn"}})))
            .on_server()
            .args(&["--dry-run"])
            .messages(&one(&json!({"id": 3, "name": "Ann"})))
            .exits(1)
            .record("users", "id=3")
            .field("code", 65),
        target("a class that lacks an attribute, written", people(&json!({"attribute_mapping": {"name": "cn"}})))
            .on_server()
            .messages(&one(&json!({"id": 3, "name": "Ann"})))
            .exits(1)
            .record("users", "id=3")
            .field("code", 65),
        target("two values where one may be, planned", people(&json!({"attribute_mapping": {"name": ["cn", "sn", "displayName"]}})))
            .on_server()
            .args(&["--dry-run"])
            .messages(&one(&json!({"id": 4, "name": ["Ann", "Anna"]})))
            .exits(1)
            .record("users", "id=4")
            .field("code", 19),
        target("what is no DN, planned", people(&json!({"attribute_mapping": {"name": ["cn", "sn"], "boss": "manager"}})))
            .on_server()
            .args(&["--dry-run"])
            .messages(&one(&json!({"id": 5, "name": "Ann", "boss": "1001"})))
            .exits(1)
            .record("users", "id=5")
            .field("code", 21),
        target("what is no DN, written", people(&json!({"attribute_mapping": {"name": ["cn", "sn"], "boss": "manager"}})))
            .on_server()
            .messages(&one(&json!({"id": 5, "name": "Ann", "boss": "1001"})))
            .exits(1)
            .record("users", "id=5")
            .field("code", 21),
        target("an attribute that no class allows, planned", people(&json!({"attribute_mapping": {"name": ["cn", "sn", "gecos"]}})))
            .on_server()
            .args(&["--dry-run"])
            .messages(&one(&json!({"id": 6, "name": "Ann"})))
            .exits(1)
            .record("users", "id=6")
            .field("code", 65),
        target("more deletions than may be", with(&people(&json!({"dn_template": "uid=ann,ou=people,dc=example,dc=test"})), &json!({"max_deletes": 0})))
            .messages(&[
                schema(),
                json!({"type": "RECORD", "stream": "users", "record": {"id": 1, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}}),
            ])
            .exits(1)
            .setting("max_deletes"),
        target("passwords of another product", people(&json!({"password": {"from": "boss", "mode": "unicode_pwd"}})))
            .on_server()
            .messages(&[schema()])
            .setting("mapping_rules.users.password.mode"),
        target("accounts that the server does not have", people(&json!({"accounts": {"must_change_password": "boss"}})))
            .on_server()
            .messages(&[schema()])
            .setting("mapping_rules.users.accounts.must_change_password"),
    ]
}
