//! Discovery: the catalog, its types, its metadata, and the ways to reach a server.

use std::collections::BTreeSet;

use ldap_tests::hostile;
use ldap_tests::ldif::normalize_dn;
use ldap_tests::run::{Program, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions, free_port};
use serde_json::{Value, json};

use crate::support::{
    discover, is_array_of, is_scalar, metadata, people, reader_config, stream, tap_config, target_config,
    unit, with,
};

const SUFFIX: &str = "dc=example,dc=test";
const CONTAINERS: &str = "organizational_units";

fn small() -> Slapd {
    let emea = format!("ou=emea,{SUFFIX}");
    Slapd::start(
        SlapdOptions::with_users()
            .seed(people(3, &format!("ou=people,{SUFFIX}")))
            .seed(unit(&emea))
            .seed(unit(&format!("ou=people,{emea}")))
            .seed(people(2, &format!("ou=people,{emea}")))
            .seed(unit(&format!("ou=Cost Centres,{SUFFIX}")))
            .seed(format!(
                "dn: cn=typed,ou=emea,{SUFFIX}\nobjectClass: inetOrgPerson\nobjectClass: testThing\ncn: typed\nsn: t\n\
                 testFlag: TRUE\ntestCount: 1\ntestCounts: 1\ntestWhen: 20240101000000Z\n\
                 testUuid: 597ae2f6-16a6-1027-98f4-d28b5365dc14\ntestBlob: x\ntestText: x\ntestExact: x\n\
                 testPointer: cn=x\ntest-Dashed-Name: x\njpegPhoto: x\ncn;lang-de: getippt\n"
            )),
    )
}

