//! What export and import have in common: the bases, and checks of what a caller asks for.

use ldap_directory::Directory;
use ldap_directory::dn::DnKey;

use crate::config::Config;
use crate::error::ApiError;

/// The first words of an export, by which an import knows it again.
pub(crate) const HEAD: &str = "# ldap-service export";
/// The first word of the last line of a whole export.
pub(crate) const END: &str = "# end: ";

/// Returns the configured bases, without those below another one.
pub(crate) fn bases(config: &Config, directory: &Directory) -> Vec<String> {
    let all = [Some(&config.users.base_dn), config.groups.as_ref().map(|groups| &groups.base_dn)];
    let all: Vec<&String> = all.into_iter().flatten().collect();
    let key = |dn: &str| DnKey::parse(dn, directory.schema()).unwrap_or_default();
    let mut top: Vec<String> = Vec::new();
    for dn in &all {
        let below = |other: &&String| key(other).is_ancestor_of(&key(dn));
        if !all.iter().any(below) && !top.iter().any(|there| key(there) == key(dn)) {
            top.push((*dn).clone());
        }
    }
    top
}

/// Returns the bases of an export: the one that is asked for, or all.
///
/// # Errors
/// It is not a DN, or not within a configured base.
pub(crate) fn chosen_bases(
    asked: Option<&str>,
    config: &Config,
    directory: &Directory,
) -> Result<Vec<String>, ApiError> {
    let bases = bases(config, directory);
    let Some(asked) = asked else { return Ok(bases) };
    let key = |dn: &str| DnKey::parse(dn, directory.schema());
    let wanted = key(asked)
        .map_err(|e| ApiError::bad_request("invalid_dn", format!("base_dn is not a valid DN: {e}")))?;
    let is_within = |base: &String| key(base).is_ok_and(|base| wanted.is_within(&base));
    if !bases.iter().any(is_within) {
        let detail = format!("base_dn is within none of the configured bases (`{}`)", bases.join("`, `"));
        return Err(ApiError::new(http::StatusCode::FORBIDDEN, "out_of_scope", detail));
    }
    Ok(vec![asked.to_owned()])
}
