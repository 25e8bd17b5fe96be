//! A base that does not exist, or that an anonymous user may not read: which setting has it, and what exists instead.

use ldap_directory::protocol::result_code;
use ldap_directory::{AuthMethod, Directory, DirectoryError};
use singer_common::plugin::settings::SettingsError;

use crate::config::TapConfig;

/// What an anonymous user needs.
const BIND: &str = "bind_dn and bind_password, or a server that permits anonymous reads";

/// Returns whether a server answers an anonymous search with this code because of the missing bind: slapd (`require authc`), other
/// servers, and 389 DS and ApacheDS.
fn needs_bind(code: u32) -> bool {
    const STRONGER_AUTH_REQUIRED: u32 = 8;
    matches!(
        code,
        STRONGER_AUTH_REQUIRED
            | result_code::INAPPROPRIATE_AUTHENTICATION
            | result_code::INSUFFICIENT_ACCESS_RIGHTS
    )
}

/// Returns the error of the setting with the base that a search did not find; any other error unchanged.
pub(crate) async fn explained(
    config: &TapConfig,
    directory: &Directory,
    error: anyhow::Error,
) -> anyhow::Error {
    if error.chain().any(<dyn std::error::Error>::is::<SettingsError>) {
        return error;
    }
    let is_file = matches!(directory, Directory::Ldif(_));
    let is_anonymous = matches!(config.directory.auth, AuthMethod::Anonymous) && !is_file;
    let refused = error.chain().filter_map(|e| e.downcast_ref()).find_map(|e| match e {
        DirectoryError::Operation { dn, code, .. } if needs_bind(*code) => Some((dn.clone(), *code)),
        _ => None,
    });
    if let Some((dn, code)) = refused.filter(|_| is_anonymous) {
        let problem =
            format!("not set, and {}: `{dn}` cannot be read without a bind", result_code::name(code));
        return SettingsError::value("bind_dn", problem, BIND).into();
    }
    let absent = error.chain().filter_map(|e| e.downcast_ref()).find_map(|e| match e {
        DirectoryError::Operation { dn, .. } if e.is_no_such_object() => Some(dn.clone()),
        _ => None,
    });
    let Some(absent) = absent else { return error };
    let is_it = |base: &Option<String>| base.as_ref() == Some(&absent);
    let stream = config.schemas.iter().enumerate().find(|(_, stream)| is_it(&stream.base_dn));
    let (setting, stream) = match stream {
        Some((n, stream)) => (format!("schemas[{n}].base_dn"), Some(stream.name.as_str())),
        None if is_it(&config.base_dn) => ("base_dn".to_owned(), None),
        None if is_anonymous && directory.root_dse().naming_contexts.contains(&absent) => {
            let problem = format!("not set, and noSuchObject (32): `{absent}` cannot be seen without a bind");
            return SettingsError::value("bind_dn", problem, BIND).into();
        }
        None => return error,
    };
    let near = directory.nearest_name(&absent).await;
    let problem = if is_file {
        format!("the file has no entry at or below `{absent}`")
    } else {
        let who = if is_anonymous { "an anonymous user (no bind_dn is set)" } else { "the bound user" };
        format!("noSuchObject (32): there is no entry `{absent}`, or {who} may not see it")
    };
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
