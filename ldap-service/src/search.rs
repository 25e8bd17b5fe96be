//! Searches for programs (`POST /api/v1/ldap/users/search`): a question within the configured users, typed values, pages by cursors.
//!
//! - `question`: what a request asks, checked against the configuration; `names`: against the schema and the secrets.
//! - [`cursors`]: the searches that are open between two pages.
//! - `page`: reads one page of an answer.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::config::Config;
use crate::error::ApiError;

pub mod cursors;
mod names;
mod page;
mod question;

pub(crate) use names::check_filter;
pub use page::{Page, Warning};
pub use question::SearchBody;

use cursors::{Cursors, OpenSearch};
use question::Question;

/// Answers a search. `object` is the body of the request.
///
/// # Errors
/// 400 for what is wrong in the question, 410 for a cursor that is not valid any more, 422 for a limit of the directory, 503 without the
/// directory.
pub async fn run(
    cursors: &Cursors,
    config: &Config,
    caller: &str,
    object: Map<String, Value>,
) -> Result<Page, ApiError> {
    let body = SearchBody::of(object)?;
    let mut search = if let Some(cursor) = &body.cursor {
        let ticket = cursors.verify(cursor, caller)?;
        cursors.question(&ticket)?.check_same(&body)?;
        cursors.take(&ticket)?
    } else {
        let directory = cursors.directory().await?;
        let question = Question::new(&body, config, &directory)?;
        OpenSearch::begin(directory, Arc::new(question), caller).await?
    };
    let is_resumed = body.cursor.is_some();
    // Dropped with its connection if the request is cut off: its next cursor was never told.
    let (mut page, has_more) = search.read().await.map_err(|error| {
        let is_lost = is_resumed && (error.is_connection() || error.is_transient() || error.code().is_none());
        if is_lost { cursors::expired("the connection to the directory was lost") } else { error.into() }
    })?;
    if has_more {
        page.next_cursor = Some(cursors.keep(search));
    }
    Ok(page)
}
