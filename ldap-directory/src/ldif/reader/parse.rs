//! The parser of one record, from its lines (RFC 2849).

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::dump::Trailer;
use super::{LdifError, LdifErrorKind, RawRecord, Record, is_description};
use crate::change::{Change, Modification, ModificationKind};
use crate::entry::{Attribute, Entry};

/// The lines that `ldapsearch` prints after the entries, in records without a `dn`.
const SEARCH_RESULT_LINES: [&str; 12] = [
    "search",
    "result",
    "matchedDN",
    "text",
    "control",
    "ref",
    "pagedresults",
    "sortResult",
    "vlvResult",
    "ppolicy",
    "extended",
    "data",
];

type KindResult<T> = Result<T, LdifErrorKind>;

fn syntax<T>(message: impl Into<String>) -> KindResult<T> {
    Err(LdifErrorKind::Syntax(message.into()))
}

/// A value specification of a line.
#[derive(Clone, Copy)]
enum Spec<'a> {
    Plain(&'a [u8]),
    Base64(&'a [u8]),
    Url(&'a [u8]),
}

/// The result of parsing a record.
pub(crate) enum Parsed {
    /// An entry or a change.
    Record(Record),
    /// The closing lines of `ldapsearch`.
    Trailer(Trailer),
    /// `version: 1` alone.
    Nothing,
}

/// A line of a record.
#[derive(Clone, Copy)]
enum Line<'a> {
    /// `-`, the end of a modification.
    Dash,
    /// `name: value`.
    Pair(&'a str, Spec<'a>),
}

/// Parses the lines of a record. `at` is the current line, for messages.
pub(crate) struct Parser<'a> {
    raw: &'a RawRecord,
    allow_urls: bool,
    room: usize,
    limit: usize,
    next: usize,
    at: u64,
    dn: Option<String>,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(raw: &'a RawRecord, allow_urls: bool, limit: usize) -> Self {
        let room = limit.saturating_sub(raw.cost());
        Self { raw, allow_urls, room, limit, next: 0, at: 0, dn: None }
    }

    /// Parses the record.
    pub(crate) fn record(mut self) -> Result<Parsed, LdifError> {
        self.parse().map_err(|kind| LdifError { line: self.at, dn: self.dn, kind })
    }

    fn parse(&mut self) -> KindResult<Parsed> {
        // `version: 1` begins a file; it stands in the middle if files were concatenated.
        if let Some(Line::Pair(name, spec)) = self.peek()?
            && name.eq_ignore_ascii_case("version")
        {
            if self.text("version", spec)?.trim() != "1" {
                return Err(LdifErrorKind::Version);
            }
            self.next += 1;
        }
        let (name, spec) = match self.peek()? {
            None => return Ok(Parsed::Nothing),
            Some(Line::Pair(name, spec)) => (name, spec),
            Some(Line::Dash) => ("-", Spec::Plain(&[])),
        };
        if !name.eq_ignore_ascii_case("dn") {
            if self.is_search_result() {
                return Ok(Parsed::Trailer(self.trailer()));
            }
            if name.eq_ignore_ascii_case("include") {
                return syntax(
                    "`include:` is not carried out: put the records of that file here, or give each file by itself",
                );
            }
            return syntax("a record begins with its name: the line `dn: …` is missing");
        }
        self.next += 1;
        let dn = self.text("dn", spec)?;
        self.dn = Some(dn.clone());
        while let Some(Line::Pair(name, spec)) = self.peek()?
            && name.eq_ignore_ascii_case("control")
        {
            self.control(spec)?;
            self.next += 1;
        }
        match self.peek()? {
            Some(Line::Pair(name, spec)) if name.eq_ignore_ascii_case("changetype") => {
                self.next += 1;
                let kind = self.text("changetype", spec)?;
                Ok(Parsed::Record(Record::Change(self.change(dn, kind.trim())?)))
            }
            _ => Ok(Parsed::Record(Record::Entry(self.entry(dn)?))),
        }
    }

    /// Returns the next line without consuming it.
    fn peek(&mut self) -> KindResult<Option<Line<'a>>> {
        let Some((number, text)) = self.raw.line(self.next) else { return Ok(None) };
        self.at = number;
        split(text).map(Some)
    }

    fn pop(&mut self) -> KindResult<Option<Line<'a>>> {
        let line = self.peek()?;
        self.next += 1;
        Ok(line)
    }

    /// Returns whether all lines are of the kind that `ldapsearch` prints after the entries.
    fn is_search_result(&self) -> bool {
        (self.next..self.raw.lines.len()).all(|index| {
            self.raw.line(index).is_some_and(|(_, text)| match split(text) {
                Ok(Line::Pair(name, _)) => SEARCH_RESULT_LINES.iter().any(|n| n.eq_ignore_ascii_case(name)),
                _ => false,
            })
        })
    }

    /// Parses such lines. Invalid ones are skipped.
    fn trailer(&mut self) -> Trailer {
        let mut trailer = Trailer::default();
        for index in self.next..self.raw.lines.len() {
            let Some(Ok(Line::Pair(name, spec))) = self.raw.line(index).map(|(_, text)| split(text)) else {
                continue;
            };
            let text = self.text(name, spec).unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                // `4 Size limit exceeded`
                "result" => trailer.code = text.split_ascii_whitespace().next().and_then(|c| c.parse().ok()),
                "ref" => trailer.references.push(text),
                "pagedresults" => {
                    let cookie = text.split_ascii_whitespace().find_map(|word| word.strip_prefix("cookie="));
                    trailer.cookie = cookie.map(str::to_owned);
                }
                _ => {}
            }
        }
        trailer
    }

    fn value(&mut self, name: &str, spec: Spec<'a>) -> KindResult<Vec<u8>> {
        match spec {
            Spec::Plain(value) => Ok(value.to_vec()),
            Spec::Base64(value) => STANDARD.decode(value).or_else(|_| {
                syntax(format!(
                    "the value of `{name}` is not base64: `::` wants the characters A-Z a-z 0-9 + / with `=` at \
                     the end to a multiple of 4, nothing else, not even spaces at the end"
                ))
            }),
            Spec::Url(url) if self.allow_urls => {
                let value = read_file(url, self.room).map_err(|reason| match reason {
                    UrlError::TooLarge => LdifErrorKind::TooLarge { limit: self.limit },
                    UrlError::Other(reason) => LdifErrorKind::Url { attribute: name.into(), reason },
                })?;
                self.room = self.room.saturating_sub(value.len());
                Ok(value)
            }
            Spec::Url(_) => Err(LdifErrorKind::UrlRefused { attribute: name.into() }),
        }
    }

    /// Returns a value that must be UTF-8 by RFC 2849, in place or in base64.
    fn text(&mut self, name: &str, spec: Spec<'a>) -> KindResult<String> {
        if let Spec::Url(_) = spec {
            return syntax(format!("`{name}` cannot come from a URL: write `{name}: …` or `{name}:: …`"));
        }
        let value = self.value(name, spec)?;
        String::from_utf8(value).or_else(|error| {
            let at = error.utf8_error().valid_up_to();
            let octet = error.as_bytes().get(at).copied().unwrap_or_default();
            let (place, cure) = match spec {
                Spec::Plain(text) => {
                    let line = self.raw.lines.iter().position(|line| line.number == self.at);
                    let line = line.and_then(|index| self.raw.line(index)).map_or(0, |(_, line)| line.len());
                    let column = line.saturating_sub(text.len()) + at + 1;
                    let cure = "is the file in Latin-1? LDIF is UTF-8 (RFC 2849): convert it, for instance with iconv";
                    (format!("column {column}"), cure)
                }
                _ => (format!("octet {} of the decoded value", at + 1), "encode the UTF-8 of the text in base64"),
            };
            syntax(format!("the value of `{name}` is not UTF-8 at {place} ({octet:02X} in hexadecimal): {cure}"))
        })
    }

    /// Parses `control: OID [true|false][: value]` (RFC 2849), or `control: OID false VALUE` as `ldapsearch` prints it.
    fn control(&mut self, spec: Spec<'a>) -> KindResult<()> {
        let text = self.text("control", spec)?;
        let mut words = text.split(':').next().unwrap_or_default().split_ascii_whitespace();
        let oid = words.next().unwrap_or_default();
        let critical = words.next().unwrap_or("false");
        if oid.is_empty()
            || !oid.bytes().all(|b| b.is_ascii_digit() || b == b'.')
            || !["true", "false"].iter().any(|c| c.eq_ignore_ascii_case(critical))
        {
            return syntax("a control line is `control: OID`, then `true` or `false`, then `: value`");
        }
        if critical.eq_ignore_ascii_case("true") {
            return Err(LdifErrorKind::CriticalControl { oid: oid.into() });
        }
        Ok(())
    }

    fn entry(&mut self, dn: String) -> KindResult<Entry> {
        let mut attributes = Attributes::default();
        while let Some(line) = self.pop()? {
            let Line::Pair(name, spec) = line else {
                return syntax(
                    "`-` ends a modification; an entry has none: write `changetype: modify` after dn",
                );
            };
            if name.eq_ignore_ascii_case("dn") {
                return syntax("a second `dn`: an empty line is missing between two records");
            }
            let value = self.value(name, spec)?;
            attributes.push(name, value);
        }
        Ok(Entry { dn, attributes: attributes.list })
    }

    fn change(&mut self, dn: String, kind: &str) -> KindResult<Change> {
        match kind.to_ascii_lowercase().as_str() {
            "add" => Ok(Change::Add(self.entry(dn)?)),
            "delete" => match self.peek()? {
                None => Ok(Change::Delete { dn }),
                Some(_) => {
                    syntax("`changetype: delete` ends its record: an empty line is missing before this")
                }
            },
            "modify" => {
                let mut changes = Vec::new();
                while let Some(modification) = self.modification()? {
                    changes.push(modification);
                }
                Ok(Change::Modify { dn, changes })
            }
            "modrdn" | "moddn" => self.rename(dn),
            _ => syntax("a changetype is one of `add`, `delete`, `modify`, `modrdn`, `moddn`"),
        }
    }

    /// Parses one `mod-spec`. The `-` after the last one may be missing, as with `ldapmodify`.
    fn modification(&mut self) -> KindResult<Option<Modification>> {
        const KINDS: &str = "a modification begins with `add: attribute`, `delete: attribute`, \
                             `replace: attribute` or `increment: attribute`";
        let Some(line) = self.pop()? else { return Ok(None) };
        let Line::Pair(keyword, spec) = line else { return syntax(KINDS) };
        let Some(kind) = ModificationKind::from_keyword(keyword) else { return syntax(KINDS) };
        let text = self.text(keyword, spec)?;
        let description = text.trim_end_matches(' ');
        if !is_description(description) {
            return syntax(format!("`{keyword}:` wants the name of an attribute"));
        }
        let begun = self.at;
        let mut values = Vec::new();
        while let Some(Line::Pair(name, spec)) = self.pop()? {
            if !name.eq_ignore_ascii_case(description) {
                return syntax(format!(
                    "this belongs to `{keyword}: {description}`: here comes `{description}: value`, or `-` on a \
                     line of its own before the next modification"
                ));
            }
            values.push(self.value(name, spec)?);
        }
        if let Some(objection) = kind.objection(values.len()) {
            self.at = begun;
            return syntax(format!("{objection} (`{description}`)"));
        }
        Ok(Some(Modification::new(kind, description, values)))
    }

    fn rename(&mut self, dn: String) -> KindResult<Change> {
        const WANTED: &str = "a rename has the lines `newrdn: …`, `deleteoldrdn: 0` or `1`, and, to move the \
                              entry, `newsuperior: …`, each once";
        let (mut new_rdn, mut delete_old_rdn, mut new_superior) = (None, None, None);
        while let Some(line) = self.pop()? {
            let Line::Pair(name, spec) = line else { return syntax(WANTED) };
            let slot = match name.to_ascii_lowercase().as_str() {
                "newrdn" => &mut new_rdn,
                "deleteoldrdn" => &mut delete_old_rdn,
                "newsuperior" => &mut new_superior,
                _ => return syntax(WANTED),
            };
            if slot.replace(self.text(name, spec)?).is_some() {
                return syntax(WANTED);
            }
        }
        let delete_old_rdn = match delete_old_rdn.as_deref().map(str::trim) {
            Some("0") => false,
            Some("1") => true,
            _ => return syntax(WANTED),
        };
        let Some(new_rdn) = new_rdn else { return syntax(WANTED) };
        Ok(Change::Rename { dn, new_rdn, delete_old_rdn, new_superior })
    }
}

