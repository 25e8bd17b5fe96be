//! Known attacks on JWTs as tables: each token is refused, and each that resembles it and is right is accepted.

#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Map, Value, json};

use super::testing::{AUDIENCE, ISSUER, Signer, b64, claims, now, verifier, with};
use super::*;
use crate::config::Algorithm;

/// The order of P-256.
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// An issuer with a key of each kind; ES384 is not among the algorithms of the settings.
struct Idp {
    es256: Signer,
    es384: Signer,
    eddsa: Signer,
    tokens: Tokens,
}

impl Idp {
    fn new() -> Self {
        let es256 = Signer::new("one", Algorithm::ES256);
        let es384 = Signer::new("two", Algorithm::ES384);
        let eddsa = Signer::new("three", Algorithm::EdDSA);
        let tokens = verifier(json!({"keys": [es256.jwk(), es384.jwk(), eddsa.jwk()]}));
        Self { es256, es384, eddsa, tokens }
    }

    /// The status of a token, or its claims.
    async fn judge(&self, token: &str) -> Result<Claims, u16> {
        self.tokens.verify(token, None).await.map_err(|error| {
            assert_eq!(error.challenge, Some("Bearer error=\"invalid_token\""));
            error.status.as_u16()
        })
    }

    async fn all_are_refused(&self, attacks: Vec<(String, String)>) {
        assert!(self.judge(&self.es256.token(&json!({}), &claims(&json!({})))).await.is_ok());
        for (name, token) in attacks {
            assert_eq!(self.judge(&token).await, Err(401), "{name}");
        }
    }
}

fn named(name: &str, token: String) -> (String, String) {
    (name.to_owned(), token)
}

