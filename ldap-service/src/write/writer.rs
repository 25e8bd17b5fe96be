//! The writer: what all writes share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ldap_directory::change::Change;
use ldap_directory::dn::DnKey;
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::{Directory, DirectoryConfig, DirectoryError, ServerUrl};
use serde_json::{Map, Value};
use singer_common::operations::{file, observe};
use singer_common::plugin::settings::SettingsError;
use target_ldap::config::protection::ProtectionSettings;
use target_ldap::write::lockout;
use target_ldap::write::protection::Protection;
use tokio::sync::{OnceCell, RwLock, Semaphore};

use super::attributes::AttributeGuard;
use super::bound::BoundEntry;
use super::change_set::{self, ChangeSet};
use super::fence::Territory;
use super::guard::{Counted, DeleteGuard};
use super::locks::EntryLocks;
use super::memberships::Places;
use super::owed::{self, Owed};
use super::rules::{KindConfig, KindRule};
use super::{
    EntryId, EntryRef, IN_FLIGHT, ResourceKind, Subject, WriteError, WriteErrorKind, WriteOptions,
    WriteOutcome, reference, refusal, reserved, upsert, values,
};
use crate::config::Config;
use crate::unseen::Remembered;

/// What outlives a reload of the settings: the locks of entries, and the writes in progress. One for the process.
#[derive(Debug)]
pub struct WriteState {
    pub(crate) locks: EntryLocks,
    permits: Semaphore,
    /// The deletions of the last hour.
    deletions: Counted,
    /// Whether the journals of killed processes were recovered.
    recovered: OnceCell<()>,
    /// The journals that stay, for they owe locks of accounts.
    pub(crate) owed: Arc<Owed>,
    /// Held for reading by writes in progress.
    in_progress: RwLock<()>,
}

impl Default for WriteState {
    fn default() -> Self {
        WriteState {
            locks: EntryLocks::default(),
            permits: Semaphore::new(IN_FLIGHT),
            deletions: Counted::default(),
            recovered: OnceCell::new(),
            owed: Arc::default(),
            in_progress: RwLock::default(),
        }
    }
}

impl WriteState {
    /// Waits until no write is in progress. Later ones wait for the returned value to be dropped.
    pub async fn idle(&self) -> impl Drop + '_ {
        self.in_progress.write().await
    }
}

/// The way of every change. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Writer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connection: DirectoryConfig,
    kinds: Vec<(ResourceKind, KindConfig)>,
    /// `None`: nothing is written.
    undo_dir: Option<PathBuf>,
    guard: DeleteGuard,
    places: Places,
    /// The entries that `roles` names, with their settings.
    named: Vec<(String, String)>,
    state: Arc<WriteState>,
    bound: OnceCell<BoundEntry>,
    reserved: OnceCell<Vec<String>>,
    protection: OnceCell<Arc<Protection>>,
    protection_settings: ProtectionSettings,
    searchable: Arc<Remembered>,
}

impl Writer {
    /// Returns a writer. Without the setting `write`, it refuses every write. `state` is that of the writer before a reload.
    ///
    /// # Errors
    /// A rule is not valid, or `write.undo_dir` is not a folder that can be written.
    pub fn new(config: &Config, state: Arc<WriteState>) -> Result<Writer, SettingsError> {
        let mut kinds = Vec::new();
        for kind in [ResourceKind::Users, ResourceKind::Groups] {
            if let Some(of_kind) = KindConfig::of(config, kind) {
                KindRule::check(kind, &of_kind)?;
                kinds.push((kind, of_kind));
            }
        }
        let undo_dir = config.write.as_ref().map(|write| write.undo_dir.clone());
        if let Some(folder) = &undo_dir {
            let checked = file::make_private_folder(folder).and_then(|()| tempfile::tempfile_in(folder));
            if let Err(e) = checked {
                let expected = "a folder that the service may write to";
                let problem = format!("{}: {e}", folder.display());
                // A full disk may have room again when something is written.
                if e.kind() != std::io::ErrorKind::StorageFull {
                    return Err(SettingsError::value("write.undo_dir", problem, expected));
                }
            }
        }
        let max = config.write.as_ref().map(|write| write.max_deletes);
        let guard = DeleteGuard::new(max, undo_dir.clone().unwrap_or_default(), state.deletions.clone());
        let connection = config.directory.clone();
        let (places, named) = (Places::of(config), Places::named(config));
        let (bound, reserved, protection) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        let protection_settings =
            config.write.as_ref().map(|write| write.protection.clone()).unwrap_or_default();
        Ok(Writer(Arc::new(Inner {
            connection,
            kinds,
            undo_dir,
            guard,
            places,
            named,
            state,
            bound,
            reserved,
            protection,
            protection_settings,
            searchable: Arc::default(),
        })))
    }

