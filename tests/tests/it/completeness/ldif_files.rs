//! LDIF files that lack parents, classes or a context.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use ldap_tests::ldif::normalize_dn;
use ldap_tests::run::Run;
use ldap_tests::slapd::scratch;
use serde_json::json;

use super::{assert_each_once, field, file, json_log, person, streams, thing};
use crate::support::{unit, with};

#[test]
fn a_file_need_not_hold_the_parents_of_its_entries() {
    let dir = scratch();
    let dns = ["uid=a,ou=p,dc=x", "cn=b,ou=p,dc=x", "cn=c,ou=p,dc=x"];
    let config = file(dir.path(), &dns.map(person).concat());
    let output = json_log(&config).run().succeeds();
    assert_each_once(&output, dns);
    assert_eq!(field(&output, "books_held"), 3);
    assert_eq!(field(&output, "books_emitted"), 3);
    assert_eq!(field(&output, "books_differ"), 0);
    // Bases that are no entries can be named, too.
    for base in ["ou=p,dc=x", "dc=x", ""] {
        assert_each_once(&Run::tap(&with(&config, &json!({"base_dn": base}))).run().succeeds(), dns);
    }
    let by_class = with(&config, &json!({"discover_by": "object_class"}));
    assert_each_once(&Run::tap(&by_class).run().succeeds(), dns);
    let schemas = with(&config, &json!({"schemas": [{"name": "all"}]}));
    assert_each_once(&Run::tap(&schemas).run().succeeds(), dns);
    Run::tap(&with(&config, &json!({"base_dn": "ou=other,dc=x"}))).run().exits(2).reports_setting("base_dn");
}

/// Nobody is bound to a file, and it has no rights.
#[test]
fn a_file_that_lacks_something_does_not_speak_of_rights() {
    let dir = scratch();
    let with_id = |n: u8| format!("entryUUID: 00000000-0000-0000-0000-0000000000{n:02x}\n\n");
    let domain = "dn: dc=x\nobjectClass: domain\ndc: x\n".to_owned();
    let first = person("cn=a,dc=x").trim_end().to_owned() + "\n";
    let some = domain.clone() + &with_id(1) + &first + &with_id(2) + &person("cn=b,dc=x");
    let key = json!({"schemas": [{"name": "all", "key_properties": ["entryUUID"]}]});
    let log = json!({"schemas": [{"name": "all", "replication_method": "LOG_BASED"}]});
    let incremental = json!({"schemas": [{"name": "all", "replication_method": "INCREMENTAL"}]});
    let by_time = json!({"schemas": [{"name": "all", "replication_method": "INCREMENTAL", "replication_key": "modifyTimestamp"}]});
    let stamped = some.replace("sn: s\nentryUUID", "sn: s\nmodifyTimestamp: 20240101000000Z\nentryUUID");
    for (text, more, code) in [
        (&some, json!({"base_dn": "dc=other"}), 2),
        (&some, json!({"schemas": [{"name": "all", "base_dn": "dc=other"}]}), 2),
        (&some, key, 1),
        (&some, json!({}), 0),
        (&some, log, 2),
        (&some, incremental, 2),
        (&stamped, by_time, 2),
    ] {
        let output = Run::tap(&with(&file(dir.path(), text), &more)).run().exits(code);
        for word in ["bound user", "the right to", "the server"] {
            assert!(!output.stderr.contains(word), "{more}: {word}: {}", output.stderr);
        }
        let doctor = Run::tap(&with(&file(dir.path(), text), &more)).arg("doctor").run();
        assert!(!doctor.stdout_text().contains("bound user"), "{}", doctor.stdout_text());
    }
}

#[test]
fn an_attribute_that_a_file_spells_in_several_ways_has_the_first_of_them() {
    let dir = scratch();
    let text = "dn: dc=x\nobjectClass: domain\ndc: x\n\n".to_owned()
        + person("cn=a,dc=x").trim_end()
        + "\nacmePlain: x\nacmeBin:: /w==\n\n"
        + person("cn=b,dc=x").trim_end()
        + "\nACMEPLAIN: y\nACMEBIN:: /w==\n\n";
    for attributes in [
        json!(["ACMEPLAIN", "ACMEBIN"]),
        json!(["acmeplain", "acmebin"]),
        json!(["acmeplain", "CN", "ACMEBIN"]),
        json!([]),
    ] {
        let schema = json!({"schemas": [{"name": "all", "filter": "(objectClass=inetOrgPerson)", "attributes": attributes}]});
        let output = Run::tap(&with(&file(dir.path(), &text), &schema)).run().succeeds();
        for record in output.records(None) {
            let names = record.as_object().unwrap().keys().map(String::as_str);
            let names: BTreeSet<&str> = names.filter(|n| n.to_lowercase().starts_with("acme")).collect();
            assert_eq!(names, BTreeSet::from(["acmeBin", "acmePlain"]), "{attributes}");
        }
    }
}

