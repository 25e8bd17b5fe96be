//! What the service's own user may not see ([`ldap_directory::unseen`]): the errors, and results that count for some seconds.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ldap_directory::filter::Filter;
use ldap_directory::{Directory, DirectoryError};

pub(crate) use ldap_directory::unseen::{
    Hidden, Judgement, hidden, hidden_of_many, judge, undecided_below, unsearchable, unsearchable_among,
};

use crate::error::ApiError;

mod answers;

pub(crate) use answers::Unread;

/// The entries that are looked at.
const SAMPLE: u32 = 20;
/// How long a result counts.
const AGE: Duration = Duration::from_secs(10);
/// How long it counts that many entries were looked through, and none hides anything.
const AGE_OF_MANY: Duration = Duration::from_secs(300);
/// The entries that are looked through.
pub(crate) const MANY: u32 = 10_000;
/// The most results that are kept.
const MOST: usize = 1_000;

/// Returns the problem, for the setting `bind_dn`.
pub(crate) fn problem(hidden: &Hidden) -> String {
    format!("the service's user may not read `{}`, for example of `{}`", hidden.attribute, hidden.dn)
}

impl From<Hidden> for ApiError {
    fn from(hidden: Hidden) -> Self {
        let Hidden { dn, attribute } = hidden;
        tracing::error!(setting = "bind_dn", dn, attribute, "the service's user may not read `{attribute}`");
        let detail = format!(
            "bind_dn: the service's user may not read `{attribute}` of all entries, and the answer depends on it"
        );
        ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "misconfigured", detail)
    }
}

/// Returns an attribute of a filter, or of these, that the service's user may not search in entries below a base: the filter would find nobody.
///
/// # Errors
/// A search fails.
pub(crate) async fn unsearchable_below(
    directory: &Directory,
    base: &str,
    filter: &Filter,
    names: &[&str],
) -> Result<Option<Hidden>, DirectoryError> {
    ldap_directory::unseen::unsearchable_below(directory, base, filter, names, SAMPLE).await
}

/// Results that count for some seconds: rights seldom change, and every login depends on them.
#[derive(Debug, Default)]
pub(crate) struct Remembered(tokio::sync::Mutex<HashMap<String, (Instant, Option<Hidden>)>>);

impl Remembered {
    /// Returns a result, or finds it out. Those who ask meanwhile wait for the same.
    ///
    /// # Errors
    /// It cannot be found out.
    pub(crate) async fn get(
        &self,
        key: String,
        find_out: impl Future<Output = Result<Option<Hidden>, DirectoryError>>,
    ) -> Result<Option<Hidden>, DirectoryError> {
        self.get_within(AGE, key, find_out).await
    }

    /// The same about many entries: that nothing is hidden counts for longer.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub(crate) async fn get_of_many(
        &self,
        key: String,
        find_out: impl Future<Output = Result<Option<Hidden>, DirectoryError>>,
    ) -> Result<Option<Hidden>, DirectoryError> {
        self.get_within(AGE_OF_MANY, key, find_out).await
    }

    async fn get_within(
        &self,
        age: Duration,
        key: String,
        find_out: impl Future<Output = Result<Option<Hidden>, DirectoryError>>,
    ) -> Result<Option<Hidden>, DirectoryError> {
        let mut known = self.0.lock().await;
        if let Some((when, hidden)) = known.get(&key)
            && when.elapsed() < if hidden.is_some() { AGE } else { age }
        {
            return Ok(hidden.clone());
        }
        let found = find_out.await?;
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key, (Instant::now(), found.clone()));
        Ok(found)
    }
}
