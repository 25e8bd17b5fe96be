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
}

impl Doubt {
    /// The warning for people, without what follows from it.
    fn message(&self) -> String {
        match self {
            Doubt::References(count) => {
                format!("{count} referral(s) to other servers were ignored (follow_referrals)")
            }
        }
    }
}

/// What is known about the completeness of a whole read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Completeness {
    doubts: Vec<Doubt>,
}

impl Completeness {
    /// Notes a reason why entries may be missing.
    pub(crate) fn doubt(&mut self, doubt: Doubt) {
        if !self.doubts.contains(&doubt) {
            self.doubts.push(doubt);
        }
    }

    /// Notes ignored continuation references, if there were any.
    pub(crate) fn references(&mut self, count: u64) {
        if count > 0 {
            self.doubt(Doubt::References(count));
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
        tracing::warn!(
            stream,
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
