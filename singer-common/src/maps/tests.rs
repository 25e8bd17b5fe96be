use proptest::prelude::*;
use serde_json::{Value, json};

use super::evaluate::{Failure, Scope, evaluate};
use super::parser::parse;
use super::types::{Types, kinds, schema_of};
use super::{Maps, Outgoing};
use extras::moment;

mod extras;
mod hostile;
mod left_out;

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "id": {"type": ["null", "string"]},
        "mail": {"type": ["null", "string"], "description": "The address"},
        "n": {"type": ["null", "integer"]},
        "f": {"type": ["null", "number"]},
        "b": {"type": ["null", "boolean"]},
        "list": {"type": ["null", "array"], "items": {"type": ["null", "string"]}},
        "o": {"type": ["null", "object"], "properties": {"x": {"type": "integer"}}},
    }})
}

fn record() -> Value {
    json!({"id": "1", "mail": "Ada@Example.com ", "n": 7, "f": 2.5, "b": true, "list": ["a", "b"], "o": {"x": 3}})
}

/// Evaluates an expression against the test record.
fn of(expression: &str) -> Result<Value, String> {
    let node = parse(expression).map_err(|e| format!("{}: {}", e.at, e.reason))?;
    let (record, config, name) = (record(), json!({"salt": "pepper", "n": 2}), Value::from("users"));
    let own = record.get("mail");
    let steps = std::cell::Cell::new(0);
    let (locals, steps) = (None, &steps);
    let scope = Scope {
        record: &record,
        config: &config,
        stream: &name,
        original: &name,
        own,
        locals,
        steps,
        moment: moment(),
    };
    evaluate(&node, &scope).map(std::borrow::Cow::into_owned).map_err(|e| match e {
        Failure::Absent => "absent".to_owned(),
        Failure::Wrong { at, reason } => format!("{at}: {reason}"),
    })
}

#[test]
fn expressions_have_pythons_values() {
    for (expression, expected) in [
        ("mail", json!("Ada@Example.com ")),
        ("mail.strip().lower()", json!("ada@example.com")),
        ("self.upper()", json!("ADA@EXAMPLE.COM ")),
        ("record['mail'].split('@')[0]", json!("Ada")),
        ("_['mail'][0:3]", json!("Ada")),
        ("record.mail[-4:].strip()", json!("com")),
        ("config['salt'] + id", json!("pepper1")),
        ("__stream_name__", json!("users")),
        ("1 + 2 * 3 - 4 / 2", json!(5.0)),
        ("-7 // 2", json!(-4)),
        ("-7 % 3", json!(2)),
        ("7 % -3", json!(-2)),
        ("7.5 % -2", json!(-0.5)),
        ("(1 + 2) * 3", json!(9)),
        ("n / 2", json!(3.5)),
        ("n + b", json!(8)),
        ("n == 7.0 and b == 1", json!(true)),
        ("1 < n <= 7", json!(true)),
        ("'a' in list and 'c' not in list", json!(true)),
        ("'Ada' in mail", json!(true)),
        ("'mail' in record", json!(true)),
        ("None or 'x'", json!("x")),
        ("0 and 1", json!(0)),
        ("not ''", json!(true)),
        ("'y' if n > 5 else 'n'", json!("y")),
        ("mail is not None", json!(true)),
        ("escape_dn('root,ou=admins')", json!("root\\,ou\\=admins")),
        ("md5('a')", json!("0cc175b9c0f1b6a831c399e269772661")),
        ("sha256('a')", json!("ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb")),
        ("str(1.0)", json!("1.0")),
        ("str(1e16)", json!("1e+16")),
        ("str(0.00001)", json!("1e-05")),
        ("str(None) + str(True)", json!("NoneTrue")),
        ("str(list)", json!("['a', 'b']")),
        ("int(' 1_0 ')", json!(10)),
        ("int(-2.9)", json!(-2)),
        ("float('2')", json!(2.0)),
        ("bool('')", json!(false)),
        ("' a  b '.split()", json!(["a", "b"])),
        ("'a-b-c'.split('-', 1)", json!(["a", "b-c"])),
        ("' 1  2  '.split(None, 1)", json!(["1", "2  "])),
        ("'aaa'.replace('a', 'b', 2)", json!("bba")),
        ("'xxax'.strip('x')", json!("a")),
        ("'-'.join(list)", json!("a-b")),
        ("record.get('none', 'x')", json!("x")),
        ("record.get('none')", Value::Null),
        ("'ab' * 2", json!("abab")),
        ("'a' 'b'", json!("ab")),
        (r"'\x41\n\d'", json!("A\n\\d")),
        (r"r'\n'", json!("\\n")),
        ("o.x + o['x']", json!(6)),
        ("[1, 'a'] + list", json!([1, "a", "a", "b"])),
        ("id if id.startswith('2') else ''", json!("")),
    ] {
        assert_eq!(of(expression), Ok(expected), "{expression}");
    }
}

