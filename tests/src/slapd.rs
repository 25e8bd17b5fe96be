//! Starts and stops OpenLDAP's slapd: a fresh one per call, in a temporary directory, on free loopback ports.

use std::fmt::Write as _;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::{Identity, Server, succeed};

mod configuration;

pub use crate::server::{fixture, free_port, scratch, terminate, tool};

/// What the database holds before the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Nothing: not even the suffix entry.
    Empty,
    /// The suffix entry.
    Suffix,
    /// The suffix entry, `ou=people`, and in it alice, bob, reader and replica, each with the password `NAME-pw`.
    Users,
}

/// What kind of server to start.
#[derive(Debug, Clone)]
pub struct SlapdOptions {
    /// The naming context; its first RDN must be `dc=`.
    pub suffix: String,
    /// What the database holds before the seed.
    pub base: Base,
    /// LDIF loaded with `slapadd -q` before the server starts, in this order.
    pub seed: Vec<String>,
    /// LDIF files, loaded after `seed`.
    pub seed_files: Vec<PathBuf>,
    /// Keep a `cn=accesslog`.
    pub accesslog: bool,
    /// The lines of the overlay for content synchronisation; without any the server has none.
    pub syncprov: String,
    /// More rules of access control (slapd.access(5)), ahead of the others.
    pub access: String,
    /// memberof and refint overlays. Off by default: they write on their own, and a mirror would not be exact.
    pub memberof: bool,
    /// More lines for the database's part of slapd.conf (limits, overlays), ahead of the overlays.
    pub database_conf: String,
    /// More lines for the global part of slapd.conf.
    pub global_conf: String,
    /// The directory of a KDC whose tickets it takes.
    pub kerberos: Option<PathBuf>,
}

impl Default for SlapdOptions {
    fn default() -> SlapdOptions {
        SlapdOptions {
            suffix: "dc=example,dc=test".to_owned(),
            base: Base::Suffix,
            seed: Vec::new(),
            seed_files: Vec::new(),
            accesslog: false,
            syncprov: "overlay syncprov\nsyncprov-checkpoint 100 1\nsyncprov-sessionlog 10000\n".to_owned(),
            access: String::new(),
            memberof: false,
            database_conf: String::new(),
            global_conf: String::new(),
            kerberos: None,
        }
    }
}

impl SlapdOptions {
    /// A server without any entry.
    pub fn empty() -> SlapdOptions {
        SlapdOptions { base: Base::Empty, ..SlapdOptions::default() }
    }

    /// A server with the suffix entry, `ou=people` and four people.
    pub fn with_users() -> SlapdOptions {
        SlapdOptions { base: Base::Users, ..SlapdOptions::default() }
    }

    /// Adds LDIF to load.
    #[must_use]
    pub fn seed(mut self, ldif: impl Into<String>) -> SlapdOptions {
        self.seed.push(ldif.into());
        self
    }

    /// Adds an LDIF file to load.
    #[must_use]
    pub fn seed_file(mut self, path: impl Into<PathBuf>) -> SlapdOptions {
        self.seed_files.push(path.into());
        self
    }

    /// Another naming context.
    #[must_use]
    pub fn suffix(mut self, suffix: &str) -> SlapdOptions {
        suffix.clone_into(&mut self.suffix);
        self
    }
}

/// A running slapd, stopped when dropped.
#[derive(Debug)]
pub struct Slapd {
    server: Server,
    options: SlapdOptions,
}

/// The password of the administrator.
pub const ADMIN_PASSWORD: &str = "secret";

/// What slapd says whenever it starts and stops.
const ROUTINE: &[&str] = &[
    "OpenLDAP: slapd",
    "Maintainers",
    "rootdn is always granted",
    "slapd starting",
    "shutdown",
    "slapd stopped",
];

impl Deref for Slapd {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Slapd {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Slapd {
    /// Starts a fresh server. Panics, with the way out, when slapd is not installed or refuses the seed. Its
    /// administrator is the root DN, who bypasses every limit: read as [`Slapd::reader_dn`] where limits matter.
    pub fn start(options: SlapdOptions) -> Slapd {
        let server = Server::new(Identity {
            program: "slapd",
            suffix: options.suffix.clone(),
            admin_dn: format!("cn=admin,{}", options.suffix),
            admin_password: ADMIN_PASSWORD,
            orderly: true,
            routine: ROUTINE,
        });
        let mut slapd = Slapd { server, options };
        for sub in ["db", "log"] {
            fs::create_dir(slapd.path(sub)).unwrap();
        }
        fs::write(slapd.path("test.schema"), include_str!("../fixtures/test.schema")).unwrap();
        fs::write(slapd.path("slapd.conf"), slapd.configuration()).unwrap();
        for name in ["krb5.conf", "ldap.keytab"] {
            if let Some(kdc) = &slapd.options.kerberos {
                fs::copy(kdc.join(name), slapd.path(name)).unwrap();
            }
        }
        slapd.load_seed();
        slapd.server.start_on_free_ports("bind(", command);
        slapd
    }

