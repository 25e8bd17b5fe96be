//! The command line: chooses the mode of the executable and runs it.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::Parser;
use ldap_directory::{Access, AuthMethod, Directory, DirectoryError};
use serde_json::{Map, Value, json};
use singer_common::maps::Maps;
use singer_common::operations::error::{Class, full_text};
use singer_common::operations::facts::Facts;
use singer_common::operations::file::{self, LOCK, Lock};
use singer_common::operations::logging::Modules;
use singer_common::operations::observe;
use singer_common::operations::progress::{self, Show};
use singer_common::operations::signals::Stop;
use singer_common::operations::summary;
use singer_common::plugin::cli::{
    self, Command, Commands, CommonArgs, Manual, TestKind, class_in, classified, example, heading, variables,
};
use singer_common::plugin::directory_settings;
use singer_common::plugin::doctor::{self, Report, Subject};
use singer_common::plugin::init::{InitArgs, InitError};
use singer_common::plugin::settings::{Resolved, SettingsError};
use singer_common::singer::catalog::{Catalog, CatalogError};
use singer_common::singer::metrics::Metrics;
use singer_common::singer::state::{State, StateError};
use singer_common::singer::writer::{SingerWriter, WriteError};

use crate::config::TapConfig;
use crate::discover::{Discovery, discover, discover_with};
use crate::discovery::conflicts;
use crate::discovery::context::DirectoryContext;
use crate::discovery::doubles::Doubles;
use crate::discovery::exclusions;
use crate::discovery::missing_base;
use crate::discovery::setting_names;
use crate::output::Output;
use crate::output::batches::Batches;
use crate::output::rewrite::Rewriter;
use crate::replication::origin::account;
use crate::report::{self, PageHead};
use crate::settings::{ABOUT, TABLE};
use crate::stream::selection;
use crate::sync::{Outcome, Sync, check_json, first_records, reconcile_streams, reconciliation_json};

/// Reads any LDAP directory, or an LDIF file, and prints Singer messages.
#[derive(Debug, Parser)]
#[command(
    name = "tap-ldap",
    version,
    styles = cli::STYLES,
    after_help = MANUAL.after_help(),
    disable_help_subcommand = true
)]
pub struct Args {
    /// Flags both executables have
    #[command(flatten)]
    pub common: CommonArgs<TapCommand>,
    /// Print the catalog: the streams, and the schemas of their records
    #[arg(long, help_heading = heading::TASK)]
    pub discover: bool,
    /// Also write an HTML page about the directory (with --discover)
    #[arg(long, value_name = "FILE.html", requires = "discover", conflicts_with = "test",
        help_heading = heading::TASK)]
    pub report: Option<PathBuf>,
    /// Catalog with the selected streams. Default: discover, then sync the streams selected by default
    #[arg(long, alias = "properties", value_name = "PATH", help_heading = heading::INPUT)]
    pub catalog: Option<String>,
    /// STATE of an earlier run, to continue from
    #[arg(long, value_name = "PATH", help_heading = heading::INPUT)]
    pub state: Option<String>,
    /// Read the entry with this DN alone, in each stream that has it: no STATE, no deletions
    #[arg(long, value_name = "DN", conflicts_with_all = ["discover", "test"], help_heading = heading::INPUT)]
    pub only_dn: Option<String>,
}

/// Tasks other than a run.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum TapCommand {
    /// Ask for server and user, test them, and write a first configuration
    Init(InitArgs),
    /// Those of both executables
    #[command(flatten)]
    Common(Command),
}

impl Commands for TapCommand {
    fn common(&self) -> Option<&Command> {
        match self {
            TapCommand::Common(command) => Some(command),
            TapCommand::Init(_) => None,
        }
    }
}

