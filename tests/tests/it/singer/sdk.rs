//! Stream maps, flattening, BATCH and `--about`, beside the Meltano SDK itself.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use flate2::read::GzDecoder;
use ldap_tests::meltano::{about, root, said, venv};
use ldap_tests::run::{Output, Program, Run, output};
use ldap_tests::server::scratch;
use serde_json::{Value, json};

use crate::support::golden::{assert_golden_text, assert_text_in};
use crate::support::{assert_records_fit, by_stream, types, with};

/// The SDK's Python environment.
pub(crate) fn sdk() -> &'static Path {
    static SDK: OnceLock<PathBuf> = OnceLock::new();
    SDK.get_or_init(|| venv("sdk", "tests/sdk/requirements.txt"))
}

/// A directory of some people and groups.
const DIRECTORY: &str = "\
dn: dc=example,dc=com\nobjectClass: domain\ndc: example\n
dn: ou=users,dc=example,dc=com\nobjectClass: organizationalUnit\nou: users\n
dn: uid=ada,ou=users,dc=example,dc=com\nobjectClass: inetOrgPerson\nuid: ada\ncn: Ada Lovelace\nsn: Lovelace\nmail: Ada@Example.COM\ndepartmentNumber: 7\ntelephoneNumber: 1\ntelephoneNumber: 2\n
dn: uid=grace,ou=users,dc=example,dc=com\nobjectClass: inetOrgPerson\nuid: grace\ncn:  Grace Hopper\nsn: Hopper\nmail: grace@example.com\ndepartmentNumber: 12\n
dn: uid=jun,ou=users,dc=example,dc=com\nobjectClass: inetOrgPerson\nuid: jun\ncn:: 5pyx5rSL6aOf\nsn:: w4Q=\ndepartmentNumber: 30\n
dn: ou=groups,dc=example,dc=com\nobjectClass: organizationalUnit\nou: groups\n
dn: cn=all,ou=groups,dc=example,dc=com\nobjectClass: groupOfNames\ncn: all\nmember: uid=ada,ou=users,dc=example,dc=com\nmember: uid=jun,ou=users,dc=example,dc=com\n";

/// The configuration of a tap on it. The file lives as long as what is given beside it.
fn tap() -> (tempfile::TempDir, Value) {
    let dir = scratch();
    let file = dir.path().join("directory.ldif");
    fs::write(&file, DIRECTORY).unwrap();
    let single = ["uid", "cn", "sn", "mail", "departmentNumber"];
    (dir, json!({"server_url": format!("ldif:{}", file.display()), "single_valued": single}))
}

/// What the SDK makes of messages.
fn mapped_by_the_sdk(messages: &[u8], settings: &Value) -> Output {
    let dir = scratch();
    let file = dir.path().join("settings.json");
    fs::write(&file, settings.to_string()).unwrap();
    fs::write(dir.path().join("messages"), messages).unwrap();
    let mapped = Command::new(sdk().join("bin/python"))
        .arg(root().join("tests/sdk/mapper.py"))
        .arg(&file)
        .stdin(fs::File::open(dir.path().join("messages")).unwrap())
        .output()
        .unwrap();
    assert!(mapped.status.success(), "{settings}: {}", said(&mapped));
    output(0, mapped.stdout, String::new(), std::time::Duration::ZERO)
}

/// The streams of SCHEMA messages: name, keys, and the types of each property but for those named.
fn shapes(output: &Output, but_for: &[&str]) -> Vec<Value> {
    let shape = |message: &&Value| {
        let properties = message["schema"]["properties"].as_object().unwrap();
        let typed: serde_json::Map<String, Value> = properties
            .iter()
            .map(|(name, property)| {
                if but_for.contains(&name.as_str()) {
                    return (name.clone(), Value::Null);
                }
                let types: Vec<String> = types(property).into_iter().filter(|kind| kind != "null").collect();
                (name.clone(), types.into())
            })
            .collect();
        json!([message["stream"], message["key_properties"], typed])
    };
    output.of_type("SCHEMA").iter().map(shape).collect()
}

