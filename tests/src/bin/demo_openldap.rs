//! `make demo-openldap`: a sample company copied from one real OpenLDAP into another, empty one.

// A demonstration that cannot run must say why and stop.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use ldap_tests::ldif::differences;
use ldap_tests::run::{build, pipe};
use ldap_tests::slapd::{ADMIN_PASSWORD, Slapd, SlapdOptions};
use serde_json::json;

const SUFFIX: &str = "dc=example,dc=com";

fn main() -> ExitCode {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let company = root.join("catalogs/demo/company.ldif");
    let results = root.join("demo-output");
    std::fs::create_dir_all(&results).unwrap();
    build();

    let source = Slapd::start(SlapdOptions::empty().suffix(SUFFIX));
    // Online, as the copy is written: slapd then spells DN values in its own way, which slapadd leaves as they are.
    source.ldapadd(std::fs::read(company).unwrap().as_slice());
    let copy = Slapd::start(SlapdOptions::empty().suffix(SUFFIX));
    let tap = json!({"server_url": source.ldap_uri(), "bind_dn": source.admin_dn(), "bind_password": ADMIN_PASSWORD,
        "base_dn": SUFFIX, "discovery_sample_size": 0, "operational_attributes": ["userPassword"]});
    let target =
        json!({"server_url": copy.ldap_uri(), "bind_dn": copy.admin_dn(), "bind_password": ADMIN_PASSWORD});

    let started = Instant::now();
    let (read, written) = pipe(&tap, &target);
    let took = started.elapsed();
    if read.code != 0 || written.code != 0 {
        say(&format!("tap-ldap exited with {}:\n{}", read.code, read.stderr));
        say(&format!("target-ldap exited with {}:\n{}", written.code, written.stderr));
        return ExitCode::FAILURE;
    }
    let (before, after) = (source.dump(), copy.dump());
    let differing = differences("the source", &before, "the copy", &after);
    let marks = copy.change_marks();
    let (again_read, again) = pipe(&tap, &target);
    let rerun_wrote = again_read.code != 0 || again.code != 0 || copy.change_marks() != marks;
    for (name, slapd) in [("openldap-source.ldif", &source), ("openldap-copy.ldif", &copy)] {
        std::fs::write(results.join(name), slapd.slapcat()).unwrap();
    }

    say("tap-ldap | target-ldap, between two OpenLDAP servers on loopback\n");
    say(&format!("  read from            {}", source.ldap_uri()));
    say(&format!("  written to           {} (empty before)", copy.ldap_uri()));
    say(&format!("  entries copied       {} of {}", after.len(), before.len()));
    say(&format!("  time                 {:.2} s, discovery included", took.as_secs_f64()));
    say(&format!("  differences          {}", differing.len()));
    say(&format!(
        "  written by a rerun   {}",
        if rerun_wrote { "something, which is wrong" } else { "nothing" }
    ));
    for line in differing.iter().take(20) {
        say(&format!("    {line}"));
    }
    say("\nBoth servers are stopped again. What each held is in");
    say("  demo-output/openldap-source.ldif and demo-output/openldap-copy.ldif");
    if differing.is_empty() && !rerun_wrote && !before.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn say(line: &str) {
    // Nobody to say it to is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{line}");
}
