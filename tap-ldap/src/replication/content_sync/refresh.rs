//! The searches of content synchronization: where the log is now, and what changed since a cookie.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ldap_directory::client::LdapDirectory;
use ldap_directory::client::content_sync::{SyncConnection, SyncItem, SyncMode, SyncRequest};
use ldap_directory::filter::{Filter, escape_value};
use ldap_directory::{Directory, DirectoryError, MATCH_ALL, Scope, Vendor};
use singer_common::plugin::settings::SettingsError;
use uuid::Uuid;

use super::{ContentSyncStream, LOG_DELAY, Renames, SyncAction};
use crate::config::method::LOG_BASED;
use crate::discovery::source::Source;
use crate::discovery::{containers, dn};
use crate::output::Output;
use crate::replication::container_renames;
use crate::replication::recovery::recover;
use crate::replication::stream_run::StreamRun;

/// Reads what changed since the bookmark, or everything if there is no usable bookmark.
pub(crate) async fn run<'a, W: Write>(
    run: StreamRun<'a>,
    output: &mut Output<'_, W>,
) -> anyhow::Result<ContentSyncStream<'a>> {
    let mut stream = ContentSyncStream::begin(run, output)?;
    stream.check_restored(output).await?;
    stream.catch_up(&mut None, Renames::Search, output).await?;
    Ok(stream)
}

