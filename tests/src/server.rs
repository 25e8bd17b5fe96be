//! What all servers of the tests share: a temporary directory, free loopback ports, a process, and an administrator.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::{TempDir, TempPath};

use crate::certificates::Certificates;
use crate::client::Client;
use crate::ldif::Tree;

/// How long a server may take to answer after its start.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often other ports are tried when somebody else took one between choosing and binding it.
const PORT_ATTEMPTS: u32 = 5;

/// A server of whatever kind. Each kind dereferences to it.
#[derive(Debug)]
pub struct Server {
    program: &'static str,
    suffix: String,
    admin_dn: String,
    admin_password: &'static str,
    dir: TempDir,
    certificates: Certificates,
    ldap_port: u16,
    ldaps_port: u16,
    child: Option<Child>,
    /// Whether the end of the test is worth an orderly stop.
    orderly: bool,
    /// What it says whenever it starts and stops, and nobody wants to read.
    routine: &'static [&'static str],
}

/// Who a server is: what differs between the kinds before any of them runs.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) program: &'static str,
    pub(crate) suffix: String,
    pub(crate) admin_dn: String,
    pub(crate) admin_password: &'static str,
    pub(crate) orderly: bool,
    pub(crate) routine: &'static [&'static str],
}

impl Server {
    /// A server that does not run yet, with its directory and its certificates.
    pub(crate) fn new(identity: Identity) -> Server {
        let Identity { program, suffix, admin_dn, admin_password, orderly, routine } = identity;
        let dir =
            tempfile::Builder::new().prefix(&format!("{program}-")).tempdir().expect("a temporary directory");
        let certificates = Certificates::create(&dir.path().join("tls"));
        Server {
            program,
            suffix,
            admin_dn,
            admin_password,
            dir,
            certificates,
            ldap_port: 0,
            ldaps_port: 0,
            child: None,
            orderly,
            routine,
        }
    }

    /// The server's naming context, or the first of them.
    pub fn suffix(&self) -> &str {
        &self.suffix
    }

    /// Somebody who may read and write everything.
    pub fn admin_dn(&self) -> String {
        self.admin_dn.clone()
    }

