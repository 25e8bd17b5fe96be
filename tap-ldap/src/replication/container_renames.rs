//! Entries whose name changed because something above them was renamed or moved.
//!
//! Servers do not mark them as changed: neither a timestamp nor a log tells of them. What lies below a container is found
//! out by comparing the containers' names with those of the last run, which the bookmark keeps in short; what lies below
//! any other entry is read anew whenever that entry changed, because such entries are few and have little below them.

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use sha2::{Digest as _, Sha256};
use singer_common::directory::{DirectoryError, Paging, Scope, SearchRequest, Vendor};
use singer_common::dn::DnKey;
use singer_common::entry::Entry;
use singer_common::schema::syntax::ValueKind;

use super::StreamRun;
use crate::discovery::containers;
use crate::discovery::dn;
use crate::discovery::source::Source;
use crate::output::Output;
use crate::stream::entries::Entries;
use singer_common::directory::MATCH_ALL;

/// Tell whether entries lie below (X.501; 389 DS counts them, too).
pub(crate) const BELOW: [&str; 2] = ["hasSubordinates", "numSubordinates"];
/// What changed entries are asked for besides: these, and what they are.
pub(crate) const OF_CHANGES: [&str; 3] = [BELOW[0], BELOW[1], containers::CLASS];
/// More containers than this are not watched: the bookmark would grow too large.
const MOST: usize = 5_000;

/// Containers by their immutable id, with a short form of their names.
pub(crate) type Names = BTreeMap<String, String>;

/// Reads the containers that a stream's entries may lie below, and which of them have another name than before, or are new:
/// the topmost only. What lies below a new one may have been read before that was renamed. `before` is empty where there is
/// nothing to compare with.
pub(crate) async fn look(
    run: &StreamRun<'_>,
    before: &Names,
) -> Result<(Names, Vec<String>), DirectoryError> {
    let context = run.context;
    let base = match run.source {
        Source::Search(s) if s.scope == Scope::Sub => s.base_dn.as_deref().unwrap_or(&context.base),
        Source::Class { .. } | Source::Containers => &context.base,
        // What lies below a renamed container is in another stream, or below the same.
        _ => return Ok((Names::new(), Vec::new())),
    };
    let Some(key) = &context.ids.key else { return Ok((Names::new(), Vec::new())) };
    let kind = ValueKind::of(run.schema(), key);
    let found = containers::read_entries(&context.directory, base, &[key], MATCH_ALL).await?.entries;
    if found.len() > MOST {
        tracing::warn!(
            "more than {MOST} containers below `{base}`: what lies below one that is renamed keeps its old name until it changes itself, or until a full read"
        );
        return Ok((Names::new(), Vec::new()));
    }
    let mut now = Names::new();
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

/// The ids of the containers that are no longer there.
pub(crate) fn vanished(before: &Names, now: &Names) -> Vec<String> {
    // Where there are too many, none is watched any more.
    if now.is_empty() {
        return Vec::new();
    }
    before.keys().filter(|id| !now.contains_key(*id)).cloned().collect()
}

/// The name that a watched container had.
fn known_name<'n>(run: &StreamRun<'_>, entry: &Entry, names: &'n Names) -> Option<&'n String> {
    let id = run.converter.value_of(entry, run.context.ids.key.as_deref()?);
    names.get(id.as_str()?)
}

/// Whether an entry is a container that is watched and has another name than it had, or that is to be watched from now on.
pub(crate) fn is_renamed(run: &StreamRun<'_>, entry: &Entry, names: &Names) -> Result<bool, DirectoryError> {
    Ok(match known_name(run, entry, names) {
        Some(known) => *known != short(&entry.dn),
        None => !names.is_empty() && is_container(run, entry)?,
    })
}

/// Whether an entry is a watched container under its name of now, or lies directly below one. Else something above it has
/// another name by now, or it lies below an entry that is not watched.
pub(crate) fn is_below_known(entry: &Entry, names: &Names) -> bool {
    let is_known = |dn: &str| {
        let name = short(dn);
        names.values().any(|known| *known == name)
    };
    names.is_empty() || is_known(&dn::parent(&entry.dn)) || is_known(&entry.dn)
}

fn short(dn: &str) -> String {
    BASE64.encode(Sha256::digest(dn).get(..6).unwrap_or_default())
}

/// Whether a changed entry that is no container has entries below it, which then may have another name, too.
pub(crate) async fn has_below(
    run: &StreamRun<'_>,
    entry: &Entry,
    names: &Names,
) -> Result<bool, DirectoryError> {
    // Of those that are watched it is known whether they have another name.
    if matches!(run.source, Source::Containers)
        || known_name(run, entry, names).is_some()
        || is_container(run, entry)?
    {
        return Ok(false);
    }
    let [has, count] = BELOW;
    if let Some(told) = entry.first_text(has) {
        return Ok(told == "TRUE");
    }
    if let Some(count) = entry.first_text(count) {
        return Ok(count != "0");
    }
    // Active Directory does not tell: one small search for each entry that changed.
    if run.context.directory.root_dse().vendor != Vendor::ActiveDirectory {
        return Ok(false);
    }
    let mut request = SearchRequest::new(entry.dn.as_str(), Scope::One, MATCH_ALL, &["1.1"]);
    request.paging = Paging::AtMost(1);
    let mut search = run.context.directory.search(request).await?;
    let found = match search.next_entry().await {
        // Gone again by now.
        Err(e) if e.is_no_such_object() => return Ok(false),
        found => found?.is_some(),
    };
    search.abandon().await?;
    Ok(found)
}

/// By its classes where they were read, else by what was found at the beginning of the run.
fn is_container(run: &StreamRun<'_>, entry: &Entry) -> Result<bool, DirectoryError> {
    Ok(containers::is_container(run.context.directory.root_dse().vendor, entry)
        || run.context.containers.contains(&dn::key(&entry.dn, run.schema())?))
}

/// Prints the records of what the stream has below an entry.
pub(crate) async fn emit_below<W: Write>(
    run: &mut StreamRun<'_>,
    output: &mut Output<'_, W>,
    dn: &str,
) -> anyhow::Result<()> {
    let attributes = run.attributes(&[]);
    let mut entries = Entries::open_below(run.context, run.source, &attributes, dn)?;
    loop {
        match output.next_of(&mut entries).await? {
            // Gone again by now: what is gone is told by the log.
            Err(e) if e.is_no_such_object() => return Ok(()),
            entry => match entry? {
                Some(entry) => {
                    run.emit(output, &entry)?;
                    run.printed(&entry)?;
                }
                None => return Ok(()),
            },
        }
    }
}
