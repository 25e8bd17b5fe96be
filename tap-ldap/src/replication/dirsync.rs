//! `LOG_BASED` on Active Directory: by DirSync ([MS-ADTS] 3.1.1.3.4.1.3), or by `uSNChanged` and tombstones if the account
//! may not use DirSync.
//!
//! Both say which objects changed. DirSync returns only the changed attributes, and must search the whole naming context. So each
//! changed object is read whole, as a search of the stream would return it.

use std::io::Write;

use ldap_directory::entry::Entry;
use ldap_directory::filter::Filter;
use ldap_directory::protocol::result_code;
use ldap_directory::{
    Directory, DirectoryError, Paging, RootDse, Scope, SearchControl, SearchRequest, SearchStream,
};
use singer_common::operations::summary::{self, Count};
use singer_common::plugin::settings::SettingsError;

use self::changed_object::{ChangedObject, DirSyncAction, GUID, changed_object, key};
use self::position::Position;
use crate::discovery::dn;
use crate::discovery::source::Source;
use crate::output::Output;
use crate::replication::bookmark::announce_resync;
use crate::replication::conclude::conclude;
use crate::replication::container_renames::{self, ContainerNames};
use crate::replication::fingerprint::Fingerprint;
use crate::replication::log_bookmark::LogBookmark;
use crate::replication::recovery::recover;
use crate::replication::stream_run::StreamRun;
use crate::replication::stream_run::new_version;
use crate::replication::{full, moved_out, undecided, witness};
use crate::stream::entries::is_base_only;
use ldap_directory::MATCH_ALL;

mod changed_object;
mod position;

/// Attributes requested of every changed object, beside the stream's own: whether it was deleted, and two that are returned
/// if its name or its parent changed.
const ALWAYS: [&str; 5] = [GUID, "isDeleted", "lastKnownParent", "name", "parentGUID"];
/// Attributes that a domain controller computes on request ([MS-ADTS] 3.1.1.4.5), besides those that it computes for base searches only.
/// They never change by themselves, and DirSync does not have them.
const COMPUTED: [&str; 7] = [
    "canonicalName",
    "createTimeStamp",
    "modifyTimeStamp",
    "primaryGroupToken",
    "structuralObjectClass",
    "subSchemaSubEntry",
    "msDS-UserPasswordExpiryTimeComputed",
];
/// The container of tombstones ([MS-ADTS] 6.1.1.4.2), below the naming context.
const DELETED_OBJECTS: &str = "CN=Deleted Objects";
/// A filter that no object matches.
const MATCH_NONE: &str = "(objectGUID=\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00)";

/// A stream that follows the changes of Active Directory.
pub(crate) struct DirSyncStream<'a> {
    pub run: StreamRun<'a>,
    fingerprint: Fingerprint,
    position: Option<Position>,
    names: ContainerNames,
    /// The naming context of the stream: changes are reported for all of it.
    naming_context: String,
    /// The domain controller's highest update sequence number when the position was taken.
    highest_usn: Option<u64>,
    /// Whether it was checked, since the connection was opened, that the directory was not restored to a time before the
    /// position.
    is_restore_checked: bool,
}

impl<'a> DirSyncStream<'a> {
    /// Reads the stream's bookmark and prints its SCHEMA.
    pub(crate) async fn begin<W: Write>(
        mut run: StreamRun<'a>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<Self> {
        // A cookie is only valid on the domain controller that sent it, and for its database at that time.
        let server = run.context.local_identity().await?;
        let fingerprint = Fingerprint::of(run.context, run.source, &run.attributes(&[]), "DirSync", &server);
        let old = LogBookmark::begin(&mut run, output, &fingerprint)?;
        let cookie = old.as_ref().map(|b| b.cookie(&run.stream.tap_stream_id)).transpose()?;
        let mut position = None;
        if let Some(cookie) = cookie {
            position = Position::from_octets(&cookie);
            let highest = highest_usn(&run.context.directory).await?;
            let why = match &position {
                None => Some("its cookie is none that this server gives"),
                // Its numbers start again at an earlier one: an older cookie would hide changes with reused numbers.
                Some(_) if old.as_ref().and_then(|b| b.highest_usn).is_some_and(|usn| usn > highest) => {
                    Some("the domain controller was restored from an older copy of its database")
                }
                Some(_) => None,
            };
            if let Some(why) = why {
                announce_resync(&run.stream.tap_stream_id, why);
                run.version = Some(new_version(run.version));
                position = None;
            }
        }
        let naming_context = run.naming_context()?.ok_or_else(|| {
            let contexts = &run.context.directory.root_dse().naming_contexts;
            let problem = format!("`{}` is in none of the server's naming contexts", run.base());
            SettingsError::value("base_dn", problem, contexts.join(" or "))
        })?;
        let highest_usn = old.as_ref().and_then(|b| b.highest_usn);
        let names = old.map(|o| o.containers).unwrap_or_default();
        Ok(Self { run, fingerprint, position, names, naming_context, highest_usn, is_restore_checked: false })
    }

