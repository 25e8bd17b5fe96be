//! The template of a DN (`dn_template`).

use singer_common::dn;

use super::{Lookup, RenderError, Syntax, Template, TemplateError, skeleton, syntax};

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

    /// The names in it, each with whether it has a `default`.
    pub fn needs(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.needs()
    }

    /// The attributes of the first component.
    pub fn naming_attributes(&self) -> Vec<String> {
        let dn = dn::Dn::parse(&self.0.fill("x")).ok();
        let rdn = dn.as_ref().and_then(dn::Dn::rdn);
        rdn.into_iter().flat_map(|rdn| &rdn.avas).map(|ava| ava.attribute.clone()).collect()
    }

    /// The name for one record. A value that is missing, null, empty or blank is an error, and so are several. A part that
    /// the template can do without (`|prefix:…`) may be, as long as no value of the name is empty.
    pub fn render(&self, lookup: Lookup<'_>) -> Result<String, RenderError> {
        syntax::render_dn(&self.0, lookup, Syntax::Dn)
    }
}
