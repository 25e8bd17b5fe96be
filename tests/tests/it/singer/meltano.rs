//! Meltano with the tap's catalog, state and configuration.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ldap_tests::meltano::{Project, plugin, with_extras};
use ldap_tests::run::{Program, Run};
use ldap_tests::samba::Samba;
use ldap_tests::server::{fixture, scratch};
use serde_json::{Value, json};

use crate::support::{tap_config, unit, with};

/// Meltano reads a catalog line by line, and a line may have this many octets.
const LONGEST_LINE: usize = 64 << 10;

/// `meltano select tap-ldap --list --all` lists every property of every stream, each with what its metadata says.
#[track_caller]
fn lists_everything(config: &Value) -> BTreeSet<String> {
    let discovered = Run::tap(config).arg("--discover").run().succeeds();
    assert!(discovered.stdout.len() > LONGEST_LINE, "{}", discovered.stdout.len());
    let longest = discovered.stdout.split(|b| *b == b'\n').map(<[u8]>::len).max().unwrap();
    assert!(longest < LONGEST_LINE, "a line of {longest}");
    let mut expected = BTreeSet::new();
    let catalog = discovered.json();
    for stream in catalog["streams"].as_array().unwrap() {
        let id = stream["tap_stream_id"].as_str().unwrap();
        for entry in stream["metadata"].as_array().unwrap() {
            let Some(name) = entry["breadcrumb"].get(1).and_then(Value::as_str) else { continue };
            // Secrets that nobody named are selected by no pattern.
            let word = match entry["metadata"]["inclusion"].as_str().unwrap() {
                "available" => "selected",
                other => other,
            };
            expected.insert(format!("{word} {id}.{name}"));
        }
        let properties = stream["schema"]["properties"].as_object().unwrap().len();
        assert_eq!(stream["metadata"].as_array().unwrap().len(), properties + 1, "{id}");
    }
    let project = Project::new(config);
    let text = project.meltano(&["select", "tap-ldap", "--list", "--all"]);
    let listed: BTreeSet<String> = text
        .lines()
        .filter_map(|l| {
            let (word, name) = l.trim().strip_prefix('[')?.split_once(']')?;
            Some(format!("{} {}", word.trim(), name.trim()))
        })
        .collect();
    let missing: Vec<&String> = expected.difference(&listed).collect();
    let more: Vec<&String> = listed.difference(&expected).collect();
    assert!(missing.is_empty() && more.is_empty(), "missing {missing:?}, more {more:?}, of\n{text}");
    listed
}

#[test]
fn select_lists_every_attribute_hyphens_and_options_included() {
    let mut ldif = "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n".to_owned();
    for i in 0..15 {
        ldif.push_str(&unit(&format!("ou=unit {i}.x,dc=example,dc=test")));
        write!(
            ldif,
            "dn: uid=ada,ou=unit {i}.x,dc=example,dc=test\nobjectClass: inetOrgPerson\nuid: ada\ncn: Ada\nsn: Lovelace\n\
             cn;lang-de: Ada\ndescription;lang-de;x-two-words: Text\nms-DS-ConsistencyGuid:: AAEC\n\
             userCertificate;binary:: AAEC\n2.5.4.12: a title by its number\n\n"
        )
        .unwrap();
    }
    let dir = scratch();
    let file = dir.path().join("directory.ldif");
    std::fs::write(&file, ldif).unwrap();
    let listed = lists_everything(&json!({"server_url": format!("ldif:{}", file.display())}));
    for name in [
        "cn;lang-de",
        "description;lang-de;x-two-words",
        "ms-DS-ConsistencyGuid",
        "userCertificate;binary",
        "title",
    ] {
        let line = format!("selected ou=unit 7.x,dc=example,dc=test.{name}");
        assert!(listed.iter().any(|l| l.eq_ignore_ascii_case(&line)), "{line} among {listed:?}");
    }
    assert!(listed.contains("automatic ou=unit 7.x,dc=example,dc=test.dn"));
}

#[test]
fn select_lists_every_attribute_of_active_directory() {
    let server = Samba::start(&std::fs::read_to_string(fixture("active-directory.ldif")).unwrap());
    let config = with(&tap_config(&server), &json!({"base_dn": "OU=Staff,DC=ad,DC=example,DC=test"}));
    let listed = lists_everything(&config);
    assert!(listed.iter().any(|l| l.ends_with(".mS-DS-ConsistencyGuid")), "{listed:?}");
}

/// Two containers with an entry that changes between two runs of a test.
const PEOPLE: &str = "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\n\n\
    dn: ou=people,dc=example,dc=test\nobjectClass: organizationalUnit\nou: people\n\n\
    dn: uid=ada,ou=people,dc=example,dc=test\nobjectClass: inetOrgPerson\nuid: ada\ncn: Ada\nsn: Lovelace\nmail: ada@example.test\n\
    entryUUID: 00000000-0000-4000-8000-000000000001\nmodifyTimestamp: 20260101000000Z\n\n";

