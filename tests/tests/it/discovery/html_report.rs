//! `--discover --report`: the HTML report about the directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use html5gum::{Token, Tokenizer};
use ldap_tests::run::{Run, read_text};
use ldap_tests::slapd::{Slapd, scratch};
use ldap_tests::{browser, hostile};
use serde_json::Value;

use crate::support::{tap_config, unit, with};

/// Containers and attributes whose names are markup, quotes, and text that turns the direction of writing.
const INJECTIONS: &str = "
dn: ou=\\<script\\>alert(1)\\</script\\>,ou=hostile,dc=example,dc=test
objectClass: organizationalUnit
ou: <script>alert(1)</script>

dn: ou=\\\" onclick\\=\\\"alert(1)' x,ou=hostile,dc=example,dc=test
objectClass: organizationalUnit
ou: \" onclick=\"alert(1)' x

dn: ou=\\</style\\>\\</title\\>\\</details\\>&amp\\;\\<!--,ou=hostile,dc=example,dc=test
objectClass: organizationalUnit
ou: </style></title></details>&amp;<!--
description;lang-x-a--b: option

dn:: b3U94oCuZ25vcncsb3U9aG9zdGlsZSxkYz1leGFtcGxlLGRjPXRlc3Q=
objectClass: organizationalUnit
ou:: 4oCuZ25vcnc=

dn: ou=a-name-without-a-single-place-to-break-it-that-is-wider-than-any-phone-and-goes-on-and-on,ou=hostile,dc=example,dc=test
objectClass: organizationalUnit
ou: a-name-without-a-single-place-to-break-it-that-is-wider-than-any-phone-and-goes-on-and-on
";

fn start() -> Slapd {
    let slapd = hostile::start();
    slapd.ldapadd(INJECTIONS.as_bytes());
    slapd
}

/// The catalog on stdout, and the page.
fn report(config: &Value, path: &Path) -> (Value, String) {
    let run = Run::tap(config).arg("--discover").arg("--report").arg(path.to_str().unwrap());
    let catalog = run.run().succeeds().json();
    (catalog, read_text(path))
}

/// A page taken apart: its text without line breaks, and the values of its attributes by name.
pub(crate) struct Page {
    pub(crate) text: String,
    attributes: BTreeMap<String, BTreeSet<String>>,
}

