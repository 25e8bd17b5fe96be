//! FULL_TABLE: messages, their order, values, and size limits.

use std::collections::{BTreeMap, BTreeSet};

use ldap_tests::hostile;
use ldap_tests::ldif::normalize_dn;
use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{
    assert_records_fit, by_stream, discover, people, reader_config, tap_config, unit, with,
};

const PEOPLE: &str = "ou=people,dc=example,dc=test";

/// The DNs of all records, normalised, in their order.
fn dns(output: &Output) -> Vec<String> {
    output.records(None).iter().map(|r| normalize_dn(r["dn"].as_str().unwrap())).collect()
}

/// Where the messages of a stream were seen.
#[derive(Default)]
struct Seen {
    schema: Option<usize>,
    first_record: Option<usize>,
    last_record: Option<usize>,
    activate: Option<usize>,
    versions: BTreeSet<String>,
}

#[test]
fn each_stream_is_schema_records_version_state() {
    let slapd = hostile::start();
    let output = Run::tap(&tap_config(&slapd)).run().succeeds();
    let lines = output.lines();
    assert_eq!(lines.len(), output.messages.len());

    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    let mut states = Vec::new();
    for (i, message) in lines.iter().enumerate() {
        let kind = message["type"].as_str().unwrap();
        if kind == "STATE" {
            states.push(i);
            continue;
        }
        let entry = seen.entry(message["stream"].as_str().unwrap().to_owned()).or_default();
        match kind {
            "SCHEMA" => {
                assert!(entry.schema.replace(i).is_none(), "one SCHEMA for {}", message["stream"]);
                assert_eq!(message["key_properties"], json!(["entryUUID"]));
            }
            "RECORD" => {
                entry.first_record.get_or_insert(i);
                entry.last_record = Some(i);
                entry.versions.insert(message["version"].to_string());
                let time =
                    message["time_extracted"].as_str().unwrap_or_else(|| panic!("no time in {message}"));
                assert!(time.starts_with("20") && time.contains('T'), "{time}");
            }
            "ACTIVATE_VERSION" => {
                assert!(entry.activate.replace(i).is_none());
                entry.versions.insert(message["version"].to_string());
            }
            other => panic!("{other}"),
        }
    }
    for (name, stream) in &seen {
        let schema = stream.schema.unwrap_or_else(|| panic!("{name} has no SCHEMA"));
        // An empty container's version would say that all is gone.
        assert_eq!(stream.activate.is_some(), stream.first_record.is_some(), "{name}");
        let Some(activate) = stream.activate else { continue };
        assert!(stream.first_record.is_none_or(|first| schema < first), "{name}");
        assert!(stream.last_record.is_none_or(|last| last < activate), "{name}");
        assert!(schema < activate);
        assert_eq!(stream.versions.len(), 1, "{name}: {:?}", stream.versions);
        assert!(states.iter().any(|s| *s > activate), "{name} ends with a STATE");
    }
    assert!(states.len() >= seen.len(), "one STATE at the end of each stream at least");
    assert_eq!(lines.last().unwrap()["type"], "STATE");
    // An empty container is a stream too.
    let catalog = discover(&tap_config(&slapd));
    assert_eq!(seen.len(), catalog["streams"].as_array().unwrap().len());
    let last = &lines.last().unwrap()["value"];
    assert!(last["bookmarks"].is_object(), "{last}");
    assert!(last.get("currently_syncing").is_none_or(Value::is_null), "{last}");
}

