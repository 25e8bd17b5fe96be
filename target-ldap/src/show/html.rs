//! The plan as a page for people: what is deleted first, then stream by stream each change with what was and what will be.
//!
//! Changes are kept in files until the end, when it is known how many there are: a plan may have a hundred thousand.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::io::{self, Seek as _, Write};

use maud::{Markup, html};
use singer_common::change::{Change, Modification, ModificationKind};
use singer_common::entry::{Attribute, Entry};
use singer_common::page::{Frame, breakable, thousands, visible};
use tempfile::SpooledTempFile;

use super::{HIDDEN, shown};
use singer_common::secret::is_secret_attribute;

const STYLE: &str = include_str!("../../assets/plan.css");
/// Of a stream, so much is kept in memory.
const IN_MEMORY: usize = 256 * 1024;
/// Values of an attribute that are shown; a group may have 50,000.
const MOST_VALUES: usize = 20;
/// Deletions that are listed at the beginning.
const MOST_DELETIONS: usize = 1_000;
/// A stream with no more changes than this is open.
const FEW: u64 = 50;
/// The operations, in the order of the page.
const OPERATIONS: [(&str, &str); 4] =
    [("delete", "deleted"), ("add", "added"), ("modify", "modified"), ("rename", "renamed")];

/// Where the plan is from.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// The server's URL, or the file. No credentials.
    pub server: String,
    /// The kind of server.
    pub vendor: String,
    /// When the plan was made, as text.
    pub date: String,
}

/// A page in the making.
pub(super) struct Page {
    place: Place,
    streams: BTreeMap<String, Stream>,
    /// Number and name of what is deleted, as far as it is listed.
    deletions: Vec<(u64, String)>,
    number: u64,
}

struct Stream {
    changes: SpooledTempFile,
    counts: [u64; OPERATIONS.len()],
}

impl Page {
    pub(super) fn new(place: Place) -> Self {
        Self { place, streams: BTreeMap::new(), deletions: Vec::new(), number: 0 }
    }

    /// Takes a change up. `before`: what its entry was.
    pub(super) fn change(&mut self, change: &Change, before: Option<&Entry>, about: &str) -> io::Result<()> {
        let (operation, rows) = match change {
            Change::Add(entry) => (1, entry.attributes.iter().map(added).collect()),
            Change::Delete { .. } => {
                (0, before.map(|b| b.attributes.iter().map(removed).collect()).unwrap_or_default())
            }
            Change::Modify { changes, .. } => (2, modified(changes, before)),
            Change::Rename { dn, new_rdn, new_superior, .. } => {
                (3, vec![renamed(dn, new_rdn, new_superior.as_deref())])
            }
        };
        self.keep(operation, change.dn(), about, &rows)
    }

    pub(super) fn password(&mut self, dn: &str, about: &str, how: &str) -> io::Result<()> {
        let text = |text: String| Side::one(text, Kind::Stays);
        let row =
            Row { name: "password".into(), was: text(HIDDEN.into()), will: text(format!("{HIDDEN}, {how}")) };
        self.keep(2, dn, about, &[row])
    }

    fn keep(&mut self, operation: usize, dn: &str, about: &str, rows: &[Row]) -> io::Result<()> {
        self.number += 1;
        let number = self.number;
        let (stream, record) = about.split_once(", line ").unwrap_or((about, ""));
        // A key that is the name need not be said twice.
        let record =
            record.split_once(": ").filter(|(_, key)| key.contains(dn)).map_or(record, |(line, _)| line);
        let stream = self.streams.entry(stream.to_owned()).or_insert_with(|| Stream {
            changes: SpooledTempFile::new(IN_MEMORY),
            counts: [0; OPERATIONS.len()],
        });
        if let Some(count) = stream.counts.get_mut(operation) {
            *count += 1;
        }
        if operation == 0 && self.deletions.len() < MOST_DELETIONS {
            self.deletions.push((number, dn.to_owned()));
        }
        let name = OPERATIONS.get(operation).map_or("", |(name, _)| name);
        let text = html! {
            details class={ "change " (name) } {
                summary {
                    span.badge { (name) }
                    bdi.dn { (breakable(dn)) }
                    @if !record.is_empty() { span.about { "line " (visible(record)) } }
                }
                // A link to something inside opens what it is inside of.
                div.body id={ "change-" (number) } { (table(dn, rows)) }
            }
        };
        stream.changes.write_all(text.into_string().as_bytes())
    }

