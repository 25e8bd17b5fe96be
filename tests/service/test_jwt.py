"""JWTs of providers that others wrote: found by discovery, verified by their JWKS, and the user looked up."""

import time

import httpx
import issuers
import people
import pytest
from accounts import account, code
from conftest import TOOLS, tool

AUDIENCE = "ldap-service"
ALGORITHMS = ["RS256", "RS512", "ES256", "EdDSA"]


@pytest.fixture
def issuer(request, tmp_path):
    """An issuer by name; a missing program fails the test."""
    tool("oidc", "python") if request.param == "iam" else tool("node", "oauth2-mock-server")
    server = getattr(issuers, request.param)(TOOLS, tmp_path)
    yield server
    server.stop()


def configured(services, directory, issuer, **jwt):
    jwt = {"issuer": issuer.issuer, "audience": issuer.audience or AUDIENCE, "algorithms": ALGORITHMS,
           "username_claim": "preferred_username", "leeway_seconds": 5, **jwt}
    return services(directory, jwt=jwt)


def me(service, token):
    service.secrets.add(token)
    return service.client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})


def is_ada(answer):
    assert answer.status_code == 200, answer.text
    user = answer.json()["user"]
    assert user["username"] == people.ADA.uid
    assert sorted(user["roles"]) == ["admin", "auditor", "staff"]
    return True


@pytest.mark.parametrize("issuer", ["mock_server", "oidc_provider"], indirect=True)
def test_the_harness_has_issuers_with_a_jwks(issuer):
    """The issuer itself: discovery names a JWKS that has the key of its tokens."""
    about = httpx.get(f"{issuer.issuer}/.well-known/openid-configuration", trust_env=False).json()
    assert about["issuer"] == issuer.issuer
    assert httpx.get(about["jwks_uri"], trust_env=False).json()["keys"]


@pytest.mark.parametrize("issuer", ["mock_server"], indirect=True)
def test_oauth2_mock_server(services, shared_openldap, issuer):
    service = configured(services, shared_openldap, issuer)
    claims = {"aud": AUDIENCE, "preferred_username": "ada"}
    assert is_ada(me(service, issuer.token(claims=claims)))
    now = int(time.time())
    for wrong in (
        {"aud": "another"}, {"aud": None}, {"iss": "http://127.0.0.1:1"}, {"iss": None}, {"exp": now - 3600}, {"exp": None},
        {"nbf": now + 3600}, {"preferred_username": None}, {"preferred_username": "nobody-has-this"},
        {"preferred_username": ["ada"]}, {"preferred_username": "*"}, {"preferred_username": ""},
    ):
        answer = me(service, issuer.token(claims={**claims, **wrong}))
        assert answer.status_code == 401, (wrong, answer.text)
        assert answer.headers["www-authenticate"].startswith("Bearer")
    # One of several audiences is enough.
    assert is_ada(me(service, issuer.token(claims={**claims, "aud": ["another", AUDIENCE]})))


@pytest.mark.parametrize("issuer", ["mock_server"], indirect=True)
def test_a_rotated_key_is_found(services, shared_openldap, issuer):
    """The first unknown `kid` makes the service read the JWKS again."""
    service = configured(services, shared_openldap, issuer)
    claims = {"aud": AUDIENCE, "preferred_username": "ada"}
    old = issuer.token(claims=claims)
    assert is_ada(me(service, old))
    for algorithm in ("ES256",):
        assert is_ada(me(service, issuer.token(claims=claims, key=algorithm)))
    assert is_ada(me(service, old))


@pytest.mark.parametrize("issuer", ["mock_server"], indirect=True)
def test_an_algorithm_that_is_not_configured(services, shared_openldap, issuer):
    service = configured(services, shared_openldap, issuer, algorithms=["ES256"])
    claims = {"aud": AUDIENCE, "preferred_username": "ada"}
    assert me(service, issuer.token(claims=claims)).status_code == 401
    assert is_ada(me(service, issuer.token(claims=claims, key="ES256")))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("issuer", ["oidc_provider"], indirect=True)
