//! The harness itself: tests can rely on it only if it is right.

use ldap_tests::apacheds::ApacheDs;
use ldap_tests::client::Client;
use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::hostile;
use ldap_tests::ldif::{assert_same, normalize_dn, parse};
use ldap_tests::memory::peak_kib;
use ldap_tests::samba::Samba;
use ldap_tests::server::Server;
use ldap_tests::slapd::{ADMIN_PASSWORD, Slapd, SlapdOptions, tool};
use std::io::Write as _;
use std::ops::DerefMut;
use std::process::{Command, Stdio};

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

#[test]
fn slapd_takes_another_directory_in_place_of_its_own() {
    let mut slapd = Slapd::start(SlapdOptions::with_users());
    let backup = slapd.slapcat();
    let before = slapd.dump_attributes(&["*", "+"]);
    let suffix = slapd.suffix().to_owned();
    let mut session = slapd.ldapmodify_session();
    let mut stdin = session.stdin.take().unwrap();
    write!(stdin, "dn: uid=alice,ou=people,{suffix}\nchangetype: delete\n\n").unwrap();
    stdin.flush().unwrap();
    // Applied at once, not when the input ends.
    for _ in 0..500 {
        if slapd.dump().len() == before.len() - 1 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert_eq!(slapd.dump().len(), before.len() - 1);
    drop(stdin);
    assert!(session.wait().unwrap().success());
    slapd.reload(&backup);
    assert_same("before", &before, "from the backup", &slapd.dump_attributes(&["*", "+"]));
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

#[test]
fn slapd_takes_all_of_the_hostile_directory() {
    let slapd = hostile::start_offline();
    let online = slapd.dump();
    let file = parse(format!("{}\n\n{}", hostile::ldif(), hostile::generated()).as_bytes());
    assert_eq!(online.len(), file.len());
    assert_eq!(online["cn=everyone,ou=hostile,dc=example,dc=test"]["member"].len(), hostile::MEMBERS);

    // A child comes before its parent, both for a plain entry and for a container.
    let entries = Client::admin(&slapd).search(slapd.suffix(), "(objectClass=*)", &["1.1"]).unwrap();
    let order: Vec<String> = entries.iter().map(|entry| normalize_dn(&entry.dn)).collect();
    let position = |dn: &str| order.iter().position(|d| d == dn).unwrap_or_else(|| panic!("no {dn}"));
    let suffix = slapd.suffix();
    assert!(
        position(&format!("cn=early child,uid=late parent,ou=people,{suffix}"))
            < position(&format!("uid=late parent,ou=people,{suffix}"))
    );
    assert!(position(&format!("ou=early,ou=zzz,{suffix}")) < position(&format!("ou=zzz,{suffix}")));

    // And what slapd took is what the file says, value by value.
    let mut expected = file;
    for (from, to) in [
        ("cn=early child,dc=example,dc=test", "cn=early child,uid=late parent,ou=people,dc=example,dc=test"),
        ("ou=early,dc=example,dc=test", "ou=early,ou=zzz,dc=example,dc=test"),
        ("uid=in early,ou=early,dc=example,dc=test", "uid=in early,ou=early,ou=zzz,dc=example,dc=test"),
    ] {
        let entry = expected.remove(from).unwrap();
        expected.insert(to.to_owned(), entry);
    }
    // slapd keeps the schema's own name of an attribute.
    let respelled = expected.get_mut("uid=typed3,ou=hostile,dc=example,dc=test").unwrap();
    for (from, to) in
        [("commonname", "cn"), ("2.5.4.4", "sn"), ("userid", "uid"), ("testtextalias", "testtext")]
    {
        let values = respelled.remove(from).unwrap();
        respelled.insert(to.to_owned(), values);
    }
    assert_same("the file", &expected, "slapd", &online);
}

#[test]
fn the_peak_of_a_process_is_seen() {
    const KEPT: usize = 60_000_000;
    // tail keeps what it may have to print, and prints nothing before its input ends.
    let mut child = Command::new("tail")
        .args(["-c", &KEPT.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let before = peak_kib(child.id()).unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&vec![b'x'; KEPT]).unwrap();
    let after = peak_kib(child.id()).unwrap();
    drop(stdin);
    child.wait().unwrap();
    assert!(before < 20_000, "{before} KiB");
    assert!(after > 55_000, "{after} KiB");
    assert!(peak_kib(child.id()).is_none(), "a process that ended has no peak");
}

#[test]
fn ds389_starts_answers_restarts_dies_and_stops() {
    let mut server = Ds389::start(&Ds389Options::default());
    starts_answers_restarts_dies(&mut server, Ds389::restart, 2);
    assert!(server.log().contains("slapd started"), "{}", server.log());
}

#[test]
fn samba_starts_answers_restarts_dies_and_stops() {
    let mut server = Samba::start("");
    starts_answers_restarts_dies(&mut server, Samba::restart, 200);
}

#[test]
fn apacheds_starts_answers_restarts_dies_and_stops() {
    let mut server = ApacheDs::start();
    starts_answers_restarts_dies(&mut server, ApacheDs::restart, 1);
}

fn starts_answers_restarts_dies<S: DerefMut<Target = Server>>(
    server: &mut S,
    restart: fn(&mut S),
    at_least: usize,
) {
    let before = server.dump();
    assert!(before.len() >= at_least, "{}", before.len());
    restart(server);
    assert_same("before", &before, "after a restart", &server.dump());
    server.kill();
    restart(server);
    assert_same("before", &before, "after a crash", &server.dump());
    let suffix = server.suffix().to_owned();
    server.ldapadd(format!("dn: ou=new,{suffix}\nobjectClass: organizationalUnit\nou: new\n"));
    assert_eq!(server.dump().len(), before.len() + 1);
    for way in [&["-H", &server.ldaps_uri()][..], &["-ZZ", "-H", &server.ldap_uri()]] {
        let output = Command::new(tool("ldapsearch"))
            .args([
                "-x",
                "-D",
                &server.admin_dn(),
                "-w",
                server.admin_password(),
                "-s",
                "base",
                "-b",
                &suffix,
            ])
            .args(way)
            .env("LDAPTLS_CACERT", &server.certificates().ca)
            .output()
            .unwrap();
        assert!(output.status.success(), "{way:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let port = server.ldap_port();
    server.kill();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "it is gone");
}
