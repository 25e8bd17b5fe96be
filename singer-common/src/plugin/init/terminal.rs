//! Questions on stderr, answers on stdin: stdout belongs to Singer.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use zeroize::Zeroizing;

use super::InitError;
use crate::operations::progress::Stderr;
use ldap_directory::secret::Secret;
use ldap_directory::text::{printable_line, printable_lines};

/// The terminal for questions.
#[derive(Debug)]
pub struct Terminal {
    /// Suggestions are accepted without questions.
    yes: bool,
}

impl Terminal {
    /// Returns the terminal. Without `yes`, stdin must be a terminal: other input is not an answer.
    pub fn new(yes: bool) -> Result<Self, InitError> {
        if yes || io::stdin().is_terminal() { Ok(Self { yes }) } else { Err(InitError::NoTerminal) }
    }

    /// Whether suggestions are accepted without questions, so that repeating a question would loop forever.
    pub fn takes_suggestions(&self) -> bool {
        self.yes
    }

    /// Prints a line. Text from a server cannot send control sequences to the terminal.
    pub fn say(&self, text: &str) {
        let text = printable_lines(text);
        // A closed stderr is not an error.
        let _ = writeln!(Stderr::new(), "{text}");
    }

    /// Asks a question; an empty answer accepts the suggestion.
    pub async fn ask(&self, question: &str, suggestion: &str) -> Result<String, InitError> {
        let brackets = if suggestion.is_empty() { String::new() } else { format!(" [{suggestion}]") };
        Self::prompt(&format!("{question}{brackets}: "));
        if self.yes {
            self.say(suggestion);
            return Ok(suggestion.to_owned());
        }
        let answer = line().await?;
        let answer = answer.trim();
        Ok(if answer.is_empty() { suggestion.to_owned() } else { answer.to_owned() })
    }

    /// Asks a question with yes or no as its answer.
    pub async fn confirm(&self, question: &str, suggestion: bool) -> Result<bool, InitError> {
        loop {
            let answer = self.ask(question, if suggestion { "yes" } else { "no" }).await?;
            match answer.to_ascii_lowercase().as_str() {
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => self.say("  Please answer yes or no."),
            }
        }
    }

    /// Asks for a secret, without echo on the terminal.
    pub async fn secret(&self, question: &str) -> Result<Secret, InitError> {
        Self::prompt(&format!("{question}: "));
        let hidden = Hidden::begin();
        let answer = line().await;
        drop(hidden);
        // The line feed was not echoed either.
        self.say("");
        Ok(Secret::new(answer?.trim_end_matches(['\r', '\n'])))
    }

    fn prompt(text: &str) {
        let text = printable_line(text);
        let _ = write!(Stderr::new(), "{text}");
        let _ = io::stderr().flush();
    }
}

/// Reads one line of stdin on a detached thread: a signal ends the run during the read.
async fn line() -> Result<Zeroizing<String>, InitError> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = Zeroizing::new(String::new());
        let result = io::stdin().lock().read_line(&mut line);
        let _ = sender.send(result.map(|octets| (octets > 0).then_some(line)));
    });
    match receiver.await {
        Ok(Ok(Some(line))) => Ok(line),
        Ok(Err(e)) => Err(InitError::Input(e.to_string())),
        Ok(Ok(None)) | Err(_) => Err(InitError::Input("it ended".to_owned())),
    }
}

/// Disables the terminal's echo until it is dropped.
struct Hidden {
    #[cfg(unix)]
    before: Option<rustix::termios::Termios>,
}

impl Hidden {
    #[cfg(unix)]
    fn begin() -> Self {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(io::stdin()).ok();
        if let Some(mut modes) = before.clone() {
            modes.local_modes.remove(LocalModes::ECHO);
            let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &modes);
        }
        Self { before }
    }

    #[cfg(not(unix))]
    fn begin() -> Self {
        Self {}
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Some(before) = &self.before {
            let now = rustix::termios::OptionalActions::Now;
            let _ = rustix::termios::tcsetattr(io::stdin(), now, before);
        }
    }
}
