//! What a rule makes of a record, where the record, the SCHEMA or the rule is not what one expects: nothing is deleted, left out or
//! overwritten without a word.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ldap_tests::cutter::{Cutter, Way};
use ldap_tests::ldif::{Attributes, Tree, parse_file};
use ldap_tests::run::{Output, Run};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{assert_untouched, done, no_panic, people, target_config, unit, with};

const BASE: &str = "ou=people,dc=example,dc=test";

/// A file of people and a rule for the stream `p`.
struct File {
    dir: TempDir,
    rule: Value,
}

impl File {
    fn new(rule: &Value, ids: &[&str]) -> File {
        let dir = scratch();
        let mut text =
            "version: 1\n\ndn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n".to_owned();
        text.push_str(&unit(BASE));
        for id in ids {
            let class = "objectClass: inetOrgPerson";
            let _ = write!(text, "dn: uid={id},{BASE}\n{class}\nuid: {id}\ncn: {id}\nsn: {id}\n\n");
        }
        std::fs::write(dir.path().join("d.ldif"), text).unwrap();
        let base = json!({"dn_template": format!("uid={{id}},{BASE}"), "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": ["uid", "cn"], "last": "sn"}});
        File { dir, rule: with(&base, rule) }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("d.ldif")
    }

    fn config(&self) -> Value {
        json!({"server_url": format!("ldif:{}", self.path().display()), "mapping_rules": {"p": self.rule}})
    }

    fn skipping(&self) -> Value {
        let rejects = self.dir.path().join("rejects.jsonl");
        with(&self.config(), &json!({"on_error": "skip", "reject_file": rejects}))
    }

    fn rejected(&self) -> Vec<Value> {
        rejected(&self.dir.path().join("rejects.jsonl"))
    }

    fn tree(&self) -> Tree {
        parse_file(&self.path())
    }

    fn entry(&self, id: &str) -> Attributes {
        self.tree().get(&format!("uid={id},{BASE}")).unwrap_or_else(|| panic!("no entry {id}")).clone()
    }

    fn text(&self, id: &str, attribute: &str) -> Option<String> {
        let values = self.entry(id).get(attribute)?.clone();
        assert_eq!(values.len(), 1, "{values:?}");
        Some(String::from_utf8(values.first().unwrap().clone()).unwrap())
    }
}

/// The records in a reject file.
fn rejected(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["type"] == "REJECT").map(|line| line["record"].clone()).collect()
}

fn schema(properties: &Value) -> Value {
    json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"type": "object", "properties": properties}})
}

fn record(record: &Value) -> Value {
    json!({"type": "RECORD", "stream": "p", "record": record})
}

fn state() -> Value {
    json!({"type": "STATE", "value": {"n": 1}})
}

/// The warnings that name something.
fn warnings(output: &Output, name: &str) -> Vec<String> {
    output.stderr.lines().filter(|l| l.contains("WARN") && l.contains(name)).map(str::to_owned).collect()
}

/// Values of `_sdc_deleted_at` that say "not deleted", and such that say nothing that one could act on.
fn markers() -> (Vec<Value>, Vec<Value>) {
    let empty = vec![
        json!(null),
        json!(""),
        json!(" "),
        json!(0),
        json!(false),
        json!([]),
        json!([""]),
        json!("null"),
        json!("False"),
        json!("0"),
    ];
    let wrong = vec![json!("gone"), json!(true), json!(1), json!({"a": 1})];
    (empty, wrong)
}

#[test]
fn only_a_time_marks_a_deletion() {
    for validate in [true, false] {
        let ids: Vec<String> = (0..16).map(|n| format!("u{n}")).collect();
        let file = File::new(&json!({}), &ids.iter().map(String::as_str).collect::<Vec<_>>());
        let config = with(&file.skipping(), &json!({"validate_records": validate}));
        let (empty, wrong) = markers();
        let times = [json!("2026-01-01T00:00:00Z"), json!("2026-01-01 00:00:00+00")];
        let mut messages =
            vec![schema(&json!({"id": {"type": "string"}, "last": {"type": ["null", "string"]},
                "_sdc_deleted_at": {"type": ["null", "string"], "format": "date-time"}}))];
        let all = empty.iter().chain(&wrong).chain(&times);
        messages.extend(all.enumerate().map(|(n, marker)| {
            record(&json!({"id": format!("u{n}"), "last": "New", "_sdc_deleted_at": marker}))
        }));
        messages.push(state());
        let output = Run::target(&config).messages(&messages).run().exits(4);
        no_panic(&output);
        let rejected = file.rejected();
        let expected: Vec<String> =
            (empty.len()..empty.len() + wrong.len()).map(|n| format!("u{n}")).collect();
        assert_eq!(
            rejected.iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
            expected
        );
        for n in 0..14 {
            let expected = if n < empty.len() { "New".to_owned() } else { format!("u{n}") };
            assert_eq!(file.text(&format!("u{n}"), "sn"), Some(expected), "u{n}");
        }
        let tree = file.tree();
        assert!((14..16).all(|n| !tree.contains_key(&format!("uid=u{n},{BASE}"))), "{:?}", tree.keys());
    }
}

