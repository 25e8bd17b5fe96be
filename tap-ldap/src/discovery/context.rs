//! What is known about the directory of a run: its containers, classes and identity attributes, and passes over its DNs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ldap_directory::dn::DnKey;
use ldap_directory::schema::syntax::ValueKind;
use ldap_directory::{Directory, DirectoryError, MATCH_ALL, Scope, Vendor};
use tokio::sync::{Mutex, OnceCell};

use crate::config::{TapConfig, Verify};
use crate::discovery::census::{Census, ReadStrategy};
use crate::discovery::classes::{self, ClassStream, HiddenEntries};
use crate::discovery::containers::{self, Containers};
use crate::discovery::dn;
use crate::discovery::identity::IdentityAttributes;
use crate::discovery::non_leaf::{self, NonLeafEntries};
use crate::discovery::source::Source;

/// The operational attribute that says whether an entry has subordinates (X.501). OpenLDAP and 389 DS have it, Active
/// Directory does not.
pub(crate) const HAS_SUBORDINATES: &str = "hasSubordinates";

/// The operational attributes that count immediate subordinates (389 DS; Active Directory: [MS-ADA2] 2.450).
const SUBORDINATE_COUNTS: &[&str] = &["numSubordinates", "msDS-Approx-Immed-Subordinates"];

/// What all streams of a run share.
#[derive(Debug)]
pub struct DirectoryContext {
    /// The directory, without the subtrees that are left out (`exclude_base_dns`).
    pub directory: Directory,
    /// The directory with them: for logs of changes, which say where an entry went.
    pub(crate) whole: Directory,
    /// A hash of the account that reads; empty for a file.
    pub account: String,
    /// The base DN.
    pub base: String,
    /// Its containers; empty if containers are not streams.
    pub containers: Containers,
    /// Its structural classes; empty if classes are not streams.
    pub classes: Vec<ClassStream>,
    /// The attributes that identify entries and that mark changes.
    pub ids: IdentityAttributes,
    /// Whether whole reads are verified.
    pub verify: Verify,
    /// The streams whose filters ask for something that the directory does not know.
    pub doubtful_filters: BTreeSet<String>,
    /// Whether the base entry has [`HAS_SUBORDINATES`].
    reports_subordinates: bool,
    /// Read on first use; `None` if there are too many.
    non_leaf: OnceCell<Option<NonLeafEntries>>,
    /// Read before the first whole read that needs it.
    census: Mutex<CensusState>,
    /// Read at the first whole read.
    hidden: OnceCell<HiddenEntries>,
    /// How far the server was when a stream asked last.
    pub(crate) marks: Mutex<Option<ServerMarks>>,
}

/// How far a server was at some time: its changes by the servers that made them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerMarks {
    pub(crate) server: String,
    pub(crate) naming_context: String,
    pub(crate) marks: BTreeMap<String, String>,
}

/// Whether the DNs below the base were counted.
#[derive(Debug, Clone, Default)]
enum CensusState {
    /// Not yet.
    #[default]
    Unread,
    /// One pass over them is complete.
    Counted(Arc<Census>),
    /// The server refused by a limit, and would refuse again.
    Refused,
}

impl DirectoryContext {
    /// Looks up what the streams are made of.
    ///
    /// # Errors
    /// Fails if the server does not answer, or refuses one of the searches.
    pub async fn find(
        config: &TapConfig,
        directory: &Directory,
        base: &str,
    ) -> Result<DirectoryContext, DirectoryError> {
        let discovers = config.schemas.is_empty();
        let ids = IdentityAttributes::find(config, directory, base).await.map_err(containers::absent_base)?;
        let (containers, reports_subordinates) = if discovers && config.discover_by.containers() {
            let base_entry = directory.read(base, &[HAS_SUBORDINATES]).await?;
            let reports = base_entry.is_some_and(|e| e.attribute(HAS_SUBORDINATES).is_some());
            (Containers::find(directory, base).await?, reports)
        } else {
            (Containers::default(), false)
        };
        let classes = if discovers && config.discover_by.classes() {
            classes::find(directory, base).await?
        } else {
            Vec::new()
        };
        Ok(DirectoryContext {
            directory: directory.clone(),
            whole: directory.whole(),
            account: String::new(),
            base: base.to_owned(),
            containers,
            classes,
            ids,
            verify: config.verify,
            doubtful_filters: BTreeSet::new(),
            reports_subordinates,
            non_leaf: OnceCell::new(),
            census: Mutex::default(),
            hidden: OnceCell::new(),
            marks: Mutex::default(),
        })
    }

