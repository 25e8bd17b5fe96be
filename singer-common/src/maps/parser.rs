//! Parser of expressions: recursive descent by Python's operator precedence
//! (<https://docs.python.org/3/reference/expressions.html#operator-precedence>).

use serde_json::{Number, Value};

use super::expression::{Comparison, DEEPEST, Element, FUNCTIONS, Kind, METHODS, Node, Operator};
use super::extras::{EXTRAS, substitution};
use super::lexer::{Part, Token, TokenKind, tokens};
use super::number::integer;
use super::syntax_error::SyntaxError;
use super::tuples;

mod compound;

/// Python's keywords, which are not names.
const KEYWORDS: &[&str] = &[
    "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else",
    "except", "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal", "not",
    "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// Parses an expression, and checks the use of tuples.
pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let mut parser = Parser { tokens: tokens(text)?, next: 0, depth: 0 };
    if parser.peek() == &TokenKind::End {
        return Err(SyntaxError::new(1, "the expression is empty"));
    }
    let node = parser.tuple_or_one()?;
    match parser.peek() {
        TokenKind::End => tuples::check(&node).map(|()| node),
        other => Err(SyntaxError::new(parser.at(), format!("{} does not belong here", describe(other)))),
    }
}

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: u16,
}

type Parsed = Result<Node, SyntaxError>;

impl Parser {
    fn peek(&self) -> &TokenKind {
        self.tokens.get(self.next).map_or(&TokenKind::End, |t| &t.kind)
    }

    fn at(&self) -> usize {
        self.tokens.get(self.next).or(self.tokens.last()).map_or(1, |t| t.at)
    }

    fn take(&mut self) -> TokenKind {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    /// Parses an expression within a formatted text. `at` is its position.
    fn within(&self, text: &str, at: usize) -> Parsed {
        let there = |mut error: SyntaxError| {
            error.at += at - 1;
            error
        };
        let mut tokens = tokens(text).map_err(there)?;
        for token in &mut tokens {
            token.at += at - 1;
        }
        // One level deeper, for its brace.
        let mut parser = Parser { tokens, next: 0, depth: self.depth };
        let node = parser.deeper(Self::tuple_or_one)?;
        match parser.peek() {
            TokenKind::End => Ok(node),
            other => Err(SyntaxError::new(parser.at(), format!("{} does not belong here", describe(other)))),
        }
    }

    fn take_sign(&mut self, sign: &str) -> bool {
        let is_it = matches!(self.peek(), TokenKind::Sign(s) if *s == sign);
        self.next += usize::from(is_it);
        is_it
    }

    fn take_word(&mut self, word: &str) -> bool {
        let is_it = matches!(self.peek(), TokenKind::Name(n) if n == word);
        self.next += usize::from(is_it);
        is_it
    }

    fn expect_sign(&mut self, sign: &str) -> Result<(), SyntaxError> {
        if self.take_sign(sign) {
            return Ok(());
        }
        Err(SyntaxError::new(self.at(), format!("`{sign}` is missing before {}", describe(self.peek()))))
    }

    /// Parses a nested part. The depth is checked before the recursion.
    fn deeper(&mut self, parse: impl FnOnce(&mut Self) -> Parsed) -> Parsed {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(SyntaxError::new(self.at(), format!("nested deeper than {DEEPEST}")));
        }
        let node = parse(self);
        self.depth -= 1;
        node
    }

