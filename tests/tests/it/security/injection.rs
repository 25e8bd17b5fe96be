//! Injection: values with a meaning in a DN, a filter, LDIF, a URL, a template or on a terminal are written exactly, and no
//! other entry is touched.

use std::collections::{BTreeMap, BTreeSet};

use ldap_tests::ldif::{Tree, assert_same, parse_file};
use ldap_tests::run::{Output, Run, pipe};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::rng::{Rng, seed};
use crate::support::{assert_untouched, no_panic, tap_config, target_config, unit, with, written};

const USERS: &str = "ou=users,dc=example,dc=test";

/// Each stands at the beginning and at the end of a value, with a number in between that tells them apart.
const NASTY: [&str; 54] = [
    "*",
    "*)(uid=*",
    ")(|(uid=*",
    "(&(objectClass=*))",
    "&",
    "|",
    "!",
    "\\2a",
    "\\",
    "\\\\",
    "a\\",
    ",",
    ",ou=people,dc=example,dc=test",
    "+cn=admin",
    "=",
    "\"",
    "\"a\"",
    "#",
    "#04024869",
    " ",
    "   ",
    ";",
    "<",
    ">",
    "<file:///etc/passwd",
    ": x",
    ":: eA==",
    "\n",
    "\r\ndn: uid=alice,ou=people,dc=example,dc=test\nchangetype: delete\n\n",
    "\n -",
    "-",
    "\u{1}",
    "\u{7f}",
    "\u{1b}[2J\u{1b}]0;x\u{7}",
    "\u{85}",
    "\u{2028}",
    "\u{e9}",
    "e\u{301}",
    "\u{df}",
    "\u{130}",
    "\u{202e}live",
    "\u{feff}",
    "%2c",
    "%00",
    "{uid}",
    "}}",
    "${HOME}",
    "'; DROP TABLE",
    "ldap://127.0.0.1/??sub?(objectClass=*)",
    "uid=alice,ou=people,dc=example,dc=test",
    "../../etc/passwd",
    "\t",
    "\u{65e5}\u{672c}",
    "\u{1f980}",
];

/// The corpus, and as many of random characters, of which most mean something somewhere.
fn values() -> Vec<String> {
    let rng = &mut Rng::new(seed(91));
    let characters: Vec<char> = "\\,+\"<>;=#*()&|!~:%{}$/?@- \n\r\t\u{1b}aZ0\u{e9}\u{301}".chars().collect();
    let random =
        (0..NASTY.len()).map(|_| (0..=rng.below(12)).map(|_| *rng.pick(&characters)).collect::<String>());
    let all = NASTY.iter().map(ToString::to_string).chain(random).enumerate();
    all.map(|(n, nasty)| format!("{nasty}{n}{nasty}")).collect()
}

fn slapd() -> Slapd {
    Slapd::start(SlapdOptions::with_users().seed(unit(USERS)))
}

fn rule(more: &Value) -> Value {
    let rule = json!({
        "dn_template": format!("uid={{id}},{USERS}"),
        "object_classes": ["inetOrgPerson"],
        "attribute_mapping": {"id": ["uid", "employeeNumber"], "name": ["cn", "sn"], "title": "title"},
        "values": {"description": "<{id}>"},
    });
    json!({"mapping_rules": {"users": with(&rule, more)}})
}

fn messages(values: &[String], more: impl Fn(usize) -> Value) -> Vec<Value> {
    let text = json!({"type": ["null", "string"]});
    let mut all = vec![
        json!({"type": "SCHEMA", "stream": "users", "key_properties": ["id"], "schema": {"type": "object", "properties": {
        "id": text, "name": text, "title": text, "new": text, "_sdc_deleted_at": text}}}),
    ];
    for (n, value) in values.iter().enumerate() {
        let record = with(&json!({"id": value, "name": "x"}), &more(n));
        all.push(json!({"type": "RECORD", "stream": "users", "record": record}));
    }
    all
}

fn run(config: &Value, messages: &[Value]) -> Output {
    let output = Run::target(config).arg("--log-level").arg("trace").text_log().messages(messages).run();
    no_panic(&output);
    calm(&output);
    output.succeeds()
}