/// The tap with these settings prints what the SDK makes of what it prints without. `but_for`: properties whose type the SDK
/// gets wrong.
#[track_caller]
fn as_the_sdk_has_it(settings: &Value, but_for: &[&str]) -> Output {
    let (_dir, config) = tap();
    let plain = Run::tap(&config).run().succeeds();
    let expected = mapped_by_the_sdk(&plain.stdout, settings);
    let ours = Run::tap(&with(&config, settings)).run().succeeds();
    assert_eq!(shapes(&ours, but_for), shapes(&expected, but_for), "{settings}");
    assert_eq!(by_stream(&ours), by_stream(&expected), "{settings}");
    assert_records_fit(&ours);
    ours
}

#[test]
fn maps_do_what_the_sdks_do() {
    for (maps, but_for) in [
        (
            json!({"users": {"__alias__": "people", "telephoneNumber": null, "objectClass": "__NULL__"}}),
            &[][..],
        ),
        (json!({"users": null, "groups": "__NULL__"}), &[]),
        (
            json!({"users": {"__else__": null, "dn": "dn", "login": "uid", "mail": "mail"}, "__else__": null}),
            &[],
        ),
        (
            json!({"us*": {"__filter__": "departmentNumber > '2'"}, "[go]*": {"__alias__": "'x_' + __stream_name__"}}),
            &[],
        ),
        (json!({"users": {"__key_properties__": ["uid"], "dn": null}}), &[]),
        (
            json!({"users": {"__key_properties__": null}, "copy": {"__source__": "users", "__filter__": "uid == 'ada'"}}),
            &[],
        ),
        (
            json!({"users": {
                "mail": "mail.lower() if mail else None",
                "full_name": "cn.strip() + ' (' + sn.upper() + ')'",
                "department_id": "int(departmentNumber)",
                "half": "float(departmentNumber) / 2",
                "is_large": "bool(int(departmentNumber) > 10)",
                "domain": "record['mail'].split('@')[1] if _['mail'] else 'none'",
                "hash": "sha256(uid + config['salt'])",
                "sum": "md5(uid)",
                "kind": "'person'",
                "stream": "__original_stream_name__ + '/' + __stream_name__",
                "as_text": "str(int(departmentNumber))",
                "initials": "cn.strip()[0] + sn[0:1] + uid[-1]",
                "clean": "uid.replace('a', '-').lstrip('-').rstrip('e')",
                "has_phone": "'yes' if telephoneNumber and '1' in telephoneNumber else 'no'",
                "uid": "self.upper()",
                "missing": "record.get('missing', 'nothing')",
                "chosen": "mail or cn",
                "not_in": "str(uid not in ['ada', 'jun'])",
                "range": "str(1 < int(departmentNumber) <= 12)",
                "rest": "str(-int(departmentNumber) % 7 + 17 // -5)",
                "escaped": "'it\\'s ' + \"a \\\"text\\\"\"",
                "nested": "(uid if (sn == 'Lovelace' or not mail) else cn).lower()",
                "padded": "str(int(departmentNumber)).zfill(5)",
                "formatted": "f'{cn.title()} <{mail}>'.strip()",
                "joined": "', '.join(x.lower() for x in objectClass if x != 'top')",
            }}),
            // Whatever a record may have of which the SCHEMA says nothing.
            &["missing"],
        ),
        // The SDK says these are texts, or what was there before; they are not, and it does not look.
        (
            json!({"users": {
                "n": "int(departmentNumber) + 1 if departmentNumber else 0",
                "is_ada": "uid == 'ada'",
                "words": "cn.split()",
                "mail": "mail is not None",
                "phones": "telephoneNumber",
                "classes": "[x.upper() for x in objectClass]",
                "object": "{'uid': uid, 'mail': mail}",
                "read": "json.loads('[1, 2]')",
            }}),
            &["n", "is_ada", "words", "mail", "classes", "object", "read"],
        ),
    ] {
        as_the_sdk_has_it(&json!({"stream_maps": maps, "stream_map_config": {"salt": "pepper"}}), but_for);
    }
}

