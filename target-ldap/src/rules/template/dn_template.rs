//! The template of a DN (`dn_template`).

use ldap_directory::dn;

use super::{Lookup, RenderError, Syntax, Template, TemplateError, skeleton, syntax};

/// A template of a DN (`dn_template`). Values are escaped by RFC 4514; the other text is used as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnTemplate(Template);

impl DnTemplate {
    /// Parses a template. It must be a DN (RFC 4514) with placeholders only in attribute values: a record never decides how
    /// many RDNs its DN has.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let template = Template::parse(text)?;
        template.check_no_list()?;
        skeleton::check_dn(&template)?;
        Ok(Self(template))
    }

    /// Returns the template of the text.
    pub(crate) fn template(&self) -> &Template {
        &self.0
    }

    /// Returns the template of the text, to prepare it.
    pub(crate) fn template_mut(&mut self) -> &mut Template {
        &mut self.0
    }

    /// Returns the names, from left to right, with repetitions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.names()
    }

    /// Returns the names, each with whether it has a `default`.
    pub fn needs(&self) -> impl Iterator<Item = (&str, bool)> {
        self.0.needs()
    }

    /// Returns the attributes of the first RDN.
    pub fn naming_attributes(&self) -> Vec<String> {
        let dn = dn::Dn::parse(&self.0.fill_dn("x")).ok();
        let rdn = dn.as_ref().and_then(dn::Dn::rdn);
        rdn.into_iter().flat_map(|rdn| &rdn.avas).map(|ava| ava.attribute.clone()).collect()
    }

    /// Returns the end of the DN that all records have in common: all after the last RDN with a placeholder, without the first RDN.
    /// `None`: there is none.
    pub fn common_suffix(&self) -> Option<String> {
        let (one, other) =
            (dn::Dn::parse(&self.0.fill_dn("x")).ok()?, dn::Dn::parse(&self.0.fill_dn("y")).ok()?);
        let pairs = one.rdns.iter().zip(&other.rdns).skip(1).rev();
        let mut rdns: Vec<dn::Rdn> = pairs.take_while(|(a, b)| a == b).map(|(rdn, _)| rdn.clone()).collect();
        rdns.reverse();
        (!rdns.is_empty()).then(|| dn::Dn { rdns }.to_string())
    }

    /// Renders the DN of one record. An optional part (`|prefix:…`) may be omitted, if no value of the DN becomes empty.
    ///
    /// # Errors
    /// A value is missing, null, empty or blank, or there are several.
    pub fn render(&self, lookup: Lookup<'_>) -> Result<String, RenderError> {
        syntax::render_dn(&self.0, lookup, Syntax::Dn)
    }
}