/// Examples and exit codes.
pub const MANUAL: Manual = Manual {
    name: "tap-ldap",
    table: TABLE,
    from_runner: &["catalog", "state"],
    modules: Modules {
        source: include_str!("lib.rs"),
        moved: &[
            ("tap_ldap::config", &["shrink"]),
            ("tap_ldap::discovery", &["bases", "books", "census", "classes", "container", "inner", "names"]),
            ("tap_ldap::output", &["batches", "rewrite"]),
            ("tap_ldap::stream", &["convert", "members", "partition", "sample", "selection", "source"]),
        ],
    },
    examples: &[
        example("tap-ldap init", "create a configuration interactively"),
        example(
            "tap-ldap --config tap.json --test",
            "check the configuration: print a health report as JSON",
        ),
        example(
            "tap-ldap doctor --config tap.json",
            "report which features work with this directory, and which rights are missing",
        ),
        example(
            "tap-ldap --config tap.json --discover > catalog.json",
            "write the catalog: the streams and their types",
        ),
        example(
            "tap-ldap --config tap.json --discover --report directory.html > catalog.json",
            "also write an HTML page about the directory",
        ),
        example(
            "tap-ldap --config tap.json --catalog catalog.json --state state.json | target-jsonl",
            "read the selected streams, from the position of the last run",
        ),
        example(
            "TAP_LDAP_SERVER_URL=ldif:people.ldif tap-ldap --config ENV",
            "read an LDIF file, with settings from the environment",
        ),
    ],
    exit_codes: &[],
};

/// Runs the tap and returns the exit code of the process.
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

/// Returns the class of a failure, and its facts.
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
    if let Some(TapCommand::Init(init)) = &args.common.command {
        return crate::init::run(init, &args.common.config).await;
    }
    let resolved = TABLE.resolve(&args.common.config, &variables())?;
    check_files(&args, &resolved.values)?;
    // Also a run that fails because of its settings is reported. The other modes are not runs.
    if args.discover || args.common.test.is_some() || args.common.command.is_some() {
        observe::check(&resolved.values)?;
    } else {
        observe::start("tap-ldap", &resolved.values)?;
    }
    let settings = Settings::resolve(resolved)?;
    let config = &settings.config;
    // All files of the command line are read before the directory is. One entry alone is no continuation.
    let state = read_state(args.state.as_deref().filter(|_| args.only_dn.is_none()))?;
    let catalog_path = args.catalog.as_ref().or(config.catalog_path.as_ref()).filter(|_| !args.discover);
    let catalog = catalog_path.map(|path| Catalog::read(path)).transpose()?;
    if let Some(TapCommand::Common(Command::Doctor { format })) = args.common.command {
        let report = examine(config).await;
        writer.show_colored(&report.render(format, MANUAL.name))?;
        return Ok(ExitCode::from(report.code));
    }
    if let Some(kind) = args.common.test {
        return health(config, catalog, kind, &mut writer).await;
    }
    if args.discover {
        return discover_only(config, args.report.as_deref(), &mut writer).await;
    }
    let stdout = std::io::stdout();
    // Bars are not shown if another process writes to the terminal, or if the messages are printed there.
    let progress = args.common.progress.show(stdout.is_terminal() || progress::is_pipe(&stdout));
    let origin = match (&args.catalog, &config.catalog_path) {
        (None, Some(_)) => "catalog_path",
        _ => "--catalog",
    };
    let only = args.only_dn.as_deref();
    sync(settings, (catalog, origin), (state, only), progress, stop, &mut writer).await
}

/// The resolved settings.
struct Settings {
    config: TapConfig,
    maps: Option<Maps>,
    batches: Option<Batches>,
}

impl Settings {
    /// Resolves the settings, and logs their warnings.
    fn resolve(resolved: Resolved) -> Result<Settings, SettingsError> {
        let mut warnings = resolved.warnings;
        let config = TapConfig::from_settings(&resolved.values, &mut warnings);
        let maps = Maps::from_settings(&resolved.values);
        let batches = Batches::from_settings(&resolved.values);
        for warning in &warnings {
            warning.log();
        }
        Ok(Settings { config: config?, maps: maps?, batches: batches? })
    }
}

/// Checks, before any file is written, that no file is both written and read.
fn check_files(args: &Args, values: &Map<String, Value>) -> Result<(), SettingsError> {
    let (mut written, source) = file::of_settings(values);
    written.push(("--report", args.report.as_deref()));
    let mut read = vec![
        ("server_url", source),
        ("--state", args.state.as_ref().map(Path::new)),
        ("--catalog", args.catalog.as_ref().map(Path::new)),
    ];
    read.extend(args.common.config.iter().map(|path| ("--config", Some(Path::new(path)))));
    let lock = values.get("state_dir").and_then(Value::as_str).map(|dir| Path::new(dir).join(LOCK));
    read.push(("state_dir", lock.as_deref()));
    file::distinct(&written, &read)
}

