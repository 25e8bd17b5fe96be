//! LDIF files: every entry is in exactly one stream, with every value.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ldap_tests::run::{Output, Run};
use ldap_tests::server::scratch;
use serde_json::{Value, json};

use super::cases::{self, Failure, Problem, check};
use super::dn_spelling::Name;
use super::ldif_spelling::{self, End, Style};
use super::output::{Stream, streams, told, values, warns};
use super::random_entries::{Entry, Grower, Kind};
use super::reference::{self, Filter, below};
use crate::support::no_panic;
use crate::support::rng::Rng;

/// Cases of a run of the suite; each is one or two processes.
const CASES: usize = 50;
/// The most entries of a file, contexts apart.
const ENTRIES: usize = 16;

/// Where reading begins.
#[derive(Debug, Clone, PartialEq)]
enum Base {
    Unset,
    Empty,
    At(Name, String),
}

impl Base {
    fn random(entries: &[Entry], rng: &mut Rng) -> Base {
        match rng.below(10) {
            0..5 => Base::Unset,
            5..7 => Base::Empty,
            _ if entries.is_empty() => Base::Unset,
            _ => {
                let name = rng.pick(entries).name.clone();
                // Also one that only its children name.
                let name = name.parent().filter(|_| rng.chance(40)).unwrap_or(name);
                let text = name.spell(rng, false);
                Base::At(name, text)
            }
        }
    }

    fn name(&self) -> Name {
        match self {
            Base::Unset | Base::Empty => Name::default(),
            Base::At(name, _) => name.clone(),
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Base::Unset => None,
            Base::Empty => Some(""),
            Base::At(_, text) => Some(text),
        }
    }
}

/// A stream that the user wrote.
#[derive(Debug, Clone)]
struct Written {
    name: String,
    base: Base,
    scope: &'static str,
    filter: Option<Filter>,
    attributes: Vec<String>,
}

/// What is asked of the tap.
#[derive(Debug, Clone)]
struct Question {
    base: Base,
    discover_by: &'static str,
    written: Vec<Written>,
    sample_size: u64,
    partitions: u64,
    style: Style,
}

impl Question {
    fn random(entries: &[Entry], rng: &mut Rng) -> Question {
        let mut written = Vec::new();
        if rng.chance(25) {
            for n in 0..=rng.below(2) {
                let attributes = *rng.pick(&["", "cn mail", "commonName member", "*"]);
                written.push(Written {
                    name: format!("stream{n}"),
                    base: Base::random(entries, rng),
                    scope: *rng.pick(&["sub", "sub", "one", "base"]),
                    filter: rng.chance(70).then(|| Filter::random(entries, rng, 0)),
                    attributes: attributes.split_whitespace().map(str::to_owned).collect(),
                });
            }
        }
        let base = Base::random(entries, rng);
        for stream in &mut written {
            if stream.base == Base::Unset && base == Base::Unset {
                // Which of a file's tops it is then is not for a reference of all entries.
                stream.scope = "sub";
            }
        }
        Question {
            base,
            discover_by: *rng.pick(&["ou", "ou", "object_class", "both"]),
            written,
            sample_size: *rng.pick(&[1000, 1000, 0, 1]),
            partitions: *rng.pick(&[1, 1, 1, 3]),
            style: Style::random(rng),
        }
    }

    fn config(&self, path: &Path) -> Value {
        let mut config = json!({
            "server_url": format!("ldif:{}", path.display()),
            "discover_by": self.discover_by,
            "discovery_sample_size": self.sample_size,
            "partitions": self.partitions,
        });
        if let Some(base) = self.base.text() {
            config["base_dn"] = json!(base);
        }
        if !self.written.is_empty() {
            let written = self.written.iter().map(|w| {
                let mut stream = json!({"name": w.name, "scope": w.scope, "attributes": w.attributes});
                if let Some(base) = w.base.text() {
                    stream["base_dn"] = json!(base);
                }
                if let Some(filter) = &w.filter {
                    stream["filter"] = json!(filter.text());
                }
                stream
            });
            config["schemas"] = written.collect();
        }
        config
    }

    /// Whether every base is an entry, or the top. Another base may be an error, which says so.
    fn bases_are_there(&self, entries: &[Entry]) -> bool {
        let is_there = |base: &Base| match base {
            Base::Unset | Base::Empty => true,
            Base::At(name, _) => entries.iter().any(|e| e.name == *name),
        };
        is_there(&self.base) && self.written.iter().all(|w| is_there(&w.base))
    }
}

