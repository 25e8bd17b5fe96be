//! `LOG_BASED` on Active Directory: by DirSync ([MS-ADTS] 3.1.1.3.4.1.3), or by `uSNChanged` and tombstones where the
//! account may not use DirSync.
//!
//! Both tell *which* objects changed. DirSync tells only the attributes that did, and what is asked of it has to be asked of
//! the whole naming context: so every changed object is read whole, as a search of the stream would give it.

use std::io::Write;

use serde_json::Value;
use singer_common::directory::ldap::result_code;
use singer_common::directory::{
    Directory, DirectoryError, Paging, RootDse, Scope, SearchControl, SearchRequest, SearchStream,
};
use singer_common::entry::Entry;
use singer_common::filter::Filter;
use singer_common::schema::syntax::ValueKind;
use singer_common::settings::SettingsError;
use singer_common::summary::{self, Count};

use super::completeness::conclude;
use super::container_renames::{self, Names};
use super::log_bookmark::LogBookmark;
use super::stream_run::new_version;
use super::{Fingerprint, StreamRun, announce_resync, full, leavers, stream_base, witness};
use crate::discovery::dn;
use crate::discovery::source::Source;
use crate::output::Output;
use singer_common::directory::MATCH_ALL;

/// The immutable id.
const GUID: &str = "objectGUID";
/// What every changed object is asked for, beside the stream's own attributes: whether it is gone, and, if its name or its
/// place changed, these two.
const ALWAYS: [&str; 5] = [GUID, "isDeleted", "lastKnownParent", "name", "parentGUID"];
/// What a domain controller makes up when it is asked ([MS-ADTS] 3.1.1.4.5): it never changes by itself, and DirSync knows
/// nothing of it.
const CONSTRUCTED: [&str; 8] = [
    "canonicalName",
    "createTimeStamp",
    "modifyTimeStamp",
    "primaryGroupToken",
    "structuralObjectClass",
    "subSchemaSubEntry",
    "tokenGroups",
    "msDS-UserPasswordExpiryTimeComputed",
];
/// Where tombstones lie ([MS-ADTS] 6.1.1.4.2), below the naming context.
const DELETED_OBJECTS: &str = "CN=Deleted Objects";
/// A filter that no object passes.
const NOTHING: &str = "(objectGUID=\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00\\00)";

/// Where reading goes on: the two mechanisms' cookies are told apart by their first octet.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Position {
    DirSync(Vec<u8>),
    /// The highest update sequence number that was seen.
    Usn(u64),
}

impl Position {
    fn to_octets(&self) -> Vec<u8> {
        match self {
            Position::DirSync(cookie) => std::iter::once(b'D').chain(cookie.iter().copied()).collect(),
            Position::Usn(usn) => format!("U{usn}").into_bytes(),
        }
    }

    fn from_octets(octets: &[u8]) -> Option<Position> {
        match octets.split_first()? {
            (b'D', cookie) => Some(Position::DirSync(cookie.to_vec())),
            (b'U', usn) => Some(Position::Usn(std::str::from_utf8(usn).ok()?.parse().ok()?)),
            _ => None,
        }
    }
}

/// An object that changed.
#[derive(Debug)]
struct Candidate {
    guid: Vec<u8>,
    dn: String,
    fate: Fate,
}

#[derive(Debug)]
enum Fate {
    /// Its name or its place may have changed, or they did not.
    There { may_have_moved: bool },
    /// What it was called before, where that is known.
    Deleted { last_name: Option<String> },
}

/// A stream that follows Active Directory's changes.
pub(crate) struct DirSynced<'a> {
    pub run: StreamRun<'a>,
    print: Fingerprint,
    position: Option<Position>,
    names: Names,
    /// The naming context that the stream lies in: changes are told for all of it.
    naming_context: String,
    /// The domain controller's highest update sequence number when the position was taken.
    highest_usn: Option<u64>,
    /// Whether it was looked if the directory went back behind the position, since the connection was opened.
    has_looked_back: bool,
}

