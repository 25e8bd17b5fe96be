//! What a file written by `ldapsearch` reveals about its search: the result, the number of entries, references to other servers.
//! `ldapsearch` exits with an error after a size limit, but its output until then looks like any file.
//!
//! Known programs: OpenLDAP's `ldapsearch` (its `search:`/`result:` lines and its comments, which `-L` keeps and `-LL` omits),
//! that of UnboundID, PingDirectory and ForgeRock (`# Result Code:  4 (size limit exceeded)`), Samba's `ldbsearch`
//! (`# 3 entries`), phpLDAPadmin (`# Total Entries: 3`), and `db2ldif` of 389 DS (`# entry-id: 3` above each entry). From any
//! program, a comment with the name and number of a result code is recognized, in either order: `# Size limit exceeded (4)`.

use std::fmt;

use super::stated::Stated;
use crate::entry::Entry;

/// The maximum number of reasons that are kept.
const MOST: usize = 100;

/// Why a file is incomplete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shortfall {
    /// The search ended with an error (RFC 4511 section 4.1.9).
    Result {
        /// The line with the result.
        line: u64,
        /// The result code.
        code: u32,
    },
    /// The file states another number of entries than it contains.
    Count {
        /// The line with the number.
        line: u64,
        /// The stated number.
        said: u64,
        /// The actual number.
        held: u64,
    },
    /// The last page of the answer (RFC 2696) announces another one.
    Page {
        /// The line of its cookie.
        line: u64,
    },
    /// An answer begins, but does not end.
    NoEnd {
        /// The first line of the answer.
        line: u64,
    },
    /// The last line has no line end: it may be truncated, and others may be missing.
    Unended {
        /// The last line.
        line: u64,
    },
    /// The last entry has no attributes, and no other entry is like that.
    Bare {
        /// The first line of the entry.
        line: u64,
    },
    /// The last line is a comment that precedes an entry.
    Announced {
        /// The line.
        line: u64,
    },
    /// An attribute lacks a range of its values (`member;range=0-1499`).
    Range {
        /// The first line of the entry.
        line: u64,
        /// The DN of the entry.
        dn: String,
        /// The attribute.
        attribute: String,
    },
}

impl Shortfall {
    /// Returns the line of the evidence.
    pub fn line(&self) -> u64 {
        match self {
            Self::Result { line, .. }
            | Self::Count { line, .. }
            | Self::Page { line }
            | Self::NoEnd { line }
            | Self::Unended { line }
            | Self::Bare { line }
            | Self::Announced { line }
            | Self::Range { line, .. } => *line,
        }
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line())?;
        match self {
            Self::Result { code, .. } => {
                let name = crate::protocol::result_code::name(*code);
                write!(f, "the search that it was made by ended with {name}")
            }
            Self::Count { said, held, .. } => write!(f, "{said} entries are announced, and {held} are there"),
            Self::Page { .. } => f.write_str("another page is announced, which is not there"),
            Self::NoEnd { .. } => f.write_str("an answer begins here, and its end is missing"),
            Self::Unended { .. } => f.write_str(
                "the file ends without a line end, as one that was cut off (a whole one ends with one)",
            ),
            Self::Bare { .. } => f.write_str("the last entry ends after its name"),
            Self::Announced { .. } => f.write_str("an entry is announced here, which is not there"),
            Self::Range { dn, attribute, .. } => {
                write!(f, "entry {dn:?} has only a part of the values of `{attribute}`")
            }
        }
    }
}

/// A record of `ldapsearch` that is not an entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) code: Option<u32>,
    pub(crate) references: Vec<String>,
    /// The cookie of the next page; empty after the last one.
    pub(crate) cookie: Option<String>,
}

