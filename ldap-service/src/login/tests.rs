use super::*;

#[test]
fn addresses_of_one_network_count_as_one() {
    let of = |text: &str| network(text.parse().unwrap()).to_string();
    assert_eq!(of("192.0.2.7"), "192.0.2.7");
    assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
}

#[test]
fn trap_16_each_refusal_has_its_code() {
    let whys = [
        Refusal::PasswordExpired,
        Refusal::MustChange,
        Refusal::Disabled,
        Refusal::AccountExpired,
        Refusal::LogonHours,
        Refusal::Workstation,
    ];
    let errors = whys.map(not_usable);
    let codes: std::collections::BTreeSet<&str> = errors.iter().map(|error| error.code).collect();
    assert_eq!(codes.len(), whys.len());
    assert!(errors.iter().all(|error| error.status == StatusCode::FORBIDDEN));
    assert!(codes.iter().all(|code| crate::error::CODES.contains(code)), "{codes:?}");
}

#[test]
fn a_wait_is_rounded_up() {
    let error = throttled(Duration::from_millis(1200));
    assert_eq!((error.status.as_u16(), error.retry_after), (429, Some(Duration::from_secs(2))));
}
