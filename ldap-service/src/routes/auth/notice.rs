//! What the login page says about a password that was accepted, and soon is not.

use std::time::Duration;

use ldap_directory::client::PasswordState;

/// A page between the login and what it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) title: &'static str,
    pub(super) text: String,
}

impl Notice {
    /// Returns what a person must know; `None` if the directory reports nothing.
    pub(super) fn of(state: &PasswordState) -> Option<Notice> {
        if let Some(left) = state.grace_logins {
            let often = match left {
                0 => "This was the last login with it".to_owned(),
                1 => "One more login with it is possible".to_owned(),
                _ => format!("{left} more logins with it are possible"),
            };
            let text = format!("{often}: have a new password set now.");
            return Some(Notice { title: "Your password has expired", text });
        }
        let left = state.expires_in?;
        let text =
            format!("It expires in {}. Change it before, or you cannot log in any more.", in_units(left));
        Some(Notice { title: "Your password expires soon", text })
    }
}

/// Returns a time in its largest unit, rounded down.
fn in_units(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second")];
    let (length, name) = units.into_iter().find(|(length, _)| seconds >= *length).unwrap_or((1, "second"));
    let count = seconds / length;
    if count == 1 { format!("1 {name}") } else { format!("{count} {name}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_directory_reports_is_told() {
        let state = PasswordState::default();
        assert_eq!(Notice::of(&state), None);
        let text = |state: PasswordState| Notice::of(&state).map(|notice| notice.text).unwrap();
        for (seconds, expected) in
            [(0, "0 seconds"), (59, "59 seconds"), (60, "1 minute"), (7_300, "2 hours"), (259_200, "3 days")]
        {
            let text = text(PasswordState { expires_in: Some(Duration::from_secs(seconds)), ..state });
            assert!(text.contains(&format!("in {expected}.")), "{text}");
        }
        for (left, expected) in [(0, "the last"), (1, "One more login"), (3, "3 more logins")] {
            // Both: it has expired.
            let state = PasswordState { grace_logins: Some(left), expires_in: Some(Duration::ZERO), ..state };
            assert!(text(state).contains(expected), "{left}");
        }
    }
}
