//! The parts of a rule that make values, what they are made of, and the attributes that have one source alone.

use std::collections::BTreeSet;

use singer_common::plugin::settings::SettingsError;

use super::accounts::AccountsRule;
use super::generated::GeneratedRule;
use super::membership::MembershipRule;
use super::references::ReferenceRule;
use super::rule::Rule;
use super::template::{DnTemplate, FilterTemplate, Template};

/// A name in a template, and whether it has a `default`.
type Need<'r> = (&'r str, bool);

impl Rule {
    /// Returns the attributes that records write, each with the part of the rule that says so.
    fn writers(&self) -> impl Iterator<Item = (String, &str)> {
        let mapped = self.attribute_mapping.iter().flatten();
        let mapped = mapped.flat_map(|(property, names)| {
            names.iter().map(move |name| (format!("attribute_mapping.{property}"), name.as_str()))
        });
        let made = self.values.iter().map(|(name, _)| (format!("values.{name}"), name.as_str()));
        let defaults = self.defaults.iter().map(|(name, _)| (format!("defaults.{name}"), name.as_str()));
        mapped.chain(made).chain(defaults).chain(self.only_sources())
    }

    /// Returns those parts whose attribute nothing else writes: a record would say two things about it.
    fn only_sources(&self) -> impl Iterator<Item = (String, &str)> {
        let references = self.references.iter();
        let references = references.map(|one| (format!("references.{}", one.attribute), &*one.attribute));
        references.chain(self.generated.iter().map(|one| (one.setting(), one.attribute.as_str())))
    }

    /// Checks that references, chosen values and the marker of `on_delete.then` are the only source of their attribute. `path`: the
    /// rule's setting. `is_same`: whether two names are one attribute.
    ///
    /// # Errors
    /// Another part of the rule writes the attribute.
    pub fn check_sources(
        &self,
        path: &str,
        is_same: impl Fn(&str, &str) -> bool,
    ) -> Result<(), SettingsError> {
        for (part, attribute) in self.only_sources() {
            if let Some((other, _)) =
                self.writers().find(|(other, name)| *other != part && is_same(name, attribute))
            {
                let problem = format!("`{other}` writes `{attribute}` as well");
                let expected = "one source for the attribute";
                return Err(SettingsError::value(format!("{path}.{part}"), problem, expected));
            }
        }
        let Some(grace) = self.on_delete.grace() else { return Ok(()) };
        let set = self.on_delete.set().iter().map(|(name, _)| (format!("on_delete.set.{name}"), &**name));
        match self.writers().chain(set).find(|(_, name)| is_same(name, &grace.marker)) {
            None => Ok(()),
            Some((part, name)) => Err(SettingsError::value(
                format!("{path}.{part}"),
                format!("`{name}` is the marker of on_delete.then"),
                "another attribute, or another marker",
            )),
        }
    }

    /// Returns all templates of the rule, each with its part of the rule.
    pub(crate) fn templates(&self) -> impl Iterator<Item = (String, &Template)> {
        let names = self.dn_template.iter().map(|dn| ("dn_template".to_owned(), DnTemplate::template(dn)));
        let filters = self.matching.iter().map(|filter| ("match".to_owned(), filter));
        let found =
            self.references.iter().map(|one| (format!("references.{}.find", one.attribute), &one.find));
        let filters = filters.chain(found).map(|(part, filter)| (part, FilterTemplate::template(filter)));
        let accounts = self.account_templates().map(|(part, template)| (part.to_owned(), template));
        let member = self.membership.iter().flat_map(MembershipRule::templates);
        let member = member.map(|(part, template)| (part.to_owned(), template));
        let made = self.made().map(|(part, _, template)| (part, template));
        made.chain(accounts).chain(names).chain(filters).chain(member)
    }

    /// Returns the templates of `accounts`, each with its part of the rule.
    pub(crate) fn account_templates(&self) -> impl Iterator<Item = (&'static str, &Template)> {
        let sources = self.accounts.iter().flat_map(AccountsRule::sources);
        sources.flat_map(|(part, source)| source.templates().into_iter().map(move |t| (part, t)))
    }

    /// Returns the properties that `password` and `accounts` use by their names, each with its part of the rule: they do not pass through.
    pub(crate) fn own_properties(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let password = self.password.iter().filter_map(|p| Some(("password.from", p.from.as_deref()?)));
        let sources = self.accounts.iter().flat_map(AccountsRule::sources);
        password
            .chain(sources.flat_map(|(part, source)| source.own_properties().map(move |name| (part, name))))
    }

    /// Returns the names that the templates of the rule need.
    fn needs(&self) -> impl Iterator<Item = Need<'_>> {
        let values = self.values.iter().flat_map(|(_, template)| template.needs());
        let accounts = self.account_templates().flat_map(|(_, template)| template.needs());
        values
            .chain(accounts)
            .chain(self.dn_template.iter().flat_map(DnTemplate::needs))
            .chain(self.matching.iter().flat_map(FilterTemplate::needs))
            .chain(self.references.iter().flat_map(ReferenceRule::needs))
            .chain(self.generated.iter().flat_map(GeneratedRule::needs))
            .chain(self.membership.iter().flat_map(MembershipRule::needs).map(|(_, need)| need))
    }

    /// Returns the names that the rule uses, of properties or attributes.
    pub(crate) fn used_names(&self) -> BTreeSet<&str> {
        let mapped = self.attribute_mapping.iter().flatten().map(|(property, _)| property.as_str());
        let lists = self.references.iter().filter_map(|reference| reference.each.as_deref());
        let own = self.own_properties().map(|(_, name)| name);
        self.needs().map(|(name, _)| name).chain(mapped).chain(lists).chain(own).collect()
    }

    /// Whether an attribute's value is chosen. `is_same`: whether two names are one attribute.
    pub(crate) fn is_chosen(&self, name: &str, is_same: impl Fn(&str, &str) -> bool) -> bool {
        self.generated.iter().any(|one| is_same(&one.attribute, name))
    }

    /// Returns the templates that make the values of attributes: the part of the rule, the attribute, and the template.
    pub(crate) fn made(&self) -> impl Iterator<Item = (String, &str, &Template)> {
        let values =
            self.values.iter().map(|(name, template)| (format!("values.{name}"), name.as_str(), template));
        let chosen = self.generated.iter().flat_map(|one| {
            one.templates().iter().map(|template| (one.setting(), one.attribute.as_str(), template))
        });
        values.chain(chosen)
    }
}
