//! The tree of streams.

use maud::{Markup, html};
use singer_common::operations::page::{bar, breakable, count, percent, plural, thousands, visible};

use super::cells::{name, number, syntax};
use super::quality::Finding;
use super::{Attribute, Label, Stream};

/// The most classes in a row of the tree.
const MOST_KINDS: usize = 3;
/// A tree with at most this many streams is open as a whole, a larger one down to [`OPEN_DEPTH`].
const FEW: usize = 60;
const OPEN_DEPTH: usize = 2;

/// What is the same for all rows.
struct Tree<'a> {
    findings: &'a [Finding<'a>],
    /// The entries of all streams.
    entries: u64,
    is_small: bool,
}

pub(super) fn tree(streams: &[Stream], findings: &[Finding]) -> Markup {
    let sampled = streams.iter().any(|s| !s.sample.complete);
    let entries = streams.iter().map(|s| s.sample.entries).sum();
    let tree = Tree { findings, entries, is_small: streams.len() <= FEW };
    let has_branches = streams.iter().any(|s| s.below.is_some());
    html! {
        section aria-labelledby="streams" data-list {
            h2 #streams { "Streams" }
            p {
                "Each row is a stream of the tap. A container holds the entries below it down to the next container. "
                "Open a row for its classes and attributes."
            }
            @if sampled {
                p.note {
                    "A count with “+ (sample)” is of the entries read: the stream has more, and all its figures are those of "
                    "the sample."
                }
            }
            div.tools data-tools hidden role="search" {
                label {
                    span.unseeable { "Search streams, classes and attributes" }
                    input type="search" placeholder="Search streams, classes, attributes  ( / )" autocomplete="off" spellcheck="false" data-search;
                }
                div.buttons role="group" aria-label="Order" {
                    button type="button" data-order="name" aria-pressed="true" { "By name" }
                    button type="button" data-order="entries" aria-pressed="false" { "By entries" }
                }
                @if has_branches {
                    div.buttons role="group" aria-label="Fold" {
                        button type="button" data-fold="open" { "Open all" }
                        button type="button" data-fold="closed" { "Close all" }
                    }
                }
                span.shown role="status" data-shown="streams" { (plural(streams.len(), "stream")) }
            }
            p.note.nothing data-nothing hidden { "No stream fits the search." }
            (tree.level(streams, 0))
        }
    }
}

impl Tree<'_> {
    /// Draws streams of one depth, each with the following deeper ones.
    fn level(&self, streams: &[Stream], first: usize) -> Markup {
        let depth = streams.first().map_or(0, |s| s.depth);
        let starts: Vec<usize> =
            streams.iter().enumerate().filter(|(_, s)| s.depth <= depth).map(|(at, _)| at).collect();
        let ends = starts.iter().skip(1).copied().chain([streams.len()]);
        html! {
            ul.tree data-siblings {
                @for (start, end) in starts.iter().copied().zip(ends) {
                    @if let Some([head, below @ ..]) = streams.get(start..end) {
                        (self.branch(head, below, first + start))
                    }
                }
            }
        }
    }

    fn branch(&self, head: &Stream, below: &[Stream], at: usize) -> Markup {
        let entries = head.sample.entries + head.below.map_or(0, |(entries, _)| entries);
        html! {
            li data-item data-entries=(entries) {
                @if below.is_empty() {
                    details.stream { (self.row(head, at)) (body(head, at)) }
                } @else {
                    details.stream data-branch open[self.is_small || head.depth < OPEN_DEPTH] {
                        (self.row(head, at))
                        details.inside {
                            summary { "Own classes, attributes and key" }
                            (body(head, at))
                        }
                        (self.level(below, at + 1))
                    }
                }
            }
        }
    }

    fn row(&self, stream: &Stream, at: usize) -> Markup {
        let whole = stream.sample.entries;
        let entry = stream.entry;
        let with_below = whole + stream.below.map_or(0, |(entries, _)| entries);
        html! {
            summary data-own {
                span.what {
                    h3 { (label(&stream.label)) }
                    span.also {
                        @if !matches!(&stream.label, Label::Whole(label) if *label == entry.stream) {
                            code.stream-name { (breakable(&entry.stream)) }
                        }
                        @if !stream.kinds.is_empty() { span.kinds { (kinds(&stream.kinds)) } }
                        (self.chips(stream, at))
                    }
                }
                span.count {
                    span.own {
                        strong class=[(whole == 0).then_some("none")] { (number(whole, stream.sample.complete)) }
                        " " @if whole == 1 && stream.sample.complete { "entry" } @else { "entries" }
                    }
                    @if !stream.sample.complete { " " span.also-count { "(sample)" } }
                    @if let Some((entries, complete)) = stream.below {
                        " " span.also-count { (number(entries, complete)) " below" }
                    }
                    (bar(with_below, self.entries))
                }
            }
        }
    }

    /// Draws what is unusual about a stream.
    fn chips(&self, stream: &Stream, at: usize) -> Markup {
        let its = || self.findings.iter().filter(|f| f.stream == at);
        let required = its().filter(|f| f.is_required).count();
        let lacking = its().count() - required;
        let unknown = stream.seen.iter().filter(|a| a.syntax.is_none()).count();
        let without_id = stream.sample.without_id;
        html! {
            @if required + lacking + unknown > 0 || without_id > 0 || stream.sample.entries == 0 {
                span.chips {
                    @if stream.sample.entries == 0 { span.chip.also { "empty" } " " }
                    @if required > 0 { span.chip.warn { (count(required)) " required missing" } " " }
                    @if without_id > 0 { span.chip.warn { (thousands(without_id)) " without id" } " " }
                    @if unknown > 0 { span.chip.warn { (count(unknown)) " not in the schema" } " " }
                    @if lacking > 0 { span.chip.also { (count(lacking)) " partly filled" } }
                }
            }
        }
    }
}

