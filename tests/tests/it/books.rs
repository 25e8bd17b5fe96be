//! The books of the tap: every entry below the base is in exactly one stream, whatever its parent, and a run says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use ldap_tests::ds389::{Ds389, Ds389Options, READER_PASSWORD};
use ldap_tests::fake::active_directory::{ActiveDirectory, SUFFIX as FAKE_SUFFIX, object};
use ldap_tests::fake::{Fake, Filter, Operation, Request, Role, Scope, entry, message, result};
use ldap_tests::ldif::normalize_dn;
use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use crate::support::{discover, people, reader_config, tap_config, unit, with};

/// The streams of each entry, by its DN.
fn streams(output: &Output) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in output.of_type("RECORD") {
        let dn = normalize_dn(message["record"]["dn"].as_str().unwrap());
        found.entry(dn).or_default().push(message["stream"].as_str().unwrap().to_owned());
    }
    found
}

/// Asserts that each of these entries was emitted once, and no other.
fn assert_each_once<'d>(output: &Output, dns: impl IntoIterator<Item = &'d str>) {
    let found = streams(output);
    let expected: BTreeSet<String> = dns.into_iter().map(normalize_dn).collect();
    assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), expected);
    let twice: Vec<_> = found.iter().filter(|(_, streams)| streams.len() != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// A number of the last line of the log.
fn field(output: &Output, name: &str) -> Value {
    let line = output.stderr.lines().rfind(|line| line.contains("records_per_second")).expect("a summary");
    serde_json::from_str::<Value>(line).unwrap()[name].clone()
}

fn json_log(config: &Value) -> Run {
    Run::tap(config).arg("--log-format").arg("json")
}

fn file(dir: &Path, text: &str) -> Value {
    let path = dir.join("data.ldif");
    std::fs::write(&path, text).unwrap();
    json!({"server_url": format!("ldif:{}", path.display())})
}

fn person(dn: &str) -> String {
    let (name, value) = dn.split(',').next().unwrap().split_once('=').unwrap();
    let cn = if name == "cn" { "" } else { "cn: c\n" };
    format!("dn: {dn}\nobjectClass: inetOrgPerson\n{name}: {value}\n{cn}sn: s\n\n")
}

/// An entry of no class that holds others.
fn thing(dn: &str) -> String {
    let (name, value) = dn.split(',').next().unwrap().split_once('=').unwrap();
    format!("dn: {dn}\nobjectClass: device\n{name}: {value}\n\n")
}

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
    Run::tap(&with(&config, &json!({"base_dn": "ou=other,dc=x"}))).run().exits(2).says("base_dn");
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

/// A server that gives the reader 20 entries at most, with containers below that and a directory above it.
fn of_few_entries() -> (Slapd, Vec<String>) {
    let mut seed = thing("cn=thing,dc=example,dc=test") + &person("cn=below,cn=thing,dc=example,dc=test");
    for name in ["a", "b", "c"] {
        let base = format!("ou={name},dc=example,dc=test");
        seed += &(unit(&base) + &people(10, &base));
    }
    let slapd = Slapd::start(SlapdOptions {
        database_conf: "limits dn.exact=\"uid=reader,ou=people,dc=example,dc=test\" size=20\n".into(),
        ..SlapdOptions::with_users().seed(seed)
    });
    let dns = slapd.dump().into_keys().collect();
    (slapd, dns)
}

fn activated(output: &Output) -> BTreeSet<&str> {
    output.of_type("ACTIVATE_VERSION").iter().map(|m| m["stream"].as_str().unwrap()).collect()
}

fn warnings(output: &Output) -> Vec<Value> {
    let lines = output.stderr.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["level"] == "warning").collect()
}