#[test]
fn the_catalog_has_a_stream_for_each_container() {
    let slapd = small();
    let output = Run::tap(&tap_config(&slapd)).arg("--discover").run().succeeds();
    // Meltano reads the catalog line by line and hangs on one beyond 64 KiB.
    assert!(
        output.stdout_text().lines().count() > 20 && output.stdout_text().lines().all(|l| l.len() < 60_000)
    );
    let catalog = output.json();
    let streams = catalog["streams"].as_array().unwrap();
    assert_eq!(streams[0]["tap_stream_id"], CONTAINERS, "the containers come first");
    assert_eq!(streams[0]["stream"], CONTAINERS);

    let ids: BTreeSet<&str> = streams.iter().skip(1).map(|s| s["tap_stream_id"].as_str().unwrap()).collect();
    let expected = ["", "ou=people,", "ou=emea,", "ou=people,ou=emea,", "ou=Cost Centres,"]
        .map(|h| format!("{h}{SUFFIX}"));
    assert_eq!(ids, expected.iter().map(String::as_str).collect(), "the DNs as the server spells them");

    let name = |id: &str| stream(&catalog, id)["stream"].as_str().unwrap().to_owned();
    assert_eq!(name(&format!("ou=people,ou=emea,{SUFFIX}")), "emea_people");
    assert_eq!(name(&format!("ou=emea,{SUFFIX}")), "emea");
    assert_eq!(name(&format!("ou=Cost Centres,{SUFFIX}")), "cost_centres");
    assert!(name(&format!("ou=people,{SUFFIX}")).ends_with("people"));
    let names: BTreeSet<String> = streams.iter().map(|s| s["stream"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names.len(), streams.len(), "unique: {names:?}");
}

#[test]
fn stream_names_stay_unique_and_usable_whatever_the_containers_are_called() {
    let slapd = hostile::start();
    let catalog = discover(&tap_config(&slapd));
    let streams = catalog["streams"].as_array().unwrap();
    let names: BTreeSet<&str> = streams.iter().map(|s| s["stream"].as_str().unwrap()).collect();
    let ids: BTreeSet<&str> = streams.iter().map(|s| s["tap_stream_id"].as_str().unwrap()).collect();
    assert_eq!(names.len(), streams.len(), "{names:?}");
    assert_eq!(ids.len(), streams.len(), "{ids:?}");
    for name in &names {
        assert!(!name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_'), "{name:?}");
        assert_eq!(*name, name.to_lowercase());
    }
    for id in [
        r#"ou=Sales\, R\+D \"East\","#,
        "ou=東京,",
        "ou=!!!,",
        "ou=unit+l=Oslo,",
        "ou=empty,",
        r"ou=below,cn=plus\+sign,ou=hostile,",
    ] {
        stream(&catalog, &format!("{id}{SUFFIX}"));
    }
    stream(&catalog, CONTAINERS);
    stream(&catalog, &format!("ou=organizational units,{SUFFIX}"));
}

#[test]
fn types_come_from_the_schema_never_from_the_data() {
    let slapd = small();
    let catalog = discover(&tap_config(&slapd));
    let entry = stream(&catalog, &format!("ou=emea,{SUFFIX}"));
    let properties = entry["schema"]["properties"].as_object().unwrap();
    assert_eq!(properties.keys().next().map(String::as_str), Some("dn"), "dn is first");
    let property =
        |name: &str| properties.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", properties.keys()));

    is_scalar(property("dn"), "string");
    is_scalar(property("testFlag"), "boolean");
    is_scalar(property("testCount"), "integer");
    is_array_of(property("testCounts"), "integer");
    is_scalar(property("testWhen"), "string");
    assert_eq!(property("testWhen")["format"], "date-time");
    is_scalar(property("testUuid"), "string");
    assert_eq!(property("testUuid")["format"], "uuid");
    for name in ["testBlob", "jpegPhoto", "userPassword", "userCertificate;binary"] {
        if name != "userCertificate;binary" || properties.contains_key(name) {
            is_array_of(property(name), "string");
            assert_eq!(property(name)["items"]["contentEncoding"], "base64", "{name}");
        }
    }
    is_array_of(property("testText"), "string");
    is_scalar(property("testExact"), "string");
    is_array_of(property("testPointer"), "string");
    is_scalar(property("test-Dashed-Name"), "string");
    is_array_of(property("cn"), "string");
    is_array_of(property("cn;lang-de"), "string");
    is_scalar(property("displayName"), "string");
    is_array_of(property("objectClass"), "string");
    is_scalar(property("entryUUID"), "string");
    assert_eq!(property("entryUUID")["format"], "uuid");
    is_scalar(property("modifyTimestamp"), "string");
    assert_eq!(property("testFlag")["description"], "a truth value", "DESC");
    for (name, property) in properties {
        let nullable = property["type"].as_array().is_some_and(|t| t.contains(&json!("null")));
        assert!(nullable || name == "dn" || name == "entryUUID", "{name} is nullable: {property}");
    }
    // MUST and MAY of what is seen there, inherited through SUP, and no others.
    for name in ["sn", "telephoneNumber", "seeAlso", "title", "mail", "manager"] {
        property(name);
    }
    assert!(!properties.contains_key("uidNumber"), "no posixAccount lies there");
}

#[test]
fn every_property_has_its_metadata() {
    let slapd = small();
    let catalog = discover(&tap_config(&slapd));
    for entry in catalog["streams"].as_array().unwrap() {
        let id = &entry["tap_stream_id"];
        let own = metadata(entry, &[]);
        assert_eq!(own["selected"], true, "{id}");
        assert_eq!(own["table-key-properties"], json!(["entryUUID"]), "{id}");
        assert_eq!(entry["key_properties"], json!(["entryUUID"]), "{id}");
        // Where the server can be asked for what changed; which keys those are is for the tests of INCREMENTAL.
        if let Some(keys) = own.get("valid-replication-keys") {
            for key in keys.as_array().unwrap() {
                assert!(entry["schema"]["properties"].get(key.as_str().unwrap()).is_some(), "{id}: {key}");
            }
        }
        let properties = entry["schema"]["properties"].as_object().unwrap();
        for name in properties.keys() {
            let m = metadata(entry, &["properties", name]);
            let inclusion = m["inclusion"].as_str().unwrap_or_else(|| panic!("{id} {name}: {m}"));
            assert!(["automatic", "available", "unsupported"].contains(&inclusion));
            assert_eq!(
                inclusion == "automatic",
                ["dn", "entryUUID"].contains(&name.as_str()),
                "{id} {name}: {m}"
            );
            if inclusion == "available" {
                assert!(m["selected-by-default"].is_boolean(), "{id} {name}: {m}");
            }
        }
    }
    let entry = stream(&catalog, &format!("ou=emea,{SUFFIX}"));
    let of = |name: &str| metadata(entry, &["properties", name]);
    assert_eq!(of("cn")["ldap.syntax"], "1.3.6.1.4.1.1466.115.121.1.15");
    assert_eq!(of("cn")["ldap.single-value"], false);
    assert_eq!(of("cn")["ldap.equality"], "caseIgnoreMatch", "inherited from name");
    assert_eq!(of("cn")["ldap.usage"], "userApplications");
    assert_eq!(of("cn;lang-de")["ldap.equality"], "caseIgnoreMatch");
    assert_eq!(of("test-Dashed-Name")["ldap.single-value"], true);
    assert_eq!(of("modifyTimestamp")["ldap.usage"], "directoryOperation");
    assert_eq!(of("testFlag")["ldap.syntax"], "1.3.6.1.4.1.1466.115.121.1.7");
    assert_eq!(of("testFlag")["selected-by-default"], true, "seen");
    assert_eq!(of("sn")["selected-by-default"], true, "MUST");
    assert_eq!(of("carLicense")["selected-by-default"], false, "allowed, and nowhere seen");
}

#[test]
fn the_seeds_streams_work_as_they_stand() {
    let company = "dc=company,dc=com";
    let slapd = Slapd::start(
        SlapdOptions::default()
            .suffix(company)
            .seed(unit(&format!("ou=users,{company}")))
            .seed(people(5, &format!("ou=users,{company}")))
            .seed(unit(&format!("ou=groups,{company}")))
            .seed(format!("dn: cn=g,ou=groups,{company}\nobjectClass: groupOfNames\ncn: g\nmember: uid=person0,ou=users,{company}\n")),
    );
    let mut config = with(
        &tap_config(&slapd),
        &json!({"discovery_sample_size": null, "schemas": [
            {"name": "users", "base_dn": "ou=users,dc=company,dc=com", "filter": "(objectClass=person)",
             "attributes": ["uid", "cn", "sn", "mail", "departmentNumber"]},
            {"name": "groups", "base_dn": "ou=groups,dc=company,dc=com", "filter": "(objectClass=group)",
             "attributes": ["cn", "member", "description"]}]}),
    );
    let catalog = discover(&config);
    let ids: Vec<&Value> =
        catalog["streams"].as_array().unwrap().iter().map(|s| &s["tap_stream_id"]).collect();
    assert_eq!(ids, ["users", "groups"], "these are the streams");
    is_array_of(&stream(&catalog, "users")["schema"]["properties"]["uid"], "string");

    let output = Run::tap(&config).run().succeeds();
    assert_eq!(output.records(Some("users")).len(), 5);
    assert_eq!(output.records(Some("groups")).len(), 0, "OpenLDAP has no class group");
    // `operational_attributes` has a default of its own, which `attributes` does not take away.
    let allowed = BTreeSet::from([
        "dn",
        "entryUUID",
        "createTimestamp",
        "modifyTimestamp",
        "entryCSN",
        "uid",
        "cn",
        "sn",
        "mail",
        "departmentNumber",
        "pwdAccountLockedTime", // comes with `userPassword`
    ]);
    for record in output.records(Some("users")) {
        let names: BTreeSet<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(names.is_subset(&allowed), "only what was asked for: {names:?}");
        assert_eq!(record["uid"].as_array().map(Vec::len), Some(1));
    }

    // The same with a scope, one stream under its other name, and scalars.
    config["single_valued"] = json!(["uid", "CN"]);
    let streams = config.as_object_mut().unwrap().shift_remove("schemas").unwrap();
    config["streams"] = streams;
    config["streams"][1]["filter"] = json!("(cn=*)");
    config["streams"][1]["scope"] = json!("base");
    let catalog = discover(&config);
    is_scalar(&stream(&catalog, "users")["schema"]["properties"]["uid"], "string");
    is_scalar(&stream(&catalog, "users")["schema"]["properties"]["cn"], "string");
    is_array_of(&stream(&catalog, "users")["schema"]["properties"]["mail"], "string");
    let output = Run::tap(&config).run().succeeds();
    assert!(output.records(Some("users")).iter().all(|r| r["uid"].is_string()));
    assert_eq!(output.records(Some("groups")).len(), 0, "the base alone has no cn");
}

#[test]
fn config_state_and_discover_come_together() {
    let slapd = small();
    let state = json!({"bookmarks": {"gone": {"x": 1}}});
    let alone = discover(&tap_config(&slapd));
    for state in [state.clone(), json!({"type": "STATE", "value": state}), json!({})] {
        let output = Run::tap(&tap_config(&slapd)).file("--state", &state).arg("--discover").run().succeeds();
        assert_eq!(output.json(), alone);
    }
}

#[test]
fn the_catalog_is_the_same_each_time() {
    let slapd = small();
    let first = Run::tap(&tap_config(&slapd)).arg("--discover").run().succeeds().stdout_text();
    let second = Run::tap(&tap_config(&slapd)).arg("--discover").run().succeeds().stdout_text();
    assert!(first == second);
}

#[test]
fn each_way_to_the_server_works() {
    let slapd = small();
    let tls = slapd.certificates();
    let expected = discover(&tap_config(&slapd));
    let config = tap_config(&slapd);
    let anonymous = json!({"bind_dn": null, "bind_password": null});
    let password_file = slapd.path("password");
    std::fs::write(&password_file, "secret\n").unwrap();
    let ways = [
        ("ldaps", with(&config, &json!({"server_url": slapd.ldaps_uri(), "tls_ca_file": tls.ca}))),
        ("StartTLS", with(&config, &json!({"start_tls": true, "tls_ca_file": tls.ca}))),
        (
            "localhost",
            with(
                &config,
                &json!({"server_url": slapd.ldaps_uri().replace("127.0.0.1", "localhost"), "tls_ca_file": tls.ca}),
            ),
        ),
        ("ldapi", with(&config, &json!({"server_url": slapd.ldapi_uri()}))),
        (
            "ldapi, EXTERNAL",
            with(
                &with(&config, &anonymous),
                &json!({"server_url": slapd.ldapi_uri(), "auth_method": "external"}),
            ),
        ),
        (
            "host and port",
            with(&config, &json!({"server_url": null, "host": "127.0.0.1", "port": slapd.ldap_port()})),
        ),
        (
            "password file",
            with(&config, &json!({"bind_password": null, "bind_password_file": password_file})),
        ),
        ("no base", with(&config, &json!({"base_dn": null}))),
    ];
    for (way, config) in ways {
        let output = Run::tap(&config).arg("--discover").run();
        assert_eq!(output.code, 0, "{way}: {}", output.stderr);
        assert!(output.json() == expected, "{way}: another catalog");
        // Content synchronisation has a connection of its own.
        let streams = json!({"schemas": [{"name": "all", "replication_method": "LOG_BASED"}]});
        let output = Run::tap(&with(&config, &streams)).run();
        assert_eq!(output.code, 0, "{way}, LOG_BASED: {}", output.stderr);
        assert_eq!(output.records(None).len(), slapd.dump().len(), "{way}");
    }

    // A client certificate: alice, who sees less than the administrator but is no stranger.
    let external = with(
        &with(&config, &anonymous),
        &json!({"server_url": slapd.ldaps_uri(), "tls_ca_file": tls.ca, "tls_cert_file": tls.client_cert,
                "tls_key_file": tls.client_key, "auth_method": "external"}),
    );
    let output = Run::tap(&external).run().succeeds();
    let own = |dn: &str| output.records(None).into_iter().find(|r| r["dn"] == dn).unwrap();
    assert!(
        own("uid=alice,ou=people,dc=example,dc=test")["userPassword"].is_array(),
        "alice reads her own password"
    );
    assert!(own("uid=bob,ou=people,dc=example,dc=test").get("userPassword").is_none_or(Value::is_null));

    // Nobody at all: everything but passwords.
    let output = Run::tap(&with(&config, &anonymous)).run().succeeds();
    assert_eq!(output.records(None).len(), slapd.dump().len());
    assert!(output.records(None).iter().all(|r| r.get("userPassword").is_none_or(Value::is_null)));
}

#[test]
fn the_environment_is_a_configuration() {
    let slapd = small();
    let expected = discover(&with(
        &reader_config(&slapd),
        &json!({"discovery_sample_size": null, "operational_attributes": null}),
    ));
    let output = Run::bare(Program::Tap)
        .arg("--config")
        .arg("ENV")
        .arg("--discover")
        .env("TAP_LDAP_SERVER_URL", &slapd.ldap_uri())
        .env("TAP_LDAP_BIND_DN", &slapd.reader_dn())
        .env("TAP_LDAP_BIND_PASSWORD", "reader-pw")
        .env("TAP_LDAP_BASE_DN", SUFFIX)
        .env("TAP_LDAP_PAGE_SIZE", "2")
        .run()
        .succeeds();
    assert!(output.json() == expected);

    // FLEXT_*: of the lowest precedence, and without being asked for.
    let port = slapd.ldap_port().to_string();
    let flext = |run: Run| {
        run.env("FLEXT_LDAP_HOST", "127.0.0.1")
            .env("FLEXT_LDAP_PORT", &port)
            .env("FLEXT_LDAP_BIND_DN", &slapd.reader_dn())
            .env("FLEXT_LDAP_BIND_PASSWORD", "reader-pw")
    };
    let output = flext(Run::tap(&json!({"base_dn": SUFFIX})).arg("--discover")).run().succeeds();
    assert!(output.json() == expected);
    flext(Run::tap(&json!({"base_dn": SUFFIX, "bind_password": "wrong"})).arg("--discover")).run().exits(3);

    // Later files win, key by key.
    let output = Run::tap(&with(
        &reader_config(&slapd),
        &json!({"bind_password": "wrong", "operational_attributes": null}),
    ))
    .file("--config", &json!({"bind_password": "reader-pw", "discovery_sample_size": 1000}))
    .arg("--discover")
    .run()
    .succeeds();
    assert!(output.json() == expected);
}

#[test]
fn about_says_what_it_is_in_three_forms() {
    for program in [Program::Tap, Program::Target] {
        let about =
            |format: &str| Run::bare(program).arg("--about").arg("--format").arg(format).run().succeeds();
        let json = about("json").json();
        assert_eq!(json["name"], program.name());
        assert!(json["version"].is_string() && json["description"].is_string());
        assert!(json["capabilities"].as_array().is_some_and(|c| c.contains(&json!("about"))));
        let settings = &json["settings"]["properties"];
        assert_eq!(settings["bind_password"]["secret"], true);
        assert!(settings["server_url"].is_object());
        for format in ["text", "markdown"] {
            let text = about(format).stdout_text();
            assert!(text.contains(program.name()) && text.contains("server_url"), "{format}: {text}");
        }
        let version = Run::bare(program).arg("--version").run().succeeds().stdout_text();
        assert!(version.contains(json["version"].as_str().unwrap()), "{version}");
        assert!(Run::bare(program).arg("--help").run().succeeds().stdout_text().contains("--config"));
    }
}

#[test]
fn the_health_report_says_how_it_stands() {
    let slapd = small();
    for run in [Run::tap(&tap_config(&slapd)), Run::target(&target_config(&slapd))] {
        let report = run.arg("--test").run().succeeds().json();
        assert_eq!(report["status"], "healthy", "{report}");
        assert!(report["response_time_ms"].is_number(), "{report}");
        assert!(report["server"].as_str().is_some_and(|s| s.contains("127.0.0.1")), "{report}");
        assert!(report["vendor"].as_str().is_some_and(|v| v.contains("OpenLDAP")), "{report}");
        let checks = report["checks"].as_array().unwrap();
        assert!(
            !checks.is_empty() && checks.iter().all(|c| c["ok"] == true && c["name"].is_string()),
            "{report}"
        );
    }
    for kind in ["--test=all", "--test=records", "--test=schema"] {
        Run::tap(&tap_config(&slapd)).arg(kind).run().succeeds();
    }
    let wrong = json!({"bind_password": "Wr0ng"});
    let dead = json!({"server_url": format!("ldap://127.0.0.1:{}", free_port()), "retry_attempts": 0});
    for change in [wrong, dead] {
        for run in [
            Run::tap(&with(&tap_config(&slapd), &change)),
            Run::target(&with(&target_config(&slapd), &change)),
        ] {
            let output = run.arg("--test").run().exits(3);
            let report = output.json();
            assert_eq!(report["status"], "unhealthy", "{report}");
            assert!(report["error"].as_str().is_some_and(|e| !e.is_empty()), "{report}");
        }
    }
    let before = slapd.change_marks();
    Run::target(&target_config(&slapd)).arg("--test").run().succeeds();
    crate::support::assert_untouched(&slapd, &before);
}

#[test]
fn a_sample_of_one_still_finds_every_container() {
    let slapd = small();
    let all = discover(&tap_config(&slapd));
    let sampled = discover(&with(&tap_config(&slapd), &json!({"discovery_sample_size": 1})));
    let ids = |c: &Value| -> BTreeSet<String> {
        c["streams"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| normalize_dn_or_name(s["tap_stream_id"].as_str().unwrap()))
            .collect()
    };
    assert_eq!(ids(&all), ids(&sampled));
}

fn normalize_dn_or_name(id: &str) -> String {
    if id.contains('=') { normalize_dn(id) } else { id.to_owned() }
}

#[test]
fn attributes_that_are_excluded_are_neither_in_the_catalog_nor_in_a_record() {
    let slapd = small();
    let stream_config = json!({"name": "people", "base_dn": format!("ou=people,{SUFFIX}"), "exclude_attributes": ["MAIL", "surname"]});
    let config = with(&tap_config(&slapd), &json!({"schemas": [stream_config]}));
    let catalog = discover(&config);
    let properties = stream(&catalog, "people")["schema"]["properties"].as_object().unwrap();
    let output = Run::tap(&config).run().succeeds();
    assert_eq!(output.records(None).len(), 8);
    for gone in ["mail", "sn"] {
        assert!(!properties.contains_key(gone), "{gone}");
        assert!(output.records(None).iter().all(|r| r.get(gone).is_none()), "{gone}");
    }
    assert!(properties.contains_key("cn"));
}

#[test]
fn a_misspelt_key_inside_a_stream_is_2_with_the_nearest_name() {
    let slapd = small();
    let people = json!({"name": "people", "base_dn": format!("ou=people,{SUFFIX}"), "atributes": ["cn"]});
    let config = with(&tap_config(&slapd), &json!({"schemas": [people]}));
    Run::tap(&config)
        .arg("--discover")
        .run()
        .exits(2)
        .reports(&json!({"setting": "schemas[0].atributes", "nearest": "attributes"}));
}

#[test]
fn the_catalog_may_come_by_the_environment() {
    let slapd = small();
    let mut catalog = discover(&tap_config(&slapd));
    catalog["streams"].as_array_mut().unwrap().retain(|s| s["tap_stream_id"] == CONTAINERS);
    let file = slapd.path("catalog.json");
    std::fs::write(&file, catalog.to_string()).unwrap();
    let from_environment = |run: Run| run.env("FLEXT_SINGER_LDAP_CATALOG_PATH", file.to_str().unwrap());
    let output = from_environment(Run::tap(&tap_config(&slapd))).run().succeeds();
    let streams: BTreeSet<&str> = output.messages.iter().filter_map(|m| m["stream"].as_str()).collect();
    assert_eq!(streams, BTreeSet::from([CONTAINERS]), "only what that catalog has");
    // The command line's own wins, and discovery takes none.
    let all = discover(&tap_config(&slapd));
    let output = from_environment(Run::tap(&tap_config(&slapd))).file("--catalog", &all).run().succeeds();
    assert_eq!(output.records(None).len(), slapd.dump().len());
    assert!(from_environment(Run::tap(&tap_config(&slapd))).arg("--discover").run().succeeds().json() == all);
}
