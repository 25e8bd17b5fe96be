//! What the command line asks for.

use std::io::{BufRead, BufReader};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use serde_json::json;
use singer_common::cli::{self, CommonArgs, class_in, variables};
use singer_common::directory::{Access, Directory, DirectoryError, ServerUrl};
use singer_common::error::{Class, Classified as _};
use singer_common::settings::SettingsError;
use singer_common::signals::Stop;
use singer_common::writer::{SingerWriter, WriteError};

use crate::config::{OnError, TargetConfig};
use crate::load::{Ending, Load};
use crate::rejects::RejectFile;
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
    /// The input is a reject file (setting reject_file): its records are tried again
    #[arg(long)]
    pub retry_rejects: bool,
}

const AFTER_HELP: &str = "\
Examples:
  tap-csv --config csv.json | target-ldap --config target.json > state.json
  tap-ldap --config a.json | target-ldap --config b.json     (mirrors one directory into another)
  target-ldap --config target.json --input records.singer
  target-ldap --config target.json --input rejects.jsonl --retry-rejects
  target-ldap --config target.json --test

Exit codes: 0 done; 1 failed while running; 2 usage or configuration; 3 could not connect or bind;
4 done, but records were rejected (on_error: skip); 130/143 stopped by a signal. `target-ldap --about` lists all settings.";

/// All done, but some records were rejected.
const REJECTED: u8 = 4;

/// Runs the target and gives the process's exit code.
pub fn main() -> ExitCode {
    cli::run(
        "target-ldap",
        |args: &Args| &args.common,
        run,
        |e: anyhow::Error| cli::report(e.as_ref(), class(&e)),
    )
}

fn class(error: &anyhow::Error) -> Class {
    class_in::<SettingsError>(error.chain())
        .or_else(|| class_in::<DirectoryError>(error.chain()))
        .or_else(|| class_in::<WriteError>(error.chain()))
        .unwrap_or(Class::Run)
}

async fn run(args: Args, stop: Stop) -> anyhow::Result<ExitCode> {
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
    let rejects = match &config.on_error {
        OnError::Skip { file, .. } => {
            let rejects = RejectFile::open(file)?;
            if args.input.as_ref().is_some_and(|input| rejects.is_same_as(input.as_ref())) {
                let problem = "the same file as --input, which would be read while it grows";
                return Err(SettingsError::value("reject_file", problem, "another file").into());
            }
            Some(rejects)
        }
        OnError::Fail => None,
    };
    let directory = Directory::open(&config.directory, Access::Write(config.ldif_format)).await?;
    // From here on a signal is taken up between records.
    stop.handle();
    let load = Load::new(&config, directory.clone(), &mut writer, stop, rejects, args.retry_rejects);
    let ending = load.run(input).await?;
    directory.close().await;
    Ok(match ending {
        Ending { stopped: Some(signal), .. } => ExitCode::from(signal.exit_code()),
        Ending { rejected: 0, .. } => ExitCode::SUCCESS,
        Ending { .. } => ExitCode::from(REJECTED),
    })
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
    let code = result.as_ref().map_or_else(|e| e.class().exit_code(), |_| 0);
    let server = config.directory.servers.first().map(ServerUrl::to_text);
    let outcome = result.map_err(|e| e.to_string());
    writer.line(&cli::health_report(&outcome, server.as_deref(), started.elapsed(), &checks))?;
    Ok(ExitCode::from(code))
}