#[tokio::test]
async fn trap_21_the_algorithm_is_that_of_the_settings() {
    let idp = Idp::new();
    let claims = claims(&json!({}));
    let mut attacks = Vec::new();
    for alg in [
        "none", "None", "NONE", "nOnE", "", " ES256", "es256", "ES256 ", "ES256K", "RS256", "ES512", "dir",
        "HS256",
    ] {
        let token = idp.es256.token(&json!({"alg": alg}), &claims);
        attacks.push(named(alg, token.clone()));
        let (start, _) = token.rsplit_once('.').unwrap();
        attacks.push((format!("{alg}, no signature"), format!("{start}.")));
        attacks.push((format!("{alg}, no third part"), start.to_owned()));
    }
    for alg in [json!(null), json!(1), json!(["ES256"]), json!({"ES256": 1}), json!("(none)")] {
        attacks.push((format!("alg {alg}"), idp.es256.token(&json!({"alg": alg}), &claims)));
    }
    // HMAC with what everybody knows, in each form that it has.
    let pem = idp.es256.pair.public_key_pem();
    let der = idp.es256.pair.public_key_raw().to_vec();
    let jwk = idp.es256.jwk().to_string();
    for secret in [pem.as_bytes(), pem.trim().as_bytes(), &der, jwk.as_bytes(), b"", b"\0", b"one"] {
        for (alg, how) in
            [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
        {
            let header = json!({"alg": alg, "kid": "one"}).to_string();
            let text = format!("{}.{}", b64(header), b64(claims.to_string()));
            let signature = b64(hmac::sign(&hmac::Key::new(how, secret), text.as_bytes()));
            attacks.push((format!("{alg} with the public key"), format!("{text}.{signature}")));
        }
    }
    // A key for another algorithm, and an algorithm that the settings do not have.
    attacks.push(named(
        "ES256 with the name of an Ed25519 key",
        idp.es256.token(&json!({"kid": "three"}), &claims),
    ));
    attacks
        .push(named("EdDSA with the name of a P-256 key", idp.eddsa.token(&json!({"kid": "one"}), &claims)));
    attacks.push(named("EdDSA says ES256", idp.eddsa.token(&json!({"alg": "ES256", "kid": "one"}), &claims)));
    attacks
        .push(named("ES256 says EdDSA", idp.es256.token(&json!({"alg": "EdDSA", "kid": "three"}), &claims)));
    attacks.push(named("ES384 is not in the settings", idp.es384.token(&json!({}), &claims)));
    idp.all_are_refused(attacks).await;
    assert!(idp.judge(&idp.eddsa.token(&json!({}), &claims)).await.is_ok());
}

#[tokio::test]
async fn trap_21_keys_and_orders_in_the_header_do_not_count() {
    let idp = Idp::new();
    let claims = claims(&json!({}));
    let mallory = Signer::new("one", Algorithm::ES256);
    let mut attacks = Vec::new();
    let embedded = json!({
        "jwk": mallory.jwk(), "jku": "https://mallory.example.com/jwks", "x5u": "https://mallory.example.com/cert",
        "x5c": [STANDARD.encode(mallory.pair.public_key_raw())],
    });
    for name in ["jwk", "jku", "x5u", "x5c"] {
        for kid in [json!("one"), json!("(none)"), json!("mallory"), json!("")] {
            let header = json!({name: embedded[name], "kid": kid});
            attacks.push((format!("{name} with kid {kid}"), mallory.token(&header, &claims)));
        }
        // The issuer's own may have them.
        assert!(idp.judge(&idp.es256.token(&json!({name: embedded[name]}), &claims)).await.is_ok(), "{name}");
    }
    for kid in [
        "../../../../dev/null",
        "/dev/null",
        "/proc/sys/kernel/randomize_va_space",
        "one' UNION SELECT 'x",
        "|sleep 9",
        "one\0",
        "https://mallory.example.com/k",
        "ONE",
        "one ",
        "\u{1b}[2J",
        "${jndi:ldap://127.0.0.1/a}",
    ] {
        attacks.push((format!("kid {kid:?}"), idp.es256.token(&json!({"kid": kid}), &claims)));
    }
    for kid in [json!(null), json!(1), json!(["one"]), json!({"one": 1}), json!(true)] {
        attacks.push((format!("kid {kid}"), idp.es256.token(&json!({"kid": kid}), &claims)));
    }
    for header in [
        json!({"crit": ["exp"], "exp": 1}),
        json!({"crit": []}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"crit": ["urn:x"], "urn:x": 1}),
        json!({"crit": "alg"}),
        json!({"crit": null}),
        json!({"b64": false}),
        json!({"b64": true}),
        json!({"zip": "DEF"}),
        json!({"enc": "A256GCM"}),
        json!({"typ": "dpop+jwt"}),
        json!({"typ": "logout+jwt"}),
        json!({"typ": "secevent+jwt"}),
        json!({"typ": ""}),
        json!({"typ": 1}),
        json!({"typ": null}),
        json!({"typ": ["JWT"]}),
    ] {
        attacks.push((header.to_string(), idp.es256.token(&header, &claims)));
    }
    idp.all_are_refused(attacks).await;
    for kind in ["JWT", "jwt", "at+jwt", "AT+JWT", "application/at+jwt", "(none)"] {
        assert!(idp.judge(&idp.es256.token(&json!({"typ": kind}), &claims)).await.is_ok(), "{kind}");
    }
}

