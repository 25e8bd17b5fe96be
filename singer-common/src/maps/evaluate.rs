//! Evaluation of an expression for a record. Pure: no clock, no randomness, only the record, the settings and the day of the run.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::Write as _;

use md5::Md5;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::expression::{Clause, Comparison, Element, Function, Kind, Method, Node};
use super::extras::Moment;
use super::number::{Num, number};
use super::texts::on_text;
use super::value::{
    binary, compare, contains, equal, from_json, items_of, signed, text, to_float, to_integer, to_json,
    to_text, truth, type_name,
};
use ldap_directory::dn::escape_value;

/// The names that an expression may refer to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'v, 'l> {
    /// The record, an object.
    pub(super) record: &'v Value,
    /// `config`.
    pub(super) config: &'v Value,
    /// `__stream_name__`.
    pub(super) stream: &'v Value,
    /// `__original_stream_name__`.
    pub(super) original: &'v Value,
    /// `self`: the value of the property before the map.
    pub(super) own: Option<&'v Value>,
    /// Names bound by comprehensions, the innermost first.
    pub(super) locals: Option<&'l Local<'l>>,
    /// The number of items iterated over by comprehensions so far.
    pub(super) steps: &'l Cell<u32>,
    /// What the run knows of time.
    pub(super) moment: Moment,
}

/// A name bound by a comprehension.
#[derive(Debug)]
pub(super) struct Local<'l> {
    name: &'l str,
    value: &'l Value,
    outer: Option<&'l Local<'l>>,
}

/// The most items that all comprehensions of an expression iterate over, as in the SDK.
const MOST_STEPS: u32 = 10_000;

/// The reason why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The record does not have the property.
    Absent,
    /// A value has the wrong type for the operation.
    Wrong {
        /// The position in the expression, in characters from 1.
        at: usize,
        /// The reason. Never contains a value.
        reason: String,
    },
}

type Evaluated<'v> = Result<Cow<'v, Value>, Failure>;

impl<'v> Scope<'v, '_> {
    fn name(&self, name: &str) -> Option<Cow<'v, Value>> {
        let mut local = self.locals;
        while let Some(Local { name: known, value, outer }) = local {
            if *known == name {
                return Some(Cow::Owned((*value).clone()));
            }
            local = *outer;
        }
        self.global(name).map(Cow::Borrowed)
    }

    fn global(&self, name: &str) -> Option<&'v Value> {
        match name {
            "self" if self.own.is_some() => self.own,
            "_" | "record" => Some(self.record),
            "config" => Some(self.config),
            "__stream_name__" => Some(self.stream),
            "__original_stream_name__" => Some(self.original),
            _ => self.record.get(name),
        }
    }
}

