//! Each entry is read once, by container and through the size limit.

use std::collections::{BTreeMap, BTreeSet};

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::{normalize_dn, parent};
use ldap_tests::run::{Output, Run};
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::json;

use super::{STAFF, SUFFIX, ds389, nested, records, samba, slapd, tree_ldif};
use crate::support::{assert_records_fit, discover, is_scalar, metadata, people, stream, tap_config, with};

/// A full read by container: every entry that ldapsearch sees once and no other, each in the stream of its nearest
/// container, each fitting its SCHEMA.
#[track_caller]
fn reads_everything_once(server: &Server, key: &str) -> Output {
    let config = tap_config(server);
    let output = Run::tap(&config).run().succeeds();
    let emitted = records(&output);
    let there = server.dump_attributes(&["1.1"]);
    assert!(there.len() > 10, "{}", there.len());
    let lost: Vec<&String> = there.keys().filter(|dn| !emitted.contains_key(*dn)).collect();
    let invented: Vec<&String> = emitted.keys().filter(|dn| !there.contains_key(*dn)).collect();
    assert!(lost.is_empty() && invented.is_empty(), "lost {lost:?}, invented {invented:?}");
    assert_eq!(assert_records_fit(&output), there.len());

    let catalog = discover(&config);
    let streams: BTreeMap<&str, String> = catalog["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["stream"].as_str().unwrap(), normalize_dn_or_name(s["tap_stream_id"].as_str().unwrap())))
        .collect();
    let containers: BTreeSet<&String> = streams.values().filter(|id| id.contains('=')).collect();
    for (dn, (stream, record)) in &emitted {
        let home = if containers.contains(dn) {
            "organizational_units".to_owned()
        } else {
            std::iter::successors(Some(parent(dn)), |d| Some(parent(d)))
                .find(|d| containers.contains(d))
                .unwrap()
        };
        assert_eq!(streams[stream.as_str()], home, "{dn}");
        assert!(record[key].is_string(), "{dn} has no {key}");
    }
    for message in output.of_type("SCHEMA") {
        assert_eq!(message["key_properties"], json!([key]), "{}", message["stream"]);
    }
    for stream in streams.keys() {
        let complete = output.of_type("ACTIVATE_VERSION").iter().any(|m| m["stream"] == *stream);
        let is_empty = output.records(Some(stream)).is_empty();
        assert!(
            complete != is_empty,
            "{stream}: ACTIVATE_VERSION {complete}, empty {is_empty}:\n{}",
            output.stderr
        );
    }
    // The same through small pages.
    let paged = Run::tap(&with(&config, &json!({"page_size": 3}))).run().succeeds();
    assert_eq!(records(&paged).len(), there.len());
    output
}

fn normalize_dn_or_name(id: &str) -> String {
    if id.contains('=') { normalize_dn(id) } else { id.to_owned() }
}

/// The most entries that a read by container may be sent, had it to be told each entry once: a container comes in its own
/// stream, beside its siblings, and as the base of its own search; an entry with others below it a second time as the
/// base of theirs.
fn at_most(there: &ldap_tests::ldif::Tree, containers: usize) -> usize {
    let above: BTreeSet<String> = there.keys().map(|dn| parent(dn)).collect();
    there.keys().filter(|dn| above.contains(*dn)).count() + there.len() + 2 * containers
}

/// The first 100 entries of each stream are looked at beforehand, and once more by name alone, to know which attributes are hidden.
fn sampled(output: &Output) -> usize {
    let mut of_stream: BTreeMap<String, usize> = BTreeMap::new();
    for message in output.of_type("RECORD") {
        *of_stream.entry(message["stream"].to_string()).or_default() += 1;
    }
    of_stream.values().map(|entries| 2 * entries.min(&100)).sum()
}

#[test]
fn openldap_sends_each_entry_once() {
    let seed =
        nested(100, ["device"; 2], &format!("ou=outer,{SUFFIX}"), &format!("ou=inner,ou=outer,{SUFFIX}"));
    let server = Slapd::start(SlapdOptions::default().seed(tree_ldif()).seed(seed));
    let config = tap_config(&server);
    let catalog = discover(&config);
    // What slapd itself counts (slapd-monitor(5)).
    let sent = || -> usize {
        let base = "cn=Entries,cn=Statistics,cn=Monitor";
        let counter = server.dump_below(base, &["monitorCounter"]);
        let value = counter.values().next().unwrap()["monitorcounter"].first().unwrap().clone();
        String::from_utf8(value).unwrap().parse().unwrap()
    };
    let before = sent();
    let output = Run::tap(&config).file("--catalog", &catalog).run().succeeds();
    let sent = sent() - before;
    let there = server.dump_attributes(&["1.1"]);
    assert_eq!(records(&output).len(), there.len());
    let containers = output.records(Some("organizational_units")).len();
    // Root DSE, subschema, the base for its id, the counter itself; and the containers, to know them.
    let more = 10 + containers;
    // Before that, each once by its name alone, to know where it belongs.
    let most = at_most(&there, containers) + there.len() + more + sampled(&output);
    assert!(sent <= most, "{sent} entries for {} records; {most} would do", there.len());
}

#[test]
fn active_directory_sends_each_entry_once() {
    let server = samba();
    let outer = format!("OU=Outer,{STAFF}");
    let classes = ["computer", "serviceConnectionPoint"];
    server.ldapadd(nested(30, classes, &outer, &format!("OU=Inner,{outer}")));
    let config = tap_config(&server);
    let catalog = discover(&config);
    let output =
        Run::tap(&config).file("--catalog", &catalog).arg("--log-level").arg("debug").run().succeeds();
    let received: usize = output
        .stderr
        .lines()
        .filter_map(|l| l.strip_suffix(" entries were received")?.rsplit(' ').next()?.parse::<usize>().ok())
        .sum();
    let there = server.dump_attributes(&["1.1"]);
    assert_eq!(records(&output).len(), there.len());
    let containers = output.records(Some("organizational_units")).len();
    let most = at_most(&there, containers) + sampled(&output);
    assert!(
        received >= there.len() && received <= most,
        "{received} entries for {}; {most} would do",
        there.len()
    );
}

#[test]
fn openldap_is_read_whole_by_container() {
    let slapd = slapd();
    let output = reads_everything_once(&slapd, "entryUUID");
    let home = |dn: &str| records(&output)[&format!("{dn},{SUFFIX}")].0.clone();
    assert_eq!(home("cn=notebook,uid=grace,ou=people"), home("uid=ada,ou=people"), "below a person");
}

#[test]
fn ds389_is_read_whole_by_container() {
    let server = ds389();
    let output = reads_everything_once(&server, "nsUniqueId");
    let catalog = discover(&tap_config(&server));
    let people = stream(&catalog, &format!("ou=people,{SUFFIX}"));
    let names = people["schema"]["properties"].as_object().unwrap();
    for name in ["nsUniqueId", "entryusn", "modifyTimestamp", "createTimestamp"] {
        assert!(names.contains_key(name), "{name} among {:?}", names.keys());
    }
    is_scalar(&names["entryusn"], "integer");
    assert_eq!(names["modifyTimestamp"]["format"], "date-time");
    assert_eq!(metadata(people, &["properties", "nsUniqueId"])["inclusion"], "automatic");
    let ada = &records(&output)[&format!("uid=ada,ou=people,{SUFFIX}")].1;
    assert_eq!(ada["description;lang-de"], json!(["Erste Programmiererin"]));
    assert_eq!(ada["jpegPhoto"], json!(["/9j/4AAQSkZJRgABAQ=="]));
    assert_eq!(ada["mail"].as_array().unwrap().len(), 2);

    // Its default naming context is cn=changelog, which nobody means.
    let without_base = with(&tap_config(&server), &json!({"base_dn": null}));
    let default = discover(&without_base);
    assert!(default == catalog, "the base is the one naming context that holds data");
}

#[test]
fn active_directory_is_read_whole_by_container() {
    let server = samba();
    let output = reads_everything_once(&server, "objectGUID");
    let catalog = discover(&tap_config(&server));
    for id in [
        "DC=ad,DC=example,DC=test",
        "CN=Users,DC=ad,DC=example,DC=test",
        "CN=Builtin,DC=ad,DC=example,DC=test",
        "OU=Domain Controllers,DC=ad,DC=example,DC=test",
        STAFF,
        &format!("CN=Printers,{STAFF}"),
    ] {
        stream(&catalog, id);
    }
    let service = &records(&output)[&normalize_dn(&format!("CN=Service,CN=PC1,OU=Engineering,{STAFF}"))];
    assert_eq!(service.0, "engineering", "below a computer, in the stream of the container above");
    let default = discover(&with(&tap_config(&server), &json!({"base_dn": null})));
    assert!(default == catalog, "the default naming context is the base");
}

#[test]
fn limits_of_ds389_are_read_through_pages_and_never_cut_short() {
    const COUNT: usize = 620;
    let server = Ds389::start(
        &Ds389Options::default()
            .seed(format!("dn: ou=people,{SUFFIX}\nobjectClass: organizationalUnit\nou: people\n"))
            .seed(people(COUNT, &format!("ou=people,{SUFFIX}"))),
    );
    let reader = with(
        &tap_config(&server),
        &json!({"bind_dn": server.reader_dn(), "bind_password": ldap_tests::ds389::READER_PASSWORD}),
    );
    let output = Run::tap(&with(&reader, &json!({"page_size": 100}))).run().succeeds();
    assert_eq!(output.records(Some("people")).len(), COUNT);
    let output = Run::tap(&reader).run().succeeds();
    assert_eq!(output.records(Some("people")).len(), COUNT);

    let short =
        Run::tap(&with(&reader, &json!({"page_size": 0, "discovery_sample_size": 10}))).run().exits(1);
    short.stderr.reports(&json!({"level": "error", "code": 4}));
    assert!(short.of_type("ACTIVATE_VERSION").iter().all(|m| m["stream"] != "people"));
}
