//! Records that wait for others: for a parent, for children to go, for a name. What waits for long is said, and tried again.

use std::io::Write;
use std::time::{Duration, Instant};

use singer_common::observe;

use super::{Load, Work};
use crate::order::Kind;

/// A wait of so long is worth a warning, and another try: what it waits for may have happened unseen.
const LONG: Duration = Duration::from_secs(60);
/// How often waits are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// So many waits are said at one look.
const SAID: usize = 10;

/// When waits were looked at.
#[derive(Debug)]
pub(super) struct Waits {
    looked: Instant,
    is_shown: bool,
}

impl Default for Waits {
    fn default() -> Self {
        Self { looked: Instant::now(), is_shown: false }
    }
}

impl<W: Write> Load<'_, W> {
    /// A record has to wait.
    pub(super) fn parks(work: &mut Work) {
        let now = Instant::now();
        work.waits_since.get_or_insert(now);
        work.tried = Some(now);
    }

    /// Says which records wait for long, and for what, and tries them again.
    pub(super) fn look_at_waits(&mut self) {
        if self.waits.looked.elapsed() < LOOK {
            return;
        }
        self.waits.looked = Instant::now();
        let since = self.order.parked_items().filter_map(|(.., work)| work.waits_since).min();
        if observe::is_metering() && (since.is_some() || self.waits.is_shown) {
            observe::oldest_wait(since.map(|since| since.elapsed()).unwrap_or_default());
            self.waits.is_shown = since.is_some();
        }
        if since.is_none_or(|since| since.elapsed() < LONG) {
            return;
        }
        let mut due = Vec::new();
        let mut said = 0;
        for (id, kind, name, work) in self.order.parked_items() {
            let is_long = work.waits_since.is_some_and(|since| since.elapsed() >= LONG);
            if !is_long || work.tried.is_none_or(|tried| tried.elapsed() < LONG) {
                continue;
            }
            due.push(id);
            if work.is_wait_said || said >= SAID {
                continue;
            }
            said += 1;
            let Work { line, stream, about, .. } = work.as_ref();
            let dn = work.dn().unwrap_or_default();
            let what = match (kind, name) {
                (_, Some(_)) => {
                    let owner = self.applier.books().owner(&work.key);
                    let owner =
                        owner.map_or_else(|| "another entry".to_owned(), |o| format!("the entry of {o}"));
                    format!("for {owner} to leave the name `{dn}`")
                }
                (Kind::Delete, None) => format!("for the entries below `{dn}` to go"),
                (Kind::Upsert, None) => format!("for an entry above `{dn}`, or one that it names, to come"),
            };
            let behind = self.order.waiting_for(id);
            tracing::warn!(
                stream = &**stream,
                "line {line}, stream `{stream}`: {about} has waited for a minute {what}; {behind} record(s) wait for it, and STATE does"
            );
        }
        for id in due {
            self.order.change(id, |work| work.is_wait_said = true);
            self.order.try_parked(id);
        }
    }
}
