//! The command line both executables share, and the frame of a run: configuration in, exit code out.

use std::collections::BTreeMap;
use std::process::ExitCode;

use serde_json::{Value, json};

pub use self::manual::{Example, Manual, example, heading};
use crate::operations::error::{Class, Classified};
use crate::operations::facts::Facts;
use crate::operations::logging::{self, LogFormat};
use crate::operations::observe;
use crate::operations::progress::{self, Progress};
use crate::operations::signals::Stop;
use crate::operations::summary;

mod manual;

/// Flags both executables have.
#[derive(Debug, Clone, clap::Args)]
pub struct CommonArgs<C: clap::Subcommand = Command> {
    /// A JSON file of settings, or ENV for environment variables. May be repeated: later ones win, key by key
    #[arg(long, global = true, value_name = "PATH|ENV", help_heading = heading::INPUT)]
    pub config: Vec<String>,
    /// Print what this executable is, can do and takes, then stop
    #[arg(long, help_heading = heading::TASK)]
    pub about: bool,
    /// The form of --about
    #[arg(long, value_enum, default_value_t, help_heading = heading::TASK)]
    pub format: crate::plugin::about::AboutFormat,
    /// Connect, bind and read a little, then print a health report as JSON
    #[arg(long, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "all",
        help_heading = heading::TASK)]
    pub test: Option<TestKind>,
    /// What is logged: off, error, warn, info (if not given), debug or trace, and MODULE=LEVEL for single modules, with
    /// commas: info,ldap_directory=debug
    #[arg(long, global = true, value_name = "LEVELS", help_heading = heading::LOG)]
    pub log_level: Option<String>,
    /// The form of the log; text, if not given and Meltano does not ask for another
    #[arg(long, global = true, value_enum, value_name = "FORMAT", help_heading = heading::LOG)]
    pub log_format: Option<LogFormat>,
    /// How far a run is
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, help_heading = heading::LOG)]
    pub progress: Progress,
    /// A task that is no Singer run
    #[command(subcommand)]
    pub command: Option<C>,
}

/// The subcommands of an executable: those that both have, and its own.
pub trait Commands {
    /// The one that both have, if it is one of them.
    fn common(&self) -> Option<&Command>;
}

impl Commands for Command {
    fn common(&self) -> Option<&Command> {
        Some(self)
    }
}

/// Tasks that are no Singer run. `run` of the executable does those that [`run`] does not do itself.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Command {
    /// Ask for server and user, try them, and write a first configuration
    Init(crate::plugin::init::InitArgs),
    /// Look at what the directory lets this configuration do, and what to ask its administrator for; nothing is written
    Doctor {
        /// The form of the report
        #[arg(long, value_enum, default_value_t)]
        format: crate::plugin::doctor::Format,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, in roff: `man | man -l -` shows it
    Man {
        /// The page of a subcommand
        subcommand: Option<String>,
    },
}

impl Command {
    /// Prints what is known without a configuration: completions and manual pages.
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
            // What needs a configuration is the executable's.
            Command::Init(_) | Command::Doctor { .. } => {}
        }
        // Who reads no further has seen enough.
        let _ = std::io::Write::write_all(&mut std::io::stdout(), &out);
        ExitCode::SUCCESS
    }
}

/// Done, but records were rejected (target).
pub const REJECTED: u8 = 4;

/// What `--test` tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TestKind {
    /// Everything.
    All,
    /// One record of each selected stream.
    Records,
    /// The schema only.
    Schema,
}

/// The process's environment. Variables that are not UTF-8 are none of ours.
pub fn variables() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect()
}

/// The frame of an executable: the command line, the log, signals, and an exit code whatever happens.
///
/// `run` gets the arguments and a [`Stop`]; what it fails with is given to `report`. A panic, which is a fault of ours, is a
/// failed run that says so in one line: neither a backtrace nor the panic's own words, which may hold what the server sent.
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
    let args = match parsed::<A>() {
        Ok(args) => args,
        Err(e) => {
            // --help and --version are answers, anything else is a usage error; clap prints both.
            let _ = e.print();
            return ExitCode::from(u8::from(e.use_stderr()) * Class::Config.exit_code());
        }
    };
    let wish = logging::Wish { level: common(&args).log_level.as_deref(), format: common(&args).log_format };
    if let Err(problem) = logging::init(manual.name, manual.modules, wish, &variables()) {
        let _ = A::command().error(clap::error::ErrorKind::InvalidValue, problem).print();
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
    // A signal counts from the first moment: a server that does not answer must not hold the process up.
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
    let failed = ExitCode::from(Class::Run.exit_code());
    let code = outcome.unwrap_or(failed);
    // A thread or a task that is missing: what was to come of it may be missing, too.
    let passes = [0, REJECTED].map(ExitCode::from).contains(&code);
    let code = if passes && crate::operations::panics::happened() { failed } else { code };
    progress::end();
    summary::end(code);
    observe::finish(code);
    code
}

