//! Templates: how a rule makes a value, a DN or a search filter of a record's values.
//!
//! `{name}` stands for a value, `{name|filter|filter:argument}` for one changed by filters from left to right,
//! `{{` and `}}` for braces. Three kinds, one syntax: [`Template`] for plain text, [`DnTemplate`] and
//! [`FilterTemplate`], which escape what they fill in and are checked to be what they claim before any record.
//!
//! Pure: no clock, no network, no locale. Where names are looked up is the caller's business.

mod filters;
mod skeleton;

use singer_common::{dn, filter};

use filters::Filter;

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

/// What a name stands for: its values as text; `None`, or no values, where it is missing or null.
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
        let error = |at, message: String| TemplateError { template: text.into(), at, message };
        while let Some((c, at)) = chars.next() {
            match c {
                '{' | '}' if chars.next_if(|(next, _)| *next == c).is_some() => literal.push(c),
                '}' => return Err(error(at, "a single `}`: write `}}` for a brace".into())),
                '{' => {
                    let mut inner = String::new();
                    loop {
                        match chars.next() {
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
                    let placeholder = Placeholder::parse(at, &inner).map_err(|message| error(at, message))?;
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

    /// The text for one record; `None` when a value is missing, null or empty and has no `|default:…`, and when
    /// nothing comes out. Several values are an error unless the template says `|first`, also where the template
    /// is nothing but one placeholder: `attribute_mapping` is for copying all values.
    pub fn render(&self, lookup: Lookup<'_>) -> Result<Option<String>, RenderError> {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Placeholder(placeholder) => match self.value(placeholder, lookup, str::is_empty)? {
                    Some(value) => out.push_str(&value),
                    None => return Ok(None),
                },
            }
        }
        Ok((!out.is_empty()).then_some(out))
    }

    fn placeholders(&self) -> impl Iterator<Item = &Placeholder> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Placeholder(placeholder) => Some(placeholder),
            Piece::Literal(_) => None,
        })
    }

    /// The text where every value is needed and is escaped.
    fn render_escaped(&self, lookup: Lookup<'_>, escape: fn(&[u8]) -> String) -> Result<String, RenderError> {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Placeholder(placeholder) => {
                    let value = self.value(placeholder, lookup, |value| value.trim().is_empty())?;
                    let value = value.ok_or_else(|| RenderError::Missing {
                        placeholder: placeholder.name.clone(),
                        template: self.text.clone(),
                    })?;
                    out.push_str(&escape(value.as_bytes()));
                }
            }
        }
        Ok(out)
    }

    /// The one value of a placeholder after its filters; `None` when there is none, or only empty ones.
    fn value(
        &self,
        placeholder: &Placeholder,
        lookup: Lookup<'_>,
        is_empty: fn(&str) -> bool,
    ) -> Result<Option<String>, RenderError> {
        let mut values = lookup(&placeholder.name).unwrap_or_default();
        for filter in &placeholder.filters {
            filter.apply(&mut values, is_empty).map_err(|filters::NoDate| RenderError::Date {
                placeholder: placeholder.name.clone(),
                template: self.text.clone(),
            })?;
        }
        if values.iter().all(|value| is_empty(value)) {
            return Ok(None);
        }
        match values.len() {
            1 => Ok(values.pop()),
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
        TemplateError { template: self.text.clone(), at, message: message.into() }
    }
}

impl Placeholder {
    fn parse(at: usize, inner: &str) -> Result<Self, String> {
        let mut parts = inner.split('|');
        let name = parts.next().unwrap_or_default().trim();
        if name.is_empty() {
            return Err("a placeholder without a name: write `{name}`, or `{{` and `}}` for braces".into());
        }
        let filters = parts.map(Filter::parse).collect::<Result<_, _>>()?;
        Ok(Self { at, name: name.into(), filters })
    }
}

/// A template of a distinguished name (`dn_template`). Values are escaped by RFC 4514; the rest is left as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnTemplate(Template);

impl DnTemplate {
    /// Reads a template, which must be a distinguished name (RFC 4514) whose placeholders stand in attribute
    /// values: a record decides what an entry is called, never how many levels its name has.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let template = Template::parse(text)?;
        skeleton::check_dn(&template)?;
        Ok(Self(template))
    }

    /// The names in it, from left to right, as often as they occur.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.names()
    }

    /// The attributes of the first component.
    pub fn naming_attributes(&self) -> Vec<String> {
        let dn = dn::Dn::parse(&self.0.fill("x")).ok();
        let rdn = dn.as_ref().and_then(dn::Dn::rdn);
        rdn.into_iter().flat_map(|rdn| &rdn.avas).map(|ava| ava.attribute.clone()).collect()
    }

    /// The name for one record. A value that is missing, null, empty or blank is an error, and so are several.
    pub fn render(&self, lookup: Lookup<'_>) -> Result<String, RenderError> {
        self.0.render_escaped(lookup, dn::escape_value)
    }
}

/// A template of a search filter (`match`). Values are escaped by RFC 4515; the rest is left as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterTemplate(Template);

impl FilterTemplate {
    /// Reads a template, which must be a filter (RFC 4515) whose placeholders stand in assertion values.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let template = Template::parse(text)?;
        skeleton::check_filter(&template)?;
        Ok(Self(template))
    }

    /// The names in it, from left to right, as often as they occur.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.names()
    }

    /// The filter that finds every entry which it could find for some record, and the attribute it finds them by: where
    /// that is one value, without which it finds nothing.
    pub fn of_all(&self) -> Option<(String, String)> {
        let (x, y) =
            (filter::Filter::parse(&self.0.fill("x")).ok()?, filter::Filter::parse(&self.0.fill("y")).ok()?);
        let differs = |(x, y): (&filter::Filter, &filter::Filter)| x != y;
        let differing: Vec<(&filter::Filter, &filter::Filter)> = match (&x, &y) {
            (filter::Filter::And(x), filter::Filter::And(y)) => {
                x.iter().zip(y).filter(|p| differs(*p)).collect()
            }
            pair => vec![pair],
        };
        match differing.as_slice() {
            [(filter::Filter::Equality { attribute, .. }, _)] => {
                let all = self.0.fill("*");
                filter::Filter::parse(&all).is_ok().then(|| (all, attribute.clone()))
            }
            _ => None,
        }
    }

    /// The attributes whose asserted values come from the record.
    pub fn attributes(&self) -> Vec<String> {
        let read =
            |with| filter::Filter::parse(&self.0.fill(with)).map(|f| equalities(&f)).unwrap_or_default();
        let pairs = read("x").into_iter().zip(read("y"));
        pairs.filter(|(x, y)| x.1 != y.1).map(|(x, _)| x.0).collect()
    }

    /// The filter for one record. A value that is missing, null, empty or blank is an error, and so are several.
    pub fn render(&self, lookup: Lookup<'_>) -> Result<String, RenderError> {
        self.0.render_escaped(lookup, filter::escape_value)
    }
}

/// The attributes and values that a filter asks to be equal.
fn equalities(filter: &filter::Filter) -> Vec<(String, Vec<u8>)> {
    match filter {
        filter::Filter::And(all) | filter::Filter::Or(all) => all.iter().flat_map(equalities).collect(),
        filter::Filter::Not(inner) => equalities(inner),
        filter::Filter::Equality { attribute, value } => vec![(attribute.clone(), value.clone())],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
