//! `target-ldap undo FILE`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use ldap_directory::dn::{DnKey, split};
use ldap_directory::{Access, Directory, DirectoryError};
use singer_common::operations::color;
use singer_common::operations::facts::Facts;
use singer_common::operations::file::{self, JOURNAL, Lock};
use singer_common::plugin::cli::heading;
use singer_common::plugin::directory_settings;
use singer_common::plugin::settings::SettingsError;

use super::entities::Entities;
use super::journal::{self, Header, JournalReader, ReadError};
use super::legacy;
use super::names::Names;
use super::owed::is_place;
use super::revert::{PASSWORD, Report, RevertOutcome, Reverter, rehearse};
use crate::config::TargetConfig;
use crate::rules::secrets;
use crate::write::destination::Destination;
use crate::write::guard::{self, LimitUse};
use crate::write::plan_output::{PlanFormat, PlanHeader, PlanOutput};
use crate::write::protection::Protection;

/// The exit code if entries were left as they are.
const LEFT_ALONE: u8 = 4;
const EXPECTED: &str = "an undo_file of target-ldap, or the .killed or .journal beside it";

/// The arguments of `target-ldap undo`.
#[derive(Debug, Clone, clap::Args)]
pub struct UndoArgs {
    /// The undo file of a run, or what a killed run left (FILE.killed, FILE.journal)
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Write nothing: print the changes that would undo the run
    #[arg(long, help_heading = heading::TASK)]
    pub dry_run: bool,
    /// The format of --dry-run: diff on a terminal, else ldif, by default
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = heading::TASK)]
    pub plan_format: Option<PlanFormat>,
    /// Apply a file without a record of what the run left (of an earlier version), without checking the entries first
    #[arg(long, help_heading = heading::TASK)]
    pub unchecked: bool,
    /// Undo the run on another server than it was made on: a replica, or the same server under another name or URL
    #[arg(long, help_heading = heading::TASK)]
    pub another_server: bool,
}

fn bad(file: &Path, problem: &str, expected: &str) -> SettingsError {
    SettingsError::value("FILE", format!("{}: {problem}", file.display()), expected)
}

/// Undoes a run.
///
/// # Errors
/// The file cannot be read or belongs to another server, or the directory fails.
pub async fn run(args: &UndoArgs, config: &TargetConfig) -> anyhow::Result<ExitCode> {
    let file = args.file.as_path();
    // The lock of a journal is that of its undo file: its run may still be in progress.
    let of_run = file.to_str().and_then(|f| f.strip_suffix(JOURNAL)).map_or(file, Path::new);
    let mut locks = Vec::from_iter(Lock::of("FILE", of_run)?);
    let reading = match JournalReader::open(file) {
        Ok(_) if args.unchecked => {
            return Err(bad(file, "it says what the run left", "no --unchecked for this file").into());
        }
        Ok(reading) => Some(reading),
        Err(ReadError::Foreign) => {
            let changes = legacy::changes(file).map_err(|e| bad(file, &e, EXPECTED))?;
            if !args.unchecked {
                let problem = ReadError::Foreign.to_string();
                let expected = "a file that has one; or look at what it would do (--unchecked --dry-run), then --unchecked";
                return Err(bad(file, &problem, expected).into());
            }
            locks.extend(locks_of(config, args.dry_run)?);
            return unchecked(args, config, &changes).await;
        }
        Err(e) => return Err(bad(file, &e.to_string(), EXPECTED).into()),
    };
    locks.extend(locks_of(config, args.dry_run)?);
    let directory =
        directory_settings::open(&config.directory, Access::Write(config.ldif_format)).await?.own_values();
    secrets::follow(&config.rules, directory.schema());
    let Some(mut reading) = reading else { return Ok(ExitCode::SUCCESS) };
    if !is_place_of(&reading.header.server, &directory, config) && !args.another_server {
        let (there, here) = (&reading.header.server, directory.location());
        let problem = format!("it is of a run on {there}, and server_url leads to {here}");
        let expected =
            "the server of the run as server_url; or, where both have the same entries, --another-server";
        return Err(bad(file, &problem, expected).into());
    }
    if reading.header.damaged {
        tracing::warn!("{}: changes of the run are missing, for its journal was damaged", file.display());
    }
    let mut entities = Entities::of(&mut reading, directory.schema())?;
    entities.without_passwords =
        !config.rules.is_empty() && config.rules.values().all(|rule| !rule.may_set_secrets());
    if let Some(dn) = foreign(&entities, &directory).await? {
        let contexts = directory.root_dse().naming_contexts.join("`, `");
        let problem = format!(
            "it is of a run on {}, which changed `{dn}`, and {} has `{contexts}` alone",
            reading.header.server,
            directory.location()
        );
        return Err(bad(file, &problem, "a server that has that part of the directory").into());
    }
    let protection = protection(config, &directory).await?;
    let again = ids_again(file);
    warn_of_later_runs(file, &reading.header);
    let mut names = Names::of(&mut reading, &entities, &again, directory.schema())?;
    let nobody = BTreeSet::new();
    let place = (&directory, &protection);
    let rehearsed = rehearse(&mut reading, &entities, place, &nobody, &again, Some(&mut names)).await?;
    let (rehearsed, tally) = rehearsed;
    let used = config.guards.used(&tally, &directory, &config.limit_bases()).await?;
    if !args.dry_run {
        guard::check(&used)?;
    }
    let code = take_back(args, place, &mut reading, &entities, rehearsed, (&again, &names), &used).await?;
    guard::check(&used)?;
    Ok(code)
}

