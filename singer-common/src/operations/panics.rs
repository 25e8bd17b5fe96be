//! Panics of this process: a run that lost a part must not succeed.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

static HAPPENED: AtomicBool = AtomicBool::new(false);

thread_local! {
    static IS_CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Whether a thread or task of the run panicked. No further STATE is emitted, and the run fails.
pub fn happened() -> bool {
    HAPPENED.load(Ordering::Relaxed)
}

/// Runs code that may panic on external data. Returns `None` after a panic, which then fails one record, not the run.
pub fn caught<T>(run: impl FnOnce() -> T) -> Option<T> {
    let before = IS_CAUGHT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run)).ok();
    IS_CAUGHT.set(before);
    result
}

/// Records a panic, and returns its description: text from the source code, never data.
pub(crate) fn note(info: &PanicHookInfo<'_>) -> String {
    if !IS_CAUGHT.get() {
        HAPPENED.store(true, Ordering::Relaxed);
    }
    let place =
        info.location().map(|l| format!("{}:{}", l.file().rsplit('/').next().unwrap_or_default(), l.line()));
    let words = info.payload().downcast_ref::<&'static str>().map(|words| format!(": {words}"));
    format!("{}{}", place.unwrap_or_default(), words.unwrap_or_default())
}