impl<'a> DirSynced<'a> {
    /// Takes up the stream's position, and prints its SCHEMA.
    pub(crate) async fn begin<W: Write>(
        mut run: StreamRun<'a>,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<Self> {
        // A cookie is good for the domain controller that gave it, and for its database as it was then.
        let server = run.context.local_identity().await?;
        let print = Fingerprint::of(run.context, run.source, &run.attributes(&[]), "DirSync", &server);
        let old = LogBookmark::begin(&mut run, output, &print)?;
        let cookie = old.as_ref().map(|b| b.cookie(&run.stream.tap_stream_id)).transpose()?;
        let mut position = None;
        if let Some(cookie) = cookie {
            position = Position::from_octets(&cookie);
            let highest = highest_usn(&run.context.directory).await?;
            let why = match &position {
                None => Some("its cookie is none that this server gives"),
                // Its numbers begin again where they were: a cookie from before would hide what is counted a second time.
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
            let problem = format!("`{}` is in none of the server's naming contexts", stream_base(&run));
            SettingsError::value("base_dn", problem, contexts.join(" or "))
        })?;
        let highest_usn = old.as_ref().and_then(|b| b.highest_usn);
        let names = old.map(|o| o.containers).unwrap_or_default();
        Ok(Self { run, print, position, names, naming_context, highest_usn, has_looked_back: false })
    }

    /// The naming context that its changes are told for.
    pub(crate) fn naming_context(&self) -> &str {
        &self.naming_context
    }

