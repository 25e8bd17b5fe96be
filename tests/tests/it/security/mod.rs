//! Injection, and secrets in what a run leaves.

mod injection;
mod secrets;
