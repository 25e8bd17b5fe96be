//! Files whose content decides who may do what: a warning if others can read a secret, or change what gives rights.

use std::path::Path;

use ldap_directory::secret::{exposure, open_to_changes};
use serde_json::{Map, Value};
use singer_common::operations::facts::Warning;

use super::{Config, parts};

/// Warns of each file that is open to others than its owner.
pub(super) fn check(config: &Config, values: &Map<String, Value>, warnings: &mut Vec<Warning>) {
    let mut add = |setting: &str, said: Option<String>| {
        warnings
            .extend(said.map(|said| Warning::of_setting(setting, format!("setting `{setting}`: {said}"))));
    };
    // Whoever reads it makes sessions of any user.
    let key = config.login.session_key_file.as_deref();
    add("login.session_key_file", key.and_then(exposure));
    if let Some(tls) = &config.tls {
        add("listen_key_file", exposure(&tls.key_file));
        // Whoever changes it accepts certificates of an authority of their own.
        add("listen_client_ca_file", tls.client_ca_file.as_deref().and_then(open_to_changes));
    }
    add("jwt.ca_file", config.jwt.as_ref().and_then(|jwt| jwt.ca_file.as_deref()).and_then(open_to_changes));
    if let Some(write) = &config.write {
        // An administrator carries out what is there.
        add("write.undo_dir", open_to_changes(&write.undo_dir));
    }
    for (setting, path) in parts::texts(values, "api_tokens", "sha256_file") {
        add(&setting, open_to_changes(Path::new(&path)));
    }
}
