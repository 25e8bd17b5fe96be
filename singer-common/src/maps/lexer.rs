//! Tokens of an expression.

use super::syntax_error::SyntaxError;

/// A token and its position, in characters from 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) at: usize,
}

/// The kind of a token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// A name or a keyword.
    Name(String),
    Integer(i128),
    Float(f64),
    Text(String),
    /// `f'{name}'`.
    Format(Vec<Part>),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// A part of a formatted text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    Text(String),
    Expression {
        text: String,
        /// Its position, in characters from 1.
        at: usize,
    },
}

/// Operators and brackets, longer ones first.
const SIGNS: &[&str] = &[
    "**", "//", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "(", ")", "[", "]", "{", "}", ",",
    ".", ":", "=",
];

/// Operators of Python that are not supported, longer ones first.
const NOT_SUPPORTED: &[&str] = &["<<", ">>", ":=", "&", "|", "^", "~", "@"];

/// The longest expression accepted, in characters.
const LONGEST: usize = 10_000;

/// Returns the tokens of an expression. The last one is [`TokenKind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, SyntaxError> {
    let characters: Vec<char> = text.chars().collect();
    if characters.len() > LONGEST {
        return Err(SyntaxError::new(LONGEST, format!("longer than {LONGEST} characters")));
    }
    let mut lexer = Lexer { characters, next: 0 };
    let mut tokens = Vec::new();
    loop {
        while lexer.peek().is_some_and(char::is_whitespace) {
            lexer.next += 1;
        }
        let at = lexer.next + 1;
        let kind = lexer.token()?;
        let is_end = kind == TokenKind::End;
        tokens.push(Token { kind, at });
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer {
    characters: Vec<char>,
    next: usize,
}

impl Lexer {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.next).copied()
    }

    fn peek_second(&self) -> Option<char> {
        self.characters.get(self.next + 1).copied()
    }

    fn is_next(&self, sign: &str) -> bool {
        let next = self.characters.get(self.next..self.next + sign.chars().count());
        next.is_some_and(|c| sign.chars().eq(c.iter().copied()))
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> String {
        let start = self.next;
        while self.peek().is_some_and(&fits) {
            self.next += 1;
        }
        self.characters.get(start..self.next).unwrap_or_default().iter().collect()
    }

    fn token(&mut self) -> Result<TokenKind, SyntaxError> {
        let Some(first) = self.peek() else { return Ok(TokenKind::End) };
        if first == '\'' || first == '"' {
            return self.text(false).map(TokenKind::Text);
        }
        if first.is_ascii_digit() || (first == '.' && self.peek_second().is_some_and(|c| c.is_ascii_digit()))
        {
            return self.number();
        }
        if first.is_alphabetic() || first == '_' {
            let at = self.next + 1;
            let name = self.take_while(|c| c.is_alphanumeric() || c == '_');
            if self.peek().is_some_and(|c| c == '\'' || c == '"') {
                return match name.as_str() {
                    "r" | "R" => self.text(true).map(TokenKind::Text),
                    "f" | "F" => self.format().map(TokenKind::Format),
                    _ => {
                        Err(SyntaxError::new(at, format!("texts with the prefix `{name}` are not supported")))
                    }
                };
            }
            return Ok(TokenKind::Name(name));
        }
        if let Some(sign) = NOT_SUPPORTED.iter().find(|sign| self.is_next(sign)) {
            return Err(SyntaxError::new(self.next + 1, format!("`{sign}` is not supported")));
        }
        if let Some(sign) = SIGNS.iter().find(|sign| self.is_next(sign)) {
            self.next += sign.chars().count();
            return Ok(TokenKind::Sign(sign));
        }
        Err(SyntaxError::new(self.next + 1, format!("`{first}` is not understood")))
    }

    fn number(&mut self) -> Result<TokenKind, SyntaxError> {
        let at = self.next + 1;
        let digits = |c: char| c.is_ascii_digit() || c == '_';
        let mut text = self.take_while(digits);
        let mut is_float = false;
        if self.peek() == Some('.') {
            is_float = true;
            self.next += 1;
            text.push('.');
            text.push_str(&self.take_while(digits));
        }
        let is_exponent = match (self.peek(), self.peek_second(), self.characters.get(self.next + 2)) {
            (Some('e' | 'E'), Some('+' | '-'), Some(third)) => third.is_ascii_digit(),
            (Some('e' | 'E'), Some(second), _) => second.is_ascii_digit(),
            _ => false,
        };
        if is_exponent {
            is_float = true;
            self.next += 1;
            text.push('e');
            text.extend(self.peek());
            self.next += 1;
            text.push_str(&self.take_while(digits));
        }
        let bad = || SyntaxError::new(at, "not a number");
        if self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_')
            || text.contains("__")
            || text.ends_with('_')
        {
            return Err(bad());
        }
        let text = text.replace('_', "");
        if is_float {
            return text.parse().ok().filter(|n: &f64| n.is_finite()).map(TokenKind::Float).ok_or_else(bad);
        }
        if text.len() > 1 && text.starts_with('0') && text.bytes().any(|b| b != b'0') {
            return Err(bad());
        }
        text.parse().map(TokenKind::Integer).map_err(|_| bad())
    }

    /// Reads a text between quotation marks, by Python's rules.
    fn text(&mut self, raw: bool) -> Result<String, SyntaxError> {
        let at = self.next + 1;
        let quote = self.open_quote(at)?;
        let mut text = String::new();
        loop {
            let character = self.take().ok_or_else(|| without_end(at))?;
            if character == quote {
                return Ok(text);
            }
            match character {
                '\\' if raw => text.extend(['\\', self.take().ok_or_else(|| without_end(at))?]),
                '\\' => self.escaped(at, &mut text)?,
                _ => text.push(character),
            }
        }
    }

    fn take(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.next += 1;
        Some(character)
    }

    /// Reads the quotation mark that opens a text.
    /// Triple quotation marks, which may contain line ends, are rejected: read as two they would be an empty text.
    fn open_quote(&mut self, at: usize) -> Result<char, SyntaxError> {
        let quote = self.take().ok_or_else(|| without_end(at))?;
        if self.peek() == Some(quote) && self.peek_second() == Some(quote) {
            return Err(SyntaxError::new(at, "texts between three quotation marks are not supported"));
        }
        Ok(quote)
    }

    /// Reads the escape sequence after a backslash.
    fn escaped(&mut self, at: usize, text: &mut String) -> Result<(), SyntaxError> {
        let place = self.next;
        let escaped = self.take().ok_or_else(|| without_end(at))?;
        match escaped {
            '\\' | '\'' | '"' => text.push(escaped),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'a' => text.push('\u{7}'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'v' => text.push('\u{b}'),
            'x' => text.push(self.hexadecimal(2)?),
            'u' => text.push(self.hexadecimal(4)?),
            'U' => text.push(self.hexadecimal(8)?),
            '0'..='7' | 'N' | '\n' => {
                return Err(SyntaxError::new(
                    place,
                    format!(
                        "`\\{}` is not supported in a text; write `\\u` and four digits",
                        escaped.escape_default()
                    ),
                ));
            }
            // Python leaves unknown escape sequences as they are.
            _ => text.extend(['\\', escaped]),
        }
        Ok(())
    }

    /// Reads a formatted text.
    fn format(&mut self) -> Result<Vec<Part>, SyntaxError> {
        let at = self.next + 1;
        let quote = self.open_quote(at)?;
        let mut parts = Vec::new();
        let mut text = String::new();
        loop {
            let place = self.next + 1;
            let character = self.take().ok_or_else(|| without_end(at))?;
            match character {
                c if c == quote => {
                    parts.push(Part::Text(text));
                    return Ok(parts);
                }
                '{' | '}' if self.peek() == Some(character) => {
                    self.next += 1;
                    text.push(character);
                }
                '{' => {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                    parts.push(self.placeholder(place, quote)?);
                }
                '}' => return Err(SyntaxError::new(place, "a `}` without `{` in a text; write `}}`")),
                '\\' => self.escaped(at, &mut text)?,
                _ => text.push(character),
            }
        }
    }

    /// Reads the expression between `{`, which is already read, and `}`.
    fn placeholder(&mut self, place: usize, quote: char) -> Result<Part, SyntaxError> {
        let at = self.next + 1;
        let mut inner = String::new();
        let (mut depth, mut within) = (0_usize, None);
        loop {
            let here = self.next + 1;
            let character = self.take().filter(|c| *c != quote);
            let character = character.ok_or_else(|| {
                SyntaxError::new(place, "`{` without `}` in a text; within it, use the other quotation mark")
            })?;
            match (within, character) {
                (_, '\\') => return Err(SyntaxError::new(here, "a backslash within `{…}` is not supported")),
                (Some(open), c) => within = (c != open).then_some(open),
                (None, '\'' | '"') => within = Some(character),
                (None, '(' | '[' | '{') => depth += 1,
                (None, ')' | ']') => depth = depth.saturating_sub(1),
                (None, '}') if depth == 0 => {
                    if inner.trim().is_empty() {
                        return Err(SyntaxError::new(place, "nothing between `{` and `}`"));
                    }
                    return Ok(Part::Expression { text: inner, at });
                }
                (None, '}') => depth -= 1,
                (None, ':') if depth == 0 => {
                    return Err(SyntaxError::new(
                        here,
                        "formats, `{X:FORMAT}`, are not supported; `str(X).zfill(N)`, `.rjust(N)` and `.ljust(N)` are",
                    ));
                }
                (None, '!') if depth == 0 && self.peek() != Some('=') => {
                    return Err(SyntaxError::new(here, "conversions, `{X!r}`, are not supported"));
                }
                (None, '=') if depth == 0 && self.peek() == Some('}') => {
                    return Err(SyntaxError::new(here, "`{X=}` is not supported"));
                }
                _ => {}
            }
            inner.push(character);
        }
    }

    /// Reads the digits of a character's code point.
    fn hexadecimal(&mut self, digits: usize) -> Result<char, SyntaxError> {
        let at = self.next + 1;
        let text: String =
            self.characters.get(self.next..self.next + digits).unwrap_or_default().iter().collect();
        self.next += digits;
        u32::from_str_radix(&text, 16)
            .ok()
            .filter(|_| text.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(char::from_u32)
            .ok_or_else(|| SyntaxError::new(at, "not a character's number"))
    }
}

fn without_end(at: usize) -> SyntaxError {
    SyntaxError::new(at, "the text has no end: a quotation mark is missing")
}
