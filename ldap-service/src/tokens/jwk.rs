//! The keys of an issuer: a JWK Set (RFC 7517), of which the signing keys count whose form is known (RFC 7518 section 6, RFC 8037).

use std::fmt;

use serde_json::{Map, Value};

use super::jws::{Unverified, base64url};
use super::signature::PublicKey;
use super::{Refusal, json};
use crate::config::Algorithm;

/// The most keys of an issuer.
const MOST_KEYS: usize = 256;
/// The octets of an RSA modulus: 2,048 to 8,192 bits.
const RSA_OCTETS: std::ops::RangeInclusive<usize> = 256..=1024;

/// The algorithms of an RSA key (RFC 7518 sections 3.3 and 3.5).
const RSA_ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// The keys of an issuer.
#[derive(Debug, Default)]
pub(super) struct KeySet(Vec<Key>);

/// A key that verifies signatures.
struct Key {
    kid: Option<String>,
    /// The algorithms that the form of the key allows, and its `alg`.
    algorithms: Vec<Algorithm>,
    verifying: PublicKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}

/// What a set of keys says about a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// One of the keys has signed it.
    Verified,
    /// Its key is known and has not signed it.
    Refused(Refusal),
    /// Its key is not in the set; it may be in a newer one.
    Unknown,
}

impl KeySet {
    /// Parses a JWK Set. Keys of an unknown form or for another purpose are left out (RFC 7517 section 5).
    ///
    /// # Errors
    /// It is no JWK Set, or has no key that can verify.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let set = json::object(text).ok_or("the JWK Set is not a JSON object")?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or("the JWK Set has no list `keys`")?;
        if keys.len() > MOST_KEYS {
            return Err(format!("the JWK Set has {} keys, more than {MOST_KEYS}", keys.len()));
        }
        let usable: Vec<Key> = keys.iter().filter_map(|jwk| key(jwk.as_object()?)).collect();
        if usable.is_empty() {
            let count = keys.len();
            return Err(format!(
                "none of the {count} keys of the JWK Set is a public key for signatures (RSA of 2048 bits or more, P-256, P-384, Ed25519)"
            ));
        }
        Ok(Self(usable))
    }

    /// Returns the number of keys.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Judges a token.
    pub(super) fn judge(&self, token: &Unverified<'_>) -> Judgement {
        let fits = |key: &&Key| key.algorithms.contains(&token.algorithm);
        let Some(kid) = &token.kid else {
            let mut fitting = self.0.iter().filter(fits);
            return match (fitting.next(), fitting.next()) {
                (Some(key), None) if token.is_signed_by(&key.verifying) => Judgement::Verified,
                // The key may have been replaced, and another one would have no other name.
                (Some(_) | None, None) => Judgement::Unknown,
                (_, Some(_)) => Judgement::Refused("without kid, and more than one key fits"),
            };
        };
        let mut named = self.0.iter().filter(|key| key.kid.as_ref() == Some(kid)).peekable();
        if named.peek().is_none() {
            return Judgement::Unknown;
        }
        if named.filter(fits).any(|key| token.is_signed_by(&key.verifying)) {
            return Judgement::Verified;
        }
        Judgement::Refused("the signature is not of the key that kid names")
    }
}

/// Returns a public key for signatures; `None` for another one.
fn key(jwk: &Map<String, Value>) -> Option<Key> {
    // Each member that is there has to be a text.
    let text = |name: &str| match jwk.get(name) {
        None => Some(None),
        Some(Value::String(text)) => Some(Some(text.as_str())),
        Some(_) => None,
    };
    let octets = |name: &str| base64url(text(name)??);
    // A private key that is published is no proof of anything.
    if jwk.contains_key("d") || text("use")?.is_some_and(|purpose| purpose != "sig") {
        return None;
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(operations)) if operations.iter().any(|name| name == "verify") => {}
        Some(_) => return None,
    }
    let (mut algorithms, verifying) = match (text("kty")??, text("crv")?) {
        ("RSA", _) => {
            let (n, e) = (octets("n")?, octets("e")?);
            let n = n.strip_prefix(&[0]).unwrap_or(&n);
            if !RSA_OCTETS.contains(&n.len()) {
                return None;
            }
            let key = PublicKey::Rsa { n: n.to_vec(), e };
            (RSA_ALGORITHMS.to_vec(), key)
        }
        ("EC", Some("P-256")) => (vec![Algorithm::ES256], point(&octets("x")?, &octets("y")?, 32)?),
        ("EC", Some("P-384")) => (vec![Algorithm::ES384], point(&octets("x")?, &octets("y")?, 48)?),
        ("OKP", Some("Ed25519")) => {
            let x = octets("x").filter(|x| x.len() == 32)?;
            (vec![Algorithm::EdDSA], PublicKey::Ed25519(x))
        }
        _ => return None,
    };
    if let Some(alg) = text("alg")? {
        algorithms.retain(|algorithm| algorithm.name() == alg);
    }
    let kid = text("kid")?.map(str::to_owned);
    (!algorithms.is_empty()).then_some(Key { kid, algorithms, verifying })
}

/// Returns the key of a point in uncompressed form. Whether it is on the curve is checked at each verification.
fn point(x: &[u8], y: &[u8], octets: usize) -> Option<PublicKey> {
    let is_one = x.len() == octets && y.len() == octets;
    is_one.then(|| PublicKey::Point([&[4], x, y].concat()))
}
