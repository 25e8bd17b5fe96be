//! Catalogs as reviewable text: one line a property. `tests/golden/` holds the expected ones.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

use crate::support::types;

/// Set to rewrite the files instead of comparing with them.
const UPDATE: &str = "UPDATE_GOLDEN";

/// Compares a catalog with its file; with `UPDATE_GOLDEN=1` writes the file.
#[track_caller]
pub(crate) fn assert_golden(name: &str, catalog: &Value) {
    assert_golden_text(&format!("{name}.txt"), &text(catalog));
}

/// Compares a text with its file; with `UPDATE_GOLDEN=1` writes the file.
#[track_caller]
pub(crate) fn assert_golden_text(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os(UPDATE).is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; {UPDATE}=1 writes it", path.display()));
    let (new, old): (Vec<&str>, Vec<&str>) = (text.lines().collect(), expected.lines().collect());
    if let Some(at) = (0..new.len().max(old.len())).find(|i| new.get(*i) != old.get(*i)) {
        panic!(
            "it differs from {} first in line {}:\n  was {:?}\n  is  {:?}\nIf that is meant, run the test \
             again with {UPDATE}=1 and look at the difference in git.",
            path.display(),
            at + 1,
            old.get(at).unwrap_or(&"(nothing)"),
            new.get(at).unwrap_or(&"(nothing)"),
        );
    }
}

/// The whole catalog. What has no place in this form is a panic, so that nothing goes unseen.
fn text(catalog: &Value) -> String {
    let mut out = String::new();
    assert_keys(catalog, &["streams"]);
    for stream in catalog["streams"].as_array().unwrap() {
        assert_keys(
            stream,
            &[
                "tap_stream_id",
                "stream",
                "key_properties",
                "schema",
                "metadata",
                "replication_method",
                "replication_key",
            ],
        );
        writeln!(
            out,
            "stream {} = {}\n  key {}, {}{}",
            stream["stream"].as_str().unwrap(),
            stream["tap_stream_id"].as_str().unwrap(),
            stream["key_properties"],
            stream["replication_method"].as_str().unwrap_or("no replication method"),
            stream
                .get("replication_key")
                .filter(|k| !k.is_null())
                .map_or(String::new(), |k| format!(" by {k}")),
        )
        .unwrap();
        let metadata = stream["metadata"].as_array().unwrap();
        writeln!(out, "  {}", Value::Object(metadata_of(metadata, &[]).clone())).unwrap();
        assert_keys(&stream["schema"], &["type", "properties"]);
        assert_eq!(stream["schema"]["type"], "object");
        let properties = stream["schema"]["properties"].as_object().unwrap();
        assert_eq!(metadata.len(), properties.len() + 1, "metadata for each property, and for the stream");
        for (name, property) in properties {
            let metadata = metadata_of(metadata, &["properties", name]);
            writeln!(out, "  {name}: {}{}", property_text(property), metadata_text(name, metadata)).unwrap();
        }
    }
    out
}

fn metadata_of<'a>(metadata: &'a [Value], breadcrumb: &[&str]) -> &'a Map<String, Value> {
    let found: Vec<&Value> =
        metadata.iter().filter(|m| m["breadcrumb"] == serde_json::json!(breadcrumb)).collect();
    assert_eq!(found.len(), 1, "one metadata entry for {breadcrumb:?}");
    found[0]["metadata"].as_object().unwrap()
}

fn property_text(property: &Value) -> String {
    assert_keys(property, &["type", "items", "format", "contentEncoding", "description"]);
    let mut names: Vec<String> = types(property).into_iter().collect();
    if property["type"].as_array().is_none_or(|t| !t.contains(&Value::from("null"))) {
        names.push("not null".to_owned());
    }
    let mut text = names.join(" ");
    for extra in ["format", "contentEncoding"] {
        if let Some(value) = property.get(extra) {
            write!(text, " {}", value.as_str().unwrap()).unwrap();
        }
    }
    if let Some(items) = property.get("items") {
        text = format!("[{}]", property_text(items));
    }
    if let Some(description) = property.get("description") {
        write!(text, " {description}").unwrap();
    }
    text
}

fn metadata_text(name: &str, metadata: &Map<String, Value>) -> String {
    let known = [
        "inclusion",
        "selected-by-default",
        "ldap.syntax",
        "ldap.single-value",
        "ldap.equality",
        "ldap.usage",
    ];
    assert_keys(&Value::Object(metadata.clone()), &known);
    let word = |key: &str| metadata.get(key).and_then(Value::as_str);
    let mut text = format!(" | {}", word("inclusion").unwrap());
    if metadata["selected-by-default"] == true {
        text.push_str(" selected");
    }
    if name != "dn" {
        let single = metadata["ldap.single-value"] == true;
        let details =
            [word("ldap.syntax"), word("ldap.equality"), word("ldap.usage"), single.then_some("single")];
        write!(text, " | {}", details.into_iter().flatten().collect::<Vec<_>>().join(" ")).unwrap();
    }
    text
}

#[track_caller]
fn assert_keys(value: &Value, known: &[&str]) {
    for key in value.as_object().unwrap().keys() {
        assert!(
            known.contains(&key.as_str()),
            "{key} is new in a catalog: give it a place in the golden files"
        );
    }
}

/// Compares a part of a document with a text: what stands between `<!-- begin: NAME … -->` and `<!-- end: NAME -->`. With
/// `UPDATE_GOLDEN=1` writes it.
#[track_caller]
pub(crate) fn assert_text_in(document: &str, name: &str, text: &str) {
    let path = ldap_tests::meltano::root().join(document);
    let whole = std::fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- begin: {name}"), format!("<!-- end: {name} -->"));
    let (before, rest) = whole.split_once(&begin).unwrap_or_else(|| panic!("{document}: no `{begin}`"));
    let (note, rest) = rest.split_once("-->\n").unwrap();
    let (now, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{document}: no `{end}`"));
    let wanted = format!("\n{text}\n");
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, format!("{before}{begin}{note}-->\n{wanted}{end}{after}")).unwrap();
        return;
    }
    assert!(
        now == wanted,
        "{document}: the part `{name}` is out of date; run the test again with {UPDATE}=1"
    );
}
