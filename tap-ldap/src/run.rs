//! What the command line asks for.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::Parser;
use serde_json::{Value, json};
use singer_common::catalog::{Catalog, CatalogError};
use singer_common::cli::{
    self, Command, CommonArgs, Manual, TestKind, class_in, classified, example, heading, variables,
};
use singer_common::directory::{Access, Directory, DirectoryError};
use singer_common::doctor::{self, Report, Subject};
use singer_common::error::Class;
use singer_common::facts::Facts;
use singer_common::file::{self, LOCK, Lock};
use singer_common::init::InitError;
use singer_common::maps::Maps;
use singer_common::metrics::Metrics;
use singer_common::observe;
use singer_common::progress;
use singer_common::settings::SettingsError;
use singer_common::signals::Stop;
use singer_common::state::{State, StateError};
use singer_common::summary;
use singer_common::writer::{SingerWriter, WriteError};

use crate::config::TapConfig;
use crate::discover::{Discovery, discover};
use crate::discovery::context::DirectoryContext;
use crate::discovery::missing_base;
use crate::discovery::setting_names;
use crate::output::Output;
use crate::output::batches::Batches;
use crate::output::rewrite::Rewriter;
use crate::report::{self, Place};
use crate::settings::{ABOUT, TABLE};
use crate::stream::selection;
use crate::sync::{Outcome, Sync, check_json, first_records, reconcile_streams, reconciliation_json};

/// Reads any LDAP directory, or an LDIF file, and prints Singer messages.
#[derive(Debug, Parser)]
#[command(
    name = "tap-ldap",
    version,
    after_help = MANUAL.after_help(),
    disable_help_subcommand = true
)]
pub struct Args {
    /// Flags both executables have
    #[command(flatten)]
    pub common: CommonArgs,
    /// Print the catalog: which streams there are and what their records look like
    #[arg(long, help_heading = heading::TASK)]
    pub discover: bool,
    /// With --discover: write a page about the directory too, for people; HTML in one file
    #[arg(long, value_name = "FILE.html", requires = "discover", conflicts_with = "test",
        help_heading = heading::TASK)]
    pub report: Option<PathBuf>,
    /// The catalog with the selection; without it: discover, then sync what is selected by default
    #[arg(long, alias = "properties", value_name = "PATH", help_heading = heading::INPUT)]
    pub catalog: Option<String>,
    /// STATE of an earlier run
    #[arg(long, value_name = "PATH", help_heading = heading::INPUT)]
    pub state: Option<String>,
}

/// Examples and exit codes.
pub const MANUAL: Manual = Manual {
    name: "tap-ldap",
    modules: include_str!("lib.rs"),
    examples: &[
        example("tap-ldap init", "a first configuration, by questions"),
        example("tap-ldap --config tap.json --test", "can it be read: a health report as JSON"),
        example(
            "tap-ldap doctor --config tap.json",
            "what works with this directory, and what to ask its administrator for",
        ),
        example(
            "tap-ldap --config tap.json --discover > catalog.json",
            "which streams there are, which types",
        ),
        example(
            "tap-ldap --config tap.json --discover --report directory.html > catalog.json",
            "and a page about the directory, for people",
        ),
        example(
            "tap-ldap --config tap.json --catalog catalog.json --state state.json | target-jsonl",
            "read what is selected, from where the last run ended",
        ),
        example(
            "TAP_LDAP_SERVER_URL=ldif:people.ldif tap-ldap --config ENV",
            "settings from the environment; a file is a directory too",
        ),
    ],
    exit_codes: &[],
};

/// Runs the tap and gives the process's exit code.
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
        class_in::<CatalogError>(error.chain()),
        class_in::<StateError>(error.chain()),
        class_in::<DirectoryError>(error.chain()),
        class_in::<InitError>(error.chain()),
        class_in::<WriteError>(error.chain()),
    ])
}

