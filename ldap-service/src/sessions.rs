//! Sessions of people in browsers: signed cookies, and the token against forged forms (CSRF).
//!
//! A cookie holds who logged in and until when, signed by HMAC-SHA256; the user is looked up again at each use. Only what was logged out
//! before its end is remembered (`ended`).

mod ended;
mod key;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chrono::Utc;
use cookie::{Cookie, SameSite};
use hmac::Mac as _;
use http::{HeaderMap, header};
use ldap_directory::text::printable_line;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use singer_common::plugin::settings::SettingsError;
use subtle::ConstantTimeEq as _;

use crate::config::LoginConfig;
use crate::error::ApiError;
use crate::login::User;

use ended::Ended;
use key::Key;

/// The name of the session cookie. Over TLS, it has the prefix by which browsers accept it from this host alone.
pub(crate) const SESSION: &str = "ldap_session";
/// The name of the cookie of forms.
const FORM: &str = "ldap_form";
const HOST_PREFIX: &str = "__Host-";

/// What sessions need.
#[derive(Debug, Clone)]
pub struct Sessions {
    key: Key,
    time: Duration,
    /// The numbers of sessions that were logged out.
    ended: Ended,
}

/// The content of a session cookie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The immutable id of the user's entry.
    #[serde(rename = "i")]
    pub id: String,
    /// Identifies the password that the session began with.
    #[serde(rename = "p")]
    password: String,
    /// The end, in seconds since 1970.
    #[serde(rename = "e")]
    end: i64,
    /// Its number.
    #[serde(rename = "n")]
    number: String,
    /// Identifies the host and the scheme that it is for. Sessions of earlier versions have none.
    #[serde(rename = "h", default, skip_serializing_if = "String::is_empty")]
    site: String,
    /// The mark of the file of ended sessions when it began.
    #[serde(rename = "s", default, skip_serializing_if = "String::is_empty")]
    since: String,
}

/// What a browser asks: sessions are for one host, over TLS or in clear text.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// The host, as it was asked for.
    pub host: Option<&'a str>,
    /// Whether the browser speaks TLS.
    pub is_secure: bool,
}

impl Site<'_> {
    /// Returns what identifies it. Ports do not count, as they do not for cookies (RFC 6265 section 8.5).
    fn mark(self) -> String {
        let host = self.host.unwrap_or_default().trim().to_ascii_lowercase();
        let end = if host.starts_with('[') { host.find(']').map(|at| at + 1) } else { host.find(':') };
        let host = host.get(..end.unwrap_or(host.len())).unwrap_or_default().trim_end_matches('.');
        let scheme = if self.is_secure { "https" } else { "http" };
        BASE64.encode(&Sha256::digest(format!("{scheme}://{host}"))[..9])
    }
}

impl Session {
    /// Whether it is for a site.
    fn is_for(&self, site: Site<'_>) -> bool {
        static TOLD: AtomicBool = AtomicBool::new(false);
        let is_it = self.site.is_empty() || self.site == site.mark();
        if !is_it && !TOLD.swap(true, Ordering::Relaxed) {
            let host = printable_line(site.host.unwrap_or_default());
            tracing::warn!(
                "a session of another host came with a request for `{host}`, and does not count there; if this was one host, the proxy must pass it on with each request, and the scheme (X-Forwarded-Host, X-Forwarded-Proto); further ones are not told"
            );
        }
        is_it
    }

    /// Whether a user still has the password that the session began with, as far as the directory shows it.
    pub fn is_of(&self, user: &User) -> bool {
        self.password == password_mark(user)
    }
}

/// Returns what changes with the password of a user; empty if the directory does not show it.
fn password_mark(user: &User) -> String {
    let time = user.password_time.as_deref().unwrap_or_default();
    if time.is_empty() { String::new() } else { BASE64.encode(&Sha256::digest(time)[..9]) }
}

/// Returns a random text.
fn random() -> Result<String, ApiError> {
    let mut octets = [0; 18];
    getrandom::fill(&mut octets).map_err(|e| {
        tracing::error!("no random numbers: {e}");
        ApiError::new(
            http::StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "internal error: no random numbers",
        )
    })?;
    Ok(BASE64.encode(octets))
}

impl Sessions {
    /// Reads the key, or makes a random one. An `earlier` generation's is kept if there is no file.
    ///
    /// # Errors
    /// The file cannot be read, or the key is too short.
    pub fn new(config: &LoginConfig, earlier: Option<&Sessions>) -> Result<Self, SettingsError> {
        let key = match (&config.session_key_file, earlier) {
            (Some(path), _) => Key::read(path)?,
            (None, Some(earlier)) => earlier.key.clone(),
            (None, None) => Key::random()?,
        };
        let time = config.session_time();
        let ended = Ended::new(config.session_key_file.as_deref(), earlier.map(|e| &e.ended))?;
        Ok(Self { key, time, ended })
    }

