//! Times in the texts of records, in all the forms that taps write.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime, TimeDelta};

/// Reads RFC 3339, a date, or GeneralizedTime, and the forms that databases print: a space in place of `T`, an offset without
/// a colon or of hours alone, ` UTC`. What has no offset is taken as UTC. `None` for every other text.
pub fn read_time(value: &str) -> Option<DateTime<FixedOffset>> {
    let utc = |time: NaiveDateTime| time.and_utc().fixed_offset();
    if let Ok(time) = DateTime::parse_from_rfc3339(value) {
        return Some(time);
    }
    let plain = value.strip_suffix(" UTC").unwrap_or(value);
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(plain, format) {
            return Some(utc(time));
        }
        if let Ok(time) = DateTime::parse_from_str(value, &format!("{format}%#z")) {
            return Some(time);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_that_taps_write_are_read() {
        for (text, expected) in [
            ("2026-01-31T08:00:00Z", "2026-01-31T08:00:00+00:00"),
            ("2026-01-31 08:00:00", "2026-01-31T08:00:00+00:00"),
            ("2026-01-31 08:00:00.5 UTC", "2026-01-31T08:00:00.500+00:00"),
            ("2026-01-31 08:00:00+00", "2026-01-31T08:00:00+00:00"),
            ("2026-01-31T08:00:00+0200", "2026-01-31T08:00:00+02:00"),
            ("2026-01-31T08:00", "2026-01-31T08:00:00+00:00"),
            ("2026-01-31", "2026-01-31T00:00:00+00:00"),
            ("20260131080000Z", "2026-01-31T08:00:00+00:00"),
        ] {
            assert_eq!(read_time(text).map(|t| t.to_rfc3339()).as_deref(), Some(expected), "{text}");
        }
        for text in ["", " ", "0", "null", "false", "soon", "2026", "2026-13-01", "20260131", "1767225600"] {
            assert_eq!(read_time(text), None, "{text}");
        }
    }
}