async fn run(args: Args, stop: Stop) -> anyhow::Result<ExitCode> {
    let mut writer = SingerWriter::background();
    if args.common.about {
        writer.show(&ABOUT.render(args.common.format))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(Command::Init(init)) = &args.common.command {
        return crate::init::run(init, &args.common.config).await;
    }
    let resolved = TABLE.resolve(&args.common.config, &variables())?;
    // Before any of them is written.
    let (mut written, source) = file::of_settings(&resolved.values);
    written.push(("--report", args.report.as_deref()));
    let mut read = vec![
        ("server_url", source),
        ("--state", args.state.as_ref().map(Path::new)),
        ("--catalog", args.catalog.as_ref().map(Path::new)),
    ];
    read.extend(args.common.config.iter().map(|path| ("--config", Some(Path::new(path)))));
    let lock = resolved.values.get("state_dir").and_then(Value::as_str).map(|dir| Path::new(dir).join(LOCK));
    read.push(("state_dir", lock.as_deref()));
    file::distinct(&written, &read)?;
    // A run that fails over its other settings has an outcome, too. What only asks is no run.
    if args.discover || args.common.test.is_some() || args.common.command.is_some() {
        observe::check(&resolved.values)?;
    } else {
        observe::start("tap-ldap", &resolved.values)?;
    }
    let mut warnings = resolved.warnings;
    let config = TapConfig::from_settings(&resolved.values, &mut warnings);
    let maps = Maps::from_settings(&resolved.values);
    let batches = Batches::from_settings(&resolved.values);
    for warning in &warnings {
        warning.log();
    }
    let config = config?;
    let mut maps = maps?;
    let batches = batches?;
    if let Some(Command::Doctor { format }) = args.common.command {
        let report = examine(&config).await;
        writer.show(report.render(format, MANUAL.name).trim_end())?;
        return Ok(ExitCode::from(report.code));
    }
    // Everything the command line names is looked at before the directory is.
    let state = match &args.state {
        Some(path) => {
            let text = file::read_text(Path::new(path)).map_err(|e| {
                SettingsError::value(
                    "--state",
                    format!("{path}: {e}"),
                    "a file with the last STATE the tap printed",
                )
            })?;
            // Some runners write the file before there is a STATE. It may also be what is left of one.
            if text.trim().is_empty() {
                tracing::warn!(state = path, "--state {path} is empty: everything is read as in a first run");
            }
            State::parse(&text).with_context(|| format!("--state {path}"))?
        }
        None => State::default(),
    };
    let catalog_path = args.catalog.as_ref().or(config.catalog_path.as_ref()).filter(|_| !args.discover);
    let catalog = catalog_path.map(|path| Catalog::read(path)).transpose()?;
    if let Some(kind) = args.common.test {
        return health(&config, catalog, kind, &mut writer).await;
    }
    if let Some(path) = &args.report {
        // Found out now, not after an hour of reading.
        file::has_place("--report", path)?;
        if let Err(e) = file::may_be_replaced(path) {
            let problem = format!("{}: {e}", path.display());
            return Err(SettingsError::value("--report", problem, "the path of an ordinary file").into());
        }
    }
    if !args.discover {
        summary::begin("tap-ldap", env!("CARGO_PKG_VERSION"), false);
    }
    let indexes = config.track_deletions.as_deref().filter(|_| !args.discover);
    let locked = indexes.map(|folder| {
        file::make_private_folder(folder).map_err(|e| {
            let problem = format!("{} cannot be made: {e}", folder.display());
            SettingsError::value("state_dir", problem, "a folder that is there, or can be made")
        })?;
        Lock::of("state_dir", folder)
    });
    let _locked = locked.transpose()?;
    let (directory, context) = open(&config).await?;
    if args.discover {
        let discovery = match discover(&config, &context).await {
            Ok(discovery) => discovery,
            Err(e) => return Err(missing_base::explained(&config, &directory, e.into()).await),
        };
        writer.show(&discovery.catalog.to_pretty_json()?)?;
        if let Some(path) = &args.report {
            let books = match reconcile_streams(&config, &context, &discovery.catalog).await {
                Some(seen) => seen?.to_text(),
                None => "not looked at (verify)".to_owned(),
            };
            write_report(path, &discovery, &context, &books)?;
        }
        directory.close().await;
        return Ok(ExitCode::SUCCESS);
    }
    let catalog = match catalog {
        Some(catalog) => catalog,
        None => match discover(&config, &context).await {
            Ok(discovery) => discovery.catalog,
            Err(e) => return Err(missing_base::explained(&config, &directory, e.into()).await),
        },
    };
    let origin = match (&args.catalog, &config.catalog_path) {
        (None, Some(_)) => "catalog_path",
        _ => "--catalog",
    };
    selection::check(&catalog, origin, maps.as_mut())?;
    if let Some(rewriter) = Rewriter::new(maps, batches) {
        writer.rewrite_with(Box::new(rewriter));
    }
    // From here on a signal is taken up between records.
    stop.handle();
    let metrics = Metrics::new(config.metrics);
    // What is at the other end of a pipe, or what is printed to the terminal itself, is in the way of bars.
    let stdout = std::io::stdout();
    let progress = args.common.progress.show(stdout.is_terminal() || progress::is_pipe(&stdout));
    let mut output = Output::new(&mut writer, metrics, stop, progress, state, config.state_interval);
    let outcome = match Box::pin(Sync { config: &config, context: &context }.run(&catalog, &mut output)).await
    {
        Ok(outcome) => outcome,
        Err(e) => return Err(missing_base::explained(&config, &directory, e).await),
    };
    directory.close().await;
    Ok(match outcome {
        Outcome::Complete => ExitCode::SUCCESS,
        Outcome::Stopped(signal) => ExitCode::from(signal.exit_code()),
    })
}

/// The page about what was discovered.
fn write_report(
    path: &Path,
    discovery: &Discovery,
    context: &DirectoryContext,
    books: &str,
) -> anyhow::Result<()> {
    let root = context.directory.root_dse();
    let vendor = [root.vendor.name(), &root.version].join(" ");
    let date = chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string();
    let place = Place {
        server: context.directory.location(),
        vendor: vendor.trim(),
        base: &context.base,
        date: &date,
        books,
    };
    let streams: Vec<_> = discovery.catalog.streams.iter().zip(&discovery.samples).collect();
    let page = report::render(&place, &streams, context.directory.schema());
    file::replace(path, |out| out.write_all(page.as_bytes()))
        .with_context(|| format!("--report {}: the page could not be written", path.display()))
}

async fn open(config: &TapConfig) -> anyhow::Result<(Directory, DirectoryContext)> {
    let directory = Directory::open(&config.directory, Access::Read).await?;
    warn_of_shortfalls(&directory);
    setting_names::check(config, &directory)?;
    let base = base(config, &directory)?;
    match DirectoryContext::find(config, &directory, &base).await {
        Ok(context) => Ok((directory, context)),
        Err(e) => Err(missing_base::explained(config, &directory, e.into()).await),
    }
}

/// A file may say of itself that it is not whole.
fn warn_of_shortfalls(directory: &Directory) {
    let shortfalls = directory.shortfalls();
    let Some(first) = shortfalls.first() else { return };
    let more = match shortfalls.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    tracing::warn!(
        shortfalls = shortfalls.len(),
        "{} is not whole: {first}{more}; what is there is read, no ACTIVATE_VERSION is sent and nothing is deleted downstream",
        directory.location()
    );
}

/// The base: the user's, or the server's only one.
fn base(config: &TapConfig, directory: &Directory) -> Result<String, SettingsError> {
    if let Some(base) = &config.base_dn {
        return Ok(base.clone());
    }
    let root = directory.root_dse();
    if let Some(base) = root.default_base() {
        return Ok(base.to_owned());
    }
    // Streams with bases of their own need no common one.
    if !config.schemas.is_empty() && config.schemas.iter().all(|s| s.base_dn.is_some()) {
        return Ok(String::new());
    }
    Err(SettingsError::value(
        "base_dn",
        "not set, and the server does not say which it is",
        if root.naming_contexts.is_empty() {
            "the DN to begin at".to_owned()
        } else {
            format!("one of {}", root.naming_contexts.join("; "))
        },
    ))
}

/// Everything that can be found out about the directory, for people.
async fn examine(config: &TapConfig) -> Report {
    let subject = Subject::Tap { base: config.base_dn.as_deref() };
    doctor::examine(&config.directory, Access::Read, &subject).await
}

async fn health(
    config: &TapConfig,
    catalog: Option<Catalog>,
    kind: TestKind,
    writer: &mut SingerWriter,
) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut checks = Vec::new();
    let attempt = async {
        let (steps, opened) = doctor::open(&config.directory, Access::Read).await;
        checks.extend(steps.iter().map(doctor::check_json));
        let directory = opened?;
        checks.push(doctor::root_check(&directory));
        setting_names::check(config, &directory)?;
        let base = base(config, &directory)?;
        let context = DirectoryContext::find(config, &directory, &base).await?;
        checks.push(json!({"name": "base", "ok": true, "detail": format!("`{base}`")}));
        let catalog = match catalog {
            Some(catalog) => catalog,
            None => discover(config, &context).await?.catalog,
        };
        checks.push(
            json!({"name": "streams", "ok": true, "detail": format!("{} streams", catalog.streams.len())}),
        );
        let mut failure = None;
        if kind != TestKind::Schema {
            for (name, result) in first_records(config, &context, &catalog).await {
                checks.push(check_json(&format!("records of {name}"), &result));
                failure = failure.or(result.err());
            }
            if failure.is_none() {
                let look = reconcile_streams(config, &context, &catalog).await;
                checks.push(reconciliation_json(look.as_ref()));
            }
        }
        let about = (directory.location().to_owned(), directory.root_dse().vendor.name());
        directory.close().await;
        match failure {
            Some(e) => Err(anyhow::Error::from(e)),
            None => Ok(about),
        }
    };
    let result =
        tokio::time::timeout(doctor::LONGEST, attempt).await.unwrap_or_else(|_| Err(doctor::too_long()));
    let code = match &result {
        Ok(_) => 0,
        Err(e) => class(e).0.exit_code(),
    };
    let server = config.directory.servers.first().map(singer_common::directory::ServerUrl::to_text);
    let outcome = result.map_err(|e| format!("{e:#}"));
    writer.show(&cli::health_report(&outcome, server.as_deref(), started.elapsed(), &checks))?;
    Ok(ExitCode::from(code))
}
