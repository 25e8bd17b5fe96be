//! The settings `jwt`, `api_tokens` and `client_certificates`: programs that may call the service.

use std::net::IpAddr;
use std::path::PathBuf;

use http::Uri;
use ldap_directory::dn::{Dn, DnKey, Rdn};
use ldap_directory::nearest::nearest;
use ldap_directory::schema::Schema;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use singer_common::plugin::settings::SettingsError;

use super::parts;
use super::{Algorithm, ListenTls};

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

/// Parses a URL of an identity provider: https, or http to this machine.
///
/// # Errors
/// Says what is wrong with it.
pub(crate) fn provider_url(text: &str) -> Result<Uri, &'static str> {
    let url: Uri = text.parse().map_err(|_| "not a URL")?;
    let is_https = match url.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err("not a URL that begins with https://"),
    };
    if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("a user or password in the URL would be shown");
    }
    if text.contains('#') {
        return Err("a fragment (#) has no meaning here");
    }
    if !is_https && !is_loopback(&url) {
        return Err("without TLS, anybody on the way could replace the keys: https, except to this machine");
    }
    Ok(url)
}

/// Whether the host of a URL is this machine.
pub(crate) fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
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
    /// The attribute whose value the claim is. `None`: see [`Self::attribute_of_name`].
    pub username_attribute: Option<String>,
    /// A claim that only tokens of programs have, with the client id. `None`: such tokens are known by the forms of providers.
    pub client_claim: Option<String>,
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
    username_attribute: Option<String>,
    client_claim: Option<String>,
    leeway_seconds: Option<u64>,
    jwks_url: Option<String>,
    ca_file: Option<PathBuf>,
}

impl JwtConfig {
    /// The claim with a mail address (OpenID Connect Core 1.0 section 5.1), which its user may have typed.
    pub const EMAIL: &str = "email";

    /// Returns the attribute of a user that has the value of `username_claim`: that of the setting, else `mail` for the claim `email`, if
    /// users log in with it, else the first of `login_attributes`. A provider may let its users choose a name, which must not be taken
    /// for another kind of name that another user has.
    pub fn attribute_of_name<'a>(&'a self, login_attributes: &'a [String]) -> &'a str {
        let of_claim = || {
            let is_mail =
                |name: &&String| ["mail", "rfc822Mailbox"].iter().any(|m| name.eq_ignore_ascii_case(m));
            login_attributes.iter().find(is_mail).filter(|_| self.username_claim == Self::EMAIL)
        };
        let first = || login_attributes.first().map(String::as_str).unwrap_or_default();
        self.username_attribute.as_deref().or_else(|| of_claim().map(String::as_str)).unwrap_or_else(first)
    }

