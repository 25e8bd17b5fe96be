//! Starts and stops OpenLDAP's slapd: a fresh one per call, in a directory of its own, on free loopback ports.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getgid, getuid, kill_process};
use tempfile::TempDir;

use crate::certificates::Certificates;
use crate::ldif::{self, Tree};

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
    /// memberof and refint overlays. Off by default: they write on their own, and a mirror would not be exact.
    pub memberof: bool,
    /// More lines for the database's part of slapd.conf (limits, overlays), ahead of the overlays.
    pub database_conf: String,
    /// More lines for the global part of slapd.conf.
    pub global_conf: String,
}

impl Default for SlapdOptions {
    fn default() -> SlapdOptions {
        SlapdOptions {
            suffix: "dc=example,dc=test".to_owned(),
            base: Base::Suffix,
            seed: Vec::new(),
            seed_files: Vec::new(),
            accesslog: false,
            memberof: false,
            database_conf: String::new(),
            global_conf: String::new(),
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
    dir: TempDir,
    options: SlapdOptions,
    certificates: Certificates,
    ldap_port: u16,
    ldaps_port: u16,
    child: Option<Child>,
}

/// The password of [`Slapd::admin_dn`].
pub const ADMIN_PASSWORD: &str = "secret";

/// How often another pair of ports is tried when somebody else took one between choosing and binding it.
const PORT_ATTEMPTS: u32 = 5;

impl Slapd {
    /// Starts a fresh server. Panics, with the way out, when slapd is not installed or refuses the seed.
    pub fn start(options: SlapdOptions) -> Slapd {
        let dir = tempfile::Builder::new().prefix("slapd-").tempdir().expect("a temporary directory");
        for sub in ["db", "log"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        let certificates = Certificates::create(&dir.path().join("tls"));
        let mut slapd = Slapd { dir, options, certificates, ldap_port: 0, ldaps_port: 0, child: None };
        fs::write(slapd.path("test.schema"), include_str!("../fixtures/test.schema")).unwrap();
        fs::write(slapd.path("slapd.conf"), slapd.configuration()).unwrap();
        slapd.load_seed();
        for attempt in 1.. {
            slapd.ldap_port = free_port();
            slapd.ldaps_port = free_port();
            match slapd.launch() {
                Ok(()) => break,
                Err(log) if attempt < PORT_ATTEMPTS && log.contains("bind(") => {}
                Err(log) => panic!("slapd does not start:\n{log}"),
            }
        }
        slapd
    }

    /// The server's naming context.
    pub fn suffix(&self) -> &str {
        &self.options.suffix
    }

    /// The root DN. It bypasses every limit: read as [`Slapd::reader_dn`] where limits matter.
    pub fn admin_dn(&self) -> String {
        format!("cn=admin,{}", self.options.suffix)
    }

    /// An ordinary user, there with [`Base::Users`]; the password is `reader-pw`.
    pub fn reader_dn(&self) -> String {
        format!("uid=reader,ou=people,{}", self.options.suffix)
    }

    /// `ldap://127.0.0.1:PORT`
    pub fn ldap_uri(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.ldap_port)
    }

    /// The port of [`Slapd::ldap_uri`].
    pub fn ldap_port(&self) -> u16 {
        self.ldap_port
    }

    /// `ldaps://127.0.0.1:PORT`
    pub fn ldaps_uri(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.ldaps_port)
    }

    /// `ldapi://` and the socket's path, percent-encoded.
    pub fn ldapi_uri(&self) -> String {
        let path = self.path("ldapi");
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

    /// The certificates this server uses.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// A path in the server's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// All entries below the suffix, user attributes only. `ref` is asked for by name: to slapd it is operational.
    pub fn dump(&self) -> Tree {
        self.dump_attributes(&["*", "ref"])
    }

    /// All entries below the suffix with these attributes; an empty tree when there is no suffix entry.
    pub fn dump_attributes(&self, attributes: &[&str]) -> Tree {
        ldif::dump(&self.ldap_uri(), &self.admin_dn(), ADMIN_PASSWORD, self.suffix(), attributes)
    }

    /// What changes with every write: the contextCSN of the database and each entry's entryCSN.
    pub fn change_marks(&self) -> Tree {
        self.dump_attributes(&["entryCSN", "contextCSN"])
    }

    /// What slapcat writes for the database, byte for byte.
    pub fn slapcat(&self) -> Vec<u8> {
        let output = Command::new(tool("slapcat"))
            .arg("-f")
            .arg(self.path("slapd.conf"))
            .args(["-b", self.suffix()])
            .output()
            .unwrap();
        assert!(output.status.success(), "slapcat: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Adds LDIF content (no changetype) online, as the administrator; panics with the server's text.
    pub fn ldapadd(&self, ldif: &[u8]) {
        self.ldapmodify_with(&["-a"], ldif);
    }

    /// Applies LDIF change records online, as the administrator; panics with the server's text.
    pub fn ldapmodify(&self, ldif: impl AsRef<[u8]>) {
        self.ldapmodify_with(&[], ldif.as_ref());
    }

    fn ldapmodify_with(&self, args: &[&str], ldif: &[u8]) {
        let file = self.path("ldapmodify.ldif");
        fs::write(&file, ldif).unwrap();
        let output = Command::new(tool("ldapmodify"))
            // -M: entries of class alias and referral are entries to us.
            .args(["-x", "-M", "-H", &self.ldap_uri(), "-D", &self.admin_dn(), "-w", ADMIN_PASSWORD])
            .args(args)
            .arg("-f")
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success(), "ldapmodify: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Stops the server in an orderly way and starts it again on the same ports and data.
    pub fn restart(&mut self) {
        self.stop();
        if let Err(log) = self.launch() {
            panic!("slapd does not start again:\n{log}");
        }
    }

    /// Kills the server with SIGKILL, as a crash would. [`Slapd::restart`] starts it again.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have died by itself; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM, ten seconds of patience, SIGKILL.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            terminate(&mut child, Duration::from_secs(10));
        }
    }

    /// The server's own log.
    pub fn log(&self) -> String {
        fs::read(self.path("slapd.log"))
            .map_or_else(|_| String::new(), |b| String::from_utf8_lossy(&b).into_owned())
    }

    fn launch(&mut self) -> Result<(), String> {
        let log = fs::File::create(self.path("slapd.log")).unwrap();
        let uris = format!("{}/ {}/ {}/", self.ldap_uri(), self.ldaps_uri(), self.ldapi_uri());
        // -d keeps slapd in the foreground, so that the child is the server.
        let mut child = Command::new(tool("slapd"))
            .args(["-d", "none", "-f"])
            .arg(self.path("slapd.conf"))
            .args(["-h", &uris])
            .env("KRB5_KTNAME", "/dev/null")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let uri = self.ldap_uri();
        loop {
            let answers = self.path("ldapi").exists() && answers(&uri);
            // Asked after the answer: another server on a stolen port answers too, and ours is dead by then.
            if let Some(status) = child.try_wait().unwrap() {
                return Err(format!("{status}\n{}", self.log()));
            }
            if answers {
                self.child = Some(child);
                return Ok(());
            }
            if Instant::now() > deadline {
                terminate(&mut child, Duration::from_secs(1));
                return Err(format!("no answer on {uri}\n{}", self.log()));
            }
            sleep(Duration::from_millis(20));
        }
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
            // -q: no consistency checks, fast; -w: writes contextCSN, so that content sync starts consistent.
            let output = Command::new(tool("slapadd"))
                .args(["-q", "-w", "-f"])
                .arg(self.path("slapd.conf"))
                .args(["-b", self.suffix(), "-l"])
                .arg(&source)
                .output()
                .unwrap();
            assert!(
                output.status.success(),
                "slapadd refuses {}:\n{}",
                source.display(),
                String::from_utf8_lossy(&output.stderr)
            );
        }
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

    fn configuration(&self) -> String {
        let dir = self.dir.path().display();
        let suffix = self.suffix();
        let root = self.admin_dn();
        let tls = &self.certificates;
        let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
        let mut conf = String::new();
        for schema in ["core", "cosine", "inetorgperson", "nis", "dyngroup"] {
            writeln!(conf, "include /etc/ldap/schema/{schema}.schema").unwrap();
        }
        write!(
            conf,
            r#"include {dir}/test.schema
pidfile {dir}/slapd.pid
argsfile {dir}/slapd.args
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload syncprov
moduleload accesslog
moduleload memberof
moduleload refint
moduleload sssvlv
moduleload ppolicy
moduleload dynlist
moduleload deref
moduleload pw-sha2

TLSCACertificateFile {ca}
TLSCertificateFile {cert}
TLSCertificateKeyFile {key}
TLSVerifyClient try

# SASL EXTERNAL: the subject of a client certificate, and this user over ldapi.
authz-regexp "^cn=([^,]+),ou=people,o=test$" "uid=$1,ou=people,{suffix}"
authz-regexp "^gidNumber={gid}\\+uidNumber={uid},cn=peercred,cn=external,cn=auth$" "{root}"
sasl-host localhost
password-hash {{SSHA}}

# 500 entries for an unpaged search; a paged one may have all, 500 a page. The root DN bypasses both.
sizelimit size.soft=500 size.hard=500 size.pr=500 size.prtotal=unlimited size.unchecked=unlimited
{global}

database config
rootdn "{root}"
database monitor
rootdn "{root}"
"#,
            ca = tls.ca.display(),
            cert = tls.server_cert.display(),
            key = tls.server_key.display(),
            global = self.options.global_conf,
        )
        .unwrap();
        if self.options.accesslog {
            write!(
                conf,
                r#"
database mdb
suffix cn=accesslog
rootdn "{root}"
directory {dir}/log
maxsize 1073741824
index objectClass,reqStart,reqEnd,reqResult,reqDN,entryCSN eq
overlay syncprov
syncprov-nopresent TRUE
syncprov-reloadhint TRUE
limits dn.exact="{root}" time=unlimited size=unlimited
"#
            )
            .unwrap();
        }
        write!(
            conf,
            r#"
database mdb
suffix "{suffix}"
rootdn "{root}"
rootpw {ADMIN_PASSWORD}
directory {dir}/db
maxsize 4294967296
dbnosync
index objectClass,uid,cn,mail,member,memberUid,entryCSN,entryUUID,modifyTimestamp eq
lastmod on
access to attrs=userPassword by self write by anonymous auth by dn.exact="{root}" write by * none
access to * by dn.exact="uid=reader,ou=people,{suffix}" read by self write by users read by anonymous read
limits dn.exact="uid=replica,ou=people,{suffix}" size=unlimited time=unlimited
{database}
overlay syncprov
syncprov-checkpoint 100 1
syncprov-sessionlog 10000
"#,
            database = self.options.database_conf,
        )
        .unwrap();
        if self.options.accesslog {
            conf.push_str("overlay accesslog\nlogdb cn=accesslog\nlogops writes\nlogsuccess TRUE\nlogold (objectClass=*)\n");
        }
        if self.options.memberof {
            write!(
                conf,
                "overlay memberof\nmemberof-group-oc groupOfNames\nmemberof-member-ad member\n\
                 memberof-memberof-ad memberOf\nmemberof-refint TRUE\noverlay refint\n\
                 refint_attributes member uniqueMember manager owner\nrefint_nothing \"{root}\"\n"
            )
            .unwrap();
        }
        conf.push_str("overlay sssvlv\nsssvlv-max 8\nsssvlv-maxkeys 5\noverlay deref\n");
        conf
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        self.stop();
        let log = self.log();
        let news: Vec<&str> = log.lines().filter(|l| !ROUTINE.iter().any(|r| l.contains(r))).collect();
        if std::thread::panicking() && !news.is_empty() {
            // eprintln is what the test runner keeps with the failed test, where whoever reads the failure looks.
            #[allow(clippy::print_stderr)]
            {
                eprintln!("slapd on {} said:\n{}", self.ldap_uri(), news.join("\n"));
            }
        }
    }
}

/// What slapd says whenever it starts and stops.
const ROUTINE: [&str; 6] = [
    "OpenLDAP: slapd",
    "Maintainers",
    "rootdn is always granted",
    "slapd starting",
    "shutdown",
    "slapd stopped",
];

/// SIGTERM, then SIGKILL after `patience`; always waits, so that no zombie stays.
pub fn terminate(child: &mut Child, patience: Duration) {
    let _ = kill_process(Pid::from_child(child), Signal::TERM);
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// The full path of one of OpenLDAP's programs; slapd's own lie in /usr/sbin, which few users have in PATH.
pub fn tool(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin"), PathBuf::from("/usr/libexec")])
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| {
            panic!("{name} is not installed: run `make deps` (slapd, slapd-contrib, ldap-utils and chromium), then the tests again")
        })
}

/// A loopback port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn answers(uri: &str) -> bool {
    Command::new(tool("ldapsearch"))
        .args(["-x", "-o", "nettimeout=2", "-H", uri, "-s", "base", "-b", "", "-LLL", "1.1"])
        .stdin(Stdio::null())
        .output()
        .is_ok_and(|output| output.status.success())
}

/// A directory for what a test writes, removed with it.
pub fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("ldap-test-").tempdir().unwrap()
}

/// The path of a fixture of this crate.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}
