//! Primary groups of Active Directory: one that accounts have is not deleted. Servers say so in their own ways, if they do.

use ldap_directory::{Directory, DirectoryError, Scope, Vendor};

use super::{WriteError, WriteErrorKind, refusal};
use crate::lookup;
use crate::members::primary::{self, PRIMARY, SID};

/// The accounts that are named.
const MOST: u32 = 3;

/// Checks that an entry which is to be deleted is no account's primary group.
///
/// # Errors
/// It is, or the directory fails.
pub(crate) async fn check_deletion(directory: &Directory, dn: &str) -> Result<(), WriteError> {
    let root = directory.root_dse();
    if root.vendor != Vendor::ActiveDirectory {
        return Ok(());
    }
    let failed = |e: DirectoryError| refusal::of_directory(&e, directory.schema());
    let group = match directory.read(dn, &[SID, "groupType"]).await.map_err(failed)? {
        Some(entry) if !entry.values("groupType").is_empty() => entry,
        _ => return Ok(()),
    };
    let accounts = primary::sid(&group).and_then(primary::accounts_of);
    let (Some(accounts), Some(domain)) = (accounts, root.default_naming_context.as_deref()) else {
        return Ok(());
    };
    let names = [PRIMARY, SID];
    let found = lookup::find(directory, domain, Scope::Subtree, accounts, &names, MOST).await;
    let mut found = found.map_err(failed)?;
    found.retain(|account| primary::group_of(account).as_deref() == primary::sid(&group));
    let Some(first) = found.first() else { return Ok(()) };
    let more = if found.len() > 1 { " and others" } else { "" };
    let detail = format!(
        "`{dn}` is the primary group of `{}`{more}, and is not deleted: change {PRIMARY} of its accounts first",
        first.dn
    );
    let error = WriteError::new(WriteErrorKind::PrimaryGroup, detail).of_attribute(PRIMARY);
    Err(WriteError { entry: Some(first.dn.clone()), groups: vec![dn.to_owned()], ..error })
}
