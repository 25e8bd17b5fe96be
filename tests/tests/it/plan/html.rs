//! `--dry-run --plan-format html`: the HTML plan.

use std::collections::BTreeSet;

use ldap_tests::browser;
use ldap_tests::run::{Output, Run};
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use crate::discovery::html_report::{parse, parse_result};
use crate::support::{lines, people, target_config, unit, with};

const PEOPLE: &str = "ou=people,dc=example,dc=test";

fn schema(stream: &str) -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": stream, "key_properties": ["dn"], "schema": {"properties": {
        "dn": text, "objectClass": {}, "cn": {}, "sn": {}, "uid": {}, "mail": {}, "description": {},
        "userPassword": {"type": ["string", "null"], "contentEncoding": "base64"},
        "_sdc_deleted_at": text}}})
}

fn record(stream: &str, record: &Value) -> Value {
    json!({"type": "RECORD", "stream": stream, "record": record})
}

/// `{SSHA}hunter2-hunter2`, as it comes out of a directory.
const HASHED: &str = "e1NTSEF9aHVudGVyMi1odW50ZXIy";

/// Additions, modifications, a password, markup, and deletions.
fn input() -> Vec<Value> {
    let mut all = vec![schema("staff"), schema("gone")];
    for i in 0..120 {
        let dn = format!("uid=new{i},{PEOPLE}");
        all.push(record(
            "staff",
            &json!({"dn": dn, "objectClass": ["inetOrgPerson"], "uid": format!("new{i}"),
            "cn": "<script>alert(1)</script>", "sn": "New", "userPassword": HASHED}),
        ));
    }
    all.push(record("staff", &json!({"dn": format!("uid=person1,{PEOPLE}"), "sn": "Changed", "mail": null,
        "description": "a-word-without-a-single-place-to-break-it-that-is-wider-than-any-phone-and-goes-on-and-on-and-on"})));
    for i in 5..8 {
        let dn = format!("uid=person{i},{PEOPLE}");
        all.push(record("gone", &json!({"dn": dn, "_sdc_deleted_at": "2026-01-01T00:00:00Z"})));
    }
    all
}

const WRAPPER: &str = r#"<!DOCTYPE html><meta charset="utf-8"><pre id="result">not run</pre><script>
const sizes = [[360, 800], [390, 800], [1024, 800], [1440, 900]], results = [];
for (const [width, height] of sizes) {
  const frame = document.createElement("iframe");
  frame.style = `border: 0; width: ${width}px; height: ${height}px`;
  frame.src = "plan.html";
  frame.onload = () => {
    const page = frame.contentDocument;
    const closed = page.documentElement.scrollWidth;
    const rows = [...page.querySelectorAll("li.row")];
    const seen = rows.every(row => row.checkVisibility() && row.getBoundingClientRect().right <= width);
    for (const details of page.querySelectorAll("details")) details.open = true;
    const open = page.documentElement.scrollWidth, wide = [];
    for (const element of page.querySelectorAll("body *")) {
      const box = element.getBoundingClientRect();
      if (box.right > width + 0.5 && box.width > 1) wide.push(element.outerHTML.slice(0, 200));
    }
    const colour = (query) => frame.contentWindow.getComputedStyle(page.querySelector(query)).backgroundColor;
    results.push({ width, closed, open, seen, wide: wide.slice(0, 5), scripts: page.scripts.length, changes: rows.length,
      first: rows.slice(0, 3).every(row => row.dataset.kind == "deleted"),
      stands_out: colour("[data-kind=deleted] .chip") != colour("[data-kind=modified] .chip") });
    if (results.length == sizes.length) document.getElementById("result").textContent = JSON.stringify(results);
  };
  document.body.append(frame);
}
</script>"#;

/// What a browser sees on a page, after each step of a search.
const LOOK: &str = include_str!("../../../assets/plan_page.html");

fn look(html: &str, steps: &Value) -> Value {
    let dir = scratch();
    std::fs::write(dir.path().join("plan.html"), html).unwrap();
    let wrapper = dir.path().join("wrapper.html");
    std::fs::write(&wrapper, LOOK.replace("STEPS = []", &format!("STEPS = {steps}"))).unwrap();
    parse_result(&browser::dump_dom(&wrapper))
}

