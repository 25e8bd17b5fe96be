//! Lines as other programs write them: an invalid record is an error of that record alone.

use std::path::PathBuf;

use ldap_tests::ldif::{Tree, parse_file};
use ldap_tests::run::{Output, Run};
use ldap_tests::server::scratch;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{no_panic, with};

/// A file as the destination, and the rule of its one stream.
struct Target {
    dir: TempDir,
}

impl Target {
    fn new() -> Target {
        Target { dir: scratch() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, more: &Value, lines: &[&str]) -> Output {
        let config = json!({"server_url": format!("ldif:{}", self.path("d.ldif").display()),
            "on_error": "skip", "reject_file": self.path("r.jsonl"),
            "mapping_rules": {"p": {"dn_template": "cn={id},dc=x", "object_classes": ["person"],
                "attribute_mapping": {"id": "cn", "name": "sn", "text": "description"}}}});
        let output = Run::target(&with(&config, more)).stdin(lines.join("\n") + "\n").run();
        no_panic(&output);
        output
    }

    fn tree(&self) -> Tree {
        parse_file(&self.path("d.ldif"))
    }

    /// The rejects: line and record.
    fn rejects(&self) -> Vec<(u64, Value)> {
        let text = std::fs::read_to_string(self.path("r.jsonl")).unwrap_or_default();
        // A reject keeps half of a character as it was.
        let lines = text.lines().map(|line| line.replace("\\ud83d\"", "?\""));
        let lines = lines.map(|line| serde_json::from_str::<Value>(&line).unwrap());
        let rejects = lines.filter(|line| line["type"] == "REJECT");
        rejects.map(|reject| (reject["line"].as_u64().unwrap(), reject["record"].clone())).collect()
    }
}

const SCHEMA: &str = r#"{"type":"SCHEMA","stream":"p","key_properties":null,"schema":{"properties":{"id":{},"name":{},"text":{}}}}"#;

#[test]
fn half_of_a_character_and_what_is_no_utf_8_are_errors_of_their_records() {
    let target = Target::new();
    let half = r#"{"type":"RECORD","stream":"p","record":{"id":"half","name":"x","text":"\ud83d"}}"#;
    let whole =
        r#"{"type":"RECORD","stream":"p","record":{"id":"whole","name":"x","text":"\ud83d\ude00 \\ud83d"}}"#;
    target.run(&json!({}), &[SCHEMA, half, whole]).exits(4);
    let tree = target.tree();
    assert_eq!(tree["cn=whole,dc=x"]["description"], ["\u{1f600} \\ud83d".as_bytes().to_vec()].into());
    assert!(!tree.contains_key("cn=half,dc=x"));
    let rejects = target.rejects();
    assert_eq!((rejects.len(), rejects[0].0, &rejects[0].1["id"]), (1, 2, &json!("half")));
    // Without `skip` the run ends with it.
    target.run(&json!({"on_error": "fail"}), &[SCHEMA, half]).exits(1).reports_line(2);
}

/// A reject of half of a character, tried again without a correction, is rejected again: nothing else is written in its place.
#[test]
fn a_reject_keeps_half_of_a_character_and_is_rejected_again() {
    let target = Target::new();
    let line = |text: &str| {
        format!(r#"{{"type":"RECORD","stream":"p","record":{{"id":"a","name":"x","text":"{text}"}}}}"#)
    };
    let octets = [line("x").as_bytes().strip_suffix(b"x\"}}").unwrap(), b"\xff\"}}"].concat();
    for (record, kept) in
        [(line("\\ud83d").into_bytes(), r#""text":"\ud83d""#), (octets, r#""text":"\udcff""#)]
    {
        let config = json!({"server_url": format!("ldif:{}", target.path("d.ldif").display()),
            "on_error": "skip", "reject_file": target.path("r.jsonl"),
            "mapping_rules": {"p": {"dn_template": "cn={id},dc=x", "object_classes": ["person"],
                "attribute_mapping": {"id": "cn", "name": "sn", "text": "description"}}}});
        let input = [SCHEMA.as_bytes(), b"\n", &record, b"\n"].concat();
        Run::target(&config).stdin(input).run().exits(4);
        let first = std::fs::read_to_string(target.path("r.jsonl")).unwrap();
        assert!(first.contains(kept), "{first}");
        std::fs::remove_file(target.path("r.jsonl")).unwrap();
        Run::target(&config).arg("--retry-rejects").stdin(first.clone()).run().exits(4);
        let again = std::fs::read_to_string(target.path("r.jsonl")).unwrap();
        assert!(again.contains(kept), "{again}");
        assert!(!target.path("d.ldif").exists() || target.tree().is_empty());
        std::fs::remove_file(target.path("r.jsonl")).unwrap();
        let corrected = first.replace(kept, r#""text":"whole""#);
        Run::target(&config).arg("--retry-rejects").stdin(corrected).run().exits(0);
        assert_eq!(target.tree()["cn=a,dc=x"]["description"], [b"whole".to_vec()].into());
        std::fs::remove_file(target.path("d.ldif")).unwrap();
        let _ = std::fs::remove_file(target.path("r.jsonl"));
    }
}

/// The line of the input is the one that is named, and a list is not taken for an object.
#[test]
fn a_line_that_is_not_json_is_named_once() {
    let target = Target::new();
    let output =
        target.run(&json!({}), &[SCHEMA, r#"{"type":"RECORD","stream":"p","record":{"id": oops}}"#]).exits(1);
    let text = output.stderr.raw().to_owned();
    assert!(text.contains("line 2: ") && !text.contains("line 1"), "{text}");
    let text = target.run(&json!({}), &[SCHEMA, r#"[{"id":1}]"#]).exits(1).stderr.raw().to_owned();
    assert!(!text.contains("expected a string"), "{text}");
}

#[test]
fn a_property_that_is_there_twice_is_an_error_of_its_record() {
    let target = Target::new();
    let record = |id: &str, more: &str| {
        format!(r#"{{"type":"RECORD","stream":"p","record":{{"id":"{id}","name":"x",{more}}}}}"#)
    };
    let (twice, same) =
        (record("twice", r#""text":"a","text":"b""#), record("same", r#""text":"a","text":"a""#));
    let file = target.path("batch.jsonl");
    std::fs::write(&file, "{\"id\":\"filed\",\"name\":\"x\",\"name\":\"y\"}\n").unwrap();
    let batch = json!({"type": "BATCH", "stream": "p", "encoding": {"format": "jsonl"}, "manifest": [format!("file://{}", file.display())]});
    let lines = [SCHEMA, &twice, &same, &batch.to_string()];
    target.run(&json!({}), &lines).exits(4);
    let tree = target.tree();
    assert_eq!(tree["cn=same,dc=x"]["description"], [b"a".to_vec()].into());
    assert!(!tree.contains_key("cn=twice,dc=x") && !tree.contains_key("cn=filed,dc=x"));
    let ids: Vec<Value> = target.rejects().into_iter().map(|(_, record)| record["id"].clone()).collect();
    assert_eq!(ids, ["twice", "filed"]);
    // A map does not get to choose between them, either.
    let target = Target::new();
    target.run(&json!({"stream_maps": {"p": {"text": "text.upper()"}}}), &[SCHEMA, &twice, &same]).exits(4);
    assert_eq!((target.tree().len(), target.rejects().len()), (1, 1));
    target
        .run(&json!({"on_error": "fail"}), &[SCHEMA, &twice])
        .exits(1)
        .reports(&json!({"line": 2, "stream": "p"}))
        .says("`text`");
}

#[test]
fn what_python_writes_for_no_number_is_null() {
    let target = Target::new();
    let line = r#"{"type":"RECORD","stream":"p","record":{"id":"a","name":"NaN","text":NaN}}"#;
    let infinite = r#"{"type":"RECORD","stream":"p","record":{"id":"b","name":"x","text":[-Infinity,"t"]}}"#;
    let output = target.run(&json!({}), &[SCHEMA, line, infinite]).succeeds();
    assert_eq!(output.stderr.matches("is taken as null").count(), 1, "said once");
    let tree = target.tree();
    assert!(!tree["cn=a,dc=x"].contains_key("description"));
    assert_eq!(tree["cn=b,dc=x"]["description"], [b"t".to_vec()].into());
}

#[test]
fn a_record_that_a_stream_map_comes_to_nothing_for_is_an_error_of_its_own() {
    let target = Target::new();
    let maps = json!({"stream_maps": {"p": {"text": "text[0]"}}});
    let record = |id: &str, text: &str| {
        format!(r#"{{"type":"RECORD","stream":"p","record":{{"id":"{id}","name":"x","text":{text}}}}}"#)
    };
    let (empty, full) = (record("empty", "[]"), record("full", r#"["a"]"#));
    target.run(&maps, &[SCHEMA, &empty, &full]).exits(4);
    assert!(target.tree().contains_key("cn=full,dc=x"));
    let rejects = target.rejects();
    assert_eq!((rejects.len(), rejects[0].0, &rejects[0].1["id"]), (1, 2, &json!("empty")));
    // It is not written as it came, for no map would be applied.
    std::fs::rename(target.path("r.jsonl"), target.path("old.jsonl")).unwrap();
    let config = json!({"server_url": format!("ldif:{}", target.path("d.ldif").display()), "on_error": "skip",
        "reject_file": target.path("r.jsonl"), "mapping_rules": {"p": {"dn_template": "cn={id},dc=x", "object_classes": ["person"],
        "attribute_mapping": {"id": "cn", "name": "sn", "text": "description"}}}});
    let retry = Run::target(&config)
        .arg("--retry-rejects")
        .arg("--input")
        .arg(target.path("old.jsonl").display().to_string());
    retry.run().exits(4);
    assert!(!target.tree().contains_key("cn=empty,dc=x"));
    assert_eq!(target.rejects().len(), 1);
}

#[test]
fn numbers_are_written_with_their_digits() {
    let target = Target::new();
    let record = |id: &str, number: &str| {
        format!(r#"{{"type":"RECORD","stream":"p","record":{{"id":"{id}","name":"x","text":{number}}}}}"#)
    };
    let cases = [
        ("a", "3e+17", "300000000000000000"),
        ("b", "7.0", "7"),
        ("c", "1.50e1", "15"),
        ("d", "-2.5E-3", "-0.0025"),
        ("e", "1e2", "100"),
    ];
    let lines: Vec<String> = cases.iter().map(|(id, number, _)| record(id, number)).collect();
    let mut all = vec![SCHEMA];
    all.extend(lines.iter().map(String::as_str));
    target.run(&json!({}), &all).succeeds();
    for (id, _, digits) in cases {
        assert_eq!(
            target.tree()[&format!("cn={id},dc=x")]["description"],
            [digits.as_bytes().to_vec()].into()
        );
    }
    // As a part of a name, too.
    let named = format!(r#"{{"type":"RECORD","stream":"p","record":{{"id":{},"name":"x"}}}}"#, "1e2");
    target.run(&json!({}), &[SCHEMA, &named]).succeeds();
    assert!(target.tree().contains_key("cn=100,dc=x"));
    target
        .run(&json!({}), &[SCHEMA, &record("f", "[[1]]")])
        .exits(4)
        .reports(&json!({"line": 2, "stream": "p"}));
}

#[test]
fn a_line_of_a_batch_has_the_faults_of_its_record_alone() {
    let target = Target::new();
    let file = target.path("batch.jsonl");
    let lines = [
        r#"{"id":"half","name":"x","text":"\ud83d"}"#,
        r#"{"id":"nan","name":"x","text":NaN}"#,
        r#"{"id":"whole","name":"x"}"#,
    ];
    std::fs::write(&file, lines.join("\n") + "\n").unwrap();
    let batch = json!({"type": "BATCH", "stream": "p", "encoding": {"format": "jsonl"}, "manifest": [format!("file://{}", file.display())]});
    // The description of a SCHEMA may be cut, too.
    let schema = SCHEMA.replace(r#""text":{}"#, r#""text":{"description":"\ud83d","default":NaN}"#);
    for more in [json!({}), json!({"stream_maps": {"p": {"more": "name"}}})] {
        target.run(&more, &[&schema, &batch.to_string()]).exits(4);
        let tree = target.tree();
        assert_eq!(tree.keys().collect::<Vec<_>>(), ["cn=nan,dc=x", "cn=whole,dc=x"]);
        assert!(!tree["cn=nan,dc=x"].contains_key("description"));
        let rejects = target.rejects();
        assert_eq!((rejects.len(), &rejects[0].1["id"]), (1, &json!("half")));
        std::fs::remove_file(target.path("r.jsonl")).unwrap();
    }
}

#[test]
fn numbers_and_times_that_only_other_programs_have() {
    let target = Target::new();
    let rule = |attribute: &str| {
        json!({"mapping_rules": {"p": {"dn_template": "cn={id},dc=x", "object_classes": ["device"],
            "attribute_mapping": {"id": "cn", "text": attribute}}}})
    };
    let record = |id: &str, value: &str| {
        format!(r#"{{"type":"RECORD","stream":"p","record":{{"id":"{id}","text":{value}}}}}"#)
    };
    // Minus nothing, as Python writes it.
    let zero = r#"{"type":"RECORD","stream":"p","record":{"id":-0.0,"text":-0}}"#;
    target.run(&rule("gidNumber"), &[SCHEMA, zero]).exits(0);
    assert_eq!(target.tree()["cn=0,dc=x"]["gidnumber"], [b"0".to_vec()].into());
    // A zone takes a time out of the years that there are, and file times begin in 1601, of which 0 is "never".
    for (attribute, value, is_taken) in [
        ("pwdAccountLockedTime", "9999-12-31T23:59:59-05:00", false),
        ("pwdAccountLockedTime", "9999-12-31T23:59:59+05:00", true),
        ("accountExpires", "0001-01-01T00:00:00Z", false),
        ("accountExpires", "1600-12-31T00:00:00Z", false),
        ("accountExpires", "1601-01-01T00:00:00Z", false),
        ("accountExpires", "1601-01-01T00:00:01Z", true),
        ("lockoutTime", "1600-01-01T00:00:00Z", false),
    ] {
        let target = Target::new();
        let value = format!("\"{value}\"");
        target.run(&rule(attribute), &[SCHEMA, &record("a", &value)]).exits(if is_taken { 0 } else { 4 });
        assert_eq!(target.tree().contains_key("cn=a,dc=x"), is_taken, "{attribute} {value}");
    }
}

#[test]
fn secrets_within_others_are_not_in_reject_files() {
    let target = Target::new();
    let record = r#"{"type":"RECORD","stream":"p","record":{"name":"x","account":{"userPassword":"REJECTED1"},"list":[{"a":[{"unicodePwd":"REJECTED2"}]}],"plain":{"a":1}}}"#;
    target.run(&json!({}), &[SCHEMA, record]).exits(4);
    let text = std::fs::read_to_string(target.path("r.jsonl")).unwrap();
    assert!(!text.contains("REJECTED"), "{text}");
    let record = &target.rejects()[0].1;
    assert_eq!(
        (&record["account"], &record["list"], &record["plain"]),
        (&json!("***"), &json!("***"), &json!({"a": 1}))
    );
}

#[test]
fn a_property_that_has_the_signs_of_templates_is_named_in_quotation_marks() {
    let target = Target::new();
    let rule = json!({"mapping_rules": {"p": {"dn_template": "cn={\"a|b\"|lower},dc=x", "object_classes": ["person"],
        "values": {"sn": "{ \"c}d\" |upper}", "description": "{\"e\"}{\"f|g\"|default:-}"}}}});
    let schema = r#"{"type":"SCHEMA","stream":"p","key_properties":["a|b"],"schema":{"properties":{"a|b":{},"c}d":{},"e":{},"f|g":{}}}}"#;
    let record = r#"{"type":"RECORD","stream":"p","record":{"a|b":"ANN","c}d":"lee","e":"x"}}"#;
    target.run(&rule, &[schema, record]).exits(0);
    let tree = target.tree();
    assert_eq!(tree["cn=ann,dc=x"]["sn"], [b"LEE".to_vec()].into());
    assert_eq!(tree["cn=ann,dc=x"]["description"], [b"x-".to_vec()].into());
    let rule =
        json!({"mapping_rules": {"p": {"dn_template": "cn={\"a|b\" x},dc=x", "object_classes": ["person"]}}});
    target.run(&rule, &[schema, record]).exits(2);
}

#[test]
fn what_would_take_for_ever_is_an_error() {
    // Each definition applies the next one twice.
    let target = Target::new();
    let mut definitions = serde_json::Map::new();
    for n in 0..30 {
        let next = json!({"$ref": format!("#/definitions/d{}", n + 1)});
        definitions.insert(format!("d{n}"), json!({"anyOf": [next, next]}));
    }
    definitions.insert("d30".into(), json!({"type": "string"}));
    let schema = json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"definitions": definitions,
        "properties": {"id": {"type": "string"}, "name": {"$ref": "#/definitions/d0"}}}});
    let record = r#"{"type":"RECORD","stream":"p","record":{"id":"a","name":7}}"#;
    target.run(&json!({}), &[&schema.to_string(), record]).exits(1).reports_line(1);
    target.run(&json!({"validate_records": false}), &[&schema.to_string(), record]).exits(0);
    // Nobody has ten thousand levels, and no directory is made for each.
    let target = Target::new();
    let above: Vec<String> = (0..10_000).map(|n| format!("ou=o{n}")).collect();
    let rule = json!({"create_parents": true, "mapping_rules": {"p": {"dn_template": format!("cn={{id}},{},dc=x", above.join(",")),
        "object_classes": ["device"]}}});
    target.run(&rule, &[SCHEMA, r#"{"type":"RECORD","stream":"p","record":{"id":"deep"}}"#]).exits(0);
    assert_eq!(target.tree().len(), 1);
}