#[test]
fn a_server_that_refuses_the_list_of_names_is_read_level_by_level() {
    let (slapd, dns) = of_few_entries();
    let config = with(&reader_config(&slapd), &json!({"page_size": 0}));
    let catalog = discover(&config);
    for verify in ["auto", "always", "never"] {
        let config = with(&config, &json!({"verify": verify}));
        for run in [json_log(&config), json_log(&config).file("--catalog", &catalog)] {
            let output = run.run().succeeds();
            assert_each_once(&output, dns.iter().map(String::as_str));
            assert_eq!(
                activated(&output),
                BTreeSet::from(["organizational_units", "people", "a", "b", "c"]),
                "only of the stream with others nested in it nobody knows whether it is whole"
            );
            assert_eq!(field(&output, "incomplete_streams"), 1);
            let warnings = warnings(&output);
            assert_eq!(warnings.len(), 1, "{}", output.stderr);
            let text = warnings[0]["message"].as_str().unwrap();
            assert!(text.contains("sizeLimitExceeded (4)") && text.contains("page_size"), "{text}");
        }
    }
    // With pages the same reader may have all, and everything is verified.
    let output = json_log(&with(&config, &json!({"page_size": 10}))).run().succeeds();
    assert_each_once(&output, dns.iter().map(String::as_str));
    assert_eq!((activated(&output).len(), field(&output, "incomplete_streams")), (6, Value::Null));
}

#[test]
fn a_first_read_without_the_list_of_names_keeps_no_position_of_what_it_may_have_missed() {
    let (slapd, dns) = of_few_entries();
    let config = with(&reader_config(&slapd), &json!({"page_size": 0}));
    for method in ["INCREMENTAL", "LOG_BASED"] {
        let mut catalog = discover(&config);
        for stream in catalog["streams"].as_array_mut().unwrap() {
            stream["replication_method"] = json!(method);
            let own =
                stream["metadata"].as_array_mut().unwrap().iter_mut().find(|m| m["breadcrumb"] == json!([]));
            own.unwrap()["metadata"]["replication-method"] = json!(method);
        }
        let output = json_log(&config).file("--catalog", &catalog).run().succeeds();
        assert_each_once(&output, dns.iter().map(String::as_str));
        let state = output.of_type("STATE").last().unwrap()["value"]["bookmarks"].clone();
        let kept: BTreeSet<&str> = state.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(
            kept.contains("ou=a,dc=example,dc=test") && !kept.contains("dc=example,dc=test"),
            "{method}: {kept:?}"
        );
        // The next run reads that one whole again, and goes on with the others.
        let again =
            json_log(&config).file("--catalog", &catalog).file("--state", &json!({"bookmarks": state}));
        let again = again.run().succeeds();
        assert_each_once(&again, ["cn=thing,dc=example,dc=test", "cn=below,cn=thing,dc=example,dc=test"]);
    }
}

/// A limit in force without a size: the search of everything is refused.
#[test]
fn every_limit_counts() {
    for (code, name) in
        [(3, "timeLimitExceeded"), (11, "adminLimitExceeded"), (51, "busy"), (53, "unwillingToPerform")]
    {
        let server = Fake::start(Refusing(code));
        let config = json!({"server_url": server.uri(), "base_dn": "dc=x", "retry_attempts": 0});
        let output = json_log(&config).run().succeeds();
        assert_each_once(&output, ["dc=x", "ou=a,dc=x", "cn=one,ou=a,dc=x", "cn=two,dc=x"]);
        assert_eq!(activated(&output), BTreeSet::from(["organizational_units", "a"]), "{name}");
        let texts: Vec<String> = warnings(&output).iter().map(|w| w["message"].to_string()).collect();
        assert_eq!(texts.iter().filter(|text| text.contains(name)).count(), 1, "{texts:?}");
    }
}

/// For loaders that end at ACTIVATE_VERSION.
#[test]
fn versions_are_not_activated_for_who_does_not_want_it() {
    let dir = scratch();
    let text = "dn: dc=x\nobjectClass: domain\ndc: x\n\ndn: cn=a,dc=x\nobjectClass: device\ncn: a\n\n";
    let config = file(dir.path(), text);
    let usual = Run::tap(&config).run().succeeds();
    assert!(!activated(&usual).is_empty(), "the default");
    let output = Run::tap(&with(&config, &json!({"emit_activate_version_messages": false}))).run().succeeds();
    assert!(activated(&output).is_empty());
    assert_eq!(output.records(None), usual.records(None));
    assert!(!output.of_type("STATE").is_empty() && output.stderr.contains("done"), "{}", output.stderr);
}

/// Refuses to list everything below the base, with this code.
struct Refusing(u8);

