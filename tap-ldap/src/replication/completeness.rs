//! Whether a whole read of a stream was complete: the one place that decides about ACTIVATE_VERSION, and about deletions
//! found by `track_deletions`.

use std::io::Write;

use super::StreamRun;
use crate::output::Output;

/// A reason why entries may be missing from a whole read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// Continuation references to other servers were ignored: the entries there are missing.
    References(u64),
    /// Entries that the directory holds were neither emitted nor left out by a rule.
    Books {
        /// How many.
        count: u64,
        /// The DN of one of them, where it is known.
        first: Option<String>,
    },
}

impl Doubt {
    /// The warning for people, without what follows from it.
    fn message(&self) -> String {
        match self {
            Doubt::References(count) => {
                format!("{count} referral(s) to other servers were ignored (follow_referrals)")
            }
            Doubt::Books { count, first } => {
                let first = first.as_ref().map(|dn| format!(" (the first is `{dn}`)")).unwrap_or_default();
                format!("{count} entries that the directory holds were not read{first}")
            }
        }
    }
}

/// What is known about the completeness of a whole read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) struct Completeness {
    doubts: Vec<Doubt>,
}

impl Completeness {
    /// The completeness of a read that left out so many continuation references. For reads of entries:
    /// [`super::verify::verify`], which looks at the books.
    pub(crate) fn of(references: u64) -> Completeness {
        let doubts = if references > 0 { vec![Doubt::References(references)] } else { Vec::new() };
        Completeness { doubts }
    }

    /// Notes a reason why entries may be missing.
    pub(crate) fn doubt(&mut self, doubt: Doubt) {
        if !self.doubts.contains(&doubt) {
            self.doubts.push(doubt);
        }
    }

    /// Warns of entries that were not read, where nothing is concluded from a read.
    pub(crate) fn warn_of_books(&self, stream: &str) {
        for doubt in self.doubts.iter().filter(|doubt| matches!(doubt, Doubt::Books { .. })) {
            tracing::warn!(stream, "{stream}: {}", doubt.message());
        }
    }

    /// Whether deletions may be concluded from the read.
    pub(crate) fn is_complete(&self) -> bool {
        self.doubts.is_empty()
    }
}

/// Ends a whole read. A complete one activates this version, if there is one; an incomplete one gets a warning.
/// Returns whether deletions may be concluded from it.
pub(crate) fn conclude<W: Write>(
    run: &StreamRun<'_>,
    version: Option<i64>,
    completeness: &Completeness,
    output: &mut Output<'_, W>,
) -> anyhow::Result<bool> {
    let stream = run.stream.stream.as_str();
    for doubt in &completeness.doubts {
        let differ = if let Doubt::Books { count, .. } = doubt { Some(*count) } else { None };
        tracing::warn!(
            stream,
            books_differ = differ,
            "{stream}: {}: the stream is not complete, so no ACTIVATE_VERSION is sent and nothing is deleted downstream",
            doubt.message()
        );
    }
    if !completeness.is_complete() {
        return Ok(false);
    }
    if let Some(version) = version {
        output.writer.activate_version(stream, version)?;
    }
    Ok(true)
}
