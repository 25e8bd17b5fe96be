//! The HTML plan of hostile names and values: active content, text direction controls, markup.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;

use ldap_tests::browser;
use ldap_tests::run::Run;
use ldap_tests::server::scratch;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::discovery::html_report::parse_result;

/// So many entries are there before, and are changed; so many go, and so many come.
const EACH: usize = 60;

/// What is tried on pages, each of which says so to the page around where it runs. Nothing in them is where a line may break: `breakable` would break them.
const ATTACKS: &[&str] = &[
    "<script>parent[`ran`](`script`)</script>",
    "</script><script>parent[`ran`](`closed`)</script>",
    "<img src=x onerror=parent[`ran`](`error`)>",
    "<svg onload=parent[`ran`](`svg`)>",
    "\"><svg onload=\"parent[`ran`](`quote`)\">",
    "' onmouseover='parent[`ran`](1)' autofocus onfocus='parent[`ran`](2)' x='",
    "<iframe srcdoc=\"<script>parent[`ran`](`srcdoc`)</script>\">",
    "<a href=\"javascript:parent[`ran`](`link`)\">x</a>",
    "<meta http-equiv=refresh content=\"0;url=javascript:parent[`ran`](`refresh`)\">",
    "<meta http-equiv=\"Content-Security-Policy\" content=\"script-src *\">",
    "<base href=\"http://127.0.0.1:9/\">",
    "<form action=http://127.0.0.1:9/><button autofocus>",
    "<style>*{background:url(http://127.0.0.1:9/)}</style>",
    "</style><style>@import 'http://127.0.0.1:9/';",
    "</bdi></li></ul></td></tr></table></div></details>",
    "<details class=\"change delete\"><summary>",
    "<table><tr><td>",
    "<!-- ",
    " -->",
    "<![CDATA[",
    "]]>",
    "<plaintext>",
    "<textarea>",
    "<title>",
    "<noscript>",
    "<xmp>",
    "<select><option>",
    "&lt;script&gt;",
    "&#60;b&#62;",
    "&amp;amp;",
    "&nbsp",
    "&#0;",
    "&#x202e;",
    "&notit;",
    "{{7*7}}",
    "${7*7}",
    "<%= 7 %>",
    "%3Cscript%3E",
    "javascript:parent[`ran`](1)",
    "expression(parent[`ran`](1))",
];

/// What steers a reader.
const STEERING: &[char] = &[
    '\0',
    '\u{1}',
    '\u{7}',
    '\u{8}',
    '\t',
    '\n',
    '\u{b}',
    '\u{c}',
    '\r',
    '\u{1b}',
    '\u{7f}',
    '\u{80}',
    '\u{9b}',
    '\u{ad}',
    '\u{61c}',
    '\u{180e}',
    '\u{200b}',
    '\u{200e}',
    '\u{200f}',
    '\u{2028}',
    '\u{2029}',
    '\u{202a}',
    '\u{202d}',
    '\u{202e}',
    '\u{2060}',
    '\u{2066}',
    '\u{2069}',
    '\u{feff}',
    '\u{fff9}',
    '\u{e0041}',
];

/// A hostile text: attacks, what steers, letters of several scripts, and now and then very long.
fn hostile() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => prop::sample::select(ATTACKS).prop_map(str::to_owned),
        3 => prop::sample::select(STEERING).prop_map(String::from),
        2 => "[a-zäß山\u{5d0}\u{5d1}\u{627}😀'\"<>&;=/\\\\]{1,12}",
        1 => "\\PC{1,8}",
        1 => (2_000..4_000_usize).prop_map(|n| "<b>W".repeat(n / 4)),
    ];
    prop::collection::vec(part, 1..5).prop_map(|parts| parts.concat())
}

/// What a page may show of a text: a picture of each control, and a sign for what else steers.
fn on_the_page(text: &str) -> String {
    let shown = |c: char| match u32::from(c) {
        n @ 0..=0x1f => char::from_u32(0x2400 + n).unwrap(),
        0x7f => '\u{2421}',
        0x80..=0x9f => '\u{fffd}',
        _ if STEERING.contains(&c) => '\u{fffd}',
        _ => c,
    };
    text.chars().map(shown).collect()
}

/// Opens the plan, one that was tampered with, and a page that the attacks work on, one after another, and says what became of
/// them. Each page waits for the one before it; an empty one gives what is in it the time to run.
const WRAPPER: &str = include_str!("../../../assets/hostile_plan.html");

fn schema(stream: &str) -> Value {
    let text = json!({"type": ["string", "null"]});
    json!({"type": "SCHEMA", "stream": stream, "key_properties": ["id"], "schema": {"properties": {
        "id": text, "value": text, "_sdc_deleted_at": text}}})
}

fn change<'a>(result: &'a Value, kind: &str, dn: &str) -> &'a Value {
    let changes = result["changes"].as_array().unwrap();
    let found: Vec<&Value> = changes.iter().filter(|c| c["kind"] == kind && c["dn"] == dn).collect();
    assert_eq!(found.len(), 1, "{kind} of {dn}");
    found[0]
}

/// What a value is shown as: text as it is, and what has controls in base64.
fn value_on_the_page(value: &str) -> String {
    use base64::Engine as _;
    if value.chars().any(char::is_control) {
        return format!("(base64) {}", base64::engine::general_purpose::STANDARD.encode(value));
    }
    on_the_page(value)
}

