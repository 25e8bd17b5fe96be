//! The two executables, built once per process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// What the executables are built with, as this crate is.
const FEATURES: &[&str] = if cfg!(feature = "ntlm") {
    &["--features", "tap-ldap/ntlm,target-ldap/ntlm"]
} else if cfg!(feature = "gssapi") {
    &["--features", "tap-ldap/gssapi,target-ldap/gssapi"]
} else {
    &[]
};

/// Which of the two executables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// tap-ldap
    Tap,
    /// target-ldap
    Target,
    /// ldap-service
    Service,
}

impl Program {
    /// All executables.
    pub const ALL: [Program; 3] = [Program::Tap, Program::Target, Program::Service];

    /// The name of the executable.
    pub fn name(self) -> &'static str {
        match self {
            Program::Tap => "tap-ldap",
            Program::Target => "target-ldap",
            Program::Service => "ldap-service",
        }
    }

    /// The path of the executable, built before the first use in this process.
    pub fn path(self) -> PathBuf {
        let path = build().join(self.name());
        assert!(path.is_file(), "cargo build made no {}", path.display());
        path
    }
}

/// Builds the executables once per process, in this test's own target directory and profile, and says where they
/// are. Cargo does not do it for us: the tests of one member do not build the executables of another.
pub fn build() -> &'static Path {
    // A failure is kept as well: the tests that follow must not build what cannot be built again and again.
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let profile_dir = profile_dir();
        let profile = match profile_dir.file_name().and_then(|n| n.to_str()).unwrap() {
            "debug" => "dev",
            other => other,
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        // What cargo tells this test about its own package would have the build script of ring run anew, and with it
        // everything be built again, each time.
        for (name, _) in std::env::vars_os() {
            if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|own| name.to_string_lossy().starts_with(own)) {
                command.env_remove(name);
            }
        }
        // Cargo's word when it runs the tests: a target directory that was copied from another checkout still has this crate as it
        // was compiled there, and would have that one's executables built.
        let here =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let output = command
            .current_dir(Path::new(&here).parent().unwrap())
            .args([
                "build",
                "--quiet",
                "-p",
                "tap-ldap",
                "-p",
                "target-ldap",
                "-p",
                "ldap-service",
                "--profile",
                profile,
                "--target-dir",
            ])
            .arg(target_dir())
            .args(FEATURES)
            .output()
            .expect("cargo");
        if output.status.success() {
            Ok(profile_dir)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    });
    match built {
        Ok(dir) => dir,
        Err(why) => panic!("the executables cannot be built:\n{why}"),
    }
}

/// The directory of the running executable's profile: TARGET/PROFILE/deps/it-HASH for a test, TARGET/PROFILE/NAME for
/// an executable.
fn profile_dir() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let dir = exe.parent().unwrap();
    if dir.file_name().is_some_and(|n| n == "deps") {
        dir.parent().unwrap().to_owned()
    } else {
        dir.to_owned()
    }
}

/// Cargo's target directory, where this was built.
pub(crate) fn target_dir() -> PathBuf {
    profile_dir().parent().unwrap().to_owned()
}
