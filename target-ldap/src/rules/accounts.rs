//! The rule key `accounts`: whether an account is enabled, and whether its password must be changed.

use ldap_directory::Vendor;
use ldap_directory::change::{Modification, ModificationKind};
use ldap_directory::entry::{Attribute, Entry};
use ldap_directory::schema::Schema;
pub use ldap_directory::time::generalized::{LOCKED_FOR_EVER, is_locked_for_ever};
use serde::Deserialize;
use serde_json::Value;
use singer_common::plugin::settings::{SettingsError, typed};

use crate::rules::keys::check_parts;
use crate::rules::template::{Moment, Template};
pub use source::BooleanSource;
use source::{Period, template};

mod source;

/// ADS_UF_ACCOUNTDISABLE ([MS-ADTS] 2.2.16).
const ACCOUNT_DISABLE: i64 = 0x2;
/// ADS_UF_PASSWD_NOTREQD: the account may have an empty password, whatever the domain's policy. Active Directory sets it in an account
/// that is added without `userAccountControl` (546).
const PASSWORD_NOT_REQUIRED: i64 = 0x20;
/// ADS_UF_SMARTCARD_REQUIRED: the password is random, and used by nobody.
const SMARTCARD_REQUIRED: i64 = 0x4_0000;
/// ADS_UF_NORMAL_ACCOUNT: a person's account, not a machine's or a trust's.
const NORMAL_ACCOUNT: i64 = 0x200;

/// A rule's `accounts`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccountsRule {
    /// Whether the account is enabled.
    pub enabled: Option<BooleanSource>,
    /// Whether the password that this run sets must be changed at the next logon.
    pub must_change_password: Option<BooleanSource>,
}

impl AccountsRule {
    /// Parses it. `path` names the rule in messages.
    pub(crate) fn parse(path: &str, value: Value) -> Result<AccountsRule, SettingsError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            enabled: Option<Value>,
            must_change_password: Option<Value>,
        }
        let at = format!("{path}.accounts");
        let expected = r#"{"enabled": …, "must_change_password": …}, each true, false, the name of a property, or a template; or "enabled": {"from": "hire_date", "until": "end_date"}"#;
        let source = |key: &str, value: Option<Value>| {
            let Some(value) = value else { return Ok(None) };
            let at = format!("{at}.{key}");
            match value {
                Value::Bool(answer) => Ok(Some(BooleanSource::Always(answer))),
                Value::String(text) if text.contains('{') => {
                    template(&at, &text).map(|template| Some(BooleanSource::Template(template)))
                }
                Value::String(name) => Ok(Some(BooleanSource::Property(name))),
                Value::Object(_) if key == "enabled" => Period::parse(&at, value).map(Some),
                other => Err(SettingsError::value(at, format!("got {other}"), expected)),
            }
        };
        check_parts(&at, &value, &["enabled", "must_change_password"])?;
        let raw: Raw = typed(&at, value)?;
        let rule = AccountsRule {
            enabled: source("enabled", raw.enabled)?,
            must_change_password: source("must_change_password", raw.must_change_password)?,
        };
        if rule == AccountsRule::default() {
            return Err(SettingsError::value(at, "got {}", expected));
        }
        Ok(rule)
    }
}

impl AccountsRule {
    /// Returns its sources, with the names of their settings.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&'static str, &BooleanSource)> {
        let enabled = self.enabled.iter().map(|source| ("accounts.enabled", source));
        enabled
            .chain(self.must_change_password.iter().map(|source| ("accounts.must_change_password", source)))
    }

    /// Returns its templates, to be changed.
    pub(crate) fn templates_mut(&mut self) -> impl Iterator<Item = &mut Template> {
        self.enabled.iter_mut().chain(&mut self.must_change_password).flat_map(BooleanSource::templates_mut)
    }

    /// Sets what the run knows of time.
    pub(crate) fn set_moment(&mut self, moment: Moment) {
        let sources = self.enabled.iter_mut().chain(&mut self.must_change_password);
        sources.for_each(|source| source.set_moment(moment));
    }
}

/// How a directory marks an account as disabled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountLock {
    /// A bit of `userAccountControl` (Active Directory).
    UserAccountControl,
    /// `nsAccountLock: TRUE` (389 Directory Server).
    NsAccountLock,
    /// `pwdAccountLockedTime: 000001010000Z` (OpenLDAP with its ppolicy overlay).
    PwdAccountLockedTime,
}

