//! The locks of disabled accounts that a run owes: it had set their passwords, the server had dropped their locks with them, and the run was
//! killed, or lost its connection, before it had written them again. Whoever finds the journal writes them. A journal that owes a lock
//! stays one until the lock is written, or the account is found disabled or gone: this is the only place that decides that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use ldap_directory::dn::DnKey;
use ldap_directory::schema::Schema;
use ldap_directory::{Directory, DirectoryError, MATCH_ALL, Scope, SearchRequest, ServerUrl};
use singer_common::operations::file;

use super::change_note::{ChangeKind, value_digest};
use super::entities::{key, moved};
use super::journal::{ChangeStatus, JournalReader, ReadError, locked};
use crate::write::destination::Destination;
use crate::write::protection::Protection;

/// An account that should be disabled, and is enabled, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwedLock {
    /// Its DN.
    pub dn: String,
    /// The attribute that disables it.
    pub attribute: String,
    /// The directory of the run.
    pub server: String,
    /// The journal that has the lock.
    pub journal: PathBuf,
    /// Why it is not disabled.
    pub reason: String,
    /// The number of the change that set its password.
    number: u64,
}

impl OwedLock {
    /// Notes in the journal that the lock is owed no more: the account is enabled on purpose.
    ///
    /// # Errors
    /// The journal cannot be written.
    pub fn settle(&self) -> io::Result<()> {
        settle(&self.journal, &[self.number])
    }
}

/// Notes in a journal that nobody writes that these locks are owed no more.
pub(super) fn settle(journal: &Path, numbers: &[u64]) -> io::Result<()> {
    let mut file = File::options().append(true).open(journal)?;
    // After a line that was cut.
    let lines: String = numbers.iter().map(|number| locked(*number)).collect();
    file.write_all(format!("\n{lines}").as_bytes())?;
    file.sync_all()
}

/// A journal that stays one.
#[derive(Debug)]
pub struct KeptJournal {
    /// The directory of its run.
    pub server: String,
    /// Whether another directory is open than that of its run, so that nothing was done.
    pub is_foreign: bool,
    /// The locks that it owes.
    pub owed: Vec<OwedLock>,
}

impl KeptJournal {
    /// Logs what is not done, and returns the locks that are owed. `journal`: its name.
    pub fn told(mut self, journal: &Path, directory: &Directory) -> Vec<OwedLock> {
        let (file, server, here) = (journal.display(), &self.server, directory.location());
        if self.is_foreign {
            tracing::error!(
                %file,
                server,
                "{file} is the journal of a run on {server} that was killed, and server_url leads to {here}: nothing is done with it here, and it stays, until it is found with the server of the run as server_url; or take it back (target-ldap undo {file}), and remove it"
            );
        }
        for owed in &mut self.owed {
            journal.clone_into(&mut owed.journal);
            let OwedLock { dn, attribute, reason, .. } = owed;
            tracing::error!(
                dn,
                attribute,
                server,
                %file,
                "`{dn}` on {server} should be disabled (`{attribute}`), and is enabled, as far as is known, since its password was set: {reason}; {file} keeps its lock, and it is tried again until it is written"
            );
        }
        self.owed
    }
}

/// Whether a directory is that of a run: the same server, an alternative in `server_url`, or the same file by another name.
pub(crate) fn is_place(server: &str, directory: &Directory, servers: &[ServerUrl]) -> bool {
    let file = |url: &str| url.strip_prefix("ldif:").map(|path| file::real(Path::new(path)));
    server == directory.location()
        || servers.iter().any(|other| other.to_text() == server)
        || file(server).is_some_and(|there| file(directory.location()).is_some_and(|here| here == there))
}

/// What became of the locks of a journal.
#[derive(Debug, Default)]
pub(super) struct Locked {
    /// Those that are still owed.
    pub(super) owed: Vec<OwedLock>,
    /// The changes whose locks are owed no more.
    pub(super) settled: Vec<u64>,
}

/// Returns the accounts of a journal whose locks may be owed.
fn due(
    reading: &mut JournalReader,
    directory: &Directory,
    journal: &Path,
    only: Option<&BTreeSet<u64>>,
) -> Vec<LockedAccount> {
    match locks(reading, directory.schema()) {
        Ok(mut locks) => {
            let is_settled = |number: &u64| reading.later.locked.contains(number);
            locks.retain(|account| {
                only.is_none_or(|only| only.contains(&account.number)) && !is_settled(&account.number)
            });
            locks
        }
        Err(e) => {
            tracing::error!("{}: whether accounts were left enabled is not known: {e}", journal.display());
            Vec::new()
        }
    }
}

/// Returns what a journal of another directory owes.
pub(super) fn of_foreign(
    reading: &mut JournalReader,
    directory: &Directory,
    journal: &Path,
) -> Vec<OwedLock> {
    let server = reading.header.server.clone();
    let due = due(reading, directory, journal, None);
    due.into_iter().map(|account| account.owed(&server, "another directory is open now".to_owned())).collect()
}

