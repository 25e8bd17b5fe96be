//! Loading a file into memory: its records, what it reveals about its origin, and what it is if it is not LDIF.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::hash::BuildHasherDefault;
use std::io::{self, BufRead, BufReader, Seek as _, SeekFrom};

use rustc_hash::FxHasher;

use super::reader::{LdifErrorKind, LdifReader, Record, Shortfall, Stated};
use super::replication_state::ReplicationState;
use super::store::Store;
use crate::change::Change;
use crate::directory::range_retrieval::join_ranges;
use crate::dn::DnKey;
use crate::entry::{Attribute, Entry, UNKNOWN};
use crate::error::DirectoryError;
use crate::protocol::result_code;
use crate::schema::Schema;

/// What a file reveals about its origin.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) shortfalls: Vec<Shortfall>,
    /// References to other servers, each with its URLs.
    pub(crate) references: Vec<Vec<String>>,
    pub(crate) stated: Stated,
}

/// Why a file cannot be loaded as a directory.
#[derive(Debug)]
pub(crate) struct Unread {
    /// The line, from 1; `None` if the problem is not in one place.
    pub(crate) line: Option<u64>,
    /// The reason, with the line.
    pub(crate) reason: String,
    /// The error of the file system, if that is the cause.
    pub(crate) cause: Option<io::Error>,
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Self { line: None, reason: error.to_string(), cause: Some(error) }
    }
}

impl From<String> for Unread {
    fn from(reason: String) -> Self {
        Self { line: None, reason, cause: None }
    }
}

/// The maximum number of incomplete attributes that are named.
const MOST_NAMED: usize = 100;
/// The maximum number of spellings that are remembered.
const MOST_SPELLINGS: usize = 10_000;

/// Reads a whole file. Content records are entries; change records are applied.
///
/// # Errors
/// Fails with the reason. A file that is only read must contain a record: an empty one is an error.
pub(crate) fn load(file: File, store: &mut Store, is_read: bool) -> Result<Said, Unread> {
    // To find the first of two entries with the same DN.
    let again = file.try_clone()?;
    let mut input = BufReader::new(file);
    let start = input.fill_buf()?;
    if let Some(what) = what_it_is(start) {
        return Err(what.to_owned().into());
    }
    let is_empty = start.is_empty();
    read(LdifReader::new(input), store, is_read, is_empty, &again)
}

fn read<R: BufRead>(
    mut reader: LdifReader<R>,
    store: &mut Store,
    is_read: bool,
    is_empty: bool,
    file: &File,
) -> Result<Said, Unread> {
    let (mut said, mut spellings, mut records) = (Said::default(), Spellings::default(), 0_u64);
    let mut state = ReplicationState::default();
    let mut last: Option<(u64, Entry)> = None;
    while let Some(record) = reader.next() {
        let record = record.map_err(|e| {
            let reason = match e.kind {
                LdifErrorKind::Syntax(_) if records == 0 => {
                    format!("is not LDIF, or not from its beginning on: {e}")
                }
                _ => e.to_string(),
            };
            let line = Some(e.line);
            let cause = if let LdifErrorKind::Io(cause) = e.kind { Some(cause) } else { None };
            Unread { line, reason, cause }
        })?;
        records += 1;
        let line = reader.record_line();
        let record = match record {
            // Exporters write it for each entry (`ldifde -d`), whether or not its parent is in the file.
            Record::Change(Change::Add(entry)) if is_read => Record::Entry(entry),
            record => record,
        };
        // Held back: it may turn out that the file was cut within it.
        if let Some((line, entry)) = last.take() {
            store.load(entry).map_err(|e| not_loaded(&e, line, file))?;
        }
        match record {
            Record::Entry(mut entry) => {
                if !state.take_off(line, &mut entry) && is_read {
                    continue;
                }
                if state.line.is_some() && !is_read {
                    let reason = format!(
                        "line {line}: the file has the replication state of 389 Directory Server, and is not written to: export it without (db2ldif without -r)"
                    );
                    return Err(Unread { line: Some(line), reason, cause: None });
                }
                if is_read {
                    let missing = join_ranges(&mut entry);
                    for attribute in missing.iter().cloned() {
                        if said.shortfalls.len() < MOST_NAMED {
                            let dn = entry.dn.clone();
                            said.shortfalls.push(Shortfall::Range { line, dn, attribute });
                        }
                    }
                    forget(&mut entry, missing);
                }
                spellings.merge(&mut entry);
                last = Some((line, entry));
            }
            Record::Change(change) => {
                store.apply(&change, Schema::standard()).map_err(|e| not_loaded(&e, line, file))?;
            }
        }
    }
    if let Some((line, mut entry)) = last {
        let shortfalls = reader.dump().shortfalls();
        let is_answer = shortfalls.iter().any(|s| matches!(s, Shortfall::NoEnd { .. }));
        let is_cut = is_answer || shortfalls.iter().any(|s| matches!(s, Shortfall::Unended { .. }));
        if !is_read || !is_cut || cut(&mut entry, line, is_answer) {
            store.load(entry).map_err(|e| not_loaded(&e, line, file))?;
        }
    }
    state.log();
    let dump = reader.dump();
    said.shortfalls.extend_from_slice(dump.shortfalls());
    if !is_read {
        return Ok(said);
    }
    if records == 0 {
        let reason = if is_empty {
            "is empty"
        } else if dump.is_answer() {
            "is an answer of ldapsearch without an entry"
        } else {
            "holds no entry, only comments or empty lines"
        };
        return Err(format!("{reason}; give a file with at least one entry").into());
    }
    said.references = dump.references().to_vec();
    said.stated = dump.stated().clone();
    Ok(said)
}

