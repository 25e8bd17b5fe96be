//! The result of a refused operation (RFC 4511 section 4.1.9), and whether the record is at fault.

use ldap_directory::DirectoryError;
use ldap_directory::protocol::result_code;
use ldap_directory::schema::Schema;

use crate::rules::rule::is_attribute_description;

/// The result of a refused operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LdapResult {
    /// The result code.
    pub code: u32,
    /// The diagnostic message.
    pub text: String,
    /// The matchedDN.
    pub matched: String,
    /// The DN of an existing entry that is similar to a missing one; searched for when nothing else is left to try.
    pub nearest: Option<String>,
}

impl LdapResult {
    /// Returns the result in an error, if the directory returned one.
    pub fn of(error: &DirectoryError) -> Option<LdapResult> {
        match error {
            DirectoryError::Operation { code, matched, text, .. } => {
                Some(LdapResult { code: *code, text: text.clone(), matched: matched.clone(), nearest: None })
            }
            _ => None,
        }
    }
}

/// Whether the record is at fault, so that other records may succeed. Failures of the connection or the server are not, nor are
/// unclear ones.
pub fn is_records_fault(error: &DirectoryError) -> bool {
    let Some(LdapResult { code, text, .. }) = LdapResult::of(error) else {
        return matches!(error, DirectoryError::TooLarge { .. } | DirectoryError::Forbidden { .. });
    };
    if code == result_code::UNWILLING_TO_PERFORM {
        // Active Directory returns this for a password against its policy, slapd for a DN outside its naming contexts: faults
        // of the record. Servers also return it to every write: slapd with `readonly on` ("operation restricted"), its replicas
        // without updateref ("shadow context"), 389 DS during an import or when read-only.
        let text = text.to_ascii_lowercase();
        let locked = ["operation restricted", "shadow context", "read-only", "readonly", "read only"];
        return !locked.iter().any(|words| text.contains(words));
    }
    if code == result_code::OPERATIONS_ERROR {
        // 389 DS returns it for what a plugin or the database makes of one entry. Active Directory returns it for every operation on a
        // connection that nobody is bound on.
        let text = text.to_ascii_lowercase();
        let unbound = ["bind must be completed", "authenticat", "000004dc"];
        return !unbound.iter().any(|words| text.contains(words));
    }
    result_code::concerns_entry(code)
}

/// Whether an error means that another entry has the DN, or a unique value. OpenLDAP (slapo-unique) and 389 DS return
/// `constraintViolation` (19) with a text; Active Directory `entryAlreadyExists` (68), or 19 with `000021C7`
/// (userPrincipalName) or `000021C8` (servicePrincipalName).
pub fn is_taken_value(error: &DirectoryError) -> bool {
    let Some(LdapResult { code, text, .. }) = LdapResult::of(error) else { return false };
    let text = text.to_ascii_lowercase();
    match code {
        result_code::ENTRY_ALREADY_EXISTS => true,
        result_code::CONSTRAINT_VIOLATION => {
            ["unique", "already", "in use", "000021c7", "000021c8"].iter().any(|word| text.contains(word))
        }
        _ => false,
    }
}

