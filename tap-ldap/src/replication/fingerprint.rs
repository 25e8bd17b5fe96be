//! A hash of everything that a bookmark's position depends on.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ldap_directory::Scope;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::discovery::context::DirectoryContext;
use crate::discovery::source::Source;

/// The prefix of a fingerprint: how it was made. The first ones had none, and were made as version 1.
const VERSION: &str = "1:";

/// A hash of all that a position depends on: with another server, base, scope, filter or selection the position is not valid.
/// It is persisted: no part of it may change with the code, such as a type name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint(String);

impl Fingerprint {
    /// Returns the fingerprint of a stream for a mechanism. `server` is empty unless positions are only valid on one server.
    pub(crate) fn of(
        context: &DirectoryContext,
        source: &Source,
        attributes: &[String],
        mechanism: &str,
        server: &str,
    ) -> Self {
        let scope = match source {
            Source::Search(s) => {
                json!([s.base_dn.as_deref().unwrap_or(&context.base), scope_name(s.scope), s.filter])
            }
            Source::Class { filter } => json!([context.base, "class", filter]),
            Source::Container { dn } => json!([dn, "container"]),
            Source::Containers => json!([context.base, "containers"]),
            Source::Members(_) => json!(["members"]),
        };
        // A description with options is returned with its type. It is also requested by name for some servers, and not in the
        // hash.
        let is_included = |a: &String| !a.contains(';') || a.contains(";binary");
        let mut attributes: Vec<String> =
            attributes.iter().map(|a| a.to_ascii_lowercase()).filter(is_included).collect();
        attributes.sort_unstable();
        let mut all =
            vec![json!(mechanism), json!(server), json!(context.ids.base), scope, json!(attributes)];
        // Entries of a subtree that is no longer left out would never be read.
        if let Some(excluded) = context.directory.excluded() {
            all.push(json!({"excluded": excluded.to_texts()}));
        }
        let all = Value::Array(all);
        Self(BASE64.encode(Sha256::digest(all.to_string()).get(..12).unwrap_or_default()))
    }

    /// Returns the text for a bookmark.
    pub(crate) fn to_text(&self) -> String {
        format!("{VERSION}{}", self.0)
    }

    /// Returns whether the text of a bookmark is this fingerprint.
    pub(crate) fn matches(&self, written: &str) -> bool {
        written.strip_prefix(VERSION).unwrap_or(written) == self.0
    }
}

/// Returns the name of a scope in fingerprints.
fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Base => "Base",
        Scope::OneLevel => "One",
        Scope::Subtree => "Sub",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_without_a_version_is_of_version_1() {
        let fingerprint = Fingerprint("AbCd_-".into());
        assert!(
            fingerprint.matches("AbCd_-")
                && fingerprint.matches("1:AbCd_-")
                && fingerprint.matches(&fingerprint.to_text())
        );
        assert!(!fingerprint.matches("2:AbCd_-") && !fingerprint.matches("AbCd") && !fingerprint.matches(""));
    }
}
