//! Object identifiers (RFC 4512 section 1.4), in one place: controls, extended operations, features and syntaxes.

// Controls.

/// Server-side sorting (RFC 2891 section 1.1).
pub const SERVER_SORT: &str = "1.2.840.113556.1.4.473";
/// LDAP_SERVER_SHOW_DELETED ([MS-ADTS] 3.1.1.3.4.1.14): searches return tombstones too.
pub const SHOW_DELETED: &str = "1.2.840.113556.1.4.417";
/// LDAP_SERVER_DIRSYNC ([MS-ADTS] 3.1.1.3.4.1.3).
pub const DIRSYNC: &str = "1.2.840.113556.1.4.841";
/// LDAP_SERVER_NOTIFICATION.
pub const NOTIFICATION: &str = "1.2.840.113556.1.4.528";
/// Sync Request Control (RFC 4533 section 2.2).
pub const SYNC_REQUEST: &str = "1.3.6.1.4.1.4203.1.9.1.1";
/// Sync State Control (RFC 4533 section 2.3).
pub const SYNC_STATE: &str = "1.3.6.1.4.1.4203.1.9.1.2";
/// Sync Done Control (RFC 4533 section 2.4).
pub const SYNC_DONE: &str = "1.3.6.1.4.1.4203.1.9.1.3";
/// Simple paged results (RFC 2696).
pub const PAGED_RESULTS: &str = "1.2.840.113556.1.4.319";
/// ManageDsaIT (RFC 3296): referral entries are entries like others.
pub const MANAGE_DSA_IT: &str = "2.16.840.1.113730.3.4.2";
/// LDAP_SERVER_DOMAIN_SCOPE ([MS-ADTS] 3.1.1.3.4.1.4): no references to other naming contexts, of which Active Directory adds three to
/// every search of a domain. They are separate directories, and nothing is missing without them.
pub const DOMAIN_SCOPE: &str = "1.2.840.113556.1.4.1339";
/// LDAP_SERVER_PERMISSIVE_MODIFY ([MS-ADTS] 3.1.1.3.4.1.8): adding an existing value and deleting a missing one are not errors.
pub const PERMISSIVE_MODIFY: &str = "1.2.840.113556.1.4.1413";
/// LDAP_SERVER_TREE_DELETE ([MS-ADTS] 3.1.1.3.4.1.15; draft-armijo-ldap-treedelete): an entry is deleted with its subtree.
pub const TREE_DELETE: &str = "1.2.840.113556.1.4.805";
/// Get Effective Rights (draft-ietf-ldapext-acl-model), supported by 389 DS.
pub const EFFECTIVE_RIGHTS: &str = "1.3.6.1.4.1.42.2.27.9.5.2";
/// Real attributes only (Netscape's): a search returns what the entries have, without what the server computes (389 DS: classes of
/// service, roles).
pub const REAL_ATTRIBUTES_ONLY: &str = "2.16.840.1.113730.3.4.17";
/// Assertion (RFC 4528).
pub const ASSERTION: &str = "1.3.6.1.1.12";
/// Relax Rules (draft-zeilenga-ldap-relax-03); OpenLDAP calls it both Relax and Manage DIT.
pub const RELAX_RULES: &str = "1.3.6.1.4.1.4203.666.5.12";
/// Password policy (draft-behera-ldap-password-policy-11 section 6), request and response.
pub const PASSWORD_POLICY: &str = "1.3.6.1.4.1.42.2.27.8.5.1";
/// Account Usability (Sun's), request and response of a search: whether an account can be used. OpenLDAP's ppolicy has it since 2.5.
pub const ACCOUNT_USABILITY: &str = "1.3.6.1.4.1.42.2.27.9.5.8";
/// Password expired (draft-vchu-ldap-pwd-policy-00 section 2), a response control of 389 DS: the password has expired or must be changed.
pub const PASSWORD_EXPIRED: &str = "2.16.840.1.113730.3.4.4";
/// Password expiring (draft-vchu-ldap-pwd-policy-00 section 2), a response control of 389 DS: the seconds until the password expires.
pub const PASSWORD_EXPIRING: &str = "2.16.840.1.113730.3.4.5";

// Extended operations and intermediate responses.

