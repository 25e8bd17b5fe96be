"""Who calls: JWTs and the known attacks on them, keys that change or cannot be fetched, API tokens."""

import base64
import concurrent.futures
import hashlib
import hmac
import json
import re
import textwrap
import time

import httpx
import issuers
import people
import pytest
from callers import AUDIENCE, HEALTH, Authority, ask, b64, claims, fails_to_start, is_refused, jwt
from conftest import ROOT, TOOLS, run, tool
from directories import wait_until
from service import SCOPES, bearer


@pytest.fixture
def iam(tmp_path):
    """pytest-iam, Canaille."""
    tool("oidc", "python")
    server = issuers.iam(TOOLS, tmp_path)
    yield server
    server.stop()


# --- JWT ----------------------------------------------------------------------------------------------------------------------------


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
    issuer.ask(key="one", alg="ES256")
    service = services(shared_openldap, jwt=jwt(issuer))
    good = issuer.token(sign="one", claims=claims(issuer))
    assert ask(service, good).status_code == 200
    assert issuer.ask()["fetches"] == 1
    # The signature does not matter: there is no such key.
    said = claims(issuer)
    tokens = [f"{part({'alg': 'ES256', 'kid': f'random-{n}'})}.{part(said)}.{b64(bytes(64))}" for n in range(1000)]

    def refused(token):
        return ask(service, token).status_code

    issuer.ask(hold=True)
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        flood = [pool.submit(refused, token) for token in tokens]
        try:
            # Callers with a known key do not wait for it.
            wait_until(lambda: issuer.ask()["fetching"], what="the second fetch")
            assert ask(service, good).status_code == 200
            assert not any(one.done() for one in flood), "the fetch has ended"
            assert issuer.ask() == {"fetches": 2, "fetching": 1}
        finally:
            issuer.ask(hold=False)
        assert {one.result() for one in flood} == {401}
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
    wait_until(lambda: ask(service, good).status_code == 200, what="the keys")
    # Known keys go on, an unknown one cannot be judged, and a reload forgets nothing.
    issuer.ask(down=True)
    issuer.ask(key="two", alg="ES256")
    other = issuer.token(sign="two", claims=claims(issuer))
    for _ in range(2):
        answer = ask(service, other)
        assert (answer.status_code, answer.json()["code"]) == (503, "issuer_unavailable")
        assert ask(service, good).status_code == 200
        service.reload()
    issuer.stop()
    assert ask(service, good).status_code == 200


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
