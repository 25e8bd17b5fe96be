//! Templates: how a rule makes a value, a DN or a search filter from a record's values.
//!
//! `{name}` is replaced by a value, `{name|filter|filter:argument}` by a value that filters change from left to right. `{{` and
//! `}}` are braces. There are three kinds with one syntax: [`Template`] for plain text, [`DnTemplate`] and [`FilterTemplate`].
//! The latter escape their values, and are checked before the first record.
//!
//! [`ValueTemplate`] follows the attribute's syntax: in a DN, values are escaped.
//!
//! Pure: no clock, no network, no locale. The caller looks names up.

mod dn_template;
mod filter_template;
mod filters;
mod skeleton;
mod syntax;

pub use dn_template::DnTemplate;
pub use filter_template::FilterTemplate;
use filters::{Filter, Wrong};
use ldap_directory::time::Zone;
pub use syntax::{Syntax, ValueTemplate};

/// A template that is not valid: a configuration error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("template {template:?}, position {at}: {message}")]
pub struct TemplateError {
    /// The template.
    pub template: String,
    /// The position, in characters from 1.
    pub at: usize,
    /// The problem, and what would be valid.
    pub message: String,
    /// The known filter that is nearest to an unknown one.
    pub nearest: Option<String>,
}

/// Why a template cannot be rendered for one record: an error of that record. Never shows a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// A value that a DN or a filter needs is missing, null, empty or blank.
    #[error("{placeholder} in {template:?} has no value, or an empty one: give it one, or a `|default:…`")]
    Missing {
        /// The name of the placeholder.
        placeholder: String,
        /// The template.
        template: String,
    },
    /// Several values where one is needed.
    #[error("{placeholder} in {template:?} has {count} values where one is needed: `|first` takes the first")]
    Several {
        /// The name of the placeholder.
        placeholder: String,
        /// The template.
        template: String,
        /// Their number.
        count: usize,
    },
    /// A value that must be a whole DN is not valid.
    #[error(
        "{placeholder} in {template:?} is to be {expected} as it stands, and is not: give it one, or write a template of one, as \
         in `uid={{uid}},ou=people,dc=x`"
    )]
    NotDn {
        /// The name of the placeholder.
        placeholder: String,
        /// The template.
        template: String,
        /// What is expected.
        expected: &'static str,
    },
    /// The value of `date` is not a date.
    #[error(
        "{placeholder} in {template:?} is not a date: `|date` reads RFC 3339 (2024-05-17T10:00:00Z), a date \
         (2024-05-17) and GeneralizedTime (20240517100000Z)"
    )]
    Date {
        /// The name of the placeholder.
        placeholder: String,
        /// The template.
        template: String,
    },
}

/// The result of a template for one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rendered {
    /// This text, which is not empty.
    Text(String),
    /// No text: a needed value is null or empty, or the result is empty.
    Nothing,
    /// Unknown: the record lacks a property that the template needs.
    Unknown,
}

/// The result of a placeholder.
enum PlaceholderValue {
    Text(String),
    /// No value, and the template allows that. Whether the record has the property.
    Omitted {
        is_absent: bool,
    },
    /// Null or empty.
    Null,
    /// The record lacks the property.
    Absent,
}

/// Looks up a name: its values as text, none if it is null or empty, `None` if the record lacks it.
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
    /// The position of its `{`, in characters from 1.
    at: usize,
    name: String,
    filters: Vec<Filter>,
}

impl Template {
    /// Parses a template.
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
                    // `{"x|y}"}`: a name with characters of the template syntax.
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

    /// Sets the zone of times that do not name one.
    pub(crate) fn set_zone(&mut self, zone: Zone) {
        let placeholders = self.pieces.iter_mut().filter_map(|piece| match piece {
            Piece::Placeholder(placeholder) => Some(placeholder),
            Piece::Literal(_) => None,
        });
        for filter in placeholders.flat_map(|placeholder| &mut placeholder.filters) {
            if let Filter::Date(_, there) = filter {
                *there = zone;
            }
        }
    }