/// Evaluates an expression in a scope.
pub(super) fn evaluate<'v>(node: &'v Node, scope: &Scope<'v, '_>) -> Evaluated<'v> {
    let owned = |value: Value| Ok(Cow::Owned(value));
    let wrong = |reason: String| Failure::Wrong { at: node.at, reason };
    match &node.kind {
        Kind::Literal(value) => Ok(Cow::Borrowed(value)),
        Kind::Name(name) => scope.name(name).ok_or(Failure::Absent),
        Kind::List(items) | Kind::Tuple(items) => {
            let items = items.iter().map(|item| evaluate(item, scope).map(Cow::into_owned));
            owned(Value::Array(items.collect::<Result<_, _>>()?))
        }
        Kind::Object(pairs) => {
            let mut object = Map::new();
            for (key, value) in pairs {
                insert(&mut object, evaluate(key, scope)?, evaluate(value, scope)?, wrong)?;
            }
            owned(object.into())
        }
        Kind::Comprehension(element, clauses) => {
            let mut made = match **element {
                Element::One(_) => Value::Array(Vec::new()),
                Element::Pair(..) => Value::Object(Map::new()),
            };
            comprehend(node.at, element, clauses, scope, &mut made)?;
            Ok(Cow::Owned(made))
        }
        Kind::Format(parts) => {
            let mut made = String::new();
            for part in parts {
                made.push_str(&to_text(&*evaluate(part, scope)?).map_err(wrong)?);
            }
            owned(text(made).map_err(wrong)?)
        }
        Kind::Index(of, index) => at_index(evaluate(of, scope)?, &*evaluate(index, scope)?, wrong),
        Kind::Attribute(of, name) => at_key(evaluate(of, scope)?, name, wrong),
        Kind::Slice(of, [start, end, step]) => {
            let bound = |part: &'v Option<Box<Node>>| part.as_deref().map(|n| evaluate(n, scope)).transpose();
            let (of, start, end, step) = (evaluate(of, scope)?, bound(start)?, bound(end)?, bound(step)?);
            owned(slice(&of, start.as_deref(), end.as_deref(), step.as_deref()).map_err(wrong)?)
        }
        Kind::Call(function, arguments) => {
            let argument = match arguments.first() {
                Some(argument) => evaluate(argument, scope)?,
                None => Cow::Owned(Value::Null),
            };
            owned(call(*function, &argument).map_err(wrong)?)
        }
        Kind::Extra(extra, arguments) => {
            let arguments = arguments.iter().map(|a| evaluate(a, scope)).collect::<Result<Vec<_>, _>>()?;
            let arguments: Vec<&Value> = arguments.iter().map(|argument| &**argument).collect();
            owned(extra.call(&arguments, scope.moment).map_err(wrong)?)
        }
        Kind::Method(of, method, arguments) => {
            let of = evaluate(of, scope)?;
            let is_tuple = matches!(arguments.first(), Some(Node { kind: Kind::Tuple(_), .. }));
            let arguments = arguments.iter().map(|a| evaluate(a, scope)).collect::<Result<Vec<_>, _>>()?;
            if *method == Method::Get {
                return get(of, &arguments, wrong);
            }
            let result = match &*of {
                Value::String(text) => on_text(text, *method, &arguments, is_tuple),
                Value::Array(items) => on_list(items, *method, &arguments),
                Value::Object(object) => on_object(object, *method),
                Value::Null => Err(format!(
                    "`.{0}()` of null; `X.{0}(…) if X else None` takes care of it",
                    method.name()
                )),
                other => Err(format!("`.{}()` of {}, and it is for texts", method.name(), type_name(other))),
            };
            owned(result.map_err(wrong)?)
        }
        Kind::Not(of) => owned((!truth(&*evaluate(of, scope)?)).into()),
        Kind::Negative(of) => owned(signed(&*evaluate(of, scope)?, true).map_err(wrong)?),
        Kind::Positive(of) => owned(signed(&*evaluate(of, scope)?, false).map_err(wrong)?),
        Kind::Binary(a, operator, b) => {
            let (a, b) = (evaluate(a, scope)?, evaluate(b, scope)?);
            owned(binary(&a, *operator, &b).map_err(wrong)?)
        }
        Kind::Compare(first, rest) => {
            let mut left = evaluate(first, scope)?;
            for (comparison, right) in rest {
                let right = evaluate(right, scope)?;
                if !holds(&left, *comparison, &right).map_err(wrong)? {
                    return owned(false.into());
                }
                left = right;
            }
            owned(true.into())
        }
        // As in Python, the result is the operand that decided.
        Kind::And(parts) => decide(parts, scope, false),
        Kind::Or(parts) => decide(parts, scope, true),
        Kind::If { test, then, otherwise } => {
            let branch = if truth(&*evaluate(test, scope)?) { then } else { otherwise };
            evaluate(branch, scope)
        }
    }
}

fn decide<'v>(parts: &'v [Node], scope: &Scope<'v, '_>, ends_with: bool) -> Evaluated<'v> {
    let mut last = Cow::Owned(Value::Bool(false));
    for part in parts {
        last = evaluate(part, scope)?;
        if truth(&last) == ends_with {
            break;
        }
    }
    Ok(last)
}

fn holds(a: &Value, comparison: Comparison, b: &Value) -> Result<bool, String> {
    Ok(match comparison {
        Comparison::Equal => equal(a, b),
        Comparison::NotEqual => !equal(a, b),
        Comparison::Less => compare(a, b)?.is_lt(),
        Comparison::LessOrEqual => compare(a, b)?.is_le(),
        Comparison::Greater => compare(a, b)?.is_gt(),
        Comparison::GreaterOrEqual => compare(a, b)?.is_ge(),
        Comparison::In => contains(b, a)?,
        Comparison::NotIn => !contains(b, a)?,
        // Python guarantees identity only for these constants.
        Comparison::Is => a == b,
        Comparison::IsNot => a != b,
    })
}

fn at_key<'v>(of: Cow<'v, Value>, key: &str, wrong: impl Fn(String) -> Failure) -> Evaluated<'v> {
    let kind = type_name(&of);
    match of {
        Cow::Borrowed(Value::Object(object)) => object.get(key).map(Cow::Borrowed).ok_or(Failure::Absent),
        Cow::Owned(Value::Object(mut object)) => object.remove(key).map(Cow::Owned).ok_or(Failure::Absent),
        _ => Err(wrong(format!("`{key}` is asked for of {kind}"))),
    }
}

