//! The filters of a template: `{name|filter|filter:argument}`.

use std::fmt::Write as _;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, TimeDelta};

/// The filters there are, as a message lists them.
const KNOWN: &str = "`lower`, `upper`, `trim`, `ascii`, `slug`, `first`, `default:text`, `date:format`";

/// A filter, ready to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filter {
    Lower,
    Upper,
    Trim,
    /// Transliterates to ASCII; what has no transliteration is left out.
    Ascii,
    /// Lower-case ASCII words joined by `-`.
    Slug,
    /// The first value that is not empty.
    First,
    /// The text to take when there is no value that is not empty.
    Default(String),
    /// chrono's strftime format. A time is shown in the offset it is written in.
    Date(String),
}

/// A value that `date` cannot read.
#[derive(Debug)]
pub(super) struct NoDate;

impl Filter {
    /// Reads `name` or `name:argument`. Spaces around the name do not count; in an argument they do.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (name, argument) = match text.split_once(':') {
            Some((name, argument)) => (name.trim(), Some(argument)),
            None => (text.trim(), None),
        };
        let plain = match name {
            "lower" => Self::Lower,
            "upper" => Self::Upper,
            "trim" => Self::Trim,
            "ascii" => Self::Ascii,
            "slug" => Self::Slug,
            "first" => Self::First,
            "default" => {
                let text = argument.ok_or("`default` wants a text: `default:none`")?;
                return Ok(Self::Default(text.into()));
            }
            "date" => {
                let format = argument.unwrap_or_default();
                if format.is_empty() {
                    return Err("`date` wants a format: `date:%Y-%m-%d`".into());
                }
                if StrftimeItems::new(format).any(|item| matches!(item, Item::Error)) {
                    return Err(format!(
                        "`{format}` is not a strftime format: `%Y`, `%m`, `%d`, `%H` and so on, and `%%` for a %"
                    ));
                }
                return Ok(Self::Date(format.into()));
            }
            _ => return Err(format!("there is no filter {name:?}: the filters are {KNOWN}")),
        };
        match argument {
            None => Ok(plain),
            Some(_) => Err(format!("`{name}` takes no argument: write `|{name}`")),
        }
    }

    /// Applies the filter to each value, or, for `first` and `default`, to all of them.
    pub(super) fn apply(&self, values: &mut Vec<String>, is_empty: fn(&str) -> bool) -> Result<(), NoDate> {
        let change: fn(&str) -> String = match self {
            Self::Lower => |value| value.to_lowercase(),
            Self::Upper => |value| value.to_uppercase(),
            Self::Trim => |value| value.trim().to_owned(),
            Self::Ascii => |value| deunicode::deunicode_with_tofu(value, ""),
            Self::Slug => |value| slug::slugify(value),
            Self::First => {
                values.retain(|value| !is_empty(value));
                values.truncate(1);
                return Ok(());
            }
            Self::Default(text) => {
                if values.iter().all(|value| is_empty(value)) {
                    *values = vec![text.clone()];
                }
                return Ok(());
            }
            Self::Date(format) => {
                for value in values.iter_mut().filter(|value| !is_empty(value)) {
                    *value = date(value, format).ok_or(NoDate)?;
                }
                return Ok(());
            }
        };
        for value in values {
            *value = change(value);
        }
        Ok(())
    }
}

fn date(value: &str, format: &str) -> Option<String> {
    let time = read_time(value.trim())?;
    let mut out = String::new();
    // `to_string` would panic where a format cannot be filled in; `write!` says so.
    write!(out, "{}", time.format(format)).ok()?;
    Some(out)
}

/// RFC 3339, a date, or GeneralizedTime. What has no offset is taken as UTC.
fn read_time(value: &str) -> Option<DateTime<FixedOffset>> {
    let utc = |time: NaiveDateTime| time.and_utc().fixed_offset();
    if let Ok(time) = DateTime::parse_from_rfc3339(value) {
        return Some(time);
    }
    if let Ok(time) = value.parse::<NaiveDateTime>() {
        return Some(utc(time));
    }
    if let Ok(date) = value.parse::<NaiveDate>() {
        return Some(utc(date.and_hms_opt(0, 0, 0)?));
    }
    generalized_time(value)
}

/// GeneralizedTime (RFC 4517 section 3.3.13): `YYYYMMDDHH[MM[SS]][.fraction](Z|+HH[MM])`. The fraction is of the
/// smallest unit that is there. A leap second is the second before it.
fn generalized_time(value: &str) -> Option<DateTime<FixedOffset>> {
    let (time, zone) = value.split_at_checked(value.find(['Z', '+', '-'])?)?;
    let (digits, fraction) = match time.split_once(['.', ',']) {
        Some((digits, fraction)) => (digits, Some(fraction)),
        None => (time, None),
    };
    if !matches!(digits.len(), 10 | 12 | 14) {
        return None;
    }
    let minute = if digits.len() > 10 { number(digits, 10..12)? } else { 0 };
    let second = if digits.len() > 12 { number(digits, 12..14)? } else { 0 };
    let date = NaiveDate::from_ymd_opt(
        i32::try_from(number(digits, 0..4)?).ok()?,
        number(digits, 4..6)?,
        number(digits, 6..8)?,
    )?;
    let naive = date.and_hms_opt(number(digits, 8..10)?, minute, if second == 60 { 59 } else { second })?;
    let unit: i64 = match digits.len() {
        10 => 3600,
        12 => 60,
        _ => 1,
    };
    let part = match fraction {
        None => TimeDelta::zero(),
        Some(fraction) => TimeDelta::nanoseconds(nanoseconds(fraction)?.checked_mul(unit)?),
    };
    let offset = offset(zone)?;
    naive.checked_add_signed(part)?.and_local_timezone(offset).single()
}

/// `Z`, `+HH` or `-HHMM`.
fn offset(zone: &str) -> Option<FixedOffset> {
    if zone == "Z" {
        return FixedOffset::east_opt(0);
    }
    let (sign, digits) = zone.split_at_checked(1)?;
    let minutes = match digits.len() {
        2 => 0,
        4 => number(digits, 2..4).filter(|minutes| *minutes < 60)?,
        _ => return None,
    };
    let seconds = i32::try_from(number(digits, 0..2)? * 3600 + minutes * 60).ok()?;
    FixedOffset::east_opt(if sign == "-" { -seconds } else { seconds })
}

/// The digits after a decimal point, in billionths; what is smaller is dropped.
fn nanoseconds(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(9)
        .try_fold(0, |n: i64, digit| n.checked_mul(10)?.checked_add(i64::from(digit.checked_sub(b'0')?)))
}

/// A number of digits and nothing else, not even a sign.
fn number(digits: &str, range: std::ops::Range<usize>) -> Option<u32> {
    let part = digits.get(range)?;
    part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten()
}
