//! A headless browser: Debian's Chromium.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::slapd::{scratch, tool};

/// How long a page may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// Opens a page, lets its scripts run, and returns the document as it is then.
///
/// The page may look into frames that show other files.
pub fn dump_dom(page: &Path) -> String {
    let profile = scratch();
    let out = profile.path().join("dom.html");
    let mut child = Command::new(tool("chromium"))
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--allow-file-access-from-files",
            // It looks for nothing outside: not for updates, not for its maker's services.
            "--no-first-run",
            "--disable-quic",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&out).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("chromium did not end within {PATIENCE:?}");
        }
        sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "chromium: {status}");
    std::fs::read_to_string(&out).unwrap()
}
