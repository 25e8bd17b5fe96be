//! A run that reads messages: what it opens and locks, its rehearsal, its plan.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use ldap_directory::{Access, Directory, PreviewDirectory};
use singer_common::operations::color;
use singer_common::operations::error::{Class, full_text};
use singer_common::operations::facts::Facts;
use singer_common::operations::file::{self, Lock};
use singer_common::operations::logging;
use singer_common::operations::progress;
use singer_common::operations::signals::Stop;
use singer_common::operations::summary;
use singer_common::plugin::directory_settings;
use singer_common::plugin::settings::SettingsError;
use singer_common::singer::writer::{SingerWriter, WriteError};

use super::held;
use super::{Args, REJECTED, read_files, shell_word};
use crate::config::held::PLAN_FILE;
use crate::config::undo_file::{self, UndoFile};
use crate::config::{OnError, TargetConfig};
use crate::load::reject_history::{RejectHistories, Retry};
use crate::load::rejects::RejectFile;
use crate::load::{Load, LoadProgress, requirements};
use crate::rules::secrets;
use crate::write::counts::LoadSummary;
use crate::write::destination::Destination;
use crate::write::guard::{self, GuardError, LimitUse, Tally};
use crate::write::held_plan::history::{History, How, place};
use crate::write::held_plan::recorder::PlanRecorder;
use crate::write::maintained::maintained_references;
use crate::write::plan_output::{PlanFormat, PlanHeader, PlanOutput};
use crate::write::protection::Protection;
use crate::write::removal::RunLimits;
use crate::write::undo::owed::OwedLock;
use crate::write::undo::{Undo, recovery};

/// Opens the file of `--input`.
fn open_input(args: &Args) -> Result<Option<File>, SettingsError> {
    let Some(path) = &args.input else { return Ok(None) };
    let wrong = |e: std::io::Error| {
        SettingsError::value("--input", format!("{path}: {e}"), "a file of Singer messages")
    };
    let file = File::open(path).map_err(wrong)?;
    let is_folder = file.metadata().map_err(wrong)?.is_dir();
    if is_folder { Err(wrong(std::io::ErrorKind::IsADirectory.into())) } else { Ok(Some(file)) }
}

/// A run, with everything open that it needs.
pub(super) struct Session<'a> {
    args: &'a Args,
    config: &'a TargetConfig,
    input: Box<dyn BufRead + Send>,
    progress: LoadProgress,
    directory: Directory,
    protection: Arc<Protection>,
    undo_path: Option<PathBuf>,
    rejects: Option<RejectFile>,
    retry: Option<Arc<Retry>>,
    /// Held to the end of the run.
    _locks: Vec<(&'static str, Lock)>,
}

