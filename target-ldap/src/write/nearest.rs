//! The nearest existing entry to a missing one, for messages.

use std::collections::HashMap;
use std::sync::Arc;

use ldap_directory::Directory;
use ldap_directory::dn::split_first;
use tokio::sync::Mutex;

/// The most DNs that are searched for in a run: each is a search.
const MOST: usize = 100;

/// The DNs that were searched for. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Nearest(Arc<Mutex<HashMap<String, Option<String>>>>);

impl Nearest {
    /// Returns the existing entry that a missing parent is most likely a misspelling of. Searched once for all its children.
    pub(super) async fn above(&self, directory: &Directory, dn: &str) -> Option<String> {
        let above = split_first(dn).ok()?.1;
        let mut looked = self.0.lock().await;
        if let Some(known) = looked.get(&above) {
            return known.clone();
        }
        if looked.len() >= MOST {
            return None;
        }
        let near = directory.nearest_name(dn).await;
        looked.insert(above, near.clone());
        near
    }
}