#[test]
fn each_entry_is_in_exactly_one_stream_and_containers_come_parents_first() {
    let slapd = hostile::start();
    let output = Run::tap(&with(&tap_config(&slapd), &json!({"page_size": 10}))).run().succeeds();
    let emitted = dns(&output);
    let unique: BTreeSet<String> = emitted.iter().cloned().collect();
    assert_eq!(unique.len(), emitted.len(), "no entry twice");
    assert_eq!(unique, slapd.dump().into_keys().collect(), "and none left out");

    let streams = by_stream(&output);
    let first = output.of_type("RECORD")[0]["stream"].clone();
    assert_eq!(first, "organizational_units", "containers are first");
    let mut seen = BTreeSet::new();
    for record in &streams["organizational_units"] {
        let dn = normalize_dn(record["dn"].as_str().unwrap());
        let above: BTreeSet<String> = std::iter::successors(Some(ldap_tests::ldif::parent(&dn)), |d| {
            Some(ldap_tests::ldif::parent(d)).filter(|p| !p.is_empty())
        })
        .collect();
        let containers_above: Vec<&String> =
            above.iter().filter(|d| emitted_as_container(&streams, d)).collect();
        assert!(containers_above.iter().all(|d| seen.contains(*d)), "{dn} before what it lies in");
        seen.insert(dn);
    }
    assert!(seen.contains("dc=example,dc=test"), "the base is a container");
    assert!(seen.contains("ou=early,ou=zzz,dc=example,dc=test"));

    // The nearest container, also past a person.
    let catalog = discover(&tap_config(&slapd));
    let in_stream = |dn: &str| -> String {
        let dn = normalize_dn(dn);
        let name = streams
            .iter()
            .find(|(_, r)| r.iter().any(|e| normalize_dn(e["dn"].as_str().unwrap()) == dn))
            .unwrap()
            .0;
        let entry =
            catalog["streams"].as_array().unwrap().iter().find(|s| s["stream"] == name.as_str()).unwrap();
        normalize_dn(entry["tap_stream_id"].as_str().unwrap_or_default())
    };
    assert_eq!(
        in_stream("uid=parisian,l=Paris,ou=emea,dc=example,dc=test"),
        "l=paris,ou=emea,dc=example,dc=test"
    );
    assert_eq!(
        in_stream("cn=early child,uid=late parent,ou=people,dc=example,dc=test"),
        "ou=people,dc=example,dc=test"
    );
    assert_eq!(in_stream("uid=toplevel,dc=example,dc=test"), "dc=example,dc=test");
    assert_eq!(
        in_stream(r"uid=far,ou=below,cn=plus\+sign,ou=hostile,dc=example,dc=test"),
        r"ou=below,cn=plus\2bsign,ou=hostile,dc=example,dc=test"
    );
}

fn emitted_as_container(streams: &BTreeMap<String, Vec<Value>>, dn: &str) -> bool {
    streams["organizational_units"].iter().any(|r| normalize_dn(r["dn"].as_str().unwrap()) == dn)
}

#[test]
fn every_record_fits_its_schema() {
    let slapd = hostile::start();
    let output = Run::tap(&tap_config(&slapd)).run().succeeds();
    assert_eq!(assert_records_fit(&output), slapd.dump().len());
}

