//! Copies into another kind of directory.

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::{assert_same, parse_file};
use ldap_tests::run::pipe;
use ldap_tests::server::scratch;
use serde_json::json;

use super::{SUFFIX, ds389, slapd};
use crate::support::{normalized, tap_config, target_config};

#[test]
fn ds389_is_mirrored_into_a_file() {
    let server = ds389();
    let dir = scratch();
    let file = dir.path().join("mirror.ldif");
    let (tap, target) =
        pipe(&tap_config(&server), &json!({"server_url": format!("ldif:{}", file.display())}));
    assert_eq!((tap.code, target.code), (0, 0), "{}\n{}", tap.stderr, target.stderr);
    let copy = parse_file(&file);
    assert_same("389 DS", &normalized(&server.dump()), "the file", &normalized(&copy));
}

#[test]
fn openldap_is_mirrored_into_ds389() {
    let source = slapd();
    let copy = Ds389::start(&Ds389Options::default());
    let (tap, target) = pipe(&tap_config(&source), &target_config(&copy));
    assert_eq!((tap.code, target.code), (0, 0), "{}\n{}", tap.stderr, target.stderr);
    let mut there = copy.dump();
    assert!(there.remove(&format!("uid=reader,{SUFFIX}")).is_some(), "what was there before stays");
    let root = there.get_mut(SUFFIX).unwrap();
    root.remove("aci");
    assert!(
        root.get_mut("objectclass").unwrap().remove(b"top".as_slice()),
        "389 DS adds superclasses by itself"
    );
    assert_same("OpenLDAP", &normalized(&source.dump()), "389 DS", &normalized(&there));

    let marks = copy.change_marks();
    let (_, again) = pipe(&tap_config(&source), &target_config(&copy));
    assert_eq!(again.code, 0, "{}", again.stderr);
    crate::support::assert_untouched(&copy, &marks);
}
