//! The directory of the service: opened in the background, so that the service starts and answers while the directory is down. A file is read
//! again when another program has changed it.

use std::sync::Arc;
use std::time::Duration;

use ldap_directory::file::Stamp;
use ldap_directory::ldif::LdifDirectory;
use ldap_directory::{Access, Directory, DirectoryConfig, DirectoryError};
use singer_common::operations::error::{Classified as _, full_text};
use singer_common::operations::secret::learn;
use singer_common::plugin::directory_settings;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::ApiError;
use crate::fit::OwnFilters;
use crate::unseen::Remembered;

/// The pause after the first failure; each doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// The pause between two checks of the open connection.
const CHECK: Duration = Duration::from_secs(4);
/// The longest time of a check: of the smallest search that there is.
const CHECK_TIME: Duration = Duration::from_secs(3);
/// The pause between two looks at a file. One that another program writes is read once it is the same at two of them.
const LOOK: Duration = Duration::from_millis(300);

/// Looks now and then whether the connection still answers, and opens another one if not: a firewall that dropped it says nothing, and
/// requests alone would wait for their time limit, each anew. It also keeps the connection from being closed as idle (Active Directory:
/// 900 s).
async fn keep(directory: &Directory) {
    let Directory::Ldap(server) = directory else { return };
    loop {
        tokio::time::sleep(CHECK).await;
        match tokio::time::timeout(CHECK_TIME, directory.read("", &["1.1"])).await {
            // The library's own limit may be the shorter one.
            Err(_) | Ok(Err(DirectoryError::Timeout { .. })) => {}
            // Another error is not silence: the library restores what was lost.
            Ok(_) => continue,
        }
        tracing::warn!(
            server = directory.location(),
            "the directory's connection is silent; another one is opened"
        );
        if let Err(error) = server.reconnect().await {
            tracing::warn!("{}", full_text(&error));
        }
    }
}

/// Where the opening of the directory is.
#[derive(Debug, Clone)]
enum State {
    Opening,
    Failed(Arc<str>),
    Open(Opened),
}

/// A directory that is open.
#[derive(Debug, Clone)]
struct Opened {
    directory: Directory,
    /// What does not fit its schema.
    misfit: Option<Arc<str>>,
    /// Why its file, which another program has changed, cannot be read again: what it was before is served, and not written to.
    outdated: Option<Arc<str>>,
}

impl Opened {
    fn new(directory: Directory, filters: &OwnFilters) -> Self {
        let misfit = filters.misfit(&directory).map(Arc::from);
        Self { directory, misfit, outdated: None }
    }
}

/// Reads a file again that another program has changed. The content before stays if the new one cannot be read, is not whole, or has no entry.
async fn read_again(config: &DirectoryConfig) -> Result<Directory, String> {
    let directory = Directory::open(config, Access::WRITE).await.map_err(|e| full_text(&e))?;
    learn(&directory);
    if let Some(shortfall) = directory.shortfalls().first() {
        return Err(format!("{} is not whole: {shortfall}", directory.location()));
    }
    if directory.root_dse().naming_contexts.is_empty() {
        return Err(format!("{} is not there, or has no entry", directory.location()));
    }
    Ok(directory)
}

/// Looks again and again whether another program has changed a file, and reads it then.
async fn follow(
    file: LdifDirectory,
    config: &DirectoryConfig,
    filters: &OwnFilters,
    sender: &watch::Sender<State>,
) {
    let mut file = file;
    // The stamp of the last look, and that of a file that cannot be read.
    let (mut seen, mut refused): (Option<Stamp>, Option<Stamp>) = (None, None);
    let current = |file: &LdifDirectory| Opened::new(Directory::Ldif(file.clone()), filters);
    let keep = |file: &LdifDirectory, reason: String| {
        tracing::error!(
            setting = "server_url",
            "another program has changed {}, which cannot be read now: {reason}; what it was before is served, nothing is written, and the service is not ready until it is whole again",
            file.location()
        );
        let before = current(file);
        let directory = before.directory.reader();
        sender.send_replace(State::Open(Opened { directory, outdated: Some(reason.into()), ..before }));
    };
    loop {
        tokio::time::sleep(LOOK).await;
        let is_outdated = refused.is_some();
        match file.changed_by_others() {
            Ok(None) => {
                (seen, refused) = (None, None);
                if is_outdated {
                    tracing::info!("{} is again as it was read", file.location());
                    sender.send_replace(State::Open(current(&file)));
                }
            }
            Ok(now) if now == refused => {}
            Ok(now) if now != seen => seen = now,
            Ok(now) => match read_again(config).await {
                Ok(Directory::Ldif(new)) => {
                    // It is not looked at: it may have been changed once more.
                    if Some(new.stamp()) != now {
                        continue;
                    }
                    tracing::info!("{} was changed by another program, and is read again", file.location());
                    sender.send_replace(State::Open(current(&new)));
                    (file, seen, refused) = (new, None, None);
                }
                Ok(_) => return,
                Err(reason) => {
                    refused = now;
                    keep(&file, reason);
                }
            },
            Err(error) if seen.is_some() || !is_outdated => {
                (seen, refused) = (None, Some(Stamp::ABSENT));
                keep(&file, error.to_string());
            }
            Err(_) => {}
        }
    }
}

