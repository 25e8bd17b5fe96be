//! `LOG_BASED` by content synchronization (RFC 4533): OpenLDAP, 389 Directory Server, and other servers that support it.

use std::collections::HashSet;
use std::io::Write;
use std::time::Duration;

use ldap_directory::client::content_sync::{EndCode, SyncItem, SyncState};
use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::protocol::result_code;
use ldap_directory::{DirectoryError, Scope, SearchRequest, Vendor};
use serde_json::Value;
use singer_common::operations::summary::{self, Count};
use uuid::Uuid;

use crate::discovery::dn;
use crate::discovery::source::Source;
use crate::output::Output;
use crate::replication::bookmark::announce_resync;
use crate::replication::conclude::conclude;
use crate::replication::container_renames::{self, ContainerNames};
use crate::replication::fingerprint::Fingerprint;
use crate::replication::log_bookmark::LogBookmark;
use crate::replication::stream_run::{StreamRun, new_version};
use crate::replication::undecided::{self, Judged};
use crate::replication::{full, moved_out, witness};

mod refresh;

pub(crate) use refresh::{run, server};

/// Part of OpenLDAP's diagnostic message (servers/slapd/overlays/syncprov.c) to a consumer that is ahead of the server.
const NEWER: &str = "newer than provider";

/// How long a server may need to add a change to its log, after it is visible or was announced.
pub(crate) const LOG_DELAY: Duration = Duration::from_millis(500);

/// A stream that follows the server's log.
pub(crate) struct ContentSyncStream<'a> {
    pub run: StreamRun<'a>,
    fingerprint: Fingerprint,
    /// `None` if everything must be read.
    cookie: Option<Vec<u8>>,
    /// A cookie received in a refresh, which is valid from the end of the refresh: 389 DS sends the last one before the entries
    /// that it covers.
    next_cookie: Option<Vec<u8>>,
    names: ContainerNames,
    /// On 389 DS: the stream's filter, which is evaluated here.
    own_filter: Option<Filter>,
    /// The base, scope and attributes of the last request.
    base: String,
    scope: Scope,
    attributes: Vec<String>,
    /// The ids of entries that the log reported as deleted since the last cookie. They may have been moved out of the stream.
    left: Vec<String>,
}

/// How renamed containers are found at the end of a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renames {
    /// By a search for all containers: also those that are not in the stream.
    Search,
    /// By the log alone, which reports those of the stream; the others are found by a later search.
    FromLog,
}

/// What follows from an item of a content synchronization search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SyncAction {
    /// Read the next item.
    Continue,
    /// The refresh phase is complete: the stream is up to date.
    Refreshed,
    /// The search is complete.
    Ended,
    /// The server's log is not sufficient: everything must be read again, for this reason.
    Resync(String),
}

impl<'a> ContentSyncStream<'a> {
    /// Reads the stream's bookmark and prints its SCHEMA.
    pub(crate) fn begin<W: Write>(
        mut run: StreamRun<'a>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<Self> {
        let fingerprint = Fingerprint::of(run.context, run.source, &run.attributes(&[]), "RFC 4533", "");
        let old = LogBookmark::begin(&mut run, output, &fingerprint)?;
        let cookie = old.as_ref().map(|b| b.cookie(&run.stream.tap_stream_id)).transpose()?;
        let mut stream = Self {
            run,
            fingerprint,
            cookie,
            next_cookie: None,
            names: old.map(|o| o.containers).unwrap_or_default(),
            own_filter: None,
            base: String::new(),
            scope: Scope::Subtree,
            attributes: Vec::new(),
            left: Vec::new(),
        };
        if let Some(cookie) = &stream.cookie
            && !stream.may_be_cookie(cookie)
        {
            stream.start_over("its cookie is none that this server gives");
        }
        // The log does not name entries that were added and deleted since the cookie; the killed run may have emitted them.
        if stream.cookie.is_some() && stream.is_389() && stream.run.is_unsettled() {
            stream.start_over(
                "the last run ended before its last STATE, and this server's log does not name entries that came and went since",
            );
        }
        Ok(stream)
    }

    /// Returns whether a server of this kind may have sent a cookie. OpenLDAP treats an invalid cookie as none, and returns
    /// every entry as if it had changed: deletions since then would be missed.
    fn may_be_cookie(&self, cookie: &[u8]) -> bool {
        let is_csn = |cookie: &[u8]| cookie.windows(4).any(|part| part == b"csn=");
        !cookie.is_empty()
            && (self.run.context.directory.root_dse().vendor != Vendor::OpenLdap || is_csn(cookie))
    }

