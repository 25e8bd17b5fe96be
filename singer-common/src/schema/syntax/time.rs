//! LDAP's times and RFC 3339. Fractions are kept as they are written: they are text, never a float.

use std::time::SystemTime;

use chrono::{
    DateTime, Datelike as _, Duration, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat,
    TimeZone, Utc,
};

use super::InvalidValue;

/// 100 ns steps from 1601-01-01 to 1970-01-01.
const FILETIME_UNIX_EPOCH: i64 = 116_444_736_000_000_000;
const STEPS_PER_SECOND: i64 = 10_000_000;

/// Takes `count` digits off the front.
fn digits<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(count)?;
    head.iter().all(u8::is_ascii_digit).then(|| *rest = tail)?;
    Some(head)
}

fn number(rest: &mut &[u8], count: usize) -> Option<u32> {
    Some(digits(rest, count)?.iter().fold(0, |n, d| n * 10 + u32::from(d - b'0')))
}

/// Whether RFC 3339 and those who read it have the year: 1 to 9999.
fn has_year(time: NaiveDateTime) -> bool {
    (1..=9999).contains(&time.year())
}

/// GeneralizedTime (RFC 4517 section 3.3.13) as RFC 3339 in UTC.
pub fn generalized_to_rfc3339(text: &str) -> Result<String, InvalidValue> {
    generalized(text.as_bytes()).ok_or(InvalidValue)
}

fn generalized(text: &[u8]) -> Option<String> {
    let mut rest = text;
    let year = number(&mut rest, 4)?;
    let (month, day, hour) = (number(&mut rest, 2)?, number(&mut rest, 2)?, number(&mut rest, 2)?);
    let minute = number(&mut rest, 2);
    let second = minute.and_then(|_| number(&mut rest, 2));
    let fraction = fraction(&mut rest)?;
    let offset = offset(&mut rest)?;
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    // A fraction belongs to the smallest unit that is there: of an hour or a minute it becomes seconds.
    let (unit_seconds, keep) = match (minute, second) {
        (None, _) => (3600, false),
        (_, None) => (60, false),
        _ => (1, true),
    };
    // RFC 4517 allows the leap second; chrono keeps it as the second before, so it is put back below.
    let leap = second == Some(60);
    let time =
        NaiveTime::from_hms_opt(hour, minute.unwrap_or(0), if leap { 59 } else { second.unwrap_or(0) })?;
    let mut utc = NaiveDateTime::new(date, time).checked_sub_signed(offset)?;
    let mut kept = fraction;
    if !keep && !fraction.is_empty() {
        let parts: u64 = fraction.get(..9).unwrap_or(fraction).parse().ok()?;
        let scale = 10_u64.pow(u32::try_from(fraction.len().min(9)).ok()?);
        utc = utc.checked_add_signed(Duration::seconds(i64::try_from(parts * unit_seconds / scale).ok()?))?;
        kept = "";
    }
    if !has_year(utc) {
        return None;
    }
    let mut out = utc.format("%Y-%m-%dT%H:%M:").to_string();
    out.push_str(&if leap { "60".to_owned() } else { utc.format("%S").to_string() });
    if !kept.is_empty() {
        out.push('.');
        out.push_str(kept);
    }
    out.push('Z');
    Some(out)
}

/// The form that servers write, `20200101123015Z`, in one go; `None` for any other, which may be as right.
#[inline]
pub(super) fn plain_generalized_to_rfc3339(value: &[u8]) -> Option<[u8; 20]> {
    let [y1, y2, y3, y4, o1, o2, d1, d2, h1, h2, m1, m2, s1, s2, b'Z'] = *value else { return None };
    let digit = |octet: u8| octet.is_ascii_digit().then(|| u32::from(octet - b'0'));
    let two = |a, b| Some(digit(a)? * 10 + digit(b)?);
    let year = two(y1, y2)? * 100 + two(y3, y4)?;
    let days = match two(o1, o2)? {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        1..=12 => 31,
        _ => return None,
    };
    let is_time =
        (1..=days).contains(&two(d1, d2)?) && two(h1, h2)? < 24 && two(m1, m2)? < 60 && two(s1, s2)? < 60;
    (is_time && year > 0).then_some([
        y1, y2, y3, y4, b'-', o1, o2, b'-', d1, d2, b'T', h1, h2, b':', m1, m2, b':', s1, s2, b'Z',
    ])
}

fn fraction<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let [b'.' | b',', after @ ..] = *rest else { return Some("") };
    let length = after.iter().take_while(|b| b.is_ascii_digit()).count();
    let (fraction, tail) = after.split_at_checked(length)?;
    *rest = tail;
    (length > 0).then(|| std::str::from_utf8(fraction).ok())?
}

fn offset(rest: &mut &[u8]) -> Option<Duration> {
    match *rest {
        b"Z" => Some(Duration::zero()),
        [sign @ (b'+' | b'-'), after @ ..] => {
            let mut after = after;
            let hours = number(&mut after, 2).filter(|h| *h < 24)?;
            let minutes = if after.is_empty() { 0 } else { number(&mut after, 2).filter(|m| *m < 60)? };
            let total = Duration::minutes(i64::from(hours * 60 + minutes));
            after.is_empty().then_some(if *sign == b'+' { total } else { -total })
        }
        _ => None,
    }
}

/// UTCTime (RFC 4517 section 3.3.34); two-digit years before 50 are of this century (RFC 5280 section 4.1.2.5.1).
pub(super) fn utc_time_to_rfc3339(text: &str) -> Result<String, InvalidValue> {
    let mut rest = text.as_bytes();
    let year = number(&mut rest, 2).ok_or(InvalidValue)?;
    let century = if year < 50 { "20" } else { "19" };
    // `YYMMDDhhmmZ`: at least the minute must be there, else it is a GeneralizedTime in disguise.
    if !(text.len() == 11 || text.len() >= 13) || text.len() == 15 && text.ends_with('Z') {
        return Err(InvalidValue);
    }
    generalized_to_rfc3339(&format!("{century}{text}"))
}

