//! Who is disabled at the source is disabled in the mirror: a password is never copied without the lock of its account.

use ldap_tests::bind::bind_code;
use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::run::{Output, Run, pipe};
use ldap_tests::server::Server;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{discover, tap_config, target_config, unit, with};

const SUFFIX: &str = "dc=example,dc=test";
const EVE: &str = "uid=eve,dc=example,dc=test";

fn eve() -> String {
    format!(
        "dn: {EVE}\nobjectClass: inetOrgPerson\nuid: eve\ncn: eve\nsn: eve\nuserPassword: eve-first-pw1\n\n"
    )
}

fn binds(server: &Server, dn: &str, password: &str) -> bool {
    bind_code(server, dn, password) == 0
}

fn slapd(more: &str) -> Slapd {
    let policy = format!(
        "dn: cn=policy,{SUFFIX}\nobjectClass: device\nobjectClass: pwdPolicy\ncn: policy\npwdAttribute: userPassword\n\
         pwdLockout: TRUE\n\n"
    );
    Slapd::start(SlapdOptions {
        database_conf: format!("overlay ppolicy\nppolicy_default cn=policy,{SUFFIX}"),
        ..SlapdOptions::default().seed(policy).seed(more)
    })
}

fn copy(source: &Server, mirror: &Server) {
    let tap = with(&tap_config(source), &json!({"select_by_default": "allowed"}));
    let (tap, target) = pipe(&tap, &target_config(mirror));
    tap.succeeds();
    target.succeeds();
}

/// `lock`: the attribute and its value.
fn a_lock_follows(source: &Server, mirror: &Server, (attribute, value): (&str, &str)) {
    let change = |steps: &str| source.ldapmodify(format!("dn: {EVE}\nchangetype: modify\n{steps}\n"));
    let lock = format!("replace: {attribute}\n{attribute}: {value}\n");
    change(&lock);
    copy(source, mirror);
    assert!(!binds(source, EVE, "eve-first-pw1"));
    assert!(!binds(mirror, EVE, "eve-first-pw1"), "a disabled account was copied with its password");
    // The mirror takes the lock off where the source does.
    change(&format!("delete: {attribute}\n"));
    copy(source, mirror);
    assert!(binds(mirror, EVE, "eve-first-pw1"));
    // A lock and a new password at once: OpenLDAP drops the lock with a password.
    change("replace: userPassword\nuserPassword: eve-second-pw2\n");
    change(&lock);
    copy(source, mirror);
    assert!(!binds(mirror, EVE, "eve-second-pw2"));
    // A new password of a disabled account does not enable it.
    change("replace: userPassword\nuserPassword: eve-third-pw3\n");
    change(&lock);
    copy(source, mirror);
    assert!(!binds(mirror, EVE, "eve-third-pw3"));
    change(&format!("delete: {attribute}\n"));
    copy(source, mirror);
    assert!(binds(mirror, EVE, "eve-third-pw3"));
}

#[test]
fn openldap_locks_follow() {
    a_lock_follows(&slapd(&eve()), &slapd(""), ("pwdAccountLockedTime", "000001010000Z"));
}

/// Some clients write the lock that never ends with seconds.
#[test]
fn openldap_a_lock_with_seconds_follows() {
    a_lock_follows(&slapd(&eve()), &slapd(""), ("pwdAccountLockedTime", "00000101000000Z"));
}

#[test]
fn ds389_locks_follow() {
    let source = Ds389::start(&Ds389Options::default().seed(eve()));
    let mirror = Ds389::start(&Ds389Options::default());
    a_lock_follows(&source, &mirror, ("nsAccountLock", "TRUE"));
}

/// A copy of a database: what slapcat writes has the lock, too.
#[test]
fn a_file_with_locks_is_loaded_with_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("people.ldif");
    std::fs::write(&file, eve().replace("\n\n", "\npwdAccountLockedTime: 000001010000Z\n\n")).unwrap();
    let mirror = slapd("");
    let tap = json!({"server_url": format!("ldif:{}", file.display()), "discovery_sample_size": 0,
        "operational_attributes": ["userPassword"]});
    let (tap, target) = pipe(&tap, &target_config(&mirror));
    tap.succeeds();
    target.succeeds();
    assert!(!binds(&mirror, EVE, "eve-first-pw1"));
}

/// The base of a stream need not lie below that of the directory.
#[test]
fn a_lock_below_another_base_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("people.ldif");
    let (staff, units) = (format!("ou=staff,{SUFFIX}"), format!("ou=units,{SUFFIX}"));
    let locked = eve().replace(SUFFIX, &staff).replace("\n\n", "\npwdAccountLockedTime: 000001010000Z\n\n");
    std::fs::write(&file, unit(&staff) + &unit(&units) + &locked).unwrap();
    let tap = json!({"server_url": format!("ldif:{}", file.display()), "base_dn": units,
        "schemas": [{"name": "staff", "base_dn": staff, "filter": "(uid=*)", "attributes": ["uid", "userPassword"]}]});
    let output = Run::tap(&tap).run().succeeds();
    let records = output.records(None);
    assert_eq!(records.len(), 1);
    assert!(records[0]["userPassword"].is_array());
    assert_eq!(records[0]["pwdAccountLockedTime"], "000001010000Z");
}

fn warnings_of_locks(config: &Value, catalog: &Value) -> Vec<Value> {
    let output: Output =
        Run::tap(config).arg("--log-format").arg("json").file("--catalog", catalog).run().succeeds();
    let found = output.stderr.about(&json!({"setting": "--catalog", "level": "warning"}));
    found.into_iter().map(|line| line["attribute"].clone()).collect()
}

/// A catalog from before the first lock, or of an earlier version, has the passwords and not the locks.
#[test]
fn a_catalog_with_passwords_and_without_the_lock_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("people.ldif");
    std::fs::write(&file, eve()).unwrap();
    let tap = json!({"server_url": format!("ldif:{}", file.display()), "operational_attributes": ["userPassword"],
        "schemas": [{"name": "all", "base_dn": SUFFIX}]});
    let catalog = discover(&tap);
    assert!(warnings_of_locks(&tap, &catalog).is_empty(), "no lock occurs");
    std::fs::write(&file, eve().replace("\n\n", "\npwdAccountLockedTime: 000001010000Z\n\n")).unwrap();
    assert_eq!(warnings_of_locks(&tap, &catalog), ["pwdAccountLockedTime"]);
    // The catalog alone selects the passwords.
    let quiet = with(&tap, &json!({"operational_attributes": null}));
    assert_eq!(warnings_of_locks(&quiet, &catalog), ["pwdAccountLockedTime"]);
    assert!(warnings_of_locks(&tap, &discover(&tap)).is_empty());

    let server = slapd(&eve());
    let tap = with(&tap_config(&server), &json!({"schemas": [{"name": "all"}]}));
    let mut catalog = discover(&tap);
    assert!(warnings_of_locks(&tap, &catalog).is_empty());
    catalog["streams"][0]["schema"]["properties"]
        .as_object_mut()
        .unwrap()
        .shift_remove("pwdAccountLockedTime");
    assert_eq!(warnings_of_locks(&tap, &catalog), ["pwdAccountLockedTime"]);
    let excluded = json!({"schemas": [{"name": "all", "exclude_attributes": ["pwdAccountLockedTime"]}]});
    assert!(warnings_of_locks(&with(&tap, &excluded), &catalog).is_empty(), "on purpose");
}
