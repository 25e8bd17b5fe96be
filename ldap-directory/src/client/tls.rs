//! TLS: rustls with the ring provider, TLS 1.2 and 1.3. It is memory-safe, needs no system library, and distinguishes certificate errors.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use sha2::Digest as _;
use zeroize::Zeroizing;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::config::TlsConfig;
use crate::file;
use crate::protocol::ber::{Reader, SEQUENCE};

mod explain;

use explain::SELF_SIGNED;
pub(crate) use explain::explain;

/// Returns the TLS client, built at the first use: files are read once, not for each connection, when they may be half replaced. An
/// error is a sentence for the user.
pub(crate) fn client_config(config: &TlsConfig) -> Result<Arc<ClientConfig>, String> {
    config.built.0.get_or_init(|| build(config)).clone()
}

/// The client, or why there is none.
type BuiltClient = Result<Arc<ClientConfig>, String>;

/// Whether TLS failed because of the server's certificate.
pub(crate) fn is_certificate(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(_))
        || matches!(error, rustls::Error::General(text) if text == SELF_SIGNED)
}

/// The TLS client, once it is built. Clones share it; the methods of [`TlsConfig`] that change it leave it behind.
#[derive(Clone, Default)]
pub(crate) struct Built(Arc<OnceLock<BuiltClient>>);

impl std::fmt::Debug for Built {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.get().is_some() { "built" } else { "not built" })
    }
}

/// It follows from the configuration, so all are equal.
impl PartialEq for Built {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Built {}

/// A file in the TLS configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// [`TlsConfig::ca_file`].
    Authorities,
    /// The certificate of [`TlsConfig::identity`].
    Certificate,
    /// The key of [`TlsConfig::identity`].
    Key,
}

/// An invalid TLS file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct TlsFileError {
    /// The file.
    pub file: TlsFile,
    /// Why it is invalid, with its path.
    pub problem: String,
}

/// Reads the files of a configuration, before connecting to a server.
///
/// # Errors
/// Fails if a file does not exist or is not PEM, or if the key does not belong to the certificate.
pub fn check_files(config: &TlsConfig) -> Result<(), TlsFileError> {
    if let Some(path) = &config.ca_file {
        authorities(path)?;
    }
    if config.identity.is_some() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unverified = Arc::new(Unverified(provider.clone()));
        // ring supports these versions: this cannot fail.
        if let Ok(builder) =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
        {
            with_identity(builder.dangerous().with_custom_certificate_verifier(unverified), config)?;
        }
    }
    Ok(())
}

fn build(config: &TlsConfig) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = Arc::new(roots(config)?);
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let builder = if config.verify {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|e| format!("the trusted certificates cannot be used: {e}"))?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Verified(verifier)))
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
    };
    Ok(Arc::new(with_identity(builder, config).map_err(|e| e.to_string())?))
}

/// Returns the TLS client, with its own certificate if configured.
fn with_identity(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    config: &TlsConfig,
) -> Result<ClientConfig, TlsFileError> {
    let Some((cert, key)) = &config.identity else { return Ok(builder.with_no_client_auth()) };
    let chain = certificates(cert, TlsFile::Certificate)?;
    let of_key = |problem: String| TlsFileError {
        file: TlsFile::Key,
        problem: format!("{}: {problem}", key.display()),
    };
    let octets = Zeroizing::new(file::read(key).map_err(|e| of_key(e.to_string()))?);
    let key = PrivateKeyDer::from_pem_slice(&octets)
        .map_err(|e| of_key(pem(&e, "private key without a password")))?;
    builder.with_client_auth_cert(chain, key).map_err(|e| {
        let problem = match e {
            rustls::Error::InconsistentKeys(_) => {
                format!("{}: the key is another certificate's", cert.display())
            }
            e => format!("{}: {e}", cert.display()),
        };
        TlsFileError { file: TlsFile::Certificate, problem }
    })
}

/// Returns why a PEM file (RFC 7468) is invalid.
fn pem(error: &pem::Error, kind: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("no {kind} in PEM form (-----BEGIN …-----)"),
        pem::Error::MissingSectionEnd { .. } => {
            "it is cut off: a -----BEGIN line has no -----END line".to_owned()
        }
        // The content of these lines is not shown.
        pem::Error::IllegalSectionStart { .. } => "a -----BEGIN line that is none".to_owned(),
        pem::Error::Base64Decode(_) => "it holds what is no base64".to_owned(),
        other => other.to_string(),
    }
}

fn certificates(path: &Path, kind: TlsFile) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
    let error =
        |problem: String| TlsFileError { file: kind, problem: format!("{}: {problem}", path.display()) };
    let octets = file::read(path).map_err(|e| error(e.to_string()))?;
    let found = CertificateDer::pem_slice_iter(&octets).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(error(pem(&pem::Error::NoItemsFound, "certificate"))),
        Ok(found) => Ok(found),
        Err(e) => Err(error(pem(&e, "certificate"))),
    }
}

/// Returns the certificate authorities of `ca_file`.
fn authorities(path: &Path) -> Result<RootCertStore, TlsFileError> {
    let mut roots = RootCertStore::empty();
    for (certificate, number) in certificates(path, TlsFile::Authorities)?.into_iter().zip(1..) {
        roots.add(certificate).map_err(|e| TlsFileError {
            file: TlsFile::Authorities,
            problem: format!("{}: certificate {number}: {}", path.display(), explain::certificate(&e)),
        })?;
    }
    Ok(roots)
}

