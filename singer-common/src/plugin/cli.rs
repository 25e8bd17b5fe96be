//! The command line of both executables, and the frame of a run, from its configuration to its exit code.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use ldap_directory::text::printable_lines;
use serde_json::{Value, json};

pub use self::manual::{Example, Manual, STYLES, example, heading};
use crate::operations::color;
use crate::operations::error::{Class, Classified, full_text};
use crate::operations::facts::{self, Facts};
use crate::operations::logging::{self, LogFormat};
use crate::operations::observe;
use crate::operations::progress::{self, Progress};
use crate::operations::signals::Stop;
use crate::operations::summary;

mod manual;
mod order;

/// Flags of both executables.
#[derive(Debug, Clone, clap::Args)]
pub struct CommonArgs<C: clap::Subcommand = Command> {
    /// A JSON file of settings, or ENV for environment variables. Repeatable: later sources override earlier ones, key by key
    #[arg(long, global = true, value_name = "PATH|ENV", help_heading = heading::INPUT)]
    pub config: Vec<String>,
    /// Print name, capabilities and settings of this executable, then stop
    #[arg(long, help_heading = heading::TASK)]
    pub about: bool,
    /// The format of --about
    #[arg(long, value_enum, default_value_t, help_heading = heading::TASK)]
    pub format: crate::plugin::about::AboutFormat,
    /// Connect, bind and read a sample, then print a health report as JSON
    #[arg(long, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "all",
        help_heading = heading::TASK)]
    pub test: Option<TestKind>,
    /// Log levels: off, error, warn, info (default), debug or trace; MODULE=LEVEL sets a module's level, after a comma:
    /// info,ldap_directory=debug
    #[arg(long, global = true, value_name = "LEVELS", help_heading = heading::LOG)]
    pub log_level: Option<String>,
    /// The log format; the default is text, unless Meltano requests another one
    #[arg(long, global = true, value_enum, value_name = "FORMAT", help_heading = heading::LOG)]
    pub log_format: Option<LogFormat>,
    /// When to show progress
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, help_heading = heading::LOG)]
    pub progress: Progress,
    /// A task other than a Singer run
    #[command(subcommand)]
    pub command: Option<C>,
}

/// The subcommands of an executable: the common ones and its own.
pub trait Commands {
    /// Returns the common subcommand, if it is one.
    fn common(&self) -> Option<&Command>;
}

impl Commands for Command {
    fn common(&self) -> Option<&Command> {
        Some(self)
    }
}

/// Tasks other than a Singer run. [`run`] does some of them itself, and the `run` of the executable does the others.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Check what this configuration may do in the directory, and list requests to its administrator; writes nothing
    Doctor {
        /// The format of the report
        #[arg(long, value_enum, default_value_t)]
        format: crate::plugin::doctor::Format,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page in roff; `man | man -l -` shows it
    Man {
        /// The subcommand whose page to print
        subcommand: Option<String>,
    },
}

impl Command {
    /// Prints completions and manual pages, which need no configuration.
    fn print(&self, command: &clap::Command, manual: &Manual) -> ExitCode {
        let mut out = Vec::new();
        match self {
            Command::Completions { shell } => {
                clap_complete::generate(*shell, &mut command.clone(), manual.name, &mut out);
            }
            Command::Man { subcommand } => match manual.man_page(command, subcommand.as_deref()) {
                Ok(page) => out = page,
                Err(e) => return report(&e, Class::Config, &Facts::default()),
            },
            // Tasks with a configuration belong to the executable.
            Command::Doctor { .. } => {}
        }
        // A reader that stops early is not an error.
        let _ = std::io::Write::write_all(&mut std::io::stdout(), &out);
        ExitCode::SUCCESS
    }
}

/// The exit code of a completed run with rejected records (target).
pub const REJECTED: u8 = 4;

/// The scope of `--test`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TestKind {
    /// Everything.
    All,
    /// One record of each selected stream.
    Records,
    /// The schema only.
    Schema,
}

/// Prints a message of clap, colored as [`color::is_wanted`] says. It repeats arguments, which may contain control characters:
/// then it is printed without colors, and they are escaped.
fn print_clap(error: &clap::Error) {
    let styled = error.render();
    let plain = styled.to_string();
    let is_terminal =
        if error.use_stderr() { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    let text = match printable_lines(&plain) {
        Cow::Borrowed(_) if color::is_wanted(is_terminal) => styled.ansi().to_string(),
        text => text.into_owned(),
    };
    // A reader that has gone is not an error.
    let _ = if error.use_stderr() {
        std::io::stderr().write_all(text.as_bytes())
    } else {
        std::io::stdout().write_all(text.as_bytes())
    };
}

/// Returns the process's environment. Variables that are not UTF-8 are skipped.
pub fn variables() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect()
}

