//! `LOG_BASED` by content synchronisation (RFC 4533): OpenLDAP, 389 Directory Server, and others that have it.

use std::io::Write;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use singer_common::directory::ldap::content_sync::{
    EndCode, SyncConnection, SyncItem, SyncMode, SyncRequest, SyncState,
};
use singer_common::directory::ldap::{LdapDirectory, result_code};
use singer_common::directory::{Directory, DirectoryError, Scope, SearchRequest, Vendor};
use singer_common::entry::Entry;
use singer_common::filter::{Filter, escape_value};
use singer_common::settings::SettingsError;
use singer_common::summary::{self, Count};
use uuid::Uuid;

use super::completeness::conclude;
use super::container_renames::{self, Names};
use super::log_bookmark::LogBookmark;
use super::stream_run::new_version;
use super::{Fingerprint, LOG_BASED, StreamRun, announce_resync, full, leavers, witness};
use crate::discovery::containers;
use crate::discovery::dn;
use crate::discovery::source::Source;
use crate::output::Output;
use singer_common::directory::MATCH_ALL;

/// How long a server may take to write into its log what can be found already, or what it has told of.
pub(crate) const A_MOMENT: Duration = Duration::from_millis(500);

/// A stream that follows the server's log.
pub(crate) struct Synced<'a> {
    pub run: StreamRun<'a>,
    print: Fingerprint,
    /// `None`: everything is to be read.
    cookie: Option<Vec<u8>>,
    /// A cookie that came in a refresh: 389 DS sends its last one ahead of the entries it covers. It counts from the refresh's
    /// end on.
    next_cookie: Option<Vec<u8>>,
    names: Names,
    /// On 389 DS: the stream's own filter, which is asked here.
    own_filter: Option<Filter>,
    /// Where entries are looked for, and what they are asked for.
    base: String,
    scope: Scope,
    attributes: Vec<String>,
    /// The ids of entries that the log calls deleted since the last cookie. They may only have moved.
    left: Vec<String>,
}

/// What an item led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// On to the next.
    Go,
    /// The refresh is over: everything is as the server has it.
    Fresh,
    /// The search is over.
    Ended,
    /// The server does not remember enough: everything has to be read anew.
    Resync(String),
}

impl<'a> Synced<'a> {
    /// Takes up the stream's position, and prints its SCHEMA.
    pub(crate) fn begin<W: Write>(
        mut run: StreamRun<'a>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<Self> {
        let print = Fingerprint::of(run.context, run.source, &run.attributes(&[]), "RFC 4533", "");
        let old = LogBookmark::begin(&mut run, output, &print)?;
        let cookie = old.as_ref().map(|b| b.cookie(&run.stream.tap_stream_id)).transpose()?;
        let mut synced = Self {
            run,
            print,
            cookie,
            next_cookie: None,
            names: old.map(|o| o.containers).unwrap_or_default(),
            own_filter: None,
            base: String::new(),
            scope: Scope::Sub,
            attributes: Vec::new(),
            left: Vec::new(),
        };
        if let Some(cookie) = &synced.cookie
            && !synced.may_be_cookie(cookie)
        {
            synced.start_over("its cookie is none that this server gives");
        }
        // Its log has nothing of an entry that came and went since the cookie; the run in between may have printed it.
        if synced.cookie.is_some() && synced.is_389() && synced.run.is_unsettled() {
            synced.start_over(
                "the last run ended before its last STATE, and this server's log does not name entries that came and went since",
            );
        }
        Ok(synced)
    }

    /// Whether a server of this kind may have given a cookie. OpenLDAP takes one it does not understand for none at all, and
    /// answers with everything as if it had changed: what is gone meanwhile would be missed.
    fn may_be_cookie(&self, cookie: &[u8]) -> bool {
        let is_csn = |cookie: &[u8]| cookie.windows(4).any(|part| part == b"csn=");
        !cookie.is_empty()
            && (self.run.context.directory.root_dse().vendor != Vendor::OpenLdap || is_csn(cookie))
    }

    /// Whether everything is to be read.
    pub(crate) fn is_to_be_read(&self) -> bool {
        self.cookie.is_none()
    }

