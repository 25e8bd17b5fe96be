//! From the text of a template to its pieces.

use super::filters::{Filter, Wrong};
use super::path::Segments;
use super::placeholder::{Placeholder, Source};
use super::{Piece, TemplateError};

/// Characters of a template, with their position from 1.
struct Scanner<'t> {
    template: &'t str,
    chars: Vec<char>,
    at: usize,
}

/// Returns the pieces of a template.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, TemplateError> {
    Scanner { template: text, chars: text.chars().collect(), at: 0 }.pieces()
}

impl Scanner<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek(0);
        self.at += usize::from(c.is_some());
        c
    }

    /// The problem at a position, from 1.
    fn error(&self, at: usize, wrong: impl Into<Wrong>) -> TemplateError {
        let Wrong { message, nearest } = wrong.into();
        TemplateError { template: self.template.to_owned(), at, message, nearest }
    }

    fn pieces(mut self) -> Result<Vec<Piece>, TemplateError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        // Where the optional part begins that is open, and how many pieces were before it.
        let mut open: Option<(usize, usize)> = None;
        let flush = |literal: &mut String, pieces: &mut Vec<Piece>| {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(literal)));
            }
        };
        while let Some(c) = self.next() {
            let at = self.at;
            match c {
                '{' | '}' if self.peek(0) == Some(c) => {
                    self.at += 1;
                    literal.push(c);
                }
                '?' if open.is_some() && self.closes_part() => {
                    self.at += 1;
                    flush(&mut literal, &mut pieces);
                    if let Some((begin, before)) = open.take()
                        && !pieces.iter().skip(before).any(|piece| matches!(piece, Piece::Placeholder(_)))
                    {
                        return Err(self.error(
                            begin,
                            "an optional part without a placeholder: nothing decides about it",
                        ));
                    }
                    pieces.push(Piece::Close);
                }
                '}' => return Err(self.error(at, "a single `}`: write `}}` for a brace")),
                '{' if self.peek(0) == Some('?') => {
                    if open.is_some() {
                        return Err(
                            self.error(at, "an optional part within another one: close that with `?}` first")
                        );
                    }
                    self.at += 1;
                    flush(&mut literal, &mut pieces);
                    pieces.push(Piece::Open);
                    open = Some((at, pieces.len()));
                }
                '{' => {
                    flush(&mut literal, &mut pieces);
                    pieces.push(Piece::Placeholder(self.placeholder(at)?));
                }
                _ => literal.push(c),
            }
        }
        flush(&mut literal, &mut pieces);
        match open {
            None => Ok(pieces),
            Some((begin, _)) => Err(self.error(
                begin,
                "the optional part is not closed: write `{? {middle}?}`; a property whose name begins with `?` is written `{\"?name\"}`",
            )),
        }
    }

    /// Whether `?` is followed by a brace of its own: `}}` is a literal one.
    fn closes_part(&self) -> bool {
        let braces = self.chars.iter().skip(self.at).take_while(|c| **c == '}').count();
        braces % 2 == 1
    }

    /// Reads a placeholder, after its `{`.
    fn placeholder(&mut self, begin: usize) -> Result<Placeholder, TemplateError> {
        let name = self.name(begin)?;
        let text = name.trim();
        if text.is_empty() {
            let message = "a placeholder without a name: write `{name}`, or `{{` and `}}` for braces";
            return Err(self.error(begin, message));
        }
        let segments = Segments::parse(text).map_err(|wrong| self.error(begin, wrong))?;
        let root = segments.root.clone();
        if root.is_empty() {
            return Err(self
                .error(begin, "a placeholder without a name: write `{name}`, or `{{` and `}}` for braces"));
        }
        if text.contains('\0') {
            return Err(self.error(begin, "a name with a NUL"));
        }
        let is_quoted = text.starts_with('"');
        let source = match segments.path() {
            Some(path) => Source::of_path(path, text),
            None => Source::Name { is_quoted },
        };
        let mut filters = Vec::new();
        let mut places = Vec::new();
        while self.next() == Some('|') {
            places.push(self.at + 1);
            filters.push(self.filter(begin)?);
        }
        for (n, at) in places.iter().enumerate() {
            if let Some(message) = filters.get(n).and_then(|filter| filter.ends_early(n + 1 == filters.len()))
            {
                return Err(self.error(*at, message));
            }
        }
        Ok(Placeholder { at: begin, name: root, text: text.to_owned(), source, filters })
    }

    /// Reads a name up to `|` or `}`, which are not read. In quotation marks and brackets they belong to the name.
    fn name(&mut self, begin: usize) -> Result<String, TemplateError> {
        let mut name = String::new();
        let (mut is_quoted, mut depth) = (false, 0_u32);
        loop {
            let starts = name.trim().is_empty() || name.trim_end().ends_with(['.', '[', ',', '=']);
            match self.peek(0) {
                None => {
                    return Err(self.error(begin, "`{` is not closed: write `{name}`, or `{{` for a brace"));
                }
                Some('"') if is_quoted || starts => is_quoted = !is_quoted,
                Some(_) if is_quoted => {}
                Some('[') => depth += 1,
                Some(']') => depth = depth.saturating_sub(1),
                Some('{') => {
                    return Err(self.error(self.at + 1, "`{` inside a placeholder: close it with `}` first"));
                }
                Some('|' | '}') if depth == 0 => return Ok(name),
                Some('}') => {
                    return Err(
                        self.error(self.at + 1, "`[` is not closed: write `{emails[type=work].value}`")
                    );
                }
                Some(_) => {}
            }
            name.extend(self.next());
        }
    }

    /// Reads a filter, after its `|`, up to the next `|` or `}`, which are not read.
    fn filter(&mut self, begin: usize) -> Result<Filter, TemplateError> {
        let at = self.at + 1;
        let mut text = String::new();
        loop {
            match self.peek(0) {
                None => {
                    return Err(self.error(begin, "`{` is not closed: write `{name}`, or `{{` for a brace"));
                }
                Some('{') => {
                    return Err(self.error(self.at + 1, "`{` inside a placeholder: close it with `}` first"));
                }
                Some('|' | '}') => break,
                Some(':') if text.trim() == "replace" => {
                    self.at += 1;
                    return self.replace(at);
                }
                Some(c) => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
        Filter::parse(&text).map_err(|wrong| self.error(at, wrong))
    }

    /// Reads the argument of `replace`: a pattern and a text, each up to the character that the argument begins with. Braces and `|` between
    /// them are theirs.
    fn replace(&mut self, at: usize) -> Result<Filter, TemplateError> {
        let form =
            "`replace` wants a pattern and a text between slashes (or one of #!~%@;,:): `replace:/[^0-9]//`";
        let Some(mark) = self.next().filter(|c| "/#!~%@;,:".contains(*c)) else {
            return Err(self.error(at, form));
        };
        let mut parts = [String::new(), String::new()];
        for part in &mut parts {
            loop {
                match self.next() {
                    None => return Err(self.error(at, format!("{form}; a closing `{mark}` is missing"))),
                    Some(c) if c == mark => break,
                    // An escaped mark is one in both; every other escape is the pattern's.
                    Some('\\') if self.peek(0) == Some(mark) => {
                        self.at += 1;
                        part.push(mark);
                    }
                    Some('\\') => {
                        part.push('\\');
                        part.extend(self.next());
                    }
                    Some(c) => part.push(c),
                }
            }
        }
        while self.peek(0) == Some(' ') {
            self.at += 1;
        }
        if !matches!(self.peek(0), Some('|' | '}') | None) {
            return Err(
                self.error(self.at + 1, format!("after the last `{mark}` of `replace` comes `|` or `}}`"))
            );
        }
        let [pattern, with] = parts;
        Filter::replace(&pattern, &with).map_err(|wrong| self.error(at, wrong))
    }
}