fn roots(config: &TlsConfig) -> Result<RootCertStore, String> {
    if let Some(path) = &config.ca_file {
        return authorities(path).map_err(|e| e.to_string());
    }
    let mut roots = RootCertStore::empty();
    if !config.verify {
        return Ok(roots);
    }
    let found = rustls_native_certs::load_native_certs();
    let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    let (_, ignored) = roots.add_parsable_certificates(found.certs);
    let first = errors.first().map(String::as_str).unwrap_or_default();
    if roots.is_empty() {
        let why = if first.is_empty() { String::new() } else { format!(" that can be read ({first})") };
        return Err(format!(
            "this system has no trusted certificates{why}; name a file of authorities to trust"
        ));
    }
    if !errors.is_empty() || ignored > 0 {
        let what = if errors.is_empty() { String::new() } else { format!(": {}", errors.join("; ")) };
        tracing::warn!(
            errors = errors.len(),
            ignored,
            "some of this system's trusted certificates cannot be used{what}; a server that one of them vouches for is not trusted. A file of authorities to trust takes their place"
        );
    }
    Ok(roots)
}

/// Returns the channel binding `tls-server-end-point` (RFC 5929 section 4.1): a hash of the server's certificate, by the hash function of
/// its signature; SHA-256 for older or unknown ones.
pub(crate) fn end_point(certificate: &CertificateDer<'_>) -> Vec<u8> {
    let algorithm = signature_algorithm(certificate);
    let mut binding = b"tls-server-end-point:".to_vec();
    match algorithm {
        // sha384WithRSAEncryption, ecdsa-with-SHA384 (RFC 4055 section 5, RFC 5758 section 3.2).
        Some(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c" | b"\x2a\x86\x48\xce\x3d\x04\x03\x03") => {
            binding.extend_from_slice(&sha2::Sha384::digest(certificate));
        }
        // sha512WithRSAEncryption, ecdsa-with-SHA512.
        Some(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d" | b"\x2a\x86\x48\xce\x3d\x04\x03\x04") => {
            binding.extend_from_slice(&sha2::Sha512::digest(certificate));
        }
        _ => binding.extend_from_slice(&sha2::Sha256::digest(certificate)),
    }
    binding
}

/// Returns the OID of the signature algorithm of a certificate (RFC 5280 section 4.1).
fn signature_algorithm<'c>(certificate: &'c CertificateDer<'_>) -> Option<&'c [u8]> {
    const OID: u8 = 6;
    let mut parts = Reader::new(certificate).constructed(SEQUENCE)?;
    parts.constructed(SEQUENCE)?;
    parts.constructed(SEQUENCE)?.take(OID)
}

/// Returns whether a certificate names itself as its issuer (RFC 5280 section 4.1: version, serialNumber, signature, issuer, validity,
/// subject).
fn is_self_issued(certificate: &CertificateDer<'_>) -> Option<bool> {
    const VERSION: u8 = 0xa0;
    let mut parts = Reader::new(certificate).constructed(SEQUENCE)?.constructed(SEQUENCE)?;
    parts.constructed(VERSION);
    parts.element()?;
    parts.element()?;
    let (_, issuer) = parts.element()?;
    parts.element()?;
    let (_, subject) = parts.element()?;
    Some(issuer == subject)
}

/// Verifies as WebPKI does, and detects self-signed certificates.
#[derive(Debug)]
struct Verified(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.0.verify_server_cert(certificate, intermediates, name, ocsp, now);
        verified.map_err(|error| match error {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)
                if is_self_issued(certificate) == Some(true) =>
            {
                rustls::Error::General(SELF_SIGNED.to_owned())
            }
            error => error,
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// `verify: false`: accepts any certificate, but still checks the signatures of the handshake.
#[derive(Debug)]
struct Unverified(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        assert!(client_config(&TlsConfig::default().ca_file(Some(path.clone()))).is_err());
        std::fs::write(&path, AUTHORITY).unwrap();
        let config = TlsConfig::default().ca_file(Some(path.clone()));
        let first = client_config(&config).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(Arc::ptr_eq(&first, &client_config(&config.clone()).unwrap()), "clones share it");
        let unverified = config.clone().verify(false);
        assert!(
            !Arc::ptr_eq(&first, &client_config(&unverified.ca_file(None)).unwrap()),
            "a changed clone has its own"
        );
        assert!(
            client_config(&TlsConfig::default().ca_file(Some(path))).is_err(),
            "another configuration is built by itself"
        );
    }

    /// An authority made for this test.
    const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIBgDCCASWgAwIBAgIUaxWRxY/10nI7tLzIz1BEgqpij2gwCgYIKoZIzj0EAwIw\n\
        FDESMBAGA1UEAwwJQXV0aG9yaXR5MCAXDTI2MTEyOTAzMDUyMFoYDzIxMjYxMTA1\n\
        MDMwNTIwWjAUMRIwEAYDVQQDDAlBdXRob3JpdHkwWTATBgcqhkjOPQIBBggqhkjO\n\
        PQMBBwNCAAREqrCBaekBZDfFPBVfY46PI/Rv+TDp3CVnEY9pMtbhwED5SjredqQe\n\
        OxU7XcMBuNoR3tMWwHReMajlqcGmzOkZo1MwUTAdBgNVHQ4EFgQU1cwPfy9NYeu+\n\
        /BUHBAMZ1Q1noQQwHwYDVR0jBBgwFoAU1cwPfy9NYeu+/BUHBAMZ1Q1noQQwDwYD\n\
        VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAj+aO4lGxFQCOG+ylyPtC\n\
        Y6HlkklxTpAo+ZVJ3d91riACIQClz+K4+/cJimxCI2ZthKr6ngpYwK5KAti4ZVBi\n\
        rM8XCQ==\n\
        -----END CERTIFICATE-----\n";
}
