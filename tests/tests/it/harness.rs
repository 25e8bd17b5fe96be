//! The harness itself: a test that uses it can only be trusted when it is right.

use ldap_tests::ldif::{assert_same, parse};
use ldap_tests::slapd::{ADMIN_PASSWORD, Slapd, SlapdOptions, tool};
use std::process::Command;

#[test]
fn slapd_starts_answers_restarts_dies_and_stops() {
    let mut slapd = Slapd::start(SlapdOptions::with_users());
    let before = slapd.dump();
    assert_eq!(before.len(), 6);
    slapd.restart();
    assert_same("before", &before, "after a restart", &slapd.dump());
    slapd.kill();
    slapd.restart();
    assert_same("before", &before, "after a crash", &slapd.dump());
    assert_same(
        "ldapsearch",
        &slapd.dump_attributes(&["*", "+"]),
        "slapcat",
        &without_operational_noise(&slapd),
    );
    let port = slapd.ldap_port();
    drop(slapd);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "slapd is gone");
}

/// slapcat has all that is stored; ldapsearch adds what the server computes.
fn without_operational_noise(slapd: &Slapd) -> ldap_tests::ldif::Tree {
    let mut tree = parse(&slapd.slapcat());
    let online = slapd.dump_attributes(&["*", "+"]);
    for (dn, attributes) in &mut tree {
        for name in ["entrydn", "subschemasubentry", "hassubordinates", "contextcsn"] {
            attributes.remove(name);
            if let Some(values) = online.get(dn).and_then(|a| a.get(name)) {
                attributes.insert(name.to_owned(), values.clone());
            }
        }
    }
    tree
}

#[test]
fn slapd_answers_over_tls_and_its_socket() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let ca = slapd.certificates().ca.clone();
    let whoami = |args: &[&str]| {
        let output = Command::new(tool("ldapwhoami"))
            .args(args)
            .env("LDAPTLS_CACERT", &ca)
            .env("LDAPTLS_CERT", &slapd.certificates().client_cert)
            .env("LDAPTLS_KEY", &slapd.certificates().client_key)
            .output()
            .unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let admin = format!("dn:{}", slapd.admin_dn());
    let simple = ["-x", "-D", &slapd.admin_dn(), "-w", ADMIN_PASSWORD];
    assert_eq!(whoami(&[&simple[..], &["-H", &slapd.ldaps_uri()]].concat()), admin);
    assert_eq!(whoami(&[&simple[..], &["-ZZ", "-H", &slapd.ldap_uri()]].concat()), admin);
    assert_eq!(whoami(&["-Q", "-Y", "EXTERNAL", "-H", &slapd.ldapi_uri()]), admin);
    let alice = "dn:uid=alice,ou=people,dc=example,dc=test";
    assert_eq!(whoami(&["-Q", "-Y", "EXTERNAL", "-H", &slapd.ldaps_uri()]), alice);
}

#[test]
fn slapd_has_every_option() {
    let mut options = SlapdOptions::empty().suffix("dc=other,dc=test");
    options.accesslog = true;
    options.memberof = true;
    let slapd = Slapd::start(options);
    assert!(slapd.dump().is_empty());
    slapd.ldapadd(
        b"dn: dc=other,dc=test\nobjectClass: domain\ndc: other\n\n\
        dn: cn=g,dc=other,dc=test\nobjectClass: groupOfNames\ncn: g\nmember: dc=other,dc=test\n",
    );
    assert_eq!(slapd.dump().len(), 2);
    assert!(slapd.dump_attributes(&["memberOf"]).values().any(|e| e.contains_key("memberof")));
}