/// Splits a line. Error messages contain no part of it: it may be a piece of a password.
fn split(text: &[u8]) -> KindResult<Line<'_>> {
    if text.trim_ascii_end() == b"-" {
        return Ok(Line::Dash);
    }
    let Some(colon) = text.iter().position(|&b| b == b':') else {
        return syntax(
            "a line without a colon: a line is `attribute: value`, or begins with a space where it continues \
             the line before, or with `#` where it is a comment",
        );
    };
    let (name, rest) = text.split_at(colon);
    let is_name = |name: &&str| is_description(name) || is_last_range(name);
    let name = std::str::from_utf8(name).ok().filter(is_name);
    let Some(name) = name else {
        return syntax("what stands before the colon is not the name of an attribute (RFC 4512 section 2.5)");
    };
    let spec = match rest {
        [b':', b':', value @ ..] => Spec::Base64(skip_spaces(value)),
        [b':', b'<', url @ ..] => Spec::Url(skip_spaces(url)),
        [_, value @ ..] => Spec::Plain(skip_spaces(value)),
        [] => Spec::Plain(rest),
    };
    Ok(Line::Pair(name, spec))
}

/// Returns whether this is Active Directory's description of a last range: `member;range=1500-*`, with options in any order.
fn is_last_range(name: &str) -> bool {
    let is_range = |option: &&str| {
        option.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("range=")) && option.ends_with("-*")
    };
    let mut ranges = name.split(';').skip(1).filter(is_range);
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return false };
    let others: Vec<&str> = name.split(';').filter(|option| !is_range(option)).collect();
    is_description(&others.join(";")) && is_description(range.trim_end_matches("-*"))
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    let start = text.iter().position(|&b| b != b' ').unwrap_or(text.len());
    text.get(start..).unwrap_or_default()
}

