//! LDAP result codes: their names, which of them can be retried, and advice (RFC 4511 appendix A).
//!
//! ```
//! use ldap_directory::protocol::result_code;
//!
//! assert_eq!(result_code::name(result_code::INVALID_CREDENTIALS), "invalidCredentials (49)");
//! assert!(result_code::may_be_retried(result_code::BUSY, ""));
//! assert!(!result_code::may_be_retried(result_code::SIZE_LIMIT_EXCEEDED, ""));
//! assert!(result_code::concerns_entry(result_code::ENTRY_ALREADY_EXISTS));
//! ```

mod active_directory;

/// The operation succeeded. This and the following codes are those that have a use by name.
pub const SUCCESS: u32 = 0;
#[allow(missing_docs, reason = "the names are RFC 4511's")]
mod named {
    pub const OPERATIONS_ERROR: u32 = 1;
    pub const PROTOCOL_ERROR: u32 = 2;
    pub const TIME_LIMIT_EXCEEDED: u32 = 3;
    pub const SIZE_LIMIT_EXCEEDED: u32 = 4;
    pub const REFERRAL: u32 = 10;
    pub const ADMIN_LIMIT_EXCEEDED: u32 = 11;
    pub const UNAVAILABLE_CRITICAL_EXTENSION: u32 = 12;
    #[cfg(feature = "gssapi")]
    pub const SASL_BIND_IN_PROGRESS: u32 = 14;
    pub const NO_SUCH_ATTRIBUTE: u32 = 16;
    pub const UNDEFINED_ATTRIBUTE_TYPE: u32 = 17;
    pub const CONSTRAINT_VIOLATION: u32 = 19;
    pub const ATTRIBUTE_OR_VALUE_EXISTS: u32 = 20;
    pub const INVALID_ATTRIBUTE_SYNTAX: u32 = 21;
    pub const NO_SUCH_OBJECT: u32 = 32;
    pub const INVALID_DN_SYNTAX: u32 = 34;
    pub const INAPPROPRIATE_AUTHENTICATION: u32 = 48;
    pub const INVALID_CREDENTIALS: u32 = 49;
    pub const INSUFFICIENT_ACCESS_RIGHTS: u32 = 50;
    pub const BUSY: u32 = 51;
    pub const UNAVAILABLE: u32 = 52;
    pub const UNWILLING_TO_PERFORM: u32 = 53;
    pub const NAMING_VIOLATION: u32 = 64;
    pub const OBJECT_CLASS_VIOLATION: u32 = 65;
    pub const NOT_ALLOWED_ON_NON_LEAF: u32 = 66;
    pub const ENTRY_ALREADY_EXISTS: u32 = 68;
    /// RFC 4528 section 4.
    pub const ASSERTION_FAILED: u32 = 122;
    /// RFC 4533 section 2.6.
    pub const SYNC_REFRESH_REQUIRED: u32 = 4096;
}
pub use named::*;

struct Row {
    code: u32,
    name: &'static str,
    /// Advice; empty if the server's own text must suffice.
    advice: &'static str,
}

const fn row(code: u32, name: &'static str, advice: &'static str) -> Row {
    Row { code, name, advice }
}