const GRACE: &str = "dn: uid=grace,ou=people,dc=example,dc=test\nobjectClass: inetOrgPerson\nuid: grace\ncn: Grace\nsn: Hopper\n\
    entryUUID: 00000000-0000-4000-8000-000000000002\nmodifyTimestamp: 20260301000000Z\n\n";

/// A project with both, from an LDIF file into another, with these extras of the extractor.
fn both(extras: &Value, target: &Value) -> Project {
    let streams = json!([{"name": "people", "base_dn": "ou=people,dc=example,dc=test", "filter": "(objectClass=person)"}]);
    let tap = plugin(
        Program::Tap,
        &json!({"server_url": "ldif:source.ldif", "schemas": streams, "single_valued": ["uid", "cn", "sn", "mail"]}),
    );
    let target = plugin(Program::Target, &with(&json!({"server_url": "ldif:copy.ldif"}), target));
    let project = Project::of(&json!({"extractors": [with_extras(&tap, extras)], "loaders": [target]}));
    project.write("source.ldif", PEOPLE);
    project
}

#[test]
fn both_configurations_pass_meltanos_own_test() {
    let rule = json!({"dn_template": "cn={name},dc=test", "object_classes": ["device"], "attribute_mapping": {"name": "cn"}});
    let project = both(&json!({}), &json!({"mapping_rules": {"*": rule}}));
    let said = project.says(&["config", "test", "tap-ldap"]);
    assert!(said.contains("Plugin configuration is valid"), "{said}");
    // Meltano 4.4 then wants to end a process that has ended, and stumbles over it (Python 3.11): that says nothing of the
    // loader.
    let test = || said_by(&mut project.command(&["config", "test", "target-ldap"]));
    let said = test();
    assert!(said.contains("Test data was written to your target system"), "{said}");
    assert!(project.read("copy.ldif").contains("objectClass: device"));
    project.write("copy.ldif", "nonsense\n");
    assert!(!test().contains("Test data was written"));
    project.write("source.ldif", "nonsense\n");
    let failed = project.command(&["config", "test", "tap-ldap"]).output().unwrap();
    assert!(!failed.status.success());
}

fn said_by(command: &mut std::process::Command) -> String {
    ldap_tests::meltano::said(&command.output().unwrap())
}

#[test]
fn state_is_kept_by_meltano_and_full_refresh_forgets_it() {
    let metadata =
        json!({"people": {"replication-method": "INCREMENTAL", "replication-key": "modifyTimestamp"}});
    let project = both(&json!({"metadata": metadata}), &json!({}));
    let run = |args: &[&str]| project.says(&[&["run"], args, &["tap-ldap", "target-ldap"]].concat());
    assert!(run(&[]).contains("people: 1 added"));
    let state: Value =
        serde_json::from_str(&project.meltano(&["state", "get", "dev:tap-ldap-to-target-ldap"])).unwrap();
    assert_eq!(
        state["singer_state"]["bookmarks"]["people"]["replication_key_value"], "2026-01-01T00:00:00Z",
        "{state}"
    );
    // Only what is new comes.
    project.write("source.ldif", &format!("{PEOPLE}{GRACE}"));
    let second = run(&[]);
    assert!(second.contains("people: 1 added, 0 modified, 0 renamed, 0 deleted, 0 unchanged"), "{second}");
    let third = run(&["--full-refresh"]);
    assert!(third.contains("people: 0 added, 0 modified, 0 renamed, 0 deleted, 2 unchanged"), "{third}");
}

#[test]
fn selection_and_the_extras_schema_and_metadata_count() {
    let extras = json!({
        "select": ["people.*", "!people.mail"],
        "metadata": {"people": {"replication-method": "FULL_TABLE"}, "people.sn": {"selected": false}},
        "schema": {"people": {"cn": {"type": ["null", "string"], "description": "Said by the project"}}},
    });
    let project = both(&extras, &json!({}));
    let messages = project.meltano(&["invoke", "tap-ldap"]);
    let of = |kind: &str| -> Vec<Value> {
        messages
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap())
            .filter(|m| m["type"] == kind)
            .collect()
    };
    let (schemas, records) = (of("SCHEMA"), of("RECORD"));
    let properties = schemas[0]["schema"]["properties"].as_object().unwrap();
    assert_eq!(properties["cn"]["description"], "Said by the project", "{properties:?}");
    for name in ["mail", "sn"] {
        assert!(!properties.contains_key(name) && records[0]["record"].get(name).is_none(), "{name}");
    }
    assert_eq!(records[0]["record"]["uid"], "ada");
}