#[test]
fn types_that_the_sdk_gets_wrong_are_true() {
    let maps =
        json!({"users": {"is_ada": "uid == 'ada'", "words": "cn.split()", "n": "int(departmentNumber) * 2"}});
    let (_dir, config) = tap();
    let run = Run::tap(&with(&config, &json!({"stream_maps": maps}))).run().succeeds();
    let schemas = run.of_type("SCHEMA");
    let users = schemas.iter().find(|s| s["stream"] == "users").unwrap();
    let properties = &users["schema"]["properties"];
    assert_eq!(properties["is_ada"], json!({"type": ["boolean", "null"]}));
    assert_eq!(properties["words"], json!({"type": ["array", "null"], "items": {"type": ["string"]}}));
    assert_eq!(properties["n"], json!({"type": ["integer", "null"]}));
    assert!(assert_records_fit(&run) > 3);
}

#[test]
fn flattening_does_what_the_sdks_does() {
    let flat = json!({"flattening_enabled": true, "flattening_max_depth": 1});
    let run = as_the_sdk_has_it(&flat, &[]);
    let ada = run.records(Some("users")).into_iter().find(|r| r["uid"] == "ada").unwrap().clone();
    assert_eq!(ada["telephoneNumber"], "[\"1\",\"2\"]");
    let both = with(&flat, &json!({"stream_maps": {"users": {"cn": "[cn, {}]".replace("{}", "sn")}}}));
    as_the_sdk_has_it(&both, &[]);
    as_the_sdk_has_it(&json!({"flattening_enabled": true, "flattening_max_depth": 0}), &[]);
}

/// Objects do not come from a directory, but to the target.
#[test]
fn the_target_maps_and_flattens_what_it_reads() {
    let dir = scratch();
    let file = dir.path().join("out.ldif");
    let schema = json!({"type": "object", "properties": {
        "id": {"type": "integer"}, "name": {"type": "object", "properties": {"first": {"type": "string"}, "last": {"type": "string"}}},
        "active": {"type": "boolean"}}});
    let record = |id: u32, active: bool| json!({"type": "RECORD", "stream": "staff", "record": {"id": id, "name": {"first": "Ada", "last": format!("L{id}")}, "active": active}});
    let batch = dir.path().join("batch.jsonl");
    fs::write(&batch, format!("{}\n{}\n", record(3, true)["record"], record(4, false)["record"])).unwrap();
    let messages = [
        json!({"type": "SCHEMA", "stream": "staff", "schema": schema, "key_properties": ["id"]}),
        record(1, true),
        record(2, false),
        json!({"type": "BATCH", "stream": "staff", "encoding": {"format": "jsonl", "compression": "none"}, "manifest": [format!("file://{}", batch.display())]}),
        json!({"type": "SCHEMA", "stream": "noise", "schema": {"type": "object", "properties": {"x": {}}}, "key_properties": []}),
        json!({"type": "RECORD", "stream": "noise", "record": {"x": 1}}),
        json!({"type": "STATE", "value": {"bookmarks": {"staff": 1}}}),
    ];
    let config = json!({
        "server_url": format!("ldif:{}", file.display()),
        "stream_maps": {"staff": {"__alias__": "users", "__filter__": "active", "uid": "'u' + str(id)", "active": null}, "noise": "__NULL__"},
        "flattening_enabled": true, "flattening_max_depth": 1,
        "mapping_rules": {"users": {"dn_template": "uid={uid},dc=test", "object_classes": ["inetOrgPerson"],
            "attribute_mapping": {"uid": "uid", "name__first": "givenName", "name__last": "sn"}, "values": {"cn": "{givenName} {sn}"}}},
    });
    let run = Run::target(&config).messages(&messages).run().succeeds();
    assert_eq!(run.lines(), [json!({"bookmarks": {"staff": 1}})]);
    let text = fs::read_to_string(&file).unwrap();
    let names: Vec<&str> = text.lines().filter(|l| l.starts_with("dn: uid")).collect();
    assert_eq!(names, ["dn: uid=u1,dc=test", "dn: uid=u3,dc=test"], "{text}");
    assert!(text.contains("cn: Ada L3"), "{text}");
    // A value that an expression does not fit ends the run, with what came before it.
    let bad = with(
        &config,
        &json!({"stream_maps": {"staff": {"__alias__": "users", "uid": "'u' + str(id)", "sn": "active.lower()"}}}),
    );
    Run::target(&bad)
        .messages(&messages)
        .run()
        .exits(1)
        .reports_setting("stream_maps.staff.sn")
        .says("at character 8");
    let bad = with(&config, &json!({"stream_maps": {"staff": {"uid": "lowr(id)"}}}));
    Run::target(&bad).messages(&messages).run().exits(2).reports_setting("stream_maps.staff.uid");
    let bad = with(&config, &json!({"stream_maps": {"staff": {"uid": "idd"}}}));
    Run::target(&bad).messages(&messages).run().exits(2).reports_setting("stream_maps.staff.uid");
}

