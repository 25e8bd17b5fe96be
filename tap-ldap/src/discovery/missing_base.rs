//! A base that does not exist: which setting has it, and what exists instead.

use ldap_directory::{AuthMethod, Directory, DirectoryError};
use singer_common::plugin::settings::SettingsError;

use crate::config::TapConfig;

/// Returns the error of the setting with the base that a search did not find; any other error unchanged.
pub(crate) async fn explained(
    config: &TapConfig,
    directory: &Directory,
    error: anyhow::Error,
) -> anyhow::Error {
    if error.chain().any(<dyn std::error::Error>::is::<SettingsError>) {
        return error;
    }
    let absent = error.chain().filter_map(|e| e.downcast_ref()).find_map(|e| match e {
        DirectoryError::Operation { dn, .. } if e.is_no_such_object() => Some(dn.clone()),
        _ => None,
    });
    let Some(absent) = absent else { return error };
    let is_it = |base: &Option<String>| base.as_ref() == Some(&absent);
    let is_anonymous =
        matches!(config.directory.auth, AuthMethod::Anonymous) && matches!(directory, Directory::Ldap(_));
    let stream = config.schemas.iter().enumerate().find(|(_, stream)| is_it(&stream.base_dn));
    let (setting, stream) = match stream {
        Some((n, stream)) => (format!("schemas[{n}].base_dn"), Some(stream.name.as_str())),
        None if is_it(&config.base_dn) => ("base_dn".to_owned(), None),
        None if is_anonymous && directory.root_dse().naming_contexts.contains(&absent) => {
            let problem = format!("not set, and noSuchObject (32): `{absent}` cannot be seen without a bind");
            let expected = "bind_dn and bind_password, or a server that permits anonymous reads";
            return SettingsError::value("bind_dn", problem, expected).into();
        }
        None => return error,
    };
    let near = directory.nearest_name(&absent).await;
    let who = if is_anonymous { "an anonymous user (no bind_dn is set)" } else { "the bound user" };
    let problem = format!("noSuchObject (32): there is no entry `{absent}`, or {who} may not see it");
    let contexts = &directory.root_dse().naming_contexts;
    let expected = match contexts.as_slice() {
        [] => "the name of an entry".to_owned(),
        contexts => format!("the name of an entry at or below {}", contexts.join(" or ")),
    };
    let failure = SettingsError::value(setting, problem, expected).near(near);
    match stream {
        Some(name) => failure.in_stream(name).into(),
        None => failure.into(),
    }
}
