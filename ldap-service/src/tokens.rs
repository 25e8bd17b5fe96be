//! Bearer tokens of an identity provider: JWTs (RFC 7519) as access tokens (RFC 9068, RFC 8725), verified with the keys of their issuer.
//!
//! In the order of imports: `json` parses strictly, `jws` takes a token apart, `claims` checks what it says, `jwk` has the keys of
//! an issuer, `issuer` fetches them, and `cache` decides when.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::StatusCode;
use singer_common::plugin::settings::SettingsError;

use crate::config::JwtConfig;
use crate::error::ApiError;

mod cache;
mod claims;
mod issuer;
mod json;
mod jwk;
mod jws;
mod signature;

use cache::{KeyCache, Pauses};
use claims::Expected;
use issuer::Issuer;
use jwk::{Judgement, KeySet};
use jws::Unverified;

pub use claims::{Claims, Subject};

/// Parses JSON of a caller.
///
/// # Errors
/// Says where it is none, or that a name is there twice: others would read the first value, or the last.
pub fn unique_json(text: &[u8]) -> Result<serde_json::Value, String> {
    let value = serde_json::from_slice(text)
        .map_err(|e| format!("the body is not JSON (line {}, column {})", e.line(), e.column()))?;
    if json::has_unique_names(text) {
        Ok(value)
    } else {
        Err("the body has a name twice in an object".into())
    }
}

/// Why a token is refused, for the log. Never a part of the token.
type Refusal = &'static str;

/// Verifies the tokens of one issuer.
#[derive(Debug)]
pub struct Tokens {
    config: JwtConfig,
    keys: KeyCache,
}

impl Tokens {
    /// Returns a verifier. Nothing is fetched yet. `earlier`: the one before a reload, whose keys stay if they have the same source.
    ///
    /// # Errors
    /// `jwt.ca_file` cannot be used.
    pub fn new(config: &JwtConfig, earlier: Option<&Tokens>) -> Result<Self, SettingsError> {
        let issuer = Issuer::new(config)?;
        let fetch = move || issuer.fetch();
        let same = earlier.filter(|earlier| {
            earlier.config.issuer == config.issuer && earlier.config.jwks_url == config.jwks_url
        });
        let keys = match same {
            Some(earlier) => earlier.keys.continued(fetch),
            None => KeyCache::new(fetch, Pauses::default()),
        };
        Ok(Self { config: config.clone(), keys })
    }

    /// Verifies a token and returns what it says. `certificate`: the SHA-256 of the caller's client certificate, for tokens that
    /// are bound to one (RFC 8705 section 3.1).
    ///
    /// # Errors
    /// 401 for a token that is not valid; 503 for one that cannot be judged, because the keys of the issuer cannot be fetched.
    pub async fn verify(&self, token: &str, certificate: Option<&[u8; 32]>) -> Result<Claims, ApiError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (unverified, claims) = self.parse(token, certificate, now).map_err(refused)?;
        let judge = |keys: &KeySet| keys.judge(&unverified);
        let known = self.keys.current();
        let mut judgement = known.as_deref().map_or(Judgement::Unknown, judge);
        if matches!(judgement, Judgement::Unknown) {
            let answer = self.keys.fetch(|keys| !matches!(judge(keys), Judgement::Unknown)).await;
            judgement = answer.keys.as_deref().map_or(Judgement::Unknown, judge);
            if let (Judgement::Unknown, Some(after)) = (&judgement, answer.retry_after) {
                return Err(unavailable(after));
            }
        }
        match judgement {
            Judgement::Verified => Ok(claims),
            Judgement::Refused(reason) => Err(refused(reason)),
            Judgement::Unknown => Err(refused("the issuer has no such key")),
        }
    }

    /// Checks all that needs no key, so that a token that cannot be valid never leads to a request to the issuer.
    fn parse<'t>(
        &self,
        token: &'t str,
        certificate: Option<&[u8; 32]>,
        now: Duration,
    ) -> Result<(Unverified<'t>, Claims), Refusal> {
        let unverified = Unverified::parse(token, &self.config.algorithms)?;
        let expected = Expected {
            issuer: &self.config.issuer,
            audience: &self.config.audience,
            username_claim: &self.config.username_claim,
            client_claim: self.config.client_claim.as_deref(),
            leeway: Duration::from_secs(self.config.leeway_seconds),
            certificate,
            now,
        };
        let claims = expected.check(&unverified.claims)?;
        Ok((unverified, claims))
    }
}

/// Returns 401 for a token (RFC 6750 section 3.1). The reason is for the log alone.
fn refused(reason: Refusal) -> ApiError {
    tracing::info!(reason, "a bearer token is refused: {reason}");
    ApiError { challenge: Some("Bearer error=\"invalid_token\""), ..ApiError::unauthorized() }
}

/// Returns 503 for a token that cannot be judged now.
fn unavailable(after: Duration) -> ApiError {
    let detail = "the keys of the identity provider cannot be fetched, so that the token cannot be verified; nothing is wrong with the request";
    ApiError {
        retry_after: Some(after),
        ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "issuer_unavailable", detail)
    }
}

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod testing;