#[test]
fn expressions_report_position_and_reason_of_syntax_errors() {
    for (expression, at, reason) in [
        ("", 1, "empty"),
        ("mail.", 6, "a name is missing"),
        ("lowr(mail)", 1, "unknown function `lowr`"),
        ("mail.lowr()", 6, "unknown method `.lowr()`"),
        ("mail.lower(1)", 6, "0 argument(s)"),
        ("'abc", 1, "no end"),
        ("1 +", 4, "the end"),
        ("a b", 3, "`b` does not belong here"),
        ("a if b", 7, "`else` is missing"),
        ("(a", 3, "`)` is missing"),
        ("a ? b", 3, "`?` is not understood"),
        ("fake.name()", 6, "unknown method"),
        ("b'a'", 1, "prefix `b`"),
        ("f'{a!r}'", 5, "conversions"),
        ("f'{a'", 3, "without `}`"),
        ("f'{}'", 3, "nothing between"),
        ("f'a}'", 4, "without `{`"),
        ("f'{a} {b +}'", 11, "the end"),
        ("[x for 1 in list]", 8, "a name is missing"),
        ("[x for x of list]", 10, "`in` is missing"),
        ("{'a'}", 5, "sets"),
        ("mail is id", 1, "`is`"),
        ("str((1, 2))", 6, "a tuple"),
        ("o.items()", 3, "`for KEY, VALUE in"),
        ("datetime.datetime.now()", 1, "`datetime`"),
        ("2 ** 3", 3, "not supported"),
        ("lambda: 1", 1, "`lambda`"),
        ("a = 1", 3, "`=` does not belong here"),
    ] {
        let error = parse(expression).unwrap_err();
        assert!(error.at == at && error.reason.contains(reason), "{expression}: {error:?}");
    }
    assert!(parse(&"(".repeat(5_000)).is_err());
    assert!(parse(&"-".repeat(5_000)).is_err());
    assert!(parse(&"not ".repeat(2_000)).is_err());
    assert!(parse(&vec!["1"; 4_000].join("+")).is_err());
}

#[test]
fn expressions_report_position_and_reason_but_no_value() {
    for (expression, reason) in [
        ("mail + n", "6: `+` of a text and a number"),
        ("n.lower()", "3: `.lower()` of a number"),
        ("None.lower()", "6: `.lower()` of null"),
        ("mail < n", "1: a text and a number cannot be compared"),
        ("1 / 0", "3: division by zero"),
        ("list[5]", "5: `[5]`: there is nothing"),
        ("int(mail)", "1: `int()` of a text that is no whole number"),
        ("float('nan')", "1: `float()` of a text that is no number"),
        ("md5(n)", "1: `md5()` of a number"),
        ("'a' * 100000000", "5: the text would be longer"),
        ("none", "absent"),
        ("record['none']", "absent"),
    ] {
        let error = of(expression).unwrap_err();
        assert!(error.starts_with(reason), "{expression}: {error}");
        assert!(!error.contains("Ada"), "{error}");
    }
}