/// Nothing on stderr moves a terminal's cursor, and no line of it is another's.
#[track_caller]
fn calm(output: &Output) {
    let control = output.stderr.chars().find(|c| c.is_control() && *c != '\n');
    assert_eq!(control, None, "{:?}", output.stderr);
    let forged = output.stderr.lines().find(|line| !line.starts_with("20"));
    assert_eq!(forged, None, "a line that is no log line");
}

/// What the entries below a place have, by their uid.
fn by_uid(tree: &Tree, attribute: &str) -> BTreeMap<String, String> {
    let text = |values: &BTreeSet<Vec<u8>>| {
        assert_eq!(values.len(), 1, "{values:?}");
        String::from_utf8(values.first().unwrap().clone()).unwrap()
    };
    tree.values().filter_map(|a| Some((text(a.get("uid")?), text(a.get(attribute)?)))).collect()
}

#[test]
fn a_record_writes_its_own_entry_and_no_other() {
    let slapd = slapd();
    let values = values();
    let config = with(&target_config(&slapd), &rule(&json!({})));
    let before = slapd.change_marks();
    run(&config, &messages(&values, |n| json!({"title": format!("t{n}")})));

    let tree = slapd.dump_below(USERS, &["*"]);
    assert_eq!(tree.len(), values.len() + 1);
    let expected: BTreeMap<String, String> = values.iter().map(|v| (v.clone(), format!("<{v}>"))).collect();
    assert_eq!(by_uid(&tree, "description"), expected);
    let after = slapd.change_marks();
    let new: BTreeSet<&String> = after.keys().filter(|dn| !before.contains_key(*dn)).collect();
    // The suffix entry's contextCSN is of the last write.
    let others: Vec<String> = written(&before, &after)
        .into_iter()
        .filter(|dn| !new.contains(dn) && dn != "dc=example,dc=test")
        .collect();
    assert!(others.is_empty(), "{others:?}");
    assert_eq!(new.len(), values.len());

    // They are found again by the same names.
    let before = slapd.change_marks();
    run(&config, &messages(&values, |n| json!({"title": format!("t{n}")})));
    assert_untouched(&slapd, &before);

    // And go by them, each alone.
    let (gone, stay) = values.split_at(values.len() / 2);
    run(&config, &messages(gone, |_| json!({"_sdc_deleted_at": "2026-01-01T00:00:00Z"})));
    let left = by_uid(&slapd.dump_below(USERS, &["*"]), "description");
    assert_eq!(left.into_keys().collect::<BTreeSet<_>>(), stay.iter().cloned().collect());
    assert_eq!(slapd.dump_below("ou=people,dc=example,dc=test", &["1.1"]).len(), 5);
}

#[test]
fn a_match_finds_the_value_and_nothing_else() {
    let slapd = slapd();
    let mut values = values();
    let base = target_config(&slapd);
    run(&with(&base, &rule(&json!({}))), &messages(&values, |_| json!({"title": "old"})));
    // Bare ones, which match nothing, however much they would as a filter.
    let known = values.len();
    values.extend(["*", "*)(uid=*", "\\2a"].map(str::to_owned));
    let by_match =
        rule(&json!({"match": "(employeeNumber={id})", "dn_template": format!("uid={{new}},{USERS}")}));
    run(
        &with(&base, &by_match),
        &messages(&values, |n| json!({"title": format!("t{n}"), "new": format!("renamed {n}")})),
    );
    let tree = slapd.dump_below(USERS, &["*"]);
    assert_eq!(tree.len(), values.len() + 1, "{known} were found, and three made");
    let mut titles = BTreeMap::new();
    for attributes in tree.values().filter(|a| a.contains_key("title")) {
        let one = |name: &str| String::from_utf8(attributes[name].first().unwrap().clone()).unwrap();
        titles.insert(one("employeenumber"), one("title"));
    }
    let expected = values.iter().enumerate().map(|(n, v)| (v.clone(), format!("t{n}"))).collect();
    assert_eq!(titles, expected);
}

