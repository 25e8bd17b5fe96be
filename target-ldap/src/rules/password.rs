//! The rule key `password`: the source of a password, how it is written, and when.

use std::sync::Arc;

use generated::{DeliverySettings, GenerateSettings, Generated, LONGEST, SHORTEST};
use ldap_directory::secret::Secret;
use serde::Deserialize;
use serde_json::Value;
use singer_common::plugin::settings::{SettingsError, typed};
use singer_common::singer::record::Record;

use crate::rules::encoding::Encoding;
use crate::rules::error::MappingError;
use crate::rules::keys::check_parts;

pub mod generated;
pub mod hash;

/// How a password is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum PasswordMode {
    /// The server hashes it: the Password Modify operation (RFC 3062).
    #[serde(rename = "exop")]
    Exop,
    /// Active Directory's `unicodePwd` ([MS-ADTS] 3.1.1.3.1.5.1).
    #[serde(rename = "unicode_pwd")]
    UnicodePwd,
    /// Hashed here: salted SHA-512, `{SSHA512}`.
    #[serde(rename = "hash:ssha512")]
    Ssha512,
    /// Hashed here: Argon2id (RFC 9106), `{ARGON2}`.
    #[serde(rename = "hash:argon2id")]
    Argon2id,
    /// The values are hashed already: `{SCHEME}…` (RFC 2307 section 5.3).
    #[serde(rename = "as_is")]
    AsIs,
}

/// When a password is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PasswordPolicy {
    /// When the entry is added. Users change their passwords: an hourly run must not reset them.
    #[default]
    CreateOnly,
    /// Also if the entry has none.
    Keep,
    /// Always, unless it is known to be the same.
    Force,
}

/// A rule's `password`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PasswordRule {
    /// The property of the record; `None`: it is generated.
    pub from: Option<String>,
    /// How it is made, if it is generated.
    #[serde(default)]
    pub generate: Option<GenerateSettings>,
    /// Where a generated one is delivered.
    #[serde(default)]
    pub deliver: Option<DeliverySettings>,
    /// How it is written.
    pub mode: PasswordMode,
    /// When it is set.
    #[serde(default, rename = "policy")]
    pub when: PasswordPolicy,
}

impl PasswordRule {
    /// Parses it. `path` names the rule in messages.
    pub(crate) fn parse(path: &str, value: Value) -> Result<PasswordRule, SettingsError> {
        let fail = |problem: String| {
            let expected = r#"{"from": "a property" | "generate": {"length": 20}, "deliver": {"file": "…"}, "mode": "exop" | "unicode_pwd" | "hash:ssha512" | "hash:argon2id" | "as_is", "policy": "create_only" | "keep" | "force"}"#;
            SettingsError::value(format!("{path}.password"), problem, expected)
        };
        // The value here may be a password: it is not shown.
        if !value.is_object() {
            return Err(fail(
                "not an object; it says which property a password comes from, and holds none".into(),
            ));
        }
        check_parts(&format!("{path}.password"), &value, &["from", "generate", "deliver", "mode", "policy"])?;
        let rule: PasswordRule = typed(&format!("{path}.password"), value)?;
        rule.check_generated(path)?;
        if rule.mode == PasswordMode::UnicodePwd && rule.when == PasswordPolicy::Keep {
            let problem = "keep: Active Directory never tells whether an account has a password";
            return Err(SettingsError::value(
                format!("{path}.password.policy"),
                problem,
                "create_only or force",
            ));
        }
        Ok(rule)
    }

    /// Returns the password of a record; `None` if it has none, or an empty one: nothing is changed then.
    ///
    /// `encoding`: of the property's texts, by the SCHEMA.
    pub(crate) fn of(
        &self,
        record: &Record,
        encoding: Encoding,
    ) -> Result<Option<NewPassword>, MappingError> {
        let Some(from) = &self.from else {
            let (mode, when) = (self.mode, self.when);
            let generated = self.generate.as_ref().zip(self.deliver.as_ref());
            let generated = generated
                .map(|(generate, deliver)| Arc::new(Generated::new(generate.length, deliver.file.clone())));
            return Ok(Some(NewPassword { mode, when, values: Vec::new(), generated }));
        };
        let fail = |reason: &str| MappingError::Value {
            property: from.clone(),
            attribute: self.mode.attribute().to_owned(),
            reason: reason.to_owned(),
        };
        let value = record.get(from).unwrap_or(&Value::Null);
        let elements = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        let mut values = Vec::new();
        for element in elements {
            let text = match element {
                Value::Null => continue,
                Value::String(text) if encoding.is_encoded() => {
                    let text = encoding.decode(text).and_then(|octets| String::from_utf8(octets).ok());
                    text.ok_or_else(|| {
                        fail(&format!("expected {} of a text (contentEncoding)", encoding.name()))
                    })?
                }
                Value::String(text) => text.clone(),
                // A PIN.
                Value::Number(number) => number.to_string(),
                _ => return Err(fail("expected a text")),
            };
            if text.is_empty() {
                continue;
            }
            if self.mode == PasswordMode::AsIs && !hash::is_hashed(&text) {
                return Err(fail(
                    "as_is takes values that are hashed already, `{SCHEME}…`; for clear text there are exop, hash:ssha512 and hash:argon2id",
                ));
            }
            values.push(Secret::new(text));
        }
        match values.as_slice() {
            [] => Ok(None),
            [_, _, ..] if self.mode != PasswordMode::AsIs => Err(fail("expected one password, not several")),
            _ => Ok(Some(NewPassword { mode: self.mode, when: self.when, values, generated: None })),
        }
    }
}

