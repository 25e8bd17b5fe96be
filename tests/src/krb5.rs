//! A Kerberos realm: MIT's KDC on a free loopback port, in a temporary directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::server::{free_port, scratch, succeed, terminate, tool};

/// The realm.
pub const REALM: &str = "EXAMPLE.TEST";

/// A running KDC, stopped when dropped. It knows `alice` (password `alice-pw`) and the service `ldap/localhost`.
#[derive(Debug)]
pub struct Kdc {
    dir: TempDir,
    child: Child,
}

impl Kdc {
    /// Makes the realm and starts its KDC.
    pub fn start() -> Kdc {
        let dir = scratch();
        let at = |name: &str| dir.path().join(name).display().to_string();
        let port = free_port();
        fs::write(
            at("krb5.conf"),
            format!(
                "[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n\
                 \x20dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n\
                 [realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{port}\n }}\n[domain_realm]\n localhost = {REALM}\n"
            ),
        )
        .unwrap();
        fs::write(
            at("kdc.conf"),
            format!(
                "[kdcdefaults]\n kdc_listen = 127.0.0.1:{port}\n kdc_tcp_listen = 127.0.0.1:{port}\n\
                 [realms]\n {REALM} = {{\n  database_name = {}\n  key_stash_file = {}\n  max_life = 10h\n\
                 \x20 supported_enctypes = aes256-cts:normal\n }}\n[logging]\n kdc = FILE:{}\n",
                at("principal"),
                at("stash"),
                at("kdc.log")
            ),
        )
        .unwrap();
        let with = |mut command: Command| {
            command.env("KRB5_CONFIG", at("krb5.conf")).env("KRB5_KDC_PROFILE", at("kdc.conf"));
            command.stdin(Stdio::null());
            command
        };
        let mut create = with(Command::new(tool("kdb5_util")));
        succeed(create.args(["create", "-s", "-r", REALM, "-P", "masterpw"]));
        for query in [
            "addprinc -pw alice-pw alice".to_owned(),
            "addprinc -randkey ldap/localhost".to_owned(),
            format!("ktadd -k {} ldap/localhost", at("ldap.keytab")),
            format!("ktadd -norandkey -k {} alice", at("alice.keytab")),
        ] {
            succeed(with(Command::new(tool("kadmin.local"))).args(["-q", &query]));
        }
        let mut kdc = with(Command::new(tool("krb5kdc")));
        let child = kdc.arg("-n").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let kdc = Kdc { dir, child };
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the KDC does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        kdc
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The environment of a client without a ticket; with alice's keys it gets one by itself.
    pub fn environment(&self, is_alice: bool) -> Vec<(String, String)> {
        let at = |name: &str| self.dir.path().join(name).display().to_string();
        let mut all = vec![
            ("KRB5_CONFIG".to_owned(), at("krb5.conf")),
            (
                "KRB5CCNAME".to_owned(),
                format!("FILE:{}", at(if is_alice { "alice.cc" } else { "nobody.cc" })),
            ),
        ];
        if is_alice {
            all.push(("KRB5_CLIENT_KTNAME".to_owned(), at("alice.keytab")));
        }
        all
    }

    /// Its directory, for a server.
    pub fn to_path(&self) -> PathBuf {
        self.dir.path().to_owned()
    }
}

impl Drop for Kdc {
    fn drop(&mut self) {
        terminate(&mut self.child, Duration::from_secs(2));
    }
}
