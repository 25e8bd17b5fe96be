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

/// Attributes that servers keep themselves, though their schema does not say so. Active Directory gives each entry the category of its class:
/// with another one, it is out of filters of persons or accounts, and of the policies for them.
const KEPT: [&str; 2] = ["memberOf", "objectCategory"];

/// Attributes of Active Directory that grant rights over an entry, let another account stand for it ([MS-ADTS] 5.1.3, [MS-KILE]), or run
/// programs for people who log on.
const RIGHTS: [&str; 24] = [
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
    // It keeps the policies of the entries above from those below.
    "gPOptions",
    // Weak ciphers for an account's tickets.
    "msDS-SupportedEncryptionTypes",
    // Of every server: where clients of an entry are sent, with their passwords (RFC 3296).
    "ref",
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
/// account policies, automatic members, views, ranges of numbers (389 Directory Server), `pwdPolicy` and configuration (OpenLDAP), subentries
/// (RFC 3672), policies and trusts of Active Directory; entries that stand for others: referrals (RFC 3296) and aliases; and those by which
/// other programs give people rights on machines: of sudo, netgroups (RFC 2307), mounts, and FreeIPA.
const POLICIES: [&str; 34] = [
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
    "referral",
    "alias",
    "nsView",
    "dnaSharedConfig",
    "olcConfig",
    "sudoRole",
    "nisNetgroup",
    "automount",
    "automountMap",
    "ipaHBACRule",
    "ipaSudoRule",
    "ipaPermission",
    "krbPwdPolicy",
];

/// The attribute with the flags of an account.
const FLAGS: &str = "userAccountControl";

/// The flags that grant rights, or take security away ([MS-ADTS] 2.2.16): PASSWD_NOTREQD, ENCRYPTED_TEXT_PWD_ALLOWED,
/// INTERDOMAIN_TRUST_ACCOUNT, WORKSTATION_TRUST_ACCOUNT (a machine is no person), SERVER_TRUST_ACCOUNT, TRUSTED_FOR_DELEGATION, USE_DES_KEY_ONLY,
/// DONT_REQUIRE_PREAUTH, TRUSTED_TO_AUTHENTICATE_FOR_DELEGATION, PARTIAL_SECRETS_ACCOUNT.
const GRANTING: i64 =
    0x20 | 0x80 | 0x800 | 0x1000 | 0x2000 | 0x8_0000 | 0x20_0000 | 0x40_0000 | 0x100_0000 | 0x400_0000;

/// The attributes with the numbers of users and groups on machines (RFC 2307).
const NUMBERS: [&str; 2] = ["uidNumber", "gidNumber"];
/// The largest number: the next one stands for "no change" (chown(2)), and those after it are others in 32 bits, 0 among them.
const LARGEST_NUMBER: u32 = u32::MAX - 1;

/// Whether a value of [`NUMBERS`] is, or may be taken for, that of root, the user and the group with all rights on each machine that takes
/// its users from the directory. Programs read numbers in several ways: what is not plainly decimal may be any.
fn is_root(value: &[u8]) -> bool {
    let text = str::from_utf8(value).unwrap_or_default();
    let number = text.parse::<u32>().ok().filter(|number| number.to_string() == text);
    !number.is_some_and(|number| (1..=LARGEST_NUMBER).contains(&number))
}

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
    /// Whether a value that is as before may be told from another one. Of a secret, that would tell the value.
    fn is_comparable(self) -> bool {
        !matches!(self, Guarded::Secret | Guarded::Unknown)
    }

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

    /// Returns why values of an attribute are not written: flags that grant rights, numbers of root, or classes of definitions. `None`:
    /// they may be.
    fn grant<'v>(&self, description: &str, mut values: impl Iterator<Item = &'v [u8]>) -> Option<Guarded> {
        if self.is_of(description, &[FLAGS]) {
            return values.any(grants).then_some(Guarded::Rights);
        }
        if self.is_of(description, &NUMBERS) {
            return values.any(is_root).then_some(Guarded::Rights);
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
        self.judge(self.touched(change), change.dn(), own, false)
    }

    /// Checks all attributes of an entry that may be there already, with those of its RDN. What its values decide is not checked: they may
    /// be those that it has, and the fence looks at each change.
    ///
    /// # Errors
    /// It has one that is not written for a caller, whatever its values.
    pub(crate) fn check_entry(&self, entry: &Entry) -> Result<(), WriteError> {
        self.judge(self.of_entry(entry), &entry.dn, &[], true)
    }

    /// Whether values of an attribute may be compared with those that an entry has, though they are not written for a caller.
    pub(crate) fn is_comparable(&self, step: &Modification) -> bool {
        let values = step.values.iter().map(Vec::as_slice);
        let guarded = self.guarded(&step.description).or_else(|| self.grant(&step.description, values));
        step.kind == ModificationKind::Replace && guarded.is_some_and(Guarded::is_comparable)
    }

    fn judge(
        &self,
        touched: Result<Vec<Touched>, DnError>,
        dn: &str,
        own: &[String],
        may_be_there: bool,
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
                Some(guarded) if may_be_there && place == Place::Value && guarded.is_comparable() => {}
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
    fn numbers_of_root_are_told_from_others() {
        for value in ["1", "27", "1500", "65534", "4294967294"] {
            assert!(!is_root(value.as_bytes()), "{value}");
        }
        for value in
            ["0", "-0", "+0", "00", "0x0", " 0", "01500", "-1", "4294967295", "4294967296", "", "1 ", "1e3"]
        {
            assert!(is_root(value.as_bytes()), "{value}");
        }
    }

    #[test]
    fn flags_that_grant_rights_are_told_from_others() {
        for value in ["512", "514", "66048", "1049088", "-2147483136"] {
            assert!(!grants(value.as_bytes()), "{value}");
        }
        for value in [
            "640",
            "2097664",
            "2560",
            "544",
            "546",
            "524800",
            "4194816",
            "16777728",
            "8704",
            "67109376",
            "4096",
            "-1",
            "4295492096",
        ] {
            assert!(grants(value.as_bytes()), "{value}");
        }
        for value in ["0x80200", "02000000", "+1", " 1", "", "x", "99999999999999999999"] {
            assert!(grants(value.as_bytes()), "{value}: it is not plainly decimal");
        }
    }
}
