//! The claims of a token (RFC 7519 section 4.1, RFC 9068 section 2.2).

use std::time::Duration;

use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use super::{Refusal, jws};
use crate::config::{JwtConfig, Scope};

/// The latest time that is one: the end of the year 9999. Milliseconds in place of seconds are beyond it.
const LATEST: f64 = 253_402_300_800.0;
/// The most octets of a name.
const LONGEST_NAME: usize = 1024;

/// What a token says, once it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who calls.
    pub subject: Subject,
    /// The scopes of the service that the token grants. Others, as `openid`, are left out.
    pub scopes: Vec<Scope>,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A user, by the login name of `jwt.username_claim`.
    User(String),
    /// A program that calls for itself, by its client id.
    Client(String),
}

/// What the claims are compared with.
#[derive(Debug)]
pub(super) struct Expected<'e> {
    pub(super) issuer: &'e str,
    pub(super) audience: &'e str,
    pub(super) username_claim: &'e str,
    pub(super) client_claim: Option<&'e str>,
    pub(super) leeway: Duration,
    /// The SHA-256 of the caller's certificate.
    pub(super) certificate: Option<&'e [u8; 32]>,
    /// The time since 1970.
    pub(super) now: Duration,
}

/// Returns a claim that is a text; `None` without it.
fn text<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<Option<&'c str>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err("a claim is not a text"),
    }
}

/// Returns a time in seconds since 1970 (RFC 7519: NumericDate, which may have a fraction); `None` without it.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Refusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => {
            let seconds = number.as_f64().filter(|seconds| (0.0..LATEST).contains(seconds));
            seconds.map(Some).ok_or("exp, nbf or iat is not a time")
        }
        Some(_) => Err("exp, nbf or iat is not a number"),
    }
}

/// Returns the elements of a claim that is a text or a list of texts.
fn texts<'c>(claims: &'c Map<String, Value>, name: &str) -> Result<Vec<&'c str>, Refusal> {
    match claims.get(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text]),
        Some(Value::Array(list)) => {
            list.iter().map(Value::as_str).collect::<Option<_>>().ok_or("a claim is not a list of texts")
        }
        Some(_) => Err("a claim is neither a text nor a list of texts"),
    }
}

/// Returns a name that can be one.
fn name(text: &str) -> Result<String, Refusal> {
    let is_one = !text.trim().is_empty() && text.len() <= LONGEST_NAME && !text.chars().any(char::is_control);
    if is_one { Ok(text.to_owned()) } else { Err("the name of the caller is empty or not a name") }
}

impl Expected<'_> {
    /// Checks claims and returns what the service uses of them.
    ///
    /// # Errors
    /// A claim is missing, has another type or is not the expected one.
    pub(super) fn check(&self, claims: &Map<String, Value>) -> Result<Claims, Refusal> {
        if text(claims, "iss")? != Some(self.issuer) {
            return Err("iss is not jwt.issuer");
        }
        if !texts(claims, "aud")?.contains(&self.audience) {
            return Err("aud does not contain jwt.audience");
        }
        let (now, leeway) = (self.now.as_secs_f64(), self.leeway.as_secs_f64());
        if time(claims, "exp")?.ok_or("without exp")? + leeway <= now {
            return Err("expired");
        }
        if time(claims, "nbf")?.is_some_and(|nbf| nbf > now + leeway) {
            return Err("not valid yet (nbf)");
        }
        // Keycloak says so; they have the audience of a client, and are not for others.
        let kind = claims.get("typ").and_then(Value::as_str).unwrap_or_default();
        if ["ID", "Refresh", "Offline", "Logout"].iter().any(|other| kind.eq_ignore_ascii_case(other)) {
            return Err("not an access token, as its claim typ says");
        }
        time(claims, "iat")?;
        for name in ["jti", "sub", "client_id", "azp"] {
            text(claims, name)?;
        }
        self.check_binding(claims)?;
        if let Some(username) = text(claims, self.username_claim)? {
            // Some providers let people type an address of others, and say so; some write it as a text.
            let verified = claims.get("email_verified");
            let is_verified = |v: &Value| v == &Value::Bool(true) || v.as_str() == Some("true");
            if self.username_claim == JwtConfig::EMAIL && !verified.is_none_or(is_verified) {
                return Err("the mail address is not verified (email_verified)");
            }
            return Ok(Claims { subject: Subject::User(name(username)?), scopes: scopes(claims, false)? });
        }
        let client = self.client(claims)?;
        Ok(Claims { subject: Subject::Client(name(client)?), scopes: scopes(claims, true)? })
    }

    /// Checks that the caller holds what the token is bound to (`cnf`, RFC 7800 and RFC 8705).
    fn check_binding(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        let Some(binding) = claims.get("cnf") else { return Ok(()) };
        let thumbprint = match binding.as_object().map(|members| (members.len(), members.get("x5t#S256"))) {
            Some((1, Some(Value::String(thumbprint)))) => jws::base64url(thumbprint),
            // A key whose possession is proven by other means, as DPoP.
            _ => None,
        };
        let (thumbprint, shown) =
            thumbprint.zip(self.certificate).ok_or("bound to a key that the caller has not shown")?;
        if bool::from(thumbprint.ct_eq(shown.as_slice())) {
            Ok(())
        } else {
            Err("bound to another client certificate")
        }
    }

    /// Returns the client id of a program that calls for itself (client credentials, RFC 6749 section 4.4).
    ///
    /// A token without the name of a user may still be a user's, and has the id of the application then. So it must show that it is a
    /// program's.
    fn client<'c>(&self, claims: &'c Map<String, Value>) -> Result<&'c str, Refusal> {
        const NONE: Refusal =
            "without jwt.username_claim, and not a token of a client for itself (jwt.client_claim)";
        if !SCOPES.iter().any(|scopes| claims.contains_key(*scopes)) {
            return Err(NONE);
        }
        if let Some(claim) = self.client_claim {
            return text(claims, claim)?.ok_or(NONE);
        }
        let mut client = None;
        for claim in CLIENTS {
            let id = text(claims, claim)?;
            if id.is_some() && client.is_some() && id != client {
                return Err("the claims of the client differ");
            }
            client = client.or(id);
        }
        let (client, sub) = client.zip(text(claims, "sub")?).ok_or(NONE)?;
        let of_text = |name: &str, expected: &str| text(claims, name).map(|text| text == Some(expected));
        // RFC 9068 section 2.2, Okta.
        let is_own = sub == client
            // Auth0.
            || sub.strip_suffix("@clients") == Some(client)
            // Entra ID: the object of a user never is the subject, which is another for each application.
            || of_text("idtyp", "app")?
            || of_text("oid", sub)? && !claims.contains_key("scp") && !claims.contains_key("idtyp")
            // Keycloak: its mappers for service accounts have values for these alone.
            || claims.contains_key("client_id") && claims.contains_key("clientAddress") && claims.contains_key("azp");
        if is_own { Ok(client) } else { Err(NONE) }
    }
}

