//! STATE, and the input it covers.

use ldap_tests::run::Run;
use serde_json::{Value, json};

use super::{company, config, record, rule, schema, state, user, values};
use crate::support::{lines, states, target_config, with};

#[test]
fn the_newest_state_is_printed_and_never_an_empty_one() {
    let slapd = company();
    let empty = json!({"type": "STATE", "value": {}});
    let output = Run::target(&config(&slapd)).messages(&[schema(), empty.clone()]).run().succeeds();
    assert!(output.stdout.is_empty(), "{}", output.stdout_text());

    let mut messages = vec![schema(), state(1)];
    for n in 0..200 {
        messages.push(record(&format!("u{n}")));
        messages.push(state(n + 2));
    }
    messages.push(empty);
    let output = Run::target(&config(&slapd)).messages(&messages).run().succeeds();
    let printed = states(&output);
    assert_eq!(printed.last(), Some(&state(201)["value"]));
    let positions: Vec<i64> =
        printed.iter().map(|s| s["bookmarks"]["users"]["position"].as_i64().unwrap()).collect();
    assert!(positions.is_sorted_by(|a, b| a < b), "newer and newer: {positions:?}");
}

#[test]
fn state_is_printed_without_records_and_while_the_input_stays_open() {
    let slapd = company();
    let output = Run::target(&config(&slapd)).messages(&[state(9)]).run().succeeds();
    assert_eq!(states(&output), [state(9)["value"].clone()]);

    let run = Run::target(&config(&slapd));
    let mut running = run.spawn();
    let stdout = running.take_stdout();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::BufRead::lines(std::io::BufReader::new(stdout)) {
            let _ = sender.send(line.unwrap_or_default());
        }
    });
    running.write_stdin(format!("{}\n{}\n{}\n", schema(), record("early"), state(1)).as_bytes());
    let line = receiver
        .recv_timeout(std::time::Duration::from_secs(10))
        .expect("STATE comes as soon as it is safe, not at the end of the input");
    assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), state(1)["value"]);
    user(&slapd.dump(), "early");
    running.close_stdin_with(&[]);
    let (code, stderr, _) = running.wait(std::time::Duration::from_secs(20));
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn input_from_a_file_and_a_schema_that_changes() {
    let slapd = company();
    let mut wider = schema();
    wider["schema"]["properties"]["title"] = json!({"type": "string"});
    let mut mapped = rule();
    mapped["attribute_mapping"]["title"] = json!("title");
    let config = with(&target_config(&slapd), &json!({"mapping_rules": {"users": mapped}}));
    let mut titled = record("two");
    titled["record"]["title"] = json!("Dr.");
    let text = lines(&[schema(), record("one"), wider, titled, state(1)]);
    let output = Run::target(&config).raw_file("--input", text.as_bytes()).run().succeeds();
    assert_eq!(states(&output).len(), 1);
    let tree = slapd.dump();
    user(&tree, "one");
    assert_eq!(user(&tree, "two")["title"], values(&["Dr."]));
}
