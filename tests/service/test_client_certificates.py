"""Callers with a client certificate: subjects as DNs, fingerprints, expiry, and a certificate together with a token."""

import hashlib
import subprocess
import time

import httpx
import pytest
from callers import HEALTH, Authority, b64, claims, fails_to_start, is_refused, jwt
from conftest import run, tool
from service import bearer


def fingerprint(certificate):
    """As openssl prints it, with its name before it."""
    return run("openssl", "x509", "-in", certificate[0], "-noout", "-fingerprint", "-sha256").stdout.strip()


class Tls:
    """A service with TLS that asks for client certificates."""

    def __init__(self, services, directory, folder, certificates, **settings):
        self.ca = Authority(folder, "ca")
        self.folder = folder
        cert, key = self.ca.server("server", "IP:127.0.0.1")
        folder = folder / "tls"
        folder.mkdir()
        self.service = services(
            directory, name="tls", ready=False, listen_cert_file=self.with_authority(cert), listen_key_file=key,
            listen_client_ca_file=str(self.ca.certificate), client_certificates=certificates(self.ca), **settings,
        )
        self.service.wait()

    def with_authority(self, cert):
        """The chain, which the client of the tests trusts as a whole."""
        chain = self.folder / "chain.pem"
        with open(cert) as one, open(self.ca.certificate) as two:
            chain.write_text(one.read() + two.read())
        return str(chain)

    def get(self, certificate=None, path=HEALTH, **options):
        context = httpx.create_ssl_context(verify=self.service.config["listen_cert_file"], trust_env=False)
        if certificate:
            context.load_cert_chain(*certificate)
        with httpx.Client(base_url=self.service.url, verify=context, trust_env=False, timeout=10) as client:
            return client.get(path, **options)


# The subject for openssl (root first), the setting (RFC 4514), and whether they are the same.
SUBJECTS = [
    ("/CN=hr", "CN=hr", True),
    ("/O=Example/CN=hr", "cn=HR,o=example", True),
    ("/O=Example/CN=hr", "CN=hr , O=Example", True),
    ("/O=Example/CN=hr", "O=Example,CN=hr", False),
    ("/O=Example/CN=hr", "CN=hr", False),
    ("/CN=hr", "CN=hr,O=Example", False),
    ("/O=Example/CN=hr", "2.5.4.3=hr,2.5.4.10=Example", True),
    ("/O=Example/CN=hr+OU=sync", "OU=sync+CN=hr,O=Example", True),
    ("/O=Example/CN=hr+OU=sync", "CN=hr,OU=sync,O=Example", False),
    ("/O=Example/OU=sync/CN=hr", "CN=hr+OU=sync,O=Example", False),
    ("/CN=hr/emailAddress=hr@example.com", "emailAddress=hr@example.com,CN=hr", True),
    ("/CN=hr/emailAddress=hr@example.com", "1.2.840.113549.1.9.1=hr@example.com,CN=hr", True),
    ("/CN=hr/emailAddress=hr@example.com", "emailAddress=hr@example.org,CN=hr", False),
    ("/DC=test/DC=example/UID=hr", "uid=hr,dc=example,dc=test", True),
    ("/O=Müller & Söhne, Inc./CN=東京", "CN=東京,O=Müller & Söhne\\, Inc.", True),
    ("/O=Müller & Söhne, Inc./CN=東京", "CN=\\e6\\9d\\b1京,O=MÜLLER & SÖHNE\\2c inc.", True),
    ("/CN=hr,O=Example", "CN=hr\\,O\\=Example", True),
    ("/CN=hr,O=Example", "CN=hr,O=Example", False),
    ("/CN=a\\+b", "CN=a\\+b", True),
    ("/O=Example/CN=hr/serialNumber=17", "serialNumber=17,CN=hr,O=Example", True),
    ("/ours=x/CN=hr", "CN=hr,1.3.6.1.4.1.99999.1=#0C0178", True),
    ("/ours=x/CN=hr", "CN=hr,1.3.6.1.4.1.99999.1=#0C0179", False),
    ("/ours=x/CN=hr", "CN=hr,1.3.6.1.4.1.99999.2=#0C0178", False),
]


