//! From a record to its password and the state of its account.

use singer_common::plugin::settings::SettingsError;
use singer_common::singer::record::Record;

use super::shape::Shapes;
use crate::map::wanted::WantedAccount;
use crate::rules::accounts::BooleanSource;
use crate::rules::encoding::Encoding;
use crate::rules::error::MappingError;
use crate::rules::rule::Rule;
use crate::rules::template::Lookup;

/// How the records of a stream set passwords and account states.
#[derive(Debug)]
pub(super) struct AccountMapping {
    /// The encoding of the password's property, by the SCHEMA.
    encoding: Encoding,
}

impl AccountMapping {
    /// Builds the mapping. `attributes`: those that the record's other properties are written to.
    pub(super) fn new<'a>(
        stream: &str,
        rule: &Rule,
        shapes: &Shapes<'_>,
        attributes: impl Iterator<Item = &'a str>,
    ) -> Result<AccountMapping, SettingsError> {
        let mut taken: Vec<(&str, String)> = Vec::new();
        if let Some(password) = &rule.password {
            taken.push(("password", password.mode.attribute().to_owned()));
        }
        if rule.accounts.as_ref().is_some_and(|a| a.enabled.is_some()) {
            let locks = ["userAccountControl", "nsAccountLock", "pwdAccountLockedTime"];
            taken.extend(locks.map(|name| ("accounts", name.to_owned())));
        }
        if rule.accounts.as_ref().is_some_and(|a| a.must_change_password.is_some()) {
            taken.push(("accounts", "pwdLastSet".to_owned()));
        }
        for attribute in attributes {
            if let Some((key, name)) = taken.iter().find(|(_, name)| name.eq_ignore_ascii_case(attribute)) {
                return Err(SettingsError::value(
                    format!("mapping_rules.{stream}.{key}"),
                    format!(
                        "it writes `{name}`, and so does another part of the rule or a property of that name"
                    ),
                    "one of the two; with attribute_mapping only what it names is written",
                ));
            }
        }
        let encoding = rule.password.as_ref().and_then(|p| p.from.as_ref());
        let encoding = encoding.map(|from| shapes.of(from).encoding).unwrap_or_default();
        Ok(AccountMapping { encoding })
    }

    pub(super) fn of(
        &self,
        rule: &Rule,
        record: &Record,
        lookup: Lookup<'_>,
    ) -> Result<WantedAccount, MappingError> {
        let accounts = rule.accounts.as_ref();
        let yes_or_no = |source: Option<&BooleanSource>, part: &str| {
            source.map(|s| s.of(record, part, lookup)).transpose().map(Option::flatten)
        };
        Ok(WantedAccount {
            password: rule.password.as_ref().map(|p| p.of(record, self.encoding)).transpose()?.flatten(),
            enabled: yes_or_no(accounts.and_then(|a| a.enabled.as_ref()), "enabled")?,
            must_change: yes_or_no(
                accounts.and_then(|a| a.must_change_password.as_ref()),
                "must_change_password",
            )?,
        })
    }
}
