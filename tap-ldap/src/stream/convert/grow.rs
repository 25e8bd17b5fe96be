//! Properties that a stream gets while it is read: of attributes under options that the catalog does not have.

use ldap_directory::entry::base_type;

use super::Converter;
use super::descriptions::Descriptions;

impl Converter<'_> {
    /// Returns whether an entry had a description of a selected attribute under options that the catalog does not have.
    pub fn has_unforeseen(&self) -> bool {
        !self.unforeseen.is_empty()
    }

    /// Adds properties for such descriptions. Returns them, each with the property of its attribute without options.
    pub fn grow(&mut self) -> Vec<(String, String)> {
        let mut added = Vec::new();
        for name in std::mem::take(&mut self.unforeseen) {
            let base = base_type(&name);
            let Some(of) = self.columns.iter().find(|c| c.name.eq_ignore_ascii_case(base)) else { continue };
            let column = of.like(&name);
            added.push((name.clone(), of.name.clone()));
            self.columns.push(column);
            self.grown.push(name);
        }
        self.found = vec![None; self.columns.len()];
        let names = self.columns.iter().map(|c| self.schema.normal_description(&c.name));
        self.descriptions = Descriptions::of(names);
        added
    }
}