/// Disables the accounts again that a run has left enabled. `only`: the numbers of the changes whose locks are not known to be back;
/// `None`: of none it is known.
pub(super) async fn lock_again(
    reading: &mut JournalReader,
    directory: &Directory,
    journal: &Path,
    only: Option<&BTreeSet<u64>>,
) -> Locked {
    let mut found = Locked::default();
    let server = reading.header.server.clone();
    // What the run was allowed to change.
    let destination = Destination::new(directory.clone(), Protection::none());
    for account in due(reading, directory, journal, only) {
        let attribute = account.lock.0.as_str();
        let there = account.find(&destination).await;
        let dn = there.as_ref().ok().and_then(Option::as_deref).unwrap_or(&account.dn);
        let restored = match &there {
            Ok(Some(dn)) => destination.lock_by_note(dn, &account.lock).await.map_err(|e| e.to_string()),
            Ok(None) => Ok(None),
            Err(error) => Err(error.to_string()),
        };
        let restored = match restored {
            Ok(restored) => restored,
            Err(reason) => {
                found.owed.push(OwedLock { dn: dn.to_owned(), ..account.owed(&server, reason) });
                continue;
            }
        };
        found.settled.push(account.number);
        match restored {
            Some(false) => {}
            None if account.may_be_gone => {}
            None => tracing::error!(
                dn,
                attribute,
                "`{dn}` was disabled, and the server enables an account when its password is set; the run was killed, or lost its connection, before it was known to be disabled again, and now it is not there, nor anywhere else"
            ),
            Some(true) => tracing::error!(
                dn,
                attribute,
                "`{dn}` was disabled, and the server has enabled it when its password was set; the run was killed, or lost its connection, before it could be disabled again: it is disabled again now (`{attribute}`)"
            ),
        }
    }
    found
}

/// Returns the locks that a journal owes, and writes nothing.
pub(super) async fn look(
    reading: &mut JournalReader,
    directory: &Directory,
    journal: &Path,
) -> Vec<OwedLock> {
    let server = reading.header.server.clone();
    let destination = Destination::new(directory.clone(), Protection::none());
    let mut owed = Vec::new();
    for account in due(reading, directory, journal, None) {
        let lacks = async {
            let Some(dn) = account.find(&destination).await? else { return Ok(false) };
            destination.lacks_lock(&dn, &account.lock).await.map(|lacks| lacks == Some(true))
        };
        let reason = match lacks.await {
            Ok(false) => continue,
            Ok(true) => "the run was killed, or lost its connection, before it was disabled again".to_owned(),
            Err(error) => DirectoryError::to_string(&error),
        };
        owed.push(account.owed(&server, reason));
    }
    owed
}

/// An account that should be disabled after the changes of a journal.
#[derive(Debug)]
struct LockedAccount {
    /// The number of the change that set its password.
    number: u64,
    id: Option<(String, String)>,
    /// Its DN after all changes.
    dn: String,
    /// The DNs that it has if renames were not made of which that is not known.
    former: Vec<String>,
    /// The attribute and the value that disable it.
    lock: (String, String),
    /// Whether it may have been deleted.
    may_be_gone: bool,
}

impl LockedAccount {
    fn owed(&self, server: &str, reason: String) -> OwedLock {
        OwedLock {
            dn: self.dn.clone(),
            attribute: self.lock.0.clone(),
            server: server.to_owned(),
            journal: PathBuf::new(),
            reason,
            number: self.number,
        }
    }

    /// Returns the DN at which the account is; `None`: it is nowhere. Without an identifier it is taken to be where the changes left it.
    ///
    /// # Errors
    /// The directory cannot be asked: then nothing is known.
    async fn find(&self, destination: &Destination) -> Result<Option<String>, DirectoryError> {
        let Some((name, digest)) = &self.id else { return Ok(Some(self.dn.clone())) };
        let schema = destination.schema();
        let is_it = |value: &Vec<u8>| value_digest(name, value, schema) == *digest;
        for dn in std::iter::once(&self.dn).chain(self.former.iter().rev()) {
            if let Some(entry) = destination.read(dn, &[name]).await?
                && entry.values(name).iter().any(is_it)
            {
                return Ok(Some(dn.clone()));
            }
        }
        // Another client may have renamed it. The journal has a digest of its identifier, for which no server can search.
        let own = key(&self.dn, schema);
        let contexts = &destination.root_dse().naming_contexts;
        let Some(context) = contexts.iter().find(|context| own.is_within(&key(context, schema))) else {
            return Ok(None);
        };
        let request = SearchRequest::new(context, Scope::Subtree, MATCH_ALL, &[name]).repeating();
        let mut search = destination.search(request).await?;
        while let Some(entry) = search.next_entry().await? {
            if entry.values(name).iter().any(is_it) {
                return Ok(Some(entry.dn));
            }
        }
        Ok(None)
    }
}