impl<'a> Session<'a> {
    /// Opens the input and the directory, and locks the files that two runs at once would spoil.
    pub(super) async fn prepare(
        args: &'a Args,
        config: &'a TargetConfig,
        is_dry: bool,
        written_files: &[(&str, Option<&Path>)],
        stop: &Stop,
    ) -> anyhow::Result<Session<'a>> {
        let file = open_input(args)?;
        summary::begin("target-ldap", env!("CARGO_PKG_VERSION"), is_dry);
        // Bars would disturb the other end of the pipe, or what is printed to the same terminal.
        let piped = file.is_none() && progress::is_pipe(&std::io::stdin());
        let show = args.common.progress.show(piped || is_dry && std::io::stdout().is_terminal());
        // A rehearsal has read the file to its end before the run begins.
        let progress = LoadProgress::new(show, file.as_ref().filter(|_| is_dry || !config.has_limits()));
        let input: Box<dyn BufRead + Send> = match file {
            Some(file) => Box::new(BufReader::new(file)),
            None => Box::new(BufReader::with_capacity(64 * 1024, std::io::stdin())),
        };
        let undo_path = config.undo.as_ref().map(UndoFile::path);
        let files = written(config, undo_path.as_deref());
        file::distinct(&[&files[..], written_files].concat(), &read_files(args))?;
        for (setting, path) in &files {
            if let Some(path) = path {
                file::has_place(setting, path)?;
            }
        }
        // A dry run writes none of them.
        let mut locks = if is_dry { Vec::new() } else { locks(&files)? };
        let retry = if args.retry_rejects { Some(retry(args, &files)?) } else { None };
        let rejects = match &config.on_error {
            OnError::Skip { file, .. } if !is_dry => Some(RejectFile::open(file)?),
            OnError::Skip { .. } | OnError::Fail => None,
        };
        for (setting, lock) in &mut locks {
            lock.hold(setting)?;
        }
        let directory = directory_settings::open(&config.directory, Access::Write(config.ldif_format))
            .await?
            .own_values();
        secrets::follow(&config.rules, directory.schema());
        directory.set_ldif_rules(config.ldif_rules());
        requirements::check(config, &directory)?;
        requirements::bases::check(config, &directory).await?;
        let (auth, bases) = (&config.directory.auth, config.named_bases());
        let protection = Protection::load(&directory, auth, &config.protection, &bases).await?;
        // From here on a signal is handled between records.
        stop.handle();
        Ok(Session {
            args,
            config,
            input,
            progress,
            directory,
            protection,
            undo_path,
            rejects,
            retry,
            _locks: locks,
        })
    }

    fn rehearsal<'s>(
        args: &Args,
        config: &'s TargetConfig,
        directory: &'s Directory,
        protection: &'s Arc<Protection>,
    ) -> Result<Rehearsal<'s>, SettingsError> {
        let history = held::history(config)?;
        let (retry_rejects, only) = (args.retry_rejects, args.only.clone());
        let (recorder, retry) = (None, None);
        Ok(Rehearsal { config, directory, protection, recorder, history, retry_rejects, retry, only })
    }

    /// `--dry-run`: prints the plan of the run, and writes nothing.
    pub(super) async fn dry_run(self, stop: Stop) -> anyhow::Result<ExitCode> {
        let Session { args, config, input, progress, directory, protection, undo_path, retry, .. } = self;
        if let Some((names, path)) = config.undo.as_ref().zip(undo_path.as_deref()) {
            recovery::look_for_owed(names, path, &directory, &config.directory.servers).await;
        }
        let format = args.plan_format.unwrap_or(if std::io::stdout().is_terminal() {
            PlanFormat::Diff
        } else {
            PlanFormat::Ldif
        });
        let colour = color::is_wanted(std::io::stdout().is_terminal());
        let (command, command_note) = command(args, config);
        let ends_at_reject = matches!(config.on_error, OnError::Fail);
        let plan_file = config.held.plan_file.as_deref();
        let apply_command = plan_file.map(|path| held::apply_command(args, path)).unwrap_or_default();
        let of_run = PlanHeader::of(&directory);
        let header = PlanHeader { command, apply_command, command_note, ends_at_reject, ..of_run };
        let plan = Arc::new(PlanOutput::new(format, colour, Box::new(std::io::stdout())).with_header(header));
        let rehearsal = Rehearsal { retry, ..Self::rehearsal(args, config, &directory, &protection)? };
        let result = rehearsal.run(input, Some(plan.clone()), progress, stop).await.map(|(ending, _)| ending);
        // A plan above the limits is complete: it says that the run would be held back.
        let is_complete = match &result {
            Ok(ending) => ending.stopped.is_none(),
            Err(error) => error.is::<GuardError>(),
        };
        let shown = plan.finish(is_complete);
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
        Ok(code(ending))
    }

    /// Runs, after a rehearsal if there are limits.
    pub(super) async fn load(self, writer: &mut SingerWriter, stop: Stop) -> anyhow::Result<ExitCode> {
        let Session { args, config, mut input, progress, directory, protection, .. } = self;
        let Session { undo_path, rejects, retry, _locks, .. } = self;
        let mut limits = None;
        let mut recorder = None;
        // Before a rehearsal: the locks that a killed run owes are no changes of this one, which may be held back for days.
        let mut owed = recovered(config, undo_path.as_deref(), &directory).await?;
        if config.has_limits() {
            let kept = guard::spool(input).await.context("keeping the input in a temporary file")?;
            tracing::info!("max_deletes, max_changes, limits: the run is rehearsed first");
            recorder = match &config.held.plan_file {
                Some(_) => {
                    let place = place(&directory).await?;
                    let recorder = PlanRecorder::new(config, &directory, place);
                    Some(Arc::new(recorder.context("a temporary file for the plan")?))
                }
                None => None,
            };
            let mut rehearsal = Self::rehearsal(args, config, &directory, &protection)?;
            rehearsal.recorder.clone_from(&recorder);
            rehearsal.retry.clone_from(&retry);
            let rehearsed =
                rehearsal.run(guard::replay(&kept)?, None, LoadProgress::disabled(), stop.clone()).await;
            let (ending, held_to) = match rehearsed.map_err(anyhow::Error::downcast::<GuardError>) {
                Ok(rehearsed) => rehearsed,
                Err(Ok(held)) => {
                    let code = held::leave(args, config, &directory, recorder.as_deref(), &owed, held).await;
                    directory.close().await;
                    return code;
                }
                Err(Err(error)) => return Err(error),
            };
            if ending.stopped.is_some() {
                return Ok(code(ending));
            }
            limits = held_to;
            input = guard::replay(&kept)?;
        }
        let undo = match config.undo.as_ref().zip(undo_path.as_deref()) {
            Some((names, path)) => {
                let undo = Undo::create(path, &directory, config.preserve_uuid)?;
                undo.knows_owed(&owed, directory.schema());
                Some((names, Arc::new(undo)))
            }
            None => None,
        };
        let journal = undo.as_ref().map(|(_, undo)| undo.clone());
        let destination = Destination::new(directory.clone(), protection)
            .with_undo(journal)
            .with_matches(config)
            .with_max_in_flight(config.max_in_flight)
            .noting_left_names();
        let load = Load::new(config, &destination, writer, stop, rejects, args.retry_rejects)
            .retrying(retry)
            .for_only(args.only.as_deref())
            .with_progress(progress)
            .held_to(limits);
        let result = load.run(input).await;
        let finished = match undo {
            Some((names, undo)) => undo.finish(names, &directory).await,
            None => Ok(Vec::new()),
        };
        let left = finished.as_ref().is_ok_and(|left| !left.is_empty());
        let finished = finished.map(drop).map_err(Into::into);
        let ending = both(result.map_err(Into::into), finished)?;
        if left || !owed.is_empty() {
            owed = recovered(config, undo_path.as_deref(), &directory).await?;
        }
        if let Some(recorder) = recorder.filter(|_| ending.stopped.is_none() && args.only.is_none()) {
            held::note_run(config, logging::run_id(), How::Run, &recorder.marks());
        }
        directory.close().await;
        Ok(if ending.stopped.is_none() { code_of_owed(&owed, code(ending)) } else { code(ending) })
    }
}

