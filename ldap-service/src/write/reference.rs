//! The undo files of a request, for the header of its answer: every answer to a write names them.

use std::cell::RefCell;

use super::{WriteError, WriteOutcome};

/// The header that names an undo file, relative to `write.undo_dir`. An answer has one for each change set.
pub const UNDO_FILE: &str = "undo-file";

tokio::task_local! {
    static UNDO_FILES: RefCell<Vec<String>>;
}

/// Runs a request, and returns the undo files that its writes made, in order.
pub async fn noting_undo_files<T>(request: impl Future<Output = T>) -> (T, Vec<String>) {
    UNDO_FILES
        .scope(RefCell::default(), async {
            let answer = request.await;
            (answer, UNDO_FILES.with(RefCell::take))
        })
        .await
}

/// Notes the undo file of a write, for the request at hand.
pub(super) fn note(result: Result<WriteOutcome, WriteError>) -> Result<WriteOutcome, WriteError> {
    let file = match &result {
        Ok(outcome) => &outcome.undo_file,
        Err(error) => &error.undo_file,
    };
    if let Some(file) = file {
        // Outside of a request there is nobody to tell.
        let _ = UNDO_FILES.try_with(|files| files.borrow_mut().push(file.clone()));
    }
    result
}
