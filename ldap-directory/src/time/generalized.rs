//! The times of LDAP: GeneralizedTime (RFC 4517 section 3.3.13) and UTCTime (section 3.3.34).

use std::borrow::Cow;

use chrono::{DateTime, Datelike as _, FixedOffset, NaiveDate, NaiveDateTime, TimeDelta, Timelike as _};

/// The time in `pwdAccountLockedTime` that means "until an administrator unlocks it" (draft-behera-ldap-password-policy-10 section 5.3.3).
pub const LOCKED_FOR_EVER: &str = "000001010000Z";

/// Returns whether a time of `pwdAccountLockedTime` is [`LOCKED_FOR_EVER`], in any spelling: some clients write it with seconds, and
/// OpenLDAP compares instants.
///
/// ```
/// use ldap_directory::time::generalized::is_locked_for_ever;
///
/// assert!(is_locked_for_ever("000001010000Z") && is_locked_for_ever("00000101000000Z"));
/// assert!(!is_locked_for_ever("20260131080000Z"));
/// ```
pub fn is_locked_for_ever(time: &str) -> bool {
    let instant = |text: &str| GeneralizedTime::read(text).and_then(|time| time.to_normal_form());
    // Not every server insists on the case.
    let time = instant(&time.trim().to_ascii_uppercase());
    time.is_some() && time == instant(LOCKED_FOR_EVER)
}

/// An instant as an LDAP server writes it, exact to the last digit of its fraction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneralizedTime<'a> {
    /// The second in UTC; for a leap second, the one before it.
    utc: NaiveDateTime,
    /// RFC 4517 allows second 60.
    is_leap: bool,
    /// The digits of the fraction of a second, as written.
    fraction: Cow<'a, str>,
    /// The offset of the text.
    offset: FixedOffset,
}

impl<'a> GeneralizedTime<'a> {
    /// Parses `YYYYMMDDHH[MM[SS]][.fraction](Z|+HH[MM]|-HH[MM])`. The fraction belongs to the smallest unit in the text. Returns
    /// `None` for every other text.
    ///
    /// ```
    /// use ldap_directory::time::generalized::GeneralizedTime;
    ///
    /// let normal = |text| GeneralizedTime::read(text).and_then(|time| time.to_normal_form());
    /// assert_eq!(normal("20260131080000.50Z").as_deref(), Some("20260131080000.5Z"));
    /// assert_eq!(normal("2026013109.5+0130"), normal("20260131080000Z"));
    /// assert_eq!(normal("20261331000000Z"), None);
    /// ```
    pub fn read(text: &'a str) -> Option<Self> {
        let (year, rest) = number(text, 4)?;
        Self::read_from(year, rest, Shape::Generalized)
    }

    /// Parses a UTCTime: `YYMMDDHHMM[SS](Z|+HH[MM]|-HH[MM])`. Years before 50 are 20YY (RFC 5280 section 4.1.2.5.1).
    pub fn read_utc_time(text: &'a str) -> Option<Self> {
        let (year, rest) = number(text, 2)?;
        Self::read_from(if year < 50 { 2000 + year } else { 1900 + year }, rest, Shape::UtcTime)
    }

    fn read_from(year: u32, rest: &'a str, shape: Shape) -> Option<Self> {
        let (month, rest) = number(rest, 2)?;
        let (day, rest) = number(rest, 2)?;
        let (hour, mut rest) = number(rest, 2)?;
        let (mut minute, mut second, mut unit_seconds) = (0, 0, 3600);
        if let Some((value, after)) = number(rest, 2) {
            (minute, rest, unit_seconds) = (value, after, 60);
            if let Some((value, after)) = number(rest, 2) {
                (second, rest, unit_seconds) = (value, after, 1);
            }
        }
        let mut digits = "";
        match shape {
            Shape::Generalized => {
                if let Some(after) = rest.strip_prefix(['.', ',']) {
                    let end = after.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
                    (digits, rest) = after.split_at_checked(end)?;
                }
            }
            Shape::UtcTime if unit_seconds == 3600 => return None,
            Shape::UtcTime => {}
        }
        let offset = offset(rest)?;
        let is_leap = second == 60;
        let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
        let written = date.and_hms_opt(hour, minute, if is_leap { 59 } else { second })?;
        let (seconds, fraction) = in_seconds(digits, unit_seconds);
        let utc = written
            .checked_add_signed(TimeDelta::seconds(seconds))?
            .checked_sub_signed(TimeDelta::seconds(i64::from(offset.local_minus_utc())))?;
        Some(Self { utc, is_leap, fraction, offset })
    }

