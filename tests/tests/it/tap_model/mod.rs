//! The tap against a slow and obvious reference of what it must do (`reference.rs`), with random inputs: LDIF files that
//! are no complete trees of whole entries (`ldif_files.rs`), servers that hide some of what they hold (`hidden_entries.rs`), and
//! units renamed with more entries below than the reader may get at once (`renamed_units.rs`).
//!
//! Each case has a seed, which a failure prints: `MODEL_SEED=n TAP_MODEL_CASES=1` has it again. Without the variables
//! a small number of cases is tried, always the same; `TAP_MODEL_CASES=1000 MODEL_SEED=random` looks for new faults.

#![allow(
    clippy::explicit_auto_deref,
    reason = "what the lint would have is inferred as `str`, which has no size"
)]

mod cases;
mod dn_spelling;
mod hidden_entries;
mod ldif_files;
mod ldif_spelling;
mod output;
mod random_entries;
mod reference;
mod renamed_units;
