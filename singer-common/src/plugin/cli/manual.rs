//! Examples and exit codes of an executable, for `--help` and the manual page.

use crate::operations::logging::Modules;
use std::fmt::Write as _;
use std::io;

use clap::Command;
use clap::builder::styling::{AnsiColor, Style, Styles};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::operations::error::Class;
use crate::plugin::settings::Table;

/// Headings of `--help`, in their order.
pub mod heading {
    /// Tasks.
    pub const TASK: &str = "Tasks";
    /// Inputs.
    pub const INPUT: &str = "Input";
    /// Output on stderr.
    pub const LOG: &str = "Log and progress (stderr)";
}

const HEADING: Style = AnsiColor::Green.on_default().bold();
const TYPED: Style = AnsiColor::Cyan.on_default();

/// The colors of `--help` and of usage errors. clap removes them where colors are not wanted: in pipes, with `NO_COLOR`.
pub const STYLES: Styles = Styles::styled()
    .header(HEADING)
    .usage(HEADING)
    .literal(TYPED.bold())
    .placeholder(TYPED)
    .error(AnsiColor::Red.on_default().bold())
    .valid(TYPED)
    .invalid(AnsiColor::Yellow.on_default());

/// Examples and exit codes of an executable.
#[derive(Debug, Clone, Copy)]
pub struct Manual {
    /// The executable's name.
    pub name: &'static str,
    /// The settings, to which messages refer.
    pub table: Table,
    /// Options of a run, by their ids, that `doctor` accepts, too: runners such as Meltano add them to every call.
    pub from_runner: &'static [&'static str],
    /// The modules that `--log-level` accepts.
    pub modules: Modules,
    /// Command lines, each with its effect.
    pub examples: &'static [Example],
    /// Exit codes of this executable alone, with their meaning.
    pub exit_codes: &'static [(u8, &'static str)],
}

/// A command line and its effect.
#[derive(Debug, Clone, Copy)]
pub struct Example {
    /// The command line as typed.
    pub line: &'static str,
    /// Its effect, in a few words.
    pub what: &'static str,
}

/// Returns an example.
pub const fn example(line: &'static str, what: &'static str) -> Example {
    Example { line, what }
}

impl Manual {
    /// Returns every exit code and its meaning, in ascending order.
    fn exit_codes(&self) -> Vec<(String, &'static str)> {
        let mut codes = vec![
            (0, "success"),
            (Class::Run.exit_code(), "the run failed; STATE emitted so far is safe to resume from"),
            (Class::Config.exit_code(), "the command line or a setting is invalid; the message names it"),
            (Class::Connection.exit_code(), "connect or bind failed"),
        ];
        codes.extend_from_slice(self.exit_codes);
        codes.sort_unstable_by_key(|(code, _)| *code);
        let mut codes: Vec<_> = codes.into_iter().map(|(code, what)| (code.to_string(), what)).collect();
        codes.push(("130, 143".to_owned(), "stopped by SIGINT or SIGTERM"));
        codes
    }

    /// Returns the text of `--help` after the flags, with [`STYLES`].
    pub fn after_help(&self) -> String {
        let mut out = format!("{HEADING}Examples:{HEADING:#}\n");
        for Example { line, what } in self.examples {
            let _ = writeln!(out, "  {TYPED}{line}{TYPED:#}\n      {what}");
        }
        let _ = writeln!(out, "\n{HEADING}Exit codes:{HEADING:#}");
        for (code, what) in self.exit_codes() {
            let _ = writeln!(out, "  {TYPED}{code:<9}{TYPED:#} {what}");
        }
        let _ = write!(
            out,
            "\nAll settings: {0} --about. Manual page: {0} man | man -l -. Shell completions: {0} completions bash.",
            self.name
        );
        out
    }

    /// Returns the manual page of an executable, or of one of its subcommands, in roff.
    pub fn man_page(&self, command: &Command, subcommand: Option<&str>) -> io::Result<Vec<u8>> {
        let mut command = command.clone();
        command.build();
        let page = match subcommand {
            None => command,
            Some(name) => command.find_subcommand(name).cloned().ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, format!("there is no subcommand `{name}`"))
            })?,
        };
        let whole = subcommand.is_none();
        let page = if whole {
            page.override_usage(format!("{0} [OPTIONS]\n{0} COMMAND [OPTIONS]", self.name))
        } else {
            page
        };
        let source = format!("{} {}", self.name, env!("CARGO_PKG_VERSION"));
        // Without a date, so that the page is reproducible.
        let title = page.get_display_name().unwrap_or(self.name).to_owned();
        let man = Man::new(page.clone()).title(title).source(source).manual("LDAP for Singer");
        let mut out = Vec::new();
        man.render_title(&mut out)?;
        man.render_name_section(&mut out)?;
        man.render_synopsis_section(&mut out)?;
        man.render_description_section(&mut out)?;
        man.render_options_section(&mut out)?;
        if whole {
            man.render_subcommands_section(&mut out)?;
            self.sections().to_writer(&mut out)?;
        } else if page.get_after_help().is_some() {
            man.render_extra_section(&mut out)?;
        }
        Ok(out)
    }

    fn sections(&self) -> Roff {
        let mut roff = Roff::new();
        roff.control("SH", ["EXAMPLES"]);
        for Example { line, what } in self.examples {
            roff.control("TP", []).text([bold(*line)]).text([roman(*what)]);
        }
        roff.control("SH", ["EXIT STATUS"]);
        for (code, what) in self.exit_codes() {
            roff.control("TP", []).text([bold(code)]).text([roman(what)]);
        }
        roff.control("SH", ["SEE ALSO"]);
        let other = if self.name == "tap-ldap" { "target-ldap" } else { "tap-ldap" };
        roff.text([
            bold(other),
            roman("(1); "),
            bold(format!("{} --about", self.name)),
            roman(" lists all settings."),
        ]);
        roff
    }
}
