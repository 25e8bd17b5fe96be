//! Misspelled or duplicate names in catalogs and settings are reported before the first message is emitted.

use ldap_tests::run::{Output, Run, read_text};
use ldap_tests::slapd::scratch;
use serde_json::{Value, json};

use crate::support::{discover, lines, with};

const TREE: &str = "dn: dc=x\nobjectClass: domain\ndc: x\nentryUUID: 5c8b9d2e-0000-1000-8000-000000000001\n\n\
                    dn: ou=p,dc=x\nobjectClass: organizationalUnit\nou: p\nentryUUID: 5c8b9d2e-0000-1000-8000-000000000002\n\n\
                    dn: uid=a,ou=p,dc=x\nobjectClass: account\nuid: a\nentryUUID: 5c8b9d2e-0000-1000-8000-000000000003\n\
                    modifyTimestamp: 20200101000000Z\n\n\
                    dn: cn=g,ou=p,dc=x\nobjectClass: groupOfNames\ncn: g\nmember: uid=a,ou=p,dc=x\n\
                    entryUUID: 5c8b9d2e-0000-1000-8000-000000000004\nmodifyTimestamp: 20200101000000Z\n";

struct Case {
    dir: tempfile::TempDir,
    config: Value,
}

impl Case {
    fn new() -> Self {
        let dir = scratch();
        let file = dir.path().join("d.ldif");
        std::fs::write(&file, TREE).unwrap();
        let config = json!({"server_url": format!("ldif:{}", file.display())});
        Self { dir, config }
    }

    fn tap(&self, more: &Value) -> Output {
        Run::tap(&with(&self.config, more)).run()
    }

    fn with_catalog(&self, change: impl FnOnce(&mut Value)) -> Output {
        let mut catalog = discover(&self.config);
        change(&mut catalog);
        let file = self.dir.path().join("catalog.json");
        std::fs::write(&file, catalog.to_string()).unwrap();
        Run::tap(&self.config).arg("--catalog").arg(file.to_str().unwrap()).run()
    }
}

fn warnings(output: &Output) -> Vec<Value> {
    let lines = output.stderr.entries().iter().cloned();
    lines.filter(|line| line["level"] == "warning").collect()
}

/// Panics unless there is one warning of this setting and name, and of what is near.
#[track_caller]
fn warns(output: &Output, setting: &str, name: &str, nearest: Option<&str>) {
    let found: Vec<Value> = warnings(output).into_iter().filter(|w| w["setting"] == setting).collect();
    assert_eq!(found.len(), 1, "{setting}: {}", output.stderr);
    assert_eq!(found[0]["name"], name, "{}", output.stderr);
    assert_eq!(found[0]["nearest"].as_str(), nearest, "{}", output.stderr);
}

fn of<'a>(catalog: &'a mut Value, id: &str) -> &'a mut Value {
    let streams = catalog["streams"].as_array_mut().unwrap();
    streams.iter_mut().find(|s| s["tap_stream_id"] == id).unwrap()
}

fn set(stream: &mut Value, key: &str, value: &str) {
    let nodes = stream["metadata"].as_array_mut().unwrap();
    let own = nodes.iter_mut().find(|m| m["breadcrumb"] == json!([])).unwrap();
    own["metadata"][key] = json!(value);
}

#[test]
fn two_streams_under_one_name_are_2_before_the_first_message() {
    let case = Case::new();
    let two = json!({"__alias__": "all"});
    for (output, names) in [
        (
            case.with_catalog(|c| of(c, "ou=p,dc=x")["stream"] = json!("x")),
            ["--catalog", "ou=p,dc=x", "dc=x"],
        ),
        (
            case.with_catalog(|c| {
                let again = of(c, "ou=p,dc=x").clone();
                c["streams"].as_array_mut().unwrap().push(again);
            }),
            ["--catalog", "ou=p,dc=x", "tap_stream_id"],
        ),
        (case.tap(&json!({"stream_maps": {"*": two}})), ["stream_maps.*", "`all`", "`x`"]),
        (case.tap(&json!({"stream_maps": {"p": {"__alias__": "x"}}})), ["stream_maps.p", "`p`", "`x`"]),
        (case.tap(&json!({"stream_maps": {"x": {"__source__": "p"}}})), ["stream_maps.x", "`p`", "`x`"]),
        (
            case.tap(&json!({"membership_streams": true, "schemas": [{"name": "g"}, {"name": "g_members"}]})),
            ["schemas", "`g`", "`g_members`"],
        ),
    ] {
        let output = output.exits(2);
        assert!(output.stdout.is_empty(), "{}", output.stderr);
        let [setting, names @ ..] = names;
        let messages = output.stderr.about(&json!({"setting": setting}));
        let message = messages[0]["message"].as_str().unwrap();
        assert!(names.iter().all(|name| message.contains(name)), "{names:?}: {message}");
    }
    // Names that are made of the stream's own differ, and so do streams that are not selected.
    case.tap(&json!({"stream_maps": {"*": {"__alias__": "'all_' + __stream_name__"}}})).succeeds();
    case.with_catalog(|c| {
        let stream = of(c, "ou=p,dc=x");
        stream["stream"] = json!("x");
        stream["metadata"][0]["metadata"]["selected"] = json!(false);
    })
    .succeeds();
}