/// What the file revealed so far about its origin ([`LdifReader::dump`](super::LdifReader::dump)): what `ldapsearch` wrote around the
/// entries, and what shows that the file was cut.
///
/// ```
/// use ldap_directory::ldif::reader::{LdifReader, Shortfall};
///
/// let cut = "dn: cn=ada,dc=x\nobjectClass: person\ncn: ada\nsn: Lovel";
/// let mut reader = LdifReader::new(cut.as_bytes());
/// assert!(reader.by_ref().all(|record| record.is_ok()));
/// assert_eq!(reader.dump().shortfalls(), [Shortfall::Unended { line: 4 }]);
/// ```
#[derive(Debug, Default)]
pub struct Dump {
    shortfalls: Vec<Shortfall>,
    references: Vec<Vec<String>>,
    /// Entries since the last stated number.
    entries: u64,
    references_counted: usize,
    /// The first line of an answer whose end was not read yet.
    open: Option<u64>,
    /// The line that announced another page.
    page: Option<u64>,
    /// The last entry, if it has no attribute.
    bare: Option<u64>,
    has_attributes: bool,
    is_answer: bool,
    /// The line that announced the next entry.
    announced: Option<u64>,
    /// The stated number of entries in the whole file, with its line.
    total: Option<(u64, u64)>,
    /// The number of all entries.
    held: u64,
    stated: Stated,
}

impl Dump {
    /// Returns what the file states about its content.
    pub fn stated(&self) -> &Stated {
        &self.stated
    }

    /// Returns why the file is incomplete, as far as known; final once the reader reached the end.
    pub fn shortfalls(&self) -> &[Shortfall] {
        &self.shortfalls
    }

    /// Returns the references to other servers, each with its URLs.
    pub fn references(&self) -> &[Vec<String>] {
        &self.references
    }

    /// Returns whether this is a complete answer.
    pub fn is_answer(&self) -> bool {
        self.is_answer
    }

    fn add(&mut self, shortfall: Shortfall) {
        if self.shortfalls.len() < MOST {
            self.shortfalls.push(shortfall);
        }
    }

    /// Evaluates a comment. `in_entry` means that it is between the lines of an entry.
    pub(crate) fn comment(&mut self, line: u64, text: &[u8], in_entry: bool) {
        let Ok(text) = std::str::from_utf8(text) else { return };
        let text = text.trim_start_matches('#').trim();
        self.stated.comment(line, text);
        if text == "extended LDIF" || text == "LDAPv3" || text == "ldap-service export" {
            self.open.get_or_insert(line);
        } else if text == "search result" {
            self.open = None;
            self.is_answer = true;
        } else if let Some(cookie) = text.strip_prefix("pagedresults: cookie=") {
            self.cookie(line, cookie);
        } else if ["refldap://", "refldaps://", "refldapi://"].iter().any(|r| text.starts_with(r)) {
            self.references.push(vec![text.trim_start_matches("ref").to_owned()]);
        } else if announces_entry(text) {
            self.announced = Some(line);
        } else if let Some(code) = result_code_in(text) {
            if code == 0 {
                self.is_answer = true;
            } else {
                self.add(Shortfall::Result { line, code });
            }
        } else if let Some(said) = number(text, "Total Entries:", "") {
            self.total = Some((line, said));
        } else if let Some(said) = number(text, "end:", "entries") {
            self.open = None;
            self.is_answer = true;
            self.count(line, said, in_entry);
        } else if let Some(said) = number(text, "numEntries:", "")
            .or_else(|| number(text, "Number of Entries Returned:", ""))
            .or_else(|| number(text, "Total number of matching entries:", ""))
            .or_else(|| number(text, "", "entries"))
        {
            self.count(line, said, in_entry);
        } else if let Some(said) =
            number(text, "numReferences:", "").or_else(|| number(text, "Number of References Returned:", ""))
        {
            // Someone may have removed their lines.
            let held = self.references.len() - self.references_counted;
            let said = usize::try_from(said).unwrap_or(usize::MAX).min(held.saturating_add(MOST));
            self.references.extend((held..said).map(|_| Vec::new()));
            self.references_counted = self.references.len();
        }
    }

    /// Compares a number of entries that the file says with those since the last one.
    fn count(&mut self, line: u64, said: u64, in_entry: bool) {
        let held = std::mem::take(&mut self.entries) + u64::from(in_entry);
        if said != held {
            self.add(Shortfall::Count { line, said, held });
        }
    }

    fn cookie(&mut self, line: u64, cookie: &str) {
        self.page = Some(line).filter(|_| !cookie.trim().is_empty());
    }

    pub(crate) fn trailer(&mut self, line: u64, trailer: Trailer) {
        if let Some(cookie) = &trailer.cookie {
            self.cookie(line, cookie);
        }
        self.is_answer |= trailer.code.is_some();
        match trailer.code {
            Some(0) => {}
            Some(code) => self.add(Shortfall::Result { line, code }),
            None if trailer.references.is_empty() => {}
            None => self.references.push(trailer.references),
        }
    }