/// Expressions have the value that the SDK's own evaluator gives them (`tests/sdk/expressions.py`), or are rejected.
/// A rejection happens before the first record, and never yields another value.
#[test]
fn expressions_have_the_sdks_values_or_are_rejected() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/tests/golden/sdk-expressions.jsonl");
    let text = std::fs::read_to_string(file).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let head = lines.next().unwrap();
    let records = head["records"].as_array().unwrap();
    let (name, original) = (Value::from("people"), Value::from("users"));
    let (mut wrong, mut all) = (Vec::new(), 0);
    for case in lines {
        all += 1;
        let expression = case["expression"].as_str().unwrap();
        let results = case["results"].as_array().unwrap();
        let node = match parse(expression) {
            Ok(node) => node,
            Err(error) => {
                let said = case["not_taken"].as_str();
                // Expressions that the SDK rejects, too, need not be listed.
                let is_listed = said.is_some_and(|part| error.reason.contains(part));
                if !is_listed
                    && (said.is_some() || results.iter().any(|result| result.get("value").is_some()))
                {
                    wrong.push(format!(
                        "{expression}: {}: {}, and listed is {said:?}",
                        error.at, error.reason
                    ));
                }
                continue;
            }
        };
        if !case["not_taken"].is_null() {
            wrong.push(format!("{expression}: taken, and listed as not taken"));
        }
        for (record, result) in records.iter().zip(results) {
            let steps = std::cell::Cell::new(0);
            let own = record.get("mail");
            let (config, stream, original, locals, steps) = (&head["config"], &name, &original, None, &steps);
            let scope = Scope { record, config, stream, original, own, locals, steps, moment: moment() };
            let ours = evaluate(&node, &scope).map(std::borrow::Cow::into_owned);
            let is_same = match (&ours, result.get("value")) {
                (Ok(ours), Some(theirs)) => is_the_same(ours, theirs),
                (Err(_), None) => true,
                (Ok(_), None) => case["ours"] == true,
                (Err(Failure::Wrong { reason, .. }), Some(_)) => {
                    case["fails"].as_str().is_some_and(|part| reason.contains(part))
                }
                (Err(Failure::Absent), Some(_)) => false,
            };
            if !is_same {
                wrong.push(format!("{expression} of {}: ours {ours:?}, theirs {result}", record["id"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {all}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(all >= 250, "{all}");
}

/// Compares as JSON: `1`, `1.0` and `true` are three values, `1e2` and `100.0` are one.
fn is_the_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let is_fraction = |n: &serde_json::Number| n.to_string().contains(['.', 'e', 'E']);
            is_fraction(a) == is_fraction(b)
                && if is_fraction(a) { a.as_f64() == b.as_f64() } else { a.as_i128() == b.as_i128() }
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_the_same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| is_the_same(v, w)))
        }
        _ => a == b,
    }
}

fn maps(settings: &Value) -> Maps {
    Maps::from_settings(settings.as_object().unwrap()).unwrap().unwrap()
}

fn refused(settings: &Value) -> String {
    match Maps::from_settings(settings.as_object().unwrap()) {
        Ok(Some(mut maps)) => maps.schema("users", &schema(), &["id".into()]).unwrap_err().to_string(),
        Ok(None) => "nothing".into(),
        Err(e) => e.to_string(),
    }
}

#[test]
fn stream_maps_rename_filter_and_compute() {
    let settings = json!({
        "stream_maps": {"us*": {
            "__alias__": "people", "__filter__": "n > 5", "mail": "mail.strip().lower()", "f": null, "list": "__NULL__",
            "o": null, "b": "str(b)", "kind": "config['kind']", "half": "n / 2",
        }},
        "stream_map_config": {"kind": "person"},
    });
    let mut maps = maps(&settings);
    let out = maps.schema("users", &schema(), &["id".into()]).unwrap();
    let expected = json!({"type": "object", "properties": {
        "id": {"type": ["null", "string"]},
        "mail": {"type": ["string", "null"]},
        "n": {"type": ["null", "integer"]},
        "b": {"type": ["string", "null"]},
        "kind": {"type": ["string", "null"]},
        "half": {"type": ["number", "null"]},
    }});
    assert_eq!(
        out,
        [Outgoing { stream: "people".into(), schema: expected, key_properties: vec!["id".into()] }]
    );
    let records = maps.record("users", &record()).unwrap();
    let mapped =
        json!({"id": "1", "mail": "ada@example.com", "n": 7, "b": "True", "kind": "person", "half": 3.5});
    assert_eq!(records, [("people", mapped)]);
    assert!(maps.record("users", &json!({"id": "1", "n": 5})).unwrap().is_empty());
    assert_eq!(maps.names("users").collect::<Vec<_>>(), ["people"]);
    // A deletion has a key and a name, and no property to filter by.
    let gone = json!({"id": "1", "_sdc_deleted_at": "2026-01-01T00:00:00Z"});
    assert_eq!(
        maps.record("users", &gone).unwrap(),
        [("people", json!({"id": "1", "_sdc_deleted_at": "2026-01-01T00:00:00Z", "kind": "person"}))]
    );
}

