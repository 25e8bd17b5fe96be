//! Errors of TLS in words: what is wrong with a certificate or a handshake, and what to do. rustls and webpki name most of their errors
//! for programmers only.

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, Error};

/// Describes a certificate that no trusted authority signed.
pub(super) const SELF_SIGNED: &str = "the server's certificate is not accepted: it is signed by itself; trust that certificate itself as an authority, or let the server have one of an authority that is trusted";

/// Describes a failed handshake.
pub(crate) fn explain(error: &Error) -> String {
    match error {
        Error::General(text) if text == SELF_SIGNED => text.clone(),
        Error::InvalidCertificate(_) => {
            format!("the server's certificate is not accepted: {}", certificate(error))
        }
        Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "TLS: the server does not accept the version; TLS 1.2 at least is needed".to_owned()
        }
        Error::AlertReceived(alert) => alert_received(*alert),
        Error::PeerIncompatible(why) => {
            format!(
                "TLS: the server is not compatible ({}); TLS 1.2 at least is needed",
                words(&format!("{why:?}"))
            )
        }
        Error::InvalidMessage(why) => format!(
            "TLS: the server's answer is not TLS ({}); does it speak TLS on this port?",
            words(&format!("{why:?}"))
        ),
        Error::PeerMisbehaved(why) => {
            format!("TLS: the server violates the protocol ({})", words(&format!("{why:?}")))
        }
        Error::NoCertificatesPresented => "TLS: the server has no certificate".to_owned(),
        error => format!("TLS: {error}"),
    }
}

/// Describes an alert of the server (RFC 8446 section 6.2).
fn alert_received(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "it accepts none of the ciphers of TLS 1.2 and 1.3 that are offered: have its administrator allow some"
        }
        AlertDescription::CertificateRequired => {
            "it requires a certificate of the client, and none is configured"
        }
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => {
            "it does not accept the certificate of the client: have its administrator trust the authority that signed it"
        }
        AlertDescription::UnrecognisedName => {
            "it has no certificate for the host name in the URL: use a name that it has"
        }
        _ => "its own log says why",
    };
    format!("TLS: the server ended the handshake ({}): {why}", words(&format!("{alert:?}")))
}

/// Returns why a certificate is not valid.
pub(super) fn certificate(error: &Error) -> String {
    let Error::InvalidCertificate(reason) = error else { return error.to_string() };
    match reason {
        CertificateError::Expired => "it has expired: have the server's administrator renew it",
        CertificateError::ExpiredContext { not_after, .. } => {
            return format!("it expired on {}: have the server's administrator renew it", day(*not_after));
        }
        CertificateError::NotValidYet => "it is not valid yet",
        CertificateError::NotValidYetContext { not_before, .. } => {
            return format!("it is not valid before {}: is the clock of this machine right?", day(*not_before));
        }
        CertificateError::UnknownIssuer => {
            "it is signed by an authority that is not trusted; trust that authority's certificate"
        }
        CertificateError::BadSignature => {
            "it is signed by an authority that is not trusted, though one of the same name is; trust that authority's certificate"
        }
        CertificateError::NotValidForName => {
            "it is for another host name; use the name in the certificate in the URL"
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            return other_name(expected, presented);
        }
        CertificateError::Revoked => "it has been revoked",
        CertificateError::BadEncoding => "it is not a well-formed X.509 certificate: have a new one made",
        CertificateError::UnhandledCriticalExtension => {
            "it has a critical extension that is not supported: have one made without"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not for TLS servers (extendedKeyUsage): have one made for serverAuth"
        }
        #[allow(deprecated, reason = "still returned by some verifiers")]
        CertificateError::UnsupportedSignatureAlgorithm
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "it is signed by an algorithm, or has a key, that is not supported, such as SHA-1: have it renewed with SHA-256 and a key of RSA (2048 bits or more) or P-256"
        }
        CertificateError::Other(other) => return of_webpki(&other.to_string()),
        other => return format!("it is not valid ({})", words(&format!("{other:?}"))),
    }
    .to_owned()
}

