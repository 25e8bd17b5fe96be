//! Comprehensions, displays of objects and formatted texts: their grammar, and the places where a tuple is allowed.

use serde_json::Value;

use super::SyntaxError;
use super::expression::{Comparison, Function, Kind, Method, Node, Parsed, Parser};
use super::lexer::{Part, TokenKind};

/// A clause of a comprehension: `for NAMES in ITER if CONDITION`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Clause {
    /// One name, or the names that an item is unpacked into.
    pub(super) targets: Vec<String>,
    /// Whether an item is unpacked.
    pub(super) divides: bool,
    pub(super) items: Node,
    pub(super) conditions: Vec<Node>,
}

/// The element of a comprehension, evaluated for each item.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Element {
    One(Node),
    /// `{K: V for …}`.
    Pair(Node, Node),
}

impl Element {
    pub(super) fn nodes(&self) -> Vec<&Node> {
        match self {
            Element::One(node) => vec![node],
            Element::Pair(key, value) => vec![key, value],
        }
    }
}

impl Parser {
    /// Parses the clauses behind an element; empty if there is no `for`.
    pub(super) fn clauses(&mut self) -> Result<Vec<Clause>, SyntaxError> {
        let mut clauses = Vec::new();
        while self.take_word("for") {
            let (targets, divides) = self.targets()?;
            if !self.take_word("in") {
                return Err(SyntaxError::new(self.at(), "`in` is missing: `[X for NAME in LIST]`"));
            }
            let items = self.or()?;
            let mut conditions = Vec::new();
            while self.take_word("if") {
                conditions.push(self.or()?);
            }
            clauses.push(Clause { targets, divides, items, conditions });
        }
        Ok(clauses)
    }

    fn targets(&mut self) -> Result<(Vec<String>, bool), SyntaxError> {
        let in_brackets = self.take_sign("(");
        let (mut names, mut divides) = (Vec::new(), false);
        loop {
            let at = self.at();
            match self.take() {
                TokenKind::Name(name) => names.push(name),
                _ => return Err(SyntaxError::new(at, "a name is missing after `for`")),
            }
            if !self.take_sign(",") {
                break;
            }
            divides = true;
            if !matches!(self.peek(), TokenKind::Name(name) if name != "in") {
                break;
            }
        }
        if in_brackets {
            self.expect_sign(")")?;
        }
        Ok((names, divides))
    }

    /// Parses `[a, b]` or a comprehension. The opening bracket is already read.
    pub(super) fn list(&mut self, at: usize) -> Parsed {
        if self.take_sign("]") {
            return Self::node(at, Kind::List(Vec::new()));
        }
        let first = self.expression()?;
        let clauses = self.clauses()?;
        if !clauses.is_empty() {
            self.expect_sign("]")?;
            return Self::node(at, Kind::Comprehension(Box::new(Element::One(first)), clauses));
        }
        let mut items = vec![first];
        if self.take_sign(",") {
            items.extend(self.items("]")?);
        }
        self.expect_sign("]")?;
        Self::node(at, Kind::List(items))
    }

    /// Parses `{k: v}` or a comprehension. The opening brace is already read.
    pub(super) fn object(&mut self, at: usize) -> Parsed {
        let mut pairs = Vec::new();
        while !self.take_sign("}") {
            if matches!(self.peek(), TokenKind::Sign("**")) {
                return Err(SyntaxError::new(self.at(), "`**` in an object is not supported: name its keys"));
            }
            let key = self.expression()?;
            if !self.take_sign(":") {
                return Err(SyntaxError::new(
                    self.at(),
                    "`:` is missing: `{KEY: VALUE}`; sets are not supported",
                ));
            }
            let value = self.expression()?;
            let clauses = self.clauses()?;
            if !clauses.is_empty() {
                if !pairs.is_empty() {
                    return Err(SyntaxError::new(self.at(), "`for` does not belong here"));
                }
                self.expect_sign("}")?;
                return Self::node(at, Kind::Comprehension(Box::new(Element::Pair(key, value)), clauses));
            }
            pairs.push((key, value));
            if !self.take_sign(",") {
                self.expect_sign("}")?;
                break;
            }
        }
        Self::node(at, Kind::Object(pairs))
    }

