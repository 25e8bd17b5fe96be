//! Windows error codes in the diagnostic messages of Active Directory, which are more specific than LDAP's ([MS-ERREF] section 2.2;
//! the `data` of a refused bind, and the eight digits at the beginning of a text). Samba writes the same.

/// Refused binds: the number after `data` in the text, and its meaning. The result code of all is invalidCredentials (49).
const BINDS: &[(u32, &str)] = &[
    (0x525, "there is no such user: check the bind DN (a DN, user@domain, or DOMAIN\\user)"),
    (0x52e, "the password is wrong, or the name: check the bind DN and the password"),
    (
        0x52f,
        "the account may not log on in this way (for example with an empty password, or as a protected user): ask the administrator",
    ),
    (
        0x530,
        "the account may not log on at this hour: ask the administrator for other logon hours, or run at another time",
    ),
    (
        0x531,
        "the account may not log on from this machine: ask the administrator for \"Log On To\" to be widened",
    ),
    (
        0x532,
        "the password has expired: have a new one set; for a service account, ask for one that does not expire",
    ),
    (0x533, "the account is disabled: ask the administrator to enable it"),
    (
        0x568,
        "the account is in too many groups for its logon to hold them: ask the administrator for an account in fewer",
    ),
    (0x701, "the account has expired: ask the administrator for a later date (accountExpires)"),
    (
        0x773,
        "the password must be changed before the first logon: change it, or ask the administrator to lift that (pwdLastSet)",
    ),
    (
        0x775,
        "the account is locked after too many wrong passwords: ask the administrator to unlock it, and look for a program that still uses an old password",
    ),
];

/// Other answers: the eight digits at the beginning of the text, and their meaning.
const ANSWERS: &[(u32, &str)] = &[
    (0x1f, "a password can only be set over a connection that is encrypted: use ldaps:// or StartTLS"),
    (0x4dc, "nobody is bound on this connection: bind with a DN and a password"),
    (0x524, "another account has this sAMAccountName: it must be unique in the domain"),
    (
        0x52d,
        "the password does not meet the domain's rules: longer, more kinds of characters, or not one used before",
    ),
    (
        0x2020,
        "either nobody is bound on this connection (bind with a DN and a password), or an attribute is requested that is computed for one entry only: do not request it",
    ),
    (0x2028, "the domain controller wants a signed or encrypted connection: use ldaps:// or StartTLS"),
    (0x21c7, "another account has this servicePrincipalName: it must be unique in the forest"),
    (0x21c8, "another account has this userPrincipalName: it must be unique in the forest"),
];

/// Returns all numbers with their advice, binds first.
#[doc(hidden)]
pub fn advice_table() -> impl Iterator<Item = (u32, &'static str)> {
    BINDS.iter().chain(ANSWERS).copied()
}

/// Returns the number after `data` in the text of a refused bind. `None` for other texts, and other servers.
pub(crate) fn bind_refusal(text: &str) -> Option<u32> {
    let (_, data) = text.split_once("AcceptSecurityContext error, data ")?;
    u32::from_str_radix(data.split(|c: char| !c.is_ascii_hexdigit()).next()?, 16).ok()
}

/// Returns advice, if the text is more specific than the result code.
pub(crate) fn advice(code: u32, text: &str) -> Option<&'static str> {
    let (table, number) = if code == super::INVALID_CREDENTIALS {
        (BINDS, text.split("data ").nth(1)?.split(|c: char| !c.is_ascii_hexdigit()).next()?)
    } else {
        (ANSWERS, text.split_once(':').map(|(number, _)| number).filter(|n| n.len() == 8)?)
    };
    let number = u32::from_str_radix(number, 16).ok()?;
    table.iter().find(|(known, _)| *known == number).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_active_directory_are_explained() {
        let bind = |data| {
            format!(
                "80090308: LdapErr: DSID-0C090439, comment: AcceptSecurityContext error, data {data}, v4563\0"
            )
        };
        for (data, says) in [
            ("525", "no such user"),
            ("52e", "password is wrong"),
            ("52E", "password is wrong"),
            ("530", "at this hour"),
            ("531", "from this machine"),
            ("532", "has expired"),
            ("533", "is disabled"),
            ("701", "account has expired"),
            ("773", "must be changed"),
            ("775", "is locked"),
        ] {
            let said = super::super::describe(49, &bind(data));
            assert!(said.starts_with("invalidCredentials (49): 80090308: ") && said.contains(says), "{said}");
            assert_eq!(bind_refusal(&bind(data)), u32::from_str_radix(data, 16).ok());
        }
        // Unknown numbers have the advice of the result code.
        for text in [bind("999"), bind("zzz"), "data".into(), "data ".into(), String::new()] {
            assert_eq!(advice(49, &text), None);
            assert!(bind_refusal(&text).is_none_or(|n| n == 0x999), "{text}");
            assert!(super::super::describe(49, &text).ends_with("; a locked account gives the same answer"));
        }
        for (code, text, says) in [
            (53, "0000001F: SvcErr: DSID-031A12D2, problem 5003 (WILL_NOT_PERFORM), data 0", "encrypted"),
            (19, "0000052D: Constraint violation - check_password_restrictions: too short", "domain's rules"),
            (
                1,
                "000004DC: LdapErr: DSID-0C090A5C, comment: In order to perform this operation a successful bind must be completed on the connection., data 0, v4563",
                "nobody is bound",
            ),
            (1, "00002020: Operation unavailable without authentication", "nobody is bound"),
            (68, "00000524: UpdErr: DSID-031A11E2, problem 6005 (ENTRY_EXISTS), data 0", "sAMAccountName"),
            (
                8,
                "00002028: LdapErr: DSID-0C090257, comment: The server requires binds to turn on integrity checking",
                "signed",
            ),
        ] {
            assert!(super::super::describe(code, text).contains(says), "{text}");
        }
        assert_eq!(advice(53, "52D: no eight digits"), None);
        assert_eq!(advice(53, "ümlaut8: no digits"), None);
    }

    #[test]
    fn the_tables_are_in_order() {
        for table in [BINDS, ANSWERS] {
            assert!(table.is_sorted_by(|a, b| a.0 < b.0));
            assert!(table.iter().all(|(_, advice)| !advice.ends_with('.')));
        }
    }
}