/// Runs an executable: command line, log, signals, and an exit code for every outcome.
///
/// `run` receives the arguments and a [`Stop`]; its errors are passed to `report_failure`.
/// A panic is a bug: it fails the run with one log line.
/// The line has neither a backtrace nor the panic's message, which may contain data from the server.
pub fn run<A, C, F, E>(
    manual: &Manual,
    common: impl Fn(&A) -> &CommonArgs<C>,
    run: impl FnOnce(A, Stop) -> F,
    report_failure: impl Fn(E) -> ExitCode,
) -> ExitCode
where
    A: clap::Parser + clap::CommandFactory,
    C: clap::Subcommand + Commands,
    F: Future<Output = Result<ExitCode, E>>,
{
    let args = match parsed::<A>(manual) {
        Ok(args) => args,
        Err(e) => {
            // --help and --version are results, all others are usage errors; clap prints both.
            print_clap(&e);
            return ExitCode::from(u8::from(e.use_stderr()) * Class::Config.exit_code());
        }
    };
    let (name, table) = (manual.name, manual.table);
    facts::find_references(move |setting| {
        table.find(setting).map(|setting| format!("docs/reference/{name}.md#{}", setting.name))
    });
    let options =
        logging::LogOptions { level: common(&args).log_level.as_deref(), format: common(&args).log_format };
    if let Err(problem) = logging::init(manual.name, &manual.modules, options, &variables()) {
        print_clap(&A::command().error(clap::error::ErrorKind::InvalidValue, problem));
        return ExitCode::from(Class::Config.exit_code());
    }
    let command = common(&args).command.as_ref().and_then(Commands::common);
    if let Some(command @ (Command::Completions { .. } | Command::Man { .. })) = command {
        return command.print(&A::command(), manual);
    }
    std::panic::set_hook(Box::new(|info| {
        let what = crate::operations::panics::note(info);
        tracing::error!("an answer or a record could not be dealt with; please report this ({what})");
    }));
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return report(&e, Class::Run, &Facts::default()),
    };
    // Signals apply from the start: a server that does not answer must not block the process.
    let mut stop = Stop::listen();
    let body = run(args, stop.clone());
    let guarded = async {
        tokio::select! {
            biased;
            result = body => result.unwrap_or_else(report_failure),
            signal = stop.wait_unless_handled() => ExitCode::from(signal.exit_code()),
        }
    };
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(guarded)));
    // A name lookup that is not answered blocks its thread, which must not delay the end.
    runtime.shutdown_background();
    let failed = ExitCode::from(Class::Run.exit_code());
    let code = outcome.unwrap_or(failed);
    // A lost thread or task may have lost output, too.
    let passes = [0, REJECTED].map(ExitCode::from).contains(&code);
    let code = if passes && crate::operations::panics::happened() { failed } else { code };
    progress::end();
    summary::end(code);
    observe::finish(code);
    code
}

/// Parses the command line.
/// Options of a subcommand are allowed before and after it, options of a Singer run exclude subcommands.
fn parsed<A: clap::Parser + clap::CommandFactory>(manual: &Manual) -> Result<A, clap::Error> {
    let mut command = A::command();
    let words = order::ordered(&command, std::env::args_os().collect());
    let matches = command.try_get_matches_from_mut(words)?;
    if let Some(problem) = order::misplaced(&command, &matches, manual.from_runner) {
        return Err(command.error(clap::error::ErrorKind::ArgumentConflict, problem));
    }
    A::from_arg_matches(&matches).map_err(|e| e.format(&mut command))
}

/// Returns the output of `--test`: `healthy` with server and vendor, or `unhealthy` with the reason, and each check.
/// It is indented for a terminal, and one line otherwise.
pub fn health_report(
    outcome: &Result<(String, &str), String>,
    server: Option<&str>,
    took: std::time::Duration,
    checks: &[Value],
) -> String {
    let response_time_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let report = match outcome {
        Ok((server, vendor)) => json!({
            "status": "healthy", "response_time_ms": response_time_ms, "server": server, "vendor": vendor,
            "checks": checks,
        }),
        Err(reason) => json!({
            "status": "unhealthy", "error": reason, "response_time_ms": response_time_ms, "server": server,
            "checks": checks,
        }),
    };
    for_stdout(&report)
}

/// Returns JSON for stdout: indented on a terminal, else in one line.
pub(super) fn for_stdout(report: &Value) -> String {
    if std::io::stdout().is_terminal() { format!("{report:#}") } else { report.to_string() }
}

/// Logs an error with its facts and returns its exit code. Logs nothing if stdout was closed by its reader.
pub fn report(error: &(dyn std::error::Error + 'static), class: Class, facts: &Facts) -> ExitCode {
    if class == Class::OutputClosed {
        summary::forget();
        return ExitCode::from(class.exit_code());
    }
    let mut text = full_text(error);
    // A library's message does not name the settings of this program.
    if let Some(setting) = facts.setting.as_ref().filter(|setting| !text.contains(setting.as_str())) {
        let _ = write!(text, "; setting `{setting}`");
    }
    if let Some(place) = facts.reference() {
        let _ = write!(text, " ({place})");
    }
    facts.error(&text);
    ExitCode::from(class.exit_code())
}

/// Returns the class and the facts of a failure: the class of the first classified error in its chain, and the facts of all.
/// Without a classified error, the class is [`Class::Run`].
pub fn classified(found: impl IntoIterator<Item = Option<(Class, Facts)>>) -> (Class, Facts) {
    let mut found = found.into_iter().flatten();
    let Some(first) = found.next() else { return (Class::Run, Facts::default()) };
    found.fold(first, |(class, facts), (_, others)| (class, facts.or(others)))
}

/// Returns the class and the facts of the first error in the chain that is a `T`.
pub fn class_in<'a, T: Classified + 'static>(
    chain: impl Iterator<Item = &'a (dyn std::error::Error + 'static)>,
) -> Option<(Class, Facts)> {
    chain.filter_map(|e| e.downcast_ref::<T>()).map(|e| (e.class(), e.facts())).next()
}
