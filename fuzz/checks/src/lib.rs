//! What must hold of any input whatever, one function for each reader of the pair: not only that it does not panic, but that
//! what was read is what was written.
//!
//! `fuzz/fuzz_targets` has libFuzzer look for inputs of which it does not hold; `tests/corpus.rs` feeds the functions what
//! is kept in `fuzz/corpus` and `fuzz/regressions`, with a stable compiler.

// A check that does not hold panics: that is what a fuzzer and a test look for.
#![allow(clippy::missing_panics_doc)]

mod ber;
mod definition;
mod dn;
mod filter;
mod ldif;
mod lines;
mod printable;
mod template;

pub use ber::ber;
pub use definition::definition;
pub use dn::dn;
pub use filter::filter;
pub use ldif::ldif;
pub use lines::lines;
pub use printable::printable;
pub use template::template;

/// A check.
pub type Check = fn(&[u8]);

/// Every check, under the name of its fuzz target and of its folder in `corpus` and `regressions`.
pub const CHECKS: [(&str, Check); 8] = [
    ("ber", ber),
    ("definition", definition),
    ("dn", dn),
    ("filter", filter),
    ("ldif", ldif),
    ("lines", lines),
    ("printable", printable),
    ("template", template),
];

/// The input as text, where it is to be text.
fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}
