//! A panic is a bug, and its log line contains no data: neither the panic's message nor a backtrace.
//!
//! Without a test harness: the process that panics is this executable, started again.

// A panic here is a failed test.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::process::{Command, ExitCode};

use clap::Parser;

use singer_common::operations::logging::Modules;
use singer_common::plugin::cli::{self, CommonArgs, Manual};
use singer_common::plugin::settings::Table;

const SECRET: &str = "KwPanic4711";
const CHILD: &str = "SINGER_COMMON_TEST_PANICS";

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
}

fn fault() -> Result<ExitCode, std::io::Error> {
    // A message with data, as a bug could produce.
    panic!("called `unwrap` on password={SECRET}")
}

fn main() -> ExitCode {
    if std::env::var_os(CHILD).is_some() {
        let manual = Manual {
            name: "tap-ldap",
            table: Table { prefix: "TAP_LDAP", own: &[], without: &[] },
            from_runner: &[],
            modules: Modules { source: "", moved: &[] },
            examples: &[],
            exit_codes: &[],
        };
        return cli::run(
            &manual,
            |args: &Args| &args.common,
            |_, _| async { fault() },
            |_| ExitCode::SUCCESS,
        );
    }
    for level in ["error", "trace"] {
        for format in ["text", "json"] {
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--log-level", level, "--log-format", format])
                .env(CHILD, "1")
                .env("RUST_BACKTRACE", "full")
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(output.stdout.is_empty(), "stdout belongs to Singer");
            assert!(!said.contains(SECRET) && !said.contains("backtrace"), "{said}");
            assert!(said.contains("please report this") && said.contains("panic.rs:"), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
    println!("test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    ExitCode::SUCCESS
}