    pub(super) fn from_settings(values: &Map<String, Value>) -> Result<Option<Self>, SettingsError> {
        let known = [
            "issuer",
            "audience",
            "algorithms",
            "username_claim",
            "username_attribute",
            "client_claim",
            "leeway_seconds",
            "jwks_url",
            "ca_file",
        ];
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
            let wrong = |problem: &str| {
                let expected = "a URL, for example https://idp.example.com";
                SettingsError::value(format!("jwt.{name}"), format!("`{text}`: {problem}"), expected)
            };
            provider_url(text).map(drop).map_err(wrong)
        };
        url("issuer", &issuer)?;
        if let Some(jwks_url) = &raw.jwks_url {
            url("jwks_url", jwks_url)?;
        }
        let names = raw.algorithms.unwrap_or_else(|| ["RS256", "ES256", "EdDSA"].map(str::to_owned).into());
        let algorithm = |(n, name): (usize, &String)| {
            Algorithm::of_name(name).ok_or_else(|| {
                let known = Algorithm::ALL.iter().map(|(_, name)| *name);
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
            username_attribute: raw.username_attribute.filter(|attribute| !attribute.trim().is_empty()),
            client_claim: raw.client_claim.filter(|claim| !claim.trim().is_empty()),
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CertificateMatch {
    /// By its subject, in the form in which DNs compare.
    Subject(DnKey),
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

/// Parses a SHA-256 in hex; colons are ignored, and what `sha256sum` and `openssl` print around it.
fn sha256(setting: String, text: &str) -> Result<[u8; 32], SettingsError> {
    // `sha256sum` prints the name of the file behind it, `openssl` a name and = before it.
    let bare = text.trim().rsplit('=').next().and_then(|rest| rest.split_whitespace().next());
    let digits: String = bare.unwrap_or_default().chars().filter(|c| *c != ':').collect();
    let octet = |n: usize| u8::from_str_radix(digits.get(2 * n..2 * n + 2)?, 16).ok();
    let octets: Option<Vec<u8>> = (0..32).map(octet).collect();
    let is_hex = digits.len() == 64 && digits.bytes().all(|c| c.is_ascii_hexdigit());
    octets.filter(|_| is_hex).and_then(|octets| octets.try_into().ok()).ok_or_else(|| {
        // Not shown: it may be the token itself.
        let problem = if digits.is_empty() { "empty" } else { "not a SHA-256" };
        let expected =
            "64 hex digits, as `printf %s TOKEN | sha256sum` prints them for a token; not the token itself";
        SettingsError::value(setting, problem, expected)
    })
}

/// Returns the SHA-256 of a token. That of no token at all is an error.
fn token_sha256(setting: &str, text: &str) -> Result<[u8; 32], SettingsError> {
    let hash = sha256(setting.to_owned(), text)?;
    let is_of_nothing = ["", "\n", "\r\n"].iter().any(|nothing| *Sha256::digest(nothing) == hash);
    if is_of_nothing {
        let problem = "the SHA-256 of an empty token: the variable or file was empty when it was made";
        let expected =
            "the SHA-256 of a token of at least 32 random octets, as `openssl rand -hex 32` makes one";
        return Err(SettingsError::value(setting, problem, expected));
    }
    Ok(hash)
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
            let (name, scopes) = (raw.name(&path)?, raw.scopes(&path)?);
            let sha256 = match (&raw.sha256, &raw.sha256_file) {
                (Some(text), None) => token_sha256(&format!("{path}.sha256"), text)?,
                (None, Some(file)) => {
                    let setting = format!("{path}.sha256_file");
                    let wrong = |problem: &str, expected: &str| {
                        SettingsError::value(
                            setting.clone(),
                            format!("{}: {problem}", file.display()),
                            expected,
                        )
                    };
                    let text = singer_common::operations::file::read_text(file)
                        .map_err(|e| wrong(&e.to_string(), "a file with the SHA-256 of the token"))?;
                    token_sha256(&setting, &text).map_err(|e| match e {
                        SettingsError::Value { problem, expected, .. } => wrong(&problem, &expected),
                        other @ SettingsError::File { .. } => other,
                    })?
                }
                _ => {
                    let expected = "sha256_file (a file with the SHA-256 of the token) or sha256 (the SHA-256 itself), one of them";
                    return Err(SettingsError::value(path, "not a token", expected));
                }
            };
            if let Some(same) = tokens.iter().find(|token| token.sha256 == sha256) {
                let problem = format!("the same token as `{}` has", same.name);
                return Err(SettingsError::value(path, problem, "a token of its own"));
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
        let mut all: Vec<Self> = Vec::new();
        for (path, raw) in raw {
            let (name, scopes) = (raw.name(&path)?, raw.scopes(&path)?);
            let certificate = match (raw.subject, &raw.sha256) {
                (Some(subject), None) => {
                    let setting = format!("{path}.subject");
                    let subject = parts::dn(setting.clone(), Some(without_label(&subject).to_owned()))?;
                    check_subject(&subject, &setting)?;
                    CertificateMatch::Subject(key(&subject, &setting)?)
                }
                (None, Some(text)) => CertificateMatch::Sha256(sha256(format!("{path}.sha256"), text)?),
                _ => {
                    let expected = "subject (its subject DN) or sha256 (its fingerprint), one of them";
                    return Err(SettingsError::value(path, "not a certificate", expected));
                }
            };
            if let Some(same) = all.iter().find(|other| other.certificate == certificate) {
                let problem = format!("the same certificate as `{}` has", same.name);
                return Err(SettingsError::value(path, problem, "a certificate of its own"));
            }
            all.push(Self { name, certificate, scopes });
        }
        Ok(all)
    }
}

/// Returns a subject without the name that `openssl x509 -subject` prints before it.
fn without_label(subject: &str) -> &str {
    const LABEL: &str = "subject=";
    let subject = subject.trim();
    let rest = subject.split_at_checked(LABEL.len()).filter(|(label, _)| label.eq_ignore_ascii_case(LABEL));
    rest.map_or(subject, |(_, rest)| rest.trim_start())
}

/// Checks that a certificate can have a subject: with another one, the program is refused for ever.
///
/// # Errors
/// It names an attribute type that no subject has here, or has openssl's own order.
fn check_subject(subject: &str, setting: &str) -> Result<(), SettingsError> {
    let form =
        "a DN as `openssl x509 -noout -subject -nameopt RFC2253` prints it, for example CN=hr,O=Example";
    let dn = Dn::parse(subject).unwrap_or_default();
    let is_oid = |name: &str| name.contains('.');
    let is_known = |name: &str| is_oid(name) || Schema::standard().attribute_type(name).is_some();
    let mut types = dn.rdns.iter().flat_map(|rdn| &rdn.avas).map(|ava| ava.attribute.as_str());
    if let Some(unknown) = types.find(|name| !is_known(name)) {
        let problem = format!(
            "`{}` is not an attribute type of a subject, which is never matched",
            unknown.escape_debug()
        );
        return Err(SettingsError::value(setting, problem, form));
    }
    let is_cn = |rdn: Option<&Rdn>| {
        let mut avas = rdn.into_iter().flat_map(|rdn| &rdn.avas);
        avas.any(|ava| Schema::standard().same_description(&ava.attribute, "cn"))
    };
    if subject.contains(" = ") && is_cn(dn.rdns.last()) && !is_cn(dn.rdns.first()) {
        let problem = "it begins with the root, in the order of openssl, which is never matched";
        return Err(SettingsError::value(setting, problem, form));
    }
    Ok(())
}

/// Returns the form in which a subject compares.
fn key(subject: &str, setting: &str) -> Result<DnKey, SettingsError> {
    DnKey::parse(subject, Schema::standard())
        .map_err(|e| SettingsError::value(setting, e.to_string(), "a DN, for example CN=hr,O=Example"))
}
