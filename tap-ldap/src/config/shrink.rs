//! `max_shrink`: how much smaller than the last one a whole read may be.

use serde_json::Value;
use singer_common::plugin::settings::SettingsError;

/// The most entries that a whole read may have less than the last one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shrink {
    /// A number of entries.
    Count(u64),
    /// A percentage of the last read.
    Percent(f64),
}

impl Shrink {
    /// Reads a number, or a text such as `50%`.
    pub fn parse(setting: &str, value: &Value) -> Result<Shrink, SettingsError> {
        let percent = |text: &str| {
            let number: f64 = text.trim().strip_suffix('%')?.trim_end().parse().ok()?;
            (0.0..=100.0).contains(&number).then_some(Shrink::Percent(number))
        };
        let shrink = match value {
            Value::Number(number) => number.as_u64().map(Shrink::Count),
            Value::String(text) => percent(text).or_else(|| text.trim().parse().ok().map(Shrink::Count)),
            _ => None,
        };
        shrink.ok_or_else(|| {
            SettingsError::value(setting, value.to_string(), "a whole number, or a text such as \"50%\"")
        })
    }

    /// Returns whether a read is smaller than the last one by more than this.
    #[allow(clippy::cast_precision_loss, reason = "a share of a count of entries")]
    pub fn is_exceeded(self, before: u64, now: u64) -> bool {
        let less = before.saturating_sub(now);
        match self {
            Shrink::Count(most) => less > most,
            Shrink::Percent(most) => less as f64 * 100.0 > before as f64 * most,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_share_or_a_number_of_the_last_count() {
        let parse = |value| Shrink::parse("max_shrink", &value);
        let half = parse(json!("50%")).unwrap();
        assert!(!half.is_exceeded(10, 5) && half.is_exceeded(10, 4) && !half.is_exceeded(10, 20));
        assert!(!half.is_exceeded(0, 0) && half.is_exceeded(1, 0));
        for three in [json!(3), json!("3")] {
            let three = parse(three).unwrap();
            assert!(!three.is_exceeded(10, 7) && three.is_exceeded(10, 6));
        }
        for bad in [json!("half"), json!(-1), json!("101%"), json!(true), json!("")] {
            assert!(parse(bad).unwrap_err().to_string().contains("max_shrink"));
        }
    }
}
