//! Running many cases, and the report about failed ones.

use std::collections::BTreeMap;

use crate::support::rng::{Rng, seed};

/// How many cases, in place of each test's own number.
const CASES: &str = "TAP_MODEL_CASES";

/// What is wrong: a kind, so that like failures are told once, and the details.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) kind: &'static str,
    pub(super) detail: String,
}

/// A problem, where a condition does not hold.
pub(super) fn check(holds: bool, kind: &'static str, detail: impl FnOnce() -> String) -> Result<(), Problem> {
    if holds { Ok(()) } else { Err(Problem { kind, detail: detail() }) }
}

/// How many cases to try.
pub(super) fn count(own: usize) -> usize {
    std::env::var(CASES)
        .map_or(own, |text| text.parse().unwrap_or_else(|_| panic!("{CASES} is a number, not {text}")))
}

/// A failure, and how to find a smaller one of its kind.
pub(super) struct Failure {
    pub(super) problem: Problem,
    pub(super) shrink: Box<dyn FnOnce(Problem) -> Problem>,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        Failure { problem, shrink: Box::new(|problem| problem) }
    }
}

/// What failed of a kind: how often, and the first of them with its seed.
type Failed = BTreeMap<&'static str, (usize, u64, String)>;

#[allow(clippy::print_stdout, reason = "a failure can be repeated by it")]
/// Tries so many cases, each with a seed of its own; panics at the end with the first failure of each kind.
pub(super) fn run(own_seed: u64, cases: usize, mut case: impl FnMut(&mut Rng) -> Result<(), Failure>) {
    let first = seed(own_seed);
    println!("MODEL_SEED={first} {CASES}={cases} has these again");
    let mut failed = Failed::new();
    for n in 0..u64::try_from(cases).unwrap() {
        let seed = first.wrapping_add(n);
        if let Err(Failure { problem, shrink }) = case(&mut Rng::new(seed)) {
            let first_of_kind = || (0, seed, shrink(problem.clone()).detail);
            failed.entry(problem.kind).or_insert_with(first_of_kind).0 += 1;
        }
    }
    let told: Vec<String> = failed
        .into_iter()
        .map(|(kind, (times, seed, detail))| {
            format!("{kind} ({times} times; MODEL_SEED={seed} {CASES}=1 has it again)\n{detail}")
        })
        .collect();
    assert!(told.is_empty(), "{}", told.join("\n\n"));
}
