//! Attributes that the service's user may not read, of the entries of an answer: those that look absent, and are not known to be.

use std::collections::BTreeMap;

use ldap_directory::entry::{Entry, base_type};
use ldap_directory::filter::Filter;
use ldap_directory::unseen::{hidden_in_sample, shows};
use ldap_directory::{Directory, DirectoryError, Scope, Vendor, lookup};

/// The entries that are looked at together.
const AT_ONCE: usize = 50;

/// Looks at the entries of an answer, fifty at a time.
#[derive(Debug)]
pub(crate) struct Unread {
    /// The attribute that identifies an entry; `None` if nothing is looked at.
    id: Option<&'static str>,
    /// Whether the caller has asked for it.
    is_asked: bool,
    /// The attributes that are asked for by name, and whether all user attributes are.
    named: Vec<String>,
    takes_all: bool,
    waiting: Vec<Entry>,
    /// The attributes, with the number of entries that may have a value nevertheless.
    found: BTreeMap<String, u64>,
}

impl Unread {
    /// Begins an answer with these requested attributes. Active Directory computes some for each answer, and no filter matches them: there,
    /// nothing is looked at.
    pub(crate) fn of(directory: &Directory, asked: &[String]) -> Self {
        let vendor = directory.root_dse().vendor;
        let schema = directory.schema();
        let id = vendor.immutable_ids().iter().copied().find(|id| schema.attribute_type(id).is_some());
        let is_looked_at = matches!(directory, Directory::Ldap(_)) && vendor != Vendor::ActiveDirectory;
        let named: Vec<String> =
            asked.iter().filter(|name| !["*", "+", "1.1"].contains(&name.as_str())).cloned().collect();
        let takes_all = asked.iter().any(|name| name == "*");
        let id = id.filter(|_| is_looked_at && (takes_all || !named.is_empty()));
        let is_id = |name: &String| name == "+" || id.is_some_and(|id| schema.same_description(name, id));
        let is_asked = asked.iter().any(is_id);
        Self { id, is_asked, named, takes_all, waiting: Vec::new(), found: BTreeMap::new() }
    }

    /// Returns the attribute to request besides, if it is not asked for.
    pub(crate) fn request(&self) -> Option<&'static str> {
        self.id.filter(|_| !self.is_asked)
    }

    /// Notes an entry below a base, and takes off what was requested besides.
    ///
    /// # Errors
    /// A search fails.
    pub(crate) async fn add(
        &mut self,
        directory: &Directory,
        base: &str,
        entry: &mut Entry,
    ) -> Result<(), DirectoryError> {
        let Some(id) = self.id else { return Ok(()) };
        // One value says that an attribute is shown.
        let first = |values: &[Vec<u8>]| values.iter().take(1).cloned().collect::<Vec<_>>();
        let is_class = |name: &str| name.eq_ignore_ascii_case("objectClass");
        let mut kept = Entry { dn: entry.dn.clone(), attributes: Vec::new() };
        for attribute in &entry.attributes {
            let mut attribute = attribute.clone();
            if !is_class(&attribute.description) {
                attribute.values = first(&attribute.values);
            }
            kept.attributes.push(attribute);
        }
        self.waiting.push(kept);
        if !self.is_asked {
            entry.attributes.retain(|a| !a.description.eq_ignore_ascii_case(id));
        }
        if self.waiting.len() >= AT_ONCE { self.look(directory, base).await } else { Ok(()) }
    }

    /// Looks at the entries that wait.
    ///
    /// # Errors
    /// A search fails.
    pub(crate) async fn look(&mut self, directory: &Directory, base: &str) -> Result<(), DirectoryError> {
        let Some(id) = self.id else { return Ok(()) };
        let entries = std::mem::take(&mut self.waiting);
        let names = self.questionable(directory, &entries);
        let unknown: Vec<&str> =
            names.iter().map(String::as_str).filter(|name| !self.found.contains_key(*name)).collect();
        if entries.is_empty() || names.is_empty() {
            return Ok(());
        }
        if !unknown.is_empty() {
            for hidden in hidden_in_sample(directory, base, &entries, id, &unknown).await? {
                self.found.insert(hidden.attribute, 0);
            }
        }
        let schema = directory.schema();
        for (name, count) in &mut self.found {
            let without: Vec<&Entry> =
                entries.iter().filter(|entry| !shows(entry, base_type(name), schema)).collect();
            let ids = without.iter().filter_map(|entry| schema.values_of(entry, id).first());
            let ids: Vec<Filter> = ids.map(|value| Filter::equality(id, value.clone())).collect();
            let mut lacking = 0;
            if !ids.is_empty() {
                let absent = Filter::Not(Box::new(Filter::Present(name.clone())));
                let filter = Filter::And(vec![Filter::Or(ids), absent]);
                let most = u32::try_from(without.len()).unwrap_or(u32::MAX);
                lacking = lookup::find(directory, base, Scope::Subtree, filter, &["1.1"], most).await?.len();
            }
            *count += u64::try_from(without.len().saturating_sub(lacking)).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    /// Returns the attributes that some entry does not show, though it may have them.
    fn questionable(&self, directory: &Directory, entries: &[Entry]) -> Vec<String> {
        let (schema, secrets) = (directory.schema(), directory.secret_attributes());
        let mut names = self.named.clone();
        if self.takes_all {
            let classes = entries.iter().flat_map(|entry| schema.values_of(entry, "objectClass"));
            let classes: Vec<&str> = classes.filter_map(|class| std::str::from_utf8(class).ok()).collect();
            let (must, may) = schema.must_may(classes);
            let of_users = must.into_iter().chain(may).filter(|name| !schema.is_operational(name));
            names.extend(of_users.map(str::to_owned));
        }
        names.retain(|name| {
            schema.attribute_type(name).is_some()
                && !secrets.contains(name)
                && entries.iter().any(|entry| !shows(entry, base_type(name), schema))
        });
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Takes the attributes that may not be read, with the number of entries that may have a value nevertheless.
    pub(crate) fn take(&mut self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.found)
    }
}
