//! `_sdc_deleted_at`: which values mark a record as deleted.

use ldap_tests::run::Run;
use serde_json::{Value, json};

use super::{BASE, File, record, schema, state, warnings};
use crate::support::{done, no_panic, with};

/// Values of `_sdc_deleted_at` that say "not deleted", and such that say nothing that one could act on.
fn markers() -> (Vec<Value>, Vec<Value>) {
    let empty = vec![
        json!(null),
        json!(""),
        json!(" "),
        json!(0),
        json!(false),
        json!([]),
        json!([""]),
        json!("null"),
        json!("False"),
        json!("0"),
    ];
    let wrong = vec![json!("gone"), json!(true), json!(1), json!({"a": 1})];
    (empty, wrong)
}

#[test]
fn only_a_time_marks_a_deletion() {
    for validate in [true, false] {
        let ids: Vec<String> = (0..16).map(|n| format!("u{n}")).collect();
        let file = File::new(&json!({}), &ids.iter().map(String::as_str).collect::<Vec<_>>());
        let config = with(&file.skipping(), &json!({"validate_records": validate}));
        let (empty, wrong) = markers();
        let times = [json!("2026-01-01T00:00:00Z"), json!("2026-01-01 00:00:00+00")];
        let mut messages =
            vec![schema(&json!({"id": {"type": "string"}, "last": {"type": ["null", "string"]},
                "_sdc_deleted_at": {"type": ["null", "string"], "format": "date-time"}}))];
        let all = empty.iter().chain(&wrong).chain(&times);
        messages.extend(all.enumerate().map(|(n, marker)| {
            record(&json!({"id": format!("u{n}"), "last": "New", "_sdc_deleted_at": marker}))
        }));
        messages.push(state());
        let output = Run::target(&config).messages(&messages).run().exits(4);
        no_panic(&output);
        let rejected = file.rejected();
        let expected: Vec<String> =
            (empty.len()..empty.len() + wrong.len()).map(|n| format!("u{n}")).collect();
        assert_eq!(
            rejected.iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
            expected
        );
        for n in 0..14 {
            let expected = if n < empty.len() { "New".to_owned() } else { format!("u{n}") };
            assert_eq!(file.text(&format!("u{n}"), "sn"), Some(expected), "u{n}");
        }
        let tree = file.tree();
        assert!((14..16).all(|n| !tree.contains_key(&format!("uid=u{n},{BASE}"))), "{:?}", tree.keys());
    }
}

#[test]
fn a_stream_map_does_not_take_an_empty_marker_for_a_deletion() {
    let file = File::new(&json!({}), &["a", "b"]);
    let config = with(&file.config(), &json!({"stream_maps": {"p": {"__filter__": "kind == 'x'"}}}));
    let messages = [
        schema(&json!({"id": {"type": "string"}, "kind": {"type": "string"}, "last": {"type": "string"},
            "_sdc_deleted_at": {"type": ["null", "string"]}})),
        // The filter's property is not there: of a deletion that is no fault, of a record it is.
        record(&json!({"id": "a", "last": "New", "_sdc_deleted_at": ""})),
        record(&json!({"id": "b", "_sdc_deleted_at": "2026-01-01T00:00:00Z"})),
        state(),
    ];
    done(Run::target(&config).messages(&messages).run());
    assert_eq!(file.text("a", "sn").as_deref(), Some("a"), "filtered out");
    assert!(!file.tree().contains_key(&format!("uid=b,{BASE}")));
}

#[test]
fn a_deletion_needs_no_more_than_what_names_its_entry() {
    let file = File::new(&json!({"values": {"description": "{since|date:%Y}"}}), &["a", "b"]);
    let messages = [
        json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"type": "object",
            "additionalProperties": false, "required": ["id", "last", "since"],
            "properties": {"id": {"type": "string"}, "last": {"type": "string"}, "since": {"type": "string"}}}}),
        record(&json!({"id": "a", "_sdc_deleted_at": "2026-01-01T00:00:00Z"})),
        record(
            &json!({"id": "b", "last": null, "since": "unknown", "_sdc_deleted_at": "2026-01-01T00:00:00Z"}),
        ),
        state(),
    ];
    done(Run::target(&file.config()).messages(&messages).run());
    assert_eq!(file.tree().len(), 2, "{:?}", file.tree().keys());
}

/// Warehouses fold names, and print `_SDC_DELETED_AT`.
#[test]
fn a_marker_is_one_in_every_spelling_and_a_placeholder_is_no_time() {
    for (spelling, validate) in [("_SDC_DELETED_AT", true), ("_Sdc_Deleted_At", false)] {
        let file = File::new(&json!({"attribute_mapping": null}), &["a", "b", "c", "d", "e"]);
        let config = with(&file.skipping(), &json!({"validate_records": validate}));
        let text = json!({"type": ["null", "string"], "format": "date-time"});
        let mut schema = schema(&json!({"id": {"type": "string"}, "sn": {"type": ["null", "string"]}}));
        schema["schema"]["properties"][spelling] = text;
        let marked = |id: &str, marker: &str| record(&json!({"id": id, "sn": "New", spelling: marker}));
        let mut both = marked("e", "2026-01-01T00:00:00Z");
        both["record"]["_sdc_deleted_at"] = json!(null);
        let messages = [
            schema,
            marked("a", "2026-01-01T00:00:00Z"),
            record(&json!({"id": "b", "sn": "New", spelling: null})),
            marked("c", "0001-01-01T00:00:00Z"),
            marked("d", "9999-12-31T23:59:59Z"),
            both,
            state(),
        ];
        let output = Run::target(&config).messages(&messages).run().exits(4);
        no_panic(&output);
        let tree = file.tree();
        assert!(!tree.contains_key(&format!("uid=a,{BASE}")), "{}", output.stderr);
        let left = ["b", "c", "d", "e"].map(|id| file.text(id, "sn").unwrap());
        assert_eq!(left, ["New", "c", "d", "e"], "{}", output.stderr);
        for said in ["id=c: ", "0001-01-01", "id=d: ", "9999-12-31", "id=e: "] {
            assert!(!warnings(&output, said).is_empty(), "{said}: {}", output.stderr);
        }
        assert_eq!(file.rejected().len(), 3);
    }
}
