//! `serve ds389|samba`: starts a fresh server, prints a line of JSON that says how to reach it, and stops it when stdin ends.
//! LDIF to add comes in the environment variable `SEED`. For tests that are not written in Rust (tests/e2e).

// A harness that cannot do its work must say so and stop.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::process::ExitCode;

use ldap_tests::ds389::{Ds389, Ds389Options};
use ldap_tests::samba::Samba;
use ldap_tests::server::Server;
use serde_json::json;

fn main() -> ExitCode {
    let seed = std::env::var("SEED").unwrap_or_default();
    match std::env::args().nth(1).as_deref() {
        Some("ds389") => {
            serve(&Ds389::start(&Ds389Options::default().suffix("dc=example,dc=com").seed(seed)));
        }
        Some("samba") => serve(&Samba::start(&seed)),
        _ => {
            let _ = writeln!(std::io::stderr(), "serve: name a server: ds389 or samba");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Says how to reach the server, and waits for the end of stdin.
fn serve(server: &Server) {
    let line = json!({"url": server.ldap_uri(), "tls_url": server.ldaps_uri(), "suffix": server.suffix(),
        "admin": server.admin_dn(), "password": server.admin_password(), "ca": server.certificates().ca});
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{line}").unwrap();
    stdout.flush().unwrap();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
