//! The catalog of each kind of server is the golden one.

use std::collections::BTreeSet;

use ldap_tests::ldif::parse_file;
use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use serde_json::json;

use super::{STAFF, ds389, records, samba, slapd, tree_file};
use crate::support::golden::assert_golden;
use crate::support::{assert_records_fit, discover, tap_config, with};

#[test]
fn the_catalog_of_openldap_is_as_expected() {
    assert_golden("openldap", &discover(&tap_config(&slapd())));
}

#[test]
fn the_catalog_of_ds389_is_as_expected() {
    assert_golden("389ds", &discover(&tap_config(&ds389())));
}

#[test]
fn the_catalog_of_active_directory_is_as_expected() {
    let server = samba();
    assert_golden("active-directory", &discover(&with(&tap_config(&server), &json!({"base_dn": STAFF}))));
}

#[test]
fn the_catalog_of_a_file_is_as_expected() {
    let dir = scratch();
    let (file, config) = tree_file(&dir);
    assert_golden("ldif", &discover(&config));
    let output = Run::tap(&config).run().succeeds();
    assert_eq!(assert_records_fit(&output), parse_file(&file).len());
    let emitted: BTreeSet<String> = records(&output).into_keys().collect();
    assert_eq!(emitted, parse_file(&file).into_keys().collect::<BTreeSet<_>>());
}
