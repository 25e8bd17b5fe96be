//! Which references the server itself keeps right when an entry is renamed or deleted: a plan has to show what the run will find then,
//! and an undo has to give back what the server took out with an entry.

use ldap_directory::entry::Entry;
use ldap_directory::{Directory, DirectoryError, MaintainedReferences, Scope, SearchRequest, Vendor};

use crate::write::left_names;

/// The overlay of OpenLDAP, and its attributes (slapo-refint(5)).
const REFINT: (&str, &str) = ("(objectClass=olcRefintConfig)", "olcRefintAttribute");
/// The plugin of 389 Directory Server, and its attributes.
const REFERINT: &str = "cn=referential integrity postoperation,cn=plugins,cn=config";
const PLUGIN_ENABLED: &str = "nsslapd-pluginEnabled";
const REFERINT_ATTRIBUTE: &str = "referint-membership-attr";

/// Returns the references that a server keeps right; `None`: none, or nothing shows it.
pub(crate) async fn maintained_references(
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
    let overlays = match overlays_of_openldap(directory, &[attribute], filter, &[attribute]).await? {
        Shown::Nothing => return Ok(None),
        Shown::Hidden => return Ok(Some(MaintainedReferences::All)),
        Shown::These(overlays) => overlays,
    };
    let names: Vec<String> = overlays.iter().flat_map(|overlay| words(overlay, attribute)).collect();
    Ok((!names.is_empty()).then_some(MaintainedReferences::Named(names)))
}

/// Of 389 Directory Server, by its configuration. If that may not be read: the plugin is off as the server is delivered.
async fn of_389(directory: &Directory) -> Option<MaintainedReferences> {
    match plugin_of_389(directory, REFERINT, REFERINT_ATTRIBUTE).await {
        Shown::These(names) => Some(MaintainedReferences::Named(names)),
        Shown::Nothing | Shown::Hidden => None,
    }
}

/// What a server shows of a part of its configuration.
enum Shown<T> {
    /// It does not have the part, or that is off.
    Nothing,
    /// The bound user may not read it.
    Hidden,
    These(Vec<T>),
}

/// Returns the overlays of OpenLDAP that a filter matches. `defined`: the attributes of which the schema has one, if a module with such an
/// overlay is loaded.
async fn overlays_of_openldap(
    directory: &Directory,
    defined: &[&str],
    filter: &str,
    asked: &[&str],
) -> Result<Shown<Entry>, DirectoryError> {
    if defined.iter().all(|name| directory.schema().attribute_type(name).is_none()) {
        return Ok(Shown::Nothing);
    }
    if !matches!(directory.read("cn=config", &["1.1"]).await, Ok(Some(_))) {
        return Ok(Shown::Hidden);
    }
    let mut search = directory.search(SearchRequest::new("cn=config", Scope::Subtree, filter, asked)).await?;
    let mut overlays = Vec::new();
    while let Some(entry) = search.next_entry().await? {
        overlays.push(entry);
    }
    Ok(Shown::These(overlays))
}