impl Role for Refusing {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        const ENTRIES: [(&str, &str); 4] = [
            ("dc=x", "domain"),
            ("ou=a,dc=x", "organizationalUnit"),
            ("cn=one,ou=a,dc=x", "device"),
            ("cn=two,dc=x", "device"),
        ];
        let done = |code| message(request.id, result(5, code, ""), &[]);
        let search = match &request.operation {
            Operation::Search(search) => search,
            Operation::Bind => return Some(vec![message(request.id, result(1, 0, ""), &[])]),
            _ => return None,
        };
        let is_everything =
            matches!(&search.filter, Filter::Present(name) if name.eq_ignore_ascii_case("objectClass"));
        if search.base == "dc=x" && search.scope == Scope::Sub && is_everything && search.size_limit == 0 {
            return Some(vec![done(self.0)]);
        }
        let depth = |dn: &str| dn.split(',').count();
        let is_in_scope = |dn: &str| match search.scope {
            Scope::Base => dn == search.base,
            Scope::One => dn.ends_with(&format!(",{}", search.base)) && depth(dn) == depth(&search.base) + 1,
            Scope::Sub => dn == search.base || dn.ends_with(&format!(",{}", search.base)),
        };
        let mut answer = Vec::new();
        for (dn, class) in ENTRIES.into_iter().filter(|(dn, _)| is_in_scope(dn)) {
            let classes = vec![class.as_bytes().to_vec()];
            let values =
                |name: &str| if name.eq_ignore_ascii_case("objectClass") { &classes[..] } else { &[][..] };
            if search.filter.passes(&values) {
                answer.push(message(request.id, entry(dn, &[("objectClass".into(), classes.clone())]), &[]));
            }
        }
        answer.push(done(0));
        Some(answer)
    }
}

/// A tree with entries below parents that the reader may not see, at every place.
fn hidden_tree() -> String {
    unit("ou=people,dc=example,dc=test")
        + &person("uid=alice,ou=people,dc=example,dc=test")
        + &thing("cn=hidden,dc=example,dc=test")
        + &person("cn=below,cn=hidden,dc=example,dc=test")
        + &thing("cn=deeper,cn=hidden,dc=example,dc=test")
        + &person("cn=deepest,cn=deeper,cn=hidden,dc=example,dc=test")
        + &thing("cn=hidden,ou=people,dc=example,dc=test")
        + &unit("ou=inner,cn=hidden,ou=people,dc=example,dc=test")
        + &person("uid=bob,ou=inner,cn=hidden,ou=people,dc=example,dc=test")
        + &person("uid=eve,cn=hidden,ou=people,dc=example,dc=test")
        + &thing("cn=shown,dc=example,dc=test")
        + &person("cn=child,cn=shown,dc=example,dc=test")
}

const SEEN: [&str; 11] = [
    "dc=example,dc=test",
    "ou=people,dc=example,dc=test",
    "uid=alice,ou=people,dc=example,dc=test",
    "cn=below,cn=hidden,dc=example,dc=test",
    "cn=deeper,cn=hidden,dc=example,dc=test",
    "cn=deepest,cn=deeper,cn=hidden,dc=example,dc=test",
    "ou=inner,cn=hidden,ou=people,dc=example,dc=test",
    "uid=bob,ou=inner,cn=hidden,ou=people,dc=example,dc=test",
    "uid=eve,cn=hidden,ou=people,dc=example,dc=test",
    "cn=shown,dc=example,dc=test",
    "cn=child,cn=shown,dc=example,dc=test",
];

fn assert_hidden_tree(output: &Output, more: &[&str]) {
    assert_each_once(output, SEEN.iter().chain(more).copied());
    let found = streams(output);
    for (dn, stream) in [
        ("cn=below,cn=hidden,dc=example,dc=test", "example"),
        ("cn=deepest,cn=deeper,cn=hidden,dc=example,dc=test", "example"),
        ("uid=bob,ou=inner,cn=hidden,ou=people,dc=example,dc=test", "inner"),
        ("uid=eve,cn=hidden,ou=people,dc=example,dc=test", "people"),
    ] {
        assert_eq!(found[dn], [stream], "{dn}");
    }
    assert_eq!(field(output, "books_differ"), 0);
    assert_eq!(field(output, "books_held"), found.len());
    assert_eq!(output.of_type("ACTIVATE_VERSION").len(), output.of_type("SCHEMA").len());
}

