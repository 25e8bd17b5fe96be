//! The plan of a dry run, for people and for `ldapmodify`: each change in the order in which it would be made.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ldap_directory::change::{Change, Modification};
use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::ldif::writer::{LdifWriteError, LdifWriter};
use ldap_directory::oid::RELAX_RULES;
use serde_json::{Value, json};

use ldap_directory::text::printable;
use singer_common::operations::secret::is_secret_attribute;

use crate::write::change_label::ChangeLabel;
use crate::write::counts::{Counts, RecordOutcome};
use crate::write::guard::LimitUse;

use value_changes::{ValueChange, before_and_after};

mod html;
mod value_changes;

pub use html::PlanHeader;

/// The format of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PlanFormat {
    /// LDIF change records (RFC 2849), for `ldapmodify`
    Ldif,
    /// Colored lines for people
    Diff,
    /// One JSON object per line
    Json,
    /// One HTML page for people: each change with the values before and after it
    Html,
}

/// A change of a plan.
#[derive(Debug, Clone, Copy)]
pub struct PlannedChange<'a> {
    /// The change.
    pub change: &'a Change,
    /// The entry before the change, with [`PlanOutput::shows_before`].
    pub before: Option<&'a Entry>,
    /// Whether it needs the relax rules control.
    pub relaxed: bool,
    /// The record that it is made for; `None` for an undo.
    pub label: Option<&'a ChangeLabel>,
}

impl PlannedChange<'_> {
    fn about(&self) -> String {
        about(self.label)
    }
}

/// Returns a label for people.
fn about(label: Option<&ChangeLabel>) -> String {
    label.map(ChangeLabel::to_string).unwrap_or_default()
}

/// A record that would be refused.
#[derive(Debug, Clone, Copy)]
pub struct RefusedRecord<'a> {
    /// The number of its task.
    pub number: u64,
    /// Its stream.
    pub stream: &'a str,
    /// Its line, from 1.
    pub line: u64,
    /// Its key: `id=7`.
    pub record: &'a str,
    /// The DN of its entry, if it is known.
    pub dn: Option<&'a str>,
    /// The result code, if the directory would refuse it.
    pub code: Option<u32>,
    /// The problem, without secrets.
    pub reason: &'a str,
}

/// The output of a plan.
pub struct PlanOutput {
    format: PlanFormat,
    colour: bool,
    out: Mutex<Box<dyn Write + Send>>,
    /// Whether the reader has closed the pipe.
    closed: AtomicBool,
    /// With [`PlanFormat::Html`]: the page, which is written at the end.
    page: Mutex<html::Page>,
}

impl std::fmt::Debug for PlanOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("format", &self.format).finish_non_exhaustive()
    }
}

const HIDDEN: &str = "(not shown)";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

impl PlanOutput {
    /// Returns a plan that is written to `out`, with or without colors.
    pub fn new(format: PlanFormat, colour: bool, out: Box<dyn Write + Send>) -> Self {
        let page = Mutex::new(html::Page::new(PlanHeader::default()));
        Self { format, colour, out: Mutex::new(out), closed: AtomicBool::new(false), page }
    }

    /// Sets the header of a page.
    #[must_use]
    pub fn with_header(self, place: PlanHeader) -> Self {
        Self { page: Mutex::new(html::Page::new(place)), ..self }
    }

    /// Whether the plan shows the values before a change.
    pub fn shows_before(&self) -> bool {
        matches!(self.format, PlanFormat::Html | PlanFormat::Diff)
    }