    /// Writes the page. `complete`: whether the whole input was looked at.
    pub(super) fn write(&mut self, out: &mut dyn Write, complete: bool) -> io::Result<()> {
        let count = |at: usize| self.streams.values().filter_map(|s| s.counts.get(at)).sum::<u64>();
        let figures: Vec<(String, &str)> =
            OPERATIONS.iter().enumerate().map(|(at, (_, what))| (thousands(count(at)), *what)).collect();
        let footer = format!(
            "Written by target-ldap {}. Nothing was written to the directory. Passwords are not shown.",
            env!("CARGO_PKG_VERSION")
        );
        let facts = [
            ("Directory", breakable(&self.place.server)),
            ("Kind", html! { (visible(&self.place.vendor)) }),
            ("Made", html! { (visible(&self.place.date)) }),
        ];
        let mut links = vec![("streams", "Streams")];
        if !self.deletions.is_empty() {
            links.insert(0, ("deletions", "What is deleted"));
        }
        let frame = Frame {
            kind: "Plan",
            title: "What would be changed",
            style: STYLE,
            facts: &facts,
            figures: &figures,
            links: &links,
            footer: &footer,
        };
        let (head, tail) = frame.halves();
        out.write_all(head.as_bytes())?;
        out.write_all(self.beginning(count(0), complete).into_string().as_bytes())?;
        for (name, stream) in &mut self.streams {
            let total: u64 = stream.counts.iter().sum();
            let open = if total <= FEW { " open" } else { "" };
            write!(out, "<details class=\"stream box\"{open}>")?;
            let summary = html! {
                summary {
                    h3 { bdi { (breakable(if name.is_empty() { "(no stream)" } else { name })) } }
                    span.counts {
                        @for ((operation, what), number) in OPERATIONS.iter().zip(stream.counts) {
                            @if number > 0 { span class=(operation) { strong { (thousands(number)) } " " (what) } " " }
                        }
                    }
                }
            };
            out.write_all(summary.into_string().as_bytes())?;
            stream.changes.rewind()?;
            io::copy(&mut stream.changes, out)?;
            out.write_all(b"</details>")?;
        }
        out.write_all(b"</section>")?;
        out.write_all(tail.as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()
    }

    /// What comes before the streams; the last section stays open for them.
    fn beginning(&self, deletions: u64, complete: bool) -> Markup {
        let listed = u64::try_from(self.deletions.len()).unwrap_or(u64::MAX);
        let section = html! {
            h2 #streams { "Streams" }
            @if self.streams.is_empty() {
                p { "Nothing would be changed." }
            } @else {
                p { "Open a change for what was and what will be. Changes are in the order in which they would be made." }
            }
        };
        html! {
            @if !complete {
                section.box.alarm { div.body { p { "This plan is not complete: the run failed or was stopped. The log says why." } } }
            }
            @if !self.deletions.is_empty() {
                section aria-labelledby="deletions" {
                    h2 #deletions { "What is deleted" }
                    ul.gone-names {
                        @for (number, dn) in &self.deletions {
                            li { a href={ "#change-" (number) } { bdi { (breakable(dn)) } } }
                        }
                    }
                    @if deletions > listed { p.note { "and " (thousands(deletions - listed)) " more" } }
                }
            }
            (maud::PreEscaped("<section aria-labelledby=\"streams\">"))
            (section)
        }
    }
}

/// How a value fares.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Stays,
    Goes,
    Comes,
}

struct Line {
    text: String,
    kind: Kind,
}

/// An attribute, as it was and as it will be.
struct Row {
    name: String,
    was: Side,
    will: Side,
}

/// Values of an attribute on one side: those that are shown, and how many there are.
#[derive(Default)]
struct Side {
    lines: Vec<Line>,
    total: usize,
}

impl Side {
    /// One line, whatever it stands for.
    fn one(text: String, kind: Kind) -> Side {
        Side { lines: vec![Line { text, kind }], total: 1 }
    }

    fn push<'v>(&mut self, name: &str, values: impl IntoIterator<Item = &'v [u8]>, kind: Kind) {
        for value in values {
            self.total += 1;
            if self.lines.len() < MOST_VALUES {
                self.lines.push(Line { text: shown(name, value), kind });
            }
        }
    }

    fn of<'v>(name: &str, values: impl IntoIterator<Item = &'v [u8]>, kind: Kind) -> Side {
        let mut side = Side::default();
        side.push(name, values, kind);
        side
    }
}

fn octets(values: &[Vec<u8>]) -> impl Iterator<Item = &[u8]> {
    values.iter().map(Vec::as_slice)
}

fn added(attribute: &Attribute) -> Row {
    let Attribute { description, values } = attribute;
    let will = Side::of(description, octets(values), Kind::Comes);
    Row { name: description.clone(), was: Side::default(), will }
}

