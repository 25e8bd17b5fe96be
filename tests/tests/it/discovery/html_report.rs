//! `--discover --report`: the HTML report about the directory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use html5gum::{Token, Tokenizer};
use ldap_tests::run::{Run, read_text};
use ldap_tests::slapd::{Slapd, scratch};
use ldap_tests::{browser, hostile};
use serde_json::Value;

use crate::support::{tap_config, with};

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
    const VOID: [&str; 2] = ["meta", "wbr"];
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut page = Page { text: String::new(), attributes: BTreeMap::new() };
    let mut open: Vec<String> = Vec::new();
    for token in Tokenizer::new(html) {
        match token.unwrap() {
            Token::StartTag(tag) => {
                let name = utf8(&tag.name);
                assert_ne!(name, "script");
                for (attribute, value) in &tag.attributes {
                    page.attributes.entry(utf8(attribute)).or_default().insert(utf8(value));
                }
                if !VOID.contains(&name.as_str()) {
                    open.push(name);
                }
            }
            Token::EndTag(tag) => assert_eq!(open.pop(), Some(utf8(&tag.name))),
            // What a style sheet says is no text of the page.
            Token::String(text) if open.last().is_none_or(|t| t != "style") => {
                page.text.push_str(&utf8(&text));
            }
            Token::String(_) | Token::Doctype(_) => {}
            Token::Comment(comment) => panic!("a comment: {comment:?}"),
            Token::Error(error) => panic!("not well-formed: {error:?}"),
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
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
                let cell = row.split_once(label).unwrap().1.trim_start_matches("<span class=\"quiet\">");
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
    assert!(!html.contains("<script"));
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
    assert!(page.attributes["style"].iter().all(|s| s.strip_prefix("width:").is_some_and(|w| w.len() <= 4)));
    for sign in ["url(", "@import", "http://", "https://"] {
        assert!(!html.contains(sign), "{sign}");
    }

    // Values: none, but those that are part of a container's name, or words of the schema, a class or the page.
    let names = format!("{catalog}").to_lowercase();
    let words = read_text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../tap-ldap/src/report/page.rs"));
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
    // Again, over the first; who reads the directory is nobody's business.
    let page = parse(&report(&tap_config(&slapd), &path).1);
    assert!(!page.text.contains("(sample)") && !page.text.contains(&slapd.admin_dn()));
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
    for (const name of page.querySelectorAll("h3")) {
      const box = name.getBoundingClientRect();
      const there = box.width > 0 && box.height > 0 && box.left >= 0 && box.right <= width && name.checkVisibility();
      if (there) names.push(name.textContent);
    }
    const closed = page.documentElement.scrollWidth;
    // A link to a stream opens it.
    frame.contentWindow.location.hash = "#stream-2";
    const opened = page.querySelectorAll("details.stream[open]").length;
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
        assert_eq!(result["scripts"], 0, "{result}");
        assert_eq!(result["opened"], 1, "a link opens what it leads to: {result}");
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
