use serde_json::json;
use singer_common::singer::catalog::{MetadataEntry, Places};

use singer_common::operations::page::{thousands, visible};

use super::*;
use crate::discovery::sample::Occurrence;

const HOSTILE: &str = "<script>alert(\"x\")</script>'&";

fn entry(id: &str, name: &str, attributes: &[&str]) -> CatalogEntry {
    let mut properties = serde_json::Map::new();
    let mut metadata = Vec::new();
    for attribute in attributes {
        properties.insert(
            (*attribute).to_owned(),
            json!({"type": ["null", "array"], "items": {"type": ["null", "string"]}, "description": HOSTILE}),
        );
        metadata.push(MetadataEntry {
            breadcrumb: vec!["properties".into(), (*attribute).to_owned()],
            metadata: json!({"selected-by-default": true, "ldap.syntax": HOSTILE})
                .as_object()
                .unwrap()
                .clone(),
        });
    }
    CatalogEntry {
        places: Places::default(),
        tap_stream_id: id.to_owned(),
        stream: name.to_owned(),
        key_properties: vec!["dn".to_owned()],
        schema: json!({"type": "object", "properties": properties}),
        metadata,
        replication_method: None,
        replication_key: None,
    }
}

fn sample(entries: u64, complete: bool, classes: &[(&str, u64)], attributes: &[(&str, u64, u64)]) -> Sample {
    let mut sample = Sample::default();
    sample.entries = entries;
    sample.complete = complete;
    sample.classes = classes.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
    sample.attributes = attributes
        .iter()
        .map(|(name, entries, several)| Occurrence {
            description: (*name).to_owned(),
            entries: *entries,
            several: *several,
        })
        .collect();
    sample
}

fn rendered(streams: &[(&CatalogEntry, &Sample)]) -> String {
    let place = PageHead {
        server: HOSTILE,
        vendor: HOSTILE,
        base: HOSTILE,
        date: HOSTILE,
        reader: Some(HOSTILE),
        books: HOSTILE,
        doubles: &Doubles::default(),
    };
    render(&place, streams, Schema::standard())
}

#[test]
fn hostile_names_are_text() {
    let id = format!("ou={HOSTILE},dc=test");
    let entry = entry(&id, HOSTILE, &["cn", HOSTILE, "\" onclick=\"x"]);
    let sample = sample(2, true, &[(HOSTILE, 2)], &[("cn", 2, 1), (HOSTILE, 1, 0)]);
    let html = rendered(&[(&entry, &sample)]);
    // Only the script of the page.
    assert_eq!(html.matches("<script").count(), 1, "{html}");
    assert!(!html.contains("\" onclick=\""), "{html}");
    assert!(
        html.contains("ou=&lt;script&gt;alert(&quot;x&quot;)&lt;/<wbr>script&gt;'&amp;,<wbr>dc=test"),
        "{html}"
    );
    assert!(!html.contains('\0') && rendered(&[]).contains("0</strong>"));
}

#[test]
fn the_tree_follows_the_names_and_the_figures_the_sample() {
    let names = [
        "organizational_units",
        "dc=test",
        "ou=People,dc=test",
        "ou=x,uid=a,ou=people,dc=test",
        "ou=Q,dc=test",
    ];
    let entries: Vec<CatalogEntry> = names.iter().map(|n| entry(n, n, &["dn", "cn", "mail"])).collect();
    let seen = sample(1000, false, &[("top", 1000), ("person", 1000)], &[("CN", 999, 3)]);
    let streams: Vec<(&CatalogEntry, &Sample)> = entries.iter().rev().map(|e| (e, &seen)).collect();
    let arranged = arrange(&streams, Schema::standard());
    let shown: Vec<(usize, &str)> = arranged.iter().map(|s| (s.depth, s.entry.stream.as_str())).collect();
    assert_eq!(shown, [(0, names[0]), (0, names[1]), (1, names[2]), (2, names[3]), (1, names[4])]);
    assert_eq!(
        arranged[3].label,
        Label::Relative { kind: "ou".into(), value: "x".into(), between: "uid=a".into() }
    );
    assert_eq!(arranged[1].label, Label::Whole("dc=test".into()));
    let below: Vec<_> = arranged.iter().map(|s| s.below).collect();
    assert_eq!(below, [None, Some((3000, false)), Some((1000, false)), None, None]);
    assert_eq!(arranged[0].kinds, [("person", 1000)]);
    let first = &arranged[0];
    let counts = |a: &Attribute| (a.name.to_owned(), a.entries, a.several);
    assert_eq!(
        first.seen.iter().map(counts).collect::<Vec<_>>(),
        [("dn".to_owned(), 1000, 0), ("cn".to_owned(), 999, 3)]
    );
    assert_eq!(first.unseen.iter().map(|a| a.name).collect::<Vec<_>>(), ["mail"]);

    let html = rendered(&streams);
    assert!(
        html.contains("<strong>1,000+</strong> entries</span> <span class=\"also-count\">(sample)</span>"),
        "{html}"
    );
    assert!(html.contains("<strong>5,000+</strong> <span>entries read</span>"), "{html}");
    assert!(html.contains("999 <span class=\"quiet\">99%</span>"), "{html}");
    assert_eq!(html.matches("<ul class=\"tree\"").count(), 3);
}

