//! Writes the page.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::sync::Arc;

use maud::{Markup, html};
use singer_common::operations::page::{Frame, bar, breakable, count, thousands, visible};

use super::row::{ALSO, MOST_LINES, OUTCOMES, Piece, Row, SECTIONS, Section};
use super::{Page, Part};
use crate::config::limits::LimitKind;
use crate::write::counts::{Counts, RecordOutcome};
use crate::write::guard::LimitUse;

const STYLE: &str = include_str!("../../../../assets/plan.css");
/// The columns of the table of counts, in its order: the words and numbers of the log.
const COLUMNS: [(&str, &str); 8] = [
    ("deleted", "Deleted"),
    ("moved", "Moved"),
    ("rejected", "Rejected"),
    ("renamed", "Renamed"),
    ("modified", "Modified"),
    ("added", "Added"),
    ("unchanged", "Unchanged"),
    ("ignored", "Ignored"),
];
/// The kinds that are shown even if there are none.
const ALWAYS: [&str; 4] = ["deleted", "renamed", "modified", "added"];

/// Returns a number of the log by its word.
fn number(counts: &Counts, word: &str) -> u64 {
    match word {
        "deleted" => counts.deleted,
        "moved" => counts.moved,
        "rejected" => counts.rejected,
        "renamed" => counts.renamed,
        "modified" => counts.modified,
        "added" => counts.added,
        "unchanged" => counts.unchanged,
        "ignored" => counts.left_alone,
        _ => 0,
    }
}

