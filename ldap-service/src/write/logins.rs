//! Login names: no value of `users.login_attributes` is that of two users, in whichever of them, and under whatever description a search for
//! them matches: with options, or as a subtype. A login would refuse both.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ldap_directory::change::{Change, ModificationKind};
use ldap_directory::dn::{DnKey, first_rdn};
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::schema::Schema;
use ldap_directory::text::printable_line;
use ldap_directory::{Directory, DirectoryError, Scope};
use target_ldap::map::wanted::WantedEntry;

use super::locks::{self, LockKey};
use super::{ResourceKind, WriteError, WriteErrorKind, Writer, refusal, spelling};
use crate::{lookup, members};

/// The attributes that login names are compared with, and the users who have them.
#[derive(Debug, Clone)]
pub(crate) struct LoginNames {
    attributes: Vec<String>,
    base: String,
    filter: Filter,
    /// Of a plan, which searches the directory as it is: the DNs that get names, by the locks of the names.
    planned: Arc<Mutex<HashMap<LockKey, String>>>,
}

/// Values that an entry gets, with their attributes.
pub(crate) type GivenLogins = Vec<(String, Vec<u8>)>;

impl LoginNames {
    /// Returns those of a configuration.
    pub(crate) fn of(writer: &Writer, directory: &Directory) -> Option<LoginNames> {
        let config = writer.config(ResourceKind::Users)?;
        let attributes = config.login_attributes(directory.root_dse().vendor);
        let filter = config.filter.on(directory.root_dse().vendor).clone();
        let base = config.base_dn.clone();
        Some(LoginNames { attributes, base, filter, planned: Arc::default() })
    }