    /// Returns whether an entry lies in a subtree that is left out.
    pub(crate) fn is_excluded(&self, dn: &str) -> bool {
        self.directory.excluded().is_some_and(|excluded| excluded.has_dn(dn))
    }

    /// Returns whether the server says of each entry whether it has subordinates.
    pub(crate) fn reports_subordinates(&self) -> bool {
        self.reports_subordinates
    }

    /// Returns the entries that are in no class stream because the bound user may not see their classes. Looked up once in a
    /// run, with one warning. Empty if `verify` is `never`, or if the server cannot return such entries.
    ///
    /// # Errors
    /// Fails if the server does not answer. A limit of the server is only a warning.
    pub async fn hidden_entries(&self) -> Result<&HiddenEntries, DirectoryError> {
        let find = || async {
            if self.classes.is_empty()
                || self.verify == Verify::Never
                || !self.directory.root_dse().finds_without_class()
            {
                return Ok(HiddenEntries::default());
            }
            let hidden = match classes::hidden_entries(&self.directory, &self.base, &self.classes).await {
                // Each class may still be within the limit.
                Err(e) if e.is_limit() => {
                    tracing::warn!(
                        "the server refuses to list the names of all entries ({e}): whether there are some whose objectClass the bound user may not see, and which are in no stream, is not known"
                    );
                    HiddenEntries::default()
                }
                hidden => hidden?,
            };
            if hidden.count > 0 {
                tracing::warn!(
                    books_differ = hidden.count,
                    "{} entries are in no stream of a class (the first is `{}`): the bound user may not see their objectClass. Let it search and read objectClass, or read by containers (discover_by)",
                    hidden.count,
                    hidden.first.as_deref().unwrap_or_default()
                );
            }
            Ok(hidden)
        };
        self.hidden.get_or_try_init(find).await
    }

    /// Returns [`Self::hidden_entries`] if they were looked up.
    pub fn known_hidden_entries(&self) -> Option<&HiddenEntries> {
        self.hidden.get()
    }

    /// Returns the number of entries of a source, if one entry says it: 389 DS counts immediate subordinates, Active Directory
    /// estimates them. `None` if the server does not count them, or if a filter applies.
    pub async fn expected(&self, source: &Source) -> Option<u64> {
        let dn = match source {
            Source::Container { dn } => dn,
            Source::Search(s) if s.scope == Scope::OneLevel && s.filter == MATCH_ALL => {
                s.base_dn.as_ref().unwrap_or(&self.base)
            }
            _ => return None,
        };
        let entry = self.directory.read(dn, SUBORDINATE_COUNTS).await.ok()??;
        SUBORDINATE_COUNTS.iter().find_map(|name| entry.first_text(name)?.parse().ok())
    }

    /// Returns the identity of this server among those that hold the same directory. Local counters, such as USNs, are only
    /// valid together with it.
    ///
    /// # Errors
    /// Fails if the server does not answer.
    pub async fn local_identity(&self) -> Result<String, DirectoryError> {
        if self.directory.root_dse().vendor != Vendor::ActiveDirectory {
            return Ok(self.directory.location().to_owned());
        }
        // [MS-ADTS] 3.1.1.1.9: the invocation id of the database; restoring the database changes it.
        let root = self.directory.read("", &["dsServiceName"]).await?.unwrap_or_default();
        let service = root.first_text("dsServiceName").unwrap_or_default().to_owned();
        let settings = match self.directory.read(&service, &["invocationId"]).await {
            Ok(entry) => entry.unwrap_or_default(),
            // The bound user may lack the right to read it: the server's name is used instead.
            Err(e) if e.code().is_some() => return Ok(service),
            Err(e) => return Err(e),
        };
        let mut id = Vec::new();
        let written = settings.values("invocationId").first().map(|v| ValueKind::Guid.write_json(v, &mut id));
        Ok(if matches!(written, Some(Ok(()))) { String::from_utf8_lossy(&id).into_owned() } else { service })
    }