/// Recovers the journals of killed runs, if there may be any. Returns the locks that are still owed.
pub(super) async fn recovered(
    config: &TargetConfig,
    undo_path: Option<&Path>,
    directory: &Directory,
) -> anyhow::Result<Vec<OwedLock>> {
    let Some((names, path)) = config.undo.as_ref().zip(undo_path) else { return Ok(Vec::new()) };
    Ok(recovery::recover(names, path, directory, &config.directory.servers).await?)
}

/// Returns the exit code of a run: that of a failure, if disabled accounts are left enabled.
pub(super) fn code_of_owed(owed: &[OwedLock], code: ExitCode) -> ExitCode {
    if owed.is_empty() {
        return code;
    }
    let count = owed.len();
    let text = format!(
        "undo_file: {count} account(s) should be disabled, and are enabled, as the errors before say"
    );
    Facts::of_setting(undo_file::SETTING).error(&text);
    ExitCode::from(Class::Run.exit_code())
}

/// Returns the command that carries out a plan, and what else is needed for it. Settings are in files and variables, so that it
/// holds no secret.
fn command(args: &Args, config: &TargetConfig) -> (String, &'static str) {
    let mut command = if args.input.is_none() { "… | target-ldap" } else { "target-ldap" }.to_owned();
    let flags = args.common.config.iter().map(|path| ("--config", path));
    for (flag, path) in flags.chain(args.input.iter().map(|path| ("--input", path))) {
        command.extend([" ", flag, " ", &shell_word(path)]);
    }
    if args.retry_rejects {
        command.push_str(" --retry-rejects");
    }
    if args.outdated {
        command.push_str(" --outdated");
    }
    if let Some(key) = &args.only {
        command.extend([" --only ", &shell_word(key)]);
    }
    let note = match (config.dry_run, args.input.is_none()) {
        (true, _) => "Set dry_run to false before.",
        (false, true) => "With the same messages on its standard input.",
        (false, false) => "",
    };
    (command, note)
}

fn code(ending: LoadSummary) -> ExitCode {
    match ending {
        LoadSummary { stopped: Some(signal), .. } => ExitCode::from(signal.exit_code()),
        LoadSummary { rejected: 0, overtaken: 0, .. } => ExitCode::SUCCESS,
        LoadSummary { .. } => ExitCode::from(REJECTED),
    }
}

/// Combines the result of a run and of the steps after it: if both failed, the run's failure is returned and both are logged.
fn both<T>(result: anyhow::Result<T>, after: anyhow::Result<()>) -> anyhow::Result<T> {
    match (result, after) {
        (Ok(_), Err(error)) => Err(error),
        (Err(error), after) => {
            if let Err(also) = after {
                tracing::error!("{}", full_text(also.as_ref()));
            }
            Err(error)
        }
        (result, Ok(())) => result,
    }
}

