//! Hashes passwords, and verifies hashes, in the forms that directories store (RFC 2307 section 5.3: `{SCHEME}…`).

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD as BASE64;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};

const SALT_LENGTH: usize = 16;
/// The minimum of OWASP's cheat sheet on password storage for Argon2id: 19 MiB, two passes, one lane.
const ARGON2: (u32, u32, u32) = (19 * 1024, 2, 1);
/// The most memory and passes that a hash from a directory may ask for (1 GiB): such a value is foreign input.
const MOST_ARGON2: (u32, u32, u32) = (1024 * 1024, 64, 64);
const MOST_ROUNDS: u32 = 10_000_000;

/// A password could not be hashed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HashError {
    /// The system has no random numbers.
    #[error("no random numbers for a salt: {0}")]
    Random(String),
    /// The hash function refused: Argon2 accepts at most 4 GiB.
    #[error("the password cannot be hashed: {0}")]
    Refused(String),
}

fn salt() -> Result<[u8; SALT_LENGTH], HashError> {
    let mut salt = [0; SALT_LENGTH];
    getrandom::fill(&mut salt).map_err(|e| HashError::Random(e.to_string()))?;
    Ok(salt)
}

/// Returns `{SSHA512}`: base64 of the digest and the salt, as OpenLDAP (pw-sha2) and 389 Directory Server read it.
pub fn ssha512(password: &str) -> Result<String, HashError> {
    let salt = salt()?;
    let mut octets = salted::<Sha512>(password, &salt);
    octets.extend_from_slice(&salt);
    Ok(format!("{{SSHA512}}{}", BASE64.encode(octets)))
}

/// Returns `{ARGON2}` and the PHC string, as OpenLDAP (argon2) reads it.
pub fn argon2id(password: &str) -> Result<String, HashError> {
    let refused = |e: &dyn std::fmt::Display| HashError::Refused(e.to_string());
    let salt = SaltString::encode_b64(&salt()?).map_err(|e| refused(&e))?;
    let (memory, passes, lanes) = ARGON2;
    let params = Params::new(memory, passes, lanes, None).map_err(|e| refused(&e))?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = hasher.hash_password(password.as_bytes(), &salt).map_err(|e| refused(&e))?;
    Ok(format!("{{ARGON2}}{hash}"))
}

fn salted<D: Digest>(password: &str, salt: &[u8]) -> Vec<u8> {
    D::new().chain_update(password).chain_update(salt).finalize().to_vec()
}

/// Returns the scheme in braces, and the rest.
fn parts(value: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = value.strip_prefix('{')?.split_once('}')?;
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | '*');
    (!scheme.is_empty() && !rest.is_empty() && scheme.chars().all(word)).then_some((scheme, rest))
}

/// Whether a value has a hash scheme. `{CLEARTEXT}` (OpenLDAP) and `{CLEAR}` (389) are not hashed.
pub fn is_hashed(value: &str) -> bool {
    parts(value).is_some_and(|(scheme, _)| !is_clear(scheme))
}

fn is_clear(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("CLEARTEXT") || scheme.eq_ignore_ascii_case("CLEAR")
}

/// Whether a value of `userPassword` is this clear text, or a hash of it. Also `false` for an unknown scheme.
pub fn verify(value: &[u8], password: &str) -> bool {
    let Ok(value) = std::str::from_utf8(value) else { return false };
    // RFC 4519 section 2.41: without a scheme it is the password itself.
    let Some((scheme, rest)) = parts(value) else { return value == password };
    match scheme.to_ascii_uppercase().as_str() {
        scheme if is_clear(scheme) => rest == password,
        "SHA" | "SSHA" => digest::<Sha1>(rest, password),
        "SHA256" | "SSHA256" => digest::<Sha256>(rest, password),
        "SHA384" | "SSHA384" => digest::<Sha384>(rest, password),
        "SHA512" | "SSHA512" => digest::<Sha512>(rest, password),
        "ARGON2" => argon2_matches(rest, password),
        "PBKDF2" | "PBKDF2-SHA1" => pbkdf2_matches(rest, password, pbkdf2::pbkdf2_hmac::<Sha1>),
        "PBKDF2-SHA256" => pbkdf2_matches(rest, password, pbkdf2::pbkdf2_hmac::<Sha256>),
        "PBKDF2-SHA512" => pbkdf2_matches(rest, password, pbkdf2::pbkdf2_hmac::<Sha512>),
        _ => false,
    }
}

/// Verifies a digest, followed by an optional salt.
fn digest<D: Digest>(encoded: &str, password: &str) -> bool {
    let Ok(octets) = BASE64.decode(encoded) else { return false };
    octets
        .split_at_checked(<D as Digest>::output_size())
        .is_some_and(|(hash, salt)| salted::<D>(password, salt) == hash)
}

fn argon2_matches(encoded: &str, password: &str) -> bool {
    let Ok(hash) = PasswordHash::new(encoded) else { return false };
    let Ok(params) = Params::try_from(&hash) else { return false };
    let (memory, passes, lanes) = MOST_ARGON2;
    let bearable = params.m_cost() <= memory && params.t_cost() <= passes && params.p_cost() <= lanes;
    bearable && Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
}

