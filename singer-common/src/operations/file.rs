//! Files of a run. Operations of [`ldap_directory::file`] that no signal interrupts; locks; checks that two files are distinct.

use std::io::{self, Write};
use std::path::Path;

use ldap_directory::{Directory, DirectoryError, file as plain};

pub use ldap_directory::file::{
    Stamp, can_be_made_beside, folder, make_private_folder, may_be_replaced, read, read_text, real, swallows,
    sync_folder, with_suffix,
};

use crate::operations::signals;

mod distinct;
mod lock;

pub use distinct::{HISTORY, JOURNAL, LOCK, distinct, has_place, killed, of_settings};
pub use lock::{Lock, LockConflict};

/// Writes applied changes to an LDIF file, by [`Directory::commit`]. On a server it does nothing.
///
/// # Errors
/// As [`Directory::commit`].
pub fn commit(directory: &Directory) -> Result<(), DirectoryError> {
    let _uninterrupted = signals::uninterrupted();
    directory.commit()
}

/// Replaces a file by [`plain::replace`], without interruption by signals.
///
/// # Errors
/// As [`plain::replace`].
pub fn replace<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let _uninterrupted = signals::uninterrupted();
    plain::replace(path, write)
}

/// Replaces a file that only its owner may read, by [`plain::replace_private`], without interruption by signals.
///
/// # Errors
/// As [`plain::replace_private`].
pub fn replace_private<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let _uninterrupted = signals::uninterrupted();
    plain::replace_private(path, write)
}

/// Creates a file that only its owner may read, by [`plain::create_private`], without interruption by signals.
///
/// # Errors
/// As [`plain::create_private`].
pub fn create_private<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let _uninterrupted = signals::uninterrupted();
    plain::create_private(path, write)
}
