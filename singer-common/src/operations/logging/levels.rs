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
/// Paths that `--log-level` accepted before the modules moved, and where they are now.
const RENAMED: &[(&str, &str)] = &[
    // Lines of METRIC keep the name that they have always had.
    ("singer_common::singer::metrics", "singer_common::metrics"),
    ("singer_common::directory", "ldap_directory"),
    ("singer_common::dn", "ldap_directory::dn"),
    ("singer_common::entry", "ldap_directory::entry"),
    ("singer_common::filter", "ldap_directory::filter"),
    ("singer_common::schema", "ldap_directory::schema"),
    ("singer_common::file", "ldap_directory::file"),
    ("singer_common::secret", "ldap_directory::secret"),
    ("singer_common::logging", "singer_common::operations::logging"),
    ("singer_common::observe", "singer_common::operations::observe"),
    ("singer_common::progress", "singer_common::operations::progress"),
    ("singer_common::signals", "singer_common::operations::signals"),
    ("singer_common::summary", "singer_common::operations::summary"),
    ("singer_common::cli", "singer_common::plugin::cli"),
    ("singer_common::definition", "singer_common::plugin::definition"),
    ("singer_common::doctor", "singer_common::plugin::doctor"),
    ("singer_common::init", "singer_common::plugin::init"),
    ("singer_common::settings", "singer_common::plugin::settings"),
    ("singer_common::catalog", "singer_common::singer::catalog"),
    ("singer_common::message", "singer_common::singer::message"),
    ("singer_common::reader", "singer_common::singer::reader"),
    ("singer_common::record", "singer_common::singer::record"),
    ("singer_common::state", "singer_common::singer::state"),
    ("singer_common::writer", "singer_common::singer::writer"),
    ("tap_ldap::shrink", "tap_ldap::config::shrink"),
    ("tap_ldap::census", "tap_ldap::discovery::census"),
    ("tap_ldap::classes", "tap_ldap::discovery::classes"),
    ("tap_ldap::container", "tap_ldap::discovery::containers"),
    ("tap_ldap::bases", "tap_ldap::discovery::missing_base"),
    ("tap_ldap::inner", "tap_ldap::discovery::non_leaf"),
    ("tap_ldap::names", "tap_ldap::discovery::setting_names"),
    ("tap_ldap::books", "tap_ldap::discovery::tally"),
    ("tap_ldap::sample", "tap_ldap::stream"),
    ("tap_ldap::source", "tap_ldap::stream"),
    ("tap_ldap::batches", "tap_ldap::output::batches"),
    ("tap_ldap::rewrite", "tap_ldap::output::rewrite"),
    ("tap_ldap::convert", "tap_ldap::stream::convert"),
    ("tap_ldap::members", "tap_ldap::stream::members"),
    ("tap_ldap::partition", "tap_ldap::stream::partition"),
    ("tap_ldap::selection", "tap_ldap::stream::selection"),
    ("target_ldap::ack", "target_ldap::load::ack"),
    ("target_ldap::rejects", "target_ldap::load::rejects"),
    ("target_ldap::requirements", "target_ldap::load::requirements"),
    ("target_ldap::versions", "target_ldap::load::versions"),
    ("target_ldap::order", "target_ldap::load"),
    ("target_ldap::differences", "target_ldap::map::unknown_names"),
    ("target_ldap::validate", "target_ldap::map::validate"),
    ("target_ldap::assertion", "target_ldap::plan::assertion"),
    ("target_ldap::inventory", "target_ldap::plan::entry_digests"),
    ("target_ldap::login", "target_ldap::plan"),
    ("target_ldap::accounts", "target_ldap::rules::accounts"),
    ("target_ldap::encoding", "target_ldap::rules::encoding"),
    ("target_ldap::names", "target_ldap::rules::names"),
    ("target_ldap::password", "target_ldap::rules::password"),
    ("target_ldap::rule", "target_ldap::rules"),
    ("target_ldap::template", "target_ldap::rules::template"),
    ("target_ldap::books", "target_ldap::write::claims"),
    ("target_ldap::destination", "target_ldap::write::destination"),
    ("target_ldap::guard", "target_ldap::write::guard"),
    ("target_ldap::inverse", "target_ldap::write::inverse"),
    ("target_ldap::show", "target_ldap::write::plan_output"),
    ("target_ldap::undo", "target_ldap::write::undo"),
];

/// Returns the path of a module as it is called now.
fn current(path: &str) -> &str {
    let is_below =
        |old: &str| path.strip_prefix(old).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    RENAMED.iter().find(|(old, _)| is_below(old)).map_or(path, |(_, new)| new)
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
    /// `name` is the executable's; `source` is the text of its `lib.rs`, which lists its modules.
    /// The error says what is wrong and what is expected.
    pub fn parse(text: &str, name: &str, source: &str) -> Result<Self, String> {
        let mut levels = Self::default();
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                None => levels.everything = level(part)?,
                Some((module, text)) => {
                    let module = module.trim();
                    let module = current(module);
                    check_module(module, name, source)?;
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
        let mut out = format!("off,ldap_directory={level},singer_common={level},{own}={level}");
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

    const SOURCE: &str = "pub mod sync;\npub(crate) mod report;\n";

    #[test]
    fn log_levels_by_module() {
        let parse = |text| Levels::parse(text, "tap-ldap", SOURCE);
        let all =
            parse("Warning, tap_ldap::sync=debug,singer_common::directory::ldap=TRACE,tap_ldap::report=off")
                .unwrap();
        assert_eq!(
            all.directives("tap-ldap"),
            "off,ldap_directory=warn,singer_common=warn,tap_ldap=warn,tap_ldap::sync=debug,ldap_directory=trace,tap_ldap::report=off"
        );
        for (old, _) in RENAMED {
            let name = if old.starts_with("target") { "target-ldap" } else { "tap-ldap" };
            let source = if name == "target-ldap" {
                include_str!("../../../../target-ldap/src/lib.rs")
            } else {
                include_str!("../../../../tap-ldap/src/lib.rs")
            };
            assert!(Levels::parse(&format!("{old}=debug"), name, source).is_ok(), "{old}");
        }
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