/// Returns the attribute that a diagnostic message names. There are three forms: `attribute 'sn'` (slapd, Samba) or `attribute
/// "sn"` (389 DS), `sn: value #0 invalid per syntax` (slapd, 389 DS), and `Att 4 (sn)` (Active Directory).
pub fn attribute_named(answer: &LdapResult, schema: &Schema) -> Option<String> {
    if !result_code::concerns_attribute(answer.code) {
        return None;
    }
    let known = |name: &str| schema.attribute_type(name).is_some();
    let quoted = |text: &str| -> Option<String> {
        let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"' | '`'))?;
        let end = if quote == '`' { '\'' } else { quote };
        let name = text.strip_prefix(quote)?.split(end).next()?;
        is_attribute_description(name).then(|| name.to_owned())
    };
    let text = answer.text.as_str();
    let mut after_word = text.split("ttribute ").skip(1);
    if let Some(name) = after_word.find_map(quoted) {
        return Some(name);
    }
    for part in text.split("Att ").skip(1) {
        let name = part.split_once('(').and_then(|(_, rest)| rest.split(')').next());
        if let Some(name) = name.filter(|n| is_attribute_description(n)) {
            return Some(name.to_owned());
        }
    }
    let mut parts = text.split(": ").filter_map(|p| p.rsplit(['\n', ' ']).next());
    // The last part is not followed by a colon.
    let count = text.matches(": ").count();
    parts.by_ref().take(count).find(|p| is_attribute_description(p) && known(p)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(code: u32, text: &str) -> LdapResult {
        LdapResult { code, text: text.into(), ..LdapResult::default() }
    }

    fn error(code: u32, text: &str) -> DirectoryError {
        let matched = String::new();
        DirectoryError::Operation { operation: "add", dn: "cn=x".into(), code, matched, text: text.into() }
    }

    #[test]
    fn only_what_is_the_records_own_is_left_out() {
        for code in [1, 16, 17, 19, 20, 21, 32, 34, 50, 53, 64, 65, 66, 67, 68, 69, 71] {
            assert!(is_records_fault(&error(code, "")), "{code}");
        }
        for code in [2, 3, 8, 10, 11, 12, 13, 49, 51, 52, 54, 80, 118, 123, 4711] {
            assert!(!is_records_fault(&error(code, "")), "{code}");
        }
        // slapd with `readonly on`, a replica of slapd, 389 DS with nsslapd-readonly.
        for text in ["operation restricted", "shadow context; no update referral", "Server is read-only"] {
            assert!(!is_records_fault(&error(53, text)), "{text}");
        }
        let unbound = "000004DC: LdapErr: DSID-0C090A5C, comment: In order to perform this operation a successful bind must be completed";
        for text in [unbound, "00002020: Operation unavailable without authentication"] {
            assert!(!is_records_fault(&error(1, text)), "{text}");
        }
        let lost = DirectoryError::Lost {
            operation: "add",
            dn: "cn=x".into(),
            reason: "reset".into(),
            outcome_unknown: false,
        };
        assert!(!is_records_fault(&lost));
        let (largest, limit) = (String::new(), String::new());
        let large =
            DirectoryError::TooLarge { operation: "add", dn: "cn=x".into(), octets: 1, largest, limit };
        assert!(is_records_fault(&large));
    }

    #[test]
    fn the_attribute_is_named_as_each_server_names_it() {
        for (code, text, expected) in [
            (65, "object class 'inetOrgPerson' requires attribute 'sn'", Some("sn")),
            (65, "attribute 'uid' not allowed", Some("uid")),
            (65, "missing attribute \"sn\" required by object class \"person\"\n", Some("sn")),
            (65, "attribute \"carLicense\" not allowed\n", Some("carLicense")),
            (19, "attribute 'testCount' cannot have multiple values", Some("testCount")),
            (21, "mail: value #0 invalid per syntax", Some("mail")),
            (21, "modify/add: telephoneNumber: value #1 invalid per syntax", Some("telephoneNumber")),
            (17, "nonsense: attribute type undefined", None),
            (
                19,
                "0000052D: AtrErr: DSID-03190F00, #1:\n\t0: 0000052D: problem 1005 (CONSTRAINT_ATT_TYPE), data 0, Att 9005a (unicodePwd)",
                Some("unicodePwd"),
            ),
            (
                65,
                "objectclass_attrs: attribute 'mail' on entry 'cn=x' does not exist in the specified objectclasses!",
                Some("mail"),
            ),
            (65, "no structural object class provided", None),
            (19, "some attributes not unique", None),
            (50, "no write access to attribute 'mail'", None),
        ] {
            let named = attribute_named(&answer(code, text), Schema::standard());
            assert_eq!(named.as_deref(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_of_a_server_is_too_strange(text in "\\PC{0,40}|(attribute |Att |'|\"|`|: |\\(|sn){0,12}") {
            let _ = attribute_named(&answer(65, &text), Schema::standard());
        }
    }
}
