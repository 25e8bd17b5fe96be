//! The HTML of the page. `maud` escapes every `( )` in text and attributes; [`visible`] also makes control characters harmless.

use maud::{Markup, html};
use singer_common::operations::page::{Frame, breakable, count, plural, thousands, visible};

use super::{Attribute, Label, Overall, PageHead, Stream, syntaxes};

const STYLE: &str = include_str!("../../assets/report.css");
/// The most streams that are linked for an attribute.
const MOST_LINKS: usize = 5;
/// The most classes in a row of the tree.
const MOST_KINDS: usize = 3;

pub(super) fn page(head: &PageHead, streams: &[Stream], overview: &[Overall]) -> Markup {
    let footer = format!(
        "Written by tap-ldap {}. This page holds names and counts, never the value of an attribute.",
        env!("CARGO_PKG_VERSION")
    );
    let facts = [
        ("Server", breakable(head.server)),
        ("Kind", html! { (visible(head.vendor)) }),
        ("Read", html! { (visible(head.date)) }),
        ("Books", html! { (visible(head.books)) }),
    ];
    let frame = Frame {
        kind: "Directory report",
        title: if head.base.is_empty() { head.server } else { head.base },
        style: STYLE,
        facts: &facts,
        figures: &figures(streams, overview),
        links: &[("streams", "Streams"), ("attributes", "All attributes")],
        footer: &footer,
    };
    frame.around(&html! { (tree(streams)) (index(streams, overview)) })
}

