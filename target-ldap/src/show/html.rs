//! The plan as a page for people: what is deleted first, then stream by stream each change with what was and what will be.
//!
//! Changes are kept in files until the end, when it is known how many there are: a plan may have a hundred thousand.

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Seek as _, Write};

use maud::{Markup, html};
use singer_common::change::{Change, Modification};
use singer_common::entry::{Attribute, Entry};
use singer_common::page::{Frame, breakable, thousands, visible};
use tempfile::SpooledTempFile;

use super::{HIDDEN, Planned, Refused, before_and_after, shown};
use crate::load::Counts;
use singer_common::secret::is_secret_attribute;

const STYLE: &str = include_str!("../../assets/plan.css");
/// Of a stream, so much is kept in memory.
const IN_MEMORY: usize = 256 * 1024;
/// Values of an attribute that are shown; a group may have 50,000.
const MOST_VALUES: usize = 20;
/// Entries that are listed at the beginning, for they leave.
const MOST_LEAVERS: usize = 1_000;
/// A stream with no more changes than this is open.
const FEW: u64 = 50;
/// The operations, in the order of the page: who leaves comes first.
const OPERATIONS: [(&str, &str); 6] = [
    ("delete", "deleted"),
    ("move", "moved"),
    ("add", "added"),
    ("modify", "modified"),
    ("rename", "renamed"),
    ("refuse", "would be refused"),
];
const DELETE: usize = 0;
const MOVE: usize = 1;
const ADD: usize = 2;
const MODIFY: usize = 3;
const RENAME: usize = 4;
const REFUSE: usize = 5;

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
    /// How the records of the streams ended, as far as somebody told.
    told: BTreeMap<String, [u64; OPERATIONS.len()]>,
    /// Number, operation and name of what leaves, as far as it is listed.
    listed: Vec<(u64, usize, String)>,
    /// How many leave.
    leavers: u64,
    number: u64,
}

struct Stream {
    changes: SpooledTempFile,
    changes_by_operation: [u64; OPERATIONS.len()],
}

impl Page {
    pub(super) fn new(place: Place) -> Self {
        Self {
            place,
            streams: BTreeMap::new(),
            told: BTreeMap::new(),
            listed: Vec::new(),
            leavers: 0,
            number: 0,
        }
    }

    /// Takes a change up.
    pub(super) fn change(&mut self, planned: &Planned<'_>) -> io::Result<()> {
        let Planned { change, before, about, is_leaving, .. } = *planned;
        let (operation, rows) = match change {
            Change::Add(entry) => (ADD, entry.attributes.iter().map(added).collect()),
            Change::Delete { .. } => {
                (DELETE, before.map(|b| b.attributes.iter().map(removed).collect()).unwrap_or_default())
            }
            Change::Modify { changes, .. } => (MODIFY, modified(changes, before)),
            Change::Rename { dn, new_rdn, new_superior, .. } => {
                (if is_leaving { MOVE } else { RENAME }, vec![renamed(dn, new_rdn, new_superior.as_deref())])
            }
        };
        if is_leaving || operation == DELETE {
            self.leaves(operation, change.dn());
        }
        self.keep(operation, change.dn(), about, &table(change.dn(), &rows))
    }

    /// Takes up who leaves, as far as they are listed.
    fn leaves(&mut self, operation: usize, dn: &str) {
        self.leavers += 1;
        if self.listed.len() < MOST_LEAVERS {
            self.listed.push((self.number + 1, operation, dn.to_owned()));
        }
    }

    /// Takes a record up that would be refused.
    pub(super) fn refused(&mut self, refused: &Refused<'_>) -> io::Result<()> {
        let Refused { stream, line, record, dn, reason, .. } = *refused;
        let about = format!("{stream}, line {line}: {record}");
        let body = html! { p { (visible(reason)) } };
        self.keep(REFUSE, dn.unwrap_or("(no entry)"), &about, &body)
    }

    /// Takes up how the records of a stream ended.
    pub(super) fn count(&mut self, stream: &str, counts: &Counts) {
        let Counts { deleted, moved, added, modified, renamed, rejected, .. } = *counts;
        self.told.insert(stream.to_owned(), [deleted, moved, added, modified, renamed, rejected]);
    }

    /// How many records ended as what: as the log has it, or else, where nobody told, how many changes there are.
    fn counts(&self, name: &str, stream: &Stream) -> [u64; OPERATIONS.len()] {
        self.told.get(name).copied().unwrap_or(stream.changes_by_operation)
    }

    pub(super) fn password(&mut self, dn: &str, about: &str, how: &str) -> io::Result<()> {
        let text = |text: String| vec![Line { text, kind: Kind::Stays }];
        let row =
            Row { name: "password".into(), was: text(HIDDEN.into()), will: text(format!("{HIDDEN}, {how}")) };
        self.keep(MODIFY, dn, about, &table(dn, &[row]))
    }

