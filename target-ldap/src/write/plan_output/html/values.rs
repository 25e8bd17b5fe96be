//! The values of attributes before and after a change, as HTML.

use ldap_directory::change::Modification;
use ldap_directory::dn::split_first;
use ldap_directory::entry::{Attribute, Entry};
use maud::{Markup, html};
use singer_common::operations::page::{breakable, count, visible};
use singer_common::operations::secret::is_secret_attribute;

use super::super::value_changes::Values;
use super::super::{HIDDEN, ValueChange, before_and_after, shown};

/// The most values of an attribute that are shown; a group may have 50,000.
pub(super) const MOST_VALUES: usize = 20;
/// The most changed values of an attribute that are shown: whoever approves a plan has to see them.
pub(super) const MOST_CHANGED: usize = 5_000;
/// The attributes that say best whom or what an entry is about, in this order.
pub(in super::super) const TELLING: [&str; 9] = [
    "displayname",
    "cn",
    "mail",
    "title",
    "departmentnumber",
    "department",
    "employeenumber",
    "uid",
    "description",
];
/// The most values, and the most characters of each, that say what an entry is about.
const MOST_TELLING: usize = 3;
const LONGEST_TELLING: usize = 60;

/// What happens to a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueKind {
    Stays,
    Goes,
    Comes,
}

pub(super) struct Value {
    pub(super) text: String,
    pub(super) kind: ValueKind,
}

/// An attribute before and after a change.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) was: Side,
    pub(super) will: Side,
}

/// The values of an attribute on one side: those shown, and their number.
#[derive(Default)]
pub(super) struct Side {
    pub(super) values: Vec<Value>,
    pub(super) total: usize,
    /// The number of changed values that are not shown.
    pub(super) hidden_changes: usize,
}

impl Side {
    /// Returns a side with one value.
    pub(super) fn one(text: String, kind: ValueKind) -> Side {
        Side { values: vec![Value { text, kind }], total: 1, hidden_changes: 0 }
    }

    fn push<'v>(&mut self, name: &str, values: impl IntoIterator<Item = &'v [u8]>, kind: ValueKind) {
        for value in values {
            self.total += 1;
            let most = if kind == ValueKind::Stays { MOST_VALUES } else { MOST_CHANGED };
            if self.values.len() < most {
                self.values.push(Value { text: shown(name, value), kind });
            } else if kind != ValueKind::Stays {
                self.hidden_changes += 1;
            }
        }
    }

    fn of<'v>(name: &str, values: impl IntoIterator<Item = &'v [u8]>, kind: ValueKind) -> Side {
        let mut side = Side::default();
        side.push(name, values, kind);
        side
    }
}

/// Returns the lines of a rename: the name, the parent, or both.
pub(super) fn renamed(dn: &str, new_rdn: &str, new_superior: Option<&str>) -> Vec<Line> {
    let (rdn, parent) = split_first(dn).unwrap_or((dn, String::new()));
    let line = |name: &str, was: &str, will: &str| Line {
        name: name.to_owned(),
        was: Side::one(was.to_owned(), ValueKind::Goes),
        will: Side::one(will.to_owned(), ValueKind::Comes),
    };
    let mut lines = Vec::new();
    if rdn != new_rdn || new_superior.is_none() {
        lines.push(line("name", rdn, new_rdn));
    }
    if let Some(will) = new_superior {
        lines.push(line("parent", &parent, will));
    }
    lines
}

/// Returns the line of a password that is set by an operation of its own.
pub(super) fn password(how: &str) -> Line {
    let text = |text: String| Side::one(text, ValueKind::Stays);
    Line { name: "password".into(), was: text(HIDDEN.into()), will: text(format!("{HIDDEN}, {how}")) }
}

/// Returns the values that the other side lacks, then those of both.
fn beside<'v>(name: &str, values: &Values<'v>, other: &Values<'v>, kind: ValueKind) -> Side {
    let mut side = Side::of(name, values.there().filter(|v| !other.has(v)), kind);
    side.push(name, values.there().filter(|v| other.has(v)), ValueKind::Stays);
    side
}