#[test]
fn a_mistake_in_a_map_is_found_before_the_first_message() {
    let (_dir, config) = tap();
    for (maps, setting) in [
        (json!({"users": {"mail": "mail.lowr()"}}), "stream_maps.users.mail"),
        (json!({"users": {"mail": "fake.email()"}}), "stream_maps.users.mail"),
        (json!({"users": {"mail": "mial"}}), "stream_maps.users.mail"),
        (json!({"users": {"dn": null}}), "stream_maps.users.dn"),
    ] {
        let run = Run::tap(&with(&config, &json!({"stream_maps": maps}))).run().exits(2);
        let run = run.reports_setting(setting);
        assert!(run.stdout.is_empty(), "{}", run.stdout_text());
    }
    // What only a record can tell ends the stream.
    let maps = json!({"users": {"mail": "mail.lower()"}});
    let run =
        Run::tap(&with(&config, &json!({"stream_maps": maps}))).run().exits(1).says("stream_maps.users.mail");
    assert!(!run.stderr.contains("Ada"), "{}", run.stderr);
}

/// What the SDK's evaluator makes of expressions is what the test of ours (`maps/tests.rs`) goes by.
#[test]
fn expressions_that_the_sdk_takes_are_taken_or_refused_by_name() {
    let outcomes =
        Command::new(sdk().join("bin/python")).arg(root().join("tests/sdk/expressions.py")).output().unwrap();
    assert!(outcomes.status.success(), "{}", said(&outcomes));
    let text = String::from_utf8(outcomes.stdout).unwrap();
    assert_golden_text("sdk-expressions.jsonl", &text);
    let (_dir, config) = tap();
    let mut table = "| not supported | because |\n|---|---|\n".to_owned();
    for line in text.lines().skip(1) {
        let case: Value = serde_json::from_str(line).unwrap();
        let Some(part) = case["not_taken"].as_str() else { continue };
        let expression = case["expression"].as_str().unwrap();
        let maps = json!({"stream_maps": {"users": {"mail": expression}}});
        let run = Run::tap(&with(&config, &maps))
            .run()
            .exits(2)
            .reports_setting("stream_maps.users.mail")
            .says(part);
        assert!(run.stdout.is_empty(), "{expression}: {}", run.stdout_text());
        let (_, error) = run.stderr.split_once("at character ").unwrap();
        let (_, reason) = error.lines().next().unwrap().split_once(": ").unwrap();
        let reason = reason.split_once("; expected").map_or(reason, |(reason, _)| reason);
        let reason = reason.split_once("; there are").map_or(reason, |(reason, _)| reason);
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(table, "| `{}` | {} |", cell(expression), cell(reason));
    }
    assert_text_in("docs/reference/stream-maps.md", "not supported", &table);
}

