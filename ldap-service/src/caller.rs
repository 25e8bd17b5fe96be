//! Who calls, and what the caller may do.

use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::config::{CertificateMatch, Scope};
use crate::error::ApiError;
use crate::service::{Client, Current, Service};

/// A caller whose identity is proven.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The name, for the log.
    pub name: String,
    /// What the caller may do.
    pub scopes: Vec<Scope>,
}

impl Caller {
    /// Checks that the caller has a scope.
    ///
    /// # Errors
    /// 403 without it.
    pub fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.scopes.contains(&scope) { Ok(()) } else { Err(ApiError::lacks_scope(scope.name())) }
    }
}

/// Returns the token of `Authorization: Bearer` (RFC 6750); `None` for another scheme.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
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
/// # Errors
/// 401 if neither proves who calls; 503 if that cannot be found out now.
pub async fn identify(service: &Service, client: &Client, headers: &HeaderMap) -> Result<Caller, ApiError> {
    if let Some(token) = bearer(headers) {
        if let Some(caller) = by_api_token(service, token) {
            return Ok(caller);
        }
        return by_jwt(service, token).await;
    }
    by_certificate(service, client).ok_or_else(ApiError::unauthorized)
}

fn by_api_token(service: &Service, token: &str) -> Option<Caller> {
    let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    // All are compared, each in constant time.
    let found =
        service.config.api_tokens.iter().fold(None, |found, known| {
            if bool::from(known.sha256.ct_eq(&hash)) { Some(known) } else { found }
        })?;
    Some(Caller { name: found.name.clone(), scopes: found.scopes.clone() })
}

async fn by_jwt(_service: &Service, _token: &str) -> Result<Caller, ApiError> {
    std::future::ready(Err(ApiError::unauthorized())).await
}

fn by_certificate(service: &Service, client: &Client) -> Option<Caller> {
    let shown = client.certificate.as_ref()?;
    let fits = |known: &CertificateMatch| match known {
        CertificateMatch::Sha256(sha256) => *sha256 == shown.sha256,
        CertificateMatch::Subject(subject) => is_same_dn(subject, &shown.subject),
    };
    let found = service.config.client_certificates.iter().find(|known| fits(&known.certificate))?;
    Some(Caller { name: found.name.clone(), scopes: found.scopes.clone() })
}

/// Whether two DNs are the same, by the standard schema.
fn is_same_dn(a: &str, b: &str) -> bool {
    use ldap_directory::dn::DnKey;
    use ldap_directory::schema::Schema;
    let key = |dn: &str| DnKey::parse(dn, Schema::standard()).ok();
    key(a).is_some_and(|a| key(b).is_some_and(|b| a == b))
}
