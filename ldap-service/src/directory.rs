//! The directory of the service: opened in the background, so that the service starts and answers while the directory is down.

use std::sync::Arc;
use std::time::Duration;

use ldap_directory::{Access, Directory, DirectoryConfig, DirectoryError};
use singer_common::operations::error::{Classified as _, full_text};
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
    /// With what does not fit its schema.
    Open(Directory, Option<Arc<str>>),
}

/// The directory, which may not be open yet.
#[derive(Debug)]
pub struct DirectoryHandle {
    state: watch::Receiver<State>,
    opening: JoinHandle<()>,
    /// What was found out about the rights of the service's user.
    pub(crate) rights: Remembered,
}

impl Drop for DirectoryHandle {
    fn drop(&mut self) {
        self.opening.abort();
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
                        let misfit = filters.misfit(&directory).map(Arc::from);
                        sender.send_replace(State::Open(directory.clone(), misfit));
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
        Self { state, opening, rights: Remembered::default() }
    }

    /// Returns the directory. It reconnects by itself.
    ///
    /// # Errors
    /// 503 if it was not open yet; 500 if a filter of the configuration can match none of its entries.
    pub fn get(&self) -> Result<Directory, ApiError> {
        match &*self.state.borrow() {
            State::Open(directory, None) => Ok(directory.clone()),
            State::Open(_, Some(misfit)) => {
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
            State::Open(directory, _) => Some(directory.clone()),
            State::Opening | State::Failed(_) => None,
        }
    }

    /// Returns why the directory is not open; `None` if it is open.
    pub fn trouble(&self) -> Option<String> {
        match &*self.state.borrow() {
            State::Open(..) => None,
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
                State::Open(directory, _) => Some(directory.clone()),
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