#[test]
fn values_are_what_the_table_of_syntaxes_says() {
    let slapd = hostile::start();
    let output = Run::tap(&tap_config(&slapd)).run().succeeds();
    let record = |dn: &str| {
        let dn = format!("{dn},ou=hostile,dc=example,dc=test");
        output.records(None).into_iter().find(|r| normalize_dn(r["dn"].as_str().unwrap()) == dn).unwrap()
    };
    let typed = record("uid=typed");
    assert_eq!(typed["testFlag"], true);
    assert_eq!(typed["testCount"].to_string(), "123456789012345678901234567890", "exact, as a JSON number");
    assert_eq!(typed["testWhen"], "2024-02-29T23:59:59Z");
    assert_eq!(typed["testUuid"], "597ae2f6-16a6-1027-98f4-d28b5365dc14");
    let counts: BTreeSet<String> =
        typed["testCounts"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert!(counts.contains("18446744073709551616") && counts.contains("-9223372036854775809"), "{counts:?}");
    assert!(typed["testBlob"].as_array().unwrap().contains(&json!("")), "an empty octet string is a value");
    assert!(
        typed["testBlob"].as_array().unwrap().contains(&json!("cGxhaW4gdGV4dA==")),
        "base64 whatever the bytes are"
    );
    let second = record("uid=typed2");
    assert_eq!(second["testFlag"], false);
    assert_eq!(second["testWhen"], "1970-01-01T00:00:00.120Z", "the fraction as written");
    let binary = record("uid=binary");
    assert!(binary["jpegPhoto"].as_array().unwrap().contains(&json!("YWJjZA==")));
    assert!(binary["userPassword"].as_array().unwrap().contains(&json!("YWJjZA==")));
    assert!(binary["userCertificate;binary"][0].as_str().unwrap().starts_with("MII"));
    let texts = record("uid=values");
    assert_eq!(texts["cn;lang-de"], json!(["Werte"]));
    let descriptions = texts["description"].as_array().unwrap();
    for text in
        ["NULL", "None", "nil", " leading space", "trailing space ", "first line\nsecond line", "nul\0inside"]
    {
        assert!(descriptions.contains(&json!(text)), "{text:?}");
    }
    let everyone = record("cn=everyone");
    assert_eq!(everyone["member"].as_array().unwrap().len(), hostile::MEMBERS);
}

#[test]
fn what_is_deselected_is_not_there() {
    let slapd = Slapd::start(
        SlapdOptions::with_users().seed(people(3, PEOPLE)).seed(unit("ou=other,dc=example,dc=test")),
    );
    let config = tap_config(&slapd);
    let mut catalog = discover(&config);
    for stream in catalog["streams"].as_array_mut().unwrap() {
        let keep = stream["tap_stream_id"] == PEOPLE;
        for entry in stream["metadata"].as_array_mut().unwrap() {
            let breadcrumb = entry["breadcrumb"].clone();
            if breadcrumb == json!([]) {
                entry["metadata"]["selected"] = json!(keep);
            } else if ["telephoneNumber", "mail", "dn", "entryUUID"]
                .contains(&breadcrumb[1].as_str().unwrap())
            {
                entry["metadata"]["selected"] = json!(false);
            } else if breadcrumb[1] == "title" {
                entry["metadata"]["selected"] = json!(true);
            }
        }
    }
    for flag in ["--catalog", "--properties"] {
        let output = Run::tap(&config).file(flag, &catalog).run().succeeds();
        let streams: BTreeSet<&str> = output.messages.iter().filter_map(|m| m["stream"].as_str()).collect();
        assert_eq!(streams.len(), 1, "only the selected stream: {streams:?}");
        let schema = &output.of_type("SCHEMA")[0]["schema"]["properties"];
        assert_eq!(output.records(None).len(), 7);
        for gone in ["telephoneNumber", "mail"] {
            assert!(schema.get(gone).is_none(), "{gone} is in the SCHEMA");
            assert!(output.records(None).iter().all(|r| r.get(gone).is_none()), "{gone} is in a record");
        }
        // Automatic ones stay in, whatever Meltano wrote; what was selected by hand comes too.
        assert!(schema.get("title").is_some());
        assert!(output.records(None).iter().all(|r| r["dn"].is_string() && r["entryUUID"].is_string()));
    }
}

#[test]
fn a_state_of_any_kind_does_no_harm_to_a_full_read() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let first = Run::tap(&tap_config(&slapd)).run().succeeds();
    let state = first.of_type("STATE").last().unwrap()["value"].clone();
    for state in
        [state.clone(), json!({"type": "STATE", "value": state}), json!({}), json!({"bookmarks": {}})]
    {
        let output = Run::tap(&tap_config(&slapd)).file("--state", &state).run().succeeds();
        assert_eq!(output.records(None).len(), first.records(None).len());
    }
    let output = Run::tap(&tap_config(&slapd)).raw_file("--state", b"{").run().exits(2);
    crate::support::no_panic(&output);
    output.reports_setting("--state");
}