/// Takes a page apart, and panics unless each tag is closed in its order and the tokenizer finds nothing to complain of.
pub(crate) fn parse(html: &str) -> Page {
    const VOID: [&str; 3] = ["meta", "wbr", "input"];
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut page = Page { text: String::new(), attributes: BTreeMap::new() };
    let (mut open, mut scripts): (Vec<String>, usize) = (Vec::new(), 0);
    for token in Tokenizer::new(html) {
        match token.unwrap() {
            Token::StartTag(tag) => {
                let name = utf8(&tag.name);
                scripts += usize::from(name == "script");
                for (attribute, value) in &tag.attributes {
                    page.attributes.entry(utf8(attribute)).or_default().insert(utf8(value));
                }
                if !VOID.contains(&name.as_str()) {
                    open.push(name);
                }
            }
            Token::EndTag(tag) => assert_eq!(open.pop(), Some(utf8(&tag.name))),
            // A style sheet or a script is not text of the page.
            Token::String(text) if open.last().is_none_or(|t| t != "style" && t != "script") => {
                page.text.push_str(&utf8(&text));
            }
            Token::String(_) | Token::Doctype(_) => {}
            Token::Comment(comment) => panic!("a comment: {comment:?}"),
            Token::Error(error) => panic!("not well-formed: {error:?}"),
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    assert_eq!(scripts, 1, "the page's own script, which its policy names");
    page
}

/// The table of all attributes: name in lower case, entries that have it, entries that have several values of it.
fn figures(html: &str) -> BTreeMap<String, (usize, usize)> {
    let (_, table) = html.split_once("<caption class=\"unseeable\">Attributes in use").unwrap();
    let (_, table) = table.split_once("<tbody").unwrap();
    let (table, _) = table.split_once("</tbody>").unwrap();
    let after = |text: &str, mark: &str| parse_start(text.split_once(mark).unwrap().1);
    let operational = ["dn", "entryuuid", "entrycsn", "createtimestamp", "modifytimestamp"];
    table
        .split("<tr")
        .skip(1)
        .map(|row| {
            let name = after(row, "<code>").to_lowercase();
            let number = |label: &str| {
                let cell = row.split_once(label).unwrap().1;
                let cell = cell.trim_start_matches("<span>").trim_start_matches("<span class=\"quiet\">");
                parse_start(cell).replace(',', "").parse().unwrap()
            };
            (name, (number("data-label=\"In entries\">"), number("data-label=\"Several values\">")))
        })
        .filter(|(name, _)| !operational.contains(&name.as_str()))
        .collect()
}

/// A text up to the next tag.
fn parse_start(text: &str) -> String {
    text.split('<').next().unwrap().to_owned()
}

#[test]
fn the_page_names_everything_and_shows_no_value() {
    let slapd = start();
    let dir = scratch();
    let path = dir.path().join("report.html");
    let (catalog, html) = report(&tap_config(&slapd), &path);
    assert!(catalog == Run::tap(&tap_config(&slapd)).arg("--discover").run().succeeds().json());
    let page = parse(&html);

    // Everything that is in the catalog is named.
    let streams = catalog["streams"].as_array().unwrap();
    // What turns the direction of writing is made visible.
    let shown = |text: &Value| text.as_str().unwrap().replace('\u{202e}', "\u{fffd}");
    for stream in streams {
        assert!(page.text.contains(&shown(&stream["tap_stream_id"])), "{}", stream["tap_stream_id"]);
        assert!(page.text.contains(&shown(&stream["stream"])), "{}", stream["stream"]);
        for name in stream["schema"]["properties"].as_object().unwrap().keys() {
            assert!(page.text.contains(name), "{name}");
        }
    }
    assert!(page.text.contains("cn;lang-de") && page.text.contains("Directory String"));
    assert!(page.text.contains(&slapd.ldap_uri()) && page.text.contains("OpenLDAP"));
    // The figures are those of ldapsearch.
    let dump = slapd.dump();
    assert!(page.text.contains(&format!("{} entries read", dump.len())));
    let mut expected: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (name, values) in dump.values().flatten() {
        let (entries, several) = expected.entry(name.as_str()).or_default();
        *entries += 1;
        *several += usize::from(values.len() > 1);
    }
    assert_eq!(figures(&html), expected.into_iter().map(|(n, f)| (n.to_owned(), f)).collect());

    // Nothing is loaded, nothing leads out, nothing runs.
    for name in page.attributes.keys() {
        assert!(
            !name.starts_with("on") && !["src", "srcset", "action", "data"].contains(&name.as_str()),
            "{name}"
        );
    }
    assert!(page.attributes["href"].iter().all(|target| target.starts_with('#')));
    assert!(!page.attributes.contains_key("style"), "the policy forbids it");
    for sign in ["url(", "@import", "http://", "https://"] {
        assert!(!html.contains(sign), "{sign}");
    }

    // Values: none, but those that are part of a container's name, or words of the schema, a class or the page.
    let names = format!("{catalog}").to_lowercase();
    let source = |name: &str| {
        read_text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tap-ldap/src/report").join(name))
    };
    let words: String =
        ["page.rs", "tree.rs", "index.rs", "cells.rs"].map(source).concat() + &slapd.admin_dn();
    let classes = dump.values().filter_map(|a| a.get("objectclass")).flatten();
    let classes: Vec<_> = classes.map(|class| String::from_utf8_lossy(class)).collect();
    let words = (words + &classes.join(" ")).to_lowercase();
    let text = page.text.to_lowercase();
    let mut looked_at = 0;
    for (dn, attributes) in &dump {
        for (name, values) in attributes.iter().filter(|(n, _)| !["objectclass", "ou"].contains(&n.as_str()))
        {
            for value in values {
                let Ok(value) = std::str::from_utf8(value) else { continue };
                let value = value.trim().to_lowercase();
                if value.len() < 5 || value.bytes().all(|b| b.is_ascii_digit()) {
                    continue;
                }
                looked_at += 1;
                let known = || names.contains(&value) || words.contains(&value);
                assert!(!text.contains(&value) || known(), "a value of {name} of {dn} is on the page");
            }
        }
    }
    assert!(looked_at > 5_000, "{looked_at}");
}

#[test]
fn a_sample_says_that_it_is_one() {
    let slapd = start();
    let dir = scratch();
    let path = dir.path().join("report.html");
    let config = with(&tap_config(&slapd), &serde_json::json!({"discovery_sample_size": 3}));
    let page = parse(&report(&config, &path).1);
    assert!(page.text.contains("3+ entries (sample)"));
    assert!(page.text.contains("0 entries"), "the empty container");
    // Again, over the first. It says as whom the directory was read: others may see more, or less.
    let page = parse(&report(&tap_config(&slapd), &path).1);
    assert!(!page.text.contains("(sample)"));
    assert!(page.text.contains(&format!("As{}", slapd.admin_dn())), "{}", page.text);
    let page = parse(
        &report(
            &with(&tap_config(&slapd), &serde_json::json!({"bind_dn": null, "bind_password": null})),
            &path,
        )
        .1,
    );
    assert!(page.text.contains("Asanonymous") && !page.text.contains(&slapd.admin_dn()), "{}", page.text);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_page_that_cannot_be_written_is_a_failure() {
    let ldif = ldap_tests::slapd::fixture("hostile.ldif");
    let config = serde_json::json!({"server_url": format!("ldif:{}", ldif.display())});
    let dir = scratch();
    let folder = dir.path().to_str().unwrap();
    let missing = format!("{folder}/not/there.html");
    let run = |path: &str| Run::tap(&config).arg("--discover").arg("--report").arg(path).run();
    run(&missing).exits(2).reports_setting("--report");
    run(folder).exits(2).reports_setting("--report").says(folder);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let page = format!("{folder}/page.html");
    Run::tap(&config).arg("--report").arg(&page).run().exits(2).says("--discover");
    assert!(!PathBuf::from(page).exists());
}

/// Shows the page in frames as wide as screens, opens everything, and says what does not fit or cannot be seen.
const WRAPPER: &str = r##"<!DOCTYPE html><meta charset="utf-8"><pre id="result">not run</pre><script>
const sizes = [[360, 800], [768, 1024], [1024, 768], [1280, 900]], results = [];
for (const [width, height] of sizes) {
  const frame = document.createElement("iframe");
  frame.style = `border: 0; width: ${width}px; height: ${height}px`;
  frame.src = "report.html";
  frame.onload = () => {
    const page = frame.contentDocument, names = [];
    for (const name of page.querySelectorAll(".tree h3")) {
      const box = name.getBoundingClientRect();
      const there = box.width > 0 && box.height > 0 && box.left >= 0 && box.right <= width && name.checkVisibility();
      if (there) names.push(name.textContent);
    }
    const closed = page.documentElement.scrollWidth;
    // A link to a stream opens it.
    const facts = page.getElementById("stream-2"), was = facts.checkVisibility();
    frame.contentWindow.location.hash = "#stream-2";
    const opened = !was && facts.checkVisibility();
    for (const details of page.querySelectorAll("details")) details.open = true;
    const open = page.documentElement.scrollWidth, wide = [];
    for (const element of page.querySelectorAll("body *")) {
      const box = element.getBoundingClientRect();
      if (box.right > width + 0.5 && box.width > 1) wide.push(element.outerHTML.slice(0, 200));
    }
    results.push({ width, closed, open, opened, wide: wide.slice(0, 5), names, scripts: page.scripts.length,
      ink: frame.contentWindow.getComputedStyle(page.body).backgroundColor });
    if (results.length == sizes.length) document.getElementById("result").textContent = JSON.stringify(results);
  };
  document.body.append(frame);
}
</script>"##;

#[test]
fn the_page_fits_a_phone_and_a_desktop() {
    let slapd = start();
    let dir = scratch();
    let (catalog, _) = report(&tap_config(&slapd), &dir.path().join("report.html"));
    let wrapper = dir.path().join("wrapper.html");
    std::fs::write(&wrapper, WRAPPER).unwrap();
    let dom = parse_result(&browser::dump_dom(&wrapper));
    let results = dom.as_array().unwrap_or_else(|| panic!("{dom}"));
    assert_eq!(results.len(), 4);
    for result in results {
        let width = &result["width"];
        assert_eq!((&result["closed"], &result["open"]), (width, width), "wider than the screen: {result}");
        assert_eq!(result["wide"].as_array().map(Vec::len), Some(0), "{result}");
        assert_eq!(result["scripts"], 1, "the page's own: {result}");
        assert_eq!(result["opened"], true, "a link opens what it leads to: {result}");
        let names = result["names"].as_array().unwrap();
        assert_eq!(names.len(), catalog["streams"].as_array().unwrap().len());
        for name in
            ["organizational_units", "dc=example,dc=test", "ou=people", "ou=<script>alert(1)</script>"]
        {
            assert!(names.iter().any(|n| n == name), "{name} cannot be seen: {names:?}");
        }
        // The style sheet applies.
        assert_ne!(result["ink"], "rgba(0, 0, 0, 0)");
    }
}

/// The JSON that the wrapper wrote.
pub(crate) fn parse_result(dom: &str) -> Value {
    let mut texts = Tokenizer::new(dom)
        .map(Result::unwrap)
        .skip_while(|token| !matches!(token, Token::StartTag(tag) if tag.name.as_slice() == b"pre"));
    match texts.nth(1) {
        Some(Token::String(text)) => serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{e}: {dom}")),
        other => panic!("{other:?} in {dom}"),
    }
}

/// Searches, sorts and folds the page, with its script and without.
const USE: &str = r#"<!DOCTYPE html><meta charset="utf-8"><pre id="result">not run</pre><script>
const all = (query, root) => [...root.querySelectorAll(query)];
const names = page => all(".tree .stream > summary h3", page).filter(name => name.checkVisibility()).map(name => name.textContent);
const show = (sandbox, then) => {
  const frame = document.createElement("iframe");
  frame.style = "border: 0; width: 1280px; height: 900px";
  if (sandbox) frame.sandbox = "allow-same-origin";
  frame.src = "report.html";
  frame.onload = () => then(frame.contentDocument, frame.contentWindow);
  document.body.append(frame);
};
show(false, (page, view) => {
  const result = { all: names(page), tools: all("[data-tools]", page).every(tools => tools.checkVisibility()) };
  const [streams, attributes] = all("[data-search]", page);
  const search = (field, text) => { field.value = text; field.dispatchEvent(new view.Event("input", { bubbles: true })); };
  for (const button of all("[data-fold=closed]", page)) button.click();
  result.closed = names(page);
  search(streams, "devicename");
  result.found = names(page);
  search(streams, "no such thing");
  result.none = [names(page).length, page.querySelector("[data-nothing]").checkVisibility()];
  search(streams, "");
  result.restored = names(page);
  for (const button of all("[data-fold=open]", page)) button.click();
  page.querySelector("[data-order=entries]").click();
  result.ordered = names(page);
  page.querySelector("[data-order=name]").click();
  result.back = names(page);
  const rows = () => [...all(".overview", page)[0].tBodies[0].rows];
  const number = row => Number(row.cells[3].dataset.value);
  const sort = at => all(".overview", page)[0].tHead.rows[0].cells[at].querySelector("button").click();
  sort(3);
  result.most = rows().map(number);
  sort(3);
  result.least = rows().map(number);
  sort(0);
  result.byName = rows().map(row => row.cells[0].textContent.toLowerCase());
  search(attributes, "telephonenumber");
  result.attributes = rows().filter(row => row.checkVisibility()).map(row => row.querySelector("code").textContent);
  show(true, still => {
    result.without = { names: names(still), tools: all("[data-tools]", still).some(tools => tools.checkVisibility()),
      rows: all(".overview tbody tr", still).filter(row => row.checkVisibility()).length, used: rows().length };
    document.getElementById("result").textContent = JSON.stringify(result);
  });
});
</script>"#;

#[test]
fn the_page_is_searched_sorted_and_folded_and_is_whole_without_its_script() {
    let dir = scratch();
    let file = dir.path().join("d.ldif");
    let mut text = "dn: dc=test\nobjectClass: domain\ndc: test\n\n".to_owned();
    for (dn, people) in [("ou=a,dc=test", 2), ("ou=b,dc=test", 30), ("ou=c,ou=b,dc=test", 5)] {
        text += &unit(dn);
        text += &crate::support::people(people, dn);
    }
    text += &unit("ou=machines,ou=c,ou=b,dc=test");
    text += "dn: cn=devicename,ou=machines,ou=c,ou=b,dc=test\nobjectClass: device\ncn: devicename\n\n";
    // Two people have one address, and one person none.
    text += "dn: uid=x,ou=a,dc=test\nobjectClass: inetOrgPerson\nuid: person3\nuid: x\ncn: X\nsn: X\nmail: PERSON3@example.test\n\n";
    std::fs::write(&file, text).unwrap();
    let config = serde_json::json!({"server_url": format!("ldif:{}", file.display())});
    let (_, html) = report(&config, &dir.path().join("report.html"));
    let page = parse(&html);
    // The values that the people of the containers share, by construction: 2 and 5 of the 30, and person3 once more.
    assert!(page.text.contains("uid 5 of 31") && page.text.contains("mail 5 of 30"), "{}", page.text);
    assert!(page.text.contains("employeeNumber 5 of 30"), "{}", page.text);
    assert!(!page.text.contains("Asanonymous"), "a file is read as nobody");

    let wrapper = dir.path().join("wrapper.html");
    std::fs::write(&wrapper, USE.replace("devicename", "device")).unwrap();
    let result = parse_result(&browser::dump_dom(&wrapper));
    let names = |what: &str| -> Vec<&str> {
        result[what]
            .as_array()
            .unwrap_or_else(|| panic!("{result}"))
            .iter()
            .map(|n| n.as_str().unwrap())
            .collect()
    };
    let all = ["organizational_units", "dc=test", "ou=a", "ou=b", "ou=c", "ou=machines"];
    assert_eq!(names("all"), all);
    assert_eq!(result["tools"], true);
    assert_eq!(names("closed"), ["organizational_units", "dc=test"]);
    // What leads to a result is opened, and closed again after the search.
    assert_eq!(names("found"), ["dc=test", "ou=b", "ou=c", "ou=machines"]);
    assert_eq!(result["none"], serde_json::json!([0, true]));
    assert_eq!(names("restored"), names("closed"));
    assert_eq!(names("ordered"), ["dc=test", "ou=b", "ou=c", "ou=machines", "ou=a", "organizational_units"]);
    assert_eq!(names("back"), all);
    let numbers = |what: &str| -> Vec<u64> {
        result[what].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
    };
    let most = numbers("most");
    assert!(most.len() > 5 && most.is_sorted_by(|a, b| a >= b) && most[0] > most[most.len() - 1], "{most:?}");
    assert!(numbers("least").is_sorted());
    assert!(names("byName").is_sorted());
    assert_eq!(names("attributes"), ["telephoneNumber"]);
    let without = &result["without"];
    assert_eq!(without["names"], result["all"]);
    assert_eq!((&without["tools"], &without["rows"]), (&serde_json::json!(false), &without["used"]));
}
