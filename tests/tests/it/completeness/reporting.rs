//! Where a run reports how many entries it held and emitted: `doctor`, the page, the metrics.

use ldap_tests::run::Run;
use ldap_tests::slapd::scratch;
use serde_json::json;

use super::{field, file, json_log, person};
use crate::support::{discover, unit, with};

#[test]
fn the_health_report_and_the_page_say_whether_the_books_balance() {
    let dir = scratch();
    let config = file(dir.path(), &person("cn=a,cn=missing,dc=x"));
    let report = Run::tap(&config).arg("--test").run().succeeds().json();
    let check = report["checks"].as_array().unwrap().iter().find(|c| c["name"] == "books").unwrap().clone();
    assert_eq!(
        (&check["ok"], &check["held"], &check["differ"]),
        (&json!(true), &json!(1), &json!(0)),
        "{check}"
    );
    let page = dir.path().join("page.html");
    Run::tap(&config).arg("--discover").arg("--report").arg(page.display().to_string()).run().succeeds();
    assert!(std::fs::read_to_string(page).unwrap().contains("Books"));
    let metrics = dir.path().join("metrics.prom");
    Run::tap(&with(&config, &json!({"metrics_file": metrics}))).run().succeeds();
    let text = std::fs::read_to_string(metrics).unwrap();
    assert!(
        text.lines()
            .any(|l| l.starts_with("flext_ldap_books_entries{") && l.contains("held") && l.ends_with(" 1")),
        "{text}"
    );
}

#[test]
fn entries_of_streams_that_are_not_selected_are_left_out_by_that_rule() {
    let dir = scratch();
    let text = "dn: dc=x\nobjectClass: domain\ndc: x\n\n".to_owned()
        + &unit("ou=p,dc=x")
        + &person("uid=a,ou=p,dc=x")
        + &person("uid=b,ou=p,dc=x");
    let config = file(dir.path(), &text);
    let mut catalog = discover(&config);
    for stream in catalog["streams"].as_array_mut().unwrap() {
        let selected = stream["tap_stream_id"] != "ou=p,dc=x";
        stream["metadata"][0]["metadata"]["selected"] = json!(selected);
    }
    let output = json_log(&config).file("--catalog", &catalog).run().succeeds();
    let numbers =
        ["books_held", "books_emitted", "books_left_out", "books_differ"].map(|n| field(&output, n));
    assert_eq!(numbers, [json!(4), json!(2), json!(2), json!(0)]);
}