/// A run for all streams of the catalog, and what it printed.
struct Answer {
    catalog: Value,
    output: Output,
}

fn ask(question: &Question, path: &Path) -> Result<Answer, Output> {
    let config = question.config(path);
    let run = || Run::tap(&config).arg("--log-format").arg("json");
    let discovered = run().arg("--discover").run();
    no_panic(&discovered);
    if discovered.code != 0 {
        return Err(discovered);
    }
    let mut catalog = discovered.json();
    for stream in catalog["streams"].as_array_mut().unwrap() {
        for node in stream["metadata"].as_array_mut().unwrap() {
            if node["breadcrumb"] == json!([]) {
                node["metadata"]["selected"] = json!(true);
            }
        }
    }
    let output = run().file("--catalog", &catalog).run();
    no_panic(&output);
    Ok(Answer { catalog, output })
}

/// Asks, and holds the answer against the reference.
fn hold(entries: &[Entry], question: &Question) -> Result<(), Problem> {
    let dir = scratch();
    let path = dir.path().join("d.ldif");
    let written = ldif_spelling::write(entries, &question.style);
    std::fs::write(&path, &written.text).unwrap();
    let refused = |output: &Output| {
        // Nothing to read, and a base that is not there, may be errors.
        let may_be = entries.is_empty() || !question.bases_are_there(entries);
        check(may_be, "refused", || told(output))
    };
    let answer = match ask(question, &path) {
        Ok(answer) => answer,
        Err(output) => return refused(&output),
    };
    let output = &answer.output;
    if output.code != 0 {
        return refused(output);
    }
    let streams = streams(output, &answer.catalog)?;
    if question.written.is_empty() {
        for of_containers in [true, false] {
            let reads = if of_containers { "ou" } else { "object_class" };
            if question.discover_by == reads || question.discover_by == "both" {
                let of: Vec<&Stream> =
                    streams.values().filter(|s| s.is_of_containers() == of_containers).collect();
                let expected = below(entries, &question.base.name());
                balance(&of, &expected, question, &[])?;
                if of_containers {
                    placed(&of, entries, &expected)?;
                }
            }
        }
    } else {
        for wanted in &question.written {
            let Some(stream) = streams.get(&wanted.name) else {
                return Err(Problem { kind: "stream missing", detail: wanted.name.clone() });
            };
            let expected = expected(entries, question, wanted);
            balance(&[stream], &expected, question, &wanted.attributes)?;
        }
    }
    let is_cut_off = matches!(question.style.end, End::CutOff | End::Referred);
    for stream in streams.values() {
        // What is elsewhere is not in the scope of one entry; a list without its end may hold back all of the file.
        let scope = question.written.iter().find(|w| w.name == stream.id).map(|w| w.scope);
        let is_doubtful =
            written.has_open_lists || question.style.end == End::Referred && scope == Some("base");
        let due = !is_cut_off && !stream.records.is_empty();
        let is_right = stream.is_activated == due || is_doubtful && !stream.records.is_empty();
        check(is_right, if due { "no ACTIVATE_VERSION" } else { "ACTIVATE_VERSION" }, || {
            format!(
                "{}: {} records, the file's end: {:?}\n{}",
                stream.id,
                stream.records.len(),
                question.style.end,
                told(output)
            )
        })?;
    }
    let is_whole = !is_cut_off && !written.has_open_lists;
    check(is_whole || warns(output), "silent about what is missing", || told(output))
}

/// The entries of a stream that the user wrote.
fn expected<'e>(entries: &'e [Entry], question: &Question, wanted: &Written) -> Vec<&'e Entry> {
    let base = if wanted.base == Base::Unset { &question.base } else { &wanted.base };
    let base = base.name();
    let in_scope = |entry: &&Entry| match wanted.scope {
        "base" => entry.name == base,
        "one" => entry.name.0.len() == base.0.len() + 1,
        _ => true,
    };
    let passes = |entry: &&Entry| wanted.filter.as_ref().is_none_or(|f| f.passes(entry));
    below(entries, &base).into_iter().filter(in_scope).filter(passes).collect()
}

