//! TLS of the listener, with client certificates if they are asked for.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwap;
use ldap_directory::dn::{DnKey, escape_value};
use ldap_directory::file;
use ldap_directory::schema::Schema;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use singer_common::plugin::settings::SettingsError;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::asn1_rs::{Tag, ToDer as _};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::config::ListenTls;
use crate::service::PeerCertificate;

/// Accepts TLS. Clones share the certificate, which a reload replaces.
#[derive(Clone)]
pub struct Acceptor(Arc<ArcSwap<ServerConfig>>);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

fn wrong(setting: &str, path: &Path, reason: impl std::fmt::Display) -> SettingsError {
    SettingsError::value(
        setting,
        format!("{}: {reason}", path.display()),
        "a PEM file that this user may read",
    )
}

fn certificates(setting: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let pem = file::read(path).map_err(|e| wrong(setting, path, e))?;
    let all = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|e| wrong(setting, path, e))?;
    if all.is_empty() { Err(wrong(setting, path, "no certificate in it")) } else { Ok(all) }
}

/// Reads the files of the settings.
fn server_config(tls: &ListenTls) -> Result<ServerConfig, SettingsError> {
    let chain = certificates("listen_cert_file", &tls.cert_file)?;
    let key = file::read(&tls.key_file).map_err(|e| wrong("listen_key_file", &tls.key_file, e))?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|e| wrong("listen_key_file", &tls.key_file, e))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong("listen_cert_file", &tls.cert_file, e))?;
    let builder = match &tls.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates("listen_client_ca_file", path)? {
                roots.add(certificate).map_err(|e| wrong("listen_client_ca_file", path, e))?;
            }
            // Without a certificate, a caller may still have a token.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|e| wrong("listen_client_ca_file", path, e))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|e| wrong("listen_cert_file", &tls.cert_file, format!("{e}; does the key belong to it?")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

impl Acceptor {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn new(tls: &ListenTls) -> Result<Self, SettingsError> {
        Ok(Self(Arc::new(ArcSwap::from_pointee(server_config(tls)?))))
    }

    /// Reads certificate and key again, for the connections from now on.
    ///
    /// # Errors
    /// A file cannot be used; the earlier certificate stays.
    pub fn reload(&self, tls: &ListenTls) -> Result<(), SettingsError> {
        self.0.store(Arc::new(server_config(tls)?));
        Ok(())
    }

    /// Returns the stream within TLS, and the client's certificate.
    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        limit: Duration,
    ) -> Result<(TlsStream<S>, Option<Arc<PeerCertificate>>), String> {
        let accepting = TlsAcceptor::from(self.0.load_full()).accept(stream);
        let stream = tokio::time::timeout(limit, accepting)
            .await
            .map_err(|_| "no handshake in time".to_owned())?
            .map_err(|e| e.to_string())?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certificate = shown.map(|der| peer_certificate(der)).transpose()?;
        Ok((stream, certificate.map(Arc::new)))
    }
}

/// Returns what the service needs of a certificate that the handshake has verified.
fn peer_certificate(der: &CertificateDer<'_>) -> Result<PeerCertificate, String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(der).map_err(|e| e.to_string())?;
    let subject = subject(parsed.subject()).ok_or("the subject of the certificate cannot be read")?;
    let subject_key = DnKey::parse(&subject, Schema::standard()).ok().filter(|key| !key.is_root());
    let seconds = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
    let not_after = UNIX_EPOCH + Duration::from_secs(seconds);
    Ok(PeerCertificate { subject, subject_key, sha256: Sha256::digest(der).into(), not_after })
}

/// Returns a subject as a DN: the last RDN of the certificate is the first of the DN (RFC 4514 section 2.1).
fn subject(name: &X509Name<'_>) -> Option<String> {
    let mut rdns = Vec::new();
    for rdn in name.iter_rdn() {
        let parts: Option<Vec<String>> = rdn.iter().map(ava).collect();
        rdns.push(parts?.join("+"));
    }
    rdns.reverse();
    Some(rdns.join(","))
}

/// Returns a type and value (RFC 4514 sections 2.3 and 2.4). The value of a type without a well-known name, and one without a certain
/// text, as TeletexString, is `#` and its encoding in hex.
fn ava(part: &AttributeTypeAndValue<'_>) -> Option<String> {
    let oid = part.attr_type().to_id_string();
    let known = Schema::standard().attribute_type(&oid).and_then(|known| known.names.first());
    let name = known.unwrap_or(&oid);
    let value = part.attr_value();
    let text = match value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            std::str::from_utf8(value.data).ok().map(str::to_owned)
        }
        Tag::BmpString if value.data.len() % 2 == 0 => {
            let units = value.data.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<String, _>>().ok()
        }
        _ => None,
    };
    let value = match text.filter(|_| known.is_some()) {
        Some(text) => escape_value(text.as_bytes()),
        None => {
            value.to_der_vec().ok()?.iter().fold("#".to_owned(), |hex, octet| format!("{hex}{octet:02x}"))
        }
    };
    Some(format!("{name}={value}"))
}
