//! Meltano, the real one: from PyPI, pinned in `tests/meltano/requirements.txt`, in an environment of its own below the
//! target directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::run::{Program, target_dir};
use crate::server::{scratch, succeed};

/// A Meltano project in a folder of its own.
#[derive(Debug)]
pub struct Project {
    dir: TempDir,
}

impl Project {
    /// A project whose tap is the one built here, with this configuration. The settings are defined by their names alone.
    pub fn new(config: &Value) -> Project {
        Project::of(&json!({"extractors": [plugin(Program::Tap, config)]}))
    }

    /// A project with these plugins, as `meltano.yml` has them.
    pub fn of(plugins: &Value) -> Project {
        let project = json!({
            "default_environment": "dev",
            "environments": [{"name": "dev"}],
            "plugins": plugins,
        });
        let new = Project { dir: scratch() };
        // JSON is YAML.
        new.write("meltano.yml", &serde_json::to_string_pretty(&project).unwrap());
        new
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

    /// A copy of a project of the repository: `meltano/project`.
    pub fn copy_of(folder: &Path) -> Project {
        let new = Project { dir: scratch() };
        let from = format!("{}/.", folder.display());
        succeed(Command::new("cp").arg("-R").arg(from).arg(new.dir.path()));
        new
    }

    /// A file of the project.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the project.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// A file's text.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The command `meltano` with these arguments. Nothing of this machine's settings reaches it.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(meltano().join("bin/meltano"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["MELTANO_", "TAP_LDAP_", "TARGET_LDAP_", "FLEXT_"].iter().any(|own| text.starts_with(own)) {
                command.env_remove(&name);
            }
        }
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path().join("home"))
            .env("MELTANO_SEND_ANONYMOUS_USAGE_STATS", "false")
            .env("NO_COLOR", "1")
            // Lines of a table are not folded.
            .env("COLUMNS", "500");
        command
    }

    /// Runs `meltano` with these arguments; panics, with what it said, unless it succeeds. What it wrote on stdout.
    #[track_caller]
    pub fn meltano(&self, args: &[&str]) -> String {
        String::from_utf8(succeed(&mut self.command(args)).stdout).unwrap()
    }

    /// The same; what it wrote on stdout and stderr.
    #[track_caller]
    pub fn says(&self, args: &[&str]) -> String {
        said(&succeed(&mut self.command(args)))
    }
}

/// What a command wrote, stdout first.
pub fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|out| String::from_utf8_lossy(out).into_owned()).concat()
}

/// A plugin's entry in `meltano.yml`: the executable built here, with this configuration and with what it says of itself.
pub fn plugin(program: Program, config: &Value) -> Value {
    let about = about(program);
    let mut settings = Vec::new();
    for (name, schema) in about["settings"]["properties"].as_object().unwrap() {
        let is = |kind: &str| schema["type"].as_array().is_some_and(|types| types.iter().any(|t| t == kind));
        let kinds = ["string", "array", "object", "boolean", "integer"];
        let kind = kinds.into_iter().find(|kind| is(kind)).unwrap();
        settings.push(json!({"name": name, "kind": kind, "sensitive": schema["secret"] == true}));
    }
    json!({
        "name": program.name(),
        "namespace": program.name().replace('-', "_"),
        "executable": program.path(),
        "capabilities": about["capabilities"],
        "settings": settings,
        "config": config,
    })
}

/// What `--about --format json` prints.
pub fn about(program: Program) -> Value {
    let output = succeed(Command::new(program.path()).args(["--about", "--format=json"]));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A plugin's entry with more in it: `select`, `metadata`, `schema`.
pub fn with_extras(plugin: &Value, extras: &Value) -> Value {
    let mut plugin: Map<String, Value> = plugin.as_object().unwrap().clone();
    plugin.extend(extras.as_object().unwrap().clone());
    Value::Object(plugin)
}

/// Its Python environment, installed before the first use in this process where it is missing.
pub fn meltano() -> &'static Path {
    static MELTANO: OnceLock<PathBuf> = OnceLock::new();
    MELTANO.get_or_init(|| venv("meltano", "tests/meltano/requirements.txt"))
}

/// A Python environment below the target directory, with what a `requirements.txt` of the repository pins.
pub fn venv(name: &str, requirements: &str) -> PathBuf {
    let dir = target_dir().join(name);
    let root = root();
    succeed(Command::new(root.join("scripts/install-venv.sh")).arg(root.join(requirements)).arg(&dir));
    dir
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Both executables as Python wheels, built here with a profile of their own: the folder they are in.
pub fn wheels() -> &'static Path {
    static WHEELS: OnceLock<PathBuf> = OnceLock::new();
    WHEELS.get_or_init(|| {
        let dir = target_dir().join("wheels-of-tests");
        let features = if cfg!(feature = "gssapi") { "ntlm" } else { "" };
        let mut command = Command::new(root().join("scripts/build-wheels.sh"));
        succeed(command.arg(&dir).args(["wheel-test", features]).env("CARGO_TARGET_DIR", target_dir()));
        dir
    })
}

/// The executable in a wheel.
pub fn executable_of_wheel(program: Program, dir: &Path) -> PathBuf {
    let prefix = program.name().replace('-', "_");
    let wheel = fs::read_dir(wheels()).unwrap().map(|file| file.unwrap().path());
    let mut wheel = wheel.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&prefix));
    succeed(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel.next().unwrap()).arg(dir));
    let version = env!("CARGO_PKG_VERSION");
    let path = dir.join(format!("{prefix}-{version}.data/scripts/{}", program.name()));
    succeed(Command::new("chmod").arg("+x").arg(&path));
    path
}
