//! Paths into objects and lists of a record: `emails[primary].value`, `addresses[0].city`, `skills[].name`.
//!
//! A path begins with a property of the record. What a property holds is known: a member that an object lacks, and an element that no list
//! has, are no value, like null.

use ldap_directory::schema::syntax::{number_text, truth};
use serde_json::Value;

use super::filters::Wrong;

/// The steps from a property to values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// `.name`: a member of an object.
    Member(String),
    /// `[0]`: an element from the start, `[-1]`: from the end.
    At(i64),
    /// `[type=work]`: the first element that meets all conditions.
    First(Vec<Condition>),
    /// `[]` and `[*,type=work]`: all elements that meet all conditions.
    Each(Vec<Condition>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    member: Vec<String>,
    test: Test,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    True,
    Equal(String),
    Differs(String),
}

/// Why a record's value has no such part. Never shows a value.
pub(crate) type Misfit = &'static str;

/// The text of a name as it is read: parts in quotation marks have no syntax.
#[derive(Debug, Default)]
pub(super) struct Segments {
    /// The property.
    pub(super) root: String,
    steps: Vec<Step>,
}

/// Reads a part of a name up to one of these characters: in quotation marks, or as it stands.
fn part(rest: &mut &str, ends: &[char]) -> Result<String, Wrong> {
    let text = rest.trim_start();
    if let Some(quoted) = text.strip_prefix('"') {
        let (name, after) = quoted.split_once('"').ok_or("a quotation mark is not closed")?;
        *rest = after.trim_start();
        return Ok(name.to_owned());
    }
    let end = text.find(ends).unwrap_or(text.len());
    let (name, after) = text.split_at_checked(end).unwrap_or((text, ""));
    *rest = after;
    Ok(name.trim().to_owned())
}

impl Segments {
    /// Parses a name: a property, and the steps after it. A name of digits and dots is an OID.
    pub(super) fn parse(text: &str) -> Result<Segments, Wrong> {
        let is_oid = text.contains('.') && text.chars().all(|c| c == '.' || c.is_ascii_digit());
        if is_oid {
            return Ok(Segments { root: text.to_owned(), steps: Vec::new() });
        }
        let mut rest = text;
        let root = part(&mut rest, &['.', '['])?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                rest = after;
                let name = part(&mut rest, &['.', '['])?;
                if name.is_empty() {
                    return Err("a name is missing after `.`: write `{name.first}`".into());
                }
                steps.push(Step::Member(name));
            } else if let Some(after) = rest.strip_prefix('[') {
                rest = after;
                steps.push(Step::parse(&mut rest)?);
            } else {
                return Err("after a name in quotation marks comes `.`, `[`, `|` or `}`".into());
            }
            rest = rest.trim_start();
        }
        Ok(Segments { root, steps })
    }

    /// Returns the path; `None` if the name is a property.
    pub(super) fn path(self) -> Option<Path> {
        (!self.steps.is_empty()).then_some(Path { steps: self.steps })
    }
}

impl Step {
    /// Parses what is in brackets, up to and with the closing one.
    fn parse(rest: &mut &str) -> Result<Step, Wrong> {
        let mut conditions = Vec::new();
        let (mut is_each, mut is_first) = (false, true);
        loop {
            *rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix(']') {
                *rest = after;
                break;
            }
            if !is_first {
                *rest =
                    rest.strip_prefix(',').ok_or("`]` or `,` is missing: write `[type=work]`")?.trim_start();
            }
            if is_first && let Some(after) = rest.strip_prefix('*') {
                (*rest, is_each, is_first) = (after, true, false);
                continue;
            }
            is_first = false;
            let condition = Condition::parse(rest)?;
            if let Condition { member, test: Test::True } = &condition
                && let [name] = member.as_slice()
                && let Ok(place) = name.parse::<i64>()
            {
                if !conditions.is_empty() || is_each || !rest.starts_with(']') {
                    return Err(
                        "a number stands alone in brackets: `[0]` is the first element, `[-1]` the last"
                            .into(),
                    );
                }
                *rest = rest.strip_prefix(']').unwrap_or_default();
                return Ok(Step::At(place));
            }
            conditions.push(condition);
        }
        Ok(if is_each || conditions.is_empty() { Step::Each(conditions) } else { Step::First(conditions) })
    }
}

