//! The command line: flags, modes and exit codes.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use clap::Parser;
use ldap_directory::client::probe::{Grade, Step};
use ldap_directory::{Access, DirectoryError, ServerUrl};
use singer_common::operations::error::{Class, Classified as _};
use singer_common::operations::facts::Facts;
use singer_common::operations::logging::Modules;
use singer_common::operations::observe;
use singer_common::operations::signals::Stop;
use singer_common::plugin::cli::{
    self, Command, Commands, CommonArgs, Manual, class_in, classified, example, variables,
};
use singer_common::plugin::doctor::{self, Subject};
use singer_common::plugin::init::{InitArgs, InitError};
use singer_common::plugin::settings::SettingsError;
use singer_common::singer::writer::{SingerWriter, WriteError};
use tokio::net::TcpListener;

use crate::check;
use crate::config::Config;
use crate::login;
use crate::routes;
use crate::server::{self, Routes, tls::Acceptor};
use crate::service::{App, Service};
use crate::settings::{ABOUT, TABLE};

/// How long the start waits for the directory before the first connection is accepted.
const FIRST_ATTEMPT: Duration = Duration::from_secs(2);
/// How long a reload waits for the directory of the new configuration.
const RELOAD_TIME: Duration = Duration::from_secs(15);

/// Login, forward authentication, SCIM 2.0, search and LDIF over an LDAP directory.
#[derive(Debug, Parser)]
#[command(
    name = "ldap-service",
    version,
    styles = cli::STYLES,
    after_help = MANUAL.after_help(),
    disable_help_subcommand = true
)]
pub struct Args {
    /// Flags of all executables
    #[command(flatten)]
    pub common: CommonArgs<ServiceCommand>,
}

/// Tasks other than serving.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum ServiceCommand {
    /// Ask for server and user, test them, and write a first configuration
    Init(InitArgs),
    /// Print the OpenAPI 3.1 document
    Openapi,
    /// Those of all executables
    #[command(flatten)]
    Common(Command),
}

impl Commands for ServiceCommand {
    fn common(&self) -> Option<&Command> {
        match self {
            ServiceCommand::Common(command) => Some(command),
            ServiceCommand::Init(_) | ServiceCommand::Openapi => None,
        }
    }
}

/// Examples and exit codes.
pub const MANUAL: Manual = Manual {
    name: "ldap-service",
    table: TABLE,
    from_runner: &[],
    modules: Modules { source: include_str!("lib.rs"), moved: &[] },
    examples: &[
        example("ldap-service init", "a first configuration, by questions"),
        example(
            "ldap-service --config service.json --test",
            "a health report as JSON: does the directory answer",
        ),
        example(
            "ldap-service doctor --config service.json",
            "what works with this directory, and what to ask its administrator for",
        ),
        example(
            "ldap-service --config service.json",
            "serve until a signal; SIGHUP reads the configuration again",
        ),
        example("ldap-service openapi", "the OpenAPI 3.1 document"),
    ],
    exit_codes: &[],
};

/// Runs the service and returns the exit code of the process.
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
    ])
}