/// Returns the files that only this run may write, by setting.
fn written<'a>(
    config: &'a TargetConfig,
    undo_path: Option<&'a Path>,
) -> [(&'static str, Option<&'a Path>); 4] {
    let rejects = match &config.on_error {
        OnError::Skip { file, .. } => Some(file.as_path()),
        OnError::Fail => None,
    };
    [
        ("server_url", config.ldif_destination()),
        (undo_file::SETTING, undo_path),
        ("reject_file", rejects),
        (PLAN_FILE, config.held.plan_file.as_deref()),
    ]
}

/// Returns what is known of the records of a reject file: from the histories beside it, and beside the file of this run.
fn retry(args: &Args, files: &[(&str, Option<&Path>)]) -> Result<Arc<Retry>, SettingsError> {
    let own = files.iter().filter(|(setting, _)| *setting == "reject_file").filter_map(|(_, path)| *path);
    let histories = RejectHistories::beside(own.chain(args.input.as_deref().map(Path::new)));
    let histories = histories.map_err(|e| {
        let problem = format!("a history beside the reject file cannot be read: {e}");
        SettingsError::value("--retry-rejects", problem, "files that can be read (reject_file.history)")
    })?;
    Ok(Arc::new(Retry { histories, with_outdated: args.outdated }))
}

/// Locks these files.
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
    protection: &'a Arc<Protection>,
    /// Writes the plan that the run leaves if it is held back.
    recorder: Option<Arc<PlanRecorder>>,
    /// The runs before, if the first one may be held back.
    history: Option<History>,
    retry_rejects: bool,
    /// What is known of the records of a reject file.
    retry: Option<Arc<Retry>>,
    /// The key of the record that is handled alone.
    only: Option<String>,
}

impl Rehearsal<'_> {
    /// Applies the input to a preview of the directory, and checks the limits. Returns what the removals of the run itself are held to.
    async fn run(
        &self,
        input: Box<dyn BufRead + Send>,
        plan: Option<Arc<PlanOutput>>,
        progress: LoadProgress,
        stop: Stop,
    ) -> anyhow::Result<(LoadSummary, Option<Arc<RunLimits>>)> {
        let folder = tempfile::tempdir().context("a folder for what would be rejected")?;
        // One task after another, so that the plan has the order of the input.
        let mut config =
            TargetConfig { max_in_flight: 1, metrics: false, dry_run: true, ..self.config.clone() };
        let mut rejects = None;
        // A plan shows every record that would be refused, not only the first.
        if plan.is_some() && matches!(config.on_error, OnError::Fail) {
            config.on_error = OnError::Skip { file: PathBuf::new(), max: None };
        }
        if let OnError::Skip { file, .. } = &mut config.on_error {
            *file = folder.path().join("rejects.jsonl");
            rejects = Some(RejectFile::open(file)?);
        }
        let tally = Arc::new(Tally::default());
        // A record that the schema forbids is refused here as it is in the plan.
        let references = maintained_references(self.directory).await?;
        let preview = PreviewDirectory::new(self.directory.clone()).with_schema_check();
        let directory = Directory::Preview(preview.with_references(references));
        let destination = Destination::new(directory, self.protection.clone())
            .with_plan(plan.clone())
            .with_matches(self.config)
            .with_recorder(self.recorder.clone())
            .with_tally(tally.clone());
        let destination = if plan.is_some() { destination.noting_left_names() } else { destination };
        // No STATE: nothing is written.
        let mut nowhere = SingerWriter::new(std::io::sink());
        let load = Load::new(&config, &destination, &mut nowhere, stop, rejects, self.retry_rejects)
            .retrying(self.retry.clone())
            .for_only(self.only.as_deref())
            .with_progress(progress);
        let ending = load.run(input).await?;
        let mut held_to = None;
        if ending.stopped.is_none() {
            let of_all = self.config.guards.used(&tally, self.directory, &self.config.limit_bases()).await?;
            let mut used = Vec::from(of_all);
            used.extend(guard::used_by_streams(self.config, &tally, self.directory).await?);
            if let Some(history) = &self.history {
                let of_first = guard::used_by_first_runs(self.config, history, &tally, self.directory);
                used.extend(of_first.await?);
            }
            let is_told = |limit: &&LimitUse| limit.allowed.is_some() && !limit.is_exceeded();
            for limit in used.iter().filter(|limit| plan.is_none() && is_told(limit)) {
                let (setting, used, allowed) = (&*limit.setting, limit.used, limit.allowed_text());
                tracing::info!(setting, used, "{setting}: {used} of at most {allowed}");
            }
            if let Some(plan) = &plan {
                plan.limits(&used);
            }
            if let Some(recorder) = &self.recorder {
                recorder.summarize(&used, &tally);
            }
            guard::check(&used)?;
            held_to = Some(Arc::new(RunLimits::new(used, &tally)));
        }
        Ok((ending, held_to))
    }
}
