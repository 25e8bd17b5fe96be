//! The parser of filters (RFC 4515 section 3).

use super::{Filter, FilterError, MAX_DEPTH};
use crate::dn::hex_digit;

pub(super) fn parse(text: &str) -> Result<Filter, FilterError> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
    reader.skip_spaces();
    let filter = match reader.peek() {
        Some(b'(') => reader.filter(1)?,
        Some(_) => reader.comparison()?,
        None => return Err(reader.expected("a filter")),
    };
    reader.skip_spaces();
    if reader.peek().is_some() { Err(reader.expected("the end")) } else { Ok(filter) }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn expected(&self, expected: &'static str) -> FilterError {
        FilterError::Expected { at: self.at, expected }
    }

    fn close(&mut self) -> Result<(), FilterError> {
        if self.peek() != Some(b')') {
            return Err(self.expected("`)`"));
        }
        self.at += 1;
        Ok(())
    }

    /// Parses a filter in parentheses. Recursion is bounded by `depth`.
    fn filter(&mut self, depth: usize) -> Result<Filter, FilterError> {
        if depth > MAX_DEPTH {
            return Err(FilterError::TooDeep(self.at));
        }
        if self.peek() != Some(b'(') {
            return Err(self.expected("`(`"));
        }
        self.at += 1;
        self.skip_spaces();
        let filter = match self.peek() {
            Some(b'&') => Filter::And(self.filters(depth)?),
            Some(b'|') => Filter::Or(self.filters(depth)?),
            Some(b'!') => {
                self.at += 1;
                self.skip_spaces();
                let inner = self.filter(depth + 1)?;
                self.skip_spaces();
                Filter::Not(Box::new(inner))
            }
            Some(b')') | None => return Err(self.expected("a filter")),
            Some(_) => self.comparison()?,
        };
        self.close()?;
        Ok(filter)
    }

    fn filters(&mut self, depth: usize) -> Result<Vec<Filter>, FilterError> {
        self.at += 1;
        let mut filters = Vec::new();
        loop {
            self.skip_spaces();
            if self.peek() != Some(b'(') {
                return Ok(filters);
            }
            filters.push(self.filter(depth + 1)?);
        }
    }

    /// Parses an attribute, an operator and a value, up to the parenthesis that closes them.
    fn comparison(&mut self) -> Result<Filter, FilterError> {
        let start = self.at;
        let is_operator = |b: &u8| matches!(b, b'=' | b'<' | b'>' | b'~' | b')' | b'(');
        let rest = self.bytes.get(start..).unwrap_or_default();
        let left = rest.split(is_operator).next().unwrap_or_default();
        self.at += left.len();
        let left = std::str::from_utf8(left).map_err(|_| FilterError::BadAttribute(start))?;
        let operator = self.peek();
        match operator {
            Some(b'=') => self.at += 1,
            Some(b'<' | b'>' | b'~') => {
                self.at += 1;
                if self.peek() != Some(b'=') {
                    return Err(self.expected("`=`"));
                }
                self.at += 1;
            }
            _ => return Err(self.expected("`=`, `>=`, `<=`, `~=` or `:=`")),
        }
        if let (Some(b'='), Some(left)) = (operator, left.strip_suffix(':')) {
            return self.extensible(left, start);
        }
        let attribute = word(left).ok_or(FilterError::BadAttribute(start))?;
        Ok(match operator {
            Some(b'>') => Filter::GreaterOrEqual { attribute, value: self.value()? },
            Some(b'<') => Filter::LessOrEqual { attribute, value: self.value()? },
            Some(b'~') => Filter::Approx { attribute, value: self.value()? },
            _ => self.equality(attribute)?,
        })
    }

    /// Parses the text after `=`: a value, `*`, or parts of a value separated by `*`.
    fn equality(&mut self, attribute: String) -> Result<Filter, FilterError> {
        let first = self.part()?;
        if self.peek() != Some(b'*') {
            return Ok(Filter::Equality { attribute, value: first });
        }
        let mut any = Vec::new();
        while self.peek() == Some(b'*') {
            self.at += 1;
            any.push(self.part()?);
        }
        let filled = |part: &Vec<u8>| !part.is_empty();
        let initial = Some(first).filter(filled);
        let last = any.pop().filter(filled);
        any.retain(filled);
        if initial.is_none() && last.is_none() && any.is_empty() {
            return Ok(Filter::Present(attribute));
        }
        Ok(Filter::Substring { attribute, initial, any, last })
    }

    /// Parses `attribute:dn:rule:=value`; `left` is without its last colon.
    fn extensible(&mut self, left: &str, start: usize) -> Result<Filter, FilterError> {
        let bad = FilterError::BadAttribute(start);
        let mut parts = left.split(':');
        let attribute = match parts.next() {
            None | Some("") => None,
            Some(name) => Some(word(name).ok_or_else(|| bad.clone())?),
        };
        let mut next = parts.next();
        let dn = next.is_some_and(|p| p.eq_ignore_ascii_case("dn"));
        if dn {
            next = parts.next();
        }
        let rule = match next {
            None => None,
            Some(name) => Some(word(name).ok_or_else(|| bad.clone())?),
        };
        if parts.next().is_some() || (attribute.is_none() && rule.is_none()) {
            return Err(bad);
        }
        Ok(Filter::Extensible { rule, attribute, dn, value: self.value()? })
    }

    /// Parses a value in which `*` is not special.
    fn value(&mut self) -> Result<Vec<u8>, FilterError> {
        let value = self.part()?;
        if self.peek() == Some(b'*') {
            return Err(FilterError::Unescaped { at: self.at, found: '*' });
        }
        Ok(value)
    }

    /// Parses the decoded text up to `*`, the closing parenthesis or the end.
    fn part(&mut self) -> Result<Vec<u8>, FilterError> {
        let mut value = Vec::new();
        while let Some(byte) = self.peek() {
            match byte {
                b'*' | b')' => break,
                b'(' | 0 => return Err(FilterError::Unescaped { at: self.at, found: char::from(byte) }),
                b'\\' => {
                    let digit = |ahead: usize| self.bytes.get(self.at + ahead).copied().and_then(hex_digit);
                    let (Some(high), Some(low)) = (digit(1), digit(2)) else {
                        return Err(FilterError::BadEscape(self.at));
                    };
                    value.push(high << 4 | low);
                    self.at += 3;
                }
                _ => {
                    value.push(byte);
                    self.at += 1;
                }
            }
        }
        Ok(value)
    }
}

/// Parses an attribute description or a rule (RFC 4512 sections 1.4 and 2.5), without surrounding spaces. `_` is allowed for 389 DS.
fn word(text: &str) -> Option<String> {
    let text = text.trim();
    is_word(text).then(|| text.to_owned())
}

/// Returns whether a text is such a description or a rule.
pub(super) fn is_word(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b';' | b'_');
    !text.is_empty() && text.bytes().all(fits)
}
