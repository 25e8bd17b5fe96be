//! Monitoring of a run: Prometheus metrics, and traces over OTLP.
//!
//! Both are off by default; a disabled instrument costs one load of a [`OnceLock`].
//! Pages, operations and connections are counted, never single entries.
//! A failed export is one warning and never ends the run.
//!
//! - `instruments`: the [`Observer`](ldap_directory::observer::Observer) through which the LDAP library reports.
//! - `meter`: the metrics; `export` and `listen`: the file and HTTP; `traces`: spans.
//!
//! [`OnceLock`]: std::sync::OnceLock

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::operations::file;
use crate::operations::settings_error::{SettingsError, typed};

mod export;
mod instruments;
mod listen;
mod meter;
mod traces;

pub use instruments::RunObserver;
pub use meter::{
    Books, Change, RecordCounter, books, changes, labels, of_directory, oldest_wait, output_waited,
    queue_depth, records, rejected, retried,
};
pub use traces::{Batches, RequestSpan, StreamSpan, spawn};

/// The settings of metrics and traces.
#[derive(Debug, Clone, Default)]
struct Config {
    is_metering: bool,
    file: Option<PathBuf>,
    listen: Option<SocketAddr>,
    labels: BTreeMap<String, String>,
    otlp: Option<String>,
}

impl Config {
    fn from_settings(values: &Map<String, Value>) -> Result<Config, SettingsError> {
        #[derive(Deserialize)]
        struct Raw {
            metrics_file: Option<PathBuf>,
            metrics_listen: Option<String>,
            #[serde(default)]
            metrics_labels: Map<String, Value>,
            otlp_endpoint: Option<String>,
            enable_metrics: bool,
            enable_tracing: bool,
        }
        let raw: Raw = typed("(metrics and traces)", Value::Object(values.clone()))?;
        let listen = raw.metrics_listen.as_deref().map(listen::address).transpose()?;
        let mut labels = BTreeMap::new();
        for (name, value) in raw.metrics_labels {
            let setting = format!("metrics_labels.{name}");
            if !meter::is_label(&name) {
                let expected = "a name of letters, digits and _ that no metric has as a label of its own";
                return Err(SettingsError::value(setting, "not a label that can be given", expected));
            }
            let Value::String(value) = value else {
                return Err(SettingsError::value(setting, "not a text", "a text"));
            };
            labels.insert(name, value);
        }
        let otlp = raw.otlp_endpoint.as_deref().map(traces::endpoint).transpose()?;
        // node_exporter's textfile collector silently ignores other files.
        let is_read = |file: &&PathBuf| file.extension().is_some_and(|extension| extension == "prom");
        if let Some(file) = raw.metrics_file.as_ref().filter(|file| !is_read(file)) {
            let expected =
                "the path of a file that ends in .prom, in the folder that the textfile collector reads";
            return Err(SettingsError::value("metrics_file", format!("`{}`", file.display()), expected));
        }
        let wanted = raw.enable_metrics;
        if let Some(file) = raw.metrics_file.as_ref().filter(|_| wanted) {
            let folder = file::folder(file);
            if !folder.is_dir() {
                let problem = format!("the folder `{}` does not exist", folder.display());
                return Err(SettingsError::value("metrics_file", problem, "a file in an existing folder"));
            }
        }
        Ok(Config {
            is_metering: wanted,
            file: raw.metrics_file.filter(|_| wanted),
            listen: listen.filter(|_| wanted),
            labels,
            otlp: otlp.filter(|_| raw.enable_tracing),
        })
    }
}

/// Starts metrics and traces by the settings. `name` is the executable's. A second call in a process does nothing.
///
/// [`finish`] must be called at the end.
pub fn start(name: &'static str, values: &Map<String, Value>) -> Result<(), SettingsError> {
    let config = Config::from_settings(values)?;
    let is_metering = config.file.is_some() || config.listen.is_some();
    start_by(name, config, is_metering);
    Ok(())
}

/// Starts them for a service, which serves metrics itself: they are kept without `metrics_file` and `metrics_listen`, too.
///
/// [`finish`] must be called at the end.
///
/// # Errors
/// A setting is not valid.
pub fn start_service(name: &'static str, values: &Map<String, Value>) -> Result<(), SettingsError> {
    let config = Config::from_settings(values)?;
    let is_metering = config.is_metering;
    start_by(name, config, is_metering);
    Ok(())
}

fn start_by(name: &'static str, config: Config, is_metering: bool) {
    if is_metering {
        meter::start(name, &config.labels);
    }
    if config.file.is_some() || config.listen.is_some() {
        export::start(name, config.file, config.listen);
    }
    if let Some(endpoint) = &config.otlp {
        traces::start(name, endpoint);
    }
}

/// Whether metrics are enabled.
pub fn is_metering() -> bool {
    meter::meter().is_some()
}

/// Checks the settings only.
pub fn check(values: &Map<String, Value>) -> Result<(), SettingsError> {
    Config::from_settings(values).map(|_| ())
}

/// Ends the run: writes the outcome and sends pending spans, within a few seconds.
pub fn finish(code: ExitCode) {
    // `ExitCode` does not expose its number.
    let code = (0..=u8::MAX).find(|n| ExitCode::from(*n) == code).unwrap_or(u8::MAX);
    traces::finish(code);
    export::finish(code);
}

/// Seconds since 1970.
fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}