/// The directory, which may not be open yet.
#[derive(Debug)]
pub struct DirectoryHandle {
    state: watch::Receiver<State>,
    /// What opens it; `None`: another one does.
    opening: Option<JoinHandle<()>>,
    /// What was found out about the rights of the service's user.
    pub(crate) rights: Remembered,
    /// The same about many entries. It takes longer, and no login waits for it.
    pub(crate) rights_of_many: Remembered,
}

impl Drop for DirectoryHandle {
    fn drop(&mut self) {
        if let Some(opening) = &self.opening {
            opening.abort();
        }
    }
}

impl DirectoryHandle {
    /// Begins to open a directory. It is tried again until it succeeds. `filters`: those of the configuration.
    pub(crate) fn open(config: &DirectoryConfig, filters: OwnFilters) -> Self {
        let (sender, state) = watch::channel(State::Opening);
        // Not without attempts: those restore a connection that was lost.
        let config = config.clone();
        let opening = tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            let mut told = String::new();
            loop {
                // Written only by `write`. With read access, another server could not take over.
                match directory_settings::open(&config, Access::WRITE).await {
                    Ok(directory) => {
                        tracing::info!(server = directory.location(), "the directory is open");
                        sender.send_replace(State::Open(Opened::new(directory.clone(), &filters)));
                        if let Directory::Ldif(file) = directory {
                            return follow(file, &config, &filters, &sender).await;
                        }
                        return keep(&directory).await;
                    }
                    Err(error) => {
                        let reason = full_text(&error);
                        if reason != told {
                            error
                                .facts()
                                .error(&format!("{reason}; the service answers 503 until it is there"));
                            told.clone_from(&reason);
                        }
                        sender.send_replace(State::Failed(reason.into()));
                    }
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        });
        Self {
            state,
            opening: Some(opening),
            rights: Remembered::default(),
            rights_of_many: Remembered::default(),
        }
    }

    /// Returns the same directory, as long as this one is there.
    pub(crate) fn shared(&self) -> Self {
        Self {
            state: self.state.clone(),
            opening: None,
            rights: Remembered::default(),
            rights_of_many: Remembered::default(),
        }
    }

    /// Returns the directory. It reconnects by itself.
    ///
    /// # Errors
    /// 503 if it was not open yet; 500 if a filter of the configuration can match none of its entries.
    pub fn get(&self) -> Result<Directory, ApiError> {
        match &*self.state.borrow() {
            State::Open(Opened { directory, misfit: None, .. }) => Ok(directory.clone()),
            State::Open(Opened { misfit: Some(misfit), .. }) => {
                let detail = format!("the service's settings do not fit the directory: {misfit}");
                let status = http::StatusCode::INTERNAL_SERVER_ERROR;
                Err(ApiError::new(status, "misconfigured", detail))
            }
            State::Opening | State::Failed(_) => Err(ApiError::directory_unavailable()),
        }
    }

    /// Returns the directory, if it is open, whether or not the configuration fits it: for checks.
    pub fn any(&self) -> Option<Directory> {
        match &*self.state.borrow() {
            State::Open(opened) => Some(opened.directory.clone()),
            State::Opening | State::Failed(_) => None,
        }
    }

    /// Returns why the directory is not open, or not as it is now; `None` if it is open.
    pub fn trouble(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Open(opened) => opened.outdated.as_deref().map(str::to_owned),
            State::Opening => Some("the directory is being opened".to_owned()),
            State::Failed(reason) => Some(reason.to_string()),
        }
    }

    /// Waits until it is open, and returns it; `None` if nothing opens it any more.
    pub fn opened(&self) -> impl Future<Output = Option<Directory>> + Send + 'static {
        let mut state = self.state.clone();
        async move {
            let state = state.wait_for(|state| matches!(state, State::Open(..))).await.ok()?;
            match &*state {
                State::Open(opened) => Some(opened.directory.clone()),
                State::Opening | State::Failed(_) => None,
            }
        }
    }

    /// Waits until the first attempt has ended, at most this long.
    pub async fn first_attempt(&self, patience: Duration) {
        let mut state = self.state.clone();
        let ended = state.wait_for(|state| !matches!(state, State::Opening));
        let _ = tokio::time::timeout(patience, ended).await;
    }
}
