//! The dependency rule between the crates, and the order of the groups and stages in them (ARCHITECTURE.md).

// The lints let tests unwrap, and a test's helpers are part of it.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Our crates, and our crates that each may depend on.
const CRATES: [(&str, &[&str]); 5] = [
    ("ldap-directory", &[]),
    ("singer-common", &["ldap-directory"]),
    ("tap-ldap", &["ldap-directory", "singer-common"]),
    ("target-ldap", &["ldap-directory", "singer-common"]),
    // The libraries of both: typed values of the one, the way of every change of the other.
    ("ldap-service", &["ldap-directory", "singer-common", "tap-ldap", "target-ldap"]),
];

/// The modules of each `lib.rs`. A module may import only those before it.
const ORDERS: [(&str, &[&str]); 4] = [
    ("singer-common", &["operations", "singer", "maps", "plugin"]),
    (
        "tap-ldap",
        &[
            "settings",
            "config",
            "discovery",
            "stream",
            "key_index",
            "output",
            "replication",
            "report",
            "discover",
            "init",
            "sync",
            "run",
        ],
    ),
    ("target-ldap", &["settings", "rules", "config", "map", "plan", "write", "load", "init", "run"]),
    (
        "ldap-service",
        &[
            "settings",
            "config",
            "error",
            "metrics",
            "gate",
            "fit",
            "lookup",
            "unseen",
            "directory",
            "filter",
            "members",
            "write",
            "login",
            "sessions",
            "tokens",
            "search",
            "service",
            "caller",
            "scim",
            "ldif",
            "check",
            "routes",
            "server",
            "init",
            "run",
        ],
    ),
];
/// Files that are not modules of a stage: the roots of crates, and helpers of unit tests.
const NOT_STAGES: [&str; 3] = ["lib", "main", "testing"];

/// A module's or an item's path below its crate: `["stream", "entries"]`.
type ModulePath = Vec<String>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the sources of a crate by the path of their module.
fn sources(name: &str) -> BTreeMap<ModulePath, String> {
    let src = root().join(name).join("src");
    let mut sources = BTreeMap::new();
    for file in rust_files(&src) {
        let path = file.strip_prefix(&src).unwrap().with_extension("");
        let mut module: ModulePath = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        module.pop_if(|last| last == "mod");
        sources.insert(module, std::fs::read_to_string(file).unwrap());
    }
    assert!(sources.len() > 30, "the sources of {name} were not found");
    sources
}

