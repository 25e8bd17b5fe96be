//! What a login is answered that does not succeed.

use std::time::Duration;

use http::StatusCode;
use ldap_directory::client::Refusal;
use ldap_directory::protocol::result_code;
use ldap_directory::{Directory, DirectoryError};

use super::Unusable;
use crate::error::ApiError;

/// Checks that the directory can check passwords at all.
///
/// # Errors
/// It is a file: 500, for no password is wrong.
pub(super) fn check_server(directory: &Directory) -> Result<(), ApiError> {
    if matches!(directory, Directory::Ldap(_)) {
        return Ok(());
    }
    let detail = "server_url: a file checks no password: logins need a server";
    tracing::error!(setting = "server_url", "{detail}");
    Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "misconfigured", detail))
}

/// Returns the refusal of an account that is not told apart from others.
pub(super) fn unusable(why: &str) -> ApiError {
    let detail = format!("the account cannot be used: {why}");
    ApiError::new(StatusCode::FORBIDDEN, "account_unusable", detail)
}

/// Returns 503 for every error of the directory: nothing is known about the user, whatever the directory said (trap 10). A base that is not
/// there is no unknown user either: 500.
#[allow(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(super) fn outage(error: DirectoryError) -> ApiError {
    if matches!(error.code(), Some(result_code::SIZE_LIMIT_EXCEEDED | result_code::ADMIN_LIMIT_EXCEEDED)) {
        tracing::error!(
            code = error.code(),
            setting = "bind_dn",
            "a user could not be checked, for the directory has a limit for the service's user: {error}"
        );
        let detail = "bind_dn: the directory has a size limit for the service's user below what a login needs, such as all groups of a user";
        return ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "misconfigured", detail);
    }
    if error.is_no_such_object() && matches!(error, DirectoryError::Operation { operation: "search", .. }) {
        tracing::error!(code = error.code(), "a user could not be checked: {error}");
        let detail =
            "users.base_dn or groups.base_dn: the entry is not there, or the service's user may not see it";
        return ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "misconfigured", detail);
    }
    tracing::warn!(code = error.code(), "a user could not be checked: {error}");
    ApiError::directory_unavailable()
}

/// Returns the one refusal of a login.
pub(super) fn refused() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "invalid_credentials", "the name or the password is wrong")
}

pub(super) fn throttled(wait: Duration) -> ApiError {
    let detail = "too many logins have failed: try again later";
    // Rounded up: earlier would be too early.
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    ApiError {
        retry_after: Some(Duration::from_secs(seconds)),
        ..ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", detail)
    }
}

impl From<Unusable> for Refusal {
    fn from(why: Unusable) -> Self {
        match why {
            Unusable::Disabled => Refusal::Disabled,
            Unusable::Expired => Refusal::AccountExpired,
            Unusable::NotYet => Refusal::LogonHours,
        }
    }
}

/// Returns the error of an account that cannot be used though the password is right.
pub(super) fn not_usable(why: Refusal) -> ApiError {
    let (code, detail) = match why {
        Refusal::PasswordExpired => ("password_expired", "the password has expired: have a new one set"),
        Refusal::MustChange => ("password_must_change", "the password must be changed first"),
        Refusal::Disabled => ("account_disabled", "the account is disabled"),
        Refusal::AccountExpired => ("account_expired", "the account has expired"),
        Refusal::LogonHours => ("not_at_this_time", "the account may not log in at this time"),
        Refusal::Workstation => ("not_from_here", "the account may not log in from here"),
        _ => ("account_unusable", "the account cannot be used"),
    };
    ApiError::new(StatusCode::FORBIDDEN, code, detail)
}