impl PasswordRule {
    /// Checks that a password comes from a property, or is generated and delivered.
    fn check_generated(&self, path: &str) -> Result<(), SettingsError> {
        let wrong = |part: &str, problem: &str, expected: &str| {
            Err(SettingsError::value(format!("{path}.password{part}"), problem, expected))
        };
        match (&self.from, &self.generate, &self.deliver) {
            (Some(_), None, None) => return Ok(()),
            (Some(_), Some(_), _) => return wrong("", "both `from` and `generate`", "one of them"),
            (Some(_), None, Some(_)) => {
                return wrong(
                    ".deliver",
                    "only a generated password is delivered",
                    "`generate`, or no `deliver`",
                );
            }
            (None, None, _) => return wrong("", "neither `from` nor `generate`", "one of them"),
            (None, Some(_), None) => {
                return wrong(".deliver", "not set: nobody would know the password", r#"{"file": "…"}"#);
            }
            (None, Some(generate), Some(_)) if !(SHORTEST..=LONGEST).contains(&generate.length) => {
                let problem = format!("got {}", generate.length);
                return wrong(".generate.length", &problem, &format!("{SHORTEST} to {LONGEST}"));
            }
            (None, Some(_), Some(_)) => {}
        }
        if self.mode == PasswordMode::AsIs {
            return wrong(".mode", "as_is: a generated password is not hashed", "another mode");
        }
        if self.when != PasswordPolicy::CreateOnly {
            return wrong(".policy", "a generated password is for a new entry", "create_only");
        }
        Ok(())
    }
}

impl PasswordMode {
    /// Returns the attribute that stores it.
    pub fn attribute(self) -> &'static str {
        match self {
            PasswordMode::UnicodePwd => "unicodePwd",
            PasswordMode::Exop | PasswordMode::Ssha512 | PasswordMode::Argon2id | PasswordMode::AsIs => {
                "userPassword"
            }
        }
    }

    /// Whether it is sent in clear text, for the server to hash.
    pub fn sends_clear_text(self) -> bool {
        matches!(self, PasswordMode::Exop | PasswordMode::UnicodePwd)
    }
}

/// A record's password. `Debug` does not show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPassword {
    /// How it is written.
    pub mode: PasswordMode,
    /// When it is set.
    pub when: PasswordPolicy,
    /// One clear text; with [`PasswordMode::AsIs`] one or more hashed values.
    pub values: Vec<Secret>,
    /// A password that is generated when it is written.
    pub generated: Option<Arc<Generated>>,
}

impl NewPassword {
    /// Returns the clear text.
    pub fn clear_text(&self) -> Option<&Secret> {
        match &self.generated {
            Some(generated) => generated.secret(),
            None => self.values.first().filter(|_| self.mode != PasswordMode::AsIs),
        }
    }

    /// Returns the values to write; `None` if it is not written as an attribute (`exop`). Slow with Argon2.
    pub fn to_values(&self) -> Result<Option<Vec<Vec<u8>>>, hash::HashError> {
        let first = self.clear_text().map(Secret::reveal).unwrap_or_default();
        Ok(Some(match self.mode {
            PasswordMode::Exop => return Ok(None),
            PasswordMode::UnicodePwd => vec![quoted_utf16(first)],
            PasswordMode::Ssha512 => vec![hash::ssha512(first)?.into_bytes()],
            PasswordMode::Argon2id => vec![hash::argon2id(first)?.into_bytes()],
            PasswordMode::AsIs => self.values.iter().map(|v| v.reveal().as_bytes().to_vec()).collect(),
        }))
    }

