"""What the tests of callers share: tokens and claims, certificates, and a service that does not start."""

import base64
import json
import time

from conftest import SERVICE, run
from service import configuration

AUDIENCE = "ldap-service"
HEALTH = "/api/v1/health"


def b64(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def jwt(issuer, **more):
    return {"issuer": issuer.issuer, "audience": issuer.audience or AUDIENCE, "leeway_seconds": 5, **more}


def claims(issuer, **more):
    """The claims of a token that a user may look at the health report with."""
    usual = {
        "iss": issuer.issuer, "aud": issuer.audience or AUDIENCE, "exp": int(time.time()) + 600, "iat": int(time.time()), "sub": "ada",
        "preferred_username": "ada", "scope": "openid health",
    }
    return {name: value for name, value in {**usual, **more}.items() if value is not None}


def ask(service, token, path=HEALTH):
    service.secrets.add(token)
    return service.client.get(path, headers={"Authorization": f"Bearer {token}"})


def is_refused(answer):
    assert answer.status_code == 401, answer.text
    assert answer.json()["code"] == "unauthorized"
    assert answer.headers["www-authenticate"].startswith("Bearer")
    return True


def fails_to_start(folder, directory, setting, **settings):
    """The service ends with code 2 and names the setting. Returns what it says."""
    config = configuration(directory, folder, listen="127.0.0.1:0", **settings)
    path = folder / "wrong.json"
    path.write_text(json.dumps(config))
    done = run(SERVICE, "--config", path, "--log-format", "json", code=2, timeout=60)
    assert f"`{setting}`" in done.stderr, done.stderr
    assert not done.stdout
    return done.stderr


class Authority:
    """A certificate authority by openssl."""

    def __init__(self, folder, name):
        self.folder, self.name = folder, name
        self.key, self.certificate = folder / f"{name}.key", folder / f"{name}.pem"
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key,
            "-out", self.certificate, "-subj", f"/CN={name}", "-days", "30", "-addext", "basicConstraints=critical,CA:TRUE")  # fmt: skip

    def issue(self, name, subject, extensions, days=(), mask="utf8only"):
        key, request, certificate, conf = (self.folder / f"{self.name}-{name}.{end}" for end in ("key", "csr", "pem", "cnf"))
        conf.write_text(f"oid_section = oids\n[oids]\nours = 1.3.6.1.4.1.99999.1\n[req]\nstring_mask = {mask}\nprompt = no\ndistinguished_name = dn\n[dn]\nCN = x\n[ext]\n{extensions}\n")
        run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-utf8", "-config", conf,
            "-keyout", key, "-out", request, "-subj", subject)  # fmt: skip
        when = days or ("-days", "30")
        run("openssl", "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial", "-out", certificate,
            "-extfile", conf, "-extensions", "ext", *when)  # fmt: skip
        return str(certificate), str(key)

    def server(self, name, names):
        return self.issue(name, f"/CN={name}", f"subjectAltName = {names}\nextendedKeyUsage = serverAuth")

    def client(self, name, subject, **more):
        return self.issue(name, subject, "extendedKeyUsage = clientAuth", **more)
