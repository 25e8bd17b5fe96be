//! `target-ldap apply PLAN`: carries out the plan of a run that was held back.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use ldap_directory::{Access, Directory};
use singer_common::operations::color;
use singer_common::operations::error::Classified as _;
use singer_common::operations::facts::Facts;
use singer_common::operations::file::{self, Lock};
use singer_common::plugin::cli::heading;
use singer_common::plugin::directory_settings;
use singer_common::plugin::settings::SettingsError;

use super::{Args, REJECTED, held, session};
use crate::config::TargetConfig;
use crate::config::held::PLAN_FILE;
use crate::config::undo_file::{self, UndoFile};
use crate::rules::secrets;
use crate::write::destination::Destination;
use crate::write::guard::LimitUse;
use crate::write::held_plan::PlannedUse;
use crate::write::held_plan::carrier::{CarriedOut, carry_out, rehearse};
use crate::write::held_plan::history::{History, How};
use crate::write::held_plan::reader::{PlanError, PlanReader};
use crate::write::maintained::maintained_references;
use crate::write::plan_output::{PlanFormat, PlanHeader, PlanOutput};
use crate::write::protection::Protection;
use crate::write::undo::Undo;
use crate::write::undo::command::{foreign, is_place_of};
use crate::write::undo::entities::Entities;

const PLAN: &str = "PLAN";

/// The arguments of `target-ldap apply`.
#[derive(Debug, Clone, clap::Args)]
pub struct ApplyArgs {
    /// The plan that a held run has left (setting plan_file)
    #[arg(value_name = PLAN)]
    pub plan: PathBuf,
    /// Write nothing: print the changes that would be made now
    #[arg(long, help_heading = heading::TASK)]
    pub dry_run: bool,
    /// Carry the plan out although a later run with the same streams was carried out
    #[arg(long, help_heading = heading::TASK)]
    pub outdated: bool,
    /// The format of --dry-run: diff on a terminal, else ldif, by default
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = heading::TASK)]
    pub plan_format: Option<PlanFormat>,
}

/// Carries out a plan.
///
/// # Errors
/// The plan cannot be read, was edited or is of another directory; or the directory fails.
pub(super) async fn run(apply: &ApplyArgs, args: &Args, config: &TargetConfig) -> anyhow::Result<ExitCode> {
    let is_dry = apply.dry_run || config.dry_run;
    if apply.plan_format.is_some() && !is_dry {
        let problem = "it is for --dry-run, and without that the plan would be carried out";
        return Err(SettingsError::value("--plan-format", problem, "--dry-run, too").into());
    }
    let undo_path = config.undo.as_ref().map(UndoFile::path);
    let written = [("server_url", config.ldif_destination()), (undo_file::SETTING, undo_path.as_deref())];
    file::distinct(&written, &[(PLAN, Some(&apply.plan))])?;
    let mut locks = Vec::from_iter(Lock::of(PLAN, &apply.plan)?);
    if !is_dry {
        for (setting, path) in written {
            if let Some(path) = path {
                file::has_place(setting, path)?;
                let lock = Lock::of(setting, path)?;
                locks.extend(lock);
            }
        }
        // Of the history beside it.
        let other = config.held.plan_file.as_ref().filter(|path| file::real(path) != file::real(&apply.plan));
        if let Some(path) = other {
            locks.extend(Lock::of(PLAN_FILE, path)?);
        }
    }
    let mut plan = PlanReader::open(&apply.plan).map_err(|e| refused(apply, &e))?;
    let directory =
        directory_settings::open(&config.directory, Access::Write(config.ldif_format)).await?.own_values();
    secrets::follow(&config.rules, directory.schema());
    directory.set_ldif_rules(config.ldif_rules());
    let entities = Entities::of(&mut plan.frames, directory.schema())?;
    check_place(apply, &plan, &entities, &directory, config).await?;
    check_age(apply, &plan, config, is_dry)?;
    if plan.taken_out > 0 {
        let text = format!(
            "{}: {} change(s) were taken out of the plan, and are not made",
            apply.plan.display(),
            plan.taken_out
        );
        Facts::of_setting(PLAN).warn(&text);
    }
    let (auth, bases) = (&config.directory.auth, config.named_bases());
    let protection = Protection::load(&directory, auth, &config.protection, &bases).await?;
    let references = maintained_references(&directory).await?;
    let place = (&directory, &protection);
    let mut owed = Vec::new();
    let skip = rehearse(&mut plan, &entities, place, references.as_ref()).await?;
    let done = if is_dry {
        let output = output(apply, args, &plan, &directory);
        let preview = Destination::new(directory.clone().preview(), protection)
            .with_plan(Some(output.clone()))
            .noting_left_names();
        let done = carry_out(&mut plan, &entities, &preview, &skip).await?;
        output.finish(true)?;
        preview.warn_of_left_names().await;
        done
    } else {
        owed = session::recovered(config, undo_path.as_deref(), &directory).await?;
        let undo = match config.undo.as_ref().zip(undo_path.as_deref()) {
            Some((names, path)) => {
                let undo = Undo::create(path, &directory, config.preserve_uuid)?;
                Some((names, Arc::new(undo)))
            }
            None => None,
        };
        let journal = undo.as_ref().map(|(_, undo)| undo.clone());
        let destination =
            Destination::new(directory.clone(), protection).with_matches(config).with_undo(journal);
        let destination = destination.noting_left_names();
        let done = carry_out(&mut plan, &entities, &destination, &skip).await;
        // What was made is kept even if something failed.
        let committed = destination.commit();
        let finished = match undo {
            Some((names, undo)) => undo.finish(names, &directory).await,
            None => Ok(Vec::new()),
        };
        let done = done?;
        committed?;
        owed.extend(finished?);
        destination.warn_of_left_names().await;
        // A plan of which nothing could be done was not carried out.
        if done.made + done.already > 0 || done.refused.is_empty() {
            held::note_run(config, &plan.head.run, How::Apply, &plan.head.rules);
        }
        done
    };
    directory.close().await;
    Ok(session::code_of_owed(&owed, report(&done, is_dry)))
}