impl ContentSyncStream<'_> {
    /// Returns the search that continues from the stream's position.
    pub(crate) async fn request(&mut self, mode: SyncMode) -> anyhow::Result<SyncRequest> {
        self.run.falls_behind();
        self.next_cookie = None;
        let (base, scope, filter) = self.search_scope().await?;
        // slapd reports a change as a deletion if the entry's classes are hidden and the filter uses them.
        let mut filter = server(&self.run.context.directory)?
            .filter(&filter)
            .map_err(|e| SettingsError::value("filter", e.to_string(), "an RFC 4515 filter"))?;
        let extra = [container_renames::OF_CHANGES.as_slice(), self.run.marks()].concat();
        let mut attributes = self.run.attributes(&extra);
        if self.is_389() {
            // 389 DS does not report an entry that no longer matches the filter: all entries are requested, and the filter is
            // evaluated here.
            for name in filter.attributes() {
                if !attributes.iter().any(|a| a.eq_ignore_ascii_case(name)) {
                    attributes.push(name.to_owned());
                }
            }
            let all = Filter::Present("objectClass".into());
            self.own_filter = Some(std::mem::replace(&mut filter, all));
        }
        self.attributes.clone_from(&attributes);
        (self.base, self.scope) = (base.clone(), scope);
        Ok(SyncRequest { base, scope, filter, attributes, mode, cookie: self.cookie.clone() })
    }

    /// Returns the base, scope and filter of the stream's search.
    async fn search_scope(&self) -> anyhow::Result<(String, Scope, String)> {
        let context = self.run.context;
        let (base, scope, filter) = match self.run.source {
            Source::Search(s) => (s.base_dn.as_deref().unwrap_or(&context.base), s.scope, s.filter.clone()),
            Source::Class { filter } => (context.base.as_str(), Scope::Subtree, filter.clone()),
            // The base is always a container.
            Source::Containers => {
                let vendor = context.directory.root_dse().vendor;
                let base = self.base_filter();
                (context.base.as_str(), Scope::Subtree, format!("(|{}{base})", containers::filter(vendor)))
            }
            Source::Container { dn } => {
                let key = dn::key(dn, self.run.schema())?;
                // The whole subtree, unless all deeper entries are known to belong to other containers.
                let flat = !self.run.reads_subtree
                    && context.containers.has_nested(&key)
                    && context.is_flat(&key).await?;
                let scope = if flat { Scope::OneLevel } else { Scope::Subtree };
                (dn.as_str(), scope, MATCH_ALL.to_owned())
            }
            Source::Members(_) => {
                return Err(SettingsError::value("replication_method", LOG_BASED, "FULL_TABLE").into());
            }
        };
        Ok((base.to_owned(), scope, filter))
    }

    /// Returns a filter that only the base entry matches, by its immutable id; empty if that is not known.
    fn base_filter(&self) -> String {
        let ids = &self.run.context.ids;
        let value = BASE64.decode(&ids.base).unwrap_or_default();
        match &ids.key {
            Some(key) if !value.is_empty() => format!("({key}={})", escape_value(&value)),
            _ => String::new(),
        }
    }

    /// Returns the current cookie: that of a refresh whose entries are not read. OpenLDAP's cookie does not depend on the filter,
    /// so that a filter that matches nothing is used there.
    pub(super) async fn position_now<W: Write>(
        &mut self,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<Vec<u8>> {
        let mut attempts = None;
        loop {
            match self.ask_position(output).await {
                Ok(position) => return Ok(position),
                Err(error) => {
                    recover(&self.run.context.directory, error, &mut attempts, output).await?;
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
                SyncItem::End(Err(end)) => return Err(self.error(end)),
                _ => {}
            }
        }
        connection.close().await;
        cookie.ok_or_else(|| {
            DirectoryError::Protocol {
                operation: "synchronisation",
                dn: request.base,
                reason: "the server says where its log is by no cookie (on OpenLDAP the syncprov overlay needs a contextCSN)".into(), outcome_unknown: false }
            .into()
        })
    }

    /// Brings the stream up to date: reads what changed since its position, or everything if it has none. Refreshes use
    /// `connection`, which is opened on first use and stays open.
    pub(crate) async fn catch_up<W: Write>(
        &mut self,
        connection: &mut Option<SyncConnection>,
        renames: Renames,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let mut attempts = None;
        let mut asked_again = false;
        while !self.needs_full_read() {
            let before = self.cookie.clone();
            match self.refresh_over(connection, output).await {
                Ok(Some(why)) => self.start_over(&why),
                Ok(None) => match self.finish(renames, output).await? {
                    None => break,
                    // A change may be visible shortly before it is in the log.
                    Some(_) if !std::mem::replace(&mut asked_again, true) => {
                        output.or_stop(tokio::time::sleep(LOG_DELAY)).await?;
                    }
                    Some(why) => self.start_over(&why),
                },
                // Continues from the last cookie received.
                Err(error) => {
                    if self.cookie != before {
                        attempts = None;
                    }
                    recover(&self.run.context.directory, error, &mut attempts, output).await?;
                }
            }
        }
        if self.needs_full_read() {
            self.read_all(output).await?;
        }
        Ok(())
    }

    /// Reads one refresh over a connection. Returns a reason if everything must be read again.
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
        let why = self.refresh(&mut connection, id, output).await?;
        *kept = Some(connection);
        Ok(why)
    }

    /// Reads the items of one refresh. Returns a reason if everything must be read again.
    async fn refresh<W: Write>(
        &mut self,
        connection: &mut SyncConnection,
        id: i64,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<Option<String>> {
        loop {
            let (of, item) = output.or_stop(connection.next_in_time()).await??;
            if of != id {
                continue;
            }
            match self.handle_item(item, output).await? {
                SyncAction::Continue | SyncAction::Refreshed => {}
                SyncAction::Ended => return Ok(None),
                SyncAction::Resync(why) => return Ok(Some(why)),
            }
        }
    }
}

/// Returns the server of a directory.
///
/// # Errors
/// Fails for a file, which has no log.
pub(crate) fn server(directory: &Directory) -> Result<&LdapDirectory, SettingsError> {
    match directory {
        Directory::Ldap(server) => Ok(server),
        Directory::Ldif(_) | Directory::Preview(_) => {
            Err(SettingsError::value("replication_method", LOG_BASED, "FULL_TABLE or INCREMENTAL for a file"))
        }
    }
}