#[test]
fn slapd_entries_below_a_parent_that_the_reader_may_not_see_are_records() {
    let rule = |dn: &str| {
        format!(
            "access to dn.base=\"{dn}\" by dn.exact=\"uid=reader,ou=people,dc=example,dc=test\" none by * break\n"
        )
    };
    let seed = hidden_tree().replace(&unit("ou=people,dc=example,dc=test"), "");
    let slapd = Slapd::start(SlapdOptions {
        access: rule("cn=hidden,dc=example,dc=test") + &rule("cn=hidden,ou=people,dc=example,dc=test"),
        ..SlapdOptions::with_users().seed(seed.replace("uid=alice", "uid=carol"))
    });
    let config = reader_config(&slapd);
    let output = json_log(&config).run().succeeds();
    let dump = slapd.dump_attributes(&["objectClass"]);
    let expected: BTreeSet<String> =
        dump.keys().filter(|dn| !dn.starts_with("cn=hidden,")).cloned().collect();
    assert_each_once(&output, expected.iter().map(String::as_str));
    let found = streams(&output);
    assert_eq!(found["cn=deepest,cn=deeper,cn=hidden,dc=example,dc=test"], ["example"]);
    assert_eq!(found["uid=bob,ou=inner,cn=hidden,ou=people,dc=example,dc=test"], ["inner"]);
    assert_eq!(field(&output, "books_differ"), 0);
    assert_eq!(field(&output, "books_held"), expected.len());
    assert_eq!(output.of_type("ACTIVATE_VERSION").len(), output.of_type("SCHEMA").len());
    // By class it is one search for each.
    let by_class = with(&config, &json!({"discover_by": "object_class", "verify": "always"}));
    let output = json_log(&by_class).run().succeeds();
    assert_each_once(&output, expected.iter().map(String::as_str));
    assert_eq!(field(&output, "books_differ"), 0);
}

#[test]
fn ds389_entries_below_a_parent_that_the_reader_may_not_see_are_records() {
    let server = Ds389::start(&Ds389Options::default().seed(hidden_tree()));
    let aci = |dn: &str| {
        format!(
            "dn: {dn}\nchangetype: modify\nadd: aci\naci: (target=\"ldap:///{dn}\")(targetattr=\"*\")(targetfilter=\"(objectClass=device)\")\
             (version 3.0; acl \"hidden\"; deny (all) userdn=\"ldap:///{}\";)\n\n",
            server.reader_dn()
        )
    };
    let hidden = ["cn=hidden,dc=example,dc=test", "cn=hidden,ou=people,dc=example,dc=test"];
    server.ldapmodify(hidden.map(|dn| aci(dn).replace("(objectClass=device)", "(cn=hidden)")).concat());
    let config =
        with(&tap_config(&server), &json!({"bind_dn": server.reader_dn(), "bind_password": READER_PASSWORD}));
    let output = json_log(&config).run().succeeds();
    assert_hidden_tree(&output, &["uid=reader,dc=example,dc=test"]);
}

#[test]
fn the_root_dse_is_no_record_and_no_entry_is_in_two_streams_with_an_empty_base() {
    let slapd = Slapd::start(SlapdOptions {
        global_conf: "defaultsearchbase dc=example,dc=test\n".into(),
        ..SlapdOptions::with_users().seed(
            hidden_tree()
                .replace(&unit("ou=people,dc=example,dc=test"), "")
                .replace("uid=alice", "uid=carol"),
        )
    });
    let config = with(&tap_config(&slapd), &json!({"base_dn": ""}));
    let dump = slapd.dump_attributes(&["objectClass"]);
    for more in [json!({}), json!({"discover_by": "object_class"}), json!({"schemas": [{"name": "all"}]})] {
        let output = Run::tap(&with(&config, &more)).run().succeeds();
        assert_each_once(&output, dump.keys().map(String::as_str));
    }
}

