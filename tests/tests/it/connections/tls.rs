//! Certificates that are not accepted, and why; SASL EXTERNAL by certificate and by socket.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ldap_tests::certificates::Fault;
use ldap_tests::run::{Output, Run};
use ldap_tests::server::{free_port, scratch, terminate, tool};
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};

use crate::support::{no_panic, tap_config, with};

/// A TLS server that says nothing else.
struct Handshakes(Child, u16);

impl Handshakes {
    fn start(cert: &Path, key: &Path, more: &[&str]) -> Handshakes {
        let port = free_port();
        let mut command = Command::new(tool("openssl"));
        command.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-cert"]).arg(cert);
        command.arg("-key").arg(key).args(more);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "openssl s_server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        Handshakes(child, port)
    }

    fn discover(&self, ca: &Path) -> Output {
        self.run(ca, "--discover")
    }

    fn run(&self, ca: &Path, mode: &str) -> Output {
        let config = json!({"server_url": format!("ldaps://localhost:{}", self.1), "tls_ca_file": ca, "base_dn": "dc=x",
            "bind_dn": "cn=x", "bind_password": "Never-Sent", "connect_timeout_seconds": 3});
        Run::tap(&config).arg(mode).run()
    }
}

impl Drop for Handshakes {
    fn drop(&mut self) {
        terminate(&mut self.0, Duration::from_secs(1));
    }
}

#[test]
fn a_certificate_that_is_not_accepted_is_3_and_the_message_says_why() {
    let dir = scratch();
    let other = dir.path().join("other");
    let [unknown_ca, ..] = Fault::None.create(&other);
    for (fault, says) in [
        (Fault::Expired, "it expired on 20"),
        (Fault::NotYet, "it is not valid before 2"),
        (Fault::OtherName, ", and the URL says "),
        (Fault::SelfSigned, "it is signed by itself"),
        (Fault::Authority, "CA:FALSE"),
        (Fault::None, "it is signed by an authority that is not trusted"),
    ] {
        let [ca, cert, key] = fault.create(&dir.path().join(format!("{fault:?}")));
        let server = Handshakes::start(&cert, &key, &[]);
        let ca = if fault == Fault::None { &unknown_ca } else { &ca };
        let output = server.discover(ca);
        no_panic(&output);
        // At once: no attempt cures it.
        assert!(
            output.took < Duration::from_secs(30) && !output.stderr.contains("attempt"),
            "{}",
            output.stderr
        );
        // rustls's names of its errors are for programmers.
        assert!(!output.stderr.contains("Other("), "{}", output.stderr);
        output.exits(3).says(says);
        let doctor = server.run(ca, "doctor");
        assert!(doctor.stdout_text().contains(says), "{}", doctor.stdout_text());
        assert!(!doctor.stdout_text().contains("Other("), "{}", doctor.stdout_text());
    }
}

#[test]
fn tls_1_1_is_refused_and_1_2_is_taken() {
    let dir = scratch();
    let [ca, cert, key] = Fault::None.create(dir.path());
    let old = Handshakes::start(&cert, &key, &["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"]);
    old.discover(&ca).exits(3).says("TLS 1.2 at least is needed");
    // The handshake succeeds; that nothing answers is another matter.
    let new = Handshakes::start(&cert, &key, &["-tls1_2"]);
    new.discover(&ca).exits(3).says("no answer within 3 s");
}

#[test]
fn a_certificate_and_a_socket_bind_as_whom_the_server_takes_them_for() {
    let slapd = Slapd::start(SlapdOptions {
        access: "access to dn.subtree=\"ou=people,dc=example,dc=test\" by dn.exact=\"uid=alice,ou=people,dc=example,dc=test\" read by * none\n"
            .to_owned(),
        ..SlapdOptions::with_users()
    });
    let tls = slapd.certificates();
    let read = |more: Value| {
        let base = with(
            &tap_config(&slapd),
            &json!({"bind_dn": null, "bind_password": null, "retry_attempts": 0,
            "schemas": [{"name": "s", "base_dn": slapd.suffix(), "filter": "(uid=*)"}]}),
        );
        Run::tap(&with(&base, &more)).run()
    };
    let certificate = json!({"auth_method": "external", "tls_ca_file": tls.ca, "tls_cert_file": tls.client_cert,
        "tls_key_file": tls.client_key});
    for more in [json!({"server_url": slapd.ldaps_uri()}), json!({"start_tls": true})] {
        let output = read(with(&certificate, &more)).succeeds();
        assert_eq!(output.records(None).len(), 4, "as alice: {more}");
        // Without a certificate it is nobody.
        let nobody = with(&with(&certificate, &more), &json!({"tls_cert_file": null, "tls_key_file": null}));
        assert_ne!(read(nobody).code, 0);
    }
    // This user, which the server takes for its administrator.
    let socket = json!({"server_url": slapd.ldapi_uri(), "auth_method": "external"});
    assert_eq!(read(socket).succeeds().records(None).len(), 4);
    // A key that is another certificate's.
    let wrong = with(&certificate, &json!({"server_url": slapd.ldaps_uri(), "tls_key_file": tls.server_key}));
    read(wrong).exits(2).reports_setting("tls_cert_file");
}

#[cfg(not(feature = "gssapi"))]
#[test]
fn a_method_that_was_not_built_says_how_to_build_it() {
    for method in ["gssapi", "ntlm"] {
        let config = json!({"server_url": "ldap://127.0.0.1", "auth_method": method, "bind_dn": "A\\b", "bind_password": "x"});
        Run::tap(&config).run().exits(2).reports_setting("auth_method").says(&format!("--features {method}"));
    }
}