/// RFC 4512 section 2.5: an attribute description is a set of options.
#[test]
fn options_in_another_order_are_one_property() {
    let dir = scratch();
    let text = "dn: dc=x\nobjectClass: domain\ndc: x\n\n".to_owned()
        + person("cn=a,dc=x").trim_end()
        + "\ncn;lang-de;x-a: eins\n\n"
        + person("cn=b,dc=x").trim_end()
        + "\nCN;X-A;Lang-DE: zwei\n\n";
    for more in [json!({}), json!({"schemas": [{"name": "all", "attributes": ["cn", "cn;x-a;lang-de"]}]})] {
        let output = Run::tap(&with(&file(dir.path(), &text), &more)).run().succeeds();
        let people = output.records(Some("x")).into_iter().chain(output.records(Some("all")));
        let people = people.filter(|r| r["dn"] != "dc=x");
        let found: BTreeSet<(String, String)> = people
            .flat_map(|r| r.as_object().unwrap().iter())
            .filter(|(name, _)| name.contains(';'))
            .map(|(name, value)| (name.to_lowercase(), value.to_string().trim_matches(['[', ']']).to_owned()))
            .collect();
        let values: BTreeSet<&str> = found.iter().map(|(_, value)| value.as_str()).collect();
        let names: BTreeSet<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((names.len(), values), (1, BTreeSet::from(["\"eins\"", "\"zwei\""])), "{found:?}");
    }
}

#[test]
fn a_time_that_rfc_3339_lacks_is_null_and_not_said_to_be_wrong() {
    let dir = scratch();
    let text = "dn: dc=x\nobjectClass: domain\ndc: x\n\n".to_owned()
        + person("cn=a,dc=x").trim_end()
        + "\ncreateTimestamp: 000001010000Z\nmodifyTimestamp: 20240101123060Z\n\n"
        + person("cn=b,dc=x").trim_end()
        + "\ncreateTimestamp: 20240101000000Z\nmodifyTimestamp: 20161231235960Z\n\n";
    let schema = json!({"schemas": [{"name": "all", "filter": "(sn=*)", "attributes": ["createTimestamp", "modifyTimestamp"]}]});
    let output = Run::tap(&with(&file(dir.path(), &text), &schema)).run().succeeds();
    let times =
        |n: usize| [&output.records(None)[n]["createTimestamp"], &output.records(None)[n]["modifyTimestamp"]];
    assert_eq!(times(0), [&json!(null), &json!(null)]);
    assert_eq!(times(1), [&json!("2024-01-01T00:00:00Z"), &json!("2016-12-31T23:59:60Z")]);
    assert!(!output.stderr.contains("does not follow its syntax"), "{}", output.stderr);
    assert_eq!(
        super::warnings(&output).iter().filter(|w| w["message"].to_string().contains("RFC 3339")).count(),
        4
    );
}

#[test]
fn several_contexts_of_a_file_are_all_read() {
    let dir = scratch();
    let text = "dn: dc=a\nobjectClass: domain\ndc: a\n\ndn: dc=b\nobjectClass: domain\ndc: b\n\n".to_owned()
        + &unit("ou=people,dc=a")
        + &person("uid=one,ou=people,dc=a")
        + &person("uid=two,dc=b")
        + &thing("cn=config")
        + &person("cn=three,cn=config");
    let config = file(dir.path(), &text);
    let dns = [
        "dc=a",
        "dc=b",
        "ou=people,dc=a",
        "uid=one,ou=people,dc=a",
        "uid=two,dc=b",
        "cn=config",
        "cn=three,cn=config",
    ];
    let output = Run::tap(&config).run().succeeds();
    assert_each_once(&output, dns);
    assert_eq!(streams(&output)["uid=two,dc=b"], ["b"]);
    assert_each_once(&Run::tap(&with(&config, &json!({"base_dn": ""}))).run().succeeds(), dns);
}

#[test]
fn an_address_book_is_one_stream() {
    let dir = scratch();
    let dns: Vec<String> = (0..30).map(|n| format!("cn=Person {n},mail=p{n}@example.org")).collect();
    let config = file(dir.path(), &dns.iter().map(|dn| person(dn)).collect::<String>());
    for config in [config.clone(), with(&config, &json!({"base_dn": ""}))] {
        let output = Run::tap(&config).run().succeeds();
        assert_each_once(&output, dns.iter().map(String::as_str));
        // The stream of containers has no record, and so no version.
        assert_eq!(output.of_type("ACTIVATE_VERSION").len(), 1, "{}", output.stderr);
        Run::tap(&config).arg("--test").run().succeeds();
    }
}