    /// Parses adjacent texts, which Python concatenates. Texts without expressions become a literal.
    pub(super) fn texts(&mut self, at: usize, first: Vec<Part>) -> Parsed {
        let mut parts = first;
        loop {
            match self.peek().clone() {
                TokenKind::Text(text) => parts.push(Part::Text(text)),
                TokenKind::Format(more) => parts.extend(more),
                _ => break,
            }
            self.take();
        }
        let mut nodes: Vec<Node> = Vec::new();
        let mut text = String::new();
        for part in parts {
            match part {
                Part::Text(more) => text.push_str(&more),
                Part::Expression { text: inner, at } => {
                    if !text.is_empty() {
                        nodes.push(Self::node(at, Kind::Literal(std::mem::take(&mut text).into()))?);
                    }
                    nodes.push(self.within(&inner, at)?);
                }
            }
        }
        if nodes.is_empty() {
            return Self::node(at, Kind::Literal(text.into()));
        }
        if !text.is_empty() {
            nodes.push(Self::node(at, Kind::Literal(text.into()))?);
        }
        Self::node(at, Kind::Format(nodes))
    }
}

/// Rejects expressions in which the difference between a tuple and a list would be visible.
/// JSON has only lists, but `str((1, 2))` is another text than `str([1, 2])`, and the two are not equal.
/// Python's views (`o.keys()`) are rejected in the same places.
pub(super) fn check(node: &Node) -> Result<(), SyntaxError> {
    allow(node, Place::Value)
}

/// The use of a value.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// The result of the expression.
    Value,
    /// The value is iterated over or searched.
    Items,
    /// One of its items is read.
    Base,
    /// Any other use.
    Other,
}

fn allow(node: &Node, place: Place) -> Result<(), SyntaxError> {
    let refuse = |reason: &str| Err(SyntaxError::new(node.at, reason));
    match &node.kind {
        Kind::Tuple(items) => {
            if place == Place::Other {
                return refuse("a tuple is not supported here: it would be a list; write a list, `[a, b]`");
            }
            items.iter().try_for_each(|item| allow(item, Place::Other))
        }
        Kind::Method(of, method, arguments) => {
            match method {
                Method::Keys | Method::Values if place != Place::Items => {
                    return refuse(
                        "it is not a list in Python: write `list(X.keys())`, or `for NAME in X.keys()`",
                    );
                }
                Method::Items => {
                    return refuse("`.items()` is supported only in `for KEY, VALUE in X.items()`");
                }
                Method::Partition if matches!(place, Place::Other) => {
                    return refuse("`.partition()` is a tuple in Python: take a part of it, `[0]`");
                }
                _ => {}
            }
            allow(of, Place::Other)?;
            let place = match method {
                Method::Join | Method::StartsWith | Method::EndsWith => Place::Items,
                _ => Place::Other,
            };
            arguments.iter().try_for_each(|argument| allow(argument, place))
        }
        Kind::Call(Function::List | Function::Len, arguments) => {
            arguments.iter().try_for_each(|argument| allow(argument, Place::Items))
        }
        Kind::Index(of, index) => allow(of, Place::Base).and_then(|()| allow(index, Place::Other)),
        Kind::If { test, then, otherwise } => {
            allow(test, Place::Other)?;
            allow(then, place)?;
            allow(otherwise, place)
        }
        Kind::And(parts) | Kind::Or(parts) => parts.iter().try_for_each(|part| allow(part, place)),
        Kind::Compare(first, rest) => {
            allow(first, Place::Other)?;
            let mut left = &**first;
            for (comparison, right) in rest {
                let is_one = |node: &Node| matches!(&node.kind, Kind::Literal(value) if value.is_null() || value.is_boolean());
                match comparison {
                    Comparison::In | Comparison::NotIn => allow(right, Place::Items)?,
                    Comparison::Is | Comparison::IsNot if !is_one(left) && !is_one(right) => {
                        return refuse("`is` is supported only with None, True or False; write `==`");
                    }
                    _ => allow(right, Place::Other)?,
                }
                left = right;
            }
            Ok(())
        }
        Kind::Comprehension(element, clauses) => {
            for clause in clauses {
                match &clause.items.kind {
                    Kind::Method(of, Method::Items, _) if clause.targets.len() == 2 => {
                        allow(of, Place::Other)?;
                    }
                    _ => allow(&clause.items, Place::Items)?,
                }
                clause.conditions.iter().try_for_each(|condition| allow(condition, Place::Other))?;
            }
            element.nodes().into_iter().try_for_each(|node| allow(node, Place::Other))
        }
        kind => {
            super::expression::children(kind).into_iter().try_for_each(|child| allow(child, Place::Other))
        }
    }
}

/// Whether a literal text would be formatted with `%`, which is not supported.
pub(super) fn is_text(node: &Node) -> bool {
    matches!(&node.kind, Kind::Literal(Value::String(_)) | Kind::Format(_))
}
