//! Who calls, and what the caller may do.

use std::time::SystemTime;

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config::{CertificateMatch, Scope};
use crate::error::ApiError;
use crate::login::{Login, User};
use crate::service::{Client, Current, Service};
use crate::tokens::Subject;

/// A caller whose identity is proven.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The name, for the log.
    pub name: String,
    /// What the caller may do.
    pub scopes: Vec<Scope>,
    /// The user that a JWT belongs to: looked up, and enabled. `None` for a program.
    pub user: Option<Box<User>>,
}

impl Caller {
    /// Returns what tells this caller from all others: a user by the entry, a program by its name.
    pub fn key(&self) -> String {
        match &self.user {
            Some(user) => format!("user {}", user.id),
            None => format!("program {}", self.name),
        }
    }

    /// Checks that the caller has a scope.
    ///
    /// # Errors
    /// 403 without it.
    pub fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.scopes.contains(&scope) { Ok(()) } else { Err(ApiError::lacks_scope(scope.name())) }
    }
}

/// Returns the token of `Authorization: Bearer` (RFC 6750), empty if it cannot be one; `None` for another scheme and without the header.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (value, more) = (all.next()?.as_bytes(), all.next());
    let (scheme, token) = value.split_at(value.iter().position(|c| *c == b' ').unwrap_or(value.len()));
    if !scheme.eq_ignore_ascii_case(b"bearer") && more.is_none() {
        return None;
    }
    let token =
        std::str::from_utf8(token).ok().map(str::trim).filter(|token| token.is_ascii() && more.is_none());
    Some(token.unwrap_or_default())
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Current(service) = Current::from_request_parts(parts, state).await?;
        let client = Client::from_request_parts(parts, state).await?;
        identify(&service, &client, &parts.headers).await
    }
}

/// Returns the caller of a request: by its bearer token, else by its client certificate.
///
/// A bearer token decides alone: the certificate of the connection may be that of a gateway, adds no scopes to it, and does not
/// stand in for a token that is refused.
///
/// # Errors
/// 401 if neither proves who calls; 503 if that cannot be found out now.
pub async fn identify(service: &Service, client: &Client, headers: &HeaderMap) -> Result<Caller, ApiError> {
    if let Some(token) = bearer(headers) {
        if let Some(caller) = by_api_token(service, token) {
            return Ok(caller);
        }
        return by_jwt(service, client, token).await;
    }
    by_certificate(service, client).ok_or_else(ApiError::unauthorized)
}

fn by_api_token(service: &Service, token: &str) -> Option<Caller> {
    let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    // All are compared, each in constant time (subtle).
    let found =
        service.config.api_tokens.iter().fold(None, |found, known| {
            if bool::from(known.sha256.ct_eq(&hash)) { Some(known) } else { found }
        })?;
    Some(Caller { name: found.name.clone(), scopes: found.scopes.clone(), user: None })
}

async fn by_jwt(service: &Service, client: &Client, token: &str) -> Result<Caller, ApiError> {
    let accepted = service.tokens.as_ref().zip(service.config.jwt.as_ref());
    let Some((tokens, jwt)) = accepted.filter(|_| token.contains('.')) else {
        tracing::info!(
            "a bearer token is refused: it is none of api_tokens, and not a JWT that `jwt` accepts"
        );
        return Err(ApiError::unauthorized());
    };
    let certificate = client.certificate.as_ref().map(|shown| &shown.sha256);
    let claims = tokens.verify(token, certificate).await?;
    match claims.subject {
        Subject::Client(name) => Ok(Caller { name, scopes: claims.scopes, user: None }),
        Subject::User(name) => {
            let user = Login::user_of_token(&service.config, jwt, &service.directory, &name).await?;
            let scopes = [claims.scopes, user.scopes.clone()].concat();
            Ok(Caller { name: user.username.clone(), scopes, user: Some(Box::new(user)) })
        }
    }
}

fn by_certificate(service: &Service, client: &Client) -> Option<Caller> {
    let shown = client.certificate.as_ref()?;
    if shown.not_after < SystemTime::now() {
        tracing::info!(
            subject = shown.subject,
            "a client certificate has expired while its connection was open"
        );
        return None;
    }
    let fits = |known: &CertificateMatch| match known {
        CertificateMatch::Sha256(sha256) => *sha256 == shown.sha256,
        CertificateMatch::Subject(subject) => Some(subject) == shown.subject_key.as_ref(),
    };
    let found = service.config.client_certificates.iter().find(|known| fits(&known.certificate));
    if found.is_none() {
        let subject = shown.subject.escape_debug().to_string();
        tracing::info!(subject, "no element of client_certificates has the certificate of `{subject}`");
    }
    found.map(|found| Caller { name: found.name.clone(), scopes: found.scopes.clone(), user: None })
}
