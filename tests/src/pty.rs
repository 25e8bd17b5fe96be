//! A pseudo-terminal for a program, by Python's pty: what a person would see and type.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::run::{Output, Run, output};
use crate::server::tool;

/// Runs a command on a terminal of 100 columns, waits for each text and types the answer; prints all that was shown, and
/// whether the terminal showed what is typed at the end, as JSON. stdout may be a file instead of the terminal.
const DRIVER: &str = r#"
import fcntl, json, os, pty, select, struct, sys, termios, time
plan = json.load(sys.stdin)
pid, fd = pty.fork()
if pid == 0:
    os.chdir(plan["dir"])
    if plan["stdout"]:
        os.dup2(os.open(plan["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
    os.execve(plan["command"][0], plan["command"], plan["environment"])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
seen, start, steps, deadline = b"", 0, list(plan["steps"]), time.time() + 60
while time.time() < deadline:
    if steps and steps[0][0].encode() in seen[start:]:
        expected, answer = steps.pop(0)
        start = seen.index(expected.encode(), start) + len(expected.encode())
        # A prompt is there before the terminal is told to hide the answer.
        time.sleep(0.2)
        echo = bool(termios.tcgetattr(fd)[3] & termios.ECHO)
        seen += ("<echo %s>" % ("on" if echo else "off")).encode()
        os.write(fd, answer.encode())
        continue
    ready, _, _ = select.select([fd], [], [], 0.1)
    if ready:
        try:
            data = os.read(fd, 65536)
        except OSError:
            break
        if not data:
            break
        seen += data
else:
    os.kill(pid, 9)
_, status = os.waitpid(pid, 0)
echo = bool(termios.tcgetattr(fd)[3] & termios.ECHO)
json.dump({"seen": seen.decode("utf-8", "replace"), "code": os.waitstatus_to_exitcode(status), "left": steps, "echo": echo}, sys.stdout)
"#;

/// Runs a program on a terminal: its stdin and stderr, and its stdout unless that goes to `stdout`, a path. Each step is a
/// text to wait for, and what is typed then. In the output, stderr is all that the terminal showed.
#[track_caller]
pub fn run_on_terminal(run: &Run, stdout: Option<&str>, steps: &[(&str, &str)]) -> Output {
    let command = run.command();
    let words: Vec<String> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|w| w.to_str().unwrap().to_owned())
        .collect();
    let mut environment = serde_json::Map::new();
    for (name, value) in std::env::vars() {
        environment.insert(name, value.into());
    }
    environment.insert("TERM".to_owned(), "xterm".into());
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        environment.remove(name);
    }
    for (name, value) in command.get_envs() {
        let name = name.to_str().unwrap();
        match value {
            Some(value) => environment.insert(name.to_owned(), value.to_str().unwrap().into()),
            None => environment.remove(name),
        };
    }
    let plan = json!({"dir": command.get_current_dir().unwrap(), "command": words, "stdout": stdout, "steps": steps,
                      "environment": environment});
    let mut child = Command::new(tool("python3"))
        .args(["-c", DRIVER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(plan.to_string().as_bytes()).unwrap();
    let answer = child.wait_with_output().unwrap();
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    let seen = answer["seen"].as_str().unwrap().to_owned();
    assert_eq!(answer["left"], json!([]), "never asked; seen:\n{seen}");
    assert_eq!(answer["echo"], true, "the terminal is left as it was");
    let code = i32::try_from(answer["code"].as_i64().unwrap()).unwrap();
    output(code, Vec::new(), seen, std::time::Duration::ZERO)
}
