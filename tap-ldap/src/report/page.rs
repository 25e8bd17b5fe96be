//! The HTML of the page. `maud` escapes every `( )` in text and attributes; [`visible`] also makes control characters harmless.

use maud::{Markup, html};
use singer_common::operations::page::{Frame, bar, breakable, count, thousands, visible};

use super::cells::number;
use super::index::index;
use super::quality::Finding;
use super::tree::tree;
use super::{Overall, PageHead, Stream};

const STYLE: &str = include_str!("../../assets/report.css");
/// The most classes in the chart that are not folded.
const MOST_CLASSES: usize = 12;
/// The most attributes that some entries lack, and those of them that are not folded.
const MOST_FINDINGS: usize = 300;
const FIRST_FINDINGS: usize = 8;

pub(super) fn page(
    head: &PageHead,
    streams: &[Stream],
    overview: &[Overall],
    findings: &[Finding],
) -> Markup {
    let footer = format!(
        "Written by tap-ldap {}. This page holds names and counts, never the value of an attribute.",
        env!("CARGO_PKG_VERSION")
    );
    let mut facts = vec![
        ("Server", breakable(head.server)),
        ("Kind", html! { (visible(head.vendor)) }),
        ("Read", html! { (visible(head.date)) }),
    ];
    if let Some(reader) = head.reader {
        facts.push(("As", breakable(reader)));
    }
    facts.push(("Books", html! { (visible(head.books)) }));
    let frame = Frame {
        kind: "Directory report",
        title: if head.base.is_empty() { head.server } else { head.base },
        style: STYLE,
        facts: &facts,
        figures: &figures(streams, overview),
        links: &[("quality", "Data quality"), ("streams", "Streams"), ("attributes", "All attributes")],
        footer: &footer,
    };
    let entries = streams.iter().map(|s| s.sample.entries).sum();
    frame.around(&html! {
        div.top { (classes(streams)) (quality(head, streams, findings)) }
        (tree(streams, findings))
        (index(overview, entries))
    })
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

/// Draws the chart of classes: how many entries of each kind there are.
fn classes(streams: &[Stream]) -> Markup {
    let mut classes: Vec<(&str, u64)> = Vec::new();
    for (name, number) in streams.iter().flat_map(|s| &s.kinds) {
        match classes.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, sum)) => *sum += number,
            None => classes.push((name, *number)),
        }
    }
    classes.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.cmp(b)));
    let most = classes.first().map_or(0, |(_, number)| *number);
    let (first, rest) = classes.split_at_checked(MOST_CLASSES).unwrap_or((&classes, &[]));
    let row = |(name, number): &(&str, u64)| {
        html! {
            li {
                span.class { (breakable(name)) }
                (bar(*number, most))
                span.number { (thousands(*number)) }
            }
        }
    };
    html! {
        section aria-labelledby="classes" {
            h2 #classes { "Entries by class" }
            p { "By structural class; a superclass counts the entries without a subclass." }
            @if classes.is_empty() { p.note { "No entries were read." } }
            ul.chart { @for one in first { (row(one)) } }
            @if !rest.is_empty() {
                details.unseen {
                    summary { (count(rest.len())) " more" }
                    ul.chart { @for one in rest { (row(one)) } }
                }
            }
        }
    }
}

fn quality(head: &PageHead, streams: &[Stream], findings: &[Finding]) -> Markup {
    let sampled = streams.iter().any(|s| !s.sample.complete);
    let doubles = head.doubles.counts();
    let (first, rest) = findings.split_at_checked(FIRST_FINDINGS).unwrap_or((findings, &[]));
    let shown = rest.get(..MOST_FINDINGS - FIRST_FINDINGS).unwrap_or(rest);
    let hidden = rest.len() - shown.len();
    html! {
        section aria-labelledby="quality" {
            h2 #quality { "Data quality" }
            p {
                "From the counts of the entries read" @if sampled { ", which are a sample of some streams" } "."
            }
            @if !doubles.is_empty() {
                h3 { "Values that several entries share" }
                ul.chips.doubles {
                    @for (name, values, doubles) in &doubles {
                        li.chip.warn[*doubles > 0].also[*doubles == 0] {
                            code { (name) } " "
                            @if *doubles > 0 { strong { (thousands(*doubles)) } " of " (thousands(*values)) } @else { "none of " (thousands(*values)) }
                        }
                    }
                }
                @if head.doubles.is_full() { p.note { "There are more values than were compared." } }
            }
            h3 { "Attributes that some entries lack" }
            @if findings.is_empty() {
                p.note { "None that a class requires, and none that more than half of the entries of a class have." }
            } @else {
                (findings_table(streams, first))
                @if !rest.is_empty() {
                    details.unseen {
                        summary { (count(rest.len())) " more" }
                        (findings_table(streams, shown))
                        @if hidden > 0 { p.note { "and " (count(hidden)) " more, which are not shown" } }
                    }
                }
            }
        }
    }
}

fn findings_table(streams: &[Stream], findings: &[Finding]) -> Markup {
    html! {
        table.findings {
            thead {
                tr {
                    th scope="col" data-sort="text" { "Attribute" }
                    th scope="col" data-sort="text" { "Stream" }
                    th.number scope="col" data-sort="number" { "Lack it" }
                }
            }
            tbody {
                @for finding in findings {
                    tr {
                        th scope="row" {
                            code { (visible(finding.attribute)) }
                            @if finding.is_required { " " span.chip.warn { "required" } }
                        }
                        td {
                            @if let Some(stream) = streams.get(finding.stream) {
                                a href={ "#stream-" (finding.stream) } { (breakable(&stream.entry.stream)) }
                            }
                            @if !finding.class.is_empty() { " " span.quiet { (breakable(finding.class)) } }
                        }
                        td.number data-value=(finding.lacks()) {
                            (thousands(finding.lacks())) " " span.quiet { "of " (thousands(finding.of)) }
                            (bar(finding.lacks(), finding.of))
                        }
                    }
                }
            }
        }
    }
}