#[test]
fn the_page_shows_what_was_and_what_will_be_and_fits_every_screen() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    slapd.ldapadd(people(10, PEOPLE));
    let before = slapd.dump();
    let run = |format: &str| {
        let run = Run::target(&target_config(&slapd)).plan(format);
        run.messages(&input()).run().succeeds()
    };
    let page = run("html");
    assert_eq!(slapd.dump(), before, "nothing is written");
    let html = page.stdout_text();
    assert!(!html.contains("hunter2") && !html.contains(HASHED) && html.contains("(not shown)"));
    let parsed = parse(&html);
    for text in [
        "3 deleted",
        "120 added",
        "1 modified",
        "0 renamed",
        "Leaving",
        "Person 5",
        "person1@example.test",
        "Number1",
        "Changed",
        "<script>alert(1)</script>",
        &slapd.ldap_uri(),
    ] {
        assert!(parsed.text.contains(text), "{text} is not on the page");
    }
    assert!(
        html.contains("<del><bdi>Number1</bdi></del>") && html.contains("<ins><bdi>Changed</bdi></ins>"),
        "was, and will be"
    );
    // As many changes as the JSON plan has.
    assert_eq!(html.matches("<li class=\"row").count(), run("json").lines().len());
    for sign in ["url(", "@import", "http://", "https://", "src=", " style="] {
        assert!(!html.contains(sign), "{sign}");
    }

    let dir = scratch();
    std::fs::write(dir.path().join("plan.html"), &html).unwrap();
    let wrapper = dir.path().join("wrapper.html");
    std::fs::write(&wrapper, WRAPPER).unwrap();
    let results = parse_result(&browser::dump_dom(&wrapper));
    let results = results.as_array().unwrap_or_else(|| panic!("{results}"));
    assert_eq!(results.len(), 4);
    for result in results {
        let width = &result["width"];
        assert_eq!((&result["closed"], &result["open"]), (width, width), "wider than the screen: {result}");
        assert_eq!(result["wide"], json!([]), "{result}");
        // The page's own script.
        assert_eq!((&result["scripts"], &result["changes"]), (&json!(1), &json!(124)), "{result}");
        for truth in ["seen", "first", "stands_out"] {
            assert_eq!(result[truth], true, "{truth}: {result}");
        }
    }
}

#[test]
fn a_plan_of_nothing_and_a_plan_that_failed_say_so() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    let html = |messages: &[Value], code| {
        let run =
            Run::target(&with(&target_config(&slapd), &json!({}))).arg("--dry-run").arg("--plan-format=html");
        parse(&run.messages(messages).run().exits(code).stdout_text()).text
    };
    let text = html(&[schema("staff")], 0);
    assert!(text.contains("Nothing would be changed.") && !text.contains("not complete"), "{text}");
    let mut broken = input();
    broken.push(record("nobody_said", &json!({})));
    let text = html(&broken, 1);
    assert!(text.contains("This plan is not complete") && text.contains("121 added"), "{text}");
}

/// A company: people matched by number, and machines.
struct Company {
    slapd: Slapd,
    dir: tempfile::TempDir,
}

impl Company {
    fn new() -> Company {
        let slapd = Slapd::start(SlapdOptions::with_users());
        let mut text = String::new();
        for name in ["staff", "sales", "left", "hosts"] {
            text += &unit(&format!("ou={name},dc=example,dc=test"));
        }
        text += &people(8, "ou=staff,dc=example,dc=test");
        for n in 0..3 {
            let name = format!("host{n}");
            text.extend([
                "dn: cn=",
                &name,
                ",ou=hosts,dc=example,dc=test\nobjectClass: device\ncn: ",
                &name,
                "\n\n",
            ]);
        }
        slapd.ldapadd(text);
        Company { slapd, dir: scratch() }
    }

