//! Which references the server itself keeps right when an entry is renamed: a plan has to show what the run will find then.

use ldap_directory::{Directory, DirectoryError, MaintainedReferences, Scope, SearchRequest, Vendor};

/// The overlay of OpenLDAP, and its attributes (slapo-refint(5)).
const REFINT: (&str, &str) = ("(objectClass=olcRefintConfig)", "olcRefintAttribute");
/// The plugin of 389 Directory Server, and its attributes.
const REFERINT: &str = "cn=referential integrity postoperation,cn=plugins,cn=config";
const REFERINT_ENABLED: &str = "nsslapd-pluginEnabled";
const REFERINT_ATTRIBUTE: &str = "referint-membership-attr";

/// Returns the references that a server keeps right; `None`: none, or nothing shows it.
pub(super) async fn maintained_references(
    directory: &Directory,
) -> Result<Option<MaintainedReferences>, DirectoryError> {
    match directory.root_dse().vendor {
        // A reference names the entry itself, whatever its DN ([MS-ADTS] 3.1.1.1.4).
        Vendor::ActiveDirectory => Ok(Some(MaintainedReferences::All)),
        Vendor::OpenLdap => of_openldap(directory).await,
        Vendor::Ds389 => Ok(of_389(directory).await),
        Vendor::Ldif | Vendor::Other => Ok(None),
    }
}

/// Of OpenLDAP, by its configuration. If that may not be read: the definitions of an overlay are in the schema once its module is loaded.
async fn of_openldap(directory: &Directory) -> Result<Option<MaintainedReferences>, DirectoryError> {
    let (filter, attribute) = REFINT;
    if directory.schema().attribute_type(attribute).is_none() {
        return Ok(None);
    }
    if !matches!(directory.read("cn=config", &["1.1"]).await, Ok(Some(_))) {
        return Ok(Some(MaintainedReferences::All));
    }
    let mut search =
        directory.search(SearchRequest::new("cn=config", Scope::Subtree, filter, &[attribute])).await?;
    let mut names = Vec::new();
    while let Some(entry) = search.next_entry().await? {
        let values = entry.values(attribute).iter().filter_map(|value| std::str::from_utf8(value).ok());
        // One value may have several names.
        names.extend(values.flat_map(str::split_whitespace).map(str::to_owned));
    }
    Ok((!names.is_empty()).then_some(MaintainedReferences::Named(names)))
}

/// Of 389 Directory Server, by its configuration. If that may not be read: the plugin is off as the server is delivered.
async fn of_389(directory: &Directory) -> Option<MaintainedReferences> {
    let plugin = directory.read(REFERINT, &[REFERINT_ENABLED, REFERINT_ATTRIBUTE]).await.ok().flatten()?;
    let is_on = plugin.first_text(REFERINT_ENABLED).is_some_and(|state| state.eq_ignore_ascii_case("on"));
    let names = plugin.values(REFERINT_ATTRIBUTE).iter().filter_map(|v| String::from_utf8(v.clone()).ok());
    is_on.then(|| MaintainedReferences::Named(names.collect()))
}