async fn run(args: Args, stop: Stop) -> anyhow::Result<ExitCode> {
    let mut writer = SingerWriter::stdout();
    if args.common.about {
        writer.show(&ABOUT.render(args.common.format))?;
        return Ok(ExitCode::SUCCESS);
    }
    match &args.common.command {
        Some(ServiceCommand::Openapi) => {
            writer.show(&routes::openapi()?)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(ServiceCommand::Init(init)) => return crate::init::run(init, &args.common.config).await,
        Some(ServiceCommand::Common(_)) | None => {}
    }
    let sources = args.common.config.clone();
    let (config, values) = configuration(&sources)?;
    let is_doctor = matches!(args.common.command, Some(ServiceCommand::Common(Command::Doctor { .. })));
    if is_doctor || args.common.test.is_some() {
        can_start(&config, &values)?;
    }
    if let Some(ServiceCommand::Common(Command::Doctor { format })) = &args.common.command {
        let report = diagnosis(&config).await;
        writer.show_colored(&report.render(*format, MANUAL.name))?;
        return Ok(ExitCode::from(report.code));
    }
    if args.common.test.is_some() {
        return health(&config, &mut writer).await;
    }
    observe::start_service("ldap-service", &values)?;
    stop.handle();
    // The directory's connection belongs to the runtime that opened it, so that everything is in this one.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("service")
        .build()
        .context("the threads of the service")?;
    let served = runtime.spawn(serve(config, sources, stop.clone())).await;
    runtime.shutdown_background();
    served.context("the service ended unexpectedly")??;
    Ok(ExitCode::SUCCESS)
}

/// Returns the configuration of these sources, with its values. Warnings are logged.
fn configuration(
    sources: &[String],
) -> Result<(Config, serde_json::Map<String, serde_json::Value>), SettingsError> {
    let resolved = TABLE.resolve(sources, &variables())?;
    let mut warnings = resolved.warnings;
    let config = Config::from_settings(&resolved.values, &mut warnings);
    for warning in &warnings {
        warning.log();
    }
    Ok((config?, resolved.values))
}

/// Checks what the start reads beside the directory: files, the address, and the settings of metrics and traces.
fn can_start(
    config: &Config,
    values: &serde_json::Map<String, serde_json::Value>,
) -> Result<(), SettingsError> {
    observe::check(values)?;
    Service::check_files(config)?;
    config.tls.as_ref().map(Acceptor::new).transpose()?;
    // Any port: the service itself may have its own at the moment.
    std::net::TcpListener::bind((config.listen.ip(), 0))
        .map(drop)
        .map_err(|e| not_listening(config.listen, &e))
}

fn not_listening(address: std::net::SocketAddr, error: &std::io::Error) -> SettingsError {
    SettingsError::value(
        "listen",
        format!("{address}: {error}"),
        "an address of this machine and a free port",
    )
}

async fn serve(config: Config, sources: Vec<String>, stop: Stop) -> anyhow::Result<()> {
    let hangups = Hangups::catch().context("SIGHUP")?;
    let acceptor = config.tls.as_ref().map(Acceptor::new).transpose()?;
    let address = config.listen;
    let listener = TcpListener::bind(address).await.map_err(|e| not_listening(address, &e))?;
    let service = Service::new(config, None)?;
    check::log_when_open(&service);
    service.writer.recover_when_open(service.directory.opened());
    service.directory.first_attempt(FIRST_ATTEMPT).await;
    let app = App::new(service);
    let address = listener.local_addr().context("the address of the listener")?;
    let scheme = if acceptor.is_some() { "https" } else { "http" };
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "ldap-service serves {scheme}://{address}");
    let routes: Routes = Arc::new(ArcSwap::from_pointee(routes::router(&app.current().config, app.clone())));
    let reloading = tokio::spawn(reload(hangups, app.clone(), acceptor.clone(), routes.clone(), sources));
    let writes = app.current().writer.state();
    let end = server::serve(listener, app, acceptor, routes, stop).await;
    // A write whose caller has gone makes its undo file, too.
    if tokio::time::timeout_at(end, writes.idle()).await.is_err() {
        tracing::warn!(
            "writes in progress were not finished: the next start makes undo files of their journals"
        );
    }
    reloading.abort();
    tracing::info!("stopped");
    Ok(())
}

/// Reads the configuration again at each SIGHUP. A wrong one is logged, and the earlier one stays; so it does as long as the directory of the
/// new one cannot be opened. The health report says so.
async fn reload(
    mut hangups: Hangups,
    app: App,
    acceptor: Option<Acceptor>,
    routes: Routes,
    sources: Vec<String>,
) {
    hangups.next().await;
    loop {
        let generation = tokio::select! {
            generation = next_generation(&app, acceptor.as_ref(), &sources) => generation,
            // What was read may have changed since.
            () = hangups.next() => continue,
        };
        match generation {
            Ok(service) => {
                let table = routes::router(&service.config, app.clone());
                app.replace(service.clone());
                // Not before: a configuration that is refused must not take over what is owed, at its own directory.
                service.writer.recover_when_open(service.directory.opened());
                routes.store(Arc::new(table));
                app.note_reload(None);
                tracing::info!("the configuration was read again");
            }
            Err(error) => not_taken_over(&app, &error, "the earlier configuration stays"),
        }
        hangups.next().await;
    }
}

/// Logs why a configuration does not count, and keeps it for the health report.
fn not_taken_over(app: &App, error: &SettingsError, effect: &str) {
    let text = format!("{error}; {effect}");
    error.facts().error(&text);
    app.note_reload(Some(text));
}