    /// The password of [`Server::admin_dn`].
    pub fn admin_password(&self) -> &'static str {
        self.admin_password
    }

    /// `ldap://127.0.0.1:PORT`
    pub fn ldap_uri(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.ldap_port)
    }

    /// The port of [`Server::ldap_uri`].
    pub fn ldap_port(&self) -> u16 {
        self.ldap_port
    }

    /// `ldaps://127.0.0.1:PORT`
    pub fn ldaps_uri(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.ldaps_port)
    }

    /// The port of [`Server::ldaps_uri`].
    pub fn ldaps_port(&self) -> u16 {
        self.ldaps_port
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
        self.dump_below(&self.suffix, attributes)
    }

    /// All entries at and below a base with these attributes.
    pub fn dump_below(&self, base: &str, attributes: &[&str]) -> Tree {
        Client::admin(self).tree(base, attributes)
    }

    /// What changes with every write: the contextCSN of the database and each entry's entryCSN.
    pub fn change_marks(&self) -> Tree {
        self.dump_attributes(&["entryCSN", "contextCSN", "entryusn", "uSNChanged"])
    }

    /// Adds LDIF content (no changetype) online, as the administrator; panics with the server's text.
    pub fn ldapadd(&self, ldif: impl AsRef<[u8]>) {
        self.ldapmodify_with(&["-a"], ldif.as_ref());
    }

    /// Applies LDIF change records online, as the administrator; panics with the server's text.
    pub fn ldapmodify(&self, ldif: impl AsRef<[u8]>) {
        self.ldapmodify_with(&[], ldif.as_ref());
    }

    /// A file of its own: tests that share a server write at the same time.
    fn written(&self, ldif: &[u8]) -> TempPath {
        let mut file = tempfile::Builder::new().suffix(".ldif").tempfile_in(self.dir.path()).unwrap();
        file.write_all(ldif).unwrap();
        file.into_temp_path()
    }

    fn ldapmodify_with(&self, args: &[&str], ldif: &[u8]) {
        let file = self.written(ldif);
        // ldaps: Active Directory takes passwords over TLS only. -M: entries of class alias and referral are entries
        // to us.
        let mut command = Command::new(tool("ldapmodify"));
        command
            .args(["-x", "-M", "-H", &self.ldaps_uri(), "-D", &self.admin_dn, "-w", self.admin_password])
            .args(args)
            .arg("-f")
            .arg(&file)
            .env("LDAPTLS_CACERT", &self.certificates.ca);
        succeed(&mut command);
    }

    /// Applies LDIF change records online as somebody else; panics with the server's text.
    pub fn ldapmodify_as(&self, bind_dn: &str, password: &str, ldif: impl AsRef<[u8]>) {
        let file = self.written(ldif.as_ref());
        let mut command = Command::new(tool("ldapmodify"));
        command.args(["-x", "-H", &self.ldap_uri(), "-D", bind_dn, "-w", password, "-f"]).arg(&file);
        succeed(&mut command);
    }

    /// An ldapmodify of the administrator that applies each change record once it is written, blank line included,
    /// to its stdin.
    pub fn ldapmodify_session(&self) -> Child {
        let mut command = Command::new(tool("ldapmodify"));
        command
            .args(["-x", "-M", "-H", &self.ldap_uri(), "-D", &self.admin_dn, "-w", self.admin_password])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"))
    }

    /// Kills the server with SIGKILL, as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have died by itself; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Sends a signal to the server: STOP freezes it, CONT lets it go on.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let child = self.child.as_ref().expect("the server runs");
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
    }

    /// SIGTERM, ten seconds of patience, SIGKILL.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            terminate(&mut child, Duration::from_secs(10));
        }
    }

    /// What the process wrote on stdout and stderr.
    pub fn log(&self) -> String {
        fs::read(self.log_path()).map_or_else(|_| String::new(), |b| String::from_utf8_lossy(&b).into_owned())
    }

    fn log_path(&self) -> PathBuf {
        self.path(&format!("{}.log", self.program))
    }

    /// Chooses ports and starts the server, and does so again while the log shows that somebody else has a port.
    /// `command` makes the command for the ports chosen.
    pub(crate) fn start_on_free_ports(&mut self, taken: &str, command: impl Fn(&Server) -> Command) {
        for attempt in 1.. {
            self.ldap_port = free_port();
            self.ldaps_port = free_port();
            match self.launch(command(self)) {
                Ok(()) => break,
                Err(log) if attempt < PORT_ATTEMPTS && log.contains(taken) => {}
                Err(log) => panic!("{} does not start:\n{log}", self.program),
            }
        }
    }

    /// Starts the server again on the same ports and data.
    pub(crate) fn start_again(&mut self, command: Command) {
        if let Err(log) = self.launch(command) {
            panic!("{} does not start again:\n{log}", self.program);
        }
    }

    fn launch(&mut self, mut command: Command) -> Result<(), String> {
        let log = fs::File::create(self.log_path()).unwrap();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", self.program));
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answers = self.answers();
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
                return Err(format!("no answer within {PATIENCE:?}\n{}", self.log()));
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Whether both listeners answer.
    fn answers(&self) -> bool {
        [self.ldap_uri(), self.ldaps_uri()].iter().all(|uri| {
            Command::new(tool("ldapsearch"))
                .args(["-x", "-o", "nettimeout=2", "-H", uri, "-s", "base", "-b", "", "-LLL", "1.1"])
                .env("LDAPTLS_CACERT", &self.certificates.ca)
                .stdin(Stdio::null())
                .output()
                .is_ok_and(|output| output.status.success())
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.orderly {
            self.stop();
        } else {
            self.kill();
        }
        let log = self.log();
        let news: Vec<&str> = log.lines().filter(|l| !self.routine.iter().any(|r| l.contains(r))).collect();
        if std::thread::panicking() && !news.is_empty() {
            // eprintln is what the test runner keeps with the failed test, where whoever reads the failure looks.
            #[allow(clippy::print_stderr)]
            {
                eprintln!("{} on {} said:\n{}", self.program, self.ldap_uri(), news.join("\n"));
            }
        }
    }
}

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

/// Runs a command to its end; panics, with what it said, unless it succeeds.
#[track_caller]
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{}: {}\n{}{}",
        command.get_program().to_string_lossy(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The full path of a program the servers come with; the servers' own lie in /usr/sbin, which few users have in PATH.
pub fn tool(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin", "/usr/libexec"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| not_installed(name))
}

/// A file that a server's package brings.
pub(crate) fn packaged(path: &str) -> &Path {
    let path = Path::new(path);
    if path.exists() { path } else { not_installed(&path.display().to_string()) }
}

fn not_installed(what: &str) -> ! {
    panic!(
        "{what} is not installed: run `make deps` (it installs OpenLDAP, 389 Directory Server, Samba and ApacheDS), then the \
         tests again"
    )
}

/// A loopback port that was free a moment ago.
pub fn free_port() -> u16 {
    // Closed again, a port may be given out a second time before its server listens on it.
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// A directory for what a test writes, removed with it.
pub fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("ldap-test-").tempdir().unwrap()
}

/// The path of a fixture of this crate.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}