/// Makes the values of attributes unknown, not all of which are in the file.
fn forget(entry: &mut Entry, names: Vec<String>) {
    entry.attributes.retain(|a| !names.iter().any(|name| a.description.eq_ignore_ascii_case(name)));
    if !names.is_empty() {
        let names = names.into_iter().map(String::into_bytes).collect();
        entry.attributes.push(Attribute::new(UNKNOWN, names));
    }
}

/// Makes unknown what may be missing of an entry within which a file was cut: the attributes after its last one, and of an answer, whose end
/// is missing for sure, that one too. Returns whether it is an entry at all: if it has no attribute, its DN may be cut.
fn cut(entry: &mut Entry, line: u64, is_answer: bool) -> bool {
    let last = entry.attributes.iter().rev().find(|a| a.description != UNKNOWN);
    let Some(last) = last.map(|last| last.description.clone()) else {
        tracing::warn!(
            line,
            "line {line}: the file may be cut within the name of an entry, which is left out"
        );
        return false;
    };
    let of_last = if is_answer { "counts as unknown" } else { "may have only a part of its last value" };
    tracing::warn!(
        line,
        dn = entry.dn,
        attribute = last,
        "line {line}: the file may be cut within `{}`: `{last}` {of_last}, and what is not there counts as unknown",
        entry.dn
    );
    let names = Some(last).filter(|_| is_answer).into_iter().chain([UNKNOWN.to_owned()]);
    forget(entry, names.collect());
    true
}

fn not_loaded(error: &DirectoryError, line: u64, file: &File) -> Unread {
    Unread { line: Some(line), reason: explain(error, line, file), cause: None }
}

/// Returns why a record cannot be loaded, without the advice that is for a server's answer.
fn explain(error: &DirectoryError, line: u64, file: &File) -> String {
    match error {
        DirectoryError::Operation {
            operation: "add", dn, code: result_code::ENTRY_ALREADY_EXISTS, ..
        } => {
            let first =
                first_line(dn, file).map(|first| format!(", on line {first} before")).unwrap_or_default();
            format!("line {line}: the entry `{dn}` is in the file twice{first}; keep one of the two")
        }
        DirectoryError::Operation { operation, dn, code: result_code::NO_SUCH_OBJECT, .. } => format!(
            "line {line}: {operation} `{dn}`: nothing before this line is that entry. Change records are carried out on the entries of the file itself: put the entries before them, or apply the changes to a directory (ldapmodify) and read that"
        ),
        DirectoryError::Operation { operation, dn, code, text, .. } => {
            let text = if text.is_empty() { String::new() } else { format!(": {text}") };
            format!("line {line}: {operation} `{dn}`: {}{text}", result_code::name(*code))
        }
        other => format!("line {line}: {other}"),
    }
}

/// Returns the first line of the first entry with a DN, or `None` if the file cannot be read again, such as a pipe.
fn first_line(dn: &str, file: &File) -> Option<u64> {
    let mut file = file;
    file.seek(SeekFrom::Start(0)).ok()?;
    let key = DnKey::parse(dn, Schema::standard()).ok()?;
    let mut reader = LdifReader::new(BufReader::new(file));
    while let Some(record) = reader.next() {
        if let Record::Entry(entry) | Record::Change(Change::Add(entry)) = record.ok()?
            && DnKey::parse(&entry.dn, Schema::standard()).is_ok_and(|other| other == key)
        {
            return Some(reader.record_line());
        }
    }
    None
}

