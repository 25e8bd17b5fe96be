//! Whether a whole read of a stream was complete.

use serde_json::Value;

use crate::config::TapConfig;
use crate::config::shrink::Shrink;
use crate::discovery::gaps::Gaps;

/// A reason why entries may be missing from a whole read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum IncompleteReason {
    /// Search result references to other servers were ignored: the entries there are missing.
    References(u64),
    /// Entries with DNs that are not UTF-8 were skipped: one of them may be any entry of the stream.
    Unreadable(u64),
    /// Entries that the directory holds were neither emitted nor excluded by a rule.
    Missing {
        /// How many.
        count: u64,
        /// The DN of one of them, if known.
        first: Option<String>,
    },
    /// The file says that it is not complete.
    File,
    /// The filter asks for something that the directory does not know, such as a misspelled attribute.
    Filter,
    /// The bound user may not search what the filter compares: the server returns such entries neither for it nor for its negation.
    HiddenFilter {
        /// The attribute.
        attribute: String,
        /// One of the entries.
        dn: String,
        /// The filter.
        filter: String,
    },
    /// The server refuses to list all DNs: entries below invisible parents would be missing.
    Unverified,
    /// Entries with invisible classes are in no stream: this stream may have had them.
    HiddenClasses,
    /// The members of some groups are not visible.
    HiddenMembers,
    /// Another account read the last time, which may see other entries.
    OtherAccount,
    /// Another server was read the last time, and whether this one is as far is not known.
    OtherServer {
        /// The server of the last time.
        before: String,
        /// This one.
        now: String,
    },
    /// Another server was read the last time, and this one does not have all of its changes.
    Behind {
        /// The server of the last time.
        before: String,
        /// This one.
        now: String,
    },
    /// The file is the answer to another search than that of the last run, or to one that leaves entries out.
    Part {
        /// The line that says so; 0 if the file does not say it.
        line: u64,
        /// The search.
        text: String,
    },
    /// The file does not have the members of all groups.
    Members {
        /// The line that says so.
        line: u64,
    },
    /// There was no record at all (`allow_empty_streams`).
    Empty,
    /// There were fewer records than `max_shrink` allows.
    Shrunk {
        /// The records of the last complete read.
        before: u64,
        /// The records of this one.
        now: u64,
    },
}

impl IncompleteReason {
    /// Returns the warning, without its consequence.
    pub(super) fn message(&self) -> String {
        match self {
            IncompleteReason::References(count) => {
                format!("{count} referral(s) to other servers were ignored (follow_referrals)")
            }
            IncompleteReason::Unreadable(count) => {
                format!("{count} entries whose names are not UTF-8 were left out")
            }
            IncompleteReason::Missing { count, first } => {
                let first = first.as_ref().map(|dn| format!(" (the first is `{dn}`)")).unwrap_or_default();
                format!("{count} entries that the directory holds were not read{first}")
            }
            IncompleteReason::File => "the file is not whole".to_owned(),
            IncompleteReason::Filter => "its filter asks for something that the directory does not know, so entries may be missing (allow_empty_streams: true takes it as it is)".to_owned(),
            IncompleteReason::HiddenFilter { attribute, dn, filter } => format!(
                "the bound user may not search `{attribute}`, for example of `{dn}`, so whether the stream's filter, {filter}, matches such entries is not known (let the user search it, or leave the entries out with exclude_base_dns)"
            ),
            IncompleteReason::Unverified => "the server refuses to list all names".to_owned(),
            IncompleteReason::HiddenClasses => {
                "the bound user may not see the objectClass of some entries, which may be of this stream".to_owned()
            }
            IncompleteReason::HiddenMembers => {
                "the bound user may not read the members of some groups".to_owned()
            }
            IncompleteReason::OtherAccount => {
                "another account than the last time has read it, which may see other entries (a further run by this account takes what it sees as all)".to_owned()
            }
            IncompleteReason::OtherServer { before, now } => format!(
                "it was read from {now}, the last time from {before}, and whether the one is as far as the other is not known (a further run from there takes what it has as all)"
            ),
            IncompleteReason::Behind { before, now } => format!(
                "it was read from {now}, which does not have all changes that {before} had the last time (it lags behind, or was restored: in that case begin with an empty state_dir and without the STATE)"
            ),
            IncompleteReason::Part { line: 0, .. } => {
                "the file does not say by which search it was made, and the last one did (a further run with such a file takes it as all)".to_owned()
            }
            IncompleteReason::Part { line, text } => format!(
                "line {line} of the file says that it is the answer to a search ({text}), which is not that of the last run: it is a part (a further run with the same search takes it as all)"
            ),
            IncompleteReason::Members { line } => {
                format!("line {line} of the file says that not all members are in it")
            }
            IncompleteReason::Empty => "no entry was found, which is no proof that all are gone (allow_empty_streams: true takes it as one)".to_owned(),
            IncompleteReason::Shrunk { before, now } => {
                format!("{now} records after {before} the last time, fewer than max_shrink allows")
            }
        }
    }
}

