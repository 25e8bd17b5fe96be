//! Numbers with Python's semantics: integers of 128 bits, floats, and booleans as integers.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::expression::Operator;

/// A number, or a boolean, which is a number in Python.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Num {
    Integer(i128),
    Float(f64),
}

#[allow(clippy::cast_precision_loss, reason = "Python loses it, too")]
impl Num {
    pub(super) fn float(self) -> f64 {
        match self {
            Num::Integer(n) => n as f64,
            Num::Float(n) => n,
        }
    }
}

/// Returns the number in a value. An integer too large to compute with is returned as a float.
pub(super) fn number(value: &Value) -> Option<Num> {
    match value {
        Value::Bool(b) => Some(Num::Integer(i128::from(*b))),
        Value::Number(n) => {
            if let Some(n) = n.as_i64() {
                return Some(Num::Integer(n.into()));
            }
            let text = n.to_string();
            text.parse().ok().map(Num::Integer).or_else(|| text.parse().ok().map(Num::Float))
        }
        _ => None,
    }
}

/// Returns an integer as a value.
pub(super) fn integer(n: i128) -> Value {
    Number::from_i128(n).map_or(Value::Null, Value::Number)
}

/// Returns a float as a value. JSON has neither infinity nor NaN.
pub(super) fn float(n: f64) -> Result<Value, String> {
    Number::from_f64(n).map(Value::Number).ok_or_else(|| "the result is no finite number".to_owned())
}

/// Compares two numbers; `None` if one of them is NaN.
pub(super) fn compare_numbers(a: Num, b: Num) -> Option<Ordering> {
    match (a, b) {
        (Num::Integer(a), Num::Integer(b)) => Some(a.cmp(&b)),
        (a, b) => a.float().partial_cmp(&b.float()),
    }
}

/// Computes `+ - * / // %` of two numbers.
pub(super) fn arithmetic(a: Num, operator: Operator, b: Num) -> Result<Value, String> {
    let divides = matches!(operator, Operator::Divide | Operator::FloorDivide | Operator::Modulo);
    if divides && b.float() == 0.0 {
        return Err("division by zero".to_owned());
    }
    if let (Num::Integer(a), Num::Integer(b)) = (a, b)
        && operator != Operator::Divide
    {
        let result = match operator {
            Operator::Add => a.checked_add(b),
            Operator::Subtract => a.checked_sub(b),
            Operator::Multiply => a.checked_mul(b),
            // Python rounds towards minus infinity; the remainder has the divisor's sign.
            Operator::FloorDivide => floor_divide(a, b),
            Operator::Divide | Operator::Modulo => {
                floor_divide(a, b).and_then(|q| q.checked_mul(b)).and_then(|p| a.checked_sub(p))
            }
        };
        return result.map(integer).ok_or_else(|| "the result has too many digits".to_owned());
    }
    let (a, b) = (a.float(), b.float());
    float(match operator {
        Operator::Add => a + b,
        Operator::Subtract => a - b,
        Operator::Multiply => a * b,
        Operator::Divide => a / b,
        Operator::FloorDivide => (a / b).floor(),
        Operator::Modulo => {
            let rest = a % b;
            if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }
        }
    })
}

fn floor_divide(a: i128, b: i128) -> Option<i128> {
    let quotient = a.checked_div(b)?;
    let is_exact = a.checked_rem(b)? == 0;
    if !is_exact && (a < 0) != (b < 0) { quotient.checked_sub(1) } else { Some(quotient) }
}
