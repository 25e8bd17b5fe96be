//! Whether the configuration's own filters fit the schema of the directory. One that can match no entry does not make an empty directory: it
//! is an error in every answer.

use ldap_directory::filter::Filter;
use ldap_directory::{Directory, KnownNames};

use crate::config::{Config, OwnFilter};

/// The filters of the configuration, with their settings.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnFilters(Vec<(&'static str, OwnFilter)>);

impl OwnFilters {
    /// Returns those of a configuration.
    pub(crate) fn of(config: &Config) -> Self {
        let groups = config.groups.as_ref().map(|groups| ("groups.filter", groups.filter.clone()));
        Self(std::iter::once(("users.filter", config.users.filter.clone())).chain(groups).collect())
    }

    /// Returns the problem of the first one that can match no entry, for it has an unknown name. A schema that could not be read does not
    /// tell.
    pub(crate) fn misfit(&self, directory: &Directory) -> Option<String> {
        if directory.schema().is_assumed() {
            return None;
        }
        let names = KnownNames::new(directory);
        self.0.iter().find_map(|(setting, filter)| {
            let is_default = filter.is_default();
            let filter = filter.on(directory.root_dse().vendor);
            if is_default || can_match(filter, &names) {
                return None;
            }
            let unknown = names.unknown_in(filter);
            let unknown = unknown.first().map(|unknown| format!("{} `{}`", unknown.what, unknown.name));
            Some(format!("{setting}: the directory has no {}", unknown.unwrap_or_default()))
        })
    }
}

/// Whether a filter may be true of an entry: a comparison with an unknown name is undefined (RFC 4511 section 4.5.1.7), and so is its
/// negation.
pub(crate) fn can_match(filter: &Filter, names: &KnownNames<'_>) -> bool {
    match filter {
        Filter::And(parts) => parts.iter().all(|part| can_match(part, names)),
        Filter::Or(parts) => parts.iter().any(|part| can_match(part, names)),
        Filter::Not(inner) => {
            matches!(**inner, Filter::And(_) | Filter::Or(_) | Filter::Not(_)) || can_match(inner, names)
        }
        comparison => names.unknown_in(comparison).is_empty(),
    }
}