#[test]
fn nothing_in_a_plan_runs_steers_or_hides() {
    let mut runner = TestRunner::deterministic();
    let mut text = || hostile().new_tree(&mut runner).unwrap().current();
    let dir = scratch();
    let file = dir.path().join("d.ldif");
    let config = json!({"server_url": format!("ldif:{}", file.display()), "mapping_rules": {"*": {
        "dn_template": "cn={id},dc=test", "object_classes": ["device"], "attribute_mapping": {"id": "cn", "value": "description"}}}});
    // Each name begins with a number of its own, and ends with a letter: blanks at the ends are not kept.
    let mut records = |from: usize| -> Vec<(String, String)> {
        (from..from + EACH).map(|n| (format!("{n}{}z", text()), format!("v{}", text()))).collect()
    };
    let (changed, gone, new) = (records(1_000), records(2_000), records(3_000));
    let later = records(4_000);
    let stream = format!("s{}\u{202e}", ATTACKS[0]);
    let record = |(id, value): &(String, String)| json!({"type": "RECORD", "stream": stream, "record": {"id": id, "value": value}});
    let mut first = vec![schema(&stream)];
    first.extend(changed.iter().chain(&gone).map(record));
    Run::target(&config).messages(&first).run().succeeds();
    let mut second = vec![schema(&stream)];
    for ((id, _), (_, value)) in changed.iter().zip(&later) {
        second.push(record(&(id.clone(), value.clone())));
    }
    for (id, _) in &gone {
        second.push(json!({"type": "RECORD", "stream": stream, "record": {"id": id, "_sdc_deleted_at": "2026-01-01T00:00:00Z"}}));
    }
    second.extend(new.iter().map(record));
    let plan = Run::target(&config).plan("html");
    let html = plan.messages(&second).run().succeeds().stdout_text();
    assert!(!html.contains('\0'));

    // The test can tell: these run where nothing keeps them from it.
    let attacks = "<script>parent[`ran`](`script`)</script><svg onload=\"parent[`ran`](`svg`)\"></svg>";
    fs::write(dir.path().join("open.html"), format!("<!DOCTYPE html>{attacks}")).unwrap();
    // And whatever got into the page, its policy would.
    let (head, tail) = html.split_once("<body>").unwrap();
    fs::write(dir.path().join("tampered.html"), format!("{head}<body>{attacks}{tail}")).unwrap();
    fs::write(dir.path().join("plan.html"), &html).unwrap();
    let wrapper = dir.path().join("wrapper.html");
    fs::write(&wrapper, WRAPPER).unwrap();
    fs::write(dir.path().join("empty.html"), "<!DOCTYPE html>").unwrap();
    let result = parse_result(&browser::dump_dom(&wrapper));

    assert_eq!((&result["ran"], &result["tampered"]), (&json!([]), &json!([])));
    assert_eq!(result["open"].as_array().unwrap().len(), 2, "{}", result["open"]);
    assert_eq!(
        (&result["loaded"], &result["links"], &result["steering"]),
        (&json!([]), &json!([]), &json!([]))
    );
    // One policy, which says by hash what may run; singer-common checks the hashes, and what was put into the page did not run.
    let policies = result["policies"].as_array().unwrap();
    assert_eq!(policies.len(), 1, "{policies:?}");
    assert_eq!(policies[0][0], "Content-Security-Policy");
    let policy = policies[0][1].as_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(
        (&result["scripts"], &result["tools"]),
        (&json!(1), &json!(true)),
        "the page's own script runs"
    );
    assert_eq!(result["title"], "Plan: What would be changed");
    let set = |name: &str| -> BTreeSet<String> {
        result[name].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
    };
    for active in
        ["img", "svg", "iframe", "form", "base", "object", "embed", "link", "textarea", "video", "a"]
    {
        assert!(!set("tags").contains(active), "<{active}>");
    }
    for name in set("attributes") {
        assert!(
            !name.starts_with("on")
                && !["style", "src", "srcdoc", "action", "formaction"].contains(&name.as_str()),
            "{name}"
        );
    }

    // Exactly what would be done, under its own name, and with all that can be seen.
    assert_eq!(result["streams"], json!([on_the_page(&stream)]));
    assert_eq!(result["changes"].as_array().unwrap().len(), 3 * EACH);
    for ((id, was), (_, will)) in changed.iter().zip(&later) {
        let lines = json!([["description", [value_on_the_page(was)], [value_on_the_page(will)]]]);
        assert_eq!(change(&result, "modified", &dn(id))["lines"], lines);
    }
    for (kind, records) in [("deleted", &gone), ("added", &new)] {
        for (id, value) in records {
            let whole = json!([
                ["cn", [value_on_the_page(id)]],
                ["description", [value_on_the_page(value)]],
                ["objectClass", ["device"]]
            ]);
            assert_eq!(change(&result, kind, &dn(id))["whole"], whole);
        }
    }
}

/// The name of an entry as a page shows it (RFC 4514).
fn dn(id: &str) -> String {
    let mut name = String::new();
    for c in id.chars() {
        match c {
            c if c.is_control() => {
                c.encode_utf8(&mut [0; 4]).bytes().for_each(|octet| write!(name, "\\{octet:02X}").unwrap());
            }
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => name.extend(['\\', c]),
            _ => name.push(c),
        }
    }
    on_the_page(&format!("cn={name},dc=test"))
}