/// Describes an error that rustls passes on from webpki, by its name.
fn of_webpki(error: &str) -> String {
    let name: String = error.chars().take_while(char::is_ascii_alphanumeric).collect();
    match name.as_str() {
        "CaUsedAsEndEntity" => {
            "it is the certificate of an authority (basicConstraints CA:TRUE), and the server uses it as its own: have a certificate made for the server with CA:FALSE (openssl req -x509 -addext basicConstraints=critical,CA:FALSE), and trust that one or the authority that signed it"
        }
        "EndEntityUsedAsCa" => {
            "it is signed by a certificate that is not one of an authority (basicConstraints CA:FALSE): have it signed by an authority"
        }
        "UnsupportedCertVersion" => "it is an X.509 certificate of an old version: have one of version 3 made",
        "UnsupportedCriticalExtension" => {
            "it has a critical extension that is not supported: have one made without"
        }
        "NameConstraintViolation" => {
            "its authority may not sign certificates for this name (nameConstraints): have it signed by another one"
        }
        "PathLenConstraintViolated" | "MaximumPathDepthExceeded" => {
            "there are more authorities between it and the trusted one than that one allows (pathLenConstraint): have it signed by another one"
        }
        "RequiredEkuNotFound" | "RequiredEkuNotFoundContext" | "EmptyEkuExtension" => {
            "it is not for TLS servers (extendedKeyUsage): have one made for serverAuth"
        }
        _ => return format!("it is not valid ({}): have a new one made", words(&name)),
    }
    .to_owned()
}

/// Returns a programmer's name of an error as words: `NoCipherSuitesInCommon` is `no cipher suites in common`.
fn words(name: &str) -> String {
    let mut text = String::new();
    let mut was_lower = false;
    for c in name.chars() {
        if c.is_ascii_uppercase() && was_lower {
            text.push(' ');
        }
        was_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// Describes a certificate for other names than the requested one.
fn other_name(expected: &ServerName<'_>, presented: &[String]) -> String {
    // As rustls has them: `DnsName("a.example")`, `IpAddress(192.0.2.1)`.
    let name = |text: &String| -> String {
        let inner = text.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(text);
        inner.trim_matches('"').to_owned()
    };
    let names: Vec<String> = presented.iter().map(name).collect();
    let asked = expected.to_str();
    if names.is_empty() {
        return format!(
            "it names no host (subjectAltName), and the URL says {asked}: have the server's administrator renew it with the server's name"
        );
    }
    format!(
        "it is for {}, and the URL says {asked}: use a name in the certificate in the URL, or have the certificate renewed with this one",
        names.join(", ")
    )
}

/// Formats an instant as its day, in UTC.
fn day(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    chrono::DateTime::from_timestamp(seconds, 0)
        .map_or_else(|| format!("second {seconds}"), |at| at.format("%Y-%m-%d").to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn no_message_has_a_name_of_the_library() {
        let other = |name: &str| {
            let error: Arc<dyn std::error::Error + Send + Sync> =
                Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(name));
            Error::InvalidCertificate(CertificateError::Other(rustls::OtherError(error)))
        };
        let errors = [
            other("CaUsedAsEndEntity"),
            other("EndEntityUsedAsCa"),
            other("MaximumSignatureChecksExceeded"),
            other("TrailingData(Certificate)"),
            Error::InvalidCertificate(CertificateError::BadEncoding),
            Error::InvalidCertificate(CertificateError::UnknownRevocationStatus),
            Error::AlertReceived(AlertDescription::HandshakeFailure),
            Error::AlertReceived(AlertDescription::InternalError),
            Error::PeerIncompatible(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13),
            Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType),
        ];
        for error in errors {
            let text = explain(&error);
            let has_name = text.split(|c: char| !c.is_alphanumeric()).any(|word| {
                word.chars().filter(char::is_ascii_uppercase).count() > 1
                    && word.chars().any(|c| c.is_ascii_lowercase())
                    || word.starts_with("Other")
            });
            assert!(!has_name, "{error:?}: {text}");
        }
        assert!(explain(&other("CaUsedAsEndEntity")).contains("CA:FALSE"));
    }
}
