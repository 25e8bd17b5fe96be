//! Templates: how a rule makes a value, a DN or a search filter of a record's values.
//!
//! `{name}` stands for a value, `{name|filter|filter:argument}` for one changed by filters from left to right,
//! `{{` and `}}` for braces. Three kinds, one syntax: [`Template`] for plain text, [`DnTemplate`] and
//! [`FilterTemplate`], which escape what they fill in and are checked to be what they claim before any record.
//!
//! What an attribute's syntax asks for is [`ValueTemplate`]'s: in one of a DN, values are escaped as in a DN.
//!
//! Pure: no clock, no network, no locale. Where names are looked up is the caller's business.

mod dn_template;
mod filter_template;
mod filters;
mod skeleton;
mod syntax;

pub use dn_template::DnTemplate;
pub use filter_template::FilterTemplate;
use filters::{Filter, Wrong};
pub use syntax::{Syntax, ValueTemplate};

/// Why a template cannot be used: a configuration error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template {template:?}, position {at}: {message}")]
pub struct TemplateError {
    /// The template.
    pub template: String,
    /// Where, in characters from 1.
    pub at: usize,
    /// What is wrong, and what would be right.
    pub message: String,
    /// The filter that is there and near to one that is not.
    pub nearest: Option<String>,
}

/// Why a template cannot be filled in for one record: an error of that record. Never shows a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// A value that a DN or a filter needs is missing, null, empty or blank.
    #[error("{placeholder} in {template:?} has no value, or an empty one: give it one, or a `|default:…`")]
    Missing {
        /// The name looked up.
        placeholder: String,
        /// The template.
        template: String,
    },
    /// Several values where one has to stand.
    #[error("{placeholder} in {template:?} has {count} values where one is needed: `|first` takes the first")]
    Several {
        /// The name looked up.
        placeholder: String,
        /// The template.
        template: String,
        /// How many.
        count: usize,
    },
    /// What is to be a DN as a whole is none.
    #[error(
        "{placeholder} in {template:?} is to be {expected} as it stands, and is not: give it one, or write a template of one, as \
         in `uid={{uid}},ou=people,dc=x`"
    )]
    NotDn {
        /// The name looked up.
        placeholder: String,
        /// The template.
        template: String,
        /// What is expected.
        expected: &'static str,
    },
    /// `date` was given something else.
    #[error(
        "{placeholder} in {template:?} is not a date: `|date` reads RFC 3339 (2024-05-17T10:00:00Z), a date \
         (2024-05-17) and GeneralizedTime (20240517100000Z)"
    )]
    Date {
        /// The name looked up.
        placeholder: String,
        /// The template.
        template: String,
    },
}

/// What a template makes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rendered {
    /// This text, which is not empty.
    Text(String),
    /// No text: a value that it needs is null or empty, or nothing came out.
    Nothing,
    /// The record does not say: it lacks a property that the template needs.
    Unknown,
}

/// What a placeholder comes to.
enum Part {
    Text(String),
    /// No value, and the template does without. Whether the record has it at all.
    Omitted {
        is_absent: bool,
    },
    /// Null or empty.
    Null,
    /// The record does not have it.
    Absent,
}

/// What a name stands for: its values as text; none of them where it is null or empty, `None` where the record does not have
/// it.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<Vec<String>>;