fn body(stream: &Stream, at: usize) -> Markup {
    let whole = stream.sample.entries;
    let entry = stream.entry;
    html! {
        div.body data-own {
            // A link to an element in a closed section opens the section.
            dl.facts id={ "stream-" (at) } {
                div { dt { "Stream" } dd { code { (breakable(&entry.stream)) } } }
                div { dt { "Identifier" } dd { code { (breakable(&entry.tap_stream_id)) } } }
                div {
                    dt { "Key" }
                    dd {
                        @for (n, key) in entry.key_properties.iter().enumerate() {
                            @if n > 0 { ", " }
                            code { (visible(key)) }
                        }
                    }
                }
            }
            @if whole == 0 {
                p.note { "No entries." }
            } @else {
                h4 { "Classes" }
                ul.classes {
                    @for (name, number) in by_count(&stream.sample.classes) {
                        li { (visible(name)) " " strong { (thousands(number)) } }
                    }
                }
                h4 { "Attributes" }
                (attributes(&stream.seen, whole, &entry.stream))
            }
            @if !stream.unseen.is_empty() {
                details.unseen {
                    summary { (plural(stream.unseen.len(), "attribute")) " more, in no entry read" }
                    p.names {
                        @for (n, attribute) in stream.unseen.iter().enumerate() {
                            @if n > 0 { ", " }
                            code { (visible(attribute.name)) }
                            @if attribute.by_default { " (selected)" }
                        }
                    }
                }
            }
        }
    }
}

fn label(label: &Label) -> Markup {
    html! {
        @match label {
            Label::Whole(text) => bdi { (breakable(text)) },
            Label::Relative { kind, value, between } => {
                bdi { span.quiet { (visible(kind)) "=" } (breakable(value)) }
                @if !between.is_empty() { " " bdi.quiet { "in " (breakable(between)) } }
            }
        }
    }
}

fn kinds(kinds: &[(&str, u64)]) -> Markup {
    html! {
        @for (n, (kind, _)) in kinds.iter().take(MOST_KINDS).enumerate() {
            @if n > 0 { ", " }
            (visible(kind))
        }
        @if let Some(more) = kinds.len().checked_sub(MOST_KINDS).filter(|more| *more > 0) {
            " and " (count(more)) " more"
        }
    }
}

// The roles say what the elements are anyway: styled as blocks on a narrow screen, they would lose them.
// https://www.w3.org/TR/html-aam-1.0/#el-table
fn attributes(attributes: &[Attribute], whole: u64, stream: &str) -> Markup {
    html! {
        table.stack.attributes role="table" {
            caption.unseeable { "Attributes of " (visible(stream)) }
            thead role="rowgroup" {
                tr role="row" {
                    th scope="col" role="columnheader" { "Attribute" }
                    th scope="col" role="columnheader" { "Type" }
                    th scope="col" role="columnheader" { "Syntax" }
                    th.number scope="col" role="columnheader" { "In entries" }
                    th.number scope="col" role="columnheader" { "Several values" }
                    th scope="col" role="columnheader" { "Selected" }
                }
            }
            tbody role="rowgroup" {
                @for attribute in attributes {
                    tr role="row" {
                        (name(attribute))
                        td.type role="cell" { (attribute.json_type) }
                        td.syntax role="cell" { (syntax(attribute.syntax)) }
                        td.number.share role="cell" data-label="In entries" {
                            span { (thousands(attribute.entries)) " " span.quiet { (percent(attribute.entries, whole)) } }
                            (bar(attribute.entries, whole))
                        }
                        td.number role="cell" data-label="Several values" {
                            @if attribute.several > 0 { (thousands(attribute.several)) } @else { span.quiet { "0" } }
                        }
                        td role="cell" data-label="Selected by default" {
                            @if attribute.by_default { "yes" } @else { span.quiet { "no" } }
                        }
                    }
                }
            }
        }
    }
}

fn by_count(classes: &[(String, u64)]) -> Vec<(&str, u64)> {
    let mut classes: Vec<(&str, u64)> = classes.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    classes.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    classes
}