/// The attribute of Active Directory with the time of the last password change; 0: the password must be changed.
pub const PWD_LAST_SET: &str = "pwdLastSet";

/// What keeps an account from binding while its lock is gone, without `pwdLockout`: its end is past, or its beginning is to come (OpenLDAP 2.5's
/// ppolicy). The values are such as only this program writes, so that a later run knows them.
pub const BARS: [(&str, &str); 2] = [("pwdEndTime", "19700101000001Z"), ("pwdStartTime", "20991231235958Z")];

impl AccountLock {
    /// Returns the mechanism of a directory; `None` if none is known.
    pub fn of(vendor: Vendor, schema: &Schema) -> Option<AccountLock> {
        match vendor {
            Vendor::ActiveDirectory => Some(AccountLock::UserAccountControl),
            Vendor::Ds389 => Some(AccountLock::NsAccountLock),
            // The attribute's definition comes with the overlay. Where the schema may not be read, there may be one.
            Vendor::OpenLdap
                if schema.is_assumed() || schema.attribute_type("pwdAccountLockedTime").is_some() =>
            {
                Some(AccountLock::PwdAccountLockedTime)
            }
            Vendor::OpenLdap | Vendor::Ldif | Vendor::Other => None,
        }
    }

    /// Returns the attribute.
    pub fn attribute(self) -> &'static str {
        match self {
            AccountLock::UserAccountControl => "userAccountControl",
            AccountLock::NsAccountLock => "nsAccountLock",
            AccountLock::PwdAccountLockedTime => "pwdAccountLockedTime",
        }
    }

    /// Whether the server removes the mark when a password is set, so that it must be set again. OpenLDAP's overlay does so for
    /// every client (draft-behera-ldap-password-policy-10 section 7.2).
    pub fn goes_with_a_password(self) -> bool {
        self == AccountLock::PwdAccountLockedTime
    }

    /// Returns the attributes in which an account may have a bar ([`BARS`]).
    pub fn bar_attributes(self) -> impl Iterator<Item = &'static str> {
        BARS.into_iter().filter(move |_| self == AccountLock::PwdAccountLockedTime).map(|(name, _)| name)
    }

    /// Returns the bars that an account has: a killed run left them, and its lock is still to be written.
    pub fn bars_of(self, current: &Entry) -> impl Iterator<Item = (&'static str, &'static str)> {
        let has = |name: &str, own: &str| current.values(name).iter().any(|value| value == own.as_bytes());
        let is_known = self == AccountLock::PwdAccountLockedTime;
        BARS.into_iter().filter(move |(name, own)| is_known && has(name, own))
    }

    /// Returns the attribute for a new entry.
    pub fn for_new(self, enabled: bool) -> Option<Attribute> {
        let value = match self {
            AccountLock::UserAccountControl => with_state(NORMAL_ACCOUNT, enabled).to_string(),
            _ if enabled => return None,
            _ => self.locked().to_owned(),
        };
        Some(Attribute::new(self.attribute(), vec![value.into_bytes()]))
    }

    fn locked(self) -> &'static str {
        match self {
            AccountLock::PwdAccountLockedTime => LOCKED_FOR_EVER,
            AccountLock::NsAccountLock | AccountLock::UserAccountControl => "TRUE",
        }
    }

    /// Returns whether an account is enabled; `None` if the attribute cannot be read. A lock for some minutes after wrong passwords
    /// does not disable it.
    pub fn is_enabled(self, current: &Entry) -> Option<bool> {
        let there = current.first_text(self.attribute()).map(str::trim);
        Some(match self {
            AccountLock::UserAccountControl => there?.parse::<i64>().ok()? & ACCOUNT_DISABLE == 0,
            // An entry may have several values: what finds disabled accounts by a filter finds it by any.
            AccountLock::NsAccountLock => {
                let is_lock = |v: &Vec<u8>| v.trim_ascii().eq_ignore_ascii_case(self.locked().as_bytes());
                !current.values(self.attribute()).iter().any(is_lock)
            }
            AccountLock::PwdAccountLockedTime => !there.is_some_and(is_locked_for_ever),
        })
    }

    /// Whether an account never had a password, as far as can be seen. Active Directory lets nobody read passwords, but the time of the
    /// last one ([MS-ADA3] 2.175): 0 also means that it must be changed, which is why an account counts only if it needs none.
    pub fn lacks_password(self, current: &Entry) -> bool {
        if self != AccountLock::UserAccountControl {
            return false;
        }
        let control = current.first_text(self.attribute()).and_then(|text| text.trim().parse::<i64>().ok());
        let never_set = current.first_text(PWD_LAST_SET).is_none_or(|time| time.trim() == "0");
        never_set && control.is_none_or(|c| c & PASSWORD_NOT_REQUIRED != 0 && c & SMARTCARD_REQUIRED == 0)
    }

    /// Returns the changes to an existing entry; `None` if the attribute cannot be read.
    pub fn changes(self, enabled: bool, current: &Entry) -> Option<Vec<Modification>> {
        let name = self.attribute();
        let step = |kind, values| Modification::new(kind, name, values);
        let there = current.first_text(name);
        if self == AccountLock::UserAccountControl {
            let old = there?;
            let number: i64 = old.trim().parse().ok()?;
            let new = with_state(number, enabled);
            // Not a replace: if another client sets another bit meanwhile, the old value no longer exists (noSuchAttribute),
            // and the entry is read again.
            return Some(if new == number {
                vec![]
            } else {
                vec![
                    step(ModificationKind::Delete, vec![old.as_bytes().to_vec()]),
                    step(ModificationKind::Add, vec![new.to_string().into_bytes()]),
                ]
            });
        }
        let bars = self.bars_of(current);
        let without_bars =
            bars.map(|(bar, own)| Modification::new(ModificationKind::Delete, bar, vec![own.into()]));
        Some(match (enabled, self.is_enabled(current)?) {
            (true, false) => {
                std::iter::once(step(ModificationKind::Delete, vec![])).chain(without_bars).collect()
            }
            (true, true) => without_bars.collect(),
            (false, true) => vec![step(ModificationKind::Replace, vec![self.locked().into()])],
            // A lock for some minutes after wrong passwords (pwdAccountLockedTime) is left to the server.
            _ => vec![],
        })
    }
}

