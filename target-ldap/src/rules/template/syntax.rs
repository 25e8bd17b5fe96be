//! Templates of values with a syntax: one function for each syntax decides how a record's text is inserted.
//!
//! The attribute's syntax comes from the destination's schema; unknown attributes are plain text. A template of a single
//! placeholder is the whole value: it is used as it is, and must be valid in the syntax.

use ldap_directory::dn::{Dn, escape_value};
use ldap_directory::entry::base_type;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::schema::syntax::ValueKind;

use super::{
    Element, Lookup, Piece, Placeholder, RenderError, Rendered, RenderedValues, Template, TemplateError,
    is_blank, skeleton,
};

/// The syntax of an attribute, as far as it matters to a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    /// Any text.
    Text,
    /// A DN (RFC 4517 section 3.3.9).
    Dn,
    /// A DN with an optional bit string: `cn=x#'0101'B` (section 3.3.21).
    NameAndUid,
    /// Active Directory's `B:8:AABBCCDD:cn=x` ([MS-ADTS] 3.1.1.2.2.2.2).
    DnBinary,
    /// Active Directory's `S:5:hello:cn=x` (3.1.1.2.2.2.3).
    DnString,
}

impl Syntax {
    /// Returns the syntax of an attribute.
    pub fn of(schema: &Schema, description: &str) -> Syntax {
        match ValueKind::of(schema, description) {
            ValueKind::DistinguishedName => Syntax::Dn,
            ValueKind::NameAndOptionalUid => Syntax::NameAndUid,
            ValueKind::Text => match schema.syntax(description) {
                Some("1.2.840.113556.1.4.903" | "2.5.5.7") => Syntax::DnBinary,
                Some("1.2.840.113556.1.4.904" | "2.5.5.14") => Syntax::DnString,
                _ => Syntax::Text,
            },
            _ => Syntax::Text,
        }
    }

    /// Returns the syntax of an attribute that a template writes. An unknown attribute has DN syntax if the template is a DN
    /// (`cn={name},ou=teams,dc=example,dc=com`).
    pub fn of_template(schema: &Schema, description: &str, template: &Template) -> Syntax {
        let is_known = schema.attribute_type(base_type(description)).is_some();
        if is_known || template.names().next().is_none() {
            return Syntax::of(schema, description);
        }
        let looks_like_one = Dn::parse(&template.fill_dn("x")).is_ok_and(|dn| {
            let mut types = dn.rdns.iter().flat_map(|rdn| &rdn.avas);
            dn.depth() > 1 && types.all(|ava| Schema::standard().attribute_type(&ava.attribute).is_some())
        });
        if looks_like_one { Syntax::Dn } else { Syntax::Text }
    }

    /// Returns what is expected of a value, for messages.
    fn expected(self) -> &'static str {
        match self {
            Syntax::Text => "a text",
            Syntax::Dn => "a DN",
            Syntax::NameAndUid => "a DN, or a DN and `#'…'B`",
            Syntax::DnBinary => "`B:…:…:` and a DN",
            Syntax::DnString => "`S:…:…:` and a DN",
        }
    }

    /// Escapes a record's text for the DN in a value.
    fn escape(self, value: &str) -> String {
        match self {
            Syntax::Text => value.to_owned(),
            // Servers look for the last `#`, even an escaped one; in hex digits it is not one.
            Syntax::NameAndUid => {
                let parts: Vec<String> = value.split('#').map(|part| escape_value(part.as_bytes())).collect();
                parts.join("\\23")
            }
            Syntax::Dn | Syntax::DnBinary | Syntax::DnString => escape_value(value.as_bytes()),
        }
    }

    /// Returns the DN in a value, with the text before and after it; `None` if the value is not valid.
    fn parts(self, value: &str) -> Option<(&str, &str, &str)> {
        let (before, name, behind) = match self {
            Syntax::Text => return Some(("", value, "")),
            Syntax::Dn => ("", value, ""),
            Syntax::NameAndUid => {
                let at = uid_at(value).unwrap_or(value.len());
                let (name, behind) = value.split_at_checked(at)?;
                ("", name, behind)
            }
            Syntax::DnBinary | Syntax::DnString => {
                let (head, rest) = value.split_at_checked(2)?;
                let is_binary = self == Syntax::DnBinary;
                let (count, rest) = rest.split_once(':')?;
                let count: usize = count.parse().ok()?;
                let end = rest.char_indices().nth(count).map_or(rest.len(), |(at, _)| at);
                let (data, rest) = rest.split_at_checked(end)?;
                let is_data = data.chars().count() == count
                    && (!is_binary || count.is_multiple_of(2) && data.bytes().all(|b| b.is_ascii_hexdigit()));
                let name = rest.strip_prefix(':')?;
                if !is_data || head != if is_binary { "B:" } else { "S:" } {
                    return None;
                }
                (value.strip_suffix(name)?, name, "")
            }
        };
        Dn::parse(name).ok().filter(|dn| !dn.is_empty())?;
        Some((before, name, behind))
    }
}

