//! Values with Python's semantics: truth, equality, order, operators, conversions.

use std::cmp::Ordering;

pub(super) use ldap_directory::json::type_name;
use serde_json::{Number, Value};

use super::expression::Operator;
use super::number::{Num, arithmetic, compare_numbers, float, integer, number};

/// The longest text that an expression may build, in octets.
pub(super) const LONGEST_TEXT: usize = 1 << 20;

/// The longest list that `*` may build.
const LONGEST_LIST: usize = 100_000;

/// Python's truth value.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(_) => number(value).is_some_and(|n| n.float() != 0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}

/// Python's `==`: `1`, `1.0` and `True` are equal.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return compare_numbers(a, b) == Some(Ordering::Equal);
    }
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| equal(v, w)))
        }
        _ => a == b,
    }
}

/// Python's order of texts (by code point), of numbers, and of lists of them.
pub(super) fn compare(a: &Value, b: &Value) -> Result<Ordering, String> {
    let cannot = || format!("{} and {} cannot be compared", type_name(a), type_name(b));
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return compare_numbers(a, b).ok_or_else(cannot);
    }
    match (a, b) {
        // UTF-8 octets sort in the order of code points.
        (Value::String(a), Value::String(b)) => Ok(a.cmp(b)),
        (Value::Array(a), Value::Array(b)) => match a.iter().zip(b).find(|(a, b)| !equal(a, b)) {
            Some((a, b)) => compare(a, b),
            None => Ok(a.len().cmp(&b.len())),
        },
        _ => Err(cannot()),
    }
}

/// Python's `item in container`.
pub(super) fn contains(container: &Value, item: &Value) -> Result<bool, String> {
    match (container, item) {
        (Value::String(text), Value::String(part)) => Ok(text.contains(part.as_str())),
        (Value::Array(items), item) => Ok(items.iter().any(|i| equal(i, item))),
        (Value::Object(object), Value::String(key)) => Ok(object.contains_key(key)),
        (container, item) => {
            Err(format!("{} cannot be looked for in {}", type_name(item), type_name(container)))
        }
    }
}

/// Returns what Python iterates over: a list's items, a text's characters, an object's keys.
pub(super) fn items_of(value: &Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(items) => Ok(items.clone()),
        Value::String(text) => Ok(text.chars().map(|c| Value::String(c.into())).collect()),
        Value::Object(object) => Ok(object.keys().map(|key| key.as_str().into()).collect()),
        other => Err(format!("{} has no items", type_name(other))),
    }
}

/// `+ - * / // %`.
pub(super) fn binary(a: &Value, operator: Operator, b: &Value) -> Result<Value, String> {
    let sign = match operator {
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        Operator::FloorDivide => "//",
        Operator::Modulo => "%",
    };
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return arithmetic(a, operator, b);
    }
    match (a, operator, b) {
        (Value::String(a), Operator::Add, Value::String(b)) => text([a.as_str(), b].concat()),
        (Value::Array(a), Operator::Add, Value::Array(b)) => Ok(Value::Array([a.as_slice(), b].concat())),
        (Value::String(text), Operator::Multiply, times)
        | (times, Operator::Multiply, Value::String(text)) => {
            let Some(Num::Integer(times)) = number(times) else {
                return Err(format!("`*` of a text and {}", type_name(times)));
            };
            let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
            if text.len().saturating_mul(times) > LONGEST_TEXT {
                return Err(too_long());
            }
            Ok(Value::String(text.repeat(times)))
        }
        (Value::Array(items), Operator::Multiply, times)
        | (times, Operator::Multiply, Value::Array(items)) => {
            let Some(Num::Integer(times)) = number(times) else {
                return Err(format!("`*` of a list and {}", type_name(times)));
            };
            let times = usize::try_from(times.max(0)).unwrap_or(usize::MAX);
            if items.len().saturating_mul(times) > LONGEST_LIST {
                return Err(format!("the list would be longer than {LONGEST_LIST} items"));
            }
            Ok((0..times).flat_map(|_| items.iter().cloned()).collect())
        }
        (Value::String(_), Operator::Modulo, _) => {
            Err("`%` on a text is not supported; write `f'{X}'`".to_owned())
        }
        _ => Err(format!("`{sign}` of {} and {}", type_name(a), type_name(b))),
    }
}

pub(super) fn too_long() -> String {
    format!("the text would be longer than {LONGEST_TEXT} octets")
}

/// Returns a built text as a value, unless it is too long.
pub(super) fn text(text: String) -> Result<Value, String> {
    if text.len() > LONGEST_TEXT { Err(too_long()) } else { Ok(Value::String(text)) }
}

/// Returns `-x` or `+x`.
pub(super) fn signed(value: &Value, negative: bool) -> Result<Value, String> {
    let sign = if negative { "-" } else { "+" };
    match number(value).ok_or_else(|| format!("`{sign}` of {}", type_name(value)))? {
        Num::Integer(n) if negative => {
            n.checked_neg().map(integer).ok_or_else(|| "the result has too many digits".to_owned())
        }
        Num::Integer(n) => Ok(integer(n)),
        Num::Float(n) => float(if negative { -n } else { n }),
    }
}

