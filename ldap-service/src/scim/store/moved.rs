//! Members that are renamed or deleted while a group is written.
//!
//! A rename corrects the groups that have the old name. A group that gets it at the same moment, for it was looked up before, would keep a
//! name of nobody: so the members are looked up again after the write.

use std::sync::PoisonError;

use ldap_directory::change::{Change, Modification, ModificationKind};

use super::{Kind, Store, writer_kind};
use crate::error::ApiError;
use crate::members::MEMBER_UID;
use crate::write::{EntryRef, WriteError, WriteErrorKind, WriteOptions};

/// How often members are looked up again.
const ATTEMPTS: u32 = 4;

/// A value that names a member, by whose id it was looked up.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) attribute: String,
    pub(super) id: String,
    pub(super) value: String,
}

impl Store<'_> {
    /// Notes a value that this request gives to a group.
    pub(super) fn note_named(&self, named: Named) {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).push(named);
    }

    /// Exchanges the names that members of a written group do not have any more.
    ///
    /// # Errors
    /// A search or a change fails, or a member is renamed all the time.
    pub(super) async fn settle_members(&self, kind: &Kind, group: &EntryRef) -> Result<(), ApiError> {
        let schema = self.schema();
        for _ in 0..ATTEMPTS {
            let written = std::mem::take(&mut *self.named.lock().unwrap_or_else(PoisonError::into_inner));
            if written.is_empty() {
                return Ok(());
            }
            let ids: Vec<String> = written.iter().map(|named| named.id.clone()).collect();
            let now = self.references_of_members(&ids, Some(&group.dn)).await?;
            let mut steps = Vec::new();
            for named in written {
                let Named { attribute, id, value } = &named;
                let names = now.get(id).map_or_else(Vec::new, |found| {
                    let by_name = schema.same_description(attribute, MEMBER_UID);
                    if by_name { found.uids.clone() } else { vec![found.dn.clone().into_bytes()] }
                });
                if names.iter().any(|name| schema.values_match(attribute, name, value.as_bytes())) {
                    continue;
                }
                tracing::warn!(
                    dn = group.dn,
                    member = value,
                    "a member of a group was renamed or deleted meanwhile"
                );
                let step = |kind, value: &[u8]| Modification::new(kind, attribute, vec![value.to_vec()]);
                steps.push(step(ModificationKind::Delete, value.as_bytes()));
                if let Some(name) = names.first().and_then(|name| String::from_utf8(name.clone()).ok()) {
                    steps.push(step(ModificationKind::Add, name.as_bytes()));
                    self.note_named(Named { value: name, ..named.clone() });
                }
            }
            if steps.is_empty() {
                return Ok(());
            }
            let changes = vec![Change::Modify { dn: group.dn.clone(), changes: steps }];
            let (writer, resource) = (&self.service.writer, writer_kind(kind.mapping.resource));
            let options = WriteOptions::default();
            let applied = writer.apply(&self.directory, resource, group.clone(), changes, options).await;
            applied.map_err(|e| self.refused(kind, e))?;
        }
        let detail = "members of the group are renamed all the time";
        Err(WriteError::new(WriteErrorKind::Unavailable, detail).into())
    }
}
