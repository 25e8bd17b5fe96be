"""Canaille over a directory, with a token for SCIM: canaille_server.py JSON. It prints a line of JSON, and ends with its stdin."""

import datetime
import json
import os
import sys
import threading
import uuid

from canaille import create_app
from canaille.app import models
from canaille.backends import Backend
from joserfc.jwk import JWKRegistry
from werkzeug.serving import make_server

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
given = json.loads(sys.argv[1])
key = JWKRegistry.generate_key("RSA", 2048)
key.ensure_kid()
app = create_app(
    config={
        "SECRET_KEY": str(uuid.uuid4()),
        "WTF_CSRF_ENABLED": False,
        "PREFERRED_URL_SCHEME": "http",
        "SERVER_NAME": f"127.0.0.1:{given['port']}",
        "ENV_FILE": None,
        "CANAILLE": {
            "DATABASE": "ldap",
            "JAVASCRIPT": False,
            "ACL": {"DEFAULT": {"PERMISSIONS": ["use_oidc"]}},
            "LOGGING": {"version": 1, "disable_existing_loggers": True, "handlers": {}, "loggers": {}},
        },
        "CANAILLE_LDAP": given["ldap"],
        "CANAILLE_SCIM": {"ENABLE_SERVER": True},
        "CANAILLE_OIDC": {"ACTIVE_JWKS": [key.as_dict(private=True)]},
    }
)
with app.app_context(), Backend.instance.session():
    type(Backend.instance).install(app)
    client = models.Client(
        client_id="suites", client_secret=str(uuid.uuid4()), client_name="suites", client_uri="https://client.example.test",
        redirect_uris=["https://client.example.test/r"], grant_types=["client_credentials"], response_types=["code"],
        scope=["openid"], token_endpoint_auth_method="client_secret_basic", contacts=["nobody@example.com"],
    )
    Backend.instance.save(client)
    token = models.Token(
        token_id=str(uuid.uuid4()), access_token=str(uuid.uuid4()), client=client, subject=None,
        type="access_token", refresh_token=str(uuid.uuid4()), scope=["openid"], issue_date=datetime.datetime.now(datetime.UTC),
        lifetime=36000, audience=[client],
    )
    Backend.instance.save(token)
    text = token.access_token
server = make_server("127.0.0.1", given["port"], app, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"url": f"http://127.0.0.1:{given['port']}/scim/v2", "token": text}), flush=True)
sys.stdin.read()
server.shutdown()
