//! Files of a run: as [`ldap_directory::file`], and no signal ends the process while one is put in its place; locks; files that
//! may not be the same.

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

pub use distinct::{JOURNAL, LOCK, distinct, has_place, killed, of_settings};
pub use lock::{Held, Lock};

/// Writes what was applied to an LDIF file, as [`Directory::commit`] does. A server has it already.
///
/// # Errors
/// As [`Directory::commit`].
pub fn commit(directory: &Directory) -> Result<(), DirectoryError> {
    let _uninterrupted = signals::uninterrupted();
    directory.commit()
}

/// Replaces a file, as [`plain::replace`] does.
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

/// Replaces a file that only its owner may read, as [`plain::replace_private`] does.
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

/// Makes a file that only its owner may read, as [`plain::create_private`] does.
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
