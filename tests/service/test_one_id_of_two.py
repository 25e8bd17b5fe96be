"""Two entries with one identifier, as a copied database has them: the id means nobody, for writes, links and logins."""

import people
import pytest
from accounts import code
from conftest import run
from service import basic, forward
from writing import GROUP, PATCH, content, dn, group, new, scim, user

PASSWORD = "Pw-twin-7Qz!-new"


@pytest.fixture
def twins(openldaps, tmp_path):
    """ada, and a copy of her under another name; bob is alone."""
    directory = openldaps()
    own = directory.values(dn(directory, "ada"), "+")
    directory.stop()
    twin = people.entry(
        dn(directory, "twin"), objectClass="inetOrgPerson", uid="twin", cn="Twin", sn="T", userPassword=PASSWORD,
        structuralObjectClass="inetOrgPerson", entryUUID=own["entryUUID"][0].decode(), entryCSN=own["entryCSN"][0].decode(),
        creatorsName=directory.admin, modifiersName=directory.admin, createTimestamp="20260101000000Z", modifyTimestamp="20260101000000Z",
    )
    path = tmp_path / "twin.ldif"
    path.write_text(twin)
    run(*directory.slapadd(path))
    directory.start_again()
    return directory


def test_an_id_of_two_entries_means_nobody(twins, writing):
    service = writing(twins)
    service.secrets.add(PASSWORD)
    identifier = twins.values(dn(twins, "ada"), "entryUUID")["entryUUID"][0].decode()
    new(service, "vera")
    before = content(twins)
    add = {"op": "add", "path": "members", "value": [{"value": identifier}]}
    manager = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager"
    for answer in (
        scim(service, "PATCH", f"/Groups/{group(service, 'staff')}", {"schemas": [PATCH], "Operations": [add]}),
        scim(service, "POST", "/Groups", {"schemas": [GROUP], "displayName": "fresh", "members": [{"value": identifier}]}),
        scim(service, "PATCH", f"/Users/{user(service, 'vera')}", {
            "schemas": [PATCH],
            "Operations": [{"op": "add", "path": manager, "value": {"value": identifier}}],
        }),
        scim(service, "GET", f"/Users/{identifier}"),
    ):
        assert answer.status_code == 409, answer.text
    assert content(twins) == before
    for name, password in (("ada", people.ADA.password), ("twin", PASSWORD)):
        assert code(service.login(name, password)) == (403, "account_unusable")
        assert forward(service, basic(name, password)).status_code == 403
    assert code(service.login("bob", people.BOB.password))[0] == 200
    said = run(service.executable, "doctor", "--config", service.config_path, code=None)
    assert "uid=twin" in said.stdout + said.stderr, said.stdout + said.stderr
