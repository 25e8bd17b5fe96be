//! A running program.

use std::io::Write as _;
use std::process::{Child, ChildStdout, ExitStatus};
use std::sync::Arc;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::Run;
use super::log::Log;
use super::program::Program;

/// A program that runs, with its stdout in the test's hands.
#[derive(Debug)]
pub struct Running {
    program: Program,
    child: Option<Child>,
    stderr: Option<thread::JoinHandle<Vec<u8>>>,
    /// Whether the harness has it log JSON.
    is_json: bool,
    started: Instant,
    /// Its configuration is in there, and stays for as long as it may want to read it.
    _dir: Arc<TempDir>,
}

impl Running {
    pub(super) fn new(run: &Run, mut child: Child) -> Running {
        let stderr = child.stderr.take().map(|s| thread::spawn(move || read_all(s)));
        Running {
            program: run.program,
            child: Some(child),
            stderr,
            is_json: run.logs_json(),
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
    pub fn end(&mut self) -> (i32, Log) {
        let _ = self.child().kill();
        let status = self.child().wait().unwrap();
        (code(status), self.log())
    }

    /// What it logged until its end.
    fn log(&mut self) -> Log {
        let stderr = self.stderr.take().map(|t| t.join().unwrap()).unwrap_or_default();
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        if self.is_json { Log::rendered(&stderr) } else { Log::verbatim(stderr) }
    }

    /// Waits for its end, or kills it and panics: exit code, stderr, and how long it took.
    #[track_caller]
    pub fn wait(mut self, timeout: Duration) -> (i32, Log, Duration) {
        let status = wait(self.child(), timeout);
        let took = self.started.elapsed();
        let stderr = self.log();
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

pub(super) fn read_all(mut stream: impl std::io::Read) -> Vec<u8> {
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
