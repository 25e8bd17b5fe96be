//! Containers of Active Directory whose entries get rights or policies by their place.

use ldap_directory::{Directory, DirectoryError, Vendor};

/// The container of the domain controllers, as `wellKnownObjects` of the domain names it ([MS-ADTS] 6.1.1.4).
const DOMAIN_CONTROLLERS: &str = "A361B2FFFFD211D1AA4B00C04FD7D83A";
const WELL_KNOWN: &str = "wellKnownObjects";

/// Returns the DNs of these containers; none on other servers.
///
/// # Errors
/// The directory cannot be asked.
pub(super) async fn find(directory: &Directory) -> Result<Vec<String>, DirectoryError> {
    let base = directory.root_dse().default_base().map(str::to_owned);
    let Some(base) = base.filter(|_| directory.root_dse().vendor == Vendor::ActiveDirectory) else {
        return Ok(Vec::new());
    };
    let domain = match directory.read(&base, &[WELL_KNOWN]).await {
        Err(error) if error.is_connection() || error.is_transient() => return Err(error),
        domain => domain.ok().flatten(),
    };
    // `B:32:GUID:DN`
    let dn_of = |value: &Vec<u8>| {
        let text = std::str::from_utf8(value).ok()?;
        let (guid, dn) = text.strip_prefix("B:32:")?.split_once(':')?;
        guid.eq_ignore_ascii_case(DOMAIN_CONTROLLERS).then(|| dn.to_owned())
    };
    let found: Vec<String> =
        domain.iter().flat_map(|domain| domain.values(WELL_KNOWN)).filter_map(dn_of).collect();
    // What may not be read has its usual name.
    Ok(if found.is_empty() { vec![format!("OU=Domain Controllers,{base}")] } else { found })
}
