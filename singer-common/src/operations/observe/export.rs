//! Export of metrics: a file for node_exporter's textfile collector, and HTTP.
//! A separate thread does both, so that neither a slow disk nor a slow scraper delays the run.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus::core::Collector as _;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::listen;
use super::meter::{Meter, meter};
use crate::operations::file;

/// The interval between two writes of the file during the run.
const WRITE_INTERVAL: Duration = Duration::from_secs(15);
/// The interval between two signs of life of the run.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The time without a sign of life after which the run is reported as stuck.
const STUCK: Duration = Duration::from_secs(60);
/// The longest wait for the last write at the end of a run, if the disk does not respond.
const LAST_WRITE: Duration = Duration::from_secs(5);

static EXPORT: OnceLock<Export> = OnceLock::new();

#[derive(Debug)]
struct Export {
    file: Option<PathBuf>,
    thread: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
    started: Instant,
    /// The last sign of life of the run: milliseconds since its start.
    alive: AtomicU64,
    name: &'static str,
}

/// Starts to export. Must be called in the run's own runtime.
pub(super) fn start(name: &'static str, file: Option<PathBuf>, listen: Option<SocketAddr>) {
    let Some(meter) = meter() else { return };
    if let Some(earlier) = file.as_ref().and_then(|path| std::fs::read_to_string(path).ok()) {
        meter.continue_from(&earlier);
    }
    let export =
        Export { file, thread: Mutex::default(), started: Instant::now(), alive: AtomicU64::new(0), name };
    if EXPORT.set(export).is_err() {
        return;
    }
    let Some(export) = EXPORT.get() else { return };
    tokio::spawn(async move {
        loop {
            let now = u64::try_from(export.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            export.alive.store(now, Ordering::Relaxed);
            tokio::time::sleep(HEARTBEAT).await;
        }
    });
    let (stop, stopped) = oneshot::channel();
    let spawned =
        std::thread::Builder::new().name("metrics".to_owned()).spawn(move || serve(export, listen, stopped));
    match spawned {
        Ok(thread) => {
            *export.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some((stop, thread));
        }
        Err(e) => tracing::warn!("metrics are not exported: {e}"),
    }
}

fn serve(export: &'static Export, listen: Option<SocketAddr>, stopped: oneshot::Receiver<()>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return tracing::warn!("metrics are not exported: {e}"),
    };
    runtime.block_on(async {
        let written = async {
            let Some(path) = &export.file else { return std::future::pending().await };
            let mut has_warned = false;
            let mut tick = tokio::time::interval(WRITE_INTERVAL);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                if let Err(e) = write(path) {
                    if !std::mem::replace(&mut has_warned, true) {
                        warn_of_write(path, &e);
                    }
                } else {
                    has_warned = false;
                }
            }
        };
        let listening = async {
            match listen {
                Some(address) => listen::serve(address).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = stopped => {}
            () = written => {}
            () = listening => {}
        }
    });
}

fn write(path: &Path) -> std::io::Result<()> {
    let Some(meter) = meter() else { return Ok(()) };
    let is_new = !path.exists();
    file::replace(path, |out| out.write_all(meter.text().as_bytes()))?;
    // The collector runs as another user, and the file contains no secrets.
    #[cfg(unix)]
    if is_new {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

fn warn_of_write(path: &Path, error: &std::io::Error) {
    tracing::warn!(
        setting = "metrics_file",
        "metrics_file {}: {error}; the run goes on, and what watches it sees old metrics. Let this user write to that folder, or set another file",
        path.display()
    );
}

/// Writes the outcome of the run.
pub(super) fn finish(code: u8) {
    let (Some(meter), Some(export)) = (meter(), EXPORT.get()) else { return };
    meter.ended(code);
    let thread = export.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((stop, thread)) = thread {
        let _ = stop.send(());
        // A write in progress continues to its end: its content is older.
        let deadline = Instant::now() + LAST_WRITE;
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    if let Some(path) = &export.file {
        let (done, written) = std::sync::mpsc::channel();
        let path = path.clone();
        // A disk that does not respond must not delay the end of the process.
        std::thread::spawn(move || {
            if let Err(e) = write(&path) {
                warn_of_write(&path, &e);
            }
            let _ = done.send(());
        });
        let _ = written.recv_timeout(LAST_WRITE);
    }
}

/// Returns the content of `/health`: whether the run is healthy, and the report.
pub(super) fn health() -> (bool, Value) {
    let (Some(meter), Some(export)) = (meter(), EXPORT.get()) else {
        return (false, json!({"status": "unhealthy", "error": "nothing is running"}));
    };
    let up = export.started.elapsed();
    let silent = up.saturating_sub(Duration::from_millis(export.alive.load(Ordering::Relaxed)));
    let connections = sum(&meter.active_connections.collect());
    let trouble = trouble(meter, connections, silent);
    let mut report = json!({
        "status": if trouble.is_none() { "healthy" } else { "unhealthy" },
        "name": export.name,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": up.as_secs(),
        "connections": connections,
        "records": sum(&meter.records.collect()),
        "oldest_wait_seconds": meter.oldest_wait.get(),
    });
    if let (Some(trouble), Some(report)) = (&trouble, report.as_object_mut()) {
        report.insert("error".to_owned(), trouble.as_str().into());
    }
    (trouble.is_none(), report)
}

fn trouble(meter: &Meter, connections: u64, silent: Duration) -> Option<String> {
    if silent > STUCK {
        return Some(format!("the run has shown no sign of life for {} s", silent.as_secs()));
    }
    if connections > 0 {
        return None;
    }
    if meter.connections.get() > 0 {
        return Some("no connection to the server is open any more".to_owned());
    }
    let failed = sum(&meter.errors.collect());
    (failed > 0).then(|| format!("not connected: {failed} attempt(s) failed"))
}

/// Returns the sum of counters or gauges.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "they count what there is")]
fn sum(families: &[prometheus::proto::MetricFamily]) -> u64 {
    let metrics = families.iter().flat_map(prometheus::proto::MetricFamily::get_metric);
    metrics.map(|m| m.get_counter().get_value() + m.get_gauge().get_value()).sum::<f64>() as u64
}