/// Undoes what the rehearsal would, or shows it, and reports what was left alone.
async fn take_back(
    args: &UndoArgs,
    (directory, protection): (&Directory, &Arc<Protection>),
    reading: &mut JournalReader,
    entities: &Entities,
    rehearsed: Report,
    (again, names): (&BTreeMap<String, String>, &Names),
    used: &[LimitUse],
) -> anyhow::Result<ExitCode> {
    let is_damaged = reading.header.damaged;
    let skip: BTreeSet<usize> = rehearsed.refused.keys().copied().collect();
    let plan = args.dry_run.then(|| plan(args.plan_format, directory));
    let destination = match &plan {
        Some(plan) => {
            Destination::new(directory.clone().preview(), protection.clone()).with_plan(Some(plan.clone()))
        }
        None => Destination::new(directory.clone(), protection.clone()),
    };
    let destination = destination.having_added(entities.added());
    let done = Reverter {
        reading,
        entities,
        directory: &destination,
        skip: &skip,
        again,
        noted_in: Some(args.file.as_path()).filter(|_| !args.dry_run),
        names: Some(names),
    };
    let report = { done }.run().await;
    destination.commit()?;
    let mut report = report?;
    if let Some(plan) = plan {
        plan.limits(used);
        plan.finish(true)?;
    }
    let in_part = report.in_part.len();
    report.refused.extend(rehearsed.refused);
    for (dn, reason) in report.refused.values() {
        tracing::warn!(dn = dn.as_str(), "`{dn}` is left alone: {reason}");
    }
    for (dn, names) in &report.lost {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        tracing::warn!(
            "`{dn}`: {} stays as the run left it: the old value could not be read",
            names.join(", ")
        );
    }
    for dn in &report.without_password {
        let facts = Facts { dn: Some(dn.clone()), attribute: Some(PASSWORD.to_owned()), ..Facts::default() };
        facts.warn(&format!(
            "`{dn}` has no password, for Active Directory shows none: set one, or nobody can log in with the account"
        ));
    }
    for (dn, reasons) in &report.withheld {
        let reasons: Vec<&str> = reasons.iter().map(String::as_str).collect();
        tracing::warn!(dn = dn.as_str(), "`{dn}`: {}", reasons.join("; "));
    }
    for (dn, names) in &report.named {
        tracing::warn!(
            dn = dn.as_str(),
            "`{dn}` has the name of an entry that is gone, `{names}`: the next entry of that name inherits what the group grants"
        );
    }
    for dn in &report.unseen {
        tracing::warn!("`{dn}`: whether its password was changed since cannot be seen; the old one is back");
    }
    let taken = report.outcomes.values().filter(|f| **f == RevertOutcome::TakenBack).count();
    let nothing = report.outcomes.values().filter(|f| **f == RevertOutcome::NotInEffect).count();
    let what = if args.dry_run { "would be taken back" } else { "taken back" };
    let is_left = |dn: &&String| !report.refused.values().any(|(left, _)| left == *dn);
    let changed_since = report.refused.len() + report.withheld.keys().filter(is_left).count();
    let text = format!(
        "{taken} change(s) {what}, {nothing} not in effect, {changed_since} entries left alone{}",
        if in_part > 0 { format!(" ({in_part} of them in part)") } else { String::new() }
    );
    directory.clone().close().await;
    if changed_since > 0 || is_damaged {
        tracing::warn!(taken_back = taken, not_in_effect = nothing, left_alone = changed_since, "{text}");
        return Ok(ExitCode::from(LEFT_ALONE));
    }
    tracing::info!(taken_back = taken, not_in_effect = nothing, left_alone = changed_since, "{text}");
    Ok(ExitCode::SUCCESS)
}

