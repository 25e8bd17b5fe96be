//! Starts and stops 389 Directory Server's ns-slapd: a fresh one per call, without dscreate, systemd or anything
//! outside its own directory.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::{Identity, Server, succeed, tool};

mod dse;

/// What kind of server to start.
#[derive(Debug, Clone)]
pub struct Ds389Options {
    /// The naming context; its first RDN must be `dc=`.
    pub suffix: String,
    /// LDIF added below the suffix entry, in this order.
    pub seed: Vec<String>,
    /// The memberOf and referential integrity plugins. Off by default: they write on their own, and a mirror would
    /// not be exact.
    pub memberof: bool,
}

impl Default for Ds389Options {
    fn default() -> Ds389Options {
        Ds389Options { suffix: "dc=example,dc=test".to_owned(), seed: Vec::new(), memberof: false }
    }
}

impl Ds389Options {
    /// Adds LDIF to load.
    #[must_use]
    pub fn seed(mut self, ldif: impl Into<String>) -> Ds389Options {
        self.seed.push(ldif.into());
        self
    }

    /// Another naming context.
    #[must_use]
    pub fn suffix(mut self, suffix: &str) -> Ds389Options {
        suffix.clone_into(&mut self.suffix);
        self
    }
}

/// A running ns-slapd with retro changelog, content synchronisation and entryusn, killed when dropped: an orderly stop
/// takes it two seconds, and nobody reads its database again.
#[derive(Debug)]
pub struct Ds389 {
    server: Server,
}

/// The password of the administrator, cn=Directory Manager.
pub const ADMIN_PASSWORD: &str = "secret12";
/// The password of the users that [`Ds389::start`] adds: `uid=reader` below the suffix, to whom limits apply.
pub const READER_PASSWORD: &str = "reader-pw-12";

/// What ns-slapd says whenever it starts: all but its errors, and its complaints that it has no keys to encrypt
/// attributes with, which nobody wants.
const ROUTINE: &[&str] =
    &["- INFO -", "- NOTICE -", "- WARN - Security Initialization", "attrcrypt_", "entryusn"];

impl Deref for Ds389 {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Ds389 {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Ds389 {
    /// Starts a fresh server that holds the suffix entry, `uid=reader` and the seed. Panics, with the way out, when
    /// it is not installed or refuses the seed.
    pub fn start(options: &Ds389Options) -> Ds389 {
        let mut server = Server::new(Identity {
            program: "ds389",
            suffix: options.suffix.clone(),
            admin_dn: "cn=Directory Manager".to_owned(),
            admin_password: ADMIN_PASSWORD,
            orderly: false,
            routine: ROUTINE,
        });
        for sub in ["lock", "tmp", "ldif", "bak", "run", "inst", "log", "db"] {
            fs::create_dir_all(server.path(sub)).unwrap();
        }
        let config = config_dir(&server);
        fs::create_dir_all(config.join("schema")).unwrap();
        // The package's own lie in /etc/dirsrv, where only its user may look.
        for (file, text) in [
            ("slapd-collations.conf", ""),
            ("certmap.conf", "certmap default default\n"),
            (
                "schema/99user.ldif",
                "dn: cn=schema\nobjectClass: top\nobjectClass: ldapSubentry\nobjectClass: subschema\ncn: schema\n",
            ),
        ] {
            fs::write(config.join(file), text).unwrap();
        }
        certificates(&server);
        fs::write(config.join("dse.ldif"), dse::dse(&server, options)).unwrap();
        server.start_on_free_ports("PR_Bind()", |server| {
            dse::set_ports(&config_dir(server).join("dse.ldif"), server.ldap_port(), server.ldaps_port());
            command(server)
        });
        server.ldapadd(seed(options));
        Ds389 { server }
    }

    /// An ordinary user, to whom limits apply; the password is [`READER_PASSWORD`].
    pub fn reader_dn(&self) -> String {
        format!("uid=reader,{}", self.suffix())
    }