#[test]
fn parts_of_a_stream_are_verified_and_what_they_cannot_give_is_read_singly() {
    const PEOPLE: &str = "ou=people,dc=example,dc=test";
    // The reader may not search by the id of some entries, beyond those that the sample sees: no range has them.
    let slapd = Slapd::start(SlapdOptions {
        access: "access to dn.regex=\"^uid=person2[0-9]77,\" attrs=entryUUID by dn.exact=\"uid=reader,ou=people,dc=example,dc=test\" none by * break\n".into(),
        ..SlapdOptions::with_users().seed(people(3_000, PEOPLE))
    });
    let more = json!({"schemas": [{"name": "all", "base_dn": PEOPLE, "key_properties": ["dn"]}], "partitions": 3, "connection_pool_size": 5});
    let config = with(&reader_config(&slapd), &more);
    let output = json_log(&config).run().succeeds();
    let dump = slapd.dump_attributes(&["objectClass"]);
    assert_each_once(&output, dump.keys().filter(|dn| dn.ends_with(PEOPLE)).map(String::as_str));
    assert_eq!(field(&output, "books_differ"), 0);
    assert_eq!(output.of_type("ACTIVATE_VERSION").len(), 1);
}

#[test]
fn the_health_report_and_the_page_say_whether_the_books_balance() {
    let dir = scratch();
    let config = file(dir.path(), &person("cn=a,cn=missing,dc=x"));
    let report = Run::tap(&config).arg("--test").run().succeeds().json();
    let check = report["checks"].as_array().unwrap().iter().find(|c| c["name"] == "books").unwrap().clone();
    assert_eq!(
        (&check["ok"], &check["held"], &check["differ"]),
        (&json!(true), &json!(1), &json!(0)),
        "{check}"
    );
    let page = dir.path().join("page.html");
    Run::tap(&config).arg("--discover").arg("--report").arg(page.display().to_string()).run().succeeds();
    assert!(std::fs::read_to_string(page).unwrap().contains("Books"));
    let metrics = dir.path().join("metrics.prom");
    Run::tap(&with(&config, &json!({"metrics_file": metrics}))).run().succeeds();
    let text = std::fs::read_to_string(metrics).unwrap();
    assert!(
        text.lines()
            .any(|l| l.starts_with("flext_ldap_books_entries{") && l.contains("held") && l.ends_with(" 1")),
        "{text}"
    );
}

#[test]
fn entries_of_streams_that_are_not_selected_are_left_out_by_that_rule() {
    let dir = scratch();
    let text = "dn: dc=x\nobjectClass: domain\ndc: x\n\n".to_owned()
        + &unit("ou=p,dc=x")
        + &person("uid=a,ou=p,dc=x")
        + &person("uid=b,ou=p,dc=x");
    let config = file(dir.path(), &text);
    let mut catalog = discover(&config);
    for stream in catalog["streams"].as_array_mut().unwrap() {
        let selected = stream["tap_stream_id"] != "ou=p,dc=x";
        stream["metadata"][0]["metadata"]["selected"] = json!(selected);
    }
    let output = json_log(&config).file("--catalog", &catalog).run().succeeds();
    let numbers =
        ["books_held", "books_emitted", "books_left_out", "books_differ"].map(|n| field(&output, n));
    assert_eq!(numbers, [json!(4), json!(2), json!(2), json!(0)]);
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

/// A domain controller that has an entry's name, and gives the entry itself to nobody.
struct Withholding {
    whole: ActiveDirectory,
    lacking: ActiveDirectory,
}

impl Role for Withholding {
    fn answer(&self, request: &Request) -> Option<Vec<Vec<u8>>> {
        let names_only = matches!(&request.operation, Operation::Search(search) if search.attributes.iter().all(|name| name == "1.1"));
        if names_only { self.whole.answer(request) } else { self.lacking.answer(request) }
    }
}

#[test]
fn an_entry_whose_name_alone_is_given_is_missed() {
    let dn = |rdn: &str| format!("{rdn},OU=Staff,{FAKE_SUFFIX}");
    let unit = object(
        &format!("OU=Staff,{FAKE_SUFFIX}"),
        "organizationalUnit",
        1,
        &[("ou", vec![b"Staff".to_vec()])],
    );
    let contact =
        |name: &str, id| object(&dn(&format!("CN={name}")), "contact", id, &[("cn", vec![name.into()])]);
    let lacking = vec![unit, contact("a", 2), contact("b", 3)];
    let whole = [lacking.clone(), vec![contact("withheld", 4)]].concat();
    let role = Withholding { whole: ActiveDirectory::new(whole), lacking: ActiveDirectory::new(lacking) };
    let server = Fake::start(role);
    let config = json!({"server_url": server.uri(), "bind_dn": "CN=etl,CN=Users,DC=ad,DC=example,DC=test",
        "bind_password": "secret", "base_dn": FAKE_SUFFIX});
    let output = json_log(&config).run().succeeds();
    assert_eq!(output.records(Some("staff")).len(), 2);
    let activated: Vec<&Value> =
        output.of_type("ACTIVATE_VERSION").into_iter().map(|m| &m["stream"]).collect();
    assert!(!activated.contains(&&json!("staff")), "{activated:?}");
    let warning = output.stderr.lines().find_map(|line| {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["books_differ"].is_u64() && event["stream"] == "staff").then_some(event)
    });
    let warning = warning.unwrap_or_else(|| panic!("no warning: {}", output.stderr));
    assert_eq!(warning["books_differ"], 1);
    assert!(warning.to_string().contains("CN=withheld"), "{warning}");
    assert_eq!(field(&output, "books_differ"), 1);
    assert_eq!(
        field(&output, "books_held").as_u64(),
        field(&output, "books_emitted").as_u64().map(|n| n + 1)
    );
}

