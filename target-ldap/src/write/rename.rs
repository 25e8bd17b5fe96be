//! Renames and moves entries.

use ldap_directory::DirectoryError;
use ldap_directory::change::Change;
use ldap_directory::dn::{Ava, Dn, DnKey, escape_value, join, split_first};
use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::protocol::result_code;
use ldap_directory::schema::Schema;

use super::{Applier, Attempt, AttemptContext, WriteOutcome};
use crate::map::wanted::WantedEntry;
use crate::write::inverse::inverse;
use crate::write::ldap_result::LdapResult;

/// A rename that was made.
#[derive(Debug, Clone)]
pub struct RenameMade {
    /// The DN that the entry had.
    pub from: String,
    /// The DN that it has.
    pub to: String,
    /// The changes that take it back, in their order.
    back: Vec<Change>,
}

/// The result of a rename.
#[derive(Debug)]
pub(super) enum Rename {
    /// The entry is renamed, and now has these attributes.
    Done(Entry),
    /// It is not renamed.
    NotDone(WriteOutcome),
}

impl Applier {
    /// Renames an entry. If its parent changes, it is moved with its subtree.
    pub(super) async fn rename(
        &self,
        entry: &Entry,
        dn: &str,
        delete_old_rdn: bool,
        context: &AttemptContext,
    ) -> Result<Rename, DirectoryError> {
        let schema = self.directory.schema();
        let (new_rdn, above) = split_first(dn).unwrap_or_default();
        let key = |dn: &str| DnKey::parse(dn, schema).unwrap_or_default();
        let moves = key(&entry.dn).parent() != key(dn).parent();
        let change = Change::Rename {
            dn: entry.dn.clone(),
            new_rdn: new_rdn.to_owned(),
            delete_old_rdn,
            new_superior: moves.then_some(above),
        };
        // Before a parent is made for it.
        self.directory.check(&change).await?;
        // Before the rename, not after a refusal: slapd refuses with `other`, and does not say that the parent is missing.
        if moves && !self.can_be_placed_at(dn, context).await? {
            return Ok(Rename::NotDone(WriteOutcome::TooEarly(LdapResult::default())));
        }
        self.digest_caches.forget(&key(&entry.dn), true);
        self.digest_caches.forget(&key(dn), true);
        match self.directory.apply(&change).await {
            Ok(()) => {}
            Err(e) if e.code() == Some(result_code::ENTRY_ALREADY_EXISTS) => {
                return Ok(Rename::NotDone(WriteOutcome::NameTaken(String::new())));
            }
            Err(e) => return Err(e),
        }
        let back = inverse(&change, Some(entry), schema);
        context.note_renamed(RenameMade { from: entry.dn.clone(), to: dn.to_owned(), back });
        self.present.remove(&key(&entry.dn));
        self.note_displaced(&entry.dn, dn).await?;
        Ok(Rename::Done(renamed(entry, dn, delete_old_rdn, schema)))
    }

    /// Gives an entry the DN back that it had, for its record is refused.
    ///
    /// # Errors
    /// The directory refused it: the entry keeps its new DN.
    pub async fn rename_back(&self, made: &RenameMade) -> Result<(), DirectoryError> {
        let key = |dn: &str| self.key(dn).unwrap_or_default();
        self.digest_caches.forget(&key(&made.from), true);
        self.digest_caches.forget(&key(&made.to), true);
        Box::pin(self.undo_changes(&made.back)).await?;
        self.present.remove(&key(&made.to));
        tracing::info!(dn = %made.from, "`{}` has its name again: its record is refused", made.from);
        Ok(())
    }

