//! `first_run`: the first run with a `plan_file`, or with another scope, may delete nothing and change little.

use std::borrow::Cow;
use std::sync::Arc;

use ldap_directory::Directory;

use super::streams::in_scope;
use super::{LimitUse, StreamTally, Tally, are_made_anew};
use crate::config::TargetConfig;
use crate::config::held::FIRST_RUN;
use crate::config::limits::LimitKind;
use crate::write::held_plan::history::{History, RuleMark, place};

/// The share of what is in scope that a first run may change.
const SHARE: u64 = 10;

/// Returns the limits of the streams for which no run was carried out yet with the same rule, and how much of them a rehearsal used.
///
/// # Errors
/// The entries in scope could not be counted.
pub async fn used_by_first_runs(
    config: &TargetConfig,
    history: &History,
    tally: &Tally,
    directory: &Directory,
) -> anyhow::Result<Vec<LimitUse>> {
    let place = place(directory).await?;
    let mut all = Vec::new();
    for (stream, tallied) in tally.by_stream() {
        let mark = RuleMark::of(config, &stream, &place);
        let why = match history.streams.get(&*stream) {
            Some(earlier) => {
                if let Some(difference) = mark.difference(earlier) {
                    difference
                } else {
                    all.extend(made_anew(&stream, &tallied));
                    continue;
                }
            }
            None if history.runs.is_empty() => "no run was carried out or applied yet".to_owned(),
            None => "no run with this stream was carried out or applied yet".to_owned(),
        };
        let changed = tallied.modify + tallied.rename + tallied.delete;
        if changed == 0 {
            continue;
        }
        let entries = in_scope(config, &stream, FIRST_RUN, directory).await?;
        let most = entries / SHARE;
        let share = format!("{most} (a tenth of {entries} entries: {why})");
        for (kind, used, allowed) in [
            (LimitKind::Delete, tallied.delete, (0, format!("0 ({why})"))),
            (LimitKind::Change, changed, (most, share)),
        ] {
            let (setting, stream) = (Cow::Borrowed(FIRST_RUN), Some(stream.clone()));
            all.push(LimitUse { setting, kind, stream, used, allowed: Some(allowed) });
        }
    }
    Ok(all)
}

/// Returns the limit that a run exceeds which deletes entries to make them anew: what it finds them by is not what it was.
fn made_anew(stream: &Arc<str>, tallied: &StreamTally) -> Option<LimitUse> {
    let StreamTally { anew, delete, .. } = *tallied;
    are_made_anew(anew, delete).then(|| {
        let why = format!("0 ({anew} of {delete} deleted entries are made anew under the same DN: has the form of what `match` compares changed?)");
        let (setting, stream) = (Cow::Borrowed(FIRST_RUN), Some(stream.clone()));
        LimitUse { setting, kind: LimitKind::Delete, stream, used: anew, allowed: Some((0, why)) }
    })
}
