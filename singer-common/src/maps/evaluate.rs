//! What an expression comes to for a record. Pure: no clock, no chance, nothing outside of the record and the settings.

use std::borrow::Cow;
use std::fmt::Write as _;

use md5::Md5;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::expression::{Comparison, Function, Kind, Method, Node};
use super::value::{
    Num, binary, compare, contains, equal, is_blank, number, signed, text, to_float, to_integer, to_text,
    truth, type_name,
};
use crate::dn::escape_value;

/// What an expression may refer to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'v> {
    /// The record, an object.
    pub(super) record: &'v Value,
    /// `config`.
    pub(super) config: &'v Value,
    /// `__stream_name__`.
    pub(super) stream: &'v Value,
    /// `__original_stream_name__`.
    pub(super) original: &'v Value,
    /// `self`: the property that is computed anew.
    pub(super) own: Option<&'v Value>,
}

/// Why an expression comes to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The record does not have the property.
    Absent,
    /// The values do not fit what is to be done with them.
    Wrong {
        /// Where, in characters from 1.
        at: usize,
        /// What. Without any value.
        reason: String,
    },
}

type Evaluated<'v> = Result<Cow<'v, Value>, Failure>;

impl<'v> Scope<'v> {
    fn name(&self, name: &str) -> Option<&'v Value> {
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

/// Evaluates an expression.
pub(super) fn evaluate<'v>(node: &'v Node, scope: &Scope<'v>) -> Evaluated<'v> {
    let owned = |value: Value| Ok(Cow::Owned(value));
    let wrong = |reason: String| Failure::Wrong { at: node.at, reason };
    match &node.kind {
        Kind::Literal(value) => Ok(Cow::Borrowed(value)),
        Kind::Name(name) => scope.name(name).map(Cow::Borrowed).ok_or(Failure::Absent),
        Kind::List(items) => {
            let items = items.iter().map(|item| evaluate(item, scope).map(Cow::into_owned));
            owned(Value::Array(items.collect::<Result<_, _>>()?))
        }
        Kind::Index(of, index) => at_index(evaluate(of, scope)?, &*evaluate(index, scope)?, wrong),
        Kind::Attribute(of, name) => at_key(evaluate(of, scope)?, name, wrong),
        Kind::Slice(of, start, end) => {
            let bound = |part: &'v Option<Box<Node>>| part.as_deref().map(|n| evaluate(n, scope)).transpose();
            let (of, start, end) = (evaluate(of, scope)?, bound(start)?, bound(end)?);
            owned(slice(&of, start.as_deref(), end.as_deref()).map_err(wrong)?)
        }
        Kind::Call(function, arguments) => {
            let argument = match arguments.first() {
                Some(argument) => evaluate(argument, scope)?,
                None => Cow::Owned(Value::Null),
            };
            owned(call(*function, &argument).map_err(wrong)?)
        }
        Kind::Method(of, method, arguments) => {
            let of = evaluate(of, scope)?;
            let arguments = arguments.iter().map(|a| evaluate(a, scope)).collect::<Result<Vec<_>, _>>()?;
            if *method == Method::Get {
                return get(of, &arguments, wrong);
            }
            let result = match &*of {
                Value::String(text) => on_text(text, *method, &arguments),
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
        // The value that decided, as Python has it.
        Kind::And(parts) => decide(parts, scope, false),
        Kind::Or(parts) => decide(parts, scope, true),
        Kind::If { test, then, otherwise } => {
            let branch = if truth(&*evaluate(test, scope)?) { then } else { otherwise };
            evaluate(branch, scope)
        }
    }
}

fn decide<'v>(parts: &'v [Node], scope: &Scope<'v>, ends_with: bool) -> Evaluated<'v> {
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
        // Whether two are one and the same is only sure of these in Python.
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

/// A place from the beginning; a negative one is from the end.
fn place(n: i128, length: usize) -> Option<usize> {
    let n = if n < 0 { n.checked_add(i128::try_from(length).ok()?)? } else { n };
    usize::try_from(n).ok().filter(|n| *n < length)
}

fn slice(of: &Value, start: Option<&Value>, end: Option<&Value>) -> Result<Value, String> {
    let range = |length: usize| -> Result<(usize, usize), String> {
        let bound = |value: Option<&Value>, default: usize| match value {
            None | Some(Value::Null) => Ok(default),
            Some(value) => match number(value) {
                Some(Num::Integer(n)) => {
                    let length = i128::try_from(length).unwrap_or(i128::MAX);
                    let n = if n < 0 { n.saturating_add(length) } else { n };
                    Ok(usize::try_from(n.clamp(0, length)).unwrap_or(default))
                }
                _ => Err(format!("`[from:to]` with {}", type_name(value))),
            },
        };
        let (start, end) = (bound(start, 0)?, bound(end, length)?);
        Ok((start, end.saturating_sub(start)))
    };
    match of {
        Value::String(text) => {
            let (skip, take) = range(text.chars().count())?;
            Ok(Value::String(text.chars().skip(skip).take(take).collect()))
        }
        Value::Array(items) => {
            let (skip, take) = range(items.len())?;
            Ok(Value::Array(items.iter().skip(skip).take(take).cloned().collect()))
        }
        other => Err(format!("`[from:to]` of {}", type_name(other))),
    }
}

fn get<'v>(
    of: Cow<'v, Value>,
    arguments: &[Cow<'v, Value>],
    wrong: impl Fn(String) -> Failure,
) -> Evaluated<'v> {
    let kind = type_name(&of);
    let Some(Value::String(key)) = arguments.first().map(|a| &**a) else {
        return Err(wrong("`.get()` without the name of a property".to_owned()));
    };
    let found = match of {
        Cow::Borrowed(Value::Object(object)) => object.get(key).map(Cow::Borrowed),
        Cow::Owned(Value::Object(mut object)) => object.remove(key).map(Cow::Owned),
        _ => return Err(wrong(format!("`.get()` of {kind}"))),
    };
    Ok(found.or_else(|| arguments.get(1).cloned()).unwrap_or_default())
}

fn call(function: Function, argument: &Value) -> Result<Value, String> {
    match function {
        Function::Bool => Ok(truth(argument).into()),
        Function::Float => to_float(argument),
        Function::Int => to_integer(argument),
        Function::Str => text(to_text(argument)),
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

fn on_text(of: &str, method: Method, arguments: &[Cow<'_, Value>]) -> Result<Value, String> {
    let argument = |n: usize| arguments.get(n).map(|a| &**a).filter(|a| !a.is_null());
    let needs_text =
        |value: &Value| format!("`.{}()` with {}, and it takes a text", method.name(), type_name(value));
    let optional = |n: usize| match argument(n) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(other) => Err(needs_text(other)),
    };
    let required = |n: usize| optional(n)?.ok_or_else(|| needs_text(&Value::Null));
    // How often; a negative number is no limit.
    let count = |n: usize| match arguments.get(n).map(|a| number(a)) {
        None => Ok(None),
        Some(Some(Num::Integer(n))) => Ok(usize::try_from(n).ok()),
        Some(_) => Err(format!("`.{}()` takes a whole number there", method.name())),
    };
    let stripped = |start: bool, end: bool| -> Result<Value, String> {
        let set = optional(0)?;
        let fits = |c: char| set.map_or_else(|| is_blank(c), |set| set.contains(c));
        let of = if start { of.trim_start_matches(fits) } else { of };
        Ok(if end { of.trim_end_matches(fits) } else { of }.into())
    };
    match method {
        Method::Lower => text(of.to_lowercase()),
        Method::Upper => text(of.to_uppercase()),
        Method::Strip => stripped(true, true),
        Method::LStrip => stripped(true, false),
        Method::RStrip => stripped(false, true),
        Method::StartsWith => Ok(of.starts_with(required(0)?).into()),
        Method::EndsWith => Ok(of.ends_with(required(0)?).into()),
        Method::Replace => {
            let (old, new) = (required(0)?, required(1)?);
            text(count(2)?.map_or_else(|| of.replace(old, new), |n| of.replacen(old, new, n)))
        }
        Method::Split => {
            let most = count(1)?.unwrap_or(usize::MAX);
            Ok(match optional(0)? {
                Some("") => return Err("`.split()` with an empty text".to_owned()),
                Some(separator) => of.splitn(most.saturating_add(1), separator).map(Value::from).collect(),
                None => words(of, most),
            })
        }
        Method::Join => {
            let Some(Value::Array(items)) = argument(0) else {
                return Err("`.join()` of what is no list".to_owned());
            };
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            text(texts.ok_or("`.join()` of a list with something else than texts")?.join(of))
        }
        Method::Get => Err("`.get()` of a text".to_owned()),
    }
}

/// What is between blanks; after so many cuts the rest is one.
fn words(mut of: &str, most: usize) -> Value {
    let mut words = Vec::new();
    loop {
        of = of.trim_start_matches(is_blank);
        if of.is_empty() {
            return Value::Array(words);
        }
        let Some((word, rest)) = of.split_once(is_blank).filter(|_| words.len() < most) else {
            words.push(of.into());
            return Value::Array(words);
        };
        words.push(word.into());
        of = rest;
    }
}