#[test]
fn modules_import_only_those_before_them() {
    let mut wrong = Vec::new();
    for (name, order) in ORDERS {
        let place = |module: &ModulePath| order.iter().position(|stage| *stage == module[0]);
        for (module, source) in sources(name) {
            if NOT_STAGES.contains(&module[0].as_str()) {
                continue;
            }
            let Some(own) = place(&module) else {
                wrong.push(format!("{name}: `{}` has no place in the order", module[0]));
                continue;
            };
            for to in imports(&module, &source) {
                if place(&to).is_some_and(|other| other > own) {
                    wrong.push(format!("{name}: {} imports {}", module.join("::"), to.join("::")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the orders {ORDERS:?}:\n{}", wrong.join("\n"));
}

#[test]
fn orders_name_modules_that_exist() {
    for (name, order) in ORDERS {
        let modules: BTreeSet<String> =
            sources(name).into_keys().map(|mut module| module.swap_remove(0)).collect();
        let missing: Vec<&&str> = order.iter().filter(|stage| !modules.contains(**stage)).collect();
        assert!(missing.is_empty(), "{name} has no {missing:?}");
    }
}

/// Returns the modules that can be reached from one by imports, that one included if there is a circle.
fn reachable<'g>(
    graph: &'g BTreeMap<ModulePath, BTreeSet<ModulePath>>,
    from: &ModulePath,
) -> BTreeSet<&'g ModulePath> {
    let mut reached = BTreeSet::new();
    let mut queue: Vec<&ModulePath> = graph[from].iter().collect();
    while let Some(module) = queue.pop() {
        if reached.insert(module) {
            queue.extend(&graph[module]);
        }
    }
    reached
}

#[test]
fn modules_of_the_tap_do_not_import_each_other_in_circles() {
    let sources = sources("tap-ldap");
    let mut graph = BTreeMap::new();
    for (from, source) in &sources {
        let found: &mut BTreeSet<ModulePath> = graph.entry(from.clone()).or_default();
        for mut to in imports(from, source) {
            // The path of an item is in its module.
            while !to.is_empty() && !sources.contains_key(&to) {
                to.pop();
            }
            if !to.is_empty() && to != *from {
                found.insert(to);
            }
        }
    }
    let is_in_circle = |module: &&ModulePath| reachable(&graph, module).contains(module);
    let in_circles: Vec<String> = graph.keys().filter(is_in_circle).map(|module| module.join("::")).collect();
    assert!(in_circles.is_empty(), "in circles of imports: {in_circles:?}");
}

#[test]
fn crates_depend_only_on_crates_below_them() {
    let mut wrong = Vec::new();
    for (name, allowed) in CRATES {
        let manifest = std::fs::read_to_string(root().join(name).join("Cargo.toml")).unwrap();
        let found = dependencies(&manifest);
        wrong.extend(
            found
                .iter()
                .filter(|dependency| !allowed.contains(&dependency.as_str()))
                .map(|dependency| format!("{name}/Cargo.toml: {dependency}")),
        );
        for expected in allowed {
            assert!(
                found.iter().any(|f| f == expected),
                "{name} no longer depends on {expected}: see CRATES"
            );
        }
    }
    assert!(wrong.is_empty(), "dependencies against the rule:\n{}", wrong.join("\n"));
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Word(String),
    PathSeparator,
    Mark(char),
}

/// Returns the tokens of Rust source without comments, strings and character literals.
fn tokens(source: &str) -> Vec<Token> {
    let text: Vec<char> = source.chars().collect();
    let at = |n: usize| text.get(n).copied().unwrap_or(' ');
    let mut tokens = Vec::new();
    let mut n = 0;
    while n < text.len() {
        let c = at(n);
        if c == '/' && at(n + 1) == '/' {
            while n < text.len() && at(n) != '\n' {
                n += 1;
            }
        } else if c == '/' && at(n + 1) == '*' {
            n += 2;
            while n < text.len() && (at(n), at(n + 1)) != ('*', '/') {
                n += 1;
            }
            n += 2;
        } else if c == '"' {
            n += 1;
            while n < text.len() && at(n) != '"' {
                n += if at(n) == '\\' { 2 } else { 1 };
            }
            n += 1;
        } else if c == 'r' && (at(n + 1) == '"' || at(n + 1) == '#' && matches!(at(n + 2), '"' | '#')) {
            let hashes = text.iter().skip(n + 1).take_while(|c| **c == '#').count();
            n += hashes + 2;
            let is_end = |n: usize| at(n) == '"' && (1..=hashes).all(|h| at(n + h) == '#');
            while n < text.len() && !is_end(n) {
                n += 1;
            }
            n += hashes + 1;
        } else if c == '\'' {
            // A character literal, or a lifetime.
            n += match (at(n + 1), at(n + 2)) {
                ('\\', _) => 4 + text.iter().skip(n + 3).take_while(|c| **c != '\'').count(),
                (_, '\'') => 3,
                _ => 1,
            };
        } else if c.is_alphanumeric() || c == '_' {
            let word: String =
                text.iter().skip(n).take_while(|c| c.is_alphanumeric() || **c == '_').collect();
            n += word.chars().count();
            tokens.push(Token::Word(word));
        } else if c == ':' && at(n + 1) == ':' {
            tokens.push(Token::PathSeparator);
            n += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(Token::Mark(c));
            }
            n += 1;
        }
    }
    tokens
}

/// Returns the paths that tokens begin with: one, or several in braces.
fn paths_in(tokens: &[Token]) -> Vec<ModulePath> {
    match tokens {
        [Token::Word(word), Token::PathSeparator, rest @ ..] => {
            let below = paths_in(rest);
            if below.is_empty() {
                return vec![vec![word.clone()]];
            }
            below.into_iter().map(|path| [vec![word.clone()], path].concat()).collect()
        }
        [Token::Word(word), ..] => vec![vec![word.clone()]],
        [Token::Mark('{'), rest @ ..] => {
            let (mut found, mut depth, mut start) = (Vec::new(), 0, 0);
            for (at, token) in rest.iter().enumerate() {
                match token {
                    Token::Mark('{') => depth += 1,
                    Token::Mark(',' | '}') if depth == 0 => {
                        found.extend(paths_in(rest.get(start..at).unwrap()));
                        start = at + 1;
                        if *token == Token::Mark('}') {
                            break;
                        }
                    }
                    Token::Mark('}') => depth -= 1,
                    _ => {}
                }
            }
            found
        }
        _ => Vec::new(),
    }
}

/// Returns all paths of the crate that a module's source names, except those in its `mod tests`.
fn imports(module: &ModulePath, source: &str) -> Vec<ModulePath> {
    let tokens = tokens(source);
    let word = |n: usize| match tokens.get(n) {
        Some(Token::Word(word)) => word.as_str(),
        _ => "",
    };
    let is_path = |n: usize| tokens.get(n + 1) == Some(&Token::PathSeparator);
    let mut found = Vec::new();
    // The inline modules around a token, each with the depth of its braces.
    let mut inline: Vec<(String, usize)> = Vec::new();
    let (mut braces, mut n) = (0, 0);
    while let Some(token) = tokens.get(n) {
        let here =
            || -> ModulePath { module.iter().chain(inline.iter().map(|(name, _)| name)).cloned().collect() };
        let base = match token {
            Token::Mark('{') => {
                braces += 1;
                if n >= 2 && word(n - 2) == "mod" {
                    inline.push((word(n - 1).to_owned(), braces));
                }
                None
            }
            Token::Mark('}') => {
                inline.retain(|(_, depth)| *depth != braces);
                braces -= 1;
                None
            }
            Token::Word(name) if name == "crate" && is_path(n) => Some(Vec::new()),
            Token::Word(name) if name == "self" && is_path(n) => Some(here()),
            Token::Word(name) if name == "super" && is_path(n) => {
                let mut base = here();
                base.pop();
                while word(n + 2) == "super" && is_path(n + 2) {
                    base.pop();
                    n += 2;
                }
                Some(base)
            }
            _ => None,
        };
        if let Some(base) = base
            && !inline.iter().any(|(name, _)| name == "tests")
        {
            let paths = paths_in(tokens.get(n + 2..).unwrap_or_default());
            found.extend(paths.into_iter().map(|path| [base.clone(), path].concat()));
        }
        n += 1;
    }
    found
}

/// Returns our crates in all tables of dependencies of a manifest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut is_dependencies = false;
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        let name = if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            is_dependencies = table.ends_with("dependencies");
            table.rsplit_once("dependencies.").map(|(_, name)| name)
        } else if is_dependencies {
            line.split(['.', '=', ' ']).next()
        } else {
            None
        };
        found.extend(name.filter(|name| CRATES.iter().any(|(ours, _)| ours == name)).map(str::to_owned));
    }
    found
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn imports_are_found_however_they_are_written() {
    for (module, source, expected) in [
        ("map::task", "use crate::write::Applier;", &["write::Applier"][..]),
        ("map::task", "use crate::{rules::{rule, load}, write};", &["rules::rule", "rules::load", "write"]),
        ("map::task", "fn f() -> Vec<crate::load::Load> {}", &["load::Load"]),
        ("map::task", "use super::super::plan;", &["plan"]),
        ("map::task", "use super::column; use self::x;", &["map::column", "map::task::x"]),
        (
            "map::task",
            "mod a { use super::super::super::plan::x; } use super::load;",
            &["plan::x", "map::load"],
        ),
        ("map::task", "mod tests { use crate::write; } use crate::plan;", &["plan"]),
        ("map", "use super::write::{self, undo};", &["write::self", "write::undo"]),
        ("map", "pub(super) fn f(c: char) { c == '\"'; super::write::f() }", &["write::f"]),
        ("map", "const A: &str = r#\"crate::write::X \"#; // crate::load::X\n/* crate::x::Y */", &[]),
        ("lib", "pub use crate::load::X;", &["load::X"]),
    ] {
        let module: ModulePath = module.split("::").map(str::to_owned).collect();
        let found: Vec<String> = imports(&module, source).iter().map(|path| path.join("::")).collect();
        assert_eq!(found, expected, "{source}");
    }
}

#[test]
fn dependencies_are_found_in_each_form() {
    let manifest = "[package]\nname = \"singer-common\"\n[dependencies]\nldap-directory.workspace = true\n[target.'cfg(unix)'.dependencies]\ntap-ldap = { path = \"x\" }\n[dev-dependencies.target-ldap]\npath = \"x\"\n[features]\ngssapi = [\"singer-common/gssapi\"]\nsinger-common = []\n";
    assert_eq!(dependencies(manifest), ["ldap-directory", "tap-ldap", "target-ldap"]);
}

#[test]
fn paths_in_the_documents_exist() {
    let mut documents = vec![PathBuf::from("ARCHITECTURE.md"), PathBuf::from("CONTRIBUTING.md")];
    let decisions = Path::new("docs/decisions");
    let names = std::fs::read_dir(root().join(decisions)).unwrap().map(|entry| entry.unwrap().file_name());
    documents.extend(names.map(|name| decisions.join(name)));
    let mut missing = Vec::new();
    for document in documents {
        let text = std::fs::read_to_string(root().join(&document)).unwrap();
        for (line, path) in paths(&text) {
            // A link is relative to its document.
            if !root().join(&path).exists() && !root().join(&document).with_file_name(&path).exists() {
                missing.push(format!("{}:{line}: {path}", document.display()));
            }
        }
    }
    assert!(missing.is_empty(), "no such file or directory:\n{}", missing.join("\n"));
}

/// Finds paths between backticks and in links, each with its line.
///
/// If the head of a table is a directory, the first cells of its rows are paths below that directory.
fn paths(document: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut table = None;
    for (number, line) in (1..).zip(document.lines()) {
        let texts: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        if !line.starts_with('|') {
            table = None;
        } else if let ([directory], true) = (texts.as_slice(), line.ends_with("| |")) {
            table = directory.ends_with('/').then_some(*directory);
        }
        let first_cell = line.split('|').nth(1).unwrap_or_default();
        let of_links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for path in texts.into_iter().chain(of_links).filter(|text| is_path(text)) {
            match table {
                Some(directory) if directory != path && first_cell.contains(&format!("`{path}`")) => {
                    found.push((number, format!("{directory}{path}")));
                }
                _ => found.push((number, path.to_owned())),
            }
        }
    }
    found
}

fn is_path(text: &str) -> bool {
    let is_file =
        [".rs", ".md", ".json", ".toml", ".py", ".sh", ".schema"].iter().any(|end| text.ends_with(end));
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    is_plain && !text.starts_with('/') && (text.contains('/') || is_file)
}

#[test]
fn paths_are_found_in_tables_and_links() {
    let document = "| `a/src/` | |\n|---|---|\n| `b.rs`, `c/` | x `d/e.rs` |\n\nSee `run` and `f.sh` or [g](g/h.md), `make x`.\n";
    let found: Vec<String> =
        paths(document).into_iter().map(|(line, path)| format!("{line}:{path}")).collect();
    assert_eq!(found, ["1:a/src/", "3:a/src/b.rs", "3:a/src/c/", "3:d/e.rs", "5:f.sh", "5:g/h.md"]);
}
