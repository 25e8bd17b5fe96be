//! Times in the texts of records, in all common forms.

use chrono::{DateTime, FixedOffset, NaiveDate, NaiveDateTime};

use generalized::GeneralizedTime;

pub mod dates;
pub mod generalized;

/// The time zone of times that do not name one.
///
/// ```
/// use ldap_directory::time::{Zone, read_time_in};
///
/// let berlin = Zone::parse("Europe/Berlin").unwrap_or_default();
/// let time = read_time_in("2026-07-01 12:00", berlin).map(|time| time.to_rfc3339());
/// assert_eq!(time.as_deref(), Some("2026-07-01T12:00:00+02:00"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Zone {
    /// UTC.
    #[default]
    Utc,
    /// A fixed offset.
    Offset(FixedOffset),
    /// A zone of the IANA time zone database.
    Named(chrono_tz::Tz),
}

impl Zone {
    /// Parses `UTC`, a name of the IANA time zone database (`Europe/Berlin`), or an offset (`+02:00`). `None` for another text.
    pub fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("UTC") || text == "Z" {
            return Some(Self::Utc);
        }
        if text.starts_with(['+', '-']) {
            return text.parse().ok().map(Self::Offset);
        }
        text.parse().ok().map(Self::Named)
    }

    /// Returns the day that it is now in this zone.
    pub fn today(self) -> NaiveDate {
        let now = chrono::Utc::now();
        match self {
            Self::Utc => now.date_naive(),
            Self::Offset(offset) => now.with_timezone(&offset).date_naive(),
            Self::Named(zone) => now.with_timezone(&zone).date_naive(),
        }
    }

    /// Returns a local time with its offset. Of two such times the earlier one; for one that clocks skip, as if they had not been
    /// changed yet. `None`: chrono cannot represent it.
    pub fn at(self, time: NaiveDateTime) -> Option<DateTime<FixedOffset>> {
        match self {
            Self::Utc => Some(time.and_utc().fixed_offset()),
            Self::Offset(offset) => time.and_local_timezone(offset).single(),
            Self::Named(zone) => {
                let at = |time: NaiveDateTime| time.and_local_timezone(zone).earliest();
                let skipped = || {
                    let day = chrono::TimeDelta::days(1);
                    Some(at(time.checked_sub_signed(day)?)?.fixed_offset() + day)
                };
                at(time).map(|time| time.fixed_offset()).or_else(skipped)
            }
        }
    }
}

/// Parses a time as [`read_time_in`], without an offset in UTC.
///
/// ```
/// use ldap_directory::time::read_time;
///
/// let times = ["2026-01-31T08:00:00Z", "2026-01-31 09:00:00+01", "20260131080000Z"];
/// assert!(times.iter().all(|text| read_time(text) == read_time("2026-01-31 08:00")));
/// assert_eq!(read_time("soon"), None);
/// ```
pub fn read_time(value: &str) -> Option<DateTime<FixedOffset>> {
    read_time_in(value, Zone::Utc)
}

/// Parses RFC 3339, a date, or GeneralizedTime, and the forms that databases print: a space instead of `T`, an offset without a
/// colon or of hours alone, ` UTC`. A time without an offset is in the zone. Returns `None` for every other text.
pub fn read_time_in(value: &str, zone: Zone) -> Option<DateTime<FixedOffset>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(value) {
        return Some(time);
    }
    let (plain, zone) = value.strip_suffix(" UTC").map_or((value, zone), |plain| (plain, Zone::Utc));
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(plain, format) {
            return zone.at(time);
        }
        if let Ok(time) = DateTime::parse_from_str(value, &format!("{format}%#z")) {
            return Some(time);
        }
    }
    if let Ok(date) = value.parse::<NaiveDate>() {
        return zone.at(date.and_hms_opt(0, 0, 0)?);
    }
    // A date with an offset, as XML Schema has it (`2026-01-31-07:00`).
    if let Some((date, offset)) = value.split_at_checked(10)
        && let Ok(date) = date.parse::<NaiveDate>()
        && let Some(offset) = written_offset(offset)
    {
        return date.and_hms_opt(0, 0, 0)?.and_local_timezone(offset).single();
    }
    GeneralizedTime::read(value)?.to_date_time()
}

/// Parses `Z`, or an offset with a colon.
fn written_offset(text: &str) -> Option<FixedOffset> {
    match text {
        "Z" => FixedOffset::east_opt(0),
        _ if text.len() == 6 => text.parse().ok(),
        _ => None,
    }
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
            ("2026-01-31-07:00", "2026-01-31T00:00:00-07:00"),
            ("2026-01-31Z", "2026-01-31T00:00:00+00:00"),
            ("20260131080000Z", "2026-01-31T08:00:00+00:00"),
            ("20260131080000.25+0130", "2026-01-31T08:00:00.250+01:30"),
        ] {
            assert_eq!(read_time(text).map(|t| t.to_rfc3339()).as_deref(), Some(expected), "{text}");
        }
        for text in ["2026-01-31-", "2026-01-31-7", "2026-01-31-070000", "2026-01-31ZZ", "2026-01-31+25:00"] {
            assert_eq!(read_time(text), None, "{text}");
        }
        for text in ["", " ", "0", "null", "false", "soon", "2026", "2026-13-01", "20260131", "1767225600"] {
            assert_eq!(read_time(text), None, "{text}");
        }
    }

    #[test]
    fn a_zone_counts_only_where_a_time_has_none() {
        let berlin = Zone::parse("Europe/Berlin").unwrap();
        for (text, zone, expected) in [
            ("2026-01-31 08:00:00", berlin, "2026-01-31T08:00:00+01:00"),
            ("2026-07-31", berlin, "2026-07-31T00:00:00+02:00"),
            ("2026-07-31T08:00", Zone::parse("-05:30").unwrap(), "2026-07-31T08:00:00-05:30"),
            ("2026-07-31 08:00:00 UTC", berlin, "2026-07-31T08:00:00+00:00"),
            ("2026-07-31T08:00:00+0900", berlin, "2026-07-31T08:00:00+09:00"),
            ("20260731080000Z", berlin, "2026-07-31T08:00:00+00:00"),
            // Clocks are put back, and forward.
            ("2026-10-25 02:30", berlin, "2026-10-25T02:30:00+02:00"),
            ("2026-03-29 02:30", berlin, "2026-03-29T02:30:00+01:00"),
        ] {
            assert_eq!(read_time_in(text, zone).map(|t| t.to_rfc3339()).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "Europe", "Berlin", "25:00", "+99"] {
            assert_eq!(Zone::parse(text), None, "{text}");
        }
        assert_eq!(Zone::parse("utc"), Some(Zone::Utc));
    }
}
