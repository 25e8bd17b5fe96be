//! `--log-level`: a default level, and levels of single modules.

use std::fmt::Write as _;

/// Levels, from the least verbose. `warning` and `critical` are Python's names.
const LEVELS: &[(&str, &[&str])] = &[
    ("off", &["off", "none"]),
    ("error", &["error", "critical", "fatal"]),
    ("warn", &["warn", "warning"]),
    ("info", &["info"]),
    ("debug", &["debug"]),
    ("trace", &["trace", "notset"]),
];

/// Names in `singer_common`: its groups, and `metrics` for Singer's METRIC lines, which have that log target.
const OWN_MODULES: &[&str] = &["maps", "metrics", "operations", "plugin", "singer"];
/// Modules that each part of the libraries took in: `--log-level` still accepts the names that they had in `singer_common`.
const MOVED: Moved = &[
    ("ldap_directory", &["directory", "dn", "entry", "file", "filter", "schema", "secret"]),
    ("singer_common::operations", &["logging", "observe", "progress", "signals", "summary"]),
    ("singer_common::plugin", &["cli", "definition", "doctor", "init", "settings"]),
    ("singer_common::singer", &["catalog", "message", "reader", "record", "state", "writer"]),
];

/// Parts of a program, each with the names of the modules that it took in.
pub type Moved = &'static [(&'static str, &'static [&'static str])];

/// The modules of an executable, for `--log-level`.
#[derive(Debug, Clone, Copy)]
pub struct Modules {
    /// The text of its `lib.rs`, which lists them.
    pub source: &'static str,
    /// The stages, as paths, with the modules that each took in. Their former names are still accepted.
    pub moved: Moved,
}

/// Returns the path of the part that a module is in now, if it was moved.
fn current(path: &str, moved: Moved) -> &str {
    // METRIC lines keep their target.
    if path == "singer_common::singer::metrics" {
        return "singer_common::metrics";
    }
    let (root, rest) = path.split_once("::").unwrap_or((path, ""));
    let module = rest.split("::").next().unwrap_or_default();
    let moved = if root == "singer_common" { MOVED } else { moved };
    moved.iter().find(|(_, modules)| modules.contains(&module)).map_or(path, |(part, _)| part)
}

/// The levels of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    everything: &'static str,
    /// Paths of modules, with their levels.
    modules: Vec<(String, &'static str)>,
}

impl Default for Levels {
    fn default() -> Self {
        Self { everything: "info", modules: Vec::new() }
    }
}

impl Levels {
    /// Parses `info,tap_ldap::sync=debug`.
    /// `name` is the executable's.
    /// The error says what is wrong and what is expected.
    pub fn parse(text: &str, name: &str, modules: &Modules) -> Result<Self, String> {
        let mut levels = Self::default();
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                None => levels.everything = level(part)?,
                Some((module, text)) => {
                    let module = current(module.trim(), modules.moved);
                    check_module(module, name, modules.source)?;
                    levels.modules.push((module.to_owned(), level(text.trim())?));
                }
            }
        }
        Ok(levels)
    }

    /// Returns the directives of tracing-subscriber's EnvFilter.
    pub(super) fn directives(&self, name: &str) -> String {
        let level = self.everything;
        let own = name.replace('-', "_");
        // Modules of this workspace only: traces of libraries (rustls: handshakes) may contain secrets.
        // What one of these executables does with the code of another: its warnings are not lost.
        let used = if matches!(level, "off" | "error") { level } else { "warn" };
        let mut out = format!(
            "off,tap_ldap={used},target_ldap={used},ldap_directory={level},singer_common={level},{own}={level}"
        );
        for (module, level) in &self.modules {
            let _ = write!(out, ",{module}={level}");
        }
        out
    }
}

fn level(text: &str) -> Result<&'static str, String> {
    let found = LEVELS.iter().find(|(_, names)| names.iter().any(|n| n.eq_ignore_ascii_case(text)));
    found.map(|(name, _)| *name).ok_or_else(|| {
        let names: Vec<&str> = LEVELS.iter().map(|(name, _)| *name).collect();
        format!("`{text}` is no level; expected one of {}", names.join(", "))
    })
}

fn check_module(path: &str, name: &str, source: &str) -> Result<(), String> {
    let own = name.replace('-', "_");
    let (root, rest) = path.split_once("::").unwrap_or((path, ""));
    let known: Vec<&str> = match root {
        root if root == own => modules_of(source).collect(),
        "singer_common" => OWN_MODULES.to_vec(),
        "ldap_directory" => ldap_directory::MODULES.to_vec(),
        _ => {
            return Err(format!(
                "`{path}` is no module of {name}; its modules are {own}::…, singer_common::… and ldap_directory::…"
            ));
        }
    };
    let module = rest.split("::").next().unwrap_or_default();
    if rest.is_empty() || known.contains(&module) {
        return Ok(());
    }
    let near = known.iter().max_by(|a, b| strsim::jaro(module, a).total_cmp(&strsim::jaro(module, b)));
    let near = near.map(|m| format!("; the nearest is `{root}::{m}`")).unwrap_or_default();
    Err(format!("`{root}` has no module `{module}`{near}; it has {}", known.join(", ")))
}

/// Returns the modules that a `lib.rs` lists.
fn modules_of(source: &str) -> impl Iterator<Item = &str> {
    source.lines().filter_map(|l| {
        l.strip_prefix("pub ")
            .or_else(|| l.strip_prefix("pub(crate) "))?
            .strip_prefix("mod ")?
            .strip_suffix(';')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULES: Modules = Modules {
        source: "pub mod sync;\npub(crate) mod report;\n",
        moved: &[("tap_ldap::report", &["page"])],
    };

    #[test]
    fn log_levels_by_module() {
        let parse = |text: &str| Levels::parse(text, "tap-ldap", &MODULES);
        let all =
            parse("Warning, tap_ldap::sync=debug,singer_common::directory::ldap=TRACE,tap_ldap::report=off")
                .unwrap();
        assert_eq!(
            all.directives("tap-ldap"),
            "off,tap_ldap=warn,target_ldap=warn,ldap_directory=warn,singer_common=warn,tap_ldap=warn,tap_ldap::sync=debug,ldap_directory=trace,tap_ldap::report=off"
        );
        for old in MOVED.iter().flat_map(|(_, modules)| *modules) {
            assert!(parse(&format!("singer_common::{old}=debug")).is_ok(), "{old}");
        }
        let moved = parse("info,tap_ldap::page=debug,singer_common::singer::metrics=off").unwrap();
        assert_eq!(
            moved.modules,
            [("tap_ldap::report".to_owned(), "debug"), ("singer_common::metrics".to_owned(), "off")]
        );
        assert_eq!(parse("info").unwrap(), Levels::default());
        for (text, says) in [
            ("loud", "`loud` is no level; expected one of off, error,"),
            ("", "`` is no level"),
            ("info,tap_ldap::sync=loud", "`loud` is no level"),
            ("rustls=debug", "`rustls` is no module of tap-ldap"),
            ("target_ldap::load=debug", "no module of tap-ldap"),
            ("tap_ldap::snyc=debug", "the nearest is `tap_ldap::sync`"),
            ("ldap_directory::clint=debug", "the nearest is `ldap_directory::client`"),
            ("singer_common::operations=debug,singer_common::nope=debug", "has no module `nope`"),
        ] {
            let problem = parse(text).unwrap_err();
            assert!(problem.contains(says), "{text}: {problem}");
        }
    }
}