    fn given<'v>(
        &self,
        values: impl Iterator<Item = (&'v str, &'v [Vec<u8>])>,
        schema: &Schema,
    ) -> GivenLogins {
        let is_login = |name: &str| self.attributes.iter().any(|known| members::is_of(name, known, schema));
        let logins = values.filter(|(name, _)| is_login(name));
        logins
            .flat_map(|(name, values)| values.iter().map(|value| (name.to_owned(), value.clone())))
            .collect()
    }

    /// Returns the login names that a record gives.
    pub(crate) fn of_wanted(&self, wanted: &WantedEntry, schema: &Schema) -> GivenLogins {
        self.given(wanted.attributes.iter().map(|a| (a.description.as_str(), a.values.as_slice())), schema)
    }

    /// Returns the login names that a change gives.
    pub(crate) fn of_change(&self, change: &Change, schema: &Schema) -> GivenLogins {
        match change {
            Change::Add(entry) => {
                self.given(entry.attributes.iter().map(|a| (&*a.description, &*a.values)), schema)
            }
            Change::Modify { changes, .. } => {
                let steps = changes.iter().filter(|step| step.kind != ModificationKind::Delete);
                self.given(steps.map(|step| (step.description.as_str(), step.values.as_slice())), schema)
            }
            Change::Rename { new_rdn, .. } => {
                let avas = first_rdn(new_rdn).ok().flatten().map(|rdn| rdn.avas).unwrap_or_default();
                let values: Vec<_> = avas.into_iter().map(|ava| (ava.attribute, vec![ava.value])).collect();
                self.given(values.iter().map(|(name, values)| (name.as_str(), values.as_slice())), schema)
            }
            Change::Delete { .. } => Vec::new(),
        }
    }

    /// Returns the locks of login names: one for all spellings that are equal by the rules of the attributes.
    pub(crate) fn locks(&self, given: &GivenLogins, schema: &Schema) -> impl Iterator<Item = LockKey> {
        given.iter().map(|(_, value)| {
            let normal = self.attributes.iter().fold(value.clone(), |value, attribute| {
                schema.equality(attribute).normalize(&value, schema).into_owned()
            });
            locks::of_value("login name", &normal)
        })
    }

    /// Notes the names that a planned record gives.
    pub(crate) fn plan(&self, dn: &str, given: &GivenLogins, schema: &Schema) {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        planned.extend(self.locks(given, schema).map(|name| (name, dn.to_owned())));
    }

    /// Checks that no other user has one of the login names that an entry gets. What it has already stays. `preview`: the directory with
    /// the changes of a plan, in which single entries are read; a search would go through all that are changed.
    ///
    /// # Errors
    /// One has: [`WriteErrorKind::Taken`] with the attribute and [`WriteError::entry`].
    pub(crate) async fn check(
        &self,
        directory: &Directory,
        preview: Option<&Directory>,
        dn: &str,
        given: &GivenLogins,
    ) -> Result<(), WriteError> {
        let hides = given.iter().any(|(_, value)| spelling::hidden(value).is_some());
        if given.is_empty() || !hides && self.other(directory, preview, dn, given).await?.is_none() {
            return Ok(());
        }
        let schema = directory.schema();
        let names = self.to_read(schema);
        let own = preview
            .unwrap_or(directory)
            .read(dn, &names)
            .await
            .map_err(|e| refusal::of_directory(&e, schema))?;
        let has =
            |(_, value): &&(String, Vec<u8>)| own.as_ref().is_some_and(|own| self.has(own, value, schema));
        let fresh: GivenLogins = given.iter().filter(|one| !has(one)).cloned().collect();
        if fresh.is_empty() {
            return Ok(());
        }
        if let Some((name, value)) = fresh.iter().find(|(_, value)| spelling::hidden(value).is_some()) {
            return Err(spelling::hidden_in(name, spelling::hidden(value).unwrap_or_default()));
        }
        let Some(other) = self.other(directory, preview, dn, &fresh).await? else { return Ok(()) };
        let is_others = |(_, value): &&(String, Vec<u8>)| self.has(&other, value, schema);
        let attribute = fresh.iter().find(is_others).or(fresh.first()).map(|(name, _)| name.clone());
        let detail = format!(
            "`{}` has this login name (users.login_attributes): nobody could log in with it",
            printable_line(&other.dn)
        );
        let error = WriteError::new(WriteErrorKind::Taken, detail);
        Err(WriteError { attribute, entry: Some(other.dn), ..error })
    }

    /// Whether an entry has a login name, in any attribute.
    fn has(&self, entry: &Entry, value: &[u8], schema: &Schema) -> bool {
        let is_it = |name: &String| {
            let all = members::attributes(entry, &[name.as_str()], schema).into_iter();
            all.flat_map(|a| &a.values).any(|known| schema.values_match(name, known, value))
        };
        self.attributes.iter().any(is_it)
    }

    /// Returns the attributes to read: a search for one matches its subtypes, too.
    fn to_read<'n>(&'n self, schema: &'n Schema) -> Vec<&'n str> {
        self.attributes.iter().flat_map(|name| members::with_subtypes(name, schema)).collect()
    }

    /// Returns another user than an entry who has one of these login names, in any attribute.
    async fn other(
        &self,
        directory: &Directory,
        preview: Option<&Directory>,
        dn: &str,
        given: &GivenLogins,
    ) -> Result<Option<Entry>, WriteError> {
        let schema = directory.schema();
        let failed = |e: DirectoryError| refusal::of_directory(&e, schema);
        let of = |value: &Vec<u8>| {
            let value = value.clone();
            self.attributes.iter().map(move |name| Filter::equality(name.as_str(), value.clone()))
        };
        let any = given.iter().flat_map(|(_, value)| of(value)).collect();
        let filter = Filter::And(vec![self.filter.clone(), Filter::Or(any)]);
        let names = self.to_read(schema);
        // One of two is another one.
        let found = lookup::find(directory, &self.base, Scope::Subtree, filter, &names, 2).await;
        let mut found = found.map_err(failed)?;
        let own = DnKey::parse(dn, schema).ok();
        let is_other = |dn: &str| DnKey::parse(dn, schema).ok() != own;
        found.retain(|entry| is_other(&entry.dn));
        let Some(preview) = preview else { return Ok(found.into_iter().next()) };
        let mut dns: Vec<String> = found.into_iter().map(|entry| entry.dn).collect();
        {
            let planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
            dns.extend(self.locks(given, schema).filter_map(|name| planned.get(&name).cloned()));
        }
        for dn in dns.into_iter().filter(|dn| is_other(dn)) {
            let now = preview.read(&dn, &names).await.map_err(failed)?;
            if let Some(now) = now.filter(|now| given.iter().any(|(_, value)| self.has(now, value, schema))) {
                return Ok(Some(now));
            }
        }
        Ok(None)
    }

    /// Whether an entry is no user, and nobody logs in as it. `added`: as it would be, if it is not there.
    ///
    /// # Errors
    /// The search fails.
    pub(crate) async fn is_no_user(
        &self,
        directory: &Directory,
        dn: &str,
        added: Option<&Entry>,
    ) -> Result<bool, WriteError> {
        let schema = directory.schema();
        let base = DnKey::parse(&self.base, schema).ok();
        let own = DnKey::parse(dn, schema).ok();
        if let (Some(own), Some(base)) = (own, base)
            && !own.is_within(&base)
        {
            return Ok(true);
        }
        let failed = |e: DirectoryError| refusal::of_directory(&e, schema);
        if added.is_some() && directory.read(dn, &["1.1"]).await.map_err(failed)?.is_none() {
            return Ok(added.and_then(|entry| self.filter.matches(entry, schema)) == Some(false));
        }
        let found = lookup::find(directory, dn, Scope::Base, self.filter.clone(), &["1.1"], 1).await;
        Ok(found.map_err(failed)?.is_empty())
    }
}
