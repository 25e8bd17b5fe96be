//! `doctor`: what a configuration may do in a directory, and requests to its administrator.
//!
//! Nothing is written. Checks are independent: a check that fails or is not permitted is reported, and the others continue.

use std::fmt::Write as _;
use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::operations::error::{Class, Classified as _};
use crate::operations::{color, secret};
use crate::plugin::{cli, directory_settings};
use ldap_directory::client::LdapDirectory;
use ldap_directory::client::probe::{Grade, Step};
use ldap_directory::text::{printable_line, printable_lines};
use ldap_directory::{Access, Directory, DirectoryConfig, DirectoryError, ServerUrl};

mod server;
mod settings;
mod writing;

pub use server::Subject;

/// The timeout of `--test`, for its use as a probe.
pub const LONGEST: Duration = Duration::from_secs(60);

/// The timeout of `--test` was exceeded.
#[derive(Debug, thiserror::Error)]
#[error("no result within {} s", LONGEST.as_secs())]
pub struct TooLong;

/// Returns [`TooLong`] as the caller's error.
pub fn too_long<E: From<TooLong>>() -> E {
    E::from(TooLong)
}

/// Returns the check of the root DSE with its vendor, as `--test` prints it.
pub fn root_check(directory: &Directory) -> Value {
    let root = directory.root_dse();
    let detail = [root.vendor.name(), &root.version].join(" ");
    json!({"name": "rootDSE", "ok": true, "detail": detail.trim()})
}

/// The formats of `doctor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// The result of `doctor`.
#[derive(Debug)]
pub struct Report {
    /// The server.
    pub server: String,
    /// `OpenLDAP`, …, if known.
    pub vendor: Option<&'static str>,
    /// Every check.
    pub steps: Vec<Step>,
    /// The features that work here, in sentences.
    pub works: Vec<String>,
    /// 0, 1 (a check failed) or 3 (no connection or bind).
    pub code: u8,
}

/// Opens a directory without retries and reports each step, for `--test` and [`examine`].
pub async fn open(
    config: &DirectoryConfig,
    access: Access,
) -> (Vec<Step>, Result<Directory, DirectoryError>) {
    let config = DirectoryConfig { retry_attempts: 0, ..config.clone() };
    let mut steps = Vec::new();
    let mut last = None;
    for server in &config.servers {
        if let ServerUrl::Ldif(path) = server {
            let opened = directory_settings::open(&config, access).await;
            let text = format!("`{}`", path.display());
            steps.push(match &opened {
                Ok(_) => Step::new("file", Grade::Ok, text),
                Err(e) => Step::new("file", Grade::Failed, e.to_string()),
            });
            return (steps, opened);
        }
        if config.servers.len() > 1 {
            steps.push(Step::new("server", Grade::Ok, server.to_text()));
        }
        let (more, opened) = LdapDirectory::open_by_steps(&config, access, server).await;
        steps.extend(more);
        match opened {
            Ok(directory) => {
                let directory = Directory::Ldap(directory);
                secret::learn(&directory);
                steps.extend(others(&config, access, &directory).await);
                return (steps, Ok(directory));
            }
            Err(error) => {
                // Another attempt would only count as a failed bind against the account.
                let is_bind = matches!(error, DirectoryError::Bind { .. });
                last = Some(error);
                if is_bind {
                    break;
                }
            }
        }
    }
    let error = last.unwrap_or_else(|| DirectoryError::Connect {
        server: "(no server)".to_owned(),
        kind: ldap_directory::ConnectErrorKind::Unsupported,
        reason: "server_url is empty".to_owned(),
        lasting: true,
        cause: None,
    });
    (steps, Err(error))
}

/// Looks at each further server of the list: it takes over when the others are down, and must be able to. A fault is a warning, for the one
/// that was opened works.
async fn others(config: &DirectoryConfig, access: Access, directory: &Directory) -> Vec<Step> {
    let mut steps = Vec::new();
    let opened = directory.location();
    let later = config.servers.iter().skip_while(|server| server.to_text() != opened).skip(1);
    for server in later {
        // A refusal there does not keep the program from using the credentials here.
        let own =
            DirectoryConfig { servers: vec![server.clone()], ..config.clone() }.auth(config.auth.clone());
        let (more, found) = LdapDirectory::open_by_steps(&own, access, server).await;
        steps.push(Step::new("server", Grade::Ok, server.to_text()));
        steps.extend(more.into_iter().map(|step| match step.grade {
            Grade::Failed => Step { grade: Grade::Warning, ..step },
            _ => step,
        }));
        let problem = match found {
            Ok(other) => {
                let problem = directory.takes_over(&other);
                other.close().await;
                problem
            }
            Err(_) => Some("it cannot be used"),
        };
        if let Some(problem) = problem {
            let text = format!(
                "{}: {problem}: nothing works while the servers before it are down",
                server.to_text()
            );
            let advice = "take it out of server_url, or ask its administrator to let it hold the same directory, and accept the same bind";
            steps.push(Step::new("server", Grade::Warning, text).advise(advice));
        }
    }
    steps
}

/// Runs all possible checks.
pub async fn examine(config: &DirectoryConfig, access: Access, subject: &Subject<'_>) -> Report {
    examine_with(config, access, subject, async |_, _| {}).await
}

