//! The rule for which attributes, and which properties of records, hold secrets: by name, by the schema, and by configuration.

use crate::entry::{as_oid, base_type};
use crate::schema::{AttributeType, Schema};

/// Attributes that hold passwords or keys, with their OIDs where they have a well-known one (RFC 4519 section 2.41, RFC
/// 2798 section 2.10, RFC 3112, draft-behera-ldap-password-policy; [MS-ADA1] to [MS-ADA3], LAPS, `BitLocker`; Samba,
/// 389 Directory Server, FreeIPA, MIT Kerberos and Heimdal). `olcSyncrepl` and the like hold `credentials=…`.
const NAMES: &[(&str, &str)] = &[
    ("userPassword", "2.5.4.35"),
    ("authPassword", "1.3.6.1.4.1.4203.1.3.4"),
    ("userPKCS12", "2.16.840.1.113730.3.1.216"),
    ("pwdHistory", "1.3.6.1.4.1.42.2.27.8.1.20"),
    ("passwordHistory", "2.16.840.1.113730.3.1.96"),
    ("unicodePwd", "1.2.840.113556.1.4.90"),
    ("dBCSPwd", "1.2.840.113556.1.4.55"),
    ("ntPwdHistory", "1.2.840.113556.1.4.94"),
    ("lmPwdHistory", "1.2.840.113556.1.4.160"),
    ("currentValue", "1.2.840.113556.1.4.27"),
    ("priorValue", "1.2.840.113556.1.4.100"),
    ("supplementalCredentials", "1.2.840.113556.1.4.125"),
    ("unixUserPassword", "1.2.840.113556.1.4.1910"),
    ("msDS-ManagedPassword", "1.2.840.113556.1.4.2196"),
    ("ms-Mcs-AdmPwd", "1.2.840.113556.1.8000.2554.50051.45980.28112.18903.35903.6685103.1224907.2.1"),
    ("msFVE-RecoveryPassword", "1.2.840.113556.1.4.1964"),
    ("msFVE-KeyPackage", "1.2.840.113556.1.4.1999"),
    ("msTPM-OwnerInformation", "1.2.840.113556.1.4.1966"),
    ("msPKIDPAPIMasterKeys", "1.2.840.113556.1.4.1893"),
    ("msPKIAccountCredentials", "1.2.840.113556.1.4.1894"),
    ("msPKI-CredentialRoamingTokens", "1.2.840.113556.1.4.2050"),
    ("trustAuthIncoming", "1.2.840.113556.1.4.129"),
    ("trustAuthOutgoing", "1.2.840.113556.1.4.135"),
    ("initialAuthIncoming", "1.2.840.113556.1.4.539"),
    ("initialAuthOutgoing", "1.2.840.113556.1.4.540"),
    ("pekList", "1.2.840.113556.1.4.865"),
    ("sambaLMPassword", "1.3.6.1.4.1.7165.2.1.24"),
    ("sambaNTPassword", "1.3.6.1.4.1.7165.2.1.25"),
    ("sambaPasswordHistory", "1.3.6.1.4.1.7165.2.1.54"),
    ("sambaClearTextPassword", "1.3.6.1.4.1.7165.2.1.68"),
    ("sambaPreviousClearTextPassword", "1.3.6.1.4.1.7165.2.1.69"),
    ("nsDS5ReplicaCredentials", "2.16.840.1.113730.3.1.582"),
    ("nsSymmetricKey", "2.16.840.1.113730.3.1.2084"),
    ("krbPrincipalKey", "2.16.840.1.113719.1.301.4.39.1"),
    ("krbMKey", "2.16.840.1.113719.1.301.4.46.1"),
    ("krb5Key", ""),
    ("ipaNTHash", ""),
    ("ipaNTTrustAuthIncoming", ""),
    ("ipaNTTrustAuthOutgoing", ""),
    ("ipatokenOTPkey", ""),
    // Answers to questions by which a password is reset, and the root key of managed passwords.
    ("pwmResponseSet", ""),
    ("msKds-RootKeyData", ""),
    ("olcSyncrepl", ""),
    ("olcDbACLBind", ""),
    ("olcDbIDAssertBind", ""),
];
/// The attributes of Windows LAPS, all secret but one.
const LAPS: &str = "msLAPS-";
const LAPS_EXPIRY: &str = "msLAPS-PasswordExpirationTime";

