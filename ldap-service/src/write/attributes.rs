//! The attributes that a change touches, and those that a caller may write.

use std::iter;
use std::slice;
use std::sync::Arc;

use ldap_directory::Directory;
use ldap_directory::change::{Change, Modification, ModificationKind};
use ldap_directory::dn::{DnError, first_rdn};
use ldap_directory::entry::{Entry, base_type};
use ldap_directory::schema::Schema;
use ldap_directory::secret::{NonEmptyPassword, SecretAttributes};
use serde_json::Value;

use super::rules::PASSWORD;
use super::{WriteError, WriteErrorKind};

/// Attributes that servers keep themselves, though their schema does not say so.
const KEPT: [&str; 1] = ["memberOf"];

/// Attributes of Active Directory that grant rights over an entry, let another account stand for it ([MS-ADTS] 5.1.3, [MS-KILE]), or run
/// programs for people who log on.
const RIGHTS: [&str; 21] = [
    "nTSecurityDescriptor",
    "sIDHistory",
    "adminCount",
    "altSecurityIdentities",
    "msDS-AllowedToDelegateTo",
    "msDS-AllowedToActOnBehalfOfOtherIdentity",
    "msDS-KeyCredentialLink",
    "msDS-GroupMSAMembership",
    "servicePrincipalName",
    "scriptPath",
    "gPLink",
    "msDS-ManagedAccountPrecededByLink",
    "msDS-DelegatedMSAState",
    // Of remote desktops: programs, and who may watch a session ([MS-TSTS]). `userParameters` holds all of them.
    "userParameters",
    "msTSInitialProgram",
    "msTSWorkDirectory",
    "msTSProfilePath",
    "msTSRemoteControl",
    "profilePath",
    // Of the forest: who may read it anonymously. Of a password policy: for whom it counts.
    "dSHeuristics",
    "msDS-PSOAppliesTo",
];

/// Object classes of entries by which a server gives attributes, roles or rules to other entries: class of service, roles, password and
/// account policies, automatic members (389 Directory Server), `pwdPolicy` (OpenLDAP), subentries (RFC 3672), policies and trusts
/// of Active Directory.
const POLICIES: [&str; 21] = [
    "ldapSubEntry",
    "subentry",
    "cosSuperDefinition",
    "cosDefinition",
    "cosTemplate",
    "nsRoleDefinition",
    "nsSimpleRoleDefinition",
    "nsComplexRoleDefinition",
    "nsManagedRoleDefinition",
    "nsFilteredRoleDefinition",
    "nsNestedRoleDefinition",
    "passwordPolicy",
    "pwdPolicy",
    "pwdPolicyChecker",
    "accountPolicy",
    "autoMemberDefinition",
    "autoMemberRegexRule",
    "mepTemplateEntry",
    "groupPolicyContainer",
    "msDS-PasswordSettings",
    "trustedDomain",
];

/// The attribute with the flags of an account.
const FLAGS: &str = "userAccountControl";

/// The flags that grant rights ([MS-ADTS] 2.2.16): PASSWD_NOTREQD, SERVER_TRUST_ACCOUNT, TRUSTED_FOR_DELEGATION, DONT_REQUIRE_PREAUTH,
/// TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION, PARTIAL_SECRETS_ACCOUNT.
const GRANTING: i64 = 0x20 | 0x2000 | 0x8_0000 | 0x40_0000 | 0x100_0000 | 0x400_0000;

/// Whether a value of [`FLAGS`] grants rights. Samba reads octal and hexadecimal digits, too: what is not plainly decimal may grant any.
fn grants(value: &[u8]) -> bool {
    let text = str::from_utf8(value).unwrap_or_default();
    let flags = text.parse::<i64>().ok().filter(|flags| flags.to_string() == text);
    flags.is_none_or(|flags| flags & GRANTING != 0)
}

/// Checks a password that is to be set: one that no login accepts is none.
///
/// # Errors
/// It is empty, or has a NUL: servers that keep C strings take what is before it.
pub(crate) fn check_password(password: &Value) -> Result<(), WriteError> {
    match password {
        Value::String(text) if NonEmptyPassword::new(text.as_str()).is_none() => {
            let detail = format!("`{PASSWORD}`: it must not be empty or have a NUL");
            Err(WriteError::new(WriteErrorKind::Invalid, detail).of_attribute(PASSWORD))
        }
        _ => Ok(()),
    }
}

/// Why an attribute is not written for a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guarded {
    /// The schema does not know it.
    Unknown,
    /// It holds passwords or keys.
    Secret,
    /// It is operational: locks, access rules, policies.
    Operational,
    /// It grants rights.
    Rights,
    /// It makes the entry a definition that counts for others.
    Policy,
    /// The server maintains it.
    Kept,
}

