//! What the command line asks for.

use std::io::{BufRead, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use clap::Parser;
use serde_json::json;
use singer_common::cli::{
    self, Command, Commands, CommonArgs, Manual, class_in, classified, example, heading, variables,
};
use singer_common::directory::{Access, Directory, DirectoryError, ServerUrl};
use singer_common::doctor::{self, Subject};
use singer_common::error::Class;
use singer_common::facts::Facts;
use singer_common::file::{self, Lock};
use singer_common::init::InitError;
use singer_common::observe;
use singer_common::progress;
use singer_common::settings::SettingsError;
use singer_common::signals::Stop;
use singer_common::summary;
use singer_common::writer::{SingerWriter, WriteError};

use crate::config::{OnError, TargetConfig};
use crate::write::destination::Destination;

use crate::config::undo_file::{self, UndoFile};
use crate::load::rejects::RejectFile;
use crate::load::requirements;
use crate::load::{Load, LoadError, LoadProgress};
use crate::settings::{ABOUT, TABLE};
use crate::write::counts::LoadSummary;
use crate::write::guard::{self, GuardError, Tally};
use crate::write::plan_output::{PlanFormat, PlanHeader, PlanOutput};
use crate::write::undo::command::{self, UndoArgs};
use crate::write::undo::{Undo, recovery};

/// Reads Singer messages and makes an LDAP directory, or an LDIF file, match them.
#[derive(Debug, Parser)]
#[command(
    name = "target-ldap",
    version,
    after_help = MANUAL.after_help(),
    disable_help_subcommand = true
)]
pub struct Args {
    /// Flags both executables have
    #[command(flatten)]
    pub common: CommonArgs<TargetCommand>,
    /// Read messages from a file instead of stdin
    #[arg(long, value_name = "PATH", help_heading = heading::INPUT)]
    pub input: Option<String>,
    /// The input is a reject file (setting reject_file): its records are tried again
    #[arg(long, help_heading = heading::INPUT)]
    pub retry_rejects: bool,
    /// Write nothing: read the directory and print what would be changed
    #[arg(long, help_heading = heading::TASK)]
    pub dry_run: bool,
    /// How --dry-run prints: on a terminal diff, else ldif, when not given
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = heading::TASK)]
    pub plan_format: Option<PlanFormat>,
}

/// Tasks that are no Singer run.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum TargetCommand {
    /// Those of both executables
    #[command(flatten)]
    Common(Command),
    /// Take a run back, entry by entry: what was changed since the run is left alone and named (exit code 4)
    Undo(UndoArgs),
}

impl Commands for TargetCommand {
    fn common(&self) -> Option<&Command> {
        match self {
            TargetCommand::Common(command) => Some(command),
            TargetCommand::Undo(_) => None,
        }
    }
}

/// Examples and exit codes.
pub const MANUAL: Manual = Manual {
    name: "target-ldap",
    modules: include_str!("lib.rs"),
    examples: &[
        example("target-ldap init", "a first configuration, by questions"),
        example("target-ldap --config target.json --test", "can it be written to: a health report as JSON"),
        example(
            "target-ldap doctor --config target.json",
            "what works with this directory, and what to ask its administrator for",
        ),
        example(
            "target-ldap --config target.json --input records.singer --dry-run",
            "what would be changed; nothing is written",
        ),
        example(
            "target-ldap --config target.json --input records.singer --dry-run --plan-format html > plan.html",
            "the same as a page, for whoever has to agree",
        ),
        example(
            "tap-csv --config csv.json | target-ldap --config target.json > state.json",
            "make the directory match what the tap reads",
        ),
        example(
            "tap-ldap --config a.json | target-ldap --config b.json > state.json",
            "mirror one directory into another",
        ),
        example(
            "target-ldap --config target.json --input rejects.jsonl --retry-rejects",
            "try again what was rejected",
        ),
        example(
            "target-ldap undo undo.ldif --config target.json --dry-run",
            "what would be taken back of the run that wrote undo.ldif (undo_file)",
        ),
    ],
    exit_codes: &[(
        REJECTED,
        "done, but records were rejected (on_error: skip), or entries left alone (undo)",
    )],
};

/// All done, but some records were rejected.
const REJECTED: u8 = 4;

/// Runs the target and gives the process's exit code.
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

/// The class of a failure, and what it is about.
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

