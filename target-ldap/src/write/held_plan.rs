//! `plan_file`: the plan of a run that was held back, for `target-ldap apply`.
//!
//! It is LDIF (RFC 2849) with comments, in the frames of an [undo file](super::undo::journal): `# change NUMBER SEAL LENGTH NOTE`,
//! then LENGTH octets of LDIF. The note says what the plan saw of the entry, as far as the change depends on it, and what the change
//! leaves. SEAL covers the run, the note and the LDIF: a frame that was edited, or comes from another plan, is found out. Whole
//! frames may be taken out. The last line has the number of frames that were written, and a seal of the first line: a plan that was cut
//! has none.
//!
//! [`recorder`] writes it while a run is rehearsed, [`reader`] checks it, [`carrier`] makes its changes. [`history`] has the runs that were
//! carried out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use history::RuleMark;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::limits::LimitKind;
use crate::write::change_label::ChangeLabel;
use crate::write::guard::{LimitUse, StreamTally};
use crate::write::undo::change_note::ChangeNote;

pub mod carrier;
pub mod history;
mod name_index;
mod names;
pub mod reader;
pub mod recorder;
mod unique;

/// The version of the format. Plans of a later one are refused.
const VERSION: u32 = 1;
const PLAN: &str = "# target-ldap plan ";

/// The first line of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanHead {
    version: u32,
    /// The ID of the run that was held back.
    pub run: String,
    /// When the plan was made: RFC 3339, by this machine's clock.
    pub made: String,
    /// The directory.
    pub server: String,
    /// Its naming contexts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contexts: Vec<String>,
    /// How much of the limits the run would have used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<PlannedUse>,
    /// The changes by stream.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub streams: BTreeMap<String, PlannedCounts>,
    /// Where the rules of the streams of the input found their entries.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<String, RuleMark>,
    /// The last run in the history when the plan was made; empty: there was none. Absent in plans of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<String>,
    /// Accounts that should be disabled, and are enabled, for a run before was killed: their locks could not be written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub still_enabled: Vec<String>,
}

/// How much of a limit a run would have used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedUse {
    /// The setting.
    pub setting: String,
    /// What it counts.
    pub kind: LimitKind,
    /// The stream whose changes it counts; absent: those of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    /// The number.
    pub used: u64,
    /// The most that is allowed; absent: no limit is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<u64>,
    /// The same as text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub limit: String,
}

impl PlannedUse {
    fn of(used: &LimitUse) -> PlannedUse {
        PlannedUse {
            setting: used.setting.to_string(),
            kind: used.kind,
            stream: used.stream.as_deref().map(str::to_owned),
            used: used.used,
            allowed: used.allowed.as_ref().map(|(most, _)| *most),
            limit: used.allowed_text().to_owned(),
        }
    }

    /// Returns the use for a plan that is shown.
    pub fn to_use(&self) -> LimitUse {
        LimitUse {
            setting: self.setting.clone().into(),
            kind: self.kind,
            stream: self.stream.as_deref().map(Arc::from),
            used: self.used,
            allowed: self.allowed.map(|most| (most, self.limit.clone())),
        }
    }

    /// Whether the run was held back by it.
    pub fn is_exceeded(&self) -> bool {
        self.to_use().is_exceeded()
    }
}

/// The changes of a stream, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it")]
pub struct PlannedCounts {
    pub add: u64,
    pub modify: u64,
    pub rename: u64,
    pub delete: u64,
}

impl From<&StreamTally> for PlannedCounts {
    fn from(tally: &StreamTally) -> Self {
        let StreamTally { add, modify, rename, delete, .. } = *tally;
        PlannedCounts { add, modify, rename, delete }
    }
}

/// The note of a frame.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlannedNote {
    /// What the change depends on, and what it leaves.
    #[serde(flatten)]
    pub note: ChangeNote,
    /// What only a plan has.
    pub plan: PlanPart,
}

/// What the note of a plan has beside that of an undo file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanPart {
    /// The record that the change is made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<PlannedRecord>,
    /// Secret attributes, which are not in the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Whether the whole change is left to a later run: it cannot do without its secrets.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_left: bool,
    /// Whether a later run does not set the secrets: the rule forbids it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_lost: bool,
    /// The attributes whose values were chosen because no other entry had them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unique: Vec<PlannedUnique>,
}

/// An attribute whose value no other entry may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedUnique {
    /// The attribute.
    pub attribute: String,
    /// The entry below which it was looked for; absent: the naming context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The entry that counts the numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<String>,
}

/// The record of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in `ChangeLabel`")]
pub struct PlannedRecord {
    pub number: u64,
    pub stream: String,
    pub line: u64,
    pub record: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_leaving: bool,
}

impl From<&ChangeLabel> for PlannedRecord {
    fn from(label: &ChangeLabel) -> Self {
        let ChangeLabel { number, stream, line, record, is_leaving } = label;
        PlannedRecord {
            number: *number,
            stream: stream.to_string(),
            line: *line,
            record: record.to_string(),
            is_leaving: *is_leaving,
        }
    }
}

impl PlannedRecord {
    /// Returns the label of the change.
    pub fn to_label(&self) -> ChangeLabel {
        ChangeLabel {
            number: self.number,
            stream: self.stream.as_str().into(),
            line: self.line,
            record: self.record.as_str().into(),
            is_leaving: self.is_leaving,
        }
    }
}

/// Returns a checksum of texts. It finds out edits, not forgeries: who can write the plan can also make one.
fn seal(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut hex = String::with_capacity(32);
    for octet in hash.finalize().iter().take(16) {
        let _ = write!(hex, "{octet:02x}");
    }
    hex
}
