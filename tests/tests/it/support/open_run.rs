//! A target whose input stays open.

use std::io::{BufRead as _, BufReader};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use ldap_tests::run::{Run, Running};
use serde_json::Value;

use super::lines;

/// A target with its stdin open, and the lines of its stdout.
pub(crate) struct OpenRun {
    running: Running,
    stdout: Receiver<String>,
}

impl OpenRun {
    pub(crate) fn start(config: &Value) -> OpenRun {
        let mut running = Run::target(config).spawn();
        let stdout = BufReader::new(running.take_stdout());
        let (send, receive) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        OpenRun { running, stdout: receive }
    }

    pub(crate) fn write(&mut self, messages: &[Value]) {
        self.running.write_stdin(lines(messages).as_bytes());
    }

    /// Waits for the STATE with a value while the input stays open.
    #[track_caller]
    pub(crate) fn prints(&mut self, state: &Value) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            match self.stdout.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if serde_json::from_str::<Value>(&line).unwrap() == *state => return,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no {state}: {:?}", self.running.end())
                }
            }
        }
    }

    #[track_caller]
    pub(crate) fn ends(mut self, code: i32) {
        self.running.close_stdin_with(b"");
        let (ended, log, _) = self.running.wait(Duration::from_secs(30));
        assert_eq!(ended, code, "{log}");
    }
}