/// `int(x)`.
pub(super) fn to_integer(value: &Value) -> Result<Value, String> {
    match (value, number(value)) {
        // Integers of any length: LDAP's Integer syntax is unbounded.
        (Value::Number(n), Some(Num::Float(_)))
            if n.to_string().bytes().all(|b| b.is_ascii_digit() || b == b'-') =>
        {
            Ok(value.clone())
        }
        (_, Some(Num::Integer(n))) => Ok(integer(n)),
        (_, Some(Num::Float(n))) if n.abs() < 1e38 => {
            #[allow(clippy::cast_possible_truncation, reason = "that is what it is for")]
            let n = n.trunc() as i128;
            Ok(integer(n))
        }
        (Value::String(text), _) => {
            let digits = digits(text);
            digits
                .and_then(|digits| digits.parse().ok())
                .map(integer)
                .ok_or_else(|| "`int()` of a text that is no whole number".to_owned())
        }
        _ => Err(format!("`int()` of {}", type_name(value))),
    }
}

/// Returns the digits of a text that Python accepts as an integer: surrounding blanks, single underscores inside.
fn digits(text: &str) -> Option<String> {
    let text = text.trim_matches(is_blank);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let is_number =
        unsigned.split('_').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    is_number.then(|| text.replace('_', ""))
}

/// `float(x)`.
pub(super) fn to_float(value: &Value) -> Result<Value, String> {
    if let Some(n) = number(value) {
        return float(n.float());
    }
    let Value::String(text) = value else { return Err(format!("`float()` of {}", type_name(value))) };
    let bad = || "`float()` of a text that is no number".to_owned();
    let text = text.trim_matches(is_blank);
    if !text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E')) {
        return Err(bad());
    }
    float(text.parse().map_err(|_| bad())?)
}

/// `str(x)`.
pub(super) fn to_text(value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        other => shown(other),
    }
}

/// Python's `repr`.
fn shown(value: &Value) -> Result<String, String> {
    Ok(match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(n) => number_text(n),
        Value::String(text) => quoted(text)?,
        Value::Array(items) => {
            format!("[{}]", items.iter().map(shown).collect::<Result<Vec<_>, _>>()?.join(", "))
        }
        Value::Object(object) => {
            let parts = object.iter().map(|(k, v)| Ok(format!("{}: {}", quoted(k)?, shown(v)?)));
            format!("{{{}}}", parts.collect::<Result<Vec<_>, String>>()?.join(", "))
        }
    })
}

/// Returns a number as text: an integer's digits, a float by Python's rules.
fn number_text(n: &Number) -> String {
    match number(&Value::Number(n.clone())) {
        Some(Num::Integer(n)) => n.to_string(),
        Some(Num::Float(f)) if n.to_string().contains(['.', 'e', 'E']) => float_text(f),
        _ => n.to_string(),
    }
}

/// `json.dumps(x)`: ASCII only, with a blank after each comma and colon.
pub(super) fn to_json(value: &Value) -> Result<String, String> {
    let text = |text: &str| super::flatten::ascii_json(&Value::from(text)).replace('\u{7f}', "\\u007f");
    Ok(match value {
        Value::Number(n) if n.as_f64().is_none_or(f64::is_infinite) && n.to_string().contains(['e', 'E']) => {
            return Err("a number that is not finite in Python".to_owned());
        }
        Value::Number(n) => number_text(n),
        Value::String(s) => text(s),
        Value::Null | Value::Bool(_) => value.to_string(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(to_json).collect::<Result<Vec<_>, _>>()?.join(", "))
        }
        Value::Object(object) => {
            let parts = object.iter().map(|(k, v)| Ok(format!("{}: {}", text(k), to_json(v)?)));
            format!("{{{}}}", parts.collect::<Result<Vec<_>, String>>()?.join(", "))
        }
    })
}

/// `json.loads(x)`.
pub(super) fn from_json(value: &Value) -> Result<Value, String> {
    let Value::String(text) = value else {
        return Err(format!("`json.loads()` of {}, and it is for texts", type_name(value)));
    };
    serde_json::from_str(text).map_err(|_| "`json.loads()` of a text that is not JSON".to_owned())
}

/// Returns a text as Python's `repr` shows it.
/// Python escapes non-printable characters beyond ASCII by its own table (`str.isprintable`); doubtful ones are rejected.
fn quoted(text: &str) -> Result<String, String> {
    use std::fmt::Write as _;
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if c < ' ' || c == '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if !c.is_ascii() && !is_printable(c) => {
                return Err(format!(
                    "the text of a list or an object with U+{:04X} is not supported",
                    u32::from(c)
                ));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    Ok(out)
}

/// Whether Python certainly shows a character beyond ASCII unescaped: letters, digits, and symbols of fully assigned blocks.
fn is_printable(c: char) -> bool {
    c.is_alphanumeric()
        || matches!(c, '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{2ff}' | '\u{300}'..='\u{36f}' | '\u{2010}'..='\u{2027}'
            | '\u{2030}'..='\u{205e}' | '\u{20a0}'..='\u{20bf}' | '\u{2100}'..='\u{218b}' | '\u{2190}'..='\u{2426}'
            | '\u{2500}'..='\u{27ff}' | '\u{3001}'..='\u{303f}' | '\u{1f300}'..='\u{1f64f}')
}

/// Returns a float as Python writes it: the shortest digits, with an exponent below 1e-4 and from 1e16 on.
fn float_text(n: f64) -> String {
    let text = format!("{n:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let text = format!("{n}");
        return if text.contains('.') { text } else { format!("{text}.0") };
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// Whether Python's `strip` and `split` treat a character as blank.
pub(super) fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
