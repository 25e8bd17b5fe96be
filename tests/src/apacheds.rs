//! Starts and stops ApacheDS: a fresh one per call, or one that the tests running at the same time share.
//!
//! ApacheDS sets modifyTimestamp by a modify only (RFC 4512 section 3.4.4), lists Active Directory's `DirSync` control
//! without having it, and has content synchronization (RFC 4533). It starts in ten seconds.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::server::{Identity, Server, packaged, succeed, tool};

/// The naming context of the tests; ApacheDS has others (`ou=system`, `ou=schema`, `ou=config`).
pub const SUFFIX: &str = "dc=example,dc=com";
/// The password of the administrator, `uid=admin,ou=system`.
pub const ADMIN_PASSWORD: &str = "secret";

/// What the server is started from.
const PACKAGED_CONFIG: &str = "/etc/apacheds/config.ldif";
const PACKAGED_LOG_CONFIG: &str = "/etc/apacheds/log4j.properties";
/// Controls and extended operations to register, as shell variables.
const PACKAGED_DEFAULTS: &str = "/etc/default/apacheds";
const PACKAGED_LIBRARY: &str = "/usr/share/apacheds/lib";
/// Libraries that the package needs and does not link into its own folder.
const JARS: &[&str] = &[
    "caffeine.jar",
    "apache-directory-api-all.jar",
    "antlr.jar",
    "dom4j.jar",
    "xpp3.jar",
    "apacheds-jdbm1.jar",
    "commons-collections4.jar",
    "commons-lang3.jar",
    "commons-codec.jar",
    "commons-text.jar",
];
const KEYSTORE_PASSWORD: &str = "keystore";
/// Starts Java in place of the shell, so that the child is the server. Serial collection and the first compiler only:
/// tests run for seconds, several at once.
const START: &str = r#". "$1" && shift && exec java -Djava.awt.headless=true -Xmx256m -XX:+UseSerialGC \
 -XX:TieredStopAtLevel=1 --add-opens java.base/java.lang=ALL-UNNAMED \
 --add-exports java.base/sun.security.x509=ALL-UNNAMED --add-exports java.base/sun.security.util=ALL-UNNAMED \
 "-Dapacheds.controls=$ADS_CONTROLS" "-Dapacheds.extendedOperations=$ADS_EXTENDED_OPERATIONS" "$@""#;

/// The start messages of ApacheDS: a picture of its name, a debug line of a handler, a word on its default password.
const ROUTINE: &[&str] = &["StartTlsHandler", "|", "/_/", "_ \\", "___", "change the admin password"];

/// A running ApacheDS, killed when dropped.
#[derive(Debug)]
pub struct ApacheDs {
    server: Server,
}

impl Deref for ApacheDs {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for ApacheDs {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl ApacheDs {
    /// Starts a fresh server that holds the suffix entry alone. Panics, with the way out, when it is not installed.
    pub fn start() -> ApacheDs {
        let mut server = Server::new(Identity {
            program: "apacheds",
            suffix: SUFFIX.to_owned(),
            admin_dn: "uid=admin,ou=system".to_owned(),
            admin_password: ADMIN_PASSWORD,
            orderly: false,
            routine: ROUTINE,
        });
        for sub in ["instance/conf", "log"] {
            fs::create_dir_all(server.path(sub)).unwrap();
        }
        keystore(&server);
        server.start_on_free_ports("Address already in use", |server| {
            // A configuration that was read once lies in a tree beside the file, and is read from there.
            for read in ["ou=config", "ou=config.ldif", "config.ldif_migrated"] {
                let path = server.path("instance/conf").join(read);
                let _ = fs::remove_dir_all(&path).or_else(|_| fs::remove_file(&path));
            }
            fs::write(server.path("instance/conf/config.ldif"), configuration(server)).unwrap();
            command(server)
        });
        ApacheDs { server }
    }