const ROWS: &[Row] = &[
    row(0, "success", ""),
    row(
        1,
        "operationsError",
        "the server could not do it with this entry, or at this time: its own log says why",
    ),
    row(
        2,
        "protocolError",
        "the server did not understand: is it an LDAPv3 server, and does it have the operation?",
    ),
    row(3, "timeLimitExceeded", "narrow the filter, or ask the administrator for a longer time limit"),
    row(
        4,
        "sizeLimitExceeded",
        "the server returns no more entries to this user: ask the administrator for a higher size limit",
    ),
    row(5, "compareFalse", ""),
    row(6, "compareTrue", ""),
    row(7, "authMethodNotSupported", "choose another bind method"),
    row(8, "strongerAuthRequired", "use ldaps://, StartTLS, or another bind method"),
    row(10, "referral", "the entry is kept by another server: connect to that one"),
    row(11, "adminLimitExceeded", "ask the administrator for a higher limit"),
    row(
        12,
        "unavailableCriticalExtension",
        "the server lacks a control that is needed, or the bound user may not use it: ask the administrator",
    ),
    row(13, "confidentialityRequired", "use ldaps:// or StartTLS"),
    row(14, "saslBindInProgress", "the bind was not finished: choose another bind method"),
    row(
        16,
        "noSuchAttribute",
        "what was to be removed is not there: the entry has changed meanwhile, so run again",
    ),
    row(
        17,
        "undefinedAttributeType",
        "the server's schema does not know the attribute, or does not take it in this form",
    ),
    row(18, "inappropriateMatching", "the attribute has no such matching rule"),
    row(
        19,
        "constraintViolation",
        "a value breaks a rule of the server: its length, how many there may be, that it is unique, or the password policy",
    ),
    row(
        20,
        "attributeOrValueExists",
        "the value is there already, or twice in the record: compare the two, or run again",
    ),
    row(21, "invalidAttributeSyntax", "the value does not follow the attribute's syntax"),
    row(32, "noSuchObject", "check the DN, and that the bound user may see it"),
    row(33, "aliasProblem", "an alias names an entry that is not there: ask the administrator"),
    row(34, "invalidDNSyntax", "check the DN's spelling (RFC 4514)"),
    row(36, "aliasDereferencingProblem", "the bound user may not follow an alias: ask the administrator"),
    row(
        48,
        "inappropriateAuthentication",
        "the entry of the bind DN has no password, or anonymous access is off",
    ),
    row(
        49,
        "invalidCredentials",
        "check the bind DN and the password; a locked account gives the same answer",
    ),
    row(50, "insufficientAccessRights", "the bound user needs more rights: ask the administrator"),
    row(51, "busy", "try again later"),
    row(52, "unavailable", "try again later"),
    row(
        53,
        "unwillingToPerform",
        "a rule of the server forbids it: its text says which, or else its own log",
    ),
    row(54, "loopDetect", "aliases or referrals lead in a circle: ask the administrator"),
    row(64, "namingViolation", "the DN does not go with the entry's object classes or values"),
    row(65, "objectClassViolation", "an attribute is missing or not allowed for the entry's object classes"),
    row(66, "notAllowedOnNonLeaf", "the entry has entries below it"),
    row(67, "notAllowedOnRDN", "the value is part of the entry's name"),
    row(
        68,
        "entryAlreadyExists",
        "an entry of this name was made meanwhile, or the bound user may not see it: run again, or check its rights",
    ),
    row(
        69,
        "objectClassModsProhibited",
        "what kind of entry it is cannot be changed: delete it and add it anew",
    ),
    row(
        71,
        "affectsMultipleDSAs",
        "the two places are kept by different servers or databases: add it there and delete it here",
    ),
    row(80, "other", "the server's text, or else its own log, says what happened"),
    // RFC 3909, RFC 4533, RFC 4528.
    row(118, "canceled", ""),
    row(121, "cannotCancel", ""),
    row(122, "assertionFailed", "somebody else is changing the entry at the same time: run again later"),
    row(123, "authorizationDenied", "the bound user may not act for another: ask the administrator"),
    row(4096, "e-syncRefreshRequired", ""),
];

/// Returns the code's name in RFC 4511, and its number: `invalidCredentials (49)`.
pub fn name(code: u32) -> String {
    let name = ROWS.iter().find(|r| r.code == code).map_or("unknown result code", |r| r.name);
    format!("{name} ({code})")
}

/// Returns whether the code is defined by a standard.
pub fn is_known(code: u32) -> bool {
    ROWS.iter().any(|r| r.code == code)
}

/// Returns the code's name and number, the server's text, and advice.
pub fn describe(code: u32, text: &str) -> String {
    let mut out = name(code);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    if !text.is_empty() {
        out.push_str(": ");
        out.push_str(&text.replace(['\n', '\r'], " "));
    }
    let advice = active_directory::advice(code, text)
        .or_else(|| ad_code(text).and_then(|n| AD_ROWS.iter().find(|row| row.code == n)).map(|row| row.name))
        .or_else(|| ROWS.iter().find(|r| r.code == code).map(|r| r.advice))
        .unwrap_or_default();
    if !advice.is_empty() {
        out.push_str("; ");
        out.push_str(advice);
    }
    out
}

/// The codes after which the same request may succeed a little later: the server cannot *now* (RFC 4511 appendix A.2). Time and
/// size limits are not among them, which the same request exceeds again, nor is `other`, which may be anything.
pub const RETRIED: &[u32] = &[BUSY, UNAVAILABLE];

/// A Windows error code at the beginning of Active Directory's diagnostic message ([MS-ERREF] 2.2), which is more specific than the
/// result code.
struct AdRow {
    code: u32,
    name: &'static str,
    retried: bool,
}

const fn ad(code: u32, name: &'static str, retried: bool) -> AdRow {
    AdRow { code, name, retried }
}

const AD_ROWS: &[AdRow] = &[
    ad(0x2010, "ERROR_DS_NO_RIDS_ALLOCATED: the domain controller waits for numbers for new accounts", true),
    ad(0x200e, "ERROR_DS_BUSY", true),
    ad(0x200f, "ERROR_DS_UNAVAILABLE", true),
    ad(0x217d, "ERROR_DS_OUT_OF_VERSION_STORE: too much is written at once", true),
    ad(0x04dc, "ERROR_NOT_AUTHENTICATED", false),
    ad(0x2024, "ERROR_DS_ADMIN_LIMIT_EXCEEDED", false),
];

