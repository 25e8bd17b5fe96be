//! `--dry-run --plan-format html`: the HTML plan.

use ldap_tests::browser;
use ldap_tests::run::Run;
use ldap_tests::slapd::{Slapd, SlapdOptions, scratch};
use serde_json::{Value, json};

use crate::discovery::html_report::{parse, parse_result};
use crate::support::{people, target_config, with};

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
const sizes = [[360, 800], [1280, 900]], results = [];
for (const [width, height] of sizes) {
  const frame = document.createElement("iframe");
  frame.style = `border: 0; width: ${width}px; height: ${height}px`;
  frame.src = "plan.html";
  frame.onload = () => {
    const page = frame.contentDocument;
    const closed = page.documentElement.scrollWidth;
    const big = page.querySelectorAll("details.stream:not([open])").length;
    const gone = [...page.querySelectorAll(".gone-names a")];
    const seen = gone.every(a => a.checkVisibility() && a.getBoundingClientRect().right <= width);
    frame.contentWindow.location.hash = gone[0].getAttribute("href");
    const opened = page.querySelectorAll("details.change.delete[open]").length;
    for (const details of page.querySelectorAll("details")) details.open = true;
    const open = page.documentElement.scrollWidth, wide = [];
    for (const element of page.querySelectorAll("body *")) {
      const box = element.getBoundingClientRect();
      if (box.right > width + 0.5 && box.width > 1) wide.push(element.outerHTML.slice(0, 200));
    }
    const colour = (query) => frame.contentWindow.getComputedStyle(page.querySelector(query)).backgroundColor;
    results.push({ width, closed, open, big, opened, gone: gone.length, seen, wide: wide.slice(0, 5), scripts: page.scripts.length,
      changes: page.querySelectorAll("details.change").length, stands_out: colour(".delete .badge") != colour(".modify .badge") });
    if (results.length == sizes.length) document.getElementById("result").textContent = JSON.stringify(results);
  };
  document.body.append(frame);
}
</script>"#;

#[test]
fn the_page_shows_what_was_and_what_will_be_and_fits_every_screen() {
    let slapd = Slapd::start(SlapdOptions::with_users());
    slapd.ldapadd(people(10, PEOPLE));
    let before = slapd.dump();
    let run = |format: &str| {
        let run = Run::target(&target_config(&slapd)).arg("--dry-run").arg("--plan-format").arg(format);
        run.messages(&input()).run().succeeds()
    };
    let page = run("html");
    assert_eq!(slapd.dump(), before, "nothing is written");
    let html = page.stdout_text();
    assert!(!html.contains("hunter2") && !html.contains(HASHED) && html.contains("(not shown)"));
    assert!(!html.contains("<script"));
    let parsed = parse(&html);
    for text in [
        "3 deleted",
        "120 added",
        "1 modified",
        "0 renamed",
        "What leaves",
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
    assert_eq!(html.matches("<details class=\"change ").count(), run("json").lines().len());
    for sign in ["url(", "@import", "http://", "https://", "src="] {
        assert!(!html.contains(sign), "{sign}");
    }

    let dir = scratch();
    std::fs::write(dir.path().join("plan.html"), &html).unwrap();
    let wrapper = dir.path().join("wrapper.html");
    std::fs::write(&wrapper, WRAPPER).unwrap();
    let results = parse_result(&browser::dump_dom(&wrapper));
    let results = results.as_array().unwrap_or_else(|| panic!("{results}"));
    assert_eq!(results.len(), 2);
    for result in results {
        let width = &result["width"];
        assert_eq!((&result["closed"], &result["open"]), (width, width), "wider than the screen: {result}");
        assert_eq!(result["wide"], json!([]), "{result}");
        assert_eq!(
            (&result["scripts"], &result["changes"], &result["gone"]),
            (&json!(0), &json!(124), &json!(3)),
            "{result}"
        );
        assert_eq!((&result["seen"], &result["stands_out"]), (&json!(true), &json!(true)), "{result}");
        assert_eq!(
            (&result["big"], &result["opened"]),
            (&json!(1), &json!(1)),
            "large streams are folded, links open: {result}"
        );
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