    /// The server that the tests running at the same time share. Each test keeps to a subtree of its own.
    pub fn shared() -> Arc<ApacheDs> {
        static SHARED: Mutex<Weak<ApacheDs>> = Mutex::new(Weak::new());
        // A start that failed in one test may be tried again by the next.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(ApacheDs::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// Stops the server, unless it was killed, and starts it again on the same ports and data.
    pub fn restart(&mut self) {
        self.server.stop();
        let command = command(&self.server);
        self.server.start_again(command);
    }
}

fn command(server: &Server) -> Command {
    let jar = |name: &&str| packaged(&format!("/usr/share/java/{name}")).display().to_string();
    let jars: Vec<String> = JARS.iter().map(jar).collect();
    let library = packaged(PACKAGED_LIBRARY).display();
    tool("java");
    let mut command = Command::new(tool("sh"));
    command.args(["-c", START, "sh"]).arg(packaged(PACKAGED_DEFAULTS));
    command.arg(format!("-Dlog4j.configuration=file:{}", packaged(PACKAGED_LOG_CONFIG).display()));
    command.arg(format!("-Dapacheds.log.dir={}", server.path("log").display()));
    command.arg("-cp").arg(format!("{library}/*:{}", jars.join(":")));
    command.arg("org.apache.directory.server.UberjarMain");
    // The directory of the instance must end with a slash.
    command.arg(format!("{}/", server.path("instance").display()));
    command
}

/// The packaged configuration with its own certificate, and two listeners on loopback: of the others (Kerberos, HTTP,
/// password changes) none is started.
fn configuration(server: &Server) -> String {
    let packaged = fs::read_to_string(packaged(PACKAGED_CONFIG)).unwrap();
    let entries = packaged.split("\n\n").map(|entry| {
        let dn = entry.trim_start().lines().next().unwrap_or_default().to_ascii_lowercase();
        if dn.starts_with("dn: ads-serverid=ldapserver,") {
            let keystore = keystore_path(server).display().to_string();
            return format!(
                "{entry}\nads-keystoreFile: {keystore}\nads-certificatePassword: {KEYSTORE_PASSWORD}"
            );
        }
        if !entry.to_ascii_lowercase().contains("ads-systemport:") {
            return entry.to_owned();
        }
        let port = match dn.split(',').next().unwrap_or_default() {
            "dn: ads-transportid=ldap" => Some(server.ldap_port()),
            "dn: ads-transportid=ldaps" => Some(server.ldaps_port()),
            _ => None,
        };
        let line = |line: &str| match line.split_once(':').map(|(name, _)| name.to_ascii_lowercase()) {
            Some(name) if name == "ads-systemport" => {
                format!("ads-systemport: {}", port.map_or_else(|| "0".to_owned(), |port| port.to_string()))
            }
            Some(name) if name == "ads-transportaddress" => "ads-transportaddress: 127.0.0.1".to_owned(),
            Some(name) if name == "ads-enabled" && port.is_none() => "ads-enabled: FALSE".to_owned(),
            _ => line.to_owned(),
        };
        entry.lines().map(line).collect::<Vec<_>>().join("\n")
    });
    entries.collect::<Vec<_>>().join("\n\n")
}

fn keystore_path(server: &Server) -> std::path::PathBuf {
    server.path("tls/keystore.p12")
}

/// Puts certificate and key where Java finds them.
fn keystore(server: &Server) {
    let tls = server.certificates();
    let (cert, key, ca): (&Path, &Path, &Path) = (&tls.server_cert, &tls.server_key, &tls.ca);
    let mut export = Command::new(tool("openssl"));
    export
        .args(["pkcs12", "-export", "-name", "server", "-passout"])
        .arg(format!("pass:{KEYSTORE_PASSWORD}"));
    export.arg("-inkey").arg(key).arg("-in").arg(cert).arg("-certfile").arg(ca);
    succeed(export.arg("-out").arg(keystore_path(server)));
}
