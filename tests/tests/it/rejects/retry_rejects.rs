//! `--retry-rejects`: the reject file as input.

use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, scratch};
use serde_json::json;

use super::{USERS, has, options, read, record, schema, skipping};
use crate::support::{lines, no_panic, with};

#[test]
fn a_reject_file_is_input_again_and_corrected_lines_are_written() {
    let slapd = Slapd::start(options());
    let dir = scratch();
    let file = dir.path().join("rejects.jsonl");
    let config = skipping(&slapd, &file);
    let messages = [
        schema(),
        record("nameless", &json!({"name": null, "mail": "a@example.test"})),
        record("syntax", &json!({"mail": "zoë@example"})),
        record("pw", &json!({"name": null, "pw": "e1NTSEF9c2VjcmV0LXNlY3JldA=="})),
    ];
    Run::target(&config).messages(&messages).run().exits(4);
    let (schemas, mut rejects) = read(&file);
    let text = ldap_tests::run::read_text(&file);

    // As they are they come back, into another file; without the flag the line is refused.
    let second = dir.path().join("again.jsonl");
    let again = with(&config, &json!({"reject_file": second}));
    Run::target(&again).raw_file("--input", text.as_bytes()).arg("--retry-rejects").run().exits(4);
    assert_eq!(read(&second).1.len(), 3);
    Run::target(&again)
        .raw_file("--input", text.as_bytes())
        .run()
        .exits(1)
        .reports_line(2)
        .says("--retry-rejects");

    rejects[0]["record"]["name"] = json!("Now Named");
    rejects[1]["record"]["mail"] = json!("zoe@example.test");
    rejects[2]["record"]["name"] = json!("No Password Yet");
    let corrected = lines(&schemas) + &lines(&rejects);
    let output =
        Run::target(&again).raw_file("--input", corrected.as_bytes()).arg("--retry-rejects").run().succeeds();
    let output = output.reports(&json!({"stream": "users"})).says("`pw` is masked");
    no_panic(&output);
    let tree = slapd.dump();
    assert_eq!(tree[&format!("uid=nameless,{USERS}")]["mail"].len(), 1);
    assert!(has(&tree, "syntax"));
    let entry = &tree[&format!("uid=pw,{USERS}")];
    assert!(!entry.contains_key("userpassword"), "the mask is no password: {entry:?}");
}