/// A template of plain text (`values` in a rule).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Placeholder(Placeholder),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Placeholder {
    /// Where its `{` stands, in characters from 1.
    at: usize,
    name: String,
    filters: Vec<Filter>,
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut chars = text.chars().zip(1..).peekable();
        let error = |at, wrong: Wrong| TemplateError {
            template: text.into(),
            at,
            message: wrong.message,
            nearest: wrong.nearest,
        };
        while let Some((c, at)) = chars.next() {
            match c {
                '{' | '}' if chars.next_if(|(next, _)| *next == c).is_some() => literal.push(c),
                '}' => return Err(error(at, "a single `}`: write `}}` for a brace".into())),
                '{' => {
                    let mut inner = String::new();
                    // `{"x|y}"}`: a name that has signs of the template's own.
                    let mut is_quoted = false;
                    loop {
                        match chars.next() {
                            Some(('"', _)) if is_quoted || inner.trim().is_empty() => {
                                is_quoted = !is_quoted;
                                inner.push('"');
                            }
                            Some((c, _)) if is_quoted => inner.push(c),
                            Some(('}', _)) => break,
                            Some(('{', at)) => {
                                return Err(error(
                                    at,
                                    "`{` inside a placeholder: close it with `}` first".into(),
                                ));
                            }
                            Some((c, _)) => inner.push(c),
                            None => {
                                let message = "`{` is not closed: write `{name}`, or `{{` for a brace";
                                return Err(error(at, message.into()));
                            }
                        }
                    }
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                    }
                    let placeholder = Placeholder::parse(at, &inner).map_err(|wrong| error(at, wrong))?;
                    pieces.push(Piece::Placeholder(placeholder));
                }
                _ => literal.push(c),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self { text: text.into(), pieces })
    }

    /// The names in it, from left to right, as often as they occur.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.placeholders().map(|p| p.name.as_str())
    }

    /// The names in it, each with whether it has a `default`.
    pub fn needs(&self) -> impl Iterator<Item = (&str, bool)> {
        self.placeholders().map(Placeholder::needs)
    }

    /// The text for one record. A value that is null or empty, and has no `|default:…`, `|prefix:…` or `|suffix:…`, leaves
    /// nothing; one that the record does not have, and that has no `|default:…`, leaves it unknown, and so does one with an
    /// empty `|default:` where nothing else is there. Several values are an error unless the template says `|first`, also
    /// where the template is nothing but one placeholder: `attribute_mapping` is for copying all values.
    pub fn render(&self, lookup: Lookup<'_>) -> Result<Rendered, RenderError> {
        self.render_with(lookup, str::is_empty, |out, value, _| out.push_str(&value))
    }

    /// The same, with `is_empty` to tell what is no value, and `put` to put a value in.
    fn render_with(
        &self,
        lookup: Lookup<'_>,
        is_empty: fn(&str) -> bool,
        mut put: impl FnMut(&mut String, String, &Placeholder),
    ) -> Result<Rendered, RenderError> {
        let mut out = String::new();
        let (mut is_null, mut lacks_some) = (false, false);
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Placeholder(placeholder) => match self.value(placeholder, lookup, is_empty)? {
                    Part::Text(value) => put(&mut out, value, placeholder),
                    Part::Omitted { is_absent } => lacks_some |= is_absent,
                    Part::Null => is_null = true,
                    // What is not known of one part is not known of the whole, whatever the others are.
                    Part::Absent => return Ok(Rendered::Unknown),
                },
            }
        }
        Ok(match (is_null, out.is_empty()) {
            (false, false) => Rendered::Text(out),
            (false, true) if lacks_some => Rendered::Unknown,
            _ => Rendered::Nothing,
        })
    }

    fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Placeholder(placeholder) => Some(placeholder),
            Piece::Literal(_) => None,
        })
    }

    /// The text where a value is needed at each place that the template does not say it can do without.
    fn render_needed(
        &self,
        lookup: Lookup<'_>,
        mut put: impl FnMut(&mut String, &str, &Placeholder) -> Result<(), RenderError>,
    ) -> Result<String, RenderError> {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Placeholder(placeholder) => match self.value(placeholder, lookup, is_blank)? {
                    Part::Text(value) => put(&mut out, &value, placeholder)?,
                    Part::Omitted { .. } => {}
                    Part::Null | Part::Absent => return Err(self.missing(placeholder)),
                },
            }
        }
        Ok(out)
    }

    /// The first placeholder that the template would do without for this record.
    fn first_omitted(&self, lookup: Lookup<'_>) -> Result<Option<&Placeholder>, RenderError> {
        for placeholder in self.placeholders().filter(|p| p.is_optional()) {
            if matches!(self.value(placeholder, lookup, is_blank)?, Part::Omitted { .. }) {
                return Ok(Some(placeholder));
            }
        }
        Ok(None)
    }

    /// The first placeholder that the template may do without.
    fn first_optional(&self) -> Option<&Placeholder> {
        self.placeholders().find(|p| p.is_optional())
    }

    fn missing(&self, placeholder: &Placeholder) -> RenderError {
        RenderError::Missing { placeholder: placeholder.name.clone(), template: self.text.clone() }
    }

    /// The one value of a placeholder after its filters.
    fn value(
        &self,
        placeholder: &Placeholder,
        lookup: Lookup<'_>,
        is_empty: fn(&str) -> bool,
    ) -> Result<Part, RenderError> {
        let found = lookup(&placeholder.name);
        let is_absent = found.is_none();
        let mut values = found.unwrap_or_default();
        let (mut has_default, mut is_optional) = (false, false);
        for filter in &placeholder.filters {
            match filter {
                Filter::Default(_) => has_default = true,
                Filter::Prefix(_) | Filter::Suffix(_) => is_optional = true,
                _ => {}
            }
            filter.apply(&mut values, is_empty).map_err(|filters::NoDate| RenderError::Date {
                placeholder: placeholder.name.clone(),
                template: self.text.clone(),
            })?;
        }
        if values.iter().all(|value| is_empty(value)) {
            return Ok(match (has_default, is_absent) {
                (true, is_absent) => Part::Omitted { is_absent },
                (false, true) => Part::Absent,
                (false, false) if is_optional => Part::Omitted { is_absent },
                (false, false) => Part::Null,
            });
        }
        match values.len() {
            1 => Ok(values.pop().map_or(Part::Null, Part::Text)),
            count => Err(RenderError::Several {
                placeholder: placeholder.name.clone(),
                template: self.text.clone(),
                count,
            }),
        }
    }

    /// Fills the same text into every placeholder, for checking.
    fn fill(&self, with: &str) -> String {
        let mut out = String::new();
        for piece in &self.pieces {
            out.push_str(match piece {
                Piece::Literal(text) => text,
                Piece::Placeholder(_) => with,
            });
        }
        out
    }

    fn error(&self, at: usize, message: impl Into<String>) -> TemplateError {
        TemplateError { template: self.text.clone(), at, message: message.into(), nearest: None }
    }
}

