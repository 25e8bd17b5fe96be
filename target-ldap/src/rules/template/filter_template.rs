//! The template of a search filter (`match`).

use ldap_directory::entry::Entry;
use ldap_directory::filter;
use ldap_directory::schema::Schema;

use super::{
    Lookup, Piece, Placeholder, PlaceholderValue, RenderError, Rendered, Template, TemplateError, is_blank,
    skeleton, syntax,
};

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
        template.check_no_list()?;
        skeleton::check_filter(&template)?;
        Ok(Self { template, places: Vec::new() })
    }

    /// Returns the template of the text.
    pub(crate) fn template(&self) -> &Template {
        &self.template
    }

    /// Returns the template of the text, to prepare it.
    pub(crate) fn template_mut(&mut self) -> &mut Template {
        &mut self.template
    }

    /// Returns the names, from left to right, with repetitions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.template.names()
    }

    /// Returns the filter with `{}` in place of values, and the names of the values: two templates that find other entries differ in it.
    pub fn shape(&self) -> String {
        let names: Vec<&str> = self.names().collect();
        format!("{} of {}", self.template.fill("{}"), names.join(", "))
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

    /// Returns the filter with an entry's own values in place of the record's: what finds it, and another entry of the same record. `None`: a
    /// part of a value comes from the record.
    pub fn of_entry(&self, entry: &Entry, schema: &Schema) -> Option<filter::Filter> {
        let filled = |with| filter::Filter::parse(&self.template.fill(with)).ok();
        with_values_of(&filled("x")?, &filled("y")?, entry, schema)
    }

    /// Returns the attributes whose assertion values come from the record.
    pub fn attributes(&self) -> Vec<String> {
        let read = |with| {
            filter::Filter::parse(&self.template.fill(with)).map(|f| equalities(&f)).unwrap_or_default()
        };
        let pairs = read("x").into_iter().zip(read("y"));
        pairs.filter(|(x, y)| x.1 != y.1).map(|(x, _)| x.0).collect()
    }

    /// Renders the filter of one record, which need not find anything: a null or empty value gives [`Rendered::Nothing`], a
    /// missing one [`Rendered::Unknown`].
    ///
    /// # Errors
    /// There are several values for a placeholder.
    pub fn render_or_nothing(&self, lookup: Lookup<'_>) -> Result<Rendered, RenderError> {
        Ok(match self.fill_values(lookup)? {
            Ok(text) => Rendered::Text(text),
            Err(Lack { is_absent: true, .. }) => Rendered::Unknown,
            Err(_) => Rendered::Nothing,
        })
    }

    /// Renders the filter of one record.
    ///
    /// # Errors
    /// A value is missing, null, empty or blank, or there are several.
    pub fn render(&self, lookup: Lookup<'_>) -> Result<String, RenderError> {
        self.fill_values(lookup)?.map_err(|lack| self.template.missing(lack.placeholder))
    }

    /// Renders the filter of one record, if all its placeholders have a value: without one it would be another filter.
    fn fill_values(&self, lookup: Lookup<'_>) -> Result<Result<String, Lack<'_>>, RenderError> {
        let mut values = Vec::with_capacity(self.template.pieces.len());
        let mut lack: Option<Lack<'_>> = None;
        for placeholder in self.template.placeholders() {
            let is_absent = match self.template.value(placeholder, lookup, is_blank)? {
                PlaceholderValue::Text(value) => {
                    values.push(value);
                    continue;
                }
                PlaceholderValue::Absent => true,
                PlaceholderValue::Omitted { is_absent } => is_absent,
                PlaceholderValue::Null => false,
            };
            if is_absent {
                return Ok(Err(Lack { placeholder, is_absent }));
            }
            lack.get_or_insert(Lack { placeholder, is_absent });
        }
        if let Some(lack) = lack {
            return Ok(Err(lack));
        }
        let (mut values, mut places) = (values.iter(), self.places.iter());
        let mut out = String::new();
        for piece in &self.template.pieces {
            match piece {
                Piece::Literal(text) => out.push_str(text),
                Piece::Placeholder(placeholder) => {
                    let place = places.next().copied().unwrap_or_default();
                    let value = values.next().map(String::as_str).unwrap_or_default();
                    let text = place.text(value, placeholder, &self.template)?;
                    out.push_str(&filter::escape_value(text.as_bytes()));
                }
                Piece::Open | Piece::Close => {}
            }
        }
        Ok(Ok(out))
    }
}

/// A placeholder without a value, and whether the record lacks its property.
struct Lack<'t> {
    placeholder: &'t Placeholder,
    is_absent: bool,
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

/// Returns a filter with an entry's values where two fillings of a template differ.
fn with_values_of(
    x: &filter::Filter,
    y: &filter::Filter,
    entry: &Entry,
    schema: &Schema,
) -> Option<filter::Filter> {
    use filter::Filter;
    let all = |x: &[Filter], y: &[Filter]| -> Option<Vec<Filter>> {
        x.iter().zip(y).map(|(x, y)| with_values_of(x, y, entry, schema)).collect()
    };
    Some(match (x, y) {
        (x, y) if x == y => x.clone(),
        (Filter::And(x), Filter::And(y)) => Filter::And(all(x, y)?),
        (Filter::Or(x), Filter::Or(y)) => Filter::Or(all(x, y)?),
        (Filter::Not(x), Filter::Not(y)) => Filter::Not(Box::new(with_values_of(x, y, entry, schema)?)),
        (Filter::Equality { attribute, .. }, _) => {
            let mut own = schema.values_of(entry, attribute).to_vec();
            match own.len() {
                1 => Filter::equality(attribute, own.swap_remove(0)),
                _ => Filter::Or(own.into_iter().map(|value| Filter::equality(attribute, value)).collect()),
            }
        }
        _ => return None,
    })
}
