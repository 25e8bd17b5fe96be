//! Builds the executables, runs them, and keeps what they said.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, OnceLock};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::server::scratch;

/// What the executables are built with, as this crate is.
const FEATURES: &[&str] = if cfg!(feature = "ntlm") {
    &["--features", "tap-ldap/ntlm,target-ldap/ntlm"]
} else if cfg!(feature = "gssapi") {
    &["--features", "tap-ldap/gssapi,target-ldap/gssapi"]
} else {
    &[]
};

/// How long a run may take before the test gives up on it.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// Which of the two executables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// tap-ldap
    Tap,
    /// target-ldap
    Target,
}

impl Program {
    /// The name of the executable.
    pub fn name(self) -> &'static str {
        match self {
            Program::Tap => "tap-ldap",
            Program::Target => "target-ldap",
        }
    }

    /// The path of the executable, built before the first use in this process.
    pub fn path(self) -> PathBuf {
        let path = build().join(self.name());
        assert!(path.is_file(), "cargo build made no {}", path.display());
        path
    }
}

/// Builds both executables once per process, in this test's own target directory and profile, and says where they
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

/// What a run left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code; 128 and the signal's number when a signal ended it, as a shell has it.
    pub code: i32,
    /// stdout, byte for byte.
    pub stdout: Vec<u8>,
    /// stderr.
    pub stderr: String,
    /// The lines of stdout that are JSON.
    pub messages: Vec<Value>,
    /// From start to end.
    pub took: Duration,
}

impl Output {
    /// Panics, with stderr, unless the exit code is `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Output {
        assert_eq!(
            self.code,
            code,
            "exit code; stderr:\n{}\nstdout (its end):\n{}",
            self.stderr,
            self.stdout_text()
                .chars()
                .rev()
                .take(2000)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect::<String>()
        );
        self
    }

    /// Panics unless the exit code is 0.
    #[track_caller]
    pub fn succeeds(self) -> Output {
        self.exits(0)
    }

    /// Panics unless stderr contains `text`.
    #[track_caller]
    pub fn says(self, text: &str) -> Output {
        assert!(self.stderr.contains(text), "stderr does not say {text:?}:\n{}", self.stderr);
        self
    }

    /// stdout as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// stdout as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|e| {
            panic!("stdout is no JSON ({e}):\n{}\nstderr:\n{}", self.stdout_text(), self.stderr)
        })
    }

    /// The messages of one `type`.
    pub fn of_type(&self, kind: &str) -> Vec<&Value> {
        self.messages.iter().filter(|m| m["type"] == kind).collect()
    }

    /// The records of one stream, or of all.
    pub fn records(&self, stream: Option<&str>) -> Vec<&Value> {
        self.of_type("RECORD")
            .into_iter()
            .filter(|m| stream.is_none_or(|s| m["stream"] == s))
            .map(|m| &m["record"])
            .collect()
    }

    /// The lines of stdout, each as JSON; panics when one is not.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        self.stdout_text()
            .lines()
            .map(|l| {
                serde_json::from_str(l).unwrap_or_else(|e| panic!("a line of stdout is no JSON ({e}): {l}"))
            })
            .collect()
    }
}

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

    /// The command, without its streams. Nothing of this machine's own settings reaches it.
    pub fn command(&self) -> Command {
        let mut command = if let Some(octets) = self.file_limit {
            // Ignored, the signal is an error of the write instead (setrlimit(2), RLIMIT_FSIZE).
            let mut shell = Command::new("sh");
            shell.args(["-c", "trap '' XFSZ; ulimit -f \"$0\"; exec \"$@\"", &(octets / 512).to_string()]);
            shell.arg(self.program.path());
            shell
        } else {
            Command::new(self.program.path())
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
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", self.program.name()));
        Running::new(self, child)
    }
}

/// A program that runs, with its stdout in the test's hands.
#[derive(Debug)]
pub struct Running {
    program: Program,
    child: Option<Child>,
    stderr: Option<thread::JoinHandle<Vec<u8>>>,
    started: Instant,
    /// Its configuration is in there, and stays for as long as it may want to read it.
    _dir: Arc<TempDir>,
}

impl Running {
    fn new(run: &Run, mut child: Child) -> Running {
        let stderr = child.stderr.take().map(|s| thread::spawn(move || read_all(s)));
        Running {
            program: run.program,
            child: Some(child),
            stderr,
            started: Instant::now(),
            _dir: Arc::clone(&run.dir),
        }
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }

    /// Its stdout; dropping it closes the pipe.
    pub fn take_stdout(&mut self) -> ChildStdout {
        self.child().stdout.take().expect("stdout is taken once")
    }

    /// Writes to its stdin and leaves it open. A program that no longer reads is no failure of the harness.
    pub fn write_stdin(&mut self, bytes: &[u8]) {
        let stdin = self.child().stdin.as_mut().expect("stdin is open");
        let _ = stdin.write_all(bytes).and_then(|()| stdin.flush());
    }

    /// Writes to its stdin and closes it, in the background: a program that reads nothing blocks nobody.
    pub fn close_stdin_with(&mut self, bytes: &[u8]) {
        if let Some(mut stdin) = self.child().stdin.take() {
            let bytes = bytes.to_vec();
            thread::spawn(move || {
                let _ = stdin.write_all(&bytes);
            });
        }
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(self.child());
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Its exit code and stderr, for a test that has failed: kills it when it still runs.
    pub fn end(&mut self) -> (i32, String) {
        let _ = self.child().kill();
        let status = self.child().wait().unwrap();
        let stderr = self.stderr.take().map(|t| t.join().unwrap()).unwrap_or_default();
        (code(status), String::from_utf8_lossy(&stderr).into_owned())
    }

    /// Waits for its end, or kills it and panics: exit code, stderr, and how long it took.
    #[track_caller]
    pub fn wait(mut self, timeout: Duration) -> (i32, String, Duration) {
        let status = wait(self.child(), timeout);
        let took = self.started.elapsed();
        let stderr = self.stderr.take().map(|t| t.join().unwrap()).unwrap_or_default();
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        self.child = None;
        let Some(status) = status else {
            panic!("{} did not end within {timeout:?}; stderr:\n{stderr}", self.program.name());
        };
        (code(status), stderr, took)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
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
    let mut first =
        tap.command().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let between = first.stdout.take().unwrap();
    let tap_running = Running::new(tap, first);
    let second = target
        .command()
        .stdin(Stdio::from(between))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (tap_running, Running::new(target, second))
}

/// An output of which stdout was read by the test itself.
pub fn output(code: i32, stdout: Vec<u8>, stderr: String, took: Duration) -> Output {
    let messages = stdout
        .split(|b| *b == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect::<Vec<Value>>();
    Output { code, stdout, stderr, messages, took }
}

fn read_all(mut stream: impl std::io::Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What came until the pipe broke is what there is.
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

fn wait(child: &mut Child, timeout: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        sleep(Duration::from_millis(5));
    }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
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