/// Reads the file of `--state`.
fn read_state(path: Option<&str>) -> anyhow::Result<State> {
    let Some(path) = path else { return Ok(State::default()) };
    let text = file::read_text(Path::new(path)).map_err(|e| {
        SettingsError::value(
            "--state",
            format!("{path}: {e}"),
            "a file with the last STATE that the loader printed (without a loader, the tap)",
        )
    })?;
    // Some runners create the file before there is a STATE. It may also be what is left of one.
    if text.trim().is_empty() {
        tracing::warn!(state = path, "--state {path} is empty: everything is read as in a first run");
    }
    State::parse(&text).with_context(|| format!("--state {path}"))
}

/// Prints the catalog, and writes the page of `--report`.
async fn discover_only(
    config: &TapConfig,
    report: Option<&Path>,
    writer: &mut SingerWriter,
) -> anyhow::Result<ExitCode> {
    if let Some(path) = report {
        // Checked now, and not after a long discovery.
        file::has_place("--report", path)?;
        if let Err(e) = file::may_be_replaced(path) {
            let problem = format!("{}: {e}", path.display());
            return Err(SettingsError::value("--report", problem, "the path of an ordinary file").into());
        }
    }
    let (directory, context) = open(config).await?;
    let mut doubles = Doubles::default();
    let discovered = discover_with(config, &context, report.map(|_| &mut doubles)).await;
    let discovery = match discovered {
        Ok(discovery) => discovery,
        Err(e) => return Err(missing_base::explained(config, &directory, e.into()).await),
    };
    writer.show(&discovery.catalog.to_pretty_json()?)?;
    if let Some(path) = report {
        let reconciliation = match reconcile_streams(config, &context, &discovery.catalog).await {
            Some(result) => result?.to_text(),
            None => "not looked at (verify)".to_owned(),
        };
        let reader = reader(config, &directory).await;
        let about = About { reader: reader.as_deref(), reconciliation: &reconciliation, doubles: &doubles };
        write_report(path, &discovery, &context, &about)?;
    }
    directory.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Reads the selected streams. Without a catalog, all streams that discovery selects.
async fn sync(
    settings: Settings,
    (catalog, origin): (Option<Catalog>, &str),
    (state, only): (State, Option<&str>),
    progress: Show,
    stop: Stop,
    writer: &mut SingerWriter,
) -> anyhow::Result<ExitCode> {
    let Settings { config, mut maps, batches } = settings;
    summary::begin("tap-ldap", env!("CARGO_PKG_VERSION"), false);
    let indexes = config.track_deletions.as_deref().filter(|_| only.is_none());
    let _locked = indexes.map(lock_indexes).transpose()?;
    let (directory, context) = open(&config).await?;
    let catalog = match catalog {
        Some(catalog) => catalog,
        None => match discover(&config, &context).await {
            Ok(discovery) => discovery.catalog,
            Err(e) => return Err(missing_base::explained(&config, &directory, e.into()).await),
        },
    };
    selection::check(&catalog, origin, maps.as_mut())?;
    if let Some(rewriter) = Rewriter::new(maps.clone(), batches) {
        writer.rewrite_with(Box::new(rewriter));
    }
    // From here on, a signal is handled between records.
    stop.handle();
    let metrics = Metrics::new(config.metrics);
    let mut output = Output::new(writer, metrics, stop, progress, state, config.state_interval);
    let sync = Sync { config: &config, context: &context, only };
    let outcome = match Box::pin(sync.run(&catalog, &mut output)).await {
        Ok(outcome) => outcome,
        Err(e) => return Err(missing_base::explained(&config, &directory, e).await),
    };
    directory.close().await;
    maps.iter().for_each(Maps::log_left_out);
    Ok(match outcome {
        Outcome::Complete => ExitCode::SUCCESS,
        Outcome::Stopped(signal) => ExitCode::from(signal.exit_code()),
    })
}

/// Creates the folder of the indexes of keys, and locks it for this run.
fn lock_indexes(folder: &Path) -> Result<Option<Lock>, SettingsError> {
    file::make_private_folder(folder).map_err(|e| {
        let problem = format!("{} cannot be made: {e}", folder.display());
        SettingsError::value("state_dir", problem, "a folder that is there, or can be made")
    })?;
    Lock::of("state_dir", folder)
}

/// What is known for the page of `--report` beside the streams.
struct About<'a> {
    reader: Option<&'a str>,
    reconciliation: &'a str,
    doubles: &'a Doubles,
}