impl Guarded {
    /// Returns the reason for people.
    pub(crate) fn reason(self, description: &str) -> String {
        let why = match self {
            Guarded::Unknown => "the directory's schema does not know it",
            Guarded::Secret => "it holds a secret; passwords are set by the property `password`",
            Guarded::Operational => "it is an operational attribute",
            Guarded::Rights => "it grants rights",
            Guarded::Policy => {
                "entries of this class are definitions of policies, roles or attributes of others"
            }
            Guarded::Kept => "the directory maintains it",
        };
        format!("`{description}` cannot be written: {why}")
    }

    /// Returns the error.
    pub(crate) fn error(self, description: &str) -> WriteError {
        WriteError::new(WriteErrorKind::Mutability, self.reason(description)).of_attribute(description)
    }
}

/// What is known of a directory's attributes.
#[derive(Debug, Clone)]
pub(crate) struct AttributeGuard {
    pub(crate) schema: Arc<Schema>,
    pub(crate) secrets: SecretAttributes,
    pub(crate) takes_unknown: bool,
}

impl AttributeGuard {
    pub(crate) fn of(directory: &Directory) -> AttributeGuard {
        AttributeGuard {
            schema: directory.schema().clone(),
            secrets: directory.secret_attributes().clone(),
            takes_unknown: directory.takes_unknown_attributes(),
        }
    }

    /// Returns why an attribute is not written; `None`: it may be.
    pub(crate) fn guarded(&self, description: &str) -> Option<Guarded> {
        let schema = &self.schema;
        if self.secrets.contains(description) || self.secrets.contains(schema.canonical_name(description)) {
            return Some(Guarded::Secret);
        }
        if self.is_of(description, &RIGHTS) {
            return Some(Guarded::Rights);
        }
        if self.is_of(description, &KEPT) {
            return Some(Guarded::Kept);
        }
        match schema.attribute_type(description) {
            None => (!self.takes_unknown).then_some(Guarded::Unknown),
            // Active Directory marks objectClass as maintained, and still requires it.
            Some(_) if schema.same_description(description, "objectClass") => None,
            Some(known) if known.no_user_modification => Some(Guarded::Kept),
            Some(_) => schema.is_operational(description).then_some(Guarded::Operational),
        }
    }

    /// Whether an attribute has one of these names, be it as an alias or by its OID.
    fn is_of(&self, description: &str, names: &[&str]) -> bool {
        let is = |name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
        let known = self.schema.attribute_type(description);
        is(base_type(description)) || known.is_some_and(|known| known.names.iter().any(|name| is(name)))
    }

