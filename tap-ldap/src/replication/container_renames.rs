//! Entries whose DN changed because an entry above them was renamed or moved.
//!
//! Servers do not mark them as changed: neither a timestamp nor a log reports them. Renamed containers are found by comparing
//! their DNs with those of the last run, which the bookmark keeps as hashes. For any other entry, its subordinates are read again
//! whenever it changed: such entries are few and have few subordinates.

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{DirectoryError, Paging, Scope, SearchRequest, Vendor};
use sha2::{Digest as _, Sha256};

use crate::discovery::containers;
use crate::discovery::dn;
use crate::discovery::source::Source;
use crate::output::Output;
use crate::replication::stream_run::StreamRun;
use crate::stream::entries::Entries;
use ldap_directory::MATCH_ALL;

/// Attributes that say whether an entry has subordinates (X.501; 389 DS also counts them).
pub(crate) const SUBORDINATES: [&str; 2] = ["hasSubordinates", "numSubordinates"];
/// Attributes requested of changed entries: these, and their classes.
pub(crate) const OF_CHANGES: [&str; 3] = [SUBORDINATES[0], SUBORDINATES[1], containers::CLASS];
/// With more containers, renames are not detected: the bookmark would be too large.
const MAX_CONTAINERS: usize = 5_000;

/// Containers by immutable id, with a short hash of their DN.
pub(crate) type ContainerNames = BTreeMap<String, String>;

/// Reads the containers that a stream's entries may be below. Returns them, and the topmost ones that were renamed or are new:
/// entries below a new one may have been read before it was renamed. `before` is empty if there is nothing to compare with.
pub(crate) async fn find_renamed(
    run: &StreamRun<'_>,
    before: &ContainerNames,
) -> Result<(ContainerNames, Vec<String>), DirectoryError> {
    let context = run.context;
    let base = match run.source {
        Source::Search(s) if s.scope == Scope::Subtree => s.base_dn.as_deref().unwrap_or(&context.base),
        Source::Class { .. } | Source::Containers => &context.base,
        // Entries below a renamed container are in another stream, or still below the same one.
        _ => return Ok((ContainerNames::new(), Vec::new())),
    };
    let Some(key) = &context.ids.key else { return Ok((ContainerNames::new(), Vec::new())) };
    let kind = ValueKind::emitted(run.schema(), key);
    let found = containers::read_entries(&context.directory, base, &[key], MATCH_ALL).await?.entries;
    if found.len() > MAX_CONTAINERS {
        tracing::warn!(
            "more than {MAX_CONTAINERS} containers below `{base}`: what lies below one that is renamed keeps its old name until it changes itself, or until a full read"
        );
        return Ok((ContainerNames::new(), Vec::new()));
    }
    let mut now = ContainerNames::new();
    let mut moved: Vec<(DnKey, String)> = Vec::new();
    for (place, entry) in found {
        let mut id = Vec::new();
        let written = entry.values(key).first().is_some_and(|v| kind.write_json(v, &mut id).is_ok());
        let Some(id) = written.then(|| serde_json::from_slice::<String>(&id).ok()).flatten() else {
            continue;
        };
        let name = short(&entry.dn);
        let other_name = !before.is_empty() && before.get(&id) != Some(&name);
        if other_name && !moved.iter().any(|(above, _)| above.is_ancestor_of(&place)) {
            moved.push((place, entry.dn));
        }
        now.insert(id, name);
    }
    Ok((now, moved.into_iter().map(|(_, dn)| dn).collect()))
}

/// Returns the ids of the containers that no longer exist.
pub(crate) fn deleted_ids(before: &ContainerNames, now: &ContainerNames) -> Vec<String> {
    // With too many containers, renames are no longer detected.
    if now.is_empty() {
        return Vec::new();
    }
    before.keys().filter(|id| !now.contains_key(*id)).cloned().collect()
}

/// Returns the last known DN hash of a container.
fn known_name<'n>(run: &StreamRun<'_>, entry: &Entry, names: &'n ContainerNames) -> Option<&'n String> {
    let id = run.converter.value_of(entry, run.context.ids.key.as_deref()?);
    names.get(id.as_str()?)
}

/// Returns whether an entry is a known container with another DN than before, or a new container.
pub(crate) fn is_renamed(
    run: &StreamRun<'_>,
    entry: &Entry,
    names: &ContainerNames,
) -> Result<bool, DirectoryError> {
    Ok(match known_name(run, entry, names) {
        Some(known) => *known != short(&entry.dn),
        None => !names.is_empty() && is_container(run, entry)?,
    })
}

/// Returns whether an entry is a known container with its current DN, or an immediate subordinate of one. Otherwise an entry
/// above it was renamed, or its parent is not a container.
pub(crate) fn is_below_known(entry: &Entry, names: &ContainerNames) -> bool {
    let is_known = |dn: &str| {
        let name = short(dn);
        names.values().any(|known| *known == name)
    };
    names.is_empty() || is_known(&ldap_directory::dn::parent(&entry.dn)) || is_known(&entry.dn)
}

fn short(dn: &str) -> String {
    BASE64.encode(Sha256::digest(dn).get(..6).unwrap_or_default())
}

/// Returns whether a changed entry that is not a container has subordinates, whose DNs may have changed too.
pub(crate) async fn has_below(
    run: &StreamRun<'_>,
    entry: &Entry,
    names: &ContainerNames,
) -> Result<bool, DirectoryError> {
    // Renames of known containers are found by their DNs.
    if matches!(run.source, Source::Containers)
        || known_name(run, entry, names).is_some()
        || is_container(run, entry)?
    {
        return Ok(false);
    }
    let [has, count] = SUBORDINATES;
    if let Some(reported) = entry.first_text(has) {
        return Ok(reported == "TRUE");
    }
    if let Some(count) = entry.first_text(count) {
        return Ok(count != "0");
    }
    // Active Directory has no such attribute: one small search for each changed entry.
    if run.context.directory.root_dse().vendor != Vendor::ActiveDirectory {
        return Ok(false);
    }
    let mut request = SearchRequest::new(entry.dn.as_str(), Scope::OneLevel, MATCH_ALL, &["1.1"]);
    request.paging = Paging::AtMost(1);
    let mut search = run.context.directory.search(request).await?;
    let found = match search.next_entry().await {
        // Deleted meanwhile.
        Err(e) if e.is_no_such_object() => return Ok(false),
        found => found?.is_some(),
    };
    search.abandon().await?;
    Ok(found)
}

/// Returns whether an entry is a container: by its classes if they were read, or else by the containers found at the start.
fn is_container(run: &StreamRun<'_>, entry: &Entry) -> Result<bool, DirectoryError> {
    Ok(containers::is_container(run.context.directory.root_dse().vendor, entry)
        || run.context.containers.contains(&dn::key(&entry.dn, run.schema())?))
}

/// Emits the records of the stream's entries below an entry.
pub(crate) async fn emit_below<W: Write>(
    run: &mut StreamRun<'_>,
    output: &mut Output<'_, W>,
    dn: &str,
) -> anyhow::Result<()> {
    let attributes = run.attributes(&[]);
    let mut entries = Entries::open_below(run.context, run.source, &attributes, dn)?;
    loop {
        match output.next_of(&mut entries).await? {
            // Deleted meanwhile: the log reports deletions.
            Err(e) if e.is_no_such_object() => return Ok(()),
            entry => match entry? {
                Some(entry) => {
                    run.emit(output, &entry)?;
                    run.emitted(&entry)?;
                }
                None => return Ok(()),
            },
        }
    }
}
