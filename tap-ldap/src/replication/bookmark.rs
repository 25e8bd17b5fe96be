//! Reading bookmarks, and why one cannot be used.

use std::io::Write;

use serde::de::DeserializeOwned;
use serde_json::Value;
use singer_common::singer::state::StateError;

use crate::output::Output;

/// Reads the bookmark of a stream, if it has one of this method. `mark` is a property that only bookmarks of the method have.
pub(crate) fn bookmark<T: DeserializeOwned, W: Write>(
    output: &Output<'_, W>,
    stream: &str,
    mark: &str,
) -> Result<Option<T>, StateError> {
    let damaged = |problem: String| StateError::Bookmark { stream: stream.to_owned(), problem };
    match output.state.bookmarks.get(stream) {
        None | Some(Value::Null) => Ok(None),
        Some(value @ Value::Object(object)) => {
            if let Some(format) = object.get("format").and_then(Value::as_u64).filter(|f| *f > FORMAT) {
                return Err(damaged(format!("is of format {format}, which a newer version wrote")));
            }
            if !object.contains_key(mark) {
                return Ok(None);
            }
            serde_json::from_value(value.clone()).map(Some).map_err(|e| damaged(format!("is damaged ({e})")))
        }
        Some(_) => Err(damaged("is not an object".into())),
    }
}

/// Reads the bookmark of a stream as [`bookmark`] does, and warns of one that is not of this method: the stream is read whole.
pub(crate) fn own_bookmark<T: DeserializeOwned, W: Write>(
    output: &Output<'_, W>,
    stream: &str,
    mark: &str,
) -> Result<Option<T>, StateError> {
    let found = bookmark(output, stream, mark)?;
    let has_other =
        || output.state.bookmarks.get(stream).and_then(Value::as_object).is_some_and(|b| !b.is_empty());
    if found.is_none() && has_other() {
        announce_resync(
            stream,
            &format!("the bookmark is not one of this replication method: it has no `{mark}`"),
        );
    }
    Ok(found)
}

/// The format of the bookmarks that this version writes. Bookmarks of other taps, or written by hand, have none.
pub(crate) const FORMAT: u64 = 1;

/// A reason why a bookmark cannot be used: it is of another source.
pub(crate) const OTHER_SOURCE: &str =
    "the server, base, scope, filter, key or attributes are not those of the bookmark";
/// A reason why a bookmark cannot be used: the index is not of the same time.
pub(crate) const OTHER_INDEX: &str =
    "the index of keys (state_dir) does not go back to the bookmark: what was deleted meanwhile nobody knows";

/// A reason why a bookmark cannot be used: a full read did not end.
pub(crate) const INDEX_INCOMPLETE: &str = "the last run began to read everything and did not end: the index of keys (state_dir) does not hold what it printed";

/// Warns that everything is read again, so that there is no silent gap.
pub(crate) fn announce_resync(stream: &str, why: &str) {
    tracing::warn!(stream, "{stream}: full resync with a new version: {why}");
}
