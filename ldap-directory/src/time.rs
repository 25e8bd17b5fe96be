//! Times in the texts of records, in all common forms.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime};

use generalized::GeneralizedTime;

pub mod generalized;

/// Parses RFC 3339, a date, or GeneralizedTime, and the forms that databases print: a space instead of `T`, an offset without a
/// colon or of hours alone, ` UTC`. A time without an offset is in UTC. Returns `None` for every other text.
///
/// ```
/// use ldap_directory::time::read_time;
///
/// let times = ["2026-01-31T08:00:00Z", "2026-01-31 09:00:00+01", "20260131080000Z"];
/// assert!(times.iter().all(|text| read_time(text) == read_time("2026-01-31 08:00")));
/// assert_eq!(read_time("soon"), None);
/// ```
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
    GeneralizedTime::read(value)?.to_date_time()
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
            ("20260131080000.25+0130", "2026-01-31T08:00:00.250+01:30"),
        ] {
            assert_eq!(read_time(text).map(|t| t.to_rfc3339()).as_deref(), Some(expected), "{text}");
        }
        for text in ["", " ", "0", "null", "false", "soon", "2026", "2026-13-01", "20260131", "1767225600"] {
            assert_eq!(read_time(text), None, "{text}");
        }
    }
}