    fn keep(&mut self, operation: usize, dn: &str, about: &str, body: &Markup) -> io::Result<()> {
        self.number += 1;
        let number = self.number;
        let (stream, record) = about.split_once(", line ").unwrap_or((about, ""));
        // A key that is the name need not be said twice.
        let record =
            record.split_once(": ").filter(|(_, key)| key.contains(dn)).map_or(record, |(line, _)| line);
        let stream = self.streams.entry(stream.to_owned()).or_insert_with(|| Stream {
            changes: SpooledTempFile::new(IN_MEMORY),
            changes_by_operation: [0; OPERATIONS.len()],
        });
        if let Some(count) = stream.changes_by_operation.get_mut(operation) {
            *count += 1;
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
                div.body id={ "change-" (number) } { (body) }
            }
        };
        stream.changes.write_all(text.into_string().as_bytes())
    }

    /// Writes the page. `complete`: whether the whole input was looked at.
    pub(super) fn write(&mut self, out: &mut dyn Write, complete: bool) -> io::Result<()> {
        let mut all = [0_u64; OPERATIONS.len()];
        for (name, stream) in &self.streams {
            for (sum, count) in all.iter_mut().zip(self.counts(name, stream)) {
                *sum += count;
            }
        }
        // What nothing is of need not be said, but that nothing is deleted.
        let figures: Vec<(String, &str)> = OPERATIONS
            .iter()
            .zip(all)
            .enumerate()
            .filter(|(at, (_, count))| *count > 0 || ![MOVE, REFUSE].contains(at))
            .map(|(_, ((_, what), count))| (thousands(count), *what))
            .collect();
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
        if !self.listed.is_empty() {
            links.insert(0, ("leavers", "What leaves"));
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
        out.write_all(self.beginning(complete).into_string().as_bytes())?;
        let told = std::mem::take(&mut self.told);
        for (name, stream) in &mut self.streams {
            let total: u64 = stream.changes_by_operation.iter().sum();
            let counts = told.get(name).copied().unwrap_or(stream.changes_by_operation);
            let open = if total <= FEW { " open" } else { "" };
            write!(out, "<details class=\"stream box\"{open}>")?;
            let summary = html! {
                summary {
                    h3 { bdi { (breakable(if name.is_empty() { "(no stream)" } else { name })) } }
                    span.counts {
                        @for ((operation, what), number) in OPERATIONS.iter().zip(counts) {
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
    fn beginning(&self, complete: bool) -> Markup {
        let listed = u64::try_from(self.listed.len()).unwrap_or(u64::MAX);
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
            @if !self.listed.is_empty() {
                section aria-labelledby="leavers" {
                    h2 #leavers { "What leaves" }
                    ul.gone-names {
                        @for (number, operation, dn) in &self.listed {
                            li {
                                a href={ "#change-" (number) } { bdi { (breakable(dn)) } }
                                @if *operation != DELETE {
                                    " " span.about { (OPERATIONS.get(*operation).map_or("", |(_, what)| what)) }
                                }
                            }
                        }
                    }
                    @if self.leavers > listed { p.note { "and " (thousands(self.leavers - listed)) " more" } }
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
    was: Vec<Line>,
    will: Vec<Line>,
}

fn lines(name: &str, values: &[Vec<u8>], kind: Kind) -> Vec<Line> {
    values.iter().map(|v| Line { text: shown(name, v), kind }).collect()
}

fn added(attribute: &Attribute) -> Row {
    let Attribute { description, values } = attribute;
    Row { name: description.clone(), was: Vec::new(), will: lines(description, values, Kind::Comes) }
}

fn removed(attribute: &Attribute) -> Row {
    let Attribute { description, values } = attribute;
    Row { name: description.clone(), was: lines(description, values, Kind::Goes), will: Vec::new() }
}

fn renamed(dn: &str, new_rdn: &str, new_superior: Option<&str>) -> Row {
    let line = |text: String, kind| vec![Line { text, kind }];
    let place = new_superior.map(|s| format!(", below {s}")).unwrap_or_default();
    Row {
        name: "name".into(),
        was: line(dn.to_owned(), Kind::Goes),
        will: line(format!("{new_rdn}{place}"), Kind::Comes),
    }
}

/// The attributes that steps are about, each with all its values before and after.
fn modified(changes: &[Modification], before: Option<&Entry>) -> Vec<Row> {
    let row = |(name, old, new): (&str, Vec<Vec<u8>>, Vec<Vec<u8>>)| {
        if is_secret_attribute(name) {
            let line = |there: bool, kind| {
                if there { vec![Line { text: HIDDEN.to_owned(), kind }] } else { Vec::new() }
            };
            let (was, will) = (line(!old.is_empty(), Kind::Goes), line(!new.is_empty(), Kind::Comes));
            return Row { name: name.to_owned(), was, will };
        }
        let sorted = |values: &[Vec<u8>], other: &[Vec<u8>], kind| {
            let other: HashSet<&[u8]> = other.iter().map(Vec::as_slice).collect();
            let (stays, moves): (Vec<Vec<u8>>, Vec<Vec<u8>>) =
                values.iter().cloned().partition(|v| other.contains(v.as_slice()));
            let mut all = lines(name, &moves, kind);
            all.extend(lines(name, &stays, Kind::Stays));
            all
        };
        Row {
            name: name.to_owned(),
            was: sorted(&old, &new, Kind::Goes),
            will: sorted(&new, &old, Kind::Comes),
        }
    };
    before_and_after(changes, before).into_iter().map(row).collect()
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

fn values(lines: &[Line]) -> Markup {
    html! {
        @if lines.is_empty() {
            span.quiet { "–" }
        } @else {
            ul.values {
                @for line in lines.iter().take(MOST_VALUES) {
                    li {
                        @match line.kind {
                            Kind::Stays => bdi { (breakable(&line.text)) },
                            Kind::Goes => del { bdi { (breakable(&line.text)) } },
                            Kind::Comes => ins { bdi { (breakable(&line.text)) } },
                        }
                    }
                }
                @if let Some(more) = lines.len().checked_sub(MOST_VALUES).filter(|more| *more > 0) {
                    li.quiet { "and " (singer_common::page::count(more)) " more" }
                }
            }
        }
    }
}
