//! Starts and stops Samba as an Active Directory domain controller, LDAP only: provisioned once, a fresh copy per
//! call.

use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::getuid;

use crate::run::target_dir;
use crate::server::{Identity, Server, free_port, packaged, succeed, tool};

/// The domain's naming context.
pub const SUFFIX: &str = "DC=ad,DC=example,DC=test";
/// The password of the administrator.
pub const ADMIN_PASSWORD: &str = "Passw0rd!x";
const REALM: &str = "AD.EXAMPLE.TEST";
/// The domain's short name.
pub const WORKGROUP: &str = "ADTEST";

/// A running domain controller, killed when dropped.
#[derive(Debug)]
pub struct Samba {
    server: Server,
    /// What is bound instead of the ports compiled in, as `bindremap.c` wants it.
    ports: String,
}

impl Deref for Samba {
    type Target = Server;

    fn deref(&self) -> &Server {
        &self.server
    }
}

impl DerefMut for Samba {
    fn deref_mut(&mut self) -> &mut Server {
        &mut self.server
    }
}

impl Samba {
    /// Starts a fresh domain controller and adds this LDIF, online. Panics, with the way out, when Samba is not
    /// installed or refuses the LDIF.
    pub fn start(seed: &str) -> Samba {
        let server = Server::new(Identity {
            program: "samba",
            suffix: SUFFIX.to_owned(),
            admin_dn: format!("CN=Administrator,CN=Users,{SUFFIX}"),
            admin_password: ADMIN_PASSWORD,
            orderly: false,
            routine: &["Copyright Andrew Tridgell", "started.", "daemon_ready"],
        });
        let mut samba = Samba { server, ports: String::new() };
        // Most of these files are holes.
        let mut copy = Command::new(tool("cp"));
        succeed(copy.args(["-a", "--sparse=always"]).arg(domain().join(".")).arg(samba.path("domain")));
        for sub in ["pid", "ncalrpc", "winbind", "ntp", "cache"] {
            fs::create_dir_all(samba.path("run").join(sub)).unwrap();
        }
        fs::write(samba.path("smb.conf"), samba.configuration()).unwrap();
        // The global catalogue's two ports are wanted by nobody, but Samba binds them.
        let catalogue = [free_port(), free_port()];
        samba
            .server
            .start_on_free_ports("ADDRESS_ALREADY", |server| command(server, &remapped(server, catalogue)));
        samba.ports = remapped(&samba.server, catalogue);
        if !seed.trim().is_empty() {
            samba.ldapadd(seed);
        }
        samba
    }

    /// Stops the server, unless it was killed, and starts it again on the same ports and data.
    pub fn restart(&mut self) {
        self.server.stop();
        let command = command(&self.server, &self.ports);
        self.server.start_again(command);
    }

    /// Stops the server, keeps a copy of its database, and starts it again.
    pub fn backup(&mut self) {
        self.copy_private("domain/private", "backup");
    }

    /// Stops the server, puts the copy of its database in place, and starts it again.
    pub fn restore(&mut self) {
        self.copy_private("backup", "domain/private");
    }

    fn copy_private(&mut self, from: &str, to: &str) {
        self.server.stop();
        let _ = fs::remove_dir_all(self.path(to));
        let mut copy = Command::new(tool("cp"));
        succeed(copy.args(["-a", "--sparse=always"]).arg(self.path(from)).arg(self.path(to)));
        let command = command(&self.server, &self.ports);
        self.server.start_again(command);
    }

    /// Adds LDIF to the database beside the running server, in one transaction: an LDAP operation takes it ten
    /// milliseconds.
    pub fn ldbadd(&self, ldif: &str) {
        let file = self.path("ldbadd.ldif");
        fs::write(&file, ldif).unwrap();
        let mut command = Command::new(tool("ldbadd"));
        command
            .arg("--configfile")
            .arg(self.path("smb.conf"))
            .arg("-H")
            .arg(self.path("domain/private/sam.ldb"));
        succeed(command.arg(&file));
    }