def test_subjects_of_client_certificates(services, shared_openldap, tmp_path):
    """A subject is a DN: order, several values in an RDN, escapes, case and OIDs."""
    tls = Tls(services, shared_openldap, tmp_path, lambda ca: [{"name": "x", "subject": "CN=nobody", "scopes": ["health"]}])
    service = tls.service
    for number, (subject, setting, is_same) in enumerate(SUBJECTS):
        certificate = tls.ca.client(f"client{number}", subject)
        certificates = [{"name": "hr", "subject": setting, "scopes": ["health"]}]
        service.configure({**service.config, "client_certificates": certificates})
        service.reload()
        answer = tls.get(certificate)
        assert answer.status_code == (200 if is_same else 401), (subject, setting, answer.text)
        # What openssl prints for the settings is the same in any case.
        printed = run("openssl", "x509", "-in", certificate[0], "-noout", "-subject", "-nameopt", "RFC2253").stdout
        printed = printed.strip().removeprefix("subject=")
        service.configure({**service.config, "client_certificates": [{"name": "hr", "subject": printed, "scopes": ["health"]}]})
        service.reload()
        assert tls.get(certificate).status_code == 200, (subject, printed)
    # A text of UTF-16 (BMPString) is a text, too; one without a certain character set is not taken for another.
    bmp = tls.ca.client("bmp", "/CN=Zoë", mask="MASK:0x800")
    teletex = tls.ca.client("teletex", "/CN=Zoë", mask="MASK:0x4")
    service.configure({**service.config, "client_certificates": [{"name": "hr", "subject": "CN=Zoë", "scopes": ["health"]}]})
    service.reload()
    assert tls.get(bmp).status_code == 200
    assert tls.get(teletex).status_code == 401


def test_client_certificates(services, shared_openldap, tmp_path, own):
    """Fingerprints; expired, foreign and unknown certificates; a certificate together with a token."""
    issuer = own()
    issuer.ask(key="one", alg="ES256")
    made = {}

    def certificates(ca):
        made["hr"], made["print"] = ca.client("hr", "/CN=hr"), ca.client("print", "/CN=print")
        made["other"], made["expired"] = ca.client("other", "/CN=other"), ca.client("expired", "/CN=hr", days=("-days", "-1"))
        made["server"] = ca.server("hr-server", "DNS:hr")
        return [
            {"name": "hr", "subject": "CN=hr", "scopes": ["health", "search"]},
            {"name": "print", "sha256": fingerprint(made["print"]), "scopes": ["health"]},
            {"name": "reader", "subject": "CN=reader", "scopes": ["search"]},
        ]

    tls = Tls(services, shared_openldap, tmp_path, certificates, jwt=jwt(issuer))
    made["reader"] = tls.ca.client("reader", "/CN=reader")
    made["same name"] = Authority(tmp_path, "foreign").client("hr", "/CN=hr")
    # Another certificate with the fingerprint's name has another fingerprint.
    made["same subject"] = tls.ca.client("print-again", "/CN=print")
    assert tls.get(made["hr"]).status_code == 200
    assert tls.get(made["print"]).status_code == 200
    assert tls.get(made["reader"]).status_code == 403
    for name in ("other", "same subject"):
        assert is_refused(tls.get(made[name])), name
    assert is_refused(tls.get())
    for name in ("expired", "same name", "server"):
        with pytest.raises(httpx.TransportError):
            tls.get(made[name])
    # A token decides alone: nothing of the certificate is added, and it does not stand in for a wrong token.
    assert tls.get(made["hr"], headers=bearer("search")).status_code == 403
    assert tls.get(made["reader"], headers=bearer("health")).status_code == 200
    for wrong in ("Bearer x", "Bearer", "Bearer a.b.c"):
        assert is_refused(tls.get(made["hr"], headers={"Authorization": wrong}))
    assert is_refused(tls.get(made["hr"], headers={"Authorization": b"Bearer \xff\xfe"}))
    # A token that is bound to a certificate (RFC 8705).
    thumbprint = hashlib.sha256(subprocess.run(
        ["openssl", "x509", "-in", made["hr"][0], "-outform", "DER"], check=True, capture_output=True
    ).stdout).digest()  # fmt: skip
    token = issuer.token(sign="one", claims=claims(issuer, cnf={"x5t#S256": b64(thumbprint)}))
    tls.service.secrets.add(token)
    bound = {"Authorization": f"Bearer {token}"}
    assert tls.get(made["hr"], headers=bound).status_code == 200
    assert is_refused(tls.get(made["reader"], headers=bound))
    assert is_refused(tls.get(headers=bound))


