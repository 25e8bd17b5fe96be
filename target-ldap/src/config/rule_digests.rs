//! Digests of the settings that decide what a stream's records do: a later run can tell which of them were changed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ldap_directory::dn::DnKey;
use ldap_directory::schema::Schema;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The settings beside `mapping_rules` that decide it.
const COMMON: [&str; 10] = [
    "default_base_dn",
    "default_timezone",
    "dn_rewrite",
    "preserve_uuid",
    "process_activate_version",
    "protect",
    "protect_defaults",
    "stream_map_config",
    "stream_maps",
    "write_base",
];
/// The name of what other rules take out of a rule's scope.
const OTHERS: &str = "scope_base of other rules";
/// How many octets of a digest are kept.
const LENGTH: usize = 8;

/// The digests of the rules and of the settings beside them, by the names of keys and settings.
#[derive(Debug, Clone, Default)]
pub struct RuleDigests {
    common: BTreeMap<String, String>,
    rules: BTreeMap<String, BTreeMap<String, String>>,
    /// The scopes of the rules for entries.
    scopes: BTreeMap<String, DnKey>,
}

impl RuleDigests {
    /// Returns those of the settings. `values`: all settings, by name.
    pub(super) fn of(values: &Map<String, Value>) -> RuleDigests {
        let common = COMMON.iter().filter_map(|name| Some(((*name).to_owned(), digest(values.get(*name)?))));
        let rules = values.get("mapping_rules").and_then(Value::as_object).into_iter().flatten();
        let rules = rules.map(|(stream, rule)| {
            let keys = rule.as_object().into_iter().flatten();
            (stream.clone(), keys.map(|(key, value)| (key.clone(), digest(value))).collect())
        });
        let scope = |(stream, rule): (&String, &Value)| {
            let dn = rule
                .get("scope_base")
                .and_then(Value::as_str)
                .filter(|_| rule.get("membership").is_none())?;
            Some((stream.clone(), DnKey::parse(dn, Schema::standard()).ok()?))
        };
        let scopes =
            values.get("mapping_rules").and_then(Value::as_object).into_iter().flatten().filter_map(scope);
        RuleDigests { common: common.collect(), rules: rules.collect(), scopes: scopes.collect() }
    }

    /// Returns those of a stream: of its rule, or else of the rule for all streams.
    pub fn of_stream(&self, stream: &str) -> BTreeMap<String, String> {
        let rule = self.rules.get(stream).or_else(|| self.rules.get("*"));
        let mut all = self.common.clone();
        // They do not belong to the stream, until the other rule is gone.
        let own = self.scopes.get(stream);
        let within = self.scopes.values().filter(|scope| own.is_some_and(|own| own.is_ancestor_of(scope)));
        let mut within: Vec<Value> =
            within.map(|key| String::from_utf8_lossy(key.as_octets()).into()).collect();
        if !within.is_empty() {
            within.sort_by_key(Value::to_string);
            all.insert(OTHERS.to_owned(), digest(&within.into()));
        }
        all.extend(rule.into_iter().flatten().map(|(key, digest)| (key.clone(), digest.clone())));
        all
    }
}

/// Returns the digest of a value. The order of an object's names does not matter.
fn digest(value: &Value) -> String {
    let octets = Sha256::digest(canonical(value).to_string());
    let mut text = String::with_capacity(2 * LENGTH);
    for octet in octets.iter().take(LENGTH) {
        let _ = write!(text, "{octet:02x}");
    }
    text
}

/// Returns a value with the names of its objects in order.
fn canonical(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<&String, Value> =
                object.iter().map(|(name, value)| (name, canonical(value))).collect();
            sorted.into_iter().map(|(name, value)| (name.clone(), value)).collect::<Map<_, _>>().into()
        }
        Value::Array(values) => values.iter().map(canonical).collect(),
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(values: &Value) -> BTreeMap<String, String> {
        RuleDigests::of(values.as_object().unwrap()).of_stream("users")
    }

    #[test]
    fn a_digest_is_of_what_a_setting_says_and_not_of_how_it_is_written() {
        let rule = json!({"mapping_rules": {"users": {"values": {"a": "1", "b": "2"}, "match": "(a={b})"}}});
        let other = json!({"mapping_rules": {"*": {"match": "(a={b})", "values": {"b": "2", "a": "1"}}}});
        assert_eq!(of(&rule), of(&other));
        let changed =
            json!({"mapping_rules": {"users": {"values": {"a": "2", "b": "1"}, "match": "(a={b})"}}});
        assert_ne!(of(&rule)["values"], of(&changed)["values"]);
        assert_eq!(of(&rule)["match"], of(&changed)["match"]);
        // The format is kept in files: the digest is the same in later versions.
        assert_eq!(
            of(&json!({"dn_rewrite": [{"from": "dc=a", "to": "dc=b"}]}))["dn_rewrite"],
            "23cfca25a388f04a"
        );
    }
}