/// Runs all possible checks, and then `more` of the executable's own, if the directory could be opened.
pub async fn examine_with(
    config: &DirectoryConfig,
    access: Access,
    subject: &Subject<'_>,
    more: impl AsyncFnOnce(&Directory, &mut Report),
) -> Report {
    // A slow check must not delay the others indefinitely.
    let patience = config.operation_timeout.min(Duration::from_secs(30));
    let config = DirectoryConfig { operation_timeout: patience, ..config.clone() };
    let (mut steps, opened) = open(&config, access).await;
    let configured = config.servers.first().map(ServerUrl::to_text).unwrap_or_default();
    match opened {
        Err(error) => {
            if !steps.iter().any(|s| s.grade == Grade::Failed) {
                steps.push(Step::new("rootDSE", Grade::Failed, error.to_string()));
            }
            let code = match error.class() {
                Class::Run | Class::OutputClosed => Class::Run,
                known => known,
            };
            Report { server: configured, vendor: None, steps, works: Vec::new(), code: code.exit_code() }
        }
        Ok(directory) => {
            let mut report = Report {
                server: directory.location().to_owned(),
                vendor: Some(directory.root_dse().vendor.name()),
                steps,
                works: Vec::new(),
                code: 0,
            };
            server::examine(&directory, &config, subject, &mut report).await;
            more(&directory, &mut report).await;
            directory.close().await;
            if report.steps.iter().any(|s| s.grade == Grade::Failed) {
                report.code = Class::Run.exit_code();
            }
            report
        }
    }
}

/// Returns a step as `--test` prints it: `{"name": …, "ok": …, "detail": …, "result": …}`.
pub fn check_json(step: &Step) -> Value {
    json!({"name": step.name, "ok": step.grade != Grade::Failed, "detail": step.text, "result": step.grade.word()})
}

impl Report {
    /// Returns the report in a format, for stdout, without a line feed at its end.
    /// Text from the server cannot send control sequences to the terminal.
    pub fn render(&self, format: Format, program: &str) -> String {
        match format {
            Format::Json => printable_lines(&cli::for_stdout(&self.to_json())).into_owned(),
            Format::Text => {
                let colors = color::is_wanted(std::io::stdout().is_terminal());
                self.to_text(program, colors).trim_end().to_owned()
            }
        }
    }

    fn to_json(&self) -> Value {
        let checks: Vec<Value> = self
            .steps
            .iter()
            .map(|s| {
                let advice = Some(&s.advice).filter(|a| !a.is_empty());
                json!({"name": s.name, "result": s.grade.word(), "detail": s.text, "advice": advice})
            })
            .collect();
        json!({
            "status": if self.code == 0 { "healthy" } else { "unhealthy" },
            "exit_code": self.code, "server": self.server, "vendor": self.vendor,
            "checks": checks, "works": self.works,
        })
    }

    fn to_text(&self, program: &str, colors: bool) -> String {
        let heading = |text: &str| painted(text, HEADING, colors);
        let vendor = self.vendor.map(|vendor| format!(" ({vendor})")).unwrap_or_default();
        let first = printable_line(&format!("{program} doctor: {}{vendor}", self.server)).into_owned();
        let mut text = heading(&first);
        text.push_str("\n\n");
        for step in &self.steps {
            text.push_str(&painted(&format!("{:<8}", step.grade.word()), color_of(step.grade), colors));
            text.push_str(&printable_line(&format!(" {:<16} {}", step.name, step.text)));
            text.push('\n');
            if !step.advice.is_empty() {
                text.push_str(&printable_line(&format!("{:25} -> {}", "", step.advice)));
                text.push('\n');
            }
        }
        if !self.works.is_empty() {
            let _ = write!(text, "\n{}\n", heading("What will work:"));
            for sentence in &self.works {
                text.push_str(&printable_line(&format!("  - {sentence}")));
                text.push('\n');
            }
        }
        let asked: Vec<&Step> =
            self.steps.iter().filter(|s| s.advice.to_lowercase().starts_with("ask")).collect();
        if !asked.is_empty() {
            let _ = write!(text, "\n{}\n", heading("For the administrator:"));
            for step in asked {
                text.push_str(&printable_line(&format!("  - {}: {}", step.name, step.advice)));
                text.push('\n');
            }
        }
        let failed = self.steps.iter().filter(|s| s.grade == Grade::Failed).count();
        let warned = self.steps.iter().filter(|s| s.grade == Grade::Warning).count();
        let _ = match (failed, warned) {
            (0, 0) => writeln!(text, "\nAll well."),
            (0, warned) => writeln!(text, "\nNothing failed; {warned} warning(s)."),
            (failed, warned) => writeln!(text, "\n{failed} check(s) failed, {warned} warning(s)."),
        };
        text
    }
}

/// Bold (ECMA-48 section 8.3.117).
const HEADING: &str = "\x1b[1m";

/// Returns a text, with a color if colors are wanted.
fn painted(text: &str, color: &str, colors: bool) -> String {
    if colors { format!("{color}{text}\x1b[0m") } else { text.to_owned() }
}

/// Green, yellow, red; dim for what is not known.
fn color_of(grade: Grade) -> &'static str {
    match grade {
        Grade::Ok => "\x1b[32m",
        Grade::Warning => "\x1b[33m",
        Grade::Failed => "\x1b[31m",
        Grade::Unknown => "\x1b[2m",
    }
}
