//! Names that only `users.filter` keeps from logging in: the log says so, the answer does not.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ldap_directory::filter::Filter;
use ldap_directory::{Directory, DirectoryError, Paging, Scope, SearchRequest};
use singer_common::operations::facts::Facts;
use tokio::sync::Semaphore;

use super::find;
use crate::config::UsersConfig;

/// The most lines in the log: one for each set of object classes.
const MOST_LINES: usize = 16;
/// The longest time of a search.
const LONGEST: Duration = Duration::from_secs(10);

/// What was told. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct LeftOut {
    told: Arc<Mutex<BTreeSet<Vec<String>>>>,
    /// One search at a time: names that nobody has must not cost the directory twice as much.
    one: Arc<Semaphore>,
}

impl LeftOut {
    pub(super) fn new() -> Self {
        Self { told: Arc::default(), one: Arc::new(Semaphore::new(1)) }
    }

    /// Looks for a name that fits no user, without the filter of the users. In the background: the time of an answer must not tell.
    pub(super) fn look(&self, users: &UsersConfig, directory: &Directory, name: &str) {
        let is_full = self.told.lock().unwrap_or_else(PoisonError::into_inner).len() >= MOST_LINES;
        let Ok(permit) = self.one.clone().try_acquire_owned() else { return };
        if is_full || !find::can_be_name(name) {
            return;
        }
        let (this, directory) = (self.clone(), directory.clone());
        let users = UsersConfig { filter: Filter::And(Vec::new()).into(), ..users.clone() };
        let name = name.to_owned();
        tokio::spawn(async move {
            let _permit = permit;
            // What is found is a help, and no more.
            let _ = tokio::time::timeout(LONGEST, this.find(&users, &directory, &name)).await;
        });
    }

    async fn find(
        &self,
        users: &UsersConfig,
        directory: &Directory,
        name: &str,
    ) -> Result<(), DirectoryError> {
        let vendor = directory.root_dse().vendor;
        let filter = find::name_filter(users, vendor, &find::login_attributes(users, vendor), name);
        let request = SearchRequest::new(&users.base_dn, Scope::Subtree, filter, &["objectClass"]);
        let mut stream = directory.search(SearchRequest { paging: Paging::Limited(1), ..request }).await?;
        let Some(entry) = stream.next_entry().await? else { return Ok(()) };
        let classes = entry.values("objectClass").iter();
        let mut classes: Vec<String> =
            classes.map(|class| String::from_utf8_lossy(class).to_lowercase()).collect();
        classes.sort_unstable();
        let is_new = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.insert(classes.clone())
        };
        if is_new {
            let text = format!(
                "a login name fits `{}`, which users.filter leaves out, so that it cannot log in (object classes: {}); others of these classes are not told",
                entry.dn,
                classes.join(", ")
            );
            let facts = Facts { dn: Some(entry.dn.clone()), ..Facts::of_setting("users.filter") };
            facts.info(&text);
        }
        Ok(())
    }
}
