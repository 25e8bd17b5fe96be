//! What Meltano makes of the catalog.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ldap_tests::meltano::Project;
use ldap_tests::run::Run;
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
            let word = if entry["metadata"]["inclusion"] == "automatic" { "automatic" } else { "selected" };
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