/// Endings of the names of secrets, in any directory or record, without separators: `radiusTunnelPassword`,
/// `oauth_client_secret`.
const ENDINGS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "passwordhash",
    "passwdhash",
    "pwdhash",
    "passwordhistory",
    "pwdhistory",
    "nthash",
    "lmhash",
    "rootpw",
    "secret",
    "credential",
    "credentials",
    "privatekey",
    "secretkey",
    "masterkey",
    "apikey",
    "authkey",
    "tokenkey",
    "tsigkey",
    "sharedkey",
    "symmetrickey",
    "encryptionkey",
    "recoverykey",
    "recoverycode",
    "recoverycodes",
    "backupcode",
    "backupcodes",
    "secretanswer",
    "securityanswer",
    "challengeanswer",
    "bcrypthash",
    "crypthash",
    "argon2hash",
    "pbkdf2hash",
];
/// Last words of the names of secrets, with a capital or after a separator: `accessToken`, `totp_seed`, but not `bypass` or `shopping`.
const WORDS: &[&str] = &["token", "seed", "pass", "pin", "psk", "puk"];
/// ... except for names of settings about secrets: `msDS-UserDontExpirePassword`, `must_change_password`.
/// Tokens that are numbers of groups (Active Directory) or names of devices (389 Directory Server).
const ABOUT: &[&str] =
    &["expirepassword", "changepassword", "expirepwd", "changepwd", "primarygrouptoken", "nsssltoken"];

/// An attribute added by the configuration or a schema.
#[derive(Debug, Clone)]
struct Added {
    name: String,
    /// Whether it is secret only by configuration.
    by_user: bool,
}

/// The rule for which attributes, and which properties of records, hold secrets: by name, by configuration, and by schema.
///
/// ```
/// use ldap_directory::secret::SecretAttributes;
///
/// let mut secrets = SecretAttributes::default();
/// secrets.add(&["nationalId".to_owned()]);
/// assert!(secrets.contains("userPassword;x-old") && secrets.contains("nationalID"));
/// assert!(!secrets.contains("pwdLastSet"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct SecretAttributes {
    added: Vec<Added>,
}

impl SecretAttributes {
    /// Returns the built-in rule.
    pub const fn new() -> Self {
        Self { added: Vec::new() }
    }

    /// Returns the rule with configured names, and what a schema adds to all of them.
    pub fn of(names: &[String], schema: &Schema) -> Self {
        let mut secrets = Self::new();
        secrets.add(names);
        secrets.learn(schema);
        secrets
    }

    /// Returns whether the values of an attribute, or of a record's property, must never be shown.
    pub fn contains(&self, description: &str) -> bool {
        self.is(description, true)
    }

    /// Returns whether a server may hide the values of an attribute from every user, so that an empty answer does not mean that there
    /// are none. An attribute that is secret only by configuration is readable.
    pub fn is_write_only(&self, description: &str) -> bool {
        self.is(description, false)
    }

    fn is(&self, description: &str, also_by_user: bool) -> bool {
        let name = base_type(description);
        let name = as_oid(name).unwrap_or(name);
        let added = |a: &Added| a.name.eq_ignore_ascii_case(name) && (also_by_user || !a.by_user);
        is_secret_name(name) || self.added.iter().any(added)
    }

    /// Adds configured attributes and properties.
    pub fn add(&mut self, names: &[String]) {
        for name in names {
            self.push(base_type(name), true);
        }
    }

    fn push(&mut self, name: &str, by_user: bool) {
        let name = as_oid(name).unwrap_or(name);
        // A word is told by its capital, and names are compared without.
        if !self.is(&name.to_ascii_lowercase(), by_user) {
            self.added.push(Added { name: name.to_owned(), by_user });
        }
    }

    /// Adds all names of another rule.
    pub fn extend(&mut self, other: &SecretAttributes) {
        for added in &other.added {
            self.push(&added.name, added.by_user);
        }
    }

    /// Adds other names, OIDs and subtypes of secret attributes from a schema.
    pub fn learn(&mut self, schema: &Schema) {
        for by_user in [false, true] {
            let own = |a: &AttributeType| a.names.iter().chain([&a.oid]).any(|name| self.is(name, by_user));
            let secret: Vec<&AttributeType> = schema
                .attribute_types()
                .iter()
                .filter(|a| own(a) || schema.type_chain(&a.oid).any(own))
                .collect();
            for name in secret.iter().flat_map(|a| a.names.iter().chain([&a.oid])) {
                self.push(name, by_user);
            }
        }
    }
}

/// Returns whether the built-in rule applies to a name.
fn is_secret_name(name: &str) -> bool {
    if NAMES.iter().any(|(n, oid)| n.eq_ignore_ascii_case(name) || !name.is_empty() && *oid == name) {
        return true;
    }
    if name.get(..LAPS.len()).is_some_and(|start| start.eq_ignore_ascii_case(LAPS)) {
        return !name.eq_ignore_ascii_case(LAPS_EXPIRY);
    }
    let is_secret =
        ENDINGS.iter().any(|end| ends_in(name, end)) || WORDS.iter().any(|word| ends_in_word(name, word));
    is_secret && !ABOUT.iter().any(|end| ends_in(name, end))
}