/// The claims with the id of the client: RFC 8693, OpenID Connect, Entra ID (version 1), Okta.
const CLIENTS: [&str; 4] = ["client_id", "azp", "appid", "cid"];
/// The claims with scopes.
const SCOPES: [&str; 3] = ["scope", "scp", "roles"];

/// Returns the scopes of `scope` (RFC 8693 section 4.2: names with spaces between) and `scp` (the same, or a list). A program's without
/// both are in `roles` (Entra ID: application permissions).
fn scopes(claims: &Map<String, Value>, is_program: bool) -> Result<Vec<Scope>, Refusal> {
    let has_scopes = claims.contains_key("scope") || claims.contains_key("scp");
    let roles = if is_program && !has_scopes { texts(claims, "roles")? } else { Vec::new() };
    let names = text(claims, "scope")?
        .into_iter()
        .chain(texts(claims, "scp")?)
        .chain(roles)
        .flat_map(|text| text.split(' '));
    let mut scopes: Vec<Scope> = names.filter_map(Scope::of_name).collect();
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}

#[cfg(test)]
mod tests {
    use super::super::testing::claims;
    use super::*;
    use serde_json::json;

    fn judged(more: &Value, client_claim: Option<&str>) -> Result<(Subject, String), Refusal> {
        judged_by("preferred_username", more, client_claim)
    }

    fn judged_by(
        username_claim: &str,
        more: &Value,
        client_claim: Option<&str>,
    ) -> Result<(Subject, String), Refusal> {
        let expected = Expected {
            issuer: super::super::testing::ISSUER,
            audience: super::super::testing::AUDIENCE,
            username_claim,
            client_claim,
            leeway: Duration::from_secs(60),
            certificate: None,
            now: Duration::from_secs(super::super::testing::now()),
        };
        let all = claims(more);
        let found = expected.check(all.as_object().unwrap())?;
        let scopes: Vec<&str> = found.scopes.iter().map(|scope| scope.name()).collect();
        Ok((found.subject, scopes.join(" ")))
    }