impl Condition {
    fn parse(rest: &mut &str) -> Result<Condition, Wrong> {
        let wrong =
            "a condition is `name`, `name=value` or `name!=value`, as in `[type=work]` or `[primary]`";
        let mut member = Vec::new();
        loop {
            let name = part(rest, &['.', '=', '!', ',', ']'])?;
            if name.is_empty() {
                return Err(wrong.into());
            }
            member.push(name);
            match rest.strip_prefix('.') {
                Some(after) => *rest = after,
                None => break,
            }
        }
        let test = if let Some(after) = rest.strip_prefix("!=") {
            *rest = after;
            Test::Differs(part(rest, &[',', ']'])?)
        } else if let Some(after) = rest.strip_prefix('=') {
            *rest = after;
            Test::Equal(part(rest, &[',', ']'])?)
        } else {
            Test::True
        };
        if !rest.starts_with([',', ']']) {
            return Err(wrong.into());
        }
        Ok(Condition { member, test })
    }

    fn holds(&self, element: &Value) -> Result<bool, Misfit> {
        let mut value = element;
        for name in &self.member {
            value = match value {
                Value::Object(object) => object.get(name).unwrap_or(&Value::Null),
                Value::Null => value,
                _ => return Err("a condition in brackets is for lists of objects"),
            };
        }
        let text = match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number_text(number)),
            Value::Bool(yes) => Some(yes.to_string()),
            Value::Null => None,
            Value::Array(_) | Value::Object(_) => {
                return Err("a condition compares a text, a number or a boolean");
            }
        };
        Ok(match &self.test {
            Test::True => text.is_some_and(|text| truth(&text) == Some(true)),
            Test::Equal(wanted) => text.is_some_and(|text| text == *wanted),
            Test::Differs(unwanted) => text.is_none_or(|text| text != *unwanted),
        })
    }
}

impl Path {
    /// Whether it is a list of values by its form.
    pub(super) fn is_list(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Each(_)))
    }

    /// Returns the values in a property: scalars, without nulls.
    ///
    /// # Errors
    /// The value has another form than the path.
    pub(crate) fn values<'v>(&self, property: &'v Value) -> Result<Vec<&'v Value>, Misfit> {
        let mut all = vec![property];
        for step in &self.steps {
            let mut next = Vec::new();
            for value in all.into_iter().filter(|value| !value.is_null()) {
                step.apply(value, &mut next)?;
            }
            all = next;
        }
        let mut values = Vec::new();
        for value in all {
            let elements = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            for element in elements {
                match element {
                    Value::Null => {}
                    Value::Array(_) => return Err("a list within a list is no value"),
                    Value::Object(_) => {
                        return Err("an object is no value: name one of its members, as in `.value`");
                    }
                    scalar => values.push(scalar),
                }
            }
        }
        Ok(values)
    }
}

impl Step {
    fn apply<'v>(&self, value: &'v Value, out: &mut Vec<&'v Value>) -> Result<(), Misfit> {
        // What stands for one element in XML is no list of one in JSON.
        let elements = || value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        match self {
            Step::Member(name) => match value {
                Value::Object(object) => out.extend(object.get(name)),
                Value::Array(_) => {
                    return Err(
                        "it is a list: write `[0]`, a condition such as `[type=work]`, or `[]` for all",
                    );
                }
                _ => return Err("it is not an object, and has no members"),
            },
            Step::At(place) => {
                let elements = elements();
                let back = usize::try_from(place.unsigned_abs()).unwrap_or(usize::MAX);
                let at = if *place < 0 { elements.len().checked_sub(back) } else { Some(back) };
                out.extend(at.and_then(|at| elements.get(at)));
            }
            Step::First(conditions) => {
                for element in elements() {
                    if holds(conditions, element)? {
                        out.push(element);
                        break;
                    }
                }
            }
            Step::Each(conditions) => {
                for element in elements() {
                    if holds(conditions, element)? {
                        out.push(element);
                    }
                }
            }
        }
        Ok(())
    }
}

fn holds(conditions: &[Condition], element: &Value) -> Result<bool, Misfit> {
    for condition in conditions {
        if !condition.holds(element)? {
            return Ok(false);
        }
    }
    Ok(true)
}
