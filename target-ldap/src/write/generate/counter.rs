//! `next` with `counter`: a number is claimed before it is given to an entry, so that no two runs give the same one.
//!
//! The counter is an entry whose value of the attribute is the next number. A claim deletes that value and adds the one after the claimed number,
//! in one modification: the server refuses it if another run was faster, because the value to be deleted is not there any more (RFC 4511
//! section 4.6). No control is needed.

use ldap_directory::DirectoryError;
use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::protocol::result_code;

use super::choose::{NoneFree, none_free};
use crate::map::generated::GeneratedAttribute;
use crate::write::applier::Applier;

/// How often another run may be faster.
const CLAIMS: u32 = 100;

impl Applier {
    /// Claims the next number that is free: from the counter to the end of the range, then from its beginning.
    pub(super) async fn claim_number(
        &self,
        one: &GeneratedAttribute,
        base: &str,
        counter: &str,
    ) -> Result<Result<String, NoneFree>, DirectoryError> {
        let Some(numbered) = &one.numbered else { return Ok(Err(none_free(one, base))) };
        let refused = |problem: &str| {
            let text = format!("{}.counter: `{counter}`: {problem}", one.setting);
            Ok(Err(NoneFree::Refused(text)))
        };
        let name = one.description.as_str();
        let mut refusal = None;
        let _one_at_a_time = self.taken.claiming.lock().await;
        for _ in 0..CLAIMS {
            let Some(entry) = self.directory.read(counter, &[name]).await? else {
                return refused("there is no such entry");
            };
            let values = self.directory.schema().values_of(&entry, name);
            let value = match values {
                [] => None,
                [only] => Some(only.clone()),
                _ => return refused("it has several values, and must have one"),
            };
            let next = match &value {
                None => numbered.first,
                Some(value) => {
                    match std::str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok()) {
                        Some(next) => next,
                        None => return refused("its value is not a number"),
                    }
                }
            };
            let start = if next > numbered.last { numbered.first } else { next.max(numbered.first) };
            let chosen = match self.first_free(one, base, Some(start)).await? {
                Some(chosen) => Some(chosen),
                // What was freed, or never given.
                None => self.first_free(one, base, None).await?,
            };
            let Some(chosen) = chosen else { return Ok(Err(none_free(one, base))) };
            let after = chosen.parse::<u64>().unwrap_or(numbered.last).saturating_add(1).to_string();
            let mut changes = Vec::new();
            if let Some(value) = value {
                changes.push(Modification::new(ModificationKind::Delete, name, vec![value]));
            }
            changes.push(Modification::new(ModificationKind::Add, name, vec![after.into_bytes()]));
            match self.directory.apply(&Change::Modify { dn: counter.to_owned(), changes }).await {
                Ok(()) => return Ok(Ok(chosen)),
                Err(e) if e.code().is_some_and(is_overtaken) => refusal = Some(e),
                Err(e) => return Err(e),
            }
        }
        refusal.map_or_else(|| Ok(Err(none_free(one, base))), Err)
    }
}

/// Whether the counter had another value by then, or had got one.
fn is_overtaken(code: u32) -> bool {
    matches!(
        code,
        result_code::NO_SUCH_ATTRIBUTE
            | result_code::ATTRIBUTE_OR_VALUE_EXISTS
            | result_code::CONSTRAINT_VIOLATION
            | result_code::OBJECT_CLASS_VIOLATION
    )
}
