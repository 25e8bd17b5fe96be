//! The grammar of comprehensions, lists, objects and formatted texts.

use super::super::expression::{Clause, Element, Kind, Node};
use super::super::lexer::{Part, TokenKind};
use super::super::syntax_error::SyntaxError;
use super::{Parsed, Parser};

impl Parser {
    /// Parses the clauses behind an element; empty if there is no `for`.
    pub(super) fn clauses(&mut self) -> Result<Vec<Clause>, SyntaxError> {
        let mut clauses = Vec::new();
        while self.take_word("for") {
            let (targets, unpacks) = self.targets()?;
            if !self.take_word("in") {
                return Err(SyntaxError::new(self.at(), "`in` is missing: `[X for NAME in LIST]`"));
            }
            let items = self.or()?;
            let mut conditions = Vec::new();
            while self.take_word("if") {
                conditions.push(self.or()?);
            }
            clauses.push(Clause { targets, unpacks, items, conditions });
        }
        Ok(clauses)
    }

    fn targets(&mut self) -> Result<(Vec<String>, bool), SyntaxError> {
        let in_brackets = self.take_sign("(");
        let (mut names, mut unpacks) = (Vec::new(), false);
        loop {
            let at = self.at();
            match self.take() {
                TokenKind::Name(name) => names.push(name),
                _ => return Err(SyntaxError::new(at, "a name is missing after `for`")),
            }
            if !self.take_sign(",") {
                break;
            }
            unpacks = true;
            if !matches!(self.peek(), TokenKind::Name(name) if name != "in") {
                break;
            }
        }
        if in_brackets {
            self.expect_sign(")")?;
        }
        Ok((names, unpacks))
    }

    /// Parses `[a, b]` or a comprehension. The opening bracket is already read.
    pub(super) fn list(&mut self, at: usize) -> Parsed {
        if self.take_sign("]") {
            return Node::new(at, Kind::List(Vec::new()));
        }
        let first = self.expression()?;
        let clauses = self.clauses()?;
        if !clauses.is_empty() {
            self.expect_sign("]")?;
            return Node::new(at, Kind::Comprehension(Box::new(Element::One(first)), clauses));
        }
        let mut items = vec![first];
        if self.take_sign(",") {
            items.extend(self.items("]")?);
        }
        self.expect_sign("]")?;
        Node::new(at, Kind::List(items))
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
                return Node::new(at, Kind::Comprehension(Box::new(Element::Pair(key, value)), clauses));
            }
            pairs.push((key, value));
            if !self.take_sign(",") {
                self.expect_sign("}")?;
                break;
            }
        }
        Node::new(at, Kind::Object(pairs))
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
                        nodes.push(Node::new(at, Kind::Literal(std::mem::take(&mut text).into()))?);
                    }
                    nodes.push(self.within(&inner, at)?);
                }
            }
        }
        if nodes.is_empty() {
            return Node::new(at, Kind::Literal(text.into()));
        }
        if !text.is_empty() {
            nodes.push(Node::new(at, Kind::Literal(text.into()))?);
        }
        Node::new(at, Kind::Format(nodes))
    }
}
