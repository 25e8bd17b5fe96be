//! The filters of dates and times.

use chrono::NaiveDate;
use ldap_directory::time::dates::{self, Epoch, Unit};

use super::filters::Wrong;
use super::placeholder::Moment;

/// What a filter does with a date or a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TimeFilter {
    /// `date:%Y`: writes it in a strftime format.
    Write(String),
    /// `read_date:%d.%m.%Y`: reads a text in a strftime format.
    Read(String),
    /// `read_date:epoch`: reads a number.
    ReadNumber(Epoch),
    /// `add:14d`.
    Add(i32, Unit),
    /// `epoch`: writes it as a number.
    Epoch(Epoch),
    /// `days_until`: the days from the day of the run to it, negative if it is past.
    DaysUntil,
    /// `days_since`: the days from it to the day of the run.
    DaysSince,
}

impl TimeFilter {
    /// Parses a filter by its name; `None` if it is none of these.
    pub(super) fn parse(name: &str, argument: Option<&str>) -> Option<Result<TimeFilter, Wrong>> {
        let said = argument.filter(|text| !text.is_empty());
        Some(match name {
            "date" => format(name, said).map(TimeFilter::Write),
            "read_date" => match said.map(str::trim).and_then(Epoch::parse) {
                Some(epoch) => Ok(TimeFilter::ReadNumber(epoch)),
                None => format(name, said).map(TimeFilter::Read),
            },
            "add" => said.and_then(add).ok_or_else(|| {
                "`add` wants a number of days, weeks, months or years: `add:14d`, `add:-2w`, `add:6m`, `add:5y`".into()
            }),
            "epoch" => match argument.map(str::trim) {
                None => Ok(TimeFilter::Epoch(Epoch::Seconds)),
                Some(said) => Epoch::parse(said).map(TimeFilter::Epoch).ok_or_else(|| {
                    "`epoch` is in seconds since 1970; others are `epoch:epoch_ms` and `epoch:filetime`".into()
                }),
            },
            "days_until" | "days_since" => match argument {
                Some(_) => Err(format!("`{name}` takes no argument: write `|{name}`").into()),
                None if name == "days_until" => Ok(TimeFilter::DaysUntil),
                None => Ok(TimeFilter::DaysSince),
            },
            _ => return None,
        })
    }

    /// Returns the value, empty for "never"; `None` if the text is not a date, or has none that can be represented.
    pub(super) fn apply(&self, value: &str, moment: Moment) -> Option<String> {
        match self {
            TimeFilter::Write(format) => dates::write_as(value, format, moment.zone),
            TimeFilter::Read(format) => dates::read_as(value, format, moment.zone),
            // No day: as a null, so that `default` can say one.
            TimeFilter::ReadNumber(epoch) if epoch.is_never(value) => Some(String::new()),
            TimeFilter::ReadNumber(epoch) => epoch.read(value),
            TimeFilter::Add(count, unit) => dates::add(value, *count, *unit, moment.zone),
            TimeFilter::Epoch(epoch) => epoch.write(value, moment.zone).map(|number| number.to_string()),
            TimeFilter::DaysUntil | TimeFilter::DaysSince => {
                let days = date_of(value, moment)?.signed_duration_since(moment.today?).num_days();
                Some(if *self == TimeFilter::DaysUntil { days } else { -days }.to_string())
            }
        }
    }
}

/// Returns the day of a date or time, where it is.
pub(crate) fn date_of(value: &str, moment: Moment) -> Option<NaiveDate> {
    dates::day(value, moment.zone)
}

fn format(name: &str, said: Option<&str>) -> Result<String, Wrong> {
    let format = said.ok_or_else(|| format!("`{name}` wants a format: `{name}:%Y-%m-%d`"))?;
    if !dates::is_format(format) {
        return Err(format!(
            "`{format}` is not a strftime format: `%Y`, `%m`, `%d`, `%H` and so on, and `%%` for a %"
        )
        .into());
    }
    Ok(format.to_owned())
}

fn add(said: &str) -> Option<TimeFilter> {
    let said = said.trim();
    let unit = said.chars().next_back()?;
    let count: i32 = said.strip_suffix(unit)?.trim().parse().ok()?;
    let (factor, unit) = match unit {
        'd' => (1, Unit::Days),
        'w' => (7, Unit::Days),
        'm' => (1, Unit::Months),
        'y' => (12, Unit::Months),
        _ => return None,
    };
    Some(TimeFilter::Add(count.checked_mul(factor)?, unit))
}
