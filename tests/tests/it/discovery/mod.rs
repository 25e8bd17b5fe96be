//! Discovery: the catalog, types, the choice of streams and attributes, and the HTML report.

mod attribute_selection;
mod catalog;
mod excluded_subtrees;
pub(crate) mod html_report;
mod streams;
mod syntaxes;