/// Verifies `ROUNDS$SALT$HASH`, as passlib, OpenLDAP (pw-pbkdf2) and 389 Directory Server write it: base64 without padding,
/// possibly with `.` for `+`.
fn pbkdf2_matches(encoded: &str, password: &str, derive: fn(&[u8], &[u8], u32, &mut [u8])) -> bool {
    let mut fields = encoded.split('$');
    let (Some(rounds), Some(salt), Some(hash), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return false;
    };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let base64 = GeneralPurpose::new(&alphabet::STANDARD, config);
    let octets = |text: &str| base64.decode(text.replace('.', "+")).ok();
    let (Ok(rounds), Some(salt), Some(hash)) = (rounds.parse::<u32>(), octets(salt), octets(hash)) else {
        return false;
    };
    if rounds == 0 || rounds > MOST_ROUNDS || hash.is_empty() || hash.len() > 128 {
        return false;
    }
    let mut derived = vec![0; hash.len()];
    derive(password.as_bytes(), &salt, rounds, &mut derived);
    derived == hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hashes_of_others_are_known() {
        // slappasswd -h {SSHA}, -h {SSHA512} -o module-load=pw-sha2, -h {ARGON2} -o module-load=argon2, and
        // -h {PBKDF2-SHA512} -o module-load=pw-pbkdf2, each of `secret`.
        for value in KNOWN {
            assert!(verify(value.as_bytes(), "secret"), "{value}");
            assert!(!verify(value.as_bytes(), "secret2"), "{value}");
            assert!(is_hashed(value));
        }
    }

    const KNOWN: &[&str] = &[
        "{SSHA}MEp+yq32twHoASjFt0sRjyPWWo84MaZS",
        "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
        "{SSHA512}FTx4MqRrjKOfsTT5K90u/GwXoS4pgRfP9TjLB+6oGU9OFqlVjOdmIysIGLjVMj7ebbbBZ3pfmnGHLKIsBRB0CGiekoKdoRnk",
        "{SSHA256}IrbPKjOneUc521kkYr1bod01z1SCcorCIqIHF/n8AUEEn3mW5q+vwA==",
        "{ARGON2}$argon2i$v=19$m=4096,t=3,p=1$AchrVzRriVSYPSeorcbd1Q$cSSv+pGUDXwC1Okyg2/xvw0I1A5NHYhFHyH1jDo3vQ0",
        "{PBKDF2}10000$PCqbkpc0plbjgLAoaW4d8Q$YLtaNsJCaVAhFyC14L3AL/AyqHM",
        "{PBKDF2-SHA256}10000$WKh2u9E6guE6xrFjKGAp2w$7JHEZoC866ieeZ2PsNZBSTlX0B4/w8f8CRMqscalgn0",
        "{PBKDF2-SHA512}10000$7vJ8jLUFSMC9WNzurbBloA$pNRWO4tyZ1VZIlR3lnFRc1qOlmp4z/u2O2vjTBlvwHlK/O8ePrjTftyjfSllSrBg5s8cTeOAXpTc4cGMOSw7ZQ",
        // 389 Directory Server's pwdhash.
        "{SSHA512}3ke2icquSzEhmWymCA542LAISTa+vW9Y9wF7gL6KgeXZO6LdNxx8OIhqf6cV6vTxUv5qHL34ZutU4U+Y3EQUhGTUP22RyEV/",
    ];

    #[test]
    fn clear_text_is_itself() {
        for value in ["secret", "{CLEARTEXT}secret", "{clear}secret"] {
            assert!(verify(value.as_bytes(), "secret") && !is_hashed(value), "{value}");
        }
        assert!(verify(b"{}secret", "{}secret"), "no scheme");
        assert!(!verify(b"{CRYPT}secret", "secret") && is_hashed("{CRYPT}secret"), "not known");
    }

    #[test]
    fn a_hash_that_asks_for_the_machine_is_not_worked_out() {
        for value in [
            "{ARGON2}$argon2id$v=19$m=4000000,t=1000,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g",
            "{PBKDF2-SHA512}4000000000$c2FsdA$aGFzaA",
            "{PBKDF2-SHA512}0$c2FsdA$aGFzaA",
        ] {
            assert!(!verify(value.as_bytes(), "secret"), "{value}");
        }
    }

    #[test]
    fn argon2id_is_as_openldap_reads_it_and_salted() {
        let (a, b) = (argon2id("secret").unwrap(), argon2id("secret").unwrap());
        assert!(a.starts_with("{ARGON2}$argon2id$v=19$m=19456,t=2,p=1$"), "{a}");
        assert_ne!(a, b);
        assert!(verify(a.as_bytes(), "secret") && !verify(a.as_bytes(), "Secret"));
    }

    proptest! {
        #[test]
        fn a_hash_fits_its_password_and_no_other(password in "\\PC{1,20}", other in "\\PC{1,20}") {
            let (a, b) = (ssha512(&password).unwrap(), ssha512(&password).unwrap());
            prop_assert_ne!(&a, &b);
            prop_assert!(!a.contains(&password) || password.len() < 4);
            prop_assert!(verify(a.as_bytes(), &password));
            prop_assert_eq!(verify(a.as_bytes(), &other), password == other);
        }

        #[test]
        fn no_value_is_too_strange(
            value in "\\PC{0,30}|\\{(SSHA|SHA512|ARGON2|PBKDF2-SHA256|X)\\}[$a-zA-Z0-9=,./+]{0,40}",
        ) {
            let _ = (verify(value.as_bytes(), "secret"), is_hashed(&value));
        }
    }
}
