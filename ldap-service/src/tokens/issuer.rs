//! The issuer: its discovery document (OpenID Connect Discovery 1.0 section 4) and its JWK Set, over HTTPS.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Uri, header};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use singer_common::plugin::settings::SettingsError;
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

use super::json;
use super::jwk::KeySet;
use crate::config::{JwtConfig, is_loopback, provider_url};

/// The longest time of a fetch, with both documents.
const LONGEST: Duration = Duration::from_secs(5);
/// The most octets of a document.
const MOST_OCTETS: u64 = 512 * 1024;
/// The most redirections, all within the same origin.
const MOST_REDIRECTIONS: usize = 3;
const WELL_KNOWN: &str = "/.well-known/openid-configuration";

/// Fetches the keys of an issuer.
#[derive(Debug)]
pub(super) struct Issuer {
    /// The claim `iss`, and the start of the URL of the discovery document.
    name: String,
    jwks_url: Option<String>,
    agent: ureq::Agent,
}

impl Issuer {
    /// Returns a client for an issuer. Nothing is fetched yet.
    ///
    /// # Errors
    /// `jwt.ca_file` cannot be used.
    pub(super) fn new(config: &JwtConfig) -> Result<Self, SettingsError> {
        let first = config.jwks_url.as_ref().unwrap_or(&config.issuer);
        let is_local = provider_url(first).is_ok_and(|url| is_loopback(&url));
        let roots = match &config.ca_file {
            Some(path) => authorities(path)?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        if roots.is_empty() && !is_local {
            tracing::warn!(
                "setting `jwt.ca_file`: this system has no trusted certificates, so that no issuer is trusted; name a file of authorities"
            );
        }
        let roots: Vec<_> =
            roots.iter().map(|root| Certificate::from_der(root.as_ref()).to_owned()).collect();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let mut agent = ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_idle_connections(0)
            .user_agent(concat!("ldap-service/", env!("CARGO_PKG_VERSION")))
            .accept("application/json");
        if is_local {
            agent = agent.proxy(None);
        }
        let agent = agent.build().new_agent();
        Ok(Self { name: config.issuer.clone(), jwks_url: config.jwks_url.clone(), agent })
    }

    /// Fetches the keys. Blocks for at most [`LONGEST`].
    ///
    /// # Errors
    /// Says what was fetched and what is wrong with it.
    pub(super) fn fetch(&self) -> Result<KeySet, String> {
        let deadline = Instant::now() + LONGEST;
        let jwks_url = match &self.jwks_url {
            Some(url) => url.clone(),
            None => self.discover(deadline)?,
        };
        let text = self.get(&jwks_url, deadline).map_err(|reason| format!("{jwks_url}: {reason}"))?;
        KeySet::parse(&text).map_err(|reason| format!("{jwks_url}: {reason}"))
    }

    /// Returns the URL of the keys from the issuer's discovery document.
    fn discover(&self, deadline: Instant) -> Result<String, String> {
        let url = format!("{}{WELL_KNOWN}", self.name.trim_end_matches('/'));
        let found = || -> Result<String, String> {
            let text = self.get(&url, deadline)?;
            let document = json::object(&text).ok_or("not a JSON object")?;
            let member = |name: &str| document.get(name).and_then(Value::as_str);
            let issuer = member("issuer").ok_or("no `issuer` in it")?;
            if issuer != self.name {
                // Quoted: it comes from outside.
                return Err(format!("its issuer is {issuer:?}, and the setting jwt.issuer is another text"));
            }
            let jwks_url = member("jwks_uri").ok_or("no `jwks_uri` in it")?;
            let checked =
                provider_url(jwks_url).map_err(|wrong| format!("jwks_uri {jwks_url:?}: {wrong}"))?;
            // Else an issuer could make the service ask other programs of this machine.
            if is_loopback(&checked) && !provider_url(&self.name).is_ok_and(|issuer| is_loopback(&issuer)) {
                return Err(format!("jwks_uri {jwks_url:?} is on this machine, and the issuer is not"));
            }
            Ok(jwks_url.to_owned())
        };
        found().map_err(|reason| format!("{url}: {reason}"))
    }

    /// Returns a document.
    fn get(&self, url: &str, deadline: Instant) -> Result<Vec<u8>, String> {
        let mut url = url.to_owned();
        for _ in 0..=MOST_REDIRECTIONS {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("no answer within {} s", LONGEST.as_secs()));
            }
            let request = self.agent.get(&url).config().timeout_global(Some(left)).build();
            let mut response = request.call().map_err(|e| e.to_string())?;
            let status = response.status();
            if status.is_redirection() {
                let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
                url = redirected(&url, location.ok_or("a redirection without Location")?)?;
                continue;
            }
            if status != http::StatusCode::OK {
                return Err(format!("the answer is {status}"));
            }
            let body = response.body_mut().with_config().limit(MOST_OCTETS).read_to_vec();
            return body.map_err(|e| e.to_string());
        }
        Err(format!("more than {MOST_REDIRECTIONS} redirections"))
    }
}