fn refused(apply: &ApplyArgs, error: &PlanError) -> SettingsError {
    let expected = "the plan_file of a held run, as it was left; whole changes may be taken out";
    SettingsError::value(PLAN, format!("{}: {error}", apply.plan.display()), expected)
}

/// Checks that the plan is of this directory.
async fn check_place(
    apply: &ApplyArgs,
    plan: &PlanReader,
    entities: &Entities,
    directory: &Directory,
    config: &TargetConfig,
) -> anyhow::Result<()> {
    let bad = |problem: String, expected: &str| {
        SettingsError::value(PLAN, format!("{}: {problem}", apply.plan.display()), expected)
    };
    let there = &plan.head.server;
    if !is_place_of(there, directory, config) {
        let problem = format!("it is of a run on {there}, and server_url leads to {}", directory.location());
        return Err(bad(problem, "the server of the run as server_url").into());
    }
    if let Some(dn) = foreign(entities, directory).await? {
        let contexts = directory.root_dse().naming_contexts.join("`, `");
        let problem = format!("it would change `{dn}`, and {} has `{contexts}` alone", directory.location());
        return Err(bad(problem, "a server that has that part of the directory").into());
    }
    Ok(())
}

/// Checks that no run with the streams of the plan was carried out or held back since: its source may have what this plan deletes.
fn check_age(
    apply: &ApplyArgs,
    plan: &PlanReader,
    config: &TargetConfig,
    is_dry: bool,
) -> Result<(), SettingsError> {
    let plan_file = config.held.plan_file.as_ref().unwrap_or(&apply.plan);
    let history = History::read(plan_file).map_err(|e| held::unreadable(plan_file, &e))?;
    let Some(past) = history.overtakes(&plan.head) else { return Ok(()) };
    let how = if past.how == How::Held { "was held back" } else { "was carried out" };
    let problem = format!(
        "{}: it was made at {}, and the run {} with the same streams {how} since, at {}: the plan has what the source was before",
        apply.plan.display(),
        plan.head.made,
        past.run,
        past.ended
    );
    let expected =
        "the plan of a later run, if one is held back; or --outdated, to carry out this one nevertheless";
    let error = SettingsError::value(PLAN, problem, expected);
    if !is_dry && !apply.outdated {
        return Err(error);
    }
    error.facts().warn(&error.to_string());
    Ok(())
}

fn output(apply: &ApplyArgs, args: &Args, plan: &PlanReader, directory: &Directory) -> Arc<PlanOutput> {
    let is_terminal = std::io::stdout().is_terminal();
    let format = apply.plan_format.unwrap_or(if is_terminal { PlanFormat::Diff } else { PlanFormat::Ldif });
    let header = PlanHeader {
        command: held::apply_command(args, &apply.plan),
        is_held: true,
        ..PlanHeader::of(directory)
    };
    let colour = color::is_wanted(is_terminal);
    let output = PlanOutput::new(format, colour, Box::new(std::io::stdout())).with_header(header);
    let limits: Vec<LimitUse> = plan.head.limits.iter().map(PlannedUse::to_use).collect();
    output.limits(&limits);
    Arc::new(output)
}

/// Logs what was done, and returns the exit code.
fn report(done: &CarriedOut, is_dry: bool) -> ExitCode {
    for (entity, objection) in &done.refused {
        let in_part = if done.in_part.contains(entity) { ", and only a part of it was done" } else { "" };
        let facts = Facts {
            dn: Some(objection.dn.clone()),
            stream: objection.stream.clone(),
            attribute: objection.attribute.clone(),
            ..Facts::default()
        };
        facts.warn(&format!("`{}` is left as it is{in_part}: {}", objection.dn, objection.reason));
    }
    for (dn, left) in &done.secrets {
        let names: Vec<&str> = left.names.iter().map(String::as_str).collect();
        let names = names.join(", ");
        let what = if left.is_lost {
            "the rule of its stream does not let a later run set it (operations.update)"
        } else {
            "the next run with its record sets it"
        };
        let facts = Facts { dn: Some(dn.clone()), attribute: Some(names.clone()), ..Facts::default() };
        facts.warn(&format!("`{dn}`: {names} is not in the plan, and was not set: {what}"));
    }
    let (made, already, left) = (done.made, done.already, done.refused.len());
    let verb = if is_dry { "would be made" } else { "made" };
    let text = format!(
        "{made} change(s) {verb}, {already} made before, {left} entries left as they are; no STATE is printed: the next run catches up"
    );
    if left > 0 || done.secrets.values().any(|left| left.is_lost) {
        tracing::warn!(made, already, left_alone = left, "{text}");
        return ExitCode::from(REJECTED);
    }
    tracing::info!(made, already, left_alone = left, "{text}");
    ExitCode::SUCCESS
}