#[test]
fn a_deep_tree_is_no_deep_page() {
    let mut id = "dc=test".to_owned();
    let mut entries = Vec::new();
    for n in 0..200 {
        entries.push(entry(&id, "s", &[]));
        id = format!("ou={n},{id}");
    }
    let sample = Sample::default();
    let streams: Vec<(&CatalogEntry, &Sample)> = entries.iter().map(|e| (e, &sample)).collect();
    let html = rendered(&streams);
    assert_eq!(html.matches("<ul class=\"tree\"").count(), MAX_DEPTH + 1);
    assert_eq!(html.matches("<details class=\"stream\"").count(), 200);
}

#[test]
fn types_are_words() {
    for (schema, expected) in [
        (json!({"type": ["null", "string"]}), "string"),
        (
            json!({"type": ["null", "array"], "items": {"type": ["null", "string"], "format": "date-time"}}),
            "array of string (date-time)",
        ),
        (json!({"type": ["null", "string"], "contentEncoding": "base64"}), "string (base64)"),
        (
            json!({"type": ["null", "array"], "items": {"type": ["null", "string"], "contentEncoding": "8bit"}}),
            "array of string",
        ),
        (json!({"type": "integer"}), "integer"),
        (json!({}), "anything"),
    ] {
        assert_eq!(json_type(&schema), expected);
    }
}

#[test]
fn every_syntax_of_the_standard_schema_has_a_name() {
    for attribute in Schema::standard().attribute_types() {
        if let Some(oid) = &attribute.syntax {
            assert!(syntaxes::name(oid).is_some(), "{oid} of {}", attribute.name());
        }
    }
    assert_eq!(syntaxes::name("1.2.3"), None);
}

#[test]
fn numbers_and_controls_are_readable() {
    assert_eq!(thousands(0), "0");
    assert_eq!(thousands(1_234_567), "1,234,567");
    assert_eq!(thousands(999), "999");
    assert_eq!(visible("a\0b\nc\u{7f}d\u{85}e\u{202e}f"), "a␀b␊c␡d\u{fffd}e\u{fffd}f");
    assert_eq!(visible("東京"), "東京");
}

#[test]
fn what_a_class_requires_and_what_most_of_its_entries_have_is_missed() {
    let person = entry(
        "ou=p,dc=x",
        "people",
        &["dn", "cn", "sn", "mail", "title", "uidNumber", "description", "cn;lang-de"],
    );
    let classes = [("top", 100), ("person", 100), ("inetOrgPerson", 80), ("posixAccount", 30)];
    let seen = [
        // Also with an option: how many have neither is not known.
        ("cn", 90, 0),
        ("cn;lang-de", 20, 0),
        ("sn", 98, 0),
        ("mail", 70, 0),
        ("title", 20, 0),
        ("uidNumber", 30, 0),
        ("description", 51, 0),
    ];
    let few =
        sample(5, true, &[("top", 5), ("inetOrgPerson", 5)], &[("mail", 4, 0), ("cn", 5, 0), ("sn", 5, 0)]);
    let many = sample(100, true, &classes, &seen);
    let small = entry("ou=q,dc=x", "small", &["dn", "cn", "sn", "mail"]);
    let arranged = arrange(&[(&person, &many), (&small, &few)], Schema::standard());
    let found = quality::findings(&arranged, Schema::standard());
    let found: Vec<_> =
        found.iter().map(|f| (f.stream, f.attribute, f.class, f.lacks(), f.is_required)).collect();
    assert_eq!(
        found,
        [
            (0, "sn", "person", 2, true),
            (0, "mail", "inetOrgPerson", 10, false),
            (0, "description", "person", 49, false)
        ]
    );
}