    /// Returns the entries below containers that are not containers and have subordinates. Looked up once in a run; `None` if
    /// there are too many to keep in memory.
    ///
    /// # Errors
    /// Fails if the server does not answer.
    pub async fn non_leaf_entries(&self) -> Result<Option<&NonLeafEntries>, DirectoryError> {
        let find = || NonLeafEntries::find(&self.directory, &self.base, &self.containers, non_leaf::MOST);
        Ok(self.non_leaf.get_or_try_init(find).await?.as_ref())
    }

    /// Returns the census of the DNs below the base. Read once in a run, before the first whole read that needs it. `None`, with
    /// one warning, if the server refuses to list all of them by a limit; each container may still be within the limit.
    ///
    /// # Errors
    /// Fails if the server does not answer.
    pub async fn census(&self) -> Result<Option<Arc<Census>>, DirectoryError> {
        let mut slot = self.census.lock().await;
        match &*slot {
            CensusState::Counted(census) => return Ok(Some(census.clone())),
            CensusState::Refused => return Ok(None),
            CensusState::Unread => {}
        }
        match Census::read(&self.directory, &self.base, &self.containers).await {
            Ok(census) => {
                let census = Arc::new(census);
                *slot = CensusState::Counted(census.clone());
                Ok(Some(census))
            }
            Err(e) if e.is_limit() => {
                tracing::warn!(
                    "the server refuses to list the names of all entries ({e}): containers with others nested in them are read level by level, where an entry below a parent that the bound user may not see is missed. So their streams are not complete: no ACTIVATE_VERSION is sent for them and nothing is deleted downstream. Let the bound user list all names: by pages (page_size above 0), or by a higher limit",
                );
                *slot = CensusState::Refused;
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Returns the census if it was read.
    pub async fn known_census(&self) -> Option<Arc<Census>> {
        match &*self.census.lock().await {
            CensusState::Counted(census) => Some(census.clone()),
            CensusState::Unread | CensusState::Refused => None,
        }
    }

    /// Returns whether the server refused to list all DNs.
    pub async fn is_census_refused(&self) -> bool {
        matches!(*self.census.lock().await, CensusState::Refused)
    }

    /// Returns whether a stream is read by one search, which returns all of it or fails.
    ///
    /// # Errors
    /// Fails if a container's DN is not valid.
    pub fn is_one_search(&self, source: &Source) -> Result<bool, DirectoryError> {
        Ok(match source {
            Source::Container { dn } => !self.containers.has_nested(&dn::key(dn, self.directory.schema())?),
            Source::Members(of) => self.is_one_search(of)?,
            Source::Containers | Source::Class { .. } | Source::Search(_) => true,
        })
    }

    /// Discards the census before a whole read whose later reads continue from a position taken now: an entry that was added
    /// below another one since the census would never be read. Not needed if the server reports subordinates of each entry.
    ///
    /// # Errors
    /// Fails if a container's DN is not valid.
    pub async fn prepare_for_position(&self, source: &Source) -> Result<(), DirectoryError> {
        if !self.reports_subordinates && !self.is_one_search(source)? {
            let mut census = self.census.lock().await;
            if matches!(*census, CensusState::Counted(_)) {
                *census = CensusState::Unread;
            }
        }
        Ok(())
    }

    /// Returns whether a container with nested containers was read as one subtree, and not level by level.
    ///
    /// # Errors
    /// Fails if the container's DN is not valid.
    pub async fn reads_subtree(&self, source: &Source) -> Result<bool, DirectoryError> {
        let (Source::Container { dn }, Some(census)) = (source, self.known_census().await) else {
            return Ok(false);
        };
        let key = dn::key(dn, self.directory.schema())?;
        Ok(self.containers.has_nested(&key) && matches!(census.strategy(&key), ReadStrategy::Subtree))
    }

    /// Returns whether all entries of a container with nested containers are its immediate subordinates, so that a search of
    /// one level returns all of them and no others.
    ///
    /// # Errors
    /// Fails if the server does not answer.
    pub async fn is_flat(&self, container: &DnKey) -> Result<bool, DirectoryError> {
        if let Some(census) = self.known_census().await {
            return Ok(
                matches!(census.strategy(container), ReadStrategy::Levels(non_leaf) if non_leaf.is_empty()),
            );
        }
        if self.is_census_refused().await {
            return Ok(false);
        }
        match self.non_leaf_entries().await {
            // The whole subtree is searched then.
            Err(e) if e.is_limit() => Ok(false),
            entries => {
                Ok(entries?.is_some_and(|entries| entries.below(container, &self.containers).is_empty()))
            }
        }
    }
}