/// The command line. What is for every task (`--config`, the log) may stand before a subcommand or behind it; what is for a Singer run
/// goes with none.
fn parsed<A: clap::Parser + clap::CommandFactory>() -> Result<A, clap::Error> {
    let mut command = A::command();
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    if let Some(problem) = misplaced(&command, &matches) {
        return Err(command.error(clap::error::ErrorKind::ArgumentConflict, problem));
    }
    A::from_arg_matches(&matches).map_err(|e| e.format(&mut command))
}

/// What cannot stand where it does, with a subcommand: what is for a run alone, and what stands on both sides of it, for clap keeps
/// one side and drops the other without a word.
fn misplaced(command: &clap::Command, matches: &clap::ArgMatches) -> Option<String> {
    let (name, _) = matches.subcommand()?;
    let words: Vec<String> = std::env::args_os().filter_map(|word| word.into_string().ok()).collect();
    command.get_arguments().find_map(|arg| {
        let id = arg.get_id().as_str();
        if !matches.try_contains_id(id).is_ok_and(|is_there| is_there)
            || matches.value_source(id) != Some(clap::parser::ValueSource::CommandLine)
        {
            return None;
        }
        if !arg.is_global_set() {
            return Some(format!("'{arg}' is for a run, and cannot be used with the subcommand '{name}'"));
        }
        let long = format!("--{}", arg.get_long()?);
        let is_it = |word: &&String| {
            word.strip_prefix(&long).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        };
        let given = words.iter().filter(is_it).count();
        let kept = matches.indices_of(id).map_or(0, |all| all.len());
        (given > kept).then(|| {
            format!("'{long}' stands before the subcommand '{name}' and behind it; put all on one side")
        })
    })
}

/// What `--test` prints: `healthy` with server and vendor, or `unhealthy` with the reason, and each check made.
pub fn health_report(
    outcome: &Result<(String, &str), String>,
    server: Option<&str>,
    took: std::time::Duration,
    checks: &[Value],
) -> String {
    let response_time_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Ok((server, vendor)) => json!({
            "status": "healthy", "response_time_ms": response_time_ms, "server": server, "vendor": vendor,
            "checks": checks,
        }),
        Err(reason) => json!({
            "status": "unhealthy", "error": reason, "response_time_ms": response_time_ms, "server": server,
            "checks": checks,
        }),
    }
    .to_string()
}

/// Logs an error with what it is about, unless nobody is there to read our output any more, and gives its exit code.
pub fn report(error: &(dyn std::error::Error + 'static), class: Class, facts: &Facts) -> ExitCode {
    if class == Class::OutputClosed {
        summary::forget();
        return ExitCode::from(class.exit_code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // thiserror's `#[error(transparent)]` and `{0}` messages already hold their cause.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    facts.error(&text);
    ExitCode::from(class.exit_code())
}

/// The class and the facts of a failure: the class of the first of the errors that were found in its chain, and what any
/// of them knows; [`Class::Run`], where none has a class.
pub fn classified(found: impl IntoIterator<Item = Option<(Class, Facts)>>) -> (Class, Facts) {
    let mut found = found.into_iter().flatten();
    let Some(first) = found.next() else { return (Class::Run, Facts::default()) };
    found.fold(first, |(class, facts), (_, others)| (class, facts.or(others)))
}

/// The class of the first error in the chain that is a `T`, and what it is about.
pub fn class_in<'a, T: Classified + 'static>(
    chain: impl Iterator<Item = &'a (dyn std::error::Error + 'static)>,
) -> Option<(Class, Facts)> {
    chain.filter_map(|e| e.downcast_ref::<T>()).map(|e| (e.class(), e.facts())).next()
}
