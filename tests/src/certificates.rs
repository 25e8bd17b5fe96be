//! A private CA, a server certificate for `localhost` and 127.0.0.1, and a client certificate, as PEM files.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType,
};

/// Where the files are.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The CA that signed both certificates.
    pub ca: PathBuf,
    /// The server's certificate.
    pub server_cert: PathBuf,
    /// The server's key.
    pub server_key: PathBuf,
    /// A client certificate for `cn=alice,ou=people,o=test`.
    pub client_cert: PathBuf,
    /// The client's key.
    pub client_key: PathBuf,
}

impl Certificates {
    /// Makes them in `dir`, which is created.
    pub fn create(dir: &Path) -> Certificates {
        fs::create_dir_all(dir).unwrap();
        let mut params = nameless();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::OrganizationName, "Test");
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();

        let files = Certificates {
            ca: dir.join("ca.crt"),
            server_cert: dir.join("server.crt"),
            server_key: dir.join("server.key"),
            client_cert: dir.join("client.crt"),
            client_key: dir.join("client.key"),
        };
        fs::write(&files.ca, ca.pem()).unwrap();
        let mut server = leaf(None, "localhost");
        server.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into().unwrap()),
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        ];
        sign(&server, &ca, &files.server_cert, &files.server_key);
        sign(&leaf(Some("people"), "alice"), &ca, &files.client_cert, &files.client_key);
        files
    }
}

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It was good until yesterday.
    Expired,
    /// It will be good.
    NotYet,
    /// It is for another host.
    OtherName,
    /// Nobody else signed it.
    SelfSigned,
    /// It is the certificate of the trusted authority itself, as `openssl req -x509` makes it.
    Authority,
}

impl Fault {
    /// A CA, and a server's certificate and key with this fault, in `dir`.
    pub fn create(self, dir: &Path) -> [PathBuf; 3] {
        let good = Certificates::create(dir);
        let mut params = nameless();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, "Test CA");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(&good.ca, ca.pem()).unwrap();
        let mut server = leaf(None, "localhost");
        let name = if self == Fault::OtherName { "elsewhere.example" } else { "localhost" };
        server.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        match self {
            Fault::Expired => server.not_after = rcgen::date_time_ymd(2020, 1, 1),
            Fault::NotYet => server.not_before = rcgen::date_time_ymd(2900, 1, 1),
            Fault::Authority => server.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            Fault::None | Fault::OtherName | Fault::SelfSigned => {}
        }
        if matches!(self, Fault::SelfSigned | Fault::Authority) {
            let pair = KeyPair::generate().unwrap();
            let own = server.self_signed(&pair).unwrap().pem();
            if self == Fault::Authority {
                fs::write(&good.ca, &own).unwrap();
            }
            fs::write(&good.server_cert, own).unwrap();
            fs::write(&good.server_key, pair.serialize_pem()).unwrap();
        } else {
            sign(&server, &ca, &good.server_cert, &good.server_key);
        }
        [good.ca, good.server_cert, good.server_key]
    }
}

/// rcgen's defaults come with a common name, which would be the first RDN of every subject.
fn nameless() -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params
}

fn leaf(unit: Option<&str>, name: &str) -> CertificateParams {
    let mut params = nameless();
    params.distinguished_name.push(DnType::OrganizationName, "Test");
    if let Some(unit) = unit {
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn sign(params: &CertificateParams, ca: &CertifiedIssuer<'_, KeyPair>, cert: &Path, key: &Path) {
    let pair = KeyPair::generate().unwrap();
    fs::write(cert, params.signed_by(&pair, ca).unwrap().pem()).unwrap();
    fs::write(key, pair.serialize_pem()).unwrap();
    fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
}