#[test]
fn a_stream_map_does_not_take_an_empty_marker_for_a_deletion() {
    let file = File::new(&json!({}), &["a", "b"]);
    let config = with(&file.config(), &json!({"stream_maps": {"p": {"__filter__": "kind == 'x'"}}}));
    let messages = [
        schema(&json!({"id": {"type": "string"}, "kind": {"type": "string"}, "last": {"type": "string"},
            "_sdc_deleted_at": {"type": ["null", "string"]}})),
        // The filter's property is not there: of a deletion that is no fault, of a record it is.
        record(&json!({"id": "a", "last": "New", "_sdc_deleted_at": ""})),
        record(&json!({"id": "b", "_sdc_deleted_at": "2026-01-01T00:00:00Z"})),
        state(),
    ];
    done(Run::target(&config).messages(&messages).run());
    assert_eq!(file.text("a", "sn").as_deref(), Some("a"), "filtered out");
    assert!(!file.tree().contains_key(&format!("uid=b,{BASE}")));
}

#[test]
fn a_deletion_needs_no_more_than_what_names_its_entry() {
    let file = File::new(&json!({"values": {"description": "{since|date:%Y}"}}), &["a", "b"]);
    let messages = [
        json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"type": "object",
            "additionalProperties": false, "required": ["id", "last", "since"],
            "properties": {"id": {"type": "string"}, "last": {"type": "string"}, "since": {"type": "string"}}}}),
        record(&json!({"id": "a", "_sdc_deleted_at": "2026-01-01T00:00:00Z"})),
        record(
            &json!({"id": "b", "last": null, "since": "unknown", "_sdc_deleted_at": "2026-01-01T00:00:00Z"}),
        ),
        state(),
    ];
    done(Run::target(&file.config()).messages(&messages).run());
    assert_eq!(file.tree().len(), 2, "{:?}", file.tree().keys());
}

#[test]
fn a_schema_of_any_draft_is_validated_and_ends_nothing_in_a_panic() {
    for uri in [
        "http://json-schema.org/draft-03/schema#",
        "http://json-schema.org/draft-05/schema#",
        "https://json-schema.org/draft/2019-09/schema",
        "https://example.com/schemas/people.json",
        "mine",
    ] {
        let file = File::new(&json!({}), &[]);
        let mut schema = schema(&json!({"id": {"type": "string"}, "last": {"type": "string"}}));
        schema["schema"]["$schema"] = json!(uri);
        let messages = [
            schema.clone(),
            record(&json!({"id": "a", "last": "A"})),
            schema,
            record(&json!({"id": "b", "last": 5})),
            record(&json!({"id": "c", "last": "C"})),
            state(),
        ];
        let output = Run::target(&file.skipping()).messages(&messages).run().exits(4);
        no_panic(&output);
        let expected = usize::from(!uri.contains("2019-09"));
        assert_eq!(warnings(&output, uri).len(), expected, "{uri}: {}", output.stderr);
        assert_eq!(file.rejected().len(), 1);
        assert!(file.text("a", "sn").is_some() && file.text("c", "sn").is_some());
    }
}

#[test]
fn a_schema_that_is_none_is_an_error_and_nothing_of_it_is_fetched() {
    for property in [
        json!({"$ref": "#/definitions/none"}),
        json!({"$ref": "http://127.0.0.1:9/x.json"}),
        json!({"$ref": "file:///etc/hostname"}),
        json!({"type": "string", "pattern": "("}),
        json!({"type": "thing"}),
    ] {
        let file = File::new(&json!({}), &[]);
        let messages = [
            schema(&json!({"id": {"type": "string"}, "last": property})),
            record(&json!({"id": "a", "last": "A"})),
            state(),
        ];
        let output = Run::target(&file.config()).messages(&messages).run().exits(1);
        no_panic(&output);
        assert!(output.stdout.is_empty(), "{property}");
        let config = with(&file.config(), &json!({"validate_records": false}));
        done(Run::target(&config).messages(&messages).run());
    }
}