impl Page {
    /// Writes the page. `complete`: the whole input was read.
    pub(in super::super) fn write(&mut self, out: &mut dyn Write, complete: bool) -> io::Result<()> {
        self.set_outcomes();
        let total = self.counts.values().fold(Counts::default(), Counts::plus);
        let figures: Vec<(String, &str)> = COLUMNS
            .iter()
            .map(|(word, _)| (*word, number(&total, word)))
            .filter(|(word, count)| *count > 0 || ALWAYS.contains(word))
            .map(|(word, count)| (thousands(count), word))
            .collect();
        let footer = format!(
            "Written by target-ldap {}. Nothing was written to the directory. Passwords and other secrets are not shown.",
            env!("CARGO_PKG_VERSION")
        );
        let facts = [
            ("Directory", breakable(&self.header.server)),
            ("Kind", html! { (visible(&self.header.vendor)) }),
            ("Made", html! { (visible(&self.header.date)) }),
        ];
        let facts = if self.header.server.is_empty() { &[][..] } else { &facts[..] };
        let frame = Frame {
            kind: "Plan",
            title: "What would be changed",
            style: STYLE,
            facts,
            figures: &figures,
            links: &[],
            footer: &footer,
        };
        let (head, tail) = frame.halves();
        out.write_all(head.as_bytes())?;
        out.write_all(self.summary(&total, complete).0.as_bytes())?;
        self.write_rows(out)?;
        out.write_all(tail.as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()
    }

    /// Gives each outcome to its row. Changes without a record count as what they are.
    pub(super) fn set_outcomes(&mut self) {
        let mut outcomes: Vec<(usize, RecordOutcome)> =
            self.tasks.values().filter_map(|(at, outcome)| Some((*at, (*outcome)?))).collect();
        // The outcomes of a held plan are those of its changes.
        let is_held = self.header.is_held;
        let without = self.rows.iter().enumerate().filter(|(_, row)| is_held || row.record.is_none());
        let derived: Vec<(usize, RecordOutcome)> = without.map(|(at, row)| (at, row.derived())).collect();
        for (at, outcome) in &derived {
            let stream = self.rows.get(*at).map(|row| row.stream.to_string()).unwrap_or_default();
            self.counts.entry(stream).or_default().count(*outcome, None);
        }
        outcomes.extend(derived);
        for (at, outcome) in outcomes {
            if let Some(row) = self.rows.get_mut(at) {
                row.outcomes.push(outcome);
            }
        }
    }

    /// Returns the part before the rows: whether the run would be made, the counts, the limits, the command.
    fn summary(&self, total: &Counts, complete: bool) -> Markup {
        html! {
            (self.verdict(total, complete))
            div.top {
                div {
                    // An undo has changes, and no records.
                    @if self.counts.keys().any(|stream| !stream.is_empty()) { (self.counts_table(total)) }
                    @if !self.header.command.is_empty() {
                        section aria-labelledby="command" {
                            h2 #command { "To carry it out" }
                            pre.command { code { (visible(&self.header.command)) } }
                            @if !self.header.command_note.is_empty() { p.note { (self.header.command_note) } }
                            @if self.header.is_held {
                                p.note { "It makes these changes and no others. An entry that has changed since the plan was made is left as it is, and named. Limits do not apply to it." }
                            } @else {
                                @if self.limits.iter().any(LimitUse::is_exceeded) {
                                    p.note { "With these limits it would be held back, too." }
                                    @if !self.header.apply_command.is_empty() {
                                        p.note { "Held back, it leaves its plan. This carries out that plan:" }
                                        pre.command { code { (visible(&self.header.apply_command)) } }
                                    }
                                }
                                p.note { "The run compares its input with the directory again: what has changed since is taken into account." }
                            }
                        }
                    }
                }
                @if !self.limits.is_empty() { (limits(&self.limits)) }
            }
        }
    }

    /// Returns whether the run would be made, and what an approver has to know.
    fn verdict(&self, total: &Counts, complete: bool) -> Markup {
        let over: Vec<&LimitUse> = self.limits.iter().filter(|limit| limit.is_exceeded()).collect();
        let rejected = total.rejected > 0;
        let calm = complete && over.is_empty() && !(rejected && self.header.ends_at_reject);
        // The limits are those of a run, not of an undo.
        let is_worth_saying = self.rows.is_empty() || !self.limits.is_empty();
        html! {
            @if !complete {
                div.verdict.alarm { p { "This plan is not complete: the run failed or was stopped. The log says why." } }
            }
            @for limit in &over {
                div.verdict.alarm {
                    p {
                        strong { @if self.header.is_held { "The run was held back" } @else { "A run would be held back" } } ": it would "
                        @match limit.kind {
                            LimitKind::Delete => { "remove " (thousands(limit.used)) " entries" },
                            LimitKind::Change => { "make " (thousands(limit.used)) " changes" },
                            kind => { (kind.name()) " " (thousands(limit.used)) " entries" },
                        }
                        ", and "
                        code { (visible(&limit.setting)) } " allows " (visible(limit.allowed_text()))
                        @if let Some(stream) = &limit.stream { " in the stream " code { (visible(stream)) } }
                        @if self.header.is_held { ". Nothing was written." } @else { ". Nothing would be written." }
                    }
                }
            }
            @if rejected && self.header.ends_at_reject {
                div.verdict.alarm {
                    p { strong { "A run would end at the first rejected record" } " (" code { "on_error" } ": fail)." }
                }
            }
            @if calm && is_worth_saying {
                div.verdict {
                    p {
                        @if self.rows.is_empty() {
                            "Nothing would be changed."
                        } @else if self.limits.iter().any(|limit| limit.allowed.is_some()) {
                            "The run stays within its limits."
                        } @else {
                            "No limit is set that would hold this run back (" code { "max_deletes" } ", " code { "max_changes" } ")."
                        }
                        @if rejected { " Rejected records are skipped (" code { "on_error" } ": skip)." }
                    }
                    @if total.kept > 0 {
                        p { (thousands(total.kept)) " of the unchanged entries are not deleted: other records of the run have them." }
                    }
                }
            }
            @if self.unseen > 0 {
                div.verdict.alarm { p { (thousands(self.unseen)) " counted changes are not shown below." } }
            }
        }
    }

    fn counts_table(&self, total: &Counts) -> Markup {
        let columns: Vec<&(&str, &str)> =
            COLUMNS.iter().filter(|(word, _)| number(total, word) > 0 || ALWAYS.contains(word)).collect();
        let cells = |counts: &Counts| {
            html! {
                @for (word, heading) in &columns {
                    @let value = number(counts, word);
                    td.number.delete[*word == "deleted" && value > 0].none[value == 0] role="cell" data-label=(heading) data-count-of=(word) {
                        @if value > 0 { (thousands(value)) } @else { span.quiet { "0" } }
                    }
                }
            }
        };
        html! {
            section aria-labelledby="counts" {
                h2 #counts { "Records by stream" }
                table.stack.counts role="table" {
                    caption.unseeable { "Outcomes of the records, as the log counts them" }
                    thead role="rowgroup" {
                        tr role="row" {
                            th scope="col" role="columnheader" { "Stream" }
                            @for (_, heading) in &columns { th.number scope="col" role="columnheader" { (heading) } }
                        }
                    }
                    tbody role="rowgroup" {
                        @for (stream, counts) in &self.counts {
                            tr role="row" data-stream=(visible(stream)) {
                                th scope="row" role="rowheader" {
                                    bdi { (breakable(if stream.is_empty() { "(no stream)" } else { stream })) }
                                }
                                (cells(counts))
                            }
                        }
                    }
                    @if self.counts.len() > 1 {
                        tfoot role="rowgroup" { tr role="row" { th scope="row" role="rowheader" { "All" } (cells(total)) } }
                    }
                }
            }
        }
    }

    fn write_rows(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let mut streams: BTreeMap<Arc<str>, usize> = BTreeMap::new();
        for row in &self.rows {
            let next = streams.len();
            streams.entry(row.stream.clone()).or_insert(next);
        }
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let tools = self.tools(&rows, &streams);
        write!(out, "<div data-list>{}", tools.0)?;
        for (section, id, heading) in SECTIONS {
            let its: Vec<&Row> = rows.iter().filter(|row| row.section() == section).collect();
            if its.is_empty() {
                continue;
            }
            let heading = html! {
                h2 id=(id) {
                    (heading) " " span.number-of data-count=(count(its.len())) { (count(its.len())) }
                }
                (about(section))
            };
            write!(out, "<section class=\"{id}\" aria-labelledby=\"{id}\" data-group>{}", heading.0)?;
            out.write_all(b"<div class=\"rows\">")?;
            let columns = html! {
                div.cols aria-hidden="true" {
                    span { "Change" } span { "Entry" }
                    span { span { "Attribute" } span { "Was" } span { "Will be" } }
                }
            };
            if !matches!(section, Section::Rejected | Section::Added) {
                out.write_all(columns.0.as_bytes())?;
            }
            out.write_all(b"<ol>")?;
            for row in its {
                let stream = streams.get(&row.stream).copied().filter(|_| streams.len() > 1);
                self.write_row(out, row, stream)?;
            }
            out.write_all(b"</ol></div></section>")?;
        }
        out.write_all(b"</div>")
    }

    /// Returns the search and the filters, which need the script.
    fn tools(&self, rows: &[Row], streams: &BTreeMap<Arc<str>, usize>) -> Markup {
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for kind in rows.iter().flat_map(Row::kinds) {
            *kinds.entry(kind).or_default() += 1;
        }
        let differs = OUTCOMES.iter().any(|(_, word)| {
            let counted: u64 = self.counts.values().map(|counts| number(counts, word)).sum();
            kinds.get(word).copied().unwrap_or_default() != counted
        });
        let words = OUTCOMES.iter().map(|(_, word)| *word).chain([ALSO]);
        let shown: Vec<(&str, u64)> = words.filter_map(|word| Some((word, *kinds.get(word)?))).collect();
        html! {
            @if differs {
                p.note { "The counts are of records, and a row is an entry: some entries have several records." }
            }
            div.tools data-tools hidden role="search" {
                label {
                    span.unseeable { "Search names and values" }
                    input type="search" placeholder="Search names and values  ( / )" autocomplete="off" spellcheck="false" data-search;
                }
                div.buttons role="group" aria-label="Kind of change" {
                    @for (word, number) in &shown {
                        button type="button" data-show=(word) aria-pressed="false" {
                            (if *word == ALSO { "also changed" } else { word }) " " strong { (thousands(*number)) }
                        }
                    }
                }
                @if streams.len() > 1 {
                    label {
                        span.unseeable { "Stream" }
                        select data-streams {
                            option value="" { "All streams" }
                            @for (name, number) in streams {
                                option value=(number) { (visible(if name.is_empty() { "(no stream)" } else { name })) }
                            }
                        }
                    }
                }
                span.shown role="status" data-shown="entries" { (count(rows.len())) " entries" }
            }
            p.note.nothing data-nothing hidden { "No entry fits the search and the filters." }
        }
    }

    fn write_row(&mut self, out: &mut dyn Write, row: &Row, stream: Option<usize>) -> io::Result<()> {
        let kinds = row.kinds().join(" ");
        let deleted = if row.has(Part::Deleted) { " deleted" } else { "" };
        write!(out, "<li class=\"row{deleted}\" data-item data-kind=\"{kinds}\"")?;
        if let Some(number) = stream {
            write!(out, " data-stream=\"{number}\"")?;
        }
        write!(out, ">{}<div class=\"how\">", row.head(stream).0)?;
        if let Some(reason) = &row.reason {
            let reason = html! { p.reason { bdi { (visible(reason)) } } };
            out.write_all(reason.0.as_bytes())?;
            if !row.lines.is_empty() || !row.blocks.is_empty() {
                out.write_all(b"<p class=\"quiet\">What would be made before that:</p>")?;
            }
        }
        for piece in &row.blocks {
            self.copy(piece, out)?;
        }
        let (first, rest) = row.lines.split_at_checked(MOST_LINES).unwrap_or((&row.lines, &[]));
        self.table(first, out)?;
        if !rest.is_empty() {
            let summary = html! { summary { (count(rest.len())) " more" } };
            write!(out, "<details class=\"all\">{}", summary.0)?;
            self.table(rest, out)?;
            out.write_all(b"</details>")?;
        }
        out.write_all(b"</div></li>")
    }

    fn table(&mut self, lines: &[Piece], out: &mut dyn Write) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let head = html! {
            thead { tr { th scope="col" { "Attribute" } th scope="col" { "Was" } th scope="col" { "Will be" } } }
        };
        write!(out, "<table class=\"diff\">{}<tbody>", head.0)?;
        for piece in lines {
            self.copy(piece, out)?;
        }
        out.write_all(b"</tbody></table>")
    }