/// Returns the start of the bit string of a NameAndOptionalUID.
fn uid_at(value: &str) -> Option<usize> {
    let (name, bits) = value.rsplit_once('#')?;
    let bits = bits.strip_prefix('\'')?.strip_suffix("'B")?;
    bits.bytes().all(|b| matches!(b, b'0' | b'1')).then_some(name.len())
}

/// A template of an attribute's value.
#[derive(Debug, Clone)]
pub struct ValueTemplate {
    template: Template,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    /// Values are inserted as they are.
    Plain,
    /// The one placeholder is the whole value.
    Whole(Syntax),
    /// A DN with values in it, and the text of the syntax before and after it.
    Name { syntax: Syntax, before: Template, name: Template, behind: String },
}

impl ValueTemplate {
    /// Builds a template for an attribute of this syntax.
    ///
    /// # Errors
    /// It can never give a value of the syntax.
    pub fn new(template: &Template, syntax: Syntax) -> Result<Self, TemplateError> {
        let form = match (syntax, template.pieces.as_slice()) {
            (Syntax::Text, _) => Form::Plain,
            (syntax, [Piece::Placeholder(_)]) => Form::Whole(syntax),
            (syntax, _) => {
                let (before, name, behind) = split(template, syntax)?;
                skeleton::check_dn(&name)?;
                Form::Name { syntax, before, name, behind }
            }
        };
        Ok(Self { template: template.clone(), form })
    }

    /// Returns the template.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// Renders the values of one record: one, or with a list (`{skills[].name}`) one for each of its elements.
    ///
    /// # Errors
    /// Several values for one placeholder, or a value that is not a valid DN.
    pub fn render_values(&self, lookup: Lookup<'_>) -> Result<RenderedValues, RenderError> {
        self.template.render_each(lookup, |element| self.render_one(lookup, element))
    }

    /// Renders the value of one record.
    ///
    /// # Errors
    /// Several values for one placeholder, or a value that is not a valid DN.
    pub fn render(&self, lookup: Lookup<'_>) -> Result<Rendered, RenderError> {
        self.render_one(lookup, None)
    }

    fn render_one(&self, lookup: Lookup<'_>, element: Element<'_>) -> Result<Rendered, RenderError> {
        match &self.form {
            Form::Plain => self
                .template
                .render_with(lookup, element, str::is_empty, |out, value, _| out.push_str(&value)),
            Form::Whole(syntax) => {
                let rendered = self
                    .template
                    .render_with(lookup, element, is_blank, |out, value, _| out.push_str(&value))?;
                match &rendered {
                    Rendered::Text(text) if syntax.parts(text).is_none() => Err(self.not_dn(*syntax)),
                    _ => Ok(rendered),
                }
            }
            Form::Name { syntax, before, name, behind } => {
                let head = before
                    .render_with(lookup, element, str::is_empty, |out, value, _| out.push_str(&value))?;
                let head = match head {
                    Rendered::Text(text) => text,
                    Rendered::Nothing if before.pieces.is_empty() => String::new(),
                    other => return Ok(other),
                };
                let dn = name.render_with(lookup, element, is_blank, |out, value, placeholder| {
                    put_escaped(out, &value, placeholder, *syntax);
                })?;
                let Rendered::Text(dn) = dn else { return Ok(dn) };
                let text = [&head, &dn, behind].map(String::as_str).concat();
                // Checks that no value has changed another part than its own.
                if syntax.parts(&text) != Some((&head, &dn, behind)) || has_blank(&dn) {
                    return Err(self.not_dn(*syntax));
                }
                Ok(Rendered::Text(text))
            }
        }
    }

    fn not_dn(&self, syntax: Syntax) -> RenderError {
        RenderError::NotDn {
            placeholder: self.template.names().next().unwrap_or_default().to_owned(),
            template: self.template.text.clone(),
            expected: syntax.expected(),
        }
    }
}

fn put_escaped(out: &mut String, value: &str, placeholder: &Placeholder, syntax: Syntax) {
    if placeholder.is_escaped() { out.push_str(value) } else { out.push_str(&syntax.escape(value)) }
}

/// Whether a value of a DN is blank, as after an omitted part.
fn has_blank(dn: &str) -> bool {
    let is_blank = |value: &Vec<u8>| value.iter().all(u8::is_ascii_whitespace);
    Dn::parse(dn).is_ok_and(|dn| dn.rdns.iter().flat_map(|rdn| &rdn.avas).any(|ava| is_blank(&ava.value)))
}

/// Renders the DN of a template: every placeholder needs a value.
pub(super) fn render_dn(
    template: &Template,
    lookup: Lookup<'_>,
    syntax: Syntax,
) -> Result<String, RenderError> {
    let dn = template.render_needed(lookup, |out, value, placeholder| {
        put_escaped(out, value, placeholder, syntax);
    })?;
    let optional =
        template.first_optional().or_else(|| template.placeholders().find(|_| template.has_parts()));
    if let Some(omitted) = optional
        && has_blank(&dn)
    {
        return Err(template.missing(omitted));
    }
    Ok(dn)
}

