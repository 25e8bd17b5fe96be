//! The claims of a token (RFC 7519 section 4.1, RFC 9068 section 2.2).

use std::time::Duration;

use serde_json::{Map, Value};
use subtle::ConstantTimeEq as _;

use super::{Refusal, jws};
use crate::config::Scope;

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
    /// A program that calls for itself, by its client id (RFC 9068 section 2.2: `sub` is the client).
    Client(String),
}

/// What the claims are compared with.
#[derive(Debug)]
pub(super) struct Expected<'e> {
    pub(super) issuer: &'e str,
    pub(super) audience: &'e str,
    pub(super) username_claim: &'e str,
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
        time(claims, "iat")?;
        text(claims, "jti")?;
        self.check_binding(claims)?;
        let scopes = scopes(claims)?;
        let subject = self.subject(claims)?;
        Ok(Claims { subject, scopes })
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

    fn subject(&self, claims: &Map<String, Value>) -> Result<Subject, Refusal> {
        let sub = text(claims, "sub")?;
        let client = text(claims, "client_id")?;
        let party = text(claims, "azp")?;
        if let Some(username) = text(claims, self.username_claim)? {
            return name(username).map(Subject::User);
        }
        let has_scope = claims.contains_key("scope") || claims.contains_key("scp");
        match (sub, client.or(party)) {
            (Some(sub), Some(client)) if sub == client && has_scope => name(client).map(Subject::Client),
            _ => Err("without jwt.username_claim, and not a token of a client for itself"),
        }
    }
}

/// Returns the scopes of `scope` (RFC 8693 section 4.2: names with spaces between) and `scp` (the same, or a list).
fn scopes(claims: &Map<String, Value>) -> Result<Vec<Scope>, Refusal> {
    let names =
        text(claims, "scope")?.into_iter().chain(texts(claims, "scp")?).flat_map(|text| text.split(' '));
    let mut scopes: Vec<Scope> = names.filter_map(Scope::of_name).collect();
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}