#[test]
fn a_stream_of_the_state_that_the_catalog_lacks_is_said() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let first = Run::tap(&tap_config(&slapd)).run().succeeds();
    let mut state = json!({"bookmarks": {"ou=gone,dc=example,dc=test": {"format": 1, "replication_method": "FULL_TABLE", "count": 200}}});
    let output = Run::tap(&tap_config(&slapd)).file("--state", &state).run().succeeds();
    output.stderr.reports(&json!({"missing_streams": 1, "stream": "ou=gone,dc=example,dc=test"}));
    assert_eq!(output.records(None).len(), first.records(None).len());
    // Those that are there are not missing.
    state = first.of_type("STATE").last().unwrap()["value"].clone();
    let output = Run::tap(&tap_config(&slapd)).file("--state", &state).run().succeeds();
    assert!(output.stderr.warnings().iter().all(|line| line["missing_streams"].is_null()));
}

#[test]
fn pages_smaller_than_asked_for_are_read_to_the_end() {
    let mut options = SlapdOptions::with_users().seed(people(900, PEOPLE));
    options.database_conf =
        "limits dn.exact=\"uid=reader,ou=people,dc=example,dc=test\" size.soft=500 size.hard=500 size.pr=50 size.prtotal=unlimited".into();
    let slapd = Slapd::start(options);
    for page_size in [json!(null), json!(50), json!(7), json!(2000)] {
        let config = with(&reader_config(&slapd), &json!({"page_size": page_size}));
        let output = Run::tap(&config).run().succeeds();
        assert_eq!(dns(&output).into_iter().collect::<BTreeSet<_>>().len(), 906, "page size {page_size}");
        assert_eq!(output.records(None).len(), 906);
    }
}

#[test]
fn a_size_limit_is_no_complete_answer() {
    let slapd = Slapd::start(SlapdOptions::with_users().seed(people(900, PEOPLE)));
    let config = with(&reader_config(&slapd), &json!({"page_size": 0}));
    let output = Run::tap(&config).run().exits(1).reports_code(4);
    let people_version = output.of_type("ACTIVATE_VERSION").into_iter().find(|m| m["stream"] == "people");
    assert!(people_version.is_none(), "nothing may be concluded from half an answer");
    assert!(output.stderr.contains("page_size"), "it says what to do: {}", output.stderr);

    // With pages the same reader gets all.
    let output = Run::tap(&reader_config(&slapd)).run().succeeds();
    assert_eq!(output.records(None).len(), 906);
    // And so does the administrator without.
    let output = Run::tap(&with(&tap_config(&slapd), &json!({"page_size": 0}))).run().succeeds();
    assert_eq!(output.records(None).len(), 906);
}

#[test]
fn a_server_that_dies_in_the_middle_is_1_and_activates_nothing() {
    let mut slapd = Slapd::start(SlapdOptions::with_users().seed(people(20_000, PEOPLE)));
    let run = Run::tap(&with(&tap_config(&slapd), &json!({"retry_attempts": 0})));
    let mut running = run.spawn();
    running.close_stdin_with(&[]);
    let mut stdout = running.take_stdout();
    let mut text = vec![0; 300_000];
    std::io::Read::read_exact(&mut stdout, &mut text).unwrap();
    slapd.kill();
    std::io::Read::read_to_end(&mut stdout, &mut text).unwrap();
    let (code, stderr, took) = running.wait(std::time::Duration::from_secs(60));
    let output = ldap_tests::run::output(code, text, stderr, took).exits(1);
    crate::support::no_panic(&output);
    assert!(output.records(None).len() < 20_000);
    assert!(output.of_type("ACTIVATE_VERSION").iter().all(|m| m["stream"] != "people"));
    output.lines();
}