/// Returns the number at the beginning of a message of Active Directory: `0000200E: SvcErr: DSID-…, problem 5001 (BUSY), data 0`.
fn ad_code(text: &str) -> Option<u32> {
    let (number, rest) = text.split_once(": ")?;
    let is_ad = number.len() == 8 && rest.contains("DSID-");
    u32::from_str_radix(number, 16).ok().filter(|_| is_ad)
}

/// Returns whether the same request may succeed a little later, by the code and the server's text. The server did nothing then.
pub fn may_be_retried(code: u32, text: &str) -> bool {
    RETRIED.contains(&code)
        || code != SUCCESS
            && ad_code(text).is_some_and(|n| AD_ROWS.iter().any(|row| row.code == n && row.retried))
}

/// Returns whether the code refuses a request whatever entry it is about: what an extended response may say to a request of another kind.
/// It never says that an entry is there or is not.
pub(crate) fn refuses_requests(code: u32) -> bool {
    matches!(
        code,
        OPERATIONS_ERROR
            | PROTOCOL_ERROR
            | 7 // authMethodNotSupported
            | 8 // strongerAuthRequired
            | ADMIN_LIMIT_EXCEEDED
            | UNAVAILABLE_CRITICAL_EXTENSION
            | 13 // confidentialityRequired
            | INSUFFICIENT_ACCESS_RIGHTS
            | BUSY
            | UNAVAILABLE
            | UNWILLING_TO_PERFORM
            | 80 // other
    )
}

/// Returns whether the code concerns the entry or the values of one update, and not the next update (RFC 4511 appendix A.2: the
/// attribute, name and update problems, and insufficientAccessRights, which access control decides for each entry).
pub fn concerns_entry(code: u32) -> bool {
    concerns_attribute(code)
        || matches!(
            code,
            NO_SUCH_OBJECT
                | 33 // aliasProblem
                | INVALID_DN_SYNTAX
                | 36 // aliasDereferencingProblem
                | INSUFFICIENT_ACCESS_RIGHTS
                | UNWILLING_TO_PERFORM
                | NOT_ALLOWED_ON_NON_LEAF
                | ENTRY_ALREADY_EXISTS
                | 71 // affectsMultipleDSAs
                | ASSERTION_FAILED
        )
}

/// Returns whether the code concerns an attribute of an entry: its type, its values, or its object classes.
pub fn concerns_attribute(code: u32) -> bool {
    // 17 to 19: undefinedAttributeType, inappropriateMatching, constraintViolation; 21: invalidAttributeSyntax;
    // 67: notAllowedOnRDN; 69: objectClassModsProhibited.
    matches!(
        code,
        NO_SUCH_ATTRIBUTE | 17
            ..=19 | ATTRIBUTE_OR_VALUE_EXISTS | 21 | NAMING_VIOLATION | OBJECT_CLASS_VIOLATION | 67 | 69
    )
}

/// Returns all codes with their names and advice, to compare them with a program's documentation.
#[doc(hidden)]
pub fn table() -> impl Iterator<Item = (u32, &'static str, &'static str)> {
    ROWS.iter().map(|row| (row.code, row.name, row.advice))
}

/// Returns Active Directory's error codes with their names, and whether they can be retried.
#[doc(hidden)]
pub fn active_directory_table() -> impl Iterator<Item = (u32, &'static str, bool)> {
    AD_ROWS.iter().map(|row| (row.code, row.name.split(':').next().unwrap_or_default(), row.retried))
}

pub(crate) use active_directory::bind_refusal;

#[doc(hidden)]
pub use active_directory::advice_table as active_directory_advice_table;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_name_text_and_advice() {
        assert_eq!(
            describe(49, ""),
            "invalidCredentials (49); check the bind DN and the password; a locked account gives the same answer"
        );
        let other = describe(80, "internal\nerror");
        assert!(other.starts_with("other (80): internal error; "), "{other}");
        assert_eq!(name(4711), "unknown result code (4711)");
        assert!(ROWS.is_sorted_by(|a, b| a.code < b.code), "a code twice, or out of order");
    }

    #[test]
    fn messages_of_active_directory_are_retried_by_their_own_code() {
        for row in AD_ROWS {
            let message = format!("{:08X}: SvcErr: DSID-0315201E, problem 5001 (BUSY), data 0", row.code);
            assert_eq!(may_be_retried(80, &message), row.retried, "{}", row.name);
        }
        assert!(!may_be_retried(80, "0000200E: something else"), "it must have Active Directory's form");
        assert!(!may_be_retried(80, "") && !may_be_retried(3, "") && !may_be_retried(4, ""));
    }
}
