//! Templates for HR feeds: lists, several templates of one attribute, ambiguous names, the day of the run, unusual values.

use ldap_tests::run::Run;
use serde_json::{Value, json};

use super::{BASE, File, record, schema, state};
use crate::support::{done, with};

/// Returns a record with more properties, nulls among them.
fn joined(record: &Value, more: &Value) -> Value {
    let mut all = record.as_object().unwrap().clone();
    all.extend(more.as_object().unwrap().clone());
    Value::Object(all)
}

fn people() -> Value {
    let any = json!({});
    schema(
        &json!({"id": any, "last": any, "first": any, "emails": any, "skills": any, "job": any, "alias": any}),
    )
}

#[test]
fn lists_and_several_templates_make_all_values_and_lose_none_that_is_not_known() {
    let rule = json!({"values": {"mail": ["{emails[primary].value}", "{alias}"], "description": "{skills[].name}",
        "title": "{job.title}"}});
    let file = File::new(&rule, &[]);
    let run = |fields: &Value| {
        let fields = joined(&json!({"id": "a", "last": "X"}), fields);
        done(Run::target(&file.config()).messages(&[people(), record(&fields), state()]).run())
    };
    let values = |attribute: &str| -> Vec<String> {
        let values = file.entry("a").get(attribute).cloned().unwrap_or_default();
        values.into_iter().map(|value| String::from_utf8(value).unwrap()).collect()
    };
    let emails = json!([{"value": "h@x.org"}, {"value": "w@x.org", "primary": true}]);
    run(
        &json!({"emails": emails, "alias": "al@x.org", "skills": [{"name": "b"}, {"name": "a"}], "job": {"title": "T"}}),
    );
    assert_eq!(
        (values("mail"), values("description")),
        (vec!["al@x.org".into(), "w@x.org".into()], vec!["a".into(), "b".into()])
    );
    // A property that the record lacks is not known.
    run(&json!({"emails": [{"value": "n@x.org", "primary": true}], "job": {}}));
    assert_eq!(values("mail"), ["al@x.org", "n@x.org", "w@x.org"], "the alias may still be right");
    assert_eq!(values("description"), ["a", "b"]);
    assert_eq!(values("title"), Vec::<String>::new(), "what a job does not have, it has not");
    run(&json!({"emails": [], "alias": null, "skills": null}));
    assert_eq!((values("mail"), values("description")), (vec![], vec![]));
}

#[test]
fn a_value_of_another_form_is_an_error_of_its_record_that_keeps_the_value_to_itself() {
    let rule = json!({"values": {"mail": "{emails[primary].value}", "title": "{job.title}"}});
    let file = File::new(&rule, &[]);
    for (fields, path) in [
        (json!({"job": "secret"}), "job.title"),
        (json!({"job": [{"title": "secret"}]}), "job.title"),
        (json!({"job": {"title": {"secret": 1}}}), "job.title"),
        (json!({"emails": ["secret"]}), "emails[primary].value"),
    ] {
        let fields = joined(&json!({"id": "a", "last": "X"}), &fields);
        let output = Run::target(&file.config()).messages(&[people(), record(&fields)]).run().exits(1);
        assert!(output.stderr.contains(path) && !output.stderr.contains("secret"), "{}", output.stderr);
    }
}

#[test]
fn a_property_whose_name_looks_like_a_path_is_that_property_and_in_quotation_marks_always() {
    let rule = json!({"values": {"title": "{a.b}", "description": "{\"c[0]\"}", "mail": "{today}", "mobile": "{d.e}"}});
    let file = File::new(&rule, &[]);
    let any = json!({});
    let schema =
        schema(&json!({"id": any, "last": any, "a.b": any, "a": any, "c[0]": any, "today": any, "d": any}));
    let fields = json!({"id": "a", "last": "X", "a.b": "dotted", "a": {"b": "path"}, "c[0]": "bracket", "today": "t@x.org",
        "d": {"e": "1"}});
    done(Run::target(&file.config()).messages(&[schema, record(&fields), state()]).run());
    for (attribute, value) in
        [("title", "dotted"), ("description", "bracket"), ("mail", "t@x.org"), ("mobile", "1")]
    {
        assert_eq!(file.text("a", attribute).as_deref(), Some(value));
    }
}

