//! Reading a server's subschema (RFC 4512 section 4.2).

use std::sync::Arc;

use super::LdapDirectory;
use crate::error::DirectoryError;
use crate::root_dse::RootDse;
use crate::schema::{Coverage, Schema};

/// The maximum number of definitions that are named in a warning; the others are logged at debug.
const NAMED_DEFINITIONS: usize = 20;

impl LdapDirectory {
    /// Reads the subschema. Without one, the built-in schema is returned.
    pub(super) async fn load_schema(&self, root_dse: &RootDse) -> Result<Arc<Schema>, DirectoryError> {
        // Where the root DSE does not name it: slapd's, and 389 DS's.
        let dns = root_dse.subschema.as_deref().map_or(vec!["cn=subschema", "cn=schema"], |dn| vec![dn]);
        let dn = dns.first().copied().unwrap_or_default();
        let wanted = ["attributeTypes", "objectClasses", "dITContentRules", "matchingRules", "ldapSyntaxes"];
        let mut found = None;
        for dn in &dns {
            found = match self.read(dn, &wanted).await {
                Ok(entry) => entry.filter(|e| !e.values("attributeTypes").is_empty()),
                Err(e) if e.code().is_some() => None,
                Err(e) => return Err(e),
            };
            if found.is_some() {
                break;
            }
        }
        let Some(entry) = found else {
            tracing::warn!(
                "the server's schema (`{dn}`) cannot be read; types come from the built-in standard schema. Let the bound user read it to have the server's own"
            );
            return Ok(Arc::new(Schema::standard().clone().assumed()));
        };
        let texts = |name| entry.values(name).iter().filter_map(|v| std::str::from_utf8(v).ok());
        let (mut schema, mut errors) = Schema::parse(texts("attributeTypes"), texts("objectClasses"));
        errors.extend(schema.add_content_rules(texts("dITContentRules")));
        for error in schema.add_matching_rules(texts("matchingRules")) {
            tracing::debug!("a matching rule of the schema is left out: {error}");
        }
        schema.add_syntaxes(texts("ldapSyntaxes"));
        let coverage = if errors.is_empty() { Coverage::Whole } else { Coverage::Part };
        if !errors.is_empty() {
            let named: Vec<String> = errors.iter().take(NAMED_DEFINITIONS).map(ToString::to_string).collect();
            tracing::warn!(
                definitions = errors.len(),
                "{} definition(s) of the server's schema cannot be read and are left out: {}",
                errors.len(),
                named.join("; ")
            );
        }
        for error in errors.iter().skip(NAMED_DEFINITIONS) {
            tracing::debug!("a definition of the schema is left out: {error}");
        }
        Ok(Arc::new(schema.with_coverage(coverage)))
    }
}
