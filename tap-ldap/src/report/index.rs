//! Every attribute once.

use maud::{Markup, html};
use singer_common::operations::page::{bar, count, plural, thousands};

use super::cells::{name, syntax};
use super::{Attribute, Overall};

/// Draws every attribute once. `entries`: those of all streams.
pub(super) fn index(overview: &[Overall], entries: u64) -> Markup {
    let (used, unused): (Vec<&Overall>, Vec<&Overall>) = overview.iter().partition(|o| !o.streams.is_empty());
    html! {
        section aria-labelledby="attributes" data-list {
            h2 #attributes { "All attributes" }
            p { "By name, with the number of entries and streams that have them." }
            div.tools data-tools hidden role="search" {
                label {
                    span.unseeable { "Search attributes" }
                    input type="search" placeholder="Search attributes" autocomplete="off" spellcheck="false" data-search;
                }
                span.shown role="status" data-shown="attributes" { (plural(overview.len(), "attribute")) }
            }
            p.note.nothing data-nothing hidden { "No attribute fits the search." }
            (table("Attributes in use", &used, Some(entries)))
            @if !unused.is_empty() {
                details.unseen data-branch {
                    summary { (plural(unused.len(), "attribute")) " more that the schema allows, in no entry read" }
                    (table("Attributes not in use", &unused, None))
                }
            }
        }
    }
}

/// Draws a table of attributes. `entries`: with the figures of those in use.
fn table(caption: &str, rows: &[&Overall], entries: Option<u64>) -> Markup {
    html! {
        table.stack.overview role="table" {
            caption.unseeable { (caption) }
            thead role="rowgroup" {
                tr role="row" {
                    th scope="col" role="columnheader" data-sort="text" { "Attribute" }
                    th scope="col" role="columnheader" data-sort="text" { "Type" }
                    th scope="col" role="columnheader" data-sort="text" { "Syntax" }
                    @if entries.is_some() {
                        th.number scope="col" role="columnheader" data-sort="number" { "In entries" }
                        th.number scope="col" role="columnheader" data-sort="number" { "Several values" }
                        th.number scope="col" role="columnheader" data-sort="number" { "Streams" }
                    }
                }
            }
            tbody role="rowgroup" {
                @for Overall { attribute, json_types, streams: found } in rows {
                    tr role="row" data-item {
                        (name(&Attribute { key: false, ..attribute.clone() }))
                        td.type role="cell" { (json_types.join(", ")) }
                        td.syntax role="cell" { (syntax(attribute.syntax)) }
                        @if let Some(entries) = entries {
                            td.number.share role="cell" data-value=(attribute.entries) data-label="In entries" {
                                span { (thousands(attribute.entries)) }
                                (bar(attribute.entries, entries))
                            }
                            td.number role="cell" data-value=(attribute.several) data-label="Several values" {
                                @if attribute.several > 0 { (thousands(attribute.several)) } @else { span.quiet { "0" } }
                            }
                            td.number role="cell" data-value=(found.len()) data-label="Streams" { (count(found.len())) }
                        }
                    }
                }
            }
        }
    }
}
