"""pytest-iam (Canaille) as an issuer. A line on stdin is a command in JSON, its answer a line on stdout:

    {"user_name": "ada"}

gives an ID token by the authorization code flow. Its audience is the client's id, which the first line has.

    {"header": …, "claims": …}

gives a token with that header and those claims, signed with Canaille's key, and

    {"public": true}

the public key as PEM and as JWK."""

import json
import os
import sys
import threading
import urllib.parse
import uuid

import portpicker
import signing
from canaille import create_app
from canaille.backends import Backend
from joserfc.jwk import JWKRegistry
from pytest_iam import Server

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
port = portpicker.pick_unused_port()
key = JWKRegistry.generate_key("RSA", 2048)
key.ensure_kid()
quiet = {"version": 1, "disable_existing_loggers": True, "handlers": {}, "loggers": {}}
app = create_app(
    config={
        "TESTING": True,
        "ENV_FILE": None,
        "SECRET_KEY": str(uuid.uuid4()),
        "WTF_CSRF_ENABLED": False,
        "PREFERRED_URL_SCHEME": "http",
        "SERVER_NAME": f"localhost:{port}",
        "CANAILLE": {
            "DATABASE": "memory",
            "JAVASCRIPT": False,
            "ACL": {"DEFAULT": {"PERMISSIONS": ["use_oidc", "manage_oidc"]}},
            "LOGGING": quiet,
        },
        "CANAILLE_OIDC": {"ACTIVE_JWKS": [key.as_dict(private=True)]},
    }
)
server = Server(app, port, Backend.instance)
threading.Thread(target=server.httpd.serve_forever, daemon=True).start()
REDIRECT = "https://client.example.test/authorized"
with app.app_context():
    client = server.models.Client(
        client_id="service-tests", client_secret="of-the-tests-only", client_name="tests", client_uri="https://client.example.test",
        redirect_uris=[REDIRECT], grant_types=["authorization_code"], response_types=["code"], scope=["openid", "profile", "email"],
        token_endpoint_auth_method="client_secret_basic", contacts=["nobody@example.test"],
    )
    server.backend.save(client)
    client.audience = [client]
    server.backend.save(client)


def id_token(user_name):
    """The ID token of a person, made when they do not exist yet."""
    with app.app_context():
        user = server.backend.get(server.models.User, user_name=user_name) or server.random_user(
            user_name=user_name, emails=[f"{user_name}@example.test"]
        )
        server.consent(user, client)
        server.login(user)
        query = urllib.parse.urlencode(
            {"response_type": "code", "client_id": client.client_id, "scope": "openid profile email", "redirect_uri": REDIRECT,
             "nonce": "n", "state": "s"}
        )
        answer = server.test_client.get(f"/oauth/authorize?{query}")
        assert answer.status_code == 302, answer.text
        code = urllib.parse.parse_qs(urllib.parse.urlparse(answer.location).query)["code"][0]
        answer = server.test_client.post(
            "/oauth/token", data={"grant_type": "authorization_code", "code": code, "redirect_uri": REDIRECT},
            auth=(client.client_id, client.client_secret),
        )
        assert answer.status_code == 200, answer.text
        return answer.json["id_token"]


print(json.dumps({"issuer": server.url.rstrip("/"), "audience": client.client_id}), flush=True)
private_key = key.private_key
for line in sys.stdin:
    command = json.loads(line)
    if "claims" in command:
        answer = {"token": signing.token(private_key, command["header"], command["claims"])}
    elif "public" in command:
        answer = {"pem": signing.pem(private_key), "jwk": key.as_dict(private=False)}
    else:
        answer = {"token": id_token(**command)}
    print(json.dumps(answer), flush=True)
server.httpd.shutdown()
