//! Templates: how a rule makes a value, a DN or a search filter from a record's values.
//!
//! `{name}` is replaced by a value, `{name|filter|filter:argument}` by a value that filters change from left to right. `{{` and
//! `}}` are braces. A name may have a path, `{emails[primary].value}`; `{today}` is the day of the run. What is between `{?` and `?}` is
//! left out if a value in it is missing. There are three kinds with one syntax: [`Template`] for plain text, [`DnTemplate`] and [`FilterTemplate`].
//! The latter escape their values, and are checked before the first record.
//!
//! [`ValueTemplate`] follows the attribute's syntax: in a DN, values are escaped.
//!
//! Pure: no clock, no network, no locale. The caller looks names up, and says which day it is.

mod dn_template;
mod filter_template;
mod filters;
mod path;
mod placeholder;
mod scan;
mod skeleton;
mod syntax;
mod times;

pub use dn_template::DnTemplate;
pub use filter_template::FilterTemplate;
use filters::{Filter, Misfit};
pub use path::Path;
pub use placeholder::Moment;
use placeholder::Placeholder;
pub use syntax::{Syntax, ValueTemplate};
pub(crate) use times::date_of;

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
        "{placeholder} in {template:?} is not a date: RFC 3339 (2024-05-17T10:00:00Z), a date (2024-05-17) and \
         GeneralizedTime (20240517100000Z) are read as they are, others with `|read_date:%d.%m.%Y`"
    )]
    Date {
        /// The name of the placeholder.
        placeholder: String,
        /// The template.
        template: String,
    },
    /// The value of `number` is not a whole number.
    #[error("{placeholder} in {template:?} is not a whole number")]
    Number {
        /// The name of the placeholder.
        placeholder: String,
        /// The template.
        template: String,
    },
    /// A path of organizational units has an empty part.
    #[error("{placeholder} in {template:?} has an empty part between others")]
    Gap {
        /// The name of the placeholder.
        placeholder: String,
        /// The template.
        template: String,
    },
    /// A filter makes a value too long.
    #[error("{placeholder} in {template:?} is too long: 1 MiB of text, or 32 levels of a path, are the most")]
    TooLong {
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

/// The result of a template with a value for each element of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderedValues {
    /// These texts, none of which is empty.
    Texts(Vec<String>),
    /// As [`Rendered::Nothing`].
    Nothing,
    /// As [`Rendered::Unknown`].
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
    /// The start of an optional part.
    Open,
    /// Its end.
    Close,
}

/// The value of a list that stands for a placeholder at a position.
type Element<'e> = Option<(usize, &'e str)>;