/// Returns the target of a redirection, which has to have the same scheme, host and port.
fn redirected(from: &str, location: &str) -> Result<String, String> {
    let refused = || format!("a redirection to another host is not followed: {location:?}");
    let base: Uri = from.parse().map_err(|_| refused())?;
    if location.starts_with('/') && !location.starts_with("//") {
        let (scheme, authority) = base.scheme_str().zip(base.authority()).ok_or_else(refused)?;
        return Ok(format!("{scheme}://{authority}{location}"));
    }
    let target: Uri = location.parse().map_err(|_| refused())?;
    let is_same = target.scheme() == base.scheme() && target.authority() == base.authority();
    if is_same { Ok(location.to_owned()) } else { Err(refused()) }
}

/// Reads the authorities of the setting `jwt.ca_file`.
fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let wrong = |reason: String| {
        let problem = format!("{}: {reason}", path.display());
        SettingsError::value(
            "jwt.ca_file",
            problem,
            "a PEM file with the authorities of the issuer's certificate",
        )
    };
    let pem = ldap_directory::file::read(path).map_err(|e| wrong(e.to_string()))?;
    let all = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|e| wrong(e.to_string()))?;
    if all.is_empty() { Err(wrong("no certificate in it".to_owned())) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;

    use crate::config::Algorithm;
    use serde_json::json;

    use super::super::testing::Signer;
    use super::*;

    const OK: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n";

    /// An issuer that gives each path its answer, as text with `{base}` for its own URL.
    fn issuer(answers: &[(&'static str, String)]) -> Issuer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let answers: Vec<_> =
            answers.iter().map(|(path, text)| (*path, text.replace("{base}", &base))).collect();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut first = String::new();
                reader.read_line(&mut first).unwrap();
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|octets| octets > 2) {
                    line.clear();
                }
                let path = first.split(' ').nth(1).unwrap_or_default();
                let answer = answers.iter().find(|(known, _)| *known == path);
                let missing = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned();
                let _ = stream.write_all(answer.map_or(missing, |(_, text)| text.clone()).as_bytes());
                if path == "/slow" {
                    // An octet at a time, for ever.
                    while stream.write_all(b" ").is_ok() {
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
            }
        });
        Issuer::new(&config(&base)).unwrap()
    }

    fn config(issuer: &str) -> JwtConfig {
        JwtConfig {
            issuer: issuer.to_owned(),
            audience: "a".to_owned(),
            algorithms: vec![Algorithm::ES256],
            username_claim: "sub".to_owned(),
            username_attribute: None,
            client_claim: None,
            leeway_seconds: 0,
            jwks_url: None,
            ca_file: None,
        }
    }

    fn body(text: &str) -> String {
        format!("{OK}\r\n{text}")
    }

    fn moved(to: &str) -> String {
        format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    }

    fn keys() -> String {
        body(&json!({"keys": [Signer::new("one", Algorithm::ES256).jwk()]}).to_string())
    }

    fn discovery(jwks_uri: &str) -> (&'static str, String) {
        (WELL_KNOWN, body(&json!({"issuer": "{base}", "jwks_uri": jwks_uri}).to_string()))
    }

    #[test]
    fn keys_are_found_by_the_discovery_document() {
        assert_eq!(issuer(&[discovery("{base}/keys"), ("/keys", keys())]).fetch().unwrap().len(), 1);
        // A redirection within the issuer.
        let answers = [
            discovery("{base}/old"),
            ("/old", moved("/older")),
            ("/older", moved("{base}/keys")),
            ("/keys", keys()),
        ];
        assert_eq!(issuer(&answers).fetch().unwrap().len(), 1);
    }

    #[test]
    fn an_issuer_is_believed_about_itself_alone() {
        let other = issuer(&[("/keys", keys())]).name;
        let document = |issuer: &str| {
            (WELL_KNOWN, body(&json!({"issuer": issuer, "jwks_uri": "{base}/keys"}).to_string()))
        };
        let with_keys = |answer: (&'static str, String)| vec![answer, ("/keys", keys())];
        for (name, answers) in [
            ("another issuer", with_keys(document("https://idp.example.com"))),
            ("a slash more", with_keys(document("{base}/"))),
            (
                "an issuer that is a list",
                with_keys((WELL_KNOWN, body(r#"{"issuer": ["{base}"], "jwks_uri": "{base}/keys"}"#))),
            ),
            (
                "two issuers",
                with_keys((
                    WELL_KNOWN,
                    body(r#"{"issuer": "x", "issuer": "{base}", "jwks_uri": "{base}/keys"}"#),
                )),
            ),
            ("no document", vec![("/keys", keys())]),
            ("not JSON", with_keys((WELL_KNOWN, body("<html>")))),
            ("jwks_uri without TLS", vec![discovery("http://idp.example.com/keys")]),
            ("jwks_uri to a file", vec![discovery("file:///etc/passwd")]),
            ("jwks_uri with a password", vec![discovery("https://a:b@idp.example.com/keys")]),
            ("jwks_uri that is no URL", vec![discovery("keys")]),
            (
                "redirected elsewhere",
                vec![discovery("{base}/old"), ("/old", moved(&format!("{other}/keys")))],
            ),
            (
                "redirected elsewhere, without scheme",
                vec![discovery("{base}/old"), ("/old", moved(other.strip_prefix("http:").unwrap()))],
            ),
            ("discovery redirected elsewhere", vec![(WELL_KNOWN, moved(&format!("{other}{WELL_KNOWN}")))]),
            ("redirected in a circle", vec![discovery("{base}/old"), ("/old", moved("/old"))]),
            (
                "a large answer",
                vec![discovery("{base}/keys"), ("/keys", format!("{}{}", keys(), " ".repeat(600 * 1024)))],
            ),
            ("an error", vec![discovery("{base}/keys"), ("/keys", keys().replace("200 OK", "500 Oh"))]),
            ("no keys", vec![discovery("{base}/keys"), ("/keys", body(r#"{"keys": []}"#))]),
        ] {
            let issuer = issuer(&answers);
            let reason = issuer.fetch().unwrap_err();
            // What the document says is refused before anything else is asked.
            let is_refused_early = reason.starts_with(&format!("{}{WELL_KNOWN}", issuer.name));
            let names_keys =
                ["/keys", "/old"].iter().any(|path| reason.starts_with(&format!("{}{path}", issuer.name)));
            assert!(is_refused_early != names_keys, "{name}: {reason}");
            assert!(is_refused_early || !name.starts_with("jwks_uri"), "{name}: {reason}");
        }
    }

    #[test]
    fn a_slow_issuer_is_given_up() {
        let began = Instant::now();
        let answers = [discovery("{base}/slow"), ("/slow", format!("{OK}\r\n{{"))];
        assert!(issuer(&answers).fetch().is_err());
        assert!(began.elapsed() < LONGEST + Duration::from_secs(2));
    }

    #[test]
    fn an_issuer_elsewhere_does_not_lead_to_this_machine() {
        for (text, is_local) in [
            ("http://localhost:8080", true),
            ("http://127.0.0.9", true),
            ("https://[::1]/x", true),
            ("https://idp.example.com", false),
            ("https://127.0.0.1.example.com", false),
            ("https://localhost.example.com", false),
        ] {
            assert_eq!(is_loopback(&provider_url(text).unwrap()), is_local, "{text}");
        }
        for text in [
            "http://idp.example.com",
            "http://127.0.0.1.example.com",
            "ftp://a",
            "https://",
            "https://u:p@a",
            "//a",
            "a",
            "",
            "https://a#b",
            "http://localhost@a",
            "http://[::1",
            "http://10.0.0.1",
        ] {
            assert!(provider_url(text).is_err(), "{text}");
        }
    }
}
