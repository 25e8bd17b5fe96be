use super::*;
use ldap_directory::entry::{Attribute, Entry};
use serde_json::json;

fn stream() -> CatalogEntry {
    serde_json::from_value(json!({
        "tap_stream_id": "s", "stream": "s \"1\"", "key_properties": ["dn"],
        "schema": {"type": "object", "properties": {
            "dn": {"type": ["null", "string"]},
            "cn": {"type": ["null", "string"]},
            "sn": {"type": ["null", "array"], "items": {"type": ["null", "string"]}},
            "cn;lang-de": {"type": ["null", "array"]},
            "seeAlso": {"type": ["null", "array"]},
        }},
        "metadata": [
            {"breadcrumb": [], "metadata": {"selected": true}},
            {"breadcrumb": ["properties", "seeAlso"], "metadata": {"inclusion": "available", "selected": false}},
        ],
    }))
    .unwrap()
}

fn convert(entry: &Entry) -> (Value, Vec<String>) {
    let stream = stream();
    let mut converter = Converter::new(&stream, Schema::standard());
    let mut out = Vec::new();
    converter.write(entry, Some(7), "2026-01-01T00:00:00Z", &mut out).unwrap();
    assert_eq!(out.pop(), Some(b'\n'));
    (serde_json::from_slice(&out).unwrap(), converter.warnings())
}

fn attribute(name: &str, values: &[&[u8]]) -> Attribute {
    Attribute::new(name, values.iter().map(|v| v.to_vec()).collect())
}

#[test]
fn a_record_has_every_selected_property_in_its_type() {
    let (message, warnings) = convert(&Entry {
        dn: "cn=B\\, b,dc=x".into(),
        attributes: vec![
            attribute("CN", &[b"a", b"b, B"]),
            attribute("surname", &[b"x", b"\xff"]),
            attribute("seeAlso", &[b"cn=x"]),
            attribute("cn;lang-fr", &[b"x"]),
        ],
    });
    assert_eq!(
        message,
        json!({"type": "RECORD", "stream": "s \"1\"", "version": 7, "time_extracted": "2026-01-01T00:00:00Z",
            "record": {"dn": "cn=B\\, b,dc=x", "cn": "b, B", "sn": ["x", null], "cn;lang-de": null}})
    );
    assert_eq!(warnings.len(), 3, "{warnings:?}");
}

/// Null would say that the entry has no value, by which a mirror loses its own.
#[test]
fn a_single_value_that_cannot_be_read_is_no_property() {
    let entry = Entry {
        dn: "cn=B,dc=x".into(),
        attributes: vec![attribute("cn", &[b"\xff"]), attribute("sn", &[b"\xff"])],
    };
    let (message, warnings) = convert(&entry);
    assert_eq!(message["record"], json!({"dn": "cn=B,dc=x", "sn": [null], "cn;lang-de": null}));
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    // Without `dn`, the first property may be the one.
    let mut stream = stream();
    stream.key_properties.clear();
    let metadata = json!({"breadcrumb": ["properties", "dn"], "metadata": {"inclusion": "available", "selected": false}});
    stream.metadata.push(serde_json::from_value(metadata).unwrap());
    let mut converter = Converter::new(&stream, Schema::standard());
    let mut out = Vec::new();
    converter.write(&entry, None, "t", &mut out).unwrap();
    let message: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(message["record"], json!({"sn": [null], "cn;lang-de": null}));
}

#[test]
fn an_attribute_in_several_places_of_an_entry_has_all_its_values() {
    let several = Entry {
        dn: "cn=B,dc=x".into(),
        attributes: vec![
            attribute("surname", &[b"x"]),
            attribute("cn", &[b"A"]),
            attribute("2.5.4.4", &[b"X", b"y"]),
            attribute("commonName", &[b"B"]),
            attribute("SN", &[b"z"]),
            attribute("sn", &[]),
            attribute("cn;LANG-de", &[b"d"]),
            attribute("commonName;lang-de", &[b"e"]),
        ],
    };
    let (message, warnings) = convert(&several);
    assert_eq!(message["record"]["sn"], json!(["x", "y", "z"]), "each once, by the attribute's own rule");
    assert_eq!(message["record"]["cn"], "B", "the value of the name");
    assert_eq!(message["record"]["cn;lang-de"], json!(["d", "e"]));
    assert_eq!(warnings.len(), 1, "more than one value where one is emitted: {warnings:?}");
    let stream = stream();
    let converter = Converter::new(&stream, Schema::standard());
    assert_eq!(converter.value_of(&several, "cn"), "B", "a key is what the record has");
    assert_eq!(converter.value_of(&several, "sn"), "x");
}