#[test]
fn stream_maps_remove_keep_and_copy_streams() {
    let settings = json!({"stream_maps": {"secret*": "__NULL__", "users": {"__else__": null, "mail": "self"}, "copy": {"__source__": "users", "__alias__": "no", "n": "n + 1"}, "__else__": null}});
    let mut maps = maps(&json!({"stream_maps": settings["stream_maps"]}));
    let keys = ["id".to_owned()];
    let names = |maps: &mut Maps, stream: &str| -> Vec<String> {
        maps.schema(stream, &schema(), &keys).unwrap().into_iter().map(|o| o.stream).collect()
    };
    assert_eq!(names(&mut maps, "users"), ["users", "copy"]);
    assert!(names(&mut maps, "secrets").is_empty());
    assert!(names(&mut maps, "other").is_empty());
    let records = maps.record("users", &record()).unwrap();
    assert_eq!(records[0].1, json!({"id": "1", "mail": "Ada@Example.com "}));
    assert_eq!(records[1].1["n"], 8);
    assert!(maps.record("secrets", &record()).unwrap().is_empty());
    assert_eq!(maps.names("secrets").count(), 0);
}

#[test]
fn alias_may_be_an_expression() {
    for (alias, name) in [
        ("people", "people"),
        ("my-people", "my-people"),
        ("'x_' + __stream_name__", "x_users"),
        ("two words", "two words"),
    ] {
        let mut maps = maps(&json!({"stream_maps": {"users": {"__alias__": alias}}}));
        assert_eq!(maps.schema("users", &schema(), &[]).unwrap()[0].stream, name);
    }
}

#[test]
fn key_properties_are_replaced_or_kept() {
    let mut maps = maps(&json!({"stream_maps": {"users": {"__key_properties__": ["mail"], "id": null}}}));
    let out = maps.schema("users", &schema(), &["id".into()]).unwrap();
    assert_eq!(out[0].key_properties, ["mail"]);
    assert!(out[0].schema["properties"].get("id").is_none());
}

#[test]
fn stream_maps_report_setting_stream_property_and_position() {
    for (maps, text) in [
        (
            json!({"users": {"mail": "mail.lowr()"}}),
            "`stream_maps.users.mail`: at character 6: unknown method",
        ),
        (json!({"users": {"mail": 7}}), "`stream_maps.users.mail`: it is a number"),
        (json!({"users": {"__filter__": "1 +"}}), "`stream_maps.users.__filter__`: at character 4"),
        (json!({"users": {"__fliter__": "1"}}), "`stream_maps.users.__fliter__`: no such option"),
        (json!({"users": 7}), "`stream_maps.users`: it is a number"),
        (json!({"__alias__": "x"}), "`stream_maps.__alias__`: no such option"),
        (json!({"__else__": "x"}), "`stream_maps.__else__`"),
        (json!({"users": {"mail": "mial"}}), "stream `users` has no property `mial`; expected `mail`"),
        (json!({"users": {"mail": "record['mial']"}}), "has no property `mial`"),
        (json!({"users": {"new": "self"}}), "has no property `self`"),
        (json!({"users": {"id": null}}), "`stream_maps.users.id`: it leaves a key property out"),
        (json!({"users": {"__key_properties__": ["x"]}}), "has no property `x`"),
        (json!({"users": {"__key_properties__": "x"}}), "`stream_maps.users.__key_properties__`"),
    ] {
        let error = refused(&json!({"stream_maps": maps}));
        assert!(error.contains(text), "{maps}: {error}");
    }
    let error = refused(&json!({"flattening_enabled": true}));
    assert!(error.contains("`flattening_max_depth`: not set"), "{error}");
}