    /// Checks the files of a configuration, without making or changing one.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn check(config: &LoginConfig) -> Result<(), SettingsError> {
        let Some(path) = &config.session_key_file else { return Ok(()) };
        Key::read(path)?;
        Ended::check(path)
    }

    /// Returns a key for another purpose. It stays as long as that of the sessions does.
    pub fn derived_key(&self, purpose: &str) -> [u8; 32] {
        self.mac(purpose, "")
    }

    fn mac(&self, purpose: &str, text: &str) -> [u8; 32] {
        let mut mac = self.key.0.clone();
        for part in [purpose.as_bytes(), b"\0", text.as_bytes()] {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }

    /// Returns the cookie of a new session.
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn begin(&self, user: &User, site: Site<'_>) -> Result<Cookie<'static>, ApiError> {
        let seconds = i64::try_from(self.time.as_secs()).unwrap_or(i64::MAX);
        let session = Session {
            id: user.id.clone(),
            password: password_mark(user),
            end: Utc::now().timestamp().saturating_add(seconds),
            number: random()?,
            site: site.mark(),
            since: self.ended.since(),
        };
        let mut cookie = cookie(SESSION, self.seal(&session), site.is_secure);
        cookie.set_max_age(cookie::time::Duration::seconds(seconds));
        Ok(cookie)
    }

    fn seal(&self, session: &Session) -> String {
        let content = BASE64.encode(serde_json::to_vec(session).unwrap_or_default());
        let mac = BASE64.encode(self.mac(SESSION, &content));
        format!("{content}.{mac}")
    }

    /// Returns the session of a request; `None` without one that is signed by this key for this site, in time, and not logged out.
    pub fn of(&self, headers: &HeaderMap, site: Site<'_>) -> Option<Session> {
        let now = Utc::now().timestamp();
        // Another path, or a page of the same site, may have set a cookie of the same name.
        values(headers, SESSION, site.is_secure)
            .filter_map(|sealed| self.open(&sealed))
            .find(|session| session.end > now && session.is_for(site) && !self.ended.contains(session))
    }

    fn open(&self, sealed: &str) -> Option<Session> {
        let (content, mac) = sealed.split_once('.')?;
        let mac = BASE64.decode(mac).ok()?;
        if !bool::from(self.mac(SESSION, content).ct_eq(&mac)) {
            return None;
        }
        serde_json::from_slice(&BASE64.decode(content).ok()?).ok()
    }

    /// Ends a session.
    pub fn end(&self, session: &Session) {
        self.ended.add(session);
    }

    /// Returns the token of a form, and the cookie that belongs to it, if the browser does not have one yet.
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn form(
        &self,
        headers: &HeaderMap,
        is_secure: bool,
    ) -> Result<(String, Option<Cookie<'static>>), ApiError> {
        if let Some(value) = value(headers, FORM, is_secure).filter(|value| value.len() == 24) {
            return Ok((self.form_token(&value), None));
        }
        let value = random()?;
        Ok((self.form_token(&value), Some(cookie(FORM, value, is_secure))))
    }

    fn form_token(&self, value: &str) -> String {
        BASE64.encode(self.mac(FORM, value))
    }

    /// Whether a form was made for this browser: its token belongs to the cookie, which other sites can neither read nor send.
    pub fn is_own_form(&self, headers: &HeaderMap, is_secure: bool, token: &str) -> bool {
        let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
        if site.is_some_and(|site| site == "cross-site") {
            return false;
        }
        let Some(value) = value(headers, FORM, is_secure) else { return false };
        BASE64.decode(token).is_ok_and(|mac| bool::from(self.mac(FORM, &value).ct_eq(&mac)))
    }
}

/// Returns the cookie that removes the session's.
pub fn removal(is_secure: bool) -> Cookie<'static> {
    let mut cookie = cookie(SESSION, String::new(), is_secure);
    cookie.set_max_age(cookie::time::Duration::ZERO);
    cookie
}

fn name_of(name: &str, is_secure: bool) -> String {
    format!("{}{name}", if is_secure { HOST_PREFIX } else { "" })
}

fn cookie(name: &str, value: String, is_secure: bool) -> Cookie<'static> {
    Cookie::build((name_of(name, is_secure), value))
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(is_secure)
        .path("/")
        .build()
}

/// Returns the first value of a cookie.
fn value(headers: &HeaderMap, name: &str, is_secure: bool) -> Option<String> {
    values(headers, name, is_secure).next()
}

