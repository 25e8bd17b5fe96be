//! Changes of resources: all through [`Writer`](crate::write::Writer).

use http::StatusCode;
use ldap_directory::Scope;
use ldap_directory::dn::first_rdn;
use serde_json::{Map, Value};
use target_ldap::rules::template::DnTemplate;

use super::links::Links;
use super::{Found, Kind, Store, not_found, state, writer_kind};
use crate::error::ApiError;
use crate::lookup::find;
use crate::members;
use crate::scim::error::ScimError;
use crate::scim::mapping::ResourceType;
use crate::scim::patch::{self, MemberChange, Operation};
use crate::scim::projection::Projection;
use crate::scim::record::{self, Canonical, Changes};
use crate::unseen;
use crate::write::rules::ACTIVE;
use crate::write::{EntryRef, Placement, Subject, WriteError, WriteOptions};

/// What a change left.
#[derive(Debug)]
pub enum Written {
    /// The resource as it is now.
    Resource(Box<Found>),
    /// The group has more members than an answer may have, or the service's user may not read them, and the request did not ask for
    /// them: there is no body.
    WithoutBody {
        /// Its version, if it can be told without the members.
        version: Option<String>,
    },
}

/// A precondition of a request (RFC 7232): the values of `If-Match`.
type IfMatch<'h> = Option<&'h [String]>;

