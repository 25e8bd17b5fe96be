//! What `__filter__` leaves out is counted, and becomes no deletion.

use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::scratch;
use serde_json::{Value, json};

use super::{file, json_log, person};
use crate::support::{by_stream, unit, with};

/// A stream of two people with a filter.
fn config(dir: &std::path::Path, filter: &str) -> Value {
    let text = "dn: dc=x\nobjectClass: domain\ndc: x\n\n".to_owned()
        + &unit("ou=p,dc=x")
        + &person("uid=a,ou=p,dc=x")
        + &person("uid=b,ou=p,dc=x");
    let schemas = json!([{"name": "p", "base_dn": "ou=p,dc=x", "filter": "(objectClass=person)"}]);
    let maps = json!({"p": {"__filter__": filter}, "q": {"__source__": "p", "cn": "cn"}});
    with(&file(dir, &text), &json!({"schemas": schemas, "stream_maps": maps}))
}

/// The streams whose version was activated.
fn activated(output: &Output) -> Vec<String> {
    let versions = output.of_type("ACTIVATE_VERSION").into_iter();
    versions.map(|m| m["stream"].as_str().unwrap().to_owned()).collect()
}

/// The lines of the log about a setting, by level.
fn told(output: &Output, setting: &str, level: &str) -> usize {
    let lines = output.stderr.entries().iter();
    lines.filter(|line| line["setting"] == setting && line["level"] == level).count()
}

#[test]
fn a_filter_that_leaves_all_records_out_deletes_nothing_downstream() {
    let dir = scratch();
    let setting = "stream_maps.p.__filter__";
    let none = config(dir.path(), "'nobody' in (cn or [])");
    let output = json_log(&none).run().succeeds();
    let records = by_stream(&output);
    assert_eq!((records.get("p").map_or(0, Vec::len), records["q"].len()), (0, 2));
    assert_eq!(activated(&output), ["q"]);
    assert_eq!(
        (told(&output, setting, "warning"), told(&output, setting, "info")),
        (1, 1),
        "{}",
        output.stderr
    );

    let output = json_log(&with(&none, &json!({"allow_empty_streams": true}))).run().succeeds();
    assert_eq!(activated(&output), ["p", "q"]);

    let some = json_log(&config(dir.path(), "dn.startswith('uid=a')")).run().succeeds();
    assert_eq!(by_stream(&some)["p"].len(), 1);
    assert_eq!(activated(&some), ["p", "q"]);
    assert_eq!((told(&some, setting, "warning"), told(&some, setting, "info")), (0, 1), "{}", some.stderr);
}

/// The records of a deletion have null, or nothing, for all but the key, in whatever way the filter names it.
#[test]
fn deletions_pass_filters_that_they_cannot_be_judged_by() {
    let deleted = "2026-01-01T00:00:00Z";
    let filters =
        ["mail", "mail is not None", "record.get('mail')", "record['mail'] == 'x'", "mail.lower() == 'x'"];
    for filter in filters {
        for more in [json!({}), json!({"mail": null})] {
            let dir = scratch();
            let path = dir.path().join("d.ldif");
            std::fs::write(
                &path,
                unit("ou=p,dc=x") + &person("uid=a,ou=p,dc=x") + &person("uid=b,ou=p,dc=x"),
            )
            .unwrap();
            let rule = json!({"dn_template": "uid={id},ou=p,dc=x", "object_classes": ["inetOrgPerson"]});
            let config = json!({"server_url": format!("ldif:{}", path.display()), "mapping_rules": {"p": rule},
                "stream_maps": {"p": {"__filter__": filter}}});
            let text = json!({"type": ["null", "string"]});
            let schema = json!({"type": "SCHEMA", "stream": "p", "key_properties": ["id"], "schema": {"type": "object",
                "properties": {"id": text, "mail": text, "_sdc_deleted_at": text}}});
            let record = |record: Value| json!({"type": "RECORD", "stream": "p", "record": record});
            let messages = [
                schema,
                record(with(&json!({"id": "a", "_sdc_deleted_at": deleted}), &more)),
                record(json!({"id": "b", "mail": "other", "_sdc_deleted_at": deleted})),
            ];
            let output = Run::target(&config).messages(&messages).run().succeeds();
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!text.contains("uid=a,"), "{filter} {more}: {}", output.stderr);
            // This one can be judged.
            let is_left_out = !["mail", "mail is not None", "record.get('mail')"].contains(&filter);
            assert_eq!(text.contains("uid=b,"), is_left_out, "{filter}: {}", output.stderr);
        }
    }
}
