//! A stage of the tap imports only the stages before it, and modules do not import each other in circles.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The modules of `lib.rs`, each before those that may import it.
const ORDER: [&str; 12] = [
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
];

/// A module's path below the crate: `["stream", "entries"]`.
type ModulePath = Vec<String>;

/// A path that a source names, with the module and the line that do so.
struct Import {
    from: ModulePath,
    line: String,
    to: ModulePath,
}

/// Returns the sources of the crate by module path.
fn sources() -> BTreeMap<ModulePath, String> {
    let mut sources = BTreeMap::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let module = path.strip_prefix(&root).unwrap().with_extension("");
                let module = module.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
                sources.insert(module, fs::read_to_string(path).unwrap());
            }
        }
    }
    sources
}

fn is_identifier(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the paths that a text begins with, after `crate::` or `super::`: one, or several in braces.
fn paths(text: &str) -> Vec<ModulePath> {
    let name: String = text.chars().take_while(|c| is_identifier(*c)).collect();
    if !name.is_empty() {
        let rest = text.get(name.len()..).unwrap();
        let mut below = rest.strip_prefix("::").map(paths).unwrap_or_default();
        if below.is_empty() {
            below.push(Vec::new());
        }
        return below.into_iter().map(|path| [vec![name.clone()], path].concat()).collect();
    }
    let Some(list) = text.strip_prefix('{') else { return Vec::new() };
    let (mut found, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                found.extend(paths(list.get(start..at).unwrap().trim()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    found
}

/// Returns all paths below the crate that a module's source names, except those in comments and in unit tests.
fn imports(module: &ModulePath, source: &str) -> Vec<Import> {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let lines: Vec<&str> = source.lines().filter(|l| !l.trim_start().starts_with("//")).collect();
    let code = lines.join("\n");
    let mut imports = Vec::new();
    for keyword in ["crate::", "super::", "self::"] {
        for (at, _) in code.match_indices(keyword) {
            let (before, found) = code.split_at(at);
            // A hop of `super::super::` is part of the path before it.
            if before.ends_with(|c| is_identifier(c) || c == ':') {
                continue;
            }
            let mut rest = found;
            let mut base = Vec::new();
            if keyword == "super::" {
                base.clone_from(module);
                while let Some(below) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = below;
                }
            } else {
                rest = rest.strip_prefix(keyword).unwrap();
                if keyword == "self::" {
                    base.clone_from(module);
                }
            }
            let start = before.rsplit('\n').next().unwrap();
            let line = format!("{}{}", start.trim_start(), found.lines().next().unwrap());
            for path in paths(rest) {
                let to = [base.clone(), path].concat();
                imports.push(Import { from: module.clone(), line: line.clone(), to });
            }
        }
    }
    imports
}

fn all_imports() -> Vec<Import> {
    sources().iter().flat_map(|(module, source)| imports(module, source)).collect()
}

#[test]
fn stages_import_only_earlier_stages() {
    let place =
        |module: &ModulePath| ORDER.iter().position(|stage| module.first().is_some_and(|m| m == stage));
    let wrong: Vec<String> = all_imports()
        .iter()
        .filter(
            |import| matches!((place(&import.from), place(&import.to)), (Some(from), Some(to)) if to > from),
        )
        .map(|import| format!("{} imports {}: {}", import.from.join("::"), import.to.join("::"), import.line))
        .collect();
    assert!(wrong.is_empty(), "imports of a later stage:\n{}", wrong.join("\n"));
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
fn modules_do_not_import_each_other_in_circles() {
    let sources = sources();
    let mut graph: BTreeMap<ModulePath, BTreeSet<ModulePath>> =
        sources.keys().map(|module| (module.clone(), BTreeSet::new())).collect();
    for Import { from, mut to, .. } in all_imports() {
        // The path of an item is in its module.
        while !to.is_empty() && !sources.contains_key(&to) {
            to.pop();
        }
        if !to.is_empty() && to != from {
            graph.get_mut(&from).unwrap().insert(to);
        }
    }
    let in_circles: Vec<String> = graph
        .keys()
        .filter(|module| reachable(&graph, module).contains(module))
        .map(|module| module.join("::"))
        .collect();
    assert!(in_circles.is_empty(), "in circles of imports: {in_circles:?}");
}

#[test]
fn stages_are_all_in_the_order() {
    let sources = sources();
    let known: BTreeSet<&str> = ORDER.into_iter().chain(["lib", "main"]).collect();
    let new: Vec<&str> = sources.keys().map(|m| m[0].as_str()).filter(|m| !known.contains(m)).collect();
    assert!(new.is_empty(), "not in the order of stages: {new:?}");
}

#[test]
fn stages_are_found_in_imports() {
    let module = |path: &str| path.split("::").map(str::to_owned).collect::<ModulePath>();
    let source = "use crate::{output::Output, stream::{convert, entries::Entries}};\n// crate::run::main\nuse super::super::report;\n";
    let found: Vec<String> =
        imports(&module("discovery::census"), source).iter().map(|i| i.to.join("::")).collect();
    assert_eq!(found, ["output::Output", "stream::convert", "stream::entries::Entries", "report"]);
}