fn decompressed(path: &Path) -> Vec<Value> {
    let mut text = String::new();
    GzDecoder::new(fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn batches_hold_what_records_would() {
    let (dir, config) = tap();
    let folder = dir.path().join("batches");
    let maps =
        json!({"stream_maps": {"users": {"__alias__": "people", "mail": "mail.lower() if mail else None"}}});
    let config = with(&config, &maps);
    let plain = Run::tap(&config).run().succeeds();
    let batches = json!({"batch_config": {"encoding": {"format": "jsonl", "compression": "gzip"},
        "storage": {"root": format!("file://{}", folder.display()), "prefix": "nightly-"}, "batch_size": 2}});
    let in_files = Run::tap(&with(&config, &batches)).run().succeeds();
    assert!(in_files.records(None).is_empty());
    assert_eq!(in_files.of_type("SCHEMA"), plain.of_type("SCHEMA"));
    assert_eq!(in_files.of_type("ACTIVATE_VERSION").len(), plain.of_type("ACTIVATE_VERSION").len());
    let mut found = std::collections::BTreeMap::new();
    let mut files = 0;
    for message in in_files.of_type("BATCH") {
        for url in message["manifest"].as_array().unwrap() {
            let path = PathBuf::from(url.as_str().unwrap().strip_prefix("file://").unwrap());
            assert!(path.file_name().unwrap().to_str().unwrap().starts_with("nightly-tap-ldap--"));
            let records = decompressed(&path);
            assert!((1..=2).contains(&records.len()), "{records:?}");
            found
                .entry(message["stream"].as_str().unwrap().to_owned())
                .or_insert_with(Vec::new)
                .extend(records);
            files += 1;
        }
    }
    assert_eq!(found, by_stream(&plain));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), files, "nothing half written is left");
    // A BATCH comes before the STATE and the ACTIVATE_VERSION that cover it.
    let of_people: Vec<&str> = in_files
        .messages
        .iter()
        .filter(|m| {
            m["type"] == "STATE" && m["value"]["currently_syncing"].is_null() || m["stream"] == "people"
        })
        .map(|m| m["type"].as_str().unwrap())
        .collect();
    assert_eq!(of_people, ["SCHEMA", "BATCH", "BATCH", "ACTIVATE_VERSION", "STATE"]);

    // Our target reads them, and the SDK's.
    let (with_records, with_batches) = (dir.path().join("records.ldif"), dir.path().join("batches.ldif"));
    for (messages, file) in [(&plain, &with_records), (&in_files, &with_batches)] {
        let config = json!({"server_url": format!("ldif:{}", file.display())});
        Run::target(&config).stdin(&messages.stdout).run().succeeds();
    }
    assert_eq!(fs::read_to_string(with_batches).unwrap(), fs::read_to_string(with_records).unwrap());
    let csv = dir.path().join("csv");
    fs::create_dir(&csv).unwrap();
    fs::write(dir.path().join("csv.json"), json!({"output_path": csv}).to_string()).unwrap();
    fs::write(dir.path().join("messages"), &in_files.stdout).unwrap();
    let target = Command::new(sdk().join("bin/target-csv"))
        .arg("--config")
        .arg(dir.path().join("csv.json"))
        .stdin(Stdio::from(fs::File::open(dir.path().join("messages")).unwrap()))
        .output()
        .unwrap();
    assert!(target.status.success(), "{}", said(&target));
    let rows = fs::read_to_string(csv.join("people.csv")).unwrap();
    assert_eq!(rows.lines().count(), 4, "{rows}");
    assert!(rows.contains("ada@example.com"), "{rows}");
}

