//! The records of an import: reading them piece by piece, and checking what needs no directory.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Seek as _};
use std::sync::Arc;

use ldap_directory::Directory;
use ldap_directory::change::Change;
use ldap_directory::dn::{DnKey, first_rdn};
use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::ldif::ReplicationState;
use ldap_directory::ldif::reader::{LdifError, LdifReader, Record};
use target_ldap::map::wanted::{Wanted, WantedAccount, WantedEntry};
use target_ldap::map::{Task, WritePolicy};
use target_ldap::rules::policy::{Compare, Policy};
use target_ldap::rules::rule::Operations;
use tokio::sync::mpsc;

use crate::write::{Guarded, Territory, WriteError, WriteErrorKind};

/// The most octets of a record.
const MAX_RECORD: usize = 32 * 1024 * 1024;
/// The records between the reader and the directory.
const AHEAD: usize = 16;

/// A record of the file.
#[derive(Debug)]
pub(crate) struct Numbered {
    /// Counted from 0.
    pub(crate) number: u64,
    /// Its first line, from 1.
    pub(crate) line: u64,
    pub(crate) record: Result<Record, LdifError>,
}

/// An event of the reader's thread. A channel that closes without an end has lost records.
#[derive(Debug)]
pub(crate) enum ReadEvent {
    Record(Box<Numbered>),
    /// The end, with the reasons why the file may have been cut off, and with what was left out.
    End(Vec<String>, ReplicationState),
}

/// Reads a file from its beginning on a thread of its own. `wanted`: only the records with these numbers are sent. The replication state of
/// an export of 389 Directory Server is taken off, and what is deleted there is left out.
pub(crate) fn read(file: &File, wanted: Option<Arc<BTreeSet<u64>>>) -> io::Result<mpsc::Receiver<ReadEvent>> {
    let mut file = file.try_clone()?;
    file.rewind()?;
    let (sender, events) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut reader =
            LdifReader::new(BufReader::with_capacity(64 * 1024, file)).max_record_bytes(MAX_RECORD);
        let mut number = 0;
        let mut state = ReplicationState::default();
        while let Some(mut record) = reader.next() {
            let line = record.as_ref().err().map_or_else(|| reader.record_line(), |error| error.line);
            if let Ok(Record::Entry(entry)) = &mut record
                && !state.take_off(line, entry)
            {
                number += 1;
                continue;
            }
            if wanted.as_ref().is_none_or(|wanted| wanted.contains(&number)) {
                let event = ReadEvent::Record(Box::new(Numbered { number, line, record }));
                if sender.blocking_send(event).is_err() {
                    return;
                }
            }
            number += 1;
        }
        let shortfalls = reader.dump().shortfalls().iter().map(ToString::to_string).collect();
        let _ = sender.blocking_send(ReadEvent::End(shortfalls, state));
    });
    Ok(events)
}

/// What a record asks for.
#[derive(Debug)]
pub(crate) enum Action {
    /// An entry that is to be as it says.
    Task(Task),
    /// A modification or a rename.
    Change(Change),
    /// A deletion.
    Delete(String),
}

/// A record that was checked.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) action: Action,
    /// The DNs that it is about: the first is the entry's own.
    pub(crate) keys: Vec<DnKey>,
    /// Attributes that are passed over, because the server maintains them.
    pub(crate) ignored: Vec<String>,
}

/// Checks a record.
///
/// # Errors
/// It is outside the bases, or is about something that is not written for a caller.
pub(crate) fn prepare(
    record: Record,
    directory: &Directory,
    territory: &Territory,
) -> Result<Prepared, WriteError> {
    check_descriptions(&record)?;
    match record {
        Record::Entry(entry) => upsert(entry, Operations::default(), directory, territory),
        Record::Change(Change::Add(entry)) => {
            let operations = Operations { update: false, rename: false, ..Operations::default() };
            upsert(entry, operations, directory, territory)
        }
        Record::Change(change) => {
            territory.check(&without_comparable(&change, territory), None, &[])?;
            let mut keys = vec![territory.key(change.dn())?];
            if let Some(new) = change.new_dn() {
                keys.push(territory.key(&new)?);
            }
            let action = match change {
                Change::Delete { dn } => Action::Delete(dn),
                change => Action::Change(change),
            };
            Ok(Prepared { action, keys, ignored: Vec::new() })
        }
    }
}

