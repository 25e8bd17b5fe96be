"""The guides of docs/guides, followed against real servers. (Those for 389 Directory Server and Active Directory: by hand, with guides.py.)"""

import os

import pytest
from conftest import BIN, MELTANO, ROOT
from guides import follow
from ldap import SUFFIX_LDIF, entries, entry, unit
from slapd import ADMIN, PASSWORD, SUFFIX

GUIDES = ROOT / "docs" / "guides"
PEOPLE = "".join(
    entry(f"uid={uid},ou=people,{SUFFIX}", objectClass="inetOrgPerson", uid=uid, cn=uid.title(), sn="Test", mail=f"{uid}@example.test")
    for uid in ("ada", "grace", "linus")
)
SOURCE = SUFFIX_LDIF + unit("people") + PEOPLE


@pytest.fixture
def read(slapds, tmp_path):
    """Follows a guide: `read(name, {host: server})`; the account is the administrator."""

    def read(name, servers):
        (tmp_path / "password").write_text(PASSWORD)
        (tmp_path / "password").chmod(0o600)
        replaced = {f"ldap://{host}.example.com": server.url for host, server in servers.items()}
        replaced |= {"dc=example,dc=com": SUFFIX, f"cn=etl,{SUFFIX}": ADMIN}
        path = f"{BIN}:{MELTANO.parent}:{os.environ['PATH']}"
        return follow(GUIDES / f"{name}.md", tmp_path, replaced, {**os.environ, "PATH": path, "HOME": str(tmp_path), "NO_COLOR": "1"})

    return read


def test_openldap(slapds, read, tmp_path):
    server = slapds("slapd", SOURCE, modules="moduleload syncprov\n", overlays="overlay syncprov\nsyncprov-sessionlog 100\n")
    assert read("openldap", {"ldap": server}) == 2
    assert (tmp_path / "first.jsonl").read_text().count('"RECORD"') == 3


def test_migration(slapds, read):
    old, new = slapds("old", SOURCE), slapds("new", SUFFIX_LDIF)
    assert read("migration", {"old": old, "new": new}) == 2
    there = entries(new, f"ou=staff,{SUFFIX}", "(objectClass=person)", "mail")
    assert len(there) == 3 and there[f"uid=ada,ou=staff,{SUFFIX}"] == {"mail": ["ada@example.test"]}


def test_meltano(slapds, read, tmp_path):
    server = slapds("slapd", SOURCE, modules="moduleload syncprov\n", overlays="overlay syncprov\nsyncprov-sessionlog 100\n")
    assert read("meltano", {"ldap": server}) == 1
    assert (tmp_path / "copy.ldif").read_text().count("dn: uid=") == 3