/// Returns `userAccountControl` of an account that is enabled or disabled. An account that becomes enabled needs a password from then on;
/// all other bits are unchanged.
fn with_state(control: i64, enabled: bool) -> i64 {
    match (enabled, control & ACCOUNT_DISABLE != 0) {
        (true, true) => control & !(ACCOUNT_DISABLE | PASSWORD_NOT_REQUIRED),
        (false, false) => control | ACCOUNT_DISABLE,
        _ => control,
    }
}

/// Returns the value of `pwdLastSet`: 0 if the password must be changed at the next logon, else -1, the current time ([MS-ADTS]
/// 3.1.1.5.3.2, 3.1.1.5.2.4).
pub fn pwd_last_set(must_change: bool) -> &'static str {
    if must_change { "0" } else { "-1" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use singer_common::singer::record::Record;

    fn entry(name: &str, value: &str) -> Entry {
        Entry { dn: "cn=x".into(), attributes: vec![Attribute::new(name, vec![value.into()])] }
    }

    fn texts(changes: &[Modification]) -> Vec<(ModificationKind, String)> {
        let text =
            |m: &Modification| m.values.iter().map(|v| String::from_utf8_lossy(v).into_owned()).collect();
        changes.iter().map(|m| (m.kind, text(m))).collect()
    }

    #[test]
    fn what_a_record_says() {
        let of = |value: Value| {
            BooleanSource::Property("active".into()).of(
                &json!({"active": value}).try_into().unwrap(),
                "enabled",
                &|_| None,
            )
        };
        for yes in
            [json!(true), json!("TRUE"), json!("true "), json!(1), json!("1"), json!("Yes"), json!("on")]
        {
            assert_eq!(of(yes).unwrap(), Some(true));
        }
        for no in [json!(false), json!("False"), json!(0), json!("no"), json!("off")] {
            assert_eq!(of(no).unwrap(), Some(false));
        }
        for nothing in [json!(null), json!("")] {
            assert_eq!(of(nothing).unwrap(), None);
        }
        for wrong in [json!("perhaps"), json!(2), json!([]), json!(0.5)] {
            let error = of(wrong).unwrap_err().to_string();
            assert!(error.contains("`active`") && error.contains("accounts.enabled"), "{error}");
        }
        assert_eq!(
            BooleanSource::Always(false).of(&Record::default(), "enabled", &|_| None).unwrap(),
            Some(false)
        );
    }

    #[test]
    fn a_rule_has_its_faults_named() {
        for value in
            [json!({}), json!(true), json!({"enabled": 3}), json!({"enabled": []}), json!({"enable": true})]
        {
            let error = AccountsRule::parse("mapping_rules.u", value.clone()).unwrap_err().to_string();
            assert!(error.contains("mapping_rules.u.accounts"), "{value}: {error}");
        }
        let rule =
            AccountsRule::parse("r", json!({"enabled": "active", "must_change_password": true})).unwrap();
        assert_eq!(rule.enabled, Some(BooleanSource::Property("active".into())));
        assert_eq!(rule.must_change_password, Some(BooleanSource::Always(true)));
    }

    #[test]
    fn locks_of_389_and_openldap_come_and_go() {
        use ModificationKind::{Delete, Replace};
        let none = Entry::default();
        for (lock, value) in
            [(AccountLock::NsAccountLock, "TRUE"), (AccountLock::PwdAccountLockedTime, LOCKED_FOR_EVER)]
        {
            let locked = entry(lock.attribute(), &value.to_ascii_lowercase());
            let changes = |enabled, entry: &Entry| texts(&lock.changes(enabled, entry).unwrap());
            assert_eq!(changes(false, &none), [(Replace, value.to_owned())]);
            assert_eq!(changes(false, &locked), []);
            assert_eq!(changes(true, &none), []);
            assert_eq!(changes(true, &locked), [(Delete, String::new())]);
            assert_eq!(lock.for_new(true), None);
            assert_eq!(lock.for_new(false).unwrap().values, [value.as_bytes()]);
        }
        let with_seconds = entry("pwdAccountLockedTime", "00000101000000Z");
        assert_eq!(AccountLock::PwdAccountLockedTime.is_enabled(&with_seconds), Some(false));
        assert_eq!(
            texts(&AccountLock::PwdAccountLockedTime.changes(true, &with_seconds).unwrap()),
            [(Delete, String::new())]
        );
        let lockout = entry("pwdAccountLockedTime", "20260101000000Z");
        assert_eq!(AccountLock::PwdAccountLockedTime.is_enabled(&lockout), Some(true));
        assert_eq!(
            AccountLock::PwdAccountLockedTime.changes(true, &lockout),
            Some(vec![]),
            "it ends by itself"
        );
    }

    #[test]
    fn an_account_of_active_directory_without_a_password() {
        let lock = AccountLock::UserAccountControl;
        let with = |control: &str, set: &str| {
            let mut entry = entry("userAccountControl", control);
            entry.attributes.push(Attribute::new(PWD_LAST_SET, vec![set.into()]));
            lock.lacks_password(&entry)
        };
        assert!(with("546", "0") && lock.lacks_password(&Entry::default()));
        assert!(!with("546", "134404145873874890") && !with("514", "0"), "it had one");
        assert!(!with(&(0x222 | SMARTCARD_REQUIRED).to_string(), "0"));
        assert!(!AccountLock::NsAccountLock.lacks_password(&Entry::default()));
        assert_eq!(with_state(546, true), 512);
        assert_eq!(with_state(544, true), 544, "it is not this rule that enabled it");
    }

    #[test]
    fn what_cannot_be_read_is_not_guessed() {
        assert_eq!(AccountLock::UserAccountControl.changes(true, &Entry::default()), None);
        assert_eq!(AccountLock::UserAccountControl.changes(true, &entry("userAccountControl", "x")), None);
        let new = |enabled| AccountLock::UserAccountControl.for_new(enabled).unwrap().values;
        assert_eq!((new(true), new(false)), (vec![b"512".to_vec()], vec![b"514".to_vec()]));
    }

    proptest! {
        #[test]
        fn one_bit_changes_and_no_other(control in any::<i32>(), disabled in any::<bool>()) {
            let control = i64::from(control);
            let new = with_state(control, !disabled);
            let others = !(ACCOUNT_DISABLE | PASSWORD_NOT_REQUIRED);
            prop_assert_eq!(new & others, control & others);
            prop_assert_eq!(new & ACCOUNT_DISABLE != 0, disabled);
            let becomes_enabled = !disabled && new != control;
            let kept = if becomes_enabled { 0 } else { control & PASSWORD_NOT_REQUIRED };
            prop_assert_eq!(new & PASSWORD_NOT_REQUIRED, kept);
            let there = entry("userAccountControl", &control.to_string());
            let changes = AccountLock::UserAccountControl.changes(!disabled, &there).unwrap();
            if new == control {
                prop_assert!(changes.is_empty());
            } else {
                use ModificationKind::{Add, Delete};
                prop_assert_eq!(texts(&changes), [(Delete, control.to_string()), (Add, new.to_string())]);
            }
        }
    }
}
