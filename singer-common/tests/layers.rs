//! The dependency rule between the crates, and the order of the groups in this one (ARCHITECTURE.md).

// The lints let tests unwrap, and a test's helpers are part of it.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// The groups of `singer-common`. A group uses those before it.
const GROUPS: [&str; 4] = ["operations", "singer", "maps", "plugin"];

/// Our crates, and our crates that each may depend on.
const CRATES: [(&str, &[&str]); 4] = [
    ("ldap-directory", &[]),
    ("singer-common", &["ldap-directory"]),
    ("tap-ldap", &["ldap-directory", "singer-common"]),
    ("target-ldap", &["ldap-directory", "singer-common"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[test]
fn groups_import_only_groups_before_them() {
    let src = root().join("singer-common/src");
    let mut wrong = Vec::new();
    for (position, group) in GROUPS.iter().enumerate() {
        let files = rust_files(&src.join(group));
        assert!(!files.is_empty(), "no group `{group}`: a rename belongs into GROUPS, too");
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let module_depth = depth(file.strip_prefix(&src).unwrap());
            for import in imports(&text, module_depth) {
                if GROUPS.iter().skip(position + 1).any(|later| *later == import.group) {
                    let file = file.strip_prefix(&src).unwrap().display();
                    wrong.push(format!("singer-common/src/{file}:{}: {}", import.line, import.path));
                }
            }
        }
    }
    let order = GROUPS.join(" < ");
    assert!(wrong.is_empty(), "imports against the order {order}:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_of_the_root_is_a_group() {
    let text = std::fs::read_to_string(root().join("singer-common/src/lib.rs")).unwrap();
    let mut modules: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    let mut groups = GROUPS.to_vec();
    modules.sort_unstable();
    groups.sort_unstable();
    assert_eq!(modules, groups);
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

/// A path in the sources that leads from the root of the crate into a group.
#[derive(Debug, PartialEq, Eq)]
struct Import {
    /// From 1.
    line: usize,
    path: String,
    group: String,
}

/// Returns the number of `super::` that lead from a file to the root of the crate.
fn depth(file: &Path) -> usize {
    file.components().count() - usize::from(file.ends_with("mod.rs"))
}

/// Returns imports of `crate::GROUP`, `crate::{GROUP::…, …}` and the same behind `super::super::…`, outside of comments.
fn imports(text: &str, module_depth: usize) -> Vec<Import> {
    let code = without_comments(text);
    let to_root = "super::".repeat(module_depth);
    let mut imports = Vec::new();
    for start in ["crate::", to_root.as_str()] {
        for (at, _) in code.match_indices(start) {
            let before = code.get(..at).unwrap();
            if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let line = before.matches('\n').count() + 1;
            let rest = code.get(at + start.len()..).unwrap();
            imports.extend(first_segments(rest).into_iter().map(|(offset, group)| Import {
                line: line + rest.get(..offset).unwrap().matches('\n').count(),
                path: format!("{start}{group}"),
                group,
            }));
        }
    }
    imports
}

/// Returns the first name of a path, or of each part of a path that begins with a brace, with their positions.
fn first_segments(path: &str) -> Vec<(usize, String)> {
    let name_at = |at: usize| {
        let text = path.get(at..).unwrap();
        let name = text.trim_start();
        let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
        Some((at + text.len() - name.len(), name.get(..end)?.to_owned())).filter(|_| end > 0)
    };
    if !path.starts_with('{') {
        return name_at(0).into_iter().collect();
    }
    let mut level = 0_usize;
    let mut names = Vec::new();
    for (at, c) in path.char_indices() {
        match c {
            '{' => level += 1,
            '}' => level -= 1,
            _ => {}
        }
        match (c, level) {
            (_, 0) => break,
            ('{' | ',', 1) => names.extend(name_at(at + 1)),
            _ => {}
        }
    }
    names
}

/// Returns the text with empty lines in place of comment lines.
fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
    lines.collect::<Vec<_>>().join("\n")
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
fn imports_are_found_in_braces_and_behind_super() {
    let text = "use crate::maps::Maps;\n// crate::plugin\nuse crate::{\n    operations::{error, facts},\n    plugin,\n};\nuse super::super::singer::record;\nuse super::evaluate;\nfn f() { crate::plugin::cli::report() }\n";
    let found: Vec<(usize, String)> = imports(text, 2).into_iter().map(|i| (i.line, i.group)).collect();
    let expected = [(1, "maps"), (4, "operations"), (5, "plugin"), (9, "plugin"), (7, "singer")];
    assert_eq!(found, expected.map(|(line, group)| (line, group.to_owned())));
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
