//! An independent OTLP receiver: oteltap, from PyPI, pinned in `tests/otlp/requirements.txt`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::run::target_dir;
use crate::server::{free_port, succeed, terminate};

/// How long spans may take from their end to the receiver's output.
const PATIENCE: Duration = Duration::from_secs(30);

/// A receiver, stopped when it is dropped.
#[derive(Debug)]
pub struct Otlp {
    child: Child,
    port: u16,
    lines: Receiver<String>,
}

impl Otlp {
    /// Starts it on a free port.
    pub fn start() -> Otlp {
        let port = free_port();
        let mut child = Command::new(python())
            .args(["-u", "-m", "oteltap", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let otlp = Otlp { child, port, lines };
        let begun = otlp.lines.recv_timeout(PATIENCE).expect("the receiver starts");
        assert!(begun.contains("Listening"), "{begun}");
        otlp
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What it printed, a JSON object for each span (protobuf's JSON form), until one satisfies `last`.
    #[track_caller]
    pub fn spans_until(&self, last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + PATIENCE;
        let mut spans: Vec<Value> = Vec::new();
        while !spans.iter().any(&last) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else { panic!("it never came: {spans:#?}") };
            collect(&serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}")), &mut spans);
        }
        spans
    }
}

/// The spans anywhere in what was printed, with their resource's attributes beside them.
fn collect(printed: &Value, spans: &mut Vec<Value>) {
    match printed {
        Value::Object(object) if object.contains_key("traceId") => spans.push(printed.clone()),
        Value::Object(object) => object.values().for_each(|v| collect(v, spans)),
        Value::Array(values) => values.iter().for_each(|v| collect(v, spans)),
        _ => {}
    }
}

impl Drop for Otlp {
    fn drop(&mut self) {
        terminate(&mut self.child, Duration::from_secs(2));
    }
}

/// Python with the receiver, installed before the first use in this process where it is missing.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let dir = target_dir().join("otlp");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let requirements = root.join("tests/otlp/requirements.txt");
        succeed(Command::new(root.join("scripts/install-venv.sh")).arg(requirements).arg(&dir));
        dir.join("bin/python")
    })
}