#[test]
fn the_target_takes_no_two_streams_for_one() {
    let case = Case::new();
    let schema = |stream: &str| {
        json!({"type": "SCHEMA", "stream": stream, "key_properties": ["dn"],
            "schema": {"properties": {"dn": {"type": "string"}, "objectClass": {"type": "array"}}}})
    };
    let config = with(&case.config, &json!({"stream_maps": {"*": {"__alias__": "all"}}}));
    Run::target(&config).stdin(lines(&[schema("a"), schema("a")])).run().succeeds();
    let output = Run::target(&config).stdin(lines(&[schema("a"), schema("b")])).run().exits(2);
    output.reports(&json!({"line": 2, "setting": "stream_maps.*"}));
}

#[test]
fn a_container_named_as_the_members_of_another_has_streams_of_its_own() {
    let dir = scratch();
    let file = dir.path().join("d.ldif");
    let group = |below: &str| {
        format!("dn: cn=g,{below},dc=x\nobjectClass: groupOfNames\ncn: g\nmember: cn=m,dc=x\n\n")
    };
    let unit = |name: &str| format!("dn: ou={name},dc=x\nobjectClass: organizationalUnit\nou: {name}\n\n");
    let text = [
        "dn: dc=x\nobjectClass: domain\ndc: x\n\n".to_owned(),
        unit("g"),
        unit("g_members"),
        group("ou=g"),
        group("ou=g_members"),
    ];
    std::fs::write(&file, text.concat()).unwrap();
    let config = json!({"server_url": format!("ldif:{}", file.display()), "membership_streams": true});
    let output = Run::tap(&config).run().succeeds();
    let mut names: Vec<String> =
        output.of_type("SCHEMA").iter().map(|m| m["stream"].as_str().unwrap().to_owned()).collect();
    names.sort();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all, "{names:?}");
    for stream in ["g", "g_members"] {
        assert_eq!(output.records(Some(stream)).len(), 1, "{stream}: {}", output.stderr);
        assert!(output.records(Some(stream))[0].get("group_key").is_none());
    }
}

#[test]
fn no_map_makes_a_null_key() {
    let case = Case::new();
    for (map, setting) in [
        (json!({"p": {"entryUUID": "None"}}), "stream_maps.p.entryUUID"),
        (json!({"p": {"k": "record.get('nix')", "__key_properties__": ["k"]}}), "stream_maps.p.k"),
        (json!({"p": {"__key_properties__": ["member"]}}), "stream_maps.p.__key_properties__"),
    ] {
        let output = case.tap(&json!({"stream_maps": map})).exits(1);
        assert!(output.stderr.contains(setting), "{setting}: {}", output.stderr);
        assert!(output.stderr.contains(",ou=p,dc=x"), "the record: {}", output.stderr);
        let is_p = |message: &Value| message["stream"] == "p";
        assert!(!output.of_type("ACTIVATE_VERSION").iter().any(|m| is_p(m)), "{}", output.stderr);
        assert!(output.records(Some("p")).iter().all(|r| !r["k"].is_null() || !r["entryUUID"].is_null()));
    }
    let text = json!({"type": ["null", "string"]});
    let schema = json!({"type": "SCHEMA", "stream": "s", "key_properties": ["id"],
        "schema": {"properties": {"id": text, "uid": text, "dn": text, "objectClass": {"type": "array"}}}});
    let record = json!({"type": "RECORD", "stream": "s", "record": {"id": "7", "uid": "u"}});
    let config = with(&case.config, &json!({"stream_maps": {"s": {"id": "None"}}}));
    let output = Run::target(&config).stdin(lines(&[schema, record])).run().exits(1);
    output.reports(&json!({"setting": "stream_maps.s.id", "record": "id=7", "line": 2}));
}

