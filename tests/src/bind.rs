//! Binds as a user: whether a password is accepted.

use std::process::{Command, Stdio};

use crate::server::{Server, tool};

/// The result code of a simple bind over TLS: 0, or 49 (invalidCredentials), or another.
pub fn bind_code(server: &Server, dn: &str, password: &str) -> i32 {
    let mut command = Command::new(tool("ldapsearch"));
    command.args(["-x", "-o", "nettimeout=10", "-LLL", "-s", "base", "-b", "", "1.1"]);
    command.args(["-H", &server.ldaps_uri(), "-D", dn, "-w", password]);
    command.env("LDAPTLS_CACERT", &server.certificates().ca).stdin(Stdio::null());
    let output = command.output().unwrap();
    output.status.code().unwrap()
}

/// Whether the entry's password is this one.
pub fn binds(server: &Server, dn: &str, password: &str) -> bool {
    match bind_code(server, dn, password) {
        0 => true,
        49 => false,
        code => panic!("bind as {dn}: code {code}"),
    }
}

/// Somebody changes their own password, by the operation of RFC 3062.
pub fn change_own_password(server: &Server, dn: &str, old: &str, new: &str) {
    let mut command = Command::new(tool("ldappasswd"));
    command.args(["-x", "-H", &server.ldaps_uri(), "-D", dn, "-w", old, "-s", new]);
    command.env("LDAPTLS_CACERT", &server.certificates().ca).stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