/// Returns the generation of the configuration as it is now, with its directory open.
async fn next_generation(
    app: &App,
    acceptor: Option<&Acceptor>,
    sources: &[String],
) -> Result<Arc<Service>, SettingsError> {
    // A pipe has been read to its end, and would be waited for.
    for source in sources.iter().filter(|source| *source != "ENV") {
        if std::fs::metadata(source).is_ok_and(|found| !found.is_file()) {
            let reason = "not a regular file, which cannot be read again".to_owned();
            return Err(SettingsError::File { path: source.clone(), reason });
        }
    }
    let (config, _) = configuration(sources)?;
    let earlier = app.current();
    if config.listen != earlier.config.listen || config.tls.is_some() != earlier.config.tls.is_some() {
        let problem = "changed, and that needs a new start of the service";
        return Err(SettingsError::value("listen", problem, "the address from the start"));
    }
    if config.limits.connections != earlier.config.limits.connections {
        let text = "limits.connections is another one: that needs a new start of the service";
        Facts::of_setting("limits.connections").warn(text);
    }
    let tls = config.tls.clone();
    let service = Service::new(config, Some(&earlier))?;
    check::log_when_open(&service);
    // Requests go on with the earlier generation meanwhile.
    service.directory.first_attempt(RELOAD_TIME).await;
    if let Some(trouble) = service.directory.trouble()
        && earlier.directory.trouble().is_none()
    {
        let expected = "a directory that can be opened, as the earlier one";
        let error = SettingsError::value("server_url", trouble, expected);
        // An outage must not bring back what the new configuration takes away.
        not_taken_over(app, &error, "the earlier configuration stays until the directory can be opened");
        if service.directory.opened().await.is_none() {
            return Err(error);
        }
    }
    if let Some(fault) = check::worse(&service, &earlier).await {
        return Err(fault);
    }
    if let (Some(acceptor), Some(tls)) = (acceptor, &tls) {
        acceptor.reload(tls)?;
    }
    Ok(service)
}

/// SIGHUP, caught from the moment that this exists; before, it would end the process.
struct Hangups {
    #[cfg(unix)]
    signal: tokio::signal::unix::Signal,
}

impl Hangups {
    fn catch() -> std::io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            signal: tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?,
        })
    }

    /// Waits for the next one; for ever where there is no such signal.
    async fn next(&mut self) {
        #[cfg(unix)]
        if self.signal.recv().await.is_some() {
            return;
        }
        std::future::pending::<()>().await;
    }
}

/// `doctor`
async fn diagnosis(config: &Config) -> doctor::Report {
    let subject = Subject::Service {
        base: &config.users.base_dn,
        searched: &config.users.login_attributes,
        writes: config.write.is_some(),
    };
    doctor::examine_with(&config.directory, Access::Read, &subject, async |directory, report| {
        match check::from_outside(config, directory).await {
            // The base of the users and the bind are among the checks before.
            Ok(found) => {
                let is_new = |f: &&check::Finding| {
                    (f.name != "users.base_dn" || f.grade != Grade::Ok)
                        && f.name != check::bind_password::NAME
                };
                let own = found.iter().filter(is_new);
                report.steps.extend(own.map(check::Finding::step));
            }
            Err(e) => report.steps.push(Step::new("configuration", Grade::Unknown, e.to_string())),
        }
        if config.auth_enabled {
            let names = login::login_attributes(&config.users, directory.root_dse().vendor).join(", ");
            report.works.insert(0, format!("login and forward authentication, by {names}"));
        }
        report.works.push("search, and reading by SCIM and LDIF".to_owned());
    })
    .await
}

/// `--test`: opens the directory, compares the configuration with it, and prints a report.
async fn health(config: &Config, writer: &mut SingerWriter) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut checks = Vec::new();
    let attempt = async {
        let (steps, opened) = doctor::open(&config.directory, Access::Read).await;
        checks.extend(steps.iter().map(doctor::check_json));
        let directory = opened?;
        checks.push(doctor::root_check(&directory));
        let found = check::from_outside(config, &directory).await?;
        checks.extend(found.iter().map(check::Finding::to_json));
        found.iter().filter(|finding| finding.grade != Grade::Failed).for_each(check::Finding::log);
        if let Some(fault) = found.into_iter().find_map(check::Finding::failure) {
            return Err(fault.into());
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