SHORT_LIVED = """
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ca, ca_key, out, seconds = *sys.argv[1:4], float(sys.argv[4])
ca = x509.load_pem_x509_certificate(open(ca, "rb").read())
ca_key = serialization.load_pem_private_key(open(ca_key, "rb").read(), None)
key = ec.generate_private_key(ec.SECP256R1())
now = datetime.datetime.now(datetime.timezone.utc)
certificate = (
    x509.CertificateBuilder().subject_name(x509.Name.from_rfc4514_string("CN=hr")).issuer_name(ca.subject).public_key(key.public_key())
    .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
    .not_valid_after(now + datetime.timedelta(seconds=seconds)).sign(ca_key, hashes.SHA256())
)
pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
open(out, "wb").write(certificate.public_bytes(pem) + key.private_bytes(pem, form, serialization.NoEncryption()))
"""


def test_a_certificate_that_expires_on_an_open_connection(services, shared_openldap, tmp_path):
    tls = Tls(services, shared_openldap, tmp_path, lambda _: [{"name": "hr", "subject": "CN=hr", "scopes": ["health"]}])
    short = tmp_path / "short.pem"
    run(tool("oidc", "python"), "-c", SHORT_LIVED, tls.ca.certificate, tls.ca.key, short, 4)
    context = httpx.create_ssl_context(verify=tls.service.config["listen_cert_file"], trust_env=False)
    context.load_cert_chain(short)
    limits = httpx.Limits(keepalive_expiry=60)
    with httpx.Client(base_url=tls.service.url, verify=context, trust_env=False, limits=limits) as client:
        assert client.get(HEALTH).status_code == 200
        time.sleep(5)
        # The same connection: a new handshake would fail.
        assert is_refused(client.get(HEALTH))


@pytest.mark.parametrize(
    "setting, certificates",
    [
        ("client_certificates[0].subject", [{"subject": ""}]), ("client_certificates[0].subject", [{"subject": "/CN=hr"}]),
        ("client_certificates[0]", [{}]), ("client_certificates[0]", [{"subject": "CN=hr", "sha256": "0" * 64}]),
        ("client_certificates[0].sha256", [{"sha256": "00"}]), ("client_certificates[1]", [{"subject": "CN=hr"}, {"subject": "cn=HR"}]),
        ("client_certificates[0].scopes", [{"subject": "CN=hr", "scopes": []}]),
    ],
)
def test_wrong_settings_of_certificates_are_named(shared_openldap, tmp_path, setting, certificates):
    ca = Authority(tmp_path, "ca")
    cert, key = ca.server("server", "IP:127.0.0.1")
    certificates = [{"name": f"c{n}", "scopes": ["health"], **one} for n, one in enumerate(certificates)]
    fails_to_start(
        tmp_path, shared_openldap, setting, listen_cert_file=cert, listen_key_file=key, listen_client_ca_file=str(ca.certificate),
        client_certificates=certificates,
    )


# A subject as openssl prints it, or as nobody has it, and whether it is accepted.
PASTED = [
    ("subject=CN=hr,OU=Sync,O=Example", True),
    ("Subject= CN=hr,OU=Sync,O=Example", True),
    ("OID.2.5.4.3=hr,OU=Sync,O=Example", True),
    ("CN = hr, OU = Sync, O = Example", True),
    ("O = Example, OU = Sync, CN = hr", False),
    ("subject=O = Example, OU = Sync, CN = hr", False),
    ("issuer=CN=hr,OU=Sync,O=Example", False),
    ("Issued=CN=hr,O=Example", False),
    ("CN=hr,nosuchtype=x", False),
]


def test_a_subject_that_no_certificate_has_is_refused(services, shared_openldap, tmp_path):
    tls = Tls(services, shared_openldap, tmp_path, lambda ca: [{"name": "x", "subject": "CN=nobody", "scopes": ["health"]}])
    certificate = tls.ca.client("pasted", "/O=Example/OU=Sync/CN=hr")
    for setting, is_accepted in PASTED:
        tls.service.configure({**tls.service.config, "client_certificates": [{"name": "hr", "subject": setting, "scopes": ["health"]}]})
        done = run(tls.service.executable, "--config", tls.service.config_path, "--test", code=None)
        assert done.returncode == (0 if is_accepted else 2), (setting, done.stdout)
        assert is_accepted or "client_certificates[0].subject" in done.stdout + done.stderr
        if is_accepted:
            tls.service.reload()
            assert tls.get(certificate).status_code == 200, setting
    printed = run("openssl", "x509", "-in", certificate[0], "-noout", "-fingerprint", "-sha256").stdout
    tls.service.configure({**tls.service.config, "client_certificates": [{"name": "hr", "sha256": printed, "scopes": ["health"]}]})
    tls.service.reload()
    assert tls.get(certificate).status_code == 200