    /// Returns whether everything must be read.
    pub(crate) fn needs_full_read(&self) -> bool {
        self.cookie.is_none()
    }

    /// Returns whether the server is a 389 DS.
    pub(crate) fn is_389(&self) -> bool {
        self.run.context.directory.root_dse().vendor == Vendor::Ds389
    }

    /// Discards the position: everything must be read, as a new version.
    pub(crate) fn start_over(&mut self, why: &str) {
        announce_resync(&self.run.stream.tap_stream_id, why);
        self.run.version = Some(new_version(self.run.version));
        self.cookie = None;
        self.names = ContainerNames::new();
        self.left.clear();
    }

    /// Reads everything. The position is taken first, so that the next run repeats changes made meanwhile. A refresh without a
    /// cookie does not replace this: slapd leaves out of it what was written after it started, and it is not paged.
    pub(crate) async fn read_all<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let server = self.run.context.directory.serving();
        let position = self.position_now(output).await?;
        // Entries that are renamed during the read are found by the container names before it.
        self.names = container_renames::find_renamed(&self.run, &ContainerNames::new()).await?.0;
        let completeness = full::entries(&mut self.run, output).await?;
        self.run.has_read_all = completeness.has_read_all();
        self.run.check_server(&server)?;
        let version = self.run.version;
        if Box::pin(conclude(&mut self.run, version, &completeness, output)).await? {
            self.run.emit_deletions(output)?;
        } else {
            self.run.forget_ids();
        }
        self.emit_renamed(output).await?;
        self.run.caught_up()?;
        self.cookie = Some(position);
        self.set_bookmark(output)
    }

    /// Handles an item of the search.
    pub(crate) async fn handle_item<W: Write>(
        &mut self,
        item: SyncItem,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<SyncAction> {
        match item {
            SyncItem::Entry { state: SyncState::Present, .. } | SyncItem::Set { deleted: false, .. } => {
                return Ok(SyncAction::Resync(
                    "the server's log no longer reaches back to the bookmark".into(),
                ));
            }
            SyncItem::Entry { state: SyncState::Changed, uuid, entry } => {
                summary::add(Count::Entries, 1);
                self.changed(uuid, entry, output).await?;
            }
            SyncItem::Entry { state: SyncState::Deleted, uuid, entry } => {
                let dn = Some(entry.dn.as_str()).filter(|dn| !dn.is_empty());
                self.have_left(&[uuid], dn, output).await?;
            }
            SyncItem::Set { deleted: true, uuids } => self.have_left(&uuids, None, output).await?,
            SyncItem::Cookie(cookie) => {
                if !self.run.has_caught_up() {
                    self.next_cookie = Some(cookie);
                    return Ok(SyncAction::Continue);
                }
                // The cookie covers these.
                self.emit_below_deleted(output).await?;
                self.cookie = Some(cookie);
                if output.is_due() {
                    self.set_bookmark(output)?;
                    output.save()?;
                }
            }
            // 389 DS always names deleted entries, or requires a refresh. It only does not say so.
            SyncItem::PhaseEnd { names_deleted: false, .. } if !self.is_389() => {
                return Ok(SyncAction::Resync(
                    "the server's log no longer reaches back to the bookmark".into(),
                ));
            }
            SyncItem::PhaseEnd { complete, .. } => {
                if complete {
                    self.adopt_cookie();
                }
                return Ok(if complete { SyncAction::Refreshed } else { SyncAction::Continue });
            }
            // It refers to another server: nothing is concluded from the absence of its entries.
            SyncItem::Reference(_) => {}
            // Its record downstream stays as it is.
            SyncItem::Unreadable(dn) => self.run.context.directory.note_unreadable(&dn),
            SyncItem::End(Ok(())) => {
                self.adopt_cookie();
                return Ok(SyncAction::Ended);
            }
            SyncItem::End(Err(end)) => return self.handle_error(end),
        }
        Ok(SyncAction::Continue)
    }

    /// Makes the cookie of a completed refresh the position.
    fn adopt_cookie(&mut self) {
        if self.next_cookie.is_some() {
            self.cookie = self.next_cookie.take();
        }
    }

    /// Returns a changed entry as a search of the stream would; `None` if it was deleted, or if another entry has its DN now,
    /// which the log also reports. 389 DS sends only user attributes, whatever was requested. In the persist phase an item
    /// may arrive after a rename above it, with the old DN, and after its records were emitted with the new one.
    async fn read_whole(&self, uuid: Uuid, entry: Entry) -> anyhow::Result<Option<Entry>> {
        if !self.is_389() {
            let is_late = self.run.has_caught_up() && !container_renames::is_below_known(&entry, &self.names);
            return if is_late { self.read_by_uuid(uuid).await } else { Ok(Some(entry)) };
        }
        let names: Vec<&str> = self.attributes.iter().map(String::as_str).collect();
        let read = self.run.context.whole.read(&entry.dn, &names).await?;
        Ok(read.filter(|read| self.run.key_of(read) == [self.key(uuid)]))
    }

    /// Returns an entry of the stream as it is now.
    async fn read_by_uuid(&self, uuid: Uuid) -> anyhow::Result<Option<Entry>> {
        let filter = Filter::equality("entryUUID", uuid.hyphenated().to_string()).to_string();
        let attributes: Vec<&str> = self.attributes.iter().map(String::as_str).collect();
        let request = SearchRequest::new(self.base.as_str(), self.scope, filter, &attributes);
        let mut search = self.run.context.whole.search(request.repeating()).await?;
        match search.next_entry().await {
            Err(e) if e.is_no_such_object() => Ok(None),
            entry => Ok(entry?),
        }
    }

    async fn changed<W: Write>(
        &mut self,
        uuid: Uuid,
        entry: Entry,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let Some(entry) = self.read_whole(uuid, entry).await? else { return Ok(()) };
        let mut of_stream = self.run.contains(&entry)?;
        if of_stream
            && let Some(filter) = self.own_filter.clone()
            && filter.matches(&entry, self.run.schema()) != Some(true)
        {
            // The server knows what the entry does not show, and rules that are not known here.
            match undecided::judge(&mut self.run, output, &entry.dn, &filter).await? {
                Judged::Held => return Ok(()),
                Judged::Of(is_of_stream) => of_stream = is_of_stream,
            }
        }
        if !of_stream {
            // It may have been in the stream before.
            if !self.is_container(&entry)? {
                let key = self.key(uuid);
                if self.run.emit_deletion(output, &[key], Some(&entry.dn))? {
                    moved_out::emit_below(&mut self.run, output, &entry.dn).await?;
                }
            }
            return Ok(());
        }
        if !self.run.emit_change(output, &entry)? {
            return Ok(());
        }
        // Immediately: the next cookie covers it.
        if container_renames::is_renamed(&self.run, &entry, &self.names)? {
            self.emit_renamed(output).await?;
        } else if container_renames::has_below(&self.run, &entry, &self.names).await? {
            container_renames::emit_below(&mut self.run, output, &entry.dn).await?;
        }
        Ok(())
    }

    /// Returns whether an entry is a container, which never belongs to the stream of another container.
    fn is_container(&self, entry: &Entry) -> anyhow::Result<bool> {
        let context = self.run.context;
        Ok(matches!(self.run.source, Source::Container { .. })
            && context.containers.contains(&dn::key(&entry.dn, self.run.schema())?))
    }

    /// Emits deletions of entries that the log reports as gone. A server reports those, too, that its filter no longer matches because the
    /// bound user may not search their attributes any more; these stay.
    async fn have_left<W: Write>(
        &mut self,
        uuids: &[Uuid],
        dn: Option<&str>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        // 389 DS was asked for all entries.
        let held = if self.is_389() {
            HashSet::new()
        } else {
            Box::pin(undecided::held(&mut self.run, output, (&self.base, self.scope), uuids)).await?
        };
        for uuid in uuids.iter().filter(|uuid| !held.contains(uuid)) {
            let key = self.key(*uuid);
            self.left.extend(key.as_str().map(str::to_owned));
            self.run.emit_deletion(output, &[key], dn)?;
        }
        Ok(())
    }

    /// Emits deletions of entries that left the stream with an entry above them.
    async fn emit_below_deleted<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let left = std::mem::take(&mut self.left);
        moved_out::emit_below_ids(&mut self.run, output, &left).await
    }

    /// Returns the key of the entry with a sync UUID.
    fn key(&self, uuid: Uuid) -> Value {
        // 389 DS uses the octets of nsUniqueId, which it writes in four groups.
        let text = if self.is_389() {
            let hex = uuid.simple().to_string();
            let groups: Vec<&str> = (0..4).filter_map(|n| hex.get(n * 8..n * 8 + 8)).collect();
            groups.join("-")
        } else {
            uuid.hyphenated().to_string()
        };
        Value::String(text)
    }

    /// Handles the error result of a search.
    pub(crate) fn handle_error(&self, end: EndCode) -> anyhow::Result<SyncAction> {
        let has_cookie = self.cookie.is_some();
        match end.code {
            result_code::SYNC_REFRESH_REQUIRED if has_cookie => {
                Ok(SyncAction::Resync("the server asks for it (e-syncRefreshRequired)".into()))
            }
            // Another replica, which says itself that it lags behind: what it lacks is not deleted, and its position is the older one.
            result_code::UNWILLING_TO_PERFORM
                if has_cookie
                    && end.text.contains(NEWER)
                    && self.run.origins.is_of_other_server(&self.run.context.directory.serving()) =>
            {
                Err(self.lagging(end))
            }
            // OpenLDAP, if the cookie is newer than its data (it was restored from a backup), and servers that cannot read
            // the cookie.
            result_code::UNWILLING_TO_PERFORM | result_code::PROTOCOL_ERROR if has_cookie => {
                Ok(SyncAction::Resync(format!(
                    "the server does not accept the bookmark's cookie ({})",
                    result_code::describe(end.code, &end.text)
                )))
            }
            _ => Err(self.error(end)),
        }
    }

    /// Returns the error of the server.
    fn refused(&self, end: EndCode) -> DirectoryError {
        DirectoryError::Operation {
            operation: "synchronisation",
            dn: self.run.stream.tap_stream_id.clone(),
            code: end.code,
            matched: end.matched,
            text: end.text,
        }
    }

    /// Returns the error of a server that is behind the position.
    fn lagging(&self, end: EndCode) -> anyhow::Error {
        let server = self.run.context.directory.serving();
        anyhow::Error::from(self.refused(end)).context(format!(
            "LOG_BASED: {server} does not have all changes that the server of the last run had, and nothing is read from it: run again when it is as far, or at that server"
        ))
    }

    /// Returns the error of a search, with advice for a size limit: a content synchronization search is not paged.
    fn error(&self, end: EndCode) -> anyhow::Error {
        let error = self.refused(end);
        if !error.is_limit() {
            return error.into();
        }
        anyhow::Error::from(error).context(
            "LOG_BASED: content synchronization is not paged, and page_size does not help: have the administrator raise the limits \
             of the bound user (OpenLDAP: `limits dn.exact=\"…\" size=unlimited`; 389 DS: `nsSizeLimit: -1` on its entry), or use \
             INCREMENTAL with track_deletions",
        )
    }

    /// Finishes a refresh: emits entries below renamed containers and notes the position. Returns a reason if everything must be
    /// read again.
    pub(crate) async fn finish<W: Write>(
        &mut self,
        renames: Renames,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<Option<String>> {
        match renames {
            Renames::Search => self.emit_renamed(output).await?,
            Renames::FromLog => self.emit_below_deleted(output).await?,
        }
        let unexplained = self.run.witness.unexplained_change();
        if unexplained.is_none() {
            self.run.caught_up()?;
            self.set_bookmark(output)?;
        }
        Ok(unexplained)
    }

    /// Checks, before the log is read, whether the directory was restored to a time before the position, and discards the
    /// position if so.
    pub(crate) async fn check_restored<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let mut attempts = None;
        while self.cookie.is_some() {
            match output.or_stop(witness::restored::check(&mut self.run)).await? {
                Ok(Some(why)) => self.start_over(&why),
                Ok(None) => break,
                Err(error) => {
                    output.or_stop(self.run.context.directory.recover(error, &mut attempts)).await??;
                }
            }
        }
        Ok(())
    }

    /// Emits the entries below containers that were renamed since the last call.
    pub(crate) async fn emit_renamed<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let (names, moved) = container_renames::find_renamed(&self.run, &self.names).await?;
        for dn in &moved {
            container_renames::emit_below(&mut self.run, output, dn).await?;
        }
        self.left.extend(container_renames::deleted_ids(&self.names, &names));
        self.names = names;
        self.emit_below_deleted(output).await
    }

    /// Puts the position into the STATE, if there is one.
    pub(crate) fn set_bookmark<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        match &self.cookie {
            Some(cookie) => {
                LogBookmark::put(&mut self.run, output, cookie, None, &self.fingerprint, &self.names)
            }
            None => Ok(()),
        }
    }
}