    fn config(&self) -> Value {
        let settings = json!({"default_base_dn": "dc=example,dc=test", "on_error": "skip",
        "reject_file": self.dir.path().join("rejects.jsonl"), "mapping_rules": {
            "people": {"dn_template": "uid={login},ou={unit},dc=example,dc=test", "match": "(employeeNumber={id})",
                "object_classes": ["inetOrgPerson"], "on_delete": {"move_to": "ou=left,dc=example,dc=test"},
                "attribute_mapping": {"id": "employeeNumber", "login": "uid", "name": "cn", "last": "sn", "title": "title"}},
            "hosts": {"dn_template": "cn={id},ou=hosts,dc=example,dc=test", "object_classes": ["device"],
                "attribute_mapping": {"id": "cn", "note": "description"}}}});
        with(&target_config(&self.slapd), &settings)
    }

    fn plan(&self, changes: &Value, messages: &[Value], code: i32, format: &str) -> Output {
        let config = with(&self.config(), changes);
        let run = Run::target(&config).plan(format);
        run.messages(messages).run().exits(code)
    }
}

fn row(stream: &str, row: &Value) -> Value {
    json!({"type": "RECORD", "stream": stream, "record": row})
}

/// Each kind of outcome, and an entry that is renamed, moved and modified at once.
fn of_every_kind() -> Vec<Value> {
    let text = json!({"type": ["string", "null"]});
    let names = ["id", "login", "unit", "name", "last", "title", "note", "_sdc_deleted_at"];
    let properties: serde_json::Map<String, Value> =
        names.iter().map(|name| ((*name).to_owned(), text.clone())).collect();
    let schema = |stream: &str| json!({"type": "SCHEMA", "stream": stream, "key_properties": ["id"], "schema": {"properties": properties}});
    let person = |id: &str, login: &str, unit: &str, title: &str| {
        row(
            "people",
            &json!({"id": id, "login": login, "unit": unit, "name": format!("Person {id}"), "last": format!("Number{id}"), "title": title}),
        )
    };
    let gone = |stream, id: &str| row(stream, &json!({"id": id, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}));
    vec![
        schema("people"),
        schema("hosts"),
        person("1", "renamed1", "sales", "Seller"),
        row("people", &json!({"id": "2", "login": "person2", "unit": "staff", "title": "Boss"})),
        person("77", "new77", "brand-new", "Junior"),
        row("people", &json!({"id": "6", "login": "person6", "unit": "staff", "name": "Person 6"})),
        row("people", &json!({"id": "7", "login": null, "unit": "staff"})),
        gone("people", "3"),
        gone("hosts", "host1"),
        row("hosts", &json!({"id": "host2", "note": "first"})),
        row("hosts", &json!({"id": "host2", "note": "second"})),
    ]
}

/// The rows of a kind.
fn of_kind<'a>(rows: &'a [Value], kind: &str) -> Vec<&'a Value> {
    rows.iter().filter(|row| row["kinds"].as_str().unwrap().split(' ').any(|k| k == kind)).collect()
}