    /// Checks the rules against a server.
    ///
    /// # Errors
    /// One does not fit.
    pub(crate) fn check(config: &Config, directory: &Directory) -> Result<(), SettingsError> {
        for kind in [ResourceKind::Users, ResourceKind::Groups] {
            if let Some(of_kind) = KindConfig::of(config, kind) {
                let rule = KindRule::new(kind, &of_kind, directory, &config.directory)?;
                rule.mapping(&Map::new(), directory)?;
                rule.check_classes(&of_kind, directory)?;
            }
        }
        Ok(())
    }

    /// Returns the placeholder of groups of a configuration; `None`: there is none, or its rule does not fit the server.
    pub(crate) fn placeholder_of(config: &Config, directory: &Directory) -> Option<String> {
        let of_kind = KindConfig::of(config, ResourceKind::Groups).filter(|_| config.write.is_some())?;
        KindRule::new(ResourceKind::Groups, &of_kind, directory, &config.directory).ok()?.placeholder()
    }

    /// Whether a configuration disables accounts, and on a directory whose password policies must say that locks count.
    pub(crate) fn needs_lockout(config: &Config, directory: &Directory) -> bool {
        let of_kind = KindConfig::of(config, ResourceKind::Users).filter(|_| config.write.is_some());
        let rule = |of_kind| KindRule::new(ResourceKind::Users, &of_kind, directory, &config.directory);
        lockout::depends_on_policies(directory)
            && of_kind.and_then(|of_kind| rule(of_kind).ok()).is_some_and(|rule| rule.rule.accounts.is_some())
    }

    /// Returns the state, for the writer after a reload.
    pub fn state(&self) -> Arc<WriteState> {
        self.0.state.clone()
    }

    /// Returns the folder of the undo files.
    ///
    /// # Errors
    /// Writes are disabled.
    pub(crate) fn undo_dir(&self) -> Result<&PathBuf, WriteError> {
        self.0.undo_dir.as_ref().ok_or_else(|| {
            let detail = "the service has no setting `write`: it changes nothing";
            WriteError::new(WriteErrorKind::Disabled, detail)
        })
    }

    /// Returns the filter of a kind's entries: others are in no list.
    pub(crate) fn filter(&self, kind: ResourceKind, directory: &Directory) -> Option<&Filter> {
        self.config(kind).map(|config| config.filter.on(directory.root_dse().vendor))
    }

    /// Returns the configuration of a kind.
    pub(super) fn config(&self, kind: ResourceKind) -> Option<&KindConfig> {
        self.0.kinds.iter().find(|(known, _)| *known == kind).map(|(_, config)| config)
    }

    /// Returns the attribute of one's own that marks disabled accounts by FALSE.
    pub(crate) fn own_mark(&self, kind: ResourceKind) -> Option<&str> {
        self.config(kind).filter(|_| kind == ResourceKind::Users)?.own_mark()
    }

    /// Returns what is known of the searches for groups by their members.
    pub(super) fn searchable(&self) -> Arc<Remembered> {
        self.0.searchable.clone()
    }

    pub(crate) fn places(&self) -> &Places {
        &self.0.places
    }

    pub(crate) fn guard(&self) -> &DeleteGuard {
        &self.0.guard
    }

    /// Returns where entries may be written.
    ///
    /// # Errors
    /// A base is not a DN, or it is not known which entry the service is bound as.
    pub(crate) async fn territory(&self, directory: &Directory) -> Result<Arc<Territory>, WriteError> {
        let attributes = AttributeGuard::of(directory);
        let key = |dn: &str| DnKey::parse(dn, &attributes.schema).map_err(|e| refusal::of_settings(&e));
        let mut bases = Vec::new();
        for (kind, config) in &self.0.kinds {
            bases.push((*kind, key(&config.base_dn)?));
        }
        let dns: Vec<&str> = self.0.kinds.iter().map(|(_, config)| config.base_dn.as_str()).collect();
        let find = || BoundEntry::find(directory, &self.0.connection.auth, &dns);
        let bound = self.0.bound.get_or_try_init(find).await?;
        let mut protected: Vec<DnKey> = bases.iter().map(|(_, base)| base.clone()).collect();
        protected.extend(bound.key(directory, &dns).await?);
        let mut places = Vec::new();
        for (kind, config) in &self.0.kinds {
            places.extend(config.place_of_deleted().map(|dn| key(dn).map(|key| (*kind, key))).transpose()?);
        }
        let contexts = directory.root_dse().naming_contexts.iter().filter_map(|dn| key(dn).ok());
        let is_below = |context: &DnKey| bases.iter().any(|(_, base)| base.is_ancestor_of(context));
        let contexts = contexts.filter(is_below).collect();
        // A DN that the schema does not know names no entry.
        let named = self.0.named.iter();
        let named = named.filter_map(|(dn, setting)| Some((key(dn).ok()?, setting.clone()))).collect();
        let reserved = self.0.reserved.get_or_try_init(|| reserved::find(directory)).await;
        let reserved = reserved.map_err(|e| refusal::of_directory(&e, directory.schema()))?;
        let reserved = reserved.iter().filter_map(|dn| key(dn).ok()).collect();
        let protection = self.protection(directory).await?;
        Ok(Arc::new(Territory {
            attributes,
            bases,
            protected,
            places,
            contexts,
            reserved,
            named,
            protection,
        }))
    }

