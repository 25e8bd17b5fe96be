//! The SCHEMA message: JSON Schema drafts, references, `contentEncoding`.

use ldap_tests::run::Run;
use serde_json::json;

use super::{BASE, File, record, schema, state, warnings};
use crate::support::{done, no_panic, with};

#[test]
fn a_schema_of_any_draft_is_validated_and_ends_nothing_in_a_panic() {
    for uri in [
        "http://json-schema.org/draft-03/schema#",
        "http://json-schema.org/draft-05/schema#",
        "https://json-schema.org/draft/2019-09/schema",
        "https://example.com/schemas/people.json",
        "mine",
    ] {
        let file = File::new(&json!({}), &[]);
        let mut schema = schema(&json!({"id": {"type": "string"}, "last": {"type": "string"}}));
        schema["schema"]["$schema"] = json!(uri);
        let messages = [
            schema.clone(),
            record(&json!({"id": "a", "last": "A"})),
            schema,
            record(&json!({"id": "b", "last": 5})),
            record(&json!({"id": "c", "last": "C"})),
            state(),
        ];
        let output = Run::target(&file.skipping()).messages(&messages).run().exits(4);
        no_panic(&output);
        let expected = usize::from(!uri.contains("2019-09"));
        assert_eq!(warnings(&output, uri).len(), expected, "{uri}: {}", output.stderr);
        assert_eq!(file.rejected().len(), 1);
        assert!(file.text("a", "sn").is_some() && file.text("c", "sn").is_some());
    }
}

#[test]
fn a_schema_that_is_none_is_an_error_and_nothing_of_it_is_fetched() {
    for property in [
        json!({"$ref": "#/definitions/none"}),
        json!({"$ref": "http://127.0.0.1:9/x.json"}),
        json!({"$ref": "file:///etc/hostname"}),
        json!({"type": "string", "pattern": "("}),
        json!({"type": "thing"}),
    ] {
        let file = File::new(&json!({}), &[]);
        let messages = [
            schema(&json!({"id": {"type": "string"}, "last": property})),
            record(&json!({"id": "a", "last": "A"})),
            state(),
        ];
        let output = Run::target(&file.config()).messages(&messages).run().exits(1);
        no_panic(&output);
        assert!(output.stdout.is_empty(), "{property}");
        let config = with(&file.config(), &json!({"validate_records": false}));
        done(Run::target(&config).messages(&messages).run());
    }
}

#[test]
fn an_encoding_counts_wherever_the_schema_says_it() {
    let encoded = json!({"type": "string", "contentEncoding": "base64"});
    for property in [
        json!({"anyOf": [encoded, {"type": "null"}]}),
        json!({"oneOf": [{"type": "null"}, encoded]}),
        json!({"allOf": [{"type": ["string", "null"]}, {"contentEncoding": "base64"}]}),
        json!({"$ref": "#/definitions/octets"}),
        json!({"anyOf": [{"$ref": "#/definitions/octets"}, {"type": "null"}]}),
    ] {
        let rule = json!({"attribute_mapping": {"id": ["uid", "cn"], "last": "sn", "photo": "jpegPhoto", "text": "description", "boss": "manager"},
            "values": {"title": "<{text}>"}, "password": {"from": "pw", "mode": "as_is"}});
        let file = File::new(&rule, &[]);
        let mut schema =
            schema(&json!({"id": {"type": "string"}, "last": {"type": "string"}, "photo": property,
            "text": property, "boss": property, "pw": property}));
        schema["schema"]["definitions"] = json!({"octets": encoded});
        let config =
            with(&file.config(), &json!({"dn_rewrite": [{"from": "dc=old", "to": "dc=example,dc=test"}]}));
        let messages = [
            schema,
            record(
                &json!({"id": "a", "last": "A", "photo": "AP9hYg==", "text": "aGVsbG8=", "boss": "dWlkPWIsb3U9cGVvcGxlLGRjPW9sZA==",
                "pw": "e1NTSEF9eA=="}),
            ),
            record(&json!({"id": "b", "last": "B"})),
            state(),
        ];
        done(Run::target(&config).messages(&messages).run());
        let entry = file.entry("a");
        assert_eq!(entry["jpegphoto"].first().unwrap(), b"\0\xffab", "{property}");
        assert_eq!(file.text("a", "description").as_deref(), Some("hello"), "{property}");
        assert_eq!(file.text("a", "title").as_deref(), Some("<hello>"), "{property}");
        assert_eq!(file.text("a", "manager"), Some(format!("uid=b,{BASE}")), "{property}");
        assert_eq!(file.text("a", "userpassword").as_deref(), Some("{SSHA}x"), "{property}");
    }
    for (encoding, text) in [
        ("base16", "00FF6162"),
        ("base16", "00ff6162"),
        ("base64url", "AP9hYg=="),
        ("base64", "AP9h\r\nYg==\r\n"),
    ] {
        let file =
            File::new(&json!({"attribute_mapping": {"id": ["uid", "cn", "sn"], "photo": "jpegPhoto"}}), &[]);
        let schema = schema(
            &json!({"id": {"type": "string"}, "photo": {"type": "string", "contentEncoding": encoding}}),
        );
        done(
            Run::target(&file.config())
                .messages(&[schema, record(&json!({"id": "a", "photo": text})), state()])
                .run(),
        );
        assert_eq!(file.entry("a")["jpegphoto"].first().unwrap(), b"\0\xffab", "{encoding} {text:?}");
    }
}
