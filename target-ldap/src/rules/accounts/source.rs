//! Where the state of an account comes from: a constant, a property, a template, or a period of days.

use chrono::Days;
use ldap_directory::schema::syntax::truth;
use serde::Deserialize;
use serde_json::Value;
use singer_common::plugin::settings::{SettingsError, typed};
use singer_common::singer::record::Record;

use crate::rules::error::MappingError;
use crate::rules::keys::check_parts;
use crate::rules::template::{Lookup, Moment, Rendered, Template, date_of};

/// What is expected of a value that is no boolean.
const NO_TRUTH: &str = "expected true or false, yes or no, on or off, 1 or 0";

/// The source of a boolean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BooleanSource {
    /// A constant.
    Always(bool),
    /// A property of the record.
    Property(String),
    /// A template.
    Template(Template),
    /// Whether the day of the run is within a period.
    Period(Box<Period>),
}

/// The days on which an account is enabled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Period {
    /// The first day.
    from: Option<Template>,
    /// The last day.
    until: Option<Template>,
    /// How many days before the first and after the last one it is enabled as well.
    days_before: u32,
    days_after: u32,
    /// The property that must be true, too.
    condition: Option<String>,
    /// What the run knows of time.
    moment: Moment,
}

/// A period as it is written.
#[derive(Deserialize)]
struct PeriodSettings {
    from: Option<String>,
    until: Option<String>,
    #[serde(default)]
    days_before: u32,
    #[serde(default)]
    days_after: u32,
    #[serde(rename = "if")]
    condition: Option<String>,
}

/// Parses a template of a setting.
pub(super) fn template(at: &str, text: &str) -> Result<Template, SettingsError> {
    Template::parse(text)
        .map_err(|e| SettingsError::value(at, e.to_string(), "a text with {placeholders}").near(e.nearest))
}

impl Period {
    pub(super) fn parse(at: &str, value: Value) -> Result<BooleanSource, SettingsError> {
        check_parts(at, &value, &["from", "until", "days_before", "days_after", "if"])?;
        let raw: PeriodSettings = typed(at, value)?;
        if raw.from.is_none() && raw.until.is_none() {
            let expected = r#"{"from": "hire_date", "until": "end_date"}, or one of them"#;
            return Err(SettingsError::value(at, "neither `from` nor `until`", expected));
        }
        for (days, key, of, is_set) in [
            (raw.days_before, "days_before", "from", raw.from.is_some()),
            (raw.days_after, "days_after", "until", raw.until.is_some()),
        ] {
            if days > 0 && !is_set {
                let at = format!("{at}.{key}");
                return Err(SettingsError::value(
                    at,
                    format!("`{of}` is not set"),
                    format!("both, or `{of}` alone"),
                ));
            }
        }
        // The name of a property, or a template.
        let date = |key: &str, text: Option<String>| {
            let Some(text) = text else { return Ok(None) };
            let text = if text.contains(['{', '"']) { text } else { format!("{{\"{text}\"}}") };
            template(&format!("{at}.{key}"), &text).map(Some)
        };
        Ok(BooleanSource::Period(Box::new(Period {
            from: date("from", raw.from)?,
            until: date("until", raw.until)?,
            days_before: raw.days_before,
            days_after: raw.days_after,
            condition: raw.condition,
            moment: Moment::default(),
        })))
    }