#[test]
fn a_stream_cut_by_a_size_limit_keeps_its_records_and_activates_nothing() {
    let slapd = Slapd::start(SlapdOptions::with_users().seed(people(900, PEOPLE)));
    // By one search: where containers are read, the pass over names meets the limit before any record.
    let streams = json!({"schemas": [{"name": "units", "base_dn": "dc=example,dc=test", "scope": "one"},
        {"name": "people", "base_dn": PEOPLE}]});
    let config = with(&reader_config(&slapd), &streams);
    let catalog = discover(&config);
    let config = with(&config, &json!({"page_size": 0}));
    let output = Run::tap(&config)
        .file("--catalog", &catalog)
        .run()
        .exits(1)
        .reports(&json!({"code": 4, "dn": PEOPLE}));
    crate::support::no_panic(&output);
    let records = output.records(Some("people")).len();
    assert!(records > 0 && records < 904, "the limit came in the middle of the stream: {records}");
    let versions = output.of_type("ACTIVATE_VERSION");
    assert!(versions.iter().any(|m| m["stream"] == "units"), "a complete stream has its version");
    assert!(versions.iter().all(|m| m["stream"] != "people"), "half an answer has none");
}

#[test]
fn an_interrupted_run_goes_on_with_the_stream_it_was_in() {
    let slapd = Slapd::start(SlapdOptions::with_users().seed(unit("ou=other,dc=example,dc=test")));
    let state = json!({"bookmarks": {}, "currently_syncing": PEOPLE});
    let output = Run::tap(&tap_config(&slapd)).file("--state", &state).run().succeeds();
    let order: Vec<&Value> = output.of_type("SCHEMA").into_iter().map(|m| &m["stream"]).collect();
    assert_eq!(order.first().and_then(|s| s.as_str()), Some("people"), "{order:?}");
    assert_eq!(output.records(None).len(), slapd.dump().len(), "and then reads the others");
    assert_eq!(order.len(), 4, "each once: {order:?}");

    let gone = json!({"bookmarks": {}, "currently_syncing": "ou=gone,dc=example,dc=test"});
    let output = Run::tap(&tap_config(&slapd)).file("--state", &gone).run().succeeds();
    assert_eq!(output.records(None).len(), slapd.dump().len());
}

#[test]
fn a_replication_method_that_there_is_not_is_2_and_says_which_there_is() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let configured =
        json!({"schemas": [{"name": "users", "base_dn": PEOPLE, "replication_method": "SOMETIMES"}]});
    let mut catalog = discover(&tap_config(&slapd));
    catalog["streams"][0]["metadata"][0]["metadata"]["replication-method"] = json!("SOMETIMES");
    let runs = [
        Run::tap(&with(&tap_config(&slapd), &configured)),
        Run::tap(&tap_config(&slapd)).file("--catalog", &catalog),
    ];
    for run in runs {
        let output = run.run().exits(2).says("SOMETIMES");
        crate::support::no_panic(&output);
        assert!(output.records(None).is_empty());
    }
}

#[test]
fn follow_referrals_fail_ends_the_run_and_activates_nothing() {
    let slapd = Slapd::start(SlapdOptions::with_users().seed(format!(
        "dn: cn=elsewhere,{PEOPLE}\nobjectClass: referral\nobjectClass: extensibleObject\ncn: elsewhere\n\
         ref: ldap://192.0.2.1/ou=people,dc=example,dc=com\n"
    )));
    let catalog = discover(&tap_config(&slapd));
    let config = with(&tap_config(&slapd), &json!({"follow_referrals": "fail"}));
    for run in [Run::tap(&config).file("--catalog", &catalog), Run::tap(&config).arg("--discover")] {
        let output = run.run().exits(1).says("192.0.2.1");
        crate::support::no_panic(&output);
        assert!(output.of_type("ACTIVATE_VERSION").iter().all(|m| m["stream"] != "people"));
    }
    Run::tap(&with(&config, &json!({"follow_referrals": "ignore"}))).run().succeeds();
}