#[test]
fn a_parent_that_a_record_names_is_one_level() {
    let slapd = slapd();
    let values = values();
    let below = json!({"dn_template": format!("uid=a,ou={{id}},{USERS}"), "attribute_mapping": {"name": ["cn", "sn"], "title": "title"}});
    run(
        &with(&target_config(&slapd), &rule(&below)),
        &messages(&values, |n| json!({"title": format!("t{n}")})),
    );
    let tree = slapd.dump_below(USERS, &["ou", "title"]);
    assert_eq!(tree.len(), 2 * values.len() + 1);
    let units: BTreeSet<Vec<u8>> = tree.values().filter_map(|a| a.get("ou")).flatten().cloned().collect();
    for value in &values {
        assert!(units.contains(value.as_bytes()), "{value:?}");
    }
}

#[test]
fn a_file_holds_the_values_and_no_other_records() {
    let slapd = slapd();
    let values = values();
    let title = |n: usize| json!({"title": format!("t{n}")});
    run(&with(&target_config(&slapd), &rule(&json!({}))), &messages(&values, title));
    let expected = slapd.dump_below(USERS, &["*"]);
    let dir = scratch();
    for format in ["content", "changes"] {
        let file = dir.path().join(format!("{format}.ldif"));
        let destination = json!({"server_url": format!("ldif:{}", file.display()), "ldif_format": format,
            // The other server has none.
            "create_parents": true});
        run(&with(&destination, &rule(&json!({}))), &messages(&values, title));
        // Into another server, and by another reader.
        let other =
            Slapd::start(SlapdOptions { base: ldap_tests::slapd::Base::Empty, ..SlapdOptions::default() });
        let text = std::fs::read_to_string(&file).unwrap();
        if format == "content" {
            assert_eq!(by_uid(&parse_file(&file), "description"), by_uid(&expected, "description"));
            other.ldapadd(text);
        } else {
            other.ldapmodify(text);
        }
        assert_same("written by LDAP", &expected, format, &other.dump_below(USERS, &["*"]));
    }
}

#[test]
fn what_a_directory_holds_is_read_and_mirrored_as_it_is() {
    let slapd = slapd();
    let values = values();
    run(
        &with(
            &target_config(&slapd),
            &rule(&json!({"dn_template": format!("uid={{id}},ou={{id}},{USERS}")})),
        ),
        &messages(&values, |n| json!({"title": format!("t{n}")})),
    );
    let all = slapd.dump();
    // Each unit is a stream, whose base and filter are made of its name; a mirror is the whole way there.
    let tap = Run::tap(&tap_config(&slapd)).arg("--log-level").arg("trace").text_log().run().succeeds();
    calm(&tap);
    let uids: BTreeSet<String> = tap
        .lines()
        .iter()
        .filter(|m| m["type"] == "RECORD" && m["record"]["title"].is_array())
        .map(|m| m["record"]["uid"][0].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(uids, values.iter().cloned().collect());
    let other =
        Slapd::start(SlapdOptions { base: ldap_tests::slapd::Base::Empty, ..SlapdOptions::default() });
    let (tap, target) = pipe(&tap_config(&slapd), &target_config(&other));
    calm(&tap.succeeds());
    calm(&target.succeeds());
    assert_same("there", &all, "mirrored", &other.dump());
}

#[test]
fn a_stream_that_is_called_anything_forges_no_line_of_the_log() {
    let slapd = slapd();
    for value in values() {
        let mut all = messages(&["a".to_owned()], |_| json!({}));
        for message in &mut all {
            message["stream"] = json!(value);
        }
        // A stream without a rule, and an answer of the server that repeats what it was sent.
        let output = Run::target(&target_config(&slapd))
            .arg("--log-level")
            .arg("trace")
            .text_log()
            .messages(&all)
            .run();
        assert_ne!(output.code, 0, "{value:?}");
        no_panic(&output);
        calm(&output);
    }
    assert_eq!(slapd.dump_below(USERS, &["1.1"]).len(), 1);
}
