//! Transient errors in the middle of a stream.

use std::io::Write;

use ldap_directory::client::Attempts;
use ldap_directory::{Directory, DirectoryError};

use crate::output::Output;

/// Waits after a transient error, and restores the connection. Any other error is returned as it is, with its context.
///
/// # Errors
/// Returns the error if it is another one or no attempt is left; or the error of the reconnection.
pub(super) async fn recover<W: Write>(
    directory: &Directory,
    error: anyhow::Error,
    attempts: &mut Option<Attempts>,
    output: &mut Output<'_, W>,
) -> anyhow::Result<()> {
    if !error.downcast_ref().is_some_and(DirectoryError::is_transient) {
        return Err(error);
    }
    let error: DirectoryError = error.downcast()?;
    output.or_stop(directory.recover(error, attempts)).await??;
    Ok(())
}
