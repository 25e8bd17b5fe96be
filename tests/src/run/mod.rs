//! Builds the executables, runs them, and keeps their output and log.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

pub use self::log::Log;
pub use self::output::{Output, output};
pub(crate) use self::program::target_dir;
pub use self::program::{Program, build};
pub use self::running::Running;
use self::running::read_all;
use crate::server::scratch;

mod log;
mod output;
mod program;
mod running;

/// How long a run may take before the test gives up on it.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// One run to be: a program, its configuration, and what surrounds it.
#[derive(Debug)]
pub struct Run {
    program: Program,
    dir: Arc<TempDir>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdin: Vec<u8>,
    timeout: Duration,
    files: BTreeSet<String>,
    file_limit: Option<u64>,
    text_log: bool,
    executable: Option<PathBuf>,
}

impl Run {
    /// A run without any configuration.
    pub fn bare(program: Program) -> Run {
        Run {
            program,
            dir: Arc::new(scratch()),
            args: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            timeout: DEFAULT_TIMEOUT,
            files: BTreeSet::new(),
            file_limit: None,
            text_log: false,
            executable: None,
        }
    }

    /// tap-ldap with this configuration.
    pub fn tap(config: &Value) -> Run {
        Run::bare(Program::Tap).file("--config", config)
    }

    /// target-ldap with this configuration.
    pub fn target(config: &Value) -> Run {
        Run::bare(Program::Target).file("--config", config)
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<String>) -> Run {
        self.args.push(arg.into());
        self
    }

    /// Makes it a dry run that prints its plan in a format: `json`, `ldif`, `diff`, `html`.
    #[must_use]
    pub fn plan(self, format: impl Into<String>) -> Run {
        self.arg("--dry-run").arg("--plan-format").arg(format)
    }

    /// Adds `flag` and the path of a file that holds `json`.
    #[must_use]
    pub fn file(self, flag: &str, json: &Value) -> Run {
        let text = serde_json::to_vec_pretty(json).unwrap();
        self.raw_file(flag, &text)
    }

    /// Adds `flag` and the path of a file with this content, whatever it is.
    #[must_use]
    pub fn raw_file(mut self, flag: &str, content: &[u8]) -> Run {
        let name = format!("{}{}.json", flag.trim_start_matches('-'), self.files.len());
        let path = self.dir.path().join(&name);
        std::fs::write(&path, content).unwrap();
        self.files.insert(name);
        self.args.push(flag.to_owned());
        self.args.push(path.to_str().unwrap().to_owned());
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Run {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What the program reads on stdin.
    #[must_use]
    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Run {
        bytes.as_ref().clone_into(&mut self.stdin);
        self
    }

    /// Messages on stdin, one a line.
    #[must_use]
    pub fn messages(self, messages: &[Value]) -> Run {
        let mut text = String::new();
        for message in messages {
            text.push_str(&message.to_string());
            text.push('\n');
        }
        self.stdin(text)
    }

    /// Another patience than two minutes.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Run {
        self.timeout = timeout;
        self
    }

    /// The folder that it runs in.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// No file that it writes can be larger than this, in octets (rounded down to 512): as on a disk that is full, a part of what is
    /// written still gets there.
    #[must_use]
    pub fn file_limit(mut self, octets: u64) -> Run {
        self.file_limit = Some(octets);
        self
    }

    /// Logs text, as for people. Otherwise the log is JSON, so that assertions are about its fields: see [`Log`].
    #[must_use]
    pub fn text_log(mut self) -> Run {
        self.text_log = true;
        self
    }

    /// Whether the harness chooses the form of the log: neither the test nor the SDK's variables do.
    fn logs_json(&self) -> bool {
        !self.text_log
            && !self.args.iter().any(|arg| arg.starts_with("--log-format"))
            && !self.env.iter().any(|(name, _)| name == "SINGER_SDK_LOG_CONFIG")
    }

    /// [`Run::command`], logging as [`Log`] wants it.
    fn logged_command(&self) -> Command {
        let mut command = self.command();
        if self.logs_json() {
            command.args(["--log-format", "json"]);
        }
        command
    }

    /// Runs this executable, in place of the one that is built for the tests.
    #[must_use]
    pub fn executable(mut self, path: PathBuf) -> Run {
        self.executable = Some(path);
        self
    }

    /// The command, without its streams. Nothing of this machine's own settings reaches it.
    pub fn command(&self) -> Command {
        let path = self.executable.clone().unwrap_or_else(|| self.program.path());
        let mut command = if let Some(octets) = self.file_limit {
            // Ignored, the signal is an error of the write instead (setrlimit(2), RLIMIT_FSIZE).
            let mut shell = Command::new("sh");
            shell.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", &(octets / 512).to_string()]);
            shell.arg(path);
            shell
        } else {
            Command::new(path)
        };
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let ours = ["FLEXT_", "TAP_LDAP_", "TARGET_LDAP_", "OTEL_", "SINGER_", "LDAP"];
            if ours.iter().any(|prefix| text.starts_with(prefix)) || text == "RUST_LOG" {
                command.env_remove(&name);
            }
        }
        command.current_dir(self.dir.path()).args(&self.args).envs(self.env.iter().map(|(k, v)| (k, v)));
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Output {
        self.run_and(|_| {})
    }

    /// Runs it to its end; `started` gets its process id once it is there.
    #[track_caller]
    pub fn run_and(self, started: impl FnOnce(u32)) -> Output {
        let mut running = self.spawn();
        started(running.child().id());
        let stdout = running.take_stdout();
        let reader = thread::spawn(move || read_all(stdout));
        running.close_stdin_with(&self.stdin);
        let (code, stderr, took) = running.wait(self.timeout);
        output(code, reader.join().unwrap(), stderr, took)
    }

    /// Starts it with a pipe on each stream; stderr is collected.
    pub fn spawn(&self) -> Running {
        let child = self
            .logged_command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", self.program.name()));
        Running::new(self, child)
    }
}

/// Runs `tap | target` with a pipe of the operating system between them; the tap's stdout is the target's stdin, so
/// the first output has none.
#[track_caller]
pub fn pipe(tap_config: &Value, target_config: &Value) -> (Output, Output) {
    pipe_runs(&Run::tap(tap_config), &Run::target(target_config))
}

/// [`pipe`] for two prepared runs.
#[track_caller]
pub fn pipe_runs(tap: &Run, target: &Run) -> (Output, Output) {
    let (tap_running, mut target_running) = spawn_pipe(tap, target);
    let stdout = target_running.take_stdout();
    let reader = thread::spawn(move || read_all(stdout));
    let (target_code, target_stderr, target_took) = target_running.wait(target.timeout);
    let (tap_code, tap_stderr, tap_took) = tap_running.wait(tap.timeout);
    (
        output(tap_code, Vec::new(), tap_stderr, tap_took),
        output(target_code, reader.join().unwrap(), target_stderr, target_took),
    )
}

/// Starts `tap | target`, for a test that has something to do while they run. Somebody must read what the target
/// prints.
pub fn spawn_pipe(tap: &Run, target: &Run) -> (Running, Running) {
    let mut first = tap
        .logged_command()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let between = first.stdout.take().unwrap();
    let tap_running = Running::new(tap, first);
    let second = target
        .logged_command()
        .stdin(Stdio::from(between))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (tap_running, Running::new(target, second))
}

/// A file's text, for assertions.
#[track_caller]
pub fn read_text(path: &Path) -> String {
    let mut text = String::new();
    File::open(path)
        .and_then(|mut f| f.read_to_string(&mut text))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text
}
