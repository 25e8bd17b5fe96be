//! LDAP's times and RFC 3339. Fractions are kept as text, never converted to a float.

use std::time::SystemTime;

use chrono::{
    DateTime, Datelike as _, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, TimeZone, Utc,
};

use super::InvalidValue;
use crate::time::Zone;
use crate::time::generalized::GeneralizedTime;

/// 100 ns steps from 1601-01-01 to 1970-01-01.
const FILETIME_UNIX_EPOCH: i64 = 116_444_736_000_000_000;
const STEPS_PER_SECOND: i64 = 10_000_000;
const NANOSECONDS_PER_STEP: u32 = 100;

/// Returns whether RFC 3339 can represent the year: 1 to 9999.
fn has_year(time: NaiveDateTime) -> bool {
    (1..=9999).contains(&time.year())
}

/// Converts a GeneralizedTime (RFC 4517 section 3.3.13) to RFC 3339 in UTC.
///
/// # Errors
/// Fails if the text is not a GeneralizedTime, or its year is not in 1 to 9999.
///
/// ```
/// use ldap_directory::schema::syntax::{InvalidValue, generalized_to_rfc3339};
///
/// assert_eq!(generalized_to_rfc3339("202601310800+0100")?, "2026-01-31T07:00:00Z");
/// assert_eq!(generalized_to_rfc3339("yesterday"), Err(InvalidValue));
/// # Ok::<(), InvalidValue>(())
/// ```
pub fn generalized_to_rfc3339(text: &str) -> Result<String, InvalidValue> {
    GeneralizedTime::read(text).and_then(|time| time.to_rfc3339()).ok_or(InvalidValue)
}

/// Converts a UTCTime (RFC 4517 section 3.3.34) to RFC 3339 in UTC.
pub(super) fn utc_time_to_rfc3339(text: &str) -> Result<String, InvalidValue> {
    GeneralizedTime::read_utc_time(text).and_then(|time| time.to_rfc3339()).ok_or(InvalidValue)
}

/// Returns the time of a number of 100 ns steps since 1601; `None` for "never" (0 and 2^63-1).
///
/// # Errors
/// It is not a number, or RFC 3339 does not have its year.
pub(crate) fn filetime(text: &str) -> Result<Option<DateTime<Utc>>, InvalidValue> {
    let steps: i64 = text.parse().map_err(|_| InvalidValue)?;
    if steps == 0 || steps == i64::MAX {
        return Ok(None);
    }
    let unix = steps.checked_sub(FILETIME_UNIX_EPOCH).ok_or(InvalidValue)?;
    let rest = u32::try_from(unix.rem_euclid(STEPS_PER_SECOND)).map_err(|_| InvalidValue)?;
    let time = DateTime::from_timestamp(unix.div_euclid(STEPS_PER_SECOND), rest * NANOSECONDS_PER_STEP);
    time.filter(|time| has_year(time.naive_utc())).map(Some).ok_or(InvalidValue)
}

/// Returns a time as a number of 100 ns steps since 1601; `None` if there is none, or it means "never".
pub(crate) fn to_filetime<Z: TimeZone>(time: &DateTime<Z>) -> Option<i64> {
    let steps = i64::from(time.timestamp_subsec_nanos() / NANOSECONDS_PER_STEP);
    let unix = time.timestamp().checked_mul(STEPS_PER_SECOND)?.checked_add(steps)?;
    // They begin in 1601, and 0 means "never".
    unix.checked_add(FILETIME_UNIX_EPOCH).filter(|steps| *steps > 0 && has_year(time.naive_utc()))
}

/// Converts 100 ns since 1601 to RFC 3339; `None` for "never" (0 and 2^63-1).
pub(super) fn filetime_to_rfc3339(text: &str) -> Result<Option<String>, InvalidValue> {
    let Some(time) = filetime(text)? else { return Ok(None) };
    let mut out = time.format("%Y-%m-%dT%H:%M:%S").to_string();
    let rest = time.timestamp_subsec_nanos() / NANOSECONDS_PER_STEP;
    if rest != 0 {
        let fraction = format!("{rest:07}");
        out.push('.');
        out.push_str(fraction.trim_end_matches('0'));
    }
    out.push('Z');
    Ok(Some(out))
}

/// Parses an RFC 3339 text (or a date, or a GeneralizedTime), in UTC, with its fraction as text.
fn parse(text: &str, zone: Zone) -> Result<(DateTime<Utc>, String), InvalidValue> {
    let text = text.trim();
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        let time = zone.at(date.and_time(NaiveTime::MIN)).ok_or(InvalidValue)?;
        return Ok((time.with_timezone(&Utc), String::new()));
    }
    let normal = if text.bytes().take(8).all(|b| b.is_ascii_digit()) {
        generalized_to_rfc3339(text)?
    } else {
        text.replacen(' ', "T", 1)
    };
    let time: DateTime<FixedOffset> = DateTime::parse_from_rfc3339(&normal)
        .ok()
        .or_else(|| zone.at(DateTime::parse_from_rfc3339(&format!("{normal}Z")).ok()?.naive_utc()))
        .or_else(|| crate::time::read_time_in(text, zone))
        .ok_or(InvalidValue)?;
    let fraction = normal
        .split_once('.')
        .map(|(_, tail)| tail.chars().take_while(char::is_ascii_digit).collect())
        .unwrap_or_default();
    Ok((time.with_timezone(&Utc), fraction))
}