#[tokio::test]
async fn trap_21_a_signature_is_of_this_text() {
    let idp = Idp::new();
    let good = idp.es256.token(&json!({}), &claims(&json!({})));
    let (start, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = start.split_once('.').unwrap();
    let octets = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let (r, s) = octets.split_at(32);
    let signed = |name: &str, octets: &[u8]| (name.to_owned(), format!("{start}.{}", b64(octets)));
    let zero = [0; 32];
    let mut flipped = octets.clone();
    flipped[5] ^= 1;
    let der = [&[0x30, 0x44, 2, 32][..], r, &[2, 32], s].concat();
    let mallory = Signer::new("one", Algorithm::ES256);
    let other = b64(claims(&json!({"preferred_username": "root"})).to_string());
    let mut attacks = vec![
        signed("r = s = 0", &[zero, zero].concat()),
        signed("r = 0", &[&zero, s].concat()),
        signed("s = 0", &[r, &zero].concat()),
        signed("r = s = order", &[ORDER, ORDER].concat()),
        signed("r = order", &[&ORDER, s].concat()),
        signed("all ones", &[0xff; 64]),
        signed("one bit", &flipped),
        signed("cut off", &octets[..63]),
        signed("longer", &[&octets[..], &[0]].concat()),
        signed("r alone", r),
        signed("DER", &der),
        signed("swapped", &[s, r].concat()),
        named("of another key", mallory.token(&json!({}), &claims(&json!({})))),
        named("of another token", format!("{header}.{other}.{signature}")),
        named(
            "of another header",
            format!("{}.{payload}.{signature}", b64(r#"{"alg":"ES256","kid":"one"}"#)),
        ),
    ];
    // Other spellings of the same octets.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet.chars().nth(alphabet.find(last).unwrap() + 1).unwrap();
    for (name, token) in [
        ("padded signature", format!("{good}==")),
        ("padded header", format!("{header}=.{payload}.{signature}")),
        ("padded claims", format!("{header}.{payload}==.{signature}")),
        ("bits behind the end", format!("{start}.{}{next}", signature.strip_suffix(last).unwrap())),
        ("space in the signature", format!("{start}. {signature}")),
        ("newline in the signature", format!("{start}.{signature}\n")),
        ("NUL", format!("{good}\0")),
        (
            "standard alphabet",
            format!("{start}.{}", STANDARD.encode([&[0xfb, 0xff][..], &octets[2..]].concat())),
        ),
        ("escaped", good.replace('.', "%2E")),
        ("four parts", format!("{good}.")),
        ("five parts", format!("{header}..{payload}.{signature}.{signature}")),
        ("leading dot", format!(".{good}")),
        ("no claims", format!("{header}..{signature}")),
        ("no header", format!(".{payload}.{signature}")),
        ("nothing", String::new()),
        ("dots", "..".to_owned()),
        (
            "JSON serialization",
            json!({"protected": header, "payload": payload, "signature": signature}).to_string(),
        ),
    ] {
        attacks.push(named(name, token));
    }
    idp.all_are_refused(attacks).await;
}

#[tokio::test]
async fn trap_21_json_has_one_meaning() {
    let idp = Idp::new();
    let header = r#"{"alg":"ES256","kid":"one"}"#;
    let good = claims(&json!({})).to_string();
    let more = |text: &str| format!("{},{text}}}", good.strip_suffix('}').unwrap());
    assert!(idp.judge(&idp.es256.token_of(header, &good)).await.is_ok());
    let mut attacks: Vec<(String, String)> = [
        r#"{"alg":"none","alg":"ES256","kid":"one"}"#,
        r#"{"alg":"ES256","alg":"none","kid":"one"}"#,
        r#"{"alg":"ES256","kid":"two","kid":"one"}"#,
        r#"{"alg":"ES256","kid":"one","\u0061lg":"ES256"}"#,
        r#"{"alg":"ES256","kid":"one"} "x""#,
        r#"["ES256"]"#,
        "",
        "\u{feff}{\"alg\":\"ES256\",\"kid\":\"one\"}",
    ]
    .iter()
    .map(|header| ((*header).to_owned(), idp.es256.token_of(header, &good)))
    .collect();
    for text in [
        more(r#""aud":"ldap-service""#),
        more(r#""exp":9999999999"#),
        more(r#""e\u0078p":9999999999"#),
        more(r#""preferred_username":"root""#),
        more(r#""x":{"a":1,"a":1}"#),
        format!("{good}{good}"),
        format!("[{good}]"),
        "null".to_owned(),
        String::new(),
    ] {
        attacks.push((text.clone(), idp.es256.token_of(header, &text)));
    }
    let long = claims(&json!({"x": "x".repeat(16 * 1024)}));
    attacks.push(named("long", idp.es256.token(&json!({}), &long)));
    idp.all_are_refused(attacks).await;
    let shorter = claims(&json!({"x": "x".repeat(11 * 1024)}));
    assert!(idp.judge(&idp.es256.token(&json!({}), &shorter)).await.is_ok());
}

#[tokio::test]
async fn trap_21_claims_have_their_types_and_values() {
    let idp = Idp::new();
    let now = now();
    let none = json!("(none)");
    let mut table: Vec<(&str, Vec<Value>)> = vec![
        (
            "iss",
            vec![
                none.clone(),
                json!("https://idp.example.com/"),
                json!("https://IDP.example.com"),
                json!([ISSUER]),
            ],
        ),
        (
            "aud",
            vec![
                none.clone(),
                json!("another"),
                json!(["another"]),
                json!([]),
                json!(""),
                json!(1),
                json!("LDAP-service"),
            ],
        ),
        (
            "aud",
            vec![
                json!([AUDIENCE, 1]),
                json!({AUDIENCE: true}),
                json!("ldap-service,x"),
                json!("ldap-service x"),
            ],
        ),
        (
            "exp",
            vec![
                none.clone(),
                json!("never"),
                json!((now + 300).to_string()),
                json!(true),
                json!([now + 300]),
            ],
        ),
        (
            "exp",
            vec![
                json!(-1),
                json!(0),
                json!(0.5),
                json!(1e300),
                json!(253_402_300_800_u64),
                json!((now + 300) * 1000),
            ],
        ),
        ("exp", vec![json!(now - 61), json!(-1e300), json!({"$date": now + 300}), json!(u64::MAX)]),
        ("nbf", vec![json!(now + 65), json!("0"), json!("99999999999"), json!([0]), json!(1e300)]),
        ("iat", vec![json!("0"), json!(-1)]),
        ("jti", vec![json!(1)]),
        ("sub", vec![json!(1), json!(["ada"])]),
        (
            "preferred_username",
            vec![none.clone(), json!(""), json!("  "), json!(["ada"]), json!(1), json!({"a": 1})],
        ),
        ("preferred_username", vec![json!("ada\0"), json!("ada\n"), json!("a".repeat(1025))]),
        ("scope", vec![json!(["search"]), json!(1)]),
        ("scp", vec![json!(["search", 1]), json!({"search": true})]),
        (
            "cnf",
            vec![json!({}), json!({"jkt": "x"}), json!("x"), json!({"x5t#S256": b64([1; 32])}), json!([])],
        ),
    ];
    for (name, values) in &mut table {
        if !matches!(*name, "scp" | "cnf") || *name == "cnf" {
            values.push(json!(null));
        }
    }
    let attacks = table.into_iter().flat_map(|(name, values)| {
        let token = |value: Value| {
            (format!("{name} = {value}"), idp.es256.token(&json!({}), &claims(&json!({name: value}))))
        };
        values.into_iter().map(token).collect::<Vec<_>>()
    });
    idp.all_are_refused(attacks.collect()).await;
    for good in [
        json!({"aud": ["another", AUDIENCE]}),
        json!({"exp": now - 50}),
        serde_json::from_str(&format!("{{\"exp\": {now}.5}}")).unwrap(),
        json!({"nbf": now + 50}),
        json!({"nbf": now - 50, "iat": "(none)", "sub": "(none)", "jti": "x"}),
        json!({"nonce": "n", "at_hash": 1}),
        json!({"exp": 253_402_300_799_u64}),
    ] {
        assert!(idp.judge(&idp.es256.token(&json!({}), &claims(&good))).await.is_ok(), "{good}");
    }
}

#[tokio::test]
async fn scopes_and_subjects() {
    let idp = Idp::new();
    let of = async |more: Value| {
        let claims = idp.judge(&idp.es256.token(&json!({}), &claims(&more))).await.unwrap();
        let scopes: Vec<&str> = claims.scopes.iter().map(|scope| scope.name()).collect();
        (claims.subject, scopes.join(" "))
    };
    let ada = || Subject::User("ada".to_owned());
    assert_eq!(of(json!({})).await, (ada(), "search scim.read".to_owned()));
    assert_eq!(
        of(json!({"scope": "(none)", "scp": ["health", "admin"]})).await,
        (ada(), "health".to_owned())
    );
    assert_eq!(of(json!({"scope": "SEARCH scim.read.all  health"})).await, (ada(), "health".to_owned()));
    assert_eq!(of(json!({"scope": "(none)"})).await, (ada(), String::new()));
    // A program for itself, and what is none.
    let program = json!({"preferred_username": "(none)", "sub": "hr", "client_id": "hr"});
    assert_eq!(of(program.clone()).await.0, Subject::Client("hr".to_owned()));
    let by_azp = json!({"preferred_username": "(none)", "sub": "hr", "azp": "hr"});
    assert_eq!(of(by_azp).await.0, Subject::Client("hr".to_owned()));
    for wrong in [
        json!({"sub": "ada"}),
        json!({"client_id": "HR"}),
        json!({"scope": "(none)"}),
        json!({"client_id": "(none)"}),
        json!({"sub": "(none)"}),
        json!({"sub": "", "client_id": ""}),
        json!({"client_id": "x", "azp": "hr"}),
    ] {
        let mut both = program.as_object().unwrap().clone();
        both.extend(wrong.as_object().unwrap().clone());
        let token = idp.es256.token(&json!({}), &claims(&Value::Object(both)));
        assert_eq!(idp.judge(&token).await, Err(401), "{wrong}");
    }
}

#[tokio::test]
async fn a_token_may_be_bound_to_a_certificate() {
    let idp = Idp::new();
    let token = idp.es256.token(&json!({}), &claims(&json!({"cnf": {"x5t#S256": b64([7; 32])}})));
    assert!(idp.tokens.verify(&token, Some(&[7; 32])).await.is_ok());
    for shown in [None, Some(&[8; 32])] {
        assert_eq!(idp.tokens.verify(&token, shown).await.unwrap_err().status, 401);
    }
}

#[tokio::test]
async fn a_kid_may_be_missing_if_one_key_fits() {
    let idp = Idp::new();
    let claims = claims(&json!({}));
    let bare = json!({"kid": "(none)"});
    assert!(idp.judge(&idp.es256.token(&bare, &claims)).await.is_ok());
    let second = Signer::new("four", Algorithm::ES256);
    let tokens = verifier(json!({"keys": [idp.es256.jwk(), second.jwk()]}));
    assert_eq!(tokens.verify(&second.token(&bare, &claims), None).await.unwrap_err().status, 401);
    assert!(tokens.verify(&second.token(&json!({}), &claims), None).await.is_ok());
}

#[test]
fn keys_that_do_not_verify_are_left_out() {
    let good = Signer::new("one", Algorithm::ES256).jwk();
    let usable = |jwk: &Value| KeySet::parse(json!({"keys": [jwk]}).to_string().as_bytes()).is_ok();
    for more in [
        json!({}),
        json!({"use": "sig"}),
        json!({"alg": "ES256"}),
        json!({"key_ops": ["verify"]}),
        json!({"kid": "(none)"}),
        json!({"x5c": ["x"], "ext": true}),
    ] {
        assert!(usable(&with(&good, &more)), "{more}");
    }
    for more in [
        json!({"use": "enc"}),
        json!({"use": 1}),
        json!({"alg": "ES384"}),
        json!({"alg": "HS256"}),
        json!({"alg": 1}),
        json!({"key_ops": ["sign"]}),
        json!({"key_ops": "verify"}),
        json!({"d": "x"}),
        json!({"kty": "oct", "k": "eA"}),
        json!({"kty": "RSA"}),
        json!({"crv": "P-384"}),
        json!({"crv": "P-521"}),
        json!({"crv": "secp256k1"}),
        json!({"x": "AA"}),
        json!({"y": "(none)"}),
        json!({"x": "===="}),
        json!({"kid": 1}),
        json!({"kty": "RSA", "n": b64([255; 128]), "e": "AQAB"}),
        json!({"kty": "OKP", "crv": "Ed448"}),
        json!({"kty": "OKP", "crv": "X25519"}),
    ] {
        assert!(!usable(&with(&good, &more)), "{more}");
    }
    for text in [
        "[]",
        "{}",
        r#"{"keys": {}}"#,
        r#"{"keys": []}"#,
        r#"{"keys": [], "keys": []}"#,
        r#"{"keys": [1, "x", null]}"#,
    ] {
        assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
    }
    let many: Vec<&Value> = std::iter::repeat_n(&good, 257).collect();
    assert!(KeySet::parse(json!({"keys": many}).to_string().as_bytes()).is_err());
}

#[tokio::test]
async fn a_point_beside_the_curve_verifies_nothing() {
    let signer = Signer::new("one", Algorithm::ES256);
    for (x, y) in [([0; 32], [0; 32]), ([1; 32], [1; 32]), ([0xff; 32], [0xff; 32])] {
        let mut jwk: Map<String, Value> = signer.jwk().as_object().unwrap().clone();
        jwk.insert("x".to_owned(), b64(x).into());
        jwk.insert("y".to_owned(), b64(y).into());
        let token = signer.token(&json!({}), &claims(&json!({})));
        let error = verifier(json!({"keys": [jwk]})).verify(&token, None).await.unwrap_err();
        assert_eq!(error.status, 401);
    }
}
