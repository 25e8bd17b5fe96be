//! Whether the password of the service's own user expires: everything ends with it.

use std::time::SystemTime;

use ldap_directory::Directory;

use super::Finding;

/// The name of the check.
pub const NAME: &str = "bind_password";

/// Returns a warning if the directory has reported that the password expires, or has expired. The library has logged it.
pub(super) fn of(directory: &Directory) -> Option<Finding> {
    let report = directory.own_password()?;
    let text = format!(
        "bind_dn: {} ({}): set a new password, and give it to the service, before no bind is accepted any more",
        report.text(SystemTime::now()),
        report.server
    );
    Some(Finding::noted(NAME, text))
}