    /// The search that goes on from the stream's position.
    pub(crate) async fn request(&mut self, mode: SyncMode) -> anyhow::Result<SyncRequest> {
        let context = self.run.context;
        let vendor = context.directory.root_dse().vendor;
        self.run.falls_behind();
        self.next_cookie = None;
        let (base, scope, filter) = match self.run.source {
            Source::Search(s) => (s.base_dn.as_deref().unwrap_or(&context.base), s.scope, s.filter.clone()),
            Source::Class { filter } => (context.base.as_str(), Scope::Sub, filter.clone()),
            // The base is one of them whatever it is.
            Source::Containers => {
                let base = self.base_filter();
                (context.base.as_str(), Scope::Sub, format!("(|{}{base})", containers::filter(vendor)))
            }
            Source::Container { dn } => {
                let key = dn::key(dn, self.run.schema())?;
                // Down to its bottom, unless all that lies deeper is known to be other containers'.
                let flat = !self.run.reads_subtree
                    && context.containers.has_nested(&key)
                    && context.is_flat(&key).await?;
                let scope = if flat { Scope::One } else { Scope::Sub };
                (dn.as_str(), scope, MATCH_ALL.to_owned())
            }
            Source::Members(_) => {
                return Err(SettingsError::value("replication_method", LOG_BASED, "FULL_TABLE").into());
            }
        };
        // slapd tells of a change as of a deletion where the entry's classes are hidden and the filter asks for them.
        let mut filter = server(&context.directory)?
            .filter(&filter)
            .map_err(|e| SettingsError::value("filter", e.to_string(), "an RFC 4515 filter"))?;
        let besides = [container_renames::OF_CHANGES.as_slice(), self.run.marks()].concat();
        let mut attributes = self.run.attributes(&besides);
        if self.is_389() {
            // 389 DS does not tell of an entry that no longer passes the filter: it is asked for everything, and the
            // filter is looked at here.
            for name in filter.attributes() {
                if !attributes.iter().any(|a| a.eq_ignore_ascii_case(name)) {
                    attributes.push(name.to_owned());
                }
            }
            let everything = Filter::Present("objectClass".into());
            self.own_filter = Some(std::mem::replace(&mut filter, everything));
        }
        self.attributes.clone_from(&attributes);
        (self.base, self.scope) = (base.to_owned(), scope);
        Ok(SyncRequest {
            base: base.to_owned(),
            scope,
            filter,
            attributes,
            mode,
            cookie: self.cookie.clone(),
        })
    }

    /// The filter that the base alone passes, by its immutable id.
    fn base_filter(&self) -> String {
        let ids = &self.run.context.ids;
        let value = BASE64.decode(&ids.base).unwrap_or_default();
        match &ids.key {
            Some(key) if !value.is_empty() => format!("({key}={})", escape_value(&value)),
            _ => String::new(),
        }
    }

    /// Forgets the position: everything is to be read, as a new version.
    pub(crate) fn start_over(&mut self, why: &str) {
        announce_resync(&self.run.stream.tap_stream_id, why);
        self.run.version = Some(new_version(self.run.version));
        self.cookie = None;
        self.names = Names::new();
        self.left.clear();
    }

