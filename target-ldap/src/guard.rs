//! `max_deletes` and `max_changes`: a run that would do more does nothing.
//!
//! The input is kept in a temporary file and the run rehearsed first, on the directory as it would be. Only if it stays
//! within the limits is it carried out, from the file. So nothing is written before everything is known, and memory holds
//! what changes, not what is read. The files that BATCH messages name are not kept: they are read a second time where they
//! are.

use std::io::{BufRead, BufReader, Seek as _};
use std::sync::atomic::{AtomicU64, Ordering};

use ldap_directory::change::Change;
use ldap_directory::{Directory, DirectoryError, Scope, SearchRequest};
use serde_json::Value;
use singer_common::operations::error::{Class, Classified};
use singer_common::operations::facts::Facts;
use singer_common::plugin::settings::SettingsError;

/// The most of something that a run may do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// So many.
    Count(u64),
    /// So many in a hundred of the entries below the base.
    Percent(f64),
}

impl Limit {
    /// Reads a number, or a text such as `5%`.
    pub fn parse(setting: &str, value: &Value) -> Result<Limit, SettingsError> {
        let percent = |text: &str| {
            let number: f64 = text.trim().strip_suffix('%')?.trim_end().parse().ok()?;
            (0.0..=100.0).contains(&number).then_some(Limit::Percent(number))
        };
        let limit = match value {
            Value::Number(number) => number.as_u64().map(Limit::Count),
            Value::String(text) => percent(text).or_else(|| text.trim().parse().ok().map(Limit::Count)),
            _ => None,
        };
        limit.ok_or_else(|| {
            SettingsError::value(setting, format!("`{value}`"), "a whole number, or a text such as \"5%\"")
        })
    }

    /// The number it stands for, given how many entries there are.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count of entries, rounded down"
    )]
    fn of(self, entries: u64) -> u64 {
        match self {
            Limit::Count(count) => count,
            Limit::Percent(percent) => (entries as f64 * percent / 100.0).floor() as u64,
        }
    }

    fn text(self, entries: u64) -> String {
        match self {
            Limit::Count(count) => count.to_string(),
            Limit::Percent(percent) => format!("{} ({percent}% of {entries} entries)", self.of(entries)),
        }
    }
}

/// The limits of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Guards {
    /// Entries that go as `on_delete` says: deleted, moved away (with what lies below), or set to other values.
    pub max_deletes: Option<Limit>,
    /// Changes of any kind.
    pub max_changes: Option<Limit>,
}

/// A run that would have done more than it may.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{setting}: the run would {what} {count}, more than {limit}; nothing was written. Look at what it would do with --dry-run; if that is what is meant, raise {setting}"
)]
pub struct GuardError {
    setting: &'static str,
    what: &'static str,
    count: u64,
    limit: String,
}

impl Classified for GuardError {
    fn class(&self) -> Class {
        Class::Run
    }

    fn facts(&self) -> Facts {
        Facts::of_setting(self.setting)
    }
}

/// What a rehearsal did.
#[derive(Debug, Default)]
pub struct Tally {
    deletes: AtomicU64,
    changes: AtomicU64,
}

impl Tally {
    /// Counts a change that was made.
    pub fn count(&self, change: &Change) {
        self.changes.fetch_add(1, Ordering::Relaxed);
        if matches!(change, Change::Delete { .. }) {
            self.deletes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts entries that were removed by another change than a deletion (`on_delete`: `move_to`, `set`).
    pub fn removed(&self, entries: u64) {
        self.deletes.fetch_add(entries, Ordering::Relaxed);
    }
}

impl Guards {
    /// Whether there is any.
    pub fn is_any(self) -> bool {
        self != Guards::default()
    }

    /// Whether a rehearsal stayed within the limits.
    pub async fn check(self, tally: &Tally, directory: &Directory, base: Option<&str>) -> anyhow::Result<()> {
        let deletes = tally.deletes.load(Ordering::Relaxed);
        let changes = tally.changes.load(Ordering::Relaxed);
        let shares =
            [self.max_deletes, self.max_changes].iter().flatten().any(|l| matches!(l, Limit::Percent(_)));
        let entries = if shares { count(directory, base).await? } else { 0 };
        let over = |setting, what, limit: Option<Limit>, count| match limit {
            Some(limit) if count > limit.of(entries) => {
                Err(GuardError { setting, what, count, limit: limit.text(entries) })
            }
            _ => Ok(()),
        };
        over("max_deletes", "delete", self.max_deletes, deletes)?;
        Ok(over("max_changes", "change", self.max_changes, changes)?)
    }
}

/// The entries below the base, the base included.
async fn count(directory: &Directory, base: Option<&str>) -> anyhow::Result<u64> {
    let Some(base) = base.or(directory.root_dse().default_base()) else {
        return Err(SettingsError::value(
            "default_base_dn",
            "not set, and the server does not say which base max_deletes and max_changes are a share of",
            "the base, or numbers in place of percentages",
        )
        .into());
    };
    let request = SearchRequest::new(base, Scope::Subtree, "(objectClass=*)", &["1.1"]);
    let mut attempts = None;
    loop {
        let result = async {
            let mut search = directory.search(request.clone()).await?;
            let mut entries = 0;
            while search.next_entry().await?.is_some() {
                entries += 1;
            }
            Ok::<_, DirectoryError>(entries)
        };
        match result.await {
            Ok(entries) => return Ok(entries),
            Err(e) if e.is_no_such_object() => return Ok(0),
            // To count from the beginning is to count each entry once.
            Err(e) => directory.recover(e, &mut attempts).await?,
        }
    }
}

/// Keeps an input in a temporary file, which is gone with the process.
pub async fn spool(mut input: Box<dyn BufRead + Send>) -> std::io::Result<std::fs::File> {
    let copied = tokio::task::spawn_blocking(move || {
        let mut file = tempfile::tempfile()?;
        std::io::copy(&mut input, &mut file)?;
        Ok(file)
    });
    copied.await.map_err(std::io::Error::other)?
}

/// The kept input, from its beginning.
pub fn replay(file: &std::fs::File) -> std::io::Result<Box<dyn BufRead + Send>> {
    let mut file = file.try_clone()?;
    file.rewind()?;
    Ok(Box::new(BufReader::new(file)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_numbers_or_shares() {
        let parse = |value: Value| Limit::parse("max_deletes", &value);
        assert_eq!(parse(json!(5)).unwrap(), Limit::Count(5));
        assert_eq!(parse(json!("5")).unwrap(), Limit::Count(5));
        assert_eq!(parse(json!("2.5 %")).unwrap().of(1000), 25);
        assert_eq!(parse(json!("5%")).unwrap().of(19), 0, "rounded down: in doubt nothing is deleted");
        for bad in [json!(-1), json!("x%"), json!("101%"), json!(true), json!("")] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("max_deletes") && error.contains("5%"), "{error}");
        }
    }
}
