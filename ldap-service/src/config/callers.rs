//! The settings `jwt`, `api_tokens` and `client_certificates`: programs that may call the service.

use std::path::PathBuf;

use jsonwebtoken::Algorithm;
use ldap_directory::dn::Dn;
use ldap_directory::nearest::nearest;
use serde::Deserialize;
use serde_json::{Map, Value};
use singer_common::plugin::settings::SettingsError;

use super::ListenTls;
use super::parts;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Logins for others: `POST /api/v1/auth/login` needs no scope; with this one a caller is not limited by its address.
    Login,
    /// Searches.
    Search,
    /// SCIM, reading.
    ScimRead,
    /// SCIM, writing.
    ScimWrite,
    /// LDIF export.
    LdifRead,
    /// LDIF import.
    LdifWrite,
    /// Operations of the plugin.
    Plugin,
    /// The health report and metrics.
    Health,
}

impl Scope {
    /// All scopes with their names.
    pub const ALL: &'static [(Scope, &'static str)] = &[
        (Scope::Login, "login"),
        (Scope::Search, "search"),
        (Scope::ScimRead, "scim.read"),
        (Scope::ScimWrite, "scim.write"),
        (Scope::LdifRead, "ldif.read"),
        (Scope::LdifWrite, "ldif.write"),
        (Scope::Plugin, "plugin"),
        (Scope::Health, "health"),
    ];

    /// Returns the name, as in settings and in the claim `scope` (RFC 8693).
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(scope, _)| *scope == self).map_or("", |(_, name)| name)
    }

    /// Returns the scope of a name.
    pub fn of_name(name: &str) -> Option<Scope> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(scope, _)| *scope)
    }

    pub(super) fn list(path: &str, names: &[String]) -> Result<Vec<Scope>, SettingsError> {
        let scope = |(n, name): (usize, &String)| {
            Self::of_name(name).ok_or_else(|| {
                let known = Self::ALL.iter().map(|(_, name)| *name);
                let expected = format!("one of {}", known.clone().collect::<Vec<_>>().join(", "));
                SettingsError::value(format!("{path}[{n}]"), format!("`{name}`"), expected)
                    .near(nearest(name, known))
            })
        };
        names.iter().enumerate().map(scope).collect()
    }
}

/// The setting `jwt`.
#[derive(Debug, Clone)]
pub struct JwtConfig {
    /// The claim `iss` that is required.
    pub issuer: String,
    /// A value of the claim `aud` that is required.
    pub audience: String,
    /// The algorithms that are accepted, all asymmetric. Default: RS256, ES256, EdDSA.
    pub algorithms: Vec<Algorithm>,
    /// The claim with the login name. Default: `preferred_username`.
    pub username_claim: String,
    /// How far clocks may differ, in seconds. Default: 60.
    pub leeway_seconds: u64,
    /// The keys; `None`: found by the issuer's discovery document.
    pub jwks_url: Option<String>,
    /// The authorities for the issuer's certificate, in place of the system's.
    pub ca_file: Option<PathBuf>,
}

#[derive(Deserialize)]
struct RawJwt {
    issuer: Option<String>,
    audience: Option<String>,
    algorithms: Option<Vec<String>>,
    username_claim: Option<String>,
    leeway_seconds: Option<u64>,
    jwks_url: Option<String>,
    ca_file: Option<PathBuf>,
}

