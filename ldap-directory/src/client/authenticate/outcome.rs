//! The meaning of a server's answer to a user's bind: result code, controls, and the texts of Active Directory.

use std::time::Duration;

use super::{Authentication, PasswordState, Refusal};
use crate::protocol::message::LdapResult;
use crate::protocol::password_policy::{PolicyError, PolicyResponse};
use crate::protocol::result_code;

/// Returns the meaning of an answer, or `None` if it is an error that does not concern the user.
pub(in crate::client) fn of(result: &LdapResult, policy: &PolicyResponse) -> Option<Authentication> {
    let is_locked = policy.error == Some(PolicyError::AccountLocked);
    Some(match result.code {
        result_code::SUCCESS => Authentication::Accepted(accepted(policy)),
        result_code::INVALID_CREDENTIALS => refused(result, policy),
        result_code::INAPPROPRIATE_AUTHENTICATION | result_code::NO_SUCH_OBJECT => {
            Authentication::WrongCredentials
        }
        // 389 DS: the limit of wrong passwords, or of inactivity. The password is not compared.
        result_code::CONSTRAINT_VIOLATION => Authentication::Locked,
        // 389 DS: nsAccountLock, or an inactivated role. The password is not compared.
        result_code::UNWILLING_TO_PERFORM if is_locked => Authentication::Locked,
        result_code::REFERRAL => Authentication::Referral(result.referral.clone()),
        code if result_code::may_be_retried(code, &result.text) => {
            Authentication::Unavailable { code, text: result.text.clone() }
        }
        _ => return None,
    })
}

/// Returns why the controls of a refusal say that the credentials are not wrong.
pub(in crate::client) fn reason(policy: &PolicyResponse) -> Option<&'static str> {
    match policy.error {
        Some(PolicyError::PasswordExpired) => Some("the password has expired"),
        Some(PolicyError::AccountLocked) => Some("the account is locked"),
        Some(PolicyError::ChangeAfterReset) => Some("the password must be changed first"),
        Some(PolicyError::Other) | None => policy.has_expired.then_some("the password has expired"),
    }
}

/// Returns the state of an accepted password.
pub(in crate::client) fn accepted(policy: &PolicyResponse) -> PasswordState {
    // Without grace logins, nothing else is left to do. 389 DS sends "password expired" also with grace logins.
    let is_over = matches!(policy.error, Some(PolicyError::ChangeAfterReset | PolicyError::PasswordExpired))
        || (policy.has_expired && !policy.has_policy);
    PasswordState {
        expires_in: policy.expires_in.map(Duration::from_secs),
        grace_logins: policy.grace_logins,
        must_change: is_over && policy.grace_logins.is_none(),
    }
}