/// StartTLS (RFC 4511 section 4.14).
pub const START_TLS: &str = "1.3.6.1.4.1.1466.20037";
/// Notice of Disconnection (RFC 4511 section 4.4.1).
pub const NOTICE_OF_DISCONNECTION: &str = "1.3.6.1.4.1.1466.20036";
/// "Who am I?" (RFC 4532).
pub const WHO_AM_I: &str = "1.3.6.1.4.1.4203.1.11.3";
/// Password Modify (RFC 3062 section 2).
pub const PASSWORD_MODIFY: &str = "1.3.6.1.4.1.4203.1.11.1";
/// Sync Info Message (RFC 4533 section 2.5).
pub const SYNC_INFO: &str = "1.3.6.1.4.1.4203.1.9.1.4";

// Features and capabilities.

/// All operational attributes (RFC 3673 section 2).
pub const ALL_OPERATIONAL_ATTRIBUTES: &str = "1.3.6.1.4.1.4203.1.5.1";
/// Absolute true and false filters (RFC 4526 section 4).
pub const TRUE_AND_FALSE_FILTERS: &str = "1.3.6.1.4.1.4203.1.5.3";

// Syntaxes.

/// Printable String (RFC 4517 section 3.3.29).
pub const PRINTABLE_STRING: &str = "1.3.6.1.4.1.1466.115.121.1.44";
/// Telephone Number (RFC 4517 section 3.3.31).
pub const TELEPHONE_NUMBER: &str = "1.3.6.1.4.1.1466.115.121.1.50";
/// Numeric String (RFC 4517 section 3.3.23).
pub const NUMERIC_STRING: &str = "1.3.6.1.4.1.1466.115.121.1.36";
/// Directory String (RFC 4517 section 3.3.6).
pub const DIRECTORY_STRING: &str = "1.3.6.1.4.1.1466.115.121.1.15";
/// IA5 String (RFC 4517 section 3.3.15).
pub const IA5_STRING: &str = "1.3.6.1.4.1.1466.115.121.1.26";
/// Country String (RFC 4517 section 3.3.4).
pub const COUNTRY_STRING: &str = "1.3.6.1.4.1.1466.115.121.1.11";
/// Bit String (RFC 4517 section 3.3.2).
pub const BIT_STRING: &str = "1.3.6.1.4.1.1466.115.121.1.6";
/// Delivery Method (RFC 4517 section 3.3.5).
pub const DELIVERY_METHOD: &str = "1.3.6.1.4.1.1466.115.121.1.14";
/// Fax (RFC 4517 section 3.3.11).
pub const FAX: &str = "1.3.6.1.4.1.1466.115.121.1.23";
/// nisNetgroupTripleSyntax (RFC 2307 section 2.4).
pub const NETGROUP_TRIPLE: &str = "1.3.6.1.1.1.0.0";
/// bootParameterSyntax (RFC 2307 section 2.4).
pub const BOOT_PARAMETER: &str = "1.3.6.1.1.1.0.1";
/// Change sequence numbers of OpenLDAP.
pub const CSN_SYNTAX: &str = "1.3.6.1.4.1.4203.666.11.2.1";

// Matching rules of Active Directory ([MS-ADTS] 3.1.1.3.4.4).

/// LDAP_MATCHING_RULE_BIT_AND: all bits of the value are set.
pub const BIT_AND_MATCH: &str = "1.2.840.113556.1.4.803";
/// LDAP_MATCHING_RULE_BIT_OR: one of the bits of the value is set.
pub const BIT_OR_MATCH: &str = "1.2.840.113556.1.4.804";
/// LDAP_MATCHING_RULE_TRANSITIVE_EVAL: the DN, or one that a chain of the attribute leads to.
pub const CHAIN_MATCH: &str = "1.2.840.113556.1.4.1941";
/// LDAP_MATCHING_RULE_DN_WITH_DATA: the DN in a value of the syntaxes DN with String and DN with Binary.
pub const DN_WITH_DATA_MATCH: &str = "1.2.840.113556.1.4.2253";

// Capabilities of Active Directory ([MS-ADTS] 3.1.1.3.4.3).

/// LDAP_CAP_ACTIVE_DIRECTORY_OID: the server is an Active Directory domain controller.
pub const ACTIVE_DIRECTORY: &str = "1.2.840.113556.1.4.800";