    /// Brings the stream up to date, and goes on from its position where a connection is lost on the way.
    pub(crate) async fn catch_up<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let mut attempts = None;
        loop {
            let before = self.position.clone();
            let Err(error) = self.catch_up_once(output).await else { return Ok(()) };
            if self.position != before {
                attempts = None;
            }
            self.has_looked_back = false;
            let error: DirectoryError = error.downcast()?;
            output.or_stop(self.run.context.directory.recover(error, &mut attempts)).await??;
        }
    }

    /// Brings the stream up to date: what changed since its position, or everything where it has none.
    async fn catch_up_once<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        if let Some(position) = self.position.clone() {
            self.run.falls_behind();
            // While a connection lasts, the server does not go back.
            let mut why = None;
            if !std::mem::replace(&mut self.has_looked_back, true) {
                why = output.or_stop(witness::look(&mut self.run)).await??;
            }
            if why.is_none() {
                let result = match position {
                    Position::DirSync(cookie) => self.dirsync(cookie, output).await,
                    Position::Usn(usn) => self.changed_since(usn, output).await,
                };
                why = match result {
                    Ok(()) => self.run.witness.unexplained(),
                    Err(e) => Some(refused_cookie(&e).ok_or(e)?),
                };
            }
            let Some(why) = why else { return self.settle(output).await };
            announce_resync(&self.run.stream.tap_stream_id, &why);
            self.run.version = Some(new_version(self.run.version));
            self.names = Names::new();
        }
        self.full(output).await
    }

    /// Reads everything. The position is taken first: what changes meanwhile is told once more by the next run.
    async fn full<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let server = self.run.context.directory.serving();
        self.highest_usn = Some(highest_usn(&self.run.context.directory).await?);
        // Kept once everything is read: until then the stream has no position.
        let position = self.position_now(output).await?;
        // What is renamed while everything is read is found by the names there were before.
        self.names = container_renames::look(&self.run, &Names::new()).await?.0;
        let completeness = full::entries(&mut self.run, output).await?;
        self.run.has_read_all = completeness.has_read_all();
        self.run.check_server(&server)?;
        self.position = Some(position);
        let version = self.run.version;
        if conclude(&mut self.run, version, &completeness, output)? {
            self.run.emit_gone(output)?;
        } else {
            self.run.forget_ids();
        }
        self.settle(output).await
    }

    async fn position_now<W: Write>(&self, output: &mut Output<'_, W>) -> anyhow::Result<Position> {
        let mut cookie = Vec::new();
        loop {
            let request = self.dirsync_request(NOTHING, cookie.clone());
            let mut search = self.run.context.directory.search(request).await?;
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

    /// The position of an account that may not use DirSync. It must see tombstones, or deletions would be missed without a
    /// word.
    async fn usn_now(&self) -> anyhow::Result<Position> {
        let directory = &self.run.context.directory;
        let tombstones = format!("{DELETED_OBJECTS},{}", self.naming_context);
        // Who may not read what lies there may all the same be shown that there is a container: bare of attributes.
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
        // What a filter looks at decides whether an object belongs to the stream.
        let own = match self.run.source {
            Source::Search(s) => Filter::parse(&s.filter).ok(),
            _ => None,
        };
        let mut more = ALWAYS.to_vec();
        more.extend(own.iter().flat_map(Filter::attributes));
        let mut attributes = self.run.attributes(&more);
        attributes.retain(|a| !CONSTRUCTED.iter().any(|c| c.eq_ignore_ascii_case(a)));
        SearchRequest {
            base: self.naming_context.clone(),
            scope: Scope::Sub,
            filter: filter.to_owned(),
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
            let mut search = self.run.context.directory.search(request).await?;
            let mut candidates = Vec::new();
            while let Some(entry) = output.or_stop(search.next_entry()).await?? {
                summary::add(Count::Entries, 1);
                // Only what changed is there: a place that did not change is not.
                let moved = entry.attribute("name").is_some() || entry.attribute("parentGUID").is_some();
                candidates.extend(candidate(&entry, moved));
            }
            let (more, next) = dirsync_end(&search, &self.naming_context)?;
            // A cookie holds the time, too: where nothing changed, the old one says the same.
            if candidates.is_empty() && !more {
                return Ok(());
            }
            for candidate in candidates {
                self.resolve(candidate, output).await?;
            }
            self.highest_usn = Some(highest);
            self.position = Some(Position::DirSync(next.clone()));
            if output.is_due() {
                self.note(output)?;
                output.save()?;
            }
            if !more {
                return Ok(());
            }
            cookie = next;
        }
    }

    async fn changed_since<W: Write>(&mut self, usn: u64, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let directory = self.run.context.directory.clone();
        // Read first: what changes while this runs is above it, and is told again next time.
        let highest = highest_usn(&directory).await?;
        if highest == usn {
            return Ok(());
        }
        let filter = format!("(uSNChanged>={})", usn.saturating_add(1));
        let mut request = SearchRequest::new(self.naming_context.as_str(), Scope::Sub, filter, &ALWAYS);
        request.controls = vec![SearchControl::ShowDeleted];
        let mut search = directory.search(request).await?;
        while let Some(entry) = output.or_stop(search.next_entry()).await?? {
            summary::add(Count::Entries, 1);
            if let Some(candidate) = candidate(&entry, true) {
                self.resolve(candidate, output).await?;
            }
        }
        self.position = Some(Position::Usn(highest));
        self.highest_usn = Some(highest);
        Ok(())
    }

    /// Reads a changed object whole, and prints what became of it for this stream.
    async fn resolve<W: Write>(
        &mut self,
        found: Candidate,
        output: &mut Output<'_, W>,
    ) -> anyhow::Result<()> {
        let key = key(&found.guid);
        let may_have_moved = match found.fate {
            Fate::There { may_have_moved } => may_have_moved,
            Fate::Deleted { last_name } => {
                // Objects of other streams are deleted, too; where it was is not always known.
                if let Some(dn) = &last_name
                    && !self.run.is_in_scope(dn)?
                    && !self.run.is_known(std::slice::from_ref(&key))?
                {
                    return Ok(());
                }
                self.run.emit_deletion(output, &[key], last_name.as_deref())?;
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
            // A container is in no container's stream, now or ever.
            None if self.is_other_container(&found.dn)? => Ok(()),
            // Not the stream's, or not any more; then what lies below it has left with it. Changes are told for all of the
            // naming context: of what the stream never had, nothing is looked for.
            None => {
                let is_watched = key.as_str().is_some_and(|id| self.names.contains_key(id));
                let has_left = self.run.emit_deletion(output, &[key], Some(&found.dn))? || is_watched;
                if may_have_moved && has_left {
                    leavers::emit_below(&mut self.run, output, &found.dn).await
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

    /// The object as a search of the stream gives it; `None` where it would not.
    async fn read(&self, guid: &[u8]) -> anyhow::Result<Option<Entry>> {
        let context = self.run.context;
        let filter = match self.run.source {
            Source::Search(s) => s.filter.as_str(),
            Source::Class { filter } => filter.as_str(),
            Source::Containers | Source::Container { .. } | Source::Members(_) => MATCH_ALL,
        };
        // [MS-ADTS] 3.1.1.3.1.2.4: a DN of this form names the object wherever it is.
        let key = key(guid);
        let text = key.as_str().unwrap_or_default();
        let attributes = self.run.attributes(self.run.marks());
        let names: Vec<&str> = attributes.iter().map(String::as_str).collect();
        let request = SearchRequest::new(format!("<GUID={text}>"), Scope::Base, filter, &names);
        let mut search = context.directory.search(request).await?;
        let found = match search.next_entry().await {
            Err(e) if e.is_no_such_object() => None,
            found => found?,
        };
        let Some(mut entry) = found else { return Ok(None) };
        if !self.run.is_in_scope(&entry.dn)? || !self.run.keeps(&entry)? {
            return Ok(None);
        }
        context.directory.complete_ranges(&mut entry).await?;
        Ok(Some(entry))
    }

    async fn settle<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        let (names, moved) = container_renames::look(&self.run, &self.names).await?;
        for dn in &moved {
            container_renames::emit_below(&mut self.run, output, dn).await?;
        }
        self.names = names;
        self.run.caught_up()?;
        self.note(output)
    }

    fn note<W: Write>(&mut self, output: &mut Output<'_, W>) -> anyhow::Result<()> {
        match &self.position {
            Some(position) => {
                let cookie = position.to_octets();
                LogBookmark::note(&mut self.run, output, &cookie, self.highest_usn, &self.print, &self.names)
            }
            None => Ok(()),
        }
    }
}

/// The key that a GUID makes.
fn key(guid: &[u8]) -> Value {
    let mut value = Vec::new();
    match ValueKind::Guid.write_json(guid, &mut value) {
        Ok(()) => serde_json::from_slice(&value).unwrap_or_default(),
        Err(_) => Value::Null,
    }
}

fn candidate(entry: &Entry, may_have_moved: bool) -> Option<Candidate> {
    let guid = entry.values(GUID).first()?.clone();
    let fate = match entry.first_text("isDeleted") {
        Some("TRUE") => Fate::Deleted { last_name: last_name(entry) },
        _ => Fate::There { may_have_moved },
    };
    Some(Candidate { guid, dn: extended_name(&entry.dn).to_owned(), fate })
}

/// What a deleted object was called: its own RDN without what deletion put behind it ("\0ADEL:" and its GUID, [MS-ADTS]
/// 3.1.1.5.5), below its last parent.
fn last_name(entry: &Entry) -> Option<String> {
    let parent = extended_name(entry.first_text("lastKnownParent")?);
    let rdn = singer_common::dn::split(extended_name(&entry.dn)).ok()?.first().copied()?;
    let own = rdn.split_once("\\0ADEL:").map_or(rdn, |(own, _)| own);
    Some(format!("{own},{parent}"))
}

/// A DN without the `<GUID=…>;<SID=…>;` that DirSync puts in front of it.
fn extended_name(dn: &str) -> &str {
    if dn.starts_with('<') { dn.rsplit_once(">;").map_or(dn, |(_, name)| name) } else { dn }
}

/// What a domain controller has counted to.
pub(crate) async fn highest_usn(directory: &Directory) -> anyhow::Result<u64> {
    let entry = directory.read("", &[RootDse::HIGHEST_USN]).await?.unwrap_or_default();
    let usn = entry.first_text(RootDse::HIGHEST_USN).and_then(|t| t.parse().ok());
    usn.ok_or_else(|| {
        DirectoryError::Protocol {
            operation: "search",
            dn: String::new(),
            reason: format!("the root DSE has no {}", RootDse::HIGHEST_USN),
        }
        .into()
    })
}

fn dirsync_end(search: &SearchStream, naming_context: &str) -> Result<(bool, Vec<u8>), DirectoryError> {
    let SearchStream::Ldap(search) = search else { return Ok((false, Vec::new())) };
    search.dirsync_end().map(|end| (end.more, end.cookie.clone())).ok_or_else(|| DirectoryError::Protocol {
        operation: "search",
        dn: naming_context.to_owned(),
        reason: "the server's answer has no DirSync control".into(),
    })
}

/// [MS-ADTS] 3.1.1.3.4.1.3: insufficientAccessRights without the right; or the server has no DirSync here at all.
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

/// Why the server refused to go on from a cookie, if that is what an error is about.
fn refused_cookie(error: &anyhow::Error) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use singer_common::entry::Attribute;

    #[test]
    fn a_tombstone_tells_what_the_object_was_called() {
        let entry = Entry {
            dn: "<GUID=1>;CN=Doe\\, Jane\\0ADEL:0f2b,CN=Deleted Objects,DC=x".into(),
            attributes: vec![Attribute::new("lastKnownParent", vec![b"<GUID=2>;<SID=3>;OU=a,DC=x".to_vec()])],
        };
        assert_eq!(last_name(&entry).as_deref(), Some("CN=Doe\\, Jane,OU=a,DC=x"));
    }

    #[test]
    fn positions_come_back() {
        for position in [Position::DirSync(vec![0, 255]), Position::Usn(u64::MAX)] {
            assert_eq!(Position::from_octets(&position.to_octets()), Some(position));
        }
        assert_eq!(Position::from_octets(b"Ux"), None);
    }
}