#[test]
fn an_encoding_counts_wherever_the_schema_says_it() {
    let encoded = json!({"type": "string", "contentEncoding": "base64"});
    for property in [
        json!({"anyOf": [encoded, {"type": "null"}]}),
        json!({"oneOf": [{"type": "null"}, encoded]}),
        json!({"allOf": [{"type": ["string", "null"]}, {"contentEncoding": "base64"}]}),
        json!({"$ref": "#/definitions/octets"}),
        json!({"anyOf": [{"$ref": "#/definitions/octets"}, {"type": "null"}]}),
    ] {
        let rule = json!({"attribute_mapping": {"id": ["uid", "cn"], "last": "sn", "photo": "jpegPhoto", "text": "description", "boss": "manager"},
            "values": {"title": "<{text}>"}, "password": {"from": "pw", "mode": "as_is"}});
        let file = File::new(&rule, &[]);
        let mut schema =
            schema(&json!({"id": {"type": "string"}, "last": {"type": "string"}, "photo": property,
            "text": property, "boss": property, "pw": property}));
        schema["schema"]["definitions"] = json!({"octets": encoded});
        let config =
            with(&file.config(), &json!({"dn_rewrite": [{"from": "dc=old", "to": "dc=example,dc=test"}]}));
        let messages = [
            schema,
            record(
                &json!({"id": "a", "last": "A", "photo": "AP9hYg==", "text": "aGVsbG8=", "boss": "dWlkPWIsb3U9cGVvcGxlLGRjPW9sZA==",
                "pw": "e1NTSEF9eA=="}),
            ),
            record(&json!({"id": "b", "last": "B"})),
            state(),
        ];
        done(Run::target(&config).messages(&messages).run());
        let entry = file.entry("a");
        assert_eq!(entry["jpegphoto"].first().unwrap(), b"\0\xffab", "{property}");
        assert_eq!(file.text("a", "description").as_deref(), Some("hello"), "{property}");
        assert_eq!(file.text("a", "title").as_deref(), Some("<hello>"), "{property}");
        assert_eq!(file.text("a", "manager"), Some(format!("uid=b,{BASE}")), "{property}");
        assert_eq!(file.text("a", "userpassword").as_deref(), Some("{SSHA}x"), "{property}");
    }
    for (encoding, text) in [
        ("base16", "00FF6162"),
        ("base16", "00ff6162"),
        ("base64url", "AP9hYg=="),
        ("base64", "AP9h\r\nYg==\r\n"),
    ] {
        let file =
            File::new(&json!({"attribute_mapping": {"id": ["uid", "cn", "sn"], "photo": "jpegPhoto"}}), &[]);
        let schema = schema(
            &json!({"id": {"type": "string"}, "photo": {"type": "string", "contentEncoding": encoding}}),
        );
        done(
            Run::target(&file.config())
                .messages(&[schema, record(&json!({"id": "a", "photo": text})), state()])
                .run(),
        );
        assert_eq!(file.entry("a")["jpegphoto"].first().unwrap(), b"\0\xffab", "{encoding} {text:?}");
    }
}