fn figures(streams: &[Stream], overview: &[Overall]) -> [(String, &'static str); 4] {
    let entries = streams.iter().map(|s| s.sample.entries).sum();
    let complete = streams.iter().all(|s| s.sample.complete);
    let mut classes: Vec<String> =
        streams.iter().flat_map(|s| &s.sample.classes).map(|(name, _)| name.to_ascii_lowercase()).collect();
    classes.sort_unstable();
    classes.dedup();
    let in_use = overview.iter().filter(|o| !o.streams.is_empty()).count();
    [
        (count(streams.len()), "streams"),
        (number(entries, complete), "entries read"),
        (count(classes.len()), "object classes"),
        (count(in_use), "attributes in use"),
    ]
}

fn tree(streams: &[Stream]) -> Markup {
    let sampled = streams.iter().any(|s| !s.sample.complete);
    html! {
        section aria-labelledby="streams" {
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
            (level(streams, 0))
        }
    }
}

/// Draws streams of one depth, each with the following deeper ones.
fn level(streams: &[Stream], first: usize) -> Markup {
    let depth = streams.first().map_or(0, |s| s.depth);
    let starts: Vec<usize> =
        streams.iter().enumerate().filter(|(_, s)| s.depth <= depth).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([streams.len()]);
    html! {
        ul.tree {
            @for (start, end) in starts.iter().copied().zip(ends) {
                @if let Some([head, below @ ..]) = streams.get(start..end) {
                    li {
                        (stream(head, first + start))
                        @if !below.is_empty() { (level(below, first + start + 1)) }
                    }
                }
            }
        }
    }
}

fn stream(stream: &Stream, at: usize) -> Markup {
    let whole = stream.sample.entries;
    let entry = stream.entry;
    html! {
        details.stream {
            summary {
                span.what {
                    h3 { (label(&stream.label)) }
                    span.also {
                        @if !matches!(&stream.label, Label::Whole(label) if *label == entry.stream) {
                            code.stream-name { (breakable(&entry.stream)) }
                        }
                        @if !stream.kinds.is_empty() { span.kinds { (kinds(&stream.kinds)) } }
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
                }
            }
            div.body {
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

fn kinds(kinds: &[&str]) -> Markup {
    html! {
        @for (n, kind) in kinds.iter().take(MOST_KINDS).enumerate() {
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
        table role="table" {
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
                            span.bar aria-hidden="true" { span style={ "width:" (width(attribute.entries, whole)) "%" } {} }
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

fn name(attribute: &Attribute) -> Markup {
    html! {
        th scope="row" role="rowheader" {
            code { (visible(attribute.name)) }
            @if attribute.key { " " span.tag { "key" } }
            @if let Some(description) = attribute.description { p { (visible(description)) } }
        }
    }
}

fn syntax(oid: Option<&str>) -> Markup {
    html! {
        @match oid {
            None => span.quiet { "not in the schema" },
            Some(oid) => {
                @if let Some(name) = syntaxes::name(oid) { (name) " " }
                small { (breakable(oid)) }
            }
        }
    }
}

/// Draws every attribute once.
fn index(streams: &[Stream], overview: &[Overall]) -> Markup {
    let (used, unused): (Vec<&Overall>, Vec<&Overall>) = overview.iter().partition(|o| !o.streams.is_empty());
    html! {
        section aria-labelledby="attributes" {
            h2 #attributes { "All attributes" }
            p { "By name, with the streams that have most of them." }
            (index_table("Attributes in use", streams, &used, true))
            @if !unused.is_empty() {
                details.unseen {
                    summary { (plural(unused.len(), "attribute")) " more that the schema allows, in no entry read" }
                    (index_table("Attributes not in use", streams, &unused, false))
                }
            }
        }
    }
}

fn index_table(caption: &str, streams: &[Stream], rows: &[&Overall], used: bool) -> Markup {
    html! {
        table role="table" {
            caption.unseeable { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    th scope="col" role="columnheader" { "Attribute" }
                    th scope="col" role="columnheader" { "Type" }
                    th scope="col" role="columnheader" { "Syntax" }
                    @if used {
                        th.number scope="col" role="columnheader" { "In entries" }
                        th.number scope="col" role="columnheader" { "Several values" }
                        th scope="col" role="columnheader" { "Streams" }
                    }
                }
            }
            tbody role="rowgroup" {
                @for Overall { attribute, json_types, streams: found } in rows {
                    tr role="row" {
                        (name(&Attribute { key: false, ..attribute.clone() }))
                        td.type role="cell" { (json_types.join(", ")) }
                        td.syntax role="cell" { (syntax(attribute.syntax)) }
                        @if used {
                            td.number role="cell" data-label="In entries" { (thousands(attribute.entries)) }
                            td.number role="cell" data-label="Several values" {
                                @if attribute.several > 0 { (thousands(attribute.several)) } @else { span.quiet { "0" } }
                            }
                            td.links role="cell" data-label="Streams" { (links(streams, found)) }
                        }
                    }
                }
            }
        }
    }
}

fn links(streams: &[Stream], found: &[(usize, u64)]) -> Markup {
    html! {
        @for (n, (at, _)) in found.iter().take(MOST_LINKS).enumerate() {
            @if n > 0 { ", " }
            @if let Some(stream) = streams.get(*at) {
                a href={ "#stream-" (at) } { (visible(&stream.entry.stream)) }
            }
        }
        @if let Some(more) = found.len().checked_sub(MOST_LINKS).filter(|more| *more > 0) {
            " and " (count(more)) " more"
        }
    }
}

fn by_count(classes: &[(String, u64)]) -> Vec<(&str, u64)> {
    let mut classes: Vec<(&str, u64)> = classes.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    classes.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    classes
}

/// Returns a number of entries: `1,000+` if there are more than were read.
fn number(entries: u64, complete: bool) -> String {
    thousands(entries) + if complete { "" } else { "+" }
}

/// Returns a share in percent; 100% and 0% are only shown if they are exact.
pub(super) fn percent(part: u64, whole: u64) -> String {
    match width(part, whole) {
        0 if part > 0 => "<1%".to_owned(),
        n => format!("{n}%"),
    }
}

fn width(part: u64, whole: u64) -> u64 {
    u64::try_from(u128::from(part) * 100 / u128::from(whole.max(1))).unwrap_or(100).min(100)
}
