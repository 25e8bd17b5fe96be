//! Functions that the SDK does not have.

use chrono::NaiveDate;
use ldap_directory::time::Zone;

use super::*;
use crate::maps::extras::Moment;

pub(super) fn moment() -> Moment {
    Moment { today: NaiveDate::from_ymd_opt(2026, 3, 1).unwrap(), zone: Zone::Utc }
}

#[test]
fn dates_and_patterns() {
    for (expression, expected) in [
        ("today()", json!("2026-03-01")),
        ("days_between(today(), '2026-03-16-07:00')", json!(15)),
        ("days_between('2026-03-02T23:00:00+09:00', today())", json!(-1)),
        ("add_days('2026-02-28', 1)", json!("2026-03-01")),
        ("add_months('2026-01-31', -2)", json!("2025-11-30")),
        ("add_days('2026-02-28T12:00:00+01:00', n)", json!("2026-03-07T12:00:00+01:00")),
        ("read_date('16/03/2026', '%d/%m/%Y')", json!("2026-03-16")),
        ("read_date('/Date(1388534400000+0000)/', 'epoch_ms')", json!("2014-01-01T00:00:00+00:00")),
        // Never, as Active Directory writes it.
        ("read_date('9223372036854775807', 'filetime')", json!(null)),
        ("read_date(0, 'filetime')", json!(null)),
        ("read_date(134117279990000000, 'filetime')", json!("2026-01-01T07:59:59+00:00")),
        ("read_date(0, 'epoch')", json!("1970-01-01T00:00:00+00:00")),
        ("format_date(today(), '%Y%m%d%H%M%S.0Z')", json!("20260301000000.0Z")),
        ("epoch('1970-01-02')", json!(86400)),
        ("filetime('2025-12-31T23:59:59-08:00')", json!(134_117_279_990_000_000_i64)),
        ("to_ascii('Zoë Weiß').lower()", json!("zoe weiss")),
        ("re.sub('[()\\\\s-]+', '', '+1 (555) 123-4567')", json!("+15551234567")),
        (
            "re.sub(r'(?P<first>\\w+) (\\w+)', r'\\2, \\g<first>\\\\', 'Ada Lovelace')",
            json!("Lovelace, Ada\\"),
        ),
        ("re.sub('^0+', '', id)", json!("1")),
        ("'yes' if days_between(today(), add_days(today(), 14)) <= 14 else 'no'", json!("yes")),
    ] {
        assert_eq!(of(expression), Ok(expected), "{expression}");
    }
    for expression in [
        "days_between('x', today())",
        "days_between(None, today())",
        "add_days(today(), 'x')",
        "add_days(today(), 10000000000)",
        "format_date(today(), '%Q')",
        "re.sub('(', '', id)",
        "re.sub('a', '\\\\1', id)",
        "re.sub('a', mail, id)",
        "re.sub('a', 'b')",
        "re.sub('.', 'x', n)",
        "today(1)",
    ] {
        let error = of(expression).unwrap_err();
        assert!(!error.contains("Ada"), "{expression}: {error}");
    }
}