    /// Parses an expression, or a tuple `a, b` without brackets.
    fn tuple_or_one(&mut self) -> Parsed {
        let at = self.at();
        let first = self.expression()?;
        if !self.take_sign(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        items.extend(self.items(")")?);
        Node::new(at, Kind::Tuple(items))
    }

    /// Parses items between commas, up to a closing bracket, which is not read, or the end.
    fn items(&mut self, end: &'static str) -> Result<Vec<Node>, SyntaxError> {
        let mut items = Vec::new();
        while self.peek() != &TokenKind::Sign(end) && self.peek() != &TokenKind::End {
            let item = self.expression()?;
            if self.peek() == &TokenKind::Sign("=") {
                return Err(SyntaxError::new(self.at(), "arguments by name are not supported"));
            }
            items.push(item);
            if !self.take_sign(",") {
                break;
            }
        }
        Ok(items)
    }

    fn expression(&mut self) -> Parsed {
        self.deeper(|parser| {
            let at = parser.at();
            let then = parser.or()?;
            if !parser.take_word("if") {
                return Ok(then);
            }
            let test = parser.or()?;
            if !parser.take_word("else") {
                return Err(SyntaxError::new(parser.at(), "`else` is missing: `A if CONDITION else B`"));
            }
            let otherwise = parser.expression()?;
            let (test, then, otherwise) = (Box::new(test), Box::new(then), Box::new(otherwise));
            Node::new(at, Kind::If { test, then, otherwise })
        })
    }

    fn or(&mut self) -> Parsed {
        let (at, first) = (self.at(), self.and()?);
        let mut parts = vec![first];
        while self.take_word("or") {
            parts.push(self.and()?);
        }
        Self::one_or(at, parts, Kind::Or)
    }

    fn and(&mut self) -> Parsed {
        let (at, first) = (self.at(), self.not()?);
        let mut parts = vec![first];
        while self.take_word("and") {
            parts.push(self.not()?);
        }
        Self::one_or(at, parts, Kind::And)
    }

    fn one_or(at: usize, mut parts: Vec<Node>, kind: fn(Vec<Node>) -> Kind) -> Parsed {
        match (parts.len(), parts.pop()) {
            (1, Some(only)) => Ok(only),
            (_, last) => {
                parts.extend(last);
                Node::new(at, kind(parts))
            }
        }
    }

    fn not(&mut self) -> Parsed {
        let at = self.at();
        if self.take_word("not") {
            let inner = self.deeper(Self::not)?;
            return Node::new(at, Kind::Not(Box::new(inner)));
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Parsed {
        let at = self.at();
        let first = self.sum()?;
        let mut rest = Vec::new();
        while let Some(comparison) = self.take_comparison()? {
            rest.push((comparison, self.sum()?));
        }
        if rest.is_empty() { Ok(first) } else { Node::new(at, Kind::Compare(Box::new(first), rest)) }
    }

    fn take_comparison(&mut self) -> Result<Option<Comparison>, SyntaxError> {
        let signs = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        for (sign, comparison) in signs {
            if self.take_sign(sign) {
                return Ok(Some(comparison));
            }
        }
        if self.take_word("in") {
            return Ok(Some(Comparison::In));
        }
        if self.take_word("is") {
            return Ok(Some(if self.take_word("not") { Comparison::IsNot } else { Comparison::Is }));
        }
        if self.take_word("not") {
            if self.take_word("in") {
                return Ok(Some(Comparison::NotIn));
            }
            return Err(SyntaxError::new(self.at(), "`in` is missing after `not`"));
        }
        Ok(None)
    }

    fn sum(&mut self) -> Parsed {
        self.chain(Self::product, &[("+", Operator::Add), ("-", Operator::Subtract)])
    }

    fn product(&mut self) -> Parsed {
        let signs = [
            ("*", Operator::Multiply),
            ("//", Operator::FloorDivide),
            ("/", Operator::Divide),
            ("%", Operator::Modulo),
        ];
        self.chain(Self::factor, &signs)
    }

    fn chain(&mut self, part: fn(&mut Self) -> Parsed, signs: &[(&str, Operator)]) -> Parsed {
        let mut left = part(self)?;
        loop {
            let at = self.at();
            let Some(operator) = signs.iter().find(|(sign, _)| self.take_sign(sign)).map(|(_, o)| *o) else {
                return Ok(left);
            };
            if operator == Operator::Modulo && left.is_text() {
                return Err(SyntaxError::new(at, "`%` on a text is not supported; write `f'{X}'`"));
            }
            let right = part(self)?;
            left = Node::new(at, Kind::Binary(Box::new(left), operator, Box::new(right)))?;
        }
    }

    fn factor(&mut self) -> Parsed {
        let at = self.at();
        for (sign, kind) in [("-", Kind::Negative as fn(Box<Node>) -> Kind), ("+", Kind::Positive)] {
            if self.take_sign(sign) {
                let inner = self.deeper(Self::factor)?;
                return Node::new(at, kind(Box::new(inner)));
            }
        }
        let node = self.postfix()?;
        if self.peek() == &TokenKind::Sign("**") {
            return Err(SyntaxError::new(self.at(), "`**` is not supported"));
        }
        Ok(node)
    }

    fn postfix(&mut self) -> Parsed {
        let mut node = self.atom()?;
        loop {
            let at = self.at();
            if self.take_sign("[") {
                node = self.subscript(at, node)?;
            } else if self.take_sign(".") {
                let TokenKind::Name(name) = self.peek().clone() else {
                    return Err(SyntaxError::new(self.at(), "a name is missing after the full stop"));
                };
                let at = self.at();
                self.next += 1;
                node = if self.take_sign("(") {
                    self.method(at, node, &name)?
                } else {
                    Node::new(at, Kind::Attribute(Box::new(node), name))?
                };
            } else if self.peek() == &TokenKind::Sign("(") {
                return Err(SyntaxError::new(at, "this cannot be called"));
            } else {
                return Ok(node);
            }
        }
    }

    fn subscript(&mut self, at: usize, of: Node) -> Parsed {
        let is_colon = |parser: &Self| parser.peek() == &TokenKind::Sign(":");
        let start = if is_colon(self) { None } else { Some(Box::new(self.expression()?)) };
        if !self.take_sign(":") {
            self.expect_sign("]")?;
            // Without a colon, an expression was parsed.
            let Some(index) = start else { return Err(SyntaxError::new(at, "nothing between the brackets")) };
            return Node::new(at, Kind::Index(Box::new(of), index));
        }
        let ends = |parser: &Self| matches!(parser.peek(), TokenKind::Sign("]" | ":"));
        let end = if ends(self) { None } else { Some(Box::new(self.expression()?)) };
        let has_step = self.take_sign(":") && !ends(self);
        let step = if has_step { Some(Box::new(self.expression()?)) } else { None };
        self.expect_sign("]")?;
        Node::new(at, Kind::Slice(Box::new(of), [start, end, step]))
    }

    fn arguments(
        &mut self,
        at: usize,
        name: &str,
        least: usize,
        most: usize,
    ) -> Result<Vec<Node>, SyntaxError> {
        let place = self.at();
        let mut arguments = self.items(")")?;
        if let [_] = arguments.as_slice() {
            let clauses = self.clauses()?;
            if let (false, Some(only)) = (clauses.is_empty(), arguments.pop_if(|_| !clauses.is_empty())) {
                arguments.push(Node::new(place, Kind::Comprehension(Box::new(Element::One(only)), clauses))?);
            }
        }
        self.expect_sign(")")?;
        if (least..=most).contains(&arguments.len()) {
            return Ok(arguments);
        }
        let expected = if least == most { least.to_string() } else { format!("{least} to {most}") };
        Err(SyntaxError::new(at, format!("`{name}` takes {expected} argument(s), not {}", arguments.len())))
    }

    fn method(&mut self, at: usize, of: Node, name: &str) -> Parsed {
        let Some((name, method, least, most)) = METHODS.iter().find(|(known, ..)| *known == name) else {
            let known: Vec<&str> = METHODS.iter().map(|(name, ..)| *name).collect();
            return Err(SyntaxError::new(
                at,
                format!("unknown method `.{name}()`; there are {}", known.join(", ")),
            ));
        };
        let arguments = self.arguments(at, name, *least, *most)?;
        Node::new(at, Kind::Method(Box::new(of), *method, arguments))
    }

    /// Whether `.NAME` follows, with one of these names of a Python module.
    fn is_of_a_module(&self, names: &[&str]) -> bool {
        let name = self.tokens.get(self.next + 1).map(|token| &token.kind);
        self.peek() == &TokenKind::Sign(".")
            && matches!(name, Some(TokenKind::Name(name)) if names.contains(&name.as_str()))
    }

    fn call(&mut self, at: usize, name: &str) -> Parsed {
        if let Some((name, extra, count)) = EXTRAS.iter().find(|(known, ..)| *known == name) {
            let arguments = self.arguments(at, name, *count, *count)?;
            return Node::new(at, Kind::Extra(extra.clone(), arguments));
        }
        if name == "re.sub" {
            let mut arguments = self.arguments(at, name, 3, 3)?;
            let text = arguments.split_off(2);
            let [pattern, with] = arguments.as_slice() else {
                return Err(SyntaxError::new(at, "`re.sub` takes 3 argument(s)"));
            };
            return Node::new(at, Kind::Extra(substitution(at, pattern, with)?, text));
        }
        let Some((name, function)) = FUNCTIONS.iter().find(|(known, _)| *known == name) else {
            let known = FUNCTIONS.iter().map(|(name, _)| *name).chain(["re.sub"]);
            let mut known: Vec<&str> = known.chain(EXTRAS.iter().map(|(name, ..)| *name)).collect();
            known.sort_unstable();
            let reason = format!("unknown function `{name}`; there are {}", known.join(", "));
            return Err(SyntaxError::new(at, reason));
        };
        let arguments = self.arguments(at, name, 1, 1)?;
        Node::new(at, Kind::Call(*function, arguments))
    }

    fn atom(&mut self) -> Parsed {
        let (at, kind) = (self.at(), self.peek().clone());
        let literal = |value: Value| Node::new(at, Kind::Literal(value));
        self.next += 1;
        match kind {
            TokenKind::Integer(n) => literal(integer(n)),
            TokenKind::Float(n) => literal(Number::from_f64(n).map_or(Value::Null, Value::Number)),
            TokenKind::Text(text) => self.texts(at, vec![Part::Text(text)]),
            TokenKind::Format(parts) => self.texts(at, parts),
            TokenKind::Name(name) => match name.as_str() {
                "None" => literal(Value::Null),
                "True" => literal(true.into()),
                "False" => literal(false.into()),
                word if KEYWORDS.contains(&word) => {
                    Err(SyntaxError::new(at, format!("`{word}` does not belong here")))
                }
                "datetime" if self.is_of_a_module(&["date", "datetime", "time", "timedelta", "timezone"]) => {
                    Err(SyntaxError::new(at, "`datetime` is not supported: a time stays the text it is"))
                }
                "json" if self.is_of_a_module(&["dumps", "loads"]) => {
                    self.next += 1;
                    let name = if self.take_word("dumps") { "json.dumps" } else { "json.loads" };
                    self.next += usize::from(name == "json.loads");
                    self.expect_sign("(")?;
                    self.call(at, name)
                }
                "re" if self.is_of_a_module(&["sub"]) => {
                    self.next += 2;
                    self.expect_sign("(")?;
                    self.call(at, "re.sub")
                }
                _ if self.take_sign("(") => self.call(at, &name),
                _ => Node::new(at, Kind::Name(name)),
            },
            TokenKind::Sign("(") => {
                if self.take_sign(")") {
                    return Node::new(at, Kind::Tuple(Vec::new()));
                }
                let node = self.deeper(Self::tuple_or_one)?;
                let clauses = self.clauses()?;
                self.expect_sign(")")?;
                if clauses.is_empty() {
                    return Ok(node);
                }
                Node::new(at, Kind::Comprehension(Box::new(Element::One(node)), clauses))
            }
            TokenKind::Sign(sign @ ("*" | "**")) => {
                Err(SyntaxError::new(at, format!("`{sign}` before a value is not supported")))
            }
            TokenKind::Sign("[") => self.deeper(|parser| parser.list(at)),
            TokenKind::Sign("{") => self.deeper(|parser| parser.object(at)),
            other => Err(SyntaxError::new(at, format!("{} does not belong here", describe(&other)))),
        }
    }
}

fn describe(token: &TokenKind) -> String {
    match token {
        TokenKind::Name(name) => format!("`{name}`"),
        TokenKind::Integer(n) => format!("`{n}`"),
        TokenKind::Float(n) => format!("`{n}`"),
        TokenKind::Text(_) | TokenKind::Format(_) => "a text".to_owned(),
        TokenKind::Sign(sign) => format!("`{sign}`"),
        TokenKind::End => "the end".to_owned(),
    }
}