/// Warns of undo files of later runs on the same server beside this one: runs are undone newest first.
fn warn_of_later_runs(path: &Path, header: &Header) {
    let Some(began) = header.began() else { return };
    let beside = std::fs::read_dir(file::folder(path)).into_iter().flatten().flatten().map(|e| e.path());
    let later = beside.filter(|p| JournalReader::is_one_or_journal(p)).filter(|p| {
        JournalReader::open(p).is_ok_and(|other| {
            other.header.server == header.server && other.header.began().is_some_and(|time| time > began)
        })
    });
    let mut later: Vec<PathBuf> = later.collect();
    later.sort();
    if let Some(newest) = later.last() {
        tracing::warn!(
            files = later.len(),
            "{}: {} file(s) beside it are of later runs on this server (the last is {}); undo runs newest first, unless these are undone already",
            path.display(),
            later.len(),
            newest.display()
        );
    }
}

/// Whether the open directory is that of the run.
pub(crate) fn is_place_of(server: &str, directory: &Directory, config: &TargetConfig) -> bool {
    is_place(server, directory, &config.directory.servers)
}

/// Returns the first entry of a run that a server cannot have: it is below none of its naming contexts, and its topmost
/// ancestor does not exist. On such a server nothing of the run would be found, which does not mean that it is undone.
pub(crate) async fn foreign(
    entities: &Entities,
    directory: &Directory,
) -> Result<Option<String>, DirectoryError> {
    let (contexts, schema) = (&directory.root_dse().naming_contexts, directory.schema());
    let mut above: Vec<DnKey> = contexts.iter().filter_map(|c| DnKey::parse(c, schema).ok()).collect();
    if matches!(directory, Directory::Ldif(_)) || above.is_empty() {
        return Ok(None);
    }
    for step in &entities.steps {
        let Ok(key) = DnKey::parse(&step.dn, schema) else { continue };
        if above.iter().any(|context| key.is_within(context)) {
            continue;
        }
        // Entries outside of naming contexts (`cn=config`) may exist as well.
        let top =
            split(&step.dn).ok().and_then(|parts| parts.last().map(|p| (*p).to_owned())).unwrap_or_default();
        if directory.read(&top, &["1.1"]).await?.is_none() {
            return Ok(Some(step.dn.clone()));
        }
        above.extend(DnKey::parse(&top, schema).ok());
    }
    Ok(None)
}

/// Returns the entries that were added again by an undo of this file, or of another one beside it.
fn ids_again(path: &Path) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let beside = std::fs::read_dir(file::folder(path)).into_iter().flatten().flatten().map(|e| e.path());
    for file in beside.filter(|p| JournalReader::is_one_or_journal(p)) {
        match journal::ids_again(&file) {
            Ok(ids) => all.extend(ids),
            Err(e) => {
                tracing::warn!("{}: {e}; entries that an undo added again may be left alone", file.display());
            }
        }
    }
    all
}

/// Returns what an undo does not change either.
async fn protection(config: &TargetConfig, directory: &Directory) -> anyhow::Result<Arc<Protection>> {
    Protection::load(directory, &config.directory.auth, &config.protection, &config.named_bases()).await
}

/// Returns the lock of the destination.
fn locks_of(config: &TargetConfig, dry: bool) -> Result<Option<Lock>, SettingsError> {
    match config.ldif_destination().filter(|_| !dry) {
        Some(path) => Lock::of("server_url", path),
        None => Ok(None),
    }
}

fn plan(format: Option<PlanFormat>, directory: &Directory) -> Arc<PlanOutput> {
    let is_terminal = std::io::stdout().is_terminal();
    let format = format.unwrap_or(if is_terminal { PlanFormat::Diff } else { PlanFormat::Ldif });
    let colour = color::is_wanted(is_terminal);
    let header = PlanHeader::of(directory);
    Arc::new(PlanOutput::new(format, colour, Box::new(std::io::stdout())).with_header(header))
}

async fn unchecked(
    args: &UndoArgs,
    config: &TargetConfig,
    changes: &[ldap_directory::change::Change],
) -> anyhow::Result<ExitCode> {
    let directory =
        directory_settings::open(&config.directory, Access::Write(config.ldif_format)).await?.own_values();
    secrets::follow(&config.rules, directory.schema());
    let protection = protection(config, &directory).await?;
    let plan = args.dry_run.then(|| plan(args.plan_format, &directory));
    let destination = match &plan {
        Some(plan) => Destination::new(directory.clone().preview(), protection).with_plan(Some(plan.clone())),
        None => Destination::new(directory.clone(), protection),
    };
    let refused = legacy::carry_out(changes, &destination).await;
    destination.commit()?;
    let refused = refused?;
    if let Some(plan) = plan {
        plan.finish(true)?;
    }
    directory.close().await;
    for (dn, reason) in &refused {
        tracing::warn!(dn = dn.as_str(), "`{dn}` is left alone: {reason}");
    }
    let (all, left) = (changes.len(), refused.len());
    tracing::info!(
        taken_back = all - left,
        left_alone = left,
        "{} of {all} change(s) carried out",
        all - left
    );
    Ok(if left == 0 { ExitCode::SUCCESS } else { ExitCode::from(LEFT_ALONE) })
}