/// An entry whose classes the reader may not see passes no filter of classes, and is a record all the same.
#[test]
fn slapd_entries_whose_classes_are_hidden_are_records() {
    let hidden = ["uid=alice,ou=people,dc=example,dc=test", "cn=thing,dc=example,dc=test"];
    let rule = |dn: &str| {
        format!(
            "access to dn.base=\"{dn}\" attrs=objectClass,structuralObjectClass by dn.exact=\"uid=reader,ou=people,dc=example,dc=test\" none by * break\n"
        )
    };
    let slapd = Slapd::start(SlapdOptions {
        access: hidden.map(rule).concat(),
        ..SlapdOptions::with_users()
            .seed(thing("cn=thing,dc=example,dc=test") + &person("cn=below,cn=thing,dc=example,dc=test"))
    });
    let dns: Vec<String> = slapd.dump().into_keys().collect();
    let config = reader_config(&slapd);
    let all = json!({"schemas": [{"name": "all"}]});
    for more in
        [json!({}), json!({"verify": "always"}), json!({"page_size": 0}), json!({"partitions": 2}), all]
    {
        let output = json_log(&with(&config, &more)).run().succeeds();
        assert_each_once(&output, dns.iter().map(String::as_str));
        assert_eq!(output.of_type("ACTIVATE_VERSION").len(), output.of_type("SCHEMA").len(), "{more}");
    }
    let report = Run::tap(&config).arg("--test").run().succeeds().json();
    let books = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "books").unwrap();
    assert_eq!((&books["held"], &books["ok"]), (&json!(dns.len()), &json!(true)), "{report}");
    // Their changes come, and are no deletions.
    let changes = |n: usize| {
        let change =
            |dn: &str| format!("dn: {dn}\nchangetype: modify\nreplace: description\ndescription: {n}\n\n");
        slapd.ldapmodify(hidden.map(change).concat());
    };
    for (n, method) in ["LOG_BASED", "INCREMENTAL"].into_iter().enumerate() {
        let config = with(&config, &json!({"schemas": [{"name": "all", "replication_method": method}]}));
        let catalog = discover(&config);
        let first = json_log(&config).file("--catalog", &catalog).run().succeeds();
        assert_each_once(&first, dns.iter().map(String::as_str));
        let state = first.of_type("STATE").last().unwrap()["value"].clone();
        changes(n);
        let second = json_log(&config).file("--catalog", &catalog).file("--state", &state).run().succeeds();
        // What lies below one of them may come again.
        let told = streams(&second);
        assert!(hidden.iter().all(|dn| told.contains_key(*dn)) && told.len() < 4, "{method}: {told:?}");
        let is_deletion = |record: &&Value| record["_sdc_deleted_at"].is_string();
        assert_eq!(second.records(None).into_iter().filter(is_deletion).count(), 0, "{method}");
    }
}

/// The warnings about keys that several entries have: how many entries would be lost downstream, and what is said.
fn same_keys(output: &Output) -> Vec<(u64, String)> {
    let of = |line: Value| Some((line["same_key"].as_u64()?, line["message"].as_str()?.to_owned()));
    warnings(output).into_iter().filter_map(of).collect()
}