impl Store<'_> {
    /// Creates a resource.
    ///
    /// # Errors
    /// The body is not valid, another resource has the name, or the writer refuses.
    pub async fn create(&self, resource: ResourceType, body: &Value) -> Result<Found, ApiError> {
        let kind = self.kind(resource)?;
        let mut ignored = Vec::new();
        let wanted = record::canonical(&kind.mapping, body, &mut ignored)?;
        record::check_required(&kind.mapping, &wanted)?;
        let mut changes = self.changes(kind, &Canonical::new(), &wanted).await?;
        ignored.append(&mut changes.unstored);
        note(resource, &ignored);
        if let (Some(_), Some(members)) = (&kind.mapping.members, wanted.get("members")) {
            let rule = self.service.writer.rule(writer_kind(resource), &self.directory)?;
            let values = self.named(&rule.members, &patch::ids(members)?, None).await?;
            changes.record.insert(rule.members, values.into());
        }
        // What is added must be shown, with its id.
        self.check_ids(kind).await?;
        let writer = &self.service.writer;
        let must_show = Self::deciding(kind, &Projection::default()).into_iter().map(str::to_owned).collect();
        let options = WriteOptions { must_show, ..WriteOptions::default() };
        let outcome = writer
            .upsert(&self.directory, writer_kind(resource), changes.record, Subject::New, options)
            .await
            .map_err(|e| self.refused(kind, e));
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                // The server, too, says that an entry above is missing.
                self.check_base(kind).await?;
                return Err(error);
            }
        };
        if let Some(id) = outcome.id.clone() {
            let group = EntryRef { dn: outcome.dn.clone(), id };
            self.settle_members(kind, &group).await.map_err(|e| written(e, &outcome.dn))?;
        }
        let made = async {
            let names = Self::attributes(kind, true);
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let entry = self.directory.read(&outcome.dn, &names).await?;
            let entry = entry.ok_or_else(|| not_found(resource, "(new)"))?;
            self.found(kind, entry, &Projection::default(), &Links::default()).await
        };
        made.await.map_err(|e| written(e, &outcome.dn))
    }

    /// Replaces a resource.
    ///
    /// # Errors
    /// As [`Self::create`]; 404 if there is none; 412 if it is not the version of `if_match`.
    pub async fn replace(
        &self,
        resource: ResourceType,
        id: &str,
        body: &Value,
        if_match: IfMatch<'_>,
    ) -> Result<Found, ApiError> {
        let kind = self.kind(resource)?;
        let mut ignored = Vec::new();
        let mut wanted = record::canonical(&kind.mapping, body, &mut ignored)?;
        let found = self.get(resource, id, &Projection::default()).await?;
        let mut options = self.precondition(kind, &found, if_match)?;
        let before = state::before(kind, &found)?;
        let said = wanted.get(ACTIVE).and_then(Value::as_bool);
        if let (None, Some(active)) = (wanted.get(ACTIVE), before.get(ACTIVE)) {
            wanted.insert(ACTIVE.to_owned(), active.clone());
        }
        record::check_required(&kind.mapping, &wanted)?;
        let mut changes = self.changes(kind, &before, &wanted).await?;
        state::say(kind, &found, said, self.service.writer.owes_locks(), &mut changes.record)?;
        // What is not mapped takes the place of nothing.
        unmapped(&record::displacing(&kind.mapping, &before, &wanted))?;
        ignored.append(&mut changes.unstored);
        note(resource, &ignored);
        if kind.mapping.members.is_some() {
            let ids = wanted.get("members").map(patch::ids).transpose()?.unwrap_or_default();
            let says_members =
                body.as_object().and_then(|b| record::get(b, "members")).is_some_and(|m| !m.is_null());
            self.guard_emptying(&found, ids.is_empty() && !says_members)?;
            options.taken_out = self.set_members(kind, &found, &ids, &mut changes).await?;
        }
        self.upsert(kind, &found, changes.record, options).await?;
        self.settle(kind, &found).await?;
        self.after_write(kind, id, &found, &Projection::default()).await
    }

    /// Applies PATCH operations.
    ///
    /// # Errors
    /// As [`Self::replace`].
    pub async fn patch(
        &self,
        resource: ResourceType,
        id: &str,
        body: &Value,
        if_match: IfMatch<'_>,
        projection: &Projection,
    ) -> Result<Written, ApiError> {
        let kind = self.kind(resource)?;
        let operations = patch::parse(body, self.filter_limits())?;
        let operations = patch::unwrapped(resource.schema(), operations)?;
        if kind.mapping.members.is_some() {
            return self.patch_group(kind, id, operations, if_match, projection).await;
        }
        let found = self.get(resource, id, &Projection::default()).await?;
        let options = self.precondition(kind, &found, if_match)?;
        let changes = self.patched(kind, &found, &operations).await?;
        self.upsert(kind, &found, changes.record, options).await?;
        let now = self.after_write(kind, id, &found, projection).await?;
        Ok(Written::Resource(Box::new(now)))
    }

    /// Returns the resource after a change. An account that was disabled may be one that the filter leaves out from now on.
    async fn after_write(
        &self,
        kind: &Kind,
        id: &str,
        before: &Found,
        projection: &Projection,
    ) -> Result<Found, ApiError> {
        let resource = kind.mapping.resource;
        let now = match self.get(resource, id, projection).await {
            Err(error) if error.status == StatusCode::NOT_FOUND => {
                let by_id = self.entry_ref(kind, before)?.id.filter();
                let names = Self::attributes(kind, true);
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let there = find(&self.directory, &kind.base_dn, Scope::Subtree, by_id, &names, 1).await?;
                let Some(entry) = there.into_iter().next() else { return Err(error) };
                let setting = format!("{}.filter", writer_kind(resource).stream());
                tracing::warn!(setting, dn = entry.dn, "the entry that was written is in no list any more");
                self.found(kind, entry, projection, &Links::default()).await
            }
            now => now,
        };
        now.map_err(|e| written(e, &before.entry.dn))
    }

    async fn patch_group(
        &self,
        kind: &Kind,
        id: &str,
        operations: Vec<Operation>,
        if_match: IfMatch<'_>,
        projection: &Projection,
    ) -> Result<Written, ApiError> {
        let split = patch::split_members(&kind.mapping, operations, self.filter_limits())?;
        let replaces = |c: &MemberChange| matches!(c, MemberChange::Replace(_) | MemberChange::RemoveAll);
        let needs_all =
            split.members.iter().any(replaces) || (!split.members.is_empty() && !split.others.is_empty());
        let found = if needs_all {
            self.get(kind.mapping.resource, id, &Projection::default()).await?
        } else {
            // What is there is found by the values themselves.
            self.check_searchable(kind, &kind.mapping.member_attributes()).await?;
            if projection.names_it(&kind.mapping, "members") {
                self.get(kind.mapping.resource, id, projection).await?;
            }
            self.get_entry(kind.mapping.resource, id, if_match).await?
        };
        let mut options = self.precondition(kind, &found, if_match)?;
        if needs_all || split.members.is_empty() {
            let mut changes = self.patched(kind, &found, &split.others).await?;
            if !split.members.is_empty() {
                let ids = self.after(&found, &split.members)?;
                options.taken_out = self.set_members(kind, &found, &ids, &mut changes).await?;
            }
            self.upsert(kind, &found, changes.record, options).await?;
        } else {
            self.change_members(kind, &found, &split.members, options).await?;
        }
        self.settle(kind, &found).await?;
        self.answer(kind, id, projection).await.map_err(|e| written(e, &found.entry.dn))
    }

    /// Looks the new members of a written group up again.
    async fn settle(&self, kind: &Kind, found: &Found) -> Result<(), ApiError> {
        let group = self.entry_ref(kind, found)?;
        self.settle_members(kind, &group).await.map_err(|e| written(e, &group.dn))
    }

    /// Returns the resource after a change of a group, unless it has too many members, or members that the service's user may not read.
    async fn answer(&self, kind: &Kind, id: &str, projection: &Projection) -> Result<Written, ApiError> {
        let resource = kind.mapping.resource;
        let most = usize::try_from(self.service.config.limits.count).unwrap_or(usize::MAX);
        let attributes = kind.mapping.member_attributes();
        let is_wanted = projection.wants(&kind.mapping, resource.schema(), "members");
        let names = Self::attributes(kind, is_wanted);
        let entry = self.entry_of(kind, id, &names).await?.ok_or_else(|| not_found(resource, id))?;
        if is_wanted && !projection.names_it(&kind.mapping, "members") {
            let is_ranged = entry.attributes.iter().any(|a| a.description.contains(";range="));
            let own = members::attributes(&entry, &attributes, self.schema());
            let mut count = own.iter().map(|attribute| attribute.values.len()).sum::<usize>();
            if let Some(room) = most.checked_sub(count).filter(|_| !is_ranged) {
                count += self.primary_members(&kind.mapping, &entry, false, Some(room + 1)).await?.len();
            }
            let is_hidden = unseen::hidden(&self.directory, &entry, &attributes).await?.is_some();
            if is_ranged || count > most || is_hidden {
                let without = Projection::new(None, Some(&["members".to_owned()]))?;
                let found = self.found(kind, entry, &without, &Links::default()).await?;
                return Ok(Written::WithoutBody { version: found.version().map(str::to_owned) });
            }
        }
        let found = self.found(kind, entry, projection, &Links::default()).await?;
        Ok(Written::Resource(Box::new(found)))
    }

    /// Returns a resource without members and groups, unless `If-Match` needs them: without an exact stamp, the version depends on the
    /// members.
    async fn get_entry(
        &self,
        resource: ResourceType,
        id: &str,
        if_match: IfMatch<'_>,
    ) -> Result<Found, ApiError> {
        let without = Projection::new(None, Some(&["members".to_owned(), "groups".to_owned()]))?;
        let found = self.get(resource, id, &without).await?;
        if if_match.is_some() && found.version().is_none() {
            return self.get(resource, id, &Projection::default()).await;
        }
        Ok(found)
    }

    /// Deletes a resource.
    ///
    /// # Errors
    /// 404 if there is none, 412 if it is not the version of `if_match`, or the writer refuses.
    pub async fn delete(
        &self,
        resource: ResourceType,
        id: &str,
        if_match: IfMatch<'_>,
    ) -> Result<(), ApiError> {
        let kind = self.kind(resource)?;
        let found = self.get_entry(resource, id, if_match).await?;
        let options = self.precondition(kind, &found, if_match)?;
        let entry = self.entry_ref(kind, &found)?;
        let writer = &self.service.writer;
        let deleted = writer.delete(&self.directory, writer_kind(resource), entry, options).await;
        deleted.map(|_| ()).map_err(|e| self.refused(kind, e))
    }

    /// Checks `If-Match`, and returns the condition for the writer.
    fn precondition(
        &self,
        kind: &Kind,
        found: &Found,
        if_match: IfMatch<'_>,
    ) -> Result<WriteOptions, ApiError> {
        let Some(wanted) = if_match else { return Ok(WriteOptions::default()) };
        if wanted.iter().any(|tag| tag == "*") {
            return Ok(WriteOptions::default());
        }
        if !found.is_any_of(wanted) {
            let detail = "the resource is not the version of If-Match";
            return Err(ApiError::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail));
        }
        Ok(WriteOptions { condition: self.unchanged(kind, &found.entry), ..WriteOptions::default() })
    }

    /// Returns the changes from one state to another, with the DNs of users that are referred to.
    async fn changes(&self, kind: &Kind, before: &Canonical, after: &Canonical) -> Result<Changes, ApiError> {
        let found = self.references(&record::referenced_users(&kind.mapping, after)).await?;
        let dn_of = |id: &str| found.get(id).map(|found| found.dn.clone());
        Ok(record::to_record(&kind.mapping, before, after, &dn_of)?)
    }

    async fn patched(
        &self,
        kind: &Kind,
        found: &Found,
        operations: &[Operation],
    ) -> Result<Changes, ApiError> {
        patch::check_read_only(&kind.mapping, &found.resource, operations, self.filter_limits())?;
        let before = state::before(kind, found)?;
        let apply =
            |before: &Canonical| patch::apply(&kind.mapping, before, operations, self.filter_limits());
        let applied = apply(&before)?;
        let mut changes = self.changes(kind, &before, &applied.resource).await?;
        let said = state::said(&before, |before| apply(before).ok().map(|applied| applied.resource));
        state::say(kind, found, said, self.service.writer.owes_locks(), &mut changes.record)?;
        let known = record::unstored(&kind.mapping, &before);
        let mut new = changes.unstored.clone();
        new.retain(|path| !known.contains(path));
        if let Some(name) = applied.ignored.first() {
            return Err(record::unknown(&kind.mapping, name).into());
        }
        unmapped(&new)?;
        Ok(changes)
    }

    async fn upsert(
        &self,
        kind: &Kind,
        found: &Found,
        mut record: Map<String, Value>,
        mut options: WriteOptions,
    ) -> Result<(), ApiError> {
        if record.is_empty() {
            return Ok(());
        }
        self.follow_name(kind, found, &mut record).await?;
        (options.placement, options.for_name_only) = self.placement(kind, found, &mut record)?;
        // Also by an attribute of one's own, of booleans or of texts.
        let mark = self.service.config.users.active_attribute();
        let mark = mark.filter(|_| kind.mapping.resource == ResourceType::User);
        let is_off = |name: &str| record.get(name).is_some_and(|value| *value == false || *value == "FALSE");
        options.may_leave = is_off(ACTIVE) || mark.is_some_and(is_off);
        let subject = Subject::Existing(self.entry_ref(kind, found)?);
        let resource = writer_kind(kind.mapping.resource);
        let written = self.service.writer.upsert(&self.directory, resource, record, subject, options).await;
        written.map(|_| ()).map_err(|e| self.refused(kind, e))
    }

    /// Returns whether a change renames the entry: if a value of its RDN changes. Completes the record by the values that the rule
    /// makes DNs of, and returns their names, too.
    fn placement(
        &self,
        kind: &Kind,
        found: &Found,
        record: &mut Map<String, Value>,
    ) -> Result<(Placement, Vec<String>), ApiError> {
        let (resource, schema) = (kind.mapping.resource, self.schema());
        let rdn = first_rdn(&found.entry.dn).ok().flatten();
        let names_it = |name: &String| {
            rdn.iter().flat_map(|rdn| &rdn.avas).any(|ava| schema.same_description(&ava.attribute, name))
        };
        let is_renamed = record.keys().any(names_it);
        let rule = self.service.writer.rule(writer_kind(resource), &self.directory)?.rule;
        let names = rule.dn_template.iter().flat_map(DnTemplate::names);
        let mut completed = Vec::new();
        for name in names {
            if record.keys().any(|known| schema.same_description(known, name)) {
                continue;
            }
            let mut avas = rdn.iter().flat_map(|rdn| &rdn.avas);
            let in_rdn = avas.find(|ava| schema.same_description(&ava.attribute, name)).map(|ava| &ava.value);
            let value = in_rdn.or(schema.values_of(&found.entry, name).first());
            if let Some(value) = value.map(|v| String::from_utf8_lossy(v).into_owned()) {
                record.insert(name.to_owned(), value.into());
                completed.push(name.to_owned());
            }
        }
        let rules = self.service.config.write.as_ref().map(|write| &write.mapping_rules);
        let own = rules.and_then(|rules| rules.get(writer_kind(resource).stream())?.get("dn_template"));
        let placement = match (is_renamed, own) {
            (false, _) => Placement::Same,
            (true, Some(_)) => Placement::Rule,
            (true, None) => Placement::SameParent,
        };
        Ok((placement, completed))
    }

    /// Returns the error of a write in SCIM's terms.
    pub(super) fn refused(&self, kind: &Kind, error: WriteError) -> ApiError {
        let path = error.attribute.as_deref().and_then(|attribute| {
            let schema = self.schema();
            let field =
                kind.mapping.fields.iter().find(|f| schema.same_description(&f.attribute, attribute))?;
            Some(field.key.path())
        });
        let mut error = ApiError::from(error);
        if let Some(path) = path {
            error.detail = format!("{path}: {}", error.detail);
        }
        error
    }
}

/// Returns the error of an answer after a write: it must not look as if nothing was written.
fn written(mut error: ApiError, dn: &str) -> ApiError {
    tracing::error!(dn, "an entry was written, and could not be read for the answer: {}", error.detail);
    error.detail = format!("`{dn}` was written, but cannot be shown: {}", error.detail);
    error
}

/// # Errors
/// There are values that the mapping has no place for.
fn unmapped(paths: &[String]) -> Result<(), ScimError> {
    if paths.is_empty() {
        return Ok(());
    }
    let shown: Vec<String> = paths.iter().take(20).map(|path| path.escape_debug().to_string()).collect();
    Err(ScimError::value(format!("no LDAP attribute is mapped for: {}", shown.join(", "))))
}

/// Logs the names of what the mapping has no place for: the answer does not have it either.
fn note(resource: ResourceType, names: &[String]) {
    if names.is_empty() {
        return;
    }
    let shown = names.iter().take(20).map(|n| n.escape_debug().to_string()).collect::<Vec<_>>().join(", ");
    tracing::info!(resource = resource.name(), "SCIM: not stored, for it is not mapped: {shown}");
}