    /// Returns what the settings protect. It is loaded once, and brings itself up to date.
    async fn protection(&self, directory: &Directory) -> Result<Arc<Protection>, WriteError> {
        let Inner { kinds, connection, protection_settings, .. } = &*self.0;
        let base = |(kind, config): &(ResourceKind, KindConfig)| {
            (format!("{}.base_dn", kind.stream()), config.base_dn.clone())
        };
        let bases: Vec<(String, String)> = kinds.iter().map(base).collect();
        let load = async || Protection::load(directory, &connection.auth, protection_settings, &bases).await;
        let loaded = self.0.protection.get_or_try_init(load).await;
        loaded.cloned().map_err(|error| match error.downcast_ref::<DirectoryError>() {
            Some(error) => refusal::of_directory(error, directory.schema()),
            None => refusal::of_settings(&error),
        })
    }

    /// Returns the warnings of what the settings of a configuration protect: DNs and filters that match no entry.
    ///
    /// # Errors
    /// A name in a filter is unknown, or the directory does not answer.
    pub(crate) async fn protection_of(
        config: &Config,
        directory: &Directory,
    ) -> Result<Vec<String>, anyhow::Error> {
        let Some(write) = &config.write else { return Ok(Vec::new()) };
        let users = ("users.base_dn".to_owned(), config.users.base_dn.clone());
        let groups = config.groups.as_ref().map(|g| ("groups.base_dn".to_owned(), g.base_dn.clone()));
        let bases: Vec<(String, String)> = std::iter::once(users).chain(groups).collect();
        let auth = &config.directory.auth;
        let (_, warnings) = Protection::find(directory, auth, &write.protection, &bases).await?;
        Ok(warnings.into_iter().map(|warning| warning.text).collect())
    }

