//! What a bookmark is only good for, in short.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use singer_common::directory::Scope;

use crate::discovery::context::DirectoryContext;
use crate::discovery::source::Source;

/// What stands before a fingerprint: how it was made. The first ones have no version, and were made as version 1.
const VERSION: &str = "1:";

/// A hash of all that a position depends on: another server, base, scope, filter or selection, and it is about something else.
/// It is persisted: nothing in it may change by itself, such as a name in this code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint(String);

impl Fingerprint {
    /// Of a stream, by a mechanism, and, where positions are a server's own, of that server.
    pub(crate) fn of(
        context: &DirectoryContext,
        source: &Source,
        attributes: &[String],
        mechanism: &str,
        server: &str,
    ) -> Self {
        let place = match source {
            Source::Search(s) => {
                json!([s.base_dn.as_deref().unwrap_or(&context.base), scope_name(s.scope), s.filter])
            }
            Source::Class { filter } => json!([context.base, "class", filter]),
            Source::Container { dn } => json!([dn, "container"]),
            Source::Containers => json!([context.base, "containers"]),
            Source::Members(_) => json!(["members"]),
        };
        // What has options comes with its type, and is of the print by that: it is asked for besides for the sake of some servers.
        let is_of_print = |a: &String| !a.contains(';') || a.contains(";binary");
        let mut attributes: Vec<String> =
            attributes.iter().map(|a| a.to_ascii_lowercase()).filter(is_of_print).collect();
        attributes.sort_unstable();
        let all = json!([mechanism, server, context.ids.base, place, attributes]);
        Self(BASE64.encode(Sha256::digest(all.to_string()).get(..12).unwrap_or_default()))
    }

    /// As a bookmark has it.
    pub(crate) fn to_text(&self) -> String {
        format!("{VERSION}{}", self.0)
    }

    /// Whether a bookmark's is this one.
    pub(crate) fn is(&self, written: &str) -> bool {
        written.strip_prefix(VERSION).unwrap_or(written) == self.0
    }
}

/// What fingerprints call a scope.
fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Base => "Base",
        Scope::One => "One",
        Scope::Sub => "Sub",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_without_a_version_is_of_version_1() {
        let print = Fingerprint("AbCd_-".into());
        assert!(print.is("AbCd_-") && print.is("1:AbCd_-") && print.is(&print.to_text()));
        assert!(!print.is("2:AbCd_-") && !print.is("AbCd") && !print.is(""));
    }
}
