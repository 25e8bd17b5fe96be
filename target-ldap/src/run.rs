//! What the command line asks for.

use std::io::{BufRead, BufReader};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde_json::json;
use singer_common::cli::{CommonArgs, block_on, class_in, report, variables};
use singer_common::directory::{Access, Directory, DirectoryError, ServerUrl};
use singer_common::error::Class;
use singer_common::logging;
use singer_common::settings::SettingsError;
use singer_common::signals::Stop;
use singer_common::writer::{SingerWriter, WriteError};

use crate::config::TargetConfig;
use crate::load::Load;
use crate::settings::{ABOUT, TABLE};

/// Reads Singer messages and makes an LDAP directory, or an LDIF file, match them.
#[derive(Debug, Parser)]
#[command(name = "target-ldap", version, about, after_help = AFTER_HELP)]
pub struct Args {
    /// Flags both executables have
    #[command(flatten)]
    pub common: CommonArgs,
    /// Read messages from a file instead of stdin
    #[arg(long, value_name = "PATH")]
    pub input: Option<String>,
}

const AFTER_HELP: &str = "\
Examples:
  tap-csv --config csv.json | target-ldap --config target.json > state.json
  tap-ldap --config a.json | target-ldap --config b.json     (mirrors one directory into another)
  target-ldap --config target.json --input records.singer
  target-ldap --config target.json --test

Exit codes: 0 done; 1 failed while running; 2 usage or configuration; 3 could not connect or bind;
130/143 stopped by a signal. `target-ldap --about` lists all settings.";

/// Runs the target and gives the process's exit code.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(e) => {
            // --help and --version are answers, anything else is a usage error; clap prints both.
            let _ = e.print();
            return ExitCode::from(u8::from(e.use_stderr()) * Class::Config.exit_code());
        }
    };
    logging::init("target-ldap", args.common.log_level, args.common.log_format);
    block_on(async {
        // A signal counts from the first moment: a server that does not answer must not hold the process up.
        let mut stop = Stop::listen();
        let result = tokio::select! {
            biased;
            result = run(&args, stop.clone()) => result,
            signal = stop.wait_unless_handled() => return ExitCode::from(signal.exit_code()),
        };
        result.unwrap_or_else(|e| {
            let class = class_in::<SettingsError>(e.chain())
                .or_else(|| class_in::<DirectoryError>(e.chain()))
                .or_else(|| class_in::<WriteError>(e.chain()))
                .unwrap_or(Class::Run);
            report(e.as_ref(), class)
        })
    })
}

async fn run(args: &Args, stop: Stop) -> anyhow::Result<ExitCode> {
    let mut writer = SingerWriter::stdout();
    if args.common.about {
        writer.line(&ABOUT.render(args.common.format))?;
        return Ok(ExitCode::SUCCESS);
    }
    let resolved = TABLE.resolve(&args.common.config, &variables())?;
    let mut warnings = resolved.warnings;
    let config = TargetConfig::from_settings(&resolved.values, &mut warnings);
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let config = config?;
    if args.common.test.is_some() {
        return health(&config, &mut writer).await;
    }
    let input: Box<dyn BufRead + Send> = match &args.input {
        Some(path) => Box::new(BufReader::new(std::fs::File::open(path).map_err(|e| {
            SettingsError::value("--input", format!("{path}: {e}"), "a file of Singer messages")
        })?)),
        None => Box::new(BufReader::with_capacity(64 * 1024, std::io::stdin())),
    };
    let directory = Directory::open(&config.directory, Access::Write(config.ldif_format)).await?;
    // From here on a signal is taken up between records.
    stop.handle();
    let stopped = Load::new(&config, directory.clone(), &mut writer, stop).run(input).await?;
    directory.close().await;
    Ok(stopped.map_or(ExitCode::SUCCESS, |signal| ExitCode::from(signal.exit_code())))
}

async fn health(config: &TargetConfig, writer: &mut SingerWriter) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let mut checks = Vec::new();
    let attempt = async {
        let directory = Directory::open(&config.directory, Access::Write(config.ldif_format)).await?;
        checks.push(json!({"name": "connect", "ok": true}));
        checks.push(json!({"name": "bind", "ok": true}));
        if let Some(base) = config.default_base_dn.as_deref().or(directory.root_dse().default_base()) {
            // A base that is not there yet will be created.
            let there = directory.read(base, &["1.1"]).await?.is_some();
            checks.push(json!({"name": "base", "ok": true, "detail": format!("`{base}` {}", if there { "is there" } else { "is not there yet" })}));
        }
        let about = (directory.location().to_owned(), directory.root_dse().vendor.name());
        directory.close().await;
        Ok::<_, DirectoryError>(about)
    };
    let result = attempt.await;
    let response_time_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    match result {
        Ok((server, vendor)) => {
            writer.line(
                &json!({"status": "healthy", "response_time_ms": response_time_ms, "server": server, "vendor": vendor, "checks": checks})
                    .to_string(),
            )?;
            Ok(ExitCode::SUCCESS)
        }
        Err(e) => {
            let server = config.directory.servers.first().map(ServerUrl::to_text);
            writer.line(
                &json!({"status": "unhealthy", "error": e.to_string(), "response_time_ms": response_time_ms, "server": server, "checks": checks})
                    .to_string(),
            )?;
            Ok(ExitCode::from(singer_common::error::Classified::class(&e).exit_code()))
        }
    }
}