#[test]
fn an_entry_has_one_row_and_the_counts_are_those_of_the_log() {
    let company = Company::new();
    let output = company.plan(&json!({}), &of_every_kind(), 4, "html");
    let page = look(&output.stdout_text(), &json!([]));
    let rows = page["rows"].as_array().unwrap();
    let names: BTreeSet<&str> = rows.iter().map(|row| row["dn"].as_str().unwrap()).collect();
    assert_eq!(names.len(), rows.len(), "an entry has two rows: {rows:#?}");
    // A rename and a modification are two changes of one entry.
    let changes = company.plan(&json!({}), &of_every_kind(), 4, "json");
    let changes: Vec<Value> =
        changes.stdout_text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_one = |dn: &str| changes.iter().filter(|change| change["dn"] == dn).count();
    assert_eq!(of_one("uid=person1,ou=staff,dc=example,dc=test"), 1);
    assert_eq!(of_one("uid=renamed1,ou=sales,dc=example,dc=test"), 1);
    let renamed = of_kind(rows, "renamed");
    assert_eq!(renamed.len(), 1);
    assert_eq!(renamed[0]["dn"], "uid=person1,ou=staff,dc=example,dc=test");
    assert_eq!(renamed[0]["chips"], json!(["renamed", "new parent", "values"]));
    assert_eq!(
        renamed[0]["lines"],
        json!([
            ["name", ["uid=person1"], ["uid=renamed1"]],
            ["parent", ["ou=staff,dc=example,dc=test"], ["ou=sales,dc=example,dc=test"]],
            ["title", [], ["Seller"]],
        ])
    );
    assert_eq!(renamed[0]["reference"], "people · line 3 · id=1");

    // The counts: in the table, in the figures, and as rows.
    let words = ["deleted", "moved", "added", "renamed", "modified", "rejected", "unchanged"];
    for (stream, numbers) in [("people", [0, 1, 1, 1, 1, 1, 1]), ("hosts", [1, 0, 0, 0, 2, 0, 0])] {
        let numbers: Vec<(&str, u64)> = words.into_iter().zip(numbers).collect();
        output.stderr.stream_counts(stream, &numbers);
        for (word, number) in numbers {
            assert_eq!(page["counts"][stream][word], number, "{word} of {stream}: {}", page["counts"]);
        }
    }
    for word in words {
        assert_eq!(page["figures"][word], output.stderr.summary()[word], "{word}");
    }
    for (word, number) in [("deleted", 1), ("moved", 1), ("added", 1), ("renamed", 1), ("rejected", 1)] {
        assert_eq!(of_kind(rows, word).len(), number, "{word}: {rows:#?}");
    }
    // Two records of one entry.
    let twice = of_kind(rows, "modified")
        .into_iter()
        .find(|row| row["dn"] == "cn=host2,ou=hosts,dc=example,dc=test")
        .unwrap();
    assert!(twice["reference"].as_str().unwrap().contains("and 1 more"), "{twice}");
    let lines = json!([["description", [], ["first"]], ["description", ["first"], ["second"]]]);
    assert_eq!(twice["lines"], lines);
    // The parent that is made is not a record.
    let also = of_kind(rows, "also");
    assert_eq!(also.len(), 1, "{rows:#?}");
    assert_eq!(
        (&also[0]["dn"], &also[0]["section"]),
        (&json!("ou=brand-new,dc=example,dc=test"), &json!("also"))
    );
    // Who leaves comes first.
    let sections: Vec<&str> = rows.iter().map(|row| row["section"].as_str().unwrap()).collect();
    assert_eq!(
        sections,
        ["leaving", "leaving", "rejected", "renamed", "modified", "modified", "added", "also"]
    );
    let rejected = of_kind(rows, "rejected")[0];
    assert!(rejected["reason"].as_str().unwrap().contains("login"), "{rejected}");
    assert!(rejected["dn"] == "id=7" && rejected["reference"] == "people · line 7", "{rejected}");
    assert_eq!(page["alarms"], json!([]));
}

#[test]
fn two_people_who_swap_their_names_are_two_rows() {
    let company = Company::new();
    let mut messages: Vec<Value> = of_every_kind().into_iter().take(2).collect();
    for (id, login) in [("1", "person2"), ("2", "person1")] {
        messages.push(row("people", &json!({"id": id, "login": login, "unit": "staff"})));
    }
    let changes = company.plan(&json!({}), &messages, 0, "json").lines().len();
    assert_eq!(changes, 3, "one of them steps aside");
    let output = company.plan(&json!({}), &messages, 0, "html");
    output.stderr.counts(&[("renamed", 2)]);
    let page = look(&output.stdout_text(), &json!([]));
    let rows = page["rows"].as_array().unwrap();
    let mut names: Vec<(&str, &str)> =
        rows.iter().map(|row| (row["kinds"].as_str().unwrap(), row["dn"].as_str().unwrap())).collect();
    names.sort_unstable();
    let person = |n| format!("uid=person{n},ou=staff,dc=example,dc=test");
    assert_eq!(names, [("renamed", person(1).as_str()), ("renamed", person(2).as_str())]);
    assert_eq!(page["alarms"], json!([]));
}

