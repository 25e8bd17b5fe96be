//! The entry that the service is bound as. It is never changed: the service would lock itself out, or a caller would take its place.

use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::{AuthMethod, Directory, DirectoryError, Scope};

use super::{EntryId, EntryRef, WriteError, entries, refusal};
use crate::lookup;

/// The attribute of Active Directory's root DSE with the SIDs of the bound user and of its groups ([MS-ADTS] 3.1.1.3.2).
const TOKEN: &str = "tokenGroups";

/// The entry of the bound user, which is looked up once.
#[derive(Debug, Clone)]
pub(super) enum BoundEntry {
    /// It is known by its identifier, whatever DN it has by now.
    Identified(EntryRef),
    /// It has no identifier, or no entry (`rootdn`).
    Named(String),
    /// There is none below the bases, where alone something is written.
    Elsewhere,
}

impl BoundEntry {
    /// Asks the server who is bound, whatever the form of the bind is: a DN, `user@domain`, a ticket, a certificate. `bases`: where
    /// entries are written.
    ///
    /// # Errors
    /// The server does not answer, or nothing says who is bound: then nothing may be written.
    pub(super) async fn find(
        directory: &Directory,
        auth: &AuthMethod,
        bases: &[&str],
    ) -> Result<BoundEntry, WriteError> {
        let Directory::Ldap(server) = directory else { return Ok(BoundEntry::Elsewhere) };
        if matches!(auth, AuthMethod::Anonymous) {
            return Ok(BoundEntry::Elsewhere);
        }
        let failed = |e: DirectoryError| refusal::of_directory(&e, directory.schema());
        let is_dn = |dn: &str| DnKey::parse(dn, directory.schema()).is_ok_and(|key| !key.is_root());
        let configured = match auth {
            AuthMethod::Simple { dn, .. } => Some(dn.clone()).filter(|dn| is_dn(dn)),
            _ => None,
        };
        let token = directory.read("", &[TOKEN]).await.map_err(failed)?;
        let sids = token.as_ref().map(|root| root.values(TOKEN)).unwrap_or_default();
        if !sids.is_empty() {
            // The groups are of another class.
            let any = sids.iter().map(|sid| Filter::equality("objectSid", sid.clone())).collect();
            let filter = Filter::And(vec![Filter::equality("objectClass", "user"), Filter::Or(any)]);
            for base in bases {
                let names = EntryId::attributes(directory);
                let found = lookup::find(directory, base, Scope::Subtree, filter.clone(), names, 1).await;
                if let Some(entry) = found.map_err(failed)?.first() {
                    return Ok(BoundEntry::of(entry.dn.clone(), EntryId::of(entry, directory)));
                }
            }
            return Ok(configured.map_or(BoundEntry::Elsewhere, BoundEntry::Named));
        }
        let who = server.who_am_i().await.map_err(failed)?;
        let said = who.as_deref().and_then(|who| who.strip_prefix("dn:")).map(str::trim);
        let dn = said.filter(|dn| is_dn(dn)).map(str::to_owned).or(configured).ok_or_else(|| {
            refusal::of_settings(&"the directory does not say as which entry the service is bound, and that entry must not be written: set bind_dn to a DN")
        })?;
        let id = match directory.read(&dn, EntryId::attributes(directory)).await {
            Ok(entry) => entry.and_then(|entry| EntryId::of(&entry, directory)),
            Err(error) if error.is_connection() || error.is_transient() => return Err(failed(error)),
            // It may not read itself.
            Err(_) => None,
        };
        Ok(BoundEntry::of(dn, id))
    }

    fn of(dn: String, id: Option<EntryId>) -> BoundEntry {
        match id {
            Some(id) => BoundEntry::Identified(EntryRef { dn, id }),
            None => BoundEntry::Named(dn),
        }
    }

    /// Whether it is this entry, which was read with its identifier.
    pub(super) fn is(&self, entry: &Entry, directory: &Directory) -> bool {
        let key = |dn: &str| DnKey::parse(dn, directory.schema()).ok();
        let is_named = |dn: &str| key(dn).is_some_and(|own| key(&entry.dn) == Some(own));
        match self {
            BoundEntry::Elsewhere => false,
            BoundEntry::Named(dn) => is_named(dn),
            BoundEntry::Identified(own) => match EntryId::of(entry, directory) {
                Some(id) => id == own.id,
                None => is_named(&own.dn),
            },
        }
    }

    /// Returns the key of its present DN.
    ///
    /// # Errors
    /// The server does not answer.
    pub(super) async fn key(
        &self,
        directory: &Directory,
        bases: &[&str],
    ) -> Result<Option<DnKey>, WriteError> {
        let dn = match self {
            BoundEntry::Elsewhere => return Ok(None),
            BoundEntry::Named(dn) => dn.clone(),
            BoundEntry::Identified(entry) => {
                let found = entries::now(directory, bases, entry, &["1.1"]).await;
                let found = found.map_err(|e| refusal::of_directory(&e, directory.schema()))?;
                found.map_or_else(|| entry.dn.clone(), |found| found.dn)
            }
        };
        DnKey::parse(&dn, directory.schema()).map(Some).map_err(|e| refusal::of_settings(&e))
    }
}
