//! The plan as a page: deletions first, then the changes of each stream with the values before and after.
//!
//! Changes are kept in files until the end, when their number is known: a plan may have a hundred thousand.

use std::collections::BTreeMap;
use std::io::{self, Seek as _, Write};

use ldap_directory::change::{Change, Modification};
use ldap_directory::entry::{Attribute, Entry};
use maud::{Markup, html};
use singer_common::operations::page::{Frame, breakable, thousands, visible};
use tempfile::SpooledTempFile;

use super::{HIDDEN, PlannedChange, RefusedRecord, ValueChange, before_and_after, octets, shown};
use crate::write::counts::Counts;
use crate::write::plan_output::value_changes::Values;
use singer_common::operations::secret::is_secret_attribute;

const STYLE: &str = include_str!("../../../assets/plan.css");
/// Octets of a stream that are kept in memory.
const IN_MEMORY: usize = 256 * 1024;
/// The most values of an attribute that are shown; a group may have 50,000.
const MOST_VALUES: usize = 20;
/// The most removed entries that are listed at the beginning.
const MOST_LEAVERS: usize = 1_000;
/// A stream with at most this many changes is expanded.
const FEW: u64 = 50;
/// The operations, in the order of the page: removals come first.
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

/// The origin of a plan.
#[derive(Debug, Clone, Default)]
pub struct PlanHeader {
    /// The server's URL, or the file. Without credentials.
    pub server: String,
    /// The kind of server.
    pub vendor: String,
    /// When the plan was made, as text.
    pub date: String,
}

/// A page that is being built.
pub(super) struct Page {
    place: PlanHeader,
    streams: BTreeMap<String, StreamSection>,
    /// The outcomes of the streams' records, if they were reported.
    reported: BTreeMap<String, [u64; OPERATIONS.len()]>,
    /// The number, operation and DN of removed entries, as far as they are listed.
    listed: Vec<(u64, usize, String)>,
    /// The number of removed entries.
    leavers: u64,
    number: u64,
}

struct StreamSection {
    changes: SpooledTempFile,
    changes_by_operation: [u64; OPERATIONS.len()],
}

impl Page {
    pub(super) fn new(place: PlanHeader) -> Self {
        Self {
            place,
            streams: BTreeMap::new(),
            reported: BTreeMap::new(),
            listed: Vec::new(),
            leavers: 0,
            number: 0,
        }
    }

    /// Adds a change.
    pub(super) fn change(&mut self, planned: &PlannedChange<'_>) -> io::Result<()> {
        let PlannedChange { change, before, about, is_leaving, .. } = *planned;
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
            self.add_removal(operation, change.dn());
        }
        self.keep(operation, change.dn(), about, &table(change.dn(), &rows))
    }

    /// Adds a removed entry, if there is room in the list.
    fn add_removal(&mut self, operation: usize, dn: &str) {
        self.leavers += 1;
        if self.listed.len() < MOST_LEAVERS {
            self.listed.push((self.number + 1, operation, dn.to_owned()));
        }
    }

    /// Adds a record that would be refused.
    pub(super) fn refused(&mut self, refused: &RefusedRecord<'_>) -> io::Result<()> {
        let RefusedRecord { stream, line, record, dn, reason, .. } = *refused;
        let about = format!("{stream}, line {line}: {record}");
        let body = html! { p { (visible(reason)) } };
        self.keep(REFUSE, dn.unwrap_or("(no entry)"), &about, &body)
    }

    /// Adds the outcomes of a stream's records.
    pub(super) fn count(&mut self, stream: &str, counts: &Counts) {
        let Counts { deleted, moved, added, modified, renamed, rejected, .. } = *counts;
        self.reported.insert(stream.to_owned(), [deleted, moved, added, modified, renamed, rejected]);
    }

    /// Returns the outcomes by operation: those of the log, or the number of changes if none were reported.
    fn counts(&self, name: &str, stream: &StreamSection) -> [u64; OPERATIONS.len()] {
        self.reported.get(name).copied().unwrap_or(stream.changes_by_operation)
    }

    pub(super) fn password(&mut self, dn: &str, about: &str, how: &str) -> io::Result<()> {
        let text = |text: String| Side::one(text, RowKind::Stays);
        let row =
            Row { name: "password".into(), was: text(HIDDEN.into()), will: text(format!("{HIDDEN}, {how}")) };
        self.keep(MODIFY, dn, about, &table(dn, &[row]))
    }

    fn keep(&mut self, operation: usize, dn: &str, about: &str, body: &Markup) -> io::Result<()> {
        self.number += 1;
        let number = self.number;
        let (stream, record) = about.split_once(", line ").unwrap_or((about, ""));
        // If the key is the DN, it is shown once.
        let record =
            record.split_once(": ").filter(|(_, key)| key.contains(dn)).map_or(record, |(line, _)| line);
        let stream = self.streams.entry(stream.to_owned()).or_insert_with(|| StreamSection {
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
                // A link to an element inside expands what contains it.
                div.body id={ "change-" (number) } { (body) }
            }
        };
        stream.changes.write_all(text.into_string().as_bytes())
    }

    /// Writes the page. `complete`: the whole input was read.
    pub(super) fn write(&mut self, out: &mut dyn Write, complete: bool) -> io::Result<()> {
        let mut all = [0_u64; OPERATIONS.len()];
        for (name, stream) in &self.streams {
            for (sum, count) in all.iter_mut().zip(self.counts(name, stream)) {
                *sum += count;
            }
        }
        // Zeros are left out, except that of deletions.
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
        let reported = std::mem::take(&mut self.reported);
        for (name, stream) in &mut self.streams {
            let total: u64 = stream.changes_by_operation.iter().sum();
            let counts = reported.get(name).copied().unwrap_or(stream.changes_by_operation);
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

    /// Returns the part before the streams; the last section stays open for them.
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

/// What happens to a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RowKind {
    Stays,
    Goes,
    Comes,
}

struct Line {
    text: String,
    kind: RowKind,
}

/// An attribute before and after the change.
struct Row {
    name: String,
    was: Side,
    will: Side,
}

/// The values of an attribute on one side: those shown, and their number.
#[derive(Default)]
struct Side {
    lines: Vec<Line>,
    total: usize,
}

impl Side {
    /// Returns a side with one line.
    fn one(text: String, kind: RowKind) -> Side {
        Side { lines: vec![Line { text, kind }], total: 1 }
    }

    fn push<'v>(&mut self, name: &str, values: impl IntoIterator<Item = &'v [u8]>, kind: RowKind) {
        for value in values {
            self.total += 1;
            if self.lines.len() < MOST_VALUES {
                self.lines.push(Line { text: shown(name, value), kind });
            }
        }
    }

    fn of<'v>(name: &str, values: impl IntoIterator<Item = &'v [u8]>, kind: RowKind) -> Side {
        let mut side = Side::default();
        side.push(name, values, kind);
        side
    }
}

