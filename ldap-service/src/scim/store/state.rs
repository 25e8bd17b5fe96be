//! Changes of `active`, which the days of an account may end as well.

use chrono::Utc;
use serde_json::{Map, Value};
use target_ldap::rules::accounts::AccountLock;

use super::{Found, Kind};
use crate::error::ApiError;
use crate::login;
use crate::scim::error::ScimError;
use crate::scim::mapping::Active;
use crate::scim::record::{self, Canonical};
use crate::write::rules::ACTIVE;

/// Returns the resource before a change. `active` is the mark of a disabled account alone: a client may set it whatever the days of the
/// account are.
pub(super) fn before(kind: &Kind, found: &Found) -> Result<Canonical, ApiError> {
    let mut before = record::canonical(&kind.mapping, &found.resource, &mut Vec::new())?;
    if let Some(Active::Lock(lock)) = kind.mapping.active
        && let Some(is_enabled) = lock.is_enabled(&found.entry)
    {
        before.insert(ACTIVE.to_owned(), is_enabled.into());
    }
    Ok(before)
}

/// Returns what operations say of `active`, whatever it was before; `None`: nothing.
pub(super) fn said(before: &Canonical, apply: impl Fn(&Canonical) -> Option<Canonical>) -> Option<bool> {
    let after = |was: bool| {
        let mut before = before.clone();
        before.insert(ACTIVE.to_owned(), was.into());
        apply(&before)?.get(ACTIVE)?.as_bool()
    };
    before.get(ACTIVE)?;
    let (one, other) = (after(true)?, after(false)?);
    (one == other).then_some(one)
}

/// Adds to a record what a client has said of `active`, where the writer checks it though the mark is there already. `owes_locks`: an account
/// may be enabled only because its lock could not be written, and a client that enables it ends that.
///
/// # Errors
/// The account is to be active, and its days do not allow it.
pub(super) fn say(
    kind: &Kind,
    found: &Found,
    said: Option<bool>,
    owes_locks: bool,
    record: &mut Map<String, Value>,
) -> Result<(), ApiError> {
    let Some(Active::Lock(lock)) = kind.mapping.active else { return Ok(()) };
    match said {
        // A killed program has left the account so: that is taken back with the lock.
        Some(true) if lock.bars_of(&found.entry).next().is_some() => {
            record.insert(ACTIVE.to_owned(), true.into());
            Ok(())
        }
        Some(true) if login::out_of_days(&found.entry, Utc::now()).is_some() => {
            let detail = format!(
                "active: the account is past its last day, or its first day has not come ({}): that is changed in the directory",
                login::days(lock).join(", ")
            );
            Err(ScimError::value(detail).into())
        }
        // What is shown may end by itself: the days of an account; what a role or a class of service computes, in both ways.
        Some(said)
            if lock == AccountLock::NsAccountLock || !said && lock == AccountLock::PwdAccountLockedTime =>
        {
            record.insert(ACTIVE.to_owned(), said.into());
            Ok(())
        }
        Some(true) if owes_locks => {
            record.insert(ACTIVE.to_owned(), true.into());
            Ok(())
        }
        _ => Ok(()),
    }
}