#[test]
fn a_day_is_one_for_the_whole_run_and_a_wrong_name_or_template_is_said_before_the_first_record() {
    let file = File::new(&json!({"values": {"title": "{today}", "description": "{first|days_since}"}}), &[]);
    let config = |today: &str| with(&file.config(), &json!({"today": today}));
    let fields = json!({"id": "a", "last": "X", "first": "2026-02-28"});
    let run = |config: &Value| Run::target(config).messages(&[people(), record(&fields), state()]).run();
    run(&config("2026-03-01")).succeeds().reports_setting("today");
    assert_eq!(
        (file.text("a", "title").as_deref(), file.text("a", "description").as_deref()),
        (Some("2026-03-01"), Some("1"))
    );
    run(&config("tomorrow")).exits(2).reports_setting("today");
    run(&file.config()).succeeds();
    assert!(file.text("a", "title") > Some("2026-03-01".into()), "the day on which it runs");
    for (part, rule) in [
        ("values.title", json!({"values": {"title": "{a|titel}"}})),
        ("values.title[1]", json!({"values": {"title": ["{first}", "{job[}"]}})),
        ("values.title", json!({"values": {"title": []}})),
        ("values.title", json!({"values": {"title": "{a|replace:/(/b/}"}})),
        ("dn_template", json!({"dn_template": format!("uid={{emails[].value}},{BASE}")})),
        ("dn_template", json!({"dn_template": format!("uid={{id}}{{job.path|ou_path:/}},{BASE}")})),
        ("match", json!({"match": "(uid={id}{?x{first}?})"})),
        ("accounts.enabled", json!({"accounts": {"enabled": {"if": "first"}}})),
        ("accounts.enabled.days_after", json!({"accounts": {"enabled": {"from": "first", "days_after": 3}}})),
    ] {
        let file = File::new(&rule, &[]);
        run(&file.config()).exits(2).reports_setting(&format!("mapping_rules.p.{part}"));
    }
}

/// The rule is for a path of units: what it has none of is made, and an entry moves with its path.
#[test]
fn an_entry_is_as_deep_as_its_path_and_moves_with_it() {
    let rule = json!({"dn_template": format!("uid={{id}}{{?,{{job.path|ou_path:/}}?}},{BASE}"), "match": "(uid={id})", "scope_base": BASE});
    let file = File::new(&rule, &[]);
    let config = with(&file.config(), &json!({"create_parents": true}));
    let run = |path: &Value| {
        let fields = json!({"id": "a", "last": "X", "job": {"path": path}});
        Run::target(&config).messages(&[people(), record(&fields), state()]).run()
    };
    let place = || {
        let tree = file.tree();
        tree.keys().find(|dn| dn.starts_with("uid=a,")).unwrap().strip_suffix(BASE).unwrap().to_owned()
    };
    for (path, expected) in [
        (json!("Acme/Sales, EMEA"), "uid=a,ou=sales\\, emea,ou=acme,"),
        (json!("/Acme/R+D/Lab/"), "uid=a,ou=lab,ou=r\\+d,ou=acme,"),
        (json!(null), "uid=a,"),
        (json!("x,dc=evil"), "uid=a,ou=x\\,dc\\=evil,"),
    ] {
        run(&path).succeeds();
        let escaped = [("\\3d", "\\="), ("\\2c", "\\,"), ("\\2b", "\\+")];
        let place = escaped.iter().fold(place().to_lowercase(), |place, (hex, c)| place.replace(hex, c));
        assert_eq!(place, expected, "{path}");
        run(&path).succeeds().counts(&[("unchanged", 1)]);
    }
    run(&json!("a//b")).exits(1);
}