#[test]
fn what_a_template_no_longer_gives_a_value_is_removed_and_what_is_not_known_is_left() {
    let rule = json!({"values": {"displayName": "{first} {middle} {last}", "manager": "{boss}", "title": "{job}", "description": "{job}",
        "givenName": "{first}{middle|prefix: }", "initials": "{middle|default:}"}, "policies": {"title": "keep", "description": "create_only"}});
    let file = File::new(&rule, &[]);
    let text = json!({"type": ["null", "string"]});
    let schema =
        schema(&json!({"id": text, "first": text, "middle": text, "last": text, "boss": text, "job": text}));
    let run = |fields: &Value| {
        let fields = with(&json!({"id": "a"}), fields);
        done(Run::target(&file.config()).messages(&[schema.clone(), record(&fields), state()]).run());
    };
    run(
        &json!({"first": "Ann", "middle": "B", "last": "Old", "boss": format!("uid=x,{BASE}"), "job": "Clerk"}),
    );
    assert_eq!(file.text("a", "displayname").as_deref(), Some("Ann B Old"));
    assert_eq!(file.text("a", "givenname").as_deref(), Some("Ann B"));
    assert_eq!(file.text("a", "initials").as_deref(), Some("B"));
    // Not known is not the same as empty.
    run(&json!({"last": "Newer"}));
    assert_eq!(file.text("a", "displayname").as_deref(), Some("Ann B Old"));
    assert_eq!(file.text("a", "manager"), Some(format!("uid=x,{BASE}")));
    assert_eq!(file.text("a", "initials").as_deref(), Some("B"));
    let all = file.tree().len();
    let mut fields = record(&json!({"id": "a", "first": "Ann", "last": "New"}));
    for name in ["middle", "boss", "job"] {
        fields["record"][name] = Value::Null;
    }
    done(Run::target(&file.config()).messages(&[schema.clone(), fields, state()]).run());
    assert_eq!(file.text("a", "displayname"), None, "a part that is needed is empty");
    assert_eq!(file.text("a", "manager"), None);
    assert_eq!(file.text("a", "givenname").as_deref(), Some("Ann"), "a part that is not needed is left out");
    assert_eq!(file.text("a", "initials"), None);
    assert_eq!(file.text("a", "title").as_deref(), Some("Clerk"), "its policy is keep");
    assert_eq!(file.text("a", "description").as_deref(), Some("Clerk"), "its policy is create_only");
    assert_eq!(file.tree().len(), all);
}

#[test]
fn optional_parts_bring_their_separators() {
    let rule = json!({"values": {"displayName": "{first} {middle|suffix: |default:}{last}{title|prefix:, |default:}"}});
    let file = File::new(&rule, &[]);
    let text = json!({"type": ["null", "string"]});
    let schema = schema(&json!({"id": text, "first": text, "middle": text, "last": text, "title": text}));
    let messages = [
        schema,
        record(&json!({"id": "a", "first": "Ann", "middle": "B", "last": "Old", "title": "PhD"})),
        record(&json!({"id": "b", "first": "Ann", "middle": null, "last": "Old", "title": ""})),
        record(&json!({"id": "c", "first": "Ann", "last": "Old"})),
        state(),
    ];
    done(Run::target(&file.config()).messages(&messages).run());
    assert_eq!(file.text("a", "displayname").as_deref(), Some("Ann B Old, PhD"));
    for id in ["b", "c"] {
        assert_eq!(file.text(id, "displayname").as_deref(), Some("Ann Old"), "{id}");
    }
}

/// Values that would be another name than the one that the template says.
const NAMES: [&str; 6] = ["root,ou=admins", "Lovelace, Ada", "a+cn=b", "x\\", "#x", "b#'0101'B"];

#[test]
fn a_template_of_a_dn_valued_attribute_escapes_its_values() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let rule = json!({"dn_template": "cn={id},ou=t,dc=example,dc=test", "object_classes": ["groupOfNames"],
        "attribute_mapping": {"id": "cn"}, "values": {"member": "cn={name},ou=t,dc=example,dc=test", "owner": "{boss}",
        "description": "cn={name|escape_dn},dc=x"}});
    let text = json!({"type": ["null", "string"]});
    let schema = schema(&json!({"id": text, "name": text, "boss": text}));
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"p": rule}}));
    let mut messages = vec![schema];
    messages.extend(NAMES.iter().enumerate().map(|(n, name)| {
        record(&json!({"id": format!("g{n}"), "name": name, "boss": format!("uid=alice,{BASE}")}))
    }));
    messages.push(state());
    done(Run::target(&config).messages(&messages).run());
    let tree = slapd.dump();
    for (n, name) in NAMES.iter().enumerate() {
        let group = &tree[&format!("cn=g{n},ou=t,dc=example,dc=test")];
        let member = String::from_utf8(group["member"].first().unwrap().clone()).unwrap();
        let values = ldap_tests::ldif::rdn_values(&ldap_tests::ldif::normalize_dn(&member));
        assert_eq!(values.values().collect::<Vec<_>>(), [&name.to_lowercase()], "{member}");
        assert_eq!(
            ldap_tests::ldif::parent(&ldap_tests::ldif::normalize_dn(&member)),
            "ou=t,dc=example,dc=test"
        );
        assert_eq!(group["owner"].first().unwrap(), format!("uid=alice,{BASE}").as_bytes());
        let plain = String::from_utf8(group["description"].first().unwrap().clone()).unwrap();
        assert_eq!(ldap_tests::ldif::parent(&plain), "dc=x", "{plain}");
    }
}