    /// An ordinary user, there with [`Base::Users`]; the password is `reader-pw`.
    pub fn reader_dn(&self) -> String {
        format!("uid=reader,ou=people,{}", self.options.suffix)
    }

    /// `ldapi://` and the socket's path, percent-encoded.
    pub fn ldapi_uri(&self) -> String {
        ldapi_uri(&self.server)
    }

    /// What slapcat writes for the database, byte for byte.
    pub fn slapcat(&self) -> Vec<u8> {
        let mut command = Command::new(tool("slapcat"));
        command.arg("-f").arg(self.path("slapd.conf")).args(["-b", self.suffix()]);
        succeed(&mut command).stdout
    }

    /// Stops the server in an orderly way, unless it was killed, and starts it again on the same ports and data.
    pub fn restart(&mut self) {
        self.server.stop();
        let command = command(&self.server);
        self.server.start_again(command);
    }

    /// Stops the server, throws its data away, loads this LDIF (with the operational attributes it has) in their
    /// place, and starts it again on the same ports: a restore from a backup, or another server at the same address.
    pub fn reload(&mut self, ldif: &[u8]) {
        self.server.stop();
        let db = self.path("db");
        fs::remove_dir_all(&db).unwrap();
        fs::create_dir(&db).unwrap();
        let file = self.path("reload.ldif");
        fs::write(&file, ldif).unwrap();
        self.slapadd(&file);
        let command = command(&self.server);
        self.server.start_again(command);
    }

    fn load_seed(&self) {
        let mut text = self.base_entries();
        for seed in &self.options.seed {
            text.push_str(seed);
            text.push_str("\n\n");
        }
        let mut sources = Vec::new();
        if !text.trim().is_empty() {
            let file = self.path("seed.ldif");
            fs::write(&file, text).unwrap();
            sources.push(file);
        }
        sources.extend(self.options.seed_files.iter().cloned());
        for source in sources {
            self.slapadd(&source);
        }
    }

    fn slapadd(&self, source: &Path) {
        // -q: no consistency checks, fast; -w: writes contextCSN, so that content sync starts consistent.
        let mut command = Command::new(tool("slapadd"));
        command.args(["-q", "-w", "-f"]).arg(self.path("slapd.conf"));
        succeed(command.args(["-b", self.suffix(), "-l"]).arg(source));
    }

    fn base_entries(&self) -> String {
        let suffix = self.suffix();
        let mut text = String::new();
        if self.options.base == Base::Empty {
            return text;
        }
        let dc = suffix
            .strip_prefix("dc=")
            .and_then(|s| s.split(',').next())
            .expect("a suffix that begins with dc=");
        write!(text, "dn: {suffix}\nobjectClass: dcObject\nobjectClass: organization\ndc: {dc}\no: Test\n\n")
            .unwrap();
        if self.options.base == Base::Users {
            write!(text, "dn: ou=people,{suffix}\nobjectClass: organizationalUnit\nou: people\n\n").unwrap();
            for user in ["alice", "bob", "reader", "replica"] {
                write!(
                    text,
                    "dn: uid={user},ou=people,{suffix}\nobjectClass: inetOrgPerson\nuid: {user}\ncn: {user}\n\
                     sn: {user}\nmail: {user}@example.test\nuserPassword: {user}-pw\n\n"
                )
                .unwrap();
            }
        }
        text
    }
}

/// -d keeps slapd in the foreground, so that the child is the server.
fn command(server: &Server) -> Command {
    let mut command = Command::new(tool("slapd"));
    let uris = format!("{}/ {}/ {}/", server.ldap_uri(), server.ldaps_uri(), ldapi_uri(server));
    command.args(["-d", "none", "-f"]).arg(server.path("slapd.conf")).args(["-h", &uris]);
    let keytab = server.path("ldap.keytab");
    if keytab.exists() {
        command.env("KRB5_KTNAME", keytab).env("KRB5_CONFIG", server.path("krb5.conf"));
    } else {
        command.env("KRB5_KTNAME", "/dev/null");
    }
    command
}

fn ldapi_uri(server: &Server) -> String {
    let path = server.path("ldapi");
    let mut uri = "ldapi://".to_owned();
    for byte in path.to_str().unwrap().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            write!(uri, "%{byte:02X}").unwrap();
        }
    }
    uri
}
