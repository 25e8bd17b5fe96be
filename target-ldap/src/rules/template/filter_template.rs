//! The template of a search filter (`match`).

use singer_common::filter;
use singer_common::schema::Schema;

use super::{Lookup, Placeholder, RenderError, Template, TemplateError, skeleton, syntax};

/// A template of a search filter (`match`). Values are escaped by RFC 4515; the rest is left as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterTemplate {
    template: Template,
    /// How each placeholder's value is put in; empty until the schema is known.
    places: Vec<syntax::Place>,
}

impl FilterTemplate {
    /// Reads a template, which must be a filter (RFC 4515) whose placeholders stand in assertion values.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let template = Template::parse(text)?;
        skeleton::check_filter(&template)?;
        Ok(Self { template, places: Vec::new() })
    }

    /// The names in it, from left to right, as often as they occur.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.template.names()
    }

    /// The names in it, each with whether it has a `default`.
    pub fn needs(&self) -> impl Iterator<Item = (&str, bool)> {
        self.template.needs()
    }

    /// The same for a directory with this schema: a value that stands within a DN is escaped as in one, and what is a whole
    /// DN has to be one.
    ///
    /// # Errors
    /// A value of a DN-valued attribute that is no DN, whatever its placeholders hold.
    pub fn with_schema(&self, schema: &Schema) -> Result<Self, TemplateError> {
        let places = syntax::places(&self.template, schema)?;
        Ok(Self { template: self.template.clone(), places })
    }

    /// The filter that finds every entry which it could find for some record, and the attribute it finds them by: where
    /// that is one value, without which it finds nothing.
    pub fn of_all(&self) -> Option<(String, String)> {
        // A part of a name is nothing that a server can look for.
        if self.places.contains(&syntax::Place::WithinDn) {
            return None;
        }
        let (x, y) = (
            filter::Filter::parse(&self.template.fill("x")).ok()?,
            filter::Filter::parse(&self.template.fill("y")).ok()?,
        );
        let differs = |(x, y): (&filter::Filter, &filter::Filter)| x != y;
        let differing: Vec<(&filter::Filter, &filter::Filter)> = match (&x, &y) {
            (filter::Filter::And(x), filter::Filter::And(y)) => {
                x.iter().zip(y).filter(|p| differs(*p)).collect()
            }
            pair => vec![pair],
        };
        match differing.as_slice() {
            [(filter::Filter::Equality { attribute, .. }, _)] => {
                let all = self.template.fill("*");
                filter::Filter::parse(&all).is_ok().then(|| (all, attribute.clone()))
            }
            _ => None,
        }
    }

    /// The filter with these words for each placeholder.
    pub fn filled(&self, with: &str) -> Option<filter::Filter> {
        filter::Filter::parse(&self.template.fill(with)).ok()
    }

    /// The attributes whose asserted values come from the record.
    pub fn attributes(&self) -> Vec<String> {
        let read = |with| {
            filter::Filter::parse(&self.template.fill(with)).map(|f| equalities(&f)).unwrap_or_default()
        };
        let pairs = read("x").into_iter().zip(read("y"));
        pairs.filter(|(x, y)| x.1 != y.1).map(|(x, _)| x.0).collect()
    }

    /// The filter for one record. A value that is missing, null, empty or blank is an error, and so are several.
    pub fn render(&self, lookup: Lookup<'_>) -> Result<String, RenderError> {
        let mut places = self.places.iter();
        let needed = |out: &mut String, value: &str, placeholder: &Placeholder| {
            let place = places.next().copied().unwrap_or_default();
            out.push_str(&filter::escape_value(place.text(value, placeholder, &self.template)?.as_bytes()));
            Ok(())
        };
        // Without the part that is left out it would be another filter.
        if let Some(missing) = self.template.first_omitted(lookup)? {
            return Err(self.template.missing(missing));
        }
        self.template.render_needed(lookup, needed)
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
