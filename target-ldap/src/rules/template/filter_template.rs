//! The template of a search filter (`match`).

use ldap_directory::filter;
use ldap_directory::schema::Schema;
use ldap_directory::time::Zone;

use super::{Lookup, Placeholder, RenderError, Template, TemplateError, skeleton, syntax};

/// A template of a search filter (`match`). Values are escaped by RFC 4515; the other text is used as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterTemplate {
    template: Template,
    /// How each placeholder's value is inserted; empty until the schema is known.
    places: Vec<syntax::PlaceholderContext>,
}

impl FilterTemplate {
    /// Parses a template. It must be a filter (RFC 4515) with placeholders only in assertion values.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let template = Template::parse(text)?;
        skeleton::check_filter(&template)?;
        Ok(Self { template, places: Vec::new() })
    }

    /// Sets the zone of times that do not name one.
    pub(crate) fn set_zone(&mut self, zone: Zone) {
        self.template.set_zone(zone);
    }

    /// Returns the names, from left to right, with repetitions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.template.names()
    }

    /// Returns the names, each with whether it has a `default`.
    pub fn needs(&self) -> impl Iterator<Item = (&str, bool)> {
        self.template.needs()
    }

    /// Returns the template for a directory with this schema: a value within a DN is escaped for it, and a whole DN must be
    /// valid.
    ///
    /// # Errors
    /// A value of a DN-valued attribute can never be a DN.
    pub fn with_schema(&self, schema: &Schema) -> Result<Self, TemplateError> {
        let places = syntax::places(&self.template, schema)?;
        Ok(Self { template: self.template.clone(), places })
    }

    /// Returns the filter that matches every entry that a record may match, and the attribute that is compared. `None` if more
    /// than one value comes from the record.
    pub fn of_all(&self) -> Option<(String, String)> {
        // A server cannot search for a part of a DN.
        if self.places.contains(&syntax::PlaceholderContext::WithinDn) {
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

    /// Returns the filter with this text for each placeholder.
    pub fn filled(&self, with: &str) -> Option<filter::Filter> {
        filter::Filter::parse(&self.template.fill(with)).ok()
    }

    /// Returns the attributes whose assertion values come from the record.
    pub fn attributes(&self) -> Vec<String> {
        let read = |with| {
            filter::Filter::parse(&self.template.fill(with)).map(|f| equalities(&f)).unwrap_or_default()
        };
        let pairs = read("x").into_iter().zip(read("y"));
        pairs.filter(|(x, y)| x.1 != y.1).map(|(x, _)| x.0).collect()
    }

    /// Renders the filter of one record.
    ///
    /// # Errors
    /// A value is missing, null, empty or blank, or there are several.
    pub fn render(&self, lookup: Lookup<'_>) -> Result<String, RenderError> {
        let mut places = self.places.iter();
        let needed = |out: &mut String, value: &str, placeholder: &Placeholder| {
            let place = places.next().copied().unwrap_or_default();
            out.push_str(&filter::escape_value(place.text(value, placeholder, &self.template)?.as_bytes()));
            Ok(())
        };
        // Without the omitted part it would be another filter.
        if let Some(missing) = self.template.first_omitted(lookup)? {
            return Err(self.template.missing(missing));
        }
        self.template.render_needed(lookup, needed)
    }
}

/// Returns the attributes and values of the equality assertions in a filter.
fn equalities(filter: &filter::Filter) -> Vec<(String, Vec<u8>)> {
    match filter {
        filter::Filter::And(all) | filter::Filter::Or(all) => all.iter().flat_map(equalities).collect(),
        filter::Filter::Not(inner) => equalities(inner),
        filter::Filter::Equality { attribute, value } => vec![(attribute.clone(), value.clone())],
        _ => Vec::new(),
    }
}