impl Template {
    /// Parses a template.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let template = Self { text: text.into(), pieces: scan::pieces(text)? };
        template.check_lists()?;
        Ok(template)
    }

    /// Returns the template as it is written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Sets what the run knows of time.
    pub(crate) fn set_moment(&mut self, moment: Moment) {
        self.placeholders_mut().for_each(|placeholder| placeholder.set_moment(moment));
    }

    /// Decides what ambiguous names are. `is_property`: whether a record may have a property of a name.
    pub(crate) fn resolve(&mut self, is_property: &dyn Fn(&str) -> bool) {
        self.placeholders_mut().for_each(|placeholder| placeholder.resolve(is_property));
    }

    /// Returns the paths of its placeholders, each with its key in a [`Lookup`] and its property.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (String, &str, &Path)> {
        self.placeholders().filter_map(Placeholder::path)
    }

    fn placeholders_mut(&mut self) -> impl Iterator<Item = &mut Placeholder> {
        self.pieces.iter_mut().filter_map(|piece| match piece {
            Piece::Placeholder(placeholder) => Some(placeholder),
            Piece::Literal(_) | Piece::Open | Piece::Close => None,
        })
    }

    /// Whether a name stands for a value of this property or attribute, by any reading.
    pub(crate) fn uses(&self, is_it: &dyn Fn(&str) -> bool) -> bool {
        self.placeholders().any(|p| is_it(&p.name) || is_it(&p.text))
    }

    /// Returns the names, from left to right, with repetitions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.needs().map(|(name, _)| name)
    }

    /// Returns those names that stand for a whole value, and not for a part of one by its path.
    pub(crate) fn whole_names(&self) -> impl Iterator<Item = &str> {
        self.placeholders().filter_map(Placeholder::whole_name)
    }

    /// Returns the names, each with whether it has a `default`.
    pub fn needs(&self) -> impl Iterator<Item = (&str, bool)> {
        self.placeholders().filter_map(Placeholder::needs)
    }

    /// Whether a placeholder of this name has a filter.
    pub(crate) fn is_filtered(&self, name: &str) -> bool {
        self.placeholders().any(|p| p.name == name && !p.filters.is_empty())
    }

    /// Renders the text for one record.
    ///
    /// A null or empty value without `|default:…`, `|prefix:…` or `|suffix:…` gives [`Rendered::Nothing`]. A missing property
    /// without `|default:…` gives [`Rendered::Unknown`]; so does an empty `|default:` if nothing else is there.
    ///
    /// # Errors
    /// Several values without `|first`, also in a template of only one placeholder: `attribute_mapping` copies all values.
    pub fn render(&self, lookup: Lookup<'_>) -> Result<Rendered, RenderError> {
        self.render_with(lookup, None, str::is_empty, |out, value, _| out.push_str(&value))
    }

    /// Renders a text for each element of the list that a placeholder is, and else one text. `render` renders one, for an element.
    fn render_each(
        &self,
        lookup: Lookup<'_>,
        mut render: impl FnMut(Element<'_>) -> Result<Rendered, RenderError>,
    ) -> Result<RenderedValues, RenderError> {
        let Some(list) = self.placeholders().find(|p| p.is_list()) else {
            return Ok(match render(None)? {
                Rendered::Text(text) => RenderedValues::Texts(vec![text]),
                Rendered::Nothing => RenderedValues::Nothing,
                Rendered::Unknown => RenderedValues::Unknown,
            });
        };
        let Some(mut values) = list.found(lookup) else { return Ok(RenderedValues::Unknown) };
        for filter in &list.filters {
            filter.apply(&mut values, str::is_empty).map_err(|misfit| self.misfit(list, misfit))?;
        }
        let mut texts = Vec::new();
        for value in values.iter().filter(|value| !value.is_empty()) {
            match render(Some((list.at, value)))? {
                Rendered::Text(text) => texts.push(text),
                Rendered::Nothing => {}
                Rendered::Unknown => return Ok(RenderedValues::Unknown),
            }
        }
        Ok(if texts.is_empty() { RenderedValues::Nothing } else { RenderedValues::Texts(texts) })
    }

    /// Renders with `is_empty` to decide what is no value, and `put` to insert a value. `element` stands for the placeholder of a list.
    fn render_with(
        &self,
        lookup: Lookup<'_>,
        element: Element<'_>,
        is_empty: fn(&str) -> bool,
        mut put: impl FnMut(&mut String, String, &Placeholder),
    ) -> Result<Rendered, RenderError> {
        let mut out = String::new();
        let (mut is_null, mut lacks_some) = (false, false);
        // The optional part: where it begins, and whether it is left out.
        let mut part: Option<(usize, bool)> = None;
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Open => part = Some((out.len(), false)),
                Piece::Close => {
                    if let Some((start, true)) = part.take() {
                        out.truncate(start);
                    }
                }
                Piece::Placeholder(placeholder) => {
                    let value = match element {
                        Some((at, value)) if at == placeholder.at => PlaceholderValue::Text(value.to_owned()),
                        _ => self.value(placeholder, lookup, is_empty)?,
                    };
                    match (value, &mut part) {
                        (PlaceholderValue::Text(value), _) => put(&mut out, value, placeholder),
                        // If one part is unknown, so is the whole text.
                        (PlaceholderValue::Absent, _) => return Ok(Rendered::Unknown),
                        (PlaceholderValue::Omitted { is_absent }, part) => {
                            lacks_some |= is_absent;
                            if let Some((_, is_left_out)) = part {
                                *is_left_out = true;
                            }
                        }
                        (PlaceholderValue::Null, Some((_, is_left_out))) => *is_left_out = true,
                        (PlaceholderValue::Null, None) => is_null = true,
                    }
                }
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
            Piece::Literal(_) | Piece::Open | Piece::Close => None,
        })
    }

    /// Renders the text if every placeholder without a default has a value.
    fn render_needed(
        &self,
        lookup: Lookup<'_>,
        mut put: impl FnMut(&mut String, &str, &Placeholder),
    ) -> Result<String, RenderError> {
        let mut out = String::new();
        let mut part: Option<(usize, bool)> = None;
        for piece in &self.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Open => part = Some((out.len(), false)),
                Piece::Close => {
                    if let Some((start, true)) = part.take() {
                        out.truncate(start);
                    }
                }
                Piece::Placeholder(placeholder) => {
                    match (self.value(placeholder, lookup, is_blank)?, &mut part) {
                        (PlaceholderValue::Text(value), _) => put(&mut out, &value, placeholder),
                        (
                            PlaceholderValue::Null | PlaceholderValue::Omitted { .. },
                            Some((_, is_left_out)),
                        ) => *is_left_out = true,
                        (PlaceholderValue::Omitted { .. }, None) => {}
                        (PlaceholderValue::Null | PlaceholderValue::Absent, _) => {
                            return Err(self.missing(placeholder));
                        }
                    }
                }
            }
        }
        Ok(out)
    }

    /// Returns the first placeholder that may be omitted.
    fn first_optional(&self) -> Option<&Placeholder> {
        self.placeholders().find(|p| p.is_optional())
    }

    /// Checks that it has one list at most, and that it decides about no optional part.
    fn check_lists(&self) -> Result<(), TemplateError> {
        let mut lists = self.placeholders().filter(|p| p.is_list());
        if let (Some(_), Some(second)) = (lists.next(), lists.next()) {
            let message = format!(
                "`{}` is a second list: for which of its values? Write `|first` or `|join:, `",
                second.text
            );
            return Err(self.error(second.at, message));
        }
        let mut is_open = false;
        for piece in &self.pieces {
            match piece {
                Piece::Open => is_open = true,
                Piece::Close => is_open = false,
                Piece::Placeholder(p) if is_open && p.is_list() => {
                    let message = format!(
                        "`{}` is a list within an optional part: write `|first` or `|join:, `",
                        p.text
                    );
                    return Err(self.error(p.at, message));
                }
                Piece::Placeholder(_) | Piece::Literal(_) => {}
            }
        }
        Ok(())
    }

    /// Checks that it has no list: a DN or a filter needs one value.
    fn check_no_list(&self) -> Result<(), TemplateError> {
        match self.placeholders().find(|p| p.is_list()) {
            None => Ok(()),
            Some(list) => {
                let message = format!(
                    "`{}` is a list where one value is needed: write `|first`, or a condition",
                    list.text
                );
                Err(self.error(list.at, message))
            }
        }
    }

    /// Whether it has optional parts.
    fn has_parts(&self) -> bool {
        self.pieces.contains(&Piece::Open)
    }

    fn misfit(&self, placeholder: &Placeholder, misfit: Misfit) -> RenderError {
        let (placeholder, template) = (placeholder.text.clone(), self.text.clone());
        match misfit {
            Misfit::Date => RenderError::Date { placeholder, template },
            Misfit::Number => RenderError::Number { placeholder, template },
            Misfit::Dn => RenderError::NotDn { placeholder, template, expected: "a DN" },
            Misfit::Gap => RenderError::Gap { placeholder, template },
            Misfit::TooLong => RenderError::TooLong { placeholder, template },
        }
    }

    fn missing(&self, placeholder: &Placeholder) -> RenderError {
        RenderError::Missing { placeholder: placeholder.text.clone(), template: self.text.clone() }
    }

    /// Returns the one value of a placeholder after its filters.
    fn value(
        &self,
        placeholder: &Placeholder,
        lookup: Lookup<'_>,
        is_empty: fn(&str) -> bool,
    ) -> Result<PlaceholderValue, RenderError> {
        let found = placeholder.found(lookup);
        let is_absent = found.is_none();
        let mut values = found.unwrap_or_default();
        let (mut has_default, mut is_optional) = (false, false);
        for filter in &placeholder.filters {
            match filter {
                Filter::Default(_) => has_default = true,
                Filter::Prefix(_) | Filter::Suffix(_) => is_optional = true,
                _ => {}
            }
            filter.apply(&mut values, is_empty).map_err(|misfit| self.misfit(placeholder, misfit))?;
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
                placeholder: placeholder.text.clone(),
                template: self.text.clone(),
                count,
            }),
        }
    }

    fn error(&self, at: usize, message: impl Into<String>) -> TemplateError {
        TemplateError { template: self.text.clone(), at, message: message.into(), nearest: None }
    }
}

/// Whether a value counts as missing in a DN or a filter.
fn is_blank(value: &str) -> bool {
    value.trim().is_empty()
}

#[cfg(test)]
mod tests;
