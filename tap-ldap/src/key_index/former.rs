//! DNs that entries had before. None is ever dropped from the file: it is a deletion until a bookmark confirms that.

use redb::{ReadableDatabase as _, ReadableTable as _};

use super::tables::{GONE, KEYS, RenamedKey};
use super::{IndexError, KeyIndex, fail, file};

impl KeyIndex {
    /// Returns the DNs that an entry had before it has this one, and whose deletions this run did not emit.
    pub(crate) fn former_dns(&mut self, key: &str, dn: &str) -> Result<Vec<String>, IndexError> {
        // Nothing was there before this run. What was written to the file since is among the unsettled renames.
        let is_new = self.began_empty && !self.may_have_gone && self.settled.is_empty();
        let known = if is_new { self.dns.get(key).cloned().flatten() } else { self.dn_of(key)? };
        let mut former: Vec<String> = known.into_iter().collect();
        if self.may_have_gone {
            let read = || -> Result<_, redb::Error> {
                let gone = self.database.begin_read()?.open_table(GONE)?;
                let mut of_key = Vec::new();
                for row in gone.range::<(&str, &str)>((key, "")..)? {
                    let (row, _) = row?;
                    if row.value().0 != key {
                        break;
                    }
                    of_key.push(row.value().1.to_owned());
                }
                Ok(of_key)
            };
            former.extend(file::guarded(read).map_err(|e| fail(&self.path, &e))?);
        }
        if !self.settled.is_empty() {
            // It has this one again.
            self.settled.remove(&(key.to_owned(), dn.to_owned()));
            former.retain(|old| !self.settled.contains(&(key.to_owned(), old.clone())));
        }
        former.retain(|old| old != dn);
        former.sort_unstable();
        former.dedup();
        Ok(former)
    }

    /// Notes that the deletion of a former DN was emitted. A later run emits it again, until a bookmark confirms it.
    pub(crate) fn settle(&mut self, key: &str, old: &str) -> Result<(), IndexError> {
        self.settled.insert((key.to_owned(), old.to_owned()));
        self.renamed(key.to_owned(), old)
    }

    /// Returns the entries that have another DN than before, and whose former DNs this run did not emit as deleted.
    pub(crate) fn unsettled_renames(&mut self) -> Result<Vec<RenamedKey>, IndexError> {
        self.write_pending()?;
        if !self.may_have_gone {
            return Ok(Vec::new());
        }
        let read = || -> Result<_, redb::Error> {
            let database = self.database.begin_read()?;
            let (gone, keys) = (database.open_table(GONE)?, database.open_table(KEYS)?);
            let mut renamed = Vec::new();
            for row in gone.iter()? {
                let (row, _) = row?;
                let (key, old) = row.value();
                let Some(now) = keys.get(key)? else { continue };
                let new = now.value().1;
                if new != old && !self.settled.contains(&(key.to_owned(), old.to_owned())) {
                    renamed.push(RenamedKey {
                        key: key.to_owned(),
                        old: old.to_owned(),
                        new: new.to_owned(),
                    });
                }
            }
            Ok(renamed)
        };
        file::guarded(read).map_err(|e| fail(&self.path, &e))
    }

    /// Returns the keys and DNs of the entries whose DN satisfies a condition.
    pub(crate) fn with_dn(
        &mut self,
        is_it: impl Fn(&str) -> bool,
    ) -> Result<Vec<(String, String)>, IndexError> {
        self.write_pending()?;
        let read = || -> Result<_, redb::Error> {
            let keys = self.database.begin_read()?.open_table(KEYS)?;
            let mut found = Vec::new();
            for row in keys.iter()? {
                let (key, row) = row?;
                if is_it(row.value().1) {
                    found.push((key.value().to_owned(), row.value().1.to_owned()));
                }
            }
            Ok(found)
        };
        file::guarded(read).map_err(|e| fail(&self.path, &e))
    }
}