/// Returns what a file is that is certainly not LDIF, by its first octets.
fn what_it_is(start: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 8] = [
        (b"\x1f\x8b", "is compressed by gzip: decompress it first (gunzip)"),
        (b"BZh", "is compressed by bzip2: decompress it first (bunzip2)"),
        (b"\xfd7zXZ\0", "is compressed by xz: decompress it first (unxz)"),
        (b"\x28\xb5\x2f\xfd", "is compressed by zstd: decompress it first (unzstd)"),
        (b"PK\x03\x04", "is a ZIP archive: unpack it first"),
        (b"SQLite format 3\0", "is an SQLite database, and not LDIF"),
        (b"%PDF-", "is a PDF document, and not LDIF"),
        (b"\x7fELF", "is an executable, and not LDIF"),
    ];
    if let Some((_, what)) = KINDS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Some(what);
    }
    let line = start.split(|octet| *octet == b'\n').next().unwrap_or_default();
    match start.trim_ascii_start().first() {
        Some(b'{' | b'[') => Some("looks like JSON, and not like LDIF"),
        Some(b'<') => Some("looks like XML or HTML, and not like LDIF"),
        // UTF-16 is detected by its byte order mark, in the reader.
        _ if line.contains(&0) && !line.starts_with(b"\xff\xfe") && !line.starts_with(b"\xfe\xff") => {
            Some("is binary, and not LDIF")
        }
        _ => None,
    }
}

/// The attribute descriptions so far, by attribute: `cn`, `commonName` and `2.5.4.3` are one attribute.
#[derive(Default)]
struct Spellings {
    known: HashMap<String, usize, BuildHasherDefault<FxHasher>>,
    normal: HashMap<String, usize>,
    /// For each attribute, the last entry that has it, and its position there.
    last: Vec<(u64, usize)>,
    entry: u64,
}

impl Spellings {
    /// Merges the attributes that an entry has under several descriptions: all values, each once.
    fn merge(&mut self, entry: &mut Entry) {
        self.entry += 1;
        let mut doubles: Vec<(usize, usize)> = Vec::new();
        for (at, attribute) in entry.attributes.iter().enumerate() {
            let id = self.id(&attribute.description);
            match self.last.get_mut(id) {
                Some((of, first)) if *of == self.entry => doubles.push((*first, at)),
                Some(last) => *last = (self.entry, at),
                None => {}
            }
        }
        for (first, at) in doubles.iter().copied() {
            let values = entry.attributes.get_mut(at).map(|a| std::mem::take(&mut a.values));
            let Some(attribute) = entry.attributes.get_mut(first) else { continue };
            let rule = Schema::standard().equality(&attribute.description);
            let normal = |value: &[u8]| rule.normalize(value, Schema::standard()).into_owned();
            let mut there: HashSet<Vec<u8>> = attribute.values.iter().map(|v| normal(v)).collect();
            attribute.values.extend(values.into_iter().flatten().filter(|v| there.insert(normal(v))));
        }
        if !doubles.is_empty() {
            let mut at = 0;
            entry.attributes.retain(|_| {
                at += 1;
                !doubles.iter().any(|(_, double)| *double == at - 1)
            });
        }
    }

    fn id(&mut self, description: &str) -> usize {
        if let Some(id) = self.known.get(description) {
            return *id;
        }
        let next = self.last.len();
        let id = *self.normal.entry(Schema::standard().normal_description(description)).or_insert(next);
        if id == next {
            self.last.push((0, 0));
        }
        if self.known.len() < MOST_SPELLINGS {
            self.known.insert(description.to_owned(), id);
        }
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Attribute;

    #[test]
    fn descriptions_of_one_attribute_become_one() {
        let mut spellings = Spellings::default();
        let values = |vs: &[&str]| vs.iter().map(|v| v.as_bytes().to_vec()).collect::<Vec<_>>();
        for _ in 0..2 {
            let attribute = |name: &str, vs| Attribute::new(name, values(vs));
            let mut entry = Entry {
                dn: "cn=a".into(),
                attributes: vec![
                    attribute("cn", &["A"]),
                    attribute("sn", &["s"]),
                    attribute("commonName", &["a", "B"]),
                    attribute("2.5.4.3", &["C"]),
                    attribute("cn;lang-de", &["d"]),
                    attribute("x", &["1"]),
                ],
            };
            spellings.merge(&mut entry);
            let names: Vec<&str> = entry.attributes.iter().map(|a| a.description.as_str()).collect();
            assert_eq!(names, ["cn", "sn", "cn;lang-de", "x"]);
            assert_eq!(entry.values("cn"), values(&["A", "B", "C"]));
        }
    }

    #[test]
    fn what_is_no_ldif_is_called_by_its_name() {
        assert!(what_it_is(b"\x1f\x8b\x08").is_some_and(|w| w.contains("gzip")));
        assert!(what_it_is(b" {\"a\": 1}").is_some_and(|w| w.contains("JSON")));
        assert!(what_it_is(b"ab\0c").is_some() && what_it_is(b"\xff\xfed\0n\0").is_none());
        assert!(what_it_is(b"dn: a\ncn: \0\n").is_none() && what_it_is(b"").is_none());
    }
}
