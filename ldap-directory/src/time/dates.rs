//! Calculations with dates and times in the texts of records.

use std::fmt::Write as _;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, Days, FixedOffset, Months, NaiveDate, NaiveDateTime, Utc};

use super::{Zone, read_time_in};
use crate::schema::syntax::{filetime, to_filetime};

/// A unit of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Days.
    Days,
    /// Months. The last day of a month is the last day of a shorter one.
    Months,
}

/// How a time is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epoch {
    /// Seconds since 1970.
    Seconds,
    /// Milliseconds since 1970, also as OData writes them, `/Date(1388534400000)/`.
    Milliseconds,
    /// Steps of 100 ns since 1601 (Active Directory).
    FileTime,
}

/// Whether a text is a strftime format.
pub fn is_format(format: &str) -> bool {
    !StrftimeItems::new(format).any(|item| matches!(item, Item::Error))
}

/// Returns the day of a date or a time, where it is: a time keeps its offset. `None`: the text is neither.
///
/// ```
/// use ldap_directory::time::{Zone, dates::day};
///
/// let texts = ["2026-01-31", "2026-01-31T23:30:00-08:00", "2026-01-31-07:00"];
/// assert!(texts.iter().all(|text| day(text, Zone::Utc).is_some_and(|day| day.to_string() == "2026-01-31")));
/// ```
pub fn day(value: &str, zone: Zone) -> Option<NaiveDate> {
    read_time_in(value.trim(), zone).map(|time| time.date_naive())
}

/// Returns a date or a time in a strftime format. A time keeps its offset; without one it is in the zone.
pub fn write_as(value: &str, format: &str, zone: Zone) -> Option<String> {
    let time = read_time_in(value.trim(), zone)?;
    let mut out = String::new();
    // `to_string` would panic if a format cannot be rendered; `write!` returns an error.
    write!(out, "{}", time.format(format)).ok()?;
    Some(out)
}

/// Reads a text in a strftime format, and returns it as RFC 3339 has it: a time with its offset, a time in the zone, or a date.
///
/// ```
/// use ldap_directory::time::{Zone, dates::read_as};
///
/// assert_eq!(read_as("31.01.2026", "%d.%m.%Y", Zone::Utc).as_deref(), Some("2026-01-31"));
/// ```
pub fn read_as(value: &str, format: &str, zone: Zone) -> Option<String> {
    let value = value.trim();
    if let Ok(time) = DateTime::parse_from_str(value, format) {
        return Some(time.to_rfc3339());
    }
    if let Ok(time) = NaiveDateTime::parse_from_str(value, format) {
        return zone.at(time).map(|time| time.to_rfc3339());
    }
    NaiveDate::parse_from_str(value, format).ok().map(|date| date.to_string())
}

/// Returns a date or a time that many units later, or earlier if the number is negative. A date stays a date.
///
/// ```
/// use ldap_directory::time::{Zone, dates::{Unit, add}};
///
/// assert_eq!(add("2026-01-31", 1, Unit::Months, Zone::Utc).as_deref(), Some("2026-02-28"));
/// ```
pub fn add(value: &str, count: i32, unit: Unit, zone: Zone) -> Option<String> {
    let value = value.trim();
    if let Ok(date) = value.parse::<NaiveDate>() {
        return Some(plus(date.and_hms_opt(0, 0, 0)?, count, unit)?.date().to_string());
    }
    let time = read_time_in(value, zone)?;
    let local = plus(time.naive_local(), count, unit)?;
    Some(local.and_local_timezone(*time.offset()).single()?.to_rfc3339())
}

fn plus(time: NaiveDateTime, count: i32, unit: Unit) -> Option<NaiveDateTime> {
    let steps = count.unsigned_abs();
    match (unit, count < 0) {
        (Unit::Days, false) => time.checked_add_days(Days::new(steps.into())),
        (Unit::Days, true) => time.checked_sub_days(Days::new(steps.into())),
        (Unit::Months, false) => time.checked_add_months(Months::new(steps)),
        (Unit::Months, true) => time.checked_sub_months(Months::new(steps)),
    }
}

impl Epoch {
    /// Parses `epoch`, `epoch_ms` or `filetime`.
    pub fn parse(name: &str) -> Option<Epoch> {
        match name {
            "epoch" => Some(Epoch::Seconds),
            "epoch_ms" => Some(Epoch::Milliseconds),
            "filetime" => Some(Epoch::FileTime),
            _ => None,
        }
    }

    /// Reads a number, and returns the time as RFC 3339 has it. `None`: it is not such a number, or it means "never"
    /// ([`Self::is_never`]).
    pub fn read(self, value: &str) -> Option<String> {
        self.time(value.trim()).map(|time| time.to_rfc3339())
    }

    /// Returns whether a number means "never": 0 and 2^63-1 of Active Directory (`accountExpires`).
    ///
    /// ```
    /// use ldap_directory::time::dates::Epoch;
    ///
    /// assert!(Epoch::FileTime.is_never("9223372036854775807") && Epoch::FileTime.read("0").is_none());
    /// assert_eq!(Epoch::Seconds.read("0").as_deref(), Some("1970-01-01T00:00:00+00:00"));
    /// ```
    pub fn is_never(self, value: &str) -> bool {
        self == Epoch::FileTime && filetime(value.trim()) == Ok(None)
    }

    fn time(self, value: &str) -> Option<DateTime<Utc>> {
        let odata = value.strip_prefix("/Date(").and_then(|rest| rest.strip_suffix(")/"));
        let digits = match (self, odata) {
            // What follows the number is the offset in which it was shown.
            (Epoch::Milliseconds, Some(inner)) => {
                let end = inner.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-'));
                inner.get(..end.map_or(inner.len(), |(at, _)| at))?
            }
            _ => value,
        };
        match self {
            Epoch::Seconds => DateTime::from_timestamp(digits.parse().ok()?, 0),
            Epoch::Milliseconds => DateTime::from_timestamp_millis(digits.parse().ok()?),
            Epoch::FileTime => filetime(digits).ok().flatten(),
        }
    }

    /// Returns a date or a time as a number; `None` if it is not a date, or has none: those of Active Directory begin in 1601.
    pub fn write(self, value: &str, zone: Zone) -> Option<i64> {
        let time: DateTime<FixedOffset> = read_time_in(value.trim(), zone)?;
        match self {
            Epoch::Seconds => Some(time.timestamp()),
            Epoch::Milliseconds => Some(time.timestamp_millis()),
            Epoch::FileTime => to_filetime(&time),
        }
    }
}