/// Returns a change without the steps that may have no effect: whether they have is looked at with the entry.
fn without_comparable<'c>(change: &'c Change, territory: &Territory) -> Cow<'c, Change> {
    let Change::Modify { dn, changes } = change else { return Cow::Borrowed(change) };
    // Few have one.
    if !changes.iter().any(|step| territory.attributes.is_comparable(step)) {
        return Cow::Borrowed(change);
    }
    let changes = changes.iter().filter(|step| !territory.attributes.is_comparable(step));
    Cow::Owned(Change::Modify { dn: dn.clone(), changes: changes.cloned().collect() })
}

/// Checks that a record names whole attributes (RFC 4512 section 2.5).
///
/// # Errors
/// It has a part of the values (`member;range=0-1499`, as a server answers), an option that is none, or the replication state of a value,
/// which may be one that was deleted.
fn check_descriptions(record: &Record) -> Result<(), WriteError> {
    let names: Vec<&str> = match record {
        Record::Entry(entry) | Record::Change(Change::Add(entry)) => {
            entry.attributes.iter().map(|a| a.description.as_str()).collect()
        }
        Record::Change(Change::Modify { changes, .. }) => {
            changes.iter().map(|step| step.description.as_str()).collect()
        }
        Record::Change(_) => Vec::new(),
    };
    let is_refused = |name: &&str| name.contains('=') || ReplicationState::is_in(name);
    let Some(name) = names.into_iter().find(is_refused) else { return Ok(()) };
    let detail = if ReplicationState::is_in(name) {
        format!(
            "`{name}` has the replication state of 389 Directory Server, by which a value may be a deleted one: give the attribute without it"
        )
    } else if name.to_ascii_lowercase().contains(";range=") {
        format!("`{name}` is a part of a list of values: give all of them under the name alone")
    } else {
        format!("`{name}` is not an attribute: an option has letters, digits and `-`")
    };
    Err(WriteError::new(WriteErrorKind::Invalid, detail).of_attribute(name))
}

fn upsert(
    entry: Entry,
    operations: Operations,
    directory: &Directory,
    territory: &Territory,
) -> Result<Prepared, WriteError> {
    let key = territory.key(&entry.dn)?;
    // A base may be in the file, as it is in the directory: if it differs, the fence refuses the change.
    if !territory.bases.iter().any(|(_, base)| key.is_within(base)) {
        let detail = format!("`{}` is not below users.base_dn or groups.base_dn", entry.dn);
        return Err(WriteError::new(WriteErrorKind::OutOfScope, detail));
    }
    let is_kept = |a: &Attribute| territory.attributes.guarded(&a.description) == Some(Guarded::Kept);
    let (ignored, kept) = entry.attributes.into_iter().partition::<Vec<_>, _>(is_kept);
    let ignored = ignored.into_iter().map(|attribute| attribute.description).collect();
    let entry = Entry { attributes: kept, ..entry };
    territory.attributes.check_entry(&entry)?;
    let wanted = wanted(entry.dn, entry.attributes, directory)?;
    let write_policy = Arc::new(WritePolicy { operations, delete_old_rdn: true, ..WritePolicy::default() });
    let action = Action::Task(Task::Upsert { wanted, filter: None, write_policy });
    Ok(Prepared { action, keys: vec![key], ignored })
}

/// Returns the wanted entry, with the values of its RDN.
fn wanted(dn: String, attributes: Vec<Attribute>, directory: &Directory) -> Result<WantedEntry, WriteError> {
    let schema = directory.schema();
    let mut all: Vec<Wanted> = Vec::with_capacity(attributes.len());
    for attribute in attributes {
        let description = schema.spell_for_transfer(&attribute.description);
        let is_it = |there: &&mut Wanted| schema.same_description(&there.description, &description);
        if let Some(there) = all.iter_mut().find(is_it) {
            // Two names of one attribute.
            there.values.extend(attribute.values);
            continue;
        }
        let compare = Compare::usual(&description);
        all.push(Wanted { description, values: attribute.values, policy: Policy::Force, compare });
    }
    let rdn = first_rdn(&dn).ok().flatten().ok_or_else(|| {
        WriteError::new(WriteErrorKind::Invalid, format!("`{dn}` is not the DN of an entry"))
    })?;
    for ava in rdn.avas {
        let description = schema.spell(&ava.attribute);
        let is_it = |there: &&mut Wanted| schema.same_description(&there.description, &description);
        let Some(there) = all.iter_mut().find(is_it) else {
            all.push(Wanted::merged(description, ava.value));
            continue;
        };
        if !there.values.iter().any(|value| schema.values_match(&description, value, &ava.value)) {
            there.values.push(ava.value);
        }
    }
    Ok(WantedEntry { dn, attributes: all, references: Vec::new(), account: WantedAccount::default() })
}
