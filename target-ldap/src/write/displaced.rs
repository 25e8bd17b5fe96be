//! Entries that records of the run wrote, and that a renamed ancestor has taken along since: two units exchange their names after
//! people were moved to them. They get the DNs of their records back at the end of the run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ldap_directory::DirectoryError;
use ldap_directory::change::Change;
use ldap_directory::dn::{DnKey, parent, split, split_first};

use super::applier::Applier;

/// The entries, by their current DNs: the current DN and that of the record.
#[derive(Debug, Clone, Default)]
pub(super) struct Displaced(Arc<Mutex<BTreeMap<DnKey, (String, String)>>>);

impl Displaced {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<DnKey, (String, String)>> {
        // A panic elsewhere ends the run.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, key: &DnKey) -> bool {
        self.lock().contains_key(key)
    }

    /// Notes that a record gave this entry its DN.
    pub(super) fn placed(&self, key: &DnKey) {
        self.lock().remove(key);
    }
}

impl Applier {
    /// Notes the entries of records below a renamed entry, before its claims move. `from` and `to`: its DNs.
    pub(super) async fn note_displaced(&self, from: &str, to: &str) -> Result<(), DirectoryError> {
        let (Ok(old), Ok(new)) = (self.key(from), self.key(to)) else { return Ok(()) };
        self.displaced.placed(&old);
        if !self.awaits_parents() || !self.claims.has_below(&old) {
            return Ok(());
        }
        let is_of_record = |key: &DnKey| {
            let before = key.rebased(&new, &old);
            before.is_some_and(|before| self.displaced.has(&before) || self.claims.is_written(&before))
        };
        let moved = self.below(to, "(objectClass=*)", is_of_record).await?;
        let mut displaced = self.displaced.lock();
        for (key, dn) in moved {
            let Some(before) = key.rebased(&new, &old) else { continue };
            let wanted = match displaced.remove(&before) {
                Some((_, wanted)) => wanted,
                None if self.claims.is_written(&before) => {
                    let parts = split(&dn).unwrap_or_default();
                    let own = parts.get(..key.depth().saturating_sub(new.depth())).unwrap_or_default();
                    format!("{},{from}", own.join(","))
                }
                None => continue,
            };
            if self.key(&wanted).is_ok_and(|wanted| wanted != key) {
                displaced.insert(key, (dn, wanted));
            }
        }
        Ok(())
    }

    /// Moves displaced entries to the DNs of their records, if another entry is the parent there now. Returns their number.
    ///
    /// # Errors
    /// The directory refused it.
    pub async fn place_displaced(&self) -> Result<usize, DirectoryError> {
        let displaced = std::mem::take(&mut *self.displaced.lock());
        let mut count = 0;
        for (key, (dn, wanted)) in displaced {
            let above = parent(&wanted);
            if self.directory.read(&above, &["1.1"]).await?.is_none()
                || self.directory.read(&wanted, &["1.1"]).await?.is_some()
            {
                continue;
            }
            let (new_rdn, _) = split_first(&wanted).unwrap_or_default();
            let change = Change::Rename {
                dn,
                new_rdn: new_rdn.to_owned(),
                delete_old_rdn: true,
                new_superior: Some(above),
            };
            match self.directory.apply(&change).await {
                Ok(()) => {
                    count += 1;
                    if let Ok(to) = self.key(&wanted) {
                        self.claims.renamed(&key, &to);
                    }
                }
                // It was deleted, or moved with its parent.
                Err(e) if e.is_no_such_object() => {}
                Err(e) if e.is_forbidden() => {
                    let dn = change.dn();
                    tracing::error!(dn, "`{dn}` stays where a renamed entry above it has taken it: {e}");
                }
                Err(e) => return Err(e),
            }
        }
        Ok(count)
    }
}
