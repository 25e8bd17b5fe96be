//! The headers by which a proxy hands a user on to an application.

use http::{HeaderName, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::error::ApiError;
use crate::login::User;

/// What is encoded: all that is not visible ASCII or a blank, and the sign itself.
const VALUE: &AsciiSet = &CONTROLS.add(b'%');
/// In a list, the separator too.
const ELEMENT: &AsciiSet = &VALUE.add(b',');

/// Returns the headers of a user. All five are always there: Caddy would hand on the name of a placeholder for one that is missing.
///
/// # Errors
/// A value is longer than `most` octets. Nothing is ever cut: an application would see another set of roles (trap 19).
pub(super) fn of(user: &User, most: usize) -> Result<[(HeaderName, HeaderValue); 5], ApiError> {
    let roles: Vec<String> = user.roles.iter().map(|role| encoded(role, ELEMENT)).collect();
    let text = |text: &Option<String>| encoded(text.as_deref().unwrap_or_default(), VALUE);
    let header = |name: &'static str, value: String| {
        let too_large = || {
            tracing::error!(
                dn = user.dn,
                octets = value.len(),
                "the header {name} of `{}` is longer than {most} octets (limits.header_bytes): give the user fewer roles, or raise the limit here and in the proxy",
                user.dn
            );
            let detail = format!("the header {name} of this user is longer than limits.header_bytes");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "header_too_large", detail)
        };
        if value.len() > most {
            return Err(too_large());
        }
        // Encoded values have nothing that a header cannot have.
        let value = HeaderValue::from_str(&value).map_err(|_| too_large())?;
        Ok((HeaderName::from_static(name), value))
    };
    Ok([
        header("remote-user", encoded(&user.username, VALUE))?,
        header("remote-name", text(&user.display_name))?,
        header("remote-email", text(&user.email))?,
        header("remote-groups", roles.join(","))?,
        header("remote-id", encoded(&user.id, VALUE))?,
    ])
}

/// Encodes a text. Blanks at its ends are encoded too: a receiver removes them.
fn encoded(text: &str, set: &'static AsciiSet) -> String {
    let inner = text.trim_matches(' ');
    let Some(at) = text.find(inner).filter(|_| !inner.is_empty()) else { return "%20".repeat(text.len()) };
    let (before, after) = (at, text.len() - at - inner.len());
    format!("{}{}{}", "%20".repeat(before), utf8_percent_encode(inner, set), "%20".repeat(after))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, roles: &[&str]) -> User {
        User {
            id: "1".into(),
            username: "ada".into(),
            display_name: Some(name.into()),
            email: None,
            dn: "uid=ada,dc=x".into(),
            groups: Vec::new(),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            scopes: Vec::new(),
            password_time: None,
        }
    }

    #[test]
    fn trap_19_values_are_encoded_and_never_cut() {
        let of = |name: &str, roles: &[&str]| of(&user(name, roles), 40);
        let value = |name: &str, roles: &[&str], at: usize| {
            of(name, roles).unwrap()[at].1.to_str().unwrap().to_owned()
        };
        for (name, sent) in [
            ("Ada Lovelace", "Ada Lovelace"),
            ("Émile 東", "%C3%89mile %E6%9D%B1"),
            ("a\r\nRemote-User: b", "a%0D%0ARemote-User: b"),
            ("100% (x), \"y\"", "100%25 (x), \"y\""),
            ("\u{7f}\0", "%7F%00"),
            (" a ", "%20a%20"),
            ("  ", "%20%20"),
            ("", ""),
        ] {
            assert_eq!(value(name, &[], 1), sent);
            assert_eq!(percent_encoding::percent_decode_str(sent).decode_utf8().unwrap(), name);
        }
        assert_eq!(value("", &["a,b", "c d", "é"], 3), "a%2Cb,c d,%C3%A9");
        assert_eq!(
            of("", &[]).unwrap().map(|(name, _)| name.to_string()).join(" "),
            "remote-user remote-name remote-email remote-groups remote-id"
        );
        let error = of("", &["a".repeat(20).as_str(), "b".repeat(20).as_str()]).unwrap_err();
        assert_eq!(error.code, "header_too_large");
        assert!(of(&"x".repeat(41), &[]).is_err() && of(&"x".repeat(40), &[]).is_ok());
    }
}
