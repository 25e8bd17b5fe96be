//! The command line: flags, modes and exit codes.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use ldap_directory::{Access, DirectoryError, ServerUrl};
use serde_json::json;
use singer_common::operations::error::Class;
use singer_common::operations::facts::Facts;
use singer_common::operations::file;
use singer_common::operations::logging::Modules;
use singer_common::operations::observe;
use singer_common::operations::signals::Stop;
use singer_common::plugin::cli::{
    self, Command, Commands, CommonArgs, Manual, class_in, classified, example, heading, variables,
};
use singer_common::plugin::doctor::{self, Subject};
use singer_common::plugin::init::InitError;
use singer_common::plugin::settings::SettingsError;
use singer_common::singer::writer::{SingerWriter, WriteError};

use crate::config::TargetConfig;
use crate::init::TargetInitArgs;
use crate::load::{LoadError, requirements};
use crate::settings::{ABOUT, TABLE};
use crate::write::guard::GuardError;
use crate::write::plan_output::PlanFormat;
use crate::write::protection::Protection;
use crate::write::undo::command::{self, UndoArgs};

mod apply;
mod held;
mod session;

use apply::ApplyArgs;
use session::Session;

/// Reads Singer messages and makes an LDAP directory, or an LDIF file, match them.
#[derive(Debug, Parser)]
#[command(
    name = "target-ldap",
    version,
    styles = cli::STYLES,
    after_help = MANUAL.after_help(),
    disable_help_subcommand = true
)]
pub struct Args {
    /// Flags of both executables
    #[command(flatten)]
    pub common: CommonArgs<TargetCommand>,
    /// Read messages from a file instead of stdin
    #[arg(long, value_name = "PATH", help_heading = heading::INPUT)]
    pub input: Option<String>,
    /// The input is a reject file (setting reject_file): try its records again
    #[arg(long, help_heading = heading::INPUT)]
    pub retry_rejects: bool,
    /// With --retry-rejects: also write the records that have come again since, or whose streams have come as a whole
    #[arg(long, requires = "retry_rejects", help_heading = heading::INPUT)]
    pub outdated: bool,
    /// Handle the record with this key alone, to try a rule: the value of its key property, or `a=1,b=2`. The others are passed over; no
    /// version is carried out, and no STATE is printed
    #[arg(long, value_name = "KEY", help_heading = heading::TASK)]
    pub only: Option<String>,
    /// Write nothing: read the directory and print the changes
    #[arg(long, help_heading = heading::TASK)]
    pub dry_run: bool,
    /// The format of --dry-run: diff on a terminal, else ldif, by default
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = heading::TASK)]
    pub plan_format: Option<PlanFormat>,
}

/// Tasks other than a run.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum TargetCommand {
    /// Ask for server and user, test them, and write a first configuration
    Init(TargetInitArgs),
    /// Those of both executables
    #[command(flatten)]
    Common(Command),
    /// Carry out the plan of a run that was held back, entry by entry: entries that changed since are left as they are and reported (exit
    /// code 4)
    Apply(ApplyArgs),
    /// Undo a run, entry by entry: entries that changed since are left as they are and reported (exit code 4)
    Undo(UndoArgs),
}

impl Commands for TargetCommand {
    fn common(&self) -> Option<&Command> {
        match self {
            TargetCommand::Common(command) => Some(command),
            TargetCommand::Init(_) | TargetCommand::Undo(_) | TargetCommand::Apply(_) => None,
        }
    }
}

