"""A directory in a file (`server_url: ldif:PATH`) that another program changes while the service runs: it is read again once it is whole."""

import os
import uuid

import people
import pytest
from directories import wait_until
from writing import USER, scim

NAMES = ("ada", "bob", "cy")


def text(*names):
    """A directory with these people."""
    entries = people.entry(people.SUFFIX, objectClass=["dcObject", "organization"], dc="example", o="Test")
    for unit in ("people", "groups"):
        entries += people.entry(f"ou={unit},{people.SUFFIX}", objectClass="organizationalUnit", ou=unit)
    for name in names:
        entries += people.entry(f"uid={name},ou=people,{people.SUFFIX}", objectClass="inetOrgPerson", uid=name, cn=name, sn=name,
                                entryUUID=str(uuid.uuid5(uuid.NAMESPACE_DNS, name)))
    return entries


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "people.ldif"
    path.write_text(text("ada", "bob"))
    return path


@pytest.fixture
def service(services, file):
    class File:
        suffix, url = people.SUFFIX, f"ldif:{file}"

    return services(File, bind_dn=None, bind_password=None, roles=None)


def users(service):
    answer = scim(service, "GET", "/Users")
    assert answer.status_code == 200, answer.text
    return sorted(user["userName"] for user in answer.json()["Resources"])


def found(service):
    answer = service.request("POST", "/api/v1/ldap/users/search", json={"attributes": ["uid"]})
    assert answer.status_code == 200, answer.text
    return sorted(record["uid"][0] if isinstance(record["uid"], list) else record["uid"] for record in answer.json()["data"])


def replace(file, content):
    new = file.with_suffix(".new")
    new.write_text(content)
    os.replace(new, file)


def readiness(service):
    return service.client.get("/health/ready").status_code


@pytest.mark.parametrize("how", ["replaced", "overwritten", "the same length"])
def test_a_file_that_is_changed_is_read_again(service, file, how):
    assert users(service) == found(service) == ["ada", "bob"]
    if how == "replaced":
        replace(file, text(*NAMES))
    elif how == "overwritten":
        file.write_text(text(*NAMES))
    else:
        file.write_text(text("ada", "cyd"))
    expected = ["ada", "cyd"] if how == "the same length" else ["ada", "bob", "cy"]
    wait_until(lambda: users(service) == expected, what="the new content")
    wait_until(lambda: found(service) == expected, what="the new content of a search")
    assert readiness(service) == 200


HALVES = {
    "cut": lambda file: file.write_text(text(*NAMES)[:-20] + "\nrubbish"),
    "without its last line end": lambda file: file.write_text(text(*NAMES).rstrip("\n")),
    "empty": lambda file: file.write_text(""),
    "removed": lambda file: file.unlink(),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
}


@pytest.mark.parametrize("how", HALVES)
def test_a_file_that_is_half_written_leaves_the_content_before(service, file, how):
    HALVES[how](file)
    wait_until(lambda: readiness(service) == 503, what="not ready")
    told = wait_until(lambda: service.log(level="error", setting="server_url"), what="an error")
    assert len(told) == 1 and str(file) in told[0]["message"], told
    assert users(service) == ["ada", "bob"] and found(service) == ["ada", "bob"]
    report = service.request("GET", "/api/v1/health").json()
    assert [check["ok"] for check in report["checks"]] == [False] and report["status"] == "unhealthy"
    made = scim(service, "POST", "/Users", {"schemas": [USER], "userName": "new", "name": {"familyName": "n"}})
    assert made.status_code == 503 and users(service) == ["ada", "bob"], made.text
    if file.is_dir():
        file.rmdir()
    replace(file, text(*NAMES))
    wait_until(lambda: users(service) == sorted(NAMES) and readiness(service) == 200, what="the new content")
    assert found(service) == sorted(NAMES)


def test_a_file_that_grows_is_read_once_it_stays_as_it_is(service, file):
    whole = text(*NAMES)
    with file.open("w") as out:
        for at in range(0, len(whole), 40):
            out.write(whole[at:at + 40])
            out.flush()
            os.fsync(out.fileno())
            assert users(service) == ["ada", "bob"]
    wait_until(lambda: users(service) == sorted(NAMES), what="the new content")
    assert not service.log(level="error")