/// Returns the user as whom a server was read: as it says itself (RFC 4532), or as configured.
async fn reader(config: &TapConfig, directory: &Directory) -> Option<String> {
    let Directory::Ldap(server) = directory else { return None };
    let configured = match &config.directory.auth {
        AuthMethod::Simple { dn, .. } => dn.clone(),
        AuthMethod::Ntlm { user, .. } => user.clone(),
        AuthMethod::External => "the client certificate or process (EXTERNAL)".to_owned(),
        AuthMethod::Gssapi => "the Kerberos ticket (GSSAPI)".to_owned(),
        AuthMethod::Anonymous => String::new(),
    };
    let said = server.who_am_i().await.ok().flatten();
    let said = said.as_deref().map(|who| who.strip_prefix("dn:").or(who.strip_prefix("u:")).unwrap_or(who));
    let who = said.filter(|who| !who.is_empty()).map_or(configured, str::to_owned);
    Some(if who.is_empty() { "anonymous".to_owned() } else { who })
}

/// Writes the page of `--report`.
fn write_report(
    path: &Path,
    discovery: &Discovery,
    context: &DirectoryContext,
    about: &About<'_>,
) -> anyhow::Result<()> {
    let root = context.directory.root_dse();
    let vendor = [root.vendor.name(), &root.version].join(" ");
    let date = chrono::Utc::now().format("%Y-%m-%d %H:%M UTC").to_string();
    let head = PageHead {
        server: context.directory.location(),
        vendor: vendor.trim(),
        base: &context.base,
        date: &date,
        reader: about.reader,
        books: about.reconciliation,
        doubles: about.doubles,
    };
    let streams: Vec<_> = discovery.catalog.streams.iter().zip(&discovery.samples).collect();
    let page = report::render(&head, &streams, context.directory.schema());
    file::replace(path, |out| out.write_all(page.as_bytes()))
        .with_context(|| format!("--report {}: the page could not be written", path.display()))
}

async fn open(config: &TapConfig) -> anyhow::Result<(Directory, DirectoryContext)> {
    let directory = config.reading(&directory_settings::open(&config.directory, Access::Read).await?);
    let doubtful_filters = setting_names::check(config, &directory)?;
    let base = base(config, &directory)?;
    let directory = exclusions::exclude(config, directory, &base).await?;
    match DirectoryContext::find(config, &directory, &base).await {
        Ok(mut context) => {
            context.doubtful_filters = doubtful_filters;
            conflicts::warn(&directory, &base).await;
            context.account = account(&config.directory.auth, &directory).await?;
            Ok((directory, context))
        }
        Err(e) => Err(missing_base::explained(config, &directory, e.into()).await),
    }
}

/// Returns the base DN: that of the settings, or the server's only one.
fn base(config: &TapConfig, directory: &Directory) -> Result<String, SettingsError> {
    if let Some(base) = &config.base_dn {
        return Ok(base.clone());
    }
    let root = directory.root_dse();
    if let Some(base) = root.default_base() {
        return Ok(base.to_owned());
    }
    // Streams with their own bases need no common one.
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

/// Examines the directory, for `tap-ldap doctor`.
async fn examine(config: &TapConfig) -> Report {
    let subject = Subject::Tap { base: config.base_dn.as_deref() };
    doctor::examine(&config.directory, Access::Read, &subject).await
}

/// Checks whether the tap can read its streams, and prints a health report (`--test`).
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
        let directory = config.reading(&opened?);
        checks.push(doctor::root_check(&directory));
        setting_names::check(config, &directory)?;
        let base = base(config, &directory)?;
        let directory = exclusions::exclude(config, directory, &base).await?;
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
                let result = reconcile_streams(config, &context, &catalog).await;
                checks.push(reconciliation_json(result.as_ref()));
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
    let server = config.directory.servers.first().map(ldap_directory::ServerUrl::to_text);
    let outcome = result.map_err(|e| full_text(e.as_ref()));
    writer.show(&cli::health_report(&outcome, server.as_deref(), started.elapsed(), &checks))?;
    Ok(ExitCode::from(code))
}