    /// Returns the attributes of a modified entry that the plan shows as well: the page says whom an entry is about.
    pub fn telling(&self) -> &'static [&'static str] {
        if self.format == PlanFormat::Html { &html::TELLING } else { &[] }
    }

    /// Ends the plan. `complete`: the whole input was read.
    pub fn finish(&self, complete: bool) -> Result<(), LdifWriteError> {
        if self.format != PlanFormat::Html {
            return Ok(());
        }
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = std::io::BufWriter::new(&mut *out);
        let written = self.page().write(&mut out, complete);
        self.unless_closed(written)
    }

    fn page(&self) -> std::sync::MutexGuard<'_, html::Page> {
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows one change.
    pub fn show(&self, planned: &PlannedChange<'_>) -> Result<(), LdifWriteError> {
        if self.format == PlanFormat::Html {
            return Ok(self.page().change(planned)?);
        }
        self.write(&match self.format {
            PlanFormat::Ldif => ldif(planned.change, planned.relaxed, &planned.about())?,
            PlanFormat::Diff => self.diff(planned).into_bytes(),
            PlanFormat::Json => json_line(&json(planned)),
            PlanFormat::Html => Vec::new(),
        })
    }

    /// Shows that a record would be refused.
    pub fn show_refused(&self, refused: &RefusedRecord<'_>) -> Result<(), LdifWriteError> {
        if self.format == PlanFormat::Html {
            self.page().refused(refused);
            return Ok(());
        }
        let RefusedRecord { stream, line, record, dn, code, reason, .. } = *refused;
        let about = format!("{stream}, line {line}: {record}");
        self.write(&match self.format {
            PlanFormat::Ldif => comments(&[&about, &format!("would be refused: {reason}")])?,
            PlanFormat::Diff => {
                let mut lines = self.lines();
                lines.push(DIM, &format!("# {about}"));
                lines.push(RED, &format!("! {}", dn.unwrap_or("(no entry)")));
                lines.push(RED, &format!("    would be refused: {reason}"));
                lines.end().into_bytes()
            }
            PlanFormat::Json => json_line(&json!({
                "operation": "refused", "dn": dn, "about": about, "code": code, "reason": reason,
            })),
            PlanFormat::Html => Vec::new(),
        })
    }

    /// Adds the outcomes of a stream's records, as they are logged.
    pub fn count(&self, stream: &str, counts: &Counts) {
        self.page().count(stream, counts);
    }

    /// Adds the outcome of a task, as it is counted.
    pub fn outcome(&self, number: u64, outcome: RecordOutcome) {
        self.page().outcome(number, outcome);
    }

    /// Adds how much of the limits is used.
    pub fn limits(&self, limits: &[LimitUse]) {
        self.page().limits(limits);
    }

    /// Shows that a password is set by an operation of its own, but not its value.
    pub fn show_password(&self, dn: &str, label: Option<&ChangeLabel>) -> Result<(), LdifWriteError> {
        const HOW: &str = "by Password Modify, RFC 3062";
        if self.format == PlanFormat::Html {
            return Ok(self.page().password(dn, label, HOW)?);
        }
        let about = about(label);
        self.write(&match self.format {
            PlanFormat::Ldif => {
                let what = format!("password: {HIDDEN}, {HOW}");
                comments(&[&about, &what, &format!("(of {dn}, nothing else)")])?
            }
            PlanFormat::Diff => {
                let mut lines = self.lines();
                lines.push(DIM, &format!("# {about}"));
                lines.push(YELLOW, &format!("~ {dn}"));
                lines.push(YELLOW, &format!("    ~ password: {HIDDEN}, {HOW}"));
                lines.end().into_bytes()
            }
            PlanFormat::Json => {
                json_line(&json!({"operation": "password", "dn": dn, "about": about, "password": HIDDEN}))
            }
            PlanFormat::Html => Vec::new(),
        })
    }

    fn write(&self, octets: &[u8]) -> Result<(), LdifWriteError> {
        if self.is_closed() {
            return Ok(());
        }
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let written = out.write_all(octets).and_then(|()| out.flush());
        self.unless_closed(written)
    }

    fn unless_closed(&self, written: std::io::Result<()>) -> Result<(), LdifWriteError> {
        match written {
            // A closed pipe is not an error of the current change.
            Err(e) if e.kind() == ErrorKind::BrokenPipe => {
                self.closed.store(true, Ordering::Relaxed);
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// Whether the reader has closed the pipe.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn lines(&self) -> Lines {
        Lines { colour: self.colour, text: String::new() }
    }

    fn diff(&self, planned: &PlannedChange<'_>) -> String {
        let PlannedChange { change, before, .. } = *planned;
        let about = planned.about();
        let mut lines = self.lines();
        lines.push(DIM, &format!("# {about}"));
        match change {
            Change::Add(entry) => {
                lines.push(GREEN, &format!("+ {}", entry.dn));
                for Attribute { description, values } in &entry.attributes {
                    for value in values {
                        lines.push(GREEN, &format!("    + {description}: {}", shown(description, value)));
                    }
                }
            }
            Change::Delete { dn } => lines.push(RED, &format!("- {dn}")),
            Change::Modify { dn, changes } => {
                lines.push(YELLOW, &format!("~ {dn}"));
                for ValueChange { name, old, new } in before_and_after(changes, before) {
                    let is_secret = is_secret_attribute(name);
                    // The values cannot be seen, but it is known that they are removed.
                    if old.is_empty() && new.is_empty() {
                        lines.push(RED, &format!("    - {name}: (all values)"));
                    }
                    for (colour, sign, values, others) in [(RED, '-', &old, &new), (GREEN, '+', &new, &old)] {
                        // The number of secret values is not shown.
                        let shown_values = values.there().filter(|value| is_secret || !others.has(value));
                        let most = if is_secret { 1 } else { usize::MAX };
                        for value in shown_values.take(most) {
                            let value = shown(name, value);
                            lines.push(colour, &format!("    {sign} {name}: {value}"));
                        }
                    }
                }
            }
            Change::Rename { dn, new_rdn, new_superior, .. } => {
                let place = new_superior.as_ref().map(|s| format!(", below {s}")).unwrap_or_default();
                lines.push(YELLOW, &format!("> {dn}"));
                lines.push(YELLOW, &format!("    becomes {new_rdn}{place}"));
            }
        }
        lines.end()
    }
}

/// Lines for a terminal. All text passes [`Lines::push`], so that no DN, name or key can control the terminal.
struct Lines {
    colour: bool,
    text: String,
}

impl Lines {
    /// Adds a line of any text.
    fn push(&mut self, colour: &str, line: &str) {
        let (on, off) = if self.colour { (colour, RESET) } else { ("", "") };
        let line = printable(line);
        for part in [on, &line, off, "\n"] {
            self.text.push_str(part);
        }
    }

    /// Returns the text, with an empty line at its end.
    fn end(mut self) -> String {
        self.text.push('\n');
        self.text
    }
}

fn json_line(value: &Value) -> Vec<u8> {
    format!("{}\n", printable(&value.to_string())).into_bytes()
}

/// Returns comments without a change.
fn comments(lines: &[&str]) -> Result<Vec<u8>, LdifWriteError> {
    let mut writer = LdifWriter::new(Vec::new());
    lines.iter().try_for_each(|line| writer.comment(line))?;
    let mut octets = writer.into_inner();
    octets.push(b'\n');
    Ok(octets)
}

/// Returns a change as LDIF. Secret values are replaced by a comment.
fn ldif(change: &Change, relaxed: bool, about: &str) -> Result<Vec<u8>, LdifWriteError> {
    let mut writer = LdifWriter::new(Vec::new());
    writer.comment(about)?;
    let mut change = change.clone();
    let hidden: Vec<String> = match &mut change {
        Change::Add(entry) => {
            let (hidden, kept) = std::mem::take(&mut entry.attributes)
                .into_iter()
                .partition(|a| is_secret_attribute(&a.description));
            entry.attributes = kept;
            Vec::<Attribute>::into_iter(hidden).map(|a| a.description).collect()
        }
        Change::Modify { changes, .. } => {
            let is_hidden = |m: &Modification| is_secret_attribute(&m.description) && !m.values.is_empty();
            let hidden = changes.iter().filter(|m| is_hidden(m)).map(|m| m.description.clone()).collect();
            changes.retain(|m| !is_hidden(m));
            hidden
        }
        Change::Delete { .. } | Change::Rename { .. } => Vec::new(),
    };
    for name in hidden {
        writer.comment(&format!("{name}: {HIDDEN}"))?;
    }
    if matches!(&change, Change::Modify { dn, changes } if changes.is_empty() && !dn.is_empty()) {
        writer.comment(&format!("(of {}, nothing else)", change.dn()))?;
        let mut octets = writer.into_inner();
        octets.push(b'\n');
        return Ok(octets);
    }
    if relaxed {
        writer.critical_control(RELAX_RULES);
    }
    writer.change(&change)?;
    Ok(writer.into_inner())
}

fn json(planned: &PlannedChange<'_>) -> Value {
    let PlannedChange { change, label, .. } = *planned;
    let value = |name: &str, v: &Vec<u8>| match std::str::from_utf8(v) {
        _ if is_secret_attribute(name) => HIDDEN.into(),
        Ok(text) => Value::from(text),
        Err(_) => json!({"base64": BASE64.encode(v)}),
    };
    let values =
        |name: &str, vs: &[Vec<u8>]| Value::from(vs.iter().map(|v| value(name, v)).collect::<Vec<_>>());
    let (operation, detail) = match change {
        Change::Add(entry) => {
            let all: serde_json::Map<String, Value> = entry
                .attributes
                .iter()
                .map(|a| (a.description.clone(), values(&a.description, &a.values)))
                .collect();
            ("add", json!({"attributes": all}))
        }
        Change::Delete { .. } => ("delete", json!({})),
        Change::Modify { changes, .. } => {
            let steps: Vec<Value> = changes
                .iter()
                .map(|m| json!({"operation": m.kind.keyword(), "attribute": m.description, "values": values(&m.description, &m.values)}))
                .collect();
            ("modify", json!({"changes": steps}))
        }
        Change::Rename { new_rdn, new_superior, delete_old_rdn, .. } => (
            "rename",
            json!({"new_rdn": new_rdn, "new_superior": new_superior, "delete_old_rdn": delete_old_rdn}),
        ),
    };
    let mut object = json!({"operation": operation, "dn": change.dn(), "about": planned.about()});
    if label.is_some_and(|label| label.is_leaving) {
        object["is_leaving"] = true.into();
    }
    if let (Some(object), Value::Object(detail)) = (object.as_object_mut(), detail) {
        object.extend(detail);
    }
    object
}

/// Returns a value for a line of its own. Values that are not text, or contain control characters, are in base64.
pub(crate) fn shown(name: &str, value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        _ if is_secret_attribute(name) => HIDDEN.to_owned(),
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("(base64) {}", BASE64.encode(value)),
    }
}

#[cfg(test)]
mod tests;