    /// Reads everything. The position is taken first, so that what changes meanwhile is told once more by the next run: the
    /// refresh of content synchronisation is no substitute, since slapd leaves out of it what was written after it began,
    /// and it is not paged.
    pub(crate) async fn read<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let server = self.run.context.directory.serving();
        let position = self.position_now(output).await?;
        // What is renamed while everything is read is found by the names there were before.
        self.names = container_renames::look(&self.run, &Names::new()).await?.0;
        let completeness = full::entries(&mut self.run, output).await?;
        self.run.has_read_all = completeness.has_read_all();
        self.run.check_server(&server)?;
        let version = self.run.version;
        if conclude(&mut self.run, version, &completeness, output)? {
            self.run.emit_gone(output)?;
        } else {
            self.run.forget_ids();
        }
        self.look(output).await?;
        self.run.caught_up()?;
        self.cookie = Some(position);
        self.note(output)
    }

    /// The cookie of now: of a refresh whose entries nobody looks at. OpenLDAP's says nothing of the filter, so that none has
    /// to come.
    async fn position_now<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<Vec<u8>> {
        let mut attempts = None;
        loop {
            match self.ask_position(output).await {
                Ok(position) => return Ok(position),
                Err(error) => {
                    let error: DirectoryError = error.downcast()?;
                    output.or_stop(self.run.context.directory.recover(error, &mut attempts)).await??;
                }
            }
        }
    }

    async fn ask_position<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<Vec<u8>> {
        let directory = server(&self.run.context.directory)?.clone();
        let mut request = self.request(SyncMode::RefreshOnly).await?;
        request.attributes = vec!["1.1".to_owned()];
        request.cookie = None;
        if directory.root_dse().vendor == Vendor::OpenLdap {
            request.filter = Filter::equality("entryUUID", Uuid::nil().to_string());
        }
        let mut connection = output.or_stop(directory.sync_connection()).await??;
        connection.start(&request).await?;
        let mut cookie = None;
        loop {
            match output.or_stop(connection.next_in_time()).await??.1 {
                SyncItem::Cookie(new) => cookie = Some(new),
                SyncItem::End(Ok(())) => break,
                SyncItem::End(Err(end)) => return Err(self.error(end).into()),
                _ => {}
            }
        }
        connection.close().await;
        cookie.ok_or_else(|| {
            DirectoryError::Protocol {
                operation: "synchronisation",
                dn: request.base,
                reason: "the server says where its log is by no cookie (on OpenLDAP the syncprov overlay needs a contextCSN)".into(),
            }
            .into()
        })
    }

    /// Carries out what an item says.
    pub(crate) async fn take<W: Write>(
        &mut self,
        item: SyncItem,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<Verdict> {
        match item {
            SyncItem::Entry { state: SyncState::Present, .. } | SyncItem::Set { deleted: false, .. } => {
                return Ok(Verdict::Resync("the server's log no longer reaches back to the bookmark".into()));
            }
            SyncItem::Entry { state: SyncState::Changed, uuid, entry } => {
                summary::add(Count::Entries, 1);
                self.changed(uuid, entry, output).await?;
            }
            SyncItem::Entry { state: SyncState::Deleted, uuid, entry } => {
                let dn = Some(entry.dn.as_str()).filter(|dn| !dn.is_empty());
                self.deleted(uuid, dn, output)?;
            }
            SyncItem::Set { deleted: true, uuids } => {
                for uuid in uuids {
                    self.deleted(uuid, None, output)?;
                }
            }
            SyncItem::Cookie(cookie) => {
                if !self.run.has_caught_up() {
                    self.next_cookie = Some(cookie);
                    return Ok(Verdict::Go);
                }
                // It covers them.
                self.emit_below_left(output).await?;
                self.cookie = Some(cookie);
                if output.is_due() {
                    self.note(output)?;
                    output.save()?;
                }
            }
            // 389 DS always names what was deleted, and asks for a refresh where it cannot; it only never says so.
            SyncItem::PhaseEnd { names_deleted: false, .. } if !self.is_389() => {
                return Ok(Verdict::Resync("the server's log no longer reaches back to the bookmark".into()));
            }
            SyncItem::PhaseEnd { complete, .. } => {
                if complete {
                    self.adopt_cookie();
                }
                return Ok(if complete { Verdict::Fresh } else { Verdict::Go });
            }
            // What it stands for is another server's: nothing is concluded from its absence.
            SyncItem::Reference(_) => {}
            // What is downstream of it stays as it is.
            SyncItem::Unreadable(dn) => self.run.context.directory.note_unreadable(&dn),
            SyncItem::End(Ok(())) => {
                self.adopt_cookie();
                return Ok(Verdict::Ended);
            }
            SyncItem::End(Err(end)) => return self.failed(end),
        }
        Ok(Verdict::Go)
    }

    /// The refresh is over: its cookie counts.
    fn adopt_cookie(&mut self) {
        if self.next_cookie.is_some() {
            self.cookie = self.next_cookie.take();
        }
    }

    pub(crate) fn is_389(&self) -> bool {
        self.run.context.directory.root_dse().vendor == Vendor::Ds389
    }

    /// A changed entry as a search of the stream would give it; `None` where the entry is gone by now or another one has its
    /// name, which the log tells, too. 389 DS tells of a change with the user attributes only, whatever was asked for. What
    /// persists may arrive after something above it was renamed, with the name it had before, and after what lies below was
    /// read anew under the new one.
    async fn whole(&self, uuid: Uuid, entry: Entry) -> anyhow::Result<Option<Entry>> {
        if !self.is_389() {
            let is_late = self.run.has_caught_up() && !container_renames::is_below_known(&entry, &self.names);
            return if is_late { self.now(uuid).await } else { Ok(Some(entry)) };
        }
        let names: Vec<&str> = self.attributes.iter().map(String::as_str).collect();
        let read = self.run.context.directory.read(&entry.dn, &names).await?;
        Ok(read.filter(|read| self.run.key_of(read) == [self.key(uuid)]))
    }

    /// An entry of the stream as it is now.
    async fn now(&self, uuid: Uuid) -> anyhow::Result<Option<Entry>> {
        let filter = Filter::equality("entryUUID", uuid.hyphenated().to_string()).to_string();
        let attributes: Vec<&str> = self.attributes.iter().map(String::as_str).collect();
        let request = SearchRequest::new(self.base.as_str(), self.scope, filter, &attributes);
        let mut search = self.run.context.directory.search(request.repeating()).await?;
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
        let Some(entry) = self.whole(uuid, entry).await? else { return Ok(()) };
        let of_stream = self.run.keeps(&entry)?
            && self.own_filter.as_ref().is_none_or(|f| f.matches(&entry, self.run.schema()) == Some(true));
        if !of_stream {
            // It may have been one of the stream's before.
            if !self.is_container(&entry)? {
                let key = self.key(uuid);
                if self.run.emit_deletion(output, &[key], Some(&entry.dn))? {
                    leavers::emit_below(&mut self.run, output, &entry.dn).await?;
                }
            }
            return Ok(());
        }
        if !self.run.emit_change(output, &entry)? {
            return Ok(());
        }
        // At once: the cookie that follows covers it.
        if container_renames::is_renamed(&self.run, &entry, &self.names)? {
            self.look(output).await?;
        } else if container_renames::has_below(&self.run, &entry, &self.names).await? {
            container_renames::emit_below(&mut self.run, output, &entry.dn).await?;
        }
        Ok(())
    }

    /// A container is in no container's stream, now or ever.
    fn is_container(&self, entry: &Entry) -> anyhow::Result<bool> {
        let context = self.run.context;
        Ok(matches!(self.run.source, Source::Container { .. })
            && context.containers.contains(&dn::key(&entry.dn, self.run.schema())?))
    }

    fn deleted<W: Write>(
        &mut self,
        uuid: Uuid,
        dn: Option<&str>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let key = self.key(uuid);
        self.left.extend(key.as_str().map(str::to_owned));
        self.run.emit_deletion(output, &[key], dn)?;
        Ok(())
    }

    /// Tells of what left together with an entry.
    async fn emit_below_left<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let left = std::mem::take(&mut self.left);
        leavers::emit_below_ids(&mut self.run, output, &left).await
    }

    /// The key of the entry that a sync UUID is about.
    fn key(&self, uuid: Uuid) -> Value {
        // Those of 389 DS are those of nsUniqueId, which it writes in four groups.
        let text = if self.is_389() {
            let hex = uuid.simple().to_string();
            let groups: Vec<&str> = (0..4).filter_map(|n| hex.get(n * 8..n * 8 + 8)).collect();
            groups.join("-")
        } else {
            uuid.hyphenated().to_string()
        };
        Value::String(text)
    }

    pub(crate) fn failed(&self, end: EndCode) -> anyhow::Result<Verdict> {
        let has_cookie = self.cookie.is_some();
        match end.code {
            result_code::SYNC_REFRESH_REQUIRED if has_cookie => {
                Ok(Verdict::Resync("the server asks for it (e-syncRefreshRequired)".into()))
            }
            // OpenLDAP on a cookie that is newer than what it holds (it was restored from an older copy), and servers
            // that make nothing of the cookie.
            result_code::UNWILLING_TO_PERFORM | result_code::PROTOCOL_ERROR if has_cookie => {
                Ok(Verdict::Resync(format!(
                    "the server does not accept the bookmark's cookie ({})",
                    result_code::describe(end.code, &end.text)
                )))
            }
            _ => Err(self.error(end).into()),
        }
    }

    fn error(&self, end: EndCode) -> DirectoryError {
        let stream = &self.run.stream.tap_stream_id;
        if matches!(end.code, result_code::SIZE_LIMIT_EXCEEDED | result_code::ADMIN_LIMIT_EXCEEDED) {
            tracing::warn!(
                stream,
                "{stream}: content synchronisation is not paged: let the administrator lift the size limit for the bound user, or choose INCREMENTAL"
            );
        }
        DirectoryError::Operation {
            operation: "synchronisation",
            dn: stream.clone(),
            code: end.code,
            matched: end.matched,
            text: end.text,
        }
    }

    /// What is due once everything is as the server has it: entries whose name changed by what is above them. Gives why
    /// everything has to be read anew, if it has.
    pub(crate) async fn settle<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<Option<String>> {
        self.look(output).await?;
        let unexplained = self.run.witness.unexplained();
        if unexplained.is_none() {
            self.run.caught_up()?;
            self.note(output)?;
        }
        Ok(unexplained)
    }

    /// Looks, before the log is gone through, whether the directory went back behind the position. Then there is none any more.
    pub(crate) async fn look_back<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let mut attempts = None;
        while self.cookie.is_some() {
            match output.or_stop(witness::look(&mut self.run)).await? {
                Ok(Some(why)) => self.start_over(&why),
                Ok(None) => break,
                Err(error) => {
                    output.or_stop(self.run.context.directory.recover(error, &mut attempts)).await??;
                }
            }
        }
        Ok(())
    }

    /// Prints what lies below containers that were renamed since the last look.
    pub(crate) async fn look<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let (names, moved) = container_renames::look(&self.run, &self.names).await?;
        for dn in &moved {
            container_renames::emit_below(&mut self.run, output, dn).await?;
        }
        self.left.extend(container_renames::vanished(&self.names, &names));
        self.names = names;
        self.emit_below_left(output).await
    }

    /// Notes the position, if there is one.
    pub(crate) fn note<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        match &self.cookie {
            Some(cookie) => LogBookmark::note(&mut self.run, output, cookie, None, &self.print, &self.names),
            None => Ok(()),
        }
    }
}