/// Each entry once, with its values.
fn balance(
    streams: &[&Stream],
    expected: &[&Entry],
    question: &Question,
    only: &[String],
) -> Result<(), Problem> {
    let by_dn: BTreeMap<&str, &Entry> = expected.iter().map(|e| (e.dn.as_str(), *e)).collect();
    let mut seen = BTreeSet::new();
    let only = if only.iter().any(|o| o == "*") { &[] } else { only };
    let only: Vec<String> = only.iter().map(|o| o.replace("commonName", "cn")).collect();
    for stream in streams {
        for record in &stream.records {
            let dn = record["dn"].as_str().unwrap_or_default();
            let Some(entry) = by_dn.get(dn) else {
                return Err(Problem { kind: "entry that is not below the base", detail: dn.to_owned() });
            };
            check(seen.insert(dn), "entry twice", || format!("{dn} once more in {}", stream.id))?;
            let (mut is, mut should_be) = (values(record), reference::values(entry, &only));
            // Keys come along, asked for or not; what a sample of one entry did not see is not in the catalog.
            let known = |name: &String| {
                let has = record.keys().any(|k| k.eq_ignore_ascii_case(name));
                question.sample_size != 1 || has
            };
            is.retain(|name, _| only.is_empty() || should_be.contains_key(name));
            should_be.retain(|name, _| known(name));
            if question.style.loses_ranges {
                is.remove("member");
                should_be.remove("member");
            }
            let kind = if without_id(&is) == without_id(&should_be) { "entryUUID is lost" } else { "values" };
            check(is == should_be, kind, || {
                let differ = should_be.iter().filter(|(k, v)| is.get(*k) != Some(v));
                let more = is.iter().filter(|(k, _)| !should_be.contains_key(*k));
                format!(
                    "{dn}: should be {:?}, is {is:?}; too much: {:?}",
                    differ.collect::<Vec<_>>(),
                    more.collect::<Vec<_>>()
                )
            })?;
        }
    }
    let missing: Vec<&&str> = by_dn.keys().filter(|dn| !seen.contains(**dn)).collect();
    check(missing.is_empty(), "entries missing", || format!("{missing:?}"))
}

fn without_id(values: &reference::Values) -> reference::Values {
    values.iter().filter(|(name, _)| *name != "entryuuid").map(|(n, v)| (n.clone(), v.clone())).collect()
}

/// Each entry in the stream of its nearest container, containers in their own, parents first.
fn placed(streams: &[&Stream], entries: &[Entry], below: &[&Entry]) -> Result<(), Problem> {
    let named = |dn: &str| entries.iter().find(|e| e.dn == dn);
    for stream in streams {
        let mut before: Vec<&Entry> = Vec::new();
        for record in &stream.records {
            let Some(entry) = named(record["dn"].as_str().unwrap_or_default()) else { continue };
            let nearest = reference::container_of(entry, below);
            let place = || format!("{} is in `{}`", entry.dn, stream.id);
            if stream.id == "organizational_units" {
                let may = entry.kind == Kind::Container || nearest.is_none();
                check(may, "no container, among them", place)?;
                let child = before.iter().find(|e| e.name.is_within(&entry.name));
                check(child.is_none(), "a child before its parent", place)?;
                before.push(entry);
            } else {
                check(entry.kind != Kind::Container, "container among the others", place)?;
                let is_right = nearest.is_none_or(|c| c.dn == stream.id);
                check(is_right, "in another container's stream", place)?;
            }
        }
    }
    Ok(())
}

/// Leaves entries out, one after another, for as long as the same is wrong.
fn shrink(mut entries: Vec<Entry>, question: &Question, mut problem: Problem) -> Problem {
    let mut at = 0;
    while at < entries.len() {
        let mut fewer = entries.clone();
        fewer.remove(at);
        match hold(&fewer, question) {
            Err(smaller) if smaller.kind == problem.kind => {
                entries = fewer;
                problem = smaller;
            }
            _ => at += 1,
        }
    }
    let text = ldif_spelling::write(&entries, &question.style).text;
    problem.detail = format!(
        "{}\n{}\n--- the file\n{}---",
        problem.detail,
        question.config(Path::new("d.ldif")),
        String::from_utf8_lossy(&text)
    );
    problem
}

#[test]
fn every_entry_of_a_file_is_in_one_stream_with_all_its_values() {
    cases::run(17_000, cases::count(CASES), |rng| {
        let entries = Grower::grow(rng, ENTRIES);
        let question = Question::random(&entries, rng);
        hold(&entries, &question).map_err(|problem| Failure {
            problem,
            shrink: Box::new(move |problem| shrink(entries, &question, problem)),
        })
    });
}