#[test]
fn what_is_misspelt_in_a_catalog_is_found_before_the_first_record() {
    let case = Case::new();
    let nearest = |output: Output, right: &Value| {
        let output = output.exits(2);
        assert!(output.stdout.is_empty(), "{}", output.stderr);
        output.reports(right);
    };
    for (method, right) in
        [("LOGBASED", json!("LOG_BASED")), ("INCREMENTL", json!("INCREMENTAL")), ("", Value::Null)]
    {
        nearest(
            case.with_catalog(|c| set(of(c, "ou=p,dc=x"), "replication-method", method)),
            &json!({"setting": "replication_method", "stream": "ou=p,dc=x", "nearest": right}),
        );
    }
    nearest(
        case.with_catalog(|c| {
            let stream = of(c, "ou=p,dc=x");
            set(stream, "replication-method", "INCREMENTAL");
            set(stream, "replication-key", "modifyTimestmp");
        }),
        &json!({"setting": "replication_key", "stream": "ou=p,dc=x"}),
    );
    nearest(
        case.with_catalog(|c| of(c, "ou=p,dc=x")["key_properties"] = json!(["entryUUIDs"])),
        &json!({"setting": "--catalog", "nearest": "entryUUID"}),
    );
    // What is only not used.
    let output = case.with_catalog(|c| set(of(c, "ou=p,dc=x"), "selectd", "x")).succeeds();
    warns(&output, "--catalog", "selectd", Some("selected"));
    let output = case
        .with_catalog(|c| {
            let node = json!({"breadcrumb": ["properties", "membr"], "metadata": {"selected": false}});
            of(c, "ou=p,dc=x")["metadata"].as_array_mut().unwrap().push(node);
        })
        .succeeds();
    warns(&output, "--catalog", "membr", Some("member"));
}

#[test]
fn a_setting_that_names_what_is_not_there_is_warned_of() {
    let case = Case::new();
    for (more, setting, name, nearest) in [
        (json!({"stream_maps": {"pp": null}}), "stream_maps.pp", "pp", Some("p")),
        (json!({"stream_maps": {"zzzz": null}}), "stream_maps.zzzz", "zzzz", None),
        (json!({"stream_maps": {"copy": {"__source__": "pp"}}}), "stream_maps.copy", "pp", Some("p")),
        (json!({"stream_maps": {"p": {"membr": null}}}), "stream_maps.p.membr", "membr", Some("member")),
        (json!({"stream_maps": {"*": {"membr": null}}}), "stream_maps.*.membr", "membr", Some("member")),
        (json!({"secret_attributes": ["uidd"]}), "secret_attributes", "uidd", Some("uid")),
        (
            json!({"schemas": [{"name": "s", "attributes": ["uid", "1.2.3.4.5"]}]}),
            "schemas[0].attributes",
            "1.2.3.4.5",
            None,
        ),
    ] {
        warns(&case.tap(&more).succeeds(), setting, name, nearest);
    }
    // What some streams have is not misspelt; nor is what a stream that is not selected has.
    let fine = json!({"stream_maps": {"*": {"member": null}}, "secret_attributes": ["uid", "2.5.4.3"]});
    let output = case.tap(&fine).succeeds();
    assert!(!warnings(&output).iter().any(|w| w["setting"].is_string()), "{}", output.stderr);
    // One setting, and two of its names.
    let two = json!({"schemas": [{"name": "a"}], "streams": [{"name": "b"}]});
    let output = case.tap(&two).exits(2);
    output.reports_setting("streams");
}

#[test]
fn the_target_warns_of_maps_and_secrets_that_nothing_came_of() {
    let case = Case::new();
    let schema = json!({"type": "SCHEMA", "stream": "people", "key_properties": ["dn"],
        "schema": {"properties": {"dn": {"type": "string"}, "objectClass": {"type": "array"},
            "badge": {"type": ["null", "string"]}}}});
    for (more, setting, name, nearest) in [
        (json!({"stream_maps": {"peple": null}}), "stream_maps.peple", "peple", Some("people")),
        (
            json!({"stream_maps": {"people": {"bagde": null}}}),
            "stream_maps.people.bagde",
            "bagde",
            Some("badge"),
        ),
        (json!({"secret_attributes": ["bagde"]}), "secret_attributes", "bagde", Some("badge")),
    ] {
        let run = Run::target(&with(&case.config, &more));
        warns(&run.stdin(lines(std::slice::from_ref(&schema))).run().succeeds(), setting, name, nearest);
    }
    let fine = json!({"secret_attributes": ["badge", "uid"], "stream_maps": {"people": {"badge": null}}});
    let run = Run::target(&with(&case.config, &fine));
    let output = run.stdin(lines(&[schema])).run().succeeds();
    assert!(!warnings(&output).iter().any(|w| w["setting"].is_string()), "{}", output.stderr);
    assert_eq!(read_text(&case.dir.path().join("d.ldif")).matches("dn: ").count(), 4);
}