/// What Meltano hands over, and a file of variables beside it, by hand.
#[test]
fn variables_come_from_the_environment_and_from_a_file() {
    let dir = scratch();
    std::fs::write(dir.path().join("source.ldif"), PEOPLE).unwrap();
    let env = "TAP_LDAP_SERVER_URL='ldif:source.ldif'\nTAP_LDAP_SINGLE_VALUED=[\"uid\"]\nTARGET_LDAP_SERVER_URL=ldif:no\n";
    std::fs::write(dir.path().join(".env"), env).unwrap();
    let run = |args: &[&str], more: &[(&str, &str)]| {
        let run = Run::bare(Program::Tap);
        let mut command = run.command();
        command.args(args).current_dir(dir.path()).envs(more.iter().copied());
        let output = command.output().unwrap();
        (output.status.code(), ldap_tests::meltano::said(&output))
    };
    let (code, said) = run(&["--config", "ENV"], &[]);
    assert!(code == Some(0) && said.contains("\"uid\":\"ada\""), "{said}");
    // The environment itself is stronger; without `ENV` the file is nobody's business.
    let (code, said) = run(&["--config", "ENV"], &[("TAP_LDAP_SERVER_URL", "ldif:elsewhere.ldif")]);
    assert!(code != Some(0) && said.contains("elsewhere.ldif"), "{said}");
    let (code, said) = run(&[], &[]);
    assert!(code == Some(2) && said.contains("server_url"), "{said}");
}

/// A project with the short definitions, added as the documentation says, and the executables built here.
fn short() -> Project {
    let project = Project::of(&json!({}));
    // As people have it, so that lines can be counted.
    project.write("meltano.yml", "default_environment: dev\nenvironments:\n- name: dev\n");
    for (kind, program) in [("extractors", Program::Tap), ("loaders", Program::Target)] {
        let name = program.name();
        let definition = ldap_tests::meltano::root().join("meltano").join(kind).join(name).join("short.yml");
        // There is nothing to install: the executable is on the PATH.
        project.meltano(&["add", "--from-ref", definition.to_str().unwrap(), name]);
    }
    let mut text = project.read("meltano.yml");
    for program in [Program::Tap, Program::Target] {
        let old = format!("executable: {}", program.name());
        assert_eq!(text.matches(&old).count(), 1, "{text}");
        text = text.replace(&old, &format!("executable: {}", program.path().display()));
    }
    project.write("meltano.yml", &text);
    project.write("source.ldif", PEOPLE);
    project.meltano(&["config", "set", "tap-ldap", "server_url", "ldif:source.ldif"]);
    project.meltano(&["config", "set", "target-ldap", "server_url", "ldif:copy.ldif"]);
    project
}

#[test]
fn the_short_definitions_are_short_and_run() {
    let project = short();
    let text = project.read("meltano.yml");
    assert!(text.lines().count() < 150, "{} lines:\n{text}", text.lines().count());
    let rewrite = r#"[{"from": "dc=example,dc=test", "to": "dc=copy,dc=test"}]"#;
    project.meltano(&["config", "set", "target-ldap", "dn_rewrite", rewrite]);
    project.meltano(&["run", "tap-ldap", "target-ldap"]);
    assert!(project.read("copy.ldif").contains("dn: uid=ada,ou=people,dc=copy,dc=test"));
    // A setting that the definition does not have reaches the plugin all the same.
    // Meltano does not know its type, and makes a text of it.
    project.meltano(&["config", "set", "tap-ldap", "state_interval_records", "7"]);
    project.meltano(&["config", "set", "tap-ldap", "ignore_modifiers", r#"["cn=loader"]"#]);
    assert!(project.read("meltano.yml").contains("state_interval_records: '7'"));
    project.meltano(&["invoke", "tap-ldap", "--discover"]);
    project.meltano(&["config", "set", "tap-ldap", "state_interval_records", "none"]);
    let failed = project.command(&["invoke", "tap-ldap", "--test"]).output().unwrap();
    let said = ldap_tests::meltano::said(&failed);
    assert!(!failed.status.success() && said.contains("state_interval_records"), "{said}");
}

#[test]
fn meltano_invokes_the_subcommands() {
    let project = short();
    let is_healthy = |args: &[&str]| {
        let text = project.meltano(args);
        assert!(text.contains(" doctor: ") && text.contains("ok "), "{args:?}: {text}");
    };
    is_healthy(&["invoke", "tap-ldap", "doctor"]);
    project.meltano(&["run", "tap-ldap", "target-ldap"]);
    // From now on Meltano adds a catalog to every call, and a state.
    assert!(project.read(".meltano/run/tap-ldap/tap.properties.json").contains("streams"));
    for plugin in ["tap-ldap", "target-ldap"] {
        is_healthy(&["invoke", plugin, "doctor"]);
        is_healthy(&["invoke", &format!("{plugin}:doctor")]);
        assert!(project.meltano(&["invoke", "--list-commands", plugin]).contains("doctor"));
    }
    let messages = project.meltano(&["invoke", "tap-ldap"]);
    project.write("messages.singer", &messages.replace("ada@example.test", "countess@example.test"));
    let before = project.read("copy.ldif");
    let plan = project.meltano(&["invoke", "target-ldap:dry-run", "--input", "messages.singer"]);
    assert!(plan.contains("countess@example.test"), "{plan}");
    assert_eq!(project.read("copy.ldif"), before);
    project.meltano(&["config", "set", "target-ldap", "undo_file", "undo.ldif"]);
    project.meltano(&["invoke", "target-ldap", "--input", "messages.singer"]);
    assert!(project.read("copy.ldif").contains("countess@example.test"));
    project.meltano(&["invoke", "target-ldap:undo", "undo.ldif"]);
    assert!(!project.read("copy.ldif").contains("countess@example.test"));
}
