//! The same streams, configured alike, on each kind of server.

use ldap_tests::ldif::{normalize_dn, parse_file};
use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use serde_json::{Value, json};

use super::{STAFF, SUFFIX, ds389, samba, slapd, tree_file};
use crate::support::{assert_records_fit, discover, is_array_of, is_scalar, stream, tap_config, with};

/// The seed's configuration (SPEC, appendix A) with the names that each kind of directory has.
#[track_caller]
fn the_seeds_streams(
    all: &Value,
    there: &ldap_tests::ldif::Tree,
    users: &str,
    groups: &str,
    group_class: &str,
) {
    let config = with(
        all,
        &json!({
            "schemas": [
                {"name": "users", "base_dn": users, "filter": "(objectClass=person)",
                 "attributes": ["uid", "cn", "sn", "mail", "departmentNumber"]},
                {"name": "groups", "base_dn": groups, "filter": format!("(objectClass={group_class})"),
                 "attributes": ["cn", "member", "description"]},
            ],
            "single_valued": ["uid", "cn", "sn", "mail", "departmentNumber"],
        }),
    );
    let catalog = discover(&config);
    assert_eq!(catalog["streams"].as_array().unwrap().len(), 2);
    for name in ["uid", "cn", "sn", "mail", "departmentNumber"] {
        is_scalar(&stream(&catalog, "users")["schema"]["properties"][name], "string");
    }
    is_array_of(&stream(&catalog, "groups")["schema"]["properties"]["member"], "string");
    let output = Run::tap(&config).run().succeeds();
    assert_records_fit(&output);
    let people = output.records(Some("users"));
    let ada = people.iter().find(|r| r["cn"] == "Ada Lovelace").unwrap_or_else(|| panic!("{people:?}"));
    assert_eq!((&ada["sn"], &ada["departmentNumber"]), (&json!("Lovelace"), &json!("7")));
    assert!(["ada@example.test", "countess@example.test"].contains(&ada["mail"].as_str().unwrap()));
    let makers = output.records(Some("groups"));
    assert_eq!(makers.len(), 1, "{makers:?}");
    assert_eq!(makers[0]["cn"], json!(makers[0]["cn"].as_str().unwrap()));
    assert_eq!(makers[0]["member"].as_array().unwrap().len(), 2);
    for member in makers[0]["member"].as_array().unwrap() {
        assert!(there.contains_key(&normalize_dn(member.as_str().unwrap())), "{member}");
    }
}

#[test]
fn the_seeds_configuration_runs_on_openldap() {
    let server = slapd();
    the_seeds_streams(
        &tap_config(&server),
        &server.dump_attributes(&["1.1"]),
        &format!("ou=people,{SUFFIX}"),
        &format!("ou=groups,{SUFFIX}"),
        "groupOfNames",
    );
}

#[test]
fn the_seeds_configuration_runs_on_ds389() {
    let server = ds389();
    the_seeds_streams(
        &tap_config(&server),
        &server.dump_attributes(&["1.1"]),
        &format!("ou=people,{SUFFIX}"),
        &format!("ou=groups,{SUFFIX}"),
        "groupOfNames",
    );
}

#[test]
fn the_seeds_configuration_runs_on_active_directory() {
    let server = samba();
    let there = server.dump_attributes(&["1.1"]);
    the_seeds_streams(&tap_config(&server), &there, STAFF, &format!("OU=Groups,{STAFF}"), "group");
}

#[test]
fn the_seeds_configuration_runs_on_a_file() {
    let dir = scratch();
    let (file, config) = tree_file(&dir);
    the_seeds_streams(
        &config,
        &parse_file(&file),
        &format!("ou=people,{SUFFIX}"),
        &format!("ou=groups,{SUFFIX}"),
        "groupOfNames",
    );
}