/// The names of the algorithms that may be set: asymmetric ones.
const ALGORITHMS: &[(&str, Algorithm)] = &[
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

impl JwtConfig {
    pub(super) fn from_settings(values: &Map<String, Value>) -> Result<Option<Self>, SettingsError> {
        let known =
            ["issuer", "audience", "algorithms", "username_claim", "leeway_seconds", "jwks_url", "ca_file"];
        let Some(raw) = parts::object::<RawJwt>(values, "jwt", &known)? else { return Ok(None) };
        let needed = |name: &str, value: Option<String>, expected: &str| {
            value
                .filter(|text| !text.trim().is_empty())
                .ok_or_else(|| SettingsError::value(format!("jwt.{name}"), "not set", expected))
        };
        let issuer = needed("issuer", raw.issuer, "the URL of the identity provider")?;
        let audience =
            needed("audience", raw.audience, "the audience that its tokens for this service have")?;
        let url = |name: &str, text: &str| {
            let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            if host.is_some_and(|host| !host.is_empty()) {
                return Ok(());
            }
            let expected = "a URL, for example https://idp.example.com";
            Err(SettingsError::value(format!("jwt.{name}"), format!("`{text}`"), expected))
        };
        url("issuer", &issuer)?;
        if let Some(jwks_url) = &raw.jwks_url {
            url("jwks_url", jwks_url)?;
        }
        let names = raw.algorithms.unwrap_or_else(|| ["RS256", "ES256", "EdDSA"].map(str::to_owned).into());
        let algorithm = |(n, name): (usize, &String)| {
            let found = ALGORITHMS.iter().find(|(known, _)| known == name);
            found.map(|(_, algorithm)| *algorithm).ok_or_else(|| {
                let known = ALGORITHMS.iter().map(|(name, _)| *name);
                let expected = format!("one of {}", known.clone().collect::<Vec<_>>().join(", "));
                SettingsError::value(format!("jwt.algorithms[{n}]"), format!("`{name}`"), expected)
                    .near(nearest(name, known))
            })
        };
        let algorithms = names.iter().enumerate().map(algorithm).collect::<Result<Vec<_>, _>>()?;
        if algorithms.is_empty() {
            return Err(SettingsError::value("jwt.algorithms", "an empty list", "at least one algorithm"));
        }
        Ok(Some(Self {
            issuer,
            audience,
            algorithms,
            username_claim: raw.username_claim.unwrap_or_else(|| "preferred_username".to_owned()),
            leeway_seconds: raw.leeway_seconds.unwrap_or(60),
            jwks_url: raw.jwks_url,
            ca_file: raw.ca_file,
        }))
    }
}

/// An element of `api_tokens`: a program that calls with a bearer token.
#[derive(Debug, Clone)]
pub struct ApiToken {
    /// The name of the program, for the log.
    pub name: String,
    /// The SHA-256 of the token.
    pub sha256: [u8; 32],
    /// What it may do.
    pub scopes: Vec<Scope>,
}

/// An element of `client_certificates`: a program that calls with a client certificate.
#[derive(Debug, Clone)]
pub struct ClientCertificate {
    /// The name of the program, for the log.
    pub name: String,
    /// How its certificate is recognized.
    pub certificate: CertificateMatch,
    /// What it may do.
    pub scopes: Vec<Scope>,
}

/// How a client certificate is recognized.
#[derive(Debug, Clone)]
pub enum CertificateMatch {
    /// By its subject DN.
    Subject(String),
    /// By its fingerprint.
    Sha256([u8; 32]),
}

#[derive(Deserialize)]
struct RawCaller {
    name: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    sha256: Option<String>,
    sha256_file: Option<PathBuf>,
    subject: Option<String>,
}

/// Parses a SHA-256 in hex; colons are ignored.
fn sha256(setting: String, text: &str) -> Result<[u8; 32], SettingsError> {
    let digits: String = text.trim().chars().filter(|c| *c != ':').collect();
    let octet = |n: usize| u8::from_str_radix(digits.get(2 * n..2 * n + 2)?, 16).ok();
    let octets: Option<Vec<u8>> = (0..32).map(octet).collect();
    octets.filter(|_| digits.len() == 64 && digits.is_ascii()).and_then(|o| o.try_into().ok()).ok_or_else(
        || {
            // Not shown: it may be the token itself.
            SettingsError::value(setting, "not a SHA-256", "64 hex digits, as `sha256sum` prints them")
        },
    )
}

impl RawCaller {
    fn name(&self, path: &str) -> Result<String, SettingsError> {
        self.name
            .clone()
            .filter(|name| !name.trim().is_empty())
            .ok_or_else(|| SettingsError::value(format!("{path}.name"), "not set", "a name for the log"))
    }

    fn scopes(&self, path: &str) -> Result<Vec<Scope>, SettingsError> {
        if self.scopes.is_empty() {
            let expected = "a list of what it may do, for example [\"scim.read\"]";
            return Err(SettingsError::value(format!("{path}.scopes"), "not set", expected));
        }
        Scope::list(&format!("{path}.scopes"), &self.scopes)
    }
}

impl ApiToken {
    pub(super) fn from_settings(values: &Map<String, Value>) -> Result<Vec<Self>, SettingsError> {
        let known = ["name", "scopes", "sha256", "sha256_file"];
        let mut tokens: Vec<ApiToken> = Vec::new();
        for (path, raw) in parts::objects::<RawCaller>(values, "api_tokens", &known)? {
            let sha256 = match (&raw.sha256, &raw.sha256_file) {
                (Some(text), None) => sha256(format!("{path}.sha256"), text)?,
                (None, Some(file)) => {
                    let setting = format!("{path}.sha256_file");
                    let text = singer_common::operations::file::read_text(file).map_err(|e| {
                        let problem = format!("{}: {e}", file.display());
                        SettingsError::value(setting.clone(), problem, "a file with the SHA-256 of the token")
                    })?;
                    // `sha256sum` prints the name of the file behind it.
                    sha256(setting, text.split_whitespace().next().unwrap_or_default())?
                }
                _ => {
                    let expected = "sha256_file or sha256, one of them";
                    return Err(SettingsError::value(path, "not a token", expected));
                }
            };
            let (name, scopes) = (raw.name(&path)?, raw.scopes(&path)?);
            if tokens.iter().any(|token| token.sha256 == sha256) {
                return Err(SettingsError::value(
                    path,
                    "the token of another one, too",
                    "a token of its own",
                ));
            }
            tokens.push(Self { name, sha256, scopes });
        }
        Ok(tokens)
    }
}

impl ClientCertificate {
    pub(super) fn from_settings(
        values: &Map<String, Value>,
        tls: Option<&ListenTls>,
    ) -> Result<Vec<Self>, SettingsError> {
        let known = ["name", "scopes", "subject", "sha256"];
        let raw = parts::objects::<RawCaller>(values, "client_certificates", &known)?;
        if !raw.is_empty() && tls.is_none_or(|tls| tls.client_ca_file.is_none()) {
            let problem = "not set, though client_certificates are";
            return Err(SettingsError::value("listen_client_ca_file", problem, "the path of a PEM file"));
        }
        let checked = |(path, raw): (String, RawCaller)| {
            let certificate = match (&raw.subject, &raw.sha256) {
                (Some(subject), None) => {
                    Dn::parse(subject).map_err(|e| {
                        let expected = "a DN, for example CN=hr,O=Example";
                        SettingsError::value(format!("{path}.subject"), e.to_string(), expected)
                    })?;
                    CertificateMatch::Subject(subject.clone())
                }
                (None, Some(text)) => CertificateMatch::Sha256(sha256(format!("{path}.sha256"), text)?),
                _ => {
                    let expected = "subject or sha256, one of them";
                    return Err(SettingsError::value(path, "not a certificate", expected));
                }
            };
            Ok(Self { name: raw.name(&path)?, certificate, scopes: raw.scopes(&path)? })
        };
        raw.into_iter().map(checked).collect()
    }
}