    /// Returns the names, from left to right, with repetitions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.placeholders().map(|p| p.name.as_str())
    }

    /// Returns the names, each with whether it has a `default`.
    pub fn needs(&self) -> impl Iterator<Item = (&str, bool)> {
        self.placeholders().map(Placeholder::needs)
    }

    /// Renders the text for one record.
    ///
    /// A null or empty value without `|default:…`, `|prefix:…` or `|suffix:…` gives [`Rendered::Nothing`]. A missing property
    /// without `|default:…` gives [`Rendered::Unknown`]; so does an empty `|default:` if nothing else is there.
    ///
    /// # Errors
    /// Several values without `|first`, also in a template of only one placeholder: `attribute_mapping` copies all values.
    pub fn render(&self, lookup: Lookup<'_>) -> Result<Rendered, RenderError> {
        self.render_with(lookup, str::is_empty, |out, value, _| out.push_str(&value))
    }

    /// Renders with `is_empty` to decide what is no value, and `put` to insert a value.
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
                    PlaceholderValue::Text(value) => put(&mut out, value, placeholder),
                    PlaceholderValue::Omitted { is_absent } => lacks_some |= is_absent,
                    PlaceholderValue::Null => is_null = true,
                    // If one part is unknown, so is the whole text.
                    PlaceholderValue::Absent => return Ok(Rendered::Unknown),
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

    /// Renders the text if every placeholder without a default has a value.
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
                    PlaceholderValue::Text(value) => put(&mut out, &value, placeholder)?,
                    PlaceholderValue::Omitted { .. } => {}
                    PlaceholderValue::Null | PlaceholderValue::Absent => {
                        return Err(self.missing(placeholder));
                    }
                },
            }
        }
        Ok(out)
    }

    /// Returns the first placeholder that is omitted for this record.
    fn first_omitted(&self, lookup: Lookup<'_>) -> Result<Option<&Placeholder>, RenderError> {
        for placeholder in self.placeholders().filter(|p| p.is_optional()) {
            if matches!(self.value(placeholder, lookup, is_blank)?, PlaceholderValue::Omitted { .. }) {
                return Ok(Some(placeholder));
            }
        }
        Ok(None)
    }

    /// Returns the first placeholder that may be omitted.
    fn first_optional(&self) -> Option<&Placeholder> {
        self.placeholders().find(|p| p.is_optional())
    }

    fn missing(&self, placeholder: &Placeholder) -> RenderError {
        RenderError::Missing { placeholder: placeholder.name.clone(), template: self.text.clone() }
    }

    /// Returns the one value of a placeholder after its filters.
    fn value(
        &self,
        placeholder: &Placeholder,
        lookup: Lookup<'_>,
        is_empty: fn(&str) -> bool,
    ) -> Result<PlaceholderValue, RenderError> {
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
                (true, is_absent) => PlaceholderValue::Omitted { is_absent },
                (false, true) => PlaceholderValue::Absent,
                (false, false) if is_optional => PlaceholderValue::Omitted { is_absent },
                (false, false) => PlaceholderValue::Null,
            });
        }
        match values.len() {
            1 => Ok(values.pop().map_or(PlaceholderValue::Null, PlaceholderValue::Text)),
            count => Err(RenderError::Several {
                placeholder: placeholder.name.clone(),
                template: self.text.clone(),
                count,
            }),
        }
    }

    /// Fills every placeholder with the same text, for checks.
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
        // A later filter may remove the escapes again.
        if filters.iter().rev().skip(1).any(|filter| *filter == Filter::EscapeDn) {
            return Err("`escape_dn` comes last: what follows it would change what it escaped".into());
        }
        Ok(Self { at, name: name.into(), filters })
    }

    /// Whether its values are already escaped for a DN.
    fn is_escaped(&self) -> bool {
        self.filters.last() == Some(&Filter::EscapeDn)
    }

    /// Whether it may have no value without making the whole empty.
    fn is_optional(&self) -> bool {
        let is_optional =
            |f: &Filter| matches!(f, Filter::Prefix(_) | Filter::Suffix(_) | Filter::Default(_));
        self.filters.iter().any(is_optional)
    }

    /// Returns its name, and whether it has a `default`.
    fn needs(&self) -> (&str, bool) {
        (&self.name, self.filters.iter().any(|filter| matches!(filter, Filter::Default(_))))
    }
}

/// Whether a value counts as missing in a DN or a filter.
fn is_blank(value: &str) -> bool {
    value.trim().is_empty()
}

#[cfg(test)]
mod tests;