#[test]
fn flattening_converts_objects_to_properties_and_lists_to_text() {
    let mut maps = maps(&json!({"flattening_enabled": true, "flattening_max_depth": 1}));
    let schema = json!({"type": "object", "required": ["o", "n"], "properties": {
        "n": {"type": "integer"},
        "o": {"type": ["null", "object"], "properties": {"x": {"type": "integer"}, "deep": {"type": ["null", "object"], "properties": {"y": {}}}}},
        "list": {"type": ["null", "array"]}, "any": {},
    }});
    let out = maps.schema("s", &schema, &[]).unwrap();
    assert_eq!(
        out[0].schema,
        json!({"type": "object", "required": ["n"], "properties": {
            "n": {"type": "integer"}, "o__x": {"type": "integer"}, "o__deep": {"type": ["string", "null"]},
            "list": {"type": ["string", "null"]}, "any": {"type": ["null", "string"]},
        }})
    );
    let record = json!({"n": 1, "o": {"x": 2, "deep": {"y": "ä"}}, "list": ["a", 1], "any": null});
    let flat = json!({"n": 1, "o__x": 2, "o__deep": "{\"y\":\"\\u00e4\"}", "list": "[\"a\",1]", "any": null});
    assert_eq!(maps.record("s", &record).unwrap(), [("s", flat)]);
    let twice = json!({"type": "object", "properties": {"o__x": {"type": "string"}, "o": {"type": "object", "properties": {"x": {"type": "string"}}}}});
    assert!(maps.schema("t", &twice, &[]).unwrap_err().to_string().contains("`o__x` twice"));
}

/// Generates expressions, most of them meaningful.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "mail",
        "n",
        "f",
        "b",
        "list",
        "o",
        "id",
        "self",
        "record",
        "None",
        "True",
        "'a'",
        "'1'",
        "0",
        "3",
        "2.5",
        "-1",
        "config['n']",
        "config['salt']",
        "__stream_name__",
        "o.x",
        "record.get('mail')",
        "record.get('x', 1)",
    ])
    .prop_map(str::to_owned);
    leaf.prop_recursive(4, 24, 3, |inner| {
        let operators = prop::sample::select(vec![
            "+", "-", "*", "/", "//", "%", "==", "!=", "<", ">=", "and", "or", "in", "not in", "is",
        ]);
        let calls = prop::sample::select(vec!["int", "float", "str", "bool", "md5", "sha256", "not ", "-"]);
        let ends = prop::sample::select(vec![
            ".lower()",
            ".strip()",
            ".split()",
            ".split('a')",
            "[0]",
            "[-1]",
            "[1:]",
            "[:1]",
            "[::-1]",
            ".title()",
            ".zfill(5)",
            ".partition('a')[0]",
            ".find('a')",
            ".count('a')",
            ".isdigit()",
            ".startswith('a')",
            ".replace('a', 'b')",
            "['x']",
            ".x",
        ]);
        prop_oneof![
            (inner.clone(), operators, inner.clone()).prop_map(|(a, o, b)| format!("({a} {o} {b})")),
            (calls, inner.clone()).prop_map(|(f, a)| format!("({f}({a}))")),
            (inner.clone(), ends).prop_map(|(a, e)| format!("({a}){e}")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} if {b} else {c})")),
            inner.clone().prop_map(|a| format!("[x for x in {a}]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[[x, {b}] for x in {a} if x]")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{{'x': {a}, 'y': {b}}}")),
            inner.clone().prop_map(|a| format!("{{k: v for k, v in ({a}).items()}}")),
            inner.clone().prop_map(|a| format!("list({a})")),
            inner.clone().prop_map(|a| format!("len({a})")),
            inner.clone().prop_map(|a| format!("json.loads(json.dumps({a}))")),
            inner.clone().prop_map(|a| format!("f'{{{}}}'", a.replace('\'', "\"").replace('\\', ""))),
            (inner.clone(), inner).prop_map(|(a, b)| format!("[{a}, {b}]")),
        ]
    })
}

fn is_of(value: &Value, schema: &Value) -> bool {
    let Some(kinds) = kinds(schema) else { return true };
    let fits = |kind: &&str| match *kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.is_number() && !value.to_string().contains('.'),
        "array" => value.as_array().is_some_and(|items| {
            schema.get("items").is_none_or(|of| items.iter().all(|item| is_of(item, of)))
        }),
        _ => false,
    };
    kinds.iter().any(fits)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn expression_types_match_the_values(text in expression()) {
        // Nested quotation marks can make the text invalid.
        let Ok(node) = parse(&text) else { return Ok(()) };
        let (schema, config) = (schema(), json!({"salt": "pepper", "n": 2}));
        let types = Types { record: &schema, config: &config, own: Some("mail"), locals: None };
        let said = schema_of(&node, &types);
        if let Ok(value) = of(&text) {
            prop_assert!(is_of(&value, &said), "{text}: {value} is said to be {said}");
        }
        // Evaluation is deterministic.
        prop_assert_eq!(of(&text), of(&text));
    }
}