/// Reads what changed since the bookmark, or everything where there is none or it is of no use.
pub(crate) async fn run<'a, W: Write>(
    run: StreamRun<'a>,
    output: &mut Output<'_, W>,
) -> anyhow::Result<Synced<'a>> {
    let mut synced = Synced::begin(run, output)?;
    synced.look_back(output).await?;
    synced.catch_up(&mut None, output).await?;
    Ok(synced)
}

impl Synced<'_> {
    /// Brings the stream up to date: what changed since its position, or everything where it has none. Refreshes go over
    /// `connection`, which is opened where there is none, and stays open.
    pub(crate) async fn catch_up<W: Write>(
        &mut self,
        connection: &mut Option<SyncConnection>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let mut attempts = None;
        let mut asked_again = false;
        while !self.is_to_be_read() {
            let before = self.cookie.clone();
            match self.refresh_over(connection, output).await {
                Ok(Some(why)) => self.start_over(&why),
                Ok(None) => match self.settle(output).await? {
                    None => break,
                    // What is written may be found a moment before the log has it.
                    Some(_) if !std::mem::replace(&mut asked_again, true) => {
                        output.or_stop(tokio::time::sleep(A_MOMENT)).await?;
                    }
                    Some(why) => self.start_over(&why),
                },
                // It goes on from the last cookie that came.
                Err(error) => {
                    if self.cookie != before {
                        attempts = None;
                    }
                    let error: DirectoryError = error.downcast()?;
                    output.or_stop(self.run.context.directory.recover(error, &mut attempts)).await??;
                }
            }
        }
        if self.is_to_be_read() {
            self.read(output).await?;
        }
        Ok(())
    }

    /// One refresh over a connection. Gives why everything has to be read anew, if it has.
    async fn refresh_over<W: Write>(
        &mut self,
        kept: &mut Option<SyncConnection>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<Option<String>> {
        let mut connection = if let Some(connection) = kept.take() {
            connection
        } else {
            let directory = server(&self.run.context.directory)?.clone();
            output.or_stop(directory.sync_connection()).await??
        };
        let id = connection.start(&self.request(SyncMode::RefreshOnly).await?).await?;
        let why = refresh(&mut connection, id, self, output).await.map_err(unlimited)?;
        *kept = Some(connection);
        Ok(why)
    }
}

