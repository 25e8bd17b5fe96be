//! A line that cannot be mapped stops the run, with the number of the line.

use ldap_tests::run::{Output, Run};
use serde_json::json;

use super::{USERS, company, config, record, schema, state, user, values};
use crate::support::{assert_untouched, no_panic, states, with};

/// Good record, STATE, something bad on line 4, good record, STATE: what must happen whatever the bad is.
#[track_caller]
fn stops_at_line_4(bad: &str) -> Output {
    let slapd = company();
    let input = format!(
        "{}\n{}\n{}\n{bad}\n{}\n{}\n",
        schema(),
        record("before"),
        state(1),
        record("after"),
        state(2)
    );
    let output = Run::target(&config(&slapd)).stdin(input).run();
    assert!(output.code == 1 || output.code == 2, "code {} for {bad}: {}", output.code, output.stderr);
    no_panic(&output);
    let naming = output.stderr.about(&json!({"line": 4}));
    assert_eq!(naming.len(), 1, "one message with the line number for {bad}:\n{}", output.stderr);
    let tree = slapd.dump();
    user(&tree, "before");
    let beyond = format!("uid=after,{USERS}");
    assert!(
        tree.len() == 3 || (tree.len() == 4 && tree.contains_key(&beyond)),
        "only what is meant: {:?}",
        tree.keys()
    );
    assert_eq!(
        states(&output),
        [state(1)["value"].clone()],
        "the STATE before it, and none past it, for {bad}"
    );
    output
}

#[test]
fn a_broken_line_stops_with_its_number() {
    stops_at_line_4(r#"{"type":"RECORD","stream":"users","record":{"user_id""#);
    stops_at_line_4("not JSON at all");
    stops_at_line_4("[1,2]");
}

#[test]
fn an_unknown_message_type_stops_with_its_number() {
    stops_at_line_4(r#"{"type":"FROBNICATE","stream":"users"}"#);
    stops_at_line_4(r#"{"stream":"users","record":{}}"#);
}

#[test]
fn a_record_before_its_schema_stops_with_its_number() {
    stops_at_line_4(r#"{"type":"RECORD","stream":"unheard","record":{"user_id":"x"}}"#)
        .reports(&json!({"line": 4, "stream": "unheard"}));
}

#[test]
fn a_record_of_a_wrong_type_stops_with_its_number() {
    stops_at_line_4(r#"{"type":"RECORD","stream":"users","record":{"user_id":5,"full_name":"x"}}"#)
        .reports(&json!({"line": 4, "record": "user_id=5"}))
        .says("user_id");
    stops_at_line_4(r#"{"type":"RECORD","stream":"users","record":"text"}"#);
    stops_at_line_4(r#"{"type":"RECORD","stream":"users"}"#);
    stops_at_line_4(
        r#"{"type":"RECORD","stream":"users","record":{"user_id":"x","full_name":"x","email":"no address"}}"#,
    )
    .says("email");
}

#[test]
fn an_empty_naming_value_stops_with_its_number() {
    for value in ["\"\"", "null"] {
        stops_at_line_4(&format!(
            r#"{{"type":"RECORD","stream":"users","record":{{"user_id":{value},"full_name":"x","last_name":"x"}}}}"#
        ))
        .reports(&json!({"line": 4, "stream": "users", "record": format!("user_id={}", value.trim_matches('"'))}));
    }
    stops_at_line_4(r#"{"type":"RECORD","stream":"users","record":{"full_name":"x","last_name":"x"}}"#);
}

#[test]
fn what_the_server_refuses_stops_with_its_line_dn_and_reason() {
    // inetOrgPerson wants a cn, and nothing gives it one.
    let output = stops_at_line_4(
        r#"{"type":"RECORD","stream":"users","record":{"user_id":"nameless","last_name":"x"}}"#,
    );
    output.reports(&json!({"line": 4, "code": 65, "dn": format!("uid=nameless,{USERS}")}));
}

#[test]
fn a_wrong_first_line_leaves_stdout_empty() {
    let slapd = company();
    let before = slapd.change_marks();
    let output = Run::target(&config(&slapd)).messages(&[record("x"), state(1)]).run();
    assert!(output.code == 1 || output.code == 2, "code {}: {}", output.code, output.stderr);
    let output = output.reports_line(1);
    assert!(output.stdout.is_empty(), "{}", output.stdout_text());
    assert_untouched(&slapd, &before);
}

#[test]
fn a_record_without_its_key_is_refused_even_when_its_name_does_not_need_it() {
    let slapd = company();
    let mut keyed = schema();
    keyed["key_properties"] = json!(["badge"]);
    let before = slapd.change_marks();
    let output = Run::target(&config(&slapd)).messages(&[keyed, record("jdoe"), state(1)]).run().exits(1);
    no_panic(&output);
    let output = output.reports(&json!({"line": 2, "record": "badge="}));
    assert!(output.stdout.is_empty(), "{}", output.stdout_text());
    assert_untouched(&slapd, &before);
}

#[test]
fn validate_records_false_takes_what_the_schema_forbids() {
    let slapd = company();
    let mut odd = record("odd");
    odd["record"]["email"] = json!("no address");
    let messages = [schema(), odd, state(1)];
    Run::target(&config(&slapd))
        .messages(&messages)
        .run()
        .exits(1)
        .reports(&json!({"line": 2, "record": "user_id=odd"}));
    let careless = with(&config(&slapd), &json!({"validate_records": false}));
    Run::target(&careless).messages(&messages).run().succeeds();
    assert_eq!(user(&slapd.dump(), "odd")["mail"], values(&["no address"]));
}
