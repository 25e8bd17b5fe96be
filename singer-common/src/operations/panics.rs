//! Whether anything in this process panicked: a run of which a part is missing must not pass for one that is whole.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

static HAPPENED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Whether a part of the run ended by a panic. No STATE may be printed any more, and the run fails.
pub fn happened() -> bool {
    HAPPENED.load(Ordering::Relaxed)
}

/// Runs what may panic over somebody else's data, and returns `None` where it did: that is one record's fault, not the run's.
pub fn caught<T>(run: impl FnOnce() -> T) -> Option<T> {
    let before = IS_CAUGHT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run)).ok();
    IS_CAUGHT.set(before);
    result
}

/// Notes a panic, and returns what can be said of it: words that are in the source, never such as hold data.
pub(crate) fn note(info: &PanicHookInfo<'_>) -> String {
    if !IS_CAUGHT.get() {
        HAPPENED.store(true, Ordering::Relaxed);
    }
    let place =
        info.location().map(|l| format!("{}:{}", l.file().rsplit('/').next().unwrap_or_default(), l.line()));
    let words = info.payload().downcast_ref::<&'static str>().map(|words| format!(": {words}"));
    format!("{}{}", place.unwrap_or_default(), words.unwrap_or_default())
}