fn removed(attribute: &Attribute) -> Row {
    let Attribute { description, values } = attribute;
    let was = Side::of(description, octets(values), Kind::Goes);
    Row { name: description.clone(), was, will: Side::default() }
}

fn renamed(dn: &str, new_rdn: &str, new_superior: Option<&str>) -> Row {
    let place = new_superior.map(|s| format!(", below {s}")).unwrap_or_default();
    Row {
        name: "name".into(),
        was: Side::one(dn.to_owned(), Kind::Goes),
        will: Side::one(format!("{new_rdn}{place}"), Kind::Comes),
    }
}

/// The values of one attribute, each once or more, in their order. What is taken out is only marked: a group may have 50,000.
#[derive(Default)]
struct Values<'v> {
    all: Vec<(&'v [u8], bool)>,
    /// Where each is that was not taken out.
    places: HashMap<Octets<'v>, Vec<usize>>,
}

impl<'v> Values<'v> {
    fn add(&mut self, values: &'v [Vec<u8>]) {
        for value in octets(values) {
            self.places.entry(Octets(value)).or_default().push(self.all.len());
            self.all.push((value, true));
        }
    }

    fn take_out(&mut self, values: &'v [Vec<u8>]) {
        for place in octets(values).filter_map(|value| self.places.remove(&Octets(value))).flatten() {
            if let Some((_, is_there)) = self.all.get_mut(place) {
                *is_there = false;
            }
        }
    }

    fn clear(&mut self) {
        *self = Values::default();
    }

    fn has(&self, value: &'v [u8]) -> bool {
        self.places.contains_key(&Octets(value))
    }

    fn there(&self) -> impl Iterator<Item = &'v [u8]> {
        self.all.iter().filter(|(_, is_there)| *is_there).map(|(value, _)| *value)
    }

    /// Those that the other side has not, then those that it has.
    fn beside(&self, name: &str, other: &Values<'v>, kind: Kind) -> Side {
        let mut side = Side::of(name, self.there().filter(|v| !other.has(v)), kind);
        side.push(name, self.there().filter(|v| other.has(v)), Kind::Stays);
        side
    }
}

/// A value as it is looked up. Tests count how often two are compared.
#[derive(Debug, Clone, Copy, Eq)]
struct Octets<'v>(&'v [u8]);

impl PartialEq for Octets<'_> {
    fn eq(&self, other: &Self) -> bool {
        #[cfg(test)]
        tests::COMPARED.with(|count| count.set(count.get() + 1));
        self.0 == other.0
    }
}

impl Hash for Octets<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// The attributes that steps are about, each with all its values before and after.
fn modified(changes: &[Modification], before: Option<&Entry>) -> Vec<Row> {
    let mut names: Vec<&str> = Vec::new();
    let mut steps: HashMap<String, Vec<&Modification>> = HashMap::new();
    for change in changes {
        let of_it = steps.entry(change.description.to_ascii_lowercase()).or_default();
        if of_it.is_empty() {
            names.push(&change.description);
        }
        of_it.push(change);
    }
    let mut there: HashMap<String, &Attribute> = HashMap::new();
    for attribute in before.into_iter().flat_map(|b| &b.attributes) {
        there.entry(attribute.description.to_ascii_lowercase()).or_insert(attribute);
    }
    names
        .into_iter()
        .map(|name| {
            let key = name.to_ascii_lowercase();
            let (mut old, mut new) = (Values::default(), Values::default());
            if let Some(attribute) = there.get(&key) {
                old.add(&attribute.values);
                new.add(&attribute.values);
            }
            for step in steps.get(&key).into_iter().flatten() {
                match step.kind {
                    ModificationKind::Add | ModificationKind::Increment => new.add(&step.values),
                    ModificationKind::Replace => {
                        new.clear();
                        new.add(&step.values);
                    }
                    ModificationKind::Delete if step.values.is_empty() => new.clear(),
                    ModificationKind::Delete => new.take_out(&step.values),
                }
            }
            if is_secret_attribute(name) {
                let side = |values: &Values<'_>, kind| match values.there().next() {
                    Some(_) => Side::one(HIDDEN.to_owned(), kind),
                    None => Side::default(),
                };
                return Row {
                    name: name.to_owned(),
                    was: side(&old, Kind::Goes),
                    will: side(&new, Kind::Comes),
                };
            }
            Row {
                name: name.to_owned(),
                was: old.beside(name, &new, Kind::Goes),
                will: new.beside(name, &old, Kind::Comes),
            }
        })
        .collect()
}