/// Examples and exit codes.
pub const MANUAL: Manual = Manual {
    name: "target-ldap",
    table: TABLE,
    from_runner: &[],
    modules: Modules {
        source: include_str!("lib.rs"),
        moved: &[
            ("target_ldap::load", &["ack", "order", "rejects", "requirements", "versions"]),
            ("target_ldap::map", &["differences", "validate"]),
            ("target_ldap::plan", &["assertion", "inventory", "login"]),
            ("target_ldap::rules", &["accounts", "encoding", "names", "password", "rule", "template"]),
            ("target_ldap::write", &["books", "destination", "guard", "inverse", "show", "undo"]),
        ],
    },
    examples: &[
        example("target-ldap init", "a first configuration, by questions"),
        example(
            "target-ldap init --input records.singer",
            "the same, with a mapping rule for each stream, proposed from its SCHEMA",
        ),
        example(
            "target-ldap --config target.json --test",
            "a health report as JSON: can the directory be written to",
        ),
        example(
            "target-ldap doctor --config target.json",
            "what works with this directory, and what to ask its administrator for",
        ),
        example(
            "target-ldap --config target.json --input records.singer --dry-run",
            "print the changes; nothing is written",
        ),
        example(
            "target-ldap --config target.json --input records.singer --dry-run --plan-format html > plan.html",
            "the same as an HTML page, for approval",
        ),
        example(
            "tap-postgres --config hr.json --catalog hr.catalog.json | target-ldap --config target.json > state.json",
            "make the directory match what the tap reads",
        ),
        example(
            "tap-ldap --config a.json | target-ldap --config b.json > state.json",
            "mirror one directory into another",
        ),
        example(
            "target-ldap --config target.json --input rejects.jsonl --retry-rejects",
            "try rejected records again",
        ),
        example(
            "target-ldap apply plan.ldif --config target.json",
            "carry out the plan of a run that a limit held back (plan_file)",
        ),
        example(
            "target-ldap undo undo.ldif --config target.json --dry-run",
            "print the changes that would undo the run that wrote undo.ldif (undo_file)",
        ),
    ],
    exit_codes: &[
        (
            REJECTED,
            "done, but records were rejected (on_error: skip), or entries or records left as they are (undo, apply, --retry-rejects)",
        ),
        (HELD, "held back by a limit: nothing was written, and plan_file has the plan"),
    ],
};

/// The exit code of a complete run with rejected records.
const REJECTED: u8 = 4;
/// The exit code of a run that was held back, and whose plan waits for a decision.
const HELD: u8 = 5;

/// Runs the target and returns the exit code of the process.
pub fn main() -> ExitCode {
    cli::run(
        &MANUAL,
        |args: &Args| &args.common,
        run,
        |e: anyhow::Error| {
            let (class, facts) = class(&e);
            cli::report(e.as_ref(), class, &facts)
        },
    )
}

/// Returns the class of a failure, and its fields.
fn class(error: &anyhow::Error) -> (Class, Facts) {
    classified([
        class_in::<SettingsError>(error.chain()),
        class_in::<DirectoryError>(error.chain()),
        class_in::<InitError>(error.chain()),
        class_in::<WriteError>(error.chain()),
        class_in::<GuardError>(error.chain()),
        error.chain().find_map(|e| e.downcast_ref::<LoadError>()).map(|e| (Class::Run, e.facts())),
    ])
}

/// What the command line asks for, once the settings are known.
enum Mode<'a> {
    /// `apply PLAN`
    Apply(&'a ApplyArgs),
    /// `undo FILE`
    Undo(&'a UndoArgs),
    /// `doctor`
    Doctor(doctor::Format),
    /// `--test`
    Health,
    /// `--dry-run`, or the setting `dry_run`
    DryRun,
    /// A run that writes.
    Run,
}

impl Mode<'_> {
    fn of<'a>(args: &'a Args, config: &TargetConfig) -> Mode<'a> {
        match &args.common.command {
            Some(TargetCommand::Apply(apply)) => Mode::Apply(apply),
            Some(TargetCommand::Undo(undo)) => Mode::Undo(undo),
            Some(TargetCommand::Common(Command::Doctor { format })) => Mode::Doctor(*format),
            _ if args.common.test.is_some() => Mode::Health,
            _ if args.dry_run || config.dry_run => Mode::DryRun,
            _ => Mode::Run,
        }
    }
}

