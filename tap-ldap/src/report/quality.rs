//! Data quality: what most entries of a class have and some lack, what a class requires and some lack.
//!
//! It follows from the counts of the sample alone: no value is looked at.

use ldap_directory::entry::base_type;
use ldap_directory::schema::Schema;

use super::Stream;

/// A stream with fewer entries of a class says nothing about what is usual.
const FEWEST: u64 = 10;

/// An attribute that some entries lack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding<'a> {
    /// The stream, by its place on the page.
    pub(super) stream: usize,
    pub(super) attribute: &'a str,
    /// The entries that have it.
    pub(super) has: u64,
    /// The entries that could have it: those of the class.
    pub(super) of: u64,
    /// The class that allows or requires it; empty if none is known.
    pub(super) class: &'a str,
    /// Whether the class requires it (MUST, RFC 4512 section 4.1.1).
    pub(super) is_required: bool,
}

impl Finding<'_> {
    /// The entries that lack it.
    pub(super) fn lacks(&self) -> u64 {
        self.of.saturating_sub(self.has)
    }
}

/// Returns the findings: required attributes first, then those that the fewest entries lack.
pub(super) fn findings<'a>(streams: &[Stream<'a>], schema: &Schema) -> Vec<Finding<'a>> {
    let mut findings: Vec<Finding<'a>> =
        streams.iter().enumerate().flat_map(|(at, stream)| of_stream(at, stream, schema)).collect();
    findings.sort_by_key(|f| (!f.is_required, f.lacks(), f.stream));
    findings
}

fn of_stream<'a>(at: usize, stream: &Stream<'a>, schema: &Schema) -> Vec<Finding<'a>> {
    let same = |a: &str, b: &str| schema.same_description(a, b);
    // Each class with what it requires and allows.
    let classes: Vec<(&str, u64, Vec<&str>, Vec<&str>)> = stream
        .sample
        .classes
        .iter()
        .map(|(name, count)| {
            let (must, may) = schema.must_may([name.as_str()]);
            (name.as_str(), *count, must, may)
        })
        .collect();
    // `cn;lang-de` counts as `cn`: an entry with one of them does not lack it, and how many have both is not known.
    let with_options: Vec<&str> =
        stream.seen.iter().map(|a| a.name).filter(|name| name.contains(';')).map(base_type).collect();
    let mut findings = Vec::new();
    let attributes = stream.seen.iter().chain(&stream.unseen);
    for attribute in attributes.filter(|a| a.name != "dn" && !a.name.contains(';')) {
        let name = attribute.name;
        if with_options.iter().any(|other| same(other, name)) {
            continue;
        }
        let finding = |class: &'a str, of: u64, is_required: bool| Finding {
            stream: at,
            attribute: name,
            has: attribute.entries,
            of,
            class,
            is_required,
        };
        let requires = classes.iter().filter(|(_, _, must, _)| must.iter().any(|m| same(m, name)));
        // The most special class is the one with the fewest entries among those that lack it.
        let lacking = requires.clone().filter(|(_, count, ..)| *count > attribute.entries);
        if let Some((class, count, ..)) = lacking.max_by_key(|(_, count, ..)| *count) {
            findings.push(finding(class, *count, true));
            continue;
        }
        if requires.clone().next().is_some() {
            continue;
        }
        let allows = classes.iter().filter(|(_, _, _, may)| may.iter().any(|m| same(m, name)));
        let (class, of) = allows
            .max_by_key(|(_, count, ..)| *count)
            .map_or(("", stream.sample.entries), |(class, count, ..)| (*class, *count));
        // More than half of them have it.
        if of >= FEWEST && attribute.entries < of && attribute.entries > of / 2 {
            findings.push(finding(class, of, false));
        }
    }
    findings
}
