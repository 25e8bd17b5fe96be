//! One page of an answer.

use ldap_directory::{DirectoryError, SearchItem};
use serde_json::{Value, json};
use tap_ldap::stream::convert::ObjectWriter;

use super::cursors::OpenSearch;

/// The octets of entries after which a page ends, before its count is reached.
const MOST_OCTETS: usize = 8 << 20;
/// The DNs that a warning lists.
const NAMED: usize = 10;

/// What is not as asked in an answer, though it succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The code for programs.
    pub code: &'static str,
    /// What it is about: an attribute, a comparison, DNs.
    pub about: Value,
    /// How often.
    pub count: u64,
    /// For people.
    pub detail: String,
}

/// A page of an answer.
#[derive(Debug)]
pub struct Page {
    /// The entries: a JSON array.
    pub entries: Vec<u8>,
    /// The number of entries.
    pub count: u32,
    /// The cursor of the next page; `None` at the end of the answer.
    pub next_cursor: Option<String>,
    /// What is not as asked.
    pub warnings: Vec<Warning>,
}

impl Page {
    /// Returns the members of a JSON object, without its braces. `name` is that of the entries.
    pub fn members(&self, name: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() + 128);
        out.extend_from_slice(Value::from(name).to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(&self.entries);
        let next = Value::from(self.next_cursor.as_deref());
        out.extend_from_slice(format!(",\"count\":{},\"next_cursor\":{next}", self.count).as_bytes());
        if !self.warnings.is_empty() {
            let warning =
                |w: &Warning| json!({"code": w.code, "about": w.about, "count": w.count, "detail": w.detail});
            let warnings: Value = self.warnings.iter().map(warning).collect();
            out.extend_from_slice(format!(",\"warnings\":{warnings}").as_bytes());
        }
        out
    }
}

impl OpenSearch {
    /// Reads a page. Returns whether the answer has more.
    pub(super) async fn read(&mut self) -> Result<(Page, bool), DirectoryError> {
        let directory = self.directory.clone();
        let (schema, secrets) = (directory.schema().clone(), directory.secret_attributes());
        let mut objects = ObjectWriter::new(&schema, &self.question.named);
        let (mut entries, mut count) = (vec![b'['], 0);
        let (mut references, mut unreadable) = (0, Vec::new());
        let has_more = loop {
            let mut entry = match self.ahead.take() {
                Some(entry) => entry,
                None => match self.stream.next().await? {
                    Some(SearchItem::Entry(entry)) => entry,
                    Some(SearchItem::Reference(_)) => {
                        references += 1;
                        continue;
                    }
                    Some(SearchItem::Unreadable(dn)) => {
                        unreadable.push(dn);
                        continue;
                    }
                    // A page of references alone is no answer yet.
                    None if self.stream.is_paused() && count == 0 => continue,
                    None => break self.stream.is_paused(),
                },
            };
            if count == self.question.count {
                self.ahead = Some(entry);
                break true;
            }
            directory.complete_ranges(&mut entry).await?;
            self.unread.add(&directory, self.question.base_dn(), &mut entry).await?;
            if count > 0 {
                entries.push(b',');
            }
            objects.write(&entry, |name| secrets.contains(name), &mut entries);
            count += 1;
            if entries.len() > MOST_OCTETS {
                break true;
            }
        };
        entries.push(b']');
        self.unread.look(&directory, self.question.base_dn()).await?;
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.extend(of_values(&objects));
        warnings.extend(self.unread.take().into_iter().map(of_unread));
        warnings.extend(of_answer(references, &unreadable));
        Ok((Page { entries, count, next_cursor: None, warnings }, has_more))
    }
}

fn of_values(objects: &ObjectWriter<'_>) -> Vec<Warning> {
    let invalid = objects.invalid_values().map(|(attribute, count)| Warning {
        code: "invalid_value",
        about: attribute.into(),
        count,
        detail: format!("{count} value(s) of `{attribute}` do not follow its syntax, and are null"),
    });
    let surplus = objects.surplus_values().map(|(attribute, count)| Warning {
        code: "surplus_values",
        about: attribute.into(),
        count,
        detail: format!(
            "{count} entries have several values of `{attribute}`, which has one by the schema: one is given"
        ),
    });
    invalid.chain(surplus).collect()
}

/// Returns the warning of references to other servers.
pub(super) fn references(count: u64) -> Option<Warning> {
    (count > 0).then(|| Warning {
        code: "references_not_followed",
        about: Value::Null,
        count,
        detail: "the answer continues on other servers, which are not asked".to_owned(),
    })
}

fn of_unread((attribute, count): (String, u64)) -> Warning {
    tracing::warn!(
        setting = "bind_dn",
        attribute,
        "search: the service's user may not read `{attribute}` of {count} entries"
    );
    Warning {
        code: "unreadable_attribute",
        count,
        detail: format!(
            "bind_dn: the service's user may not read `{attribute}` of {count} entries: whether they have it is not known"
        ),
        about: attribute.into(),
    }
}

fn of_answer(references: u64, unreadable: &[String]) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = self::references(references).into_iter().collect();
    if !unreadable.is_empty() {
        warnings.push(Warning {
            code: "unreadable_dn",
            about: unreadable.iter().take(NAMED).map(String::as_str).collect(),
            count: u64::try_from(unreadable.len()).unwrap_or(u64::MAX),
            detail: "entries are left out because their DNs are not UTF-8".to_owned(),
        });
    }
    warnings
}