/// Returns whether a name has an ending, ignoring separators and case.
fn ends_in(name: &str, ending: &str) -> bool {
    let mut letters = name.bytes().rev().filter(u8::is_ascii_alphanumeric).map(|b| b.to_ascii_lowercase());
    ending.bytes().rev().all(|b| letters.next() == Some(b))
}

/// Returns whether the last word of a name is this one.
fn ends_in_word(name: &str, word: &str) -> bool {
    let Some((before, last)) = name.len().checked_sub(word.len()).and_then(|at| name.split_at_checked(at))
    else {
        return false;
    };
    let begins = match (before.bytes().next_back(), last.bytes().next()) {
        (None, _) => true,
        (Some(before), Some(first)) => {
            !before.is_ascii_alphanumeric() || first.is_ascii_uppercase() && !before.is_ascii_uppercase()
        }
        (Some(_), None) => false,
    };
    last.eq_ignore_ascii_case(word) && begins
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name_oid_option_and_ending() {
        for name in [
            "userPassword",
            "USERPASSWORD;x-form",
            "2.5.4.35",
            "OID.2.5.4.35",
            "ms-Mcs-AdmPwd",
            "msLAPS-Password",
            "msLAPS-EncryptedDSRMPasswordHistory",
            "mslaps-encryptedpassword",
            "msFVE-RecoveryPassword",
            "supplementalCredentials",
            "sambaClearTextPassword",
            "passwordHistory",
            "pwdHistory",
            "nsds5ReplicaCredentials",
            "nsds5ReplicaBootstrapCredentials",
            "msDS-ManagedPassword",
            "dBCSPwd",
            "ntPwdHistory",
            "lmPwdHistory",
            "unixUserPassword",
            "krbMKey",
            "krbPrincipalKey",
            "sambaNTPassword",
            "sambaLMPassword",
            "userPKCS12",
            "nsSLAPD-RootPW",
            "olcRootPW",
            "radiusTunnelPassword",
            "privateKey",
            "oauth_client_secret",
            "initial-password",
            "PASSWD",
            "password_hash",
            "accessToken",
            "refresh_token",
            "userPIN",
            "sim-puk",
            "totpSeed",
            "wifiPsk",
            "vpnPass",
            "token",
            "secretAnswer",
            "recoveryCode",
            "recovery_codes",
            "zimbraPreAuthKey",
            "tsigKey",
            "bcryptHash",
        ] {
            assert!(SecretAttributes::new().contains(name), "{name}");
        }
        for name in [
            "pwdLastSet",
            "pwdPolicySubentry",
            "pwdChangedTime",
            "pwdInHistory",
            "passwordExpirationTime",
            "passwordExp",
            "badPwdCount",
            "msDS-PasswordSettings",
            "msDS-PasswordHistoryLength",
            "msDS-UserDontExpirePassword",
            "msDS-ManagedPasswordId",
            "msDS-ManagedPasswordInterval",
            "msLAPS-PasswordExpirationTime",
            "must_change_password",
            "minPwdLength",
            "secretary",
            "sambaPwdLastSet",
            "krbPasswordExpiration",
            "userCertificate",
            "publicKey",
            "sshPublicKey",
            "primaryGroupToken",
            "nsSSLToken",
            "tokenGroups",
            "bypass",
            "compass",
            "COMPASS",
            "shopping",
            "hashtag",
            "postalCode",
            "seedOfTest",
            "cn",
            "",
        ] {
            assert!(!SecretAttributes::new().contains(name), "{name}");
        }
    }

    #[test]
    fn the_configuration_and_the_schema_add_to_them() {
        let mut secrets = SecretAttributes::new();
        assert!(!secrets.contains("ssnOfTest"));
        secrets.add(&["ssnOfTest;x".to_owned()]);
        assert!(secrets.contains("SSNofTest;lang-de"));
        secrets.add(&["oid.1.2.3.4".to_owned()]);
        assert!(secrets.contains("1.2.3.4") && secrets.contains("OID.1.2.3.4"));
        let types = [
            "( 1.1.1 NAME ( 'ssnOfTest' 'socialNumberOfTest' ) SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )",
            "( 1.1.2 NAME 'otherNumberOfTest' SUP ssnOfTest )",
            "( 1.1.3 NAME 'harmlessOfTest' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )",
        ];
        let (schema, errors) = Schema::parse(types, []);
        assert!(errors.is_empty());
        let words = ["( 1.1.4 NAME 'doorPin' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )"];
        secrets.learn(&Schema::parse(words, []).0);
        assert!(secrets.contains("DOORPIN") && secrets.contains("doorpin;x") && secrets.contains("1.1.4"));
        secrets.learn(&schema);
        for name in ["socialNumberOfTest", "1.1.1", "otherNumberOfTest", "1.1.2"] {
            assert!(secrets.contains(name) && !secrets.is_write_only(name), "{name}");
        }
        assert!(!secrets.contains("harmlessOfTest") && !secrets.contains("1.1.3"));
    }
}
