//! The log, the progress display, metrics and traces.

mod logs;
mod metrics;
mod progress;
mod traces;