    fn configuration(&self) -> String {
        let tls = self.certificates();
        let path = |name: &str| self.path(name).display().to_string();
        format!(
            "[global]
netbios name = DC1
workgroup = {WORKGROUP}
realm = {REALM}
server role = active directory domain controller
private dir = {private}
state directory = {state}
lock directory = {lock}
cache directory = {run}/cache
pid directory = {run}/pid
ncalrpc dir = {run}/ncalrpc
winbindd socket directory = {run}/winbind
ntp signd socket directory = {run}/ntp
interfaces = 127.0.0.1/8
bind interfaces only = yes
server services = ldap
ldap server require strong auth = no
tls enabled = yes
tls keyfile = {key}
tls certfile = {cert}
tls cafile = {ca}
idmap_ldb:use rfc2307 = yes
",
            private = path("domain/private"),
            state = path("domain/state"),
            lock = path("domain"),
            run = path("run"),
            key = tls.server_key.display(),
            cert = tls.server_cert.display(),
            ca = tls.ca.display(),
        )
    }
}

fn remapped(server: &Server, [catalogue, catalogue_tls]: [u16; 2]) -> String {
    let (ldap, ldaps) = (server.ldap_port(), server.ldaps_port());
    format!("389:{ldap},636:{ldaps},3268:{catalogue},3269:{catalogue_tls}")
}

/// -F and -M single: in the foreground, and one process, so that the child is the server.
fn command(server: &Server, ports: &str) -> Command {
    let mut command = Command::new(tool("samba"));
    command.args(["-F", "--no-process-group", "-M", "single", "-d", "1", "--debug-stdout", "-s"]);
    command.arg(server.path("smb.conf"));
    command.env("LD_PRELOAD", domain().join("bindremap.so")).env("BINDREMAP", ports);
    command
}

/// A provisioned domain and the port library, made once and kept in the target directory for later runs: it takes ten
/// seconds. Only its etc/smb.conf, which nobody reads, knows where it was made.
fn domain() -> &'static Path {
    static DOMAIN: OnceLock<PathBuf> = OnceLock::new();
    DOMAIN.get_or_init(|| {
        let samba = tool("samba");
        packaged("/usr/share/samba/setup/provision.ldif");
        let version = String::from_utf8(succeed(Command::new(samba).arg("--version")).stdout).unwrap();
        let key: String = format!("{} {}", version.trim(), env!("CARGO_PKG_VERSION"))
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
            .collect();
        let place = target_dir().join("tmp").join(format!("{key}-of-{}", getuid().as_raw()));
        if !place.is_dir() {
            fs::create_dir_all(target_dir().join("tmp")).unwrap();
            let work = tempfile::Builder::new()
                .prefix("provision-")
                .tempdir_in(target_dir().join("tmp"))
                .expect("a directory to provision in");
            provision(work.path());
            // Another test process may have been faster; its domain is as good.
            if fs::rename(work.path(), &place).is_err() {
                assert!(place.is_dir(), "{} cannot be made", place.display());
            }
        }
        place
    })
}

fn provision(dir: &Path) {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets");
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(dir.join("bindremap.so"));
    succeed(compile.arg(assets.join("bindremap.c")).arg("-ldl"));

    // Empty: else the machine's own /etc/samba/smb.conf is taken in.
    fs::write(dir.join("empty.conf"), "[global]\n").unwrap();
    let after = dir.join("after.conf");
    let place = dir.display();
    fs::write(
        &after,
        format!(
            "[global]\nnetbios name = DC1\nworkgroup = {WORKGROUP}\nrealm = {REALM}\n\
             server role = active directory domain controller\nprivate dir = {place}/private\n\
             state directory = {place}/state\ncache directory = {place}\nlock directory = {place}\n"
        ),
    )
    .unwrap();
    // The interpreter that has Samba's modules.
    let samba_tool = fs::read_to_string(tool("samba-tool")).unwrap();
    let interpreter =
        samba_tool.lines().next().and_then(|l| l.strip_prefix("#!")).unwrap_or("/usr/bin/python3");
    let mut provision = Command::new(interpreter.trim());
    provision.arg(assets.join("provision.py")).arg(&after).arg("-s").arg(dir.join("empty.conf"));
    provision.arg(format!("--targetdir={place}")).args([
        &format!("--realm={REALM}"),
        &format!("--domain={WORKGROUP}"),
        &format!("--adminpass={ADMIN_PASSWORD}"),
        "--server-role=dc",
        // The server's address would only go into DNS, of which there is none.
        "--dns-backend=NONE",
        "--host-name=dc1",
        "--host-ip=127.0.0.1",
        "--use-rfc2307",
    ]);
    succeed(provision.env("HOME", dir));
}