fn table(dn: &str, rows: &[Row]) -> Markup {
    html! {
        @if rows.is_empty() {
            p.note { "The entry, whatever it has." }
        } @else {
            table role="table" {
                caption.unseeable { "Attributes of " (visible(dn)) }
                thead role="rowgroup" {
                    tr role="row" {
                        th scope="col" role="columnheader" { "Attribute" }
                        th scope="col" role="columnheader" { "Was" }
                        th scope="col" role="columnheader" { "Will be" }
                    }
                }
                tbody role="rowgroup" {
                    @for row in rows {
                        tr role="row" {
                            th scope="row" role="rowheader" { code { (visible(&row.name)) } }
                            td role="cell" data-label="Was" { (values(&row.was)) }
                            td role="cell" data-label="Will be" { (values(&row.will)) }
                        }
                    }
                }
            }
        }
    }
}

fn values(side: &Side) -> Markup {
    html! {
        @if side.lines.is_empty() {
            span.quiet { "–" }
        } @else {
            ul.values {
                @for line in &side.lines {
                    li {
                        @match line.kind {
                            Kind::Stays => bdi { (breakable(&line.text)) },
                            Kind::Goes => del { bdi { (breakable(&line.text)) } },
                            Kind::Comes => ins { bdi { (breakable(&line.text)) } },
                        }
                    }
                }
                @if let Some(more) = side.total.checked_sub(MOST_VALUES).filter(|more| *more > 0) {
                    li.quiet { "and " (singer_common::page::count(more)) " more" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        pub(super) static COMPARED: Cell<usize> = const { Cell::new(0) };
    }

    fn texts(side: &Side) -> Vec<String> {
        side.lines
            .iter()
            .map(|line| {
                let sign = match line.kind {
                    Kind::Stays => "=",
                    Kind::Goes => "-",
                    Kind::Comes => "+",
                };
                format!("{sign}{}", line.text)
            })
            .collect()
    }

    fn all(values: &[&str]) -> Vec<Vec<u8>> {
        values.iter().map(|v| v.as_bytes().to_vec()).collect()
    }

    #[test]
    fn what_was_and_what_will_be_of_each_attribute() {
        use ModificationKind::{Add, Delete, Replace};
        let attributes = vec![Attribute::new("mail", all(&["a", "b"])), Attribute::new("cn", all(&["x"]))];
        let before = Entry { dn: "cn=x".into(), attributes };
        let step = |kind, name: &str, values: &[&str]| Modification::new(kind, name, all(values));
        let changes = [
            step(Delete, "Mail", &["a"]),
            step(Add, "mail", &["c", "a"]),
            step(Delete, "cn", &[]),
            step(Add, "CN", &["y"]),
            step(Replace, "sn", &["z"]),
            step(Add, "userPassword", &["secret"]),
        ];
        let rows = modified(&changes, Some(&before));
        let shown: Vec<(&str, Vec<String>, Vec<String>)> =
            rows.iter().map(|r| (r.name.as_str(), texts(&r.was), texts(&r.will))).collect();
        let of = |values: &[&str]| values.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            shown,
            [
                ("Mail", of(&["=a", "=b"]), of(&["+c", "=b", "=a"])),
                ("cn", of(&["-x"]), of(&["+y"])),
                ("sn", of(&[]), of(&["+z"])),
                ("userPassword", of(&[]), vec![format!("+{HIDDEN}")]),
            ]
        );
    }

    #[test]
    fn a_group_of_many_is_looked_at_a_few_times_over() {
        const MEMBERS: usize = 50_000;
        let names: Vec<String> = (0..=MEMBERS).map(|n| format!("uid=person{n},ou=people,dc=x")).collect();
        let members = |range: std::ops::Range<usize>| -> Vec<Vec<u8>> {
            names[range].iter().map(|n| n.as_bytes().to_vec()).collect()
        };
        let before =
            Entry { dn: "cn=g".into(), attributes: vec![Attribute::new("member", members(0..MEMBERS))] };
        let half = MEMBERS / 2;
        for changes in [
            vec![Modification::new(ModificationKind::Replace, "member", members(1..MEMBERS + 1))],
            vec![
                Modification::new(ModificationKind::Delete, "member", members(0..half)),
                Modification::new(ModificationKind::Add, "member", members(MEMBERS..MEMBERS + 1)),
            ],
        ] {
            COMPARED.with(|count| count.set(0));
            let row = modified(&changes, Some(&before)).remove(0);
            let compared = COMPARED.with(Cell::get);
            assert!(compared < 8 * MEMBERS, "{compared} comparisons");
            assert_eq!(row.was.total, MEMBERS);
            assert_eq!(row.was.lines.len(), MOST_VALUES);
        }
    }
}