async fn run(args: Args, stop: Stop) -> anyhow::Result<ExitCode> {
    let mut writer = SingerWriter::stdout();
    if args.common.about {
        writer.show(&ABOUT.render(args.common.format))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(TargetCommand::Common(Command::Init(init))) = &args.common.command {
        return crate::init::run(init, &args.common.config).await;
    }
    let resolved = TABLE.resolve(&args.common.config, &variables())?;
    // A run that fails over its other settings has an outcome, too. What only asks is no run.
    let is_dry = args.dry_run || resolved.values.get("dry_run").is_some_and(|v| *v == true);
    if args.plan_format.is_some() && !is_dry {
        let problem = "it is for --dry-run, and without that this run would write";
        return Err(SettingsError::value("--plan-format", problem, "--dry-run, too").into());
    }
    // Before any of them is written.
    let (mut written_files, destination) = file::of_settings(&resolved.values);
    written_files.push(("server_url", destination));
    let mut read = vec![("--input", args.input.as_ref().map(Path::new))];
    read.extend(args.common.config.iter().map(|path| ("--config", Some(Path::new(path)))));
    file::distinct(&written_files, &read)?;
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
    if let Some(TargetCommand::Undo(undo)) = &args.common.command {
        return command::run(undo, &config).await;
    }
    if let Some(TargetCommand::Common(Command::Doctor { format })) = args.common.command {
        let matched = config.matched_attributes();
        let subject = Subject::Target { base: config.default_base_dn.as_deref(), matched: &matched };
        let report = doctor::examine(&config.directory, Access::Write(config.ldif_format), &subject).await;
        writer.show(report.render(format, MANUAL.name).trim_end())?;
        return Ok(ExitCode::from(report.code));
    }
    if args.common.test.is_some() {
        return health(&config, &mut writer).await;
    }
    let file = args.input.as_ref().map(|path| {
        let wrong = |e: std::io::Error| {
            SettingsError::value("--input", format!("{path}: {e}"), "a file of Singer messages")
        };
        let file = std::fs::File::open(path).map_err(wrong)?;
        let is_folder = file.metadata().map_err(wrong)?.is_dir();
        if is_folder { Err(wrong(std::io::ErrorKind::IsADirectory.into())) } else { Ok(file) }
    });
    let file = file.transpose()?;
    let dry = args.dry_run || config.dry_run;
    summary::begin("target-ldap", env!("CARGO_PKG_VERSION"), dry);
    // What is at the other end of a pipe, or what is printed to the terminal itself, is in the way of bars.
    let piped = file.is_none() && progress::is_pipe(&std::io::stdin());
    let show = args.common.progress.show(piped || dry && std::io::stdout().is_terminal());
    // A rehearsal has read the file to its end before the run begins.
    let progress = LoadProgress::new(show, file.as_ref().filter(|_| dry || !config.guards.is_any()));
    let input: Box<dyn BufRead + Send> = match file {
        Some(file) => Box::new(BufReader::new(file)),
        None => Box::new(BufReader::with_capacity(64 * 1024, std::io::stdin())),
    };
    // What two runs at once would spoil. A dry run touches none of it.
    let undo_path = config.undo.as_ref().map(UndoFile::path);
    let files = written(&config, undo_path.as_deref());
    // With {run_id} and {date} in their places.
    written_files.retain(|(setting, _)| *setting == "metrics_file");
    file::distinct(&[&files[..], &written_files[..]].concat(), &read)?;
    for (setting, path) in &files {
        if let Some(path) = path {
            file::has_place(setting, path)?;
        }
    }
    let mut locks = if dry { Vec::new() } else { locks(&files)? };
    let rejects = match &config.on_error {
        OnError::Skip { file, .. } if !dry => Some(RejectFile::open(file)?),
        OnError::Skip { .. } | OnError::Fail => None,
    };
    for (setting, lock) in &mut locks {
        lock.hold(setting)?;
    }
    let directory = Directory::open(&config.directory, Access::Write(config.ldif_format)).await?;
    directory.set_ldif_rules(config.ldif_rules());
    requirements::check(&config, &directory)?;
    // From here on a signal is taken up between records.
    stop.handle();
    let mut input = input;
    if dry {
        let format = args.plan_format.unwrap_or(if std::io::stdout().is_terminal() {
            PlanFormat::Diff
        } else {
            PlanFormat::Ldif
        });
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let root = directory.root_dse();
        let place = PlanHeader {
            server: directory.location().to_owned(),
            vendor: [root.vendor.name(), &root.version].join(" ").trim().to_owned(),
            date: chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
        };
        let plan = Arc::new(PlanOutput::new(format, colour, Box::new(std::io::stdout())).of(place));
        let rehearsal =
            Rehearsal { config: &config, directory: &directory, retry_rejects: args.retry_rejects };
        let result = rehearsal.run(input, Some(plan.clone()), progress, stop).await;
        let shown = plan.finish(result.as_ref().is_ok_and(|ending| ending.stopped.is_none()));
        if plan.is_closed() {
            return Err(WriteError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).into());
        }
        let ending = both(result, shown.map_err(Into::into))?;
        directory.close().await;
        if ending.rejected > 0 && ending.stopped.is_none() && matches!(config.on_error, OnError::Fail) {
            let text = "a run would end at the first of the records that would be refused: mend them, or set on_error to `skip`";
            Facts::of_setting("on_error").error(text);
            return Ok(ExitCode::from(Class::Run.exit_code()));
        }
        return Ok(code(ending));
    }
    if config.guards.is_any() {
        let kept = guard::spool(input).await.context("keeping the input in a temporary file")?;
        let rehearsal =
            Rehearsal { config: &config, directory: &directory, retry_rejects: args.retry_rejects };
        tracing::info!("max_deletes, max_changes: the run is rehearsed first");
        let ending =
            rehearsal.run(guard::replay(&kept)?, None, LoadProgress::disabled(), stop.clone()).await?;
        if ending.stopped.is_some() {
            return Ok(code(ending));
        }
        input = guard::replay(&kept)?;
    }
    let undo = match config.undo.as_ref().zip(undo_path.as_deref()) {
        Some((names, path)) => {
            recovery::recover(names, path, &directory).await?;
            let undo = Undo::create(path, &directory, config.preserve_uuid)?;
            Some((names, Arc::new(undo)))
        }
        None => None,
    };
    let journal = undo.as_ref().map(|(_, undo)| undo.clone());
    let destination =
        Destination::new(directory.clone()).with_undo(journal).with_max_in_flight(config.max_in_flight);
    let load = Load::new(&config, &destination, &mut writer, stop, rejects, args.retry_rejects)
        .with_progress(progress);
    let result = load.run(input).await;
    let finished = match undo {
        Some((names, undo)) => undo.finish(names, &directory).await,
        None => Ok(()),
    };
    let ending = both(result.map_err(Into::into), finished.map_err(Into::into))?;
    directory.close().await;
    Ok(code(ending))
}

