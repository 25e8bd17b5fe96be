//! The setting `exclude_base_dns`: subtrees that are in no stream.

use ldap_directory::dn::DnKey;
use ldap_directory::{Directory, DirectoryError};
use singer_common::operations::facts::Facts;
use singer_common::plugin::settings::SettingsError;

use crate::config::TapConfig;

/// The name of the setting.
pub(crate) const SETTING: &str = "exclude_base_dns";

/// Returns the directory without the subtrees of the setting. Warns of those that leave out nothing.
///
/// # Errors
/// Fails if a stream would have no entry left, or if the server does not answer.
pub(crate) async fn exclude(
    config: &TapConfig,
    directory: Directory,
    base: &str,
) -> anyhow::Result<Directory> {
    let wrong =
        |problem: String| SettingsError::value(SETTING, problem, "DNs below the bases of the streams");
    let part = directory.clone().excluding(&config.exclude_base_dns).map_err(|e| wrong(e.to_string()))?;
    let Some(excluded) = part.excluded() else { return Ok(directory) };
    let streams = config.schemas.iter().enumerate();
    let of_streams =
        streams.filter_map(|(n, s)| Some((format!("schemas[{n}].base_dn"), s.base_dn.as_deref()?)));
    let bases: Vec<(String, &str)> = [("base_dn".to_owned(), base)].into_iter().chain(of_streams).collect();
    let is_used = |setting: &str| {
        setting != "base_dn"
            || config.schemas.is_empty()
            || config.schemas.iter().any(|s| s.base_dn.is_none())
    };
    let bases = || bases.iter().filter(|(setting, _)| is_used(setting));
    if let Some((setting, base)) = bases().find(|(_, base)| excluded.has_dn(base)) {
        return Err(wrong(format!("leaves out `{base}` ({setting}) and all below it")).into());
    }
    for dn in &config.exclude_base_dns {
        let schema = directory.schema();
        let key = DnKey::parse(dn, schema).map_err(|e| wrong(e.to_string()))?;
        let is_below = |base: &str| DnKey::parse(base, schema).is_ok_and(|base| key.is_within(&base));
        let problem = if !bases().any(|(_, base)| is_below(base)) {
            "lies below the base of no stream"
        } else if is_absent(&directory, dn).await? {
            "is not there, or the bound user may not see it"
        } else {
            continue;
        };
        let nearest = directory.nearest_name(dn).await;
        let near = nearest.as_deref().map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default();
        Facts { dn: Some(dn.clone()), nearest: nearest.clone(), ..Facts::of_setting(SETTING) }
            .warn(&format!("`{dn}` {problem}, and leaves out nothing{near}"));
    }
    Ok(part)
}

/// Returns whether there is no such entry, as far as the bound user may know.
async fn is_absent(directory: &Directory, dn: &str) -> Result<bool, DirectoryError> {
    match directory.begins_at(dn).await {
        // It may not be read, but it is there.
        Err(e) if e.code().is_some() => Ok(false),
        found => Ok(!found?),
    }
}