/// Returns the attributes of the modifications, each with all its values before and after.
pub(super) fn modified(changes: &[Modification], before: Option<&Entry>) -> Vec<Line> {
    let line = |ValueChange { name, old, new }: ValueChange<'_>| {
        if is_secret_attribute(name) {
            let side = |values: &Values<'_>, kind| {
                if values.is_empty() { Side::default() } else { Side::one(HIDDEN.to_owned(), kind) }
            };
            let (was, will) = (side(&old, ValueKind::Goes), side(&new, ValueKind::Comes));
            return Line { name: name.to_owned(), was, will };
        }
        Line {
            name: name.to_owned(),
            was: beside(name, &old, &new, ValueKind::Goes),
            will: beside(name, &new, &old, ValueKind::Comes),
        }
    };
    before_and_after(changes, before).into_iter().map(line).collect()
}

/// Returns a line as a row of a table with the columns attribute, was, will be.
pub(super) fn row(line: &Line) -> Markup {
    html! {
        tr {
            th scope="row" { code { (visible(&line.name)) } }
            td { (values(&line.was)) }
            td { (values(&line.will)) }
        }
    }
}

fn values(side: &Side) -> Markup {
    let value = |value: &Value| {
        html! {
            @match value.kind {
                ValueKind::Stays => bdi { (breakable(&value.text)) },
                ValueKind::Goes => del { bdi { (breakable(&value.text)) } },
                ValueKind::Comes => ins { bdi { (breakable(&value.text)) } },
            }
        }
    };
    html! {
        @match side.values.as_slice() {
            [] => span.quiet { "–" },
            [one] => (value(one)),
            all => {
                ul.values {
                    @for one in all { li { (value(one)) } }
                    @if side.hidden_changes > 0 {
                        li { strong { "and " (count(side.hidden_changes)) " more changed values: see the plan as LDIF" } }
                    }
                    @if let Some(more) = side.total.checked_sub(side.values.len() + side.hidden_changes).filter(|more| *more > 0) {
                        li.quiet { "and " (count(more)) " more, unchanged" }
                    }
                }
            }
        }
    }
}

/// Returns all attributes of an entry that is added or deleted, folded.
pub(super) fn whole(entry: &Entry, is_added: bool) -> Markup {
    let number = entry.attributes.len();
    html! {
        details.all {
            summary { (count(number)) (if number == 1 { " attribute" } else { " attributes" }) }
            dl.vals {
                @for Attribute { description, values } in &entry.attributes {
                    div {
                        dt { code { (visible(description)) } }
                        @for value in values.iter().take(MOST_VALUES) {
                            dd {
                                @if is_added {
                                    ins { bdi { (breakable(&shown(description, value))) } }
                                } @else {
                                    del { bdi { (breakable(&shown(description, value))) } }
                                }
                            }
                        }
                        @if let Some(more) = values.len().checked_sub(MOST_VALUES).filter(|more| *more > 0) {
                            dd.quiet { "and " (count(more)) " more" }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the values that say whom or what an entry is about, if its name does not say them already.
pub(super) fn digest(entry: &Entry) -> Markup {
    let name = split_first(&entry.dn).map_or("", |(rdn, _)| rdn).to_lowercase();
    let mut told: Vec<String> = Vec::new();
    for attribute in TELLING {
        let found = entry.attributes.iter().find(|a| a.description.eq_ignore_ascii_case(attribute));
        let Some(value) = found.and_then(|a| a.values.first()) else { continue };
        let (Ok(text), false) = (std::str::from_utf8(value), is_secret_attribute(attribute)) else {
            continue;
        };
        let is_new = !name.ends_with(&format!("={}", text.to_lowercase())) && !told.iter().any(|t| t == text);
        if is_new && text.chars().count() <= LONGEST_TELLING && told.len() < MOST_TELLING {
            told.push(text.to_owned());
        }
    }
    html! { @if !told.is_empty() { p.digest { @for text in &told { bdi { (visible(text)) } " " } } } }
}