    /// Returns the naming context of the stream.
    pub(crate) fn naming_context(&self) -> &str {
        &self.naming_context
    }

    /// Brings the stream up to date, and continues from its position if a connection is lost.
    pub(crate) async fn catch_up<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let mut attempts = None;
        loop {
            let before = self.position.clone();
            let Err(error) = self.catch_up_once(output).await else { return Ok(()) };
            if self.position != before {
                attempts = None;
            }
            self.is_restore_checked = false;
            recover(&self.run.context.directory, error, &mut attempts, output).await?;
        }
    }

    /// Brings the stream up to date: reads what changed since its position, or everything if it has none.
    async fn catch_up_once<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        if let Some(position) = self.position.clone() {
            self.run.falls_behind();
            // The server cannot be restored while a connection is open.
            let mut why = None;
            if !std::mem::replace(&mut self.is_restore_checked, true) {
                why = output.or_stop(witness::restored::check(&mut self.run)).await??;
            }
            if why.is_none() {
                let result = match position {
                    Position::DirSync(cookie) => self.dirsync(cookie, output).await,
                    Position::Usn(usn) => self.changed_since(usn, output).await,
                };
                why = match result {
                    Ok(()) => self.run.witness.unexplained_change(),
                    Err(e) => Some(cookie_refusal(&e).ok_or(e)?),
                };
            }
            let Some(why) = why else { return self.finish(output).await };
            announce_resync(&self.run.stream.tap_stream_id, &why);
            self.run.version = Some(new_version(self.run.version));
            self.names = ContainerNames::new();
        }
        self.full(output).await
    }

    /// Reads everything. The position is taken first, so that the next run repeats changes made meanwhile.
    async fn full<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let server = self.run.context.directory.serving();
        self.highest_usn = Some(highest_usn(&self.run.context.directory).await?);
        // Kept once everything is read: until then the stream has no position.
        let position = self.position_now(output).await?;
        // Entries that are renamed during the read are found by the container names before it.
        self.names = container_renames::find_renamed(&self.run, &ContainerNames::new()).await?.0;
        let completeness = full::entries(&mut self.run, output).await?;
        self.run.has_read_all = completeness.has_read_all();
        self.run.check_server(&server)?;
        self.position = Some(position);
        let version = self.run.version;
        if Box::pin(conclude(&mut self.run, version, &completeness, output)).await? {
            self.run.emit_deletions(output)?;
        } else {
            self.run.forget_ids();
        }
        self.finish(output).await
    }

    async fn position_now<W: Write>(&self, output: &mut Output<'_, W>) -> anyhow::Result<Position> {
        let mut cookie = Vec::new();
        loop {
            let request = self.dirsync_request(MATCH_NONE, cookie.clone());
            let mut search = self.run.context.whole.search(request).await?;
            loop {
                match output.or_stop(search.next_entry()).await? {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(e) if cookie.is_empty() && may_not_dirsync(&e) => return self.usn_now().await,
                    Err(e) => return Err(e.into()),
                }
            }
            let end = dirsync_end(&search, &self.naming_context)?;
            if !end.0 {
                return Ok(Position::DirSync(end.1));
            }
            cookie = end.1;
        }
    }

    /// Returns the position of an account that may not use DirSync. It must see tombstones, or deletions would be missed
    /// silently.
    async fn usn_now(&self) -> anyhow::Result<Position> {
        let directory = &self.run.context.whole;
        let tombstones = format!("{DELETED_OBJECTS},{}", self.naming_context);
        // A user who may not read tombstones may still see their container, without attributes.
        let mut request = SearchRequest::new(tombstones, Scope::Base, MATCH_ALL, &["objectClass"]);
        request.controls = vec![SearchControl::ShowDeleted];
        let mut search = directory.search(request).await?;
        let sees = match search.next_entry().await {
            Ok(found) => found.is_some_and(|e| e.attribute("objectClass").is_some()),
            Err(e) if e.code().is_some() => false,
            Err(e) => return Err(e.into()),
        };
        if !sees {
            return Err(SettingsError::value(
                "replication_method",
                "LOG_BASED, but the bound user may neither use DirSync (the right \"Replicating Directory Changes\") nor see deleted objects",
                "FULL_TABLE, INCREMENTAL with track_deletions, or one of these rights from the administrator",
            )
            .into());
        }
        tracing::info!(
            "{}: the bound user may not use DirSync; changes are found by uSNChanged, and deletions by tombstones",
            self.run.stream.tap_stream_id
        );
        Ok(Position::Usn(highest_usn(directory).await?))
    }

    fn dirsync_request(&self, filter: &str, cookie: Vec<u8>) -> SearchRequest {
        // The attributes in the filter decide whether an object belongs to the stream.
        let own = match self.run.source {
            Source::Search(s) => Filter::parse(&s.filter).ok(),
            _ => None,
        };
        let mut more = ALWAYS.to_vec();
        more.extend(own.iter().flat_map(Filter::attributes));
        let mut attributes = self.run.attributes(&more);
        attributes.retain(|a| !COMPUTED.iter().any(|c| c.eq_ignore_ascii_case(a)) && !is_base_only(a));
        SearchRequest {
            base: self.naming_context.clone(),
            scope: Scope::Subtree,
            filter: filter.into(),
            attributes,
            paging: Paging::Off,
            controls: vec![SearchControl::DirSync { cookie }],
            may_repeat: false,
        }
    }

    async fn dirsync<W: Write>(
        &mut self,
        mut cookie: Vec<u8>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let highest = highest_usn(&self.run.context.directory).await?;
        loop {
            let request = self.dirsync_request(MATCH_ALL, cookie.clone());
            let mut search = self.run.context.whole.search(request).await?;
            let mut changed_objects = Vec::new();
            while let Some(entry) = output.or_stop(search.next_entry()).await?? {
                summary::add(Count::Entries, 1);
                // Only changed attributes are returned: an unchanged parent is not.
                let moved = entry.attribute("name").is_some() || entry.attribute("parentGUID").is_some();
                changed_objects.extend(changed_object(&entry, moved));
            }
            let (more, next) = dirsync_end(&search, &self.naming_context)?;
            // A cookie also contains the time: if nothing changed, the old one is equivalent.
            if changed_objects.is_empty() && !more {
                return Ok(());
            }
            for changed_object in changed_objects {
                self.resolve(changed_object, output).await?;
            }
            self.highest_usn = Some(highest);
            self.position = Some(Position::DirSync(next.clone()));
            if output.is_due() {
                self.set_bookmark(output)?;
                output.save()?;
            }
            if !more {
                return Ok(());
            }
            cookie = next;
        }
    }

    async fn changed_since<W: Write>(&mut self, usn: u64, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let directory = self.run.context.whole.clone();
        // Read first: changes made meanwhile are above it, and are repeated next time.
        let highest = highest_usn(&directory).await?;
        if highest == usn {
            return Ok(());
        }
        let filter = format!("(uSNChanged>={})", usn.saturating_add(1));
        let mut request = SearchRequest::new(self.naming_context.as_str(), Scope::Subtree, filter, &ALWAYS);
        request.controls = vec![SearchControl::ShowDeleted];
        let mut search = directory.search(request).await?;
        while let Some(entry) = output.or_stop(search.next_entry()).await?? {
            summary::add(Count::Entries, 1);
            if let Some(changed_object) = changed_object(&entry, true) {
                self.resolve(changed_object, output).await?;
            }
        }
        self.position = Some(Position::Usn(highest));
        self.highest_usn = Some(highest);
        Ok(())
    }

    /// Reads a changed object whole, and emits what follows for this stream.
    async fn resolve<W: Write>(
        &mut self,
        found: ChangedObject,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let key = key(&found.guid);
        let may_have_moved = match found.action {
            DirSyncAction::Present { may_have_moved } => may_have_moved,
            DirSyncAction::Deleted { last_dn } => {
                // Objects of other streams are deleted too, and their last DN is not always known.
                if let Some(dn) = &last_dn
                    && !self.run.is_in_scope(dn)?
                    && !self.run.is_known(std::slice::from_ref(&key))?
                {
                    return Ok(());
                }
                self.run.emit_deletion(output, &[key], last_dn.as_deref())?;
                return Ok(());
            }
        };
        if !may_have_moved && !self.run.is_in_scope(&found.dn)? {
            return Ok(());
        }
        match self.read(&found.guid).await? {
            Some(entry) => {
                if self.run.emit_change(output, &entry)?
                    && may_have_moved
                    && container_renames::has_below(&self.run, &entry, &self.names).await?
                {
                    container_renames::emit_below(&mut self.run, output, &entry.dn).await?;
                }
                Ok(())
            }
            // A container never belongs to the stream of another container.
            None if self.is_other_container(&found.dn)? => Ok(()),
            None if Box::pin(undecided::is_held(&mut self.run, output, &guid_dn(&found.guid))).await? => {
                Ok(())
            }
            // Not in the stream, or not any more; then the entries below it left with it. Changes are reported for the whole
            // naming context: nothing is searched below objects that were never in the stream.
            None => {
                let is_watched = key.as_str().is_some_and(|id| self.names.contains_key(id));
                let has_left = self.run.emit_deletion(output, &[key], Some(&found.dn))? || is_watched;
                if may_have_moved && has_left {
                    moved_out::emit_below(&mut self.run, output, &found.dn).await
                } else {
                    Ok(())
                }
            }
        }
    }

    fn is_other_container(&self, dn: &str) -> anyhow::Result<bool> {
        let key = dn::key(dn, self.run.schema())?;
        Ok(matches!(self.run.source, Source::Container { .. }) && self.run.context.containers.contains(&key))
    }

    /// Returns the object as a search of the stream would; `None` if it is not in the stream.
    async fn read(&self, guid: &[u8]) -> anyhow::Result<Option<Entry>> {
        let context = self.run.context;
        let filter = match self.run.source {
            Source::Search(s) => s.filter.as_str(),
            Source::Class { filter } => filter.as_str(),
            Source::Containers | Source::Container { .. } | Source::Members(_) => MATCH_ALL,
        };
        let attributes = self.run.attributes(self.run.marks());
        let names: Vec<&str> = attributes.iter().map(String::as_str).collect();
        let request = SearchRequest::new(guid_dn(guid), Scope::Base, filter, &names);
        let mut search = context.whole.search(request).await?;
        let found = match search.next_entry().await {
            Err(e) if e.is_no_such_object() => None,
            found => found?,
        };
        let Some(mut entry) = found else { return Ok(None) };
        if !self.run.is_in_scope(&entry.dn)? || !self.run.contains(&entry)? {
            return Ok(None);
        }
        context.directory.complete_ranges(&mut entry).await?;
        Ok(Some(entry))
    }

    async fn finish<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let (names, moved) = container_renames::find_renamed(&self.run, &self.names).await?;
        for dn in &moved {
            container_renames::emit_below(&mut self.run, output, dn).await?;
        }
        self.names = names;
        self.run.caught_up()?;
        self.set_bookmark(output)
    }

    fn set_bookmark<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        match &self.position {
            Some(position) => {
                let cookie = position.to_octets();
                LogBookmark::put(
                    &mut self.run,
                    output,
                    &cookie,
                    self.highest_usn,
                    &self.fingerprint,
                    &self.names,
                )
            }
            None => Ok(()),
        }
    }
}