/// Returns the names in an attribute of an overlay, of which one value may have several.
fn words(overlay: &Entry, attribute: &str) -> Vec<String> {
    let values = overlay.values(attribute).iter().filter_map(|value| std::str::from_utf8(value).ok());
    values.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// Returns the values of an attribute of a plug-in of 389 Directory Server, if it is on.
async fn plugin_of_389(directory: &Directory, dn: &str, attribute: &str) -> Shown<String> {
    let plugin = directory.read(dn, &[PLUGIN_ENABLED, attribute]).await.ok().flatten();
    let Some(plugin) = plugin else { return Shown::Hidden };
    let values = plugin.values(attribute).iter().filter_map(|value| String::from_utf8(value.clone()).ok());
    match plugin.first_text(PLUGIN_ENABLED) {
        None => Shown::Hidden,
        Some(state) if state.eq_ignore_ascii_case("on") => Shown::These(values.collect()),
        Some(_) => Shown::Nothing,
    }
}

/// Removes the names that are there in another case.
fn dedup(names: &mut Vec<String>) {
    names.sort_unstable_by_key(|name| name.to_ascii_lowercase());
    names.dedup_by(|one, other| one.eq_ignore_ascii_case(other));
}

/// OpenLDAP's overlay that takes deleted entries out of groups, if it is told so (slapo-memberof(5)): whether, and the attribute.
const MEMBEROF: (&str, &str) = ("olcMemberOfRefint", "olcMemberOfMemberAD");
/// What OpenLDAP's `refint` writes instead of the last value.
const REFINT_NOTHING: &str = "olcRefintNothing";
/// The plug-in of 389 Directory Server that takes deleted entries out of groups, and its attributes.
const MEMBEROF_389: (&str, &str) = ("cn=MemberOf Plugin,cn=plugins,cn=config", "memberOfGroupAttr");
/// Attributes of Active Directory that are links as well.
const LINKED: [&str; 1] = ["managedBy"];

/// What a server takes out of other entries when it deletes an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::write) struct TakenWithEntries {
    /// The attributes.
    pub(in crate::write) attributes: Vec<String>,
    /// What the server writes instead of the last value, if that is known.
    pub(in crate::write) placeholder: Option<String>,
}

impl TakenWithEntries {
    /// Those that give rights, or say who is responsible: of a server that does not show what it takes out.
    fn usual(more: &[&str]) -> TakenWithEntries {
        let attributes = left_names::ATTRIBUTES.iter().chain(more).map(|&name| name.to_owned()).collect();
        TakenWithEntries { attributes, placeholder: None }
    }

    fn named(attributes: Vec<String>, placeholder: Option<String>) -> Option<TakenWithEntries> {
        (!attributes.is_empty()).then_some(TakenWithEntries { attributes, placeholder })
    }
}

/// Returns what the server takes out of other entries with an entry that it deletes; `None`: nothing. If nothing shows it, it may: an undo
/// gives back only what is not there.
pub(in crate::write) async fn taken_with_entries(
    directory: &Directory,
) -> Result<Option<TakenWithEntries>, DirectoryError> {
    match directory.root_dse().vendor {
        Vendor::ActiveDirectory => Ok(Some(TakenWithEntries::usual(&LINKED))),
        Vendor::OpenLdap => taken_by_openldap(directory).await,
        Vendor::Ds389 => Ok(taken_by_389(directory).await),
        Vendor::Ldif => Ok(None),
        Vendor::Other => Ok(Some(TakenWithEntries::usual(&[]))),
    }
}

async fn taken_by_openldap(directory: &Directory) -> Result<Option<TakenWithEntries>, DirectoryError> {
    let ((_, refint), (takes, group)) = (REFINT, MEMBEROF);
    let filter = "(|(olcRefintAttribute=*)(olcMemberOfRefint=TRUE))";
    let asked = [refint, REFINT_NOTHING, takes, group];
    let overlays = match overlays_of_openldap(directory, &[refint, takes], filter, &asked).await? {
        Shown::Nothing => return Ok(None),
        Shown::Hidden => return Ok(Some(TakenWithEntries::usual(&[]))),
        Shown::These(overlays) => overlays,
    };
    let (mut names, mut placeholder) = (Vec::new(), None);
    for entry in overlays {
        names.extend(words(&entry, refint));
        placeholder = placeholder.or_else(|| entry.first_text(REFINT_NOTHING).map(str::to_owned));
        if entry.first_text(takes).is_some() {
            names.push(entry.first_text(group).unwrap_or("member").to_owned());
        }
    }
    dedup(&mut names);
    Ok(TakenWithEntries::named(names, placeholder))
}

async fn taken_by_389(directory: &Directory) -> Option<TakenWithEntries> {
    let mut names = Vec::new();
    for (plugin, attribute) in [(REFERINT, REFERINT_ATTRIBUTE), MEMBEROF_389] {
        match plugin_of_389(directory, plugin, attribute).await {
            Shown::These(of_plugin) => names.extend(of_plugin),
            Shown::Nothing => {}
            // It may be on.
            Shown::Hidden => return Some(TakenWithEntries::usual(&[])),
        }
    }
    dedup(&mut names);
    TakenWithEntries::named(names, None)
}
