//! The stages of `target-ldap`: a module imports only from its own stage and from earlier ones.

use std::path::{Path, PathBuf};

/// The stages, in the order of the dependency rule. A root file such as `config.rs` is a stage of its own.
const STAGES: &[&str] = &["settings", "rules", "config", "map", "plan", "write", "load", "init", "run"];
/// Modules that every stage may use.
const SHARED: &[&str] = &["testing"];

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

/// Returns the first words behind a path separator: one, or those of the group in braces.
fn heads(tokens: &[Token]) -> Vec<String> {
    match tokens {
        [Token::Word(word), ..] => vec![word.clone()],
        [Token::Mark('{'), rest @ ..] => {
            let mut heads = Vec::new();
            let (mut depth, mut is_first) = (1, true);
            for token in rest {
                match token {
                    Token::Mark('{') => depth += 1,
                    Token::Mark('}') => depth -= 1,
                    Token::Mark(',') if depth == 1 => is_first = true,
                    Token::Word(word) if is_first => {
                        heads.push(word.clone());
                        is_first = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
            heads
        }
        _ => Vec::new(),
    }
}

/// Returns the root modules that a file names. `module`: the path of its module below the crate.
fn root_modules(module: &[&str], source: &str) -> Vec<String> {
    let tokens = tokens(source);
    let mut named = Vec::new();
    // The inline modules around a token, each with the depth of its braces.
    let mut inline: Vec<usize> = Vec::new();
    let mut braces = 0;
    let mut n = 0;
    while let Some(token) = tokens.get(n) {
        match token {
            Token::Mark('{') => {
                braces += 1;
                if n >= 2 && tokens.get(n - 2) == Some(&Token::Word("mod".into())) {
                    inline.push(braces);
                }
            }
            Token::Mark('}') => {
                inline.retain(|depth| *depth != braces);
                braces -= 1;
            }
            Token::Word(word) if word == "crate" && tokens.get(n + 1) == Some(&Token::PathSeparator) => {
                named.extend(heads(tokens.get(n + 2..).unwrap_or_default()));
            }
            Token::Word(word) if word == "super" => {
                let mut up = 1;
                while tokens.get(n + 1) == Some(&Token::PathSeparator)
                    && tokens.get(n + 2) == Some(&Token::Word("super".into()))
                {
                    up += 1;
                    n += 2;
                }
                let is_path = tokens.get(n + 1) == Some(&Token::PathSeparator);
                if is_path && up >= module.len() + inline.len() {
                    named.extend(heads(tokens.get(n + 2..).unwrap_or_default()));
                }
            }
            _ => {}
        }
        n += 1;
    }
    named
}

/// Returns the imports of a file that run against the order of the stages.
fn wrong_imports(module: &[&str], source: &str) -> Vec<String> {
    let rank = |name: &str| STAGES.iter().position(|stage| *stage == name);
    let own = module.first().copied().unwrap_or_default();
    let Some(place) = rank(own) else { return vec![format!("`{own}` is not in the list of stages")] };
    let named = root_modules(module, source).into_iter().filter(|name| !SHARED.contains(&name.as_str()));
    let is_wrong = |name: &String| rank(name).is_none_or(|other| other > place);
    let text = |name: String| format!("`{own}` must not import from `{name}`");
    named.filter(is_wrong).map(text).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn stages_import_only_from_earlier_stages() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files).unwrap();
    let mut wrong = Vec::new();
    for file in &files {
        let path = file.strip_prefix(&root).unwrap().with_extension("");
        let module: Vec<&str> = path.iter().map(|part| part.to_str().unwrap()).collect();
        if matches!(module[..], ["lib" | "main" | "testing"]) {
            continue;
        }
        let imports = wrong_imports(&module, &std::fs::read_to_string(file).unwrap());
        wrong.extend(imports.into_iter().map(|import| format!("{}: {import}", file.display())));
    }
    assert!(files.len() > 50, "the sources were not found");
    assert!(wrong.is_empty(), "the order is {}\n{}", STAGES.join(" < "), wrong.join("\n"));
}

#[test]
fn wrong_imports_are_found_however_they_are_written() {
    for (module, source, expected) in [
        (&["map", "task"][..], "use crate::write::Applier;", Some("write")),
        (&["map", "task"], "use crate::{rules::{rule, load}, write::Applier};", Some("write")),
        (&["map", "task"], "fn f() -> Vec<crate::load::Load> {}", Some("load")),
        (&["map", "task"], "use super::super::plan;", Some("plan")),
        (&["map", "task"], "mod tests { use super::super::super::{rules, plan::x}; }", Some("plan")),
        (&["map", "task"], "mod tests { use super::super::plan; } use super::load;", None),
        (&["map"], "use super::write::{self, undo};", Some("write")),
        (&["map"], "pub(super) fn f(c: char) { c == '\"'; super::write::f() }", Some("write")),
        (&["map"], "const A: &str = r#\"crate::write::X \"#; // crate::load::X", None),
        (&["write", "find"], "use crate::rules::rule; use crate::write::undo; use super::load;", None),
        (&["map"], "use crate::nowhere::X;", Some("nowhere")),
        (&["nowhere"], "", Some("is not in the list")),
    ] {
        let found = wrong_imports(module, source).join("\n");
        match expected {
            Some(name) => assert!(found.contains(name), "{source}: {found}"),
            None => assert_eq!(found, "", "{source}"),
        }
    }
}
