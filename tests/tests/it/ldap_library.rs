//! The examples of the library `ldap-directory`, run as its README says.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ldap_tests::server::succeed;
use ldap_tests::slapd::{Slapd, SlapdOptions};

/// `cargo run` for an example, in the workspace that these tests belong to.
fn example(name: &str) -> Command {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let workspace = Path::new(&here).parent().map_or_else(PathBuf::new, Path::to_owned);
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Variables of this test's own package would have build scripts run again.
    for (name, _) in std::env::vars_os() {
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|own| name.to_string_lossy().starts_with(own)) {
            command.env_remove(name);
        }
    }
    command.current_dir(workspace).args(["run", "-q", "-p", "ldap-directory", "--example", name]);
    command
}

/// The same against a server, as its administrator.
fn example_at(slapd: &Slapd, name: &str) -> Command {
    let mut command = example(name);
    command
        .env("LDAP_URL", slapd.ldap_uri())
        .env("LDAP_BIND_DN", slapd.admin_dn())
        .env("LDAP_PASSWORD", slapd.admin_password())
        .env("LDAP_BASE", slapd.suffix());
    command
}

fn printed(command: &mut Command) -> String {
    String::from_utf8(succeed(command).stdout).unwrap()
}

#[test]
fn library_example_ldif_changes_a_file() {
    let text = printed(&mut example("ldif"));
    assert!(text.starts_with("dc=example,dc=com: 1 naming context(s)\n"), "{text}");
    assert!(text.contains("found cn=Ada Lovelace,dc=example,dc=com\n"), "{text}");
    assert!(text.ends_with("sn: Lovelace\nmail: ada@example.com\n\n"), "{text}");
}

#[test]
fn library_example_search_adds_modifies_and_deletes() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let before = slapd.dump();
    let text = printed(&mut example_at(&slapd, "search"));
    for line in [
        "ok resolve: ",
        "ok connect: ",
        "ok bind: bound as `",
        "connected to OpenLDAP\n",
        "found ou=people,dc=example,dc=test\n",
        "added ou=Sales\\, North,dc=example,dc=test\n",
        "description: Some(\"new\")\n",
        "still there: false\n",
        "Operation(32), transient: false\n",
    ] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }
    assert_eq!(slapd.dump(), before, "the example leaves nothing behind");
}

#[test]
fn library_example_concurrent_reads_everything_with_few_connections() {
    // slapd keeps the position of one paged search for each connection.
    let units =
        (0..95).map(|n| format!("dn: ou=u{n},dc=example,dc=test\nobjectClass: organizationalUnit\n\n"));
    let slapd = Slapd::start(SlapdOptions::default().seed(units.collect::<String>()));
    for pool in ["1", "2", "4", "60"] {
        let text =
            printed(example_at(&slapd, "concurrent").env("LDAP_SEARCHES", "50").env("LDAP_POOL", pool));
        assert_eq!(
            text, "50 times Ok(96)\ninside another one: no connection left\nafter it: 96\n",
            "{pool} connections"
        );
    }
}

#[test]
fn library_example_sync_refreshes_and_follows() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let mut child = example_at(&slapd, "sync").env("LDAP_ITEMS", "3").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let refreshed = lines.next().unwrap();
    assert!(
        refreshed.starts_with("refreshed: 6 entries") && refreshed.ends_with("cookie: true"),
        "{refreshed}"
    );
    assert_eq!(lines.next().unwrap(), "following");
    let dn = "ou=new,dc=example,dc=test";
    slapd.ldapadd(format!("dn: {dn}\nobjectClass: organizationalUnit\nou: new\n"));
    slapd.ldapmodify(format!("dn: {dn}\nchangetype: modify\nreplace: description\ndescription: d\n"));
    slapd.ldapmodify(format!("dn: {dn}\nchangetype: delete\n"));
    let followed: Vec<String> = lines.collect();
    assert!(child.wait().unwrap().success());
    let states: Vec<&str> =
        followed.iter().filter_map(|line| line.split(&format!(" {dn} ")).next()).collect();
    assert_eq!(states, ["Changed", "Changed", "Deleted"], "{followed:?}");
}