#[test]
fn two_entries_with_one_key_are_told() {
    let dir = scratch();
    let id = |n: u32| format!("entryUUID: {n:08x}-0000-4000-8000-000000000000\n\n");
    let account = |dn: &str, n: u32| person(dn).trim_end().to_owned() + "\n" + &id(n);
    let text = unit("ou=a,dc=x").trim_end().to_owned()
        + "\n"
        + &id(1)
        + &account("uid=ada,ou=a,dc=x", 2)
        + &account("uid=bob,ou=a,dc=x", 3)
        + &account("uid=ada,cn=b,ou=a,dc=x", 4)
        // A copy.
        + &account("uid=eve,ou=a,dc=x", 3);
    let config = file(dir.path(), &text);
    let of = |key: &str| json!({"schemas": [{"name": "all", "filter": "(uid=*)", "key_properties": [key]}]});
    for (key, value, first, second) in [
        ("uid", "ada", "uid=ada,ou=a,dc=x", "uid=ada,cn=b,ou=a,dc=x"),
        ("entryUUID", "00000003", "uid=bob,ou=a,dc=x", "uid=eve,ou=a,dc=x"),
    ] {
        for more in [json!({}), json!({"replication_method": "FULL_TABLE"})] {
            let mut config = with(&config, &of(key));
            config["schemas"][0] = with(&config["schemas"][0], &more);
            let output = json_log(&config).run().succeeds();
            let told = same_keys(&output);
            assert_eq!(told.len(), 1, "{}", output.stderr);
            assert_eq!(told[0].0, 1);
            for part in [key, value, first, second] {
                assert!(told[0].1.contains(part), "{part} in {}", told[0].1);
            }
            assert_eq!((output.records(None).len(), field(&output, "books_same_key")), (4, json!(1)));
        }
    }
    for key in ["dn", "mail"] {
        let output = json_log(&with(&config, &of(key))).run();
        assert_eq!(same_keys(&output), []);
    }
    // Discovery's own key.
    let output = json_log(&config).run().succeeds();
    assert_eq!(same_keys(&output).len(), 1, "{}", output.stderr);
}

#[test]
fn slapd_two_entries_with_one_key_are_told() {
    let seed = (0..3)
        .map(|n| format!("ou=u{n},dc=example,dc=test"))
        .fold(String::new(), |text, base| text + &unit(&base) + &people(400, &base));
    let slapd = Slapd::start(SlapdOptions::with_users().seed(seed));
    let stream = json!({"name": "all", "filter": "(uid=*)", "key_properties": ["uid"]});
    for method in ["FULL_TABLE", "INCREMENTAL"] {
        let mut config = with(&tap_config(&slapd), &json!({"schemas": [stream]}));
        config["schemas"][0]["replication_method"] = json!(method);
        let output = json_log(&config).run().succeeds();
        let told = same_keys(&output);
        assert_eq!(told.len(), 1, "{}", output.stderr);
        assert_eq!(told[0].0, 800, "{}", told[0].1);
        assert!(told[0].1.contains("ou=u0,") && told[0].1.contains("ou=u1,"), "{}", told[0].1);
    }
    // The server's own id.
    let output =
        json_log(&with(&tap_config(&slapd), &json!({"schemas": [{"name": "all"}]}))).run().succeeds();
    assert_eq!((same_keys(&output), field(&output, "books_same_key")), (vec![], Value::Null));
}