fn added(attribute: &Attribute) -> Row {
    let Attribute { description, values } = attribute;
    let will = Side::of(description, octets(values), RowKind::Comes);
    Row { name: description.clone(), was: Side::default(), will }
}

fn removed(attribute: &Attribute) -> Row {
    let Attribute { description, values } = attribute;
    let was = Side::of(description, octets(values), RowKind::Goes);
    Row { name: description.clone(), was, will: Side::default() }
}

fn renamed(dn: &str, new_rdn: &str, new_superior: Option<&str>) -> Row {
    let place = new_superior.map(|s| format!(", below {s}")).unwrap_or_default();
    Row {
        name: "name".into(),
        was: Side::one(dn.to_owned(), RowKind::Goes),
        will: Side::one(format!("{new_rdn}{place}"), RowKind::Comes),
    }
}

/// Returns the values that the other side lacks, then those of both.
fn beside<'v>(name: &str, values: &Values<'v>, other: &Values<'v>, kind: RowKind) -> Side {
    let mut side = Side::of(name, values.there().filter(|v| !other.has(v)), kind);
    side.push(name, values.there().filter(|v| other.has(v)), RowKind::Stays);
    side
}

/// Returns the attributes of the modifications, each with all its values before and after.
fn modified(changes: &[Modification], before: Option<&Entry>) -> Vec<Row> {
    let row = |ValueChange { name, old, new }: ValueChange<'_>| {
        if is_secret_attribute(name) {
            let side = |values: &Values<'_>, kind| {
                if values.is_empty() { Side::default() } else { Side::one(HIDDEN.to_owned(), kind) }
            };
            let (was, will) = (side(&old, RowKind::Goes), side(&new, RowKind::Comes));
            return Row { name: name.to_owned(), was, will };
        }
        Row {
            name: name.to_owned(),
            was: beside(name, &old, &new, RowKind::Goes),
            will: beside(name, &new, &old, RowKind::Comes),
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

fn values(side: &Side) -> Markup {
    html! {
        @if side.lines.is_empty() {
            span.quiet { "–" }
        } @else {
            ul.values {
                @for line in &side.lines {
                    li {
                        @match line.kind {
                            RowKind::Stays => bdi { (breakable(&line.text)) },
                            RowKind::Goes => del { bdi { (breakable(&line.text)) } },
                            RowKind::Comes => ins { bdi { (breakable(&line.text)) } },
                        }
                    }
                }
                @if let Some(more) = side.total.checked_sub(MOST_VALUES).filter(|more| *more > 0) {
                    li.quiet { "and " (singer_common::operations::page::count(more)) " more" }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ldap_directory::change::ModificationKind;

    use super::super::value_changes::COMPARED;
    use super::*;

    fn texts(side: &Side) -> Vec<String> {
        side.lines
            .iter()
            .map(|line| {
                let sign = match line.kind {
                    RowKind::Stays => "=",
                    RowKind::Goes => "-",
                    RowKind::Comes => "+",
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
            let compared = COMPARED.with(std::cell::Cell::get);
            assert!(compared < 8 * MEMBERS, "{compared} comparisons");
            assert_eq!(row.was.total, MEMBERS);
            assert_eq!(row.was.lines.len(), MOST_VALUES);
        }
    }
}