    /// Returns RFC 3339 in UTC, with the fraction as written; `None` outside the years 1 to 9999, and for a second 60 that is not a leap
    /// second: RFC 3339 does not have these.
    pub fn to_rfc3339(&self) -> Option<String> {
        let is_there = self.utc.year() > 0 && (!self.is_leap || self.may_be_leap_second());
        self.written("%Y-%m-%dT%H:%M:", &self.fraction).filter(|_| is_there)
    }

    /// Returns whether the second may be followed by a leap second: the last one of a month (RFC 3339 section 5.7).
    fn may_be_leap_second(&self) -> bool {
        let (hour, minute) = (self.utc.hour(), self.utc.minute());
        hour == 23 && minute == 59 && self.utc.date().succ_opt().is_some_and(|next| next.day() == 1)
    }

    /// Returns the normal form of all texts for the instant: UTC, with seconds, the fraction without trailing zeros. `None` if its
    /// year does not have four digits.
    pub fn to_normal_form(&self) -> Option<String> {
        self.written("%Y%m%d%H%M", self.fraction.trim_end_matches('0'))
    }

    fn written(&self, up_to_minute: &str, fraction: &str) -> Option<String> {
        if !(0..=9999).contains(&self.utc.year()) {
            return None;
        }
        let second = if self.is_leap { 60 } else { self.utc.second() };
        let point = if fraction.is_empty() { "" } else { "." };
        Some(format!("{}{second:02}{point}{fraction}Z", self.utc.format(up_to_minute)))
    }

    /// Returns the instant in the offset of the text, truncated to nanoseconds.
    pub fn to_date_time(&self) -> Option<DateTime<FixedOffset>> {
        let billionths = self
            .fraction
            .bytes()
            .chain(std::iter::repeat(b'0'))
            .take(9)
            .fold(0, |n: u32, digit| n * 10 + u32::from(digit.saturating_sub(b'0')));
        // chrono represents a leap second by two billion nanoseconds.
        let leap = if self.is_leap { 1_000_000_000 } else { 0 };
        Some(self.utc.with_nanosecond(billionths + leap)?.and_utc().with_timezone(&self.offset))
    }

    /// Returns whole seconds since 1970; a leap second counts as the second before it.
    pub fn unix_seconds(&self) -> i64 {
        self.utc.and_utc().timestamp()
    }
}

#[derive(Clone, Copy)]
enum Shape {
    Generalized,
    /// Has minutes, and no fraction.
    UtcTime,
}

/// Converts a fraction of an hour, a minute or a second to whole seconds, and the digits of the remaining fraction of a second.
/// Exact: the digits are multiplied one by one, for any number of digits.
fn in_seconds(digits: &str, unit_seconds: u16) -> (i64, Cow<'_, str>) {
    if unit_seconds == 1 || digits.is_empty() {
        return (0, Cow::Borrowed(digits));
    }
    let mut carry = 0;
    let mut product: Vec<char> = digits
        .bytes()
        .rev()
        .map(|digit| {
            carry += u32::from(digit.saturating_sub(b'0')) * u32::from(unit_seconds);
            let digit = char::from_digit(carry % 10, 10).unwrap_or('0');
            carry /= 10;
            digit
        })
        .collect();
    product.reverse();
    let fraction: String = product.into_iter().collect();
    (i64::from(carry), Cow::Owned(fraction.trim_end_matches('0').to_owned()))
}

