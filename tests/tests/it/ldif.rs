//! LDIF files in the place of servers, at both ends.

use std::process::Command;

use ldap_tests::hostile;
use ldap_tests::ldif::{assert_same, normalize_dn, parse_file, records};
use ldap_tests::run::{Run, pipe};
use ldap_tests::slapd::{ADMIN_PASSWORD, Slapd, SlapdOptions, fixture, scratch, tool};
use serde_json::{Value, json};

use crate::support::{tap_config, target_config};

fn from_file(path: &std::path::Path) -> Value {
    json!({"server_url": format!("ldif:{}", path.display()), "base_dn": "dc=example,dc=test", "discovery_sample_size": 0})
}

#[test]
fn ldap_to_ldif_to_ldap_comes_back_equal() {
    let source = hostile::start();
    let dir = scratch();
    let file = dir.path().join("export.ldif");
    let target = json!({"server_url": format!("ldif:{}", file.display())});
    let (tap, written) = pipe(&tap_config(&source), &target);
    tap.succeeds();
    written.succeeds();
    let expected = source.dump();
    assert_same("source", &expected, "the file", &parse_file(&file));

    // A second run has nothing to do.
    let bytes = std::fs::read(&file).unwrap();
    let (tap, again) = pipe(&tap_config(&source), &target);
    tap.succeeds();
    again.succeeds();
    assert!(bytes == std::fs::read(&file).unwrap(), "the file changed in a run without changes");

    // Back into a server, by the pair.
    let copy = Slapd::start(SlapdOptions::empty());
    let (tap, target) = pipe(&from_file(&file), &target_config(&copy));
    tap.succeeds();
    target.succeeds();
    assert_same("source", &expected, "copy", &copy.dump());

    // Nothing but the file is left where it was written.
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["export.ldif"]);
}

#[test]
fn ldapadd_accepts_the_file_we_write() {
    let source = hostile::start();
    let dir = scratch();
    let file = dir.path().join("export.ldif");
    let (tap, written) =
        pipe(&tap_config(&source), &json!({"server_url": format!("ldif:{}", file.display())}));
    tap.succeeds();
    written.succeeds();
    let bytes = std::fs::read(&file).unwrap();

    // RFC 2849, note 10 and what every reader expects: parents before children, lines of at most 76, ASCII alone.
    let mut seen = std::collections::BTreeSet::new();
    for record in records(&bytes) {
        let dn = std::str::from_utf8(&record.first().unwrap().1).unwrap().to_owned();
        let parent = normalize_dn(&ldap_tests::ldif::parent(&dn));
        let is_base = normalize_dn(&dn) == "dc=example,dc=test";
        assert!(is_base || seen.contains(&parent), "{dn} comes before its parent");
        seen.insert(normalize_dn(&dn));
    }
    assert!(bytes.is_ascii(), "values that are not safe strings are in base64");

    let copy = Slapd::start(SlapdOptions::empty());
    copy.ldapadd(&bytes);
    assert_same("source", &source.dump(), "copy", &copy.dump());
}

#[test]
fn the_tap_reads_what_ldapsearch_and_slapcat_write() {
    let source = hostile::start();
    let dir = scratch();
    let search = |args: &[&str]| {
        let output = Command::new(tool("ldapsearch"))
            .args(["-x", "-M", "-H", &source.ldap_uri(), "-D", &source.admin_dn(), "-w", ADMIN_PASSWORD])
            .args(["-b", source.suffix()])
            .args(args)
            .args(["(objectClass=*)", "*", "ref"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let sources = [
        ("ldapsearch", search(&[])),
        ("ldapsearch -LLL", search(&["-LLL"])),
        ("ldapsearch -L -o ldif-wrap=no", search(&["-L", "-o", "ldif-wrap=no"])),
        ("slapcat", source.slapcat()),
    ];
    for (name, bytes) in sources {
        let file = dir.path().join("dump.ldif");
        std::fs::write(&file, &bytes).unwrap();
        let copy = Slapd::start(SlapdOptions::empty());
        let (tap, target) = pipe(&from_file(&file), &target_config(&copy));
        tap.succeeds();
        target.succeeds();
        assert_same(name, &source.dump(), "copy", &copy.dump());
    }
}

#[test]
fn the_tap_reads_a_file_with_other_spellings_of_attributes() {
    let source = Slapd::start(SlapdOptions::empty());
    source.ldapadd(hostile::ldif().as_bytes());
    let copy = Slapd::start(SlapdOptions::empty());
    let (tap, target) = pipe(&from_file(&fixture("hostile.ldif")), &target_config(&copy));
    tap.succeeds();
    target.succeeds();
    assert_same("ldapadd", &source.dump(), "copy", &copy.dump());
}

#[test]
fn crlf_and_a_last_line_without_its_end_are_read() {
    let dir = scratch();
    let file = dir.path().join("crlf.ldif");
    std::fs::write(
        &file,
        "version: 1\r\ndn: dc=example,dc=test\r\nobjectClass: domain\r\ndc: exa\r\n mple\r\n\r\n\r\n# the end\r\n\
         dn:: b3U9w7x4LGRjPWV4YW1wbGUsZGM9dGVzdA==\r\nobjectClass: organizationalUnit\r\nou:: w7x4",
    )
    .unwrap();
    let copy = Slapd::start(SlapdOptions::empty());
    let (tap, target) = pipe(&from_file(&file), &target_config(&copy));
    tap.succeeds();
    target.succeeds();
    assert_same("the file", &parse_file(&file), "copy", &copy.dump());
}

#[test]
fn a_file_url_in_a_file_is_refused_and_never_read() {
    let dir = scratch();
    let secret = dir.path().join("secret.txt");
    std::fs::write(&secret, "contents-of-a-private-file").unwrap();
    let file = dir.path().join("url.ldif");
    std::fs::write(
        &file,
        format!(
            "dn: dc=example,dc=test\nobjectClass: domain\ndc: example\ndescription:< file://{}\n",
            secret.display()
        ),
    )
    .unwrap();
    let output = Run::tap(&from_file(&file)).run();
    assert!(output.code == 1 || output.code == 2, "code {}: {}", output.code, output.stderr);
    assert!(output.stderr.contains("line 4"), "{}", output.stderr);
    let all = output.stdout_text() + &output.stderr;
    assert!(!all.contains("contents-of-a-private-file") && !all.contains("Y29udGVudHMtb2Y"), "{all}");
}

#[test]
fn a_broken_file_is_an_error_with_its_line() {
    let dir = scratch();
    let file = dir.path().join("broken.ldif");
    for broken in [
        "dn: dc=example,dc=test\nobjectClass: domain\ndc example\n",
        "dn: dc=example,dc=test\nobjectClass: domain\ndc:: not*base64\n",
    ] {
        std::fs::write(&file, broken).unwrap();
        let output = Run::tap(&from_file(&file)).run();
        assert!(output.code == 1 || output.code == 2, "code {}: {}", output.code, output.stderr);
        assert!(output.stderr.contains("line 3"), "{}", output.stderr);
        assert!(output.of_type("ACTIVATE_VERSION").is_empty());
    }
}