/// Returns the meaning of invalidCredentials. Servers report these reasons after they have compared the password, except for locks.
fn refused(result: &LdapResult, policy: &PolicyResponse) -> Authentication {
    match policy.error {
        Some(PolicyError::AccountLocked) => return Authentication::Locked,
        Some(PolicyError::PasswordExpired) => return Authentication::Refused(Refusal::PasswordExpired),
        Some(PolicyError::ChangeAfterReset) => return Authentication::Refused(Refusal::MustChange),
        Some(PolicyError::Other) | None => {}
    }
    if policy.has_expired {
        return Authentication::Refused(Refusal::PasswordExpired);
    }
    // [MS-ERREF] section 2.2. 0x525 (no such user), 0x52e (wrong password) and unknown numbers prove nothing.
    match result_code::bind_refusal(&result.text) {
        Some(0x530) => Authentication::Refused(Refusal::LogonHours),
        Some(0x531) => Authentication::Refused(Refusal::Workstation),
        Some(0x532) => Authentication::Refused(Refusal::PasswordExpired),
        Some(0x533) => Authentication::Refused(Refusal::Disabled),
        Some(0x701) => Authentication::Refused(Refusal::AccountExpired),
        Some(0x773) => Authentication::Refused(Refusal::MustChange),
        Some(0x775) => Authentication::Locked,
        _ => Authentication::WrongCredentials,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(code: u32, text: &str) -> LdapResult {
        LdapResult { code, text: text.to_owned(), ..LdapResult::default() }
    }

    fn policy(error: Option<PolicyError>) -> PolicyResponse {
        PolicyResponse { error, has_policy: true, ..PolicyResponse::default() }
    }

    #[test]
    fn trap_16_reasons_of_active_directory_follow_a_right_password_or_prove_nothing() {
        let refused = |why| Authentication::Refused(why);
        for (data, meaning) in [
            ("525", Authentication::WrongCredentials),
            ("52e", Authentication::WrongCredentials),
            ("52f", Authentication::WrongCredentials),
            ("530", refused(Refusal::LogonHours)),
            ("531", refused(Refusal::Workstation)),
            ("532", refused(Refusal::PasswordExpired)),
            ("533", refused(Refusal::Disabled)),
            ("701", refused(Refusal::AccountExpired)),
            ("773", refused(Refusal::MustChange)),
            ("775", Authentication::Locked),
            ("999", Authentication::WrongCredentials),
        ] {
            let text = format!(
                "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data {data}, v4563\0"
            );
            assert_eq!(of(&result(49, &text), &PolicyResponse::default()), Some(meaning), "{data}");
        }
        // Not Active Directory's form.
        assert_eq!(
            of(&result(49, "data 533"), &PolicyResponse::default()),
            Some(Authentication::WrongCredentials)
        );
    }

    #[test]
    fn trap_17_the_password_policy_of_the_one_bind_is_understood() {
        let accepted = |state| Some(Authentication::Accepted(state));
        let none = PasswordState::default();
        let ok = result(0, "");
        assert_eq!(of(&ok, &PolicyResponse::default()), accepted(none));
        assert_eq!(of(&ok, &policy(None)), accepted(none));
        let must_change = PasswordState { must_change: true, ..none };
        assert_eq!(of(&ok, &policy(Some(PolicyError::ChangeAfterReset))), accepted(must_change));
        assert_eq!(of(&ok, &policy(Some(PolicyError::PasswordExpired))), accepted(must_change));
        // 389 DS sends its own control also with grace logins, where the password need not be changed yet.
        let expired = PolicyResponse { has_expired: true, ..PolicyResponse::default() };
        assert_eq!(of(&ok, &expired), accepted(must_change));
        let grace = PolicyResponse { grace_logins: Some(0), has_expired: true, ..policy(None) };
        assert_eq!(of(&ok, &grace), accepted(PasswordState { grace_logins: Some(0), ..none }));
        let expiring = PolicyResponse { expires_in: Some(60), ..policy(None) };
        let soon = PasswordState { expires_in: Some(Duration::from_secs(60)), ..none };
        assert_eq!(of(&ok, &expiring), accepted(soon));

        let refused = |error| of(&result(49, ""), &policy(error));
        let told = |why| Some(Authentication::Refused(why));
        assert_eq!(refused(None), Some(Authentication::WrongCredentials));
        assert_eq!(refused(Some(PolicyError::Other)), Some(Authentication::WrongCredentials));
        assert_eq!(refused(Some(PolicyError::PasswordExpired)), told(Refusal::PasswordExpired));
        assert_eq!(refused(Some(PolicyError::ChangeAfterReset)), told(Refusal::MustChange));
        assert_eq!(refused(Some(PolicyError::AccountLocked)), Some(Authentication::Locked));
        assert_eq!(of(&result(49, "password expired!"), &expired), told(Refusal::PasswordExpired));
    }

    #[test]
    fn trap_10_only_answers_about_the_user_are_not_errors() {
        let of = |code, text| of(&result(code, text), &PolicyResponse::default());
        assert_eq!(of(48, ""), Some(Authentication::WrongCredentials));
        assert_eq!(of(32, ""), Some(Authentication::WrongCredentials));
        assert_eq!(of(19, ""), Some(Authentication::Locked));
        assert_eq!(of(51, ""), Some(Authentication::Unavailable { code: 51, text: String::new() }));
        assert_eq!(of(52, "down"), Some(Authentication::Unavailable { code: 52, text: "down".into() }));
        let busy = "0000200E: SvcErr: DSID-0315201E, problem 5001 (BUSY), data 0";
        assert_eq!(of(80, busy), Some(Authentication::Unavailable { code: 80, text: busy.into() }));
        for code in [1, 2, 3, 7, 8, 11, 12, 13, 14, 34, 50, 53, 80, 4711] {
            assert_eq!(of(code, ""), None, "{code}");
        }
        let locked = policy(Some(PolicyError::AccountLocked));
        assert_eq!(super::of(&result(53, "inactivated"), &locked), Some(Authentication::Locked));
    }
}