/// Returns the accounts that should be disabled after the changes of a journal.
fn locks(reading: &mut JournalReader, schema: &Schema) -> Result<Vec<LockedAccount>, ReadError> {
    let numbers: Vec<u64> = reading.places.keys().copied().collect();
    let mut locks: BTreeMap<DnKey, LockedAccount> = BTreeMap::new();
    for number in numbers {
        let status = reading.status(number);
        if status == ChangeStatus::Void {
            continue;
        }
        let is_made = status == ChangeStatus::Made;
        let (note, _) = reading.load(number)?;
        let own = key(&note.dn, schema);
        let known = locks.remove(&own);
        let name = |account: &LockedAccount| schema.normal_description(&account.lock.0);
        let account = match (note.lock, known) {
            (Some(lock), _) => {
                let (id, dn) = (note.id, note.dn.clone());
                Some(LockedAccount { number, id, dn, former: Vec::new(), lock, may_be_gone: false })
            }
            (None, Some(_)) if note.of == ChangeKind::Delete && is_made => None,
            (None, Some(known)) if note.of == ChangeKind::Delete => {
                Some(LockedAccount { may_be_gone: true, ..known })
            }
            // The run itself has changed the lock later.
            (None, Some(known)) if note.attributes.contains_key(&name(&known)) => None,
            (None, known) => known,
        };
        if let Some(account) = account {
            locks.insert(own.clone(), account);
        }
        let Some(to) = note.to else { continue };
        // The accounts below it went with it.
        let below: Vec<DnKey> = locks.range(own.subtree()).map(|(key, _)| key.clone()).collect();
        let left: Vec<LockedAccount> = below.iter().filter_map(|key| locks.remove(key)).collect();
        for mut account in left {
            if let Some(dn) = moved(&account.dn, &note.dn, &to, schema) {
                let former = std::mem::replace(&mut account.dn, dn);
                account.former.extend((!is_made).then_some(former));
            }
            locks.insert(key(&account.dn, schema), account);
        }
    }
    Ok(locks.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::super::change_note::ChangeNote;
    use super::super::journal::{Header, announcement, made};
    use super::*;

    fn renamed(dn: &str, to: &str) -> ChangeNote {
        ChangeNote { of: ChangeKind::Rename, to: Some(to.into()), ..ChangeNote::plain(dn) }
    }

    fn locked(dn: &str) -> ChangeNote {
        let lock = Some(("nsAccountLock".to_owned(), "true".to_owned()));
        ChangeNote { lock, id: Some(("entryUUID".into(), dn.into())), ..ChangeNote::plain(dn) }
    }

    /// Returns the accounts that should be locked after these changes, each of which is known to be made or not.
    fn found(changes: &[(ChangeNote, bool)]) -> Vec<LockedAccount> {
        let mut octets = Header::new("r", "ldap://x", false).journal_line().into_bytes();
        for (number, (note, is_known)) in (0..).zip(changes) {
            octets.extend(announcement(number, note, &[]).unwrap());
            if *is_known {
                octets.extend(made(number, None).bytes());
            }
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), octets).unwrap();
        let mut reading = JournalReader::open(file.path()).unwrap();
        locks(&mut reading, Schema::standard()).unwrap()
    }

    #[test]
    fn a_lock_follows_its_account_below_a_renamed_entry() {
        let changes = [
            (locked("uid=a,ou=p,dc=x"), true),
            (locked("uid=c,ou=p,dc=x"), true),
            (renamed("ou=p,dc=x", "ou=q,dc=x"), true),
            (renamed("uid=a,ou=q,dc=x", "uid=b,ou=q,dc=x"), true),
        ];
        let dns: Vec<String> = found(&changes).into_iter().map(|account| account.dn).collect();
        assert_eq!(dns, ["uid=b,ou=q,dc=x", "uid=c,ou=q,dc=x"]);
    }

    #[test]
    fn an_account_is_looked_for_where_it_is_if_a_change_was_not_made() {
        let changes = [
            (locked("uid=a,ou=p,dc=x"), true),
            (renamed("ou=p,dc=x", "ou=q,dc=x"), false),
            (ChangeNote::plain("uid=a,ou=q,dc=x"), false),
        ];
        let found = found(&changes);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&*found[0].dn, &*found[0].former),
            ("uid=a,ou=q,dc=x", &["uid=a,ou=p,dc=x".to_owned()][..])
        );
        assert!(found[0].may_be_gone);
        let deleted = [(locked("uid=a,dc=x"), true), (ChangeNote::plain("uid=a,dc=x"), true)];
        assert!(self::found(&deleted).is_empty());
    }
}