async fn run(args: Args, stop: Stop) -> anyhow::Result<ExitCode> {
    let mut writer = SingerWriter::stdout();
    if args.common.about {
        writer.show(&ABOUT.render(args.common.format))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(TargetCommand::Init(init)) = &args.common.command {
        return crate::init::run(init, &args.common.config).await;
    }
    let resolved = TABLE.resolve(&args.common.config, &variables())?;
    let is_dry = args.dry_run || resolved.values.get("dry_run").is_some_and(|v| *v == true);
    if args.plan_format.is_some() && !is_dry {
        let problem = "it is for --dry-run, and without that this run would write";
        return Err(SettingsError::value("--plan-format", problem, "--dry-run, too").into());
    }
    if args.only.is_some() && args.common.test.is_some() {
        let problem = "it is for a run or --dry-run";
        return Err(SettingsError::value("--only", problem, "no --test with it").into());
    }
    // Before any file is written.
    let (mut written_files, destination) = file::of_settings(&resolved.values);
    written_files.push(("server_url", destination));
    let read_files = read_files(&args);
    file::distinct(&written_files, &read_files)?;
    // Before the other settings are checked: a run that fails over one of them has an outcome, too. A query is not a run.
    if is_dry || args.common.test.is_some() || args.common.command.is_some() {
        observe::check(&resolved.values)?;
    } else {
        observe::start("target-ldap", &resolved.values)?;
    }
    let mut warnings = resolved.warnings;
    let config = TargetConfig::from_settings(&resolved.values, &mut warnings);
    for warning in &warnings {
        warning.log();
    }
    let config = config?;
    requirements::check_transport(&config)?;
    match Mode::of(&args, &config) {
        Mode::Apply(apply) => apply::run(apply, &args, &config).await,
        Mode::Undo(undo) => command::run(undo, &config).await,
        Mode::Doctor(format) => examine(&config, format, &mut writer).await,
        Mode::Health => health(&config, &mut writer).await,
        mode @ (Mode::DryRun | Mode::Run) => {
            // With {run_id} and {date} replaced.
            written_files.retain(|(setting, _)| *setting == "metrics_file");
            let is_dry = matches!(mode, Mode::DryRun);
            let session = Session::prepare(&args, &config, is_dry, &written_files, &stop).await?;
            if is_dry { session.dry_run(stop).await } else { session.load(&mut writer, stop).await }
        }
    }
}

/// Returns the files that a run reads, by flag.
fn read_files(args: &Args) -> Vec<(&'static str, Option<&Path>)> {
    let mut read = vec![("--input", args.input.as_ref().map(Path::new))];
    read.extend(args.common.config.iter().map(|path| ("--config", Some(Path::new(path)))));
    read
}

/// `doctor`: prints what works with this directory.
async fn examine(
    config: &TargetConfig,
    format: doctor::Format,
    writer: &mut SingerWriter,
) -> anyhow::Result<ExitCode> {
    let matched = config.matched_attributes();
    let subject = Subject::Target { base: config.default_base_dn.as_deref(), matched: &matched };
    let access = Access::Write(config.ldif_format);
    let report = doctor::examine_with(&config.directory, access, &subject, async |directory, report| {
        requirements::bases::report(config, directory, report).await;
    })
    .await;
    writer.show_colored(&report.render(format, MANUAL.name))?;
    Ok(ExitCode::from(report.code))
}

async fn health(config: &TargetConfig, writer: &mut SingerWriter) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut checks = Vec::new();
    let attempt = async {
        let (steps, opened) = doctor::open(&config.directory, Access::Write(config.ldif_format)).await;
        checks.extend(steps.iter().map(doctor::check_json));
        let directory = opened?;
        checks.push(doctor::root_check(&directory));
        requirements::check(config, &directory)?;
        requirements::bases::check(config, &directory).await?;
        Protection::load(&directory, &config.directory.auth, &config.protection, &config.named_bases())
            .await?;
        if let Some(base) = config.default_base_dn.as_deref().or(directory.root_dse().default_base()) {
            // A missing base will be created.
            let there = directory.read(base, &["1.1"]).await?.is_some();
            checks.push(json!({"name": "base", "ok": true, "detail": format!("`{base}` {}", if there { "is there" } else { "is not there yet" })}));
        }
        let about = (directory.location().to_owned(), directory.root_dse().vendor.name());
        directory.close().await;
        Ok::<_, anyhow::Error>(about)
    };
    let result =
        tokio::time::timeout(doctor::LONGEST, attempt).await.unwrap_or_else(|_| Err(doctor::too_long()));
    let code = result.as_ref().map_or_else(|e| class(e).0.exit_code(), |_| 0);
    let server = config.directory.servers.first().map(ServerUrl::to_text);
    let outcome = result.map_err(|e| e.to_string());
    writer.show(&cli::health_report(&outcome, server.as_deref(), started.elapsed(), &checks))?;
    Ok(ExitCode::from(code))
}

/// Quotes a text for a POSIX shell, if needed.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}