    /// Whether the service is bound as an entry, which was read with its identifier. A server that does not say who is bound is asked
    /// again by each call.
    ///
    /// # Errors
    /// The directory does not answer.
    pub(crate) async fn is_bound_as(&self, directory: &Directory, entry: &Entry) -> Result<bool, WriteError> {
        let dns: Vec<&str> = self.0.kinds.iter().map(|(_, config)| config.base_dn.as_str()).collect();
        let find = || BoundEntry::find(directory, &self.0.connection.auth, &dns);
        match self.0.bound.get_or_try_init(find).await {
            Ok(bound) => Ok(bound.is(entry, directory)),
            Err(error) if error.kind == WriteErrorKind::Internal => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the rule of a kind.
    ///
    /// # Errors
    /// The kind is not configured, or its rule does not fit the server.
    pub(crate) fn rule(&self, kind: ResourceKind, directory: &Directory) -> Result<KindRule, WriteError> {
        let config = self.config(kind).ok_or_else(|| {
            let detail = format!("the service has no setting `{}`", kind.stream());
            WriteError::new(WriteErrorKind::Disabled, detail)
        })?;
        KindRule::new(kind, config, directory, &self.0.connection).map_err(|e| refusal::of_settings(&e))
    }

    /// Returns the member of groups that would have none, which their class forbids. It is not a real member.
    ///
    /// # Errors
    /// As [`Self::upsert`] for groups.
    pub fn placeholder(&self, directory: &Directory) -> Result<Option<String>, WriteError> {
        Ok(self.rule(ResourceKind::Groups, directory)?.placeholder())
    }

    /// Begins a change set, once the journals of killed processes are recovered.
    ///
    /// # Errors
    /// The journal cannot be written: nothing may be changed.
    pub(crate) async fn begin(
        &self,
        label: &'static str,
        directory: &Directory,
    ) -> Result<ChangeSet, WriteError> {
        let folder = self.undo_dir()?;
        self.recover(folder, directory).await;
        Ok(ChangeSet::begin(folder, label, directory).await?.owing(self.0.state.owed.clone()))
    }

    async fn recover(&self, folder: &Path, directory: &Directory) {
        let recover = || change_set::recover(self, folder, directory);
        self.0.state.recovered.get_or_init(recover).await;
    }

    /// Recovers the journals of killed processes as soon as the directory is open: what is half done must not wait for the next write. Then
    /// finds out what is protected, and warns of settings that protect nothing. The locks of accounts that killed processes owe are tried
    /// again until they are written. The writer is that of a configuration which counts: it takes this over from the one before.
    pub(crate) fn recover_when_open(&self, opened: impl Future<Output = Option<Directory>> + Send + 'static) {
        let writer = self.clone();
        tokio::spawn(async move {
            if let (Some(directory), Some(folder)) = (opened.await, &writer.0.undo_dir) {
                writer.recover(folder, &directory).await;
                // The next write tries again.
                let _ = writer.protection(&directory).await;
                owed::pay(&writer, folder, &directory).await;
            }
        });
    }

    /// Whether locks of accounts are owed.
    pub(crate) fn owes_locks(&self) -> bool {
        !self.0.state.owed.is_empty()
    }

    /// Returns the servers of the directory.
    pub(super) fn servers(&self) -> &[ServerUrl] {
        &self.0.connection.servers
    }

    /// Runs a write in a task of its own: if its caller goes away, it is still done, and its undo file is made.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, WriteError>> + Send + 'static,
    ) -> Result<T, WriteError> {
        let state = self.0.state.clone();
        let task = observe::spawn(async move {
            let _in_progress = state.in_progress.read().await;
            let _permit = state.permits.acquire().await;
            work.await
        });
        task.await.unwrap_or_else(|_| {
            let detail = "internal error; read the entry before the request is sent again";
            Err(WriteError::new(WriteErrorKind::OutcomeUnknown, detail))
        })
    }

    /// Adds an entry, or changes an existing one to be as the record says. Attributes that the record does not have are left
    /// alone.
    ///
    /// # Errors
    /// The record is not valid, the entry is protected, a value is taken, a guard or the server refuses, or the undo file cannot
    /// be written. [`WriteErrorKind::OutcomeUnknown`]: the change may have been made.
    pub async fn upsert(
        &self,
        directory: &Directory,
        kind: ResourceKind,
        record: Map<String, Value>,
        subject: Subject,
        options: WriteOptions,
    ) -> Result<WriteOutcome, WriteError> {
        let (writer, directory) = (self.clone(), directory.own_values());
        let work = Box::pin(async move {
            Box::pin(upsert::upsert(&writer, &directory, kind, record, subject, options)).await
        });
        reference::note(self.detached(work).await)
    }

    /// Does to an entry what the rule's `on_delete` says: deletes it, moves it, or sets values.
    ///
    /// # Errors
    /// As [`Self::upsert`]. An entry with others below it is [`WriteErrorKind::NotEmpty`] unless the rule says `tree`.
    pub async fn delete(
        &self,
        directory: &Directory,
        kind: ResourceKind,
        entry: EntryRef,
        options: WriteOptions,
    ) -> Result<WriteOutcome, WriteError> {
        let (writer, directory) = (self.clone(), directory.own_values());
        let work =
            Box::pin(
                async move { Box::pin(upsert::delete(&writer, &directory, kind, &entry, options)).await },
            );
        reference::note(self.detached(work).await)
    }

    /// Adds and removes single values of one existing entry, without reading the others: for groups of 50,000 members.
    ///
    /// `changes` are [`Change::Modify`] of this entry. A value to be added that exists, and a value to be removed that does not,
    /// are left out. An attribute of the entry's RDN, `objectClass`, and secret or operational attributes are refused.
    ///
    /// # Errors
    /// As [`Self::upsert`].
    pub async fn apply(
        &self,
        directory: &Directory,
        kind: ResourceKind,
        entry: EntryRef,
        changes: Vec<Change>,
        options: WriteOptions,
    ) -> Result<WriteOutcome, WriteError> {
        let (writer, directory) = (self.clone(), directory.own_values());
        let work = async move { values::apply(&writer, &directory, kind, &entry, changes, options).await };
        reference::note(self.detached(work).await)
    }

    /// Returns the identifier of an entry; `None` if the server shows none.
    pub(crate) async fn id_of(directory: &Directory, dn: &str) -> Option<EntryId> {
        let entry = directory.read(dn, EntryId::attributes(directory)).await.ok().flatten()?;
        EntryId::of(&entry, directory)
    }
}