    /// Whether existing values are these, or hashes of the clear text.
    pub fn is_among(&self, there: &[Vec<u8>]) -> bool {
        match self.clear_text() {
            Some(text) => there.iter().any(|value| hash::verify(value, text.reveal())),
            None => {
                there.len() == self.values.len()
                    && self.values.iter().all(|v| there.iter().any(|t| t == v.reveal().as_bytes()))
            }
        }
    }

    /// Returns a text without the secret, in case a server repeated it.
    pub fn scrub(&self, text: &str) -> String {
        // Shorter ones occur in every text.
        let generated = self.generated.iter().filter_map(|generated| generated.secret());
        let secrets = self.values.iter().chain(generated).map(Secret::reveal).filter(|s| s.len() >= 4);
        secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
    }
}

/// In quotation marks, UTF-16 little-endian ([MS-ADTS] 3.1.1.3.1.5.1).
fn quoted_utf16(text: &str) -> Vec<u8> {
    format!("\"{text}\"").encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rule(mode: &str) -> PasswordRule {
        PasswordRule::parse("r", json!({"from": "pw", "mode": mode})).unwrap()
    }

    fn of(mode: &str, record: &Value) -> Result<Option<NewPassword>, MappingError> {
        rule(mode).of(&record.clone().try_into().unwrap(), Encoding::Unsaid)
    }

    #[test]
    fn nothing_is_no_password_and_never_an_empty_one() {
        for mode in ["exop", "unicode_pwd", "hash:ssha512", "hash:argon2id", "as_is"] {
            for record in [
                json!({}),
                json!({"pw": null}),
                json!({"pw": ""}),
                json!({"pw": []}),
                json!({"pw": [null, ""]}),
            ] {
                assert_eq!(of(mode, &record).unwrap(), None, "{mode} {record}");
            }
        }
    }

    #[test]
    fn values_are_as_the_mode_wants_them() {
        let values = |mode, record| of(mode, &record).unwrap().unwrap().to_values().unwrap();
        assert_eq!(values("exop", json!({"pw": "x"})), None);
        assert_eq!(
            values("unicode_pwd", json!({"pw": "ä"})),
            Some(vec![vec![b'"', 0, 0xe4, 0, b'"', 0]]),
            "quoted, UTF-16LE"
        );
        let both = json!({"pw": ["{SSHA}x", "{CRYPT}y"]});
        assert_eq!(values("as_is", both), Some(vec![b"{SSHA}x".to_vec(), b"{CRYPT}y".to_vec()]));
        assert!(values("hash:ssha512", json!({"pw": 4711})).unwrap()[0].starts_with(b"{SSHA512}"), "a PIN");
        let encoded = json!({"pw": "e1NTSEF9eA=="});
        let decoded = rule("as_is").of(&encoded.try_into().unwrap(), Encoding::Base64).unwrap().unwrap();
        assert_eq!(decoded.values, [Secret::new("{SSHA}x")]);
    }

    #[test]
    fn what_is_no_password_is_said_without_showing_it() {
        for (mode, value) in [
            ("as_is", json!("hunter2")),
            ("as_is", json!("{}hunter2")),
            ("as_is", json!("{CLEARTEXT}hunter2")),
            ("as_is", json!("{clear}hunter2")),
            ("exop", json!(["hunter2", "hunter3"])),
            ("exop", json!({"a": "hunter2"})),
            ("exop", json!(true)),
        ] {
            let error = of(mode, &json!({"pw": value})).unwrap_err().to_string();
            assert!(error.contains("`pw`") && !error.contains("hunter2"), "{error}");
        }
        let shown = format!("{:?}", of("exop", &json!({"pw": "hunter2"})));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_rule_has_its_faults_named() {
        for (value, word) in [
            (json!("pw"), "exop"),
            (json!({"from": "pw"}), "mode"),
            (json!({"mode": "exop"}), "from"),
            (json!({"from": "pw", "mode": "md5"}), "md5"),
            (json!({"from": "pw", "mode": "exop", "policy": "always"}), "always"),
            (json!({"from": "pw", "mode": "exop", "polizy": "force"}), "polizy"),
            (json!({"from": "pw", "mode": "unicode_pwd", "policy": "keep"}), "never tells"),
        ] {
            let error = PasswordRule::parse("mapping_rules.users", value).unwrap_err().to_string();
            assert!(error.contains("mapping_rules.users.password") && error.contains(word), "{error}");
        }
        assert_eq!(rule("exop").when, PasswordPolicy::CreateOnly);
    }
}
