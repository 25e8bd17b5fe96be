//! What export and import have in common: the bases, and checks of what a caller asks for.

use ldap_directory::Directory;
use ldap_directory::dn::DnKey;
use ldap_directory::filter::Filter;

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

/// Parses and checks the filter of an export. A filter on a secret attribute would tell its values by what it finds.
///
/// # Errors
/// It is not a filter, has too many comparisons, or names a secret attribute.
pub(crate) fn checked_filter(
    text: Option<&str>,
    most_terms: usize,
    directory: &Directory,
) -> Result<Filter, ApiError> {
    let Some(text) = text else { return Ok(Filter::Present("objectClass".to_owned())) };
    let filter = Filter::parse(text)
        .map_err(|e| ApiError::bad_request("invalid_filter", format!("filter (RFC 4515): {e}")))?;
    if terms(&filter) > most_terms {
        let detail = format!("the filter has more than {most_terms} comparisons (limits.filter_terms)");
        return Err(ApiError::bad_request("filter_too_large", detail));
    }
    let secrets = directory.secret_attributes();
    if let Some(name) = filter.attributes().into_iter().find(|name| secrets.contains(name)) {
        let detail = format!("`{name}` holds a secret, and is not compared");
        return Err(ApiError::bad_request("secret_attribute", detail).with("attribute", name.into()));
    }
    Ok(filter)
}

/// Returns the number of comparisons of a filter.
fn terms(filter: &Filter) -> usize {
    match filter {
        Filter::And(all) | Filter::Or(all) => all.iter().map(terms).sum::<usize>().max(1),
        Filter::Not(inner) => terms(inner),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_counted() {
        for (text, count) in
            [("(uid=a)", 1), ("(&(uid=a)(|(cn=b)(!(sn=c))))", 3), ("(&)", 1), ("(|(a=1)(a=2)(a=3)(a=4))", 4)]
        {
            assert_eq!(terms(&Filter::parse(text).unwrap()), count, "{text}");
        }
    }
}