/// Splits a template into the text before the DN, the DN, and the text after it.
fn split(template: &Template, syntax: Syntax) -> Result<(Template, Template, String), TemplateError> {
    let part = |pieces: Vec<Piece>| Template { text: template.text.clone(), pieces };
    let mut pieces = template.pieces.clone();
    let mut behind = String::new();
    if syntax == Syntax::NameAndUid
        && let Some(Piece::Literal(last)) = pieces.last_mut()
        && let Some(at) = uid_at(last)
    {
        behind = last.split_off(at);
    }
    if !matches!(syntax, Syntax::DnBinary | Syntax::DnString) {
        return Ok((part(Vec::new()), part(pieces), behind));
    }
    let mut colons = 3;
    let mut before = Vec::new();
    let mut rest = pieces.into_iter();
    for piece in rest.by_ref() {
        let Piece::Literal(text) = piece else {
            before.push(piece);
            continue;
        };
        let end = text.match_indices(':').nth(colons - 1).map(|(at, _)| at + 1);
        let Some((head, name)) = end.and_then(|end| text.split_at_checked(end)) else {
            colons -= text.matches(':').count();
            before.push(Piece::Literal(text));
            continue;
        };
        before.push(Piece::Literal(head.to_owned()));
        let first = (!name.is_empty()).then(|| Piece::Literal(name.to_owned()));
        let name = first.into_iter().chain(rest).collect();
        return Ok((part(before), part(name), behind));
    }
    Err(template.error(1, format!("the attribute's values are {}", syntax.expected())))
}

/// The position of a placeholder in a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum PlaceholderContext {
    /// In a value of any text.
    #[default]
    Text,
    /// Within a DN.
    WithinDn,
    /// It is the DN.
    Dn,
}

impl PlaceholderContext {
    /// Returns a record's text as it is asserted.
    pub(super) fn text(
        self,
        value: &str,
        placeholder: &Placeholder,
        template: &Template,
    ) -> Result<String, RenderError> {
        match self {
            PlaceholderContext::WithinDn if !placeholder.is_escaped() => Ok(Syntax::NameAndUid.escape(value)),
            PlaceholderContext::Dn if Syntax::NameAndUid.parts(value).is_none() => Err(RenderError::NotDn {
                placeholder: placeholder.text.clone(),
                template: template.text.clone(),
                expected: Syntax::Dn.expected(),
            }),
            PlaceholderContext::Text | PlaceholderContext::WithinDn | PlaceholderContext::Dn => {
                Ok(value.to_owned())
            }
        }
    }
}

/// Returns the position of each placeholder of a filter.
pub(super) fn places(template: &Template, schema: &Schema) -> Result<Vec<PlaceholderContext>, TemplateError> {
    // Private-use characters, which no filter contains.
    let marked = |n: usize| format!("\u{e000}{n}\u{e001}");
    let count = template.placeholders().count();
    let mut text = String::new();
    let mut next = 0;
    for piece in &template.pieces {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Placeholder(_) => {
                text.push_str(&marked(next));
                next += 1;
            }
            Piece::Open | Piece::Close => {}
        }
    }
    let mut places = vec![PlaceholderContext::Text; count];
    // It was parsed with other texts in their place.
    let Ok(filter) = Filter::parse(&text) else { return Ok(places) };
    let mut wrong = None;
    assertions(&filter, &mut |attribute, value| {
        if !matches!(Syntax::of(schema, attribute), Syntax::Dn | Syntax::NameAndUid) {
            return;
        }
        let within: Vec<usize> = (0..count).filter(|n| value.contains(&marked(*n))).collect();
        let is_whole = within.first().is_some_and(|n| value == marked(*n));
        for n in &within {
            if let Some(place) = places.get_mut(*n) {
                *place = if is_whole { PlaceholderContext::Dn } else { PlaceholderContext::WithinDn };
            }
        }
        if !is_whole && !within.is_empty() && Syntax::NameAndUid.parts(value).is_none() {
            wrong = Some(attribute.to_owned());
        }
    });
    match wrong {
        None => Ok(places),
        Some(attribute) => {
            let message = format!(
                "`{attribute}` has DNs, and what it is compared with is none: write `({attribute}={{dn}})`, or a DN with placeholders in its values"
            );
            Err(template.error(1, message))
        }
    }
}

/// Visits the attributes of a filter and the whole values that they are compared with.
fn assertions(filter: &Filter, look: &mut dyn FnMut(&str, &str)) {
    match filter {
        Filter::And(all) | Filter::Or(all) => all.iter().for_each(|f| assertions(f, look)),
        Filter::Not(inner) => assertions(inner, look),
        Filter::Equality { attribute, value }
        | Filter::Extensible { attribute: Some(attribute), value, .. } => {
            if let Ok(value) = std::str::from_utf8(value) {
                look(attribute, value);
            }
        }
        _ => {}
    }
}