    /// Whether the day of the run is in the period of a record; `None` if the record does not say.
    fn holds(&self, record: &Record, part: &str, lookup: Lookup<'_>) -> Result<Option<bool>, MappingError> {
        if let Some(condition) = &self.condition {
            match BooleanSource::Property(condition.clone()).of(record, part, lookup)? {
                Some(true) => {}
                other => return Ok(other),
            }
        }
        let fail = |template: &Template, reason: &str| MappingError::Value {
            property: template.names().next().unwrap_or_default().to_owned(),
            attribute: format!("accounts.{part}"),
            reason: reason.to_owned(),
        };
        let day = |key: &str, template: &Template| -> Result<Rendered, MappingError> {
            let part = format!("accounts.{part}.{key}");
            template.render(lookup).map_err(|error| MappingError::Template { part, error })
        };
        let Some(today) = self.moment.today else {
            return Err(MappingError::Name("accounts: the day of the run is not known".into()));
        };
        let not_a_date = "expected a date (2026-01-31); others are read by `{name|read_date:%d.%m.%Y}`";
        let mut holds = true;
        if let Some(template) = &self.from {
            match day("from", template)? {
                Rendered::Text(text) => {
                    let from = date_of(&text, self.moment).ok_or_else(|| fail(template, not_a_date))?;
                    // A date too far away is not reached.
                    let begins = from.checked_sub_days(Days::new(self.days_before.into())).unwrap_or(from);
                    holds &= today >= begins;
                }
                Rendered::Nothing => {
                    return Err(fail(
                        template,
                        "expected a date: a record without one is neither enabled nor disabled; `{name|default:9999-12-31}` disables it",
                    ));
                }
                Rendered::Unknown => return Ok(None),
            }
        }
        if let Some(template) = &self.until {
            match day("until", template)? {
                Rendered::Text(text) => {
                    let until = date_of(&text, self.moment).ok_or_else(|| fail(template, not_a_date))?;
                    let ends = until.checked_add_days(Days::new(self.days_after.into())).unwrap_or(until);
                    holds &= today <= ends;
                }
                // There is no end.
                Rendered::Nothing => {}
                Rendered::Unknown => return Ok(None),
            }
        }
        Ok(Some(holds))
    }
}

impl BooleanSource {
    /// Returns the properties that are used for nothing else.
    pub(crate) fn own_properties(&self) -> impl Iterator<Item = &str> {
        let name = match self {
            BooleanSource::Property(name) => Some(name),
            BooleanSource::Period(period) => period.condition.as_ref(),
            BooleanSource::Always(_) | BooleanSource::Template(_) => None,
        };
        name.map(String::as_str).into_iter()
    }

    /// Returns its templates.
    pub(crate) fn templates(&self) -> Vec<&Template> {
        match self {
            BooleanSource::Template(template) => vec![template],
            BooleanSource::Period(period) => period.from.iter().chain(&period.until).collect(),
            BooleanSource::Always(_) | BooleanSource::Property(_) => Vec::new(),
        }
    }

    pub(super) fn set_moment(&mut self, moment: Moment) {
        if let BooleanSource::Period(period) = self {
            period.moment = moment;
        }
    }

    pub(super) fn templates_mut(&mut self) -> Vec<&mut Template> {
        match self {
            BooleanSource::Template(template) => vec![template],
            BooleanSource::Period(period) => period.from.iter_mut().chain(&mut period.until).collect(),
            BooleanSource::Always(_) | BooleanSource::Property(_) => Vec::new(),
        }
    }

    /// Returns the record's value; `None` if it has none, and nothing is changed.
    pub(crate) fn of(
        &self,
        record: &Record,
        part: &str,
        lookup: Lookup<'_>,
    ) -> Result<Option<bool>, MappingError> {
        let name = match self {
            BooleanSource::Always(answer) => return Ok(Some(*answer)),
            BooleanSource::Property(name) => name,
            BooleanSource::Period(period) => return period.holds(record, part, lookup),
            BooleanSource::Template(template) => {
                let rendered = template
                    .render(lookup)
                    .map_err(|error| MappingError::Template { part: format!("accounts.{part}"), error })?;
                let Rendered::Text(text) = rendered else { return Ok(None) };
                return truth(&text).map(Some).ok_or_else(|| MappingError::Value {
                    property: template.names().next().unwrap_or_default().to_owned(),
                    attribute: format!("accounts.{part}"),
                    reason: NO_TRUTH.to_owned(),
                });
            }
        };
        let answer = match record.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Bool(answer)) => Some(*answer),
            Some(Value::Number(number)) => match number.as_u64() {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::String(text)) => truth(text),
            Some(_) => None,
        };
        answer.map(Some).ok_or_else(|| MappingError::Value {
            property: name.clone(),
            attribute: format!("accounts.{part}"),
            reason: NO_TRUTH.to_owned(),
        })
    }
}