#[test]
fn a_deletion_has_the_properties_of_a_record_in_their_order() {
    let stream = stream();
    let mut converter = Converter::new(&stream, Schema::standard());
    converter.mark_deletions();
    let parse = |out: &[u8]| serde_json::from_slice::<Value>(out).unwrap();
    let names = |message: &Value| message["record"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let mut out = Vec::new();
    converter.write(&Entry { dn: "cn=a".into(), attributes: vec![] }, None, "t", &mut out).unwrap();
    let record = parse(&out);
    out.clear();
    converter.write_deletion(Some("cn=a"), &[("cn", &json!("k"))], None, "t", &mut out);
    let deletion = parse(&out);
    assert_eq!(names(&deletion), names(&record));
    assert_eq!(
        deletion["record"],
        json!({"dn": "cn=a", "cn": "k", "sn": null, "cn;lang-de": null, "_sdc_deleted_at": "t"})
    );
    out.clear();
    converter.write_deletion(None, &[("dn", &json!("cn=b"))], Some(7), "t", &mut out);
    assert_eq!((&parse(&out)["record"]["dn"], &parse(&out)["version"]), (&json!("cn=b"), &json!(7)));
}

#[test]
fn the_value_of_the_name_comes_first_where_only_one_is_wanted() {
    let (message, _) =
        convert(&Entry { dn: "cn=B,dc=x".into(), attributes: vec![attribute("cn", &[b"a", b"b"])] });
    assert_eq!(message["record"]["cn"], "b");
}

#[test]
fn no_record_has_a_null_key() {
    let stream: CatalogEntry = serde_json::from_value(json!({
        "tap_stream_id": "s", "stream": "s", "key_properties": ["uidNumber", "mail"],
        "schema": {"type": "object", "properties": {
            "dn": {"type": ["null", "string"]},
            "uidNumber": {"type": ["null", "integer"]},
            "mail": {"type": ["null", "array"], "items": {"type": ["null", "string"]}},
        }},
        "metadata": [{"breadcrumb": [], "metadata": {"selected": true}}],
    }))
    .unwrap();
    let mut converter = Converter::new(&stream, Schema::standard());
    let mut write = |attributes: Vec<Attribute>| {
        let mut out = b"before".to_vec();
        let written = converter.write(&Entry { dn: "cn=x".into(), attributes }, None, "", &mut out);
        assert_eq!(out == b"before", written.is_err(), "all of it, or nothing");
        written.err().map(|e| e.property)
    };
    let (number, mail) = (attribute("uidNumber", &[b"1"]), attribute("mail", &[b"a@x"]));
    assert_eq!(write(vec![number.clone(), mail.clone()]), None);
    assert_eq!(write(vec![mail.clone()]).as_deref(), Some("uidNumber"));
    assert_eq!(write(vec![number.clone()]).as_deref(), Some("mail"));
    assert_eq!(write(vec![number.clone(), attribute("mail", &[])]).as_deref(), Some("mail"));
    assert_eq!(write(vec![number.clone(), attribute("mail", &[b"\xff"])]).as_deref(), Some("mail"));
    assert_eq!(write(vec![attribute("uidNumber", &[b"x"]), mail.clone()]).as_deref(), Some("uidNumber"));
    assert_eq!(write(vec![number, mail]), None, "and on it goes");
    let mut other = stream.clone();
    other.key_properties = vec!["entryUUID".into()];
    assert_eq!(Converter::new(&other, Schema::standard()).lacks_key(&other), Some("entryUUID"));
}

#[test]
fn only_what_is_selected_is_asked_for() {
    let stream = stream();
    assert_eq!(Converter::new(&stream, Schema::standard()).attributes(), ["cn", "sn", "cn;lang-de"]);
}
