//! The peak memory of a program with a slow reader.

use std::io::Read as _;
use std::thread::sleep;
use std::time::Duration;

use crate::run::{Output, Run, output};

/// The peak resident set of a process so far, in KiB (`VmHWM` of /proc/PID/status); nothing once it has ended.
pub fn peak_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Looks on until a process ends: gives its largest resident set, in KiB.
pub fn watch_peak(pid: u32) -> std::thread::JoinHandle<u64> {
    std::thread::spawn(move || {
        let mut peak = 0;
        while let Some(now) = peak_kib(pid) {
            peak = now;
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        peak
    })
}

/// What a slowly read run needed.
#[derive(Debug)]
pub struct Measured {
    /// The highest peak seen, in KiB.
    pub peak_kib: u64,
    /// How many octets came on stdout.
    pub stdout_octets: u64,
    /// How many lines.
    pub stdout_lines: u64,
    /// The run, without its stdout.
    pub output: Output,
}

/// Runs it and reads its stdout `chunk` octets at a time with a pause after each; the peak only ever grows, so
/// that a sample after each chunk misses nothing but what happens after the last octet.
pub fn read_slowly(run: &Run, chunk: usize, pause: Duration, timeout: Duration) -> Measured {
    let mut running = run.spawn();
    running.close_stdin_with(&[]);
    let pid = running.child().id();
    let mut stdout = running.take_stdout();
    let mut buffer = vec![0; chunk];
    let (mut peak, mut octets, mut lines) = (0, 0, 0);
    loop {
        peak = peak.max(peak_kib(pid).unwrap_or_default());
        let n = stdout.read(&mut buffer).unwrap();
        if n == 0 {
            break;
        }
        octets += n as u64;
        lines += buffer.iter().take(n).filter(|b| **b == b'\n').count() as u64;
        sleep(pause);
    }
    let (code, stderr, took) = running.wait(timeout);
    Measured {
        peak_kib: peak,
        stdout_octets: octets,
        stdout_lines: lines,
        output: output(code, Vec::new(), stderr, took),
    }
}