/// The answer of content synchronisation comes in one piece, whatever page_size says.
fn unlimited(error: anyhow::Error) -> anyhow::Error {
    let is_limit = error.downcast_ref().is_some_and(DirectoryError::is_limit);
    if !is_limit {
        return error;
    }
    error.context(
        "LOG_BASED: content synchronisation is not paged, and page_size does not help: have the administrator lift the limits \
         of the bound user (OpenLDAP: `limits dn.exact=\"…\" size=unlimited`), or use INCREMENTAL with track_deletions",
    )
}

/// Goes through one refresh. Gives why everything has to be read anew, if it has.
async fn refresh<W: Write>(
    connection: &mut SyncConnection,
    id: i64,
    synced: &mut Synced<'_>,
    output: &mut Output<'_, W>,
) -> anyhow::Result<Option<String>> {
    loop {
        let (of, item) = output.or_stop(connection.next_in_time()).await??;
        if of != id {
            continue;
        }
        match synced.take(item, output).await? {
            Verdict::Go | Verdict::Fresh => {}
            Verdict::Ended => return Ok(None),
            Verdict::Resync(why) => return Ok(Some(why)),
        }
    }
}

/// The server behind a directory: a file has no log.
pub(crate) fn server(directory: &Directory) -> Result<&LdapDirectory, SettingsError> {
    match directory {
        Directory::Ldap(server) => Ok(server),
        Directory::Ldif(_) | Directory::Preview(_) => {
            Err(SettingsError::value("replication_method", LOG_BASED, "FULL_TABLE or INCREMENTAL for a file"))
        }
    }
}
