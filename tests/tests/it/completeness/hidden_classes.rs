//! Entries whose `objectClass` the bound user may not read.

use ldap_tests::ds389::{Ds389, Ds389Options, READER_PASSWORD};
use ldap_tests::ldif::normalize_dn;
use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use super::{assert_each_once, field, json_log, person, streams, thing, warnings};
use crate::support::{discover, people, reader_config, tap_config, unit, with};

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