fn at_index<'v>(of: Cow<'v, Value>, index: &Value, wrong: impl Fn(String) -> Failure) -> Evaluated<'v> {
    if let Value::String(key) = index {
        return at_key(of, key, wrong);
    }
    let Some(Num::Integer(n)) = number(index) else {
        return Err(wrong(format!("`[…]` with {}", type_name(index))));
    };
    let outside = || wrong(format!("`[{n}]`: there is nothing at that place"));
    match of {
        Cow::Borrowed(Value::Array(items)) => {
            place(n, items.len()).and_then(|n| items.get(n)).map(Cow::Borrowed).ok_or_else(outside)
        }
        Cow::Owned(Value::Array(items)) => {
            place(n, items.len()).and_then(|n| items.into_iter().nth(n)).map(Cow::Owned).ok_or_else(outside)
        }
        of => match &*of {
            Value::String(text) => place(n, text.chars().count())
                .and_then(|n| text.chars().nth(n))
                .map(|c| Cow::Owned(Value::String(c.into())))
                .ok_or_else(outside),
            other => Err(wrong(format!("`[{n}]` of {}", type_name(other)))),
        },
    }
}

/// Resolves an index; a negative one counts from the end.
fn place(n: i128, length: usize) -> Option<usize> {
    let n = if n < 0 { n.checked_add(i128::try_from(length).ok()?)? } else { n };
    usize::try_from(n).ok().filter(|n| *n < length)
}

/// Inserts a value into the object that an expression builds.
fn insert(
    object: &mut Map<String, Value>,
    key: Cow<'_, Value>,
    value: Cow<'_, Value>,
    wrong: impl Fn(String) -> Failure,
) -> Result<(), Failure> {
    let Value::String(key) = key.into_owned() else {
        return Err(wrong("a key of an object that is not a text".to_owned()));
    };
    object.insert(key, value.into_owned());
    Ok(())
}

/// Iterates over the items of the first clause, and recursively over the other clauses.
fn comprehend<'v>(
    at: usize,
    element: &'v Element,
    clauses: &'v [Clause],
    scope: &Scope<'v, '_>,
    made: &mut Value,
) -> Result<(), Failure> {
    let wrong = |reason: String| Failure::Wrong { at, reason };
    let Some((clause, inner)) = clauses.split_first() else {
        match (element, made) {
            (Element::One(node), Value::Array(items)) => items.push(evaluate(node, scope)?.into_owned()),
            (Element::Pair(key, value), Value::Object(object)) => {
                insert(object, evaluate(key, scope)?, evaluate(value, scope)?, wrong)?;
            }
            _ => {}
        }
        return Ok(());
    };
    let items = match &clause.items.kind {
        Kind::Method(of, Method::Items, _) => pairs(&*evaluate(of, scope)?),
        _ => items_of(&*evaluate(&clause.items, scope)?),
    };
    let items = items.map_err(|reason| Failure::Wrong { at: clause.items.at, reason })?;
    for item in items {
        if scope.steps.replace(scope.steps.get() + 1) >= MOST_STEPS {
            return Err(wrong(format!("more than {MOST_STEPS} items")));
        }
        let values = if clause.unpacks { items_of(&item).map_err(wrong)? } else { vec![item] };
        if values.len() != clause.targets.len() {
            return Err(wrong(format!(
                "an item of {} parts for {} names",
                values.len(),
                clause.targets.len()
            )));
        }
        bind(&clause.targets, &values, scope, &mut |scope| {
            for condition in &clause.conditions {
                if !truth(&*evaluate(condition, scope)?) {
                    return Ok(());
                }
            }
            comprehend(at, element, inner, scope, made)
        })?;
    }
    Ok(())
}

/// Evaluates with an item bound to the clause's names.
fn bind<'v>(
    names: &[String],
    values: &[Value],
    scope: &Scope<'v, '_>,
    then: &mut dyn FnMut(&Scope<'v, '_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (Some((name, names)), Some((value, values))) = (names.split_first(), values.split_first()) else {
        return then(scope);
    };
    let local = Local { name, value, outer: scope.locals };
    bind(names, values, &Scope { locals: Some(&local), ..*scope }, then)
}

/// `.items()`
fn pairs(value: &Value) -> Result<Vec<Value>, String> {
    let Value::Object(object) = value else {
        return Err(format!("`.items()` of {}, and it is for objects", type_name(value)));
    };
    Ok(object.iter().map(|(key, value)| Value::Array(vec![key.as_str().into(), value.clone()])).collect())
}