    pub(crate) fn entry(&mut self, line: u64, entry: &Entry) {
        self.entries += 1;
        self.held += 1;
        self.announced = None;
        self.bare = entry.attributes.is_empty().then_some(line).filter(|_| self.bare.is_none());
        self.has_attributes |= !entry.attributes.is_empty();
    }

    /// Evaluates the end of the file. `unended` is its last line, if that has no line end.
    pub(crate) fn end(&mut self, unended: Option<u64>) {
        let page = self.page.take().map(|line| Shortfall::Page { line });
        let open = self.open.take().map(|line| Shortfall::NoEnd { line });
        let bare = self.bare.take().filter(|_| self.has_attributes).map(|line| Shortfall::Bare { line });
        let unended = unended.map(|line| Shortfall::Unended { line });
        let announced = self.announced.take().map(|line| Shortfall::Announced { line });
        let held = self.held;
        let total = self.total.take().filter(|(_, said)| *said != held);
        let total = total.map(|(line, said)| Shortfall::Count { line, said, held });
        let found = page.into_iter().chain(open).chain(bare).chain(announced).chain(total).chain(unended);
        for shortfall in found {
            self.add(shortfall);
        }
    }
}

/// Returns the number between two texts, if there is nothing else but spaces.
fn number(text: &str, before: &str, after: &str) -> Option<u64> {
    let digits = text.strip_prefix(before)?.strip_suffix(after)?.trim();
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Returns whether a comment precedes an entry: `entry-id: 3` (389 DS), `record 3` (Samba), `Entry 3: cn=x` (phpLDAPadmin).
fn announces_entry(text: &str) -> bool {
    let of_page = |text: &str| {
        text.strip_prefix("Entry ")
            .and_then(|rest| rest.split_once(": "))
            .is_some_and(|(n, _)| number(n, "", "").is_some())
    };
    number(text, "entry-id:", "").is_some() || number(text, "record ", "").is_some() || of_page(text)
}

/// Returns the result code in a comment: after `Result Code:` or `failed:`, or by its name with the number beside it.
fn result_code_in(text: &str) -> Option<u32> {
    // It stands alone, or is followed by its name: not `import failed: 3 retries`.
    let first_number = |text: &str| {
        let text = text.trim();
        let (number, _) = text.split_once('(').unwrap_or((text, ""));
        number.trim().parse::<u32>().ok()
    };
    for word in ["Result Code:", "failed:"] {
        if let Some((before, rest)) = text.split_once(word)
            && (word != "Result Code:" || before.is_empty())
            && let Some(code) = first_number(rest)
        {
            return Some(code);
        }
    }
    // `Size limit exceeded (4)`, with or without the program's name before it.
    if let Some((name, number)) = text.strip_suffix(')').and_then(|text| text.rsplit_once('('))
        && let Ok(code) = number.parse::<u32>()
        && is_name_of(name, code)
    {
        return Some(code);
    }
    // `4 (size limit exceeded)`.
    let (number, name) = text.split_once('(')?;
    let code = number.trim().rsplit(' ').next()?.parse::<u32>().ok()?;
    is_name_of(name.trim_end_matches([')', '.']), code).then_some(code)
}

/// Returns whether a text ends in the name of a result code, in the spelling of RFC 4511 or of programs.
fn is_name_of(text: &str, code: u32) -> bool {
    let plain = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
    };
    let others: &[&str] = match code {
        1 => &["operations error"],
        11 => &["administrative limit exceeded", "admin limit exceeded"],
        51 => &["server is busy"],
        52 => &["server is unavailable", "DSA is unavailable"],
        53 => &["server is unwilling to perform", "DSA is unwilling to perform"],
        80 => &["internal (implementation specific) error", "other (e.g., implementation specific) error"],
        81 => &["server down", "can't contact LDAP server"],
        85 => &["timeout", "timed out"],
        91 => &["connect error"],
        _ => &[],
    };
    let name = crate::protocol::result_code::name(code);
    let name = name.split(' ').next().unwrap_or_default();
    let text = plain(text);
    let is_known = crate::protocol::result_code::is_known(code);
    is_known && text.ends_with(&plain(name)) || others.iter().any(|other| text.ends_with(&plain(other)))
}
