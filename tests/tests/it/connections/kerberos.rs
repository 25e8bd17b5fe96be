//! Binds by Kerberos and by NTLM, sealed and over TLS. Only with the features that build them.

use std::process::Command;

use ldap_tests::cutter::{Cutter, Way};
use ldap_tests::krb5::{Kdc, REALM};
use ldap_tests::meltano::executable_of_wheel;
use ldap_tests::run::{Program, Run};
use ldap_tests::server::scratch;
use ldap_tests::slapd::{Base, Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{people, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";

/// A realm and a slapd in it, where only alice may write.
fn realm(global: &str) -> (Kdc, Slapd) {
    let kdc = Kdc::start();
    let access = format!(
        "access to dn.subtree=\"{PEOPLE}\" by dn.exact=\"uid=alice,{PEOPLE}\" ssf=56 write by * none\n"
    );
    let slapd = Slapd::start(
        SlapdOptions {
            base: Base::Users,
            kerberos: Some(kdc.to_path()),
            global_conf: format!("sasl-realm {REALM}\n{global}\n"),
            access,
            ..SlapdOptions::default()
        }
        .seed(people(2_000, PEOPLE)),
    );
    (kdc, slapd)
}

fn config(slapd: &Slapd, uri: &str) -> Value {
    json!({"server_url": uri.replace("127.0.0.1", "localhost"), "auth_method": "gssapi", "base_dn": slapd.suffix(),
        "tls_ca_file": slapd.certificates().ca, "retry_attempts": 0, "schemas": [{"name": "s", "base_dn": PEOPLE}]})
}

fn as_client(mut run: Run, kdc: &Kdc, is_alice: bool) -> Run {
    for (name, value) in kdc.environment(is_alice) {
        run = run.env(&name, &value);
    }
    run
}

#[test]
fn a_ticket_binds_sealed_over_ldap_and_bound_to_the_certificate_over_tls() {
    let (kdc, slapd) = realm("sasl-cbinding tls-endpoint");
    for (uri, more) in [
        (slapd.ldap_uri(), json!({})),
        (slapd.ldap_uri(), json!({"connection_pool_size": 1, "page_size": 400})),
        (slapd.ldap_uri(), json!({"start_tls": true})),
        (slapd.ldaps_uri(), json!({})),
    ] {
        let config = with(&config(&slapd, &uri), &more);
        let output = as_client(Run::tap(&config), &kdc, true).run().succeeds();
        assert_eq!(output.records(Some("s")).len(), 2_005, "{uri} {more}");
    }
}

#[test]
fn nothing_of_what_goes_over_the_network_can_be_read() {
    let (kdc, slapd) = realm("");
    let seen = Cutter::start(slapd.ldap_port(), Way::ToClient, &[]);
    let config = config(&slapd, &seen.uri());
    as_client(Run::tap(&config), &kdc, true).run().succeeds();
    let octets = seen.octets();
    assert!(octets.len() > 500_000, "{}", octets.len());
    for word in ["person1999", "inetOrgPerson"] {
        assert!(!octets.windows(word.len()).any(|w| w == word.as_bytes()), "{word} went by in clear text");
    }
    // And what is written, which slapd takes over sealed connections only.
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let text = "x".repeat(100_000);
    let messages = [
        json!({"type": "SCHEMA", "stream": "s", "key_properties": ["dn"], "schema": {"properties": {
            "dn": {"type": "string"}, "objectClass": texts, "ou": texts, "description": texts}}}),
        json!({"type": "RECORD", "stream": "s", "record":
            {"dn": format!("ou=new,{PEOPLE}"), "objectClass": ["organizationalUnit"], "ou": ["new"], "description": [text]}}),
    ];
    let target = with(&config, &json!({"schemas": null, "base_dn": null}));
    as_client(Run::target(&target), &kdc, true).messages(&messages).run().succeeds();
    let new = &slapd.dump_below(PEOPLE, &["description"])[&format!("ou=new,{PEOPLE}")];
    assert_eq!(new["description"].iter().next().unwrap().len(), 100_000);
}

#[test]
fn no_more_is_sealed_at_once_than_the_server_takes() {
    let (kdc, slapd) = realm("sasl-secprops noanonymous,noplain,maxbufsize=4096");
    let config = with(&config(&slapd, &slapd.ldap_uri()), &json!({"schemas": null, "base_dn": null}));
    let texts = json!({"type": "array", "items": {"type": "string"}});
    let messages = [
        json!({"type": "SCHEMA", "stream": "s", "key_properties": ["dn"], "schema": {"properties": {
            "dn": {"type": "string"}, "objectClass": texts, "ou": texts, "description": texts}}}),
        json!({"type": "RECORD", "stream": "s", "record": {"dn": format!("ou=new,{PEOPLE}"),
            "objectClass": ["organizationalUnit"], "ou": ["new"], "description": ["x".repeat(50_000)]}}),
    ];
    as_client(Run::target(&config), &kdc, true).messages(&messages).run().succeeds();
    let new = &slapd.dump_below(PEOPLE, &["description"])[&format!("ou=new,{PEOPLE}")];
    assert_eq!(new["description"].iter().next().unwrap().len(), 50_000);
}

#[test]
fn without_a_ticket_the_message_says_what_to_do() {
    let (kdc, slapd) = realm("");
    let config = config(&slapd, &slapd.ldap_uri());
    as_client(Run::tap(&config), &kdc, false).run().exits(3).says("GSS-API").says("kinit");
    // Of a host that the realm does not know.
    let config = with(&config, &json!({"server_url": slapd.ldap_uri()}));
    as_client(Run::tap(&config), &kdc, true).run().exits(3).says("GSS-API").says("in Kerberos");
    // A server that takes no Kerberos.
    let other = Slapd::start(SlapdOptions::with_users());
    let config = self::config(&other, &other.ldap_uri());
    as_client(Run::tap(&config), &kdc, true).run().exits(3);
}

/// One wheel for machines with Kerberos and machines without: `packaging/gssapi/forward.c`.
#[test]
fn wheels_load_the_machines_kerberos_when_a_bind_needs_it() {
    let (kdc, slapd) = realm("sasl-cbinding tls-endpoint");
    let dir = scratch();
    let tap = executable_of_wheel(Program::Tap, dir.path());
    let linked = Command::new("readelf").arg("--dynamic").arg(&tap).output().unwrap();
    assert!(linked.status.success() && !String::from_utf8_lossy(&linked.stdout).contains("gssapi"));
    for uri in [slapd.ldap_uri(), slapd.ldaps_uri()] {
        let run = Run::tap(&config(&slapd, &uri)).executable(tap.clone());
        let output = as_client(run, &kdc, true).run().succeeds();
        assert_eq!(output.records(Some("s")).len(), 2_005, "{uri}");
        let run = Run::tap(&config(&slapd, &uri)).executable(tap.clone());
        as_client(run, &kdc, false).run().exits(3).says("kinit");
    }
    // What cannot be loaded is as good as missing.
    std::fs::write(dir.path().join("libgssapi_krb5.so.2"), "no library").unwrap();
    let run = |config: &Value| {
        Run::tap(config).executable(tap.clone()).env("LD_LIBRARY_PATH", dir.path().to_str().unwrap())
    };
    as_client(run(&config(&slapd, &slapd.ldap_uri())), &kdc, true)
        .run()
        .exits(3)
        .says("libgssapi_krb5.so.2")
        .says("libgssapi-krb5-2");
    let ntlm = json!({"auth_method": "ntlm", "bind_dn": "X\\y", "bind_password": "z"});
    run(&with(&config(&slapd, &slapd.ldap_uri()), &ntlm)).run().exits(3).says("libgssapi_krb5.so.2");
    // Every other bind goes without it.
    let simple =
        json!({"auth_method": null, "bind_dn": slapd.admin_dn(), "bind_password": slapd.admin_password()});
    let output = run(&with(&config(&slapd, &slapd.ldap_uri()), &simple)).run().succeeds();
    assert_eq!(output.records(Some("s")).len(), 2_005);
}

#[cfg(feature = "ntlm")]
#[test]
fn ntlm_binds_to_a_domain_controller_sealed_and_over_tls() {
    use ldap_tests::samba::Samba;

    let samba = Samba::start("");
    let base = json!({"auth_method": "ntlm", "bind_dn": format!("{}\\Administrator", ldap_tests::samba::WORKGROUP),
        "bind_password": samba.admin_password(), "base_dn": samba.suffix(), "retry_attempts": 0,
        "tls_ca_file": samba.certificates().ca,
        "schemas": [{"name": "s", "base_dn": format!("CN=Users,{}", samba.suffix()), "filter": "(objectClass=user)"}]});
    let simple = with(
        &base,
        &json!({"auth_method": null, "bind_dn": samba.admin_dn(), "server_url": samba.ldaps_uri()}),
    );
    let wanted = Run::tap(&simple).run().succeeds().records(None).len();
    assert!(wanted > 1);
    for uri in [samba.ldap_uri(), samba.ldaps_uri()] {
        let config = with(&base, &json!({"server_url": uri}));
        let output = Run::tap(&config).run().succeeds();
        assert_eq!(output.records(None).len(), wanted, "{uri}");
        let dir = scratch();
        let wheel = executable_of_wheel(Program::Tap, dir.path());
        let output = Run::tap(&config).executable(wheel).run().succeeds();
        assert_eq!(output.records(None).len(), wanted, "{uri}, wheel");
        let wrong = with(&config, &json!({"bind_password": "Wr0ng-Passw0rd"}));
        let output = Run::tap(&wrong).run().exits(3).reports_code(49);
        assert!(!output.stderr.contains("Wr0ng-Passw0rd"));
    }
    // Nothing that goes over the network can be read.
    let seen = Cutter::start(samba.ldap_port(), Way::ToClient, &[]);
    Run::tap(&with(&base, &json!({"server_url": seen.uri()}))).run().succeeds();
    let octets = seen.octets();
    assert!(!octets.windows(13).any(|w| w == b"Administrator"), "a name went by in clear text");
}
