//! The LDIF writer: content and change records (RFC 2849) that `ldapadd` and `ldapmodify` accept, and `slapadd` too if there is
//! no header.
//!
//! The same records always produce the same octets: ASCII, LF line ends, lines of at most 76 octets, and base64 for every value
//! that is not a plain SAFE-STRING.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::reader::is_description;
use crate::change::{Change, Modification};
use crate::entry::{Attribute, CompactEntry, Entry};
use crate::text::printable;

/// RFC 2849 allows folding at any position; common tools fold at 76 octets.
const WIDTH: usize = 76;

/// Why a record was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LdifWriteError {
    /// The output failed.
    #[error("could not write LDIF: {0}")]
    Io(#[from] io::Error),
    /// LDIF cannot represent this record; no part of it was written.
    #[error("{dn:?} cannot be written as LDIF: {reason}")]
    Unwritable {
        /// The entry.
        dn: String,
        /// What LDIF does not allow.
        reason: String,
    },
}

/// Writes LDIF records. The output is not buffered: use a `BufWriter` for speed.
///
/// ```
/// use ldap_directory::change::Change;
/// use ldap_directory::entry::{Attribute, Entry};
/// use ldap_directory::ldif::writer::LdifWriter;
///
/// let entry = Entry { dn: "cn=Zoë".into(), attributes: vec![Attribute::new("cn", vec!["Zoë".into()])] };
/// let mut writer = LdifWriter::new(Vec::new());
/// writer.entry(&entry)?;
/// writer.change(&Change::Delete { dn: "dc=x".into() })?;
/// let text = String::from_utf8(writer.into_inner())?;
/// assert_eq!(text, "dn:: Y249Wm/Dqw==\ncn:: Wm/Dqw==\n\ndn: dc=x\nchangetype: delete\n\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct LdifWriter<W> {
    out: W,
    /// The control of the next change record.
    control: Option<String>,
    /// A buffer for one line.
    line: Vec<u8>,
}

impl<W: Write> LdifWriter<W> {
    /// Returns a writer to `out`.
    pub fn new(out: W) -> Self {
        Self { out, control: None, line: Vec::new() }
    }

    /// Writes the first line of a file, `version: 1`. Optional; call it at most once, before all records.
    ///
    /// OpenLDAP's `slapadd` (2.5) refuses a file with it; `ldapadd` and `ldapmodify` accept it.
    ///
    /// # Errors
    /// Fails if the output fails.
    pub fn header(&mut self) -> Result<(), LdifWriteError> {
        Ok(self.out.write_all(b"version: 1\n")?)
    }

    /// Writes a content record. Attributes without values are omitted.
    ///
    /// An attribute named `control` or `changetype` is written after the others, since directly after the DN it would begin a
    /// change record.
    ///
    /// # Errors
    /// Fails if the output fails, or if LDIF cannot represent the entry: an invalid attribute description, or only attributes
    /// named `control` or `changetype`.
    pub fn entry(&mut self, entry: &Entry) -> Result<(), LdifWriteError> {
        self.content(&entry.dn, described(&entry.attributes))
    }

    /// Writes the content record of a [`CompactEntry`].
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub fn packed(&mut self, entry: &CompactEntry) -> Result<(), LdifWriteError> {
        self.content(entry.dn(), entry.attributes())
    }

