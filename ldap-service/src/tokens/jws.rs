//! The parts of a token: JWS compact serialization (RFC 7515 section 7.1).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::signature::PublicKey;
use super::{Refusal, json};
use crate::config::Algorithm;

/// The most octets of a token.
const LONGEST: usize = 16 * 1024;
/// Header parameters that change what the rest means: `crit` and `b64` (RFC 7797), and those of encryption (RFC 7516).
const NOT_UNDERSTOOD: &[&str] = &["crit", "b64", "enc", "zip"];
/// Types of tokens that are accepted, without `application/` (RFC 7515 section 4.1.9, RFC 9068 section 2.1).
const TYPES: &[&str] = &["at+jwt", "jwt"];

/// A token whose signature has not been verified.
///
/// Keys in its header (`jwk`, `jku`, `x5c`, `x5u`) are not read: keys come from the issuer alone.
pub(super) struct Unverified<'t> {
    /// The algorithm, one of those of the settings.
    pub(super) algorithm: Algorithm,
    /// The id of the key (RFC 7515 section 4.1.4).
    pub(super) kid: Option<String>,
    /// The claims.
    pub(super) claims: Map<String, Value>,
    /// The signing input (RFC 7515 section 5.1).
    signed: &'t str,
    signature: Vec<u8>,
}

/// Decodes base64url without padding, in its only canonical form.
pub(super) fn base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

impl<'t> Unverified<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// It is not a signed JWT, or its header asks for something other than the settings allow.
    pub(super) fn parse(token: &'t str, allowed: &[Algorithm]) -> Result<Self, Refusal> {
        if token.len() > LONGEST {
            return Err("longer than 16 KiB");
        }
        let parts: Vec<&str> = token.split('.').collect();
        let [header, payload, signature] = parts.as_slice() else { return Err("not a JWT of three parts") };
        if signature.is_empty() {
            return Err("without a signature");
        }
        let octets = base64url(signature).ok_or("the signature is not base64url")?;
        let header = base64url(header).and_then(|text| json::object(&text)).ok_or("no valid header")?;
        if NOT_UNDERSTOOD.iter().any(|name| header.contains_key(*name)) {
            return Err("the header has crit, b64, enc or zip");
        }
        let text = |name: &str, wrong: Refusal| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(wrong),
        };
        let algorithm = text("alg", "alg is not a text")?.ok_or("without alg")?;
        let algorithm = Algorithm::of_name(algorithm)
            .filter(|algorithm| allowed.contains(algorithm))
            .ok_or("alg is not one of jwt.algorithms")?;
        if let Some(kind) = text("typ", "typ is not a text")? {
            let kind = kind.to_ascii_lowercase();
            if !TYPES.contains(&kind.strip_prefix("application/").unwrap_or(&kind)) {
                return Err("typ is neither at+jwt nor JWT");
            }
        }
        let kid = text("kid", "kid is not a text")?.map(str::to_owned);
        let claims = base64url(payload).and_then(|text| json::object(&text)).ok_or("no valid claims")?;
        let end = token.len() - signature.len() - 1;
        let signed = token.get(..end).ok_or("not a JWT of three parts")?;
        Ok(Self { algorithm, kid, claims, signed, signature: octets })
    }

    /// Whether a key has signed the token.
    pub(super) fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.has_signed(self.algorithm, self.signed.as_bytes(), &self.signature)
    }
}
