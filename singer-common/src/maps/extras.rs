//! Functions that Python does not have, or that the SDK has otherwise: dates, today's one, replacement by pattern, ASCII.

use chrono::NaiveDate;
use ldap_directory::time::Zone;
use ldap_directory::time::dates::{self, Epoch, Unit};
use serde_json::Value;

use super::expression::{Kind, Node};
use super::number::{Num, number};
use super::replacement::{Notation, Replacement, ReplacementError};
use super::syntax_error::SyntaxError;
use super::value::type_name;

/// What a run knows of time: the same for all its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// The day of the run.
    pub(super) today: NaiveDate,
    /// The zone of times that do not name one.
    pub(super) zone: Zone,
}

/// A function.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Extra {
    /// `today()`: the day of the run.
    Today,
    /// `days_between(a, b)`: the days from a to b.
    DaysBetween,
    /// `add_days(date, n)`.
    AddDays,
    /// `add_months(date, n)`.
    AddMonths,
    /// `read_date(text, format)`.
    ReadDate,
    /// `format_date(date, format)`.
    FormatDate,
    /// `epoch(date)`: seconds since 1970.
    Epoch,
    /// `filetime(date)`: steps of 100 ns since 1601.
    FileTime,
    /// `to_ascii(text)`.
    ToAscii,
    /// `re.sub(pattern, replacement, text)`.
    Sub(Replacement),
}

/// The functions by name, each with the number of its arguments.
pub(super) const EXTRAS: &[(&str, Extra, usize)] = &[
    ("add_days", Extra::AddDays, 2),
    ("add_months", Extra::AddMonths, 2),
    ("days_between", Extra::DaysBetween, 2),
    ("epoch", Extra::Epoch, 1),
    ("filetime", Extra::FileTime, 1),
    ("format_date", Extra::FormatDate, 2),
    ("read_date", Extra::ReadDate, 2),
    ("to_ascii", Extra::ToAscii, 1),
    ("today", Extra::Today, 0),
];

impl Extra {
    fn name(&self) -> &'static str {
        EXTRAS.iter().find(|(_, extra, _)| extra == self).map_or("re.sub", |(name, ..)| name)
    }

    /// Whether its result is a number.
    pub(super) fn is_number(&self) -> bool {
        matches!(self, Extra::DaysBetween | Extra::Epoch | Extra::FileTime)
    }

    /// Evaluates it. An error never contains a value.
    pub(super) fn call(&self, arguments: &[&Value], moment: Moment) -> Result<Value, String> {
        let text = |n: usize| match arguments.get(n) {
            Some(Value::String(text)) => Ok(text.as_str()),
            other => Err(format!(
                "`{}()` of {}, and it is for texts",
                self.name(),
                type_name(other.unwrap_or(&&Value::Null))
            )),
        };
        let date = |found: Option<String>| found.map(Value::from).ok_or_else(|| self.no_date());
        let count = |n: usize| match arguments.get(n).and_then(|value| number(value)) {
            Some(Num::Integer(count)) => i32::try_from(count).map_err(|_| self.no_date()),
            _ => Err(format!("`{}()` wants a whole number after the date", self.name())),
        };
        let zone = moment.zone;
        match self {
            Extra::Today => Ok(moment.today.to_string().into()),
            Extra::DaysBetween => {
                let day = |n| dates::day(text(n)?, zone).ok_or_else(|| self.no_date());
                Ok(day(1)?.signed_duration_since(day(0)?).num_days().into())
            }
            Extra::AddDays => date(dates::add(text(0)?, count(1)?, Unit::Days, zone)),
            Extra::AddMonths => date(dates::add(text(0)?, count(1)?, Unit::Months, zone)),
            Extra::ReadDate => {
                let format = text(1)?;
                match Epoch::parse(format) {
                    Some(epoch) => {
                        let shown = arguments.first().map(|value| match value {
                            Value::String(text) => text.clone(),
                            other => other.to_string(),
                        });
                        match shown {
                            Some(text) if epoch.is_never(&text) => Ok(Value::Null),
                            shown => date(shown.and_then(|text| epoch.read(&text))),
                        }
                    }
                    None => date(dates::read_as(text(0)?, self.format(format)?, zone)),
                }
            }
            Extra::FormatDate => date(dates::write_as(text(0)?, self.format(text(1)?)?, zone)),
            Extra::Epoch | Extra::FileTime => {
                let epoch = if *self == Extra::Epoch { Epoch::Seconds } else { Epoch::FileTime };
                epoch.write(text(0)?, zone).map(Value::from).ok_or_else(|| self.no_date())
            }
            Extra::ToAscii => Ok(deunicode::deunicode_with_tofu(text(0)?, "").into()),
            Extra::Sub(replacement) => {
                let changed = replacement.apply(text(0)?);
                changed.map(Value::from).ok_or_else(|| "the result of `re.sub()` is too long".to_owned())
            }
        }
    }

    fn format<'t>(&self, format: &'t str) -> Result<&'t str, String> {
        if dates::is_format(format) {
            return Ok(format);
        }
        Err(format!("`{}()` wants a strftime format, such as '%d.%m.%Y'", self.name()))
    }

    fn no_date(&self) -> String {
        format!("`{}()` of what is not a date: `read_date(text, '%d.%m.%Y')` reads others", self.name())
    }
}

/// Builds `re.sub` from its arguments: a pattern and a replacement, which are texts as they stand.
pub(super) fn substitution(at: usize, pattern: &Node, with: &Node) -> Result<Extra, SyntaxError> {
    let text = |node: &Node| match &node.kind {
        Kind::Literal(Value::String(text)) => Ok(text.clone()),
        _ => Err(SyntaxError::new(
            node.at,
            "the pattern and the replacement of `re.sub` are texts as they stand",
        )),
    };
    let built = Replacement::new(&text(pattern)?, &text(with)?, Notation::Backslash);
    built.map(Extra::Sub).map_err(|error| match error {
        ReplacementError::Pattern(reason) => {
            SyntaxError::new(pattern.at, format!("not a regular expression: {reason}"))
        }
        ReplacementError::Group { groups, .. } => SyntaxError::new(
            with.at.max(at),
            format!("a replacement has `\\1` and `\\g<name>` for groups of the pattern, which has {groups}, and `\\\\`"),
        ),
    })
}
