//! A separate thread that writes stdout, one buffer at a time.
//! A slow reader delays this thread, not the other work of the run.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::Notify;

/// The writing thread.
#[derive(Debug)]
pub(super) struct Background {
    buffers: Option<Sender<Vec<u8>>>,
    written: Receiver<Vec<u8>>,
    status: Arc<WriteStatus>,
    thread: Option<JoinHandle<()>>,
}

/// Wakes waiting tasks when the thread ends, even by a panic.
struct Ended(Arc<WriteStatus>);

impl Drop for Ended {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.done(Err(io::Error::other("internal error: the thread that writes stdout has ended")));
        }
    }
}

/// The status of the writing thread.
#[derive(Debug, Default)]
pub(super) struct WriteStatus {
    state: Mutex<State>,
    changed: Condvar,
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    is_writing: bool,
    /// The octets of the buffer that is being written.
    octets: usize,
    /// The error after which nothing is written.
    failed: Option<(io::ErrorKind, String)>,
}

impl State {
    fn result(&self) -> io::Result<()> {
        self.failed.as_ref().map_or(Ok(()), |(kind, text)| Err(io::Error::new(*kind, text.clone())))
    }
}

impl WriteStatus {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the state consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no buffer is being written.
    fn wait(&self) -> MutexGuard<'_, State> {
        let state = self.lock();
        self.changed.wait_while(state, |s| s.is_writing).unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits asynchronously until no buffer is being written.
    pub(super) async fn idle(&self) {
        loop {
            let mut notified = std::pin::pin!(self.room.notified());
            notified.as_mut().enable();
            if !self.lock().is_writing {
                return;
            }
            notified.await;
        }
    }

    fn done(&self, result: io::Result<()>) {
        let mut state = self.lock();
        state.is_writing = false;
        state.octets = 0;
        if let (Err(e), None) = (result, &state.failed) {
            state.failed = Some((e.kind(), e.to_string()));
        }
        drop(state);
        self.changed.notify_all();
        self.room.notify_waiters();
    }
}

impl Background {
    /// Starts a thread that writes to `output`.
    pub(super) fn start(mut output: impl Write + Send + 'static) -> Self {
        let (buffers, to_write) = channel::<Vec<u8>>();
        let (give_back, written) = channel();
        let status = Arc::new(WriteStatus::default());
        let of_thread = status.clone();
        let thread = std::thread::spawn(move || {
            let _ended = Ended(of_thread.clone());
            while let Ok(mut buffer) = to_write.recv() {
                let has_failed = of_thread.lock().failed.is_some();
                let result =
                    if has_failed { Ok(()) } else { output.write_all(&buffer).and_then(|()| output.flush()) };
                buffer.clear();
                // The receiver may be gone.
                let _ = give_back.send(buffer);
                of_thread.done(result);
            }
        });
        Self { buffers: Some(buffers), written, status, thread: Some(thread) }
    }

    pub(super) fn status(&self) -> &Arc<WriteStatus> {
        &self.status
    }

    /// Whether a buffer is being written.
    pub(super) fn is_writing(&self) -> bool {
        self.status.lock().is_writing
    }

    /// Returns the number of octets that are being written.
    pub(super) fn octets(&self) -> usize {
        self.status.lock().octets
    }

    /// Passes a buffer on once the previous one is written, and replaces it by an empty one.
    /// Returns the error of an earlier write.
    pub(super) fn hand_over(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let mut state = self.status.wait();
        state.result()?;
        state.is_writing = true;
        state.octets = buffer.len();
        drop(state);
        let free = self.written.try_recv().unwrap_or_else(|_| Vec::with_capacity(buffer.capacity()));
        let full = std::mem::replace(buffer, free);
        let sent = self.buffers.as_ref().is_some_and(|buffers| buffers.send(full).is_ok());
        // The thread ends with the channel.
        if sent { Ok(()) } else { Err(io::Error::from(io::ErrorKind::BrokenPipe)) }
    }

    /// Waits until everything is written.
    pub(super) fn wait(&self) -> io::Result<()> {
        self.status.wait().result()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // The process must not end in the middle of a line.
        self.buffers = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for a permit before each write.
    struct Slow {
        permits: Receiver<io::Result<()>>,
        seen: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Slow {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.permits.recv().unwrap_or(Ok(()))?;
            self.seen.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn background_writer_does_not_block_and_returns_errors() {
        let (permit, permits) = channel();
        let seen: Arc<Mutex<Vec<u8>>> = Arc::default();
        let mut background = Background::start(Slow { permits, seen: seen.clone() });
        let mut buffer = b"one ".to_vec();
        background.hand_over(&mut buffer).unwrap();
        assert!(buffer.is_empty() && background.is_writing());
        assert_eq!(background.octets(), 4);
        permit.send(Ok(())).unwrap();
        background.status().clone().idle().await;
        assert!(!background.is_writing());
        assert_eq!(background.octets(), 0);
        buffer.extend_from_slice(b"two");
        permit.send(Ok(())).unwrap();
        background.hand_over(&mut buffer).unwrap();
        background.wait().unwrap();
        assert_eq!(*seen.lock().unwrap(), b"one two");
        permit.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        buffer.push(b'3');
        background.hand_over(&mut buffer).unwrap();
        for _ in 0..2 {
            assert_eq!(background.wait().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            assert_eq!(background.hand_over(&mut buffer).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
    }
}