fn code(ending: LoadSummary) -> ExitCode {
    match ending {
        LoadSummary { stopped: Some(signal), .. } => ExitCode::from(signal.exit_code()),
        LoadSummary { rejected: 0, .. } => ExitCode::SUCCESS,
        LoadSummary { .. } => ExitCode::from(REJECTED),
    }
}

/// What a run came to, and what was done after it: where both failed, the run's own failure counts, and both are said.
fn both<T>(result: anyhow::Result<T>, after: anyhow::Result<()>) -> anyhow::Result<T> {
    match (result, after) {
        (Ok(_), Err(error)) => Err(error),
        (Err(error), after) => {
            if let Err(also) = after {
                tracing::error!("{also:#}");
            }
            Err(error)
        }
        (result, Ok(())) => result,
    }
}

/// What this run writes and another one must not, by setting.
fn written<'a>(
    config: &'a TargetConfig,
    undo_path: Option<&'a Path>,
) -> [(&'static str, Option<&'a Path>); 3] {
    let rejects = match &config.on_error {
        OnError::Skip { file, .. } => Some(file.as_path()),
        OnError::Fail => None,
    };
    [("server_url", config.ldif_destination()), (undo_file::SETTING, undo_path), ("reject_file", rejects)]
}

/// Locks it.
fn locks<'a>(written: &[(&'a str, Option<&Path>)]) -> Result<Vec<(&'a str, Lock)>, SettingsError> {
    let mut locks = Vec::new();
    for (setting, path) in written {
        if let Some(path) = path {
            locks.extend(Lock::of(setting, path)?.map(|lock| (*setting, lock)));
        }
    }
    Ok(locks)
}

/// A run that writes nothing.
struct Rehearsal<'a> {
    config: &'a TargetConfig,
    directory: &'a Directory,
    retry_rejects: bool,
}

impl Rehearsal<'_> {
    /// Carries the input out on the directory as it would be, and looks whether that stays within the limits.
    async fn run(
        &self,
        input: Box<dyn BufRead + Send>,
        plan: Option<Arc<PlanOutput>>,
        progress: LoadProgress,
        stop: Stop,
    ) -> anyhow::Result<LoadSummary> {
        let folder = tempfile::tempdir().context("a folder for what would be rejected")?;
        // One after another: the plan is in the order in which it was made.
        let mut config =
            TargetConfig { max_in_flight: 1, metrics: false, dry_run: true, ..self.config.clone() };
        let mut rejects = None;
        // A plan shows every record that would be refused, not the first alone.
        if plan.is_some() && matches!(config.on_error, OnError::Fail) {
            config.on_error = OnError::Skip { file: PathBuf::new(), max: None };
        }
        if let OnError::Skip { file, .. } = &mut config.on_error {
            *file = folder.path().join("rejects.jsonl");
            rejects = Some(RejectFile::open(file)?);
        }
        let tally = Arc::new(Tally::default());
        // What a run would be ended by is known for certain only when it writes.
        let directory = match &plan {
            Some(_) => self.directory.clone().checked_preview(),
            None => self.directory.clone().preview(),
        };
        let destination = Destination::new(directory).with_plan(plan).with_tally(tally.clone());
        // STATE is of what was written.
        let mut nowhere = SingerWriter::new(std::io::sink());
        let load = Load::new(&config, &destination, &mut nowhere, stop, rejects, self.retry_rejects)
            .with_progress(progress);
        let ending = load.run(input).await?;
        if ending.stopped.is_none() {
            let base = self.config.default_base_dn.as_deref();
            self.config.guards.check(&tally, self.directory, base).await?;
        }
        Ok(ending)
    }
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
        if let Some(base) = config.default_base_dn.as_deref().or(directory.root_dse().default_base()) {
            // A base that is not there yet will be created.
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
