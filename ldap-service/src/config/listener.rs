//! The listener: address, TLS, proxies.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde_json::{Map, Value};
use singer_common::plugin::settings::SettingsError;

/// TLS of the service: the paths of PEM files. They are read at the start and at each reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenTls {
    /// The certificate (chain).
    pub cert_file: PathBuf,
    /// The key.
    pub key_file: PathBuf,
    /// The authorities of client certificates, if they are asked for.
    pub client_ca_file: Option<PathBuf>,
}

impl ListenTls {
    pub(super) fn from_settings(values: &Map<String, Value>) -> Result<Option<Self>, SettingsError> {
        let path = |name: &str| {
            values.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(PathBuf::from)
        };
        let missing = |name: &str, because: &str| {
            SettingsError::value(name, format!("not set, though {because} is"), "the path of a PEM file")
        };
        match (path("listen_cert_file"), path("listen_key_file"), path("listen_client_ca_file")) {
            (Some(cert_file), Some(key_file), client_ca_file) => {
                Ok(Some(Self { cert_file, key_file, client_ca_file }))
            }
            (Some(_), None, _) => Err(missing("listen_key_file", "listen_cert_file")),
            (None, Some(_), _) => Err(missing("listen_cert_file", "listen_key_file")),
            (None, None, Some(_)) => Err(missing("listen_cert_file", "listen_client_ca_file")),
            (None, None, None) => Ok(None),
        }
    }
}

/// Returns the setting `listen`.
pub(super) fn address(values: &Map<String, Value>) -> Result<SocketAddr, SettingsError> {
    let text = values.get("listen").and_then(Value::as_str).unwrap_or_default();
    text.parse().map_err(|_| {
        let expected = "an address and a port, for example 127.0.0.1:8389 or [::]:8389";
        SettingsError::value("listen", format!("`{text}`"), expected)
    })
}

/// Returns the setting `trusted_proxies`.
pub(super) fn proxies(values: &Map<String, Value>) -> Result<Vec<IpNet>, SettingsError> {
    let list = values.get("trusted_proxies").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let network = |(n, value): (usize, &Value)| {
        let text = value.as_str().unwrap_or_default();
        let alone = || text.parse::<IpAddr>().map(IpNet::from);
        text.parse::<IpNet>().or_else(|_| alone()).map_err(|_| {
            let expected = "an address or a network, for example 127.0.0.1/32";
            SettingsError::value(format!("trusted_proxies[{n}]"), format!("`{text}`"), expected)
        })
    };
    list.iter().enumerate().map(network).collect()
}

/// Returns the setting `public_url`, without a slash at its end.
pub(super) fn public_url(values: &Map<String, Value>) -> Result<Option<String>, SettingsError> {
    let Some(text) = values.get("public_url").and_then(Value::as_str).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let is_plain = |url: &http::Uri| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && url.query().is_none()
            && !text.contains(['#', '"', '<', '>', '\\'])
    };
    if text.parse::<http::Uri>().is_ok_and(|url| is_plain(&url)) {
        return Ok(Some(text.trim_end_matches('/').to_owned()));
    }
    let expected = "the URL at which clients reach the service, for example https://ldap.example.com";
    Err(SettingsError::value("public_url", format!("`{text}` is not such a URL"), expected))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_public_url_has_no_query_and_no_user() {
        let of = |text: &str| {
            let values = json!({"public_url": text});
            public_url(values.as_object().unwrap()).ok().flatten()
        };
        assert_eq!(of("https://ldap.example.com/").as_deref(), Some("https://ldap.example.com"));
        assert_eq!(of("http://[::1]:8389/ldap").as_deref(), Some("http://[::1]:8389/ldap"));
        assert_eq!(of(""), None);
        for bad in
            ["ldap.example.com", "ftp://x", "https://a@x", "https://x/?a=1", "https://x/#a", "//x", "/x"]
        {
            let values = json!({"public_url": bad});
            assert!(public_url(values.as_object().unwrap()).is_err(), "{bad}");
        }
    }
}