impl Placeholder {
    fn parse(at: usize, inner: &str) -> Result<Self, Wrong> {
        let quoted = inner.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'));
        let (name, rest) = match quoted {
            Some((name, rest)) => (name, rest.trim_start()),
            None => inner
                .split_once('|')
                .map_or((inner, ""), |(name, _)| (name, inner.get(name.len()..).unwrap_or_default())),
        };
        let name = if quoted.is_some() { name } else { name.trim() };
        if !rest.is_empty() && !rest.starts_with('|') {
            return Err("after a name in quotation marks comes `|` or `}`".into());
        }
        let parts = rest.split('|').skip(1);
        if name.is_empty() {
            return Err("a placeholder without a name: write `{name}`, or `{{` and `}}` for braces".into());
        }
        let filters: Vec<Filter> = parts.map(Filter::parse).collect::<Result<_, _>>()?;
        // What is done to it afterwards may take the escapes away again.
        if filters.iter().rev().skip(1).any(|filter| *filter == Filter::EscapeDn) {
            return Err("`escape_dn` comes last: what follows it would change what it escaped".into());
        }
        Ok(Self { at, name: name.into(), filters })
    }

    /// Whether its values are escaped as in a DN already.
    fn is_escaped(&self) -> bool {
        self.filters.last() == Some(&Filter::EscapeDn)
    }

    /// Whether it may come to no value without the whole coming to none.
    fn is_optional(&self) -> bool {
        let is_optional =
            |f: &Filter| matches!(f, Filter::Prefix(_) | Filter::Suffix(_) | Filter::Default(_));
        self.filters.iter().any(is_optional)
    }

    /// Its name, and whether it has a `default`.
    fn needs(&self) -> (&str, bool) {
        (&self.name, self.filters.iter().any(|filter| matches!(filter, Filter::Default(_))))
    }
}

/// What is no value in a DN or a filter.
fn is_blank(value: &str) -> bool {
    value.trim().is_empty()
}

#[cfg(test)]
mod tests;