/// The attributes of an entry, collected in linear time even if their lines are interleaved.
#[derive(Default)]
struct Attributes {
    list: Vec<Attribute>,
    index: HashMap<String, usize>,
    last: usize,
}

impl Attributes {
    fn push(&mut self, description: &str, value: Vec<u8>) {
        let same = self.list.get(self.last).is_some_and(|a| a.description.eq_ignore_ascii_case(description));
        if !same {
            let new = self.list.len();
            self.last = *self.index.entry(description.to_ascii_lowercase()).or_insert(new);
        }
        match self.list.get_mut(self.last) {
            Some(attribute) => attribute.values.push(value),
            None => self.list.push(Attribute::new(description, vec![value])),
        }
    }
}

enum UrlError {
    TooLarge,
    Other(String),
}

/// Reads a local `file:` URL (RFC 8089), at most `room` octets.
fn read_file(url: &[u8], room: usize) -> Result<Vec<u8>, UrlError> {
    let other = |reason: &str| UrlError::Other(reason.into());
    let url = std::str::from_utf8(url).map_err(|_| other("is not UTF-8"))?.trim_end();
    let path = match url.split_once(':') {
        Some((scheme, path)) if scheme.eq_ignore_ascii_case("file") => path,
        _ => return Err(other("is not a `file:` URL, the only kind that is read")),
    };
    let path = path.strip_prefix("//localhost").or_else(|| path.strip_prefix("//")).unwrap_or(path);
    if !path.starts_with('/') {
        return Err(other("names no absolute path on this machine: write `file:///path`"));
    }
    let path = percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| other("names a path that is not UTF-8"))?;
    let unreadable = |error: io::Error| UrlError::Other(format!("cannot be read: {error}"));
    if !std::fs::metadata(path.as_ref()).map_err(unreadable)?.is_file() {
        return Err(other("names something that is not a file"));
    }
    let mut value = Vec::new();
    let most = u64::try_from(room).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path.as_ref()).map_err(unreadable)?.take(most).read_to_end(&mut value).map_err(unreadable)?;
    if value.len() > room { Err(UrlError::TooLarge) } else { Ok(value) }
}