    /// Returns why values of an attribute are not written: flags that grant rights, or classes of definitions. `None`: they may be.
    fn grant<'v>(&self, description: &str, mut values: impl Iterator<Item = &'v [u8]>) -> Option<Guarded> {
        if self.is_of(description, &[FLAGS]) {
            return values.any(grants).then_some(Guarded::Rights);
        }
        let is_class = self.is_of(description, &["objectClass"]);
        (is_class && values.any(|class| self.is_policy(class))).then_some(Guarded::Policy)
    }

    /// Whether an object class, or one above it, is that of definitions which count for other entries.
    pub(crate) fn is_policy(&self, class: &[u8]) -> bool {
        let Ok(class) = str::from_utf8(class) else { return false };
        let is = |name: &str| POLICIES.iter().any(|known| known.eq_ignore_ascii_case(name));
        let all = self.schema.class_closure([class.trim()]);
        is(class.trim()) || all.iter().any(|class| class.names.iter().any(|name| is(name)))
    }

    /// Returns why a value of a record's property is not written; `None`: it may be.
    pub(crate) fn guarded_value(&self, property: &str, value: &Value) -> Option<Guarded> {
        let values = value.as_array().map_or(slice::from_ref(value), Vec::as_slice);
        let texts = values.iter().filter(|value| !value.is_null());
        let texts = texts.map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        let texts: Vec<String> = texts.collect();
        let grants = self.grant(property, texts.iter().map(String::as_bytes));
        self.guarded(property).or(grants)
    }

    /// Checks all attributes that a change touches. `own`: those that the service's rule writes; they name no entry.
    ///
    /// # Errors
    /// It touches one that is not written for a caller.
    pub(crate) fn check(&self, change: &Change, own: &[String]) -> Result<(), WriteError> {
        self.judge(self.touched(change), change.dn(), own)
    }

    /// Checks all attributes of a new entry, with those of its RDN.
    ///
    /// # Errors
    /// It has one that is not written for a caller.
    pub(crate) fn check_entry(&self, entry: &Entry) -> Result<(), WriteError> {
        self.judge(self.of_entry(entry), &entry.dn, &[])
    }

    fn judge(
        &self,
        touched: Result<Vec<Touched>, DnError>,
        dn: &str,
        own: &[String],
    ) -> Result<(), WriteError> {
        let touched = touched.map_err(|e| {
            WriteError::new(WriteErrorKind::Invalid, format!("`{dn}` is not a valid DN: {e}"))
        })?;
        for Touched { description, place, is_unprintable, grants } in touched {
            // 389 Directory Server stores such a name as another one, which no undo finds.
            if is_unprintable {
                let detail = format!("`{description}`: a name with a control character is not written");
                return Err(WriteError::new(WriteErrorKind::Invalid, detail).of_attribute(description));
            }
            let is_own =
                || own.iter().any(|o| self.schema.same_description(base_type(o), base_type(&description)));
            match self.guarded(&description).or(grants) {
                None => {}
                Some(_) if place == Place::Value && is_own() => {}
                // 389 Directory Server names entries in conflict by nsUniqueId: a rename ends that.
                Some(Guarded::Kept) if place == Place::OldRdn => {}
                Some(guarded) => return Err(guarded.error(&description)),
            }
        }
        Ok(())
    }

    /// Returns all attributes that a change touches: of a new entry and a modification, and those of RDNs, whose values are added and
    /// removed with a name (RFC 4511 sections 4.7 and 4.9).
    fn touched(&self, change: &Change) -> Result<Vec<Touched>, DnError> {
        Ok(match change {
            Change::Delete { .. } => Vec::new(),
            Change::Modify { changes, .. } => {
                let step = |step: &Modification| match step.kind {
                    ModificationKind::Delete => self.of_values(&step.description, &[]),
                    ModificationKind::Add | ModificationKind::Replace => {
                        self.of_values(&step.description, &step.values)
                    }
                    // What it makes of the flags is not known.
                    ModificationKind::Increment => self.of_values(&step.description, &[Vec::new()]),
                };
                changes.iter().map(step).collect()
            }
            Change::Add(entry) => self.of_entry(entry)?,
            Change::Rename { dn, new_rdn, delete_old_rdn, .. } => {
                let mut all = self.of_rdn(new_rdn, Place::Rdn)?;
                if *delete_old_rdn {
                    all.extend(self.of_rdn(dn, Place::OldRdn)?);
                }
                all
            }
        })
    }

    fn of_entry(&self, entry: &Entry) -> Result<Vec<Touched>, DnError> {
        let mut all = self.of_rdn(&entry.dn, Place::Rdn)?;
        all.extend(entry.attributes.iter().map(|a| self.of_values(&a.description, &a.values)));
        Ok(all)
    }

    fn of_values(&self, description: &str, values: &[Vec<u8>]) -> Touched {
        let grants = self.grant(description, values.iter().map(Vec::as_slice));
        Touched { description: description.to_owned(), place: Place::Value, is_unprintable: false, grants }
    }

    fn of_rdn(&self, dn: &str, place: Place) -> Result<Vec<Touched>, DnError> {
        let is_new = place == Place::Rdn;
        let has_control = |value: &[u8]| String::from_utf8_lossy(value).chars().any(char::is_control);
        let avas = first_rdn(dn)?.into_iter().flat_map(|rdn| rdn.avas);
        let touched = avas.map(|ava| Touched {
            is_unprintable: is_new && has_control(&ava.value),
            grants: self.grant(&ava.attribute, iter::once(ava.value.as_slice())).filter(|_| is_new),
            description: ava.attribute,
            place,
        });
        Ok(touched.collect())
    }
}

/// Where a change touches an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Value,
    /// The RDN that the entry gets.
    Rdn,
    /// The RDN whose values it loses.
    OldRdn,
}

/// An attribute that a change touches.
struct Touched {
    description: String,
    place: Place,
    /// Whether it is of a new name, and has a control character.
    is_unprintable: bool,
    /// Why its values are not written.
    grants: Option<Guarded>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_that_grant_rights_are_told_from_others() {
        for value in ["512", "514", "66048", "1049088", "-2147483136"] {
            assert!(!grants(value.as_bytes()), "{value}");
        }
        for value in ["544", "546", "524800", "4194816", "16777728", "8704", "67109376", "-1", "4295492096"] {
            assert!(grants(value.as_bytes()), "{value}");
        }
        for value in ["0x80200", "02000000", "+1", " 1", "", "x", "99999999999999999999"] {
            assert!(grants(value.as_bytes()), "{value}: it is not plainly decimal");
        }
    }
}