#[test]
fn a_single_placeholder_is_a_whole_dn_and_has_to_be_one() {
    let file = File::new(&json!({"values": {"manager": "{boss}"}}), &["a", "b"]);
    let text = json!({"type": ["null", "string"]});
    let messages = [
        schema(&json!({"id": text, "last": text, "boss": text})),
        record(&json!({"id": "a", "last": "A", "boss": "cn=x\\,y,dc=z"})),
        record(&json!({"id": "b", "last": "B", "boss": "Lovelace, Ada"})),
        state(),
    ];
    Run::target(&file.skipping()).messages(&messages).run().exits(4);
    assert_eq!(file.text("a", "manager").as_deref(), Some("cn=x\\,y,dc=z"));
    assert_eq!(file.rejected().len(), 1);
    // What can never be a DN is the rule's fault.
    for template in ["{first} {last}", "uid={id},{last}", "nobody"] {
        let file = File::new(&json!({"values": {"manager": template}}), &[]);
        let output = Run::target(&file.config())
            .messages(&messages)
            .run()
            .exits(2)
            .says("mapping_rules.p.values.manager");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_match_by_a_dn_escapes_its_values_as_in_one() {
    let ldif = format!(
        "dn: uid=root\\,ou\\=admins,{BASE}\nobjectClass: inetOrgPerson\nuid: root,ou=admins\ncn: x\nsn: x\n\n\
        dn: uid=a,{BASE}\nobjectClass: inetOrgPerson\nuid: a\ncn: a\nsn: a\nmanager: uid=root\\,ou\\=admins,{BASE}\n\n\
        dn: uid=b,{BASE}\nobjectClass: inetOrgPerson\nuid: b\ncn: b\nsn: b\nmanager: uid=root,ou=admins,{BASE}\n"
    );
    let slapd = Slapd::start(SlapdOptions::with_users().seed(ldif));
    let rule = json!({"dn_template": format!("uid={{id}},{BASE}"), "object_classes": ["inetOrgPerson"], "operations": {"rename": false},
        "match": format!("(manager=uid={{boss}},{BASE})"), "attribute_mapping": {"id": "uid", "title": "title"}});
    let text = json!({"type": ["null", "string"]});
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"p": rule}}));
    let messages = [
        schema(&json!({"id": text, "boss": text, "title": text})),
        record(&json!({"id": "new", "boss": "root,ou=admins", "title": "T"})),
        state(),
    ];
    done(Run::target(&config).messages(&messages).run());
    let tree = slapd.dump();
    assert!(
        tree[&format!("uid=a,{BASE}")].contains_key("title")
            && !tree[&format!("uid=b,{BASE}")].contains_key("title")
    );
}

#[test]
fn a_name_that_the_schema_does_not_have_is_said_once_with_the_nearest() {
    let rule = json!({"attribute_mapping": {"id": ["uid", "cn", "sn"], "email": "mail"}, "values": {"title": "{Job_Title}"},
        "policies": {"mial": "keep"}, "password": {"from": "Pass_Word", "mode": "hash:ssha512"}});
    let file = File::new(&rule, &[]);
    let text = json!({"type": ["null", "string"]});
    let schema = schema(&json!({"id": text, "email": text, "job_title": text, "password": text}));
    let messages = [
        schema.clone(),
        record(&json!({"id": "a", "email": "a@x.example", "job_title": "T", "password": "x"})),
        schema,
        record(&json!({"id": "b", "email": "b@x.example", "job_title": "T", "password": "x"})),
        state(),
    ];
    let output = done(Run::target(&file.config()).messages(&messages).run());
    for (wrong, right) in [("Job_Title", "job_title"), ("mial", "mail"), ("Pass_Word", "password")] {
        let named = warnings(&output, wrong);
        assert_eq!(named.len(), 1, "{wrong}: {}", output.stderr);
        assert!(named[0].contains(&format!("`{right}`")), "{}", named[0]);
    }
}

