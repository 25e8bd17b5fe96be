//! Keys and tokens of an issuer, for unit tests.

#![allow(clippy::unwrap_used)]

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
};
use serde_json::{Value, json};

use super::Tokens;
use super::cache::{KeyCache, Pauses};
use super::jwk::KeySet;
use crate::config::{Algorithm, JwtConfig};

pub(super) const ISSUER: &str = "https://idp.example.com";
pub(super) const AUDIENCE: &str = "ldap-service";

pub(super) fn b64(octets: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

/// A key that signs.
pub(super) struct Signer {
    pub(super) kid: &'static str,
    pub(super) pair: KeyPair,
    algorithm: Algorithm,
}

impl Signer {
    pub(super) fn new(kid: &'static str, algorithm: Algorithm) -> Self {
        let curve = match algorithm {
            Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
            Algorithm::ES384 => &PKCS_ECDSA_P384_SHA384,
            _ => &PKCS_ED25519,
        };
        Self { kid, pair: KeyPair::generate_for(curve).unwrap(), algorithm }
    }

    pub(super) fn jwk(&self) -> Value {
        let raw = self.pair.public_key_raw();
        let mut jwk = if self.algorithm == Algorithm::EdDSA {
            json!({"kty": "OKP", "crv": "Ed25519", "x": b64(raw)})
        } else {
            let curve = if self.algorithm == Algorithm::ES256 { "P-256" } else { "P-384" };
            let (x, y) = raw[1..].split_at((raw.len() - 1) / 2);
            json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
        };
        jwk["kid"] = self.kid.into();
        jwk
    }

    /// Signs a text.
    fn sign(&self, text: &str) -> String {
        let der = self.pair.serialize_der();
        let (message, random) = (text.as_bytes(), SystemRandom::new());
        let ecdsa =
            |how| EcdsaKeyPair::from_pkcs8(how, &der, &random).unwrap().sign(&random, message).unwrap();
        match self.algorithm {
            Algorithm::EdDSA => b64(Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).unwrap().sign(message)),
            Algorithm::ES384 => b64(ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)),
            _ => b64(ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)),
        }
    }

    /// Returns a token of these texts.
    pub(super) fn token_of(&self, header: &str, claims: &str) -> String {
        let text = format!("{}.{}", b64(header), b64(claims));
        let signature = self.sign(&text);
        format!("{text}.{signature}")
    }

    /// Returns a token. Members of the header replace the usual ones; null leaves one out.
    pub(super) fn token(&self, header: &Value, claims: &Value) -> String {
        let algorithm = self.algorithm.name();
        let usual = json!({"alg": algorithm, "kid": self.kid, "typ": "at+jwt"});
        self.token_of(&with(&usual, header).to_string(), &claims.to_string())
    }
}

/// Returns members with others over them; the text `(none)` leaves one out.
pub(super) fn with(usual: &Value, more: &Value) -> Value {
    let mut all = usual.as_object().unwrap().clone();
    all.extend(more.as_object().unwrap().clone());
    Value::Object(all.into_iter().filter(|(_, value)| *value != json!("(none)")).collect())
}

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The usual claims, with others over them; the text `(none)` leaves one out.
pub(super) fn claims(more: &Value) -> Value {
    let usual = json!({
        "iss": ISSUER, "aud": AUDIENCE, "exp": now() + 300, "iat": now(), "sub": "1f", "preferred_username": "ada",
        "scope": "openid search scim.read",
    });
    with(&usual, more)
}

fn config() -> JwtConfig {
    JwtConfig {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        algorithms: vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
        username_claim: "preferred_username".to_owned(),
        username_attribute: None,
        client_claim: None,
        leeway_seconds: 60,
        jwks_url: None,
        ca_file: None,
    }
}

/// Returns a verifier for an issuer with these keys.
pub(super) fn verifier(jwks: Value) -> Tokens {
    let fetch = move || KeySet::parse(jwks.to_string().as_bytes());
    Tokens { config: config(), keys: KeyCache::new(fetch, Pauses::default()) }
}