def test_oidc_provider(services, shared_openldap, issuer, algorithm):
    """Access tokens by RFC 9068, with scopes."""
    service = configured(services, shared_openldap, issuer)
    asked = {"claims": {"preferred_username": "ada"}, "aud": AUDIENCE, "alg": algorithm}
    token = issuer.token(**asked, scope="scim.read login")
    assert is_ada(me(service, token))
    answer = service.client.get("/scim/v2/Users?count=1", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.text
    without = issuer.token(**asked, scope="login")
    service.secrets.add(without)
    answer = service.client.get("/scim/v2/Users?count=1", headers={"Authorization": f"Bearer {without}"})
    assert answer.status_code == 403, answer.text


@pytest.mark.parametrize("issuer", ["iam"], indirect=True)
def test_canaille(services, shared_openldap, issuer):
    """ID tokens of Canaille: RS512, the name in `sub`, several audiences."""
    service = configured(services, shared_openldap, issuer, username_claim="sub")
    assert is_ada(me(service, issuer.token(user_name="ada")))
    assert me(service, issuer.token(user_name="nobody-has-this")).status_code == 401


@pytest.mark.parametrize("issuer", ["mock_server"], indirect=True)
def test_an_issuer_that_is_down_is_no_wrong_token(services, shared_openldap, issuer):
    """503, not 401: the token was never looked at."""
    service = configured(services, shared_openldap, issuer)
    token = issuer.token(claims={"aud": AUDIENCE, "preferred_username": "ada"})
    issuer.stop()
    assert me(service, token).status_code == 503


@pytest.mark.parametrize("issuer", ["mock_server"], indirect=True)
def test_a_name_of_one_kind_is_not_taken_for_another(services, shared_openldap, issuer):
    """Whoever may choose a user name at the provider must not choose the mail address of somebody else."""
    users = {"base_dn": f"ou=people,{shared_openldap.suffix}", "filter": "(objectClass=person)", "login_attributes": ["uid", "mail"]}

    def start(name, **jwt):
        jwt = {"issuer": issuer.issuer, "audience": AUDIENCE, "algorithms": ALGORITHMS, **jwt}
        return services(shared_openldap, name, users=users, jwt=jwt)

    address = people.ADA.mail
    token = lambda **claims: issuer.token(claims={"aud": AUDIENCE, "preferred_username": None, **claims})  # noqa: E731
    default = start("default")
    assert is_ada(me(default, token(preferred_username="ada")))
    assert me(default, token(preferred_username=address)).status_code == 401
    by_mail = start("by-mail", username_claim="email")
    assert [line["setting"] for line in by_mail.log(level="warning", setting="jwt.username_claim")]
    assert is_ada(me(by_mail, token(email=address)))
    assert is_ada(me(by_mail, token(email=address, email_verified=True)))
    for wrong in ({"email": "ada"}, {"email": address, "email_verified": False}, {"email": address, "email_verified": "false"}):
        assert me(by_mail, token(**wrong)).status_code == 401, wrong
    chosen = start("chosen", username_attribute="mail")
    assert is_ada(me(chosen, token(preferred_username=address)))
    assert me(chosen, token(preferred_username="ada")).status_code == 401


@pytest.mark.parametrize("issuer", ["mock_server"], indirect=True)
def test_a_name_in_another_attribute_takes_no_token_from_its_owner(services, openldaps, issuer):
    """Whoever may write the own mail address could lock others out by their names."""
    twins = [account("twin", mail="ada"), account("double", uid=["double", "bob"]), account("mailer", mail=people.EVE.mail)]
    server = openldaps("twins", more=twins)
    users = {"base_dn": f"ou=people,{people.SUFFIX}", "filter": "(objectClass=person)", "login_attributes": ["uid", "mail"]}

    def start(name, **jwt):
        jwt = {"issuer": issuer.issuer, "audience": AUDIENCE, "algorithms": ALGORITHMS, **jwt}
        return services(server, name, users=users, jwt=jwt)

    token = lambda name: issuer.token(claims={"aud": AUDIENCE, "preferred_username": name})  # noqa: E731
    by_uid, by_mail = start("by-uid"), start("by-mail", username_attribute="mail")
    for name in ("ada", "ADA"):
        assert is_ada(me(by_uid, token(name)))
    assert is_ada(me(by_mail, token(people.ADA.mail)))
    # By a password, either of them may be meant.
    assert by_uid.login("ada", people.ADA.password).status_code == 401
    # Two have the name in the attribute itself; one whose own name another one has, too; a mail address of two.
    assert me(by_uid, token("bob")).status_code == 401
    assert code(me(by_mail, token(people.BOB.mail))) == (403, "account_unusable"), me(by_mail, token(people.BOB.mail)).text
    assert me(by_mail, token(people.EVE.mail)).status_code == 401
    assert me(by_uid, token("eve")).json()["user"]["username"] == "eve"
