//! The places where a tuple or a view of Python is allowed.

use super::expression::{Comparison, Function, Kind, Method, Node, children};
use super::syntax_error::SyntaxError;

/// Rejects expressions in which the difference between a tuple and a list would be visible.
/// JSON has only lists, but `str((1, 2))` is another text than `str([1, 2])`, and the two are not equal.
/// Python's views (`o.keys()`) are rejected in the same places.
pub(super) fn check(node: &Node) -> Result<(), SyntaxError> {
    allow(node, Usage::Value)
}

/// The use of a value.
#[derive(Clone, Copy, PartialEq)]
enum Usage {
    /// The result of the expression.
    Value,
    /// The value is iterated over or searched.
    Items,
    /// One of its items is read.
    Base,
    /// Any other use.
    Other,
}

fn allow(node: &Node, usage: Usage) -> Result<(), SyntaxError> {
    let refuse = |reason: &str| Err(SyntaxError::new(node.at, reason));
    match &node.kind {
        Kind::Tuple(items) => {
            if usage == Usage::Other {
                return refuse("a tuple is not supported here: it would be a list; write a list, `[a, b]`");
            }
            items.iter().try_for_each(|item| allow(item, Usage::Other))
        }
        Kind::Method(of, method, arguments) => {
            match method {
                Method::Keys | Method::Values if usage != Usage::Items => {
                    return refuse(
                        "it is not a list in Python: write `list(X.keys())`, or `for NAME in X.keys()`",
                    );
                }
                Method::Items => {
                    return refuse("`.items()` is supported only in `for KEY, VALUE in X.items()`");
                }
                Method::Partition if matches!(usage, Usage::Other) => {
                    return refuse("`.partition()` is a tuple in Python: take a part of it, `[0]`");
                }
                _ => {}
            }
            allow(of, Usage::Other)?;
            let usage = match method {
                Method::Join | Method::StartsWith | Method::EndsWith => Usage::Items,
                _ => Usage::Other,
            };
            arguments.iter().try_for_each(|argument| allow(argument, usage))
        }
        Kind::Call(Function::List | Function::Len, arguments) => {
            arguments.iter().try_for_each(|argument| allow(argument, Usage::Items))
        }
        Kind::Index(of, index) => allow(of, Usage::Base).and_then(|()| allow(index, Usage::Other)),
        Kind::If { test, then, otherwise } => {
            allow(test, Usage::Other)?;
            allow(then, usage)?;
            allow(otherwise, usage)
        }
        Kind::And(parts) | Kind::Or(parts) => parts.iter().try_for_each(|part| allow(part, usage)),
        Kind::Compare(first, rest) => {
            allow(first, Usage::Other)?;
            let mut left = &**first;
            for (comparison, right) in rest {
                let is_one = |node: &Node| matches!(&node.kind, Kind::Literal(value) if value.is_null() || value.is_boolean());
                match comparison {
                    Comparison::In | Comparison::NotIn => allow(right, Usage::Items)?,
                    Comparison::Is | Comparison::IsNot if !is_one(left) && !is_one(right) => {
                        return refuse("`is` is supported only with None, True or False; write `==`");
                    }
                    _ => allow(right, Usage::Other)?,
                }
                left = right;
            }
            Ok(())
        }
        Kind::Comprehension(element, clauses) => {
            for clause in clauses {
                match &clause.items.kind {
                    Kind::Method(of, Method::Items, _) if clause.targets.len() == 2 => {
                        allow(of, Usage::Other)?;
                    }
                    _ => allow(&clause.items, Usage::Items)?,
                }
                clause.conditions.iter().try_for_each(|condition| allow(condition, Usage::Other))?;
            }
            element.nodes().into_iter().try_for_each(|node| allow(node, Usage::Other))
        }
        kind => children(kind).into_iter().try_for_each(|child| allow(child, Usage::Other)),
    }
}