#[test]
fn a_name_that_an_entry_is_named_or_found_by_has_to_be_in_the_schema() {
    let text = json!({"type": ["null", "string"]});
    let messages =
        [schema(&json!({"id": text, "last": text})), record(&json!({"id": "a", "last": "A"})), state()];
    for (rule, part) in [
        (json!({"dn_template": format!("uid={{Id}},{BASE}")}), "dn_template"),
        (json!({"match": "(employeeNumber={Number})"}), "match"),
        // The attribute is mapped from a property that is not there.
        (
            json!({"dn_template": format!("mail={{mail}},{BASE}"), "attribute_mapping": {"id": ["uid", "cn", "sn"], "e_mail": "mail"}}),
            "dn_template",
        ),
        // It is made of a property that is not there: no record can match by it.
        (
            json!({"match": "(employeeNumber={employeeNumber})", "values": {"employeeNumber": "{Number}"}}),
            "match",
        ),
    ] {
        let file = File::new(&rule, &[]);
        let before = file.tree();
        let output = Run::target(&file.config()).messages(&messages).run().exits(2);
        no_panic(&output);
        assert!(output.stderr.contains(&format!("mapping_rules.p.{part}")), "{}", output.stderr);
        assert!(output.stdout.is_empty() && file.tree() == before);
    }
    // What may be more than the SCHEMA names may be there.
    let file = File::new(&json!({"dn_template": format!("uid={{Id}},{BASE}")}), &[]);
    let mut open = schema(&json!({"id": text, "last": text}));
    open["schema"]["additionalProperties"] = json!(true);
    let messages = [open, record(&json!({"id": "a", "Id": "a", "last": "A"})), state()];
    done(Run::target(&file.config()).messages(&messages).run());
}

#[test]
fn a_part_of_a_rule_that_is_none_is_refused_with_the_nearest() {
    for (wrong, right) in [
        (json!({"on_delte": "ignore"}), "on_delete"),
        (json!({"operations": {"deletes": false}}), "delete"),
        (json!({"password": {"from": "id", "mode": "as_is", "polcy": "force"}}), "policy"),
        (json!({"accounts": {"enable": true}}), "enabled"),
        (json!({"on_delete": {"moveto": "dc=x"}}), "move_to"),
        (json!({"Policies": {}}), "policies"),
    ] {
        let file = File::new(&wrong, &[]);
        let output = Run::target(&file.config()).messages(&[state()]).run().exits(2);
        let key = wrong.as_object().unwrap().keys().next().unwrap();
        assert!(
            output.stderr.contains(key) && output.stderr.contains(&format!("`{right}`")),
            "{}",
            output.stderr
        );
    }
    let file = File::new(&json!({}), &[]);
    let config = with(&file.config(), &json!({"dn_rewrite": [{"from": "dc=a", "too": "dc=b"}]}));
    Run::target(&config).messages(&[state()]).run().exits(2).says("dn_rewrite[0]");
}

#[test]
fn a_rule_that_no_stream_used_is_said_with_the_nearest_stream() {
    let file = File::new(&json!({}), &[]);
    let mut config = file.config();
    config["mapping_rules"]["*"] = file.rule.clone();
    config["mapping_rules"]["persons"] = file.rule.clone();
    let text = json!({"type": "string"});
    let mut schema = schema(&json!({"id": text, "last": text}));
    schema["stream"] = json!("person");
    let output = done(Run::target(&config).messages(&[schema, state()]).run());
    let named = warnings(&output, "persons");
    assert!(named.len() == 1 && named[0].contains("`person`"), "{}", output.stderr);
    assert_eq!(warnings(&output, "mapping_rules.p`").len(), 1, "{}", output.stderr);
}

#[test]
fn a_class_that_the_server_does_not_have_is_refused_before_the_first_record() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let before = slapd.change_marks();
    let rule = |class: &str| {
        json!({"mapping_rules": {"p": {"dn_template": format!("uid={{id}},{BASE}"), "object_classes": [class],
        "attribute_mapping": {"id": ["uid", "cn", "sn"], "title": "titel"}}}})
    };
    let config = with(&target_config(&slapd), &rule("inetOrgPersn"));
    let output = Run::target(&config).messages(&[state()]).run().exits(2).says("`inetOrgPerson`");
    assert!(output.stdout.is_empty());
    assert_untouched(&slapd, &before);
    let text = json!({"type": "string"});
    let config = with(&target_config(&slapd), &rule("inetOrgPerson"));
    let output =
        done(Run::target(&config).messages(&[schema(&json!({"id": text, "title": text})), state()]).run());
    let named = warnings(&output, "titel");
    assert!(named.len() == 1 && named[0].contains("`title`"), "{}", output.stderr);
    // A file takes any.
    let file = File::new(&json!({"object_classes": ["inetOrgPersn"]}), &[]);
    done(Run::target(&file.config()).messages(&[state()]).run());
}