impl IncompleteReason {
    /// Returns the name of a reason that is the same for all streams of a run ([`Self::setting`]).
    pub(super) fn name(&self) -> &'static str {
        match self {
            IncompleteReason::OtherAccount => "account",
            IncompleteReason::OtherServer { .. } => "server",
            IncompleteReason::Behind { .. } => "behind",
            IncompleteReason::Part { .. } => "part",
            IncompleteReason::Members { .. } => "members",
            _ => "",
        }
    }

    /// Returns the line of the file that the reason is about.
    pub(super) fn line(&self) -> Option<u64> {
        match self {
            IncompleteReason::Part { line, .. } | IncompleteReason::Members { line } => {
                Some(*line).filter(|line| *line > 0)
            }
            _ => None,
        }
    }

    /// Returns the setting that the reason is about, if it is the same for all streams of a run.
    pub(super) fn setting(&self) -> Option<&'static str> {
        match self {
            IncompleteReason::OtherAccount => Some("bind_dn"),
            IncompleteReason::OtherServer { .. }
            | IncompleteReason::Behind { .. }
            | IncompleteReason::Part { .. }
            | IncompleteReason::Members { .. } => Some("server_url"),
            _ => None,
        }
    }
}

/// What is known about the completeness of a whole read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub(crate) struct Completeness {
    pub(super) reasons: Vec<IncompleteReason>,
    /// The number of records, if it was noted.
    pub(super) records: Option<u64>,
}

/// The settings about a read that is complete as far as can be known.
#[derive(Debug, Clone, Default)]
pub(crate) struct CompletenessRules {
    pub(super) allow_empty: bool,
    pub(super) activates: bool,
    max_shrink: Option<Shrink>,
    /// The records of the last complete read, if the bookmark has them.
    pub(super) last: Option<u64>,
    /// The number of keys in the index.
    indexed: Option<u64>,
}

/// The fewest records for which a bookmark keeps a count.
const MIN_COUNTED: u64 = 20;

/// The most FULL_TABLE streams with a bookmark only for their count: it is printed again after each stream.
pub(super) const MAX_COUNT_BOOKMARKS: usize = 500;

impl CompletenessRules {
    pub(crate) fn new(config: &TapConfig) -> Self {
        Self {
            allow_empty: config.allow_empty_streams,
            activates: config.activate_versions,
            max_shrink: config.max_shrink,
            last: None,
            indexed: None,
        }
    }

    /// Reads the count of the stream's bookmark, of any method.
    pub(crate) fn resume(&mut self, bookmark: Option<&Value>) {
        self.last = bookmark.and_then(|b| b.get("count")).and_then(Value::as_u64);
    }

    /// Notes the number of keys in the index.
    pub(crate) fn resume_index(&mut self, keys: u64) {
        self.indexed = Some(keys);
    }

    /// Returns the count for the next bookmark; `None` if it is not needed.
    pub(crate) fn count(&self) -> Option<u64> {
        self.last.filter(|last| self.max_shrink.is_some() || *last >= MIN_COUNTED)
    }

    /// Returns the count for a bookmark that has nothing else. `bookmarks`: the number of bookmarks in the STATE.
    pub(crate) fn count_alone(&self, bookmarks: usize) -> Option<u64> {
        self.count().filter(|_| self.max_shrink.is_some() || bookmarks < MAX_COUNT_BOOKMARKS)
    }

    /// Returns the last count, if a read returned less than half of it.
    pub(super) fn halved_from(&self, now: u64) -> Option<u64> {
        let half = Shrink::Percent(50.0);
        let before = self.last.or(self.indexed)?;
        (before >= MIN_COUNTED && half.is_exceeded(before, now) && self.max_shrink.is_none())
            .then_some(before)
    }
}

impl Completeness {
    /// Returns the completeness of a read with these gaps. Reads of entries use [`super::verify::verify`], which also
    /// compares the DNs.
    pub(crate) fn of(gaps: Gaps) -> Completeness {
        let mut completeness = Completeness { reasons: Vec::new(), records: None };
        if gaps.references > 0 {
            completeness.add(IncompleteReason::References(gaps.references));
        }
        if gaps.unreadable > 0 {
            completeness.add(IncompleteReason::Unreadable(gaps.unreadable));
        }
        completeness
    }

    /// Notes the number of records.
    pub(crate) fn records(&mut self, count: u64) {
        self.records = Some(count);
    }

    /// Applies the rules about the number of records.
    pub(super) fn apply(&mut self, rules: &CompletenessRules) {
        let Some(now) = self.records else { return };
        if now == 0 && !rules.allow_empty {
            self.add(IncompleteReason::Empty);
        }
        if let (Some(shrink), Some(before)) = (rules.max_shrink, rules.last)
            && shrink.is_exceeded(before, now)
        {
            self.add(IncompleteReason::Shrunk { before, now });
        }
    }

    /// Adds a reason why entries may be missing.
    pub(crate) fn add(&mut self, reason: IncompleteReason) {
        if !self.reasons.contains(&reason) {
            self.reasons.push(reason);
        }
    }

    /// Warns of entries that were not read, if nothing is concluded from the read.
    pub(crate) fn warn_of_missing(&self, stream: &str) {
        for reason in self.reasons.iter().filter(|reason| matches!(reason, IncompleteReason::Missing { .. }))
        {
            tracing::warn!(stream, "{stream}: {}", reason.message());
        }
    }

    /// Returns whether every entry that the directory holds was read, as far as was verified.
    pub(crate) fn has_read_all(&self) -> bool {
        !self.reasons.iter().any(|reason| {
            matches!(
                reason,
                IncompleteReason::Missing { .. }
                    | IncompleteReason::Unverified
                    | IncompleteReason::HiddenClasses
                    | IncompleteReason::HiddenFilter { .. }
            )
        })
    }

    /// Returns whether deletions may be concluded from the read.
    pub(crate) fn is_complete(&self) -> bool {
        self.reasons.is_empty()
    }
}
