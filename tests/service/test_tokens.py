"""Who calls: JWTs and the known attacks on them, keys that change or cannot be fetched, API tokens, client certificates."""

import base64
import concurrent.futures
import hashlib
import hmac
import json
import re
import subprocess
import textwrap
import time

import httpx
import issuers
import people
import pytest
from conftest import ROOT, SERVICE, TOOLS, run, tool
from service import SCOPES, bearer, configuration

AUDIENCE = "ldap-service"
HEALTH = "/api/v1/health"


@pytest.fixture
def own(tmp_path):
    """Starts issuers of our own: `own(…)`, see issuers/own.py."""
    tool("oidc", "python")
    started = []

    def start(*certificate):
        folder = tmp_path / f"issuer{len(started)}"
        folder.mkdir()
        started.append(issuers.own(TOOLS, folder, *certificate))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def iam(tmp_path):
    """pytest-iam, Canaille."""
    tool("oidc", "python")
    server = issuers.iam(TOOLS, tmp_path)
    yield server
    server.stop()


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


# --- JWT ----------------------------------------------------------------------------------------------------------------------------


def b64(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def part(value):
    return b64(json.dumps(value).encode())


def hmac_token(header, body, secret, digest):
    text = f"{part(header)}.{part(body)}"
    return f"{text}.{b64(hmac.new(secret, text.encode(), digest).digest())}"


def forgeries(iam, good):
    """Attacks that need no key of the issuer, by name."""
    header, body, signature = good.split(".")
    head = json.loads(base64.urlsafe_b64decode(header + "=="))
    said = json.loads(base64.urlsafe_b64decode(body + "=="))
    public = iam.ask(public=True)
    kid = head["kid"]
    attacks = {
        "signature stripped": f"{header}.{body}.",
        "two parts": f"{header}.{body}",
        "five parts (JWE)": f"{part({'alg': 'RSA-OAEP', 'enc': 'A256GCM', 'kid': kid})}.{b64(b'k' * 32)}.{b64(b'i' * 12)}.{body}.{signature}",
        "another user": f"{header}.{part({**said, 'preferred_username': 'jane'})}.{signature}",
        "another header": f"{part({**head, 'typ': 'JWT', 'x': 1})}.{body}.{signature}",
        "padded": f"{header}.{body}.{signature}==",
        "standard alphabet": f"{header}.{body}.{signature.replace('-', '+').replace('_', '/')}=",
        "a bit": f"{header}.{body}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}",
        "r = s = 0": f"{part({**head, 'alg': 'ES256'})}.{body}.{b64(bytes(64))}",
        "signature of zeros": f"{header}.{body}.{b64(bytes(256))}",
        "signature of ones": f"{header}.{body}.{b64(bytes([255]) * 256)}",
        "too long": good + "A" * 17000,
        "not ASCII": None,
    }
    for alg in ("none", "None", "NONE", "nOnE", ""):
        attacks[f"alg {alg!r}, no signature"] = f"{part({**head, 'alg': alg})}.{body}."
        attacks[f"alg {alg!r}, the signature"] = f"{part({**head, 'alg': alg})}.{body}.{signature}"
    secrets = {
        "PEM": public["pem"].encode(), "PEM without end": public["pem"].strip().encode(),
        "DER": base64.b64decode("".join(public["pem"].split("\n")[1:-2])), "JWK": json.dumps(public["jwk"]).encode(),
        "n": public["jwk"]["n"].encode(), "nothing": b"", "NUL": b"\0",
    }
    for alg, digest in (("HS256", "sha256"), ("HS384", "sha384"), ("HS512", "sha512")):
        for name, secret in secrets.items():
            attacks[f"{alg} with the public key as {name}"] = hmac_token({**head, "alg": alg}, said, secret, digest)
        for path in ("../../../../dev/null", "/dev/null", "file:///dev/null", "' UNION SELECT '"):
            attacks[f"{alg} with kid {path}"] = hmac_token({"alg": alg, "kid": path}, said, b"", digest)
    return {name: token for name, token in attacks.items() if token}


def test_trap_21_attacks_without_a_key(services, shared_openldap, iam):
    """Nothing in a token chooses how it is verified: pytest-iam's own tokens, forged."""
    service = services(shared_openldap, jwt=jwt(iam, algorithms=["RS256", "RS512", "ES256", "EdDSA"]))
    about = httpx.get(f"{iam.issuer}/.well-known/openid-configuration", trust_env=False).json()
    kid = httpx.get(about["jwks_uri"], trust_env=False).json()["keys"][0]["kid"]
    good = iam.token(header={"alg": "RS256", "kid": kid}, claims=claims(iam))
    attacks = forgeries(iam, good)
    assert len(attacks) > 50
    for name, token in attacks.items():
        assert is_refused(ask(service, token)), name
    raw = f"Bearer {good[:-9]}".encode() + "ü€".encode()
    assert is_refused(service.client.get(HEALTH, headers={"Authorization": raw}))
    assert ask(service, good).status_code == 200


def test_trap_21_attacks_with_a_signature_of_the_issuer(services, shared_openldap, iam):
    """The signature is right, and the token is not for this service, or says something that cannot be trusted."""
    service = services(shared_openldap, jwt=jwt(iam, algorithms=["RS256", "PS256"]))
    about = httpx.get(f"{iam.issuer}/.well-known/openid-configuration", trust_env=False).json()
    kid = httpx.get(about["jwks_uri"], trust_env=False).json()["keys"][0]["kid"]
    now = int(time.time())

    def signed(header=None, **more):
        head = {"alg": "RS256", "kid": kid, "typ": "at+jwt", **(header or {})}
        return iam.token(header={n: v for n, v in head.items() if v is not None}, claims=claims(iam, **more))

    good = [
        signed(), signed({"typ": "JWT"}), signed({"typ": None}), signed({"kid": None}), signed({"alg": "PS256"}),
        signed(aud=["another", iam.audience]), signed(exp=now - 2), signed(exp=now + 60.5), signed(nbf=now + 2),
        signed({"jku": "https://127.0.0.1:1/keys", "x5u": "https://127.0.0.1:1/", "x5t": "x"}),
        signed(scope=None, scp=["health"]), signed(preferred_username="ADA"),
    ]
    for token in good:
        answer = ask(service, token)
        assert answer.status_code == 200, answer.text
    wrong = {
        "RS512 is not configured": signed({"alg": "RS512"}), "alg in lower case": signed({"alg": "rs256"}),
        "crit": signed({"crit": ["exp"], "exp": 1}), "crit, unknown": signed({"crit": ["urn:x"], "urn:x": 1}), "b64": signed({"b64": False}),
        "enc": signed({"enc": "A256GCM"}), "zip": signed({"zip": "DEF"}), "typ": signed({"typ": "logout+jwt"}), "typ dpop": signed({"typ": "dpop+jwt"}),
        "kid": signed({"kid": "../../../../dev/null"}), "kid list": signed({"kid": [kid]}), "kid number": signed({"kid": 1}),
        "alg twice": iam.token(header=f'{{"alg":"none","alg":"RS256","kid":"{kid}"}}', claims=claims(iam)),
        "exp twice": iam.token(header={"alg": "RS256", "kid": kid}, claims=json.dumps(claims(iam))[:-1] + ', "exp": 9999999999}'),
        "claims that are a list": iam.token(header={"alg": "RS256", "kid": kid}, claims=json.dumps([claims(iam)])),
        "cnf jkt": signed(cnf={"jkt": "x"}), "cnf x5t": signed(cnf={"x5t#S256": b64(bytes(32))}),
    }
    values = {
        "iss": [None, iam.issuer + "/", iam.issuer.upper(), [iam.issuer], "", 1],
        "aud": [None, "another", ["another"], [], "", 1, [1], {iam.audience: 1}, [iam.audience, 1]],
        "exp": [None, "never", str(now + 600), True, [now], -1, 0, 1e300, (now + 600) * 1000, now - 60, now - 60.5],
        "nbf": [now + 60, "0", str(now - 60), 1e300], "iat": ["0"], "sub": [1], "jti": [1],
        "preferred_username": ["", " ", ["ada"], 1, "ada\0", "a" * 2000, "nobody-has-this", "*", "ada)(uid=*"],
        "scope": [["health"], 1], "scp": [[1], {"health": 1}],
    }
    for name, all_of_it in values.items():
        for value in all_of_it:
            more = {name: value} if value is not None else {name: None}
            wrong[f"{name} = {value!r}"] = signed(**more)
    assert len(wrong) > 55
    for name, token in wrong.items():
        assert is_refused(ask(service, token)), name
    assert ask(service, signed()).status_code == 200


def test_a_user_must_be_enabled_and_has_the_scopes_of_its_roles(services, openldaps, own):
    directory = openldaps(policies={"none": {}})
    issuer = own()
    issuer.ask(key="one", alg="ES256")
    suffix = directory.suffix
    roles = [{"role": "admin", "groups": [people.group_dn("admins", suffix)], "scopes": ["health"]}]
    service = services(directory, jwt=jwt(issuer), roles=roles)

    def token(**more):
        return issuer.token(sign="one", claims=claims(issuer, **more))

    # By the role alone, by the token alone, by neither.
    assert ask(service, token(scope=None)).status_code == 200
    assert ask(service, token(preferred_username="eve")).status_code == 200
    answer = ask(service, token(preferred_username="eve", scope="openid search"))
    assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_scope")
    directory.modify(f"dn: {people.ADA.dn(suffix)}\nchangetype: modify\nadd: pwdAccountLockedTime\npwdAccountLockedTime: 000001010000Z\n")
    answer = ask(service, token())
    assert (answer.status_code, answer.json()["code"]) == (403, "account_disabled"), answer.text
    # A program for itself has no user.
    program = {"preferred_username": None, "sub": "hr", "client_id": "hr"}
    assert ask(service, token(**program)).status_code == 200
    assert ask(service, token(**program, scope="search")).status_code == 403
    for wrong in ({"sub": "ada"}, {"client_id": None}, {"scope": None}):
        assert is_refused(ask(service, token(**{**program, **wrong}))), wrong
    # The directory is down: nothing is wrong with the token.
    directory.kill()
    assert ask(service, token()).status_code == 503
    directory.start_again()


def test_trap_22_a_thousand_random_kids_are_one_fetch(services, shared_openldap, own):
    issuer = own()
    issuer.ask(key="one", alg="ES256", delay=0.5)
    service = services(shared_openldap, jwt=jwt(issuer))
    good = issuer.token(sign="one", claims=claims(issuer))
    assert ask(service, good).status_code == 200
    assert issuer.ask()["fetches"] == 1
    # The signature does not matter: there is no such key.
    said = claims(issuer)
    tokens = [f"{part({'alg': 'ES256', 'kid': f'random-{n}'})}.{part(said)}.{b64(bytes(64))}" for n in range(1000)]

    def refused(token):
        return ask(service, token).status_code

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        flood = pool.map(refused, tokens)
        # Callers with a known key do not wait for it.
        began = time.monotonic()
        assert ask(service, good).status_code == 200
        assert time.monotonic() - began < 0.4
        assert set(flood) == {401}
    assert issuer.ask()["fetches"] == 2
    assert ask(service, good).status_code == 200


def test_trap_22_rotation(services, shared_openldap, own):
    """A new key is found at its first token; one that is withdrawn ends with the next fetch."""
    issuer = own()
    issuer.ask(key="one", alg="RS256")
    service = services(shared_openldap, jwt=jwt(issuer, algorithms=["RS256", "EdDSA"]))
    old = issuer.token(sign="one", claims=claims(issuer))
    assert ask(service, old).status_code == 200
    issuer.ask(withdraw="one")
    issuer.ask(key="two", alg="EdDSA")
    assert ask(service, old).status_code == 200
    assert ask(service, issuer.token(sign="two", claims=claims(issuer))).status_code == 200
    assert is_refused(ask(service, old))
    # And another one within the minute is not looked for.
    issuer.ask(key="three", alg="EdDSA")
    fetches = issuer.ask()["fetches"]
    assert is_refused(ask(service, issuer.token(sign="three", claims=claims(issuer))))
    assert issuer.ask()["fetches"] == fetches


def test_trap_22_an_issuer_that_fails_is_no_wrong_token(services, shared_openldap, own):
    issuer = own()
    issuer.ask(key="one", alg="ES256", down=True)
    service = services(shared_openldap, jwt=jwt(issuer))
    good = issuer.token(sign="one", claims=claims(issuer))
    answer = ask(service, good)
    assert (answer.status_code, answer.json()["code"]) == (503, "issuer_unavailable")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    # What is wrong whatever the key says is refused all the same.
    assert is_refused(ask(service, issuer.token(sign="one", claims=claims(issuer, aud="another"))))
    issuer.ask(down=False)
    deadline = time.monotonic() + 10
    while ask(service, good).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    # Known keys go on, an unknown one cannot be judged, and a reload forgets nothing.
    issuer.ask(down=True)
    issuer.ask(key="two", alg="ES256")
    other = issuer.token(sign="two", claims=claims(issuer))
    for _ in range(2):
        answer = ask(service, other)
        assert (answer.status_code, answer.json()["code"]) == (503, "issuer_unavailable")
        assert ask(service, good).status_code == 200
        service.reload()
        reloaded(service)
    issuer.stop()
    assert ask(service, good).status_code == 200


def reloaded(service, seconds=10):
    """Waits for the line of the reload that was asked for last."""
    deadline, text = time.monotonic() + seconds, "the configuration was read again"
    while not any(text in line or "the earlier configuration stays" in line for line in service.lines[-3:]):
        assert time.monotonic() < deadline, service.log_text()
        time.sleep(0.05)
    service.lines.append(json.dumps({"message": "seen"}))
    service.wait()


def test_an_issuer_with_tls(services, shared_openldap, own, tmp_path):
    """Its certificate is checked: by jwt.ca_file, with the host's name."""
    ca = Authority(tmp_path, "idp-ca")
    right, wrong = ca.server("localhost", "DNS:localhost"), ca.server("other", "DNS:idp.example.com")
    for name, certificate, ca_file, status in [
        ("right", right, ca.certificate, 200), ("system", right, None, 503), ("name", wrong, ca.certificate, 503),
        ("other", right, Authority(tmp_path, "other-ca").certificate, 503),
    ]:
        issuer = own(*certificate)
        issuer.ask(key="one", alg="ES256")
        more = {"ca_file": str(ca_file)} if ca_file else {}
        service = services(shared_openldap, name=f"service-{name}", jwt=jwt(issuer, **more))
        assert ask(service, issuer.token(sign="one", claims=claims(issuer))).status_code == status, name


@pytest.mark.parametrize(
    "setting, more",
    [
        ("jwt.issuer", {"issuer": "http://idp.example.com"}), ("jwt.issuer", {"issuer": "idp.example.com"}),
        ("jwt.issuer", {"issuer": "https://user:word@idp.example.com"}), ("jwt.issuer", {"issuer": None}), ("jwt.audience", {"audience": ""}),
        ("jwt.jwks_url", {"jwks_url": "http://idp.example.com/keys"}), ("jwt.ca_file", {"ca_file": "/does/not/exist.pem"}),
        ("jwt.algorithms[0]", {"algorithms": ["HS256"]}), ("jwt.algorithms[1]", {"algorithms": ["RS256", "none"]}),
        ("jwt.algorithms", {"algorithms": []}), ("jwt.ca", {"ca": "x"}),
    ],
)
def test_wrong_settings_of_tokens_are_named(tmp_path, shared_openldap, setting, more):
    settings = {"issuer": "https://idp.example.com", "audience": AUDIENCE, **more}
    fails_to_start(tmp_path, shared_openldap, setting, jwt={n: v for n, v in settings.items() if v is not None})


def fails_to_start(folder, directory, setting, **settings):
    """The service ends with code 2 and names the setting. Returns what it says."""
    config = configuration(directory, folder, listen="127.0.0.1:0", **settings)
    path = folder / "wrong.json"
    path.write_text(json.dumps(config))
    done = run(SERVICE, "--config", path, "--log-format", "json", code=2, timeout=60)
    assert f"`{setting}`" in done.stderr, done.stderr
    assert not done.stdout
    return done.stderr


# --- API tokens ---------------------------------------------------------------------------------------------------------------------


def test_api_tokens_as_the_guide_makes_them(services, shared_openldap, tmp_path):
    """openssl and sha256sum, as docs/guides/tokens.md says; a reload reads the file again."""
    file = tmp_path / "hr.sha256"

    def make():
        page = (ROOT / "docs" / "guides" / "tokens.md").read_text()
        script = textwrap.dedent(re.search(r"```sh\n( *umask.*?)```", page, re.S).group(1))
        run("sh", "-ec", script, cwd=tmp_path)
        return (tmp_path / "hr.token").read_text().strip()

    first = make()
    service = services(shared_openldap, api_tokens=[{"name": "hr", "sha256_file": str(file), "scopes": ["health"]}])
    assert ask(service, first).status_code == 200
    for scheme in ("bearer", "BEARER"):
        assert service.client.get(HEALTH, headers={"Authorization": f"{scheme} {first}"}).status_code == 200
    second = make()
    assert second != first
    assert ask(service, first).status_code == 200
    service.reload()
    reloaded(service)
    assert is_refused(ask(service, first))
    assert ask(service, second).status_code == 200
    for wrong in (second.upper(), second[:-1], f"{second}0", hashlib.sha256(second.encode()).hexdigest(), f"{second}\t{second}"):
        assert is_refused(service.client.get(HEALTH, headers={"Authorization": f"Bearer {wrong}"})), wrong
    for wrong in ("Bearer", "Basic", "Token x", f"Token {second}", second, ""):
        assert is_refused(service.client.get(HEALTH, headers={"Authorization": wrong})), wrong
    # Two of them have no meaning.
    assert is_refused(service.client.get(HEALTH, headers=[("Authorization", f"Bearer {second}"), ("Authorization", "Bearer x")]))
    assert is_refused(service.client.get(HEALTH, params={"access_token": second}))
    # A file that is no longer right: the earlier tokens stay.
    file.write_text("x\n")
    service.reload()
    reloaded(service)
    assert ask(service, second).status_code == 200


@pytest.mark.parametrize(
    "text, setting",
    [
        ("a-token-by-mistake", "sha256_file"), ("", "sha256_file"), (hashlib.sha256(b"").hexdigest(), "sha256_file"),
        (hashlib.sha256(b"\n").hexdigest(), "sha256_file"), ("ü" * 32, "sha256_file"), ("+f" * 32, "sha256_file"), (None, "sha256_file"),
    ],
)
def test_a_wrong_hash_is_named_and_not_shown(shared_openldap, tmp_path, text, setting):
    file = tmp_path / "wrong.sha256"
    if text is not None:
        file.write_text(text)
    tokens = [{"name": "hr", "sha256_file": str(file), "scopes": ["health"]}]
    said = fails_to_start(tmp_path, shared_openldap, f"api_tokens[0].{setting}", api_tokens=tokens)
    assert str(file) in said
    assert not text or text not in said


def test_scopes_are_checked(service):
    """A program may do what its scopes say, and no more."""
    for scope in SCOPES:
        status = service.client.get(HEALTH, headers=bearer(scope)).status_code
        assert status == (200 if scope == "health" else 403), scope


# --- Client certificates ------------------------------------------------------------------------------------------------------------


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
        reloaded(service)
        answer = tls.get(certificate)
        assert answer.status_code == (200 if is_same else 401), (subject, setting, answer.text)
        # What openssl prints for the settings is the same in any case.
        printed = run("openssl", "x509", "-in", certificate[0], "-noout", "-subject", "-nameopt", "RFC2253").stdout
        printed = printed.strip().removeprefix("subject=")
        service.configure({**service.config, "client_certificates": [{"name": "hr", "subject": printed, "scopes": ["health"]}]})
        service.reload()
        reloaded(service)
        assert tls.get(certificate).status_code == 200, (subject, printed)
    # A text of UTF-16 (BMPString) is a text, too; one without a certain character set is not taken for another.
    bmp = tls.ca.client("bmp", "/CN=Zoë", mask="MASK:0x800")
    teletex = tls.ca.client("teletex", "/CN=Zoë", mask="MASK:0x4")
    service.configure({**service.config, "client_certificates": [{"name": "hr", "subject": "CN=Zoë", "scopes": ["health"]}]})
    service.reload()
    reloaded(service)
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