#[test]
fn a_filter_that_fits_everything_does_not_have_everything_read() {
    const COUNT: usize = 2_000;
    let slapd = Slapd::start(SlapdOptions::with_users().seed(people(COUNT, BASE)));
    let rule = json!({"dn_template": format!("uid={{id}},{BASE}"), "object_classes": ["inetOrgPerson"],
        "match": "(givenName={first})", "attribute_mapping": {"id": ["uid", "cn", "sn"], "first": "givenName"}});
    let text = json!({"type": ["null", "string"]});
    let octets = |records: usize| {
        let cutter = Cutter::start(slapd.ldap_port(), Way::ToClient, &[]);
        let dir = scratch();
        let rejects = dir.path().join("rejects.jsonl");
        let config = with(
            &target_config(&slapd),
            &json!({"mapping_rules": {"p": rule}, "server_url": cutter.uri(),
            "on_error": "skip", "reject_file": rejects}),
        );
        let mut messages = vec![schema(&json!({"id": text, "first": text}))];
        messages.extend((0..records).map(|n| record(&json!({"id": format!("n{n}"), "first": "Person"}))));
        messages.push(state());
        Run::target(&config).messages(&messages).run().exits(4);
        assert_eq!(rejected(&rejects).len(), records);
        cutter.passed()
    };
    let (few, many) = (octets(1), octets(21));
    // Nothing is deleted, so no more names are read than the message has.
    assert!(
        many.saturating_sub(few) / 20 < 4_000,
        "{} octets for each record",
        many.saturating_sub(few) / 20
    );
}

/// Which entries a record fits is read when something is to be deleted, and then all of them are protected.
#[test]
fn what_a_rejected_record_fits_is_not_deleted_by_another_records_deletion() {
    let slapd = Slapd::start(SlapdOptions::with_users().seed(people(20, BASE)));
    let dir = scratch();
    let rule = json!({"dn_template": format!("uid={{id}},{BASE}"), "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": ["uid", "cn", "sn"], "first": "givenName"}});
    let config = with(
        &target_config(&slapd),
        &json!({"mapping_rules": {"p": with(&rule, &json!({"match": "(givenName={first})"})), "q": rule},
            "on_error": "skip", "reject_file": dir.path().join("rejects.jsonl")}),
    );
    let text = json!({"type": ["null", "string"]});
    let properties = json!({"id": text, "first": text, "_sdc_deleted_at": text});
    let mut other = schema(&properties);
    other["stream"] = json!("q");
    let mut messages = vec![schema(&properties), other, record(&json!({"id": "new", "first": "Person"}))];
    messages.extend((0..20).map(|n| {
        let mut gone =
            record(&json!({"id": format!("person{n}"), "_sdc_deleted_at": "2026-01-01T00:00:00Z"}));
        gone["stream"] = json!("q");
        gone
    }));
    messages.push(state());
    let before = slapd.dump();
    let output = Run::target(&config).messages(&messages).run().exits(4);
    assert_eq!(slapd.dump(), before);
    assert_eq!(warnings(&output, "is not deleted").len(), 20, "{}", output.stderr);
}

/// Nothing gives entries what `match` asks for: they are found by their names alone, and a new name makes a second entry.
#[test]
fn entries_that_match_does_not_find_again_are_counted_and_one_is_named() {
    let text = json!({"type": ["null", "string"]});
    let messages = [
        schema(&json!({"id": text, "last": text, "number": text})),
        record(&json!({"id": "a", "last": "A", "number": "1"})),
        record(&json!({"id": "b", "last": "B", "number": "2"})),
        record(&json!({"id": "c", "last": "C", "number": "3"})),
        state(),
    ];
    let matched = json!({"match": "(employeeNumber={number})"});
    let file = File::new(&matched, &["a"]);
    // The second run finds them by their names, and by nothing else.
    for _ in 0..2 {
        let output = done(Run::target(&file.config()).messages(&messages).run());
        let named = warnings(&output, "mapping_rules.p.match");
        assert_eq!(named.len(), 1, "{}", output.stderr);
        let dn = format!("uid=a,{BASE}");
        assert!(named[0].contains("3 entries") && named[0].contains(&dn), "{}", named[0]);
    }
    let mapped = json!({"id": ["uid", "cn"], "last": "sn", "number": "employeeNumber"});
    let file = File::new(&with(&matched, &json!({"attribute_mapping": mapped})), &["a"]);
    for _ in 0..2 {
        let output = done(Run::target(&file.config()).messages(&messages).run());
        assert_eq!(warnings(&output, "match"), [""; 0], "{}", output.stderr);
    }
}