    /// Copies a part of the spooled rows.
    fn copy(&mut self, piece: &Piece, out: &mut dyn Write) -> io::Result<()> {
        self.spool.seek(SeekFrom::Start(piece.start))?;
        let length = piece.end - piece.start;
        let copied = io::copy(&mut (&mut self.spool).take(length), out)?;
        if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// Returns what a section needs said.
fn about(section: Section) -> Markup {
    let text = match section {
        Section::Leaving => "Deleted, moved away or changed by on_delete.",
        Section::Rejected => "Records that would not be written, with the reason.",
        Section::Also => {
            "Changes that come with other records, and are not counted for themselves: missing parents, entries below a deleted one."
        }
        Section::Renamed | Section::Modified | Section::Added => return html! {},
    };
    html! { p { (text) } }
}

fn limits(limits: &[LimitUse]) -> Markup {
    html! {
        section aria-labelledby="limits" {
            h2 #limits { "Limits" }
            ul.limits {
                @for limit in limits {
                    li.over[limit.is_exceeded()] data-limit=(visible(&limit.setting)) {
                        code { (visible(&limit.setting)) }
                        @if let Some(stream) = &limit.stream { " (" bdi { (visible(stream)) } ", " (limit.verb()) ")" }
                        ": " (thousands(limit.used))
                        @match &limit.allowed {
                            Some((most, text)) => { " of " (visible(text)) (bar(limit.used, *most)) },
                            None => span.quiet { ", no limit is set" },
                        }
                    }
                }
            }
            p.note { "Deletions count what leaves, with the entries below it. Changes count each change that is sent: an entry may need several." }
        }
    }
}
