//! Public keys, and the verification of signatures (RFC 7518 sections 3.3 to 3.5, RFC 8037), by ring.

use ring::signature::{
    self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

use crate::config::Algorithm;

/// A public key of an issuer.
pub(super) enum PublicKey {
    /// Modulus and exponent, big-endian.
    Rsa { n: Vec<u8>, e: Vec<u8> },
    /// A point in uncompressed form (SEC 1 section 2.3.3). Whether it is on the curve is checked at each verification.
    Point(Vec<u8>),
    /// An Ed25519 key.
    Ed25519(Vec<u8>),
}

impl PublicKey {
    /// Whether the key has made this signature of a message. An algorithm of another kind of key never fits.
    pub(super) fn has_signed(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let by = |how: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(how, key).verify(message, signature).is_ok()
        };
        match (self, algorithm) {
            (Self::Point(key), Algorithm::ES256) => by(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Self::Point(key), Algorithm::ES384) => by(&signature::ECDSA_P384_SHA384_FIXED, key),
            (Self::Ed25519(key), Algorithm::EdDSA) => by(&signature::ED25519, key),
            (Self::Rsa { n, e }, _) => rsa(algorithm)
                .is_some_and(|how| RsaPublicKeyComponents { n, e }.verify(how, message, signature).is_ok()),
            _ => false,
        }
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA => return None,
    })
}