/// On 389 DS, too; there an entry is asked for by its id as well.
#[test]
fn ds389_entries_whose_classes_are_hidden_are_records_and_deleted_ones_are_not() {
    let people_dn = "ou=people,dc=example,dc=test";
    let server = Ds389::start(&Ds389Options::default().seed(unit(people_dn) + &people(4, people_dn)));
    let gone = format!("uid=person3,{people_dn}");
    server.ldapmodify(format!("dn: {gone}\nchangetype: delete\n\n"));
    let admin = tap_config(&server);
    let dns: Vec<String> = server.dump_attributes(&["objectClass"]).into_keys().collect();
    assert!(!dns.iter().any(|dn| dn.contains("person3")), "{dns:?}");
    for more in [json!({}), json!({"discover_by": "object_class"}), json!({"schemas": [{"name": "all"}]})] {
        let config = with(&admin, &more);
        let catalog = discover(&config);
        let has_deleted = |text: String| text.to_lowercase().contains("nstombstone\"");
        let ids: Vec<String> =
            catalog["streams"].as_array().unwrap().iter().map(|s| s["tap_stream_id"].to_string()).collect();
        assert!(!has_deleted(ids.concat()), "{ids:?}");
        let output = json_log(&config).run().succeeds();
        assert_each_once(&output, dns.iter().map(String::as_str));
        assert!(!output.stderr.contains("nsTombstone"), "{}", output.stderr);
        assert_eq!(output.of_type("ACTIVATE_VERSION").len(), output.of_type("SCHEMA").len(), "{more}");
    }

    let hidden = format!("uid=person1,{people_dn}");
    server.ldapmodify(format!(
        "dn: {hidden}\nchangetype: modify\nadd: aci\naci: (target=\"ldap:///{hidden}\")(targetattr=\"objectClass\")\
         (version 3.0; acl \"hidden\"; deny (all) userdn=\"ldap:///{}\";)\n\n",
        server.reader_dn()
    ));
    let reader = with(&admin, &json!({"bind_dn": server.reader_dn(), "bind_password": READER_PASSWORD}));
    let seen = json_log(&with(&reader, &json!({"schemas": [{"name": "all"}]}))).run().succeeds();
    assert!(streams(&seen).contains_key(&normalize_dn(&hidden)), "{}", seen.stderr);
    let all: Vec<String> = streams(&seen).into_keys().collect();
    for more in [json!({}), json!({"page_size": 0}), json!({"verify": "always"})] {
        let output = json_log(&with(&reader, &more)).run().succeeds();
        assert_each_once(&output, all.iter().map(String::as_str));
        assert_eq!(field(&output, "books_differ"), 0, "{more}: {}", output.stderr);
    }
    misses_one(&reader, &hidden, all.len());
}

/// By classes an entry whose classes are hidden cannot be read: that is said, and nothing is deleted for it.
fn misses_one(reader: &Value, hidden: &str, held: usize) {
    let config = with(reader, &json!({"discover_by": "object_class"}));
    let output = json_log(&config).run().succeeds();
    assert!(!streams(&output).contains_key(&normalize_dn(hidden)));
    assert_eq!(output.of_type("ACTIVATE_VERSION").len(), 0, "{}", output.stderr);
    let told: Vec<Value> = warnings(&output).into_iter().filter(|w| w["books_differ"].is_u64()).collect();
    assert_eq!(told.len(), 1, "{}", output.stderr);
    assert_eq!(told[0]["books_differ"], 1);
    assert!(told[0].to_string().to_lowercase().contains(hidden), "{}", told[0]);
    assert_eq!(field(&output, "books_differ"), 1, "{}", output.stderr);
    let report = Run::tap(&config).arg("--test").run().succeeds().json();
    let books = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "books").unwrap();
    assert_eq!((&books["held"], &books["differ"]), (&json!(held), &json!(1)), "{report}");
}

#[test]
fn slapd_entries_whose_classes_are_hidden_are_missed_by_class_streams_aloud() {
    let hidden = "uid=alice,ou=people,dc=example,dc=test";
    let reader = "uid=reader,ou=people,dc=example,dc=test";
    let rule = |dn: &str, right: &str| {
        format!("access to dn.base=\"{dn}\" attrs=objectClass by dn.exact=\"{reader}\" {right} by * break\n")
    };
    let slapd = Slapd::start(SlapdOptions { access: rule(hidden, "none"), ..SlapdOptions::with_users() });
    misses_one(&reader_config(&slapd), hidden, slapd.dump().len());
    // Who may search by them reads them all.
    let slapd = Slapd::start(SlapdOptions { access: rule(hidden, "search"), ..SlapdOptions::with_users() });
    let config = with(&reader_config(&slapd), &json!({"discover_by": "object_class"}));
    let output = json_log(&config).run().succeeds();
    let dns: Vec<String> = slapd.dump().into_keys().collect();
    assert_each_once(&output, dns.iter().map(String::as_str));
    assert_eq!(field(&output, "books_differ"), 0, "{}", output.stderr);
    assert_eq!(output.of_type("ACTIVATE_VERSION").len(), output.of_type("SCHEMA").len());
}
