//! `--retry-rejects`: records that later runs have overtaken are passed over, and named.

use std::io::Write;
use std::sync::Arc;

use singer_common::operations::facts::Facts;

use super::Load;
use super::reject_history::{FromReject, Retry};
use super::stream::MappedRecord;
use crate::rules::names::hash;
use crate::write::counts::RecordOutcome;

/// The flag that writes them nevertheless.
const OUTDATED: &str = "--outdated";

impl<W: Write> Load<'_, W> {
    /// The same, with what a retry knows of its records.
    #[must_use]
    pub fn retrying(mut self, retry: Option<Arc<Retry>>) -> Self {
        self.rejects.retry = retry;
        self
    }

    /// Passes a record over that comes from a reject file, and that later runs have overtaken. Returns the others.
    pub(super) fn not_overtaken(&mut self, planned: MappedRecord) -> Option<MappedRecord> {
        let (Some(FromReject { mark, is_outdated }), Some(retry)) = (&planned.reject, &self.rejects.retry)
        else {
            return Some(planned);
        };
        let known = mark.as_ref().and_then(|mark| retry.histories.of(mark));
        let why = match known {
            Some(Some(by)) => format!("the run {} has had it again since, at {}", by.run, by.at),
            _ if *is_outdated => "a later run had had it again when it was rejected once more".to_owned(),
            Some(None) => return Some(planned),
            // Of an earlier version, or without its history.
            None => {
                let text = "whether a later run has had it again is not known: its reject file is of an earlier version, or its history (reject_file.history) is not beside it; it is written";
                Self::warn_of(&planned, text);
                return Some(planned);
            }
        };
        let name = &planned.stream.name;
        if retry.with_outdated {
            self.rejects.outdated.insert(hash(&(&**name, &*planned.about)));
            return Some(planned);
        }
        Self::warn_of(&planned, &format!("it is overtaken, and not written: {why}"));
        self.rejects.overtaken += 1;
        let counts = self.counters.by_stream.entry(name.clone()).or_default();
        counts.records += 1;
        counts.count(RecordOutcome::Ignored, None);
        None
    }

    fn warn_of(planned: &MappedRecord, text: &str) {
        let (name, about) = (&planned.stream.name, &planned.about);
        let facts = Facts {
            line: Some(planned.line),
            stream: Some(name.to_string()),
            record: Some(about.clone()),
            ..Facts::of_setting(OUTDATED)
        };
        facts.warn(&format!("line {}, stream `{name}`, {about}: {text} ({OUTDATED})", planned.line));
    }

    /// Notes that a record has come whose key may have been rejected before.
    pub(super) fn note_ended(&mut self, stream: &str, about: &str, number: u64) {
        if self.rejects.is_retry {
            return;
        }
        if let Some(file) = &mut self.rejects.file {
            file.history.ended(stream, about, number);
        }
    }
}