/// Returns the highest committed update sequence number of a domain controller.
pub(crate) async fn highest_usn(directory: &Directory) -> anyhow::Result<u64> {
    let entry = directory.read("", &[RootDse::HIGHEST_USN]).await?.unwrap_or_default();
    let usn = entry.first_text(RootDse::HIGHEST_USN).and_then(|t| t.parse().ok());
    usn.ok_or_else(|| {
        DirectoryError::Protocol {
            operation: "search",
            dn: String::new(),
            reason: format!("the root DSE has no {}", RootDse::HIGHEST_USN),
            outcome_unknown: false,
        }
        .into()
    })
}

/// Returns a DN that names an object wherever it is ([MS-ADTS] 3.1.1.3.1.2.4).
fn guid_dn(guid: &[u8]) -> String {
    format!("<GUID={}>", key(guid).as_str().unwrap_or_default())
}

fn dirsync_end(search: &SearchStream, naming_context: &str) -> Result<(bool, Vec<u8>), DirectoryError> {
    let Some(search) = search.of_server() else { return Ok((false, Vec::new())) };
    search.dirsync_end().map(|end| (end.more, end.cookie.clone())).ok_or_else(|| DirectoryError::Protocol {
        operation: "search",
        dn: naming_context.to_owned(),
        reason: "the server's answer has no DirSync control".into(),
        outcome_unknown: false,
    })
}

/// Returns whether an error means that DirSync is not available: insufficientAccessRights without the right
/// ([MS-ADTS] 3.1.1.3.4.1.3), or no DirSync on this server.
fn may_not_dirsync(error: &DirectoryError) -> bool {
    matches!(
        error.code(),
        Some(
            result_code::INSUFFICIENT_ACCESS_RIGHTS
                | result_code::UNAVAILABLE_CRITICAL_EXTENSION
                | result_code::UNWILLING_TO_PERFORM
        )
    )
}

/// Returns a reason if an error means that the server refused a cookie.
fn cookie_refusal(error: &anyhow::Error) -> Option<String> {
    let error = error.downcast_ref::<DirectoryError>()?;
    matches!(
        error.code(),
        Some(
            result_code::PROTOCOL_ERROR
                | result_code::UNWILLING_TO_PERFORM
                | result_code::INSUFFICIENT_ACCESS_RIGHTS
        )
    )
    .then(|| format!("the server does not accept the bookmark's cookie ({error})"))
}
