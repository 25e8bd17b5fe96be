//! From the text of an expression to its tokens.

use super::SyntaxError;

/// A token, and where it begins, in characters from 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) at: usize,
}

/// What a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    /// A name or a keyword.
    Name(String),
    Integer(i128),
    Float(f64),
    Text(String),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: &[&str] = &[
    "**", "//", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "%", "(", ")", "[", "]", ",", ".", ":",
];

/// Longer expressions are taken for a mistake.
const LONGEST: usize = 10_000;

/// The tokens of an expression; the last one is the end.
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
            return self.text(false);
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
                    "r" | "R" => self.text(true),
                    _ => {
                        Err(SyntaxError::new(at, format!("texts with the prefix `{name}` are not supported")))
                    }
                };
            }
            return Ok(TokenKind::Name(name));
        }
        for sign in SIGNS {
            let length = sign.chars().count();
            if self
                .characters
                .get(self.next..self.next + length)
                .is_some_and(|c| sign.chars().eq(c.iter().copied()))
            {
                self.next += length;
                return Ok(TokenKind::Sign(sign));
            }
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

    /// A text between quotation marks, as Python has it.
    fn text(&mut self, raw: bool) -> Result<TokenKind, SyntaxError> {
        let at = self.next + 1;
        let quote = self.peek();
        let open = || SyntaxError::new(at, "the text has no end: a quotation mark is missing");
        self.next += 1;
        let mut text = String::new();
        loop {
            let character = self.peek().ok_or_else(open)?;
            self.next += 1;
            if Some(character) == quote {
                return Ok(TokenKind::Text(text));
            }
            if character != '\\' {
                text.push(character);
                continue;
            }
            let escaped = self.peek().ok_or_else(open)?;
            self.next += 1;
            match escaped {
                _ if raw => text.extend(['\\', escaped]),
                '\\' | '\'' | '"' => text.push(escaped),
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                'x' => text.push(self.hexadecimal(2)?),
                'u' => text.push(self.hexadecimal(4)?),
                // Python leaves what it does not know as it is.
                _ => text.extend(['\\', escaped]),
            }
        }
    }

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
