//! What a file says of itself: a dump that broke off, a limit that was hit.

use ldap_directory::Directory;

/// Warns if a file says that it is not complete.
pub(crate) fn warn(directory: &Directory) {
    let shortfalls = directory.shortfalls();
    let Some(first) = shortfalls.first() else { return };
    let more = match shortfalls.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    tracing::warn!(
        shortfalls = shortfalls.len(),
        "{} is not whole: {first}{more}; what is there is read, no ACTIVATE_VERSION is sent and nothing is deleted downstream",
        directory.location()
    );
}