    /// The access tokens of providers as they are issued: for a program (client credentials), and for a user, whose name another claim has.
    #[test]
    fn tokens_of_programs_are_known_in_the_forms_of_providers() {
        let none = "(none)";
        let (uuid, other) =
            ("6f1c8bd0-98a1-4a52-b4e8-6f36f1d40bb1", "u9Yl3Q8g0OVkkb0gLAH3aQeUqgZzDkb5wWbDJlgKmNo");
        let programs = [
            ("RFC 9068", json!({"sub": "hr", "client_id": "hr", "scope": "search"})),
            (
                "Keycloak, without preferred_username",
                json!({"sub": uuid, "typ": "Bearer", "azp": "hr", "acr": "1", "client_id": "hr", "clientHost": "10.0.0.7",
                    "clientAddress": "10.0.0.7", "email_verified": false, "scope": "profile email search", "realm_access": {"roles": ["offline_access"]}}),
            ),
            (
                "Entra ID, version 1",
                json!({"sub": uuid, "oid": uuid, "appid": "hr", "appidacr": "1", "idp": "https://sts.example.com/t/", "tid": "t",
                    "roles": ["search", "Other.Role"], "ver": "1.0", "scope": none}),
            ),
            (
                "Entra ID, version 2",
                json!({"sub": uuid, "oid": uuid, "azp": "hr", "azpacr": "1", "tid": "t", "roles": ["search"], "ver": "2.0", "idtyp": "app", "scope": none}),
            ),
            (
                "Okta",
                json!({"sub": "hr", "cid": "hr", "scp": ["search"], "ver": 1, "jti": "AT.1", "scope": none}),
            ),
            (
                "Auth0",
                json!({"sub": "hr@clients", "azp": "hr", "gty": "client-credentials", "scope": "search"}),
            ),
        ];
        for (provider, token) in programs {
            let mut token = token;
            token["preferred_username"] = none.into();
            let expected = (Subject::Client("hr".to_owned()), "search".to_owned());
            assert_eq!(judged(&token, None), Ok(expected), "{provider}");
            // With the name of a user, it is a user's.
            token["preferred_username"] = "ada".into();
            assert_eq!(judged(&token, None).unwrap().0, Subject::User("ada".to_owned()), "{provider}");
        }
        let users = [
            ("RFC 9068", json!({"sub": "5ba552d67", "client_id": "hr", "scope": "search"})),
            (
                "Keycloak",
                json!({"sub": uuid, "typ": "Bearer", "azp": "hr", "sid": "s", "scope": "search", "name": "Ada"}),
            ),
            (
                "Entra ID, version 1",
                json!({"sub": other, "oid": uuid, "appid": "hr", "upn": "ada@example.com", "scp": "search", "roles": ["search"], "scope": none}),
            ),
            (
                "Entra ID, version 2",
                json!({"sub": other, "oid": uuid, "azp": "hr", "roles": ["search"], "idtyp": "user", "scope": none}),
            ),
            (
                "Okta",
                json!({"sub": "ada@example.com", "uid": "00u1", "cid": "hr", "scp": ["search"], "scope": none}),
            ),
            ("Auth0", json!({"sub": "auth0|5f7c8ec7", "azp": "hr", "scope": "openid search"})),
            ("Auth0, of another client", json!({"sub": "other@clients", "azp": "hr", "scope": "search"})),
        ];
        for (provider, token) in users {
            let mut token = token;
            token["preferred_username"] = none.into();
            assert!(judged(&token, None).is_err(), "{provider}");
        }
    }

    #[test]
    fn a_claim_that_only_programs_have_can_be_configured() {
        let token =
            |claim: &str| json!({"preferred_username": "(none)", "sub": "1f", "azp": "hr", claim: "sync"});
        let expected = (Subject::Client("sync".to_owned()), "search scim.read".to_owned());
        assert_eq!(judged(&token("program"), Some("program")), Ok(expected));
        assert!(judged(&token("other"), Some("program")).is_err());
        let of_user = json!({"program": "sync"});
        assert_eq!(judged(&of_user, Some("program")).unwrap().0, Subject::User("ada".to_owned()));
    }

    #[test]
    fn a_mail_address_that_is_not_verified_is_no_name() {
        for (verified, is_accepted) in [
            (json!(true), true),
            (json!("true"), true),
            (json!("(none)"), true),
            (json!(false), false),
            (json!("false"), false),
            (json!(null), false),
            (json!(1), false),
        ] {
            let claims = json!({"email": "ada@example.com", "email_verified": verified});
            assert_eq!(judged_by("email", &claims, None).is_ok(), is_accepted, "{claims}");
            assert!(judged(&claims, None).is_ok(), "another claim is the name: {claims}");
        }
    }

    #[test]
    fn only_access_tokens_count() {
        for (typ, is_accepted) in [("Bearer", true), ("ID", false), ("Refresh", false), ("Offline", false)] {
            assert_eq!(judged(&json!({"typ": typ}), None).is_ok(), is_accepted, "{typ}");
        }
    }

    #[test]
    fn roles_of_a_user_are_no_scopes() {
        assert_eq!(judged(&json!({"scope": "(none)", "roles": ["search"]}), None).unwrap().1, "");
        assert_eq!(judged(&json!({"roles": {"other": 1}}), None).unwrap().1, "search scim.read");
    }
}
