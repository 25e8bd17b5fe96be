//! `max_deletes` and `max_changes`: the most that a run may do.

use serde_json::Value;
use singer_common::plugin::settings::SettingsError;

/// The most deletions or changes that a run may make.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// A number of entries.
    Count(u64),
    /// A percentage of the entries below the base.
    Percent(f64),
}

impl Limit {
    /// Parses a number, or a text such as `5%`.
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

    /// Returns the limit as a number, given the number of entries below the base.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count of entries, rounded down"
    )]
    pub(crate) fn of(self, entries: u64) -> u64 {
        match self {
            Limit::Count(count) => count,
            Limit::Percent(percent) => (entries as f64 * percent / 100.0).floor() as u64,
        }
    }

    /// Returns the limit for messages.
    pub(crate) fn text(self, entries: u64) -> String {
        match self {
            Limit::Count(count) => count.to_string(),
            Limit::Percent(percent) => format!("{} ({percent}% of {entries} entries)", self.of(entries)),
        }
    }
}

/// The limits of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Guards {
    /// Entries removed by `on_delete`: deleted, moved (with their subtree), or set to other values.
    pub max_deletes: Option<Limit>,
    /// Changes of any kind.
    pub max_changes: Option<Limit>,
}

impl Guards {
    /// Whether a limit is set.
    pub fn is_any(self) -> bool {
        self != Guards::default()
    }
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
