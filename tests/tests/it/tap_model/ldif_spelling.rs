//! Random entries as LDIF: the many ways in which RFC 2849, and tools, write the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::random_entries::{Attribute, Entry};
use crate::support::rng::Rng;

/// What a file says of its own end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Nothing: nobody can know more.
    Silent,
    /// That it is all.
    Complete,
    /// That there is more than it has.
    CutOff,
    /// That some of it lies on other servers.
    Referred,
}

/// What a file is like, apart from its entries.
#[derive(Debug, Clone)]
pub(super) struct Style {
    pub(super) end: End,
    /// Whether the last range of a list is missing in each list that has ranges.
    pub(super) loses_ranges: bool,
    seed: u64,
}

impl Style {
    pub(super) fn random(rng: &mut Rng) -> Style {
        let end = match rng.below(20) {
            0..10 => End::Silent,
            10..15 => End::Complete,
            15..18 => End::CutOff,
            _ => End::Referred,
        };
        Style { end, loses_ranges: rng.chance(5), seed: u64::try_from(rng.below(1_000_000)).unwrap() }
    }
}

/// A file's text.
pub(super) struct Written {
    pub(super) text: Vec<u8>,
    /// Whether some list of values has no last range.
    pub(super) has_open_lists: bool,
}

/// Writes them all.
pub(super) fn write(entries: &[Entry], style: &Style) -> Written {
    let mut rng = Rng::new(style.seed);
    let mut writer = Writer {
        crlf: rng.chance(15),
        fold: if rng.chance(50) { 20 + rng.below(60) } else { 100_000 },
        encodes: if rng.chance(30) { 30 } else { 0 },
        loses_ranges: style.loses_ranges,
        has_open_lists: false,
        rng,
        text: Vec::new(),
    };
    if writer.rng.chance(5) {
        writer.text.extend("\u{feff}".as_bytes());
    }
    if writer.rng.chance(30) {
        writer.line("version: 1");
        writer.line("");
    }
    let mut order: Vec<&Entry> = entries.iter().collect();
    if writer.rng.chance(30) {
        for at in (1..order.len()).rev() {
            let other = writer.rng.below(at + 1);
            order.swap(at, other);
        }
    }
    for entry in order {
        if writer.rng.chance(10) {
            writer.line("# a comment that is folded, and so goes on in the next line,");
            writer.line("  as comments do");
        }
        writer.entry(entry);
        writer.line("");
    }
    writer.end(style.end);
    Written { text: writer.text, has_open_lists: writer.has_open_lists }
}

struct Writer {
    crlf: bool,
    fold: usize,
    encodes: usize,
    loses_ranges: bool,
    has_open_lists: bool,
    rng: Rng,
    text: Vec<u8>,
}

impl Writer {
    fn line(&mut self, line: &str) {
        self.octets(line.as_bytes());
    }

    fn octets(&mut self, line: &[u8]) {
        let end: &[u8] = if self.crlf { b"\r\n" } else { b"\n" };
        self.text.extend(line);
        self.text.extend(end);
    }

    fn pair(&mut self, name: &str, value: &[u8]) {
        let first_is_safe = value.first().is_none_or(|b| !b" :<".contains(b));
        let is_safe = first_is_safe && !value.ends_with(b" ") && value.iter().all(|b| (32..127).contains(b));
        let line = if is_safe && !self.rng.chance(self.encodes) {
            [name.as_bytes(), b": ", value].concat()
        } else {
            format!("{name}:: {}", STANDARD.encode(value)).into_bytes()
        };
        let (first, rest) = line.split_at(line.len().min(self.fold));
        self.octets(first);
        for piece in rest.chunks(self.fold) {
            self.octets(&[b" ", piece].concat());
        }
    }

    fn entry(&mut self, entry: &Entry) {
        self.pair("dn", entry.dn.as_bytes());
        let mut lines: Vec<(String, Vec<u8>)> = Vec::new();
        for class in &entry.classes {
            lines.push(("objectClass".to_owned(), class.as_bytes().to_vec()));
        }
        for attribute in &entry.attributes {
            self.attribute(attribute, &mut lines);
        }
        if self.rng.chance(20) {
            for at in (1..lines.len()).rev() {
                let other = self.rng.below(at + 1);
                lines.swap(at, other);
            }
        }
        for (name, value) in lines {
            self.pair(&name, &value);
        }
    }

    /// The lines of an attribute: under one description or several, and some lists in ranges, as Active Directory gives
    /// them ([MS-ADTS] 3.1.1.3.1.3.3).
    fn attribute(&mut self, attribute: &Attribute, lines: &mut Vec<(String, Vec<u8>)>) {
        let count = attribute.values.len();
        let in_ranges = attribute.name == "member" && count > 1 && self.rng.chance(40);
        let cut = 1 + if count > 1 { self.rng.below(count - 1) } else { 0 };
        let mixes = self.rng.chance(30);
        let one = self.description(attribute);
        for (n, value) in attribute.values.iter().enumerate() {
            let description = match (in_ranges, n < cut) {
                (true, true) => format!("member;range=0-{}", cut - 1),
                (true, false) if self.loses_ranges => {
                    self.has_open_lists = true;
                    continue;
                }
                (true, false) => format!("member;range={cut}-*"),
                (false, _) if mixes => self.description(attribute),
                (false, _) => one.clone(),
            };
            lines.push((description, value.clone()));
        }
    }

    fn description(&mut self, attribute: &Attribute) -> String {
        if attribute.aliases.is_empty() || self.rng.chance(70) {
            attribute.name.to_owned()
        } else {
            (*self.rng.pick(attribute.aliases)).to_owned()
        }
    }

    fn end(&mut self, end: End) {
        let result = match end {
            End::Silent => return,
            End::Complete => "0 Success",
            End::CutOff => *self.rng.pick(&[
                "4 Size limit exceeded",
                "3 Time limit exceeded",
                "11 Administrative limit exceeded",
                "51 Server is busy",
                "80 Other (e.g., implementation specific) error",
            ]),
            End::Referred => {
                self.line("# search reference");
                self.line("ref: ldap://other.example.test/ou=far,dc=x??sub");
                self.line("");
                "0 Success"
            }
        };
        self.line("# search result");
        self.line("search: 2");
        self.line(&format!("result: {result}"));
        self.line("");
        self.line("# numResponses: 7");
    }
}
