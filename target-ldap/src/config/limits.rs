//! `max_deletes`, `max_changes` and `limits`: the most that a run may do.

use std::collections::BTreeMap;

use ldap_directory::nearest::nearest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use singer_common::plugin::settings::{SettingsError, check_keys};

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

/// The name of the setting.
const LIMITS: &str = "limits";
/// The name of the limits of all streams that have none of their own.
const OTHERS: &str = "*";

/// What a limit of a stream counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitKind {
    /// Entries that are added, parents included.
    Add,
    /// Modifications that remove no entry.
    Modify,
    /// Entries that are renamed or moved, other than by `on_delete`.
    Rename,
    /// Entries removed by `on_delete`, as `max_deletes` counts them.
    Delete,
    /// Changes of any kind.
    Change,
}

impl LimitKind {
    /// All kinds.
    pub const ALL: [LimitKind; 5] =
        [LimitKind::Add, LimitKind::Modify, LimitKind::Rename, LimitKind::Delete, LimitKind::Change];

    /// Returns the name of the kind: in the setting, and as the verb of messages.
    pub const fn name(self) -> &'static str {
        match self {
            LimitKind::Add => "add",
            LimitKind::Modify => "modify",
            LimitKind::Rename => "rename",
            LimitKind::Delete => "delete",
            LimitKind::Change => "change",
        }
    }
}

/// `limits`: the most that a run may do, by stream and kind.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamLimits(BTreeMap<String, BTreeMap<LimitKind, Limit>>);

impl StreamLimits {
    /// Parses the setting. `rules`: the names of `mapping_rules`; if there are any, no other stream can be named.
    ///
    /// # Errors
    /// A name that no rule has, an unknown kind, or a value that is not a limit.
    pub fn parse<'r>(
        value: &Map<String, Value>,
        rules: impl Iterator<Item = &'r str>,
    ) -> Result<StreamLimits, SettingsError> {
        let rules: Vec<&str> = rules.collect();
        let kinds = LimitKind::ALL.map(LimitKind::name);
        let mut all = BTreeMap::new();
        for (stream, of_stream) in value {
            let at = format!("{LIMITS}.{stream}");
            if stream != OTHERS && !rules.is_empty() && !rules.contains(&stream.as_str()) {
                let problem = "mapping_rules has no rule of that name, so it would limit nothing";
                let expected = "the name of a rule, or `*` for all streams without limits of their own";
                let error = SettingsError::value(at, problem, expected);
                return Err(error.near(nearest(stream, rules.iter().copied())));
            }
            let Some(parts) = of_stream.as_object() else {
                let expected = r#"limits by kind, for example {"delete": "5%", "rename": 20}"#;
                return Err(SettingsError::value(at, format!("`{of_stream}`"), expected));
            };
            check_keys(&at, parts, &kinds)?;
            let mut limits = BTreeMap::new();
            for kind in LimitKind::ALL {
                if let Some(value) = parts.get(kind.name()).filter(|value| !value.is_null()) {
                    limits.insert(kind, Limit::parse(&format!("{at}.{}", kind.name()), value)?);
                }
            }
            all.insert(stream.clone(), limits);
        }
        Ok(StreamLimits(all))
    }

    /// Whether a limit is set.
    pub fn is_any(&self) -> bool {
        self.0.values().any(|limits| !limits.is_empty())
    }

    /// Returns the limits of a stream, with the names of their settings: its own, or those of all others.
    pub fn of(&self, stream: &str) -> Vec<(String, LimitKind, Limit)> {
        let found = self.0.get_key_value(stream).or_else(|| self.0.get_key_value(OTHERS));
        let limits = found.into_iter().flat_map(|(name, limits)| limits.iter().map(move |l| (name, l)));
        limits
            .map(|(name, (kind, limit))| (format!("{LIMITS}.{name}.{}", kind.name()), *kind, *limit))
            .collect()
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

    #[test]
    fn limits_of_streams_are_those_of_a_rule_and_a_kind() {
        let parse =
            |value: Value| StreamLimits::parse(value.as_object().unwrap(), ["users", "groups"].into_iter());
        let limits =
            parse(json!({"users": {"delete": "5%", "rename": 20, "add": null}, "*": {"change": 0}})).unwrap();
        let names = |stream: &str| -> Vec<String> {
            limits.of(stream).into_iter().map(|(setting, ..)| setting).collect()
        };
        assert_eq!(names("users"), ["limits.users.rename", "limits.users.delete"]);
        assert_eq!(names("groups"), ["limits.*.change"]);
        assert!(limits.is_any() && !parse(json!({"users": {}})).unwrap().is_any());
        for (bad, setting, near) in [
            (json!({"user": {}}), "limits.user`", "users"),
            (json!({"users": {"deletes": 1}}), "limits.users.deletes", "delete"),
            (json!({"users": {"delete": "5 percent"}}), "limits.users.delete", "5%"),
            (json!({"users": {"rename": -1}}), "limits.users.rename", "5%"),
            (json!({"users": 5}), "limits.users", "delete"),
        ] {
            let error = parse(bad.clone()).unwrap_err().to_string();
            assert!(error.contains(setting) && error.contains(near), "{bad}: {error}");
        }
        // Without rules, streams are mirrored as they are.
        let mirrored = json!({"all": {"delete": 1}});
        assert!(StreamLimits::parse(mirrored.as_object().unwrap(), std::iter::empty()).is_ok());
    }
}
