//! Parts that several tables share.

use maud::{Markup, html};
use singer_common::operations::page::{breakable, thousands, visible};

use super::{Attribute, syntaxes};

pub(super) fn name(attribute: &Attribute) -> Markup {
    html! {
        th scope="row" role="rowheader" {
            code { (visible(attribute.name)) }
            @if attribute.key { " " span.tag { "key" } }
            @if let Some(description) = attribute.description { p { (visible(description)) } }
        }
    }
}

pub(super) fn syntax(oid: Option<&str>) -> Markup {
    html! {
        @match oid {
            None => span.chip.warn { "not in the schema" },
            Some(oid) => {
                @if let Some(name) = syntaxes::name(oid) { (name) " " }
                small { (breakable(oid)) }
            }
        }
    }
}

/// Returns a number of entries: `1,000+` if there are more than were read.
pub(super) fn number(entries: u64, complete: bool) -> String {
    thousands(entries) + if complete { "" } else { "+" }
}
