//! Meltano, the real one: from PyPI, pinned in `tests/meltano/requirements.txt`, in an environment of its own below the
//! target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::run::{Program, target_dir};
use crate::server::{scratch, succeed};

/// A Meltano project with the tap in it.
#[derive(Debug)]
pub struct Project {
    dir: TempDir,
}

impl Project {
    /// A project whose tap is the one built here, with this configuration. The settings are defined by their names alone.
    pub fn new(config: &Value) -> Project {
        let settings: Vec<Value> = config.as_object().unwrap().keys().map(|k| json!({"name": k})).collect();
        let project = json!({
            "default_environment": "dev",
            "environments": [{"name": "dev"}],
            "plugins": {"extractors": [{
                "name": "tap-ldap",
                "namespace": "tap_ldap",
                "executable": Program::Tap.path(),
                "capabilities": ["catalog", "discover", "state", "about", "test", "activate-version"],
                "settings": settings,
                "config": config,
            }]},
        });
        let dir = scratch();
        // JSON is YAML.
        fs::write(dir.path().join("meltano.yml"), serde_json::to_vec_pretty(&project).unwrap()).unwrap();
        Project { dir }
    }

    /// A project that loads what the tap reads into a second directory, and whose plugins log as Meltano asks them to.
    pub fn pipeline(tap: &Value, target: &Value) -> Project {
        let plugin = |program: Program, capabilities: &[&str], config: &Value| {
            let settings: Vec<Value> =
                config.as_object().unwrap().keys().map(|k| json!({"name": k})).collect();
            json!([{
                "name": program.name(), "namespace": program.name().replace('-', "_"), "executable": program.path(),
                "capabilities": capabilities, "settings": settings, "config": config,
            }])
        };
        let project = json!({
            "default_environment": "dev",
            "environments": [{"name": "dev"}],
            "plugins": {
                "extractors": plugin(Program::Tap, &["catalog", "discover", "state", "about", "structured-logging"], tap),
                "loaders": plugin(Program::Target, &["about", "structured-logging"], target),
            },
        });
        let dir = scratch();
        fs::write(dir.path().join("meltano.yml"), serde_json::to_vec_pretty(&project).unwrap()).unwrap();
        Project { dir }
    }

    /// Runs `meltano` with these arguments, whatever becomes of it: whether it succeeded, and what it wrote on stderr.
    pub fn meltano_says(&self, args: &[&str]) -> (bool, String) {
        let output = self.command(args).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }

    /// Runs `meltano` with these arguments; panics, with what it said, unless it succeeds. What it wrote on stdout.
    #[track_caller]
    pub fn meltano(&self, args: &[&str]) -> String {
        String::from_utf8(succeed(&mut self.command(args)).stdout).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(meltano());
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path().join("home"))
            .env("MELTANO_SEND_ANONYMOUS_USAGE_STATS", "false")
            .env("NO_COLOR", "1");
        command
    }
}

/// The executable, installed before the first use in this process where it is missing.
fn meltano() -> &'static Path {
    static MELTANO: OnceLock<PathBuf> = OnceLock::new();
    MELTANO.get_or_init(|| {
        let dir = target_dir().join("meltano");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        succeed(Command::new(root.join("scripts/install-meltano.sh")).arg(&dir));
        dir.join("bin/meltano")
    })
}