#[test]
fn the_page_says_whether_the_run_would_be_held_back_and_what_carries_it_out() {
    let company = Company::new();
    let html = |changes: Value, code| company.plan(&changes, &of_every_kind(), code, "html").stdout_text();
    let page = look(&html(json!({"max_deletes": 1, "max_changes": "100%"}), 1), &json!([]));
    let limits = page["limits"].as_array().unwrap();
    let limit = |at: usize, class: &str, text: &str| {
        let is_right = limits[at][1] == class && limits[at][2].as_str().unwrap().contains(text);
        assert!(is_right, "{class} {text}: {limits:?}");
    };
    limit(0, "over", "max_deletes: 2 of 1");
    let entries = company.slapd.dump().len();
    limit(1, "", &format!("of {entries} (100% of {entries} entries)"));
    let alarms = page["alarms"].as_array().unwrap();
    assert!(alarms.len() == 1 && alarms[0].as_str().unwrap().contains("held back"), "{alarms:?}");
    assert_eq!(page["rows"].as_array().unwrap().len(), 8, "the plan is complete");

    let page = look(&html(json!({"max_deletes": 2}), 4), &json!([]));
    assert_eq!(page["limits"][0][1], "", "{}", page["limits"]);
    assert!(page["limits"][1][2].as_str().unwrap().contains("no limit is set"), "{}", page["limits"]);
    assert_eq!(page["alarms"], json!([]));
    assert!(page["command"].as_str().unwrap().starts_with("… | target-ldap --config "), "{page}");

    let page = look(&html(json!({"on_error": "fail", "reject_file": null}), 1), &json!([]));
    let alarms = page["alarms"].as_array().unwrap();
    assert!(alarms.len() == 1 && alarms[0].as_str().unwrap().contains("on_error"), "{alarms:?}");
    // From a file whose name a shell would take apart.
    let input = company.dir.path().join("it's all.singer");
    std::fs::write(&input, lines(&of_every_kind())).unwrap();
    let run = Run::target(&company.config()).arg("--dry-run").arg("--plan-format=html");
    let output = run.arg("--input").arg(input.to_str().unwrap()).run().exits(4);
    let page = look(&output.stdout_text(), &json!([]));
    let command = page["command"].as_str().unwrap();
    assert!(
        command.starts_with("target-ldap --config ") && command.contains("it'\\''s all.singer'"),
        "{command}"
    );
}

#[test]
fn the_page_is_searched_and_filtered_and_is_whole_without_its_script() {
    let company = Company::new();
    let output = company.plan(&json!({}), &of_every_kind(), 4, "html");
    let steps = json!([
        {},
        {"search": "SELLER"},
        {"search": "person3"},
        {"search": "seller person1"},
        {"search": "seller person3"},
        {"kind": "modified"},
        {"kind": "modified", "search": "second"},
        {"kind": "also"},
        {"stream": "0"},
        {"search": "will be"},
        {},
    ]);
    let page = look(&output.stdout_text(), &steps);
    let results = page["steps"].as_array().unwrap();
    let seen = |at: usize| -> Vec<&str> {
        results[at]["seen"].as_array().unwrap().iter().map(|dn| dn.as_str().unwrap()).collect()
    };
    let person1 = "uid=person1,ou=staff,dc=example,dc=test";
    assert_eq!((seen(0).len(), &results[0]["shown"]), (8, &json!("8 entries")));
    assert_eq!(seen(1), [person1]);
    assert_eq!(
        (&results[1]["shown"], &results[1]["sections"]),
        (&json!("1 of 8 entries shown"), &json!(["renamed"]))
    );
    assert_eq!(seen(2), ["uid=person3,ou=staff,dc=example,dc=test"]);
    assert_eq!(seen(3), [person1]);
    assert_eq!((seen(4).len(), &results[4]["nothing"]), (0, &json!(true)));
    assert_eq!(seen(5), ["uid=person2,ou=staff,dc=example,dc=test", "cn=host2,ou=hosts,dc=example,dc=test"]);
    assert_eq!(seen(6), ["cn=host2,ou=hosts,dc=example,dc=test"]);
    assert_eq!(seen(7), ["ou=brand-new,dc=example,dc=test"]);
    let of_stream: Vec<&Value> = page["rows"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["reference"].as_str().unwrap().starts_with("people"))
        .collect();
    assert_eq!(seen(8).len(), of_stream.len());
    assert_eq!(seen(9).len(), 0, "the headings of the tables are not searched");
    assert_eq!((seen(10).len(), &results[10]["nothing"]), (8, &json!(false)));
    assert_eq!(page["tools"], json!([true]));

    // The same where no script runs, but for the tools.
    let without = &page["without"];
    assert_eq!(without["rows"], page["rows"]);
    assert_eq!((&without["seen"], &without["tools"]), (&json!(8), &json!([false])));
    assert_eq!(without["width"], 390);
}
