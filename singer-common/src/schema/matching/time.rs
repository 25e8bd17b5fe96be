//! Times (RFC 4517 sections 3.3.13 and 3.3.34) in one normal form: UTC, seconds, the fraction without its zeros.

use chrono::{Datelike, NaiveDate, NaiveDateTime, TimeDelta};

/// GeneralizedTime: `YYYYMMDDHH[MM[SS]]`, a fraction of the last unit given, and `Z` or an offset.
pub(super) fn generalized(text: &str) -> Option<String> {
    let (year, rest) = number(text, 4)?;
    normal(year, rest, true)
}

/// UTCTime: `YYMMDDHHMM[SS]` and `Z` or an offset; years from 50 on are of the 20th century (RFC 5280 section 4.1.2.5.1).
pub(super) fn utc(text: &str) -> Option<String> {
    // A normal form, to keep it as it is.
    if text.len() == 15 && text.ends_with('Z') {
        return generalized(text).filter(|normal| normal == text);
    }
    let (year, rest) = number(text, 2)?;
    normal(if year < 50 { 2000 + year } else { 1900 + year }, rest, false)
}

fn normal(year: u32, rest: &str, fraction_allowed: bool) -> Option<String> {
    let (month, rest) = number(rest, 2)?;
    let (day, rest) = number(rest, 2)?;
    let (hour, mut rest) = number(rest, 2)?;
    let (mut minute, mut second, mut unit_seconds) = (0, 0, 3600);
    if let Some((m, after)) = number(rest, 2) {
        (minute, rest, unit_seconds) = (m, after, 60);
        if let Some((s, after)) = number(rest, 2) {
            (second, rest, unit_seconds) = (s, after, 1);
        }
    }
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix(['.', ',']).filter(|_| fraction_allowed) {
        let end = after.find(|c: char| !c.is_ascii_digit())?;
        (fraction, rest) = after.split_at_checked(end)?;
        if fraction.is_empty() {
            return None;
        }
    }
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    let start = date.and_hms_opt(hour, minute, second)?;
    let (seconds, fraction) = fraction_of(fraction.trim_end_matches('0'), unit_seconds)?;
    written(
        start.checked_add_signed(TimeDelta::seconds(seconds))?.checked_sub_signed(offset(rest)?)?,
        &fraction,
    )
}

/// Whole seconds, and the digits behind the point, of a fraction of an hour, a minute or a second.
fn fraction_of(digits: &str, unit_seconds: u64) -> Option<(i64, String)> {
    if unit_seconds == 1 || digits.is_empty() {
        return Some((0, digits.to_owned()));
    }
    let scale = 10u64.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let scaled = digits.parse::<u64>().ok()?.checked_mul(unit_seconds)?;
    let rest = format!("{:0width$}", scaled % scale, width = digits.len());
    Some((i64::try_from(scaled / scale).ok()?, rest.trim_end_matches('0').to_owned()))
}

fn written(time: NaiveDateTime, fraction: &str) -> Option<String> {
    if !(0..=9999).contains(&time.year()) {
        return None;
    }
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{}{point}{fraction}Z", time.format("%Y%m%d%H%M%S")))
}

/// `Z`, `+HH` or `-HHMM`.
fn offset(text: &str) -> Option<TimeDelta> {
    if text == "Z" {
        return Some(TimeDelta::zero());
    }
    let (sign, rest) =
        text.strip_prefix('+').map(|r| (1, r)).or_else(|| text.strip_prefix('-').map(|r| (-1, r)))?;
    let (hours, rest) = number(rest, 2)?;
    let minutes = if rest.is_empty() { 0 } else { number(rest, 2).filter(|(_, end)| end.is_empty())?.0 };
    (hours < 24 && minutes < 60).then(|| TimeDelta::minutes(sign * i64::from(hours * 60 + minutes)))
}

/// A number of exactly so many digits, and what follows.
fn number(text: &str, digits: usize) -> Option<(u32, &str)> {
    let (number, rest) = text.split_at_checked(digits)?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((number.parse().ok()?, rest))
}