    fn content<'a, V: Iterator<Item = &'a [u8]> + Clone>(
        &mut self,
        dn: &str,
        attributes: impl Iterator<Item = (&'a str, V)> + Clone,
    ) -> Result<(), LdifWriteError> {
        check_descriptions(dn, attributes.clone().map(|(description, _)| description))?;
        let valued = || attributes.clone().filter(|(_, values)| values.clone().next().is_some());
        if !valued().next().is_some_and(|(description, _)| is_reserved(description)) {
            self.pair("dn", dn.as_bytes())?;
            self.attributes(attributes)?;
            return self.end();
        }
        let first = || valued().filter(|(description, _)| !is_reserved(description));
        if first().next().is_none() {
            return Err(LdifWriteError::Unwritable {
                dn: dn.to_owned(),
                reason: "`control` and `changetype` cannot be the only attributes of a content record".into(),
            });
        }
        self.pair("dn", dn.as_bytes())?;
        self.attributes(first())?;
        self.attributes(valued().filter(|(description, _)| is_reserved(description)))?;
        self.end()
    }

    /// Writes a change record.
    ///
    /// # Errors
    /// Fails if the output fails, or if LDIF cannot represent the change: an invalid attribute description or number of values.
    pub fn change(&mut self, change: &Change) -> Result<(), LdifWriteError> {
        match change {
            Change::Add(entry) => {
                check_descriptions(&entry.dn, entry.attributes.iter().map(|a| a.description.as_str()))?;
                self.begin(&entry.dn, "add")?;
                self.attributes(described(&entry.attributes))?;
            }
            Change::Delete { dn } => self.begin(dn, "delete")?,
            Change::Modify { dn, changes } => {
                check_descriptions(dn, changes.iter().map(|c| c.description.as_str()))?;
                if let Some(reason) = changes.iter().find_map(|c| c.kind.objection(c.values.len())) {
                    return Err(LdifWriteError::Unwritable { dn: dn.clone(), reason: reason.into() });
                }
                self.begin(dn, "modify")?;
                for Modification { kind, description, values } in changes {
                    self.pair(kind.keyword(), description.as_bytes())?;
                    for value in values {
                        self.pair(description, value)?;
                    }
                    self.out.write_all(b"-\n")?;
                }
            }
            Change::Rename { dn, new_rdn, delete_old_rdn, new_superior } => {
                self.begin(dn, "modrdn")?;
                self.pair("newrdn", new_rdn.as_bytes())?;
                self.pair("deleteoldrdn", if *delete_old_rdn { b"1" } else { b"0" })?;
                if let Some(superior) = new_superior {
                    self.pair("newsuperior", superior.as_bytes())?;
                }
            }
        }
        self.end()
    }

    /// Adds a critical control to the next change record (RFC 2849).
    pub fn critical_control(&mut self, oid: &str) {
        self.control = Some(oid.to_owned());
    }

    /// Writes a comment before the next record. Line breaks are kept; other control characters are escaped.
    ///
    /// # Errors
    /// Fails if the output fails.
    pub fn comment(&mut self, text: &str) -> Result<(), LdifWriteError> {
        // `str::lines` does not end a line at a lone CR, but some readers do.
        for line in text.replace("\r\n", "\n").replace('\r', "\n").lines() {
            let line = printable(line);
            let mut width = 1;
            let mut folded = String::from("#");
            let space = (!line.is_empty()).then_some(' ');
            for c in space.into_iter().chain(line.chars()) {
                if width + c.len_utf8() > WIDTH {
                    folded.push_str("\n ");
                    width = 1;
                }
                width += c.len_utf8();
                folded.push(c);
            }
            folded.push('\n');
            self.out.write_all(folded.as_bytes())?;
        }
        Ok(())
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// Fails if the output fails.
    pub fn flush(&mut self) -> Result<(), LdifWriteError> {
        Ok(self.out.flush()?)
    }

    /// Returns the output.
    pub fn into_inner(self) -> W {
        self.out
    }

    fn begin(&mut self, dn: &str, changetype: &str) -> io::Result<()> {
        self.pair("dn", dn.as_bytes())?;
        if let Some(oid) = self.control.take() {
            self.pair("control", format!("{oid} true").as_bytes())?;
        }
        self.pair("changetype", changetype.as_bytes())
    }

    fn end(&mut self) -> Result<(), LdifWriteError> {
        Ok(self.out.write_all(b"\n")?)
    }

    fn attributes<'a>(
        &mut self,
        attributes: impl Iterator<Item = (&'a str, impl Iterator<Item = &'a [u8]>)>,
    ) -> io::Result<()> {
        for (description, values) in attributes {
            for value in values {
                self.pair(description, value)?;
            }
        }
        Ok(())
    }

    /// Writes one folded line. `name` is a keyword or has been checked.
    fn pair(&mut self, name: &str, value: &[u8]) -> io::Result<()> {
        let line = &mut self.line;
        line.clear();
        line.extend_from_slice(name.as_bytes());
        if value.is_empty() {
            line.push(b':');
        } else if is_safe(value) {
            line.extend_from_slice(b": ");
            line.extend_from_slice(value);
        } else {
            line.extend_from_slice(b":: ");
            line.extend_from_slice(STANDARD.encode(value).as_bytes());
        }
        if line.len() <= WIDTH {
            line.push(b'\n');
            return self.out.write_all(line);
        }
        let (first, rest) = line.split_at(WIDTH);
        self.out.write_all(first)?;
        for piece in rest.chunks(WIDTH - 1) {
            self.out.write_all(b"\n ")?;
            self.out.write_all(piece)?;
        }
        self.out.write_all(b"\n")
    }
}

/// Returns whether a value needs no base64: a SAFE-STRING of RFC 2849 that does not end in a space. Control characters, which
/// RFC 2849 allows, are encoded too, because LDIF is shown on terminals.
fn is_safe(value: &[u8]) -> bool {
    value.iter().all(|b| matches!(b, b' '..=b'~'))
        && !matches!(value.first(), Some(b' ' | b':' | b'<'))
        && value.last() != Some(&b' ')
}

fn is_reserved(description: &str) -> bool {
    ["control", "changetype"].iter().any(|name| description.eq_ignore_ascii_case(name))
}

/// Returns descriptions with their values.
fn described(
    attributes: &[Attribute],
) -> impl Iterator<Item = (&str, impl Iterator<Item = &[u8]> + Clone)> + Clone {
    attributes.iter().map(|a| (a.description.as_str(), a.values.iter().map(Vec::as_slice)))
}

/// Checks descriptions: one with a line break would be more than one line, and `dn` would begin another record.
fn check_descriptions<'a>(
    dn: &str,
    mut descriptions: impl Iterator<Item = &'a str>,
) -> Result<(), LdifWriteError> {
    match descriptions.find(|d| !is_description(d) || d.eq_ignore_ascii_case("dn")) {
        None => Ok(()),
        Some(bad) if is_description(bad) => Err(LdifWriteError::Unwritable {
            dn: dn.into(),
            reason: format!("{bad:?} is the keyword that begins a record (RFC 2849)"),
        }),
        Some(bad) => Err(LdifWriteError::Unwritable {
            dn: dn.into(),
            reason: format!("{bad:?} is not an attribute description (RFC 4512 section 2.5)"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::reader::{LdifReader, Record};
    use super::*;
    use crate::change::ModificationKind;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut LdifWriter<Vec<u8>>)) -> String {
        let mut writer = LdifWriter::new(Vec::new());
        write(&mut writer);
        String::from_utf8(writer.into_inner()).unwrap()
    }

    fn read(text: &str) -> Vec<Record> {
        LdifReader::new(text.as_bytes()).map(Result::unwrap).collect()
    }

    fn assert_lines(text: &str) {
        assert!(text.lines().all(|l| l.len() <= WIDTH), "{text}");
    }

    #[test]
    fn content_as_it_looks() {
        let entry = Entry {
            dn: "cn=ä,dc=x".into(),
            attributes: vec![
                Attribute::new("description", vec![b"x".repeat(100), b"".into()]),
                Attribute::new("none", vec![]),
                Attribute::new(
                    "cn",
                    [" a", "a ", ":a", "<a", "a\0", "a\nb", "a\rb", "-", "#", "a: b"].map(Vec::from).to_vec(),
                ),
            ],
        };
        let text = written(|w| {
            w.header().unwrap();
            w.entry(&entry).unwrap();
        });
        let expected = format!(
            "version: 1\ndn:: Y249w6QsZGM9eA==\ndescription: {}\n {}\ndescription:\ncn:: IGE=\ncn:: YSA=\n\
             cn:: OmE=\ncn:: PGE=\ncn:: YQA=\ncn:: YQpi\ncn:: YQ1i\ncn: -\ncn: #\ncn: a: b\n\n",
            "x".repeat(63),
            "x".repeat(37)
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn reserved_names_do_not_make_an_entry_a_change() {
        let reserved = || Attribute::new("changeType", vec![b"delete".into()]);
        let mut entry = Entry { dn: "changeNumber=1".into(), attributes: vec![reserved()] };
        assert!(LdifWriter::new(Vec::new()).entry(&entry).is_err());
        entry.attributes.push(Attribute::new("objectClass", vec![b"top".into()]));
        let records = read(&written(|w| w.entry(&entry).unwrap()));
        entry.attributes.reverse();
        assert_eq!(records, [Record::Entry(entry)]);
    }

    #[test]
    fn what_would_be_more_than_one_line_or_another_record_is_refused() {
        for bad in ["", "a\nb", "a:", "a b", "ä", "#a", "dn", "DN"] {
            let mut writer = LdifWriter::new(Vec::new());
            let attributes = vec![Attribute::new("ok", vec![b"1".into()]), Attribute::new(bad, vec![])];
            let entry = Entry { dn: "a=1".into(), attributes };
            assert!(writer.entry(&entry).is_err());
            assert!(writer.change(&Change::Add(entry)).is_err());
            let changes = vec![Modification::new(ModificationKind::Replace, bad, vec![])];
            assert!(writer.change(&Change::Modify { dn: "a=1".into(), changes }).is_err());
            assert!(writer.into_inner().is_empty());
        }
    }

    #[test]
    fn comments_as_they_look() {
        let text = written(|w| w.comment(&format!("one\r\n\rdn: a=1\n{}", "ä".repeat(40))).unwrap());
        assert_eq!(text, format!("# one\n#\n# dn: a=1\n# {}\n {}\n", "ä".repeat(37), "ä".repeat(3)));
    }

    fn value() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![vec(any::<u8>(), 0..120), "[ -~]{0,120}".prop_map(String::into_bytes)]
    }

    fn description() -> impl Strategy<Value = String> {
        "[a-zA-Z][a-zA-Z0-9-]{0,8}(;[a-z0-9-]{1,90})?"
            .prop_filter("`dn` begins a record", |d| !d.eq_ignore_ascii_case("dn"))
    }

    /// Entries as the reader gives them back: no attribute twice, none empty, no reserved name in front.
    fn entry() -> impl Strategy<Value = Entry> {
        (any::<String>(), vec((description(), vec(value(), 1..4)), 0..5)).prop_map(|(dn, list)| {
            let mut entry = Entry { dn, attributes: Vec::new() };
            for (description, values) in list {
                let attribute = Attribute::new(description, values);
                if entry.attribute(&attribute.description).is_none() && !is_reserved(&attribute.description) {
                    entry.attributes.push(attribute);
                }
            }
            entry
        })
    }

    fn modification() -> impl Strategy<Value = Modification> {
        (proptest::sample::select(&ModificationKind::ALL), description(), vec(value(), 0..4)).prop_map(
            |(kind, description, mut values)| {
                match kind {
                    ModificationKind::Add if values.is_empty() => values.push(Vec::new()),
                    ModificationKind::Increment => values.resize(1, Vec::new()),
                    _ => {}
                }
                Modification { kind, description, values }
            },
        )
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            entry().prop_map(Change::Add),
            any::<String>().prop_map(|dn| Change::Delete { dn }),
            (any::<String>(), vec(modification(), 0..4))
                .prop_map(|(dn, changes)| Change::Modify { dn, changes }),
            (any::<String>(), any::<String>(), any::<bool>(), any::<Option<String>>()).prop_map(
                |(dn, new_rdn, delete_old_rdn, new_superior)| Change::Rename {
                    dn,
                    new_rdn,
                    delete_old_rdn,
                    new_superior
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn entries_come_back(entries in vec(entry(), 0..4)) {
            let text = written(|w| {
                w.header().unwrap();
                for entry in &entries {
                    w.entry(entry).unwrap();
                }
            });
            assert_lines(&text);
            let expected: Vec<_> = entries.into_iter().map(Record::Entry).collect();
            prop_assert_eq!(read(&text), expected);
        }

        #[test]
        fn changes_come_back(changes in vec(change(), 0..4)) {
            let text = written(|w| {
                for change in &changes {
                    w.change(change).unwrap();
                }
            });
            assert_lines(&text);
            let expected: Vec<_> = changes.into_iter().map(Record::Change).collect();
            prop_assert_eq!(read(&text), expected);
        }

        #[test]
        fn comments_are_only_comments(before in "(?s)[\n\r a:\0\u{b}\u{85}\u{2028}x-]*|(?s).*", entry in entry()) {
            let text = written(|w| {
                w.comment(&before).unwrap();
                w.entry(&entry).unwrap();
                w.comment(&before).unwrap();
            });
            assert_lines(&text);
            prop_assert_eq!(read(&text), [Record::Entry(entry)]);
        }
    }
}
