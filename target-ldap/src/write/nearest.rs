//! What is there in place of an entry that is not, for messages.

use std::collections::HashMap;
use std::sync::Arc;

use ldap_directory::Directory;
use ldap_directory::dn::split;
use tokio::sync::Mutex;

/// MatchedNames that are looked for in a run: each is a search. Of more, nothing near is said.
const MOST: usize = 100;

/// What was looked for. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Nearest(Arc<Mutex<HashMap<String, Option<String>>>>);

impl Nearest {
    /// The entry that a name above this one most likely stands for, which is not there. Looked for once for all that lie below it.
    pub(super) async fn above(&self, directory: &Directory, dn: &str) -> Option<String> {
        let above = split(dn).ok()?.get(1..)?.join(",");
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
