//! The tap: streams, catalogs and states.

use serde_json::json;

use super::{Failure, tap};

pub(super) fn failures() -> Vec<Failure> {
    vec![
        tap("one stream where a list goes", json!({"schemas": {"name": "people"}})).setting("schemas"),
        tap("a stream without a name", json!({"schemas": [{"filter": "(uid=*)"}]})).setting("schemas[0]"),
        tap("two streams of one name", json!({"schemas": [{"name": "p"}, {"name": "p"}]})).setting("schemas"),
        tap("a misspelt part of a stream", json!({"schemas": [{"name": "p", "filtre": "(uid=*)"}]})).setting("schemas[0].filtre").near("filter"),
        tap("a filter that is none", json!({"schemas": [{"name": "p", "filter": "(uid=ann"}]})).setting("schemas[0].filter"),
        tap("a misspelt class in a filter", json!({"schemas": [{"name": "p", "filter": "(objectClass=persn)"}]}))
            .exits(0)
            .setting("schemas[0].filter")
            .near("person"),
        tap("a misspelt attribute in a filter", json!({"schemas": [{"name": "p", "filter": "(maill=*)"}]})).exits(0).setting("schemas[0].filter").near("mail"),
        tap("a filter that nothing passes", json!({"schemas": [{"name": "p", "filter": "(uid=nobody)"}]})).exits(0).field("stream", "p"),
        tap("a comparison with what is no value", json!({"schemas": [{"name": "p", "filter": "(uidNumber=abc)"}]})).exits(0).setting("schemas[0].filter"),
        tap("a text where a list of attributes goes", json!({"schemas": [{"name": "p", "attributes": "mail"}]})).setting("schemas[0].attributes"),
        tap("a misspelt attribute", json!({"schemas": [{"name": "p", "attributes": ["emial"]}]})).on_server().setting("schemas[0].attributes").near("email"),
        tap("an unknown method", json!({"schemas": [{"name": "p", "replication_method": "LOGBASED"}]}))
            .setting("schemas[0].replication_method")
            .near("LOG_BASED"),
        tap("a method that the source does not have", json!({"schemas": [{"name": "p", "replication_method": "LOG_BASED"}]}))
            .setting("replication_method")
            .field("stream", "p"),
        tap("a key that the schema does not have", json!({"schemas": [{"name": "p", "replication_method": "INCREMENTAL", "replication_key": "lastModified"}]}))
            .on_server()
            .setting("schemas[0].replication_key"),
        tap("a key that does not order", json!({"schemas": [{"name": "p", "replication_method": "INCREMENTAL", "replication_key": "description"}]}))
            .on_server()
            .setting("replication_key")
            .field("stream", "p"),
        tap("unknown key properties", json!({"schemas": [{"name": "p", "key_properties": ["uidd"]}]})).on_server().setting("schemas[0].key_properties").near("uid"),
        tap("a base that is no DN", json!({"base_dn": "people"})).setting("base_dn"),
        tap("a base that is not there", json!({"base_dn": "dc=exmaple,dc=test"})).on_server().setting("base_dn").near("dc=example,dc=test"),
        tap("a base of a file that is not there", json!({"base_dn": "dc=exmaple,dc=test"})).setting("base_dn").near("dc=example,dc=test"),
        tap("a stream's base that is not there", json!({"schemas": [{"name": "p", "base_dn": "ou=peeple,dc=example,dc=test"}]}))
            .on_server()
            .setting("schemas[0].base_dn")
            .field("stream", "p"),
        tap("a file that is none from a line on", json!({"server_url": "ldif:{dir}/bad.ldif"}))
            .with_file("bad.ldif", "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\ndn: uid=a,dc=example,dc=test\nuid a\n")
            .exits(1)
            .field("line", 6)
            .field("server", "{dir}/bad.ldif"),
        tap("a scope that is none", json!({"schemas": [{"name": "p", "scope": "subtree"}]})).setting("schemas[0].scope").near("sub"),
        tap("no partitions", json!({"schemas": [{"name": "p", "partitions": 0}]})).setting("schemas[0].partitions"),
        tap("a share that is none", json!({"schemas": [{"name": "p"}], "max_shrink": "half"})).setting("max_shrink"),
        tap("no such catalog", json!({})).args(&["--catalog", "{dir}/none.json"]).setting("--catalog"),
        tap("a catalog that is no JSON", json!({})).args(&["--catalog", "{dir}/tree.ldif"]).setting("--catalog"),
        tap("a configuration for a catalog", json!({})).args(&["--catalog", "{dir}/config.json"]).setting("--catalog"),
        tap("a catalog with a misspelt property", json!({}))
            .with_file(
                "catalog.json",
                r#"{"streams": [{"tap_stream_id": "ou=people,dc=example,dc=test", "stream": "people", "key_properties": ["dn"],
                "schema": {"type": "object", "properties": {"dn": {"type": "string"}, "mail": {"type": ["null", "array"]}}},
                "metadata": [{"breadcrumb": [], "metadata": {"selected": true}},
                {"breadcrumb": ["properties", "maill"], "metadata": {"selected": false}}]}]}"#,
            )
            .args(&["--catalog", "{dir}/catalog.json"])
            .exits(0)
            .setting("--catalog")
            .near("mail"),
        tap("a catalog without the key", json!({}))
            .with_file(
                "catalog.json",
                r#"{"streams": [{"tap_stream_id": "ou=people,dc=example,dc=test", "stream": "people", "key_properties": ["uidd"],
                "schema": {"type": "object", "properties": {"uid": {"type": ["null", "array"]}}},
                "metadata": [{"breadcrumb": [], "metadata": {"selected": true}}]}]}"#,
            )
            .args(&["--catalog", "{dir}/catalog.json"])
            .setting("--catalog")
            .near("uid"),
        tap("no such state", json!({})).args(&["--state", "{dir}/none.json"]).setting("--state"),
        tap("a state that is no JSON", json!({})).args(&["--state", "{dir}/tree.ldif"]).setting("--state"),
        tap("another tap's state", json!({}))
            .with_file("state.json", r#"{"bookmarks": {"orders": {"replication_key_value": "2020"}}}"#)
            .args(&["--state", "{dir}/state.json"])
            .setting("--state"),
        tap("a stream map of no stream", json!({"stream_maps": {"peopel": {"x": "uid"}}})).exits(0).setting("stream_maps.peopel"),
        tap("a map that is no expression", json!({"schemas": [{"name": "p"}], "stream_maps": {"p": {"x": "uid +"}}})).setting("stream_maps.p.x"),
        tap("a map of an unknown property", json!({"schemas": [{"name": "p", "attributes": ["mail"]}], "stream_maps": {"p": {"x": "maill[0]"}}}))
            .setting("stream_maps.p.x"),
        tap("a depth that is none", json!({"flattening_enabled": true, "flattening_max_depth": "deep"})).setting("flattening_max_depth"),
        tap("a misspelt part of a batch", json!({"batch_config": {"encodng": {}}})).setting("batch_config.encodng").near("encoding"),
        tap("a batch in an unknown format", json!({"batch_config": {"encoding": {"format": "csv"}, "storage": {"root": "file://{dir}"}}}))
            .setting("batch_config.encoding.format"),
        tap("a batch into no folder", json!({"batch_config": {"encoding": {"format": "jsonl"}, "storage": {"root": "s3://bucket"}}}))
            .setting("batch_config.storage.root"),
        tap("an unknown attribute of one value", json!({"single_valued": ["maill"]})).on_server().setting("single_valued").near("mail"),
        tap("following without a log", json!({"follow": true, "schemas": [{"name": "p"}]})).setting("follow"),
        tap("a folder of states that cannot be", json!({"state_dir": "{dir}/tree.ldif/x", "track_deletions": true, "schemas": [{"name": "p", "replication_method": "INCREMENTAL"}]}))
            .setting("state_dir"),
        tap("a file that is no LDIF", json!({"server_url": "ldif:{dir}/x"})).with_file("x", "id,name\n1,Ann\n").exits(1).field("server", "{dir}/x"),
        tap("an empty file", json!({"server_url": "ldif:{dir}/x"})).with_file("x", "").exits(1).field("server", "{dir}/x"),
        tap("a value that is not base64", json!({"server_url": "ldif:{dir}/x"}))
            .with_file("x", "dn: dc=x\nobjectClass: domain\ndc:: !!\n")
            .exits(1)
            .field("server", "{dir}/x"),
        tap("an entry twice", json!({"server_url": "ldif:{dir}/x"}))
            .with_file("x", "dn: dc=x\nobjectClass: domain\ndc: x\n\ndn: dc=x\nobjectClass: domain\ndc: x\n")
            .exits(1)
            .field("server", "{dir}/x"),
    ]
}