#[test]
fn an_entry_below_a_parent_that_a_file_lacks_belongs_to_the_nearest_container() {
    let dir = scratch();
    let text = "dn: dc=x\nobjectClass: domain\ndc: x\n\n".to_owned()
        + &unit("ou=p,dc=x")
        + &person("cn=a,cn=missing,dc=x")
        + &person("cn=b,cn=gone,cn=missing too,ou=p,dc=x")
        + &unit("ou=q,cn=missing,ou=p,dc=x")
        + &person("cn=c,cn=also missing,ou=q,cn=missing,ou=p,dc=x")
        + &thing("cn=there,dc=x")
        + &person("cn=d,cn=there,dc=x");
    let output = Run::tap(&file(dir.path(), &text)).run().succeeds();
    let found = streams(&output);
    assert_eq!(found.len(), 8);
    for (dn, stream) in [
        ("cn=a,cn=missing,dc=x", "x"),
        ("cn=b,cn=gone,cn=missing too,ou=p,dc=x", "p"),
        ("ou=q,cn=missing,ou=p,dc=x", "organizational_units"),
        ("cn=c,cn=also missing,ou=q,cn=missing,ou=p,dc=x", "q"),
        ("cn=there,dc=x", "x"),
        ("cn=d,cn=there,dc=x", "x"),
    ] {
        assert_eq!(found[&normalize_dn(dn)], [stream], "{dn}");
    }
}

#[test]
fn an_entry_without_classes_in_a_file_is_a_record() {
    let dir = scratch();
    let text = "dn: dc=x\nobjectClass: domain\ndc: x\n\ndn: uid=a,dc=x\nuid: a\nmail: a@x\n\ndn: uid=b,dc=x\nuid: b\n\n";
    let config = file(dir.path(), text);
    for more in [json!({}), json!({"discover_by": "object_class"}), json!({"schemas": [{"name": "all"}]})] {
        let output = Run::tap(&with(&config, &more)).run().succeeds();
        assert_each_once(&output, ["dc=x", "uid=a,dc=x", "uid=b,dc=x"]);
    }
}

#[test]
fn an_entry_of_two_structural_classes_is_in_one_stream() {
    let dir = scratch();
    let text = "dn: dc=x\nobjectClass: domain\ndc: x\n\n\
        dn: cn=a,dc=x\nobjectClass: person\nobjectClass: device\ncn: a\nsn: s\n\n\
        dn: cn=b,dc=x\nobjectClass: person\ncn: b\nsn: s\n\n\
        dn: cn=c,dc=x\nobjectClass: device\ncn: c\n\n\
        dn: cn=d,dc=x\nobjectClass: acmeThing\ncn: d\n\n";
    let config = with(&file(dir.path(), text), &json!({"discover_by": "object_class"}));
    let output = Run::tap(&config).run().succeeds();
    assert_each_once(&output, ["dc=x", "cn=a,dc=x", "cn=b,dc=x", "cn=c,dc=x", "cn=d,dc=x"]);
}

/// Numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % most
    }
}

/// A file with entries of any kind below others or below none, some of which it lacks; and their DNs.
fn any_file(random: &mut Random) -> (String, BTreeSet<String>) {
    const KINDS: [(&str, &str); 6] = [
        ("ou", "objectClass: organizationalUnit\n"),
        ("cn", "objectClass: container\n"),
        ("cn", "objectClass: device\n"),
        ("uid", "objectClass: inetOrgPerson\n"),
        ("dc", "objectClass: domain\n"),
        ("mail", ""),
    ];
    let mut dns: Vec<String> = Vec::new();
    let (mut text, mut there) = (String::new(), BTreeSet::new());
    for n in 0..=random.below(24) {
        let (name, class) = KINDS[random.below(KINDS.len())];
        let parent = dns.get(random.below(n + 2)).cloned();
        let dn = parent.map_or_else(|| format!("{name}=e{n}"), |parent| format!("{name}=e{n},{parent}"));
        if n == 0 || random.below(3) > 0 {
            writeln!(text, "dn: {dn}\n{class}{name}: e{n}\n").unwrap();
            there.insert(dn.clone());
        }
        dns.push(dn);
    }
    (text, there)
}

#[test]
fn each_entry_of_any_file_is_in_exactly_one_stream() {
    let mut random = Random(0x5eed_1234_5678);
    for _ in 0..60 {
        let (text, dns) = any_file(&mut random);
        let dir = scratch();
        for by in ["ou", "object_class"] {
            let config = with(&file(dir.path(), &text), &json!({"discover_by": by}));
            let output = json_log(&config).run().succeeds();
            assert_each_once(&output, dns.iter().map(String::as_str));
            assert_eq!(field(&output, "books_differ"), 0, "{text}");
        }
    }
}