/// Parses `Z`, `+HH` or `-HHMM`.
fn offset(zone: &str) -> Option<FixedOffset> {
    if zone == "Z" {
        return FixedOffset::east_opt(0);
    }
    let (sign, rest) =
        zone.strip_prefix('+').map(|rest| (1, rest)).or_else(|| Some((-1, zone.strip_prefix('-')?)))?;
    let (hours, rest) = number(rest, 2)?;
    let minutes = if rest.is_empty() { 0 } else { number(rest, 2).filter(|(_, end)| end.is_empty())?.0 };
    if hours > 23 || minutes > 59 {
        return None;
    }
    FixedOffset::east_opt(sign * i32::try_from(hours * 3600 + minutes * 60).ok()?)
}

/// Parses a number of exactly `digits` digits. Returns it with the rest of the text.
fn number(text: &str, digits: usize) -> Option<(u32, &str)> {
    let (number, rest) = text.split_at_checked(digits)?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((number.parse().ok()?, rest))
}

/// Converts the form that servers write, `20200101123015Z`, to RFC 3339 in one step; `None` for any other form, even if valid.
/// It needs a tenth of the instructions of [`GeneralizedTime::read`], and is called for each entry.
#[inline]
pub(crate) fn plain_to_rfc3339(value: &[u8]) -> Option<[u8; 20]> {
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

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;
    use proptest::prelude::*;

    use super::*;

    fn rfc3339(text: &str) -> Option<String> {
        GeneralizedTime::read(text)?.to_rfc3339()
    }

    #[test]
    fn every_form_becomes_the_same_instant() {
        for (text, expected) in [
            ("2020010112Z", "2020-01-01T12:00:00Z"),
            ("202001011230Z", "2020-01-01T12:30:00Z"),
            ("2020010112.5Z", "2020-01-01T12:30:00Z"),
            ("2020010112.123Z", "2020-01-01T12:07:22.8Z"),
            ("202001011230,5Z", "2020-01-01T12:30:30Z"),
            ("202001011230.508333Z", "2020-01-01T12:30:30.49998Z"),
            ("202001011230.00000000000000000000000001Z", "2020-01-01T12:30:00.0000000000000000000000006Z"),
            ("2020010100.99999999999999999999999999Z", "2020-01-01T00:59:59.999999999999999999999964Z"),
            ("20200101123015.120Z", "2020-01-01T12:30:15.120Z"),
            ("20200101123015+0130", "2020-01-01T11:00:15Z"),
            ("20200101003015+01", "2019-12-31T23:30:15Z"),
            ("20191231190000-05", "2020-01-01T00:00:00Z"),
            ("20161231235960Z", "2016-12-31T23:59:60Z"),
            ("20170101005960.5+01", "2016-12-31T23:59:60.5Z"),
        ] {
            assert_eq!(rfc3339(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_or_has_no_year() {
        for text in [
            "",
            "Z",
            "2020",
            "20200101",
            "2020010112",
            "20200101000000",
            "20201301000000Z",
            "20200230000000Z",
            "2020010124Z",
            "202001010060Z",
            "20200101000061Z",
            "20200101000000.Z",
            "20200101000000.5",
            "20200101000000z",
            "20200101000000+",
            "20200101000000+1",
            "20200101000000+010",
            "20200101000000+2400",
            "20200101000000+0160",
            "20200101000000+01000",
            "20200101000000ZZ",
            " 20200101000000Z",
            "+0200101000000Z",
            "２０２０0101000000Z",
        ] {
            assert_eq!(GeneralizedTime::read(text), None, "{text}");
        }
        for text in [
            "000001010000Z",
            "99991231235959-0500",
            "00010101000000+0100",
            "20240101123060Z",
            "20161231235960+0100",
            "20161230235960Z",
        ] {
            assert_eq!(rfc3339(text), None, "{text}");
        }
        // The instant can still be compared.
        let zero = GeneralizedTime::read("000001010000Z").and_then(|time| time.to_normal_form());
        assert_eq!(zero.as_deref(), Some("00000101000000Z"));
    }

    #[test]
    fn utc_time_has_two_digits_for_the_year_and_no_fraction() {
        for (text, expected) in [
            ("9912312359Z", "1999-12-31T23:59:00Z"),
            ("491231235958Z", "2049-12-31T23:59:58Z"),
            ("500101000000Z", "1950-01-01T00:00:00Z"),
            ("0001010059+0100", "1999-12-31T23:59:00Z"),
        ] {
            let time = GeneralizedTime::read_utc_time(text).and_then(|time| time.to_rfc3339());
            assert_eq!(time.as_deref(), Some(expected), "{text}");
        }
        for text in ["99123123Z", "20200101123015Z", "9912312359.5Z", "9912312359", "9913312359Z"] {
            assert_eq!(GeneralizedTime::read_utc_time(text), None, "{text}");
        }
    }

    /// An instant, the number of its parts in the text, the digits of a fraction and an offset in minutes.
    fn moments() -> impl Strategy<Value = (NaiveDateTime, usize, String, i32)> {
        let seconds =
            NaiveDate::from_ymd_opt(2, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp()
                ..NaiveDate::from_ymd_opt(9999, 1, 1)
                    .unwrap()
                    .and_hms_opt(0, 0, 0)
                    .unwrap()
                    .and_utc()
                    .timestamp();
        (seconds, 0..3usize, "[0-9]{0,9}", -1439..1440).prop_map(|(seconds, parts, fraction, offset)| {
            let time = DateTime::from_timestamp(seconds, 0).unwrap().naive_utc();
            (time, parts, fraction, offset)
        })
    }

    proptest! {
        #[test]
        fn chrono_reads_the_same_moment((time, parts, fraction, offset) in moments()) {
            let (format, unit) = [("%Y%m%d%H", 3600), ("%Y%m%d%H%M", 60), ("%Y%m%d%H%M%S", 1)][parts];
            let digits = time.format(format).to_string();
            // Omitted parts are zero.
            let whole = format!("{digits:0<14}");
            let whole = NaiveDateTime::parse_from_str(&whole, "%Y%m%d%H%M%S").unwrap();
            let billionths: i64 = format!("{fraction:0<9}").parse().unwrap();
            let zone = FixedOffset::east_opt(offset * 60).unwrap();
            let expected =
                zone.from_local_datetime(&(whole + TimeDelta::nanoseconds(billionths * unit))).unwrap();

            let sign = if offset < 0 { '-' } else { '+' };
            let point = if fraction.is_empty() { "" } else { "." };
            let text =
                format!("{digits}{point}{fraction}{sign}{:02}{:02}", offset.abs() / 60, offset.abs() % 60);
            let read = GeneralizedTime::read(&text).unwrap();
            prop_assert_eq!(read.to_date_time().unwrap(), expected, "{}", &text);
            prop_assert_eq!(*read.to_date_time().unwrap().offset(), zone);
            prop_assert_eq!(read.unix_seconds(), expected.timestamp());
            let rfc3339 = DateTime::parse_from_rfc3339(&read.to_rfc3339().unwrap()).unwrap();
            prop_assert_eq!(rfc3339, expected, "{}", &text);
            // The normal form is the same instant, and its own normal form.
            let normal = read.to_normal_form().unwrap();
            let again = GeneralizedTime::read(&normal).unwrap();
            prop_assert_eq!(again.to_date_time().unwrap(), expected, "{}", &text);
            prop_assert_eq!(again.to_normal_form().unwrap(), normal);
        }

        #[test]
        fn no_text_is_too_much(text in "[0-9]{0,16}[.,]?[0-9]{0,40}(Z|[+-][0-9]{0,4})?|\\PC*") {
            if let Some(time) = GeneralizedTime::read(&text) {
                let _ = (time.to_rfc3339(), time.to_normal_form(), time.to_date_time(), time.unix_seconds());
            }
            let _ = GeneralizedTime::read_utc_time(&text);
        }

        #[test]
        fn the_plain_form_is_read_as_every_form_is(
            text in "(19|20|00)[0-9]{2}(0[0-9]|1[0-3])[0-3][0-9][0-2][0-9][0-6][0-9][0-6][0-9]Z"
        ) {
            let plain = plain_to_rfc3339(text.as_bytes());
            // A leap second is left to the general parser.
            if !text.ends_with("60Z") {
                prop_assert_eq!(plain.map(|t| String::from_utf8(t.to_vec()).unwrap()), rfc3339(&text));
            }
        }
    }
}
