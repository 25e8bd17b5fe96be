//! What a plan shows beside the changes.

use ldap_directory::DirectoryError;

use super::{Destination, unwritable};
use crate::write::counts::{Counts, RecordOutcome};
use crate::write::plan_output::RefusedRecord;

impl Destination {
    /// Shows in the plan that a record would be refused.
    pub fn show_refused(&self, refused: &RefusedRecord<'_>) -> Result<(), DirectoryError> {
        self.plan.as_ref().map_or(Ok(()), |plan| plan.show_refused(refused)).map_err(unwritable)
    }

    /// Passes the outcome of a task, as it is counted, to the plan.
    pub fn show_outcome(&self, number: u64, outcome: RecordOutcome) {
        if let Some(plan) = &self.plan {
            plan.outcome(number, outcome);
        }
    }

    /// Passes the outcomes of a stream's records to the plan.
    pub fn show_counts(&self, stream: &str, counts: &Counts) {
        if let Some(plan) = &self.plan {
            plan.count(stream, counts);
        }
        // A stream without records has tried nothing.
        if let Some(recorder) = self.recorder.as_ref().filter(|_| counts.records + counts.by_version > 0) {
            recorder.stream(stream);
        }
    }
}