#[test]
fn batches_without_compression_and_mistakes_in_their_configuration() {
    let (dir, config) = tap();
    let root = dir.path().join("b");
    let plain = json!({"batch_config": {"encoding": {"format": "jsonl", "compression": "none"}, "storage": {"root": root}}});
    let run = Run::tap(&with(&config, &plain)).run().succeeds();
    let batch = run.of_type("BATCH").into_iter().find(|m| m["stream"] == "users").unwrap();
    let path = batch["manifest"][0].as_str().unwrap().strip_prefix("file://").unwrap();
    let text = fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    for (batch, text) in [
        (
            json!({"storage": {"root": root}, "encoding": {"format": "parquet"}}),
            "batch_config.encoding.format",
        ),
        (
            json!({"storage": {"root": root}, "encoding": {"compression": "zstd"}}),
            "batch_config.encoding.compression",
        ),
        (json!({}), "batch_config.storage.root"),
        (json!({"storage": {"root": "s3://bucket"}}), "batch_config.storage.root"),
        (json!({"storage": {"root": root}, "batch_size": 0}), "batch_config.batch_size"),
    ] {
        Run::tap(&with(&config, &json!({"batch_config": batch}))).run().exits(2).reports_setting(text);
    }
}

#[test]
fn about_has_the_shape_of_the_sdks() {
    let theirs = |format: &str| {
        // Text is what it prints without being asked for a format.
        let format = (format != "--format=text").then_some(format);
        let about = Command::new(sdk().join("bin/target-csv")).arg("--about").args(format).output().unwrap();
        assert!(about.status.success(), "{}", said(&about));
        String::from_utf8(about.stdout).unwrap()
    };
    let json: Value = serde_json::from_str(&theirs("--format=json")).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for program in [Program::Tap, Program::Target] {
        let ours = about(program);
        assert_eq!(keys(&ours), keys(&json));
        assert_eq!(ours["settings"]["$schema"], json["settings"]["$schema"]);
        // The same settings of the SDK have the same types.
        for name in [
            "stream_maps",
            "stream_map_config",
            "flattening_enabled",
            "flattening_max_depth",
            "flattening_separator",
        ] {
            let of = |about: &Value| types(&about["settings"]["properties"][name]);
            assert_eq!(of(&ours), of(&json), "{name}");
        }
        assert_eq!(ours["settings"]["properties"]["bind_password"]["secret"], true);
        for (format, lines) in [
            (
                "--format=text",
                [
                    "Name: ",
                    "Description: ",
                    "Version: ",
                    "Capabilities:",
                    "  - about",
                    "Settings:",
                    "  - Name: ",
                ]
                .as_slice(),
            ),
            ("--format=markdown", &["# `", "## Capabilities", "- `about`", "## Settings", "| "]),
        ] {
            let ours = Run::bare(program).arg("--about").arg(format).run().succeeds().stdout_text();
            for begin in lines {
                for text in [&ours, &theirs(format)] {
                    assert!(text.lines().any(|line| line.starts_with(begin)), "{begin:?} in {text}");
                }
            }
        }
    }
}

#[test]
fn a_batch_comes_before_the_state_that_covers_it() {
    let dir = scratch();
    let file = dir.path().join("directory.ldif");
    let stamped = DIRECTORY.replace(
        "objectClass: inetOrgPerson\n",
        "objectClass: inetOrgPerson\nmodifyTimestamp: 20260101000000Z\n",
    );
    fs::write(&file, stamped).unwrap();
    // No ACTIVATE_VERSION, which files are closed for, too.
    let config = json!({
        "server_url": format!("ldif:{}", file.display()),
        "schemas": [{"name": "users", "base_dn": "ou=users,dc=example,dc=com", "filter": "(objectClass=person)",
            "replication_method": "INCREMENTAL", "replication_key": "modifyTimestamp"}],
        "batch_config": {"storage": {"root": dir.path().join("batches")}},
    });
    let run = Run::tap(&config).run().succeeds();
    let kinds: Vec<&str> = run.messages.iter().map(|m| m["type"].as_str().unwrap()).collect();
    let batch = kinds.iter().position(|kind| *kind == "BATCH").unwrap_or_else(|| panic!("{kinds:?}"));
    let first = run
        .messages
        .iter()
        .position(|m| m["value"]["bookmarks"]["users"]["replication_key_value"].is_string());
    assert!(first.is_some_and(|first| batch < first), "{kinds:?}");
}
