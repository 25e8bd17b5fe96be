"""The commands and configurations of the service's pages, against a running service. tests/e2e/test_guides.py compares their names alone."""

import json
import sys

import people
import pytest
from callers import Authority
from conftest import ROOT, SERVICE, run
from service import token

sys.path.append(str(ROOT / "tests" / "e2e"))
from guides import blocks  # noqa: E402

GUIDES = ("login", "run-the-service", "scim", "search-api", "service-writes", "tokens")
PAGES = {name: (ROOT / "docs" / "guides" / f"{name}.md").read_text() for name in GUIDES} | {"README": (ROOT / "README.md").read_text()}
COMMANDS = [(page, b) for page, text in PAGES.items() for b in blocks(text) if b.reason in ("it needs a running service", "it needs the service")]
# As the readers' directory, but for its suffix.
SUFFIX = "dc=example,dc=com"


def settings(block):
    """The settings of a block, if it is a configuration of the service."""
    known = json.loads(run(SERVICE, "--about", "--format", "json").stdout)["settings"]["properties"].keys()
    found = json.loads(block.text) if block.language == "json" else {}
    return found if isinstance(found, dict) and found.keys() <= known and found.keys() & {"users", "jwt", "api_tokens", "write", "listen"} else None


@pytest.mark.parametrize("page, block", COMMANDS, ids=[f"{page}-{b.line}" for page, b in COMMANDS])
def test_commands_succeed(writing, openldap, tmp_path, page, block):
    service = writing(openldap)
    first = service.request("POST", "/api/v1/ldap/users/search", json={"count": 2}).json()
    (tmp_path / "hr.token").write_text(token("all"))
    (tmp_path / "people.ldif").write_text(people.entry(f"uid=new,ou=people,{people.SUFFIX}", objectClass="inetOrgPerson", uid="new", cn="N", sn="N"))
    script = block.text
    for host in ("https://ldap.example.com", "https://ldap-service.example.com"):
        script = script.replace(host, service.url)
    # An answer of 4xx or 5xx ends it.
    script = f'curl() {{ command curl --noproxy "*" --fail --silent --show-error "$@"; }}\n{script}'
    environment = {"PATH": "/usr/bin:/bin", "TOKEN": token("all"), "SERVICE": service.url, "CURSOR": first["next_cursor"]}
    done = run("bash", "-euo", "pipefail", "-c", script, cwd=tmp_path, env=environment)
    assert done.stdout or (tmp_path / "plan.html").read_text()


def test_there_are_commands():
    assert {page for page, _ in COMMANDS} == {"search-api", "service-writes", "tokens"} and len(COMMANDS) >= 6


@pytest.mark.parametrize("page", PAGES)
def test_configurations_are_accepted(openldap, tmp_path, page):
    """`--test` with each configuration of a page; the server, the user and files are those of the test."""
    openldap.add(people.entry(f"ou=left,{people.SUFFIX}", objectClass="organizationalUnit", ou="left"))
    ca = Authority(tmp_path, "ca")
    cert, key = ca.server("server", "DNS:localhost")
    (tmp_path / "password").write_text(people.SERVICE_PASSWORD)
    (tmp_path / "hash").write_text("9f" * 32)
    files = {
        "/etc/ldap-service/password": "password", "/run/secrets/ldap": "password", "/etc/ldap-service/hr.sha256": "hash", "/run/secrets/entra.sha256": "hash",
        "/etc/ldap-service/server.pem": cert, "/etc/ldap-service/server.key": key, "/etc/ldap-service/clients-ca.pem": ca.certificate,
        "/var/lib/ldap-service/undo": "undo",
    }  # fmt: skip
    own = {"server_url": openldap.url, "bind_dn": people.service_dn(), "bind_password_file": str(tmp_path / "password"),
           "users": {"base_dn": f"ou=people,{people.SUFFIX}"}, "groups": {"base_dn": f"ou=groups,{people.SUFFIX}"}}
    (tmp_path / "own.json").write_text(json.dumps(own))
    found = [block for block in blocks(PAGES[page]) if settings(block)]
    for block in found:
        text = block.text.replace(SUFFIX, people.SUFFIX)
        for path, file in files.items():
            text = text.replace(path, str(tmp_path / file))
        config = {**json.loads(text), **{name: own[name] for name in ("server_url", "bind_dn") if "server_url" in text}}
        (tmp_path / "page.json").write_text(json.dumps(config))
        done = run(SERVICE, "--config", tmp_path / "own.json", "--config", tmp_path / "page.json", "--test", code=None)
        assert done.returncode == 0, f"{page}:{block.line}\n{done.stdout}{done.stderr}"
    assert found or page == "search-api", f"{page}: no configuration"
