//! The entry that the connection is bound as.

use ldap_directory::dn::DnKey;
use ldap_directory::filter::Filter;
use ldap_directory::{AuthMethod, Directory, DirectoryError, Scope, SearchRequest};

/// The attribute of Active Directory's root DSE with the SIDs of the bound user and of its groups ([MS-ADTS] 3.1.1.3.2).
const TOKEN: &str = "tokenGroups";

/// Who is bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bound {
    /// An entry, or a DN without one (`rootdn`).
    Entry(String),
    /// Nobody, or there is no server.
    Nobody,
    /// The server does not say it.
    Unknown,
}

/// Returns the entry of the bound user: the DN of a simple bind, else what the server says (RFC 4532).
///
/// # Errors
/// The connection is lost.
pub(super) async fn find(directory: &Directory, auth: &AuthMethod) -> Result<Bound, DirectoryError> {
    let below = match directory {
        Directory::Preview(preview) => preview.below(),
        other => other,
    };
    let Directory::Ldap(server) = below else { return Ok(Bound::Nobody) };
    if *auth == AuthMethod::Anonymous {
        return Ok(Bound::Nobody);
    }
    let is_dn = |dn: &str| DnKey::parse(dn, directory.schema()).is_ok_and(|key| !key.is_root());
    if let AuthMethod::Simple { dn, .. } = auth
        && is_dn(dn)
    {
        return Ok(Bound::Entry(dn.clone()));
    }
    let who = server.who_am_i().await?;
    if let Some(dn) = who.as_deref().and_then(|who| who.strip_prefix("dn:")).map(str::trim)
        && is_dn(dn)
    {
        return Ok(Bound::Entry(dn.to_owned()));
    }
    if let Some(dn) = of_token(below).await? {
        return Ok(Bound::Entry(dn));
    }
    Ok(Bound::Unknown)
}

/// Returns the entry of the bound user by its SID: Active Directory says `u:DOMAIN\user` ([MS-ADTS] 3.1.1.3.4.2.4).
async fn of_token(directory: &Directory) -> Result<Option<String>, DirectoryError> {
    let known = |e: &DirectoryError| e.code().is_some() && !e.is_transient();
    let root = match directory.read("", &[TOKEN]).await {
        Err(e) if known(&e) => None,
        root => root?,
    };
    let sids = root.as_ref().map(|root| root.values(TOKEN)).unwrap_or_default();
    let Some(base) = directory.root_dse().default_base().filter(|_| !sids.is_empty()) else {
        return Ok(None);
    };
    // The groups are of another class.
    let any = sids.iter().map(|sid| Filter::equality("objectSid", sid.clone())).collect();
    let filter = Filter::And(vec![Filter::equality("objectClass", "user"), Filter::Or(any)]);
    let found = async {
        let mut search = directory.search(SearchRequest::new(base, Scope::Subtree, filter, &["1.1"])).await?;
        let found = search.next_entry().await?;
        search.abandon().await?;
        Ok::<_, DirectoryError>(found.map(|entry| entry.dn))
    };
    match found.await {
        Err(e) if known(&e) => Ok(None),
        found => found,
    }
}
