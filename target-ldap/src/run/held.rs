//! A run that is held back: it leaves its plan, and tells a command.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ldap_directory::Directory;
use serde_json::{Value, json};
use singer_common::operations::error::{Classified as _, full_text};
use singer_common::operations::facts::Facts;
use singer_common::plugin::settings::SettingsError;

use super::{Args, HELD};
use crate::config::TargetConfig;
use crate::config::held::{HeldCommand, ON_HELD, PLAN_FILE};
use crate::write::guard::GuardError;
use crate::write::held_plan::PlanHead;
use crate::write::held_plan::history::{History, How, RuleMark};
use crate::write::held_plan::recorder::PlanRecorder;
use crate::write::undo::owed::OwedLock;

/// How long the command of `on_held` may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at whether it has ended.
const PAUSE: Duration = Duration::from_millis(20);
/// Variables that a command is not given.
const SECRETS: [&str; 2] = ["TARGET_LDAP_BIND_PASSWORD", "FLEXT_LDAP_BIND_PASSWORD"];

/// Returns the command that carries out a plan. Settings are in files and variables, so that it holds no secret.
pub(super) fn apply_command(args: &Args, plan: &Path) -> String {
    let mut command = "target-ldap apply".to_owned();
    let path = plan.to_string_lossy();
    command.extend([" ", &super::shell_word(&path)]);
    for config in &args.common.config {
        command.extend([" --config ", &super::shell_word(config)]);
    }
    command
}

/// Returns the history of the runs before, if a first run may be held back.
///
/// # Errors
/// There is a history that cannot be read.
pub(super) fn history(config: &TargetConfig) -> Result<Option<History>, SettingsError> {
    let Some(path) = config.held.plan_file.as_ref().filter(|_| !config.held.applies_first_run) else {
        return Ok(None);
    };
    History::read(path).map(Some).map_err(|e| unreadable(path, &e))
}

/// Returns the error of a history that cannot be read.
pub(super) fn unreadable(plan_file: &Path, error: &std::io::Error) -> SettingsError {
    let problem =
        format!("the history beside it, {}, cannot be read: {error}", History::path(plan_file).display());
    let expected = "the history as it was written; or without the file, as before the first run";
    SettingsError::value(PLAN_FILE, problem, expected)
}

/// Notes a run that was carried out or held back. It is all the same if that fails.
pub(super) fn note_run(config: &TargetConfig, run: &str, how: How, streams: &BTreeMap<String, RuleMark>) {
    let Some(path) = &config.held.plan_file else { return };
    if let Err(e) = History::add(path, run, how, streams) {
        let text = format!(
            "plan_file: {} could not be written: {e}; the next run counts as the first one, and no plan as overtaken",
            History::path(path).display()
        );
        Facts::of_setting(PLAN_FILE).warn(&text);
    }
}

/// Leaves the plan of a run that was held back, if there is to be one. `owed`: the locks that runs before owe. Returns the exit code, or the error of a run without `plan_file`.
pub(super) async fn leave(
    args: &Args,
    config: &TargetConfig,
    directory: &Directory,
    recorder: Option<&PlanRecorder>,
    owed: &[OwedLock],
    error: GuardError,
) -> anyhow::Result<ExitCode> {
    let plan = match (&config.held.plan_file, recorder) {
        (Some(path), Some(recorder)) => {
            let mut head = recorder.head(directory);
            let last =
                |history: History| history.runs.last().map(|last| last.run.clone()).unwrap_or_default();
            head.last_run = History::read(path).ok().map(last);
            head.still_enabled = owed.iter().map(|owed| owed.dn.clone()).collect();
            recorder.leave(path, &head).map_err(|e| {
                SettingsError::value(
                    PLAN_FILE,
                    format!("{}: {e}", path.display()),
                    "a path that can be written",
                )
            })?;
            note_run(config, &head.run, How::Held, &head.rules);
            Some((path, head, recorder.count()))
        }
        _ => None,
    };
    let mut summary = json!({"held_by": [{"setting": error.facts().setting}], "message": error.to_string(), "server": directory.location(),
        "run": singer_common::operations::logging::run_id()});
    if let Some((path, head, changes)) = &plan {
        summary = summary_of(head, &error, *changes);
        summary["plan_file"] = path.to_string_lossy().into();
        summary["apply"] = apply_command(args, path).into();
    }
    if !owed.is_empty() {
        summary["still_enabled"] = owed.iter().map(|owed| owed.dn.as_str()).collect();
    }
    tell(config.held.on_held.as_ref(), summary).await;
    let Some((path, _, changes)) = plan else { return Err(error.into()) };
    error.facts().error(&full_text(&error));
    let text = format!(
        "held back: {} has the plan of {changes} change(s); to look at it: {1} --dry-run; to carry it out: {1}",
        path.display(),
        apply_command(args, path)
    );
    Facts::of_setting(PLAN_FILE).warn(&text);
    Ok(ExitCode::from(HELD))
}

/// Returns what the command is told.
fn summary_of(head: &PlanHead, error: &GuardError, changes: u64) -> Value {
    let held_by: Vec<Value> = head
        .limits
        .iter()
        .filter(|limit| limit.is_exceeded())
        .map(|limit| {
            json!({"setting": limit.setting, "kind": limit.kind, "stream": limit.stream, "used": limit.used,
                "allowed": limit.allowed})
        })
        .collect();
    json!({"run": head.run, "made": head.made, "server": head.server, "changes": changes, "streams": head.streams,
        "held_by": held_by, "message": error.to_string()})
}

/// Runs the command. Its failure is a warning.
async fn tell(command: Option<&HeldCommand>, summary: Value) {
    let Some(command) = command.cloned() else { return };
    let run = tokio::task::spawn_blocking(move || run(&command, &summary));
    let result = run.await.map_err(anyhow::Error::from).flatten();
    if let Err(error) = result {
        let text =
            format!("on_held: {}; nobody may know that the run is held back", full_text(error.as_ref()));
        Facts::of_setting(ON_HELD).warn(&text);
    }
}

fn run(command: &HeldCommand, summary: &Value) -> anyhow::Result<()> {
    let mut process = match command {
        HeldCommand::Shell(line) => {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(line);
            shell
        }
        HeldCommand::Program(program, words) => {
            let mut process = Command::new(program);
            process.args(words);
            process
        }
    };
    for secret in SECRETS {
        process.env_remove(secret);
    }
    // stdout is for STATE; and its output is not this program's log.
    process.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = process.spawn().context("the command cannot be started")?;
    let stdin = child.stdin.take();
    let text = format!("{summary}\n");
    // A command that does not read its input ends all the same.
    let _writer = std::thread::spawn(move || stdin.map(|mut stdin| stdin.write_all(text.as_bytes())));
    let status = wait(&mut child)?;
    anyhow::ensure!(status.success(), "the command failed: {status}");
    Ok(())
}

fn wait(child: &mut Child) -> anyhow::Result<std::process::ExitStatus> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if began.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            anyhow::bail!("the command had not ended after {} seconds, and was killed", PATIENCE.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
}