/// Returns the values of a cookie. Over TLS, only those that came over TLS count.
fn values(headers: &HeaderMap, name: &str, is_secure: bool) -> impl Iterator<Item = String> {
    let name = name_of(name, is_secure);
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(password_time: Option<&str>) -> User {
        User {
            id: "6ba7b810-9dad-11d1-80b4-00c04fd430c8".into(),
            username: "ada".into(),
            display_name: None,
            email: None,
            dn: "uid=ada,dc=x".into(),
            groups: Vec::new(),
            roles: Vec::new(),
            scopes: Vec::new(),
            password_time: password_time.map(str::to_owned),
        }
    }

    fn sessions(minutes: u64) -> Sessions {
        let config = LoginConfig { session_minutes: minutes, ..LoginConfig::default() };
        Sessions::new(&config, None).unwrap()
    }

    fn at(is_secure: bool) -> Site<'static> {
        Site { host: Some("app.example"), is_secure }
    }

    fn headers(cookie: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, format!("other=1; {cookie}").parse().unwrap());
        headers
    }

    fn pair(cookie: &Cookie<'_>) -> String {
        format!("{}={}", cookie.name(), cookie.value())
    }

    #[test]
    fn a_session_is_read_back_until_it_ends() {
        let sessions = sessions(480);
        for is_secure in [false, true] {
            let cookie = sessions.begin(&user(None), at(is_secure)).unwrap();
            assert_eq!(cookie.name().starts_with("__Host-"), is_secure);
            assert!(cookie.http_only() == Some(true) && cookie.same_site() == Some(SameSite::Lax));
            assert_eq!((cookie.secure(), cookie.path()), (Some(is_secure), Some("/")));
            let headers = headers(&pair(&cookie));
            let session = sessions.of(&headers, at(is_secure)).unwrap();
            assert_eq!(session.id, user(None).id);
            assert_eq!(
                sessions.of(&headers, at(!is_secure)),
                None,
                "a cookie of clear text is none over TLS"
            );
            sessions.end(&session);
            assert_eq!(sessions.of(&headers, at(is_secure)), None);
        }
        let over = super::tests::sessions(0);
        let cookie = over.begin(&user(None), at(false)).unwrap();
        assert_eq!(over.of(&headers(&pair(&cookie)), at(false)), None);
    }

    #[test]
    fn a_session_is_for_one_host_over_tls_or_in_clear_text() {
        let sessions = sessions(480);
        let cookie = sessions.begin(&user(None), at(true)).unwrap();
        let is_in = |host: Option<&str>, is_secure: bool| {
            let name = if is_secure { "__Host-ldap_session" } else { "ldap_session" };
            let headers = headers(&format!("{name}={}", cookie.value()));
            sessions.of(&headers, Site { host, is_secure }).is_some()
        };
        for host in ["app.example", "APP.example", "app.example:8443", "app.example."] {
            assert!(is_in(Some(host), true), "{host}");
        }
        for host in ["other.example", "app.example.com", "", "[::1]:443"] {
            assert!(!is_in(Some(host), true), "{host}");
        }
        assert!(!is_in(None, true) && !is_in(Some("app.example"), false));
        let six = |host| Site { host: Some(host), is_secure: true }.mark();
        assert!(six("[::1]:443") == six("[::1]") && six("[::1]") != six("[::2]"));
    }

    #[test]
    fn a_session_of_an_earlier_version_counts_until_it_ends() {
        let sessions = sessions(480);
        let session = sessions.open(sessions.begin(&user(None), at(false)).unwrap().value()).unwrap();
        let earlier = sessions.seal(&Session { site: String::new(), ..session });
        let content = BASE64.decode(earlier.split_once('.').unwrap().0).unwrap();
        assert!(!String::from_utf8(content).unwrap().contains("\"h\""));
        assert!(sessions.of(&headers(&format!("ldap_session={earlier}")), at(false)).is_some());
    }

    #[test]
    fn a_cookie_that_was_changed_or_has_another_key_is_none() {
        let sessions = sessions(480);
        let cookie = sessions.begin(&user(None), at(false)).unwrap();
        let (content, mac) = cookie.value().split_once('.').unwrap();
        let forged = Session { id: "another".into(), ..sessions.open(cookie.value()).unwrap() };
        let forged = BASE64.encode(serde_json::to_vec(&forged).unwrap());
        for value in [
            format!("{forged}.{mac}"),
            format!("{content}."),
            content.to_owned(),
            String::new(),
            format!("{content}.{}", BASE64.encode([0; 32])),
            super::tests::sessions(480).seal(&sessions.open(cookie.value()).unwrap()),
            // A token of a form has another purpose.
            format!("{content}.{}", sessions.form_token(content)),
        ] {
            assert_eq!(sessions.of(&headers(&format!("ldap_session={value}")), at(false)), None, "{value}");
        }
    }

    #[test]
    fn trap_18_a_session_ends_with_its_password() {
        let sessions = sessions(480);
        let cookie = sessions.begin(&user(Some("20260101000000Z")), at(false)).unwrap();
        let session = sessions.of(&headers(&pair(&cookie)), at(false)).unwrap();
        assert!(session.is_of(&user(Some("20260101000000Z"))));
        assert!(!session.is_of(&user(Some("20260201000000Z"))) && !session.is_of(&user(None)));
    }

    #[test]
    fn a_form_belongs_to_its_browser() {
        let sessions = sessions(480);
        let (token, cookie) = sessions.form(&HeaderMap::new(), false).unwrap();
        let own = headers(&pair(&cookie.unwrap()));
        assert!(sessions.is_own_form(&own, false, &token));
        // The cookie is kept for further forms.
        assert_eq!(sessions.form(&own, false).unwrap(), (token.clone(), None));
        let (_, other) = sessions.form(&HeaderMap::new(), false).unwrap();
        assert!(!sessions.is_own_form(&headers(&pair(&other.unwrap())), false, &token));
        assert!(!sessions.is_own_form(&HeaderMap::new(), false, &token));
        assert!(!sessions.is_own_form(&own, false, "") && !sessions.is_own_form(&own, true, &token));
        let mut cross = own.clone();
        cross.insert("sec-fetch-site", "cross-site".parse().unwrap());
        assert!(!sessions.is_own_form(&cross, false, &token));
    }

    #[test]
    fn a_check_changes_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        std::fs::write(&key, "k".repeat(32)).unwrap();
        let config = LoginConfig { session_key_file: Some(key), ..LoginConfig::default() };
        let content = || {
            let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
            let mut files: Vec<_> = files
                .map(|f| (std::fs::read(&f).unwrap(), f.metadata().unwrap().modified().unwrap(), f))
                .collect();
            files.sort_unstable();
            files
        };
        let ended = folder.path().join("key.ended");
        let over =
            "ldap-service ended sessions 1\n# the last line has the number of sessions\n7 over\n# end: 1\n";
        for text in [None, Some(over), Some("ldap-service ended sessions 1\n7 over\n"), Some("")] {
            text.map_or(Ok(()), |text| std::fs::write(&ended, text)).unwrap();
            let before = content();
            assert_eq!(Sessions::check(&config).is_ok(), text != Some(""), "{text:?}");
            assert_eq!(content(), before, "{text:?}");
        }
    }

    #[test]
    fn keys_are_kept_or_read_and_never_short() {
        let first = sessions(480);
        let config = LoginConfig::default();
        let derived = |sessions: &Sessions| sessions.derived_key("cursors");
        assert_eq!(derived(&Sessions::new(&config, Some(&first)).unwrap()), derived(&first));
        assert_ne!(derived(&Sessions::new(&config, None).unwrap()), derived(&first));
        let file = tempfile::NamedTempFile::new().unwrap();
        let config = LoginConfig { session_key_file: Some(file.path().to_owned()), ..config };
        for (text, is_key) in
            [("", false), ("short", false), (&"k".repeat(31), false), (&"k".repeat(32), true)]
        {
            std::fs::write(file.path(), format!("{text}\n")).unwrap();
            assert_eq!(Sessions::new(&config, None).is_ok(), is_key, "{text}");
        }
        let (a, b) = (Sessions::new(&config, None).unwrap(), Sessions::new(&config, None).unwrap());
        let cookie = a.begin(&user(None), at(false)).unwrap();
        let headers = headers(&pair(&cookie));
        let session = b.of(&headers, at(false)).expect("a restart keeps sessions");
        b.end(&session);
        assert_eq!(a.of(&headers, at(false)), None, "another instance knows a logout");
        let ended = format!("{}.ended", file.path().display());
        let text = std::fs::read_to_string(&ended).unwrap();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert_eq!(Sessions::new(&config, None).unwrap().of(&headers, at(false)), None, "a restart knows it");
        // What is over is left out, and another version is not overwritten.
        std::fs::write(&ended, format!("{text}1 over\n")).unwrap();
        assert_eq!(Sessions::new(&config, None).unwrap().of(&headers, at(false)), None);
        assert_eq!(std::fs::read_to_string(&ended).unwrap(), text);
        std::fs::write(&ended, text.replace(" 1\n", " 2\n")).unwrap();
        assert!(Sessions::new(&config, None).is_err());
        std::fs::remove_file(&ended).unwrap();
        assert!(!format!("{a:?}").contains("kkk"));
    }
}