/// Warehouses fold names, and print `_SDC_DELETED_AT`.
#[test]
fn a_marker_is_one_in_every_spelling_and_a_placeholder_is_no_time() {
    for (spelling, validate) in [("_SDC_DELETED_AT", true), ("_Sdc_Deleted_At", false)] {
        let file = File::new(&json!({"attribute_mapping": null}), &["a", "b", "c", "d", "e"]);
        let config = with(&file.skipping(), &json!({"validate_records": validate}));
        let text = json!({"type": ["null", "string"], "format": "date-time"});
        let mut schema = schema(&json!({"id": {"type": "string"}, "sn": {"type": ["null", "string"]}}));
        schema["schema"]["properties"][spelling] = text;
        let marked = |id: &str, marker: &str| record(&json!({"id": id, "sn": "New", spelling: marker}));
        let mut both = marked("e", "2026-01-01T00:00:00Z");
        both["record"]["_sdc_deleted_at"] = json!(null);
        let messages = [
            schema,
            marked("a", "2026-01-01T00:00:00Z"),
            record(&json!({"id": "b", "sn": "New", spelling: null})),
            marked("c", "0001-01-01T00:00:00Z"),
            marked("d", "9999-12-31T23:59:59Z"),
            both,
            state(),
        ];
        let output = Run::target(&config).messages(&messages).run().exits(4);
        no_panic(&output);
        let tree = file.tree();
        assert!(!tree.contains_key(&format!("uid=a,{BASE}")), "{}", output.stderr);
        let left = ["b", "c", "d", "e"].map(|id| file.text(id, "sn").unwrap());
        assert_eq!(left, ["New", "c", "d", "e"], "{}", output.stderr);
        for said in ["id=c: ", "0001-01-01", "id=d: ", "9999-12-31", "id=e: "] {
            assert!(!warnings(&output, said).is_empty(), "{said}: {}", output.stderr);
        }
        assert_eq!(file.rejected().len(), 3);
    }
}

#[test]
fn a_form_of_plan_without_a_dry_run_is_refused_and_nothing_is_written() {
    let file = File::new(&json!({}), &[]);
    let before = file.tree();
    let text = json!({"type": "string"});
    let messages =
        [schema(&json!({"id": text, "last": text})), record(&json!({"id": "a", "last": "A"})), state()];
    let output =
        Run::target(&file.config()).arg("--plan-format").arg("html").messages(&messages).run().exits(2);
    assert!(
        output.stderr.contains("--plan-format") && output.stderr.contains("--dry-run"),
        "{}",
        output.stderr
    );
    assert!(output.stdout.is_empty() && file.tree() == before);
    let config = with(&file.config(), &json!({"dry_run": true}));
    let output = Run::target(&config).arg("--plan-format").arg("json").messages(&messages).run().succeeds();
    assert!(!output.stdout.is_empty() && file.tree() == before);
}

/// A server's schema says what there is: nothing is deleted or made by a filter that can find nothing.
#[test]
fn a_name_in_a_filter_that_the_server_does_not_know_is_a_wrong_setting() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let before = slapd.change_marks();
    for (wrong, near) in [
        (json!({"match": "(employeNumber={id})"}), "employeeNumber"),
        (json!({"scope_base": BASE, "scope_filter": "(objectClass=inetOrgPersn)"}), "inetOrgPerson"),
    ] {
        let rule = json!({"dn_template": format!("uid={{id}},{BASE}"), "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"id": ["uid", "cn", "sn", "employeeNumber"]}});
        let config = with(&target_config(&slapd), &json!({"mapping_rules": {"p": with(&rule, &wrong)}}));
        let text = json!({"type": ["null", "string"]});
        let messages = [
            schema(&json!({"id": text, "_sdc_deleted_at": text})),
            record(&json!({"id": "alice", "_sdc_deleted_at": "2026-01-01T00:00:00Z"})),
            state(),
        ];
        no_panic(
            &Run::target(&config).messages(&messages).run().exits(2).says("mapping_rules.p.").says(near),
        );
        assert_untouched(&slapd, &before);
    }
}