    /// Stops the server in an orderly way, unless it was killed, and starts it again on the same ports and data.
    pub fn restart(&mut self) {
        self.server.stop();
        let command = command(&self.server);
        self.server.start_again(command);
    }
}

impl Ds389 {
    /// Stops the server, writes its database into an LDIF file, and starts it again on the same ports.
    pub fn export(&mut self) -> PathBuf {
        let file = self.path("ldif").join("exported.ldif");
        self.offline("db2ldif", &["-a"], &file);
        file
    }

    /// Stops the server, makes its database anew from an LDIF file, and starts it again on the same ports.
    pub fn import(&mut self, file: &Path) {
        self.offline("ldif2db", &["-i"], file);
    }

    fn offline(&mut self, task: &str, flags: &[&str], file: &Path) {
        self.server.stop();
        let mut command = Command::new(tool("ns-slapd"));
        command.arg(task).arg("-D").arg(config_dir(&self.server)).args(["-n", "userRoot"]);
        succeed(command.args(flags).arg(file));
        self.restart();
    }
}

impl Drop for Ds389 {
    fn drop(&mut self) {
        // An orderly stop would remove it.
        let _ = fs::remove_file(format!("/dev/shm/sem.{}.stats", instance(&self.server)));
    }
}

/// The instance's name, of which ns-slapd also makes the name of a semaphore, one for the whole machine: two servers
/// must not have the same.
fn instance(server: &Server) -> String {
    format!("slapd-{}", server.path("").file_name().unwrap().to_string_lossy())
}

/// ns-slapd takes the last part of this path, from "slapd-" on, for its instance's name.
fn config_dir(server: &Server) -> PathBuf {
    server.path(&instance(server))
}

/// -d keeps ns-slapd in the foreground, so that the child is the server. This number, of which its container image
/// makes use too, is the usual log level; 0 would be silence.
fn command(server: &Server) -> Command {
    let mut command = Command::new(tool("ns-slapd"));
    command
        .arg("-D")
        .arg(config_dir(server))
        .arg("-i")
        .arg(server.path("run/ns.pid"))
        .args(["-d", "266354688"]);
    command
}

/// Puts CA, certificate and key into an NSS database without a password. The CA may vouch for clients too (T).
fn certificates(server: &Server) {
    let tls = server.certificates();
    let (config, p12) = (config_dir(server), server.path("tls/server.p12"));
    succeed(Command::new(tool("certutil")).args(["-N", "--empty-password", "-d"]).arg(&config));
    let mut trust = Command::new(tool("certutil"));
    succeed(
        trust.args(["-A", "-n", "Test CA", "-t", "CT,,", "-a", "-i"]).arg(&tls.ca).arg("-d").arg(&config),
    );
    let mut export = Command::new(tool("openssl"));
    export.args(["pkcs12", "-export", "-name", "Server-Cert", "-passout", "pass:x", "-inkey"]);
    export.arg(&tls.server_key).arg("-in").arg(&tls.server_cert).arg("-out").arg(&p12);
    succeed(&mut export);
    let mut import = Command::new(tool("pk12util"));
    succeed(import.arg("-i").arg(&p12).arg("-d").arg(&config).args(["-W", "x", "-K", ""]));
}

/// The suffix entry, which everyone who is logged in may read all of, the reader, and the caller's seed. Added online:
/// the offline import takes longer for a few entries, and makes no entryUUID.
fn seed(options: &Ds389Options) -> String {
    let suffix = &options.suffix;
    let dc =
        suffix.strip_prefix("dc=").and_then(|s| s.split(',').next()).expect("a suffix that begins with dc=");
    let operational =
        "createTimestamp || modifyTimestamp || nsUniqueId || entryUUID || entryusn || hasSubordinates";
    format!(
        "dn: {suffix}\nobjectClass: top\nobjectClass: domain\ndc: {dc}\n\
         aci: (targetattr=\"* || {operational}\")(version 3.0; acl \"read\"; \
         allow (read,search,compare) userdn=\"ldap:///all\";)\n\n\
         dn: uid=reader,{suffix}\nobjectClass: account\nobjectClass: simpleSecurityObject\nuid: reader\n\
         userPassword: {READER_PASSWORD}\n\n{}\n",
        options.seed.join("\n\n")
    )
}