/// Converts RFC 3339 (or a plain date) to a GeneralizedTime in UTC.
///
/// # Errors
/// Fails if the text is not a time, or its year in UTC is not in 1 to 9999.
pub fn rfc3339_to_generalized(text: &str) -> Result<String, InvalidValue> {
    to_generalized(text, Zone::Utc)
}

/// The same; a time without an offset is in the zone.
pub(super) fn to_generalized(text: &str, zone: Zone) -> Result<String, InvalidValue> {
    // RFC 3339 does not have the year 0, and a lock that never ends has it (`is_locked_for_ever`).
    if text.trim().starts_with("0000") && GeneralizedTime::read(text.trim()).is_some() {
        return Ok(text.trim().to_owned());
    }
    let (time, fraction) = parse(text, zone)?;
    // The offset may move it out of the valid years.
    if !has_year(time.naive_utc()) {
        return Err(InvalidValue);
    }
    let mut out = time.format("%Y%m%d%H%M").to_string();
    // chrono shows a leap second as second 59 with a full second of nanoseconds.
    let leap = time.timestamp_subsec_nanos() >= 1_000_000_000;
    out.push_str(&if leap { "60".to_owned() } else { time.format("%S").to_string() });
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(&fraction);
    }
    out.push('Z');
    Ok(out)
}

pub(super) fn rfc3339_to_utc_time(text: &str, zone: Zone) -> Result<String, InvalidValue> {
    let (time, _) = parse(text, zone)?;
    let four_digits = time.format("%Y").to_string();
    if !("1950".."2050").contains(&four_digits.as_str()) {
        return Err(InvalidValue);
    }
    Ok(time.format("%y%m%d%H%M%SZ").to_string())
}

/// The numbers by which Active Directory represents "never" or "no time".
pub(super) const NO_FILETIME: [&str; 2] = ["0", "9223372036854775807"];

pub(super) fn rfc3339_to_filetime(text: &str, zone: Zone) -> Result<String, InvalidValue> {
    // -1 is "now" (`pwdLastSet`).
    if NO_FILETIME.contains(&text) || text == "-1" {
        return Ok(text.to_owned());
    }
    let (time, _) = parse(text, zone)?;
    let steps = to_filetime(&time).ok_or(InvalidValue)?;
    Ok(steps.to_string())
}

/// Returns the current time as RFC 3339, with microseconds.
pub fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A clock that returns the same as [`now`]. While the second is the same, only the fraction is formatted.
#[derive(Debug, Default)]
pub struct Clock {
    second: u64,
    text: String,
}

impl Clock {
    /// Returns the current time as RFC 3339.
    pub fn now(&mut self) -> &str {
        // Before 1970, all times are the same: such a clock is not set.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.at(since)
    }

    fn at(&mut self, since_1970: std::time::Duration) -> &str {
        const FRACTION: usize = 20;
        if self.second != since_1970.as_secs() || self.text.is_empty() {
            self.second = since_1970.as_secs();
            let time = DateTime::<Utc>::from(SystemTime::UNIX_EPOCH + since_1970);
            self.text = time.to_rfc3339_opts(SecondsFormat::Micros, true);
        } else {
            let mut rest = since_1970.subsec_micros();
            let mut digits = [b'0'; 6];
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
                rest /= 10;
            }
            self.text.truncate(FRACTION);
            self.text.push_str(std::str::from_utf8(&digits).unwrap_or_default());
            self.text.push('Z');
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_tells_what_chrono_tells() {
        let mut clock = Clock::default();
        for micros in [0, 1, 999_999, 1_000_000, 1_000_007, 1_790_000_000_123_456, 1_790_000_000_000_040] {
            let expected = DateTime::from_timestamp_micros(micros).unwrap();
            assert_eq!(
                clock.at(std::time::Duration::from_micros(micros.unsigned_abs())),
                expected.to_rfc3339_opts(SecondsFormat::Micros, true)
            );
        }
    }

    #[test]
    fn what_people_write_as_a_time_is_understood() {
        for (text, expected) in [
            ("2020-01-02", "20200102000000Z"),
            ("2020-01-02T03:04:05+01:00", "20200102020405Z"),
            ("2020-01-02 03:04:05.250", "20200102030405.250Z"),
            ("20200102030405Z", "20200102030405Z"),
        ] {
            assert_eq!(rfc3339_to_generalized(text).as_deref(), Ok(expected), "{text}");
        }
        // What is not in RFC 3339 is written as it is.
        for text in ["000001010000Z", "00000101000000Z", "0000010100Z"] {
            assert_eq!(rfc3339_to_generalized(text).as_deref(), Ok(text));
        }
        for text in ["tomorrow", "0000", "00001301000000Z", "0000-01-01T00:00:00Z"] {
            assert!(rfc3339_to_generalized(text).is_err(), "{text}");
        }
    }
}