fn on_list(items: &[Value], method: Method, arguments: &[Cow<'_, Value>]) -> Result<Value, String> {
    let Some(wanted) = arguments.first() else { return Err(format!("`.{}()` of a list", method.name())) };
    match method {
        Method::Count => Ok(items.iter().filter(|item| equal(item, wanted)).count().into()),
        Method::Index => {
            let at = items.iter().position(|item| equal(item, wanted));
            at.map(Value::from).ok_or_else(|| "`.index()` of what is not there".to_owned())
        }
        _ => Err(format!("`.{}()` of a list, and it is for texts", method.name())),
    }
}

fn on_object(object: &Map<String, Value>, method: Method) -> Result<Value, String> {
    match method {
        Method::Keys => Ok(object.keys().map(|key| Value::from(key.as_str())).collect()),
        Method::Values => Ok(object.values().cloned().collect()),
        _ => Err(format!("`.{}()` of an object, and it is for texts", method.name())),
    }
}

/// Evaluates `[from:to:step]` by Python's rules
/// (<https://docs.python.org/3/library/stdtypes.html#common-sequence-operations>, notes 4 and 5).
fn slice(
    of: &Value,
    start: Option<&Value>,
    end: Option<&Value>,
    step: Option<&Value>,
) -> Result<Value, String> {
    let whole = |value: Option<&Value>| match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match number(value) {
            Some(Num::Integer(n)) => Ok(Some(n)),
            _ => Err(format!("`[from:to]` with {}", type_name(value))),
        },
    };
    let places = |length: usize| -> Result<Vec<usize>, String> {
        let length = i128::try_from(length).unwrap_or(i128::MAX);
        let step = whole(step)?.unwrap_or(1);
        if step == 0 {
            return Err("`[from:to:step]` with a step of 0".to_owned());
        }
        let (least, most) = if step < 0 { (-1, length - 1) } else { (0, length) };
        let bound = |value: Option<&Value>, default: i128| {
            let n = whole(value)?.map(|n| if n < 0 { n.saturating_add(length) } else { n });
            Ok::<i128, String>(n.map_or(default, |n| n.clamp(least, most)))
        };
        let (mut at, end) = if step < 0 {
            (bound(start, most)?, bound(end, least)?)
        } else {
            (bound(start, least)?, bound(end, most)?)
        };
        let mut places = Vec::new();
        while if step < 0 { at > end } else { at < end } {
            places.extend(usize::try_from(at));
            at = at.saturating_add(step);
        }
        Ok(places)
    };
    match of {
        Value::String(text) => {
            let characters: Vec<char> = text.chars().collect();
            let places = places(characters.len())?;
            Ok(Value::String(places.into_iter().filter_map(|at| characters.get(at)).collect()))
        }
        Value::Array(items) => Ok(Value::Array(
            places(items.len())?.into_iter().filter_map(|at| items.get(at)).cloned().collect(),
        )),
        other => Err(format!("`[from:to]` of {}", type_name(other))),
    }
}

fn get<'v>(
    of: Cow<'v, Value>,
    arguments: &[Cow<'v, Value>],
    wrong: impl Fn(String) -> Failure,
) -> Evaluated<'v> {
    let kind = type_name(&of);
    let key = match arguments.first().map(|a| &**a) {
        Some(Value::String(key)) => Some(key),
        // These are valid and have no items.
        Some(Value::Null | Value::Bool(_) | Value::Number(_)) => None,
        _ => return Err(wrong("`.get()` without the name of a property".to_owned())),
    };
    let found = match of {
        Cow::Borrowed(Value::Object(object)) => key.and_then(|key| object.get(key)).map(Cow::Borrowed),
        Cow::Owned(Value::Object(mut object)) => key.and_then(|key| object.remove(key)).map(Cow::Owned),
        _ => return Err(wrong(format!("`.get()` of {kind}"))),
    };
    Ok(found.or_else(|| arguments.get(1).cloned()).unwrap_or_default())
}

fn call(function: Function, argument: &Value) -> Result<Value, String> {
    match function {
        Function::Bool => Ok(truth(argument).into()),
        Function::Float => to_float(argument),
        Function::Int => to_integer(argument),
        Function::Str => text(to_text(argument)?),
        Function::JsonDumps => text(to_json(argument)?),
        Function::JsonLoads => from_json(argument),
        Function::List => items_of(argument).map(Value::Array),
        Function::Len => match argument {
            Value::String(text) => Ok(text.chars().count().into()),
            Value::Array(items) => Ok(items.len().into()),
            Value::Object(object) => Ok(object.len().into()),
            other => Err(format!("`len()` of {}", type_name(other))),
        },
        Function::EscapeDn | Function::Md5 | Function::Sha256 => {
            let Value::String(text) = argument else {
                return Err(format!(
                    "`{}()` of {}, and it is for texts",
                    function.name(),
                    type_name(argument)
                ));
            };
            let digest = match function {
                Function::EscapeDn => return self::text(escape_value(text.as_bytes())),
                Function::Md5 => Md5::digest(text).to_vec(),
                _ => Sha256::digest(text).to_vec(),
            };
            Ok(Value::String(digest.iter().fold(String::new(), |mut out, octet| {
                let _ = write!(out, "{octet:02x}");
                out
            })))
        }
    }
}
