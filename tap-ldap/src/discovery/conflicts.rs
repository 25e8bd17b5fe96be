//! Entries that replication left in conflict, and that 389 Directory Server has marked: in a file they are entries like others. Those of Active
//! Directory are known by their names, when they are read.

use ldap_directory::text::printable_line;
use ldap_directory::{Directory, Scope, conflict, lookup};

/// The most entries that are counted.
const MOST: u32 = 1_000;

/// Warns of such entries below a base, with their number and an example.
pub async fn warn(directory: &Directory, base: &str) {
    let Some(filter) = conflict::marked(directory) else { return };
    let found = match lookup::sample(directory, (base, Scope::Subtree), filter, &["1.1"], MOST).await {
        Ok(found) => found,
        Err(error) => {
            tracing::debug!("entries in conflict: {error}");
            return;
        }
    };
    let Some(first) = found.first() else { return };
    let at_least = if found.len() < MOST as usize { "" } else { "at least " };
    let dn = printable_line(&first.dn);
    tracing::warn!(
        dn = &*dn,
        conflicts = found.len(),
        "{at_least}{} entries below `{base}` are left over from a conflict of replication (nsds5ReplConflict; the first is `{dn}`): each is an entry beside the one whose name it had",
        found.len()
    );
}
