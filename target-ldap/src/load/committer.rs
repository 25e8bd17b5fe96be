//! The committer: prints a STATE once all that it covers is written.

use std::io::Write;
use std::time::{Duration, Instant};

use ldap_directory::DirectoryError;
use singer_common::singer::writer::SingerWriter;

use super::ack::Ack;
use super::{Load, LoadError};

/// The shortest time between two STATE messages. A STATE that becomes safe in between is printed with the next one.
pub(super) const STATE_INTERVAL: Duration = Duration::from_millis(200);

/// Prints STATE.
pub(super) struct Committer<'a, W: Write> {
    pub(super) ack: Ack,
    writer: &'a mut SingerWriter<W>,
    /// When the last STATE was printed.
    printed: Instant,
    /// Whether the warning of a null STATE was logged.
    pub(super) is_null_state_logged: bool,
}

impl<'a, W: Write> Committer<'a, W> {
    pub(super) fn new(writer: &'a mut SingerWriter<W>) -> Self {
        Self { ack: Ack::default(), writer, printed: Instant::now(), is_null_state_logged: false }
    }
}

impl<W: Write> Load<'_, W> {
    /// Prints the newest safe STATE, if there is one and it is time. `last`: at the end of the run.
    pub(super) fn print_state(&mut self, last: bool) -> Result<(), LoadError> {
        if singer_common::operations::panics::happened() {
            return Ok(());
        }
        let due =
            last || self.directory.applies_at_once() && self.committer.printed.elapsed() >= STATE_INTERVAL;
        if due && let Some(state) = self.committer.ack.take_safe() {
            // A STATE promises that rejected records, too, are on disk.
            if let Some(file) = &mut self.rejects.file {
                file.sync()?;
            }
            self.applier.directory().sync_undo().map_err(DirectoryError::from)?;
            singer_common::operations::progress::suspended(|| self.committer.writer.line(state.get()))?;
            self.committer.printed = Instant::now();
        }
        Ok(())
    }
}
