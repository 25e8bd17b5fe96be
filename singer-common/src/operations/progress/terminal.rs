//! The terminal of the bars: stderr, with errors ignored.
//! A closed terminal must not end a run, and an error would make the drawing library panic.

use std::io::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use indicatif::TermLike;

/// The size of a terminal whose size is unknown.
const USUAL_COLUMNS: u16 = 80;
const USUAL_ROWS: u16 = 24;

/// The octets drawn since the last flush.
#[derive(Debug, Default)]
pub(super) struct Terminal(Mutex<Vec<u8>>);

impl Terminal {
    fn add(&self, octets: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(octets.as_bytes());
    }

    /// Moves the cursor: `A` up, `B` down, `C` right, `D` left (ECMA-48 section 8.3).
    fn go(&self, count: usize, way: char) {
        if count > 0 {
            self.add(&format!("\u{1b}[{count}{way}"));
        }
    }
}

/// Returns columns and rows.
fn size() -> (u16, u16) {
    #[cfg(unix)]
    if let Ok(size) = rustix::termios::tcgetwinsize(io::stderr())
        && size.ws_col > 0
        && size.ws_row > 0
    {
        return (size.ws_col, size.ws_row);
    }
    (USUAL_COLUMNS, USUAL_ROWS)
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        size().0
    }

    fn height(&self) -> u16 {
        size().1
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.go(n, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.go(n, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.go(n, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.go(n, 'D');
        Ok(())
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.add(s);
        self.add("\n");
        Ok(())
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.add(s);
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.add("\r\u{1b}[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        let drawn = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let _ = io::stderr().write_all(&drawn);
        Ok(())
    }
}
