//! The same tests on every kind of directory: OpenLDAP, 389 Directory Server, Active Directory (Samba), ApacheDS and LDIF files.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::ldif::normalize_dn;
use ldap_tests::run::Output;
use ldap_tests::samba::Samba;
use ldap_tests::server::fixture;
use ldap_tests::slapd::{Slapd, SlapdOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) mod active_directory;
mod active_directory_limits;
mod apacheds;
mod complete_reads;
mod containers;
mod golden_catalogs;
mod mirrors;
mod sample_streams;

const SUFFIX: &str = "dc=example,dc=test";

const STAFF: &str = "OU=Staff,DC=ad,DC=example,DC=test";

fn tree_ldif() -> String {
    std::fs::read_to_string(fixture("tree.ldif")).unwrap()
}

/// The same tree in a file, and the tap's configuration for it.
fn tree_file(dir: &TempDir) -> (PathBuf, Value) {
    let file = dir.path().join("tree.ldif");
    let root = format!("dn: {SUFFIX}\nobjectClass: top\nobjectClass: domain\ndc: example\n\n");
    std::fs::write(&file, root + &tree_ldif()).unwrap();
    let url = format!("ldif:{}", file.display());
    (file, json!({"server_url": url, "base_dn": SUFFIX, "discovery_sample_size": 0}))
}

fn slapd() -> Slapd {
    Slapd::start(SlapdOptions::default().seed(tree_ldif()))
}

fn ds389() -> Ds389 {
    Ds389::start(&Ds389Options::default().seed(tree_ldif()))
}

fn samba() -> Samba {
    Samba::start(&std::fs::read_to_string(fixture("active-directory.ldif")).unwrap())
}

/// Entries by their normalised DN; one that comes twice is a panic.
#[track_caller]
fn records(output: &Output) -> BTreeMap<String, (String, Value)> {
    let mut all = BTreeMap::new();
    for message in output.of_type("RECORD") {
        let record = message["record"].clone();
        let dn = normalize_dn(record["dn"].as_str().unwrap());
        let stream = message["stream"].as_str().unwrap().to_owned();
        if let Some((other, _)) = all.insert(dn.clone(), (stream.clone(), record)) {
            panic!("{dn} is in {other} and in {stream}");
        }
    }
    all
}

/// LDIF of `count` devices and one below each, in a container with another one nested in it, twice over.
fn nested(count: usize, [class, below]: [&str; 2], outer: &str, inner: &str) -> String {
    let mut text = String::new();
    let name = |dn: &str| dn.split(',').next().unwrap().split_once('=').unwrap().1.to_owned();
    for unit in [outer, inner] {
        write!(text, "dn: {unit}\nobjectClass: organizationalUnit\nou: {}\n\n", name(unit)).unwrap();
        for i in 0..count {
            let dn = format!("cn=d{i},{unit}");
            write!(text, "dn: {dn}\nobjectClass: {class}\ncn: d{i}\n\n").unwrap();
            write!(text, "dn: cn=e,{dn}\nobjectClass: {below}\ncn: e\n\n").unwrap();
        }
    }
    text
}