/// 100 ns since 1601 as RFC 3339; `None` for "never" (0 and 2^63-1).
pub(super) fn filetime_to_rfc3339(text: &str) -> Result<Option<String>, InvalidValue> {
    let steps: i64 = text.parse().map_err(|_| InvalidValue)?;
    if steps == 0 || steps == i64::MAX {
        return Ok(None);
    }
    let unix = steps.checked_sub(FILETIME_UNIX_EPOCH).ok_or(InvalidValue)?;
    let (seconds, rest) = (unix.div_euclid(STEPS_PER_SECOND), unix.rem_euclid(STEPS_PER_SECOND));
    let time = Utc.timestamp_opt(seconds, 0).single().filter(|time| has_year(time.naive_utc()));
    let time = time.ok_or(InvalidValue)?;
    let mut out = time.format("%Y-%m-%dT%H:%M:%S").to_string();
    if rest != 0 {
        let fraction = format!("{rest:07}");
        out.push('.');
        out.push_str(fraction.trim_end_matches('0'));
    }
    out.push('Z');
    Ok(Some(out))
}

/// A time as an RFC 3339 text (or a date, or already a GeneralizedTime), in UTC, and its fraction as written.
fn parse(text: &str) -> Result<(DateTime<Utc>, String), InvalidValue> {
    let text = text.trim();
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Ok((date.and_time(NaiveTime::MIN).and_utc(), String::new()));
    }
    let normal = if text.bytes().take(8).all(|b| b.is_ascii_digit()) {
        generalized_to_rfc3339(text)?
    } else {
        text.replacen(' ', "T", 1)
    };
    let time: DateTime<FixedOffset> = DateTime::parse_from_rfc3339(&normal)
        .or_else(|_| DateTime::parse_from_rfc3339(&format!("{normal}Z")))
        .ok()
        .or_else(|| crate::time::read_time(text))
        .ok_or(InvalidValue)?;
    let fraction = normal
        .split_once('.')
        .map(|(_, tail)| tail.chars().take_while(char::is_ascii_digit).collect())
        .unwrap_or_default();
    Ok((time.with_timezone(&Utc), fraction))
}

/// RFC 3339 (or a plain date) as GeneralizedTime in UTC.
pub fn rfc3339_to_generalized(text: &str) -> Result<String, InvalidValue> {
    let (time, fraction) = parse(text)?;
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

pub(super) fn rfc3339_to_utc_time(text: &str) -> Result<String, InvalidValue> {
    let (time, _) = parse(text)?;
    let four_digits = time.format("%Y").to_string();
    if !("1950".."2050").contains(&four_digits.as_str()) {
        return Err(InvalidValue);
    }
    Ok(time.format("%y%m%d%H%M%SZ").to_string())
}

/// The numbers by which Active Directory says "never", or that there is no time.
pub(super) const NO_FILETIME: [&str; 2] = ["0", "9223372036854775807"];

pub(super) fn rfc3339_to_filetime(text: &str) -> Result<String, InvalidValue> {
    // -1 is "now" (`pwdLastSet`).
    if NO_FILETIME.contains(&text) || text == "-1" {
        return Ok(text.to_owned());
    }
    let (time, _) = parse(text)?;
    let steps = time
        .timestamp()
        .checked_mul(STEPS_PER_SECOND)
        .and_then(|s| s.checked_add(i64::from(time.timestamp_subsec_nanos() / 100)))
        .and_then(|s| s.checked_add(FILETIME_UNIX_EPOCH))
        .ok_or(InvalidValue)?;
    Ok(steps.to_string())
}

/// The current time as RFC 3339, for `time_extracted`.
pub fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// Tells the time as [`now`] does. Of the text only the fraction is written anew while the second stays the same.
#[derive(Debug, Default)]
pub struct Clock {
    second: u64,
    text: String,
}

impl Clock {
    /// The current time as RFC 3339.
    pub fn now(&mut self) -> &str {
        // Before 1970 all times are the same here: such a clock is no clock.
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
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn the_plain_form_is_read_as_every_form_is(
            text in "(19|20|00)[0-9]{2}(0[0-9]|1[0-3])[0-3][0-9][0-2][0-9][0-6][0-9][0-6][0-9]Z"
        ) {
            let plain = plain_generalized_to_rfc3339(text.as_bytes());
            let whole = generalized_to_rfc3339(&text).ok();
            // A leap second is for the other to read.
            if !text.ends_with("60Z") {
                prop_assert_eq!(plain.map(|t| String::from_utf8(t.to_vec()).unwrap()), whole);
            }
        }
    }

    #[test]
    fn every_form_of_generalized_time_becomes_the_same_instant() {
        for (text, expected) in [
            ("2020010112Z", "2020-01-01T12:00:00Z"),
            ("202001011230Z", "2020-01-01T12:30:00Z"),
            ("2020010112.5Z", "2020-01-01T12:30:00Z"),
            ("202001011230,5Z", "2020-01-01T12:30:30Z"),
            ("20200101123015+0130", "2020-01-01T11:00:15Z"),
            ("20200101003015+01", "2019-12-31T23:30:15Z"),
            ("20161231235960Z", "2016-12-31T23:59:60Z"),
        ] {
            assert_eq!(generalized_to_rfc3339(text).as_deref(), Ok(expected), "{text}");
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
        assert!(rfc3339_to_generalized("tomorrow").is_err());
    }
}