    /// Gives an entry an unused DN for the time being, so that another entry can have its DN.
    pub(super) async fn step_aside(&self, dn: &str) -> Result<Attempt, DirectoryError> {
        let (old_rdn, above) = split_first(dn).unwrap_or_default();
        let Some(ava) = Dn::parse(dn).ok().and_then(|name| name.rdn()?.avas.first().cloned()) else {
            return Ok(WriteOutcome::NameTaken(String::new()).into());
        };
        self.digest_caches.forget(&self.key(dn).unwrap_or_default(), true);
        let mut attempt = 1;
        loop {
            let mut value = ava.value.clone();
            value.extend_from_slice(format!("-moving{attempt}").as_bytes());
            let new_rdn = format!("{}={}", ava.attribute, escape_value(&value));
            let aside = join(&new_rdn, &above);
            let change =
                Change::Rename { dn: dn.to_owned(), new_rdn, delete_old_rdn: true, new_superior: None };
            match self.directory.apply(&change).await {
                Ok(()) => {
                    self.note_displaced(dn, &aside).await?;
                    tracing::info!("`{old_rdn},{above}` is `{aside}` until its new name is free");
                    return Ok(WriteOutcome::SteppedAside(aside).into());
                }
                Err(e) if e.code() == Some(result_code::ENTRY_ALREADY_EXISTS) && attempt < 10 => attempt += 1,
                Err(e) => return Err(e),
            }
        }
    }
}

/// Returns the values of a DN's RDN.
fn naming_values(dn: &str) -> Vec<Ava> {
    Dn::parse(dn).ok().and_then(|name| name.rdn().map(|rdn| rdn.avas.clone())).unwrap_or_default()
}

/// Returns an entry after a rename (RFC 4511 section 4.9): with the values of its new RDN, and, if wanted, without those of the
/// old one.
fn renamed(entry: &Entry, dn: &str, delete_old_rdn: bool, schema: &Schema) -> Entry {
    let new = naming_values(dn);
    let is_in = |name: &[Ava], attribute: &str, value: &[u8]| {
        name.iter().any(|ava| {
            schema.same_description(&ava.attribute, attribute)
                && schema.values_match(attribute, &ava.value, value)
        })
    };
    let old = if delete_old_rdn { naming_values(&entry.dn) } else { Vec::new() };
    let mut after = Entry { dn: dn.to_owned(), attributes: entry.attributes.clone() };
    for attribute in &mut after.attributes {
        let name = attribute.description.clone();
        attribute.values.retain(|v| !is_in(&old, &name, v) || is_in(&new, &name, v));
        // A value of the old RDN that the new one spells in another way.
        for value in attribute.values.iter_mut().filter(|v| is_in(&old, &name, v)) {
            let same = |ava: &&Ava| is_in(std::slice::from_ref(*ava), &name, value);
            if let Some(ava) = new.iter().find(same) {
                value.clone_from(&ava.value);
            }
        }
    }
    for Ava { attribute, value } in new {
        match after.attributes.iter_mut().find(|a| schema.same_description(&a.description, &attribute)) {
            Some(there) => {
                if !there.values.iter().any(|v| schema.values_match(&attribute, v, &value)) {
                    there.values.push(value);
                }
            }
            None => after.attributes.push(Attribute::new(attribute, vec![value])),
        }
    }
    after.attributes.retain(|a| !a.values.is_empty());
    after
}

/// Whether the RDNs of two names of one entry differ in the octets of a value.
pub(super) fn is_respelled(current: &str, wanted: &str, schema: &Schema) -> bool {
    let there = naming_values(current);
    let is_there = |ava: &Ava| {
        there.iter().any(|t| schema.same_description(&t.attribute, &ava.attribute) && t.value == ava.value)
    };
    !naming_values(wanted).iter().all(is_there)
}

/// Removes naming values from the wanted entry, if the entry keeps its DN: those of the wanted RDN and of the current one.
pub(super) fn without_naming_values(wanted: &mut WantedEntry, dn: &str, schema: &Schema) {
    let names = [naming_values(&wanted.dn), naming_values(dn)].concat();
    let is_naming =
        |description: &str| names.iter().any(|ava| schema.same_description(&ava.attribute, description));
    wanted.attributes.retain(|a| !is_naming(&a.description));
}
